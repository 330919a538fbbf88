//! Leases: who has a segment open pins it.
//!
//! Owns: the count of readers by segment. Somebody who takes bytes away (evict, purge) asks first, and leaves what is pinned for another
//! time. No lease outlives its reader, and none is durable: what a reader of another process has open stays readable as far as
//! the system lets it; its next look asks the catalog.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog::SegmentKey;

/// The segments that somebody has open.
#[derive(Clone, Debug, Default)]
pub(in crate::log) struct Leases(Arc<Mutex<HashMap<SegmentKey, u64>>>);

/// A pin on a segment; it ends with this.
#[derive(Debug)]
pub(in crate::log) struct Lease {
    leases: Leases,
    key: SegmentKey,
}

impl Leases {
    fn counts(&self) -> MutexGuard<'_, HashMap<SegmentKey, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pins a segment. Taken before its row is trusted: who opens it afterwards and does not find it asks for the row again.
    pub fn take(&self, key: &SegmentKey) -> Lease {
        *self.counts().entry(key.clone()).or_default() += 1;
        Lease { leases: self.clone(), key: key.clone() }
    }

    /// How many readers have it open.
    pub fn readers(&self, key: &SegmentKey) -> u64 {
        self.counts().get(key).copied().unwrap_or(0)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut counts = self.leases.counts();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CollectionName, Generation, Sequence};

    #[test]
    fn a_segment_is_pinned_until_its_last_reader_is_gone() {
        let key = |first| SegmentKey {
            collection: CollectionName::new("a").unwrap(),
            first: Sequence(first),
            last: Sequence(first),
            generation: Generation(0),
        };
        let leases = Leases::default();
        let (one, two) = (leases.take(&key(1)), leases.take(&key(1)));
        assert_eq!((leases.readers(&key(1)), leases.readers(&key(2))), (2, 0));
        drop(one);
        assert_eq!(leases.readers(&key(1)), 1);
        drop(two);
        assert_eq!(leases.readers(&key(1)), 0);
        assert!(leases.counts().is_empty());
    }
}
