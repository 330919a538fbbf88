//! What waits for the journal, and who leads (J8).
//!
//! Owns: the order of batches, the forming of groups, sleeping and waking. Does no I/O.
//!
//! One of the waiting writers leads: it takes the oldest forming group, writes and syncs it, wakes the group's other
//! members with one call, and hands the lead to one member of the next group. So a lone writer does its own write
//! and sync without a change of thread, and with many writers nobody is woken in vain.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::error::JournalError;
use super::file::JournalFile;
use crate::types::{CollectionName, Sequence};

/// A collection, as the journal sees it. No call comes while a lock of the journal's queue is held.
pub trait Member: Send + Sync {
    /// The collection's name.
    fn name(&self) -> &CollectionName;

    /// The batch is in the file: in order of sequence, and one at a time. `durable`: it is synced too.
    fn written(&self, batch: Written, durable: bool);

    /// Everything up to `last` is synced.
    fn durable(&self, last: Sequence);

    /// The batch that begins with `first`, and everything behind it, did not get in: the next append takes `first`.
    fn refused(&self, first: Sequence);
}

/// Where a batch lies after it was written.
#[derive(Debug)]
pub struct Written {
    /// First sequence.
    pub first: Sequence,
    /// How many records.
    pub count: u64,
    /// The encoded records.
    pub bytes: Bytes,
    /// The journal that holds them.
    pub file: Arc<JournalFile>,
    /// Where in the file.
    pub offset: u64,
}

/// Called once with the outcome of a batch, by the thread that leads.
pub type Completion = Box<dyn FnOnce(Result<(), JournalError>) + Send>;

/// Records of one collection, encoded, to become durable together.
pub struct Batch {
    /// The collection.
    pub member: Arc<dyn Member>,
    /// First sequence.
    pub first: Sequence,
    /// How many records.
    pub count: u64,
    /// The encoded records.
    pub bytes: Bytes,
    /// CRC32C over the records' checksums.
    pub checksum: u32,
    /// Whether it must be synced before it is acknowledged.
    pub sync: bool,
    /// Whether it shares its sync with nobody (mode `always`).
    pub alone: bool,
    /// Whom to tell, for a writer that does not wait in a thread.
    pub completion: Option<Completion>,
}

/// Batches that will be written together.
#[derive(Default)]
pub(super) struct Forming {
    pub batches: Vec<Batch>,
    pub bytes: u64,
    pub sync: bool,
    alone: bool,
    waiters: usize,
    pub wait: Arc<GroupWait>,
}

/// Where the members of one group sleep.
#[derive(Default)]
pub(super) struct GroupWait {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Default)]
enum Phase {
    #[default]
    Waiting,
    /// The lead is free, and this group is next.
    Lead,
    Done(Result<(), JournalError>),
}

/// What a sleeping member wakes up to.
pub(super) enum Woken {
    Lead,
    Done(Result<(), JournalError>),
}

impl GroupWait {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn sleep(&self) -> Woken {
        let mut phase = self.phase();
        loop {
            match &*phase {
                Phase::Waiting => phase = self.changed.wait(phase).unwrap_or_else(PoisonError::into_inner),
                Phase::Lead => {
                    *phase = Phase::Waiting;
                    return Woken::Lead;
                }
                Phase::Done(outcome) => return Woken::Done(outcome.clone()),
            }
        }
    }

    pub fn outcome(&self) -> Option<Result<(), JournalError>> {
        match &*self.phase() {
            Phase::Done(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }

    pub fn finish(&self, outcome: Result<(), JournalError>) {
        *self.phase() = Phase::Done(outcome);
        self.changed.notify_all();
    }

    fn offer_lead(&self) {
        *self.phase() = Phase::Lead;
        self.changed.notify_one();
    }
}

/// Who must act next, after the queue's lock is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Somebody has the lead, or nothing waits.
    Nobody,
    /// The group in front has no waiting thread: the committer must lead.
    Committer,
}

/// The queue of one journal.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    forming: std::collections::VecDeque<Forming>,
    led: bool,
    refusing: Option<JournalError>,
}

/// A group is closed to more batches from this many bytes on: enough for the disk's full bandwidth, little enough that
/// a small append behind it need not wait for long.
const GROUP_BYTES: u64 = 4 << 20;

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a batch, and says where to wait, and whether the caller, if it waits, leads from now on.
    pub fn push(&self, batch: Batch, waits: bool) -> Result<(Arc<GroupWait>, bool), JournalError> {
        let mut state = self.state();
        if let Some(error) = &state.refusing {
            return Err(error.clone());
        }
        let fits = state.forming.back().is_some_and(|last| !last.alone && !batch.alone && last.bytes < GROUP_BYTES);
        if !fits {
            state.forming.push_back(Forming { alone: batch.alone, ..Forming::default() });
        }
        let lead = waits && !state.led && state.forming.len() == 1;
        state.led |= lead;
        let last = state.forming.back_mut().expect("a group was just made sure of");
        last.bytes += batch.bytes.len() as u64;
        last.sync |= batch.sync;
        last.waiters += usize::from(waits);
        last.batches.push(batch);
        Ok((Arc::clone(&last.wait), lead))
    }

    /// Takes the lead where nobody has it and something waits.
    pub fn try_lead(&self) -> bool {
        let mut state = self.state();
        let lead = !state.led && !state.forming.is_empty();
        state.led |= lead;
        lead
    }

    /// Takes the lead whether anything waits or not, for a caller that found nobody leading.
    pub fn pop(&self) -> Option<Forming> {
        self.state().forming.pop_front()
    }

    /// Gives the lead up, to a member of the next group where there is one.
    pub fn pass_lead(&self) -> Next {
        let mut state = self.state();
        match state.forming.front() {
            None => {
                state.led = false;
                Next::Nobody
            }
            Some(next) if next.waiters > 0 => {
                next.wait.offer_lead();
                Next::Nobody
            }
            Some(_) => {
                state.led = false;
                Next::Committer
            }
        }
    }

    /// Refuses every batch from now on with `error`, and returns those that waited.
    pub fn refuse(&self, error: &JournalError) -> Vec<Forming> {
        let mut state = self.state();
        state.refusing = Some(error.clone());
        state.forming.drain(..).collect()
    }

    /// Takes batches again.
    pub fn accept(&self) {
        self.state().refusing = None;
    }
}
