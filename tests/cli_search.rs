//! `icecore search`, as people and programs use it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod util;

use util::Workspace;

const LINES: &str = r#"{"id": "a", "vector": [1, 0], "metadata": {"lang": "en", "n": 1.00}}
{"id": "b", "vector": [0, 1], "metadata": {"lang": "de"}}
{"id": "c", "vector": [1, 1]}
{"id": "a", "vector": [0, -1], "metadata": {"lang": "en", "n": 2.00}}
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("lines", LINES);
    workspace.run("--data d append docs lines --format vectors").expect_code(0);
    workspace
}

fn ids(workspace: &Workspace, args: &[&str]) -> Vec<String> {
    let all = ["--data", "d", "search", "docs", "--json", "--vector"].iter().chain(args);
    let run = workspace.icecore(all.copied()).run().expect_code(0);
    run.json_lines().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_was_appended_is_found_before_and_after_sealing() {
    let workspace = workspace();
    for _ in 0..2 {
        assert_eq!(ids(&workspace, &["[1, 0.1]"]), ["c", "b", "a"]);
        assert_eq!(ids(&workspace, &["[1, 0.1]", "--k", "1"]), ["c"]);
        assert_eq!(ids(&workspace, &["[0, -2]", "--metric", "l2"]), ["a", "b", "c"]);
        assert_eq!(
            ids(&workspace, &["[-1, -1]", "--metric", "dot", "--filter", "lang=en", "--filter", "n=2.00"]),
            ["a"]
        );
        assert_eq!(ids(&workspace, &["[1, 1]", "--filter", "lang=fr"]), [""; 0]);
        workspace.run("--data d seal").expect_code(0);
    }
    workspace.run("--data d delete docs c").expect_code(0);
    assert_eq!(ids(&workspace, &["[1, 0.1]"]), ["b", "a"]);
}

#[test]
fn a_hit_is_one_object_or_one_row() {
    let workspace = workspace();
    workspace.write("query.json", "[0, -3]\n");
    let run = workspace.run("--data d search docs --vector @query.json --k 2 --json").expect_code(0);
    assert_eq!(
        run.stdout.lines().next(),
        Some(r#"{"id":"a","score":1.0,"sequence":4,"metadata":{"lang": "en", "n": 2.00}}"#)
    );
    let run = workspace.run("--data d search docs --vector @query.json --k 1").expect_code(0);
    let rows: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["score", "id", "sequence", "metadata"]);
    assert_eq!(rows[1][..3], ["1.000000", "a", "4"]);
    assert_eq!(rows.len(), 2);
}

#[test]
fn what_cannot_be_searched_is_refused_by_name() {
    let workspace = workspace();
    for (args, message) in [
        (vec!["[1,"], "a query's vector is no json list of numbers"),
        (vec!["{}"], "a query's vector is no json list of numbers"),
        (vec!["[0, 0]"], "a query's vector has norm 0"),
        (vec!["[1, 1]", "--k", "0"], "as many neighbours cannot be searched for: k=`0`, limit=`10000`"),
        (vec!["[1e39, 1]"], "a query's vector"),
    ] {
        let all = ["--data", "d", "search", "docs", "--vector"].into_iter().chain(args.clone());
        let run = workspace.icecore(all).run().expect_code(2);
        assert!(run.stderr.contains(message), "{args:?}: {}", run.stderr);
    }
    let run = workspace.run("--data d search docs --vector [1,2,3]").expect_code(1);
    assert!(run.stderr.contains("has other dimensions than the vectors of the collection"), "{}", run.stderr);
    let run = workspace.run("--data d search nothing --vector [1,2]").expect_code(1);
    assert!(run.stderr.contains("nothing"), "{}", run.stderr);
}

/// Numbered vectors as lines.
fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("{{\"id\": \"n{number}\", \"vector\": [{number}, 1]}}\n")).collect()
}

/// How many there are, and the farthest out.
fn count_and_last(workspace: &Workspace, log: &str) -> (usize, String) {
    let args = ["--data", log, "search", "docs", "--json", "--metric", "dot", "--k", "10000", "--vector", "[1, 0]"];
    let hits = workspace.icecore(args).run().expect_code(0).json_lines();
    (hits.len(), hits[0]["id"].as_str().unwrap().to_owned())
}

#[test]
fn what_is_acknowledged_is_found_beside_its_writer_after_its_death_and_after_a_restore() {
    use std::io::{BufRead as _, Write as _};
    let workspace = Workspace::new();
    let store = ["--data", "d", "--set", "sinks=store", "--set", "flush.bytes=64KiB"];
    let args = store.iter().chain(&["append", "docs", "--format", "vectors", "--batch", "50", "--acks"]);
    let mut writer = workspace.icecore(args).spawn();
    let mut acks = std::io::BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut stdin = writer.stdin.take().unwrap();
    for from in (0..2000).step_by(500) {
        stdin.write_all(lines(from..from + 500).as_bytes()).unwrap();
        stdin.flush().unwrap();
        let is_acknowledged = |line: std::io::Result<String>| {
            let ack: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            ack["last_sequence"].as_u64().unwrap() >= u64::from(from + 500)
        };
        assert!(acks.by_ref().any(is_acknowledged));
        // The writer lives, and flushes as it goes.
        let all = from as usize + 500;
        assert_eq!(count_and_last(&workspace, "d"), (all, format!("n{}", all - 1)));
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    drop(stdin);
    let all = (2000, "n1999".to_owned());
    assert_eq!(count_and_last(&workspace, "d"), all, "killed");
    workspace.run("--data d --set sinks=store recover").expect_code(0);
    assert_eq!(count_and_last(&workspace, "d"), all, "recovered");
    workspace.write("more", lines(2000..2001));
    workspace.run("--data d --set sinks=store append docs more --format vectors").expect_code(0);
    workspace.run("--data d --set sinks=store flush").expect_code(0);
    let all = (2001, "n2000".to_owned());
    assert_eq!(count_and_last(&workspace, "d"), all, "opened by another writer");
    workspace.run("--data d --archive file:archive archive").expect_code(0);
    workspace.run("restore file:archive --to r").expect_code(0);
    assert_eq!(count_and_last(&workspace, "r"), all, "restored, and in no store");
    workspace.run("--data r --set sinks=store flush").expect_code(0);
    assert_eq!(count_and_last(&workspace, "r"), all, "restored, and in a store");
}

#[test]
fn vectors_that_are_none_are_refused_when_they_are_appended() {
    let workspace = Workspace::new();
    for (line, message) in [
        (r#"{"id": "a", "vector": [1e39]}"#, "not finite as f32"),
        (r#"{"id": "a", "vector": [NaN]}"#, "no json object"),
        (r#"{"id": "a", "vector": []}"#, "a vector is empty"),
        (r#"{"id": "", "vector": [1]}"#, "the id of a vector is empty"),
    ] {
        workspace.write("line", line);
        let run = workspace.run("--data d append docs line --format vectors").expect_code(1);
        assert!(run.stderr.contains(message), "{line}: {}", run.stderr);
    }
    workspace.write("line", r#"{"id": "a", "vector": [1, 2, 3]}"#);
    workspace.run("--data d collection create docs").expect_code(0);
    workspace.run("--data d collection set docs vector.dimensions=2").expect_code(0);
    let run = workspace.run("--data d append docs line --format vectors").expect_code(1);
    assert!(run.stderr.contains("dimensions=`3`, wanted=`2`"), "{}", run.stderr);
}

#[test]
fn a_collection_without_vectors_has_none_that_are_near() {
    let workspace = workspace();
    workspace.run("--data d collection create empty").expect_code(0);
    let run = workspace.run("--data d search empty --vector [1]").expect_code(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "none\n"));
    assert_eq!(workspace.run("--data d --json search empty --vector [1]").expect_code(0).stdout, "");
    // More than there are: all that there are.
    assert_eq!(ids(&workspace, &["[1, 0.1]", "--k", "10000"]), ["c", "b", "a"]);
    let run = workspace.run("--data d search docs --vector [1,1] --k 10001").expect_code(2);
    assert!(run.stderr.contains("k=`10001`, limit=`10000`"), "{}", run.stderr);
}

#[test]
fn vectors_come_out_as_they_went_in() {
    let workspace = Workspace::new();
    let lines = r#"{"id":"ä \"1\"","vector":[1.0,-0.0,0.1,3.4028235e38,1e-45],"metadata":{"n": 1.00, "list":[1,  2]}}
{"id":"b","vector":[0.33333334],"metadata":{}}
{"id":"b","vector":[-16777216.0],"metadata":{"again":true}}
"#;
    workspace.write("lines", lines);
    workspace.run("--data d append docs lines --format vectors").expect_code(0);
    let run = workspace.run("--data d cat docs --format vectors").expect_code(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), (lines, ""));
    workspace.write("again", &run.stdout);
    workspace.run("--data e append docs again --format vectors").expect_code(0);
    let payloads = |log: &str| {
        let run = workspace.run(&format!("--data {log} cat docs --format json")).expect_code(0);
        let of = |record: serde_json::Value| {
            [record["key"].clone(), record["payload_base64"].clone(), record["headers"].clone()]
        };
        run.json_lines().into_iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(payloads("d"), payloads("e"));
    // Newest first, and some of them only.
    let newest = workspace.run("--data d cat docs --format vectors --reverse --limit 1").expect_code(0).stdout;
    assert_eq!(newest, lines.lines().last().unwrap().to_owned() + "\n");
}

#[test]
fn what_is_no_vector_is_passed_over_and_counted() {
    let workspace = workspace();
    workspace.write("plain", "one\ntwo\n");
    workspace.run("--data d append docs plain").expect_code(0);
    workspace.run("--data d delete docs c").expect_code(0);
    let run = workspace.run("--data d cat docs --format vectors").expect_code(0);
    assert_eq!(run.stdout.lines().count(), 4);
    assert_eq!(run.stderr, "passed over: 2 records that are no vectors\npassed over: 1 deletes\n");
}
