//! Deletes a collection: every record of it goes, its sequences are never given out again (C7), and nothing comes back to life (R4).
//!
//! # What goes
//!
//! Everything below the *cut*: the next sequence at one moment, taken under the collection's lock. An append that returned before the
//! call is below it, one that begins after the call returned is not. Of those that run beside it, each goes or stays as a whole: one
//! that has its sequence before that moment goes, even where it is acknowledged later; one behind it stays, and makes the
//! collection live again.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. Nobody seals or cools the collection from here on (a claim); nothing has changed yet.
//! 2. One transaction: the floor is raised to the cut, the collection is marked as deleted, its losses are taken note of, its rows go
//!    from `Sealed`, `Archived` or `Evicted` to `Purging` (many rows: the rest in further transactions). A crash before leaves it as it was. From here on it
//!    is deleted: recovery drops what hot and cold journals hold below the floor, readers pass over it, and
//!    [`finish`] does the rest when the log is opened. `Purging` is durable before the first file is touched (C1).
//! 3. A stub that covers everything below the cut is published. Only then may journals and segments go, which told of the end before (C7).
//! 4. The unsealed records leave the memtable. Their journals are released by the ordinary rules (R1: below the floor), also while
//!    files of segments are still there: those have rows.
//! 5. The files go, and their folders are synced. A crash leaves `Purging` rows with or without a file: both are finished.
//! 6. The rows become `Purged`, and stay as history. Those of archived segments stay `Purging` until the archive is rid of their objects
//!    (`archive::retention` does that, with a manifest first and a grace period).
//!
//! A record at or behind the floor makes the collection live again, whatever the mark says: so an append needs no transaction, and
//! is found after a crash.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::recover::COMPONENT;
use super::super::recover::segments::segment_path;
use super::super::{Collection, DirectoryState, Inner, Log};
use super::settings::{CollectionSettings, Stored};
use super::tombstone;
use crate::catalog::{Catalog, CollectionRow, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{EntryKind, FileSystem, OpenMode, durable};
use crate::segment::{FileKind, SegmentName, SegmentReader};
use crate::types::{CollectionName, Epoch, LogId, Sequence, Timestamp};

/// Rows read, or changed, at once.
const PAGE_ROWS: usize = 1000;
const REASON: &str = "collection deleted";

/// What a deletion takes away.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Deletion {
    /// The collection.
    pub collection: CollectionName,
    /// First sequence that goes; `None` where there are no records.
    pub first_sequence: Option<Sequence>,
    /// Last sequence that goes.
    pub last_sequence: Option<Sequence>,
    /// Records, sealed or not.
    pub records: u64,
    /// Bytes of segments' files, and of unsealed records.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// The sequence that the next record gets, if the collection comes back.
    pub next_sequence: Sequence,
}

/// Nobody else seals or cools the collection.
struct Hold<'a>(&'a Collection);

impl<'a> Hold<'a> {
    /// Waits for whoever does it now.
    fn take(collection: &'a Collection) -> Self {
        collection.claim();
        Self(collection)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.end_claim();
    }
}

impl Log {
    /// What [`delete_collection`](Self::delete_collection) would take away now.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where records are held, or a segment is on its way to the archive; what the catalog said.
    pub fn plan_deletion(&self, name: &CollectionName) -> Result<Deletion> {
        let collection = self.0.collection(name)?;
        self.0.rows_to_purge(name)?;
        self.deletion(&collection)
    }

    /// Deletes a collection: its records, segments and settings. When this returns, nothing of it is there but a small file that keeps
    /// its next sequence, and its history in the catalog. An append to the name, or
    /// [`create_collection`](Self::create_collection), makes it live again, empty, and going on with the next sequence. What the
    /// call took away is returned.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where records are held, or a segment is on its way to the archive; `Unavailable` where the collection's end is not known;
    /// `Invalid` for a log that was opened to read only; what the catalog said: nothing changed then. What the disk said: then it is deleted, and
    /// what is left of it goes when the log is opened next.
    pub fn delete_collection(&self, name: &CollectionName) -> Result<Deletion> {
        let log = &self.0;
        log.may_change()?;
        let collection = log.collection(name)?;
        let _hold = Hold::take(&collection);
        let _turn = log.lives.turn();
        // Deleted by another thread while we waited?
        log.collection(name)?;
        // No compaction makes others of these meanwhile.
        let _commit = log.compactions.commit();
        let rows = log.rows_to_purge(name)?;
        let mut deletion = self.deletion(&collection)?;
        let cut = {
            let state = collection.state();
            if let Some(why) = &state.refuses {
                return Err(Error::new(ErrorKind::Unavailable, why.clone()));
            }
            state.next
        };
        deletion.next_sequence = cut;
        let now = log.clock.now();
        let (first, rest) = rows.split_at(rows.len().min(PAGE_ROWS));
        log.mark_deleted(&collection, cut, now, first)?;
        // It is deleted by now, whatever fails: a row that stays `Sealed` is finished when the log is opened.
        let rest_is_marked = log.apply_in_groups(rest.iter().filter_map(to_purging).collect());
        let last = cut.previous();
        let home = &log.directories[collection.directory()].path;
        let writer =
            tombstone::Writer { fs: &*log.fs, log: log.log_id, epoch: log.epoch, now, random: log.clock.random() };
        let left = if last < Sequence::FIRST { Ok(()) } else { writer.leave(home, name, last) };
        log.forget_below(&collection, cut, now, left.is_ok());
        let unfinished = |error: Error| {
            let message = format!("the collection is deleted, but files of it are left: collection=`{name}`, {error}");
            Error::new(error.kind(), message)
                .with_source(error)
                .with_hint("they go when the log is opened for writing next")
        };
        rest_is_marked.and(left).map_err(unfinished)?;
        let purging: Vec<SegmentRow> =
            rows.into_iter().filter(|row| row.status != SegmentStatus::Quarantined).collect();
        let places: Vec<(String, PathBuf)> = log
            .directories
            .iter()
            .filter(|directory| !matches!(directory.state(), DirectoryState::Missing(_)))
            .map(|directory| (directory.id.clone(), directory.path.clone()))
            .collect();
        let mut gone = remove_files(&*log.fs, &places, &purging);
        gone.note(sweep(&*log.fs, &places, log.log_id, name, cut));
        // What has an archived copy is purged when that is gone too.
        let archived: BTreeSet<&SegmentKey> =
            purging.iter().filter(|row| row.archive_key.is_some()).map(|row| &row.key).collect();
        gone.keys.retain(|key| !archived.contains(key));
        log.apply_in_groups(purged(&gone.keys)).map_err(unfinished)?;
        if last < Sequence::FIRST {
            // It never had a record: nothing is to be remembered. Where something lies in it, it stays.
            let _ = log.fs.remove_dir(&home.join(name.directory_name()));
        }
        log.release_finished();
        tracing::info!(collection = %name, records = deletion.records, next_sequence = %cut, "deleted");
        gone.error.map_or(Ok(deletion), |error| Err(unfinished(error)))
    }

    fn deletion(&self, collection: &Collection) -> Result<Deletion> {
        let info = self.collection_info(collection.name())?;
        Ok(Deletion {
            collection: info.collection,
            first_sequence: info.first_sequence,
            last_sequence: info.last_sequence,
            records: info.records,
            bytes: info.bytes,
            segments: info.segments,
            next_sequence: collection.state().next,
        })
    }
}

impl Inner {
    /// The rows that must become `Purged`.
    fn rows_to_purge(&self, name: &CollectionName) -> Result<Vec<SegmentRow>> {
        if let Some(why) = self.held(name, Sequence::FIRST, Sequence::MAX)? {
            let message = format!("records of the collection are held: collection=`{name}`, {why}");
            return Err(
                Error::new(ErrorKind::Conflict, message).with_hint("`hold ls` lists holds, `hold clear` ends one")
            );
        }
        use SegmentStatus::{Archived, Archiving, Evicted, Purged, Purging, Quarantined, Replaced, Sealed};
        let mut rows = Vec::new();
        let mut after: Option<SegmentKey> = None;
        loop {
            let page = self.catalog.segments(Some(name), after.as_ref(), PAGE_ROWS)?;
            let Some(last) = page.last() else { return Ok(rows) };
            after = Some(last.key.clone());
            for row in page {
                match row.status {
                    Archiving => return Err(archiving(&row)),
                    Sealed | Archived | Evicted | Purging | Quarantined => rows.push(row),
                    Replaced | Purged => {}
                }
            }
        }
    }

    /// Step 2.
    fn mark_deleted(&self, collection: &Collection, cut: Sequence, now: Timestamp, rows: &[SegmentRow]) -> Result<()> {
        let name = collection.name();
        let known = self.catalog.collection(name)?;
        let mut mutations = self.introduce(collection)?;
        if known.as_ref().map_or(Sequence::FIRST, |row| row.floor) < cut {
            mutations.push(Mutation::RaiseFloor { collection: name.clone(), sequence: cut });
        }
        if known.map_or(Sequence(0), |row| row.sealed_through) < cut.previous() {
            mutations.push(Mutation::RaiseSealedThrough { collection: name.clone(), sequence: cut.previous() });
        }
        let settings = Stored { deleted: Some(now), ..Stored::default() }.text();
        mutations.push(Mutation::PutCollection { name: name.clone(), settings });
        for loss in self.catalog.losses(Some(name))?.into_iter().filter(|loss| loss.acknowledged.is_none()) {
            let (collection, first, last) = (name.clone(), loss.first, loss.last);
            mutations.push(Mutation::AcknowledgeLoss { collection, first, last, by: REASON.into() });
        }
        mutations.extend(rows.iter().filter_map(to_purging));
        if let Err(error) = self.apply(&mutations, REASON) {
            // A commit with an unknown outcome may have been good.
            let row = self.catalog.collection(name).ok().flatten();
            if !row.is_some_and(|row| row.floor >= cut && Stored::read(&row.settings).deleted.is_some()) {
                return Err(error);
            }
        }
        collection.catalogued.store(true, Ordering::Release);
        Ok(())
    }

    /// Step 4. Where no stub tells of the end, the journals that do are kept until the log is opened again.
    fn forget_below(&self, collection: &Arc<Collection>, cut: Sequence, now: Timestamp, may_release: bool) {
        let (runs, waiters) = {
            let mut state = collection.state();
            let runs = state.unsealed.take_through(cut.previous());
            if state.unsealed.is_empty() {
                state.oldest_unsealed = None;
            }
            let waiters = state.raise_floor(cut);
            collection.life.apply(&CollectionSettings::default());
            if state.next > cut {
                // Appends took their places behind the cut meanwhile.
                self.revive(collection);
            } else {
                collection.life.set_deleted(now);
            }
            (runs, waiters)
        };
        waiters.iter().for_each(|waiter| waiter.wake());
        if may_release {
            collection.let_go(&runs);
        }
    }

    fn apply_in_groups(&self, mutations: Vec<Mutation>) -> Result<()> {
        for group in mutations.chunks(PAGE_ROWS) {
            self.apply(group, REASON)?;
        }
        Ok(())
    }
}

fn archiving(row: &SegmentRow) -> Error {
    let message = format!("a segment of the collection is on its way to the archive: segment=`{}`", row.key);
    Error::new(ErrorKind::Conflict, message).with_hint("nothing was deleted; try again when it is there")
}

/// How a row begins to go. What lies in the quarantine is evidence and stays; its loss is taken note of, and nothing else is to be
/// deleted.
fn to_purging(row: &SegmentRow) -> Option<Mutation> {
    let to = match row.status {
        SegmentStatus::Sealed | SegmentStatus::Archived | SegmentStatus::Evicted => SegmentStatus::Purging,
        SegmentStatus::Quarantined => SegmentStatus::Purged,
        _ => return None,
    };
    Some(Mutation::Transition { key: row.key.clone(), from: row.status, to, archive_key: None })
}

pub(in crate::log) fn purged(keys: &[SegmentKey]) -> Vec<Mutation> {
    let (from, to) = (SegmentStatus::Purging, SegmentStatus::Purged);
    let transition = |key: &SegmentKey| Mutation::Transition { key: key.clone(), from, to, archive_key: None };
    keys.iter().map(transition).collect()
}

/// Whose files are gone for good, and the first error of those whose are not.
#[derive(Default)]
pub(in crate::log) struct Gone {
    pub keys: Vec<SegmentKey>,
    pub error: Option<Error>,
}

impl Gone {
    fn note(&mut self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.error.get_or_insert(error);
        }
    }
}

/// Step 5, for segments that never got a row, since a seal met an error between the two: they would be adopted. Only what is
/// whole, and of this log and collection by its own word, is ours to delete.
fn sweep(
    fs: &dyn FileSystem,
    places: &[(String, PathBuf)],
    log: LogId,
    collection: &CollectionName,
    floor: Sequence,
) -> Result<()> {
    for (_, root) in places {
        let folder = root.join(collection.directory_name());
        let entries = match fs.list(&folder) {
            Err(error) if error.is_not_found() => continue,
            listed => listed?,
        };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            let name = SegmentName::parse(&entry.name);
            if name.is_none_or(|name| name.kind != FileKind::Segment || name.covers.last >= floor) {
                continue;
            }
            let path = folder.join(&entry.name);
            let Ok(reader) = SegmentReader::open(fs.open(&path, OpenMode::Read)?) else { continue };
            if (reader.footer().log, &reader.footer().collection) == (log, collection) {
                durable::remove(fs, &path)?;
            }
        }
    }
    Ok(())
}

/// Step 5. A row whose directory is not at hand stays as it is.
pub(in crate::log) fn remove_files(fs: &dyn FileSystem, places: &[(String, PathBuf)], rows: &[SegmentRow]) -> Gone {
    let mut gone = Gone::default();
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    let mut removed: Vec<(&SegmentKey, PathBuf)> = Vec::new();
    for row in rows {
        let Some((_, root)) = places.iter().find(|(id, _)| *id == row.directory) else { continue };
        let path = segment_path(root, &row.key);
        let folder = path.parent().unwrap_or(root).to_path_buf();
        match fs.remove_file(&path) {
            Ok(()) => drop(folders.insert(folder.clone())),
            // By an earlier try, whose sync may be missing.
            Err(error) if error.is_not_found() => {
                if fs.metadata(&folder).is_ok() {
                    folders.insert(folder.clone());
                }
            }
            Err(error) => {
                gone.error.get_or_insert(error.into());
                continue;
            }
        }
        removed.push((&row.key, folder));
    }
    // One sync for all files of a folder.
    let mut synced = BTreeSet::new();
    for folder in folders {
        match fs.sync_dir(&folder) {
            Ok(()) => drop(synced.insert(folder)),
            Err(error) => drop(gone.error.get_or_insert(error.into())),
        }
    }
    let is_durable =
        |folder: &Path| synced.contains(folder) || fs.metadata(folder).is_err_and(|error| error.is_not_found());
    gone.keys = removed.into_iter().filter(|(_, folder)| is_durable(folder)).map(|(key, _)| key.clone()).collect();
    gone
}

/// Does what deletions that were cut short left to do, in those `directories` that are there; before recovery looks at anything, so that it finds rows and files
/// agreed. What cannot be done now is tried again at the next opening, and does not keep the log from being opened.
///
/// # Errors
/// The catalog cannot be read or changed.
pub(in crate::log) fn finish(
    fs: &dyn FileSystem,
    directories: &[(String, PathBuf)],
    catalog: &dyn Catalog,
    (log, epoch): (LogId, Epoch),
    clock: &dyn Clock,
) -> Result<()> {
    let mut after: Option<CollectionName> = None;
    loop {
        let rows = catalog.collections(after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.name.clone());
        for row in rows.iter().filter(|row| row.floor > Sequence::FIRST) {
            let (now, random) = (clock.now(), clock.random());
            let writer = tombstone::Writer { fs, log, epoch, now, random };
            if let Err(error) = finish_one(&writer, directories, catalog, row) {
                tracing::warn!(collection = %row.name, %error, "a deletion could not be finished");
                if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::OutcomeUnknown) {
                    return Err(error);
                }
            }
        }
    }
}

fn finish_one(
    writer: &tombstone::Writer<'_>,
    directories: &[(String, PathBuf)],
    catalog: &dyn Catalog,
    collection: &CollectionRow,
) -> Result<()> {
    let CollectionRow { name, floor, .. } = collection;
    let home = match catalog.assignment(COMPONENT, name)? {
        None => directories.first(),
        Some(assigned) => directories.iter().find(|(id, _)| *id == assigned.directory),
    };
    // Where its directory is missing, it waits for it: nothing is made at an empty mount point (A1).
    let Some((_, home)) = home else { return Ok(()) };
    let apply = |mutations: &[Mutation]| catalog.apply(mutations, writer.now, REASON).map(drop);
    // Below the floor nothing is live, unless a transaction of many was the last one.
    let live = |catalog: &dyn Catalog| -> Result<Vec<SegmentRow>> {
        let rows = catalog.segments_from(name, Sequence::FIRST, PAGE_ROWS)?;
        Ok(rows.into_iter().filter(|row| row.key.last < *floor && to_purging(row).is_some()).collect())
    };
    loop {
        let left = live(catalog)?;
        if left.is_empty() {
            break;
        }
        apply(&left.iter().filter_map(to_purging).collect::<Vec<_>>())?;
    }
    let mut purging = Vec::new();
    let mut after: Option<SegmentKey> = None;
    let is_marked = Stored::read(&collection.settings).deleted.is_some();
    loop {
        let rows = catalog.segments(Some(name), after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.key.clone());
        let is_left = |row: &SegmentRow| is_marked && row.status == SegmentStatus::Purging && row.archive_key.is_none();
        purging.extend(rows.into_iter().filter(|row| row.key.last < *floor && is_left(row)));
    }
    if is_marked {
        let path = tombstone::path(home, name, floor.previous());
        if writer.fs.metadata(&path).is_err_and(|error| error.is_not_found()) {
            writer.leave(home, name, floor.previous())?;
        }
    }
    let mut gone = remove_files(writer.fs, directories, &purging);
    if is_marked {
        gone.note(sweep(writer.fs, directories, writer.log, name, *floor));
    }
    for group in purged(&gone.keys).chunks(PAGE_ROWS) {
        apply(group)?;
    }
    gone.error.map_or(Ok(()), Err)
}
