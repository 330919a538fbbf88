//! Merges a collection's small files.
//!
//! What always holds: readers see the files before, or the files behind, by one new state; no record is lost or changed by it. It takes as much memory as
//! one row group and the file that is written.

use std::sync::Arc;

use super::collection::{Changing, Collection};
use super::columns::Column;
use super::file::StoreFile;
use super::load::Loaded;
use super::state::{FileEntry, State};
use super::write::{FileHead, FileWriter};
use super::{Inner, StoreOptions};
use crate::compaction::Freed;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Record, Sequence};

/// Whether a collection has so many small files that they are merged without being asked for it.
pub(super) fn is_due(state: &State, options: &StoreOptions) -> bool {
    let small = state.files.iter().filter(|file| is_small(file, options)).count();
    options.merge_files > 0 && small > options.merge_files && !runs(state, options).is_empty()
}

const fn is_small(file: &FileEntry, options: &StoreOptions) -> bool {
    file.bytes < options.file_bytes / 2
}

/// Neighbours that are merged into one file each: small ones, together of at most the wanted size. With a file of half the wanted size or more
/// nothing is merged, so that each record is written a few times and no more.
fn runs(state: &State, options: &StoreOptions) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let (mut begin, mut bytes) = (0, 0_u64);
    for (at, file) in state.files.iter().enumerate() {
        let fits = is_small(file, options) && bytes.saturating_add(file.bytes) <= options.file_bytes;
        if !fits {
            runs.push(begin..at);
            (begin, bytes) = if is_small(file, options) { (at, 0) } else { (at + 1, 0) };
        }
        if is_small(file, options) {
            bytes = bytes.saturating_add(file.bytes);
        }
    }
    runs.push(begin..state.files.len());
    runs.retain(|run| run.len() > 1);
    runs
}

/// Merges what can be merged. A run is durable and counts before the next one begins.
pub(super) fn merge(
    collection: &Collection,
    store: &Inner,
    changing: &mut Changing,
    mut loaded: Loaded,
) -> Result<Freed> {
    let mut done = Freed::default();
    loop {
        let Some(before) = loaded.snapshot.clone() else { return Ok(done) };
        let Some(run) = runs(&before.state, &store.options).into_iter().next() else { return Ok(done) };
        let inputs = &before.files[run.clone()];
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return Ok(done) };
        let epoch = before.state.cursor.map(|cursor| cursor.epoch).unwrap_or_default();
        let mut writer = FileWriter::new(FileHead {
            log: store.log,
            collection: collection.name.clone(),
            epoch,
            first: first.entry().first,
            last: last.entry().last,
            dimensions: most_dimensions(inputs),
        })?;
        for file in inputs {
            copy(file, &mut writer, &mut |_| true, |_| true)?;
        }
        let rows: u64 = inputs.iter().map(|file| file.entry().rows).sum();
        if writer.rows() != rows {
            let message = format!(
                "files of the columnar store do not have the records that they say: collection=`{}`, found=`{}`, expected=`{rows}`",
                collection.name,
                writer.rows()
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let mut files = before.state.files.clone();
        let bytes_before: u64 = files[run.clone()].iter().map(|file| file.bytes).sum();
        let written = writer.finish(loaded.newest.next())?;
        let mut bytes_after = 0;
        if let Some(written) = &written {
            collection.put_file(changing, &loaded, written)?;
            bytes_after = written.entry.bytes;
        }
        files.splice(run.clone(), written.map(|written| written.entry));
        let after = collection.commit(store, changing, &loaded, before.state.cursor, before.state.floor, files)?;
        loaded = after;
        collection.drop_files(changing, before, &loaded)?;
        done.files_before += run.len() as u64;
        done.files_after += 1;
        done.bytes_before += bytes_before;
        done.bytes_after += bytes_after;
    }
}

/// The dimensions of most of the vectors that are in columns.
pub(super) fn most_dimensions(files: &[Arc<StoreFile>]) -> Option<u32> {
    let mut counts = std::collections::BTreeMap::<u32, u64>::new();
    for entry in files.iter().map(|file| file.entry()) {
        if let Some(dimensions) = entry.dimensions {
            *counts.entry(dimensions).or_default() += entry.vectors;
        }
    }
    counts.into_iter().max_by_key(|(_, vectors)| *vectors).map(|(dimensions, _)| dimensions)
}

/// Writes the records of a file that are wanted, one row group at a time; whether it came to the end. `pace` is told of each group's bytes, and ends it
/// by answering no.
pub(super) fn copy(
    file: &Arc<StoreFile>,
    writer: &mut FileWriter,
    pace: &mut dyn FnMut(u64) -> bool,
    mut is_wanted: impl FnMut(&Record) -> bool,
) -> Result<bool> {
    let mut last = Sequence(0);
    for group in file.row_groups()? {
        if !pace(group.stored_bytes(&Column::ALL)) {
            return Ok(false);
        }
        let rows = group.read(&Column::ALL)?;
        for row in 0..rows.len() {
            let record = rows.record(row).filter(|record| record.sequence > last).ok_or_else(|| {
                let message = format!("a file of the columnar store is not in order: key=`{}`", file.key());
                Error::new(ErrorKind::Corrupt, message)
            })?;
            last = record.sequence;
            if is_wanted(&record) {
                writer.push(&record)?;
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::names::StateNumber;
    use super::super::state::FORMAT;
    use super::*;
    use crate::types::{CollectionName, Timestamp};

    fn runs_of(sizes: &[u64], file_bytes: u64) -> Vec<(usize, usize)> {
        let file = |(at, bytes): (usize, &u64)| {
            let sequence = Sequence(at as u64 + 1);
            FileEntry {
                first: sequence,
                last: sequence,
                generation: StateNumber(1),
                bytes: *bytes,
                sha256: [0; 32],
                footer_bytes: 0,
                footer_crc32c: 0,
                rows: 1,
                deletes: 0,
                expiring: 0,
                sequence_min: sequence,
                sequence_max: sequence,
                time_min: Timestamp(0),
                time_max: Timestamp(0),
                dimensions: None,
                vectors: 0,
                other_vectors: 0,
            }
        };
        let state = State {
            format: FORMAT,
            log: String::new(),
            collection: CollectionName::new("a").unwrap(),
            number: StateNumber(1),
            at: Timestamp(0),
            cursor: None,
            floor: Sequence(1),
            files: sizes.iter().enumerate().map(file).collect(),
        };
        let runs = runs(&state, &StoreOptions { file_bytes, ..StoreOptions::default() });
        runs.into_iter().map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn small_neighbours_are_merged_up_to_the_size() {
        assert!(runs_of(&[], 10).is_empty());
        assert!(runs_of(&[1], 10).is_empty());
        assert_eq!(runs_of(&[1, 2, 3], 10), [(0, 3)]);
        assert_eq!(runs_of(&[4, 4, 4, 4, 4], 10), [(0, 2), (2, 4)]);
        assert_eq!(runs_of(&[1, 5, 1, 1], 10), [(2, 4)]);
        assert!(runs_of(&[9, 9, 9], 10).is_empty());
        assert_eq!(runs_of(&[4, 4, 9, 4], 10), [(0, 2)]);
        assert_eq!(runs_of(&[4, 4, 2, 1, 9], 10), [(0, 3)]);
    }
}
