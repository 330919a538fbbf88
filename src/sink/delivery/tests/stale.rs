//! Sinks that hold older data than the log goes by, and compaction (C2, S2).
//!
//! Symptom: a deleted key was back. Cause: compaction removed a tombstone and what it hid, while a sink that was not subscribed to, or that was
//! put back to an older state, still had what was hidden.

use std::time::Duration;

use super::*;
use crate::log::compact::{CompactOptions, CompactReport};

/// `k` and others, delivered to `one`; then, where `is_told`, also that `k` is deleted.
fn prepared(world: &World, is_told: bool) -> CollectionName {
    let a = name("a");
    let log = Log::open(world.options(&["one"])).unwrap();
    let sinks = world.sinks(&log);
    log.append(&a, NewRecord::put("k", "old")).unwrap();
    append(&log, &a, 5);
    flush(&sinks, "a");
    let set = |key: &str, value: &str| {
        log.set_collection_settings(&a, |own| own.set(key, value).unwrap()).unwrap();
    };
    set("compact.keep_versions", "1");
    set("compact.tombstone_grace", "1s");
    if !is_told {
        set("sinks", "none");
    }
    log.append(&a, NewRecord::delete("k")).unwrap();
    log.append(&a, NewRecord::put("last", "1")).unwrap();
    log.seal(None).unwrap();
    if is_told {
        flush(&sinks, "a");
    }
    drop(sinks);
    log.close().unwrap();
    world.clock.advance(Duration::from_secs(60));
    a
}

fn compact(log: &Log) -> CompactReport {
    log.compact(&CompactOptions::default(), &mut |_| true).unwrap()
}

fn has_old(sink: &MemorySink, collection: &CollectionName) -> bool {
    sink.held(collection).records.iter().any(|record| record.key.as_deref() == Some(b"k"))
}

#[test]
fn a_sink_that_is_not_subscribed_to_any_more_counts_until_it_is_forgotten() {
    let mut world = World::new();
    let a = prepared(&world, false);
    for sinks in [&["one"][..], &[]] {
        let log = Log::open(world.options(sinks)).unwrap();
        let report = compact(&log);
        // What it was given may go from the log; the tombstone stays, for which it would go on holding the key.
        assert_eq!(report.removed().tombstones, 0, "{report:?}");
        assert!(format!("{:?}", report.collections).contains("a sink does not have it yet: sink=`one`"), "{report:?}");
        let abandoned = log.abandoned_sinks().unwrap();
        assert_eq!(abandoned.len(), 1);
        assert_eq!((&abandoned[0].sink[..], abandoned[0].collections, &abandoned[0].first), ("one", 1, &a));
        log.close().unwrap();
    }
    let log = Log::open(world.options(&["one"])).unwrap();
    assert_eq!(log.forget_sink(&a, "two").unwrap_err().kind(), ErrorKind::NotFound);
    log.forget_sink(&a, "one").unwrap();
    assert_eq!(log.abandoned_sinks().unwrap(), []);
    assert_eq!(compact(&log).removed().tombstones, 1);

    // It comes back as it was: it may not go on.
    log.set_collection_settings(&a, |own| own.sinks = None).unwrap();
    assert_eq!(log.forget_sink(&a, "one").unwrap_err().kind(), ErrorKind::Conflict);
    let sinks = world.sinks(&log);
    let report = flush(&sinks, "a");
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert!(has_old(&world.one, &a));
    drop(sinks);
    // It is emptied: it is filled again.
    world.one = Arc::new(MemorySink::new("one", 2000));
    let sinks = world.sinks(&log);
    assert_eq!(flush(&sinks, "a").failed.len(), 0);
    assert_has_all(&log, &world.one, &a);
    assert!(!has_old(&world.one, &a));
}

#[test]
fn a_sink_that_was_put_back_behind_a_compaction_is_refused_and_an_empty_one_is_filled() {
    let mut world = World::new();
    let a = name("a");
    let older = {
        let log = Log::open(world.options(&["one"])).unwrap();
        let sinks = world.sinks(&log);
        log.append(&a, NewRecord::put("k", "old")).unwrap();
        flush(&sinks, "a");
        drop(sinks);
        log.close().unwrap();
        world.one.fork()
    };
    prepared_behind(&world, &a);
    let log = Log::open(world.options(&["one"])).unwrap();
    assert!(compact(&log).removed().total() >= 2);
    world.one = Arc::new(older);
    let sinks = world.sinks(&log);
    let report = flush(&sinks, "a");
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert_eq!(world.one.held(&a).records.len(), 1, "nothing was brought to it");
    drop(sinks);
    world.one = Arc::new(MemorySink::new("one", 2000));
    let sinks = world.sinks(&log);
    assert_eq!(flush(&sinks, "a").failed.len(), 0);
    assert_has_all(&log, &world.one, &a);
}

/// The tombstone, delivered.
fn prepared_behind(world: &World, a: &CollectionName) {
    let log = Log::open(world.options(&["one"])).unwrap();
    let sinks = world.sinks(&log);
    for (key, value) in [("compact.keep_versions", "1"), ("compact.tombstone_grace", "1s")] {
        log.set_collection_settings(a, |own| own.set(key, value).unwrap()).unwrap();
    }
    log.append(a, NewRecord::delete("k")).unwrap();
    log.append(a, NewRecord::put("last", "1")).unwrap();
    flush(&sinks, "a");
    drop(sinks);
    log.close().unwrap();
    world.clock.advance(Duration::from_secs(60));
}

/// Nothing was compacted: it goes on from where it is. While it does, compaction waits for it, whatever is on record.
#[test]
fn a_sink_that_lost_something_goes_on_and_compaction_waits_for_it() {
    let mut world = World::new();
    let a = prepared(&world, true);
    let whole = Arc::clone(&world.one);
    world.one = Arc::new(MemorySink::new("one", 2000));
    let log = Log::open(world.options(&["one"])).unwrap();
    world.one.set_fault(Fault::Refuses, &[]);
    let sinks = world.sinks(&log);
    assert_eq!(flush(&sinks, "a").failed.len(), 1);
    assert_eq!(compact(&log).removed().total(), 0);
    world.one.set_fault(Fault::None, &[]);
    assert_eq!(flush(&sinks, "a").failed.len(), 0);
    assert_eq!(world.one.held(&a).records, whole.held(&a).records);
    assert!(compact(&log).removed().total() >= 2);
}
