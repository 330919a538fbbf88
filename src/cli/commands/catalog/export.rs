//! `icecore catalog export`

use crate::cli::{CatalogExportArgs, CommandResult, Context, Exit};

pub(super) fn run(_context: &Context, _args: &CatalogExportArgs) -> CommandResult {
    Ok(Exit::Failure)
}
