//! Choosing the catalog's engine, mirroring it, and moving it to another, through the real program.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use icecore::catalog::Engine;
use serde_json::Value;
use util::{Outcome, Workspace};

fn built() -> Vec<Engine> {
    let built: Vec<_> = Engine::ALL.into_iter().filter(|engine| engine.is_built()).collect();
    assert!(built.len() > 1, "nothing to migrate between: this build has only {built:?}");
    built
}

/// Every pair of two engines.
fn each_pair(test: impl Fn(&Workspace, Engine, Engine)) {
    for from in built() {
        for to in built().into_iter().filter(|to| *to != from) {
            println!("from {from} to {to}");
            test(&Workspace::new(), from, to);
        }
    }
}

fn run(workspace: &Workspace, line: &str) -> Outcome {
    workspace.icecore(["--data", "d"].into_iter().chain(line.split_whitespace())).run()
}

fn append(workspace: &Workspace, options: &str, input: &str) {
    let line = format!("--data d {options} append x");
    workspace.icecore(line.split_whitespace()).stdin(input.to_owned()).run().expect_code(0);
}

fn lines(workspace: &Workspace, line: &str) -> Vec<Value> {
    run(workspace, &format!("{line} --json")).expect_code(0).json_lines()
}

fn one(workspace: &Workspace, line: &str) -> Value {
    lines(workspace, line).remove(0)
}

fn payloads(workspace: &Workspace) -> Vec<String> {
    lines(workspace, "cat x").iter().map(|record| record["payload"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_log_keeps_its_engine_until_it_is_migrated() {
    each_pair(|workspace, from, to| {
        append(workspace, &format!("--catalog {from}"), "one\ntwo\n");
        run(workspace, "seal").expect_code(0);
        append(workspace, "", "three\n");
        // Another engine is refused, and makes no file.
        let refused = run(workspace, &format!("--catalog {to} seal"));
        assert!(refused.stderr.contains(&format!("`icecore catalog migrate --to {to}`")), "{}", refused.stderr);
        refused.expect_code(1);
        let file = |engine: Engine| workspace.path("d/.icecore").join(engine.file_name("catalog"));
        assert!(file(from).exists() && !file(to).exists());

        let (segments, changes) = (lines(workspace, "ls segments"), lines(workspace, "ls changes"));
        let moved = one(workspace, &format!("catalog migrate --to {to}"));
        assert_eq!((&moved["from"], &moved["to"]), (&from.to_string().into(), &to.to_string().into()));
        assert_eq!(moved["copied"], changes.len());
        assert_eq!(lines(workspace, "ls segments"), segments);
        assert_eq!(lines(workspace, "ls changes"), changes);
        assert_eq!(one(workspace, "status")["catalog"], to.to_string());
        assert_eq!(one(workspace, "catalog check")["ok"], true);

        // The log goes on, with the new one named and unnamed.
        append(workspace, &format!("--catalog {to}"), "four\n");
        append(workspace, "", "five\n");
        assert_eq!(payloads(workspace), ["one", "two", "three", "four", "five"]);
        // Again changes nothing; back takes only what is new.
        assert_eq!(one(workspace, &format!("catalog migrate --to {to}"))["is_switched"], false);
        let newest = lines(workspace, "ls changes").len();
        let back = one(workspace, &format!("catalog migrate --to {from}"));
        assert_eq!(back["copied"], newest - changes.len());
        assert_eq!(payloads(workspace).len(), 5);
        assert_eq!(one(workspace, "catalog check")["ok"], true);
    });
}

#[test]
fn a_mirror_follows_and_takes_over_when_its_catalog_is_gone() {
    each_pair(|workspace, from, to| {
        let both = format!("--catalog {from},{to}");
        append(workspace, &both, "one\ntwo\n");
        run(workspace, &format!("{both} seal")).expect_code(0);
        let status = one(workspace, &format!("{both} status"));
        assert_eq!(status["mirror"]["engine"], to.to_string(), "{status}");
        assert_eq!(status["mirror"]["lag"], 0, "{status}");
        assert_eq!(status["mirror"]["error"], Value::Null, "{status}");
        // Changed without its mirror, it is ahead, and says so.
        append(workspace, "", "three\n");
        run(workspace, "seal").expect_code(0);
        assert!(one(workspace, &format!("{both} status"))["mirror"]["lag"].as_u64().unwrap() > 0);
        append(workspace, &both, "four\n");
        assert_eq!(one(workspace, &format!("{both} status"))["mirror"]["lag"], 0);

        let file = workspace.path("d/.icecore").join(from.file_name("catalog"));
        let segments = lines(workspace, "ls segments");
        for path in from.companions(&file).into_iter().chain([file]) {
            let _ = std::fs::remove_file(path);
        }
        let refused = run(workspace, &format!("{both} seal"));
        assert!(refused.stderr.contains("but its mirror is"), "{}", refused.stderr);
        let taken = one(workspace, &format!("catalog migrate --to {to}"));
        assert_eq!(taken["old_was_missing"], true);
        assert_eq!(lines(workspace, "ls segments"), segments);
        append(workspace, "", "five\n");
        assert_eq!(payloads(workspace), ["one", "two", "three", "four", "five"]);
        assert_eq!(one(workspace, "catalog check")["ok"], true);
    });
}

#[test]
fn what_cannot_be_a_choice_is_refused_before_anything_is_made() {
    let workspace = Workspace::new();
    for (choice, says) in [
        ("oracle", "one of sqlite, mdbx, lmdb"),
        ("sqlite,sqlite", "cannot mirror itself"),
        ("sqlite,mdbx,lmdb", "at most one that mirrors it"),
    ] {
        let refused =
            workspace.icecore(["--data", "d", "--catalog", choice, "append", "x"]).stdin("a\n".to_owned()).run();
        assert!(refused.stderr.contains(says), "{choice}: {}", refused.stderr);
        refused.expect_code(2);
        assert!(!workspace.path("d/.icecore").exists(), "{choice}");
    }
    run(&workspace, "catalog migrate --to mdbx").expect_code(1);
    assert!(!workspace.path("d").exists());
}
