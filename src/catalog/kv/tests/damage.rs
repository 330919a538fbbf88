//! Damage is an error, never an answer (C4).

use super::*;
use crate::catalog::kv::keys::{self, table};
use crate::catalog::kv::{check, lookups};
use crate::catalog::{Change, SegmentRow, SegmentStatus};
use crate::types::{ChangeNumber, CollectionName};

const ROWS: [u8; 8] = [
    table::CHANGES,
    table::COLLECTIONS,
    table::SEGMENTS,
    table::COUNTS,
    table::ASSIGNMENTS,
    table::LOSSES,
    table::CURSORS,
    table::META,
];
const INDEXES: [u8; 4] = [table::BY_STATUS, table::UNFLUSHED, table::LIVE, table::BY_TIME];

/// Asks everything of one table.
fn ask(read: &dyn Read, of: u8) -> CatalogResult<()> {
    let all = usize::MAX;
    let names = || Ok::<_, CatalogError>(lookups::collections(read, None, all)?.into_iter().map(|row| row.name));
    let each = |ask: &dyn Fn(&CollectionName) -> CatalogResult<()>| names()?.try_for_each(|name| ask(&name));
    match of {
        table::CHANGES => lookups::changes(read, ChangeNumber(0), all).map(drop),
        table::COLLECTIONS => names().map(drop),
        table::SEGMENTS => lookups::segments(read, None, None, all).map(drop),
        table::COUNTS => SegmentStatus::ALL.iter().try_for_each(|status| lookups::count(read, *status).map(drop)),
        table::ASSIGNMENTS => lookups::assignments(read, None, None, all).map(drop),
        table::LOSSES => lookups::losses(read, None).map(drop),
        table::CURSORS => each(&|name| lookups::cursors(read, name).map(drop)),
        table::META => lookups::meta(read, "epoch").map(drop),
        table::BY_STATUS => SegmentStatus::ALL
            .iter()
            .try_for_each(|status| lookups::segments_by_status(read, *status, None, all).map(drop)),
        table::UNFLUSHED => lookups::segments_unflushed(read, None, all).map(drop),
        table::LIVE => each(&|name| lookups::segments_from(read, name, crate::types::Sequence(0), all).map(drop)),
        table::BY_TIME => each(&|name| {
            let always = (crate::types::Timestamp::MIN, crate::types::Timestamp::MAX);
            lookups::segments_by_time(read, name, always, crate::types::Sequence(0), all).map(drop)
        }),
        _ => panic!("no table {of}"),
    }
}

fn assert_damaged(read: &dyn Read, of: u8, what: &str) {
    match ask(read, of) {
        Err(CatalogError::Damaged { .. }) => {}
        other => panic!("served: {what}: {other:?}"),
    }
    assert!(!check::check(read).unwrap().is_empty(), "check did not find: {what}");
}

/// The changes are made and unmade within one transaction that is never committed: it reads what it wrote.
fn every_changed_byte_of_every_row_is_found<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let mut writing = catalog.shared.environment.write().unwrap();
    assert_eq!(check::check(&writing).unwrap(), Vec::<String>::new());
    let (mut tables, mut bytes) = (std::collections::BTreeSet::new(), 0);
    for (key, value) in entries(&writing) {
        if !ROWS.contains(&key[0]) {
            continue;
        }
        // The newest changes stand for the others.
        if key[0] == table::CHANGES && key[8] < 20 {
            continue;
        }
        tables.insert(key[0]);
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1 << (at % 8);
            writing.put(&key, &changed).unwrap();
            assert_damaged(&writing, key[0], &format!("byte {at} of {:?}", keys::named_by(&key, &value)));
            bytes += 1;
        }
        for changed in [&value[..0], &value[..4], &value[..value.len() - 1], &[&value[..], &[0]].concat()] {
            writing.put(&key, changed).unwrap();
            assert_damaged(&writing, key[0], "a row cut short or made longer");
        }
        writing.put(&key, &value).unwrap();
        // A row of its kind under a key that is another's.
        let mut other = key.clone();
        *other.last_mut().unwrap() ^= 1;
        let there = writing.get(&other).unwrap();
        writing.put(&other, &value).unwrap();
        assert!(!check::check(&writing).unwrap().is_empty(), "a row under another key: {other:?}");
        match there {
            Some(there) => writing.put(&other, &there).unwrap(),
            None => assert!(writing.delete(&other).unwrap()),
        }
    }
    assert_eq!(tables.into_iter().collect::<Vec<_>>(), ROWS);
    assert!(bytes > 2000, "{bytes}");
    assert_eq!(check::check(&writing).unwrap(), Vec::<String>::new());
}

fn every_entry_of_an_index_and_its_row_answer_for_each_other<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let mut writing = catalog.shared.environment.write().unwrap();
    let all = entries(&writing);
    let mut seen = std::collections::BTreeSet::new();
    for (key, value) in all.iter().filter(|(key, _)| INDEXES.contains(&key[0])) {
        seen.insert(key[0]);
        let find = |writing: &E::Writing<'_>, what: &str| {
            let lines = check::check(writing).unwrap();
            assert!(!lines.is_empty(), "check did not find: {what}: {key:?}");
        };
        writing.delete(key).unwrap();
        find(&writing, "a missing entry");
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1 << (at % 8);
            writing.put(key, &changed).unwrap();
            assert_damaged(&writing, key[0], &format!("byte {at} of the entry {key:?}"));
        }
        for (_, others) in all.iter().filter(|(of, names)| of[0] == key[0] && names != value) {
            writing.put(key, others).unwrap();
            assert_damaged(&writing, key[0], "an entry that names another's row");
        }
        writing.put(key, value).unwrap();
        for at in 1..key.len() {
            let mut other = key.clone();
            other[at] ^= 1 << (at % 8);
            if writing.get(&other).unwrap().is_none() {
                writing.put(&other, value).unwrap();
                find(&writing, "an entry too many");
                writing.delete(&other).unwrap();
            }
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), INDEXES);
    assert_eq!(check::check(&writing).unwrap(), Vec::<String>::new());
    // A row that is gone leaves its entries.
    for (key, _) in all.iter().filter(|(key, _)| key[0] == table::SEGMENTS) {
        let value = writing.get(key).unwrap().unwrap();
        writing.delete(key).unwrap();
        assert_damaged(&writing, table::BY_STATUS, "entries without their row");
        writing.put(key, &value).unwrap();
    }
}

/// With a checksum made good, only what it says can tell.
fn unknown_statuses_kinds_and_versions_are_errors<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let mut writing = catalog.shared.environment.write().unwrap();
    let row = lookups::segments(&writing, None, None, 1).unwrap().remove(0);
    let key = keys::segment(&row.key);
    let value = writing.get(&key).unwrap().unwrap();
    let sealed = |content: &[u8]| [content, &crc32c::crc32c(&content[1..]).to_le_bytes()].concat();
    let content = &value[..value.len() - 4];
    assert_eq!(sealed(content), value);
    let status_at = 1 + 1 + 8 + row.key.collection.as_str().len() + 3 * 8;
    let mut expect = |key: &[u8], content: &[u8], error: &str| {
        writing.put(key, &sealed(content)).unwrap();
        let read: &dyn Read = &writing;
        let found = match key[0] {
            table::SEGMENTS => lookups::segments(read, None, None, 9).map(drop),
            _ => lookups::changes(read, ChangeNumber(0), 99).map(drop),
        };
        assert!(found.is_err_and(|found| found.to_string().contains(error)), "{error}");
        let lines = check::check(read).unwrap();
        assert!(lines.iter().any(|line| line.contains(error)), "{lines:?}");
    };
    for status in [0, 9, 255] {
        let mut content = content.to_vec();
        content[status_at] = status;
        expect(&key, &content, &format!("an unknown status, {status}"));
    }
    for version in [0, 2, 255] {
        let mut content = content.to_vec();
        content[0] = version;
        expect(&key, &content, &format!("an unknown version of a row, {version}"));
    }
    let mut other = content.to_vec();
    other[1] = 2;
    expect(&key, &other, "a row of another kind, 2");
    expect(&key, &[content, &[0]].concat(), "more than a row");
    expect(&key, &content[..content.len() - 1], "cut short");
    writing.put(&key, &value).unwrap();

    let mut change: Change = lookups::changes(&writing, ChangeNumber(0), 1).unwrap().remove(0);
    "segment.teleport".clone_into(&mut change.kind);
    let value = crate::catalog::kv::values::encode(crate::catalog::checksum::Content::Change(&change));
    writing.put(&keys::change(change.number), &value).unwrap();
    let error = lookups::changes(&writing, ChangeNumber(0), 1).unwrap_err();
    assert!(error.to_string().contains("an unknown kind of change, segment.teleport"), "{error}");
}

fn check_finds_what_rows_say_of_each_other<E: Environment>() {
    let place = Place::<E>::new();
    let catalog = place.create();
    fill(&catalog);
    let a = CollectionName::new("a").unwrap();
    let segment = catalog.segments(Some(&a), None, 1).unwrap().remove(0);
    let overlapping = SegmentRow {
        key: crate::catalog::SegmentKey { last: crate::types::Sequence(11), ..segment.key.clone() },
        ..segment.clone()
    };
    let row = |row: &SegmentRow| crate::catalog::kv::values::encode(crate::catalog::checksum::Content::Segment(row));
    type Plant<'a> = (&'a [u8], Option<Vec<u8>>, &'a str);
    let plants: [Plant<'_>; 7] = [
        (&keys::change(ChangeNumber(5)), None, "expected number `5`"),
        (&keys::segment(&segment.key), None, "counts: status `archiving`"),
        (&keys::collection(&a), None, "`a` has rows, but none of its own"),
        (&keys::count(SegmentStatus::Sealed), None, "counts: status `sealed`"),
        (&keys::segment(&overlapping.key), Some(row(&overlapping)), "live ones overlap"),
        (&[200, 1], Some(vec![1]), "an entry of no table"),
        (&keys::header(), Some(vec![1]), "the header is missing or changed"),
    ];
    for (key, value, finding) in plants {
        let mut writing = catalog.shared.environment.write().unwrap();
        match value {
            Some(value) => writing.put(key, &value).unwrap(),
            None => assert!(writing.delete(key).unwrap()),
        }
        let lines = check::check(&writing).unwrap();
        assert!(lines.iter().any(|line| line.contains(finding)), "{finding}: {lines:?}");
    }
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
}

on_engines! {
    every_changed_byte_of_every_row_is_found
    every_entry_of_an_index_and_its_row_answer_for_each_other
    unknown_statuses_kinds_and_versions_are_errors
    check_finds_what_rows_say_of_each_other
}
