//! How the keys of all collections share one key space: 16 bytes of the collection's digest, then the key.
//!
//! The tree takes keys below 64 KiB, and a log may take longer ones: a very long key is kept by its digest, behind a byte that says so.

use crate::avro::sha256;
use crate::types::CollectionName;

/// Longer keys are kept by their digest, in bytes.
const WHOLE_MAX: usize = 32 << 10;
const WHOLE: u8 = 0;
const DIGEST: u8 = 1;

/// What every key of a collection begins with.
pub(super) fn prefix(collection: &CollectionName) -> [u8; 16] {
    let digest = sha256(collection.as_str().as_bytes());
    let mut prefix = [0; 16];
    prefix.copy_from_slice(&digest[..16]);
    prefix
}

/// The key of a record's key.
pub(super) fn of(collection: &CollectionName, key: &[u8]) -> Vec<u8> {
    let mut whole = prefix(collection).to_vec();
    if key.len() <= WHOLE_MAX {
        whole.push(WHOLE);
        whole.extend_from_slice(key);
    } else {
        whole.push(DIGEST);
        whole.extend_from_slice(&sha256(key));
    }
    whole
}
