//! The clock set back, or years ahead (S3).

use std::time::Duration;

use super::*;

const YEARS: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

fn expired() -> (World, Log) {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "-b"], &["c", "a"]]);
    set(&log, "a", &[("compact.ttl", "1d"), ("compact.tombstone_grace", "1d"), ("compact.keep_versions", "1")]);
    let log = reopened(&world, log);
    (world, log)
}

#[test]
fn with_a_clock_that_is_behind_nothing_expires_and_it_is_said() {
    let (world, log) = expired();
    world.clock.set(Timestamp(log.0.clock.now().0 - 120_000_000));
    let report = compact(&log);
    assert!(report.clock.as_ref().unwrap().contains("behind the log's newest change") && !report.is_whole());
    assert_eq!((report.removed().versions, report.removed().total()), (1, 1), "what no clock decides goes on");
    assert_eq!(there(&log, "a"), ["2:-b", "3:c", "4:a"]);
    check(&log);
}

#[test]
fn with_a_clock_years_ahead_nothing_expires_not_even_behind_a_merge() {
    let (world, log) = expired();
    let now = log.0.clock.now();
    world.clock.set(now.saturating_add(YEARS));
    for _ in 0..3 {
        let report = compact(&log);
        assert!(report.clock.as_ref().unwrap().contains("far ahead"), "{report:?}");
        assert_eq!((report.removed().expired, report.removed().tombstones), (0, 0));
    }
    assert_eq!(there(&log, "a"), ["2:-b", "3:c", "4:a"]);
    // The years did pass.
    let trusting = CompactOptions { trust_clock: true, ..CompactOptions::default() };
    let report = log.compact(&trusting, &mut always).unwrap();
    assert_eq!((report.clock, there(&log, "a").len()), (None, 0));
    check(&log);
    // Said once, it is believed from then on.
    assert_eq!(compact(&log).clock, None);
    let log = reopened(&world, log);
    assert_eq!(compact(&log).clock, None);
}

/// Symptom: one record, appended and sealed under a wrong clock in any collection, and everything expired. Cause: the newest segment's time was
/// what the clock was compared with.
#[test]
fn what_is_sealed_under_a_wrong_clock_does_not_vouch_for_it() {
    let (world, log) = expired();
    let good = log.0.clock.now();
    world.clock.set(good.saturating_add(YEARS));
    segments(&log, "b", &[&["x"], &["y"]]);
    let refused = |log: &Log| {
        let report = compact(log);
        assert!(report.clock.as_ref().unwrap().contains("far ahead"), "{report:?}");
        assert_eq!((report.removed().expired, report.removed().tombstones), (0, 0));
        assert_eq!(there(log, "a"), ["2:-b", "3:c", "4:a"]);
    };
    refused(&log);
    // Opened anew, by itself, and looked at from beside.
    let log = reopened(&world, log);
    segments(&log, "b", &[&["z"]]);
    refused(&log);
    let settings =
        BackgroundCompaction { interval: Duration::from_secs(60), bytes_per_second: None, quiet_hours: None };
    Arc::clone(&log.0).compact_by_itself(&settings);
    let last = log.last_compaction().unwrap().unwrap();
    assert!(last.by_itself && last.stopped.iter().any(|why| why.contains("far ahead")), "{last:?}");
    assert_eq!(there(&log, "a"), ["2:-b", "3:c", "4:a"]);
    let beside = Log::open_read_only(world.options()).unwrap();
    assert!(beside.clock_problem(log.0.clock.now(), false).unwrap().is_some());
    // Retention goes by the same.
    let plan = crate::archive::retention::plan(&log, log.0.clock.now(), &Default::default()).unwrap();
    assert!(plan.refused.unwrap().contains("far ahead"));
    check(&log);
    // Set right, and a day later: what is due goes.
    world.clock.set(good);
    segments(&log, "c", &[&["x"]]);
    world.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(compact(&log).clock, None);
    assert_eq!(there(&log, "a").len(), 0);
}

#[test]
fn time_that_passes_while_the_log_is_open_is_believed_and_so_is_the_next_opening() {
    let (world, log) = expired();
    world.clock.advance(YEARS);
    log.maintain().unwrap();
    let log = reopened(&world, log);
    assert_eq!(compact(&log).clock, None);
    assert_eq!(there(&log, "a").len(), 0);
}

#[test]
fn with_a_good_clock_things_expire() {
    let (world, log) = expired();
    world.clock.advance(Duration::from_secs(24 * 3600));
    let report = compact(&log);
    assert_eq!((report.clock.clone(), there(&log, "a").len()), (None, 0), "{report:?}");
    assert_eq!(report.removed().total(), 4);
    check(&log);
}
