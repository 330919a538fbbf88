//! What a collection keeps, and what a moment makes of it.

use std::time::Duration;

use crate::types::Timestamp;

/// What compaction leaves of a collection. The default keeps everything, and merges nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// The newest versions of each key that stay, the tombstone that deletes it counted; all where `None`. At least 1. With a limit, what a
    /// tombstone behind its grace hides goes too, within the limit or not.
    pub keep_versions: Option<u64>,
    /// Records expire so long after their own time, besides their own expiry.
    pub ttl: Option<Duration>,
    /// Tombstones may go so long after their own time, where nothing older of their key is left; never where `None`.
    pub tombstone_grace: Option<Duration>,
    /// Neighbours are merged up to so many bytes of records, before compression; none are where it is 0.
    pub target_bytes: u64,
}

/// What of a record decides its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Whether it is a tombstone.
    pub is_delete: bool,
    /// Its own time.
    pub timestamp: Timestamp,
    /// Its own expiry.
    pub expires_at: Option<Timestamp>,
}

/// Why a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Enough newer versions of its key stay, or a tombstone behind its grace hides it.
    Version,
    /// It is expired, by its own expiry or by the policy.
    Expired,
    /// A tombstone behind its grace, with nothing left to hide.
    Tombstone,
}

/// Records that went, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Beyond the newest versions.
    pub versions: u64,
    /// Expired.
    pub expired: u64,
    /// Tombstones.
    pub tombstones: u64,
}

impl Removed {
    /// One more.
    pub fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Version => &mut self.versions,
            Reason::Expired => &mut self.expired,
            Reason::Tombstone => &mut self.tombstones,
        } += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.versions + self.expired + self.tombstones
    }

    /// And those.
    pub fn add(&mut self, other: Self) {
        self.versions += other.versions;
        self.expired += other.expired;
        self.tombstones += other.tombstones;
    }
}

/// A policy at a time.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The policy.
    pub policy: CompactionPolicy,
    /// What time it is; `None` where the clock is not believed: then nothing is expired, and no grace is over (S3).
    pub now: Option<Timestamp>,
}

impl Moment {
    /// Whether a record that is no tombstone is expired. Times may be anything: what would be beyond the last time never comes.
    #[must_use]
    pub fn is_expired(&self, record: &Seen<'_>) -> bool {
        let Some(now) = self.now else { return false };
        record.expires_at.is_some_and(|at| at <= now)
            || self.policy.ttl.is_some_and(|ttl| is_over(record.timestamp, ttl, now))
    }

    /// Whether a tombstone's grace is over.
    #[must_use]
    pub fn is_behind_grace(&self, record: &Seen<'_>) -> bool {
        let grace = self.now.zip(self.policy.tombstone_grace);
        record.is_delete && grace.is_some_and(|(now, grace)| is_over(record.timestamp, grace, now))
    }

    /// So many newer versions are enough for one to go; `None` where no number is.
    #[must_use]
    pub fn versions(&self) -> Option<u64> {
        self.policy.keep_versions.map(|keep| keep.max(1))
    }
}

fn is_over(from: Timestamp, span: Duration, now: Timestamp) -> bool {
    let end = i64::try_from(span.as_micros()).ok().and_then(|span| from.0.checked_add(span));
    end.is_some_and(|end| end <= now.0)
}
