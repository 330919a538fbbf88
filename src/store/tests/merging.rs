//! Small files become large ones.

use super::*;
use crate::objects::ObjectStore as _;

#[test]
fn small_files_are_merged_when_asked_for() {
    let objects = memory();
    let store = open(&objects);
    for through in 1..=9 {
        apply(&store, through - 1, through).unwrap();
    }
    assert_eq!(keys(&objects).0.len(), 9);
    let done = store.merge(&orders()).unwrap();
    assert_eq!((done.files_before, done.files_after), (9, 1));
    assert!(done.bytes_after < done.bytes_before);
    let (files, _) = keys(&objects);
    assert_eq!(objects.objects()[&files[0]].len() as u64, done.bytes_after);
    assert_eq!((cursor(&store), all(&open(&objects))), (Some(9), records(1..=9)));
    assert_tidy(&objects, &store);
    assert_eq!(store.merge(&orders()).unwrap(), Freed::default());
}

#[test]
fn many_small_files_are_merged_without_being_asked() {
    let objects = memory();
    let store = open_with(&objects, StoreOptions::default());
    for through in 1..=40 {
        apply(&store, through - 1, through).unwrap();
        let (files, _) = keys(&objects);
        assert!(files.len() <= 16, "{}", files.len());
    }
    assert_eq!(all(&open(&objects)), records(1..=40));
    assert_tidy(&objects, &store);
}

#[test]
fn files_of_the_wanted_size_are_left_alone() {
    let objects = memory();
    let options = StoreOptions { file_bytes: 40_000, merge_files: 4, ..StoreOptions::default() };
    let store = open_with(&objects, options);
    let mut random = fastrand::Rng::with_seed(1);
    let mut sent = Vec::new();
    for n in 1..=60 {
        let payload: Vec<u8> = (0..3000).map(|_| random.u8(..)).collect();
        sent.push(stored(n, NewRecord::put("k", payload)));
        store.apply(&batch(&orders(), n - 1, &sent[sent.len() - 1..], n)).unwrap();
    }
    let view = store.view(&orders()).unwrap().unwrap();
    assert_eq!(view.read(Sequence(0)).map(|record| record.unwrap()).collect::<Vec<_>>(), sent);
    let sizes: Vec<u64> = view.files().iter().map(|file| file.entry().bytes).collect();
    assert!(sizes.len() < 20 && sizes.iter().all(|bytes| *bytes < 44_000), "{sizes:?}");
    // Each byte was written a few times at most.
    let written = objects.meter().usage(crate::objects::RequestKind::Put).sent_bytes;
    let total: u64 = sizes.iter().sum();
    assert!(written < 8 * total, "{written} of {total}");
}

#[test]
fn vectors_of_other_dimensions_are_found_after_merging() {
    let objects = memory();
    let store = open(&objects);
    let vector = |n: u64, dimensions: usize| {
        stored(n, VectorRecord::new(format!("v{n}"), vec![n as f32; dimensions]).into_new_record().unwrap())
    };
    let batches = [vec![vector(1, 2), vector(2, 3), vector(3, 3)], vec![vector(4, 2)], vec![record(6)]];
    for records in &batches {
        let after = records[0].sequence.0 - 1;
        let through = records.last().unwrap().sequence.0;
        store.apply(&batch(&orders(), after.min(cursor(&store).unwrap_or(0)), records, through)).unwrap();
    }
    let counts = || {
        let view = store.view(&orders()).unwrap().unwrap();
        let of = |file: &Arc<StoreFile>| {
            let entry = file.entry();
            (entry.dimensions, entry.vectors, entry.other_vectors)
        };
        view.files().iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(counts(), [(Some(3), 2, 1), (Some(2), 1, 0), (None, 0, 0)]);
    store.merge(&orders()).unwrap();
    assert_eq!(counts(), [(Some(3), 2, 2)]);
    assert_eq!(all(&store), batches.concat());
}
