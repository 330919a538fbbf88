//! Reading through the real program: cat, tail, get; beside a writer and without one.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Child;

use util::Workspace;

/// Ten records with times a minute apart, sealed up to the sixth.
fn ten() -> Workspace {
    let workspace = Workspace::new();
    let object = |number: u32| format!("{{\"k\":\"key{}\",\"at\":\"2026-11-21T09:{number:02}:00Z\"}}\n", number % 4);
    let append = |from: u32, to: u32| {
        let input: String = (from..=to).map(object).collect();
        let line = "--data d append c --format ndjson --key k --timestamp at";
        workspace.icecore(line.split(' ')).stdin(input).run().expect_code(0);
    };
    append(1, 6);
    workspace.run("--data d seal c").expect_code(0);
    append(7, 10);
    workspace
}

#[track_caller]
fn sequences(workspace: &Workspace, args: &str) -> Vec<u64> {
    let run = workspace.run(&format!("--data d cat c {args}")).expect_code(0);
    run.json_lines().iter().map(|line| line["sequence"].as_u64().unwrap()).collect()
}

#[test]
fn cat_takes_sequences_times_limits_and_either_direction() {
    let workspace = ten();
    for (args, wanted) in [
        ("", (1..=10).collect()),
        ("--from 4 --until 7", vec![4, 5, 6, 7]),
        ("--reverse --limit 3", vec![10, 9, 8]),
        ("--reverse --from 5 --until 7", vec![7, 6, 5]),
        ("--limit 0", vec![]),
        ("--from 11", vec![]),
        ("--from 2026-11-21T09:03:00Z --until 2026-11-21T09:05:00Z", vec![3, 4, 5]),
        ("--from 2026-11-21T09:03:01Z --limit 2", vec![4, 5]),
        ("--until 2026-11-20", vec![]),
        ("--from 2026-11-21 --until 2026-11-21 --reverse --limit 1", vec![10]),
        ("--from 9 --until 2026-11-21T09:09:00Z", vec![9]),
    ] {
        assert_eq!(sequences(&workspace, args), wanted, "{args}");
    }
    let raw = workspace.run("--data d cat c --format raw --from 6 --limit 1").expect_code(0);
    assert_eq!(raw.stdout, "{\"k\":\"key2\",\"at\":\"2026-11-21T09:06:00Z\"}\n");
}

#[test]
fn unknown_collections_and_logs_are_failures() {
    let workspace = ten();
    for command in ["cat nope", "tail nope", "get nope k", "delete nope k", "seal nope", "flush nope"] {
        let run = workspace.run(&format!("--data d {command}")).expect_code(1);
        let text = "icecore: no such collection: collection=`nope`\nhint: `ls collections` lists them\n";
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", text), "{command}");
        assert_eq!(
            workspace.run(&format!("--data d {command} --json")).expect_code(1).json_error()["kind"],
            "not_found"
        );
    }
    let commands = [
        "cat c",
        "tail c",
        "get c k",
        "delete c k",
        "seal",
        "flush",
        "ls collections",
        "ls journals",
        "recover",
        "recover --dry-run",
        "gap ls",
        "gap acknowledge c 1 1 --by me",
        "status",
        "verify",
    ];
    for command in commands {
        let run = workspace.run(&format!("--data elsewhere {command}")).expect_code(1);
        assert!(
            run.stderr.starts_with("icecore: no log here: directory=`elsewhere`\nhint: "),
            "{command}: {}",
            run.stderr
        );
        assert!(!workspace.path("elsewhere").exists(), "{command} must not make a log");
    }
}

#[test]
fn get_gives_the_newest_version_that_counts() {
    let workspace = ten();
    let get = |key: &str| workspace.run(&format!("--data d get c {key}"));
    assert_eq!(get("key1").expect_code(0).stdout, "{\"k\":\"key1\",\"at\":\"2026-11-21T09:09:00Z\"}");
    assert_eq!(get("key3").expect_code(0).stdout, "{\"k\":\"key3\",\"at\":\"2026-11-21T09:07:00Z\"}");
    let json = &workspace.run("--data d get c key0 --json").expect_code(0).json_lines()[0];
    assert_eq!((&json["sequence"], &json["key"]), (&8.into(), &"key0".into()));
    workspace.run("--data d delete c key1 key9").expect_code(0);
    for key in ["key1", "key9", "key"] {
        let run = get(key).expect_code(1);
        assert_eq!(run.stderr.lines().next(), Some(&*format!("icecore: no such key: collection=`c`, key=`{key}`")));
    }
    let line = "--data d append c --format ndjson --key k --timestamp at --expires-in 1s";
    workspace.icecore(line.split(' ')).stdin("{\"k\":\"key2\",\"at\":0}\n").run().expect_code(0);
    get("key2").expect_code(1);
}

#[test]
fn who_reads_may_go_away() {
    let workspace = Workspace::new();
    let lines: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
    workspace.icecore(["--data", "d", "append", "c"]).stdin(lines).run().expect_code(0);
    for line in
        ["cat c", "cat c --format raw", "cat c --format avro", "tail c --from 1", "ls collections", "ls changes"]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = workspace.icecore(format!("--data d {line}").split(' ')).run_into(writer).expect_code(0);
        assert_eq!(run.stderr, "", "{line}");
    }
}

struct Tail {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Tail {
    fn start(workspace: &Workspace, args: &str) -> Self {
        let mut child = workspace.icecore(format!("--data d tail {args} --format raw").split(' ')).spawn();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    #[track_caller]
    fn expect(&mut self, wanted: std::ops::RangeInclusive<u32>) {
        for number in wanted {
            assert_eq!(self.lines.next().expect("one more line").unwrap(), number.to_string());
        }
    }

    /// Ctrl-C is the ordinary end of a tail.
    #[cfg(unix)]
    #[track_caller]
    fn end(mut self) {
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        assert_eq!(self.lines.next().map(Result::unwrap), None);
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((self.child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    }
}

#[cfg(unix)]
#[test]
fn tail_follows_a_writer_over_seals_and_writers() {
    let workspace = Workspace::new();
    let append = |numbers: std::ops::RangeInclusive<u32>| {
        let lines: String = numbers.map(|number| format!("{number}\n")).collect();
        workspace.icecore(["--data", "d", "append", "c"]).stdin(lines).run().expect_code(0);
    };
    append(1..=10);
    let mut from_first = Tail::start(&workspace, "c --from 1");
    from_first.expect(1..=10);
    let mut last_three = Tail::start(&workspace, "c --from -3");
    last_three.expect(8..=10);
    let mut by_time = Tail::start(&workspace, "c --from -1h");
    by_time.expect(1..=10);
    // Each of these is another process that opens the log anew, and seals move what was not read yet.
    append(11..=2000);
    workspace.run("--data d seal").expect_code(0);
    append(2001..=2010);
    workspace.run("--data d flush c").expect_code(0);
    append(2011..=2020);
    for tail in [&mut from_first, &mut last_three, &mut by_time] {
        tail.expect(11..=2020);
    }
    // From the end: only what is appended later. The writer goes on until the tail has seen one.
    let mut from_end = Tail::start(&workspace, "c");
    let mut writer = workspace.icecore(["--data", "d", "append", "c", "--acks"]).spawn();
    let mut acks = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut stdin = writer.stdin.take().unwrap();
    let seen = std::thread::spawn(move || {
        let first: u32 = from_end.lines.next().unwrap().unwrap().parse().unwrap();
        (first, from_end)
    });
    let mut last = 2020;
    while !seen.is_finished() {
        last += 1;
        writeln!(stdin, "{last}").unwrap();
        acks.next().unwrap().unwrap();
    }
    drop(stdin);
    assert!(writer.wait().unwrap().success());
    let (first, mut from_end) = seen.join().unwrap();
    assert!((2021..=last).contains(&first), "{first}");
    from_end.expect(first + 1..=last);
    from_end.end();
    for mut tail in [from_first, last_three, by_time] {
        tail.expect(2021..=last);
        tail.end();
    }
}

#[cfg(unix)]
#[test]
fn an_idle_tail_ends_by_ctrl_c() {
    let workspace = ten();
    let mut tail = Tail::start(&workspace, "c --from 10");
    assert!(tail.lines.next().unwrap().unwrap().contains("09:10:00"));
    tail.end();
}

#[test]
fn damage_is_told_and_the_rest_is_read() {
    let workspace = Workspace::new();
    let lines: String = (1..=3000).map(|number| format!("record {number}\n")).collect();
    let line = "--data d append c --set segment.block_bytes=1KiB --set segment.codec=null";
    workspace.icecore(line.split(' ')).stdin(lines).run().expect_code(0);
    workspace.run("--data d seal --set segment.block_bytes=4KiB --set segment.codec=null").expect_code(0);
    let path = workspace.run("--data d ls segments --json").json_lines()[0]["path"].as_str().unwrap().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(11).position(|bytes| bytes == b"record 1500").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for args in ["", "--reverse"] {
        let run = workspace.run(&format!("--data d cat c --format raw {args}")).expect_code(4);
        assert!(run.stderr.starts_with("icecore: "), "{}", run.stderr);
        assert!(run.stderr.contains(path.rsplit('/').next().unwrap()), "{}", run.stderr);
        let read: Vec<u32> = run.stdout.lines().map(|line| line["record ".len()..].parse().unwrap()).collect();
        assert!(!read.contains(&1500) && read.contains(&1) && read.contains(&3000), "{} records", read.len());
        assert!(read.len() > 2500, "one block of many is lost, not all: {} records", read.len());
    }
    let inspect = workspace.icecore(["inspect", &path, "--json"]).run().expect_code(4);
    let found = &inspect.json_lines()[0];
    let missing = &found["missing"][0];
    assert!(missing["first_sequence"].as_u64().unwrap() <= 1500 && missing["last_sequence"].as_u64().unwrap() >= 1500);
    assert!(found["damaged"][0]["reason"].as_str().unwrap().contains("checksum"), "{found}");
}
