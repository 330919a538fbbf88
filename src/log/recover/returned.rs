//! What a directory holds that was away (A4): whether it is what the log has, where both have it.
//!
//! Owns: comparing a journal's records with those in segments. Journals of directories that were never away hold nothing else than
//! what was sealed from them, and are not compared.

use std::path::PathBuf;

use super::segments::segment_path;
use crate::avro::record::{self, Seed};
use crate::catalog::Catalog;
use crate::error::Result;
use crate::fs::{FileSystem, OpenMode};
use crate::memtable::Run;
use crate::segment::SegmentReader;
use crate::types::{CollectionName, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 16;

/// Where segments are found.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// Where files are.
    pub fs: &'a dyn FileSystem,
    /// Ids and paths.
    pub directories: &'a [(String, PathBuf)],
    /// The catalog.
    pub catalog: &'a dyn Catalog,
}

impl Sealed<'_> {
    /// The first record of a run that segments hold with other bytes, as far as they can be read here.
    ///
    /// # Errors
    /// The journal or the catalog cannot be read.
    pub fn differs(&self, collection: &CollectionName, run: &Run) -> Result<Option<String>> {
        let seed = Seed::of(collection);
        let bytes = run.load()?;
        let mut rest = &bytes[..];
        let mut open: Option<OpenSegment> = None;
        for sequence in (run.first.0..).take(usize::try_from(run.count).unwrap_or(usize::MAX)).map(Sequence) {
            let view = run.checked(record::decode(rest), seed, sequence.0)?;
            rest = &rest[view.encoded.len()..];
            if open.as_ref().is_none_or(|open| open.last < sequence) {
                open = self.open(collection, sequence, run)?;
            }
            let Some(open) = open.as_mut().filter(|open| open.first <= sequence) else { continue };
            if open.has(sequence, view.encoded) == Some(false) {
                return Ok(Some(format!(
                    "a journal that was away holds sequence `{sequence}` with other bytes than a segment: path=`{}`, \
                     segment=`{}`",
                    run.file.path.display(),
                    open.path.display()
                )));
            }
        }
        Ok(None)
    }

    /// The segment that holds `sequence`, or the next one; `None` where there is none that can be read here. Where that is so, nobody knows
    /// whether the run is the same: its journal is kept as evidence.
    fn open(&self, collection: &CollectionName, sequence: Sequence, run: &Run) -> Result<Option<OpenSegment>> {
        let rows = self.catalog.segments_from(collection, sequence, PAGE_ROWS)?;
        let newest = rows.iter().filter(|row| row.key.first <= sequence).max_by_key(|row| row.key.generation);
        let Some(row) = newest.or(rows.first()) else { return Ok(None) };
        let directory = self.directories.iter().find(|(id, _)| *id == row.directory);
        let Some((_, directory)) = directory.filter(|_| row.status.is_local()) else {
            run.file.note_damage();
            return Ok(None);
        };
        let path = segment_path(directory, &row.key);
        let opened = self.fs.open(&path, OpenMode::Read).ok().and_then(|file| SegmentReader::open(file).ok());
        if opened.is_none() {
            run.file.note_damage();
        }
        let (first, last) = (row.key.first, row.key.last);
        Ok(opened.map(|reader| OpenSegment { reader, path, first, last, block: None }))
    }
}

struct OpenSegment {
    reader: SegmentReader,
    path: PathBuf,
    first: Sequence,
    last: Sequence,
    block: Option<(usize, crate::segment::Block)>,
}

impl OpenSegment {
    /// Whether it holds these bytes as the record; `None` where it does not hold the record, or cannot be read.
    fn has(&mut self, sequence: Sequence, encoded: &[u8]) -> Option<bool> {
        let blocks = &self.reader.footer().blocks;
        let number = blocks.partition_point(|block| block.held.last < sequence);
        blocks.get(number).filter(|block| block.held.first <= sequence)?;
        if self.block.as_ref().is_none_or(|(known, _)| *known != number) {
            self.block = Some((number, self.reader.block(number).ok()?));
        }
        let (_, block) = self.block.as_ref()?;
        let view = block.view(block.position(sequence)).filter(|view| view.sequence == sequence.0)?;
        Some(view.encoded == encoded)
    }
}
