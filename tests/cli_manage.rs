//! Looking after a log through the real program: seal, flush, delete, ls, inspect, recover, gaps.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use util::Workspace;

fn append(workspace: &Workspace, collection: &str, input: &str) {
    workspace.icecore(["--data", "d", "append", collection]).stdin(input).run().expect_code(0);
}

/// The only file in a folder whose name ends like that.
fn only(workspace: &Workspace, folder: &str, end: &str) -> String {
    let names = std::fs::read_dir(workspace.path(folder)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names = names.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(end));
    let name = names.next().unwrap_or_else(|| panic!("no {end} in {folder}"));
    assert_eq!(names.next(), None);
    format!("{folder}/{name}")
}

#[test]
fn seal_and_flush_make_segments() {
    let workspace = Workspace::new();
    append(&workspace, "one", "a\nb\n");
    append(&workspace, "two", "c\n");
    let run = workspace.run("--data d seal one").expect_code(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "sealed one: 1 new segment\n"));
    let run = workspace.run("--data d flush --json").expect_code(0);
    let report = &run.json_lines()[0];
    assert_eq!((&report["segments"], &report["failed"]), (&1.into(), &serde_json::json!([])), "{report}");
    assert_eq!(workspace.run("--data d flush").expect_code(0).stderr, "flushed all collections: 0 new segments\n");
    assert_eq!(workspace.run("--data d cat one --format raw").stdout, "a\nb\n");
    // Nothing lives in journals any more, so none is kept but those of nobody.
    for journal in workspace.run("--data d ls journals --json").expect_code(0).json_lines() {
        assert_eq!(journal["live_bytes"], 0, "{journal}");
    }
}

#[test]
fn deletes_are_records() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\n");
    let run = workspace.run("--data d delete c k1 k2 --json --sync always").expect_code(0);
    let wanted = serde_json::json!({"collection": "c", "first_sequence": 2, "last_sequence": 3, "records": 2});
    assert_eq!(run.json_lines(), [wanted]);
    assert_eq!(workspace.run("--data d delete c k3").expect_code(0).stderr, "deleted 1 key from c (4..=4)\n");
    let last = &workspace.run("--data d cat c --from 4").expect_code(0).json_lines()[0];
    assert_eq!(
        (&last["kind"], &last["key"], &last["payload"]),
        (&"delete".into(), &"k3".into(), &serde_json::Value::Null)
    );
}

#[test]
fn lists_have_the_fields_that_programs_rely_on() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\nb\n");
    workspace.run("--data d seal").expect_code(0);
    append(&workspace, "c", "c\n");
    append(&workspace, "d", "x\n");
    let list = |subject: &str| workspace.run(&format!("--data d ls {subject} --json")).expect_code(0).json_lines();
    let directory = workspace.path("d").display().to_string();
    let collections = list("collections");
    let c = &collections[0];
    assert_eq!((&c["collection"], &c["directory"]), (&"c".into(), &directory.clone().into()));
    let numbers = ["first_sequence", "last_sequence", "records", "segments"].map(|name| c[name].as_u64().unwrap());
    assert_eq!(numbers, [1, 3, 3, 1]);
    assert!(c["bytes"].as_u64().unwrap() > 3);
    assert_eq!((collections.len(), &collections[1]["segments"]), (2, &0.into()));
    let segments = list("segments");
    let segment = &segments[0];
    let path = segment["path"].as_str().unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(segment["sha256"], icecore::types::ids::hex(&icecore::avro::sha256(&bytes)));
    assert_eq!((&segment["bytes"], &segment["records"]), (&bytes.len().into(), &2.into()));
    assert_eq!((&segment["first_sequence"], &segment["last_sequence"]), (&1.into(), &2.into()));
    assert_eq!((&segment["status"], &segment["collection"]), (&"sealed".into(), &"c".into()));
    assert_eq!((&segment["directory"], &segment["segment"]), (&directory.clone().into(), &"c/1-2.0".into()));
    let changes = list("changes");
    assert!(changes.iter().zip(1..).all(|(change, number)| change["number"] == number), "{changes:?}");
    assert!(changes.iter().any(|change| change["kind"] == "segment.insert" && change["detail"]["records"] == 2));
    let assignment = &list("assignments")[0];
    assert_eq!((&assignment["component"], &assignment["directory"]), (&"wal".into(), &directory.into()));
    let journals = list("journals");
    assert!(journals.iter().any(|journal| journal["kept_by"] == serde_json::json!(["c"])), "{journals:?}");
    assert!(journals.iter().all(|journal| std::path::Path::new(journal["path"].as_str().unwrap()).is_file()));
}

#[test]
fn lists_are_tables_for_people() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\nb\n");
    workspace.run("--data d seal").expect_code(0);
    for (subject, header) in [
        ("collections", ["collection", "first sequence", "records"]),
        ("segments", ["collection", "path", "status"]),
        ("journals", ["path", "kind", "kept by"]),
        ("changes", ["number", "kind", "reason"]),
        ("assignments", ["component", "directory", "since"]),
    ] {
        let run = workspace.run(&format!("--data d ls {subject}")).expect_code(0);
        let mut lines = run.stdout.lines();
        let first = lines.next().unwrap_or_default();
        assert!(subject == "journals" || header.iter().all(|word| first.contains(word)), "{subject}: {}", run.stdout);
        assert!(run.stdout.is_empty() == (run.stderr == "none\n"), "{subject}: {} {}", run.stdout, run.stderr);
    }
    assert_eq!(workspace.run("--data d gap ls").expect_code(0).stderr, "no losses, no gaps\n");
    assert_eq!(workspace.run("--data d gap ls --json").expect_code(0).stdout, "");
}

#[test]
fn inspect_tells_what_a_file_holds() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\nb\n");
    let journal = only(&workspace, "d/.journal", ".avro");
    let inspect = |path: &str| workspace.run(&format!("inspect {path} --json")).expect_code(0).json_lines()[0].clone();
    let found = inspect(&journal);
    assert_eq!((&found["file"], &found["records"], &found["closed"]), (&"journal".into(), &2.into(), &true.into()));
    let held = &found["collections"][0];
    let numbers = ["first_sequence", "last_sequence", "records"].map(|name| held[name].as_u64().unwrap());
    assert_eq!((&held["collection"], numbers), (&"c".into(), [1, 2, 2]));
    let people = workspace.run(&format!("inspect {journal}")).expect_code(0).stdout;
    assert!(people.starts_with("file ") && people.contains("\ncollection  first  last  records"), "{people}");
    workspace.run("--data d seal").expect_code(0);
    let segment = only(&workspace, "d/c", ".avro");
    let found = inspect(&segment);
    assert_eq!((&found["file"], &found["records"], &found["covers"]), (&"segment".into(), &2.into(), &"1..=2".into()));
    assert_eq!(found["damaged"], serde_json::json!([]));
    let listed = &workspace.run("--data d ls segments --json").json_lines()[0];
    assert_eq!(found["sha256"], listed["sha256"]);
    // Under another name it is the same segment.
    std::fs::copy(workspace.path(&segment), workspace.path("copy")).unwrap();
    assert_eq!(inspect("copy")["content_digest"], found["content_digest"]);
}

#[test]
fn inspect_refuses_what_is_not_ours_and_finds_damage() {
    let workspace = Workspace::new();
    workspace.write("text", "hello");
    workspace.write("empty", "");
    let schema = apache_avro::Schema::parse_str("\"string\"").unwrap();
    workspace.write("foreign.avro", apache_avro::Writer::new(&schema, Vec::new()).unwrap().into_inner().unwrap());
    for (path, what) in [
        ("text", "not an avro file"),
        ("empty", "not an avro file"),
        ("foreign.avro", "an avro file of another program"),
        (".", "not a regular file"),
    ] {
        let run = workspace.run(&format!("inspect {path}")).expect_code(1);
        let message = format!("icecore: not a file of an icecore log: path=`{path}`, {what}\nhint: inspect takes ");
        assert!(run.stderr.starts_with(&message), "{}", run.stderr);
    }
    let run = workspace.run("inspect absent --json").expect_code(1);
    assert_eq!(run.json_error()["kind"], "not_found");

    append(&workspace, "c", "first\nsecond\n");
    append(&workspace, "c", "third\n");
    let names: Vec<_> =
        std::fs::read_dir(workspace.path("d/.journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let journal = names.iter().min().unwrap().to_str().unwrap();
    let good = std::fs::read(journal).unwrap();
    let find = |text: &str| good.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap();
    let damage = |name: &str, at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        workspace.write(name, bytes);
        workspace.run(&format!("inspect {name} --json"))
    };
    let found = damage("payload.avro", find("second"), b'S').expect_code(4).json_lines()[0].clone();
    assert_eq!(found["damaged"][0]["collection"], "c");
    let lost = ["first_sequence", "last_sequence"].map(|name| found["damaged"][0][name].as_u64().unwrap());
    assert_eq!(lost, [1, 2]);
    let newer = damage("newer.avro", find("icecore.format_version") + "icecore.format_version".len() + 1, b'2');
    // The header's own checksum is wrong too, so it is damage, and never taken for a newer format.
    assert_eq!(newer.status.code(), Some(4));
}

#[test]
fn recover_plans_acts_and_tells() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\nb\n");
    workspace.run("--data d seal").expect_code(0);
    let segment = only(&workspace, "d/c", ".avro");
    let dry = workspace.run("--data d recover --dry-run --json").expect_code(0).json_lines()[0].clone();
    assert_eq!((&dry["collections"], &dry["segments"], &dry["dry_run"]), (&1.into(), &1.into(), &true.into()));
    assert_eq!(dry["steps"], serde_json::json!([]));
    assert!(workspace.run("--data d recover").expect_code(0).stdout.contains("nothing had to be done"));
    // A segment that is gone: its sequences are told, and their loss is on record.
    std::fs::remove_file(workspace.path(&segment)).unwrap();
    let dry = workspace.run("--data d recover --dry-run").expect_code(4);
    assert!(dry.stdout.contains("\nwould do:\n") && dry.stdout.contains("\ndamaged:\n"), "{}", dry.stdout);
    assert_eq!(workspace.run("--data d gap ls --json").stdout, "", "a plan changes nothing");
    let done = workspace.run("--data d recover --json").expect_code(4).json_lines()[0].clone();
    let damaged = &done["damaged"][0];
    assert_eq!(
        (&damaged["collection"], &damaged["first_sequence"], &damaged["last_sequence"]),
        (&"c".into(), &1.into(), &2.into())
    );
    let losses = workspace.run("--data d gap ls --json").expect_code(0).json_lines();
    assert_eq!(
        (&losses[0]["kind"], &losses[0]["first_sequence"], &losses[0]["last_sequence"]),
        (&"loss".into(), &1.into(), &2.into())
    );
    // Until somebody takes note of it, it is damage for `verify`, and wants attention.
    let report = workspace.run("--data d verify --json").expect_code(4).json_lines()[0].clone();
    assert_eq!((&report["ok"], &report["verdict"]), (&false.into(), &"DAMAGED".into()));
    assert_eq!(report["damaged"][0]["collection"], "c");
    let status = workspace.run("--data d status").expect_code(0).stdout;
    assert!(status.contains("\nneeds attention:\n") && status.contains("lost: c 1..=2"), "{status}");
    let wrong = workspace.run("--data d gap acknowledge c 1 3 --by alice").expect_code(1);
    assert!(wrong.stderr.contains("no such loss on record"), "{}", wrong.stderr);
    let run = workspace.run("--data d gap acknowledge c 1 2 --by alice").expect_code(0);
    assert_eq!(run.stderr, "acknowledged: c 1..=2\n");
    let gaps = workspace.run("--data d gap ls --json").expect_code(0).json_lines();
    assert_eq!((&gaps[0]["kind"], &gaps[0]["acknowledged_by"]), (&"gap".into(), &"alice".into()));
    let report = workspace.run("--data d verify --json").expect_code(0).json_lines()[0].clone();
    assert_eq!((&report["ok"], &report["verdict"]), (&true.into(), &"OK-WITH-GAPS".into()));
    assert_eq!(report["gaps"][0]["acknowledged_by"], "alice");
    let people = workspace.run("--data d verify").expect_code(0).stdout;
    assert!(people.contains("gaps that were acknowledged:\n  c 1..=2, by alice\n"), "{people}");
    assert!(workspace.run("--data d status").expect_code(0).stdout.ends_with("\nnothing needs attention\n"));
    let again = workspace.run("--data d gap acknowledge c 1 2 --by bob --json").expect_code(1);
    assert_eq!(again.json_error()["kind"], "conflict");
    append(&workspace, "c", "c\n");
    let read = workspace.run("--data d cat c").expect_code(0);
    assert_eq!(read.json_lines()[0]["sequence"], 3);
    assert!(read.stderr.contains("not there: 1..=2: a gap that was acknowledged"), "{}", read.stderr);
}

#[test]
fn verify_and_status_tell_how_things_are() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\nb\n");
    workspace.run("--data d seal").expect_code(0);
    append(&workspace, "c", "c\n");
    for depth in ["", " --deep"] {
        let report = workspace.run(&format!("--data d verify --json{depth}")).expect_code(0).json_lines()[0].clone();
        let numbers =
            ["records", "segments", "unproven_tail_bytes", "dropped_tail_bytes"].map(|name| report[name].as_u64());
        assert_eq!(numbers, [Some(3), Some(1), Some(0), Some(0)]);
        assert!(report["journals"].as_u64().unwrap() > 0);
        assert_eq!(
            (&report["ok"], &report["damaged"], &report["gaps"]),
            (&true.into(), &[0; 0].into(), &[0; 0].into())
        );
    }
    let people = workspace.run("--data d verify --deep").expect_code(0).stdout;
    assert!(people.starts_with("OK: 3 records, 1 segment, ") && people.ends_with("(every byte read)\n"), "{people}");
    let status = workspace.run("--data d status --json").expect_code(0).json_lines()[0].clone();
    assert_eq!((&status["collections"], &status["unsealed_records"]), (&1.into(), &1.into()));
    assert_eq!(status["segments"]["sealed"], 1);
    let people = workspace.run("--data d status").expect_code(0).stdout;
    assert!(
        people.contains("\nunsealed       1 record, ") && people.ends_with("\nnothing needs attention\n"),
        "{people}"
    );
    // One byte of a segment: only a look at every byte can see it.
    let segment = only(&workspace, "d/c", ".avro");
    let mut bytes = workspace.read(&segment);
    let block =
        workspace.run(&format!("inspect {segment} --json")).json_lines()[0]["blocks"][0]["offset"].as_u64().unwrap();
    bytes[block as usize + 8] ^= 1;
    workspace.write(&segment, bytes);
    workspace.run("--data d verify").expect_code(0);
    let report = workspace.run("--data d verify --deep --json").expect_code(4).json_lines()[0].clone();
    let damaged = &report["damaged"][0];
    assert!(damaged["path"].as_str().unwrap().ends_with(&segment), "{damaged}");
    assert_eq!(
        (&damaged["collection"], &damaged["first_sequence"], &damaged["last_sequence"]),
        (&"c".into(), &1.into(), &2.into())
    );
    assert!(damaged["reason"].is_string());
    let people = workspace.run("--data d verify --deep").expect_code(4).stdout;
    assert!(people.starts_with("DAMAGED: ") && people.contains("c 1..=2: "), "{people}");
}

#[test]
fn a_catalog_that_is_gone_or_damaged_is_made_anew() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\nb\n");
    workspace.run("--data d seal").expect_code(0);
    append(&workspace, "c", "c\n");
    let remove = || {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(workspace.path(&format!("d/.icecore/catalog.sqlite{end}")));
        }
    };
    remove();
    let run = workspace.run("--data d cat c").expect_code(1);
    assert!(
        run.stderr.contains("there is no catalog") && run.stderr.contains("\nhint: `recover` makes"),
        "{}",
        run.stderr
    );
    remove();
    workspace.write("d/.icecore/catalog.sqlite", "garbage");
    for line in ["cat c", "append c", "recover"] {
        let run = workspace.run(&format!("--data d {line}")).expect_code(4);
        assert!(
            run.stderr.contains("catalog is damaged") && run.stderr.contains("\nhint: `catalog check`"),
            "{}",
            run.stderr
        );
    }
    remove();
    let run = workspace.run("--data d recover").expect_code(0);
    assert!(run.stdout.contains("\ndone:\n") && run.stdout.contains("adopt"), "{}", run.stdout);
    assert_eq!(workspace.run("--data d cat c --format raw").expect_code(0).stdout, "a\nb\nc\n");
    workspace.run("--data d verify --deep").expect_code(0);
}

#[test]
fn any_name_is_a_collection_and_none_commands_the_terminal() {
    let workspace = Workspace::new();
    for name in ["a b/ü", ".journal", "-", "a\u{1b}[31m\nb", "CON"] {
        workspace.icecore(["--data", "d", "append", "--", name]).stdin("x\n").run().expect_code(0);
    }
    workspace.run("--data d seal").expect_code(0);
    let names: Vec<_> = workspace.run("--data d ls collections --json").json_lines();
    let names: Vec<&str> = names.iter().map(|line| line["collection"].as_str().unwrap()).collect();
    assert_eq!(names, ["-", ".journal", "CON", "a\u{1b}[31m\nb", "a b/ü"]);
    for subject in ["collections", "segments", "changes", "assignments"] {
        let run = workspace.run(&format!("--data d ls {subject}")).expect_code(0);
        assert!(!run.stdout.contains('\u{1b}') && run.stdout.contains("a\\u{1b}[31m\\nb"), "{}", run.stdout);
    }
    let run = workspace.icecore(["--data", "d", "cat", "no\u{1b}[0m"]).run().expect_code(1);
    assert!(run.stderr.contains("collection=`no\\u{1b}[0m`"), "{}", run.stderr);
    workspace.run("--data d verify --deep").expect_code(0);
}

#[test]
fn the_catalog_may_lie_elsewhere() {
    let workspace = Workspace::new();
    for log in ["d", "e"] {
        let line = format!("--data {log} append c --set catalog.path=catalogs");
        workspace.icecore(line.split(' ')).stdin(format!("{log}\n")).run().expect_code(0);
    }
    let names = std::fs::read_dir(workspace.path("catalogs")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> =
        names.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".sqlite")).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!workspace.path("d/.icecore/catalog.sqlite").exists());
    for log in ["d", "e"] {
        let run =
            workspace.icecore(["--data", log, "cat", "c", "--format", "raw"]).env("ICECORE_CATALOG_PATH", "catalogs");
        assert_eq!(run.run().expect_code(0).stdout, format!("{log}\n"));
    }
}

#[test]
fn a_newer_log_is_refused_by_name() {
    let workspace = Workspace::new();
    append(&workspace, "c", "a\n");
    let identity = String::from_utf8(workspace.read("d/.icecore/identity.json")).unwrap();
    workspace.write("d/.icecore/identity.json", identity.replace("\"format\": 1", "\"format\": 9"));
    for line in ["append c", "cat c", "recover", "ls collections"] {
        let run = workspace.run(&format!("--data d {line} --json")).expect_code(1);
        let error = run.json_error();
        assert_eq!(error["kind"], "unsupported", "{line}");
        assert!(error["message"].as_str().unwrap().contains("format=`9`"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("newer"), "{error}");
    }
}
