//! One thing at a time.

use super::*;

fn small() -> World {
    World::new(SearchOptions::default(), 2)
}

#[test]
fn is_found_at_once_after_append_flush_compaction_and_reopening() {
    let world = small();
    let query = Query::new([1.0, 0.0], 2);
    world.put("a", &[1.0, 0.1]);
    assert_eq!(world.found(&query), [("a".to_owned(), 1)]);
    world.put("b", &[1.0, 0.0]);
    let both = [("b".to_owned(), 2), ("a".to_owned(), 1)];
    assert_eq!(world.found(&query), both);
    world.log.seal(None).unwrap();
    assert_eq!(world.found(&query), both, "sealed");
    world.store.deliver(&world.log, &world.collection);
    assert_eq!(world.found(&query), both, "in a file");
    world.put("c", &[2.0, 0.0]);
    let three = [("b".to_owned(), 2), ("c".to_owned(), 3)];
    assert_eq!(world.found(&query), three, "equally near: the older first");
    world.flush();
    world.store.compact(0, NOW);
    assert_eq!(world.found(&query), three);
    world.put("d", &[0.0, 1.0]);
    // Without closing: as after a kill.
    drop(world.search);
    let log = world.log;
    log.close().unwrap();
    let log = Log::open(world.options).unwrap();
    let search = Search::open(log, world.store, world.clock, SearchOptions::default());
    let again = search.nearest(&world.collection, &Query::new([1.0, 0.0], 4)).unwrap();
    assert_eq!(again.hits.iter().map(|hit| hit.sequence.0).collect::<Vec<_>>(), [2, 3, 1, 4]);
    assert_eq!((again.through, again.statistics.tail_rows), (Sequence(4), 1));
}

/// Symptom: a deleted key was found. Cause: its row was in memory; compaction had removed it from the log, and the tombstone with it, before a search
/// read the tombstone.
#[test]
fn what_compaction_removed_before_it_was_seen_to_be_deleted_is_not_found() {
    let world = small();
    let query = Query::new([1.0, 0.0], 2);
    world.put("kept", &[1.0, 0.0]);
    world.put("deleted", &[1.0, 0.1]);
    assert_eq!(world.found(&query).len(), 2);
    world.append(NewRecord::delete("deleted"));
    // The journal is full, and released, once everything in it is sealed.
    let filler = CollectionName::new("filler").unwrap();
    for _ in 0..20 {
        world.log.append(&filler, NewRecord::payload(vec![0; 30_000])).unwrap();
    }
    world.log.seal(None).unwrap();
    world.log.maintain().unwrap();
    let policy = [("compact.keep_versions", "1"), ("compact.tombstone_grace", "1s")];
    world
        .log
        .set_collection_settings(&world.collection, |own| {
            policy.iter().for_each(|(key, value)| own.set(key, value).unwrap());
        })
        .unwrap();
    world.clock.advance(std::time::Duration::from_secs(60));
    let report = world.log.compact(&icecore::log::compact::CompactOptions::default(), &mut |_| true).unwrap();
    assert_eq!(report.removed().total(), 2, "{report:?}");
    assert_eq!(world.found(&query), [("kept".to_owned(), 1)]);
    assert_eq!(world.search.get(&world.collection, b"deleted").unwrap(), None);
    assert_eq!(world.anew(SearchOptions::default()).nearest(&world.collection, &query).unwrap().hits.len(), 1);
}

#[test]
fn scores_are_what_the_metric_says() {
    let world = small();
    for (id, vector) in [("a", [3.0, 4.0]), ("b", [-3.0, -4.0]), ("zero", [0.0, 0.0])] {
        world.append(VectorRecord::new(id, vector).with_metadata("{\"of\":1}").into_new_record().unwrap());
    }
    for flushed in [false, true] {
        if flushed {
            world.flush();
        }
        let scores = |metric| {
            let answer = world.search(&Query::new([6.0, 8.0], 10).by(metric));
            let hits = answer.hits.iter().map(|hit| (hit.id.clone(), hit.score)).collect::<Vec<_>>();
            assert!(answer.hits.iter().all(|hit| hit.metadata == "{\"of\":1}"));
            (hits, answer.statistics.without_score)
        };
        let (cosine, without) = scores(Metric::Cosine);
        assert_eq!(without, 1, "a vector of norm 0 has no angle");
        assert_eq!(cosine.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!((cosine[0].1 - 1.0).abs() < 1e-6 && (cosine[1].1 + 1.0).abs() < 1e-6, "{cosine:?}");
        let named = |all: &[(&str, f64)]| all.iter().map(|(id, score)| ((*id).to_owned(), *score)).collect::<Vec<_>>();
        assert_eq!(scores(Metric::Dot), (named(&[("a", 50.0), ("zero", 0.0), ("b", -50.0)]), 0));
        assert_eq!(scores(Metric::L2), (named(&[("a", 5.0), ("zero", 10.0), ("b", 15.0)]), 0));
    }
}

#[test]
fn the_newest_version_hides_older_ones_whatever_it_is() {
    let world = small();
    let everything = Query::new([1.0, 1.0], 100).by(Metric::Dot);
    for id in ["put", "deleted", "expired", "plain", "long", "kept"] {
        world.put(id, &[1.0, 1.0]);
    }
    let newer = |id: &str, vector: &[f32]| VectorRecord::new(id, vector).into_new_record().unwrap();
    for flush_between in [true, false] {
        if flush_between {
            world.flush();
        }
        world.put("put", &[2.0, 2.0]);
        world.append(NewRecord::delete("deleted"));
        world.append(newer("expired", &[3.0, 3.0]).with_expiry(Timestamp(NOW.0 + 10)));
        world.append(NewRecord::put("plain", "no vector any more"));
        world.put("long", &[1.0, 1.0, 1.0]);
        world.clock.set(NOW);
        let shown = |world: &World| world.found(&everything).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(shown(&world), ["expired", "put", "kept"]);
        world.clock.set(Timestamp(NOW.0 + 10));
        for _ in 0..2 {
            assert_eq!(shown(&world), ["put", "kept"]);
            // In files, versions that do not count are among them.
            assert!(world.search(&everything).statistics.other_dimensions >= 1);
            for id in ["put", "deleted", "expired", "plain", "long", "kept", "never"] {
                let now = Timestamp(NOW.0 + 10);
                let wanted = world.log.get(&world.collection, id.as_bytes(), now).unwrap();
                assert_eq!(world.search.get(&world.collection, id.as_bytes()).unwrap(), wanted, "{id}");
            }
            world.flush();
        }
        // The clock set back.
        world.clock.set(NOW);
        assert_eq!(shown(&world), ["expired", "put", "kept"]);
        world.clock.set(Timestamp(NOW.0 + 10));
        world.store.compact(0, Timestamp(NOW.0 + 10));
        assert_eq!(shown(&world), ["put", "kept"]);
    }
}

#[test]
fn a_key_that_was_compacted_away_may_come_back() {
    let world = small();
    let query = Query::new([1.0], 10);
    world.put("a", &[1.0]);
    world.flush();
    world.append(NewRecord::delete("a"));
    assert_eq!(world.found(&query), []);
    world.flush();
    world.store.compact(0, NOW);
    assert_eq!(world.found(&query), []);
    world.put("a", &[2.0]);
    assert_eq!(world.found(&query), [("a".to_owned(), 3)]);
    world.flush();
    assert_eq!(world.found(&query), [("a".to_owned(), 3)]);
}

#[test]
fn a_store_that_was_cleared_is_no_loss() {
    let world = small();
    let query = Query::new([1.0], 10);
    for id in ["a", "b", "a"] {
        world.put(id, &[1.0]);
    }
    world.flush();
    assert_eq!(world.found(&query), [("b".to_owned(), 2), ("a".to_owned(), 3)]);
    world.store.clear();
    assert_eq!(world.found(&query), [("b".to_owned(), 2), ("a".to_owned(), 3)]);
    world.store.deliver(&world.log, &world.collection);
    assert_eq!(world.found(&query), [("b".to_owned(), 2), ("a".to_owned(), 3)]);
}

#[test]
fn filters_narrow_before_the_best_are_chosen() {
    let world = small();
    for number in 0..20_u8 {
        let metadata = format!("{{\"even\":{},\"n\":{{\"of\":\"{}\"}}}}", number % 2 == 0, number % 3);
        let vector = VectorRecord::new(format!("{number:02}"), [f32::from(number)]).with_metadata(metadata);
        world.append(vector.into_new_record().unwrap());
    }
    let query = Query::new([1.0], 3).by(Metric::Dot).filtered("even", "true").filtered("n.of", "1");
    let wanted = [("16".to_owned(), 17), ("10".to_owned(), 11), ("04".to_owned(), 5)];
    assert_eq!(world.found(&query), wanted);
    world.flush();
    assert_eq!(world.found(&query), wanted);
    assert_eq!(world.found(&query.filtered("even", "false")), []);
}

#[test]
fn queries_that_cannot_be_answered_are_refused_by_name() {
    let world = small();
    world.put("a", &[1.0, 2.0]);
    for flushed in [false, true] {
        if flushed {
            world.flush();
        }
        assert_eq!(
            world.refused(&Query::new([1.0], 1)),
            "a query's vector has other dimensions than the vectors of the collection: collection=`docs`, dimensions=`1`"
        );
    }
    assert_eq!(
        world.refused(&Query::new([1.0, 1.0], 0)),
        "as many neighbours cannot be searched for: k=`0`, limit=`10000`"
    );
    assert!(world.refused(&Query::new([1.0, 1.0], 10_001)).contains("k=`10001`"));
    assert_eq!(
        world.refused(&Query::new([1.0, f32::NAN], 1)),
        "a query's vector has a number that is not finite as f32: at=`1`, value=`NaN`"
    );
    assert!(world.refused(&Query::new([f32::INFINITY, 1.0], 1).by(Metric::L2)).contains("value=`inf`"));
    assert!(world.refused(&Query::new([], 1)).contains("dimensions=`0`"));
    assert_eq!(world.refused(&Query::new([0.0, -0.0], 1)), "a query's vector has norm 0, and no angle to any other");
    assert_eq!(world.found(&Query::new([0.0, 0.0], 1).by(Metric::L2)), [("a".to_owned(), 1)]);
    let unknown = CollectionName::new("unknown").unwrap();
    let error = world.search.nearest(&unknown, &Query::new([1.0], 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(world.search.get(&unknown, b"a").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn files_that_go_while_they_are_read_are_no_error_and_damage_is() {
    let world = small();
    let query = Query::new([1.0], 10);
    for id in ["a", "b", "c"] {
        world.put(id, &[1.0]);
    }
    world.flush();
    for _ in 0..4 {
        world.store.told.loses_next.store(true, Ordering::SeqCst);
        assert_eq!(world.found(&query).len(), 3);
        world.search.forget(&world.collection);
    }
    world.store.told.is_damaged.store(true, Ordering::SeqCst);
    assert_eq!(world.search.nearest(&world.collection, &query).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(world.search.get(&world.collection, b"a").unwrap_err().kind(), ErrorKind::Corrupt);
    world.store.told.is_damaged.store(false, Ordering::SeqCst);
    assert_eq!(world.found(&query).len(), 3);
}

#[test]
fn memory_stays_below_its_limits_on_four_times_the_data() {
    const DIMENSIONS: usize = 64;
    const ROWS: usize = 64;
    let group = ROWS * (DIMENSIONS * 4 + 12);
    // The index, two that read, and eight groups.
    let (index, read) = (2048 * 70, 3000);
    let options = SearchOptions { cache_bytes: index + 2 * read + 8 * group, tail_bytes: 6 * group, threads: 2 };
    let world = World::new(options.clone(), ROWS);
    world.store.told.reading_bytes.store(read, Ordering::SeqCst);
    let vector = |number: usize| (0..DIMENSIONS).map(|at| ((number * 31 + at * 7) % 23) as f32).collect::<Vec<_>>();
    let query = Query::new(vector(5), 10).by(Metric::L2);
    for number in 0..32 * ROWS {
        world.put(&format!("{number}"), &vector(number));
        if number % 512 == 511 {
            let answer = world.search(&query);
            assert_eq!(answer.statistics.vectors_compared as usize, number + 1);
            let memory = world.search.memory();
            assert!(memory.tail_bytes as usize <= options.tail_bytes, "{memory:?}");
        }
    }
    // What did not fit was read from the log.
    let unbounded = world.anew(SearchOptions::default());
    let wanted = unbounded.nearest(&world.collection, &query).unwrap().hits;
    assert_eq!(world.search(&query).hits, wanted);
    world.flush();
    for _ in 0..3 {
        let answer = world.search(&query.clone().filtered("absent", "1"));
        assert_eq!(answer.hits, []);
        assert_eq!(world.search(&query).hits, wanted);
        let memory = world.search.memory();
        assert_eq!((memory.tail_bytes, memory.reading_bytes), (0, 0));
        assert!(memory.peak_bytes as usize <= options.cache_bytes, "{memory:?}, {options:?}");
    }
    let cached = world.search(&query).statistics.groups_cached;
    assert!((4..=10).contains(&cached), "what fits is kept: {cached}");
    let reads = world.store.told.vector_reads.load(Ordering::SeqCst);
    unbounded.nearest(&world.collection, &query).unwrap();
    unbounded.nearest(&world.collection, &query).unwrap();
    assert_eq!(world.store.told.vector_reads.load(Ordering::SeqCst) - reads, 32, "the second time nothing is read");
    // Per row: 8 bytes, and a key in the map; per row group, what it is beside its rows.
    let memory = unbounded.memory();
    assert!((37 * 2048..=70 * 2048).contains(&(memory.index_bytes as usize)), "{memory:?}");
    unbounded.forget(&world.collection);
    let left = Memory { peak_bytes: unbounded.memory().peak_bytes, ..Memory::default() };
    assert_eq!(unbounded.memory(), left);
}

#[test]
fn a_row_group_that_does_not_fit_is_read_all_the_same() {
    let world = World::new(SearchOptions { cache_bytes: 0, tail_bytes: 0, threads: 4 }, 2);
    world.store.told.reading_bytes.store(1 << 30, Ordering::SeqCst);
    for number in 1..=20_u8 {
        world.put(&number.to_string(), &[f32::from(number)]);
    }
    world.flush();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let query = Query::new([1.0], 100).by(Metric::Dot).filtered("absent", "1");
                assert_eq!(world.found(&query), []);
                assert_eq!(world.found(&Query::new([1.0], 100)).len(), 20, "more are wanted than there are");
            });
        }
    });
    let memory = world.search.memory();
    // A group and its labels, and never two at a time.
    assert!((1 << 30..3 << 30).contains(&memory.peak_bytes), "{memory:?}");
    assert_eq!(memory.reading_bytes, 0);
}

#[test]
fn what_is_below_the_floor_is_not_found() {
    let world = small();
    for id in ["a", "b", "c"] {
        world.put(id, &[1.0]);
    }
    world.flush();
    assert_eq!(world.found(&Query::new([1.0], 10)).len(), 3);
    world.log.delete_collection(&world.collection).unwrap();
    let error = world.search.nearest(&world.collection, &Query::new([1.0], 10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world.put("d", &[1.0]);
    let found = world.found(&Query::new([1.0], 10));
    assert_eq!(found, [("d".to_owned(), 4)], "the store has the others still");
    assert_eq!(world.search.get(&world.collection, b"a").unwrap(), None);
}
