//! Every damaged byte is harmless or reported, with the sequences that it costs; none is ever served.

use proptest::prelude::*;

use super::*;

/// What a footer is made to say, and how.
type Lie = (&'static str, fn(&mut Footer));

/// A file under the name of a segment with these records.
fn named(bytes: &[u8], records: &[Record]) -> Arc<dyn ReadRange> {
    let covers = SequenceRange::new(records[0].sequence, records[records.len() - 1].sequence).unwrap();
    let name = SegmentName::segment(covers, Generation(0)).to_string();
    Arc::new(FileRange(MemoryFile::of(&name, bytes)))
}

/// Checks everything that can be done with a file that was damaged somewhere.
fn check(what: &str, bytes: &[u8], records: &[Record]) -> Verdict {
    let served = SegmentReader::open_range(named(bytes, records)).and_then(|reader| all(&reader));
    if let Ok(served) = &served {
        assert!(served == records, "{what}: served something else");
    }
    let mut salvaged = Vec::new();
    let scanned = scan(&named(bytes, records), &mut |record| salvaged.push(record.encoded.to_vec()));
    for found in &salvaged {
        assert!(records.iter().any(|record| encoded(record) == *found), "{what}: salvaged something else");
    }
    if let Ok(scanned) = &scanned {
        let missing: Vec<_> = records.iter().filter(|record| !salvaged.contains(&encoded(record))).collect();
        let named = |sequence| scanned.missing().iter().any(|range| range.contains(sequence));
        assert!(missing.iter().all(|record| named(record.sequence)), "{what}: lost without a word");
        assert_eq!(scanned.missing().iter().map(SequenceRange::count).sum::<u64>(), missing.len() as u64, "{what}");
        assert!(missing.is_empty() || !scanned.damage.is_empty(), "{what}: lost without a reason");
    }
    match verify_deep(named(bytes, records), None) {
        Ok(verdict) => {
            let costly = verdict.damaged.iter().any(|damage| damage.sequences.is_some());
            assert!(served.is_ok() || costly, "{what}: not served, and not said what it costs: {verdict:?}");
            verdict
        }
        Err(error) => {
            assert!(served.is_err(), "{what}: {error}");
            Verdict::default()
        }
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_reported() {
    let records = sample(1, 24);
    for codec in CODECS {
        let (sealed, bytes) = seal(codec, 300, &records);
        assert!(sealed.footer.blocks.len() > 3);
        let mut unseen = Vec::new();
        for at in 0..bytes.len() {
            // In the header, most of which is the schema's text, one pattern tells as much as five.
            let flips = if at < 2000 { &[0x01][..] } else { &[0x01, 0x02, 0x10, 0x80, 0xff] };
            for &flip in flips {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let what = format!("{codec:?} byte {at} ^ {flip:#x}");
                let verdict = check(&what, &damaged, &records);
                let exact = verify_deep(source(&damaged), Some(sealed.sha256));
                assert!(!exact.is_ok_and(|verdict| verdict.is_ok()), "{what}: the SHA-256 sees everything");
                if verdict.is_ok() && open(&damaged).is_ok() {
                    unseen.push(at);
                }
            }
        }
        // Only the framing around the SEAL record may be unseen without the SHA-256 of the file.
        let framing = sealed.footer.data_end()..sealed.footer.data_end() + 40;
        assert!(unseen.iter().all(|at| framing.contains(&(*at as u64))), "{codec:?}: {unseen:?}");
    }
}

#[test]
fn every_cut_is_reported_and_whole_blocks_before_it_are_salvaged() {
    let records = sample(1, 40);
    for codec in CODECS {
        let (sealed, bytes) = seal(codec, 400, &records);
        for cut in 0..bytes.len() {
            assert!(open(&bytes[..cut]).is_err(), "{codec:?} cut at {cut}");
            let mut held = 0;
            match scan(&source(&bytes[..cut]), &mut |_| held += 1) {
                Ok(scan) => {
                    let whole = sealed.footer.blocks.iter().filter(|block| block.offset + block.bytes <= cut as u64);
                    let least = whole.map(|block| block.records).sum::<u64>();
                    assert!(scan.records >= least && scan.records == held, "{codec:?} cut at {cut}");
                    assert!(!scan.sealed && !scan.damage.is_empty());
                }
                Err(error) => assert!((cut as u64) < sealed.footer.header_bytes, "{codec:?} cut at {cut}: {error}"),
            }
        }
    }
}

#[test]
fn a_damaged_block_costs_its_own_sequences_only() {
    let records = sample(1, 40);
    for codec in CODECS {
        let (sealed, mut bytes) = seal(codec, 400, &records);
        let victim = sealed.footer.blocks[1];
        bytes[victim.offset as usize + 30] ^= 0x20;
        let verdict = verify_deep(source(&bytes), Some(sealed.sha256)).unwrap();
        assert_eq!(verdict.damaged.len(), 1);
        assert_eq!(verdict.damaged[0].sequences, Some(victim.held));
        assert_eq!(verdict.records, 40 - victim.records);
        let reader = open(&bytes).unwrap();
        assert!(reader.block(0).is_ok() && reader.block(2).is_ok());
        let read: Vec<_> = reader.records_from(Sequence::FIRST).collect();
        assert_eq!(read.len() as u64, victim.held.first.0, "the records before, then the error");
        assert!(read.last().unwrap().is_err());
        let found = scan(&source(&bytes), &mut |_| {}).unwrap();
        assert!(found.sealed && found.missing().iter().all(|range| victim.held.contains(range.first)));
        if codec == Codec::Null {
            assert_eq!(found.missing().iter().map(SequenceRange::count).sum::<u64>(), 1, "one record of the block");
        }
    }
}

#[test]
fn without_a_footer_the_scan_goes_on_past_damage() {
    let records = sample(1, 40);
    for codec in CODECS {
        let (sealed, bytes) = seal(codec, 400, &records);
        let mut cut = bytes[..sealed.footer.data_end() as usize].to_vec();
        let victim = sealed.footer.blocks[1];
        cut[victim.offset as usize] ^= 0x55;
        let name = SegmentName::segment(sealed.footer.covers, Generation(0)).to_string();
        let source: Arc<dyn ReadRange> = Arc::new(FileRange(MemoryFile::of(&name, &cut)));
        let found = scan(&source, &mut |_| {}).unwrap();
        assert_eq!(found.missing(), [victim.held], "{codec:?}: {found:?}");
        assert_eq!((found.records, found.sealed), (40 - victim.records, false));
    }
}

#[test]
fn a_footer_that_lies_makes_no_reader_lie() {
    // As no crash makes them, but a bug or a hand could: every checksum is right, and what they guard is not.
    let records = sample(1, 24);
    let lies: [Lie; 12] = [
        ("covers more", |footer| footer.covers.last = footer.covers.last.next()),
        ("covers elsewhere", |footer| footer.covers.first = footer.covers.first.next()),
        ("removed", |footer| footer.removed = vec![footer.covers]),
        ("records", |footer| footer.records -= 1),
        ("a block less", |footer| footer.blocks.truncate(2)),
        ("blocks swapped", |footer| footer.blocks.swap(0, 1)),
        ("a block moved", |footer| footer.blocks[1].offset += 1),
        ("a block of any size", |footer| footer.blocks[2].bytes = 1 << 60),
        ("a bomb", |footer| footer.blocks[0].bytes_before = 1 << 60),
        ("a record more", |footer| footer.blocks[0].records += 1),
        ("times", |footer| footer.timestamp_max = Timestamp(0)),
        ("no filter", |footer| footer.keys.as_mut().unwrap().filter = bytes::Bytes::new()),
    ];
    for codec in CODECS {
        let (sealed, bytes) = seal(codec, 300, &records);
        for (what, lie) in lies {
            let mut footer = sealed.footer.clone();
            lie(&mut footer);
            let data_end = sealed.footer.data_end();
            let seal = seal::encode_seal(codec, &footer.encode(), footer.created_at, data_end, footer.sync);
            let lying = [&bytes[..data_end as usize], &seal].concat();
            assert!(matches!(open(&lying), Err(SegmentError::Damaged(_))), "{codec:?} {what}");
            check(what, &lying, &records);
        }
        // What only a deep look can know.
        let deep: [Lie; 4] = [
            ("digest", |footer| footer.content_digest[0] ^= 1),
            ("block times", |footer| footer.blocks[0].timestamp_min = footer.timestamp_min),
            ("filter", |footer| footer.keys.as_mut().unwrap().filter = vec![0xff; 32].into()),
            ("compressed bytes", |footer| footer.bytes_after += 1),
        ];
        for (what, lie) in deep {
            let mut footer = sealed.footer.clone();
            lie(&mut footer);
            let data_end = sealed.footer.data_end();
            let seal = seal::encode_seal(codec, &footer.encode(), footer.created_at, data_end, footer.sync);
            let lying = [&bytes[..data_end as usize], &seal].concat();
            assert!(verify(source(&lying)).unwrap().is_ok(), "{codec:?} {what}");
            assert_eq!(verify_deep(source(&lying), None).unwrap().damaged.len(), 1, "{codec:?} {what}");
            assert_eq!(all(&open(&lying).unwrap()).unwrap(), records);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        (at, len) in (0_usize..6000, 0_usize..600),
        codec in 0_usize..3,
    ) {
        let records = sample(1, 24);
        let (_, bytes) = seal(CODECS[codec], 300, &records);
        let at = at % bytes.len();
        let end = (at + len).min(bytes.len());
        let spliced = [&bytes[..at], &noise, &bytes[end..]].concat();
        if spliced != bytes {
            check("spliced", &spliced, &records);
        }
        check("noise", &noise, &records);
        check("noise after a header", &[&bytes[..at], &noise].concat(), &records);
    }
}
