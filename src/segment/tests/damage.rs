//! Every damaged byte is harmless or reported, with the sequences that it costs; none is ever served.

use super::*;

/// Checks everything that can be done with a file that was damaged somewhere.
fn check(what: &str, bytes: &[u8], records: &[Record]) -> Verdict {
    let served = match open(bytes) {
        Ok(reader) => all(&reader),
        Err(error) => Err(error),
    };
    if let Ok(served) = &served {
        assert!(served == records, "{what}: served something else");
    }
    let mut salvaged = Vec::new();
    let scanned = scan(&source(bytes), &mut |record| salvaged.push(record.encoded.to_vec()));
    for found in &salvaged {
        assert!(records.iter().any(|record| encoded(record) == *found), "{what}: salvaged something else");
    }
    if let Ok(scanned) = &scanned {
        let lost = records.len() as u64 - scanned.records;
        if scanned.covers.is_some() {
            assert_eq!(scanned.missing().iter().map(SequenceRange::count).sum::<u64>(), lost, "{what}");
        }
        assert!(lost == 0 || !scanned.damage.is_empty(), "{what}: lost without a word");
    }
    match verify_deep(source(bytes), None) {
        Ok(verdict) => {
            assert!(served.is_ok() || !verdict.is_ok(), "{what}: not served, and nothing found");
            let costly = verdict.damaged.iter().any(|damage| damage.sequences.is_some());
            assert!(served.is_ok() || costly || scanned.is_ok_and(|scan| !scan.sealed), "{what}: {verdict:?}");
            verdict
        }
        Err(error) => {
            assert!(served.is_err(), "{what}: {error}");
            Verdict { damaged: vec![], ..Verdict::default() }
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
