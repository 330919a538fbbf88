//! What is asked of a verification, and what it answers.

use crate::archive::ls::ObjectKind;
use crate::archive::manifest::ManifestMark;
use crate::catalog::SegmentKey;
use crate::log::verify::{Missing, Verified};
use crate::types::{CollectionName, Sequence};

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteVerifyOptions {
    /// Read back every byte of every segment.
    pub deep: bool,
    /// Read back so many of a hundred segments, chosen by their digests and `seed`; 0 to 100.
    pub sample_percent: u8,
    /// Another seed chooses others.
    pub seed: u64,
    /// Requests under way at the same time.
    pub threads: usize,
}

impl Default for RemoteVerifyOptions {
    fn default() -> Self {
        Self { deep: false, sample_percent: 0, seed: 0, threads: 4 }
    }
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteProgress {
    /// Segments looked at.
    pub segments: u64,
    /// Segments there are.
    pub segments_total: u64,
    /// Bytes that were read back.
    pub bytes: u64,
}

/// What is wrong with an archive, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteFaultKind {
    /// A manifest is missing, damaged, or not behind the one before it; or manifests say things against each other.
    Manifest,
    /// Sequences are in no segment, and nothing says why; or a loss that nobody acknowledged.
    Sequences,
    /// An object that a manifest names is not there.
    MissingObject,
    /// It is there under a delete marker: an older version of it still has its bytes.
    HiddenObject,
    /// It has another length, or other bytes.
    WrongObject,
    /// The store did not let us look.
    Unreadable,
    /// The catalog says that a segment is archived, and no manifest names it.
    NotNamed,
    /// A manifest names a segment that the catalog does not know.
    WithoutRow,
}

/// Something that is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RemoteFault {
    /// In one word.
    pub kind: RemoteFaultKind,
    /// The object, or the manifest, that it is about.
    pub key: Option<String>,
    /// The collection that it is about.
    pub collection: Option<CollectionName>,
    /// The first sequence that it may cost.
    pub first_sequence: Option<Sequence>,
    /// The last one.
    pub last_sequence: Option<Sequence>,
    /// What it is.
    pub reason: String,
}

impl RemoteFault {
    pub(super) fn of(kind: RemoteFaultKind, key: Option<String>, segment: Option<&SegmentKey>, reason: String) -> Self {
        Self {
            kind,
            key,
            collection: segment.map(|segment| segment.collection.clone()),
            first_sequence: segment.map(|segment| segment.first),
            last_sequence: segment.map(|segment| segment.last),
            reason,
        }
    }
}

/// An object that no manifest names.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Orphan {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it probably is.
    pub what: ObjectKind,
    /// The catalog has an upload of it under way.
    pub under_way: bool,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RemoteReport {
    /// Whether nothing is wrong but losses that were acknowledged.
    pub ok: bool,
    /// The answer in one word.
    pub verdict: Verified,
    /// Where the archive is.
    pub store: String,
    /// The newest manifest; `None` where there is none, or it cannot be read.
    pub newest: Option<ManifestMark>,
    /// Manifests that were read.
    pub manifests: u64,
    /// Segments that manifests name.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their records.
    pub records: u64,
    /// Segments whose checksum the store told, and it is right.
    pub proven_by_store: u64,
    /// Segments that were read back, and are right.
    pub read_back: u64,
    /// What is wrong.
    pub faults: Vec<RemoteFault>,
    /// Acknowledged losses.
    pub gaps: Vec<Missing>,
    /// Objects that no manifest names; they cost money, and nothing else.
    pub orphans: Vec<Orphan>,
}
