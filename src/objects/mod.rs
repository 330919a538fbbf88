//! Object stores: whole, immutable objects under keys, in a local directory or in somebody's cloud.
//!
//! - [`url`]: where a store is, as people write it
//! - [`keys`]: the names of objects (O1)
//! - [`local`]: a directory as a store; `s3`: S3, what speaks its protocol, and Google Cloud Storage by it; `azure`: Azure Blob Storage and
//!   Data Lake
//! - [`proof`]: that an object is there and is the one that was sent (O4)
//! - [`options`]: what a store is reached with; [`mod@open`]: the store of a location
//! - [`patient`]: a store that is asked again: retries, breaker
//! - [`probe`]: trying out what a store can do; [`doctor`]: which right is missing
//! - [`said`]: what a service said when it refused something; `certificate`: why a server is not trusted
//! - [`meter`]: how many requests and bytes, by kind
//! - [`conformance`]: what every store must do alike
//!
//! Owns: what is asked of a store, and what may be relied on. Knows no catalog and no segment. Blocking: an implementation over an async
//! client brings its own runtime. Retries, deadlines and budgets are the caller's; an implementation retries nothing that may have
//! happened.
//!
//! # What every store promises
//!
//! 1. **Whole or not at all.** An object is visible under its key with all of its bytes, or it is not there. No reader, no listing
//!    and no crash ever shows half of one.
//! 2. **Never replaced.** [`ObjectStore::put_if_absent`] on a key that is taken changes nothing, also when two callers race: at most one
//!    of them gets [`Put::Created`], and everybody reads that one's bytes. Only [`ObjectStore::delete`] makes a key free again.
//! 3. **Durable on return.** What a call said to be created, or to be there already, survives a power cut of the machine that asked,
//!    and, as far as the store itself promises it, of the store.
//! 4. **Same content is told by SHA-256 and length**, of the bytes as the store has them, not of metadata that a client wrote.
//! 5. **Read your writes.** After a put or a delete returned, every get, head and listing that begins later shows it.
//! 6. **Only [`ObjectErrorKind::NotFound`] means absent**, and it means that the store answered and has no such object: an unreachable
//!    store, an empty mount point or a missing right is another error.
//! 7. **An unknown outcome is told as such**: a put or delete that may have happened is [`ObjectErrorKind::OutcomeUnknown`]; whoever
//!    gets it looks before trying again. After any other error of a put, the object is not there by that call.
//! 8. All calls may run at the same time, from any thread.
//! 9. Errors name the store, the operation and the key, and hold no secret; neither does `Debug` of a store.
//! 10. Every call comes to an end: a request that hangs is given up at its deadline ([`StoreOptions::request_timeout`]), and its outcome
//!     is told as promise 7 says.

#[cfg(feature = "azure")]
pub mod azure;
#[cfg(any(feature = "s3", feature = "azure"))]
mod certificate;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod doctor;
pub mod keys;
pub mod local;
pub mod meter;
pub mod open;
pub mod options;
pub mod patient;
pub mod probe;
pub mod proof;
#[cfg(feature = "s3")]
pub mod s3;
pub mod said;
pub mod url;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "azure")]
pub use azure::AzureObjectStore;
pub use keys::{ObjectKey, SegmentObject};
pub use local::LocalObjectStore;
pub use meter::{Meter, RequestKind, Usage};
pub use open::open_store;
pub use options::{AzureOptions, S3Options, StoreOptions};
pub use patient::{Patience, PatientStore, Stop};
pub use proof::{Proof, prove};
#[cfg(feature = "s3")]
pub use s3::S3ObjectStore;
pub use said::{Said, Trouble};
pub use url::{InvalidLocation, Location};

use crate::error::{Error, ErrorKind};
use crate::fs::{File, FsResult};
use crate::types::Timestamp;

/// A store of objects. See the module for what each promises.
///
/// Keys are relative to the store's place: a store of `s3://bucket/prefix` puts the prefix before them. No key is another one with `/` and more
/// behind it: a store may refuse the second of such two, because a file is no folder.
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// Where it is, for people: never with a secret.
    fn place(&self) -> String;

    /// Makes an object, unless the key is taken; then says whether it holds the same bytes.
    ///
    /// What is sent is checked against `upload`'s length and SHA-256 on the way: bytes that are not those are never stored.
    ///
    /// # Errors
    /// [`ObjectErrorKind::Corrupt`] where the source's bytes are not what `upload` says, or what the store said.
    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put>;

    /// How many bytes of memory a put of an object of `bytes` bytes holds at most: who makes several at once asks first.
    fn put_memory(&self, bytes: u64) -> u64 {
        bytes
    }

    /// A small object, whole.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where it has more than `bytes_max` bytes; what the store said.
    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes>;

    /// Exactly `bytes` bytes of an object from `offset` on.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where the object ends before that; what the store said.
    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes>;

    /// What the store knows of an object without sending it.
    ///
    /// # Errors
    /// `NotFound`, or what the store said.
    fn head(&self, key: &ObjectKey) -> ObjectResult<Head>;

    /// Objects whose keys begin with `prefix` (any text, not only whole parts), in order of the keys' bytes, behind `after`, at most
    /// `limit`, which is at least 1. Page on with [`Page::next`].
    ///
    /// # Errors
    /// What the store said. A prefix under which nothing is gives an empty page.
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page>;

    /// Removes an object; that it is not there is fine.
    ///
    /// # Errors
    /// What the store said; `Denied` where it is under a retention of the store's own (Object Lock, immutability).
    fn delete(&self, key: &ObjectKey) -> ObjectResult<()>;

    /// Proves that what is under `key` are the bytes of `upload` (O4): by a checksum that the store computed over what it holds, also
    /// one of parts or blocks that is computed again from `upload`'s source, or by reading all of it back.
    ///
    /// # Errors
    /// `NotFound` where it is not there, `Corrupt` where it is another one, or what the store said.
    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof>;

    /// Every version of an object that the store still has, newest first; one at most where the store keeps none. A delete
    /// marker is a version that [`is_delete_marker`](Version::is_delete_marker). Empty where the store has nothing of it.
    ///
    /// # Errors
    /// What the store said.
    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>>;

    /// Tries what the store can do, on an object of its own below `_probe/`, which it removes.
    ///
    /// # Errors
    /// What the store said to what every store must be able to do: put, list, get, delete; the operation names which.
    fn probe(&self) -> ObjectResult<Abilities>;

    /// What was asked of the store so far.
    fn meter(&self) -> &Meter;
}

/// A version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The store's name of it; empty where it keeps no versions.
    pub id: String,
    /// Length in bytes; zero of a delete marker.
    pub bytes: u64,
    /// It says only that the object was deleted.
    pub is_delete_marker: bool,
    /// The store refuses to delete it before this time.
    pub retain_until: Option<Timestamp>,
}

/// What a store turned out to be able to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Abilities {
    /// It refuses a put on a key that is taken. Without this nothing is archived there.
    pub conditional_put: bool,
    /// It refuses bytes that are not those of the checksum that is sent with them.
    pub checks_checksums: bool,
    /// It tells a checksum that it computed itself.
    pub tells_checksums: bool,
    /// It takes objects in parts.
    pub multipart: bool,
    /// It keeps versions of objects: what is deleted is not gone.
    pub versioned: bool,
    /// It can keep objects from being deleted before a time (Object Lock, immutability).
    pub retention: bool,
    /// What it said of itself, such as the name of its software.
    pub server: Option<String>,
}

/// What an object is made of.
#[derive(Clone, Copy)]
pub struct Upload<'a> {
    /// Where the bytes are.
    pub source: &'a dyn Source,
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// Until when the store is to refuse to delete the object; refused as `Unsupported` by stores that cannot.
    pub retain_until: Option<Timestamp>,
}

impl<'a> Upload<'a> {
    /// `bytes` bytes of `source` with this SHA-256, without retention.
    #[must_use]
    pub const fn new(source: &'a dyn Source, bytes: u64, sha256: [u8; 32]) -> Self {
        Self { source, bytes, sha256, retain_until: None }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn of_bytes(bytes: &'a Bytes) -> Self {
        Self::new(bytes, bytes.len() as u64, crate::avro::sha256(bytes))
    }
}

impl fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Bytes that are sent piece by piece, and again when a piece has to be.
pub trait Source: Send + Sync {
    /// Exactly `bytes` bytes from `offset` on.
    ///
    /// # Errors
    /// What the system said; unexpected end where there are fewer.
    fn read(&self, offset: u64, bytes: usize) -> FsResult<Bytes>;

    /// The same of bytes that the store probably has: they are compared, and not sent. Where they have to be sent after all, they are read once more.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn look(&self, offset: u64, bytes: usize) -> FsResult<Bytes> {
        self.read(offset, bytes)
    }
}

impl Source for Bytes {
    fn read(&self, offset: u64, bytes: usize) -> FsResult<Bytes> {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = begin.checked_add(bytes).filter(|end| *end <= self.len());
        let ends_early = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let path = std::path::Path::new("memory");
        end.map(|end| self.slice(begin..end)).ok_or_else(|| crate::fs::FsError::new("read", path, ends_early()))
    }
}

impl Source for std::sync::Arc<dyn File> {
    fn read(&self, offset: u64, bytes: usize) -> FsResult<Bytes> {
        let mut piece = vec![0; bytes];
        self.read_exact_at(&mut piece, offset)?;
        Ok(piece.into())
    }
}

/// How a put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is there by this call.
    Created,
    /// The key was taken, and holds the same bytes: an earlier try, or another writer of the same (O3).
    SameThere,
    /// The key was taken, and holds other bytes, which stay (O3).
    OtherThere,
}

/// What a store knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole object, where the store itself computed it over what it holds. `None` is no statement.
    pub sha256: Option<[u8; 32]>,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its key; also one that no [`ObjectKey`] can be, where somebody else made it.
    pub key: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In order of their keys' bytes.
    pub objects: Vec<Listed>,
    /// `after` of the next page; `None` where this was the last.
    pub next: Option<String>,
}

/// What to do about a failed operation, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObjectErrorKind {
    /// The store answered: there is no such object.
    NotFound,
    /// The credentials are missing, wrong, or lack a right.
    Denied,
    /// The store does not answer, or asks to be left alone for a while; nothing happened.
    Unavailable,
    /// No space, or no quota; nothing happened.
    Full,
    /// It may have happened or not: look before trying again.
    OutcomeUnknown,
    /// Bytes are not what they should be; nothing was stored.
    Corrupt,
    /// The caller asked for what cannot be.
    Invalid,
    /// The store does not do this.
    Unsupported,
    /// Anything else that the store or the system said; nothing happened.
    Failed,
}

/// A failed operation on a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: store=`{place}`, key=`{key}`, what=`{what}`")]
pub struct ObjectError {
    /// What to do about it.
    pub kind: ObjectErrorKind,
    /// What was tried, as a verb: `put`, `list`.
    pub operation: &'static str,
    /// Which store.
    pub place: Box<str>,
    /// Which key, or prefix.
    pub key: Box<str>,
    /// What went wrong.
    pub what: Box<str>,
    /// How long the store asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What the system, or the client, said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ObjectError {
    /// The store answered that it is not there. Nothing else means absent.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == ObjectErrorKind::NotFound
    }
}

/// What an operation on a store gives.
pub type ObjectResult<T> = Result<T, ObjectError>;

impl From<ObjectError> for Error {
    fn from(error: ObjectError) -> Self {
        let (kind, hint) = match error.kind {
            ObjectErrorKind::NotFound => (ErrorKind::NotFound, None),
            ObjectErrorKind::Denied => (ErrorKind::Unavailable, Some("check the credentials and their rights")),
            ObjectErrorKind::Unavailable => {
                (ErrorKind::Unavailable, Some("is the store there, and mounted or reachable? then try again"))
            }
            ObjectErrorKind::Full => (ErrorKind::Full, Some("make room in the store, then try again")),
            ObjectErrorKind::OutcomeUnknown => (ErrorKind::OutcomeUnknown, Some("try again: what is there is found")),
            ObjectErrorKind::Corrupt => (ErrorKind::Corrupt, None),
            ObjectErrorKind::Invalid => (ErrorKind::Invalid, None),
            ObjectErrorKind::Unsupported => (ErrorKind::Unsupported, None),
            ObjectErrorKind::Failed => (ErrorKind::Internal, None),
        };
        let shown = Self::new(kind, error.to_string()).with_source(error);
        match hint {
            Some(hint) => shown.with_hint(hint),
            None => shown,
        }
    }
}
