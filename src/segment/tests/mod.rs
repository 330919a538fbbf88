//! What a segment must do: give back every record, only those, and nothing damaged.

mod damage;
mod oracle;
mod round_trip;

use std::path::Path;
use std::sync::Arc;

use super::memory::{Memory, MemoryFile};
use super::*;
use crate::avro::codec::Codec;
use crate::avro::record::{Fields, Seed, decode, encode, kind};
use crate::types::{CollectionName, Epoch, Generation, Header, LogId, Record, RecordKind, Timestamp};

pub const CODECS: [Codec; 3] = [Codec::Null, Codec::DEFAULT, Codec::Deflate { level: 6 }];

pub fn collection() -> CollectionName {
    CollectionName::new("Orders/ü").unwrap()
}

pub fn meta(first: u64) -> SegmentMeta {
    SegmentMeta {
        log: LogId([7; 16]),
        collection: collection(),
        epoch: Epoch(3),
        generation: Generation(0),
        first: Sequence(first),
        inputs: Vec::new(),
        created_at: Timestamp(1_700_000_000_000_000),
    }
}

/// A record's bytes.
pub fn encoded(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = Fields {
        sequence: record.sequence.0,
        timestamp_us: record.timestamp.0,
        kind: if record.kind == RecordKind::Put { kind::PUT } else { kind::DELETE },
        key: record.key.as_deref(),
        expires_at_us: record.expires_at.map(|at| at.0),
        headers: &record.headers,
        payload: record.payload.as_deref(),
    };
    encode(&mut out, Seed::of(&collection()), &fields);
    out
}

pub fn push(writer: &mut SegmentWriter, record: &Record) -> Result<(), SegmentError> {
    writer.push(&decode(&encoded(record)).unwrap())
}

/// Records of mixed shape, with keys that repeat and times that run backwards.
pub fn sample(first: u64, count: u64) -> Vec<Record> {
    (first..first + count)
        .map(|sequence| Record {
            sequence: Sequence(sequence),
            timestamp: Timestamp(1_000_000 + (sequence as i64 * 7919) % 10_000),
            kind: if sequence % 7 == 3 { RecordKind::Delete } else { RecordKind::Put },
            key: (sequence % 3 != 0).then(|| format!("key-{}", sequence % 11).into()),
            expires_at: (sequence % 5 == 0).then_some(Timestamp(sequence as i64)),
            headers: (0..sequence % 3)
                .map(|number| Header { key: format!("h{number}"), value: format!("value {sequence}").into() })
                .collect(),
            payload: (sequence % 7 != 3).then(|| format!("payload {sequence} ").repeat(sequence as usize % 9).into()),
        })
        .collect()
}

/// A sealed segment and its bytes.
pub fn seal(codec: Codec, block_bytes: usize, records: &[Record]) -> (Sealed, Vec<u8>) {
    let fs = Memory::default();
    let first = records[0].sequence.0;
    let mut writer =
        SegmentWriter::create(&fs, Path::new("s"), meta(first), WriteOptions { codec, block_bytes }).unwrap();
    records.iter().for_each(|record| push(&mut writer, record).unwrap());
    let sealed = writer.finish().unwrap();
    let bytes = fs.bytes(Path::new("s"));
    (sealed, bytes)
}

pub fn source(bytes: &[u8]) -> Arc<dyn ReadRange> {
    Arc::new(FileRange(MemoryFile::of("s", bytes)))
}

pub fn open(bytes: &[u8]) -> Result<SegmentReader, SegmentError> {
    SegmentReader::open_range(source(bytes))
}

pub fn all(reader: &SegmentReader) -> Result<Vec<Record>, SegmentError> {
    reader.records_from(Sequence::FIRST).collect()
}
