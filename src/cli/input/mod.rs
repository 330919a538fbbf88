//! Reads records out of files and pipes: lines, JSON objects, stanzas, and our own Avro files.
//!
//! Owns: opening an input, where a record begins and ends, what its payload, key and time are, where it stood, which
//! records make a batch. Does not own: appending.
//!
//! What always holds: payloads are exact bytes of the input (of `vectors`: all that they say), in its order, and no byte that belongs to a
//! record is in none.
//! A record is handed out before an error that comes after it. Memory is bounded by the largest record allowed, whatever
//! the input is; a record above it is refused by its line as soon as it is seen to be too large.
//!
//! | format | a record is | its payload |
//! |---|---|---|
//! | `lines` | a line, also an empty one | the line without its newline; a carriage return stays |
//! | `ndjson` | a line with a JSON object; blank lines are skipped | the line without its newline |
//! | `stanzas` | lines up to an empty line, or the end (as in RFC 822); further empty lines are skipped | the lines with the last newline, without the empty line |
//! | `vectors` | a line with a JSON object of `id`, `vector`, `metadata`; blank lines are skipped | the vector, as `schema/vector.avsc` says; the key is the id |
//! | `avro` | a record of a segment, of a journal, or of `cat --format avro` | that record's; key, time, expiry, headers and kind too |

mod avro;
mod avro_schema;
mod batches;
mod buffer;
mod lines;
mod ndjson;
mod open;
mod stanzas;
mod vectors;

use std::io::Read;

use bytes::Bytes;

use crate::config::ByteSize;
use crate::types::{CollectionName, NewRecord, Timestamp};

use avro::AvroReader;
pub use batches::{Batches, HEADER_OVERHEAD_BYTES, Next};
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
    /// Each line is a JSON object with `id`, `vector` and maybe `metadata`
    Vectors,
    /// The records of a segment, a journal, or `cat --format avro`, with all that they have
    Avro,
}

impl InputFormat {
    /// As on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Ndjson => "ndjson",
            Self::Stanzas => "stanzas",
            Self::Vectors => "vectors",
            Self::Avro => "avro",
        }
    }
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
    /// Whose records are taken out of a journal, which may hold those of several collections.
    pub collection: Option<CollectionName>,
}

/// One record of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    /// What is to be appended.
    pub record: NewRecord,
    /// Where the record stood.
    pub place: Place,
}

impl InputRecord {
    /// A record with the exact bytes of an input, and what its fields say.
    fn put(payload: Bytes, key: Option<Bytes>, timestamp: Option<Timestamp>, place: Place) -> Self {
        Self { record: NewRecord { key, timestamp, ..NewRecord::payload(payload) }, place }
    }
}

/// Where a record stands in its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 1.
    pub record: u64,
    /// Its first line, from 1; 0 where there are no lines.
    pub line: u64,
    /// The offset of its first byte; of an Avro file, that of its block.
    pub offset: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, "line=`{}`, ", self.line)?;
        }
        write!(f, "record=`{}`, offset=`{}`", self.record, self.offset)
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
    #[error("format has no fields: format=`{format}`, asked for=`{field}`")]
    NoFields {
        /// What the input is read as.
        format: &'static str,
        /// What was asked for.
        field: String,
    },
    /// An Avro file, but not of our records.
    #[error("input is an avro file of other records: schema=`{schema}`, wanted=`icecore.Record`")]
    ForeignSchema {
        /// The full name of its schema, or its beginning.
        schema: String,
    },
    /// A file that a newer program wrote, or with a codec that is unknown.
    #[error("input is an avro file that this program cannot read: {what}")]
    Newer {
        /// The name and value that are not known, as key=`value`.
        what: String,
    },
    /// Bytes that are not what was written.
    #[error("input is damaged: {place}; {why}")]
    Damaged {
        /// Which record.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// A journal without any record of the collection that is appended to.
    #[error("journal holds no record of the collection: collection=`{collection}`, holds=`{holds}`")]
    NotInJournal {
        /// What was looked for.
        collection: CollectionName,
        /// What is there.
        holds: String,
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
            Self::NoFields { format: "vectors", .. } => Some("the key of each vector is its id".to_owned()),
            Self::NoFields { format: "avro", .. } => Some("each record has its own key and time there".to_owned()),
            Self::NoFields { .. } => Some("use --format ndjson or stanzas with --key and --timestamp".to_owned()),
            Self::ForeignSchema { .. } => {
                Some("--format avro takes segments, journals, and the output of `cat --format avro`".to_owned())
            }
            Self::Newer { .. } => Some("use the icecore that wrote it, or a newer one".to_owned()),
            Self::Damaged { .. } => {
                Some("records before it are unharmed; `icecore inspect FILE` says what a file still holds".to_owned())
            }
            Self::NotInJournal { .. } => {
                Some("append to a collection of a name that is there (of another log, if need be)".to_owned())
            }
            Self::Read { .. } => None,
        }
    }
}

/// The records of an input, one after another. After an error it gives nothing more.
pub struct Input<R> {
    reader: Reader<R>,
    options: InputOptions,
    /// How many dimensions each vector must have.
    dimensions: Option<usize>,
    record: u64,
    ended: bool,
}

/// How bytes become records.
enum Reader<R> {
    Text(LineReader<R>),
    Avro(Box<AvroReader<R>>),
}

impl<R: Read> Input<R> {
    /// Reads `reader` as `options` say, with a buffer of its own.
    ///
    /// # Errors
    /// [`InputError::NoFields`] where the format cannot give what was asked for; of an Avro file, whose header is read
    /// here, also why it cannot be read.
    pub fn new(reader: R, options: InputOptions) -> Result<Self, InputError> {
        if matches!(options.format, InputFormat::Lines | InputFormat::Vectors | InputFormat::Avro)
            && let Some(field) = options.key.as_ref().or(options.timestamp.as_ref())
        {
            return Err(InputError::NoFields { format: options.format.word(), field: field.clone() });
        }
        let reader = match options.format {
            InputFormat::Avro => Reader::Avro(Box::new(AvroReader::open(reader, &options)?)),
            _ => Reader::Text(LineReader::new(reader)),
        };
        Ok(Self { reader, options, dimensions: None, record: 0, ended: false })
    }

    /// Refuses vectors of other dimensions (the collection's setting `vector.dimensions`).
    #[must_use]
    pub const fn with_dimensions(mut self, dimensions: Option<usize>) -> Self {
        self.dimensions = dimensions;
        self
    }

    fn read_record(&mut self) -> Result<Option<InputRecord>, InputError> {
        match (&mut self.reader, self.options.format) {
            (Reader::Avro(reader), _) => reader.read_record(self.record + 1),
            (Reader::Text(_), InputFormat::Ndjson) => self.read_ndjson_record(),
            (Reader::Text(_), InputFormat::Stanzas) => self.read_stanza_record(),
            (Reader::Text(_), InputFormat::Vectors) => self.read_vector_record(),
            (Reader::Text(_), _) => self.read_line_record(),
        }
    }

    fn lines(&self) -> &LineReader<R> {
        match &self.reader {
            Reader::Text(lines) => lines,
            Reader::Avro(_) => unreachable!("only formats of lines are read by lines"),
        }
    }

    fn lines_mut(&mut self) -> &mut LineReader<R> {
        match &mut self.reader {
            Reader::Text(lines) => lines,
            Reader::Avro(_) => unreachable!("only formats of lines are read by lines"),
        }
    }

    /// Whether the next record needs no further read: its bytes are in the buffer, or the input has ended.
    ///
    /// A writer that collects batches asks this before it goes on, so that records which have arrived are not held back
    /// by a pipe that is slow with the next one.
    pub fn has_buffered(&self) -> bool {
        match (&self.reader, self.options.format) {
            (Reader::Avro(reader), _) => reader.has_buffered(),
            (Reader::Text(lines), InputFormat::Stanzas) => lines.has_end_of_stanza(),
            (Reader::Text(lines), InputFormat::Ndjson | InputFormat::Vectors) => lines.has_line_with_content(),
            (Reader::Text(lines), _) => lines.has_line(),
        }
    }

    /// Where the record stands whose first byte comes next.
    fn place(&self) -> Place {
        Place { record: self.record + 1, line: self.lines().line(), offset: self.lines().offset() }
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
