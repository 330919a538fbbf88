//! Headers of container files and of journals, and block headers.
#![no_main]

use icecore::avro::container::{decode_block_header, decode_header, encode_header};
use icecore::journal::JournalHeader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = decode_block_header(bytes) {
        assert!(header.len <= bytes.len());
        let _ = header.span();
    }
    if let Ok(header) = decode_header(bytes) {
        assert!(header.len <= bytes.len());
        let metadata: Vec<_> = header.metadata.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let again = decode_header(&encode_header(&metadata, header.sync)).expect("what was encoded decodes");
        assert_eq!((again.metadata, again.sync), (header.metadata, header.sync));
    }
    // A journal's page, whole or with edits.
    let _ = JournalHeader::decode(bytes);
    let good = &icecore_fuzz::samples().journal[..4096];
    let edited = icecore_fuzz::edit(good, bytes);
    if let Ok(header) = JournalHeader::decode(&edited) {
        assert_eq!(Ok(header), JournalHeader::decode(good), "an edited page passes as another");
    }
});
