//! How much memory a writer and a recovery take: the program itself, as a child process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use super::{Bench, Figure, Target, Unit, memory_peak};
use crate::error::{Error, ErrorKind, Result};

const LINE_BYTES: u64 = 1 << 10;
const LINES: u64 = (4 << 30) / LINE_BYTES;
const PEAK_MAX: f64 = 600.0 * 1024.0 * 1024.0;

/// Appends 4 GiB through the default memtable limit, kills the writer, and opens the log again.
pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut child, mut input, acks) = start(bench)?;
    let mut piece = Vec::with_capacity(64 * LINE_BYTES as usize);
    for at in 0..LINES {
        let start = piece.len();
        write!(piece, "{at:016x}").expect("memory is written");
        // Noise and words, so that it compresses as logs do.
        let mut noise = fastrand::Rng::with_seed(at);
        while piece.len() < start + LINE_BYTES as usize - 1 {
            let room = start + LINE_BYTES as usize - 1 - piece.len();
            let word = format!("{:016x} event ", noise.u64(..));
            piece.extend_from_slice(&word.as_bytes()[..room.min(word.len())]);
        }
        piece.push(b'\n');
        if piece.len() >= 64 * LINE_BYTES as usize {
            input.write_all(&piece).map_err(|error| child_failed(&mut child, error))?;
            piece.clear();
        }
    }
    input.write_all(&piece).and_then(|()| input.flush()).map_err(|error| child_failed(&mut child, error))?;
    wait_for(&acks, LINES)?;
    let appending = memory_peak(&*bench.fs, child.id());
    let _ = child.kill();
    let _ = child.wait();

    let (mut child, mut input, acks) = start(bench)?;
    input.write_all(b"one more\n").and_then(|()| input.flush()).map_err(|error| child_failed(&mut child, error))?;
    wait_for(&acks, LINES + 1)?;
    let recovering = memory_peak(&*bench.fs, child.id());
    drop(input);
    let _ = child.wait();

    let figure = |what: &'static str, peak: Option<u64>| {
        peak.map(|peak| Figure {
            scenario: "memory",
            what: what.into(),
            unit: Unit::Memory,
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            icecore: peak as f64,
            limit: None,
            target: Some(Target::AtMost(PEAK_MAX)),
        })
    };
    Ok([figure("peak while appending 4 GiB", appending), figure("peak of recovery after a kill", recovering)]
        .into_iter()
        .flatten()
        .collect())
}

fn start(bench: &Bench) -> Result<(Child, ChildStdin, Receiver<String>)> {
    let unavailable = |error| Error::new(ErrorKind::Unavailable, "cannot start a child process").with_source(error);
    let program = std::env::current_exe().map_err(unavailable)?;
    let mut child = Command::new(program)
        .arg("--data")
        .arg(bench.folder.join("log"))
        .args(["append", "c", "-", "--acks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(unavailable)?;
    let input = child.stdin.take().expect("it was asked for");
    let output = BufReader::new(child.stdout.take().expect("it was asked for"));
    // In a thread: a child whose output nobody takes stops reading its input.
    let (tell, acks) = mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(std::result::Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    Ok((child, input, acks))
}

fn child_failed(child: &mut Child, error: std::io::Error) -> Error {
    let _ = child.kill();
    let _ = child.wait();
    Error::new(ErrorKind::Unavailable, "the child process stopped reading").with_source(error)
}

/// Takes acknowledgements until `sequence` is among them.
fn wait_for(acks: &Receiver<String>, sequence: u64) -> Result<()> {
    let wanted = format!("\"last_sequence\":{sequence}}}");
    loop {
        match acks.recv() {
            Ok(line) if line.replace(' ', "").contains(&wanted) => return Ok(()),
            Ok(_) => {}
            Err(_) => return Err(Error::new(ErrorKind::Unavailable, "the child process ended early")),
        }
    }
}
