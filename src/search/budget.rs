//! The memory that searches take beside the tail's: one limit for indexes, for parts of files that are kept, and for what is being read.
//!
//! Owns: the counts, and who may read now. Does not own: what is counted, or which part goes first (`cache`, `Search`).
//!
//! # Who gets what
//!
//! 1. Indexes first: without them nothing is found. They may take all but [`READ_BYTES`]; one that does not fit is an error that names the
//!    setting, for an answer without it would be wrong.
//! 2. Then room for reading ([`Budget::reserve`]): what one thread needs, and, up to a quarter of the limit, what as many threads as search need.
//! 3. What is left is for parts that are kept.
//!
//! An eighth of the limit is never given out: allocators round up, and keep some of what they were given back.
//!
//! One reader is always let in, so that every search comes to its end: where a row group takes more to be read than is left, the limit is
//! exceeded by that one row group.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::CACHE_BYTES_MIN;

/// What reading an ordinary row group takes, and more.
const READ_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Budget {
    /// Without the allocator's share.
    limit: usize,
    /// The most that indexes may take.
    pub indexes_max: usize,
    /// Threads that one search uses at most.
    threads: usize,
    pub indexes: Arc<AtomicUsize>,
    pub parts: Arc<AtomicUsize>,
    reads: Mutex<Reads>,
    read_ended: Condvar,
    /// The most that a row group took so far.
    read_max: AtomicUsize,
    peak: AtomicUsize,
}

#[derive(Debug, Default)]
struct Reads {
    count: usize,
    bytes: usize,
}

/// Bytes that count as long as this is there.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: usize,
    held: Arc<AtomicUsize>,
}

impl Counted {
    pub fn new(bytes: usize, held: &Arc<AtomicUsize>) -> Self {
        held.fetch_add(bytes, Ordering::SeqCst);
        Self { bytes, held: Arc::clone(held) }
    }

    pub fn set(&mut self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::SeqCst);
        self.held.fetch_sub(self.bytes, Ordering::SeqCst);
        self.bytes = bytes;
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// Somebody reads, and may take so much for it until this goes.
#[derive(Debug)]
pub(super) struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut reads = self.budget.reads();
        reads.count -= 1;
        reads.bytes -= self.bytes;
        self.budget.read_ended.notify_all();
    }
}

impl Budget {
    pub fn new(limit: usize, threads: usize) -> Self {
        Self {
            limit: limit - limit / 8,
            indexes_max: limit.max(CACHE_BYTES_MIN) - READ_BYTES,
            threads,
            indexes: Arc::default(),
            parts: Arc::default(),
            reads: Mutex::default(),
            read_ended: Condvar::new(),
            read_max: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }
    }

    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Indexes and parts.
    fn held(&self) -> usize {
        self.indexes.load(Ordering::SeqCst) + self.parts.load(Ordering::SeqCst)
    }

    /// What is kept free of parts, for reading.
    fn reserve(&self) -> usize {
        let one = self.read_max.load(Ordering::SeqCst);
        (self.limit / 4).min(one.saturating_mul(self.threads)).max(one)
    }

    /// By how much the limit would be exceeded with so much more kept.
    pub fn excess(&self, more: usize) -> usize {
        (self.held() + more + self.reserve()).saturating_sub(self.limit)
    }

    /// Reading will take so much: room is kept for it from now on.
    pub fn expect_read(&self, bytes: usize) {
        self.read_max.fetch_max(bytes, Ordering::SeqCst);
    }

    /// How many may read at a time, each so much.
    pub fn readers(&self, bytes: usize, threads: usize) -> usize {
        let free = self.limit.saturating_sub(self.held() + self.reads().bytes);
        free.checked_div(bytes).unwrap_or(threads).clamp(1, threads.max(1))
    }

    /// Waits until so much may be taken for reading, or nobody else reads. Who has a permit must not ask for another.
    pub fn read(self: &Arc<Self>, bytes: usize) -> Permit {
        self.expect_read(bytes);
        let mut reads = self.reads();
        while reads.count > 0 && self.held() + reads.bytes + bytes > self.limit {
            reads = self.read_ended.wait(reads).unwrap_or_else(PoisonError::into_inner);
        }
        reads.count += 1;
        reads.bytes += bytes;
        let total = self.held() + reads.bytes;
        drop(reads);
        self.peak.fetch_max(total, Ordering::SeqCst);
        Permit { budget: Arc::clone(self), bytes }
    }

    /// More is held than before.
    pub fn note(&self) {
        let total = self.held() + self.reads().bytes;
        self.peak.fetch_max(total, Ordering::SeqCst);
    }

    /// What is taken for reading now.
    pub fn reading(&self) -> usize {
        self.reads().bytes
    }

    /// The most that was held and taken at any time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_beyond_the_limit_wait_and_one_is_always_let_in() {
        let budget = Arc::new(Budget::new(114, 4));
        let first = budget.read(500);
        assert_eq!((budget.reading(), budget.peak()), (500, 500), "one may read, whatever it takes");
        assert_eq!(budget.readers(500, 4), 1);
        let (tell, told) = std::sync::mpsc::channel();
        let other = std::thread::spawn({
            let budget = Arc::clone(&budget);
            move || {
                let _permit = budget.read(60);
                tell.send(budget.reading()).unwrap();
            }
        });
        drop(first);
        assert_eq!(told.recv().unwrap(), 60, "alone: the other one ended before");
        other.join().unwrap();
        assert_eq!(budget.reading(), 0);
        assert_eq!(budget.readers(25, 8), 4);
        assert_eq!(budget.readers(0, 3), 3);
    }

    #[test]
    fn room_for_reading_is_kept_free() {
        let budget = Budget::new(1142, 4);
        assert_eq!(budget.excess(1000), 0);
        budget.expect_read(50);
        assert_eq!((budget.excess(800), budget.excess(801)), (0, 1), "four readers");
        budget.expect_read(100);
        assert_eq!(budget.excess(750), 0, "a quarter at most");
        budget.expect_read(600);
        assert_eq!((budget.excess(400), budget.excess(401)), (0, 1), "but one reader always");
        let mut counted = Counted::new(300, &budget.indexes);
        assert_eq!(budget.excess(100), 0);
        counted.set(310);
        assert_eq!(budget.excess(100), 10);
        drop(counted);
        assert_eq!(budget.excess(100), 0);
    }
}
