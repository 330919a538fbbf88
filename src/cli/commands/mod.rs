//! One file a subcommand.

pub(super) mod completions;
pub(super) mod config;
pub(super) mod man;
