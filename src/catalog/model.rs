//! Rows and mutations of the catalog, the same for every engine.

use crate::types::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};

/// Where a segment's bytes are (C1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentStatus {
    /// In its local directory only.
    Sealed,
    /// An upload is under way; the local file is whole.
    Archiving,
    /// Local and proven in the archive.
    Archived,
    /// In the archive only.
    Evicted,
    /// Superseded by a compacted segment that covers its range.
    Replaced,
    /// About to be deleted everywhere; durable before the first delete.
    Purging,
    /// Deleted everywhere.
    Purged,
    /// Damaged or missing; set aside.
    Quarantined,
}

/// Names one segment: the collection, its range, and how often the range was rewritten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SegmentKey {
    /// The collection.
    pub collection: CollectionName,
    /// First sequence of the range.
    pub first: Sequence,
    /// Last sequence of the range.
    pub last: Sequence,
    /// How often the range was rewritten.
    pub generation: Generation,
}

/// What the catalog knows of one segment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SegmentRow {
    /// Which segment.
    #[serde(flatten)]
    pub key: SegmentKey,
    /// Where its bytes are.
    pub status: SegmentStatus,
    /// The epoch that sealed it.
    pub epoch: Epoch,
    /// The directory that its file is in: the one that it was sealed into, until it is relocated.
    pub directory: String,
    /// Its file, relative to the directory, with `/` between parts.
    pub path: String,
    /// How many records.
    pub records: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole file.
    #[serde(with = "digest")]
    pub sha256: [u8; 32],
    /// SHA-256 over the record bytes, independent of codec and blocks (F4).
    #[serde(with = "digest")]
    pub content_digest: [u8; 32],
    /// Earliest record time.
    pub timestamp_min: Timestamp,
    /// Latest record time.
    pub timestamp_max: Timestamp,
    /// When it was sealed, by the clock then.
    pub sealed_at: Timestamp,
    /// The change that inserted the row.
    pub sealed_change: ChangeNumber,
    /// When every subscribed sink had reached its last sequence (C2).
    pub flushed_at: Option<Timestamp>,
    /// Key of the archived object, where there is one.
    pub archive_key: Option<String>,
}

/// What the catalog knows of one collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CollectionRow {
    /// Its name.
    pub name: CollectionName,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// The first sequence that it still promises (R4). Never goes back.
    pub floor: Sequence,
    /// Every sequence up to here is in a committed segment, or below the floor, or a recorded loss (R4). Never goes back.
    pub sealed_through: Sequence,
    /// Its settings as JSON text; `{}` for none.
    pub settings: String,
}

/// Where a component keeps a collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Assignment {
    /// Who owns the assignment: `wal`, `storage`, `index`.
    pub component: String,
    /// The collection.
    pub collection: CollectionName,
    /// The directory, as a URL or a path.
    pub directory: String,
    /// The epoch that made it; where two claim a collection, the higher wins.
    pub epoch: Epoch,
    /// The first sequence that went there.
    pub from: Sequence,
    /// Since when.
    pub since: Timestamp,
}

/// Sequences that are missing: a loss, or a gap once acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LossRow {
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
    /// Who acknowledged it, and when; `None` while it is a loss.
    pub acknowledged: Option<(String, Timestamp)>,
}

/// Up to where a sink durably has a collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CursorRow {
    /// The collection.
    pub collection: CollectionName,
    /// The sink's name.
    pub sink: String,
    /// The epoch in which it got there.
    pub epoch: Epoch,
    /// The last sequence it durably has.
    pub sequence: Sequence,
}

/// One change to the catalog. Each becomes one numbered row in `changes`, whose detail is the mutation as JSON.
///
/// A collection that has no row yet gets one (no settings, created at the time of the change) by any mutation that
/// names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind")]
pub enum Mutation {
    /// A new segment, `Sealed`, or `Evicted` by restore, or `Quarantined` when found damaged. `sealed_change` is filled in by the catalog.
    /// Inserting an equal row again is refused as a conflict.
    #[serde(rename = "segment.insert")]
    InsertSegment(SegmentRow),
    /// A segment's status moves on (C1).
    #[serde(rename = "segment.status")]
    Transition {
        /// Which segment.
        #[serde(flatten)]
        key: SegmentKey,
        /// The status it must have now.
        from: SegmentStatus,
        /// The status it gets.
        to: SegmentStatus,
        /// The archived object's key, set together with the status where given. Where it is not, the row keeps the
        /// key that it has, except on the way to `Sealed`: what lies only in its directory has no archived object.
        archive_key: Option<String>,
    },
    /// The segment's last sequence has reached every subscribed sink (C2). Where that is known already, the first time
    /// stays.
    #[serde(rename = "segment.flushed")]
    SetFlushed(SegmentKey),
    /// The segment's file is in another directory now, under the same path. Refused unless the row's directory is `from`,
    /// another than `to`, and its status one with a file: a local one, or `Quarantined`.
    #[serde(rename = "segment.relocate")]
    RelocateSegment {
        /// Which segment.
        #[serde(flatten)]
        key: SegmentKey,
        /// The directory that it must have now.
        from: String,
        /// The directory that it gets.
        to: String,
    },
    /// A collection is first seen, or its settings change.
    #[serde(rename = "collection.put")]
    PutCollection {
        /// Its name.
        name: CollectionName,
        /// Its settings as JSON text.
        settings: String,
    },
    /// A component keeps a collection in this directory from now on.
    #[serde(rename = "assign")]
    Assign {
        /// Who owns the assignment.
        component: String,
        /// The collection.
        collection: CollectionName,
        /// The directory.
        directory: String,
        /// The epoch that decides.
        epoch: Epoch,
        /// The first sequence that goes there.
        from: Sequence,
    },
    /// Raises `sealed_through`; a lower value is refused.
    #[serde(rename = "sealed_through.raise")]
    RaiseSealedThrough {
        /// The collection.
        collection: CollectionName,
        /// The new value.
        sequence: Sequence,
    },
    /// Raises the floor; a lower value is refused.
    #[serde(rename = "floor.raise")]
    RaiseFloor {
        /// The collection.
        collection: CollectionName,
        /// The new value.
        sequence: Sequence,
    },
    /// Sequences were found missing; the reason of the change is the reason of the loss.
    #[serde(rename = "loss.record")]
    RecordLoss {
        /// The collection.
        collection: CollectionName,
        /// First missing sequence.
        first: Sequence,
        /// Last missing sequence.
        last: Sequence,
    },
    /// An operator takes note of a loss; it becomes a gap.
    #[serde(rename = "gap.acknowledge")]
    AcknowledgeLoss {
        /// The collection.
        collection: CollectionName,
        /// First missing sequence, exactly as recorded.
        first: Sequence,
        /// Last missing sequence, exactly as recorded.
        last: Sequence,
        /// Who.
        by: String,
    },
    /// Sequences of a loss, or of a gap, turned out to be there. Its row goes; what is still missing before and behind them
    /// gets rows of its own, with the same reason, time and acknowledgement, unless exactly that range is recorded already.
    /// The highest sequence that the catalog knows of stays.
    #[serde(rename = "loss.recover")]
    RecoverLoss {
        /// The collection.
        collection: CollectionName,
        /// First missing sequence, exactly as recorded.
        first: Sequence,
        /// Last missing sequence, exactly as recorded.
        last: Sequence,
        /// First sequence that is there, not before `first`.
        found_first: Sequence,
        /// Last sequence that is there, not behind `last`.
        found_last: Sequence,
    },
    /// A sink's durable cursor moved forwards.
    #[serde(rename = "cursor.set")]
    SetCursor(CursorRow),
    /// Keeps a small value under a name.
    #[serde(rename = "meta.set")]
    SetMeta {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
}

/// Mutations with one time and one reason, as one `apply` takes them.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// What to change, in order.
    pub mutations: &'a [Mutation],
    /// When, by the clock.
    pub at: Timestamp,
    /// Why.
    pub reason: &'a str,
}

/// A row of the numbered history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number, dense from 1.
    pub number: ChangeNumber,
    /// When, by the clock then.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// What kind of change: `segment.insert`, `segment.status`, `assign`, ...
    pub kind: String,
    /// What it was about: the collection, or the name.
    pub subject: String,
    /// All of it as JSON.
    pub detail: String,
}

/// Why the state machine refused a mutation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refused {
    /// Names the thing, the state it has, and the state that was asked for.
    pub what: String,
}

impl Mutation {
    /// Every kind of change.
    pub const KINDS: [&'static str; 13] = [
        "segment.insert",
        "segment.status",
        "segment.flushed",
        "segment.relocate",
        "collection.put",
        "assign",
        "sealed_through.raise",
        "floor.raise",
        "loss.record",
        "gap.acknowledge",
        "loss.recover",
        "cursor.set",
        "meta.set",
    ];

    /// The kind that its change is recorded under.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::InsertSegment(_) => "segment.insert",
            Self::Transition { .. } => "segment.status",
            Self::SetFlushed(_) => "segment.flushed",
            Self::RelocateSegment { .. } => "segment.relocate",
            Self::PutCollection { .. } => "collection.put",
            Self::Assign { .. } => "assign",
            Self::RaiseSealedThrough { .. } => "sealed_through.raise",
            Self::RaiseFloor { .. } => "floor.raise",
            Self::RecordLoss { .. } => "loss.record",
            Self::AcknowledgeLoss { .. } => "gap.acknowledge",
            Self::RecoverLoss { .. } => "loss.recover",
            Self::SetCursor(_) => "cursor.set",
            Self::SetMeta { .. } => "meta.set",
        }
    }

    /// What it is about: the collection, or the name.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::InsertSegment(SegmentRow { key, .. })
            | Self::Transition { key, .. }
            | Self::SetFlushed(key)
            | Self::RelocateSegment { key, .. } => key.collection.as_str(),
            Self::PutCollection { name: collection, .. }
            | Self::Assign { collection, .. }
            | Self::RaiseSealedThrough { collection, .. }
            | Self::RaiseFloor { collection, .. }
            | Self::RecordLoss { collection, .. }
            | Self::AcknowledgeLoss { collection, .. }
            | Self::RecoverLoss { collection, .. }
            | Self::SetCursor(CursorRow { collection, .. }) => collection.as_str(),
            Self::SetMeta { name, .. } => name,
        }
    }
}

impl Change {
    /// The mutation that it recorded. Applied to another catalog in the same state, with the same time and reason, it
    /// makes the same rows and the same change.
    ///
    /// # Errors
    /// The detail is not a mutation that this program knows.
    pub fn mutation(&self) -> Result<Mutation, serde_json::Error> {
        serde_json::from_str(&self.detail)
    }
}

/// Digests as hexadecimal digits.
mod digest {
    use crate::types::ids::{from_hex, hex};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(digest))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let digits = std::borrow::Cow::<str>::deserialize(deserializer)?;
        from_hex(&digits).ok_or_else(|| D::Error::custom("a digest is 64 hexadecimal digits"))
    }
}

impl SegmentStatus {
    /// Every status, in the order of a segment's life.
    pub const ALL: [Self; 8] = [
        Self::Sealed,
        Self::Archiving,
        Self::Archived,
        Self::Evicted,
        Self::Replaced,
        Self::Purging,
        Self::Purged,
        Self::Quarantined,
    ];

    /// The word that operators see: `sealed`, `archived`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Archiving => "archiving",
            Self::Archived => "archived",
            Self::Evicted => "evicted",
            Self::Replaced => "replaced",
            Self::Purging => "purging",
            Self::Purged => "purged",
            Self::Quarantined => "quarantined",
        }
    }

    /// Whether its records are promised and can be read, here or in the archive.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Sealed | Self::Archiving | Self::Archived | Self::Evicted)
    }

    /// Whether its file is expected in its local directory.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Sealed | Self::Archiving | Self::Archived)
    }
}

/// Its [`word`](SegmentStatus::word).
impl std::fmt::Display for SegmentStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// The collection, the range and the generation as a file name has them.
impl std::fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}-{}.{}", self.collection, self.first, self.last, self.generation)
    }
}
