//! What is written is read back, and nothing else is.

use proptest::prelude::*;

use super::decode::Decoder;
use super::*;
use crate::avro::sha256;
use crate::catalog::{Engine, SegmentKey};
use crate::error::ErrorKind;
use crate::types::{ChangeNumber, CollectionName, Epoch, Generation, LogId, Sequence, Timestamp};

pub(crate) fn head(number: u64, entries: u64) -> ManifestHead {
    ManifestHead {
        format: FORMAT,
        log: LogId([9; 16]),
        number: ManifestNumber(number),
        epoch: Epoch(3),
        writer: WriterId([5; 16]),
        begins: ManifestNumber::FIRST,
        previous: (number > 1).then_some([7; 32]),
        at: Timestamp(1_700_000_000_000_000),
        checkpoint: number == 1,
        base: ManifestNumber::FIRST,
        base_entries: if number == 1 { entries } else { 0 },
        entries_since: if number == 1 { 0 } else { entries },
    }
}

pub(crate) fn segment(collection: &str, first: u64, last: u64) -> ArchivedSegment {
    ArchivedSegment {
        segment: SegmentKey {
            collection: CollectionName::new(collection).unwrap(),
            first: Sequence(first),
            last: Sequence(last),
            generation: Generation(0),
        },
        epoch: Epoch(2),
        records: last - first + 1,
        bytes: 1_000,
        sha256: sha256(format!("{collection} {first} {last}").as_bytes()),
        content_digest: [2; 32],
        timestamp_min: Timestamp(-5),
        timestamp_max: Timestamp(5),
        sealed_at: Timestamp(6),
    }
}

fn any_name() -> impl Strategy<Value = CollectionName> {
    "[^\0]{1,63}".prop_map(|text| CollectionName::new(&text).unwrap())
}

fn any_key() -> impl Strategy<Value = SegmentKey> {
    (any_name(), 1..=Sequence::MAX.0, 1..=Sequence::MAX.0, any::<u32>()).prop_map(|(collection, a, b, generation)| {
        SegmentKey {
            collection,
            first: Sequence(a.min(b)),
            last: Sequence(a.max(b)),
            generation: Generation(generation),
        }
    })
}

fn any_segment() -> impl Strategy<Value = ArchivedSegment> {
    let times = (any::<i64>(), any::<i64>(), any::<i64>());
    (any_key(), any::<u64>(), any::<u64>(), any::<[u8; 32]>(), any::<[u8; 32]>(), times).prop_map(
        |(segment, epoch, bytes, sha256, content_digest, (a, b, sealed_at))| ArchivedSegment {
            records: (segment.last.0 - segment.first.0 + 1).min(bytes),
            segment,
            epoch: Epoch(epoch),
            bytes,
            sha256,
            content_digest,
            timestamp_min: Timestamp(a.min(b)),
            timestamp_max: Timestamp(a.max(b)),
            sealed_at: Timestamp(sealed_at),
        },
    )
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let collection = (any_name(), any::<i64>(), 1..99_u64, any::<u64>(), ".{0,40}").prop_map(
        |(name, created_at, floor, sealed_through, settings)| {
            Entry::Collection(CollectionEntry {
                name,
                created_at: Timestamp(created_at),
                floor: Sequence(floor),
                sealed_through: Sequence(sealed_through),
                settings,
                home: None,
            })
        },
    );
    let loss =
        (any_key(), ".{0,40}", any::<i64>(), any::<Option<(String, i64)>>()).prop_map(|(key, reason, at, taken)| {
            Entry::Loss(LossEntry {
                collection: key.collection,
                first: key.first,
                last: key.last,
                reason,
                found_at: Timestamp(at),
                acknowledged: taken.map(|(by, at)| Acknowledged { by, at: Timestamp(at) }),
            })
        });
    let gone = any_key().prop_map(|SegmentKey { collection, first, last, .. }| LossGone { collection, first, last });
    let snapshot = (any::<u64>(), any::<[u8; 32]>()).prop_map(|(change, sha256)| CatalogSnapshot {
        key: format!("_catalog/{change:020}.01234567.sqlite"),
        bytes: change,
        sha256,
        change: ChangeNumber(change),
        engine: Engine::Lmdb,
    });
    let remote =
        (".{1,9}", ".{1,30}", any::<bool>()).prop_map(|(directory, url, gone)| RemoteEntry { directory, url, gone });
    prop_oneof![
        any_segment().prop_map(Entry::Added),
        any_segment().prop_map(|segment| Entry::Removed(RemovedSegment::from(&segment))),
        collection,
        loss,
        gone.prop_map(Entry::LossGone),
        snapshot.prop_map(Entry::Snapshot),
        remote.prop_map(Entry::Remote),
    ]
}

proptest! {
    #[test]
    fn manifests_round_trip(entries in prop::collection::vec(any_entry(), 0..20), number in 1..9_u64, piece in 1..300_usize) {
        let head = head(number, entries.len() as u64);
        let (bytes, mark) = encode(&head, &entries);
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), entries.len() + 2);
        let read = decode(head.number, &bytes).unwrap();
        prop_assert_eq!(&read, &Manifest { head, entries, mark, bytes: bytes.len() as u64 });
        let mut decoder = Decoder::new(mark.number);
        bytes.chunks(piece).for_each(|piece| decoder.push(piece).unwrap());
        prop_assert_eq!(decoder.finish().unwrap(), read);
    }

    #[test]
    fn keys_and_rows_tell_the_same(segment in any_segment()) {
        let key = segment.object_key();
        let row = segment.row("d", key.to_string());
        prop_assert_eq!(crate::objects::SegmentObject::of_row(&row).key(), key);
        prop_assert_eq!(ArchivedSegment::from(&row), segment);
    }
}

fn one_of_each() -> Vec<Entry> {
    let name = CollectionName::new("ü \"x\"\n").unwrap();
    let added = segment(name.as_str(), 1, 42);
    vec![
        Entry::Collection(CollectionEntry {
            name: name.clone(),
            created_at: Timestamp(1),
            floor: Sequence(1),
            sealed_through: Sequence(60),
            settings: r#"{"sync":"always"}"#.into(),
            home: None,
        }),
        Entry::Removed(RemovedSegment::from(&added)),
        Entry::Added(added),
        Entry::Loss(LossEntry {
            collection: name.clone(),
            first: Sequence(43),
            last: Sequence(44),
            reason: "a disk".into(),
            found_at: Timestamp(3),
            acknowledged: Some(Acknowledged { by: "ops".into(), at: Timestamp(4) }),
        }),
        Entry::LossGone(LossGone { collection: name, first: Sequence(43), last: Sequence(44) }),
        Entry::Snapshot(CatalogSnapshot {
            key: "_catalog/00000000000000000007.00000000.sqlite".into(),
            bytes: 9,
            sha256: [0; 32],
            change: ChangeNumber(7),
            engine: Engine::Sqlite,
        }),
        Entry::Remote(RemoteEntry { directory: "ab".into(), url: "s3://b/p".into(), gone: false }),
    ]
}

#[test]
fn every_damaged_byte_is_found() {
    let entries = one_of_each();
    let head = head(2, entries.len() as u64);
    let (good, _) = encode(&head, &entries);
    let mut kinds = std::collections::BTreeMap::<String, u32>::new();
    let mut must_fail = |bytes: &[u8], what: &str| {
        let error = decode(head.number, bytes).expect_err(what);
        assert!(error.to_string().contains("manifest=`2`"), "{what}: {error}");
        *kinds.entry(format!("{:?}", error.kind())).or_default() += 1;
    };
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            must_fail(&bytes, &format!("bit {bit} of byte {at}"));
        }
        let mut shorter = good.clone();
        shorter.remove(at);
        must_fail(&shorter, &format!("without byte {at}"));
        must_fail(&good[..at], &format!("cut to {at}"));
        for insert in *b"\n x" {
            let mut longer = good.clone();
            longer.insert(at, insert);
            must_fail(&longer, &format!("{insert} before {at}"));
        }
    }
    for more in ["\n", "x", "{}\n"] {
        must_fail(&[&good, more.as_bytes()].concat(), more);
    }
    assert_eq!(kinds.keys().collect::<Vec<_>>(), ["Corrupt"], "damage is not taken for a newer format");
    // Lines that change places, or are there twice.
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() - 1 {
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        assert!(decode(head.number, &swapped.concat()).is_err());
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        assert!(decode(head.number, &twice.concat()).is_err());
    }
}

/// A manifest of these lines, with a right end.
fn of_lines(lines: &[&str]) -> Vec<u8> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let end = super::encode::end_line(lines.len() as u64, &sha256(text.as_bytes()));
    (text + &end).into_bytes()
}

#[test]
fn what_is_newer_is_named_and_what_is_wrong_is_damage() {
    let first = serde_json::to_string(&head(1, 1)).unwrap();
    let good = serde_json::to_string(&Entry::Added(segment("a", 1, 42))).unwrap();
    let read = |lines: &[&str]| decode(ManifestNumber::FIRST, &of_lines(lines));
    read(&[&first, &good]).unwrap();
    let expect = |lines: &[&str], kind: ErrorKind, part: &str| {
        let error = read(lines).expect_err(part);
        assert!(error.kind() == kind && error.to_string().contains(part), "{part}: {error}");
    };
    let newer = first.replace("\"format\":1", "\"format\":2");
    expect(&[&newer, &good], ErrorKind::Unsupported, "format=`2`");
    expect(&[&first, "{\"lease\":{\"x\":1}}"], ErrorKind::Unsupported, "unknown entry=`lease`");
    expect(&[&first], ErrorKind::Corrupt, "the head counts others");
    expect(&[&first, &good, &good], ErrorKind::Corrupt, "the head counts others");
    expect(&[&first, &good.replace("\"records\"", "\"recs\"")], ErrorKind::Corrupt, "recs");
    expect(&[&first, &good.replace("\"epoch\":2,", "")], ErrorKind::Corrupt, "epoch");
    expect(&[&first, &good.replace("\"epoch\":2,", "\"epoch\":3,")], ErrorKind::Corrupt, "a key that is not");
    expect(&[&first, &good.replace("\"records\":42", "\"records\":43")], ErrorKind::Corrupt, "more records");
    expect(&[&first, &good.replace("\"last\":42", "\"last\":0")], ErrorKind::Corrupt, "no range");
    expect(&[&first, &good.replace("\"timestamp_min\":-5", "\"timestamp_min\":6")], ErrorKind::Corrupt, "earliest");
    expect(&[&first, "[]"], ErrorKind::Corrupt, "line=`2`");
    expect(&[&first.replace("\"number\":1", "\"number\":2"), &good], ErrorKind::Corrupt, "it is another one");
    for (from, to) in [
        ("\"previous\":null", "\"previous\":\"0000000000000000000000000000000000000000000000000000000000000000\""),
        ("\"checkpoint\":true", "\"checkpoint\":false"),
        ("\"base\":1", "\"base\":0"),
        ("\"entries_since\":0", "\"entries_since\":1"),
    ] {
        expect(&[&first.replace(from, to), &good], ErrorKind::Corrupt, "cannot be together");
    }
    let long = format!("{{\"settings\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
    assert!(decode(ManifestNumber::FIRST, long.as_bytes()).unwrap_err().to_string().contains("too long"));
}

/// What other programs read, byte for byte: `docs/format.md` shows it.
#[test]
fn the_text_stays_as_it_is() {
    let (bytes, _) = encode(&head(2, 1), &[Entry::Added(segment("audit", 1, 42))]);
    let expected = concat!(
        r#"{"format":1,"log":"09090909090909090909090909090909","number":2,"epoch":3,"writer":"05050505050505050505050505050505","#,
        r#""previous":"0707070707070707070707070707070707070707070707070707070707070707","at":1700000000000000,"checkpoint":false,"#,
        r#""base":1,"base_entries":0,"entries_since":1}"#,
        "\n",
        r#"{"segment":{"collection":"audit","first":1,"last":42,"generation":0,"epoch":2,"#,
        r#""key":"audit/00000000000000000001-00000000000000000042.2.DIGEST8.avro","records":42,"bytes":1000,"#,
        r#""sha256":"SHA256","content_digest":"0202020202020202020202020202020202020202020202020202020202020202","#,
        r#""timestamp_min":-5,"timestamp_max":5,"sealed_at":6}}"#,
        "\n",
    );
    let sha256_of_it = crate::types::ids::hex(&segment("audit", 1, 42).sha256);
    let expected = expected.replace("DIGEST8", &sha256_of_it[..8]).replace("SHA256", &sha256_of_it);
    let end = super::encode::end_line(2, &sha256(expected.as_bytes()));
    assert_eq!(String::from_utf8(bytes).unwrap(), expected + &end);
}
