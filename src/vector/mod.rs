//! Vector records: an id, a vector of `f32`, and metadata, as the payload of an ordinary record.
//!
//! - [`datum`]: the payload, an Avro datum (`schema/vector.avsc`)
//! - [`json`]: the JSON lines of `append --format vectors`
//!
//! Owns: what a vector record is, and how it lies in a record: its key is the id, its header [`TYPE_HEADER`] says `vector`, its payload is the
//! datum. Does not own: where vectors are kept in columns (`store`), or how they are found (`search`).
//!
//! What always holds: nothing that [`VectorRecord::check`] refuses is written, and nothing that it refuses is taken for a vector when it is
//! read. A record that only claims to be one stays what it is, a record with a payload.

pub mod datum;
pub mod json;

use bytes::Bytes;

use crate::avro::AvroError;
use crate::types::{Header, NewRecord, Record, RecordKind};

/// `schema/vector.avsc`.
pub const VECTOR_SCHEMA: &str = include_str!("../../schema/vector.avsc");
/// The header that says what a record's payload is.
pub const TYPE_HEADER: &str = "icecore.type";
/// The value of [`TYPE_HEADER`] for vector records.
pub const TYPE: &str = "vector";
/// The most dimensions that a vector may have.
pub const DIMENSIONS_MAX: usize = 65_536;
/// Metadata of a record that has none.
pub const NO_METADATA: &str = "{}";

/// A vector with its id and what is known of it.
///
/// ```
/// use icecore::vector::VectorRecord;
/// let record = VectorRecord::new("doc-7", [0.25, -1.0]).with_metadata(r#"{"lang":"en"}"#);
/// let record = record.into_new_record()?;
/// assert_eq!(record.key.as_deref(), Some(&b"doc-7"[..]));
/// # Ok::<(), icecore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct VectorRecord {
    /// The key: the newest record of an id is the one that counts.
    pub id: String,
    /// Finite numbers, at least one, at most [`DIMENSIONS_MAX`].
    pub vector: Vec<f32>,
    /// A JSON object as text, kept byte for byte.
    pub metadata: String,
}

/// Why something is no vector record.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// The id is the empty text.
    #[error("the id of a vector is empty")]
    EmptyId,
    /// No dimension at all.
    #[error("a vector is empty: id=`{id}`")]
    Empty {
        /// Whose.
        id: String,
    },
    /// More dimensions than a vector may have.
    #[error("a vector has too many dimensions: id=`{id}`, dimensions=`{dimensions}`, limit=`65536`")]
    TooManyDimensions {
        /// Whose.
        id: String,
        /// How many.
        dimensions: u64,
    },
    /// Other dimensions than the collection's vectors have.
    #[error(
        "a vector has other dimensions than its collection: id=`{id}`, dimensions=`{dimensions}`, wanted=`{wanted}`, setting=`vector.dimensions`"
    )]
    OtherDimensions {
        /// Whose.
        id: String,
        /// How many it has.
        dimensions: usize,
        /// How many it must have.
        wanted: usize,
    },
    /// Not a number, infinite, or beyond what an `f32` holds.
    #[error("a vector has a number that is not finite as f32: id=`{id}`, at=`{at}`, value=`{value}`")]
    NotFinite {
        /// Whose.
        id: String,
        /// Which dimension, from 0.
        at: usize,
        /// What was found.
        value: f32,
    },
    /// The metadata is no JSON object.
    #[error("the metadata of a vector is no json object: id=`{id}`; {why}")]
    Metadata {
        /// Whose.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// A line that is no JSON object of a vector.
    #[error("no json object with `id`, `vector` and maybe `metadata`: {0}")]
    Json(String),
    /// A payload that is no datum of `schema/vector.avsc`.
    #[error("a payload is no vector")]
    Datum(#[from] AvroError),
    /// A payload with more bytes than the datum in it.
    #[error("a payload has bytes behind its vector: bytes=`{bytes}`")]
    BytesBehind {
        /// How many.
        bytes: usize,
    },
    /// A key that is not the id.
    #[error("the key of a vector record is not its id: id=`{id}`")]
    OtherKey {
        /// The id in the payload.
        id: String,
    },
}

impl From<VectorError> for crate::Error {
    fn from(error: VectorError) -> Self {
        Self::new(crate::ErrorKind::Invalid, error.to_string()).with_source(error)
    }
}

impl VectorRecord {
    /// A vector without metadata.
    #[must_use]
    pub fn new(id: impl Into<String>, vector: impl Into<Vec<f32>>) -> Self {
        Self { id: id.into(), vector: vector.into(), metadata: NO_METADATA.to_owned() }
    }

    /// Sets the metadata: a JSON object as text.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<String>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Whether it is what a vector record must be.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), VectorError> {
        let id = || self.id.clone();
        if self.id.is_empty() {
            return Err(VectorError::EmptyId);
        }
        if self.vector.is_empty() {
            return Err(VectorError::Empty { id: id() });
        }
        if self.vector.len() > DIMENSIONS_MAX {
            return Err(VectorError::TooManyDimensions { id: id(), dimensions: self.vector.len() as u64 });
        }
        if let Some(at) = self.vector.iter().position(|value| !value.is_finite()) {
            return Err(VectorError::NotFinite { id: id(), at, value: self.vector[at] });
        }
        if self.metadata == NO_METADATA {
            return Ok(());
        }
        // Read as whoever filters by it reads it: also its depth and its numbers must be such that they can be read.
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&self.metadata) {
            Ok(_) => Ok(()),
            Err(error) => Err(VectorError::Metadata { id: id(), why: error.to_string() }),
        }
    }

    /// Whether it has `wanted` dimensions.
    ///
    /// # Errors
    /// [`VectorError::OtherDimensions`].
    pub fn check_dimensions(&self, wanted: usize) -> Result<(), VectorError> {
        if self.vector.len() == wanted {
            return Ok(());
        }
        Err(VectorError::OtherDimensions { id: self.id.clone(), dimensions: self.vector.len(), wanted })
    }

    /// The record to append.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn into_new_record(self) -> Result<NewRecord, VectorError> {
        self.check()?;
        let mut payload = Vec::with_capacity(self.id.len() + self.metadata.len() + 4 * self.vector.len() + 16);
        self.encode(&mut payload);
        Ok(NewRecord::put(self.id.into_bytes(), payload).with_header(TYPE_HEADER, TYPE))
    }

    /// The vector in a record; `None` where the record does not claim to have one.
    ///
    /// # Errors
    /// Why what is there is no vector: then the record counts as one without.
    pub fn of_record(record: &Record) -> Option<Result<Self, VectorError>> {
        Self::of(record.kind, record.key.as_ref(), &record.headers, record.payload.as_ref())
    }

    /// The same of a record's parts.
    ///
    /// # Errors
    /// As [`of_record`](Self::of_record).
    pub fn of(
        kind: RecordKind,
        key: Option<&Bytes>,
        headers: &[Header],
        payload: Option<&Bytes>,
    ) -> Option<Result<Self, VectorError>> {
        if kind != RecordKind::Put || !is_marked(headers) {
            return None;
        }
        let (key, payload) = (key?, payload?);
        Some(Self::decode(payload).and_then(|vector| {
            if vector.id.as_bytes() == &key[..] { Ok(vector) } else { Err(VectorError::OtherKey { id: vector.id }) }
        }))
    }
}

/// Whether headers say that the payload is a vector.
#[must_use]
pub fn is_marked(headers: &[Header]) -> bool {
    headers.iter().any(|header| header.key == TYPE_HEADER && &header.value[..] == TYPE.as_bytes())
}

#[cfg(test)]
mod tests;
