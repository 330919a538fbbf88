//! Avro files as input: segments and journals, whole, with edits, and any bytes.
#![no_main]

use icecore::CollectionName;
use icecore::cli::input::{Input, InputFormat, InputOptions};
use icecore::config::ByteSize;
use icecore_fuzz::{edit, samples};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [which, bytes @ ..] = bytes else { return };
    let samples = samples();
    let file = match which % 9 {
        0 => bytes.to_vec(),
        1 => edit(&samples.journal, bytes),
        2 => edit(&samples.open_journal, bytes),
        other => edit(&samples.segments[usize::from(other) - 3].1, bytes),
    };
    let options = InputOptions {
        format: InputFormat::Avro,
        key: None,
        timestamp: None,
        record_bytes_max: ByteSize(1 << 20),
        key_bytes_max: ByteSize(1 << 10),
        collection: (which % 9 < 3).then(|| CollectionName::new("orders").expect("a good name")),
    };
    let Ok(input) = Input::new(file.as_slice(), options) else { return };
    let mut last = None;
    for record in input {
        match record {
            Ok(record) => {
                assert!(last.is_none(), "a record after an error");
                assert!(record.record.payload.is_none_or(|payload| payload.len() <= 1 << 20));
            }
            Err(error) => {
                let _ = (error.to_string(), error.hint());
                last = Some(error);
            }
        }
    }
});
