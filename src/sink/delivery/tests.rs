mod faults;
mod histories;
mod stale;

use super::*;
use crate::catalog::MemoryCatalog;
use crate::clock::FakeClock;
use crate::fs::SimulatedFileSystem;
use crate::fs::simulated::{Cut, Operation};
use crate::log::{FlushTriggers, LogOptions};
use crate::sink::memory::{Fault, MemorySink};
use crate::types::{NewRecord, Record, Timestamp};

const DATA: &str = "/data";

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

/// A machine with a disk, a catalog, and two sinks that outlive the log.
struct World {
    fs: SimulatedFileSystem,
    catalog: Arc<MemoryCatalog>,
    clock: Arc<FakeClock>,
    one: Arc<MemorySink>,
    two: Arc<MemorySink>,
}

impl World {
    fn new() -> Self {
        Self {
            fs: SimulatedFileSystem::new(),
            catalog: Arc::default(),
            clock: Arc::new(FakeClock::at(Timestamp(1_700_000_000_000_000))),
            one: Arc::new(MemorySink::new("one", 2000)),
            two: Arc::new(MemorySink::new("two", 1 << 20)),
        }
    }

    fn options(&self, sinks: &[&str]) -> LogOptions {
        let mut options = LogOptions::new([DATA]);
        options.fs = Arc::new(self.fs.clone());
        options.catalog = Some(self.catalog.clone());
        options.clock = self.clock.clone();
        options.background = false;
        options.limits.journal_bytes = 64 << 10;
        options.limits.segment_bytes = 16 << 10;
        options.limits.memtable_bytes = 256 << 10;
        options.limits.unsealed_bytes = 512 << 10;
        options.cold_bytes = 1 << 10;
        options.sinks = sinks.iter().map(|sink| (*sink).to_owned()).collect();
        options
    }

    fn open(&self) -> (Log, Sinks) {
        let log = Log::open(self.options(&["one", "two"])).unwrap();
        let sinks = self.sinks(&log);
        (log, sinks)
    }

    fn sinks(&self, log: &Log) -> Sinks {
        let options = SinksOptions { clock: self.clock.clone(), ..SinksOptions::default() };
        let all: Vec<Arc<dyn Sink>> = vec![self.one.clone(), self.two.clone()];
        let all = all.into_iter().filter(|sink| log.sinks().iter().any(|known| known == sink.name())).collect();
        Sinks::new(log, all, options).unwrap()
    }
}

/// Appends `count` records, a number each, behind what is there.
fn append(log: &Log, collection: &CollectionName, count: u64) {
    let from = log.durable_through(collection).map_or(0, |last| last.get());
    for number in from + 1..=from + count {
        log.append(collection, NewRecord::put(format!("key-{}", number % 7), vec![number as u8; 100])).unwrap();
    }
}

fn flush(sinks: &Sinks, collection: &str) -> FlushReport {
    sinks.flush(Some(&name(collection)), &mut |_| true).unwrap()
}

/// What a sink has is what the log has, once and in order.
#[track_caller]
fn assert_has_all(log: &Log, sink: &MemorySink, collection: &CollectionName) {
    let records: Vec<Record> = log.read(collection, Default::default()).unwrap().map(Result::unwrap).collect();
    let held = sink.held(collection);
    assert_eq!(held.records, records, "{collection} in {}", sink.name());
    assert_eq!(held.cursor.map(|cursor| cursor.sequence), records.last().map(|record| record.sequence));
}

#[track_caller]
fn assert_flushed(log: &Log, collection: &CollectionName, through: u64) {
    for row in log.catalog().segments(Some(collection), None, 1000).unwrap() {
        assert_eq!(row.flushed_at.is_some(), row.key.last.get() <= through, "{}", row.key);
    }
}

#[test]
fn a_flush_of_one_of_ten_collections_flushes_that_one() {
    let world = World::new();
    let (log, sinks) = world.open();
    let names: Vec<_> = (0..10).map(|number| name(&format!("c{number}"))).collect();
    names.iter().for_each(|collection| append(&log, collection, 50));
    let report = flush(&sinks, "c3");
    assert_eq!((report.collections, report.segments, report.records, report.failed.len()), (1, 1, 100, 0));
    for (number, collection) in names.iter().enumerate() {
        if number == 3 {
            assert_has_all(&log, &world.one, collection);
            assert_has_all(&log, &world.two, collection);
            assert_flushed(&log, collection, 50);
        } else {
            assert_eq!(world.one.held(collection).records, [], "{collection}");
            assert_eq!(log.catalog().segments(Some(collection), None, 10).unwrap(), []);
        }
    }
    let all = sinks.flush(None, &mut |_| true).unwrap();
    assert_eq!((all.collections, all.segments, all.records), (10, 9, 900));
    names.iter().for_each(|collection| assert_has_all(&log, &world.two, collection));
    assert!(world.one.held(&names[0]).records.len() == 50 && sinks.status()[0].batches > sinks.status()[1].batches);
    assert!(flush(&sinks, "c3") == FlushReport { collections: 1, ..FlushReport::default() }, "nothing is left to do");
}

#[test]
fn a_dead_sink_stops_neither_the_other_nor_appends_nor_release() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    world.one.set_fault(Fault::Dead, &[]);
    for _ in 0..40 {
        append(&log, &audit, 100);
        log.maintain().unwrap();
        sinks.run_once().unwrap();
        world.clock.advance(Duration::from_millis(20));
    }
    log.seal(None).unwrap();
    log.maintain().unwrap();
    sinks.run_once().unwrap();
    assert_has_all(&log, &world.two, &audit);
    assert_eq!(world.one.held(&audit).records, []);
    assert_flushed(&log, &audit, 0);
    assert_eq!(log.journals().unwrap().iter().map(|journal| journal.live_bytes).sum::<u64>(), 0, "released");
    let status = &sinks.status()[0];
    assert!(
        status.failures > 1 && status.failures == status.attempts && status.success_rate == Some(0.0),
        "{status:?}"
    );
    assert!(status.attempts < 20, "it rests behind failures: {status:?}");
    let failure = status.last_failure.as_ref().unwrap();
    assert_eq!((&failure.collection, failure.error.as_str()), (&audit, "told to fail: sink=`one`"));
    // A flush says what it could not do, and loses nothing.
    let failed = flush(&sinks, "audit").failed;
    assert_eq!(failed.iter().map(|failure| failure.sink.as_str()).collect::<Vec<_>>(), ["one"]);
    world.one.set_fault(Fault::None, &[]);
    sinks.run_once().unwrap();
    assert_eq!(world.one.held(&audit).records, [], "it still rests");
    world.clock.advance(Duration::from_secs(120));
    sinks.run_once().unwrap();
    assert_has_all(&log, &world.one, &audit);
    assert_flushed(&log, &audit, 4000);
    let status = &sinks.status()[0];
    assert_eq!((status.waiting_collections, status.failing_collections, status.retry_in_ms), (0, 0, None));
}

#[test]
fn a_collection_that_fails_stops_no_other() {
    let world = World::new();
    let (log, sinks) = world.open();
    let names: Vec<_> = (0..20).map(|number| name(&format!("c{number:02}"))).collect();
    let bad: Vec<&CollectionName> = names.iter().step_by(5).collect();
    world.one.set_fault(Fault::Refuses, &bad);
    names.iter().for_each(|collection| append(&log, collection, 5));
    log.seal(None).unwrap();
    sinks.run_once().unwrap();
    for collection in &names {
        if bad.contains(&collection) {
            assert_eq!(world.one.held(collection).records, []);
        } else {
            assert_has_all(&log, &world.one, collection);
        }
        assert_has_all(&log, &world.two, collection);
    }
    assert_eq!(sinks.status()[0].failing_collections, 4);
}

#[test]
fn an_answer_that_was_lost_doubles_nothing() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 100);
    world.one.set_fault(Fault::TakesAndFails, &[]);
    for _ in 0..3 {
        assert_eq!(flush(&sinks, "audit").failed.len(), 1);
    }
    assert!(!world.one.held(&audit).records.is_empty());
    world.one.set_fault(Fault::None, &[]);
    assert_eq!(flush(&sinks, "audit").failed, []);
    assert_has_all(&log, &world.one, &audit);
}

/// What a kill, and a power cut, leave before each change of files and each commit of the catalog, while `work` goes on: the disk, the catalog,
/// and the sinks as they were at that moment.
fn at_every_step(world: &World, work: impl FnOnce()) -> Vec<World> {
    let images: Arc<Mutex<Vec<World>>> = Arc::default();
    let image = {
        let (images, fs, catalog) = (Arc::clone(&images), world.fs.clone(), Arc::clone(&world.catalog));
        let sinks = [Arc::clone(&world.one), Arc::clone(&world.two)];
        Arc::new(move || {
            for fs in [fs.kill_image(), fs.crash_image(Cut::DropAll)] {
                let [one, two] = sinks.each_ref().map(|sink| Arc::new(sink.fork()));
                let clock = Arc::new(FakeClock::at(Timestamp(1_700_000_100_000_000)));
                locked(&images).push(World { fs, catalog: Arc::new(catalog.snapshot()), clock, one, two });
            }
        })
    };
    let before_change = Arc::clone(&image);
    world.fs.observe(Arc::new(move |operation: &Operation, _: &SimulatedFileSystem| {
        if operation.kind.is_change() {
            before_change();
        }
    }));
    let before_commit = Arc::clone(&image);
    world.catalog.observe(move |_| before_commit());
    work();
    world.fs.observe_no_more();
    world.catalog.observe(|_| {});
    image();
    std::mem::take(&mut *locked(&images))
}

#[test]
fn a_kill_or_power_cut_at_any_step_loses_and_doubles_nothing() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 100);
    let images = at_every_step(&world, || {
        assert_eq!(flush(&sinks, "audit").failed, []);
        append(&log, &audit, 50);
        assert_eq!(flush(&sinks, "audit").failed, []);
    });
    assert!(images.len() > 60, "{}", images.len());
    let mut behind = 0;
    for image in images {
        let (log, sinks) = image.open();
        assert_eq!((&log.recovery().damaged, &log.recovery().losses), (&vec![], &vec![]));
        let known = log.catalog().cursors(&audit).unwrap();
        let known = known.iter().find(|row| row.sink == "two").map(|row| row.sequence);
        behind += u64::from(image.two.held(&audit).cursor.map(|cursor| cursor.sequence) > known);
        append(&log, &audit, 10);
        assert_eq!(flush(&sinks, "audit").failed, []);
        assert_has_all(&log, &image.one, &audit);
        assert_has_all(&log, &image.two, &audit);
        assert_flushed(&log, &audit, 1000);
    }
    assert!(behind > 0, "the catalog was never behind a sink: the moment between was not tried");
}

#[test]
fn a_cursor_beyond_the_end_is_an_error_and_no_skip() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 100);
    assert_eq!(flush(&sinks, "audit").failed, []);
    // The same sink, and a log that knows less.
    let other = World { one: world.one.clone(), two: world.two.clone(), ..World::new() };
    let (log, sinks) = other.open();
    append(&log, &audit, 50);
    let failed = flush(&sinks, "audit").failed;
    assert_eq!(failed.len(), 2);
    let text = "a sink has more than the log: sink=`one`, collection=`audit`, cursor=`100`, end=`50`";
    assert_eq!(failed[0].error, text);
    assert_eq!(world.one.held(&audit).records.len(), 100);
    assert_flushed(&log, &audit, 0);
}

#[test]
fn what_is_purged_goes_from_the_sinks_too() {
    let world = World::new();
    let (log, sinks) = world.open();
    let (audit, other) = (name("audit"), name("other"));
    append(&log, &audit, 100);
    append(&log, &other, 10);
    sinks.flush(None, &mut |_| true).unwrap();
    log.delete_collection(&audit).unwrap();
    sinks.run_once().unwrap();
    let held = world.one.held(&audit);
    assert_eq!((held.records.len(), held.floor.get()), (0, 101));
    // It comes back, and its sequences go on.
    append_to_deleted(&log, &audit, 5);
    assert_eq!(flush(&sinks, "audit").failed, []);
    assert_has_all(&log, &world.one, &audit);
    assert_has_all(&log, &world.one, &other);
}

#[test]
fn what_is_deleted_goes_from_a_sink_of_which_the_catalog_was_not_told() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 10);
    // As after a crash behind the sink's own commit.
    world.one.set_fault(Fault::TakesAndFails, &[]);
    flush(&sinks, "audit");
    world.one.set_fault(Fault::None, &[]);
    let known = log.catalog().cursors(&audit).unwrap();
    assert!(known.iter().all(|cursor| cursor.sink != "one") && !world.one.held(&audit).records.is_empty());
    log.delete_collection(&audit).unwrap();
    world.clock.advance(Duration::from_secs(120));
    sinks.run_once().unwrap();
    assert_eq!(world.one.held(&audit).records, []);
    assert_eq!(sinks.status()[0].waiting_collections, 0);
}

fn append_to_deleted(log: &Log, collection: &CollectionName, count: u64) {
    for number in 0..count {
        log.append(collection, NewRecord::put("key", vec![number as u8; 10])).unwrap();
    }
}

#[test]
fn a_sink_that_comes_later_gets_everything_and_settings_take_sinks_away() {
    let world = World::new();
    let log = Log::open(world.options(&["one"])).unwrap();
    let (audit, quiet) = (name("audit"), name("quiet"));
    append(&log, &audit, 100);
    append(&log, &quiet, 10);
    log.set_collection_settings(&quiet, |settings| settings.sinks = Some(Vec::new())).unwrap();
    let sinks = world.sinks(&log);
    sinks.flush(None, &mut |_| true).unwrap();
    assert_flushed(&log, &audit, 100);
    assert_eq!(world.one.held(&quiet).records, []);
    drop(sinks);
    log.close().unwrap();
    let (log, sinks) = world.open();
    sinks.run_once().unwrap();
    assert_has_all(&log, &world.two, &audit);
    assert_eq!(world.two.held(&quiet).records, []);
    log.set_collection_settings(&quiet, |settings| settings.sinks = Some(vec!["two".into()])).unwrap();
    sinks.run_once().unwrap();
    assert_has_all(&log, &world.two, &quiet);
    assert_eq!(world.one.held(&quiet).records, []);
}

#[test]
fn size_total_and_age_flush_by_themselves() {
    let world = World::new();
    let mut options = world.options(&["one", "two"]);
    options.flush = FlushTriggers { bytes: 4 << 10, total_bytes: 16 << 10, age: Duration::from_secs(60) };
    let log = Log::open(options).unwrap();
    let sinks = world.sinks(&log);
    let step = || {
        log.maintain().unwrap();
        sinks.run_once().unwrap();
    };
    let large = name("large");
    append(&log, &large, 10);
    step();
    assert_eq!(world.one.held(&large).records, [], "below every limit");
    append(&log, &large, 40);
    step();
    assert_has_all(&log, &world.one, &large);
    // Together they are above the total, each alone below its own.
    let many: Vec<_> = (0..10).map(|number| name(&format!("m{number}"))).collect();
    many.iter().for_each(|collection| append(&log, collection, 15));
    step();
    let flushed = many.iter().filter(|collection| !world.one.held(collection).records.is_empty()).count();
    assert!((1..10).contains(&flushed), "the largest, until it is half: {flushed}");
    world.clock.advance(Duration::from_secs(61));
    step();
    many.iter().for_each(|collection| assert_has_all(&log, &world.two, collection));
}

#[test]
fn flushes_at_the_same_time_do_the_work_once() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 300);
    let reports: Vec<FlushReport> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| flush(&sinks, "audit"))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(reports.iter().map(|report| report.records).sum::<u64>(), 600, "{reports:?}");
    assert_has_all(&log, &world.one, &audit);
    assert_has_all(&log, &world.two, &audit);
}

#[test]
fn threads_deliver_beside_the_writers_and_stop() {
    let world = World::new();
    let mut options = world.options(&["one", "two"]);
    options.background = true;
    options.clock = Arc::new(crate::clock::SystemClock::new());
    options.flush.bytes = 4 << 10;
    let log = Log::open(options).unwrap();
    let all: Vec<Arc<dyn Sink>> = vec![world.one.clone(), world.two.clone()];
    let sinks = Sinks::new(&log, all, SinksOptions::default()).unwrap();
    let running = sinks.start().unwrap();
    let names: Vec<_> = (0..4).map(|number| name(&format!("c{number}"))).collect();
    std::thread::scope(|scope| {
        for collection in &names {
            scope.spawn(|| append(&log, collection, 400));
        }
    });
    // What is above the limit comes by itself; the rest by a flush.
    let arrived = || names.iter().all(|collection| world.two.held(collection).records.len() >= 300);
    while !arrived() {
        let _ = log.wait_for_sealed(0, Some(Duration::from_millis(1)));
        std::thread::yield_now();
    }
    sinks.flush(None, &mut |_| true).unwrap();
    running.stop();
    for collection in &names {
        assert_has_all(&log, &world.one, collection);
        assert_has_all(&log, &world.two, collection);
        assert_flushed(&log, collection, 400);
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    let world = World::new();
    let log = Log::open(world.options(&["one", "two", "Three"])).unwrap();
    let new = |sinks: Vec<&str>| {
        let sinks = sinks.into_iter().map(|name| Arc::new(MemorySink::new(name, 1)) as Arc<dyn Sink>).collect();
        Sinks::new(&log, sinks, SinksOptions::default()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(new(vec!["one", "two"]), Ok(()));
    assert_eq!(new(vec!["Three"]), Err("no name of a sink: sink=`Three`".into()));
    assert_eq!(new(vec!["one", "one"]), Err("two sinks have the name: sink=`one`".into()));
    assert_eq!(new(vec!["four"]), Err("the log was not opened with it: sink=`four`".into()));
}

/// The sinks as they were some time ago, with the log and the catalog of now.
fn with_older(world: World, one: MemorySink) -> World {
    World { one: Arc::new(one), ..world }
}

/// The newest version of each key is left, in the log.
fn compact(world: &World) {
    let log = Log::open(world.options(&["one", "two"])).unwrap();
    let set = |settings: &mut crate::CollectionSettings| settings.set("compact.keep_versions", "1").unwrap();
    log.set_collection_settings(&name("audit"), set).unwrap();
    let before = log.read(&name("audit"), Default::default()).unwrap().count();
    log.compact(&crate::log::compact::CompactOptions::default(), &mut |_| true).unwrap();
    assert!(log.read(&name("audit"), Default::default()).unwrap().count() < before);
    log.close().unwrap();
}

#[test]
fn a_sink_that_has_less_than_it_had_goes_on_where_nothing_was_compacted() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 50);
    flush(&sinks, "audit");
    let older = world.one.fork();
    append(&log, &audit, 50);
    flush(&sinks, "audit");
    log.close().unwrap();
    let world = with_older(world, older);
    let (log, sinks) = world.open();
    let report = flush(&sinks, "audit");
    assert_eq!((report.records, report.failed.len()), (50, 0), "only what it lacks");
    assert_has_all(&log, &world.one, &audit);
}

#[test]
fn a_sink_that_has_less_than_it_had_is_cleared_where_that_was_compacted() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 50);
    flush(&sinks, "audit");
    let older = world.one.fork();
    append(&log, &audit, 50);
    flush(&sinks, "audit");
    log.close().unwrap();
    drop((log, sinks));
    compact(&world);
    let world = with_older(world, older);
    let (log, sinks) = world.open();
    assert_eq!(flush(&sinks, "audit").failed, []);
    // What a tombstone hid, and compaction took away with it, would be there still.
    assert_has_all(&log, &world.one, &audit);
    assert!(world.two.held(&audit).records.len() > world.one.held(&audit).records.len(), "who lost nothing keeps it");
}

/// A sink that something happens to before it takes its second batch.
struct Between {
    inner: Arc<MemorySink>,
    before_second: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    batches: std::sync::atomic::AtomicU64,
}

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Between")
    }
}

impl Sink for Between {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn cursor(&self, collection: &CollectionName) -> Result<Option<crate::sink::Cursor>> {
        self.inner.cursor(collection)
    }

    fn apply(&self, batch: &crate::sink::Batch<'_>) -> Result<()> {
        if self.batches.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1
            && let Some(happens) = locked(&self.before_second).take()
        {
            happens();
        }
        self.inner.apply(batch)
    }

    fn raise_floor(&self, collection: &CollectionName, floor: Sequence) -> Result<()> {
        self.inner.raise_floor(collection, floor)
    }

    fn clear(&self, collection: &CollectionName) -> Result<()> {
        self.inner.clear(collection)
    }

    fn batch_bytes(&self) -> u64 {
        self.inner.batch_bytes()
    }
}

#[test]
fn what_is_compacted_while_a_sink_gets_everything_again_is_delivered_once_more() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 100);
    flush(&sinks, "audit");
    log.close().unwrap();
    drop((log, sinks));
    // It lost all that it had.
    let world = with_older(world, MemorySink::new("one", 2000));
    let log = Log::open(world.options(&["one", "two"])).unwrap();
    let set = |settings: &mut crate::CollectionSettings| settings.set("compact.keep_versions", "1").unwrap();
    log.set_collection_settings(&audit, set).unwrap();
    let (of, options) = (log.clone(), crate::log::compact::CompactOptions::default());
    let happens: Box<dyn FnOnce() + Send> = Box::new(move || {
        let report = of.compact(&options, &mut |_| true).unwrap();
        assert!(report.removed().versions > 0, "{report:?}");
    });
    let one = Between {
        inner: world.one.clone(),
        before_second: Mutex::new(Some(happens)),
        batches: std::sync::atomic::AtomicU64::default(),
    };
    let options = SinksOptions { clock: world.clock.clone(), ..SinksOptions::default() };
    let sinks = Sinks::new(&log, vec![Arc::new(one), world.two.clone() as Arc<dyn Sink>], options).unwrap();
    let failed = flush(&sinks, "audit").failed;
    assert!(failed.len() == 1 && failed[0].error.contains("compacted while"), "{failed:?}");
    assert_eq!(world.one.held(&audit).cursor, None, "cleared");
    assert_eq!(flush(&sinks, "audit").failed, []);
    assert_has_all(&log, &world.one, &audit);
}

#[test]
fn a_sink_that_fails_while_it_gets_everything_again_goes_on_from_there() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 100);
    flush(&sinks, "audit");
    log.close().unwrap();
    drop((log, sinks));
    compact(&world);
    let world = with_older(world, MemorySink::new("one", 300));
    let log = Log::open(world.options(&["one", "two"])).unwrap();
    let one = world.one.clone();
    let happens: Box<dyn FnOnce() + Send> = Box::new(move || one.set_fault(Fault::Refuses, &[]));
    let between = Between {
        inner: world.one.clone(),
        before_second: Mutex::new(Some(happens)),
        batches: std::sync::atomic::AtomicU64::default(),
    };
    let options = SinksOptions { clock: world.clock.clone(), ..SinksOptions::default() };
    let sinks = Sinks::new(&log, vec![Arc::new(between), world.two.clone() as Arc<dyn Sink>], options).unwrap();
    assert_eq!(flush(&sinks, "audit").failed.len(), 1);
    let has = world.one.held(&audit).records.len() as u64;
    assert!(has > 0);
    world.one.set_fault(Fault::None, &[]);
    let all = log.read(&audit, Default::default()).unwrap().count() as u64;
    assert_eq!(flush(&sinks, "audit").records, all - has, "nothing is delivered twice");
    assert_has_all(&log, &world.one, &audit);
}
