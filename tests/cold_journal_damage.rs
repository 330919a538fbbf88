//! Two regressions of damaged cold journals.
//!
//! Symptom: opening a log panicked (or, optimised, gave out a next sequence near 2^63) where a cold journal had been cut to
//! less than its header. Cause: the bytes behind its last group were counted by a subtraction below zero. Found by the fuzz
//! target `journal`.
//!
//! Symptom: one bad byte in a cold journal's header cost all its records, though every group was whole. Cause: groups were
//! looked for by a file id of zeros, instead of the one that ends the file.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

use std::path::PathBuf;
use std::sync::Arc;

use icecore::catalog::memory::MemoryCatalog;
use icecore::fs::simulated::SimulatedFileSystem;
use icecore::fs::{FileSystem as _, OpenMode};
use icecore::{CollectionName, Limits, Log, LogOptions, NewRecord};

fn options(fs: &SimulatedFileSystem, catalog: &Arc<MemoryCatalog>) -> LogOptions {
    let mut options = LogOptions::new(["/log"]);
    options.fs = Arc::new(fs.clone());
    options.catalog = Some(catalog.clone());
    options.background = false;
    options.cold_bytes = 8 << 10;
    options.limits = Limits { journal_bytes: 64 << 10, unsealed_bytes: 256 << 10, ..Limits::default() };
    options
}

fn cold_journal(fs: &SimulatedFileSystem) -> Option<PathBuf> {
    let mut files = fs.files().into_iter().map(|(path, ..)| path);
    files.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("cold-") && name.ends_with(".avro")
    })
}

/// A log with a cold journal, closed: its disk, its catalog, the cold journal's path.
fn closed_log() -> (SimulatedFileSystem, Arc<MemoryCatalog>, PathBuf) {
    let (fs, catalog) = (SimulatedFileSystem::new(), Arc::new(MemoryCatalog::new()));
    let log = Log::open(options(&fs, &catalog)).unwrap();
    log.append(&name("quiet"), NewRecord::payload("one")).unwrap();
    while cold_journal(&fs).is_none() {
        log.append(&name("busy"), NewRecord::payload(vec![7; 16 << 10])).unwrap();
        log.maintain().unwrap();
    }
    log.close().unwrap();
    let path = cold_journal(&fs).unwrap();
    (fs, catalog, path)
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

#[test]
fn a_cold_journal_shorter_than_its_header_is_damage_of_known_size() {
    for cut in [0, 1, 4095, 4096] {
        let (fs, catalog, path) = closed_log();
        fs.open(&path, OpenMode::ReadWrite).unwrap().set_len(cut).unwrap();
        let log = Log::open(options(&fs, &catalog)).unwrap();
        let damaged = &log.recovery().damaged;
        assert!(damaged.iter().any(|found| found.path == path), "cut={cut}: {damaged:?}");
        let receipt = log.append(&name("busy"), NewRecord::payload("next")).unwrap();
        assert!(receipt.last.get() < 10_000, "cut={cut}: next={}", receipt.last);
    }
}

#[test]
fn a_bad_header_costs_none_of_a_cold_journals_records() {
    let (fs, catalog, path) = closed_log();
    fs.flip(&path, 2000, 0x10).unwrap();
    let log = Log::open(options(&fs, &catalog)).unwrap();
    assert!(log.recovery().damaged.iter().any(|found| found.path == path), "{:?}", log.recovery());
    assert!(log.recovery().losses.is_empty(), "{:?}", log.recovery().losses);
    assert_eq!(log.append(&name("quiet"), NewRecord::payload("two")).unwrap().last.get(), 2);
    let records: Vec<_> = log.read(&name("quiet"), Default::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(records.iter().map(|record| record.payload.as_deref().unwrap()).collect::<Vec<_>>(), [b"one", b"two"]);
}
