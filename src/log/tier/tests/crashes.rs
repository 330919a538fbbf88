//! The power goes, or the process, between any two steps.

use super::*;
use crate::VerifyOptions;
use crate::catalog::{Catalog as _, CatalogError};

/// Nothing is lost, whatever was interrupted; then that it can be gone on with.
fn check(image: &World) -> Vec<SegmentStatus> {
    let log = image.open_whole();
    assert_eq!(read_all(&log, "a"), (1..=320).collect::<Vec<_>>());
    let report = log.verify(VerifyOptions { deep: true }).unwrap();
    assert!(report.ok, "{report:?}");
    let found = image.statuses("a");
    let files = image.files_of("a");
    let is_segment = |name: &&String| !name.contains(".stub.");
    let local = found.iter().filter(|status| status.is_local()).count();
    assert_eq!(files.iter().filter(is_segment).count(), local, "{files:?}");
    // A catalog that was lost at this moment forgets no end.
    let lost = World::with(image.fs.kill_image(), Arc::default());
    drop(log);
    let without = lost.open();
    let next = without.append(&name("a"), crate::NewRecord::payload("x")).unwrap();
    assert!(next.last.0 > 320, "{next:?}");
    drop(without);
    let log = image.open_whole();
    evict(&log);
    assert_eq!(image.statuses("a").iter().filter(|status| status.is_local()).count(), 0);
    assert_eq!(read_all(&log, "a"), (1..=320).collect::<Vec<_>>());
    rehydrate(&log);
    assert_eq!(image.statuses("a"), [SegmentStatus::Archived; 3]);
    drop(log);
    let log = image.open_whole();
    assert_eq!(read_all(&log, "a"), (1..=320).collect::<Vec<_>>());
    assert_eq!(log.append(&name("a"), crate::NewRecord::payload("x")).unwrap().last.0, 321);
    found
}

fn archived() -> (World, Log) {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    world.archive(&log);
    append(&log, "a", 301..=320);
    (world, log)
}

#[test]
fn an_eviction_may_be_interrupted_anywhere() {
    let (world, log) = archived();
    let images = world.at_every_step(|| drop(evict(&log)));
    assert!(images.len() > 20, "{}", images.len());
    let mut seen: Vec<usize> = Vec::new();
    for image in &images {
        seen.push(check(image).iter().filter(|status| **status == SegmentStatus::Evicted).count());
    }
    assert!(seen.is_sorted() && seen[0] == 0 && *seen.last().unwrap() == 3, "{seen:?}");
}

#[test]
fn a_rehydration_may_be_interrupted_anywhere() {
    let (world, log) = archived();
    evict(&log);
    let images = world.at_every_step(|| drop(rehydrate(&log)));
    assert!(images.len() > 20, "{}", images.len());
    let mut seen: Vec<usize> = Vec::new();
    for image in &images {
        seen.push(check(image).iter().filter(|status| **status == SegmentStatus::Archived).count());
    }
    assert!(seen.is_sorted() && seen[0] == 0 && *seen.last().unwrap() == 3, "{seen:?}");
}

#[test]
fn a_repair_may_be_interrupted_anywhere() {
    use crate::fs::FileSystem as _;
    let (world, log) = archived();
    let damaged = world.rows("a").remove(0);
    world.fs.flip(&world.path(&damaged), damaged.bytes / 2, 1).unwrap();
    world.fs.remove_file(&world.path(&world.rows("a")[2])).unwrap();
    let options = RehydrateOptions { repair: true, ..RehydrateOptions::default() };
    let images = world.at_every_step(|| assert_eq!(log.rehydrate(&options, &mut always).unwrap().healed, 2));
    assert!(images.len() > 20, "{}", images.len());
    for image in &images {
        let log = image.open_whole();
        assert_eq!(read_all(&log, "a"), (1..=320).collect::<Vec<_>>());
        log.rehydrate(&options, &mut always).unwrap();
        drop(log);
        check(image);
    }
}

/// A commit whose outcome is not known: both ends are good.
#[test]
fn a_row_that_may_or_may_not_have_changed_is_found_either_way() {
    for kept in [false, true] {
        let (world, log) = archived();
        let unknown = CatalogError::OutcomeUnknown { path: String::new(), source: "a test".into() };
        if kept {
            world.catalog.fail_next_but_keep(unknown)
        } else {
            world.catalog.fail_next(unknown)
        }
        let error = log.evict(&EvictOptions::default(), &mut always).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(world.files_of("a").len(), 3, "no file goes before its row is known to have changed");
        assert_eq!(read_all(&log, "a"), (1..=320).collect::<Vec<_>>());
        assert!(world.catalog.check().unwrap().is_empty());
        drop(log);
        check(&world);
    }
}
