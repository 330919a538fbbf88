//! Reads records out of files and pipes: lines, JSON objects, stanzas.
//!
//! Owns: opening an input, where a record begins and ends, what its payload, key and time are, where it stood, which
//! records make a batch. Does not own: appending.
//!
//! What always holds: payloads are exact bytes of the input, in its order, and no byte that belongs to a record is in none.
//! A record is handed out before an error that comes after it. Memory is bounded by the largest record allowed, whatever
//! the input is; a record above it is refused by its line as soon as it is seen to be too large.
//!
//! | format | a record is | its payload |
//! |---|---|---|
//! | `lines` | a line, also an empty one | the line without its newline; a carriage return stays |
//! | `ndjson` | a line with a JSON object; blank lines are skipped | the line without its newline |
//! | `stanzas` | lines up to an empty line, or the end (as in RFC 822); further empty lines are skipped | the lines with the last newline, without the empty line |

mod batches;
mod buffer;
mod lines;
mod ndjson;
mod open;
mod stanzas;

use std::io::Read;

use bytes::Bytes;

use crate::config::ByteSize;
use crate::types::Timestamp;

pub use batches::{Batches, Next};
use buffer::LineReader;
pub use open::{Source, open};

/// How an input is cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum InputFormat {
    /// Each line is a record
    Lines,
    /// Each line is a JSON object, and a record
    Ndjson,
    /// Records are blocks of `Field: value` lines with empty lines between (RFC 822, Debian control files)
    Stanzas,
}

/// What to read, and what to take out of each record.
#[derive(Clone, Debug)]
pub struct InputOptions {
    /// How the input is cut.
    pub format: InputFormat,
    /// The field that gives each record's key.
    pub key: Option<String>,
    /// The field that gives each record's time.
    pub timestamp: Option<String>,
    /// The largest payload.
    pub record_bytes_max: ByteSize,
    /// The largest key.
    pub key_bytes_max: ByteSize,
}

/// One record of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    /// The exact bytes.
    pub payload: Bytes,
    /// What the key field says.
    pub key: Option<Bytes>,
    /// What the timestamp field says.
    pub timestamp: Option<Timestamp>,
    /// Where the record stood.
    pub place: Place,
}

/// Where a record stands in its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 1.
    pub record: u64,
    /// Its first line, from 1.
    pub line: u64,
    /// The offset of its first byte.
    pub offset: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line=`{}`, record=`{}`, offset=`{}`", self.line, self.record, self.offset)
    }
}

/// Why an input cannot be read further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Reading failed.
    #[error("cannot read input: {place}")]
    Read {
        /// The record that was being read.
        place: Place,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A record, or its key, is larger than allowed.
    #[error("{what} is over the limit: {place}, limit=`{limit}`, setting=`{setting}`")]
    TooLarge {
        /// `record` or `key`.
        what: &'static str,
        /// Which record.
        place: Place,
        /// The limit.
        limit: ByteSize,
        /// The setting that raises it.
        setting: &'static str,
    },
    /// A line is not what the format wants.
    #[error("input is not {format}: {place}; {why}")]
    Malformed {
        /// What was expected: `ndjson`, `stanzas`.
        format: &'static str,
        /// Which record.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// The field that gives the key or the time is absent, or of no use.
    #[error("record has no usable field: field=`{field}`, {place}; {why}")]
    Field {
        /// Its name.
        field: String,
        /// Which record.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// A field was asked of a format that has none.
    #[error("format has no fields: format=`lines`, asked for=`{field}`")]
    NoFields {
        /// What was asked for.
        field: String,
    },
}

impl InputError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooLarge { setting, .. } => Some(format!("raise {setting}, or cut the input differently (--format)")),
            Self::Malformed { .. } => {
                Some("correct the input, or read it as another --format; records before it are unharmed".to_owned())
            }
            Self::Field { .. } => {
                Some("every record needs the field; without it, leave --key or --timestamp out".to_owned())
            }
            Self::NoFields { .. } => Some("use --format ndjson or stanzas with --key and --timestamp".to_owned()),
            Self::Read { .. } => None,
        }
    }
}

/// The records of an input, one after another. After an error it gives nothing more.
pub struct Input<R> {
    lines: LineReader<R>,
    options: InputOptions,
    record: u64,
    ended: bool,
}

impl<R: Read> Input<R> {
    /// Reads `reader` as `options` say, with a buffer of its own.
    ///
    /// # Errors
    /// [`InputError::NoFields`] where the format cannot give what was asked for.
    pub fn new(reader: R, options: InputOptions) -> Result<Self, InputError> {
        if options.format == InputFormat::Lines
            && let Some(field) = options.key.as_ref().or(options.timestamp.as_ref())
        {
            return Err(InputError::NoFields { field: field.clone() });
        }
        Ok(Self { lines: LineReader::new(reader), options, record: 0, ended: false })
    }

    fn read_record(&mut self) -> Result<Option<InputRecord>, InputError> {
        match self.options.format {
            InputFormat::Lines => self.read_line_record(),
            InputFormat::Ndjson => self.read_ndjson_record(),
            InputFormat::Stanzas => self.read_stanza_record(),
        }
    }

    /// Whether the next record needs no further read: its bytes are in the buffer, or the input has ended.
    ///
    /// A writer that collects batches asks this before it goes on, so that records which have arrived are not held back
    /// by a pipe that is slow with the next one.
    pub fn has_buffered(&self) -> bool {
        match self.options.format {
            InputFormat::Stanzas => self.lines.has_end_of_stanza(),
            InputFormat::Lines => self.lines.has_line(),
            InputFormat::Ndjson => self.lines.has_line_with_content(),
        }
    }

    /// Where the record stands whose first byte comes next.
    fn place(&self) -> Place {
        Place { record: self.record + 1, line: self.lines.line(), offset: self.lines.offset() }
    }

    fn too_large(&self) -> InputError {
        InputError::TooLarge {
            what: "record",
            place: self.place(),
            limit: self.options.record_bytes_max,
            setting: "limits.record_bytes",
        }
    }

    fn checked_key(&self, key: Vec<u8>, place: Place) -> Result<Bytes, InputError> {
        let limit = self.options.key_bytes_max;
        if key.len() > limit.as_len() {
            return Err(InputError::TooLarge { what: "key", place, limit, setting: "limits.key_bytes" });
        }
        Ok(key.into())
    }
}

impl<R: Read> Iterator for Input<R> {
    type Item = Result<InputRecord, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read_record().transpose();
        match &next {
            Some(Ok(_)) => self.record += 1,
            Some(Err(_)) | None => self.ended = true,
        }
        next
    }
}

/// Reads a record's time: whole microseconds since 1970, or RFC 3339.
fn read_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(micros) = text.parse() {
        return Ok(Timestamp(micros));
    }
    super::time::parse_rfc3339(text)
        .map_err(|_| format!("`{text}` is neither rfc 3339 nor whole microseconds since 1970-01-01"))
}

#[cfg(test)]
mod tests;
