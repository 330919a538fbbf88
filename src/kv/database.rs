//! An LSM tree in a directory.
//!
//! Owns: opening it, the words of its errors, that a change is synced when it returns. Two key spaces: `records`, and `collections`, where
//! each collection has its cursor and floor.

use std::path::Path;

use bytes::Bytes;
use fjall::{KeyspaceCreateOptions, PersistMode};

use super::FOLDER;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::Cursor;
use crate::types::{CollectionName, Sequence};

/// What is kept of a collection beside its records, as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct CollectionState {
    pub cursor: Option<Cursor>,
    pub floor: Sequence,
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
