//! Other programs open the files of the columnar store: DuckDB, pandas by pyarrow, polars. Every value of every column is compared.
//!
//! The readers are installed below the target directory; where that fails, the test fails.
#![allow(clippy::disallowed_methods, reason = "a store is looked at from outside, as a user would")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

#[path = "../util/python.rs"]
mod reading;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use icecore::clock::SystemClock;
use icecore::fs::OsFileSystem;
use icecore::sink::{Batch, Sink};
use icecore::store::{ColumnarStore, DirectoryHomes, StoreOptions};
use icecore::vector::VectorRecord;
use icecore::{CollectionName, Epoch, LogId, NewRecord, Record, RecordKind, Sequence, Timestamp};
use reading::{python, run};

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/columnar")
}

/// Record `n`: of every sort, in turn.
fn record(n: u64) -> Record {
    let key = format!("key-{}", n % 97);
    let new = match n % 6 {
        0 => NewRecord::payload(format!("without a key {n}")),
        1 => NewRecord::delete(key),
        2 => NewRecord::put(key, "").with_header("a", "1").with_header("ü", vec![0, 255, n as u8]),
        3 => NewRecord::put("", vec![0, 159, 146, n as u8]).with_expiry(Timestamp(1_800_000_000_000_001 + n as i64)),
        _ => {
            let vector: Vec<f32> = (0..5).map(|at| (n as f32).sin() / (at as f32 + 0.1)).collect();
            let metadata = format!("{{\"n\": {n}, \"ü\": [1.50]}}");
            VectorRecord::new(key, vector).with_metadata(metadata).into_new_record().unwrap()
        }
    };
    Record {
        sequence: Sequence(n),
        timestamp: Timestamp(1_700_000_000_000_001 + n as i64 * 1_000_003 - (n as i64 % 5) * 7_000_000),
        kind: new.kind,
        key: new.key,
        expires_at: new.expires_at,
        headers: new.headers,
        payload: new.payload,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What a reader should see: bytes as hexadecimal digits, numbers of vectors by their bits.
fn expected(record: &Record) -> serde_json::Value {
    let vector = VectorRecord::of_record(record).map(|vector| vector.unwrap());
    let headers: Vec<_> =
        record.headers.iter().map(|header| serde_json::json!([header.key, hex(&header.value)])).collect();
    serde_json::json!({
        "key": record.key.as_deref().map(hex),
        "sequence": record.sequence,
        "timestamp": record.timestamp,
        "expires_at": record.expires_at,
        "kind": if record.kind == RecordKind::Put { "put" } else { "delete" },
        "metadata": vector.as_ref().map(|vector| vector.metadata.clone()),
        "headers": headers,
        "vector": vector.as_ref().map(|vector| vector.vector.iter().map(|value| value.to_bits()).collect::<Vec<_>>()),
        "payload": if vector.is_some() { None } else { record.payload.as_deref().map(hex) },
    })
}

#[test]
fn other_programs_read_every_value() {
    let python = python("columnar-venv", &sources());
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let assigned = data.clone();
    let homes = DirectoryHomes::to_write(Arc::new(OsFileSystem::new()), move |_| Ok(assigned.clone()));
    let store =
        ColumnarStore::new(LogId([1; 16]), Arc::new(homes), Arc::new(SystemClock::new()), StoreOptions::default());
    // One file with many row groups, small ones, one without any vector; then all of it merged.
    let mut all = Vec::new();
    for (name, ends) in [("large", vec![40_000]), ("small", vec![7, 8, 9, 400]), ("merged", vec![300, 301, 900])] {
        let collection = CollectionName::new(name).unwrap();
        let mut after = 0;
        for end in ends {
            let records: Vec<Record> = (after + 1..=end).map(record).collect();
            let (after_, through) = (Sequence(after), Sequence(end));
            let batch = Batch { collection: &collection, epoch: Epoch(1), after: after_, records: &records, through };
            store.apply(&batch).unwrap();
            all.extend(records.iter().map(|record| (name, expected(record))));
            after = end;
        }
        if name == "merged" {
            assert_eq!(store.merge(&collection).unwrap().files_after, 1);
        }
    }
    let lines: Vec<String> =
        all.iter().map(|(name, value)| serde_json::json!({"collection": name, "row": value}).to_string()).collect();
    let wanted = place.path().join("expected.jsonl");
    std::fs::write(&wanted, lines.join("\n")).unwrap();

    let mut check = Command::new(python);
    check.arg(sources().join("check.py")).arg(data.join(".store")).arg(&wanted).env("PYTHONDONTWRITEBYTECODE", "1");
    let seen = run(&mut check, "each line above is a finding");
    println!("{}", seen.trim());
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    for reader in ["duckdb", "pandas", "polars", "pyarrow"] {
        assert_eq!(seen["rows"][reader], all.len(), "{seen}");
    }
    assert_eq!(seen["files"], 6, "{seen}");
}
