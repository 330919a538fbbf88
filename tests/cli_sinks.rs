//! What sinks keep in directories, by the real program: looked up, moved with its directory, killed in the middle, lost and made again.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use icecore::clock::SystemClock;
use icecore::fs::OsFileSystem;
use icecore::store::{ColumnarStore, DirectoryHomes, StoreOptions};
use icecore::{CollectionName, Error, ErrorKind, Log, LogOptions, Sequence};
use serde_json::Value;
use util::{Outcome, Workspace};

const NAMES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];
const KEYS: u64 = 40;

struct World {
    workspace: Workspace,
    /// What each key has now, by a model.
    model: BTreeMap<(String, String), Option<String>>,
}

impl World {
    /// Three directories. The log of each collection is in another one than what sinks keep of it.
    fn new() -> Self {
        let world = Self { workspace: Workspace::new(), model: BTreeMap::new() };
        world.workspace.write("icecore.toml", "data = [\"d1\", \"d2\", \"d3\"]\nsinks = [\"store\", \"kv\"]\n");
        world.run("collection create none sinks=none");
        world
    }

    fn run(&self, line: &str) -> Outcome {
        self.workspace.run(line).expect_code(0)
    }

    fn json(&self, line: &str) -> Vec<Value> {
        self.run(&format!("{line} --json")).json_lines()
    }

    /// So many records of keys that come again and again, and a tombstone.
    fn append(&mut self, collection: &str, round: u64) {
        let mut input = String::new();
        for number in 0..KEYS {
            let key = format!("k{}", (number * 7 + round) % KEYS);
            let line = serde_json::json!({ "key": key, "of": collection, "at": [round, number] }).to_string();
            input.push_str(&format!("{line}\n"));
            self.model.insert((collection.to_owned(), key), Some(line));
        }
        self.workspace.write("input.jsonl", &input);
        self.run(&format!("append {collection} --format ndjson --key key input.jsonl"));
        let gone = format!("k{}", round % KEYS);
        self.run(&format!("delete {collection} {gone}"));
        self.model.insert((collection.to_owned(), gone), None);
    }

    fn flushed(rounds: u64) -> Self {
        let mut world = Self::new();
        for round in 0..rounds {
            NAMES.into_iter().for_each(|name| world.append(name, round));
            world.run("flush");
        }
        world
    }

    fn log(&self) -> Log {
        let directories = ["d1", "d2", "d3"].map(|name| self.workspace.path(name));
        Log::open_read_only(LogOptions::new(directories.into_iter().filter(|path| path.exists()))).unwrap()
    }

    /// The sequences that the columnar store has of a collection.
    fn in_store(&self, collection: &str) -> Vec<Sequence> {
        let log = self.log();
        let of = log.clone();
        let homes = DirectoryHomes::to_read(Arc::new(OsFileSystem::new()), move |name| {
            let none = || Error::new(ErrorKind::NotFound, "not assigned");
            of.present_directory(&of.assignment("storage", name)?.ok_or_else(none)?.directory)
        });
        let options = StoreOptions { read_only: true, ..StoreOptions::default() };
        let store = ColumnarStore::new(log.id(), Arc::new(homes), Arc::new(SystemClock::new()), options);
        let Some(view) = store.view(&CollectionName::new(collection).unwrap()).unwrap() else { return Vec::new() };
        view.read(Sequence(0)).map(|record| record.unwrap().sequence).collect()
    }

    fn in_log(&self, collection: &str) -> Vec<Sequence> {
        let records = self.log().read(&CollectionName::new(collection).unwrap(), Default::default()).unwrap();
        records.map(|record| record.unwrap().sequence).collect()
    }

    /// What `get` prints, with the index and without; whether the index was asked.
    fn get(&self, collection: &str, key: &str) -> (Option<String>, Option<String>, bool) {
        let of = |more: &str| {
            let run = self.workspace.run(&format!("-v {more} get {collection} {key}"));
            let found = run.status.success().then(|| run.stdout.trim_end().to_owned());
            assert!(found.is_some() || run.stderr.contains("no such key"), "{collection} {key}: {}", run.stderr);
            (found, run.stderr.contains("looked up in the index"))
        };
        let ((indexed, used), (scanned, not_used)) = (of(""), of("--set sinks="));
        assert!(!not_used);
        (indexed, scanned, used)
    }

    /// Some keys of each collection.
    #[track_caller]
    fn check(&self, names: &[&str], step: usize, wants_index: bool) {
        for ((name, key), value) in self.model.iter().step_by(step) {
            if names.contains(&name.as_str()) {
                let (indexed, scanned, used) = self.get(name, key);
                assert_eq!((&indexed, &scanned), (value, value), "{name} {key}");
                assert_eq!(used, wants_index, "{name} {key}");
            }
        }
    }

    /// Collections of a component in a directory.
    fn assigned(&self, component: &str, directory: &str) -> Vec<String> {
        let rows = self.json(&format!("ls assignments --component {component}"));
        let is_there = |row: &&Value| row["directory"].as_str().unwrap().ends_with(&format!("/{directory}"));
        rows.iter().filter(is_there).map(|row| row["collection"].as_str().unwrap().to_owned()).collect()
    }
}

fn parquet_files(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let below = entries.map(|entry| entry.unwrap().path());
    let count = |path: PathBuf| {
        if path.is_dir() {
            parquet_files(&path)
        } else {
            usize::from(path.extension().is_some_and(|it| it == "parquet"))
        }
    };
    below.map(count).sum()
}

#[test]
fn the_index_and_the_scan_say_the_same() {
    let mut world = World::flushed(2);
    world.check(&NAMES[..2], 3, true);
    // Beyond the index: in no segment, in segments that were not delivered, after a kill.
    world.append("c0", 2);
    world.check(&["c0"], 3, true);
    world.run("--set sinks= seal c0");
    world.append("c0", 3);
    world.check(&["c0"], 3, true);
    let mut child = world.workspace.icecore("append c0 --format ndjson --key key --batch 1 --acks".split(' ')).spawn();
    let mut acks = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stdin = child.stdin.take().unwrap();
    for number in 0..10 {
        let key = format!("k{number}");
        let line = serde_json::json!({ "key": key, "late": number }).to_string();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
        acks.next().unwrap().unwrap();
        world.model.insert(("c0".to_owned(), key), Some(line));
    }
    // Who writes has the index open, or has not opened it yet: either way the answer is the same.
    let (indexed, scanned, _) = world.get("c0", "k3");
    assert_eq!((&indexed, &scanned), (&world.model[&("c0".to_owned(), "k3".to_owned())], &scanned));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    world.check(&["c0"], 1, true);
    world.run("recover");
    world.check(&["c0"], 3, true);
    world.run("flush");
    world.check(&["c0"], 3, true);
    world.run("--set compact.keep_versions=1 --set compact.tombstone_grace=1s compact");
    world.check(&["c0", "c1"], 3, true);
    // Without the index's files the log alone answers.
    for directory in ["d1", "d2", "d3"] {
        let _ = std::fs::remove_dir_all(world.workspace.path(directory).join(".kv"));
    }
    world.check(&["c0"], 5, false);
    let expiring = serde_json::json!({ "key": "soon" }).to_string();
    world.workspace.write("input.jsonl", format!("{expiring}\n"));
    world.run("append c0 --format ndjson --key key --expires-in 1s input.jsonl");
    world.run("flush c0");
    assert!(world.get("c0", "k5").2, "made again by a flush");
}

#[test]
fn a_drained_directory_takes_along_what_sinks_keep() {
    let mut world = World::flushed(2);
    let (storage, index) = (world.assigned("storage", "d2"), world.assigned("index", "d2"));
    assert!(!storage.is_empty() && !index.is_empty());
    let drained = world.json("directory drain d2").remove(0);
    let moved = storage.len() + index.len();
    assert_eq!(
        (&drained["component_collections"], &drained["component_stayed"]),
        (&moved.into(), &Value::Array(vec![]))
    );
    assert!(drained["component_bytes"].as_u64().unwrap() > 0, "{drained}");
    for folder in [".store", ".kv"] {
        assert!(!world.workspace.path("d2").join(folder).exists(), "{folder}");
    }
    let flushed = world.json("flush").remove(0);
    assert_eq!(flushed["records"], 0, "nothing is delivered twice: {flushed}");
    let forgotten = world.run("directory forget d2");
    assert!(forgotten.stderr.starts_with("forgotten: "), "{}", forgotten.stderr);
    std::fs::remove_dir_all(world.workspace.path("d2")).unwrap();
    world.workspace.write("icecore.toml", "data = [\"d1\", \"d3\"]\nsinks = [\"store\", \"kv\"]\n");
    for name in NAMES {
        assert_eq!(world.in_store(name), world.in_log(name), "{name}");
        world.append(name, 2);
    }
    world.run("flush");
    world.check(&NAMES, 7, true);
    for name in NAMES {
        assert_eq!(world.in_store(name), world.in_log(name), "{name}");
    }
    world.run("verify --deep");
}

#[test]
fn a_drain_that_is_killed_loses_nothing_and_goes_on() {
    type Moment = fn(&Workspace) -> bool;
    let moments: [(&str, Moment); 4] = [
        ("a file elsewhere", |workspace| {
            ["d1", "d3"].iter().any(|directory| parquet_files(&workspace.path(directory).join(".store")) > 4)
        }),
        ("the first collection moved", |workspace| !workspace.path("d2/c1").exists()),
        ("without the index", |workspace| !workspace.path("d2/.kv").exists()),
        ("without the store", |workspace| !workspace.path("d2/.store").exists()),
    ];
    for (what, is_now) in moments {
        let world = World::flushed(2);
        let mut child = world.workspace.icecore(["directory", "drain", "d2"]).spawn();
        while !is_now(&world.workspace) && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
        for name in NAMES {
            assert_eq!(world.in_store(name), world.in_log(name), "{what}: {name}");
        }
        world.check(&NAMES, 23, true);
        let drained = world.json("directory drain d2").remove(0);
        assert_eq!(drained["component_stayed"], Value::Array(vec![]), "{what}");
        for folder in [".store", ".kv"] {
            assert!(!world.workspace.path("d2").join(folder).exists(), "{what}: {folder}");
        }
        assert_eq!(world.json("flush").remove(0)["records"], 0, "{what}");
        for name in NAMES {
            assert_eq!(world.in_store(name), world.in_log(name), "{what}: {name}");
        }
        world.check(&NAMES, 23, true);
    }
}

#[test]
fn what_is_lost_with_a_directory_is_shown_and_made_again() {
    let mut world = World::flushed(1);
    let of = |world: &World, component: &str, directory: &str| world.assigned(component, directory);
    let (lost, files_lost) = (of(&world, "index", "d3"), of(&world, "storage", "d3"));
    let with_log_there = of(&world, "wal", "d3");
    assert!(!lost.is_empty() && !files_lost.is_empty(), "{lost:?} {files_lost:?}");
    std::fs::rename(world.workspace.path("d3"), world.workspace.path("away")).unwrap();
    std::fs::create_dir(world.workspace.path("d3")).unwrap();
    // An empty mount point. Appends and the other collections go on; the sinks say what they miss.
    let others: Vec<&str> =
        NAMES.into_iter().filter(|name| !with_log_there.iter().any(|there| there == name)).collect();
    for name in &others {
        world.append(name, 1);
    }
    let flushed = world.workspace.run("flush --json").expect_code(3).json_lines().remove(0);
    let failed: Vec<&Value> = flushed["failed"].as_array().unwrap().iter().collect();
    for name in &others {
        let is_lost = lost.iter().any(|lost| lost == name);
        let told: Vec<&&Value> = failed.iter().filter(|row| row["collection"] == **name).collect();
        let are_files_lost = files_lost.iter().any(|lost| lost == name);
        assert_eq!(told.len(), usize::from(is_lost) + usize::from(are_files_lost), "{name}: {failed:?}");
        assert!(told.iter().all(|row| row["error"].as_str().unwrap().contains("a directory is missing")), "{told:?}");
        world.check(&[name], 11, !is_lost);
    }
    let status = world.json("status").remove(0);
    for sink in status["sinks"]["sinks"].as_array().unwrap() {
        let lost = if sink["sink"] == "kv" { &lost } else { &files_lost };
        let failing = lost.iter().filter(|name| !with_log_there.contains(name)).count();
        assert!(sink["failing_collections"].as_u64().unwrap() >= failing as u64, "{sink}");
        assert!(failing == 0 || sink["last_failure"]["error"].as_str().unwrap().contains("missing"), "{sink}");
    }
    assert_eq!(std::fs::read_dir(world.workspace.path("d3")).unwrap().count(), 0, "nothing is made there");
    // It is back.
    std::fs::remove_dir(world.workspace.path("d3")).unwrap();
    std::fs::rename(world.workspace.path("away"), world.workspace.path("d3")).unwrap();
    world.run("flush");
    world.check(&NAMES, 11, true);
    // It will not come back.
    std::fs::remove_dir_all(world.workspace.path("d3")).unwrap();
    let told = world.run("directory forget d3 --yes").stderr;
    assert!(told.contains("made again elsewhere") && told.contains(&format!("index of {}", lost.len())), "{told}");
    world.workspace.write("icecore.toml", "data = [\"d1\", \"d2\"]\nsinks = [\"store\", \"kv\"]\n");
    // Whoever appends waits for his own; a flush for everything.
    world.append("c9", 0);
    world.run("flush");
    for name in &others {
        assert_eq!(world.in_store(name), world.in_log(name), "{name}");
        world.check(&[name], 11, true);
    }
    let sinks = world.json("status").remove(0)["sinks"]["sinks"].clone();
    assert!(sinks.as_array().unwrap().iter().all(|sink| sink["failing_collections"] == 0), "{sinks}");
}
