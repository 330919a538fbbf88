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

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Records that somebody appends.
    Append,
    /// Records that another journal holds, or held: a collection is moved here (J7).
    Copy,
    /// The MOVE record behind such copies.
    Move,
}

/// Records of one collection, encoded, to become durable together.
pub struct Batch {
    /// What it is for.
    pub purpose: Purpose,
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

/// A batch that was not taken, and why.
pub type Refused = Box<(Batch, JournalError)>;

/// Batches that will be written together.
#[derive(Default)]
pub(super) struct Forming {
    pub batches: Vec<Batch>,
    pub bytes: u64,
    pub sync: bool,
    alone: bool,
    waiters: usize,
    pub wait: Arc<GroupWait>,
    /// Where some of its batches are written elsewhere.
    outstanding: Option<Arc<Outstanding>>,
}

impl Forming {
    /// Tells everybody the outcome.
    pub fn finish(mut self, outcome: &Result<(), JournalError>) {
        for batch in &mut self.batches {
            if let Some(completion) = batch.completion.take() {
                completion(outcome.clone());
            }
        }
        match &self.outstanding {
            None => self.wait.finish(outcome.clone()),
            Some(outstanding) => {
                self.batches.iter().for_each(|batch| outstanding.one_done(Whose::of(batch), outcome.clone()));
            }
        }
    }
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
    /// The outcome of each.
    DoneEach(Outcomes),
}

impl Phase {
    fn outcome(&self, whose: Whose) -> Option<Result<(), JournalError>> {
        match self {
            Self::Done(outcome) => Some(outcome.clone()),
            Self::DoneEach(each) => {
                let own = each.iter().find(|(known, _)| *known == whose);
                Some(own.map_or(Err(JournalError::Closed), |(_, outcome)| outcome.clone()))
            }
            Self::Waiting | Self::Lead => None,
        }
    }
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

    pub fn sleep(&self, whose: Whose) -> Woken {
        let mut phase = self.phase();
        loop {
            match &*phase {
                Phase::Waiting => phase = self.changed.wait(phase).unwrap_or_else(PoisonError::into_inner),
                Phase::Lead => {
                    *phase = Phase::Waiting;
                    return Woken::Lead;
                }
                done => return Woken::Done(done.outcome(whose).expect("it is done")),
            }
        }
    }

    pub fn outcome(&self, whose: Whose) -> Option<Result<(), JournalError>> {
        self.phase().outcome(whose)
    }

    fn finish_each(&self, each: Outcomes) {
        *self.phase() = Phase::DoneEach(each);
        self.changed.notify_all();
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
    /// A group in hand was finished or put back, or moving is over.
    settled: Condvar,
}

#[derive(Default)]
struct QueueState {
    forming: std::collections::VecDeque<Forming>,
    led: bool,
    refusing: Option<JournalError>,
    /// Batches are taken, and none is written: collections are moved to another journal.
    suspended: bool,
    /// Somebody moves them.
    handled: bool,
    /// A group was taken out to be written, and its outcome is not known yet.
    in_hand: bool,
}

/// The outcome of each member's batch.
type Outcomes = Vec<(Whose, Result<(), JournalError>)>;

/// The outcome of a group whose batches are written by other journals, one by one.
struct Outstanding {
    wait: Arc<GroupWait>,
    outcomes: Mutex<(usize, Outcomes)>,
}

/// Whose batch it is, within a group: the member's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whose(usize);

impl Whose {
    pub fn of(batch: &Batch) -> Self {
        Self(Arc::as_ptr(&batch.member).cast::<()>() as usize)
    }
}

impl Outstanding {
    fn one_done(&self, whose: Whose, outcome: Result<(), JournalError>) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.0 -= 1;
        match outcomes.1.iter_mut().find(|(known, _)| *known == whose) {
            // Two batches of one collection, and only one came through: neither is told that his did not.
            Some((_, known)) if known.is_ok() != outcome.is_ok() => {
                let failed = std::mem::replace(known, Ok(())).and(outcome);
                *known = failed.map_err(JournalError::into_unknown);
            }
            Some(_) => {}
            None => outcomes.1.push((whose, outcome)),
        }
        if outcomes.0 == 0 {
            let each = std::mem::take(&mut outcomes.1);
            drop(outcomes);
            self.wait.finish_each(each);
        }
    }
}

/// A group is closed to more batches from this many bytes on: enough for the disk's full bandwidth, little enough that
/// a small append behind it need not wait for long.
const GROUP_BYTES: u64 = 4 << 20;

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a batch, and says where to wait, and whether the caller, if it waits, leads from now on.
    ///
    /// # Errors
    /// Batches are refused; this one is the caller's again.
    pub fn push(&self, batch: Batch, waits: bool) -> Result<(Arc<GroupWait>, bool), Refused> {
        let mut state = self.state();
        if let Some(error) = &state.refusing {
            return Err(Box::new((batch, error.clone())));
        }
        let fits = state.forming.back().is_some_and(|last| {
            // A group that is taken apart has its batches counted already.
            !last.alone && !batch.alone && last.bytes < GROUP_BYTES && last.outstanding.is_none()
        });
        if !fits {
            state.forming.push_back(Forming { alone: batch.alone, ..Forming::default() });
        }
        let lead = waits && !state.led && !state.suspended && state.forming.len() == 1;
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
        let lead = !state.led && !state.suspended && !state.forming.is_empty();
        state.led |= lead;
        lead
    }

    /// The group in front, to be written by whoever leads; `None` where nothing waits, nothing may be written, or another has a group in
    /// hand: who led before the queue was suspended may think that he still does.
    /// [`settle`](Self::settle) or [`suspend`](Self::suspend) must follow.
    pub fn pop(&self) -> Option<Forming> {
        let mut state = self.state();
        if state.suspended || state.in_hand {
            return None;
        }
        let next = state.forming.pop_front();
        state.in_hand = next.is_some();
        next
    }

    /// The outcome of the group that was taken out is known.
    pub fn settle(&self) {
        self.state().in_hand = false;
        self.settled.notify_all();
    }

    /// Writes nothing from now on, but takes batches: puts the group in hand back to the front, and waits until nobody else
    /// has one in hand. Returns whether the caller is the one to move what waits; else
    /// somebody else does, and has done so where the caller had nothing in hand.
    pub fn suspend(&self, in_hand: Option<Forming>) -> bool {
        let mut state = self.state();
        let had_one = in_hand.is_some();
        if let Some(forming) = in_hand {
            state.forming.push_front(forming);
            state.in_hand = false;
            self.settled.notify_all();
        }
        state.suspended = true;
        state.led = false;
        if state.handled {
            while state.handled && !had_one {
                state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            return false;
        }
        state.handled = true;
        while state.in_hand {
            state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Takes out what waits of one collection, in order, to be written elsewhere. Whoever waits for it is told when all
    /// of its group is done. Copies and MOVEs are left out: whoever moves the collection again makes them anew.
    pub fn take_of(&self, name: &CollectionName) -> Vec<Batch> {
        let mut state = self.state();
        let mut taken = Vec::new();
        for forming in &mut state.forming {
            if forming.batches.iter().all(|batch| batch.member.name() != name) {
                continue;
            }
            let outstanding = Arc::clone(forming.outstanding.get_or_insert_with(|| {
                let outcomes = Mutex::new((forming.batches.len(), Vec::new()));
                Arc::new(Outstanding { wait: Arc::clone(&forming.wait), outcomes })
            }));
            for mut batch in forming.batches.extract_if(.., |batch| batch.member.name() == name) {
                let (completion, whose) = (batch.completion.take(), Whose::of(&batch));
                let outstanding = Arc::clone(&outstanding);
                let completion: Completion = Box::new(move |outcome| {
                    if let Some(completion) = completion {
                        completion(outcome.clone());
                    }
                    outstanding.one_done(whose, outcome);
                });
                if batch.purpose == Purpose::Append {
                    batch.completion = Some(completion);
                    taken.push(batch);
                } else {
                    completion(Ok(()));
                }
            }
        }
        state.forming.retain(|forming| !forming.batches.is_empty());
        taken
    }

    /// Moving is over. What still waits is returned, in order, where batches are `refused` from now on; else writing goes on.
    pub fn resume(&self, refused: Option<&JournalError>) -> Vec<Forming> {
        let mut state = self.state();
        (state.suspended, state.handled) = (false, false);
        self.settled.notify_all();
        match refused {
            Some(error) => {
                state.refusing = Some(error.clone());
                state.forming.drain(..).collect()
            }
            None => Vec::new(),
        }
    }

    /// Gives the lead up, to a member of the next group where there is one.
    pub fn pass_lead(&self) -> Next {
        let mut state = self.state();
        if state.suspended {
            return Next::Nobody;
        }
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
