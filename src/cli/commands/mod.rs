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
