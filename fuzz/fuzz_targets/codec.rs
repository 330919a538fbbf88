//! Decompression within a limit.
#![no_main]

use bytes::Bytes;
use icecore::avro::codec::{Codec, Compressor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [limit, rest @ ..] = bytes else { return };
    let limit = 1_usize << (limit % 21);
    let stored = Bytes::copy_from_slice(rest);
    for codec in [Codec::Null, Codec::DEFAULT, Codec::Deflate { level: 6 }] {
        if let Ok(content) = codec.decompress(&stored, limit) {
            assert!(content.len() <= limit);
        }
        let mut scratch = Vec::new();
        let packed = Compressor::new(codec).and_then(|mut codec| Ok(codec.compress(rest, &mut scratch)?.to_vec()));
        let packed = Bytes::from(packed.expect("any bytes can be compressed"));
        assert_eq!(codec.decompress(&packed, rest.len()).expect("its own output"), rest);
        if let Some(less) = rest.len().checked_sub(1) {
            assert!(codec.decompress(&packed, less).is_err());
        }
        let plan = codec.stored(rest.len(), rest.len().min(48));
        let mut out = Vec::new();
        plan.write(&mut out, rest);
        assert_eq!(out.len(), plan.len());
        assert_eq!(codec.decompress(&Bytes::from(out), rest.len()).expect("stored bytes"), rest);
    }
});
