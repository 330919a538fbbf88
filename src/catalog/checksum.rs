//! Checksums of rows (C4): CRC32C over a canonical encoding, the same in every engine.
//!
//! The encoding: a byte for the kind of row, then each field in the order of its struct; numbers as eight bytes, little
//! end first; texts as their length and their bytes; digests as they are; an absent value as 0, a present one as 1 and
//! the value. The collection is there by name, so that a row cannot move to another collection unnoticed.

use super::model::{Assignment, Change, CursorRow, LossRow};
use super::state::CollectionState;
use super::{SegmentRow, SegmentStatus};
use crate::types::Timestamp;

struct Fields(u32);

impl Fields {
    fn new(kind: u8) -> Self {
        Self(crc32c::crc32c(&[kind]))
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0 = crc32c::crc32c_append(self.0, bytes);
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

pub fn segment(row: &SegmentRow) -> u32 {
    Fields::new(1)
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
        .option(row.archive_key.as_deref(), Fields::text)
        .0
}

pub fn collection(state: &CollectionState) -> u32 {
    Fields::new(2)
        .text(state.row.name.as_str())
        .time(state.row.created_at)
        .number(state.row.floor.get())
        .number(state.row.sealed_through.get())
        .text(&state.row.settings)
        .number(state.sequence_max.get())
        .0
}

pub fn assignment(row: &Assignment) -> u32 {
    Fields::new(3)
        .text(&row.component)
        .text(row.collection.as_str())
        .text(&row.directory)
        .number(row.epoch.get())
        .number(row.from.get())
        .time(row.since)
        .0
}

pub fn loss(row: &LossRow) -> u32 {
    Fields::new(4)
        .text(row.collection.as_str())
        .number(row.first.get())
        .number(row.last.get())
        .text(&row.reason)
        .time(row.found_at)
        .option(row.acknowledged.as_ref(), |fields, (by, at)| fields.text(by).time(*at))
        .0
}

pub fn cursor(row: &CursorRow) -> u32 {
    Fields::new(5).text(row.collection.as_str()).text(&row.sink).number(row.epoch.get()).number(row.sequence.get()).0
}

pub fn meta(name: &str, value: &str) -> u32 {
    Fields::new(6).text(name).text(value).0
}

pub fn count(status: SegmentStatus, count: u64) -> u32 {
    Fields::new(7).bytes(&[status_number(status)]).number(count).0
}

pub fn change(row: &Change) -> u32 {
    Fields::new(8)
        .number(row.number.get())
        .time(row.at)
        .text(&row.reason)
        .text(&row.kind)
        .text(&row.subject)
        .text(&row.detail)
        .0
}
