//! Any options over any mixture of places, against a plain list.

use proptest::prelude::*;

use super::*;
use crate::log::AppendOptions;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<i64>),
    Seal,
    Cool,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec(0..100_i64, 1..12).prop_map(Step::Append),
        1 => Just(Step::Seal),
        1 => Just(Step::Cool),
        1 => Just(Step::Reopen),
    ]
}

fn options() -> impl Strategy<Value = ReadOptions> {
    let sequence = || proptest::option::of((0..60_u64).prop_map(Sequence));
    let time = || proptest::option::of((0..100_i64).prop_map(Timestamp));
    (sequence(), sequence(), time(), time(), proptest::option::of(0..30_u64), any::<bool>()).prop_map(
        |(from, until, from_time, until_time, limit, reverse)| ReadOptions {
            from,
            until,
            from_time,
            until_time,
            limit,
            reverse,
            ..ReadOptions::default()
        },
    )
}

/// What the options mean, on a list of (sequence, time).
fn expected(model: &[(u64, i64)], options: &ReadOptions) -> Vec<u64> {
    let wanted = |(sequence, time): &&(u64, i64)| {
        options.from.is_none_or(|from| *sequence >= from.0)
            && options.until.is_none_or(|until| *sequence <= until.0)
            && options.from_time.is_none_or(|from| *time >= from.0)
            && options.until_time.is_none_or(|until| *time <= until.0)
    };
    let mut found: Vec<u64> = model.iter().filter(wanted).map(|(sequence, _)| *sequence).collect();
    if options.reverse {
        found.reverse();
    }
    found.truncate(options.limit.unwrap_or(u64::MAX) as usize);
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn reads_are_as_of_a_list(
        steps in proptest::collection::vec(step(), 1..14),
        reads in proptest::collection::vec(options(), 8),
    ) {
        let place = Place::new();
        let mut log = place.open();
        let a = name("a");
        let mut model: Vec<(u64, i64)> = Vec::new();
        for step in steps {
            match step {
                Step::Append(times) => {
                    let next = model.len() as u64 + 1;
                    let records: Vec<NewRecord> = (next..)
                        .zip(&times)
                        .map(|(sequence, &time)| numbered(sequence).with_timestamp(Timestamp(time)))
                        .collect();
                    log.append_batch(&a, &records, AppendOptions::default()).unwrap();
                    model.extend((next..).zip(times));
                }
                Step::Seal => drop(log.seal(None).unwrap()),
                Step::Cool => drop(log.0.cool(0, &log.0.all_collections()).unwrap()),
                Step::Reopen => {
                    log.close().unwrap();
                    log = place.open();
                }
            }
        }
        if model.is_empty() {
            return Ok(());
        }
        let beside = Log::open_read_only(place.options()).unwrap();
        for options in reads {
            let expected = expected(&model, &options);
            prop_assert_eq!(read(&log, &a, options), expected.clone(), "{:?}", options);
            prop_assert_eq!(read(&beside, &a, options), expected, "beside: {:?}", options);
        }
        let first_at_50 = model.iter().find(|(_, time)| *time >= 50).map(|(sequence, _)| Sequence(*sequence));
        prop_assert_eq!(log.position_of_time(&a, Timestamp(50)).unwrap(), first_at_50);
        let info = log.collection_info(&a).unwrap();
        prop_assert_eq!(info.records, model.len() as u64);
        prop_assert_eq!(info.last_sequence, Some(Sequence(model.len() as u64)));
        prop_assert_eq!(log.collections().unwrap(), vec![info]);
    }
}
