//! Reads the records of our own Avro files: segments, journals, and what `cat --format avro` prints.
//!
//! Owns: which files are ours, and which records of them are a user's; control records are skipped. Files come as
//! streams, so that a pipe will do: what a segment's footer says is not used.
//!
//! What always holds: a record is handed out only when its checksum is right, where the file says whose records it holds
//! (a copy made by another program may not); of a journal, only when its whole group is right (J1). Memory is bounded by
//! the largest block.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead as _, BufReader, Chain, Cursor, Read};

use bytes::Bytes;

use super::avro_schema::{is_record_schema, schema_name};
use super::{InputError, InputOptions, InputRecord, Place};
use crate::avro::AvroError;
use crate::avro::codec::Codec;
use crate::avro::container::{FileHeader, HEADER_BYTES_MAX, SYNC_BYTES, decode_header, put_block_header};
use crate::avro::record::{self, Seed, kind};
use crate::avro::varint::Decoder;
use crate::config::ByteSize;
use crate::journal::{FileId, group};
use crate::segment::header::newer;
use crate::types::{CollectionName, NewRecord};

/// A block that is longer, stored or decompressed, is not ours.
const BLOCK_BYTES_MAX: usize = 1 << 30;
/// Enough of a block to tell a PAD record, whose payload may fill a whole journal.
const PROBE_BYTES: usize = 32;

/// The records of one file.
pub(super) struct AvroReader<R> {
    reader: BufReader<Chain<Cursor<Vec<u8>>, R>>,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
    shape: Shape,
    collection: Option<CollectionName>,
    limits: [ByteSize; 2],
    /// Offset of the next block.
    offset: u64,
    /// Offset of the block that `ready` came from.
    block_offset: u64,
    ready: VecDeque<NewRecord>,
    /// What stands behind `ready` in the same block.
    broken: Option<String>,
    taken: u64,
    others: BTreeSet<CollectionName>,
}

/// What is known of the file.
enum Shape {
    /// Records of one collection, or of any where the file does not tell.
    Records(Option<Seed>),
    /// Groups, whose tables tell.
    Journal,
}

impl<R: Read> AvroReader<R> {
    pub(super) fn open(mut reader: R, options: &InputOptions) -> Result<Self, InputError> {
        let (header, front) = read_header(&mut reader)?;
        let malformed = |why: &str| malformed(Place { record: 1, line: 0, offset: 0 }, why);
        let schema = header.text("avro.schema").and_then(|text| serde_json::from_str(text).ok());
        let schema: serde_json::Value = schema.ok_or_else(|| malformed("its header has no schema"))?;
        if !is_record_schema(&schema) {
            return Err(InputError::ForeignSchema { schema: schema_name(&schema) });
        }
        // A file without our metadata is a copy that another program made.
        if let Some(what) = newer(&header).filter(|_| header.get("icecore.format_version").is_some()) {
            return Err(InputError::Newer { what });
        }
        let codec = Codec::from_name(header.text("avro.codec").unwrap_or("null"));
        let codec = codec.map_err(|error| InputError::Newer { what: error.to_string() })?;
        let shape = match header.text("icecore.file") {
            Some("journal" | "cold") => Shape::Journal,
            _ => {
                let name = header.text("icecore.collection").and_then(|name| CollectionName::new(name).ok());
                Shape::Records(name.as_ref().map(Seed::of))
            }
        };
        let offset = header.len as u64;
        let rest = Cursor::new(front[header.len..].to_vec());
        Ok(Self {
            reader: BufReader::with_capacity(256 << 10, rest.chain(reader)),
            codec,
            sync: header.sync,
            shape,
            collection: options.collection.clone(),
            limits: [options.record_bytes_max, options.key_bytes_max],
            offset,
            block_offset: offset,
            ready: VecDeque::new(),
            broken: None,
            taken: 0,
            others: BTreeSet::new(),
        })
    }

    pub(super) fn has_buffered(&self) -> bool {
        !self.ready.is_empty() || self.broken.is_some()
    }

    pub(super) fn read_record(&mut self, number: u64) -> Result<Option<InputRecord>, InputError> {
        loop {
            let place = Place { record: number, line: 0, offset: self.block_offset };
            if let Some(record) = self.ready.pop_front() {
                self.check_limits(&record, place)?;
                self.taken += 1;
                return Ok(Some(InputRecord { record, place }));
            }
            if let Some(why) = self.broken.take() {
                return Err(InputError::Damaged { place, why });
            }
            let place = Place { offset: self.offset, ..place };
            let at_end = self.reader.fill_buf().map_err(|source| InputError::Read { place, source })?.is_empty();
            if at_end {
                return self.end();
            }
            self.read_block(place)?;
        }
    }

    fn end(&mut self) -> Result<Option<InputRecord>, InputError> {
        match &self.collection {
            Some(collection) if self.taken == 0 && !self.others.is_empty() => {
                let holds: Vec<&str> = self.others.iter().take(10).map(CollectionName::as_str).collect();
                Err(InputError::NotInJournal { collection: collection.clone(), holds: holds.join(", ") })
            }
            _ => Ok(None),
        }
    }

    fn check_limits(&self, record: &NewRecord, place: Place) -> Result<(), InputError> {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        for (what, len, limit, setting) in [
            ("record", len(&record.payload), self.limits[0], "limits.record_bytes"),
            ("key", len(&record.key), self.limits[1], "limits.key_bytes"),
        ] {
            if len > limit.as_len() {
                return Err(InputError::TooLarge { what, place, limit, setting });
            }
        }
        Ok(())
    }

    fn read_block(&mut self, place: Place) -> Result<(), InputError> {
        let cut = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => damaged(place, "the file ends within a block"),
            _ => InputError::Read { place, source },
        };
        let (count, count_len) = self.read_long().map_err(cut)?;
        let (len, len_len) = self.read_long().map_err(cut)?;
        let (Ok(count), Ok(stored_len)) = (u64::try_from(count), usize::try_from(len)) else {
            return Err(damaged(place, "no block header"));
        };
        self.block_offset = self.offset;
        self.offset += (count_len + len_len + stored_len + SYNC_BYTES) as u64;
        let mut stored = vec![0; stored_len.min(PROBE_BYTES)];
        self.reader.read_exact(&mut stored).map_err(cut)?;
        let is_pad = count == 1 && self.codec == Codec::Null && is_pad(&stored);
        if is_pad {
            let rest = (stored_len - stored.len()) as u64;
            let skipped = io::copy(&mut (&mut self.reader).take(rest), &mut io::sink()).map_err(cut)?;
            if skipped < rest {
                return Err(damaged(place, "the file ends within a block"));
            }
        } else if stored_len > BLOCK_BYTES_MAX {
            return Err(damaged(place, "a block is longer than any of ours"));
        } else {
            // Grown as bytes come, so that a length that is a lie costs no memory.
            let rest = (stored_len - stored.len()) as u64;
            let read = (&mut self.reader).take(rest).read_to_end(&mut stored).map_err(cut)?;
            if (read as u64) < rest {
                return Err(damaged(place, "the file ends within a block"));
            }
        }
        let mut sync = [0; SYNC_BYTES];
        self.reader.read_exact(&mut sync).map_err(cut)?;
        if sync != self.sync {
            return Err(damaged(place, "a block does not end in the file's sync marker"));
        }
        match self.shape {
            _ if is_pad => Ok(()),
            Shape::Records(seed) => self.take_records(&stored.into(), seed, count, place),
            Shape::Journal => self.take_group(&stored, count, place),
        }
    }

    fn take_records(&mut self, stored: &Bytes, seed: Option<Seed>, count: u64, place: Place) -> Result<(), InputError> {
        let block = match self.codec {
            Codec::Deflate { .. } => inflate(stored).map_err(|error| damaged(place, &error.to_string()))?,
            codec => codec.decompress(stored, BLOCK_BYTES_MAX).map_err(|error| damaged(place, &error.to_string()))?,
        };
        let mut at = 0;
        for _ in 0..count {
            let Ok(view) = record::decode(&block[at..]) else {
                self.broken = Some("a record cannot be decoded".to_owned());
                return Ok(());
            };
            at += view.encoded.len();
            match (view.user_kind(), seed) {
                (Err(_), _) => self.broken = Some(format!("a record is of an unknown kind: kind=`{}`", view.kind)),
                (Ok(None), _) => continue,
                (Ok(Some(_)), Some(seed)) if !view.is_intact(seed) => {
                    self.broken = Some(format!("the checksum of a record is wrong: sequence=`{}`", view.sequence));
                }
                (Ok(Some(_)), _) => {
                    self.ready.extend(view.to_record(&block).map(new_record));
                    continue;
                }
            }
            return Ok(());
        }
        if at < block.len() {
            self.broken = Some("a block has bytes behind its last record".to_owned());
        }
        Ok(())
    }

    fn take_group(&mut self, stored: &[u8], count: u64, place: Place) -> Result<(), InputError> {
        let mut bytes = Vec::with_capacity(stored.len() + 40);
        put_block_header(&mut bytes, count, stored.len() as u64);
        bytes.extend_from_slice(stored);
        bytes.extend_from_slice(&self.sync);
        let decoded =
            group::decode_group(&bytes, FileId(self.sync), place.offset).map_err(|why| damaged(place, why))?;
        let mut at = 0;
        for held in &decoded.head.holds {
            let run = &decoded.records[at..at + held.bytes as usize];
            at += run.len();
            let Some(collection) = &held.collection else { continue };
            if self.collection.as_ref().is_some_and(|wanted| wanted != collection) {
                self.others.insert(collection.clone());
                continue;
            }
            let run = Bytes::copy_from_slice(run);
            let mut from = 0;
            while from < run.len() {
                let view = record::decode(&run[from..]).map_err(|error| damaged(place, &error.to_string()))?;
                from += view.encoded.len();
                let record = view.to_record(&run).map_err(|error| damaged(place, &error.to_string()))?;
                self.ready.push_back(new_record(record));
            }
        }
        Ok(())
    }

    /// A long, and how many bytes it took.
    fn read_long(&mut self) -> io::Result<(i64, usize)> {
        let mut bytes = [0; 10];
        for at in 0..bytes.len() {
            self.reader.read_exact(&mut bytes[at..=at])?;
            if bytes[at] & 0x80 == 0 {
                let long = Decoder::new(&bytes[..=at]).long().map_err(io::Error::other)?;
                return Ok((long, at + 1));
            }
        }
        Err(io::Error::other(AvroError::LongTooLong))
    }
}

fn new_record(record: crate::types::Record) -> NewRecord {
    NewRecord {
        kind: record.kind,
        key: record.key,
        payload: record.payload,
        headers: record.headers,
        timestamp: Some(record.timestamp),
        expires_at: record.expires_at,
    }
}

/// Inflates a block, and takes no offence at bytes behind its end: some writers (fastavro, Apache's Avro for Python)
/// leave three bytes of a zlib checksum there.
fn inflate(stored: &[u8]) -> io::Result<Bytes> {
    let mut block = Vec::new();
    let limit = BLOCK_BYTES_MAX as u64;
    let read = flate2::read::DeflateDecoder::new(stored).take(limit + 1).read_to_end(&mut block)?;
    if read as u64 > limit {
        return Err(io::Error::other("a block decompresses to more than any of ours"));
    }
    Ok(block.into())
}

/// Whether a block begins with a PAD record: sequence 0, time 0, kind.
fn is_pad(front: &[u8]) -> bool {
    let mut decoder = Decoder::new(front);
    let mut next = || decoder.long().ok();
    next() == Some(0) && next().is_some() && next() == Some(i64::from(kind::PAD))
}

/// Reads as much as holds the header; gives that too.
fn read_header(reader: &mut impl Read) -> Result<(FileHeader, Vec<u8>), InputError> {
    let place = Place { record: 1, line: 0, offset: 0 };
    let mut front = Vec::new();
    loop {
        // As much as comes at once: a pipe that is slow behind its header is not waited for.
        let mut chunk = [0; 8 << 10];
        let read = match reader.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|source| InputError::Read { place, source })?,
        };
        front.extend_from_slice(&chunk[..read]);
        match decode_header(&front) {
            Ok(header) => return Ok((header, front)),
            Err(AvroError::Truncated) if read > 0 && front.len() < HEADER_BYTES_MAX => {}
            Err(error) => return Err(malformed(place, &error.to_string())),
        }
    }
}

fn malformed(place: Place, why: &str) -> InputError {
    InputError::Malformed { format: "avro", place, why: why.to_owned() }
}

fn damaged(place: Place, why: &str) -> InputError {
    InputError::Damaged { place, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Input, InputFormat};
    use super::*;
    use crate::avro::RECORD_SCHEMA;
    use crate::avro::container::encode_header;
    use crate::types::Sequence;

    fn options() -> InputOptions {
        InputOptions {
            format: InputFormat::Avro,
            key: None,
            timestamp: None,
            record_bytes_max: ByteSize(10),
            key_bytes_max: ByteSize(3),
            collection: None,
        }
    }

    fn file(metadata: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut all: Vec<(&str, &[u8])> = vec![("avro.schema", RECORD_SCHEMA.as_bytes())];
        all.extend(metadata.iter().map(|(name, value)| (*name, value.as_bytes())));
        let mut bytes = encode_header(&all, [7; SYNC_BYTES]);
        bytes.extend_from_slice(body);
        bytes
    }

    fn block(records: &[u8], count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_block_header(&mut bytes, count, records.len() as u64);
        bytes.extend_from_slice(records);
        bytes.extend_from_slice(&[7; SYNC_BYTES]);
        bytes
    }

    fn record(key: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let fields = record::Fields {
            sequence: Sequence(9).0,
            timestamp_us: 5,
            kind: kind::PUT,
            key: Some(key),
            expires_at_us: None,
            headers: &[],
            payload: Some(payload),
        };
        record::encode(&mut bytes, Seed::control(), &fields);
        bytes
    }

    /// How many records come, and what ends them.
    fn read(bytes: &[u8]) -> (usize, String) {
        let mut count = 0;
        for next in Input::new(bytes, options()).unwrap() {
            match next {
                Ok(_) => count += 1,
                Err(error) => return (count, error.to_string()),
            }
        }
        (count, String::new())
    }

    #[test]
    fn a_copy_without_our_metadata_is_read() {
        let two = block(&[record(b"a", b"1"), record(b"b", b"2")].concat(), 2);
        // Without `avro.codec` there is no compression, says the specification.
        assert_eq!(read(&file(&[], &two)), (2, String::new()));
        let empty = block(&[], 0);
        assert_eq!(read(&file(&[], &[empty, two].concat())), (2, String::new()));
        assert_eq!(read(&file(&[], b"")), (0, String::new()));
        let mut deflated = Vec::new();
        let mut deflate = crate::avro::codec::Compressor::new(Codec::Deflate { level: 6 }).unwrap();
        let mut left_over = deflate.compress(&record(b"a", b"1"), &mut deflated).unwrap().to_vec();
        left_over.extend_from_slice(&[1, 2, 3]);
        assert_eq!(read(&file(&[("avro.codec", "deflate")], &block(&left_over, 1))), (1, String::new()));
    }

    #[test]
    fn limits_and_damage_come_after_the_records_before_them() {
        let (good, large, key) = (record(b"a", b"1"), record(b"a", b"12345678901"), record(b"long", b""));
        let (count, error) = read(&file(&[], &block(&[good.clone(), large].concat(), 2)));
        assert!(count == 1 && error.starts_with("record is over the limit: record=`2`"), "{count} {error}");
        let (count, error) = read(&file(&[], &block(&[good.clone(), key].concat(), 2)));
        assert!(count == 1 && error.starts_with("key is over the limit: record=`2`"), "{count} {error}");
        for (bytes, what) in [
            (block(&good, 2), "a record cannot be decoded"),
            (block(&[good.clone(), vec![0]].concat(), 1), "bytes behind its last record"),
        ] {
            let (count, error) = read(&file(&[], &bytes));
            assert!(count == 1 && error.contains(what), "{count} {error}");
        }
        // The seed of the name in the header is not that of the record.
        let (count, error) = read(&file(&[("icecore.collection", "c")], &block(&good, 1)));
        assert!(count == 0 && error.contains("checksum of a record is wrong: sequence=`9`"), "{count} {error}");
        let unknown = Input::new(&file(&[("avro.codec", "bzip2")], b"")[..], options()).err().unwrap();
        assert!(unknown.to_string().contains("avro.codec=`bzip2`"), "{unknown}");
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_records_or_an_error(body: Vec<u8>, codec in prop::sample::select(vec!["null", "zstandard", "deflate"]),
                                                kind in prop::sample::select(vec!["segment", "journal"])) {
            let _ = read(&file(&[("avro.codec", codec), ("icecore.file", kind), ("icecore.format_version", "1"),
                                 ("icecore.features", "0")], &body));
            let _ = read(&file(&[("avro.codec", codec)], &block(&body, 3)));
            let _ = Input::new(&body[..], options()).map(|input| input.take(5).count());
        }
    }
}
