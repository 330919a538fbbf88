//! One request for an object; and the request that removes one.
//!
//! The bytes are read and hashed before the request is made: a source that is not what it should be never reaches the wire.

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ObjectLockMode;
use bytes::Bytes;

use super::super::{ObjectError, ObjectErrorKind, ObjectResult, Put, RequestKind, Upload};
use super::errors::{Asked, Failure};
use super::read::Purpose;
use super::{S3ObjectStore, same};
use crate::avro::sha256;
use crate::types::Timestamp;

pub(super) const PUT: Purpose = Purpose("put", "s3:PutObject");

/// A put, whose lost answer leaves open what happened.
pub(super) const fn asked(key: &str) -> Asked<'_> {
    Asked { changes: true, ..PUT.of(key) }
}

pub(super) fn put(store: &S3ObjectStore, key: &str, upload: &Upload<'_>) -> ObjectResult<Put> {
    let asked = asked(key);
    let whole =
        usize::try_from(upload.bytes).map_err(|_| store.error(ObjectErrorKind::Invalid, asked, "it is too large"))?;
    let body = read(store, asked, upload, 0, whole, true)?;
    if sha256(&body) != upload.sha256 {
        return Err(not_the_source(store, asked));
    }
    match send(store, key, upload, body)? {
        Ok(()) => Ok(Put::Created),
        Err(failure) => settle(store, key, upload, failure),
    }
}

/// The request; what the store said to it.
pub(super) fn send(
    store: &S3ObjectStore,
    key: &str,
    upload: &Upload<'_>,
    body: Bytes,
) -> ObjectResult<Result<(), Failure>> {
    let asked = asked(key);
    let mut request = store
        .client(asked)?
        .put_object()
        .bucket(&store.bucket)
        .key(store.name(key))
        .if_none_match("*")
        .content_length(i64::try_from(body.len()).expect("memory is smaller"))
        .content_type("application/octet-stream")
        .checksum_sha256(base64(&upload.sha256))
        .set_storage_class(store.storage_class.as_deref().map(Into::into))
        .body(ByteStream::from(body));
    if let Some(until) = upload.retain_until {
        request = request.object_lock_mode(mode(store)).object_lock_retain_until_date(date(until));
    }
    // Signed is the checksum, which the store checks the bytes with: no second pass over them for the signature.
    let request = request.customize().disable_payload_signing();
    Ok(store.send(RequestKind::Put, upload.bytes, request.send()).map(drop))
}

/// A put as the client makes it by itself: no condition, no checksum of ours, no look at what is there. For who measures what that costs.
#[cfg(feature = "cli")]
pub(super) fn bare(store: &S3ObjectStore, key: &str, body: Bytes) -> ObjectResult<()> {
    let (asked, bytes) = (asked(key), body.len() as u64);
    let request =
        store.client(asked)?.put_object().bucket(&store.bucket).key(store.name(key)).body(ByteStream::from(body));
    store.send(RequestKind::Put, bytes, request.send()).map(drop).map_err(|failure| store.failed(asked, failure))
}

/// What a refused put of an object means.
pub(super) fn settle(store: &S3ObjectStore, key: &str, upload: &Upload<'_>, failure: Failure) -> ObjectResult<Put> {
    let asked = asked(key);
    if !(failure.is_taken() || failure.is_conflict()) {
        return Err(refused(store, asked, upload, failure));
    }
    match same::compare(store, key, upload, PUT) {
        Ok(Some(_)) => Ok(Put::SameThere),
        Ok(None) => Ok(Put::OtherThere),
        Err(error) if error.is_not_found() => {
            let what = "the key is taken and free in one moment: others are at work on it";
            Err(store.error(ObjectErrorKind::Unavailable, asked, what))
        }
        Err(error) => Err(error),
    }
}

/// Whether a refusal is one of the retention.
pub(super) fn refused(store: &S3ObjectStore, asked: Asked<'_>, upload: &Upload<'_>, failure: Failure) -> ObjectError {
    let is_of_lock = ["InvalidRequest", "InvalidArgument", "ObjectLockConfigurationNotFoundError", "NotImplemented"]
        .into_iter()
        .any(|code| failure.is_code(code));
    let error = store.failed(asked, failure);
    if upload.retain_until.is_some() && is_of_lock {
        let what = "the bucket cannot keep objects from being deleted: it was made without Object Lock".into();
        return ObjectError { kind: ObjectErrorKind::Unsupported, what, ..error };
    }
    error
}

pub(super) fn delete(store: &S3ObjectStore, key: &str) -> ObjectResult<()> {
    let asked = Asked { operation: "delete", key, right: "s3:DeleteObject", changes: true };
    let request = store.client(asked)?.delete_object().bucket(&store.bucket).key(store.name(key));
    match store.send(RequestKind::Delete, 0, request.send()) {
        Ok(answer) => {
            if answer.delete_marker() == Some(true) && key.starts_with(super::super::probe::PREFIX) {
                delete_versions(store, key);
            }
            Ok(())
        }
        Err(failure) if failure.is_code("NoSuchKey") => Ok(()),
        Err(failure) => Err(store.failed(asked, failure)),
    }
}

/// Of what was only tried: a delete of a bucket that keeps versions leaves the object, and a marker more. As far as the rights go;
/// nothing else is ever deleted for good by this room.
fn delete_versions(store: &S3ObjectStore, key: &str) {
    let asked = Asked { operation: "delete", key, right: "s3:DeleteObjectVersion", changes: true };
    let (Ok(client), Ok(versions)) = (store.client(asked), super::read::versions(store, key)) else { return };
    for version in versions.into_iter().filter(|version| !version.id.is_empty()) {
        let request = client.delete_object().bucket(&store.bucket).key(store.name(key)).version_id(version.id);
        if store.send(RequestKind::Delete, 0, request.send()).is_err() {
            return;
        }
    }
}

/// Bytes of the source.
pub(super) fn read(
    store: &S3ObjectStore,
    asked: Asked<'_>,
    upload: &Upload<'_>,
    offset: u64,
    bytes: usize,
    is_sent: bool,
) -> ObjectResult<Bytes> {
    let unreadable = |error| ObjectError {
        source: Some(Box::new(error)),
        ..store.error(ObjectErrorKind::Corrupt, asked, "the source cannot be read")
    };
    let read = if is_sent { upload.source.read(offset, bytes) } else { upload.source.look(offset, bytes) };
    read.map_err(unreadable)
}

pub(super) fn not_the_source(store: &S3ObjectStore, asked: Asked<'_>) -> ObjectError {
    store.error(ObjectErrorKind::Corrupt, asked, "the source is not what it should be: its SHA-256 differs")
}

pub(super) fn base64(digest: &[u8; 32]) -> String {
    aws_smithy_types::base64::encode(digest)
}

pub(super) fn mode(store: &S3ObjectStore) -> ObjectLockMode {
    if store.governance { ObjectLockMode::Governance } else { ObjectLockMode::Compliance }
}

/// Never earlier than asked.
pub(super) fn date(until: Timestamp) -> DateTime {
    DateTime::from_secs(until.0.div_euclid(1_000_000) + i64::from(until.0.rem_euclid(1_000_000) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_never_shortened() {
        assert_eq!(date(Timestamp(2_000_000)).secs(), 2);
        assert_eq!(date(Timestamp(2_000_001)).secs(), 3);
    }
}
