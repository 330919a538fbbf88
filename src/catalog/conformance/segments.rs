//! Segments: rows, statuses, and every look-up of them.

use super::{apply, bring, insert, key, keys, name, refused, row, step};
use crate::catalog::state::{INSERTABLE, check_transition};
use crate::catalog::{Catalog, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::types::{ChangeNumber, Epoch, Sequence, Timestamp};

pub fn a_segment_is_kept_as_given(catalog: &dyn Catalog) {
    let given = SegmentRow {
        status: SegmentStatus::Evicted,
        flushed_at: Some(Timestamp(-1)),
        archive_key: Some("ä/1.avro".to_owned()),
        directory: "s3://bucket/prefix".to_owned(),
        timestamp_min: Timestamp::MIN,
        timestamp_max: Timestamp::MAX,
        ..row("Größe/🦀", 5, 9)
    };
    apply(catalog, &[insert("other", 1, 1), Mutation::InsertSegment(given.clone())]).unwrap();
    let kept = SegmentRow { sealed_change: ChangeNumber(2), ..given };
    assert_eq!(catalog.segment(&kept.key).unwrap().as_ref(), Some(&kept));
    assert_eq!(catalog.segment_holding(&kept.key.collection, Sequence(7)).unwrap(), Some(kept));
    assert_eq!(catalog.segment(&key("Größe/🦀", 5, 9, 1)).unwrap(), None);
    assert_eq!(catalog.segment(&key("Größe/🦀", 5, 8, 0)).unwrap(), None);
    assert_eq!(catalog.segment(&key("größe/🦀", 5, 9, 0)).unwrap(), None);
}

pub fn an_equal_row_is_refused(catalog: &dyn Catalog) {
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        let row = row("a", place * 10, place * 10);
        bring(catalog, row.clone(), status);
        let what = refused(apply(catalog, &[Mutation::InsertSegment(row)]));
        assert!(what.contains(&format!("from=`{status}`, to=`sealed`")), "{what}");
    }
}

pub fn what_no_segment_can_be_is_refused(catalog: &dyn Catalog) {
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        let given = SegmentRow { status, ..row("a", place * 10, place * 10) };
        let key = given.key.clone();
        let result = apply(catalog, &[Mutation::InsertSegment(given)]);
        if INSERTABLE.contains(&status) {
            result.unwrap();
        } else {
            let what = refused(result);
            assert!(what.contains(&format!("from=`absent`, to=`{status}`")), "{what}");
        }
        assert_eq!(catalog.segment(&key).unwrap().is_some(), INSERTABLE.contains(&status));
    }
    let bad = [
        SegmentRow { key: key("a", 0, 3, 0), ..row("a", 1, 3) },
        SegmentRow { key: key("a", 4, 3, 0), ..row("a", 1, 3) },
        SegmentRow { key: key("a", 1, 1 << 63, 0), ..row("a", 1, 3) },
        SegmentRow { records: 4, ..row("a", 1, 3) },
        SegmentRow { bytes: 1 << 63, ..row("a", 1, 3) },
        SegmentRow { epoch: Epoch(1 << 63), ..row("a", 1, 3) },
        SegmentRow { timestamp_min: Timestamp(9), ..row("a", 1, 3) },
    ];
    for given in bad {
        refused(apply(catalog, &[Mutation::InsertSegment(given)]));
    }
}

pub fn every_pair_of_statuses_by_real_rows(catalog: &dyn Catalog) {
    let mut place = 0;
    for from in SegmentStatus::ALL {
        for to in SegmentStatus::ALL {
            place += 10;
            let key = bring(catalog, row("a", place, place + 9), from);
            let result = apply(catalog, &[step(&key, from, to)]);
            let now = catalog.segment(&key).unwrap().unwrap().status;
            if check_transition(from, to).is_ok() {
                result.unwrap();
                assert_eq!(now, to);
            } else {
                let what = refused(result);
                assert!(what.contains(&format!("from=`{from}`, to=`{to}`")), "{what}");
                assert_eq!(now, from);
            }
        }
    }
    // What the row has decides, not what the caller believes.
    let key = bring(catalog, row("b", 1, 2), SegmentStatus::Archived);
    let what = refused(apply(catalog, &[step(&key, SegmentStatus::Sealed, SegmentStatus::Archiving)]));
    assert!(what.contains("status=`archived`, from=`sealed`, to=`archiving`"), "{what}");
    let what =
        refused(apply(catalog, &[step(&super::key("b", 1, 3, 0), SegmentStatus::Sealed, SegmentStatus::Archiving)]));
    assert!(what.contains("from=`absent`, to=`archiving`"), "{what}");
    let what = refused(apply(catalog, &[Mutation::SetFlushed(super::key("b", 1, 3, 0))]));
    assert!(what.contains("from=`absent`, to=`flushed`"), "{what}");
}

pub fn live_segments_never_overlap(catalog: &dyn Catalog) {
    apply(catalog, &[insert("a", 10, 19), insert("a", 30, 39), insert("b", 20, 29)]).unwrap();
    for (first, last) in [(10, 10), (19, 19), (1, 10), (19, 25), (1, 100), (29, 30), (39, 50), (12, 14)] {
        let what = refused(apply(catalog, &[insert("a", first, last)]));
        assert!(what.contains("overlap"), "{what}");
    }
    // Within one group, too.
    refused(apply(catalog, &[insert("c", 1, 5), insert("c", 5, 6)]));
    apply(catalog, &[insert("a", 1, 9), insert("a", 20, 29), insert("a", 40, 40)]).unwrap();
    // Another generation may, and so may what is set aside; but that does not come back while its place is taken.
    let next = SegmentRow { key: key("a", 10, 29, 1), ..row("a", 10, 29) };
    let aside = SegmentRow { status: SegmentStatus::Quarantined, ..row("a", 15, 16) };
    let aside_key = aside.key.clone();
    apply(catalog, &[Mutation::InsertSegment(next), Mutation::InsertSegment(aside)]).unwrap();
    let back = step(&aside_key, SegmentStatus::Quarantined, SegmentStatus::Sealed);
    let what = refused(apply(catalog, std::slice::from_ref(&back)));
    assert!(what.contains("overlap") && what.contains("a/10-19.0"), "{what}");
    apply(catalog, &[step(&key("a", 10, 19, 0), SegmentStatus::Sealed, SegmentStatus::Replaced), back]).unwrap();
}

pub fn look_ups_by_sequence(catalog: &dyn Catalog) {
    let a = name("a");
    let wide = [insert("a", 1, 9), insert("a", 10, 19), insert("a", 25, 29), insert("b", 1, 99)];
    apply(catalog, &wide).unwrap();
    bring(catalog, row("a", 30, 39), SegmentStatus::Evicted);
    bring(catalog, row("a", 40, 49), SegmentStatus::Purged);
    bring(catalog, row("a", 50, 59), SegmentStatus::Quarantined);
    let holding = |at| catalog.segment_holding(&a, Sequence(at)).unwrap().map(|row| row.key.first.get());
    assert_eq!(
        [0, 1, 9, 10, 19, 20, 24, 25, 29, 30, 39].map(holding),
        [None, Some(1), Some(1), Some(10), Some(10), None, None, Some(25), Some(25), Some(30), Some(30)]
    );
    assert_eq!([40, 49, 55, 1000, Sequence::MAX.get(), u64::MAX].map(holding), [None; 6]);

    let from = |at, limit| keys(&catalog.segments_from(&a, Sequence(at), limit).unwrap());
    assert_eq!(from(0, 10), ["a/1-9.0", "a/10-19.0", "a/25-29.0", "a/30-39.0"]);
    assert_eq!(from(9, 2), ["a/1-9.0", "a/10-19.0"]);
    assert_eq!(from(20, 1), ["a/25-29.0"]);
    assert_eq!(from(39, 9), ["a/30-39.0"]);
    assert_eq!(from(40, 9), [""; 0]);
    assert_eq!(from(1, 0), [""; 0]);
    let mut next = Sequence(0);
    let mut paged = Vec::new();
    while let Some(row) = catalog.segments_from(&a, next, 1).unwrap().pop() {
        next = row.key.last.next();
        paged.push(row.key.first.get());
    }
    assert_eq!(paged, [1, 10, 25, 30]);

    let back = |at, limit| keys(&catalog.segments_back(&a, Sequence(at), limit).unwrap());
    assert_eq!(back(u64::MAX, 10), ["a/30-39.0", "a/25-29.0", "a/10-19.0", "a/1-9.0"]);
    assert_eq!(back(30, 1), ["a/30-39.0"]);
    assert_eq!(back(29, 2), ["a/25-29.0", "a/10-19.0"]);
    assert_eq!(back(24, 2), ["a/10-19.0", "a/1-9.0"]);
    assert_eq!(back(1, 9), ["a/1-9.0"]);
    assert_eq!(back(0, 9), [""; 0]);
    assert_eq!(back(99, 0), [""; 0]);
}

pub fn generations_side_by_side(catalog: &dyn Catalog) {
    let a = name("a");
    let merged = SegmentRow { key: key("a", 1, 29, 2), records: 3, ..row("a", 1, 29) };
    apply(catalog, &[insert("a", 1, 9), insert("a", 10, 19), insert("a", 20, 29), insert("a", 30, 39)]).unwrap();
    apply(catalog, &[Mutation::InsertSegment(merged)]).unwrap();
    let holding = |at| catalog.segment_holding(&a, Sequence(at)).unwrap().unwrap().key.to_string();
    assert_eq!([1, 15, 29, 30].map(holding), ["a/1-29.2", "a/1-29.2", "a/1-29.2", "a/30-39.0"]);
    let from = keys(&catalog.segments_from(&a, Sequence(10), 9).unwrap());
    assert_eq!(from, ["a/10-19.0", "a/1-29.2", "a/20-29.0", "a/30-39.0"]);
    assert_eq!(keys(&catalog.segments_from(&a, Sequence(20), 1).unwrap()), ["a/1-29.2"]);
    let back = keys(&catalog.segments_back(&a, Sequence(15), 9).unwrap());
    assert_eq!(back, ["a/10-19.0", "a/1-29.2", "a/1-9.0"]);
    let replaced = [(1, 9), (10, 19), (20, 29)]
        .map(|(first, last)| step(&key("a", first, last, 0), SegmentStatus::Sealed, SegmentStatus::Replaced));
    apply(catalog, &replaced).unwrap();
    assert_eq!(keys(&catalog.segments_from(&a, Sequence(5), 9).unwrap()), ["a/1-29.2", "a/30-39.0"]);
    let by_time = catalog.segments_by_time(&a, Timestamp(5), Timestamp(35), Sequence(0), 9).unwrap();
    assert_eq!(keys(&by_time), ["a/1-29.2", "a/30-39.0"]);
}

pub fn keys_in_order_of_names(catalog: &dyn Catalog) {
    // Names come in another order than they sort, and one is the beginning of another.
    let given = [insert("b", 5, 6), insert("c", 1, 1), insert("a", 7, 9), insert("ab", 1, 9), insert("b", 1, 4)];
    apply(catalog, &given).unwrap();
    bring(catalog, row("a", 1, 6), SegmentStatus::Purged);
    let again = SegmentRow { key: key("a", 7, 9, 1), ..row("a", 7, 9) };
    apply(catalog, &[Mutation::InsertSegment(again)]).unwrap();
    let all = ["a/1-6.0", "a/7-9.0", "a/7-9.1", "ab/1-9.0", "b/1-4.0", "b/5-6.0", "c/1-1.0"];
    assert_eq!(keys(&catalog.segments(None, None, 99).unwrap()), all);
    for page in 1..4 {
        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let rows = catalog.segments(None, after.as_ref(), page).unwrap();
            assert!(rows.len() <= page);
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            paged.extend(keys(&rows));
        }
        assert_eq!(paged, all);
    }
    let of =
        |name: &str, after: Option<&SegmentKey>| keys(&catalog.segments(Some(&super::name(name)), after, 9).unwrap());
    assert_eq!(of("b", None), ["b/1-4.0", "b/5-6.0"]);
    assert_eq!(of("b", Some(&key("b", 1, 4, 0))), ["b/5-6.0"]);
    assert_eq!(of("b", Some(&key("a", 9, 9, 9))), ["b/1-4.0", "b/5-6.0"]);
    assert_eq!(of("b", Some(&key("c", 1, 1, 0))), [""; 0]);
    // A page may begin after a key that no row has.
    assert_eq!(keys(&catalog.segments(None, Some(&key("aa", 5, 5, 0)), 2).unwrap()), ["ab/1-9.0", "b/1-4.0"]);
}

/// An earlier attempt forgot the status here, and archived the oldest segment for ever.
pub fn next_to_archive_ignores_other_statuses(catalog: &dyn Catalog) {
    let next = || catalog.segments_by_status(SegmentStatus::Sealed, None, 1).unwrap().pop().map(|row| row.key);
    // Sealed in another order than their sequences: the oldest sealed comes first.
    apply(catalog, &[insert("b", 50, 59), insert("a", 10, 19), insert("b", 1, 9), insert("a", 1, 9)]).unwrap();
    let mut archived = Vec::new();
    while let Some(key) = next() {
        let status = |from, to| step(&key, from, to);
        use SegmentStatus::{Archived, Archiving, Sealed};
        apply(catalog, &[status(Sealed, Archiving)]).unwrap();
        assert_ne!(next().as_ref(), Some(&key), "it is being archived already");
        apply(catalog, &[status(Archiving, Archived)]).unwrap();
        archived.push(key);
        assert!(archived.len() <= 4, "the same again: {archived:?}");
    }
    assert_eq!(archived, [key("b", 50, 59, 0), key("a", 10, 19, 0), key("b", 1, 9, 0), key("a", 1, 9, 0)]);
    let by = |after, limit| keys(&catalog.segments_by_status(SegmentStatus::Archived, after, limit).unwrap());
    assert_eq!(by(None, 9), ["b/50-59.0", "a/10-19.0", "b/1-9.0", "a/1-9.0"]);
    assert_eq!(by(Some(&archived[1]), 1), ["b/1-9.0"]);
    // A page goes on after a row that has another status by now.
    apply(catalog, &[step(&archived[2], SegmentStatus::Archived, SegmentStatus::Evicted)]).unwrap();
    assert_eq!(by(Some(&archived[2]), 9), ["a/1-9.0"]);
    assert_eq!(by(None, 9), ["b/50-59.0", "a/10-19.0", "a/1-9.0"]);
    // A row put back waits at its old place.
    apply(catalog, &[step(&archived[0], SegmentStatus::Archived, SegmentStatus::Sealed)]).unwrap();
    assert_eq!(next().as_ref(), Some(&archived[0]));
    assert!(catalog.segments_by_status(SegmentStatus::Archived, Some(&key("z", 1, 1, 0)), 9).is_err());
}

pub fn not_flushed_is_a_question_of_live_rows(catalog: &dyn Catalog) {
    let mut all = Vec::new();
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        all.push(bring(catalog, row("a", place * 10, place * 10 + 9), status));
    }
    let not_flushed = |after| keys(&catalog.segments_unflushed(after, 9).unwrap());
    assert_eq!(not_flushed(None), ["a/10-19.0", "a/20-29.0", "a/30-39.0", "a/40-49.0"]);
    assert_eq!(not_flushed(Some(&all[1])), ["a/30-39.0", "a/40-49.0"]);
    assert_eq!(catalog.segments_unflushed(None, 2).unwrap().len(), 2);
    catalog.apply(&[Mutation::SetFlushed(all[1].clone())], Timestamp(77), "flush").unwrap();
    catalog.apply(&[Mutation::SetFlushed(all[1].clone())], Timestamp(78), "flush").unwrap();
    let flushed = catalog.segment(&all[1]).unwrap().unwrap();
    assert_eq!((flushed.flushed_at, flushed.status), (Some(Timestamp(77)), SegmentStatus::Archiving));
    assert_eq!(not_flushed(None), ["a/10-19.0", "a/30-39.0", "a/40-49.0"]);
    assert_eq!(not_flushed(Some(&all[1])), ["a/30-39.0", "a/40-49.0"]);
    // Flushed stays flushed while the status moves on.
    apply(catalog, &[step(&all[1], SegmentStatus::Archiving, SegmentStatus::Archived)]).unwrap();
    assert_eq!(catalog.segment(&all[1]).unwrap().unwrap().flushed_at, Some(Timestamp(77)));
}

pub fn look_ups_by_time(catalog: &dyn Catalog) {
    let a = name("a");
    // Times run backwards, one segment spans everything, and there are more than a look-up reads in order.
    let mut rows = Vec::new();
    for place in 1..=60_u64 {
        let at = Timestamp(i64::try_from((60 - place) * 100).unwrap());
        let row = SegmentRow {
            timestamp_min: at,
            timestamp_max: Timestamp(at.0 + 50),
            ..row("a", place * 10, place * 10 + 9)
        };
        rows.push(row);
    }
    rows[30].timestamp_min = Timestamp(-1_000_000_000);
    rows[30].timestamp_max = Timestamp(1_000_000_000);
    rows[59].timestamp_min = Timestamp::MIN;
    let mutations: Vec<_> = rows.iter().cloned().map(Mutation::InsertSegment).collect();
    apply(catalog, &mutations).unwrap();
    apply(catalog, &[step(&rows[58].key, SegmentStatus::Sealed, SegmentStatus::Quarantined)]).unwrap();
    let times = [i64::MIN, -2_000_000_000, -5, 0, 1, 50, 51, 99, 100, 150, 2999, 3050, 5900, 5950, 5951, i64::MAX];
    for from in times {
        for until in times {
            for (from_sequence, limit) in [(0, 1), (0, 3), (0, 100), (305, 2), (599, 2), (700, 9), (0, 0), (0, 5000)] {
                let expected: Vec<_> = rows
                    .iter()
                    .filter(|row| row.key != rows[58].key && row.key.last.get() >= from_sequence)
                    .filter(|row| row.timestamp_min.0 <= until && row.timestamp_max.0 >= from)
                    .take(limit)
                    .map(|row| row.key.to_string())
                    .collect();
                let found = catalog
                    .segments_by_time(&a, Timestamp(from), Timestamp(until), Sequence(from_sequence), limit)
                    .unwrap();
                assert_eq!(keys(&found), expected, "{from}..={until} from {from_sequence}, limit {limit}");
            }
        }
    }
}

pub fn counts_follow_transitions(catalog: &dyn Catalog) {
    let count = |of| catalog.counts().unwrap().into_iter().find(|(status, _)| *status == of).unwrap().1;
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        bring(catalog, row("a", place * 10, place * 10), status);
        assert_eq!(count(status), 1, "{status}");
    }
    apply(catalog, &[step(&key("a", 10, 10, 0), SegmentStatus::Sealed, SegmentStatus::Quarantined)]).unwrap();
    assert_eq!((count(SegmentStatus::Sealed), count(SegmentStatus::Quarantined)), (0, 2));
    assert_eq!(catalog.counts().unwrap().into_iter().map(|(_, count)| count).sum::<u64>(), 8);
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
}

pub fn archive_keys_come_and_go(catalog: &dyn Catalog) {
    use SegmentStatus::{Archived, Archiving, Evicted, Sealed};
    let key = bring(catalog, row("a", 1, 9), Archiving);
    let archive_key = || catalog.segment(&key).unwrap().unwrap().archive_key;
    let with_key = Mutation::Transition {
        key: key.clone(),
        from: Archiving,
        to: Archived,
        archive_key: Some("a/1.avro".to_owned()),
    };
    apply(catalog, &[with_key]).unwrap();
    assert_eq!(archive_key().as_deref(), Some("a/1.avro"));
    apply(catalog, &[step(&key, Archived, Evicted)]).unwrap();
    assert_eq!(archive_key().as_deref(), Some("a/1.avro"));
    apply(catalog, &[step(&key, Evicted, Archived), step(&key, Archived, Sealed)]).unwrap();
    assert_eq!(archive_key(), None);
}

pub fn a_relocated_segment_has_another_directory(catalog: &dyn Catalog) {
    let relocate = |key: &SegmentKey, from: &str, to: &str| Mutation::RelocateSegment {
        key: key.clone(),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    for (place, status) in (1..).zip(SegmentStatus::ALL) {
        let key = bring(catalog, row("a", place * 10, place * 10 + 5), status);
        let before = catalog.segment(&key).unwrap().unwrap();
        let what = refused(apply(catalog, &[relocate(&key, "/disk-3", "/disk-2")]));
        assert!(what.contains("directory=`/disk-1`, from=`/disk-3`, to=`/disk-2`"), "{what}");
        refused(apply(catalog, &[relocate(&key, "/disk-1", "/disk-1")]));
        let result = apply(catalog, &[relocate(&key, "/disk-1", "/disk-2")]);
        if status.is_local() || status == SegmentStatus::Quarantined {
            result.unwrap();
            let after = SegmentRow { directory: "/disk-2".to_owned(), ..before };
            assert_eq!(catalog.segment(&key).unwrap(), Some(after));
            refused(apply(catalog, &[relocate(&key, "/disk-1", "/disk-2")]));
        } else {
            let what = refused(result);
            assert!(what.contains(&format!("status=`{status}`")), "{what}");
            assert_eq!(catalog.segment(&key).unwrap(), Some(before));
        }
    }
    let absent = super::key("a", 1, 2, 0);
    let what = refused(apply(catalog, &[relocate(&absent, "/disk-1", "/disk-2")]));
    assert!(what.contains("from=`absent`"), "{what}");
    // Every question still finds it, and the rest of its life goes on.
    let sealed = catalog.segments_by_status(SegmentStatus::Sealed, None, 9).unwrap();
    assert_eq!(sealed.iter().map(|row| row.directory.as_str()).collect::<Vec<_>>(), ["/disk-2"]);
    assert_eq!(catalog.segment_holding(&name("a"), Sequence(12)).unwrap().unwrap(), sealed[0]);
    apply(catalog, &[step(&sealed[0].key, SegmentStatus::Sealed, SegmentStatus::Archiving)]).unwrap();
    assert_eq!(catalog.segment(&sealed[0].key).unwrap().unwrap().directory, "/disk-2");
    assert_eq!(catalog.check().unwrap(), Vec::<String>::new());
}
