//! Appends, flushes, compaction and searches at once.

use std::sync::atomic::AtomicBool;

use icecore::log::compact::CompactOptions;

use super::*;

const KEYS: u64 = 40;

/// Every key is always there: it is put anew, never deleted, with a number that rises with each put. So an answer that shows one moment has
/// every key once, with a number that is at least the one acknowledged before the search began.
fn race(options: SearchOptions, searchers: usize) {
    let world = World::new(options, 16);
    let acknowledged: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let is_over = AtomicBool::new(false);
    let removed = AtomicU64::new(0);
    let put = |round: u64, key: u64| {
        world.put(&format!("key-{key}"), &[round as f32, key as f32]);
        acknowledged[usize::try_from(key).unwrap()].store(round, Ordering::SeqCst);
    };
    (0..KEYS).for_each(|key| put(0, key));
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| {
            let mut turns = 0_usize;
            while !is_over.load(Ordering::SeqCst) {
                world.flush();
                if turns % 3 == 2 {
                    world.store.compact(turns % 2, NOW);
                }
                // Old versions go from the log too, under searches that read it.
                let compacted = world.log.compact(&CompactOptions::default(), &mut |_| true).unwrap();
                removed.fetch_add(compacted.removed().versions, Ordering::SeqCst);
                turns += 1;
            }
            turns
        });
        let searching: Vec<_> = (0..searchers)
            .map(|_| {
                scope.spawn(|| {
                    let mut searches = 0;
                    while !is_over.load(Ordering::SeqCst) || searches == 0 {
                        let before: Vec<u64> = acknowledged.iter().map(|at| at.load(Ordering::SeqCst)).collect();
                        let query = Query::new([1.0, 0.0], K_MAX).by(Metric::Dot);
                        let answer = world.search.nearest(&world.collection, &query).unwrap();
                        let mut keys: Vec<&str> = answer.hits.iter().map(|hit| hit.id.as_str()).collect();
                        keys.sort_unstable();
                        keys.dedup();
                        assert_eq!((keys.len(), answer.hits.len()), (40, 40), "each key once");
                        for hit in &answer.hits {
                            assert!(hit.sequence <= answer.through);
                            let key: usize = hit.id.strip_prefix("key-").unwrap().parse().unwrap();
                            assert!(hit.score >= before[key] as f64, "{hit:?} is older than what was acknowledged");
                        }
                        let found = world.search.get(&world.collection, b"key-7").unwrap().unwrap();
                        let found = VectorRecord::of_record(&found).unwrap().unwrap();
                        assert!(f64::from(found.vector[0]) >= before[7] as f64);
                        searches += 1;
                    }
                    searches
                })
            })
            .collect();
        for round in 1..60 {
            (0..KEYS).for_each(|key| put(round, key * 7 % KEYS));
        }
        is_over.store(true, Ordering::SeqCst);
        assert!(flusher.join().unwrap() > 0);
        for searcher in searching {
            assert!(searcher.join().unwrap() > 0);
        }
    });
    world.flush();
    let last = world.log.compact(&CompactOptions::default(), &mut |_| true).unwrap().removed().versions;
    assert!(removed.load(Ordering::SeqCst) + last > 0, "nothing was compacted in the log");
    let memory = world.search.memory();
    assert_eq!(memory.reading_bytes, 0, "{memory:?}");
}

#[test]
fn an_answer_shows_one_moment_while_everything_moves() {
    race(SearchOptions { threads: 1, ..SearchOptions::default() }, 2);
}

#[test]
fn also_where_nothing_stays_in_memory() {
    race(SearchOptions { cache_bytes: 0, tail_bytes: 0, threads: 2 }, 2);
}
