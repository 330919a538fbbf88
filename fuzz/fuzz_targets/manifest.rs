//! Manifests behind an end that is right, so that the fuzzer gets past it.
#![no_main]

use icecore::archive::ManifestNumber;
use icecore::archive::manifest::{decode, encode};
use icecore::types::ids::hex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(ManifestNumber(1), bytes);
    let mut text = bytes.to_vec();
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    let sha256 = hex(&icecore::avro::sha256(&text));
    text.extend_from_slice(format!("{{\"end\":{{\"lines\":{lines},\"sha256\":\"{sha256}\"}}}}\n").as_bytes());
    if let Ok(manifest) = decode(ManifestNumber(1), &text) {
        let (again, _) = encode(&manifest.head, &manifest.entries);
        let again = decode(ManifestNumber(1), &again).expect("what was encoded decodes");
        assert_eq!((again.head, again.entries), (manifest.head, manifest.entries));
    }
});
