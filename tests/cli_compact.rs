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
        if path.file_name().unwrap().to_string_lossy().starts_with("catalog") {
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
