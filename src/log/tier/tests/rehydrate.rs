//! What comes back, and what does not.

use std::path::Path;

use super::*;
use crate::fs::FileSystem as _;
use crate::{ReadOptions, VerifyOptions};

#[test]
fn what_was_evicted_comes_back_as_it_was() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    fill(&log, "b", 1);
    world.archive(&log);
    let before: Vec<_> = world.rows("a").iter().map(|row| world.fs.read(&world.path(row)).unwrap()).collect();
    evict(&log);
    let some = RehydrateOptions {
        collections: vec![name("a")],
        from: Some(Sequence(150)),
        until: Some(Sequence(200)),
        ..RehydrateOptions::default()
    };
    let dry = RehydrateOptions { dry_run: true, ..some.clone() };
    assert_eq!(log.rehydrate(&dry, &mut always).unwrap().segments, 1);
    assert_eq!(log.rehydrate(&some, &mut always).unwrap().segments, 1);
    use SegmentStatus::{Archived, Evicted as Away};
    assert_eq!(world.statuses("a"), [Away, Archived, Away]);
    let times = RehydrateOptions { until_time: Some(Timestamp(100_000_000)), ..RehydrateOptions::default() };
    assert_eq!(log.rehydrate(&times, &mut always).unwrap().segments, 2, "of both collections");
    let all = rehydrate(&log);
    assert_eq!((all.segments, all.kept.len(), all.healed), (1, 0, 0));
    assert_eq!(rehydrate(&log).segments, 0);
    let after: Vec<_> = world.rows("a").iter().map(|row| world.fs.read(&world.path(row)).unwrap()).collect();
    assert!(before == after);
    assert_eq!(world.files_of("a").len(), 3, "its stub went");
    let fetched = world.received();
    assert_eq!(read_all(&log, "a"), (1..=300).collect::<Vec<_>>());
    assert_eq!(world.received(), fetched, "it is read here again");
    assert!(log.verify(VerifyOptions { deep: true }).unwrap().ok);
}

#[test]
fn a_wrong_object_does_not_come_back_and_keeps_no_other_from_it() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    world.archive(&log);
    evict(&log);
    let rows = world.rows("a");
    world.fs.flip(&world.object(&rows[0]), 900, 1).unwrap();
    world.fs.remove_file(&world.object(&rows[1])).unwrap();
    let back = rehydrate(&log);
    assert_eq!((back.segments, back.kept.len()), (1, 2));
    assert!(back.kept[0].reason.contains("the archived object is not the segment"), "{back:?}");
    assert!(back.kept[1].reason.contains("the archive does not have it any more"), "{back:?}");
    use SegmentStatus::{Archived, Evicted as Away};
    assert_eq!(world.statuses("a"), [Away, Away, Archived]);
    let files = world.fs.files().into_iter().map(|(path, ..)| path);
    let staged: Vec<_> = files.filter(|path| path.starts_with("/data/.icecore/staging/")).collect();
    assert_eq!(staged, [Path::new("/data/.icecore/staging/")], "only the folder");
}

#[test]
fn a_full_directory_takes_nothing_of_what_the_log_needs() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 2);
    world.archive(&log);
    evict(&log);
    let used: u64 = world.fs.files().iter().map(|(.., bytes)| bytes).sum();
    world.fs.set_capacity(Some(used + 90_000));
    let error = log.rehydrate(&RehydrateOptions::default(), &mut always).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("reserve=`"), "{error}");
    world.fs.set_capacity(None);
    assert_eq!(rehydrate(&log).segments, 2);
}

/// A file of the segment's name is there already: the segment itself is kept, anything else goes, since no row wants it.
#[test]
fn what_lies_under_the_name_is_used_or_replaced() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 2);
    world.archive(&log);
    let rows = world.rows("a");
    let good = world.fs.read(&world.path(&rows[0])).unwrap();
    evict(&log);
    let put = |row: &SegmentRow, bytes: &[u8]| {
        world.fs.open(&world.path(row), OpenMode::CreateNew).unwrap().write_all_at(bytes, 0).unwrap();
    };
    put(&rows[0], &good);
    put(&rows[1], b"half of it");
    let before = world.received().1;
    assert_eq!(rehydrate(&log).segments, 2);
    assert_eq!(world.received().1 - before, rows[1].bytes, "one was fetched");
    assert_eq!(read_all(&log, "a"), (1..=200).collect::<Vec<_>>());
    assert!(log.verify(VerifyOptions { deep: true }).unwrap().ok);
}

/// A quarantined segment of which the archive has a copy heals.
#[test]
fn what_was_lost_here_comes_back_from_the_archive() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    world.archive(&log);
    let row = world.rows("a").remove(1);
    world.fs.remove_file(&world.path(&row)).unwrap();
    let (collection, first, last) = (name("a"), row.key.first, row.key.last);
    let (from, to) = (SegmentStatus::Archived, SegmentStatus::Quarantined);
    let lost = [
        Mutation::Transition { key: row.key, from, to, archive_key: None },
        Mutation::RecordLoss { collection, first, last },
    ];
    log.change(&lost, "test").unwrap();
    let mut reader = log.read(&name("a"), ReadOptions::default()).unwrap();
    assert_eq!((reader.by_ref().filter_map(Result::ok).count(), reader.skipped().len()), (200, 1));
    drop(reader);
    let back = rehydrate(&log);
    assert_eq!((back.segments, back.healed), (1, 1));
    assert_eq!(world.statuses("a"), [SegmentStatus::Archived; 3]);
    assert_eq!(log.losses().unwrap(), []);
    assert_eq!(read_all(&log, "a"), (1..=300).collect::<Vec<_>>());
}

/// Damage that nobody met yet is found by reading, and mended from the archive; evidence is kept.
#[test]
fn damaged_local_files_are_replaced_by_the_archived_ones() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 4);
    world.archive(&log);
    let rows = world.rows("a");
    world.fs.flip(&world.path(&rows[0]), rows[0].bytes / 2, 1).unwrap();
    world.fs.remove_file(&world.path(&rows[1])).unwrap();
    world.fs.flip(&world.path(&rows[2]), rows[2].bytes / 2, 1).unwrap();
    world.fs.remove_file(&world.object(&rows[2])).unwrap();
    assert_eq!(rehydrate(&log).segments, 0, "it was not asked to look");
    let options = RehydrateOptions { repair: true, ..RehydrateOptions::default() };
    let dry = log.rehydrate(&RehydrateOptions { dry_run: true, ..options.clone() }, &mut always).unwrap();
    let back = log.rehydrate(&options, &mut always).unwrap();
    assert_eq!((dry.segments, dry.healed), (2, 2));
    assert_eq!((back.segments, back.healed, back.kept.len()), (2, 2, 1));
    assert!(back.kept[0].reason.contains("the archive does not have it"), "{back:?}");
    assert_eq!(world.statuses("a"), [SegmentStatus::Archived; 4]);
    let files = world.fs.files().into_iter().map(|(path, ..)| path);
    let set_aside = files.filter(|path| path.starts_with("/data/.icecore/quarantine/") && path.extension().is_some());
    assert_eq!(set_aside.count(), 1);
    let good = log.read(&name("a"), ReadOptions::default()).unwrap().filter_map(Result::ok).count();
    assert!((300..400).contains(&good), "{good}");
    let report = log.verify(VerifyOptions { deep: true }).unwrap();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
}
