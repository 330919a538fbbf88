//! Which segments are neighbours, and which of them become one.

use std::ops::Range;

use crate::types::Sequence;

/// A segment of a collection, as planning sees it. Given in order of sequence, all that are live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// First sequence that it covers.
    pub first: Sequence,
    /// Last sequence that it covers.
    pub last: Sequence,
    /// Where it lies: neighbours are of one directory.
    pub directory: usize,
    /// Bytes of its records, before compression.
    pub bytes: u64,
    /// Whether it must stay as it is.
    pub is_fixed: bool,
}

/// Of a segment that is smaller than the target by this factor, nobody asks how often it is written anew.
const SMALL: u64 = 16;
/// Segments of a group: each has a file open.
const GROUP_SEGMENTS: usize = 256;

/// Candidates that may become one another's, oldest first: without a hole between them, of one directory, of at most `bytes_max` bytes together, or
/// one alone; a few hundred at most.
#[must_use]
pub fn groups(candidates: &[Candidate], bytes_max: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| !candidate.is_fixed) {
        let last = groups.last_mut().filter(|group| {
            let before = &candidates[group.end - 1];
            group.end == at
                && group.len() < GROUP_SEGMENTS
                && before.last.next() == candidate.first
                && before.directory == candidate.directory
                && bytes + candidate.bytes <= bytes_max
        });
        match last {
            Some(group) => {
                group.end = at + 1;
                bytes += candidate.bytes;
            }
            None => {
                groups.push(at..at + 1);
                bytes = candidate.bytes;
            }
        }
    }
    groups
}

/// What is known of a segment of a group when each of its records has its fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Bytes of its records, before compression.
    pub bytes: u64,
    /// Those of the records that stay.
    pub bytes_kept: u64,
    /// How many records it has.
    pub records: u64,
    /// How many of them go.
    pub removed: u64,
}

impl Judged {
    /// Whether enough of it goes to write it anew: something, and at least so many of a hundred.
    fn is_worth(&self, gain_percent: u64) -> bool {
        self.removed > 0 && self.removed.saturating_mul(100) >= self.records.saturating_mul(gain_percent)
    }
}

/// Which neighbours of a group become one segment each. What is in no range stays as it is.
///
/// No result has more than `target_bytes` bytes of records, but where it is one segment made smaller. Neighbours of which nothing goes are merged
/// only where the largest is at most half of the result, or is small besides the target: so a record is written anew about as often as sizes
/// double, not once for each small neighbour that comes.
#[must_use]
pub fn outputs(judged: &[Judged], target_bytes: u64, gain_percent: u64) -> Vec<Range<usize>> {
    let mut outputs = Vec::new();
    let mut at = 0;
    while at < judged.len() {
        let (mut end, mut bytes) = (at + 1, judged[at].bytes_kept);
        while end < judged.len() && bytes + judged[end].bytes_kept <= target_bytes {
            bytes += judged[end].bytes_kept;
            end += 1;
        }
        let some = &judged[at..end];
        let largest = some.iter().filter(|one| !one.is_worth(gain_percent)).map(|one| one.bytes_kept).max();
        let is_merge = some.len() > 1
            && target_bytes > 0
            && largest.is_none_or(|largest| largest * 2 <= bytes || largest * SMALL <= target_bytes);
        if is_merge {
            outputs.push(at..end);
            at = end;
        } else {
            if judged[at].is_worth(gain_percent) {
                outputs.push(at..at + 1);
            }
            at += 1;
        }
    }
    outputs
}
