//! A disk, a catalog and a store; what may be there at any time, and what must be there in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use icecore::archive::archiver::{ArchiveReport, Archiver, ArchiverOptions, TargetStore};
use icecore::archive::{ArchiveState, chain};
use icecore::avro::codec::Codec;
use icecore::avro::sha256;
use icecore::catalog::{Catalog, SegmentRow, SegmentStatus};
use icecore::clock::{Clock, FakeClock};
use icecore::fs::SimulatedFileSystem;
use icecore::objects::{ObjectStore, Patience};
use icecore::testing::faulty_store::FaultyStore;
use icecore::{CollectionName, Log, LogOptions, NewRecord, Timestamp, VerifyOptions};

use crate::kept::Kept;
use crate::sabotage::{Broken, BrokenStore};

pub const NAMES: [&str; 2] = ["audit", "Orders/2024"];
/// Records of each segment.
pub const RECORDS: u64 = 3;

pub fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

/// Everything that is left when a process ends.
#[derive(Debug)]
pub struct World<C: Kept> {
    pub fs: SimulatedFileSystem,
    pub catalog: Arc<C>,
    pub store: Arc<FaultyStore>,
    pub clock: Arc<FakeClock>,
    /// A rule that its store breaks.
    pub broken: Option<Broken>,
}

/// Gives up at once, so that each fault is one that the archiver sees.
pub const HASTY: Patience = Patience {
    tries: 1,
    span: Duration::from_secs(1),
    first_wait: Duration::from_millis(10),
    longest_wait: Duration::from_millis(10),
    breaker_failures: 1000,
    breaker_rest: Duration::from_secs(1),
};

/// In a fixed order, two segments to a manifest.
pub fn options(clock: &Arc<FakeClock>, patience: Patience) -> ArchiverOptions {
    ArchiverOptions {
        parallel: 1,
        manifest_segments: 2,
        patience,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..ArchiverOptions::default()
    }
}

impl<C: Kept> World<C> {
    /// A log with so many segments in each of two collections.
    pub fn new(catalog: C, segments: [u64; 2]) -> Self {
        let clock = Arc::new(FakeClock::at(Timestamp(1_700_000_000_000_000)));
        let store = Arc::new(FaultyStore::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let world = Self { fs: SimulatedFileSystem::new(), catalog: Arc::new(catalog), store, clock, broken: None };
        let log = world.open();
        for (name_of, count) in NAMES.iter().zip(segments) {
            (0..count).for_each(|_| seal(&log, name_of));
        }
        log.close().unwrap();
        world
    }

    /// What another process finds, if this one ends now. Time goes on: no two draw the same ids.
    pub fn image(&self, number: u64) -> Self {
        let now = Timestamp(self.clock.now().micros() + 3_600_000_000 * (number.cast_signed() + 1));
        let clock = Arc::new(FakeClock::at(now));
        Self {
            fs: self.fs.kill_image(),
            catalog: Arc::new(self.catalog.snapshot()),
            store: Arc::new(self.store.snapshot().with_clock(Arc::clone(&clock) as Arc<dyn Clock>)),
            clock,
            broken: self.broken,
        }
    }

    pub fn open(&self) -> Log {
        let mut options = LogOptions::new(["/one"]);
        options.codec = Codec::Null;
        options.fs = Arc::new(self.fs.clone());
        options.catalog = Some(Arc::clone(&self.catalog) as Arc<dyn Catalog>);
        options.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        options.background = false;
        Log::open(options).unwrap()
    }

    pub fn archiver(&self, log: &Log, patience: Patience) -> Archiver {
        Archiver::new(log, vec![self.target()], options(&self.clock, patience)).unwrap()
    }

    pub fn target(&self) -> TargetStore {
        let store: Arc<dyn ObjectStore> = match self.broken {
            None => Arc::clone(&self.store) as _,
            Some(rule) => Arc::new(BrokenStore::new(&self.store, rule)),
        };
        TargetStore { remote: None, url: "memory://archive".into(), store }
    }

    pub fn rows(&self) -> Vec<SegmentRow> {
        self.catalog.segments(None, None, 10_000).unwrap()
    }

    pub fn counts(&self) -> BTreeMap<SegmentStatus, u64> {
        self.rows().iter().fold(BTreeMap::new(), |mut counts, row| {
            *counts.entry(row.status).or_default() += 1;
            counts
        })
    }

    /// What the manifests say, without what others put in their place.
    pub fn archived(&self) -> ArchiveState {
        let (store, ours) = (self.store.snapshot(), self.store.created());
        store.objects().keys().filter(|key| !ours.contains_key(*key)).for_each(|key| store.lose(key));
        chain::state(&store).unwrap()
    }

    /// At any time: what a manifest names is there, whole; what a row says to be archived is, too, and a manifest names it (O1, O4). Nothing was made twice. No local
    /// file is gone.
    pub fn must_be_sound(&self, what: &str) {
        let objects = self.store.objects();
        for (key, times) in self.store.created() {
            assert_eq!(times, 1, "{what}: created twice: {key}");
        }
        let state = self.archived();
        for named in state.segments() {
            let key = named.object_key().to_string();
            let object =
                objects.get(&key).unwrap_or_else(|| panic!("{what}: a manifest names what is not there: {key}"));
            assert_eq!(sha256(object), named.sha256, "{what}: {key}");
        }
        let archived: Vec<SegmentRow> =
            self.rows().into_iter().filter(|row| row.status == SegmentStatus::Archived).collect();
        for row in archived {
            let key = row.archive_key.as_deref().unwrap_or_else(|| panic!("{what}: no key: {}", row.key));
            let object = objects.get(key).unwrap_or_else(|| panic!("{what}: not there: {key}"));
            assert_eq!(sha256(object), row.sha256, "{what}: {key}");
            let named = state.segment(&row.key).unwrap_or_else(|| panic!("{what}: no manifest names {}", row.key));
            assert!(named.is_of_row(&row), "{what}: {}", row.key);
        }
    }

    /// In the end: everything is archived, each segment once, and the log has every record.
    pub fn must_be_complete(&self, log: &Log, what: &str) {
        self.must_be_sound(what);
        let rows = self.rows();
        assert!(rows.iter().all(|row| row.status == SegmentStatus::Archived), "{what}: {:?}", self.counts());
        let state = self.archived();
        assert_eq!(state.problems(), [""; 0], "{what}");
        let named: Vec<_> = state.segments().map(|segment| segment.segment.clone()).collect();
        let mut expected: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
        expected.sort();
        assert_eq!(named, expected, "{what}");
        assert_eq!(state.log(), Some(log.id()), "{what}");
        // What counts is what was put: nothing else lies under the keys of segments.
        let segments = self.store.objects().keys().filter(|key| !key.starts_with('_')).count();
        assert_eq!(segments, rows.len(), "{what}: objects of segments");
        let intents = icecore::archive::intent::read(&*self.catalog).unwrap();
        assert!(intents.iter().all(|intent| !expected.contains(&intent.segment)), "{what}: {intents:?}");
        let report = log.verify(VerifyOptions { deep: true }).unwrap();
        let records = rows.iter().map(|row| row.records).sum::<u64>();
        assert!(report.ok && report.records == records, "{what}: {report:?}");
    }

    /// Runs until nothing is left, a few times at most.
    pub fn finish(&self, what: &str) {
        let log = self.open();
        self.finish_with(&log, &self.archiver(&log, HASTY), what);
        log.close().unwrap();
    }

    pub fn finish_with(&self, log: &Log, archiver: &Archiver, what: &str) {
        let mut last = None;
        for _ in 0..4 {
            let report = run(archiver);
            if report.as_ref().is_ok_and(ArchiveReport::is_complete) {
                return self.must_be_complete(log, what);
            }
            last = Some(report);
            // A store may have asked to be left alone for a while.
            self.clock.advance(Duration::from_mins(10));
        }
        panic!("{what}: never complete: {last:?}, {:?}", self.counts());
    }
}

/// The number of the call that puts the first segment of a run.
pub fn first_segment<C: Kept>(world: &World<C>) -> u64 {
    let trial = world.image(0);
    let log = trial.open();
    run(&trial.archiver(&log, HASTY)).unwrap();
    let calls = trial.store.calls();
    let put = calls.iter().find(|call| call.operation == "put" && !call.key.starts_with('_'));
    put.expect("a segment is put").number
}

pub fn run(archiver: &Archiver) -> icecore::Result<ArchiveReport> {
    archiver.run_once(&mut |_| true)
}

/// Appends a few records, and seals them.
pub fn seal(log: &Log, collection: &str) {
    let collection = name(collection);
    for number in 0..RECORDS {
        log.append(&collection, NewRecord::put(format!("key-{number}"), "a value of some length".repeat(20))).unwrap();
    }
    assert_eq!(log.seal(Some(&collection)).unwrap(), 1);
}
