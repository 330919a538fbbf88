//! An archive through the real program: what lies there, whether it is whole, and everything back on an empty machine.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use std::path::PathBuf;

use serde_json::Value;
use util::{Outcome, Workspace};

/// A log with two collections, archived to a directory; and what it holds.
fn archived() -> (Workspace, String) {
    let workspace = Workspace::new();
    let lines: String = (0..500).map(|number| format!("line {number} {}\n", "x".repeat(number % 90))).collect();
    let append = |name: &str| {
        let args = ["--data", "log", "append", name];
        workspace.icecore(args).stdin(lines.clone()).run().expect_code(0);
    };
    append("access");
    append("Other/ü");
    workspace.run("--data log seal").expect_code(0);
    append("access");
    workspace.run("--data log seal").expect_code(0);
    workspace.run("--data log --archive cold archive").expect_code(0);
    (workspace, lines)
}

fn cat(workspace: &Workspace, more: &[&str], name: &str) -> String {
    let args = more.iter().copied().chain(["cat", name, "--format", "raw"]);
    workspace.icecore(args).run().expect_code(0).stdout
}

fn objects(workspace: &Workspace, kind: &str) -> Vec<Value> {
    workspace.run(&format!("--archive cold ls objects --kind {kind} --json")).expect_code(0).json_lines()
}

fn object(workspace: &Workspace, number: usize) -> PathBuf {
    workspace.path("cold").join(objects(workspace, "segment")[number]["key"].as_str().unwrap())
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {}", outcome.stdout))
}

#[test]
fn everything_comes_back_and_goes_on() {
    let (workspace, lines) = archived();
    std::fs::remove_dir_all(workspace.path("log")).unwrap();
    let restored = json(&workspace.run("restore cold --to back --to more --json").expect_code(0));
    assert_eq!((&restored["collections"], &restored["segments"]), (&2.into(), &3.into()), "{restored}");
    let both = ["--data", "back", "--data", "more"];
    assert_eq!(cat(&workspace, &both, "access"), lines.repeat(2));
    assert_eq!(cat(&workspace, &both, "Other/ü"), lines);
    workspace.run("--data back --data more verify --deep").expect_code(0);
    // A second restore there is refused; what is there goes on, and is archived by a higher epoch.
    let refused = workspace.run("restore cold --to back --to more --json").expect_code(1);
    assert!(
        refused.json_error()["message"].as_str().unwrap().contains("needs empty directories"),
        "{}",
        refused.stderr
    );
    let args = ["--data", "back", "append", "access"];
    workspace.icecore(args).stdin("one more\n").run().expect_code(0);
    workspace.run("--data back seal").expect_code(0);
    workspace.run("--data back --archive cold archive").expect_code(0);
    workspace.run("--data back --archive cold verify --remote --deep").expect_code(0);
    let manifests = workspace.run("--archive cold ls manifests --json").expect_code(0).json_lines();
    let epochs: Vec<u64> = manifests.iter().map(|manifest| manifest["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted() && epochs.first() < epochs.last(), "{epochs:?}");
    let last = workspace.run("restore cold --to again").expect_code(0);
    assert!(last.stdout.contains("2 collections, 4 segments"), "{}", last.stdout);
    assert_eq!(cat(&workspace, &["--data", "again"], "access"), lines.repeat(2) + "one more\n");
}

#[test]
fn lazily_and_in_part() {
    let (workspace, lines) = archived();
    std::fs::remove_dir_all(workspace.path("log")).unwrap();
    let lazy = workspace.run("--archive cold restore --to lazy --lazy").expect_code(0);
    assert!(lazy.stdout.contains("3 segments") && lazy.stdout.contains("in the archive only"), "{}", lazy.stdout);
    let through = ["--data", "lazy", "--archive", "cold"];
    assert_eq!(cat(&workspace, &through, "access"), lines.repeat(2));
    workspace.run("--data lazy cat access").expect_code(1);
    let part = json(&workspace.run("restore cold --to part --collection access --from 600 --json").expect_code(0));
    assert_eq!((&part["segments"], &part["segments_away"]), (&1.into(), &2.into()), "{part}");
    let tail = workspace.run("--data part cat access --from 900 --format raw").expect_code(0).stdout;
    assert!(lines.ends_with(&tail) && tail.lines().count() == 101, "{}", tail.lines().count());
}

#[test]
fn damage_is_found_and_told() {
    let (workspace, _) = archived();
    let whole = workspace.run("--archive cold verify --remote --sample 100").expect_code(0);
    assert!(whole.stdout.starts_with("OK: ") && whole.stdout.contains("3 read back"), "{}", whole.stdout);
    std::fs::write(workspace.path("cold/access/stray"), "x").unwrap();
    let stray = json(&workspace.run("--data log --archive cold verify --remote --json").expect_code(0));
    assert_eq!(stray["orphans"][0]["key"], "access/stray");
    let path = object(&workspace, 1);
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    workspace.run("--archive cold verify --remote").expect_code(0);
    let deep = workspace.run("--archive cold verify --remote --deep").expect_code(4);
    assert!(deep.stdout.contains("its SHA-256 is not the manifest's"), "{}", deep.stdout);
    let restored = workspace.run("restore cold --to back").expect_code(4);
    assert!(restored.stdout.contains("missing or damaged in the archive"), "{}", restored.stdout);
    std::fs::remove_file(&path).unwrap();
    workspace.run("--archive cold verify --remote").expect_code(4);
    std::fs::write(&path, &good).unwrap();
    std::fs::remove_file(workspace.path("cold/_manifest/00000000000000000001")).unwrap();
    let missing = workspace.run("--archive cold verify --remote").expect_code(4);
    assert!(missing.stdout.contains("a manifest is missing"), "{}", missing.stdout);
    workspace.run("--archive nowhere verify --remote").expect_code(1);
    workspace.run("verify --remote").expect_code(2);
}

/// A manifest behind the newest checkpoint is gone: what it named proves itself, and the archive goes on.
#[test]
fn an_archive_with_a_damaged_manifest_is_salvaged() {
    let (workspace, lines) = archived();
    let manifests = workspace.run("--archive cold ls manifests --json").expect_code(0).json_lines();
    let damaged = manifests.iter().rposition(|manifest| manifest["segments"] != 0).unwrap() as u64 + 1;
    let path = workspace.path(&format!("cold/_manifest/{damaged:020}"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[400] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = workspace.run("restore cold --to no --json").expect_code(4);
    let error = refused.json_error();
    assert!(error["message"].as_str().unwrap().contains(&format!("manifest=`{damaged}`")), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("restore --salvage"), "{error}");
    let salvaged = json(&workspace.run("restore cold --to back --salvage --json").expect_code(4));
    let salvage = &salvaged["salvage"];
    assert_eq!(salvage["unreadable"][0]["first"], damaged, "{salvage}");
    assert_eq!((&salvaged["segments"], salvage["left_out"].as_array().unwrap().len()), (&3.into(), 0), "{salvaged}");
    let text = workspace.run("restore cold --to too --salvage").expect_code(4).stdout;
    assert!(text.contains("manifests that cannot be read") && text.contains("proven by themselves"), "{text}");
    assert_eq!(cat(&workspace, &["--data", "back"], "access"), lines.repeat(2));
    // Read back by anybody, once it was archived to.
    workspace.run("--data back --archive cold archive").expect_code(0);
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "the evidence stays");
    workspace.run("--archive cold verify --remote --deep").expect_code(0);
    workspace.run("restore cold --to again").expect_code(0);
    assert_eq!(cat(&workspace, &["--data", "again"], "Other/ü"), lines);
}

#[test]
fn a_catalog_is_made_anew_from_a_damaged_archive() {
    let (workspace, lines) = archived();
    workspace.run("--data log --archive cold evict").expect_code(0);
    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(workspace.path("log/.icecore").join(name));
    }
    std::fs::remove_file(workspace.path("cold/_manifest/00000000000000000002")).unwrap();
    workspace.run("--data log --archive cold catalog rebuild --from-archive").expect_code(4);
    let args = "--data log --archive cold catalog rebuild --from-archive --salvage --json";
    let rebuilt = json(&workspace.run(args).expect_code(4));
    assert_eq!((&rebuilt["segments"], &rebuilt["from_archive"]), (&3.into(), &3.into()), "{rebuilt}");
    assert_eq!(rebuilt["salvage"]["unreadable"][0]["first"], 2, "{rebuilt}");
    assert_eq!(cat(&workspace, &["--data", "log", "--archive", "cold"], "access"), lines.repeat(2));
    workspace.run("--data log catalog rebuild --salvage").expect_code(2);
}

#[test]
fn a_catalog_is_made_anew_from_the_archive() {
    let (workspace, lines) = archived();
    workspace.run("--data log --archive cold evict").expect_code(0);
    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(workspace.path("log/.icecore").join(name));
    }
    let rebuilt =
        json(&workspace.run("--data log --archive cold catalog rebuild --from-archive --json").expect_code(0));
    assert_eq!((&rebuilt["segments"], &rebuilt["from_archive"]), (&3.into(), &3.into()), "{rebuilt}");
    assert_eq!(cat(&workspace, &["--data", "log", "--archive", "cold"], "access"), lines.repeat(2));
}

#[test]
fn an_archive_is_read_with_nothing_local() {
    let (workspace, lines) = archived();
    let temporary = workspace.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let run = |line: &str| {
        let run = workspace.icecore(line.split_whitespace()).env("TMPDIR", temporary.to_str().unwrap());
        let outcome = run.run().expect_code(0);
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left behind");
        outcome
    };
    assert_eq!(run("--archive cold cat access --format raw").stdout, lines.repeat(2));
    assert_eq!(
        run("--archive cold cat access --from 500 --limit 1 --format raw").stdout,
        lines.lines().last().unwrap().to_owned() + "\n"
    );
    let collections = run("--archive cold ls collections --json").json_lines();
    let names: Vec<&str> = collections.iter().map(|line| line["collection"].as_str().unwrap()).collect();
    assert_eq!(names, ["Other/ü", "access"]);
    assert_eq!(run("--archive cold ls segments --json").json_lines().len(), 3);
    // What writes needs a log.
    workspace.run("--archive cold seal").expect_code(2);
}
