//! Everything in any order, against the policy on a plain list.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(Option<u8>, bool, i64, Option<i64>)>),
    Compact { keep: Option<u64>, ttl: Option<u64>, grace: Option<u64>, is_believed: bool },
    Pass(i64),
    Merge,
    Floor(u64),
    Restart,
    Hold,
}

fn step() -> impl Strategy<Value = Step> {
    // Times may run backwards.
    let record = (
        proptest::option::weighted(0.9, 0_u8..5),
        any::<bool>(),
        -5..5_i64,
        proptest::option::weighted(0.3, -3..30_i64),
    );
    let option = || proptest::option::of(0..20_u64);
    let compact = (proptest::option::of(1..4_u64), option(), option(), proptest::bool::weighted(0.9));
    prop_oneof![
        5 => vec(record, 0..7).prop_map(Step::Apply),
        4 => compact.prop_map(|(keep, ttl, grace, is_believed)| Step::Compact { keep, ttl, grace, is_believed }),
        2 => (1..20_i64).prop_map(Step::Pass),
        1 => Just(Step::Merge),
        1 => (1..40_u64).prop_map(Step::Floor),
        1 => Just(Step::Restart),
        1 => Just(Step::Hold),
    ]
}

/// What a look-up finds at a time.
fn visible(ones: &[One], key: u8, now: i64) -> Option<u64> {
    let newest = ones.iter().rev().find(|one| one.key == Some(key))?;
    (!newest.is_delete && newest.expires.is_none_or(|at| at > now)).then_some(newest.sequence)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_there_is_what_the_policy_leaves_of_the_list(
        steps in vec(step(), 1..40), file_bytes in 4_000..40_000_u64, merge_files in 0..3_usize,
    ) {
        let objects = memory();
        let options = StoreOptions { merge_files, file_bytes, footer_bytes: 20_000, ..StoreOptions::default() };
        let mut store = open_with(&objects, options.clone());
        let (mut model, mut next, mut floor, mut now) = (Vec::<One>::new(), 1_u64, 1_u64, 1000_i64);
        let mut held: Option<(View, Vec<One>)> = None;
        for step in steps {
            match step {
                Step::Apply(records) => {
                    let ones: Vec<One> = records.into_iter().map(|(key, is_delete, time, expires)| {
                        next += 1;
                        let (sequence, time, expires) = (next - 1, now + time, expires.map(|span| now + span));
                        One { sequence, key, is_delete: is_delete && key.is_some(), time, expires }
                    }).collect();
                    if !ones.is_empty() {
                        apply_ones(&store, &ones);
                    }
                    model.extend(ones.into_iter().filter(|one| one.sequence >= floor));
                }
                Step::Compact { keep, ttl, grace, is_believed } => {
                    let moment = Moment { policy: policy(keep, ttl, grace), now: is_believed.then(|| at(now)) };
                    let freed = compact(&store, moment);
                    let (left, found) = (left_of(&model, &moment), there(&store));
                    prop_assert_eq!(&freed.failed, &None);
                    prop_assert_eq!(freed.removed.total() as usize, model.len() - found.len());
                    prop_assert!(left.iter().all(|one| found.contains(one)), "{:?} of {:?}", found, left);
                    for one in found.iter().filter(|one| !left.contains(one)) {
                        // Without a limit on versions nobody looks for newer ones in other groups: what is expired then stays where something
                        // older does, which it hides.
                        let older = found.iter().any(|older| older.key == one.key && older.sequence < one.sequence);
                        prop_assert!(keep.is_none() && one.key.is_some() && older, "{:?} is still there", one);
                    }
                    let left = found;
                    prop_assert!(freed.files_left == 0 || held.is_some());
                    for key in 0..5 {
                        let (is, was) = (visible(&left, key, now), visible(&model, key, now));
                        let is_ttl_over = || model.iter().any(|one| {
                            Some(one.sequence) == was && ttl.is_some_and(|ttl| one.time + ttl.cast_signed() <= now)
                        });
                        prop_assert!(is == was || (is.is_none() && is_ttl_over()), "key {}: {:?}, was {:?}", key, is, was);
                    }
                    model = left;
                }
                Step::Pass(span) => now += span,
                Step::Merge => drop(store.merge(&orders()).unwrap()),
                Step::Floor(to) => {
                    store.raise_floor(&orders(), Sequence(to)).unwrap();
                    if next > 1 {
                        floor = floor.max(to);
                        model.retain(|one| one.sequence >= floor);
                    }
                }
                Step::Restart => {
                    held = None;
                    store = open_with(&objects, options.clone());
                }
                Step::Hold => held = store.view(&orders()).unwrap().map(|view| (view, model.clone())),
            }
            prop_assert_eq!(there(&store), model.clone());
            prop_assert_eq!(cursor(&store).unwrap_or(0), next - 1);
            if let Some((view, had)) = &held {
                let found = view.read(Sequence(0)).map(|record| record.map(|record| One::of(&record)));
                prop_assert_eq!(&found.collect::<Result<Vec<_>>>().unwrap(), had);
            }
            prop_assert!(store.footers_held().0 <= 20_000);
        }
        held.take();
        assert_tidy(&objects, &store);
        prop_assert_eq!(there(&open(&objects)), model);
    }
}
