//! What the public interface cannot show: directories in every state, and the counts themselves.

use std::sync::Arc;

use super::*;
use crate::catalog::MemoryCatalog;
use crate::fs::simulated::SimulatedFileSystem;
use crate::log::LogOptions;
use crate::types::NewRecord;

const DIRECTORIES: [&str; 4] = ["/disk-1", "/disk-2", "/disk-3", "/disk-4"];

fn options() -> LogOptions {
    let mut options = LogOptions::new(DIRECTORIES);
    options.fs = Arc::new(SimulatedFileSystem::new());
    options.catalog = Some(Arc::new(MemoryCatalog::new()));
    options.background = false;
    options.limits.journal_bytes = 64 << 10;
    options.limits.segment_bytes = 32 << 10;
    options.limits.memtable_bytes = 1 << 20;
    options.limits.unsealed_bytes = 1 << 20;
    options
}

fn name(number: usize) -> CollectionName {
    CollectionName::new(&format!("c{number}")).unwrap()
}

/// Makes collections by their first append, and tells which directory each got.
fn append(log: &Log, numbers: std::ops::Range<usize>) -> Vec<usize> {
    let append = |number| {
        log.append(&name(number), NewRecord::payload("x")).unwrap();
        log.0.collection(&name(number)).unwrap().directory()
    };
    numbers.map(append).collect()
}

fn set(log: &Log, directory: usize, state: DirectoryState) {
    *log.0.directories[directory].state.lock().unwrap() = state;
}

fn counts(log: &Log) -> [u64; 4] {
    [0, 1, 2, 3].map(|index| log.0.placement.collections(index))
}

#[test]
fn only_healthy_directories_get_new_collections() {
    let log = Log::open(options()).unwrap();
    set(&log, 0, DirectoryState::Drained);
    set(&log, 2, DirectoryState::Failed("no medium".into()));
    assert_eq!(append(&log, 0..5), [1, 3, 1, 3, 1]);
    assert_eq!(log.assign("storage", &name(0)).unwrap().directory, log.0.directories[1].id);
    set(&log, 0, DirectoryState::Healthy);
    assert_eq!(append(&log, 5..8), [0, 0, 0], "what is back catches up");
    assert_eq!(counts(&log), [3, 3, 0, 2]);
    assert_eq!(log.0.choose_directory(&name(9), &[3]), Some(0));
    assert_eq!(log.0.choose_directory(&name(9), &[0, 1]), Some(3));
    assert_eq!(log.0.choose_directory(&name(9), &[0, 1, 3]), None);
}

#[test]
fn without_a_healthy_directory_the_error_names_each() {
    let log = Log::open(options()).unwrap();
    append(&log, 0..1);
    set(&log, 0, DirectoryState::Failed("input/output error".into()));
    set(&log, 1, DirectoryState::Missing("an empty mount point".into()));
    set(&log, 2, DirectoryState::Drained);
    set(&log, 3, DirectoryState::Drained);
    let error = log.append(&name(1), NewRecord::payload("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "no directory takes a new collection: collection=`c1`, directory=`/disk-1` is failed (input/output error), \
         directory=`/disk-2` is missing (an empty mount point), directory=`/disk-3` is drained, \
         directory=`/disk-4` is drained"
    );
    assert_eq!(log.assign("wal", &name(1)).unwrap_err().to_string(), error.to_string());
    assert_eq!(log.assign("index", &name(0)).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(log.assignment("index", &name(0)).unwrap(), None);
    // Nothing was made: neither a collection nor a count.
    assert!(log.0.collection(&name(1)).is_err());
    assert_eq!(counts(&log), [1, 0, 0, 0]);
    let statistics = log.directories_statistics().unwrap();
    let states: Vec<_> = statistics.iter().map(|each| (each.state, each.reason.as_deref())).collect();
    assert_eq!(
        states,
        [
            ("failed", Some("input/output error")),
            ("missing", Some("an empty mount point")),
            ("drained", None),
            ("drained", None)
        ]
    );
}

#[test]
fn moves_count() {
    let log = Log::open(options()).unwrap();
    append(&log, 0..8);
    log.0.placement.moved(0, 3, SegmentsAt::Here);
    log.0.placement.moved(0, 3, SegmentsAt::Here);
    assert_eq!(counts(&log), [0, 2, 2, 4]);
    assert_eq!(append(&log, 8..12), [0, 0, 0, 1]);
}

#[test]
fn a_collection_that_cannot_be_made_has_no_assignment() {
    let log = Log::open(LogOptions { auto_create: false, ..options() }).unwrap();
    for component in ["wal", "storage"] {
        assert_eq!(log.assign(component, &name(1)).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(log.assignment(component, &name(1)).unwrap(), None);
    }
    assert_eq!(log.catalog().collections(None, 9).unwrap(), []);
    let log = Log::open(options()).unwrap();
    for bad in ["", "a\0b", &"x".repeat(129)] {
        assert_eq!(log.assign(bad, &name(1)).unwrap_err().kind(), ErrorKind::Conflict);
    }
}

/// What a mover or an operator wrote into the catalog counts at the next choice, and is what the history tells.
#[test]
fn assignments_made_elsewhere_are_followed() {
    let log = Log::open(options()).unwrap();
    let ids: Vec<String> = log.directories().into_iter().map(|(id, _)| id).collect();
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(log.assign("index", &name(number)).unwrap().directory, *id);
    }
    let assign = |number, directory: &str| Mutation::Assign {
        component: "index".to_owned(),
        collection: name(number),
        directory: directory.to_owned(),
        epoch: log.epoch(),
        from: Sequence(7),
    };
    // The first gets rid of its only one, twice told; one goes to a directory that is none of the log's.
    log.catalog().apply(&[assign(0, &ids[1]), assign(0, &ids[1])], Timestamp(77), "by hand").unwrap();
    log.catalog().apply(&[assign(3, "s3://bucket")], Timestamp(78), "by hand").unwrap();
    let next: Vec<String> = (4..8).map(|number| log.assign("index", &name(number)).unwrap().directory).collect();
    assert_eq!(next, [&*ids[0], &*ids[3], &*ids[0], &*ids[2]]);
    assert_eq!(log.assign("index", &name(0)).unwrap().directory, ids[1], "it stands");

    let history = log.assignment_history(Some("index"), &name(0)).unwrap();
    let told: Vec<_> = history.iter().map(|each| (&*each.directory, each.from.get(), &*each.reason)).collect();
    assert_eq!(told, [(&*ids[0], 1, "assigned"), (&*ids[1], 7, "by hand"), (&*ids[1], 7, "by hand")]);
    assert_eq!(history[1].since, Timestamp(77));
    assert!(history.windows(2).all(|pair| pair[0].change < pair[1].change));
    let all = log.assignment_history(None, &name(0)).unwrap();
    let owners: Vec<_> = all.iter().map(|each| &*each.component).collect();
    assert_eq!(owners, ["wal", "index", "index", "index"]);
    assert_eq!(log.assignment_history(Some("storage"), &name(0)).unwrap(), []);
}

#[test]
fn a_deleted_collection_keeps_its_place_and_is_not_shown() {
    let log = Log::open(options()).unwrap();
    append(&log, 0..3);
    log.delete_collection(&name(1)).unwrap();
    assert_eq!(log.assignment("wal", &name(1)).unwrap(), None);
    assert_eq!(log.assign("storage", &name(1)).unwrap_err().kind(), ErrorKind::NotFound);
    let shown: Vec<_> =
        log.directories_statistics().unwrap().iter().map(|each| each.collections.get("wal").copied()).collect();
    assert_eq!(shown, [Some(1), None, Some(1), None]);
    assert_eq!(append(&log, 3..5), [3, 0]);
    assert_eq!(append(&log, 1..2), [1], "it comes back where it was");
    assert_eq!(counts(&log), [2, 1, 1, 1]);
}

#[test]
fn least_used_goes_by_bytes_of_segments() {
    let log = Log::open(LogOptions { placement: Policy::LeastUsed, ..options() }).unwrap();
    assert_eq!(append(&log, 0..4), [0, 1, 2, 3]);
    // Incompressible, so that the files have these bytes.
    let mut random = fastrand::Rng::with_seed(1);
    for (number, len) in [(0, 20_000), (1, 5_000), (2, 9_000), (3, 14_000)] {
        let payload: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        log.append(&name(number), NewRecord::payload(payload)).unwrap();
    }
    log.seal(None).unwrap();
    let bytes: Vec<u64> = log.directories_statistics().unwrap().iter().map(|each| each.segment_bytes / 1000).collect();
    assert!(bytes[1] < bytes[2] && bytes[2] < bytes[3] && bytes[3] < bytes[0], "{bytes:?}");
    // 12,000 on average: one new collection makes the second fuller than the third, then the third fuller than the fourth.
    assert_eq!(append(&log, 4..7), [1, 2, 3]);
    // Another component has no bytes: its own number of collections counts, from nothing.
    let ids: Vec<String> = log.directories().into_iter().map(|(id, _)| id).collect();
    let storage: Vec<String> = (0..5).map(|number| log.assign("storage", &name(number)).unwrap().directory).collect();
    assert_eq!(storage, [&*ids[0], &*ids[1], &*ids[2], &*ids[3], &*ids[0]]);
}

#[test]
fn counts_are_those_of_the_collections_after_opening() {
    let options = options();
    let log = Log::open(options.clone()).unwrap();
    append(&log, 0..7);
    log.close().unwrap();
    let log = Log::open(options).unwrap();
    assert_eq!(counts(&log), [2, 2, 2, 1]);
    assert_eq!(append(&log, 7..9), [3, 0]);
}
