//! Rows as the tree has them: a byte for the version, the encoding of [`checksum`](crate::catalog::checksum), its CRC32C
//! with the little end first.
//!
//! The checksum is the one that SQLite keeps of the same row. Reading checks version, checksum, every status and kind, that
//! nothing is left over, and that the row lies under its own key (C4); what does not fit is damage, never a default.

use super::engine::{Read, damaged};
use super::keys::{self, Key};
use crate::catalog::checksum::{Content, kind, status_of};
use crate::catalog::state::CollectionState;
use crate::catalog::{
    Assignment, CatalogResult, Change, CollectionRow, CursorRow, LossRow, Mutation, SegmentKey, SegmentRow,
    SegmentStatus,
};
use crate::types::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};

/// The version of a row's encoding; a change to any field of any row makes a new one.
const VERSION: u8 = 1;

/// The value of a row.
pub fn encode(content: Content<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    content.encode_to(&mut bytes);
    let checksum = crc32c::crc32c(&bytes[1..]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// A kind of row: how it is read, and which key it lies under.
pub trait Stored: Sized {
    /// The kind of its encoding.
    const KIND: u8;
    /// Its table, in findings.
    const TABLE: &'static str;

    /// Reads the fields after the kind.
    fn fields(fields: &mut Fields<'_>) -> Result<Self, String>;

    /// Where it lies.
    fn key(&self) -> Key;
}

/// Reads the row that lies under `key`.
pub fn decode<T: Stored>(key: &[u8], value: &[u8]) -> Result<T, String> {
    let damaged = |what: String| format!("{what}: {} `{}`", T::TABLE, shown(key));
    let Some((content, checksum)) = value.split_last_chunk::<4>() else {
        return Err(damaged("cut short".to_owned()));
    };
    let Some((&version, content)) = content.split_first() else {
        return Err(damaged("cut short".to_owned()));
    };
    if version != VERSION {
        return Err(damaged(format!("an unknown version of a row, {version}")));
    }
    if crc32c::crc32c(content) != u32::from_le_bytes(*checksum) {
        return Err(damaged("checksum".to_owned()));
    }
    let mut fields = Fields(content);
    let read = |fields: &mut Fields<'_>| {
        let found = fields.byte()?;
        if found != T::KIND {
            return Err(format!("a row of another kind, {found}"));
        }
        let row = T::fields(fields)?;
        if fields.0.is_empty() { Ok(row) } else { Err("more than a row".to_owned()) }
    };
    let row = read(&mut fields).map_err(damaged)?;
    if *row.key() != *key {
        return Err(damaged("a row under a key that is not its own".to_owned()));
    }
    Ok(row)
}

/// Reads one row, where there is one.
pub fn get<T: Stored>(read: &dyn Read, key: &Key) -> CatalogResult<Option<T>> {
    let Some(value) = read.get(key)? else { return Ok(None) };
    decode(key, &value).map(Some).or_else(|what| damaged(read, what))
}

/// A key as people can read it.
pub fn shown(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

/// What is left of an encoding.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("a row that is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("as many as were asked for"))
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn sequence(&mut self) -> Result<Sequence, String> {
        self.number().map(Sequence)
    }

    fn time(&mut self) -> Result<Timestamp, String> {
        Ok(Timestamp(self.number()?.cast_signed()))
    }

    fn text(&mut self) -> Result<String, String> {
        let len = usize::try_from(self.number()?).map_err(|error| error.to_string())?;
        Ok(std::str::from_utf8(self.take(len)?).map_err(|error| error.to_string())?.to_owned())
    }

    fn name(&mut self) -> Result<CollectionName, String> {
        CollectionName::new(&self.text()?).map_err(|error| format!("name of a collection, {error}"))
    }

    fn status(&mut self) -> Result<SegmentStatus, String> {
        let number = self.byte()?;
        status_of(number.into()).ok_or_else(|| format!("an unknown status, {number}"))
    }

    fn option<T>(&mut self, present: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<Option<T>, String> {
        match self.byte()? {
            0 => Ok(None),
            1 => present(self).map(Some),
            other => Err(format!("neither a value nor none, {other}")),
        }
    }
}

impl Stored for SegmentRow {
    const KIND: u8 = kind::SEGMENT;
    const TABLE: &'static str = "segments";

    fn fields(fields: &mut Fields<'_>) -> Result<Self, String> {
        let (collection, first, last) = (fields.name()?, fields.sequence()?, fields.sequence()?);
        let generation = fields.number()?;
        let generation =
            u32::try_from(generation).map_err(|_| format!("a generation beyond its range, {generation}"))?;
        Ok(Self {
            key: SegmentKey { collection, first, last, generation: Generation(generation) },
            status: fields.status()?,
            epoch: Epoch(fields.number()?),
            directory: fields.text()?,
            path: fields.text()?,
            records: fields.number()?,
            bytes: fields.number()?,
            sha256: fields.array()?,
            content_digest: fields.array()?,
            timestamp_min: fields.time()?,
            timestamp_max: fields.time()?,
            sealed_at: fields.time()?,
            sealed_change: ChangeNumber(fields.number()?),
            flushed_at: fields.option(Fields::time)?,
            archive_key: fields.option(Fields::text)?,
        })
    }

    fn key(&self) -> Key {
        keys::segment(&self.key)
    }
}

impl Stored for CollectionState {
    const KIND: u8 = kind::COLLECTION;
    const TABLE: &'static str = "collections";

    fn fields(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            row: CollectionRow {
                name: fields.name()?,
                created_at: fields.time()?,
                floor: fields.sequence()?,
                sealed_through: fields.sequence()?,
                settings: fields.text()?,
            },
            sequence_max: fields.sequence()?,
        })
    }

    fn key(&self) -> Key {
        keys::collection(&self.row.name)
    }
}

impl Stored for Assignment {
    const KIND: u8 = kind::ASSIGNMENT;
    const TABLE: &'static str = "assignments";

    fn fields(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            component: fields.text()?,
            collection: fields.name()?,
            directory: fields.text()?,
            epoch: Epoch(fields.number()?),
            from: fields.sequence()?,
            since: fields.time()?,
        })
    }

    fn key(&self) -> Key {
        keys::assignment(&self.component, &self.collection)
    }
}

impl Stored for LossRow {
    const KIND: u8 = kind::LOSS;
    const TABLE: &'static str = "losses";

    fn fields(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            collection: fields.name()?,
            first: fields.sequence()?,
            last: fields.sequence()?,
            reason: fields.text()?,
            found_at: fields.time()?,
            acknowledged: fields.option(|fields| Ok((fields.text()?, fields.time()?)))?,
        })
    }

    fn key(&self) -> Key {
        keys::loss(&self.collection, self.first, self.last)
    }
}

impl Stored for CursorRow {
    const KIND: u8 = kind::CURSOR;
    const TABLE: &'static str = "cursors";

    fn fields(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            collection: fields.name()?,
            sink: fields.text()?,
            epoch: Epoch(fields.number()?),
            sequence: fields.sequence()?,
        })
    }

    fn key(&self) -> Key {
        keys::cursor(&self.collection, &self.sink)
    }
}

/// A small value.
#[derive(Debug)]
pub struct MetaRow {
    pub name: String,
    pub value: String,
}

impl Stored for MetaRow {
    const KIND: u8 = kind::META;
    const TABLE: &'static str = "meta";

    fn fields(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self { name: fields.text()?, value: fields.text()? })
    }

    fn key(&self) -> Key {
        keys::meta(&self.name)
    }
}

/// How many segments have a status.
#[derive(Debug)]
pub struct CountRow {
    pub status: SegmentStatus,
    pub count: u64,
}

impl Stored for CountRow {
    const KIND: u8 = kind::COUNT;
    const TABLE: &'static str = "counts";

    fn fields(fields: &mut Fields<'_>) -> Result<Self, String> {
        Ok(Self { status: fields.status()?, count: fields.number()? })
    }

    fn key(&self) -> Key {
        keys::count(self.status)
    }
}

impl Stored for Change {
    const KIND: u8 = kind::CHANGE;
    const TABLE: &'static str = "changes";

    fn fields(fields: &mut Fields<'_>) -> Result<Self, String> {
        let change = Self {
            number: ChangeNumber(fields.number()?),
            at: fields.time()?,
            reason: fields.text()?,
            kind: fields.text()?,
            subject: fields.text()?,
            detail: fields.text()?,
        };
        if !Mutation::KINDS.contains(&change.kind.as_str()) {
            return Err(format!("an unknown kind of change, {}", change.kind));
        }
        Ok(change)
    }

    fn key(&self) -> Key {
        keys::change(self.number)
    }
}
