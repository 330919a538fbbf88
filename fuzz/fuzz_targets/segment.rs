//! A segment with edits anywhere: read, verified, salvaged; nothing is invented.
#![no_main]

use std::collections::HashMap;
use std::sync::Arc;

use icecore::segment::{FileRange, ReadRange, SegmentReader, scan, verify, verify_deep};
use icecore::{Record, Sequence};
use icecore_fuzz::{edit, file, samples};
use libfuzzer_sys::fuzz_target;

fn records(reader: &SegmentReader) -> Vec<Record> {
    reader.records_from(Sequence(1)).map_while(Result::ok).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let [which, edits @ ..] = bytes else { return };
    let (path, good) = &samples().segments[usize::from(which & 7) % 6];
    let edited = if which & 8 == 0 { edit(good, edits) } else { edits.to_vec() };
    let source: Arc<dyn ReadRange> = Arc::new(FileRange(file(path, &edited)));
    let whole = records(&SegmentReader::open(file(path, good)).expect("a whole segment opens"));
    let known: HashMap<_, _> = whole.iter().map(|record| (record.sequence, record)).collect();

    let _ = verify(source.clone());
    let deep = verify_deep(source.clone(), None);
    if let Ok(reader) = SegmentReader::open_range(source.clone()) {
        let found = records(&reader);
        assert!(found.iter().all(|record| known.get(&record.sequence) == Some(&record)), "invented");
        let mut back: Vec<_> = reader.records_back_from(Sequence::MAX).map_while(Result::ok).collect();
        back.reverse();
        assert!(back.iter().all(|record| known.get(&record.sequence) == Some(&record)), "invented backwards");
        if let Ok(Some(record)) = reader.find_newest(b"key 1") {
            assert_eq!(known.get(&record.sequence), Some(&&record));
        }
        if deep.as_ref().is_ok_and(|verdict| verdict.is_ok()) {
            assert_eq!(found, whole, "verified, and not what was written");
        }
    }
    let mut salvaged = Vec::new();
    if let Ok(scan) = scan(&source, &mut |view| salvaged.push((view.sequence, view.encoded.len()))) {
        assert_eq!(scan.records, salvaged.len() as u64);
        let _ = scan.missing();
        assert!(salvaged.iter().all(|(sequence, _)| known.contains_key(&Sequence(*sequence))), "salvaged an invention");
    }
});
