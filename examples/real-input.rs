//! The main job on real input: appends a package index, kills the program again and again, resumes, and compares.
//!
//! `scripts/real-input` calls it with Debian's package index; any file of stanzas with a `Package` field will do.
#![allow(clippy::disallowed_methods, reason = "works on a user's files from outside, as a user would")]

#[path = "../tests/util/load.rs"]
mod load;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

const USAGE: &str = "usage: real-input FILE DATA_DIR [KILLS [SEED]]";

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("real-input: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [input, data, rest @ ..] = args.as_slice() else { return Err(USAGE.to_owned()) };
    let number =
        |at: usize, default: u64| rest.get(at).map_or(Ok(default), |text| text.parse().map_err(|_| USAGE.to_owned()));
    let kills = u32::try_from(number(0, 100)?).map_err(|_| USAGE.to_owned())?;
    let seed = number(1, fastrand::u64(..))?;
    let icecore = program()?;
    println!("seed: {seed}");
    let plan = load::Plan {
        icecore: &icecore,
        input: input.as_ref(),
        data: data.as_ref(),
        kills,
        batch: 10,
        settings: &[],
        seed,
    };
    let shows = std::io::stderr().is_terminal();
    let started = std::time::Instant::now();
    let outcome = load::kill_and_resume(&plan, &mut |outcome, records| {
        if shows {
            eprint!("\r{} kills, {records} records acknowledged ", outcome.kills);
            let _ = std::io::stderr().flush();
        }
    });
    if shows {
        eprint!("\r\x1b[K");
    }
    let outcome = outcome.map_err(|why| format!("{why} (seed {seed})"))?;
    println!("kills between two acknowledgements: {}", outcome.kills);
    println!("other kills:                        {}", outcome.other_kills);
    println!("batches acknowledged:               {}", outcome.acks);
    println!("batches written but not said:       {}", outcome.unsaid);
    println!("records, each there once, in order: {}", outcome.records);
    println!("bytes, all the same:                {}", outcome.bytes);
    println!("seconds:                            {:.1}", started.elapsed().as_secs_f64());
    Ok(())
}

/// The program that was built beside this one.
fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().and_then(std::path::Path::parent).ok_or("no folder")?;
    let program = folder.join(format!("icecore{}", std::env::consts::EXE_SUFFIX));
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("{}: not built; run scripts/real-input", program.display()))
    }
}
