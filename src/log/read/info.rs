//! What collections and journals there are, for people and for tools.
//!
//! Owns: putting together what the memtable, the catalog and the folders say. A snapshot of a moment: numbers of different
//! collections may be of different moments.

use std::collections::HashMap;
use std::path::PathBuf;

use super::super::{Collection, Inner, Log};
use super::ReadOptions;
use crate::catalog::SegmentRow;
use crate::error::Result;
use crate::fs::EntryKind;
use crate::journal::file::{JOURNAL_FOLDER, JournalKind, JournalNumber, parse_file_name};
use crate::types::{CollectionName, Sequence, Timestamp};

/// Rows read at once.
const PAGE_ROWS: usize = 4096;
/// So many collections are named that keep a journal.
const NAMED_MAX: usize = 10;

/// What there is of one collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CollectionInfo {
    /// Its name.
    pub collection: CollectionName,
    /// The directory that it is assigned to.
    pub directory: PathBuf,
    /// The first sequence that is there; `None` without records.
    pub first_sequence: Option<Sequence>,
    /// The last sequence that is there; `None` without records.
    pub last_sequence: Option<Sequence>,
    /// Last sequence that readers may see; zero for none.
    pub written: Sequence,
    /// Last sequence that a power cut cannot take; zero for none.
    pub durable: Sequence,
    /// First sequence still promised.
    pub floor: Sequence,
    /// Since when it is deleted, where it is.
    pub deleted: Option<Timestamp>,
    /// Records, sealed or not.
    pub records: u64,
    /// Bytes of segments' files, and of unsealed records.
    pub bytes: u64,
    /// Segments that can be read.
    pub segments: u64,
    /// Records in no segment yet.
    pub unsealed_records: u64,
    /// Their bytes.
    pub unsealed_bytes: u64,
}

/// What a journal file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalUse {
    /// Takes appends now.
    Active,
    /// Prepared for appends, or written to before, and not released.
    Hot,
    /// Holds remainders of quiet collections.
    Cold,
}

/// What there is of one journal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct JournalInfo {
    /// Its file.
    pub path: PathBuf,
    /// Whether it takes appends.
    pub kind: JournalUse,
    /// Length of the file.
    pub bytes: u64,
    /// Runs that are in no segment and in no other journal.
    pub live_runs: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// The collections whose records keep it from being released; those with the most bytes, at most ten.
    pub kept_by: Vec<CollectionName>,
    /// How many collections keep it.
    pub kept_by_count: u64,
}

#[derive(Default)]
struct Sealed {
    segments: u64,
    records: u64,
    bytes: u64,
    range: Option<(Sequence, Sequence)>,
}

impl Sealed {
    fn add(&mut self, row: &SegmentRow) {
        if !row.status.is_live() {
            return;
        }
        self.segments += 1;
        self.records += row.records;
        self.bytes += row.bytes;
        let (first, last) = self.range.unwrap_or((row.key.first, row.key.last));
        self.range = Some((first.min(row.key.first), last.max(row.key.last)));
    }
}

impl Log {
    /// All collections, in order of name; without those that were deleted
    /// ([`deleted_collections`](Self::deleted_collections)).
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn collections(&self) -> Result<Vec<CollectionInfo>> {
        self.0.infos(|known| !known.life.is_hidden())
    }

    /// One collection.
    ///
    /// # Errors
    /// `NotFound`, or the catalog cannot be read.
    pub fn collection_info(&self, collection: &CollectionName) -> Result<CollectionInfo> {
        let known = self.0.collection(collection)?;
        let mut sealed = self.0.sealed(Some(collection))?;
        Ok(self.0.info(&known, &sealed.remove(collection).unwrap_or_default()))
    }

    /// The sequence of the first record, in order of sequence, of time `from` or later; `None` where there is none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn position_of_time(&self, collection: &CollectionName, from: Timestamp) -> Result<Option<Sequence>> {
        let options = ReadOptions { from_time: Some(from), limit: Some(1), ..ReadOptions::default() };
        Ok(self.read(collection, options)?.try_next()?.map(|record| record.sequence))
    }

    /// All journals, by directory, oldest first; free files are none.
    ///
    /// # Errors
    /// A journals' folder cannot be listed.
    pub fn journals(&self) -> Result<Vec<JournalInfo>> {
        let kept = self.0.keepers();
        let mut journals = Vec::new();
        for directory in &self.0.directories {
            let active = directory.journal.as_ref().and_then(crate::journal::Journal::active);
            let folder = directory.path.join(JOURNAL_FOLDER);
            let entries = match self.0.fs.list(&folder) {
                Err(error) if error.is_not_found() => continue,
                listed => listed?,
            };
            let mut names: Vec<(JournalNumber, JournalKind, String)> = entries
                .into_iter()
                .filter(|entry| entry.kind == EntryKind::File)
                .filter_map(|entry| parse_file_name(&entry.name).map(|(kind, number)| (number, kind, entry.name)))
                .collect();
            names.sort_unstable();
            for (_, kind, name) in names {
                let path = folder.join(name);
                let bytes = match self.0.fs.metadata(&path) {
                    Ok(found) => found.len,
                    // Released since it was listed.
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error.into()),
                };
                let kind = match kind {
                    JournalKind::Cold => JournalUse::Cold,
                    JournalKind::Hot if active.as_ref().is_some_and(|active| active.path == path) => JournalUse::Active,
                    JournalKind::Hot => JournalUse::Hot,
                };
                let mut journal = JournalInfo {
                    kind,
                    bytes,
                    live_runs: 0,
                    live_bytes: 0,
                    kept_by: Vec::new(),
                    kept_by_count: 0,
                    path,
                };
                if let Some(keepers) = kept.get(&journal.path) {
                    journal.note(keepers);
                }
                journals.push(journal);
            }
        }
        Ok(journals)
    }
}

/// What one collection keeps in a journal.
struct Keeper {
    collection: CollectionName,
    runs: u64,
    bytes: u64,
}

impl JournalInfo {
    fn note(&mut self, keepers: &[Keeper]) {
        self.live_runs = keepers.iter().map(|keeper| keeper.runs).sum();
        self.live_bytes = keepers.iter().map(|keeper| keeper.bytes).sum();
        self.kept_by_count = keepers.len() as u64;
        let mut largest: Vec<&Keeper> = keepers.iter().collect();
        largest.sort_by_key(|keeper| std::cmp::Reverse(keeper.bytes));
        self.kept_by = largest.iter().take(NAMED_MAX).map(|keeper| keeper.collection.clone()).collect();
    }
}

impl Inner {
    /// Those collections that are wanted, in order of name.
    pub(in crate::log) fn infos(&self, wanted: impl Fn(&Collection) -> bool) -> Result<Vec<CollectionInfo>> {
        let all: Vec<_> = self.all_collections().into_iter().filter(|known| wanted(known)).collect();
        let mut sealed = if all.is_empty() { HashMap::new() } else { self.sealed(None)? };
        let none = Sealed::default;
        Ok(all.iter().map(|known| self.info(known, &sealed.remove(known.name()).unwrap_or_else(none))).collect())
    }

    fn sealed(&self, collection: Option<&CollectionName>) -> Result<HashMap<CollectionName, Sealed>> {
        let mut sealed: HashMap<CollectionName, Sealed> = HashMap::new();
        let mut after = None;
        loop {
            let rows = self.catalog.segments(collection, after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { return Ok(sealed) };
            after = Some(last.key.clone());
            for row in &rows {
                match sealed.get_mut(&row.key.collection) {
                    Some(known) => known.add(row),
                    None => sealed.entry(row.key.collection.clone()).or_default().add(row),
                }
            }
        }
    }

    fn info(&self, known: &Collection, sealed: &Sealed) -> CollectionInfo {
        let state = known.state();
        // The rows were read before: what was sealed since, or another process sealed, is in both or here only.
        let unsealed = || {
            let behind = sealed.range.map_or(Sequence(0), |(_, last)| last);
            state.unsealed.runs().filter(move |run| run.first > behind)
        };
        let unsealed_records: u64 = unsealed().map(|run| run.count).sum();
        let unsealed_bytes: u64 = unsealed().map(|run| run.len).sum();
        let firsts = sealed.range.map(|(first, _)| first).into_iter().chain(unsealed().next().map(|run| run.first));
        let lasts = sealed
            .range
            .map(|(_, last)| last)
            .into_iter()
            .chain(unsealed().next_back().map(crate::memtable::Run::last));
        CollectionInfo {
            collection: known.name().clone(),
            directory: self.directories[state.home.directory].path.clone(),
            first_sequence: firsts.min().map(|first| first.max(state.floor)),
            last_sequence: lasts.max(),
            written: state.written,
            durable: state.durable,
            floor: state.floor,
            deleted: known.life.deleted(),
            records: sealed.records + unsealed_records,
            bytes: sealed.bytes + unsealed_bytes,
            segments: sealed.segments,
            unsealed_records,
            unsealed_bytes,
        }
    }

    /// Who keeps which journal, by its path.
    fn keepers(&self) -> HashMap<PathBuf, Vec<Keeper>> {
        let mut kept: HashMap<PathBuf, Vec<Keeper>> = HashMap::new();
        for collection in self.all_collections() {
            let state = collection.state();
            for run in state.unsealed.runs() {
                let keepers = match kept.get_mut(&run.file.path) {
                    Some(keepers) => keepers,
                    None => kept.entry(run.file.path.clone()).or_default(),
                };
                match keepers.last_mut().filter(|keeper| keeper.collection == *collection.name()) {
                    Some(keeper) => {
                        keeper.runs += 1;
                        keeper.bytes += run.len;
                    }
                    None => keepers.push(Keeper { collection: collection.name().clone(), runs: 1, bytes: run.len }),
                }
            }
        }
        kept
    }
}
