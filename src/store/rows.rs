//! Rows of a row group: the columns that were asked for, and records made of them.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array as _, ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, Int64Array, ListArray, PrimitiveArray,
    RecordBatch, StringArray,
};
use bytes::Bytes;

use super::columns::{Column, DELETE, PUT};
use crate::types::{Header, Record, RecordKind, Sequence, Timestamp};
use crate::vector::{VectorRecord, datum};

/// Some columns of some rows, in memory. Rows are numbered from 0. What was not asked for is absent from every row.
#[derive(Clone, Debug)]
pub struct Rows {
    len: usize,
    key: Option<BinaryArray>,
    sequence: Option<Int64Array>,
    timestamp: Option<PrimitiveArray<TimestampMicrosecondType>>,
    expires_at: Option<PrimitiveArray<TimestampMicrosecondType>>,
    kind: Option<StringArray>,
    metadata: Option<StringArray>,
    headers: Option<Headers>,
    vector: Option<(FixedSizeListArray, Float32Array)>,
    payload: Option<BinaryArray>,
}

#[derive(Clone, Debug)]
struct Headers {
    lists: ListArray,
    keys: StringArray,
    values: BinaryArray,
}

/// The vectors of some rows, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'a> {
    /// How many numbers each has.
    pub dimensions: usize,
    /// The numbers of all rows. Those of a row without a vector are zeros.
    pub values: &'a [f32],
    lists: &'a FixedSizeListArray,
}

impl<'a> Vectors<'a> {
    /// Whether each row has a vector.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lists.null_count() == 0
    }

    /// Whether a row has one.
    #[must_use]
    pub fn has(&self, row: usize) -> bool {
        self.lists.is_valid(row)
    }

    /// That of a row, where it has one.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&'a [f32]> {
        self.has(row).then(|| &self.values[row * self.dimensions..(row + 1) * self.dimensions])
    }
}

impl Rows {
    /// Of a batch as the Parquet reader gives it.
    pub(super) fn new(batch: &RecordBatch) -> Result<Self, &'static str> {
        let column = |column: Column| batch.column_by_name(column.name());
        let vector = match column(Column::Vector) {
            None => None,
            Some(array) => Some(vectors(array)?),
        };
        let kind = typed(column(Column::Kind), |array| array.as_string_opt())?;
        if kind.iter().any(|kind: &StringArray| kind.iter().any(|word| !matches!(word, Some(PUT | DELETE)))) {
            return Err("a kind that is neither put nor delete");
        }
        Ok(Self {
            len: batch.num_rows(),
            key: typed(column(Column::Key), |array| array.as_binary_opt())?,
            sequence: typed(column(Column::Sequence), |array| array.as_primitive_opt::<Int64Type>())?,
            timestamp: typed(column(Column::Timestamp), |array| array.as_primitive_opt())?,
            expires_at: typed(column(Column::ExpiresAt), |array| array.as_primitive_opt())?,
            kind,
            metadata: typed(column(Column::Metadata), |array| array.as_string_opt())?,
            headers: column(Column::Headers).map(headers).transpose()?,
            vector,
            payload: typed(column(Column::Payload), |array| array.as_binary_opt())?,
        })
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that they take in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let sizes = [
            self.key.as_ref().map(|array| array.get_array_memory_size()),
            self.sequence.as_ref().map(|array| array.get_array_memory_size()),
            self.timestamp.as_ref().map(|array| array.get_array_memory_size()),
            self.expires_at.as_ref().map(|array| array.get_array_memory_size()),
            self.kind.as_ref().map(|array| array.get_array_memory_size()),
            self.metadata.as_ref().map(|array| array.get_array_memory_size()),
            self.headers.as_ref().map(|headers| headers.lists.get_array_memory_size()),
            self.vector.as_ref().map(|(lists, _)| lists.get_array_memory_size()),
            self.payload.as_ref().map(|array| array.get_array_memory_size()),
        ];
        sizes.into_iter().flatten().sum()
    }

    /// A row's sequence.
    #[must_use]
    pub fn sequence(&self, row: usize) -> Option<Sequence> {
        self.sequence.as_ref().map(|array| Sequence(u64::try_from(array.value(row)).unwrap_or(0)))
    }

    /// A row's time.
    #[must_use]
    pub fn timestamp(&self, row: usize) -> Option<Timestamp> {
        self.timestamp.as_ref().map(|array| Timestamp(array.value(row)))
    }

    /// From when on a row is expired; `None` also where it never is.
    #[must_use]
    pub fn expires_at(&self, row: usize) -> Option<Timestamp> {
        self.expires_at.as_ref().filter(|array| array.is_valid(row)).map(|array| Timestamp(array.value(row)))
    }

    /// Put or delete.
    #[must_use]
    pub fn kind(&self, row: usize) -> Option<RecordKind> {
        let word = self.kind.as_ref()?.value(row);
        Some(if word == DELETE { RecordKind::Delete } else { RecordKind::Put })
    }

    /// A row's key; `None` also where it has none.
    #[must_use]
    pub fn key(&self, row: usize) -> Option<&[u8]> {
        self.key.as_ref().filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }

    /// The metadata of a row whose vector is in the vector column: JSON text.
    #[must_use]
    pub fn metadata(&self, row: usize) -> Option<&str> {
        self.metadata.as_ref().filter(|array| array.is_valid(row)).map(|array| array.value(row))
    }

    /// The vectors; `None` where the file has no vector column.
    #[must_use]
    pub fn vectors(&self) -> Option<Vectors<'_>> {
        let (lists, values) = self.vector.as_ref()?;
        let dimensions = usize::try_from(lists.value_length()).unwrap_or(0);
        Some(Vectors { dimensions, values: &values.values()[..], lists })
    }

    /// A row's headers.
    #[must_use]
    pub fn headers(&self, row: usize) -> Vec<Header> {
        let Some(Headers { lists, keys, values }) = &self.headers else { return Vec::new() };
        let ends = lists.value_offsets();
        let at = |row: usize| usize::try_from(ends[row]).unwrap_or(0);
        let header = |at| Header { key: keys.value(at).to_owned(), value: Bytes::copy_from_slice(values.value(at)) };
        (at(row)..at(row + 1)).map(header).collect()
    }

    /// A row's payload, byte for byte as it was appended. Wants the columns key, metadata, vector and payload.
    #[must_use]
    pub fn payload(&self, row: usize) -> Option<Bytes> {
        if let Some(array) = self.payload.as_ref().filter(|array| array.is_valid(row)) {
            return Some(Bytes::copy_from_slice(array.value(row)));
        }
        let vector = self.vectors()?.get(row)?;
        let (id, metadata) = (std::str::from_utf8(self.key(row)?).ok()?, self.metadata(row)?);
        let mut payload = Vec::with_capacity(id.len() + metadata.len() + 4 * vector.len() + 16);
        datum::encode(&mut payload, id, vector, metadata);
        Some(payload.into())
    }

    /// A vector that is not in the vector column, because it has other dimensions. Wants the columns key, kind, headers, vector and payload.
    #[must_use]
    pub fn other_vector(&self, row: usize) -> Option<VectorRecord> {
        if self.vectors().is_some_and(|vectors| vectors.has(row)) {
            return None;
        }
        let payload = self.payload.as_ref().filter(|array| array.is_valid(row))?;
        let payload = Bytes::copy_from_slice(payload.value(row));
        let key = Bytes::copy_from_slice(self.key(row)?);
        VectorRecord::of(self.kind(row)?, Some(&key), &self.headers(row), Some(&payload))?.ok()
    }

    /// A record, as it was appended; `None` where not all columns were asked for.
    #[must_use]
    pub fn record(&self, row: usize) -> Option<Record> {
        self.headers.as_ref()?;
        self.expires_at.as_ref()?;
        self.metadata.as_ref()?;
        self.payload.as_ref()?;
        self.key.as_ref()?;
        Some(Record {
            sequence: self.sequence(row)?,
            timestamp: self.timestamp(row)?,
            kind: self.kind(row)?,
            key: self.key(row).map(Bytes::copy_from_slice),
            expires_at: self.expires_at(row),
            headers: self.headers(row),
            payload: self.payload(row),
        })
    }
}

/// A column as the type that it must have.
fn typed<'a, T: Clone + 'a>(
    array: Option<&'a ArrayRef>,
    cast: impl FnOnce(&'a ArrayRef) -> Option<&'a T>,
) -> Result<Option<T>, &'static str> {
    match array {
        None => Ok(None),
        Some(array) => cast(array).cloned().map(Some).ok_or("a column of another type"),
    }
}

fn headers(array: &ArrayRef) -> Result<Headers, &'static str> {
    let wrong = "headers of another type";
    let lists = array.as_list_opt::<i32>().ok_or(wrong)?;
    let inner = lists.values().as_struct_opt().ok_or(wrong)?;
    let [keys, values] = inner.columns() else { return Err(wrong) };
    Ok(Headers {
        lists: lists.clone(),
        keys: keys.as_string_opt().ok_or(wrong)?.clone(),
        values: values.as_binary_opt().ok_or(wrong)?.clone(),
    })
}

fn vectors(array: &ArrayRef) -> Result<(FixedSizeListArray, Float32Array), &'static str> {
    let wrong = "vectors of another type";
    let lists = array.as_fixed_size_list_opt().ok_or(wrong)?;
    let values = lists.values().as_primitive_opt::<Float32Type>().ok_or(wrong)?;
    if values.len() != lists.len() * usize::try_from(lists.value_length()).map_err(|_| wrong)? {
        return Err(wrong);
    }
    Ok((lists.clone(), values.clone()))
}
