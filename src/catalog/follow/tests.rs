use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::catalog::conformance::{Answers, insert, mutations, name, one_of_each};
use crate::catalog::model::CursorRow;
use crate::catalog::{CatalogMode, Engine, MemoryCatalog};
use crate::types::{Epoch, Sequence, Timestamp};

fn follow(from: &dyn Catalog, to: &dyn Catalog) -> Result<ChangeNumber, FollowError> {
    catch_up(from, to, None, &mut |_, _| true)
}

fn value(name: &str, value: &str) -> Mutation {
    Mutation::SetMeta { name: name.to_owned(), value: value.to_owned() }
}

/// Values under names, one change each, in groups of these sizes.
fn grouped(sizes: &[usize]) -> MemoryCatalog {
    let catalog = MemoryCatalog::new();
    for (at, size) in (0..).zip(sizes) {
        let group: Vec<_> = (0..*size).map(|number| value(&format!("{}", number % 10), &format!("{at}"))).collect();
        catalog.apply(&group, Timestamp(at), "a test").unwrap();
    }
    catalog
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any history, followed in steps to anywhere, by every engine, gives equal answers to every question.
    #[test]
    fn a_follower_answers_as_the_one_it_follows(
        groups in mutations(), times in prop::collection::vec((0_i64..3, "[ab]"), 300), stops in prop::collection::vec(0_u64..60, 0..4),
    ) {
        let from = MemoryCatalog::new();
        for (group, (at, reason)) in groups.iter().zip(&times) {
            let _ = from.apply(group, Timestamp(*at), reason);
        }
        let directory = tempfile::tempdir().unwrap();
        let mut followers: Vec<Arc<dyn Catalog>> = vec![Arc::new(MemoryCatalog::new())];
        for engine in Engine::ALL.into_iter().filter(|engine| engine.is_built()) {
            let path = directory.path().join(engine.file_name("follower"));
            followers.push(engine.open(&path, CatalogMode::Create).unwrap());
        }
        for to in followers {
            let mut until = ChangeNumber(0);
            for more in &stops {
                until = ChangeNumber(until.0 + more);
                let reached = catch_up(&from, &*to, Some(until), &mut |_, _| true).unwrap();
                prop_assert_eq!(reached, until.min(from.change_number().unwrap()));
            }
            follow(&from, &*to).unwrap();
            prop_assert_eq!(Answers::of(&*to), Answers::of(&from));
            prop_assert_eq!(differences(&from, &*to).unwrap(), Vec::<String>::new());
        }
    }

    /// Changes with different times or reasons never share a group, and none is lost or moved.
    #[test]
    fn groups_are_of_one_time_and_reason(said in prop::collection::vec((0_i64..3, "[ab]"), 1..60)) {
        let catalog = MemoryCatalog::new();
        for (number, (at, reason)) in said.iter().enumerate() {
            catalog.apply(&[value("n", &number.to_string())], Timestamp(*at), reason).unwrap();
        }
        let page = catalog.changes(ChangeNumber(0), usize::MAX).unwrap();
        let mutations: Vec<_> = page.iter().map(|change| change.mutation().unwrap()).collect();
        let groups = groups(&page, &mutations);
        let flat = groups.iter().flat_map(|group| group.mutations.iter().map(|one| (group.at.micros(), group.reason, one)));
        let wanted = page.iter().zip(&mutations).map(|(change, one)| (change.at.micros(), change.reason.as_str(), one));
        prop_assert!(flat.eq(wanted));
        for pair in groups.windows(2) {
            prop_assert_ne!((pair[0].at, pair[0].reason), (pair[1].at, pair[1].reason), "they could have been one");
        }
    }
}

#[test]
fn a_transaction_is_split_only_where_it_is_longer_than_a_page() {
    let stops = |sizes: &[usize]| {
        let from = grouped(sizes);
        let to = MemoryCatalog::new();
        let mut told = Vec::new();
        let end = catch_up(&from, &to, None, &mut |number, until| {
            assert_eq!(until, from.change_number().unwrap());
            told.push(number.0);
            true
        });
        assert_eq!(end.unwrap(), from.change_number().unwrap());
        assert_eq!(to.applies(), told.len() as u64 - 1, "one transaction for each page");
        assert_eq!(differences(&from, &to).unwrap(), Vec::<String>::new());
        told
    };
    assert_eq!(stops(&[]), [0]);
    assert_eq!(stops(&[1, 1, 1]), [0, 3]);
    assert_eq!(stops(&[4000, 90, 10]), [0, 4090, 4100]);
    assert_eq!(stops(&[4096, 1]), [0, 4096, 4097]);
    assert_eq!(stops(&[4097, 3]), [0, 4096, 4100]);
    assert_eq!(stops(&[1, 9000, 1]), [0, 1, 4097, 8193, 9002]);
}

#[test]
fn stopping_leaves_a_beginning_to_go_on_from() {
    let from = grouped(&[4096, 4096, 4096]);
    let to = MemoryCatalog::new();
    assert_eq!(catch_up(&from, &to, None, &mut |number, _| number.0 < 4096).unwrap(), ChangeNumber(4096));
    assert_eq!(catch_up(&from, &to, None, &mut |_, _| false).unwrap(), ChangeNumber(4096));
    let mut first = None;
    catch_up(&from, &to, None, &mut |number, until| {
        first.get_or_insert((number.0, until.0));
        true
    })
    .unwrap();
    assert_eq!(first, Some((4096, 12_288)));
    assert_eq!(differences(&from, &to).unwrap(), Vec::<String>::new());
}

#[test]
fn a_follower_ahead_or_of_another_history_is_refused_and_stays_as_it_is() {
    let (from, to) = (grouped(&[3, 2]), grouped(&[3, 2]));
    to.apply(&[value("more", "1")], Timestamp(9), "alone").unwrap();
    let before = Answers::of(&to);
    let error = follow(&from, &to).unwrap_err();
    assert!(matches!(error, FollowError::Ahead { to: ChangeNumber(6), from: ChangeNumber(5) }), "{error}");
    from.apply(&[value("more", "2")], Timestamp(9), "alone").unwrap();
    from.apply(&[value("more", "3")], Timestamp(9), "alone").unwrap();
    let error = follow(&from, &to).unwrap_err();
    assert!(matches!(error, FollowError::Diverged { number: ChangeNumber(6), .. }), "{error}");
    // The same content at another time, or for another reason, is another change.
    for (at, reason) in [(9, "why"), (8, "alone")] {
        let (from, to) = (grouped(&[3]), grouped(&[3]));
        from.apply(&[value("more", "1")], Timestamp(9), "alone").unwrap();
        to.apply(&[value("more", "1")], Timestamp(at), reason).unwrap();
        assert!(matches!(follow(&from, &to), Err(FollowError::Diverged { number: ChangeNumber(4), .. })));
    }
    assert_eq!(Answers::of(&to), before);
}

#[test]
fn rows_that_the_history_does_not_explain_are_found() {
    // The tips agree, what lies before does not: the state machine refuses, or the comparison tells.
    let (from, to) = (MemoryCatalog::new(), MemoryCatalog::new());
    from.apply(&[insert("a", 1, 5)], Timestamp(1), "x").unwrap();
    to.apply(&[insert("a", 6, 9)], Timestamp(1), "x").unwrap();
    for catalog in [&from, &to] {
        catalog.apply(&[value("tip", "1")], Timestamp(2), "y").unwrap();
    }
    let found = differences(&from, &to).unwrap();
    let starts = |what: &str| found.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((starts("change: "), starts("segment: ")), (1, 1), "{found:#?}");
    assert_eq!(starts("maximum sequence of a: "), 1, "{found:#?}");
    from.apply(&[insert("a", 6, 9)], Timestamp(3), "z").unwrap();
    let error = follow(&from, &to).unwrap_err();
    assert!(matches!(error, FollowError::Diverged { number: ChangeNumber(3), .. }), "{error}");
    assert_eq!(to.change_number().unwrap(), ChangeNumber(2));
}

#[test]
fn a_difference_in_any_table_is_told() {
    let a = name("a");
    let one_more = [
        ("segment: ", insert("b", 1, 5)),
        ("collection: ", Mutation::PutCollection { name: a.clone(), settings: "{}".to_owned() }),
        ("loss: ", Mutation::RecordLoss { collection: a.clone(), first: Sequence(20), last: Sequence(21) }),
        ("value under epoch: ", value("epoch", "2")),
        ("count: ", insert("b", 1, 5)),
        ("maximum sequence of a: ", Mutation::RaiseFloor { collection: a.clone(), sequence: Sequence(99) }),
        (
            "cursor: ",
            Mutation::SetCursor(CursorRow {
                collection: a.clone(),
                sink: "other".to_owned(),
                epoch: Epoch(1),
                sequence: Sequence(1),
            }),
        ),
        (
            "assignment: ",
            Mutation::Assign {
                component: "wal".to_owned(),
                collection: a,
                directory: "/disk-2".to_owned(),
                epoch: Epoch(2),
                from: Sequence(11),
            },
        ),
    ];
    for (what, mutation) in one_more {
        let (from, to) = (MemoryCatalog::new(), MemoryCatalog::new());
        for catalog in [&from, &to] {
            catalog.apply(&one_of_each(), Timestamp(1), "x").unwrap();
        }
        assert_eq!(differences(&from, &to).unwrap(), Vec::<String>::new());
        to.apply(std::slice::from_ref(&mutation), Timestamp(2), "y").unwrap();
        // In whichever of the two it is.
        for found in [differences(&from, &to).unwrap(), differences(&to, &from).unwrap()] {
            assert!(found.iter().any(|line| line.starts_with("change: ")), "{found:#?}");
            assert!(found.iter().any(|line| line.starts_with(what)), "{what}: {found:#?}");
        }
    }
}

#[test]
fn findings_are_bounded() {
    let (from, to) = (grouped(&[9000]), MemoryCatalog::new());
    let other: Vec<_> = (0..9000).map(|number| value(&format!("{}", number % 10), "other")).collect();
    to.apply(&other, Timestamp(0), "a test").unwrap();
    let found = differences(&from, &to).unwrap();
    assert_eq!(found.iter().filter(|line| line.starts_with("change: ")).count(), 5);
    assert_eq!(found.len(), 15, "five changes, ten values");
}

#[test]
fn a_failure_names_the_side_that_failed() {
    let (from, to) = (grouped(&[3]), MemoryCatalog::new());
    to.set_unavailable(Some("a test"));
    assert!(matches!(follow(&from, &to), Err(FollowError::To(CatalogError::Unavailable { .. }))));
    to.set_unavailable(None);
    assert_eq!(follow(&from, &to).unwrap(), ChangeNumber(3));
}
