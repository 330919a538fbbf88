//! A directory as an object store: `file://`.
//!
//! Owns: `{root}/{key}`, the folder `{root}/.staging` of unfinished files, and the marker `{root}/_store`. The marker is made with the
//! store and never by a put: a mount point whose disk is away has none, so it is not taken for an empty store, and nothing is
//! written to the wrong disk.
//!
//! # Crash safety of a put
//!
//! 1. The bytes are written to a file in staging, checked on the way, and synced. A crash leaves a file that nobody reads
//!    ([`LocalObjectStore::clear_staging`]).
//! 2. The folders of the key are made, and their names synced.
//! 3. The file gets its name, which must be free, and the folder is synced. Who sees the name sees the whole file. A crash before
//!    the sync leaves the object or not; nobody was told that it is there.
//!
//! An object that is found to be there already may be one of step 3 whose name no sync covers: before it is said to be there, its file
//! and its folders are synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{
    Abilities, Head, Listed, Meter, ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, Page, Proof,
    Put, RequestKind, Upload, Version,
};
use crate::avro::Sha256;
use crate::fs::{Entry, EntryKind, File, FileSystem, FsError, OpenMode, durable};
use crate::types::ids::hex;

/// The folder of unfinished files.
pub const STAGING: &str = ".staging";
/// What tells a store from an empty directory.
pub const MARKER: &str = "_store";
const MARKER_TEXT: &[u8] = b"icecore object store\n";
/// Bytes copied or compared at once.
const PIECE_BYTES: u64 = 1 << 20;

/// A directory as an object store.
#[derive(Debug)]
pub struct LocalObjectStore {
    fs: Arc<dyn FileSystem>,
    root: PathBuf,
    meter: Meter,
}

impl LocalObjectStore {
    /// The store in the directory `root`. Nothing is opened or looked at yet.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, root: impl Into<PathBuf>) -> Self {
        Self { fs, root: root.into(), meter: Meter::default() }
    }

    /// Makes the directory a store, and itself where it is absent; that it is one already is fine.
    ///
    /// # Errors
    /// `Invalid` for a directory with other things in it; what the system said.
    pub fn create(fs: Arc<dyn FileSystem>, root: impl Into<PathBuf>) -> ObjectResult<Self> {
        let store = Self::new(fs, root);
        let make = |error: FsError| store.failed("create", "", error);
        durable::create_dir_all(&*store.fs, &store.root).map_err(make)?;
        let entries = store.fs.list(&store.root).map_err(make)?;
        if !entries.iter().any(|entry| entry.name == MARKER) {
            let is_expected =
                |entry: &Entry| entry.name == "lost+found" || entry.name.starts_with(&format!("{MARKER}."));
            if entries.iter().any(|entry| !is_expected(entry) && entry.name != STAGING) {
                let what = "the directory has other things in it, and is no store";
                return Err(store.error(ObjectErrorKind::Invalid, "create", "", what));
            }
            durable::create_dir_all(&*store.fs, &store.root.join(STAGING)).map_err(make)?;
            durable::replace_small(&*store.fs, &store.root.join(MARKER), MARKER_TEXT).map_err(make)?;
        }
        Ok(store)
    }

    /// Removes what killed puts left. Nobody else puts anything meanwhile.
    ///
    /// # Errors
    /// What the system said.
    pub fn clear_staging(&self) -> ObjectResult<()> {
        self.must_be_there("clear", "")?;
        let staging = self.root.join(STAGING);
        let entries = match self.fs.list(&staging) {
            Err(error) if error.is_not_found() => return Ok(()),
            entries => entries.map_err(|error| self.failed("clear", "", error))?,
        };
        for entry in entries {
            self.fs.remove_file(&staging.join(entry.name)).map_err(|error| self.failed("clear", "", error))?;
        }
        Ok(())
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn error(
        &self,
        kind: ObjectErrorKind,
        operation: &'static str,
        key: &str,
        what: impl Into<Box<str>>,
    ) -> ObjectError {
        let (place, key, what) = (self.place().into(), key.into(), what.into());
        ObjectError { kind, operation, place, key, what, retry_after: None, source: None }
    }

    /// An error of the system that says nothing of whether the object is there.
    fn failed(&self, operation: &'static str, key: &str, error: FsError) -> ObjectError {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        let kind = match error.source.kind() {
            PermissionDenied | ReadOnlyFilesystem => ObjectErrorKind::Denied,
            _ if error.is_full() => ObjectErrorKind::Full,
            _ => ObjectErrorKind::Failed,
        };
        ObjectError { source: Some(Box::new(error.source)), ..self.error(kind, operation, key, error.operation) }
    }

    /// The same, where "not found" means that there is no such object.
    fn of_object(&self, operation: &'static str, key: &ObjectKey, error: FsError) -> ObjectError {
        if error.is_not_found() {
            return self.error(ObjectErrorKind::NotFound, operation, key.as_str(), "there is no such object");
        }
        self.failed(operation, key.as_str(), error)
    }

    /// Without this an empty mount point would be a store that has lost everything (promise 6).
    fn must_be_there(&self, operation: &'static str, key: &str) -> ObjectResult<()> {
        match self.fs.metadata(&self.root.join(MARKER)) {
            Ok(found) if found.kind == EntryKind::File => Ok(()),
            Ok(_) => Err(self.error(ObjectErrorKind::Unavailable, operation, key, "its `_store` is no file")),
            Err(error) if error.is_not_found() => {
                let what = "the store is not there: the directory has no file `_store`; is the disk mounted?";
                Err(self.error(ObjectErrorKind::Unavailable, operation, key, what))
            }
            Err(error) => Err(ObjectError { kind: ObjectErrorKind::Unavailable, ..self.failed(operation, key, error) }),
        }
    }

    fn open(&self, operation: &'static str, key: &ObjectKey) -> ObjectResult<(Arc<dyn File>, u64)> {
        let path = self.path(key);
        let found = self.fs.metadata(&path).map_err(|error| self.of_object(operation, key, error))?;
        if found.kind != EntryKind::File {
            return Err(self.error(ObjectErrorKind::NotFound, operation, key.as_str(), "there is no such object"));
        }
        let file = self.fs.open(&path, OpenMode::Read).map_err(|error| self.of_object(operation, key, error))?;
        Ok((file, found.len))
    }

    /// What is under a key that is taken; durable when this returns.
    fn compare(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        let (file, len) = self.open("put", key)?;
        let failed = |error| self.failed("put", key.as_str(), error);
        let is_same = len == upload.bytes && self.sha256(&*file, len).map_err(failed)? == upload.sha256;
        if !is_same {
            return Ok(Put::OtherThere);
        }
        file.sync_all().map_err(failed)?;
        drop(file);
        let path = self.path(key);
        // From the object up to the root: an earlier run may have been killed between any two of them.
        for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
            self.fs.sync_dir(above).map_err(failed)?;
        }
        Ok(Put::SameThere)
    }

    fn sha256(&self, file: &dyn File, len: u64) -> Result<[u8; 32], FsError> {
        let mut digest = Sha256::new();
        let mut piece = vec![0; usize::try_from(len.min(PIECE_BYTES)).expect("a piece fits memory")];
        let mut at = 0;
        while at < len {
            let bytes = usize::try_from((len - at).min(PIECE_BYTES)).expect("a piece fits memory");
            file.read_exact_at(&mut piece[..bytes], at)?;
            digest.update(&piece[..bytes]);
            at += bytes as u64;
        }
        Ok(digest.finish())
    }

    /// Copies the upload to `staging`, synced.
    fn stage(&self, key: &ObjectKey, upload: &Upload<'_>, staging: &Path) -> ObjectResult<()> {
        let failed = |error| self.failed("put", key.as_str(), error);
        let file = self.fs.open(staging, OpenMode::CreateNew).map_err(failed)?;
        let mut digest = Sha256::new();
        let mut at = 0;
        while at < upload.bytes {
            let bytes = usize::try_from((upload.bytes - at).min(PIECE_BYTES)).expect("a piece fits memory");
            let piece = upload.source.read(at, bytes).map_err(|error| ObjectError {
                kind: ObjectErrorKind::Corrupt,
                source: Some(Box::new(error)),
                ..self.error(ObjectErrorKind::Corrupt, "put", key.as_str(), "the source cannot be read")
            })?;
            digest.update(&piece);
            file.write_all_at(&piece, at).map_err(failed)?;
            at += bytes as u64;
        }
        if digest.finish() != upload.sha256 {
            let what = "the source is not what it should be: its SHA-256 differs";
            return Err(self.error(ObjectErrorKind::Corrupt, "put", key.as_str(), what));
        }
        file.sync_all().map_err(failed)
    }

    fn publish(&self, key: &ObjectKey, upload: &Upload<'_>, staging: &Path) -> ObjectResult<Put> {
        self.stage(key, upload, staging)?;
        let path = self.path(key);
        let failed = |error| self.failed("put", key.as_str(), error);
        let folder = path.parent().expect("a key is below the root");
        // Each by itself: of one that a killed put made, this makes the name durable, and not of those above it.
        let mut folders: Vec<&Path> = folder.ancestors().take_while(|above| *above != self.root).collect();
        folders.reverse();
        for folder in folders {
            durable::create_dir_all(&*self.fs, folder).map_err(failed)?;
        }
        match durable::publish(&*self.fs, staging, &path) {
            Ok(()) => Ok(Put::Created),
            Err(error) if error.is_already_exists() => self.compare(key, upload).map_err(|error| match error.kind {
                ObjectErrorKind::NotFound => {
                    self.error(ObjectErrorKind::Invalid, "put", key.as_str(), "other objects lie below this name")
                }
                _ => error,
            }),
            Err(error) => {
                let gone = self.fs.metadata(&path).is_err_and(|found| found.is_not_found());
                let failed = self.failed("put", key.as_str(), error);
                // The name could not be taken back: it may stay, or be gone after a power cut.
                Err(if gone { failed } else { ObjectError { kind: ObjectErrorKind::OutcomeUnknown, ..failed } })
            }
        }
    }

    /// Adds the objects below `folder`, whose keys begin with `before`, in order; whether there is room for more.
    fn walk(&self, folder: &Path, before: &str, wanted: &mut Wanted<'_>) -> Result<bool, FsError> {
        let mut entries = match self.fs.list(folder) {
            // Removed since it was listed above.
            Err(error) if error.is_not_found() => return Ok(true),
            entries => entries?,
        };
        let is_hidden = |name: &str| name.starts_with('.') || (before.is_empty() && is_own(name));
        entries.retain(|entry| !is_hidden(&entry.name));
        // In order of keys: of a folder, the `/` behind its name counts.
        let mut named: Vec<(String, EntryKind)> = entries
            .into_iter()
            .map(|entry| {
                let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
                (format!("{before}{}{slash}", entry.name), entry.kind)
            })
            .collect();
        named.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (key, kind) in named {
            match kind {
                EntryKind::Directory if !wanted.may_be_below(&key) => {}
                EntryKind::Directory if self.walk(&self.root.join(&key), &key, wanted)? => {}
                EntryKind::Directory => return Ok(false),
                EntryKind::File if wanted.is_wanted(&key) => {
                    if wanted.found.len() == wanted.limit {
                        return Ok(false);
                    }
                    match self.fs.metadata(&self.root.join(&key)) {
                        Ok(found) => wanted.found.push(Listed { key, bytes: found.len }),
                        Err(error) if error.is_not_found() => {}
                        Err(error) => return Err(error),
                    }
                }
                _ => {}
            }
        }
        Ok(true)
    }
}

/// The store's own names at its root.
fn is_own(name: &str) -> bool {
    name == "lost+found" || name.strip_prefix(MARKER).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

struct Wanted<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    found: Vec<Listed>,
}

impl Wanted<'_> {
    fn is_wanted(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after)
    }

    /// Whether any key that begins with `folder` may be wanted.
    fn may_be_below(&self, folder: &str) -> bool {
        let fits = folder.starts_with(self.prefix) || self.prefix.starts_with(folder);
        // The greatest keys below begin with the folder too: they are over only where `after` is beyond all of those.
        fits && self.after.is_none_or(|after| after.starts_with(folder) || folder > after)
    }
}

/// Calls count as the requests that they would be elsewhere.
impl ObjectStore for LocalObjectStore {
    fn place(&self) -> String {
        super::Location::Local(self.root.clone()).to_string()
    }

    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        self.meter.begin(RequestKind::Put, upload.bytes);
        if upload.retain_until.is_some() {
            let what = "a directory cannot keep its files from being deleted";
            return Err(self.error(ObjectErrorKind::Unsupported, "put", key.as_str(), what));
        }
        self.must_be_there("put", key.as_str())?;
        if is_own(key.as_str().split('/').next().unwrap_or("")) {
            return Err(self.error(ObjectErrorKind::Invalid, "put", key.as_str(), "the store's own name"));
        }
        match self.open("put", key).map(drop) {
            Ok(()) => return self.compare(key, upload),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let folder = self.root.join(STAGING);
        durable::create_dir_all(&*self.fs, &folder).map_err(|error| self.failed("put", key.as_str(), error))?;
        let staging = folder.join(format!("{}.tmp", hex(&fastrand::u128(..).to_le_bytes())));
        let put = self.publish(key, upload, &staging);
        if !matches!(put, Ok(Put::Created)) {
            // Nobody reads it; what cannot be removed now is cleared away later.
            let _ = self.fs.remove_file(&staging);
        }
        put
    }

    fn put_memory(&self, bytes: u64) -> u64 {
        bytes.min(PIECE_BYTES)
    }

    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        self.meter.begin(RequestKind::Get, 0);
        self.must_be_there("get", key.as_str())?;
        let (file, len) = self.open("get", key)?;
        if len > bytes_max {
            let what = format!("it is larger than expected: bytes=`{len}`, limit=`{bytes_max}`");
            return Err(self.error(ObjectErrorKind::Invalid, "get", key.as_str(), what));
        }
        let mut bytes = vec![0; usize::try_from(len).expect("bytes_max fits memory")];
        file.read_exact_at(&mut bytes, 0).map_err(|error| self.failed("get", key.as_str(), error))?;
        self.meter.received(RequestKind::Get, len);
        Ok(bytes.into())
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        self.meter.begin(RequestKind::Get, 0);
        self.must_be_there("get", key.as_str())?;
        let (file, len) = self.open("get", key)?;
        if offset.checked_add(bytes as u64).is_none_or(|end| end > len) {
            let what = format!("it ends before the range: offset=`{offset}`, wanted=`{bytes}`, bytes=`{len}`");
            return Err(self.error(ObjectErrorKind::Invalid, "get", key.as_str(), what));
        }
        let mut piece = vec![0; bytes];
        file.read_exact_at(&mut piece, offset).map_err(|error| self.failed("get", key.as_str(), error))?;
        self.meter.received(RequestKind::Get, bytes as u64);
        Ok(piece.into())
    }

    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        self.meter.begin(RequestKind::Head, 0);
        self.must_be_there("head", key.as_str())?;
        let (_, bytes) = self.open("head", key)?;
        Ok(Head { bytes, sha256: None })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        self.meter.begin(RequestKind::List, 0);
        self.must_be_there("list", prefix)?;
        let mut wanted = Wanted { prefix, after, limit: limit.max(1), found: Vec::new() };
        let all = self.walk(&self.root, "", &mut wanted).map_err(|error| self.failed("list", prefix, error))?;
        let next = if all { None } else { wanted.found.last().map(|last| last.key.clone()) };
        Ok(Page { objects: wanted.found, next })
    }

    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        self.meter.begin(RequestKind::Delete, 0);
        self.must_be_there("delete", key.as_str())?;
        let path = self.path(key);
        // Nothing is open while it is removed: not every system lets that happen.
        match self.open("delete", key).map(drop) {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
            Ok(()) => match self.fs.remove_file(&path) {
                Err(error) if !error.is_not_found() => return Err(self.failed("delete", key.as_str(), error)),
                _ => {}
            },
        }
        // Also of one that was gone already: an earlier run may have been killed before its sync.
        match durable::sync_parent(&*self.fs, &path) {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => {
                Err(ObjectError { kind: ObjectErrorKind::OutcomeUnknown, ..self.failed("delete", key.as_str(), error) })
            }
            Ok(()) => Ok(()),
        }
    }

    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        super::prove(self, key, upload.bytes, &upload.sha256)
    }

    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        match self.head(key) {
            Ok(Head { bytes, .. }) => {
                Ok(vec![Version { id: String::new(), bytes, is_delete_marker: false, retain_until: None }])
            }
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn probe(&self) -> ObjectResult<Abilities> {
        let mut abilities = super::probe::try_out(self)?;
        // Every byte is compared on its way in.
        abilities.checks_checksums = true;
        Ok(abilities)
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}

#[cfg(test)]
mod tests;
