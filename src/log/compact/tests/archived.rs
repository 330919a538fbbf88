//! With an archive beside it.

use super::*;
use crate::catalog::Mutation;
use crate::log::tier::EvictOptions;

#[test]
fn what_is_archived_stays_and_still_tells_of_versions() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"]]);
    world.archive(&log);
    segments(&log, "a", &[&["a", "-b"], &["c"]]);
    set(&log, "a", &[("compact.keep_versions", "1"), ("compact.tombstone_grace", "1s")]);
    let log = reopened(&world, log);
    world.clock.advance(std::time::Duration::from_secs(60));
    let report = compact(&log);
    assert_eq!(report.collections[0].left_alone[0].reason, "its status is not sealed: status=`archived`");
    // The tombstone hides what the archive has.
    assert_eq!(there(&log, "a"), ["1:a", "2:b", "3:a", "4:-b", "5:c"]);
    assert_eq!(live(&world, "a"), [(1, 2, 0), (3, 5, 1)]);
    check(&log);
    // Away, its filter is not here to be asked, or is and says that it may.
    log.evict(&EvictOptions::default(), &mut |_| true).unwrap();
    let log = reopened(&world, log);
    compact(&log);
    assert_eq!(there(&log, "a").len(), 5);
    assert!(!has(&log, "a", "b"));
    check(&log);
}

#[test]
fn a_compacted_segment_is_archived_evicted_and_read_like_any_other() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["a", "c"], &["d"]]);
    set(&log, "a", &[("compact.keep_versions", "1")]);
    let log = reopened(&world, log);
    compact(&log);
    let before = there(&log, "a");
    world.archive(&log);
    log.evict(&EvictOptions::default(), &mut |_| true).unwrap();
    assert_eq!(world.files_of("a").len(), 1, "a stub: {:?}", world.files_of("a"));
    assert_eq!(there(&log, "a"), before);
    let log = reopened(&world, log);
    assert_eq!(there(&log, "a"), before);
    assert_eq!(log.append(&name("a"), NewRecord::payload("x")).unwrap().last.0, 6);
    check(&log);
}

/// Of nothing that it holds, the newest: its stub keeps the end, and is none of a deletion.
#[test]
fn a_segment_of_which_nothing_is_left_is_archived_too() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["c"]]);
    set(&log, "a", &[("compact.ttl", "1s")]);
    let log = reopened(&world, log);
    world.clock.advance(std::time::Duration::from_secs(60));
    compact(&log);
    assert_eq!(live(&world, "a"), [(1, 3, 1)]);
    world.archive(&log);
    log.evict(&EvictOptions::default(), &mut |_| true).unwrap();
    assert_eq!(world.files_of("a").len(), 1);
    let log = reopened(&world, log);
    assert!(there(&log, "a").is_empty());
    assert_eq!(log.append(&name("a"), NewRecord::payload("x")).unwrap().last.0, 4);
    log.seal(None).unwrap();
    world.archive(&log);
    log.evict(&EvictOptions::default(), &mut |_| true).unwrap();
    assert_eq!(world.files_of("a").len(), 1, "one stub is enough: {:?}", world.files_of("a"));
    check(&log);
}

/// The archiver was killed between manifest and row: its object may count already.
#[test]
fn what_the_archiver_may_have_sent_stays() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"], &["c"]]);
    let log = reopened(&world, log);
    let first = serde_json::to_string(&[serde_json::json!({ "segment": world.rows("a")[0].key, "id": "x" })]).unwrap();
    log.change(&[Mutation::SetMeta { name: ATTEMPTS.into(), value: first }], "test").unwrap();
    let report = compact(&log);
    assert_eq!(report.collections[0].left_alone[0].reason, "it is being archived");
    assert_eq!(live(&world, "a"), [(1, 1, 0), (2, 3, 1)]);
    let broken = Mutation::SetMeta { name: ATTEMPTS.into(), value: "{".into() };
    log.change(&[broken], "test").unwrap();
    assert_eq!(log.compact(&CompactOptions::default(), &mut always).unwrap_err().kind(), ErrorKind::Corrupt);
}
