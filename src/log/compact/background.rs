//! Compaction by itself: when it is due, and where what it did is kept.
//!
//! One thread a log at most, and only where an interval is set; it sleeps in between. What the last run did is the catalog's value
//! [`NOTE`], for who asks when no writer runs, and so that a log that is opened often is compacted all the same.

use std::sync::Arc;
use std::time::Duration;

use super::{CompactOptions, CompactReport, SinksCompacted, chain};
use crate::catalog::Mutation;
use crate::compaction::Removed;
use crate::config::QuietHours;
use crate::error::{ErrorKind, Result};
use crate::log::{Inner, Log};
use crate::types::Timestamp;

/// Under this name the catalog keeps what the last compaction did.
const NOTE: &str = "compact.last";
/// Not before the log is open for so long: what opens a log for a moment is not to be kept.
const FIRST: Duration = Duration::from_mins(1);
/// It looks at the wall clock again after so long at the latest: that may be set.
const LOOK: Duration = Duration::from_hours(1);
/// A segment is written anew for records that go only where at least so many of a hundred do.
const GAIN_PERCENT: u64 = 10;

/// Compaction by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackgroundCompaction {
    /// How long after the beginning of one run the next one begins.
    pub interval: Duration,
    /// So many bytes are read and written in a second at most.
    pub bytes_per_second: Option<u64>,
    /// When it may run; always where `None`. What is not done by their end is done next time.
    pub quiet_hours: Option<QuietHours>,
}

/// What the last compaction did, as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LastCompaction {
    /// When it began, by the clock then.
    pub at: Timestamp,
    /// Whether it ran by itself.
    pub by_itself: bool,
    /// Segments that were written anew.
    pub segments_before: u64,
    /// Segments that they became.
    pub segments_after: u64,
    /// Bytes of the files before.
    pub bytes_before: u64,
    /// Bytes of the files that they became.
    pub bytes_after: u64,
    /// Records that went: beyond the newest versions.
    pub versions: u64,
    /// Records that went: expired.
    pub expired: u64,
    /// Records that went: tombstones.
    pub tombstones: u64,
    /// What went from sinks.
    #[serde(default)]
    pub sinks: SinksCompacted,
    /// What stopped it, or a part of it.
    pub stopped: Vec<String>,
}

impl Log {
    /// What the last compaction did; `None` where there was none.
    ///
    /// # Errors
    /// What the catalog said. A value that cannot be read counts as none: nothing depends on it.
    pub fn last_compaction(&self) -> Result<Option<LastCompaction>> {
        Ok(self.catalog().meta(NOTE)?.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

impl Inner {
    /// Keeps what a compaction did.
    pub(super) fn note_compaction(
        &self,
        at: Timestamp,
        by_itself: bool,
        outcome: &Result<CompactReport>,
    ) -> Result<()> {
        let mut stopped = Vec::new();
        let mut none = CompactReport::default();
        let report = match outcome {
            Ok(report) => report,
            Err(error) => {
                stopped.push(chain(error));
                &mut none
            }
        };
        stopped.extend(report.clock.clone());
        stopped.extend(report.failures().map(|(collection, sink, why)| {
            let sink = sink.map_or_else(String::new, |sink| format!(", sink=`{sink}`"));
            format!("collection=`{collection}`{sink}: {why}")
        }));
        if report.is_interrupted {
            stopped.push("it was interrupted".to_owned());
        }
        let Removed { versions, expired, tombstones } = report.removed();
        let (segments_before, segments_after, bytes_before, bytes_after) = report.totals();
        let last = LastCompaction {
            at,
            by_itself,
            segments_before,
            segments_after,
            bytes_before,
            bytes_after,
            versions,
            expired,
            tombstones,
            sinks: report.sinks(),
            stopped,
        };
        let value = serde_json::to_string(&last).expect("plain text and numbers");
        self.apply(&[Mutation::SetMeta { name: NOTE.into(), value }], "compaction").map(drop)
    }

    /// How long it is until a compaction is due; zero where it is.
    pub(in crate::log) fn compaction_wait(&self, settings: &BackgroundCompaction, is_first: bool) -> Duration {
        let now = self.clock.now();
        let text = self.catalog.meta(NOTE).ok().flatten();
        let last = text.and_then(|text| serde_json::from_str::<LastCompaction>(&text).ok());
        let wait = match last {
            // Also where the clock was set back: no longer than the interval.
            Some(last) => {
                let due = last.at.saturating_add(settings.interval).0.saturating_sub(now.0);
                Duration::from_micros(u64::try_from(due).unwrap_or(0)).min(settings.interval)
            }
            None => settings.interval,
        };
        let wait = if is_first { wait.max(FIRST.min(settings.interval)) } else { wait };
        let quiet = settings.quiet_hours.map_or(Duration::ZERO, |hours| hours.wait(now));
        wait.max(quiet).min(LOOK)
    }

    /// One run by itself. It ends when its hours are over, or nobody but it has the log.
    pub(in crate::log) fn compact_by_itself(self: Arc<Self>, settings: &BackgroundCompaction) {
        let log = Log(self);
        let goes_on = || {
            let is_time = settings.quiet_hours.is_none_or(|hours| hours.has(log.0.clock.now()));
            is_time && Arc::strong_count(&log.0) > 1
        };
        let options = CompactOptions {
            bytes_per_second: settings.bytes_per_second,
            gain_percent: GAIN_PERCENT,
            ..CompactOptions::default()
        };
        match log.compact_while(&options, &mut |_| true, &goes_on, true) {
            Ok(report) => {
                let (before, after, bytes_before, bytes_after) = report.totals();
                let sinks = report.sinks();
                let sinks_freed = sinks.bytes_before.cast_signed() - sinks.bytes_after.cast_signed();
                tracing::info!(before, after, bytes_before, bytes_after, sinks_freed, "compacted");
            }
            // Somebody compacts by hand.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => tracing::warn!(error = chain(&error), "compacting failed; it is tried again"),
        }
    }
}
