//! Flush to sinks, and compaction: the same log with both in its workload.
//!
//! What must hold at every cut besides what the rest of the suite asks: a sink has exactly the front of its collection up to its cursor, each record once
//! and in order; no cursor stands before what is durable, in the sink or in the catalog; a segment is flushed only when its sinks have it; what a
//! sink does not have can be read, and is delivered by the next process; `verify` finds nothing. Of compaction: the log is as it was before a result or as
//! behind it; what the policy keeps is there, every key has the answer that it had, and nothing comes back. What was compacted away before a sink
//! subscribed, or before one that forgets came for it again, that sink does not get.
//!
//! - `disk`: sinks that lie on the simulated disk; `policy`: what compaction may take
//! - `act`: the steps; `check`: what is looked at
//! - `runs`: seeded runs; `matrix`: one flush, one compaction, and both beside a move, cut at every change
//!
//! `ICECORE_CRASH_STORED_STATES` sets how many distinct states the seeded runs try (10,000).

mod act;
mod check;
mod disk;
pub mod matrix;
mod policy;
mod runs;

use std::sync::Arc;
use std::time::Duration;

use icecore::clock::FakeClock;
use icecore::fs::SimulatedFileSystem;
use icecore::log::{CompactionSettings, Keep};
use icecore::sink::{Sink, Sinks, SinksOptions};
use icecore::{Error, Log};

pub use check::{Readers, check_disk, check_flushed, check_open, compacting, newest, verify};
pub use disk::{DiskSink, Held, KEEPS, LATE, PLACE, SinkRule};
pub use policy::Compacting;
pub use runs::steps;

use crate::model::name;
use crate::workload::{Broken, Setup};

/// What of this is part of a run; by default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stored {
    /// How many sinks: none, one, or all three.
    pub sinks: usize,
    pub compaction: Option<CompactionSettings>,
    pub broken: Option<SinkRule>,
}

impl Stored {
    /// The names of the sinks, in the order in which they are delivered to.
    pub fn names(&self) -> &'static [&'static str] {
        &disk::NAMES[disk::NAMES.len() - self.sinks..]
    }

    pub const fn is_any(&self) -> bool {
        self.sinks > 0 || self.compaction.is_some()
    }

    /// What compaction leaves, in one of four ways.
    pub fn policy(number: u64) -> CompactionSettings {
        let seconds = |count| Some(Keep::UpTo(Duration::from_secs(count)));
        let (keep_versions, ttl, tombstone_grace, target_bytes) = match number % 4 {
            0 => (Some(Keep::UpTo(1)), None, seconds(1), Some(Keep::UpTo(16 << 10))),
            1 => (Some(Keep::UpTo(2)), seconds(3600), None, Some(Keep::All)),
            2 => (None, None, None, Some(Keep::UpTo(32 << 10))),
            _ => (None, seconds(3600), seconds(60), Some(Keep::UpTo(4 << 10))),
        };
        CompactionSettings { keep_versions, ttl, tombstone_grace, target_bytes }
    }
}

/// The sinks of an open log.
pub struct Delivery {
    sinks: Sinks,
    pub all: Vec<Arc<DiskSink>>,
}

impl Delivery {
    pub fn new(setup: &Setup, fs: &SimulatedFileSystem, log: &Log, clock: Arc<FakeClock>) -> Result<Self, Broken> {
        let all: Vec<Arc<DiskSink>> =
            setup.stored.names().iter().map(|name| Arc::new(DiskSink::new(name, fs, setup.stored.broken))).collect();
        let dynamic = all.iter().map(|sink| Arc::clone(sink) as Arc<dyn Sink>).collect();
        let options = SinksOptions { clock, ..SinksOptions::default() };
        let sinks = Sinks::new(log, dynamic, options).map_err(|error| error.to_string())?;
        Ok(Self { sinks, all })
    }

    /// Delivers what is due, in this thread.
    pub fn deliver(&self) -> Result<Option<Error>, Broken> {
        let outcome = self.sinks.run_once();
        // Nothing on this disk fails.
        let failure = self.sinks.status().into_iter().find_map(|status| Some((status.sink, status.last_failure?)));
        match failure {
            Some((sink, failure)) => {
                Err(format!("sink `{sink}`, collection `{}`: refused: {}", failure.collection, failure.error))
            }
            None => Ok(outcome.err()),
        }
    }

    /// Flushes one collection or all. Where there are several sinks, their threads would come in another order each time: then
    /// the same is done in this one.
    pub fn flush(&self, log: &Log, collection: Option<usize>) -> Result<Option<Error>, Broken> {
        let name = collection.map(name);
        if self.all.len() > 1 {
            return match log.sync().and_then(|()| log.seal(name.as_ref())) {
                Ok(_) => self.deliver(),
                Err(error) => Ok(Some(error)),
            };
        }
        self.flush_by_threads(name.as_ref())
    }

    /// As [`flush`](Self::flush), as users do it: where nobody watches in which order.
    pub fn flush_by_threads(&self, name: Option<&icecore::CollectionName>) -> Result<Option<Error>, Broken> {
        match self.sinks.flush(name, &mut |_| true) {
            Ok(report) if report.failed.is_empty() => Ok(None),
            Ok(report) => Err(format!("a flush fails on a disk without faults: {:?}", report.failed)),
            Err(error) => Ok(Some(error)),
        }
    }
}
