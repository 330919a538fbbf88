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
