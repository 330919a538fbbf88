//! An object in parts, and going on with the parts of an earlier try (O5).
//!
//! # Order of operations, and why each crash or lost answer between is safe
//!
//! 1. **Look** whether the key is taken: then nothing is sent.
//! 2. **Find** an unfinished upload of the same key with parts of our length, or create one. Parts are no object: nobody sees them.
//! 3. **Send** the parts that are not there with the right SHA-256, four at a time. A failure leaves them for the next try.
//! 4. **Check** that all that was read is what the upload says; else the unfinished upload is aborted and nothing was stored.
//! 5. **Complete**, on the condition that the key is free. A lost answer leaves an object or an unfinished upload: the next try finds either.
//! 6. **Abort** what else is unfinished of this key. The object is there, so none of that can be completed any more; who sends parts to
//!    one is told that there is no such upload, looks, and finds the object. Before there is an object nothing of others is aborted.
//!
//! What a writer that never comes back leaves costs money until the bucket's own rule removes it (`docs/s3.md`).

use std::collections::VecDeque;

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};

use super::super::{ObjectError, ObjectErrorKind, ObjectResult, Put, RequestKind, Upload};
use super::errors::{Asked, Failure};
use super::put::{PUT, asked, base64, date, mode, not_the_source, read, refused};
use super::read::look_at;
use super::runtime::Pending;
use super::{S3ObjectStore, same};
use crate::avro::{Sha256, sha256};

/// S3 refuses shorter ones, but for the last.
pub(super) const PART_BYTES_MIN: u64 = 5 << 20;
const PARTS_MAX: u64 = 10_000;
/// Parts under way at once.
const AT_ONCE: usize = 4;
/// Unfinished uploads of the key that are looked at.
const CANDIDATES_MAX: usize = 4;

/// The length of an object's parts: `wanted`, or what makes them few enough.
pub(super) const fn part_bytes(bytes: u64, wanted: u64) -> u64 {
    let least = bytes.div_ceil(PARTS_MAX);
    if least > wanted { least } else { wanted }
}

/// Memory of an object on its way, in bytes: the parts that are under way, the one that was just read among them.
pub(super) fn memory(bytes: u64, wanted: u64) -> u64 {
    bytes.min(part_bytes(bytes, wanted).saturating_mul(AT_ONCE as u64))
}

/// A part that the store has.
#[derive(Clone, Debug)]
struct Part {
    tag: String,
    sha256: String,
}

struct Unfinished {
    id: String,
    /// By number from 1; those of an earlier try.
    parts: Vec<Option<Part>>,
}

pub(super) fn put(store: &S3ObjectStore, key: &str, upload: &Upload<'_>) -> ObjectResult<Put> {
    if look_at(store, key, None, asked(key))?.is_ok() {
        return compare(store, key, upload, "the key is taken and free in one moment: others are at work on it");
    }
    let part_bytes = part_bytes(upload.bytes, store.part_bytes);
    let found = unfinished_of(store, key)?;
    let chosen = match choose(store, key, &found, upload.bytes, part_bytes)? {
        Some(chosen) => chosen,
        None => Unfinished { id: create(store, key, upload)?, parts: Vec::new() },
    };
    let mut sent = asked(key);
    let put = match send(store, key, upload, part_bytes, &chosen) {
        Ok(Ok(parts)) => complete(store, key, &chosen.id, parts),
        Ok(Err(failure)) => {
            // A part is no object: of one whose answer says nothing, nothing is open.
            sent.changes = false;
            Ok(Err(failure))
        }
        Err(error) => Err(error),
    };
    let settled = match put {
        Ok(Ok(())) => Ok(Put::Created),
        Ok(Err(failure)) if failure.is_taken() || failure.is_conflict() || failure.is_code("NoSuchUpload") => {
            compare(store, key, upload, "the unfinished upload is gone: others are at work on the same object")
        }
        Ok(Err(failure)) => Err(refused(store, sent, upload, failure)),
        Err(error) => Err(error),
    };
    let is_there = settled.is_ok();
    // What another try can go on with stays for it: also where the source was not read to its end, as by a deadline or a stop.
    // One that ended too early is another matter: it is not what was promised.
    let is_unread = |error: &ObjectError| {
        let source = error.source.as_ref().and_then(|source| source.downcast_ref::<crate::fs::FsError>());
        source.is_some_and(|error| error.source.kind() != std::io::ErrorKind::UnexpectedEof)
    };
    let helps_nobody = |error: &ObjectError| {
        use ObjectErrorKind::{Full, OutcomeUnknown, Unavailable};
        !matches!(error.kind, Unavailable | OutcomeUnknown | Full) && !is_unread(error)
    };
    if !matches!(settled, Ok(Put::Created)) && (is_there || settled.as_ref().is_err_and(helps_nobody)) {
        abort(store, key, &chosen.id);
    }
    if is_there {
        found.iter().filter(|id| **id != chosen.id).for_each(|id| abort(store, key, id));
    }
    settled
}

/// What is under a key that is, or was, taken.
fn compare(store: &S3ObjectStore, key: &str, upload: &Upload<'_>, where_gone: &str) -> ObjectResult<Put> {
    match same::compare(store, key, upload, PUT) {
        Ok(Some(_)) => Ok(Put::SameThere),
        Ok(None) => Ok(Put::OtherThere),
        Err(error) if error.is_not_found() => {
            Err(store.error(ObjectErrorKind::Unavailable, asked(key), where_gone.to_owned()))
        }
        Err(error) => Err(error),
    }
}

fn create(store: &S3ObjectStore, key: &str, upload: &Upload<'_>) -> ObjectResult<String> {
    // Without parts there is no object: a lost answer changes nothing that anybody sees.
    let asked = Asked { changes: false, ..asked(key) };
    let mut request = store
        .client(asked)?
        .create_multipart_upload()
        .bucket(&store.bucket)
        .key(store.name(key))
        .content_type("application/octet-stream")
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .set_storage_class(store.storage_class.as_deref().map(Into::into));
    if let Some(until) = upload.retain_until {
        request = request.object_lock_mode(mode(store)).object_lock_retain_until_date(date(until));
    }
    let answer = store.send(RequestKind::Put, 0, request.send());
    let answer = answer.map_err(|failure| refused(store, asked, upload, failure))?;
    let unnamed = || store.error(ObjectErrorKind::Failed, asked, "the store began an upload and did not say its name");
    answer.upload_id().map(str::to_owned).ok_or_else(unnamed)
}

/// Sends what is missing; the parts in their order, or what the store refused.
fn send(
    store: &S3ObjectStore,
    key: &str,
    upload: &Upload<'_>,
    part_bytes: u64,
    unfinished: &Unfinished,
) -> ObjectResult<Result<Vec<Part>, Failure>> {
    let asked = Asked { changes: false, ..asked(key) };
    let client = store.client(asked)?;
    let mut whole = Sha256::new();
    let mut parts: Vec<Option<Part>> = Vec::new();
    let mut under_way: VecDeque<(usize, Pending<Part>)> = VecDeque::new();
    let mut refusal = None;
    let mut take = |(index, pending): (usize, Pending<Part>), parts: &mut Vec<Option<Part>>| {
        match store.finish(RequestKind::Put, pending) {
            Ok(part) => parts[index] = Some(part),
            Err(failure) => refusal = refusal.take().or(Some(failure)),
        }
        refusal.is_some()
    };
    let mut at = 0;
    let mut unread = None;
    while at < upload.bytes {
        // Before the next one is read: never more than those are held (`memory`).
        if under_way.len() == AT_ONCE {
            let oldest = under_way.pop_front().expect("some are under way");
            if take(oldest, &mut parts) {
                break;
            }
        }
        let bytes = usize::try_from((upload.bytes - at).min(part_bytes)).expect("a part fits memory");
        let index = parts.len();
        let known = unfinished.parts.get(index).cloned().flatten();
        let take = |is_sent| read(store, asked, upload, at, bytes, is_sent).map(|body| (base64(&sha256(&body)), body));
        let is_known = |body: &(String, _)| known.as_ref().is_some_and(|part| part.sha256 == body.0);
        let taken = match take(known.is_none()) {
            // What the store has there is another part: ours is sent after all.
            Ok(other) if known.is_some() && !is_known(&other) => take(true),
            taken => taken,
        };
        let (digest, body) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                unread = Some(error);
                break;
            }
        };
        at += bytes as u64;
        whole.update(&body);
        let there = known.filter(|part| part.sha256 == digest);
        let is_there = there.is_some();
        parts.push(there);
        if is_there {
            continue;
        }
        let request = client
            .upload_part()
            .bucket(&store.bucket)
            .key(store.name(key))
            .upload_id(&unfinished.id)
            .part_number(i32::try_from(index + 1).expect("at most ten thousand parts"))
            .content_length(i64::try_from(bytes).expect("a part fits memory"))
            .checksum_sha256(&digest)
            .body(body.into())
            .customize()
            .disable_payload_signing();
        let pending = store.start(RequestKind::Put, bytes as u64, async move {
            let answer = request.send().await?;
            Ok(Part { tag: answer.e_tag().unwrap_or("").to_owned(), sha256: digest })
        });
        under_way.push_back((index, pending));
    }
    // All that was begun comes to its end here: nothing of this call is under way behind it.
    for pending in under_way {
        take(pending, &mut parts);
    }
    if let Some(error) = unread {
        return Err(error);
    }
    if let Some(failure) = refusal {
        return Ok(Err(failure));
    }
    if whole.finish() != upload.sha256 {
        return Err(not_the_source(store, asked));
    }
    Ok(Ok(parts.into_iter().flatten().collect()))
}

fn complete(store: &S3ObjectStore, key: &str, id: &str, parts: Vec<Part>) -> ObjectResult<Result<(), Failure>> {
    let completed = parts.into_iter().zip(1..).map(|(part, number)| {
        CompletedPart::builder().part_number(number).e_tag(part.tag).checksum_sha256(part.sha256).build()
    });
    let request = store
        .client(asked(key))?
        .complete_multipart_upload()
        .bucket(&store.bucket)
        .key(store.name(key))
        .upload_id(id)
        .if_none_match("*")
        .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(completed.collect())).build());
    Ok(store.send(RequestKind::Put, 0, request.send()).map(drop))
}

/// As far as it goes: what is left costs money, and nothing else.
fn abort(store: &S3ObjectStore, key: &str, id: &str) {
    let Ok(client) = store.client(asked(key)) else { return };
    let request = client.abort_multipart_upload().bucket(&store.bucket).key(store.name(key)).upload_id(id);
    if let Err(failure) = store.send(RequestKind::Put, 0, request.send())
        && !failure.is_answer()
    {
        tracing::debug!(store = %store.place, key, "cannot abort an unfinished upload");
    }
}

/// The names of unfinished uploads of this key, newest first. None where the store, or a right, does not let us look: then one is made anew.
fn unfinished_of(store: &S3ObjectStore, key: &str) -> ObjectResult<Vec<String>> {
    let asked = Asked { right: "s3:ListBucketMultipartUploads", changes: false, ..asked(key) };
    let name = store.name(key);
    let request = store.client(asked)?.list_multipart_uploads().bucket(&store.bucket).prefix(&name);
    let answer = match store.send(RequestKind::List, 0, request.send()) {
        Ok(answer) => answer,
        Err(failure) => {
            let error = store.failed(asked, failure);
            return match error.kind {
                ObjectErrorKind::Denied | ObjectErrorKind::Unsupported => Ok(Vec::new()),
                _ => Err(error),
            };
        }
    };
    let mut found: Vec<_> = answer.uploads().iter().filter(|upload| upload.key() == Some(&name)).collect();
    found.sort_by_key(|upload| std::cmp::Reverse(upload.initiated().map(|at| at.as_nanos())));
    Ok(found.into_iter().filter_map(|upload| upload.upload_id()).map(str::to_owned).take(CANDIDATES_MAX).collect())
}

/// The newest unfinished upload that has parts, all of them as long as ours would be and with their SHA-256.
fn choose(
    store: &S3ObjectStore,
    key: &str,
    found: &[String],
    bytes: u64,
    part_bytes: u64,
) -> ObjectResult<Option<Unfinished>> {
    let count = usize::try_from(bytes.div_ceil(part_bytes)).expect("at most ten thousand parts");
    'candidates: for id in found {
        let mut parts = vec![None; count];
        for part in parts_of(store, key, id)? {
            let (Some(number), Some(size)) = (part.part_number(), part.size()) else { continue 'candidates };
            let index = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
            let expected = part_bytes.min(bytes.saturating_sub(index as u64 * part_bytes));
            if index >= count || u64::try_from(size).ok() != Some(expected) {
                continue 'candidates;
            }
            let (Some(tag), Some(sha256)) = (part.e_tag(), part.checksum_sha256()) else { continue 'candidates };
            parts[index] = Some(Part { tag: tag.to_owned(), sha256: sha256.to_owned() });
        }
        if parts.iter().any(Option::is_some) {
            return Ok(Some(Unfinished { id: id.clone(), parts }));
        }
    }
    Ok(None)
}

/// All parts of an unfinished upload; none where it is gone, or may not be looked at.
fn parts_of(store: &S3ObjectStore, key: &str, id: &str) -> ObjectResult<Vec<aws_sdk_s3::types::Part>> {
    let asked = Asked { right: "s3:ListMultipartUploadParts", changes: false, ..asked(key) };
    let client = store.client(asked)?;
    let (mut parts, mut from) = (Vec::new(), None);
    loop {
        let request = client
            .list_parts()
            .bucket(&store.bucket)
            .key(store.name(key))
            .upload_id(id)
            .set_part_number_marker(from.clone());
        let mut answer = match store.send(RequestKind::List, 0, request.send()) {
            Ok(answer) => answer,
            Err(failure) if failure.status() == 404 || failure.status() == 403 => return Ok(Vec::new()),
            Err(failure) => return Err(store.failed(asked, failure)),
        };
        parts.append(answer.parts.get_or_insert_default());
        let next = answer.next_part_number_marker;
        if answer.is_truncated != Some(true) || next.is_none() || next == from {
            return Ok(parts);
        }
        from = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_enough() {
        assert_eq!(part_bytes(100 << 20, 16 << 20), 16 << 20);
        let large = 5 << 40;
        assert!(large / part_bytes(large, 16 << 20) < PARTS_MAX);
    }

    #[test]
    fn what_is_held_are_the_parts_under_way() {
        assert_eq!(memory(100 << 20, 16 << 20), 64 << 20);
        assert_eq!(memory(20 << 20, 16 << 20), 20 << 20);
        let large = 5 << 40;
        assert_eq!(memory(large, 16 << 20), 4 * part_bytes(large, 16 << 20));
    }
}
