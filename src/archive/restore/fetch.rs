//! Fetching the files of segments, several at a time.
//!
//! A file comes as one that is rehydrated ([`bring`](crate::log::tier)), and has its name durably; then its row becomes `Archived`. What is
//! in memory: a piece for each thread, and a page of rows.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::{NotRestored, RestoreOptions, RestoreProgress};
use crate::catalog::{Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{File, OpenMode, durable};
use crate::log::catalog::restore::Restoring;
use crate::log::tier::Archive;
use crate::log::tier::bring::{bring, is_whole};

const PAGE_ROWS: usize = 1_000;
/// Rows that are changed in one transaction at most.
const BATCH_ROWS: usize = 64;

#[derive(Default)]
pub(super) struct Fetched {
    pub segments: u64,
    pub bytes: u64,
    pub segments_away: u64,
    pub bytes_away: u64,
    pub failed: Vec<NotRestored>,
}

/// Fetches every wanted segment that is not here yet.
pub(super) fn all(
    options: &RestoreOptions,
    restoring: &Restoring,
    archive: &dyn Archive,
    progress: &mut dyn FnMut(RestoreProgress),
) -> Result<Fetched> {
    restoring.clear_staging()?;
    let mut fetched = Fetched::default();
    let mut told = RestoreProgress::default();
    each_row(restoring, &mut |row| {
        let is_here = row.status == SegmentStatus::Archived;
        if is_here || options.wants(&row) {
            told.segments_total += 1;
            told.bytes_total += row.bytes;
        }
        if is_here {
            told.segments += 1;
            told.bytes += row.bytes;
        } else if !options.wants(&row) {
            fetched.segments_away += 1;
            fetched.bytes_away += row.bytes;
        }
        Ok(())
    })?;
    (fetched.segments, fetched.bytes) = (told.segments, told.bytes);
    progress(told);
    if told.segments == told.segments_total {
        return Ok(fetched);
    }
    let (work, todo) = mpsc::sync_channel::<SegmentRow>(options.threads.max(1));
    let (tell, done) = mpsc::channel::<(SegmentRow, Result<()>)>();
    let todo = Mutex::new(todo);
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..options.threads.max(1) {
            let (todo, tell) = (&todo, tell.clone());
            scope.spawn(move || {
                loop {
                    // Held while waiting: one thread waits for work, the others for it.
                    let next = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(row) = next else { return };
                    let outcome = one(options, restoring, archive, &row);
                    if tell.send((row, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        // Owned here, so that an error ends the threads: none waits for work that nobody brings.
        let work = work;
        let mut outcomes = Outcomes { restoring, options, fetched: &mut fetched, told: &mut told, progress };
        let mut under_way = 0_usize;
        let result = each_row(restoring, &mut |row| {
            if row.status != SegmentStatus::Evicted || !options.wants(&row) {
                return Ok(());
            }
            let mut row = Some(row);
            while let Some(next) = row.take() {
                match work.try_send(next) {
                    Ok(()) => under_way += 1,
                    Err(mpsc::TrySendError::Full(back) | mpsc::TrySendError::Disconnected(back)) => {
                        row = Some(back);
                        under_way -= outcomes.take(&done)?;
                    }
                }
            }
            Ok(())
        });
        drop(work);
        result?;
        while under_way > 0 {
            under_way -= outcomes.take(&done)?;
        }
        Ok(())
    })?;
    Ok(fetched)
}

/// Rows that the archive has, page by page.
fn each_row(restoring: &Restoring, visit: &mut dyn FnMut(SegmentRow) -> Result<()>) -> Result<()> {
    let mut after: Option<SegmentKey> = None;
    loop {
        let rows = restoring.catalog.segments(None, after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.key.clone());
        let has_object = |row: &SegmentRow| matches!(row.status, SegmentStatus::Evicted | SegmentStatus::Archived);
        rows.into_iter().filter(has_object).try_for_each(&mut *visit)?;
    }
}

struct Outcomes<'a> {
    restoring: &'a Restoring,
    options: &'a RestoreOptions,
    fetched: &'a mut Fetched,
    told: &'a mut RestoreProgress,
    progress: &'a mut dyn FnMut(RestoreProgress),
}

impl Outcomes<'_> {
    /// Waits for one outcome at least, takes those that are there, and changes their rows; how many.
    fn take(&mut self, done: &mpsc::Receiver<(SegmentRow, Result<()>)>) -> Result<usize> {
        let first = done.recv().expect("threads tell of all that they were given");
        let more = done.try_iter().take(BATCH_ROWS - 1);
        let outcomes: Vec<_> = std::iter::once(first).chain(more).collect();
        let count = outcomes.len();
        let mut mutations = Vec::new();
        let mut failed = None;
        for (row, outcome) in outcomes {
            match outcome {
                Ok(()) => {
                    self.told.segments += 1;
                    self.told.bytes += row.bytes;
                    mutations.push(Mutation::Transition {
                        key: row.key,
                        from: SegmentStatus::Evicted,
                        to: SegmentStatus::Archived,
                        archive_key: None,
                    });
                }
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    tracing::error!(segment = %row.key, %error, "a segment cannot be restored");
                    self.fetched.segments_away += 1;
                    self.fetched.bytes_away += row.bytes;
                    self.fetched.failed.push(NotRestored {
                        collection: row.key.collection.clone(),
                        first_sequence: row.key.first,
                        last_sequence: row.key.last,
                        key: row.archive_key.unwrap_or_default(),
                        reason: error.to_string(),
                    });
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.restoring.catalog.apply(&mutations, self.options.log.clock.now(), "restore: the file is here")?;
        (self.fetched.segments, self.fetched.bytes) = (self.told.segments, self.told.bytes);
        (self.progress)(*self.told);
        failed.map_or(Ok(count), Err)
    }
}

/// Brings one segment's file.
fn one(options: &RestoreOptions, restoring: &Restoring, archive: &dyn Archive, row: &SegmentRow) -> Result<()> {
    let fs = &*options.log.fs;
    let directory = directory_of(restoring, row)?;
    let path = directory.join(&row.path);
    match fs.open(&path, OpenMode::Read) {
        // A run before this one was killed before its row.
        Ok(file) => return compare(&file, &path, row).and_then(|()| Ok(durable::sync_parent(fs, &path)?)),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    // Its length is asked for once: one that is longer than the row says has the right bytes in front.
    if !archive.has(row)? {
        let key = row.archive_key.as_deref().unwrap_or_default();
        return Err(Error::new(ErrorKind::NotFound, format!("an object is not there: key=`{key}`")));
    }
    bring(fs, &*archive.open_once(row)?, row, &restoring.staging(directory), &path)
}

/// Where a row's file goes.
pub(super) fn directory_of<'a>(restoring: &'a Restoring, row: &SegmentRow) -> Result<&'a Path> {
    restoring.path_of(&row.directory).ok_or_else(|| {
        let message = format!("a segment is in none of the directories: segment=`{}`", row.key);
        Error::new(ErrorKind::Internal, message)
    })
}

/// A file that has the segment's name already.
fn compare(file: &Arc<dyn File>, path: &Path, row: &SegmentRow) -> Result<()> {
    if is_whole(file, row)? {
        return Ok(file.sync_all()?);
    }
    let message = format!("another file has the name of a segment: path=`{}`, segment=`{}`", path.display(), row.key);
    Err(Error::new(ErrorKind::Conflict, message).with_hint("move it away, then try again"))
}
