//! What manifests say.

use super::text;
use crate::catalog::{Engine, LossRow, SegmentKey, SegmentRow, SegmentStatus};
use crate::objects::{ObjectKey, SegmentObject};
use crate::segment::{SegmentName, SequenceRange};
use crate::types::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};

/// One line between the head and the end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Entry {
    /// The archive has a segment.
    #[serde(rename = "segment")]
    Added(ArchivedSegment),
    /// The archive has a segment no more; its object may still be there for a while.
    #[serde(rename = "removed")]
    Removed(RemovedSegment),
    /// What is known of a collection, in place of what was told before.
    #[serde(rename = "collection")]
    Collection(CollectionEntry),
    /// Sequences that were found missing, in place of what was told of exactly this range before.
    #[serde(rename = "loss")]
    Loss(LossEntry),
    /// Sequences that were told missing are not, or are told by other ranges.
    #[serde(rename = "loss_gone")]
    LossGone(LossGone),
    /// A copy of the catalog, in place of the one before.
    #[serde(rename = "snapshot")]
    Snapshot(CatalogSnapshot),
    /// An object store that is a home of segments of the log, with manifests of its own (A5).
    #[serde(rename = "remote")]
    Remote(RemoteEntry),
}

impl Entry {
    /// Every kind, as it is written.
    pub const KINDS: [&'static str; 7] =
        ["segment", "removed", "collection", "loss", "loss_gone", "snapshot", "remote"];

    /// The collection's name in it, to be shared with others of the same.
    pub(super) const fn collection_mut(&mut self) -> Option<&mut CollectionName> {
        match self {
            Self::Added(added) => Some(&mut added.segment.collection),
            Self::Removed(removed) => Some(&mut removed.segment.collection),
            Self::Collection(CollectionEntry { name, .. }) => Some(name),
            Self::Loss(LossEntry { collection, .. }) | Self::LossGone(LossGone { collection, .. }) => Some(collection),
            Self::Snapshot(_) | Self::Remote(_) => None,
        }
    }
}

/// A segment in the archive. Its key follows from the rest ([`object_key`](Self::object_key)), and is written for people and other programs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "SegmentText", into = "SegmentText")]
pub struct ArchivedSegment {
    /// Which.
    pub segment: SegmentKey,
    /// The epoch that sealed it.
    pub epoch: Epoch,
    /// How many records.
    pub records: u64,
    /// Length of the object in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole object.
    pub sha256: [u8; 32],
    /// SHA-256 over the record bytes (F4).
    pub content_digest: [u8; 32],
    /// Earliest record time.
    pub timestamp_min: Timestamp,
    /// Latest record time.
    pub timestamp_max: Timestamp,
    /// When it was sealed.
    pub sealed_at: Timestamp,
}

impl ArchivedSegment {
    /// The key of its object in the store.
    #[must_use]
    pub fn object_key(&self) -> ObjectKey {
        object_key(&self.segment, self.epoch, &self.sha256)
    }

    /// The row of a segment that only the archive has, as it is restored into a directory with the id `directory`. `archive_key` is its key
    /// as rows have it: the object's, or `@REMOTE/` and the object's where the archive is a home of segments (A5).
    #[must_use]
    pub fn row(&self, directory: &str, archive_key: String) -> SegmentRow {
        SegmentRow {
            key: self.segment.clone(),
            status: SegmentStatus::Evicted,
            epoch: self.epoch,
            directory: directory.to_owned(),
            path: SegmentName::of_key(&self.segment).relative(&self.segment.collection),
            records: self.records,
            bytes: self.bytes,
            sha256: self.sha256,
            content_digest: self.content_digest,
            timestamp_min: self.timestamp_min,
            timestamp_max: self.timestamp_max,
            sealed_at: self.sealed_at,
            sealed_change: ChangeNumber(0),
            flushed_at: None,
            archive_key: Some(archive_key),
        }
    }

    /// Whether the row of a catalog is about the same bytes.
    #[must_use]
    pub fn is_of_row(&self, row: &SegmentRow) -> bool {
        Self::from(row) == *self
    }
}

fn object_key(segment: &SegmentKey, epoch: Epoch, sha256: &[u8; 32]) -> ObjectKey {
    let [one, two, three, four, ..] = *sha256;
    let covers = SequenceRange { first: segment.first, last: segment.last };
    let folder = segment.collection.directory_name();
    SegmentObject { folder, covers, epoch, digest: [one, two, three, four] }.key()
}

impl From<&SegmentRow> for ArchivedSegment {
    fn from(row: &SegmentRow) -> Self {
        Self {
            segment: row.key.clone(),
            epoch: row.epoch,
            records: row.records,
            bytes: row.bytes,
            sha256: row.sha256,
            content_digest: row.content_digest,
            timestamp_min: row.timestamp_min,
            timestamp_max: row.timestamp_max,
            sealed_at: row.sealed_at,
        }
    }
}

/// An [`ArchivedSegment`] as it is written.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentText {
    collection: CollectionName,
    first: Sequence,
    last: Sequence,
    generation: Generation,
    epoch: Epoch,
    key: String,
    records: u64,
    bytes: u64,
    #[serde(with = "text")]
    sha256: [u8; 32],
    #[serde(with = "text")]
    content_digest: [u8; 32],
    timestamp_min: Timestamp,
    timestamp_max: Timestamp,
    sealed_at: Timestamp,
}

impl From<ArchivedSegment> for SegmentText {
    fn from(segment: ArchivedSegment) -> Self {
        Self {
            key: segment.object_key().to_string(),
            collection: segment.segment.collection,
            first: segment.segment.first,
            last: segment.segment.last,
            generation: segment.segment.generation,
            epoch: segment.epoch,
            records: segment.records,
            bytes: segment.bytes,
            sha256: segment.sha256,
            content_digest: segment.content_digest,
            timestamp_min: segment.timestamp_min,
            timestamp_max: segment.timestamp_max,
            sealed_at: segment.sealed_at,
        }
    }
}

impl TryFrom<SegmentText> for ArchivedSegment {
    type Error = String;

    fn try_from(text: SegmentText) -> Result<Self, String> {
        let range = check_range(text.first, text.last)?;
        if text.records > range.count() {
            return Err(format!("more records than sequences: records=`{}`, range=`{range}`", text.records));
        }
        if text.timestamp_min > text.timestamp_max {
            return Err(format!("the earliest time is after the latest: min=`{}`", text.timestamp_min));
        }
        let SegmentText { collection, first, last, generation, .. } = text;
        let segment = Self {
            segment: SegmentKey { collection, first, last, generation },
            epoch: text.epoch,
            records: text.records,
            bytes: text.bytes,
            sha256: text.sha256,
            content_digest: text.content_digest,
            timestamp_min: text.timestamp_min,
            timestamp_max: text.timestamp_max,
            sealed_at: text.sealed_at,
        };
        let key = segment.object_key();
        if key.as_str() != text.key {
            return Err(format!("a key that is not the segment's: key=`{}`, expected=`{key}`", text.key));
        }
        Ok(segment)
    }
}

fn check_range(first: Sequence, last: Sequence) -> Result<SequenceRange, String> {
    SequenceRange::new(first, last).ok_or_else(|| format!("no range of sequences: first=`{first}`, last=`{last}`"))
}

/// A segment that the archive has no more.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "RemovedText", into = "RemovedText")]
pub struct RemovedSegment {
    /// Which.
    pub segment: SegmentKey,
    /// The key of its object, which is deleted some time behind this manifest.
    pub key: ObjectKey,
}

impl From<&ArchivedSegment> for RemovedSegment {
    fn from(archived: &ArchivedSegment) -> Self {
        Self { segment: archived.segment.clone(), key: archived.object_key() }
    }
}

impl From<&SegmentRow> for RemovedSegment {
    fn from(row: &SegmentRow) -> Self {
        Self { segment: row.key.clone(), key: object_key(&row.key, row.epoch, &row.sha256) }
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RemovedText {
    collection: CollectionName,
    first: Sequence,
    last: Sequence,
    generation: Generation,
    key: String,
}

impl From<RemovedSegment> for RemovedText {
    fn from(removed: RemovedSegment) -> Self {
        let SegmentKey { collection, first, last, generation } = removed.segment;
        Self { collection, first, last, generation, key: removed.key.to_string() }
    }
}

impl TryFrom<RemovedText> for RemovedSegment {
    type Error = String;

    fn try_from(text: RemovedText) -> Result<Self, String> {
        check_range(text.first, text.last)?;
        let RemovedText { collection, first, last, generation, key } = text;
        let object = SegmentObject::parse(&key).ok_or_else(|| format!("not the key of a segment: key=`{key}`"))?;
        if (object.covers.first, object.covers.last) != (first, last) || object.folder != collection.directory_name() {
            return Err(format!("a key that is not the segment's: key=`{key}`"));
        }
        Ok(Self { segment: SegmentKey { collection, first, last, generation }, key: object.key() })
    }
}

/// What is known of a collection besides its segments.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionEntry {
    /// Its name.
    pub name: CollectionName,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// The first sequence that it still promises (R4). Of several that were told, the highest counts.
    pub floor: Sequence,
    /// Every sequence up to here was sealed when this was written, whether archived or not. Of several, the highest counts.
    pub sealed_through: Sequence,
    /// Its settings, holds among them, as JSON text; `{}` for none.
    pub settings: String,
    /// The id of the directory that its segments are at home in, where it was given one (A5): of a remote, or of a local one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
}

/// Sequences that are missing: a loss, or a gap once acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossEntry {
    /// The collection.
    pub collection: CollectionName,
    /// First missing sequence.
    pub first: Sequence,
    /// Last missing sequence.
    pub last: Sequence,
    /// What happened.
    pub reason: String,
    /// When it was found.
    pub found_at: Timestamp,
    /// Who took note of it; `None` while it is a loss.
    pub acknowledged: Option<Acknowledged>,
}

/// Who took note of a loss, and when.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl From<&LossRow> for LossEntry {
    fn from(row: &LossRow) -> Self {
        Self {
            collection: row.collection.clone(),
            first: row.first,
            last: row.last,
            reason: row.reason.clone(),
            found_at: row.found_at,
            acknowledged: row.acknowledged.as_ref().map(|(by, at)| Acknowledged { by: by.clone(), at: *at }),
        }
    }
}

/// Sequences that were told missing, exactly as they were told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossGone {
    /// The collection.
    pub collection: CollectionName,
    /// First sequence of the range.
    pub first: Sequence,
    /// Last sequence of the range.
    pub last: Sequence,
}

/// A copy of the catalog, as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogSnapshot {
    /// The key of its object: `_catalog/{change:020}.{digest8}.{engine}`.
    pub key: String,
    /// Length of the object in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole object.
    #[serde(with = "text")]
    pub sha256: [u8; 32],
    /// The number of its newest change.
    pub change: ChangeNumber,
    /// What reads it.
    pub engine: Engine,
}

/// An object store that is a home of segments of the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteEntry {
    /// Its id: `@{id}/` before keys in rows.
    pub directory: String,
    /// Where it is; never with a secret.
    pub url: String,
    /// It is one no more.
    pub gone: bool,
}
