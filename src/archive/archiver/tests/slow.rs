//! Stores that take their time, and such as let nobody delete.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::archive::world::{append, fill};
use crate::catalog::SegmentStatus;
use crate::clock::{Clock as _, FakeClock};
use crate::objects::{
    Abilities, Head, ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, Page, Proof, Put, Upload, Version, probe,
};
use crate::testing::faulty_store::FaultyStore;

/// A store that reads what it is sent before it answers, which takes `takes`; it may delete nothing where it `keeps`.
#[derive(Debug)]
struct Odd {
    inner: Arc<FaultyStore>,
    clock: Arc<FakeClock>,
    takes: Duration,
    keeps: bool,
    /// Another object is there, the next time.
    is_taken: AtomicBool,
}

impl Odd {
    fn new(world: &World, takes: Duration, keeps: bool) -> Arc<Self> {
        let inner = Arc::new(FaultyStore::new(world.clock.clone()));
        Arc::new(Self { inner, clock: world.clock.clone(), takes, keeps, is_taken: AtomicBool::new(false) })
    }
}

impl ObjectStore for Odd {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        if key.as_str().ends_with(".avro") {
            if self.is_taken.swap(false, Ordering::Relaxed) {
                return Ok(Put::OtherThere);
            }
            let read = upload.source.read(0, usize::try_from(upload.bytes).unwrap());
            let error = |error| ObjectError {
                kind: ObjectErrorKind::Corrupt,
                operation: "put",
                place: self.place().into(),
                key: key.as_str().into(),
                what: "the source cannot be read".into(),
                retry_after: None,
                source: Some(Box::new(error)),
            };
            let bytes = read.map_err(error)?;
            self.clock.advance(self.takes);
            return self.inner.put_if_absent(key, &Upload::new(&bytes, upload.bytes, upload.sha256));
        }
        self.inner.put_if_absent(key, upload)
    }
    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        self.inner.get(key, bytes_max)
    }
    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        self.inner.get_range(key, offset, bytes)
    }
    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        self.inner.head(key)
    }
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        self.inner.list(prefix, after, limit)
    }
    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        if !self.keeps {
            return self.inner.delete(key);
        }
        Err(ObjectError {
            kind: ObjectErrorKind::Denied,
            operation: "delete",
            place: self.place().into(),
            key: key.as_str().into(),
            what: "refused".into(),
            retry_after: None,
            source: None,
        })
    }
    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        self.inner.prove(key, upload)
    }
    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        self.inner.versions(key)
    }
    fn probe(&self) -> ObjectResult<Abilities> {
        probe::try_out(self)
    }
    fn meter(&self) -> &Meter {
        self.inner.meter()
    }
}

/// What was sent before its deadline counts, although the pass goes on behind it.
#[test]
fn a_store_that_takes_long_gets_a_little_more_each_time() {
    let world = World::new();
    let store = Odd::new(&world, Duration::from_mins(25), false);
    let log = world.open_with(&store.inner);
    fill(&log, "a", 4);
    let archiver = by(&world, &log, store, |options| options.attempt = Duration::from_hours(1));
    let report = run(&archiver);
    assert_eq!((report.archived_segments, report.failed.len()), (3, 1), "{report:?}");
    assert_eq!(run(&archiver).archived_segments, 1);
}

/// Nobody wakes the archiver for it: what failed lately is due by the end of a pass that took longer than its rest.
#[test]
fn what_rested_while_others_were_sent_is_tried_at_once() {
    let world = World::new();
    let store = Odd::new(&world, Duration::from_mins(25), false);
    let log = world.open_with(&store.inner);
    append(&log, "a", 1..=100);
    log.seal(None).unwrap();
    let archiver = by(&world, &log, store.clone(), |_| {});
    store.is_taken.store(true, Ordering::Relaxed);
    assert_eq!(pass(&archiver).failed.len(), 1);
    append(&log, "b", 1..=100);
    log.seal(None).unwrap();
    let report = pass(&archiver);
    assert_eq!((report.archived_segments, report.left), (1, 1), "{report:?}");
    let wait = super::super::running::wait(&archiver.0.work(), world.clock.monotonic(), None);
    assert_eq!(wait, Some(Duration::from_millis(1)));
    assert_eq!(pass(&archiver).archived_segments, 1);
    let wait = super::super::running::wait(&archiver.0.work(), world.clock.monotonic(), None);
    assert_eq!(wait, None, "nothing is left");
}

/// Only retention deletes, and it may do so with other credentials.
#[test]
fn who_may_not_delete_archives_all_the_same() {
    let world = World::new();
    let store = Odd::new(&world, Duration::ZERO, true);
    let log = world.open_with(&store.inner);
    fill(&log, "a", 2);
    let archiver = by(&world, &log, store.clone(), |_| {});
    let report = run(&archiver);
    assert!(report.is_complete(), "{report:?}");
    assert!(world.statuses("a").iter().all(|status| *status == SegmentStatus::Archived));
    // What it tried with stays, and no more than once.
    run(&archiver);
    assert_eq!(store.list("_probe/", None, 10).unwrap().objects.len(), 1);
}
