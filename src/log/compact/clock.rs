//! Whether the clock is to be believed (S3).
//!
//! The catalog keeps a time that is believed ([`BELIEVED`]). Nothing that the log writes by itself raises it by what a wrong clock says: an
//! opening does, as far as the clock is ahead of it by no more than [`AHEAD`]; while the log is open, it goes on with the monotonic clock; and
//! whoever says that the clock is right sets it. So records that are appended and sealed under a wrong clock vouch for nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::catalog::Mutation;
use crate::error::{Error, ErrorKind, Result};
use crate::log::recover::journals::chain;
use crate::log::{Inner, Log};
use crate::types::{ChangeNumber, Sequence, Timestamp};

/// Under this name the catalog keeps the time that is believed, in microseconds.
const BELIEVED: &str = "clock.believed";
/// By so much the clock may be behind the newest change: clocks are set by small steps.
const BEHIND: Duration = Duration::from_mins(1);
/// A clock that is ahead of the time that is believed by more than this is not believed.
const AHEAD: Duration = Duration::from_hours(24 * 366);
/// What is on record is no older than this, while the log is open.
const NOTE_EVERY: Duration = Duration::from_hours(24);

/// The time that is believed, while a log is open to write.
#[derive(Debug, Default)]
pub(in crate::log) struct Belief(Mutex<Option<Believed>>);

#[derive(Clone, Copy, Debug)]
struct Believed {
    at: Timestamp,
    /// By the monotonic clock.
    since: Duration,
    /// What is on record.
    on_record: Option<Timestamp>,
}

impl Belief {
    fn lock(&self) -> MutexGuard<'_, Option<Believed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Why nothing may go by what the clock says, where that is so: it is behind the newest change, or, unless `trust_ahead`, far ahead of
    /// the time that is believed.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn clock_problem(&self, now: Timestamp, trust_ahead: bool) -> Result<Option<String>> {
        let catalog = self.catalog();
        let newest = ChangeNumber(catalog.change_number()?.0.saturating_sub(1));
        let Some(newest) = catalog.changes(newest, 1)?.pop() else { return Ok(None) };
        if now.saturating_add(BEHIND) < newest.at {
            let at = newest.at;
            return Ok(Some(format!("the clock is behind the log's newest change: now=`{now}`, newest=`{at}`")));
        }
        if trust_ahead {
            return Ok(None);
        }
        let believed = self.0.believed()?;
        Ok(believed.filter(|believed| is_far_ahead(now, *believed)).map(|believed| {
            format!("the clock is far ahead of the time that the log believes: now=`{now}`, believed=`{believed}`")
        }))
    }

    /// The clock is right, whatever was believed.
    ///
    /// # Errors
    /// What the catalog said.
    pub(crate) fn trust_clock(&self, now: Timestamp) -> Result<()> {
        let log = &self.0;
        log.note_believed(now)?;
        *log.belief.lock() = Some(Believed { at: now, since: log.clock.monotonic(), on_record: Some(now) });
        Ok(())
    }
}

fn is_far_ahead(now: Timestamp, believed: Timestamp) -> bool {
    believed.saturating_add(AHEAD) < now
}

impl Inner {
    /// At an opening to write. A catalog that cannot be written to now is no reason not to open.
    pub(in crate::log) fn begin_belief(&self) -> Result<()> {
        let now = self.clock.now();
        let on_record = self.believed_on_record()?;
        let known = match on_record {
            Some(known) => Some(known),
            None => self.newest_sealed()?,
        };
        let at = known.filter(|known| now < *known || is_far_ahead(now, *known)).unwrap_or(now);
        *self.belief.lock() = Some(Believed { at, since: self.clock.monotonic(), on_record });
        self.keep_belief();
        Ok(())
    }

    /// Puts the time that is believed on record, where that is due.
    pub(in crate::log) fn keep_belief(&self) {
        let Some(Believed { at, since, on_record }) = *self.belief.lock() else { return };
        let now = at.saturating_add(self.clock.monotonic().saturating_sub(since));
        if on_record.is_some_and(|known| now < known.saturating_add(NOTE_EVERY)) {
            return;
        }
        match self.note_believed(now) {
            Ok(()) => {
                if let Some(believed) = self.belief.lock().as_mut() {
                    believed.on_record = Some(now);
                }
            }
            Err(error) => tracing::warn!(error = chain(&error), "the time that is believed could not be noted"),
        }
    }

    fn note_believed(&self, at: Timestamp) -> Result<()> {
        let value = at.0.to_string();
        self.apply(&[Mutation::SetMeta { name: BELIEVED.into(), value }], "clock").map(drop)
    }

    fn believed(&self) -> Result<Option<Timestamp>> {
        let known = *self.belief.lock();
        if let Some(Believed { at, since, .. }) = known {
            return Ok(Some(at.saturating_add(self.clock.monotonic().saturating_sub(since))));
        }
        match self.believed_on_record()? {
            Some(known) => Ok(Some(known)),
            None => self.newest_sealed(),
        }
    }

    fn believed_on_record(&self) -> Result<Option<Timestamp>> {
        let Some(text) = self.catalog.meta(BELIEVED)? else { return Ok(None) };
        let micros = text.parse().map_err(|error| {
            let message = format!("a value of the catalog cannot be read: name=`{BELIEVED}`");
            Error::new(ErrorKind::Corrupt, message).with_source(error)
        })?;
        Ok(Some(Timestamp(micros)))
    }

    /// All there is to go by in a catalog of an older program, or one that was made anew. Opening a log is a change too, at whatever the clock
    /// says: only what was sealed tells when the log was last used. What compaction makes has the time of what it was made from.
    fn newest_sealed(&self) -> Result<Option<Timestamp>> {
        let mut sealed: Option<Timestamp> = None;
        for collection in self.all_collections() {
            let last = self.catalog.segments_back(collection.name(), Sequence::MAX, 1)?;
            sealed = last.first().map(|row| row.sealed_at).into_iter().chain(sealed).max();
        }
        Ok(sealed)
    }
}
