//! What only the archive knows (C7): an older copy of the catalog is put back, and the newest segments have no file here any more.

use super::*;
use crate::LogOptions;
use crate::archive::world::{append, fill, name, numbered};
use crate::catalog::{Catalog as _, MemoryCatalog};
use crate::fs::FileSystem as _;
use crate::log::recover::ArchiveAsked;
use crate::log::tier::EvictOptions;
use crate::objects::ObjectErrorKind;
use crate::testing::faulty_store::FaultyStore;
use crate::types::Sequence;

/// A machine whose catalog is of yesterday, and whose directory has lost every segment.
fn of_yesterday(store: &Arc<FaultyStore>) -> World {
    let world = World::new();
    let open = || by(&world, &world.open_with(store), store.clone(), |_| {});
    let archiver = open();
    let log = archiver.0.log.clone();
    fill(&log, "a", 2);
    run(&archiver);
    log.close().unwrap();
    drop((archiver, log));
    let yesterday = world.catalog.snapshot();
    let archiver = open();
    let log = archiver.0.log.clone();
    append(&log, "a", 201..=300);
    append(&log, "b", 1..=100);
    log.seal(None).unwrap();
    run(&archiver);
    assert_eq!(log.evict(&EvictOptions::default(), &mut |_| true).unwrap().segments, 4);
    log.close().unwrap();
    drop((archiver, log));
    // Its journals are released, and those after them tell of the catalog's changes.
    world.open_with(store).close().unwrap();
    for collection in ["a", "b"] {
        let folder = std::path::Path::new("/data").join(name(collection).directory_name());
        for file in world.files_of(collection) {
            world.fs.remove_file(&folder.join(file)).unwrap();
        }
    }
    World::with(world.fs.clone(), Arc::new(yesterday))
}

fn next_of(log: &Log, collection: &str) -> u64 {
    log.append(&name(collection), numbered(1)).unwrap().first.0
}

fn new_store() -> Arc<FaultyStore> {
    let clock = Arc::new(crate::clock::FakeClock::at(crate::types::Timestamp(1_700_000_000_000_000)));
    Arc::new(FaultyStore::new(clock))
}

#[test]
fn no_sequence_is_given_out_again_that_only_the_archive_has() {
    let store = new_store();
    let world = of_yesterday(&store);
    let log = world.open_with(&store);
    assert!(log.recovery().catalog_is_old);
    let asked = ArchiveAsked { answered: true, collections: 2, error: None };
    assert_eq!(log.recovery().archive_asked, Some(asked));
    assert_eq!((next_of(&log, "a"), next_of(&log, "b")), (301, 101));
    // What is not here is on record, until somebody brings it back.
    let losses = world.catalog.losses(Some(&name("b"))).unwrap();
    assert_eq!((losses[0].first, losses[0].last), (Sequence(1), Sequence(100)));
    log.close().unwrap();
    drop(log);
    let calls = store.calls().len();
    let log = world.open_with(&store);
    assert_eq!((&log.recovery().archive_asked, store.calls().len()), (&None, calls), "it is asked once");
    assert_eq!((next_of(&log, "a"), next_of(&log, "b")), (302, 102));
    // This log has been the archive's writer: it goes on without anybody's word.
    append_and_archive(&world, &log, &store);
}

fn append_and_archive(world: &World, log: &Log, store: &Arc<FaultyStore>) {
    log.seal(None).unwrap();
    let report = run(&by(world, log, store.clone(), |_| {}));
    assert!(report.is_complete() && report.archived_segments == 2, "{report:?}");
}

#[test]
fn an_archive_that_does_not_answer_stops_no_start_and_is_asked_by_the_next() {
    let store = new_store();
    let world = of_yesterday(&store);
    store.go_down(ObjectErrorKind::Unavailable);
    let log = world.open_with(&store);
    let asked = log.recovery().archive_asked.clone().unwrap();
    assert!(!asked.answered && asked.error.unwrap().contains("everything fails"));
    assert!(next_of(&log, "a") <= 300, "nobody could tell");
    log.close().unwrap();
    drop(log);
    store.heal();
    let log = world.open_with(&store);
    assert!(!log.recovery().catalog_is_old, "only the note tells");
    assert!(log.recovery().archive_asked.as_ref().unwrap().answered);
    assert_eq!((next_of(&log, "a"), next_of(&log, "b")), (301, 101));
}

#[test]
fn an_opening_waits_no_longer_than_it_may() {
    let store = new_store();
    let world = of_yesterday(&store);
    let (held, hold) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(Some(held));
    let hold = Arc::new(std::sync::Mutex::new(hold));
    let until = Arc::clone(&hold);
    store.observe(move |_, _, _| {
        let _ = until.lock().unwrap().recv();
    });
    let reader = crate::archive::ArchiveReader::new(Some(store.clone()), crate::archive::ReaderOptions::default());
    let options =
        LogOptions { archive: Some(Arc::new(reader)), archive_wait: Duration::ZERO, ..world.options_without_archive() };
    let log = Log::open(options).unwrap();
    let asked = log.recovery().archive_asked.clone().unwrap();
    assert_eq!((asked.answered, asked.error.as_deref()), (false, Some("no answer in time")));
    drop(held.lock().unwrap().take());
}

#[test]
fn a_catalog_that_was_there_all_along_asks_nothing() {
    let store = new_store();
    let world = World::new();
    let archiver = by(&world, &world.open_with(&store), store.clone(), |_| {});
    let log = archiver.0.log.clone();
    fill(&log, "a", 2);
    run(&archiver);
    log.evict(&EvictOptions::default(), &mut |_| true).unwrap();
    drop((archiver, log));
    let calls = store.calls().len();
    let after = World::with(world.fs.kill_image(), Arc::new(world.catalog.snapshot()));
    let log = after.open_with(&store);
    assert_eq!((&log.recovery().archive_asked, store.calls().len()), (&None, calls));
    // One that was made anew, and found no archive, does.
    drop(log);
    let anew = World::with(after.fs.kill_image(), Arc::new(MemoryCatalog::new()));
    let log = anew.open_with(&store);
    assert!(log.recovery().archive_asked.as_ref().unwrap().answered);
    assert_eq!(next_of(&log, "a"), 201);
}
