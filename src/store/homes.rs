//! Where a collection's files are: a store and a prefix.
//!
//! Owns: the seam to whoever assigns places ([`Homes`]), and the two homes that everybody needs: one store for all collections, and local
//! directories. Does not own: the assignment, which is the log's.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::FileSystem;
use crate::objects::{LocalObjectStore, ObjectErrorKind, ObjectKey, ObjectStore};
use crate::types::CollectionName;

/// The folder of the store in a local directory.
pub const LOCAL_FOLDER: &str = ".store";
/// What the keys begin with in an object store that has other things too, such as an archive. Not `_store/`: a local directory that is an
/// object store keeps its marker under that name.
pub const REMOTE_PREFIX: &str = "_columns/";

/// A store, and what the keys in it begin with.
#[derive(Clone, Debug)]
pub struct Home {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// Empty, or parts of a key that end in `/`.
    prefix: String,
}

impl Home {
    /// All of a store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, prefix: String::new() }
    }

    /// What is below `prefix` in a store: parts of a key that end in `/`.
    ///
    /// # Errors
    /// `Invalid` for what no key can begin with.
    pub fn below(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let Some(parts) = prefix.strip_suffix('/') else {
            let message = format!("a prefix does not end in `/`: prefix=`{prefix}`");
            return Err(Error::new(ErrorKind::Invalid, message));
        };
        ObjectKey::new(parts)?;
        Ok(Self { store, prefix: prefix.to_owned() })
    }

    /// What the keys begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Knows where each collection's files are.
pub trait Homes: Send + Sync + fmt::Debug {
    /// The home of a collection; the same for as long as the store is open.
    ///
    /// # Errors
    /// Why it cannot be told, or is not there.
    fn home(&self, collection: &CollectionName) -> Result<Home>;
}

/// Every collection in one place.
impl Homes for Home {
    fn home(&self, _: &CollectionName) -> Result<Home> {
        Ok(self.clone())
    }
}

type Assign = dyn Fn(&CollectionName) -> Result<PathBuf> + Send + Sync;

/// Local directories: each collection in `{directory}/.store` of the directory that it is assigned to.
pub struct DirectoryHomes {
    fs: Arc<dyn FileSystem>,
    assign: Box<Assign>,
    writes: bool,
    stores: Mutex<HashMap<PathBuf, Arc<LocalObjectStore>>>,
}

impl fmt::Debug for DirectoryHomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryHomes").field("writes", &self.writes).finish_non_exhaustive()
    }
}

impl DirectoryHomes {
    /// For the process that writes: makes the folder of a directory where it is absent, and clears away what killed puts left.
    pub fn to_write(
        fs: Arc<dyn FileSystem>,
        assign: impl Fn(&CollectionName) -> Result<PathBuf> + Send + Sync + 'static,
    ) -> Self {
        Self { fs, assign: Box::new(assign), writes: true, stores: Mutex::default() }
    }

    /// For processes that only read.
    pub fn to_read(
        fs: Arc<dyn FileSystem>,
        assign: impl Fn(&CollectionName) -> Result<PathBuf> + Send + Sync + 'static,
    ) -> Self {
        Self { fs, assign: Box::new(assign), writes: false, stores: Mutex::default() }
    }

    fn open(&self, directory: &Path) -> Result<Arc<LocalObjectStore>> {
        let folder = directory.join(LOCAL_FOLDER);
        if !self.writes {
            return Ok(Arc::new(LocalObjectStore::new(Arc::clone(&self.fs), folder)));
        }
        // The directory itself must be there: an empty mount point is not filled.
        self.fs.metadata(directory)?;
        let store = LocalObjectStore::new(Arc::clone(&self.fs), folder.as_path());
        let store = match store.clear_staging() {
            Ok(()) => store,
            Err(error) if error.kind == ObjectErrorKind::Unavailable => {
                LocalObjectStore::create(Arc::clone(&self.fs), folder)?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Arc::new(store))
    }
}

impl Homes for DirectoryHomes {
    fn home(&self, collection: &CollectionName) -> Result<Home> {
        let directory = (self.assign)(collection)?;
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&directory) {
            return Ok(Home::new(Arc::clone(store) as _));
        }
        let store = self.open(&directory)?;
        stores.insert(directory, Arc::clone(&store));
        Ok(Home::new(store))
    }
}
