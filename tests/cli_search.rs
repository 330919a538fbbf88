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
