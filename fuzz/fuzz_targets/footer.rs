//! Footers, alone and behind a trailer that is right.
#![no_main]

use std::sync::Arc;

use icecore::avro::codec::Codec;
use icecore::segment::footer::Footer;
use icecore::segment::header::{self, FILE_SEGMENT, FILE_STUB, HeaderFields};
use icecore::segment::seal::encode_seal;
use icecore::segment::{FileRange, SegmentReader, read_stub, scan, verify_deep};
use icecore::{CollectionName, Epoch, Generation, LogId, Sequence, Timestamp};
use icecore_fuzz::{edit, file, samples};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [which, bytes @ ..] = bytes else { return };
    // Raw, or the footer of a real segment with edits.
    let footer = if which & 1 == 0 {
        bytes.to_vec()
    } else {
        let (path, segment) = &samples().segments[usize::from(which >> 4) % 6];
        let reader = SegmentReader::open(file(path, segment)).expect("a whole segment opens");
        edit(&reader.footer().encode(), bytes)
    };
    if let Ok(decoded) = Footer::decode(&footer) {
        let again = decoded.encode();
        assert_eq!(Footer::decode(&again).as_ref(), Ok(&decoded));
        let _ = decoded.block_holding(Sequence(3));
        let _ = decoded.is_removed(Sequence(3));
        let _ = decoded.may_hold_key(b"key 1");
        let _ = decoded.blocks_in_time(Timestamp::MIN, Timestamp::MAX).count();
    }
    let codec = [Codec::Null, Codec::DEFAULT, Codec::Deflate { level: 6 }][usize::from(which >> 1) % 3];
    let name = CollectionName::new("orders").expect("a good name");
    let fields = HeaderFields {
        file: if which & 8 == 0 { FILE_SEGMENT } else { FILE_STUB },
        codec: codec.name(),
        log: LogId([1; 16]),
        collection: &name,
        epoch: Epoch(1),
        generation: Generation(0),
    };
    let marker = header::sync_marker(LogId([1; 16]), &name, Sequence(1), Generation(0), Epoch(1));
    let mut whole = header::encode(&fields, marker);
    let seal_offset = whole.len() as u64;
    whole.extend(encode_seal(codec, &footer, Timestamp(0), seal_offset, marker));
    let path = "/orders/00000000000000000001-00000000000000000007.0.avro";
    let source = Arc::new(FileRange(file(path, &whole)));
    let _ = verify_deep(source.clone(), None);
    let source: Arc<dyn icecore::segment::ReadRange> = source;
    let _ = scan(&source, &mut |_| {});
    let _ = read_stub(file(path, &whole));
});
