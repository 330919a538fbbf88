//! The power goes, or the process, between any two steps of a purge.

use super::*;
use crate::VerifyOptions;
use crate::fs::FileSystem as _;

/// What is promised is there, what is not never comes back; then the purge is gone on with, to its end.
fn check(image: &World) -> Sequence {
    let log = image.open_whole();
    let floor = log.collection_info(&name("a")).unwrap().floor;
    let promised = (floor.0..=520).collect::<Vec<_>>();
    assert!(floor == Sequence(1) || floor == Sequence(301), "{floor}");
    assert_eq!(read_all(&log, "a"), promised);
    let report = log.verify(VerifyOptions { deep: true }).unwrap();
    assert!(report.ok, "{report:?}");
    let mut targets = targets(&log, image);
    let state = chain::state(&*image.store).unwrap();
    assert!(state.collections()[&name("a")].floor() <= floor, "no manifest says what the catalog does not know");
    // Whatever a manifest names is there (O1).
    for segment in state.segments() {
        image.store.head(&segment.object_key()).unwrap();
    }
    go_on(&log, &mut targets, now(image), &ApplyOptions::default()).unwrap();
    let later = now(image).saturating_add(DAY * 8);
    go_on(&log, &mut targets, later, &ApplyOptions::default()).unwrap();
    assert_eq!(log.purging().unwrap(), []);
    let rows = image.rows("a");
    for row in &rows {
        let is_there = image.fs.metadata(&image.object(row)).is_ok();
        assert_eq!(is_there, row.status != SegmentStatus::Purged, "{row:?}");
        assert_eq!(row.status == SegmentStatus::Purged, row.key.last < floor, "{row:?}");
    }
    let state = chain::state(&*image.store).unwrap();
    assert_eq!(state.problems(), [""; 0]);
    let of = &state.collections()[&name("a")];
    assert_eq!((of.floor(), of.segments.len()), (floor, if floor == Sequence(1) { 5 } else { 2 }));
    assert_eq!(read_all(&log, "a"), promised);
    drop((log, targets));
    let log = image.open_whole();
    assert_eq!(read_all(&log, "a"), promised);
    floor
}

#[test]
fn a_purge_may_be_interrupted_anywhere() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    keep(&log, "retention.records", "220");
    let plan = planned(&log, &world);
    let begin = now(&world);
    let images = world.at_every_step(|| {
        apply(&log, &plan, &mut targets, begin, &ApplyOptions::default()).unwrap();
    });
    assert!(images.len() > 20, "{}", images.len());
    let floors: Vec<Sequence> = images.iter().map(check).collect();
    assert!(floors.is_sorted() && floors[0] == Sequence(1) && *floors.last().unwrap() == Sequence(301), "{floors:?}");
}

#[test]
fn the_deletes_may_be_interrupted_anywhere() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    keep(&log, "retention.records", "220");
    apply(&log, &planned(&log, &world), &mut targets, now(&world), &ApplyOptions::default()).unwrap();
    let later = now(&world).saturating_add(DAY * 8);
    let images = world.at_every_step(|| {
        assert_eq!(go_on(&log, &mut targets, later, &ApplyOptions::default()).unwrap().segments, 3);
    });
    assert!(images.len() > 8, "{}", images.len());
    for image in &images {
        assert_eq!(check(image), Sequence(301));
    }
}
