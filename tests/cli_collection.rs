//! Collections through the real program: create, show, set, delete, and whether appends make them.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use serde_json::{Value, json};
use util::{Outcome, Workspace};

fn append(workspace: &Workspace, collection: &str, input: &str) -> Outcome {
    workspace.icecore(["--data", "d", "append", collection]).stdin(input).run().expect_code(0)
}

fn ls(workspace: &Workspace, line: &str) -> Vec<Value> {
    workspace.run(&format!("--data d ls {line} --json")).expect_code(0).json_lines()
}

fn names(workspace: &Workspace, line: &str) -> Vec<String> {
    ls(workspace, line).iter().map(|row| row["collection"].as_str().unwrap().to_owned()).collect()
}

/// The settings of a collection as `collection show` prints them: value and origin by key.
fn settings(workspace: &Workspace, collection: &str) -> Vec<(String, String, String)> {
    let shown = &workspace.run(&format!("--data d collection show {collection} --json")).expect_code(0).json_lines()[0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let settings = shown["settings"].as_array().unwrap().iter();
    settings.map(|one| (text(&one["key"]), text(&one["value"]), text(&one["from"]))).collect()
}

fn triple(key: &str, value: &str, from: &str) -> (String, String, String) {
    (key.to_owned(), value.to_owned(), from.to_owned())
}

#[test]
fn a_collection_is_created_with_settings_of_its_own() {
    let workspace = Workspace::new();
    let run = workspace.run("--data d collection create audit sync=always seal.age=10m").expect_code(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "created audit\n"));
    assert!(workspace.path("d/audit").is_dir());
    assert_eq!(
        settings(&workspace, "audit"),
        [
            triple("sync", "always", "collection"),
            triple("seal.bytes", "64MiB", "log"),
            triple("seal.age", "10m", "collection"),
            triple("retention.age", "none", "log"),
            triple("retention.bytes", "none", "log"),
            triple("retention.records", "none", "log"),
            triple("vector.dimensions", "any", "log"),
            triple("compact.keep_versions", "all", "log"),
            triple("compact.ttl", "none", "log"),
            triple("compact.tombstone_grace", "none", "log"),
            triple("compact.target_bytes", "16MiB", "log"),
        ]
    );
    let with = workspace.run("--data d collection show audit --set segment.bytes=1MiB").expect_code(0).stdout;
    for line in [
        "collection        audit",
        "next sequence     1",
        "setting                  value   from",
        "seal.bytes               1MiB    log",
    ] {
        assert!(with.lines().any(|shown| shown == line), "{line}\n{with}");
    }
    // There already: an error, unless that is fine.
    let run = workspace.run("--data d collection create audit sync=never").expect_code(1);
    let text =
        "icecore: the collection is there already: collection=`audit`\nhint: `collection set` changes its settings\n";
    assert_eq!(run.stderr, text);
    let run = workspace.run("--data d collection create audit sync=never --json").expect_code(1);
    assert_eq!(run.json_error()["kind"], "conflict");
    let run = workspace.run("--data d collection create audit sync=never --if-not-exists --json").expect_code(0);
    assert_eq!(run.json_lines(), [json!({"collection": "audit", "created": false, "next_sequence": 1})]);
    assert_eq!(settings(&workspace, "audit")[0], triple("sync", "always", "collection"));
    let run = workspace.run("--data d collection create other --if-not-exists --json").expect_code(0);
    assert_eq!(run.json_lines(), [json!({"collection": "other", "created": true, "next_sequence": 1})]);
}

#[test]
fn settings_change_and_go_away() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\n");
    let run = workspace.run("--data d collection set c sync=periodic seal.bytes=1MiB").expect_code(0);
    assert_eq!(run.stderr, "c: sync is periodic, from collection\nc: seal.bytes is 1MiB, from collection\n");
    let run = workspace.run("--data d collection set c sync= --json").expect_code(0);
    let shown = &run.json_lines()[0];
    assert_eq!((&shown["collection"], run.stderr.as_str()), (&"c".into(), ""));
    assert_eq!(shown["settings"][0], json!({"key": "sync", "value": "per-batch", "from": "log"}));
    assert_eq!(shown["settings"][1], json!({"key": "seal.bytes", "value": "1MiB", "from": "collection"}));
    // They decide: 3 MiB of records, in segments of a megabyte at most.
    append(&workspace, "c", &format!("{}\n", "x".repeat(1000)).repeat(3000));
    workspace.run("--data d seal c").expect_code(0);
    assert!(ls(&workspace, "segments --collection c").len() >= 3);
}

#[test]
fn a_wrong_setting_is_told_before_anything_is_made() {
    let workspace = Workspace::new();
    for (line, message, hint) in [
        ("create c sealbytes=1MiB", "unknown setting of a collection: key=`sealbytes`", "did you mean `seal.bytes`?"),
        (
            "create c retention=7y",
            "unknown setting of a collection: key=`retention`",
            "a collection has the settings sync, ",
        ),
        ("create c sync=often", "invalid setting of a collection: key=`sync`, value=`often`; one of always, ", ""),
        ("create c seal.bytes=1", "it must be from 64KiB to 4GiB", ""),
        ("create c seal.age=1s seal.age=2s", "a setting is given twice: key=`seal.age`", "give it once"),
        ("set c sync", "a setting, `=` and a value are wanted", ""),
        ("set c", "the following required arguments were not provided: <KEY=VALUE>", ""),
        ("delete c --yes --dry-run", "cannot be used with", ""),
    ] {
        let run = workspace.run(&format!("--data d collection {line}")).expect_code(2);
        assert!(run.stderr.starts_with("icecore: ") && run.stderr.contains(message), "{line}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("hint: {hint}")) || hint.is_empty(), "{line}: {}", run.stderr);
    }
    assert!(!workspace.path("d").exists());
    let long = "x".repeat(256);
    let run = workspace.run(&format!("--data d collection create {long}")).expect_code(2);
    assert!(run.stderr.contains("a collection name is too long: bytes=`256`, limit=`255`"), "{}", run.stderr);
    append(&workspace, "c", "a\n");
    for command in ["show nope", "set nope sync=", "delete nope --yes", "delete nope --dry-run"] {
        let run = workspace.run(&format!("--data d collection {command}")).expect_code(1);
        let text = "icecore: no such collection: collection=`nope`\nhint: `ls collections` lists them\n";
        assert_eq!(run.stderr, text, "{command}");
    }
}

#[test]
fn without_auto_create_an_append_makes_no_collection_and_no_log() {
    let workspace = Workspace::new();
    workspace.write("icecore.toml", "[collections]\nauto_create = false\n");
    let refused = |line: &str| workspace.icecore(line.split(' ')).stdin("a\n").run().expect_code(1).stderr;
    assert!(refused("--data d append c").starts_with("icecore: no log here: directory=`d`"));
    assert!(!workspace.path("d").exists());
    workspace.run("--data d collection create other").expect_code(0);
    let text = "icecore: no such collection, and appends create none: collection=`c`\nhint: `collection create` makes it; \
                so does an append where the setting collections.auto_create is true\n";
    let told = refused("--data d append c");
    assert!(told.ends_with(text), "{told}");
    assert_eq!(names(&workspace, "collections"), ["other"]);
    workspace.run("--data d collection create c").expect_code(0);
    append(&workspace, "c", "a\n");
    let by_flag = workspace.icecore("--data d --set collections.auto_create=true append new".split(' ')).stdin("a\n");
    by_flag.run().expect_code(0);
    assert_eq!(names(&workspace, "collections"), ["c", "new", "other"]);
    let run = workspace.run("--data d --set collections.auto_create=perhaps ls collections").expect_code(2);
    assert!(run.stderr.contains("true or false is wanted"), "{}", run.stderr);
}

#[test]
fn a_deleted_collection_is_gone_and_goes_on_with_the_next_sequence() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\nb\n");
    workspace.run("--data d seal").expect_code(0);
    append(&workspace, "c", "c\n");
    append(&workspace, "other", "x\n");
    let plan = workspace.run("--data d collection delete c --dry-run --json").expect_code(0).json_lines().remove(0);
    let numbers = ["first_sequence", "last_sequence", "records", "segments", "next_sequence"];
    assert_eq!(numbers.map(|name| plan[name].as_u64().unwrap()), [1, 3, 3, 1, 4]);
    assert_eq!((&plan["collection"], &plan["dry_run"]), (&"c".into(), &true.into()));
    let people = workspace.run("--data d collection delete c --dry-run").expect_code(0).stderr;
    assert!(people.starts_with("would delete c with 3 records (1..=3), "), "{people}");
    assert!(people.ends_with(", in 1 segment; its next sequence is 4\n"), "{people}");
    assert_eq!(workspace.run("--data d cat c --format raw").stdout, "a\nb\nc\n", "a dry run changes nothing");

    let done = workspace.run("--data d collection delete c --yes --json").expect_code(0).json_lines().remove(0);
    assert_eq!((&done["dry_run"], &done["records"], &done["bytes"]), (&false.into(), &3.into(), &plan["bytes"]));
    for command in ["cat c", "tail c", "get c k", "seal c", "collection show c", "collection delete c --yes"] {
        let run = workspace.run(&format!("--data d {command}")).expect_code(1);
        let text = "icecore: the collection was deleted: collection=`c`, deleted=`20";
        assert!(run.stderr.starts_with(text) && run.stdout.is_empty(), "{command}: {}", run.stderr);
    }
    assert_eq!(names(&workspace, "collections"), ["other"]);
    let all = ls(&workspace, "collections --all");
    assert_eq!(all.iter().map(|row| row["deleted_at"].is_null()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(
        (&all[0]["collection"], &all[0]["next_sequence"], &all[0]["records"]),
        (&"c".into(), &4.into(), &0.into())
    );
    let table = workspace.run("--data d ls collections --all").expect_code(0).stdout;
    assert!(table.lines().next().unwrap().trim_end().ends_with("deleted at"), "{table}");
    // Its history stays, its files do not.
    let history = ls(&workspace, "segments --collection c");
    assert_eq!(history.iter().map(|row| &row["status"]).collect::<Vec<_>>(), ["purged"]);
    assert!(ls(&workspace, "changes").iter().any(|change| change["reason"] == "collection deleted"));
    let files: Vec<_> =
        std::fs::read_dir(workspace.path("d/c")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["00000000000000000001-00000000000000000003.0.stub.avro"]);
    for check in ["verify --deep", "catalog check", "status"] {
        let run = workspace.run(&format!("--data d {check}")).expect_code(0);
        assert!(check != "status" || run.stdout.ends_with("\nnothing needs attention\n"), "{}", run.stdout);
    }
    let inspected = workspace.run("inspect d/c/00000000000000000001-00000000000000000003.0.stub.avro");
    assert_ne!(inspected.status.code(), Some(4), "{}", inspected.stderr);

    // By an append it comes back, and so it does by being created; a rebuilt catalog knows its end too.
    workspace.run("--data d catalog rebuild").expect_code(0);
    append(&workspace, "c", "d\n");
    assert_eq!(ls(&workspace, "collections")[0]["first_sequence"], 4);
    workspace.run("--data d collection delete c --yes").expect_code(0);
    let run = workspace.run("--data d collection create c").expect_code(0);
    assert_eq!(run.stderr, "created c, which goes on with sequence 5\n");
    append(&workspace, "c", "e\n");
    assert_eq!(workspace.run("--data d cat c").expect_code(0).json_lines()[0]["sequence"], 5);
}

#[test]
fn a_deletion_asks_and_wants_the_name() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\n");
    let delete = |answer: &str| workspace.icecore("--data d collection delete c".split(' ')).stdin(answer).run();
    for answer in ["", "\n", "y\n", "yes\n", "C\n", "c d\n"] {
        let run = delete(answer).expect_code(1);
        assert!(run.stderr.starts_with("delete c with 1 record (1..=1), "), "{answer:?}: {}", run.stderr);
        let text = "icecore: not deleted: collection=`c`\nhint: the answer that deletes is the collection's name; or give --yes\n";
        assert!(run.stderr.ends_with(text), "{answer:?}: {}", run.stderr);
    }
    assert_eq!(names(&workspace, "collections"), ["c"]);
    let run = workspace.run("--data d collection delete c --json").expect_code(2);
    assert_eq!(run.json_error()["hint"], "give --yes to delete, or --dry-run to look");
    delete("c\n").expect_code(0);
    assert_eq!(names(&workspace, "collections"), [""; 0]);
}

/// A tail in another process keeps the writer's lock from nobody; a writer does.
#[test]
fn what_must_write_says_so_while_a_writer_runs() {
    use std::io::{BufRead as _, Write as _};
    let workspace = Workspace::new();
    append(&workspace, "c", "a\n");
    let mut writer = workspace.icecore("--data d append w --acks".split(' ')).spawn();
    let mut stdin = writer.stdin.take().unwrap();
    stdin.write_all(b"x\n").unwrap();
    let mut ack = String::new();
    std::io::BufReader::new(writer.stdout.take().unwrap()).read_line(&mut ack).unwrap();
    assert!(ack.contains("first_sequence"), "{ack}");
    for command in ["create new", "set c sync=", "delete c --yes"] {
        let run = workspace.run(&format!("--data d collection {command} --json")).expect_code(1);
        assert_eq!(run.json_error()["kind"], "locked", "{command}");
    }
    for command in ["show c", "delete c --dry-run"] {
        workspace.run(&format!("--data d collection {command}")).expect_code(0);
    }
    drop(stdin);
    assert!(writer.wait().unwrap().success());
}

#[test]
fn assignments_and_directories_are_listed() {
    let workspace = Workspace::new();
    for collection in ["a", "b", "c"] {
        let words = ["--data", "one", "--data", "two", "append", collection];
        workspace.icecore(words).stdin("x\n").run().expect_code(0);
    }
    let list = |line: &str| workspace.run(&format!("--data one ls assignments {line}")).expect_code(0);
    let of = |line: &str| {
        let rows = list(&format!("{line} --json")).json_lines();
        rows.iter().map(|row| row["collection"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(""), ["a", "b", "c"]);
    assert_eq!(of("--component wal"), ["a", "b", "c"]);
    assert_eq!(of("--component storage"), [""; 0]);
    assert_eq!(of("--collection b"), ["b"]);
    let history = list("--collection b --history --json").json_lines();
    assert_eq!(history.len(), 1);
    let (directory, reason) = (history[0]["directory"].as_str().unwrap(), history[0]["reason"].as_str().unwrap());
    assert!(directory.ends_with("/two") && reason == "first append", "{history:?}");
    assert!(history[0]["change"].as_u64().unwrap() > 0 && history[0]["from_sequence"] == 1, "{history:?}");
    assert_eq!(of("--collection b --history --component storage"), [""; 0]);
    let table = list("--collection b --history").stdout;
    assert!(table.lines().next().unwrap().ends_with("reason") && table.contains("first append"), "{table}");
    workspace.run("--data one ls assignments --history").expect_code(2);

    let status = workspace.run("--data one status --json").expect_code(0).json_lines().remove(0);
    let directories = status["directories"].as_array().unwrap();
    let held: Vec<_> = directories.iter().map(|each| [&each["state"], &each["collections"], &each["reason"]]).collect();
    assert_eq!(held, [[&json!("healthy"), &json!(2), &Value::Null], [&json!("healthy"), &json!(1), &Value::Null]]);
    assert!(directories.iter().all(|each| each["bytes"].as_u64().unwrap() > 0 && each["id"].is_string()));
    std::fs::rename(workspace.path("two"), workspace.path("away")).unwrap();
    let status = workspace.run("--data one status --json").expect_code(0).json_lines().remove(0);
    let two = &status["directories"][1];
    assert_eq!((&two["state"], &two["collections"]), (&json!("missing"), &json!(1)));
    assert!(two["reason"].is_string(), "{two}");
    let people = workspace.run("--data one status").expect_code(0).stdout;
    let line = people.lines().find(|line| line.contains("/two ")).unwrap_or_else(|| panic!("{people}"));
    assert!(line.contains(" missing "), "{line}");
    assert!(people.contains("\nneeds attention:\n") && people.contains("/two: missing: "), "{people}");
}

#[test]
fn any_name_is_a_collection() {
    let workspace = Workspace::new();
    let long = "Ü".repeat(127);
    for name in ["c", "C", ".journal", ".icecore", "CON", "a/b", "..", "日本", "a b", &long] {
        let run =
            |words: &[&str]| workspace.icecore(["--data", "d", "collection"].iter().chain(words)).run().expect_code(0);
        run(&["create", name]);
        append(&workspace, name, "a\n");
        run(&["delete", name, "--yes"]);
        let created = run(&["create", name, "--json"]);
        assert_eq!(created.json_lines()[0]["next_sequence"], 2, "{name}");
    }
    assert_eq!(ls(&workspace, "collections").len(), 10);
    workspace.run("--data d catalog check").expect_code(0);
    assert_eq!(ls(&workspace, "collections --all").len(), 10);
}

/// A foreign Avro file that lies in a log's directory: its records are taken by `append`, and nothing else touches it.
#[test]
fn records_of_a_foreign_avro_file_are_taken() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\nb\n");
    workspace.run("--data d seal").expect_code(0);
    // Another program's copy of our records: the same schema, another sync marker, no metadata and no footer of ours.
    let export = std::fs::File::create(workspace.path("export.avro")).unwrap();
    let words = "--data d cat c --format avro --set segment.codec=null".split(' ');
    workspace.icecore(words).run_into(export).expect_code(0);
    let export = workspace.read("export.avro");
    let records = apache_avro::Reader::new(&export[..]).unwrap();
    let schema = records.writer_schema().clone();
    let mut copy = apache_avro::Writer::new(&schema, Vec::new()).unwrap();
    for record in records {
        copy.append_value(record.unwrap()).unwrap();
    }
    let bytes = copy.into_inner().unwrap();
    for place in ["d/c/other-program.avro", "d/strange/other-program.avro", "d/other-program.avro"] {
        let path = workspace.write(place, &bytes);
        let words = ["--data", "d", "append", "taken", "--format", "avro", path.to_str().unwrap()];
        workspace.icecore(words).run().expect_code(0);
        assert_eq!(std::fs::read(path).unwrap(), bytes, "left alone");
    }
    assert_eq!(workspace.run("--data d cat taken --format raw").expect_code(0).stdout, "a\nb\na\nb\na\nb\n");
    assert_eq!(workspace.run("--data d cat c --format raw").expect_code(0).stdout, "a\nb\n");
    workspace.run("--data d recover").expect_code(0);
    for check in ["verify --deep", "catalog check"] {
        workspace.run(&format!("--data d {check}")).expect_code(0);
    }
    assert_eq!(names(&workspace, "collections"), ["c", "taken"], "a foreign file makes no collection");
}
