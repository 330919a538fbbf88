//! What goes, what stays, and what is told of it.

use super::*;
use crate::compaction::Removed;

#[test]
fn small_neighbours_become_one_and_their_files_go() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["c"], &["d", "e"], &["", "-a"]]);
    let log = reopened(&world, log);
    let before: u64 = world.rows("a").iter().map(|row| row.bytes).sum();
    let dry = log.compact(&CompactOptions { dry_run: true, ..CompactOptions::default() }, &mut always).unwrap();
    assert!(dry.dry_run && dry.collections[0].segments_before == 4, "{dry:?}");
    assert_eq!(live(&world, "a").len(), 4);
    let report = compact(&log);
    assert_eq!(live(&world, "a"), [(1, 7, 1)]);
    assert_eq!(world.files_of("a"), ["00000000000000000001-00000000000000000007.1.avro"]);
    assert_eq!(there(&log, "a"), ["1:a", "2:b", "3:c", "4:d", "5:e", "6:", "7:-a"]);
    let of = &report.collections[0];
    let after = world.rows("a").iter().find(|row| row.status.is_live()).unwrap().bytes;
    assert_eq!((of.segments_before, of.segments_after, of.bytes_before, of.bytes_after), (4, 1, before, after));
    assert!(of.freed_bytes() > 0 && of.removed == Removed::default() && report.is_whole(), "{report:?}");
    check(&log);
    assert_eq!(compact(&log), CompactReport::default(), "nothing is left to do");
    let log = reopened(&world, log);
    assert_eq!(there(&log, "a").len(), 7);
    check(&log);
    assert_eq!(log.append(&name("a"), NewRecord::payload("x")).unwrap().last.0, 8);
}

#[test]
fn versions_go_across_segments_and_sequences_stay_known() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b", ""], &["a", "c"], &["a", "b"]]);
    set(&log, "a", &[("compact.keep_versions", "1"), ("compact.target_bytes", "none")]);
    let log = reopened(&world, log);
    let report = compact(&log);
    assert_eq!(report.removed(), Removed { versions: 3, ..Removed::default() });
    assert_eq!(live(&world, "a"), [(1, 3, 1), (4, 5, 1), (6, 7, 0)]);
    assert_eq!(there(&log, "a"), ["3:", "5:c", "6:a", "7:b"]);
    check(&log);
    // Written anew once more: what was removed before stays told.
    set(&log, "a", &[("compact.target_bytes", "1MiB")]);
    compact(&log);
    assert_eq!(live(&world, "a"), [(1, 7, 2)]);
    assert_eq!(there(&log, "a"), ["3:", "5:c", "6:a", "7:b"]);
    let row = world.rows("a").into_iter().find(|row| row.status.is_live()).unwrap();
    let footer = crate::segment::SegmentReader::open(log.segment_file(&row).unwrap()).unwrap().footer().clone();
    assert_eq!(footer.removed.iter().map(|range| (range.first.0, range.last.0)).collect::<Vec<_>>(), [(1, 2), (4, 4)]);
    assert_eq!(footer.inputs.len(), 3);
    check(&log);
}

#[test]
fn tombstones_go_last_and_only_behind_their_grace() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["-a"], &["c"]]);
    set(
        &log,
        "a",
        &[("compact.keep_versions", "1"), ("compact.tombstone_grace", "1h"), ("compact.target_bytes", "none")],
    );
    let log = reopened(&world, log);
    let report = compact(&log);
    assert_eq!(report.removed(), Removed { versions: 1, ..Removed::default() });
    assert_eq!(there(&log, "a"), ["2:b", "3:-a", "4:c"]);
    world.clock.advance(std::time::Duration::from_secs(3600));
    assert_eq!(compact(&log).removed(), Removed { tombstones: 1, ..Removed::default() });
    assert_eq!(there(&log, "a"), ["2:b", "4:c"]);
    assert!(!has(&log, "a", "a"));
    // What is left of a segment all of whose records went still answers for its sequences.
    assert_eq!(live(&world, "a"), [(1, 2, 1), (3, 3, 1), (4, 4, 0)]);
    check(&log);
    let log = reopened(&world, log);
    assert_eq!(there(&log, "a"), ["2:b", "4:c"]);
    check(&log);
}

#[test]
fn a_collection_all_of_whose_records_went_goes_on_with_its_next_sequence() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["c"]]);
    set(&log, "a", &[("compact.ttl", "1h")]);
    let log = reopened(&world, log);
    world.clock.advance(std::time::Duration::from_secs(3600));
    assert_eq!(compact(&log).removed().expired, 3);
    assert!(there(&log, "a").is_empty());
    assert_eq!(live(&world, "a"), [(1, 3, 1)]);
    check(&log);
    log.close().unwrap();
    drop(log);
    // Also where the catalog is lost.
    let lost = World::with(world.fs.kill_image(), Arc::default());
    let log = lost.open_whole();
    assert_eq!(log.append(&name("a"), NewRecord::payload("x")).unwrap().last.0, 4);
    check(&log);
}

#[test]
fn an_expired_version_does_not_uncover_an_older_one() {
    let world = World::new();
    let log = world.open();
    let put = |key: &str, expires_in: Option<u64>| {
        let now = log.0.clock.now();
        let record = NewRecord::put(key.to_owned(), "x").with_timestamp(now);
        let record = match expires_in {
            Some(seconds) => record.with_expiry(now.saturating_add(std::time::Duration::from_secs(seconds))),
            None => record,
        };
        log.append(&name("a"), record).unwrap();
    };
    put("a", None);
    put("a", Some(60));
    put("b", Some(60));
    put("c", Some(7200));
    log.seal(None).unwrap();
    let log = reopened(&world, log);
    world.clock.advance(std::time::Duration::from_secs(3600));
    assert!(!has(&log, "a", "a") && has(&log, "a", "c"));
    assert_eq!(compact(&log).removed(), Removed { expired: 1, ..Removed::default() });
    assert_eq!(there(&log, "a"), ["1:a", "2:a", "4:c"]);
    assert!(!has(&log, "a", "a"));
    set(&log, "a", &[("compact.keep_versions", "1")]);
    assert_eq!(compact(&log).removed(), Removed { versions: 1, expired: 1, ..Removed::default() });
    assert_eq!(there(&log, "a"), ["4:c"]);
    check(&log);
}

#[test]
fn no_result_is_larger_than_a_segment_may_be() {
    let world = World::new();
    let log = world.open();
    for part in 0..40_u32 {
        let record = NewRecord::put(format!("key-{part}"), vec![7_u8; 3 << 10]);
        log.append(&name("a"), record).unwrap();
        log.seal(None).unwrap();
    }
    set(&log, "a", &[("compact.target_bytes", "1GiB")]);
    let log = reopened(&world, log);
    compact(&log);
    assert_eq!(live(&world, "a").len(), 4, "{:?}", live(&world, "a"));
    for row in world.rows("a").iter().filter(|row| row.status.is_live()) {
        let reader = crate::segment::SegmentReader::open(log.segment_file(row).unwrap()).unwrap();
        assert!(reader.footer().bytes_before <= 32 << 10);
    }
    check(&log);
}

#[test]
fn an_interruption_leaves_what_was_done_and_a_gain_too_small_is_not_worth_it() {
    let world = World::new();
    let log = world.open();
    for collection in ["a", "b"] {
        segments(&log, collection, &[&["a", "b"], &["a"]]);
    }
    let log = reopened(&world, log);
    let mut looks = 0;
    let report = log.compact(&CompactOptions::default(), &mut |_| {
        looks += 1;
        looks < 2
    });
    let report = report.unwrap();
    assert!(report.is_interrupted && !report.is_whole(), "{report:?}");
    assert_eq!((live(&world, "a").len(), live(&world, "b").len()), (1, 2));
    set(&log, "b", &[("compact.keep_versions", "1"), ("compact.target_bytes", "none")]);
    let options = |gain_percent| CompactOptions { gain_percent, ..CompactOptions::default() };
    assert!(log.compact(&options(51), &mut always).unwrap().collections.is_empty());
    assert_eq!(log.compact(&options(50), &mut always).unwrap().removed().versions, 1);
    assert_eq!(
        log.compact(&CompactOptions { collections: vec![name("x")], ..options(0) }, &mut always).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    check(&log);
}

#[test]
fn at_most_so_many_bytes_are_read_and_written_in_a_second() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["c"]]);
    let log = reopened(&world, log);
    let bytes: u64 = world.rows("a").iter().map(|row| row.bytes).sum();
    let begin = crate::clock::Clock::monotonic(&*world.clock);
    let options = CompactOptions { bytes_per_second: Some(10), ..CompactOptions::default() };
    log.compact(&options, &mut always).unwrap();
    let took = crate::clock::Clock::monotonic(&*world.clock) - begin;
    assert_eq!(live(&world, "a").len(), 1);
    assert!(took.as_secs() > 10 && took.as_secs() < bytes, "{took:?}");
}
