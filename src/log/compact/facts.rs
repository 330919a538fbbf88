//! What need not be read again: when anything of a segment may expire, and which collections had nothing to do.
//!
//! Kept while the log is open, up to a limit. A segment's name is never used for other content (F4), so none is ever out of date.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::collection::Of;
use crate::catalog::SegmentKey;
use crate::compaction::{Moment, Seen};
use crate::types::{CollectionName, Timestamp};

/// Segments that are known of at most.
const SEGMENTS_MAX: usize = 100_000;

/// The earliest times of a segment's records, of each kind that time lets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Earliest {
    expiry: Option<Timestamp>,
    put: Option<Timestamp>,
    tombstone: Option<Timestamp>,
}

impl Earliest {
    pub fn note(&mut self, record: &Seen<'_>) {
        let earlier = |known: &mut Option<Timestamp>, time| *known = Some(known.map_or(time, |known| known.min(time)));
        if record.is_delete {
            return earlier(&mut self.tombstone, record.timestamp);
        }
        earlier(&mut self.put, record.timestamp);
        if let Some(expires_at) = record.expires_at {
            earlier(&mut self.expiry, expires_at);
        }
    }

    /// Whether the moment lets nothing of it go by time.
    fn is_quiet(&self, moment: &Moment) -> bool {
        let seen = |timestamp, expires_at, is_delete| Seen { key: None, is_delete, timestamp, expires_at };
        let expires = self.expiry.is_some_and(|at| moment.is_expired(&seen(Timestamp::MAX, Some(at), false)));
        let is_old = self.put.is_some_and(|at| moment.is_expired(&seen(at, None, false)));
        !expires && !is_old && !self.tombstone.is_some_and(|at| moment.is_behind_grace(&seen(at, None, true)))
    }
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    segments: HashMap<SegmentKey, Earliest>,
    /// Collections in which there was nothing to do, as they were.
    done: HashMap<CollectionName, u64>,
}

impl Facts {
    pub fn keep(&mut self, key: &SegmentKey, earliest: Earliest) {
        if self.segments.len() >= SEGMENTS_MAX {
            self.segments.clear();
        }
        self.segments.insert(key.clone(), earliest);
    }

    /// Whether a segment is known to have nothing that the moment lets go by time.
    pub fn is_quiet(&self, key: &SegmentKey, moment: &Moment) -> bool {
        self.segments.get(key).is_some_and(|earliest| earliest.is_quiet(moment))
    }

    /// Whether there was nothing to do when the collection was as it is.
    pub fn is_done(&self, collection: &CollectionName, state: u64) -> bool {
        self.done.get(collection) == Some(&state)
    }

    pub fn note_done(&mut self, collection: &CollectionName, state: Option<u64>) {
        match state {
            Some(state) => drop(self.done.insert(collection.clone(), state)),
            None => drop(self.done.remove(collection)),
        }
    }
}

/// What decides which versions go: the segments, which of them must stay, the policy.
pub(super) fn state_of(of: &Of, gain_percent: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    let policy = of.moment.policy;
    (policy.keep_versions, policy.target_bytes, gain_percent, of.missing_first).hash(&mut hasher);
    for (row, candidate) in of.rows.iter().zip(&of.candidates) {
        (&row.key, row.status as u8, candidate.is_fixed).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::compaction::CompactionPolicy;

    #[test]
    fn a_segment_is_quiet_until_the_first_of_its_records_may_go() {
        let mut earliest = Earliest::default();
        let seen = |is_delete, timestamp, expires_at: Option<i64>| Seen {
            key: None,
            is_delete,
            timestamp: Timestamp(timestamp),
            expires_at: expires_at.map(Timestamp),
        };
        for record in [seen(false, 50, Some(100)), seen(true, 30, Some(1)), seen(false, 20, None)] {
            earliest.note(&record);
        }
        let quiet = |ttl: Option<u64>, grace: Option<u64>, now| {
            let span = |micros: Option<u64>| micros.map(Duration::from_micros);
            let policy =
                CompactionPolicy { ttl: span(ttl), tombstone_grace: span(grace), ..CompactionPolicy::default() };
            earliest.is_quiet(&Moment { policy, now })
        };
        let at = |now| Some(Timestamp(now));
        assert!(quiet(None, None, at(99)) && !quiet(None, None, at(100)));
        assert!(quiet(Some(10), None, at(29)) && !quiet(Some(10), None, at(30)));
        assert!(quiet(None, Some(10), at(39)) && !quiet(None, Some(10), at(40)));
        assert!(quiet(Some(10), Some(10), None));
    }
}
