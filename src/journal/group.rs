//! The bytes of a group: one Avro block whose first record says what the block is and holds (J1, J2).
//!
//! Owns: GROUP, PAD, OPEN and MARK, encoded and decoded, and the checksums that tie a block to its place. Does no I/O.
//!
//! The checksum of a group is a small tree: each record's own checksum covers its bytes, the table's checksum for each run
//! covers those, and the GROUP record covers the table, the block's header, and the group before. So every byte of a
//! block is covered, and an append needs to read each byte only once.

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};

use super::file::{FileId, JournalNumber};
use crate::avro::AvroError;
use crate::avro::container::{BlockHeader, SYNC_BYTES, decode_block_header, put_block_header};
use crate::avro::record::{self, Fields, RecordView, Seed, kind};
use crate::avro::varint::{Decoder, long_len, put_bytes, put_long, put_long_in, put_unsigned};
use crate::types::{ChangeNumber, CollectionName, Epoch, Sequence};

/// The smallest PAD block, its sync marker included: what must be left, or nothing, behind a group.
pub const PAD_BYTES_MIN: u64 = 32;

/// A run of one collection's records in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The collection; `None` for control records.
    pub collection: Option<CollectionName>,
    /// First sequence.
    pub first: Sequence,
    /// How many records.
    pub count: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// CRC32C over their checksums.
    pub checksum: u32,
}

/// What a group before held: a collection, its first sequence, how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBefore {
    /// The collection.
    pub collection: CollectionName,
    /// First sequence.
    pub first: Sequence,
    /// How many records.
    pub count: u64,
}

impl HeldBefore {
    /// Last sequence.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        Sequence(self.first.0 + self.count - 1)
    }
}

/// What a GROUP record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupHead {
    /// Which life of which file.
    pub file_id: FileId,
    /// Which journal.
    pub journal: JournalNumber,
    /// Number in the file, from 0.
    pub group: u64,
    /// Where the block starts.
    pub offset: u64,
    /// Bytes of the file known to be synced before.
    pub durable_to: u64,
    /// Checksum of the group before; 0 for the first.
    pub previous_checksum: u32,
    /// Checksum of this one.
    pub checksum: u32,
    /// Wall-clock time at which it was written, in microseconds.
    pub timestamp_us: i64,
    /// What follows.
    pub holds: Vec<Held>,
    /// What the group before held.
    pub held_before: Vec<HeldBefore>,
}

/// A group to write: what [`encode_front`] needs.
#[derive(Clone, Copy, Debug)]
pub struct GroupToWrite<'a> {
    /// Which life of which file.
    pub file_id: FileId,
    /// Which journal.
    pub journal: JournalNumber,
    /// Number in the file.
    pub group: u64,
    /// Where it will start.
    pub offset: u64,
    /// Bytes known to be synced.
    pub durable_to: u64,
    /// Checksum of the group before.
    pub previous_checksum: u32,
    /// What the group before held, still encoded.
    pub held_before: &'a HeldTable,
    /// Wall-clock time in microseconds.
    pub timestamp_us: i64,
}

/// The table of a group, encoded as it grows, and its short form for the group after.
#[derive(Clone, Debug, Default)]
pub struct HeldTable {
    runs: u64,
    records: u64,
    bytes: u64,
    holds: Vec<u8>,
    before_runs: u64,
    before: Vec<u8>,
}

impl HeldTable {
    /// Adds a run of records; `collection` is empty for control records.
    pub fn push(&mut self, collection: &str, first: u64, count: u64, bytes: u64, checksum: u32) {
        self.runs += 1;
        self.records += count;
        self.bytes += bytes;
        put_bytes(&mut self.holds, collection.as_bytes());
        put_unsigned(&mut self.holds, first);
        put_unsigned(&mut self.holds, count);
        put_unsigned(&mut self.holds, bytes);
        self.holds.extend_from_slice(&checksum.to_le_bytes());
        if !collection.is_empty() {
            self.before_runs += 1;
            put_bytes(&mut self.before, collection.as_bytes());
            put_unsigned(&mut self.before, first);
            put_unsigned(&mut self.before, count);
        }
    }

    /// Bytes of the records pushed.
    #[must_use]
    pub const fn record_bytes(&self) -> u64 {
        self.bytes
    }

    /// An upper bound of the bytes that this table adds to a group, as its own or as the one before.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> u64 {
        self.holds.len() as u64 + 16
    }

    /// Makes it empty, keeping its memory.
    pub fn clear(&mut self) {
        (self.runs, self.records, self.bytes, self.before_runs) = (0, 0, 0, 0);
        self.holds.clear();
        self.before.clear();
    }
}

fn put_array(out: &mut Vec<u8>, count: u64, items: &[u8]) {
    if count > 0 {
        put_unsigned(out, count);
        out.extend_from_slice(items);
    }
    out.push(0);
}

/// An upper bound of the bytes that a group takes, its sync marker included.
#[must_use]
pub fn group_bytes_max(table: &HeldTable, before: &HeldTable) -> u64 {
    160 + table.encoded_bytes_max() + before.encoded_bytes_max() + table.record_bytes() + SYNC_BYTES as u64
}

/// Writes what stands before the records of a group, block header and GROUP record, into `out`, and returns the group's
/// checksum and the bytes of the whole block.
pub fn encode_front(out: &mut Vec<u8>, table: &HeldTable, to_write: &GroupToWrite<'_>) -> (u32, u64) {
    let mut datum = Vec::with_capacity(96 + table.holds.len() + to_write.held_before.before.len());
    datum.extend_from_slice(&to_write.file_id.0);
    put_unsigned(&mut datum, to_write.journal.epoch.0);
    put_unsigned(&mut datum, to_write.journal.number);
    put_unsigned(&mut datum, to_write.group);
    put_unsigned(&mut datum, to_write.offset);
    put_unsigned(&mut datum, to_write.durable_to);
    datum.extend_from_slice(&to_write.previous_checksum.to_le_bytes());
    let checksum_at = datum.len();
    datum.extend_from_slice(&[0; 4]);
    put_array(&mut datum, table.runs, &table.holds);
    put_array(&mut datum, to_write.held_before.before_runs, &to_write.held_before.before);

    let fields = |payload| Fields::control(kind::GROUP, to_write.timestamp_us, payload);
    let start = out.len();
    let record_len = control_len(to_write.timestamp_us, datum.len() as u64);
    put_block_header(out, 1 + table.records, record_len + table.bytes);
    let header_len = out.len() - start;
    let checksum = crc32c_append(crc32c(&out[start..]), &datum);
    datum[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
    record::encode(out, Seed::control(), &fields(&datum));
    debug_assert_eq!((out.len() - start - header_len) as u64, record_len);
    (checksum, (out.len() - start) as u64 + table.bytes + SYNC_BYTES as u64)
}

/// Bytes of a control record of a kind from 16 to 63 with a payload of `payload_len` bytes.
fn control_len(timestamp_us: i64, payload_len: u64) -> u64 {
    // sequence, kind, null key, null expiry, no headers, checksum, union index: one byte each but the checksum's four
    (6 + 4 + long_len(timestamp_us) + long_len(payload_len.cast_signed())) as u64 + payload_len
}

/// A group as it was read: its head, and where its records lie.
#[derive(Clone, Debug)]
pub struct DecodedGroup<'a> {
    /// What the GROUP record says.
    pub head: GroupHead,
    /// Bytes of the block, from its header to behind its sync marker.
    pub span: u64,
    /// The records after the GROUP record.
    pub records: &'a [u8],
    /// Where `records` starts, from the block's start.
    pub records_at: u64,
}

/// How much of a block must be in memory to decode it.
///
/// # Errors
/// Why there is no block.
pub fn block_span(bytes: &[u8]) -> Result<(BlockHeader, u64), AvroError> {
    let header = decode_block_header(bytes)?;
    Ok((header, header.span()))
}

/// Decodes the PAD block at the front of `bytes`, of which only the start needs to be there; `None` where it is no PAD
/// of this file.
#[must_use]
pub fn decode_pad(bytes: &[u8], file_id: FileId) -> Option<u64> {
    let header = decode_block_header(bytes).ok()?;
    if header.count != 1 {
        return None;
    }
    let mut decoder = Decoder::new(bytes.get(header.len..)?);
    let record = decoder.rest();
    let plain = decoder.long().ok()? == 0
        && decoder.long().ok()? == 0
        && decoder.long().ok()? == i64::from(kind::PAD)
        && decoder.long().ok()? == 0
        && decoder.long().ok()? == 0
        && decoder.long().ok()? == 0;
    let checksum_at = decoder.position();
    let checksum = u32::from_le_bytes(decoder.fixed().ok()?);
    let payload_at = decoder.position();
    if !plain || decoder.long().ok()? != 1 {
        return None;
    }
    let payload_len = decoder.unsigned().ok()?;
    let covered = crc32c_append(pad_seed(file_id), &record[..checksum_at]);
    let covered = crc32c_append(covered, &record[payload_at..decoder.position()]);
    (checksum == covered && decoder.position() as u64 + payload_len == header.bytes).then(|| header.span())
}

fn pad_seed(file_id: FileId) -> u32 {
    crc32c_append(crc32c(&[0]), &file_id.0)
}

/// Appends the start of a PAD block that spans `span` bytes from here, its sync marker included; the payload's bytes are
/// whatever lies there. `span` must be at least [`PAD_BYTES_MIN`].
pub fn encode_pad(out: &mut Vec<u8>, span: u64, file_id: FileId) {
    debug_assert!(span >= PAD_BYTES_MIN);
    let to_fill = span - SYNC_BYTES as u64;
    // A number that stands before its own length cannot meet every span in its shortest form: at one span in each power
    // of 128 it takes one byte more, which readers of Avro accept.
    let fit = |left: u64| {
        (1..).find(|&len| long_len((left - len).cast_signed()) as u64 <= len).expect("a length of ten bytes fits any")
    };
    let size_len = fit(to_fill - 1);
    let size = to_fill - 1 - size_len;
    let fixed = 6 + 4 + 1;
    let payload_len_len = fit(size - fixed);
    put_long(out, 1);
    put_long_in(out, size.cast_signed(), size_len as usize);
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    put_long(out, i64::from(kind::PAD));
    out.extend_from_slice(&[0, 0, 0]);
    let mut tail = vec![2];
    put_long_in(&mut tail, (size - fixed - payload_len_len).cast_signed(), payload_len_len as usize);
    let checksum = crc32c_append(crc32c_append(pad_seed(file_id), &out[start..]), &tail);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&tail);
}

/// Decodes the group at the front of `bytes`, which must hold the whole block, and checks everything: file, place,
/// every checksum, every sequence.
///
/// # Errors
/// What is wrong, as text for a report.
pub fn decode_group(bytes: &[u8], file_id: FileId, offset: u64) -> Result<DecodedGroup<'_>, &'static str> {
    let (header, span) = block_span(bytes).map_err(|_| "no block header")?;
    let span_len = usize::try_from(span).map_err(|_| "block ends behind the file")?;
    let block = bytes.get(..span_len).ok_or("block ends behind the file")?;
    let (body, sync) = block[header.len..].split_at(span_len - header.len - SYNC_BYTES);
    if sync != file_id.0 {
        return Err("block does not end in the file's sync marker");
    }
    let view = record::decode(body).map_err(|_| "first record cannot be decoded")?;
    if view.kind != kind::GROUP || !view.is_intact(Seed::control()) {
        return Err("first record is no intact GROUP");
    }
    let (head, checksum) = decode_head(&view, &bytes[..header.len]).map_err(|_| "GROUP cannot be decoded")?;
    if head.file_id != file_id {
        return Err("GROUP is of another life of the file");
    }
    if head.offset != offset {
        return Err("GROUP is of another place in the file");
    }
    if head.checksum != checksum {
        return Err("checksum of the group is wrong");
    }
    let records = &body[view.encoded.len()..];
    check_runs(&head, header.count, records)?;
    let records_at = (header.len + view.encoded.len()) as u64;
    Ok(DecodedGroup { head, span, records, records_at })
}

fn check_runs(head: &GroupHead, count: u64, records: &[u8]) -> Result<(), &'static str> {
    let records_held = head.holds.iter().try_fold(1_u64, |sum, held| sum.checked_add(held.count));
    if records_held != Some(count) {
        return Err("table and block header disagree");
    }
    let mut at = 0;
    let mut checksums = Vec::new();
    for held in &head.holds {
        let seed = held.collection.as_ref().map_or_else(Seed::control, Seed::of);
        let end = usize::try_from(held.bytes).ok().and_then(|bytes| bytes.checked_add(at));
        let run = end.and_then(|end| records.get(at..end)).ok_or("a run ends behind the block")?;
        check_run(held, seed, run, &mut checksums)?;
        at += run.len();
    }
    if at == records.len() { Ok(()) } else { Err("bytes behind the last run") }
}

fn check_run(held: &Held, seed: Seed, mut run: &[u8], checksums: &mut Vec<u8>) -> Result<(), &'static str> {
    checksums.clear();
    for index in 0..held.count {
        let view = record::decode(run).map_err(|_| "a record cannot be decoded")?;
        if !view.is_intact(seed) {
            return Err("checksum of a record is wrong");
        }
        let expected = if held.collection.is_some() { held.first.0 + index } else { 0 };
        if view.sequence != expected {
            return Err("a record has another sequence than the table says");
        }
        if matches!(view.user_kind(), Ok(Some(_))) != held.collection.is_some() {
            return Err("a record has a kind that has no place here");
        }
        checksums.extend_from_slice(&view.checksum.to_le_bytes());
        run = &run[view.encoded.len()..];
    }
    if !run.is_empty() {
        return Err("bytes behind the last record of a run");
    }
    if crc32c(checksums) == held.checksum { Ok(()) } else { Err("checksum of a run is wrong") }
}

/// Decodes a GROUP's payload, and computes the checksum that it should have.
fn decode_head(view: &RecordView<'_>, block_header: &[u8]) -> Result<(GroupHead, u32), AvroError> {
    let datum = view.payload.ok_or(AvroError::BadKind)?;
    let mut decoder = Decoder::new(datum);
    let file_id = FileId(decoder.fixed()?);
    let epoch = Epoch(decoder.unsigned()?);
    let number = decoder.unsigned()?;
    let group = decoder.unsigned()?;
    let offset = decoder.unsigned()?;
    let durable_to = decoder.unsigned()?;
    let previous_checksum = u32::from_le_bytes(decoder.fixed()?);
    let checksum_at = decoder.position();
    let checksum = u32::from_le_bytes(decoder.fixed()?);
    let checksum_end = decoder.position();
    let holds = decode_array(&mut decoder, |decoder| {
        let name = decoder.string()?;
        let collection =
            if name.is_empty() { None } else { Some(CollectionName::new(name).map_err(|_| AvroError::NotUtf8)?) };
        Ok(Held {
            collection,
            first: Sequence(decoder.unsigned()?),
            count: decoder.unsigned()?,
            bytes: decoder.unsigned()?,
            checksum: u32::from_le_bytes(decoder.fixed()?),
        })
    })?;
    let held_before = decode_array(&mut decoder, |decoder| {
        Ok(HeldBefore {
            collection: CollectionName::new(decoder.string()?).map_err(|_| AvroError::NotUtf8)?,
            first: Sequence(decoder.unsigned()?),
            count: decoder.unsigned()?,
        })
    })?;
    let valid = |first: Sequence, count: u64| count > 0 && first.0.checked_add(count).is_some_and(|end| end <= 1 << 63);
    if !decoder.rest().is_empty()
        || holds.iter().any(|held| !valid(held.first, held.count))
        || held_before.iter().any(|held| !valid(held.first, held.count))
    {
        return Err(AvroError::Negative);
    }
    let computed = crc32c_append(crc32c(block_header), &datum[..checksum_at]);
    let computed = crc32c_append(crc32c_append(computed, &[0; 4]), &datum[checksum_end..]);
    let journal = JournalNumber { epoch, number };
    let timestamp_us = view.timestamp_us;
    let head = GroupHead {
        file_id,
        journal,
        group,
        offset,
        durable_to,
        previous_checksum,
        checksum,
        timestamp_us,
        holds,
        held_before,
    };
    Ok((head, computed))
}

fn decode_array<'a, T>(
    decoder: &mut Decoder<'a>,
    item: impl Fn(&mut Decoder<'a>) -> Result<T, AvroError>,
) -> Result<Vec<T>, AvroError> {
    let mut items = Vec::new();
    loop {
        let count = decoder.unsigned()?;
        if count == 0 {
            return Ok(items);
        }
        for _ in 0..count {
            items.push(item(decoder)?);
        }
    }
}

/// How recovery, or a rotation, judged a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte that counts is there.
    Whole,
    /// Bytes behind the last group, never acknowledged as far as can be known, were dropped.
    Dropped,
    /// Acknowledged bytes were lost.
    Damaged,
}

/// A journal that was not released when another began, and where it ends (J4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Which journal.
    pub journal: JournalNumber,
    /// Which life of its file.
    pub file_id: FileId,
    /// Where its last accepted group ends.
    pub end: u64,
    /// Checksum of its last accepted group; 0 where it has none.
    pub checksum: u32,
    /// How many groups were accepted.
    pub groups: u64,
    /// How it was judged.
    pub verdict: Verdict,
    /// Bytes of the dropped tail.
    pub dropped_bytes: u64,
}

/// What an OPEN record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Newest change of the catalog then.
    pub change_number: ChangeNumber,
    /// The journals not released then.
    pub predecessors: Vec<Predecessor>,
}

/// What a MARK record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Newest change of the catalog then.
    pub change_number: ChangeNumber,
    /// The log was closed in good order after it.
    pub closed: bool,
}

/// What a MOVE record says: a collection lives in the directory of this journal from here on (J7). Everything of it that
/// is in no segment stands before the record, in journals of this directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The collection.
    pub collection: CollectionName,
    /// The id of the directory where it lived before.
    pub from: String,
    /// The epoch of the move; of several, the highest wins.
    pub epoch: Epoch,
    /// The first sequence that no journal of the old directory was ever given.
    pub next: Sequence,
}

/// A control record of a journal, besides GROUP and PAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// First group of a journal.
    Open(Open),
    /// Everything before is synced.
    Mark(Mark),
    /// A collection lives here from now on.
    Move(Move),
}

impl Control {
    /// The record's bytes and its checksum.
    #[must_use]
    pub fn encode(&self, timestamp_us: i64) -> (Bytes, u32) {
        let mut datum = Vec::new();
        let kind = match self {
            Self::Open(open) => {
                put_unsigned(&mut datum, open.change_number.0);
                let mut items = Vec::new();
                for before in &open.predecessors {
                    put_unsigned(&mut items, before.journal.epoch.0);
                    put_unsigned(&mut items, before.journal.number);
                    items.extend_from_slice(&before.file_id.0);
                    put_unsigned(&mut items, before.end);
                    items.extend_from_slice(&before.checksum.to_le_bytes());
                    put_unsigned(&mut items, before.groups);
                    put_long(&mut items, before.verdict as i64);
                    put_unsigned(&mut items, before.dropped_bytes);
                }
                put_array(&mut datum, open.predecessors.len() as u64, &items);
                kind::OPEN
            }
            Self::Move(moved) => {
                put_bytes(&mut datum, moved.collection.as_str().as_bytes());
                put_bytes(&mut datum, moved.from.as_bytes());
                put_unsigned(&mut datum, moved.epoch.0);
                put_unsigned(&mut datum, moved.next.0);
                kind::MOVE
            }
            Self::Mark(mark) => {
                put_unsigned(&mut datum, mark.change_number.0);
                datum.push(u8::from(mark.closed));
                kind::MARK
            }
        };
        let mut out = Vec::with_capacity(datum.len() + 32);
        let checksum = record::encode(&mut out, Seed::control(), &Fields::control(kind, timestamp_us, &datum));
        (out.into(), checksum)
    }

    /// Reads a control record; `None` for kinds that are not one of these.
    ///
    /// # Errors
    /// Why its payload cannot be read.
    pub fn decode(view: &RecordView<'_>) -> Result<Option<Self>, AvroError> {
        let mut decoder = Decoder::new(view.payload.unwrap_or_default());
        match view.kind {
            kind::OPEN => {
                let change_number = ChangeNumber(decoder.unsigned()?);
                let predecessors = decode_array(&mut decoder, |decoder| {
                    Ok(Predecessor {
                        journal: JournalNumber { epoch: Epoch(decoder.unsigned()?), number: decoder.unsigned()? },
                        file_id: FileId(decoder.fixed()?),
                        end: decoder.unsigned()?,
                        checksum: u32::from_le_bytes(decoder.fixed()?),
                        groups: decoder.unsigned()?,
                        verdict: match decoder.long()? {
                            0 => Verdict::Whole,
                            1 => Verdict::Dropped,
                            2 => Verdict::Damaged,
                            _ => return Err(AvroError::BadKind),
                        },
                        dropped_bytes: decoder.unsigned()?,
                    })
                })?;
                Ok(Some(Self::Open(Open { change_number, predecessors })))
            }
            kind::MOVE => {
                let moved = Move {
                    collection: CollectionName::new(decoder.string()?).map_err(|_| AvroError::NotUtf8)?,
                    from: decoder.string()?.to_owned(),
                    epoch: Epoch(decoder.unsigned()?),
                    next: Sequence(decoder.unsigned()?),
                };
                Ok(Some(Self::Move(moved)))
            }
            kind::MARK => {
                let change_number = ChangeNumber(decoder.unsigned()?);
                let closed = decoder.fixed::<1>()? == [1];
                Ok(Some(Self::Mark(Mark { change_number, closed })))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: FileId = FileId([0x5a; 16]);

    #[test]
    fn a_pad_meets_every_span() {
        for span in (PAD_BYTES_MIN..70_000).chain([1 << 20, (1 << 20) + 1, (64 << 20) - 4096, (1 << 30) + 7]) {
            let mut out = Vec::new();
            encode_pad(&mut out, span, ID);
            assert!(out.len() as u64 + SYNC_BYTES as u64 <= span, "span={span}");
            assert_eq!(decode_pad(&out, ID), Some(span));
            assert_eq!(decode_pad(&out, FileId([0; 16])), None);
        }
    }
}
