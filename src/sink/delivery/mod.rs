//! Delivery: brings what is sealed to every sink that subscribes, in order, again after failures.
//!
//! - [`options`]: batches and waits; [`status`]: how it goes
//! - `line`: one sink: what is due, and who works on what
//! - `deliver`: one collection to one sink: the order of operations, and why a crash between any two is safe
//! - `feed`: what is due, by the catalog's word
//! - `running`: beside the writers
//! - `compact`: what the log's compaction asks of the sinks
//!
//! Owns: cursors in the catalog, and that segments are flushed (C2). Does not own: sealing, which the log does by size, age and pressure;
//! what a sink does.
//!
//! A sink that fails stops nobody: each has a line and a thread of its own, each collection in it waits for itself, and journals are
//! released without any of them (R1). It costs what it did not take: segments that are not flushed are not evicted.

pub mod options;
pub mod status;

mod compact;
mod deliver;
mod feed;
mod line;
mod running;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

pub use options::SinksOptions;
pub use running::Running;
pub use status::{FlushFailure, FlushReport, SinkFailure, SinkStatus, ToldSinks};

use self::line::Line;
use super::{NAME_BYTES_MAX, Sink};
use crate::error::{Error, ErrorKind, Result, chain};
use crate::log::Log;
use crate::types::{ChangeNumber, CollectionName, Sequence};

/// How often other processes are told how it goes.
const TELL: Duration = Duration::from_secs(1);
/// Why a sink that somebody waits for gets nothing.
const NOT_RUNNING: &str = "no such sink is running: name it in the setting `sinks`";
/// How often a flush looks again whether somebody else's seal is over.
const LOOK: Duration = Duration::from_millis(50);

/// The sinks of a log. Clones are the same sinks.
#[derive(Clone, Debug)]
pub struct Sinks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: Log,
    options: SinksOptions,
    lines: Vec<Line>,
    /// Up to which change the lines know what is due; `None` before the first look.
    fed: Mutex<Option<ChangeNumber>>,
    /// Held while cursors are read and raised: of two sinks that arrive at once, the second sees the first.
    telling: Mutex<()>,
    /// What other processes were told last, and when, on the monotonic clock.
    told: Mutex<(Vec<SinkStatus>, Duration)>,
    stop: std::sync::atomic::AtomicBool,
}

impl Sinks {
    /// Delivery of `log` to these sinks. Nothing is asked of them yet. As long as they are there, compaction of the log compacts in them too. Which of them a collection subscribes to,
    /// [`Log::subscribers`] says: those in [`LogOptions::sinks`](crate::LogOptions::sinks), or the collection's own.
    ///
    /// # Errors
    /// `Invalid` for a name that no sink can have, or that two have, or that the log was not opened with.
    pub fn new(log: &Log, sinks: Vec<Arc<dyn Sink>>, options: SinksOptions) -> Result<Self> {
        for (index, sink) in sinks.iter().enumerate() {
            let name = sink.name();
            let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let why = if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_fine) {
                "no name of a sink"
            } else if sinks[..index].iter().any(|other| other.name() == name) {
                "two sinks have the name"
            } else if !log.sinks().iter().any(|known| known == name) {
                "the log was not opened with it"
            } else {
                continue;
            };
            return Err(Error::new(ErrorKind::Invalid, format!("{why}: sink=`{name}`")));
        }
        let lines = sinks.into_iter().map(Line::new).collect();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let shared = Arc::new(Shared {
            log: log.clone(),
            options,
            lines,
            fed: Mutex::new(None),
            telling: Mutex::default(),
            told: Mutex::default(),
            stop,
        });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        log.compact_along(weak);
        Ok(Self(shared))
    }

    /// Delivers beside the writers, in a thread for each sink, until it is stopped or the log is closed.
    ///
    /// # Errors
    /// A thread could not be made.
    pub fn start(&self) -> Result<Running> {
        Running::start(Arc::clone(&self.0))
    }

    /// Delivers everything that is due now, in this thread; what failed before and rests is left. For logs without threads.
    ///
    /// # Errors
    /// What the catalog said. What a sink said is in the [`status`](Self::status).
    pub fn run_once(&self) -> Result<()> {
        self.0.feed()?;
        for line in &self.0.lines {
            while self.0.work(line) {}
        }
        Ok(())
    }

    /// Flushes: seals what is appended so far, of one collection or of all, and returns when every sink that subscribes has it.
    /// Sinks that rest behind a failure are tried at once. Of flushes of one collection at the same time, one works, and the others find
    /// it done.
    ///
    /// `progress` is called behind each collection with the report so far, and ends it by answering no.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection; what the disk or the catalog said. What a sink said is in the report; nothing is lost by it.
    pub fn flush(
        &self,
        collection: Option<&CollectionName>,
        progress: &mut dyn FnMut(&FlushReport) -> bool,
    ) -> Result<FlushReport> {
        let shared = &*self.0;
        // First, in every mode of durability: what is appended so far is durable then, and is what is flushed.
        shared.log.sync()?;
        let targets = match collection {
            Some(name) => vec![(name.clone(), shared.log.durable_through(name)?)],
            None => shared.log.collections_through(),
        };
        let mut report = FlushReport::default();
        for (name, through) in targets {
            match shared.flush(&name, through, &mut report) {
                // Deleted meanwhile: there is nothing to flush, and others are there.
                Err(error)
                    if collection.is_none() && error.kind() == ErrorKind::NotFound && shared.is_deleted(&name)? => {}
                flushed => flushed?,
            }
            report.collections += 1;
            if report.is_interrupted {
                break;
            }
            if !progress(&report) {
                report.is_interrupted = true;
                break;
            }
        }
        if collection.is_none() && !report.is_interrupted {
            // What is due of collections that are not there any more: their floors.
            self.run_once()?;
        }
        shared.tell(true);
        Ok(report)
    }

    /// How it goes, a line each. Waits for no sink.
    #[must_use]
    pub fn status(&self) -> Vec<SinkStatus> {
        self.0.status()
    }
}

impl Shared {
    /// Seals and delivers one collection, and adds what that did to the report.
    fn flush(&self, name: &CollectionName, through: Sequence, report: &mut FlushReport) -> Result<()> {
        report.segments += self.seal(name, through)?;
        let subscribers = self.log.subscribers(name)?;
        // Each sink in a thread of its own: a slow one makes no other wait.
        let lines = || self.lines.iter().filter(|line| subscribers.iter().any(|sink| sink == line.name()));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                lines().map(|line| (line, scope.spawn(move || self.deliver_now(line, name)))).collect();
            let joined = threads.into_iter().map(|(line, thread)| (line.name(), thread.join()));
            joined.collect()
        });
        let mut fail = |sink: &str, error| {
            report.failed.push(FlushFailure { collection: name.clone(), sink: sink.to_owned(), error });
        };
        for (sink, outcome) in outcomes {
            let outcome = outcome.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the delivery panicked")));
            match outcome {
                Ok(delivered) => {
                    report.records += delivered.records;
                    report.bytes += delivered.bytes;
                    report.is_interrupted |= delivered.is_cut;
                }
                Err(error) => fail(sink, chain(&error)),
            }
        }
        // Also of those that are only on record: they will lack it when they come back.
        let sealed = self.log.catalog().collection(name)?.map_or(Sequence(0), |row| row.sealed_through);
        for (sink, _) in self.log.awaited(name)?.iter().filter(|(sink, has)| self.line(sink).is_none() && *has < sealed)
        {
            fail(sink, NOT_RUNNING.to_owned());
        }
        Ok(())
    }

    fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name() == name)
    }

    fn status(&self) -> Vec<SinkStatus> {
        let now = self.options.clock.monotonic();
        self.lines.iter().map(|line| line.status(now)).collect()
    }

    /// Tells other processes how it goes: where that changed, and now and then only, unless it `must`.
    fn tell(&self, must: bool) {
        let (now, sinks) = (self.options.clock.monotonic(), self.status());
        let mut told = locked(&self.told);
        if told.0 != sinks && (must || now.saturating_sub(told.1) >= TELL) {
            *told = (sinks.clone(), now);
            drop(told);
            ToldSinks { sinks }.tell(&self.log);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Acquire) || self.log.is_closed()
    }

    /// Seals a collection up to `through` at least, whoever seals it.
    fn seal(&self, name: &CollectionName, through: Sequence) -> Result<u64> {
        let mut segments = 0;
        let mut seen = self.log.wait_for_sealed(0, Some(Duration::ZERO));
        loop {
            let sealed = self.log.seal(Some(name))?;
            segments += sealed;
            let row = self.log.catalog().collection(name)?;
            if row.is_some_and(|row| row.sealed_through >= through || row.floor > through) || through == Sequence(0) {
                return Ok(segments);
            }
            if sealed == 0 {
                // Somebody else has the claim, or what is left came behind a hole that recovery has on record.
                if self.log.unsealed_through(name, through)? == 0 {
                    return Ok(segments);
                }
                seen = self.log.wait_for_sealed(seen, Some(LOOK));
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is kept behind the locks is counts and names: good after any panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
