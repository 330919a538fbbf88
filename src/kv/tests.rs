mod lookup;
mod moving;

use std::path::Path;

use super::*;
use crate::log::LogOptions;
use crate::sink::{Sinks, SinksOptions};
use crate::types::{Epoch, Header, NewRecord};

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

fn store(directory: &Path) -> KvStore {
    let directory = directory.to_path_buf();
    KvStore::new(move |_| Ok(directory.clone()), KvOptions::default())
}

fn record(sequence: u64, key: Option<&[u8]>, kind: RecordKind) -> Record {
    Record {
        sequence: Sequence(sequence),
        timestamp: Timestamp(-7),
        kind,
        key: key.map(Bytes::copy_from_slice),
        expires_at: sequence.is_multiple_of(5).then_some(Timestamp(1000)),
        headers: vec![Header { key: "n".into(), value: sequence.to_string().into() }],
        payload: (kind == RecordKind::Put).then(|| vec![sequence as u8; 50].into()),
    }
}

fn apply(store: &KvStore, collection: &CollectionName, after: u64, records: &[Record]) -> Result<()> {
    let through = records.last().map_or(Sequence(after), |record| record.sequence);
    store.apply(&Batch { collection, epoch: Epoch(3), after: Sequence(after), records, through })
}

#[test]
fn records_come_back_byte_for_byte_also_after_reopening() {
    let place = tempfile::tempdir().unwrap();
    let (audit, other) = (name("audit"), name("other"));
    let long = vec![b'k'; 65_536];
    let records = [
        record(1, Some(b"a"), RecordKind::Put),
        record(2, Some(b""), RecordKind::Put),
        record(3, None, RecordKind::Put),
        record(4, Some(&long), RecordKind::Put),
        record(5, Some(b"expires"), RecordKind::Put),
    ];
    let kv = store(place.path());
    apply(&kv, &audit, 0, &records).unwrap();
    apply(&kv, &other, 0, &[record(1, Some(b"a"), RecordKind::Delete)]).unwrap();
    drop(kv);
    let kv = store(place.path());
    for record in records.iter().filter(|record| record.key.is_some()) {
        let found = kv.get(&audit, record.key.as_deref().unwrap(), Timestamp(999)).unwrap();
        assert_eq!(found.as_ref(), Some(record));
    }
    assert_eq!(kv.get(&audit, b"expires", Timestamp(1000)).unwrap(), None);
    assert_eq!(kv.get(&other, b"a", Timestamp(0)).unwrap(), None);
    assert_eq!(kv.cursor(&audit).unwrap(), Some(Cursor { epoch: Epoch(3), sequence: Sequence(5) }));
    assert_eq!(kv.cursor(&name("unknown")).unwrap(), None);
}

#[test]
fn a_batch_behind_a_hole_is_refused_and_one_that_came_before_is_ignored() {
    let place = tempfile::tempdir().unwrap();
    let (kv, audit) = (store(place.path()), name("audit"));
    apply(&kv, &audit, 0, &[record(1, Some(b"a"), RecordKind::Put), record(2, Some(b"a"), RecordKind::Put)]).unwrap();
    let refused = apply(&kv, &audit, 3, &[record(4, Some(b"a"), RecordKind::Put)]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    // The first of these again: it must not come back as the newest.
    apply(&kv, &audit, 0, &[record(1, Some(b"a"), RecordKind::Put)]).unwrap();
    assert_eq!(kv.get(&audit, b"a", Timestamp(0)).unwrap().unwrap().sequence, Sequence(2));
    assert_eq!(kv.cursor(&audit).unwrap().unwrap().sequence, Sequence(2));
}

#[test]
fn what_is_below_the_floor_is_not_found() {
    let place = tempfile::tempdir().unwrap();
    let (kv, audit, other) = (store(place.path()), name("audit"), name("other"));
    let records: Vec<_> = (1..=50).map(|n| record(n, Some(&[(n % 40) as u8]), RecordKind::Put)).collect();
    for collection in [&audit, &other] {
        apply(&kv, collection, 0, &records).unwrap();
    }
    kv.raise_floor(&audit, Sequence(30)).unwrap();
    let found = |collection: &CollectionName, key: u8| kv.get(collection, &[key], Timestamp(0)).unwrap().is_some();
    for key in 0..40 {
        // The last of a key: n, or n + 40 for those up to ten.
        let newest = if key <= 10 { u64::from(key) + 40 } else { u64::from(key) };
        assert_eq!(found(&audit, key), newest >= 30, "{key}");
        assert!(found(&other, key));
    }
    assert_eq!(kv.cursor(&audit).unwrap().unwrap().sequence, Sequence(50));
}

#[test]
fn one_process_has_it_open_and_a_missing_directory_is_not_made() {
    let place = tempfile::tempdir().unwrap();
    let (kv, audit) = (store(place.path()), name("audit"));
    kv.cursor(&audit).unwrap();
    let second = store(place.path()).cursor(&audit).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Locked);
    let missing = place.path().join("missing");
    assert_eq!(store(&missing).cursor(&audit).unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!missing.exists());
}

#[test]
fn damage_is_told_and_never_served() {
    let place = tempfile::tempdir().unwrap();
    let (kv, audit) = (store(place.path()), name("audit"));
    kv.with(&audit, |database| {
        let mut change = database.change();
        let mut bytes = encode(&audit, &record(1, Some(b"a"), RecordKind::Put));
        *bytes.last_mut().unwrap() ^= 1;
        change.put(&keys::of(&audit, b"a"), bytes);
        // A whole record of another collection.
        change.put(&keys::of(&audit, b"b"), encode(&name("other"), &record(1, Some(b"b"), RecordKind::Put)));
        change.commit()
    })
    .unwrap();
    for key in [b"a", b"b"] {
        assert_eq!(kv.get(&audit, key, Timestamp(0)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// A log with its key-value store, in folders of their own.
fn log_and_sinks(place: &Path, kv: &Path) -> (Log, Sinks, std::sync::Arc<KvStore>) {
    let mut options = LogOptions::new([place]);
    options.background = false;
    options.sinks = vec![NAME.to_owned()];
    let log = Log::open(options).unwrap();
    let kv = std::sync::Arc::new(store(kv));
    let sinks = Sinks::new(&log, vec![kv.clone()], SinksOptions::default()).unwrap();
    (log, sinks, kv)
}

fn newest(log: &Log, kv: &KvStore, key: &str) -> Option<Bytes> {
    kv.newest(log, &name("audit"), key.as_bytes(), Timestamp(0)).unwrap().and_then(|record| record.payload)
}

#[test]
fn what_was_purged_is_not_found_before_the_store_is_told() {
    let place = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (log, sinks, kv) = log_and_sinks(place[0].path(), place[1].path());
    log.append(&name("audit"), NewRecord::put("key", "secret")).unwrap();
    sinks.flush(None, &mut |_| true).unwrap();
    assert_eq!(newest(&log, &kv, "key"), Some("secret".into()));
    log.delete_collection(&name("audit")).unwrap();
    log.append(&name("audit"), NewRecord::put("other", "new")).unwrap();
    assert_eq!(newest(&log, &kv, "other"), Some("new".into()));
    assert_eq!(newest(&log, &kv, "key"), None);
    assert!(kv.get(&name("audit"), b"key", Timestamp(0)).unwrap().is_some(), "it was not told yet");
}

#[test]
fn a_store_of_another_history_is_not_believed_and_can_be_cleared() {
    let place = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let append = |log: &Log, key: &str, payload: &str| {
        log.append(&name("audit"), NewRecord::put(key.to_owned(), payload.to_owned())).unwrap();
    };
    let [ahead, behind, kv] = place.each_ref().map(tempfile::TempDir::path);
    let (log, sinks, store) = log_and_sinks(ahead, kv);
    (0..5).for_each(|_| append(&log, "key", "of another log"));
    append(&log, "gone", "of another log");
    sinks.flush(None, &mut |_| true).unwrap();
    log.close().unwrap();
    drop((sinks, store));
    // Opened twice: its epochs are later.
    log_and_sinks(behind, kv).0.close().unwrap();
    let (log, sinks, store) = log_and_sinks(behind, kv);
    append(&log, "key", "its own");
    assert_eq!(newest(&log, &store, "key"), Some("its own".into()), "the cursor is beyond the end");
    (0..9).for_each(|_| append(&log, "other", "its own"));
    assert_eq!(sinks.flush(None, &mut |_| true).unwrap().failed.len(), 1);
    assert_eq!((newest(&log, &store, "key"), newest(&log, &store, "gone")), (Some("its own".into()), None));
    assert_eq!(
        store.get(&name("audit"), b"gone", Timestamp(0)).unwrap().unwrap().payload,
        Some("of another log".into())
    );
    store.clear(&name("audit")).unwrap();
    assert_eq!(store.cursor(&name("audit")).unwrap(), None);
    assert_eq!(store.get(&name("audit"), b"gone", Timestamp(0)).unwrap(), None);
    assert_eq!(sinks.flush(None, &mut |_| true).unwrap().failed, []);
    assert_eq!(store.get(&name("audit"), b"key", Timestamp(0)).unwrap().unwrap().sequence, Sequence(1));
}

#[test]
fn what_was_cleared_is_delivered_anew_also_where_clearing_was_cut_off() {
    let place = tempfile::tempdir().unwrap();
    let (kv, audit, other) = (store(place.path()), name("audit"), name("other"));
    let records: Vec<_> = (1..=30).map(|n| record(n, Some(&[n as u8]), RecordKind::Put)).collect();
    for is_cut_off in [false, true] {
        for collection in [&audit, &other] {
            apply(&kv, collection, 0, &records).unwrap();
        }
        if is_cut_off {
            // Killed behind the first of its changes.
            kv.with(&audit, |database| {
                let mut change = database.change();
                change.set_state(&audit, &CollectionState { is_clearing: true, ..CollectionState::default() });
                change.commit()
            })
            .unwrap();
        } else {
            kv.clear(&audit).unwrap();
        }
        assert_eq!(kv.cursor(&audit).unwrap(), None);
        for n in 1..=30 {
            assert_eq!(kv.get(&audit, &[n], Timestamp(0)).unwrap(), None);
            assert!(kv.get(&other, &[n], Timestamp(0)).unwrap().is_some());
        }
        apply(&kv, &audit, 0, &records[..1]).unwrap();
        assert_eq!(kv.get(&audit, &[1], Timestamp(0)).unwrap().as_ref(), Some(&records[0]));
        assert_eq!(kv.get(&audit, &[2], Timestamp(0)).unwrap(), None, "what was there before");
        assert_eq!(kv.cursor(&audit).unwrap().unwrap().sequence, Sequence(1));
    }
}

#[test]
fn a_tree_whose_making_was_cut_off_is_made_again() {
    let place = tempfile::tempdir().unwrap();
    let kv = store(place.path());
    kv.cursor(&name("audit")).unwrap();
    drop(kv);
    // As a kill leaves it: its journal is there, what makes it a tree is not.
    crate::fs::FileSystem::remove_file(&crate::fs::OsFileSystem::new(), &place.path().join(FOLDER).join("version"))
        .unwrap();
    let kv = store(place.path());
    apply(&kv, &name("audit"), 0, &[record(1, Some(b"a"), RecordKind::Put)]).unwrap();
    assert!(kv.get(&name("audit"), b"a", Timestamp(0)).unwrap().is_some());
}
