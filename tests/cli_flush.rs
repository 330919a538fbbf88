//! Sinks through the real program: that fail, and that nobody runs.
#![cfg(feature = "store")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests look at real files from outside")]

mod util;

use util::Workspace;

fn append(workspace: &Workspace, collection: &str, input: &str) {
    workspace.icecore(["--data", "d", "append", collection]).stdin(input).run().expect_code(0);
}

fn status(workspace: &Workspace) -> serde_json::Value {
    workspace.run("--data d status --json").expect_code(0).json_lines().remove(0)
}

#[test]
fn a_sink_that_fails_is_told_by_flush_and_status_and_stops_no_archive() {
    let workspace = Workspace::new();
    append(&workspace, "one", "a\nb\n");
    // Where the store's folder would be, there is a file.
    workspace.write("d/.store", "");
    let run = workspace.run("--data d --set sinks=store flush").expect_code(3);
    assert!(run.stderr.contains("not flushed: one: store: "), "{}", run.stderr);
    let run = workspace.run("--data d --set sinks=store flush --json").expect_code(3);
    let report = &run.json_lines()[0];
    assert_eq!((&report["failed"][0]["sink"], &report["records"]), (&"store".into(), &0.into()), "{report}");

    // Also who does not name the sink is told.
    let told = status(&workspace);
    let sink = &told["sinks"]["sinks"][0];
    assert_eq!((&sink["sink"], &sink["success_rate"]), (&"store".into(), &0.0.into()), "{sink}");
    assert!(sink["failures"].as_u64() >= Some(1) && sink["failures"] == sink["attempts"], "{sink}");
    assert!(sink["last_failure"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{sink}");
    let text = workspace.run("--data d status").expect_code(0).stdout;
    assert!(text.contains("1 failure, 0.0% good"), "{text}");
    assert!(text.contains("the sink store fails for 1 collection; one 1 time: "), "{text}");

    // It costs nothing else: appends go on, and what is sealed is archived.
    workspace.icecore(["--data", "d", "--set", "sinks=store", "append", "one"]).stdin("c\n").run().expect_code(0);
    workspace.run("--data d seal").expect_code(0);
    let archive = format!("file://{}", workspace.path("a").display());
    workspace.icecore(["--data", "d", "--set", "sinks=store", "--archive", &archive, "archive"]).run().expect_code(0);
    let archived = workspace.run("--data d ls segments --status archived --json").json_lines().len();
    assert_eq!(archived, workspace.run("--data d ls segments --json").json_lines().len());
    assert_eq!(workspace.run("--data d --set sinks=store ls segments --unflushed --json").json_lines().len(), archived);

    std::fs::remove_file(workspace.path("d/.store")).unwrap();
    workspace.run("--data d --set sinks=store flush").expect_code(0);
    let sink = &status(&workspace)["sinks"]["sinks"][0];
    assert_eq!((&sink["failing_collections"], &sink["records"]), (&0.into(), &3.into()), "{sink}");
    let unflushed = workspace.run("--data d --set sinks=store ls segments --unflushed --json");
    assert_eq!(unflushed.json_lines(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_sink_that_nobody_runs_is_told() {
    let workspace = Workspace::new();
    append(&workspace, "one", "a\n");
    workspace.run("--data d flush").expect_code(0);
    assert_eq!(status(&workspace)["sinks_not_named"], serde_json::json!([]));
    let none = workspace.run("--data d ls segments --unflushed --json").json_lines();
    assert_eq!(none, Vec::<serde_json::Value>::new(), "nobody waits for it");

    // By its own setting.
    workspace.run("--data d collection set one sinks=store").expect_code(0);
    let run = workspace.run("--data d flush").expect_code(3);
    let line = "not flushed: one: store: no such sink is running: name it in the setting `sinks`";
    assert!(run.stderr.contains(line), "{}", run.stderr);
    let wanted = serde_json::json!([{ "sink": "store", "collections": 1, "waiting_collections": 1 }]);
    assert_eq!(status(&workspace)["sinks_not_named"], wanted);
    let text = workspace.run("--data d status").expect_code(0).stdout;
    assert!(text.contains("the sink store is not in the setting `sinks`: nothing is delivered to it"), "{text}");
    assert_eq!(workspace.run("--data d ls segments --unflushed --json").json_lines().len(), 1);
    workspace.run("--data d --set sinks=store flush").expect_code(0);
    workspace.run("--data d flush").expect_code(0);

    // Because it was delivered to before.
    workspace.run("--data d collection set one sinks=").expect_code(0);
    append(&workspace, "one", "b\n");
    let run = workspace.run("--data d flush one").expect_code(3);
    assert!(run.stderr.contains(line), "{}", run.stderr);
    workspace.run("--data d collection set one sinks=none").expect_code(0);
    workspace.run("--data d flush one").expect_code(0);
}

#[test]
fn a_sink_that_this_program_does_not_have_is_refused() {
    let workspace = Workspace::new();
    append(&workspace, "one", "a\n");
    let run = workspace.run("--data d collection set one sinks=store,stroe").expect_code(2);
    assert!(run.stderr.contains("this program has no such sink: sink=`stroe`, sinks=`store, kv`"), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `store`?"), "{}", run.stderr);
    workspace.run("--data d flush").expect_code(0);
}
