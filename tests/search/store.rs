//! A store in memory that compacts as a store may (see `source`).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard};

use icecore::search::source::{EachVectors, FileFacts, GroupPlace, Head, Labels, Reading, Source, VectorsRead, View};
use icecore::{Error, Result};

use super::*;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

#[derive(Debug)]
pub(super) struct MemoryStore {
    group_rows: usize,
    now: Mutex<Arc<State>>,
    files: AtomicU64,
    pub told: Arc<Told>,
}

/// What tests tell views, and are told by them.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The next read finds nothing, as where another process compacts.
    pub loses_next: AtomicBool,
    /// Every read is damaged.
    pub is_damaged: AtomicBool,
    /// How often vectors were read.
    pub vector_reads: AtomicU64,
    /// What reading takes.
    pub reading_bytes: AtomicUsize,
}

#[derive(Clone, Debug, Default)]
struct State {
    through: u64,
    files: Vec<Arc<File>>,
    facts: Vec<FileFacts>,
}

#[derive(Debug)]
struct File {
    name: String,
    records: Vec<Record>,
}

#[derive(Debug)]
struct StoreView {
    group_rows: usize,
    told: Arc<Told>,
    state: Arc<State>,
}

impl MemoryStore {
    pub fn new(group_rows: usize) -> Self {
        Self { group_rows, now: Mutex::default(), files: AtomicU64::new(0), told: Arc::default() }
    }

    fn file(&self, records: Vec<Record>) -> Arc<File> {
        Arc::new(File { name: format!("file-{}", self.files.fetch_add(1, Ordering::SeqCst)), records })
    }

    fn set(&self, through: u64, files: Vec<Arc<File>>) {
        let groups = |file: &File| file.records.chunks(self.group_rows).map(<[Record]>::len).collect();
        let facts = files.iter().map(|file| FileFacts { name: file.name.clone(), groups: groups(file) }).collect();
        *lock(&self.now) = Arc::new(State { through, files, facts });
    }

    /// Takes what is durable in the log, as one file.
    pub fn deliver(&self, log: &Log, collection: &CollectionName) {
        let state = Arc::clone(&lock(&self.now));
        let options = ReadOptions { from: Some(Sequence(state.through + 1)), durable: true, ..ReadOptions::default() };
        let mut reader = log.read(collection, options).unwrap();
        let mut records = Vec::new();
        while let Some(record) = reader.try_next().unwrap() {
            records.push(record);
        }
        let through = reader.position().previous().0.max(state.through);
        let mut files = state.files.clone();
        if !records.is_empty() {
            files.push(self.file(records));
        }
        self.set(through, files);
    }

    /// Merges the files from `first` on: of each key only the newest version in them stays; where all files are merged, no deletes and no expired ones.
    pub fn compact(&self, first: usize, now: Timestamp) {
        let state = Arc::clone(&lock(&self.now));
        let first = first.min(state.files.len());
        let (kept, merged) = state.files.split_at(first);
        let mut seen = HashSet::new();
        let mut records: Vec<Record> = Vec::new();
        for record in merged.iter().rev().flat_map(|file| file.records.iter().rev()) {
            if record.key.as_ref().is_some_and(|key| !seen.insert(key.clone())) {
                continue;
            }
            if first > 0 || (record.kind == RecordKind::Put && !record.is_expired(now)) {
                records.push(record.clone());
            }
        }
        records.reverse();
        let mut files = kept.to_vec();
        if !records.is_empty() {
            files.push(self.file(records));
        }
        self.set(state.through, files);
    }

    /// Forgets everything, as where a store is cleared.
    pub fn clear(&self) {
        self.set(0, Vec::new());
    }
}

impl Source for MemoryStore {
    fn view(&self, _: &CollectionName) -> Result<Arc<dyn View>> {
        let state = Arc::clone(&lock(&self.now));
        Ok(Arc::new(StoreView { group_rows: self.group_rows, told: Arc::clone(&self.told), state }))
    }
}

impl StoreView {
    fn rows(&self, place: GroupPlace) -> Result<&[Record]> {
        if self.told.loses_next.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::NotFound, "the file is gone"));
        }
        if self.told.is_damaged.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Corrupt, "the file is damaged"));
        }
        Ok(self.state.files[place.file].records.chunks(self.group_rows).nth(place.group).unwrap())
    }
}

impl View for StoreView {
    fn through(&self) -> Sequence {
        Sequence(self.state.through)
    }

    fn files(&self) -> &[FileFacts] {
        &self.state.facts
    }

    fn heads(&self, place: GroupPlace, each: &mut dyn FnMut(Head<'_>)) -> Result<u64> {
        for record in self.rows(place)? {
            each(Head { sequence: record.sequence, key: record.key.as_deref(), expires_at: record.expires_at });
        }
        Ok(1)
    }

    fn vectors(&self, place: GroupPlace, dimensions: usize, each: &mut EachVectors<'_>) -> Result<VectorsRead> {
        self.told.vector_reads.fetch_add(1, Ordering::SeqCst);
        let mut read = VectorsRead { bytes_read: 1, ..VectorsRead::default() };
        // A few at a time, as stores do.
        for (lot, records) in self.rows(place)?.chunks(3).enumerate() {
            let (mut rows, mut values) = (Vec::new(), Vec::new());
            for (row, record) in records.iter().enumerate() {
                match VectorRecord::of_record(record) {
                    Some(Ok(vector)) if vector.vector.len() == dimensions => {
                        rows.push(u32::try_from(lot * 3 + row).unwrap());
                        values.extend_from_slice(&vector.vector);
                    }
                    Some(Ok(_)) => read.others += 1,
                    _ => {}
                }
            }
            each(&rows, &values)?;
        }
        Ok(read)
    }

    fn vectors_max(&self, place: GroupPlace, _: usize) -> usize {
        self.state.files[place.file].records.chunks(self.group_rows).nth(place.group).unwrap().len()
    }

    fn reading_bytes(&self, _: GroupPlace, _: Reading) -> usize {
        self.told.reading_bytes.load(Ordering::SeqCst)
    }

    fn labels(&self, place: GroupPlace) -> Result<Labels> {
        let mut labels = Labels { bytes_read: 1, ..Labels::default() };
        for record in self.rows(place)? {
            let vector = VectorRecord::of_record(record).and_then(std::result::Result::ok);
            labels.ids.push(vector.as_ref().map_or("", |vector| &vector.id));
            labels.metadata.push(vector.as_ref().map_or("", |vector| &vector.metadata));
        }
        Ok(labels)
    }

    fn record(&self, place: GroupPlace, row: usize) -> Result<Record> {
        Ok(self.rows(place)?[row].clone())
    }
}
