//! `apache-avro` as the oracle of the hand-written codec: both write the same bytes, and each reads the other's.

#![allow(clippy::unwrap_used)] // clippy knows tests by their attribute, not the helpers beside them

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{DeflateSettings, Schema, ZstandardSettings};
use bytes::Bytes;
use icecore::avro::RECORD_SCHEMA;
use icecore::avro::codec::Codec;
use icecore::avro::container::{SYNC_BYTES, decode_block_header, decode_header};
use icecore::avro::record::{Fields, Seed, decode, encode};
use icecore::segment::footer::SEAL_SCHEMA;
use icecore::segment::keys::Keys;
use icecore::segment::{BlockEntry, Footer, Input, SequenceRange};
use icecore::{CollectionName, Epoch, Generation, Header, LogId, Sequence, Timestamp};
use proptest::option::of;
use proptest::prelude::*;

fn record_schema() -> Schema {
    Schema::parse_str(RECORD_SCHEMA).unwrap()
}

fn read(schema: &Schema, mut bytes: &[u8]) -> Value {
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "apache-avro leaves {} bytes", bytes.len());
    value
}

fn write(schema: &Schema, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    GenericDatumWriter::builder(schema).build().unwrap().write_value_ref(&mut out, value).unwrap();
    out
}

fn optional(value: Option<Value>) -> Value {
    value.map_or(Value::Union(0, Box::new(Value::Null)), |value| Value::Union(1, Box::new(value)))
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// What an encoded record must look like to a general Avro library.
fn value(fields: &Fields<'_>, checksum: u32) -> Value {
    let header = |header: &Header| {
        record(vec![("key", Value::String(header.key.clone())), ("value", Value::Bytes(header.value.to_vec()))])
    };
    record(vec![
        ("sequence", Value::Long(fields.sequence as i64)),
        ("timestamp", Value::TimestampMicros(fields.timestamp_us)),
        ("kind", Value::Int(fields.kind)),
        ("key", optional(fields.key.map(|key| Value::Bytes(key.to_vec())))),
        ("expires_at", optional(fields.expires_at_us.map(Value::TimestampMicros))),
        ("headers", Value::Array(fields.headers.iter().map(header).collect())),
        ("checksum", Value::Fixed(4, checksum.to_le_bytes().to_vec())),
        ("payload", optional(fields.payload.map(|payload| Value::Bytes(payload.to_vec())))),
    ])
}

/// A record's parts, owned.
#[derive(Clone, Debug)]
struct Parts {
    sequence: u64,
    timestamp_us: i64,
    kind: i32,
    key: Option<Vec<u8>>,
    expires_at_us: Option<i64>,
    headers: Vec<Header>,
    payload: Option<Vec<u8>>,
}

impl Parts {
    fn fields(&self) -> Fields<'_> {
        Fields {
            sequence: self.sequence,
            timestamp_us: self.timestamp_us,
            kind: self.kind,
            key: self.key.as_deref(),
            expires_at_us: self.expires_at_us,
            headers: &self.headers,
            payload: self.payload.as_deref(),
        }
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..300, 0_u64..1 << 40, Just(i64::MAX as u64), 0_u64..i64::MAX as u64]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![-70_i64..70, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..100),
        (0_usize..20_000).prop_map(|len| vec![0x5a; len]),
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    let kind = prop_oneof![0..=1_i32, 16..=21_i32];
    let header = (any::<String>(), blob()).prop_map(|(key, value)| Header { key, value: value.into() });
    let headers = proptest::collection::vec(header, 0..4);
    (number(), time(), kind, of(blob()), of(time()), headers, of(blob())).prop_map(
        |(sequence, timestamp_us, kind, key, expires_at_us, headers, payload)| Parts {
            sequence,
            timestamp_us,
            kind,
            key,
            expires_at_us,
            headers,
            payload,
        },
    )
}

fn name() -> impl Strategy<Value = CollectionName> {
    "[^\0]{1,40}".prop_map(|text| CollectionName::new(&text).unwrap())
}

fn range() -> impl Strategy<Value = SequenceRange> {
    (1..=Sequence::MAX.0, 1..=Sequence::MAX.0)
        .prop_map(|(a, b)| SequenceRange::new(Sequence(a.min(b)), Sequence(a.max(b))).unwrap())
}

fn footer() -> impl Strategy<Value = Footer> {
    let generation = || (0..=i32::MAX as u32).prop_map(Generation);
    let input = (range(), generation(), any::<[u8; 32]>()).prop_map(|(covers, generation, content_digest)| Input {
        covers,
        generation,
        content_digest,
    });
    let block = (range(), (number(), number(), number(), number()), (time(), time()), any::<u32>()).prop_map(
        |(held, (records, offset, bytes, bytes_before), (min, max), checksum)| BlockEntry {
            held,
            records,
            timestamp_min: Timestamp(min),
            timestamp_max: Timestamp(max),
            offset,
            bytes,
            bytes_before,
            checksum,
        },
    );
    let keys = (number(), blob(), of(blob()), blob()).prop_map(|(records, min, max, filter)| Keys {
        records,
        min: min.into(),
        max: max.map(Bytes::from),
        filter: filter.into(),
    });
    let names = (any::<[u8; 16]>(), name(), number(), generation(), "[a-z]{0,9}", any::<[u8; 16]>(), any::<[u8; 32]>());
    let ranges = (range(), of(range()), proptest::collection::vec(range(), 0..4));
    let lists = (proptest::collection::vec(input, 0..3), proptest::collection::vec(block, 0..5), of(keys));
    let numbers = (number(), number(), number(), number(), any::<u32>());
    (names, ranges, lists, numbers, (time(), time(), time())).prop_map(
        |(
            (log, collection, epoch, generation, codec, sync, content_digest),
            (covers, held, removed),
            (inputs, blocks, keys),
            (records, bytes_before, bytes_after, header_bytes, header_checksum),
            (created_at, min, max),
        )| Footer {
            log: LogId(log),
            collection,
            epoch: Epoch(epoch),
            generation,
            covers,
            held,
            removed,
            inputs,
            created_at: Timestamp(created_at),
            records,
            timestamp_min: Timestamp(min),
            timestamp_max: Timestamp(max),
            bytes_before,
            bytes_after,
            content_digest,
            codec,
            sync,
            header_bytes,
            header_checksum,
            blocks,
            keys,
        },
    )
}

fn footer_value(footer: &Footer) -> Value {
    let long = |number: u64| Value::Long(number as i64);
    let time = |at: Timestamp| Value::TimestampMicros(at.0);
    let range = |range: &SequenceRange| record(vec![("first", long(range.first.0)), ("last", long(range.last.0))]);
    let generation = |generation: Generation| Value::Int(generation.0 as i32);
    let fixed = |bytes: &[u8]| Value::Fixed(bytes.len(), bytes.to_vec());
    let input = |input: &Input| {
        record(vec![
            ("covers", range(&input.covers)),
            ("generation", generation(input.generation)),
            ("content_digest", fixed(&input.content_digest)),
        ])
    };
    let block = |block: &BlockEntry| {
        record(vec![
            ("first", long(block.held.first.0)),
            ("last", long(block.held.last.0)),
            ("records", long(block.records)),
            ("timestamp_min", time(block.timestamp_min)),
            ("timestamp_max", time(block.timestamp_max)),
            ("offset", long(block.offset)),
            ("bytes", long(block.bytes)),
            ("bytes_before", long(block.bytes_before)),
            ("checksum", long(block.checksum.into())),
        ])
    };
    let keys = |keys: &Keys| {
        record(vec![
            ("records", long(keys.records)),
            ("min", Value::Bytes(keys.min.to_vec())),
            ("max", optional(keys.max.as_ref().map(|max| Value::Bytes(max.to_vec())))),
            ("filter", Value::Bytes(keys.filter.to_vec())),
        ])
    };
    record(vec![
        ("log", fixed(&footer.log.0)),
        ("collection", Value::String(footer.collection.as_str().to_owned())),
        ("epoch", long(footer.epoch.0)),
        ("generation", generation(footer.generation)),
        ("covers", range(&footer.covers)),
        ("first", long(footer.held.map_or(0, |held| held.first.0))),
        ("last", long(footer.held.map_or(0, |held| held.last.0))),
        ("removed", Value::Array(footer.removed.iter().map(range).collect())),
        ("inputs", Value::Array(footer.inputs.iter().map(input).collect())),
        ("created_at", time(footer.created_at)),
        ("records", long(footer.records)),
        ("timestamp_min", time(footer.timestamp_min)),
        ("timestamp_max", time(footer.timestamp_max)),
        ("bytes_before", long(footer.bytes_before)),
        ("bytes_after", long(footer.bytes_after)),
        ("content_digest", fixed(&footer.content_digest)),
        ("codec", Value::String(footer.codec.clone())),
        ("sync", fixed(&footer.sync)),
        ("header_bytes", long(footer.header_bytes)),
        ("header_checksum", long(footer.header_checksum.into())),
        ("blocks", Value::Array(footer.blocks.iter().map(block).collect())),
        ("keys", optional(footer.keys.as_ref().map(keys))),
    ])
}

#[test]
fn the_schemas_are_well_formed() {
    assert!(Schema::parse_str(RECORD_SCHEMA).is_ok());
    assert!(Schema::parse_str(SEAL_SCHEMA).is_ok());
}

proptest! {
    #[test]
    fn records_are_the_same_bytes_both_ways(parts in parts(), collection in name()) {
        let schema = record_schema();
        let (seed, fields) = (Seed::of(&collection), parts.fields());
        let mut ours = Vec::new();
        let checksum = encode(&mut ours, seed, &fields);
        let theirs = value(&fields, checksum);
        prop_assert_eq!(&read(&schema, &ours), &theirs);
        prop_assert_eq!(&write(&schema, &theirs), &ours);

        let view = decode(&ours).unwrap();
        prop_assert!(view.is_intact(seed));
        prop_assert_eq!((view.sequence, view.timestamp_us, view.kind), (parts.sequence, parts.timestamp_us, parts.kind));
        prop_assert_eq!((view.key, view.expires_at_us, view.payload), (fields.key, fields.expires_at_us, fields.payload));
        prop_assert_eq!(view.headers(), &parts.headers[..]);
        prop_assert_eq!(view.encoded, &ours[..]);
    }

    #[test]
    fn footers_are_the_same_bytes_both_ways(footer in footer()) {
        let schema = Schema::parse_str(SEAL_SCHEMA).unwrap();
        let ours = footer.encode();
        let theirs = footer_value(&footer);
        prop_assert_eq!(&read(&schema, &ours), &theirs);
        prop_assert_eq!(write(&schema, &theirs), ours);
    }

    #[test]
    fn their_container_files_are_read_by_ours(
        all in proptest::collection::vec(parts(), 1..20),
        collection in name(),
        codec in 0..3,
    ) {
        let schema = record_schema();
        let (theirs, ours) = match codec {
            0 => (apache_avro::Codec::Null, Codec::Null),
            1 => (apache_avro::Codec::Zstandard(ZstandardSettings::new(3)), Codec::DEFAULT),
            _ => (apache_avro::Codec::Deflate(DeflateSettings::default()), Codec::Deflate { level: 6 }),
        };
        let mut writer = apache_avro::Writer::builder()
            .schema(&schema)
            .writer(Vec::new())
            .codec(theirs)
            .block_size(3000)
            .build()
            .unwrap();
        let mut encoded = Vec::new();
        for parts in &all {
            let checksum = encode(&mut encoded, Seed::of(&collection), &parts.fields());
            writer.append_value(value(&parts.fields(), checksum)).unwrap();
        }
        let file = Bytes::from(writer.into_inner().unwrap());

        let header = decode_header(&file).unwrap();
        prop_assert_eq!(Codec::from_name(header.text("avro.codec").unwrap_or("null")).unwrap(), ours);
        let (mut at, mut found, mut count) = (header.len, Vec::new(), 0);
        while at < file.len() {
            let block = decode_block_header(&file[at..]).unwrap();
            let stored = file.slice(at + block.len..at + block.len + block.bytes as usize);
            found.extend_from_slice(&ours.decompress(&stored, 1 << 24).unwrap());
            count += block.count;
            at += block.span() as usize;
            prop_assert_eq!(&file[at - SYNC_BYTES..at], &header.sync[..]);
        }
        prop_assert_eq!(count, all.len() as u64);
        prop_assert!(found == encoded);
    }
}
