//! Gives up a directory (A3): one that is gone for good, or one that was drained and is empty.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. The log is opened to write: recovery knows where each collection lives, whatever the catalog was told.
//! 2. Each collection that lives there: in one transaction its next 2^40 sequences are recorded as a loss and it is assigned to
//!    another directory. What the lost journals held fits into these sequences, should they come back; nobody else gets them. A crash
//!    before leaves the collection where it was, refusing appends; behind it, it goes on elsewhere, and is not looked at again.
//! 3. Each segment there, some at a time: `Archived` becomes `Evicted`; what has no archived copy becomes `Quarantined`, its range a
//!    recorded loss in the same transaction. A crash leaves rows of both kinds, and doing it again goes on with those that are left.
//! 4. What other components keep there is assigned to other directories, where they make it again from what the log and its archive hold. A
//!    crash leaves some of it assigned anew, and doing it again goes on with the rest.
//! 5. The log is closed, and the set is changed: the directory is listed as forgotten (`set`). A crash before leaves it missing, with
//!    nothing in it.
//!
//! The set last: while it lists the directory, nobody judges what lies in it, and a second `forget` finds what the first one left. The
//! other way round, collections would be assigned to a directory that nobody knows.

use std::collections::{BTreeMap, HashSet};

use super::set::{Member, Named, Set};
use crate::assignment::{self, Candidate};
use crate::catalog::{Catalog, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::log::catalog::CatalogLook;
use crate::log::recover::COMPONENT;
use crate::log::{DirectoryState, Inner, Log, LogOptions};
use crate::types::{CollectionName, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 1024;
/// Mutations made in one transaction.
const GROUP: usize = 512;
/// So many sequences are left for what lay in journals that are gone (A3).
pub const JUMP: u64 = 1 << 40;

/// Sequences of one collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GivenUp {
    /// The collection.
    pub collection: CollectionName,
    /// The first.
    pub first_sequence: Sequence,
    /// The last.
    pub last_sequence: Sequence,
    /// Bytes of their file; zero where that is not known.
    pub bytes: u64,
}

/// What is given up with a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ForgetPlan {
    /// The directory.
    pub id: String,
    /// Where it is, or was last.
    pub place: String,
    /// Collections that live there. Whatever they had in its journals and in no segment is given up, and they go on elsewhere behind
    /// these sequences.
    pub collections: Vec<GivenUp>,
    /// Segments of which no other copy is known.
    pub segments: Vec<GivenUp>,
    /// Their bytes.
    pub bytes: u64,
    /// Segments of which the archive has a copy, from which they are read.
    pub archived: u64,
    /// By component, such as `storage` and `index`, of how many collections it keeps files there: it makes them again elsewhere, from what the log
    /// and its archive still hold.
    pub components: BTreeMap<String, u64>,
    /// It is forgotten already; nothing is to be done.
    pub is_done: bool,
}

impl ForgetPlan {
    /// Whether anything is given up that is nowhere else.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        !self.collections.is_empty() || !self.segments.is_empty()
    }
}

/// Mutations that wait to be made together.
#[derive(Default)]
struct Giving {
    mutations: Vec<Mutation>,
    /// The collection of the newest row, and the losses of it that were on record.
    collection: Option<CollectionName>,
    on_record: HashSet<(Sequence, Sequence)>,
}

impl Log {
    /// What [`forget_directory`](Self::forget_directory) would give up, without doing it; beside a writer too.
    ///
    /// # Errors
    /// As there, but never `Locked`.
    pub fn plan_forget(options: &LogOptions, which: &str) -> Result<ForgetPlan> {
        let set = Set::of(options)?;
        let index = match set.named(which)? {
            Named::Forgotten(id) => return Ok(done(&set, &id)),
            Named::Remote(id) => return Ok(ForgetPlan { id, place: which.to_owned(), ..ForgetPlan::default() }),
            Named::Member(index) => index,
        };
        check_first(options, &set, index)?;
        let log = Log::open_read_only(options.clone())?;
        log.0.forget_plan(&set.members[index])
    }

    /// Gives up a directory of a log that nobody writes to, by its id or its path: one that is missing, with what is only
    /// there; or one that is drained and empty. `agreed` is asked once, with what would be given up; where it says no, nothing changes.
    /// Whatever interrupts it, it can be done again.
    ///
    /// # Errors
    /// `Conflict` for a directory that is there and not drained, for the first one, and for a remote that is a collection's home;
    /// `Unavailable` where no healthy directory is left; `Locked`, `NotFound`, or what the disk or the catalog said.
    pub fn forget_directory(
        options: &LogOptions,
        which: &str,
        agreed: &mut dyn FnMut(&ForgetPlan) -> bool,
    ) -> Result<Option<ForgetPlan>> {
        let (set, locks) = Set::locked(options)?;
        let index = match set.named(which)? {
            Named::Forgotten(id) => {
                // Once more: what a killed run wrote may be told and not be durable.
                set.commit(&*options.fs, set.newest.clone(), &[])?;
                return Ok(Some(done(&set, &id)));
            }
            Named::Remote(id) => {
                drop(locks);
                return forget_remote(options, &id).map(Some);
            }
            Named::Member(index) => index,
        };
        check_first(options, &set, index)?;
        let id = set.members[index].id.clone();
        drop(locks);
        let log = Log::open(LogOptions { background: false, ..options.clone() })?;
        let done = log.0.forget(&set.members[index], agreed);
        let closed = log.close();
        let Some(plan) = done? else { return Ok(None) };
        closed?;
        drop(log);
        take_out(options, &id)?;
        Ok(Some(plan))
    }
}

/// Step 5.
fn take_out(options: &LogOptions, id: &str) -> Result<()> {
    let (set, _locks) = Set::locked(options)?;
    let mut new = set.newest.clone();
    let Some(at) = new.directories.iter().position(|sibling| sibling.directory == id) else { return Ok(()) };
    let gone = new.directories.remove(at);
    new.forgotten.retain(|sibling| sibling.directory != id);
    new.forgotten.push(gone);
    set.commit(&*options.fs, new, &[])
}

fn done(set: &Set, id: &str) -> ForgetPlan {
    let gone = set.newest.forgotten.iter().find(|sibling| sibling.directory == id);
    let place = gone.map_or_else(String::new, |sibling| sibling.path.display().to_string());
    ForgetPlan { id: id.to_owned(), place, is_done: true, ..ForgetPlan::default() }
}

/// The first directory holds the catalog, and the log does not open without it.
fn check_first(options: &LogOptions, set: &Set, index: usize) -> Result<()> {
    let place = set.members[index].path.display();
    if set.members.len() == 1 {
        let message = format!("the only directory of a log cannot be forgotten: directory=`{place}`");
        return Err(Error::new(ErrorKind::Conflict, message).with_hint("add another one, and drain this one first"));
    }
    if index == 0 && options.catalog_directory.is_none() && options.catalog.is_none() {
        let message = format!("the first directory holds the catalog, and cannot be forgotten: directory=`{place}`");
        return Err(Error::new(ErrorKind::Conflict, message).with_hint(
            "bring its disk back, or restore .icecore/ of it from a backup at the same place; with `catalog.path` elsewhere it can be forgotten",
        ));
    }
    Ok(())
}

fn forget_remote(options: &LogOptions, id: &str) -> Result<ForgetPlan> {
    // Opened to write, so that what recovery changes is in the catalog.
    let log = Log::open(LogOptions { background: false, ..options.clone() })?;
    let unused = must_be_unused(&*log.0.catalog, id);
    let closed = log.close();
    drop(log);
    unused?;
    closed?;
    let (set, _locks) = Set::locked(options)?;
    // Again: between the two locks somebody may have given a collection this home, or archived to it.
    must_be_unused(&*CatalogLook::open(options)?.catalog, id)?;
    let mut new = set.newest.clone();
    let url = new.remotes.iter().find(|remote| remote.directory == id).map(|remote| remote.url.clone());
    new.remotes.retain(|remote| remote.directory != id);
    set.commit(&*options.fs, new, &[])?;
    Ok(ForgetPlan { id: id.to_owned(), place: url.unwrap_or_default(), ..ForgetPlan::default() })
}

/// Nothing has its home in a remote, and no archived object is there.
fn must_be_unused(catalog: &dyn Catalog, id: &str) -> Result<()> {
    let homes: Vec<CollectionName> = super::home::homes(catalog)?
        .into_iter()
        .filter(|(_, directory)| directory == id)
        .map(|(collection, _)| collection)
        .collect();
    if let Some(collection) = homes.first() {
        let message = format!(
            "the directory is a collection's home: directory=`{id}`, collection=`{collection}`, collections=`{}`",
            homes.len()
        );
        return Err(Error::new(ErrorKind::Conflict, message).with_hint(format!(
            "`directory drain {id}` gives it no more; `collection set NAME --home ID` gives each of them another (`ls assignments --component home`)"
        )));
    }
    if let Some(row) = kept_there(catalog, id)? {
        let message = format!("the directory holds archived segments: directory=`{id}`, segment=`{}`", row.key);
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_hint("they are nowhere else, or their rows say so: it stays as long as any of them does"));
    }
    Ok(())
}

/// A segment whose archived object is in a remote.
pub(super) fn kept_there(catalog: &dyn Catalog, id: &str) -> Result<Option<SegmentRow>> {
    use SegmentStatus::{Archived, Archiving, Evicted, Purging, Quarantined};
    let there = format!("@{id}/");
    for status in [Archived, Archiving, Evicted, Purging, Quarantined] {
        let mut after: Option<SegmentKey> = None;
        loop {
            let rows = catalog.segments_by_status(status, after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            let is_there = |row: &SegmentRow| row.archive_key.as_ref().is_some_and(|key| key.starts_with(&there));
            if let Some(row) = rows.into_iter().find(is_there) {
                return Ok(Some(row));
            }
        }
    }
    Ok(None)
}

impl Inner {
    fn forget(&self, member: &Member, agreed: &mut dyn FnMut(&ForgetPlan) -> bool) -> Result<Option<ForgetPlan>> {
        let plan = self.forget_plan(member)?;
        if !agreed(&plan) {
            return Ok(None);
        }
        let why = format!("directory forgotten: {}", member.id);
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for known in self.all_collections() {
            *counts.entry(known.directory()).or_default() += 1;
        }
        for given_up in &plan.collections {
            let home = &self.directories[self.collection(&given_up.collection)?.directory()].id;
            let target = if *home == member.id {
                self.other_home(&member.id, &given_up.collection, &mut counts)?
            } else {
                home.clone()
            };
            let next = given_up.last_sequence.next().min(Sequence::MAX);
            self.apply(
                &[
                    Mutation::RecordLoss {
                        collection: given_up.collection.clone(),
                        first: given_up.first_sequence,
                        last: given_up.last_sequence,
                    },
                    Mutation::Assign {
                        component: COMPONENT.into(),
                        collection: given_up.collection.clone(),
                        directory: target,
                        epoch: self.epoch,
                        from: next,
                    },
                ],
                &why,
            )?;
        }
        let mut giving = Giving::default();
        self.each_local_row(&member.id, &mut |row| {
            self.give_up_segment(&row, &mut giving)?;
            if giving.mutations.len() >= GROUP {
                self.apply(&std::mem::take(&mut giving.mutations), &why)?;
            }
            Ok(())
        })?;
        self.apply(&giving.mutations, &why)?;
        for row in self.assigned_in(&member.id)? {
            let to = self.choose_anew(&row.component, &row.collection)?;
            self.apply(&[self.assigned_anew(&row, &self.directories[to].id)], &why)?;
        }
        Ok(Some(plan))
    }

    /// What lies there and nowhere else.
    fn forget_plan(&self, member: &Member) -> Result<ForgetPlan> {
        let id = &member.id;
        let index = self.directories.iter().position(|directory| directory.id == *id);
        let mut plan = ForgetPlan { id: id.clone(), place: member.path.display().to_string(), ..ForgetPlan::default() };
        for collection in self.all_collections() {
            // Where the catalog may not know of its last move, it may have lived there, too.
            let may_live_there = self.uncertain.as_ref().is_some_and(|uncertain| uncertain.of_all);
            if Some(collection.directory()) != index && !may_live_there {
                continue;
            }
            let name = collection.name();
            let written = collection.state().written;
            let last = written.max(self.catalog.sequence_max(name)?);
            plan.collections.push(GivenUp {
                collection: name.clone(),
                first_sequence: last.next(),
                last_sequence: Sequence(last.0.saturating_add(JUMP)).min(Sequence::MAX),
                bytes: 0,
            });
        }
        self.each_local_row(id, &mut |row| {
            if row.status == SegmentStatus::Archived {
                plan.archived += 1;
            } else {
                plan.bytes += row.bytes;
                plan.segments.push(GivenUp {
                    collection: row.key.collection.clone(),
                    first_sequence: row.key.first,
                    last_sequence: row.key.last,
                    bytes: row.bytes,
                });
            }
            Ok(())
        })?;
        for row in self.assigned_in(id)? {
            *plan.components.entry(row.component).or_default() += 1;
        }
        let is_empty = !plan.is_loss() && plan.archived == 0 && plan.components.is_empty();
        let state = index.map(|index| self.directories[index].state());
        if member.identity.is_ok()
            && !matches!(state, Some(DirectoryState::Missing(_)))
            && !(is_empty && member.is_drained)
        {
            let message = format!(
                "the directory is there, and {}: directory=`{}`, collections=`{}`, segments=`{}`",
                if is_empty { "takes collections" } else { "is not empty" },
                member.path.display(),
                plan.collections.len(),
                plan.segments.len() as u64 + plan.archived,
            );
            return Err(Error::new(ErrorKind::Conflict, message).with_hint(format!(
                "`directory drain {id}` moves everything elsewhere; a disk that cannot be read any more is unmounted, then forgotten"
            )));
        }
        Ok(plan)
    }

    /// Adds what happens to a row. All of it is in one transaction: a quarantined segment has its loss.
    fn give_up_segment(&self, row: &SegmentRow, giving: &mut Giving) -> Result<()> {
        use SegmentStatus::{Archived, Archiving, Evicted, Quarantined, Sealed};
        let transition = |from, to| Mutation::Transition { key: row.key.clone(), from, to, archive_key: None };
        if row.status == Archived {
            giving.mutations.push(transition(Archived, Evicted));
            return Ok(());
        }
        let (collection, first, last) = (row.key.collection.clone(), row.key.first, row.key.last);
        if giving.collection.as_ref() != Some(&collection) {
            let losses = self.catalog.losses(Some(&collection))?;
            giving.on_record = losses.into_iter().map(|loss| (loss.first, loss.last)).collect();
            giving.collection = Some(collection.clone());
        }
        if row.status == Archiving {
            giving.mutations.push(transition(Archiving, Sealed));
        }
        giving.mutations.push(transition(Sealed, Quarantined));
        // Of a segment that was quarantined before and put back, the loss may be on record.
        if !giving.on_record.contains(&(first, last)) {
            giving.mutations.push(Mutation::RecordLoss { collection, first, last });
        }
        Ok(())
    }

    /// Calls `visit` for every row whose file is in the directory.
    pub(super) fn each_local_row(&self, id: &str, visit: &mut dyn FnMut(SegmentRow) -> Result<()>) -> Result<()> {
        let mut after: Option<SegmentKey> = None;
        loop {
            let rows = self.catalog.segments(None, after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for row in rows.into_iter().filter(|row| row.directory == id && row.status.is_local()) {
                visit(row)?;
            }
        }
    }

    /// A healthy directory for a collection that cannot stay where it is, counted among those there.
    fn other_home(&self, than: &str, collection: &CollectionName, counts: &mut BTreeMap<usize, u64>) -> Result<String> {
        let is_healthy = |index: &usize| {
            let directory = &self.directories[*index];
            directory.id != than && directory.state() == DirectoryState::Healthy
        };
        let healthy: Vec<usize> = (0..self.directories.len()).filter(is_healthy).collect();
        let candidate = |index: &usize| Candidate {
            id: &self.directories[*index].id,
            collections: counts.get(index).copied().unwrap_or(0),
            empty: counts.get(index).copied().unwrap_or(0),
            bytes: 0,
            free_bytes: self.fs.free_bytes(&self.directories[*index].path).ok(),
        };
        let candidates: Vec<Candidate<'_>> = healthy.iter().map(candidate).collect();
        let Some(chosen) = assignment::choose(self.options.placement, collection, &candidates) else {
            return Err(Error::new(ErrorKind::Unavailable, "no healthy directory is left for the collections")
                .with_hint("`directory add` an empty one first"));
        };
        *counts.entry(healthy[chosen]).or_default() += 1;
        Ok(self.directories[healthy[chosen]].id.clone())
    }
}
