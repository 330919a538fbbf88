//! Records: decoding any bytes, and the one encoding of what decodes.
#![no_main]

use icecore::CollectionName;
use icecore::avro::record::{Fields, Seed, decode, encode};
use icecore::journal::group::Control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(view) = decode(bytes) else { return };
    let _ = view.user_kind();
    let _ = Control::decode(&view);
    let headers = view.headers();
    let seed = Seed::of(&CollectionName::new("orders").expect("a good name"));
    let fields = Fields {
        sequence: view.sequence,
        timestamp_us: view.timestamp_us,
        kind: view.kind,
        key: view.key,
        expires_at_us: view.expires_at_us,
        headers: &headers,
        payload: view.payload,
    };
    let mut again = Vec::new();
    encode(&mut again, seed, &fields);
    let back = decode(&again).expect("what was encoded decodes");
    assert!(back.is_intact(seed));
    assert!(!back.is_intact(Seed::control()));
    assert_eq!(
        (back.sequence, back.timestamp_us, back.kind, back.key, back.expires_at_us, back.payload, back.headers()),
        (view.sequence, view.timestamp_us, view.kind, view.key, view.expires_at_us, view.payload, headers),
    );
    // An intact record is in the one form that writers use, or in one that is longer.
    assert!(again.len() <= view.encoded.len());
});
