//! Collections, losses, cursors, assignments, values, the maximum sequence.

use super::{apply, bring, insert, key, name, refused, row};
use crate::catalog::model::CursorRow;
use crate::catalog::{Assignment, Catalog, CollectionRow, Mutation, SegmentRow, SegmentStatus};
use crate::types::{ChangeNumber, Epoch, Generation, Sequence, Timestamp};

fn put(text: &str, settings: &str) -> Mutation {
    Mutation::PutCollection { name: name(text), settings: settings.to_owned() }
}

pub fn collections_are_made_and_listed(catalog: &dyn Catalog) {
    catalog.apply(&[put("b", r#"{"x":1}"#)], Timestamp(5), "").unwrap();
    catalog.apply(&[put("b", "{}"), put("a", "{}"), insert("c", 1, 2)], Timestamp(6), "").unwrap();
    let b = CollectionRow {
        name: name("b"),
        created_at: Timestamp(5),
        floor: Sequence(1),
        sealed_through: Sequence(0),
        settings: "{}".to_owned(),
    };
    assert_eq!(catalog.collection(&b.name).unwrap(), Some(b.clone()));
    let c = CollectionRow { name: name("c"), created_at: Timestamp(6), ..b.clone() };
    assert_eq!(catalog.collection(&c.name).unwrap(), Some(c), "a segment makes its collection");
    let names = |after: Option<&str>, limit| -> Vec<String> {
        let rows = catalog.collections(after.map(name).as_ref(), limit).unwrap();
        rows.into_iter().map(|row| row.name.to_string()).collect()
    };
    assert_eq!(names(None, 9), ["a", "b", "c"]);
    assert_eq!(names(Some("a"), 1), ["b"]);
    assert_eq!(names(Some("bb"), 9), ["c"]);
    assert_eq!(names(Some("c"), 9), [""; 0]);
    let what = refused(apply(catalog, &[put("d", "not json")]));
    assert!(what.contains("not json"), "{what}");
}

pub fn floor_and_sealed_through_never_go_back(catalog: &dyn Catalog) {
    let a = name("a");
    let floor = |sequence| Mutation::RaiseFloor { collection: a.clone(), sequence: Sequence(sequence) };
    let sealed = |sequence| Mutation::RaiseSealedThrough { collection: a.clone(), sequence: Sequence(sequence) };
    apply(catalog, &[sealed(20), floor(10), sealed(20), floor(10)]).unwrap();
    let what = refused(apply(catalog, &[floor(9)]));
    assert!(what.contains("floor") && what.contains("from=`10`, to=`9`"), "{what}");
    let what = refused(apply(catalog, &[sealed(19)]));
    assert!(what.contains("sealed_through") && what.contains("from=`20`, to=`19`"), "{what}");
    refused(apply(catalog, &[sealed(1 << 63)]));
    apply(catalog, &[sealed(30), floor(31)]).unwrap();
    let row = catalog.collection(&a).unwrap().unwrap();
    assert_eq!((row.floor, row.sealed_through), (Sequence(31), Sequence(30)));
}

fn loss(collection: &str, first: u64, last: u64) -> Mutation {
    Mutation::RecordLoss { collection: name(collection), first: Sequence(first), last: Sequence(last) }
}

fn acknowledge(collection: &str, first: u64, last: u64) -> Mutation {
    Mutation::AcknowledgeLoss {
        collection: name(collection),
        first: Sequence(first),
        last: Sequence(last),
        by: "ada".to_owned(),
    }
}

pub fn losses_become_gaps_once(catalog: &dyn Catalog) {
    catalog.apply(&[loss("b", 5, 9), loss("a", 100, 100), loss("a", 20, 29)], Timestamp(3), "disk").unwrap();
    for wrong in [acknowledge("b", 5, 8), acknowledge("b", 6, 9), acknowledge("c", 5, 9)] {
        let what = refused(apply(catalog, &[wrong]));
        assert!(what.contains("from=`absent`, to=`gap`"), "{what}");
    }
    let what = refused(apply(catalog, &[loss("b", 5, 9)]));
    assert!(what.contains("from=`loss`"), "{what}");
    catalog.apply(&[acknowledge("b", 5, 9)], Timestamp(4), "known").unwrap();
    let what = refused(apply(catalog, &[acknowledge("b", 5, 9)]));
    assert!(what.contains("from=`gap`, to=`gap`"), "{what}");
    let what = refused(apply(catalog, &[loss("b", 5, 9)]));
    assert!(what.contains("from=`gap`"), "{what}");
    for (first, last) in [(0, 1), (2, 1), (1, 1 << 63)] {
        refused(apply(catalog, &[loss("c", first, last)]));
    }
    let all = catalog.losses(None).unwrap();
    let shown: Vec<_> = all.iter().map(|row| (row.collection.as_str(), row.first.get(), row.last.get())).collect();
    assert_eq!(shown, [("a", 20, 29), ("a", 100, 100), ("b", 5, 9)]);
    assert_eq!((all[2].reason.as_str(), all[2].found_at), ("disk", Timestamp(3)));
    assert_eq!(all[2].acknowledged, Some(("ada".to_owned(), Timestamp(4))));
    assert_eq!(all[0].acknowledged, None);
    assert_eq!(catalog.losses(Some(&name("a"))).unwrap(), all[..2]);
    assert_eq!(catalog.losses(Some(&name("c"))).unwrap(), []);
}

pub fn what_is_found_again_is_no_loss(catalog: &dyn Catalog) {
    let a = name("a");
    let recover = |(first, last): (u64, u64), (found_first, found_last): (u64, u64)| Mutation::RecoverLoss {
        collection: a.clone(),
        first: Sequence(first),
        last: Sequence(last),
        found_first: Sequence(found_first),
        found_last: Sequence(found_last),
    };
    catalog.apply(&[loss("a", 10, 29), loss("b", 10, 29)], Timestamp(3), "disk").unwrap();
    catalog.apply(&[loss("a", 40, 49), loss("a", 48, 49)], Timestamp(4), "later").unwrap();
    apply(catalog, &[acknowledge("a", 10, 29)]).unwrap();
    for wrong in [(10, 28), (11, 29), (1, 9)] {
        let what = refused(apply(catalog, &[recover(wrong, wrong)]));
        assert!(what.contains("no loss of exactly this range"), "{what}");
    }
    for wrong in [(9, 12), (12, 30), (15, 14), (0, 0)] {
        let what = refused(apply(catalog, &[recover((10, 29), wrong)]));
        assert!(what.contains("no part of the loss"), "{what}");
    }
    let shown = |text: &str| -> Vec<(u64, u64)> {
        catalog.losses(Some(&name(text))).unwrap().iter().map(|row| (row.first.get(), row.last.get())).collect()
    };
    // From the middle; both rests keep what was known of the whole.
    catalog.apply(&[recover((10, 29), (15, 20))], Timestamp(9), "back").unwrap();
    assert_eq!(shown("a"), [(10, 14), (21, 29), (40, 49), (48, 49)]);
    for row in &catalog.losses(Some(&a)).unwrap()[..2] {
        assert_eq!((row.reason.as_str(), row.found_at), ("disk", Timestamp(3)));
        assert_eq!(row.acknowledged, Some(("ada".to_owned(), Timestamp(42))));
    }
    // From an end, and whole, in one transaction that records the same range anew and takes it back.
    let group =
        [recover((10, 14), (10, 13)), recover((14, 14), (14, 14)), loss("a", 14, 14), recover((14, 14), (14, 14))];
    apply(catalog, &group).unwrap();
    apply(catalog, &[recover((21, 29), (29, 29)), loss("a", 21, 29)]).unwrap();
    assert_eq!(shown("a"), [(21, 28), (21, 29), (40, 49), (48, 49)]);
    // What remains is recorded already, by a row that stays as it is.
    let before = catalog.losses(Some(&a)).unwrap().remove(3);
    apply(catalog, &[recover((40, 49), (40, 47))]).unwrap();
    assert_eq!(catalog.losses(Some(&a)).unwrap().remove(2), before);
    apply(catalog, &[recover((21, 28), (21, 28)), recover((21, 29), (21, 29)), recover((48, 49), (48, 49))]).unwrap();
    assert_eq!(shown("a"), []);
    assert_eq!(shown("b"), [(10, 29)]);
    assert_eq!(catalog.sequence_max(&a).unwrap(), Sequence(49), "what was known once is never forgotten");
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
    // It may be lost again.
    apply(catalog, &[loss("a", 10, 29)]).unwrap();
    assert_eq!(shown("a"), [(10, 29)]);
}

pub fn cursors_only_advance(catalog: &dyn Catalog) {
    let at = |sink: &str, epoch, sequence| CursorRow {
        collection: name("a"),
        sink: sink.to_owned(),
        epoch: Epoch(epoch),
        sequence: Sequence(sequence),
    };
    let set = |cursor: &CursorRow| apply(catalog, &[Mutation::SetCursor(cursor.clone())]);
    set(&at("s", 2, 10)).unwrap();
    set(&at("s", 2, 10)).unwrap();
    let what = refused(set(&at("s", 2, 9)));
    assert!(what.contains("from=`10` in epoch `2`, to=`9` in epoch `2`"), "{what}");
    refused(set(&at("s", 3, 9)));
    refused(set(&at("s", 1, 11)));
    refused(set(&at("s", 1 << 63, 11)));
    refused(set(&at("s", 2, 1 << 63)));
    set(&at("s", 3, 12)).unwrap();
    set(&at("r", 1, 0)).unwrap();
    assert_eq!(catalog.cursors(&name("a")).unwrap(), [at("r", 1, 0), at("s", 3, 12)]);
    assert_eq!(catalog.cursors(&name("b")).unwrap(), []);
}

pub fn the_newest_assignment_wins(catalog: &dyn Catalog) {
    let assign = |component: &str, collection: &str, directory: &str, epoch| Mutation::Assign {
        component: component.to_owned(),
        collection: name(collection),
        directory: directory.to_owned(),
        epoch: Epoch(epoch),
        from: Sequence(7),
    };
    let group = [assign("wal", "b", "/1", 1), assign("wal", "a", "/2", 1), assign("index", "b", "/3", 1)];
    catalog.apply(&group, Timestamp(1), "").unwrap();
    catalog.apply(&[assign("wal", "b", "/4", 1)], Timestamp(2), "the same epoch").unwrap();
    catalog.apply(&[assign("wal", "b", "/5", 3)], Timestamp(3), "moved").unwrap();
    let what = refused(apply(catalog, &[assign("wal", "b", "/6", 2)]));
    assert!(what.contains("from=`/5` of epoch `3`") && what.contains("to=`/6` of epoch `2`"), "{what}");
    let newest = Assignment {
        component: "wal".to_owned(),
        collection: name("b"),
        directory: "/5".to_owned(),
        epoch: Epoch(3),
        from: Sequence(7),
        since: Timestamp(3),
    };
    assert_eq!(catalog.assignment("wal", &name("b")).unwrap(), Some(newest));
    // Components do not see each other's.
    assert_eq!(catalog.assignment("index", &name("b")).unwrap().unwrap().directory, "/3");
    assert_eq!(catalog.assignment("index", &name("a")).unwrap(), None);
    // The old ones are history.
    let history: Vec<_> = catalog.changes(ChangeNumber(0), 99).unwrap();
    let of_b = history.iter().filter(|change| change.subject == "b" && change.detail.contains("\"wal\"")).count();
    assert_eq!(of_b, 3);

    let shown = |component: Option<&str>, after: Option<(&str, &str)>, limit| -> Vec<String> {
        let collection = after.map(|(_, collection)| name(collection));
        let after = after.map(|(component, _)| component).zip(collection.as_ref());
        let rows = catalog.assignments(component, after, limit).unwrap();
        rows.iter().map(|row| format!("{}/{}", row.component, row.collection)).collect()
    };
    assert_eq!(shown(None, None, 9), ["index/b", "wal/a", "wal/b"]);
    assert_eq!(shown(None, Some(("index", "b")), 1), ["wal/a"]);
    assert_eq!(shown(None, Some(("j", "a")), 9), ["wal/a", "wal/b"]);
    assert_eq!(shown(Some("wal"), None, 9), ["wal/a", "wal/b"]);
    assert_eq!(shown(Some("wal"), Some(("wal", "a")), 9), ["wal/b"]);
    assert_eq!(shown(Some("wal"), Some(("index", "z")), 9), ["wal/a", "wal/b"]);
    assert_eq!(shown(Some("index"), Some(("wal", "a")), 9), [""; 0]);
    assert_eq!(shown(Some("storage"), None, 9), [""; 0]);
}

pub fn values_under_names(catalog: &dyn Catalog) {
    let set = |name: &str, value: &str| Mutation::SetMeta { name: name.to_owned(), value: value.to_owned() };
    apply(catalog, &[set("log", "1"), set("epoch", "1"), set("log", "")]).unwrap();
    assert_eq!(catalog.meta("log").unwrap().as_deref(), Some(""));
    assert_eq!(catalog.meta("epoch").unwrap().as_deref(), Some("1"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(catalog.values().unwrap(), [pair("epoch", "1"), pair("log", "")]);
    assert_eq!(catalog.meta("Log").unwrap(), None);
    assert_eq!(catalog.meta("").unwrap(), None);
}

pub fn names_fit_every_engine(catalog: &dyn Catalog) {
    let (longest, collection) = ("é".repeat(64), "x".repeat(255));
    let set = |name: &str| Mutation::SetMeta { name: name.to_owned(), value: "1".to_owned() };
    let assign = |component: &str| Mutation::Assign {
        component: component.to_owned(),
        collection: name(&collection),
        directory: "/1".to_owned(),
        epoch: Epoch(1),
        from: Sequence(1),
    };
    let cursor = |sink: &str| {
        let sink = sink.to_owned();
        Mutation::SetCursor(CursorRow { collection: name(&collection), sink, epoch: Epoch(1), sequence: Sequence(1) })
    };
    apply(catalog, &[set(&longest), assign(&longest), cursor(&longest), insert(&collection, 1, 9)]).unwrap();
    assert_eq!(catalog.meta(&longest).unwrap().as_deref(), Some("1"));
    assert!(catalog.assignment(&longest, &name(&collection)).unwrap().is_some());
    assert_eq!(catalog.cursors(&name(&collection)).unwrap().len(), 1);
    assert!(catalog.segment_holding(&name(&collection), Sequence(9)).unwrap().is_some());
    for bad in ["", "a\0b", &format!("{longest}.")] {
        for mutation in [set(bad), assign(bad), cursor(bad)] {
            assert!(refused(apply(catalog, &[mutation])).starts_with("no name of a "));
        }
        assert_eq!(catalog.meta(bad).unwrap(), None);
    }
}

pub fn the_maximum_sequence_counts_everything(catalog: &dyn Catalog) {
    let max = || catalog.sequence_max(&name("a")).unwrap().get();
    apply(catalog, &[insert("b", 1, 1000), put("a", "{}")]).unwrap();
    assert_eq!(max(), 0);
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        bring(catalog, row("a", place * 10, place * 10 + 5), status);
        assert_eq!(max(), place * 10 + 5, "{status}");
    }
    // A shorter range that begins later does not hide a longer one, nor does a later insert.
    let aside = |first, last, generation| {
        let key = key("a", first, last, generation);
        Mutation::InsertSegment(SegmentRow { key, status: SegmentStatus::Quarantined, ..row("a", first, last) })
    };
    apply(catalog, &[aside(1, 200, 0), aside(150, 160, 1), aside(2, 3, 0)]).unwrap();
    assert_eq!(max(), 200);
    apply(catalog, &[Mutation::RaiseSealedThrough { collection: name("a"), sequence: Sequence(210) }]).unwrap();
    assert_eq!(max(), 210);
    apply(catalog, &[Mutation::RaiseFloor { collection: name("a"), sequence: Sequence(221) }]).unwrap();
    assert_eq!(max(), 220, "the floor itself may still be to come");
    apply(catalog, &[loss("a", 225, 230)]).unwrap();
    assert_eq!(max(), 230);
    let cursor = CursorRow { collection: name("a"), sink: "s".to_owned(), epoch: Epoch(1), sequence: Sequence(240) };
    apply(catalog, &[Mutation::SetCursor(cursor)]).unwrap();
    assert_eq!(max(), 240);
    let assign = Mutation::Assign {
        component: "wal".to_owned(),
        collection: name("a"),
        directory: "/1".to_owned(),
        epoch: Epoch(1),
        from: Sequence(500),
    };
    apply(catalog, &[assign]).unwrap();
    assert_eq!(max(), 240, "an assignment says where the next goes, not that it exists");
}

pub fn numbers_up_to_63_bits_fit(catalog: &dyn Catalog) {
    const MAX: u64 = (1 << 63) - 1;
    let given = SegmentRow {
        key: crate::catalog::SegmentKey { generation: Generation(u32::MAX), ..key("a", 1, MAX, 0) },
        epoch: Epoch(MAX),
        bytes: MAX,
        records: MAX,
        ..row("a", 1, MAX)
    };
    let cursor = CursorRow { collection: name("a"), sink: "s".to_owned(), epoch: Epoch(MAX), sequence: Sequence(MAX) };
    let group = [
        Mutation::InsertSegment(given.clone()),
        Mutation::RaiseSealedThrough { collection: name("a"), sequence: Sequence(MAX) },
        Mutation::RaiseFloor { collection: name("a"), sequence: Sequence(MAX) },
        Mutation::SetCursor(cursor.clone()),
        loss("a", MAX, MAX),
    ];
    apply(catalog, &group).unwrap();
    let kept = SegmentRow { sealed_change: ChangeNumber(1), ..given };
    assert_eq!(catalog.segment(&kept.key).unwrap().as_ref(), Some(&kept));
    assert_eq!(catalog.segment_holding(&name("a"), Sequence(MAX)).unwrap().as_ref(), Some(&kept));
    assert_eq!(catalog.segments_from(&name("a"), Sequence(MAX), 1).unwrap(), std::slice::from_ref(&kept));
    assert_eq!(catalog.segments_back(&name("a"), Sequence(MAX), 1).unwrap(), [kept]);
    assert_eq!(catalog.cursors(&name("a")).unwrap(), [cursor]);
    assert_eq!(catalog.sequence_max(&name("a")).unwrap(), Sequence::MAX);
    assert_eq!(catalog.losses(None).unwrap().len(), 1);
    let change = catalog.changes(ChangeNumber(0), 1).unwrap().remove(0);
    assert!(matches!(change.mutation().unwrap(), Mutation::InsertSegment(row) if row.bytes == MAX));
}
