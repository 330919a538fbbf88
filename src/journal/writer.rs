//! Writes groups to the active journal of one directory.
//!
//! Owns: the active file, its durable frontier, rotation, poisoning. Does not own: who leads (`queue`), the files' lives
//! (`files`), or when a journal is released.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! A group: (1) one write of the whole block and the filler's header behind it; (2) `fdatasync`, where a batch asks for it; (3)
//! members learn of it; (4) writers are acknowledged. A crash before (2) returned can leave any part of the block: it
//! was acknowledged to nobody who asked for durability, and a torn block fails its checksums. After (2) the block is
//! whole for ever, since the next write begins behind it, in whole sectors the same bytes.
//!
//! Rotation: (1) the old file is synced, in every mode, so that a hole cannot arise below an acknowledged record
//! (D2); (2) the new file is named and its header durable (`files`); (3) OPEN is written, telling where each
//! unreleased journal ends; it is synced before any group behind it is acknowledged (J4). A crash before (3) is durable leaves an
//! empty journal, and recovery judges the old ones anew, with the same result, because of (1).
//!
//! A failed write or sync poisons (J7): the kernel may have thrown the bytes away and say "success" to the next sync.
//! So no sync of this file is ever tried again, and no group of it acknowledged any more.

use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crc32c::crc32c;

use super::committer::{EARLY_SYNC_BYTES, PeriodicSync};
use super::error::JournalError;
use super::file::{HEADER_BYTES, JournalFile};
use super::files::{JournalFiles, ReadyFile};
use super::group::{
    self, Control, GroupToWrite, HeldBefore, HeldTable, Mark, Open, PAD_BYTES_MIN, Predecessor, Verdict,
};
use super::queue::{Batch, Forming, GroupWait, Member, Next, Queue, Woken, Written};
use crate::avro::container::SYNC_BYTES;
use crate::clock::Clock;
use crate::fs::FsError;
use crate::testing::Sabotage;
use crate::types::{ChangeNumber, Sequence};

/// A MARK stands on a page of its own, so that writing it cannot touch the pages it vouches for.
const PAGE_BYTES: u64 = 4096;
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
    queue: Queue,
    writer: Mutex<Writer>,
    /// Held during every sync of the active file, so that nobody can take the "success" of a sync after one that failed.
    sync_gate: Mutex<()>,
    poison: Mutex<Option<Arc<FsError>>>,
    poisoned: AtomicBool,
    files: Arc<JournalFiles>,
    clock: Arc<dyn Clock>,
    change_number: Arc<AtomicU64>,
    /// Groups written, for whoever watches for idleness.
    groups: AtomicU64,
    periodic: Mutex<PeriodicSync>,
    unsynced_bytes: AtomicU64,
    unsynced_records: AtomicU64,
    /// The unreleased journals before the active one. Not under the writer's lock, which is held during a sync: who looks
    /// after journals must not stand in the way of who writes them.
    predecessors: Mutex<Predecessors>,
    half_full: AtomicBool,
    committer: Option<CommitterSignal>,
    sabotage: Sabotage,
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

type Predecessors = Vec<(Predecessor, Arc<JournalFile>)>;

struct Writer {
    active: Option<Active>,
    next_len: u64,
    unsynced: Vec<(Arc<dyn Member>, Sequence)>,
    table: HeldTable,
    held_before: HeldTable,
    front: Vec<u8>,
    filler: Vec<u8>,
    checksum: u32,
    closed: bool,
}

struct Active {
    file: Arc<JournalFile>,
    len: u64,
    offset: u64,
    group: u64,
    /// Where the last group that is no MARK ends.
    data_end: u64,
    /// Covered by syncs that returned. A MARK is not synced, so this may lie before `offset` with all data durable.
    durable_to: u64,
    /// Nothing but a MARK stands behind the last data.
    marked: bool,
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
        let (wait, lead) = self.0.queue.push(batch, waits)?;
        Ok(Ticket { wait, lead })
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
                self.0.lead_one();
                if let Some(outcome) = ticket.wait.outcome() {
                    self.0.hand_over();
                    return outcome;
                }
                // A group before ours was first; the lead is still ours.
                continue;
            }
            match ticket.wait.sleep() {
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
            match ticket.wait.sleep() {
                Woken::Done(outcome) => return outcome,
                Woken::Lead => {
                    self.0.lead_one();
                    self.0.hand_over();
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
        shared.sync_file(&file)?;
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
        let mut writer = self.0.writer();
        self.0.check_poison()?;
        self.0.write_mark(&mut writer, false).map(|_| ())
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
        let mut writer = self.0.writer();
        self.0.check_poison()?;
        self.0.rotate(&mut writer, 0)?;
        self.0.sync_active(&mut writer)
    }

    /// Whether a write or sync failed (J7).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.poisoned.load(Ordering::Acquire)
    }

    /// Leads whatever is queued, until nothing is left. For callers that hold no ticket.
    pub fn drain(&self) {
        while self.0.queue.try_lead() {
            self.0.lead_one();
            self.0.hand_over();
        }
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

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn predecessors(&self) -> MutexGuard<'_, Predecessors> {
        self.predecessors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_poison(&self) -> Result<(), JournalError> {
        if !self.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        let poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        poison.clone().map_or(Ok(()), |error| Err(JournalError::Poisoned(error)))
    }

    fn poison(&self, error: FsError) -> JournalError {
        let error = Arc::new(error);
        tracing::error!(error = %error, "the journal is poisoned: a write or sync failed");
        *self.poison.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&error));
        self.poisoned.store(true, Ordering::Release);
        JournalError::OutcomeUnknown(error)
    }

    fn wake_committer(&self) {
        match &self.committer {
            Some(signal) => {
                signal.state.lock().unwrap_or_else(PoisonError::into_inner).lead = true;
                signal.changed.notify_one();
            }
            None => {
                while self.queue.try_lead() {
                    self.lead_one();
                    if self.queue.pass_lead() == Next::Nobody {
                        break;
                    }
                }
            }
        }
    }

    fn hand_over(&self) {
        if self.queue.pass_lead() == Next::Committer {
            self.wake_committer();
        }
    }

    /// Writes the group in front. The caller has the lead, and keeps it.
    fn lead_one(&self) {
        let Some(forming) = self.queue.pop() else { return };
        let outcome = {
            let mut writer = self.writer();
            self.commit(&mut writer, &forming)
        };
        match outcome {
            Ok(()) => finish(forming, Ok(())),
            Err(error) => self.fail(forming, &error),
        }
        self.groups.fetch_add(1, Ordering::SeqCst);
        if let Some(signal) = &self.committer
            && signal.asleep.load(Ordering::SeqCst)
        {
            signal.state.lock().unwrap_or_else(PoisonError::into_inner).busy = true;
            signal.changed.notify_one();
        }
    }

    /// A failure fails everything queued behind it (J8), in an order in which each collection's next sequence ends at the
    /// lowest that was refused.
    fn fail(&self, forming: Forming, error: &JournalError) {
        let behind = self.queue.refuse(error);
        let error_behind = match error {
            JournalError::OutcomeUnknown(source) => JournalError::Poisoned(Arc::clone(source)),
            other => other.clone(),
        };
        for later in behind.into_iter().rev() {
            self.refuse_one(later, &error_behind);
        }
        self.refuse_one(forming, error);
        if matches!(error, JournalError::Full(_) | JournalError::Rotation(_)) {
            self.queue.accept();
        } else {
            self.queue.refuse(&error_behind);
        }
    }

    fn refuse_one(&self, forming: Forming, error: &JournalError) {
        for batch in forming.batches.iter().rev() {
            batch.member.refused(batch.first);
        }
        finish(forming, Err(error.clone()));
    }

    fn commit(&self, writer: &mut Writer, forming: &Forming) -> Result<(), JournalError> {
        if writer.closed {
            return Err(JournalError::Closed);
        }
        self.check_poison()?;
        writer.table.clear();
        for batch in &forming.batches {
            let name = batch.member.name().as_str();
            writer.table.push(name, batch.first.0, batch.count, batch.bytes.len() as u64, batch.checksum);
        }
        let most = group::group_bytes_max(&writer.table, &writer.held_before);
        if !writer.has_room(most) {
            self.rotate_with_table(writer, most)?;
        }
        let mut offset = self.write_group(writer, forming.batches.iter().map(|batch| &batch.bytes))?;
        if forming.sync && !self.sabotage.acknowledges_before_sync() {
            self.sync_active(writer)?;
        }
        let active = writer.active.as_ref().expect("a group was just written to it");
        let file = Arc::clone(&active.file);
        for batch in &forming.batches {
            let bytes = batch.bytes.clone();
            let len = bytes.len() as u64;
            file.add_run(len);
            let written = Written { first: batch.first, count: batch.count, bytes, file: Arc::clone(&file), offset };
            batch.member.written(written, forming.sync);
            if !forming.sync {
                writer.unsynced.push((Arc::clone(&batch.member), Sequence(batch.first.0 + batch.count - 1)));
                self.unsynced_bytes.fetch_add(len, Ordering::Relaxed);
                self.unsynced_records.fetch_add(batch.count, Ordering::Relaxed);
            }
            offset += len;
        }
        if !forming.sync {
            self.wake_when_due();
        }
        Ok(())
    }

    /// The committer looks at the time by itself; bytes and records it must be told of.
    fn wake_when_due(&self) {
        let periodic = *self.periodic.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.unsynced_bytes.load(Ordering::Relaxed) >= periodic.bytes.min(EARLY_SYNC_BYTES)
            || self.unsynced_records.load(Ordering::Relaxed) >= periodic.records;
        if due && self.committer.is_some() {
            // Until it comes to it, every group would wake it again.
            self.wake_committer();
        }
    }

    fn forget_unsynced(&self) {
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        self.unsynced_records.store(0, Ordering::Relaxed);
    }

    /// Rotation writes a table of its own; the caller's must survive it.
    fn rotate_with_table(&self, writer: &mut Writer, bytes_min: u64) -> Result<(), JournalError> {
        let table = std::mem::take(&mut writer.table);
        let outcome = self.rotate(writer, bytes_min);
        writer.table = table;
        outcome
    }

    /// Writes the group that `writer.table` describes, and the filler's header behind it. Returns where the first record
    /// lies.
    fn write_group<'a>(
        &self,
        writer: &mut Writer,
        records: impl ExactSizeIterator<Item = &'a Bytes>,
    ) -> Result<u64, JournalError> {
        let active = writer.active.as_mut().expect("a journal is active from start to close");
        writer.front.clear();
        let to_write = GroupToWrite {
            file_id: active.file.file_id,
            journal: active.file.journal,
            group: active.group,
            offset: active.offset,
            durable_to: active.durable_to,
            previous_checksum: writer.checksum,
            held_before: &writer.held_before,
            timestamp_us: self.clock.now().micros(),
        };
        let (checksum, span) = group::encode_front(&mut writer.front, &writer.table, &to_write);
        let end = active.offset + span;
        writer.filler.clear();
        writer.filler.extend_from_slice(&active.file.file_id.0);
        if active.len > end {
            group::encode_pad(&mut writer.filler, active.len - end, active.file.file_id);
        }
        let mut slices = Vec::with_capacity(records.len() + 2);
        slices.push(IoSlice::new(&writer.front));
        slices.extend(records.map(|bytes| IoSlice::new(bytes)));
        slices.push(IoSlice::new(&writer.filler));
        let written = active.file.file().write_slices_at(&mut slices, active.offset);
        let records_at = active.offset + writer.front.len() as u64;
        if let Err(error) = written {
            return Err(self.poison(error));
        }
        active.offset = end;
        active.data_end = end;
        active.group += 1;
        active.marked = false;
        self.half_full.store(active.offset > active.len / 2, Ordering::Relaxed);
        writer.checksum = checksum;
        std::mem::swap(&mut writer.held_before, &mut writer.table);
        Ok(records_at)
    }

    fn write_mark(&self, writer: &mut Writer, closed: bool) -> Result<bool, JournalError> {
        let Some(active) = &mut writer.active else { return Ok(false) };
        if active.durable_to < active.data_end || (active.marked && !closed) {
            return Ok(false);
        }
        let mark = Mark { change_number: self.change_number(), closed };
        let (bytes, checksum) = Control::Mark(mark).encode(self.clock.now().micros());
        let mut page = active.offset.next_multiple_of(PAGE_BYTES);
        if page > active.offset && page - active.offset < PAD_BYTES_MIN {
            page += PAGE_BYTES;
        }
        writer.table.clear();
        writer.table.push("", 0, 1, bytes.len() as u64, crc32c(&checksum.to_le_bytes()));
        let most = group::group_bytes_max(&writer.table, &writer.held_before);
        if page + most + PAD_BYTES_MIN > active.len {
            return Ok(false);
        }
        let data_end = active.data_end;
        if page > active.offset {
            // The filler first shrinks to the page's end. Either header of it, the old or the new, is a whole one.
            let mut filler = Vec::new();
            let span = page - active.offset;
            group::encode_pad(&mut filler, span, active.file.file_id);
            filler.resize((span - SYNC_BYTES as u64) as usize, 0);
            filler.extend_from_slice(&active.file.file_id.0);
            if let Err(error) = active.file.file().write_all_at(&filler, active.offset) {
                return Err(self.poison(error));
            }
            active.offset = page;
        }
        self.write_group(writer, std::iter::once(&bytes))?;
        if let Some(active) = &mut writer.active {
            active.data_end = data_end;
            active.marked = true;
        }
        Ok(true)
    }

    fn change_number(&self) -> ChangeNumber {
        ChangeNumber(self.change_number.load(Ordering::Acquire))
    }

    fn sync_file(&self, file: &JournalFile) -> Result<(), JournalError> {
        let _gate = self.sync_gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_poison()?;
        match file.file().sync_data() {
            Err(error) if !self.sabotage.ignores_failed_sync() => Err(self.poison(error)),
            _ => Ok(()),
        }
    }

    /// Syncs the active file, and tells the members whose records were waiting for it.
    fn sync_active(&self, writer: &mut Writer) -> Result<(), JournalError> {
        let Some(active) = &mut writer.active else { return Ok(()) };
        self.sync_file(&active.file)?;
        active.durable_to = active.offset;
        self.forget_unsynced();
        for (member, last) in writer.unsynced.drain(..) {
            member.durable(last);
        }
        Ok(())
    }

    fn rotate(&self, writer: &mut Writer, bytes_min: u64) -> Result<(), JournalError> {
        // A MARK behind the data too: OPEN vouches for the old file up to its end.
        if !self.sabotage.rotates_without_sync()
            && writer.active.as_ref().is_some_and(|old| old.durable_to < old.offset)
        {
            self.sync_active(writer)?;
        }
        let mut predecessors: Vec<_> = self.predecessors().iter().map(|(before, _)| before.clone()).collect();
        predecessors.extend(writer.active.as_ref().map(|old| old.as_predecessor(writer.checksum)));
        let open = Open { change_number: self.change_number(), predecessors };
        let (bytes, checksum) = Control::Open(open).encode(self.clock.now().micros());
        writer.table.clear();
        writer.table.push("", 0, 1, bytes.len() as u64, crc32c(&checksum.to_le_bytes()));
        let open_most = group::group_bytes_max(&writer.table, &writer.held_before);
        let taken = self.files.take(open_most + bytes_min, writer.next_len);
        let ReadyFile { file, len } = taken.map_err(|error| {
            let error = Arc::new(error);
            if error.is_full() { JournalError::Full(error) } else { JournalError::Rotation(error) }
        })?;
        writer.next_len = (writer.next_len * 2).min(self.files.journal_bytes());
        if let Some(old) = writer.active.take() {
            // Finished first: who finds it among the predecessors may release it.
            old.file.finish();
            self.predecessors().push((old.as_predecessor(writer.checksum), Arc::clone(&old.file)));
        }
        let (offset, durable_to) = (HEADER_BYTES, HEADER_BYTES);
        writer.active = Some(Active { file, len, offset, group: 0, data_end: offset, durable_to, marked: false });
        writer.checksum = 0;
        self.write_group(writer, std::iter::once(&bytes))?;
        // In the modes that do not sync, the first group must not be acknowledged before OPEN is durable (J4).
        self.sync_active(writer)
    }
}

impl Active {
    fn as_predecessor(&self, checksum: u32) -> Predecessor {
        Predecessor {
            journal: self.file.journal,
            file_id: self.file.file_id,
            end: self.offset,
            checksum,
            groups: self.group,
            verdict: Verdict::Whole,
            dropped_bytes: 0,
        }
    }
}

impl Writer {
    /// What J4 forbids: appends behind the end of a journal of an earlier run.
    fn go_on_with(&mut self, (before, file): (Predecessor, Arc<JournalFile>)) {
        let Ok(len) = file.file().len() else { return };
        let (offset, group) = (before.end, before.groups);
        self.checksum = before.checksum;
        self.active = Some(Active { file, len, offset, group, data_end: offset, durable_to: offset, marked: false });
    }

    /// Whether a group of at most `most` bytes fits, with a filler behind it.
    fn has_room(&self, most: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.offset + most + PAD_BYTES_MIN <= active.len)
    }
}

fn finish(mut forming: Forming, outcome: Result<(), JournalError>) {
    for batch in &mut forming.batches {
        if let Some(completion) = batch.completion.take() {
            completion(outcome.clone());
        }
    }
    forming.wait.finish(outcome);
}

/// How long a committer watches before it calls a journal idle.
pub const IDLE: Duration = Duration::from_millis(5);

/// The folder of journals below a directory.
#[must_use]
pub fn folder(directory: &Path) -> std::path::PathBuf {
    directory.join(super::file::JOURNAL_FOLDER)
}
