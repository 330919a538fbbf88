//! An archive is read by a Python script that shares no code with icecore, written from `docs/format.md`.
#![allow(clippy::disallowed_methods, reason = "the archive is looked at from outside, as a user would")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use icecore::archive::manifest::Acknowledged;
use icecore::archive::{ArchivedSegment, Claim, CollectionEntry, Entry, LossEntry, RemovedSegment};
use icecore::avro::codec::Codec;
use icecore::clock::SystemClock;
use icecore::fs::{FileSystem, OpenMode, OsFileSystem};
use icecore::objects::{LocalObjectStore, ObjectStore, Put, Upload};
use icecore::{CollectionName, Log, LogOptions, NewRecord, Sequence, Timestamp};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/restore_without_icecore.py")
}

/// A Python with fastavro, made once.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/requirements.txt");
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("archive-venv");
        let python = venv.join("bin/python");
        let wanted = std::fs::read_to_string(&requirements).unwrap();
        let stamp = venv.join("installed.txt");
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return python;
        }
        let _ = std::fs::remove_dir_all(&venv);
        must(Command::new("python3").args(["-m", "venv"]).arg(&venv), "install python3 with its venv module");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        must(Command::new(&python).args(pip).arg(&requirements), "the readers come from the Python package index");
        std::fs::write(stamp, wanted).unwrap();
        python
    })
}

fn output(command: &mut Command, hint: &str) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; {hint}"))
}

fn must(command: &mut Command, hint: &str) -> String {
    let output = output(command, hint);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}\n{hint}", output.status);
    stdout.into_owned()
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn record(collection: &str, number: u64) -> NewRecord {
    let payload = format!("{collection}#{number}:{}", "ü".repeat((number % 40) as usize));
    let record = match number % 4 {
        0 => NewRecord::payload(payload),
        1 => NewRecord::put("", payload),
        2 => NewRecord::delete(format!("key-{number}")),
        _ => NewRecord::put(vec![0xff, 0, number as u8], payload).with_header("h", vec![1, 2]).with_header("", "x"),
    };
    // Also a time that is no date.
    let time = if number == 7 { i64::MIN } else { number as i64 * 1_000_000 };
    record.with_timestamp(Timestamp(time)).with_expiry(Timestamp(i64::MAX))
}

const COLLECTIONS: [&str; 3] = ["Audit log/ü", "_manifest", "plain"];
const SEGMENTS: u64 = 3;
const RECORDS: u64 = 60;

/// An archive with segments of three codecs, several writers, a checkpoint, a gap, and a purged beginning.
fn archive(place: &Path) -> PathBuf {
    let root = place.join("archive");
    let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem::new());
    std::fs::create_dir(&root).unwrap();
    LocalObjectStore::create(Arc::clone(&fs), &root).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalObjectStore::new(Arc::clone(&fs), &root));
    for (round, codec) in [Codec::DEFAULT, Codec::Null, Codec::Deflate { level: 6 }].into_iter().enumerate() {
        let mut options = LogOptions::new([place.join("log")]);
        options.codec = codec;
        options.block_bytes = 1 << 10;
        let log = Log::open(options).unwrap();
        let clock = Arc::new(SystemClock::new());
        let mut claim = Claim::take(Arc::clone(&store), log.id(), log.epoch(), clock, None).unwrap();
        for collection in COLLECTIONS {
            let first = round as u64 * RECORDS + 1;
            let records: Vec<_> = (first..first + RECORDS).map(|number| record(collection, number)).collect();
            log.append_batch(&name(collection), &records, Default::default()).unwrap();
        }
        log.seal(None).unwrap();
        let mut entries = Vec::new();
        for row in log.catalog().segments(None, None, 1_000).unwrap() {
            let archived = ArchivedSegment::from(&row);
            let file = fs.open(&place.join("log").join(&row.path), OpenMode::Read).unwrap();
            let put = store.put_if_absent(&archived.object_key(), &Upload::new(&file, row.bytes, row.sha256)).unwrap();
            assert_ne!(put, Put::OtherThere);
            entries.push(Entry::Added(archived));
        }
        for row in log.catalog().collections(None, 100).unwrap() {
            entries.push(Entry::Collection(CollectionEntry {
                name: row.name,
                created_at: row.created_at,
                floor: row.floor,
                sealed_through: row.sealed_through,
                settings: row.settings,
                home: None,
            }));
        }
        claim.commit(entries).unwrap();
        claim.checkpoint().unwrap();
        if round == 2 {
            claim.commit(last_words(&log)).unwrap();
        }
        log.close().unwrap();
    }
    root
}

/// The first segment of one collection is purged; of another one the second is lost, and somebody knows.
fn last_words(log: &Log) -> Vec<Entry> {
    let rows = log.catalog().segments(Some(&name("plain")), None, 10).unwrap();
    let lost = log.catalog().segments(Some(&name("_manifest")), None, 10).unwrap();
    vec![
        Entry::Removed(RemovedSegment::from(&rows[0])),
        Entry::Collection(CollectionEntry {
            name: name("plain"),
            created_at: Timestamp(1),
            floor: Sequence(RECORDS + 1),
            sealed_through: Sequence(SEGMENTS * RECORDS),
            settings: "{}".into(),
            home: None,
        }),
        Entry::Removed(RemovedSegment::from(&lost[1])),
        Entry::Loss(LossEntry {
            collection: name("_manifest"),
            first: Sequence(RECORDS + 1),
            last: Sequence(2 * RECORDS),
            reason: "a \"fire\"\n".into(),
            found_at: Timestamp(5),
            acknowledged: Some(Acknowledged { by: "ops".into(), at: Timestamp(6) }),
        }),
    ]
}

fn script(archive: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.arg(example()).arg(archive).args(more);
    command
}

#[test]
fn every_record_is_read_and_checked() {
    let place = tempfile::tempdir().unwrap();
    let archive = archive(place.path());
    let to = place.path().join("out");
    let seen = must(&mut script(&archive, &["--to", to.to_str().unwrap()]), "each line above is a finding");
    let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    assert_eq!((&seen["segments"], &seen["findings"]), (&7.into(), &0.into()), "{seen}");
    assert_eq!(seen["records"], 7 * RECORDS);
    assert_eq!(seen["collections"], serde_json::json!(COLLECTIONS));
    assert_eq!(seen["gaps"], serde_json::json!([["_manifest", RECORDS + 1, 2 * RECORDS]]));
    assert_eq!(seen["manifests"], 10);
    for (collection, expected) in [
        (COLLECTIONS[0], (1..=180).collect::<Vec<u64>>()),
        (COLLECTIONS[1], (1..=60).chain(121..=180).collect()),
        (COLLECTIONS[2], (61..=180).collect()),
    ] {
        let path = to.join(format!("{}.ndjson", name(collection).directory_name()));
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let sequences: Vec<u64> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
        assert_eq!(sequences, expected, "{collection}");
        for line in &lines {
            let number = line["sequence"].as_u64().unwrap();
            let record = record(collection, number);
            assert_eq!(line["timestamp"], record.timestamp.unwrap().0);
            assert_eq!(line["expires_at"], i64::MAX);
            assert_eq!(line["key"].as_str().map(decoded), record.key.map(|key| key.to_vec()));
            assert_eq!(line["payload"].as_str().map(decoded), record.payload.map(|payload| payload.to_vec()));
            assert_eq!(line["headers"].as_array().unwrap().len(), record.headers.len());
        }
    }
    let one = must(&mut script(&archive, &["--collection", "plain", "--skip-record-checksums"]), "");
    assert!(one.contains("\"segments\": 2"), "{one}");
}

/// Base64, as the script writes it.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        bits = bits << 6 | DIGITS.iter().position(|known| *known == digit).unwrap() as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

/// Whatever is changed or gone is named, and the script ends with 1.
#[test]
fn what_is_damaged_is_named() {
    let place = tempfile::tempdir().unwrap();
    let archive = archive(place.path());
    let folder = archive.join("plain");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let manifest = |number: u64| archive.join(format!("_manifest/{number:020}"));
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    type Harm<'a> = (&'a dyn Fn(&Path), PathBuf, &'a str);
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let harms: [Harm<'_>; 6] = [
        (&flip, segments[1].clone(), "another SHA-256"),
        (&remove, segments[2].clone(), "it is not there"),
        (&flip, manifest(2), "manifest 2: "),
        (&flip, manifest(6), "manifest 6: "),
        (&remove, manifest(5), "manifest 5 is missing"),
        (&remove, manifest(1), "manifest 1 is missing"),
    ];
    for (harm, path, expected) in harms {
        let good = std::fs::read(&path).unwrap();
        harm(&path);
        let output = output(&mut script(&archive, &[]), "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {stderr}", path.display());
        assert!(stderr.contains(expected), "{}: {stderr}", path.display());
        std::fs::write(&path, good).unwrap();
    }
    must(&mut script(&archive, &[]), "all was put back");
    // A purged segment may be deleted: nobody names it.
    remove(&segments[0]);
    must(&mut script(&archive, &[]), "it is not promised any more");
}
