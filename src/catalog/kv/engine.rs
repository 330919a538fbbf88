//! The seam between the catalog and an engine: one tree of byte strings, in transactions.
//!
//! An engine is thin: it opens a file, begins transactions, reads, walks, writes, commits, and says what went wrong in the
//! words of the contract. What keys and values mean is not its business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Weak};

use super::open::Shared;
use crate::catalog::{CatalogError, CatalogResult, Engine};

/// Goes on with the next entry, or not.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> CatalogResult<bool>;

/// The entries as one transaction sees them. Keys are compared byte by byte.
pub trait Read {
    /// The catalog's file, for errors.
    fn path(&self) -> &Path;

    /// The value under a key. Keys are never empty, and never longer than [`KEY_BYTES_MAX`](super::keys::KEY_BYTES_MAX).
    ///
    /// # Errors
    /// Why the engine could not. The same holds for every method here.
    fn get(&self, key: &[u8]) -> CatalogResult<Option<Vec<u8>>>;

    /// Visits entries in order from the first whose key is not below `from`, until told to stop.
    fn scan(&self, from: &[u8], visit: Visit<'_>) -> CatalogResult<()>;

    /// Visits entries backwards from the last whose key is below `below`, until told to stop.
    fn scan_back(&self, below: &[u8], visit: Visit<'_>) -> CatalogResult<()>;
}

/// The one transaction that writes; undone when dropped. It stays on the thread that began it.
pub trait Write: Read + Sized {
    /// Puts a value under a key, in place of the one there.
    fn put(&mut self, key: &[u8], value: &[u8]) -> CatalogResult<()>;

    /// Like `put`, for a key above every key there: faster, and pages are filled.
    fn append(&mut self, key: &[u8], value: &[u8]) -> CatalogResult<()>;

    /// Removes a key; whether it was there.
    fn delete(&mut self, key: &[u8]) -> CatalogResult<bool>;

    /// Makes it durable: every page, then the page that names them as the newest state, each synced before this returns.
    ///
    /// # Errors
    /// [`CatalogError::Full`] or [`CatalogError::Unavailable`] where nothing changed, [`CatalogError::OutcomeUnknown`]
    /// otherwise.
    fn commit(self) -> CatalogResult<()>;
}

/// What may be done with an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read and write.
    Writing,
    /// To read only, registered in the lock file, so that a writer keeps what is being read.
    Reading,
    /// To read only where the lock file cannot even be made, and so nobody writes.
    Unlocked,
}

/// How to open an environment.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What may be done with it.
    pub access: Access,
    /// How large the file can grow, in bytes.
    pub map_bytes: u64,
    /// Whether the bound of a file that is there may be changed: it is known to be a catalog.
    pub may_rebound: bool,
}

/// Why an environment could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The system forbids this access.
    Denied(CatalogError),
    /// Anything else.
    Failed(CatalogError),
}

impl From<OpenError> for CatalogError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Denied(error) | OpenError::Failed(error) => error,
        }
    }
}

/// Environments that are open in this process, by the canonical paths of their files.
pub type Registry<E> = Mutex<BTreeMap<PathBuf, Weak<Shared<E>>>>;

/// What an environment says of its file.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Bytes of the file that hold pages, as the newest state has it.
    pub used_bytes: u64,
    /// Bytes that the map has room for.
    pub map_bytes: u64,
}

/// An open file of an engine.
pub trait Environment: Send + Sync + Sized + 'static {
    /// Its name.
    const ENGINE: Engine;
    /// A transaction that reads.
    type Reading<'a>: Read
    where
        Self: 'a;
    /// A transaction that writes.
    type Writing<'a>: Write
    where
        Self: 'a;

    /// The environments of this engine that are open in this process, by the canonical paths of their files.
    fn registry() -> &'static Registry<Self>;

    /// Opens the file `path`, and makes it where there is none or an empty one.
    ///
    /// # Errors
    /// Why the engine could not, and whether that was because the system forbids it.
    fn open(path: &Path, options: Options) -> Result<Self, OpenError>;

    /// How much of the file is in use. Reads no page but those at the beginning that name the newest state.
    fn extent(&self) -> CatalogResult<Extent>;

    /// Whether every page that the newest state uses lies within the file, although the file ends before the last page.
    fn is_whole(&self) -> CatalogResult<bool>;

    /// Begins to read.
    fn read(&self) -> CatalogResult<Self::Reading<'_>>;

    /// Begins to write; waits while anyone else does, also in another process.
    fn write(&self) -> CatalogResult<Self::Writing<'_>>;
}

/// Damage found in a row or an entry.
pub fn damaged<T>(read: &dyn Read, what: String) -> CatalogResult<T> {
    Err(CatalogError::Damaged { path: read.path().display().to_string(), what })
}
