//! Whether the clock is to be believed (S3).

use std::time::Duration;

use crate::error::Result;
use crate::log::Log;
use crate::types::{ChangeNumber, Sequence, Timestamp};

/// By so much the clock may be behind the newest change: clocks are set by small steps.
const BEHIND: Duration = Duration::from_mins(1);
/// A clock that is ahead of everything in the log by more than this is not believed.
const AHEAD: Duration = Duration::from_hours(24 * 366);

impl Log {
    /// Why nothing may go by what the clock says, where that is so: it is behind the newest change, or, unless `trust_ahead`, far ahead of
    /// everything in the log.
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
        // Opening a log is a change too, at whatever the clock says: only what was sealed tells when the log was last used. What compaction
        // makes has the time of what it was made from.
        let mut sealed: Option<Timestamp> = None;
        for collection in self.0.all_collections() {
            let last = catalog.segments_back(collection.name(), Sequence::MAX, 1)?;
            sealed = last.first().map(|row| row.sealed_at).into_iter().chain(sealed).max();
        }
        Ok(sealed.filter(|sealed| sealed.saturating_add(AHEAD) < now).map(|sealed| {
            format!("the clock is far ahead of everything in the log: now=`{now}`, newest segment sealed at=`{sealed}`")
        }))
    }
}
