//! Reads one segment: its end, its front, then any block by its range.
//!
//! Owns: the judgement whether a file is a segment, a newer one, or a damaged one, and that no record leaves it whose
//! checksum, sequence and place are not right. Does not own a cache: who reads a block twice keeps it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use crc32c::crc32c;

use super::block::Block;
use super::footer::{BlockEntry, Footer};
use super::header::{self, FILE_SEGMENT, FILE_STUB, HeaderFields};
use super::seal::{NoTail, Tail, read_tail};
use super::source::Counted;
use super::{Damage, FileRange, ReadRange, SegmentError, SegmentName, SequenceRange};
use crate::avro::AvroError;
use crate::avro::codec::{Codec, CodecError};
use crate::avro::container::{FileHeader, HEADER_BYTES_MAX, SYNC_BYTES, decode_block_header, decode_header};
use crate::avro::record::Seed;
use crate::fs::File;
use crate::types::{Record, Sequence, Timestamp};

/// How much of a file's front is read at once: holds every header with a name and schema like ours.
const FRONT_BYTES: usize = 8 << 10;

/// An open segment. Cheap to clone; all clones share the footer and the count of reads.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Counted,
    footer: Footer,
    codec: Codec,
    seed: Seed,
    /// Damage outside the data blocks that leaves every record readable.
    flaw: Option<Damage>,
    /// Length of the file; `None` where it was never asked for.
    len: Option<u64>,
}

/// A file's front: the header, and all its bytes.
pub(super) struct Front {
    pub header: Result<FileHeader, AvroError>,
    pub checksum: u32,
}

/// Reads the header, in one read unless it is uncommonly long.
pub(super) fn read_front(source: &dyn ReadRange, len: u64) -> Result<Front, SegmentError> {
    let mut bytes = FRONT_BYTES;
    loop {
        let want = bytes.min(usize::try_from(len).unwrap_or(usize::MAX));
        let front = source.read(0, want)?;
        let header = decode_header(&front);
        if header == Err(AvroError::Truncated) && want < len.min(HEADER_BYTES_MAX as u64) as usize {
            bytes = bytes.saturating_mul(8).min(HEADER_BYTES_MAX);
            continue;
        }
        let checksum = header.as_ref().map_or(0, |header| crc32c(&front[..header.len]));
        return Ok(Front { header, checksum });
    }
}

/// Judges front and end of a file together: the footer, or why the file gives none.
pub(super) fn judge(source: &dyn ReadRange, len: u64, file: &str) -> Result<Tail, SegmentError> {
    let path = source.path();
    let name = SegmentName::of_path(path);
    let tail = read_tail(source, len)?;
    let front = read_front(source, len)?;
    match (tail, front.header) {
        (Ok(mut tail), Ok(header)) => {
            let footer = &tail.footer;
            let fields = HeaderFields {
                file,
                codec: &footer.codec,
                log: footer.log,
                collection: &footer.collection,
                epoch: footer.epoch,
                generation: footer.generation,
            };
            // A stub carries the footer of its segment, whose header was another one.
            let intact = file != FILE_SEGMENT
                || (header.len as u64, front.checksum) == (footer.header_bytes, footer.header_checksum);
            if let Some(what) = header::newer(&header).filter(|_| intact) {
                return Err(SegmentError::Newer { path: path.to_path_buf(), what });
            }
            match header.text("icecore.file") {
                Some(found) if found != file && (intact || found == FILE_STUB) => {
                    return Err(SegmentError::foreign(path, format!("icecore.file=`{found}`, expected=`{file}`")));
                }
                _ => {}
            }
            if file == FILE_SEGMENT && (!intact || header.sync != footer.sync || !header::agrees(&header, &fields)) {
                tail.flaw = Some((0, "its header is not the one that was written"));
            }
            if file == FILE_SEGMENT && tail.seal_offset != footer.data_end() {
                tail.flaw = Some((footer.data_end(), "there are bytes between the last block and the SEAL block"));
            }
            Ok(tail)
        }
        (Ok(mut tail), Err(_)) => {
            tail.flaw = Some((0, "its header cannot be read"));
            Ok(tail)
        }
        (Err(NoTail { offset, what, sealed }), Ok(header)) => {
            let ours = header.text("icecore.file");
            let newer = header::newer(&header).filter(|_| ours.is_some());
            match (newer, ours) {
                (Some(what), _) => Err(SegmentError::Newer { path: path.to_path_buf(), what }),
                (None, Some(found)) if found == file || sealed => {
                    Err(SegmentError::damaged(path, offset, name.map(|name| name.covers), what))
                }
                (None, Some(found)) => {
                    Err(SegmentError::foreign(path, format!("icecore.file=`{found}`, expected=`{file}`")))
                }
                (None, None) if sealed => Err(SegmentError::damaged(path, offset, name.map(|name| name.covers), what)),
                (None, None) => Err(SegmentError::foreign(path, "an Avro file without icecore's metadata")),
            }
        }
        (Err(NoTail { offset, what, sealed: true }), Err(_)) => {
            Err(SegmentError::damaged(path, offset, name.map(|name| name.covers), what))
        }
        (Err(_), Err(error)) => Err(SegmentError::foreign(path, error.to_string())),
    }
}

impl SegmentReader {
    /// Opens a segment in a file.
    ///
    /// # Errors
    /// As [`open_range`](Self::open_range).
    pub fn open(file: Arc<dyn File>) -> Result<Self, SegmentError> {
        Self::open_range(Arc::new(FileRange(file)))
    }

    /// Opens a segment wherever it is, with two reads (more for a footer above 64 KiB). No data block is read.
    ///
    /// A file whose header or SEAL block is damaged while its footer is whole does open, and says so by
    /// [`flaw`](Self::flaw): its records can be read, and are verified one by one.
    ///
    /// # Errors
    /// [`SegmentError::NotASegment`] for another kind of file, [`SegmentError::Newer`] for a format or codec that this
    /// program does not know, [`SegmentError::Damaged`] without a readable footer, or what failed while reading.
    pub fn open_range(source: Arc<dyn ReadRange>) -> Result<Self, SegmentError> {
        let reader = Self::open_unnamed(source)?;
        let (footer, path) = (reader.footer(), reader.source().path());
        let named = SegmentName::segment(footer.covers, footer.generation);
        match SegmentName::of_path(path).filter(|name| *name != named) {
            Some(_) => {
                let what = format!("its footer is of `{named}`, its name is another");
                Err(SegmentError::damaged(path, 0, Some(footer.covers), what))
            }
            None => Ok(reader),
        }
    }

    /// [`open_range`](Self::open_range), whatever the file's name says.
    pub(super) fn open_unnamed(source: Arc<dyn ReadRange>) -> Result<Self, SegmentError> {
        let source = Counted { inner: source, reads: 0.into() };
        let len = source.len()?;
        let tail = judge(&source, len, FILE_SEGMENT)?;
        let covers = tail.footer.covers;
        let flaw = tail.flaw.map(|(offset, what)| Damage {
            path: source.path().to_path_buf(),
            offset,
            what: what.to_owned(),
            sequences: None,
        });
        if tail.footer.data_end() > len {
            let what = "its index points beyond its end";
            return Err(SegmentError::damaged(source.path(), len, Some(covers), what));
        }
        Self::new(source, tail.footer, flaw, Some(len))
    }

    /// Reads a segment by a footer that is known already, as from its stub: nothing is read until a block is.
    ///
    /// # Errors
    /// [`SegmentError::Newer`] for a codec that this program does not know.
    pub fn with_footer(source: Arc<dyn ReadRange>, footer: Footer) -> Result<Self, SegmentError> {
        Self::new(Counted { inner: source, reads: 0.into() }, footer, None, None)
    }

    fn new(source: Counted, footer: Footer, flaw: Option<Damage>, len: Option<u64>) -> Result<Self, SegmentError> {
        let codec = Codec::from_name(&footer.codec).map_err(|_| SegmentError::Newer {
            path: source.path().to_path_buf(),
            what: format!("avro.codec=`{}`, known=`null, zstandard, deflate`", footer.codec),
        })?;
        let seed = Seed::of(&footer.collection);
        Ok(Self { inner: Arc::new(Inner { source, footer, codec, seed, flaw, len }) })
    }

    /// What the segment says of itself.
    #[must_use]
    pub fn footer(&self) -> &Footer {
        &self.inner.footer
    }

    /// Damage to header or SEAL block that leaves footer and records readable.
    #[must_use]
    pub fn flaw(&self) -> Option<&Damage> {
        self.inner.flaw.as_ref()
    }

    /// Where it reads from.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn ReadRange> {
        &self.inner.source.inner
    }

    /// Length of the file in bytes, as far as it was asked for.
    #[must_use]
    pub fn file_bytes(&self) -> Option<u64> {
        self.inner.len
    }

    /// How many reads were made, those of opening included.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.inner.source.reads.load(Ordering::Relaxed)
    }

    /// How many data blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.footer().blocks.len()
    }

    /// Reads a block with one read, and verifies all of it: its checksum, then every record's, and that they are the very
    /// sequences that the index promises. Who needs the block again keeps it; the reader does not.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] with the block's sequences, or what failed while reading.
    ///
    /// # Panics
    /// When there is no block `number`.
    pub fn block(&self, number: usize) -> Result<Block, SegmentError> {
        let entry = &self.footer().blocks[number];
        let raw = self.raw_block(entry)?;
        let damaged =
            |what: &str| SegmentError::damaged(self.inner.source.path(), entry.offset, Some(entry.held), what);
        if crc32c(&raw) != entry.checksum {
            return Err(damaged("a block's checksum is wrong"));
        }
        let bytes = unpack(&raw, self.inner.codec, self.footer().sync, entry).map_err(|error| damaged(&error))?;
        let (block, faults) = Block::parse(bytes, self.inner.seed);
        if let Some(fault) = faults.first() {
            return Err(damaged(fault.what));
        }
        self.fits(&block, entry).map_err(damaged)?;
        Ok(block)
    }

    pub(super) fn raw_block(&self, entry: &BlockEntry) -> Result<Bytes, SegmentError> {
        let bytes = usize::try_from(entry.bytes).unwrap_or(usize::MAX);
        self.inner.source.read(entry.offset, bytes)
    }

    /// What still can be read of a block that is damaged.
    pub(super) fn salvage(&self, entry: &BlockEntry) -> Option<Block> {
        let raw = self.raw_block(entry).ok()?;
        let bytes = unpack(&raw, self.inner.codec, self.footer().sync, entry).ok()?;
        Some(Block::parse(bytes, self.inner.seed).0)
    }

    /// Whether a block of intact, ascending records holds what the index says. The footer is known to agree with itself,
    /// so number, ends and absence of removed ones settle that no sequence is missing.
    fn fits(&self, block: &Block, entry: &BlockEntry) -> Result<(), &'static str> {
        let ends = block.view(0).zip(block.view(block.len().saturating_sub(1)));
        let ends = ends.map(|(first, last)| (first.sequence, last.sequence));
        if block.len() as u64 != entry.records || ends != Some((entry.held.first.0, entry.held.last.0)) {
            return Err("a block does not hold the sequences that the index promises");
        }
        // Only where something was removed is there more to ask.
        if entry.held.count() != entry.records
            && block.views().any(|record| self.footer().is_removed(Sequence(record.sequence)))
        {
            return Err("a block holds sequences that were removed");
        }
        Ok(())
    }

    /// Reads the block that spans `sequence`; `None` where no block does.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub fn block_holding(&self, sequence: Sequence) -> Result<Option<Block>, SegmentError> {
        self.footer().block_holding(sequence).map(|number| self.block(number)).transpose()
    }

    /// The record with this sequence; `None` where the segment does not hold it.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub fn get(&self, sequence: Sequence) -> Result<Option<Record>, SegmentError> {
        Ok(self.block_holding(sequence)?.and_then(|block| block.get(sequence)))
    }

    /// The newest record with `key`, put or delete, expired or not. Reads nothing where the footer denies the key; else
    /// blocks from the last one backwards, until it is found.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub fn find_newest(&self, key: &[u8]) -> Result<Option<Record>, SegmentError> {
        if !self.may_hold_key(key) {
            return Ok(None);
        }
        for number in (0..self.blocks()).rev() {
            let block = self.block(number)?;
            if let Some(record) = block.views().rev().find(|record| record.key == Some(key)) {
                return Ok(record.to_record(block.bytes()).ok());
            }
        }
        Ok(None)
    }

    /// Whether a record with `key` may be there; `false` is certain. Reads nothing.
    #[must_use]
    pub fn may_hold_key(&self, key: &[u8]) -> bool {
        self.footer().may_hold_key(key)
    }

    /// The blocks that may hold a record of a time from `from` to `until`, both included. Reads nothing.
    pub fn blocks_in_time(&self, from: Timestamp, until: Timestamp) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.footer().blocks_in_time(from, until)
    }

    /// The records from `from` on, ascending. One block is in memory at a time. Ends after the first error.
    #[must_use]
    pub fn records_from(&self, from: Sequence) -> Records {
        let next = self.footer().blocks.partition_point(|block| block.held.last < from);
        Records { reader: self.clone(), backwards: false, bound: from, next: Some(next), block: None }
    }

    /// The records from `from` down, descending.
    #[must_use]
    pub fn records_back_from(&self, from: Sequence) -> Records {
        let next = self.footer().blocks.partition_point(|block| block.held.first <= from).checked_sub(1);
        Records { reader: self.clone(), backwards: true, bound: from, next, block: None }
    }
}

/// A block's records, from its bytes in the file: header, sizes, sync marker, then the codec.
fn unpack(raw: &Bytes, codec: Codec, sync: [u8; SYNC_BYTES], entry: &BlockEntry) -> Result<Bytes, String> {
    let header = decode_block_header(raw).map_err(|error| error.to_string())?;
    if header.count != entry.records || header.span() != raw.len() as u64 {
        return Err("a block's header is not what the index promises".to_owned());
    }
    let end = raw.len() - SYNC_BYTES;
    if raw[end..] != sync {
        return Err("a block's sync marker is wrong".to_owned());
    }
    let limit = usize::try_from(entry.bytes_before).unwrap_or(usize::MAX);
    let bytes = codec.decompress(&raw.slice(header.len..end), limit).map_err(|error: CodecError| error.to_string())?;
    if bytes.len() != limit { Err("a block has fewer bytes than the index promises".to_owned()) } else { Ok(bytes) }
}

/// Records of one segment in order; see [`SegmentReader::records_from`].
#[derive(Debug)]
pub struct Records {
    reader: SegmentReader,
    backwards: bool,
    bound: Sequence,
    /// The block to read next; `None` at the end.
    next: Option<usize>,
    /// The block being read, and the place of the next record in it (backwards: the place after it).
    block: Option<(Block, usize)>,
}

impl Iterator for Records {
    type Item = Result<Record, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((block, at)) = &mut self.block {
                let place = if self.backwards { at.checked_sub(1) } else { Some(*at) };
                if let Some(record) = place.and_then(|place| block.record(place)) {
                    *at = if self.backwards { *at - 1 } else { *at + 1 };
                    return Some(Ok(record));
                }
            }
            self.block = None;
            let number = self.next.filter(|number| *number < self.reader.blocks())?;
            self.next = if self.backwards { number.checked_sub(1) } else { Some(number + 1) };
            match self.reader.block(number) {
                Ok(block) => {
                    let after = if self.backwards { self.bound.next() } else { self.bound };
                    let at = block.position(after);
                    self.block = Some((block, at));
                }
                Err(error) => {
                    self.next = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Records {
    /// The range of sequences that the segment holds, whichever of them were asked for.
    #[must_use]
    pub fn held(&self) -> Option<SequenceRange> {
        self.reader.footer().held
    }
}
