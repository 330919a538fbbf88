//! Whether what is there are the bytes of an upload (promise 4, O4).
//!
//! In this order, as far as needed: the length; the store's SHA-256 of the whole; the store's SHA-256 over its parts' digests, computed again
//! from the source with our own length of parts, then with the one that the store tells; every byte read back.
//!
//! That a sum over parts is the right one proves the object, wherever the length of the parts was known from: with another length it
//! would not come out. That it is another one proves nothing: the parts may be of different lengths.

use super::super::{ObjectErrorKind, ObjectResult, Proof, Upload};
use super::errors::Asked;
use super::read::{Purpose, Seen, get_range, look, look_at};
use super::{S3ObjectStore, parts};
use crate::avro::Sha256;

/// Bytes read back at once.
const PIECE_BYTES: u64 = 8 << 20;
/// Bytes of the source hashed at once.
const SOURCE_BYTES: u64 = 1 << 20;

/// `None` where the object is not those bytes.
pub(super) fn compare(
    store: &S3ObjectStore,
    key: &str,
    upload: &Upload<'_>,
    purpose: Purpose,
) -> ObjectResult<Option<Proof>> {
    let seen = look(store, key, purpose)?;
    if seen.bytes != upload.bytes {
        return Ok(None);
    }
    if let Some(known) = seen.sha256.as_deref().and_then(whole) {
        return Ok((known == upload.sha256).then_some(Proof::StoreChecksum));
    }
    if let Some((sum, count)) = seen.sha256.as_deref().and_then(composite)
        && is_sum(store, key, upload, &sum, count, purpose.of(key))?
    {
        return Ok(Some(Proof::StoreChecksum));
    }
    let mut digest = Sha256::new();
    let mut at = 0;
    while at < upload.bytes {
        let piece = usize::try_from((upload.bytes - at).min(PIECE_BYTES)).expect("a piece fits memory");
        digest.update(&get_range(store, key, at, piece, purpose)?);
        at += piece as u64;
    }
    Ok((digest.finish() == upload.sha256).then_some(Proof::ReadBack))
}

pub(super) fn prove(store: &S3ObjectStore, key: &str, upload: &Upload<'_>) -> ObjectResult<Proof> {
    let purpose = Purpose("prove", "s3:GetObject");
    let not_it =
        || store.error(ObjectErrorKind::Corrupt, purpose.of(key), "it is another object than the one that was sent");
    compare(store, key, upload, purpose)?.ok_or_else(not_it)
}

/// Whether the parts' sum is the one of the source.
fn is_sum(
    store: &S3ObjectStore,
    key: &str,
    upload: &Upload<'_>,
    sum: &[u8; 32],
    count: u64,
    asked: Asked<'_>,
) -> ObjectResult<bool> {
    let ours = parts::part_bytes(upload.bytes, store.part_bytes);
    if upload.bytes.div_ceil(ours) == count && sum_of(store, upload, ours, asked)? == *sum {
        return Ok(true);
    }
    // Another writer's, or of other settings.
    match look_at(store, key, Some(1), asked)? {
        Ok(Seen { bytes, .. }) if bytes != ours && bytes > 0 && upload.bytes.div_ceil(bytes) == count => {
            Ok(sum_of(store, upload, bytes, asked)? == *sum)
        }
        // Not every store knows parts once they are one object.
        _ => Ok(false),
    }
}

/// The SHA-256 over the parts' digests, as S3 defines a composite checksum; the source is checked on the way.
fn sum_of(store: &S3ObjectStore, upload: &Upload<'_>, part_bytes: u64, asked: Asked<'_>) -> ObjectResult<[u8; 32]> {
    let (mut sum, mut whole) = (Sha256::new(), Sha256::new());
    let mut at = 0;
    while at < upload.bytes {
        let end = upload.bytes.min(at + part_bytes);
        let mut part = Sha256::new();
        while at < end {
            let bytes = usize::try_from((end - at).min(SOURCE_BYTES)).expect("a piece fits memory");
            let piece = super::put::read(store, asked, upload, at, bytes, false)?;
            part.update(&piece);
            whole.update(&piece);
            at += bytes as u64;
        }
        sum.update(&part.finish());
    }
    if whole.finish() != upload.sha256 {
        return Err(super::put::not_the_source(store, asked));
    }
    Ok(sum.finish())
}

/// The SHA-256 of a whole object, as the store says it; `None` for one of parts.
pub(super) fn whole(text: &str) -> Option<[u8; 32]> {
    aws_smithy_types::base64::decode(text).ok()?.try_into().ok()
}

/// The sum over the parts' digests, and how many they are: `BASE64-N`.
fn composite(text: &str) -> Option<([u8; 32], u64)> {
    let (sum, count) = text.rsplit_once('-')?;
    Some((whole(sum)?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_as_stores_say_them() {
        let text = aws_smithy_types::base64::encode([7; 32]);
        assert_eq!(whole(&text), Some([7; 32]));
        assert_eq!(whole(&format!("{text}-3")), None);
        assert_eq!(composite(&format!("{text}-3")), Some(([7; 32], 3)));
        assert_eq!(composite(&text), None);
        assert_eq!(whole("AAAA"), None);
    }
}
