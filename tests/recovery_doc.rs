//! The table in `docs/recovery.md` is the one that recovery decides by, over every combination.
#![allow(clippy::disallowed_methods, reason = "reads a page of the documentation")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use icecore::catalog::SegmentStatus;
use icecore::log::recover::table::{Elsewhere, FileState, decide, decide_copy, rows};

const BEGIN: &str = "<!-- table: begin (tests/recovery_doc.rs writes it with UPDATE_DOCS=1) -->\n";
const END: &str = "<!-- table: end -->";
const COPIES_BEGIN: &str = "<!-- copies: begin (tests/recovery_doc.rs writes it with UPDATE_DOCS=1) -->\n";
const COPIES_END: &str = "<!-- copies: end -->";

/// Whether a condition holds, by what lies elsewhere, and whether an archived copy is known.
type Condition = fn(Elsewhere, bool) -> bool;

/// What decides, in the order in which it is asked; the first that holds counts.
const CONDITIONS: [(&str, Condition); 5] = [
    ("elsewhere same", |elsewhere, _| elsewhere == Elsewhere::Same),
    ("archived copy known", |_, archived| archived),
    ("elsewhere compacted", |elsewhere, _| elsewhere == Elsewhere::Compacted),
    ("elsewhere unreadable", |elsewhere, _| elsewhere == Elsewhere::Unreadable),
    ("elsewhere other", |elsewhere, _| elsewhere == Elsewhere::Other),
];

/// The actions of one cell, with their conditions.
fn cell(row: Option<SegmentStatus>, file: FileState) -> String {
    let both = |elsewhere| [(elsewhere, false), (elsewhere, true)];
    let mut left: Vec<(Elsewhere, bool)> = Elsewhere::ALL.into_iter().flat_map(both).collect();
    let action = |&(elsewhere, archived): &(Elsewhere, bool)| decide(row, file, elsewhere, archived);
    let mut cell = String::new();
    for (words, holds) in CONDITIONS {
        if left.iter().all(|combination| action(combination) == action(&left[0])) {
            break;
        }
        let (these, others): (Vec<_>, Vec<_>) =
            left.iter().partition(|(elsewhere, archived)| holds(*elsewhere, *archived));
        let is_told = action(&these[0]) != action(&(Elsewhere::None, false));
        if is_told && these.iter().all(|combination| action(combination) == action(&these[0])) {
            let _ = write!(cell, "{words}: {}; ", action(&these[0]).label());
            left = others;
        }
    }
    let last = action(&left[0]);
    assert!(left.iter().all(|combination| action(combination) == last), "no list of conditions tells {row:?} {file:?}");
    match cell.is_empty() {
        true => last.label().to_owned(),
        false => format!("{cell}else: {}", last.label()),
    }
}

/// A line for each row state, a column for each state of the file; several actions where it depends on copies in other directories
/// and in the archive.
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
            let _ = write!(table, "| {} ", cell(row, file));
        }
        table.push_str("|\n");
    }
    table
}

/// A line for each state of the segment's own file, a column for each kind of copy.
fn rendered_copies() -> String {
    let copies = [Elsewhere::Same, Elsewhere::Other, Elsewhere::Unreadable];
    let mut table =
        String::from("| own file | a copy that is the same | another file of that name | one that cannot be read |\n");
    table.push_str("|---|---|---|---|\n");
    for file in FileState::ALL {
        let [same, other, unreadable] = copies.map(|copy| decide_copy(file, copy).label());
        let _ = writeln!(table, "| {} | {same} | {other} | {unreadable} |", file.label());
    }
    table
}

#[test]
fn the_page_shows_the_tables_that_decide() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recovery.md");
    let page = std::fs::read_to_string(&path).expect("the page is part of the sources");
    let (front, rest) = page.split_once(BEGIN).expect("the page has the table's beginning");
    let (shown, behind) = rest.split_once(END).expect("the page has the table's end");
    let (between, copies) = behind.split_once(COPIES_BEGIN).expect("the page has the second table's beginning");
    let (shown_copies, behind_both) = copies.split_once(COPIES_END).expect("the page has the second table's end");
    let (wanted, wanted_copies) = (rendered(), rendered_copies());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let tables = format!("{BEGIN}{wanted}{END}{between}{COPIES_BEGIN}{wanted_copies}{COPIES_END}");
        std::fs::write(&path, format!("{front}{tables}{behind_both}")).expect("the page can be written");
        return;
    }
    assert_eq!(shown, wanted, "run this test with UPDATE_DOCS=1, and read what changed");
    assert_eq!(shown_copies, wanted_copies, "run this test with UPDATE_DOCS=1, and read what changed");

    // Every action that the tables name is explained below them.
    let mut actions = BTreeMap::new();
    for (row, file, elsewhere, archived, action) in rows() {
        actions.entry(action.label()).or_insert_with(|| format!("{row:?} {file:?} {elsewhere:?} {archived}"));
        for copy in Elsewhere::ALL {
            actions.entry(decide_copy(file, copy).label()).or_insert_with(|| format!("a copy: {file:?} {copy:?}"));
        }
    }
    for (action, example) in actions {
        let explained = behind_both
            .lines()
            .filter_map(|line| line.split('|').nth(1))
            .any(|cell| cell.split([',', ' ']).any(|word| word == action));
        assert!(explained, "{action} is not explained: {example}");
    }
}
