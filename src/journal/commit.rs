//! Writes groups to the active file.
//!
//! Owns: the active file, its durable frontier, rotation, poisoning.
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
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use crc32c::crc32c;

use super::committer::EARLY_SYNC_BYTES;
use super::error::JournalError;
use super::file::{HEADER_BYTES, JournalFile};
use super::files::ReadyFile;
use super::group::{self, Control, GroupToWrite, Mark, Open, PAD_BYTES_MIN, Predecessor, Verdict};
use super::queue::{Forming, Next, Purpose, Written};
use super::writer::{Active, Predecessors, Shared, Writer};
use crate::avro::container::SYNC_BYTES;
use crate::fs::FsError;
use crate::types::{ChangeNumber, Sequence};

/// A MARK stands on a page of its own, so that writing it cannot touch the pages it vouches for.
const PAGE_BYTES: u64 = 4096;
/// What an idle MARK and the one at close take at most, besides the table of the group before.
const MARKS_BYTES_MAX: u64 = 4 * PAGE_BYTES;

impl Shared {
    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn predecessors(&self) -> MutexGuard<'_, Predecessors> {
        self.predecessors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check_poison(&self) -> Result<(), JournalError> {
        if !self.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        let poison = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        poison.clone().map_or(Ok(()), |error| Err(JournalError::Poisoned(error)))
    }

    pub(super) fn poison(&self, error: FsError) -> JournalError {
        let error = Arc::new(error);
        tracing::error!(error = %error, "the journal is poisoned: a write or sync failed");
        *self.poison.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&error));
        self.poisoned.store(true, Ordering::Release);
        JournalError::OutcomeUnknown(error)
    }

    pub(super) fn wake_committer(&self) {
        match &self.committer {
            Some(signal) => {
                signal.state.lock().unwrap_or_else(PoisonError::into_inner).lead = true;
                signal.changed.notify_one();
            }
            None => {
                while self.queue.try_lead() {
                    if !self.lead_one() || self.queue.pass_lead() == Next::Nobody {
                        break;
                    }
                }
            }
        }
    }

    pub(super) fn hand_over(&self) {
        if self.queue.pass_lead() == Next::Committer {
            self.wake_committer();
        }
    }

    /// Writes the group in front. The caller has the lead; returns whether it keeps it.
    pub(super) fn lead_one(&self) -> bool {
        let Some(forming) = self.queue.pop() else { return false };
        let outcome = {
            let mut writer = self.writer();
            self.commit(&mut writer, &forming)
        };
        let leads = match outcome {
            Ok(()) => {
                self.queue.settle();
                forming.finish(&Ok(()));
                true
            }
            Err(error) => self.fail(Some(forming), &error),
        };
        self.groups.fetch_add(1, Ordering::SeqCst);
        if let Some(signal) = &self.committer
            && signal.asleep.load(Ordering::SeqCst)
        {
            signal.state.lock().unwrap_or_else(PoisonError::into_inner).busy = true;
            signal.changed.notify_one();
        }
        leads
    }

    /// What cannot be written here is moved elsewhere, where there is an elsewhere (J7). What is left after that fails, and
    /// everything queued behind it (J8), in an order in which each collection's next sequence ends at the lowest that was
    /// refused. `in_hand`: the group that met the error. Returns whether the caller still leads.
    pub(super) fn fail(&self, in_hand: Option<Forming>, error: &JournalError) -> bool {
        let tried = in_hand.as_ref().map(|forming| Arc::clone(&forming.wait));
        if !self.queue.suspend(in_hand) {
            // Somebody else moves what we had in hand.
            return false;
        }
        let retired = self.on_failure.get().is_some_and(|on_failure| on_failure(error));
        let error_behind = match error {
            JournalError::OutcomeUnknown(source) => JournalError::Poisoned(Arc::clone(source)),
            other => other.clone(),
        };
        let for_a_while = !retired && matches!(error, JournalError::Full(_) | JournalError::Rotation(_));
        for left in self.queue.resume(Some(&error_behind)).into_iter().rev() {
            let met_it = tried.as_ref().is_some_and(|tried| Arc::ptr_eq(tried, &left.wait));
            self.refuse_one(left, if met_it { error } else { &error_behind });
        }
        if for_a_while {
            self.queue.accept();
        }
        false
    }

    pub(super) fn refuse_one(&self, forming: Forming, error: &JournalError) {
        for batch in forming.batches.iter().rev() {
            batch.member.refused(batch.first);
        }
        forming.finish(&Err(error.clone()));
    }

    pub(super) fn commit(&self, writer: &mut Writer, forming: &Forming) -> Result<(), JournalError> {
        if writer.closed {
            return Err(JournalError::Closed);
        }
        self.check_poison()?;
        writer.table.clear();
        for batch in &forming.batches {
            let name = if batch.purpose == Purpose::Move { "" } else { batch.member.name().as_str() };
            writer.table.push(name, batch.first.0, batch.count, batch.bytes.len() as u64, batch.checksum);
        }
        // Room for the MARKs behind it too, whose groups repeat this one's table: no journal ends without one (J5).
        let most = group::group_bytes_max(&writer.table, &writer.held_before)
            + MARKS_BYTES_MAX
            + 2 * writer.table.encoded_bytes_max();
        if !writer.has_room(most) {
            self.rotate_with_table(writer, most)?;
        }
        let mut offset = self.write_group(writer, forming.batches.iter().map(|batch| &batch.bytes))?;
        if forming.sync && !self.sabotage.acknowledges_before_sync() {
            // Another's failed sync may be what stands in the way: ours was written all the same.
            self.sync_active(writer).map_err(JournalError::into_unknown)?;
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
    pub(super) fn wake_when_due(&self) {
        let periodic = *self.periodic.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.unsynced_bytes.load(Ordering::Relaxed) >= periodic.bytes.min(EARLY_SYNC_BYTES)
            || self.unsynced_records.load(Ordering::Relaxed) >= periodic.records;
        if due && self.committer.is_some() {
            // Until it comes to it, every group would wake it again.
            self.wake_committer();
        }
    }

    pub(super) fn forget_unsynced(&self) {
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        self.unsynced_records.store(0, Ordering::Relaxed);
    }

    /// Rotation writes a table of its own; the caller's must survive it.
    pub(super) fn rotate_with_table(&self, writer: &mut Writer, bytes_min: u64) -> Result<(), JournalError> {
        let table = std::mem::take(&mut writer.table);
        let outcome = self.rotate(writer, bytes_min);
        writer.table = table;
        outcome
    }

    /// Writes the group that `writer.table` describes, and the filler's header behind it. Returns where the first record
    /// lies.
    pub(super) fn write_group<'a>(
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

    pub(super) fn write_mark(&self, writer: &mut Writer, closed: bool) -> Result<bool, JournalError> {
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

    pub(super) fn change_number(&self) -> ChangeNumber {
        ChangeNumber(self.change_number.load(Ordering::Acquire))
    }

    pub(super) fn sync_file(&self, file: &JournalFile) -> Result<(), JournalError> {
        let _gate = self.sync_gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_poison()?;
        match file.file().sync_data() {
            Err(error) if !self.sabotage.ignores_failed_sync() => Err(self.poison(error)),
            _ => Ok(()),
        }
    }

    /// Syncs the active file, and tells the members whose records were waiting for it.
    pub(super) fn sync_active(&self, writer: &mut Writer) -> Result<(), JournalError> {
        let Some(active) = &mut writer.active else { return Ok(()) };
        self.sync_file(&active.file)?;
        active.durable_to = active.offset;
        self.forget_unsynced();
        for (member, last) in writer.unsynced.drain(..) {
            member.durable(last);
        }
        Ok(())
    }

    pub(super) fn rotate(&self, writer: &mut Writer, bytes_min: u64) -> Result<(), JournalError> {
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
    pub(super) fn as_predecessor(&self, checksum: u32) -> Predecessor {
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
    pub(super) fn go_on_with(&mut self, (before, file): (Predecessor, Arc<JournalFile>)) {
        let Ok(len) = file.file().len() else { return };
        let (offset, group) = (before.end, before.groups);
        self.checksum = before.checksum;
        self.active = Some(Active { file, len, offset, group, data_end: offset, durable_to: offset, marked: false });
    }

    /// Whether a group of at most `most` bytes fits, with a filler behind it.
    pub(super) fn has_room(&self, most: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.offset + most + PAD_BYTES_MIN <= active.len)
    }
}
