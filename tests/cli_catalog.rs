//! Looking after the catalog through the real program: ls, export, snapshot, check, rebuild.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;

use icecore::catalog::{Catalog, CatalogMode, Engine, Mutation, SegmentKey, SegmentStatus};
use icecore::types::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};
use serde_json::{Value, json};
use util::{Outcome, Workspace};

/// Runs a test for each engine that this program has.
fn each_engine(test: impl Fn(&Log)) {
    for engine in Engine::ALL.into_iter().filter(|engine| engine.is_built()) {
        println!("engine: {engine}");
        test(&Log { workspace: Workspace::new(), engine });
    }
}

/// A log of two directories whose catalog is kept by one engine.
struct Log {
    workspace: Workspace,
    engine: Engine,
}

impl Log {
    fn args(&self, line: &str) -> Vec<String> {
        let mut args: Vec<String> = ["--data", "d", "--data", "e"].map(str::to_owned).to_vec();
        args.extend(["--set".to_owned(), format!("catalog.engine={}", self.engine)]);
        args.extend(line.split_whitespace().map(str::to_owned));
        args
    }

    fn run(&self, line: &str) -> Outcome {
        self.workspace.icecore(self.args(line)).run()
    }

    fn append(&self, collection: &str, records: std::ops::RangeInclusive<u64>) {
        let input: String = records.map(|number| format!("{collection} {number}\n")).collect();
        self.workspace.icecore(self.args(&format!("append {collection}"))).stdin(input).run().expect_code(0);
    }

    fn list(&self, what: &str) -> Vec<Value> {
        self.run(&format!("ls {what} --json")).expect_code(0).json_lines()
    }

    fn one(&self, line: &str, code: i32) -> Value {
        self.run(&format!("{line} --json")).expect_code(code).json_lines()[0].clone()
    }

    fn file(&self) -> PathBuf {
        self.workspace.path("d/.icecore").join(self.engine.file_name("catalog"))
    }

    fn catalog(&self) -> std::sync::Arc<dyn Catalog> {
        self.engine.open(&self.file(), CatalogMode::ReadWrite).unwrap()
    }

    /// Everything that is of the catalog alone.
    fn remove_catalog(&self) {
        for path in self.engine.companions(&self.file()).into_iter().chain([self.file()]) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Three collections in two directories: sealed, sealed and unsealed, unsealed.
    fn fill(&self) {
        self.append("one", 1..=20);
        self.append("two", 1..=5);
        self.run("seal").expect_code(0);
        self.append("one", 21..=30);
        self.run("seal one").expect_code(0);
        self.append("two", 6..=9);
        self.append("three", 1..=3);
    }

    /// What must be the same after a rebuild from nothing.
    fn state(&self) -> [Vec<Value>; 3] {
        let assignments = self.list("assignments").into_iter().map(|mut row| {
            // When, and by which opening, only the catalog knew.
            row.as_object_mut().unwrap().retain(|name, _| name != "epoch" && name != "since");
            row
        });
        [self.list("segments"), assignments.collect(), self.list("collections")]
    }

    fn numbers_of(&self, collection: &str) -> Vec<u64> {
        let records = self.run(&format!("cat {collection}")).expect_code(0).json_lines();
        records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect()
    }

    /// Names in the catalog's folder that are neither the catalog's nor those of every log.
    fn beside(&self) -> Vec<String> {
        let own: Vec<_> = self.engine.companions(&self.file()).into_iter().chain([self.file()]).collect();
        let entries = std::fs::read_dir(self.workspace.path("d/.icecore")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| !own.contains(path))
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .filter(|name| !["lock", "identity.json", "staging", "quarantine", "figures"].contains(&name.as_str()))
            .collect();
        names.sort();
        names
    }
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn key(collection: &str, first: u64, last: u64) -> SegmentKey {
    SegmentKey { collection: name(collection), first: Sequence(first), last: Sequence(last), generation: Generation(0) }
}

fn kinds(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|found| found["kind"].as_str().unwrap()).collect()
}

#[test]
fn lists_page_and_choose() {
    each_engine(|log| {
        log.fill();
        let segments = |options: &str| -> Vec<String> {
            let rows = log.list(&format!("segments {options}"));
            rows.iter().map(|row| row["segment"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(segments(""), ["one/1-20.0", "one/21-30.0", "two/1-5.0"]);
        assert_eq!(segments("--status sealed"), ["one/1-20.0", "two/1-5.0", "one/21-30.0"], "in order of sealing");
        assert_eq!(segments("--status sealed --limit 1"), ["one/1-20.0"]);
        assert_eq!(segments("--collection one --status sealed"), ["one/1-20.0", "one/21-30.0"]);
        assert_eq!(segments("--status quarantined"), [""; 0]);
        assert_eq!(segments("--unflushed"), [""; 0], "without sinks nothing waits");
        let subscribes =
            |name: CollectionName| Mutation::PutCollection { name, settings: r#"{"sinks":["store"]}"#.into() };
        let all = [subscribes(name("one")), subscribes(name("two")), Mutation::SetFlushed(key("one", 1, 20))];
        log.catalog().apply(&all, Timestamp(5), "test").unwrap();
        assert_eq!(segments("--unflushed"), ["two/1-5.0", "one/21-30.0"]);
        assert_eq!(segments("--unflushed --collection one"), ["one/21-30.0"]);
        assert_eq!(segments("--unflushed --status archived"), [""; 0]);
        let all = log.list("changes");
        assert!(all.len() > 6);
        assert_eq!(log.list("changes --since 3 --limit 2"), all[3..5]);
        assert_eq!(log.list(&format!("changes --since {}", all.len())), Vec::<Value>::new());
        let flushed = all.last().unwrap();
        assert_eq!((&flushed["kind"], &flushed["reason"]), (&"segment.flushed".into(), &"test".into()));
        for status in SegmentStatus::ALL {
            log.run(&format!("ls segments --status {status}")).expect_code(0);
        }
        let wrong = log.run("ls segments --status done").expect_code(2);
        assert!(wrong.stderr.contains("sealed, archiving, archived, evicted, replaced, purging, purged, quarantined"));
        log.run("ls collections --since 1").expect_code(2);
        assert_eq!(log.run("ls segments --collection four --json").expect_code(1).json_error()["kind"], "not_found");
    });
}

/// More rows than are read at once, and more than a table aligns at once.
#[test]
fn long_lists_are_whole() {
    each_engine(|log| {
        log.append("c", 1..=1);
        let at = |number: u64| Mutation::SetMeta { name: "n".into(), value: number.to_string() };
        log.catalog().apply(&(1..=2500).map(at).collect::<Vec<_>>(), Timestamp(1), "many").unwrap();
        let all = log.list("changes");
        assert!(all.len() > 2500 && all.iter().zip(1..).all(|(change, number)| change["number"] == number));
        let table = log.run("ls changes").expect_code(0).stdout;
        assert_eq!(table.lines().count(), all.len() + 1, "one header");
        assert_eq!(log.list("changes --limit 1500").len(), 1500);
    });
}

#[test]
fn an_export_has_every_row_and_an_end() {
    each_engine(|log| {
        log.fill();
        let catalog = log.catalog();
        let cursor = icecore::catalog::CursorRow {
            collection: name("one"),
            sink: "s".into(),
            epoch: Epoch(1),
            sequence: Sequence(20),
        };
        let loss = Mutation::RecordLoss { collection: name("lost"), first: Sequence(1), last: Sequence(2) };
        let meta = Mutation::SetMeta { name: "a".into(), value: "b".into() };
        catalog.apply(&[Mutation::SetCursor(cursor), loss, meta], Timestamp(7), "test").unwrap();
        drop(catalog);
        let run = log.run("catalog export").expect_code(0);
        let lines = run.json_lines();
        let (header, end) = (&lines[0], lines.last().unwrap());
        assert_eq!((&header["table"], &header["format"]), (&"catalog".into(), &1.into()));
        assert_eq!(header["engine"], log.engine.to_string());
        let changes = log.list("changes");
        assert_eq!(header["change_number"], changes.len());
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &lines[1..lines.len() - 1] {
            *counts.entry(line["table"].as_str().unwrap()).or_default() += 1;
        }
        assert_eq!((&end["table"], &end["rows"]), (&"end".into(), &json!(counts)));
        let expected = [
            ("assignments", 3),
            ("changes", changes.len() as u64),
            ("collections", 4),
            ("cursors", 1),
            ("losses", 1),
            ("segments", 3),
            ("values", 4),
        ];
        assert_eq!(counts, BTreeMap::from(expected));
        let exported: Vec<&Value> = lines.iter().filter(|line| line["table"] == "changes").collect();
        assert!(exported.iter().zip(&changes).all(|(one, other)| one["detail"] == other["detail"]));
        // Into a file: the same, and never over one that is there.
        let said = log.run("catalog export --output out.jsonl").expect_code(0);
        assert_eq!(said.stdout, "");
        let text = String::from_utf8(log.workspace.read("out.jsonl")).unwrap();
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), run.stdout.lines().skip(1).collect::<Vec<_>>());
        assert_eq!(log.run("catalog export -o out.jsonl --json").expect_code(1).json_error()["kind"], "conflict");
        assert_eq!(log.workspace.read("out.jsonl"), text.as_bytes());
        assert_eq!(std::fs::read_dir(log.workspace.path("d/.icecore/staging")).unwrap().count(), 0, "nothing stays");
    });
}

/// A process that appends and seals until it is told to stop; with the lines that it says.
fn writer(log: &Log) -> (std::process::Child, std::io::Lines<std::io::BufReader<std::process::ChildStdout>>) {
    let mut args = log.args("append busy --acks --batch 50");
    for setting in [
        "limits.record_bytes=64KiB",
        "limits.batch_bytes=256KiB",
        "journal.bytes=1MiB",
        "segment.bytes=256KiB",
        "limits.memtable_bytes=2MiB",
        "seal.cold_bytes=16KiB",
    ] {
        args.extend(["--set".to_owned(), setting.to_owned()]);
    }
    let mut child = log.workspace.icecore(args).spawn();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn feed(stdin: &mut std::process::ChildStdin, records: std::ops::Range<u64>) {
    for number in records {
        writeln!(stdin, "{number:0>1000}").unwrap();
    }
    stdin.flush().unwrap();
}

#[test]
fn a_snapshot_beside_a_writer_is_a_catalog_of_one_moment() {
    each_engine(|log| {
        log.fill();
        let (mut child, mut acks) = writer(log);
        let mut stdin = child.stdin.take().unwrap();
        feed(&mut stdin, 0..1000);
        // So far every one of these is on disk; snapshot and export run while the rest is written.
        let first = acks.next().unwrap().unwrap();
        assert!(first.contains("last_sequence") || !first.is_empty(), "{first}");
        let feeder = std::thread::spawn(move || feed(&mut stdin, 1000..4000));
        let shot = log.one("catalog snapshot shot", 0);
        let export = log.run("catalog export").expect_code(0).json_lines();
        log.one("catalog check", 0);
        feeder.join().unwrap();
        let rest = acks.map(Result::unwrap).last().unwrap_or(first);
        assert!(child.wait().unwrap().success(), "{rest}");

        assert_eq!(export.last().unwrap()["table"], "end");
        let exported = export.iter().filter(|line| line["table"] == "changes").count();
        assert_eq!(export[0]["change_number"], exported, "rows and header are of one moment");
        let file = log.workspace.path("shot");
        assert_eq!(shot["bytes"], std::fs::metadata(&file).unwrap().len());
        let copy = log.engine.open(&file, CatalogMode::ReadOnly).unwrap();
        assert_eq!(copy.check().unwrap(), [""; 0]);
        assert_eq!(shot["change_number"], copy.change_number().unwrap().get());
        let all = log.catalog().changes(ChangeNumber(0), usize::MAX).unwrap();
        let seen = copy.changes(ChangeNumber(0), usize::MAX).unwrap();
        assert!(seen.len() <= all.len() && all[..seen.len()] == seen[..], "it is a beginning of the history");
        drop(copy);
        assert_eq!(log.run("catalog snapshot shot --json").expect_code(1).json_error()["kind"], "conflict");

        // Put back, it finds everything.
        let before = log.state();
        assert!(before[0].len() > 5, "the writer sealed: {}", before[0].len());
        let checked = log.one("verify --deep", 0);
        log.remove_catalog();
        std::fs::rename(&file, log.file()).unwrap();
        for path in log.engine.companions(&file) {
            let _ = std::fs::remove_file(path);
        }
        log.run("recover").expect_code(0);
        log.one("catalog check", 0);
        assert_eq!(log.one("verify --deep", 0)["records"], checked["records"]);
        assert_eq!(log.numbers_of("busy"), (1..=4000).collect::<Vec<_>>());
        let names = |rows: &[Value]| rows.iter().map(|row| row["segment"].clone()).collect::<Vec<_>>();
        assert_eq!(names(&log.list("segments")), names(&before[0]));
    });
}

#[test]
fn check_names_each_difference() {
    each_engine(|log| {
        log.fill();
        let whole = log.one("catalog check", 0);
        assert_eq!((&whole["ok"], &whole["findings"]), (&true.into(), &json!([])));
        assert_eq!((&whole["segments"], &whole["files"], &whole["collections"]), (&3.into(), &3.into(), &3.into()));
        assert!(log.run("catalog check").expect_code(0).stdout.starts_with("OK: "));
        let segment = log.list("segments")[0]["path"].as_str().unwrap().to_owned();
        let kept = std::fs::read(&segment).unwrap();
        // Gone, cut, another segment's bytes under its name.
        std::fs::remove_file(&segment).unwrap();
        let report = log.one("catalog check", 4);
        assert_eq!(kinds(&report), ["file"]);
        assert!(segment.ends_with(report["findings"][0]["about"].as_str().unwrap()), "{report}");
        std::fs::write(&segment, &kept[..kept.len() - 1]).unwrap();
        assert_eq!(kinds(&log.one("catalog check", 4)), ["file"]);
        let other = log.list("segments")[1]["path"].as_str().unwrap().to_owned();
        std::fs::copy(&other, &segment).unwrap();
        assert_eq!(kinds(&log.one("catalog check", 4)), ["file"]);
        std::fs::write(&segment, &kept).unwrap();
        log.one("catalog check", 0);
        // A whole file without a row is no damage: a crash leaves it, and opening adopts it.
        let rows = log.catalog();
        let moved = Mutation::Transition {
            key: key("one", 21, 30),
            from: SegmentStatus::Sealed,
            to: SegmentStatus::Replaced,
            archive_key: None,
        };
        rows.apply(&[moved], Timestamp(1), "test").unwrap();
        drop(rows);
        let report = log.one("catalog check", 4);
        assert_eq!(kinds(&report), ["leftover", "hole"], "{report}");
        let people = log.run("catalog check").expect_code(4).stdout;
        assert!(people.starts_with("DAMAGED: ") && people.contains("\non its way:\n"), "{people}");
        assert!(people.contains("collection one: it is sealed through 30, and no row has 21..=30"), "{people}");
    });
}

#[test]
fn check_knows_an_older_copy_until_it_is_reconciled() {
    each_engine(|log| {
        log.fill();
        log.run("catalog snapshot old").expect_code(0);
        log.append("four", 1..=3);
        log.run("seal").expect_code(0);
        log.remove_catalog();
        std::fs::copy(log.workspace.path("old"), log.file()).unwrap();
        let report = log.one("catalog check", 4);
        assert_eq!(kinds(&report), ["older-copy", "file-without-row", "file-without-row", "file-without-row"]);
        let recovered = log.one("recover", 0);
        assert_eq!(recovered["catalog_is_old"], true);
        log.one("catalog check", 0);
        assert_eq!(log.one("recover", 0)["catalog_is_old"], false, "once");
        log.one("verify --deep", 0);
    });
}

#[test]
fn without_its_catalog_a_log_is_made_whole_from_its_directories() {
    each_engine(|log| {
        log.fill();
        let before = log.state();
        log.remove_catalog();
        assert_eq!(kinds(&log.one("catalog check", 4)), ["no-catalog"]);
        let dry = log.one("catalog rebuild --dry-run", 0);
        assert_eq!((&dry["dry_run"], &dry["segments"], &dry["set_aside"]), (&true.into(), &3.into(), &Value::Null));
        assert!(!log.file().exists() && log.beside().is_empty(), "{:?}", log.beside());
        let report = log.one("catalog rebuild", 0);
        assert_eq!((&report["source"], &report["from_footers"]), (&"absent".into(), &3.into()));
        assert_eq!(report["losses"], json!([]));
        assert_eq!(log.state(), before);
        assert_eq!(log.beside(), [""; 0]);
        log.one("catalog check", 0);
        // The log goes on from there.
        log.append("one", 31..=31);
        log.append("two", 10..=10);
        log.append("three", 4..=4);
        assert_eq!(log.one("recover", 0)["catalog_is_old"], false, "the journals tell of another catalog's changes");
        log.run("seal").expect_code(0);
        log.one("verify --deep", 0);
        log.one("catalog check", 0);
        for (collection, last) in [("one", 31), ("two", 10), ("three", 4)] {
            assert_eq!(log.numbers_of(collection), (1..=last).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_catalog_that_is_no_catalog_is_set_aside() {
    each_engine(|log| {
        log.fill();
        let before = log.state();
        log.remove_catalog();
        std::fs::write(log.file(), "garbage").unwrap();
        assert_eq!(kinds(&log.one("catalog check", 4)), ["catalog"]);
        let report = log.one("catalog rebuild", 3);
        assert_eq!(
            (&report["source"], &report["not_carried"][0]["what"]),
            (&"unreadable".into(), &"the old catalog".into())
        );
        let folder = log.workspace.path(report["set_aside"].as_str().unwrap());
        assert_eq!(std::fs::read(folder.join(log.engine.file_name("catalog"))).unwrap(), b"garbage");
        assert_eq!(log.state(), before);
        // Again, from a whole one: its history is kept, and the first one set aside stays as it is.
        let changes = log.list("changes");
        let report = log.one("catalog rebuild", 0);
        assert_eq!(report["source"], "history");
        assert_ne!(log.workspace.path(report["set_aside"].as_str().unwrap()), folder);
        assert_eq!(log.list("changes"), changes);
        assert_eq!(std::fs::read(folder.join(log.engine.file_name("catalog"))).unwrap(), b"garbage");
        log.one("catalog check", 0);
    });
}

/// What only a catalog knows: floors, gaps, cursors, values, other components' assignments, archived copies.
fn add_what_only_a_catalog_knows(log: &Log) {
    let step = |from, to, archive_key: Option<&str>| Mutation::Transition {
        key: key("one", 1, 20),
        from,
        to,
        archive_key: archive_key.map(str::to_owned),
    };
    use SegmentStatus::{Archived, Archiving, Sealed};
    let collection = name("two");
    let (first, last) = (Sequence(1), Sequence(20));
    let catalog = log.catalog();
    let set = |name: &str, value: &str| Mutation::SetMeta { name: name.into(), value: value.into() };
    let settings = r#"{"a":1}"#.to_owned();
    let assign = Mutation::Assign {
        component: "index".into(),
        collection: collection.clone(),
        directory: "elsewhere".into(),
        epoch: Epoch(1),
        from: Sequence(1),
    };
    let cursor = icecore::catalog::CursorRow {
        collection: name("one"),
        sink: "s".into(),
        epoch: Epoch(1),
        sequence: Sequence(7),
    };
    let home = catalog.assignment("wal", &name("one")).unwrap().unwrap().directory;
    let assign_gone = Mutation::Assign {
        component: "wal".into(),
        collection: name("gone"),
        directory: home,
        epoch: Epoch(1),
        from: Sequence(1),
    };
    let changes = [
        assign_gone,
        step(Sealed, Archiving, None),
        step(Archiving, Archived, Some("k/1")),
        Mutation::SetFlushed(key("one", 1, 20)),
        Mutation::PutCollection { name: collection.clone(), settings },
        assign,
        Mutation::SetCursor(cursor),
        set("x", "1"),
        Mutation::RecordLoss { collection: name("gone"), first, last },
        Mutation::AcknowledgeLoss { collection: name("gone"), first, last, by: "alice".into() },
        Mutation::RaiseSealedThrough { collection: name("gone"), sequence: last },
    ];
    catalog.apply(&changes, Timestamp(1_000_000), "test").unwrap();
}

/// An export without what differs from one catalog to another with the same rows.
fn rows(log: &Log, without: &[&str]) -> Vec<Value> {
    let mut lines = log.run("catalog export").expect_code(0).json_lines();
    lines.retain(|line| !["catalog", "end"].contains(&line["table"].as_str().unwrap()));
    lines.retain(|line| !without.contains(&line["table"].as_str().unwrap()));
    // What a rebuild notes of itself.
    lines.retain(|line| line["name"] != "changes_since_epoch" && line["name"] != "archive_unasked");
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("sealed_change");
    }
    lines
}

#[test]
fn a_whole_history_is_made_again() {
    each_engine(|log| {
        log.fill();
        add_what_only_a_catalog_knows(log);
        let before = rows(log, &[]);
        let report = log.one("catalog rebuild", 0);
        assert_eq!((&report["source"], &report["not_carried"]), (&"history".into(), &json!([])));
        assert_eq!(rows(log, &[]), before);
        log.run("recover").expect_code(0);
        log.one("catalog check", 0);
    });
}

/// Changes bytes of a table of a SQLite catalog behind its back.
#[cfg(feature = "sqlite")]
fn spoil(log: &Log, statement: &str) {
    let catalog = rusqlite::Connection::open(log.file()).unwrap();
    assert_eq!(catalog.execute(statement, []).unwrap(), 1, "{statement}");
}

#[cfg(feature = "sqlite")]
#[test]
fn damaged_rows_are_restored_from_the_history() {
    let log = Log { workspace: Workspace::new(), engine: Engine::Sqlite };
    log.fill();
    add_what_only_a_catalog_knows(&log);
    let before = rows(&log, &[]);
    spoil(&log, "UPDATE segments SET archive_key = 'k/2' WHERE archive_key = 'k/1'");
    spoil(&log, "UPDATE losses SET acknowledged_by = 'mallory'");
    let report = log.one("catalog check", 4);
    let what: Vec<&str> =
        report["findings"].as_array().unwrap().iter().filter_map(|found| found["what"].as_str()).collect();
    assert!(what.iter().any(|line| line.contains("one/1-20.0")), "{what:?}");
    assert!(what.iter().any(|line| line.contains("losses: checksum")), "{what:?}");
    let report = log.one("catalog rebuild", 0);
    assert_eq!(report["source"], "history");
    assert_eq!(rows(&log, &[]), before);
    log.one("catalog check", 0);
}

#[cfg(feature = "sqlite")]
#[test]
fn what_neither_rows_nor_history_nor_directories_have_is_named() {
    let log = Log { workspace: Workspace::new(), engine: Engine::Sqlite };
    log.fill();
    add_what_only_a_catalog_knows(&log);
    let before = rows(&log, &["changes"]);
    // A change that cannot be read: the history does not count any more. All rows are carried over all the same.
    spoil(&log, "UPDATE changes SET reason = 'because' WHERE number = 3");
    log.one("catalog check", 4);
    let report = log.one("catalog rebuild", 3);
    assert_eq!(report["source"], "rows");
    assert_eq!(report["not_carried"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["not_carried"][0]["what"], "change 3");
    assert_eq!(rows(&log, &["changes"]), before);
    log.one("catalog check", 0);
    // And rows that nothing else has: named, and the rest is carried over.
    spoil(&log, "UPDATE changes SET reason = 'because' WHERE number = 3");
    spoil(&log, "UPDATE segments SET archive_key = 'k/2' WHERE archive_key = 'k/1'");
    spoil(&log, "UPDATE cursors SET sequence = 6");
    let report = log.one("catalog rebuild", 3);
    let missed: Vec<&str> =
        report["not_carried"].as_array().unwrap().iter().filter_map(|missed| missed["what"].as_str()).collect();
    assert_eq!(missed, ["segments: one/1-20.0", "cursors: one: s", "change 3"]);
    assert_eq!(report["from_footers"], 1, "its file is here");
    let after = rows(&log, &["changes"]);
    let lost =
        |line: &&Value| line["table"] == "cursors" || line["segment"] == "one/1-20.0" || line["archive_key"] == "k/1";
    let left: Vec<&Value> = before.iter().filter(|line| !lost(line)).collect();
    assert!(left.iter().all(|line| after.contains(line)), "{after:?}");
    let people = log.run("catalog rebuild --dry-run").expect_code(0).stdout;
    assert!(people.contains("would make: 4 collections, 3 segments"), "{people}");
    log.one("catalog check", 0);
    log.one("verify --deep", 0);
}

#[test]
fn what_is_nowhere_is_a_loss_and_no_sequence_comes_again() {
    each_engine(|log| {
        log.fill();
        log.append("one", 31..=40);
        log.run("seal").expect_code(0);
        // Without catalog, one segment in the middle gone, the last one damaged.
        log.remove_catalog();
        let path = |first: u64, last: u64| log.workspace.path(&format!("d/one/{first:020}-{last:020}.0.avro"));
        std::fs::remove_file(path(21, 30)).unwrap();
        let mut bytes = std::fs::read(path(31, 40)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0);
        std::fs::write(path(31, 40), bytes).unwrap();
        let report = log.one("catalog rebuild", 4);
        let lost = json!([{"collection": "one", "first_sequence": 21, "last_sequence": 40}]);
        assert_eq!(report["losses"], lost, "{report}");
        log.append("one", 41..=41);
        assert_eq!(log.numbers_of("one"), (1..=20).chain([41]).collect::<Vec<_>>());
        log.run("gap acknowledge one 21 40 --by me").expect_code(0);
        assert_eq!(log.one("verify --deep", 0)["verdict"], "OK-WITH-GAPS");
        log.one("catalog check", 0);
        let kept = std::fs::read_dir(log.workspace.path("d/.icecore/quarantine")).unwrap().count();
        assert_eq!(kept, 1, "the damaged file is evidence");
    });
}

/// Opening for writing makes a missing catalog too; what it takes for lost must not be what can be read.
#[test]
fn recovery_without_a_catalog_loses_only_what_is_lost() {
    each_engine(|log| {
        log.fill();
        log.append("one", 31..=40);
        log.run("seal").expect_code(0);
        log.append("one", 41..=45);
        log.remove_catalog();
        std::fs::remove_file(log.workspace.path(&format!("d/one/{:020}-{:020}.0.avro", 21, 30))).unwrap();
        for code in [4, 0] {
            let report = log.one("recover", code);
            let lost: Vec<Value> = report["losses"].as_array().unwrap().clone();
            let expected = json!({"collection": "one", "first_sequence": 21, "last_sequence": 30});
            assert_eq!(lost, if code == 4 { vec![expected] } else { vec![] }, "once");
        }
        assert_eq!(log.numbers_of("one"), (1..=20).chain(31..=45).collect::<Vec<_>>());
        log.run("gap acknowledge one 21 30 --by me").expect_code(0);
        assert_eq!(log.one("verify --deep", 0)["verdict"], "OK-WITH-GAPS");
        log.one("catalog check", 0);
    });
}

#[test]
fn a_rebuild_waits_for_nobody_and_refuses_beside_a_writer() {
    each_engine(|log| {
        log.fill();
        let (mut child, mut acks) = writer(log);
        let mut stdin = child.stdin.take().unwrap();
        feed(&mut stdin, 0..50);
        acks.next().unwrap().unwrap();
        for line in ["catalog rebuild", "catalog rebuild --dry-run"] {
            assert_eq!(log.run(&format!("{line} --json")).expect_code(1).json_error()["kind"], "locked");
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
        assert_eq!(log.beside(), [""; 0]);
        let none = log.workspace.run("--data nowhere catalog rebuild --json").expect_code(1);
        assert_eq!(none.json_error()["kind"], "not_found");
    });
}

/// Every state that a crash of a rebuild can leave, made by hand as the order in `place` says.
#[test]
fn a_rebuild_that_was_interrupted_is_finished_or_undone() {
    each_engine(|log| {
        log.fill();
        add_what_only_a_catalog_knows(log);
        let before = rows(log, &[]);
        let suffix = |suffix: &str| PathBuf::from(format!("{}{suffix}", log.file().display()));
        let prepare = || {
            log.run(&format!("catalog snapshot {}", suffix(".rebuilt").display())).expect_code(0);
        };
        let goes_on = |what: &str| {
            log.append("three", 9..=9);
            log.one("catalog check", 0);
            assert_eq!(log.one("verify --deep", 0)["ok"], true, "{what}");
            assert!(!suffix(".rebuilt").exists() && !suffix(".building").exists() && !suffix(".copying").exists());
        };
        // 1. while it is built or copied: half a file
        for end in [".building", ".copying"] {
            std::fs::write(suffix(end), "half").unwrap();
            goes_on(end);
        }
        // 2. the new one is whole, the old one is in place, and goes on: the new one is out of date
        prepare();
        goes_on("both");
        assert_eq!(log.beside(), [""; 0]);
        // 3. the old one's file is set aside, what belongs to it is not
        for by in ["append", "rebuild"] {
            prepare();
            let rows_then = rows(log, &["changes"]);
            let folder = suffix(&format!(".set-aside-{}", log.beside().len().max(1)));
            let _ = std::fs::create_dir(&folder);
            std::fs::rename(log.file(), folder.join(log.file().file_name().unwrap())).unwrap();
            for companion in log.engine.companions(&log.file()) {
                std::fs::write(companion, "old").unwrap();
            }
            // Who only reads, reads the new one.
            assert_eq!(rows(log, &["changes"]), rows_then);
            assert!(!log.file().exists());
            if by == "rebuild" {
                log.one("catalog rebuild", 0);
            }
            goes_on(by);
            assert!(log.file().exists());
        }
        // Nothing was lost by any of it. Every opening has an epoch of its own.
        let moves_on = |line: &Value| line["table"] == "changes" || line["name"] == "epoch";
        let after = rows(log, &["changes"]);
        let lost: Vec<&Value> = before.iter().filter(|line| !moves_on(line) && !after.contains(line)).collect();
        assert_eq!(lost, Vec::<&Value>::new());
    });
}
