//! What a compaction did.

use std::collections::BTreeMap;

use super::copies::CopyCompacted;
use crate::catalog::SegmentKey;
use crate::compaction::{Freed, Removed};
use crate::log::tier::Kept;
use crate::types::CollectionName;

/// How far a compaction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactProgress {
    /// Bytes of segments that are dealt with.
    pub bytes: u64,
    /// Bytes of all that may have to be.
    pub total_bytes: u64,
}

/// What a compaction did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CompactReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Why nothing expired, and no grace was over, where the clock is not believed (S3).
    pub clock: Option<String>,
    /// Collections of which something was written anew, left alone, or failed, in order of name.
    pub collections: Vec<CollectionCompacted>,
    /// Files of segments that were replaced and are still there, and why: they go when nobody reads them, or when the log is opened next.
    pub left: Vec<Kept>,
    /// It was interrupted: more may be left to do.
    pub is_interrupted: bool,
}

/// What became of a collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CollectionCompacted {
    /// Which.
    pub collection: CollectionName,
    /// Segments that were written anew.
    pub segments_before: u64,
    /// Segments that they became.
    pub segments_after: u64,
    /// Bytes of the files before.
    pub bytes_before: u64,
    /// Bytes of the files that they became; of a dry run, about.
    pub bytes_after: u64,
    /// Records that went.
    pub removed: Removed,
    /// Segments that were left alone, by the reason.
    pub left_alone: Vec<LeftAlone>,
    /// What ended it early, where something did.
    pub failed: Option<String>,
    /// What became of the copies that sinks keep, where they keep old versions. In none of the numbers above.
    pub sinks: Vec<CopyCompacted>,
}

/// What went from sinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SinksCompacted {
    /// Files that are gone.
    pub files_before: u64,
    /// Files that came for them.
    pub files_after: u64,
    /// Bytes of the files that are gone.
    pub bytes_before: u64,
    /// Bytes of the files that came for them; of a dry run, about.
    pub bytes_after: u64,
    /// Records that went.
    pub records: u64,
    /// Files that are replaced and still there, because somebody reads them.
    pub files_left: u64,
}

/// Segments that were left alone for one reason.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftAlone {
    /// Why.
    pub reason: String,
    /// How many.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first of them.
    pub first: SegmentKey,
}

impl CollectionCompacted {
    pub(super) const fn new(collection: CollectionName) -> Self {
        Self {
            collection,
            segments_before: 0,
            segments_after: 0,
            bytes_before: 0,
            bytes_after: 0,
            removed: Removed { versions: 0, expired: 0, tombstones: 0 },
            left_alone: Vec::new(),
            failed: None,
            sinks: Vec::new(),
        }
    }

    /// Bytes that were freed; negative where the results are larger, as where segments are merged.
    #[must_use]
    pub fn freed_bytes(&self) -> i64 {
        self.bytes_before.cast_signed().saturating_sub(self.bytes_after.cast_signed())
    }

    pub(super) fn is_worth_telling(&self) -> bool {
        self.segments_before > 0
            || !self.left_alone.is_empty()
            || self.failed.is_some()
            || self.sinks.iter().any(|copy| copy.freed.is_worth_telling())
    }
}

impl CompactReport {
    /// Records that went, of all collections.
    #[must_use]
    pub fn removed(&self) -> Removed {
        let mut removed = Removed::default();
        self.collections.iter().for_each(|of| removed.add(of.removed));
        removed
    }

    /// Segments that were written anew, what they became, and their bytes before and after.
    #[must_use]
    pub fn totals(&self) -> (u64, u64, u64, u64) {
        self.collections.iter().fold((0, 0, 0, 0), |sum, of| {
            (sum.0 + of.segments_before, sum.1 + of.segments_after, sum.2 + of.bytes_before, sum.3 + of.bytes_after)
        })
    }

    /// What went from sinks, of all collections.
    #[must_use]
    pub fn sinks(&self) -> SinksCompacted {
        let mut all = SinksCompacted::default();
        for Freed { files_before, files_after, bytes_before, bytes_after, removed, files_left, .. } in
            self.collections.iter().flat_map(|of| &of.sinks).map(|copy| &copy.freed)
        {
            all.files_before += files_before;
            all.files_after += files_after;
            all.bytes_before += bytes_before;
            all.bytes_after += bytes_after;
            all.records += removed.total();
            all.files_left += files_left;
        }
        all
    }

    /// What failed, by collection, and in which sink, where it was one.
    pub fn failures(&self) -> impl Iterator<Item = (&CollectionName, Option<&str>, &str)> {
        self.collections.iter().flat_map(|of| {
            let own = of.failed.as_deref().map(|why| (&of.collection, None, why));
            let sinks = of
                .sinks
                .iter()
                .filter_map(|copy| Some((&of.collection, Some(&*copy.sink), copy.freed.failed.as_deref()?)));
            own.into_iter().chain(sinks)
        })
    }

    /// Whether everything that was to be done was done.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.is_interrupted && self.clock.is_none() && self.failures().next().is_none()
    }
}

/// Gathers what was left alone.
#[derive(Default)]
pub(super) struct Left(BTreeMap<String, LeftAlone>);

impl Left {
    pub fn note(&mut self, reason: String, key: &SegmentKey, bytes: u64) {
        let known = self.0.entry(reason.clone()).or_insert_with(|| LeftAlone {
            reason,
            segments: 0,
            bytes: 0,
            first: key.clone(),
        });
        known.segments += 1;
        known.bytes += bytes;
    }

    pub fn finish(self) -> Vec<LeftAlone> {
        let mut all: Vec<LeftAlone> = self.0.into_values().collect();
        all.sort_by(|one, other| one.first.cmp(&other.first));
        all
    }
}
