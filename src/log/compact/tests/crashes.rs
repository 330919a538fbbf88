//! The power goes, or the process, between any two steps.

use super::*;
use crate::catalog::CatalogError;

const BEFORE: [&str; 7] = ["1:a", "2:b", "3:a", "4:-b", "5:c", "6:a", "7:d"];
const AFTER: [&str; 3] = ["5:c", "6:a", "7:d"];

fn prepared() -> (World, Log) {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["a", "-b"], &["c", "a"], &["d"]]);
    let settings =
        [("compact.keep_versions", "1"), ("compact.tombstone_grace", "1s"), ("compact.target_bytes", "none")];
    set(&log, "a", &settings);
    let log = reopened(&world, log);
    world.clock.advance(std::time::Duration::from_secs(60));
    (world, log)
}

/// Everything is as before or as behind a step of it; nothing hidden shows, nothing is set aside.
fn check_image(image: &World) -> usize {
    let log = image.open_whole();
    let found = there(&log, "a");
    assert!(BEFORE.iter().filter(|one| found.iter().any(|it| it == *one)).count() == found.len(), "{found:?}");
    assert!(AFTER.iter().all(|one| found.iter().any(|it| it == one)), "{found:?}");
    assert!(!has(&log, "a", "b"), "{found:?}");
    check(&log);
    let set_aside =
        image.fs.files().iter().filter(|(path, ..)| path.to_string_lossy().contains("/quarantine/")).count();
    assert_eq!(set_aside, 0);
    let live = live(image, "a").len();
    assert_eq!(image.files_of("a").len(), live, "{:?}", image.files_of("a"));
    log.close().unwrap();
    drop(log);
    // A catalog that was lost at this moment.
    let lost = World::with(image.fs.kill_image(), Arc::default());
    let log = lost.open_whole();
    assert_eq!(there(&log, "a"), found);
    check(&log);
    drop(log);
    // It can be gone on with.
    let log = image.open_whole();
    image.clock.advance(std::time::Duration::from_secs(60));
    compact(&log);
    assert_eq!(there(&log, "a"), AFTER);
    check(&log);
    assert_eq!(log.append(&name("a"), NewRecord::payload("x")).unwrap().last.0, 8);
    found.len()
}

#[test]
fn a_compaction_may_be_interrupted_anywhere() {
    let (world, log) = prepared();
    let images = world.at_every_step(|| assert_eq!(compact(&log).removed().total(), 4));
    assert!(images.len() > 20, "{}", images.len());
    let seen: Vec<usize> = images.iter().map(check_image).collect();
    assert!(seen.is_sorted_by(|one, other| one >= other), "{seen:?}");
    assert_eq!((seen[0], *seen.last().unwrap()), (7, 3));
}

#[test]
fn a_merge_may_be_interrupted_anywhere() {
    let (world, log) = prepared();
    set(&log, "a", &[("compact.target_bytes", "1MiB")]);
    let images = world.at_every_step(|| assert_eq!(compact(&log).totals().1, 1));
    let seen: Vec<usize> = images.iter().map(check_image).collect();
    assert!(seen.iter().all(|count| [3, 7].contains(count)), "{seen:?}");
}

/// Files with rows, and a catalog that is lost while the inputs still lie there: the result counts, never the inputs.
#[test]
fn what_was_removed_does_not_come_back_with_a_lost_catalog() {
    let (world, log) = prepared();
    let mut reader = log.read(&name("a"), ReadOptions::default()).unwrap();
    reader.next();
    assert!(!compact(&log).left.is_empty());
    let lost = World::with(world.fs.kill_image(), Arc::default());
    let log = lost.open_whole();
    assert_eq!(there(&log, "a"), AFTER);
    assert_eq!(lost.files_of("a").len(), live(&lost, "a").len());
    check(&log);
}

#[test]
fn a_commit_that_fails_leaves_no_file_and_one_of_unknown_outcome_either_end() {
    for kept in [None, Some(false), Some(true)] {
        let (world, log) = prepared();
        set(&log, "a", &[("compact.target_bytes", "1MiB")]);
        let unknown = || CatalogError::OutcomeUnknown { path: String::new(), source: "a test".into() };
        match kept {
            None => world.catalog.fail_next(CatalogError::Full { path: String::new() }),
            Some(false) => world.catalog.fail_next(unknown()),
            Some(true) => world.catalog.fail_next_but_keep(unknown()),
        }
        let outcome = log.compact(&CompactOptions::default(), &mut always);
        match kept {
            None => {
                assert!(outcome.unwrap().collections[0].failed.as_ref().unwrap().contains("full"));
                assert_eq!(world.files_of("a").len(), 4);
            }
            Some(false) => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::OutcomeUnknown),
            Some(true) => assert_eq!(outcome.unwrap().removed().total(), 4),
        }
        let found = there(&log, "a");
        assert_eq!(found.len(), if kept == Some(true) { 3 } else { 7 });
        // A second try in the same opening finds another name where the first one's is taken.
        compact(&log);
        assert_eq!(there(&log, "a"), AFTER);
        drop(log);
        let image = world.after_kill();
        assert_eq!(check_image(&image), 3);
    }
}

/// Each operation on the disk fails once: nothing is lost, and the next run does it.
#[test]
fn a_disk_that_fails_ends_it_without_harm() {
    use crate::fs::simulated::{Errno, Failure, Fault};
    for errno in [Errno::Eio, Errno::Enospc] {
        for at in 0.. {
            let (world, log) = prepared();
            let begin = world.fs.changes();
            world.fs.fail(Fault::once(begin + at, Failure::Error(errno)));
            let outcome = log.compact(&CompactOptions::default(), &mut always);
            let is_over = world.fs.changes() <= begin + at;
            let found = there(&log, "a");
            assert!(AFTER.iter().all(|one| found.iter().any(|it| it == one)), "{at}: {found:?} {outcome:?}");
            let report = log.verify(VerifyOptions { deep: true }).unwrap();
            assert!(report.ok, "{at}: {report:?}");
            drop(log);
            assert!(check_image(&world.after_kill()) >= 3);
            if is_over {
                assert!(at > 10, "{at}");
                break;
            }
        }
    }
}
