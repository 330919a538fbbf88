//! Other programs read what lies in a directory, at any moment: fastavro, Apache's own Avro for Python, and a reader
//! written from `docs/format.md` alone. The readers are installed below the target directory; where that fails, the
//! test fails.
#![allow(clippy::disallowed_methods, reason = "a copy is taken from outside, as a user would")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

#[path = "util/python.rs"]
mod reading;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use icecore::avro::codec::Codec;
use icecore::fs::{FileSystem as _, OpenMode, OsFileSystem};
use icecore::segment::{SegmentName, SegmentReader, write_stub};
use icecore::{AppendOptions, CollectionName, Limits, Log, LogOptions, NewRecord, Sequence, Timestamp};
use reading::run;

/// Busy collections: each is written by one thread, so that its sequences are known before the append.
const BUSY: [&str; 4] = ["orders", "Audit log/ü", "con.x", "_manifest"];
/// Collections with a few records each, so that cold journals come about.
const QUIET: u64 = 24;
const COPIES: usize = 4;

fn readers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers")
}

/// A Python with both readers, made once.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| reading::python("readers-venv", &readers()))
}

/// Record `n` of a collection: the same formulas stand in `tests/readers/check.py`.
fn record(collection: &str, n: u64) -> NewRecord {
    let key = match n % 5 {
        0 => None,
        1 => Some(String::new()),
        _ => Some(format!("key-{}", n % 97)),
    };
    let payload = if n.is_multiple_of(11) {
        String::new()
    } else {
        format!("{collection}#{n}:{}", "abcdefghij".repeat((n % 30) as usize))
    };
    let mut record = match key {
        None => NewRecord::payload(payload),
        Some(key) if n.is_multiple_of(7) => NewRecord::delete(key),
        Some(key) => NewRecord::put(key, payload),
    };
    let timestamp = 1_700_000_000_000_000 + (n as i64) * 1000 - (n as i64 % 4) * 5000;
    record = record.with_timestamp(Timestamp(timestamp));
    if n.is_multiple_of(6) {
        record = record.with_expiry(Timestamp(timestamp + 1_000_000_000_000));
    }
    if n.is_multiple_of(3) {
        record = record.with_header("source", "web").with_header("n", n.to_le_bytes().to_vec());
    }
    record
}

struct Load {
    log: Log,
    data: PathBuf,
    acknowledged: BTreeMap<String, AtomicU64>,
    stop: AtomicBool,
}

impl Load {
    fn open(data: &Path, codec: Codec) -> Self {
        let mut options = LogOptions::new([data]);
        options.codec = codec;
        options.block_bytes = 16 << 10;
        options.cold_bytes = 16 << 10;
        options.limits = Limits {
            journal_bytes: 256 << 10,
            segment_bytes: 192 << 10,
            memtable_bytes: 1 << 20,
            unsealed_bytes: 1500 << 10,
            batch_bytes: 64 << 10,
            record_bytes: 32 << 10,
            ..Limits::default()
        };
        let names = BUSY.iter().map(|name| (*name).to_owned()).chain((0..QUIET).map(|n| format!("quiet-{n}")));
        Self {
            log: Log::open(options).unwrap(),
            data: data.to_path_buf(),
            acknowledged: names.map(|name| (name, AtomicU64::new(0))).collect(),
            stop: AtomicBool::new(false),
        }
    }

    fn append(&self, name: &str, count: u64) {
        let acknowledged = &self.acknowledged[name];
        let first = acknowledged.load(Ordering::Acquire) + 1;
        let records: Vec<_> = (first..first + count).map(|n| record(name, n)).collect();
        let collection = CollectionName::new(name).unwrap();
        let options = AppendOptions { expected_next: Some(Sequence(first)), ..AppendOptions::default() };
        let receipt = self.log.append_batch(&collection, &records, options).unwrap();
        assert_eq!((receipt.first.0, receipt.last.0), (first, first + count - 1));
        acknowledged.store(receipt.last.0, Ordering::Release);
    }

    fn write(&self, busy: &str, quiet: u64) {
        let mut round = 0;
        while !self.stop.load(Ordering::Acquire) {
            self.append(busy, 1 + round % 17);
            if round % 40 == 0 && round < 400 {
                self.append(&format!("quiet-{quiet}"), 2);
            }
            round += 1;
        }
    }

    fn total(&self) -> u64 {
        self.acknowledged.values().map(|last| last.load(Ordering::Acquire)).sum()
    }

    /// Copies the directory as it is now, beside the word of what was acknowledged before.
    fn copy(&self, to: &Path, closed: bool) {
        let acknowledged: serde_json::Map<_, _> =
            self.acknowledged.iter().map(|(name, last)| (name.clone(), last.load(Ordering::Acquire).into())).collect();
        let expected = serde_json::json!({ "acknowledged": acknowledged, "closed": closed });
        copy_data(&self.data, &to.join("data"));
        std::fs::write(to.join("expected.json"), expected.to_string()).unwrap();
    }
}

/// Journals first: what leaves a journal meanwhile is in a segment by then. Newest first, since a later journal tells
/// of earlier ones. And anew, where one was released before it was read to its end: what it held is in another by then.
fn copy_data(from: &Path, to: &Path) {
    let tries = (0..1000).find(|_| {
        let _ = std::fs::remove_dir_all(to);
        std::fs::create_dir_all(to.join(".journal")).unwrap();
        copy_journals(&from.join(".journal"), &to.join(".journal")).unwrap()
    });
    assert!(tries.is_some(), "a journal went away during each try");
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let folder = to.join(entry.file_name());
        std::fs::create_dir_all(&folder).unwrap();
        for file in std::fs::read_dir(entry.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
}

fn copy_journals(from: &Path, to: &Path) -> io::Result<bool> {
    let mut names: Vec<_> = std::fs::read_dir(from)?.map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "avro"));
    names.sort_by_key(|name| name.to_string_lossy().trim_start_matches("cold-").to_owned());
    for name in names.iter().rev() {
        match std::fs::copy(from.join(name), to.join(name)) {
            Ok(_) if from.join(name).exists() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn check(copies: &[PathBuf]) -> serde_json::Value {
    let mut command = Command::new(python());
    command.arg(readers().join("check.py")).args(copies).env("PYTHONDONTWRITEBYTECODE", "1");
    let seen = run(&mut command, "each line above is a finding");
    println!("{}", seen.trim());
    serde_json::from_str(&seen).unwrap()
}

fn load_and_check(codec: Codec) {
    python();
    let place = tempfile::tempdir().unwrap();
    let load = Arc::new(Load::open(&place.path().join("log"), codec));
    let mut copies = Vec::new();
    std::thread::scope(|scope| {
        for (number, busy) in BUSY.iter().enumerate() {
            let load = Arc::clone(&load);
            scope.spawn(move || {
                for quiet in (number as u64..QUIET).step_by(BUSY.len()) {
                    load.append(&format!("quiet-{quiet}"), 3);
                }
                load.write(busy, number as u64);
            });
        }
        // Each copy a good part of the load further, and all of them before its end.
        for number in 0..COPIES {
            while load.total() < 2500 * (number as u64 + 1) {
                std::thread::yield_now();
            }
            let to = place.path().join(format!("copy-{number}"));
            std::fs::create_dir(&to).unwrap();
            load.copy(&to, false);
            copies.push(to);
        }
        load.stop.store(true, Ordering::Release);
    });
    load.log.maintain().unwrap();
    load.log.close().unwrap();
    let to = place.path().join("closed");
    std::fs::create_dir(&to).unwrap();
    load.copy(&to, true);
    add_stub(&to.join("data"));
    copies.push(to);

    let seen = check(&copies);
    assert_eq!(seen["codecs"], serde_json::json!([codec.name()]));
    for what in ["journals", "cold", "segments", "stubs", "marks", "torn", "flips"] {
        assert!(seen[what].as_u64().unwrap() > 0, "no {what} in any copy: {seen}");
    }
}

/// Puts a stub into a collection's folder, as eviction will.
fn add_stub(data: &Path) {
    let fs = OsFileSystem::new();
    let folder = data.join(CollectionName::new(BUSY[1]).unwrap().directory_name());
    let segment = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let reader = SegmentReader::open(fs.open(&segment, OpenMode::Read).unwrap()).unwrap();
    let footer = reader.footer();
    let stub = SegmentName::stub(footer.covers, footer.generation).path(data, &footer.collection);
    write_stub(&fs, &stub, footer).unwrap();
}

#[test]
fn other_programs_read_zstandard_segments_and_every_journal() {
    load_and_check(Codec::DEFAULT);
}

#[test]
fn other_programs_read_segments_without_compression_and_every_journal() {
    load_and_check(Codec::Null);
}

#[test]
fn other_programs_read_deflate_segments_and_every_journal() {
    load_and_check(Codec::Deflate { level: 6 });
}
