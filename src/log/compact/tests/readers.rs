//! Readers while it runs.

use super::*;
use crate::types::CollectionName;

/// Of each writer.
const APPENDS: u64 = 500;

/// A reader stops at every record in turn, a compaction runs, and it reads on: every sequence once, in order, none that is promised left out.
#[test]
fn who_reads_across_a_compaction_meets_every_record_once() {
    for reverse in [false, true] {
        for stop in 0..=9 {
            let world = World::new();
            let log = world.open();
            segments(&log, "a", &[&["a", "b", "c"], &["a"], &["d", "e"], &["b", "-d", "f"]]);
            set(&log, "a", &[("compact.keep_versions", "1")]);
            let log = reopened(&world, log);
            let options = ReadOptions { reverse, ..ReadOptions::default() };
            let mut reader = log.read(&name("a"), options).unwrap();
            let mut given: Vec<u64> = reader.by_ref().take(stop).map(|record| record.unwrap().sequence.0).collect();
            compact(&log);
            given.extend(reader.map(|record| record.unwrap().sequence.0));
            if reverse {
                given.reverse();
            }
            assert!(given.is_sorted_by(|one, other| one < other), "{given:?}");
            for stays in [3, 4, 6, 7, 8, 9] {
                assert!(given.contains(&stays), "{stop} {reverse}: {given:?}");
            }
            assert!(compact(&log).left.is_empty());
            check(&log);
        }
    }
}

/// Real threads on a real disk: sixteen writers, readers of all kinds, and compactions one after another.
#[test]
fn under_load_no_reader_sees_half_of_it() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let mut options = crate::LogOptions::new([folder.path().join("data")]);
    options.limits.journal_bytes = 256 << 10;
    options.limits.segment_bytes = 64 << 10;
    options.limits.memtable_bytes = 512 << 10;
    options.limits.unsealed_bytes = 1 << 20;
    options.limits.batch_bytes = 64 << 10;
    options.limits.record_bytes = 64 << 10;
    options.cold_bytes = 0;
    options.block_bytes = 4 << 10;
    options.sync = crate::SyncMode::Never;
    let log = Log::open(options.clone()).unwrap();
    let names: Vec<CollectionName> = (0..4).map(|at| name(&format!("c{at}"))).collect();
    for collection in &names {
        let settings = crate::CollectionSettings::default();
        log.create_collection(collection, &settings).unwrap();
        set(&log, collection.as_str(), &[("compact.keep_versions", "1")]);
    }
    let is_over = AtomicBool::new(false);
    let mut removed = 0;
    std::thread::scope(|scope| {
        let (log, names, is_over) = (&log, &names, &is_over);
        let writers: Vec<_> = (0..16_u64)
            .map(|writer| {
                scope.spawn(move || {
                    let collection = &names[writer as usize % names.len()];
                    // Each has keys of its own: the newest value of each is known to the writer alone.
                    let mut newest = std::collections::HashMap::new();
                    for number in 0..APPENDS {
                        let key = format!("w{writer}-{}", number % 20);
                        let payload = format!("{number}:{}", "x".repeat(300));
                        log.append(collection, NewRecord::put(key.clone(), payload.clone())).unwrap();
                        newest.insert(key.clone(), payload);
                        if number.is_multiple_of(7) {
                            let found = log.get(collection, key.as_bytes(), Timestamp(0)).unwrap();
                            let found = found.expect("it was just appended").payload.unwrap();
                            assert_eq!(found, newest[&key].as_bytes());
                        }
                    }
                    for (key, payload) in newest {
                        let found = log.get(collection, key.as_bytes(), Timestamp(0)).unwrap();
                        assert_eq!(found.expect("the newest version stays").payload.unwrap(), payload.as_bytes());
                    }
                })
            })
            .collect();
        for reader in 0..3 {
            scope.spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    let options = ReadOptions { reverse: reader == 1, ..ReadOptions::default() };
                    let mut last = None;
                    for record in log.read(&names[reader], options).unwrap() {
                        let sequence = record.unwrap().sequence;
                        let follows =
                            last.is_none_or(|last| if reader == 1 { sequence < last } else { sequence > last });
                        assert!(follows, "{sequence} behind {last:?}");
                        last = Some(sequence);
                    }
                }
            });
        }
        while writers.iter().any(|writer| !writer.is_finished()) {
            let report = log.compact(&CompactOptions::default(), &mut |_| true).unwrap();
            assert!(report.collections.iter().all(|of| of.failed.is_none()), "{report:?}");
            removed += report.removed().total();
        }
        is_over.store(true, Ordering::Release);
        for writer in writers {
            writer.join().unwrap();
        }
    });
    log.close().unwrap();
    drop(log);
    let log = Log::open(options).unwrap();
    assert!(log.recovery().damaged.is_empty() && log.recovery().losses.is_empty(), "{:?}", log.recovery());
    log.seal(None).unwrap();
    let log = {
        log.close().unwrap();
        let options = log.0.options.clone();
        drop(log);
        Log::open(options).unwrap()
    };
    removed += compact(&log).removed().total();
    assert_eq!(removed, 16 * (APPENDS - 20));
    check(&log);
    for (at, collection) in names.iter().enumerate() {
        let records: Vec<_> =
            log.read(collection, ReadOptions::default()).unwrap().map(|record| record.unwrap()).collect();
        let keys: std::collections::HashSet<_> = records.iter().map(|record| record.key.clone()).collect();
        assert_eq!(records.len(), keys.len(), "c{at}: one version of each key is left");
    }
}
