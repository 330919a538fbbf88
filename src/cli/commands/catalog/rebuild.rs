//! `icecore catalog rebuild`

use crate::cli::{CatalogRebuildArgs, CommandResult, Context, Exit};

pub(super) fn run(_context: &Context, _args: &CatalogRebuildArgs) -> CommandResult {
    Ok(Exit::Failure)
}
