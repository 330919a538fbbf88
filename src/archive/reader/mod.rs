//! Reads archived segments by range (O6): what the log asks of an archive.
//!
//! Owns: which store a row's object is in, and a bounded memory of what was fetched (`cache`). An object's length is its row's, so
//! nothing is asked before its bytes are. Retries, deadlines and giving up on a store that is down are the stores' own
//! (`objects`): whoever makes a reader gives it stores that have them.
//!
//! What arrives is judged by who reads it: blocks and footers have checksums. What turns out to be wrong is forgotten here, and fetched once
//! more before it counts as damage of the object.

mod cache;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use self::cache::{Cache, Piece};
use super::chain;
use crate::catalog::SegmentRow;
use crate::error::{Error, ErrorKind, Result};
use crate::log::tier::Archive;
use crate::objects::{ObjectError, ObjectErrorKind, ObjectKey, ObjectStore, SegmentObject};
use crate::segment::{Damage, ReadRange, SegmentError};
use crate::types::{CollectionName, Sequence};

/// What a reader may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Bytes of archived segments kept in memory; zero for none.
    pub cache_bytes: u64,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// The stores of a log's archived segments, to read from.
#[derive(Debug)]
pub struct ArchiveReader {
    archive: Option<Arc<dyn ObjectStore>>,
    /// Homes, by the remote's id (A5).
    remotes: HashMap<String, Arc<dyn ObjectStore>>,
    cache: Arc<Cache>,
}

impl ArchiveReader {
    /// Reads from the log's archive, where it has one. Nothing is asked of it yet.
    #[must_use]
    pub fn new(archive: Option<Arc<dyn ObjectStore>>, options: ReaderOptions) -> Self {
        Self { archive, remotes: HashMap::new(), cache: Arc::new(Cache::new(options.cache_bytes)) }
    }

    /// Adds the store of a remote that is a home of collections, by the remote's id.
    #[must_use]
    pub fn with_remote(mut self, id: impl Into<String>, store: Arc<dyn ObjectStore>) -> Self {
        self.remotes.insert(id.into(), store);
        self
    }

    /// The store and the key of a row's archived object.
    ///
    /// # Errors
    /// `NotFound` where the row names none; `Invalid` for a key that is none; `Unavailable` where its store was not given.
    pub fn locate(&self, row: &SegmentRow) -> Result<(&Arc<dyn ObjectStore>, ObjectKey)> {
        let Some(text) = row.archive_key.as_deref() else {
            let message = format!("no archived copy of the segment is known: segment=`{}`", row.key);
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        let (store, key) = match text.strip_prefix('@') {
            None => {
                let none = || {
                    let message = format!("the segment is in an archive that was not named: segment=`{}`", row.key);
                    Error::new(ErrorKind::Unavailable, message)
                        .with_hint("say where it is: `--archive URL`, or the setting `archive`")
                };
                (self.archive.as_ref().ok_or_else(none)?, text)
            }
            Some(rest) => {
                let (id, key) = rest.split_once('/').unwrap_or((rest, ""));
                let none = || {
                    let message = format!(
                        "the segment is in a store that the log does not know: segment=`{}`, remote=`{id}`",
                        row.key
                    );
                    Error::new(ErrorKind::Unavailable, message).with_hint("`directory ls` lists the log's stores")
                };
                (self.remotes.get(id).ok_or_else(none)?, key)
            }
        };
        Ok((store, ObjectKey::new(key)?))
    }

    fn range(&self, row: &SegmentRow, cache: Option<Arc<Cache>>) -> Result<Arc<dyn ReadRange>> {
        let (store, key) = self.locate(row)?;
        let path = PathBuf::from(format!("{}/{key}", store.place()));
        let object = row.archive_key.as_deref().unwrap_or_default().into();
        Ok(Arc::new(ObjectRange { store: Arc::clone(store), key, object, path, bytes: row.bytes, cache }))
    }
}

impl Archive for ArchiveReader {
    fn open(&self, row: &SegmentRow) -> Result<Arc<dyn ReadRange>> {
        self.range(row, Some(Arc::clone(&self.cache)))
    }

    fn open_once(&self, row: &SegmentRow) -> Result<Arc<dyn ReadRange>> {
        self.range(row, None)
    }

    /// An object under its key of the row's length counts: it was proven when the row became `Archived`, and no key is used for
    /// two contents (O1). Where the store tells a checksum it must be the row's.
    fn has(&self, row: &SegmentRow) -> Result<bool> {
        let (store, key) = self.locate(row)?;
        let head = match store.head(&key) {
            Ok(head) => head,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if head.bytes != row.bytes || head.sha256.is_some_and(|sha256| sha256 != row.sha256) {
            let message = format!(
                "the archived object is not the segment: segment=`{}`, store=`{}`, key=`{key}`, bytes=`{}`, expected=`{}`",
                row.key,
                store.place(),
                head.bytes,
                row.bytes
            );
            return Err(Error::new(ErrorKind::Corrupt, message).with_hint("run `verify --remote`"));
        }
        Ok(true)
    }

    /// By the objects' names: what no manifest names may be among them, so this is never too low.
    fn last_sequence(&self, collection: &CollectionName) -> Result<Option<Sequence>> {
        let prefix = SegmentObject::prefix_of(collection);
        let mut highest = None;
        for store in self.archive.iter().chain(self.remotes.values()) {
            let mut after: Option<String> = None;
            loop {
                let page = store.list(&prefix, after.as_deref(), 1000)?;
                let names = page.objects.iter().filter_map(|listed| SegmentObject::parse(&listed.key));
                highest = names.map(|name| Some(name.covers.last)).fold(highest, Ord::max);
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(highest)
    }

    /// By the manifests, from the newest checkpoint on.
    fn last_sequences(&self) -> Result<BTreeMap<CollectionName, Sequence>> {
        let mut highest: BTreeMap<CollectionName, Sequence> = BTreeMap::new();
        for store in self.archive.iter().chain(self.remotes.values()) {
            for (name, collection) in chain::state(&**store)?.collections() {
                let last = highest.entry(name.clone()).or_default();
                *last = collection.last_sequence().max(*last);
            }
        }
        Ok(highest)
    }
}

/// An archived object, read by range.
#[derive(Debug)]
struct ObjectRange {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    /// As the row names it.
    object: Arc<str>,
    path: PathBuf,
    /// Its length, by the row.
    bytes: u64,
    cache: Option<Arc<Cache>>,
}

impl ObjectRange {
    fn fetch(&self, offset: u64, bytes: usize) -> Result<Bytes, SegmentError> {
        let found = self.store.get_range(&self.key, offset, bytes).map_err(|error| self.failed(offset, error))?;
        if found.len() != bytes {
            return Err(
                self.damaged(offset, format!("the store sent too little: bytes=`{}`, wanted=`{bytes}`", found.len()))
            );
        }
        Ok(found)
    }

    /// That an object which its row promises is gone, or is not the one, is damage; everything else may be over tomorrow.
    fn failed(&self, offset: u64, error: ObjectError) -> SegmentError {
        match error.kind {
            ObjectErrorKind::NotFound => self.damaged(offset, "the archive does not have it any more".to_owned()),
            ObjectErrorKind::Corrupt | ObjectErrorKind::Invalid => self.damaged(offset, error.to_string()),
            _ => SegmentError::Remote { path: self.path.clone(), source: Box::new(error) },
        }
    }

    fn damaged(&self, offset: u64, what: String) -> SegmentError {
        Damage { path: self.path.clone(), offset, what, sequences: None }.into()
    }
}

impl ReadRange for ObjectRange {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> Result<u64, SegmentError> {
        Ok(self.bytes)
    }

    fn read(&self, offset: u64, bytes: usize) -> Result<Bytes, SegmentError> {
        match &self.cache {
            None => self.fetch(offset, bytes),
            Some(cache) => {
                let piece = Piece { object: Arc::clone(&self.object), offset, bytes };
                cache.get(&piece, || self.fetch(offset, bytes))
            }
        }
    }

    fn prepare(&self, parts: &[(u64, usize)]) {
        let Some(cache) = &self.cache else { return };
        let piece = |&(offset, bytes): &(u64, usize)| Piece { object: Arc::clone(&self.object), offset, bytes };
        let pieces: Vec<Piece> = parts.iter().map(piece).collect();
        // Up to what is there already, and not more than stays until it is read.
        let mut total = 0;
        let is_new = |piece: &&Piece| {
            total += piece.bytes;
            cache.takes(total) && !cache.is_known(piece)
        };
        let new: Vec<&Piece> = pieces.iter().take_while(is_new).collect();
        let [first, rest @ ..] = &new[..] else { return };
        if rest.is_empty() {
            return;
        }
        let bytes = new.iter().map(|piece| piece.bytes).sum();
        let fetch = || {
            let all = self.fetch(first.offset, bytes)?;
            let mut at = first.bytes;
            for piece in rest {
                // A copy, so that each is let go by itself.
                cache.keep(piece, &Bytes::copy_from_slice(&all[at..at + piece.bytes]));
                at += piece.bytes;
            }
            Ok::<_, SegmentError>(Bytes::copy_from_slice(&all[..first.bytes]))
        };
        // Who reads it meets the same failure.
        let _ = cache.get(first, fetch);
    }

    fn distrust(&self) -> bool {
        if let Some(cache) = &self.cache {
            cache.forget(&self.object);
        }
        true
    }
}
