//! Tiers: memory, local segments, the archive.
//!
//! Owns: what the log asks of an archive ([`Archive`]), and what an archive may ask of the log: the local file of a segment, changes
//! of the catalog, being woken when there is more to archive. The log knows no archive: it is given one
//! ([`LogOptions::archive`](super::LogOptions::archive)), and is driven by the catalog's state.
//!
//! - `lease`: who has a segment open pins it
//! - `evict`: local copies go; `due`: which are to go by rules
//! - `rehydrate`: they come back; `bring`: a file from the archive, also for a log that is being restored
//! - `purge`: they go for ever: the log's part in it

pub(crate) mod bring;
mod due;
mod evict;
mod lease;
mod purge;
mod rehydrate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

pub use self::due::{Due, EvictRules};
pub use self::evict::{EvictOptions, Evicted};
pub(in crate::log) use self::lease::{Lease, Leases};
pub use self::rehydrate::{RehydrateOptions, Rehydrated};
use super::assign::remote_of_key;
use super::recover::journals::chain;
use super::{Inner, Log};
use crate::catalog::{Group, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{File, OpenMode};
use crate::segment::ReadRange;
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

/// What the log needs of an archive.
///
/// Errors are `Unavailable` where the archive does not answer: nothing that is local waits for it.
pub trait Archive: Send + Sync + fmt::Debug {
    /// The archived bytes of a segment, by range. Nothing is fetched before a range is read.
    ///
    /// # Errors
    /// `NotFound` where the row names no archived object; `Invalid` for a key that is none.
    fn open(&self, row: &SegmentRow) -> Result<Arc<dyn ReadRange>>;

    /// As [`open`](Self::open), for who reads it once from front to end: nothing of it is kept in memory.
    ///
    /// # Errors
    /// As there.
    fn open_once(&self, row: &SegmentRow) -> Result<Arc<dyn ReadRange>>;

    /// Whether a proven copy of the segment is there, by asking the store now.
    ///
    /// # Errors
    /// What the store said.
    fn has(&self, row: &SegmentRow) -> Result<bool>;

    /// The highest sequence of a collection that any manifest names (C7); `None` where none does.
    ///
    /// # Errors
    /// What the store said.
    fn last_sequence(&self, collection: &CollectionName) -> Result<Option<Sequence>>;

    /// The highest sequence of each collection that manifests name (C7), those of homes too.
    ///
    /// # Errors
    /// What the store said: then nothing is known of any.
    fn last_sequences(&self) -> Result<BTreeMap<CollectionName, Sequence>>;
}

/// How far something has come that goes from segment to segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierProgress {
    /// Bytes of segments that are dealt with.
    pub bytes: u64,
    /// Bytes of all that may have to be.
    pub total_bytes: u64,
}

/// A segment that stayed as it is, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// Which.
    #[serde(flatten)]
    pub segment: SegmentKey,
    /// Why.
    pub reason: String,
}

/// Which segments are meant; the default is all.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted<'a> {
    /// Of all where empty.
    collections: &'a [CollectionName],
    from: Option<Sequence>,
    until: Option<Sequence>,
    from_time: Option<Timestamp>,
    until_time: Option<Timestamp>,
}

impl Wanted<'_> {
    fn has(&self, row: &SegmentRow) -> bool {
        (self.collections.is_empty() || self.collections.contains(&row.key.collection))
            && self.from.is_none_or(|from| row.key.last >= from)
            && self.until.is_none_or(|until| row.key.first <= until)
            && self.from_time.is_none_or(|from| row.timestamp_max >= from)
            && self.until_time.is_none_or(|until| row.timestamp_min <= until)
    }
}

/// Stores that did not answer while something went from segment to segment: what is theirs is left alone for the rest of it, and the others' goes on.
#[derive(Debug, Default)]
struct Silent(Vec<(Option<String>, Error)>);

impl Silent {
    fn store(row: &SegmentRow) -> Option<&str> {
        row.archive_key.as_deref().and_then(remote_of_key)
    }

    /// Why a segment is not asked for.
    fn reason(&self, row: &SegmentRow) -> Option<String> {
        let (_, error) = self.0.iter().find(|(store, _)| store.as_deref() == Self::store(row))?;
        Some(format!("its store does not answer: {}", chain(error)))
    }

    /// Notes that a segment's store did not answer.
    fn note(&mut self, row: &SegmentRow, error: Error) -> String {
        let reason = chain(&error);
        self.0.push((Self::store(row).map(str::to_owned), error));
        reason
    }

    /// The first error, where nothing else was done: whoever waits for one store is told so.
    fn settle(self, is_done: bool) -> Result<()> {
        match self.0.into_iter().next() {
            Some((_, error)) if !is_done => Err(error),
            _ => Ok(()),
        }
    }
}

fn no_archive() -> Error {
    Error::new(ErrorKind::Unavailable, "no archive was named")
        .with_hint("say where it is: `--archive URL`, or the setting `archive`")
}

/// Whether somebody archives the log: one at a time, or two of one process would fence each other.
#[derive(Clone, Debug, Default)]
pub(in crate::log) struct Seat(Arc<AtomicBool>);

/// The right to archive a log; it ends with this.
#[derive(Debug)]
pub(crate) struct ArchiverTurn(Seat);

impl Drop for ArchiverTurn {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

/// Counts segments that came to be sealed, and wakes who waits for more.
#[derive(Debug, Default)]
pub(in crate::log) struct Sealings {
    count: Mutex<u64>,
    more: Condvar,
    /// How many changes began purges.
    purges: AtomicU64,
}

impl Sealings {
    /// Wakes everybody, where `mutations` leave something to archive or to purge.
    pub fn note(&self, mutations: &[Mutation]) {
        let begins_purge =
            |mutation: &Mutation| matches!(mutation, Mutation::Transition { to: SegmentStatus::Purging, .. });
        if mutations.iter().any(begins_purge) {
            self.purges.fetch_add(1, Ordering::AcqRel);
            self.wake();
        }
        let is_sealing = |mutation: &Mutation| match mutation {
            Mutation::InsertSegment(row) => row.status == SegmentStatus::Sealed,
            Mutation::Transition { to, .. } => *to == SegmentStatus::Sealed,
            _ => false,
        };
        if mutations.iter().any(is_sealing) {
            self.wake();
        }
    }

    pub fn wake(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.more.notify_all();
    }

    fn wait(&self, seen: u64, longest: Option<Duration>) -> u64 {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *match longest {
            None => self.more.wait_while(count, |count| *count == seen).unwrap_or_else(PoisonError::into_inner),
            Some(longest) => {
                self.more
                    .wait_timeout_while(count, longest, |count| *count == seen)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        }
    }
}

impl Log {
    /// Waits until more was sealed (or a purge began) than when this returned `seen`, the log closes, somebody calls
    /// [`wake_archivers`](Self::wake_archivers), or `longest` is over. Who begins takes 0 as `seen`, then looks at the catalog, then waits. Makes no system call but to sleep.
    #[must_use]
    pub fn wait_for_sealed(&self, seen: u64, longest: Option<Duration>) -> u64 {
        self.0.sealings.wait(seen, longest)
    }

    /// Wakes everybody in [`wait_for_sealed`](Self::wait_for_sealed).
    pub fn wake_archivers(&self) {
        self.0.sealings.wake();
    }

    /// Whether it was given an archive to read from.
    pub(crate) fn has_archive(&self) -> bool {
        self.0.options.archive.is_some()
    }

    /// A number that changes when a purge begins.
    #[must_use]
    pub(crate) fn purges_begun(&self) -> u64 {
        self.0.sealings.purges.load(Ordering::Acquire)
    }

    /// Whether the log was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// The right to archive this log, and to purge from its stores, which only one has in a process; clones of a log are the same log.
    ///
    /// # Errors
    /// `Locked` where somebody has it.
    pub(crate) fn take_archiver_turn(&self) -> Result<ArchiverTurn> {
        if self.0.archiver.0.swap(true, Ordering::AcqRel) {
            let message = format!("the log has an archiver in this process already: log=`{}`", self.id());
            return Err(Error::new(ErrorKind::Locked, message).with_hint(
                "use that one: its clones are the same archiver, and it lends its stores to a purge; or drop it first",
            ));
        }
        Ok(ArchiverTurn(self.0.archiver.clone()))
    }

    /// Changes the catalog, on behalf of the archive.
    ///
    /// # Errors
    /// `Closed`; what the catalog said.
    pub(crate) fn change(&self, mutations: &[Mutation], reason: &str) -> Result<ChangeNumber> {
        self.may_change()?;
        self.0.apply(mutations, reason)
    }

    /// Several groups of changes in one transaction.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub(crate) fn change_groups(&self, groups: &[(Vec<Mutation>, &str)]) -> Result<ChangeNumber> {
        self.may_change()?;
        let at = self.0.clock.now();
        let groups: Vec<Group<'_>> = groups.iter().map(|(mutations, reason)| Group { mutations, at, reason }).collect();
        let number = self.0.catalog.apply_groups(&groups)?;
        self.0.changed(number, groups.iter().flat_map(|group| group.mutations));
        Ok(number)
    }

    pub(in crate::log) fn may_change(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the log was closed"));
        }
        if !self.0.is_writable() {
            return Err(Error::new(ErrorKind::Unavailable, "the log is open to read only"));
        }
        Ok(())
    }

    /// A file for work that the next opening clears away; it is not there.
    ///
    /// # Errors
    /// `Unavailable` where no directory takes files.
    pub(crate) fn staging_file(&self, what: &str) -> Result<std::path::PathBuf> {
        let healthy = self.0.directories.iter().find(|directory| directory.state() == super::DirectoryState::Healthy);
        let directory =
            healthy.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no directory of the log takes files"))?;
        Ok(directory.staging().join(format!("{what}-{}.tmp", self.0.next_temporary())))
    }

    /// Where the log's files are.
    pub(crate) fn file_system(&self) -> &Arc<dyn crate::fs::FileSystem> {
        &self.0.fs
    }

    /// The local file of a segment.
    ///
    /// # Errors
    /// `Unavailable` where its directory is not at hand; `NotFound` where the file is not there; what the disk said.
    pub(crate) fn segment_file(&self, row: &SegmentRow) -> Result<Arc<dyn File>> {
        let path = self.0.path_of(row).ok_or_else(|| {
            let message = format!(
                "the segment is in a directory that is not there: segment=`{}`, directory=`{}`",
                row.key, row.directory
            );
            Error::new(ErrorKind::Unavailable, message)
        })?;
        Ok(self.0.fs.open(&path, OpenMode::Read)?)
    }
}

impl Inner {
    pub(in crate::log) fn changed<'m>(&self, number: ChangeNumber, mutations: impl Iterator<Item = &'m Mutation>) {
        self.change_number.fetch_max(number.0, std::sync::atomic::Ordering::AcqRel);
        for mutation in mutations {
            self.sealings.note(std::slice::from_ref(mutation));
        }
    }
}
