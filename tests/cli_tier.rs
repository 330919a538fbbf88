//! `evict`, `rehydrate`, `retention`, `hold`, as people run them.
#![allow(clippy::disallowed_methods, reason = "tests look at real files from outside")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod util;

use std::sync::Arc;

use icecore::archive::{Archiver, ArchiverOptions, TargetStore};
use icecore::fs::{FileSystem, OsFileSystem};
use icecore::objects::LocalObjectStore;
use icecore::{Log, LogOptions};
use util::Workspace;

/// Three archived segments of a hundred records each.
fn archived() -> Workspace {
    let workspace = Workspace::new();
    for part in 0..3 {
        let lines: String = (1..=100).map(|line| format!("line {}\n", part * 100 + line)).collect();
        workspace.icecore(["--data", "d", "append", "access"]).stdin(lines).run().expect_code(0);
        workspace.run("--data d seal access").expect_code(0);
    }
    assert_eq!(archive(&workspace), 3);
    workspace
}

/// Archives what is sealed; how many segments that were.
fn archive(workspace: &Workspace) -> u64 {
    let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem::new());
    let store = LocalObjectStore::create(fs, workspace.path("store")).unwrap();
    let log = Log::open(LogOptions::new([workspace.path("d")])).unwrap();
    let url = format!("file://{}", workspace.path("store").display());
    let target = TargetStore { remote: None, url, store: Arc::new(store) };
    let archiver = Archiver::new(&log, vec![target], ArchiverOptions::default()).unwrap();
    let report = archiver.run_once(&mut |_| true).unwrap();
    assert!(report.is_complete(), "{report:?}");
    drop(archiver);
    log.close().unwrap();
    report.archived_segments
}

fn lines(workspace: &Workspace, args: &str) -> usize {
    workspace.run(&format!("--data d {args} cat access --format raw")).expect_code(0).stdout.lines().count()
}

fn segments(workspace: &Workspace) -> usize {
    let files = std::fs::read_dir(workspace.path("d/access")).unwrap();
    files.filter(|file| !file.as_ref().unwrap().file_name().to_string_lossy().contains(".stub.")).count()
}

#[test]
fn what_is_evicted_is_read_from_the_archive_and_comes_back() {
    let workspace = archived();
    let dry = workspace.run("--data d --archive store evict --dry-run --json").expect_code(0);
    assert_eq!((dry.json_lines()[0]["segments"].as_u64(), segments(&workspace)), (Some(3), 3));
    let evicted = workspace.run("--data d --archive store evict").expect_code(0);
    assert!(evicted.stdout.is_empty() && evicted.stderr.starts_with("evicted: 3 segments, "), "{}", evicted.stderr);
    assert_eq!(segments(&workspace), 0);
    assert_eq!(lines(&workspace, "--archive store"), 300);
    let alone = workspace.run("--data d cat access --format raw").expect_code(1);
    assert!(
        alone.stderr.contains("records are in the archive only") && alone.stderr.contains("--archive"),
        "{}",
        alone.stderr
    );
    let alone = workspace.run("--data d rehydrate").expect_code(1);
    assert!(alone.stderr.contains("no archive was named"), "{}", alone.stderr);
    let some = workspace.run("--data d --archive store rehydrate access --from 150 --until 200 --json").expect_code(0);
    assert_eq!(some.json_lines()[0]["segments"].as_u64(), Some(1));
    let all = workspace.run("--data d --archive store rehydrate").expect_code(0);
    assert!(all.stderr.starts_with("came back: 2 segments, "), "{}", all.stderr);
    assert_eq!((segments(&workspace), lines(&workspace, "")), (3, 300));
    workspace.run("--data d verify --deep").expect_code(0);
    let unknown = workspace.run("--data d --archive store evict acces").expect_code(1);
    assert!(unknown.stderr.contains("acces"), "{}", unknown.stderr);
    let old = workspace.run("--data d --archive store evict --older-than 1h").expect_code(0);
    assert!(old.stderr.starts_with("evicted: 0 segments"), "{}", old.stderr);
    let kept = workspace.run("--data d --archive store evict --keep 1").expect_code(0);
    assert!(kept.stderr.starts_with("evicted: 3 segments"), "{}", kept.stderr);
}

#[test]
fn holds_are_set_listed_and_cleared() {
    let workspace = archived();
    let none = workspace.run("--data d hold ls").expect_code(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no holds\n"));
    workspace.run("--data d hold set access case-7 --by legal --from 150 --note mail").expect_code(0);
    let listed = workspace.run("--data d hold ls access --json").expect_code(0).json_lines().remove(0);
    let fields = ["collection", "name", "by", "note"].map(|field| listed[field].as_str().unwrap().to_owned());
    assert_eq!(fields, ["access", "case-7", "legal", "mail"]);
    assert_eq!((listed["first_sequence"].as_u64(), listed["last_sequence"].is_null()), (Some(150), true));
    assert!(workspace.run("--data d hold ls").expect_code(0).stdout.contains("case-7"));
    let refused = workspace.run("--data d collection delete access --yes").expect_code(1);
    assert!(refused.stderr.contains("hold=`case-7`, by=`legal`"), "{}", refused.stderr);
    let stayed = workspace.run("--data d --archive store evict").expect_code(3);
    assert!(
        stayed.stderr.contains("evicted: 1 segment,") && stayed.stderr.contains("stayed: access/101-200.0"),
        "{}",
        stayed.stderr
    );
    workspace.run("--data d hold clear access case-8 --by judge").expect_code(1);
    workspace.run("--data d hold clear access case-7 --by judge").expect_code(0);
    let changes = workspace.run("--data d ls changes --json").expect_code(0).stdout;
    assert!(changes.contains("hold `case-7` set by legal") && changes.contains("hold `case-7` cleared by judge"));
    workspace.run("--data d hold set access case-9 --by legal --from 9 --until 8").expect_code(1);
}

#[test]
fn retention_is_planned_first_and_applied_with_a_yes() {
    let workspace = archived();
    let nothing = workspace.run("--data d retention plan").expect_code(0);
    assert_eq!(nothing.stderr, "may go: 0 segments, 0 B\n");
    workspace.run("--data d collection set access retention.records=100").expect_code(0);
    let plan = workspace.run("--data d retention plan").expect_code(0);
    assert!(
        plan.stderr.contains("access: 2 segments, ") && plan.stderr.contains("begin with 201 then"),
        "{}",
        plan.stderr
    );
    assert!(plan.stderr.contains("  1..=100 (archived): there are 100 records behind it"), "{}", plan.stderr);
    let json = workspace.run("--data d retention plan --json").expect_code(0).json_lines().remove(0);
    assert_eq!(json["collections"][0]["new_floor"].as_u64(), Some(201));
    // A hold stops it; the log's own limit counts for others only.
    workspace.run("--data d hold set access case-7 --by legal --from 150").expect_code(0);
    let held = workspace.run("--data d retention plan").expect_code(0);
    assert!(
        held.stderr.contains("access: 1 segment,") && held.stderr.contains("stopped by 101..=200: legal hold"),
        "{}",
        held.stderr
    );
    workspace.run("--data d hold clear access case-7 --by judge").expect_code(0);
    let asked = workspace.run("--data d --archive store retention apply").expect_code(1);
    assert!(asked.stderr.contains("--yes purges what is told"), "{}", asked.stderr);
    assert_eq!(lines(&workspace, ""), 300);
    let apply = || workspace.icecore(["--data", "d", "--archive", "store", "retention", "apply"]);
    let no = apply().stdin("y\n").run().expect_code(1);
    assert!(no.stderr.contains("access: 2 segments, ") && no.stderr.contains("`yes` does: "), "{}", no.stderr);
    assert_eq!(lines(&workspace, ""), 300);
    let applied = apply().stdin("yes\n").run().expect_code(0);
    assert!(applied.stderr.contains("access: its records begin with 201 now"), "{}", applied.stderr);
    assert!(applied.stderr.contains("waiting for the grace period: 2 segments"), "{}", applied.stderr);
    assert_eq!((lines(&workspace, ""), segments(&workspace)), (100, 1));
    let objects = || std::fs::read_dir(workspace.path("store/access")).unwrap().count();
    assert_eq!(objects(), 3);
    let over = workspace.run("--data d --archive store --set retention.grace=0s retention apply --json").expect_code(0);
    assert_eq!(over.json_lines()[0]["segments"].as_u64(), Some(2));
    assert_eq!((objects(), lines(&workspace, "")), (1, 100));
    let done = workspace.run("--data d --archive store retention apply --yes").expect_code(0);
    assert_eq!(done.stderr, "purged: 0 segments, 0 B\n");
    // The next archiver goes on behind what the purge told.
    workspace.icecore(["--data", "d", "append", "access"]).stdin("more\n").run().expect_code(0);
    workspace.run("--data d seal access").expect_code(0);
    assert_eq!((archive(&workspace), objects()), (1, 2));
    workspace.run("--data d verify --deep").expect_code(0);
}

/// `archive` drops local copies as the settings say, and `status` tells what stands in the way.
#[test]
fn local_copies_go_by_settings() {
    let workspace = archived();
    let all = "--data d --archive store --set evict.after=0s";
    workspace.run("--data d hold set access case-7 --by legal --until 100").expect_code(0);
    let run = workspace.run(&format!("{all} archive")).expect_code(0);
    assert!(run.stderr.contains("evicted: 2 segments"), "{}", run.stderr);
    assert_eq!((segments(&workspace), lines(&workspace, "--archive store")), (1, 300));
    let status = workspace.run(&format!("{all} status")).expect_code(0).stdout;
    assert!(status.contains("evicted") && status.contains("its local copy is due to go and stays"), "{status}");
    let status = workspace.run(&format!("{all} status --json")).expect_code(0).json_lines().remove(0);
    let archive = &status["archive"];
    assert_eq!((archive["evicted_segments"].as_u64(), archive["evict"]["local_segments"].as_u64()), (Some(2), Some(1)));
    assert_eq!(archive["evict"]["kept"].as_array().map(Vec::len), Some(1), "{archive}");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Two machines, one archive: who was fenced says so at every start, until an operator says that it is to have it back.
#[test]
fn who_was_fenced_needs_the_operators_word() {
    let workspace = archived();
    copy(&workspace.path("d"), &workspace.path("e"));
    let archive = |data: &str, more: &str| {
        let lines = "one more\n".to_owned();
        workspace.icecore(["--data", data, "append", "access"]).stdin(lines).run().expect_code(0);
        workspace.run(&format!("--data {data} seal access")).expect_code(0);
        workspace.run(&format!("--data {data} --archive store archive {more}"))
    };
    archive("e", "").expect_code(0);
    for _ in 0..2 {
        let run = archive("d", "").expect_code(1);
        assert!(run.stderr.contains("another writer took the archive over"), "{}", run.stderr);
        assert!(run.stderr.contains("archive --take-over"), "{}", run.stderr);
        archive("e", "").expect_code(0);
    }
    let status = workspace.run("--data d --archive store status").expect_code(0).stdout;
    assert!(status.contains("this log archives and purges there no more"), "{status}");
    // Nor does it let local copies go of what the other one may purge, though it has nothing to send.
    let evict = |more: &str| workspace.run(&format!("--data d --archive store evict {more}"));
    assert!(evict("").expect_code(1).stderr.contains("another writer took the archive over"));
    // It may write there again; what the other one archived meanwhile is in the way of the same sequences, and is told.
    let run = archive("d", "--take-over").expect_code(3);
    assert!(run.stderr.contains("the archive has other bytes for its sequences"), "{}", run.stderr);
    archive("e", "").expect_code(1);
}
