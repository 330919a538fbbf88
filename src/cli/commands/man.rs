//! `icecore man DIR`

use std::path::Path;

use crate::cli::{CommandResult, Exit, command};
use crate::{Error, ErrorKind};

#[allow(clippy::disallowed_methods)] // pages are no part of a log, and need no durability
pub(in crate::cli) fn run(directory: &Path) -> CommandResult {
    let made = std::fs::create_dir_all(directory);
    made.and_then(|()| clap_mangen::generate_to(command(), directory)).map_err(|source| {
        Error::new(ErrorKind::Internal, format!("cannot write man pages: directory=`{}`", directory.display()))
            .with_source(source)
    })?;
    Ok(Exit::Ok)
}
