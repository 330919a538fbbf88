//! What only SQLite's files can suffer, and that its look-ups use their indexes.

#![allow(clippy::disallowed_methods, reason = "damage is done to files behind the catalog's back")]

mod damage;
mod opening;

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::{CatalogMode, SqliteCatalog, lookups};
use crate::catalog::conformance::{Answers, apply, bring, insert, mutations, name, one_of_each, row};
use crate::catalog::{Catalog, CatalogError, CatalogResult, MemoryCatalog, Mutation, SegmentStatus};
use crate::types::{ChangeNumber, Sequence, Timestamp};

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

/// Rows in every table, segments of every status.
fn fill(catalog: &dyn Catalog) {
    apply(catalog, &one_of_each()).unwrap();
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        bring(catalog, row("b", place * 100, place * 100 + 9), status);
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
    let catalog = place.create();
    apply(&catalog, &[insert("a", 1, 9)]).unwrap();
    catalog.fail_commit.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(apply(&catalog, &[insert("a", 10, 19)]), Err(CatalogError::OutcomeUnknown { .. })));
    assert!(matches!(apply(&catalog, &[insert("a", 20, 29)]), Err(CatalogError::Unavailable { .. })));
    assert!(catalog.segment_holding(&name("a"), Sequence(5)).unwrap().is_some(), "look-ups go on");
    drop(catalog);
    let catalog = place.open(CatalogMode::ReadWrite).unwrap();
    assert_eq!(catalog.change_number().unwrap(), ChangeNumber(2));
    assert_eq!(apply(&catalog, &[insert("a", 20, 29)]).unwrap(), ChangeNumber(3));
}

#[test]
fn look_ups_go_on_beside_an_apply_and_never_see_half_of_it() {
    let place = Place::new();
    let catalog = place.create();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut sealed_before = 0;
                while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
                    let counts = catalog.counts().unwrap();
                    let rows = catalog.segments_from(&name("a"), Sequence(0), usize::MAX).unwrap();
                    assert_eq!(counts[0].1 % 7, 0, "half a group was seen");
                    assert_eq!(rows.len() % 7, 0, "half a group was seen");
                    assert!(rows.len() as u64 >= counts[0].1 && counts[0].1 >= sealed_before);
                    sealed_before = counts[0].1;
                    seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
        for group in 0..60_u64 {
            let mutations: Vec<_> =
                (0..7).map(|of| (group * 7 + of) * 10 + 1).map(|at| insert("a", at, at + 9)).collect();
            apply(&catalog, &mutations).unwrap();
            let at = Sequence((group * 7 + 6) * 10 + 1);
            assert!(catalog.segment_holding(&name("a"), at).unwrap().is_some(), "a change that returned is seen");
        }
        is_done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    assert!(seen.into_inner() > 0);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_the_model_does_across_reopening(groups in mutations(), reopen_every in 1_usize..20) {
        let place = Place::new();
        let model = MemoryCatalog::new();
        let mut catalog = Some(place.create());
        for (step, group) in groups.iter().enumerate() {
            if step % reopen_every == 0 {
                catalog = None;
            }
            let engine = catalog.get_or_insert_with(|| place.open(CatalogMode::ReadWrite).unwrap());
            let at = Timestamp(i64::try_from(step).unwrap());
            let told = |result: CatalogResult<ChangeNumber>| match result {
                Ok(number) => Ok(number),
                Err(CatalogError::Refused(refused)) => Err(refused.what),
                Err(error) => panic!("{error}"),
            };
            prop_assert_eq!(told(engine.apply(group, at, "random")), told(model.apply(group, at, "random")));
        }
        drop(catalog);
        let catalog = place.open(CatalogMode::ReadOnly).unwrap();
        prop_assert_eq!(Answers::of(&catalog), Answers::of(&model));
        prop_assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
        // The history alone makes the same catalog again.
        let copy = MemoryCatalog::new();
        for change in catalog.changes(ChangeNumber(0), usize::MAX).unwrap() {
            copy.apply(&[change.mutation().unwrap()], change.at, &change.reason).unwrap();
        }
        prop_assert_eq!(Answers::of(&copy), Answers::of(&model));
    }
}

#[test]
fn the_random_world_reaches_what_it_is_meant_to() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let model = MemoryCatalog::new();
    let mut kinds = std::collections::BTreeSet::new();
    let mut statuses = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let model = model.snapshot();
        for group in mutations().new_tree(&mut runner).unwrap().current() {
            if model.apply(&group, Timestamp(0), "").is_ok() {
                kinds.extend(group.iter().map(Mutation::kind));
            }
        }
        statuses.extend(model.segments(None, None, usize::MAX).unwrap().into_iter().map(|row| row.status));
    }
    assert_eq!(kinds.len(), Mutation::KINDS.len(), "{kinds:?}");
    assert_eq!(statuses.len(), SegmentStatus::ALL.len(), "{statuses:?}");
}
