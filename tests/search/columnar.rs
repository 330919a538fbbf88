//! The columnar store itself: what is found in its files is what is found in the log alone.

use icecore::clock::SystemClock;
use icecore::objects::LocalObjectStore;
use icecore::search::source::Nothing;
use icecore::sink::{Batch, Sink as _};
use icecore::store::{ColumnarStore, Home, StoreOptions};

use super::*;

/// A store in the world's folder, as a process that opens it finds it.
fn open(world: &World, read_only: bool) -> Arc<ColumnarStore> {
    let fs = Arc::new(icecore::fs::OsFileSystem::new());
    let objects = LocalObjectStore::create(fs, world.folder.path().join("store")).unwrap();
    let options = StoreOptions { merge_files: 0, read_only, ..StoreOptions::default() };
    let home = Arc::new(Home::new(Arc::new(objects)));
    Arc::new(ColumnarStore::new(world.log.id(), home, Arc::new(SystemClock::new()), options))
}

fn deliver(world: &World, store: &ColumnarStore) {
    let after = store.cursor(&world.collection).unwrap().map_or(Sequence(0), |cursor| cursor.sequence);
    world.log.seal(None).unwrap();
    let options = ReadOptions { from: Some(after.next()), durable: true, ..ReadOptions::default() };
    let records: Vec<Record> =
        world.log.read(&world.collection, options).unwrap().map(std::result::Result::unwrap).collect();
    let Some(last) = records.last() else { return };
    let (epoch, through) = (world.log.epoch(), last.sequence);
    store.apply(&Batch { collection: &world.collection, epoch, after, records: &records, through }).unwrap();
}

fn append_any(world: &World, random: &mut fastrand::Rng) {
    let id = format!("key-{}", random.u32(..300));
    match random.u32(..20) {
        0 => drop(world.append(NewRecord::delete(id))),
        1 => drop(world.append(NewRecord::put(id, "no vector"))),
        2 => drop(world.append(NewRecord::payload("without a key"))),
        kind => {
            let dimensions = if kind == 3 { 5 } else { 8 };
            let vector: Vec<f32> = (0..dimensions).map(|_| random.f32() - 0.5).collect();
            let metadata = format!("{{\"lang\": \"{}\"}}", if random.bool() { "en" } else { "de" });
            let record = VectorRecord::new(id, vector).with_metadata(metadata).into_new_record().unwrap();
            let expires_at = (kind == 4).then(|| Timestamp(NOW.0 + random.i64(-5..5)));
            world.append(NewRecord { expires_at, ..record });
        }
    }
}

fn compare(world: &World, searches: &[(&str, &Search)], random: &mut fastrand::Rng) {
    for dimensions in [8, 5] {
        let vector: Vec<f32> = (0..dimensions).map(|_| random.f32() - 0.5).collect();
        let mut query = Query::new(vector, random.usize(1..40)).by(Metric::ALL[random.usize(..3)]);
        if random.bool() {
            query = query.filtered("lang", "en");
        }
        let plain = Search::open(world.log.clone(), Arc::new(Nothing), world.clock.clone(), SearchOptions::default());
        let wanted = plain.nearest(&world.collection, &query).unwrap();
        assert!(!wanted.hits.is_empty());
        for (which, search) in searches {
            let found = search.nearest(&world.collection, &query).unwrap();
            assert_eq!(found.hits, wanted.hits, "{which} {query:?}");
            assert_eq!(found.through, wanted.through, "{which}");
        }
    }
    for (which, search) in searches {
        for key in (0..20).map(|_| format!("key-{}", random.u32(..300))) {
            let wanted = world.log.get(&world.collection, key.as_bytes(), world.clock.now()).unwrap();
            assert_eq!(search.get(&world.collection, key.as_bytes()).unwrap(), wanted, "{which} {key}");
        }
    }
}

#[test]
fn files_log_and_both_together_give_one_answer() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new(SearchOptions::default(), 1);
    let store = open(&world, false);
    let options = || SearchOptions { cache_bytes: 64 << 10, threads: 2, ..SearchOptions::default() };
    let beside = Search::open(world.log.clone(), store.clone(), world.clock.clone(), options());
    for round in 0..12 {
        for _ in 0..200 {
            append_any(&world, &mut random);
        }
        compare(&world, &[("tail", &beside)], &mut random);
        deliver(&world, &store);
        if round % 4 == 3 {
            store.merge(&world.collection).unwrap();
        }
        let other = Search::open(world.log.clone(), open(&world, true), world.clock.clone(), options());
        compare(&world, &[("flushed", &beside), ("opened anew", &other)], &mut random);
        assert!(beside.memory().cache_bytes <= 64 << 10);
        world.clock.set(Timestamp(world.clock.now().0 + i64::from(round % 2)));
    }
}

#[test]
fn a_file_that_another_process_merged_is_no_error() {
    let mut random = fastrand::Rng::with_seed(7);
    let world = World::new(SearchOptions::default(), 1);
    let writer = open(&world, false);
    let reader = open(&world, true);
    // Nothing stays in memory: every search reads files.
    let options = SearchOptions { cache_bytes: 0, ..SearchOptions::default() };
    let search = Search::open(world.log.clone(), reader, world.clock.clone(), options);
    for _ in 0..4 {
        for _ in 0..60 {
            append_any(&world, &mut random);
        }
        deliver(&world, &writer);
        compare(&world, &[("reader", &search)], &mut random);
    }
    writer.merge(&world.collection).unwrap();
    compare(&world, &[("reader", &search)], &mut random);
}
