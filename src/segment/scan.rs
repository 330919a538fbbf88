//! Salvage: what a damaged or cut segment still holds, so that a quarantine can say which sequences it costs.
//!
//! Owns: reading without trust in anything but the records' own checksums. With a footer it goes by the index; without
//! one it walks the blocks from the front, and past damage to the next sync marker. It never changes the file.

use std::sync::Arc;

use bytes::Bytes;

use super::block::Block;
use super::header::FILE_SEGMENT;
use super::open::{judge, read_front};
use super::{Damage, ReadRange, SegmentError, SegmentName, SegmentReader, SequenceRange};
use crate::avro::codec::Codec;
use crate::avro::container::{BlockHeader, SYNC_BYTES, decode_block_header};
use crate::avro::record::{RecordView, Seed, decode, kind};
use crate::avro::varint::LONG_BYTES_MAX;
use crate::types::{CollectionName, Sequence};

/// A block that claims to be longer than this, stored or decompressed, is not read.
const BLOCK_BYTES_MAX: usize = 128 << 20;
/// How much is read at once while searching for a sync marker.
const SEARCH_BYTES: usize = 1 << 20;

/// What a file holds, whatever its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The collection, by footer or header.
    pub collection: CollectionName,
    /// What the segment covers, by footer or file name; `None` where neither tells.
    pub covers: Option<SequenceRange>,
    /// Whether the footer could be read.
    pub sealed: bool,
    /// How many records are intact.
    pub records: u64,
    /// The sequences of those, in ascending order of their places, neighbours joined.
    pub held: Vec<SequenceRange>,
    /// What compaction removed, where the footer tells.
    pub removed: Vec<SequenceRange>,
    /// Everything found wrong, in order of offset.
    pub damage: Vec<Damage>,
}

impl Scan {
    /// The sequences that the file should hold and does not, where what it covers is known.
    #[must_use]
    pub fn missing(&self) -> Vec<SequenceRange> {
        let Some(covers) = self.covers else { return Vec::new() };
        let mut known: Vec<_> = self.held.iter().chain(&self.removed).copied().collect();
        known.sort_unstable();
        let mut missing = Vec::new();
        let mut next = covers.first;
        for range in known {
            if range.first > next {
                missing.extend(SequenceRange::new(next, range.first.previous().min(covers.last)));
            }
            next = next.max(range.last.next());
        }
        missing.extend(SequenceRange::new(next, covers.last));
        missing
    }
}

/// Reads all that can be read, and hands each intact record to `visit`, in the order of the file.
///
/// # Errors
/// [`SegmentError::NotASegment`] where neither end nor front tell what this is, [`SegmentError::Newer`], or what failed
/// while reading; damage is no error here.
pub fn scan(source: &Arc<dyn ReadRange>, visit: &mut dyn FnMut(&RecordView<'_>)) -> Result<Scan, SegmentError> {
    let len = source.len()?;
    match judge(source.as_ref(), len, FILE_SEGMENT) {
        Ok(_) => by_index(&SegmentReader::open_unnamed(source.clone())?, visit),
        Err(SegmentError::Damaged(damage)) => from_the_front(source.as_ref(), len, damage, visit),
        Err(error) => Err(error),
    }
}

fn by_index(reader: &SegmentReader, visit: &mut dyn FnMut(&RecordView<'_>)) -> Result<Scan, SegmentError> {
    let footer = reader.footer();
    let mut scan = Scan {
        collection: footer.collection.clone(),
        covers: Some(footer.covers),
        sealed: true,
        records: 0,
        held: Vec::new(),
        removed: footer.removed.clone(),
        damage: reader.flaw().cloned().into_iter().collect(),
    };
    for (number, entry) in footer.blocks.iter().enumerate() {
        match reader.block(number) {
            Ok(block) => scan.take(&block, visit),
            Err(SegmentError::Damaged(damage)) => {
                scan.damage.push(damage);
                if let Some(block) = reader.salvage(entry) {
                    scan.take(&block, visit);
                }
            }
            // A read that fails is a bad sector as likely as not: the other blocks may be whole.
            Err(error) => scan.damage.push(Damage {
                path: reader.source().path().to_path_buf(),
                offset: entry.offset,
                what: error.to_string(),
                sequences: Some(entry.held),
            }),
        }
    }
    Ok(scan)
}

impl Scan {
    fn take(&mut self, block: &Block, visit: &mut dyn FnMut(&RecordView<'_>)) {
        for record in block.views() {
            let sequence = Sequence(record.sequence);
            match self.held.last_mut() {
                // A block that stands in the file twice is visited twice, and counted once.
                Some(last) if sequence <= last.last => continue,
                Some(last) if last.last.next() == sequence => last.last = sequence,
                _ => self.held.push(SequenceRange { first: sequence, last: sequence }),
            }
            self.records += 1;
            visit(&record);
        }
    }
}

fn from_the_front(
    source: &dyn ReadRange,
    len: u64,
    damage: Damage,
    visit: &mut dyn FnMut(&RecordView<'_>),
) -> Result<Scan, SegmentError> {
    let path = source.path();
    let front = read_front(source, len)?;
    let header = front.header.map_err(|error| SegmentError::foreign(path, error.to_string()))?;
    let collection = header.text("icecore.collection").and_then(|name| CollectionName::new(name).ok());
    let collection = collection.ok_or_else(|| SegmentError::foreign(path, "its header names no collection"))?;
    let codec = header.text("avro.codec").and_then(|name| Codec::from_name(name).ok());
    let codec = codec.ok_or_else(|| SegmentError::foreign(path, "its header names no codec that is known"))?;
    let seed = Seed::of(&collection);
    let covers = SegmentName::of_path(path).map(|name| name.covers);
    let mut scan =
        Scan { collection, covers, sealed: false, records: 0, held: Vec::new(), removed: Vec::new(), damage: vec![] };
    let mut offset = header.len as u64;
    while offset < len {
        match block_at(source, len, offset, header.sync, codec) {
            Ok((bytes, next)) => {
                if decode(&bytes).is_ok_and(|record| record.kind == kind::SEAL && record.is_intact(Seed::control())) {
                    offset = next;
                    continue;
                }
                let (block, faults) = Block::parse(bytes, seed);
                scan.take(&block, visit);
                for fault in faults {
                    scan.damage.push(wrong(source, offset, fault.what));
                }
                offset = next;
            }
            Err(what) => {
                scan.damage.push(wrong(source, offset, &what));
                let Some(next) = after_marker(source, len, offset, header.sync)? else { break };
                offset = next;
            }
        }
    }
    scan.damage.push(damage);
    Ok(scan)
}

fn wrong(source: &dyn ReadRange, offset: u64, what: &str) -> Damage {
    Damage { path: source.path().to_path_buf(), offset, what: what.to_owned(), sequences: None }
}

/// The block at `offset`, decompressed, and where the next one starts. Of a block that the end of the file cuts, what is
/// there, where it is not compressed.
fn block_at(
    source: &dyn ReadRange,
    len: u64,
    offset: u64,
    sync: [u8; SYNC_BYTES],
    codec: Codec,
) -> Result<(Bytes, u64), String> {
    let read = |offset, bytes| source.read(offset, bytes).map_err(|error| error.to_string());
    let front = read(offset, (2 * LONG_BYTES_MAX).min(usize::try_from(len - offset).unwrap_or(usize::MAX)))?;
    let header: BlockHeader = decode_block_header(&front).map_err(|error| error.to_string())?;
    let stored_at = offset + header.len as u64;
    let stored = usize::try_from(header.bytes).ok().filter(|bytes| *bytes <= BLOCK_BYTES_MAX && header.count > 0);
    let stored = stored.ok_or("a block header with sizes that no block has")?;
    let Some(rest) = (len - stored_at).checked_sub(header.bytes + SYNC_BYTES as u64) else {
        let there = usize::try_from(len - stored_at).unwrap_or(usize::MAX).min(stored);
        return match codec {
            Codec::Null => Ok((read(stored_at, there)?, len)),
            _ => Err("a block that the end of the file cuts".to_owned()),
        };
    };
    let raw = read(stored_at, stored + SYNC_BYTES)?;
    if raw[stored..] != sync {
        return Err("a block without its sync marker".to_owned());
    }
    let bytes = codec.decompress(&raw.slice(..stored), BLOCK_BYTES_MAX).map_err(|error| error.to_string())?;
    Ok((bytes, len - rest))
}

/// Where the first sync marker at or after `offset` ends.
fn after_marker(
    source: &dyn ReadRange,
    len: u64,
    offset: u64,
    sync: [u8; SYNC_BYTES],
) -> Result<Option<u64>, SegmentError> {
    let mut at = offset;
    while at + SYNC_BYTES as u64 <= len {
        let bytes = SEARCH_BYTES.min(usize::try_from(len - at).unwrap_or(usize::MAX));
        let window = source.read(at, bytes)?;
        if let Some(found) = window.windows(SYNC_BYTES).position(|window| window == sync) {
            return Ok(Some(at + (found + SYNC_BYTES) as u64));
        }
        at += (bytes - (SYNC_BYTES - 1)) as u64;
    }
    Ok(None)
}
