//! Bytes that changed on the disk are told, never served.

use super::*;

fn planted(objects: &FaultyStore, key: &str, at: usize, flip: u8) -> Arc<FaultyStore> {
    let damaged = objects.snapshot();
    let mut bytes = damaged.objects()[key].to_vec();
    bytes[at] ^= flip;
    damaged.plant(key, bytes.into());
    Arc::new(damaged)
}

#[test]
fn every_damaged_byte_of_a_file_is_told_or_makes_no_difference() {
    let objects = memory();
    apply(&open(&objects), 0, 30).unwrap();
    let (files, _) = keys(&objects);
    let bytes = objects.objects()[&files[0]].len();
    let (mut told, mut same) = (0, 0);
    for at in (0..bytes).step_by(3) {
        let objects = planted(&objects, &files[0], at, 1 << (at % 8));
        let view = open(&objects).view(&orders()).unwrap().unwrap();
        assert_eq!(view.verify().unwrap_err().kind(), ErrorKind::Corrupt);
        match view.read(Sequence(0)).collect::<Result<Vec<Record>>>() {
            Ok(found) => {
                assert_eq!(found, records(1..=30), "{at}");
                same += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}");
                told += 1;
            }
        }
        for key in ["key-1", "nowhere-between"] {
            match view.get(key.as_bytes()) {
                Ok(found) => assert_eq!(found.is_some(), key == "key-1", "{at}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}"),
            }
        }
    }
    // Between the pieces lie only the magic bytes and the filter, which reading everything does not need.
    assert!(told > bytes * 2 / 9 && same > 0, "{told} told, {same} without a difference, of {bytes}");
}

#[test]
fn a_damaged_state_gives_way_to_the_one_before_it() {
    let objects = memory();
    let store = open(&objects);
    apply(&store, 0, 10).unwrap();
    apply(&store, 10, 20).unwrap();
    let (_, states) = keys(&objects);
    assert_eq!(states.len(), 2);
    let damaged = planted(&objects, &states[1], 40, 1);
    let store = open(&damaged);
    assert_eq!((cursor(&store), all(&store)), (Some(10), records(1..=10)));
    // What it named is delivered again, under the next number.
    apply(&store, 10, 20).unwrap();
    apply(&store, 20, 22).unwrap();
    assert_eq!(all(&open(&damaged)), records(1..=22));
    assert_tidy(&damaged, &open(&damaged));
}

#[test]
fn without_a_readable_state_it_is_not_empty_but_damaged() {
    let objects = memory();
    let store = open(&objects);
    apply(&store, 0, 10).unwrap();
    let (_, states) = keys(&objects);
    let damaged = planted(&objects, &states[0], 40, 1);
    let store = open(&damaged);
    let error = store.cursor(&orders()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.hint().unwrap().contains("clear"));
    assert!(apply(&store, 0, 10).is_err());
    store.clear(&orders()).unwrap();
    assert_eq!(cursor(&store), None);
    apply(&store, 0, 10).unwrap();
    assert_eq!(all(&open(&damaged)), records(1..=10));
}

#[test]
fn a_file_that_is_gone_is_told() {
    let objects = memory();
    apply(&open(&objects), 0, 10).unwrap();
    objects.lose(&keys(&objects).0[0]);
    let view = open(&objects).view(&orders()).unwrap().unwrap();
    assert_eq!(view.read(Sequence(0)).next().unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(view.verify().unwrap_err().kind(), ErrorKind::NotFound);
}
