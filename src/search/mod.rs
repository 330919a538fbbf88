//! Search: the nearest vectors, and the newest version of a key, over the store's files and all that the store does not have yet (S1).
//!
//! - [`query`]: what is asked and answered; [`filter`]: conditions on metadata
//! - [`source`]: what search needs of a store; `columns`: the columnar store as such
//! - [`kernel`], [`top`]: distances, and the best of them
//! - `live`: which rows count, and why each search sees one moment
//! - `tail`: what the store does not have yet; `cache`: what of files is in memory; `budget`: who has how much memory
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
//! 4. **Bounded memory**: [`SearchOptions::cache_bytes`] for indexes (37 to 66 bytes a row, see `live`), what is read of files, and what of them is
//!    kept; [`SearchOptions::tail_bytes`] for the tail. An index that does not fit is an error that names the setting. Told by [`Search::memory`].
//! 5. What is damaged is an error, never left out.

mod budget;
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
#[cfg(test)]
mod tests;
pub mod top;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use filter::Condition;
pub use query::{Answer, Hit, K_MAX, Metric, Query, Statistics};
pub use source::{Source, View};

use self::budget::Budget;
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
/// The least that [`SearchOptions::cache_bytes`] counts as, where indexes and reading are concerned: 16 MiB. Less keeps no vectors.
pub const CACHE_BYTES_MIN: usize = 16 << 20;

/// How searches work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// The most memory for the indexes of collections, for what is being read of files, and for what was read of them and is kept, in bytes: 256 MiB.
    /// What it cannot do without counts up to [`CACHE_BYTES_MIN`] also where this is less; and one row group is always read, whatever that takes.
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
    /// What searches that are under way may take for reading.
    pub reading_bytes: u64,
    /// The most that all of these but the tail's were at any time.
    pub peak_bytes: u64,
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
    budget: Arc<Budget>,
    cache: Cache,
    indexes: Mutex<HashMap<CollectionName, Known>>,
    queries: AtomicU64,
}

/// The index of a collection that was searched.
#[derive(Debug)]
struct Known {
    index: Arc<Mutex<Index>>,
    /// When it was used last: a count of uses.
    used: u64,
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
        let budget = Arc::new(Budget::new(options.cache_bytes, threads(&options)));
        Self {
            log,
            source,
            clock,
            shared: Shared {
                hash: live::sha256,
                secret,
                budget: Arc::clone(&budget),
                files: AtomicU32::new(0),
                tail_held: Arc::default(),
                tail_bytes_max: options.tail_bytes,
            },
            cache: Cache::new(Arc::clone(&budget)),
            budget,
            options,
            indexes: Mutex::default(),
            queries: AtomicU64::new(0),
        }
    }

    /// The nearest vectors of a collection.
    ///
    /// # Errors
    /// `Invalid` for a query that cannot be answered: dimensions that no vector of the collection has, a `k` of 0 or above [`K_MAX`], a vector with
    /// numbers that are not finite, or by cosine one of norm 0. `NotFound` for an unknown collection. `Full` where the collection's index does not fit
    /// into [`SearchOptions::cache_bytes`]. `Corrupt` for damage; what the disk said.
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
    /// `NotFound` for an unknown collection; `Full` as for [`nearest`](Self::nearest); `Corrupt` for damage; what the disk said.
    pub fn get(&self, collection: &CollectionName, key: &[u8]) -> Result<Option<Record>> {
        self.tried(collection, |snapshot, index| {
            let found = index.find(&self.shared, key);
            drop(index);
            let record = match found {
                None => return Ok(None),
                Some(Found::InFile(place, row)) => {
                    let _permit = self.budget.read(snapshot.view.reading_bytes(place, source::Reading::Record));
                    snapshot.view.record(place, row)?
                }
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
                let room = || self.make_room(collection);
                let snapshot = loop {
                    let (log, now) = ((&self.log, collection), self.clock.now());
                    let refreshed = index.refresh(&self.shared, log, view, now, &room)?;
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
                Err(Stop::Again(error) | Stop::Error(error)) => {
                    if error.kind() == ErrorKind::Full {
                        // Half an index is of no use, and what it takes others may need.
                        self.forget(collection);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Room for the index of a collection, which grew: parts of files go first, then the indexes of other collections.
    fn make_room(&self, collection: &CollectionName) -> Result<()> {
        self.cache.shed();
        let (limit, held) = (self.budget.indexes_max, &self.budget.indexes);
        while held.load(Ordering::SeqCst) > limit {
            if !self.forget_oldest(collection) {
                let bytes = held.load(Ordering::SeqCst);
                let message = format!(
                    "the index of a collection does not fit into the memory of searches: collection=`{collection}`, bytes=`{bytes}`, limit=`{limit}`, setting=`search.cache_bytes`"
                );
                let hint =
                    "raise search.cache_bytes: an index takes 37 to 66 bytes for each record with a key of its own";
                return Err(Error::new(ErrorKind::Full, message).with_hint(hint));
            }
        }
        self.budget.note();
        Ok(())
    }

    /// Lets go of the index that was used longest ago and that nobody uses, but for that of one collection.
    fn forget_oldest(&self, but: &CollectionName) -> bool {
        let mut indexes = lock(&self.indexes);
        let idle = indexes.iter().filter(|(name, known)| *name != but && Arc::strong_count(&known.index) == 1);
        let Some(name) = idle.min_by_key(|(_, known)| known.used).map(|(name, _)| name.clone()) else { return false };
        let known = indexes.remove(&name);
        drop(indexes);
        if let Some(known) = known {
            let index = lock(&known.index);
            self.cache.forget(|file| index.has_file(file));
        }
        true
    }

    /// The index of a collection that must be there.
    fn index(&self, collection: &CollectionName) -> Result<Arc<Mutex<Index>>> {
        if let Err(error) = self.log.read(collection, ReadOptions::default()) {
            self.forget(collection);
            return Err(error);
        }
        let mut indexes = lock(&self.indexes);
        let used = indexes.values().map(|known| known.used + 1).max().unwrap_or(0);
        let known = indexes
            .entry(collection.clone())
            .or_insert_with(|| Known { index: Arc::new(Mutex::new(Index::new(&self.budget))), used });
        known.used = used;
        Ok(Arc::clone(&known.index))
    }

    /// Lets go of what is in memory for a collection; the next search of it reads it again.
    pub fn forget(&self, collection: &CollectionName) {
        let known = lock(&self.indexes).remove(collection);
        if let Some(known) = known {
            let index = lock(&known.index);
            self.cache.forget(|file| index.has_file(file));
        }
    }

    /// What is held in memory now.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let bytes = |bytes: usize| bytes as u64;
        Memory {
            cache_bytes: bytes(self.budget.parts.load(Ordering::SeqCst)),
            tail_bytes: bytes(self.shared.tail_held.load(Ordering::SeqCst)),
            index_bytes: bytes(self.budget.indexes.load(Ordering::SeqCst)),
            reading_bytes: bytes(self.budget.reading()),
            peak_bytes: bytes(self.budget.peak()),
        }
    }

    fn threads(&self) -> usize {
        threads(&self.options)
    }
}

fn threads(options: &SearchOptions) -> usize {
    match options.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}
