//! Copies of the catalog: made, retained, superseded, deleted; and what fails.

use std::path::Path;

use super::*;
use crate::LogOptions;
use crate::archive::chain;
use crate::archive::world::{append, name};
use crate::catalog::Engine;
use crate::clock::FakeClock;
use crate::objects::ObjectErrorKind;
use crate::testing::faulty_store::{Fault, FaultyStore};
use crate::types::Timestamp;

struct Place {
    folder: tempfile::TempDir,
    clock: Arc<FakeClock>,
    store: Arc<FaultyStore>,
}

impl Place {
    fn new() -> Self {
        let clock = Arc::new(FakeClock::at(Timestamp(1_700_000_000_000_000)));
        let store = Arc::new(FaultyStore::new(clock.clone()));
        Self { folder: tempfile::tempdir().unwrap(), clock, store }
    }

    fn options(&self, engine: Engine) -> LogOptions {
        let mut options = LogOptions::new([self.folder.path().join("log")]);
        (options.background, options.clock) = (false, self.clock.clone());
        options.catalog_engines = vec![engine];
        options
    }

    fn archiver(&self, log: &Log, retain: Option<Duration>) -> Archiver {
        let target = TargetStore { remote: None, url: "memory://".into(), store: self.store.clone() };
        let options = ArchiverOptions {
            parallel: 1,
            snapshot_age: Some(DAY),
            grace: Some(DAY * 3),
            retain,
            clock: self.clock.clone(),
            patience: crate::objects::Patience { tries: 1, ..crate::objects::Patience::default() },
            ..ArchiverOptions::default()
        };
        Archiver::new(log, vec![target], options).unwrap()
    }

    fn copies(&self) -> Vec<String> {
        self.store.objects().keys().filter(|key| key.starts_with("_catalog/")).cloned().collect()
    }

    fn named(&self) -> String {
        chain::state(&self.store.snapshot()).unwrap().snapshot().unwrap().key.clone()
    }

    fn staging(&self) -> Vec<String> {
        let folder = self.folder.path().join("log").join(".icecore").join("staging");
        let fs = crate::fs::OsFileSystem::new();
        use crate::fs::FileSystem as _;
        fs.list(&folder).unwrap_or_default().into_iter().map(|entry| entry.name).collect()
    }
}

/// A day, with something new.
fn day(place: &Place, log: &Log, number: u64) {
    place.clock.advance(DAY);
    append(log, "a", number..=number);
    log.seal(Some(&name("a"))).unwrap();
}

#[test]
fn older_copies_go_behind_the_grace_period_and_two_stay() {
    let place = Place::new();
    let log = Log::open(place.options(Engine::Sqlite)).unwrap();
    let archiver = place.archiver(&log, None);
    let mut counts = Vec::new();
    for number in 1..=9 {
        day(&place, &log, number);
        let report = run(&archiver);
        assert!(report.is_complete(), "{report:?}");
        let copies = place.copies();
        assert!(copies.contains(&place.named()), "what is named is there");
        counts.push(copies.len());
    }
    // The first goes when the second is three days old, the third is there, and the next is made.
    assert_eq!(counts, [1, 2, 3, 4, 4, 4, 4, 4, 4]);
    place.clock.advance(DAY * 30);
    day(&place, &log, 10);
    run(&archiver);
    assert_eq!(place.copies().len(), 2);
    assert_eq!(place.staging(), [""; 0]);
    // Nothing changed: no copy is made.
    let calls = place.store.calls().len();
    place.clock.advance(DAY * 2);
    run(&archiver);
    assert_eq!(place.store.calls().len(), calls);
}

#[test]
fn retained_copies_are_refused_until_then_and_tried_later() {
    let place = Place::new();
    let log = Log::open(place.options(Engine::Sqlite)).unwrap();
    let archiver = place.archiver(&log, Some(DAY * 7));
    for number in 1..=7 {
        day(&place, &log, number);
        assert!(run(&archiver).is_complete());
    }
    assert_eq!(place.copies().len(), 7, "all are retained");
    let deletes = || place.store.calls().iter().filter(|call| call.operation == "delete").count();
    assert_eq!(deletes(), 0, "nothing is tried that is known to be refused");
    place.clock.advance(DAY * 7);
    day(&place, &log, 8);
    assert!(run(&archiver).is_complete());
    assert_eq!(place.copies().len(), 2, "{:?}", place.copies());
    // Somebody retained one for longer: refused, left, tried with the next.
    let denied = place.store.calls().len();
    day(&place, &log, 9);
    run(&archiver);
    assert!(place.store.calls().len() > denied);
}

#[test]
fn a_copy_that_is_refused_to_be_deleted_is_no_trouble() {
    let place = Place::new();
    let log = Log::open(place.options(Engine::Sqlite)).unwrap();
    let archiver = place.archiver(&log, None);
    for number in 1..=4 {
        day(&place, &log, number);
        run(&archiver);
    }
    let kept = place.copies();
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let once = seen.clone();
    place.store.observe(move |store, call, moment| {
        use crate::testing::faulty_store::Moment;
        let is_first = call.operation == "delete" && moment == Moment::Before;
        if is_first && !once.swap(true, std::sync::atomic::Ordering::SeqCst) {
            store.fail_at(call.number, Fault::Before(ObjectErrorKind::Denied));
        }
    });
    day(&place, &log, 5);
    assert!(run(&archiver).is_complete());
    assert!(seen.load(std::sync::atomic::Ordering::SeqCst), "nothing was deleted");
    assert!(place.copies().contains(&kept[0]), "it is there still");
    day(&place, &log, 6);
    assert!(run(&archiver).is_complete());
    assert!(!place.copies().contains(&kept[0]), "tried again");
}

/// Whatever call of a copy fails: it is told, segments are archived all the same, what is named stays, and the next one is made.
#[test]
fn a_copy_that_fails_stops_nothing_and_is_made_later() {
    let trial = Place::new();
    let log = Log::open(trial.options(Engine::Sqlite)).unwrap();
    let archiver = trial.archiver(&log, None);
    for number in 1..=5 {
        day(&trial, &log, number);
        run(&archiver);
    }
    let calls = trial.store.calls();
    let begin = calls.iter().rposition(|call| call.operation == "put" && call.key.starts_with("_catalog/")).unwrap();
    assert!(calls.len() - begin >= 4, "{:?}", &calls[begin..]);
    for (at, fault) in (begin..calls.len()).flat_map(|at| {
        [ObjectErrorKind::Unavailable, ObjectErrorKind::Denied, ObjectErrorKind::Full]
            .map(Fault::Before)
            .into_iter()
            .chain([Fault::LostAnswer, Fault::LostRequest])
            .map(move |fault| (at, fault))
    }) {
        let place = Place::new();
        let log = Log::open(place.options(Engine::Sqlite)).unwrap();
        let archiver = place.archiver(&log, None);
        place.store.fail_at(calls[at].number, fault);
        let what = format!("{fault:?} at {:?}", calls[at]);
        for number in 1..=5 {
            day(&place, &log, number);
            let report = run(&archiver);
            assert_eq!(report.archived_segments, 1, "{what}: {report:?}");
            assert!(place.copies().contains(&place.named()), "{what}");
        }
        for number in 6..=8 {
            day(&place, &log, number);
            assert!(run(&archiver).is_complete(), "{what}");
            assert!(place.copies().contains(&place.named()), "{what}");
        }
        assert!(place.copies().len() >= 2, "{what}");
        assert_eq!(place.staging(), [""; 0], "{what}");
        let state = chain::state(&place.store.snapshot()).unwrap();
        assert_eq!(state.problems(), [""; 0], "{what}");
    }
}

/// A killed copy leaves its file, and what the engine lays beside it: the next opening clears both away.
#[test]
fn a_killed_copy_leaves_nothing_behind_the_next_opening() {
    for engine in Engine::ALL.into_iter().filter(|engine| engine.is_built()) {
        let place = Place::new();
        let log = Log::open(place.options(engine)).unwrap();
        let staging = log.staging_file("catalog").unwrap();
        log.catalog().copy_to(&staging).unwrap();
        // As if the engine had been killed at work.
        use crate::fs::FileSystem as _;
        let fs = crate::fs::OsFileSystem::new();
        let beside = engine.companions(&staging);
        for path in &beside {
            if fs.metadata(path).is_err() {
                fs.open(path, crate::fs::OpenMode::CreateNew).unwrap();
            }
        }
        assert!(place.staging().len() > beside.len(), "{:?}", place.staging());
        log.close().unwrap();
        drop(log);
        let _log = Log::open(place.options(engine)).unwrap();
        assert_eq!(place.staging(), [""; 0], "{engine}");
    }
}

#[test]
fn a_full_local_disk_makes_no_copy_and_stops_nothing() {
    let place = Place::new();
    let log = Log::open(place.options(Engine::Sqlite)).unwrap();
    let archiver = place.archiver(&log, None);
    append(&log, "a", 1..=1);
    log.seal(None).unwrap();
    // The staging folder is a file: nothing can be made there.
    let folder = place.folder.path().join("log").join(".icecore").join("staging");
    let fs = crate::fs::OsFileSystem::new();
    use crate::fs::FileSystem as _;
    fs.rename_new(&folder, Path::new(&place.folder.path().join("away"))).unwrap();
    let report = run(&archiver);
    assert_eq!((report.archived_segments, report.errors.len()), (1, 1), "{report:?}");
    assert!(report.errors[0].error.contains("the catalog could not be copied"), "{report:?}");
    assert_eq!(place.copies(), [""; 0]);
    assert!(archiver.status().unwrap().targets[0].last_error.is_none(), "the store is fine");
    // Not in a tight loop.
    assert!(pass(&archiver).errors.is_empty());
    fs.rename_new(Path::new(&place.folder.path().join("away")), &folder).unwrap();
    place.clock.advance(Duration::from_hours(1));
    pass(&archiver);
    assert_eq!(place.copies().len(), 1);
}
