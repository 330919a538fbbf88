//! A journal's file: its name, its header, and the handle that says whether it may be released (J2, J3).
//!
//! Owns: file names, the header page, the count of what still lives in the file. Does not own: groups, or who writes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crc32c::{crc32c, crc32c_append};

use super::group;
use crate::avro::container::{FileHeader, SYNC_BYTES, decode_header, encode_header};
use crate::avro::{AvroError, FORMAT_VERSION, RECORD_SCHEMA};
use crate::fs::File;
use crate::types::ids::{from_hex, hex};
use crate::types::{Epoch, LogId};

/// Bytes of a journal's header; groups start here.
pub const HEADER_BYTES: u64 = 4096;
/// The journals' folder in a directory.
pub const JOURNAL_FOLDER: &str = ".journal";

const CHECKSUM_DIGITS: usize = 8;

/// Identity of one life of a file, random; the file's sync marker too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub [u8; 16]);

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Names a journal: the epoch that began it, and its number there. Ordered by time of birth.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalNumber {
    /// The epoch that began it.
    pub epoch: Epoch,
    /// Its number in that epoch, from 0.
    pub number: u64,
}

impl fmt::Display for JournalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{:010}", self.epoch.0, self.number)
    }
}

impl fmt::Debug for JournalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a journal file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JournalKind {
    /// Takes appends, or took them.
    Hot,
    /// Holds the remainders of quiet collections (R2).
    Cold,
}

impl JournalKind {
    /// As in the file's metadata.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Hot => "journal",
            Self::Cold => "cold",
        }
    }
}

/// The name of a journal's file. Names are never used again for other content (F4), since epochs only grow.
#[must_use]
pub fn file_name(kind: JournalKind, journal: JournalNumber) -> String {
    match kind {
        JournalKind::Hot => format!("{journal}.avro"),
        JournalKind::Cold => format!("cold-{journal}.avro"),
    }
}

/// The journal behind a file name; `None` for other names.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<(JournalKind, JournalNumber)> {
    let (kind, rest) = match name.strip_prefix("cold-") {
        Some(rest) => (JournalKind::Cold, rest),
        None => (JournalKind::Hot, name),
    };
    let (epoch, number) = rest.strip_suffix(".avro")?.split_once('-')?;
    let journal = JournalNumber { epoch: Epoch(epoch.parse().ok()?), number: number.parse().ok()? };
    (file_name(kind, journal) == name).then_some((kind, journal))
}

/// What a journal's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalHeader {
    /// What the file is for.
    pub kind: JournalKind,
    /// The log it belongs to.
    pub log: LogId,
    /// Which journal.
    pub journal: JournalNumber,
    /// Which life of the file.
    pub file_id: FileId,
}

/// Why a file's header is not that of a journal that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No header, or a damaged one.
    #[error("the header is damaged")]
    Damaged,
    /// Whole, but of a newer format.
    #[error("written by a newer icecore: format_version=`{version}`, features=`{features}`, newest known=`{known}`", known = FORMAT_VERSION)]
    Newer {
        /// Its format version.
        version: String,
        /// Bits of what a reader must know.
        features: String,
    },
}

impl JournalHeader {
    /// The header page: [`HEADER_BYTES`] long, with its own checksum as the last metadata value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let version = FORMAT_VERSION.to_string();
        let (log, file_id) = (self.log.to_string(), hex(&self.file_id.0));
        let (epoch, number) = (self.journal.epoch.to_string(), self.journal.number.to_string());
        let zeros = [b'0'; CHECKSUM_DIGITS];
        let page = |pad: &[u8]| {
            let metadata: [(&str, &[u8]); 11] = [
                ("avro.schema", RECORD_SCHEMA.as_bytes()),
                ("avro.codec", b"null"),
                ("icecore.format_version", version.as_bytes()),
                ("icecore.features", b"0"),
                ("icecore.encryption_key_id", b""),
                ("icecore.file", self.kind.text().as_bytes()),
                ("icecore.log", log.as_bytes()),
                ("icecore.epoch", epoch.as_bytes()),
                ("icecore.journal", number.as_bytes()),
                ("icecore.pad", pad),
                ("icecore.header_checksum", &zeros),
            ];
            encode_header(&metadata, self.file_id.0)
        };
        debug_assert_eq!(file_id.len(), 32);
        let room = HEADER_BYTES as usize - page(b"").len();
        // From 64 bytes on the pad's own length takes a second byte.
        let mut page = page(&vec![b' '; if room <= 63 { room } else { room - 1 }]);
        debug_assert_eq!(page.len() as u64, HEADER_BYTES);
        let checksum = format!("{:08x}", crc32c(&page));
        let at = page.len() - SYNC_BYTES - 1 - CHECKSUM_DIGITS;
        page[at..at + CHECKSUM_DIGITS].copy_from_slice(checksum.as_bytes());
        page
    }

    /// Reads a header page.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn decode(page: &[u8]) -> Result<Self, HeaderError> {
        let header = decode_header(page).map_err(|_: AvroError| HeaderError::Damaged)?;
        let page = page.get(..header.len).ok_or(HeaderError::Damaged)?;
        let at = header.len.checked_sub(SYNC_BYTES + 1 + CHECKSUM_DIGITS).ok_or(HeaderError::Damaged)?;
        let covered = crc32c(&page[..at]);
        let covered = crc32c_append(covered, &[b'0'; CHECKSUM_DIGITS]);
        let covered = crc32c_append(covered, &page[at + CHECKSUM_DIGITS..]);
        if header.text("icecore.header_checksum") != Some(&format!("{covered:08x}")) {
            return Err(HeaderError::Damaged);
        }
        let text = |name| header.text(name).ok_or(HeaderError::Damaged);
        check_version(&header)?;
        if header.len as u64 != HEADER_BYTES || text("avro.codec")? != "null" {
            return Err(HeaderError::Damaged);
        }
        let kind = match text("icecore.file")? {
            "journal" => JournalKind::Hot,
            "cold" => JournalKind::Cold,
            _ => return Err(HeaderError::Damaged),
        };
        let number = |name| text(name)?.parse::<u64>().map_err(|_| HeaderError::Damaged);
        Ok(Self {
            kind,
            log: LogId(from_hex(text("icecore.log")?).ok_or(HeaderError::Damaged)?),
            journal: JournalNumber { epoch: Epoch(number("icecore.epoch")?), number: number("icecore.journal")? },
            file_id: FileId(header.sync),
        })
    }
}

/// Refuses a file of a newer format, or with features that this program does not know (F3).
fn check_version(header: &FileHeader) -> Result<(), HeaderError> {
    let version = header.text("icecore.format_version").ok_or(HeaderError::Damaged)?;
    let features = header.text("icecore.features").ok_or(HeaderError::Damaged)?;
    if version == FORMAT_VERSION.to_string() && features == "0" {
        Ok(())
    } else {
        Err(HeaderError::Newer { version: version.into(), features: features.into() })
    }
}

/// A journal file in use: where records lie, and how many runs of them still live only here.
#[derive(Debug)]
pub struct JournalFile {
    /// Hot or cold.
    pub kind: JournalKind,
    /// Which journal.
    pub journal: JournalNumber,
    /// Which life of the file.
    pub file_id: FileId,
    /// Where it is.
    pub path: PathBuf,
    file: Arc<dyn File>,
    live_runs: AtomicU64,
    live_bytes: AtomicU64,
    bytes: AtomicU64,
    finished: AtomicBool,
    damaged: AtomicBool,
}

impl JournalFile {
    /// Takes an open file; nothing lives in it yet.
    #[must_use]
    pub fn new(kind: JournalKind, journal: JournalNumber, file_id: FileId, path: &Path, file: Arc<dyn File>) -> Self {
        Self {
            kind,
            journal,
            file_id,
            path: path.to_path_buf(),
            file,
            live_runs: 0.into(),
            live_bytes: 0.into(),
            bytes: 0.into(),
            finished: false.into(),
            damaged: false.into(),
        }
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// One more run of `bytes` lives here.
    pub fn add_run(&self, bytes: u64) {
        self.live_runs.fetch_add(1, Ordering::AcqRel);
        self.live_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A run of `bytes` is durable elsewhere; whether it was the last one here.
    pub fn drop_run(&self, bytes: u64) -> bool {
        self.live_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.live_runs.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Runs that live only here.
    #[must_use]
    pub fn live_runs(&self) -> u64 {
        self.live_runs.load(Ordering::Acquire)
    }

    /// Bytes of the runs that live only here.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Acquire)
    }

    /// Bytes of all runs that were ever counted here.
    #[must_use]
    pub fn run_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// No more groups will come.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    /// Whether no more groups will come.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Whether nothing lives here any more, and nothing will (R1).
    #[must_use]
    pub fn is_releasable(&self) -> bool {
        self.is_finished() && self.live_runs() == 0
    }

    /// Bytes of it were lost: it is evidence, and set aside instead of used again.
    pub fn note_damage(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    /// Whether bytes of it were lost.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}

/// The whole content of an empty journal of `len` bytes besides zeros: what to write where. Header page and first PAD
/// go to the front, the sync marker to the end.
#[must_use]
pub fn empty_file(header: &JournalHeader, len: u64) -> (Vec<u8>, [u8; SYNC_BYTES]) {
    let mut front = header.encode();
    group::encode_pad(&mut front, len - HEADER_BYTES, header.file_id);
    (front, header.file_id.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> JournalHeader {
        JournalHeader {
            kind: JournalKind::Hot,
            log: LogId([3; 16]),
            journal: JournalNumber { epoch: Epoch(7), number: 9 },
            file_id: FileId([0xa5; 16]),
        }
    }

    #[test]
    fn headers_round_trip_and_every_flipped_byte_is_found() {
        let page = header().encode();
        assert_eq!(page.len() as u64, HEADER_BYTES);
        assert_eq!(JournalHeader::decode(&page), Ok(header()));
        for at in 0..page.len() {
            let mut damaged = page.clone();
            damaged[at] ^= 0x10;
            assert_eq!(JournalHeader::decode(&damaged), Err(HeaderError::Damaged), "at {at}");
        }
    }

    #[test]
    fn names_round_trip_and_others_are_not_ours() {
        let journal = JournalNumber { epoch: Epoch(12), number: 3 };
        assert_eq!(file_name(JournalKind::Hot, journal), "0000000012-0000000003.avro");
        for kind in [JournalKind::Hot, JournalKind::Cold] {
            assert_eq!(parse_file_name(&file_name(kind, journal)), Some((kind, journal)));
        }
        for other in ["12-3.avro", "free-1", "x.avro", "0000000012-0000000003.avro.tmp", "0000000012-+000000003.avro"] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
