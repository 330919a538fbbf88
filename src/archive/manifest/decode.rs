//! Reads manifests.
//!
//! The bytes come piece by piece, and none is kept once its line is read: what a manifest takes in memory are its entries, some
//! 200 bytes for each segment. Nothing of a manifest is given to anybody before its last line was found right.

use super::encode::end_line;
use super::{Entry, FORMAT, LINE_BYTES_MAX, ManifestHead, ManifestMark, ManifestNumber};
use crate::avro::Sha256;
use crate::error::{Error, ErrorKind, Result};
use crate::types::CollectionName;

/// The longest manifest that is read, in bytes: a checkpoint of some ten million segments.
pub const MANIFEST_BYTES_MAX: u64 = 8 << 30;

/// A manifest that was found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its first line.
    pub head: ManifestHead,
    /// What it says.
    pub entries: Vec<Entry>,
    /// What identifies it.
    pub mark: ManifestMark,
    /// Length of the object in bytes.
    pub bytes: u64,
}

/// Reads the bytes of the manifest with this number.
///
/// # Errors
/// `Corrupt` where they are not what was written, or are those of another number; `Unsupported` for a newer format and an unknown entry. Both name
/// the manifest.
pub fn decode(number: ManifestNumber, bytes: &[u8]) -> Result<Manifest> {
    let mut decoder = Decoder::new(number);
    decoder.push(bytes)?;
    decoder.finish()
}

/// Reads one manifest piece by piece.
pub(in crate::archive) struct Decoder {
    number: ManifestNumber,
    head: Option<ManifestHead>,
    entries: Vec<Entry>,
    /// Bytes of a line whose end has not come.
    rest: Vec<u8>,
    /// A line that may be the last one.
    end: Option<Vec<u8>>,
    /// The first line that could not be read. It is told once the bytes are known to be those that were written.
    unreadable: Option<Error>,
    /// Over the lines before `end`.
    before_end: Sha256,
    /// Over everything.
    all: Sha256,
    lines: u64,
    bytes: u64,
    /// Entries of one collection mostly stand together, and share its name.
    name: Option<CollectionName>,
}

impl Decoder {
    pub fn new(number: ManifestNumber) -> Self {
        Self {
            number,
            head: None,
            entries: Vec::new(),
            rest: Vec::new(),
            end: None,
            unreadable: None,
            before_end: Sha256::new(),
            all: Sha256::new(),
            lines: 0,
            bytes: 0,
            name: None,
        }
    }

    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        let message = format!("a manifest is damaged: manifest=`{}`, {what}", self.number);
        Error::new(ErrorKind::Corrupt, message).with_hint(crate::archive::chain::HINT)
    }

    fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        let message = format!("a manifest is of a newer icecore: manifest=`{}`, {what}", self.number);
        Error::new(ErrorKind::Unsupported, message).with_hint("use the newer program")
    }

    /// Reads on.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<()> {
        self.all.update(piece);
        self.bytes += piece.len() as u64;
        while let Some(at) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, after) = piece.split_at(at + 1);
            piece = after;
            if self.rest.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
        }
        self.rest.extend_from_slice(piece);
        if self.rest.len() > LINE_BYTES_MAX {
            return Err(self.damaged(format_args!("line=`{}`, what=`it is too long`", self.lines + 1)));
        }
        Ok(())
    }

    /// Each line, with its `\n`.
    fn line(&mut self, line: &[u8]) -> Result<()> {
        if self.end.is_some() {
            return Err(self.damaged("what=`lines behind the last one`"));
        }
        if self.lines > 0 && line.starts_with(b"{\"end\":") {
            self.end = Some(line.to_vec());
            return Ok(());
        }
        self.before_end.update(line);
        self.lines += 1;
        if self.unreadable.is_none()
            && let Err(error) = self.read(line)
        {
            self.unreadable = Some(error);
            self.entries = Vec::new();
        }
        Ok(())
    }

    fn read(&mut self, line: &[u8]) -> Result<()> {
        if self.head.is_none() {
            let head = self.read_head(line)?;
            self.head = Some(head);
            return Ok(());
        }
        let mut entry: Entry = match serde_json::from_slice(line) {
            Ok(entry) => entry,
            Err(error) => {
                let object: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(line).ok();
                let kind = object.as_ref().and_then(|object| object.keys().next());
                return Err(match kind {
                    Some(kind) if !Entry::KINDS.contains(&kind.as_str()) => {
                        self.unsupported(format_args!("line=`{}`, unknown entry=`{kind}`", self.lines))
                    }
                    _ => self.damaged(format_args!("line=`{}`, what=`{error}`", self.lines)),
                });
            }
        };
        if let Some(name) = entry.collection_mut() {
            match &self.name {
                Some(known) if known == name => *name = known.clone(),
                _ => self.name = Some(name.clone()),
            }
        }
        self.entries.push(entry);
        Ok(())
    }

    fn read_head(&self, line: &[u8]) -> Result<ManifestHead> {
        #[derive(serde::Deserialize)]
        struct Version {
            format: u32,
        }
        let wrong = |error: serde_json::Error| self.damaged(format_args!("line=`1`, what=`{error}`"));
        let Version { format } = serde_json::from_slice(line).map_err(wrong)?;
        if format != FORMAT {
            return Err(self.unsupported(format_args!("format=`{format}`, newest known=`{FORMAT}`")));
        }
        let head: ManifestHead = serde_json::from_slice(line).map_err(wrong)?;
        if head.number != self.number {
            return Err(self.damaged(format_args!("what=`it is another one`, found=`{}`", head.number)));
        }
        let is_sound = head.previous.is_none() == (head.number == head.begins)
            && (1..=head.base.0).contains(&head.begins.0)
            && head.base <= head.number
            && head.checkpoint == (head.base == head.number)
            && (!head.checkpoint || head.entries_since == 0);
        if !is_sound {
            return Err(self.damaged("line=`1`, what=`its numbers cannot be together`"));
        }
        Ok(head)
    }

    /// The manifest, when all of its bytes came.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn finish(self) -> Result<Manifest> {
        if !self.rest.is_empty() {
            return Err(self.damaged(format_args!("bytes=`{}`, what=`it ends within a line`", self.bytes)));
        }
        let Some(end) = &self.end else {
            return Err(self.damaged(format_args!("bytes=`{}`, what=`it has no end`", self.bytes)));
        };
        if *end != end_line(self.lines, &self.before_end.clone().finish()).as_bytes() {
            return Err(self.damaged("what=`its bytes are not those that its end tells`"));
        }
        if let Some(error) = self.unreadable {
            return Err(error);
        }
        let Some(head) = &self.head else { return Err(self.damaged("what=`it is empty`")) };
        let entries = self.entries.len() as u64;
        if head.checkpoint && head.base_entries != entries || !head.checkpoint && head.entries_since < entries {
            return Err(self.damaged(format_args!("entries=`{entries}`, what=`the head counts others`")));
        }
        let mark =
            ManifestMark { number: self.number, epoch: head.epoch, writer: head.writer, sha256: self.all.finish() };
        Ok(Manifest { head: head.clone(), entries: self.entries, mark, bytes: self.bytes })
    }
}
