//! The one background thread of a journal.
//!
//! Owns: leading for writers that wait in no thread, the periodic sync (D1), and the MARK of an idle journal (J5). It
//! sleeps without a time limit while nothing happens, and costs a busy journal one wake-up in [`IDLE`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::writer::{CommitterSignal, CommitterState, IDLE, Journal};
use crate::clock::Clock;

/// When what was written without a sync is synced: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodicSync {
    /// At the latest after this time.
    pub interval: Duration,
    /// At the latest after so many bytes.
    pub bytes: u64,
    /// At the latest after so many records.
    pub records: u64,
}

/// So many unsynced bytes are synced early in every mode, beside the writers: a rotation syncs the old journal (D2), and
/// should find little left to do.
pub const EARLY_SYNC_BYTES: u64 = 8 << 20;

impl PeriodicSync {
    /// Unless somebody wants it otherwise: 50 ms, 8 MiB, 100,000 records.
    pub const DEFAULT: Self = Self { interval: Duration::from_millis(50), bytes: 8 << 20, records: 100_000 };
    /// Only at rotation, close, and when asked (mode `never`).
    pub const NEVER: Self = Self { interval: Duration::MAX, bytes: u64::MAX, records: u64::MAX };
}

/// A running committer thread; ends when dropped.
#[derive(Debug)]
pub struct Committer {
    journal: Journal,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread of a journal that was made with `committer: true`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(journal: Journal, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let for_thread = journal.clone();
        let thread =
            std::thread::Builder::new().name("icecore-commit".into()).spawn(move || run(&for_thread, &*clock))?;
        Ok(Self { journal, thread: Some(thread) })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        if let Some(signal) = self.journal.signal() {
            lock(signal).stop = true;
            signal.changed.notify_all();
        }
        let own = std::thread::current().id();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != own
            && thread.join().is_err()
        {
            tracing::error!("the committer thread panicked");
        }
    }
}

fn lock(signal: &CommitterSignal) -> std::sync::MutexGuard<'_, CommitterState> {
    signal.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(journal: &Journal, clock: &dyn Clock) {
    let Some(signal) = journal.signal() else { return };
    let mut seen = 0;
    let mut unsynced_since = None;
    loop {
        let idle = {
            let mut state = lock(signal);
            while !state.lead && !state.busy && !state.stop {
                // Set and looked at under no common lock: a group that is written in between sees either the flag, and
                // wakes us, or is seen here by its number.
                signal.asleep.store(true, Ordering::SeqCst);
                if journal.groups() != seen {
                    break;
                }
                state = signal.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            signal.asleep.store(false, Ordering::SeqCst);
            state.busy = false;
            let (mut state, timeout) = if state.lead || state.stop {
                (state, false)
            } else {
                let wait = journal.periodic().interval.clamp(Duration::from_micros(100), IDLE);
                let (state, timeout) = signal.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
                (state, timeout.timed_out())
            };
            if state.stop {
                return;
            }
            state.lead = false;
            timeout
        };
        journal.drain();
        let groups = journal.groups();
        let quiet = idle && groups == seen;
        let waiting = sync_if_due(journal, clock, &mut unsynced_since);
        if quiet && !waiting {
            if let Err(error) = journal.mark() {
                tracing::debug!(%error, "no mark");
            }
        } else if quiet {
            // Written, not synced, and its time has not come: look again after the wait.
            lock(signal).busy = true;
        }
        seen = groups;
        if !quiet {
            lock(signal).busy = true;
        }
    }
}

/// Syncs what its time has come for; whether something unsynced still waits for its time.
fn sync_if_due(journal: &Journal, clock: &dyn Clock, since: &mut Option<Duration>) -> bool {
    let (bytes, records) = journal.unsynced();
    if bytes == 0 {
        *since = None;
        return false;
    }
    let periodic = journal.periodic();
    if periodic == PeriodicSync::NEVER && bytes < EARLY_SYNC_BYTES {
        return false;
    }
    let now = clock.monotonic();
    let first = *since.get_or_insert(now);
    let due = now.saturating_sub(first) >= periodic.interval
        || bytes >= periodic.bytes.min(EARLY_SYNC_BYTES)
        || records >= periodic.records;
    if due {
        if let Err(error) = journal.sync() {
            tracing::debug!(%error, "no periodic sync");
        }
        *since = None;
    }
    !due
}
