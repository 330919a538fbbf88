//! Every record comes back byte for byte.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), 0..2_000_000_000_000_000_i64]
}

fn vectors() -> impl Strategy<Value = NewRecord> {
    let number = any::<f32>().prop_filter("finite", |value| value.is_finite());
    let vector = prop_oneof![4 => vec(number.clone(), 3..=3), 1 => vec(number, 1..6)];
    let metadata = prop_oneof![Just("{}".to_owned()), Just("{\"a\" : [1, 2.50]}".to_owned())];
    ("[a-c]{1,2}", vector, metadata)
        .prop_map(|(id, vector, metadata)| VectorRecord { id, vector, metadata }.into_new_record().unwrap())
}

fn any_record() -> impl Strategy<Value = NewRecord> {
    let headers = vec((".{0,5}", bytes()).prop_map(|(key, value)| Header { key, value }), 0..4);
    let kind = prop_oneof![Just(RecordKind::Put), Just(RecordKind::Delete)];
    let plain = (kind, of(bytes()), of(bytes()), headers).prop_map(|(kind, key, payload, headers)| NewRecord {
        kind,
        key,
        payload,
        headers,
        timestamp: None,
        expires_at: None,
    });
    // Records that say they are vectors, and are none: every part of one may be another.
    let claimed = (vectors(), any::<bool>(), of(bytes()), of(bytes())).prop_map(|(mut record, kind, key, payload)| {
        if kind {
            record.kind = RecordKind::Delete;
        }
        record.key = key.or(record.key);
        record.payload = payload.or(record.payload);
        record
    });
    (prop_oneof![plain, vectors(), claimed], times(), of(times())).prop_map(|(record, timestamp, expires_at)| {
        NewRecord { timestamp: Some(Timestamp(timestamp)), expires_at: expires_at.map(Timestamp), ..record }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_go_through_files_and_merges(
        records in vec((1..4_u64, any_record()), 1..40),
        cuts in vec(1..40_usize, 0..4),
    ) {
        let mut sequence = 0;
        let records: Vec<Record> = records.into_iter().map(|(step, record)| { sequence += step; stored(sequence, record) }).collect();
        let objects = memory();
        let store = open(&objects);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < records.len()).chain([records.len()]).collect();
        cuts.sort_unstable();
        let mut done = 0;
        for cut in cuts {
            let after = cursor(&store).unwrap_or(0);
            store.apply(&batch(&orders(), after, &records[done..cut], records[cut - 1].sequence.0)).unwrap();
            done = cut;
        }
        prop_assert_eq!(all(&store), records.clone());
        check_vectors(&store, &records);
        store.merge(&orders()).unwrap();
        prop_assert_eq!(all(&open(&objects)), records.clone());
        check_vectors(&store, &records);
        prop_assert_eq!(keys(&objects).0.len(), 1);
    }
}

/// Each vector is found, in the column or beside it, and nothing else is.
fn check_vectors(store: &ColumnarStore, records: &[Record]) {
    let view = store.view(&orders()).unwrap().unwrap();
    let expected: BTreeMap<u64, VectorRecord> =
        records.iter().filter_map(|record| Some((record.sequence.0, VectorRecord::of_record(record)?.ok()?))).collect();
    let mut found = BTreeMap::new();
    let mut others = 0;
    view.scan(&Column::ALL, |_, rows| {
        for row in 0..rows.len() {
            let in_column = rows.vectors().and_then(|vectors| {
                let vector = vectors.get(row)?.to_vec();
                let id = String::from_utf8(rows.key(row)?.to_vec()).unwrap();
                Some(VectorRecord { id, vector, metadata: rows.metadata(row)?.to_owned() })
            });
            let other = rows.other_vector(row);
            others += u64::from(other.is_some());
            assert!(in_column.is_none() || other.is_none());
            found.extend(in_column.or(other).map(|vector| (rows.sequence(row).unwrap().0, vector)));
        }
        Ok(std::ops::ControlFlow::<()>::Continue(()))
    })
    .unwrap();
    assert_eq!(found, expected);
    let counts = view.files().iter().map(|file| (file.entry().vectors, file.entry().other_vectors));
    let counts = counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert_eq!(counts, (expected.len() as u64 - others, others));
}

#[test]
fn a_vector_is_stored_once_and_its_payload_is_the_same() {
    let objects = memory();
    let store = open(&objects);
    // Numbers that no compressor makes smaller.
    let mut random = fastrand::Rng::with_seed(1);
    let records: Vec<Record> = (1..=1000)
        .map(|n| {
            let vector: Vec<f32> = (0..64).map(|_| f32::from_bits(random.u32(0x3f00_0000..0x3f80_0000))).collect();
            stored(n, VectorRecord::new(format!("id-{n}"), vector).into_new_record().unwrap())
        })
        .collect();
    store.apply(&batch(&orders(), 0, &records, 1000)).unwrap();
    assert_eq!(all(&store), records);
    let view = store.view(&orders()).unwrap().unwrap();
    let bytes = view.files()[0].entry().bytes;
    assert!(bytes < 1000 * 64 * 4 * 11 / 10, "{bytes}");
}

#[test]
fn a_payload_in_another_form_is_kept_as_it_is() {
    // The same vector, its array in two blocks.
    let float = |value: f32| value.to_le_bytes().to_vec();
    let payload = [&[2, b'a', 2][..], &float(1.5), &[2], &float(2.5), &[0, 4], b"{}"].concat();
    let new = NewRecord::put("a", payload).with_header("icecore.type", "vector");
    let records = [stored(1, new)];
    let store = open(&memory());
    store.apply(&batch(&orders(), 0, &records, 1)).unwrap();
    assert_eq!(all(&store), records);
    let view = store.view(&orders()).unwrap().unwrap();
    let rows = view.files()[0].row_groups().unwrap()[0].read(&[Column::Vector]).unwrap();
    assert_eq!(rows.vectors().unwrap().get(0), Some(&[1.5, 2.5][..]));
}

#[test]
fn large_records_make_row_groups_of_their_own() {
    let store = open(&memory());
    let large = |n: u64| stored(n, NewRecord::put(format!("k{n}"), vec![n as u8; 3 << 20]));
    let records: Vec<Record> = (1..=5).map(large).collect();
    store.apply(&batch(&orders(), 0, &records, 5)).unwrap();
    let view = store.view(&orders()).unwrap().unwrap();
    let groups = view.files()[0].row_groups().unwrap();
    assert_eq!(groups.iter().map(RowGroup::rows).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(all(&store), records);
}

#[test]
fn many_records_are_cut_into_row_groups() {
    let store = open(&memory());
    let records: Vec<Record> = (1..=40_000).map(|n| stored(n, NewRecord::put(format!("k{n}"), "x"))).collect();
    store.apply(&batch(&orders(), 0, &records, 40_000)).unwrap();
    let view = store.view(&orders()).unwrap().unwrap();
    let groups = view.files()[0].row_groups().unwrap();
    assert_eq!(groups.iter().map(RowGroup::rows).collect::<Vec<_>>(), [16_384, 16_384, 7232]);
    assert_eq!(all(&store), records);
    assert_eq!(view.get(b"k20000").unwrap().unwrap().sequence, Sequence(20_000));
    assert_eq!(view.read(Sequence(39_999)).count(), 2);
}
