//! What was written comes back, by every way of reading.

use proptest::prelude::*;

use super::*;
use crate::avro::container::{decode_header, encode_header};
use crate::fs::FileSystem as _;

#[test]
fn every_way_of_reading_gives_the_records() {
    for codec in CODECS {
        let records = sample(5, 500);
        let (sealed, bytes) = seal(codec, 1000, &records);
        assert_eq!(sealed.bytes, bytes.len() as u64);
        assert_eq!(sealed.sha256, crate::avro::sha256(&bytes));
        let reader = open(&bytes).unwrap();
        assert_eq!(reader.reads(), 2, "opening takes the end and the front");
        assert_eq!(reader.footer(), &sealed.footer);
        assert!(reader.blocks() > 10 && reader.flaw().is_none());
        assert_eq!(all(&reader).unwrap(), records);
        for from in [0, 1, 5, 6, 250, 504, 505, 9999] {
            let (below, from_on): (Vec<_>, Vec<_>) =
                records.iter().cloned().partition(|record| record.sequence.0 < from);
            let ascending: Result<Vec<_>, _> = reader.records_from(Sequence(from)).collect();
            assert_eq!(ascending.unwrap(), from_on, "{codec:?} from {from}");
            let mut descending = reader.records_back_from(Sequence(from)).collect::<Result<Vec<_>, _>>().unwrap();
            descending.reverse();
            let mut expected = below;
            expected.extend(from_on.into_iter().filter(|record| record.sequence.0 == from));
            assert_eq!(descending, expected, "{codec:?} back from {from}");
        }
        for record in &records {
            assert_eq!(reader.get(record.sequence).unwrap().as_ref(), Some(record));
        }
        assert_eq!(reader.get(Sequence(4)).unwrap(), None);
        assert_eq!(reader.get(Sequence(505)).unwrap(), None);
    }
}

#[test]
fn the_newest_of_a_key_is_found_and_other_segments_are_not_read() {
    let records = sample(1, 300);
    let (_, bytes) = seal(Codec::DEFAULT, 700, &records);
    let reader = open(&bytes).unwrap();
    for number in 0..11 {
        let key = format!("key-{number}");
        let newest = records.iter().rev().find(|record| record.key.as_deref() == Some(key.as_bytes()));
        assert_eq!(reader.find_newest(key.as_bytes()).unwrap().as_ref(), newest);
    }
    let reads = reader.reads();
    for stranger in ["", "key", "key-", "key-11", "key-999", "zebra"] {
        assert_eq!(reader.find_newest(stranger.as_bytes()).unwrap(), None);
    }
    assert_eq!(reader.reads(), reads, "the bounds or the filter denied each of them");
    let mut keyless = sample(1, 9);
    keyless.iter_mut().for_each(|record| record.key = None);
    let (sealed, bytes) = seal(Codec::Null, 700, &keyless);
    assert_eq!(sealed.footer.keys, None);
    assert_eq!(open(&bytes).unwrap().find_newest(b"").unwrap(), None);
}

#[test]
fn blocks_in_time_holds_every_record_of_that_time() {
    let records = sample(1, 300);
    let (_, bytes) = seal(Codec::Null, 700, &records);
    let reader = open(&bytes).unwrap();
    for from in (1_000_000..1_010_000).step_by(997) {
        let (from, until) = (Timestamp(from), Timestamp(from + 50));
        let blocks: Vec<_> = reader.blocks_in_time(from, until).collect();
        for record in records.iter().filter(|record| (from..=until).contains(&record.timestamp)) {
            assert!(blocks.contains(&reader.footer().block_holding(record.sequence).unwrap()));
        }
    }
    assert_eq!(reader.blocks_in_time(Timestamp(0), Timestamp(999_999)).count(), 0);
    assert_eq!(reader.blocks_in_time(Timestamp::MIN, Timestamp::MAX).count(), reader.blocks());
}

#[test]
fn the_trailer_stands_at_one_place_whatever_the_codec_and_size() {
    for codec in CODECS {
        for count in [1_u64, 100, 60_000, 150_000] {
            // Distinct keys make the footer larger than one raw block, so that the framing cuts it.
            let mut records = sample(1, count);
            records.iter_mut().for_each(|record| record.key = Some(record.sequence.to_string().into()));
            records.iter_mut().for_each(|record| record.payload = None);
            let (sealed, bytes) = seal(codec, 4 << 10, &records);
            let at = bytes.len() - 16 - seal::TRAILER_BYTES;
            assert_eq!(&bytes[at..at + 8], b"ICESEAL\n", "{codec:?} {count}");
            let reader = open(&bytes).unwrap();
            assert_eq!(reader.footer(), &sealed.footer);
            assert!(reader.flaw().is_none(), "{codec:?} {count}: {:?}", reader.flaw());
            let footer_bytes = sealed.footer.encode().len();
            assert_eq!(reader.reads() > 2, footer_bytes > 64 << 10, "{codec:?} {count}");
            assert!(count < 150_000 || footer_bytes > 128 << 10, "large enough to be cut in a zstandard file too");
        }
    }
}

#[test]
fn long_keys_and_records_longer_than_a_block() {
    let mut records = sample(1, 20);
    records[3].key = Some(vec![b'k'; 65_536].into());
    records[9].payload = Some((0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>().into());
    records[10].key = Some(vec![0xff; 100].into());
    for codec in CODECS {
        let (sealed, bytes) = seal(codec, 1000, &records);
        let reader = open(&bytes).unwrap();
        assert_eq!(all(&reader).unwrap(), records);
        assert_eq!(sealed.footer.keys.as_ref().unwrap().max, None);
        assert!(sealed.footer.blocks.iter().all(|block| block.records == 1 || block.bytes_before <= 1000));
        assert_eq!(reader.find_newest(&[b'k'; 65_536]).unwrap().as_ref(), Some(&records[3]));
        assert_eq!(reader.find_newest(&[0xff; 100]).unwrap().as_ref(), Some(&records[10]));
    }
}

#[test]
fn the_same_records_give_the_same_bytes_and_digest() {
    let records = sample(1, 100);
    let (one, bytes) = seal(Codec::DEFAULT, 1000, &records);
    assert_eq!(seal(Codec::DEFAULT, 1000, &records).1, bytes);
    let (other, _) = seal(Codec::Null, 333, &records);
    assert_eq!(one.footer.content_digest, other.footer.content_digest);
    assert_ne!(one.sha256, other.sha256);
}

#[test]
fn what_must_not_enter_a_segment_is_refused() {
    let fs = Memory::default();
    let path = Path::new("s");
    let mut writer = SegmentWriter::create(&fs, path, meta(1), WriteOptions::default()).unwrap();
    assert!(matches!(
        SegmentWriter::create(&fs, path, meta(1), WriteOptions::default()),
        Err(SegmentError::Fs(error)) if error.is_already_exists()
    ));
    let records = sample(1, 3);
    assert!(matches!(push(&mut writer, &records[1]), Err(SegmentError::Misused { .. })));
    let mut damaged = encoded(&records[0]);
    *damaged.last_mut().unwrap() ^= 1;
    let refused = writer.push(&decode(&damaged).unwrap());
    assert!(matches!(refused, Err(SegmentError::BadRecord { sequence: Sequence(1), .. })));
    let mut control = Vec::new();
    encode(&mut control, Seed::control(), &Fields::control(kind::MARK, 0, b""));
    assert!(matches!(writer.push(&decode(&control).unwrap()), Err(SegmentError::BadRecord { .. })));
    let mut foreign = Vec::new();
    let seed = Seed::of(&CollectionName::new("another").unwrap());
    encode(&mut foreign, seed, &Fields { sequence: 1, kind: kind::PUT, ..Fields::control(0, 0, b"x") });
    assert!(matches!(writer.push(&decode(&foreign).unwrap()), Err(SegmentError::BadRecord { .. })));
    let range = SequenceRange::new(Sequence(1), Sequence(2)).unwrap();
    assert!(matches!(writer.remove(range), Err(SegmentError::Misused { .. })), "only compaction removes");
    records.iter().for_each(|record| push(&mut writer, record).unwrap());
    assert_eq!(writer.finish().unwrap().footer.records, 3);
    assert_eq!(all(&open(&fs.bytes(path)).unwrap()).unwrap(), records);
    let empty = SegmentWriter::create(&fs, Path::new("e"), meta(1), WriteOptions::default()).unwrap();
    assert!(matches!(empty.finish(), Err(SegmentError::Misused { .. })));
}

#[test]
fn a_failed_write_or_sync_is_never_a_sealed_segment() {
    let mut records = sample(1, 12);
    records.iter_mut().for_each(|record| record.payload = Some(vec![7; 300_000].into()));
    let options = WriteOptions { codec: Codec::Null, ..WriteOptions::default() };
    let mut failures = 0;
    for fail_at in 1.. {
        let fs = Memory::failing_at(fail_at);
        let mut writer = SegmentWriter::create(&fs, Path::new("s"), meta(1), options).unwrap();
        let pushed = records.iter().try_for_each(|record| push(&mut writer, record));
        let outcome = match pushed {
            Ok(()) => writer.finish(),
            Err(error) => {
                assert!(matches!(&error, SegmentError::Fs(error) if error.is_full()), "{error}");
                let after = push(&mut writer, &records[0]).unwrap_err();
                assert!(after.to_string().contains("an earlier write failed"), "{after}");
                writer.finish()
            }
        };
        match outcome {
            Ok(_) => break,
            Err(_) => failures += 1,
        }
    }
    assert!(failures >= 4, "several writes and the sync: {failures}");
}

#[test]
fn compaction_covers_what_it_removed() {
    let range = |first, last| SequenceRange::new(Sequence(first), Sequence(last)).unwrap();
    let input = Input { covers: range(10, 30), generation: Generation(0), content_digest: [1; 32] };
    let meta = SegmentMeta { generation: Generation(1), inputs: vec![input], ..meta(10) };
    let records = sample(10, 21);
    let kept = |sequence: u64| (13..=15).contains(&sequence) || sequence == 20 || sequence == 28;
    for nothing_kept in [false, true] {
        let fs = Memory::default();
        let mut writer = SegmentWriter::create(&fs, Path::new("s"), meta.clone(), WriteOptions::default()).unwrap();
        for record in &records {
            if kept(record.sequence.0) && !nothing_kept {
                push(&mut writer, record).unwrap();
            } else {
                writer.remove(range(record.sequence.0, record.sequence.0)).unwrap();
            }
        }
        let footer = writer.finish().unwrap().footer;
        assert_eq!((footer.covers, &footer.inputs[..]), (range(10, 30), &[input][..]));
        let reader = open(&fs.bytes(Path::new("s"))).unwrap();
        assert_eq!(reader.footer(), &footer);
        assert!(verify_deep(source(&fs.bytes(Path::new("s"))), None).unwrap().is_ok());
        if nothing_kept {
            assert_eq!((footer.held, footer.records, &footer.removed[..]), (None, 0, &[range(10, 30)][..]));
            assert_eq!(all(&reader).unwrap(), []);
        } else {
            assert_eq!(footer.held, Some(range(13, 28)));
            assert_eq!(footer.removed, [range(10, 12), range(16, 19), range(21, 27), range(29, 30)]);
            let expected: Vec<_> = records.iter().filter(|record| kept(record.sequence.0)).cloned().collect();
            assert_eq!(all(&reader).unwrap(), expected);
            assert_eq!(reader.get(Sequence(17)).unwrap(), None);
            assert!(footer.is_removed(Sequence(17)) && !footer.is_removed(Sequence(20)));
        }
    }
}

#[test]
fn a_stub_keeps_the_footer_and_reads_the_segment_where_it_went() {
    let records = sample(1, 100);
    let (sealed, bytes) = seal(Codec::DEFAULT, 1000, &records);
    let fs = Memory::default();
    let name = SegmentName::stub(sealed.footer.covers, sealed.footer.generation);
    let path = name.path(Path::new("d"), &collection());
    write_stub(&fs, &path, &sealed.footer).unwrap();
    let file = fs.open(&path, crate::fs::OpenMode::Read).unwrap();
    let footer = read_stub(file.clone()).unwrap();
    assert_eq!(footer, sealed.footer);
    let remote = SegmentReader::with_footer(source(&bytes), footer).unwrap();
    assert_eq!(remote.get(Sequence(50)).unwrap().as_ref(), Some(&records[49]));
    assert_eq!(remote.reads(), 1, "only the block that was needed");
    assert!(matches!(SegmentReader::open(file), Err(SegmentError::NotASegment { .. })));
    assert!(matches!(read_stub(MemoryFile::of("s", &bytes)), Err(SegmentError::NotASegment { .. })));
    let stub = fs.bytes(&path);
    for cut in 0..stub.len() {
        assert!(read_stub(MemoryFile::of("s", &stub[..cut])).is_err(), "cut at {cut}");
    }
}

#[test]
fn newer_formats_are_refused_by_name() {
    let (_, bytes) = seal(Codec::Null, 1000, &sample(1, 3));
    let header = decode_header(&bytes).unwrap();
    for (name, value) in
        [("icecore.format_version", "2"), ("icecore.features", "1"), ("icecore.encryption_key_id", "k1")]
    {
        let mut metadata: Vec<_> = header.metadata.iter().map(|(key, held)| (key.as_str(), held.as_slice())).collect();
        metadata.iter_mut().find(|(key, _)| *key == name).unwrap().1 = value.as_bytes();
        // A newer program's footer is one that we need not be able to read.
        let newer = [&encode_header(&metadata, header.sync)[..], &[0; 100]].concat();
        let error = open(&newer).unwrap_err();
        assert!(matches!(error, SegmentError::Newer { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{name}=`{value}`")), "{error}");
    }
}

#[test]
fn foreign_files_and_wrong_names_are_told_apart() {
    let journal = encode_header(
        &[
            ("avro.codec", b"null"),
            ("icecore.file", b"journal"),
            ("icecore.format_version", b"1"),
            ("icecore.features", b"0"),
        ],
        [1; 16],
    );
    let plain = encode_header(&[("avro.codec", b"null")], [1; 16]);
    for foreign in [&b""[..], b"x", &[0; 5000], b"PAR1 and so on", &plain, &journal] {
        let error = open(foreign).unwrap_err();
        assert!(matches!(error, SegmentError::NotASegment { .. }), "{error}");
    }
    let (sealed, bytes) = seal(Codec::Null, 1000, &sample(1, 3));
    let named = |covers| SegmentName::segment(covers, Generation(0)).to_string();
    assert!(SegmentReader::open(MemoryFile::of(&named(sealed.footer.covers), &bytes)).is_ok());
    let other = named(SequenceRange::new(Sequence(1), Sequence(4)).unwrap());
    let error = SegmentReader::open(MemoryFile::of(&other, &bytes)).unwrap_err();
    assert!(matches!(error, SegmentError::Damaged(_)), "{error}");
}

proptest! {
    #[test]
    fn any_records_round_trip(
        seeds in proptest::collection::vec(any::<(i64, bool, Option<Vec<u8>>, Option<i64>, Vec<(String, Vec<u8>)>, Option<Vec<u8>>)>(), 1..30),
        first in 1_u64..u64::MAX / 4,
        block_bytes in 1_usize..2000,
    ) {
        let records: Vec<_> = seeds.into_iter().zip(first..).map(|((time, put, key, expires, headers, payload), sequence)| Record {
            sequence: Sequence(sequence),
            timestamp: Timestamp(time),
            kind: if put { RecordKind::Put } else { RecordKind::Delete },
            key: key.map(Into::into),
            expires_at: expires.map(Timestamp),
            headers: headers.into_iter().map(|(key, value)| Header { key, value: value.into() }).collect(),
            payload: payload.map(Into::into),
        }).collect();
        for codec in CODECS {
            let (sealed, bytes) = seal(codec, block_bytes, &records);
            let reader = open(&bytes).unwrap();
            prop_assert_eq!(all(&reader).unwrap(), &records[..]);
            prop_assert!(verify_deep(source(&bytes), Some(sealed.sha256)).unwrap().is_ok());
            for key in records.iter().filter_map(|record| record.key.as_deref()) {
                let newest = records.iter().rev().find(|record| record.key.as_deref() == Some(key));
                let found = reader.find_newest(key).unwrap();
                prop_assert_eq!(found.as_ref(), newest);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_footer_or_not(bytes: Vec<u8>) {
        let _ = Footer::decode(&bytes);
    }
}
