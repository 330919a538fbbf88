//! What every sink promises, promise by promise.

use super::*;

#[test]
fn records_come_back_in_order_and_the_cursor_says_how_far() {
    let objects = memory();
    let store = open(&objects);
    assert_eq!((cursor(&store), all(&store)), (None, vec![]));
    apply(&store, 0, 10).unwrap();
    apply(&store, 10, 25).unwrap();
    assert_eq!(cursor(&store), Some(25));
    assert_eq!(all(&store), records(1..=25));
    // Also for the next process.
    let next = open(&objects);
    assert_eq!((cursor(&next), all(&next)), (Some(25), records(1..=25)));
    assert_tidy(&objects, &next);
}

#[test]
fn what_is_there_is_ignored_and_what_is_missing_is_a_conflict() {
    let objects = memory();
    let store = open(&objects);
    apply(&store, 0, 10).unwrap();
    // The same again, a part of it, and one that overlaps.
    apply(&store, 0, 10).unwrap();
    apply(&store, 3, 7).unwrap();
    apply(&store, 5, 15).unwrap();
    assert_eq!(all(&store), records(1..=15));
    let error = apply(&store, 16, 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!((cursor(&store), all(&store)), (Some(15), records(1..=15)));
    assert_tidy(&objects, &store);
}

#[test]
fn a_batch_without_records_moves_the_cursor() {
    let store = open(&memory());
    store.apply(&batch(&orders(), 0, &[], 9)).unwrap();
    assert_eq!((cursor(&store), all(&store)), (Some(9), vec![]));
    store.apply(&batch(&orders(), 9, &records(12..=14), 20)).unwrap();
    assert_eq!((cursor(&store), all(&store)), (Some(20), records(12..=14)));
}

#[test]
fn a_batch_out_of_order_is_refused() {
    let store = open(&memory());
    let backwards = [record(2), record(1)];
    let behind = records(1..=3);
    for batch in [batch(&orders(), 0, &backwards, 2), batch(&orders(), 0, &behind, 2)] {
        assert_eq!(store.apply(&batch).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!((cursor(&store), all(&store)), (None, vec![]));
}

#[test]
fn an_older_opening_of_the_log_is_fenced() {
    let objects = memory();
    let (old, new) = (open(&objects), open(&objects));
    apply(&old, 0, 5).unwrap();
    let (name, more) = (orders(), records(6..=9));
    new.apply(&Batch { epoch: Epoch(2), ..batch(&name, 5, &more, 9) }).unwrap();
    // It finds the number taken first, looks, and sees why.
    assert_eq!(apply(&old, 5, 8).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(apply(&old, 5, 12).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(all(&new), records(1..=9));
    assert_tidy(&objects, &open(&objects));
}

/// The number that the old writer would use is free again: only a higher one shows that it was overtaken.
#[test]
fn a_writer_that_was_overtaken_by_many_states_is_told() {
    let objects = memory();
    let (old, new) = (open(&objects), open(&objects));
    apply(&old, 0, 5).unwrap();
    for through in 6..=12 {
        apply(&new, through - 1, through).unwrap();
    }
    let before = keys(&objects);
    assert_eq!(apply(&old, 5, 7).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(all(&open(&objects)), records(1..=12));
    // It goes on from what counts.
    apply(&old, 12, 14).unwrap();
    assert_eq!(all(&open(&objects)), records(1..=14));
    assert_tidy(&objects, &open(&objects));
    assert_ne!(before, keys(&objects));
}

#[test]
fn another_log_is_refused() {
    let objects = memory();
    apply(&open(&objects), 0, 5).unwrap();
    let home = Home::below(Arc::clone(&objects) as _, REMOTE_PREFIX).unwrap();
    let other = ColumnarStore::new(LogId([8; 16]), Arc::new(home), clock(), StoreOptions::default());
    assert_eq!(other.cursor(&orders()).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(apply(&other, 0, 5).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn collections_do_not_see_each_other() {
    let objects = memory();
    let store = open(&objects);
    apply(&store, 0, 5).unwrap();
    let other = CollectionName::new("orders/ü").unwrap();
    assert!(store.view(&other).unwrap().is_none());
    store.apply(&batch(&other, 0, &records(1..=2), 2)).unwrap();
    store.clear(&orders()).unwrap();
    assert_eq!(store.cursor(&other).unwrap().unwrap().sequence.0, 2);
}

#[test]
fn what_is_below_the_floor_is_gone() {
    let objects = memory();
    let store = open(&objects);
    store.raise_floor(&orders(), Sequence(3)).unwrap();
    for (after, through) in [(0, 10), (10, 20), (20, 30)] {
        apply(&store, after, through).unwrap();
    }
    store.raise_floor(&orders(), Sequence(15)).unwrap();
    assert_eq!((cursor(&store), all(&store)), (Some(30), records(15..=30)));
    let view = store.view(&orders()).unwrap().unwrap();
    assert_eq!((view.floor(), view.files().len()), (Sequence(15), 2));
    // No byte of a purged record is left, in no file and no state.
    let (files, states) = keys(&objects);
    assert_eq!((files.len(), states.len()), (2, 1));
    drop(view);
    // Lower or the same changes nothing; at an edge nothing is written anew.
    let before = keys(&objects);
    store.raise_floor(&orders(), Sequence(14)).unwrap();
    assert_eq!(keys(&objects), before);
    store.raise_floor(&orders(), Sequence(21)).unwrap();
    assert_eq!(all(&open(&objects)), records(21..=30));
    // Of all, and beyond what was delivered.
    store.raise_floor(&orders(), Sequence(40)).unwrap();
    assert_eq!((cursor(&store), all(&store)), (Some(30), vec![]));
    apply(&store, 30, 45).unwrap();
    assert_eq!(all(&store), records(40..=45));
    assert_tidy(&objects, &store);
}

#[test]
fn a_cleared_collection_is_delivered_again() {
    let objects = memory();
    let store = open(&objects);
    apply(&store, 0, 10).unwrap();
    apply(&store, 10, 12).unwrap();
    store.clear(&orders()).unwrap();
    assert_eq!((cursor(&store), all(&store)), (None, vec![]));
    assert!(keys(&objects).0.is_empty());
    apply(&store, 0, 12).unwrap();
    assert_eq!(all(&open(&objects)), records(1..=12));
    assert_tidy(&objects, &store);
}

#[test]
fn a_view_stays_what_it_is() {
    let objects = memory();
    let store = open(&objects);
    apply(&store, 0, 10).unwrap();
    apply(&store, 10, 20).unwrap();
    let view = store.view(&orders()).unwrap().unwrap();
    let mut reader = view.read(Sequence(1));
    assert_eq!(reader.next().unwrap().unwrap(), record(1));
    store.merge(&orders()).unwrap();
    store.raise_floor(&orders(), Sequence(15)).unwrap();
    assert_eq!(view.read(Sequence(1)).map(|record| record.unwrap()).collect::<Vec<_>>(), records(1..=20));
    drop(view);
    // The reader holds it too.
    store.tidy(&orders()).unwrap();
    assert_eq!(reader.map(|record| record.unwrap()).collect::<Vec<_>>(), records(2..=20));
    assert_tidy(&objects, &store);
    assert_eq!(keys(&objects).0.len(), 1);
}

#[test]
fn another_process_reads_beside_the_writer() {
    let objects = memory();
    let writer = open(&objects);
    let reader = open_with(&objects, StoreOptions { read_only: true, ..StoreOptions::default() });
    assert!(reader.view(&orders()).unwrap().is_none());
    apply(&writer, 0, 5).unwrap();
    assert_eq!(all(&reader), records(1..=5));
    apply(&writer, 5, 9).unwrap();
    let old = reader.view(&orders()).unwrap().unwrap();
    writer.merge(&orders()).unwrap();
    // The writer knows nothing of the reader's view, and the reader is told that it is too old.
    let error = old.read(Sequence(1)).find_map(|record| record.err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(all(&reader), records(1..=9));
}

#[test]
fn the_newest_record_of_a_key_is_found() {
    let store = open(&memory());
    for (after, through) in [(0, 13), (13, 40), (40, 41)] {
        apply(&store, after, through).unwrap();
    }
    let view = store.view(&orders()).unwrap().unwrap();
    let everything = records(1..=41);
    for key in (0..8).map(|n| format!("key-{n}")).chain([String::new(), "other".to_owned()]) {
        let newest = everything.iter().rev().find(|record| record.key.as_deref() == Some(key.as_bytes()));
        assert_eq!(view.get(key.as_bytes()).unwrap().as_ref(), newest, "{key}");
    }
    assert_eq!(view.read(Sequence(12)).map(|record| record.unwrap()).collect::<Vec<_>>(), records(12..=41));
}

#[test]
fn keys_that_are_nowhere_are_not_looked_for_in_columns() {
    let objects = memory();
    let store = open(&objects);
    let put = |n: u64| stored(n, NewRecord::put(format!("key-{:05}", n * 2), "x"));
    let some: Vec<Record> = (1..=2000).map(put).collect();
    store.apply(&batch(&orders(), 0, &some, 2000)).unwrap();
    let view = store.view(&orders()).unwrap().unwrap();
    let reads = |key: &str| {
        let before = objects.calls().len();
        let found = view.get(key.as_bytes()).unwrap().is_some();
        (found, objects.calls().len() - before)
    };
    assert!(reads("key-00002").0);
    assert_eq!(reads("a"), (false, 0), "below every key");
    assert_eq!(reads("z"), (false, 0), "behind every key");
    // Between two keys: the filter is read, and nearly always says no.
    let wrong = (1..1000).filter(|n| reads(&format!("key-{:05}", n * 2 + 1)) != (false, 1)).count();
    assert!(wrong < 50, "{wrong}");
}

/// The files can be seen by their names, their metadata, and a search in row groups.
#[test]
fn a_file_says_what_it_is() {
    let objects = memory();
    let store = open(&objects);
    apply(&store, 0, 20).unwrap();
    let view = store.view(&orders()).unwrap().unwrap();
    let [file] = view.files() else { panic!("{:?}", view.files()) };
    let entry = file.entry();
    assert!(file.key().as_str().starts_with("_columns/~4frders~2f~c3~bc/00000000000000000001-00000000000000000020.1."));
    assert_eq!((entry.rows, entry.deletes, entry.expiring, entry.vectors), (20, 4, 3, 6));
    assert_eq!((entry.dimensions, entry.other_vectors), (Some(3), 0));
    assert_eq!((entry.time_min, entry.time_max), (Timestamp(1000), Timestamp(20_000)));
    let groups = file.row_groups().unwrap();
    let [group] = &groups[..] else { panic!("{groups:?}") };
    assert_eq!((group.rows(), group.sequences()), (20, Some((Sequence(1), Sequence(20)))));
    assert_eq!(group.times(), Some((Timestamp(1000), Timestamp(20_000))));
    let rows = group.read(&[Column::Vector, Column::Sequence]).unwrap();
    let vectors = rows.vectors().unwrap();
    assert_eq!((vectors.dimensions, vectors.values.len(), vectors.is_complete()), (3, 60, false));
    for n in 1..=20 {
        let row = n as usize - 1;
        let expected = VectorRecord::of_record(&record(n)).map(|vector| vector.unwrap().vector);
        assert_eq!(vectors.get(row).map(<[f32]>::to_vec), expected);
        assert_eq!(rows.sequence(row), Some(Sequence(n)));
        assert_eq!((rows.key(row), rows.record(row)), (None, None), "not asked for");
    }
    view.verify().unwrap();
}
