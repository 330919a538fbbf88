//! Reading across tiers, and what is fetched for it.

use std::time::Duration;

use super::*;
use crate::archive::world::{World, append, fill, name, read, read_all};
use crate::catalog::{Mutation, SegmentStatus};
use crate::fs::FileSystem as _;
use crate::objects::local::MARKER;
use crate::segment::{FileRange, Footer, SegmentReader};
use crate::types::{NewRecord, Timestamp};
use crate::{AppendOptions, Log, ReadOptions};

/// Archives everything, and drops the local copies of the collection's first `segments`.
fn evict(world: &World, log: &Log, collection: &str, segments: usize) {
    world.archive(log);
    for row in &world.rows(collection)[..segments] {
        let path = world.path(row);
        let (from, to) = (SegmentStatus::Archived, SegmentStatus::Evicted);
        log.change(&[Mutation::Transition { key: row.key.clone(), from, to, archive_key: None }], "test").unwrap();
        world.fs.remove_file(&path).unwrap();
    }
}

/// Archived, local and unsealed records: 1 to 300, 301 to 400, 401 to 420.
fn three_tiers(world: &World) -> Log {
    let log = world.open();
    fill(&log, "a", 4);
    append(&log, "a", 401..=420);
    evict(world, &log, "a", 3);
    log
}

/// The footer of an archived object, read behind the meter's back.
fn footer(world: &World, row: &SegmentRow) -> (Footer, u64) {
    let file = world.fs.open(&world.object(row), crate::fs::OpenMode::Read).unwrap();
    let reader = SegmentReader::open_end(Arc::new(FileRange(file))).unwrap();
    (reader.footer().clone(), row.bytes)
}

#[test]
fn every_way_of_reading_crosses_the_tiers() {
    let world = World::new();
    let log = three_tiers(&world);
    assert_eq!(read_all(&log, "a"), (1..=420).collect::<Vec<_>>());
    let backwards = read(&log, "a", ReadOptions { reverse: true, ..ReadOptions::default() });
    assert_eq!(backwards, (1..=420).rev().collect::<Vec<_>>());
    let some = ReadOptions { from: Some(Sequence(150)), until: Some(Sequence(310)), ..ReadOptions::default() };
    assert_eq!(read(&log, "a", some), (150..=310).collect::<Vec<_>>());
    let at = |second: i64| Some(Timestamp(second * 1_000_000));
    let times = ReadOptions { from_time: at(250), until_time: at(305), ..ReadOptions::default() };
    assert_eq!(read(&log, "a", times), (250..=305).collect::<Vec<_>>());
    for number in [1, 100, 101, 299, 300, 301, 400, 401, 420] {
        let found = log.get(&name("a"), format!("key-{number}").as_bytes(), Timestamp(0)).unwrap().unwrap();
        assert_eq!(found.sequence.0, number);
    }
    assert_eq!(log.get(&name("a"), b"key-421", Timestamp(0)).unwrap(), None);
    assert_eq!(log.position_of_time(&name("a"), Timestamp(123_000_000)).unwrap(), Some(Sequence(123)));
    let mut follower = log.read(&name("a"), ReadOptions::follow()).unwrap();
    append(&log, "a", 421..=425);
    let mut wait = || follower.next_wait(Some(Duration::ZERO)).unwrap().map(|record| record.sequence.0);
    assert_eq!((1..=426).map_while(|_| wait()).collect::<Vec<_>>(), (1..=425).collect::<Vec<_>>());
    let beside = Log::open_read_only(world.options()).unwrap();
    assert_eq!(read_all(&beside, "a").len(), 425);
}

#[test]
fn only_the_blocks_that_are_needed_are_fetched_from_a_large_segment() {
    let world = World::new();
    let mut options = world.options();
    options.block_bytes = 256 << 10;
    options.limits = crate::log::Limits::default();
    let log = Log::open(options).unwrap();
    let collection = name("a");
    let mut random = fastrand::Rng::with_seed(7);
    // No codec makes these shorter: the object has 64 MiB, but for headers.
    let mut bytes = vec![0; 460];
    for part in 0..135 {
        let records: Vec<NewRecord> = (1..=1000)
            .map(|number| {
                let number = part * 1000 + number;
                random.fill(&mut bytes);
                let record = NewRecord::put(format!("key-{number}"), bytes.clone());
                record.with_timestamp(Timestamp(number * 1_000_000))
            })
            .collect();
        log.append_batch(&collection, &records, AppendOptions::default()).unwrap();
    }
    log.seal(None).unwrap();
    let row = world.rows("a").remove(0);
    assert!(row.bytes > 60 << 20 && row.key.last.0 > 120_000, "{row:?}");
    evict(&world, &log, "a", 1);
    let (footer, bytes) = footer(&world, &world.rows("a")[0]);
    let end = (bytes - footer.data_end()).max(64 << 10);
    let blocks_of = |wanted: &dyn Fn(&crate::segment::BlockEntry) -> bool| {
        let blocks: Vec<_> = footer.blocks.iter().filter(|block| wanted(block)).collect();
        (blocks.len() as u64, blocks.iter().map(|block| block.bytes).sum::<u64>())
    };
    // What one read cost, of a log that knows nothing of the archive yet.
    let cost = |read: &dyn Fn(&Log)| {
        let log = Log::open_read_only(world.options()).unwrap();
        let before = world.received();
        read(&log);
        let (first, after) = (world.received(), ());
        read(&log);
        assert_eq!(world.received(), first, "the second time nothing is fetched: {after:?}");
        (first.0 - before.0, first.1 - before.1)
    };
    let end_requests = if bytes - footer.data_end() > 64 << 10 { 2 } else { 1 };

    let (from, until) = (Sequence(60_001), Sequence(61_000));
    let options = ReadOptions { from: Some(from), until: Some(until), ..ReadOptions::default() };
    let (blocks, block_bytes) = blocks_of(&|block| block.held.last >= from && block.held.first <= until);
    assert!(blocks <= 4, "{blocks}");
    let by_sequence = cost(&|log| assert_eq!(log.read(&collection, options).unwrap().count(), 1000));
    assert_eq!(by_sequence, (end_requests + 1, end + block_bytes), "by sequence: its blocks come at once");
    let back = ReadOptions { reverse: true, ..options };
    assert_eq!(cost(&|log| assert_eq!(log.read(&collection, back).unwrap().count(), 1000)), by_sequence);

    // A limit is as good as an end; what is behind a limit's last block is never fetched.
    let first = ReadOptions { until: None, limit: Some(1000), ..options };
    let limited = cost(&|log| assert_eq!(log.read(&collection, first).unwrap().count(), 1000));
    assert!(limited.1 == by_sequence.1 && limited.0 <= by_sequence.0 + 2, "{limited:?} {by_sequence:?}");
    // From front to end: some 4 MiB with each request, and nothing twice.
    let fresh = Log::open_read_only(world.options()).unwrap();
    let before = world.received();
    let mut reader =
        fresh.read(&collection, ReadOptions { until: Some(row.key.last), ..ReadOptions::default() }).unwrap();
    assert_eq!(reader.by_ref().inspect(|record| assert!(record.is_ok())).count() as u64, row.key.last.0);
    let all = (world.received().0 - before.0, world.received().1 - before.1);
    assert!(all.0 <= end_requests + bytes / (3 << 20), "{all:?}");
    assert_eq!(all.1, end + footer.data_end() - footer.header_bytes);
    drop(reader);

    let (from, until) = (Timestamp(60_001_000_000), Timestamp(61_000_000_000));
    let times = ReadOptions { from_time: Some(from), until_time: Some(until), ..ReadOptions::default() };
    let by_time = cost(&|log| assert_eq!(log.read(&collection, times).unwrap().count(), 1000));
    assert_eq!(by_time, by_sequence, "by time");

    // Backwards from the last one: every block behind the key's. So the key is one near the end, and one that is nowhere.
    let last = row.key.last.0 - 10;
    let newest = |log: &Log, key: &str| {
        log.get(&collection, key.as_bytes(), Timestamp(0)).unwrap().map(|record| record.sequence.0)
    };
    let (blocks, block_bytes) = blocks_of(&|block| block.held.last.0 >= last);
    let by_key = cost(&|log| assert_eq!(newest(log, &format!("key-{last}")), Some(last)));
    assert_eq!(by_key, (end_requests + blocks, end + block_bytes), "by key");
    let denied = cost(&|log| assert_eq!(newest(log, "zzz"), None));
    assert_eq!(denied, (end_requests, end), "a key that the filter denies costs the footer only, once");
}

#[test]
fn without_an_archive_it_is_said_where_the_records_are() {
    let world = World::new();
    drop(three_tiers(&world));
    let log = Log::open(world.options_without_archive()).unwrap();
    let error = log.read(&name("a"), ReadOptions::default()).unwrap().next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("first_sequence=`1`") && error.hint().unwrap().contains("--archive"), "{error}");
    let local = ReadOptions { from: Some(Sequence(301)), ..ReadOptions::default() };
    assert_eq!(read(&log, "a", local), (301..=420).collect::<Vec<_>>());
}

#[test]
fn an_unreachable_archive_is_named_and_stops_no_local_read() {
    let world = World::new();
    let log = three_tiers(&world);
    let marker = Path::new(crate::archive::world::STORE).join(MARKER);
    let text = world.fs.read(&marker).unwrap();
    world.fs.remove_file(&marker).unwrap();
    let mut reader = log.read(&name("a"), ReadOptions { follow: true, ..ReadOptions::default() }).unwrap();
    let error = reader.try_next().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let told = crate::log::recover::journals::chain(&error);
    assert!(told.contains("/store") && told.contains("last_sequence=`100`"), "{told}");
    let local = ReadOptions { from: Some(Sequence(301)), ..ReadOptions::default() };
    assert_eq!(read(&log, "a", local), (301..=420).collect::<Vec<_>>());
    assert_eq!(log.get(&name("a"), b"key-350", Timestamp(0)).unwrap().unwrap().sequence.0, 350);
    // An older version never shows through: what may be in the archive is not passed over.
    let error = log.get(&name("a"), b"key-50", Timestamp(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    append(&log, "a", 421..=421);
    // It stayed where it was.
    assert_eq!(reader.position(), Sequence(1));
    drop((reader, log));
    let log = world.open_whole();
    let file = world.fs.open(&marker, crate::fs::OpenMode::CreateNew).unwrap();
    file.write_all_at(&text, 0).unwrap();
    assert_eq!(read_all(&log, "a"), (1..=421).collect::<Vec<_>>());
}

#[test]
fn damaged_objects_are_never_served() {
    let world = World::new();
    let log = three_tiers(&world);
    let rows = world.rows("a");
    let (footer, _) = footer(&world, &rows[1]);
    let held = footer.blocks[3].held;
    world.fs.flip(&world.object(&rows[1]), footer.blocks[3].offset + 40, 1).unwrap();
    world.fs.remove_file(&world.object(&rows[2])).unwrap();
    let outcome = |log: &Log| {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for record in log.read(&name("a"), ReadOptions::default()).unwrap() {
            match record {
                Ok(record) => good.push(record.sequence.0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    bad.push(crate::log::recover::journals::chain(&error));
                }
            }
        }
        (good, bad)
    };
    let (good, bad) = outcome(&log);
    let expected = (1..=200).filter(|number| !held.contains(Sequence(*number))).chain(301..=420);
    assert_eq!(good, expected.collect::<Vec<_>>());
    assert!(bad.len() == 2 && bad[0].contains(&format!("first_sequence=`{}`", held.first)), "{bad:?}");
    assert!(bad[1].contains("the archive does not have it any more") && bad[1].contains("/store/a/"), "{bad:?}");
    // It was the transfer, and not the object: nothing of it was kept.
    world.fs.flip(&world.object(&rows[1]), footer.blocks[3].offset + 40, 1).unwrap();
    assert_eq!(outcome(&log).0, (1..=200).chain(301..=420).collect::<Vec<_>>());
    // Another object's bytes under the key: whole, and not the segment's.
    let other = world.fs.read(&world.object(&rows[0])).unwrap();
    world.fs.remove_file(&world.object(&rows[1])).unwrap();
    let file = world.fs.open(&world.object(&rows[1]), crate::fs::OpenMode::CreateNew).unwrap();
    file.write_all_at(&other, 0).unwrap();
    let log = Log::open_read_only(world.options()).unwrap();
    assert_eq!(outcome(&log).0, (1..=100).chain(301..=420).collect::<Vec<_>>());
}

#[test]
fn a_local_file_that_is_gone_or_damaged_is_read_from_the_archive() {
    let world = World::new();
    let log = three_tiers(&world);
    fill_more(&log);
    world.archive(&log);
    let rows = world.rows("a");
    assert_eq!(rows[3].status, SegmentStatus::Archived);
    let (gone, damaged) = (world.path(&rows[3]), world.path(&rows[4]));
    world.fs.remove_file(&gone).unwrap();
    let (footer, bytes) = footer(&world, &rows[4]);
    world.fs.flip(&damaged, footer.blocks[1].offset + 30, 1).unwrap();
    let all: Vec<u64> = (1..=500).collect();
    assert_eq!(read_all(&log, "a"), all);
    let backwards = read(&log, "a", ReadOptions { reverse: true, ..ReadOptions::default() });
    assert_eq!(backwards, (1..=500).rev().collect::<Vec<_>>());
    // The end too, so that the file cannot even be opened.
    world.fs.flip(&damaged, bytes - 60, 1).unwrap();
    assert_eq!(read_all(&log, "a"), all);
    assert_eq!(log.get(&name("a"), b"key-450", Timestamp(0)).unwrap().unwrap().sequence.0, 450);
    // Without an archive the damage is told as it is.
    let log = Log::open_read_only(world.options_without_archive()).unwrap();
    let local = ReadOptions { from: Some(Sequence(301)), ..ReadOptions::default() };
    let bad = log.read(&name("a"), local).unwrap().filter_map(Result::err).map(|error| error.kind());
    assert_eq!(bad.collect::<Vec<_>>(), [ErrorKind::Corrupt; 2]);
}

fn fill_more(log: &Log) {
    append(log, "a", 421..=500);
    log.seal(None).unwrap();
}

#[test]
fn the_archive_answers_what_the_log_asks() {
    let world = World::new();
    let log = three_tiers(&world);
    let rows = world.rows("a");
    let archive = world.options().archive.unwrap();
    assert!(archive.has(&rows[0]).unwrap());
    assert_eq!(archive.last_sequence(&name("a")).unwrap(), Some(Sequence(400)));
    assert_eq!(archive.last_sequence(&name("b")).unwrap(), None);
    world.fs.remove_file(&world.object(&rows[0])).unwrap();
    assert!(!archive.has(&rows[0]).unwrap());
    let longer = SegmentRow { bytes: rows[1].bytes + 1, ..rows[1].clone() };
    assert_eq!(archive.has(&longer).unwrap_err().kind(), ErrorKind::Corrupt);
    let nowhere = SegmentRow { archive_key: None, ..rows[1].clone() };
    assert_eq!(archive.open(&nowhere).unwrap_err().kind(), ErrorKind::NotFound);
    let elsewhere = SegmentRow { archive_key: Some(format!("@{}/a/b", "0".repeat(32))), ..rows[1].clone() };
    assert_eq!(archive.open(&elsewhere).unwrap_err().kind(), ErrorKind::Unavailable);
    drop(log);
}

/// A collection whose home is a remote, and another in the log's archive.
#[test]
fn each_object_is_read_from_the_store_that_its_key_names() {
    let world = World::new();
    let log = three_tiers(&world);
    let row = world.rows("a").remove(0);
    let key = row.archive_key.clone().unwrap();
    let remote: Arc<dyn ObjectStore> = world.store.clone();
    let of_home = SegmentRow { archive_key: Some(format!("@home/{key}")), ..row };
    let reader = ArchiveReader::new(None, ReaderOptions::default()).with_remote("home", remote);
    assert!(reader.has(&of_home).unwrap());
    let range = reader.open(&of_home).unwrap();
    assert_eq!(SegmentReader::open_end(range).unwrap().footer().content_digest, of_home.content_digest);
    assert_eq!(reader.open(&world.rows("a")[0]).unwrap_err().kind(), ErrorKind::Unavailable);
    drop(log);
}
