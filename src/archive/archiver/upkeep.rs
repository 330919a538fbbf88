//! What the archiver does behind its passes: local copies that are due go ([`evict_due`](crate::log::Log::evict_due)), and purges that were begun go on
//! ([`retention::go_on`]).
//!
//! Owns: when each is looked at. Both have their own order of operations, and go on after a crash by what the catalog says; what is kept here is
//! only when to look next, and is made anew by the first pass. Nothing is asked of a store, nor of the catalog, before something is due: the
//! thread sleeps until then.
//!
//! A log that is fenced in any store evicts nothing and purges nothing: what another machine may purge is kept here.

use std::time::Duration;

use super::{ArchiveReport, Archiver, ArchiverOptions, EvictStatus, Shared, StoreFailure, Work, claims, target};
use crate::archive::retention::{self, ApplyOptions, PlanOptions};
use crate::error::{ErrorKind, Result};
use crate::types::Timestamp;

/// What cannot go now for a reason that no store told is looked at so often at last: a hold may stand for years.
const PINNED_LONGEST: Duration = Duration::from_hours(1);

/// When something is tried next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Next {
    /// On the monotonic clock; `None` for not before something happens.
    pub at: Option<Duration>,
    failures: u32,
    was_tried: bool,
}

impl Next {
    pub fn is_resting(&self, now: Duration) -> bool {
        self.at.is_some_and(|at| now < at)
    }

    /// How long until it is tried again; `None` for not before something happens.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        self.at.map(|at| at.saturating_sub(now))
    }

    fn is_due(&self, now: Duration) -> bool {
        !self.was_tried || self.at.is_some_and(|at| now >= at)
    }

    pub fn succeeded(&mut self) {
        *self = Self { at: None, failures: 0, was_tried: true };
    }

    pub fn failed(&mut self, options: &ArchiverOptions) {
        self.failures += 1;
        self.was_tried = true;
        self.at = Some(options.clock.monotonic().saturating_add(options.retry(self.failures)));
    }

    /// Something must be tried again that no failure of a store held up.
    fn pinned(&mut self, options: &ArchiverOptions) {
        self.failures += 1;
        self.was_tried = true;
        let doubled = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        let wait = options.retry_longest.saturating_mul(doubled).min(PINNED_LONGEST);
        self.at = Some(options.clock.monotonic().saturating_add(wait));
    }

    fn not_later_than(&mut self, at: Option<Duration>) {
        self.at = self.at.into_iter().chain(at).min();
    }
}

/// What is done behind passes, and when next.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    pub evict: Next,
    pub purge: Next,
    purges_seen: u64,
    pub evicted: EvictStatus,
}

impl Upkeep {
    /// How long until something is due; `None` for not before something happens.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        let at = self.evict.at.into_iter().chain(self.purge.at).min()?;
        Some(at.saturating_sub(now))
    }
}

impl Shared {
    /// Behind a pass, whose report it adds to.
    ///
    /// # Errors
    /// What the catalog said; `Closed`.
    pub(super) fn look_after(
        &self,
        work: &mut Work,
        is_patient: bool,
        goes_on: &mut dyn FnMut() -> bool,
        report: &mut ArchiveReport,
    ) -> Result<()> {
        let is_fenced =
            |target: &target::Target| target.ended.as_ref().is_some_and(|(kind, _)| *kind == ErrorKind::Fenced);
        // One that was started anew, and has nothing to send, did not look at its stores: what is on record counts.
        let is_fenced = work.targets.iter().any(is_fenced) || self.is_fenced_on_record(work)?;
        if self.stop.is_stopped() || report.is_interrupted || is_fenced {
            (work.upkeep.evict.at, work.upkeep.purge.at) = (None, None);
            return Ok(());
        }
        self.evict(&mut work.upkeep, is_patient, goes_on, report)?;
        self.purge(work, is_patient, report)
    }

    fn is_fenced_on_record(&self, work: &Work) -> Result<bool> {
        for target in &work.targets {
            match claims::must_be_ours(&**self.log.catalog(), target.remote.as_deref(), &target.url) {
                Err(error) if error.kind() == ErrorKind::Fenced => return Ok(true),
                read => read?,
            }
        }
        Ok(false)
    }

    fn evict(
        &self,
        upkeep: &mut Upkeep,
        is_patient: bool,
        goes_on: &mut dyn FnMut() -> bool,
        report: &mut ArchiveReport,
    ) -> Result<()> {
        let rules = &self.options.evict;
        if rules.is_never() {
            return Ok(());
        }
        let now = self.options.clock.monotonic();
        upkeep.evicted.local_segments += report.archived_segments;
        upkeep.evicted.local_bytes += report.archived_bytes;
        let is_more = report.archived_segments > 0;
        let is_too_much = is_more && rules.above_bytes.is_some_and(|above| upkeep.evicted.local_bytes > above);
        if is_patient && !upkeep.evict.is_due(now) && !is_too_much {
            if is_more {
                // What is archived now is due later than what was there; where nothing was, it is the first.
                upkeep.evict.not_later_than(rules.after.map(|after| now.saturating_add(after)));
            }
            return Ok(());
        }
        let stop = &self.stop;
        let due = match self.log.evict_due(rules, false, &mut || !stop.is_stopped() && goes_on()) {
            Ok(due) => due,
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
            Err(error) => {
                let error = target::told(&error);
                tracing::warn!(error, "evicting failed; it is tried again");
                upkeep.evict.failed(&self.options);
                let what = format!("local copies could not be evicted: {error}");
                report.errors.push(StoreFailure { url: self.url(), kind: ErrorKind::Unavailable, error: what });
                return Ok(());
            }
        };
        let evicted = due.evicted;
        if evicted.segments > 0 {
            tracing::info!(segments = evicted.segments, bytes = evicted.bytes, "evicted");
        }
        report.evicted_segments += evicted.segments;
        report.evicted_bytes += evicted.bytes;
        let shown = &mut upkeep.evicted;
        shown.evicted_segments += evicted.segments;
        shown.evicted_bytes += evicted.bytes;
        (shown.local_segments, shown.local_bytes, shown.next_at) = (due.local_segments, due.local_bytes, due.next_at);
        // What could not be removed goes when the log is opened next.
        let is_pinned = !evicted.kept.is_empty() || evicted.is_interrupted;
        shown.kept = evicted.kept;
        if is_pinned {
            upkeep.evict.pinned(&self.options);
        } else {
            upkeep.evict.succeeded();
        }
        // Not one by one: a hundredth of the span later is soon enough.
        let pause = rules.after.unwrap_or_default() / 100;
        let pause = pause.clamp(Duration::from_secs(1), PINNED_LONGEST);
        upkeep.evict.not_later_than(due.next_at.map(|at| now.saturating_add(self.until(at).max(pause))));
        Ok(())
    }

    fn purge(&self, work: &mut Work, is_patient: bool, report: &mut ArchiveReport) -> Result<()> {
        let Some(grace) = self.options.grace else { return Ok(()) };
        let now = self.options.clock.monotonic();
        let begun = self.log.purges_begun();
        let is_new = std::mem::replace(&mut work.upkeep.purges_seen, begun) != begun;
        if is_patient && !is_new && !work.upkeep.purge.is_due(now) {
            return Ok(());
        }
        let due_at = retention::due_at(&self.log, grace)?;
        let Some(due_at) = due_at else {
            work.upkeep.purge.succeeded();
            return Ok(());
        };
        if due_at > self.options.clock.now() {
            work.upkeep.purge.succeeded();
            work.upkeep.purge.at = Some(now.saturating_add(self.until(due_at)));
            return Ok(());
        }
        let options = ApplyOptions { plan: PlanOptions::default(), grace };
        let at = self.options.clock.now();
        let purged = match self.lend(work, |log, targets| retention::go_on(log, targets, at, &options)) {
            Ok(purged) => purged,
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a purge could not go on; it is tried again");
                work.upkeep.purge.failed(&self.options);
                let what = format!("a purge could not go on: {}", target::told(&error));
                report.errors.push(StoreFailure { url: self.url(), kind: error.kind(), error: what });
                return Ok(());
            }
        };
        report.purged_segments += purged.segments;
        report.purged_bytes += purged.bytes;
        if purged.segments > 0 {
            tracing::info!(segments = purged.segments, bytes = purged.bytes, "purged");
        }
        let upkeep = &mut work.upkeep;
        if purged.kept.is_empty() {
            upkeep.purge.succeeded();
        } else {
            for kept in &purged.kept {
                tracing::warn!(segment = %kept.segment, reason = kept.reason, "a purge could not go on; it is tried again");
            }
            upkeep.purge.pinned(&self.options);
        }
        let locked = purged.locked.iter().map(|locked| locked.until).min();
        for until in locked.into_iter().chain(purged.waiting_until) {
            upkeep.purge.not_later_than(Some(now.saturating_add(self.until(until))));
        }
        Ok(())
    }

    /// How long until then, by the clock now; a moment at least.
    fn until(&self, at: Timestamp) -> Duration {
        let micros = at.micros().saturating_sub(self.options.clock.now().micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0)).max(Duration::from_millis(1))
    }

    /// Where the archive is, for reports.
    fn url(&self) -> String {
        self.view().targets.iter().find(|target| target.remote.is_none()).map_or_else(String::new, |it| it.url.clone())
    }
}

impl Archiver {
    /// Whether somebody may wait for what is done behind passes.
    #[cfg(test)]
    pub(crate) fn upkeep_wait(&self) -> Option<Duration> {
        let now = self.0.options.clock.monotonic();
        self.0.work().upkeep.wait(now)
    }
}
