//! Decisions and plans against a naive model.
#![allow(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::types::{Sequence, Timestamp};

#[derive(Clone, Debug)]
struct One {
    key: Option<u8>,
    is_delete: bool,
    time: i64,
    expires: Option<i64>,
}

impl One {
    fn put(key: u8) -> Self {
        Self { key: Some(key), is_delete: false, time: 0, expires: None }
    }

    fn delete(key: u8) -> Self {
        Self { is_delete: true, ..Self::put(key) }
    }

    fn expired(key: u8) -> Self {
        Self { expires: Some(1), ..Self::put(key) }
    }

    fn seen<'a>(&self, key: &'a Option<[u8; 1]>) -> Seen<'a> {
        Seen {
            key: key.as_ref().map(|key| &key[..]),
            is_delete: self.is_delete,
            timestamp: Timestamp(self.time),
            expires_at: self.expires.map(Timestamp),
        }
    }
}

fn bytes(one: &One) -> Option<[u8; 1]> {
    one.key.map(|key| [key])
}

/// What of `group` goes, with `older` and `newer` around it.
fn fates(moment: Moment, older: &[One], group: &[One], newer: &[One], parts: u64) -> Vec<Fate> {
    let mut fates = vec![None; group.len()];
    for number in 0..parts {
        let mut versions = Versions::new(moment, Part { number, of: parts }, usize::MAX);
        group.iter().for_each(|one| versions.note(&one.seen(&bytes(one))).unwrap());
        newer.iter().for_each(|one| versions.note_newer(&one.seen(&bytes(one))));
        older.iter().filter_map(bytes).for_each(|key| versions.note_older(&key));
        versions.begin();
        for (one, fate) in group.iter().zip(&mut fates) {
            if let Some(decided) = versions.decide(&one.seen(&bytes(one)), false) {
                assert_eq!(fate.replace(decided), None, "each record is of one part");
            }
        }
    }
    fates.into_iter().map(|fate| fate.expect("each record is of a part")).collect()
}

fn moment(keep: Option<u64>, ttl: Option<u64>, grace: Option<u64>, now: i64) -> Moment {
    let span = |micros: Option<u64>| micros.map(Duration::from_micros);
    let policy =
        CompactionPolicy { keep_versions: keep, ttl: span(ttl), tombstone_grace: span(grace), target_bytes: 0 };
    Moment { policy, now: Some(Timestamp(now)) }
}

fn gone(fates: &[Fate]) -> Vec<Option<Reason>> {
    fates
        .iter()
        .map(|fate| match fate {
            Fate::Stays => None,
            Fate::Goes(reason) => Some(*reason),
        })
        .collect()
}

use Reason::{Expired, Tombstone, Version};

#[test]
fn versions_beyond_the_limit_go_wherever_the_newer_ones_are() {
    let all = moment(None, None, None, 10);
    let group = [One::put(1), One::put(1), One::put(2), One::put(1)];
    assert_eq!(gone(&fates(all, &[], &group, &group, 1)), [None; 4]);
    let two = moment(Some(2), None, None, 10);
    assert_eq!(gone(&fates(two, &[], &group, &[], 1)), [Some(Version), None, None, None]);
    assert_eq!(gone(&fates(two, &[], &group, &[One::put(1)], 1)), [Some(Version), Some(Version), None, None]);
    let keyless = One { key: None, ..One::put(0) };
    let one = moment(Some(1), None, None, 10);
    assert_eq!(gone(&fates(one, &[], &[keyless.clone(), keyless.clone()], &[keyless], 1)), [None; 2]);
}

#[test]
fn a_tombstone_goes_behind_its_grace_where_nothing_older_can_be() {
    let early = moment(Some(1), None, Some(100), 99);
    let group = [One::put(1), One::delete(1)];
    assert_eq!(gone(&fates(early, &[], &group, &[], 1)), [Some(Version), None]);
    let late = moment(Some(1), None, Some(100), 100);
    assert_eq!(gone(&fates(late, &[], &group, &[], 1)), [Some(Version), Some(Tombstone)]);
    assert_eq!(gone(&fates(late, &[One::put(1)], &group, &[], 1)), [Some(Version), None]);
    let all = moment(None, None, Some(100), 100);
    assert_eq!(gone(&fates(all, &[], &group, &[], 1)), [None, None], "its history stays, and so does its end");
    assert_eq!(gone(&fates(all, &[], &[One::delete(1)], &[], 1)), [Some(Tombstone)]);
    let two = moment(Some(2), None, Some(100), 100);
    assert_eq!(gone(&fates(two, &[], &group, &[], 1)), [Some(Version), Some(Tombstone)]);
    assert_eq!(gone(&fates(two, &[], &[One::put(1)], &[One::delete(1)], 1)), [Some(Version)]);
    let never = moment(Some(1), None, None, i64::MAX);
    assert_eq!(gone(&fates(never, &[], &[One::delete(1)], &[], 1)), [None]);
}

#[test]
fn an_expired_record_goes_unless_an_older_one_would_show_through() {
    let all = moment(None, None, None, 10);
    assert_eq!(gone(&fates(all, &[], &[One::expired(1)], &[], 1)), [Some(Expired)]);
    assert_eq!(gone(&fates(all, &[], &[One::put(1), One::expired(1)], &[], 1)), [None, None]);
    assert_eq!(gone(&fates(all, &[One::put(1)], &[One::expired(1)], &[], 1)), [None]);
    let hidden = [One::put(1), One::expired(1), One::put(1)];
    assert_eq!(gone(&fates(all, &[], &hidden, &[], 1)), [None, Some(Expired), None]);
    let one = moment(Some(1), None, None, 10);
    assert_eq!(gone(&fates(one, &[], &[One::put(1), One::expired(1)], &[], 1)), [Some(Version), Some(Expired)]);
    let ttl = moment(None, Some(10), None, 10);
    let keyless = One { key: None, ..One::put(0) };
    assert_eq!(gone(&fates(ttl, &[], &[One::put(1), keyless], &[], 1)), [Some(Expired); 2]);
    let ahead = One { time: i64::MAX - 5, ..One::put(1) };
    assert_eq!(gone(&fates(ttl, &[], &[ahead], &[], 1)), [None], "it never comes");
}

#[test]
fn without_a_clock_nothing_is_expired_and_versions_still_go() {
    let blind = Moment { now: None, ..moment(Some(1), Some(1), Some(1), 0) };
    let group = [One::expired(2), One::put(1), One::put(1), One::delete(3)];
    assert_eq!(gone(&fates(blind, &[], &group, &[], 1)), [None, Some(Version), None, None]);
}

#[test]
fn what_is_fixed_stays_and_counts_as_staying() {
    let one = moment(Some(1), None, None, 10);
    let group = [One::put(1), One::expired(1)];
    let mut versions = Versions::new(one, Part::WHOLE, usize::MAX);
    group.iter().for_each(|one| versions.note(&one.seen(&bytes(one))).unwrap());
    for (is_fixed, wanted) in [(false, [Some(Version), Some(Expired)]), (true, [None, None])] {
        versions.begin();
        let fates: Vec<Fate> = group
            .iter()
            .enumerate()
            .map(|(at, one)| versions.decide(&one.seen(&bytes(one)), is_fixed && at == 0).unwrap())
            .collect();
        assert_eq!(gone(&fates), wanted);
    }
}

#[test]
fn too_many_keys_are_refused_and_parts_have_fewer() {
    let one = moment(Some(1), None, None, 10);
    let count = |part| {
        let mut versions = Versions::new(one, part, 40 * 97);
        (0..=u8::MAX).take_while(|&key| versions.note(&One::put(key).seen(&Some([key]))).is_ok()).count()
    };
    assert_eq!(count(Part::WHOLE), 40);
    let of = 16;
    assert!((0..of).all(|number| count(Part { number, of }) == 256));
    let mut tiny = Versions::new(one, Part::WHOLE, 1);
    assert_eq!(tiny.note(&One::put(1).seen(&Some([1]))), Ok(()), "one key is always let in");
}

fn candidate(first: u64, last: u64, bytes: u64) -> Candidate {
    Candidate { first: Sequence(first), last: Sequence(last), directory: 0, bytes, is_fixed: false }
}

#[test]
fn groups_have_no_hole_and_no_fixed_segment() {
    let mut all: Vec<Candidate> = (0..6).map(|at| candidate(at * 10 + 1, at * 10 + 10, 10)).collect();
    assert_eq!(groups(&all, 100), [0..6]);
    assert_eq!(groups(&all, 30), [0..3, 3..6]);
    assert_eq!(groups(&all, 1), [0..1, 1..2, 2..3, 3..4, 4..5, 5..6]);
    all[2].is_fixed = true;
    all[4].directory = 1;
    assert_eq!(groups(&all, 100), [0..2, 3..4, 4..5, 5..6]);
    all[4].directory = 0;
    all[5].first = Sequence(52);
    assert_eq!(groups(&all, 100), [0..2, 3..5, 5..6]);
    assert!(groups(&[], 1).is_empty());
}

fn judged(bytes: u64, bytes_kept: u64) -> Judged {
    Judged { bytes, bytes_kept, records: bytes, removed: bytes - bytes_kept }
}

#[test]
fn small_neighbours_become_one_and_large_ones_are_left_alone() {
    let whole = |bytes: &[u64]| bytes.iter().map(|&bytes| judged(bytes, bytes)).collect::<Vec<_>>();
    assert_eq!(outputs(&whole(&[10, 10, 10]), 30, 0), [0..3]);
    assert_eq!(outputs(&whole(&[10, 10, 10]), 25, 0), [0..2]);
    assert!(outputs(&whole(&[10, 10, 10]), 0, 0).is_empty());
    assert!(outputs(&whole(&[20, 5]), 30, 0).is_empty(), "the large one is not written again for a small one");
    assert_eq!(outputs(&whole(&[20, 5, 5, 10]), 40, 0), [0..4]);
    assert_eq!(outputs(&whole(&[50, 10, 10]), 30, 0), [1..3]);
    assert!(outputs(&[], 30, 0).is_empty());
    // Of which something goes, is written anew in any case.
    assert_eq!(outputs(&[judged(50, 40), judged(10, 10)], 30, 0), [0..1]);
    assert_eq!(outputs(&[judged(50, 20), judged(5, 5), judged(5, 5)], 30, 0), [0..3]);
    assert_eq!(outputs(&[judged(50, 49), judged(50, 0)], 30, 10), [1..2]);
    assert_eq!(outputs(&[judged(50, 0), judged(50, 0)], 30, 0), [0..2]);
    assert_eq!(outputs(&[judged(50, 0), judged(50, 0)], 0, 0), [0..1, 1..2]);
}

fn record() -> impl Strategy<Value = One> {
    (proptest::option::weighted(0.9, 0_u8..4), any::<bool>(), 0_i64..40, proptest::option::of(0_i64..40))
        .prop_map(|(key, is_delete, time, expires)| One { key, is_delete: is_delete && key.is_some(), time, expires })
}

/// What `get` finds of a key.
fn visible(records: &[(usize, One)], key: u8, now: i64) -> Option<usize> {
    let (at, newest) = records.iter().rev().find(|(_, one)| one.key == Some(key))?;
    (!newest.is_delete && newest.expires.is_none_or(|at| at > now)).then_some(*at)
}

proptest! {
    /// Whatever goes, every key has the answer that it had; the newest versions stay; parts change nothing.
    #[test]
    fn no_answer_changes(
        older in proptest::collection::vec(record(), 0..6),
        group in proptest::collection::vec(record(), 0..12),
        newer in proptest::collection::vec(record(), 0..6),
        keep in proptest::option::of(1_u64..4),
        grace in proptest::option::of(0_u64..40),
        now in 0_i64..50,
        parts in 1_u64..5,
    ) {
        let moment = moment(keep, None, grace, now);
        let fates = fates(moment, &older, &group, &newer, parts);
        prop_assert_eq!(&fates, &self::fates(moment, &older, &group, &newer, 1));
        let before: Vec<(usize, One)> = older.iter().chain(&group).chain(&newer).cloned().enumerate().collect();
        let inside = older.len()..older.len() + group.len();
        let stays = |at: usize| !inside.contains(&at) || fates[at - older.len()] == Fate::Stays;
        let after: Vec<(usize, One)> = before.iter().filter(|(at, _)| stays(*at)).cloned().collect();
        for time in [now, now + 1, 100] {
            for key in 0..4 {
                let (was, is) = (visible(&before, key, time), visible(&after, key, time));
                prop_assert_eq!(was, is, "key {} at {}", key, time);
            }
        }
        for (at, one) in before.iter().filter(|(at, _)| !stays(*at)) {
            let newer_ones = before.iter().filter(|(other, newer)| other > at && newer.key == one.key).count() as u64;
            match fates[at - older.len()] {
                Fate::Goes(Version) => prop_assert!(keep.is_some_and(|keep| newer_ones >= keep || grace.is_some())),
                Fate::Goes(Expired) => prop_assert!(one.expires.is_some_and(|at| at <= now)),
                Fate::Goes(Tombstone) => {
                    prop_assert!(one.is_delete);
                    prop_assert!(one.key.is_none() || !after.iter().any(|(other, older)| other < at && older.key == one.key));
                }
                Fate::Stays => unreachable!(),
            }
        }
    }
}
