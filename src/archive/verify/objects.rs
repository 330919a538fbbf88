//! Looking at one object: whether it is there, and is what its manifest says.

use super::{RemoteFaultKind, RemoteVerifyOptions};
use crate::archive::manifest::ArchivedSegment;
use crate::avro::Sha256;
use crate::objects::{ObjectErrorKind, ObjectKey, ObjectStore};

const PIECE_BYTES: u64 = 4 << 20;

/// What looking at one object gave.
pub(super) enum Looked {
    /// The store's checksum is right.
    Proven,
    /// It was read back, and is right.
    ReadBack,
    /// It is there.
    There,
    Wrong(RemoteFaultKind, String),
}

pub(super) fn in_threads(threads: usize, work: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}

/// Looks at one segment's object; `listed` is its length in the listing.
pub(super) fn look(
    store: &dyn ObjectStore,
    options: &RemoteVerifyOptions,
    segment: &ArchivedSegment,
    listed: Option<u64>,
) -> Looked {
    let key = segment.object_key();
    match listed {
        None => return absent(store, &key),
        Some(bytes) if bytes != segment.bytes => {
            let what = format!("it has another length: bytes=`{bytes}`, expected=`{}`", segment.bytes);
            return Looked::Wrong(RemoteFaultKind::WrongObject, what);
        }
        Some(_) => {}
    }
    let reads_back = options.deep || is_sampled(segment, options);
    compare(store, reads_back, &key, segment.bytes, &segment.sha256)
}

/// Chosen by what the object is, not by chance: the same seed looks at the same ones again.
pub(super) fn is_sampled(segment: &ArchivedSegment, options: &RemoteVerifyOptions) -> bool {
    let mut digest = Sha256::new();
    digest.update(&options.seed.to_le_bytes());
    digest.update(&segment.sha256);
    let [one, two, three, four, ..] = digest.finish();
    u32::from_le_bytes([one, two, three, four]) % 100 < u32::from(options.sample_percent)
}

/// Why an object is not in the listing.
fn absent(store: &dyn ObjectStore, key: &ObjectKey) -> Looked {
    match store.versions(key) {
        Ok(versions) => {
            let kept = versions.iter().find(|version| !version.is_delete_marker);
            match (versions.first(), kept) {
                (Some(newest), Some(kept)) if newest.is_delete_marker => {
                    let what = format!("it is under a delete marker; version=`{}` still has it", kept.id);
                    Looked::Wrong(RemoteFaultKind::HiddenObject, what)
                }
                // It came between the listing and now: a listing that lags, or a copy that was put back.
                (Some(_), Some(_)) => Looked::There,
                _ => Looked::Wrong(RemoteFaultKind::MissingObject, "it is not there".to_owned()),
            }
        }
        Err(error) if error.kind == ObjectErrorKind::Unsupported => {
            Looked::Wrong(RemoteFaultKind::MissingObject, "it is not there".to_owned())
        }
        Err(error) => Looked::Wrong(RemoteFaultKind::MissingObject, format!("it is not there; {error}")),
    }
}

pub(super) fn compare(
    store: &dyn ObjectStore,
    reads_back: bool,
    key: &ObjectKey,
    bytes: u64,
    sha256: &[u8; 32],
) -> Looked {
    let outcome = if reads_back { read_back(store, key, bytes) } else { checksum(store, key, bytes) };
    match outcome {
        Ok(Some(found)) if found == *sha256 => {
            if reads_back {
                Looked::ReadBack
            } else {
                Looked::Proven
            }
        }
        Ok(Some(_)) => Looked::Wrong(RemoteFaultKind::WrongObject, "its SHA-256 is not the manifest's".to_owned()),
        Ok(None) => Looked::There,
        Err(error) if error.kind == ObjectErrorKind::NotFound => absent(store, key),
        Err(error) if error.kind == ObjectErrorKind::Invalid => {
            Looked::Wrong(RemoteFaultKind::WrongObject, error.to_string())
        }
        Err(error) => Looked::Wrong(RemoteFaultKind::Unreadable, error.to_string()),
    }
}

fn read_back(store: &dyn ObjectStore, key: &ObjectKey, bytes: u64) -> crate::objects::ObjectResult<Option<[u8; 32]>> {
    let mut digest = Sha256::new();
    let mut at = 0;
    while at < bytes {
        let length = usize::try_from((bytes - at).min(PIECE_BYTES)).expect("a piece fits memory");
        digest.update(&store.get_range(key, at, length)?);
        at += length as u64;
    }
    Ok(Some(digest.finish()))
}

/// The store's own, where it has one.
fn checksum(store: &dyn ObjectStore, key: &ObjectKey, bytes: u64) -> crate::objects::ObjectResult<Option<[u8; 32]>> {
    let head = store.head(key)?;
    // Another length than the listing's a moment ago is told as other bytes.
    Ok(if head.bytes == bytes { head.sha256 } else { Some([0; 32]) })
}
