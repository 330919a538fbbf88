//! What must stay as it is, and by what.

use super::*;
use crate::catalog::{CursorRow, Mutation};
use crate::fs::FileSystem as _;
use crate::log::LegalHold;
use crate::types::Epoch;

fn reasons(report: &CompactReport) -> Vec<String> {
    report.collections.iter().flat_map(|of| &of.left_alone).map(|left| left.reason.clone()).collect()
}

#[test]
fn what_a_journal_still_has_stays() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"]]);
    let report = compact(&log);
    assert_eq!(reasons(&report), ["a journal still has it: from sequence=`1`"]);
    assert_eq!(report.collections[0].left_alone[0].segments, 2);
    let log = reopened(&world, log);
    segments(&log, "a", &[&["c"]]);
    assert_eq!(reasons(&compact(&log)), ["a journal still has it: from sequence=`3`"]);
    assert_eq!(live(&world, "a"), [(1, 2, 1), (3, 3, 0)]);
    check(&log);
}

#[test]
fn a_hold_and_a_sink_that_is_behind_keep_their_segments() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"], &["c"], &["d"]]);
    let log = reopened(&world, log);
    let hold = LegalHold {
        name: "case".into(),
        by: "court".into(),
        at: Timestamp(0),
        from: Some(Sequence(2)),
        until: Some(Sequence(2)),
        note: String::new(),
    };
    log.set_hold(&name("a"), hold).unwrap();
    let cursor = CursorRow { collection: name("a"), sink: "store".into(), epoch: Epoch(1), sequence: Sequence(3) };
    log.change(&[Mutation::SetCursor(cursor.clone())], "test").unwrap();
    let told = reasons(&compact(&log));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("hold=`case`") && told[1].contains("sink=`store`, cursor=`3`"), "{told:?}");
    assert_eq!(live(&world, "a").len(), 4);
    log.clear_hold(&name("a"), "case", "court").unwrap();
    compact(&log);
    assert_eq!(live(&world, "a"), [(1, 3, 1), (4, 4, 0)]);
    log.change(&[Mutation::SetCursor(CursorRow { sequence: Sequence(4), ..cursor })], "test").unwrap();
    segments(&log, "a", &[&["e"]]);
    let log = reopened(&world, log);
    assert_eq!(live(&world, "a").len(), 3);
    check(&log);
}

#[test]
fn a_flushed_collection_is_flushed_behind_it() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"]]);
    let flushed: Vec<Mutation> = world.rows("a").into_iter().map(|row| Mutation::SetFlushed(row.key)).collect();
    log.change(&flushed, "test").unwrap();
    let log = reopened(&world, log);
    compact(&log);
    assert_eq!(live(&world, "a"), [(1, 2, 1)]);
    assert!(log.catalog().segments_unflushed(None, 10).unwrap().is_empty());
}

/// Who reads a segment reads on; its file goes behind it.
#[test]
fn what_somebody_reads_is_replaced_and_goes_later() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a", "b"], &["c"]]);
    let log = reopened(&world, log);
    let mut reader = log.read(&name("a"), ReadOptions::default()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().sequence.0, 1);
    let report = compact(&log);
    assert_eq!(report.left.len(), 1);
    assert_eq!(report.left[0].reason, "somebody reads it: readers=`1`");
    assert_eq!(world.files_of("a").len(), 2);
    check(&log);
    assert_eq!(reader.map(|record| record.unwrap().sequence.0).collect::<Vec<_>>(), [2, 3]);
    assert!(compact(&log).left.is_empty());
    assert_eq!(world.files_of("a").len(), 1);
    // Where nobody compacts again, opening does it.
    segments(&log, "a", &[&["d"]]);
    let log = reopened(&world, log);
    let mut reader = log.read(&name("a"), ReadOptions::default()).unwrap();
    reader.next();
    set(&log, "a", &[("compact.ttl", "1s")]);
    world.clock.advance(std::time::Duration::from_secs(5));
    assert!(!compact(&log).left.is_empty());
    drop(reader);
    let log = reopened(&world, log);
    assert_eq!(world.files_of("a").len(), 1);
    check(&log);
}

#[test]
fn a_damaged_segment_is_left_to_verify_and_its_neighbours_are_not() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"], &["c"], &["d"], &["e"]]);
    let log = reopened(&world, log);
    let row = world.rows("a").remove(2);
    let footer = crate::segment::SegmentReader::open(log.segment_file(&row).unwrap()).unwrap().footer().clone();
    world.fs.flip(&world.path(&row), footer.blocks[0].offset + 8, 1).unwrap();
    let report = compact(&log);
    assert!(reasons(&report)[0].starts_with("it cannot be read: "), "{report:?}");
    assert_eq!(live(&world, "a"), [(1, 2, 1), (3, 3, 0), (4, 5, 1)]);
    world.fs.remove_file(&world.path(&row)).unwrap();
    assert!(reasons(&compact(&log))[0].starts_with("it cannot be read: "));
}

/// A tombstone hides what a lost or a quarantined segment may have held: it may come back.
#[test]
fn a_tombstone_stays_where_something_older_is_missing() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["-a"], &["b"]]);
    set(&log, "a", &[("compact.keep_versions", "1"), ("compact.tombstone_grace", "1s")]);
    log.close().unwrap();
    drop(log);
    world.fs.remove_file(&world.path(&world.rows("a")[0])).unwrap();
    let log = world.open();
    assert_eq!(world.statuses("a")[0], SegmentStatus::Quarantined);
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(compact(&log).removed().total(), 0);
    assert_eq!(live(&world, "a"), [(2, 3, 1)]);
}

#[test]
fn a_segment_of_a_setting_that_is_not_understood_stays() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"]]);
    let settings = r#"{"compact.of_a_newer_program":1}"#.to_owned();
    log.change(&[Mutation::PutCollection { name: name("a"), settings }], "test").unwrap();
    let log = reopened(&world, log);
    assert!(reasons(&compact(&log))[0].contains("key=`compact.of_a_newer_program`"));
    assert_eq!(live(&world, "a").len(), 2);
}

/// A run may last for hours: what the archiver took meanwhile is looked at when a result is put in force.
#[test]
fn what_is_taken_by_the_archiver_meanwhile_stays() {
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"]]);
    let log = reopened(&world, log);
    let row = world.rows("a").remove(1);
    let value = serde_json::json!([{ "segment": row.key }]).to_string();
    let mut told = 0;
    let report = log.compact(&CompactOptions::default(), &mut |_| {
        told += 1;
        if told == 1 {
            log.change(&[Mutation::SetMeta { name: ATTEMPTS.into(), value: value.clone() }], "test").unwrap();
        }
        true
    });
    let failed = report.unwrap().collections[0].failed.clone().unwrap();
    assert!(failed.starts_with("it is being archived"), "{failed}");
    assert_eq!(live(&world, "a"), [(1, 1, 0), (2, 2, 0)]);
    assert_eq!(world.files_of("a").len(), 2);
    check(&log);
}

/// Who closes the log gives it to somebody else: no file comes or goes behind that.
#[test]
fn a_compaction_that_is_overtaken_by_closing_touches_nothing() {
    use crate::fs::SimulatedFileSystem;
    use crate::fs::simulated::{Operation, OperationKind};
    let world = World::new();
    let log = world.open();
    segments(&log, "a", &[&["a"], &["b"]]);
    let log = reopened(&world, log);
    let state = Arc::new(Mutex::new((false, false, Vec::new())));
    let (seen, other) = (Arc::clone(&state), log.clone());
    world.fs.observe(Arc::new(move |operation: &Operation, _: &SimulatedFileSystem| {
        let is_result =
            operation.path.to_string_lossy().contains("compact-") && operation.kind != OperationKind::Create;
        if is_result && !std::mem::replace(&mut seen.lock().unwrap().0, true) {
            other.close().unwrap();
            seen.lock().unwrap().1 = true;
        }
        let mut seen = seen.lock().unwrap();
        // What is written to the file in staging goes with it.
        if seen.1
            && matches!(operation.kind, OperationKind::RenameNew | OperationKind::RemoveFile | OperationKind::Replace)
        {
            seen.2.push(format!("{operation:?}"));
        }
    }));
    let _ = log.compact(&CompactOptions::default(), &mut always);
    world.fs.observe_no_more();
    let (_, was_closed, behind) = std::mem::take(&mut *state.lock().unwrap());
    assert!(was_closed);
    assert_eq!(behind, [""; 0]);
    assert_eq!(live(&world, "a"), [(1, 1, 0), (2, 2, 0)]);
}
