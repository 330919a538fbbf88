//! What cannot be seen from outside: two keys of one hash, by a hash under which keys collide; and indexes that do not fit.

use std::sync::Arc;

use super::source::Nothing;
use super::*;
use crate::catalog::MemoryCatalog;
use crate::clock::FakeClock;
use crate::log::LogOptions;
use crate::types::NewRecord;
use crate::vector::VectorRecord;

struct World {
    _folder: tempfile::TempDir,
    log: Log,
    search: Search,
    collection: CollectionName,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::at(Timestamp(1_000_000)));
        let mut options = LogOptions::new([folder.path().join("data")]);
        options.clock = clock.clone();
        options.catalog = Some(Arc::new(MemoryCatalog::default()));
        options.background = false;
        let log = Log::open(options).unwrap();
        let search = Search::open(log.clone(), Arc::new(Nothing), clock, SearchOptions::default());
        Self { _folder: folder, log, search, collection: CollectionName::new("docs").unwrap() }
    }

    /// Keys are hashed by their first letter.
    fn that_collides() -> Self {
        let mut world = Self::new();
        world.search.shared.hash = |_, key| live::KeyHash::new(key.first().copied().unwrap_or(0).into());
        world
    }

    /// Indexes may take so much.
    fn with_room_for_indexes(bytes: usize) -> Self {
        let mut world = Self::new();
        let mut budget = Budget::new(64 << 20, 1);
        budget.indexes_max = bytes;
        let budget = Arc::new(budget);
        world.search.cache = Cache::new(Arc::clone(&budget));
        world.search.shared.budget = Arc::clone(&budget);
        world.search.budget = budget;
        world
    }

    fn put(&self, id: &str, vector: [f32; 1]) {
        self.append(VectorRecord::new(id, vector).into_new_record().unwrap());
    }

    fn append(&self, record: NewRecord) {
        self.log.append(&self.collection, record).unwrap();
    }

    fn fill(&self, collection: &CollectionName, keys: std::ops::Range<u32>) {
        let record = |key: u32| VectorRecord::new(format!("key-{key}"), [1.0]).into_new_record().unwrap();
        let records: Vec<NewRecord> = keys.map(record).collect();
        self.log.append_batch(collection, &records, crate::log::AppendOptions::default()).unwrap();
    }

    fn vectors_in(&self, collection: &CollectionName) -> Result<u64> {
        Ok(self.search.nearest(collection, &Query::new([1.0], 1))?.statistics.vectors_compared)
    }

    fn check(&self) {
        for key in ["a", "ab", "abc", "b", "", "c"] {
            let key = key.as_bytes();
            let wanted = self.log.get(&self.collection, key, Timestamp(1_000_000)).unwrap();
            assert_eq!(self.search.get(&self.collection, key).unwrap(), wanted, "{key:?}");
        }
    }
}

#[test]
fn a_look_up_by_key_never_gives_another_key() {
    let world = World::that_collides();
    world.put("a", [1.0]);
    world.check();
    // `ab` stands for `a` in the index now.
    world.put("ab", [2.0]);
    world.put("b", [3.0]);
    world.check();
    world.append(NewRecord::delete("ab"));
    world.check();
    world.append(NewRecord::put("abc", "no vector"));
    world.put("a", [4.0]);
    world.append(NewRecord::payload("without a key"));
    world.check();
    world.append(NewRecord::delete("a"));
    world.check();
}

#[test]
fn of_two_keys_with_one_hash_the_newer_is_found_as_what_it_is() {
    let world = World::that_collides();
    world.put("a", [1.0]);
    world.put("b", [1.0]);
    world.put("ab", [1.0]);
    let answer = world.search.nearest(&world.collection, &Query::new([1.0], 10)).unwrap();
    let found: Vec<(&str, u64)> = answer.hits.iter().map(|hit| (hit.id.as_str(), hit.sequence.0)).collect();
    assert_eq!(found, [("b", 2), ("ab", 3)], "as the module says; by SHA-256 that does not happen");
}

#[test]
fn an_index_that_does_not_fit_is_an_error_that_names_the_setting() {
    let world = World::with_room_for_indexes(256 << 10);
    let docs = &world.collection;
    world.fill(docs, 0..1000);
    assert_eq!(world.vectors_in(docs).unwrap(), 1000);
    world.fill(docs, 1000..20_000);
    for _ in 0..2 {
        let error = world.vectors_in(docs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        let message = error.to_string();
        assert!(message.contains("collection=`docs`") && message.contains("setting=`search.cache_bytes`"), "{message}");
        let peak = world.search.memory().peak_bytes;
        assert!(peak <= 256 << 10, "{peak}");
        // What was made of it is given back, and others go on.
        assert_eq!(world.search.memory().index_bytes, 0);
    }
    assert_eq!(world.search.get(docs, b"key-7").unwrap_err().kind(), ErrorKind::Full);
    let other = CollectionName::new("other").unwrap();
    world.fill(&other, 0..10);
    assert_eq!(world.vectors_in(&other).unwrap(), 10);
}

#[test]
fn indexes_of_other_collections_make_room() {
    let world = World::with_room_for_indexes(512 << 10);
    let names: Vec<CollectionName> = (0..6).map(|number| CollectionName::new(&format!("c{number}")).unwrap()).collect();
    for name in &names {
        world.fill(name, 0..3000);
        assert_eq!(world.vectors_in(name).unwrap(), 3000);
        assert!(world.search.memory().index_bytes <= 512 << 10, "{:?}", world.search.memory());
    }
    let known: Vec<CollectionName> = lock(&world.search.indexes).keys().cloned().collect();
    assert!(known.contains(&names[5]) && !known.contains(&names[0]), "{known:?}");
    assert!(known.len() >= 2, "{known:?}");
    assert_eq!(world.vectors_in(&names[0]).unwrap(), 3000, "made anew");
}
