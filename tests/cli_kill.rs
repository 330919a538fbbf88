//! A load that is killed again and again, and resumed; `scripts/real-input` does the same with a whole package index.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

#[path = "util/load.rs"]
mod load;
mod util;

use std::fmt::Write as _;

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

#[test]
fn killed_and_resumed_every_stanza_is_there_once() {
    let seed = fastrand::u64(..);
    println!("seed: {seed}");
    let workspace = Workspace::new();
    let input = workspace.write("available", package_index(10_000, &mut fastrand::Rng::with_seed(seed)));
    let icecore = std::path::Path::new(env!("CARGO_BIN_EXE_icecore"));
    let data = workspace.path("data");
    let plan = load::Plan { icecore, input: &input, data: &data, kills: 12, batch: 10, seed };
    let outcome = load::kill_and_resume(&plan, &mut |_, _| {}).unwrap();
    assert_eq!((outcome.kills, outcome.records), (12, 10_000), "{outcome:?}");
    // A batch may be smaller than ten: what has arrived after 5 ms goes.
    assert!(outcome.acks + outcome.unsaid >= 1000, "{outcome:?}");
}
