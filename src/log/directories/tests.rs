//! Directories come and go, on a simulated disk that is cut off before every single operation.

mod adding;
mod homes;
mod leaving;
mod placing;

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::catalog::{Catalog, MemoryCatalog, Mutation};
use crate::clock::FakeClock;
use crate::fs::SimulatedFileSystem;
use crate::fs::simulated::Cut;
use crate::log::directories::set::Set;
use crate::log::recover::COMPONENT;
use crate::types::{CollectionName, Epoch, NewRecord, Sequence, Timestamp};
use crate::{Log, LogOptions};

/// A machine: its disks, and its catalog.
#[derive(Debug)]
struct Machine {
    fs: SimulatedFileSystem,
    catalog: Arc<MemoryCatalog>,
    directories: Vec<&'static str>,
}

impl Machine {
    fn new(directories: &[&'static str]) -> Self {
        Self { fs: SimulatedFileSystem::new(), catalog: Arc::default(), directories: directories.to_vec() }
    }

    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new(&self.directories);
        options.fs = Arc::new(self.fs.clone());
        options.catalog = Some(self.catalog.clone());
        // Every process draws ids of its own.
        options.clock = Arc::new(FakeClock::at(Timestamp(fastrand::i64(1..1 << 48))));
        options.background = false;
        // Tests of placement say otherwise.
        options.placement_over = crate::assignment::Over::Local;
        options.limits.journal_bytes = 64 << 10;
        options.limits.memtable_bytes = 24 << 10;
        options
    }

    fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }

    fn set(&self) -> Set {
        Set::of(&self.options()).unwrap()
    }

    fn add(&self, path: &str) -> crate::Result<super::Added> {
        Log::add_directory(&self.options(), Path::new(path))
    }

    /// The machines that a kill and a power cut leave before each change that `work` makes, and after the last.
    fn at_each_change(&self, work: impl FnOnce(&Self)) -> Vec<Self> {
        let images = Arc::new(Mutex::new(Vec::new()));
        let (taken, catalog) = (Arc::clone(&images), Arc::clone(&self.catalog));
        let take = move |fs: &SimulatedFileSystem| {
            let random = (0..2).map(|seed| Cut::Random { seed: seed + 10 * fs.changes() });
            let cuts = [Cut::DropAll, Cut::KeepAll].into_iter().chain(random);
            let mut images: Vec<SimulatedFileSystem> = cuts.map(|cut| fs.crash_image(cut)).collect();
            images.push(fs.kill_image());
            let snapshot = || Arc::new(catalog.snapshot());
            taken.lock().unwrap().extend(images.into_iter().map(|fs| (fs, snapshot())));
        };
        let take = Arc::new(take);
        let (observed, committing, disk) = (Arc::clone(&take), Arc::clone(&take), self.fs.clone());
        self.fs.observe(Arc::new(move |_, fs| observed(fs)));
        self.catalog.observe(move |_| committing(&disk));
        work(self);
        self.fs.observe_no_more();
        self.catalog.observe(|_| ());
        take(&self.fs);
        let images = std::mem::take(&mut *images.lock().unwrap());
        let machine = |(fs, catalog)| Self { fs, catalog, directories: self.directories.clone() };
        images.into_iter().map(machine).collect()
    }

    /// The collection lives in another directory from the next opening on.
    fn reassign(&self, collection: &CollectionName, directory: &str) {
        let assign = Mutation::Assign {
            component: COMPONENT.into(),
            collection: collection.clone(),
            directory: directory.to_owned(),
            epoch: Epoch(1000),
            from: Sequence(1),
        };
        self.catalog.apply(&[assign], Timestamp(1), "test").unwrap();
    }

    fn files_below(&self, folder: &str) -> Vec<String> {
        let files = self.fs.files().into_iter().filter(|(_, kind, _)| *kind == crate::fs::EntryKind::File);
        let paths = files.map(|(path, ..)| path.display().to_string());
        paths.filter(|path| path.starts_with(&format!("{folder}/"))).collect()
    }
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn append(log: &Log, collection: &str, bytes: usize) {
    log.append(&name(collection), NewRecord::put("key", vec![7; bytes])).unwrap();
}

fn sequences(log: &Log, collection: &str) -> Vec<u64> {
    log.contents(&name(collection)).map_or(Vec::new(), |found| found.iter().map(|record| record.sequence.0).collect())
}
