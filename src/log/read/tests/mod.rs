//! Reading on the real file system.

mod companion;
mod damage;
mod follow;
mod get;
mod model;
mod plain;

use std::sync::Arc;

use super::*;
use crate::catalog::MemoryCatalog;
use crate::clock::FakeClock;
use crate::log::LogOptions;
use crate::types::{NewRecord, Timestamp};

/// A directory that goes away with the test, a clock that stands still, a catalog in memory.
struct Place {
    folder: tempfile::TempDir,
    clock: Arc<FakeClock>,
    catalog: Arc<MemoryCatalog>,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(FakeClock::at(Timestamp(1_000_000))),
            catalog: Arc::default(),
        }
    }

    /// Small limits, so that everything happens early; no threads.
    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new([self.folder.path().join("data")]);
        options.clock = self.clock.clone();
        options.catalog = Some(self.catalog.clone());
        options.background = false;
        options.limits.journal_bytes = 64 << 10;
        options.limits.segment_bytes = 32 << 10;
        options.limits.memtable_bytes = 256 << 10;
        options.limits.unsealed_bytes = 512 << 10;
        options.cold_bytes = 4 << 10;
        options.block_bytes = 1 << 10;
        options
    }

    fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

/// A record whose payload tells its number.
fn numbered(number: u64) -> NewRecord {
    NewRecord::put(format!("key-{number}"), format!("{number}:{}", "x".repeat(40)))
}

fn append(log: &Log, collection: &CollectionName, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(log.append(collection, numbered(number)).unwrap().last.0, number);
    }
}

fn sequences(reader: Reader) -> Vec<u64> {
    reader
        .map(|record| {
            let record = record.unwrap();
            assert!(record.payload.unwrap().starts_with(format!("{}:", record.sequence).as_bytes()));
            record.sequence.0
        })
        .collect()
}

fn read(log: &Log, collection: &CollectionName, options: ReadOptions) -> Vec<u64> {
    sequences(log.read(collection, options).unwrap())
}
