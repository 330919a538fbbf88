//! What only SQLite's files can suffer, and that its look-ups use their indexes.

#![allow(clippy::disallowed_methods, reason = "damage is done to files behind the catalog's back")]

mod damage;
mod opening;

use std::path::PathBuf;
use std::time::Duration;

use super::{CatalogMode, SqliteCatalog, lookups};
use crate::catalog::conformance::files::{self, fill};
use crate::catalog::conformance::{Answers, apply, insert, name};
use crate::catalog::{Catalog, CatalogError, CatalogResult, SegmentStatus};
use crate::types::{ChangeNumber, Sequence};

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("catalog.sqlite")
    }

    fn open(&self, mode: CatalogMode) -> CatalogResult<SqliteCatalog> {
        SqliteCatalog::open_with(&self.path(), mode, Duration::ZERO)
    }

    fn create(&self) -> SqliteCatalog {
        self.open(CatalogMode::Create).unwrap()
    }

    /// Another program's connection.
    fn stranger(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

#[test]
fn no_look_up_scans_a_table() {
    let place = Place::new();
    let catalog = place.create();
    let connection = catalog.writer().unwrap();
    for (sql, may_sort) in lookups::STATEMENTS {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(vec![1; statement_parameters(sql)]), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(!steps.is_empty(), "{sql}");
        for step in &steps {
            let sorts = step.contains("TEMP B-TREE");
            assert!(step.starts_with("SEARCH") || (sorts && may_sort), "{step}\n{sql}");
        }
    }
    let by_time = lookups::STATEMENTS.iter().find(|(_, may_sort)| *may_sort).unwrap().0;
    let sql = format!("EXPLAIN QUERY PLAN {by_time}");
    let plan = connection.query_row(&sql, [1; 7], |row| row.get::<_, String>(3)).unwrap();
    assert!(plan.contains("SEARCH"), "{plan}");
}

fn statement_parameters(sql: &str) -> usize {
    (1..=9).filter(|number| sql.contains(&format!("?{number}"))).count()
}

#[test]
fn a_full_disk_changes_nothing_and_passes() {
    let place = Place::new();
    let catalog = place.create();
    fill(&catalog);
    let before = Answers::of(&catalog);
    {
        let connection = catalog.writer().unwrap();
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    }
    let many: Vec<_> = (0..500).map(|place| insert("c", place * 10 + 1, place * 10 + 9)).collect();
    assert!(matches!(apply(&catalog, &many), Err(CatalogError::Full { .. })));
    assert_eq!(Answers::of(&catalog), before);
    catalog.writer().unwrap().pragma_update_and_check(None, "max_page_count", 1 << 30, |_| Ok(())).unwrap();
    apply(&catalog, &many).unwrap();
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
}

#[test]
fn an_unknown_outcome_is_said_and_stops_changes_until_reopened() {
    let place = Place::new();
    files::an_unknown_outcome_is_said_and_stops_changes_until_reopened(
        |mode| place.open(mode).unwrap(),
        |catalog| catalog.fail_commit.store(true, std::sync::atomic::Ordering::SeqCst),
    );
}

#[test]
fn views_show_what_an_operator_asks() {
    let place = Place::new();
    let catalog = place.create();
    fill(&catalog);
    let reader = place.stranger();
    let list = |sql: &str| -> Vec<String> {
        let mut statement = reader.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let by_status = "SELECT status || ' ' || collection || ' ' || first_sequence FROM segments_by_status \
                     WHERE collection = 'b' ORDER BY first_sequence";
    let expected: Vec<_> =
        (1..).zip(SegmentStatus::ALL).map(|(place, status)| format!("{status} b {}", place * 100)).collect();
    assert_eq!(list(by_status), expected);
    let history = "SELECT kind || ' ' || coalesce(from_status, '') || '>' || coalesce(to_status, '') || ' ' || reason \
                   FROM segment_history WHERE collection = 'b' AND first_sequence = 700 ORDER BY change";
    let way = [
        "segment.insert >sealed a test",
        "segment.status sealed>purging a test",
        "segment.status purging>purged a test",
    ];
    assert_eq!(list(history), way);
    let lag =
        "SELECT collection || ' ' || segments || ' ' || records || ' ' || first_sequence FROM archive_lag ORDER BY 1";
    assert_eq!(list(lag), ["a 1 10 1", "b 2 20 100"]);
}
