//! A directory that was away and is back (A4): what fits is merged, what does not is set aside, nothing is dropped.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{name, put};
use crate::catalog::memory::MemoryCatalog;
use crate::clock::FakeClock;
use crate::fs::simulated::Ailment;
use crate::fs::{EntryKind, FileSystem, OpenMode, SimulatedFileSystem, durable};
use crate::types::Timestamp;
use crate::{Log, LogOptions};

const AWAY: &str = "/two";

/// A disk with two directories and its catalog. The collection `b` lives in the second one.
struct Machine {
    fs: SimulatedFileSystem,
    catalog: Arc<MemoryCatalog>,
}

impl Machine {
    fn new() -> Self {
        Self { fs: SimulatedFileSystem::new(), catalog: Arc::default() }
    }

    fn copy(&self) -> Self {
        Self { fs: self.fs.kill_image(), catalog: Arc::new(self.catalog.snapshot()) }
    }

    fn open(&self) -> Log {
        let mut options = LogOptions::new(["/one", AWAY]);
        options.fs = Arc::new(self.fs.clone());
        options.catalog = Some(self.catalog.clone());
        options.clock = Arc::new(FakeClock::at(Timestamp(fastrand::i64(1..1 << 48))));
        options.background = false;
        options.limits.journal_bytes = 64 << 10;
        Log::open(options).unwrap()
    }

    /// Whether the other history is still in the directory that was away: in its quarantine, or in a journal.
    fn has_evidence(&self) -> bool {
        let holds = |path: &Path| self.fs.read(path).unwrap().windows(9).any(|window| window == b"another 4");
        let kept = |path: &Path| {
            path.starts_with("/two/.icecore/quarantine") || path.extension().is_some_and(|end| end == "avro")
        };
        self.files(AWAY).iter().any(|(path, kind)| *kind == EntryKind::File && kept(path) && holds(path))
    }

    fn files(&self, below: &str) -> Vec<(std::path::PathBuf, EntryKind)> {
        let files = self.fs.files().into_iter().map(|(path, kind, _)| (path, kind));
        files.filter(|(path, _)| path.starts_with(below)).collect()
    }
}

fn append(log: &Log, text: &str) {
    log.append(&name("b"), put(text.to_owned())).unwrap();
}

fn payloads(log: &Log) -> Vec<String> {
    let records = log.contents(&name("b")).unwrap();
    assert!(records.iter().map(|record| record.sequence.0).eq(1..=records.len() as u64), "{records:?}");
    let texts = records.into_iter().map(|record| record.payload.unwrap_or_default());
    texts.map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
}

/// A log whose `b` has two records in the second directory.
fn begun() -> Machine {
    let machine = Machine::new();
    let log = machine.open();
    log.append(&name("a"), put("first")).unwrap();
    append(&log, "1");
    append(&log, "2");
    assert_eq!(log.collection_info(&name("b")).unwrap().directory, Path::new(AWAY));
    log.close().unwrap();
    machine
}

#[test]
fn a_directory_that_failed_and_is_back_changes_nothing() {
    let machine = begun();
    let log = machine.open();
    append(&log, "3");
    machine.fs.fail_place_now(AWAY, Ailment::Unwritable);
    append(&log, "4");
    log.seal(None).unwrap();
    log.close().unwrap();
    machine.fs.heal_places();
    let log = machine.open();
    assert_eq!(payloads(&log), ["1", "2", "3", "4"]);
    assert_eq!((&log.recovery().damaged, &log.recovery().losses), (&vec![], &vec![]));
    assert_eq!(log.collection_info(&name("b")).unwrap().directory, Path::new("/one"), "it stays where it is now");
    assert!(log.journals().unwrap().iter().all(|journal| journal.live_runs == 0), "the old copies hold nothing back");
    log.close().unwrap();
}

/// Puts the second directory of one machine in the place of the other's.
fn graft(from: &Machine, to: &Machine) {
    for (path, kind) in to.files(AWAY) {
        if kind == EntryKind::File {
            durable::remove(&to.fs, &path).unwrap();
        }
    }
    for (path, kind) in from.files(AWAY) {
        if kind == EntryKind::File {
            durable::create_dir_all(&to.fs, path.parent().unwrap()).unwrap();
            let file = to.fs.open(&path, OpenMode::CreateNew).unwrap();
            file.write_all_at(&from.fs.read(&path).unwrap(), 0).unwrap();
            file.sync_all().unwrap();
            to.fs.sync_dir(path.parent().unwrap()).unwrap();
        }
    }
}
/// What a kill before each change leaves, while the log is opened and closed.
fn images_of_opening(machine: &Machine) -> Vec<Machine> {
    let images = Arc::new(Mutex::new(Vec::new()));
    let (seen, catalog) = (Arc::clone(&images), Arc::clone(&machine.catalog));
    machine.fs.observe(Arc::new(move |operation, fs| {
        if operation.kind.is_change() {
            seen.lock().unwrap().push(Machine { fs: fs.kill_image(), catalog: Arc::new(catalog.snapshot()) });
        }
    }));
    machine.open().close().unwrap();
    machine.fs.observe_no_more();
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 20);
    images
}

/// The second directory is put back from a copy in which the collection went another way.
#[test]
fn another_history_is_set_aside_and_not_merged() {
    for sealed in [true, false] {
        let machine = begun();
        let other = machine.copy();
        let log = other.open();
        append(&log, "another 3");
        append(&log, "another 4");
        log.close().unwrap();

        let log = machine.open();
        machine.fs.fail_place_now(AWAY, Ailment::Unwritable);
        append(&log, "3");
        if sealed {
            log.seal(None).unwrap();
        }
        log.close().unwrap();
        machine.fs.heal_places();

        graft(&other, &machine);

        // Killed at any moment of the opening that finds it, the next one still keeps the evidence.
        for image in images_of_opening(&machine.copy()) {
            image.open().close().unwrap();
            let log = image.open();
            assert_eq!(payloads(&log), ["1", "2", "3"], "sealed={sealed}");
            log.seal(None).unwrap();
            log.close().unwrap();
            image.open().close().unwrap();
            assert!(image.has_evidence(), "sealed={sealed}: {:?}", image.files(AWAY));
        }

        let log = machine.open();
        assert_eq!(payloads(&log), ["1", "2", "3"], "sealed={sealed}");
        let damaged = &log.recovery().damaged;
        assert!(damaged.iter().any(|damaged| damaged.reason.contains("sequence `3`")), "sealed={sealed}: {damaged:?}");
        append(&log, "4");
        log.seal(None).unwrap();
        log.close().unwrap();
        // The evidence outlives the release of the journals.
        let log = machine.open();
        assert_eq!(payloads(&log), ["1", "2", "3", "4"], "sealed={sealed}");
        log.close().unwrap();
        assert!(machine.has_evidence(), "sealed={sealed}: {:?}", machine.files(AWAY));
    }
}

/// In a new log, a folder of somebody else's is no collection.
#[test]
fn a_collection_that_was_only_made_is_found_again_without_the_catalog() {
    let machine = begun();
    let log = machine.open();
    let settings = crate::CollectionSettings::default();
    let home = |log: &Log, text: &str| log.collection_info(&name(text)).unwrap().directory;
    for text in ["c", "d"] {
        log.create_collection(&name(text), &settings).unwrap();
    }
    let before = (home(&log, "c"), home(&log, "d"));
    assert_ne!(before.0, before.1);
    log.close().unwrap();
    let without = Machine { fs: machine.fs.clone(), catalog: Arc::default() };
    let log = without.open();
    assert_eq!((home(&log, "c"), home(&log, "d")), before);
    assert_eq!(payloads(&log), ["1", "2"]);
    log.close().unwrap();

    let new = Machine::new();
    durable::create_dir_all(&new.fs, Path::new("/one/others")).unwrap();
    let log = new.open();
    assert_eq!(log.collections().unwrap(), []);
    log.close().unwrap();
}
