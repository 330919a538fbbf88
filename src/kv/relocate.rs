//! A collection's entries on their way from the tree of one directory to that of another.
//!
//! Every record is decoded, and so checked, before it is put. The cursor goes with the last of them: until then the new tree says that it has
//! nothing of the collection.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::database::{self, CollectionState, Database};
use super::{COMPONENT, KvOptions, decode, keys, settled};
use crate::error::Result;
use crate::log::directories::{ComponentFiles, ComponentMove};

/// What the key-value store keeps in directories, for whoever empties one. Nobody else has it open meanwhile.
#[derive(Default)]
pub struct KvFiles {
    options: KvOptions,
    open: Mutex<HashMap<PathBuf, Arc<Database>>>,
}

impl std::fmt::Debug for KvFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvFiles").field("options", &self.options).finish_non_exhaustive()
    }
}

impl KvFiles {
    /// With memory and batches as for the store itself.
    #[must_use]
    pub fn new(options: KvOptions) -> Self {
        Self { options, open: Mutex::default() }
    }

    /// The tree of a directory, which stays open: thousands of collections may come from it.
    fn open(&self, directory: &Path) -> Result<Arc<Database>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.get(directory) {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(Database::open(directory, self.options.cache_bytes)?);
        open.insert(directory.to_path_buf(), Arc::clone(&database));
        Ok(database)
    }

    fn forget(&self, directory: &Path) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(directory);
    }

    fn copy_entries(&self, what: &ComponentMove<'_>) -> Result<u64> {
        let name = what.collection;
        if database::is_there(what.to)? {
            let to = self.open(what.to)?;
            if to.has_any(name)? {
                to.clear(name)?;
            }
        }
        if !database::is_there(what.from)? {
            return Ok(0);
        }
        let from = self.open(what.from)?;
        let state = settled(&from, name)?;
        if state == CollectionState::default() {
            return Ok(0);
        }
        let to = self.open(what.to)?;
        let (mut bytes, mut waiting) = (0, 0);
        let mut change = to.change();
        for entry in from.records(keys::prefix(name)) {
            let (key, value) = entry?;
            decode(name, value.clone())?;
            waiting += (key.len() + value.len()) as u64;
            change.put(&key, value.to_vec());
            if waiting >= self.options.batch_bytes {
                bytes += std::mem::take(&mut waiting);
                std::mem::replace(&mut change, to.change()).commit()?;
            }
        }
        change.set_state(name, &state);
        change.commit()?;
        Ok(bytes + waiting)
    }
}

impl ComponentFiles for KvFiles {
    fn component(&self) -> &str {
        COMPONENT
    }

    fn copy(&self, what: &ComponentMove<'_>) -> Result<u64> {
        let copied = self.copy_entries(what);
        if copied.is_err() {
            // A tree that failed a write takes no more.
            self.forget(what.from);
            self.forget(what.to);
        }
        copied
    }

    fn clear(&self, directory: &Path) -> Result<()> {
        self.forget(directory);
        database::remove(directory)
    }
}
