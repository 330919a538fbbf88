//! An LSM tree in a directory.
//!
//! Owns: opening it, the words of its errors, that a change is synced when it returns. Two key spaces: `records`, and `collections`, where
//! each collection has its cursor and floor.

use std::path::Path;

use bytes::Bytes;
use fjall::{KeyspaceCreateOptions, PersistMode};

use super::{FOLDER, keys};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem as _, OsFileSystem, durable};
use crate::sink::Cursor;
use crate::types::{CollectionName, Sequence};

/// The file that makes a folder a tree: the last that is made of a new one.
const MARKER: &str = "version";
/// The file that who has the tree open holds a lock on.
const LOCK: &str = "lock";
/// Removed in one batch.
const REMOVE_AT_ONCE: usize = 10_000;

/// What is kept of a collection beside its records, as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct CollectionState {
    pub cursor: Option<Cursor>,
    pub floor: Sequence,
    /// Its records are being removed, all of them: what is there counts no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_clearing: bool,
}

pub(super) struct Database {
    tree: fjall::Database,
    records: fjall::Keyspace,
    collections: fjall::Keyspace,
    place: String,
}

/// Puts and removals that happen together or not at all.
pub(super) struct Change<'a> {
    database: &'a Database,
    batch: fjall::OwnedWriteBatch,
}

impl Database {
    /// Opens the tree of a directory, which must be there: an empty mount point is not filled.
    pub fn open(directory: &Path, cache_bytes: u64) -> Result<Self> {
        let folder = directory.join(FOLDER);
        let place = folder.display().to_string();
        if !directory.is_dir() {
            let message =
                format!("the directory of the key-value store is not there: directory=`{}`", directory.display());
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        if !is_there(directory)? {
            // What a kill left while the tree was made: it holds nothing, and cannot be opened.
            durable::remove_all(&OsFileSystem::new(), &folder, None)?;
        }
        let say = |error| failed("open", &place, error);
        let tree = fjall::Database::builder(&folder).cache_size(cache_bytes).worker_threads(1).open().map_err(say)?;
        let records = tree.keyspace("records", KeyspaceCreateOptions::default).map_err(say)?;
        let collections = tree.keyspace("collections", KeyspaceCreateOptions::default).map_err(say)?;
        Ok(Self { tree, records, collections, place })
    }

    pub fn record(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self.records.get(key).map_err(|error| failed("read", &self.place, error))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Opens the tree of a directory to look something up, where it is there and nobody has it open. It is opened as by a writer, since that
    /// is the only way; but nothing is made where there is nothing.
    ///
    /// # Errors
    /// `Locked` where another process has it open, at once.
    pub fn open_existing(directory: &Path, cache_bytes: u64) -> Result<Option<Self>> {
        if !is_there(directory)? {
            return Ok(None);
        }
        // The tree's own attempt waits, which is for writers.
        let lock = directory.join(FOLDER).join(LOCK);
        if OsFileSystem::new().try_lock(&lock)?.is_none() {
            let place = directory.join(FOLDER).display().to_string();
            return Err(failed("open", &place, fjall::Error::Locked));
        }
        Self::open(directory, cache_bytes).map(Some)
    }

    /// Every entry whose key begins with `prefix`, as it was when this was called.
    pub fn records(&self, prefix: [u8; 16]) -> impl Iterator<Item = Result<(Vec<u8>, Bytes)>> {
        self.records.prefix(prefix).map(|entry| {
            let (key, value) = entry.into_inner().map_err(|error| failed("read", &self.place, error))?;
            Ok((key.to_vec(), Bytes::copy_from_slice(&value)))
        })
    }

    pub fn state(&self, collection: &CollectionName) -> Result<CollectionState> {
        let found = self.collections.get(collection.as_str()).map_err(|error| failed("read", &self.place, error))?;
        let Some(text) = found else { return Ok(CollectionState::default()) };
        serde_json::from_slice(&text).map_err(|error| {
            let message = format!("the cursor cannot be read: store=`{}`, collection=`{collection}`", self.place);
            Error::new(ErrorKind::Corrupt, message).with_source(error)
        })
    }

    /// Whether anything of a collection is there, of whatever use.
    pub fn has_any(&self, collection: &CollectionName) -> Result<bool> {
        let is_known = self.collections.contains_key(collection.as_str());
        let is_known = is_known.map_err(|error| failed("read", &self.place, error))?;
        Ok(is_known || self.records(keys::prefix(collection)).next().is_some())
    }

    /// Takes all of a collection away.
    ///
    /// First that it counts no more, then the records, then the word of that: a crash between leaves what the next change of the collection goes on
    /// with.
    pub fn clear(&self, collection: &CollectionName) -> Result<()> {
        let mut change = self.change();
        change.set_state(collection, &CollectionState { is_clearing: true, ..CollectionState::default() });
        change.commit()?;
        let mut change = self.change();
        for entry in self.records(keys::prefix(collection)) {
            change.remove(&entry?.0);
            if change.len() >= REMOVE_AT_ONCE {
                std::mem::replace(&mut change, self.change()).commit()?;
            }
        }
        change.remove_state(collection);
        change.commit()
    }

    pub fn change(&self) -> Change<'_> {
        Change { database: self, batch: self.tree.batch().durability(Some(PersistMode::SyncAll)) }
    }
}

impl Change<'_> {
    pub fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.batch.insert(&self.database.records, key, value);
    }

    pub fn remove(&mut self, key: &[u8]) {
        self.batch.remove(&self.database.records, key);
    }

    pub fn set_state(&mut self, collection: &CollectionName, state: &CollectionState) {
        let text = serde_json::to_vec(state).expect("numbers are text");
        self.batch.insert(&self.database.collections, collection.as_str(), text);
    }

    pub fn remove_state(&mut self, collection: &CollectionName) {
        self.batch.remove(&self.database.collections, collection.as_str());
    }

    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Durable when it returns.
    pub fn commit(self) -> Result<()> {
        let place = &self.database.place;
        self.batch.commit().map_err(|error| {
            let what = failed("write", place, error);
            Error::new(ErrorKind::OutcomeUnknown, what.to_string()).with_source(what)
        })
    }
}

/// Whether a directory has a tree.
pub(super) fn is_there(directory: &Path) -> Result<bool> {
    match OsFileSystem::new().metadata(&directory.join(FOLDER).join(MARKER)) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes the tree of a directory. The marker first: without it nothing of it counts.
pub(super) fn remove(directory: &Path) -> Result<()> {
    let (fs, folder) = (OsFileSystem::new(), directory.join(FOLDER));
    if is_there(directory)? {
        durable::remove(&fs, &folder.join(MARKER))?;
    }
    Ok(durable::remove_all(&fs, &folder, None)?)
}

fn failed(operation: &str, place: &str, error: fjall::Error) -> Error {
    let (kind, hint) = match &error {
        fjall::Error::Locked => (ErrorKind::Locked, "another process has it open: one at a time"),
        fjall::Error::InvalidVersion(_) => (ErrorKind::Unsupported, "it was written by another version of the program"),
        fjall::Error::Io(_) => (ErrorKind::Unavailable, "look at the disk; it is tried again"),
        _ => (
            ErrorKind::Corrupt,
            "where it stays so: delete the folder while nothing runs; it is filled again from the log",
        ),
    };
    let message = format!("cannot {operation} the key-value store: store=`{place}`");
    Error::new(kind, message).with_source(error).with_hint(hint)
}
