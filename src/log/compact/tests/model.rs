//! Everything in any order, against a plain list.

use proptest::prelude::*;

use super::*;
use crate::AppendOptions;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(Option<u8>, bool, Option<u8>)>),
    Seal,
    Reopen,
    Kill,
    Pass(u8),
    Policy(Option<u8>, Option<u8>, Option<u8>, bool),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    let record = (proptest::option::weighted(0.9, 0_u8..5), any::<bool>(), proptest::option::weighted(0.3, 1_u8..30));
    let policy =
        (proptest::option::of(1_u8..4), proptest::option::of(1_u8..40), proptest::option::of(1_u8..20), any::<bool>());
    prop_oneof![
        4 => proptest::collection::vec(record, 1..6).prop_map(Step::Append),
        3 => Just(Step::Seal),
        2 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => (1_u8..20).prop_map(Step::Pass),
        2 => policy.prop_map(|(keep, ttl, grace, merge)| Step::Policy(keep, ttl, grace, merge)),
        3 => Just(Step::Compact),
    ]
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq)]
struct One {
    sequence: u64,
    key: Option<u8>,
    is_delete: bool,
    time: i64,
    expires: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Policy {
    keep: Option<u64>,
    ttl: Option<i64>,
    grace: Option<i64>,
}

fn seconds(count: u8) -> i64 {
    i64::from(count) * 1_000_000
}

/// Whether a record is one that the policy lets go, as the documentation says it: whoever of these is still there is allowed to be.
fn may_go(all: &[One], one: &One, policy: Policy, now: i64) -> bool {
    let of_key = |other: &&One| other.key.is_some() && other.key == one.key;
    let newer = all.iter().filter(of_key).filter(|other| other.sequence > one.sequence);
    let is_over = |time: i64, span: Option<i64>| span.is_some_and(|span| time + span <= now);
    let beyond = policy.keep.is_some_and(|keep| {
        newer.clone().count() as u64 >= keep
            || newer.clone().any(|newer| newer.is_delete && is_over(newer.time, policy.grace))
    });
    if one.is_delete {
        return beyond || is_over(one.time, policy.grace);
    }
    beyond || one.expires.is_some_and(|at| at <= now) || is_over(one.time, policy.ttl)
}

fn visible(all: &[One], key: u8, now: i64) -> Option<u64> {
    let newest = all.iter().rev().find(|one| one.key == Some(key))?;
    (!newest.is_delete && newest.expires.is_none_or(|at| at > now)).then_some(newest.sequence)
}

fn append(log: &Log, model: &mut Vec<One>, records: &[(Option<u8>, bool, Option<u8>)]) {
    let now = log.0.clock.now();
    let mut batch = Vec::new();
    for (key, is_delete, expires) in records {
        let is_delete = *is_delete && key.is_some();
        let mut record = match key {
            Some(key) if is_delete => NewRecord::delete(vec![*key]),
            Some(key) => NewRecord::put(vec![*key], "value"),
            None => NewRecord::payload("value"),
        };
        record = record.with_timestamp(now);
        let expires = expires.map(|span| now.0 + seconds(span));
        if let Some(at) = expires {
            record = record.with_expiry(Timestamp(at));
        }
        batch.push(record);
        let sequence = model.last().map_or(0, |last| last.sequence) + 1;
        model.push(One { sequence, key: *key, is_delete, time: now.0, expires });
    }
    let receipt = log.append_batch(&name("a"), &batch, AppendOptions::default()).unwrap();
    assert_eq!(receipt.last.0, model.last().unwrap().sequence);
}

fn found(log: &Log) -> Vec<One> {
    log.read(&name("a"), ReadOptions::default())
        .map(|reader| {
            reader
                .map(|record| {
                    let record = record.unwrap();
                    One {
                        sequence: record.sequence.0,
                        key: record.key.map(|key| key[0]),
                        is_delete: record.kind == RecordKind::Delete,
                        time: record.timestamp.0,
                        expires: record.expires_at.map(|at| at.0),
                    }
                })
                .collect()
        })
        .unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// All that was ever appended; what is there is of it, in order, unchanged; what went was allowed to go; every key has the answer that it
    /// had before; and, when everything is sealed and released, what the policy lets go is gone.
    #[test]
    fn nothing_goes_but_what_the_policy_lets_go(steps in proptest::collection::vec(step(), 1..24)) {
        let mut world = World::new();
        let mut log = world.open();
        let (mut model, mut there, mut policy) = (Vec::new(), Vec::new(), Policy::default());
        append(&log, &mut model, &[(Some(0), false, None)]);
        there.extend(model.clone());
        for step in steps.into_iter().chain([Step::Seal, Step::Reopen, Step::Compact]) {
            match step {
                Step::Append(records) => {
                    let from = model.len();
                    append(&log, &mut model, &records);
                    there.extend_from_slice(&model[from..]);
                }
                Step::Seal => drop(log.seal(None).unwrap()),
                Step::Reopen => log = reopened(&world, log),
                Step::Kill => {
                    drop(log);
                    world = world.after_kill();
                    log = world.open_whole();
                }
                Step::Pass(span) => world.clock.advance(std::time::Duration::from_secs(span.into())),
                Step::Policy(keep, ttl, grace, merge) => {
                    policy = Policy { keep: keep.map(u64::from), ttl: ttl.map(seconds), grace: grace.map(seconds) };
                    let text = |value: Option<u8>, unit: &str| value.map_or_else(String::new, |value| format!("{value}{unit}"));
                    let target = if merge { "1MiB" } else { "none" };
                    set(&log, "a", &[
                        ("compact.keep_versions", &text(keep, "")),
                        ("compact.ttl", &text(ttl, "s")),
                        ("compact.tombstone_grace", &text(grace, "s")),
                        ("compact.target_bytes", target),
                    ]);
                }
                Step::Compact => {
                    let report = compact(&log);
                    let now = log.0.clock.now().0;
                    let after = found(&log);
                    let gone: Vec<&One> = there.iter().filter(|one| !after.contains(one)).collect();
                    prop_assert_eq!(gone.len() as u64, report.removed().total());
                    for one in gone {
                        prop_assert!(may_go(&there, one, policy, now), "{:?} by {:?} at {}", one, policy, now);
                    }
                    for time in [now, now + seconds(5), now + seconds(100)] {
                        for key in 0..5 {
                            // What the time to live made go is no answer any more.
                            let is = visible(&after, key, time);
                            let was = visible(&there, key, time);
                            let expired = was.is_some_and(|was| {
                                let one = there.iter().find(|one| one.sequence == was).unwrap();
                                policy.ttl.is_some_and(|ttl| one.time + ttl <= now)
                            });
                            prop_assert!(is == was || (expired && is.is_none()), "key {}: {:?}, was {:?}", key, is, was);
                        }
                    }
                    let key_of = |key: u8| log.get(&name("a"), &[key], Timestamp(now)).unwrap().map(|record| record.sequence.0);
                    for key in 0..5 {
                        prop_assert_eq!(key_of(key), visible(&after, key, now));
                    }
                    there = after;
                }
            }
            prop_assert_eq!(&found(&log), &there);
            check(&log);
        }
        // Everything was sealed and no journal has it: what can be told from the rest is as the policy says.
        let now = log.0.clock.now().0;
        for one in &there {
            let hides = there.iter().any(|older| older.key == one.key && older.sequence < one.sequence);
            let newest = !there.iter().any(|newer| newer.key == one.key && newer.sequence > one.sequence);
            let must_go = may_go(&there, one, policy, now) && !(one.key.is_some() && hides && (one.is_delete || newest));
            prop_assert!(!must_go, "{:?} is still there by {:?} at {}: {:?}", one, policy, now, there);
        }
    }
}
