//! Beside a writer. Two logs of one process stand for two processes: nothing is shared but the files and the catalog.

use super::*;

fn pair(place: &Place) -> (Log, Log) {
    let writer = place.open();
    append(&writer, &name("a"), 1..=5);
    let reader = Log::open_read_only(place.options()).unwrap();
    (writer, reader)
}

fn drain(tail: &mut Reader) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Some(record) = tail.try_next().unwrap() {
        assert!(record.payload.unwrap().starts_with(format!("{}:", record.sequence).as_bytes()));
        seen.push(record.sequence.0);
    }
    seen
}

#[test]
fn a_tail_sees_what_a_mark_or_a_later_group_proves() {
    let place = Place::new();
    let (writer, reader) = pair(&place);
    let a = name("a");
    assert_eq!(read(&reader, &a, ReadOptions::default()), [1, 2, 3, 4, 5], "written");
    let mut tail = reader.read(&a, ReadOptions::follow()).unwrap();
    assert_eq!(drain(&mut tail), [1, 2, 3, 4], "nothing proves the last group yet");
    writer.maintain().unwrap();
    assert!(reader.refresh().unwrap(), "the MARK is news");
    assert_eq!(drain(&mut tail), [5]);
    assert!(!reader.refresh().unwrap());
    append(&writer, &a, 6..=7);
    append(&writer, &name("b"), 1..=2);
    assert!(reader.refresh().unwrap());
    assert_eq!(drain(&mut tail), [6, 7]);
    assert_eq!(read(&reader, &name("b"), ReadOptions::default()), [1, 2], "made since");
    writer.close().unwrap();
    assert!(reader.refresh().unwrap());
    assert!(!reader.refresh().unwrap());
    let mut tail = reader.read(&name("b"), ReadOptions::follow()).unwrap();
    assert_eq!(drain(&mut tail), [1, 2]);
}

#[test]
fn a_tail_goes_on_over_seals_rotations_and_restarts_of_the_writer() {
    let place = Place::new();
    let (mut writer, reader) = pair(&place);
    let a = name("a");
    let mut tail = reader.read(&a, ReadOptions::follow()).unwrap();
    let mut slow = reader.read(&a, ReadOptions::follow()).unwrap();
    let (mut seen, mut next) = (Vec::new(), 6);
    for round in 0..30 {
        append(&writer, &a, next..=next + 299);
        next += 300;
        match round % 5 {
            1 => drop(writer.seal(Some(&a)).unwrap()),
            2 => writer.0.cool(0, &writer.0.all_collections()).map(drop).unwrap(),
            4 => {
                writer.close().unwrap();
                writer = place.open();
            }
            _ => {}
        }
        writer.maintain().unwrap();
        if round % 3 != 0 {
            reader.refresh().unwrap();
        }
        seen.extend(drain(&mut tail));
    }
    reader.refresh().unwrap();
    seen.extend(drain(&mut tail));
    let everything: Vec<u64> = (1..next).collect();
    assert_eq!(seen, everything);
    // Its first look is old: every journal that it knew of was released and used again.
    assert_eq!(drain(&mut slow), everything);
    assert_eq!(read(&reader, &a, ReadOptions { reverse: true, ..ReadOptions::default() }).len(), everything.len());
}

#[test]
fn waiting_beside_a_writer_looks_by_itself() {
    let place = Place::new();
    let (writer, reader) = pair(&place);
    let a = name("a");
    let seen = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut tail = reader.read(&a, ReadOptions { limit: Some(9), ..ReadOptions::follow() }).unwrap();
            let mut seen = Vec::new();
            while let Some(record) = tail.next_wait(None).unwrap() {
                seen.push(record.sequence.0);
            }
            seen
        });
        append(&writer, &a, 6..=9);
        writer.maintain().unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(seen, (1..=9).collect::<Vec<_>>());
}

/// A seal was cut short between the file's name and its row: the records are still in the journals, and are read there.
#[test]
fn a_file_without_a_row_hides_nothing() {
    let place = Place::new();
    let (writer, _) = pair(&place);
    let a = name("a");
    let before = place.catalog.snapshot();
    assert_eq!(writer.seal(Some(&a)).unwrap(), 1);
    let mut options = place.options();
    options.catalog = Some(Arc::new(before));
    let beside = Log::open_read_only(options).unwrap();
    assert_eq!(beside.recovery().steps[0].action, "adopt");
    assert_eq!(read(&beside, &a, ReadOptions::default()), [1, 2, 3, 4, 5]);
    assert_eq!(beside.recovery().losses, []);
}
