//! Which object store is the home of a collection's segments, if any (A5): chosen with the collection's directory, and never forgotten.
//!
//! Owns: `{directory}/.icecore/homes`, a line for each collection, the same in every directory that takes writes; the row of component
//! [`HOME`]. Does not own: choosing (`assign`), sending (`archive`).
//!
//! A log that has no remote, and never had one, has no such file, and nothing here costs it anything.
//!
//! # The order, and what a crash between any two steps does
//!
//! 1. A new collection is **placed**, under a lock and without I/O: its append waits for neither a disk nor the catalog nor a store. A crash behind it
//!    leaves its records in a journal, and no home: nobody was told of one. The next opening gives it one by the policy, and its journal stays where it is.
//! 2. **The record** is written, and synced, in every directory that can be written to; where none can, nothing below happens, and the keeper tries
//!    again. A crash behind it leaves a home that the catalog does not know: the next opening tells it.
//! 3. **The rows**, the collection's own and its home's, in one transaction. It comes before the collection's first segment has a name.
//! 4. Segments are sealed, and sent by what the row says. So no segment is anywhere of whose home there is no record.
//!
//! A catalog that is lost, at whatever moment, changes no home: the records are beside the journals, and **no store is asked**. Where one cannot be
//! reached meanwhile, its collections keep it as their home, are appended to, sealed and read as far as their files are here, and wait to be sent. (What
//! only that store has is told by its manifests: `catalog rebuild --from-archive`.)
//!
//! A home that is given later ([`Log::assign_home`](crate::Log::assign_home)) is recorded before its row too. Of record and row the higher epoch is right, of
//! the same epoch the record; of several records the highest epoch, then the highest number.
//!
//! The file is complete for whatever the catalog ever knew: it is made with all of them by the first opening that has a remote. A collection that is not in it was never
//! introduced (step 1), unless it has segments: then it stays local.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crc32c::crc32c;

use super::super::collection::Collection;
use super::super::directories::HOME;
use super::super::identity::{self, Remote};
use super::super::recover::journals::chain;
use super::super::{DirectoryState, Inner};
use crate::assignment::{self, Over};
use crate::catalog::{Catalog, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{File, FileSystem, OpenMode, durable};
use crate::types::{CollectionName, Epoch, Sequence};

const FILE: &str = "homes";
const BYTES_MAX: usize = 1 << 30;
/// Mutations made in one transaction.
const GROUP: usize = 512;

/// What is recorded of one collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::log) struct Record {
    /// The collection.
    pub collection: CollectionName,
    /// The id of the remote; `None` where its segments stay where they are sealed.
    pub home: Option<String>,
    /// The epoch that said so.
    pub epoch: Epoch,
    /// Counts what this epoch said.
    pub number: u64,
}

impl Record {
    const fn order(&self) -> (Epoch, u64) {
        (self.epoch, self.number)
    }

    fn line(&self) -> String {
        let json = serde_json::to_string(self).expect("text and numbers");
        format!("{:08x} {json}\n", crc32c(json.as_bytes()))
    }

    /// `None` for what is damaged, or was not written whole.
    fn parse(line: &str) -> Option<Self> {
        let (checksum, json) = line.split_once(' ')?;
        let is_whole = u32::from_str_radix(checksum, 16) == Ok(crc32c(json.as_bytes()));
        if is_whole { serde_json::from_str(json).ok() } else { None }
    }
}

/// Records by collection.
pub(in crate::log) type Records = HashMap<CollectionName, Record>;

/// What a directory's file says; `None` where there is none, and whether anything in it was damaged.
fn read_one(fs: &dyn FileSystem, directory: &Path) -> Result<Option<(Records, bool)>> {
    let bytes = match durable::read_small(fs, &path(directory), BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut records = Records::new();
    let mut is_damaged = false;
    for line in String::from_utf8_lossy(&bytes).lines() {
        match Record::parse(line) {
            Some(record) => add(&mut records, record),
            // A write that a crash cut off; whatever it was to say was not in force.
            None => is_damaged = true,
        }
    }
    Ok(Some((records, is_damaged)))
}

fn add(records: &mut Records, record: Record) {
    let newer = records.get(&record.collection).is_none_or(|known| known.order() <= record.order());
    if newer {
        records.insert(record.collection.clone(), record);
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join(identity::FOLDER).join(FILE)
}

/// What the directories that are there record together; `None` where none has a file.
///
/// # Errors
/// A file is there and cannot be read, and no other directory has one.
pub(in crate::log) fn read<'a>(
    fs: &dyn FileSystem,
    directories: impl IntoIterator<Item = &'a Path>,
) -> Result<Option<Records>> {
    let (mut all, mut failed): (Option<Records>, _) = (None, None);
    for directory in directories {
        match read_one(fs, directory) {
            Ok(Some((records, _))) => {
                let all = all.get_or_insert_default();
                records.into_values().for_each(|record| add(all, record));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = chain(&error), path = %directory.display(), "records of homes cannot be read");
                failed = Some(error);
            }
        }
    }
    match (all, failed) {
        (None, Some(error)) => Err(error),
        (all, _) => Ok(all),
    }
}

/// The remotes of an open log, and where its collections are at home.
#[derive(Debug)]
pub(in crate::log) struct Homes {
    /// As they were when the log was opened: they change only while nobody writes.
    pub remotes: Vec<Remote>,
    /// What is durable; `None` where nothing is to be: the log never had a remote. Never held during I/O: appends look here.
    records: RwLock<Option<Records>>,
    /// Held by who writes.
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    number: u64,
    /// By directory: its file and length, where that is known to be as it should.
    files: Vec<Option<(Arc<dyn File>, u64)>>,
}

impl Homes {
    pub fn new(remotes: Vec<Remote>) -> Self {
        Self { remotes, records: RwLock::default(), writing: Mutex::default() }
    }

    fn records(&self) -> RwLockReadGuard<'_, Option<Records>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_use(&self) -> bool {
        self.records().is_some()
    }

    fn recorded(&self, name: &CollectionName) -> Option<Record> {
        self.records().as_ref()?.get(name).cloned()
    }

    /// Where a collection of that name is at home, by what is on record.
    pub fn on_record(&self, name: &CollectionName) -> Option<SegmentsAt> {
        let records = self.records();
        let record = records.as_ref()?.get(name)?;
        Some(self.of_id(record.home.as_deref()))
    }

    fn keep(&self, new: impl IntoIterator<Item = Record>) {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        let records = records.get_or_insert_default();
        new.into_iter().for_each(|record| add(records, record));
    }

    /// What a home's id means.
    pub fn of_id(&self, id: Option<&str>) -> SegmentsAt {
        let Some(id) = id else { return SegmentsAt::Here };
        let index = self.remotes.iter().position(|remote| remote.directory == id);
        index.map_or(SegmentsAt::Unknown, SegmentsAt::Remote)
    }
}

/// Where a collection's segments are at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) enum SegmentsAt {
    /// Where they are sealed.
    Here,
    /// In one of the log's remotes.
    Remote(usize),
    /// In a remote that the log does not have any more: they stay where they are, and go nowhere.
    Unknown,
}

impl Inner {
    /// The directory and the home of a new collection; `None` where no directory takes one. What is on record of its name stands.
    ///
    /// As [`choose_directory`](Self::choose_directory), it makes no I/O, and who acts on it says so by [`Placement::added`](super::Placement::added).
    pub(in crate::log) fn choose_place(&self, name: &CollectionName) -> Option<(usize, SegmentsAt)> {
        let remotes = self.open_remotes();
        if remotes.is_empty() {
            return Some((self.choose_directory(name, &[])?, SegmentsAt::Here));
        }
        let locals: Vec<usize> =
            (0..self.directories.len()).filter(|index| self.directories[*index].takes_collections()).collect();
        match self.choose_home(name, &locals, &remotes)? {
            (index, SegmentsAt::Here) => Some((index, SegmentsAt::Here)),
            // Journals are spread over the local ones alike, whatever is sealed in them goes to.
            (_, remote) => Some((self.choose_directory(name, &[])?, remote)),
        }
    }

    /// The remotes that are chosen by themselves.
    fn open_remotes(&self) -> Vec<usize> {
        let remotes = &self.homes.remotes;
        let open = |index: &usize| self.options.placement_over == Over::All && !remotes[*index].drained;
        (0..remotes.len()).filter(open).collect()
    }

    /// By the policy, over these local directories and these remotes, in this order.
    fn choose_home(&self, name: &CollectionName, locals: &[usize], remotes: &[usize]) -> Option<(usize, SegmentsAt)> {
        let figures = self.placement.figures();
        let mut places: Vec<(usize, SegmentsAt)> = locals.iter().map(|index| (*index, SegmentsAt::Here)).collect();
        if places.is_empty() {
            return None;
        }
        places.extend(remotes.iter().map(|index| (0, SegmentsAt::Remote(*index))));
        let candidates: Vec<_> = places
            .iter()
            .map(|&(index, at)| {
                let place = self.placement.place(index, at).expect("it is one of the log's");
                let homes = self.placement.homes(place);
                assignment::Candidate {
                    id: match at {
                        SegmentsAt::Remote(remote) => &self.homes.remotes[remote].directory,
                        _ => &self.directories[index].id,
                    },
                    collections: homes,
                    empty: homes.saturating_sub(figures.with_bytes_at_home(place)),
                    bytes: figures.bytes_at_home(place),
                    free_bytes: if at == SegmentsAt::Here { figures.free_bytes(index) } else { None },
                }
            })
            .collect();
        assignment::choose(self.options.placement, name, &candidates).map(|chosen| places[chosen])
    }

    /// Step 2 for these collections, those that have no record yet; in one write for each directory.
    ///
    /// # Errors
    /// No directory could be written to.
    pub(in crate::log) fn record_homes<'a>(&self, some: impl IntoIterator<Item = &'a Collection>) -> Result<()> {
        if !self.homes.is_in_use() {
            return Ok(());
        }
        let mut writing = self.homes.writing();
        let mut new = Vec::new();
        for collection in some {
            if self.homes.on_record(collection.name()).is_none() {
                let home = self.home_id(collection.segments_at());
                new.push(Record { collection: collection.name().clone(), home, epoch: self.epoch, number: 0 });
            }
        }
        self.write_records(&mut writing, new)
    }

    /// The row of a collection's home (step 3): where it is a remote.
    pub(in crate::log) fn home_row(&self, name: &CollectionName) -> Option<Mutation> {
        let record = self.homes.recorded(name)?;
        let directory = record.home?;
        Some(assign(record.collection, directory, record.epoch, Sequence::FIRST))
    }

    fn home_id(&self, at: SegmentsAt) -> Option<String> {
        match at {
            SegmentsAt::Remote(index) => Some(self.homes.remotes[index].directory.clone()),
            SegmentsAt::Here | SegmentsAt::Unknown => None,
        }
    }

    /// Records that a collection's home is another now, and follows it. The row is the caller's.
    ///
    /// # Errors
    /// No directory could be written to; nothing changed.
    pub(in crate::log) fn record_new_home(&self, collection: &Collection, at: SegmentsAt) -> Result<()> {
        let mut writing = self.homes.writing();
        if self.homes.is_in_use() {
            let home = self.home_id(at);
            let record = Record { collection: collection.name().clone(), home, epoch: self.epoch, number: 0 };
            self.write_records(&mut writing, vec![record])?;
        }
        let state = collection.state();
        let before = collection.set_segments_at(at);
        self.placement.rehomed(state.home.directory, before, at);
        Ok(())
    }

    /// Appends records to the file of every directory; where that fails, a directory gets a file anew.
    fn write_records(&self, writing: &mut Writing, mut new: Vec<Record>) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        for record in &mut new {
            writing.number += 1;
            record.number = writing.number;
        }
        let text: String = new.iter().map(Record::line).collect();
        let (mut is_recorded, mut failed) = (false, None);
        writing.files.resize_with(self.directories.len(), || None);
        for (index, slot) in writing.files.iter_mut().enumerate() {
            if !self.may_record(index) {
                continue;
            }
            // A file whose write or sync failed is not written to again.
            let appended = slot.take().and_then(|(file, len)| {
                file.write_all_at(text.as_bytes(), len).and_then(|()| file.sync_data()).ok()?;
                Some((file, len + text.len() as u64))
            });
            match appended.map_or_else(|| self.write_file(index, &new), Ok) {
                Ok(file) => {
                    *slot = Some(file);
                    is_recorded = true;
                }
                Err(error) => failed = Some(self.unrecorded(index, error)),
            }
        }
        if is_recorded {
            self.homes.keep(new);
            return Ok(());
        }
        let error = Error::new(ErrorKind::Unavailable, "the homes of collections cannot be recorded");
        Err(match failed {
            Some(failed) => error.with_source(failed),
            None => error,
        })
    }

    fn unrecorded(&self, index: usize, error: Error) -> Error {
        let path = self.directories[index].path.display();
        tracing::warn!(error = chain(&error), %path, "homes could not be recorded");
        error
    }

    fn may_record(&self, index: usize) -> bool {
        let directory = &self.directories[index];
        directory.journal.is_some() && matches!(directory.state(), DirectoryState::Healthy | DirectoryState::Drained)
    }

    /// All that is known, and `new`, in place of the file that is there.
    fn write_file(&self, index: usize, new: &[Record]) -> Result<(Arc<dyn File>, u64)> {
        let mut text = String::new();
        if let Some(records) = self.homes.records().as_ref() {
            let mut sorted: Vec<&Record> = records.values().collect();
            sorted.sort_by(|one, other| one.collection.cmp(&other.collection));
            text.extend(sorted.into_iter().map(Record::line));
        }
        text.extend(new.iter().map(Record::line));
        let path = path(&self.directories[index].path);
        durable::replace_small(&*self.fs, &path, text.as_bytes())?;
        Ok((self.fs.open(&path, OpenMode::ReadWrite)?, text.len() as u64))
    }

    /// When the log is opened: brings records, rows and what the log goes by together, and gives a home to who has none yet.
    pub(in crate::log) fn settle_homes(&self) -> Result<()> {
        let there = |index: &usize| !matches!(self.directories[*index].state(), DirectoryState::Missing(_));
        let present: Vec<usize> = (0..self.directories.len()).filter(there).collect();
        let found = read(&*self.fs, present.iter().map(|index| self.directories[*index].path.as_path()))?;
        let rows = rows(&*self.catalog)?;
        if self.homes.remotes.is_empty() && found.is_none() && rows.is_empty() {
            return Ok(());
        }
        let is_first = found.is_none();
        let mut records = found.unwrap_or_default();
        for (name, (directory, epoch)) in &rows {
            let home = (!self.directories.iter().any(|known| known.id == *directory)).then(|| directory.clone());
            if records.get(name).is_none_or(|record| record.epoch < *epoch) {
                records.insert(name.clone(), Record { collection: name.clone(), home, epoch: *epoch, number: 0 });
            }
        }
        let mut unknown = Vec::new();
        for collection in self.all_collections() {
            match records.get(collection.name()) {
                Some(record) => {
                    let at = self.homes.of_id(record.home.as_deref());
                    self.placement.rehomed(collection.directory(), collection.set_segments_at(at), at);
                }
                None => unknown.push(collection),
            }
        }
        self.refresh_figures();
        for collection in &unknown {
            // Step 1 was the last that happened.
            let at = if is_first { SegmentsAt::Here } else { self.home_of_unknown(collection) };
            let (name, home) = (collection.name().clone(), self.home_id(at));
            records.insert(name.clone(), Record { collection: name, home, epoch: self.epoch, number: 0 });
        }
        self.homes.keep(records.into_values());
        if self.settle_files() {
            return self.settle_rows(&rows);
        }
        // What is on record nowhere is not to be a home.
        let mut records = self.homes.records.write().unwrap_or_else(PoisonError::into_inner);
        for collection in unknown {
            records.as_mut().and_then(|records| records.remove(collection.name()));
            let before = collection.set_segments_at(SegmentsAt::Here);
            self.placement.rehomed(collection.directory(), before, SegmentsAt::Here);
        }
        Ok(())
    }

    /// A home for a collection that lives here, and has none on record.
    fn home_of_unknown(&self, collection: &Collection) -> SegmentsAt {
        let (directory, is_new) = {
            let state = collection.state();
            (state.home.directory, state.sealed_through == Sequence(0) && state.floor <= Sequence::FIRST)
        };
        let remotes = self.open_remotes();
        if !is_new || remotes.is_empty() || !self.directories[directory].takes_collections() {
            return SegmentsAt::Here;
        }
        // It does not count where it may go.
        self.placement.rehomed(directory, SegmentsAt::Here, SegmentsAt::Unknown);
        let chosen = self.choose_home(collection.name(), &[directory], &remotes);
        let at = chosen.map_or(SegmentsAt::Here, |(_, at)| at);
        self.placement.rehomed(directory, SegmentsAt::Unknown, at);
        collection.set_segments_at(at);
        at
    }

    /// Step 2, for all: files that say something else are written anew. Whether any directory has them.
    fn settle_files(&self) -> bool {
        let mut writing = self.homes.writing();
        writing.files.resize_with(self.directories.len(), || None);
        let mut is_recorded = false;
        for index in (0..self.directories.len()).filter(|index| self.may_record(*index)) {
            let directory = &self.directories[index].path;
            let found = read_one(&*self.fs, directory).ok().flatten();
            let is_there = found.is_some_and(|(there, is_damaged)| !is_damaged && Some(there) == *self.homes.records());
            let written = if is_there { self.file_as_it_is(directory) } else { self.write_file(index, &[]) };
            match written {
                Ok(file) => {
                    writing.files[index] = Some(file);
                    is_recorded = true;
                }
                Err(error) => drop(self.unrecorded(index, error)),
            }
        }
        is_recorded
    }

    fn file_as_it_is(&self, directory: &Path) -> Result<(Arc<dyn File>, u64)> {
        let file = self.fs.open(&path(directory), OpenMode::ReadWrite)?;
        // What a killed run wrote may be told and not be durable.
        file.sync_all()?;
        let len = file.len()?;
        Ok((file, len))
    }

    /// Step 3, for all.
    fn settle_rows(&self, rows: &HashMap<CollectionName, (String, Epoch)>) -> Result<()> {
        let mut mutations = Vec::new();
        for collection in self.all_collections() {
            let Some(record) = self.homes.recorded(collection.name()) else { continue };
            let known = rows.get(collection.name());
            let says =
                known.map(|(directory, _)| directory).filter(|id| self.directories.iter().all(|it| it.id != **id));
            if says == record.home.as_ref() {
                continue;
            }
            let directory = record.home.unwrap_or_else(|| self.directories[collection.directory()].id.clone());
            let from = collection.state().sealed_through.next();
            mutations.push(assign(record.collection, directory, record.epoch, from));
        }
        for group in mutations.chunks(GROUP) {
            self.apply(group, "home, by the directories' records")?;
        }
        Ok(())
    }
}

/// The row that says where a collection is at home.
pub(in crate::log) fn assign(collection: CollectionName, directory: String, epoch: Epoch, from: Sequence) -> Mutation {
    Mutation::Assign { component: HOME.into(), collection, directory, epoch, from }
}

/// Every collection whose home the catalog knows: the directory's id, and the epoch that said so.
fn rows(catalog: &dyn Catalog) -> Result<HashMap<CollectionName, (String, Epoch)>> {
    let mut rows = HashMap::new();
    let mut after: Option<CollectionName> = None;
    loop {
        let page = after.as_ref().map(|name| (HOME, name));
        let assignments = catalog.assignments(Some(HOME), page, super::PAGE)?;
        let Some(last) = assignments.last() else { return Ok(rows) };
        after = Some(last.collection.clone());
        rows.extend(assignments.into_iter().map(|row| (row.collection, (row.directory, row.epoch))));
    }
}
