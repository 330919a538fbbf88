//! The life of a log with sinks, through the real program: records are appended, flushed by themselves, searched, compacted, killed, recovered,
//! archived, restored, and everything is there at each step.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use icecore::clock::SystemClock;
use icecore::fs::OsFileSystem;
use icecore::search::source::{Nothing, Source};
use icecore::search::{Metric, Query, Search, SearchOptions};
use icecore::store::{ColumnarStore, DirectoryHomes, StoreOptions};
use icecore::{CollectionName, Error, ErrorKind, Log, LogOptions};
use util::Workspace;

const DIMENSIONS: usize = 384;

/// The vector of a number, the same each time.
fn vector(number: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(number);
    (0..DIMENSIONS).map(|_| random.f32() - 0.5).collect()
}

fn line(number: u64) -> String {
    let vector: Vec<String> = vector(number).iter().map(ToString::to_string).collect();
    format!(
        "{{\"id\":\"doc-{number}\",\"vector\":[{}],\"metadata\":{{\"parity\":{}}}}}\n",
        vector.join(","),
        number % 2
    )
}

fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(line).collect()
}

struct World {
    workspace: Workspace,
}

impl World {
    fn new() -> Self {
        let workspace = Workspace::new();
        // A threshold of a megabyte; two directories.
        let settings = "data = [\"d1\", \"d2\"]\nsinks = [\"store\", \"kv\"]\n\n[flush]\nbytes = \"1MiB\"\n\n[journal]\nbytes = \"2MiB\"\n\n[limits]\nbatch_bytes = \"1MiB\"\nrecord_bytes = \"256KiB\"\n";
        workspace.write("icecore.toml", settings);
        Self { workspace }
    }

    fn run(&self, line: &str) -> util::Outcome {
        self.workspace.run(line).expect_code(0)
    }

    fn status(&self) -> serde_json::Value {
        self.run("status --json").json_lines().remove(0)
    }

    fn append(&self, collection: &str, numbers: std::ops::Range<u64>) {
        self.workspace.write("input.jsonl", lines(numbers));
        self.run(&format!("append {collection} --format vectors input.jsonl"));
    }

    fn log(&self, directories: &[&str]) -> Log {
        let directories = directories.iter().map(|directory| self.workspace.path(directory));
        Log::open_read_only(LogOptions::new(directories)).unwrap()
    }

    /// The directory of a component by the program's own word.
    fn assigned(&self, component: &str, collection: &str) -> PathBuf {
        let rows = self.run("ls assignments --json").json_lines();
        let row = rows.iter().find(|row| row["component"] == component && row["collection"] == collection);
        let row = row.unwrap_or_else(|| panic!("{component} of {collection}: {rows:?}"));
        self.workspace.path(row["directory"].as_str().unwrap())
    }
}

fn search_in(log: &Log, has_store: bool) -> Search {
    let clock = Arc::new(SystemClock::new());
    let of = log.clone();
    let homes = DirectoryHomes::to_read(Arc::new(OsFileSystem::new()), move |name| {
        let none = || Error::new(ErrorKind::NotFound, "not assigned");
        let id = of.assignment("storage", name)?.ok_or_else(none)?.directory;
        of.directories().into_iter().find(|(known, _)| *known == id).map(|(_, path)| path).ok_or_else(none)
    });
    let options = StoreOptions { read_only: true, ..StoreOptions::default() };
    let store = ColumnarStore::new(log.id(), Arc::new(homes), clock.clone(), options);
    let source: Arc<dyn Source> = if has_store { Arc::new(store) } else { Arc::new(Nothing) };
    Search::open(log.clone(), source, clock, SearchOptions::default())
}

/// Every vector is found, no other one, and each that is tried is the nearest to itself.
#[track_caller]
fn assert_all_are_found(log: &Log, has_store: bool, collection: &str, numbers: std::ops::Range<u64>) {
    let (search, name) = (search_in(log, has_store), CollectionName::new(collection).unwrap());
    let all = search.nearest(&name, &Query::new(vector(0), 10_000).by(Metric::Dot)).unwrap();
    let mut found: Vec<String> = all.hits.into_iter().map(|hit| hit.id).collect();
    let mut wanted: Vec<String> = numbers.clone().map(|number| format!("doc-{number}")).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    for number in numbers.step_by(97) {
        let answer = search.nearest(&name, &Query::new(vector(number), 1)).unwrap();
        assert_eq!(answer.hits[0].id, format!("doc-{number}"));
        assert!((answer.hits[0].score - 1.0).abs() < 1e-4, "{}", answer.hits[0].score);
    }
}

fn parquet_files(directory: &std::path::Path, collection: &str) -> Vec<PathBuf> {
    let folder = directory.join(".store").join(collection);
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect()
}

/// Until so many records more are acknowledged.
fn wait_for(acks: &mut impl Iterator<Item = std::io::Result<String>>, mut records: u64) {
    while records > 0 {
        let ack: serde_json::Value = serde_json::from_str(&acks.next().unwrap().unwrap()).unwrap();
        records -= ack["last_sequence"].as_u64().unwrap() - ack["first_sequence"].as_u64().unwrap() + 1;
    }
}

/// The megabyte: 5,000 vectors of 384 dimensions (7.3 MiB), and a threshold of 1 MiB.
#[test]
fn a_megabyte_at_a_time() {
    let world = World::new();
    world.append("docs", 0..5000);
    // It was flushed by itself, but for what stayed below the threshold.
    let status = world.status();
    let sink = |status: &serde_json::Value, name: &str| {
        let sinks = status["sinks"]["sinks"].as_array().unwrap_or_else(|| panic!("{status}")).clone();
        sinks.into_iter().find(|sink| sink["sink"] == name).unwrap()
    };
    let unsealed = status["unsealed_records"].as_u64().unwrap();
    assert!(status["unsealed_bytes"].as_u64().unwrap() < 1 << 20, "{status}");
    for name in ["store", "kv"] {
        let sink = sink(&status, name);
        assert_eq!(sink["records"].as_u64().unwrap() + unsealed, 5000, "{sink}");
        assert_eq!((sink["failures"].as_u64(), sink["waiting_collections"].as_u64()), (Some(0), Some(0)), "{sink}");
    }
    // Memory and journals were given back.
    let memtable = status["memtable_bytes"].as_u64().unwrap();
    assert!(memtable < 2 << 20, "memory is held: {memtable}");
    let live: u64 =
        status["journals"].as_array().unwrap().iter().map(|journal| journal["live_bytes"].as_u64().unwrap()).sum();
    assert!(live < 2 << 20, "journals are held: {live}");
    println!("7.3 MiB appended: {memtable} bytes in memory, {live} in journals, {unsealed} records in no segment");
    assert!(status["appends"]["total"]["count"].as_u64().unwrap() > 0, "{status}");
    // The files are where the component was assigned, and nowhere else.
    let (storage, index) = (world.assigned("storage", "docs"), world.assigned("index", "docs"));
    assert_ne!(parquet_files(&storage, "docs"), Vec::<PathBuf>::new());
    assert!(index.join(".kv").is_dir());
    let other = ["d1", "d2"].map(|name| world.workspace.path(name)).into_iter().find(|path| *path != storage).unwrap();
    assert_eq!(parquet_files(&other, "docs"), Vec::<PathBuf>::new());
    // Everything is found at once; also after a flush.
    assert_all_are_found(&world.log(&["d1", "d2"]), true, "docs", 0..5000);
    world.run("flush docs");
    assert_eq!(world.status()["unsealed_records"].as_u64(), Some(0));
    assert_eq!(world.run("ls segments --unflushed --json").json_lines(), Vec::<serde_json::Value>::new());
    assert_all_are_found(&world.log(&["d1", "d2"]), true, "docs", 0..5000);
    // A further thousand, killed when they are acknowledged: below the threshold some of them, found all the same.
    let mut child = world.workspace.icecore("append docs --format vectors --batch 100 --acks".split(' ')).spawn();
    let mut acks = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stdin = child.stdin.take().unwrap();
    for from in (5000..6000).step_by(100) {
        stdin.write_all(lines(from..from + 100).as_bytes()).unwrap();
        stdin.flush().unwrap();
        wait_for(&mut acks, 100);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    assert_all_are_found(&world.log(&["d1", "d2"]), true, "docs", 0..6000);
    world.run("recover");
    assert_all_are_found(&world.log(&["d1", "d2"]), true, "docs", 0..6000);
    // The program finds them too, and filters.
    let vector: Vec<String> = vector(5999).iter().map(ToString::to_string).collect();
    world.workspace.write("query.json", format!("[{}]", vector.join(",")));
    let hits = world.run("search docs --vector @query.json --k 3 --filter parity=1 --json").json_lines();
    assert_eq!((hits.len(), &hits[0]["id"]), (3, &"doc-5999".into()), "{hits:?}");
    assert_eq!(hits[0]["metadata"]["parity"], 1);
    // From the archive, on a machine with nothing: found before anything is flushed there, and after.
    world.run("--archive file:archive archive");
    world.run("flush");
    world.run("--archive file:archive archive");
    for directory in ["d1", "d2"] {
        std::fs::remove_dir_all(world.workspace.path(directory)).unwrap();
    }
    world.run("restore file:archive --to n1");
    assert_all_are_found(&world.log(&["n1"]), false, "docs", 0..6000);
    world.run("--data n1 flush");
    assert_all_are_found(&world.log(&["n1"]), true, "docs", 0..6000);
    let newest = world.run("--data n1 get docs doc-4321 --json").stdout;
    assert!(newest.contains("\"sequence\":4322"), "{newest}");
    world.run("--data n1 verify --deep");
}

/// The whole life, with collections over directories, versions, deletes and compaction.
#[test]
fn a_whole_life() {
    let world = World::new();
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    // What each key has now, by a model.
    let mut model: BTreeMap<(String, String), Option<String>> = BTreeMap::new();
    let mut load = |world: &World, round: u64| {
        for name in &names {
            let mut input = String::new();
            for number in 0..300_u64 {
                let key = format!("k{}", (number * 7 + round) % 90);
                let filler = "x".repeat(5000);
                let line =
                    serde_json::json!({ "key": key, "of": name, "at": [round, number], "x": filler }).to_string();
                input.push_str(&format!("{line}\n"));
                model.insert((name.clone(), key), Some(line));
            }
            world.workspace.write("input.jsonl", &input);
            world.run(&format!("append {name} --format ndjson --key key input.jsonl"));
            let gone = format!("k{}", round % 90);
            world.run(&format!("delete {name} {gone}"));
            model.insert((name.clone(), gone), None);
        }
        model.clone()
    };
    let check = |world: &World, model: &BTreeMap<(String, String), Option<String>>, directories: &[&str]| {
        let log = world.log(directories);
        let now = icecore::Timestamp(i64::MAX - 1);
        for ((name, key), value) in model {
            let found = log.get(&CollectionName::new(name).unwrap(), key.as_bytes(), now).unwrap();
            let found = found.map(|record| String::from_utf8(record.payload.unwrap().to_vec()).unwrap());
            assert_eq!(&found, value, "{name} {key}");
        }
    };
    let model_then = load(&world, 0);
    check(&world, &model_then, &["d1", "d2"]);
    let assignments = |world: &World| {
        let rows = world.run("ls assignments --json").json_lines();
        let key = |row: &serde_json::Value| {
            [&row["component"], &row["collection"], &row["directory"]].map(ToString::to_string)
        };
        let mut keys: Vec<_> = rows.iter().map(key).collect();
        keys.sort();
        keys
    };
    let before = assignments(&world);
    assert_eq!(before.len(), 24, "three components of eight collections: {before:?}");
    load(&world, 1);
    let model_then = load(&world, 2);
    world.run("flush");
    let bytes = |world: &World| -> u64 {
        let rows = world.run("ls segments --json").json_lines();
        rows.iter().filter(|row| row["status"] == "sealed").map(|row| row["bytes"].as_u64().unwrap()).sum()
    };
    let full = bytes(&world);
    world.run("--set compact.keep_versions=1 compact");
    let compacted = bytes(&world);
    println!("compaction: {full} bytes of segments became {compacted}");
    assert!(compacted * 2 < full, "of nine versions of a key one is left: {compacted} of {full}");
    check(&world, &model_then, &["d1", "d2"]);
    world.run("verify --deep");
    // Killed while a load goes on; what was acknowledged is there, each assignment is kept.
    let mut child = world.workspace.icecore("append c0 --format ndjson --key key --batch 10 --acks".split(' ')).spawn();
    let mut acks = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stdin = child.stdin.take().unwrap();
    let mut model_then = model_then;
    for number in 0..200 {
        let key = format!("late-{number}");
        let line = serde_json::json!({ "key": key, "x": "y".repeat(9000) }).to_string();
        writeln!(stdin, "{line}").unwrap();
        model_then.insert(("c0".to_owned(), key), Some(line));
        if number % 10 == 9 {
            stdin.flush().unwrap();
            wait_for(&mut acks, 10);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.run("recover");
    check(&world, &model_then, &["d1", "d2"]);
    assert_eq!(assignments(&world), before);
    // One is deleted: it goes from the sinks too, and what is left of it is not offered to them for ever.
    let storage = world.assigned("storage", "c7");
    assert_ne!(parquet_files(&storage, "c7"), Vec::<PathBuf>::new());
    world.run("collection delete c7 --yes");
    model_then.retain(|(name, _), _| name != "c7");
    world.run("flush");
    assert_eq!(parquet_files(&storage, "c7"), Vec::<PathBuf>::new());
    let sinks = world.status()["sinks"]["sinks"].clone();
    assert!(sinks.as_array().unwrap().iter().all(|sink| sink["failures"] == 0), "{sinks}");
    // Archived, restored elsewhere, and it goes on.
    world.run("flush");
    world.run("--archive file:archive archive");
    world.run("restore file:archive --to n1");
    check(&world, &model_then, &["n1"]);
    let line = serde_json::json!({ "key": "new", "x": "there" }).to_string();
    world.workspace.write("input.jsonl", format!("{line}\n"));
    world.run("--data n1 append c0 --format ndjson --key key input.jsonl");
    world.run("--data n1 flush");
    assert_eq!(world.run("--data n1 get c0 new").stdout.trim_end(), line);
    check(&world, &model_then, &["n1"]);
}
