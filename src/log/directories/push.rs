//! Sends the segments of collections whose home is a remote there, and proves that they arrived.
//!
//! Changes nothing in the log: rows stay `Sealed`, local files stay. An object under its name of O1 with the bytes that the row
//! tells is the whole result, so it is interrupted and repeated at will, and runs beside a writer. What is there already, whole, is not sent
//! again; other bytes under the name are a conflict, told and left alone (O3).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::home::homes;
use super::set::Set;
use crate::catalog::{SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, OpenMode};
use crate::log::catalog::CatalogLook;
use crate::log::recover::journals::chain;
use crate::log::recover::segments::segment_path;
use crate::log::{Log, LogOptions};
use crate::objects::{LocalObjectStore, Location, ObjectStore, Put, SegmentObject, Upload, prove};

/// Rows read at once.
const PAGE_ROWS: usize = 1024;

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushProgress {
    /// Bytes of segments that are dealt with.
    pub bytes: u64,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pushed {
    /// Segments that were sent and proven.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Segments that were there already, whole.
    pub there: u64,
    /// What could not be sent, and why, a line each.
    pub failed: Vec<String>,
    /// It was interrupted: more may be left.
    pub is_interrupted: bool,
}

impl Log {
    /// Sends what is sealed of collections whose home is a remote, beside a writer or without one. `progress` is told how far it has
    /// come, and ends it by answering no.
    ///
    /// # Errors
    /// `Unsupported` for a store that this program cannot talk to; what the catalog said. What befalls one segment is told in
    /// [`Pushed::failed`], and the others go on.
    pub fn push_segments(options: &LogOptions, progress: &mut dyn FnMut(PushProgress) -> bool) -> Result<Pushed> {
        let set = Set::of(options)?;
        let catalog = CatalogLook::open(options)?.catalog;
        let paths: HashMap<&str, &PathBuf> =
            set.members.iter().map(|member| (member.id.as_str(), &member.path)).collect();
        let (mut pushed, mut done) = (Pushed::default(), PushProgress::default());
        for (collection, home) in homes(&*catalog)? {
            let Some(remote) = set.newest.remotes.iter().find(|remote| remote.directory == home) else { continue };
            let store = open_store(&options.fs, &remote.url)?;
            let mut after: Option<SegmentKey> = None;
            loop {
                let rows = catalog.segments(Some(&collection), after.as_ref(), PAGE_ROWS)?;
                let Some(last) = rows.last() else { break };
                after = Some(last.key.clone());
                for row in rows.iter().filter(|row| row.status == SegmentStatus::Sealed) {
                    if !progress(done) {
                        pushed.is_interrupted = true;
                        return Ok(pushed);
                    }
                    let path = paths.get(row.directory.as_str()).map(|path| segment_path(path, &row.key));
                    match path
                        .map_or_else(|| Err(unknown_directory(row)), |path| push(&*options.fs, &*store, row, &path))
                    {
                        Ok(true) => {
                            pushed.sent += 1;
                            pushed.sent_bytes += row.bytes;
                        }
                        Ok(false) => pushed.there += 1,
                        Err(error) => pushed.failed.push(format!("{}: {}", row.key, chain(&error))),
                    }
                    done.bytes += row.bytes;
                }
            }
        }
        progress(done);
        Ok(pushed)
    }
}

fn unknown_directory(row: &SegmentRow) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the segment is in a directory that is not there: directory=`{}`", row.directory),
    )
}

/// The store behind a remote's URL.
pub(in crate::log) fn open_store(fs: &Arc<dyn FileSystem>, url: &str) -> Result<Arc<dyn ObjectStore>> {
    match url.parse::<Location>()? {
        Location::Local(path) => Ok(Arc::new(LocalObjectStore::new(Arc::clone(fs), path))),
        Location::S3 { .. } | Location::Gcs { .. } | Location::Azure { .. } => {
            let message = format!("this program cannot talk to the store yet: store=`{url}`");
            Err(Error::new(ErrorKind::Unsupported, message).with_hint("a remote of `file://` can be used"))
        }
    }
}

/// Sends one segment; whether that was needed. Proven when it returns.
fn push(fs: &dyn FileSystem, store: &dyn ObjectStore, row: &SegmentRow, path: &std::path::Path) -> Result<bool> {
    let key = SegmentObject::of_row(row).key();
    let file = fs.open(path, OpenMode::Read)?;
    let put = store.put_if_absent(&key, &Upload::new(&file, row.bytes, row.sha256))?;
    match put {
        // The store said so by comparing every byte that it holds (promise 4).
        Put::SameThere => Ok(false),
        Put::Created => {
            prove(store, &key, row.bytes, &row.sha256)?;
            Ok(true)
        }
        Put::OtherThere => {
            let message =
                format!("the store has other bytes under the segment's name: store=`{}`, key=`{key}`", store.place());
            Err(Error::new(ErrorKind::Conflict, message))
        }
    }
}
