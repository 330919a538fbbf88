//! Purges that were begun go on without anybody's call, when their grace period is over.

use super::*;
use crate::archive::chain;
use crate::archive::retention::{ApplyOptions, PlanOptions, apply, plan};
use crate::archive::world::{append, fill, name};
use crate::catalog::SegmentStatus;
use crate::clock::Clock as _;
use crate::objects::ObjectErrorKind;
use crate::testing::faulty_store::FaultyStore;
use SegmentStatus::{Archived, Purged, Purging};

const GRACE: Duration = Duration::from_hours(24 * 7);

fn purging(world: &World, log: &Log) -> Archiver {
    by(world, log, world.store.clone(), |options| options.grace = Some(GRACE))
}

/// Three of five archived segments are being purged; their objects wait.
fn begun(world: &World) -> (Log, Archiver) {
    let log = world.open();
    fill(&log, "a", 5);
    run(&purging(world, &log));
    log.close().unwrap();
    drop(log);
    // Journals know nothing of them any more.
    let log = world.open_whole();
    let archiver = purging(world, &log);
    begin(world, &log, &archiver);
    (log, archiver)
}

fn begin(world: &World, log: &Log, archiver: &Archiver) {
    log.set_collection_settings(&name("a"), |settings| settings.set("retention.records", "200").unwrap()).unwrap();
    let now = world.clock.now();
    let planned = plan(log, now, &PlanOptions::default()).unwrap();
    let options = ApplyOptions { grace: GRACE, ..ApplyOptions::default() };
    let purged = archiver.lend(|log, targets| apply(log, &planned, targets, now, &options)).unwrap();
    assert_eq!((purged.begun, purged.waiting), (3, 3), "{purged:?}");
}

fn objects(world: &World) -> usize {
    let files = world.fs.files();
    files
        .iter()
        .filter(|(path, ..)| path.starts_with("/store") && path.extension().is_some_and(|it| it == "avro"))
        .count()
}

#[test]
fn a_purge_goes_on_when_its_grace_period_is_over() {
    let world = World::new();
    let (log, archiver) = begun(&world);
    pass(&archiver);
    assert_eq!(archiver.upkeep_wait(), Some(GRACE));
    let asked = requests(world.store.meter());
    world.clock.advance(GRACE - Duration::from_secs(1));
    pass(&archiver);
    assert_eq!((requests(world.store.meter()), objects(&world)), (asked, 5), "nothing is asked before");
    world.clock.advance(Duration::from_secs(1));
    let report = pass(&archiver);
    assert_eq!((report.purged_segments, objects(&world)), (3, 2));
    assert_eq!(world.statuses("a"), [Purged, Purged, Purged, Archived, Archived]);
    assert_eq!(archiver.upkeep_wait(), None);
    assert!(archiver.status().unwrap().targets[0].fenced.is_none());
    drop(archiver);
    drop(log);
}

#[test]
fn another_opening_goes_on_too() {
    let world = World::new();
    let (log, archiver) = begun(&world);
    drop((log, archiver));
    let next = world.after_kill();
    let log = next.open_whole();
    let archiver = purging(&next, &log);
    // Settings that changed go out.
    pass(&archiver);
    let asked = requests(next.store.meter());
    next.clock.advance(GRACE / 2);
    pass(&archiver);
    assert_eq!(requests(next.store.meter()), asked, "it is not asked before something is due");
    next.clock.advance(archiver.upkeep_wait().unwrap());
    assert_eq!(pass(&archiver).purged_segments, 3);
    assert_eq!(next.statuses("a"), [Purged, Purged, Purged, Archived, Archived]);
    assert_eq!(chain::state(&*next.store).unwrap().problems(), [""; 0]);
}

#[test]
fn without_a_grace_period_nobody_purges() {
    let world = World::new();
    let (log, archiver) = begun(&world);
    drop(archiver);
    let archiver = by(&world, &log, world.store.clone(), |_| {});
    world.clock.advance(GRACE * 2);
    assert_eq!(run(&archiver).purged_segments, 0);
    assert_eq!(world.statuses("a")[0], Purging);
}

#[test]
fn killed_at_every_step_it_goes_on() {
    let world = World::new();
    let (_log, archiver) = begun(&world);
    world.clock.advance(GRACE);
    let images = world.at_every_step(|| assert_eq!(pass(&archiver).purged_segments, 3));
    assert!(images.len() > 5, "{}", images.len());
    for image in images {
        let log = image.open_whole();
        image.clock.advance(GRACE);
        run(&purging(&image, &log));
        assert_eq!(image.statuses("a"), [Purged, Purged, Purged, Archived, Archived]);
        assert_eq!(objects(&image), 2);
    }
}

#[test]
fn a_purge_that_begins_wakes_and_one_that_cannot_go_on_is_tried_later() {
    let world = World::new();
    let store = Arc::new(FaultyStore::new(world.clock.clone()));
    let open = || by(&world, &world.open_with(&store), store.clone(), |options| options.grace = Some(GRACE));
    let archiver = open();
    let log = archiver.0.log.clone();
    fill(&log, "a", 5);
    run(&archiver);
    log.close().unwrap();
    drop((archiver, log));
    let archiver = open();
    let log = archiver.0.log.clone();
    append(&log, "a", 501..=520);
    assert_eq!(pass(&archiver).purged_segments, 0);
    let seen = log.wait_for_sealed(0, Some(Duration::from_millis(1)));
    begin(&world, &log, &archiver);
    assert!(log.wait_for_sealed(seen, Some(Duration::from_millis(1))) > seen);
    pass(&archiver);
    world.clock.advance(archiver.upkeep_wait().unwrap());
    store.go_down(ObjectErrorKind::Unavailable);
    let report = pass(&archiver);
    assert_eq!((report.purged_segments, report.errors.len()), (0, 1), "{report:?}");
    let wait = archiver.upkeep_wait().unwrap();
    assert!(!wait.is_zero());
    store.heal();
    world.clock.advance(wait + Duration::from_hours(1));
    assert_eq!(pass(&archiver).purged_segments, 3);
    // Objects that the store keeps by its own rules are tried when these are over.
    assert_eq!(archiver.upkeep_wait(), None);
}

#[test]
fn what_the_store_keeps_is_tried_when_that_is_over() {
    let world = World::new();
    let store = Arc::new(FaultyStore::new(world.clock.clone()));
    let retain = |options: &mut ArchiverOptions| (options.grace, options.retain) = (Some(DAY), Some(GRACE * 2));
    let archiver = by(&world, &world.open_with(&store), store.clone(), retain);
    let log = archiver.0.log.clone();
    fill(&log, "a", 5);
    run(&archiver);
    log.close().unwrap();
    drop((archiver, log));
    let archiver = by(&world, &world.open_with(&store), store.clone(), retain);
    let log = archiver.0.log.clone();
    begin(&world, &log, &archiver);
    pass(&archiver);
    world.clock.advance(archiver.upkeep_wait().unwrap());
    assert_eq!(pass(&archiver).purged_segments, 0);
    let wait = archiver.upkeep_wait().unwrap();
    assert!(wait > GRACE && wait < GRACE * 2, "{wait:?}");
    world.clock.advance(wait);
    assert_eq!(pass(&archiver).purged_segments, 3);
}
