//! The power goes, or the process, between any two steps of a deletion.

use super::*;
use crate::ErrorKind;
use crate::catalog::{Catalog as _, SegmentStatus};

/// A collection in segments, in a cold journal and in a hot one, beside a neighbour; its last sequence.
fn fill(log: &Log) -> u64 {
    for _ in 0..3 {
        for _ in 0..2 {
            append(log, "c", 500);
        }
        log.seal(Some(&name("c"))).unwrap();
    }
    append(log, "c", 100);
    append(log, "neighbour", 100);
    let collection = log.0.collection(&name("c")).unwrap();
    log.0.cool(0, &[collection]).unwrap();
    append(log, "c", 100)
}

/// Whether it is deleted; and if not, everything is there. Then that nothing of it comes back, whatever is done.
fn check(image: &Machine, last: u64) -> bool {
    let log = image.open_whole();
    assert_eq!(sequences(&log, "neighbour"), [1]);
    let report = log.verify(crate::VerifyOptions { deep: true }).unwrap();
    assert!(report.ok, "{report:?}");
    if let Ok(info) = log.collection_info(&name("c")) {
        assert_eq!(info.floor.0, 1);
        assert_eq!(sequences(&log, "c"), (1..=last).collect::<Vec<_>>());
        return false;
    }
    assert_eq!(sequences(&log, "c"), [0; 0]);
    assert_eq!(image.files_of("c"), [format!("{:020}-{last:020}.0.stub.avro", 1)]);
    let rows = image.catalog.segments(Some(&name("c")), None, 99).unwrap();
    assert!(rows.iter().all(|row| row.status == SegmentStatus::Purged), "{rows:?}");
    // Again, after the journals were rotated, emptied and released.
    for _ in 0..3 {
        append(&log, "neighbour", 40 << 10);
    }
    log.seal(None).unwrap();
    log.maintain().unwrap();
    drop(log);
    let log = image.open_whole();
    assert_eq!(log.collection_info(&name("c")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(append(&log, "c", 1), last + 1);
    assert_eq!(sequences(&log, "c"), [last + 1]);
    true
}

#[test]
fn nothing_comes_back_to_life_whenever_it_is_interrupted() {
    let machine = Machine::new();
    let log = machine.open();
    let last = fill(&log);
    let images = machine.at_every_step(|| drop(log.delete_collection(&name("c")).unwrap()));
    let deleted = images.iter().map(|image| check(image, last)).collect::<Vec<_>>();
    assert!(deleted.len() > 20, "{}", deleted.len());
    assert!(!deleted[0] && deleted.iter().filter(|deleted| **deleted).count() > 10);
    assert!(deleted.is_sorted(), "once deleted, deleted: {deleted:?}");
}

/// The finishing of an interrupted deletion is interrupted too.
#[test]
fn an_interrupted_deletion_may_be_interrupted_while_it_is_finished() {
    let machine = Machine::new();
    let log = machine.open();
    let last = fill(&log);
    let images = machine.at_every_step(|| drop(log.delete_collection(&name("c")).unwrap()));
    let mut finished = 0;
    for image in images.iter().step_by(5) {
        for again in image.after_kill().at_every_step(|| ()) {
            let steps = again.at_every_step(|| drop(again.open()));
            for step in steps.iter().step_by(3) {
                finished += u64::from(check(step, last));
            }
        }
    }
    assert!(finished > 20, "{finished}");
}

/// More rows than one transaction takes: some are still `Sealed` below the floor.
#[test]
fn rows_of_a_later_transaction_are_finished_too() {
    let machine = Machine::new();
    let log = machine.open();
    let last = fill(&log);
    let row = |machine: &Machine| machine.catalog.segments(Some(&name("c")), None, 9).unwrap();
    // As the first transaction of many leaves it.
    let floor = crate::catalog::Mutation::RaiseFloor { collection: name("c"), sequence: crate::Sequence(last + 1) };
    let put = crate::catalog::Mutation::PutCollection {
        name: name("c"),
        settings: r#"{"deleted":"2026-11-21T00:00:00Z"}"#.into(),
    };
    machine.catalog.apply(&[floor, put], Timestamp(1), "test").unwrap();
    assert!(row(&machine).iter().all(|row| row.status == SegmentStatus::Sealed));
    assert!(check(&machine.after_kill(), last));
}

/// The disk of the collection went away in the middle: nothing is made at its empty mount point, and all is finished when it is back.
#[test]
fn what_is_left_on_a_missing_disk_waits_for_it() {
    use crate::fs::{FileSystem as _, OpenMode};
    let options =
        |machine: &Machine| crate::LogOptions { directories: vec!["/one".into(), "/two".into()], ..machine.options() };
    let identity = Path::new("/two/.icecore/identity.json");
    let below = |machine: &Machine, folder: &str| {
        let files = machine.fs.files();
        files.into_iter().map(|(path, ..)| path).filter(|path| path.starts_with(folder)).collect::<Vec<_>>()
    };
    let machine = Machine::new();
    let log = Log::open(options(&machine)).unwrap();
    append(&log, "neighbour", 10);
    append(&log, "c", 10);
    log.seal(None).unwrap();
    assert_eq!((below(&machine, "/one/c").len(), below(&machine, "/two/c").len()), (0, 2));
    let images = machine.at_every_step(|| drop(log.delete_collection(&name("c")).unwrap()));
    let mut waited = 0;
    for image in images {
        let row = image.catalog.collection(&name("c")).unwrap().unwrap();
        let before = below(&image, "/two/c");
        if row.floor.0 == 1 || before.iter().any(|path| path.to_string_lossy().contains(".stub.")) {
            continue;
        }
        waited += 1;
        let bytes = image.fs.read(identity).unwrap();
        image.fs.remove_file(identity).unwrap();
        drop(Log::open(options(&image)).unwrap());
        assert_eq!((below(&image, "/two/c"), below(&image, "/one/c")), (before, vec![]));
        let file = image.fs.open(identity, OpenMode::CreateNew).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let log = Log::open(options(&image)).unwrap();
        assert_eq!(log.recovery().losses, []);
        let rows = image.catalog.segments(Some(&name("c")), None, 9).unwrap();
        assert!(rows.iter().all(|row| row.status == SegmentStatus::Purged), "{rows:?}");
        let left = below(&image, "/two/c");
        assert!(left.len() == 2 && left[1].to_string_lossy().ends_with(".stub.avro"), "{left:?}");
        assert_eq!(append(&log, "c", 1), 2);
    }
    assert!(waited > 2, "{waited}");
}

/// A deletion that could not be finished before an append made the collection live again.
#[test]
fn what_is_below_the_floor_of_a_live_collection_goes_too() {
    let machine = Machine::new();
    let log = machine.open();
    let last = fill(&log);
    let images = machine.at_every_step(|| drop(log.delete_collection(&name("c")).unwrap()));
    for image in images {
        if image.catalog.collection(&name("c")).unwrap().unwrap().floor.0 == 1 {
            continue;
        }
        let log = image.open_whole();
        assert_eq!(append(&log, "c", 1), last + 1);
        log.maintain().unwrap();
        let image = image.after_kill();
        let log = image.open_whole();
        assert_eq!(sequences(&log, "c"), [last + 1]);
        let rows = image.catalog.segments(Some(&name("c")), None, 99).unwrap();
        assert!(rows.iter().all(|row| row.status == SegmentStatus::Purged), "{rows:?}");
    }
}
