//! Where collections go, and that they stay there: on real directories with a real catalog, through the public interface.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]
#![allow(clippy::disallowed_methods, reason = "directories are looked at from outside")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use icecore::assignment::Policy;
use icecore::log::SyncMode;
use icecore::{CollectionName, Log, LogOptions, NewRecord, Sequence};

/// Four directories, and one for the catalog, that go away with the test.
struct Place {
    folder: tempfile::TempDir,
    policy: Policy,
}

impl Place {
    fn new(policy: Policy) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), policy }
    }

    fn directory(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("disk-{number}"))
    }

    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new((0..4).map(|number| self.directory(number)));
        options.catalog_directory = Some(self.folder.path().join("catalog"));
        options.sync = SyncMode::Never;
        options.background = false;
        options.placement = self.policy;
        options.limits.record_bytes = 64 << 10;
        options.limits.batch_bytes = 256 << 10;
        options.limits.journal_bytes = 1 << 20;
        options
    }

    fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }

    /// Closes the log, removes its catalog if told so, and opens it again.
    fn reopen(&self, log: Log, without_catalog: bool) -> Log {
        log.close().unwrap();
        drop(log);
        if without_catalog {
            let files = everything(&self.folder.path().join("catalog"));
            assert!(!files.is_empty(), "there is a catalog to remove");
            std::fs::remove_dir_all(self.folder.path().join("catalog")).unwrap();
        }
        let log = self.open();
        assert_eq!(log.recovery().catalog_was_missing, without_catalog);
        log
    }
}

fn name(number: usize) -> CollectionName {
    CollectionName::new(&format!("collection {number}")).unwrap()
}

fn append(log: &Log, numbers: std::ops::Range<usize>) {
    for number in numbers {
        log.append(&name(number), NewRecord::payload(format!("first of {number}"))).unwrap();
    }
}

/// Where each collection lives.
fn places(log: &Log) -> BTreeMap<CollectionName, PathBuf> {
    log.collections().unwrap().into_iter().map(|info| (info.collection, info.directory)).collect()
}

/// How many collections a component has in each directory.
fn counts(log: &Log, component: &str) -> Vec<u64> {
    let all = log.directories_statistics().unwrap();
    let counts: Vec<u64> = all.iter().map(|each| each.collections.get(component).copied().unwrap_or(0)).collect();
    // The assignments say the same.
    let mut assigned = vec![0; all.len()];
    for assignment in log.assignments(Some(component)).unwrap() {
        let directory = assignment.unwrap().directory;
        assigned[all.iter().position(|each| each.directory == directory).unwrap()] += 1;
    }
    assert_eq!(counts, assigned, "{component}");
    counts
}

/// Every file below a folder, and what is in it.
fn everything(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(everything(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn ten_collections_on_four_directories_after_restart_and_without_the_catalog() {
    let place = Place::new(Policy::RoundRobin);
    let mut log = place.open();
    append(&log, 0..10);
    let before = places(&log);
    assert_eq!(counts(&log, "wal"), [3, 3, 2, 2]);
    for without_catalog in [false, true, false, true] {
        log = place.reopen(log, without_catalog);
        assert_eq!(places(&log), before, "without catalog: {without_catalog}");
        assert_eq!(counts(&log, "wal"), [3, 3, 2, 2]);
    }
    // The eleventh goes on where the tenth ended.
    append(&log, 10..11);
    assert_eq!(places(&log)[&name(10)], place.directory(2));
    log = place.reopen(log, true);
    append(&log, 11..13);
    assert_eq!((&places(&log)[&name(11)], &places(&log)[&name(12)]), (&place.directory(3), &place.directory(0)));
    assert_eq!(counts(&log, "wal"), [4, 3, 3, 3]);
}

#[test]
fn a_thousand_collections_on_four_directories_sealed_and_not() {
    let place = Place::new(Policy::RoundRobin);
    let mut log = place.open();
    append(&log, 0..1000);
    let before = places(&log);
    assert_eq!(counts(&log, "wal"), [250; 4]);
    // Some are found by their segments only, the others by the journals.
    for number in (0..1000).step_by(10) {
        log.seal(Some(&name(number))).unwrap();
    }
    for without_catalog in [false, true] {
        log = place.reopen(log, without_catalog);
        assert_eq!(places(&log), before, "without catalog: {without_catalog}");
        assert_eq!(counts(&log, "wal"), [250; 4]);
    }
    append(&log, 0..1000);
    assert_eq!(places(&log), before, "they stay");
    append(&log, 1000..1004);
    assert_eq!(counts(&log, "wal"), [251; 4]);
}

#[test]
fn the_hash_finds_the_same_directories_in_another_order_of_making() {
    let place = Place::new(Policy::Hash);
    let log = place.open();
    append(&log, 0..40);
    let before = places(&log);
    let used: BTreeSet<_> = before.values().collect();
    assert_eq!(used.len(), 4, "{before:?}");
    for number in (0..40).rev() {
        // By the name and the directories alone: another component gets the same.
        let wal = log.assignment("wal", &name(number)).unwrap().unwrap();
        assert_eq!(log.assign("index", &name(number)).unwrap().directory, wal.directory);
    }
}

#[test]
fn components_do_not_see_each_others_assignments() {
    let place = Place::new(Policy::RoundRobin);
    let mut log = place.open();
    append(&log, 0..10);
    let wal: Vec<_> = log.assignments(Some("wal")).unwrap().map(Result::unwrap).collect();
    // Each begins anew, whatever the others have.
    for number in 0..8 {
        log.assign("storage", &name(number)).unwrap();
    }
    for number in [9, 4, 7] {
        log.assign("index", &name(number)).unwrap();
    }
    assert_eq!(counts(&log, "storage"), [2, 2, 2, 2]);
    assert_eq!(counts(&log, "index"), [1, 1, 1, 0]);
    assert_eq!(counts(&log, "wal"), [3, 3, 2, 2]);
    assert_eq!(log.assignments(Some("wal")).unwrap().map(Result::unwrap).collect::<Vec<_>>(), wal);
    let others = |log: &Log| -> Vec<_> {
        let all = log.assignments(None).unwrap().map(Result::unwrap);
        all.filter(|assignment| assignment.component != "wal").collect()
    };
    let before = others(&log);
    assert_eq!(before.len(), 11);
    // Nor does what they have change where the next collection goes.
    append(&log, 10..12);
    assert_eq!(counts(&log, "wal"), [3, 3, 3, 3]);
    assert_eq!(others(&log), before, "and the other way round");

    log = place.reopen(log, false);
    assert_eq!(others(&log), before);
    assert_eq!(counts(&log, "wal"), [3, 3, 3, 3]);
    // They stay, and the next ones go on where they ended.
    let fourth = log.directories()[3].0.clone();
    assert_eq!(
        log.assign("index", &name(9)).unwrap(),
        before.iter().find(|row| row.collection == name(9)).unwrap().clone()
    );
    assert_eq!(log.assign("index", &name(1)).unwrap().directory, fourth);
    assert_eq!(counts(&log, "wal"), [3, 3, 3, 3]);
    assert_eq!(log.assignment("index", &name(2)).unwrap(), None);
    assert_eq!(log.assignment("wal", &name(99)).unwrap(), None);
}

#[test]
fn an_assignment_is_durable_and_for_the_log_itself_says_where_the_collection_lives() {
    let place = Place::new(Policy::RoundRobin);
    let mut log = place.open();
    append(&log, 0..1);
    let empty = log.assign("wal", &name(1)).unwrap();
    let stored = log.assign("storage", &name(2)).unwrap();
    assert_eq!((empty.from, empty.epoch), (Sequence::FIRST, log.epoch()));
    assert_eq!(places(&log)[&name(1)], place.directory(1));
    assert_eq!(places(&log)[&name(2)], place.directory(2), "it was made, as by an append");
    log = place.reopen(log, false);
    assert_eq!(log.assign("wal", &name(1)).unwrap(), empty, "without a record it lives where it was put");
    assert_eq!(log.assignment("storage", &name(2)).unwrap(), Some(stored));
    assert_eq!(places(&log)[&name(2)], place.directory(2));
    let history = log.assignment_history(None, &name(2)).unwrap();
    let owners: Vec<_> = history.iter().map(|change| change.component.as_str()).collect();
    assert_eq!(owners, ["wal", "storage"]);
    assert_eq!(history[1].reason, "assigned");
}

#[test]
fn a_seal_changes_only_the_assigned_directory() {
    let place = Place::new(Policy::RoundRobin);
    let log = place.open();
    append(&log, 0..8);
    log.maintain().unwrap();
    log.sync().unwrap();
    for number in 0..8 {
        let own = places(&log)[&name(number)].clone();
        assert_eq!(own, place.directory(number % 4));
        let before: Vec<_> = (0..4).map(|number| everything(&place.directory(number))).collect();
        assert_eq!(log.seal(Some(&name(number))).unwrap(), 1);
        for (directory, before) in (0..4).map(|number| place.directory(number)).zip(&before) {
            let after = everything(&directory);
            if directory != own {
                assert!(after == *before, "{}", changed(before, &after));
                continue;
            }
            let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
            let segments = new.iter().filter(|path| path.extension().is_some_and(|extension| extension == "avro"));
            assert_eq!(segments.count(), 1, "{new:?}");
            let folder = own.join(name(number).directory_name());
            assert!(new.iter().all(|path| path.starts_with(&folder)), "{new:?}");
        }
    }
    let statistics = log.directories_statistics().unwrap();
    assert_eq!(statistics.iter().map(|each| each.segments).collect::<Vec<_>>(), [2; 4]);
    for each in statistics {
        let sealed: u64 = log
            .catalog()
            .segments(None, None, 99)
            .unwrap()
            .iter()
            .filter(|row| row.directory == each.directory)
            .map(|row| std::fs::metadata(each.path.join(&row.path)).unwrap().len())
            .sum();
        assert_eq!((each.segment_bytes, each.unsealed_bytes), (sealed, 0));
        assert_eq!((each.state, each.reason, each.free_bytes.is_some()), ("healthy", None, true));
    }
}

/// Which files differ.
fn changed(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    format!("{:?}", all.into_iter().filter(|path| before.get(*path) != after.get(*path)).collect::<Vec<_>>())
}

/// What the program was told in its settings decides.
#[cfg(feature = "cli")]
#[test]
fn the_setting_decides() {
    let place = Place::new(Policy::RoundRobin);
    let file = place.folder.path().join("record");
    std::fs::write(&file, "x").unwrap();
    for number in 0..16 {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_icecore"));
        for directory in 0..4 {
            program.arg("--data").arg(place.directory(directory));
        }
        program.args(["--set", "placement.policy=hash", "append", name(number).as_str()]).arg(&file);
        let ended = program.env_clear().current_dir(place.folder.path()).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let log = Log::open(LogOptions::new((0..4).map(|number| place.directory(number)))).unwrap();
    let directories = log.directories();
    let candidates: Vec<_> =
        directories.iter().map(|(id, _)| icecore::assignment::Candidate { id, ..Default::default() }).collect();
    let chosen: Vec<_> =
        (0..16).map(|number| icecore::assignment::choose(Policy::Hash, &name(number), &candidates).unwrap()).collect();
    let lives: Vec<_> = (0..16)
        .map(|number| directories.iter().position(|(_, path)| *path == places(&log)[&name(number)]).unwrap())
        .collect();
    assert_eq!(lives, chosen);
    assert_ne!(lives, (0..16).map(|number| number % 4).collect::<Vec<_>>(), "seen to differ from the default");
}

/// A hundredth of the bench: every figure is there, load is even, and nothing is left behind.
#[cfg(feature = "cli")]
#[test]
fn the_bench_of_directories_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_icecore"));
    program.args(["bench", "--json", "--scale", "1", "directories", "--dir"]).arg(folder.path());
    let ended = program.env_clear().current_dir(folder.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let lines = String::from_utf8(ended.stdout).unwrap();
    let figures: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |what: &str| -> Vec<&serde_json::Value> {
        figures.iter().filter(|figure| figure["what"].as_str().unwrap().contains(what)).collect()
    };
    assert_eq!(of("segments in the").len(), 4);
    assert!(of("segments in the").iter().all(|figure| figure["icecore"].as_f64().unwrap() > 1e6), "{lines}");
    assert_eq!(of("the fullest directory")[0]["target_reached"], true, "{lines}");
    assert_eq!(of("4 directories beside 1").len(), 2);
    for after in ["100 collections after a kill: open", "100 collections after it was closed: open"] {
        assert!(of(after)[0]["icecore"].as_f64().unwrap() > 0.0, "{lines}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "what was measured with is gone");
}
