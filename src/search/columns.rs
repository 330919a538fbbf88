//! The columnar store, as search sees it.
//!
//! Vectors that have other dimensions than most of their file are not in its vector column but in payloads; they are looked for there, and only in
//! files that say that they have some.

use std::sync::Arc;

use super::source::{FileFacts, GroupPlace, Head, Labels, Source, Vectors, View};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, Column, ColumnarStore, FileEntry, RowGroup, Rows};
use crate::types::{CollectionName, Record, Sequence};

/// What [`Rows::other_vector`] wants.
const PAYLOADS: [Column; 5] = [Column::Key, Column::Kind, Column::Headers, Column::Vector, Column::Payload];

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
    fn read(&self, place: GroupPlace, columns: &[Column]) -> Result<(RowGroup, Rows, u64)> {
        let group = self.view.files()[place.file].row_group(place.group)?;
        let group = group.expect("a place is one of the facts");
        let (rows, bytes) = (group.read(columns)?, group.stored_bytes(columns));
        Ok((group, rows, bytes))
    }

    fn entry(&self, place: GroupPlace) -> &FileEntry {
        self.view.files()[place.file].entry()
    }
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
        let (group, rows, bytes) = self.read(place, &[Column::Key, Column::Sequence, Column::ExpiresAt])?;
        for row in 0..rows.len() {
            let sequence = rows.sequence(row).ok_or_else(|| incomplete(&group, Column::Sequence))?;
            each(Head { sequence, key: rows.key(row), expires_at: rows.expires_at(row) });
        }
        Ok(bytes)
    }

    fn vectors(&self, place: GroupPlace, dimensions: usize) -> Result<Vectors> {
        let entry = self.entry(place);
        let is_column = entry.dimensions.is_some_and(|column| column as usize == dimensions);
        let mut found = Vectors::default();
        if !is_column && place.group == 0 {
            found.others += entry.vectors;
        }
        let columns: &[Column] = match (entry.other_vectors > 0, is_column) {
            (true, _) => &PAYLOADS,
            (false, true) => &[Column::Vector],
            (false, false) => return Ok(found),
        };
        let (group, rows, bytes) = self.read(place, columns)?;
        found.bytes_read = bytes;
        let column = rows.vectors().filter(|_| is_column);
        if is_column && column.is_none() {
            return Err(incomplete(&group, Column::Vector));
        }
        if let Some(vectors) = column.filter(|vectors| vectors.is_complete()) {
            found.rows = (0..number(rows.len())).collect();
            found.values = vectors.values.to_vec();
            return Ok(found);
        }
        for row in 0..rows.len() {
            if let Some(vector) = column.as_ref().and_then(|vectors| vectors.get(row)) {
                found.rows.push(number(row));
                found.values.extend_from_slice(vector);
            } else if entry.other_vectors > 0
                && let Some(other) = rows.other_vector(row)
            {
                if other.vector.len() == dimensions {
                    found.rows.push(number(row));
                    found.values.extend_from_slice(&other.vector);
                } else {
                    found.others += 1;
                }
            }
        }
        Ok(found)
    }

    fn labels(&self, place: GroupPlace) -> Result<Labels> {
        let has_others = self.entry(place).other_vectors > 0;
        let mut columns = vec![Column::Key, Column::Metadata];
        if has_others {
            columns.extend(PAYLOADS.into_iter().filter(|column| *column != Column::Key));
        }
        let (_, rows, bytes_read) = self.read(place, &columns)?;
        let mut labels = Labels { bytes_read, ..Labels::default() };
        for row in 0..rows.len() {
            // Rows without metadata are no vectors, or are vectors elsewhere.
            let other = if has_others { rows.other_vector(row) } else { None };
            let metadata = other.as_ref().map(|other| &*other.metadata).or_else(|| rows.metadata(row));
            let id = rows.key(row).filter(|_| metadata.is_some()).and_then(|key| std::str::from_utf8(key).ok());
            labels.ids.push(id.unwrap_or_default());
            labels.metadata.push(metadata.unwrap_or_default());
        }
        Ok(labels)
    }

    fn record(&self, place: GroupPlace, row: usize) -> Result<Record> {
        let (group, rows, _) = self.read(place, &Column::ALL)?;
        rows.record(row).ok_or_else(|| incomplete(&group, Column::Payload))
    }
}
