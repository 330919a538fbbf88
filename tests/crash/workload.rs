//! What a log goes through: a seeded list of steps, and the log, disk, catalog and model that go through it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use icecore::avro::codec::Codec;
use icecore::catalog::memory::MemoryCatalog;
use icecore::clock::FakeClock;
use icecore::fs::SimulatedFileSystem;
use icecore::fs::simulated::Cut;
use icecore::testing::Sabotage;
use icecore::{AppendOptions, Error, ErrorKind, Log, LogOptions, NewRecord, ReadOptions, Receipt, SyncMode, Timestamp};

use crate::kept::Kept;
use crate::model::{COLLECTIONS, FEW, Found, Model, Promise, name};
use crate::stored::{self, Delivery, Stored};

/// Where directories are.
pub const PLACES: [&str; 3] = ["/one", "/two", "/three"];

/// What one run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    pub directories: usize,
    pub collections: usize,
    pub sync: SyncMode,
    pub codec: Codec,
    pub sabotage: Sabotage,
    pub stored: Stored,
}

impl Setup {
    /// Most runs promise durability, on one directory, without compression; some do not, or have two, or compress.
    pub fn of(seed: u64) -> Self {
        let sync = match seed % 8 {
            5 => SyncMode::Always,
            6 => SyncMode::Periodic,
            7 => SyncMode::Never,
            _ => SyncMode::PerBatch,
        };
        let codec = if seed % 16 == 9 { Codec::DEFAULT } else { Codec::Null };
        let directories = 1 + usize::from(seed % 3 == 2);
        let (sabotage, stored) = (Sabotage::default(), Stored::default());
        Self { seed, directories, collections: FEW, sync, codec, sabotage, stored }
    }

    /// Limits so small that rotation, sealing, cooling and release come every few appends.
    pub fn options<C: Kept>(&self, fs: &SimulatedFileSystem, catalog: &Arc<C>, clock: Arc<FakeClock>) -> LogOptions {
        let mut options = LogOptions::new(PLACES.into_iter().take(self.directories));
        options.sync = self.sync;
        options.codec = self.codec;
        options.sabotage = self.sabotage;
        options.limits.journal_bytes = 32 << 10;
        options.limits.segment_bytes = 6 << 10;
        options.limits.memtable_bytes = 24 << 10;
        options.limits.unsealed_bytes = 96 << 10;
        options.sinks = self.stored.names().iter().map(|name| (*name).to_owned()).collect();
        options.compaction = self.stored.compaction.unwrap_or_default();
        options.cold_bytes = 2 << 10;
        options.block_bytes = 2 << 10;
        options.fs = Arc::new(fs.clone());
        options.catalog = Some(Arc::clone(catalog) as Arc<dyn icecore::catalog::Catalog>);
        options.clock = clock;
        options.background = false;
        options
    }

    /// The time at which the run begins; no two runs share one, so that no two draw the same ids.
    pub const fn begins(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000 + (self.seed as i64) * 10_000_000_000)
    }
}

/// One thing that happens to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Append {
        collection: usize,
        lengths: Vec<usize>,
        sync: Option<SyncMode>,
    },
    Many(Vec<(usize, Vec<usize>)>),
    Delete {
        collection: usize,
    },
    Seal(Option<usize>),
    Sync,
    Maintain,
    /// Sinks get what is sealed.
    Deliver,
    /// One collection, or all, is sealed, and sinks get it.
    Flush(Option<usize>),
    /// One sink is subscribed to by a collection, or not any more.
    Subscribe {
        collection: usize,
        to_late: bool,
    },
    /// `read`: somebody reads every collection meanwhile.
    Compact {
        read: bool,
    },
    Mode(SyncMode),
    Pause(Duration),
    /// Closed in good order, and opened again.
    Reopen,
    /// The process is killed, and the log opened again.
    Kill,
    /// The power is cut, and the log opened again.
    PowerCut,
}

fn lengths(random: &mut fastrand::Rng) -> Vec<usize> {
    let count = if random.u8(0..3) == 0 { random.usize(1..6) } else { 1 };
    let most = [40, 40, 300, 1500, 5000][random.usize(0..5)];
    (0..count).map(|_| random.usize(0..most)).collect()
}

/// The steps of a seed.
pub fn steps(setup: &Setup, count: usize, crashes: bool) -> Vec<Step> {
    let mut random = fastrand::Rng::with_seed(setup.seed);
    let collection = |random: &mut fastrand::Rng| {
        // The last one is quiet: it keeps journals waiting.
        if random.u8(0..20) == 0 { setup.collections - 1 } else { random.usize(0..setup.collections - 1) }
    };
    (0..count)
        .map(|_| match random.u8(0..100) {
            0..=54 => {
                let sync = (random.u8(0..10) == 0)
                    .then_some([SyncMode::Always, SyncMode::PerBatch, SyncMode::Never][random.usize(0..3)]);
                Step::Append { collection: collection(&mut random), lengths: lengths(&mut random), sync }
            }
            55..=62 => {
                let mut each: Vec<usize> = (0..setup.collections).collect();
                random.shuffle(&mut each);
                each.truncate(random.usize(1..4));
                Step::Many(each.into_iter().map(|collection| (collection, lengths(&mut random))).collect())
            }
            63..=66 => Step::Delete { collection: collection(&mut random) },
            67..=69 => Step::Seal(Some(collection(&mut random))),
            70 => Step::Seal(None),
            71..=73 => Step::Sync,
            74..=83 => Step::Maintain,
            84 => Step::Mode([setup.sync, SyncMode::PerBatch, setup.sync][random.usize(0..3)]),
            85..=90 => Step::Pause(Duration::from_secs(if random.u8(0..8) == 0 { 90_000 } else { 1 })),
            91..=93 => Step::Reopen,
            94..=96 if crashes => Step::Kill,
            97..=99 if crashes => Step::PowerCut,
            _ => Step::Maintain,
        })
        .collect()
}

/// A log and everything around it.
pub struct World<C = MemoryCatalog> {
    pub setup: Setup,
    pub fs: SimulatedFileSystem,
    pub catalog: Arc<C>,
    pub clock: Arc<FakeClock>,
    pub model: Arc<Mutex<Model>>,
    pub log: Option<Log>,
    pub delivery: Option<Delivery>,
    /// Records that compaction removed.
    pub compacted: u64,
    mode: SyncMode,
    random: fastrand::Rng,
}

/// What the errors say that the simulated disk gives.
pub const ON_PURPOSE: &str = "on purpose";

/// Why a run cannot go on: the log broke a promise.
pub type Broken = String;

impl World {
    pub fn new(setup: Setup) -> Self {
        Self::with(setup, Arc::default())
    }
}

impl<C: Kept> World<C> {
    /// With this catalog, which must be empty.
    pub fn with(setup: Setup, catalog: Arc<C>) -> Self {
        Self {
            setup,
            fs: SimulatedFileSystem::new(),
            catalog,
            clock: Arc::new(FakeClock::at(setup.begins())),
            model: Arc::default(),
            log: None,
            delivery: None,
            compacted: 0,
            mode: setup.sync,
            random: fastrand::Rng::with_seed(setup.seed ^ 0x5eed),
        }
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the log, and compares what it holds with what was promised.
    pub fn open(&mut self, least: Promise) -> Result<(), Broken> {
        let failed = self.try_open(least)?;
        failed.map_or(Ok(()), |error| Err(told("the log does not open", &error)))
    }

    /// As [`open`](Self::open), on a disk that may fail.
    pub fn try_open(&mut self, least: Promise) -> Result<Option<Error>, Broken> {
        self.mode = self.setup.sync;
        let options = self.setup.options(&self.fs, &self.catalog, Arc::clone(&self.clock));
        let log = match Log::open(options) {
            Ok(log) => log,
            Err(error) => return Ok(Some(error)),
        };
        if log.recovery().damaged.iter().any(|damaged| damaged.reason.contains(ON_PURPOSE)) {
            // A journal that cannot be read now is served without, and said so: as good as not open, here.
            return Ok(log.close().err().or_else(|| Some(Error::new(ErrorKind::Unavailable, ON_PURPOSE))));
        }
        check_report(&log)?;
        let found = match read_all(&log) {
            Err(what) if what.contains(ON_PURPOSE) => {
                return Ok(Some(Error::new(ErrorKind::Unavailable, what)));
            }
            found => found?,
        };
        self.model().check(&found, least)?;
        self.model().settle(&found);
        if self.setup.stored.is_any() {
            stored::check_disk(&self.setup, &self.fs, &*self.catalog, &self.model())?;
            stored::check_open(&self.setup, &self.fs, &self.model(), &found)?;
            self.delivery = Some(Delivery::new(&self.setup, &self.fs, &log, Arc::clone(&self.clock))?);
        }
        self.log = Some(log);
        Ok(None)
    }

    /// The log was opened otherwise than by [`open`](Self::open).
    pub fn opened(&mut self, log: Log) {
        self.mode = self.setup.sync;
        self.log = Some(log);
    }

    /// The disk and the catalog as the next process finds them; the log of this one is left behind.
    pub fn abandon(&mut self, fs: SimulatedFileSystem) {
        self.fs.observe_no_more();
        self.fs.stop_after(0);
        self.log = None;
        self.delivery = None;
        self.fs = fs;
        self.catalog = Arc::new(self.catalog.snapshot());
    }

    /// Does a step that leaves the log open. `Ok(Some)`: the log gave an error, as it may when the disk does.
    pub fn act(&mut self, step: &Step) -> Result<Option<Error>, Broken> {
        let Some(log) = self.log.clone() else { return Ok(None) };
        let outcome = match step {
            Step::Append { collection, lengths, sync } => {
                let records = self.records(lengths);
                return self.append(&log, *collection, records, *sync);
            }
            Step::Delete { collection } => {
                let records = [NewRecord::delete("key-1"), NewRecord::delete("key-2")].into();
                return self.append(&log, *collection, records, None);
            }
            Step::Many(batches) => return self.append_many(&log, batches),
            Step::Seal(collection) => {
                let name = collection.map(name);
                let sealed = log.seal(name.as_ref());
                if sealed.is_ok() {
                    self.model().synced();
                }
                // A collection that nothing was appended to yet is not there.
                sealed.map(drop).or_else(absent)
            }
            Step::Sync => log.sync().inspect(|()| self.model().synced()),
            Step::Maintain => log.maintain(),
            Step::Deliver => return self.deliver(|delivery| delivery.deliver()),
            Step::Flush(collection) => return self.flush(&log, *collection),
            Step::Subscribe { collection, to_late } => self.subscribe(&log, *collection, *to_late),
            Step::Compact { read } => return self.compact(&log, *read),
            Step::Mode(mode) => log.set_sync_mode(*mode).inspect(|()| {
                self.mode = *mode;
                if mode.is_synced() {
                    self.model().synced();
                }
            }),
            Step::Pause(span) => {
                self.clock.advance(*span);
                Ok(())
            }
            Step::Reopen | Step::Kill | Step::PowerCut => unreachable!("ends the process"),
        };
        Ok(outcome.err())
    }

    fn append(
        &mut self,
        log: &Log,
        collection: usize,
        records: Arc<[NewRecord]>,
        sync: Option<SyncMode>,
    ) -> Result<Option<Error>, Broken> {
        let expected = self.model().begin(collection, Arc::clone(&records));
        let options = AppendOptions { sync, ..AppendOptions::default() };
        let outcome = log.append_batch(&name(collection), &records, options);
        self.note(collection, expected, sync, outcome)
    }

    fn append_many(&mut self, log: &Log, batches: &[(usize, Vec<usize>)]) -> Result<Option<Error>, Broken> {
        let batches: Vec<_> = batches
            .iter()
            .map(|(collection, lengths)| (*collection, name(*collection), self.records(lengths)))
            .collect();
        let expected: Vec<u64> = batches
            .iter()
            .map(|(collection, _, records)| self.model().begin(*collection, Arc::clone(records)))
            .collect();
        let given: Vec<_> = batches.iter().map(|(_, name, records)| (name, &**records)).collect();
        let outcomes = log.append_many_each(&given, AppendOptions::default());
        let mut failed = None;
        for (((collection, ..), expected), outcome) in batches.iter().zip(expected).zip(outcomes) {
            failed = self.note(*collection, expected, None, outcome)?.or(failed);
        }
        Ok(failed)
    }

    fn note(
        &mut self,
        collection: usize,
        expected: u64,
        sync: Option<SyncMode>,
        outcome: Result<Receipt, Error>,
    ) -> Result<Option<Error>, Broken> {
        match outcome {
            Ok(receipt) if receipt.first.0 != expected => Err(format!(
                "collection `{}`: the append got sequence `{}`, and should have got `{expected}`",
                COLLECTIONS[collection], receipt.first
            )),
            Ok(_) => {
                let synced = sync.unwrap_or(self.mode).is_synced();
                self.model().acknowledge(collection, if synced { Promise::Durable } else { Promise::Written });
                Ok(None)
            }
            Err(error) => {
                if error.kind() != ErrorKind::OutcomeUnknown {
                    self.model().refuse(collection);
                }
                Ok(Some(error))
            }
        }
    }

    /// Ends the process as the step says, and returns the next one's disk and what must be there at least.
    pub fn end(&mut self, step: &Step) -> (SimulatedFileSystem, Promise, Option<Error>) {
        match step {
            Step::Kill => (self.fs.kill_image(), Promise::Written, None),
            Step::PowerCut => {
                self.model().power_was_cut();
                (self.fs.crash_image(Cut::Random { seed: self.random.u64(..) }), Promise::Durable, None)
            }
            _ => {
                let closed = self.log.take().map_or(Ok(()), |log| log.close());
                if closed.is_ok() {
                    self.model().synced();
                }
                (self.fs.kill_image(), Promise::Written, closed.err())
            }
        }
    }

    fn records(&mut self, lengths: &[usize]) -> Arc<[NewRecord]> {
        lengths.iter().map(|&len| record(&mut self.random, len)).collect()
    }
}

/// A record like no other.
fn record(random: &mut fastrand::Rng, len: usize) -> NewRecord {
    let mut payload = random.u64(..).to_le_bytes().to_vec();
    payload.resize(8 + len, random.u8(..));
    match random.u8(0..8) {
        0 => NewRecord::payload(payload),
        1 => NewRecord::put(format!("key-{}", random.u8(0..9)), payload).with_header("source", "crash"),
        2 => NewRecord::put("", payload).with_timestamp(Timestamp(random.i64(..))),
        3 => NewRecord::put("key-1", payload).with_expiry(Timestamp(random.i64(0..))),
        _ => NewRecord::put(format!("key-{}", random.u8(0..9)), payload),
    }
}

/// A collection that nothing was appended to yet is not there.
pub fn absent(error: Error) -> Result<(), Error> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

pub fn told(what: &str, error: &Error) -> Broken {
    let mut text = format!("{what}: {:?}: {error}", error.kind());
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}

/// A crash is no damage: whoever reports some after one, blames the disk for what the log did.
pub fn check_report(log: &Log) -> Result<(), Broken> {
    let report = log.recovery();
    if report.damaged.is_empty() && report.losses.is_empty() && !report.catalog_is_old {
        return Ok(());
    }
    Err(format!(
        "recovery reports what a crash cannot do: damaged={:?}, losses={:?}, catalog_is_old={}",
        report.damaged, report.losses, report.catalog_is_old
    ))
}

/// Everything that the log holds; there must be no collection that nobody appended to.
pub fn read_all(log: &Log) -> Result<Found, Broken> {
    let rows = log.catalog().collections(None, usize::MAX).map_err(|error| error.to_string())?;
    if let Some(strange) = rows.iter().find(|row| !COLLECTIONS.contains(&row.name.as_str())) {
        return Err(format!("collection `{}` was invented", strange.name));
    }
    (0..COLLECTIONS.len())
        .map(|collection| match log.contents(&name(collection)) {
            Ok(found) => {
                // What lies there, and what a reader gives, are the same.
                let given: Result<Vec<_>, Error> =
                    log.read(&name(collection), ReadOptions::default()).and_then(Iterator::collect);
                let given = given.map_err(|error| told("cannot read", &error))?;
                if given == found { Ok(found) } else { Err("a reader gives something else than what is there".into()) }
            }
            Err(error) if error.kind() == ErrorKind::NotFound && error.to_string().starts_with("no such") => {
                Ok(Vec::new())
            }
            Err(error) => Err(told("cannot read", &error)),
        })
        .collect()
}
