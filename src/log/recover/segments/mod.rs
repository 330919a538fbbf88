//! Segments on disk against rows in the catalog (DESIGN section 8).
//!
//! - `list`: what lies in the folders of a directory
//! - `judge`: what a file is, every byte read
//! - `compare`, `rowless`: rows with their files, and files without a row
//! - `compacted`: files that compaction made, of which an older copy of the catalog does not know
//! - [`places`]: in which directories a collection has files
//!
//! Owns: finding which file has no row, which row no file, and which file another directory has too. Decides by
//! [`table`](super::table), changes nothing. Of a row's file it is only looked whether it is there, unless other directories have
//! files of that name, or the row is Quarantined: then each of them is read, every byte, before anything is decided.

mod compacted;
mod compare;
mod judge;
mod list;
pub mod places;
mod rowless;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use self::compare::Comparison;
pub use self::list::Unlistable;
pub use self::places::{Claim, CollectionFiles, Contested, Place, contest, strongest};
use super::table::{Action, FileState};
use crate::catalog::{Catalog, LossRow, Mutation, SegmentKey, SegmentRow};
use crate::error::Result;
use crate::fs::FileSystem;
use crate::log::identity::Identity;
use crate::segment::SegmentName;
use crate::types::CollectionName;

pub(in crate::log) use self::judge::{Judgement, judge};
pub(in crate::log) use self::list::{Listed, Listing, list};

/// A segment, or a copy of one, that needs something done, or that is worth a word.
#[derive(Clone, Debug)]
pub struct SegmentFinding {
    /// Which segment.
    pub key: SegmentKey,
    /// Which of the log's directories the file is in.
    pub directory: usize,
    /// The file's path, whether it is there or not.
    pub path: PathBuf,
    /// The catalog's row.
    pub row: Option<SegmentRow>,
    /// What lies in the segment's own place; of a copy, what the copy is.
    pub file: FileState,
    /// What to do.
    pub action: Action,
    /// Why, where there is more to say.
    pub reason: String,
    /// The other file that the action is about, and its directory: a damaged one in the old place, which is set aside when the row
    /// names this one; the one that stays, where this one is a copy and goes.
    pub beside: Option<(usize, PathBuf)>,
    /// Whether it is a copy with other records than the segment has.
    pub differs: bool,
}

impl SegmentFinding {
    /// Whether it tells of damage. A whole file that is set aside because another segment has its records is none; a copy with other
    /// records is (R3).
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self.action {
            Action::Quarantine | Action::Report => true,
            Action::SetAside => self.file != FileState::Present || self.differs,
            Action::Relocate | Action::PutBack => self.beside.is_some(),
            _ => false,
        }
    }

    /// The file that is damaged, where it [tells of damage](Self::is_damage).
    #[must_use]
    pub fn damaged_path(&self) -> &Path {
        match (self.action, &self.beside) {
            (Action::Relocate | Action::PutBack, Some((_, path))) => path,
            _ => &self.path,
        }
    }
}

/// Everything found of segments.
#[derive(Debug, Default)]
pub struct FoundSegments {
    /// In order of keys, a segment before its copies; those that need nothing are left out.
    pub findings: Vec<SegmentFinding>,
    /// By collection.
    pub collections: BTreeMap<CollectionName, CollectionFiles>,
    /// How many rows the catalog has.
    pub rows: u64,
    /// Directories that could not be listed, and what the catalog has there. Nothing of it was judged (A3).
    pub unjudged: Vec<Unjudged>,
    /// Folders that could not be listed; see [`end_unknown`](Self::end_unknown).
    pub unlistable: Vec<Unlistable>,
    /// Avro files that are none of ours: named, and left alone.
    pub foreign: Vec<PathBuf>,
    /// Collections that were found in several directories and are assigned to none.
    pub contested: Vec<Contested>,
    /// Collections whose folder is empty, and where: they may have been made and not used yet. What the catalog knows counts more.
    pub empty: Vec<(CollectionName, usize)>,
}

/// A directory whose files could not be compared with the catalog's rows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unjudged {
    /// Its id.
    pub directory: String,
    /// Where it should be; `None` for one that the log does not have here.
    pub path: Option<PathBuf>,
    /// Which of the log's directories.
    #[serde(skip)]
    pub index: Option<usize>,
    /// Why: what the system said when it was listed; `None` where that was not tried.
    pub reason: Option<String>,
    /// Collections with segments there.
    pub collections: u64,
    /// Segments whose file should be there.
    pub segments: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl Unjudged {
    fn new(directory: &str, index: Option<usize>, reason: Option<String>) -> Self {
        let directory = directory.to_owned();
        Self { directory, path: None, index, reason, collections: 0, segments: 0, bytes: 0 }
    }
}

impl FoundSegments {
    /// Why the end of a collection that lives in `directory` is not known, by what could not be listed: then it takes no appends.
    #[must_use]
    pub fn end_unknown(&self, collection: &CollectionName, directory: usize) -> Option<String> {
        let unlisted = self.unjudged.iter().find(|unjudged| unjudged.index == Some(directory));
        if let Some(Unjudged { directory, reason: Some(reason), .. }) = unlisted {
            return Some(format!(
                "the end of the collection may be in a directory that cannot be listed: collection=`{collection}`, \
                 directory=`{directory}`, {reason}"
            ));
        }
        if self.unlistable.is_empty() {
            return None;
        }
        let folder = collection.directory_name();
        let hidden = self.unlistable.iter().find(|hidden| hidden.path.ends_with(&folder))?;
        Some(format!(
            "the end of the collection may be in a folder that cannot be listed: collection=`{collection}`, {}",
            hidden.reason
        ))
    }
}

/// Where a segment's file is.
#[must_use]
pub fn segment_path(directory: &Path, key: &SegmentKey) -> PathBuf {
    SegmentName::of_key(key).path(directory, &key.collection)
}

/// A live row that has some of the same sequences.
pub(in crate::log) fn row_overlapping(catalog: &dyn Catalog, key: &SegmentKey) -> Result<Option<SegmentKey>> {
    let next = catalog.segments_from(&key.collection, key.first, 1)?;
    Ok(next.into_iter().map(|row| row.key).find(|row| row.first <= key.last && key.first <= row.last))
}

/// What takes the sequences of `key` off the record of what is missing. `losses` are told of it, as the catalog is.
pub(in crate::log) fn recovered(losses: &mut Vec<LossRow>, key: &SegmentKey) -> Vec<Mutation> {
    let (found, mut rest): (Vec<LossRow>, Vec<LossRow>) = std::mem::take(losses)
        .into_iter()
        .partition(|loss| loss.collection == key.collection && loss.first <= key.last && key.first <= loss.last);
    let mut mutations = Vec::new();
    for loss in found {
        let (found_first, found_last) = (key.first.max(loss.first), key.last.min(loss.last));
        let before = (loss.first < found_first).then(|| (loss.first, found_first.previous()));
        let behind = (found_last < loss.last).then(|| (found_last.next(), loss.last));
        let (collection, first, last) = (key.collection.clone(), loss.first, loss.last);
        mutations.push(Mutation::RecoverLoss { collection, first, last, found_first, found_last });
        for (first, last) in before.into_iter().chain(behind) {
            if !rest
                .iter()
                .any(|other| other.collection == key.collection && (other.first, other.last) == (first, last))
            {
                rest.push(LossRow { first, last, ..loss.clone() });
            }
        }
    }
    *losses = rest;
    mutations
}

/// Compares directories and catalog. `readable` says of each directory whether it is there to be listed: of one that is not,
/// nothing is judged, and what the catalog has there is counted (A3).
///
/// # Errors
/// The catalog cannot be read.
pub fn find(
    fs: &dyn FileSystem,
    directories: &[(String, PathBuf)],
    catalog: &dyn Catalog,
    readable: &[bool],
) -> Result<FoundSegments> {
    // Where no identity can be read, no file is taken for another log's.
    let here = directories.iter().zip(readable).filter(|(_, readable)| **readable).map(|((_, path), _)| path);
    let log = here.filter_map(|path| Identity::read(fs, path).ok()??.log_id(path).ok()).next();
    let mut comparison = Comparison {
        fs,
        directories,
        catalog,
        log,
        files: BTreeMap::new(),
        hidden: BTreeSet::new(),
        unjudged: BTreeMap::new(),
        planned: BTreeMap::new(),
        of_rows: BTreeMap::new(),
        found: FoundSegments::default(),
    };
    comparison.list(readable);
    comparison.rows()?;
    comparison.rowless()?;
    comparison.finish()
}
