//! A small data directory with every kind of data file, and what was appended to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use icecore::catalog::memory::MemoryCatalog;
use icecore::clock::FakeClock;
use icecore::fs::SimulatedFileSystem;
use icecore::{CollectionName, Log, LogOptions, NewRecord, ReadOptions, Record, Timestamp};

/// The collections; some names need escaping. The last one is busy: it is what gets segments.
pub const COLLECTIONS: [&str; 4] = ["audit", "Orders/2024", "quiet", "busy"];

pub struct Place {
    pub fs: SimulatedFileSystem,
    pub catalog: Arc<MemoryCatalog>,
    /// Every record by collection, in order from sequence 1.
    pub originals: BTreeMap<CollectionName, Vec<Record>>,
    /// The last sequence that a sync is known to cover, by collection: what is behind may be an unproven tail.
    pub durable: BTreeMap<CollectionName, u64>,
}

/// Limits so small that everything happens within a few KiB.
pub fn small(mut options: LogOptions) -> LogOptions {
    options.background = false;
    options.limits.journal_bytes = 12 << 10;
    options.limits.segment_bytes = 64 << 10;
    options.limits.memtable_bytes = 60 << 10;
    options.limits.unsealed_bytes = 60 << 10;
    options.cold_bytes = 2 << 10;
    options.block_bytes = 4 << 10;
    options
}

pub fn options(fs: &SimulatedFileSystem, catalog: &Arc<MemoryCatalog>) -> LogOptions {
    let mut options = small(LogOptions::new(["/log"]));
    options.fs = Arc::new(fs.clone());
    options.catalog = Some(Arc::clone(catalog) as _);
    options.clock = Arc::new(FakeClock::at(Timestamp(1_700_000_000_000_000 + 1000 * fs.changes().cast_signed())));
    options
}

pub fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn record(number: u64, len: usize) -> NewRecord {
    let mut payload = format!("record {number}: ").into_bytes();
    payload.extend((0..len).map(|at| b"archival"[(at + number as usize) % 8]));
    match number % 4 {
        0 => NewRecord::payload(payload),
        1 => NewRecord::put(format!("key-{number}"), payload).with_header("source", "flips"),
        2 => NewRecord::delete(format!("key-{}", number - 1)),
        _ => NewRecord::put("", payload).with_timestamp(Timestamp(number.cast_signed() * 1_000_000)),
    }
}

/// One batch for every collection but the busy one, two of them in one call.
pub fn append_some(log: &Log, number: &mut u64) {
    let mut batch = |count: u64| {
        *number += count;
        (0..count).map(|at| record(*number + at, 20)).collect::<Vec<_>>()
    };
    let (one, two, three) = (batch(1), batch(3), batch(2));
    let [audit, orders, quiet] = [0, 1, 2].map(|at| name(COLLECTIONS[at]));
    log.append_batch(&audit, &one, Default::default()).unwrap();
    log.append_many(&[(&orders, &two[..]), (&quiet, &three[..])], Default::default()).unwrap();
}

/// Appends until there is a cold journal, and segments.
pub fn append_until_cold(log: &Log, number: &mut u64, is_cold: impl Fn() -> bool) {
    for turn in 0..100 {
        if is_cold() {
            return;
        }
        // A little in each journal: the small remainders are moved once three journals are kept by them.
        if turn % 2 == 0 {
            append_some(log, number);
        }
        let batch: Vec<_> = (0..3).map(|at| record(4 * *number + at, 700)).collect();
        *number += 3;
        log.append_batch(&name("busy"), &batch, Default::default()).unwrap();
        log.maintain().unwrap();
    }
    panic!("no cold journal came to be");
}

impl Place {
    pub fn new() -> Self {
        let (fs, catalog) = (SimulatedFileSystem::new(), Arc::new(MemoryCatalog::new()));
        let mut number = 0;
        let log = Log::open(options(&fs, &catalog)).unwrap();
        append_until_cold(&log, &mut number, || fs.files().iter().any(|(path, ..)| super::is_cold(path)));
        append_some(&log, &mut number);
        // Killed, opened again, and killed again: the first one's journal is judged by the second one's OPEN.
        let (fs, catalog) = (fs.kill_image(), Arc::new(catalog.snapshot()));
        let log = Log::open(options(&fs, &catalog)).unwrap();
        append_some(&log, &mut number);
        log.maintain().unwrap();
        append_some(&log, &mut number);
        append_some(&log, &mut number);
        let (fs, catalog) = (fs.kill_image(), Arc::new(catalog.snapshot()));
        let log = Log::open_read_only(options(&fs, &catalog)).unwrap();
        let read = |collection: &str, durable| {
            let options = ReadOptions { durable, ..ReadOptions::default() };
            log.read(&name(collection), options).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        let originals: BTreeMap<_, _> = COLLECTIONS.map(|text| (name(text), read(text, false))).into();
        let durable = COLLECTIONS.map(|text| (name(text), read(text, true).len() as u64)).into();
        for (name, records) in &originals {
            assert!(records.len() >= 4, "collection `{name}` has hardly any records");
            assert!(records.iter().zip(1..).all(|(record, sequence)| record.sequence.0 == sequence));
        }
        Self { fs, catalog, originals, durable }
    }
}
