//! What the store turned out to be able to do.
//!
//! [`try_out`](super::super::probe::try_out) tries what every store must do. Behind it, on another object of our own: a wrong checksum,
//! parts under a key that is taken, the order of listings, versions, Object Lock. A store that lacks one of these is still one; what matters for safety is kept: of
//! a store that takes wrong checksums, none counts as its own; one that completes parts over an object gets no parts.

use std::sync::atomic::Ordering;

use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ObjectLockEnabled,
};
use bytes::Bytes;

use super::super::{Abilities, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, RequestKind, Upload, probe};
use super::S3ObjectStore;
use super::errors::{Asked, Failure};
use super::put::{self, base64};
use super::read;
use crate::avro::sha256;
use crate::types::ids::hex;

pub(super) fn probe(store: &S3ObjectStore) -> ObjectResult<Abilities> {
    let mut abilities = probe::try_out(store)?;
    let name = format!("{}{}", probe::PREFIX, hex(&fastrand::u128(..).to_le_bytes()));
    let key = ObjectKey::new(name).expect("letters and digits");
    let tried = try_more(store, &key, &mut abilities);
    let removed = store.delete(&key);
    tried?;
    probe::is_removed(removed)?;
    store.trusts_checksums.store(abilities.checks_checksums, Ordering::Relaxed);
    store.takes_parts.store(abilities.multipart, Ordering::Relaxed);
    abilities.tells_checksums &= abilities.checks_checksums;
    Ok(abilities)
}

fn try_more(store: &S3ObjectStore, key: &ObjectKey, abilities: &mut Abilities) -> ObjectResult<()> {
    let asked = Asked { operation: "probe", key: key.as_str(), right: "s3:PutObject", changes: false };
    let (refuses, server) = refuses_wrong_checksum(store, key, asked)?;
    let is_racy = server.as_ref().is_some_and(|server| RACY.iter().any(|racy| server.starts_with(racy)));
    abilities.server = server;
    abilities.checks_checksums = refuses && !store.is_google;
    abilities.multipart = !store.is_google && !is_racy && takes_parts(store, key, asked)?;
    try_order(store, key)?;
    let client = store.client(asked)?;
    let request = client.get_bucket_versioning().bucket(&store.bucket);
    let versioning = tolerant(store, asked, store.send(RequestKind::Head, 0, request.send()))?;
    abilities.versioned = versioning.is_some_and(|answer| answer.status() == Some(&BucketVersioningStatus::Enabled));
    if !store.is_google {
        let request = client.get_object_lock_configuration().bucket(&store.bucket);
        let lock = tolerant(store, asked, store.send(RequestKind::Head, 0, request.send()))?;
        let enabled = lock.as_ref().and_then(|answer| answer.object_lock_configuration()?.object_lock_enabled());
        abilities.retention = enabled == Some(&ObjectLockEnabled::Enabled);
    }
    Ok(())
}

/// What a store answers to what it need not know: `None` where it refused. What says nothing about the store is an error still.
fn tolerant<T>(store: &S3ObjectStore, asked: Asked<'_>, outcome: Result<T, Failure>) -> ObjectResult<Option<T>> {
    match outcome {
        Ok(answer) => Ok(Some(answer)),
        // 5xx too, but for those that ask to be left alone: some servers answer so to what they have not built.
        Err(failure @ Failure::Answer { .. }) => {
            let error = store.failed(asked, failure);
            if error.kind == ObjectErrorKind::Unavailable && error.retry_after.is_some() {
                Err(error)
            } else {
                Ok(None)
            }
        }
        Err(failure) => Err(store.failed(asked, failure)),
    }
}

/// Servers that look at the condition on completing parts, but not in one step with completing: two at once both succeed. No try of
/// one after another shows that.
const RACY: [&str; 1] = ["SeaweedFS"];

/// Puts `a-z` and `a/z`, which a store that keeps keys as folders lists the other way round.
fn try_order(store: &S3ObjectStore, key: &ObjectKey) -> ObjectResult<()> {
    let keys = ["-z", "/z"].map(|end| ObjectKey::new(format!("{key}a{end}")).expect("letters, digits, `-`, `/`"));
    let listed = keys
        .iter()
        .try_for_each(|key| store.put_if_absent(key, &Upload::of_bytes(&Bytes::from_static(b"order"))).map(drop))
        .and_then(|()| store.list(&format!("{key}a"), None, 2));
    keys.iter().try_for_each(|key| probe::is_removed(store.delete(key)).map(drop))?;
    listed?;
    // Where it was not in order, the listing itself has found that out.
    let (unknown, known) = (read::UNKNOWN_ORDER, read::IN_ORDER);
    let _ = store.order.compare_exchange(unknown, known, Ordering::Relaxed, Ordering::Relaxed);
    Ok(())
}

/// Sends bytes with the checksum of others; what the server calls itself where it refuses.
fn refuses_wrong_checksum(
    store: &S3ObjectStore,
    key: &ObjectKey,
    asked: Asked<'_>,
) -> ObjectResult<(bool, Option<String>)> {
    let sent = Bytes::from_static(b"not what its checksum says");
    let upload = Upload::new(&sent, sent.len() as u64, [7; 32]);
    match put::send(store, key.as_str(), &upload, sent.clone())? {
        Ok(()) => {
            probe::is_removed(store.delete(key))?;
            Ok((false, None))
        }
        Err(Failure::Answer { said, headers }) if (400..500).contains(&said.status) => Ok((true, headers.server)),
        Err(failure) => Err(store.failed(asked, failure)),
    }
}

/// Sends one part, and completes it under a key that is taken: the store must refuse that.
fn takes_parts(store: &S3ObjectStore, key: &ObjectKey, asked: Asked<'_>) -> ObjectResult<bool> {
    let there = Bytes::from_static(b"what is there");
    store.put_if_absent(key, &Upload::of_bytes(&there))?;
    let (client, name) = (store.client(asked)?, store.name(key.as_str()));
    let request =
        client.create_multipart_upload().bucket(&store.bucket).key(&name).checksum_algorithm(ChecksumAlgorithm::Sha256);
    let Some(begun) = tolerant(store, asked, store.send(RequestKind::Put, 0, request.send()))? else {
        return Ok(false);
    };
    let Some(id) = begun.upload_id() else { return Ok(false) };
    let completed = complete_over(store, key, id, asked);
    let request = client.abort_multipart_upload().bucket(&store.bucket).key(&name).upload_id(id);
    let aborted = store.send(RequestKind::Put, 0, request.send());
    Ok(completed? && aborted.is_ok_and(|_| true))
}

fn complete_over(store: &S3ObjectStore, key: &ObjectKey, id: &str, asked: Asked<'_>) -> ObjectResult<bool> {
    let (client, name) = (store.client(asked)?, store.name(key.as_str()));
    let part = Bytes::from_static(b"a part");
    let digest = base64(&sha256(&part));
    let request = client
        .upload_part()
        .bucket(&store.bucket)
        .key(&name)
        .upload_id(id)
        .part_number(1)
        .checksum_sha256(&digest)
        .body(part.clone().into());
    let sent = tolerant(store, asked, store.send(RequestKind::Put, part.len() as u64, request.send()))?;
    let Some(tag) = sent.as_ref().and_then(|answer| answer.e_tag()) else { return Ok(false) };
    let part = CompletedPart::builder().part_number(1).e_tag(tag).checksum_sha256(digest).build();
    let request = client
        .complete_multipart_upload()
        .bucket(&store.bucket)
        .key(&name)
        .upload_id(id)
        .if_none_match("*")
        .multipart_upload(CompletedMultipartUpload::builder().parts(part).build());
    Ok(store.send(RequestKind::Put, 0, request.send()).is_err_and(|failure| failure.is_taken()))
}
