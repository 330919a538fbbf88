//! Compaction by itself.

use std::time::Duration;

use super::*;
use crate::log::compact::background::BackgroundCompaction;

fn every(minutes: u64, quiet_hours: Option<&str>) -> BackgroundCompaction {
    BackgroundCompaction {
        interval: Duration::from_secs(minutes * 60),
        bytes_per_second: None,
        quiet_hours: quiet_hours.map(|hours| hours.parse().unwrap()),
    }
}

#[test]
fn it_is_due_an_interval_behind_the_last_one() {
    let world = World::new();
    let log = world.open();
    let minutes = |settings: &BackgroundCompaction, is_first| log.0.compaction_wait(settings, is_first).as_secs() / 60;
    let often = every(30, None);
    assert_eq!((minutes(&often, true), minutes(&often, false)), (30, 30));
    compact(&log);
    assert!(!log.last_compaction().unwrap().unwrap().by_itself);
    world.clock.advance(Duration::from_secs(20 * 60));
    assert_eq!((minutes(&often, true), minutes(&often, false)), (10, 10));
    world.clock.advance(Duration::from_secs(20 * 60));
    assert_eq!((minutes(&often, true), minutes(&often, false)), (1, 0), "what opens a log for a moment is not kept");
    assert_eq!(minutes(&every(600, None), false), 60, "it looks at the clock again");
    world.clock.set(Timestamp(0));
    assert_eq!(minutes(&often, false), 30, "set back: no longer than the interval");
    // Forty minutes past midnight, long behind the last one.
    world.clock.set(Timestamp(40_000 * 86_400_000_000 + 40 * 60_000_000));
    assert_eq!(minutes(&often, false), 0);
    assert_eq!(minutes(&every(30, Some("00:50-06:00")), false), 10);
    assert_eq!(minutes(&every(30, Some("22:00-00:30")), false), 60);
}

#[test]
fn by_itself_it_does_what_is_worth_it_and_notes_what_it_did() {
    let world = World::new();
    let log = world.open();
    let many: Vec<String> = (0..19).map(|at| format!("k{at}")).collect();
    let mut keys: Vec<&str> = many.iter().map(String::as_str).collect();
    keys.push("k0");
    segments(&log, "a", &[&keys]);
    segments(&log, "b", &[&["k", "k"]]);
    for collection in ["a", "b"] {
        set(&log, collection, &[("compact.keep_versions", "1"), ("compact.target_bytes", "none")]);
    }
    let log = reopened(&world, log);
    let settings = every(30, None);
    Arc::clone(&log.0).compact_by_itself(&settings);
    let last = log.last_compaction().unwrap().unwrap();
    assert_eq!((last.by_itself, last.versions, last.segments_before), (true, 1, 1));
    assert_eq!((live(&world, "a")[0].2, live(&world, "b")[0].2), (0, 1), "one of twenty is not worth it");
    assert!(last.stopped.is_empty(), "{last:?}");
    assert_eq!(compact(&log).removed().versions, 1, "by hand it is");
    check(&log);
}

#[test]
fn outside_its_hours_and_without_anybody_else_it_does_nothing() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"]]);
    let log = reopened(&world, log);
    let minute = (log.0.clock.now().0 / 60_000_000).rem_euclid(24 * 60);
    let hours = |from: i64, until: i64| {
        let shown = |minute: i64| format!("{:02}:{:02}", (minute / 60) % 24, minute % 60);
        format!("{}-{}", shown(minute + from), shown(minute + until))
    };
    let later = hours(120, 180);
    Arc::clone(&log.0).compact_by_itself(&every(30, Some(&later)));
    assert_eq!(live(&world, "a").len(), 2);
    assert_eq!(log.last_compaction().unwrap().unwrap().stopped, ["it was interrupted"]);
    let now = hours(0, 180);
    Arc::clone(&log.0).compact_by_itself(&every(30, Some(&now)));
    assert_eq!(live(&world, "a").len(), 1);
    segments(&log, "a", &[&["c"], &["d"]]);
    let log = reopened(&world, log);
    // The last handle is gone: the log closes, it is not kept open for this.
    log.0.compact_by_itself(&every(30, None));
    assert_eq!(live(&world, "a").len(), 3);
    world.open_whole();
}

/// What was looked at once, and cannot be due yet, is not read again.
#[test]
fn a_second_look_reads_nothing() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["c", "-b"]]);
    let policy = [("compact.keep_versions", "3"), ("compact.target_bytes", "none"), ("compact.tombstone_grace", "1h")];
    set(&log, "a", &policy);
    let log = reopened(&world, log);
    let options = CompactOptions { bytes_per_second: Some(1), ..CompactOptions::default() };
    let took = || {
        let begin = crate::clock::Clock::monotonic(&*world.clock);
        assert!(log.compact(&options, &mut always).unwrap().collections.is_empty());
        (crate::clock::Clock::monotonic(&*world.clock) - begin).as_secs()
    };
    assert!(took() > 10);
    // Time passed by that, and the tombstone's is not over.
    world.clock.set(Timestamp(log.0.clock.now().0 - 30_000_000));
    assert_eq!(took(), 0);
    world.clock.advance(Duration::from_secs(7200));
    assert!(compact(&log).removed().total() > 0);
}
