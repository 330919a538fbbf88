//! `compact`, as people run it, with an archive behind it.
#![allow(clippy::disallowed_methods, reason = "tests look at real files from outside")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod util;

use std::sync::Arc;

use icecore::archive::{Archiver, ArchiverOptions, TargetStore};
use icecore::fs::{FileSystem, OsFileSystem};
use icecore::objects::LocalObjectStore;
use icecore::{Log, LogOptions};
use util::Workspace;

/// Four small segments; each has a new version of `k`, and a key of its own.
fn written() -> Workspace {
    let workspace = Workspace::new();
    for part in 1..=4 {
        let lines =
            format!("{{\"key\":\"k\",\"payload\":\"k{part}\"}}\n{{\"key\":\"own-{part}\",\"payload\":\"o{part}\"}}\n");
        workspace
            .icecore(["--data", "d", "append", "c", "--format", "ndjson", "--key", "key"])
            .stdin(lines)
            .run()
            .expect_code(0);
        workspace.run("--data d seal c").expect_code(0);
    }
    workspace
}

fn payloads(workspace: &Workspace, args: &str) -> Vec<String> {
    let lines = workspace.run(&format!("{args} cat c --format raw")).expect_code(0).stdout;
    let payload =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["payload"].as_str().unwrap().to_owned();
    lines.lines().map(payload).collect()
}

fn segments(workspace: &Workspace) -> usize {
    std::fs::read_dir(workspace.path("d/c")).unwrap().count()
}

#[test]
fn what_the_policy_lets_go_goes_and_is_told() {
    let workspace = written();
    let dry = workspace.run("--data d --set compact.keep_versions=1 compact --dry-run --json").expect_code(0);
    let dry = &dry.json_lines()[0];
    assert_eq!(
        (dry["dry_run"].as_bool(), dry["removed"]["versions"].as_u64(), segments(&workspace)),
        (Some(true), Some(3), 4)
    );
    assert!(workspace.run("--data d compact x").expect_code(1).stderr.contains("collection=`x`"));
    workspace.run("--data d collection set c compact.keep_versions=2").expect_code(0);
    let shown = workspace.run("--data d collection show c").expect_code(0);
    assert!(shown.stdout.contains("compact.keep_versions"), "{}", shown.stdout);
    let done = workspace.run("--data d compact c").expect_code(0);
    assert!(done.stdout.is_empty() && done.stderr.contains("compacted: 4 segments to 1, "), "{}", done.stderr);
    assert!(done.stderr.contains("2 records removed"), "{}", done.stderr);
    assert_eq!(segments(&workspace), 1);
    assert_eq!(payloads(&workspace, "--data d"), ["o1", "o2", "k3", "o3", "k4", "o4"]);
    workspace.run("--data d verify --deep").expect_code(0);
    workspace.run("--data d catalog check").expect_code(0);
    let status = workspace.run("--data d status").expect_code(0);
    assert!(
        status.stdout.contains("4 segments to 1") && status.stdout.contains("nothing needs attention"),
        "{}",
        status.stdout
    );
    let status = workspace.run("--data d status --json").expect_code(0);
    let last = &status.json_lines()[0]["compaction"]["last"];
    assert_eq!((last["versions"].as_u64(), last["by_itself"].as_bool()), (Some(2), Some(false)));
    assert!(last["bytes_before"].as_u64() > last["bytes_after"].as_u64());
}

#[test]
fn a_hold_keeps_records_and_the_report_says_so() {
    let workspace = written();
    workspace.run("--data d hold set c case-7 --by legal").expect_code(0);
    let done = workspace.run("--data d --set compact.keep_versions=1 compact").expect_code(0);
    assert!(done.stderr.contains("left alone: c: 4 segments: legal hold: hold=`case-7`"), "{}", done.stderr);
    assert_eq!((segments(&workspace), payloads(&workspace, "--data d").len()), (4, 8));
}

/// The catalog lost, and made anew from the directories: what went is no loss.
#[test]
fn a_rebuilt_catalog_knows_what_was_removed() {
    let workspace = written();
    workspace.run("--data d --set compact.keep_versions=1 compact").expect_code(0);
    let before = payloads(&workspace, "--data d");
    assert_eq!(before.len(), 5);
    workspace.run("--data d catalog rebuild").expect_code(0);
    assert_eq!(payloads(&workspace, "--data d"), before);
    for entry in std::fs::read_dir(workspace.path("d/.icecore")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().unwrap().to_string_lossy().starts_with("catalog") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let rebuilt = workspace.run("--data d catalog rebuild --json").expect_code(0);
    assert_eq!(rebuilt.json_lines()[0]["losses"].as_array().unwrap().len(), 0);
    assert_eq!(payloads(&workspace, "--data d"), before);
    workspace.run("--data d verify --deep").expect_code(0);
}

fn archive(workspace: &Workspace) -> u64 {
    let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem::new());
    let store = LocalObjectStore::create(fs, workspace.path("store")).unwrap();
    let log = Log::open(LogOptions::new([workspace.path("d")])).unwrap();
    let url = format!("file://{}", workspace.path("store").display());
    let target = TargetStore { remote: None, url, store: Arc::new(store) };
    let archiver = Archiver::new(&log, vec![target], ArchiverOptions::default()).unwrap();
    let report = archiver.run_once(&mut |_| true).unwrap();
    assert!(report.is_complete() && report.holes.is_empty(), "{report:?}");
    drop(archiver);
    log.close().unwrap();
    report.archived_segments
}

#[test]
fn a_compacted_segment_is_archived_restored_and_read_from_the_archive() {
    let workspace = written();
    workspace.run("--data d --set compact.keep_versions=1 compact").expect_code(0);
    let before = payloads(&workspace, "--data d");
    assert_eq!(archive(&workspace), 1);
    // What is archived is left alone; what comes behind it is not.
    for payload in ["k5", "k6"] {
        let line = format!("{{\"key\":\"k\",\"payload\":\"{payload}\"}}\n");
        workspace
            .icecore(["--data", "d", "append", "c", "--format", "ndjson", "--key", "key"])
            .stdin(line)
            .run()
            .expect_code(0);
        workspace.run("--data d seal c").expect_code(0);
    }
    let done = workspace.run("--data d --set compact.keep_versions=1 compact").expect_code(0);
    assert!(done.stderr.contains("1 segment: its status is not sealed: status=`archived`"), "{}", done.stderr);
    let expected: Vec<String> = before.into_iter().chain(["k6".to_owned()]).collect();
    assert_eq!(payloads(&workspace, "--data d"), expected);
    assert_eq!(archive(&workspace), 1);
    workspace.run("--data d --archive store verify --remote").expect_code(0);
    assert_eq!(payloads(&workspace, "--archive store"), expected, "with nothing but the archive");
    workspace.run("--archive store restore --to r").expect_code(0);
    assert_eq!(payloads(&workspace, "--data r"), expected);
    workspace.run("--data r verify --deep").expect_code(0);
    workspace.run("--data d --archive store evict").expect_code(0);
    assert_eq!(payloads(&workspace, "--data d --archive store"), expected);
    let next = "{\"payload\":\"next\"}\n";
    workspace.icecore(["--data", "d", "append", "c", "--format", "ndjson"]).stdin(next).run().expect_code(0);
    let last = workspace.run("--data d --archive store cat c --json --from 11").expect_code(0);
    assert_eq!(last.json_lines()[0]["sequence"].as_u64(), Some(11));
}

/// Vectors whose versions, tombstones and expiry are in three files of the columnar store.
#[cfg(feature = "store")]
mod store {
    use super::*;

    const STORE: &str = "--data d --set sinks=store --set store.merge_files=0";

    fn delivered() -> Workspace {
        let workspace = Workspace::new();
        for lines in [
            "{\"id\":\"a\",\"vector\":[1,0]}\n{\"id\":\"b\",\"vector\":[0,1]}\n",
            "{\"id\":\"a\",\"vector\":[0.5,0.5]}\n",
            "{\"id\":\"c\",\"vector\":[1,1]}\n",
        ] {
            workspace.write("lines", lines);
            workspace.run(&format!("{STORE} append docs lines --format vectors")).expect_code(0);
            workspace.run(&format!("{STORE} flush docs")).expect_code(0);
        }
        workspace.run(&format!("{STORE} delete docs b")).expect_code(0);
        workspace.run(&format!("{STORE} flush docs")).expect_code(0);
        workspace
    }

    fn files(workspace: &Workspace) -> (usize, u64) {
        let folder = workspace.path("d/.store/docs");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let files: Vec<u64> = files
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "parquet"))
            .map(|entry| entry.metadata().unwrap().len())
            .collect();
        (files.len(), files.iter().sum())
    }

    fn found(workspace: &Workspace) -> Vec<String> {
        let run = workspace.run(&format!("{STORE} search docs --vector [1,0.1] --json")).expect_code(0);
        run.json_lines().iter().map(|hit| format!("{}@{}", hit["id"].as_str().unwrap(), hit["sequence"])).collect()
    }

    #[test]
    fn the_stores_files_are_compacted_by_the_same_policy_and_the_report_says_what_was_freed() {
        let workspace = delivered();
        let (found_before, (count, bytes)) = (found(&workspace), files(&workspace));
        assert_eq!((count, found_before.len()), (4, 2), "{found_before:?}");
        let policy = format!("{STORE} --set compact.keep_versions=1");
        let dry = workspace.run(&format!("{policy} compact --dry-run --json")).expect_code(0);
        let foreseen = &dry.json_lines()[0]["sinks"];
        assert_eq!((foreseen["files_before"].as_u64(), foreseen["records"].as_u64()), (Some(1), Some(2)), "{foreseen}");
        assert_eq!(files(&workspace), (count, bytes), "a dry run changes nothing");
        let done = workspace.run(&format!("{policy} compact --json")).expect_code(0);
        let done = &done.json_lines()[0];
        let freed = |name: &str| done["sinks"][name].as_u64().unwrap();
        let (count_after, bytes_after) = files(&workspace);
        assert_eq!(freed("records"), 2, "{done}");
        assert_eq!(freed("files_before") - freed("files_after"), (count - count_after) as u64);
        assert_eq!(freed("bytes_before") - freed("bytes_after"), bytes - bytes_after, "it is off the disk");
        let sink = &done["collections"][0]["sinks"][0];
        assert_eq!((sink["sink"].as_str(), sink["failed"].is_null()), (Some("store"), true), "{sink}");
        assert_eq!(sink["removed"]["versions"].as_u64(), Some(2));
        assert_eq!(found(&workspace), found_before, "what is found is as before");
        // Nothing is delivered again, and the status knows.
        workspace.run(&format!("{STORE} flush docs")).expect_code(0);
        assert_eq!(files(&workspace), (count_after, bytes_after));
        let status = workspace.run(&format!("{STORE} status --json")).expect_code(0);
        assert_eq!(status.json_lines()[0]["compaction"]["last"]["sinks"]["records"].as_u64(), Some(2));
        let status = workspace.run(&format!("{STORE} status")).expect_code(0);
        assert!(status.stdout.contains("in sinks") || status.stdout.contains("in_sinks"), "{}", status.stdout);
    }

    #[test]
    fn people_are_told_too_and_a_damaged_file_is_a_failure_of_the_sink() {
        let workspace = delivered();
        let policy = format!("{STORE} --set compact.keep_versions=1");
        let damaged = std::fs::read_dir(workspace.path("d/.store/docs")).unwrap().map(|entry| entry.unwrap().path());
        let damaged =
            damaged.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).min().unwrap();
        let good = std::fs::read(&damaged).unwrap();
        let mut bad = good.clone();
        bad[10] ^= 1;
        std::fs::write(&damaged, bad).unwrap();
        let failed = workspace.run(&format!("{policy} compact")).expect_code(3);
        assert!(failed.stderr.contains("failed: docs: store: "), "{}", failed.stderr);
        let status = workspace.run(&format!("{STORE} status")).stdout;
        assert!(status.contains("sink=`store`"), "{status}");
        std::fs::write(&damaged, good).unwrap();
        let done = workspace.run(&format!("{policy} compact")).expect_code(0);
        assert!(done.stderr.contains("compacted in sinks: "), "{}", done.stderr);
        assert!(done.stderr.contains("2 records removed"), "{}", done.stderr);
    }
}
