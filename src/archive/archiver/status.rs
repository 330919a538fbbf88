//! How archiving goes, for people and monitors.

use crate::catalog::SegmentKey;
use crate::log::tier::Kept;
use crate::objects::patient::breaker::BreakerStatus;
use crate::objects::{Abilities, Usage};
use crate::types::Timestamp;

/// How archiving goes.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ArchiverStatus {
    /// Segments that are not archived yet.
    pub queue_segments: u64,
    /// Their bytes.
    pub queue_bytes: u64,
    /// When the oldest of them was sealed: how far the archive lags behind.
    pub oldest_sealed_at: Option<Timestamp>,
    /// How long ago that was, in microseconds.
    pub lag_us: Option<i64>,
    /// Uploads under way.
    pub in_flight: u64,
    /// Memory that they take, in bytes.
    pub memory_bytes: u64,
    /// Segments archived since the archiver was made.
    pub archived_segments: u64,
    /// Their bytes.
    pub archived_bytes: u64,
    /// Segments that were tried, and are left alone for a while.
    pub parked: Vec<Parked>,
    /// What goes by rules.
    pub evict: EvictStatus,
    /// Each store.
    pub targets: Vec<TargetStatus>,
}

/// How local copies go by rules, as of the last time that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct EvictStatus {
    /// Local copies that went since the archiver was made.
    pub evicted_segments: u64,
    /// Their bytes.
    pub evicted_bytes: u64,
    /// Local copies of archived segments.
    pub local_segments: u64,
    /// Their bytes.
    pub local_bytes: u64,
    /// When the next one is due by its age.
    pub next_at: Option<Timestamp>,
    /// What is due and cannot go, and why.
    pub kept: Vec<Kept>,
}

/// A segment that is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Parked {
    /// Which.
    pub segment: SegmentKey,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub times: u32,
}

/// How one store is doing.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TargetStatus {
    /// The id of the remote that is a home; `None` for the log's archive.
    pub remote: Option<String>,
    /// Where it is.
    pub url: String,
    /// The newest manifest that is ours; `None` before the first.
    pub manifest: Option<u64>,
    /// Our epoch there.
    pub epoch: Option<u64>,
    /// What the store can do; `None` before it was asked.
    pub abilities: Option<Abilities>,
    /// Somebody else took it over: we archive there no more.
    pub fenced: Option<String>,
    /// The last failure, as long as nothing succeeded since.
    pub last_error: Option<String>,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
    /// The breaker.
    pub breaker: BreakerStatus,
    /// What was asked of it, by kind of request.
    pub usage: Vec<Usage>,
    /// Segments that its manifests name and the catalog does not have.
    pub unknown_segments: u64,
}
