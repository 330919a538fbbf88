//! Lines, JSON lines, stanzas: no byte of a record is lost, and it does not matter how the bytes arrive.
#![no_main]

use std::io::Read;

use icecore::cli::input::{Input, InputFormat, InputOptions, InputRecord};
use icecore::config::ByteSize;
use libfuzzer_sys::fuzz_target;

/// Gives a few bytes at a time.
struct Slowly<'a>(&'a [u8], usize);

impl Read for Slowly<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = self.1.min(self.0.len()).min(out.len());
        out[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

fn read(bytes: &[u8], step: usize, options: &InputOptions) -> (Vec<InputRecord>, Option<String>) {
    let (mut records, mut error) = (Vec::new(), None);
    let input = Input::new(Slowly(bytes, step), options.clone()).expect("the options go together");
    for record in input {
        match record {
            Ok(record) => records.push(record),
            Err(found) => {
                let _ = found.hint();
                error = Some(found.to_string());
            }
        }
    }
    (records, error)
}

fuzz_target!(|bytes: &[u8]| {
    let [which, step, bytes @ ..] = bytes else { return };
    let format = [InputFormat::Lines, InputFormat::Ndjson, InputFormat::Stanzas][usize::from(which % 3)];
    let has_fields = format != InputFormat::Lines;
    let options = InputOptions {
        format,
        key: (which & 4 != 0 && has_fields).then(|| "k".to_owned()),
        timestamp: (which & 8 != 0 && has_fields).then(|| "t".to_owned()),
        record_bytes_max: ByteSize(if which & 16 == 0 { 1 << 20 } else { 16 }),
        key_bytes_max: ByteSize(if which & 32 == 0 { 1 << 10 } else { 2 }),
        collection: None,
    };
    let (records, error) = read(bytes, usize::MAX, &options);
    assert_eq!(read(bytes, usize::from(*step).max(1), &options), (records.clone(), error.clone()), "arrived in pieces");

    let mut end = 0;
    for (number, record) in records.iter().enumerate() {
        let at = record.place.offset as usize;
        let payload = record.record.payload.as_deref().expect("every record of these formats has one");
        assert_eq!(record.place.record, number as u64 + 1);
        assert_eq!(&bytes[at..at + payload.len()], payload, "not the bytes of the input");
        assert!(at >= end);
        assert!(bytes[end..at].iter().all(|byte| b"\r\n \t\x0c".contains(byte)), "bytes in no record");
        end = at + payload.len();
    }
    if error.is_none() {
        assert!(bytes[end..].iter().all(|byte| b"\r\n \t\x0c".contains(byte)), "bytes behind the last record");
    }
});
