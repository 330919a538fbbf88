//! A load that is killed again and again, and resumed; `scripts/real-input` does the same with a whole package index.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

#[path = "util/load.rs"]
mod load;
mod util;

use std::fmt::Write as _;
use std::io::Read as _;

use util::Workspace;

/// Stanzas of the shape of a Debian package index: invented names, long lines, continuation lines, other alphabets.
fn package_index(stanzas: u32, random: &mut fastrand::Rng) -> String {
    const WORDS: [&str; 12] = [
        "archive",
        "durable",
        "ledger",
        "library",
        "tools",
        "für",
        "données",
        "日本語",
        "daemon",
        "common",
        "headers",
        "dbg",
    ];
    let mut index = String::new();
    for number in 0..stanzas {
        let mut words = |count: usize| -> String {
            (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect::<Vec<_>>().join(" ")
        };
        let (summary, tags) = (words(5), words(30));
        let paragraphs: Vec<String> = (0..number % 4).map(|_| words(12)).collect();
        let name = format!("lib{}-{number}", words(1));
        let _ = write!(
            index,
            "Package: {name}\nVersion: {}:{}.{}-1+b{}\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\n\
             Depends: libc6 (>= 2.34), {name}-data (= {number})\nDescription: {summary}\n",
            number % 3,
            number / 7,
            number % 11,
            number % 2
        );
        for paragraph in paragraphs {
            let _ = write!(index, " {paragraph}\n .\n");
        }
        let _ = write!(index, "Tag: {tags}\nFilename: pool/main/l/{name}.deb\nSize: {}\n\n", number * 1000);
    }
    index
}

/// Files so small that the load fills and recycles journals, and seals segments, all the time.
const SMALL: [&str; 6] = [
    "limits.record_bytes=64KiB",
    "limits.batch_bytes=256KiB",
    "journal.bytes=1MiB",
    "segment.bytes=256KiB",
    "limits.memtable_bytes=2MiB",
    "seal.cold_bytes=16KiB",
];

/// The catalog is deleted and made anew from the directories: nothing that a record needs was only there.
fn without_its_catalog(workspace: &Workspace, all: &str) {
    let list = |what: &str| {
        let mut rows = workspace.run(&format!("--data data ls {what} --json")).expect_code(0).json_lines();
        for row in rows.iter_mut().filter(|_| what == "assignments") {
            // When, and by which opening, only the catalog knew.
            row.as_object_mut().unwrap().retain(|name, _| name != "epoch" && name != "since");
        }
        rows
    };
    let before = ["segments", "assignments", "collections"].map(list);
    for entry in std::fs::read_dir(workspace.path("data/.icecore")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("catalog.") {
            std::fs::remove_file(path).unwrap();
        }
    }
    workspace.run("--data data catalog rebuild").expect_code(0);
    assert_eq!(["segments", "assignments", "collections"].map(list), before);
    workspace.run("--data data catalog check").expect_code(0);
    workspace.run("--data data verify --deep").expect_code(0);
    assert!(workspace.run("--data data cat packages --format raw").expect_code(0).stdout == all);
}

#[test]
fn killed_and_resumed_every_stanza_is_there_once() {
    let seed = fastrand::u64(..);
    println!("seed: {seed}");
    let workspace = Workspace::new();
    let input = workspace.write("available", package_index(10_000, &mut fastrand::Rng::with_seed(seed)));
    let icecore = std::path::Path::new(env!("CARGO_BIN_EXE_icecore"));
    let data = workspace.path("data");
    let plan = load::Plan { icecore, input: &input, data: &data, kills: 12, batch: 10, settings: &SMALL, seed };
    // A tail that begins between two of the writers and lives through the others.
    let mut tail = None;
    let outcome = load::kill_and_resume(&plan, &mut |outcome, _| {
        if outcome.kills == 1 && tail.is_none() {
            let words = ["--data", "data", "tail", "packages", "--from", "1", "--format", "raw"];
            tail = Some(workspace.icecore(words).spawn());
        }
    });
    let outcome = outcome.unwrap();
    assert_eq!((outcome.kills, outcome.records), (12, 10_000), "{outcome:?}");
    // A batch may be smaller than ten: what has arrived after 5 ms goes.
    assert!(outcome.acks + outcome.unsaid >= 1000, "{outcome:?}");
    let all = workspace.run("--data data cat packages --format raw").expect_code(0).stdout;
    let segments = workspace.run("--data data ls segments --json").json_lines().len();
    assert!(segments >= 10, "it sealed while it was killed: {segments} segments");
    without_its_catalog(&workspace, &all);
    let mut tail = tail.unwrap();
    let mut seen = vec![0; all.len()];
    tail.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert!(seen == all.as_bytes(), "the tail saw every record once, in order");
    let id = rustix::process::Pid::from_raw(tail.id().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let rest = tail.wait_with_output().unwrap();
    assert_eq!((rest.stdout.len(), String::from_utf8(rest.stderr).unwrap().as_str()), (0, ""));
    assert_eq!(rest.status.code(), Some(0));
}
