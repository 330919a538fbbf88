//! `icecore catalog check`

use crate::cli::{CommandResult, Context, Exit};

pub(super) fn run(_context: &Context) -> CommandResult {
    Ok(Exit::Failure)
}
