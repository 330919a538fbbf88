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
use super::header::FILE_SEGMENT;
use super::open::judge;
use super::seal::read_tail;
use super::source::Counted;
use super::{Damage, FileRange, ReadRange, Records, SegmentError, SegmentName};
use crate::avro::codec::{Codec, CodecError};
use crate::avro::container::{SYNC_BYTES, decode_block_header};
use crate::avro::record::Seed;
use crate::fs::File;
use crate::types::{Record, Sequence, Timestamp};

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

    /// Opens a segment by its end alone, with one read (two for a footer above 64 KiB): for a source where each read costs. What
    /// lies before the SEAL block is not looked at until a block is read, so there is no [`flaw`](Self::flaw) of the header.
    ///
    /// # Errors
    /// As [`open_range`](Self::open_range); a file that ends in no segment's trailer is [`SegmentError::Damaged`].
    pub fn open_end(source: Arc<dyn ReadRange>) -> Result<Self, SegmentError> {
        let source = Counted { inner: source, reads: 0.into() };
        let len = source.len()?;
        let mut tail = read_tail(&source, len);
        if matches!(tail, Ok(Err(_)) | Err(SegmentError::Damaged(_))) && source.distrust() {
            tail = read_tail(&source, len);
        }
        let tail = tail?.map_err(|none| SegmentError::damaged(source.path(), none.offset, None, none.what))?;
        if tail.footer.data_end() > tail.seal_offset {
            let what = "its index points beyond its end";
            return Err(SegmentError::damaged(source.path(), len, Some(tail.footer.covers), what));
        }
        Self::new(source, tail.footer, None, Some(len))
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
        match self.read_block(entry) {
            Err(SegmentError::Damaged(_)) if self.inner.source.distrust() => self.read_block(entry),
            read => read,
        }
    }

    /// Says that these blocks will be read soon ([`ReadRange::prepare`]).
    ///
    /// # Panics
    /// When one of them is not there.
    pub fn prepare(&self, blocks: std::ops::RangeInclusive<usize>) {
        let part = |entry: &BlockEntry| (entry.offset, usize::try_from(entry.bytes).unwrap_or(usize::MAX));
        let parts: Vec<(u64, usize)> = self.footer().blocks[blocks].iter().map(part).collect();
        self.inner.source.prepare(&parts);
    }

    fn read_block(&self, entry: &BlockEntry) -> Result<Block, SegmentError> {
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

    /// A block's bytes as they lie; damage to them is damage to its sequences.
    fn raw_block(&self, entry: &BlockEntry) -> Result<Bytes, SegmentError> {
        let bytes = usize::try_from(entry.bytes).unwrap_or(usize::MAX);
        self.inner.source.read(entry.offset, bytes).map_err(|error| match error {
            SegmentError::Damaged(damage) => Damage { sequences: Some(entry.held), ..damage }.into(),
            other => other,
        })
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
        Records::ascending(self.clone(), from)
    }

    /// The records from `from` down, descending.
    #[must_use]
    pub fn records_back_from(&self, from: Sequence) -> Records {
        Records::descending(self.clone(), from)
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
