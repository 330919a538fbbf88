//! The columns of a file, and records as columns.
//!
//! Owns: the schema, and which parts of a record go where. What always holds: [`super::rows::Rows::record`] gives back exactly what
//! [`Group::push`] was given.
//!
//! A vector that stands in the vector column is not stored a second time as payload: the payload is null then, and is made again from key,
//! vector and metadata. That is done only where it was tried and gave the same bytes. A payload that is null beside a null vector is no
//! payload.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, ListArray, RecordBatch, StructArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::types::{Record, RecordKind};
use crate::vector::{VectorRecord, datum};

/// A column, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// `key`: binary, null where the record has none.
    Key,
    /// `sequence`: 64-bit number.
    Sequence,
    /// `timestamp`: microseconds, UTC.
    Timestamp,
    /// `expires_at`: microseconds, UTC; null where the record does not expire.
    ExpiresAt,
    /// `kind`: `put` or `delete`.
    Kind,
    /// `metadata`: of a vector, JSON text.
    Metadata,
    /// `headers`: list of key and value.
    Headers,
    /// `vector`: fixed-size list of 32-bit floats; only in files with vectors.
    Vector,
    /// `payload`: binary; null where the record has none, or where it is made from key, vector and metadata.
    Payload,
}

impl Column {
    /// Every column, in the order of the file.
    pub const ALL: [Self; 9] = [
        Self::Key,
        Self::Sequence,
        Self::Timestamp,
        Self::ExpiresAt,
        Self::Kind,
        Self::Metadata,
        Self::Headers,
        Self::Vector,
        Self::Payload,
    ];

    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Sequence => "sequence",
            Self::Timestamp => "timestamp",
            Self::ExpiresAt => "expires_at",
            Self::Kind => "kind",
            Self::Metadata => "metadata",
            Self::Headers => "headers",
            Self::Vector => "vector",
            Self::Payload => "payload",
        }
    }
}

/// What the column `kind` says.
pub(super) const PUT: &str = "put";
pub(super) const DELETE: &str = "delete";

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn header_fields() -> Fields {
    vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, false)].into()
}

fn header_field() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Struct(header_fields()), false))
}

fn number_field() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}

/// The schema of a file whose vectors have so many dimensions.
pub(super) fn schema(dimensions: Option<u32>) -> SchemaRef {
    let field = |column: Column| {
        let (kind, nullable) = match column {
            Column::Key | Column::Payload => (DataType::Binary, true),
            Column::Sequence => (DataType::Int64, false),
            Column::Timestamp => (time(), false),
            Column::ExpiresAt => (time(), true),
            Column::Kind => (DataType::Utf8, false),
            Column::Metadata => (DataType::Utf8, true),
            Column::Headers => (DataType::List(header_field()), false),
            Column::Vector => (DataType::FixedSizeList(number_field(), list_len(dimensions?)), true),
        };
        Some(Field::new(column.name(), kind, nullable))
    };
    Arc::new(Schema::new(Column::ALL.into_iter().filter_map(field).collect::<Vec<_>>()))
}

fn list_len(dimensions: u32) -> i32 {
    i32::try_from(dimensions).expect("at most 65,536 dimensions")
}

/// Records that become one row group.
pub(super) struct Group {
    schema: SchemaRef,
    dimensions: Option<u32>,
    bytes: usize,
    key: BinaryBuilder,
    sequence: Vec<i64>,
    timestamp: Vec<i64>,
    expires_at: Vec<Option<i64>>,
    kind: StringBuilder,
    metadata: StringBuilder,
    header_ends: Vec<i32>,
    header_key: StringBuilder,
    header_value: BinaryBuilder,
    vector: Vec<f32>,
    has_vector: NullBufferBuilder,
    payload: BinaryBuilder,
}

/// What became of a record's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It has none.
    None,
    /// In the vector column.
    Column,
    /// In the payload only: it has other dimensions than the column.
    Payload,
}

impl Group {
    pub fn new(dimensions: Option<u32>) -> Self {
        Self {
            schema: schema(dimensions),
            dimensions,
            bytes: 0,
            key: BinaryBuilder::new(),
            sequence: Vec::new(),
            timestamp: Vec::new(),
            expires_at: Vec::new(),
            kind: StringBuilder::new(),
            metadata: StringBuilder::new(),
            header_ends: vec![0],
            header_key: StringBuilder::new(),
            header_value: BinaryBuilder::new(),
            vector: Vec::new(),
            has_vector: NullBufferBuilder::new(0),
            payload: BinaryBuilder::new(),
        }
    }

    pub const fn rows(&self) -> usize {
        self.sequence.len()
    }

    /// Bytes of the values, about.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, record: &Record) -> Placed {
        let signed = |number: u64| i64::try_from(number).expect("a sequence is at most 2^63-1");
        self.sequence.push(signed(record.sequence.0));
        self.timestamp.push(record.timestamp.0);
        self.expires_at.push(record.expires_at.map(|at| at.0));
        self.kind.append_value(match record.kind {
            RecordKind::Put => PUT,
            RecordKind::Delete => DELETE,
        });
        self.key.append_option(record.key.as_deref());
        for header in &record.headers {
            self.header_key.append_value(&header.key);
            self.header_value.append_value(&header.value);
            self.bytes += header.key.len() + header.value.len();
        }
        let count = i32::try_from(record.headers.len()).expect("a record has fewer than 2^31 headers");
        self.header_ends.push(self.header_ends.last().map_or(0, |end| end + count));
        let placed = self.push_vector_and_payload(record);
        self.bytes += 32 + record.key.as_ref().map_or(0, bytes::Bytes::len);
        placed
    }

    fn push_vector_and_payload(&mut self, record: &Record) -> Placed {
        let vector = VectorRecord::of_record(record).and_then(Result::ok);
        let dimensions = self.dimensions.map(|dimensions| dimensions as usize);
        self.bytes += record.payload.as_ref().map_or(0, bytes::Bytes::len);
        match &vector {
            Some(found) if Some(found.vector.len()) == dimensions => {
                self.vector.extend_from_slice(&found.vector);
                self.has_vector.append_non_null();
                self.metadata.append_value(&found.metadata);
                let mut again = Vec::with_capacity(record.payload.as_ref().map_or(0, bytes::Bytes::len));
                datum::encode(&mut again, &found.id, &found.vector, &found.metadata);
                let is_same = record.payload.as_deref() == Some(&again[..]);
                self.payload.append_option(record.payload.as_deref().filter(|_| !is_same));
                return Placed::Column;
            }
            _ => {}
        }
        // Zeros stand for a vector that is not there, and take as much.
        self.vector.resize(self.vector.len() + dimensions.unwrap_or(0), 0.0);
        self.bytes += dimensions.unwrap_or(0) * size_of::<f32>();
        self.has_vector.append_null();
        self.metadata.append_null();
        self.payload.append_option(record.payload.as_deref());
        if vector.is_some() { Placed::Payload } else { Placed::None }
    }

    /// The row group's columns; the group is empty then.
    pub fn take(&mut self) -> RecordBatch {
        let mut full = std::mem::replace(self, Self::new(self.dimensions));
        let utc = |values: TimestampMicrosecondArray| Arc::new(values.with_timezone("UTC")) as ArrayRef;
        let headers = StructArray::new(
            header_fields(),
            vec![Arc::new(full.header_key.finish()), Arc::new(full.header_value.finish())],
            None,
        );
        let ends = OffsetBuffer::new(ScalarBuffer::from(full.header_ends));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(full.key.finish()),
            Arc::new(Int64Array::from(full.sequence)),
            utc(TimestampMicrosecondArray::from(full.timestamp)),
            utc(TimestampMicrosecondArray::from(full.expires_at)),
            Arc::new(full.kind.finish()),
            Arc::new(full.metadata.finish()),
            Arc::new(ListArray::new(header_field(), ends, Arc::new(headers), None)),
        ];
        if let Some(dimensions) = full.dimensions {
            let values = Arc::new(Float32Array::from(full.vector));
            let nulls = full.has_vector.finish();
            columns.push(Arc::new(FixedSizeListArray::new(number_field(), list_len(dimensions), values, nulls)));
        }
        columns.push(Arc::new(full.payload.finish()));
        RecordBatch::try_new(full.schema, columns).expect("columns of the schema, all of one length")
    }
}
