//! A budget of bytes in memory, shared by uploads.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many bytes, shared. What is larger than all of it gets it alone: nothing is too large to be archived.
#[derive(Debug)]
pub struct Budget {
    bytes: u64,
    used: Mutex<u64>,
    freed: Condvar,
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `bytes`, at least one.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes: bytes.max(1), used: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until there is room for `bytes`. Whoever holds a share gives it back without waiting for another.
    pub fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.bytes);
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used =
            self.freed.wait_while(used, |used| *used + bytes > self.bytes).unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
        Share { budget: self, bytes }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn never_more_than_the_budget_and_everybody_gets_his_turn() {
        let (budget, most) = (Budget::new(100), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (budget, most) = (&budget, &most);
                scope.spawn(move || {
                    for round in 0..200 {
                        // Some are larger than all of it.
                        let _share = budget.take((thread * 31 + round * 7) % 130);
                        most.fetch_max(budget.used(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
        assert!(most.into_inner() <= 100);
    }
}
