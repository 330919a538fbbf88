//! Letting go.

use super::*;
use crate::archive::{Archiver, ArchiverOptions, TargetStore};
use crate::catalog::Mutation;
use crate::fs::FileSystem as _;
use crate::objects::{ObjectErrorKind, ObjectKey};
use crate::testing::faulty_store::{Fault, FaultyStore};
use crate::types::NewRecord;
use crate::{ReadOptions, VerifyOptions};

const OPTIONS: fn() -> ApplyOptions = ApplyOptions::default;

#[test]
fn a_purge_goes_through_floor_manifest_grace_and_deletes() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    log.evict(&crate::log::tier::EvictOptions { keep_bytes: Some(1), ..Default::default() }, &mut |_| true).unwrap();
    let one = crate::log::tier::RehydrateOptions { until: Some(Sequence(100)), ..Default::default() };
    log.rehydrate(&one, &mut |_| true).unwrap();
    keep(&log, "retention.records", "220");
    let rows = world.rows("a");
    let begin = now(&world);
    let purged = apply(&log, &planned(&log, &world), &mut targets, begin, &OPTIONS()).unwrap();
    assert_eq!(purged.floors, [(name("a"), Sequence(301))]);
    assert_eq!((purged.begun, purged.segments, purged.waiting), (3, 0, 3), "{purged:?}");
    assert_eq!(purged.waiting_until, Some(begin.saturating_add(DAY * 7)));
    use SegmentStatus::{Evicted, Purged as Gone, Purging};
    assert_eq!(world.statuses("a"), [Purging, Purging, Purging, Evicted, Evicted]);
    let mut reader = log.read(&name("a"), ReadOptions { from: Some(Sequence(1)), ..Default::default() }).unwrap();
    assert_eq!(
        reader.by_ref().map(|record| record.unwrap().sequence.0).collect::<Vec<_>>(),
        (301..=520).collect::<Vec<_>>()
    );
    assert_eq!((reader.skipped()[0].first, reader.skipped()[0].last), (Sequence(1), Sequence(300)));
    drop(reader);
    assert!(!world.files_of("a").iter().any(|file| file.starts_with("00000000000000000001")));
    let state = told(&world);
    let of = &state.collections()[&name("a")];
    assert_eq!((of.floor(), of.segments.len()), (Sequence(301), 2));
    let is_there = |row: &crate::catalog::SegmentRow| world.fs.metadata(&world.object(row)).is_ok();
    assert!(rows.iter().all(is_there), "nothing is deleted before the grace period is over");
    // Shortly before its end, and at it.
    let end = begin.saturating_add(DAY * 7);
    let early = go_on(&log, &mut targets, Timestamp(end.0 - 1), &OPTIONS()).unwrap();
    assert_eq!((early.waiting, early.segments), (3, 0));
    let manifests = told(&world).mark().unwrap().number;
    let late = go_on(&log, &mut targets, end, &OPTIONS()).unwrap();
    assert_eq!((late.waiting, late.segments, late.bytes), (0, 3, rows[..3].iter().map(|row| row.bytes).sum()));
    assert_eq!(world.statuses("a"), [Gone, Gone, Gone, Evicted, Evicted]);
    assert_eq!(rows.iter().map(is_there).collect::<Vec<_>>(), [false, false, false, true, true]);
    assert_eq!(told(&world).mark().unwrap().number, manifests, "nothing is told twice");
    assert_eq!(go_on(&log, &mut targets, end, &OPTIONS()).unwrap(), Purged::default());
    assert_eq!(world.catalog.meta("archive.purges").unwrap().unwrap(), "[]");
    let report = log.verify(VerifyOptions { deep: true }).unwrap();
    assert!(report.ok, "{report:?}");
    drop(log);
    assert_eq!(read_all(&world.open_whole(), "a"), (301..=520).collect::<Vec<_>>());
}

/// C7 and R4: everything goes, the catalog is lost, and still no sequence is given out twice, and nothing comes back.
#[test]
fn a_collection_of_which_nothing_is_left_keeps_its_end() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 5);
    world.archive(&log);
    log.close().unwrap();
    drop(log);
    let log = world.open_whole();
    let mut targets = targets(&log, &world);
    tell(&world, &mut targets);
    log.evict(&Default::default(), &mut |_| true).unwrap();
    keep(&log, "retention.age", "1s");
    let options = ApplyOptions { grace: Duration::ZERO, ..ApplyOptions::default() };
    let purged = apply(&log, &planned(&log, &world), &mut targets, now(&world), &options).unwrap();
    assert_eq!((purged.begun, purged.segments), (5, 5));
    assert_eq!(world.files_of("a"), ["00000000000000000001-00000000000000000500.0.stub.avro"]);
    log.close().unwrap();
    drop(log);
    let lost = World::with(world.fs.kill_image(), Arc::default());
    for world in [lost, world] {
        let log = world.open();
        assert_eq!(log.append(&name("a"), NewRecord::payload("x")).unwrap().last.0, 501);
    }
}

#[test]
fn who_is_fenced_purges_nothing() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    keep(&log, "retention.records", "220");
    let plan = planned(&log, &world);
    let other = target(&log, &world, world.store.clone());
    let error = apply(&log, &plan, &mut targets, now(&world), &OPTIONS()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(world.statuses("a"), [SegmentStatus::Archived; 5]);
    // Begun by a writer that is fenced behind its manifest: nothing is deleted.
    let mut targets = Targets { archive: Some(other), ..Targets::default() };
    apply(&log, &plan, &mut targets, now(&world), &OPTIONS()).unwrap();
    let mut third = Targets { archive: Some(target(&log, &world, world.store.clone())), ..Targets::default() };
    let later = now(&world).saturating_add(DAY * 8);
    let objects = world.fs.files().len();
    assert_eq!(go_on(&log, &mut targets, later, &OPTIONS()).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(world.fs.files().len(), objects);
    assert_eq!(go_on(&log, &mut third, later, &OPTIONS()).unwrap().segments, 3);
}

#[test]
fn what_a_store_keeps_by_its_own_rules_stays_and_is_told() {
    let world = World::new();
    let store = Arc::new(FaultyStore::new(world.clock.clone()));
    let log = world.open();
    fill(&log, "a", 3);
    let until = now(&world).saturating_add(DAY * 30);
    world.archive_to(&log, &*store, Some(until));
    log.close().unwrap();
    drop(log);
    let log = world.open();
    let mut targets = Targets { archive: Some(target(&log, &world, store.clone())), ..Targets::default() };
    tell(&world, &mut targets);
    keep(&log, "retention.records", "100");
    apply(&log, &planned(&log, &world), &mut targets, now(&world), &OPTIONS()).unwrap();
    world.clock.advance(DAY * 10);
    let locked = go_on(&log, &mut targets, now(&world), &OPTIONS()).unwrap();
    assert_eq!(
        locked.locked.iter().map(|locked| (locked.segment.first.0, locked.until)).collect::<Vec<_>>(),
        [(1, until), (101, until)]
    );
    assert_eq!(world.statuses("a")[..2], [SegmentStatus::Purging; 2]);
    assert_eq!((locked.segments, locked.kept.len()), (0, 0));
    world.clock.advance(DAY * 20);
    // A right that is missing is another thing; and a store that is away ends it for now.
    store.fail_next(Fault::Before(crate::objects::ObjectErrorKind::Unavailable));
    assert_eq!(go_on(&log, &mut targets, now(&world), &OPTIONS()).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(go_on(&log, &mut targets, now(&world), &OPTIONS()).unwrap().segments, 2);
    assert_eq!(world.statuses("a"), [SegmentStatus::Purged, SegmentStatus::Purged, SegmentStatus::Archived]);
}

/// What changed between the plan and the yes counts.
#[test]
fn a_plan_that_is_old_lets_nothing_go_that_must_stay_now() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    keep(&log, "retention.records", "1");
    let old = planned(&log, &world);
    assert_eq!(old.segments(), 5);
    log.set_hold(&name("a"), hold(Some(150), None)).unwrap();
    let purged = apply(&log, &old, &mut targets, now(&world), &OPTIONS()).unwrap();
    assert_eq!((purged.begun, purged.floors[0].1), (1, Sequence(101)));
    assert!(purged.stopped[0].reason.contains("hold=`case 7`"), "{purged:?}");
    // Nor does a plan let more go than it says.
    log.clear_hold(&name("a"), "case 7", "judge").unwrap();
    let mut small = planned(&log, &world);
    small.collections[0].segments.truncate(1);
    let purged = apply(&log, &small, &mut targets, now(&world), &OPTIONS()).unwrap();
    assert_eq!((purged.begun, purged.floors[0].1), (1, Sequence(201)));
}

#[test]
fn the_archived_segments_of_a_deleted_collection_go_the_same_way() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    log.evict(&crate::log::tier::EvictOptions { keep_bytes: Some(1), ..Default::default() }, &mut |_| true).unwrap();
    let objects: Vec<_> = world.rows("a").iter().map(|row| world.object(row)).collect();
    log.delete_collection(&name("a")).unwrap();
    assert_eq!(world.statuses("a"), [SegmentStatus::Purging; 5]);
    let begun = go_on(&log, &mut targets, now(&world), &OPTIONS()).unwrap();
    assert_eq!(begun.waiting, 5);
    assert_eq!(told(&world).segments().count(), 0);
    assert_eq!(told(&world).collections()[&name("a")].floor(), Sequence(521));
    let later = now(&world).saturating_add(DAY * 8);
    assert_eq!(go_on(&log, &mut targets, later, &OPTIONS()).unwrap().segments, 5);
    assert_eq!(world.statuses("a"), [SegmentStatus::Purged; 5]);
    assert!(objects.iter().all(|object| world.fs.metadata(object).is_err()));
    assert_eq!(log.append(&name("a"), NewRecord::payload("x")).unwrap().last.0, 521);
}

/// Without an archive: the policy says so.
#[test]
fn what_is_local_only_goes_at_once_where_the_policy_says_so() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    log.close().unwrap();
    drop(log);
    let log = world.open();
    keep(&log, "retention.records", "100");
    let options =
        ApplyOptions { plan: PlanOptions { local_only: true, ..PlanOptions::default() }, ..ApplyOptions::default() };
    let plan = plan(&log, now(&world), &options.plan).unwrap();
    let purged = apply(&log, &plan, &mut Targets::default(), now(&world), &options).unwrap();
    assert_eq!((purged.begun, purged.segments, purged.waiting), (2, 2, 0));
    assert_eq!(world.files_of("a").len(), 1);
    assert_eq!(read_all(&log, "a"), (201..=300).collect::<Vec<_>>());
}

/// A row that was not told with its neighbours is not taken for one of them.
#[test]
fn a_row_that_comes_later_has_a_grace_period_of_its_own() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    keep(&log, "retention.records", "220");
    let row = world.rows("a").remove(1);
    // As when it is uploaded anew while its neighbours go.
    let step = |from, to, archive_key| Mutation::Transition { key: row.key.clone(), from, to, archive_key };
    let plan = planned(&log, &world);
    use SegmentStatus::{Archived, Archiving, Purged as Gone, Purging, Sealed};
    let mut floor_only = plan.clone();
    floor_only.collections[0].segments.truncate(1);
    log.change(&[step(Archived, Sealed, None), step(Sealed, Archiving, row.archive_key.clone())], "test").unwrap();
    log.change(&[Mutation::RaiseFloor { collection: name("a"), sequence: Sequence(301) }], "test").unwrap();
    let begin = now(&world);
    go_on(&log, &mut targets, begin, &OPTIONS()).unwrap();
    assert_eq!(world.statuses("a")[..3], [Purging, Archiving, Purging]);
    log.change(&[step(Archiving, Archived, None)], "test").unwrap();
    let later = begin.saturating_add(DAY * 6);
    go_on(&log, &mut targets, later, &OPTIONS()).unwrap();
    assert_eq!(world.statuses("a")[..3], [Purging, Purging, Purging]);
    go_on(&log, &mut targets, begin.saturating_add(DAY * 8), &OPTIONS()).unwrap();
    assert_eq!(world.statuses("a")[..3], [Gone, Purging, Gone]);
    go_on(&log, &mut targets, begin.saturating_add(DAY * 14), &OPTIONS()).unwrap();
    assert_eq!(world.statuses("a")[..3], [Gone, Gone, Gone]);
}

/// The archiver of the process goes on archiving behind a purge, and is not fenced by it.
#[test]
fn an_archiver_lends_its_stores_to_a_purge() {
    let world = World::new();
    let archiver = |log: &Log| {
        let store = world.store.clone();
        let target = TargetStore { remote: None, url: "file:///store".into(), store };
        let options = ArchiverOptions { clock: world.clock.clone(), ..ArchiverOptions::default() };
        Archiver::new(log, vec![target], options).unwrap()
    };
    let log = world.open();
    fill(&log, "a", 3);
    assert!(archiver(&log).run_once(&mut |_| true).unwrap().is_complete());
    log.close().unwrap();
    drop(log);
    let log = world.open_whole();
    let archiver = archiver(&log);
    keep(&log, "retention.records", "100");
    let purged = archiver.lend(|log, targets| apply(log, &planned(log, &world), targets, now(&world), &OPTIONS()));
    assert_eq!(purged.unwrap().waiting, 2);
    append(&log, "a", 301..=400);
    log.seal(None).unwrap();
    assert_eq!(archiver.run_once(&mut |_| true).unwrap().archived_segments, 1);
    world.clock.advance(DAY * 8);
    let purged = archiver.lend(|log, targets| go_on(log, targets, now(&world), &OPTIONS())).unwrap();
    assert_eq!((purged.segments, purged.kept.len()), (2, 0));
    assert_eq!(archiver.status().unwrap().targets[0].fenced, None);
    let state = told(&world);
    assert_eq!((state.segments().count(), state.collections()[&name("a")].floor()), (2, Sequence(201)));
    let other = target(&log, &world, world.store.clone());
    keep(&log, "retention.records", "1");
    let fenced = archiver.lend(|log, targets| go_on(log, targets, now(&world), &OPTIONS()));
    assert_eq!(fenced.unwrap(), Purged::default(), "nothing is asked where nothing is to be done");
    log.seal(None).unwrap();
    let plan = planned(&log, &world);
    let fenced = archiver.lend(|log, targets| apply(log, &plan, targets, now(&world), &OPTIONS()));
    assert_eq!(fenced.unwrap_err().kind(), ErrorKind::Fenced);
    assert!(archiver.status().unwrap().targets[0].fenced.is_some());
    drop(other);
}

/// Symptom: a legal hold that was set while `retention apply` ran, or in the grace period, did not stop anything: the objects went. Cause: holds were looked at
/// when it was planned, and by nobody else. Fix: beginning a purge looks again, under the lock that holds are set under; each delete does too; and
/// setting a hold tells what it is too late for.
#[test]
fn a_hold_that_is_set_meanwhile_stops_what_it_still_can() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    keep(&log, "retention.records", "220");
    let three = |status: SegmentStatus| -> Vec<_> {
        world.rows("a").into_iter().take(3).map(|row| (row.key, status)).collect()
    };
    let late = log.set_hold(&name("a"), hold(Some(250), Some(260))).unwrap();
    assert_eq!(late, crate::log::TooLate::default());
    // Between the plan and the beginning.
    let refused = log.begin_purge(&name("a"), Sequence(301), &three(SegmentStatus::Archived)).unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("hold=`case 7`"), "{refused}");
    log.clear_hold(&name("a"), "case 7", "judge").unwrap();
    let refused = log.begin_purge(&name("a"), Sequence(301), &three(SegmentStatus::Sealed)).unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("expected=`sealed`"), "{refused}");
    assert_eq!(world.statuses("a"), [SegmentStatus::Archived; 5], "nothing changed");
    assert_eq!(log.collection_info(&name("a")).unwrap().floor, Sequence(1));
    // In the grace period.
    let begin = now(&world);
    apply(&log, &planned(&log, &world), &mut targets, begin, &OPTIONS()).unwrap();
    let late = log.set_hold(&name("a"), hold(Some(150), Some(160))).unwrap();
    assert_eq!(late.floor, Some(Sequence(301)));
    assert_eq!(late.purging.iter().map(|key| key.first.0).collect::<Vec<_>>(), [101]);
    let rows = world.rows("a");
    let end = begin.saturating_add(DAY * 7);
    let purged = go_on(&log, &mut targets, end, &OPTIONS()).unwrap();
    assert_eq!((purged.segments, purged.kept.len()), (2, 1), "{purged:?}");
    assert!(purged.kept[0].reason.contains("hold=`case 7`"), "{purged:?}");
    use SegmentStatus::{Archived, Purged as Gone, Purging};
    assert_eq!(world.statuses("a"), [Gone, Purging, Gone, Archived, Archived]);
    assert!(world.fs.metadata(&world.object(&rows[1])).is_ok(), "the object is there");
    log.clear_hold(&name("a"), "case 7", "judge").unwrap();
    assert_eq!(go_on(&log, &mut targets, end, &OPTIONS()).unwrap().segments, 1);
    assert!(world.fs.metadata(&world.object(&rows[1])).is_err());
}

/// Manifests of a purge too: whoever could delete one could break the chain.
#[test]
fn manifests_of_a_purge_are_kept_as_long_as_the_others() {
    let world = World::new();
    let store = Arc::new(FaultyStore::new(world.clock.clone()));
    let log = world.open_with(&store);
    fill(&log, "a", 3);
    let shared = || Arc::clone(&store) as Arc<dyn ObjectStore>;
    let target = TargetStore { remote: None, url: "file:///store".into(), store: shared() };
    let retain = Some(DAY * 30);
    let options = ArchiverOptions { retain, clock: world.clock.clone(), ..ArchiverOptions::default() };
    let archiver = Archiver::new(&log, vec![target], options).unwrap();
    assert!(archiver.run_once(&mut |_| true).unwrap().is_complete());
    drop(archiver);
    keep(&log, "retention.records", "100");
    let clock = world.clock.clone() as Arc<dyn crate::clock::Clock>;
    let mut targets = Targets::take(&log, Some(shared()), [], &clock, retain).unwrap();
    let before = manifests(&*store).len();
    assert_eq!(apply(&log, &planned(&log, &world), &mut targets, now(&world), &OPTIONS()).unwrap().begun, 2);
    let manifests = manifests(&*store);
    assert!(manifests.len() > before, "{manifests:?}");
    for key in manifests {
        assert_eq!(store.delete(&key).unwrap_err().kind, ObjectErrorKind::Denied, "{key}");
    }
}

fn manifests(store: &dyn ObjectStore) -> Vec<ObjectKey> {
    let listed = store.list("_manifest/", None, 1000).unwrap().objects;
    listed.into_iter().map(|object| ObjectKey::new(object.key).unwrap()).collect()
}
