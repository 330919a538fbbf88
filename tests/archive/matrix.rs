//! Every fault at every call of a run; then the same process tries again, and another process does.

use std::sync::Arc;
use std::time::Duration;

use icecore::catalog::{CatalogError, Engine, MemoryCatalog};
use icecore::objects::{ObjectErrorKind, Patience};
use icecore::testing::faulty_store::{Call, Fault};

use crate::kept::{EngineCatalog, Kept};
use crate::world::{HASTY, World, run};

/// Every kind of fault. An attempt may take an hour: one hangs longer.
const FAULTS: [Fault; 24] = {
    use ObjectErrorKind::{Corrupt, Denied, Failed, Full, Invalid, NotFound, OutcomeUnknown, Unavailable, Unsupported};
    [
        Fault::Before(Unavailable),
        Fault::Before(Denied),
        Fault::Before(Failed),
        Fault::Before(Full),
        Fault::Before(Corrupt),
        Fault::Before(Invalid),
        Fault::Before(Unsupported),
        Fault::Before(NotFound),
        Fault::Before(OutcomeUnknown),
        Fault::Busy(Duration::from_secs(90)),
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::Late(1),
        Fault::Late(3),
        Fault::Late(40),
        Fault::Hang { span: Duration::from_secs(300), happens: true },
        Fault::Hang { span: Duration::from_secs(300), happens: false },
        Fault::Hang { span: Duration::from_secs(2 * 3600), happens: true },
        Fault::Truncated,
        Fault::Flipped,
        Fault::WrongLength,
        Fault::WrongChecksum,
        Fault::Taken,
        Fault::Down(Failed),
    ]
};

/// A fault is seen by the archiver, or by the patience before it.
const PATIENT: Patience = Patience { tries: 3, span: Duration::from_secs(1000), ..HASTY };

/// The calls of a run without faults.
fn calls<C: Kept>(world: &World<C>) -> Vec<Call> {
    let world = world.image(0);
    let log = world.open();
    assert!(run(&world.archiver(&log, HASTY)).unwrap().is_complete());
    world.must_be_complete(&log, "without faults");
    log.close().unwrap();
    world.store.calls()
}

/// What lies under a key that was taken goes, as an operator would see to it.
fn clear_up<C: Kept>(world: &World<C>, call: &Call, fault: Fault) {
    world.store.heal();
    if fault == Fault::Taken && !world.store.created().contains_key(&call.key) {
        world.store.lose(&call.key);
    }
}

pub fn at_every_call<C: Kept>(base: &World<C>, patience: Patience, again: &[bool]) -> u64 {
    let mut combinations = 0;
    for (call, fault) in calls(base).iter().flat_map(|call| FAULTS.map(|fault| (call, fault))) {
        if !fault.concerns(call) {
            continue;
        }
        for &in_the_same_process in again {
            combinations += 1;
            let what = format!("{fault:?} at {call:?}, same process: {in_the_same_process}");
            let world = base.image(combinations);
            world.store.fail_at(call.number, fault);
            let log = world.open();
            let archiver = world.archiver(&log, patience);
            let report = run(&archiver);
            world.must_be_sound(&what);
            assert!(report.is_ok(), "{what}: {report:?}");
            let planted = world.store.objects().get(&call.key).cloned().filter(|_| fault == Fault::Taken);
            if let (Some(planted), false) = (planted, world.store.created().contains_key(&call.key)) {
                run(&archiver).unwrap();
                assert_eq!(world.store.objects()[&call.key], planted, "{what}: an object of others was replaced");
                let told = archiver.status().unwrap();
                let is_told = !told.parked.is_empty() || told.targets[0].last_error.is_some();
                assert!(is_told, "{what}: {told:?}");
            }
            clear_up(&world, call, fault);
            if in_the_same_process {
                world.finish_with(&log, &archiver, &what);
            }
            log.close().unwrap();
            let next = world.image(1);
            next.must_be_sound(&what);
            next.finish(&what);
        }
    }
    combinations
}

/// With two of five segments archived before: the next process reads manifests.
fn begun<C: Kept>(catalog: C) -> World<C> {
    let world = World::new(catalog, [2, 0]);
    world.finish("the beginning");
    let world = world.image(0);
    let log = world.open();
    for collection in ["audit", "Orders/2024", "Orders/2024"] {
        crate::world::seal(&log, collection);
    }
    log.close().unwrap();
    world
}

#[test]
fn every_fault_at_every_call_with_the_catalog_in_memory() {
    let fresh = World::new(MemoryCatalog::new(), [3, 2]);
    let begun = begun(MemoryCatalog::new());
    let mut combinations = 0;
    for base in [&fresh, &begun] {
        for patience in [HASTY, PATIENT] {
            combinations += at_every_call(base, patience, &[true, false]);
        }
    }
    println!("{combinations} combinations of fault and call, in memory");
    assert!(combinations > 1000, "{combinations}");
}

#[test]
fn every_fault_at_every_call_with_sqlite() {
    let begun = begun(EngineCatalog::new(Engine::Sqlite));
    let combinations = at_every_call(&begun, HASTY, &[true]);
    println!("{combinations} combinations of fault and call, sqlite");
    assert!(combinations > 200, "{combinations}");
}

#[test]
fn every_change_of_the_catalog_fails() {
    let base = World::new(MemoryCatalog::new(), [3, 2]);
    let applies = {
        let world = base.image(0);
        let log = world.open();
        let before = world.catalog.applies();
        run(&world.archiver(&log, HASTY)).unwrap();
        world.catalog.applies() - before
    };
    let unknown = || CatalogError::OutcomeUnknown { path: "memory".into(), source: "a test".into() };
    let unavailable = || CatalogError::Unavailable { path: "memory".into(), what: "a test".into() };
    let mut combinations = 0;
    for number in 0..applies {
        for (fault, is_kept) in [("unavailable", false), ("unknown", false), ("unknown", true)] {
            for in_the_same_process in [true, false] {
                combinations += 1;
                let what = format!("{fault} at change {number}, kept: {is_kept}, same process: {in_the_same_process}");
                let world = base.image(combinations);
                let log = world.open();
                let archiver = world.archiver(&log, HASTY);
                let made = std::sync::atomic::AtomicU64::new(0);
                world.catalog.observe(move |catalog| {
                    if made.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == number {
                        let error = if fault == "unknown" { unknown() } else { unavailable() };
                        if is_kept { catalog.fail_next_but_keep(error) } else { catalog.fail_next(error) }
                    }
                });
                // A claim that cannot be noted is a failure of the store's opening; the rest ends the pass.
                let outcome = run(&archiver);
                // The last change counts requests, and may be missing.
                let is_count = number + 1 == applies;
                assert!(is_count || !outcome.is_ok_and(|report| report.is_complete()), "{what}: nobody noticed");
                world.must_be_sound(&what);
                if in_the_same_process {
                    world.finish_with(&log, &archiver, &what);
                }
                log.close().unwrap();
                world.image(1).finish(&what);
            }
        }
    }
    println!("{combinations} combinations of fault and change");
    assert!(combinations >= 6 * 6, "{combinations}");
}

#[test]
fn a_bucket_that_is_not_there_is_told_and_nothing_changes() {
    let world = World::new(MemoryCatalog::new(), [3, 2]);
    world.store.go_down(ObjectErrorKind::Failed);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    let report = run(&archiver).unwrap();
    assert_eq!((report.archived_segments, report.left), (0, 5));
    assert!(report.errors[0].error.contains("everything fails"), "{report:?}");
    assert_eq!(world.store.calls().len(), 1, "one try, not one for each segment");
    let status = archiver.status().unwrap();
    assert!(status.targets[0].failing_since.is_some() && status.queue_segments == 5, "{status:?}");
    world.store.heal();
    world.finish_with(&log, &archiver, "healed");
    assert!(archiver.status().unwrap().targets[0].last_error.is_none());
}

#[test]
fn without_the_right_to_read_nothing_is_said_to_be_archived() {
    let world = World::new(MemoryCatalog::new(), [3, 2]);
    world.store.set_readable(false);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    let report = run(&archiver).unwrap();
    assert_eq!(report.archived_segments, 0);
    assert!(report.errors.iter().any(|error| error.error.contains("no right to read")), "{report:?}");
    assert_eq!(world.counts().len(), 1, "all sealed: {:?}", world.counts());
    world.store.heal();
    world.finish_with(&log, &archiver, "with the right");
}

#[test]
fn a_store_that_replaces_objects_is_refused() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    let clock = Arc::clone(&world.clock) as Arc<dyn icecore::clock::Clock>;
    let store = icecore::testing::faulty_store::FaultyStore::new(clock).with_abilities(Default::default());
    let world = World { store: Arc::new(store), ..world };
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    for _ in 0..2 {
        let report = run(&archiver).unwrap();
        assert_eq!(report.errors[0].kind, icecore::ErrorKind::Unsupported, "{report:?}");
    }
    assert_eq!(world.store.calls().len(), 1, "it was asked once what it can do, and not again");
    assert_eq!(world.store.objects().len(), 0);
}
