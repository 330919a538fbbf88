//! Avro object container files (F1 to F3).
//!
//! Owns: the encodings of Avro's primitives ([`varint`]), of the one hot schema ([`record`]), and of container files
//! ([`container`]), and of compressed blocks ([`codec`]). Knows nothing of journals, segments, or where bytes come from.

pub mod codec;
pub mod container;
pub mod record;
pub mod varint;

/// `schema/record.avsc`, the schema of every file that icecore writes.
pub const RECORD_SCHEMA: &str = include_str!("../../schema/record.avsc");

/// The version of the formats in `docs/format.md`, in every file's metadata as `icecore.format_version`.
pub const FORMAT_VERSION: u32 = 1;

/// Why bytes are not Avro, or not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AvroError {
    /// The bytes end before the value does.
    #[error("the bytes end before the value does")]
    Truncated,
    /// A `long` of more than 64 bits.
    #[error("a number of more than 64 bits")]
    LongTooLong,
    /// A length or number that must not be negative.
    #[error("a negative number where none can be")]
    Negative,
    /// A union index that the schema does not have.
    #[error("a union index that the schema does not have: index=`{index}`")]
    BadUnion {
        /// The index found.
        index: i64,
    },
    /// A string that is no UTF-8.
    #[error("a string that is not UTF-8")]
    NotUtf8,
    /// A record kind that is unknown, or has no place here.
    #[error("a record kind that is unknown or has no place here")]
    BadKind,
    /// Not an Avro container file.
    #[error("not an Avro container file")]
    BadMagic,
}

/// SHA-256 of `bytes`. Behind one function, so that the implementation can be chosen by measurement.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(bytes);
    digest.finish()
}

/// SHA-256 (FIPS 180-4) of bytes that come piece by piece.
#[derive(Clone)]
pub struct Sha256(ring::digest::Context);

impl Sha256 {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }

    /// And of `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}
