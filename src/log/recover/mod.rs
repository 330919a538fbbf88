//! What a crash, a disk or an operator left, and what to do about it (DESIGN section 8).
//!
//! - [`journals`]: what the journals hold
//! - [`segments`]: files against rows
//! - [`table`]: the decision for each segment
//! - [`collections`]: where each collection stands
//! - `stand`: in which directory it lives, what of it counts
//! - `unknown`: what may be in a directory that is missing
//! - [`returned`]: whether a directory that was away holds what the log has
//! - `ask`: what only the archive knows
//! - [`report`]: telling it
//! - [`act`]: doing it
//!
//! [`examine`] reads and decides, and changes nothing: `recover --dry-run` prints its [`Report`]. [`act`] then does what
//! was decided. Both are idempotent: a crash in the middle of acting leaves a state from which the same is decided again for
//! what is left. Evidence is set aside, never truncated or deleted.

pub mod act;
pub(in crate::log) mod ask;
pub mod collections;
pub mod journals;
pub mod report;
pub mod returned;
pub mod segments;
mod stand;
pub mod table;
mod unknown;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use self::collections::{Known, Merged};
use self::journals::FoundJournals;
pub use self::report::{ArchiveAsked, LossReport, Report, Step};
use self::report::{report_journals, report_segments};
use self::segments::FoundSegments;
use self::stand::{rooms, stand};
use self::unknown::unknown_directories;
pub use self::unknown::{Uncertain, Unknown};
use super::DirectoryState;
use crate::catalog::{Assignment, Catalog, CollectionRow};
use crate::error::Result;
use crate::fs::FileSystem;
use crate::memtable::Run;
use crate::types::{ChangeNumber, CollectionName, Epoch, Sequence};

/// The component whose assignments say where a collection is journalled and sealed.
pub const COMPONENT: &str = "wal";
/// Under this name the catalog keeps for which bytes of damaged journals room was left (J6): each costs sequences once, not at
/// every opening. A line each: directory and file, a space, bytes.
pub const DAMAGE_NOTE: &str = "journal_damage";
/// Under this name the catalog keeps from which epoch on journals tell of its own changes. Earlier ones tell of those of a catalog
/// that is gone: it was made anew, or an older copy was put back and reconciled (C3).
pub const CHANGES_SINCE_EPOCH: &str = "changes_since_epoch";
/// Under this name the catalog keeps the ids of directories that were missing when it was made anew, with a space between: which
/// collections they have, nobody knows.
pub const UNKNOWN_DIRECTORIES: &str = "unknown_directories";
/// Under this name the catalog keeps the ids of directories that were away and are back, until what they hold is merged, with a space
/// between.
pub const RETURNED_DIRECTORIES: &str = "returned_directories";
/// Under this name the catalog keeps that the archive must be asked what it has (`ask`): the catalog was made anew without it, or an
/// older copy was put back.
pub const ARCHIVE_UNASKED: &str = "archive_unasked";
/// The smallest record: what lost bytes may have held at most is counted by it (J6).
const RECORD_BYTES_MIN: u64 = 13;
const PAGE_ROWS: usize = 4096;

/// Everything found and decided.
#[derive(Debug)]
pub struct Examination {
    /// By directory.
    pub journals: Vec<FoundJournals>,
    /// Segments.
    pub segments: FoundSegments,
    /// Where each collection stands, and in which directory.
    pub standings: BTreeMap<CollectionName, Standing>,
    /// What must be kept under [`DAMAGE_NOTE`], where it is not there yet.
    pub damage_note: Option<String>,
    /// Records of recorded losses that are there after all, below what is sealed: each collection's runs, in order.
    pub found: Found,
    /// Why no collection can be known to be new, where that is so.
    pub uncertain: Option<Uncertain>,
    /// Directories that were missing when the catalog was made anew, to be kept under [`UNKNOWN_DIRECTORIES`] where that is news.
    pub unknown_note: Option<String>,
    /// For people.
    pub report: Report,
}

/// Runs by collection.
pub type Found = Vec<(CollectionName, Vec<Run>)>;

/// What is examined.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// Ids and paths.
    pub directories: &'a [(String, PathBuf)],
    /// What each is good for. What is missing is not looked at.
    pub states: &'a [DirectoryState],
    /// Whether what is found will be acted on.
    pub writable: bool,
    /// What the catalog cannot know of directories that are missing.
    pub unknown: Unknown,
    /// Which directories were away, or could not be written to, when the log was written before: what they hold is compared.
    pub returned: &'a [bool],
    /// Last sequences that only the archive tells (C7).
    pub archived: &'a BTreeMap<CollectionName, Sequence>,
}

impl Looked<'_> {
    fn is_missing(&self, index: usize) -> bool {
        matches!(self.states[index], DirectoryState::Missing(_))
    }

    /// Whether what is found in a directory can be acted on.
    fn is_writable(&self, index: usize) -> bool {
        self.writable && matches!(self.states[index], DirectoryState::Healthy | DirectoryState::Drained)
    }
}

/// Where a collection stands.
#[derive(Debug)]
pub struct Standing {
    /// Which of the log's directories.
    pub directory: usize,
    /// Whether the catalog has its row and its assignment.
    pub catalogued: bool,
    /// The catalog's word.
    pub known: Known,
    /// Ranges before segments without a row that are in no segment and no journal, and not on record yet.
    pub holes: Vec<(Sequence, Sequence)>,
    /// The journals' word, merged with it.
    pub merged: Merged,
    /// Why it takes no appends, where it takes none.
    pub refuses: Option<String>,
    /// It refuses because its end may be in a directory that is missing.
    pub is_end_unknown: bool,
    /// The epoch that put it where it is, and the first sequence that went there.
    pub home_epoch: Epoch,
    /// See `home_epoch`.
    pub home_from: Sequence,
}

/// The catalog's word on collections, read in bulk.
#[derive(Default)]
struct CatalogWord {
    rows: HashMap<CollectionName, CollectionRow>,
    assigned: HashMap<CollectionName, Assignment>,
    missing: HashMap<CollectionName, Vec<(Sequence, Sequence)>>,
}

/// Reads everything and decides, and changes nothing.
///
/// Journals are read before the catalog: a record that a seal moves meanwhile is then seen in one or both, never in
/// neither.
///
/// # Errors
/// A directory or the catalog cannot be read at all, or holds a newer format.
pub fn examine(fs: &dyn FileSystem, looked: &Looked<'_>, catalog: &dyn Catalog) -> Result<Examination> {
    let directories = looked.directories;
    let readable: Vec<bool> = (0..directories.len()).map(|index| !looked.is_missing(index)).collect();
    let writable: Vec<bool> = (0..directories.len()).map(|index| looked.is_writable(index)).collect();
    let journals = find_journals(fs, directories, &readable, &writable)?;
    let segments = segments::find(fs, directories, catalog, &readable)?;
    let word = read_catalog(catalog)?;
    let mut report = Report {
        segments: segments.rows,
        catalog_is_old: newest_change(&journals, catalog)? > catalog.change_number()?,
        ..Report::default()
    };
    report_journals(&journals, &mut report);
    report_segments(looked, &segments, &mut report);
    let note = catalog.meta(DAMAGE_NOTE)?.unwrap_or_default();
    let (rooms, new_note) = rooms(directories, &journals, &note);
    let unknown_before = catalog.meta(UNKNOWN_DIRECTORIES)?.unwrap_or_default();
    let unknown = unknown_directories(looked, &unknown_before, &word, report.catalog_is_old);
    let uncertain = looked.uncertain(&unknown);
    let of_all = uncertain.as_ref().filter(|uncertain| uncertain.of_all).map(|uncertain| uncertain.why.as_str());
    let (standings, found) = stand((fs, catalog), looked, &journals, &segments, &word, (rooms, of_all, &mut report))?;
    report.collections = standings.len() as u64;
    let damage_note = (new_note != note).then_some(new_note);
    let unknown_note = (unknown != unknown_before).then_some(unknown);
    Ok(Examination { journals, segments, standings, damage_note, found, uncertain, unknown_note, report })
}

pub(in crate::log) fn find_journals(
    fs: &dyn FileSystem,
    directories: &[(String, PathBuf)],
    readable: &[bool],
    writable: &[bool],
) -> Result<Vec<FoundJournals>> {
    let find = move |index: usize| {
        if readable[index] {
            journals::find(fs, &directories[index].1, writable[index])
        } else {
            Ok(FoundJournals::default())
        }
    };
    // One thread a directory, each on its own disk.
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for index in 1..directories.len() {
            threads.push(scope.spawn(move || find(index)));
        }
        let mut found = vec![find(0)?];
        for thread in threads {
            found.push(thread.join().map_err(|_| {
                crate::Error::new(crate::ErrorKind::Internal, "reading the journals of a directory panicked")
            })??);
        }
        Ok(found)
    })
}

/// The newest change of this catalog that journals tell of (C3).
pub(in crate::log) fn newest_change(journals: &[FoundJournals], catalog: &dyn Catalog) -> Result<ChangeNumber> {
    let since: u64 = catalog.meta(CHANGES_SINCE_EPOCH)?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let journals = journals.iter().flat_map(|found| &found.journals);
    let journals = journals.filter(|found| found.file.journal.epoch.get() >= since);
    Ok(journals.map(|found| found.scan.change_number).max().unwrap_or_default())
}

fn read_catalog(catalog: &dyn Catalog) -> Result<CatalogWord> {
    let mut word = CatalogWord::default();
    let mut after = None;
    loop {
        let rows = catalog.collections(after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.name.clone());
        word.rows.extend(rows.into_iter().map(|row| (row.name.clone(), row)));
    }
    let mut after: Option<CollectionName> = None;
    loop {
        let page = after.as_ref().map(|name| (COMPONENT, name));
        let assignments = catalog.assignments(Some(COMPONENT), page, PAGE_ROWS)?;
        let Some(last) = assignments.last() else { break };
        after = Some(last.collection.clone());
        word.assigned.extend(assignments.into_iter().map(|found| (found.collection.clone(), found)));
    }
    for loss in catalog.losses(None)? {
        word.missing.entry(loss.collection).or_default().push((loss.first, loss.last));
    }
    Ok(word)
}
