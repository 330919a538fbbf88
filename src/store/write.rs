//! Writes a file: Parquet, in row groups that are read one at a time, with a checksum of every piece that is read by itself.
//!
//! Parquet's pages have no checksum that every reader and writer knows. So the CRC32C of each column chunk and each Bloom filter stands in the
//! file's key-value metadata (`icecore.checksums`), and that of the footer in the state. The same records give the same bytes: nothing
//! of a file is of its time or its process.

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::columns::{Column, Group, Placed, schema};
use super::names::StateNumber;
use super::state::{FORMAT, FileEntry};
use crate::avro::sha256;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Epoch, LogId, Record, RecordKind, Sequence, Timestamp};
use crate::vector::VectorRecord;

/// From so many bytes of values on a row group is full.
pub const GROUP_BYTES: usize = 4 << 20;
/// So many records fill a row group.
pub const GROUP_ROWS: usize = 16_384;
/// The key of the checksums in the file's metadata.
pub(super) const CHECKSUMS: &str = "icecore.checksums";

/// What is told of a file in its metadata.
#[derive(Clone, Debug)]
pub(super) struct FileHead {
    pub log: LogId,
    pub collection: CollectionName,
    pub epoch: Epoch,
    pub first: Sequence,
    pub last: Sequence,
    pub dimensions: Option<u32>,
}

/// A file that is complete, in memory.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub bytes: Bytes,
    pub entry: FileEntry,
}

/// Takes the records of a file, in order.
pub(super) struct FileWriter {
    head: FileHead,
    writer: ArrowWriter<Vec<u8>>,
    group: Group,
    counts: Counts,
    checksums: Vec<String>,
    at: Bounds,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    rows: u64,
    deletes: u64,
    expiring: u64,
    vectors: u64,
    other_vectors: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    sequence: Option<(Sequence, Sequence)>,
    time: (Timestamp, Timestamp),
}

impl FileWriter {
    pub fn new(head: FileHead) -> Result<Self> {
        let properties = properties(&head);
        let writer = ArrowWriter::try_new(Vec::new(), schema(head.dimensions), Some(properties)).map_err(broken)?;
        Ok(Self {
            group: Group::new(head.dimensions),
            head,
            writer,
            counts: Counts::default(),
            checksums: Vec::new(),
            at: Bounds { sequence: None, time: (Timestamp::MAX, Timestamp::MIN) },
        })
    }

    /// How many records it was given.
    pub const fn rows(&self) -> u64 {
        self.counts.rows
    }

    pub fn push(&mut self, record: &Record) -> Result<()> {
        let counts = &mut self.counts;
        counts.rows += 1;
        counts.deletes += u64::from(record.kind == RecordKind::Delete);
        counts.expiring += u64::from(record.expires_at.is_some());
        match self.group.push(record) {
            Placed::None => {}
            Placed::Column => counts.vectors += 1,
            Placed::Payload => counts.other_vectors += 1,
        }
        let first = self.at.sequence.map_or(record.sequence, |(first, _)| first);
        self.at.sequence = Some((first, record.sequence));
        self.at.time = (self.at.time.0.min(record.timestamp), self.at.time.1.max(record.timestamp));
        if self.group.rows() >= GROUP_ROWS || self.group.bytes() >= GROUP_BYTES {
            self.end_group()?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<()> {
        if self.group.rows() == 0 {
            return Ok(());
        }
        self.writer.write(&self.group.take()).map_err(broken)?;
        self.writer.flush().map_err(broken)?;
        self.writer.sync().map_err(|error| broken(error.into()))?;
        let written = self.writer.inner();
        let group = self.writer.flushed_row_groups().last().expect("it was written right now");
        self.checksums.push(checksums(written, group));
        Ok(())
    }

    /// Does all the work that does not depend on the name: what is left for [`finish`](Self::finish) is the footer. Returns the bytes that are
    /// written by then.
    pub fn settle(&mut self) -> Result<u64> {
        self.end_group()?;
        Ok(self.writer.bytes_written() as u64)
    }

    /// The file, which the state of that number names first; `None` where no record was given.
    pub fn finish(mut self, generation: StateNumber) -> Result<Option<Written>> {
        self.end_group()?;
        let Some((sequence_min, sequence_max)) = self.at.sequence else { return Ok(None) };
        let generation_told = KeyValue::new("icecore.generation".to_owned(), generation.to_string());
        self.writer.append_key_value_metadata(generation_told);
        let checksums = KeyValue::new(CHECKSUMS.to_owned(), self.checksums.join(" "));
        self.writer.append_key_value_metadata(checksums);
        let Self { head, writer, counts, at, .. } = self;
        let bytes = writer.into_inner().map_err(broken)?;
        // The end of a Parquet file: the footer, its length in four bytes, `PAR1`.
        let tail = bytes.len() - 8;
        let footer_bytes = u32::from_le_bytes(bytes[tail..tail + 4].try_into().expect("four bytes"));
        let footer = &bytes[tail - footer_bytes as usize..tail];
        let entry = FileEntry {
            first: head.first,
            last: head.last,
            generation,
            bytes: bytes.len() as u64,
            sha256: sha256(&bytes),
            footer_bytes,
            footer_crc32c: crc32c::crc32c(footer),
            rows: counts.rows,
            deletes: counts.deletes,
            expiring: counts.expiring,
            sequence_min,
            sequence_max,
            time_min: at.time.0,
            time_max: at.time.1,
            dimensions: head.dimensions.filter(|_| counts.vectors > 0),
            vectors: counts.vectors,
            other_vectors: counts.other_vectors,
        };
        Ok(Some(Written { bytes: bytes.into(), entry }))
    }
}

/// The dimensions of most of the vectors; `None` where there are none.
pub(super) fn dimensions_of<'a>(records: impl Iterator<Item = &'a Record>) -> Option<u32> {
    let mut counts = std::collections::BTreeMap::<u32, u64>::new();
    for record in records {
        if let Some(Ok(vector)) = VectorRecord::of_record(record) {
            *counts.entry(u32::try_from(vector.vector.len()).expect("at most 65,536 dimensions")).or_default() += 1;
        }
    }
    // Of as many, the fewer dimensions: the same records always give the same file.
    counts.into_iter().max_by_key(|(dimensions, count)| (*count, std::cmp::Reverse(*dimensions))).map(|(most, _)| most)
}

/// `crc,crc,…` of the column chunks, in hexadecimal digits, and `/crc` of the Bloom filter behind that of a column that has one.
fn checksums(written: &[u8], group: &RowGroupMetaData) -> String {
    let of = |offset: u64, bytes: u64| {
        let at = |number: u64| usize::try_from(number).expect("it is in memory");
        format!("{:08x}", crc32c::crc32c(&written[at(offset)..at(offset + bytes)]))
    };
    let columns = group.columns().iter().map(|column| {
        let (offset, bytes) = column.byte_range();
        let chunk = of(offset, bytes);
        match (column.bloom_filter_offset(), column.bloom_filter_length()) {
            (Some(offset), Some(bytes)) => {
                let number = |number: i64| u64::try_from(number).expect("no offset is negative");
                format!("{chunk}/{}", of(number(offset), number(i64::from(bytes))))
            }
            _ => chunk,
        }
    });
    columns.collect::<Vec<_>>().join(",")
}

fn properties(head: &FileHead) -> WriterProperties {
    let column = |column: Column| ColumnPath::from(column.name());
    let told = [
        ("icecore.format_version", FORMAT.to_string()),
        ("icecore.log", head.log.to_string()),
        ("icecore.collection", head.collection.to_string()),
        ("icecore.epoch", head.epoch.to_string()),
        ("icecore.first_sequence", head.first.to_string()),
        ("icecore.last_sequence", head.last.to_string()),
    ];
    let told = told.into_iter().map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
    let vector = ColumnPath::from(vec!["vector".to_owned(), "list".to_owned(), "element".to_owned()]);
    let level = ZstdLevel::try_new(1).expect("zstd has a level 1");
    WriterProperties::builder()
        .set_created_by(format!("icecore version {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(told))
        .set_compression(Compression::ZSTD(level))
        // Groups are cut here, and not by the writer.
        .set_max_row_group_row_count(None)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_bloom_filter_position(BloomFilterPosition::AfterRowGroup)
        .set_column_dictionary_enabled(column(Column::Kind), true)
        .set_column_encoding(column(Column::Sequence), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(column(Column::Timestamp), Encoding::DELTA_BINARY_PACKED)
        .set_column_statistics_enabled(column(Column::Sequence), EnabledStatistics::Chunk)
        .set_column_statistics_enabled(column(Column::Timestamp), EnabledStatistics::Chunk)
        .set_column_statistics_enabled(column(Column::ExpiresAt), EnabledStatistics::Chunk)
        .set_column_statistics_enabled(column(Column::Key), EnabledStatistics::Chunk)
        .set_column_bloom_filter_enabled(column(Column::Key), true)
        .set_column_bloom_filter_fpp(column(Column::Key), 0.01)
        .set_column_bloom_filter_max_ndv(column(Column::Key), GROUP_ROWS as u64)
        // Measured: smallest and fastest for vectors, of which no two are alike.
        .set_column_encoding(vector, Encoding::BYTE_STREAM_SPLIT)
        .build()
}

/// What the Parquet library says of bytes in memory that it was given right: nobody else can be blamed.
pub(super) fn broken(error: parquet::errors::ParquetError) -> Error {
    Error::new(ErrorKind::Internal, "a file of the columnar store cannot be written").with_source(error)
}
