//! Writes one segment from records as they lie in a journal or a memtable.
//!
//! Owns: the file until it is sealed. Does not own: its name and its directory's sync (the caller), nor which records.
//! Crash safety: the trailer is written last and the file synced after it, so a file with a valid trailer is whole, and one
//! without is not a segment. Memory: one block, its compressed form, up to 1 MiB not written yet, and 8 bytes for each
//! distinct key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32c::crc32c;

use super::footer::{BlockEntry, Footer, Input};
use super::header::{self, FILE_SEGMENT, HeaderFields};
use super::keys::KeysBuilder;
use super::seal::encode_seal;
use super::{SegmentError, SequenceRange};
use crate::avro::Sha256;
use crate::avro::codec::{Codec, Compressor};
use crate::avro::container::{SYNC_BYTES, put_block_header};
use crate::avro::record::{RecordView, Seed};
use crate::fs::{File, FileSystem, OpenMode};
use crate::types::{CollectionName, Epoch, Generation, LogId, Sequence, Timestamp};

/// This much is gathered before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// What is known of a segment before its first record.
#[derive(Clone, Debug)]
pub struct SegmentMeta {
    /// The log.
    pub log: LogId,
    /// The collection.
    pub collection: CollectionName,
    /// The opening of the log that seals.
    pub epoch: Epoch,
    /// 0 when sealing; compaction counts up.
    pub generation: Generation,
    /// The first sequence that it covers.
    pub first: Sequence,
    /// What compaction made it from; empty when sealing.
    pub inputs: Vec<Input>,
    /// Now.
    pub created_at: Timestamp,
}

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Compression of the data blocks.
    pub codec: Codec,
    /// A block gets no record that would make it longer than this, unless it is the block's only one.
    pub block_bytes: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { codec: Codec::DEFAULT, block_bytes: 256 << 10 }
    }
}

/// A segment that is whole and synced. Its name is not durable before its directory is synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// All that the file says of itself.
    pub footer: Footer,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
}

/// Writes a segment. One that is dropped before [`finish`](Self::finish) leaves a file that is no segment; the caller
/// removes it.
#[derive(Debug)]
pub struct SegmentWriter {
    file: Arc<dyn File>,
    path: PathBuf,
    meta: SegmentMeta,
    options: WriteOptions,
    compressor: Compressor,
    seed: Seed,
    sync: [u8; SYNC_BYTES],
    /// The records of the block that is open.
    block: Vec<u8>,
    /// What the index will say of it.
    entry: Option<BlockEntry>,
    scratch: Vec<u8>,
    /// Bytes that are not in the file yet, and where they go.
    out: Vec<u8>,
    out_offset: u64,
    header_bytes: u64,
    header_checksum: u32,
    digest: Sha256,
    content_digest: Sha256,
    keys: KeysBuilder,
    blocks: Vec<BlockEntry>,
    removed: Vec<SequenceRange>,
    bytes_after: u64,
    next: Sequence,
    /// Set by the first failure: what is in the file then is not known.
    failed: bool,
}

impl SegmentWriter {
    /// Starts a new file.
    ///
    /// # Errors
    /// Where the name is taken, the file cannot be made, the compressor refuses its level, or `meta` is out of range.
    pub fn create(
        fs: &dyn FileSystem,
        path: &Path,
        meta: SegmentMeta,
        options: WriteOptions,
    ) -> Result<Self, SegmentError> {
        if SequenceRange::new(meta.first, meta.first).is_none() || i32::try_from(meta.generation.0).is_err() {
            let what = format!("out of range: first=`{}`, generation=`{}`", meta.first, meta.generation);
            return Err(SegmentError::Misused { what });
        }
        let compressor = Compressor::new(options.codec).map_err(SegmentError::Codec)?;
        let sync = header::sync_marker(meta.log, &meta.collection, meta.first, meta.generation, meta.epoch);
        let fields = HeaderFields {
            file: FILE_SEGMENT,
            codec: options.codec.name(),
            log: meta.log,
            collection: &meta.collection,
            epoch: meta.epoch,
            generation: meta.generation,
        };
        let header = header::encode(&fields, sync);
        Ok(Self {
            file: fs.open(path, OpenMode::CreateNew)?,
            path: path.to_path_buf(),
            seed: Seed::of(&meta.collection),
            next: meta.first,
            meta,
            options,
            compressor,
            sync,
            block: Vec::with_capacity(options.block_bytes),
            entry: None,
            scratch: Vec::new(),
            header_bytes: header.len() as u64,
            header_checksum: crc32c(&header),
            out: header,
            out_offset: 0,
            digest: Sha256::new(),
            content_digest: Sha256::new(),
            keys: KeysBuilder::default(),
            blocks: Vec::new(),
            removed: Vec::new(),
            bytes_after: 0,
            failed: false,
        })
    }

    /// The path that it writes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sequence that the next record must have.
    #[must_use]
    pub const fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// Bytes of the file so far, without those of the block that is open.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.offset()
    }

    /// Appends a record, its bytes as they are. Its checksum is verified here, whoever did before: a segment never takes
    /// over damaged bytes.
    ///
    /// # Errors
    /// [`SegmentError::BadRecord`] where the record is damaged, of another collection, or none of a user's (the segment
    /// stays as it was); [`SegmentError::Misused`] where its sequence is not the next; or what failed while writing.
    pub fn push(&mut self, record: &RecordView<'_>) -> Result<(), SegmentError> {
        self.usable()?;
        let sequence = Sequence(record.sequence);
        let bad = |what| Err(SegmentError::BadRecord { sequence, what });
        match record.user_kind() {
            Ok(Some(_)) => {}
            Ok(None) => return bad("a control record"),
            Err(_) => return bad("of a kind that this program does not know"),
        }
        if sequence != self.next || sequence > Sequence::MAX {
            return Err(SegmentError::Misused { what: format!("sequence=`{sequence}`, expected=`{}`", self.next) });
        }
        if !record.is_intact(self.seed) {
            return bad("its checksum is wrong");
        }
        if !self.block.is_empty() && self.block.len() + record.encoded.len() > self.options.block_bytes {
            self.cut_block()?;
        }
        let time = Timestamp(record.timestamp_us);
        let entry = self.entry.get_or_insert(BlockEntry {
            held: SequenceRange { first: sequence, last: sequence },
            records: 0,
            timestamp_min: time,
            timestamp_max: time,
            offset: 0,
            bytes: 0,
            bytes_before: 0,
            checksum: 0,
        });
        entry.held.last = sequence;
        entry.records += 1;
        entry.timestamp_min = entry.timestamp_min.min(time);
        entry.timestamp_max = entry.timestamp_max.max(time);
        entry.bytes_before += record.encoded.len() as u64;
        self.block.extend_from_slice(record.encoded);
        if let Some(key) = record.key {
            self.keys.add(key);
        }
        self.next = sequence.next();
        Ok(())
    }

    /// Covers `range`, which must start at the next sequence, without holding it: compaction removed it.
    ///
    /// # Errors
    /// [`SegmentError::Misused`] where the range is not the next, or this is no compaction (generation 0).
    pub fn remove(&mut self, range: SequenceRange) -> Result<(), SegmentError> {
        self.usable()?;
        if range.first != self.next || self.meta.generation.0 == 0 {
            let what = format!("removed=`{range}`, expected=`{}`, generation=`{}`", self.next, self.meta.generation);
            return Err(SegmentError::Misused { what });
        }
        match self.removed.last_mut() {
            Some(last) if last.last.next() == range.first => last.last = range.last,
            _ => self.removed.push(range),
        }
        self.next = range.last.next();
        Ok(())
    }

    /// Writes the last block and the SEAL block, and syncs the file.
    ///
    /// # Errors
    /// [`SegmentError::Misused`] where nothing was pushed or removed; or what failed while writing or syncing, after which
    /// the file is no segment, whatever is in it.
    pub fn finish(mut self) -> Result<Sealed, SegmentError> {
        self.usable()?;
        let Some(covers) = SequenceRange::new(self.meta.first, self.next.previous()) else {
            return Err(SegmentError::Misused { what: "a segment without records".to_owned() });
        };
        self.cut_block()?;
        let held = self
            .blocks
            .first()
            .zip(self.blocks.last())
            .map(|(first, last)| SequenceRange { first: first.held.first, last: last.held.last });
        let footer = Footer {
            log: self.meta.log,
            collection: self.meta.collection.clone(),
            epoch: self.meta.epoch,
            generation: self.meta.generation,
            covers,
            held,
            removed: std::mem::take(&mut self.removed),
            inputs: std::mem::take(&mut self.meta.inputs),
            created_at: self.meta.created_at,
            records: self.blocks.iter().map(|block| block.records).sum(),
            timestamp_min: self.blocks.iter().map(|block| block.timestamp_min).min().unwrap_or_default(),
            timestamp_max: self.blocks.iter().map(|block| block.timestamp_max).max().unwrap_or_default(),
            bytes_before: self.blocks.iter().map(|block| block.bytes_before).sum(),
            bytes_after: self.bytes_after,
            content_digest: self.content_digest.clone().finish(),
            codec: self.options.codec.name().to_owned(),
            sync: self.sync,
            header_bytes: self.header_bytes,
            header_checksum: self.header_checksum,
            blocks: std::mem::take(&mut self.blocks),
            keys: std::mem::take(&mut self.keys).finish(),
        };
        let encoded = footer.encode();
        debug_assert_eq!(Footer::decode(&encoded).as_ref(), Ok(&footer));
        let seal = encode_seal(self.options.codec, &encoded, footer.created_at, self.offset(), self.sync);
        self.out.extend_from_slice(&seal);
        self.write_out()?;
        self.file.sync_all()?;
        Ok(Sealed { footer, bytes: self.out_offset, sha256: self.digest.finish() })
    }

    fn usable(&self) -> Result<(), SegmentError> {
        if self.failed {
            let what = format!("an earlier write failed: path=`{}`", self.path.display());
            return Err(SegmentError::Misused { what });
        }
        Ok(())
    }

    /// Where in the file the next byte goes.
    fn offset(&self) -> u64 {
        self.out_offset + self.out.len() as u64
    }

    /// Ends the open block. Never makes an empty one (F3).
    fn cut_block(&mut self) -> Result<(), SegmentError> {
        let Some(mut entry) = self.entry.take() else { return Ok(()) };
        self.failed = true; // until this has gone well
        self.content_digest.update(&self.block);
        entry.offset = self.offset();
        let at = self.out.len();
        let stored = self.compressor.compress(&self.block, &mut self.scratch).map_err(SegmentError::Codec)?;
        put_block_header(&mut self.out, entry.records, stored.len() as u64);
        self.out.extend_from_slice(stored);
        self.out.extend_from_slice(&self.sync);
        self.bytes_after += stored.len() as u64;
        entry.bytes = (self.out.len() - at) as u64;
        entry.checksum = crc32c(&self.out[at..]);
        self.blocks.push(entry);
        self.block.clear();
        if self.out.len() >= WRITE_BYTES {
            self.write_out()?;
        }
        self.failed = false;
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), SegmentError> {
        self.digest.update(&self.out);
        self.file.write_all_at(&self.out, self.out_offset)?;
        self.out_offset += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}
