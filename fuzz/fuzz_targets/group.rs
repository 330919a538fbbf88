//! Groups and control records behind checksums that are right, so that the fuzzer gets past them.
#![no_main]

use icecore::avro::container::put_block_header;
use icecore::avro::record::{Fields, Seed, decode, encode, kind};
use icecore::journal::FileId;
use icecore::journal::group::{Control, decode_group, decode_pad};
use libfuzzer_sys::fuzz_target;

const ID: FileId = FileId([0x5a; 16]);

fuzz_target!(|bytes: &[u8]| {
    let [count, split, rest @ ..] = bytes else { return };
    let _ = decode_group(bytes, ID, 4096);
    let _ = decode_pad(bytes, ID);

    for kind in [kind::OPEN, kind::MARK, kind::MOVE] {
        let mut record = Vec::new();
        encode(&mut record, Seed::control(), &Fields::control(kind, 0, rest));
        if let Ok(view) = decode(&record)
            && let Ok(Some(control)) = Control::decode(&view)
        {
            let (again, _) = control.encode(0);
            let again = decode(&again).expect("what was encoded decodes");
            assert_eq!(Control::decode(&again).expect("what was encoded decodes"), Some(control));
        }
    }

    // A datum with the right place and checksum; tables and records are the fuzzer's.
    let (tables, records) = rest.split_at(rest.len().min(usize::from(*split)));
    let mut datum = ID.0.to_vec();
    // epoch, journal and group 1, offset 4096, durable_to 0, the checksum of the group before
    datum.extend_from_slice(&[2, 2, 2, 0x80, 0x40, 0, 0, 0, 0, 0]);
    let checksum_at = datum.len();
    datum.extend_from_slice(&[0; 4]);
    datum.extend_from_slice(tables);
    let mut probe = Vec::new();
    encode(&mut probe, Seed::control(), &Fields::control(kind::GROUP, 0, &datum));
    let mut block = Vec::new();
    put_block_header(&mut block, u64::from(*count), (probe.len() + records.len()) as u64);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&block), &datum);
    datum[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
    encode(&mut block, Seed::control(), &Fields::control(kind::GROUP, 0, &datum));
    block.extend_from_slice(records);
    block.extend_from_slice(&ID.0);
    if let Ok(group) = decode_group(&block, ID, 4096) {
        assert_eq!(group.span as usize, block.len());
        assert_eq!(group.records, records);
        assert_eq!(group.head.holds.iter().map(|held| held.count).sum::<u64>() + 1, u64::from(*count));
        assert!(decode_group(&block, ID, 8192).is_err() && decode_group(&block, FileId([1; 16]), 4096).is_err());
    }
});
