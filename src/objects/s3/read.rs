//! Get, head, list, versions.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use aws_sdk_s3::types::ChecksumMode;
use bytes::{Bytes, BytesMut};

use super::super::{Head, Listed, ObjectErrorKind, ObjectResult, Page, RequestKind, Version};
use super::errors::{Asked, Failure};
use super::runtime::Outcome;
use super::{S3ObjectStore, same};
use crate::types::Timestamp;

/// An operation as errors name it, and the right that it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose(pub &'static str, pub &'static str);

pub(super) const GET: Purpose = Purpose("get", "s3:GetObject");
pub(super) const HEAD: Purpose = Purpose("head", "s3:GetObject");
const LIST: Purpose = Purpose("list", "s3:ListBucket");
const VERSIONS: Purpose = Purpose("list", "s3:ListBucketVersions");

impl Purpose {
    pub(super) const fn of(self, key: &str) -> Asked<'_> {
        Asked { operation: self.0, key, right: self.1, changes: false }
    }
}

/// The most that one listing gives.
const PAGE_MAX: usize = 1000;

/// What HEAD tells.
#[derive(Debug)]
pub(super) struct Seen {
    pub bytes: u64,
    /// As the store says it: base64, of an object in parts with `-N` behind it.
    pub sha256: Option<String>,
    pub retain_until: Option<Timestamp>,
}

pub(super) fn get(store: &S3ObjectStore, key: &str, bytes_max: u64) -> ObjectResult<Bytes> {
    let asked = GET.of(key);
    let mut request = store.client(asked)?.get_object().bucket(&store.bucket).key(store.name(key));
    if store.trusts_checksums() {
        request = request.checksum_mode(ChecksumMode::Enabled);
    }
    let pending = store.start(RequestKind::Get, 0, async move {
        let answer = request.send().await?;
        let bytes = answer.content_length().and_then(|bytes| u64::try_from(bytes).ok());
        if bytes.is_some_and(|bytes| bytes > bytes_max) {
            return Err(too_large(bytes, bytes_max));
        }
        collect(answer.body, bytes, bytes_max).await
    });
    let got = store.finish(RequestKind::Get, pending).map_err(|failure| store.failed(asked, failure))?;
    store.meter.received(RequestKind::Get, got.len() as u64);
    Ok(got)
}

pub(super) fn get_range(
    store: &S3ObjectStore,
    key: &str,
    offset: u64,
    bytes: usize,
    purpose: Purpose,
) -> ObjectResult<Bytes> {
    let asked = purpose.of(key);
    let end = offset.checked_add(bytes as u64);
    let (Some(end), false) = (end, bytes == 0) else {
        // No range can say that.
        let len = look(store, key, purpose)?.bytes;
        if end.is_some_and(|end| end <= len) {
            return Ok(Bytes::new());
        }
        return Err(store.failed(asked, ends_before(offset, bytes, len)));
    };
    let client = store.client(asked)?;
    let range = format!("bytes={offset}-{}", end - 1);
    let request = client.get_object().bucket(&store.bucket).key(store.name(key)).range(range);
    let pending = store.start(RequestKind::Get, 0, async move {
        let answer = request.send().await?;
        let told = answer.content_range().map(content_range);
        let wanted = bytes as u64;
        match told {
            Some(Some((_, _, len))) if len < end => return Err(ends_before(offset, bytes, len)),
            Some(Some((first, last, _))) if first == offset && last == end - 1 => {}
            // Without the header it is all of the object.
            None if offset == 0 && answer.content_length() == i64::try_from(bytes).ok() => {}
            _ => {
                let what = "the store answers another range than the one asked for".to_owned();
                return Err(Failure::Judged(ObjectErrorKind::Failed, what));
            }
        }
        collect(answer.body, Some(wanted), wanted).await
    });
    let got = store.finish(RequestKind::Get, pending).map_err(|failure| store.failed(asked, failure))?;
    store.meter.received(RequestKind::Get, got.len() as u64);
    Ok(got)
}

/// All of an answer. One that ends early is none, whatever the client thinks of it.
async fn collect(
    mut body: aws_sdk_s3::primitives::ByteStream,
    expected: Option<u64>,
    bytes_max: u64,
) -> Outcome<Bytes> {
    let mut got = BytesMut::with_capacity(usize::try_from(expected.unwrap_or(0)).unwrap_or(0));
    loop {
        match body.next().await {
            Some(Ok(piece)) => got.extend_from_slice(&piece),
            None => break,
            // Every byte came, and still it is wrong: the client checks the store's checksum at the end.
            Some(Err(_)) if expected == Some(got.len() as u64) => {
                let what = "what came is not what the store's checksum says".to_owned();
                return Err(Failure::Judged(ObjectErrorKind::Corrupt, what));
            }
            Some(Err(_)) => return Err(cut_off(got.len(), expected)),
        }
        if got.len() as u64 > bytes_max {
            return Err(too_large(None, bytes_max));
        }
    }
    if expected.is_some_and(|expected| expected != got.len() as u64) {
        return Err(cut_off(got.len(), expected));
    }
    Ok(got.freeze())
}

fn cut_off(got: usize, expected: Option<u64>) -> Failure {
    let expected = expected.map(|bytes| format!(", expected=`{bytes}`")).unwrap_or_default();
    Failure::NoAnswer(format!("the answer was cut off: bytes=`{got}`{expected}"))
}

fn too_large(bytes: Option<u64>, limit: u64) -> Failure {
    let bytes = bytes.map(|bytes| format!("bytes=`{bytes}`, ")).unwrap_or_default();
    Failure::Judged(ObjectErrorKind::Invalid, format!("it is larger than expected: {bytes}limit=`{limit}`"))
}

fn ends_before(offset: u64, bytes: usize, len: u64) -> Failure {
    let what = format!("it ends before the range: offset=`{offset}`, wanted=`{bytes}`, bytes=`{len}`");
    Failure::Judged(ObjectErrorKind::Invalid, what)
}

/// `bytes FIRST-LAST/ALL` (RFC 9110, section 14.4).
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, all) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, all.parse().ok()?))
}

pub(super) fn head(store: &S3ObjectStore, key: &str, purpose: Purpose) -> ObjectResult<Head> {
    let seen = look(store, key, purpose)?;
    let sha256 = seen.sha256.as_deref().and_then(same::whole);
    Ok(Head { bytes: seen.bytes, sha256 })
}

/// What HEAD tells of an object, or of its part with that number.
pub(super) fn look_at(
    store: &S3ObjectStore,
    key: &str,
    part: Option<i32>,
    asked: Asked<'_>,
) -> ObjectResult<Outcome<Seen>> {
    let mut request = store.client(asked)?.head_object().bucket(&store.bucket).key(store.name(key));
    if store.trusts_checksums() {
        request = request.checksum_mode(ChecksumMode::Enabled);
    }
    let answer = store.send(RequestKind::Head, 0, request.set_part_number(part).send());
    Ok(answer.map(|answer| Seen {
        bytes: answer.content_length().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        sha256: answer.checksum_sha256().filter(|_| store.trusts_checksums()).map(str::to_owned),
        retain_until: answer.object_lock_retain_until_date().and_then(timestamp),
    }))
}

/// What HEAD tells; where it tells only a status, why.
pub(super) fn look(store: &S3ObjectStore, key: &str, purpose: Purpose) -> ObjectResult<Seen> {
    let asked = purpose.of(key);
    // Twice only where the object came about between two questions.
    for _ in 0..2 {
        let failure = match look_at(store, key, None, asked)? {
            Ok(seen) => return Ok(seen),
            Err(failure) => failure,
        };
        // An answer without a body: neither a missing bucket nor another reason can be told from a missing object (promise 6).
        if !(300..500).contains(&failure.status()) {
            return Err(store.failed(asked, failure));
        }
        let request = store.client(asked)?.get_object().bucket(&store.bucket).key(store.name(key)).range("bytes=0-0");
        let is_there = match store.send(RequestKind::Get, 0, request.send()) {
            Ok(_) => true,
            Err(why) if why.status() == 416 => true,
            Err(why) => return Err(store.failed(asked, why)),
        };
        if !(is_there && failure.status() == 404) {
            return Err(store.failed(asked, failure));
        }
    }
    Err(store.error(ObjectErrorKind::Unavailable, asked, "the store's answers contradict each other"))
}

pub(super) fn list(store: &S3ObjectStore, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
    let limit = limit.clamp(1, PAGE_MAX);
    let order = store.order.load(Ordering::Relaxed);
    if order != OTHER_ORDER {
        let page = list_in_order(store, prefix, after, limit)?;
        let is_settled = after.is_some() || order == IN_ORDER;
        match page {
            Some(page) if is_settled || is_rest_behind(store, prefix, &page)? => return Ok(page),
            _ => store.order.store(OTHER_ORDER, Ordering::Relaxed),
        }
        if after.is_some() {
            // Pages that were given out before this one may have left something out.
            let what = "the store lists in another order than that of the keys' bytes: begin the listing anew";
            return Err(store.error(ObjectErrorKind::Failed, LIST.of(prefix), what));
        }
    }
    list_and_sort(store, prefix, after, limit)
}

/// Nobody knows yet.
pub(super) const UNKNOWN_ORDER: u8 = 0;
/// The probe saw keys in order of their bytes, where stores of another order list them differently.
pub(super) const IN_ORDER: u8 = 1;
/// Some keep keys as folders, and list `a/b` before `a-b`.
pub(super) const OTHER_ORDER: u8 = 2;

/// Whether all that the store lists behind a first page is behind it in our order, too: else later pages would leave it out. Of a store
/// that was probed this is known, and not asked.
fn is_rest_behind(store: &S3ObjectStore, prefix: &str, page: &Page) -> ObjectResult<bool> {
    let Some(mut last) = page.next.clone() else { return Ok(true) };
    let (from, mut token) = (last.clone(), None);
    loop {
        let (objects, goes_on, next) = list_once(store, prefix, Some(&from), token, PAGE_MAX)?;
        for object in objects.into_iter().filter(|object| object.key != from) {
            if object.key <= last {
                return Ok(false);
            }
            last = object.key;
        }
        if !goes_on || next.is_none() {
            return Ok(true);
        }
        token = next;
    }
}

/// One request for a listing; keys relative to the store, below the prefix.
fn list_once(
    store: &S3ObjectStore,
    prefix: &str,
    after: Option<&str>,
    token: Option<String>,
    limit: usize,
) -> ObjectResult<(Vec<Listed>, bool, Option<String>)> {
    let asked = LIST.of(prefix);
    let request = store
        .client(asked)?
        .list_objects_v2()
        .bucket(&store.bucket)
        .prefix(store.name(prefix))
        .set_start_after(after.map(|after| store.name(after)))
        .set_continuation_token(token)
        .max_keys(i32::try_from(limit).expect("at most a thousand"));
    let answer = store.send(RequestKind::List, 0, request.send()).map_err(|failure| store.failed(asked, failure))?;
    let listed = answer.contents().iter().filter_map(|object| {
        // A store that answers other keys is not listened to.
        let key = object.key()?.strip_prefix(store.prefix.as_str()).filter(|key| key.starts_with(prefix))?;
        let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        Some(Listed { key: key.to_owned(), bytes })
    });
    let token = answer.next_continuation_token().map(str::to_owned);
    let goes_on = answer.is_truncated() == Some(true);
    if goes_on && token.is_none() && answer.contents().is_empty() {
        return Err(store.error(ObjectErrorKind::Failed, asked, "the store says that there is more, and not where"));
    }
    Ok((listed.collect(), goes_on, token))
}

/// `None` where the store's order is another one.
fn list_in_order(store: &S3ObjectStore, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Option<Page>> {
    let mut token = None;
    loop {
        let (mut objects, goes_on, next) = list_once(store, prefix, after, token, limit)?;
        objects.retain(|object| Some(object.key.as_str()) != after);
        let is_behind = objects.first().is_none_or(|first| after.is_none_or(|after| first.key.as_str() > after));
        if !is_behind || !objects.is_sorted_by(|one, other| one.key < other.key) {
            return Ok(None);
        }
        token = next;
        if goes_on && objects.is_empty() && token.is_some() {
            continue;
        }
        // Goes on behind a key and not by the store's token: those do not last.
        let next = objects.last().filter(|_| goes_on).map(|last| last.key.clone());
        return Ok(Some(Page { objects, next }));
    }
}

/// From all that is below the prefix, the first ones. A request for each thousand objects, at each page.
fn list_and_sort(store: &S3ObjectStore, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    let (mut token, mut is_more) = (None, false);
    loop {
        let (objects, goes_on, next) = list_once(store, prefix, None, token, PAGE_MAX)?;
        for object in objects {
            if after.is_none_or(|after| object.key.as_str() > after) {
                first.insert(object.key, object.bytes);
            }
            if first.len() > limit {
                first.pop_last();
                is_more = true;
            }
        }
        if !goes_on || next.is_none() {
            break;
        }
        token = next;
    }
    let objects: Vec<Listed> = first.into_iter().map(|(key, bytes)| Listed { key, bytes }).collect();
    let next = objects.last().filter(|_| is_more).map(|last| last.key.clone());
    Ok(Page { objects, next })
}

pub(super) fn versions(store: &S3ObjectStore, key: &str) -> ObjectResult<Vec<Version>> {
    let asked = VERSIONS.of(key);
    if store.is_google {
        let what = "versions of Google's are generations, which this protocol does not tell";
        return Err(store.error(ObjectErrorKind::Unsupported, asked, what));
    }
    let (client, name) = (store.client(asked)?, store.name(key));
    let (mut found, mut from, mut from_version): (Vec<(Version, bool, i128)>, _, _) = (Vec::new(), None, None);
    loop {
        let request = client
            .list_object_versions()
            .bucket(&store.bucket)
            .prefix(&name)
            .set_key_marker(from)
            .set_version_id_marker(from_version);
        let answer = match store.send(RequestKind::List, 0, request.send()) {
            Ok(answer) => answer,
            Err(failure) => {
                let error = store.failed(asked, failure);
                if error.kind == ObjectErrorKind::Unsupported {
                    return only_version(store, key);
                }
                return Err(error);
            }
        };
        for version in answer.versions().iter().filter(|version| version.key() == Some(&name)) {
            let bytes = version.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
            let version_of =
                Version { id: id(version.version_id()), bytes, is_delete_marker: false, retain_until: None };
            found.push((version_of, version.is_latest() == Some(true), nanos(version.last_modified())));
        }
        for marker in answer.delete_markers().iter().filter(|marker| marker.key() == Some(&name)) {
            let version_of =
                Version { id: id(marker.version_id()), bytes: 0, is_delete_marker: true, retain_until: None };
            found.push((version_of, marker.is_latest() == Some(true), nanos(marker.last_modified())));
        }
        from = answer.next_key_marker().map(str::to_owned);
        from_version = answer.next_version_id_marker().map(str::to_owned);
        // Keys that begin with this one come behind it.
        if answer.is_truncated() != Some(true) || from.as_deref() != Some(&name) {
            break;
        }
    }
    // The two kinds come apart; of the same second, the store's order within a kind stays.
    found.sort_by_key(|(_, is_latest, at)| (!is_latest, std::cmp::Reverse(*at)));
    let mut versions: Vec<Version> = found.into_iter().map(|(version, ..)| version).collect();
    for version in versions.iter_mut().filter(|version| !version.is_delete_marker) {
        let asked = Asked { right: "s3:GetObjectVersion", ..asked };
        let mut request = client.head_object().bucket(&store.bucket).key(&name);
        if !version.id.is_empty() {
            request = request.version_id(&version.id);
        }
        match store.send(RequestKind::Head, 0, request.send()) {
            Ok(answer) => version.retain_until = answer.object_lock_retain_until_date().and_then(timestamp),
            // Deleted meanwhile.
            Err(failure) if failure.status() == 404 => {}
            Err(failure) => return Err(store.failed(asked, failure)),
        }
    }
    Ok(versions)
}

/// Of a store that knows no versions.
fn only_version(store: &S3ObjectStore, key: &str) -> ObjectResult<Vec<Version>> {
    match look(store, key, VERSIONS) {
        Ok(Seen { bytes, retain_until, .. }) => {
            Ok(vec![Version { id: String::new(), bytes, is_delete_marker: false, retain_until }])
        }
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What was stored while the bucket kept no versions is called `null`.
fn id(said: Option<&str>) -> String {
    said.filter(|id| *id != "null").unwrap_or("").to_owned()
}

fn nanos(at: Option<&aws_sdk_s3::primitives::DateTime>) -> i128 {
    at.map_or(0, aws_sdk_s3::primitives::DateTime::as_nanos)
}

fn timestamp(at: &aws_sdk_s3::primitives::DateTime) -> Option<Timestamp> {
    i64::try_from(at.as_nanos() / 1000).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn ranges_as_stores_say_them() {
        assert_eq!(content_range("bytes 0-9/100"), Some((0, 9, 100)));
        assert_eq!(content_range("bytes */100"), None);
        assert_eq!(content_range("bytes 0-9/*"), None);
        assert_eq!(content_range("0-9/100"), None);
    }
}
