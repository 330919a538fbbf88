//! A collection's life, through the library.

mod crashes;
mod delete;
mod settings;

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::catalog::memory::MemoryCatalog;
use crate::clock::FakeClock;
use crate::fs::SimulatedFileSystem;
use crate::fs::simulated::{Cut, Operation};
use crate::types::{CollectionName, NewRecord, Timestamp};
use crate::{Log, LogOptions};

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn put(payload: impl Into<bytes::Bytes>) -> NewRecord {
    NewRecord::put("key", payload)
}

/// A disk with its catalog: what the next process finds.
struct Machine {
    fs: SimulatedFileSystem,
    catalog: Arc<MemoryCatalog>,
    clock: Arc<FakeClock>,
}

impl Machine {
    fn new() -> Self {
        Self::with(SimulatedFileSystem::new(), Arc::default())
    }

    fn with(fs: SimulatedFileSystem, catalog: Arc<MemoryCatalog>) -> Self {
        // Every process draws ids of its own.
        let clock = Arc::new(FakeClock::at(Timestamp(fastrand::i64(1..1 << 48))));
        Self { fs, catalog, clock }
    }

    /// What a killed process leaves.
    fn after_kill(&self) -> Self {
        Self::with(self.fs.kill_image(), Arc::new(self.catalog.snapshot()))
    }

    fn after_power_cut(&self) -> Self {
        Self::with(self.fs.crash_image(Cut::DropAll), Arc::new(self.catalog.snapshot()))
    }

    /// The directories as they are, and no catalog.
    fn without_catalog(&self) -> Self {
        Self::with(self.fs.kill_image(), Arc::default())
    }

    /// No threads; small limits, so that everything happens early.
    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new(["/data"]);
        options.fs = Arc::new(self.fs.clone());
        options.catalog = Some(self.catalog.clone());
        options.clock = self.clock.clone();
        options.background = false;
        options.limits.journal_bytes = 64 << 10;
        options.limits.segment_bytes = 32 << 10;
        options.limits.memtable_bytes = 512 << 10;
        options.limits.unsealed_bytes = 1 << 20;
        options.cold_bytes = 4 << 10;
        options
    }

    fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }

    /// Opens after a crash: nothing is damaged and nothing lost.
    fn open_whole(&self) -> Log {
        let log = self.open();
        assert_eq!((&log.recovery().damaged, &log.recovery().losses), (&vec![], &vec![]));
        log
    }

    /// What kills and power cuts make of this machine before each change of files and each commit, while `work` goes on, and behind
    /// it.
    fn at_every_step(&self, work: impl FnOnce()) -> Vec<Self> {
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

    /// Files below the collection's folder.
    fn files_of(&self, collection: &str) -> Vec<String> {
        let folder = Path::new("/data").join(name(collection).directory_name());
        let files = self.fs.files();
        let inside = files.iter().filter_map(|(path, ..)| path.strip_prefix(&folder).ok());
        let mut names: Vec<String> =
            inside.map(|path| path.display().to_string()).filter(|name| !name.is_empty()).collect();
        names.sort();
        names
    }
}

/// Every sequence of a collection; none where there is no such collection.
fn sequences(log: &Log, collection: &str) -> Vec<u64> {
    let found = log.contents(&name(collection));
    found.map_or(Vec::new(), |found| found.iter().map(|record| record.sequence.0).collect())
}

fn append(log: &Log, collection: &str, bytes: usize) -> u64 {
    log.append(&name(collection), put(vec![7; bytes])).unwrap().last.0
}
