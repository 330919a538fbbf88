//! Sinks that hold older data than the log goes by, and compaction (C2, S2).
//!
//! Symptom: a deleted key was back. Cause: compaction removed a tombstone and what it hid, while a sink that was not subscribed to still had what was hidden.

use std::time::Duration;

use super::*;
use crate::log::compact::{CompactOptions, CompactReport};

/// `k` and others, delivered to `one`; not that `k` is deleted, since by then nobody subscribes.
fn prepared(world: &World) -> CollectionName {
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
    set("sinks", "none");
    log.append(&a, NewRecord::delete("k")).unwrap();
    log.append(&a, NewRecord::put("last", "1")).unwrap();
    log.seal(None).unwrap();
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
    let world = World::new();
    let a = prepared(&world);
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

    // It comes back as it was: nothing of that counts.
    log.set_collection_settings(&a, |own| own.sinks = None).unwrap();
    assert_eq!(log.forget_sink(&a, "one").unwrap_err().kind(), ErrorKind::Conflict);
    assert!(has_old(&world.one, &a));
    let sinks = world.sinks(&log);
    assert_eq!(flush(&sinks, "a").failed.len(), 0);
    assert_has_all(&log, &world.one, &a);
    assert!(!has_old(&world.one, &a));
}

/// Nobody waits for a forgotten sink, also in a log that is opened without any: there those on record count.
#[test]
fn a_forgotten_sink_is_not_waited_for_without_sinks_either() {
    let world = World::new();
    let audit = name("audit");
    let (log, sinks) = world.open();
    append(&log, &audit, 20);
    assert_eq!(flush(&sinks, "audit").failed, []);
    log.close().unwrap();
    let log = Log::open(world.options(&[])).unwrap();
    assert_eq!(log.awaited(&audit).unwrap().len(), 2);
    log.forget_sink(&audit, "one").unwrap();
    assert_eq!(log.awaited(&audit).unwrap(), [("two".to_owned(), Sequence(20))]);
    log.forget_sink(&audit, "two").unwrap();
    assert_eq!(log.awaited(&audit).unwrap(), []);
}
