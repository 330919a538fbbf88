//! Stubs of what is not fetched (C7).
//!
//! Of each collection whose newest segment stays in the archive, its footer is left where the file would be, as an eviction leaves it: without it
//! only the catalog would know where the collection ends. One range request for each such collection (two for a footer above 64 KiB), several at a time.
//!
//! Crash safety: a stub is synced in staging, then named, then its folder is synced; one that is there already is left as it is. They come
//! before the restore's markers go: a restore that was killed writes those that are missing.

use std::sync::{Mutex, PoisonError};

use super::{RestoreOptions, fetch};
use crate::catalog::{Catalog, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{OpenMode, durable};
use crate::log::catalog::restore::Restoring;
use crate::log::tier::Archive;
use crate::segment::{SegmentName, SegmentReader, read_stub, write_stub};
use crate::types::{CollectionName, Sequence};

const PAGE_ROWS: usize = 1_000;

/// Writes those that are missing. An object that cannot be read leaves its collection without one, which is warned of.
pub(super) fn leave(options: &RestoreOptions, restoring: &Restoring, archive: &dyn Archive) -> Result<()> {
    let mut after: Option<CollectionName> = None;
    loop {
        let page = restoring.catalog.collections(after.as_ref(), PAGE_ROWS)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.name.clone());
        let mut wanted = Vec::new();
        for row in page {
            wanted.extend(newest_away(&*restoring.catalog, &row.name)?);
        }
        let work = Mutex::new(wanted.into_iter());
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..options.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(row) = next else { return };
                        match leave_one(options, restoring, archive, &row) {
                            Ok(()) => {}
                            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                                tracing::warn!(segment = %row.key, %error, "no stub could be left of it");
                            }
                            Err(error) => {
                                work.lock().unwrap_or_else(PoisonError::into_inner).by_ref().for_each(drop);
                                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            }
                        }
                    }
                });
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
    }
}

/// The newest segment of a collection, where it is in the archive only.
fn newest_away(catalog: &dyn Catalog, collection: &CollectionName) -> Result<Option<SegmentRow>> {
    let newest = catalog.segments_back(collection, Sequence::MAX, 1)?.into_iter().next();
    Ok(newest.filter(|row| row.status == SegmentStatus::Evicted))
}

fn leave_one(options: &RestoreOptions, restoring: &Restoring, archive: &dyn Archive, row: &SegmentRow) -> Result<()> {
    let fs = &*options.log.fs;
    let directory = fetch::directory_of(restoring, row)?;
    let reader = SegmentReader::open_end(archive.open_once(row)?)?;
    let footer = reader.footer();
    if footer.content_digest != row.content_digest || footer.collection != row.key.collection {
        let message = format!("an object is not what its manifest says: segment=`{}`, what=`its footer`", row.key);
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let path = SegmentName::stub(footer.covers, footer.generation).path(directory, &row.key.collection);
    match fs.open(&path, OpenMode::Read) {
        Ok(file) if read_stub(std::sync::Arc::clone(&file)).is_ok_and(|found| found == *footer) => {
            // Of a run before this one, which was killed.
            file.sync_all()?;
            return Ok(durable::sync_parent(fs, &path)?);
        }
        Err(error) if !error.is_not_found() => return Err(error.into()),
        _ => {}
    }
    if let Some(folder) = path.parent() {
        durable::create_dir_all(fs, folder)?;
    }
    let staging = restoring.staging(directory);
    let left = write_stub(fs, &staging, footer).map_err(Error::from).and_then(|_| {
        fs.replace(&staging, &path)?;
        Ok(durable::sync_parent(fs, &path)?)
    });
    if left.is_err() {
        // What cannot be removed now is cleared away by the next run.
        let _ = fs.remove_file(&staging);
    }
    left
}
