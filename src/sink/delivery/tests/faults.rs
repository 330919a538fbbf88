//! What sinks do wrong, and what goes on all the same.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::catalog::Mutation;
use crate::sink::{Batch, Cursor};
use crate::types::RecordKind;

/// A sink that does something before it takes a batch.
struct Hooked<F> {
    sink: Arc<MemorySink>,
    before: F,
}

impl<F> std::fmt::Debug for Hooked<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooked").finish_non_exhaustive()
    }
}

impl<F: Fn() -> Result<()> + Send + Sync> Sink for Hooked<F> {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn cursor(&self, collection: &CollectionName) -> Result<Option<Cursor>> {
        self.sink.cursor(collection)
    }

    fn apply(&self, batch: &Batch<'_>) -> Result<()> {
        (self.before)()?;
        self.sink.apply(batch)
    }

    fn raise_floor(&self, collection: &CollectionName, floor: Sequence) -> Result<()> {
        self.sink.raise_floor(collection, floor)
    }

    fn batch_bytes(&self) -> u64 {
        self.sink.batch_bytes()
    }
}

fn hooked(sink: &Arc<MemorySink>, before: impl Fn() -> Result<()> + Send + Sync + 'static) -> Arc<dyn Sink> {
    Arc::new(Hooked { sink: Arc::clone(sink), before })
}

/// Waits for threads, which have as long as a failing test may take.
#[track_caller]
fn until(log: &Log, is_so: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if is_so() {
            return;
        }
        let seen = log.wait_for_sealed(0, Some(Duration::ZERO));
        let _ = log.wait_for_sealed(seen, Some(Duration::from_millis(1)));
    }
    panic!("it does not come");
}

/// A log with threads, by the real clock.
fn with_threads(world: &World, sinks: &[&str]) -> Log {
    let mut options = world.options(sinks);
    options.background = true;
    options.clock = Arc::new(crate::clock::SystemClock::new());
    Log::open(options).unwrap()
}

#[test]
fn what_failed_in_a_flush_is_tried_again_without_another_seal() {
    let world = World::new();
    let log = with_threads(&world, &["one"]);
    let audit = name("audit");
    // Long enough for the thread to look, and to find that somebody else is at it.
    let sink = hooked(&world.one, || {
        (0..2000).for_each(|_| std::thread::yield_now());
        Ok(())
    });
    let options = SinksOptions { retry_first: Duration::from_millis(1), ..SinksOptions::default() };
    let sinks = Sinks::new(&log, vec![sink], options).unwrap();
    let running = sinks.start().unwrap();
    for round in 1..=10 {
        world.one.set_fault(Fault::Refuses, &[]);
        append(&log, &audit, 1);
        assert_eq!(flush(&sinks, "audit").failed.len(), 1);
        world.one.set_fault(Fault::None, &[]);
        until(&log, || world.one.held(&audit).records.len() == round);
    }
    running.stop();
}

#[test]
fn another_list_of_sinks_is_delivered_without_another_seal() {
    let world = World::new();
    let log = with_threads(&world, &["one"]);
    let audit = name("audit");
    append(&log, &audit, 1);
    log.set_collection_settings(&audit, |settings| settings.sinks = Some(Vec::new())).unwrap();
    let sinks = Sinks::new(&log, vec![world.one.clone()], SinksOptions::default()).unwrap();
    let running = sinks.start().unwrap();
    assert_eq!(flush(&sinks, "audit").failed, []);
    // Behind the look at what the flush changed.
    let asked = world.one.calls();
    assert_eq!((asked, world.one.held(&audit).records.len()), (0, 0));
    log.set_collection_settings(&audit, |settings| settings.sinks = None).unwrap();
    until(&log, || world.one.held(&audit).records.len() == 1);
    running.stop();
}

#[test]
fn a_sink_that_says_closed_or_panics_fails_and_goes_on() {
    for panics in [false, true] {
        let world = World::new();
        let (log, _) = world.open();
        let (audit, other) = (name("audit"), name("other"));
        append(&log, &audit, 5);
        append(&log, &other, 5);
        log.seal(None).unwrap();
        let calls = AtomicU64::new(0);
        let one = hooked(&world.one, move || match calls.fetch_add(1, Ordering::SeqCst) {
            0 if panics => panic!("told to panic"),
            0 => Err(Error::new(ErrorKind::Closed, "the connection was closed")),
            _ => Ok(()),
        });
        let options = SinksOptions { clock: world.clock.clone(), ..SinksOptions::default() };
        let sinks = Sinks::new(&log, vec![one, world.two.clone()], options).unwrap();
        sinks.run_once().unwrap();
        assert_has_all(&log, &world.two, &audit);
        assert_has_all(&log, &world.one, &other);
        let status = &sinks.status()[0];
        let text = if panics { "the sink panicked: told to panic" } else { "the connection was closed" };
        assert_eq!((status.failures, status.failing_collections), (1, 1), "{status:?}");
        assert_eq!(status.last_failure.as_ref().unwrap().error, text);
        world.clock.advance(Duration::from_secs(120));
        sinks.run_once().unwrap();
        assert_has_all(&log, &world.one, &audit);
    }
}

#[test]
fn a_thread_outlives_a_sink_that_says_closed_and_one_that_panics() {
    let world = World::new();
    let log = with_threads(&world, &["one"]);
    let audit = name("audit");
    let calls = AtomicU64::new(0);
    let sink = hooked(&world.one, move || match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Error::new(ErrorKind::Closed, "the connection was closed")),
        1 => panic!("told to panic"),
        _ => Ok(()),
    });
    let options = SinksOptions { retry_first: Duration::from_millis(1), ..SinksOptions::default() };
    let sinks = Sinks::new(&log, vec![sink], options).unwrap();
    let running = sinks.start().unwrap();
    append(&log, &audit, 1);
    log.seal(None).unwrap();
    until(&log, || world.one.held(&audit).records.len() == 1);
    assert_eq!(sinks.status()[0].failures, 2);
    running.stop();
}

#[test]
fn records_without_bytes_fill_batches_too() {
    let world = World::new();
    let mut options = world.options(&["two"]);
    options.limits = crate::log::Limits::default();
    let log = Log::open(options).unwrap();
    let sinks = world.sinks(&log);
    let audit = name("audit");
    let empty = NewRecord { kind: RecordKind::Put, payload: None, ..NewRecord::payload("") };
    for _ in 0..100 {
        log.append_batch(&audit, &vec![empty.clone(); 1000], Default::default()).unwrap();
    }
    assert_eq!(flush(&sinks, "audit").records, 100_000);
    let status = &sinks.status()[0];
    assert_eq!((status.records, status.bytes), (100_000, 0));
    let in_memory = 100_000 * size_of::<Record>() as u64;
    assert!(status.batches >= in_memory / (1 << 20), "{} batches for {in_memory} bytes", status.batches);
}

#[test]
fn a_flush_that_is_cut_says_so() {
    let world = World::new();
    let (log, _) = world.open();
    let audit = name("audit");
    append(&log, &audit, 100);
    let shared: Arc<Mutex<Option<Sinks>>> = Arc::default();
    let stops = Arc::clone(&shared);
    let one = hooked(&world.one, move || {
        if let Some(sinks) = &*locked(&stops) {
            sinks.0.stop.store(true, Ordering::SeqCst);
        }
        Ok(())
    });
    let sinks = Sinks::new(&log, vec![one, world.two.clone()], SinksOptions::default()).unwrap();
    *locked(&shared) = Some(sinks.clone());
    let report = flush(&sinks, "audit");
    assert!(report.is_interrupted, "{report:?}");
    let had = world.one.held(&audit).records.len();
    assert!((1..100).contains(&had), "{had}");
}

#[test]
fn a_collection_that_is_deleted_meanwhile_ends_no_flush_of_all() {
    let world = World::new();
    let (log, sinks) = world.open();
    let names: Vec<_> = (0..3).map(|number| name(&format!("c{number}"))).collect();
    names.iter().for_each(|collection| append(&log, collection, 5));
    let report = sinks.flush(None, &mut |report| {
        if report.collections == 1 {
            log.delete_collection(&names[1]).unwrap();
        }
        true
    });
    let report = report.unwrap();
    assert_eq!((report.collections, report.failed.len(), report.is_interrupted), (3, 0, false), "{report:?}");
    assert_has_all(&log, &world.one, &names[2]);
    assert_eq!(flush_error(&sinks, &names[1]), ErrorKind::NotFound);
}

fn flush_error(sinks: &Sinks, collection: &CollectionName) -> ErrorKind {
    sinks.flush(Some(collection), &mut |_| true).unwrap_err().kind()
}

#[test]
fn what_is_purged_goes_also_from_a_sink_that_was_taken_away() {
    let world = World::new();
    let (log, sinks) = world.open();
    let (audit, quiet) = (name("audit"), name("quiet"));
    append(&log, &audit, 10);
    append(&log, &quiet, 10);
    log.set_collection_settings(&quiet, |settings| settings.sinks = Some(vec!["two".into()])).unwrap();
    sinks.flush(None, &mut |_| true).unwrap();
    log.set_collection_settings(&audit, |settings| settings.sinks = Some(vec!["two".into()])).unwrap();
    for collection in [&audit, &quiet] {
        let floor = Mutation::RaiseFloor { collection: collection.clone(), sequence: Sequence(6) };
        log.change(&[floor], "purged").unwrap();
    }
    let asked = world.one.calls();
    sinks.run_once().unwrap();
    assert_eq!((world.one.held(&audit).records.len(), world.one.held(&audit).floor), (5, Sequence(6)));
    assert_eq!(world.one.held(&quiet), Default::default());
    assert_eq!(world.one.calls(), asked + 2, "who never had anything is not asked");
    // And by who is opened later.
    log.change(&[Mutation::RaiseFloor { collection: audit.clone(), sequence: Sequence(8) }], "purged").unwrap();
    drop(sinks);
    log.close().unwrap();
    let (_log, sinks) = world.open();
    sinks.run_once().unwrap();
    assert_eq!(world.one.held(&audit).records.len(), 3);
}

#[test]
fn a_sink_that_is_waited_for_and_not_there_is_told() {
    let world = World::new();
    let (log, sinks) = world.open();
    let (audit, other) = (name("audit"), name("other"));
    append(&log, &audit, 10);
    append(&log, &other, 10);
    log.set_collection_settings(&other, |settings| settings.sinks = Some(vec!["one".into()])).unwrap();
    sinks.flush(None, &mut |_| true).unwrap();
    log.close().unwrap();
    // Opened without sinks: those on record are waited for, and get nothing.
    let log = Log::open(world.options(&[])).unwrap();
    let sinks = world.sinks(&log);
    assert_eq!(sinks.flush(None, &mut |_| true).unwrap().failed, [], "they have all");
    let not_named = |waiting: u64| {
        let all = [("one", 2, waiting), ("two", 1, waiting.min(1))];
        let all = all.map(|(sink, collections, waiting)| (sink.to_owned(), collections, waiting));
        let found = log.sinks_not_named().unwrap().into_iter();
        assert_eq!(found.map(|it| (it.sink, it.collections, it.waiting_collections)).collect::<Vec<_>>(), all);
    };
    not_named(0);
    append(&log, &audit, 1);
    append(&log, &other, 1);
    let failed = sinks.flush(None, &mut |_| true).unwrap().failed;
    let failed: Vec<_> =
        failed.iter().map(|it| (it.collection.as_str(), it.sink.as_str(), it.error.as_str())).collect();
    let why = "no such sink is running: name it in the setting `sinks`";
    assert_eq!(failed, [("audit", "one", why), ("audit", "two", why), ("other", "one", why)]);
    not_named(2);
}

#[test]
fn only_what_a_sink_lacks_is_delivered_again() {
    let world = World::new();
    let (log, sinks) = world.open();
    let audit = name("audit");
    append(&log, &audit, 100);
    let images = at_every_step(&world, || assert_eq!(flush(&sinks, "audit").failed, []));
    let mut partly = 0;
    for image in images {
        let (_log, sinks) = image.open();
        let lacked = [&image.one, &image.two].map(|sink| 100 - sink.held(&audit).records.len() as u64);
        flush(&sinks, "audit");
        let applied = [0, 1].map(|index| sinks.status()[index].records);
        assert_eq!(applied, lacked);
        assert_eq!([&image.one, &image.two].map(|sink| sink.offered()), lacked, "nothing that they have is offered");
        partly += u64::from((1..100).contains(&lacked[0]));
    }
    assert!(partly > 0);
}
