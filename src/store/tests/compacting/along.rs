//! The log's own compaction, with the store as its sink.

use super::*;
use crate::archive::world::{World, name};
use crate::log::compact::{CompactOptions, CompactReport};
use crate::log::{LegalHold, Log, LogOptions};
use crate::search::{Search, SearchOptions, Source, source};
use crate::sink::{Sinks, SinksOptions};

struct Running {
    clock: Arc<FakeClock>,
    log: Log,
    sinks: Sinks,
    store: Arc<ColumnarStore>,
}

fn run(world: &World, objects: &Arc<FaultyStore>) -> Running {
    let log = Log::open(LogOptions { sinks: vec![NAME.to_owned()], ..world.options() }).unwrap();
    let home = Home::below(Arc::clone(objects) as _, REMOTE_PREFIX).unwrap();
    let options = StoreOptions { merge_files: 0, ..StoreOptions::default() };
    let store = Arc::new(ColumnarStore::new(log.id(), Arc::new(home), world.clock.clone(), options));
    let options = SinksOptions { clock: world.clock.clone(), ..SinksOptions::default() };
    let sinks = Sinks::new(&log, vec![store.clone()], options).unwrap();
    Running { clock: Arc::clone(&world.clock), log, sinks, store }
}

/// `"k"` puts a key, `"-k"` deletes it; all in one file of the store, and one segment.
fn flushed(running: &Running, keys: &[&str]) {
    for key in keys {
        let now = crate::clock::Clock::now(&*running.clock);
        let record = match key.strip_prefix('-') {
            Some(key) => NewRecord::delete(key.to_owned()),
            None => NewRecord::put((*key).to_owned(), format!("value of {key}")),
        };
        running.log.append(&name("a"), record.with_timestamp(now)).unwrap();
    }
    running.sinks.flush(None, &mut |_| true).unwrap();
}

fn found(store: &ColumnarStore) -> Vec<u64> {
    let view = store.view(&name("a")).unwrap().unwrap();
    view.read(Sequence(0)).map(|record| record.unwrap().sequence.0).collect()
}

fn compact_log(log: &Log) -> CompactReport {
    log.compact(&CompactOptions::default(), &mut |_| true).unwrap()
}

fn set(log: &Log, settings: &[(&str, &str)]) {
    let set = |own: &mut crate::CollectionSettings| settings.iter().for_each(|(key, text)| own.set(key, text).unwrap());
    log.set_collection_settings(&name("a"), set).unwrap();
}

const POLICY: [(&str, &str); 3] =
    [("compact.keep_versions", "1"), ("compact.tombstone_grace", "10s"), ("compact.target_bytes", "none")];

#[test]
fn the_logs_compaction_compacts_the_store_and_says_so() {
    let (world, objects) = (World::new(), memory());
    let running = run(&world, &objects);
    flushed(&running, &["a", "b"]);
    flushed(&running, &["a", "-b"]);
    set(&running.log, &POLICY);
    world.clock.advance(Duration::from_secs(60));
    let report = compact_log(&running.log);
    // The journal still has the segments: they stay, and the store needs no journal.
    assert_eq!(report.removed().total(), 0);
    let [of] = &report.collections[..] else { panic!("{report:?}") };
    let [copy] = &of.sinks[..] else { panic!("{report:?}") };
    assert_eq!((copy.sink.as_str(), copy.freed.removed.versions, copy.freed.removed.tombstones), (NAME, 2, 1));
    assert_eq!(report.sinks().records, 3);
    assert!(report.is_whole() && report.sinks().bytes_after < report.sinks().bytes_before);
    assert_eq!(found(&running.store), [3]);
    let last = running.log.last_compaction().unwrap().unwrap();
    assert_eq!((last.sinks, last.versions), (report.sinks(), 0));
    // Both together give one answer, and the store keeps it when the log's own follow.
    let search =
        Search::open(running.log.clone(), running.store.clone(), world.clock.clone(), SearchOptions::default());
    let answers =
        || ["a", "b"].map(|key| search.get(&name("a"), key.as_bytes()).unwrap().map(|record| record.sequence.0));
    assert_eq!(answers(), [Some(3), None]);
    running.log.close().unwrap();
    drop((running, search));
    let running = run(&world, &objects);
    assert_eq!(compact_log(&running.log).removed().total(), 3);
    let search =
        Search::open(running.log.clone(), running.store.clone(), world.clock.clone(), SearchOptions::default());
    let answers =
        || ["a", "b"].map(|key| search.get(&name("a"), key.as_bytes()).unwrap().map(|record| record.sequence.0));
    assert_eq!(answers(), [Some(3), None]);
    assert_eq!(found(&running.store), [3]);
}

/// An index that knew a key by the log alone, and finds the store behind its deletion: the log has the old version still.
#[test]
fn a_key_that_went_while_nobody_searched_is_not_found_in_the_log() {
    let (world, objects) = (World::new(), memory());
    let running = run(&world, &objects);
    running.log.append(&name("a"), NewRecord::put("k", "old").with_timestamp(world_now(&world))).unwrap();
    set(&running.log, &POLICY);
    let search =
        Search::open(running.log.clone(), running.store.clone(), world.clock.clone(), SearchOptions::default());
    assert!(search.get(&name("a"), b"k").unwrap().is_some());
    flushed(&running, &["-k", "other"]);
    world.clock.advance(Duration::from_secs(60));
    compact_log(&running.log);
    assert_eq!(found(&running.store), [3]);
    assert!(running.log.get(&name("a"), b"k", world_now(&world)).unwrap().is_none());
    assert_eq!(running.log.read(&name("a"), crate::ReadOptions::default()).unwrap().count(), 3, "the log has it");
    assert_eq!(search.get(&name("a"), b"k").unwrap(), None);
    assert!(search.get(&name("a"), b"other").unwrap().is_some());
}

type Then = Box<dyn FnOnce() + Send>;

/// The store, and what happens right behind the first view of it.
struct Late(Arc<ColumnarStore>, Mutex<Option<Then>>);

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Late")
    }
}

impl Source for Late {
    fn view(&self, collection: &CollectionName) -> Result<Arc<dyn source::View>> {
        let view = Source::view(&*self.0, collection);
        let then = self.1.lock().unwrap().take();
        then.into_iter().for_each(|then| then());
        view
    }
}

/// Between a search's view of the store and its reading of the log, a tombstone is delivered, and goes from the log with what it hid.
#[test]
fn a_tombstone_that_goes_while_a_search_begins_still_hides() {
    let (world, objects) = (World::new(), memory());
    let running = run(&world, &objects);
    flushed(&running, &["k", "other"]);
    set(&running.log, &POLICY);
    for key in ["-k", "last"] {
        let new = key.strip_prefix('-').map_or_else(|| NewRecord::put(key, "x"), NewRecord::delete);
        running.log.append(&name("a"), new.with_timestamp(world_now(&world))).unwrap();
    }
    running.log.seal(None).unwrap();
    running.log.close().unwrap();
    drop(running);
    let running = run(&world, &objects);
    world.clock.advance(Duration::from_secs(60));
    let (log, sinks) = (running.log.clone(), running.sinks.clone());
    let then: Then = Box::new(move || {
        sinks.flush(None, &mut |_| true).unwrap();
        assert_eq!(compact_log(&log).removed().total(), 2);
    });
    let late = Arc::new(Late(running.store.clone(), Mutex::new(Some(then))));
    let search = Search::open(running.log.clone(), late, world.clock.clone(), SearchOptions::default());
    assert_eq!(search.get(&name("a"), b"k").unwrap(), None);
    assert!(search.get(&name("a"), b"other").unwrap().is_some());
    assert_eq!(found(&running.store), [2, 4]);
}

fn world_now(world: &World) -> Timestamp {
    crate::clock::Clock::now(&*world.clock)
}

/// The clock is set back, or years ahead: nothing expires, in the store neither.
#[test]
fn the_store_believes_the_clock_no_more_than_the_log_does() {
    let (world, objects) = (World::new(), memory());
    let running = run(&world, &objects);
    flushed(&running, &["a", "a", "-b"]);
    set(&running.log, &POLICY);
    set(&running.log, &[("compact.ttl", "1m")]);
    let now = world_now(&world);
    let hours = |hours: i64| Timestamp(now.0 + hours * 3_600_000_000);
    world.clock.set(hours(-1));
    let report = compact_log(&running.log);
    assert!(report.clock.is_some() && !report.is_whole(), "{report:?}");
    assert_eq!((report.sinks().records, found(&running.store)), (1, vec![2, 3]), "versions go whatever the time is");
    world.clock.set(hours(24 * 400));
    let dry = CompactOptions { dry_run: true, ..CompactOptions::default() };
    let report = running.log.compact(&dry, &mut |_| true).unwrap();
    assert_eq!((report.clock.is_some(), report.sinks().records), (true, 0));
    let trusted = CompactOptions { trust_clock: true, ..dry };
    assert_eq!(running.log.compact(&trusted, &mut |_| true).unwrap().sinks().records, 2);
    world.clock.set(hours(1));
    assert_eq!(compact_log(&running.log).sinks().records, 2);
    assert_eq!(found(&running.store), [0; 0]);
}

#[test]
fn a_hold_an_unknown_setting_and_another_subscription_keep_the_stores_files() {
    let (world, objects) = (World::new(), memory());
    let running = run(&world, &objects);
    flushed(&running, &["a", "a"]);
    set(&running.log, &POLICY);
    let hold = LegalHold {
        name: "case".into(),
        by: "court".into(),
        at: Timestamp(0),
        from: Some(Sequence(2)),
        until: None,
        note: String::new(),
    };
    running.log.set_hold(&name("a"), hold).unwrap();
    let report = compact_log(&running.log);
    let left = &report.collections[0].sinks[0].freed.left_alone;
    assert!(left[0].reason.contains("hold=`case`") && left[0].files == 1, "{left:?}");
    assert_eq!(found(&running.store), [1, 2]);
    running.log.clear_hold(&name("a"), "case", "court").unwrap();
    set(&running.log, &[("sinks", "none")]);
    assert!(compact_log(&running.log).collections.iter().all(|of| of.sinks.is_empty()));
    assert_eq!(found(&running.store), [1, 2], "it is no sink of the collection any more");
    set(&running.log, &[("sinks", "store")]);
    compact_log(&running.log);
    assert_eq!(found(&running.store), [2]);
}

/// A sink that fails ends nothing but itself, and is told; one that is gone is not asked.
#[test]
fn a_store_that_fails_is_told() {
    let (world, objects) = (World::new(), memory());
    let running = run(&world, &objects);
    flushed(&running, &["a", "a"]);
    set(&running.log, &POLICY);
    objects.go_down(crate::objects::ObjectErrorKind::Unavailable);
    let report = compact_log(&running.log);
    assert!(!report.is_whole() && !report.is_interrupted);
    let (collection, sink, why) = report.failures().next().unwrap();
    assert_eq!((collection.as_str(), sink), ("a", Some(NAME)));
    assert!(!why.is_empty());
    let last = running.log.last_compaction().unwrap().unwrap();
    assert!(last.stopped[0].starts_with("collection=`a`, sink=`store`: "), "{last:?}");
    objects.heal();
    let Running { log, sinks, store, .. } = running;
    drop(sinks);
    assert!(compact_log(&log).collections.iter().all(|of| of.sinks.is_empty()));
    assert_eq!(found(&store), [1, 2]);
}
