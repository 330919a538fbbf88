//! Evicts by rules: what was archived long enough ago, and what is too much.
//!
//! Owns: which local copies are due, and when the next ones are. Each goes as [`evict`](super::evict) says, which has the order of operations and why
//! a crash between any two is safe; nothing is remembered between two calls, so one that was killed is gone on with by the next.
//!
//! Since when a segment is archived stands in no row, but in the catalog's history: those that became `Archived` since the rule's time are read
//! there, and every other one is due. So what was brought back (`rehydrate`) stays as long as if it were archived anew.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::evict::{Cursors, Evicted};
use super::{Kept, Log, Silent, Wanted};
use crate::catalog::{Catalog, Mutation, SegmentKey, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{ChangeNumber, Timestamp};

/// Changes read at once.
const PAGE_CHANGES: usize = 1000;

/// Which local copies of archived segments are to go. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvictRules {
    /// Those that were archived, or brought back, so long ago.
    pub after: Option<Duration>,
    /// Oldest sealed first, as long as there are more bytes of them than this.
    pub above_bytes: Option<u64>,
}

impl EvictRules {
    /// Whether nothing goes by them.
    #[must_use]
    pub const fn is_never(&self) -> bool {
        self.after.is_none() && self.above_bytes.is_none()
    }
}

/// What went by rules, or would, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Due {
    /// What was done, or would be.
    #[serde(flatten)]
    pub evicted: Evicted,
    /// Local copies of archived segments that are left.
    pub local_segments: u64,
    /// Their bytes.
    pub local_bytes: u64,
    /// When the next one is due by its age.
    pub next_at: Option<Timestamp>,
}

impl Log {
    /// Drops the local copies that are due now. What is pinned stays, and the report says by what; with `above_bytes` the next ones go in its place. With
    /// `dry_run` nothing is changed, and no archive is asked. `goes_on` is asked before each, and ends it by answering no.
    ///
    /// # Errors
    /// As [`evict`](Self::evict).
    pub fn evict_due(&self, rules: &EvictRules, dry_run: bool, goes_on: &mut dyn FnMut() -> bool) -> Result<Due> {
        let log = &self.0;
        if !dry_run {
            self.may_change()?;
            if log.options.archive.is_none() {
                return Err(super::no_archive());
            }
        }
        let _turn = log.tier_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = log.clock.now();
        let mut due = Due { evicted: Evicted { dry_run, ..Evicted::default() }, ..Due::default() };
        let wanted = Wanted::default();
        log.each_row(SegmentStatus::Archived, &wanted, &mut |row| {
            due.local_segments += 1;
            due.local_bytes += row.bytes;
            Ok(true)
        })?;
        let young = match rules.after {
            Some(after) if due.local_segments > 0 => archived_since(&*log.catalog, before(now, after))?,
            _ => HashMap::new(),
        };
        let (mut cursors, mut silent) = (Cursors::default(), Silent::default());
        log.each_row(SegmentStatus::Archived, &wanted, &mut |row| {
            let aged = rules.after.map(|after| match young.get(&row.key) {
                None => Ok(()),
                Some(at) => Err(at.saturating_add(after)),
            });
            let is_too_much = rules.above_bytes.is_some_and(|above| due.local_bytes > above);
            match aged {
                Some(Ok(())) => {}
                Some(Err(at)) if !is_too_much => {
                    due.next_at = Some(due.next_at.map_or(at, |known| known.min(at)));
                    return Ok(true);
                }
                None if !is_too_much => return Ok(false),
                Some(Err(_)) | None => {}
            }
            if !goes_on() {
                due.evicted.is_interrupted = true;
                return Ok(false);
            }
            let reason = match log.pinned(&row, &mut cursors)? {
                None if dry_run => None,
                None => match log.not_in_archive(&row, &mut silent)? {
                    None => log.evict_one(&row, &mut due.evicted.left)?,
                    reason => reason,
                },
                pinned => pinned,
            };
            match reason {
                Some(reason) => due.evicted.kept.push(Kept { segment: row.key, reason }),
                None => {
                    due.evicted.segments += 1;
                    due.evicted.bytes += row.bytes;
                    due.local_segments -= 1;
                    due.local_bytes -= row.bytes;
                }
            }
            Ok(true)
        })?;
        silent.settle(due.evicted.segments > 0)?;
        Ok(due)
    }
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp(now.micros().saturating_sub(micros))
}

/// Segments that became archived behind `since`, and when. Reads the history from there on: changes are numbered without holes, and in order of time
/// but where a clock was set back, which makes something go sooner or later.
fn archived_since(catalog: &dyn Catalog, since: Timestamp) -> Result<HashMap<SegmentKey, Timestamp>> {
    // Every change up to `low` is at or before `since`; the one behind `high` is not, or there is none.
    let (mut low, mut high) = (0, catalog.change_number()?.get());
    while low < high {
        let middle = low + (high - low) / 2;
        let is_later = catalog.changes(ChangeNumber(middle), 1)?.first().is_none_or(|change| change.at > since);
        (low, high) = if is_later { (low, middle) } else { (middle + 1, high) };
    }
    let mut archived = HashMap::new();
    let mut at = ChangeNumber(low);
    loop {
        let page = catalog.changes(at, PAGE_CHANGES)?;
        let Some(last) = page.last() else { return Ok(archived) };
        at = last.number;
        for change in page.iter().filter(|change| matches!(change.kind.as_str(), "segment.insert" | "segment.status")) {
            let mutation = change.mutation().map_err(|error| {
                let message = format!("a change of the catalog cannot be read: change=`{}`", change.number);
                Error::new(ErrorKind::Corrupt, message).with_source(error)
            })?;
            match mutation {
                Mutation::InsertSegment(row) if row.status == SegmentStatus::Archived => {
                    archived.insert(row.key, change.at);
                }
                Mutation::Transition { key, to: SegmentStatus::Archived, .. } => drop(archived.insert(key, change.at)),
                _ => {}
            }
        }
    }
}
