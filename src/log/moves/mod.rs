//! Moves collections from one directory to another: away from one that fails (A2, J7), or that is drained.
//!
//! - `members`: copies and MOVEs in a journal's queue
//! - `note`: telling the catalog
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

mod members;
mod note;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use crc32c::crc32c;

use self::members::{Mover, Waiting, copies_of};
pub(super) use self::note::{EPOCH, KNOWS_ALL, Moved};

use super::collection::{Collection, Home};
use super::identity::Identity;
use super::recover::journals::chain;
use super::{Directory, DirectoryState, Inner, Log};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FsError, OpenMode};
use crate::journal::group::{Control, Move};
use crate::journal::{Batch, Journal, JournalError, Purpose, Ticket};
use crate::memtable::Run;
use crate::types::{CollectionName, Epoch, Sequence};

/// So many bytes of copies may wait in queues before more are read.
const WAITING_BYTES_MAX: u64 = 32 << 20;
/// What a move did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MoveReport {
    /// Collections that live elsewhere now.
    pub moved: u64,
    /// Collections that could not be moved, and why.
    pub kept: Vec<(CollectionName, String)>,
}

/// Why collections move, and from where.
struct Leaving {
    from: usize,
    epoch: Epoch,
    reason: Arc<str>,
    /// The directory failed: what cannot be moved takes no appends.
    failed: bool,
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
            self.placement.moved(leaving.from, to, collection.segments_at());
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
}
