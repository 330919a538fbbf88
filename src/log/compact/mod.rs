//! Compaction of a log's segments (S2, S3): what the policy lets go goes, small neighbours become one.
//!
//! - `collection`: which segments of a collection must stay as they are, and why; its groups, oldest first
//! - `facts`: what need not be read again
//! - `judge`: reading a group, and what surrounds it, for the decision (`crate::compaction`)
//! - `copies`: sinks that keep old versions let go of the same, in their own files
//! - `write`: the result takes the place of what it was made from
//! - `background`: compaction by itself, and what the last one did
//! - `clock`: whether the clock is to be believed
//! - `pace`: how fast, and when it ends early
//! - `report`: what was done
//!
//! # Which segments
//!
//! Only those that are `Sealed`, were never archived and are not being archived, that every sink has, that nobody holds, that no journal has any
//! more, hot or cold (R4), and that lie in a healthy directory. All others stay as they are, byte by byte; the report says why. They still tell
//! of newer and of older versions, as far as they are here.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. The result is written in staging and synced. A crash leaves a file in staging, removed when the log opens.
//! 2. It is renamed to its name, which must be free, and the folder synced. A crash leaves a whole file without a row, whose records other
//!    segments have: recovery removes it (its footer names them).
//! 3. One transaction: its inputs become `Replaced`, its row is there. From here on readers find the result; who has an input open reads on,
//!    and goes on behind the sequences that it answered for: nothing twice, nothing left out. Had anything happened to an input since it was read
//!    (archived, moved, purged, deleted), the transaction is refused, and the result removed.
//! 4. The inputs' files go, those that nobody has open, and the folder is synced. A crash before leaves files whose rows do not want them:
//!    recovery removes them.
//!
//! Results are put in force oldest first, one at a time: a tombstone goes only when what it hid is gone for good.
//!
//! The result has the highest epoch and the newest time of its inputs, not this opening's: it is no claim of where its collection lives, and no
//! word of what time it is.

mod background;
mod clock;
mod collection;
mod copies;
mod facts;
mod judge;
mod pace;
mod report;
#[cfg(test)]
mod tests;
mod write;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

pub use self::background::{BackgroundCompaction, LastCompaction};
pub(super) use self::clock::Belief;
pub use self::copies::{Copies, CopyCompacted};
use self::pace::Pace;
pub use self::report::{CollectionCompacted, CompactProgress, CompactReport, LeftAlone, SinksCompacted};
use super::recover::journals::chain;
use super::tier::Kept;
use super::{Inner, Log};
use crate::catalog::{SegmentKey, SegmentRow};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Sequence, Timestamp};

/// Under this name the archiver keeps what it is about to send (`archive::intent`): a list, each with its `segment`.
const ATTEMPTS: &str = "archive.intents";
/// While appends go on, a journal may be released while it is read.
const JOURNAL_LOOKS: u32 = 3;

/// What to compact, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactOptions {
    /// Only these collections; all where empty.
    pub collections: Vec<CollectionName>,
    /// Changes nothing, and says what would be done.
    pub dry_run: bool,
    /// So many bytes are read and written in a second at most.
    pub bytes_per_second: Option<u64>,
    /// A segment is written anew for the records that go only where they are at least so many of a hundred.
    pub gain_percent: u64,
    /// The clock is right, however far it is ahead of the log.
    pub trust_clock: bool,
}

/// What a log keeps of its compactions while it is open.
#[derive(Debug, Default)]
pub(super) struct Compactions {
    /// Held by who compacts: one at a time.
    turn: Mutex<()>,
    /// Held while a result is put in force: closing waits for that.
    commit: Mutex<()>,
    /// What is known of segments that were looked at.
    facts: Mutex<facts::Facts>,
    /// Replaced segments whose files somebody had open.
    leftovers: Mutex<Vec<SegmentRow>>,
    /// Who compacts along.
    copies: Mutex<Option<Weak<dyn Copies>>>,
}

impl Compactions {
    /// Whoever has this looks whether the log is closed; who closes takes it once behind that. So nothing is changed in a log that somebody
    /// else has open by then.
    pub fn commit(&self) -> MutexGuard<'_, ()> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self) -> MutexGuard<'_, facts::Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leftovers(&self) -> MutexGuard<'_, Vec<SegmentRow>> {
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A compaction under way.
struct Work<'a> {
    handle: &'a Log,
    log: &'a Inner,
    options: &'a CompactOptions,
    /// What time it is; `None` where that is not believed.
    now: Option<Timestamp>,
    /// From where on each collection has records in a journal; asked for when it is first needed, since each journal is read for it.
    journaled: Option<HashMap<CollectionName, Sequence>>,
    /// What the archiver is about to send.
    attempts: Vec<SegmentKey>,
    pace: Pace<'a>,
}

/// Why something was not done to its end.
enum Halt {
    /// Somebody wants it to end.
    Interrupted,
    /// A segment of the group cannot be read, and why.
    Unreadable(usize, String),
    /// The result cannot be put in force now, and why.
    Refused(String),
    Error(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<crate::catalog::CatalogError> for Halt {
    fn from(error: crate::catalog::CatalogError) -> Self {
        Self::Error(error.into())
    }
}

impl Log {
    /// Compacts collections by their policies ([`CollectionSettings::compaction`](crate::CollectionSettings), then
    /// [`LogOptions::compaction`](crate::LogOptions)), and by the same what the [sinks](crate::sink::Sinks) of this handle keep of them. Works while the log is appended to and read; one at a time. `progress` is told how far it has come, and
    /// ends it by answering no: what was written anew by then stays so.
    ///
    /// # Errors
    /// `Conflict` while another compaction is under way, `NotFound` for an unknown collection, `Closed`, or `Unavailable` for a log that was opened
    /// to read only; what the catalog said. A disk that fails ends its collection only, and the report says so.
    pub fn compact(
        &self,
        options: &CompactOptions,
        progress: &mut dyn FnMut(CompactProgress) -> bool,
    ) -> Result<CompactReport> {
        self.compact_while(options, progress, &|| true, false)
    }

    fn compact_while(
        &self,
        options: &CompactOptions,
        progress: &mut dyn FnMut(CompactProgress) -> bool,
        wants_more: &dyn Fn() -> bool,
        by_itself: bool,
    ) -> Result<CompactReport> {
        if !options.dry_run {
            self.may_change()?;
        }
        let _turn = match self.0.compactions.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(ErrorKind::Conflict, "a compaction is under way already"));
            }
        };
        let at = self.0.clock.now();
        let names = self.names_to_compact(options)?;
        let outcome = self.compact_these(options, names, progress, wants_more);
        if !options.dry_run {
            let _commit = self.0.compactions.commit();
            if !self.is_closed() {
                self.0.note_compaction(at, by_itself, &outcome)?;
            }
        }
        outcome
    }

    fn names_to_compact(&self, options: &CompactOptions) -> Result<Vec<CollectionName>> {
        let log = &self.0;
        let mut names: Vec<CollectionName> = match &options.collections[..] {
            [] => log.all_collections().iter().filter(|it| !it.life.is_hidden()).map(|it| it.name().clone()).collect(),
            some => some.to_vec(),
        };
        names.sort();
        names.dedup();
        for name in &names {
            log.collection(name)?;
        }
        Ok(names)
    }

    fn compact_these(
        &self,
        options: &CompactOptions,
        names: Vec<CollectionName>,
        progress: &mut dyn FnMut(CompactProgress) -> bool,
        wants_more: &dyn Fn() -> bool,
    ) -> Result<CompactReport> {
        let log = &self.0;
        let now = log.clock.now();
        let mut report = CompactReport { dry_run: options.dry_run, ..CompactReport::default() };
        report.clock = self.clock_problem(now, options.trust_clock)?;
        if options.trust_clock && report.clock.is_none() && !options.dry_run {
            self.trust_clock(now)?;
        }
        if let Some(why) = &report.clock {
            tracing::warn!(why, "nothing expires");
        }
        if !options.dry_run {
            log.remove_leftovers(&mut report.left);
        }
        let goes_on = Cell::new(true);
        let may_go_on = || goes_on.get() && wants_more() && !self.is_closed();
        let mut work = Work {
            handle: self,
            log,
            options,
            now: report.clock.is_none().then_some(now),
            journaled: None,
            attempts: log.attempts()?,
            pace: Pace::new(Arc::clone(&log.clock), options.bytes_per_second, &may_go_on),
        };
        let mut told = CompactProgress::default();
        for name in &names {
            told.total_bytes += work.bytes(name)?;
        }
        for name in names {
            if !may_go_on() {
                break;
            }
            // The rows of one collection at a time are in memory.
            let rows = work.rows(&name)?;
            let mut tell = |bytes: u64| {
                told.bytes += bytes;
                goes_on.set(progress(told));
            };
            let mut of = work.collection(name, rows, &mut tell, &mut report.left)?;
            if may_go_on() {
                work.copies(&mut of)?;
            }
            if of.is_worth_telling() {
                report.collections.push(of);
            }
        }
        report.is_interrupted = !may_go_on();
        Ok(report)
    }

    fn journaled_while_appending(&self) -> Result<HashMap<CollectionName, Sequence>> {
        let mut looks = 0;
        loop {
            looks += 1;
            match self.journaled() {
                Err(error) if looks < JOURNAL_LOOKS => tracing::debug!(error = chain(&error), "a journal went"),
                found => return found,
            }
        }
    }
}

impl Inner {
    /// What the archiver is about to send, or may have sent. Its object may count already, though the row does not say so.
    fn attempts(&self) -> Result<Vec<SegmentKey>> {
        #[derive(serde::Deserialize)]
        struct Attempt {
            segment: SegmentKey,
        }
        let Some(text) = self.catalog.meta(ATTEMPTS)? else { return Ok(Vec::new()) };
        let attempts: Vec<Attempt> = serde_json::from_str(&text).map_err(|error| {
            let message = format!("a value of the catalog cannot be read: name=`{ATTEMPTS}`");
            Error::new(ErrorKind::Corrupt, message).with_source(error)
        })?;
        Ok(attempts.into_iter().map(|attempt| attempt.segment).collect())
    }

    /// Removes the files of replaced segments that nobody has open any more.
    fn remove_leftovers(&self, left: &mut Vec<Kept>) {
        let rows = std::mem::take(&mut *self.compactions.leftovers());
        self.remove_replaced(&rows, left);
    }
}
