//! One round: as many segments as one manifest names, from intent to rows.
//!
//! # The order, and why a crash between any two steps is safe
//!
//! 1. **Intent** ([`Round::mark`]): one transaction for a few segments. A crash behind it leaves rows `Archiving` and attempts on record;
//!    recovery sets the rows back, or the next pass does ([`reset_stale`]). Nothing was sent before it: so every object of ours that no
//!    manifest names has, or had, an attempt on record.
//! 2. **Put** and 3. **proof** ([`upload`](super::upload)): a crash leaves an object that no manifest names, and counts for nothing. The next attempt finds
//!    the same bytes there, and proves them.
//! 4. **Manifest** ([`Round::settle`]), only of what was proven, and only before the attempt's deadline. A crash behind it leaves rows that are not `Archived` of objects that
//!    count: whoever claims next finds them ahead of the catalog, proves them, and goes on with 5. An outcome that is unknown is
//!    told again: a fact told twice counts once.
//! 5. **Rows**: one transaction sets them `Archived`, takes the attempts off, notes the manifest. Were it before 4, a crash between would leave
//!    rows that promise what no manifest names.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::pool::Feed;
use super::target::{Target, told};
use super::upload::{Job, Trouble};
use super::{ArchiveProgress, ArchiveReport, FailedSegment, Shared, StoreFailure, Work, facts, homes};
use crate::archive::intent::{self, Intent, row_key};
use crate::archive::{ArchivedSegment, Entry};
use crate::catalog::{Catalog, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::objects::{ObjectStore, SegmentObject};
use crate::types::ids::hex;
use crate::types::{ChangeNumber, CollectionName, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 256;
/// So many segments, for each upload at a time, get their intents in one transaction.
const WAVE: usize = 4;
/// So many failures in a row of a store that answers end a round there.
const REFUSALS: u32 = 3;

/// A walk over everything that is sealed.
pub(super) struct Pass<'a> {
    pub report: ArchiveReport,
    pub progress: &'a mut dyn FnMut(&ArchiveProgress) -> bool,
    pub done: ArchiveProgress,
    /// Whether what failed lately is left alone.
    pub is_patient: bool,
    /// What is sealed later is of the next pass.
    pub until: ChangeNumber,
    pub after: Option<SegmentKey>,
    pub page: VecDeque<SegmentRow>,
    /// Where collections are at home: which target, if any.
    pub homes: HashMap<CollectionName, Option<usize>>,
    /// Targets that failed in this pass.
    pub down: HashSet<usize>,
    pub is_over: bool,
}

/// See the module.
pub(super) struct Round<'a, 'p> {
    pub shared: &'a Shared,
    pub work: &'a mut Work,
    pub pass: &'a mut Pass<'p>,
    /// Segments that have an intent of this round.
    pub taken: usize,
    pub arrived: Vec<Job>,
    pub failed: Vec<(Job, Trouble)>,
    /// When the first one arrived, on the monotonic clock.
    pub arrived_at: Option<Duration>,
    /// Failures in a row, by target.
    pub refusals: HashMap<usize, u32>,
}

/// What became of a job.
pub(super) type Outcome = (Job, Result<(), Trouble>);

impl Feed for Round<'_, '_> {
    type Job = Job;
    type Outcome = Outcome;

    fn more(&mut self) -> Result<Option<Vec<Job>>> {
        let options = &self.shared.options;
        let age = self.arrived_at.map_or(Duration::ZERO, |at| options.clock.monotonic().saturating_sub(at));
        let room = options.manifest_segments.saturating_sub(self.taken);
        if room == 0 || age >= options.manifest_age || self.pass.report.is_interrupted {
            return Ok(None);
        }
        if self.shared.stop.is_stopped() {
            self.pass.report.is_interrupted = true;
            return Ok(None);
        }
        let mut wave = Vec::new();
        while wave.len() < room.min(options.parallel * WAVE) {
            let Some(row) = self.next_row()? else { break };
            if let Some(target) = self.admit(&row)? {
                wave.push((row, target));
            }
        }
        if wave.is_empty() {
            self.pass.is_over = true;
            return Ok(None);
        }
        let jobs = self.mark(wave)?;
        self.taken += jobs.len();
        Ok(Some(jobs))
    }

    fn done(&mut self, (job, outcome): Outcome) {
        self.pass.done.segments += 1;
        self.pass.done.bytes += job.row.bytes;
        match outcome {
            Ok(()) => {
                self.refusals.remove(&job.target);
                self.arrived_at.get_or_insert(self.shared.options.clock.monotonic());
                self.arrived.push(job);
            }
            Err(trouble) => {
                if trouble.is_of_store() {
                    let refusals = self.refusals.entry(job.target).or_default();
                    *refusals += 1;
                    let Trouble::Store(error) = &trouble else { unreachable!("only that is of the store") };
                    use crate::objects::ObjectErrorKind::{OutcomeUnknown, Unavailable};
                    // It was asked patiently before.
                    if matches!(error.kind, Unavailable | OutcomeUnknown) || *refusals >= REFUSALS {
                        self.pass.down.insert(job.target);
                    }
                }
                self.failed.push((job, trouble));
            }
        }
        let goes_on = (self.pass.progress)(&self.pass.done);
        self.pass.report.is_interrupted |= !goes_on;
    }
}

impl Round<'_, '_> {
    /// The next row that is sealed, oldest first.
    fn next_row(&mut self) -> Result<Option<SegmentRow>> {
        if self.pass.page.is_empty() {
            let catalog = self.shared.log.catalog();
            let page = catalog.segments_by_status(SegmentStatus::Sealed, self.pass.after.as_ref(), PAGE_ROWS)?;
            let Some(last) = page.last() else { return Ok(None) };
            self.pass.after = Some(last.key.clone());
            self.pass.page = page.into();
        }
        Ok(self.pass.page.pop_front().filter(|row| row.sealed_change <= self.pass.until))
    }

    /// Which target a row goes to now, if any.
    fn admit(&mut self, row: &SegmentRow) -> Result<Option<usize>> {
        let Some(index) = home(self.shared, self.work, &mut self.pass.homes, &row.key.collection)? else {
            self.pass.report.without_store += 1;
            return Ok(None);
        };
        let now = self.shared.options.clock.monotonic();
        let is_parked = self.work.parked.get(&row.key).is_some_and(|parked| parked.until > now);
        let target = &mut self.work.targets[index];
        if self.pass.down.contains(&index) || (self.pass.is_patient && (is_parked || !target.rest(now).is_zero())) {
            self.pass.report.left += 1;
            if target.ended.is_none() {
                let parked = self.work.parked.get(&row.key).map_or(Duration::ZERO, |parked| parked.until);
                let next = parked.max(now + target.rest(now));
                self.work.next = Some(self.work.next.map_or(next, |known| known.min(next)));
            }
            return Ok(None);
        }
        if let Err(error) = target.open(&self.shared.log, &self.shared.options) {
            if error.kind() == ErrorKind::Closed {
                return Err(error);
            }
            self.give_up(index, &error);
            self.pass.report.left += 1;
            return Ok(None);
        }
        if let Some(other) = target.in_the_way(row) {
            self.park(row, &Trouble::Taken(other));
            return Ok(None);
        }
        if let Some((first, last)) = hole_before(&**self.shared.log.catalog(), row)? {
            let hole = format!(
                "sequences are missing, and no loss is on record: collection=`{}`, first=`{first}`, last=`{last}`, before segment=`{}`",
                row.key.collection, row.key
            );
            tracing::error!(%hole, "a hole");
            self.pass.report.holes.push(hole);
        }
        Ok(Some(index))
    }

    /// A target failed: it is left alone for the rest of this pass, and for a while.
    fn give_up(&mut self, index: usize, error: &Error) {
        let target = &mut self.work.targets[index];
        target.fail(&self.shared.options, error);
        self.pass.down.insert(index);
        let failure = StoreFailure { url: target.url.clone(), kind: error.kind(), error: told(error) };
        self.pass.report.errors.push(failure);
    }

    /// A segment failed: it is left alone for a while.
    fn park(&mut self, row: &SegmentRow, trouble: &Trouble) {
        let reason = trouble.to_string();
        if !trouble.is_of_store() {
            tracing::error!(segment = %row.key, reason, "not archived");
        }
        let options = &self.shared.options;
        let park = self.work.parked.entry(row.key.clone()).or_default();
        park.times += 1;
        park.until = options.clock.monotonic().saturating_add(options.retry(park.times));
        park.reason.clone_from(&reason);
        self.pass.report.failed.push(FailedSegment { segment: row.key.clone(), bytes: row.bytes, reason });
    }

    /// Step 1. Gives jobs for those that are still sealed.
    fn mark(&mut self, wave: Vec<(SegmentRow, usize)>) -> Result<Vec<Job>> {
        let options = &self.shared.options;
        let (now, monotonic) = (options.clock.now(), options.clock.monotonic());
        // Half of it to send: what was sent in time is proven and named in time, too.
        let deadline = now.saturating_add(options.attempt.saturating_mul(2));
        let mut marked: Vec<(Job, Intent, Mutation)> = Vec::with_capacity(wave.len());
        for (row, index) in wave {
            let target = &self.work.targets[index];
            let key = SegmentObject::of_row(&row).key();
            let archive_key = row_key(target.remote.as_deref(), &key);
            let intent = Intent {
                id: hex(&options.clock.random()),
                segment: row.key.clone(),
                key: archive_key.clone(),
                deadline,
                part_bytes: options.part_bytes,
                manifest: target.claim.as_ref().map(|claim| claim.newest().number),
            };
            let mutation = Mutation::Transition {
                key: row.key.clone(),
                from: SegmentStatus::Sealed,
                to: SegmentStatus::Archiving,
                archive_key: Some(archive_key),
            };
            let job = Job {
                row,
                key,
                target: index,
                store: std::sync::Arc::clone(&target.store),
                deadline: monotonic.saturating_add(options.attempt),
                commit_by: monotonic.saturating_add(options.attempt.saturating_mul(2)),
                retain_until: options.retain.map(|span| now.saturating_add(span)),
            };
            marked.push((job, intent, mutation));
        }
        let again: HashSet<&SegmentKey> = marked.iter().map(|(job, ..)| &job.row.key).collect();
        let targets = &self.work.targets;
        self.work
            .intents
            .retain(|known| (known.deadline > now || !may_be_named(targets, known)) && !again.contains(&known.segment));
        let known = self.work.intents.clone();
        let with = |marked: &[(Job, Intent, Mutation)]| {
            let intents: Vec<Intent> =
                known.iter().chain(marked.iter().map(|(_, intent, _)| intent)).cloned().collect();
            let mutations = marked.iter().map(|(.., mutation)| mutation.clone());
            (mutations.chain([intent::mutation(&intents)]).collect::<Vec<_>>(), intents)
        };
        let (mutations, intents) = with(&marked);
        match self.shared.log.change(&mutations, "archiving") {
            Ok(_) => self.work.intents = intents,
            // Some of them are sealed no more: compacted, deleted. Those that are go on.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let catalog = self.shared.log.catalog();
                let mut left = Vec::new();
                for one in marked {
                    if catalog.segment(&one.0.row.key)?.is_some_and(|row| row.status == SegmentStatus::Sealed) {
                        left.push(one);
                    }
                }
                marked = left;
                let (mutations, intents) = with(&marked);
                self.shared.log.change(&mutations, "archiving")?;
                self.work.intents = intents;
            }
            Err(error) => return Err(error),
        }
        self.shared.in_flight.fetch_add(marked.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(marked.into_iter().map(|(job, ..)| job).collect())
    }

    /// Steps 4 and 5, and setting back what failed.
    ///
    /// # Errors
    /// What the catalog said. Rows that are left `Archiving` by that are set back by the next pass.
    pub fn settle(mut self) -> Result<()> {
        let arrived = std::mem::take(&mut self.arrived);
        for index in 0..self.work.targets.len() {
            let jobs: Vec<&Job> = arrived.iter().filter(|job| job.target == index).collect();
            if !jobs.is_empty() {
                self.commit(index, &jobs)?;
            }
        }
        self.set_back()
    }

    fn commit(&mut self, index: usize, jobs: &[&Job]) -> Result<()> {
        let now = self.shared.options.clock.monotonic();
        let (jobs, late): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.commit_by >= now);
        for job in late {
            self.failed.push((copy(job), Trouble::Deadline));
        }
        let facts = told_facts(self.shared, self.work, &mut self.pass.homes, index)?;
        let homes = homes::untold(&self.shared.log, self.work, index)?;
        let work = &mut *self.work;
        let target = &mut work.targets[index];
        let Some(claim) = &mut target.claim else { return Ok(()) };
        let is_new = |job: &&&Job| !target.ahead.contains_key(&job.row.key);
        let added: Vec<ArchivedSegment> =
            jobs.iter().filter(is_new).map(|job| ArchivedSegment::from(&job.row)).collect();
        let tells = !added.is_empty() || !facts.entries.is_empty();
        let mut entries = if tells { homes.entries } else { Vec::new() };
        entries.extend(facts.entries);
        let added = added.into_iter().map(Entry::Added).collect();
        let mark = match facts::commit(claim, entries, added) {
            Ok(mark) => mark,
            Err(error) => {
                let store = target.store.place();
                self.give_up(index, &error);
                let what = format!("the manifest could not be written: {}", told(&error));
                let trouble = || {
                    Trouble::Store(crate::objects::ObjectError {
                        kind: crate::objects::ObjectErrorKind::OutcomeUnknown,
                        operation: "commit",
                        place: store.as_str().into(),
                        key: "".into(),
                        what: what.as_str().into(),
                        retry_after: None,
                        source: None,
                    })
                };
                self.failed.extend(jobs.iter().map(|job| (copy(job), trouble())));
                return Ok(());
            }
        };
        target.failing = None;
        target.told = facts.changes;
        target.are_homes_told |= tells;
        let added: HashMap<SegmentKey, ArchivedSegment> =
            jobs.iter().map(|job| (job.row.key.clone(), ArchivedSegment::from(&job.row))).collect();
        target.ahead.retain(|key, _| !added.contains_key(key));
        let remote = target.remote.clone();
        let mut mutations: Vec<Mutation> = jobs
            .iter()
            .map(|job| Mutation::Transition {
                key: job.row.key.clone(),
                from: SegmentStatus::Archiving,
                to: SegmentStatus::Archived,
                archive_key: None,
            })
            .collect();
        work.intents.retain(|intent| !added.contains_key(&intent.segment));
        mutations.push(intent::mutation(&work.intents));
        let target = &mut work.targets[index];
        mutations.extend(target.noted().map(|noted| noted.mutation(remote.as_deref())));
        mutations.extend(homes.value.filter(|_| tells));
        let reason = format!("archived by manifest {}", mark.number);
        if let Err(error) = self.shared.log.change(&mutations, &reason) {
            // They count, and no row says so.
            target.ahead.extend(added);
            target.is_unsure = true;
            return Err(error);
        }
        for job in &jobs {
            work.parked.remove(&job.row.key);
        }
        let bytes = jobs.iter().map(|job| job.row.bytes).sum::<u64>();
        self.shared.note_archived(jobs.len() as u64, bytes);
        self.pass.report.archived_segments += jobs.len() as u64;
        self.pass.report.archived_bytes += bytes;
        self.pass.report.manifests += 1;
        Ok(())
    }

    /// What failed is sealed again, with the reason in the change. Attempts that may still happen stay on record.
    fn set_back(mut self) -> Result<()> {
        let failed = std::mem::take(&mut self.failed);
        if failed.is_empty() {
            return Ok(());
        }
        let mut groups: Vec<(Vec<Mutation>, String)> = Vec::new();
        let mut ended: HashSet<&SegmentKey> = HashSet::new();
        let mut of_store: HashMap<usize, &Trouble> = HashMap::new();
        for (job, trouble) in &failed {
            let key = job.row.key.clone();
            let (from, to) = (SegmentStatus::Archiving, SegmentStatus::Sealed);
            groups.push((vec![Mutation::Transition { key, from, to, archive_key: None }], trouble.to_string()));
            if !trouble.may_still_happen() {
                ended.insert(&job.row.key);
            }
            if matches!(trouble, Trouble::Stopped) {
                self.pass.report.is_interrupted = true;
                self.pass.report.left += 1;
                continue;
            }
            if trouble.is_of_store() {
                of_store.insert(job.target, trouble);
            }
            self.park(&job.row, trouble);
        }
        for (index, trouble) in of_store {
            // Told already, where its manifest failed.
            if self.pass.report.errors.iter().any(|told| told.url == self.work.targets[index].url) {
                continue;
            }
            if let (true, Trouble::Store(error)) = (self.pass.down.contains(&index), trouble) {
                let error = Error::new(kind_of(error.kind), error.to_string());
                self.give_up(index, &error);
            }
        }
        self.work.intents.retain(|intent| !ended.contains(&intent.segment));
        groups.push((vec![intent::mutation(&self.work.intents)], "archiving".to_owned()));
        let groups: Vec<(Vec<Mutation>, &str)> =
            groups.iter().map(|(mutations, reason)| (mutations.clone(), reason.as_str())).collect();
        self.shared.log.change_groups(&groups).map(drop)
    }
}

/// Whether a manifest may name an attempt of which no row knows: its store was not asked since this process began.
fn may_be_named(targets: &[Target], intent: &Intent) -> bool {
    let Ok((remote, _)) = intent::split_row_key(&intent.key) else { return false };
    targets.iter().any(|target| target.remote.as_deref() == remote && target.claim.is_none() && target.ended.is_none())
}

const fn kind_of(kind: crate::objects::ObjectErrorKind) -> ErrorKind {
    use crate::objects::ObjectErrorKind as Object;
    match kind {
        Object::Full => ErrorKind::Full,
        Object::OutcomeUnknown => ErrorKind::OutcomeUnknown,
        Object::Failed => ErrorKind::Internal,
        _ => ErrorKind::Unavailable,
    }
}

fn copy(job: &Job) -> Job {
    Job { row: job.row.clone(), key: job.key.clone(), store: std::sync::Arc::clone(&job.store), ..*job }
}

/// The target that a collection's segments go to; `None` where there is no store for them.
pub(super) fn home(
    shared: &Shared,
    work: &Work,
    homes: &mut HashMap<CollectionName, Option<usize>>,
    collection: &CollectionName,
) -> Result<Option<usize>> {
    if let Some(known) = homes.get(collection) {
        return Ok(*known);
    }
    let remote = shared.log.home_of(collection)?;
    let index = work.targets.iter().position(|target| target.remote == remote);
    homes.insert(collection.clone(), index);
    Ok(index)
}

/// The facts that a target was not told yet: of all collections the log's archive, of those that are at home in it a home.
pub(super) fn told_facts(
    shared: &Shared,
    work: &Work,
    homes: &mut HashMap<CollectionName, Option<usize>>,
    index: usize,
) -> Result<facts::Facts> {
    let target = &work.targets[index];
    facts::since(&**shared.log.catalog(), target.told, &mut |name| {
        Ok(target.remote.is_none() || home(shared, work, homes, name)? == Some(index))
    })
}

/// What an attempt left that never ended: a change of the catalog failed. Nothing is under way when this is called.
///
/// # Errors
/// What the catalog said.
pub(super) fn reset_stale(log: &Log) -> Result<()> {
    loop {
        let stale = log.catalog().segments_by_status(SegmentStatus::Archiving, None, PAGE_ROWS)?;
        if stale.is_empty() {
            return Ok(());
        }
        let (from, to) = (SegmentStatus::Archiving, SegmentStatus::Sealed);
        let back = stale.into_iter().map(|row| Mutation::Transition { key: row.key, from, to, archive_key: None });
        log.change(&back.collect::<Vec<_>>(), "an attempt to archive it did not end")?;
    }
}

/// Sequences directly before a segment that are neither in another, nor below the floor, nor on record as missing.
///
/// # Errors
/// What the catalog said.
pub(super) fn hole_before(catalog: &dyn Catalog, row: &SegmentRow) -> Result<Option<(Sequence, Sequence)>> {
    let SegmentKey { collection, first, .. } = &row.key;
    if *first <= Sequence::FIRST {
        return Ok(None);
    }
    let before = catalog.segments_back(collection, first.previous(), 1)?;
    let floor = catalog.collection(collection)?.map_or(Sequence::FIRST, |row| row.floor);
    let mut at = before.first().map_or(floor, |before| before.key.last.next().max(floor));
    if at >= *first {
        return Ok(None);
    }
    for loss in catalog.losses(Some(collection))? {
        if loss.first <= at && loss.last >= at {
            at = loss.last.next();
        }
    }
    Ok((at < *first).then(|| (at, first.previous())))
}
