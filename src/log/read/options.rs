//! What to read.

use crate::types::{Sequence, Timestamp};

/// Which records of a collection to read, in which order. The default is all of them, oldest first.
///
/// ```
/// use icecore::{ReadOptions, Sequence};
/// let newest = ReadOptions { reverse: true, limit: Some(10), ..ReadOptions::default() };
/// let tail = ReadOptions { from: Some(Sequence(1000)), ..ReadOptions::follow() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// First sequence; the first that is still promised where not given.
    pub from: Option<Sequence>,
    /// Last sequence; the last one written when the reader was opened where not given, and none for one that follows.
    pub until: Option<Sequence>,
    /// Only records of this time or later. Each record's own time counts; times may run backwards.
    pub from_time: Option<Timestamp>,
    /// Only records of this time or earlier.
    pub until_time: Option<Timestamp>,
    /// At most so many records.
    pub limit: Option<u64>,
    /// Newest first.
    pub reverse: bool,
    /// The reader goes on with what is appended later, and can wait for it. It gives only what is durable.
    pub follow: bool,
    /// Only what a power cut cannot take any more (D1): for whoever hands records on. Always so for one that follows.
    pub durable: bool,
}

impl ReadOptions {
    /// For a reader that follows what is appended.
    #[must_use]
    pub fn follow() -> Self {
        Self { follow: true, durable: true, ..Self::default() }
    }

    pub(super) fn has_time(&self, time: Timestamp) -> bool {
        self.may_have_times(time, time)
    }

    /// Whether something with times from `min` to `max` may hold a record that is wanted.
    pub(super) fn may_have_times(&self, min: Timestamp, max: Timestamp) -> bool {
        self.from_time.is_none_or(|from| from <= max) && self.until_time.is_none_or(|until| min <= until)
    }
}
