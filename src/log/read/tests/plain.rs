//! By sequence and time, forwards and backwards, over memtable, cold journals and segments.

use super::*;

const ALL: ReadOptions = ReadOptions {
    from: None,
    until: None,
    from_time: None,
    until_time: None,
    limit: None,
    reverse: false,
    follow: false,
    durable: false,
};

#[test]
fn a_seal_and_a_reopening_change_nothing_for_readers() {
    let place = Place::new();
    let log = place.open();
    let events = name("events");
    append(&log, &events, 1..=50);
    assert_eq!(log.seal(Some(&events)).unwrap(), 1);
    append(&log, &events, 51..=120);
    assert_eq!(log.seal(Some(&events)).unwrap(), 1);
    append(&log, &events, 121..=130);
    let everything: Vec<u64> = (1..=130).collect();
    assert_eq!(read(&log, &events, ALL), everything);
    let backwards = ReadOptions { reverse: true, ..ALL };
    assert_eq!(read(&log, &events, backwards), (1..=130).rev().collect::<Vec<_>>());
    log.close().unwrap();
    let log = place.open();
    assert_eq!(read(&log, &events, ALL), everything);
    append(&log, &events, 131..=140);
    let some = ReadOptions { from: Some(Sequence(45)), until: Some(Sequence(133)), ..ALL };
    assert_eq!(read(&log, &events, some), (45..=133).collect::<Vec<_>>());
    assert_eq!(
        read(&log, &events, ReadOptions { reverse: true, limit: Some(70), ..some }),
        (64..=133).rev().collect::<Vec<_>>()
    );
}

#[test]
fn an_unknown_collection_and_a_contradiction_are_errors() {
    let place = Place::new();
    let log = place.open();
    let error = log.read(&name("nobody"), ALL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    append(&log, &name("a"), 1..=1);
    let both = ReadOptions { reverse: true, ..ReadOptions::follow() };
    assert_eq!(log.read(&name("a"), both).unwrap_err().kind(), ErrorKind::Invalid);
    log.close().unwrap();
    assert_eq!(log.read(&name("a"), ALL).unwrap_err().kind(), ErrorKind::Closed);
}
