//! The store against a model: a plain `Vec` of records.

mod compacting;
mod contract;
mod crashes;
mod damage;
mod faults;
mod footers;
mod lossless;
mod merging;
mod moving;
mod random;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::clock::FakeClock;
use crate::compaction::{CompactionPolicy, Moment};
use crate::error::ErrorKind;
use crate::testing::faulty_store::FaultyStore;
use crate::types::{Epoch, Header, NewRecord, Record, RecordKind, Timestamp};
use crate::vector::VectorRecord;

const LOG: LogId = LogId([7; 16]);

fn orders() -> CollectionName {
    CollectionName::new("Orders/ü").unwrap()
}

fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock::at(Timestamp(1_700_000_000_000_000)))
}

fn memory() -> Arc<FaultyStore> {
    Arc::new(FaultyStore::new(clock()))
}

/// As a process that starts finds it.
fn open(objects: &Arc<FaultyStore>) -> ColumnarStore {
    open_with(objects, StoreOptions { merge_files: 0, ..StoreOptions::default() })
}

fn open_with(objects: &Arc<FaultyStore>, options: StoreOptions) -> ColumnarStore {
    let home = Home::below(Arc::clone(objects) as _, REMOTE_PREFIX).unwrap();
    ColumnarStore::new(LOG, Arc::new(home), clock(), options)
}

fn stored(sequence: u64, record: NewRecord) -> Record {
    Record {
        sequence: Sequence(sequence),
        timestamp: record.timestamp.unwrap_or(Timestamp(sequence.cast_signed() * 1000)),
        kind: record.kind,
        key: record.key,
        expires_at: record.expires_at,
        headers: record.headers,
        payload: record.payload,
    }
}

/// Record `n`: of every sort, in turn.
fn record(n: u64) -> Record {
    let key = format!("key-{}", n % 7);
    let new = match n % 6 {
        0 => NewRecord::payload("without a key"),
        1 => NewRecord::delete(key),
        2 => NewRecord::put(key, "").with_header("a", "1").with_header("a", vec![0, 255]),
        3 => NewRecord::put("", format!("payload {n}")).with_expiry(Timestamp(n.cast_signed())),
        _ => VectorRecord::new(key, [n as f32, -0.5, 1.0 / n as f32])
            .with_metadata(format!("{{\"n\": {n}}}"))
            .into_new_record()
            .unwrap(),
    };
    stored(n, new)
}

fn records(range: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    range.map(record).collect()
}

fn batch<'a>(collection: &'a CollectionName, after: u64, records: &'a [Record], through: u64) -> Batch<'a> {
    Batch { collection, epoch: Epoch(1), after: Sequence(after), records, through: Sequence(through) }
}

fn apply(store: &ColumnarStore, after: u64, through: u64) -> Result<()> {
    store.apply(&batch(&orders(), after, &records(after + 1..=through), through))
}

fn all(store: &ColumnarStore) -> Vec<Record> {
    match store.view(&orders()).unwrap() {
        None => Vec::new(),
        Some(view) => view.read(Sequence(0)).map(|record| record.unwrap()).collect(),
    }
}

fn cursor(store: &ColumnarStore) -> Option<u64> {
    store.cursor(&orders()).unwrap().map(|cursor| cursor.sequence.0)
}

/// The keys that are there, of files and of states.
fn keys(objects: &FaultyStore) -> (Vec<String>, Vec<String>) {
    objects.objects().into_keys().partition(|key| key.ends_with(".parquet"))
}

/// Nothing is there but what the newest state names, what somebody may be about to name, and at most one state before it.
fn assert_tidy(objects: &FaultyStore, store: &ColumnarStore) {
    store.tidy(&orders()).unwrap();
    let (mut files, states) = keys(objects);
    let view = store.view(&orders()).unwrap();
    let newest = view.as_ref().map_or(StateNumber(0), |view| view.state().number);
    let generation = |key: &String| FileName::parse(key.rsplit('/').next().unwrap()).unwrap().generation;
    files.retain(|key| generation(key) <= newest);
    let named = view.iter().flat_map(View::files).map(|file| file.key().to_string()).collect::<Vec<_>>();
    assert_eq!(files, named);
    assert!(states.len() <= 2, "{states:?}");
}
