//! Deleting: what goes, what stays, and who may go on meanwhile.

use super::*;
use crate::catalog::{Catalog as _, CatalogError, Mutation, SegmentStatus};
use crate::fs::simulated::{Errno, Failure, Fault, OperationKind};
use crate::{CollectionSettings, ErrorKind, ReadOptions, Sequence, SyncMode};

/// A collection with two segments, something in a cold journal and something in a hot one; and a neighbour.
fn filled(log: &Log) -> u64 {
    for _ in 0..2 {
        for _ in 0..3 {
            append(log, "c", 1000);
        }
        log.seal(Some(&name("c"))).unwrap();
    }
    append(log, "c", 100);
    append(log, "neighbour", 100);
    let collection = log.0.collection(&name("c")).unwrap();
    assert_eq!(log.0.cool(0, &[collection]).unwrap(), 1);
    append(log, "c", 100)
}

fn statuses(machine: &Machine) -> Vec<SegmentStatus> {
    machine.catalog.segments(Some(&name("c")), None, 99).unwrap().iter().map(|row| row.status).collect()
}

#[test]
fn everything_goes_but_the_history_and_the_next_sequence() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    let plan = log.plan_deletion(&name("c")).unwrap();
    assert_eq!((plan.records, plan.segments, plan.next_sequence.0), (last, 2, last + 1));
    assert_eq!((plan.first_sequence, plan.last_sequence), (Some(Sequence(1)), Some(Sequence(last))));
    assert_eq!(log.delete_collection(&name("c")).unwrap(), plan);
    assert_eq!(machine.files_of("c"), [format!("{:020}-{last:020}.0.stub.avro", 1)]);
    assert_eq!(statuses(&machine), [SegmentStatus::Purged; 2]);
    let names =
        |infos: Vec<crate::CollectionInfo>| infos.iter().map(|info| info.collection.to_string()).collect::<Vec<_>>();
    assert_eq!(names(log.collections().unwrap()), ["neighbour"]);
    assert_eq!(names(log.deleted_collections().unwrap()), ["c"]);
    assert_eq!(log.status().unwrap().collections, 1);
    for error in [
        log.read(&name("c"), ReadOptions::default()).unwrap_err(),
        log.get(&name("c"), b"key", Timestamp(0)).unwrap_err(),
        log.collection_info(&name("c")).unwrap_err(),
        log.seal(Some(&name("c"))).unwrap_err(),
        log.delete_collection(&name("c")).unwrap_err(),
        log.collection_settings(&name("c")).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().starts_with("the collection was deleted: collection=`c`, deleted=`"), "{error}");
    }
    // Nothing of it holds a journal.
    assert!(log.journals().unwrap().iter().all(|journal| !journal.kept_by.contains(&name("c"))));
    assert!(log.verify(crate::VerifyOptions { deep: true }).unwrap().ok);
    assert_eq!(append(&log, "c", 1), last + 1);
    assert_eq!((sequences(&log, "c"), sequences(&log, "neighbour")), (vec![last + 1], vec![1]));
}

#[test]
fn it_stays_deleted_and_comes_back_with_the_next_sequence() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    let settings = CollectionSettings { sync: Some(SyncMode::Always), ..CollectionSettings::default() };
    log.set_collection_settings(&name("c"), |own| own.clone_from(&settings)).unwrap();
    log.delete_collection(&name("c")).unwrap();
    for machine in [machine.after_kill(), machine.after_power_cut()] {
        let log = machine.open_whole();
        assert_eq!(log.collection_info(&name("c")).unwrap_err().kind(), ErrorKind::NotFound);
        log.seal(None).unwrap();
        assert_eq!(machine.files_of("c").len(), 1, "only the stub");
        log.create_collection(&name("c"), &settings).unwrap();
        let info = log.collection_info(&name("c")).unwrap();
        assert_eq!((info.written.0, info.records, info.deleted), (last, 0, None));
        assert_eq!(append(&log, "c", 1), last + 1);
    }
    // By an append it comes back without the settings that it had, and the catalog learns of it.
    let again = machine.after_kill();
    let log = again.open_whole();
    assert_eq!(append(&log, "c", 1), last + 1);
    log.maintain().unwrap();
    let row = again.catalog.collection(&name("c")).unwrap().unwrap();
    assert_eq!((row.settings.as_str(), row.floor.0), ("{}", last + 1));
    // Killed before the catalog learnt of it: its record tells.
    let again = machine.after_kill();
    let killed = again.open_whole();
    append(&killed, "c", 1);
    let again = again.after_kill();
    assert_ne!(again.catalog.collection(&name("c")).unwrap().unwrap().settings, "{}");
    let log = again.open_whole();
    assert_eq!(sequences(&log, "c"), [last + 1]);
    log.maintain().unwrap();
    assert_eq!(again.catalog.collection(&name("c")).unwrap().unwrap().settings, "{}");
}

#[test]
fn deleted_again_and_again_its_sequences_never_restart() {
    let machine = Machine::new();
    let log = machine.open();
    for round in 1..=4 {
        assert_eq!(append(&log, "c", 10), round);
        if round % 2 == 0 {
            log.seal(None).unwrap();
        }
        log.delete_collection(&name("c")).unwrap();
        assert_eq!(machine.files_of("c"), [format!("{:020}-{round:020}.0.stub.avro", 1)], "one stub, the newest");
    }
    log.create_collection(&name("c"), &CollectionSettings::default()).unwrap();
    log.delete_collection(&name("c")).unwrap();
    assert_eq!(append(&log, "c", 1), 5);
}

/// The floor is lost with the catalog; the stub is not.
#[test]
fn the_end_outlives_the_catalog() {
    for long in ["c".to_owned(), "Ü".repeat(120)] {
        let machine = Machine::new();
        let log = machine.open();
        let sealed = append(&log, &long, 10);
        log.seal(None).unwrap();
        let last = append(&log, &long, 10);
        assert_eq!((sealed, last), (1, 2));
        log.delete_collection(&name(&long)).unwrap();
        // So that no journal tells of it either.
        for _ in 0..4 {
            append(&log, "other", 40 << 10);
        }
        log.seal(None).unwrap();
        log.close().unwrap();
        let log = machine.without_catalog().open();
        assert_eq!(append(&log, &long, 1), last + 1, "{}", long.len());
        assert_eq!(sequences(&log, &long), [last + 1]);
    }
}

#[test]
fn what_never_had_a_record_leaves_nothing() {
    let machine = Machine::new();
    let log = machine.open();
    log.create_collection(&name("c"), &CollectionSettings::default()).unwrap();
    let deletion = log.delete_collection(&name("c")).unwrap();
    assert_eq!((deletion.records, deletion.first_sequence, deletion.next_sequence.0), (0, None, 1));
    assert!(machine.fs.files().iter().all(|(path, ..)| path != Path::new("/data/c")));
    let log = machine.after_kill().open_whole();
    assert_eq!((log.collections().unwrap().len(), log.deleted_collections().unwrap().len()), (0, 1));
    assert_eq!(append(&log, "c", 1), 1);
}

/// Room that recovery leaves for what may be lost behind the end is no record.
#[test]
fn a_loss_behind_the_floor_makes_nothing_live() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    log.delete_collection(&name("c")).unwrap();
    log.close().unwrap();
    let (first, end) = (Sequence(last + 1), Sequence(last + 9));
    let loss = Mutation::RecordLoss { collection: name("c"), first, last: end };
    machine.catalog.apply(&[loss], Timestamp(1), "test").unwrap();
    let log = machine.open();
    assert_eq!(log.collection_info(&name("c")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(append(&log, "c", 1), last + 10);
    assert_eq!(sequences(&log, "c"), [last + 10]);
}

#[test]
fn archived_copies_wait_for_the_archive_to_be_rid_of_them() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    let row = machine.catalog.segments(Some(&name("c")), None, 1).unwrap().remove(0);
    let step = |from, to| {
        let archive_key = Some("somewhere".to_owned());
        let transition = Mutation::Transition { key: row.key.clone(), from, to, archive_key };
        machine.catalog.apply(&[transition], Timestamp(1), "test").unwrap();
    };
    step(SegmentStatus::Sealed, SegmentStatus::Archiving);
    let before = machine.catalog.change_number().unwrap();
    for error in [log.plan_deletion(&name("c")).unwrap_err(), log.delete_collection(&name("c")).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("segment=`c/1-3.0`"), "{error}");
    }
    assert_eq!(machine.catalog.change_number().unwrap(), before);
    assert_eq!(sequences(&log, "c").len() as u64, last);
    step(SegmentStatus::Archiving, SegmentStatus::Archived);
    log.delete_collection(&name("c")).unwrap();
    let check = |log: &Log| {
        let rows = machine.catalog.segments(Some(&name("c")), None, 9).unwrap();
        assert_eq!(rows[0].status, SegmentStatus::Purging);
        assert!(rows[1..].iter().all(|row| row.status == SegmentStatus::Purged), "{rows:?}");
        assert_eq!(machine.files_of("c"), [format!("{:020}-{last:020}.0.stub.avro", 1)]);
        assert_eq!(log.collection_info(&name("c")).unwrap_err().kind(), ErrorKind::NotFound);
    };
    check(&log);
    log.close().unwrap();
    check(&machine.open());
}

#[test]
fn what_is_held_is_not_deleted() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    let hold = crate::log::LegalHold {
        name: "case 7".into(),
        by: "legal".into(),
        at: Timestamp(9),
        from: None,
        until: None,
        note: "they asked".into(),
    };
    log.set_hold(&name("c"), hold.clone()).unwrap();
    for error in [log.plan_deletion(&name("c")).unwrap_err(), log.delete_collection(&name("c")).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("hold=`case 7`, by=`legal`"), "{error}");
    }
    log.set_collection_settings(&name("c"), |settings| settings.set("seal.age", "1h").unwrap()).unwrap();
    assert_eq!(log.holds(None).unwrap(), [(name("c"), hold.clone())], "other settings leave it alone");
    assert_eq!(log.clear_hold(&name("c"), "case 8", "me").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(log.clear_hold(&name("c"), "case 7", "judge").unwrap(), hold);
    let newest = machine.catalog.change_number().unwrap();
    let told = machine.catalog.changes(crate::types::ChangeNumber(newest.0 - 1), 1).unwrap().remove(0);
    assert_eq!((told.reason.as_str(), told.kind.as_str()), ("hold `case 7` cleared by judge", "collection.put"));
    assert_eq!(sequences(&log, "c").len() as u64, last);
    log.delete_collection(&name("c")).unwrap();
}

/// Its losses are nobody's business any more, and what was set aside stays evidence.
#[test]
fn losses_and_quarantined_rows_go_with_it() {
    let machine = Machine::new();
    let log = machine.open();
    filled(&log);
    log.close().unwrap();
    let path = Path::new("/data/c").join(machine.files_of("c").remove(0));
    machine.fs.flip(&path, 2000, 0xff).unwrap();
    use crate::fs::FileSystem as _;
    machine.fs.remove_file(&path).unwrap();
    let log = machine.open();
    assert_eq!(statuses(&machine), [SegmentStatus::Quarantined, SegmentStatus::Sealed]);
    assert_eq!(log.status().unwrap().losses.len(), 1);
    log.delete_collection(&name("c")).unwrap();
    assert_eq!(statuses(&machine), [SegmentStatus::Purged; 2]);
    assert_eq!(log.status().unwrap().losses.len(), 0);
    assert!(log.verify(crate::VerifyOptions::default()).unwrap().ok);
}

#[test]
fn a_commit_that_fails_changes_nothing_and_one_with_an_unknown_outcome_looks() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    machine.catalog.fail_next(CatalogError::Full { path: "memory".into() });
    assert_eq!(log.delete_collection(&name("c")).unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(sequences(&log, "c").len() as u64, last);
    assert_eq!(append(&log, "c", 1), last + 1);
    machine.catalog.fail_next_but_keep(CatalogError::OutcomeUnknown { path: "memory".into(), source: "x".into() });
    log.delete_collection(&name("c")).unwrap();
    assert_eq!(machine.files_of("c").len(), 1);
    assert_eq!(append(&log, "c", 1), last + 2);
}

/// A batch that takes its place and is written later.
fn queue(log: &Log) -> super::super::super::append::Queued {
    use super::super::super::append::Waits;
    log.0.enqueue(&name("c"), &[put("queued")], Default::default(), Waits::Passively).unwrap()
}

/// What was queued below the cut comes out of the journal behind the deletion: it leaves no trace.
#[test]
fn what_waits_in_the_queue_goes_too() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 10);
    let queued = queue(&log);
    assert_eq!(log.delete_collection(&name("c")).unwrap().next_sequence.0, 3);
    queued.journal.drain();
    queued.journal.wait_passively(&queued.ticket).unwrap();
    assert_eq!(log.0.budget.used(), (0, 0), "what it cost is given back");
    assert!(log.journals().unwrap().iter().all(|journal| journal.live_runs == 0));
    assert_eq!(log.collection_info(&name("c")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((append(&log, "c", 1), sequences(&log, "c")), (3, vec![3]));
    log.seal(None).unwrap();
    assert_eq!(sequences(&machine.after_kill().open_whole(), "c"), [3]);
}

/// A batch below the cut fails behind the deletion: its sequence is below the floor, and not given to the next append.
#[test]
fn a_batch_that_fails_behind_the_deletion_lowers_nothing() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 10);
    let queued = queue(&log);
    log.delete_collection(&name("c")).unwrap();
    machine.fs.fail(Fault::once(machine.fs.changes(), Failure::Error(Errno::Eio)));
    queued.journal.drain();
    queued.journal.wait_passively(&queued.ticket).unwrap_err();
    let next = log.0.collections().get(&name("c")).unwrap().state().next;
    assert_eq!(next.0, 3);
}

/// Appends that take their places while the deletion commits: they stay, acknowledged at once or later, and the collection lives.
#[test]
fn what_comes_while_the_deletion_commits_stays() {
    for waits in [false, true] {
        let machine = Machine::new();
        let log = machine.open();
        let last = filled(&log);
        let (also, waiting) = (log.clone(), Arc::new(Mutex::new(None)));
        let queued = Arc::clone(&waiting);
        machine.catalog.observe(move |_| {
            let mut queued = queued.lock().unwrap();
            if queued.is_none() {
                *queued = Some(queue(&also));
                if !waits {
                    queued.as_ref().unwrap().journal.drain();
                }
            }
        });
        assert_eq!(log.delete_collection(&name("c")).unwrap().next_sequence.0, last + 1);
        machine.catalog.observe(|_| {});
        let queued = waiting.lock().unwrap().take().unwrap();
        queued.journal.drain();
        queued.journal.wait_passively(&queued.ticket).unwrap();
        assert_eq!(sequences(&log, "c"), [last + 1]);
        assert_eq!(machine.files_of("c").len(), 1);
        assert_eq!(sequences(&machine.after_power_cut().open_whole(), "c"), [last + 1]);
    }
}

/// A seal made the file and could not tell the catalog: the next opening would have adopted it.
#[test]
fn a_segment_without_a_row_goes_too_and_a_strangers_file_does_not() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 100);
    log.maintain().unwrap();
    machine.catalog.fail_next(CatalogError::Full { path: "memory".into() });
    log.seal(None).unwrap_err();
    assert_eq!((machine.files_of("c").len(), statuses(&machine).len()), (1, 0));
    use crate::fs::FileSystem as _;
    let strange = Path::new("/data/c/00000000000000000001-00000000000000000001.7.avro");
    machine.fs.open(strange, crate::fs::OpenMode::CreateNew).unwrap().write_all_at(b"foreign", 0).unwrap();
    log.delete_collection(&name("c")).unwrap();
    let (stranger, stub) = (strange.file_name().unwrap().to_str().unwrap(), format!("{0:020}-{0:020}.0.stub.avro", 1));
    assert_eq!(machine.files_of("c"), [stub.as_str(), stranger]);
}

#[test]
fn a_segment_without_a_row_never_comes_back_whenever_the_deletion_is_interrupted() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, "c", 100);
    log.maintain().unwrap();
    machine.catalog.fail_next(CatalogError::Full { path: "memory".into() });
    log.seal(None).unwrap_err();
    let mut deleted = 0;
    for image in machine.at_every_step(|| drop(log.delete_collection(&name("c")).unwrap())) {
        let log = image.open_whole();
        if log.collection_info(&name("c")).is_err() {
            deleted += 1;
            assert_eq!(statuses(&image), []);
            assert_eq!(image.files_of("c"), [format!("{0:020}-{0:020}.0.stub.avro", 1)]);
        }
    }
    assert!(deleted > 4, "{deleted}");
}

/// Whatever operation on files fails: it is deleted or as it was, and the next opening finishes it.
#[test]
fn a_disk_that_fails_in_between_leaves_it_deleted_and_the_next_opening_finishes() {
    let mut unfinished = 0;
    for at in 0.. {
        let machine = Machine::new();
        let log = machine.open();
        let last = filled(&log);
        let first = machine.fs.changes();
        machine.fs.fail(Fault::once(first + at, Failure::Error(Errno::Enospc)));
        let outcome = log.delete_collection(&name("c"));
        let is_over = machine.fs.changes() <= first + at;
        machine.fs.heal();
        unfinished += u64::from(outcome.is_err());
        assert_eq!(log.collection_info(&name("c")).unwrap_err().kind(), ErrorKind::NotFound, "{at}: {outcome:?}");
        assert_eq!(append(&log, "c", 1), last + 1);
        drop(log);
        let log = machine.open_whole();
        assert_eq!(sequences(&log, "c"), [last + 1]);
        assert_eq!(statuses(&machine), [SegmentStatus::Purged; 2], "{at}");
        assert!(machine.files_of("c").iter().all(|file| file.ends_with(".stub.avro")), "{:?}", machine.files_of("c"));
        if is_over {
            break;
        }
    }
    assert!(unfinished > 3, "{unfinished}");
}

/// Without the stub, the journals alone would tell of the end where the catalog is lost.
#[test]
fn journals_that_tell_of_the_end_stay_until_there_is_a_stub() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    let making = |operation: &Operation| {
        operation.kind == OperationKind::Create && operation.path.to_string_lossy().contains("deleted-")
    };
    let seen = Arc::new(Mutex::new(None));
    let found = Arc::clone(&seen);
    // The same deletion on a copy tells which operation makes the stub.
    let copy = machine.after_kill();
    let log_of_copy = copy.open();
    let first = copy.fs.changes();
    copy.fs.observe(Arc::new(move |operation: &Operation, _: &SimulatedFileSystem| {
        if making(operation) {
            *found.lock().unwrap() = Some(operation.index);
        }
    }));
    log_of_copy.delete_collection(&name("c")).unwrap();
    let after = seen.lock().unwrap().unwrap() - first;
    machine.fs.fail(Fault::once(machine.fs.changes() + after, Failure::Error(Errno::Enospc)));
    log.delete_collection(&name("c")).unwrap_err();
    for _ in 0..6 {
        append(&log, "other", 40 << 10);
    }
    log.seal(None).unwrap();
    log.maintain().unwrap();
    let next = machine.without_catalog().open();
    assert!(append(&next, "c", 1) > last);
}

/// A reader that follows passes over what went, and goes on with what comes back.
#[test]
fn readers_that_are_open_pass_over_what_went() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    let mut tail = log.read(&name("c"), ReadOptions::follow()).unwrap();
    assert_eq!(tail.try_next().unwrap().unwrap().sequence.0, 1);
    let mut whole = log.read(&name("c"), ReadOptions { from: Some(Sequence(last - 1)), ..Default::default() }).unwrap();
    log.delete_collection(&name("c")).unwrap();
    assert!(whole.try_next().unwrap().is_none());
    append(&log, "c", 1);
    let mut found = Vec::new();
    while let Some(record) = tail.try_next().unwrap() {
        found.push(record.sequence.0);
    }
    // The block that it was reading may still give its records.
    assert_eq!(found.last(), Some(&(last + 1)));
    assert!(found.iter().all(|at| *at <= 3 || *at == last + 1), "{found:?}");
}

/// Another process that reads learns of it without opening again.
#[test]
fn a_reader_beside_the_writer_learns_of_it() {
    let machine = Machine::new();
    let log = machine.open();
    let last = filled(&log);
    log.maintain().unwrap();
    let reader = Log::open_read_only(machine.options()).unwrap();
    assert_eq!(reader.read(&name("c"), ReadOptions::default()).unwrap().count() as u64, last);
    log.delete_collection(&name("c")).unwrap();
    assert_eq!(reader.read(&name("c"), ReadOptions::default()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(reader.collections().unwrap().len(), 1);
    append(&log, "c", 1);
    let found: Vec<_> = reader.read(&name("c"), ReadOptions::default()).unwrap().map(|found| found.unwrap()).collect();
    assert_eq!(found.iter().map(|record| record.sequence.0).collect::<Vec<_>>(), [last + 1]);
}

/// Every append goes as a whole or stays as a whole; what began after the deletion returned stays; none is there twice.
#[test]
fn appends_beside_a_deletion_go_or_stay_as_a_whole() {
    let place = tempfile::tempdir().unwrap();
    let mut options = LogOptions::new([place.path().join("data")]);
    options.limits.segment_bytes = 64 << 10;
    options.limits.journal_bytes = 1 << 20;
    let log = Log::open(options.clone()).unwrap();
    let mut first_kept = 0;
    for round in 0..8 {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (cut, acknowledged) = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut mine = Vec::new();
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                            let batch = [put(vec![1; 500]), put(vec![2; 500])];
                            let receipt = log.append_batch(&name("c"), &batch, Default::default()).unwrap();
                            mine.push(receipt.first.0);
                        }
                        mine
                    })
                })
                .collect();
            while log.collection_info(&name("c")).map_or(0, |info| info.written.0) < first_kept + 200 {
                std::thread::yield_now();
            }
            let cut = log.delete_collection(&name("c")).unwrap().next_sequence.0;
            let behind = log.append(&name("c"), put("behind")).unwrap().first.0;
            assert!(behind >= cut, "round {round}: {behind} {cut}");
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let mut all: Vec<u64> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
            all.sort_unstable();
            let mut sequences: Vec<u64> = all.into_iter().flat_map(|first| [first, first + 1]).collect();
            sequences.push(behind);
            sequences.sort_unstable();
            (cut, sequences)
        });
        assert!(acknowledged.windows(2).all(|pair| pair[0] < pair[1]), "no sequence twice");
        let kept: Vec<u64> = acknowledged.into_iter().filter(|at| *at >= cut).collect();
        assert_eq!(sequences(&log, "c"), kept, "round {round}");
        first_kept = *kept.last().unwrap();
    }
    let expected = sequences(&log, "c");
    log.close().unwrap();
    let log = Log::open(options).unwrap();
    assert_eq!(log.recovery().losses, []);
    assert_eq!(sequences(&log, "c"), expected);
    assert!(log.verify(crate::VerifyOptions { deep: true }).unwrap().ok);
}
