//! From the tree of one directory to that of another.

use super::*;
use crate::log::directories::{ComponentFiles, ComponentMove};
use crate::types::LogId;

struct Places {
    _folder: tempfile::TempDir,
    from: PathBuf,
    to: PathBuf,
}

impl Places {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fs = crate::fs::OsFileSystem::new();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        [&from, &to].into_iter().for_each(|path| crate::fs::FileSystem::create_dir(&fs, path).unwrap());
        Self { _folder: folder, from, to }
    }

    fn copy(&self, files: &KvFiles, collection: &CollectionName) -> Result<u64> {
        files.copy(&ComponentMove { log: LogId([1; 16]), collection, from: &self.from, to: &self.to })
    }
}

/// In batches of a few records.
fn files() -> KvFiles {
    KvFiles::new(KvOptions { batch_bytes: 400, ..KvOptions::default() })
}

fn keyed(range: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    range.map(|n| record(n, Some(&[n as u8]), RecordKind::Put)).collect()
}

#[test]
fn what_is_copied_says_the_same_and_goes_on_where_it_was() {
    let (places, audit, other) = (Places::new(), name("audit"), name("other"));
    let kv = store(&places.from);
    apply(&kv, &audit, 0, &keyed(1..=40)).unwrap();
    apply(&kv, &other, 0, &keyed(1..=3)).unwrap();
    kv.raise_floor(&audit, Sequence(5)).unwrap();
    drop(kv);
    // A copy that was cut off, and what an earlier life of the directory left.
    let stale = store(&places.to);
    apply(&stale, &audit, 0, &keyed(1..=90)).unwrap();
    stale
        .with(&audit, |database| {
            let mut change = database.change();
            change.remove_state(&audit);
            change.commit()
        })
        .unwrap();
    drop(stale);
    let files = files();
    assert!(places.copy(&files, &audit).unwrap() > 2000);
    // Once more, as after a crash before anybody was told.
    places.copy(&files, &audit).unwrap();
    drop(files);
    let moved = store(&places.to);
    for (n, record) in keyed(1..=90).iter().enumerate() {
        let found = moved.get(&audit, &[n as u8 + 1], Timestamp(0)).unwrap();
        assert_eq!(found.as_ref(), Some(record).filter(|record| (5..=40).contains(&record.sequence.0)), "{n}");
    }
    assert_eq!(moved.cursor(&audit).unwrap().unwrap().sequence, Sequence(40));
    assert_eq!(moved.cursor(&other).unwrap(), None, "only what was asked for");
    apply(&moved, &audit, 40, &keyed(41..=42)).unwrap();
    let old = store(&places.from);
    assert_eq!(old.cursor(&audit).unwrap().unwrap().sequence, Sequence(40), "the old one is as it was");
}

#[test]
fn a_directory_is_emptied_of_all_that_is_there() {
    let (places, audit) = (Places::new(), name("audit"));
    let files = files();
    files.clear(&places.from).unwrap();
    assert_eq!(places.copy(&files, &audit).unwrap(), 0);
    assert!(!places.to.join(FOLDER).exists(), "of nothing, nothing is made");
    let kv = store(&places.from);
    apply(&kv, &audit, 0, &keyed(1..=5)).unwrap();
    drop(kv);
    places.copy(&files, &audit).unwrap();
    files.clear(&places.from).unwrap();
    assert!(!places.from.join(FOLDER).exists());
    files.clear(&places.from).unwrap();
    drop(files);
    assert_eq!(store(&places.to).cursor(&audit).unwrap().unwrap().sequence, Sequence(5));
    // The directory takes collections again.
    assert_eq!(store(&places.from).cursor(&audit).unwrap(), None);
}

#[test]
fn damage_is_not_copied_but_told() {
    let (places, audit) = (Places::new(), name("audit"));
    let kv = store(&places.from);
    apply(&kv, &audit, 0, &keyed(1..=5)).unwrap();
    kv.with(&audit, |database| {
        let mut change = database.change();
        let mut bytes = encode(&audit, &record(1, Some(b"a"), RecordKind::Put));
        *bytes.last_mut().unwrap() ^= 1;
        change.put(&keys::of(&audit, b"a"), bytes);
        change.commit()
    })
    .unwrap();
    drop(kv);
    let files = files();
    assert_eq!(places.copy(&files, &audit).unwrap_err().kind(), ErrorKind::Corrupt);
    drop(files);
    assert_eq!(store(&places.to).cursor(&audit).unwrap(), None);
}
