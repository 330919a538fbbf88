//! What goes, what stays and why, and what is never forgotten.

use std::path::Path;

use super::*;
use crate::ReadOptions;
use crate::archive::world::STORE;
use crate::catalog::CursorRow;
use crate::fs::FileSystem as _;
use crate::fs::simulated::{Ailment, PlaceFault};
use crate::objects::local::MARKER;
use crate::segment::read_stub;
use crate::types::Epoch;

const STUB: &str = "00000000000000000301-00000000000000000400.0.stub.avro";

#[test]
fn only_archived_segments_go_and_everything_is_read_as_before() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    world.archive(&log);
    append(&log, "a", 301..=400);
    log.seal(None).unwrap();
    let bytes = world.rows("a").iter().take(3).map(|row| row.bytes).sum::<u64>();
    let dry = log.evict(&EvictOptions { dry_run: true, ..EvictOptions::default() }, &mut always).unwrap();
    assert_eq!((dry.segments, dry.bytes, dry.kept.len()), (3, bytes, 0));
    assert_eq!(world.files_of("a").len(), 4);
    let mut told = Vec::new();
    let evicted = log
        .evict(&EvictOptions::default(), &mut |at| {
            told.push(at);
            true
        })
        .unwrap();
    assert_eq!(evicted, Evicted { dry_run: false, ..dry });
    assert!(told.is_sorted_by_key(|at| at.bytes) && told.last().unwrap().bytes == bytes, "{told:?}");
    assert!(told.iter().all(|at| at.total_bytes == bytes));
    use SegmentStatus::{Evicted as Away, Sealed};
    assert_eq!(world.statuses("a"), [Away, Away, Away, Sealed]);
    assert_eq!(world.files_of("a"), ["00000000000000000301-00000000000000000400.0.avro"]);
    assert_eq!(read_all(&log, "a"), (1..=400).collect::<Vec<_>>());
    assert_eq!(evict(&log).segments, 0, "nothing is left to do");
    assert!(log.verify(crate::VerifyOptions { deep: true }).unwrap().ok);
    drop(log);
    assert_eq!(read_all(&world.open_whole(), "a"), (1..=400).collect::<Vec<_>>());
}

#[test]
fn filters_choose_by_collection_age_and_what_may_stay() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 4);
    fill(&log, "b", 1);
    world.archive(&log);
    let of = |options: EvictOptions| log.evict(&EvictOptions { dry_run: true, ..options }, &mut always).unwrap();
    let none = EvictOptions::default;
    assert_eq!(of(EvictOptions { collections: vec![name("b")], ..none() }).segments, 1);
    assert_eq!(of(none()).segments, 5);
    // The newest record of the second segment is of second 200.
    let older = |second: i64| of(EvictOptions { older_than: Some(Timestamp(second * 1_000_000)), ..none() }).segments;
    assert_eq!((older(200), older(201), older(101)), (2, 3, 2), "b's has times up to 100");
    let rows: Vec<_> = world.rows("a").into_iter().chain(world.rows("b")).collect();
    let all: u64 = rows.iter().map(|row| row.bytes).sum();
    let keep = |bytes: u64| of(EvictOptions { keep_bytes: Some(bytes), ..none() }).segments;
    assert_eq!((keep(all), keep(all - 1), keep(all - rows[0].bytes), keep(0)), (0, 1, 1, 5));
    let mut calls = 0;
    let stopped = log.evict(&none(), &mut |_| {
        calls += 1;
        calls <= 2
    });
    let stopped = stopped.unwrap();
    assert!(stopped.is_interrupted && stopped.segments == 2, "{stopped:?}");
    // A commit that went on meanwhile is told by the row: what is no longer archived stays as it is.
    assert_eq!(evict(&log).segments, 3);
}

#[test]
fn what_is_pinned_stays_and_the_report_says_by_what() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 4);
    world.archive(&log);
    let mut reader = log.read(&name("a"), ReadOptions::default()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().sequence.0, 1);
    log.set_collection_settings(&name("a"), |settings| settings.set("sinks", "store").unwrap()).unwrap();
    let cursor = CursorRow { collection: name("a"), sink: "store".into(), epoch: Epoch(1), sequence: Sequence(250) };
    log.change(&[Mutation::SetCursor(cursor.clone())], "test").unwrap();
    let evicted = evict(&log);
    assert_eq!(evicted.segments, 1);
    let behind = "a sink does not have it yet: sink=`store`, cursor=`250`";
    assert_eq!(reasons(&evicted.kept), ["somebody reads it: readers=`1`", behind, behind]);
    assert_eq!(evicted.kept[0].segment.first, Sequence(1));
    // It reads on where it is, and across what went.
    assert_eq!(
        reader.by_ref().map(|record| record.unwrap().sequence.0).collect::<Vec<_>>(),
        (2..=400).collect::<Vec<_>>()
    );
    assert_eq!(evict(&log).segments, 1, "it was read to its end");
    log.change(&[Mutation::SetCursor(CursorRow { sequence: Sequence(400), ..cursor })], "test").unwrap();
    let evicted = evict(&log);
    assert_eq!((evicted.segments, evicted.kept.len()), (2, 0));
    assert_eq!(world.files_of("a"), [STUB]);
}

#[test]
fn a_copy_that_the_archive_does_not_have_is_not_the_last_one_to_go() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    world.archive(&log);
    let rows = world.rows("a");
    world.fs.remove_file(&world.object(&rows[0])).unwrap();
    let file = world.fs.open(&world.object(&rows[1]), OpenMode::ReadWrite).unwrap();
    file.set_len(rows[1].bytes - 1).unwrap();
    let evicted = evict(&log);
    assert_eq!(evicted.segments, 1);
    assert_eq!(reasons(&evicted.kept)[0], "the archive does not have it any more");
    assert!(reasons(&evicted.kept)[1].starts_with("the archived object is not the segment"), "{evicted:?}");
    assert_eq!(read_all(&log, "a"), (1..=300).collect::<Vec<_>>());
    world.fs.remove_file(&Path::new(STORE).join(MARKER)).unwrap();
    let error = log.evict(&EvictOptions::default(), &mut always).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(world.files_of("a").len(), 3);
    drop(log);
    let log = Log::open(world.options_without_archive()).unwrap();
    assert_eq!(log.evict(&EvictOptions::default(), &mut always).unwrap_err().kind(), ErrorKind::Unavailable);
    let trusting = EvictOptions { trust_rows: true, ..EvictOptions::default() };
    assert_eq!(log.evict(&trusting, &mut always).unwrap().segments, 2);
    let beside = Log::open_read_only(world.options_without_archive()).unwrap();
    assert!(beside.evict(&trusting, &mut always).is_err());
}

/// C7: with every segment evicted and the catalog lost, the stub alone still tells the end.
#[test]
fn the_end_of_a_collection_outlives_its_files_and_the_catalog() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 3);
    world.archive(&log);
    evict(&log);
    assert_eq!(world.files_of("a"), ["00000000000000000201-00000000000000000300.0.stub.avro"]);
    append(&log, "a", 301..=400);
    log.seal(None).unwrap();
    world.archive(&log);
    evict(&log);
    assert_eq!(world.files_of("a"), [STUB], "one is enough");
    let path = Path::new("/data/a").join(STUB);
    let footer = read_stub(world.fs.open(&path, OpenMode::Read).unwrap()).unwrap();
    assert_eq!(footer.covers.last, Sequence(400));
    // Journals that still tell are released by then.
    append(&log, "neighbour", 1..=1);
    log.close().unwrap();
    drop(log);
    let lost = World::with(world.fs.kill_image(), Arc::default());
    let log = lost.open();
    let next = log.append(&name("a"), crate::NewRecord::payload("x")).unwrap();
    assert_eq!(next.last.0, 401);
    assert_eq!(log.recovery().losses.len(), 1, "and says that it knows nothing of the records: {:?}", log.recovery());
}

/// The file cannot be removed: the row does not want it any more, and opening the log tries again.
#[test]
fn a_file_that_cannot_be_removed_is_told_and_goes_later() {
    let world = World::new();
    let log = world.open();
    fill(&log, "a", 2);
    world.archive(&log);
    let doomed = world.path(&world.rows("a")[0]);
    world.fs.fail_place(PlaceFault::from(&doomed, 0, Ailment::ReadOnly));
    let evicted = evict(&log);
    world.fs.heal_places();
    assert_eq!((evicted.segments, evicted.left.len()), (2, 1), "{evicted:?}");
    assert!(world.fs.read(&doomed).is_ok());
    assert_eq!(read_all(&log, "a"), (1..=200).collect::<Vec<_>>());
    drop(log);
    let log = world.open_whole();
    assert!(world.fs.read(&doomed).is_err());
    assert_eq!(read_all(&log, "a"), (1..=200).collect::<Vec<_>>());
}
