//! How many requests are made, and none while nothing is sealed.

use std::sync::{Arc, Mutex, mpsc};

use icecore::archive::archiver::{Archiver, ArchiverOptions};
use icecore::catalog::{MemoryCatalog, SegmentStatus};
use icecore::objects::{ObjectStore as _, RequestKind};
use icecore::testing::faulty_store::Moment;

use crate::world::{HASTY, World, options, run, seal};

fn requests(world: &World<MemoryCatalog>) -> u64 {
    world.store.meter().all().iter().map(|usage| usage.requests).sum()
}

#[test]
fn no_request_while_nothing_is_sealed() {
    let world = World::new(MemoryCatalog::new(), [0, 0]);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    let running = archiver.start().unwrap();
    for _ in 0..5 {
        log.wake_archivers();
        assert!(run(&archiver).unwrap().is_complete());
    }
    assert_eq!(requests(&world), 0, "nothing was ever sealed");
    seal(&log, "audit");
    assert!(run(&archiver).unwrap().is_complete());
    let after = requests(&world);
    for _ in 0..5 {
        log.wake_archivers();
        assert!(run(&archiver).unwrap().is_complete());
    }
    running.stop();
    assert_eq!(requests(&world), after, "everything is archived");
    // Nor does another process ask, to find that there is nothing to do.
    log.close().unwrap();
    let next = world.image(0);
    let log = next.open();
    assert!(run(&next.archiver(&log, HASTY)).unwrap().is_complete());
    assert_eq!(requests(&next), 0);
}

#[test]
fn the_thread_archives_what_is_sealed_beside_it() {
    let world = World::new(MemoryCatalog::new(), [0, 0]);
    let log = world.open();
    let archiver = Archiver::new(&log, vec![world.target()], options(&world.clock, HASTY)).unwrap();
    let (told, manifests) = mpsc::channel();
    let told = Mutex::new(told);
    world.store.observe(move |_, call, moment| {
        if moment == Moment::After && call.operation == "put" {
            told.lock().unwrap().send(call.key.clone()).unwrap();
        }
    });
    let running = archiver.start().unwrap();
    for number in 1..=3 {
        seal(&log, "audit");
        // The claim first, then a segment and its manifest each time.
        let puts = if number == 1 { 3 } else { 2 };
        let keys: Vec<String> = (0..puts).map(|_| manifests.recv().unwrap()).collect();
        assert!(keys[puts - 1].starts_with("_manifest/"), "{keys:?}");
    }
    running.stop();
    world.must_be_complete(&log, "beside the writer");
    assert_eq!(archiver.status().unwrap().archived_segments, 3);
    log.close().unwrap();
}

#[test]
fn it_ends_when_the_log_is_closed() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    let running = archiver.start().unwrap();
    log.close().unwrap();
    log.wake_archivers();
    drop(running);
    assert_eq!(run(&archiver).unwrap_err().kind(), icecore::ErrorKind::Closed);
    assert!(!world.counts().contains_key(&SegmentStatus::Purged));
}

/// The length of a segment makes no difference below the multipart size: each is one PUT, and manifests name many.
#[test]
fn at_most_one_put_and_a_tenth_for_each_segment() {
    for segments in [40, 200] {
        let world = World::new(MemoryCatalog::new(), [segments, 0]);
        let log = world.open();
        let defaults = ArchiverOptions { clock: Arc::clone(&world.clock) as _, ..ArchiverOptions::default() };
        let archiver = Archiver::new(&log, vec![world.target()], defaults).unwrap();
        let report = run(&archiver).unwrap();
        assert!(report.is_complete());
        let puts = world.store.meter().usage(RequestKind::Put).requests;
        println!("{segments} segments: {puts} puts, {} manifests", report.manifests);
        assert!(puts * 10 <= segments * 11, "{puts} puts for {segments} segments");
        world.must_be_complete(&log, "many");
        log.close().unwrap();
    }
}

#[test]
fn several_at_a_time_stay_within_the_budget() {
    let world = World::new(MemoryCatalog::new(), [20, 20]);
    let log = world.open();
    let longest = world.rows().iter().map(|row| row.bytes).max().unwrap();
    let options = ArchiverOptions {
        parallel: 5,
        memory_bytes: longest * 2,
        manifest_segments: 7,
        clock: Arc::clone(&world.clock) as _,
        ..ArchiverOptions::default()
    };
    let archiver = Archiver::new(&log, vec![world.target()], options).unwrap();
    let most = Arc::new(Mutex::new(0));
    let (seen, watched) = (Arc::clone(&most), archiver.clone());
    world.store.observe(move |_, call, _| {
        if call.operation == "put" {
            let used = watched.status().unwrap().memory_bytes;
            let mut most = seen.lock().unwrap();
            *most = used.max(*most);
        }
    });
    let mut told = Vec::new();
    let report = archiver
        .run_once(&mut |progress| {
            told.push(*progress);
            true
        })
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.archived_segments, 40);
    assert!(report.manifests >= 6);
    let most = *most.lock().unwrap();
    assert!(most > 0 && most <= longest * 2, "{most}");
    let last = told.last().unwrap();
    assert_eq!((last.segments, last.segments_total, last.bytes), (40, 40, last.bytes_total));
    world.must_be_complete(&log, "several at a time");
}

#[test]
fn who_interrupts_loses_nothing() {
    let world = World::new(MemoryCatalog::new(), [3, 2]);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    let report = archiver.run_once(&mut |progress| progress.segments < 1).unwrap();
    assert!(report.is_interrupted && report.archived_segments >= 1 && report.archived_segments < 5, "{report:?}");
    world.must_be_sound("interrupted");
    assert!(!world.counts().contains_key(&SegmentStatus::Archiving));
    world.finish_with(&log, &archiver, "afterwards");
}
