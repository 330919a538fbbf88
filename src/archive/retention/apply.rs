//! Lets go what a plan says, and goes on with what was begun before. See the room for the order, and why.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::grace::{Batch, Waiting};
use super::plan::{Plan, PlanOptions, plan};
use crate::Log;
use crate::archive::archiver::Noted;
use crate::archive::archiver::claims::{self, Wish};
use crate::archive::{Claim, CollectionEntry, Entry, RemovedSegment};
use crate::catalog::{SegmentKey, SegmentRow, SegmentStatus};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::log::recover::journals::chain;
use crate::log::tier::{ArchiverTurn, Kept};
use crate::objects::{ObjectErrorKind, ObjectKey, ObjectStore};
use crate::types::{CollectionName, Sequence, Timestamp};

/// Removals in one manifest.
const MANIFEST_ENTRIES: usize = 10_000;
/// Objects deleted between two looks whether the archive is still ours.
const DELETES: usize = 500;

/// A store, and the right to write its manifests.
#[derive(Debug)]
pub struct Target {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The right; the archiver's, where one runs: another would fence it.
    pub claim: Claim,
}

/// The stores of a log that a purge may delete from.
#[derive(Debug, Default)]
pub struct Targets {
    /// The log's archive.
    pub archive: Option<Target>,
    /// Homes of collections, by the remote's id (A5).
    pub remotes: HashMap<String, Target>,
    /// No archiver begins meanwhile; where one lends them, it has the turn.
    pub(in crate::archive) _turn: Option<ArchiverTurn>,
}

impl Targets {
    /// Takes over those of a log's stores that it archived to before: where no archiver of this process has them. Manifests that are
    /// written get `retain` as those of the archiver do: without it, a chain could be broken by who may delete.
    ///
    /// # Errors
    /// `Locked` where one has; `Fenced` where another machine took one of them over; `Conflict` for a store that is not the one that it was; what a store or the catalog said.
    pub fn take(
        log: &Log,
        archive: Option<Arc<dyn ObjectStore>>,
        remotes: impl IntoIterator<Item = (String, Arc<dyn ObjectStore>)>,
        clock: &Arc<dyn Clock>,
        retain: Option<Duration>,
    ) -> Result<Self> {
        let _turn = Some(log.take_archiver_turn()?);
        let take = |remote: Option<&str>, store: Arc<dyn ObjectStore>| -> Result<Option<Target>> {
            if Noted::read(&**log.catalog(), remote)?.is_none() {
                return Ok(None);
            }
            let wish = Wish { remote, url: None, retain, take_over: false };
            let (claim, claimed) = claims::claim(log, Arc::clone(&store), clock, &wish)?;
            log.change(&claimed, "archive claimed")?;
            Ok(Some(Target { store, claim }))
        };
        let mut targets = Self { _turn, ..Self::default() };
        if let Some(store) = archive {
            targets.archive = take(None, store)?;
        }
        for (remote, store) in remotes {
            if let Some(target) = take(Some(&remote), store)? {
                targets.remotes.insert(remote, target);
            }
        }
        Ok(targets)
    }

    fn get(&mut self, store: &str) -> Option<&mut Target> {
        if store.is_empty() { self.archive.as_mut() } else { self.remotes.get_mut(store) }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Target> {
        self.archive.iter_mut().chain(self.remotes.values_mut())
    }
}

/// How to let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// As the plan was made with.
    pub plan: PlanOptions,
    /// How long objects stay behind the manifest that removes them.
    pub grace: Duration,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { plan: PlanOptions::default(), grace: Duration::from_hours(24 * 7) }
    }
}

/// What was done, and what is left to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Purged {
    /// Collections whose floors were raised, and to what.
    pub floors: Vec<(CollectionName, Sequence)>,
    /// Segments whose purge was begun by this.
    pub begun: u64,
    /// Segments of which every copy is gone now.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments whose objects wait for their grace period.
    pub waiting: u64,
    /// When the first of them may go.
    pub waiting_until: Option<Timestamp>,
    /// What the stores keep by their own rules.
    pub locked: Vec<Locked>,
    /// A store keeps versions of what was deleted: a lifecycle rule of its own must let them go.
    pub keeps_versions: bool,
    /// What could not be deleted, and why: it is tried again by the next run.
    pub kept: Vec<Kept>,
    /// What the plan had, and must not go any more, and why.
    pub stopped: Vec<Kept>,
}

/// An object that its store refuses to delete.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Locked {
    /// Which.
    #[serde(flatten)]
    pub segment: SegmentKey,
    /// Until when.
    pub until: Timestamp,
}

/// Lets go what is in `planned` and may still go now; then goes on with everything that was begun ([`go_on`]).
///
/// # Errors
/// `Conflict` where the clock is not to be trusted; `Fenced` where another writer took the archive over: nothing was begun then. What the
/// stores, the disk or the catalog said: what was begun goes on with the next call.
pub fn apply(
    log: &Log,
    planned: &Plan,
    targets: &mut Targets,
    now: Timestamp,
    options: &ApplyOptions,
) -> Result<Purged> {
    let fresh = plan(log, now, &options.plan)?;
    if let Some(why) = fresh.refused.or_else(|| planned.refused.clone()) {
        return Err(Error::new(ErrorKind::Conflict, why).with_hint("set the clock right; or say that it is right"));
    }
    if options.plan.trust_clock {
        log.trust_clock(now)?;
    }
    for target in targets.all() {
        target.claim.commit(Vec::new())?;
    }
    let mut purged = Purged::default();
    for of in &planned.collections {
        let now_of = fresh.collections.iter().find(|fresh| fresh.collection == of.collection);
        let still = now_of.map_or(&[][..], |of| &of.segments);
        let both = of.segments.iter().zip(still).take_while(|(one, other)| one.segment == other.segment).count();
        if let Some(first) = of.segments.get(both) {
            let stop = now_of.and_then(|of| of.stopped.as_ref()).map(|stop| stop.reason.clone());
            let reason = stop.unwrap_or_else(|| "it may not go any more".to_owned());
            purged.stopped.push(Kept { segment: first.segment.clone(), reason });
        }
        let Some(last) = both.checked_sub(1).map(|last| &of.segments[last].segment) else { continue };
        let segments: Vec<(SegmentKey, SegmentStatus)> =
            still[..both].iter().map(|planned| (planned.segment.clone(), planned.status)).collect();
        let floor = last.last.next();
        match log.begin_purge(&of.collection, floor, &segments) {
            Ok(()) => {}
            // Held, or changed, since it was planned a moment ago: the other collections go on.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let segment = of.segments[0].segment.clone();
                purged.stopped.push(Kept { segment, reason: chain(&error) });
                continue;
            }
            Err(error) => return Err(error),
        }
        tracing::info!(collection = %of.collection, %floor, segments = segments.len(), "a purge was begun");
        purged.floors.push((of.collection.clone(), floor));
        purged.begun += segments.len() as u64;
    }
    go_on_into(log, targets, now, options, &mut purged)?;
    Ok(purged)
}

/// Goes on with every purge and deletion that was begun: for archivers, now and then, and after opening.
///
/// # Errors
/// As [`apply`].
pub fn go_on(log: &Log, targets: &mut Targets, now: Timestamp, options: &ApplyOptions) -> Result<Purged> {
    let mut purged = Purged::default();
    go_on_into(log, targets, now, options, &mut purged)?;
    Ok(purged)
}

/// Whether anything was begun that is not over.
///
/// # Errors
/// What the catalog said.
pub fn is_pending(log: &Log) -> Result<bool> {
    log.mark_below_floors()?;
    Ok(!log.purging()?.is_empty())
}

/// When something that was begun can go on: now (a time that is over) where something is not told of yet, else when the first grace period is over;
/// `None` where nothing was begun. What a store keeps by its own rules is always due.
///
/// # Errors
/// What the catalog said.
pub fn due_at(log: &Log, grace: Duration) -> Result<Option<Timestamp>> {
    log.mark_below_floors()?;
    let rows = log.purging()?;
    let waiting = Waiting::read(log)?;
    let due = |row: &SegmentRow| {
        let batch = store_of(row).and_then(|(store, _)| waiting.of(store, row));
        batch.map_or(Timestamp(0), |batch| batch.ends(grace))
    };
    Ok(rows.iter().map(due).min())
}

/// The store that has a row's object: empty for the log's archive; `None` where it has none.
fn store_of(row: &SegmentRow) -> Option<(&str, &str)> {
    let key = row.archive_key.as_deref()?;
    Some(match key.strip_prefix('@') {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => ("", key),
    })
}

fn go_on_into(
    log: &Log,
    targets: &mut Targets,
    now: Timestamp,
    options: &ApplyOptions,
    purged: &mut Purged,
) -> Result<()> {
    log.mark_below_floors()?;
    let rows = log.purging()?;
    let mut waiting = Waiting::read(log)?;
    if rows.is_empty() {
        return if waiting.0.is_empty() { Ok(()) } else { Waiting::default().write(log) };
    }
    // Held since their purge was begun: what is left of them stays.
    let mut free = Vec::with_capacity(rows.len());
    for row in rows {
        match log.held(&row.key)? {
            Some(reason) => purged.kept.push(Kept { segment: row.key, reason }),
            None => free.push(row),
        }
    }
    let rows = free;
    let is_told =
        |waiting: &Waiting, row: &SegmentRow| store_of(row).is_some_and(|(store, _)| waiting.of(store, row).is_some());
    let mut untold: BTreeMap<&CollectionName, Vec<SegmentRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !is_told(&waiting, row)) {
        untold.entry(&row.key.collection).or_default().push(row.clone());
    }
    let mut to_tell = Vec::new();
    for rows in untold.into_values() {
        // One whose directory is not there keeps no other from going on, and is told of later.
        if let Err(error) = log.remove_purging(&rows) {
            let reason = chain(&error);
            purged.kept.extend(rows.iter().map(|row| Kept { segment: row.key.clone(), reason: reason.clone() }));
            continue;
        }
        for row in rows.iter().filter(|row| row.archive_key.is_none()) {
            if log.catalog().segment(&row.key)?.is_some_and(|row| row.status == SegmentStatus::Purged) {
                purged.segments += 1;
                purged.bytes += row.bytes;
            }
        }
        to_tell.extend(rows);
    }
    tell(log, targets, now, &to_tell, &mut waiting, purged)?;
    delete(log, targets, now, options, &rows, &waiting, purged)?;
    // What is all gone waits no more.
    let left = log.purging()?;
    let before = waiting.0.len();
    waiting.0.retain(|batch| left.iter().any(|row| store_of(row).is_some_and(|(store, _)| batch.has(store, row))));
    if waiting.0.len() < before {
        waiting.write(log)?;
    }
    Ok(())
}

/// Steps 4 and 5.
fn tell(
    log: &Log,
    targets: &mut Targets,
    now: Timestamp,
    untold: &[SegmentRow],
    waiting: &mut Waiting,
    purged: &mut Purged,
) -> Result<()> {
    let mut by_store: BTreeMap<&str, Vec<&SegmentRow>> = BTreeMap::new();
    for row in untold {
        if let Some((store, _)) = store_of(row) {
            by_store.entry(store).or_default().push(row);
        }
    }
    for (store, rows) in by_store {
        let Some(target) = targets.get(store) else {
            let reason = || "its store was not given".to_owned();
            purged.kept.extend(rows.iter().map(|row| Kept { segment: row.key.clone(), reason: reason() }));
            continue;
        };
        for rows in rows.chunks(MANIFEST_ENTRIES) {
            let names: BTreeSet<&CollectionName> = rows.iter().map(|row| &row.key.collection).collect();
            let mut entries: Vec<Entry> = Vec::with_capacity(rows.len() + names.len());
            // The floor first: whoever reads so far only knows that what follows is not missing.
            for name in names {
                let home = crate::log::directories::home_row(&**log.catalog(), name)?;
                entries.extend(log.catalog().collection(name)?.map(|row| {
                    Entry::Collection(CollectionEntry {
                        name: row.name,
                        created_at: row.created_at,
                        floor: row.floor,
                        sealed_through: row.sealed_through,
                        settings: row.settings,
                        home,
                    })
                }));
            }
            entries.extend(rows.iter().map(|row| Entry::Removed(RemovedSegment::from(*row))));
            let mark = target.claim.commit(entries)?;
            waiting.0.push(Batch::of(store, mark.number.0, now, rows.iter().copied()));
            waiting.write(log)?;
        }
    }
    Ok(())
}

/// Steps 6 and 7.
fn delete(
    log: &Log,
    targets: &mut Targets,
    now: Timestamp,
    options: &ApplyOptions,
    rows: &[SegmentRow],
    waiting: &Waiting,
    purged: &mut Purged,
) -> Result<()> {
    let suspect = log.clock_problem(now, options.plan.trust_clock)?;
    let mut due: BTreeMap<&str, Vec<(&SegmentRow, &str)>> = BTreeMap::new();
    for row in rows {
        let Some((store, key)) = store_of(row) else { continue };
        let Some(batch) = waiting.of(store, row) else { continue };
        if !batch.is_over(now, options.grace) {
            purged.waiting += 1;
            let until = batch.ends(options.grace);
            purged.waiting_until = Some(purged.waiting_until.map_or(until, |known| known.min(until)));
        } else if let Some(why) = &suspect {
            purged.kept.push(Kept { segment: row.key.clone(), reason: why.clone() });
        } else if log.readers_of(&row.key) > 0 {
            purged.kept.push(Kept { segment: row.key.clone(), reason: "somebody reads it".to_owned() });
        } else {
            due.entry(store).or_default().push((row, key));
        }
    }
    for (store, rows) in due {
        let Some(target) = targets.get(store) else {
            let reason = || "its store was not given".to_owned();
            purged.kept.extend(rows.iter().map(|(row, _)| Kept { segment: row.key.clone(), reason: reason() }));
            continue;
        };
        for rows in rows.chunks(DELETES) {
            target.claim.still_ours()?;
            let mut gone = Vec::new();
            let mut broken = None;
            for (row, key) in rows {
                // As near to the delete as can be.
                if let Some(reason) = log.held(&row.key)? {
                    purged.kept.push(Kept { segment: row.key.clone(), reason });
                    continue;
                }
                match delete_one(target, key, now) {
                    Ok(None) => {
                        purged.segments += 1;
                        purged.bytes += row.bytes;
                        gone.push(row.key.clone());
                    }
                    Ok(Some(until)) => purged.locked.push(Locked { segment: row.key.clone(), until }),
                    Err(error) if error.kind() == ErrorKind::Unavailable && !is_denied(&error) => {
                        broken = Some(error);
                        break;
                    }
                    Err(error) => purged.kept.push(Kept { segment: row.key.clone(), reason: chain(&error) }),
                }
            }
            // One of them tells for all.
            let deleted = rows.iter().find(|(row, _)| gone.first() == Some(&row.key));
            if let Some((_, key)) = deleted {
                let left = target.store.versions(&ObjectKey::new(*key)?).unwrap_or_default();
                purged.keeps_versions |= left.iter().any(|version| !version.is_delete_marker);
            }
            log.finish_purge(&gone)?;
            if let Some(error) = broken {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn is_denied(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<crate::objects::ObjectError>());
    source.is_some_and(|source| source.kind == ObjectErrorKind::Denied)
}

/// Deletes an object; or until when its store refuses to.
fn delete_one(target: &Target, key: &str, now: Timestamp) -> Result<Option<Timestamp>> {
    let key = ObjectKey::new(key)?;
    let Err(error) = target.store.delete(&key) else { return Ok(None) };
    if error.kind == ObjectErrorKind::Denied {
        // Object Lock, immutability; or a right that is missing.
        let versions = target.store.versions(&key).unwrap_or_default();
        if let Some(until) = versions.iter().filter_map(|version| version.retain_until).max().filter(|at| *at > now) {
            return Ok(Some(until));
        }
    }
    Err(error.into())
}
