//! What a file under a segment's name is: every byte of it is read.
//!
//! Owns: telling a damaged file of ours from one that is none of ours, and a file that is not whole from one that cannot be read now.

use std::path::Path;
use std::sync::Arc;

use super::super::journals::chain;
use super::list::header;
use crate::avro::RECORD_SCHEMA;
use crate::avro::container::FileHeader;
use crate::catalog::{SegmentKey, SegmentRow};
use crate::fs::{FileSystem, OpenMode};
use crate::segment::{self, FileRange, Footer, SegmentError, SegmentReader};
use crate::types::{Epoch, LogId};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) enum Judgement {
    /// The system says "not found".
    Absent,
    /// A segment, whole.
    Whole(Whole),
    /// A segment with a footer that can be read, and bytes elsewhere that are not what was written.
    Flawed {
        /// What its records should be.
        content_digest: [u8; 32],
        /// What is wrong.
        reason: String,
    },
    /// A file of ours without a footer that can be read.
    Broken(String),
    /// None of ours, and what it is: an Avro file without our metadata, or a segment of something else.
    Foreign(String),
    /// The system cannot read it now, or a newer program wrote it, and why.
    Unreadable(String),
}

/// A whole segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) struct Whole {
    /// SHA-256 over its records (F4).
    pub content_digest: [u8; 32],
    /// The epoch that sealed it.
    pub epoch: Epoch,
    /// Whether it is, byte by byte, the file of its row; without a row it is.
    pub is_exact: bool,
}

/// Reads the file at `path`, which has the name of `key`. `log` where it is known; `row` is the catalog's word on the segment.
pub(in crate::log) fn judge(
    fs: &dyn FileSystem,
    path: &Path,
    (log, key, row): (Option<LogId>, &SegmentKey, Option<&SegmentRow>),
) -> Judgement {
    let file = match fs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Judgement::Absent,
        Err(error) => return Judgement::Unreadable(chain(&error)),
    };
    let source = Arc::new(FileRange(Arc::clone(&file)));
    let reader = match SegmentReader::open_range(source.clone()) {
        Ok(reader) => reader,
        Err(error @ (SegmentError::Fs(_) | SegmentError::Newer { .. })) => {
            return Judgement::Unreadable(chain(&error));
        }
        Err(error @ SegmentError::NotASegment { .. }) => {
            let is_ours = header(&*file).is_none_or(|header| !is_of_another_program(&header));
            // Our name, and no header at all: ours, and nothing of it is left.
            let judged = if is_ours { Judgement::Broken } else { Judgement::Foreign };
            return judged(chain(&error));
        }
        Err(error) => return Judgement::Broken(chain(&error)),
    };
    let footer = reader.footer();
    if let Some(what) = of_another(footer, log, key) {
        return Judgement::Foreign(what.to_owned());
    }
    let (content_digest, epoch) = (footer.content_digest, footer.epoch);
    let flawed = |reason| Judgement::Flawed { content_digest, reason };
    match segment::verify_deep(source.clone(), None) {
        Ok(verdict) => {
            if let Some(damage) = verdict.damaged.first() {
                return flawed(damage.to_string());
            }
        }
        Err(error @ SegmentError::Fs(_)) => return Judgement::Unreadable(chain(&error)),
        Err(error) => return flawed(chain(&error)),
    }
    let is_exact = match row.map(|row| (row, segment::file_sha256(&*source))) {
        None => true,
        Some((row, Ok(sha256))) => sha256 == row.sha256,
        Some((_, Err(error))) => return Judgement::Unreadable(chain(&error)),
    };
    Judgement::Whole(Whole { content_digest, epoch, is_exact })
}

/// Whether a header is whole, and written by another program. One of ours that is damaged may still have the form of a header: its schema
/// comes first in it.
fn is_of_another_program(header: &FileHeader) -> bool {
    let schema = header.get("avro.schema").unwrap_or_default();
    let is_whole = serde_json::from_slice::<serde::de::IgnoredAny>(schema).is_ok();
    is_whole
        && schema != RECORD_SCHEMA.as_bytes()
        && !header.metadata.iter().any(|(name, _)| name.starts_with("icecore."))
}

fn of_another(footer: &Footer, log: Option<LogId>, key: &SegmentKey) -> Option<&'static str> {
    if log.is_some_and(|log| log != footer.log) {
        Some("a segment of another log")
    } else if footer.collection != key.collection {
        Some("a segment of another collection")
    } else if (footer.covers.first, footer.covers.last) != (key.first, key.last) {
        Some("a segment of another range")
    } else if footer.generation != key.generation {
        Some("a segment of another generation")
    } else {
        None
    }
}
