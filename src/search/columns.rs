//! The columnar store, as search sees it.
//!
//! Vectors that have other dimensions than most of their file are not in its vector column but in payloads; they are looked for there, and only in
//! files that say that they have some.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::source::{EachVectors, FileFacts, GroupPlace, Head, Labels, Reading, Source, VectorsRead, View};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, Column, ColumnarStore, FileEntry, RowGroup, Rows};
use crate::types::{CollectionName, Record, Sequence};

const HEADS: &[Column] = &[Column::Key, Column::Sequence, Column::ExpiresAt];
const VECTORS: &[Column] = &[Column::Vector];
const LABELS: &[Column] = &[Column::Key, Column::Metadata];
/// What [`Rows::other_vector`] wants.
const PAYLOADS: &[Column] = &[Column::Key, Column::Kind, Column::Headers, Column::Vector, Column::Payload];
const LABELS_AND_PAYLOADS: &[Column] =
    &[Column::Key, Column::Kind, Column::Metadata, Column::Headers, Column::Vector, Column::Payload];

/// About so many bytes of a row group are unpacked at a time.
const LOT_BYTES: usize = 256 << 10;
/// A page that the store writes ends behind so many bytes, but only every so many rows.
const PAGE_BYTES: usize = 1 << 20;
const PAGE_STEP_ROWS: usize = 1024;
/// What unpacking takes beside its input and output: the window of zstd's first level, and its tables.
const UNPACKER_BYTES: usize = 1 << 20;

/// A view of the store. Row groups are opened when they are read: no footer is held for long.
#[derive(Debug)]
struct Columns {
    view: store::View,
    through: Sequence,
    facts: Vec<FileFacts>,
}

impl Source for ColumnarStore {
    fn view(&self, collection: &CollectionName) -> Result<Arc<dyn View>> {
        let Some(view) = Self::view(self, collection)? else { return Ok(Arc::new(super::source::Nothing)) };
        let facts = view
            .files()
            .iter()
            .map(|file| Ok(FileFacts { name: file.entry().name().to_string(), groups: file.group_rows()?.to_vec() }));
        let facts = facts.collect::<Result<_>>()?;
        let through = view.cursor().map_or(Sequence(0), |cursor| cursor.sequence);
        Ok(Arc::new(Columns { view, through, facts }))
    }
}

impl Columns {
    fn group(&self, place: GroupPlace) -> Result<RowGroup> {
        let group = self.view.files()[place.file].row_group(place.group)?;
        Ok(group.expect("a place is one of the facts"))
    }

    fn entry(&self, place: GroupPlace) -> &FileEntry {
        self.view.files()[place.file].entry()
    }

    /// Where vectors of so many dimensions may be: `None` where there are none.
    fn vector_columns(&self, place: GroupPlace, dimensions: usize) -> Option<&'static [Column]> {
        let entry = self.entry(place);
        let is_column = entry.dimensions.is_some_and(|column| column as usize == dimensions);
        match (entry.other_vectors > 0, is_column) {
            (true, _) => Some(PAYLOADS),
            (false, true) => Some(VECTORS),
            (false, false) => None,
        }
    }

    fn label_columns(&self, place: GroupPlace) -> &'static [Column] {
        if self.entry(place).other_vectors > 0 { LABELS_AND_PAYLOADS } else { LABELS }
    }

    fn lots(
        &self,
        place: GroupPlace,
        columns: &[Column],
        mut each: impl FnMut(&RowGroup, usize, &Rows) -> Result<ControlFlow<()>>,
    ) -> Result<u64> {
        let group = self.group(place)?;
        group.read_lots(columns, lot_rows(&group, columns), |first, rows| each(&group, first, rows))?;
        Ok(group.stored_bytes(columns))
    }
}

/// How many bytes columns have when they are unpacked; a row without a vector has zeros for one then.
fn unpacked(group: &RowGroup, columns: &[Column]) -> usize {
    let unpacked = number_of(group.unpacked_bytes(columns));
    let dimensions = group.file().entry().dimensions.filter(|_| columns.contains(&Column::Vector));
    unpacked.max(group.rows() * dimensions.map_or(0, |dimensions| dimensions as usize * size_of::<f32>()))
}

fn lot_rows(group: &RowGroup, columns: &[Column]) -> usize {
    let rows = group.rows().max(1);
    let row = (unpacked(group, columns) / rows).max(1);
    (LOT_BYTES / row).clamp(1, rows)
}

/// What is in memory while columns are read: their bytes as they are stored, of each a page, and a lot, which grows as it is filled.
fn peak(group: &RowGroup, columns: &[Column]) -> usize {
    let rows = group.rows().max(1);
    let page = |column: &Column| {
        let unpacked = number_of(group.unpacked_bytes(&[*column]));
        unpacked.min(PAGE_BYTES + unpacked / rows * PAGE_STEP_ROWS)
    };
    let unpacked = unpacked(group, columns);
    let lot = unpacked / rows * lot_rows(group, columns);
    let pages: usize = columns.iter().map(page).sum();
    number_of(group.stored_bytes(columns)) + pages + 2 * lot + UNPACKER_BYTES.min(2 * unpacked)
}

fn number_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn incomplete(group: &RowGroup, column: Column) -> Error {
    let (key, column) = (group.file().key(), column.name());
    let message = format!("a file of the columnar store lacks a column: key=`{key}`, column=`{column}`");
    Error::new(ErrorKind::Corrupt, message)
}

fn number(row: usize) -> u32 {
    u32::try_from(row).expect("a file has fewer than 2^32 rows")
}

impl View for Columns {
    fn through(&self) -> Sequence {
        self.through
    }

    fn files(&self) -> &[FileFacts] {
        &self.facts
    }

    fn heads(&self, place: GroupPlace, each: &mut dyn FnMut(Head<'_>)) -> Result<u64> {
        self.lots(place, HEADS, |group, _, rows| {
            for row in 0..rows.len() {
                let missing = || incomplete(group, Column::Sequence);
                let sequence = rows.sequence(row).ok_or_else(missing)?;
                each(Head { sequence, key: rows.key(row), expires_at: rows.expires_at(row) });
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn vectors(&self, place: GroupPlace, dimensions: usize, each: &mut EachVectors<'_>) -> Result<VectorsRead> {
        let entry = self.entry(place);
        let is_column = entry.dimensions.is_some_and(|column| column as usize == dimensions);
        let mut read = VectorsRead::default();
        if !is_column && place.group == 0 {
            read.others += entry.vectors;
        }
        let Some(columns) = self.vector_columns(place, dimensions) else { return Ok(read) };
        let (mut numbers, mut values) = (Vec::new(), Vec::new());
        read.bytes_read = self.lots(place, columns, |group, first, rows| {
            let column = rows.vectors().filter(|_| is_column);
            if is_column && column.is_none() {
                return Err(incomplete(group, Column::Vector));
            }
            numbers.clear();
            if let Some(vectors) = column.as_ref().filter(|vectors| vectors.is_complete()) {
                numbers.extend((first..first + rows.len()).map(number));
                each(&numbers, vectors.values)?;
                return Ok(ControlFlow::Continue(()));
            }
            values.clear();
            for row in 0..rows.len() {
                if let Some(vector) = column.as_ref().and_then(|vectors| vectors.get(row)) {
                    numbers.push(number(first + row));
                    values.extend_from_slice(vector);
                } else if entry.other_vectors > 0
                    && let Some(other) = rows.other_vector(row)
                {
                    if other.vector.len() == dimensions {
                        numbers.push(number(first + row));
                        values.extend_from_slice(&other.vector);
                    } else {
                        read.others += 1;
                    }
                }
            }
            each(&numbers, &values)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(read)
    }

    fn vectors_max(&self, place: GroupPlace, dimensions: usize) -> usize {
        let entry = self.entry(place);
        let in_column =
            if entry.dimensions.is_some_and(|column| column as usize == dimensions) { entry.vectors } else { 0 };
        self.facts[place.file].groups[place.group].min(number_of(in_column + entry.other_vectors))
    }

    fn labels(&self, place: GroupPlace) -> Result<Labels> {
        let columns = self.label_columns(place);
        let has_others = columns.contains(&Column::Payload);
        let mut labels = Labels::default();
        labels.bytes_read = self.lots(place, columns, |_, _, rows| {
            for row in 0..rows.len() {
                // Rows without metadata are no vectors, or are vectors elsewhere.
                let other = if has_others { rows.other_vector(row) } else { None };
                let metadata = other.as_ref().map(|other| &*other.metadata).or_else(|| rows.metadata(row));
                let id = rows.key(row).filter(|_| metadata.is_some()).and_then(|key| std::str::from_utf8(key).ok());
                labels.ids.push(id.unwrap_or_default());
                labels.metadata.push(metadata.unwrap_or_default());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(labels)
    }

    fn record(&self, place: GroupPlace, row: usize) -> Result<Record> {
        let mut record = None;
        self.lots(place, &Column::ALL, |group, first, rows| {
            if row >= first + rows.len() {
                return Ok(ControlFlow::Continue(()));
            }
            record = Some(rows.record(row - first).ok_or_else(|| incomplete(group, Column::Payload))?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(record.expect("a place is one of the facts"))
    }

    fn reading_bytes(&self, place: GroupPlace, what: Reading) -> usize {
        let columns = match what {
            Reading::Heads => HEADS,
            Reading::Vectors(dimensions) => match self.vector_columns(place, dimensions) {
                Some(columns) => columns,
                None => return 0,
            },
            Reading::Labels => self.label_columns(place),
            Reading::Record => &Column::ALL,
        };
        // Whoever reads then is told what is wrong.
        let Ok(group) = self.group(place) else { return 0 };
        // Texts grow as they are filled; where each one ends comes on top.
        let given =
            if what == Reading::Labels { 2 * number_of(group.unpacked_bytes(columns)) + 32 * group.rows() } else { 0 };
        peak(&group, columns) + given
    }
}
