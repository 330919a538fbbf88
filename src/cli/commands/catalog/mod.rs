//! `icecore catalog check|rebuild|migrate|export|snapshot`
//!
//! - `check`: catalog against directories
//! - `rebuild`: the catalog made anew
//! - `migrate`: to another engine
//! - `export`: every row as JSON
//! - `snapshot`: a copy at one moment

mod check;
mod export;
mod migrate;
mod rebuild;
mod snapshot;

use crate::cli::{CatalogCommand, CommandResult, Context};

pub(in crate::cli) fn run(context: &Context, command: &CatalogCommand) -> CommandResult {
    match command {
        CatalogCommand::Check => check::run(context),
        CatalogCommand::Rebuild(args) => rebuild::run(context, args),
        CatalogCommand::Migrate(args) => migrate::run(context, args),
        CatalogCommand::Export(args) => export::run(context, args),
        CatalogCommand::Snapshot(args) => snapshot::run(context, args),
    }
}
