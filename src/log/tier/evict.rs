//! Evicts: drops the local copies of archived segments.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. Nobody pins the segment: no reader has it open, every sink has its records, no legal hold is on them. The archive is asked whether it
//!    has the object now.
//! 2. Of a collection's newest segment a stub is left beside it, durable: without the file, only the catalog would know of the
//!    collection's end (C7). A crash leaves a stub beside the file, which says nothing new.
//! 3. The row becomes `Evicted`. From here on readers go to the archive; one that has the file open reads on.
//! 4. The file goes, and its folder is synced. A crash before leaves a file whose row does not want it: recovery removes it.
//!
//! The row before the file: the other order would leave a row that promises bytes which are gone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::PoisonError;

use super::{Inner, Kept, Log, Silent, TierProgress, Wanted};
use crate::catalog::{CatalogError, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{EntryKind, OpenMode, durable};
use crate::log::life::tombstone::is_of_deletion;
use crate::log::recover::journals::chain;
use crate::log::recover::segments::segment_path;
use crate::segment::{FileKind, Footer, SegmentName, SegmentReader, read_stub, write_stub};
use crate::types::{CollectionName, Sequence, Timestamp};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;

/// Which local copies are to go. The default is all that are archived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvictOptions {
    /// Of these collections; of all where empty.
    pub collections: Vec<CollectionName>,
    /// Only segments whose newest record is older.
    pub older_than: Option<Timestamp>,
    /// Oldest sealed first, until no more than so many bytes of segments are local.
    pub keep_bytes: Option<u64>,
    /// Changes nothing, and says what would go.
    pub dry_run: bool,
    /// Does not ask the archive whether it still has each object: the row's word, that it was proven once, is enough.
    pub trust_rows: bool,
}

/// What an eviction did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Evicted {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Local copies that went.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were to go and stayed, and why.
    pub kept: Vec<Kept>,
    /// Files that could not be removed, though their rows do not want them any more, and why: they go when the log is opened next.
    pub left: Vec<Kept>,
    /// It was interrupted: more may be left to do.
    pub is_interrupted: bool,
}

/// What sinks have, asked once for each collection.
#[derive(Default)]
pub(super) struct Cursors(HashMap<CollectionName, Vec<(String, Sequence)>>);

impl Cursors {
    fn behind(&mut self, log: &Inner, key: &SegmentKey) -> Result<Option<String>> {
        if !self.0.contains_key(&key.collection) {
            let cursors = log.delivered(&key.collection)?;
            self.0.insert(key.collection.clone(), cursors);
        }
        let behind = self.0[&key.collection].iter().find(|(_, sequence)| *sequence < key.last);
        Ok(behind.map(|(sink, sequence)| format!("a sink does not have it yet: sink=`{sink}`, cursor=`{sequence}`")))
    }
}

impl Log {
    /// Drops local copies of archived segments, oldest sealed first. What is pinned stays, and the report says by what. `progress` is told how
    /// far it has come, and ends it by answering no.
    ///
    /// # Errors
    /// `Unavailable` where no archive was given, or a store does not answer and nothing could go; `Invalid` for a log that was opened to read only, what
    /// the catalog said. What was evicted before stays so. A store that does not answer keeps what of another may go from nothing.
    pub fn evict(&self, options: &EvictOptions, progress: &mut dyn FnMut(TierProgress) -> bool) -> Result<Evicted> {
        let log = &self.0;
        if !options.dry_run {
            self.may_change()?;
        }
        if log.options.archive.is_none() && !options.trust_rows {
            return Err(super::no_archive());
        }
        let _turn = log.tier_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Wanted { collections: &options.collections, ..Wanted::default() };
        let mut local_bytes = 0;
        let mut done = TierProgress::default();
        for status in [SegmentStatus::Sealed, SegmentStatus::Archiving, SegmentStatus::Archived] {
            log.each_row(status, &wanted, &mut |row| {
                local_bytes += row.bytes;
                if status == SegmentStatus::Archived {
                    done.total_bytes += row.bytes;
                }
                Ok(true)
            })?;
        }
        let keep_bytes = options.keep_bytes.unwrap_or(0);
        done.total_bytes = done.total_bytes.min(local_bytes.saturating_sub(keep_bytes));
        let mut evicted = Evicted { dry_run: options.dry_run, ..Evicted::default() };
        let (mut cursors, mut silent) = (Cursors::default(), Silent::default());
        log.each_row(SegmentStatus::Archived, &wanted, &mut |row| {
            if options.keep_bytes.is_some_and(|keep| local_bytes <= keep) {
                return Ok(false);
            }
            if options.older_than.is_some_and(|older| row.timestamp_max >= older) {
                return Ok(true);
            }
            if !progress(done) {
                evicted.is_interrupted = true;
                return Ok(false);
            }
            let pin = match log.pinned(&row, &mut cursors)? {
                None if !options.trust_rows => log.not_in_archive(&row, &mut silent)?,
                pin => pin,
            };
            let reason = match pin {
                None if options.dry_run => None,
                None => log.evict_one(&row, &mut evicted.left)?,
                pinned => pinned,
            };
            match reason {
                Some(reason) => evicted.kept.push(Kept { segment: row.key, reason }),
                None => {
                    evicted.segments += 1;
                    evicted.bytes += row.bytes;
                    local_bytes -= row.bytes.min(local_bytes);
                }
            }
            done.bytes += row.bytes;
            Ok(true)
        })?;
        progress(done);
        silent.settle(evicted.segments > 0)?;
        Ok(evicted)
    }
}

impl Inner {
    /// What keeps a segment's local copy here.
    pub(super) fn pinned(&self, row: &SegmentRow, cursors: &mut Cursors) -> Result<Option<String>> {
        match self.leases.readers(&row.key) {
            0 => {}
            readers => return Ok(Some(format!("somebody reads it: readers=`{readers}`"))),
        }
        match self.held(&row.key.collection, row.key.first, row.key.last)? {
            None => cursors.behind(self, &row.key),
            held => Ok(held),
        }
    }

    /// Why the archive is no reason to let the local copy go.
    pub(super) fn not_in_archive(&self, row: &SegmentRow, silent: &mut Silent) -> Result<Option<String>> {
        let Some(archive) = &self.options.archive else { return Err(super::no_archive()) };
        if let Some(reason) = silent.reason(row) {
            return Ok(Some(reason));
        }
        match archive.has(row) {
            Ok(true) => Ok(None),
            Ok(false) => {
                tracing::warn!(segment = %row.key, "the archive does not have an archived segment any more");
                Ok(Some("the archive does not have it any more".to_owned()))
            }
            // It is of this one only.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Invalid) => {
                Ok(Some(chain(&error)))
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => Ok(Some(silent.note(row, error))),
            Err(error) => Err(error),
        }
    }

    /// Steps 2 to 4; why the segment stayed, where it did.
    pub(super) fn evict_one(&self, row: &SegmentRow, left: &mut Vec<Kept>) -> Result<Option<String>> {
        let Some(directory) = self.directories.iter().find(|directory| directory.id == row.directory) else {
            return Ok(Some(format!("its directory is none of the log's: directory=`{}`", row.directory)));
        };
        if matches!(directory.state(), crate::log::DirectoryState::Missing(_)) {
            return Ok(Some(format!("its directory is missing: directory=`{}`", directory.path.display())));
        }
        let newest = self.catalog.segments_back(&row.key.collection, Sequence::MAX, 1)?;
        if newest.first().is_some_and(|newest| newest.key == row.key)
            && let Err(error) = self.leave_stub(row, &directory.path)
        {
            return Ok(Some(format!("no stub could be left of it: {}", chain(&error))));
        }
        let (from, to) = (SegmentStatus::Archived, SegmentStatus::Evicted);
        let transition = Mutation::Transition { key: row.key.clone(), from, to, archive_key: None };
        match self.catalog.apply(std::slice::from_ref(&transition), self.clock.now(), "evicted") {
            Ok(number) => self.changed(number, std::iter::once(&transition)),
            Err(CatalogError::Refused(refused)) => return Ok(Some(refused.to_string())),
            Err(error) => return Err(error.into()),
        }
        let path = segment_path(&directory.path, &row.key);
        match durable::remove(&*self.fs, &path) {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(segment = %row.key, %error, "an evicted segment's file could not be removed");
                left.push(Kept { segment: row.key.clone(), reason: chain(&error) });
            }
            _ => {}
        }
        Ok(None)
    }

    /// Step 2. Stubs of older segments are superfluous then.
    fn leave_stub(&self, row: &SegmentRow, root: &Path) -> Result<()> {
        let footer = self.footer_of(row, root)?;
        let name = SegmentName::stub(footer.covers, footer.generation);
        let path = name.path(root, &row.key.collection);
        let folder = path.parent().unwrap_or(root);
        let is_there = match self.fs.open(&path, OpenMode::Read) {
            Ok(file) => read_stub(file).is_ok_and(|found| found == footer),
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(error.into()),
        };
        if is_there {
            // An earlier eviction left it; its bytes or its name may not be durable yet.
            self.fs.open(&path, OpenMode::Read)?.sync_all()?;
            durable::sync_parent(&*self.fs, &path)?;
        } else {
            let directory = root.join(crate::log::identity::FOLDER).join(crate::log::seal::STAGING);
            let staging = directory.join(format!("stub-{}.tmp", self.next_temporary()));
            let left = write_stub(&*self.fs, &staging, &footer).map_err(Error::from).and_then(|_| {
                // What has the name and is no stub of this segment is damaged, or of a deletion before it.
                self.fs.replace(&staging, &path)?;
                Ok(durable::sync_parent(&*self.fs, &path)?)
            });
            if left.is_err() {
                // Of no use to anybody; where it cannot be removed now, opening the log does.
                let _ = self.fs.remove_file(&staging);
            }
            left?;
        }
        for entry in self.fs.list(folder)?.iter().filter(|entry| entry.kind == EntryKind::File) {
            let older = SegmentName::parse(&entry.name)
                .filter(|other| other.kind == FileKind::Stub && other.covers.last < footer.covers.last);
            // One of a deletion says more than its end: everything before it was removed.
            let is_superfluous = |path: &Path| {
                let file = self.fs.open(path, OpenMode::Read).ok();
                file.and_then(|file| read_stub(file).ok()).is_some_and(|older| !is_of_deletion(&older))
            };
            let old = folder.join(&entry.name);
            if older.is_some() && is_superfluous(&old) {
                self.fs.remove_file(&old)?;
            }
        }
        Ok(())
    }

    fn footer_of(&self, row: &SegmentRow, root: &Path) -> Result<Footer> {
        let local = self.fs.open(&segment_path(root, &row.key), OpenMode::Read).map_err(Error::from);
        let local = local.and_then(|file| Ok(SegmentReader::open(file)?));
        match (local, &self.options.archive) {
            (Ok(reader), _) if reader.footer().content_digest == row.content_digest => Ok(reader.footer().clone()),
            // The file is damaged or gone: one more reason to read the archived one.
            (_, Some(archive)) => Ok(SegmentReader::open_end(archive.open(row)?)?.footer().clone()),
            (Err(error), None) => Err(error),
            (Ok(_), None) => Err(Error::new(ErrorKind::Corrupt, "its file is not the one that its row says")),
        }
    }

    /// Every row of a status that is wanted, oldest sealed first, until `each` answers no. Rows may change status meanwhile.
    pub(super) fn each_row(
        &self,
        status: SegmentStatus,
        wanted: &Wanted<'_>,
        each: &mut dyn FnMut(SegmentRow) -> Result<bool>,
    ) -> Result<()> {
        let mut after: Option<SegmentKey> = None;
        loop {
            let rows = self.catalog.segments_by_status(status, after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for row in rows.into_iter().filter(|row| wanted.has(row)) {
                if !each(row)? {
                    return Ok(());
                }
            }
        }
    }
}
