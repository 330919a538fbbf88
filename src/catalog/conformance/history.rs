//! Changes, atomicity, replay.

use super::{Answers, apply, bring, insert, key, name, refused, row, step};
use crate::catalog::model::CursorRow;
use crate::catalog::{Catalog, Change, Group, MemoryCatalog, Mutation, SegmentStatus};
use crate::types::{ChangeNumber, Epoch, Sequence, Timestamp};

pub fn an_empty_catalog_knows_nothing(catalog: &dyn Catalog) {
    let a = name("a");
    assert_eq!(catalog.change_number().unwrap(), ChangeNumber(0));
    assert_eq!(apply(catalog, &[]).unwrap(), ChangeNumber(0));
    assert_eq!(catalog.changes(ChangeNumber(0), 9).unwrap(), []);
    assert_eq!(catalog.segment(&key("a", 1, 2, 0)).unwrap(), None);
    assert_eq!(catalog.segment_holding(&a, Sequence(1)).unwrap(), None);
    assert_eq!(catalog.segments_from(&a, Sequence(0), 9).unwrap(), []);
    assert_eq!(catalog.segments_back(&a, Sequence::MAX, 9).unwrap(), []);
    assert_eq!(catalog.segments(None, None, 9).unwrap(), []);
    assert_eq!(catalog.segments_by_status(SegmentStatus::Sealed, None, 9).unwrap(), []);
    assert_eq!(catalog.segments_unflushed(None, 9).unwrap(), []);
    assert_eq!(catalog.segments_by_time(&a, Timestamp::MIN, Timestamp::MAX, Sequence(0), 9).unwrap(), []);
    assert_eq!(catalog.sequence_max(&a).unwrap(), Sequence(0));
    assert_eq!(catalog.collection(&a).unwrap(), None);
    assert_eq!(catalog.collections(None, 9).unwrap(), []);
    assert_eq!(catalog.assignment("wal", &a).unwrap(), None);
    assert_eq!(catalog.assignments(None, None, 9).unwrap(), []);
    assert_eq!(catalog.losses(None).unwrap(), []);
    assert_eq!(catalog.cursors(&a).unwrap(), []);
    assert_eq!(catalog.meta("log").unwrap(), None);
    assert_eq!(catalog.counts().unwrap(), SegmentStatus::ALL.map(|status| (status, 0)));
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
}

/// One mutation of each kind, each allowed after those before it.
pub fn one_of_each() -> Vec<Mutation> {
    let segment = row("a", 1, 10);
    let key = segment.key.clone();
    let collection = name("a");
    vec![
        Mutation::PutCollection { name: collection.clone(), settings: r#"{"sync":"always"}"#.to_owned() },
        Mutation::Assign {
            component: "wal".to_owned(),
            collection: collection.clone(),
            directory: "/disk-1".to_owned(),
            epoch: Epoch(1),
            from: Sequence(1),
        },
        Mutation::InsertSegment(segment),
        Mutation::RaiseSealedThrough { collection: collection.clone(), sequence: Sequence(10) },
        Mutation::SetFlushed(key.clone()),
        Mutation::Transition {
            key: key.clone(),
            from: SegmentStatus::Sealed,
            to: SegmentStatus::Archiving,
            archive_key: Some("a/1-10.avro".to_owned()),
        },
        Mutation::RelocateSegment { key, from: "/disk-1".to_owned(), to: "/disk-2".to_owned() },
        Mutation::RaiseFloor { collection: collection.clone(), sequence: Sequence(2) },
        Mutation::RecordLoss { collection: collection.clone(), first: Sequence(11), last: Sequence(12) },
        Mutation::AcknowledgeLoss {
            collection: collection.clone(),
            first: Sequence(11),
            last: Sequence(12),
            by: "ada".to_owned(),
        },
        Mutation::RecoverLoss {
            collection: collection.clone(),
            first: Sequence(11),
            last: Sequence(12),
            found_first: Sequence(11),
            found_last: Sequence(11),
        },
        Mutation::SetCursor(CursorRow {
            collection,
            sink: "parquet".to_owned(),
            epoch: Epoch(1),
            sequence: Sequence(10),
        }),
        Mutation::SetMeta { name: "epoch".to_owned(), value: "1".to_owned() },
    ]
}

pub fn changes_are_dense_and_say_when_and_why(catalog: &dyn Catalog) {
    let mutations = one_of_each();
    let (one, rest) = mutations.split_at(1);
    assert_eq!(catalog.apply(one, Timestamp(-5), "first seen").unwrap(), ChangeNumber(1));
    assert_eq!(catalog.apply(rest, Timestamp(7), "the rest").unwrap(), ChangeNumber(13));
    assert_eq!(catalog.apply(&[], Timestamp(8), "nothing").unwrap(), ChangeNumber(13));
    assert_eq!(catalog.change_number().unwrap(), ChangeNumber(13));

    let changes = catalog.changes(ChangeNumber(0), 100).unwrap();
    let numbers: Vec<_> = changes.iter().map(|change| change.number.get()).collect();
    assert_eq!(numbers, (1..=13).collect::<Vec<_>>());
    let kinds: Vec<_> = mutations.iter().map(Mutation::kind).collect();
    assert_eq!(changes.iter().map(|change| change.kind.as_str()).collect::<Vec<_>>(), kinds);
    assert_eq!(kinds.iter().collect::<std::collections::BTreeSet<_>>().len(), Mutation::KINDS.len());
    assert_eq!((changes[0].at, changes[0].reason.as_str()), (Timestamp(-5), "first seen"));
    assert_eq!((changes[12].at, changes[12].reason.as_str()), (Timestamp(7), "the rest"));
    assert_eq!((changes[0].subject.as_str(), changes[12].subject.as_str()), ("a", "epoch"));
    let Mutation::InsertSegment(inserted) = changes[2].mutation().unwrap() else { panic!("{:?}", changes[2]) };
    assert_eq!(inserted.sealed_change, ChangeNumber(3));
    assert_eq!(
        Some(inserted),
        catalog.segment(&key("a", 1, 10, 0)).unwrap().map(|row| crate::catalog::SegmentRow {
            status: SegmentStatus::Sealed,
            directory: "/disk-1".to_owned(),
            flushed_at: None,
            archive_key: None,
            ..row
        })
    );

    assert_eq!(catalog.changes(ChangeNumber(4), 2).unwrap(), changes[4..6]);
    assert_eq!(catalog.changes(ChangeNumber(13), 2).unwrap(), []);
    assert_eq!(catalog.changes(ChangeNumber(u64::MAX - 1), 2).unwrap(), []);
    assert_eq!(catalog.changes(ChangeNumber(0), 0).unwrap(), []);
}

pub fn a_refused_group_changes_nothing(catalog: &dyn Catalog) {
    apply(catalog, &one_of_each()).unwrap();
    let before = Answers::of(catalog);
    let archived = key("a", 1, 10, 0);
    let mut group = vec![
        insert("a", 20, 29),
        insert("b", 1, 5),
        step(&archived, SegmentStatus::Archiving, SegmentStatus::Archived),
        Mutation::SetMeta { name: "epoch".to_owned(), value: "2".to_owned() },
        Mutation::RecordLoss { collection: name("c"), first: Sequence(1), last: Sequence(1) },
        Mutation::RaiseFloor { collection: name("a"), sequence: Sequence(5) },
    ];
    group.push(step(&archived, SegmentStatus::Archiving, SegmentStatus::Sealed));
    let what = refused(apply(catalog, &group));
    assert!(what.contains("status=`archived`, from=`archiving`, to=`sealed`"), "{what}");
    assert_eq!(Answers::of(catalog), before);
    // The same without the last one is taken, and sees its own rows.
    group.pop();
    assert_eq!(apply(catalog, &group).unwrap(), ChangeNumber(19));
}

pub fn groups_are_one_transaction_and_keep_their_own_time_and_reason(catalog: &dyn Catalog) {
    let mutations = one_of_each();
    let (first, rest) = mutations.split_at(3);
    let group = |mutations, at, reason| Group { mutations, at: Timestamp(at), reason };
    let groups = [group(first, -5, "first seen"), group(&[], 0, "nothing"), group(rest, 7, "the rest")];
    assert_eq!(catalog.apply_groups(&groups).unwrap(), ChangeNumber(13));
    let said = |change: &Change| (change.number.get(), change.at.micros(), change.reason.clone());
    let wanted = |number| if number <= 3 { (number, -5, "first seen") } else { (number, 7, "the rest") };
    let changes = catalog.changes(ChangeNumber(0), 100).unwrap();
    for (change, number) in changes.iter().zip(1..=13) {
        let (number, at, reason) = wanted(number);
        assert_eq!(said(change), (number, at, reason.to_owned()));
    }
    // Each group in a transaction of its own makes the same rows.
    let one_by_one = MemoryCatalog::new();
    for Group { mutations, at, reason } in groups {
        one_by_one.apply(mutations, at, reason).unwrap();
    }
    assert_eq!(Answers::of(catalog), Answers::of(&one_by_one));

    // A refusal in the last group undoes the first: counts, rows and numbers.
    let before = Answers::of(catalog);
    let good = [insert("b", 1, 5)];
    let bad = [step(&key("b", 1, 5, 0), SegmentStatus::Archived, SegmentStatus::Evicted)];
    refused(catalog.apply_groups(&[group(&good, 8, "good"), group(&bad, 9, "bad")]));
    assert_eq!(Answers::of(catalog), before);
    assert_eq!(catalog.apply_groups(&[]).unwrap(), ChangeNumber(13));
    assert_eq!(catalog.apply_groups(&[group(&[], 1, "")]).unwrap(), ChangeNumber(13));
}

pub fn history_replayed_gives_the_same_catalog(catalog: &dyn Catalog) {
    apply(catalog, &one_of_each()).unwrap();
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        bring(catalog, row("b", place * 100, place * 100 + 9), status);
    }
    let copy = MemoryCatalog::new();
    for change in catalog.changes(ChangeNumber(0), usize::MAX).unwrap() {
        let Change { at, reason, number, .. } = &change;
        assert_eq!(copy.apply(&[change.mutation().unwrap()], *at, reason).unwrap(), *number);
    }
    assert_eq!(Answers::of(&copy), Answers::of(catalog));
}
