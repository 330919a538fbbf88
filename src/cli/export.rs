//! Records as an Avro file on stdout, for any Avro reader, and for `append --format avro`.
//!
//! Owns: the file's shape: our record schema, blocks like those of a segment, the collection's name in the header. Records
//! have the bytes that they have in journals and segments (F1). Without the footer it is no segment, and says so by
//! `icecore.file`.

use crate::avro::codec::{Codec, CodecError, Compressor};
use crate::avro::container::{SYNC_BYTES, encode_header, put_block_header};
use crate::avro::record::{self, Fields, Seed, kind};
use crate::avro::{FORMAT_VERSION, RECORD_SCHEMA};
use crate::types::{CollectionName, Record, RecordKind, Timestamp};

/// What `icecore.file` says of such a file.
pub(super) const FILE_EXPORT: &str = "export";

/// Makes the bytes of one file.
pub(super) struct Export {
    seed: Seed,
    sync: [u8; SYNC_BYTES],
    compressor: Compressor,
    block_bytes: usize,
    block: Vec<u8>,
    records: u64,
    scratch: Vec<u8>,
}

impl Export {
    /// Begins a file: appends its header to `out`. `sync` is random.
    pub fn begin(
        collection: &CollectionName,
        (codec, block_bytes): (Codec, usize),
        sync: [u8; SYNC_BYTES],
        out: &mut Vec<u8>,
    ) -> Result<Self, CodecError> {
        let metadata: [(&str, &[u8]); 7] = [
            ("avro.schema", RECORD_SCHEMA.as_bytes()),
            ("avro.codec", codec.name().as_bytes()),
            ("icecore.format_version", &FORMAT_VERSION.to_string().into_bytes()),
            ("icecore.file", FILE_EXPORT.as_bytes()),
            ("icecore.features", b"0"),
            ("icecore.encryption_key_id", b""),
            ("icecore.collection", collection.as_str().as_bytes()),
        ];
        out.extend_from_slice(&encode_header(&metadata, sync));
        Ok(Self {
            seed: Seed::of(collection),
            sync,
            compressor: Compressor::new(codec)?,
            block_bytes,
            block: Vec::new(),
            records: 0,
            scratch: Vec::new(),
        })
    }

    /// Adds a record; a block that is full goes to `out`.
    pub fn add(&mut self, record: &Record, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let fields = Fields {
            sequence: record.sequence.0,
            timestamp_us: record.timestamp.micros(),
            kind: match record.kind {
                RecordKind::Put => kind::PUT,
                RecordKind::Delete => kind::DELETE,
            },
            key: record.key.as_deref(),
            expires_at_us: record.expires_at.map(Timestamp::micros),
            headers: &record.headers,
            payload: record.payload.as_deref(),
        };
        record::encode(&mut self.block, self.seed, &fields);
        self.records += 1;
        if self.block.len() >= self.block_bytes { self.end_block(out) } else { Ok(()) }
    }

    /// What is left goes to `out`; the file may go on.
    pub fn end_block(&mut self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if self.records == 0 {
            return Ok(());
        }
        let stored = self.compressor.compress(&self.block, &mut self.scratch)?;
        put_block_header(out, self.records, stored.len() as u64);
        out.extend_from_slice(stored);
        out.extend_from_slice(&self.sync);
        self.block.clear();
        self.records = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::input::{Input, InputFormat, InputOptions};
    use crate::config::ByteSize;
    use crate::types::{Header, NewRecord, Sequence};
    use apache_avro::types::Value;

    fn records(count: u64) -> Vec<Record> {
        let record = |number: u64| Record {
            sequence: Sequence(number),
            timestamp: Timestamp(number.cast_signed() * 1_000_001),
            kind: if number.is_multiple_of(5) { RecordKind::Delete } else { RecordKind::Put },
            key: (!number.is_multiple_of(3) || number.is_multiple_of(5)).then(|| format!("k{number}").into()),
            expires_at: number.is_multiple_of(2).then_some(Timestamp(-1)),
            headers: vec![Header { key: "h".to_owned(), value: vec![0, 255].into() }; (number % 3) as usize],
            payload: (!number.is_multiple_of(5)).then(|| vec![b'x'; (number % 97) as usize].into()),
        };
        (1..=count).map(record).collect()
    }

    fn export(codec: Codec, count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let collection = CollectionName::new("c").unwrap();
        let mut export = Export::begin(&collection, (codec, 500), [7; 16], &mut out).unwrap();
        for record in records(count) {
            export.add(&record, &mut out).unwrap();
        }
        export.end_block(&mut out).unwrap();
        export.end_block(&mut out).unwrap();
        out
    }

    fn options() -> InputOptions {
        InputOptions {
            format: InputFormat::Avro,
            key: None,
            timestamp: None,
            record_bytes_max: ByteSize::mib(1),
            key_bytes_max: ByteSize::kib(1),
            collection: CollectionName::new("other").ok(),
        }
    }

    fn read(bytes: &[u8]) -> (Vec<NewRecord>, Option<String>) {
        let mut records = Vec::new();
        for next in Input::new(bytes, options()).unwrap() {
            match next {
                Ok(input) => records.push(input.record),
                Err(error) => return (records, Some(error.to_string())),
            }
        }
        (records, None)
    }

    #[test]
    fn comes_back_as_input_with_all_that_it_has() {
        for codec in [Codec::Null, Codec::DEFAULT, Codec::Deflate { level: 6 }] {
            let (back, error) = read(&export(codec, 500));
            assert_eq!(error, None, "{codec:?}");
            let wanted = records(500).into_iter().map(|record| NewRecord {
                kind: record.kind,
                key: record.key,
                payload: record.payload,
                headers: record.headers,
                timestamp: Some(record.timestamp),
                expires_at: record.expires_at,
            });
            assert!(back.into_iter().eq(wanted), "{codec:?}");
        }
    }

    #[test]
    fn another_avro_reader_reads_it() {
        for codec in [Codec::Null, Codec::DEFAULT] {
            let bytes = export(codec, 500);
            let reader = apache_avro::Reader::new(&bytes[..]).unwrap();
            let read: Vec<Value> = reader.map(Result::unwrap).collect();
            assert_eq!(read.len(), 500);
            let Value::Record(fields) = &read[6] else { panic!("{:?}", read[6]) };
            assert_eq!(fields[0], ("sequence".to_owned(), Value::Long(7)));
            assert_eq!(fields[3].1, Value::Union(1, Box::new(Value::Bytes(b"k7".to_vec()))));
            assert_eq!(fields[7].1, Value::Union(1, Box::new(Value::Bytes(vec![b'x'; 7]))));
        }
    }

    #[test]
    fn every_flipped_byte_is_told_or_changes_nothing() {
        let good = export(Codec::Null, 40);
        let (wanted, _) = read(&good);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            let Ok(input) = Input::new(&bytes[..], options()) else { continue };
            let mut count = 0;
            for (next, wanted) in input.zip(&wanted) {
                // In the header nothing guards the texts that a reader does not use.
                match next {
                    Ok(input) => assert_eq!(&input.record, wanted, "byte {at}"),
                    Err(_) => break,
                }
                count += 1;
            }
            assert!(count <= wanted.len());
        }
        for cut in 0..good.len() {
            // Cut anywhere, it gives whole records of the front and never others.
            if let Ok(input) = Input::new(&good[..cut], options()) {
                for (next, wanted) in input.zip(&wanted) {
                    let Ok(input) = next else { break };
                    assert_eq!(&input.record, wanted, "cut at {cut}");
                }
            }
        }
    }
}
