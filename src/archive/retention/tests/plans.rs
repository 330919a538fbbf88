//! What would go, and what stops it.

use super::*;
use crate::ReadOptions;
use crate::catalog::{CursorRow, Mutation};
use crate::types::Epoch;

/// How many segments would go, and what stops more.
fn goes(log: &Log, world: &World) -> (usize, String) {
    let plan = planned(log, world);
    assert_eq!(plan.refused, None);
    let Some(of) = plan.collections.first() else { return (0, String::new()) };
    assert_eq!(of.new_floor.0, of.segments.len() as u64 * 100 + 1);
    (of.segments.len(), of.stopped.as_ref().map(|stop| stop.reason.clone()).unwrap_or_default())
}

#[test]
fn limits_choose_the_oldest_and_whole_segments_only() {
    let world = World::new();
    let (log, _targets) = archived(&world);
    let none = String::new;
    assert_eq!(goes(&log, &world), (0, none()), "nothing goes where nothing is set");
    // 520 records: behind the third segment there are 220, behind the second 320.
    for (records, segments) in [(1, 5), (20, 5), (21, 4), (220, 3), (221, 2), (420, 1), (421, 0), (1000, 0)] {
        keep(&log, "retention.records", &records.to_string());
        assert_eq!(goes(&log, &world), (segments, none()), "{records}");
    }
    keep(&log, "retention.records", "");
    let rows = world.rows("a");
    let info = log.collection_info(&name("a")).unwrap();
    let behind: u64 = rows[2..].iter().map(|row| row.bytes).sum::<u64>() + info.unsealed_bytes;
    for (bytes, segments) in [(behind, 2), (behind + 1, 1), (u64::MAX, 0)] {
        keep(&log, "retention.bytes", &bytes.to_string());
        assert_eq!(goes(&log, &world), (segments, none()), "{bytes}");
    }
    keep(&log, "retention.bytes", "");
    // The records' times are from 1 to 500 seconds of 1970; the fourth segment ends at 400.
    let age = |second: u64| format!("{}us", now(&world).0 as u64 - second * 1_000_000);
    for (second, segments) in [(400, 3), (401, 4), (10_000, 5), (100, 0)] {
        keep(&log, "retention.age", &age(second));
        assert_eq!(goes(&log, &world), (segments, none()), "{second}");
    }
    let plan = planned(&log, &world);
    assert_eq!((plan.segments(), plan.bytes()), (0, 0));
    keep(&log, "retention.age", "none");
    drop(log);
    // What the log has counts where a collection has nothing of its own.
    let limit = Some(crate::log::Keep::UpTo(221));
    let mut options = world.options();
    options.retention.records = limit;
    options.retention.age = Some(crate::log::Keep::UpTo(DAY));
    let log = Log::open(options).unwrap();
    assert_eq!(goes(&log, &world), (2, none()));
}

#[test]
fn what_must_stay_stops_everything_behind_it() {
    let world = World::new();
    let (log, _targets) = archived(&world);
    keep(&log, "retention.records", "1");
    for (from, until, segments) in
        [(Some(250), None, 2), (Some(301), Some(301), 3), (None, Some(1), 0), (None, None, 0)]
    {
        log.set_hold(&name("a"), hold(from, until)).unwrap();
        let (goes, why) = goes(&log, &world);
        assert_eq!((goes, why.contains("hold=`case 7`")), (segments, true), "{from:?} {until:?} {why}");
    }
    log.clear_hold(&name("a"), "case 7", "judge").unwrap();
    let from = ReadOptions { from: Some(Sequence(350)), ..ReadOptions::default() };
    let mut reader = log.read(&name("a"), from).unwrap();
    reader.next().unwrap().unwrap();
    assert_eq!(goes(&log, &world), (3, "somebody reads it: readers=`1`".to_owned()));
    drop(reader);
    let cursor = CursorRow { collection: name("a"), sink: "store".into(), epoch: Epoch(1), sequence: Sequence(250) };
    log.change(&[Mutation::SetCursor(cursor)], "test").unwrap();
    assert_eq!(goes(&log, &world), (2, "a sink does not have it yet: sink=`store`, cursor=`250`".to_owned()));
}

/// Symptom: a sink that subscribed and had got nothing yet did not stop a purge, and one that a collection had left stopped it for ever. Cause: whatever
/// cursor was on record counted, and nothing else. Fix: who subscribes counts, as for eviction and compaction.
#[test]
fn who_subscribes_counts_and_who_left_does_not() {
    let world = World::new();
    let (log, _targets) = archived(&world);
    keep(&log, "retention.records", "1");
    log.set_collection_settings(&name("a"), |settings| settings.sinks = Some(vec!["store".into()])).unwrap();
    assert_eq!(goes(&log, &world), (0, "a sink does not have it yet: sink=`store`, cursor=`0`".to_owned()));
    let cursor = |sink: &str, sequence| CursorRow {
        collection: name("a"),
        sink: sink.into(),
        epoch: Epoch(1),
        sequence: Sequence(sequence),
    };
    log.change(&[Mutation::SetCursor(cursor("store", 500)), Mutation::SetCursor(cursor("left", 150))], "test").unwrap();
    assert_eq!(goes(&log, &world), (5, String::new()));
    log.set_collection_settings(&name("a"), |settings| settings.sinks = Some(vec!["left".into()])).unwrap();
    assert_eq!(goes(&log, &world), (1, "a sink does not have it yet: sink=`left`, cursor=`150`".to_owned()));
}

#[test]
fn what_is_not_archived_or_still_in_a_journal_stays() {
    let world = World::new();
    let (log, _targets) = archived(&world);
    keep(&log, "retention.records", "1");
    log.seal(None).unwrap();
    append(&log, "a", 521..=521);
    assert_eq!(goes(&log, &world), (5, "it is not archived yet: status=`sealed`".to_owned()));
    let local = PlanOptions { local_only: true, ..PlanOptions::default() };
    let stop = |options: &PlanOptions| plan(&log, now(&world), options).unwrap().collections.remove(0).stopped.unwrap();
    assert_eq!(stop(&local).reason, "a journal still has it: from sequence=`501`");
    world.archive(&log);
    assert_eq!(stop(&PlanOptions::default()).reason, "a journal still has it: from sequence=`501`");
    log.change(
        &[Mutation::PutCollection {
            name: name("a"),
            settings: r#"{"retention.records":1,"retention.days":7}"#.into(),
        }],
        "a newer program",
    )
    .unwrap();
    assert!(goes(&log, &world).1.contains("retention.days"));
}

#[test]
fn a_wrong_clock_lets_nothing_go() {
    let world = World::new();
    let (log, mut targets) = archived(&world);
    keep(&log, "retention.records", "1");
    let right = planned(&log, &world);
    let begin = now(&world);
    for (at, why) in [
        (Timestamp(begin.0 - 120_000_000), "the clock is behind the log's newest change"),
        (begin.saturating_add(DAY * 400), "the clock is far ahead of the time that the log believes"),
    ] {
        let refused = plan(&log, at, &PlanOptions::default()).unwrap().refused.unwrap();
        assert!(refused.starts_with(why), "{refused}");
        let error = apply(&log, &right, &mut targets, at, &ApplyOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    assert_eq!(world.rows("a").iter().filter(|row| row.status == SegmentStatus::Archived).count(), 5);
    let trusting = PlanOptions { trust_clock: true, ..PlanOptions::default() };
    assert_eq!(plan(&log, begin.saturating_add(DAY * 400), &trusting).unwrap().refused, None);
    assert_eq!(plan(&log, Timestamp(begin.0 - 1_000_000), &PlanOptions::default()).unwrap().refused, None);
}
