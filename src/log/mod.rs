//! The log: append, seal, recover, read.
//!
//! - [`mod@open`], `places`, `identity`: opening, which directories there are, the lock, one writer (A1, A3, A6)
//! - [`catalog`]: the catalog's engine and file, and changing them
//! - [`recover`]: what a crash left
//! - `append`, `budget`, `collection`: from records to an acknowledged place, back-pressure, sequences and marks
//! - [`seal`], `cold`, `keeper`: from journals to segments and cold journals, release (R1 to R5)
//! - [`assign`]: which directory a collection goes to, and what directories hold
//! - [`life`]: making and deleting collections, and their settings
//! - `moves`: from one directory to another (J7, A2)
//! - [`read`]: reading and following
//! - [`verify`]: proving that everything is there; the state of the log
//! - [`compact`]: segments written anew, without what the policy lets go
//! - [`directories`]: adding, draining, listing and forgetting directories; homes in object stores
//! - `subscribe`: what delivery to sinks asks of the log
//! - [`tier`]: memory, local segments, the archive; what log and archive ask of each other
//! - [`figures`]: how long appends take, told to other processes too
//! - `damage`: how damage is reported
//! - `options`: what a log is opened with
//!
//! Knows no archive, no sink, no command line.

mod append;
#[cfg(feature = "tokio")]
mod append_async;
pub mod assign;
mod budget;
mod came_back;
pub mod catalog;
mod cold;
mod collection;
pub mod compact;
#[cfg(any(test, feature = "testing"))]
mod contents;
mod damage;
pub mod directories;
pub mod figures;
mod gaps;
pub mod identity;
mod keeper;
pub mod life;
mod moves;
pub mod open;
pub mod options;
mod places;
pub mod read;
pub mod recover;
pub mod seal;
pub mod subscribe;
#[cfg(test)]
mod tests;
pub mod tier;
pub mod verify;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub use append::{RECORD_OVERHEAD_BYTES, Receipt};
pub use assign::{AssignmentChange, Assignments, DirectoryStatistics};
pub use budget::{Limit, Pressure};
pub use collection::{Collection, Waiter};
pub use damage::Damaged;
pub use life::{
    CollectionSettings, CompactionSettings, Deletion, EffectiveSetting, Keep, LegalHold, Retention, SettingFrom,
    TooLate,
};
pub use moves::MoveReport;
pub use options::{AppendOptions, FlushTriggers, Limits, LogOptions, SyncMode};
pub use read::{CollectionInfo, JournalInfo, JournalUse, ReadOptions, Reader, SkipReason, Skipped};
pub use subscribe::AbandonedSink;
pub use verify::{Missing, Status, Verified, VerifyOptions, VerifyProgress, VerifyReport};

use self::budget::Budget;
use self::collection::{Home, Standing};
use crate::catalog::{Catalog, CatalogError, Mutation};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, LockGuard};
use crate::journal::{Committer, Journal, JournalFile, JournalFiles};
use crate::types::{ChangeNumber, CollectionName, Epoch, LogId, Sequence};

/// An open log. Cheap to clone; all clones are the same log, which closes when the last one is dropped, or by
/// [`close`](Self::close).
#[derive(Clone, Debug)]
pub struct Log(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    fs: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    catalog: Arc<dyn Catalog>,
    /// Its file; `None` where the options gave a catalog.
    catalog_path: Option<PathBuf>,
    mirror: catalog::choose::Mirror,
    change_number: Arc<AtomicU64>,
    log_id: LogId,
    epoch: Epoch,
    directories: Vec<Directory>,
    collections: RwLock<HashMap<CollectionName, Arc<Collection>>>,
    /// How many of them live in each directory.
    placement: assign::Placement,
    /// The remotes, and what of homes is on record.
    homes: assign::Homes,
    /// Made since the catalog was last told.
    unintroduced: Mutex<Vec<Arc<Collection>>>,
    lives: life::Lives,
    /// Moves of which the catalog does not know yet.
    moved: Mutex<Vec<moves::Moved>>,
    /// The newest epoch: of this opening, or of the last move.
    newest_epoch: Mutex<Epoch>,
    /// Up to which epoch the catalog knows every move.
    noted_epoch: AtomicU64,
    /// Held while journals are released: each is released once.
    releasing: Mutex<()>,
    /// How many directories are being left now.
    leaving: AtomicU64,
    budget: Arc<Budget>,
    limits: Limits,
    mode: AtomicU8,
    options: LogOptions,
    temporary: AtomicU64,
    closed: AtomicBool,
    /// Closing is over: nothing more becomes durable.
    ended: AtomicBool,
    /// Footers kept for `get`.
    footers: read::Footers,
    /// Follows the journals of a writer in another process; `None` where this log writes itself.
    companion: Option<Mutex<read::Companion>>,
    /// Why no collection can be known to be new, where that is so.
    uncertain: Option<recover::Uncertain>,
    appends: AtomicU64,
    counters: figures::Counters,
    /// When they were told to other processes, on the monotonic clock, and how many appends there were.
    told_at_ms: AtomicU64,
    told_appends: AtomicU64,
    /// When every collection was last looked at, on the monotonic clock.
    looked_at_ms: AtomicU64,
    /// The workers sleep long: the next append must wake them.
    quiet: Arc<AtomicBool>,
    report: recover::Report,
    /// How much there is to archive.
    sealings: tier::Sealings,
    /// Cursors of earlier epochs that were found good, by sink and collection.
    believed: Mutex<HashMap<(String, CollectionName), (Epoch, Sequence)>>,
    /// Which segments somebody has open.
    leases: tier::Leases,
    /// Whether somebody archives it.
    archiver: tier::Seat,
    /// Held by who moves segments between tiers: one at a time.
    tier_turn: Mutex<()>,
    compactions: compact::Compactions,
    belief: compact::Belief,
    workers: Mutex<keeper::Workers>,
}

/// A directory of an open log.
pub(crate) struct Directory {
    /// Its id.
    id: String,
    /// Where it is.
    path: PathBuf,
    /// What it is good for now.
    state: Mutex<DirectoryState>,
    /// `None` where the log is open to read only, or the directory takes no appends.
    journal: Option<Journal>,
    files: Option<Arc<JournalFiles>>,
    cold: Mutex<Vec<Arc<JournalFile>>>,
    committer: Mutex<Option<Committer>>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

/// What a directory of an open log is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DirectoryState {
    /// Everything.
    #[default]
    Healthy,
    /// It was drained: it takes no collections, and can be taken away once it is empty.
    Drained,
    /// Writing to it failed, and why: its collections live elsewhere, as far as that was possible. What it holds is read from it
    /// as far as it can be read (A2).
    Failed(String),
    /// It is not there, or is not the one it should be, and why: what it holds is not known (A3).
    Missing(String),
}

impl DirectoryState {
    /// The word that operators see: `healthy`, `failed`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Drained => "drained",
            Self::Failed(_) => "failed",
            Self::Missing(_) => "missing",
        }
    }

    /// Why it is not healthy, where there is more to say.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Healthy | Self::Drained => None,
            Self::Failed(why) | Self::Missing(why) => Some(why),
        }
    }
}

impl Directory {
    fn state(&self) -> DirectoryState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn cold(&self) -> MutexGuard<'_, Vec<Arc<JournalFile>>> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn staging(&self) -> PathBuf {
        self.path.join(identity::FOLDER).join(seal::STAGING)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths: Vec<&Path> = self.directories.iter().map(|directory| directory.path.as_path()).collect();
        f.debug_struct("Log").field("id", &self.log_id).field("directories", &paths).finish_non_exhaustive()
    }
}

impl Log {
    /// The log's identity.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.0.log_id
    }

    /// The number of this opening.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// What recovery found when the log was opened.
    #[must_use]
    pub fn recovery(&self) -> &recover::Report {
        &self.0.report
    }

    /// The directories of the log by id, and where each is.
    #[must_use]
    pub fn directories(&self) -> Vec<(String, PathBuf)> {
        self.0.directories.iter().map(|directory| (directory.id.clone(), directory.path.clone())).collect()
    }

    /// How long records are kept of collections that have no setting of their own.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.0.options.retention
    }

    /// The catalog, for look-ups.
    #[must_use]
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.0.catalog
    }

    /// When appends return from now on. Switching to a stronger mode first syncs what was written (D2).
    ///
    /// # Errors
    /// The sync failed; the mode is the old one.
    pub fn set_sync_mode(&self, mode: SyncMode) -> Result<()> {
        if mode.is_synced() {
            self.sync()?;
        }
        self.0.mode.store(mode as u8, Ordering::Release);
        if mode.is_synced() {
            // What was written in the old mode between the first sync and the switch.
            self.sync()?;
        }
        self.0.tell_journals_of_periodic(mode);
        Ok(())
    }

    /// Whether appends have to wait, and for what.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        self.0.budget.pressure()
    }

    /// Makes everything appended so far durable, in whatever mode it was appended.
    ///
    /// # Errors
    /// A sync failed: that directory's journal takes no more appends.
    pub fn sync(&self) -> Result<()> {
        for directory in self.0.directories.iter().filter(|directory| directory.journal.is_some()) {
            self.0.check_left(directory)?;
        }
        self.0.sync_all()
    }

    /// Seals what is appended so far, of one collection or of all, whatever its size; returns how many segments were made.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection; what the disk or the catalog said. Nothing is lost by a failed seal.
    pub fn seal(&self, collection: Option<&CollectionName>) -> Result<u64> {
        self.sync()?;
        match collection {
            Some(name) => self.0.seal_or_suspect(&*self.0.collection(name)?),
            None => {
                let mut sealed = 0;
                let mut failed = None;
                for collection in self.0.all_collections() {
                    match self.0.seal_or_suspect(&collection) {
                        Ok(segments) => sealed += segments,
                        // One that cannot be sealed keeps no other from it.
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
                failed.map_or(Ok(sealed), Err)
            }
        }
    }

    /// Closes the log in good order: what was written is synced, and the journals say so. Clones of this log fail with
    /// `Closed` from now on.
    ///
    /// # Errors
    /// Something could not be made durable; the log is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }

    /// Does now what the log's threads would do sooner or later: tells the catalog of new collections, seals and cools under
    /// pressure, releases journals, marks idle ones. For logs opened without threads.
    ///
    /// # Errors
    /// What the disk or the catalog said.
    pub fn maintain(&self) -> Result<()> {
        self.0.maintain()?;
        for directory in &self.0.directories {
            if let Some(journal) = directory.working_journal() {
                journal.mark().map_err(|error| Error::new(ErrorKind::Unavailable, error.to_string()))?;
            }
        }
        Ok(())
    }
}

impl Inner {
    fn collections(&self) -> std::sync::RwLockReadGuard<'_, HashMap<CollectionName, Arc<Collection>>> {
        self.collections.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_collections(&self) -> Vec<Arc<Collection>> {
        let mut all: Vec<_> = self.collections().values().map(Arc::clone).collect();
        all.sort_by(|one, other| one.name().cmp(other.name()));
        all
    }

    /// A collection that must be there.
    pub(crate) fn collection(&self, name: &CollectionName) -> Result<Arc<Collection>> {
        let known = self.collections().get(name).map(Arc::clone);
        self.must_be_there(name, known)
    }

    /// A collection to append to, made where it is new.
    fn collection_for_append(&self, name: &CollectionName) -> Result<Arc<Collection>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the log was closed"));
        }
        self.appends.fetch_add(1, Ordering::Relaxed);
        if let Some(known) = self.collections().get(name) {
            return Ok(Arc::clone(known));
        }
        if !self.options.auto_create {
            return Err(self.may_not_create(name));
        }
        self.may_be_new(name)?;
        let (collection, is_new) = self.make_collection(name, None, |_| {})?;
        if is_new {
            // The catalog learns of it later: the journal's table names it, so a crash before loses nothing, and no
            // append waits for the catalog (R1).
            self.unintroduced.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&collection));
        }
        Ok(collection)
    }

    /// Refuses a collection that may be in a directory of which nobody knows what it holds.
    fn may_be_new(&self, name: &CollectionName) -> Result<()> {
        let Some(recover::Uncertain { why, .. }) = &self.uncertain else { return Ok(()) };
        let message = format!("the collection may be in a directory that is missing: collection=`{name}`, {why}");
        Err(Error::new(ErrorKind::Unavailable, message).with_hint("mount the directory, or `directory forget` it"))
    }

    /// Puts a collection of that name among those of the log, unless there is one; whether it is new. Its home is the one that is `wanted`, or
    /// the policy's choice. `begin` is called before
    /// anybody sees it.
    fn make_collection(
        &self,
        name: &CollectionName,
        wanted: Option<assign::SegmentsAt>,
        begin: impl FnOnce(&life::Life),
    ) -> Result<(Arc<Collection>, bool)> {
        self.refresh_figures();
        let mut collections = self.collections.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = collections.get(name) {
            return Ok((Arc::clone(known), false));
        }
        // Under the lock: of two new ones, the second is placed after the first counts; and who gives a directory up marks it before he
        // looks at every collection.
        let chosen = match self.homes.on_record(name).or(wanted) {
            Some(at) => self.choose_directory(name, &[]).map(|directory| (directory, at)),
            None => self.choose_place(name),
        };
        let (directory, at) = chosen.ok_or_else(|| self.no_directory(name))?;
        self.placement.added(directory, at);
        let journal = self.directories[directory].journal.clone();
        let home = Home { directory, journal, epoch: self.epoch, from: Sequence::FIRST };
        let collection =
            Arc::new(Collection::new(name.clone(), home, Arc::clone(&self.budget), Standing::empty(), &*self.clock));
        collection.set_segments_at(at);
        begin(&collection.life);
        collections.insert(name.clone(), Arc::clone(&collection));
        Ok((collection, true))
    }

    fn apply(&self, mutations: &[Mutation], reason: &str) -> Result<ChangeNumber> {
        let number = self.catalog.apply(mutations, self.clock.now(), reason)?;
        self.changed(number, mutations.iter());
        Ok(number)
    }

    fn next_temporary(&self) -> u64 {
        self.temporary.fetch_add(1, Ordering::Relaxed)
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        let kind = match &error {
            CatalogError::Refused(_) => ErrorKind::Conflict,
            CatalogError::NotFound { .. } => ErrorKind::NotFound,
            CatalogError::Damaged { .. } => ErrorKind::Corrupt,
            CatalogError::Newer { .. } => ErrorKind::Unsupported,
            CatalogError::Unavailable { .. } => ErrorKind::Unavailable,
            CatalogError::Full { .. } => ErrorKind::Full,
            CatalogError::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            _ => ErrorKind::Internal,
        };
        let hint = match &error {
            CatalogError::NotFound { .. } => Some("`recover` makes it anew from the directories"),
            CatalogError::Damaged { .. } => Some(
                "`catalog check` says what is wrong; `catalog rebuild` makes it anew from the directories and what it can still read of it",
            ),
            CatalogError::Newer { .. } => Some("use the icecore that wrote it, or a newer one"),
            _ => None,
        };
        let shown = Self::new(kind, error.to_string()).with_source(error);
        match hint {
            Some(hint) => shown.with_hint(hint),
            None => shown,
        }
    }
}

impl From<crate::memtable::RunError> for Error {
    fn from(error: crate::memtable::RunError) -> Self {
        match error {
            crate::memtable::RunError::Fs(error) => error.into(),
            damaged @ crate::memtable::RunError::Damaged { .. } => Self::new(ErrorKind::Corrupt, damaged.to_string()),
        }
    }
}
