//! What compaction made and an older copy of the catalog does not know.
//!
//! A backup of the catalog is put back, or a mirror that was behind becomes the catalog: rows of segments that were compacted since say
//! Sealed, their files are gone, and what was made from them has no row. It counts, and nothing is lost (C3, R3).

use std::path::Path;

use super::super::table::{Action, Elsewhere, FileState, decide};
use super::compare::Comparison;
use super::{SegmentFinding, segment_path};
use crate::catalog::{SegmentKey, SegmentRow};
use crate::error::Result;
use crate::segment::{Footer, SequenceRange};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;

/// What a whole file without a row is to the live rows of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compacted {
    /// None that was made from all of them, or one that nobody misses.
    No,
    /// Made from all of them, of which some are gone; whether the others are cannot be seen now. Nothing is changed.
    Waits,
    /// Made from all of them, of which some are gone: it takes their place.
    Counts,
}

impl Comparison<'_> {
    /// What the file at `path` is, which was read and is whole. The rows that it takes the place of are told so.
    pub(super) fn compacted(&mut self, key: &SegmentKey, (directory, path): (usize, &Path)) -> Result<Compacted> {
        let Some(footer) = self.footer(path).filter(|footer| !footer.inputs.is_empty()) else {
            return Ok(Compacted::No);
        };
        let rows = self.live_rows(key)?;
        let (mut is_missed, mut is_hidden) = (false, false);
        for row in &rows {
            if !self.is_made_from(&footer, row)? {
                return Ok(Compacted::No);
            }
            match self.file_of(row) {
                // Another row of the same compaction may tell.
                None => is_hidden |= row.status.is_local(),
                Some(file) => {
                    let action = decide(Some(row.status), file, Elsewhere::Compacted, row.archive_key.is_some());
                    is_missed |= action == Action::Replace;
                    is_hidden |= action == Action::Report;
                }
            }
        }
        if !is_missed {
            return Ok(Compacted::No);
        }
        for row in rows {
            self.tell(row, is_hidden, (directory, path));
        }
        Ok(if is_hidden { Compacted::Waits } else { Compacted::Counts })
    }

    fn live_rows(&self, key: &SegmentKey) -> Result<Vec<SegmentRow>> {
        let mut rows: Vec<SegmentRow> = Vec::new();
        let mut from = key.first;
        loop {
            let page = self.catalog.segments_from(&key.collection, from, PAGE_ROWS)?;
            let Some(last) = page.last() else { return Ok(rows) };
            from = last.key.last.next();
            let is_over = last.key.last >= key.last;
            rows.extend(page.into_iter().filter(|row| row.key.first <= key.last));
            if is_over {
                return Ok(rows);
            }
        }
    }

    /// Whether what a footer tells of was made from a row: from itself, or from what was made from it meanwhile, of which the catalog does not
    /// know either. A name is never used for other content (F4).
    fn is_made_from(&self, footer: &Footer, row: &SegmentRow) -> Result<bool> {
        let range = SequenceRange { first: row.key.first, last: row.key.last };
        for input in &footer.inputs {
            let covers = input.covers;
            if covers == range && input.generation == row.key.generation {
                return Ok(input.content_digest == row.content_digest);
            }
            let is_inside = covers.first <= range.first && range.last <= covers.last;
            if is_inside && input.generation > row.key.generation {
                let collection = footer.collection.clone();
                let (first, last, generation) = (covers.first, covers.last, input.generation);
                return Ok(self.catalog.segment(&SegmentKey { collection, first, last, generation })?.is_none());
            }
        }
        Ok(false)
    }

    /// What lies in a row's own place, where that can be seen; a whole copy elsewhere counts for it.
    fn file_of(&self, row: &SegmentRow) -> Option<FileState> {
        let is_here = self.directories.iter().any(|(id, _)| *id == row.directory);
        if !is_here || self.unjudged.contains_key(&row.directory) {
            return None;
        }
        Some(match self.of_rows.get(&row.key).map(|at| &self.found.findings[*at]) {
            None if row.status.is_local() => FileState::Present,
            None => FileState::Absent,
            Some(finding) if finding.action == Action::Relocate => FileState::Present,
            Some(finding) => finding.file,
        })
    }

    fn tell(&mut self, row: SegmentRow, is_hidden: bool, (directory, path): (usize, &Path)) {
        let known = self.of_rows.get(&row.key).copied();
        if is_hidden {
            if let Some(finding) = known.map(|at| &mut self.found.findings[at])
                && finding.action == Action::Quarantine
            {
                finding.action = Action::Report;
                finding.reason = format!("{}; it may have been compacted: path=`{}`", finding.reason, path.display());
            }
            return;
        }
        let (action, reason) = (Action::Replace, format!("it was compacted: path=`{}`", path.display()));
        let beside = Some((directory, path.to_path_buf()));
        if let Some(finding) = known.map(|at| &mut self.found.findings[at]) {
            (finding.action, finding.reason, finding.beside) = (action, reason, beside);
            return;
        }
        let file = self.file_of(&row).unwrap_or(FileState::Absent);
        let home = self.directories.iter().position(|(id, _)| *id == row.directory).unwrap_or(directory);
        self.found.findings.push(SegmentFinding {
            key: row.key.clone(),
            directory: home,
            path: segment_path(&self.directories[home].1, &row.key),
            row: Some(row),
            file,
            action,
            reason,
            beside,
            differs: false,
        });
    }
}
