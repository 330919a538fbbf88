//! The same by the real program, on real files.

#![allow(clippy::disallowed_methods, reason = "the test damages real files behind the program's back")]

use std::path::{Path, PathBuf};

use icecore::{Log, LogOptions};

use crate::place::{append_some, append_until_cold, small};
use crate::util::Workspace;
use crate::{file_name, is_cold, is_journal};

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for path in files_below(from) {
        let copy = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&path, copy).unwrap();
    }
}

/// A data directory as a killed writer left it, `data` below the workspace.
fn killed(workspace: &Workspace) -> Vec<PathBuf> {
    let (live, data) = (workspace.path("live"), workspace.path("data"));
    let log = Log::open(small(LogOptions::new([&live]))).unwrap();
    let mut number = 0;
    append_until_cold(&log, &mut number, || files_below(&live).iter().any(|path| is_cold(path)));
    append_some(&log, &mut number);
    log.maintain().unwrap();
    copy(&live, &data);
    log.close().unwrap();
    files_below(&data)
}

fn kind_of(path: &Path) -> &'static str {
    match (is_journal(path), is_cold(path)) {
        (_, true) => "cold journal",
        (true, false) => "hot journal",
        (false, false) => "segment",
    }
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn verify_exits_with_4() {
    let workspace = Workspace::new();
    let files = killed(&workspace);
    workspace.run("--data data verify --deep").expect_code(0);
    let newest = |kind: &str| {
        let found = files.iter().rfind(|path| file_name(path).ends_with(".avro") && kind_of(path) == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {files:?}"))
    };
    for kind in ["hot journal", "cold journal", "segment"] {
        let path = newest(kind);
        let bytes = std::fs::read(path).unwrap();
        // The header, and what is behind it: the first group, the first block.
        let behind = if kind == "segment" { bytes.len() / 2 } else { 4096 + 300 };
        for offset in [10, behind] {
            flip(path, offset);
            let outcome = workspace.run("--data data --json verify --deep").expect_code(4);
            let report = &outcome.json_lines()[0];
            assert_eq!(report["ok"], false, "{kind}, offset={offset}: {report}");
            let damaged = report["damaged"].as_array().unwrap();
            let named = damaged.iter().any(|damaged| damaged["path"].as_str().unwrap().ends_with(&file_name(path)));
            assert!(named, "{kind}, offset={offset}: {report}");
            flip(path, offset);
        }
    }
    workspace.run("--data data verify --deep").expect_code(0);
}

/// Symptom: `verify` said "OK" and exited with 0 where the last group of a journal was damaged and nothing proved that it had
/// been synced, though its records had been acknowledged. Cause: the program asked only for damage. J5: that is an unproven
/// tail, and not ok.
#[test]
fn an_unproven_tail_exits_with_3() {
    let workspace = Workspace::new();
    let (live, data) = (workspace.path("live"), workspace.path("data"));
    let log = Log::open(small(LogOptions::new([&live]))).unwrap();
    append_some(&log, &mut 0);
    copy(&live, &data);
    log.close().unwrap();
    workspace.run("--data data verify --deep").expect_code(0);
    let files = files_below(&data);
    let journal = files.iter().rfind(|path| is_journal(path)).unwrap();
    let bytes = std::fs::read(journal).unwrap();
    // The last group holds the last payload.
    let payload = b"record ";
    let last = bytes.windows(payload.len()).rposition(|window| window == payload).unwrap();
    flip(journal, last);
    let outcome = workspace.run("--data data --json verify --deep").expect_code(3);
    let report = &outcome.json_lines()[0];
    assert_eq!((&report["verdict"], &report["damaged"]), (&"UNPROVEN-TAIL".into(), &[0; 0].into()), "{report}");
    assert!(report["unproven_tail_bytes"].as_u64().unwrap() > 0, "{report}");
}
