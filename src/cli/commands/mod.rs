//! One file a subcommand.

pub(super) mod append;
pub(super) mod archive;
pub(super) mod bench;
pub(super) mod cat;
pub(super) mod catalog;
pub(super) mod collection;
pub(super) mod compact;
pub(super) mod completions;
pub(super) mod config;
pub(super) mod delete;
pub(super) mod directory;
pub(super) mod doctor;
pub(super) mod evict;
pub(super) mod flush;
pub(super) mod gap;
pub(super) mod get;
pub(super) mod hold;
pub(super) mod inspect;
pub(super) mod ls;
pub(super) mod man;
mod print;
pub(super) mod recover;
pub(super) mod restore;
mod resume;
pub(super) mod retention;
mod salvaged;
pub(super) mod seal;
pub(super) mod search;
pub(super) mod status;
pub(super) mod tail;
pub(super) mod verify;
pub(super) mod verify_remote;

use super::{Context, Failure, Stdout, logs};
use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::types::CollectionName;

/// One JSON object on stdout, for programs.
fn print_json(context: &Context, object: &impl serde::Serialize) -> Result<(), Failure> {
    if context.json {
        let mut stdout = Stdout::lock();
        stdout.line(&serde_json::to_string(object).expect("plain text and numbers"))?;
        stdout.flush()?;
    }
    Ok(())
}

/// Collections that a command names are not misspelt.
fn must_be_there(log: &Log, collections: &[CollectionName]) -> Result<(), Failure> {
    for name in collections {
        log.collection_settings(name).map_err(logs::explain)?;
    }
    Ok(())
}

/// Asks, and takes a line from stdin for the answer, also where that is no terminal. The question is for who sees stderr.
fn answer(question: &str) -> Result<String, Failure> {
    use std::io::{BufRead as _, IsTerminal as _, Write as _};
    let mut stderr = std::io::stderr().lock();
    // Where nobody sees the question, nobody answers it.
    let _ = stderr.write_all(super::human::printable(question).as_bytes()).and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    let read = read.map_err(|error| {
        Failure::from(Error::new(ErrorKind::Internal, "cannot read the answer from stdin").with_source(error))
    })?;
    if !std::io::stdin().is_terminal() || read == 0 {
        let _ = stderr.write_all(b"\n");
    }
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}
