//! The log's part in a purge: floor and rows first, then the local files. What the archive does behind it is `archive::retention`'s.
//!
//! # Why this order
//!
//! The floor is raised and the rows become `Purging` in one durable transaction, before the first file is touched (C1): a crash before leaves
//! everything promised as it was, one behind it leaves rows whose files recovery removes. Many rows take several transactions, the
//! floor first: what is below it is promised no more, whatever its row says, and [`Log::mark_below_floors`] finds the rest. Where nothing of a
//! collection is left, a stub that covers everything below its floor is published before its newest file goes (C7).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::PoisonError;

use super::{Inner, Log, Wanted};
use crate::catalog::{Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::OpenMode;
use crate::journal::{self, ScanError};
use crate::log::DirectoryState;
use crate::log::life::{delete, tombstone};
use crate::types::{CollectionName, Sequence};

/// Rows changed at once.
const PAGE_ROWS: usize = 1000;
const REASON: &str = "retention";

impl Log {
    /// The first sequence of each collection that any journal has, hot or cold, sealed or not (R4). Reads every journal.
    ///
    /// # Errors
    /// What the disk said; then nothing is known.
    pub(crate) fn journaled(&self) -> Result<HashMap<CollectionName, Sequence>> {
        let mut firsts: HashMap<CollectionName, Sequence> = HashMap::new();
        for found in self.journals()? {
            let file = match self.0.fs.open(&found.path, OpenMode::Read) {
                Ok(file) => file,
                // Released since it was listed.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let scan = match journal::scan(&*file, None) {
                Ok(scan) => scan,
                Err(ScanError::Fs(error)) => return Err(error.into()),
                Err(error) => {
                    let message = format!("a journal cannot be read: path=`{}`: {error}", found.path.display());
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            };
            for run in scan.runs {
                let first = firsts.entry(run.collection).or_insert(run.first);
                *first = run.first.min(*first);
            }
        }
        Ok(firsts)
    }

    /// How many readers have a segment open.
    pub(crate) fn readers_of(&self, key: &SegmentKey) -> u64 {
        self.0.leases.readers(key)
    }

    /// Raises the floor of a collection, and begins the purge of segments below it, given with the status that was judged. Under the same lock as legal
    /// holds are set: one that is set by then stops it, one that is set later finds the purge begun.
    ///
    /// # Errors
    /// `NotFound`, `Closed`; `Conflict` where one of them is held, or is not as it was; what the catalog said. Unless the outcome is unknown, nothing
    /// changed.
    pub(crate) fn begin_purge(
        &self,
        name: &CollectionName,
        floor: Sequence,
        segments: &[(SegmentKey, SegmentStatus)],
    ) -> Result<()> {
        self.may_change()?;
        let log = &self.0;
        let _turn_of_settings = log.lives.turn();
        let _turn = log.tier_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let collection = log.collection(name)?;
        let settings = log.stored_settings(name)?;
        let mut rows = Vec::with_capacity(segments.len());
        for (key, status) in segments {
            let conflict = |what: &str| {
                let message = format!("a segment may not be purged any more: segment=`{key}`, {what}");
                Err(Error::new(ErrorKind::Conflict, message).with_hint("`retention plan` tells what may"))
            };
            if let Some(held) = settings.held(key.first, key.last) {
                return conflict(&held);
            }
            let is_archived =
                |status: SegmentStatus| matches!(status, SegmentStatus::Archived | SegmentStatus::Evicted);
            match log.catalog.segment(key)? {
                Some(row) if row.status == *status || (is_archived(row.status) && is_archived(*status)) => {
                    rows.push(row)
                }
                Some(row) => return conflict(&format!("status=`{}`, expected=`{status}`", row.status)),
                None => return conflict("it is not there"),
            }
        }
        let (first, rest) = rows.split_at(rows.len().min(PAGE_ROWS));
        let mut mutations = log.introduce(&collection)?;
        mutations.push(Mutation::RaiseFloor { collection: name.clone(), sequence: floor });
        mutations.extend(first.iter().map(to_purging));
        if let Err(error) = log.apply(&mutations, REASON) {
            // A commit with an unknown outcome may have been good.
            let known = log.catalog.collection(name).ok().flatten();
            if known.is_none_or(|row| row.floor < floor) {
                return Err(error);
            }
        }
        let waiters = collection.state().raise_floor(floor);
        waiters.iter().for_each(|waiter| waiter.wake());
        for group in rest.chunks(PAGE_ROWS) {
            log.apply(&group.iter().map(to_purging).collect::<Vec<_>>(), REASON)?;
        }
        Ok(())
    }

    /// Why what is left of a segment must stay, where somebody holds any of it.
    ///
    /// # Errors
    /// What the catalog said.
    pub(crate) fn held(&self, key: &SegmentKey) -> Result<Option<String>> {
        self.0.held(&key.collection, key.first, key.last)
    }

    /// Begins the purge of every row below its collection's floor that is live still: of a purge that was cut short, or a deletion.
    ///
    /// # Errors
    /// `Closed`; what the catalog said.
    pub(crate) fn mark_below_floors(&self) -> Result<()> {
        self.may_change()?;
        let log = &self.0;
        let _turn = log.tier_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after: Option<CollectionName> = None;
        loop {
            let collections = log.catalog.collections(after.as_ref(), PAGE_ROWS)?;
            let Some(last) = collections.last() else { return Ok(()) };
            after = Some(last.name.clone());
            for collection in collections.iter().filter(|row| row.floor > Sequence::FIRST) {
                loop {
                    let rows = log.catalog.segments_from(&collection.name, Sequence::FIRST, PAGE_ROWS)?;
                    let is_left =
                        |row: &&SegmentRow| row.key.last < collection.floor && row.status != SegmentStatus::Archiving;
                    let left: Vec<Mutation> = rows.iter().filter(is_left).map(to_purging).collect();
                    if left.is_empty() {
                        break;
                    }
                    log.apply(&left, REASON)?;
                }
            }
        }
    }

    /// Every row whose purge was begun and is not over, oldest sealed first.
    ///
    /// # Errors
    /// What the catalog said.
    pub(crate) fn purging(&self) -> Result<Vec<SegmentRow>> {
        let mut rows = Vec::new();
        self.0.each_row(SegmentStatus::Purging, &Wanted::default(), &mut |row| {
            rows.push(row);
            Ok(true)
        })?;
        Ok(rows)
    }

    /// Removes the local files of rows whose purge was begun; those of them that no archive has are purged then. A row whose directory is
    /// not at hand stays as it is.
    ///
    /// # Errors
    /// The first thing that the disk or the catalog said; the rest was done.
    pub(crate) fn remove_purging(&self, rows: &[SegmentRow]) -> Result<()> {
        self.may_change()?;
        let log = &self.0;
        let _turn = log.tier_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<&CollectionName> = rows.iter().map(|row| &row.key.collection).collect();
        names.dedup();
        names.sort_unstable();
        names.dedup();
        let mut refused = None;
        let mut kept: Vec<&CollectionName> = Vec::new();
        for name in names {
            if let Err(error) = log.leave_tombstone(name) {
                kept.push(name);
                refused.get_or_insert(error);
            }
        }
        let rows: Vec<SegmentRow> = rows.iter().filter(|row| !kept.contains(&&row.key.collection)).cloned().collect();
        let there = log.directories.iter().filter(|it| !matches!(it.state(), DirectoryState::Missing(_)));
        let places: Vec<(String, PathBuf)> = there.map(|it| (it.id.clone(), it.path.clone())).collect();
        let mut gone = delete::remove_files(&*log.fs, &places, &rows);
        let local: std::collections::HashSet<&SegmentKey> =
            rows.iter().filter(|row| row.archive_key.is_none()).map(|row| &row.key).collect();
        gone.keys.retain(|key| local.contains(key));
        self.finish_purge(&gone.keys)?;
        refused.or(gone.error).map_or(Ok(()), Err)
    }

    /// Every copy of these is gone.
    ///
    /// # Errors
    /// What the catalog said.
    pub(crate) fn finish_purge(&self, keys: &[SegmentKey]) -> Result<()> {
        for group in delete::purged(keys).chunks(PAGE_ROWS) {
            self.change(group, "purged")?;
        }
        Ok(())
    }
}

impl Inner {
    /// Where no segment of a collection is left, what keeps its next sequence; nothing otherwise.
    fn leave_tombstone(&self, name: &CollectionName) -> Result<()> {
        if !self.catalog.segments_back(name, Sequence::MAX, 1)?.is_empty() {
            return Ok(());
        }
        let Some(row) = self.catalog.collection(name)? else { return Ok(()) };
        let assigned = self.catalog.assignment(crate::log::recover::COMPONENT, name)?;
        let home = assigned.and_then(|it| self.directories.iter().find(|directory| directory.id == it.directory));
        let home = home.filter(|home| !matches!(home.state(), DirectoryState::Missing(_)));
        let Some(home) = home else {
            let message = format!("the collection's directory is not there: collection=`{name}`");
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let writer = tombstone::Writer {
            fs: &*self.fs,
            log: self.log_id,
            epoch: self.epoch,
            now: self.clock.now(),
            random: self.clock.random(),
        };
        writer.leave(&home.path, name, row.floor.previous())
    }
}

fn to_purging(row: &SegmentRow) -> Mutation {
    Mutation::Transition { key: row.key.clone(), from: row.status, to: SegmentStatus::Purging, archive_key: None }
}
