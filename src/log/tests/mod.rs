//! The log as a whole, on the real file system.

#[cfg(feature = "tokio")]
mod asynchronous;
mod catalogs;
mod crashes;
mod life;
mod migration;
mod returned;

use std::sync::Arc;

use super::*;
use crate::clock::FakeClock;
use crate::segment::SegmentReader;
use crate::types::{NewRecord, Sequence, Timestamp};

/// A directory that goes away with the test, and a clock that stands still.
struct Place {
    folder: tempfile::TempDir,
    clock: Arc<FakeClock>,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Arc::new(FakeClock::at(Timestamp(1_000_000))) }
    }

    /// Small limits, so that everything happens early; no threads.
    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new([self.folder.path().join("data")]);
        options.clock = self.clock.clone();
        options.background = false;
        options.limits.journal_bytes = 64 << 10;
        options.limits.segment_bytes = 32 << 10;
        options.limits.memtable_bytes = 256 << 10;
        options.limits.unsealed_bytes = 512 << 10;
        options.cold_bytes = 4 << 10;
        options.block_bytes = 4 << 10;
        options
    }

    fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn put(payload: impl Into<bytes::Bytes>) -> NewRecord {
    NewRecord::put("key", payload)
}

/// Every payload of a collection with its sequence: segments first, then what is unsealed.
fn everything(log: &Log, collection: &CollectionName) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let known = log.0.collection(collection).unwrap();
    for row in log.catalog().segments(Some(collection), None, usize::MAX).unwrap() {
        let directory = log.0.directories.iter().find(|directory| directory.id == row.directory).unwrap();
        let path = recover::segments::segment_path(&directory.path, &row.key);
        let reader = SegmentReader::open(log.0.fs.open(&path, crate::fs::OpenMode::Read).unwrap()).unwrap();
        for record in reader.records_from(Sequence::FIRST) {
            let record = record.unwrap();
            found.push((record.sequence.0, record.payload.unwrap_or_default().to_vec()));
        }
    }
    let state = known.state();
    for run in state.unsealed.runs() {
        let bytes = run.load().unwrap();
        run.for_each::<crate::memtable::RunError>(&bytes, known.seed, |view| {
            found.push((view.sequence, view.payload.unwrap_or_default().to_vec()));
            Ok(())
        })
        .unwrap();
    }
    found
}
