//! The columnar store: a sink that keeps each collection as Parquet files, which any tool reads and search scans.
//!
//! - [`names`]: keys of files and states; [`homes`]: where a collection's are
//! - [`state`]: which files count, and the cursor; `load` finds the one that counts
//! - `columns`, `write`: records as columns, columns as a file
//! - [`mod@file`], [`rows`]: reading a row group's columns
//! - [`view`]: a snapshot of a collection; `footers`: what of its files is in memory
//! - `collection`: applying, raising the floor, clearing
//! - `merge`: small files become one; `compact`: what the collection's policy lets go goes
//! - [`relocate`]: from one directory to another
//!
//! Owns: files, states, cursors. Does not own: when batches come (`sink`), where collections are assigned (`log`), what vectors are
//! (`vector`), finding the nearest (`search`). Local or remote, the code is the same: an [`ObjectStore`](crate::objects::ObjectStore) makes objects whole,
//! durable and once.
//!
//! # A change, and why a crash between any two steps is safe
//!
//! 1. The new file is put, under a name that has the number of the next state and a digest of the bytes. A crash, or a disk that is full,
//!    leaves nothing or a whole file that nothing names. The same batch again makes the same bytes under the same name, which is there
//!    then; another batch makes another name. What is left over is deleted when the collection is next opened.
//! 2. The next state is put. **This is the change**: files, cursor and floor count from now on, all together, behind data that is durable.
//!    Two writers cannot both do it: the second finds the number taken, or a higher one there, and is told of a conflict. Where the
//!    outcome is unknown, the next call looks.
//! 3. States before the last two are deleted; where files were taken out (floor, merging, compaction), all older states, then the files. A crash leaves what nothing
//!    names.
//!
//! What is deleted was superseded by a state that is durable, and its name is never used again: its number is taken. So it cannot matter
//! how late a delete arrives, or that a writer which was overtaken still sweeps: it knows only numbers that are taken.
//!
//! # What is read
//!
//! A [`View`] is one state. Files that it names stay while it is held by anybody in this process. Every byte that is read is checked: the
//! state by its SHA-256, the footer by the state, columns and key filters by the footer.

mod collection;
mod columns;
mod compact;
pub mod file;
mod footers;
pub mod homes;
mod load;
mod merge;
pub mod names;
pub mod relocate;
pub mod rows;
pub mod state;
pub mod view;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use columns::Column;
pub use file::{RowGroup, StoreFile};
pub use homes::{DirectoryHomes, Home, Homes, LOCAL_FOLDER, REMOTE_PREFIX};
pub use names::{FileName, StateNumber};
pub use relocate::StoreFiles;
pub use rows::{Rows, Vectors};
pub use state::{FileEntry, State};
pub use view::{Records, View};

use crate::clock::Clock;
use crate::compaction::{Freed, Order};
use crate::error::Result;
use crate::sink::{Batch, Cursor, Sink};
use crate::types::{CollectionName, LogId, Sequence};
use collection::Collection;
use footers::Footers;

/// The name of the sink.
pub const NAME: &str = "store";
/// The component whose assignment says which directory a collection's files are in.
pub const COMPONENT: &str = "storage";

/// How the store keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The size that files are merged to, in bytes: 64 MiB.
    pub file_bytes: u64,
    /// From more small files in a collection than this on they are merged with the next batch; 0 never does. 16.
    pub merge_files: usize,
    /// How many bytes of records a batch has at most: 8 MiB.
    pub batch_bytes: u64,
    /// How many bytes of the files' footers stay in memory, at most: 32 MiB. Others are read when they are needed.
    pub footer_bytes: usize,
    /// Another process writes: what counts is looked up for each view.
    pub read_only: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { file_bytes: 64 << 20, merge_files: 16, batch_bytes: 8 << 20, footer_bytes: 32 << 20, read_only: false }
    }
}

/// The columnar store of a log. See the module for what it promises beyond [`Sink`].
pub struct ColumnarStore {
    inner: Inner,
    collections: Mutex<HashMap<CollectionName, Arc<Collection>>>,
}

/// What every collection needs.
struct Inner {
    log: LogId,
    homes: Arc<dyn Homes>,
    clock: Arc<dyn Clock>,
    options: StoreOptions,
    footers: Arc<Footers>,
}

impl fmt::Debug for ColumnarStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnarStore").field("homes", &self.inner.homes).finish_non_exhaustive()
    }
}

impl ColumnarStore {
    /// The store of a log. Nothing is opened or looked at yet.
    #[must_use]
    pub fn new(log: LogId, homes: Arc<dyn Homes>, clock: Arc<dyn Clock>, options: StoreOptions) -> Self {
        let footers = Arc::new(Footers::new(options.footer_bytes));
        Self { inner: Inner { log, homes, clock, options, footers }, collections: Mutex::default() }
    }

    fn collection(&self, name: &CollectionName) -> Arc<Collection> {
        let mut collections = self.collections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(collection) = collections.get(name) {
            return Arc::clone(collection);
        }
        let collection = Arc::new(Collection::new(name.clone()));
        collections.insert(name.clone(), Arc::clone(&collection));
        collection
    }

    /// What the store holds of a collection now; `None` where it has nothing of it.
    ///
    /// # Errors
    /// `Corrupt` where no state can be read; what the home said.
    pub fn view(&self, name: &CollectionName) -> Result<Option<View>> {
        let collection = self.collection(name);
        let loaded = if self.inner.options.read_only {
            collection.look(&self.inner)?
        } else {
            collection.current(&self.inner)?
        };
        Ok(loaded.snapshot.map(|snapshot| View::new(name.clone(), snapshot)))
    }

    /// Merges small files of a collection, and says what that did.
    ///
    /// # Errors
    /// As [`Sink::apply`]; what was merged before stays merged.
    pub fn merge(&self, name: &CollectionName) -> Result<Freed> {
        self.collection(name).merge(&self.inner)
    }

    /// Bytes of footers that are kept in memory now, and of how many files.
    #[must_use]
    pub fn footers_held(&self) -> (usize, usize) {
        self.inner.footers.held()
    }

    /// Deletes files that are superseded and that no view reads any more. Happens with each change too.
    ///
    /// # Errors
    /// What the home said.
    pub fn tidy(&self, name: &CollectionName) -> Result<()> {
        self.collection(name).tidy(&self.inner)
    }
}

impl Sink for ColumnarStore {
    fn name(&self) -> &str {
        NAME
    }

    fn cursor(&self, collection: &CollectionName) -> Result<Option<Cursor>> {
        let loaded = self.collection(collection).look(&self.inner)?;
        Ok(loaded.snapshot.and_then(|snapshot| snapshot.state.cursor))
    }

    fn apply(&self, batch: &Batch<'_>) -> Result<()> {
        self.collection(batch.collection).apply(&self.inner, batch)
    }

    fn raise_floor(&self, collection: &CollectionName, floor: Sequence) -> Result<()> {
        self.collection(collection).raise_floor(&self.inner, floor)
    }

    fn compact(&self, collection: &CollectionName, order: &mut Order<'_>) -> Result<Option<Freed>> {
        Ok(Some(compact::by_policy(&self.collection(collection), &self.inner, order)))
    }

    /// Also where its states are damaged.
    fn clear(&self, collection: &CollectionName) -> Result<()> {
        self.collection(collection).clear(&self.inner)
    }

    fn batch_bytes(&self) -> u64 {
        self.inner.options.batch_bytes
    }
}

#[cfg(test)]
mod tests;
