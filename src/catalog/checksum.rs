//! Checksums of rows (C4): CRC32C over a canonical encoding, the same in every engine. The key-value engines keep the
//! encoding itself.
//!
//! The encoding: a byte for the kind of row, then each field in the order of its struct; numbers as eight bytes, little
//! end first; texts as their length and their bytes; digests as they are; an absent value as 0, a present one as 1 and
//! the value. The collection is there by name, so that a row cannot move to another collection unnoticed.

use super::model::{Assignment, Change, CursorRow, LossRow};
use super::state::CollectionState;
use super::{SegmentRow, SegmentStatus};
use crate::types::Timestamp;

/// What takes the encoding, piece by piece.
trait Sink {
    fn take(&mut self, bytes: &[u8]);
}

struct Crc(u32);

impl Sink for Crc {
    fn take(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }
}

impl Sink for Vec<u8> {
    fn take(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Writes the fields of one row to a sink.
struct Fields<'a, S>(&'a mut S);

impl<'a, S: Sink> Fields<'a, S> {
    fn new(sink: &'a mut S, kind: u8) -> Self {
        Self(sink).bytes(&[kind])
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.0.take(bytes);
        self
    }

    fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn time(self, time: Timestamp) -> Self {
        self.bytes(&time.micros().to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }

    fn option<T>(self, value: Option<T>, present: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            None => self.bytes(&[0]),
            Some(value) => present(self.bytes(&[1]), value),
        }
    }
}

/// A row as the encoding sees it.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    Segment(&'a SegmentRow),
    Collection(&'a CollectionState),
    Assignment(&'a Assignment),
    Loss(&'a LossRow),
    Cursor(&'a CursorRow),
    Meta { name: &'a str, value: &'a str },
    Count { status: SegmentStatus, count: u64 },
    Change(&'a Change),
}

impl Content<'_> {
    /// The byte that the encoding begins with.
    pub const fn kind(self) -> u8 {
        match self {
            Self::Segment(_) => kind::SEGMENT,
            Self::Collection(_) => kind::COLLECTION,
            Self::Assignment(_) => kind::ASSIGNMENT,
            Self::Loss(_) => kind::LOSS,
            Self::Cursor(_) => kind::CURSOR,
            Self::Meta { .. } => kind::META,
            Self::Count { .. } => kind::COUNT,
            Self::Change(_) => kind::CHANGE,
        }
    }

    /// CRC32C of the encoding.
    pub fn checksum(self) -> u32 {
        let mut crc = Crc(0);
        self.write(&mut crc);
        crc.0
    }

    /// Adds the encoding itself to `bytes`.
    #[cfg_attr(not(any(feature = "mdbx", feature = "lmdb")), allow(dead_code))]
    pub fn encode_to(self, bytes: &mut Vec<u8>) {
        self.write(bytes);
    }

    fn write(self, sink: &mut impl Sink) {
        let fields = Fields::new(sink, self.kind());
        match self {
            Self::Segment(row) => fields
                .text(row.key.collection.as_str())
                .number(row.key.first.get())
                .number(row.key.last.get())
                .number(row.key.generation.get().into())
                .bytes(&[status_number(row.status)])
                .number(row.epoch.get())
                .text(&row.directory)
                .text(&row.path)
                .number(row.records)
                .number(row.bytes)
                .bytes(&row.sha256)
                .bytes(&row.content_digest)
                .time(row.timestamp_min)
                .time(row.timestamp_max)
                .time(row.sealed_at)
                .number(row.sealed_change.get())
                .option(row.flushed_at, Fields::time)
                .option(row.archive_key.as_deref(), Fields::text),
            Self::Collection(state) => fields
                .text(state.row.name.as_str())
                .time(state.row.created_at)
                .number(state.row.floor.get())
                .number(state.row.sealed_through.get())
                .text(&state.row.settings)
                .number(state.sequence_max.get()),
            Self::Assignment(row) => fields
                .text(&row.component)
                .text(row.collection.as_str())
                .text(&row.directory)
                .number(row.epoch.get())
                .number(row.from.get())
                .time(row.since),
            Self::Loss(row) => fields
                .text(row.collection.as_str())
                .number(row.first.get())
                .number(row.last.get())
                .text(&row.reason)
                .time(row.found_at)
                .option(row.acknowledged.as_ref(), |fields, (by, at)| fields.text(by).time(*at)),
            Self::Cursor(row) => {
                fields.text(row.collection.as_str()).text(&row.sink).number(row.epoch.get()).number(row.sequence.get())
            }
            Self::Meta { name, value } => fields.text(name).text(value),
            Self::Count { status, count } => fields.bytes(&[status_number(status)]).number(count),
            Self::Change(row) => fields
                .number(row.number.get())
                .time(row.at)
                .text(&row.reason)
                .text(&row.kind)
                .text(&row.subject)
                .text(&row.detail),
        };
    }
}

/// The first byte of each kind of row; never re-used.
pub mod kind {
    pub const SEGMENT: u8 = 1;
    pub const COLLECTION: u8 = 2;
    pub const ASSIGNMENT: u8 = 3;
    pub const LOSS: u8 = 4;
    pub const CURSOR: u8 = 5;
    pub const META: u8 = 6;
    pub const COUNT: u8 = 7;
    pub const CHANGE: u8 = 8;
}

/// The number of a status in rows and checksums; never re-used.
pub const fn status_number(status: SegmentStatus) -> u8 {
    match status {
        SegmentStatus::Sealed => 1,
        SegmentStatus::Archiving => 2,
        SegmentStatus::Archived => 3,
        SegmentStatus::Evicted => 4,
        SegmentStatus::Replaced => 5,
        SegmentStatus::Purging => 6,
        SegmentStatus::Purged => 7,
        SegmentStatus::Quarantined => 8,
    }
}

/// The status with this number; `None` for one that is not known.
pub fn status_of(number: i64) -> Option<SegmentStatus> {
    SegmentStatus::ALL.into_iter().find(|status| i64::from(status_number(*status)) == number)
}

#[cfg(feature = "sqlite")]
mod of_rows {
    use super::{Assignment, Change, CollectionState, Content, CursorRow, LossRow, SegmentRow, SegmentStatus};

    pub fn segment(row: &SegmentRow) -> u32 {
        Content::Segment(row).checksum()
    }

    pub fn collection(state: &CollectionState) -> u32 {
        Content::Collection(state).checksum()
    }

    pub fn assignment(row: &Assignment) -> u32 {
        Content::Assignment(row).checksum()
    }

    pub fn loss(row: &LossRow) -> u32 {
        Content::Loss(row).checksum()
    }

    pub fn cursor(row: &CursorRow) -> u32 {
        Content::Cursor(row).checksum()
    }

    pub fn meta(name: &str, value: &str) -> u32 {
        Content::Meta { name, value }.checksum()
    }

    pub fn count(status: SegmentStatus, count: u64) -> u32 {
        Content::Count { status, count }.checksum()
    }

    pub fn change(row: &Change) -> u32 {
        Content::Change(row).checksum()
    }
}
#[cfg(feature = "sqlite")]
pub use of_rows::*;

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of released versions hold these numbers.
    #[test]
    fn checksums_are_those_of_released_files() {
        let content = Content::Meta { name: "epoch", value: "1" };
        let mut bytes = Vec::new();
        content.encode_to(&mut bytes);
        assert_eq!(bytes, b"\x06\x05\0\0\0\0\0\0\0epoch\x01\0\0\0\0\0\0\0\x31");
        assert_eq!(content.checksum(), crc32c::crc32c(&bytes));
    }
}
