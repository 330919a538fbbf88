//! One file a subcommand.

pub(super) mod append;
pub(super) mod bench;
pub(super) mod cat;
pub(super) mod catalog;
pub(super) mod collection;
pub(super) mod completions;
pub(super) mod config;
pub(super) mod delete;
pub(super) mod directory;
pub(super) mod gap;
pub(super) mod get;
pub(super) mod inspect;
pub(super) mod ls;
pub(super) mod man;
mod print;
pub(super) mod recover;
pub(super) mod restore;
mod resume;
pub(super) mod seal;
pub(super) mod status;
pub(super) mod tail;
pub(super) mod verify;
pub(super) mod verify_remote;
