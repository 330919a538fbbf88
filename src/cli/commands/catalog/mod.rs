//! `icecore catalog check|rebuild|migrate|export|snapshot`
//!
//! - `check`: catalog against directories
//! - `rebuild`: the catalog made anew
//! - `export`: every row as JSON
//! - `snapshot`: a copy at one moment

mod check;
mod export;
mod rebuild;
mod snapshot;

use crate::cli::{CatalogCommand, CommandResult, Context, Failure};
use crate::{Error, ErrorKind};

pub(in crate::cli) fn run(context: &Context, command: &CatalogCommand) -> CommandResult {
    match command {
        CatalogCommand::Check => check::run(context),
        CatalogCommand::Rebuild(args) => rebuild::run(context, args),
        CatalogCommand::Migrate(args) => {
            let message = format!("moving to another engine is not built: to=`{}`", args.to);
            Err(Failure::from(Error::new(ErrorKind::Unsupported, message)))
        }
        CatalogCommand::Export(args) => export::run(context, args),
        CatalogCommand::Snapshot(args) => snapshot::run(context, args),
    }
}
