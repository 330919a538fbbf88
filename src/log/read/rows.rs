//! Segments of one collection, by the catalog, a page at a time; and opening them.
//!
//! Owns: which segment holds a sequence, and that the file opened is the one that its row promises. Rows are hints: a
//! segment may be compacted, evicted or moved after its row was read, so who does not find the file asks again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::recover::journals::chain;
use super::super::recover::segments::segment_path;
use super::super::{Directory, DirectoryState, Inner};
use crate::catalog::{SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::OpenMode;
use crate::segment::{FileRange, Footer, SegmentError, SegmentReader};
use crate::types::{CollectionName, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 64;

/// A page of rows, in one direction.
#[derive(Debug, Default)]
pub(super) struct Rows(VecDeque<SegmentRow>);

impl Rows {
    /// Forgets the page: something in it was out of date.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// The row of the page that holds `at`, if any; asks nobody.
    pub fn known(&mut self, at: Sequence, backwards: bool) -> Option<SegmentRow> {
        let is_over = |row: &SegmentRow| if backwards { row.key.first > at } else { row.key.last < at };
        while self.0.front().is_some_and(is_over) {
            self.0.pop_front();
        }
        let holding = self.0.iter().take_while(|row| row.key.first <= at && at <= row.key.last);
        holding.max_by_key(|row| row.key.generation).cloned()
    }

    /// The row that holds `at`, by the catalog now; or the first one behind `at` in the direction of reading.
    pub fn find(
        &mut self,
        log: &Inner,
        collection: &CollectionName,
        at: Sequence,
        backwards: bool,
    ) -> Result<(Option<SegmentRow>, Option<SegmentRow>)> {
        let rows = if backwards {
            log.catalog.segments_back(collection, at, PAGE_ROWS)?
        } else {
            log.catalog.segments_from(collection, at, PAGE_ROWS)?
        };
        self.0 = rows.into();
        Ok((self.known(at, backwards), self.0.front().cloned()))
    }
}

/// Why a segment was not opened.
pub(super) enum NotOpened {
    /// Its file is not there.
    Missing(PathBuf),
    /// Its bytes are in the archive only, and the log was given none.
    Away,
    /// The archive does not give it.
    Archive(Error),
    /// Its directory is not there, or not readable: which, and why.
    NoDirectory(PathBuf, String),
    /// It cannot be read.
    Failed(PathBuf, SegmentError),
    /// It is not the one that the row promises.
    Other(PathBuf, &'static str),
}

impl Inner {
    /// Where a segment's file is, as far as its directory is one of the log's.
    pub(in crate::log) fn path_of(&self, row: &SegmentRow) -> Option<PathBuf> {
        let directory = self.directories.iter().find(|directory| directory.id == row.directory)?;
        Some(segment_path(&directory.path, &row.key))
    }

    /// Opens a segment, and compares it with its row. `known`: its footer, where that was read before.
    pub(super) fn open_segment(
        &self,
        row: &SegmentRow,
        known: Option<Arc<Footer>>,
    ) -> Result<SegmentReader, NotOpened> {
        if !row.status.is_local() {
            return self.open_archived(row, known);
        }
        let path = self.path_of(row).unwrap_or_else(|| PathBuf::from(&row.directory).join(&row.path));
        let directory = self.directories.iter().find(|directory| directory.id == row.directory);
        let state = directory.map(Directory::state);
        if let (Some(directory), Some(DirectoryState::Missing(why))) = (directory, &state) {
            return Err(NotOpened::NoDirectory(directory.path.clone(), why.clone()));
        }
        let file = match self.fs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => {
                return Err(match (directory, state) {
                    (Some(directory), Some(DirectoryState::Failed(why))) => {
                        NotOpened::NoDirectory(directory.path.clone(), why)
                    }
                    (None, _) => NotOpened::NoDirectory((&row.directory).into(), "it is none of the log's".into()),
                    _ => NotOpened::Missing(path),
                });
            }
            Err(error) => return Err(NotOpened::Failed(path, error.into())),
        };
        let source = Arc::new(FileRange(file));
        let opened = match known {
            Some(footer) => SegmentReader::with_footer(source, Footer::clone(&footer)),
            None => SegmentReader::open_range(source),
        };
        let reader = match opened {
            Ok(reader) => reader,
            Err(error) => return Err(NotOpened::Failed(path, error)),
        };
        self.compared(reader, row)
    }

    /// Opens the archived copy of a segment (O6). Its footer is kept: who comes again fetches blocks only.
    pub(super) fn open_archived(
        &self,
        row: &SegmentRow,
        known: Option<Arc<Footer>>,
    ) -> Result<SegmentReader, NotOpened> {
        let Some(archive) = &self.options.archive else { return Err(NotOpened::Away) };
        let source = archive.open(row).map_err(NotOpened::Archive)?;
        let path = source.path().to_path_buf();
        let opened = match known.or_else(|| self.footers.get(&row.key)) {
            Some(footer) => SegmentReader::with_footer(source, Footer::clone(&footer)),
            None => SegmentReader::open_end(source),
        };
        let reader = self.compared(opened.map_err(|error| NotOpened::Failed(path, error))?, row)?;
        if reader.reads() > 0 {
            self.footers.keep(&row.key, reader.footer());
        }
        Ok(reader)
    }

    /// Whether a second copy of a segment with a row of this status is in an archive that can be asked.
    pub(super) fn is_archived_too(&self, row: &SegmentRow) -> bool {
        row.status == SegmentStatus::Archived && row.archive_key.is_some() && self.options.archive.is_some()
    }

    fn compared(&self, reader: SegmentReader, row: &SegmentRow) -> Result<SegmentReader, NotOpened> {
        let footer = reader.footer();
        let differs = if footer.log != self.log_id {
            "the segment is of another log"
        } else if footer.collection != row.key.collection {
            "the segment is of another collection"
        } else if footer.content_digest != row.content_digest {
            "the segment holds other records than its row says"
        } else {
            return Ok(reader);
        };
        Err(NotOpened::Other(reader.source().path().to_path_buf(), differs))
    }
}

impl NotOpened {
    /// What is wrong, for a warning.
    pub fn what(&self) -> String {
        match self {
            Self::Missing(path) => format!("its file is missing: path=`{}`", path.display()),
            Self::Away => "it is in the archive only".to_owned(),
            Self::Archive(error) => chain(error),
            Self::NoDirectory(path, why) => format!("directory=`{}`: {why}", path.display()),
            Self::Failed(_, error) => chain(error),
            Self::Other(path, what) => format!("{what}: path=`{}`", path.display()),
        }
    }

    /// The error that a reader gives, for records `first..=last` of a collection.
    pub fn into_error(self, collection: &CollectionName, first: Sequence, last: Sequence) -> Error {
        let about = |what: &str, path: &PathBuf| {
            format!(
                "{what}: collection=`{collection}`, first_sequence=`{first}`, last_sequence=`{last}`, path=`{}`",
                path.display()
            )
        };
        match self {
            Self::Missing(path) => Error::new(ErrorKind::Corrupt, about("the file of a segment is missing", &path))
                .with_hint("run `verify`, then `recover`; an archived copy is restored"),
            Self::Other(path, what) => Error::new(ErrorKind::Corrupt, about(what, &path)).with_hint("run `verify`"),
            Self::Away => Error::new(
                ErrorKind::Unavailable,
                format!(
                    "records are in the archive only: collection=`{collection}`, first_sequence=`{first}`, last_sequence=`{last}`"
                ),
            )
            .with_hint("say where it is: `--archive URL`, or the setting `archive`"),
            Self::Archive(error) => {
                let text = format!(
                    "records cannot be read from the archive: collection=`{collection}`, first_sequence=`{first}`, last_sequence=`{last}`"
                );
                // What the archive has no key of is not to be read now; it is no proof that nothing is there.
                let kind = match error.kind() {
                    ErrorKind::Corrupt => ErrorKind::Corrupt,
                    ErrorKind::Unsupported => ErrorKind::Unsupported,
                    _ => ErrorKind::Unavailable,
                };
                Error::new(kind, text).with_source(error)
            }
            Self::NoDirectory(path, why) => Error::new(
                ErrorKind::Unavailable,
                format!(
                    "records are in a directory that is not there: collection=`{collection}`, first_sequence=`{first}`, last_sequence=`{last}`, directory=`{}`, why=`{why}`",
                    path.display()
                ),
            )
            .with_hint("mount it, then open the log again"),
            Self::Failed(path, error) => unreadable(collection, first, last, &path, error),
        }
    }
}

/// Records that cannot be read because of `error`, named.
pub(super) fn unreadable(
    collection: &CollectionName,
    first: Sequence,
    last: Sequence,
    path: &std::path::Path,
    error: SegmentError,
) -> Error {
    let text = format!(
        "records cannot be read: collection=`{collection}`, first_sequence=`{first}`, last_sequence=`{last}`, path=`{}`",
        path.display()
    );
    let kind = match &error {
        SegmentError::Damaged(_) | SegmentError::BadRecord { .. } | SegmentError::NotASegment { .. } => {
            ErrorKind::Corrupt
        }
        SegmentError::Newer { .. } => ErrorKind::Unsupported,
        // The disk or the store does not give the bytes now.
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, text).with_source(error)
}
