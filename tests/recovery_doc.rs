//! The table in `docs/recovery.md` is the one that recovery decides by, over every combination.
#![allow(clippy::disallowed_methods, reason = "reads a page of the documentation")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use icecore::log::recover::table::{FileState, decide, rows};

const BEGIN: &str = "<!-- table: begin (tests/recovery_doc.rs writes it with UPDATE_DOCS=1) -->\n";
const END: &str = "<!-- table: end -->";

/// A line for each row state, a column for each state of the file; two actions where it depends on the archived copy.
fn rendered() -> String {
    let mut table = String::from("| row ");
    for file in FileState::ALL {
        let _ = write!(table, "| {} ", file.label());
    }
    table.push_str("|\n|---");
    table.push_str(&"|---".repeat(FileState::ALL.len()));
    table.push_str("|\n");
    let mut states: Vec<_> = rows().map(|(row, ..)| row).collect();
    states.dedup();
    for row in states {
        let name = row.map_or_else(|| "none".to_owned(), |status| format!("{status:?}"));
        let _ = write!(table, "| {name} ");
        for file in FileState::ALL {
            let (without, with) = (decide(row, file, false), decide(row, file, true));
            let _ = match without == with {
                true => write!(table, "| {} ", without.label()),
                false => write!(table, "| archived copy known: {}; else: {} ", with.label(), without.label()),
            };
        }
        table.push_str("|\n");
    }
    table
}

#[test]
fn the_page_shows_the_table_that_decides() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recovery.md");
    let page = std::fs::read_to_string(&path).expect("the page is part of the sources");
    let (front, rest) = page.split_once(BEGIN).expect("the page has the table's beginning");
    let (shown, behind) = rest.split_once(END).expect("the page has the table's end");
    let wanted = rendered();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{front}{BEGIN}{wanted}{END}{behind}")).expect("the page can be written");
        return;
    }
    assert_eq!(shown, wanted, "run this test with UPDATE_DOCS=1, and read what changed");

    // Every action that the table names is explained below it.
    let mut actions = BTreeMap::new();
    for (row, file, archived, action) in rows() {
        actions.entry(action.label()).or_insert((row, file, archived));
    }
    for (action, example) in actions {
        let explained = behind.lines().filter_map(|line| line.split('|').nth(1)).any(|cell| cell.contains(action));
        assert!(explained, "{action} is not explained: {example:?}");
    }
}
