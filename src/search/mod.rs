//! Search: the nearest vectors, and the newest version of a key, over the store's files and all that the store does not have yet (S1).
//!
//! - [`query`]: what is asked and answered; [`filter`]: conditions on metadata
//! - [`source`]: what search needs of a store; `columns`: the columnar store as such
//! - [`kernel`], [`top`]: distances, and the best of them
//! - `live`: which rows count, and why each search sees one moment
//! - `tail`: what the store does not have yet; `cache`: what of files is in memory
//! - `scan`: the work
//!
//! Owns: no data. Everything here can be thrown away and is made again from log and store: the first search of a collection reads the keys of
//! all its files. Does not own: delivery to the store (`sink`), files (`store`).
//!
//! # What is promised
//!
//! 1. **Exact.** Every vector that counts is compared: recall is 1. The same data give the same answer, whether they are in files or not, and
//!    however many threads look at them.
//! 2. **One moment.** An answer has every record that was acknowledged before the search began, each once, while appends, flushes and
//!    compactions go on.
//! 3. **The newest version counts**, as for [`Log::get`]: where it is a delete, is expired by the clock, or is no vector, the key is not
//!    found, and no older version shows through. The clock is believed as it is: set back, it makes what was expired be found again, as long as it is
//!    not compacted; set ahead, it hides what expires until then. Nothing is deleted by searching.
//! 4. **Bounded memory**: [`SearchOptions::cache_bytes`] for files, [`SearchOptions::tail_bytes`] for the tail. The index of each collection
//!    comes on top: 46 to 84 bytes a row (see `live`), told by [`Search::memory`].
//! 5. What is damaged is an error, never left out.

mod cache;
#[cfg(feature = "store")]
mod columns;
pub mod filter;
pub mod kernel;
mod live;
pub mod query;
mod scan;
pub mod source;
mod tail;
pub mod top;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use filter::Condition;
pub use query::{Answer, Hit, K_MAX, Metric, Query, Statistics};
pub use source::{Source, View};

use self::cache::Cache;
use self::live::{Found, Index, Refreshed, Shared, Snapshot};
use self::query::Prepared;
use self::scan::{Scan, Stop};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::log::{Log, ReadOptions};
use crate::types::{CollectionName, Record, RecordKind, Sequence, Timestamp};

/// So often a search begins anew, where files go while it reads them.
const TRIES: usize = 5;

/// How searches work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// What was read of files and is kept in memory, in bytes: 256 MiB.
    pub cache_bytes: usize,
    /// Vectors that are in no file yet and are kept in memory, in bytes; others are read from the log by each search: 64 MiB.
    pub tail_bytes: usize,
    /// Threads that one search uses; 0 for as many as there are cores.
    pub threads: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { cache_bytes: 256 << 20, tail_bytes: 64 << 20, threads: 0 }
    }
}

/// What searches hold in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Of files.
    pub cache_bytes: u64,
    /// Vectors that are in no file yet.
    pub tail_bytes: u64,
    /// Which rows count.
    pub index_bytes: u64,
}

/// Searches the collections of a log.
///
/// May be used by many threads at once.
#[derive(Debug)]
pub struct Search {
    log: Log,
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    options: SearchOptions,
    shared: Shared,
    cache: Cache,
    indexes: Mutex<HashMap<CollectionName, Arc<Mutex<Index>>>>,
    queries: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Search {
    /// Searches in a log and its store. Nothing is read yet.
    #[must_use]
    pub fn open(log: Log, source: Arc<dyn Source>, clock: Arc<dyn Clock>, options: SearchOptions) -> Self {
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(&clock.random());
        secret[16..].copy_from_slice(&clock.random());
        Self {
            log,
            source,
            clock,
            shared: Shared {
                secret,
                files: AtomicU32::new(0),
                tail_held: Arc::default(),
                tail_bytes_max: options.tail_bytes,
            },
            cache: Cache::new(options.cache_bytes),
            options,
            indexes: Mutex::default(),
            queries: AtomicU64::new(0),
        }
    }

    /// The nearest vectors of a collection.
    ///
    /// # Errors
    /// `Invalid` for a query that cannot be answered: dimensions that no vector of the collection has, a `k` of 0 or above [`K_MAX`], a vector with
    /// numbers that are not finite, or by cosine one of norm 0. `NotFound` for an unknown collection. `Corrupt` for damage; what the disk
    /// said.
    pub fn nearest(&self, collection: &CollectionName, query: &Query) -> Result<Answer> {
        let prepared = Prepared::new(query)?;
        let number = self.queries.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = self.tried(collection, |snapshot, index| {
            drop(index);
            let scan = Scan { search: self, collection, query: &prepared, snapshot, number };
            let (hits, mut statistics) = scan.run()?;
            statistics.bytes_read += snapshot.bytes_read;
            Ok(Answer { hits, through: Sequence(snapshot.moment.through), statistics })
        })?;
        if answer.statistics.vectors_compared == 0 && answer.statistics.other_dimensions > 0 {
            let message = format!(
                "a query's vector has other dimensions than the vectors of the collection: collection=`{collection}`, dimensions=`{}`",
                query.vector.len()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(answer)
    }

    /// The newest version of a key, as [`Log::get`] gives it; found in the index, so that one record is read.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection; `Corrupt` for damage; what the disk said.
    pub fn get(&self, collection: &CollectionName, key: &[u8]) -> Result<Option<Record>> {
        self.tried(collection, |snapshot, index| {
            let found = index.find(&self.shared, key);
            drop(index);
            let record = match found {
                None => return Ok(None),
                Some(Found::InFile(place, row)) => snapshot.view.record(place, row)?,
                Some(Found::InTail(sequence)) => self.record_of_log(collection, sequence)?,
            };
            if record.key.as_deref() != Some(key) {
                // Two keys with one hash: the index knows one of them.
                return Ok(self.log.get(collection, key, Timestamp(snapshot.moment.now))?);
            }
            let counts = record.kind == RecordKind::Put
                && !record.is_expired(Timestamp(snapshot.moment.now))
                && record.sequence.0 >= snapshot.moment.floor;
            Ok(counts.then_some(record))
        })
    }

    fn record_of_log(&self, collection: &CollectionName, sequence: Sequence) -> Result<Record, Stop> {
        let options = ReadOptions { from: Some(sequence), until: Some(sequence), ..ReadOptions::default() };
        self.log.read(collection, options)?.try_next()?.ok_or_else(|| {
            let message =
                format!("a record went while it was looked up: collection=`{collection}`, sequence=`{sequence}`");
            Stop::Again(Error::new(ErrorKind::Unavailable, message))
        })
    }

    /// Takes a snapshot and works on it; again with another one, where what it shows is gone. The index is locked until
    /// `work` lets go of it.
    fn tried<T>(
        &self,
        collection: &CollectionName,
        mut work: impl FnMut(&Snapshot, MutexGuard<'_, Index>) -> Result<T, Stop>,
    ) -> Result<T> {
        let mut tries = 1;
        loop {
            let index = self.index(collection)?;
            let outcome = (|| {
                self.log.refresh()?;
                let mut index = lock(&index);
                // In this order: see `live`.
                let mut view = self.source.view(collection)?;
                let snapshot = loop {
                    let refreshed = index.refresh(&self.shared, &self.log, collection, view, self.clock.now())?;
                    let Refreshed { snapshot, gone, is_whole } = refreshed;
                    if !gone.is_empty() {
                        self.cache.forget(|file| gone.contains(&file));
                    }
                    if is_whole {
                        break snapshot;
                    }
                    view = self.source.view(collection)?;
                    if view.through().0 <= snapshot.moment.cursor {
                        break snapshot;
                    }
                };
                work(&snapshot, index)
            })();
            match outcome {
                Ok(done) => return Ok(done),
                Err(Stop::Again(error)) if tries < TRIES => {
                    tries += 1;
                    if error.kind() != ErrorKind::NotFound {
                        // The log has no longer what was read of it: all of it is read anew.
                        self.forget(collection);
                    }
                }
                Err(Stop::Again(error) | Stop::Error(error)) => return Err(error),
            }
        }
    }

    /// The index of a collection that must be there.
    fn index(&self, collection: &CollectionName) -> Result<Arc<Mutex<Index>>> {
        if let Err(error) = self.log.read(collection, ReadOptions::default()) {
            self.forget(collection);
            return Err(error);
        }
        Ok(Arc::clone(lock(&self.indexes).entry(collection.clone()).or_default()))
    }

    /// Lets go of what is in memory for a collection; the next search of it reads it again.
    pub fn forget(&self, collection: &CollectionName) {
        let index = lock(&self.indexes).remove(collection);
        if let Some(index) = index {
            let index = lock(&index);
            self.cache.forget(|file| index.has_file(file));
        }
    }

    /// What is held in memory now.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let indexes: Vec<_> = lock(&self.indexes).values().map(Arc::clone).collect();
        let bytes = |bytes: usize| bytes as u64;
        Memory {
            cache_bytes: bytes(self.cache.held()),
            tail_bytes: bytes(self.shared.tail_held.load(Ordering::SeqCst)),
            index_bytes: indexes.iter().map(|index| bytes(lock(index).memory_bytes())).sum(),
        }
    }

    fn threads(&self) -> usize {
        match self.options.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }
}
