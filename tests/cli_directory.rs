//! Directories by the real program: added, listed, drained, forgotten; object stores as homes.
#![allow(clippy::disallowed_methods, reason = "tests look at real files from outside")]

mod util;

use serde_json::Value;
use util::{Outcome, Workspace};

/// A log in `a`, with a second directory `b`, and three collections of 50 records in segments.
fn with_two_directories() -> Workspace {
    let workspace = Workspace::new();
    append(&workspace, "zero", 1);
    workspace.run("--data a directory add b").expect_code(0);
    for collection in ["one", "two", "three"] {
        append(&workspace, collection, 50);
    }
    workspace.run("--data a seal").expect_code(0);
    workspace
}

fn append(workspace: &Workspace, collection: &str, lines: usize) {
    let input: String = (1..=lines).map(|line| format!("{collection} {line}\n")).collect();
    workspace.icecore(["--data", "a", "append", collection]).stdin(input).run().expect_code(0);
}

fn list(workspace: &Workspace, data: &str) -> Vec<Value> {
    workspace.run(&format!("--data {data} directory ls --json")).expect_code(0).json_lines()
}

fn cat(workspace: &Workspace, data: &str, collection: &str) -> String {
    workspace.run(&format!("--data {data} cat {collection} --format raw")).expect_code(0).stdout
}

fn lines(collection: &str, lines: usize) -> String {
    (1..=lines).map(|line| format!("{collection} {line}\n")).collect()
}

#[track_caller]
fn error_of(run: Outcome, code: i32) -> String {
    run.expect_code(code).stderr
}

#[test]
fn a_directory_is_added_and_listed() {
    let workspace = with_two_directories();
    let listed = list(&workspace, "a");
    assert_eq!(listed.len(), 2);
    for (info, (first, place)) in listed.iter().zip([(true, "a"), (false, "b")]) {
        assert!(info["directory"].as_str().unwrap().ends_with(&format!("/{place}")), "{info}");
        assert_eq!((&info["state"], &info["is_first"]), (&"healthy".into(), &first.into()));
        assert!(info["free_bytes"].as_u64().unwrap() > 0 && info["reason"].is_null());
    }
    let sum = |name: &str| listed.iter().map(|info| info[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("collections"), sum("segments")), (4, 4));
    assert!(listed.iter().all(|info| info["collections"].as_u64().unwrap() >= 1), "both take collections: {listed:?}");
    // Any one of them finds the other. What is free changes by itself.
    let without_free = |mut listed: Vec<Value>| {
        listed.iter_mut().for_each(|info| drop(info.as_object_mut().unwrap().remove("free_bytes")));
        listed
    };
    assert_eq!(without_free(list(&workspace, "b")), without_free(listed));
    let table = workspace.run("--data b directory ls").expect_code(0).stdout;
    assert_eq!(table.lines().count(), 3);
    assert!(table.starts_with("id  ") && table.contains("healthy"), "{table}");
}

#[test]
fn what_cannot_be_added_is_refused() {
    let workspace = with_two_directories();
    let error = error_of(workspace.run("--data a directory add b"), 1);
    assert!(error.contains("the directory is in already") && error.contains("\nhint: "), "{error}");
    workspace.write("full/letters.txt", "dear");
    let error = error_of(workspace.run("--data a directory add full"), 1);
    assert!(error.contains("the directory is not empty") && error.contains("holds=`letters.txt`"), "{error}");
    let error = error_of(workspace.run("--data a directory add a/inside"), 1);
    assert!(error.contains("inside the other"), "{error}");
    let error = error_of(workspace.run("--data a directory add ftp://user:hunter2@host/x"), 2);
    assert!(error.contains("scheme=`ftp`") && error.contains("s3, gs, az") && !error.contains("hunter2"), "{error}");
    let error = error_of(workspace.run("--data a directory add s3://key:hunter2@bucket/x"), 2);
    assert!(error.contains("credentials") && !error.contains("hunter2"), "{error}");
    let error = error_of(workspace.run("--data nowhere directory add c"), 1);
    assert!(error.contains("no log here"), "{error}");
    assert_eq!(list(&workspace, "a").len(), 2);
}

#[test]
fn a_writer_keeps_the_set_as_it_is_and_readers_see_it() {
    let workspace = with_two_directories();
    let mut writer = workspace.icecore(["--data", "a", "append", "live", "--acks"]).spawn();
    use std::io::{BufRead as _, Write as _};
    writeln!(writer.stdin.as_mut().unwrap(), "a line").unwrap();
    let mut ack = String::new();
    std::io::BufReader::new(writer.stdout.take().unwrap()).read_line(&mut ack).unwrap();
    assert!(ack.contains("last_sequence"), "{ack}");
    assert_eq!(list(&workspace, "b").len(), 2);
    for line in ["directory add c", "directory drain b", "directory forget b --yes"] {
        let error = error_of(workspace.run(&format!("--data a {line}")), 1);
        assert!(error.contains("another process writes to the log"), "{line}: {error}");
    }
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
}

#[test]
fn a_drained_directory_is_forgotten_and_comes_back() {
    let workspace = with_two_directories();
    let error = error_of(workspace.run("--data a directory forget b --yes"), 1);
    assert!(error.contains("is not empty") && error.contains("directory drain"), "{error}");
    let id = list(&workspace, "a")[1]["id"].as_str().unwrap().to_owned();
    let drained = workspace.run("--data a directory drain b --json").expect_code(0).json_lines();
    assert_eq!((&drained[0]["id"], drained[0]["stayed"].as_array().unwrap().len()), (&id.as_str().into(), 0));
    let listed = list(&workspace, "a");
    assert_eq!((&listed[1]["state"], &listed[1]["segments"]), (&"drained".into(), &0.into()));
    assert_eq!(listed[0]["segments"], 4);
    for collection in ["one", "two", "three"] {
        assert_eq!(cat(&workspace, "a", collection), lines(collection, 50));
    }
    let forgotten = workspace.run(&format!("--data a directory forget {id}")).expect_code(0);
    assert!(forgotten.stderr.starts_with("forgotten: "), "{}", forgotten.stderr);
    assert_eq!(list(&workspace, "a")[1]["state"], "forgotten");
    // The log does not need it any more.
    std::fs::rename(workspace.path("b"), workspace.path("away")).unwrap();
    append(&workspace, "one", 1);
    assert_eq!(workspace.run("--data a verify").expect_code(0).stderr, "");
    std::fs::rename(workspace.path("away"), workspace.path("b")).unwrap();
    let back = workspace.run("--data a directory add b --json").expect_code(0).json_lines();
    assert_eq!((&back[0]["id"], &back[0]["how"]), (&id.into(), &"returned".into()));
    workspace.run("--data a verify --deep").expect_code(0);
}

#[test]
fn a_disk_that_died_is_forgotten_with_a_word_and_comes_back() {
    let workspace = with_two_directories();
    let on_b: Vec<String> = workspace
        .run("--data a ls assignments --json")
        .expect_code(0)
        .json_lines()
        .iter()
        .filter(|found| found["directory"].as_str().unwrap().ends_with("/b"))
        .map(|found| found["collection"].as_str().unwrap().to_owned())
        .collect();
    assert!(!on_b.is_empty());
    std::fs::rename(workspace.path("b"), workspace.path("away")).unwrap();
    let listed = list(&workspace, "a");
    assert_eq!((&listed[1]["state"], &listed[1]["unsealed_bytes"]), (&"missing".into(), &Value::Null));
    // Without a yes nothing happens, and what would be given up is told.
    let asked = workspace.run("--data a directory forget b").expect_code(1);
    for collection in &on_b {
        assert!(asked.stderr.contains(&format!("{collection} 1..=50")), "{}", asked.stderr);
        assert!(asked.stderr.contains(&format!("{collection}: all behind 50")), "{}", asked.stderr);
    }
    assert!(asked.stderr.contains("nothing was changed") && asked.stderr.contains("hint: --yes"), "{}", asked.stderr);
    assert_eq!(list(&workspace, "a")[1]["state"], "missing");
    let given_up = workspace.run("--data a directory forget b --yes --json").expect_code(0).json_lines();
    assert_eq!(given_up[0]["collections"].as_array().unwrap().len(), on_b.len());
    assert_eq!(given_up[0]["segments"].as_array().unwrap().len(), on_b.len());
    workspace.run("--data a directory forget b --yes").expect_code(0);
    let losses = workspace.run("--data a gap ls --json").expect_code(0).json_lines();
    assert_eq!(losses.len(), 2 * on_b.len(), "{losses:?}");
    // They go on, behind what may come back.
    append(&workspace, &on_b[0], 1);
    let next = 50 + (1_u64 << 40) + 1;
    let tail = workspace.run(&format!("--data a cat {} --from {next}", on_b[0])).expect_code(0).json_lines();
    assert_eq!(tail[0]["sequence"], next);
    // The disk is back: what it held is taken in.
    std::fs::rename(workspace.path("away"), workspace.path("b")).unwrap();
    let back = workspace.run("--data a directory add b").expect_code(0);
    assert!(back.stderr.starts_with("taken back: "), "{}", back.stderr);
    workspace.run("--data a recover").expect_code(0);
    for collection in &on_b {
        assert!(cat(&workspace, "a", collection).starts_with(&lines(collection, 50)), "{collection}");
    }
}

#[test]
fn the_first_directory_stays() {
    let workspace = with_two_directories();
    let error = error_of(workspace.run("--data a directory forget a --yes"), 1);
    assert!(error.contains("the first directory holds the catalog") && error.contains("backup"), "{error}");
    let error = error_of(workspace.run("--data a directory forget nowhere --yes"), 1);
    assert!(error.contains("no directory of the log") && error.contains("directory ls"), "{error}");
}

#[test]
fn segments_go_to_a_store() {
    let workspace = with_two_directories();
    let url = format!("file://{}", workspace.path("store").display());
    let added = workspace.run(&format!("--data a directory add --remote {url} --json")).expect_code(0).json_lines();
    assert_eq!((&added[0]["place"], &added[0]["how"]), (&url.as_str().into(), &"new".into()));
    assert_eq!(list(&workspace, "a")[2]["state"], "remote");
    // Nothing is at home there yet.
    let archived = workspace.run("--data a archive --json").json_lines();
    assert_eq!(archived[0]["archived_segments"], 0);
    let error = error_of(workspace.run("--data a collection create far --home file:///nowhere"), 1);
    assert!(error.contains("no directory of the log"), "{error}");
    workspace.run(&format!("--data a collection create far --home {url}")).expect_code(0);
    append(&workspace, "far", 20);
    workspace.run("--data a seal far").expect_code(0);
    let archived = workspace.run("--data a archive --json").json_lines();
    assert_eq!(archived[0]["archived_segments"], 1, "{archived:?}");
    let objects: Vec<_> =
        std::fs::read_dir(workspace.path("store/far")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(objects.len(), 1);
    // Whoever has only the object reads it.
    let object = objects[0].display().to_string();
    let inspected = workspace.icecore(["inspect", &object, "--json"]).run().expect_code(0).json_lines();
    assert_eq!(inspected[0]["collection"], "far");
    let archived = workspace.run("--data a archive --json").json_lines();
    assert_eq!(archived[0]["archived_segments"], 0);
    let error = error_of(workspace.run(&format!("--data a directory forget {url}")), 1);
    assert!(error.contains("is a collection's home") && error.contains("collection=`far`"), "{error}");
    let other = format!("file://{}", workspace.path("other").display());
    workspace.run(&format!("--data a directory add --remote {other}")).expect_code(0);
    workspace.run(&format!("--data a collection create far --if-not-exists --home {other}")).expect_code(0);
    let error = error_of(workspace.run(&format!("--data a directory forget {url}")), 1);
    assert!(error.contains("archived segments"), "{error}");
    assert_eq!(list(&workspace, "a").len(), 4);
}
