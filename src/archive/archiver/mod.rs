//! Brings sealed segments to the archive, and to the homes of their collections (A5), driven by the catalog's state.
//!
//! - [`options`]: how it works, and the stores
//! - `round`: the order of operations, and why a crash between any two is safe
//! - `upload`: one segment: put and proof; `pool`: several at a time
//! - `target`: one store: claimed once, what its manifests say that rows do not
//! - `facts`: what manifests say besides segments
//! - `homes`: what they say of homes of segments
//! - `claims`: taking a store over, and remembering who we were there
//! - `copies`: copies of the catalog, now and then
//! - `upkeep`: behind passes: evicting by rules, going on with purges
//! - `kept`: what the catalog keeps of how it went
//! - [`noted`]: what the catalog knows of manifests
//! - `running`: beside the writers; [`status`]: how it goes; `purge`: lending the stores to a purge
//!
//! Owns: rows that are `Archiving`, the catalog's values `archive.*`, what becomes of failures. Does not own: manifests and who may write them
//! ([`fence`](super::fence)), retries of single requests ([`PatientStore`]), bringing local files back.
//!
//! There is one archiver for a log in a process: a second one is refused. Of several processes only one has the log open to write.
//!
//! # What fails
//!
//! - A **store** that does not answer, or refuses: its segments stay `Sealed`; it is tried again later, each time twice as late. Others go on.
//! - A **segment** that is damaged, or whose key is taken: never archived, never overwritten; told, and left alone for a while. Others go on.
//! - **Fenced** (O2): nothing is archived there any more, and everything says so, until an operator takes it over.
//! - The **catalog**: the pass ends with an error; rows that it left `Archiving` are set back by the next.

pub mod noted;
pub mod options;
pub mod status;

pub(super) mod claims;
mod copies;
mod facts;
pub(super) mod homes;
mod kept;
mod pool;
mod purge;
mod round;
mod running;
mod target;
#[cfg(test)]
mod tests;
mod upkeep;
mod upload;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use claims::must_be_ours;
pub use kept::{KeptStore, kept_stores};
pub use noted::Noted;
pub use options::{ArchiverOptions, TargetStore};
pub use running::Running;
pub use status::{ArchiverStatus, EvictStatus, Parked, TargetStatus};

use self::homes::Homes;
use self::round::{Pass, Round};
use self::target::Target;
use self::upkeep::{Next, Upkeep};
use self::upload::{Job, Means, Trouble};
use super::intent::{self, Intent};
use super::limits::{Bandwidth, Budget};
use super::salvage::anew::Broken;
use crate::catalog::{Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::log::tier::ArchiverTurn;
use crate::objects::{ObjectStore, PatientStore, Stop};
use crate::segment::{FileRange, file_sha256};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;

/// Brings sealed segments to stores. Clones are the same archiver.
#[derive(Clone, Debug)]
pub struct Archiver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: Log,
    options: ArchiverOptions,
    stop: Stop,
    budget: Budget,
    bandwidth: Option<Bandwidth>,
    /// Held for a whole pass.
    work: Mutex<Work>,
    stores: Vec<Arc<PatientStore>>,
    view: Mutex<View>,
    in_flight: AtomicU64,
    archived_segments: AtomicU64,
    archived_bytes: AtomicU64,
    /// Nobody else archives the log in this process.
    _turn: ArchiverTurn,
}

/// What only the one who archives changes.
#[derive(Debug)]
struct Work {
    targets: Vec<Target>,
    parked: HashMap<SegmentKey, Park>,
    /// The attempts on record.
    intents: Vec<Intent>,
    /// When the first of what the last pass left alone may be tried, on the monotonic clock.
    next: Option<Duration>,
    /// When a copy of the catalog is tried again that could not be made.
    copying: Next,
    upkeep: Upkeep,
}

/// A segment that is left alone for a while.
#[derive(Clone, Debug, Default)]
struct Park {
    reason: String,
    times: u32,
    /// On the monotonic clock.
    until: Duration,
}

/// What [`Archiver::status`] shows without waiting for a pass.
#[derive(Debug, Default)]
struct View {
    targets: Vec<TargetStatus>,
    parked: Vec<Parked>,
    evict: EvictStatus,
}

/// How far a pass has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveProgress {
    /// Segments that were dealt with.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that were sealed when it began.
    pub segments_total: u64,
    /// Their bytes.
    pub bytes_total: u64,
}

/// What a pass did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ArchiveReport {
    /// Segments that are archived now.
    pub archived_segments: u64,
    /// Their bytes.
    pub archived_bytes: u64,
    /// Manifests that were written for that.
    pub manifests: u64,
    /// Local copies that went, as the rules say.
    pub evicted_segments: u64,
    /// Their bytes.
    pub evicted_bytes: u64,
    /// Segments whose purge, begun before, was brought to its end.
    pub purged_segments: u64,
    /// Their bytes.
    pub purged_bytes: u64,
    /// Segments that could not be archived, and why.
    pub failed: Vec<FailedSegment>,
    /// Sequences that are missing before a segment without a loss on record, a line each.
    pub holes: Vec<String>,
    /// Stores that failed, or are no longer ours.
    pub errors: Vec<StoreFailure>,
    /// Segments of collections for which no store was given.
    pub without_store: u64,
    /// Segments that were not tried, since their store fails or since they failed lately.
    pub left: u64,
    /// It was interrupted: more may be left.
    pub is_interrupted: bool,
}

/// A segment that could not be archived.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FailedSegment {
    /// Which.
    pub segment: SegmentKey,
    /// Its bytes.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

/// A store that failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoreFailure {
    /// Where it is.
    pub url: String,
    /// What to do about it.
    #[serde(skip)]
    pub kind: ErrorKind,
    /// What it said.
    pub error: String,
}

impl ArchiveReport {
    /// Whether everything that was sealed is archived now.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
            && self.errors.is_empty()
            && self.left == 0
            && self.without_store == 0
            && !self.is_interrupted
    }
}

impl Archiver {
    /// An archiver of `log` to these stores. Nothing is asked of them yet.
    ///
    /// # Errors
    /// `Invalid` for options that cannot be, or where two stores are for the same segments; `Locked` while another archiver of the same log lives.
    pub fn new(log: &Log, targets: Vec<TargetStore>, options: ArchiverOptions) -> Result<Self> {
        options.check()?;
        let mut remotes = HashSet::new();
        if let Some(twice) = targets.iter().find(|target| !remotes.insert(target.remote.clone())) {
            let message = format!("two stores for the same segments: url=`{}`", twice.url);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if !options.evict.is_never() && !log.has_archive() {
            let message = "local copies are to go, and the log was opened without an archive to read them from";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let turn = log.take_archiver_turn()?;
        let stop = Stop::default();
        let targets: Vec<Target> = targets.into_iter().map(|target| Target::new(target, &options, &stop)).collect();
        let bandwidth = options.bytes_per_second.map(|bytes| Bandwidth::new(Arc::clone(&options.clock), bytes));
        let shared = Shared {
            log: log.clone(),
            budget: Budget::new(options.memory_bytes),
            bandwidth,
            stores: targets.iter().map(|target| Arc::clone(&target.store)).collect(),
            view: Mutex::default(),
            work: Mutex::new(Work {
                targets,
                parked: HashMap::new(),
                intents: Vec::new(),
                next: None,
                copying: Next::default(),
                upkeep: Upkeep::default(),
            }),
            in_flight: AtomicU64::new(0),
            archived_segments: AtomicU64::new(0),
            archived_bytes: AtomicU64::new(0),
            _turn: turn,
            options,
            stop,
        };
        shared.show(&shared.work());
        Ok(Self(Arc::new(shared)))
    }

    /// Archives everything that is sealed now. `progress` is told how far it has come, and ends it by answering no: what is under way
    /// then is finished.
    ///
    /// # Errors
    /// What the catalog said; `Closed`. What befalls segments and stores is told in the report, and others go on.
    pub fn run_once(&self, progress: &mut dyn FnMut(&ArchiveProgress) -> bool) -> Result<ArchiveReport> {
        self.0.pass(false, progress)
    }

    /// Archives beside the writers, in a thread of its own, until it is stopped or the log is closed.
    ///
    /// # Errors
    /// The thread could not be made.
    pub fn start(&self) -> Result<Running> {
        Running::start(Arc::clone(&self.0))
    }

    /// Ends it for good: uploads under way are given up, nothing waits.
    pub fn stop(&self) {
        self.0.stop.stop();
        self.0.log.wake_archivers();
    }

    /// How it goes. Waits for no upload.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn status(&self) -> Result<ArchiverStatus> {
        self.0.status()
    }

    /// The archived object of a segment is lost, and its local file is there: it is sealed again, and archived anew by the next pass.
    ///
    /// # Errors
    /// `Corrupt` where the local file is not whole either, `NotFound` where there is none; `Conflict` where the row is not `Archived`; what the
    /// disk or the catalog said.
    pub fn reupload(&self, row: &SegmentRow) -> Result<()> {
        let file = self.0.log.segment_file(row)?;
        let sha256 = file_sha256(&FileRange(file)).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("the local file cannot be read: segment=`{}`", row.key))
                .with_source(error)
        })?;
        if sha256 != row.sha256 {
            let message = format!("the local file is damaged too: segment=`{}`", row.key);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let (from, to) = (SegmentStatus::Archived, SegmentStatus::Sealed);
        let back = Mutation::Transition { key: row.key.clone(), from, to, archive_key: None };
        self.0.log.change(&[back], "the archived object is lost").map(drop)
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        // A pass that panicked left rows `Archiving` at worst, which the next sets back.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_archived(&self, segments: u64, bytes: u64) {
        self.archived_segments.fetch_add(segments, Ordering::Relaxed);
        self.archived_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn pass(&self, is_patient: bool, progress: &mut dyn FnMut(&ArchiveProgress) -> bool) -> Result<ArchiveReport> {
        let mut work = self.work();
        let mut outcome = self.rounds(&mut work, is_patient, progress);
        self.in_flight.store(0, Ordering::Relaxed);
        self.note_fences(&mut work)?;
        if let Ok(report) = &mut outcome {
            let done = ArchiveProgress {
                segments: report.archived_segments,
                bytes: report.archived_bytes,
                segments_total: report.archived_segments,
                bytes_total: report.archived_bytes,
            };
            self.look_after(&mut work, is_patient, &mut || progress(&done), report)?;
        }
        // Counts are worth a warning, not the report.
        if let Err(error) = self.keep(&mut work.targets)
            && error.kind() != ErrorKind::Closed
        {
            tracing::warn!(%error, "requests could not be counted in the catalog");
        }
        self.show(&work);
        outcome
    }

    /// That others took stores over is durable: who is started anew is fenced, too.
    fn note_fences(&self, work: &mut Work) -> Result<()> {
        let notes: Vec<Mutation> = work.targets.iter_mut().filter_map(Target::fence_to_note).collect();
        if notes.is_empty() { Ok(()) } else { self.log.change(&notes, "fenced").map(drop) }
    }

    fn rounds(
        &self,
        work: &mut Work,
        is_patient: bool,
        progress: &mut dyn FnMut(&ArchiveProgress) -> bool,
    ) -> Result<ArchiveReport> {
        if self.log.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the log was closed"));
        }
        let catalog = self.log.catalog();
        work.next = None;
        let now = self.options.clock.monotonic();
        if is_patient && work.targets.iter().all(|target| target.ended.is_some() || !target.rest(now).is_zero()) {
            // However much is sealed while no store can be asked, looking at it costs nothing.
            return Ok(ArchiveReport::default());
        }
        round::reset_stale(&self.log)?;
        work.intents = intent::read(&**catalog)?;
        for target in work.targets.iter_mut().filter(|target| target.is_unsure) {
            target.leave_known(&**catalog)?;
        }
        let until = catalog.change_number()?;
        // Nobody is shown how far a pass beside the writers has come.
        let (segments_total, bytes_total, _) = if is_patient { (0, 0, None) } else { self.queue()? };
        let mut pass = Pass {
            report: ArchiveReport::default(),
            progress,
            done: ArchiveProgress { segments_total, bytes_total, ..ArchiveProgress::default() },
            is_patient,
            until,
            after: None,
            page: VecDeque::new(),
            homes: HashMap::new(),
            down: HashSet::new(),
            is_over: false,
        };
        while !pass.is_over && !pass.report.is_interrupted {
            let mut round = Round {
                shared: self,
                work,
                pass: &mut pass,
                taken: 0,
                arrived: Vec::new(),
                failed: Vec::new(),
                arrived_at: None,
                refusals: HashMap::new(),
            };
            let fed = pool::run(self.options.parallel, &mut round, &|job| self.upload(job));
            // Also where the catalog failed: what arrived is not thrown away.
            let settled = round.settle();
            self.show(work);
            fed?;
            settled?;
        }
        self.tell_facts(work, &mut pass)?;
        self.copy_catalog(work, &mut pass)?;
        Ok(pass.report)
    }

    /// Steps 2 and 3 of one segment, within the limits.
    fn upload(&self, job: Job) -> round::Outcome {
        let outcome = if self.stop.is_stopped() {
            Err(Trouble::Stopped)
        } else {
            let _share = self.budget.take(job.store.put_memory(job.row.bytes));
            let means = Means { clock: &*self.options.clock, bandwidth: self.bandwidth.as_ref(), stop: &self.stop };
            match self.log.segment_file(&job.row) {
                Ok(file) => upload::upload(&means, &job, &file),
                Err(error) => Err(Trouble::Local(error)),
            }
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        (job, outcome)
    }

    /// Facts that changed without any segment. Nothing is begun for them alone: an archive begins with its first segment. But where homes hold
    /// segments, the log's archive begins too: it is what names them to who has nothing else.
    fn tell_facts(&self, work: &mut Work, pass: &mut Pass<'_>) -> Result<()> {
        for index in 0..work.targets.len() {
            let now = self.options.clock.monotonic();
            let target = &work.targets[index];
            let is_left = pass.down.contains(&index) || (pass.is_patient && !target.rest(now).is_zero());
            if is_left || self.stop.is_stopped() || target.ended.is_some() {
                continue;
            }
            if target.claim.is_none() {
                let (catalog, remote) = (&**self.log.catalog(), target.remote.as_deref());
                let noted = Noted::read(catalog, remote)?;
                // A chain that begins anew does so without waiting for a segment: until then nobody can read it.
                let begins_anew = Broken::read(catalog, remote)?.is_some();
                let has_homes = target.remote.is_none()
                    && work.targets.iter().any(|home| home.remote.is_some() && home.claim.is_some());
                if noted.is_none() && !has_homes && !begins_anew {
                    continue;
                }
                work.targets[index].told =
                    noted.filter(|_| !begins_anew).map_or(crate::types::ChangeNumber(0), |noted| noted.changes);
            }
            let mut facts = round::told_facts(self, work, &mut pass.homes, index)?;
            let are_homes_changed = homes::are_changed(&self.log, work, index)?;
            let target = &mut work.targets[index];
            target.told = facts.changes;
            if facts.entries.is_empty() && !are_homes_changed {
                continue;
            }
            let opened = target.open(&self.log, &self.options);
            let homes = if opened.is_ok() { homes::untold(&self.log, work, index)? } else { Homes::default() };
            facts.entries.splice(..0, homes.entries);
            let tells = !facts.entries.is_empty();
            let target = &mut work.targets[index];
            let told = match (opened, &mut target.claim) {
                (Ok(()), Some(claim)) => facts::commit(claim, facts.entries, Vec::new()).map(drop),
                (opened, _) => opened,
            };
            if let Err(error) = told {
                // Told again when it is opened anew, or by the next pass.
                target.told = Noted::read(&**self.log.catalog(), target.remote.as_deref())?
                    .map_or(crate::types::ChangeNumber(0), |noted| noted.changes);
                target.fail(&self.options, &error);
                let (url, error) = (target.url.clone(), (error.kind(), target::told(&error)));
                pass.report.errors.push(StoreFailure { url, kind: error.0, error: error.1 });
                continue;
            }
            (target.told, target.are_homes_told) = (facts.changes, true);
            target.failing = None;
            pass.report.manifests += u64::from(tells);
            let remote = target.remote.clone();
            let noted = target.noted().map(|noted| noted.mutation(remote.as_deref()));
            let mutations: Vec<Mutation> = noted.into_iter().chain(homes.value).collect();
            if !mutations.is_empty() {
                self.log.change(&mutations, "facts archived")?;
            }
        }
        Ok(())
    }

    /// Segments that are not archived, their bytes, and when the oldest was sealed.
    fn queue(&self) -> Result<(u64, u64, Option<crate::types::Timestamp>)> {
        let (mut segments, mut bytes, mut oldest) = (0, 0, None);
        for status in [SegmentStatus::Sealed, SegmentStatus::Archiving] {
            let mut after: Option<SegmentKey> = None;
            loop {
                let page = self.log.catalog().segments_by_status(status, after.as_ref(), PAGE_ROWS)?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                for row in &page {
                    segments += 1;
                    bytes += row.bytes;
                    oldest =
                        Some(oldest.map_or(row.sealed_at, |oldest: crate::types::Timestamp| oldest.min(row.sealed_at)));
                }
            }
        }
        Ok((segments, bytes, oldest))
    }

    fn show(&self, work: &Work) {
        let parked = work.parked.iter().map(|(segment, park)| Parked {
            segment: segment.clone(),
            reason: park.reason.clone(),
            times: park.times,
        });
        let mut parked: Vec<Parked> = parked.collect();
        parked.sort_by(|one, other| one.segment.cmp(&other.segment));
        let targets = work.targets.iter().map(Target::status).collect();
        *self.view() = View { targets, parked, evict: work.upkeep.evicted.clone() };
    }

    fn status(&self) -> Result<ArchiverStatus> {
        let (queue_segments, queue_bytes, oldest_sealed_at) = self.queue()?;
        let view = self.view();
        let mut targets = view.targets.clone();
        for (target, store) in targets.iter_mut().zip(&self.stores) {
            (target.breaker, target.usage) = (store.breaker(), store.meter().all().to_vec());
        }
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(ArchiverStatus {
            queue_segments,
            queue_bytes,
            oldest_sealed_at,
            lag_us: oldest_sealed_at.map(|oldest| self.options.clock.now().micros().saturating_sub(oldest.micros())),
            in_flight: of(&self.in_flight),
            memory_bytes: self.budget.used(),
            archived_segments: of(&self.archived_segments),
            archived_bytes: of(&self.archived_bytes),
            parked: view.parked.clone(),
            evict: view.evict.clone(),
            targets,
        })
    }
}
