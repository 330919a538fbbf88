//! The journal of one directory, as the log sees it.
//!
//! Owns: queueing, waiting, syncing on demand, ending in good order. How groups get to the file, and why a crash between
//! any two steps is safe, is in `commit`. Does not own: who leads (`queue`), the files' lives (`files`), or when a journal
//! is released.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::committer::PeriodicSync;
use super::error::JournalError;
use super::file::JournalFile;
use super::files::JournalFiles;
use super::group::{HeldBefore, HeldTable, Predecessor};
use super::queue::{Batch, GroupWait, Member, Queue, Refused, Whose, Woken};
use crate::clock::Clock;
use crate::fs::FsError;
use crate::testing::Sabotage;
use crate::types::{CollectionName, Sequence};

/// What to do when the journal takes no appends any more: called on the thread that met the error, with no lock held, while
/// batches are taken and none is written. Returns whether the journal is given up for good.
pub type OnFailure = Box<dyn Fn(&JournalError) -> bool + Send + Sync>;

/// Length of the first journal of a run; each one made in haste is twice as long, up to the full length.
const FIRST_JOURNAL_BYTES: u64 = 1 << 20;

/// The journal of one directory: what the log appends to.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("files", &self.0.files).finish_non_exhaustive()
    }
}

pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) writer: Mutex<Writer>,
    /// Held during every sync of the active file, so that nobody can take the "success" of a sync after one that failed.
    pub(super) sync_gate: Mutex<()>,
    pub(super) poison: Mutex<Option<Arc<FsError>>>,
    pub(super) poisoned: AtomicBool,
    pub(super) files: Arc<JournalFiles>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) change_number: Arc<AtomicU64>,
    /// Groups written, for whoever watches for idleness.
    pub(super) groups: AtomicU64,
    pub(super) periodic: Mutex<PeriodicSync>,
    pub(super) unsynced_bytes: AtomicU64,
    pub(super) unsynced_records: AtomicU64,
    /// The unreleased journals before the active one. Not under the writer's lock, which is held during a sync: who looks
    /// after journals must not stand in the way of who writes them.
    pub(super) predecessors: Mutex<Predecessors>,
    pub(super) half_full: AtomicBool,
    /// What the log does about a failure.
    pub(super) on_failure: OnceLock<OnFailure>,
    pub(super) committer: Option<CommitterSignal>,
    pub(super) sabotage: Sabotage,
}

/// How the committer thread is woken.
#[derive(Default)]
pub(super) struct CommitterSignal {
    pub state: Mutex<CommitterState>,
    pub changed: Condvar,
    /// The committer waits without a time limit: somebody must tell it that the journal is busy again.
    pub asleep: AtomicBool,
}

#[derive(Default)]
pub(super) struct CommitterState {
    pub lead: bool,
    pub busy: bool,
    pub stop: bool,
}

pub(super) type Predecessors = Vec<(Predecessor, Arc<JournalFile>)>;

pub(super) struct Writer {
    pub(super) active: Option<Active>,
    pub(super) next_len: u64,
    pub(super) unsynced: Vec<(Arc<dyn Member>, Sequence)>,
    pub(super) table: HeldTable,
    pub(super) held_before: HeldTable,
    pub(super) front: Vec<u8>,
    pub(super) filler: Vec<u8>,
    pub(super) checksum: u32,
    pub(super) closed: bool,
}

pub(super) struct Active {
    pub(super) file: Arc<JournalFile>,
    pub(super) len: u64,
    pub(super) offset: u64,
    pub(super) group: u64,
    /// Where the last group that is no MARK ends.
    pub(super) data_end: u64,
    /// Covered by syncs that returned. A MARK is not synced, so this may lie before `offset` with all data durable.
    pub(super) durable_to: u64,
    /// Nothing but a MARK stands behind the last data.
    pub(super) marked: bool,
}

/// What a journal starts with.
pub struct JournalOptions {
    /// Where files come from.
    pub files: Arc<JournalFiles>,
    /// Wall-clock time for control records.
    pub clock: Arc<dyn Clock>,
    /// Newest change of the catalog, kept up to date by the log (C3).
    pub change_number: Arc<AtomicU64>,
    /// The unreleased journals of earlier runs, as recovery judged them.
    pub predecessors: Vec<(Predecessor, Arc<JournalFile>)>,
    /// What the last group of the newest of them held.
    pub last_held: Vec<HeldBefore>,
    /// When the committer syncs what was written without a sync.
    pub periodic: PeriodicSync,
    /// Whether a committer thread will run; without one, who appends does all the work.
    pub committer: bool,
    /// For tests of the tests.
    pub sabotage: Sabotage,
}

/// A batch on its way.
#[must_use = "an append is acknowledged only when its ticket says so"]
pub struct Ticket {
    whose: Whose,
    wait: Arc<GroupWait>,
    lead: bool,
}

impl Journal {
    /// Begins a journal: its OPEN is durable when this returns (J4).
    ///
    /// # Errors
    /// No file could be made, or OPEN could not be made durable.
    pub fn start(options: JournalOptions) -> Result<Self, JournalError> {
        let mut held_before = HeldTable::default();
        for held in &options.last_held {
            held_before.push(held.collection.as_str(), held.first.0, held.count, 0, 0);
        }
        let journal = Self(Arc::new(Shared {
            queue: Queue::default(),
            writer: Mutex::new(Writer {
                active: None,
                next_len: FIRST_JOURNAL_BYTES.min(options.files.journal_bytes()),
                unsynced: Vec::new(),
                table: HeldTable::default(),
                held_before,
                front: Vec::new(),
                filler: Vec::new(),
                checksum: 0,
                closed: false,
            }),
            sync_gate: Mutex::new(()),
            poison: Mutex::new(None),
            poisoned: AtomicBool::new(false),
            files: options.files,
            clock: options.clock,
            change_number: options.change_number,
            groups: AtomicU64::new(0),
            periodic: Mutex::new(options.periodic),
            unsynced_bytes: AtomicU64::new(0),
            unsynced_records: AtomicU64::new(0),
            predecessors: Mutex::new(options.predecessors),
            half_full: AtomicBool::new(false),
            on_failure: OnceLock::new(),
            committer: options.committer.then(CommitterSignal::default),
            sabotage: options.sabotage,
        }));
        let mut writer = journal.0.writer();
        if options.sabotage.appends_to_old_journal()
            && let Some(newest) = journal.0.predecessors().pop()
        {
            writer.go_on_with(newest);
        }
        if writer.active.is_none() {
            journal.0.rotate(&mut writer, 0)?;
            journal.0.sync_active(&mut writer)?;
        }
        drop(writer);
        Ok(journal)
    }

    /// Queues a batch. Called with the collection's lock held, so that the order of sequences is the order of the
    /// queue; does no I/O. `waits`: the caller will call [`wait`](Self::wait) at once, and nothing else before.
    ///
    /// # Errors
    /// The journal takes no batches; the sequences are the caller's again.
    pub fn push(&self, batch: Batch, waits: bool) -> Result<Ticket, JournalError> {
        let whose = Whose::of(&batch);
        let (wait, lead) = self.0.queue.push(batch, waits).map_err(|refused| refused.1)?;
        Ok(Ticket { whose, wait, lead })
    }

    /// As [`push`](Self::push), without waiting.
    ///
    /// # Errors
    /// As [`push`](Self::push), with the batch.
    pub fn push_or_return(&self, batch: Batch) -> Result<Ticket, Refused> {
        let whose = Whose::of(&batch);
        let (wait, lead) = self.0.queue.push(batch, false)?;
        Ok(Ticket { whose, wait, lead })
    }

    /// Returns when the batch is as durable as it asked to be; may write and sync the group, and does not return
    /// before its own group is done.
    ///
    /// # Errors
    /// The batch is not acknowledged; the error says whether it may be on disk.
    pub fn wait(&self, ticket: Ticket) -> Result<(), JournalError> {
        let mut lead = ticket.lead;
        loop {
            if lead {
                lead = self.0.lead_one();
                if let Some(outcome) = ticket.wait.outcome(ticket.whose) {
                    if lead {
                        self.0.hand_over();
                    }
                    return outcome;
                }
                // A group before ours was first, and the lead is still ours; or nobody leads, since batches are moved.
                continue;
            }
            match ticket.wait.sleep(ticket.whose) {
                Woken::Done(outcome) => return outcome,
                Woken::Lead => lead = true,
            }
        }
    }

    /// Gets queued batches going that were pushed without waiting: by the committer, or here where there is none.
    pub fn nudge(&self) {
        self.0.wake_committer();
    }

    /// Waits for a batch that was pushed with `waits: false`, without taking part in the work.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_passively(&self, ticket: &Ticket) -> Result<(), JournalError> {
        loop {
            match ticket.wait.sleep(ticket.whose) {
                Woken::Done(outcome) => return outcome,
                Woken::Lead => {
                    if self.0.lead_one() {
                        self.0.hand_over();
                    }
                }
            }
        }
    }

    /// Syncs what was written without a sync; afterwards it is durable.
    ///
    /// # Errors
    /// The sync failed, now or earlier: the journal is poisoned.
    pub fn sync(&self) -> Result<(), JournalError> {
        let shared = &self.0;
        let (file, offset, unsynced) = {
            let mut writer = shared.writer();
            let unsynced = std::mem::take(&mut writer.unsynced);
            shared.forget_unsynced();
            match &writer.active {
                Some(active) if active.durable_to < active.data_end => {
                    (Arc::clone(&active.file), active.offset, unsynced)
                }
                _ => return shared.check_poison(),
            }
        };
        // Writers go on meanwhile: only what was written before counts.
        self.told(shared.sync_file(&file))?;
        let mut writer = shared.writer();
        if let Some(active) = &mut writer.active
            && active.file.file_id == file.file_id
        {
            active.durable_to = active.durable_to.max(offset);
        }
        drop(writer);
        for (member, last) in unsynced {
            member.durable(last);
        }
        Ok(())
    }

    /// Moves D to the end of what is synced, by an empty group on a page of its own (J5). Does nothing where something is not
    /// synced yet, or a MARK stands there already, or the file has no room. Not synced itself.
    ///
    /// # Errors
    /// The write failed: the journal is poisoned.
    pub fn mark(&self) -> Result<(), JournalError> {
        let marked = {
            let mut writer = self.0.writer();
            self.0.check_poison().and_then(|()| self.0.write_mark(&mut writer, false))
        };
        self.told(marked).map(|_| ())
    }

    /// Where this is news, the log is told of a failure.
    fn told<T>(&self, outcome: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error @ JournalError::OutcomeUnknown(_)) = &outcome {
            self.0.fail(None, error);
        }
        outcome
    }

    /// Ends the journal in good order: syncs, marks, syncs the mark, and cuts the file to its length.
    ///
    /// # Errors
    /// Something could not be made durable.
    pub fn close(&self) -> Result<(), JournalError> {
        let shared = &self.0;
        for forming in shared.queue.refuse(&JournalError::Closed) {
            shared.refuse_one(forming, &JournalError::Closed);
        }
        self.sync()?;
        let mut writer = shared.writer();
        if std::mem::replace(&mut writer.closed, true) {
            return Ok(());
        }
        shared.check_poison()?;
        if shared.write_mark(&mut writer, true)? {
            shared.sync_active(&mut writer)?;
            if let Some(active) = &writer.active {
                // The filler goes, the marker of the last block ends the file: an Avro file of exact length (F3). The
                // length alone changes; where it does not become durable, the filler is still there.
                let cut = active.file.file().set_len(active.offset).and_then(|()| active.file.file().sync_all());
                if let Err(error) = cut {
                    tracing::warn!(%error, "the closed journal keeps its filler");
                }
            }
        }
        if let Some(active) = &writer.active {
            active.file.finish();
        }
        Ok(())
    }

    /// Groups written so far, for whoever watches for idleness.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.0.groups.load(Ordering::SeqCst)
    }

    /// Bytes and records written and not synced.
    #[must_use]
    pub fn unsynced(&self) -> (u64, u64) {
        (self.0.unsynced_bytes.load(Ordering::Relaxed), self.0.unsynced_records.load(Ordering::Relaxed))
    }

    /// When the committer syncs what was written without a sync.
    #[must_use]
    pub fn periodic(&self) -> PeriodicSync {
        *self.0.periodic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes when the committer syncs.
    pub fn set_periodic(&self, periodic: PeriodicSync) {
        *self.0.periodic.lock().unwrap_or_else(PoisonError::into_inner) = periodic;
        self.nudge();
    }

    /// The active journal's file.
    #[must_use]
    pub fn active(&self) -> Option<Arc<JournalFile>> {
        self.0.writer().active.as_ref().map(|active| Arc::clone(&active.file))
    }

    /// How much of the active journal is used: from 0 to 1. Above a half, the next one had better be prepared.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        self.0.half_full.load(Ordering::Relaxed)
    }

    /// Forgets a released journal, so that OPEN no longer tells of it.
    pub fn forget(&self, file: &JournalFile) {
        self.0.predecessors().retain(|(before, _)| before.file_id != file.file_id);
    }

    /// The journals of this directory that are not released, but for the active one; oldest first.
    #[must_use]
    pub fn finished(&self) -> Vec<Arc<JournalFile>> {
        self.0.predecessors().iter().map(|(_, file)| Arc::clone(file)).collect()
    }

    /// Ends the active journal and begins another, so that the old one can be released: for journals that are little
    /// used.
    ///
    /// # Errors
    /// As an append.
    pub fn rotate(&self) -> Result<(), JournalError> {
        let rotated = {
            let mut writer = self.0.writer();
            let rotated = self.0.check_poison().and_then(|()| self.0.rotate(&mut writer, 0));
            rotated.and_then(|()| self.0.sync_active(&mut writer))
        };
        self.told(rotated)
    }

    /// Whether a write or sync failed (J7).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.poisoned.load(Ordering::Acquire)
    }

    /// Leads whatever is queued, until nothing is left. For callers that hold no ticket.
    pub fn drain(&self) {
        while self.0.queue.try_lead() {
            if self.0.lead_one() {
                self.0.hand_over();
            }
        }
    }

    /// Says what is to be done when the journal fails; once, before the first append.
    pub fn on_failure(&self, on_failure: OnFailure) {
        let _ = self.0.on_failure.set(on_failure);
    }

    /// Gives the journal up because of an error that was met outside of it, as if a write had failed.
    pub fn give_up(&self, error: FsError) {
        self.0.fail(None, &JournalError::Retired(Arc::new(error)));
    }

    /// Stops writing, while batches are taken; `move_away` may take them out by [`take_of`](Self::take_of). Then writing goes on with
    /// what is left. Does nothing where somebody moves what waits already.
    pub fn suspend_while(&self, move_away: impl FnOnce()) {
        if self.0.queue.suspend(None) {
            move_away();
            self.0.queue.resume(None);
            self.0.wake_committer();
        }
    }

    /// Takes out what waits of one collection, in order, while the journal is suspended. Copies and MOVEs are left out.
    #[must_use]
    pub fn take_of(&self, name: &CollectionName) -> Vec<Batch> {
        self.0.queue.take_of(name)
    }

    pub(super) fn signal(&self) -> Option<&CommitterSignal> {
        self.0.committer.as_ref()
    }

    /// Where the journal's file is, for messages.
    #[must_use]
    pub fn files(&self) -> &Arc<JournalFiles> {
        &self.0.files
    }
}

/// How long a committer watches before it calls a journal idle.
pub const IDLE: Duration = Duration::from_millis(5);

/// The folder of journals below a directory.
#[must_use]
pub fn folder(directory: &Path) -> std::path::PathBuf {
    directory.join(super::file::JOURNAL_FOLDER)
}
