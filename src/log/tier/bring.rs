//! Bringing the file of an archived segment: for a log that is open, and for one that is being restored.
//!
//! # Order, and why a crash between any two steps is safe
//!
//! 1. The object is fetched piece by piece into a file of the staging folder, and hashed on the way. Its SHA-256 must be the row's; the file is synced. A
//!    crash leaves a file in staging, which opening the log, or the next restore, clears away.
//! 2. It is renamed to the segment's name, which must be free, and the folder synced. A crash leaves a whole file under its name, whose row does
//!    not say so.

use std::path::Path;
use std::sync::Arc;

use crate::avro::Sha256;
use crate::catalog::SegmentRow;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{File, FileSystem, OpenMode, durable};
use crate::segment::{self, FileRange, ReadRange};

/// Bytes fetched at once.
const PIECE_BYTES: u64 = 4 << 20;

/// Brings the bytes of `row`'s segment from `source` to `path`, by the file `staging`, which is not there. Where it fails, nothing is left.
///
/// # Errors
/// `Corrupt` where they are not the row's; what the source or the disk said.
pub(crate) fn bring(
    fs: &dyn FileSystem,
    source: &dyn ReadRange,
    row: &SegmentRow,
    staging: &Path,
    path: &Path,
) -> Result<()> {
    let brought = fetch(fs, source, row, staging).and_then(|()| {
        if let Some(folder) = path.parent() {
            durable::create_dir_all(fs, folder)?;
        }
        Ok(durable::publish(fs, staging, path)?)
    });
    if brought.is_err() {
        // Of no use to anybody; what cannot be removed now is cleared away later.
        let _ = fs.remove_file(staging);
    }
    brought
}

/// Step 1.
fn fetch(fs: &dyn FileSystem, source: &dyn ReadRange, row: &SegmentRow, staging: &Path) -> Result<()> {
    let file = fs.open(staging, OpenMode::CreateNew)?;
    let mut digest = Sha256::new();
    let mut at = 0;
    while at < row.bytes {
        let bytes = usize::try_from((row.bytes - at).min(PIECE_BYTES)).expect("a piece fits memory");
        let piece = source.read(at, bytes)?;
        digest.update(&piece);
        file.write_all_at(&piece, at)?;
        at += piece.len() as u64;
    }
    if digest.finish() != row.sha256 {
        let path = source.path().display();
        let message = format!("the archived object is not the segment: segment=`{}`, path=`{path}`", row.key);
        return Err(Error::new(ErrorKind::Corrupt, message).with_hint("run `verify --remote --deep`"));
    }
    Ok(file.sync_all()?)
}

/// Whether a file has the bytes of `row`'s segment.
///
/// # Errors
/// What the disk said.
pub(crate) fn is_whole(file: &Arc<dyn File>, row: &SegmentRow) -> Result<bool> {
    Ok(file.len()? == row.bytes && segment::file_sha256(&FileRange(Arc::clone(file)))? == row.sha256)
}
