//! Rows against files.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::Verifier;
use crate::catalog::{SegmentKey, SegmentRow};
use crate::error::Result;
use crate::fs::{EntryKind, FileSystem, FsError, OpenMode};
use crate::log::damage::Damaged;
use crate::log::recover::journals::chain;
use crate::segment::{self, FileKind, FileRange, SegmentError, SegmentName, SegmentReader};
use crate::types::{CollectionName, LogId, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 256;

/// What is known of a segment's file, compared with its row.
#[derive(Debug, Default)]
pub(in crate::log) struct Judged {
    /// What is wrong.
    pub faults: Vec<Damaged>,
    /// Records that it holds, as far as was looked.
    pub records: u64,
}

/// Compares a segment's file with its row, `deep` byte by byte, else its front and end.
pub(in crate::log) fn judge(fs: &dyn FileSystem, log: LogId, path: &Path, row: &SegmentRow, deep: bool) -> Judged {
    let fault = |first: Sequence, last: Sequence, reason: String| Damaged {
        path: path.to_path_buf(),
        collection: Some(row.key.collection.clone()),
        first_sequence: Some(first),
        last_sequence: Some(last),
        reason,
    };
    let whole =
        |reason: String| Judged { faults: vec![fault(row.key.first, row.key.last, reason)], ..Judged::default() };
    let file = match fs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return whole("the file of a segment is missing".into()),
        Err(error) => return whole(chain(&error)),
    };
    let source = Arc::new(FileRange(file));
    let reader = match SegmentReader::open_range(source.clone()) {
        Ok(reader) => reader,
        Err(error) => return whole(chain(&error)),
    };
    if let Some(differs) = difference(&reader, row, log) {
        return whole(differs.into());
    }
    let verified = if deep { segment::verify_deep(source, Some(row.sha256)) } else { segment::verify(source) };
    match verified {
        Ok(verdict) => {
            let faults = verdict.damaged.into_iter().map(|damage| {
                let (first, last) =
                    damage.sequences.map_or((row.key.first, row.key.last), |range| (range.first, range.last));
                fault(first, last, format!("{}, offset=`{}`", damage.what, damage.offset))
            });
            Judged { faults: faults.collect(), records: verdict.records }
        }
        Err(SegmentError::Damaged(damage)) => whole(damage.to_string()),
        Err(error) => whole(chain(&error)),
    }
}

/// What of a segment's footer is not as its row says.
fn difference(reader: &SegmentReader, row: &SegmentRow, log: LogId) -> Option<&'static str> {
    let footer = reader.footer();
    if footer.log != log {
        Some("it is of another log")
    } else if footer.collection != row.key.collection {
        Some("it is of another collection")
    } else if (footer.covers.first, footer.covers.last) != (row.key.first, row.key.last) {
        Some("it covers another range than its row says")
    } else if footer.generation != row.key.generation {
        Some("it is of another generation than its row says")
    } else if footer.content_digest != row.content_digest || footer.records != row.records {
        Some("it holds other records than its row says")
    } else if (footer.timestamp_min, footer.timestamp_max) != (row.timestamp_min, row.timestamp_max) {
        Some("its records have other times than its row says")
    } else if reader.file_bytes().is_some_and(|bytes| bytes != row.bytes) {
        Some("its length is not what its row says")
    } else {
        None
    }
}

impl Verifier<'_> {
    /// Looks at every segment of a collection, and adds what each answers for; returns the last sequence of them.
    pub(super) fn check_segments(
        &mut self,
        name: &CollectionName,
        there: &mut Vec<(Sequence, Sequence)>,
    ) -> Result<Sequence> {
        let mut sealed = Sequence(0);
        let mut after: Option<SegmentKey> = None;
        loop {
            let rows = self.log.0.catalog.segments(Some(name), after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { return Ok(sealed) };
            after = Some(last.key.clone());
            for row in rows.iter().filter(|row| row.status.is_live()) {
                sealed = sealed.max(row.key.last);
                match there.last_mut().filter(|before| before.1.next() == row.key.first) {
                    Some(before) => before.1 = row.key.last,
                    None => there.push((row.key.first, row.key.last)),
                }
                if row.status.is_local() {
                    self.check_segment(row)?;
                }
            }
        }
    }

    fn check_segment(&mut self, row: &SegmentRow) -> Result<()> {
        let home = self.log.0.directories.iter().position(|directory| directory.id == row.directory);
        if let Some(missing) = home.and_then(|home| self.missing(home)) {
            missing.segments += 1;
            missing.bytes += row.bytes;
            return Ok(());
        }
        let faults = self.judge(row);
        if !faults.is_empty() {
            // Compacted, evicted or set aside meanwhile? Then the file was no longer ours to judge.
            let now = self.log.0.catalog.segment(&row.key)?;
            if now.is_some_and(|now| now.status.is_local()) {
                self.report.damaged.extend(faults);
            }
        }
        self.report.segments += 1;
        self.progress.segments += 1;
        self.progress.bytes += row.bytes;
        (self.on_progress)(self.progress);
        Ok(())
    }

    /// What is wrong with a segment's file.
    fn judge(&mut self, row: &SegmentRow) -> Vec<Damaged> {
        let log = &self.log.0;
        let path = log.path_of(row).unwrap_or_else(|| Path::new(&row.directory).join(&row.path));
        let judged = judge(&*log.fs, log.log_id, &path, row, self.options.deep);
        self.report.records += judged.records;
        judged.faults
    }

    /// Files that look like segments and that the catalog does not know.
    pub(super) fn find_files_without_row(&mut self) -> Result<()> {
        for (index, directory) in self.log.0.directories.iter().enumerate() {
            if self.missing(index).is_some() {
                continue;
            }
            let entries = match self.log.0.fs.list(&directory.path) {
                Ok(entries) => entries,
                Err(error) => {
                    self.cannot_list(&directory.path, None, &error);
                    continue;
                }
            };
            for entry in entries {
                if entry.kind != EntryKind::Directory || entry.name.starts_with('.') {
                    continue;
                }
                let folder = directory.path.join(&entry.name);
                let files: Vec<SegmentName> = match self.log.0.fs.list(&folder) {
                    Ok(files) => files.iter().filter_map(|file| SegmentName::parse(&file.name)).collect(),
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => {
                        self.cannot_list(&folder, self.collection_of(&entry.name), &error);
                        continue;
                    }
                };
                let Some(name) = self.collection_of(&entry.name) else {
                    self.report.without_row.extend(files.iter().map(|file| folder.join(file.to_string())));
                    continue;
                };
                let known = self.rows_of(&name)?;
                let strangers = files
                    .iter()
                    .filter(|file| file.kind == FileKind::Segment)
                    .filter(|file| !known.contains(&(file.covers.first, file.covers.last, file.generation.0)))
                    .map(|file| folder.join(file.to_string()))
                    // It may have been there for a moment only.
                    .filter(|path| self.log.0.fs.metadata(path).is_ok());
                self.report.without_row.extend(strangers);
            }
        }
        self.report.without_row.sort();
        Ok(())
    }

    fn cannot_list(&mut self, path: &Path, collection: Option<CollectionName>, error: &FsError) {
        self.report.damaged.push(Damaged {
            path: path.to_path_buf(),
            collection,
            first_sequence: None,
            last_sequence: None,
            reason: chain(error),
        });
    }

    fn collection_of(&self, folder: &str) -> Option<CollectionName> {
        CollectionName::from_directory_name(folder).or_else(|| {
            let all = self.log.0.collections();
            all.keys().find(|name| name.directory_name() == folder).cloned()
        })
    }

    /// Rows of every status.
    fn rows_of(&self, name: &CollectionName) -> Result<HashSet<(Sequence, Sequence, u32)>> {
        let mut known = HashSet::new();
        let mut after: Option<SegmentKey> = None;
        loop {
            let rows = self.log.0.catalog.segments(Some(name), after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { return Ok(known) };
            after = Some(last.key.clone());
            known.extend(rows.iter().map(|row| (row.key.first, row.key.last, row.key.generation.0)));
        }
    }
}
