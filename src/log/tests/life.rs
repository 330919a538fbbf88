//! Append, seal, cool, release, close, be killed, open again.

use super::*;

fn filler(collection: &str, sequence: u64) -> Vec<u8> {
    format!("{collection}-{sequence}-{}", "x".repeat((sequence * 37 % 700) as usize)).into_bytes()
}

fn append(log: &Log, collection: &CollectionName, count: u64) {
    for _ in 0..count {
        let next = log.0.collection(collection).map_or(1, |known| known.state().next.0);
        let receipt = log.append(collection, put(filler(collection.as_str(), next))).unwrap();
        assert_eq!(receipt.first.0, next);
    }
}

fn assert_whole(log: &Log, collection: &CollectionName, count: u64) {
    let found = everything(log, collection);
    let expected: Vec<_> = (1..=count).map(|at| (at, filler(collection.as_str(), at))).collect();
    assert_eq!(found.len(), expected.len(), "{collection}");
    assert!(found == expected, "{collection}: {:?}", found.iter().map(|(at, _)| *at).collect::<Vec<_>>());
}

#[test]
fn what_was_appended_is_there_after_close_and_after_a_kill() {
    let place = Place::new();
    let (a, b) = (name("a"), name("ä/b"));
    let mut count = 0;
    for round in 0..6 {
        let log = place.open();
        if count > 0 {
            assert!(log.recovery().damaged.is_empty(), "{:?}", log.recovery());
            assert_whole(&log, &a, count);
            assert_whole(&log, &b, count);
        }
        append(&log, &a, 20);
        append(&log, &b, 20);
        count += 20;
        match round % 3 {
            0 => log.close().unwrap(),
            1 => {
                log.seal(Some(&a)).unwrap();
                log.close().unwrap();
            }
            // A kill: nothing is closed, and the lock goes with the process.
            _ => {
                for directory in &log.0.directories {
                    directory.lock.lock().unwrap().take();
                }
                std::mem::forget(log);
            }
        }
    }
}

#[test]
fn journals_are_released_under_pressure_and_nothing_is_lost() {
    let place = Place::new();
    let log = place.open();
    let names: Vec<_> = (0..30).map(|number| name(&format!("c{number}"))).collect();
    for _ in 0..40 {
        for name in &names {
            append(&log, name, 2);
        }
        log.maintain().unwrap();
    }
    let journals = log.0.fs.list(&place.folder.path().join("data/.journal")).unwrap();
    assert!(journals.len() < 20, "{journals:#?}");
    for name in &names {
        assert_whole(&log, name, 80);
    }
    log.close().unwrap();
    let log = place.open();
    for name in &names {
        assert_whole(&log, name, 80);
        append(&log, name, 1);
        assert_whole(&log, name, 81);
    }
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let place = Place::new();
    let log = place.open();
    append(&log, &name("a"), 3);
    assert_eq!(Log::open(place.options()).unwrap_err().kind(), ErrorKind::Locked);
    let beside = Log::open_read_only(place.options()).unwrap();
    assert_whole(&beside, &name("a"), 3);
    let refused = beside.append(&name("a"), put("x")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    log.close().unwrap();
    assert_eq!(log.append(&name("a"), put("x")).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn threads_share_groups_and_each_gets_its_own_sequences() {
    let place = Place::new();
    let mut options = place.options();
    options.background = true;
    options.clock = Arc::new(crate::clock::SystemClock::new());
    let log = Log::open(options).unwrap();
    let receipts: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let log = log.clone();
                scope.spawn(move || {
                    let shared = name("shared");
                    let own = name(&format!("own{thread}"));
                    (0..200)
                        .map(|at| {
                            log.append(&own, put(filler(own.as_str(), at + 1))).unwrap();
                            log.append(&shared, put("s")).unwrap().first.0
                        })
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all: Vec<u64> = receipts.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=1600).collect::<Vec<_>>());
    log.close().unwrap();
    let log = place.open();
    assert_eq!(everything(&log, &name("shared")).len(), 1600);
    for thread in 0..8 {
        assert_whole(&log, &name(&format!("own{thread}")), 200);
    }
}

/// Bytes of which no table tells cost every collection of the directory a stretch of sequences: once, not at every opening.
#[test]
fn room_for_unknown_records_is_left_once() {
    let place = Place::new();
    let (a, b) = (name("a"), name("b"));
    let log = place.open();
    for _ in 0..6 {
        append(&log, &a, 1);
        append(&log, &b, 1);
    }
    for directory in &log.0.directories {
        directory.lock.lock().unwrap().take();
    }
    std::mem::forget(log);
    let folder = place.folder.path().join("data/.journal");
    let fs = crate::fs::OsFileSystem::new();
    let named = |entry: crate::fs::Entry| entry.name.ends_with(".avro").then(|| folder.join(entry.name));
    let path = crate::fs::FileSystem::list(&fs, &folder).unwrap().into_iter().find_map(named).unwrap();
    let file = crate::fs::FileSystem::open(&fs, &path, crate::fs::OpenMode::ReadWrite).unwrap();
    let scan = crate::journal::scan(&*file, None).unwrap();
    // Two groups side by side: the table behind them tells of the second only.
    for run in &scan.runs[6..8] {
        file.write_all_at(b"damage", run.offset).unwrap();
    }

    let log = place.open();
    let losses = log.recovery().losses.clone();
    let lost = |collection: &CollectionName| {
        losses
            .iter()
            .filter(|loss| loss.collection == *collection)
            .map(|loss| (loss.first_sequence.0, loss.last_sequence.0))
            .collect::<Vec<_>>()
    };
    let (lost_a, lost_b) = (lost(&a), lost(&b));
    assert_eq!((lost_a[0], lost_b[0]), ((4, 4), (4, 4)), "{losses:?}");
    assert!(lost_a[1].0 == 7 && lost_a[1].1 > 7, "room behind the end: {losses:?}");
    let first = log.append(&a, put("on")).unwrap().first.0;
    assert_eq!(first, lost_a[1].1 + 1);
    for round in 1..4 {
        for directory in &log.0.directories {
            directory.lock.lock().unwrap().take();
        }
        let log = place.open();
        assert_eq!(log.recovery().losses, [], "opening {round}");
        assert_eq!(log.append(&a, put("on")).unwrap().first.0, first + round);
        assert_eq!(log.catalog().losses(None).unwrap().len(), losses.len());
        for directory in &log.0.directories {
            directory.lock.lock().unwrap().take();
        }
        std::mem::forget(log);
    }
    std::mem::forget(log);
}

#[test]
fn a_quiet_collection_is_sealed_by_its_age_however_often_the_log_is_opened() {
    let place = Place::new();
    let quiet = name("quiet");
    let hours = |count: u64| place.clock.advance(std::time::Duration::from_secs(count * 3600));
    let segments = |log: &Log| log.catalog().segments(Some(&quiet), None, 10).unwrap().len();
    for is_killed in [false, true] {
        let log = place.open();
        // Of long ago, by its own word: the age is since it came.
        log.append(&quiet, NewRecord { timestamp: Some(Timestamp(-1)), ..put("old") }).unwrap();
        hours(13);
        log.maintain().unwrap();
        let before = segments(&log);
        if is_killed {
            drop(log)
        } else {
            log.close().unwrap()
        }
        let log = place.open();
        log.maintain().unwrap();
        assert_eq!(segments(&log), before, "13 hours are no day");
        hours(13);
        log.maintain().unwrap();
        assert_eq!(segments(&log), before + 1);
        // What comes behind it begins anew.
        log.append(&quiet, put("new")).unwrap();
        hours(13);
        log.maintain().unwrap();
        assert_eq!(segments(&log), before + 1);
        log.seal(None).unwrap();
    }
}
