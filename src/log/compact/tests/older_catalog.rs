//! A backup of the catalog is put back, or a mirror that was behind becomes the catalog, after segments were compacted (C3, R3).
//!
//! Symptom: the rows of the inputs said Sealed, their files were gone: they were set down as lost, and the result, whole, was set aside.
//! Cause: a file without a row was only compared with rows of other ranges, never with what its footer says it was made from.

use super::*;
use crate::catalog::{Catalog as _, MemoryCatalog, Mutation};

/// Three segments that no journal has any more.
fn prepared() -> (World, Log) {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["a", "c"], &["d"]]);
    set(&log, "a", &[("compact.keep_versions", "1"), ("compact.target_bytes", "1MiB")]);
    let log = reopened(&world, log);
    (world, log)
}

/// The disk as it is now, the catalog as it was.
fn with_older(world: &World, older: MemoryCatalog) -> World {
    World::with(world.fs.kill_image(), Arc::new(older))
}

/// Everything of `expected` is there, in files that have rows; the next opening finds nothing to do.
fn check_whole(image: &World, expected: &[&str]) {
    for _ in 0..2 {
        let log = image.open_whole();
        assert_eq!(there(&log, "a"), expected);
        check(&log);
        assert!(log.catalog().losses(None).unwrap().is_empty());
        assert_eq!(image.files_of("a").len(), live(image, "a").len(), "{:?}", image.files_of("a"));
        let aside = image.fs.files().iter().any(|(path, ..)| path.to_string_lossy().contains("/quarantine/"));
        assert!(!aside, "{:?}", log.recovery().steps);
        log.close().unwrap();
    }
    let log = image.open_whole();
    assert!(log.recovery().steps.is_empty(), "{:?}", log.recovery().steps);
}

#[test]
fn what_was_compacted_since_takes_the_place_of_what_it_was_made_from() {
    let (world, log) = prepared();
    let older = world.catalog.snapshot();
    assert_eq!(compact(&log).totals().1, 1);
    log.close().unwrap();
    drop(log);
    let image = with_older(&world, older);
    check_whole(&image, &["2:b", "3:a", "4:c", "5:d"]);
    assert_eq!(live(&image, "a"), [(1, 5, 1)]);
    let log = image.open_whole();
    assert_eq!(log.append(&name("a"), NewRecord::payload("x")).unwrap().last.0, 6);
}

#[test]
fn several_compactions_and_what_was_sealed_between() {
    let (world, log) = prepared();
    let older = world.catalog.snapshot();
    compact(&log);
    segments(&log, "a", &[&["b", "e"]]);
    let log = reopened(&world, log);
    compact(&log);
    assert_eq!(live(&world, "a"), [(1, 7, 2)]);
    log.close().unwrap();
    drop(log);
    check_whole(&with_older(&world, older), &["3:a", "4:c", "5:d", "6:b", "7:e"]);
}

/// Whatever of the compaction was on the disk by then, and whatever of its inputs still is: nothing is damaged, nothing is lost.
#[test]
fn at_whatever_moment_of_a_compaction_the_disk_is() {
    let (world, log) = prepared();
    let older = world.catalog.snapshot();
    let images = world.at_every_step(|| assert_eq!(compact(&log).totals().1, 1));
    let (mut before, mut after) = (0, 0);
    for image in images {
        let image = World::with(image.fs, Arc::new(older.snapshot()));
        let log = image.open_whole();
        let found = there(&log, "a").len();
        drop(log);
        *(if found == 5 { &mut before } else { &mut after }) += 1;
        let expected = ["1:a", "2:b", "3:a", "4:c", "5:d"];
        check_whole(&image, &expected[5 - found..]);
    }
    assert!(before > 4 && after > 4, "{before} {after}");
}

/// A file that somebody had open is still there, the others are gone.
#[test]
fn what_of_the_inputs_is_still_there_goes() {
    for from in [1, 3, 5] {
        let (world, log) = prepared();
        let older = world.catalog.snapshot();
        let options = ReadOptions { from: Some(Sequence(from)), until: Some(Sequence(from)), ..ReadOptions::default() };
        let mut reader = log.read(&name("a"), options).unwrap();
        reader.next();
        assert_eq!(compact(&log).left.len(), 1);
        check_whole(&with_older(&world, older), &["2:b", "3:a", "4:c", "5:d"]);
    }
}

/// What the older copy has as archived, the newer one had not any more: an object that was lost.
#[test]
fn an_archived_input_is_replaced_with_the_others() {
    use SegmentStatus::{Archived, Archiving, Sealed};
    let (world, log) = prepared();
    let older = world.catalog.snapshot();
    let key = world.rows("a")[0].key.clone();
    let step = |from, to| Mutation::Transition { key: key.clone(), from, to, archive_key: Some("objects/1".into()) };
    older.apply(&[step(Sealed, Archiving), step(Archiving, Archived)], log.0.clock.now(), "test").unwrap();
    compact(&log);
    log.close().unwrap();
    drop(log);
    check_whole(&with_older(&world, older), &["2:b", "3:a", "4:c", "5:d"]);
}

/// A live row that the file was not made from: it takes no place, and what is gone is on record.
#[test]
fn what_was_made_from_something_else_takes_no_place() {
    use SegmentStatus::{Quarantined, Sealed};
    let (world, log) = prepared();
    let older = world.catalog.snapshot();
    compact(&log);
    log.close().unwrap();
    drop(log);
    let mut other = older.segments(Some(&name("a")), None, 10).unwrap()[2].clone();
    let gone = Mutation::Transition { key: other.key.clone(), from: Sealed, to: Quarantined, archive_key: None };
    other.key.generation = crate::types::Generation(7);
    older.apply(&[gone, Mutation::InsertSegment(other)], Timestamp(0), "test").unwrap();
    let image = with_older(&world, older);
    let log = image.open();
    assert_eq!(live(&image, "a"), []);
    assert_eq!(log.catalog().losses(None).unwrap().len(), 3);
}
