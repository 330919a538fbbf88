//! A file that a state names, and its row groups. Read in ranges: the footer, then of a row group the columns that are wanted.
//!
//! What always holds: bytes are given to the Parquet reader only when their checksum is right, and no more of them are in memory than the
//! chosen columns of one row group have.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use bytes::{Buf as _, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::columns::Column;
use super::footers::{FileId, Footers};
use super::rows::Rows;
use super::state::FileEntry;
use super::write::CHECKSUMS;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::{ObjectKey, ObjectStore};
use crate::types::{Sequence, Timestamp};

/// Chunks with no more than this between them are read at once.
const GAP_BYTES: u64 = 16 << 10;

/// A file of a collection. While anybody holds it, it is not deleted by this process.
#[derive(Debug)]
pub struct StoreFile {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    entry: FileEntry,
    /// Footers that are in memory; this file's is there under `id`, or is read.
    footers: Arc<Footers>,
    id: FileId,
    /// Rows of each row group, once the footer was read.
    group_rows: OnceLock<Box<[usize]>>,
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        self.footers.forget(self.id);
    }
}

#[derive(Debug)]
pub(super) struct Footer {
    metadata: ArrowReaderMetadata,
    /// Of each row group: of each column chunk its checksum, and that of its Bloom filter.
    checksums: Vec<GroupChecksums>,
}

/// What the Arrow schema of a file takes in memory, about: the Parquet library counts the rest.
const SCHEMA_BYTES: usize = 8 << 10;

impl Footer {
    /// What it takes in memory, about.
    pub fn memory_bytes(&self) -> usize {
        let checksums = self.checksums.iter().map(|group| group.len() * size_of::<(u32, Option<u32>)>()).sum::<usize>();
        self.metadata.metadata().memory_size() + checksums + SCHEMA_BYTES
    }
}

/// Which keys a row group may have.
#[derive(Debug)]
pub(super) struct KeyFilter {
    /// The least and the greatest, and whether that one is whole.
    min: Option<Vec<u8>>,
    max: Option<(Vec<u8>, bool)>,
    filter: Option<Sbbf>,
}

impl KeyFilter {
    /// Whether it may have a key; `false` is certain.
    pub fn may_have(&self, key: &[u8]) -> bool {
        !self.is_outside(key) && self.filter.as_ref().is_none_or(|filter| filter.check(key))
    }

    fn is_outside(&self, key: &[u8]) -> bool {
        self.min.as_ref().is_some_and(|min| key < &min[..])
            || self.max.as_ref().is_some_and(|(max, is_exact)| is_behind(key, max, *is_exact))
    }
}

/// Some rows of a file that are read together.
#[derive(Clone, Debug)]
pub struct RowGroup {
    file: Arc<StoreFile>,
    footer: Arc<Footer>,
    index: usize,
}

impl StoreFile {
    pub(super) fn new(store: Arc<dyn ObjectStore>, key: ObjectKey, entry: FileEntry, footers: &Arc<Footers>) -> Self {
        let (footers, id) = (Arc::clone(footers), footers.file());
        Self { store, key, entry, footers, id, group_rows: OnceLock::new() }
    }

    /// What the state says of it.
    #[must_use]
    pub const fn entry(&self) -> &FileEntry {
        &self.entry
    }

    /// Where it is.
    #[must_use]
    pub const fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Its row groups, by their sequences.
    ///
    /// # Errors
    /// `NotFound` where it is gone: the view is of another process's store, and too old. `Corrupt` where it is not what the
    /// state says. What the store said.
    pub fn row_groups(self: &Arc<Self>) -> Result<Vec<RowGroup>> {
        let footer = self.footer()?;
        let groups = footer.metadata.metadata().num_row_groups();
        Ok((0..groups).map(|index| RowGroup { file: Arc::clone(self), footer: Arc::clone(&footer), index }).collect())
    }

    /// Its row group of that number, from 0; `None` behind the last.
    ///
    /// # Errors
    /// As [`row_groups`](Self::row_groups).
    pub fn row_group(self: &Arc<Self>, index: usize) -> Result<Option<RowGroup>> {
        let footer = self.footer()?;
        let is_there = index < footer.metadata.metadata().num_row_groups();
        Ok(is_there.then(|| RowGroup { file: Arc::clone(self), footer, index }))
    }

    /// How many rows each of its row groups has. Known for good once it was asked for: the footer need not be in memory for it.
    ///
    /// # Errors
    /// As [`row_groups`](Self::row_groups).
    pub fn group_rows(&self) -> Result<&[usize]> {
        if let Some(known) = self.group_rows.get() {
            return Ok(known);
        }
        let footer = self.footer()?;
        let rows = footer.metadata.metadata().row_groups().iter();
        let rows = rows.map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).collect();
        Ok(self.group_rows.get_or_init(|| rows))
    }

    /// Compares all of its bytes with the state.
    ///
    /// # Errors
    /// `Corrupt`, `NotFound`, what the store said.
    pub fn verify(&self) -> Result<()> {
        crate::objects::prove(&*self.store, &self.key, self.entry.bytes, &self.entry.sha256)?;
        Ok(())
    }

    fn footer(&self) -> Result<Arc<Footer>> {
        if let Some(footer) = self.footers.get(self.id) {
            return Ok(footer);
        }
        let bytes = u64::from(self.entry.footer_bytes);
        let at = self.entry.bytes.checked_sub(bytes + 8).ok_or_else(|| self.corrupt("it is too short"))?;
        let footer = self.read(at, bytes, self.entry.footer_crc32c, "footer")?;
        let metadata = ParquetMetaDataReader::decode_metadata(&footer).map_err(|error| self.unreadable(error))?;
        let told = metadata.file_metadata().key_value_metadata();
        let checksums = told.and_then(|told| told.iter().find(|pair| pair.key == CHECKSUMS)?.value.as_deref());
        let checksums = checksums.and_then(parse_checksums);
        let checksums = checksums.ok_or_else(|| self.corrupt("its checksums cannot be read"))?;
        let fits = checksums.len() == metadata.num_row_groups()
            && checksums.iter().zip(metadata.row_groups()).all(|(some, group)| some.len() == group.num_columns());
        if !fits {
            return Err(self.corrupt("its checksums are not those of its row groups"));
        }
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())
            .map_err(|error| self.unreadable(error))?;
        let footer = Arc::new(Footer { metadata, checksums });
        self.footers.keep(self.id, &footer);
        Ok(footer)
    }

    /// A piece of it with its checksum.
    fn read(&self, offset: u64, bytes: u64, crc32c: u32, what: &str) -> Result<Bytes> {
        let piece = self.fetch(offset, bytes)?;
        if crc32c::crc32c(&piece) != crc32c {
            return Err(self.corrupt(&format!("the checksum of its {what} differs")));
        }
        Ok(piece)
    }

    fn fetch(&self, offset: u64, bytes: u64) -> Result<Bytes> {
        let bytes = usize::try_from(bytes).map_err(|_| self.corrupt("it has a piece that no memory holds"))?;
        let piece = self.store.get_range(&self.key, offset, bytes)?;
        if piece.len() != bytes {
            return Err(self.corrupt("a piece of it has another length than was asked for"));
        }
        Ok(piece)
    }

    fn corrupt(&self, what: &str) -> Error {
        let (place, key) = (self.store.place(), &self.key);
        let message = format!("a file of the columnar store is damaged: store=`{place}`, key=`{key}`, what=`{what}`");
        Error::new(ErrorKind::Corrupt, message)
            .with_hint("the log has its records: clear the collection in the store, and they are delivered again")
    }

    fn unreadable(&self, error: ParquetError) -> Error {
        self.corrupt("it is no parquet file of ours").with_source(error)
    }
}

/// Of a row group, by column: the CRC32C of its chunk, and of its Bloom filter, where it has one.
type GroupChecksums = Vec<(u32, Option<u32>)>;

/// `crc,crc/crc,… crc,…`: groups with a blank between, chunks with a comma, the Bloom filter behind a slash.
fn parse_checksums(text: &str) -> Option<Vec<GroupChecksums>> {
    let one = |text: &str| u32::from_str_radix(text, 16).ok();
    let chunk = |text: &str| match text.split_once('/') {
        None => Some((one(text)?, None)),
        Some((chunk, filter)) => Some((one(chunk)?, Some(one(filter)?))),
    };
    text.split(' ').map(|group| group.split(',').map(chunk).collect()).collect()
}

impl RowGroup {
    /// The file.
    #[must_use]
    pub const fn file(&self) -> &Arc<StoreFile> {
        &self.file
    }

    /// Its number in the file, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    fn metadata(&self) -> &RowGroupMetaData {
        self.footer.metadata.metadata().row_group(self.index)
    }

    /// How many records it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        usize::try_from(self.metadata().num_rows()).unwrap_or(0)
    }

    /// Bytes of `columns` as they lie in the file.
    #[must_use]
    pub fn stored_bytes(&self, columns: &[Column]) -> u64 {
        self.leaves(columns).into_iter().map(|leaf| self.metadata().column(leaf).byte_range().1).sum()
    }

    /// Bytes of `columns` before compression.
    #[must_use]
    pub fn unpacked_bytes(&self, columns: &[Column]) -> u64 {
        let of = |leaf| u64::try_from(self.metadata().column(leaf).uncompressed_size()).unwrap_or(0);
        self.leaves(columns).into_iter().map(of).sum()
    }

    /// Its first and last sequence.
    #[must_use]
    pub fn sequences(&self) -> Option<(Sequence, Sequence)> {
        let number = |number: i64| u64::try_from(number).ok().map(Sequence);
        let (min, max) = self.numbers(Column::Sequence)?;
        Some((number(min)?, number(max)?))
    }

    /// Its earliest and latest time.
    #[must_use]
    pub fn times(&self) -> Option<(Timestamp, Timestamp)> {
        self.numbers(Column::Timestamp).map(|(min, max)| (Timestamp(min), Timestamp(max)))
    }

    fn numbers(&self, column: Column) -> Option<(i64, i64)> {
        let leaf = *self.leaves(&[column]).first()?;
        match self.metadata().column(leaf).statistics()? {
            Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
            _ => None,
        }
    }

    /// When the first of its records expires; `None` where that is not known, as where none does.
    pub(super) fn first_expiry(&self) -> Option<Timestamp> {
        self.numbers(Column::ExpiresAt).map(|(min, _)| Timestamp(min))
    }

    /// Whether it may have a record of `key`: by the keys' bounds, then by their filter. `false` is certain.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn may_have(&self, key: &[u8]) -> Result<bool> {
        let bounds = self.key_bounds();
        Ok(!bounds.is_outside(key) && self.with_filter(bounds)?.may_have(key))
    }

    /// Bytes of its key filter in the file.
    pub(super) fn key_filter_bytes(&self) -> u64 {
        let leaf = self.leaves(&[Column::Key]).first().copied();
        let bytes = leaf.and_then(|leaf| self.metadata().column(leaf).bloom_filter_length());
        bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
    }

    /// Which keys it may have by their bounds: nothing is read.
    pub(super) fn key_bounds(&self) -> KeyFilter {
        let leaf = self.leaves(&[Column::Key]).first().copied();
        let bounds = leaf.and_then(|leaf| self.metadata().column(leaf).statistics());
        KeyFilter {
            min: bounds.and_then(|bounds| bounds.min_bytes_opt()).map(<[u8]>::to_vec),
            max: bounds.and_then(|bounds| Some((bounds.max_bytes_opt()?.to_vec(), bounds.max_is_exact()))),
            filter: None,
        }
    }

    /// And by their filter, which is read now.
    pub(super) fn with_filter(&self, bounds: KeyFilter) -> Result<KeyFilter> {
        let Some(leaf) = self.leaves(&[Column::Key]).first().copied() else { return Ok(bounds) };
        let column = self.metadata().column(leaf);
        let place = (column.bloom_filter_offset(), column.bloom_filter_length(), self.checksums()[leaf].1);
        let (Some(offset), Some(bytes), Some(crc32c)) = place else { return Ok(bounds) };
        let wrong = || self.file.corrupt("the place of a filter cannot be");
        let offset = u64::try_from(offset).map_err(|_| wrong())?;
        let bytes = u64::try_from(bytes).map_err(|_| wrong())?;
        let bytes = self.file.read(offset, bytes, crc32c, "key filter")?;
        let filter = Sbbf::from_bytes(&bytes).map_err(|error| self.file.unreadable(error))?;
        Ok(KeyFilter { filter: Some(filter), ..bounds })
    }

    fn checksums(&self) -> &[(u32, Option<u32>)] {
        &self.footer.checksums[self.index]
    }

    /// The leaf columns of these, in the order of the file.
    fn leaves(&self, columns: &[Column]) -> Vec<usize> {
        let schema = self.metadata().schema_descr();
        let is_wanted = |leaf: &usize| {
            let root = schema.get_column_root(*leaf).name();
            columns.iter().any(|column| column.name() == root)
        };
        (0..schema.num_columns()).filter(is_wanted).collect()
    }

    /// Some of its columns. What of them the file does not have is absent from every row.
    ///
    /// # Errors
    /// As [`StoreFile::row_groups`].
    pub fn read(&self, columns: &[Column]) -> Result<Rows> {
        let rows = self.rows();
        let batch = match self.batches(columns, rows)?.next() {
            Some(batch) => batch.map_err(|error| self.file.unreadable(error.into()))?,
            None => return Err(self.file.corrupt("a row group is empty")),
        };
        if batch.num_rows() != rows {
            return Err(self.file.corrupt("a row group has fewer rows than it says"));
        }
        Rows::new(&batch).map_err(|what| self.file.corrupt(what))
    }

    /// Gives some of its columns, at most `lot_rows` rows at a time, each time with the number of the first row, until `each` says that it has
    /// enough: only a lot is unpacked at a time.
    ///
    /// # Errors
    /// As [`StoreFile::row_groups`], and what `each` gives.
    pub fn read_lots(
        &self,
        columns: &[Column],
        lot_rows: usize,
        mut each: impl FnMut(usize, &Rows) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut first = 0;
        for batch in self.batches(columns, lot_rows)? {
            let batch = batch.map_err(|error| self.file.unreadable(error.into()))?;
            let rows = Rows::new(&batch).map_err(|what| self.file.corrupt(what))?;
            if each(first, &rows)?.is_break() {
                return Ok(());
            }
            first += rows.len();
        }
        if first == self.rows() { Ok(()) } else { Err(self.file.corrupt("a row group has fewer rows than it says")) }
    }

    fn batches(&self, columns: &[Column], batch_rows: usize) -> Result<ParquetRecordBatchReader> {
        let leaves = self.leaves(columns);
        let chunks = Chunks { len: self.file.entry.bytes, pieces: self.fetch(&leaves)? };
        let mask = ProjectionMask::leaves(self.metadata().schema_descr(), leaves);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, self.footer.metadata.clone());
        let reader = builder.with_row_groups(vec![self.index]).with_projection(mask);
        reader.with_batch_size(batch_rows.max(1)).build().map_err(|error| self.file.unreadable(error))
    }

    /// The chunks of these columns, each with its checksum; neighbours are read at once.
    fn fetch(&self, leaves: &[usize]) -> Result<Vec<(u64, Bytes)>> {
        let mut ranges: Vec<(u64, u64, u32)> = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let (offset, bytes) = self.metadata().column(*leaf).byte_range();
            if offset.checked_add(bytes).is_none_or(|end| end > self.file.entry.bytes) {
                return Err(self.file.corrupt("a column lies behind its end"));
            }
            ranges.push((offset, bytes, self.checksums()[*leaf].0));
        }
        let mut pieces = Vec::with_capacity(ranges.len());
        for run in ranges.chunk_by(|one, two| one.0 + one.1 <= two.0 && two.0 - (one.0 + one.1) <= GAP_BYTES) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let all = self.file.fetch(first.0, last.0 + last.1 - first.0)?;
            for (offset, bytes, crc32c) in run {
                let begin = usize::try_from(offset - first.0).expect("it is in memory");
                let piece = all.slice(begin..begin + usize::try_from(*bytes).expect("it is in memory"));
                if crc32c::crc32c(&piece) != *crc32c {
                    return Err(self.file.corrupt("the checksum of a column differs"));
                }
                pieces.push((*offset, piece));
            }
        }
        Ok(pieces)
    }
}

/// Bounds of long keys are cut. A cut maximum has its last byte raised; where a writer does not say which it is, it may be its beginning.
fn is_behind(key: &[u8], max: &[u8], is_exact: bool) -> bool {
    if is_exact { key > max } else { key > max && !key.starts_with(max) }
}

/// The pieces of a file that were read, for the Parquet reader: it asks for nothing else.
struct Chunks {
    len: u64,
    pieces: Vec<(u64, Bytes)>,
}

impl Chunks {
    fn behind(&self, start: u64) -> Result<Bytes, ParquetError> {
        let piece = self.pieces.iter().find(|(at, bytes)| *at <= start && start < *at + bytes.len() as u64);
        let (at, bytes) = piece.ok_or_else(|| ParquetError::General(format!("nothing was read at {start}")))?;
        Ok(bytes.slice(usize::try_from(start - at).expect("it is in memory")..))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Chunks {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.behind(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.behind(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} were not read")));
        }
        Ok(bytes.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_as_they_are_written() {
        let read = parse_checksums("0000000a,ffffffff/00000001 00000002").unwrap();
        assert_eq!(read, [vec![(10, None), (u32::MAX, Some(1))], vec![(2, None)]]);
        for bad in ["", "x", "1,,2", "1 ", "1/"] {
            assert_eq!(parse_checksums(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_cut_bound_excludes_no_key_that_may_be_there() {
        assert!(is_behind(b"abd", b"abc", true) && is_behind(b"abcd", b"abc", true));
        assert!(!is_behind(b"abcd", b"abc", false) && is_behind(b"abd", b"abc", false));
        assert!(!is_behind(b"abc", b"abc", true));
    }
}
