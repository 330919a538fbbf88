//! Symptom: opening a log panicked (or, optimised, gave out a next sequence near 2^63) where a cold journal had been cut to less
//! than its header. Cause: the bytes behind its last group were counted by a subtraction below zero. Found by the fuzz
//! target `journal`.
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

#[test]
fn a_cold_journal_shorter_than_its_header_is_damage_of_known_size() {
    for cut in [0, 1, 4095, 4096] {
        let (fs, catalog) = (SimulatedFileSystem::new(), Arc::new(MemoryCatalog::new()));
        let log = Log::open(options(&fs, &catalog)).unwrap();
        let (busy, quiet) = (CollectionName::new("busy").unwrap(), CollectionName::new("quiet").unwrap());
        log.append(&quiet, NewRecord::payload("one")).unwrap();
        while cold_journal(&fs).is_none() {
            log.append(&busy, NewRecord::payload(vec![7; 16 << 10])).unwrap();
            log.maintain().unwrap();
        }
        log.close().unwrap();
        drop(log);
        let path = cold_journal(&fs).unwrap();
        let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
        file.set_len(cut).unwrap();
        drop(file);

        let log = Log::open(options(&fs, &catalog)).unwrap();
        let damaged = &log.recovery().damaged;
        assert!(damaged.iter().any(|found| found.path == path), "cut={cut}: {damaged:?}");
        let receipt = log.append(&busy, NewRecord::payload("next")).unwrap();
        assert!(receipt.last.get() < 10_000, "cut={cut}: next={}", receipt.last);
    }
}
