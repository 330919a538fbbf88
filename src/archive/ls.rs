//! What lies in an archive, one thing after another.

use std::collections::HashSet;

use super::chain;
use super::manifest::{Entry, ManifestNumber, WriterId};
use super::snapshot;
use crate::error::Result;
use crate::objects::{ObjectStore, SegmentObject};
use crate::types::{Epoch, Sequence, Timestamp};

const PAGE: usize = 1_000;

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInfo {
    /// Its number.
    pub number: ManifestNumber,
    /// When it was written.
    pub at: Timestamp,
    /// Its writer's epoch.
    pub epoch: Epoch,
    /// Its writer.
    pub writer: WriterId,
    /// It tells everything anew.
    pub checkpoint: bool,
    /// Segments that it adds; that it lists, where it is a checkpoint.
    pub segments: u64,
    /// Segments that it removes.
    pub removed: u64,
    /// What else it tells.
    pub others: u64,
    /// Length of its object in bytes.
    pub bytes: u64,
    /// SHA-256 of its object.
    pub sha256: [u8; 32],
}

/// Every manifest from `from` on, in order, each checked.
///
/// # Errors
/// As [`chain::read`]; what `visit` said.
pub fn manifests(
    store: &dyn ObjectStore,
    from: Option<ManifestNumber>,
    visit: &mut dyn FnMut(ManifestInfo) -> Result<()>,
) -> Result<()> {
    chain::read(store, from, &mut |manifest| {
        let count = |wanted: fn(&Entry) -> bool| manifest.entries.iter().filter(|entry| wanted(entry)).count() as u64;
        let segments = count(|entry| matches!(entry, Entry::Added(_)));
        let removed = count(|entry| matches!(entry, Entry::Removed(_)));
        visit(ManifestInfo {
            number: manifest.head.number,
            at: manifest.head.at,
            epoch: manifest.head.epoch,
            writer: manifest.head.writer,
            checkpoint: manifest.head.checkpoint,
            segments,
            removed,
            others: manifest.entries.len() as u64 - segments - removed,
            bytes: manifest.bytes,
            sha256: manifest.mark.sha256,
        })
    })
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A manifest.
    Manifest,
    /// A segment that manifests name.
    Segment,
    /// A segment that counts for nothing: of an upload under way or given up, of a writer that was fenced, or removed and not deleted yet.
    UnnamedSegment,
    /// The newest copy of the catalog.
    Snapshot,
    /// A copy of the catalog that a newer one took the place of.
    OldSnapshot,
    /// Left by a probe of the store.
    Probe,
    /// Not icecore's.
    Foreign,
}

impl ObjectKind {
    /// The word that operators see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Segment => "segment",
            Self::UnnamedSegment => "unnamed-segment",
            Self::Snapshot => "snapshot",
            Self::OldSnapshot => "old-snapshot",
            Self::Probe => "probe",
            Self::Foreign => "foreign",
        }
    }

    /// What an object is by its key, and by whether manifests name it.
    #[must_use]
    pub fn of(key: &str, is_named: bool) -> Self {
        if ManifestNumber::parse(key).is_some() {
            Self::Manifest
        } else if SegmentObject::parse(key).is_some() {
            if is_named { Self::Segment } else { Self::UnnamedSegment }
        } else if key.starts_with(snapshot::PREFIX) {
            if is_named { Self::Snapshot } else { Self::OldSnapshot }
        } else if key.starts_with("_probe/") {
            Self::Probe
        } else {
            Self::Foreign
        }
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it is.
    pub kind: ObjectKind,
    /// First and last sequence, of a segment.
    pub sequences: Option<(Sequence, Sequence)>,
}

/// Every object whose key begins with `prefix`, in order of keys.
///
/// # Errors
/// As [`chain::state`]; what the store or `visit` said.
pub fn objects(store: &dyn ObjectStore, prefix: &str, visit: &mut dyn FnMut(ObjectInfo) -> Result<()>) -> Result<()> {
    let state = chain::state(store)?;
    let snapshot = state.snapshot().map(|snapshot| snapshot.key.clone());
    let named: HashSet<String> =
        state.segments().map(|segment| segment.object_key().to_string()).chain(snapshot).collect();
    drop(state);
    let mut after = None;
    loop {
        let page = store.list(prefix, after.as_deref(), PAGE)?;
        for object in page.objects {
            let kind = ObjectKind::of(&object.key, named.contains(&object.key));
            let sequences = SegmentObject::parse(&object.key).map(|found| (found.covers.first, found.covers.last));
            visit(ObjectInfo { key: object.key, bytes: object.bytes, kind, sequences })?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
