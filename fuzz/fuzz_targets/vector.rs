//! Vector records: payloads and JSON lines of any bytes.
#![no_main]

use icecore::vector::VectorRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = VectorRecord::decode(bytes) {
        check(&record);
        let mut again = Vec::new();
        record.encode(&mut again);
        // What is read is in the one form that is written, or in one that is longer.
        assert!(again.len() <= bytes.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(record) = VectorRecord::from_json(text)
    {
        check(&record);
        let mut payload = Vec::new();
        record.encode(&mut payload);
        assert_eq!(VectorRecord::decode(&payload).as_ref(), Ok(&record));
    }
});

fn check(record: &VectorRecord) {
    assert_eq!(record.check(), Ok(()));
    let line = record.to_json();
    assert!(!line.contains(['\n', '\r']));
    let back = VectorRecord::from_json(&line).expect("what is shown is read");
    let bits = |record: &VectorRecord| record.vector.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!((&back.id, bits(&back)), (&record.id, bits(record)));
}
