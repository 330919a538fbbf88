//! Holes and damage: named, never passed over without a word, never served.
#![allow(clippy::disallowed_methods)] // tests damage files behind the log's back

use super::*;
use crate::catalog::{Catalog, Mutation};

fn segment_paths(log: &Log) -> Vec<std::path::PathBuf> {
    let rows = log.catalog().segments(None, None, 100).unwrap();
    rows.iter().map(|row| log.0.path_of(row).unwrap()).collect()
}

fn three_segments(log: &Log) {
    for part in 0..3 {
        append(log, &name("a"), part * 100 + 1..=part * 100 + 100);
        log.seal(None).unwrap();
    }
    append(log, &name("a"), 301..=310);
}

/// What a reader gives, errors as their texts.
fn outcome(log: &Log, options: ReadOptions) -> (Vec<u64>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for record in log.read(&name("a"), options).unwrap() {
        match record {
            Ok(record) => good.push(record.sequence.0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                bad.push(error.to_string());
            }
        }
    }
    (good, bad)
}

#[test]
fn a_missing_segment_is_named_and_the_rest_is_given() {
    let place = Place::new();
    let log = place.open();
    three_segments(&log);
    let path = segment_paths(&log).remove(1);
    std::fs::remove_file(&path).unwrap();
    for reverse in [false, true] {
        let (mut good, bad) = outcome(&log, ReadOptions { reverse, ..ReadOptions::default() });
        good.sort_unstable();
        assert_eq!(good, (1..=100).chain(201..=310).collect::<Vec<_>>());
        assert_eq!(bad.len(), 1);
        let words = ["collection=`a`", "first_sequence=`101`", "last_sequence=`200`", &path.display().to_string()];
        assert!(words.iter().all(|word| bad[0].contains(word)), "{}", bad[0]);
    }
}

#[test]
fn a_damaged_block_costs_its_own_sequences_only() {
    let place = Place::new();
    let log = place.open();
    three_segments(&log);
    let path = segment_paths(&log).remove(1);
    let entry = {
        let file = log.0.fs.open(&path, crate::fs::OpenMode::Read).unwrap();
        SegmentReader::open(file).unwrap().footer().blocks[2]
    };
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[entry.offset as usize + 30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for reverse in [false, true] {
        let (mut good, bad) = outcome(&log, ReadOptions { reverse, ..ReadOptions::default() });
        good.sort_unstable();
        let (first, last) = (entry.held.first, entry.held.last);
        assert_eq!(good, (1..first.0).chain(last.0 + 1..=310).collect::<Vec<_>>());
        assert!(bad[0].contains(&format!("first_sequence=`{first}`, last_sequence=`{last}`")), "{bad:?}");
        assert_eq!(bad.len(), 1);
    }
    let beside = ReadOptions { until: Some(Sequence(100)), ..ReadOptions::default() };
    assert_eq!(outcome(&log, beside).1, Vec::<String>::new());
}

#[test]
fn a_hole_is_an_error_until_it_is_on_record() {
    let place = Place::new();
    let log = place.open();
    three_segments(&log);
    let rows = log.catalog().segments(None, None, 100).unwrap();
    let quarantine = Mutation::Transition {
        key: rows[1].key.clone(),
        from: crate::catalog::SegmentStatus::Sealed,
        to: crate::catalog::SegmentStatus::Quarantined,
        archive_key: None,
    };
    place.catalog.apply(&[quarantine], Timestamp(0), "test").unwrap();
    let (good, bad) = outcome(&log, ReadOptions::default());
    assert_eq!((good.len(), bad.len()), (210, 1));
    assert!(bad[0].contains("first_sequence=`101`, last_sequence=`200`"), "{}", bad[0]);
    let loss = |first, last| Mutation::RecordLoss { collection: name("a"), first, last };
    place.catalog.apply(&[loss(Sequence(101), Sequence(150))], Timestamp(0), "test").unwrap();
    assert!(outcome(&log, ReadOptions::default()).1[0].contains("first_sequence=`151`, last_sequence=`200`"));
    let (_, bad) = outcome(&log, ReadOptions { reverse: true, ..ReadOptions::default() });
    assert!(bad[0].contains("first_sequence=`151`, last_sequence=`200`"), "{bad:?}");
    place.catalog.apply(&[loss(Sequence(151), Sequence(200))], Timestamp(0), "test").unwrap();
    let acknowledge =
        Mutation::AcknowledgeLoss { collection: name("a"), first: Sequence(101), last: Sequence(150), by: "me".into() };
    place.catalog.apply(&[acknowledge], Timestamp(0), "test").unwrap();
    for reverse in [false, true] {
        let mut reader = log.read(&name("a"), ReadOptions { reverse, ..ReadOptions::default() }).unwrap();
        assert_eq!(reader.by_ref().map(Result::unwrap).count(), 210);
        let mut skipped = reader.skipped().to_vec();
        skipped.sort_by_key(|skipped| skipped.first);
        let expected = [(101, 150, SkipReason::Gap), (151, 200, SkipReason::Loss)]
            .map(|(first, last, reason)| Skipped { first: Sequence(first), last: Sequence(last), reason });
        assert_eq!(skipped, expected);
    }
}

/// The records are in memory no more after a reopening: a flipped byte in the journal must be told.
#[test]
fn a_damaged_journal_is_told_by_path_and_sequences() {
    let place = Place::new();
    let log = place.open();
    append(&log, &name("a"), 1..=9);
    log.close().unwrap();
    let log = place.open();
    let (path, offset) = {
        let known = log.0.collection(&name("a")).unwrap();
        let state = known.state();
        let run = state.unsealed.at_or_after(Sequence(4)).unwrap();
        assert_eq!(run.memory_bytes(), 0);
        (run.file.path.clone(), run.offset + 20)
    };
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[offset as usize] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for reverse in [false, true] {
        let (mut good, bad) = outcome(&log, ReadOptions { reverse, ..ReadOptions::default() });
        good.sort_unstable();
        assert_eq!(good, [1, 2, 3, 5, 6, 7, 8, 9]);
        let words = ["first_sequence=`4`", "last_sequence=`4`", &path.display().to_string()];
        assert!(bad.len() == 1 && words.iter().all(|word| bad[0].contains(word)), "{bad:?}");
    }
    assert_eq!(log.get(&name("a"), b"key-9", Timestamp(0)).unwrap().unwrap().sequence, Sequence(9));
    assert_eq!(log.get(&name("a"), b"key-1", Timestamp(0)).unwrap_err().kind(), ErrorKind::Corrupt);
}
