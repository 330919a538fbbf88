//! The hot codec: `schema/record.avsc`, written and read by hand.
//!
//! Owns: the bytes of one record. Hand-written because it is several times faster than a general Avro library, and an
//! append spends most of its time here; `apache-avro` checks it in tests, both ways.

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};

use super::AvroError;
use super::varint::{Decoder, put_bytes, put_long, put_unsigned};
use crate::types::{CollectionName, Header, Record, RecordKind, Sequence, Timestamp};

/// Kinds of records, as stored (F1).
pub mod kind {
    /// The key has this payload.
    pub const PUT: i32 = 0;
    /// The key is gone.
    pub const DELETE: i32 = 1;
    /// First record of a journal group.
    pub const GROUP: i32 = 16;
    /// Filler up to the end of a preallocated file.
    pub const PAD: i32 = 17;
    /// A new journal's judgement of its predecessors.
    pub const OPEN: i32 = 18;
    /// Everything before is known to be synced.
    pub const MARK: i32 = 19;
    /// A collection moved here from another directory.
    pub const MOVE: i32 = 20;
    /// A segment's footer.
    pub const SEAL: i32 = 21;
}

/// Where a record's checksum starts: the CRC32C of the collection's name as an Avro string, so that a record cannot
/// move from one collection to another unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// For the records of a collection.
    #[must_use]
    pub fn of(collection: &CollectionName) -> Self {
        let mut name = Vec::with_capacity(collection.as_str().len() + 2);
        put_bytes(&mut name, collection.as_str().as_bytes());
        Self(crc32c(&name))
    }

    /// For control records, which belong to no collection: the empty name.
    #[must_use]
    pub fn control() -> Self {
        Self(crc32c(&[0]))
    }
}

/// What [`encode`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// Sequence; 0 for control records.
    pub sequence: u64,
    /// Record time in microseconds.
    pub timestamp_us: i64,
    /// One of [`kind`].
    pub kind: i32,
    /// Key, where there is one.
    pub key: Option<&'a [u8]>,
    /// Expiry in microseconds, where there is one.
    pub expires_at_us: Option<i64>,
    /// Headers in order.
    pub headers: &'a [Header],
    /// Payload, where there is one.
    pub payload: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// A control record.
    #[must_use]
    pub const fn control(kind: i32, timestamp_us: i64, payload: &'a [u8]) -> Self {
        Self { sequence: 0, timestamp_us, kind, key: None, expires_at_us: None, headers: &[], payload: Some(payload) }
    }
}

/// Appends a record, and returns its checksum.
pub fn encode(out: &mut Vec<u8>, seed: Seed, fields: &Fields<'_>) -> u32 {
    let payload_len = fields.payload.map_or(0, <[u8]>::len);
    out.reserve(64 + fields.key.map_or(0, <[u8]>::len) + payload_len);
    let start = out.len();
    put_unsigned(out, fields.sequence);
    put_long(out, fields.timestamp_us);
    put_long(out, i64::from(fields.kind));
    match fields.key {
        None => out.push(0),
        Some(key) => {
            out.push(2);
            put_bytes(out, key);
        }
    }
    match fields.expires_at_us {
        None => out.push(0),
        Some(at) => {
            out.push(2);
            put_long(out, at);
        }
    }
    if !fields.headers.is_empty() {
        put_long(out, fields.headers.len() as i64);
        for header in fields.headers {
            put_bytes(out, header.key.as_bytes());
            put_bytes(out, &header.value);
        }
    }
    out.push(0);
    let checksum_at = out.len();
    out.extend_from_slice(&[0; 4]);
    match fields.payload {
        None => out.push(0),
        Some(payload) => {
            out.push(2);
            put_bytes(out, payload);
        }
    }
    let before = crc32c_append(seed.0, &out[start..checksum_at]);
    let checksum = crc32c_append(before, &out[checksum_at + 4..]);
    out[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// A record where it lies, not copied.
#[derive(Clone, Debug)]
pub struct RecordView<'a> {
    /// Sequence; 0 for control records.
    pub sequence: u64,
    /// Record time in microseconds.
    pub timestamp_us: i64,
    /// One of [`kind`], or a number that this program does not know.
    pub kind: i32,
    /// Key, where there is one.
    pub key: Option<&'a [u8]>,
    /// Expiry in microseconds, where there is one.
    pub expires_at_us: Option<i64>,
    /// The headers, still encoded; checked to be well-formed.
    headers: &'a [u8],
    /// The checksum as stored. Not verified yet.
    pub checksum: u32,
    /// Payload, where there is one.
    pub payload: Option<&'a [u8]>,
    /// All of the record's bytes.
    pub encoded: &'a [u8],
    checksum_at: usize,
}

/// Decodes the record at the front of `bytes`; `encoded.len()` tells where the next begins. The checksum is not
/// verified: [`RecordView::is_intact`] does that.
///
/// # Errors
/// Why the bytes are no record. Never panics, whatever they are.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<RecordView<'_>, AvroError> {
    let mut decoder = Decoder::new(bytes);
    let sequence = decoder.unsigned()?;
    let timestamp_us = decoder.long()?;
    let kind = i32::try_from(decoder.long()?).map_err(|_| AvroError::BadKind)?;
    let key = if decoder.is_some()? { Some(decoder.bytes()?) } else { None };
    let expires_at_us = if decoder.is_some()? { Some(decoder.long()?) } else { None };
    let headers_at = decoder.position();
    skip_headers(&mut decoder)?;
    let headers = &bytes[headers_at..decoder.position()];
    let checksum_at = decoder.position();
    let checksum = u32::from_le_bytes(decoder.fixed()?);
    let payload = if decoder.is_some()? { Some(decoder.bytes()?) } else { None };
    let encoded = &bytes[..decoder.position()];
    Ok(RecordView {
        sequence,
        timestamp_us,
        kind,
        key,
        expires_at_us,
        headers,
        checksum,
        payload,
        encoded,
        checksum_at,
    })
}

/// Avro arrays come in blocks: a count, its items; a negative count is followed by the block's size; zero ends.
#[inline]
fn skip_headers(decoder: &mut Decoder<'_>) -> Result<(), AvroError> {
    loop {
        match decoder.long()? {
            0 => return Ok(()),
            count if count > 0 => {
                for _ in 0..count {
                    decoder.string()?;
                    decoder.bytes()?;
                }
            }
            // We never write this form, and refuse it so that one record has one encoding.
            _ => return Err(AvroError::Negative),
        }
    }
}

impl RecordView<'_> {
    /// Whether the stored checksum is that of the bytes, in the collection that `seed` stands for.
    #[must_use]
    #[inline]
    pub fn is_intact(&self, seed: Seed) -> bool {
        let before = crc32c_append(seed.0, &self.encoded[..self.checksum_at]);
        crc32c_append(before, &self.encoded[self.checksum_at + 4..]) == self.checksum
    }

    /// The headers, copied.
    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        let mut headers = Vec::new();
        let mut decoder = Decoder::new(self.headers);
        while let Ok(count @ 1..) = decoder.long() {
            for _ in 0..count {
                let (Ok(key), Ok(value)) = (decoder.string(), decoder.bytes()) else { return headers };
                headers.push(Header { key: key.to_owned(), value: Bytes::copy_from_slice(value) });
            }
        }
        headers
    }

    /// Whether it is a record of a user's, and which kind; `None` for control records.
    ///
    /// # Errors
    /// [`AvroError::BadKind`] for a kind that this program does not know (F3).
    pub fn user_kind(&self) -> Result<Option<RecordKind>, AvroError> {
        match self.kind {
            kind::PUT => Ok(Some(RecordKind::Put)),
            kind::DELETE => Ok(Some(RecordKind::Delete)),
            kind::GROUP..=kind::SEAL => Ok(None),
            _ => Err(AvroError::BadKind),
        }
    }

    /// The record, with key and payload as slices of `holder`, in which it lies.
    ///
    /// # Errors
    /// [`AvroError::BadKind`] where it is not a user's record.
    pub fn to_record(&self, holder: &Bytes) -> Result<Record, AvroError> {
        let kind = self.user_kind()?.ok_or(AvroError::BadKind)?;
        Ok(Record {
            sequence: Sequence(self.sequence),
            timestamp: Timestamp(self.timestamp_us),
            kind,
            key: self.key.map(|key| holder.slice_ref(key)),
            expires_at: self.expires_at_us.map(Timestamp),
            headers: self.headers(),
            payload: self.payload.map(|payload| holder.slice_ref(payload)),
        })
    }
}
