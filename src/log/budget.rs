//! How much may lie unsealed, and who waits until it is less (back-pressure).
//!
//! Owns: two counters with their limits, and the writers waiting for them. A writer reserves before it takes a
//! sequence, so that whoever waits holds nothing that others need.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Unsealed records in memory.
    Memtable,
    /// Unsealed records in journals.
    Unsealed,
}

impl Limit {
    /// The setting's name.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Memtable => "limits.memtable_bytes",
            Self::Unsealed => "limits.unsealed_bytes",
        }
    }
}

/// What became of asking for sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// Other threads were woken: waiting helps.
    Asked,
    /// Something was given back at once: looking again helps, and waiting would be for ever.
    Given,
    /// Nobody seals, or there is nothing to seal.
    None,
}

/// Why a reservation was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which limit.
    pub limit: Limit,
    /// Why nothing will be given back soon.
    pub why: String,
}

/// Counters of unsealed bytes.
#[derive(Debug)]
pub struct Budget {
    memtable_max: u64,
    unsealed_max: u64,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    memtable: u64,
    unsealed: u64,
    waiting: u64,
    /// The most that any who wait want: memory, bytes.
    wanted: (u64, u64),
    /// Why sealing does not give anything back; waiting is of no use then.
    stuck: Option<String>,
}

impl Budget {
    /// Nothing used yet.
    #[must_use]
    pub fn new(memtable_max: u64, unsealed_max: u64) -> Self {
        Self { memtable_max, unsealed_max, state: Mutex::default(), freed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self, state: &State, memory: u64, bytes: u64) -> Option<Limit> {
        // What is alone larger than a limit may pass when nothing else is there.
        if state.memtable > 0 && state.memtable + memory > self.memtable_max {
            Some(Limit::Memtable)
        } else if state.unsealed > 0 && state.unsealed + bytes > self.unsealed_max {
            Some(Limit::Unsealed)
        } else {
            None
        }
    }

    /// Reserves, waiting while a limit is reached. `relieve` is called, without a lock, before each wait: it asks for
    /// sealing, and says whether waiting helps.
    ///
    /// # Errors
    /// [`Refused`] where waiting is of no use.
    pub fn reserve(&self, memory: u64, bytes: u64, relieve: impl Fn() -> Relief) -> Result<(), Refused> {
        let mut state = self.state();
        if self.reached(&state, memory, bytes).is_some() {
            // Known to whoever seals: a large batch may not fit long before half of a limit is used.
            state.waiting += 1;
            state.wanted = (state.wanted.0.max(memory), state.wanted.1.max(bytes));
            drop(state);
            let waited = self.wait_for(memory, bytes, relieve);
            let (guard, waited) = match waited {
                Ok(guard) => (guard, Ok(())),
                Err(refused) => (self.state(), Err(refused)),
            };
            state = guard;
            state.waiting -= 1;
            if state.waiting == 0 {
                state.wanted = (0, 0);
            }
            waited?;
        }
        state.memtable += memory;
        state.unsealed += bytes;
        Ok(())
    }

    /// Returns with the lock under which there was room.
    fn wait_for(
        &self,
        memory: u64,
        bytes: u64,
        relieve: impl Fn() -> Relief,
    ) -> Result<MutexGuard<'_, State>, Refused> {
        let mut state = self.state();
        while let Some(limit) = self.reached(&state, memory, bytes) {
            if let Some(why) = &state.stuck {
                return Err(Refused { limit, why: why.clone() });
            }
            drop(state);
            let relief = relieve();
            state = self.state();
            if self.reached(&state, memory, bytes).is_none() {
                break;
            }
            if relief == Relief::None {
                return Err(Refused { limit, why: "nothing more can be sealed now".into() });
            }
            if relief == Relief::Asked && state.stuck.is_none() {
                state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        Ok(state)
    }

    /// Reserves where no limit is reached; whether it did.
    #[cfg(feature = "tokio")]
    pub fn try_reserve(&self, memory: u64, bytes: u64) -> bool {
        let mut state = self.state();
        let fits = self.reached(&state, memory, bytes).is_none();
        if fits {
            state.memtable += memory;
            state.unsealed += bytes;
        }
        fits
    }

    /// Counts what recovery found, without waiting.
    pub fn charge(&self, memory: u64, bytes: u64) {
        let mut state = self.state();
        state.memtable += memory;
        state.unsealed += bytes;
    }

    /// Gives back, and lets waiting writers look again.
    pub fn give_back(&self, memory: u64, bytes: u64) {
        let mut state = self.state();
        state.memtable = state.memtable.saturating_sub(memory);
        state.unsealed = state.unsealed.saturating_sub(bytes);
        if state.waiting > 0 {
            self.freed.notify_all();
        }
    }

    /// Sealing failed: writers that wait are refused with `why`, until [`unstick`](Self::unstick).
    pub fn stick(&self, why: String) {
        self.state().stuck = Some(why);
        self.freed.notify_all();
    }

    /// Sealing works again.
    pub fn unstick(&self) {
        self.state().stuck = None;
    }

    /// Bytes of unsealed records in memory, and in journals.
    #[must_use]
    pub fn used(&self) -> (u64, u64) {
        let state = self.state();
        (state.memtable, state.unsealed)
    }

    /// Whether so much is used that sealing should begin: half of either limit, or so much that somebody has to wait.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        let state = self.state();
        let (memory, bytes) = state.wanted;
        state.memtable > self.memtable_max / 2
            || state.unsealed > self.unsealed_max / 2
            || (state.waiting > 0 && self.reached(&state, memory, bytes).is_some())
    }

    /// The same of the unsealed bytes alone, which no cold journal makes fewer.
    #[must_use]
    pub fn is_unsealed_pressing(&self) -> bool {
        let state = self.state();
        let wanted = if state.waiting > 0 { state.wanted.1 } else { 0 };
        state.unsealed > (self.unsealed_max / 2).min(self.unsealed_max.saturating_sub(wanted))
    }
}
