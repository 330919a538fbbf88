//! Search over a log on the real file system, and a store in memory.
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

#[cfg(feature = "store")]
mod columnar;
mod model;
mod racing;
mod small;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use icecore::catalog::MemoryCatalog;
use icecore::clock::{Clock as _, FakeClock};
use icecore::log::Keep;
use icecore::search::{Answer, K_MAX, Memory, Metric, Query, Search, SearchOptions, kernel};
use icecore::vector::VectorRecord;
use icecore::{
    CollectionName, ErrorKind, Log, LogOptions, NewRecord, ReadOptions, Record, RecordKind, Sequence, SyncMode,
    Timestamp,
};
use store::MemoryStore;

/// A log, a store and a search of both.
struct World {
    folder: tempfile::TempDir,
    clock: Arc<FakeClock>,
    options: LogOptions,
    log: Log,
    store: Arc<MemoryStore>,
    search: Search,
    collection: CollectionName,
}

const NOW: Timestamp = Timestamp(1_000_000);

impl World {
    fn new(options: SearchOptions, group_rows: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::at(NOW));
        let mut log_options = LogOptions::new([folder.path().join("data")]);
        log_options.clock = clock.clone();
        log_options.catalog = Some(Arc::new(MemoryCatalog::default()));
        log_options.background = false;
        log_options.sync = SyncMode::Never;
        log_options.limits.journal_bytes = 256 << 10;
        log_options.limits.segment_bytes = 128 << 10;
        log_options.limits.memtable_bytes = 2 << 20;
        log_options.limits.unsealed_bytes = 8 << 20;
        // Where a test compacts the log.
        log_options.compaction.keep_versions = Some(Keep::UpTo(1));
        let log = Log::open(log_options.clone()).unwrap();
        let store = Arc::new(MemoryStore::new(group_rows));
        let search = Search::open(log.clone(), store.clone(), clock.clone(), options);
        let collection = CollectionName::new("docs").unwrap();
        Self { folder, clock, options: log_options, log, store, search, collection }
    }

    fn put(&self, id: &str, vector: &[f32]) -> u64 {
        self.append(VectorRecord::new(id, vector).into_new_record().unwrap())
    }

    fn append(&self, record: NewRecord) -> u64 {
        self.log.append(&self.collection, record).unwrap().last.0
    }

    /// Everything goes to the store.
    fn flush(&self) {
        self.log.seal(Some(&self.collection)).unwrap();
        self.store.deliver(&self.log, &self.collection);
    }

    fn search(&self, query: &Query) -> Answer {
        self.search.nearest(&self.collection, query).unwrap()
    }

    /// Ids and sequences of the nearest.
    fn found(&self, query: &Query) -> Vec<(String, u64)> {
        self.search(query).hits.into_iter().map(|hit| (hit.id, hit.sequence.0)).collect()
    }

    fn refused(&self, query: &Query) -> String {
        let error = self.search.nearest(&self.collection, query).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    }

    /// Another search of the same, which remembers nothing.
    fn anew(&self, options: SearchOptions) -> Search {
        Search::open(self.log.clone(), self.store.clone(), self.clock.clone(), options)
    }
}
