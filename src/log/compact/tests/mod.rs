//! Compaction on a simulated machine.

mod archived;
mod background;
mod clocks;
mod crashes;
mod model;
mod older_catalog;
mod pinned;
mod plain;
mod readers;

use super::*;
use crate::archive::world::{World, name};
use crate::catalog::SegmentStatus;
use crate::types::{NewRecord, RecordKind};
use crate::{ReadOptions, VerifyOptions};

fn always(_: CompactProgress) -> bool {
    true
}

fn compact(log: &Log) -> CompactReport {
    log.compact(&CompactOptions::default(), &mut always).unwrap()
}

/// The same log, opened anew: journals in which nothing lives are released by then.
fn reopened(world: &World, log: Log) -> Log {
    log.close().unwrap();
    drop(log);
    world.open_whole()
}

/// `"k"` puts a key, `"-k"` deletes it, `""` has no key; a segment for each list. Payloads tell their place.
fn segments(log: &Log, collection: &str, segments: &[&[&str]]) {
    let collection = name(collection);
    for records in segments {
        for key in *records {
            let now = log.0.clock.now();
            let record = match key.strip_prefix('-') {
                Some(key) => NewRecord::delete(key.to_owned()),
                None if key.is_empty() => NewRecord::payload("nameless"),
                None => NewRecord::put((*key).to_owned(), format!("{key}:{}", "x".repeat(40))),
            };
            log.append(&collection, record.with_timestamp(now)).unwrap();
        }
        log.seal(Some(&collection)).unwrap();
    }
}

fn set(log: &Log, collection: &str, settings: &[(&str, &str)]) {
    log.set_collection_settings(&name(collection), |own| {
        settings.iter().for_each(|(key, text)| own.set(key, text).unwrap());
    })
    .unwrap();
}

/// What a reader gives, as `sequence:key`, `sequence:-key` for a tombstone.
fn there(log: &Log, collection: &str) -> Vec<String> {
    let told = |records: Vec<crate::Record>| -> Vec<String> {
        records
            .into_iter()
            .map(|record| {
                let key = String::from_utf8(record.key.unwrap_or_default().to_vec()).unwrap();
                let sign = if record.kind == RecordKind::Delete { "-" } else { "" };
                format!("{}:{sign}{key}", record.sequence)
            })
            .collect()
    };
    let read = |reverse| {
        let options = ReadOptions { reverse, ..ReadOptions::default() };
        log.read(&name(collection), options).unwrap().map(|record| record.unwrap()).collect::<Vec<_>>()
    };
    let (forwards, mut backwards) = (read(false), read(true));
    backwards.reverse();
    assert_eq!(forwards, backwards);
    told(forwards)
}

fn has(log: &Log, collection: &str, key: &str) -> bool {
    log.get(&name(collection), key.as_bytes(), log.0.clock.now()).unwrap().is_some()
}

/// Files, rows and journals agree, and nothing is missing.
fn check(log: &Log) {
    let report = log.verify(VerifyOptions { deep: true }).unwrap();
    assert!(report.ok && report.without_row.is_empty(), "{report:?}");
    assert!(log.catalog().check().unwrap().is_empty());
}

/// Ranges and generations of live segments.
fn live(world: &World, collection: &str) -> Vec<(u64, u64, u32)> {
    let rows = world.rows(collection).into_iter().filter(|row| row.status.is_live());
    rows.map(|row| (row.key.first.0, row.key.last.0, row.key.generation.0)).collect()
}
