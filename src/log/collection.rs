//! One collection while the log is open: its next sequence, its marks, its unsealed records.
//!
//! Owns: the order of sequences, the two marks (D1), who waits for new records. Its lock is held while an append takes a
//! sequence and a place in the queue (J8), and never during I/O.
//!
//! `durable <= written < next` always; each is only raised, but `next` goes back to `written + 1` when the journal refuses.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::assign::SegmentsAt;
use super::budget::Budget;
use super::life::Life;
use crate::avro::record::Seed;
use crate::clock::Clock;
use crate::journal::{Journal, Member, Written};
use crate::memtable::{Run, Unsealed};
use crate::types::{CollectionName, Epoch, Sequence, Timestamp};

/// A collection of an open log.
pub struct Collection {
    name: CollectionName,
    /// Where its records' checksums start.
    pub(super) seed: Seed,
    budget: Arc<Budget>,
    state: Mutex<CollectionState>,
    /// The catalog has its row and its assignment.
    pub(super) catalogued: AtomicBool,
    /// Where its segments are at home: 0 where they are sealed, `usize::MAX` nowhere that is known, else the remote of the number before.
    /// Changed under its lock, or before anybody sees it.
    segments_at: AtomicUsize,
    /// In which directory, counted from 1, this run has made sure that the folder of its segments has a durable name; 0: in none.
    pub(super) has_folder: AtomicUsize,
    /// Its own settings, and whether it is there.
    pub(super) life: Life,
    /// Nobody seals or cools it any more.
    unclaimed: Condvar,
}

/// Where a collection is journalled and sealed.
#[derive(Clone, Debug)]
pub struct Home {
    /// Which of the log's directories.
    pub directory: usize,
    /// Its journal; `None` where the directory takes no appends, or the log is open to read only.
    pub journal: Option<Journal>,
    /// The epoch that put it there.
    pub epoch: Epoch,
    /// The first sequence that went there.
    pub from: Sequence,
}

/// What changes.
#[derive(Debug)]
pub struct CollectionState {
    /// Where new records go, and every unsealed one lies.
    pub home: Home,
    /// The sequence that the next record gets.
    pub next: Sequence,
    /// Last sequence that readers may see.
    pub written: Sequence,
    /// Last sequence that a power cut cannot take.
    pub durable: Sequence,
    /// First sequence still promised.
    pub floor: Sequence,
    /// Everything up to here is in segments, or was lost on record.
    pub sealed_through: Sequence,
    /// Records in no segment yet.
    pub unsealed: Unsealed,
    /// A seal is under way.
    pub sealing: bool,
    /// How old the oldest unsealed record is.
    pub oldest_unsealed: Option<OldestUnsealed>,
    /// Why it takes no appends, where it takes none.
    pub refuses: Option<String>,
    /// Records behind the last known one may be in a directory that is missing, and which.
    pub unknown_end: Option<String>,
    waiters: Vec<Arc<Waiter>>,
}

/// How old the oldest unsealed record is: on the monotonic clock, and, of one that was found when the log was opened, what it was old by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldestUnsealed {
    since: Duration,
    before: Duration,
}

impl OldestUnsealed {
    /// One that comes now.
    pub const fn came(now: Duration) -> Self {
        Self { since: now, before: Duration::ZERO }
    }

    /// The oldest of these, as their journals tell: `now` on the monotonic clock, and by the other one. What lies ahead of the clock comes now.
    fn found(unsealed: &Unsealed, now: Duration, at: Timestamp) -> Option<Self> {
        let oldest = unsealed.runs().filter_map(|run| run.written_at).min();
        let micros = oldest.map_or(0, |oldest| at.micros().saturating_sub(oldest.micros()));
        let before = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        (!unsealed.is_empty()).then_some(Self { since: now, before })
    }

    /// Its age.
    pub fn age(self, now: Duration) -> Duration {
        now.saturating_sub(self.since).saturating_add(self.before)
    }
}

/// Somebody who waits for new records of one collection.
#[derive(Debug, Default)]
pub struct Waiter {
    woken: Mutex<Wake>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wake {
    woken: bool,
    waker: Option<std::task::Waker>,
}

impl Waiter {
    pub(super) fn wake(&self) {
        let mut wake = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        wake.woken = true;
        self.changed.notify_all();
        if let Some(waker) = wake.waker.take() {
            waker.wake();
        }
    }

    /// Sleeps until woken, or until `timeout` has passed; whether it was woken. Makes no system call but the one it
    /// sleeps in.
    pub fn sleep(&self, timeout: Option<Duration>) -> bool {
        let wake = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        match timeout {
            None => self.changed.wait_while(wake, |wake| !wake.woken).unwrap_or_else(PoisonError::into_inner).woken,
            Some(timeout) => {
                self.changed
                    .wait_timeout_while(wake, timeout, |wake| !wake.woken)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
                    .woken
            }
        }
    }

    /// Whether it was woken.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).woken
    }

    /// For a task instead of a thread: whether it was woken; if not, `waker` is called when it is.
    pub fn poll(&self, waker: &std::task::Waker) -> bool {
        let mut wake = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if !wake.woken {
            wake.waker = Some(waker.clone());
        }
        wake.woken
    }
}

const fn segments_at(number: usize) -> SegmentsAt {
    match number {
        0 => SegmentsAt::Here,
        usize::MAX => SegmentsAt::Unknown,
        number => SegmentsAt::Remote(number - 1),
    }
}

/// Where a collection stands when it is opened.
#[derive(Debug)]
pub struct Standing {
    /// Last sequence that is there or was ever given.
    pub last: Sequence,
    /// First sequence still promised.
    pub floor: Sequence,
    /// Everything up to here is in segments, or was lost on record.
    pub sealed_through: Sequence,
    /// Records in no segment yet, all durable.
    pub unsealed: Unsealed,
    /// Why it takes no appends, where it takes none.
    pub refuses: Option<String>,
    /// Why nobody knows where it ends, where that is so.
    pub unknown_end: Option<String>,
}

impl Standing {
    /// Of a collection that has no records yet.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            last: Sequence(0),
            floor: Sequence::FIRST,
            sealed_through: Sequence(0),
            unsealed: Unsealed::default(),
            refuses: None,
            unknown_end: None,
        }
    }
}

impl Collection {
    pub(super) fn new(
        name: CollectionName,
        home: Home,
        budget: Arc<Budget>,
        standing: Standing,
        clock: &dyn Clock,
    ) -> Self {
        let seed = Seed::of(&name);
        let oldest_unsealed = OldestUnsealed::found(&standing.unsealed, clock.monotonic(), clock.now());
        let state = CollectionState {
            home,
            next: standing.last.next(),
            written: standing.last,
            durable: standing.last,
            floor: standing.floor,
            sealed_through: standing.sealed_through,
            unsealed: standing.unsealed,
            sealing: false,
            oldest_unsealed,
            refuses: standing.refuses,
            unknown_end: standing.unknown_end,
            waiters: Vec::new(),
        };
        let (catalogued, segments_at, has_folder) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        let (life, unclaimed) = (Life::default(), Condvar::new());
        Self { name, seed, budget, state: Mutex::new(state), catalogued, segments_at, has_folder, life, unclaimed }
    }

    /// Its name.
    pub fn name(&self) -> &CollectionName {
        &self.name
    }

    pub(super) fn state(&self) -> MutexGuard<'_, CollectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its segments are at home.
    pub(super) fn segments_at(&self) -> SegmentsAt {
        segments_at(self.segments_at.load(Ordering::Acquire))
    }

    /// Its segments are at home there now. Returns where they were.
    pub(super) fn set_segments_at(&self, at: SegmentsAt) -> SegmentsAt {
        let number = match at {
            SegmentsAt::Here => 0,
            SegmentsAt::Remote(index) => index + 1,
            SegmentsAt::Unknown => usize::MAX,
        };
        segments_at(self.segments_at.swap(number, Ordering::AcqRel))
    }

    /// Which of the log's directories it lives in now.
    pub(super) fn directory(&self) -> usize {
        self.state().home.directory
    }

    pub(super) fn is_catalogued(&self) -> bool {
        self.catalogued.load(Ordering::Acquire)
    }

    /// Registers for the next durable record, unless one after `seen` is there already: looked at and registered under
    /// one lock, so that no wake-up falls between the two.
    pub fn wait_behind(&self, seen: Sequence) -> Option<Arc<Waiter>> {
        let mut state = self.state();
        if state.durable > seen {
            return None;
        }
        let waiter = Arc::new(Waiter::default());
        // Those who gave up waiting hold no waiter any more.
        state.waiters.retain(|waiter| Arc::strong_count(waiter) > 1);
        state.waiters.push(Arc::clone(&waiter));
        Some(waiter)
    }

    /// Takes a run that another process wrote, behind those known (A6); what is known already is passed over. Returns
    /// whether it is news.
    pub(super) fn take_foreign(&self, run: Run) -> Result<bool, crate::memtable::RunError> {
        let written = self.state().written;
        let run = match run.first {
            _ if run.last() <= written => return Ok(false),
            first if first <= written => run.from(written.next(), self.seed)?,
            _ => run,
        };
        let mut state = self.state();
        if run.first <= state.written {
            return Ok(false);
        }
        run.file.add_run(run.len);
        state.written = run.last();
        state.next = state.written.next();
        state.unsealed.push(run);
        Ok(true)
    }

    /// Puts what a new look at all files found in place of what was known (A6). The marks never go back.
    pub(super) fn replace(&self, standing: Standing, durable: Sequence) {
        let woken = {
            let mut state = self.state();
            state.floor = state.floor.max(standing.floor);
            state.sealed_through = state.sealed_through.max(standing.sealed_through);
            state.written = state.written.max(standing.last);
            state.next = state.written.next();
            state.unsealed = standing.unsealed;
            state.refuses = standing.refuses;
            state.unknown_end = standing.unknown_end;
            state.raise_durable(durable)
        };
        woken.iter().for_each(|waiter| waiter.wake());
    }

    /// What a log opened to read found of another process's writing, and no sync proves yet, is not durable.
    pub(super) fn lower_durable(&self, durable: Sequence) {
        let mut state = self.state();
        state.durable = state.durable.min(durable);
    }

    /// Everything written is durable: its journal was closed in good order.
    pub(super) fn settle(&self) {
        let woken = {
            let mut state = self.state();
            let written = state.written;
            state.raise_durable(written)
        };
        woken.iter().for_each(|waiter| waiter.wake());
    }

    /// Waits until nobody seals or cools it, and keeps everybody from it until [`end_claim`](Self::end_claim).
    pub(super) fn claim(&self) {
        let state = self.state();
        let mut state = self.unclaimed.wait_while(state, |state| state.sealing).unwrap_or_else(PoisonError::into_inner);
        state.sealing = true;
    }

    /// Others may seal and cool it again.
    pub(super) fn end_claim(&self) {
        self.state().sealing = false;
        self.unclaimed.notify_one();
    }

    /// Takes a copy of a run in place of the run. `on_disk`: its bytes are not kept in memory.
    pub(super) fn put_copy(&self, batch: Written, on_disk: bool, durable: bool) {
        let Written { first, count, bytes, file, offset } = batch;
        let (last, len) = (Sequence(first.0 + count - 1), bytes.len() as u64);
        let run = if on_disk {
            Run::on_disk(first, count, len, Arc::clone(&file), offset)
        } else {
            Run::in_memory(first, count, bytes, Arc::clone(&file), offset)
        };
        let (old, woken) = {
            let mut state = self.state();
            let old = state.unsealed.replace(run);
            let woken = if durable && old.is_some() { state.raise_durable(last) } else { Vec::new() };
            (old, woken)
        };
        match old {
            Some(old) => old.file.drop_run(old.len),
            // Sealed meanwhile.
            None => file.drop_run(len),
        };
        woken.iter().for_each(|waiter| waiter.wake());
    }

    /// Wakes everybody who waits: the log closes.
    pub(super) fn wake_all(&self) {
        for waiter in std::mem::take(&mut self.state().waiters) {
            waiter.wake();
        }
    }

    /// Lets runs go that are durable elsewhere now: they count in their journals and in the budget no more.
    pub(super) fn let_go(&self, runs: &[Run]) {
        for run in runs {
            run.file.drop_run(run.len);
        }
        let memory = runs.iter().map(Run::memory_bytes).sum();
        self.budget.give_back(memory, runs.iter().map(|run| run.len).sum());
    }
}

impl CollectionState {
    /// Promises nothing below `floor` any more; who waited for it is returned, to be woken without the lock. What is still in the
    /// journal's queue below it leaves no trace when it comes out.
    pub(super) fn raise_floor(&mut self, floor: Sequence) -> Vec<Arc<Waiter>> {
        self.floor = self.floor.max(floor);
        let below = self.floor.previous();
        self.sealed_through = self.sealed_through.max(below);
        self.written = self.written.max(below);
        self.next = self.next.max(self.floor);
        self.raise_durable(below)
    }

    fn raise_durable(&mut self, last: Sequence) -> Vec<Arc<Waiter>> {
        if last <= self.durable {
            return Vec::new();
        }
        self.durable = last;
        std::mem::take(&mut self.waiters)
    }
}

impl Member for Collection {
    fn name(&self) -> &CollectionName {
        &self.name
    }

    fn written(&self, batch: Written, durable: bool) {
        let last = Sequence(batch.first.0 + batch.count - 1);
        let run = Run::in_memory(batch.first, batch.count, batch.bytes, batch.file, batch.offset);
        let mut state = self.state();
        if last < state.floor {
            // The collection was deleted after it was queued (R4).
            drop(state);
            return self.let_go(&[run]);
        }
        debug_assert!(state.written < batch.first && last < state.next);
        state.unsealed.push(run);
        self.budget.note_unsealed(state.unsealed.bytes(), self.life.seal_bytes());
        state.written = last;
        let woken = if durable { state.raise_durable(last) } else { Vec::new() };
        drop(state);
        woken.iter().for_each(|waiter| waiter.wake());
    }

    fn durable(&self, last: Sequence) {
        let woken = self.state().raise_durable(last);
        woken.iter().for_each(|waiter| waiter.wake());
    }

    fn refused(&self, first: Sequence) {
        let mut state = self.state();
        state.next = state.next.min(first).max(state.floor);
    }
}

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collection").field("name", &self.name).finish_non_exhaustive()
    }
}
