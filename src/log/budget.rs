//! How much may lie unsealed, and who waits until it is less (back-pressure).
//!
//! Owns: two counters with their limits, and the writers waiting for them. A writer reserves before it takes a
//! sequence, so that whoever waits holds nothing that others need.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

/// Whether appends have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// They do not.
    None,
    /// Each is slowed, because a limit is near.
    Slowed(Limit),
    /// So many are held until something is sealed.
    Held(Limit, u64),
}

/// From this share of a limit on, in percent, appends are slowed.
const SLOW_FROM_PERCENT: u64 = 75;
/// How long an append waits when a limit is all but reached.
const SLOWEST: Duration = Duration::from_millis(5);

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

/// Counters of unsealed bytes. Reserving and giving back are an addition each, unless somebody has to wait.
#[derive(Debug)]
pub struct Budget {
    memtable_max: u64,
    unsealed_max: u64,
    memtable: AtomicU64,
    unsealed: AtomicU64,
    /// How many writers wait. Raised under the lock, before the last look at the counters; who gives back looks at it after
    /// lowering them. So one of the two sees the other, and no wake-up is lost.
    waiting: AtomicU64,
    queue: Mutex<Waiting>,
    freed: Condvar,
    /// From this many unsealed bytes on, a collection is sealed, or looked at whether it is.
    segment_bytes: u64,
    /// Some collection may have so many.
    large: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Why sealing does not give anything back; waiting is of no use then.
    stuck: Option<String>,
    /// The most that any who wait want: memory, bytes.
    wanted: (u64, u64),
}

impl Budget {
    /// Nothing used yet.
    #[must_use]
    pub fn new(memtable_max: u64, unsealed_max: u64, segment_bytes: u64) -> Self {
        Self {
            memtable_max,
            unsealed_max,
            memtable: AtomicU64::new(0),
            unsealed: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            queue: Mutex::default(),
            freed: Condvar::new(),
            segment_bytes,
            // Whoever opened the log may have found some.
            large: AtomicBool::new(true),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Waiting> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves where no limit is reached.
    ///
    /// # Errors
    /// Which limit is reached; nothing is reserved.
    pub fn try_reserve(&self, memory: u64, bytes: u64) -> Result<(), Limit> {
        let outcome = self.try_add(memory, bytes);
        if outcome.is_err() {
            // What was added for a moment may have turned somebody away who fits.
            self.wake_waiting();
        }
        outcome
    }

    fn try_add(&self, memory: u64, bytes: u64) -> Result<(), Limit> {
        // What is alone larger than a limit may pass when nothing else is there.
        let before = self.memtable.fetch_add(memory, Ordering::SeqCst);
        if before > 0 && before + memory > self.memtable_max {
            self.subtract(memory, 0);
            return Err(Limit::Memtable);
        }
        let before = self.unsealed.fetch_add(bytes, Ordering::SeqCst);
        if before > 0 && before + bytes > self.unsealed_max {
            self.subtract(memory, bytes);
            return Err(Limit::Unsealed);
        }
        Ok(())
    }

    /// Reserves, waiting while a limit is reached. `relieve` is called, without a lock, before each wait: it asks for
    /// sealing, and says whether waiting helps.
    ///
    /// # Errors
    /// [`Refused`] where waiting is of no use.
    pub fn reserve(&self, memory: u64, bytes: u64, relieve: impl Fn() -> Relief) -> Result<(), Refused> {
        if self.try_reserve(memory, bytes).is_ok() {
            return Ok(());
        }
        // Known to whoever seals: a large batch may not fit long before half of a limit is used.
        let mut queue = self.queue();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        queue.wanted = (queue.wanted.0.max(memory), queue.wanted.1.max(bytes));
        drop(queue);
        let outcome = self.wait_for(memory, bytes, relieve);
        let mut queue = self.queue();
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            queue.wanted = (0, 0);
        }
        outcome
    }

    fn wait_for(&self, memory: u64, bytes: u64, relieve: impl Fn() -> Relief) -> Result<(), Refused> {
        loop {
            let relief = relieve();
            let queue = self.queue();
            let Err(limit) = self.try_add(memory, bytes) else { return Ok(()) };
            if let Some(why) = &queue.stuck {
                return Err(Refused { limit, why: why.clone() });
            }
            match relief {
                Relief::None => return Err(Refused { limit, why: "nothing more can be sealed now".into() }),
                Relief::Asked => drop(self.freed.wait(queue).unwrap_or_else(PoisonError::into_inner)),
                Relief::Given => {}
            }
        }
    }

    /// Counts what recovery found, without waiting.
    pub fn charge(&self, memory: u64, bytes: u64) {
        self.memtable.fetch_add(memory, Ordering::SeqCst);
        self.unsealed.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Gives back, and lets waiting writers look again.
    pub fn give_back(&self, memory: u64, bytes: u64) {
        self.subtract(memory, bytes);
        self.wake_waiting();
    }

    fn subtract(&self, memory: u64, bytes: u64) {
        let had = self.memtable.fetch_sub(memory, Ordering::SeqCst);
        debug_assert!(had >= memory, "more memory is given back than was reserved");
        let had = self.unsealed.fetch_sub(bytes, Ordering::SeqCst);
        debug_assert!(had >= bytes, "more is given back than was reserved");
    }

    fn wake_waiting(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // With the lock, so that nobody is between the last look and the wait.
            drop(self.queue());
            self.freed.notify_all();
        }
    }

    /// Sealing failed: writers that wait are refused with `why`, until [`unstick`](Self::unstick).
    pub fn stick(&self, why: String) {
        self.queue().stuck = Some(why);
        self.freed.notify_all();
    }

    /// A collection has so many unsealed bytes now, and is sealed at `own`, where it has a size of its own.
    pub fn note_unsealed(&self, bytes: u64, own: Option<u64>) {
        if bytes >= own.unwrap_or(u64::MAX).min(self.segment_bytes) {
            self.note_large();
        }
    }

    /// Some collection is to be sealed.
    pub fn note_large(&self) {
        self.large.store(true, Ordering::Release);
    }

    /// Whether some collection may have reached the size of a segment since this was asked last.
    #[must_use]
    pub fn take_large(&self) -> bool {
        self.large.load(Ordering::Acquire) && self.large.swap(false, Ordering::AcqRel)
    }

    /// Why sealing does not get on, where it does not.
    #[must_use]
    pub fn stuck(&self) -> Option<String> {
        self.queue().stuck.clone()
    }

    /// Sealing works again.
    pub fn unstick(&self) {
        self.queue().stuck = None;
    }

    /// The limit that is nearer, and how much of it is used, in percent.
    fn nearer(&self) -> (Limit, u64) {
        let (memtable, unsealed) = self.used();
        let percent = |used: u64, max: u64| used.saturating_mul(100) / max.max(1);
        let (memory, bytes) = (percent(memtable, self.memtable_max), percent(unsealed, self.unsealed_max));
        if memory >= bytes { (Limit::Memtable, memory) } else { (Limit::Unsealed, bytes) }
    }

    /// How long an append is to wait before it asks for room: nothing up to three quarters of a limit, then more and more, so that sealing
    /// catches up before everybody has to be held.
    #[must_use]
    pub fn slow_by(&self) -> Duration {
        let (_, percent) = self.nearer();
        let above = percent.min(100).saturating_sub(SLOW_FROM_PERCENT);
        SLOWEST * u32::try_from(above).unwrap_or(0) / u32::try_from(100 - SLOW_FROM_PERCENT).unwrap_or(1)
    }

    /// Whether appends have to wait, and for which limit.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let (limit, percent) = self.nearer();
        match self.waiting.load(Ordering::SeqCst) {
            0 if percent <= SLOW_FROM_PERCENT => Pressure::None,
            0 => Pressure::Slowed(limit),
            held => Pressure::Held(limit, held),
        }
    }

    /// Bytes of unsealed records in memory, and in journals.
    #[must_use]
    pub fn used(&self) -> (u64, u64) {
        (self.memtable.load(Ordering::SeqCst), self.unsealed.load(Ordering::SeqCst))
    }

    /// Whether so much is used that sealing should begin: half of either limit, or so much that somebody has to wait.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        let ((memtable, unsealed), (memory, bytes)) = (self.used(), self.wanted());
        memtable > self.memtable_max / 2
            || unsealed > self.unsealed_max / 2
            || (memory > 0 && memtable + memory > self.memtable_max)
            || (bytes > 0 && unsealed + bytes > self.unsealed_max)
    }

    /// The same of the unsealed bytes alone, which no cold journal makes fewer.
    #[must_use]
    pub fn is_unsealed_pressing(&self) -> bool {
        let unsealed = self.unsealed.load(Ordering::SeqCst);
        unsealed > (self.unsealed_max / 2).min(self.unsealed_max.saturating_sub(self.wanted().1))
    }

    fn wanted(&self) -> (u64, u64) {
        if self.waiting.load(Ordering::SeqCst) == 0 { (0, 0) } else { self.queue().wanted }
    }
}
