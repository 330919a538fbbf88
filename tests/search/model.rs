//! Any history, against a plain list.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put { key: u8, vector: Vec<i8>, expires_in: Option<u8>, even: bool },
    Plain { key: Option<u8> },
    Delete { key: u8 },
    Flush,
    Seal,
    Compact { first: usize },
    Clear,
    Clock { by: i8 },
    Forget,
    Search { vector: Vec<i8>, k: usize, metric: usize, filtered: bool },
    Get { key: u8 },
}

fn vector() -> impl Strategy<Value = Vec<i8>> {
    prop_oneof![8 => prop::collection::vec(-3_i8..4, 3), 1 => prop::collection::vec(-3_i8..4, 2)]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0_u8..8;
    prop_oneof![
        10 => (key(), vector(), prop::option::weighted(0.3, 0_u8..6), any::<bool>())
            .prop_map(|(key, vector, expires_in, even)| Step::Put { key, vector, expires_in, even }),
        1 => prop::option::of(key()).prop_map(|key| Step::Plain { key }),
        3 => key().prop_map(|key| Step::Delete { key }),
        3 => Just(Step::Flush),
        1 => Just(Step::Seal),
        2 => (0_usize..4).prop_map(|first| Step::Compact { first }),
        1 => Just(Step::Clear),
        2 => (-3_i8..5).prop_map(|by| Step::Clock { by }),
        1 => Just(Step::Forget),
        6 => (vector(), 1_usize..6, 0_usize..3, any::<bool>())
            .prop_map(|(vector, k, metric, filtered)| Step::Search { vector, k, metric, filtered }),
        2 => key().prop_map(|key| Step::Get { key }),
    ]
}

fn floats(vector: &[i8]) -> Vec<f32> {
    vector.iter().map(|value| f32::from(*value)).collect()
}

/// What a plain look at every record finds.
fn naive(records: &[Record], query: &Query, now: Timestamp) -> Vec<(u64, f64)> {
    let is_newest = |at: usize| {
        let key = &records[at].key;
        key.is_none() || records[at + 1..].iter().all(|later| later.key != *key)
    };
    let mut found = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let Some(Ok(vector)) = VectorRecord::of_record(record) else { continue };
        if !is_newest(at) || record.is_expired(now) || vector.vector.len() != query.vector.len() {
            continue;
        }
        if !query.filter.is_empty() && vector.metadata != "{\"even\": true}" {
            continue;
        }
        // Whole numbers: all sums are exact.
        let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let score = match query.metric {
            Metric::Dot => dot(&query.vector, &vector.vector),
            Metric::L2 => {
                let by: Vec<f32> = query.vector.iter().zip(&vector.vector).map(|(a, b)| a - b).collect();
                -dot(&by, &by).sqrt()
            }
            // The one that rounds: by the same steps.
            Metric::Cosine => {
                let unit = kernel::normalised(&query.vector).unwrap();
                let cosine = kernel::dot(&unit, &vector.vector) / kernel::norm(&vector.vector);
                let naive = dot(&query.vector, &vector.vector)
                    / (dot(&query.vector, &query.vector) * dot(&vector.vector, &vector.vector)).sqrt();
                assert!(cosine.is_nan() || (cosine - naive).abs() < 1e-6);
                cosine
            }
        };
        if !score.is_nan() {
            found.push((record.sequence.0, score));
        }
    }
    found.sort_by(|one, two| two.1.partial_cmp(&one.1).unwrap().then(one.0.cmp(&two.0)));
    found.truncate(query.k);
    if query.metric == Metric::L2 {
        found.iter_mut().for_each(|(_, score)| *score = -*score);
    }
    if query.metric == Metric::Cosine {
        found.iter_mut().for_each(|(_, score)| *score = score.clamp(-1.0, 1.0));
    }
    found
}

fn run(steps: Vec<Step>, options: SearchOptions, group_rows: usize) {
    let world = World::new(options, group_rows);
    world.append(NewRecord::payload("the first one makes the collection"));
    // Compaction may only remove for good what stays expired: the clock is not set back behind it.
    let mut compacted_at = NOW;
    let mut records = all(&world);
    for step in steps {
        match step {
            Step::Put { key, vector, expires_in, even } => {
                let metadata = format!("{{\"even\": {even}}}");
                let record = VectorRecord::new(format!("key-{key}"), floats(&vector)).with_metadata(metadata);
                let record = record.into_new_record().unwrap();
                let at = |span: u8| Timestamp(world.clock.now().0 + i64::from(span));
                world.append(NewRecord { expires_at: expires_in.map(at), ..record });
            }
            Step::Plain { key: Some(key) } => drop(world.append(NewRecord::put(format!("key-{key}"), "plain"))),
            Step::Plain { key: None } => drop(world.append(NewRecord::payload("plain"))),
            Step::Delete { key } => drop(world.append(NewRecord::delete(format!("key-{key}")))),
            Step::Flush => world.flush(),
            Step::Seal => drop(world.log.seal(None).unwrap()),
            Step::Compact { first } => {
                compacted_at = world.clock.now();
                world.store.compact(first, compacted_at);
            }
            Step::Clear => world.store.clear(),
            Step::Clock { by } => {
                let to = Timestamp(world.clock.now().0 + i64::from(by)).max(compacted_at);
                world.clock.set(to);
            }
            Step::Forget => world.search.forget(&world.collection),
            Step::Search { vector, k, metric, filtered } => {
                let mut query = Query::new(floats(&vector), k).by(Metric::ALL[metric]);
                if filtered {
                    query = query.filtered("even", "true");
                }
                if query.metric == Metric::Cosine && vector.iter().all(|value| *value == 0) {
                    continue;
                }
                records = all(&world);
                let wanted = naive(&records, &query, world.clock.now());
                match world.search.nearest(&world.collection, &query) {
                    Ok(answer) => {
                        let found: Vec<_> = answer.hits.iter().map(|hit| (hit.sequence.0, hit.score)).collect();
                        assert_eq!(found, wanted, "{query:?}");
                        assert_eq!(answer.through.0, records.last().unwrap().sequence.0);
                        for hit in answer.hits {
                            let record = &records[usize::try_from(hit.sequence.0).unwrap() - 1];
                            assert_eq!(record.key.as_deref(), Some(hit.id.as_bytes()));
                        }
                    }
                    Err(error) => {
                        assert_eq!((error.kind(), wanted.len()), (ErrorKind::Invalid, 0), "{error}");
                    }
                }
            }
            Step::Get { key } => {
                let key = format!("key-{key}");
                let wanted = world.log.get(&world.collection, key.as_bytes(), world.clock.now()).unwrap();
                assert_eq!(world.search.get(&world.collection, key.as_bytes()).unwrap(), wanted);
            }
        }
    }
    drop(records);
}

fn all(world: &World) -> Vec<Record> {
    world.log.read(&world.collection, ReadOptions::default()).unwrap().map(std::result::Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_a_plain_look(
        steps in prop::collection::vec(step(), 1..60),
        group_rows in 1_usize..5,
        keeps in any::<bool>(),
        threads in 1_usize..3,
    ) {
        let bytes = if keeps { 1 << 20 } else { 0 };
        run(steps, SearchOptions { cache_bytes: bytes, tail_bytes: bytes, threads }, group_rows);
    }
}
