//! `icecore catalog snapshot`

use crate::cli::{CatalogSnapshotArgs, CommandResult, Context, Exit};

pub(super) fn run(_context: &Context, _args: &CatalogSnapshotArgs) -> CommandResult {
    Ok(Exit::Failure)
}
