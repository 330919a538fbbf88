//! The footer: everything that is known of a segment without reading its records (`schema/seal.avsc`).
//!
//! Owns: its bytes, and that its parts agree with each other: what decodes here has blocks without a gap between them,
//! ascending ranges, and counts that add up, so that no reader needs to ask again.

use bytes::Bytes;

use super::SequenceRange;
use super::keys::Keys;
use crate::avro::AvroError;
use crate::avro::container::SYNC_BYTES;
use crate::avro::varint::{Decoder, put_bytes, put_long, put_unsigned};
use crate::types::{CollectionName, Epoch, Generation, LogId, Sequence, Timestamp};

/// `schema/seal.avsc`.
pub const SEAL_SCHEMA: &str = include_str!("../../schema/seal.avsc");

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The log that wrote it.
    pub log: LogId,
    /// The collection.
    pub collection: CollectionName,
    /// The opening of the log that sealed it.
    pub epoch: Epoch,
    /// How often the range was rewritten by compaction.
    pub generation: Generation,
    /// The sequences that it answers for.
    pub covers: SequenceRange,
    /// First and last sequence that it holds; `None` where compaction removed them all.
    pub held: Option<SequenceRange>,
    /// What it covers and does not hold, ascending, no two adjacent.
    pub removed: Vec<SequenceRange>,
    /// The segments that compaction made it from; empty as sealed.
    pub inputs: Vec<Input>,
    /// When it was sealed, by the clock then.
    pub created_at: Timestamp,
    /// How many records.
    pub records: u64,
    /// Earliest record time; 0 without records.
    pub timestamp_min: Timestamp,
    /// Latest record time; 0 without records.
    pub timestamp_max: Timestamp,
    /// Bytes of all records, before compression.
    pub bytes_before: u64,
    /// Bytes of all data blocks after compression, without their headers and sync markers.
    pub bytes_after: u64,
    /// SHA-256 over the bytes of all records in order (F4).
    pub content_digest: [u8; 32],
    /// As `avro.codec` in the header.
    pub codec: String,
    /// The file's sync marker.
    pub sync: [u8; SYNC_BYTES],
    /// Bytes of the file's header; the first block starts there.
    pub header_bytes: u64,
    /// CRC32C of the file's header.
    pub header_checksum: u32,
    /// Every data block in order.
    pub blocks: Vec<BlockEntry>,
    /// Which keys may be there; `None` where no record has a key.
    pub keys: Option<Keys>,
}

/// A segment that compaction read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// The sequences that it answered for.
    pub covers: SequenceRange,
    /// Its generation.
    pub generation: Generation,
    /// SHA-256 over its records.
    pub content_digest: [u8; 32],
}

/// Where one data block is and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// First and last sequence in it.
    pub held: SequenceRange,
    /// How many records.
    pub records: u64,
    /// Earliest record time.
    pub timestamp_min: Timestamp,
    /// Latest record time.
    pub timestamp_max: Timestamp,
    /// Where the block's header starts in the file.
    pub offset: u64,
    /// From there up to the next block, sync marker included.
    pub bytes: u64,
    /// Bytes of the records, before compression.
    pub bytes_before: u64,
    /// CRC32C over `bytes` bytes of the file from `offset`.
    pub checksum: u32,
}

/// Why bytes are no footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FooterError {
    /// Not the schema's bytes.
    #[error("the footer does not follow its schema")]
    Avro(#[from] AvroError),
    /// Bytes after its end.
    #[error("the footer has bytes after its end")]
    Trailing,
    /// A value that its field cannot have.
    #[error("the footer has a value out of range: field=`{0}`")]
    OutOfRange(&'static str),
    /// Two parts that contradict each other.
    #[error("the footer contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl Footer {
    /// The offset after the last data block, where the SEAL block starts.
    #[must_use]
    pub fn data_end(&self) -> u64 {
        self.blocks.last().map_or(self.header_bytes, |block| block.offset + block.bytes)
    }

    /// The place in `blocks` of the block that holds `sequence`; `None` where no block spans it.
    #[must_use]
    pub fn block_holding(&self, sequence: Sequence) -> Option<usize> {
        let at = self.blocks.partition_point(|block| block.held.last < sequence);
        self.blocks.get(at).is_some_and(|block| block.held.first <= sequence).then_some(at)
    }

    /// Whether compaction removed `sequence`.
    #[must_use]
    pub fn is_removed(&self, sequence: Sequence) -> bool {
        let at = self.removed.partition_point(|range| range.last < sequence);
        self.removed.get(at).is_some_and(|range| range.contains(sequence))
    }

    /// The places in `blocks` of those that may hold a record of a time from `from` to `until`, both included (S3: times
    /// may run backwards, so they need not be neighbours).
    pub fn blocks_in_time(&self, from: Timestamp, until: Timestamp) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let may = move |block: &BlockEntry| block.timestamp_min <= until && from <= block.timestamp_max;
        self.blocks.iter().enumerate().filter(move |(_, block)| may(block)).map(|(at, _)| at)
    }

    /// Whether a record with `key` may be there. `false` is certain.
    #[must_use]
    pub fn may_hold_key(&self, key: &[u8]) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.may_hold(key))
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(512 + self.blocks.len() * 48 + self.keys.as_ref().map_or(0, |k| k.filter.len()));
        out.extend_from_slice(&self.log.0);
        put_bytes(&mut out, self.collection.as_str().as_bytes());
        put_unsigned(&mut out, self.epoch.0);
        put_long(&mut out, i64::from(self.generation.0));
        put_range(&mut out, self.covers);
        put_unsigned(&mut out, self.held.map_or(0, |held| held.first.0));
        put_unsigned(&mut out, self.held.map_or(0, |held| held.last.0));
        put_array(&mut out, &self.removed, |out, range| put_range(out, *range));
        put_array(&mut out, &self.inputs, |out, input| {
            put_range(out, input.covers);
            put_long(out, i64::from(input.generation.0));
            out.extend_from_slice(&input.content_digest);
        });
        put_long(&mut out, self.created_at.0);
        put_unsigned(&mut out, self.records);
        put_long(&mut out, self.timestamp_min.0);
        put_long(&mut out, self.timestamp_max.0);
        put_unsigned(&mut out, self.bytes_before);
        put_unsigned(&mut out, self.bytes_after);
        out.extend_from_slice(&self.content_digest);
        put_bytes(&mut out, self.codec.as_bytes());
        out.extend_from_slice(&self.sync);
        put_unsigned(&mut out, self.header_bytes);
        put_long(&mut out, i64::from(self.header_checksum));
        put_array(&mut out, &self.blocks, |out, block| {
            put_range(out, block.held);
            put_unsigned(out, block.records);
            put_long(out, block.timestamp_min.0);
            put_long(out, block.timestamp_max.0);
            put_unsigned(out, block.offset);
            put_unsigned(out, block.bytes);
            put_unsigned(out, block.bytes_before);
            put_long(out, i64::from(block.checksum));
        });
        put_long(&mut out, i64::from(self.keys.is_some()));
        if let Some(keys) = &self.keys {
            put_unsigned(&mut out, keys.records);
            put_bytes(&mut out, &keys.min);
            put_long(&mut out, i64::from(keys.max.is_some()));
            if let Some(max) = &keys.max {
                put_bytes(&mut out, max);
            }
            put_bytes(&mut out, &keys.filter);
        }
        out
    }

    /// Reads it back, and checks that its parts agree.
    ///
    /// # Errors
    /// Why the bytes are no footer. Never panics, whatever they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, FooterError> {
        let mut from = Decoder::new(bytes);
        let from = &mut from;
        let footer = Self {
            log: LogId(from.fixed()?),
            collection: CollectionName::new(from.string()?).map_err(|_| FooterError::OutOfRange("collection"))?,
            epoch: Epoch(from.unsigned()?),
            generation: generation(from)?,
            covers: range(from)?.ok_or(FooterError::OutOfRange("covers"))?,
            held: range(from)?,
            removed: array(from, |from| range(from)?.ok_or(FooterError::OutOfRange("removed")))?,
            inputs: array(from, |from| {
                Ok(Input {
                    covers: range(from)?.ok_or(FooterError::OutOfRange("inputs"))?,
                    generation: generation(from)?,
                    content_digest: from.fixed()?,
                })
            })?,
            created_at: Timestamp(from.long()?),
            records: from.unsigned()?,
            timestamp_min: Timestamp(from.long()?),
            timestamp_max: Timestamp(from.long()?),
            bytes_before: from.unsigned()?,
            bytes_after: from.unsigned()?,
            content_digest: from.fixed()?,
            codec: from.string()?.to_owned(),
            sync: from.fixed()?,
            header_bytes: from.unsigned()?,
            header_checksum: checksum(from)?,
            blocks: array(from, |from| {
                Ok(BlockEntry {
                    held: range(from)?.ok_or(FooterError::OutOfRange("blocks"))?,
                    records: from.unsigned()?,
                    timestamp_min: Timestamp(from.long()?),
                    timestamp_max: Timestamp(from.long()?),
                    offset: from.unsigned()?,
                    bytes: from.unsigned()?,
                    bytes_before: from.unsigned()?,
                    checksum: checksum(from)?,
                })
            })?,
            keys: if from.is_some()? { Some(keys(from)?) } else { None },
        };
        if !from.rest().is_empty() {
            return Err(FooterError::Trailing);
        }
        footer.check()?;
        Ok(footer)
    }

    /// Whether its parts agree.
    fn check(&self) -> Result<(), FooterError> {
        let must = |holds: bool, what| if holds { Ok(()) } else { Err(FooterError::Contradiction(what)) };
        let mut removed = 0;
        let mut after = None;
        for range in &self.removed {
            must(after.is_none_or(|after: Sequence| range.first > after.next()), "removed ranges out of order")?;
            must(
                self.covers.contains(range.first) && self.covers.contains(range.last),
                "removed what it does not cover",
            )?;
            removed += range.count();
            after = Some(range.last);
        }
        must(self.covers.count() - removed == self.records, "covered less removed is not the number of records")?;
        let ends = self.blocks.first().map(|first| first.held.first).zip(self.blocks.last().map(|last| last.held.last));
        must(ends == self.held.map(|held| (held.first, held.last)), "its blocks do not hold what it holds")?;
        must(self.held.is_some() == (self.records > 0), "records without sequences, or sequences without records")?;

        let (mut offset, mut last, mut records, mut before) = (self.header_bytes, None, 0_u64, 0_u64);
        let (mut earliest, mut latest) = (None, None);
        for block in &self.blocks {
            must(block.offset == offset, "a gap between blocks")?;
            must(last.is_none_or(|last| last < block.held.first), "blocks out of order")?;
            must(
                (1..=block.held.count()).contains(&block.records),
                "a block with more records than sequences, or none",
            )?;
            must(
                self.covers.contains(block.held.first) && self.covers.contains(block.held.last),
                "a block out of range",
            )?;
            must(block.timestamp_min <= block.timestamp_max, "a block whose earliest time is after its latest")?;
            let sizes = block.bytes.max(block.bytes_before);
            must(block.bytes_before > 0 && sizes <= u32::MAX.into(), "a block without bytes, or with too many")?;
            offset = offset.checked_add(block.bytes).ok_or(FooterError::OutOfRange("blocks"))?;
            records = records.checked_add(block.records).ok_or(FooterError::OutOfRange("blocks"))?;
            before = before.checked_add(block.bytes_before).ok_or(FooterError::OutOfRange("blocks"))?;
            earliest = Some(earliest.unwrap_or(block.timestamp_min).min(block.timestamp_min));
            latest = Some(latest.unwrap_or(block.timestamp_max).max(block.timestamp_max));
            last = Some(block.held.last);
        }
        must(records == self.records && before == self.bytes_before, "blocks do not add up")?;
        let times = (earliest.unwrap_or_default(), latest.unwrap_or_default());
        must(times == (self.timestamp_min, self.timestamp_max), "times that are not its blocks'")?;
        if let Some(keys) = &self.keys {
            must((1..=self.records).contains(&keys.records), "more keys than records, or none")?;
            must(keys.filter.len() % 32 == 0 && !keys.filter.is_empty(), "a key filter that is none")?;
        }
        Ok(())
    }
}

fn put_range(out: &mut Vec<u8>, range: SequenceRange) {
    put_unsigned(out, range.first.0);
    put_unsigned(out, range.last.0);
}

fn put_array<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    if !items.is_empty() {
        put_long(out, items.len() as i64);
        items.iter().for_each(|item| put(out, item));
    }
    out.push(0);
}

fn array<'a, T>(
    from: &mut Decoder<'a>,
    mut item: impl FnMut(&mut Decoder<'a>) -> Result<T, FooterError>,
) -> Result<Vec<T>, FooterError> {
    let mut items = Vec::new();
    loop {
        let count = from.unsigned()?;
        if count == 0 {
            return Ok(items);
        }
        for _ in 0..count {
            items.push(item(from)?);
        }
    }
}

/// Two zeros are no range at all.
fn range(from: &mut Decoder<'_>) -> Result<Option<SequenceRange>, FooterError> {
    match (from.unsigned()?, from.unsigned()?) {
        (0, 0) => Ok(None),
        (first, last) => {
            SequenceRange::new(Sequence(first), Sequence(last)).map(Some).ok_or(FooterError::OutOfRange("range"))
        }
    }
}

fn generation(from: &mut Decoder<'_>) -> Result<Generation, FooterError> {
    let number = i32::try_from(from.long()?).ok().and_then(|number| u32::try_from(number).ok());
    number.map(Generation).ok_or(FooterError::OutOfRange("generation"))
}

fn checksum(from: &mut Decoder<'_>) -> Result<u32, FooterError> {
    u32::try_from(from.long()?).map_err(|_| FooterError::OutOfRange("checksum"))
}

fn keys(from: &mut Decoder<'_>) -> Result<Keys, FooterError> {
    Ok(Keys {
        records: from.unsigned()?,
        min: Bytes::copy_from_slice(from.bytes()?),
        max: if from.is_some()? { Some(Bytes::copy_from_slice(from.bytes()?)) } else { None },
        filter: Bytes::copy_from_slice(from.bytes()?),
    })
}
