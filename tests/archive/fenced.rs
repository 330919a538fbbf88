//! Two machines configured alike: the second to start takes over; the first archives no more, also when it is started anew, until an operator says so
//! (O2). What only looks like another machine is none.

use std::sync::Arc;

use icecore::archive::archiver::{Archiver, ArchiverOptions};
use icecore::catalog::MemoryCatalog;
use icecore::{ErrorKind, Log};

use crate::world::{HASTY, World, options, run, seal};

fn open(world: &World<MemoryCatalog>) -> (Log, Archiver) {
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    (log, archiver)
}

/// With the operator's word.
fn take_over(world: &World<MemoryCatalog>, log: &Log) -> Archiver {
    let options = ArchiverOptions { take_over: true, ..options(&world.clock, HASTY) };
    Archiver::new(log, vec![world.target()], options).unwrap()
}

/// Another opening of the same machine, at a later time.
fn again(world: &World<MemoryCatalog>, number: u64) -> World<MemoryCatalog> {
    World { store: Arc::clone(&world.store), ..world.image(number) }
}

fn is_refused(archiver: &Archiver) -> bool {
    let report = run(archiver).unwrap();
    let fenced = report.errors.iter().find(|error| error.kind == ErrorKind::Fenced);
    assert_eq!(fenced.is_some(), archiver.status().unwrap().targets[0].fenced.is_some(), "{report:?}");
    assert!(fenced.is_none() || report.archived_segments == 0, "{report:?}");
    if let Some(fenced) = fenced {
        let told = &fenced.error;
        let what = ["another writer took the archive over", "its epoch=`", "its writer=`", "at=`"];
        assert!(what.iter().all(|what| told.contains(what)), "{told}");
    }
    fenced.is_some()
}

/// A machine that archived, and a copy of its disks that was made before.
fn two() -> (World<MemoryCatalog>, World<MemoryCatalog>) {
    let base = World::new(MemoryCatalog::new(), [2, 0]);
    let first = base.image(0);
    let second = again(&World { store: Arc::clone(&first.store), ..base.image(1) }, 1);
    (first, second)
}

#[test]
fn who_was_fenced_needs_a_word_also_when_started_anew() {
    let (mut first, mut second) = two();
    let (log, archiver) = open(&first);
    assert!(run(&archiver).unwrap().is_complete());
    let (other_log, taker) = open(&second);
    assert!(run(&taker).unwrap().is_complete(), "the second to start takes over");
    seal(&log, "Orders/2024");
    assert!(is_refused(&archiver));
    drop((archiver, log));
    drop((taker, other_log));
    // They do not take it from each other, however often they are started.
    for number in 2..6 {
        first = again(&first, number);
        second = again(&second, number);
        let calls = first.store.calls().len();
        let (log, archiver) = open(&first);
        assert!(is_refused(&archiver));
        assert_eq!(first.store.calls().len(), calls, "nothing is asked of a store that is another's");
        let targets = icecore::archive::retention::Targets::take;
        drop(archiver);
        let store = Arc::clone(&first.store) as Arc<dyn icecore::objects::ObjectStore>;
        let clock = Arc::clone(&first.clock) as Arc<dyn icecore::clock::Clock>;
        let error = targets(&log, Some(store), [], &clock, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "nor does it purge");
        assert!(error.hint().unwrap().contains("--take-over"), "{error:?}");
        drop(log);
        let (log, archiver) = open(&second);
        seal(&log, "audit");
        let report = run(&archiver).unwrap();
        assert!(report.is_complete() && report.archived_segments == 1, "{report:?}");
        drop(log);
    }
    // With the word it has it back, and the other one is fenced, for as long.
    first = again(&first, 7);
    let log = first.open();
    let report = run(&take_over(&first, &log)).unwrap();
    assert_eq!((report.archived_segments, report.errors.len()), (1, 0), "{report:?}");
    drop(log);
    first = again(&first, 8);
    let (log, archiver) = open(&first);
    seal(&log, "Orders/2024");
    assert_eq!(run(&archiver).unwrap().archived_segments, 1, "once is enough");
    second = again(&second, 9);
    let (log, archiver) = open(&second);
    seal(&log, "audit");
    assert!(is_refused(&archiver));
    assert_eq!(first.archived().problems(), [""; 0]);
}

/// It was switched off when another one took over, and noticed nothing.
#[test]
fn who_was_away_is_fenced_too() {
    let (first, second) = two();
    let (log, archiver) = open(&first);
    assert!(run(&archiver).unwrap().is_complete());
    drop((archiver, log));
    let (other_log, taker) = open(&second);
    assert!(run(&taker).unwrap().is_complete());
    drop((taker, other_log));
    let first = again(&first, 3);
    let (log, archiver) = open(&first);
    seal(&log, "Orders/2024");
    let manifests = first.archived().mark().unwrap().number;
    assert!(is_refused(&archiver));
    assert_eq!(first.archived().mark().unwrap().number, manifests, "it took nothing over");
    drop((archiver, log));
    let first = again(&first, 4);
    let calls = first.store.calls().len();
    let (_log, archiver) = open(&first);
    assert!(is_refused(&archiver));
    assert_eq!(first.store.calls().len(), calls, "by now it knows");
}

/// The disks of a machine are copied behind its last archiving: the copy takes over without a word, and the machine is fenced.
#[test]
fn a_copy_of_a_machine_takes_over_at_its_first_start() {
    let base = World::new(MemoryCatalog::new(), [2, 0]);
    base.finish("the machine");
    let copy = again(&base, 1);
    let (log, archiver) = open(&copy);
    seal(&log, "audit");
    assert!(run(&archiver).unwrap().is_complete());
    let base = again(&base, 2);
    let (log, archiver) = open(&base);
    seal(&log, "audit");
    assert!(is_refused(&archiver));
}

/// An older copy of the catalog does not know which writers this log was since: that is no reason to be fenced by oneself.
#[test]
fn an_older_copy_of_the_catalog_is_no_other_machine() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    world.finish("at first");
    let older = world.catalog.snapshot();
    let later = again(&world, 1);
    let (log, archiver) = open(&later);
    seal(&log, "audit");
    assert!(run(&archiver).unwrap().is_complete());
    log.close().unwrap();
    drop((archiver, log));
    let put_back = again(&World { catalog: Arc::new(older), ..later.image(2) }, 2);
    let put_back = World { store: Arc::clone(&later.store), ..put_back };
    let (log, archiver) = open(&put_back);
    assert!(log.recovery().catalog_is_old);
    seal(&log, "audit");
    assert!(!is_refused(&archiver));
    drop((archiver, log));
    // From then on it knows, and another one fences it.
    let copy = again(&put_back, 3);
    let (log, archiver) = open(&copy);
    seal(&log, "audit");
    assert!(!is_refused(&archiver));
    drop((archiver, log));
    let (log, archiver) = open(&again(&put_back, 4));
    seal(&log, "audit");
    assert!(is_refused(&archiver));
}

#[test]
fn a_second_archiver_of_the_same_log_is_refused() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    let (log, archiver) = open(&world);
    let another = Archiver::new(&log.clone(), vec![world.target()], options(&world.clock, HASTY));
    assert_eq!(another.unwrap_err().kind(), ErrorKind::Locked);
    assert!(run(&archiver).unwrap().is_complete());
    drop(archiver);
    assert!(run(&world.archiver(&log, HASTY)).unwrap().is_complete());
}
