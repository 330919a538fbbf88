//! What comes back, and what it fills: a quarantined segment's file, a file whose sequences are on record as lost, a disk.

use std::path::Path;

use icecore::catalog::{Catalog as _, Mutation, SegmentStatus};
use icecore::log::recover::segments;
use icecore::log::recover::table::Action;
use icecore::{NewRecord, Sequence, Timestamp};

use crate::world::{FILE, RECORDS, World, ids, name, sequences};

fn at(directory: &str) -> std::path::PathBuf {
    Path::new(directory).join(FILE)
}

fn labels(log: &icecore::Log) -> Vec<&'static str> {
    log.recovery().steps.iter().map(|step| step.action).collect()
}

/// The file of a segment is lost, its loss recorded, records appended behind; then it comes back, in whichever directory.
#[test]
fn a_quarantined_segments_file_comes_back_with_its_records() {
    for place in ["/one", "/two"] {
        let world = World::new();
        world.seal("good");
        let bytes = world.disk.read(at("/one")).unwrap();
        world.disk.remove(at("/one"));
        let log = world.open();
        assert_eq!(labels(&log), ["quarantine"]);
        assert_eq!(world.losses(), [(1, RECORDS)]);
        log.append(&name("c"), NewRecord::payload("behind")).unwrap();
        log.seal(None).unwrap();
        log.close().unwrap();
        drop(log);

        world.disk.put(at(place), &bytes);
        let log = world.open();
        assert_eq!(labels(&log), ["put-back"]);
        assert!(log.recovery().damaged.is_empty(), "{:?}", log.recovery().damaged);
        assert_eq!(sequences(&log).unwrap(), (1..=RECORDS + 1).collect::<Vec<_>>());
        assert_eq!(world.losses(), []);
        let row = world.row().unwrap();
        assert_eq!((row.status, &row.directory), (SegmentStatus::Sealed, &ids(&log)[usize::from(place == "/two")]));
    }
}

/// What lies inside a recorded loss is taken in, and the loss is what is still missing before and behind it.
#[test]
fn a_file_that_comes_back_inside_a_loss_fills_its_part_of_it() {
    let world = World::new();
    // Its ids are drawn when a log is made: both are the same log's.
    world.open().close().unwrap();
    let early = world.fork();
    early.seal("good");
    let bytes = early.disk.read(at("/one")).unwrap();
    // The collection goes on behind a loss, as `directory forget` records it.
    let (collection, last) = (name("c"), Sequence(100));
    let lose = [
        Mutation::RecordLoss { collection: collection.clone(), first: Sequence(1), last },
        Mutation::RaiseSealedThrough { collection, sequence: last },
    ];
    world.catalog.apply(&lose, Timestamp(1), "forgotten").unwrap();
    let log = world.open();
    assert_eq!(log.append(&name("c"), NewRecord::payload("behind")).unwrap().last, Sequence(101));
    log.seal(None).unwrap();
    log.close().unwrap();
    drop(log);
    world.disk.put(at("/two"), &bytes);
    let log = world.open();
    assert_eq!(labels(&log), ["adopt"], "{:?}", log.recovery());
    assert_eq!(world.losses(), [(RECORDS + 1, 100)]);
    assert_eq!(sequences(&log).unwrap(), [1, 2, 3, 4, 5, 101]);
}

/// A whole file with records that a live segment has is no loss's, and is set aside, never dropped.
#[test]
fn a_file_whose_records_another_segment_has_is_set_aside() {
    let world = World::new();
    world.open().close().unwrap();
    let shorter = world.fork();
    shorter.seal("good");
    let bytes = shorter.disk.read(at("/one")).unwrap();
    let log = world.open();
    for number in 0..RECORDS + 2 {
        log.append(&name("c"), NewRecord::payload(format!("good {number}"))).unwrap();
    }
    log.seal(None).unwrap();
    log.close().unwrap();
    drop(log);
    world.disk.put(at("/two"), &bytes);
    let log = world.open();
    assert_eq!(labels(&log), ["set-aside"]);
    assert!(log.recovery().damaged.is_empty(), "{:?}", log.recovery().damaged);
    assert_eq!(sequences(&log).unwrap(), (1..=RECORDS + 2).collect::<Vec<_>>());
    let aside: Vec<_> = world.disk.data_files().into_iter().filter(|(_, kept)| *kept == bytes).collect();
    assert!(aside.len() == 1 && aside[0].0.starts_with("/two/.icecore/quarantine"), "{:?}", aside[0].0);
}

/// Rows of a directory that cannot be listed are counted, and judged again when it is back.
#[test]
fn rows_of_a_missing_directory_are_not_judged() {
    let world = World::new();
    world.seal("good");
    let log = world.open();
    let directories = log.directories();
    log.close().unwrap();
    drop(log);
    let find = |readable: &[bool]| segments::find(&world.disk, &directories, &*world.catalog, readable).unwrap();
    assert!(find(&[true, true]).unjudged.is_empty());
    let found = find(&[false, true]);
    assert!(found.findings.is_empty());
    let [unjudged] = &found.unjudged[..] else { panic!("{:?}", found.unjudged) };
    let bytes = world.disk.read(at("/one")).unwrap().len() as u64;
    assert_eq!((unjudged.collections, unjudged.segments, unjudged.bytes), (1, 1, bytes));
    assert_eq!((unjudged.index, &unjudged.reason), (Some(0), &None));

    // A file that should be here and is not may be in a directory that is missing: nothing is given up.
    let own = world.disk.read(at("/one")).unwrap();
    world.disk.remove(at("/one"));
    let actions = |readable: &[bool]| find(readable).findings.iter().map(|found| found.action).collect::<Vec<_>>();
    assert_eq!(actions(&[true, false]), [Action::Report]);
    assert_eq!(actions(&[true, true]), [Action::Quarantine]);
    world.disk.put(at("/one"), &own);

    // Nor is a copy of its file, which the row may still need.
    world.disk.put(at("/two"), &world.disk.read(at("/one")).unwrap());
    assert!(find(&[false, true]).findings.is_empty());

    world.disk.break_path("/one");
    let found = find(&[true, true]);
    assert!(found.unjudged[0].reason.as_ref().unwrap().contains("cannot list"), "{:?}", found.unjudged);
    assert!(found.findings.is_empty());
    assert!(found.end_unknown(&name("c"), 0).is_some());
    assert_eq!(found.end_unknown(&name("c"), 1), None);
}

/// A folder that cannot be listed hides its own collection, and nothing else.
#[test]
fn a_folder_that_cannot_be_listed_stops_its_own_collection() {
    let world = World::new();
    world.seal("good");
    let log = world.open();
    log.append(&name("d"), NewRecord::payload("d")).unwrap();
    log.seal(None).unwrap();
    let directories = log.directories();
    log.close().unwrap();
    drop(log);
    world.disk.break_path("/one/c");
    let found = segments::find(&world.disk, &directories, &*world.catalog, &[true, true]).unwrap();
    let why = found.end_unknown(&name("c"), 0).unwrap();
    assert!(why.contains("collection=`c`") && why.contains("/one/c"), "{why}");
    assert_eq!(found.end_unknown(&name("d"), 1), None);
    let log = world.open();
    assert_eq!(labels(&log), ["report"]);
    assert!(log.append(&name("d"), NewRecord::payload("more")).is_ok());
    let refused = log.append(&name("c"), NewRecord::payload("more")).unwrap_err();
    assert!(refused.to_string().contains("/one/c"), "{refused}");
    log.close().unwrap();
    drop(log);
    world.disk.mend();
    let log = world.open();
    assert_eq!((labels(&log), sequences(&log).unwrap()), (vec![], vec![1, 2, 3, 4, 5]));
}
