//! A machine with a disk, a catalog and a store, for this room's tests: simulated, so that it can be killed between any two steps.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{ArchiveReader, ReaderOptions};
use crate::catalog::{Catalog as _, MemoryCatalog, Mutation, SegmentRow, SegmentStatus};
use crate::clock::FakeClock;
use crate::fs::SimulatedFileSystem;
use crate::fs::simulated::{Cut, Operation};
use crate::objects::{LocalObjectStore, Meter, ObjectStore, Put, RequestKind, SegmentObject, Upload};
use crate::testing::faulty_store::FaultyStore;
use crate::types::{ChangeNumber, CollectionName, NewRecord, Timestamp};
use crate::{Log, LogOptions, ReadOptions};

pub const DATA: &str = "/data";
pub const STORE: &str = "/store";

pub fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

pub struct World {
    pub fs: SimulatedFileSystem,
    pub catalog: Arc<MemoryCatalog>,
    pub clock: Arc<FakeClock>,
    pub store: Arc<LocalObjectStore>,
}

impl World {
    pub fn new() -> Self {
        let fs = SimulatedFileSystem::new();
        LocalObjectStore::create(Arc::new(fs.clone()), STORE).unwrap();
        Self::with(fs, Arc::default())
    }

    pub fn with(fs: SimulatedFileSystem, catalog: Arc<MemoryCatalog>) -> Self {
        // Every process draws ids of its own, and begins behind all that was changed.
        let newest = catalog.change_number().unwrap().0;
        let newest = newest.checked_sub(1).and_then(|at| catalog.changes(ChangeNumber(at), 1).unwrap().pop());
        let begin = newest.map_or(1_700_000_000_000_000, |newest| newest.at.0);
        let clock = Arc::new(FakeClock::at(Timestamp(begin + fastrand::i64(1..1_000_000))));
        let store = Arc::new(LocalObjectStore::new(Arc::new(fs.clone()), STORE));
        Self { fs, catalog, clock, store }
    }

    /// What a killed process leaves.
    pub fn after_kill(&self) -> Self {
        Self::with(self.fs.kill_image(), Arc::new(self.catalog.snapshot()))
    }

    /// No threads; small limits, so that everything happens early.
    pub fn options(&self) -> LogOptions {
        let mut options = self.options_without_archive();
        options.archive = Some(Arc::new(ArchiveReader::new(Some(self.store.clone()), ReaderOptions::default())));
        options
    }

    /// The log reads from another store.
    pub fn open_with(&self, store: &Arc<FaultyStore>) -> Log {
        let store = Arc::clone(store) as Arc<dyn ObjectStore>;
        let archive = ArchiveReader::new(Some(store), ReaderOptions::default());
        Log::open(LogOptions { archive: Some(Arc::new(archive)), ..self.options_without_archive() }).unwrap()
    }

    pub fn options_without_archive(&self) -> LogOptions {
        let mut options = LogOptions::new([DATA]);
        options.fs = Arc::new(self.fs.clone());
        options.catalog = Some(self.catalog.clone());
        options.clock = self.clock.clone();
        options.background = false;
        options.limits.journal_bytes = 64 << 10;
        options.limits.segment_bytes = 32 << 10;
        options.limits.memtable_bytes = 256 << 10;
        options.limits.unsealed_bytes = 512 << 10;
        options.cold_bytes = 4 << 10;
        options.block_bytes = 1 << 10;
        options
    }

    pub fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }

    /// Opens after a crash: nothing is damaged and nothing lost.
    pub fn open_whole(&self) -> Log {
        let log = self.open();
        assert_eq!((&log.recovery().damaged, &log.recovery().losses), (&vec![], &vec![]));
        log
    }

    pub fn rows(&self, collection: &str) -> Vec<SegmentRow> {
        self.catalog.segments(Some(&name(collection)), None, 1000).unwrap()
    }

    pub fn statuses(&self, collection: &str) -> Vec<SegmentStatus> {
        self.rows(collection).iter().map(|row| row.status).collect()
    }

    /// Archives what is sealed, as an archiver would, but for the manifest.
    pub fn archive(&self, log: &Log) {
        self.archive_to(log, &*self.store, None);
    }

    pub fn archive_to(&self, log: &Log, store: &dyn ObjectStore, retain_until: Option<Timestamp>) {
        for row in self.catalog.segments_by_status(SegmentStatus::Sealed, None, 1000).unwrap() {
            let key = SegmentObject::of_row(&row).key();
            let file = log.segment_file(&row).unwrap();
            let upload = Upload { retain_until, ..Upload::new(&file, row.bytes, row.sha256) };
            let put = store.put_if_absent(&key, &upload).unwrap();
            assert_ne!(put, Put::OtherThere);
            let step = |from, to| Mutation::Transition {
                key: row.key.clone(),
                from,
                to,
                archive_key: Some(key.as_str().into()),
            };
            let (sealed, archiving) = (SegmentStatus::Sealed, SegmentStatus::Archiving);
            log.change(&[step(sealed, archiving), step(archiving, SegmentStatus::Archived)], "test").unwrap();
        }
    }

    /// Where the store keeps a row's object.
    pub fn object(&self, row: &SegmentRow) -> PathBuf {
        Path::new(STORE).join(row.archive_key.as_ref().unwrap())
    }

    /// Its local file.
    pub fn path(&self, row: &SegmentRow) -> PathBuf {
        Path::new(DATA).join(&row.path)
    }

    pub fn received(&self) -> (u64, u64) {
        received(self.store.meter())
    }

    /// Files below the collection's folder.
    pub fn files_of(&self, collection: &str) -> Vec<String> {
        let folder = Path::new(DATA).join(name(collection).directory_name());
        let files = self.fs.files();
        let inside = files.iter().filter_map(|(path, ..)| path.strip_prefix(&folder).ok());
        let mut names: Vec<String> =
            inside.map(|path| path.display().to_string()).filter(|name| !name.is_empty()).collect();
        names.sort();
        names
    }

    /// What kills and power cuts make of this machine before each change of files and each commit, while `work` goes on, and behind
    /// it.
    pub fn at_every_step(&self, work: impl FnOnce()) -> Vec<Self> {
        let images = Arc::new(Mutex::new(Vec::new()));
        let (taken, catalog) = (Arc::clone(&images), Arc::clone(&self.catalog));
        self.fs.observe(Arc::new(move |operation: &Operation, fs: &SimulatedFileSystem| {
            if operation.kind.is_change() {
                for image in [fs.kill_image(), fs.crash_image(Cut::DropAll)] {
                    taken.lock().unwrap().push((image, catalog.snapshot()));
                }
            }
        }));
        let (taken, fs) = (Arc::clone(&images), self.fs.clone());
        self.catalog.observe(move |catalog| {
            for image in [fs.kill_image(), fs.crash_image(Cut::DropAll)] {
                taken.lock().unwrap().push((image, catalog.snapshot()));
            }
        });
        work();
        self.fs.observe_no_more();
        self.catalog.observe(|_| {});
        let images = std::mem::take(&mut *images.lock().unwrap());
        let end = [self.fs.kill_image(), self.fs.crash_image(Cut::DropAll)];
        let end = end.map(|fs| (fs, self.catalog.snapshot()));
        images.into_iter().chain(end).map(|(fs, catalog)| Self::with(fs, Arc::new(catalog))).collect()
    }
}

/// How many gets, and how many bytes they brought.
pub fn received(meter: &Meter) -> (u64, u64) {
    let usage = meter.usage(RequestKind::Get);
    (usage.requests, usage.received_bytes)
}

/// A record whose payload tells its number, and whose time is its number in seconds.
pub fn numbered(number: u64) -> NewRecord {
    let record = NewRecord::put(format!("key-{number}"), format!("{number}:{}", "x".repeat(40)));
    record.with_timestamp(Timestamp(number.cast_signed() * 1_000_000))
}

pub fn append(log: &Log, collection: &str, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(log.append(&name(collection), numbered(number)).unwrap().last.0, number);
    }
}

/// Segments of a hundred records each.
pub fn fill(log: &Log, collection: &str, segments: u64) {
    for part in 0..segments {
        append(log, collection, part * 100 + 1..=part * 100 + 100);
        log.seal(Some(&name(collection))).unwrap();
    }
}

/// What a reader gives: each record is the one that its number says.
pub fn read(log: &Log, collection: &str, options: ReadOptions) -> Vec<u64> {
    let reader = log.read(&name(collection), options).unwrap();
    reader
        .map(|record| {
            let record = record.unwrap();
            assert!(record.payload.unwrap().starts_with(format!("{}:", record.sequence).as_bytes()));
            record.sequence.0
        })
        .collect()
}

pub fn read_all(log: &Log, collection: &str) -> Vec<u64> {
    read(log, collection, ReadOptions::default())
}
