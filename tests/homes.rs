//! Object stores as homes of segments (A5) through their whole life: placed, kept, sent, read through, restored. The stores are directories,
//! which are real stores on disk.
#![cfg(all(feature = "sqlite", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]
#![allow(clippy::disallowed_methods, reason = "stores and directories are looked at, and taken away, from outside")]

mod util;

use std::collections::BTreeMap;
use std::path::PathBuf;

use icecore::assignment::{Over, Policy};
use icecore::log::SyncMode;
use icecore::objects::Location;
use icecore::{CollectionName, Log, LogOptions, NewRecord};
use serde_json::Value;
use util::{Outcome, Run, Workspace};

/// Two local directories, two remotes, and a place for the catalog.
struct Place {
    folder: tempfile::TempDir,
    policy: Policy,
    /// Ids of the local directories, then of the remotes.
    ids: Vec<String>,
}

impl Place {
    fn new(policy: Policy) -> Self {
        let mut place = Self { folder: tempfile::tempdir().unwrap(), policy, ids: Vec::new() };
        let log = place.open();
        place.ids = log.directories().into_iter().map(|(id, _)| id).collect();
        log.close().unwrap();
        drop(log);
        for number in 1..=2 {
            let location = Location::Local(place.path(&format!("store-{number}")));
            place.ids.push(Log::add_remote(&place.options(), &location).unwrap().id);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new([self.path("disk-1"), self.path("disk-2")]);
        options.catalog_directory = Some(self.path("catalog"));
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

    fn append(&self, log: &Log, numbers: std::ops::Range<usize>) {
        for number in numbers {
            // Not all alike: for `least-used` that is what counts.
            let payload = vec![b'x'; 100 + number % 7];
            log.append(&name(number), NewRecord::payload(payload)).unwrap();
        }
        log.maintain().unwrap();
    }

    /// By collection: the directory of its journal, and its home where that is a remote.
    fn all(&self, log: &Log) -> BTreeMap<CollectionName, (String, Option<String>)> {
        let wal = log.assignments(Some("wal")).unwrap().map(Result::unwrap);
        wal.map(|row| (row.collection.clone(), (row.directory, log.home_of(&row.collection).unwrap()))).collect()
    }

    /// How many collections are at home in each place, and how many journals lie in each local directory.
    fn counts(&self, log: &Log) -> (Vec<usize>, Vec<usize>) {
        let all = self.all(log);
        let home = |id: &String| all.values().filter(|(wal, home)| home.as_ref().unwrap_or(wal) == id).count();
        let journal = |id: &String| all.values().filter(|(wal, _)| wal == id).count();
        (self.ids.iter().map(home).collect(), self.ids[..2].iter().map(journal).collect())
    }
}

fn name(number: usize) -> CollectionName {
    CollectionName::new(&format!("collection {number}")).unwrap()
}

#[test]
fn a_hundred_collections_on_two_local_and_two_remote_directories() {
    let place = Place::new(Policy::RoundRobin);
    let log = place.open();
    place.append(&log, 0..90);
    // Some are found by their segments, the others by journals.
    (0..90).step_by(3).for_each(|number| assert_ne!(log.seal(Some(&name(number))).unwrap(), 0));
    place.append(&log, 90..100);
    assert_eq!(place.counts(&log), (vec![25; 4], vec![50; 2]));
    let before = place.all(&log);
    let listed = Log::list_directories(&place.options()).unwrap();
    let collections: Vec<_> = listed.iter().map(|info| info.collections.unwrap()).collect();
    assert_eq!(collections, [50, 50, 25, 25]);
    assert_eq!(log.homes().unwrap().iter().map(|home| home.collections).collect::<Vec<_>>(), [25, 25]);
    log.close().unwrap();
    drop(log);
    for round in ["again", "without its catalog", "rebuilt"] {
        if round != "again" {
            std::fs::remove_dir_all(place.path("catalog")).unwrap();
        }
        if round == "rebuilt" {
            let report = Log::rebuild_catalog(&place.options(), false).unwrap();
            assert!(report.ok, "{report:?}");
            let log = Log::open_read_only(place.options()).unwrap();
            assert_eq!(place.all(&log), before, "before any writer");
        }
        let log = place.open();
        assert_eq!(place.all(&log), before, "{round}");
        log.close().unwrap();
    }
    // And it goes on where it was.
    let log = place.open();
    place.append(&log, 100..104);
    assert_eq!(place.counts(&log), (vec![26; 4], vec![52; 2]));
    let all = place.all(&log);
    assert!(before.iter().all(|(name, at)| all[name] == *at), "they stay");
}

#[test]
fn the_hash_finds_the_same_homes_in_any_order() {
    let place = Place::new(Policy::Hash);
    let log = place.open();
    place.append(&log, 0..100);
    let (homes, journals) = place.counts(&log);
    // What an even coin would do in all but one of a million runs or so.
    assert!(homes.iter().all(|count| (8..=48).contains(count)), "{homes:?}");
    assert!(journals.iter().all(|count| (25..=75).contains(count)), "{journals:?}");
    let candidates: Vec<_> =
        place.ids.iter().map(|id| icecore::assignment::Candidate { id, ..Default::default() }).collect();
    for (name, (wal, home)) in place.all(&log) {
        let chosen = icecore::assignment::choose(Policy::Hash, &name, &candidates).unwrap();
        assert_eq!(home.as_ref().unwrap_or(&wal), &place.ids[chosen], "by the name alone");
    }
}

#[test]
fn the_least_used_counts_what_is_at_home_wherever_it_is_now() {
    let place = Place::new(Policy::LeastUsed);
    let log = place.open();
    for part in 0..10 {
        place.append(&log, part * 10..part * 10 + 10);
        log.seal(None).unwrap();
    }
    let (homes, journals) = place.counts(&log);
    assert!(homes.iter().all(|count| (23..=27).contains(count)), "{homes:?}");
    assert!(journals.iter().all(|count| (46..=54).contains(count)), "{journals:?}");
    // One home gets much: the next go elsewhere.
    let heavy = place.all(&log).into_iter().find(|(_, (_, home))| home.as_ref() == Some(&place.ids[2])).unwrap().0;
    for seed in 0..20 {
        let mut payload = vec![0; 32 << 10];
        fastrand::Rng::with_seed(seed).fill(&mut payload);
        log.append(&heavy, NewRecord::payload(payload)).unwrap();
    }
    log.seal(None).unwrap();
    place.append(&log, 100..130);
    let after = place.counts(&log).0;
    assert_eq!(after[2], homes[2], "{homes:?} {after:?}");
    assert!([0, 1, 3].iter().all(|place| after[*place] >= homes[*place] + 8), "{homes:?} {after:?}");
}

#[test]
fn remotes_are_not_chosen_where_the_setting_says_so() {
    let place = Place::new(Policy::RoundRobin);
    let log = Log::open(LogOptions { placement_over: Over::Local, ..place.options() }).unwrap();
    place.append(&log, 0..8);
    assert_eq!(place.counts(&log).0, [4, 4, 0, 0]);
    log.close().unwrap();
    drop(log);
    // It decides for new ones only.
    let log = place.open();
    place.append(&log, 0..12);
    assert_eq!(place.counts(&log).0, [4, 4, 2, 2]);
}

/// The program, two local directories, two remotes and an archive that names them.
struct Life {
    workspace: Workspace,
}

const LOG: &str = "--data d1 --data d2";

impl Life {
    fn new() -> Self {
        let life = Self { workspace: Workspace::new() };
        // It is local, as by its turn it would be.
        life.run("collection create c0");
        for store in ["r1", "r2"] {
            life.run(&format!("directory add --remote {}", life.workspace.path(store).display()));
        }
        life
    }

    fn icecore(&self, line: &str) -> Run {
        self.workspace.icecore(format!("{LOG} --archive cold {line}").split_whitespace())
    }

    #[track_caller]
    fn run(&self, line: &str) -> Outcome {
        let outcome = self.workspace.icecore(format!("{LOG} {line}").split_whitespace()).run();
        assert_eq!(outcome.status.code(), Some(0), "{line}: {outcome:?}");
        outcome
    }

    #[track_caller]
    fn json(&self, line: &str) -> Vec<Value> {
        self.run(&format!("--archive cold --json {line}")).json_lines()
    }

    /// Appends, and archives nothing.
    fn append(&self, collection: &str, lines: &str) {
        let args = ["--data", "d1", "--data", "d2", "append", collection];
        self.workspace.icecore(args).stdin(lines).run().expect_code(0);
    }

    /// By collection, the remote's URL.
    fn homes(&self) -> BTreeMap<String, String> {
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let rows = self.json("ls assignments --component home");
        rows.iter().map(|row| (text(row, "collection"), text(row, "directory"))).collect()
    }

    fn url(&self, store: &str) -> String {
        format!("file://{}", self.workspace.path(store).display())
    }

    #[track_caller]
    fn cat(&self, more: &str, collection: &str) -> String {
        let line = format!("{more} cat {collection} --format raw");
        self.workspace.icecore(line.split_whitespace()).run().expect_code(0).stdout
    }

    fn remove_catalog(&self) {
        let catalog = self.workspace.path("d1/.icecore/catalog.sqlite");
        assert!(catalog.exists());
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", catalog.display()));
        }
    }
}

fn lines(of: &str, count: usize) -> String {
    (0..count).map(|line| format!("{of} {line} {}\n", "x".repeat(line % 50))).collect()
}

#[test]
fn a_whole_life_with_homes() {
    let life = Life::new();
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    for name in &names {
        life.append(name, &lines(name, 40));
    }
    let homes = life.homes();
    let at = |store: &str| homes.values().filter(|url| **url == life.url(store)).count();
    assert_eq!((homes.len(), at("r1"), at("r2")), (4, 2, 2), "{homes:?}");
    let shown = life.json("collection show c2").remove(0);
    assert_eq!(shown["home"], homes["c2"].as_str());
    life.run("seal");
    // Killed in the middle of it; without the catalog.
    let mut child = life.icecore("append killed").spawn();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), lines("killed", 10).as_bytes()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    life.remove_catalog();
    life.run("recover");
    let again = life.homes();
    assert!(homes.iter().all(|(name, home)| again[name] == *home), "{homes:?} {again:?}");
    let report = life.json("archive --wait").remove(0);
    assert!(report["archived_segments"].as_u64().unwrap() >= 8 && report["without_store"] == 0, "{report}");
    for (name, home) in &homes {
        let folder = PathBuf::from(home.strip_prefix("file://").unwrap()).join(name);
        let objects = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(objects, 1, "{}", folder.display());
        assert!(!life.workspace.path("cold").join(name).exists(), "{name} is not in the log's archive");
    }
    let listed = life.json("directory ls");
    let of = |url: &str| listed.iter().find(|row| row["directory"] == url).unwrap();
    assert_eq!((&of(&life.url("r1"))["segments"], &of(&life.url("r1"))["state"]), (&2.into(), &"remote".into()));
    let status = life.json("status").remove(0);
    assert_eq!(status["homes"][1]["segments"], 2, "{}", status["homes"]);
    assert!(life.run("status").stdout.contains(&life.url("r2")));
    life.run("--archive cold verify --remote --deep");
    life.run("--archive cold evict");
    for name in &names {
        assert_eq!(life.cat(&format!("{LOG} --archive cold"), name), lines(name, 40), "{name}, read through");
    }
    // Only stubs are here, and the catalog is lost: the directories know the homes, the homes what they hold.
    life.remove_catalog();
    let rebuilt = life.icecore("--json catalog rebuild --from-archive").run();
    assert_eq!(rebuilt.status.code(), Some(0), "{rebuilt:?}");
    let rebuilt = life.homes();
    assert!(homes.iter().all(|(name, home)| rebuilt[name] == *home), "{homes:?} {rebuilt:?}");
    for name in &names {
        assert_eq!(life.cat(&format!("{LOG} --archive cold"), name), lines(name, 40), "{name}, rebuilt");
    }
    // Nothing but the archive's URL.
    for directory in ["d1", "d2"] {
        std::fs::remove_dir_all(life.workspace.path(directory)).unwrap();
    }
    life.workspace.run("restore cold --to d1 --to d2").expect_code(0);
    let restored = life.homes();
    assert!(homes.iter().all(|(name, home)| restored[name] == *home), "{homes:?} {restored:?}");
    assert_eq!(restored.len(), rebuilt.len(), "and nobody else has one");
    for name in &names {
        assert_eq!(life.cat(LOG, name), lines(name, 40), "{name}, restored");
        assert_eq!(life.cat("--archive cold", name), lines(name, 40), "{name}, with nothing local");
        life.append(name, "more\n");
    }
    life.run("seal");
    life.run("--archive cold archive --wait");
    for (name, home) in &homes {
        let folder = PathBuf::from(home.strip_prefix("file://").unwrap()).join(name);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "it goes on in {}", folder.display());
    }
    life.run("--archive cold verify --remote --deep");
}

#[test]
fn a_home_that_is_down_stops_nothing_else() {
    let life = Life::new();
    for name in ["c0", "c1", "c2", "c3"] {
        life.append(name, &lines(name, 40));
    }
    let homes = life.homes();
    assert_eq!((&homes["c2"], &homes["c3"]), (&life.url("r1"), &life.url("r2")));
    std::fs::rename(life.workspace.path("r1"), life.workspace.path("away")).unwrap();
    // Appends to all, those at home there too; their journals are sealed and released.
    for name in ["c0", "c1", "c2", "c3"] {
        life.append(name, "more\n");
    }
    life.run("seal");
    let kept: Vec<Value> = life.json("ls journals").into_iter().filter(|row| row["kept_by_count"] != 0).collect();
    assert!(kept.is_empty(), "the store holds no journal: {kept:?}");
    let partly = life.icecore("--json archive").run();
    assert_ne!(partly.status.code(), Some(0), "{partly:?}");
    let status = |name: &str| {
        let rows = life.json(&format!("ls segments --collection {name}"));
        rows.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for name in ["c0", "c1", "c3"] {
        assert!(status(name).iter().all(|status| status == "archived"), "{name}: {:?}", status(name));
    }
    assert!(status("c2").iter().all(|status| status == "sealed"), "{:?}", status("c2"));
    // Nor does it take the catalog's knowledge of homes with it.
    life.remove_catalog();
    life.run("recover");
    assert_eq!(life.homes(), homes);
    assert_eq!(life.cat(LOG, "c2"), lines("c2", 40) + "more\n");
    life.remove_catalog();
    let rebuilt = life.icecore("catalog rebuild").run();
    assert_eq!(rebuilt.status.code(), Some(0), "{rebuilt:?}");
    assert_eq!(life.homes(), homes);
    // It is back: what waited goes there.
    std::fs::rename(life.workspace.path("away"), life.workspace.path("r1")).unwrap();
    life.run("--archive cold archive --wait");
    assert!(status("c2").iter().all(|status| status == "archived"), "{:?}", status("c2"));
    life.run("--archive cold verify --remote --deep");
}

#[test]
fn a_home_that_is_given_later_and_one_that_goes_out_of_service() {
    let life = Life::new();
    life.run("collection create audit --home r1");
    life.append("audit", &lines("audit", 40));
    life.run("seal");
    life.run("archive --wait");
    life.run("collection set audit --home r2");
    assert_eq!(life.homes()["audit"], life.url("r2"));
    life.append("audit", "more\n");
    life.run("seal");
    life.run("archive --wait");
    let objects = |store: &str| std::fs::read_dir(life.workspace.path(store).join("audit")).unwrap().count();
    assert_eq!((objects("r1"), objects("r2")), (1, 1), "what was sent stays");
    life.remove_catalog();
    life.run("recover");
    assert_eq!(life.homes()["audit"], life.url("r2"));
    let refused = life.workspace.run(&format!("{LOG} directory forget r2")).expect_code(1);
    assert!(refused.stderr.contains("collection set NAME --home"), "{refused:?}");
    let drained = life.workspace.run(&format!("{LOG} directory drain r2 --json")).expect_code(3);
    assert!(drained.stdout.contains("collection set audit --home"), "{drained:?}");
    let rows = life.json("directory ls");
    assert_eq!(rows.iter().map(|row| row["state"].as_str().unwrap()).collect::<Vec<_>>()[2..], ["remote", "drained"]);
    life.run("directory add --remote r2");
    assert_eq!(life.json("directory ls")[3]["state"], "remote");
}

/// Symptom: a home that was forgotten, and its bucket deleted, ended `restore`, `--archive URL cat` and `verify --remote` for ever. Cause: no manifest ever
/// told that a home is gone, and whatever was named was asked. Fix: it is told; and a home that is not needed need not answer.
#[test]
fn a_home_that_was_forgotten_is_not_missed() {
    let life = Life::new();
    life.run("collection create audit --home r1");
    life.append("audit", &lines("audit", 40));
    life.append("c0", &lines("c0", 40));
    life.run("seal");
    life.run("--archive cold archive --wait");
    let restore = |to: &str| {
        let outcome = life.workspace.run(&format!("restore cold --to {to} --json")).expect_code(0);
        let listed = life.workspace.run(&format!("--data {to} directory ls --json")).expect_code(0).json_lines();
        let mut remotes: Vec<String> = listed
            .iter()
            .filter(|row| row["state"] == "remote")
            .map(|row| row["directory"].as_str().unwrap().to_owned())
            .collect();
        remotes.sort();
        for name in ["audit", "c0"] {
            assert_eq!(life.cat(&format!("--data {to} --archive cold"), name), lines(name, 40), "{to}");
        }
        (outcome.json_lines().remove(0), remotes)
    };
    assert_eq!(restore("before").1, [life.url("r1"), life.url("r2")]);
    life.run("directory forget r2 --yes");
    std::fs::remove_dir_all(life.workspace.path("r2")).unwrap();
    // Nobody told the archive since.
    let (said, remotes) = restore("untold");
    assert_eq!(
        (said["remotes_gone"][0][1].as_str(), remotes),
        (Some(&*life.url("r2")), vec![life.url("r1")]),
        "{said}"
    );
    life.workspace.run("restore cold --to salvaged --salvage").expect_code(0);
    assert_eq!(life.cat("--archive cold", "audit"), lines("audit", 40));
    // And now it is told, though nothing else is.
    life.run("--archive cold archive --wait");
    let (said, remotes) = restore("told");
    assert_eq!((said["remotes_gone"].to_string(), remotes), ("[]".to_owned(), vec![life.url("r1")]), "{said}");
    // One that holds something is asked, also where it is nobody's home any more.
    life.run("collection set audit --home d1");
    life.run("--archive cold archive --wait");
    std::fs::rename(life.workspace.path("r1"), life.workspace.path("away")).unwrap();
    let refused = life.workspace.run("restore cold --to late").expect_code(1);
    assert!(refused.stderr.contains("may hold some"), "{refused:?}");
    std::fs::rename(life.workspace.path("away"), life.workspace.path("r1")).unwrap();
    restore("late");
}

/// Symptoms: `verify --remote` called a log damaged after `collection set --home`; a home in which nothing was archived yet, or that was down, ended it before
/// anything was told; a log with homes and no archive could not be verified at all. Causes: each store was judged for itself, by the archive's word on
/// which homes there are, and the first error ended all. Fix: one judgement over all stores, each with its own outcome.
#[test]
fn a_log_with_homes_is_verified_as_one() {
    let life = Life::new();
    life.run("collection create audit --home r1");
    life.append("audit", &lines("audit", 40));
    life.run("seal");
    // No archive, and nothing in r2.
    let rows = |outcome: &Outcome| {
        let rows = outcome.json_lines();
        rows.iter().map(|row| (row["ok"] == true, row["segments"].as_u64())).collect::<Vec<_>>()
    };
    life.run("archive --wait");
    assert_eq!(rows(&life.run("--json verify --remote")), [(true, Some(1)), (true, Some(0))]);
    life.run("collection set audit --home r2");
    life.append("audit", &lines("more", 40));
    life.append("c0", &lines("c0", 40));
    life.run("seal");
    life.run("--archive cold archive --wait");
    let whole = [(true, Some(1)), (true, Some(1)), (true, Some(1))];
    assert_eq!(rows(&life.run("--json --archive cold verify --remote --deep")), whole);
    let alone = life.workspace.run("--json --archive cold verify --remote").expect_code(0);
    assert_eq!(rows(&alone), whole, "without the log");
    // One that is down is told behind what the others say, and is no damage.
    std::fs::rename(life.workspace.path("r1"), life.workspace.path("away")).unwrap();
    for line in [&format!("{LOG} --json --archive cold verify --remote"), "--json --archive cold verify --remote"] {
        let outcome = life.workspace.run(line).expect_code(1);
        let mut told = rows(&outcome);
        told.sort();
        assert_eq!(told, [(false, None), (true, Some(1)), (true, Some(1))], "{outcome:?}");
        assert!(outcome.json_lines().iter().any(|row| row["verdict"] == "INCOMPLETE"), "{outcome:?}");
    }
    let text = life.workspace.run(&format!("{LOG} --archive cold verify --remote")).expect_code(1);
    assert!(text.stdout.contains("INCOMPLETE: ") && text.stdout.contains("could not be looked at"), "{text:?}");
    std::fs::rename(life.workspace.path("away"), life.workspace.path("r1")).unwrap();
    // What rows say of a home is compared with what is there.
    let folder = life.workspace.path("r2").join("audit");
    let object = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(object).unwrap();
    let damaged = life.workspace.run(&format!("{LOG} --json --archive cold verify --remote")).expect_code(4);
    assert_eq!(rows(&damaged), [(true, Some(1)), (true, Some(1)), (false, Some(1))], "{damaged:?}");
}
