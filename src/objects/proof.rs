//! Proves that an object is there and is the one that was sent (O4).
//!
//! A checksum counts that the store computed over what it holds. Where it gives none, the object is read back, every byte. What a
//! client once wrote beside an object is no proof of anything.

use super::{ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore};
use crate::avro::Sha256;

/// Bytes read back at once.
const PIECE_BYTES: u64 = 1 << 20;

/// How an object was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The store's own SHA-256 of it is the right one.
    StoreChecksum,
    /// It was read back, every byte.
    ReadBack,
}

/// Proves that the object has these bytes.
///
/// # Errors
/// `NotFound` where it is not there, `Corrupt` where it is another one, or what the store said.
pub fn prove(store: &dyn ObjectStore, key: &ObjectKey, bytes: u64, sha256: &[u8; 32]) -> ObjectResult<Proof> {
    let head = store.head(key)?;
    if head.bytes != bytes {
        return Err(not_it(store, key, format!("it has another length: bytes=`{}`, expected=`{bytes}`", head.bytes)));
    }
    if let Some(known) = head.sha256 {
        if known != *sha256 {
            return Err(not_it(store, key, "its SHA-256 is not the one expected".to_owned()));
        }
        return Ok(Proof::StoreChecksum);
    }
    let mut digest = Sha256::new();
    let mut at = 0;
    while at < bytes {
        let piece = usize::try_from((bytes - at).min(PIECE_BYTES)).expect("a piece fits memory");
        digest.update(&store.get_range(key, at, piece)?);
        at += piece as u64;
    }
    if digest.finish() != *sha256 {
        return Err(not_it(store, key, "its SHA-256 is not the one expected".to_owned()));
    }
    Ok(Proof::ReadBack)
}

fn not_it(store: &dyn ObjectStore, key: &ObjectKey, what: String) -> ObjectError {
    ObjectError {
        kind: ObjectErrorKind::Corrupt,
        operation: "prove",
        place: store.place().into(),
        key: key.as_str().into(),
        what: what.into(),
        retry_after: None,
        source: None,
    }
}
