//! What befalls single segments, and where they go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use icecore::archive::Entry;
use icecore::archive::archiver::{Archiver, ArchiverOptions, TargetStore};
use icecore::catalog::{Catalog as _, MemoryCatalog, Mutation, SegmentStatus};
use icecore::clock::Clock;
use icecore::fs::{FileSystem as _, OpenMode};
use icecore::objects::{ObjectErrorKind, ObjectStore, Patience};
use icecore::testing::faulty_store::{Fault, FaultyStore};
use icecore::{ErrorKind, Sequence};

use crate::world::{HASTY, World, first_segment, name, options, run, seal};

fn path_of(row: &icecore::catalog::SegmentRow) -> String {
    format!("/one/{}", row.path)
}

#[test]
fn a_damaged_file_is_never_archived_and_the_others_go_on() {
    let world = World::new(MemoryCatalog::new(), [3, 2]);
    let log = world.open();
    let rows = world.rows();
    let file = world.fs.open(Path::new(&path_of(&rows[1])), OpenMode::ReadWrite).unwrap();
    file.write_all_at(b"!", rows[1].bytes / 2).unwrap();
    let archiver = world.archiver(&log, HASTY);
    for _ in 0..2 {
        let report = run(&archiver).unwrap();
        assert_eq!(report.failed.len(), 1, "{report:?}");
        assert!(report.failed[0].reason.contains("the local file is damaged"), "{report:?}");
        assert!(report.errors.is_empty(), "{report:?}");
    }
    world.must_be_sound("damaged");
    assert_eq!(world.counts()[&SegmentStatus::Archived], 4);
    assert_eq!(world.catalog.segment(&rows[1].key).unwrap().unwrap().status, SegmentStatus::Sealed);
    let changes = world.catalog.changes(icecore::ChangeNumber(0), 10_000).unwrap();
    assert!(changes.iter().any(|change| change.reason.contains("the local file is damaged")));
    let status = archiver.status().unwrap();
    assert_eq!((status.parked.len(), status.parked[0].times), (1, 2), "{status:?}");
}

#[test]
fn what_failed_is_not_tried_in_a_tight_loop() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    world.store.fail_at(first_segment(&world), Fault::Taken);
    let log = world.open();
    let mut hour = options(&world.clock, HASTY);
    (hour.retry_first, hour.retry_longest) = (Duration::from_secs(3600), Duration::from_secs(7200));
    let archiver = Archiver::new(&log, vec![world.target()], hour).unwrap();
    assert_eq!(run(&archiver).unwrap().failed.len(), 1);
    let calls = world.store.calls().len();
    // Beside the writers it is left alone; by hand it is tried.
    let running = archiver.start().unwrap();
    (0..10).for_each(|_| log.wake_archivers());
    running.stop();
    assert_eq!(world.store.calls().len(), calls);
}

#[test]
fn a_hole_without_a_loss_on_record_is_told() {
    let world = World::new(MemoryCatalog::new(), [3, 0]);
    let log = world.open();
    let rows = world.rows();
    let quarantined = Mutation::Transition {
        key: rows[1].key.clone(),
        from: SegmentStatus::Sealed,
        to: SegmentStatus::Quarantined,
        archive_key: None,
    };
    world.catalog.apply(&[quarantined], world.clock.now(), "a test").unwrap();
    let report = run(&world.archiver(&log, HASTY)).unwrap();
    assert_eq!((report.archived_segments, report.holes.len()), (2, 1), "{report:?}");
    assert!(report.holes[0].contains("first=`4`, last=`6`"), "{report:?}");
    // On record it is none, and the archive tells of it.
    let world = World::new(MemoryCatalog::new(), [3, 0]);
    let log = world.open();
    let (key, collection) = (world.rows()[1].key.clone(), name("audit"));
    let (from, to) = (SegmentStatus::Sealed, SegmentStatus::Quarantined);
    let (first, last) = (key.first, key.last);
    let mutations = [
        Mutation::Transition { key, from, to, archive_key: None },
        Mutation::RecordLoss { collection: collection.clone(), first, last },
    ];
    world.catalog.apply(&mutations, world.clock.now(), "a test").unwrap();
    let archiver = world.archiver(&log, HASTY);
    let report = run(&archiver).unwrap();
    assert_eq!((report.archived_segments, report.holes.len()), (2, 0), "{report:?}");
    let losses = |world: &World<MemoryCatalog>| world.archived().collections()[&name("audit")].losses.clone();
    assert!(losses(&world).contains_key(&(Sequence(4), Sequence(6))));
    // Taking note of it goes out too, without any segment.
    log.acknowledge_loss(&collection, first, last, "somebody").unwrap();
    run(&archiver).unwrap();
    assert_eq!(losses(&world)[&(Sequence(4), Sequence(6))].acknowledged.as_ref().unwrap().by, "somebody");
    let calls = world.store.calls().len();
    run(&archiver).unwrap();
    assert_eq!(world.store.calls().len(), calls, "told once");
}

#[test]
fn settings_go_out_when_they_change() {
    let world = World::new(MemoryCatalog::new(), [1, 1]);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    assert!(run(&archiver).unwrap().is_complete());
    let settings = r#"{"holds":["case-7"]}"#.to_owned();
    let put = Mutation::PutCollection { name: name("audit"), settings: settings.clone() };
    world.catalog.apply(&[put], world.clock.now(), "a test").unwrap();
    assert_eq!(run(&archiver).unwrap().manifests, 1);
    let state = world.archived();
    assert_eq!(state.collections()[&name("audit")].entry.as_ref().unwrap().settings, settings);
    assert_eq!(state.collections()[&name("Orders/2024")].entry.as_ref().unwrap().settings, "{}");
}

#[test]
fn a_lost_object_is_archived_anew() {
    let world = World::new(MemoryCatalog::new(), [2, 0]);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    assert!(run(&archiver).unwrap().is_complete());
    let row = world.rows()[0].clone();
    let key = row.archive_key.clone().unwrap();
    world.store.lose(&key);
    archiver.reupload(&row).unwrap();
    assert_eq!(archiver.reupload(&row).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(run(&archiver).unwrap().archived_segments, 1);
    assert!(world.store.objects().contains_key(&key));
    assert_eq!(world.archived().problems(), [""; 0]);
    assert_eq!(world.counts()[&SegmentStatus::Archived], 2);
}

#[test]
fn another_url_must_have_what_was_archived() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    world.finish("at first");
    let moved = world.image(0);
    let log = moved.open();
    seal(&log, "audit");
    let empty = Arc::new(FaultyStore::new(Arc::clone(&moved.clock) as Arc<dyn Clock>));
    let target = |store: &Arc<FaultyStore>| TargetStore {
        remote: None,
        url: "memory://elsewhere".into(),
        store: Arc::clone(store) as Arc<dyn ObjectStore>,
    };
    let archiver = Archiver::new(&log, vec![target(&empty)], options(&moved.clock, HASTY)).unwrap();
    let report = run(&archiver).unwrap();
    assert_eq!(report.errors[0].kind, ErrorKind::Conflict, "{report:?}");
    assert!(report.errors[0].error.contains("known url=`memory://archive`"), "{report:?}");
    assert_eq!(empty.objects().len(), 0, "nothing begins in the wrong place");
    // A copy of everything is fine.
    drop(archiver);
    let archiver = Archiver::new(&log, vec![target(&moved.store)], options(&moved.clock, HASTY)).unwrap();
    moved.finish_with(&log, &archiver, "the copy");
}

#[test]
fn another_logs_archive_is_refused() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    world.finish("ours");
    let clock = Arc::new(icecore::clock::FakeClock::at(icecore::Timestamp(5)));
    let (fs, catalog) = (icecore::fs::SimulatedFileSystem::new(), Arc::new(MemoryCatalog::new()));
    let stranger = World { fs, catalog, clock, store: Arc::clone(&world.store), broken: None };
    let log = stranger.open();
    seal(&log, "audit");
    let before = world.store.objects();
    let report = run(&stranger.archiver(&log, HASTY)).unwrap();
    assert_eq!(report.errors[0].kind, ErrorKind::Conflict, "{report:?}");
    assert_eq!(world.store.objects(), before);
}

#[test]
fn a_store_that_is_down_does_not_keep_the_other_from_going_on() {
    let world = World::new(MemoryCatalog::new(), [2, 2]);
    let log = world.open();
    let assign = Mutation::Assign {
        component: "home".into(),
        collection: name("Orders/2024"),
        directory: "d9".into(),
        epoch: log.epoch(),
        from: Sequence(1),
    };
    world.catalog.apply(&[assign], world.clock.now(), "a test").unwrap();
    let home = Arc::new(FaultyStore::new(Arc::clone(&world.clock) as Arc<dyn Clock>).named("home"));
    let remote = TargetStore {
        remote: Some("d9".into()),
        url: "memory://home".into(),
        store: Arc::clone(&home) as Arc<dyn ObjectStore>,
    };
    // Nobody gave a store for it: it stays where it is.
    let report = run(&world.archiver(&log, HASTY)).unwrap();
    assert_eq!((report.archived_segments, report.without_store), (2, 2), "{report:?}");
    seal(&log, "audit");
    world.store.go_down(ObjectErrorKind::Unavailable);
    let both = || Archiver::new(&log, vec![world.target(), remote.clone()], options(&world.clock, HASTY)).unwrap();
    let archiver = both();
    let report = run(&archiver).unwrap();
    assert_eq!((report.archived_segments, report.errors.len()), (2, 1), "{report:?}");
    world.store.heal();
    assert_eq!(run(&archiver).unwrap().archived_segments, 1);
    let keys: Vec<String> = world.rows().iter().map(|row| row.archive_key.clone().unwrap()).collect();
    assert_eq!(keys.iter().filter(|key| key.starts_with("@d9/")).count(), 2, "{keys:?}");
    // The home has manifests of its own, of its own collections.
    let state = icecore::archive::chain::state(&*home).unwrap();
    assert_eq!(state.segments().count(), 2);
    assert_eq!(state.collections().keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["Orders/2024"]);
    assert_eq!(world.archived().segments().count(), 3);
    assert!(world.archived().collections().contains_key(&name("Orders/2024")));
    drop(archiver);
    // Another process goes on in both.
    seal(&log, "Orders/2024");
    seal(&log, "audit");
    assert_eq!(run(&both()).unwrap().archived_segments, 2);
    assert!(world.rows().iter().all(|row| row.status == SegmentStatus::Archived));
}

#[test]
fn the_archive_tells_of_homes() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    let log = world.open();
    let home = Arc::new(FaultyStore::new(Arc::clone(&world.clock) as Arc<dyn Clock>));
    let remote = TargetStore { remote: Some("d9".into()), url: "memory://home".into(), store: home };
    let archiver = Archiver::new(&log, vec![world.target(), remote], options(&world.clock, HASTY)).unwrap();
    assert!(run(&archiver).unwrap().is_complete());
    assert_eq!(world.archived().remotes()["d9"], "memory://home");
    let entries =
        icecore::archive::chain::read_one(&*world.store, icecore::archive::ManifestNumber(2)).unwrap().unwrap();
    assert!(entries.entries.iter().any(|entry| matches!(entry, Entry::Remote(_))));
}

#[test]
fn what_hangs_is_given_up_at_its_deadline_and_never_counts_behind_it() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    let span = Duration::from_secs(7200);
    let patient = Patience { tries: 5, span: Duration::from_secs(100_000), ..HASTY };
    let put = first_segment(&world);
    for happens in [true, false] {
        let world = world.image(1 + u64::from(happens));
        let log = world.open();
        world.store.fail_at(put, Fault::Hang { span, happens });
        let archiver = world.archiver(&log, patient);
        let report = run(&archiver).unwrap();
        assert_eq!(report.archived_segments, 0, "{report:?}");
        assert!(report.failed[0].reason.contains("longer than it may"), "{report:?}");
        world.must_be_sound("behind the deadline");
        world.finish_with(&log, &archiver, "behind the deadline");
    }
}

#[test]
fn bandwidth_is_limited() {
    let world = World::new(MemoryCatalog::new(), [3, 0]);
    let log = world.open();
    let bytes: u64 = world.rows().iter().map(|row| row.bytes).sum();
    let slow = ArchiverOptions { bytes_per_second: Some(bytes / 9), ..options(&world.clock, HASTY) };
    let archiver = Archiver::new(&log, vec![world.target()], slow).unwrap();
    let before = world.clock.monotonic();
    assert!(run(&archiver).unwrap().is_complete());
    let took = world.clock.monotonic() - before;
    // The last one goes when those before it are sent.
    assert!(took >= Duration::from_millis(5_900) && took <= Duration::from_secs(9), "{took:?}");
}

#[test]
fn options_that_cannot_be_are_refused() {
    let world = World::new(MemoryCatalog::new(), [0, 0]);
    let log = world.open();
    for options in [
        ArchiverOptions { parallel: 0, ..ArchiverOptions::default() },
        ArchiverOptions { manifest_segments: 0, ..ArchiverOptions::default() },
        ArchiverOptions { attempt: Duration::from_secs(1), ..ArchiverOptions::default() },
    ] {
        assert_eq!(Archiver::new(&log, vec![world.target()], options).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let twice = vec![world.target(), world.target()];
    assert_eq!(Archiver::new(&log, twice, ArchiverOptions::default()).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn who_purges_beside_the_archiver_does_not_fence_it() {
    let world = World::new(MemoryCatalog::new(), [1, 0]);
    let log = world.open();
    let archiver = world.archiver(&log, HASTY);
    archiver
        .lend(|_, targets| {
            assert!(targets.archive.is_none(), "nothing was archived yet");
            Ok(())
        })
        .unwrap();
    assert_eq!(world.store.calls().len(), 0);
    assert!(run(&archiver).unwrap().is_complete());
    let before = world.archived().mark().unwrap().number;
    let entry = icecore::archive::CollectionEntry {
        name: name("audit"),
        created_at: world.clock.now(),
        floor: Sequence(2),
        sealed_through: Sequence(3),
        settings: "{}".into(),
        home: None,
    };
    let mark = archiver
        .lend(|_, targets| targets.archive.as_mut().unwrap().claim.commit(vec![Entry::Collection(entry)]))
        .unwrap();
    assert_eq!(mark.number, before.next());
    seal(&log, "audit");
    world.finish_with(&log, &archiver, "afterwards");
    assert_eq!(world.archived().collections()[&name("audit")].floor(), Sequence(2));
}
