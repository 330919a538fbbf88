//! The key-value store: a sink that keeps the newest version of each key, for look-ups that read one place.
//!
//! - `keys`: how collections and keys share a key space
//! - `database`: an LSM tree in a directory, by the crate `fjall`
//! - [`lookup`]: the newest version of a key, beside whoever writes
//! - [`relocate`]: from one directory to another
//!
//! Owns: which version is the newest, the cursor beside it. Does not own: when batches come (`sink`), where a collection is assigned (`log`), how
//! an LSM tree keeps its promises.
//!
//! All collections of a directory share one tree, `{directory}/.kv`: a tree for each would be thousands of memtables (R5). A record is kept as
//! the bytes that it has in the journal (F1), with their checksum: what the tree gives back is checked before anybody sees it.
//!
//! # A batch, and why a crash between any two steps is safe
//!
//! Records and cursor are one write batch of the tree, which is synced when it returns: there is no between. A batch whose outcome is not known
//! poisons the open tree; it is opened anew by the next call, and its own cursor says what came.
//!
//! Deletes remove their key. Records without a key have no newest version, and are only counted by the cursor.

mod database;
mod keys;
pub mod lookup;
pub mod relocate;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use self::database::{CollectionState, Database};
pub use self::lookup::look_up;
pub use self::relocate::KvFiles;
use crate::avro::record::{self, Fields, Seed, kind};
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::sink::{Batch, Cursor, Sink};
use crate::types::{CollectionName, Record, RecordKind, Sequence, Timestamp};

/// The name of the sink.
pub const NAME: &str = "kv";
/// The component whose assignment says which directory a collection is in.
pub const COMPONENT: &str = "index";
/// The folder in that directory.
pub const FOLDER: &str = ".kv";

/// Removed in one batch when a floor is raised.
const REMOVE_AT_ONCE: usize = 10_000;

/// How the store works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvOptions {
    /// Blocks kept in memory, in bytes: 64 MiB.
    pub cache_bytes: u64,
    /// Bytes of records in a batch, at most: 4 MiB.
    pub batch_bytes: u64,
}

impl Default for KvOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, batch_bytes: 4 << 20 }
    }
}

type Assign = dyn Fn(&CollectionName) -> Result<PathBuf> + Send + Sync;

/// The key-value store of a log. One process has it open.
pub struct KvStore {
    assign: Box<Assign>,
    options: KvOptions,
    open: Mutex<HashMap<PathBuf, Arc<Database>>>,
    /// Held while a batch is put together and written: it goes by the cursor.
    writing: Mutex<()>,
}

impl fmt::Debug for KvStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvStore").field("options", &self.options).finish_non_exhaustive()
    }
}

impl KvStore {
    /// The store whose collections are in the directories that `assign` tells, the same for as long as it is open. Nothing is opened yet.
    pub fn new(
        assign: impl Fn(&CollectionName) -> Result<PathBuf> + Send + Sync + 'static,
        options: KvOptions,
    ) -> Self {
        Self { assign: Box::new(assign), options, open: Mutex::default(), writing: Mutex::default() }
    }

    /// The newest version of a key that the store has; `None` where it has none, or it is expired at `now`.
    ///
    /// # Errors
    /// `Locked` where another process has the store open; `Corrupt` where what is there is not what was put; what the disk said.
    pub fn get(&self, collection: &CollectionName, key: &[u8], now: Timestamp) -> Result<Option<Record>> {
        let record = self.with(collection, |database| version(database, collection, key))?;
        Ok(record.filter(|record| !record.is_expired(now)))
    }

    /// The newest version of a key, of what the store has and of what `log` has beyond it; `None` where there is none, or the newest is a
    /// delete, or is expired at `now`.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`Log::get`].
    pub fn newest(&self, log: &Log, collection: &CollectionName, key: &[u8], now: Timestamp) -> Result<Option<Record>> {
        self.with(collection, |database| lookup::newest(database, log, collection, key, now))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<Database>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the tree of a collection. After an error it is opened anew: a tree that failed a write takes no more.
    fn with<T>(&self, collection: &CollectionName, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let directory = (self.assign)(collection)?;
        let database = {
            let mut open = self.open();
            match open.get(&directory) {
                Some(database) => Arc::clone(database),
                None => {
                    let database = Arc::new(Database::open(&directory, self.options.cache_bytes)?);
                    open.insert(directory.clone(), Arc::clone(&database));
                    database
                }
            }
        };
        let outcome = work(&database);
        if outcome.is_err() {
            let mut open = self.open();
            if open.get(&directory).is_some_and(|now| Arc::ptr_eq(now, &database)) {
                open.remove(&directory);
            }
        }
        outcome
    }
}

impl Sink for KvStore {
    fn name(&self) -> &str {
        NAME
    }

    fn cursor(&self, collection: &CollectionName) -> Result<Option<Cursor>> {
        Ok(self.with(collection, |database| database.state(collection))?.cursor)
    }

    fn clear(&self, collection: &CollectionName) -> Result<()> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.with(collection, |database| database.clear(collection))
    }

    fn apply(&self, batch: &Batch<'_>) -> Result<()> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let name = batch.collection;
        self.with(name, |database| {
            let mut state = settled(database, name)?;
            let mut change = database.change();
            for record in batch.fresh(state.cursor)? {
                let Some(key) = &record.key else { continue };
                match record.kind {
                    RecordKind::Put => change.put(&keys::of(name, key), encode(name, record)),
                    RecordKind::Delete => change.remove(&keys::of(name, key)),
                }
            }
            let through = state.cursor.map_or(Sequence(0), |cursor| cursor.sequence).max(batch.through);
            state.cursor = Some(Cursor { epoch: batch.epoch, sequence: through });
            change.set_state(name, &state);
            change.commit()
        })
    }

    fn raise_floor(&self, collection: &CollectionName, floor: Sequence) -> Result<()> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.with(collection, |database| {
            let mut state = settled(database, collection)?;
            if state.floor >= floor {
                return Ok(());
            }
            // The floor behind the last removal: a crash between leaves what the next call removes.
            let mut change = database.change();
            for entry in database.records(keys::prefix(collection)) {
                let (key, value) = entry?;
                if decode(collection, value)?.sequence < floor {
                    change.remove(&key);
                }
                if change.len() >= REMOVE_AT_ONCE {
                    std::mem::replace(&mut change, database.change()).commit()?;
                }
            }
            state.floor = floor;
            change.set_state(collection, &state);
            change.commit()
        })
    }

    fn batch_bytes(&self) -> u64 {
        self.options.batch_bytes
    }
}

/// What is kept of a collection, with nothing left of what was being cleared.
fn settled(database: &Database, collection: &CollectionName) -> Result<CollectionState> {
    let state = database.state(collection)?;
    if !state.is_clearing {
        return Ok(state);
    }
    database.clear(collection)?;
    Ok(CollectionState::default())
}

/// The version of a key that is kept, expired or not.
fn version(database: &Database, collection: &CollectionName, key: &[u8]) -> Result<Option<Record>> {
    if database.state(collection)?.is_clearing {
        return Ok(None);
    }
    let found = database.record(&keys::of(collection, key))?;
    let record = found.map(|bytes| decode(collection, bytes)).transpose()?;
    // Very long keys are kept by their digests: the record says which key it is.
    Ok(record.filter(|record| record.key.as_deref() == Some(key)))
}

/// The record's bytes as the journal has them (F1).
fn encode(collection: &CollectionName, record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    let fields = Fields {
        sequence: record.sequence.get(),
        timestamp_us: record.timestamp.micros(),
        kind: match record.kind {
            RecordKind::Put => kind::PUT,
            RecordKind::Delete => kind::DELETE,
        },
        key: record.key.as_deref(),
        expires_at_us: record.expires_at.map(Timestamp::micros),
        headers: &record.headers,
        payload: record.payload.as_deref(),
    };
    record::encode(&mut bytes, Seed::of(collection), &fields);
    bytes
}

fn decode(collection: &CollectionName, bytes: Bytes) -> Result<Record> {
    let damaged = |what: &str| {
        let message = format!("a record in the key-value store is damaged: collection=`{collection}`, what=`{what}`");
        Error::new(ErrorKind::Corrupt, message)
            .with_hint("delete the folder `.kv` of its directory while nothing runs: it is filled again from the log")
    };
    let view = record::decode(&bytes).map_err(|error| damaged(&error.to_string()))?;
    if view.encoded.len() != bytes.len() || !view.is_intact(Seed::of(collection)) {
        return Err(damaged("checksum"));
    }
    view.to_record(&bytes).map_err(|error| damaged(&error.to_string()))
}
