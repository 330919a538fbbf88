//! Segments: immutable Avro files, each with a run of one collection (F2 to F4).
//!
//! Owns: the file's shape, its footer, and the judgement of whether its bytes are what was written. Does not own: where
//! files lie and what their rows say (`log`, `catalog`), or who caches blocks.
//!
//! A segment is an Avro object container file: a header ([`header`]), data blocks of whole records, and at the end one
//! block with one SEAL record, stored without compression ([`seal`]). Its payload is the [`Footer`] and, as the very last
//! bytes before the sync marker, a trailer of fixed size, so that two reads, of the end and of the front, tell everything
//! that is needed to read any block by its range ([`SegmentReader`]), from a disk or from a store ([`ReadRange`]).
//!
//! Crash safety: [`SegmentWriter`] syncs the file before it says [`Sealed`]; the caller syncs the directory and only then
//! commits the row. A file that was cut by a crash has no trailer, and is not taken for a segment: [`scan`] tells what it
//! holds. No reader of this room ever changes a file.
//!
//! What guards which byte: a CRC32C the header, each data block, the footer, the trailer; the CRC32C of F1 each record;
//! `content_digest` their order and number. What none of them sees (the framing of the SEAL block) cannot change what a
//! reader is given; the SHA-256 of the whole file, which the catalog keeps, sees that too.

mod block;
pub mod footer;
pub mod header;
pub mod keys;
mod names;
mod open;
mod read;
mod records;
mod scan;
pub mod seal;
mod source;
mod stub;
mod verify;
mod write;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use block::Block;
pub use footer::{BlockEntry, Footer, Input};
pub use names::{FileKind, SegmentName};
pub use read::SegmentReader;
pub use records::Records;
pub use scan::{Scan, scan};
pub use source::{FileRange, ReadRange};
pub use stub::{read_stub, write_stub};
pub use verify::{Verdict, file_sha256, verify, verify_deep};
pub use write::{Sealed, SegmentMeta, SegmentWriter, WriteOptions};

use crate::avro::codec::CodecError;
use crate::fs::FsError;
use crate::types::Sequence;

/// Sequences from `first` to `last`, both included; never empty, never below 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceRange {
    /// The first.
    pub first: Sequence,
    /// The last.
    pub last: Sequence,
}

impl SequenceRange {
    /// `first..=last`; `None` where that is empty, starts below 1, or ends above 2^63-1.
    #[must_use]
    pub fn new(first: Sequence, last: Sequence) -> Option<Self> {
        (Sequence::FIRST <= first && first <= last && last <= Sequence::MAX).then_some(Self { first, last })
    }

    /// How many sequences.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// Whether `sequence` is one of them.
    #[must_use]
    pub fn contains(&self, sequence: Sequence) -> bool {
        (self.first..=self.last).contains(&sequence)
    }
}

impl std::fmt::Display for SequenceRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..={}", self.first, self.last)
    }
}

impl std::fmt::Debug for SequenceRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Bytes of a segment that are not what was written, and which records that may cost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a segment is damaged: path=`{}`, offset=`{offset}`{}: {what}", path.display(), shown(sequences.as_ref()))]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// The sequences that cannot be read because of it, as far as footer, index or file name tell.
    pub sequences: Option<SequenceRange>,
}

fn shown(sequences: Option<&SequenceRange>) -> String {
    sequences.map_or_else(String::new, |range| format!(", sequences=`{range}`"))
}

/// Why a segment cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A file of another kind.
    #[error("not a segment: path=`{}`: {what}", path.display())]
    NotASegment {
        /// The file.
        path: PathBuf,
        /// What it is instead, or what is missing.
        what: String,
    },
    /// A file that a newer program wrote (F3).
    #[error("a newer format than this program reads: path=`{}`, {what}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The name and value that are not known, as key=`value`.
        what: String,
    },
    /// Bytes that are not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A record that must not enter a segment: its bytes are damaged, or it is none of a user's.
    #[error("a record cannot be sealed: sequence=`{sequence}`: {what}")]
    BadRecord {
        /// Its sequence, as found.
        sequence: Sequence,
        /// What is wrong.
        what: &'static str,
    },
    /// A call that breaks the order in which a segment is written.
    #[error("a segment cannot be written like this: {what}")]
    Misused {
        /// What was wrong with the call.
        what: String,
    },
    /// The compressor failed.
    #[error("cannot compress a segment")]
    Codec(#[source] CodecError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A store failed to give a range.
    #[error("cannot read a segment: path=`{}`", path.display())]
    Remote {
        /// The object's name.
        path: PathBuf,
        /// What the store said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SegmentError {
    fn damaged(path: &Path, offset: u64, sequences: Option<SequenceRange>, what: impl Into<String>) -> Self {
        Self::Damaged(Damage { path: path.to_path_buf(), offset, what: what.into(), sequences })
    }

    fn foreign(path: &Path, what: impl Into<String>) -> Self {
        Self::NotASegment { path: path.to_path_buf(), what: what.into() }
    }

    /// The damage, where it is that.
    #[must_use]
    pub const fn damage(&self) -> Option<&Damage> {
        match self {
            Self::Damaged(damage) => Some(damage),
            _ => None,
        }
    }
}

impl From<SegmentError> for crate::Error {
    fn from(error: SegmentError) -> Self {
        use crate::ErrorKind;
        let kind = match error {
            SegmentError::Fs(error) => return error.into(),
            SegmentError::NotASegment { .. } => ErrorKind::Invalid,
            SegmentError::Newer { .. } => ErrorKind::Unsupported,
            SegmentError::Damaged(_) | SegmentError::BadRecord { .. } => ErrorKind::Corrupt,
            SegmentError::Misused { .. } | SegmentError::Codec(_) => ErrorKind::Internal,
            SegmentError::Remote { .. } => ErrorKind::Unavailable,
        };
        let text = error.to_string();
        match error {
            SegmentError::Remote { source, .. } => Self::new(kind, text).with_source(source),
            SegmentError::Codec(source) => Self::new(kind, text).with_source(source),
            _ => Self::new(kind, text),
        }
    }
}
