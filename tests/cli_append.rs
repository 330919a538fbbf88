//! Appending through the real program: formats, acks, resuming, wrong input, interruption.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Child;

use util::{Outcome, Workspace};

/// Payloads of a collection, one a line.
#[track_caller]
fn raw(workspace: &Workspace, collection: &str) -> String {
    workspace.run(&format!("--data d cat {collection} --format raw")).expect_code(0).stdout
}

fn append(workspace: &Workspace, args: &str, input: impl Into<Vec<u8>>) -> Outcome {
    workspace.icecore(format!("--data d append {args}").split(' ')).stdin(input).run()
}

/// An append that is fed line by line, and its acks.
struct Fed {
    child: Child,
    acks: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Fed {
    fn start(workspace: &Workspace, args: &str) -> Self {
        let mut child = workspace.icecore(format!("--data d append {args} --acks").split(' ')).spawn();
        let acks = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, acks }
    }

    fn feed(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the next ack: first and last sequence.
    #[track_caller]
    fn ack(&mut self) -> (u64, u64) {
        let line = self.acks.next().expect("one more ack").unwrap();
        let ack: serde_json::Value = serde_json::from_str(&line).unwrap();
        (ack["first_sequence"].as_u64().unwrap(), ack["last_sequence"].as_u64().unwrap())
    }

    /// Ends the input and gives the exit code, stderr, and what else was printed.
    fn end(mut self) -> (Option<i32>, String, Vec<String>) {
        drop(self.child.stdin.take());
        self.wait()
    }

    /// The same with the input still open.
    fn wait(mut self) -> (Option<i32>, String, Vec<String>) {
        let rest: Vec<String> = self.acks.by_ref().map(Result::unwrap).collect();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code(), stderr, rest)
    }

    #[cfg(unix)]
    fn interrupt(&self) {
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    }
}

#[test]
fn records_come_back_as_they_were() {
    let workspace = Workspace::new();
    append(&workspace, "lines", "a\n\nc\r\nlast").expect_code(0);
    assert_eq!(raw(&workspace, "lines"), "a\n\nc\r\nlast\n");
    let stanzas = "Package: a\nDescription: x\n more\n\n\nPackage: b\n";
    append(&workspace, "stanzas --format stanzas --key package", stanzas).expect_code(0);
    assert_eq!(raw(&workspace, "stanzas"), "Package: a\nDescription: x\n more\nPackage: b\n");
    let objects = "{\"id\":7,\"at\":\"2026-11-21T09:30:00Z\"}\n{\"id\":\"ü\",\"at\":1}\n";
    let args = "objects --format ndjson --key id --timestamp at --header a=1 --header b=x=y --expires-in 1h";
    append(&workspace, args, objects).expect_code(0);
    let records = workspace.run("--data d cat objects").expect_code(0).json_lines();
    assert_eq!(
        records[0],
        serde_json::json!({
            "sequence": 1, "kind": "put", "key": "7", "timestamp": "2026-11-21T09:30:00.000000Z",
            "expires_at": "2026-11-21T10:30:00.000000Z", "payload": "{\"id\":7,\"at\":\"2026-11-21T09:30:00Z\"}",
            "headers": [{"key": "a", "value": "1"}, {"key": "b", "value": "x=y"}],
        })
    );
    assert_eq!((&records[1]["key"], &records[1]["timestamp"]), (&"ü".into(), &"1970-01-01T00:00:00.000001Z".into()));
    assert_eq!(records[1]["expires_at"], "1970-01-01T01:00:00.000001Z");
}

#[test]
fn without_a_time_of_its_own_a_record_expires_from_now() {
    let workspace = Workspace::new();
    append(&workspace, "c --expires-in 90s", "a\nb\n").expect_code(0);
    for record in workspace.run("--data d cat c").expect_code(0).json_lines() {
        let micros = |name: &str| record[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond();
        assert_eq!(micros("expires_at") - micros("timestamp"), 90_000_000);
    }
}

#[test]
fn programs_get_acks_and_a_summary() {
    let workspace = Workspace::new();
    let run = append(&workspace, "c --batch 2 --acks --json", "a\nb\nc\n").expect_code(0);
    let lines = run.json_lines();
    assert_eq!(lines[0], serde_json::json!({"first_sequence": 1, "last_sequence": 2}));
    assert_eq!(lines[1], serde_json::json!({"first_sequence": 3, "last_sequence": 3}));
    let summary = &lines[2];
    assert_eq!((&summary["collection"], &summary["records"], &summary["bytes"]), (&"c".into(), &3.into(), &3.into()));
    assert_eq!((&summary["first_sequence"], &summary["last_sequence"]), (&1.into(), &3.into()));
    assert!(summary["elapsed_ms"].is_u64());
    assert_eq!((lines.len(), run.stderr.as_str()), (3, ""));
    let run = append(&workspace, "c", "d\n").expect_code(0);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.starts_with("appended 1 record to c (4..=4), 1 B in "), "{}", run.stderr);
    let nothing = append(&workspace, "c --json", "").expect_code(0).json_lines();
    assert_eq!((&nothing[0]["records"], &nothing[0]["first_sequence"]), (&0.into(), &serde_json::Value::Null));
}

#[test]
fn every_durability_mode_appends_and_ends_synced() {
    let workspace = Workspace::new();
    for (mode, number) in ["always", "per-batch", "periodic", "never"].into_iter().zip(1..) {
        append(&workspace, &format!("c --sync {mode} --batch 1"), "x\ny\n").expect_code(0);
        assert_eq!(raw(&workspace, "c").lines().count(), 2 * number, "{mode}");
        // Closed in good order, whatever the mode: the journal says that everything in it is synced.
        let report = &workspace.run("--data d recover --dry-run --json").expect_code(0).json_lines()[0];
        assert_eq!((&report["unproven_tail_bytes"], &report["dropped_tail_bytes"]), (&0.into(), &0.into()), "{mode}");
    }
}

#[test]
fn a_slow_pipe_is_acknowledged_while_it_is_open() {
    let workspace = Workspace::new();
    let mut fed = Fed::start(&workspace, "c");
    for number in 1..=3 {
        fed.feed("x\n");
        assert_eq!(fed.ack(), (number, number));
    }
    // What is acknowledged can be read beside the writer.
    assert_eq!(raw(&workspace, "c"), "x\nx\nx\n");
    let (code, stderr, _) = fed.end();
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn a_second_writer_is_told_so_and_readers_are_not() {
    let workspace = Workspace::new();
    let mut fed = Fed::start(&workspace, "c");
    fed.feed("x\n");
    fed.ack();
    for line in ["append c", "delete c k", "seal", "recover", "gap acknowledge c 1 1 --by me"] {
        let run = workspace.run(&format!("--data d {line}")).expect_code(1);
        assert_eq!(
            run.stderr,
            "icecore: another process writes to the log: directory=`d`\n\
             hint: wait until it ends, or stop it; reading works beside it\n",
            "{line}"
        );
        assert_eq!(workspace.run(&format!("--data d {line} --json")).expect_code(1).json_error()["kind"], "locked");
    }
    for subject in ["collections", "segments", "journals", "changes", "assignments"] {
        workspace.run(&format!("--data d ls {subject}")).expect_code(0);
    }
    for line in ["cat c", "gap ls", "recover --dry-run", "status", "verify", "verify --deep"] {
        workspace.run(&format!("--data d {line}")).expect_code(0);
    }
    assert_eq!(fed.end().0, Some(0));
}

#[test]
fn wrong_input_is_named_and_what_came_before_it_stays() {
    let workspace = Workspace::new();
    let run = append(&workspace, "c --format ndjson --batch 1", "{\"a\":1}\n\n{\"a\":2}\nnot json\n").expect_code(3);
    assert_eq!(run.stdout, "");
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert!(lines[0].starts_with("appended 2 records to c (1..=2), 14 B"), "{}", run.stderr);
    assert!(
        lines[1].starts_with("icecore: input is not ndjson: line=`4`, record=`3`, offset=`17`; "),
        "{}",
        run.stderr
    );
    assert!(lines[2].starts_with("hint: correct the input"), "{}", run.stderr);
    assert_eq!(raw(&workspace, "c"), "{\"a\":1}\n{\"a\":2}\n");
    // Corrected, the load goes on where it stopped.
    let run = append(&workspace, "c --format ndjson --resume --json", "{\"a\":1}\n\n{\"a\":2}\n{}\n").expect_code(0);
    assert_eq!((&run.json_lines()[0]["records"], &run.json_lines()[0]["skipped"]), (&1.into(), &2.into()));
    let run = append(&workspace, "none --format ndjson --json", "not json\n").expect_code(1);
    assert_eq!(run.json_error()["kind"], "invalid");
    assert_eq!(run.json_lines()[0]["records"], 0);
    let run = append(&workspace, "none --format stanzas --key Package", "Package: a\n\nVersion: 1\n").expect_code(3);
    assert!(run.stderr.contains("record has no usable field: field=`Package`, line=`3`, record=`2`"), "{}", run.stderr);
}

#[test]
fn a_record_over_a_limit_names_the_limit() {
    let workspace = Workspace::new();
    let limits = "--set limits.record_bytes=100 --set limits.key_bytes=20 --set limits.headers_bytes=50";
    let input = format!("short\n{}\n", "x".repeat(101));
    let run = append(&workspace, &format!("c {limits}"), input).expect_code(3);
    let message = "icecore: record is over the limit: line=`2`, record=`2`, offset=`6`, limit=`100`, \
                   setting=`limits.record_bytes`\nhint: raise limits.record_bytes";
    assert!(run.stderr.contains(message), "{}", run.stderr);
    let input = format!("{{\"k\":\"{}\"}}\n", "x".repeat(21));
    let run = append(&workspace, &format!("k {limits} --format ndjson --key k"), input).expect_code(1);
    assert!(run.stderr.contains("key is over the limit: line=`1`"), "{}", run.stderr);
    let run = append(&workspace, &format!("h {limits} --header h={}", "x".repeat(60)), "a\n").expect_code(2);
    assert!(run.stderr.contains("headers are over the limit"), "{}", run.stderr);
    assert!(run.stderr.contains("limits.headers_bytes"), "{}", run.stderr);
}

#[test]
fn many_small_records_in_a_large_batch_stay_within_the_limit_of_a_batch() {
    let workspace = Workspace::new();
    let limits = "--set limits.record_bytes=1KiB --set limits.key_bytes=100 --set limits.headers_bytes=100 --set limits.batch_bytes=2KiB";
    let run = append(&workspace, &format!("c --batch 100000 --acks {limits} --header a=b"), "x\n".repeat(300));
    let acks = run.expect_code(0).json_lines();
    assert!(acks.len() > 5, "{} batches", acks.len());
    assert_eq!(acks.last().unwrap()["last_sequence"], 300);
}

#[test]
fn what_cannot_be_opened_is_named_before_a_log_is_made() {
    let workspace = Workspace::new();
    workspace.write("folder/file", "x");
    for (args, code, message) in [
        ("append c absent", 1, "cannot open input: path=`absent`"),
        ("append c folder", 1, "input is a directory: path=`folder`"),
        ("append c folder/file --key k", 2, "format has no fields: format=`lines`, asked for=`k`"),
        ("append c folder/file --format avro", 1, "input is not avro: record=`1`, offset=`0`"),
    ] {
        let run = workspace.run(&format!("--data d {args}")).expect_code(code);
        assert!(run.stderr.contains(message), "{args}: {}", run.stderr);
        assert!(!workspace.path("d").exists(), "{args}");
    }
    let run = workspace.run("--data s3://bucket/log append c folder/file").expect_code(2);
    assert!(run.stderr.contains("opened by its local directories: directory=`s3://bucket/log`"), "{}", run.stderr);
    let run = workspace.run("--data folder/file append c folder/file").expect_code(1);
    assert!(
        run.stderr.contains("folder/file") && run.stderr.contains("hint: --data names a directory"),
        "{}",
        run.stderr
    );
}

#[test]
fn resuming_skips_what_is_there_and_refuses_what_differs() {
    let workspace = Workspace::new();
    let lines: Vec<String> = (1..=100).map(|number| format!("line {number}\n")).collect();
    append(&workspace, "c --header a=b --expires-in 1h", lines[..40].concat()).expect_code(0);
    let resume = |args: &str, input: String| append(&workspace, &format!("c --resume --json {args}"), input);
    let refuse = |args: &str, input: String, what: &str| {
        let run = resume(args, input).expect_code(1);
        let error = run.json_error();
        assert_eq!(error["kind"], "conflict");
        assert!(error["message"].as_str().unwrap().contains(what), "{error}");
        assert_eq!(run.json_lines()[0]["records"], 0);
    };
    let same = "--header a=b --expires-in 1h";
    let mut other = lines.clone();
    other[39] = "another line\n".to_owned();
    refuse(same, other.concat(), "sequence=`40`, differs in=`payload`, line=`40`");
    refuse("--header a=c --expires-in 1h", lines.concat(), "differs in=`headers`");
    refuse("--header a=b", lines.concat(), "differs in=`expires_at`");
    refuse(same, lines[..39].concat(), "fewer records than the collection: collection=`c`, input=`39`, there=`40`");
    let summary = &resume(&format!("{same} --batch 7"), lines.concat()).expect_code(0).json_lines()[0];
    let numbers = ["first_sequence", "last_sequence", "records", "skipped"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(numbers, [41, 100, 60, 40]);
    assert_eq!(raw(&workspace, "c"), lines.concat());
    let again = &resume(same, lines.concat()).expect_code(0).json_lines()[0];
    assert_eq!((&again["records"], &again["skipped"]), (&0.into(), &100.into()));
    append(&workspace, "new --resume", "x\n").expect_code(0);
    assert_eq!(raw(&workspace, "new"), "x\n");
}

#[test]
fn avro_goes_out_and_comes_in_with_everything() {
    let workspace = Workspace::new();
    append(&workspace, "c --format ndjson --key k --header h=1 --expires-in 1h", "{\"k\":\"a\"}\n{\"k\":\"b\"}\n")
        .expect_code(0);
    workspace.run("--data d delete c a").expect_code(0);
    let all = workspace.run("--data d cat c").expect_code(0).stdout;
    // Out of the journal, out of an export in each codec, out of a segment: the same records.
    let copy_of = |file: &std::path::Path, name: &str| {
        let words = ["--data", name, "append", "c", "--format", "avro", file.to_str().unwrap()];
        workspace.icecore(words).run().expect_code(0);
        assert_eq!(workspace.run(&format!("--data {name} cat c")).stdout, all, "{name}");
    };
    let journals = std::fs::read_dir(workspace.path("d/.journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut journals: Vec<_> = journals.filter(|path| path.extension().is_some_and(|end| end == "avro")).collect();
    journals.sort();
    assert_eq!(journals.len(), 2, "one of each run that appended");
    for codec in ["null", "zstandard", "deflate"] {
        let export = std::fs::File::create(workspace.path("export.avro")).unwrap();
        let line = format!("--data d cat c --format avro --set segment.codec={codec}");
        workspace.icecore(line.split(' ')).run_into(export).expect_code(0);
        copy_of(&workspace.path("export.avro"), codec);
    }
    workspace.run("--data d seal").expect_code(0);
    let segment = workspace.run("--data d ls segments --json").json_lines()[0]["path"].as_str().unwrap().to_owned();
    copy_of(std::path::Path::new(&segment), "from_segment");
}

#[test]
fn a_journal_gives_the_records_of_its_collection() {
    let workspace = Workspace::new();
    let mut fed = Fed::start(&workspace, "one");
    fed.feed("a\nb\n");
    // The file is read while its writer runs.
    let mut last = 0;
    while last < 2 {
        last = fed.ack().1;
    }
    let journal = std::fs::read_dir(workspace.path("d/.journal")).unwrap().map(|entry| entry.unwrap().path());
    let journal = journal.filter(|path| path.extension().is_some_and(|end| end == "avro")).max().unwrap();
    let words = |collection: &'static str| {
        ["--data", "e", "append", collection, "--format", "avro", journal.to_str().unwrap()].map(str::to_owned)
    };
    workspace.icecore(words("one")).run().expect_code(0);
    assert_eq!(workspace.run("--data e cat one --format raw").stdout, "a\nb\n");
    let run = workspace.icecore(words("two")).run().expect_code(1);
    assert!(
        run.stderr.contains("journal holds no record of the collection: collection=`two`, holds=`one`"),
        "{}",
        run.stderr
    );
    assert_eq!(fed.end().0, Some(0));
}

#[test]
fn foreign_damaged_and_newer_avro_is_refused_by_name() {
    let workspace = Workspace::new();
    let schema = "{\"type\":\"record\",\"name\":\"Other\",\"namespace\":\"org\",\"fields\":[]}";
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    let foreign = apache_avro::Writer::new(&schema, Vec::new()).unwrap().into_inner().unwrap();
    workspace.write("foreign.avro", foreign);
    let run = workspace.run("--data d append c foreign.avro --format avro").expect_code(1);
    assert!(
        run.stderr.contains("avro file of other records: schema=`org.Other`, wanted=`icecore.Record`"),
        "{}",
        run.stderr
    );

    append(&workspace, "c", "first\nsecond\n").expect_code(0);
    let export = std::fs::File::create(workspace.path("good.avro")).unwrap();
    workspace
        .icecore("--data d cat c --format avro --set segment.codec=null".split(' '))
        .run_into(export)
        .expect_code(0);
    let good = workspace.read("good.avro");
    let find = |text: &str| good.windows(text.len()).position(|bytes| bytes == text.as_bytes()).unwrap();
    let mut damaged = good.clone();
    damaged[find("second")] = b'S';
    workspace.write("damaged.avro", damaged);
    let run = workspace.run("--data e append c damaged.avro --format avro").expect_code(4);
    assert!(run.stderr.contains("input is damaged: record=`2`"), "{}", run.stderr);
    assert!(run.stderr.contains("the checksum of a record is wrong: sequence=`2`"), "{}", run.stderr);
    assert_eq!(workspace.run("--data e cat c --format raw").stdout, "first\n");
    workspace.write("cut.avro", &good[..good.len() - 1]);
    let run = workspace.run("--data f append c cut.avro --format avro").expect_code(4);
    assert!(run.stderr.contains("the file ends within a block"), "{}", run.stderr);
    let mut newer = good.clone();
    let at = find("icecore.format_version") + "icecore.format_version".len() + 1;
    assert_eq!(newer[at], b'1');
    newer[at] = b'2';
    workspace.write("newer.avro", newer);
    let run = workspace.run("--data e append c newer.avro --format avro --json").expect_code(1);
    assert_eq!(run.json_error()["kind"], "unsupported");
    let run = workspace.run("--data e append c good.avro --format avro --key k").expect_code(2);
    assert!(run.stderr.contains("format has no fields: format=`avro`"), "{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_load_and_says_how_far_it_came() {
    let workspace = Workspace::new();
    let mut fed = Fed::start(&workspace, "c --json");
    fed.feed("a\n");
    assert_eq!(fed.ack(), (1, 1));
    fed.interrupt();
    let (code, stderr, rest) = fed.wait();
    assert_eq!((code, stderr.as_str()), (Some(3), ""));
    let summary: serde_json::Value = serde_json::from_str(&rest[0]).unwrap();
    assert_eq!((&summary["last_sequence"], rest.len()), (&1.into(), 1));
    // In mid-load of a fast input: every ack that was printed holds, and the log is closed in good order.
    let lines: String = (1..=400_000).map(|number| format!("{number}\n")).collect();
    workspace.write("input", &lines);
    let mut fed = Fed::start(&workspace, "many input --batch 10");
    let mut last = fed.ack().1;
    fed.interrupt();
    let (code, stderr, rest) = fed.wait();
    assert_eq!(code, Some(3), "{stderr}");
    for line in rest {
        let ack: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ack["first_sequence"], last + 1);
        last = ack["last_sequence"].as_u64().unwrap();
    }
    assert!(last < 400_000, "it was interrupted");
    assert!(stderr.contains(&format!("(1..={last})")), "{stderr}");
    assert!(raw(&workspace, "many").lines().eq(lines.lines().take(last as usize)));
}

#[test]
fn who_reads_the_acks_may_go_away() {
    let workspace = Workspace::new();
    let lines: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    workspace.write("input", &lines);
    let mut fed = Fed::start(&workspace, "c input --batch 10");
    let last = fed.ack().1;
    let Fed { mut child, acks } = fed;
    drop(acks);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    let there = raw(&workspace, "c");
    let count = there.lines().count() as u64;
    assert!((last..100_000).contains(&count), "{count} records");
    assert!(there.lines().eq(lines.lines().take(count as usize)));
}

#[test]
fn several_directories_are_one_log() {
    let workspace = Workspace::new();
    for name in ["one", "two"] {
        let line = format!("--data a append {name} --data b");
        workspace.icecore(line.split(' ')).stdin("x\n").run().expect_code(0);
    }
    let assigned = workspace.run("--data b ls assignments --json").expect_code(0).json_lines();
    let directories: Vec<&str> = assigned.iter().map(|line| line["directory"].as_str().unwrap()).collect();
    assert!(directories[0].ends_with("/a") && directories[1].ends_with("/b"), "{directories:?}");
    // Any one of them finds the other.
    assert_eq!(workspace.run("--data b cat one --format raw").expect_code(0).stdout, "x\n");
    let run = workspace.run("--data b --data c append one").expect_code(1);
    assert!(run.stderr.contains("a directory does not belong to the log: directory=`c`"), "{}", run.stderr);
    let run = workspace.run("--data b --data ./b append one").expect_code(2);
    assert!(run.stderr.contains("a directory is given twice"), "{}", run.stderr);
}

/// R1: an archive that cannot be had stops no append, and who appends is told.
#[test]
fn an_archive_that_cannot_be_made_stops_no_append() {
    let workspace = Workspace::new();
    workspace.write("taken", "a file, no directory");
    let archive = format!("--archive {}", workspace.path("taken/archive").display());
    let appended = append(&workspace, &format!("{archive} a"), "one\ntwo\n").expect_code(0);
    assert!(appended.stderr.contains("nothing is archived meanwhile"), "{}", appended.stderr);
    assert_eq!(raw(&workspace, "a"), "one\ntwo\n");
}
