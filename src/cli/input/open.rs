//! Opens what `append` reads.

use std::io::Read;
use std::path::Path;

use crate::{Error, ErrorKind};

/// An input that is open.
pub struct Source {
    /// Its bytes.
    pub reader: Box<dyn Read + Send>,
    /// How many there are, where that is known: of a regular file.
    pub bytes: Option<u64>,
}

/// Opens a file, or stdin where the path is `-`.
///
/// # Errors
/// `NotFound`, `Invalid` for a directory, or what the system said.
#[allow(clippy::disallowed_methods)] // the user's file, no part of a log: no crash simulation needs to stand in for it
pub fn open(path: &Path) -> Result<Source, Error> {
    if path == Path::new("-") {
        return Ok(Source { reader: Box::new(std::io::stdin()), bytes: None });
    }
    let failed = |source: std::io::Error| {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        };
        Error::new(kind, format!("cannot open input: path=`{}`", path.display())).with_source(source)
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        let message = format!("input is a directory: path=`{}`", path.display());
        return Err(Error::new(ErrorKind::Invalid, message).with_hint("name a file, or - for stdin"));
    }
    Ok(Source { bytes: metadata.is_file().then_some(metadata.len()), reader: Box::new(file) })
}
