//! `icecore completions SHELL`

use clap_complete::Shell;

use crate::cli::{CommandResult, Exit, Stdout, command};

pub(in crate::cli) fn run(shell: Shell) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "icecore", &mut script);
    let mut stdout = Stdout::lock();
    stdout.write(&script)?;
    stdout.flush()?;
    Ok(Exit::Ok)
}
