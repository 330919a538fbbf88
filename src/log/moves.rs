//! Moves collections from one directory to another: away from one that fails (A2, J7), or that is drained.
//!
//! Owns: the order of a move, who must not be moved, and the epoch of a move. Appends go on meanwhile: they wait in the queue of the old
//! journal, and are moved with the collection.
//!
//! **M1** All of a collection that is in no segment lies in journals of the directory where it lives, or is on its way there.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. The old journal's queue is suspended: it takes batches and writes none. The group that met the error is in it again.
//! 2. A new epoch is made durable in the identity of every healthy directory. A crash leaves an epoch that nobody used.
//! 3. For each collection, under its lock: copies of its unsealed records are queued in the new journal, with the same sequences and the
//!    same bytes; behind them the MOVE record; behind it the batches that waited in the old queue, in their order; and from now on appends
//!    go to the new journal. A journal writes in the order of its queue, so on the disk a MOVE never stands before a copy, nor a new record
//!    before the MOVE.
//!    A crash before the MOVE is durable leaves identical copies in two directories, and the collection lives in the old one; nothing
//!    behind the MOVE was acknowledged. A crash after it leaves the collection in the new one, which holds all that was acknowledged: the old
//!    directory is not needed to go on.
//! 4. The catalog's assignment follows. Until it is durable, the journal that holds the MOVE is kept.
//!
//! The group that met the error may be in the old journal or not. Its records get into the new one with the same sequences
//! and bytes, so that it does not matter: both are the same records. So no sequence that a journal may hold is ever given to another record.
//!
//! What lies only on a disk that cannot be read is not moved, and its collection takes no appends: nobody knows what to put
//! before the next record.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use crc32c::crc32c;

use super::collection::{Collection, Home};
use super::identity::Identity;
use super::recover::{COMPONENT, journals::chain};
use super::{Directory, DirectoryState, Inner, Log};
use crate::catalog::{CatalogError, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FsError, OpenMode};
use crate::journal::group::{Control, Move};
use crate::journal::{Batch, Journal, JournalError, JournalFile, Member, Purpose, Ticket, Written};
use crate::memtable::{Run, RunError};
use crate::types::{CollectionName, Epoch, Sequence};

/// So many bytes of copies may wait in queues before more are read.
const WAITING_BYTES_MAX: u64 = 32 << 20;
/// Assignments told to the catalog in one transaction.
const GROUP: usize = 1000;
/// Under this name the catalog keeps the newest epoch of which it knows every move.
pub(super) const EPOCH: &str = "epoch";
/// Under this name the catalog keeps whether it knows every collection: `yes`, from the closing of the log in good order until it is
/// opened again.
pub(super) const KNOWS_ALL: &str = "knows_all";

/// What a move did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MoveReport {
    /// Collections that live elsewhere now.
    pub moved: u64,
    /// Collections that could not be moved, and why.
    pub kept: Vec<(CollectionName, String)>,
}

/// A move that is durable in a journal, and of which the catalog does not know yet.
pub(super) struct Moved {
    collection: Arc<Collection>,
    directory: usize,
    epoch: Epoch,
    next: Sequence,
    reason: Arc<str>,
    /// Holds the MOVE, and is kept.
    file: Arc<JournalFile>,
    bytes: u64,
}

/// Why collections move, and from where.
struct Leaving {
    from: usize,
    epoch: Epoch,
    reason: Arc<str>,
    /// The directory failed: what cannot be moved takes no appends.
    failed: bool,
}

/// What is queued and not waited for yet.
#[derive(Default)]
struct Waiting {
    tickets: Vec<(Journal, Ticket)>,
    bytes: u64,
}

impl Log {
    /// The directories of the log by id, where each is, and what it is good for now.
    #[must_use]
    pub fn directory_states(&self) -> Vec<(String, std::path::PathBuf, DirectoryState)> {
        let directories = self.0.directories.iter();
        directories.map(|directory| (directory.id.clone(), directory.path.clone(), directory.state())).collect()
    }

    /// Moves every collection that lives in a directory to others, while appends go on; no new one is put there as long as this log is
    /// open. Its segments stay where they are.
    ///
    /// # Errors
    /// `NotFound` for an unknown id; `Conflict` where no other directory is healthy; `Unavailable` where the directory takes no appends.
    pub fn move_away(&self, directory: &str, reason: &str) -> Result<MoveReport> {
        let log = &self.0;
        let index = log.directories.iter().position(|known| known.id == directory).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no such directory of the log: id=`{directory}`"))
                .with_hint("`directory ls` lists them")
        })?;
        let place = &log.directories[index];
        if !log.is_elsewhere(index) {
            let message = format!("no other directory is healthy: directory=`{}`", place.path.display());
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("`directory add` adds one"));
        }
        let Some(journal) = place.journal.as_ref().filter(|_| place.is_working()) else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the directory takes no appends: directory=`{}`", place.path.display()),
            ));
        };
        place.retire();
        let mut report = MoveReport::default();
        journal.suspend_while(|| report = log.leave(index, reason, false));
        log.note_moves()?;
        Ok(report)
    }
}

impl Directory {
    pub(super) fn set_state(&self, state: DirectoryState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Takes no new collections from now on.
    fn retire(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == DirectoryState::Healthy {
            *state = DirectoryState::Drained;
        }
    }

    /// Whether new collections may be put there.
    pub(super) fn takes_collections(&self) -> bool {
        self.journal.is_some() && self.state() == DirectoryState::Healthy
    }

    /// Whether it is written to.
    pub(super) fn is_working(&self) -> bool {
        self.journal.is_some() && matches!(self.state(), DirectoryState::Healthy | DirectoryState::Drained)
    }

    /// Its journal, where it is written to.
    pub(super) fn working_journal(&self) -> Option<&Journal> {
        self.journal.as_ref().filter(|_| self.is_working())
    }
}

impl Inner {
    /// Whether collections could go to another directory than this.
    fn is_elsewhere(&self, from: usize) -> bool {
        self.directories.iter().enumerate().any(|(index, other)| index != from && other.takes_collections())
    }

    /// Whether a directory is being left, or is about to be.
    pub(super) fn is_leaving(&self) -> bool {
        let is_poisoned = |journal: &Journal| journal.is_poisoned();
        self.leaving.load(Ordering::Acquire) > 0
            || self.directories.iter().enumerate().any(|(index, directory)| {
                directory.working_journal().is_some_and(is_poisoned) && self.is_elsewhere(index)
            })
    }

    /// The epoch of the newest move, or of the opening.
    pub(super) fn newest_epoch(&self) -> Epoch {
        *self.newest_epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the journals tell of failures.
    pub(super) fn watch_journals(self: &Arc<Self>) {
        for (index, directory) in self.directories.iter().enumerate() {
            if let Some(journal) = &directory.journal {
                let log: Weak<Self> = Arc::downgrade(self);
                journal.on_failure(Box::new(move |error| {
                    log.upgrade().is_some_and(|log| log.journal_failed(index, error))
                }));
            }
        }
    }

    /// A journal takes no appends any more, and is suspended. Returns whether it is given up for good.
    fn journal_failed(self: &Arc<Self>, from: usize, error: &JournalError) -> bool {
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        let lasting = !matches!(error, JournalError::Full(_) | JournalError::Rotation(_));
        let directory = &self.directories[from];
        let why = chain(error);
        if !self.is_elsewhere(from) {
            if lasting {
                directory.set_state(DirectoryState::Failed(why));
            }
            return lasting;
        }
        // Before any collection is looked at: none is put there any more.
        directory.set_state(DirectoryState::Failed(why.clone()));
        tracing::error!(directory = %directory.path.display(), error = why, "a directory failed; its collections move");
        let report = self.leave(from, &format!("directory failed: {why}"), true);
        tracing::warn!(
            moved = report.moved,
            kept = report.kept.len(),
            "collections were moved from a failed directory"
        );
        true
    }

    /// Moves what lives in directories that could not be written to when the log was opened.
    pub(super) fn leave_failed(self: &Arc<Self>) -> Result<()> {
        for (index, directory) in self.directories.iter().enumerate() {
            let DirectoryState::Failed(why) = directory.state() else { continue };
            if self.is_elsewhere(index) {
                let report = self.leave(index, &format!("directory failed: {why}"), true);
                tracing::warn!(
                    moved = report.moved,
                    kept = report.kept.len(),
                    "collections were moved from a failed directory"
                );
            }
        }
        self.note_moves()
    }

    /// Something besides a journal failed in a directory. Where that is the directory's fault, it is given up.
    pub(super) fn suspect(&self, index: usize, error: &Error) {
        let directory = &self.directories[index];
        let Some(journal) = directory.working_journal().filter(|_| self.is_elsewhere(index)) else { return };
        let failure = match self.probe(directory) {
            Ok(()) if error.kind() == ErrorKind::Full => {
                FsError::new("write", &directory.path, std::io::ErrorKind::StorageFull.into())
            }
            Ok(()) => return,
            Err(failure) => failure,
        };
        journal.give_up(failure);
    }

    /// Whether a directory can be written to at all.
    fn probe(&self, directory: &Directory) -> std::result::Result<(), FsError> {
        let path = directory.staging().join(format!("probe-{}.tmp", self.next_temporary()));
        let written = self.fs.open(&path, OpenMode::CreateNew).and_then(|file| {
            file.write_all_at(b"probe", 0)?;
            file.sync_all()
        });
        let removed = self.fs.remove_file(&path);
        written.and(removed)
    }

    /// Moves every collection from a directory whose journal is suspended, or that has none; returns when the moves are durable,
    /// or have failed.
    pub(super) fn leave(self: &Arc<Self>, from: usize, reason: &str, failed: bool) -> MoveReport {
        self.leaving.fetch_add(1, Ordering::AcqRel);
        let report = self.leave_now(from, reason, failed);
        self.leaving.fetch_sub(1, Ordering::AcqRel);
        report
    }

    fn leave_now(self: &Arc<Self>, from: usize, reason: &str, failed: bool) -> MoveReport {
        let leaving = Leaving { from, epoch: self.next_epoch(), reason: reason.into(), failed };
        let mut report = MoveReport::default();
        let mut waiting = Waiting::default();
        for collection in self.all_collections() {
            match self.move_collection(&collection, &leaving, &mut waiting) {
                Ok(false) => {}
                Ok(true) => report.moved += 1,
                Err(why) => report.kept.push((collection.name().clone(), why)),
            }
            if waiting.bytes >= WAITING_BYTES_MAX {
                waiting.wait();
            }
        }
        waiting.wait();
        report
    }

    /// A higher epoch than any before, durable in every healthy directory.
    fn next_epoch(&self) -> Epoch {
        let mut newest = self.newest_epoch.lock().unwrap_or_else(PoisonError::into_inner);
        newest.0 += 1;
        for directory in self.directories.iter().filter(|directory| directory.is_working()) {
            let written = Identity::read(&*self.fs, &directory.path).and_then(|identity| match identity {
                Some(mut identity) => {
                    identity.epoch = newest.0;
                    identity.write(&*self.fs, &directory.path)
                }
                None => Err(Error::new(ErrorKind::NotFound, "the directory's identity is gone")),
            });
            if let Err(error) = written {
                // It will fail by itself, if it is the disk; the others have the epoch.
                tracing::warn!(directory = %directory.path.display(), error = chain(&error), "an epoch could not be written");
            }
        }
        *newest
    }

    /// Moves one collection, where it lives in the directory that is left. Returns whether it did, or why it stays.
    fn move_collection(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        leaving: &Leaving,
        waiting: &mut Waiting,
    ) -> std::result::Result<bool, String> {
        loop {
            let runs = {
                let state = collection.state();
                if state.home.directory != leaving.from {
                    return Ok(false);
                }
                if let Some(why) = &state.refuses {
                    // Where its end is not known here, it must not look known elsewhere.
                    return Err(why.clone());
                }
                state.unsealed.runs().cloned().collect::<Vec<_>>()
            };
            let copies = match copies_of(collection, &runs) {
                Ok(copies) => copies,
                Err(error) => return Err(self.stays(collection, leaving, &chain(&error))),
            };
            if self.closed.load(Ordering::Acquire) {
                return Err(self.stays(collection, leaving, "the log is closing"));
            }
            let Some(to) = self.choose_directory(collection.name(), &[leaving.from]) else {
                return Err(self.stays(collection, leaving, "no other directory is healthy"));
            };
            if let Some(tickets) = self.change_home(collection, leaving, to, &runs, copies) {
                for (ticket, bytes) in tickets {
                    waiting.bytes += bytes;
                    waiting.tickets.extend(self.directories[to].journal.clone().map(|journal| (journal, ticket)));
                }
                if let Some(journal) = &self.directories[to].journal {
                    journal.nudge();
                }
                return Ok(true);
            }
        }
    }

    /// Step 3 for one collection; `None` where something changed meanwhile, and nothing was done.
    fn change_home(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        leaving: &Leaving,
        to: usize,
        runs: &[Run],
        copies: Vec<Batch>,
    ) -> Option<Vec<(Ticket, u64)>> {
        let directory = &self.directories[to];
        let journal = directory.journal.as_ref()?;
        let mut refused = Vec::new();
        let mut tickets = Vec::new();
        {
            let mut state = collection.state();
            if state.home.directory != leaving.from {
                return Some(tickets);
            }
            // Looked at under the collection's lock: who gives a directory up marks it first, and looks at every collection then.
            if !directory.takes_collections() {
                return None;
            }
            // Sealed or cooled meanwhile.
            if !state.unsealed.is_made_of(runs) {
                return None;
            }
            for batch in copies.into_iter().chain([self.move_batch(collection, leaving, to, state.next)]) {
                let bytes = batch.bytes.len() as u64;
                tickets.push((journal.push(batch, false).ok()?, bytes));
            }
            if let Some(old) = &state.home.journal {
                for batch in old.take_of(collection.name()) {
                    let bytes = batch.bytes.len() as u64;
                    match journal.push_or_return(batch) {
                        Ok(ticket) => tickets.push((ticket, bytes)),
                        Err(failed) => refused.push(failed),
                    }
                }
            }
            state.home = Home { directory: to, journal: Some(journal.clone()), epoch: leaving.epoch, from: state.next };
            self.placement.moved(leaving.from, to);
        }
        // The new journal failed too, and there is no third.
        for (mut batch, error) in refused.into_iter().rev().map(|refused| *refused) {
            batch.member.refused(batch.first);
            if let Some(completion) = batch.completion.take() {
                completion(Err(error.into_unknown()));
            }
        }
        Some(tickets)
    }

    fn move_batch(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        leaving: &Leaving,
        to: usize,
        next: Sequence,
    ) -> Batch {
        let control = Control::Move(Move {
            collection: collection.name().clone(),
            from: self.directories[leaving.from].id.clone(),
            epoch: leaving.epoch,
            next,
        });
        let (bytes, checksum) = control.encode(self.clock.now().micros());
        let member = Mover {
            log: Arc::downgrade(self),
            collection: Arc::clone(collection),
            directory: to,
            epoch: leaving.epoch,
            next,
            reason: Arc::clone(&leaving.reason),
        };
        Batch {
            purpose: Purpose::Move,
            member: Arc::new(member),
            first: Sequence(0),
            count: 1,
            bytes,
            checksum: crc32c(&checksum.to_le_bytes()),
            sync: true,
            alone: false,
            completion: None,
        }
    }

    /// A collection stays where it is; why, for a report.
    fn stays(&self, collection: &Collection, leaving: &Leaving, why: &str) -> String {
        if leaving.failed {
            let name = collection.name();
            let path = self.directories[leaving.from].path.display();
            collection.state().refuses =
                Some(format!("the directory of the collection failed: collection=`{name}`, directory=`{path}`, {why}"));
        }
        why.to_owned()
    }

    /// Brings home what a collection has in journals of other directories (M1): copies it, as a move does.
    pub(super) fn bring_home(&self) -> Result<()> {
        let mut waiting = Waiting::default();
        for collection in self.all_collections() {
            let (home, strays) = {
                let state = collection.state();
                let home = state.home.clone();
                let Some(files) = &self.directories[home.directory].files else { continue };
                let strays: Vec<Run> = state.unsealed.runs().filter(|run| !files.holds(&run.file)).cloned().collect();
                (home, strays)
            };
            let Some(journal) = home.journal.filter(|_| !strays.is_empty()) else { continue };
            for batch in copies_of(&collection, &strays)? {
                waiting.bytes += batch.bytes.len() as u64;
                match journal.push(batch, false) {
                    Ok(ticket) => waiting.tickets.push((journal.clone(), ticket)),
                    Err(error) => return Err(self.journal_error(&collection, error)),
                }
            }
            journal.nudge();
            if waiting.bytes >= WAITING_BYTES_MAX {
                waiting.wait();
            }
        }
        waiting.wait();
        Ok(())
    }

    /// Tells the catalog of moves, many in one transaction.
    pub(super) fn note_moves(&self) -> Result<()> {
        loop {
            let some: Vec<Moved> = {
                let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
                let count = moved.len().min(GROUP);
                let reason = moved.first().map(|first| Arc::clone(&first.reason));
                let same = moved.iter().take(count).take_while(|next| Some(&next.reason) == reason.as_ref()).count();
                moved.drain(..same).collect()
            };
            let Some(first) = some.first() else { return self.note_epoch() };
            let mut mutations = Vec::new();
            for moved in &some {
                let collection = moved.collection.name().clone();
                mutations.push(Mutation::Assign {
                    component: COMPONENT.into(),
                    collection,
                    directory: self.directories[moved.directory].id.clone(),
                    epoch: moved.epoch,
                    from: moved.next,
                });
            }
            let reason = Arc::clone(&first.reason);
            match self.catalog.apply(&mutations, self.clock.now(), &reason) {
                Ok(number) => drop(self.change_number.fetch_max(number.0, Ordering::AcqRel)),
                // One at a time: whoever introduced a collection meanwhile may have told of a later move.
                Err(CatalogError::Refused(_)) if some.len() > 1 => {
                    let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
                    let alone = |(index, moved): (usize, Moved)| Moved {
                        reason: format!("{}, {index}", moved.reason).into(),
                        ..moved
                    };
                    moved.splice(..0, some.into_iter().enumerate().map(alone));
                    continue;
                }
                Err(CatalogError::Refused(refused)) => tracing::info!(%refused, "a later move is known"),
                Err(error) => {
                    let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
                    moved.splice(..0, some);
                    return Err(error.into());
                }
            }
            for moved in some {
                moved.collection.catalogued.store(true, Ordering::Release);
                moved.file.drop_run(moved.bytes);
            }
        }
    }
}

impl Inner {
    /// Tells the catalog that it knows every move of the newest epoch. Before, and where a directory is missing at the next opening,
    /// nobody could tell whether a collection was moved there.
    fn note_epoch(&self) -> Result<()> {
        let newest = *self.newest_epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = self.noted_epoch.load(Ordering::Acquire) >= newest.0;
        let settled = || {
            self.leaving.load(Ordering::Acquire) == 0
                && self.moved.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
        };
        if is_known || !settled() {
            return Ok(());
        }
        self.apply(&[Mutation::SetMeta { name: EPOCH.into(), value: newest.to_string() }], "every move is known")?;
        self.noted_epoch.fetch_max(newest.0, Ordering::AcqRel);
        Ok(())
    }

    /// Tells the catalog, when all of it is so, that it knows every collection.
    pub(super) fn note_all_known(&self) -> Result<()> {
        if self.directories.len() > 1 {
            self.apply(&[Mutation::SetMeta { name: KNOWS_ALL.into(), value: "yes".into() }], "closed")?;
        }
        Ok(())
    }
}

impl Waiting {
    /// Waits for everything queued. What came of it shows elsewhere: whoever waits for a record is told, and a journal that failed
    /// has its collections moved again.
    fn wait(&mut self) {
        for (journal, ticket) in self.tickets.drain(..) {
            if let Err(error) = journal.wait_passively(&ticket) {
                tracing::warn!(%error, "a move met a second failure");
            }
        }
        self.bytes = 0;
    }
}

/// The batches that write `runs` again.
fn copies_of(collection: &Arc<Collection>, runs: &[Run]) -> std::result::Result<Vec<Batch>, RunError> {
    let copy = |run: &Run| {
        let bytes: Bytes = run.load()?;
        let mut checksums = Vec::with_capacity(run.count as usize * 4);
        // Verified on the way: damage must not get a second, good-looking home.
        run.for_each(&bytes, collection.seed, |view| {
            checksums.extend_from_slice(&view.checksum.to_le_bytes());
            Ok::<(), RunError>(())
        })?;
        let member = Copied { collection: Arc::clone(collection), on_disk: run.memory_bytes() == 0 };
        Ok(Batch {
            purpose: Purpose::Copy,
            member: Arc::new(member),
            first: run.first,
            count: run.count,
            bytes,
            checksum: crc32c(&checksums),
            sync: true,
            alone: false,
            completion: None,
        })
    };
    runs.iter().map(copy).collect()
}

/// A collection, as the journal sees it that takes copies of its records.
struct Copied {
    collection: Arc<Collection>,
    /// The copied run was not in memory, and the copy shall not be.
    on_disk: bool,
}

impl Member for Copied {
    fn name(&self) -> &CollectionName {
        self.collection.name()
    }

    fn written(&self, batch: Written, durable: bool) {
        self.collection.put_copy(batch, self.on_disk, durable);
    }

    fn durable(&self, last: Sequence) {
        self.collection.durable(last);
    }

    /// The records are still where they were copied from.
    fn refused(&self, _first: Sequence) {}
}

/// A collection, as the journal sees it that takes its MOVE.
struct Mover {
    log: Weak<Inner>,
    collection: Arc<Collection>,
    directory: usize,
    epoch: Epoch,
    next: Sequence,
    reason: Arc<str>,
}

impl Member for Mover {
    fn name(&self) -> &CollectionName {
        self.collection.name()
    }

    fn written(&self, batch: Written, _durable: bool) {
        let Some(log) = self.log.upgrade() else { return };
        let moved = Moved {
            collection: Arc::clone(&self.collection),
            directory: self.directory,
            epoch: self.epoch,
            next: self.next,
            reason: Arc::clone(&self.reason),
            bytes: batch.bytes.len() as u64,
            file: batch.file,
        };
        log.moved.lock().unwrap_or_else(PoisonError::into_inner).push(moved);
    }

    fn durable(&self, _last: Sequence) {}

    fn refused(&self, _first: Sequence) {}
}
