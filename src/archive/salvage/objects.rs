//! Objects that no readable manifest names: each is read whole, and judged by itself.
//!
//! What is in memory: the listing's keys of segments that are named, and an object for each thread.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use super::{Found, LeftOut};
use crate::archive::manifest::ArchivedSegment;
use crate::avro::sha256;
use crate::catalog::SegmentKey;
use crate::error::{Error, Result};
use crate::objects::{ObjectErrorKind, ObjectKey, ObjectStore, SegmentObject};
use crate::segment::{Damage, ReadRange, SegmentError, SegmentReader, verify_deep};
use crate::types::{CollectionName, LogId, Sequence};

const PAGE: usize = 1_000;
const PIECE_BYTES: u64 = 4 << 20;

/// Compares the listing with what is named: leaves out what is named and not there, and reads what is there and not named.
pub(super) fn read(store: &dyn ObjectStore, found: &mut Found, threads: usize) -> Result<()> {
    let mut named: HashMap<String, SegmentKey> =
        found.state.segments().map(|segment| (segment.object_key().to_string(), segment.segment.clone())).collect();
    let floors: BTreeMap<String, Sequence> = found
        .state
        .collections()
        .iter()
        .map(|(name, collection)| (name.directory_name(), collection.floor()))
        .collect();
    let mut unnamed: Vec<(SegmentObject, u64)> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list("", after.as_deref(), PAGE)?;
        for listed in page.objects {
            let Some(object) = SegmentObject::parse(&listed.key) else { continue };
            let is_below = floors.get(&object.folder).is_some_and(|floor| object.covers.last < *floor);
            if named.remove(&listed.key).is_none() && !is_below && !found.removed.contains(&listed.key) {
                unnamed.push((object, listed.bytes));
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for (key, segment) in named {
        found.saw(&segment.collection, segment.last);
        found.state.leave_out(&segment);
        found.differs = true;
        found.left_out.push(LeftOut {
            key,
            first_sequence: segment.first,
            last_sequence: segment.last,
            reason: "a manifest names it, and it is not there: purged by a manifest that cannot be read, or lost"
                .to_owned(),
        });
    }
    let work = Mutex::new(unnamed.into_iter());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((object, bytes)) = next else { return };
                    let outcome = examine(store, &object, bytes);
                    let has_failed = outcome.is_err();
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((object, outcome));
                    if has_failed {
                        // The others end with what they have begun.
                        work.lock().unwrap_or_else(PoisonError::into_inner).by_ref().for_each(drop);
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Threads end in any order.
    results.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (object, outcome) in results {
        match outcome? {
            Ok((log, segment)) => {
                found.saw(&segment.segment.collection, segment.segment.last);
                found.candidates.push((log, segment));
            }
            Err(reason) => {
                // Damaged as it is, its name still says that these sequences were given out.
                if let Some(name) = object.collection().or_else(|| full_name(found, &object)) {
                    found.saw(&name, object.covers.last);
                }
                found.left_out.push(LeftOut {
                    key: object.to_string(),
                    first_sequence: object.covers.first,
                    last_sequence: object.covers.last,
                    reason,
                });
            }
        }
    }
    Ok(())
}

/// The collection of an object whose key does not tell it, where it is known.
fn full_name(found: &Found, object: &SegmentObject) -> Option<CollectionName> {
    found.state.collections().keys().find(|name| name.directory_name() == object.folder).cloned()
}

type Judged = std::result::Result<(LogId, ArchivedSegment), String>;

/// What an object says of itself, proven; or what is wrong with it.
fn examine(store: &dyn ObjectStore, object: &SegmentObject, bytes: u64) -> Result<Judged> {
    let key = object.key();
    let whole = match fetch(store, &key, bytes) {
        Ok(whole) => whole,
        Err(error) if matches!(error.kind, ObjectErrorKind::NotFound | ObjectErrorKind::Invalid) => {
            return Ok(Err(format!("it cannot be read: {error}")));
        }
        Err(error) => return Err(error.into()),
    };
    let digest = sha256(&whole);
    if digest[..4] != object.digest {
        return Ok(Err("its bytes are not those that its name is of".to_owned()));
    }
    let source: Arc<dyn ReadRange> =
        Arc::new(Held { path: PathBuf::from(format!("{}/{key}", store.place())), bytes: whole });
    let reader = match SegmentReader::open_range(Arc::clone(&source)) {
        Ok(reader) => reader,
        Err(error) => return Ok(Err(told(error))),
    };
    match verify_deep(source, None) {
        Ok(verdict) => {
            if let Some(damage) = verdict.damaged.first() {
                return Ok(Err(format!("it is damaged: offset=`{}`, {}", damage.offset, damage.what)));
            }
        }
        Err(error) => return Ok(Err(told(error))),
    }
    let footer = reader.footer();
    let segment = ArchivedSegment {
        segment: SegmentKey {
            collection: footer.collection.clone(),
            first: footer.covers.first,
            last: footer.covers.last,
            generation: footer.generation,
        },
        epoch: footer.epoch,
        records: footer.records,
        bytes,
        sha256: digest,
        content_digest: footer.content_digest,
        timestamp_min: footer.timestamp_min,
        timestamp_max: footer.timestamp_max,
        sealed_at: footer.created_at,
    };
    if segment.object_key() != key {
        return Ok(Err(format!("its name is not what its footer says: expected=`{}`", segment.object_key())));
    }
    Ok(Ok((footer.log, segment)))
}

fn told(error: SegmentError) -> String {
    Error::from(error).to_string()
}

fn fetch(store: &dyn ObjectStore, key: &ObjectKey, bytes: u64) -> crate::objects::ObjectResult<Bytes> {
    let mut whole = BytesMut::new();
    while (whole.len() as u64) < bytes {
        let length = usize::try_from((bytes - whole.len() as u64).min(PIECE_BYTES)).expect("a piece fits memory");
        whole.extend_from_slice(&store.get_range(key, whole.len() as u64, length)?);
    }
    Ok(whole.freeze())
}

/// An object in memory.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    bytes: Bytes,
}

impl ReadRange for Held {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> std::result::Result<u64, SegmentError> {
        Ok(self.bytes.len() as u64)
    }

    fn read(&self, offset: u64, bytes: usize) -> std::result::Result<Bytes, SegmentError> {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        match begin.checked_add(bytes).filter(|end| *end <= self.bytes.len()) {
            Some(end) => Ok(self.bytes.slice(begin..end)),
            None => {
                let what = format!("the object ends early: wanted=`{bytes}`");
                Err(SegmentError::Damaged(Damage { path: self.path.clone(), offset, what, sequences: None }))
            }
        }
    }
}
