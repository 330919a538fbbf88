//! The layout: every key of the tree, here and nowhere else.
//!
//! A key is a byte for the table, then parts that sort as the look-ups need: a text and a NUL (names hold none, so that one
//! that is the beginning of another sorts before it), numbers with the big end first, times with their sign bit turned.
//!
//! | byte | table | the rest of the key | value |
//! |---|---|---|---|
//! | 0 | header | | magic, number of the layout, CRC32C |
//! | 1 | changes | number (8) | row |
//! | 2 | collections | name | row |
//! | 3 | segments | name, first (8), last (8), generation (4) | row |
//! | 4 | by status | status (1), sealed_change (8) | the rest of the segment's key |
//! | 5 | not flushed; live ones only | sealed_change (8) | the rest of the segment's key |
//! | 6 | live | name, generation (4), last (8) | first (8) |
//! | 7 | by time; live ones only | name, time class (1), latest (8), earliest (8), last (8), generation (4) | first (8) |
//! | 8 | counts | status (1) | row |
//! | 9 | assignments | component, collection | row |
//! | 10 | losses | name, first (8), last (8) | row |
//! | 11 | cursors | name, sink | row |
//! | 12 | values | name | row |
//!
//! A row is the encoding of `checksum`, with a version before and its CRC32C after; see `values`.
//!
//! The longest key is a cursor's: 1 + 255 + 1 + 128 + 1 bytes, far below the 511 of LMDB and the 2022 of MDBX, which would
//! abort the process in a release build. The rules of every engine (`state::rules`) bound names so; words from outside that
//! only look up go through [`word`] first.

use crate::catalog::checksum::status_number;
use crate::catalog::state::WORD_BYTES_MAX;
use crate::catalog::time_class::time_class;
use crate::catalog::{SegmentKey, SegmentRow, SegmentStatus};
use crate::types::collection::NAME_BYTES_MAX;
use crate::types::{ChangeNumber, CollectionName, Generation, Sequence, Timestamp};

/// No key is longer.
pub const KEY_BYTES_MAX: usize = 1 + NAME_BYTES_MAX + 1 + WORD_BYTES_MAX + 1;

/// The first byte of a key.
pub mod table {
    pub const HEADER: u8 = 0;
    pub const CHANGES: u8 = 1;
    pub const COLLECTIONS: u8 = 2;
    pub const SEGMENTS: u8 = 3;
    pub const BY_STATUS: u8 = 4;
    pub const UNFLUSHED: u8 = 5;
    pub const LIVE: u8 = 6;
    pub const BY_TIME: u8 = 7;
    pub const COUNTS: u8 = 8;
    pub const ASSIGNMENTS: u8 = 9;
    pub const LOSSES: u8 = 10;
    pub const CURSORS: u8 = 11;
    pub const META: u8 = 12;
    /// The first byte that begins no table.
    pub const END: u8 = 13;
}

/// A key, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// The beginning of every key of a table.
    pub fn of(table: u8) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(table);
        Self(bytes)
    }

    pub fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.byte(0)
    }

    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub fn generation(mut self, generation: Generation) -> Self {
        self.0.extend_from_slice(&generation.get().to_be_bytes());
        self
    }

    pub fn time(self, time: Timestamp) -> Self {
        self.number(time.micros().cast_unsigned() ^ SIGN)
    }

    /// The least key above every key that begins with this.
    pub fn end(mut self) -> Self {
        // A table byte is always below 255.
        while let Some(last) = self.0.pop() {
            if last < u8::MAX {
                self.0.push(last + 1);
                break;
            }
        }
        self
    }

    /// The least key above this one.
    pub fn next(self) -> Self {
        self.byte(0)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

const SIGN: u64 = 1 << 63;

/// A word as part of a key; `None` for one that no row can have (`state::rules`), nor an engine look up.
pub fn word(word: &str) -> Option<&str> {
    (!word.is_empty() && word.len() <= WORD_BYTES_MAX && !word.contains('\0')).then_some(word)
}

pub fn header() -> Key {
    Key::of(table::HEADER)
}

pub fn change(number: ChangeNumber) -> Key {
    Key::of(table::CHANGES).number(number.get())
}

pub fn collection(name: &CollectionName) -> Key {
    Key::of(table::COLLECTIONS).text(name.as_str())
}

pub fn segment(key: &SegmentKey) -> Key {
    Key::of(table::SEGMENTS)
        .text(key.collection.as_str())
        .number(key.first.get())
        .number(key.last.get())
        .generation(key.generation)
}

pub fn by_status(status: SegmentStatus, sealed_change: ChangeNumber) -> Key {
    Key::of(table::BY_STATUS).byte(status_number(status)).number(sealed_change.get())
}

pub fn unflushed(sealed_change: ChangeNumber) -> Key {
    Key::of(table::UNFLUSHED).number(sealed_change.get())
}

pub fn live_of(name: &CollectionName) -> Key {
    Key::of(table::LIVE).text(name.as_str())
}

pub fn live(name: &CollectionName, generation: Generation, last: Sequence) -> Key {
    live_of(name).generation(generation).number(last.get())
}

pub fn time_of(name: &CollectionName) -> Key {
    Key::of(table::BY_TIME).text(name.as_str())
}

fn by_time(row: &SegmentRow) -> Key {
    time_of(&row.key.collection)
        .byte(time_class(row.timestamp_min, row.timestamp_max))
        .time(row.timestamp_max)
        .time(row.timestamp_min)
        .number(row.key.last.get())
        .generation(row.key.generation)
}

pub fn count(status: SegmentStatus) -> Key {
    Key::of(table::COUNTS).byte(status_number(status))
}

pub fn assignment(component: &str, collection: &CollectionName) -> Key {
    Key::of(table::ASSIGNMENTS).text(component).text(collection.as_str())
}

pub fn loss(collection: &CollectionName, first: Sequence, last: Sequence) -> Key {
    Key::of(table::LOSSES).text(collection.as_str()).number(first.get()).number(last.get())
}

pub fn cursor(collection: &CollectionName, sink: &str) -> Key {
    Key::of(table::CURSORS).text(collection.as_str()).text(sink)
}

pub fn meta(name: &str) -> Key {
    Key::of(table::META).text(name)
}

/// Every entry of the indexes that a segment's row has: key and value.
pub fn entries(row: &SegmentRow) -> Vec<(Key, Vec<u8>)> {
    let named = segment(&row.key).bytes()[1..].to_vec();
    let first = row.key.first.get().to_be_bytes().to_vec();
    let mut entries = vec![(by_status(row.status, row.sealed_change), named.clone())];
    if row.status.is_live() {
        entries.push((live(&row.key.collection, row.key.generation, row.key.last), first.clone()));
        entries.push((by_time(row), first));
        if row.flushed_at.is_none() {
            entries.push((unflushed(row.sealed_change), named));
        }
    }
    entries
}

/// The key of the segment's row that an entry of an index names; `None` where it is no such entry.
pub fn named_by(key: &[u8], value: &[u8]) -> Option<SegmentKey> {
    let (&of, rest) = key.split_first()?;
    match of {
        table::BY_STATUS | table::UNFLUSHED => {
            let mut parts = Parts(value);
            let named = SegmentKey {
                collection: parts.name()?,
                first: Sequence(parts.number()?),
                last: Sequence(parts.number()?),
                generation: parts.generation()?,
            };
            parts.end(named)
        }
        table::LIVE => {
            let mut parts = Parts(rest);
            let (collection, generation, last) = (parts.name()?, parts.generation()?, Sequence(parts.number()?));
            parts.end(())?;
            Some(SegmentKey { collection, first: first_of(value)?, last, generation })
        }
        table::BY_TIME => {
            let mut parts = Parts(rest);
            let collection = parts.name()?;
            let at = parts.time_place()?;
            Some(SegmentKey { collection, first: first_of(value)?, last: at.last, generation: at.generation })
        }
        _ => None,
    }
}

fn first_of(value: &[u8]) -> Option<Sequence> {
    value.try_into().ok().map(|bytes| Sequence(u64::from_be_bytes(bytes)))
}

/// What the key of an entry by time says, after the name.
#[derive(Clone, Copy, Debug)]
pub struct TimePlace {
    pub max: Timestamp,
    pub min: Timestamp,
    pub last: Sequence,
    pub generation: Generation,
}

/// Reads what follows the name in the key of an entry by time.
pub fn time_place(rest: &[u8]) -> Option<TimePlace> {
    Parts(rest).time_place()
}

struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.number().map(|number| Timestamp((number ^ SIGN).cast_signed()))
    }

    fn generation(&mut self) -> Option<Generation> {
        self.take().map(|bytes| Generation(u32::from_be_bytes(bytes)))
    }

    fn name(&mut self) -> Option<CollectionName> {
        let at = self.0.iter().position(|byte| *byte == 0)?;
        let name = CollectionName::new(std::str::from_utf8(&self.0[..at]).ok()?).ok()?;
        self.0 = &self.0[at + 1..];
        Some(name)
    }

    fn time_place(&mut self) -> Option<TimePlace> {
        let [_class] = self.take()?;
        let (max, min) = (self.time()?, self.time()?);
        let place = TimePlace { max, min, last: Sequence(self.number()?), generation: self.generation()? };
        self.end(place)
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_what_they_are_made_of() {
        let times = [i64::MIN, -5, -1, 0, 1, 255, 256, i64::MAX];
        assert!(times.map(|time| Key::of(7).time(Timestamp(time))).is_sorted());
        let names = ["a", "a\u{1}", "a/b", "ab", "b", "ä", "\u{10ffff}"];
        assert!(names.is_sorted());
        assert!(names.map(|name| Key::of(2).text(name).number(u64::MAX)).is_sorted());
        assert_eq!(Key::of(2).byte(255).byte(255).end(), Key::of(3));
    }

    #[test]
    fn no_key_is_too_long_for_an_engine() {
        const { assert!(KEY_BYTES_MAX <= 511) };
        let name = CollectionName::new(&"x".repeat(255)).unwrap();
        assert_eq!(cursor(&name, &"x".repeat(128)).len(), KEY_BYTES_MAX);
        assert_eq!(word(&"x".repeat(129)), None);
    }
}
