//! How much memory a writer and a recovery take: the program itself, as a child process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{Bench, Figure, Target, Unit, memory_peak};
use crate::error::{Error, ErrorKind, Result};

const LINE_BYTES: u64 = 1 << 10;
const LINES: u64 = (4 << 30) / LINE_BYTES;
const PEAK_MAX: f64 = 600.0 * 1024.0 * 1024.0;

/// Appends 4 GiB through the default memtable limit, kills the writer, and opens the log again.
pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut child, mut input, mut acks) = start(bench)?;
    let mut piece = Vec::with_capacity(64 * LINE_BYTES as usize);
    for at in 0..LINES {
        let start = piece.len();
        write!(piece, "{at:016x}").expect("memory is written");
        // Half of a line is noise, so that it compresses as text does.
        let mut noise = fastrand::Rng::with_seed(at);
        while piece.len() < start + LINE_BYTES as usize - 1 {
            let room = start + LINE_BYTES as usize - 1 - piece.len();
            let word = [b'a' + noise.u8(..26); 2];
            piece.extend_from_slice(&word[..room.min(2)]);
        }
        piece.push(b'\n');
        if piece.len() >= 64 * LINE_BYTES as usize {
            input.write_all(&piece).map_err(|error| child_failed(&mut child, error))?;
            piece.clear();
        }
    }
    input.write_all(&piece).and_then(|()| input.flush()).map_err(|error| child_failed(&mut child, error))?;
    wait_for(&mut acks, LINES)?;
    let appending = memory_peak(&*bench.fs, child.id());
    let _ = child.kill();
    let _ = child.wait();

    let (mut child, mut input, mut acks) = start(bench)?;
    input.write_all(b"one more\n").and_then(|()| input.flush()).map_err(|error| child_failed(&mut child, error))?;
    wait_for(&mut acks, LINES + 1)?;
    let recovering = memory_peak(&*bench.fs, child.id());
    drop(input);
    let _ = child.wait();

    let figure = |what, peak: Option<u64>| {
        peak.map(|peak| Figure {
            scenario: "memory",
            what,
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

fn start(bench: &Bench) -> Result<(Child, ChildStdin, BufReader<ChildStdout>)> {
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
    let acks = BufReader::new(child.stdout.take().expect("it was asked for"));
    Ok((child, input, acks))
}

fn child_failed(child: &mut Child, error: std::io::Error) -> Error {
    let _ = child.kill();
    let _ = child.wait();
    Error::new(ErrorKind::Unavailable, "the child process stopped reading").with_source(error)
}

/// Reads acknowledgements until `sequence` is among them.
fn wait_for(acks: &mut BufReader<ChildStdout>, sequence: u64) -> Result<()> {
    let wanted = format!("\"last_sequence\":{sequence}}}");
    let mut line = String::new();
    loop {
        line.clear();
        match acks.read_line(&mut line) {
            Ok(0) => return Err(Error::new(ErrorKind::Unavailable, "the child process ended early")),
            Ok(_) if line.replace(' ', "").contains(&wanted) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                return Err(Error::new(ErrorKind::Unavailable, "cannot read acknowledgements").with_source(error));
            }
        }
    }
}
