//! What a crash, a disk or an operator left, and what to do about it (DESIGN section 8).
//!
//! - [`journals`]: what the journals hold
//! - [`segments`]: files against rows
//! - [`table`]: the decision for each segment
//! - [`collections`]: where each collection stands
//! - [`returned`]: whether a directory that was away holds what the log has
//! - [`act`]: doing it
//!
//! [`examine`] reads and decides, and changes nothing: `recover --dry-run` prints its [`Report`]. [`act`] then does what
//! was decided. Both are idempotent: a crash in the middle of acting leaves a state from which the same is decided again for
//! what is left. Evidence is set aside, never truncated or deleted.

pub mod act;
pub mod collections;
pub mod journals;
pub mod returned;
pub mod segments;
pub mod table;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use self::collections::{AllPieces, Known, Merged};
use self::journals::FoundJournals;
use self::segments::{Claim, CollectionFiles, Contested, FoundSegments, Unjudged};
use super::DirectoryState;
use super::damage::Damaged;
use crate::catalog::{Assignment, Catalog, CollectionRow};
use crate::error::Result;
use crate::fs::FileSystem;
use crate::journal::FileId;
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
/// The smallest record: what lost bytes may have held at most is counted by it (J6).
const RECORD_BYTES_MIN: u64 = 13;
/// Behind the id of a directory that may have collections that the catalog does not know, and no news of those that it does.
const NEW_ONLY: &str = ":new";
const PAGE_ROWS: usize = 4096;

/// Sequences that are missing and were not on record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LossReport {
    /// The collection.
    pub collection: CollectionName,
    /// First missing sequence.
    pub first_sequence: Sequence,
    /// Last missing sequence.
    pub last_sequence: Sequence,
}

/// One thing to do, with the label of the recovery table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// The table's label.
    pub action: &'static str,
    /// The file it is about.
    pub path: PathBuf,
    /// The collection.
    pub collection: CollectionName,
    /// First sequence.
    pub first_sequence: Sequence,
    /// Last sequence.
    pub last_sequence: Sequence,
    /// Why.
    pub reason: String,
}

/// What recovery found and does.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Journals read.
    pub journals: u64,
    /// Rows of segments compared with their files.
    pub segments: u64,
    /// Collections known.
    pub collections: u64,
    /// Records in journals that are in no segment yet.
    pub unsealed_records: u64,
    /// Things to do.
    pub steps: Vec<Step>,
    /// Directories that are not there, and what the catalog has in each: nothing of it is judged (A3).
    pub missing_directories: Vec<Unjudged>,
    /// Collections that were found in several directories, where neither the catalog nor a MOVE says in which they live.
    pub contested: Vec<Contested>,
    /// Avro files that are none of ours: left alone.
    pub foreign: Vec<PathBuf>,
    /// Damage, old and new.
    pub damaged: Vec<Damaged>,
    /// Losses that were not on record.
    pub losses: Vec<LossReport>,
    /// Bytes behind the last proven group of a journal, not judged by an earlier recovery: a write that a crash cut
    /// short, or damage where nothing had proved a sync yet (J5).
    pub unproven_tail_bytes: u64,
    /// Bytes that earlier recoveries dropped behind the ends of journals that are still there.
    pub dropped_tail_bytes: u64,
    /// The catalog's file was not there, though the log is not new: an empty one was made, and what the directories hold was put
    /// into it (C6).
    pub catalog_was_missing: bool,
    /// The catalog is older than the journals say: an old copy was put back, or it was missing (C3).
    pub catalog_is_old: bool,
}

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
}

/// What the catalog may not know, because the run before ended before it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Collections that were new.
    pub collections: bool,
    /// Collections that were moved.
    pub moves: bool,
}

/// Why something may be in a directory that is missing, and of what that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncertain {
    /// Which directory.
    pub why: String,
    /// Of every collection; else only of those that the catalog does not know.
    pub of_all: bool,
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

/// The missing directories of which the catalog cannot know all that they hold, and whether that may concern collections that it knows:
/// because it was made anew, or is an old copy, or because the run before ended before it was told. As it is kept under
/// [`UNKNOWN_DIRECTORIES`].
fn unknown_directories(looked: &Looked<'_>, before: &str, word: &CatalogWord, is_old: bool) -> String {
    let is_anew = is_old || word.rows.is_empty() && word.assigned.is_empty();
    let missing = (0..looked.directories.len()).filter(|&index| looked.is_missing(index));
    let unknown = missing.filter_map(|index| {
        let id = looked.directories[index].0.as_str();
        let known = before.split(' ').find(|known| known.strip_suffix(NEW_ONLY).unwrap_or(known) == id);
        if is_anew || looked.unknown.moves || known == Some(id) {
            Some(id.to_owned())
        } else {
            (looked.unknown.collections || known.is_some()).then(|| format!("{id}{NEW_ONLY}"))
        }
    });
    unknown.collect::<Vec<_>>().join(" ")
}

impl Looked<'_> {
    fn uncertain(&self, unknown: &str) -> Option<Uncertain> {
        let of_all = unknown.split(' ').find(|id| !id.is_empty() && !id.ends_with(NEW_ONLY));
        let one = of_all.or_else(|| unknown.split(' ').find(|id| !id.is_empty()))?;
        let id = one.strip_suffix(NEW_ONLY).unwrap_or(one);
        let path = self.directories.iter().find(|(known, _)| known == id).map(|(_, path)| path.display().to_string());
        let why = format!(
            "a directory is missing of which the catalog does not know all: directory=`{}`, id=`{id}`",
            path.unwrap_or_default()
        );
        Some(Uncertain { why, of_all: of_all.is_some() })
    }
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

fn report_journals(journals: &[FoundJournals], report: &mut Report) {
    for found in journals {
        report.journals += found.journals.len() as u64;
        for unreadable in &found.unreadable {
            report.damaged.push(Damaged {
                path: unreadable.path.clone(),
                collection: None,
                first_sequence: None,
                last_sequence: None,
                reason: format!("cannot be read: {}", unreadable.reason),
            });
        }
        for journal in &found.journals {
            report.dropped_tail_bytes += journal.dropped_bytes();
            report.unproven_tail_bytes += journal.unproven_bytes();
            for damage in &journal.scan.damage {
                let at = |collection, first_sequence, last_sequence| Damaged {
                    path: journal.file.path.clone(),
                    collection,
                    first_sequence,
                    last_sequence,
                    reason: format!("{}, offset=`{}`, bytes=`{}`", damage.reason, damage.offset, damage.bytes),
                };
                if damage.lost.is_empty() {
                    report.damaged.push(at(None, None, None));
                }
                for lost in &damage.lost {
                    report.damaged.push(at(Some(lost.collection.clone()), Some(lost.first), Some(lost.last())));
                }
            }
        }
    }
}

fn report_segments(looked: &Looked<'_>, segments: &FoundSegments, report: &mut Report) {
    report.foreign.clone_from(&segments.foreign);
    report.missing_directories.clone_from(&segments.unjudged);
    for missing in &mut report.missing_directories {
        let state = missing.index.and_then(|index| looked.states[index].reason());
        missing.reason = missing.reason.take().or_else(|| state.map(str::to_owned));
    }
    for finding in &segments.findings {
        report.steps.push(Step {
            action: finding.action.label(),
            path: finding.path.clone(),
            collection: finding.key.collection.clone(),
            first_sequence: finding.key.first,
            last_sequence: finding.key.last,
            reason: finding.reason.clone(),
        });
        if finding.is_damage() {
            report.damaged.push(Damaged {
                path: finding.damaged_path().to_path_buf(),
                collection: Some(finding.key.collection.clone()),
                first_sequence: Some(finding.key.first),
                last_sequence: Some(finding.key.last),
                reason: finding.reason.clone(),
            });
        }
    }
}

/// Where journals say that a collection lives.
#[derive(Clone, Debug, Default)]
struct Homes {
    /// By its newest records in each directory.
    newest: Vec<Claim>,
    /// By its newest MOVE: of which epoch, from which sequence on, in which directory.
    moved: Option<(Epoch, Sequence, usize)>,
}

impl Homes {
    fn note(&mut self, epoch: Epoch, last: Sequence, directory: usize) {
        match self.newest.iter_mut().find(|claim| claim.directory == directory) {
            Some(claim) => (claim.epoch, claim.last) = (claim.epoch, claim.last).max((epoch, last)),
            None => self.newest.push(Claim { directory, epoch, last }),
        }
    }
}

/// What journals say, by collection; and in which directory each journal lies.
struct Pieced {
    all: AllPieces,
    homes: HashMap<CollectionName, Homes>,
    places: HashMap<FileId, usize>,
}

fn pieces_of(journals: &[FoundJournals]) -> Pieced {
    let mut pieced = Pieced { all: AllPieces::new(), homes: HashMap::new(), places: HashMap::new() };
    for (directory, found) in journals.iter().enumerate() {
        for journal in &found.journals {
            let epoch = journal.file.journal.epoch;
            pieced.places.insert(journal.file.file_id, directory);
            for run in &journal.scan.runs {
                let last = Sequence(run.first.0 + run.count - 1);
                let pieces = match pieced.all.get_mut(&run.collection) {
                    Some(pieces) => pieces,
                    None => pieced.all.entry(run.collection.clone()).or_default(),
                };
                let file = std::sync::Arc::clone(&journal.file);
                pieces.runs.push(Run::on_disk(run.first, run.count, run.bytes, file, run.offset));
                pieced.home_of(&run.collection).note(epoch, last, directory);
            }
            for lost in journal.scan.damage.iter().flat_map(|damage| &damage.lost) {
                pieced.home_of(&lost.collection).note(epoch, lost.last(), directory);
                let pieces = pieced.all.entry(lost.collection.clone()).or_default();
                pieces.lost_through = pieces.lost_through.max(lost.last());
            }
            for moved in &journal.scan.moves {
                let home = pieced.home_of(&moved.collection);
                if home.moved.is_none_or(|(known, ..)| known < moved.epoch) {
                    home.moved = Some((moved.epoch, moved.next, directory));
                }
                pieced.all.entry(moved.collection.clone()).or_default();
            }
        }
    }
    pieced
}

impl Pieced {
    fn home_of(&mut self, collection: &CollectionName) -> &mut Homes {
        match self.homes.get(collection) {
            Some(_) => self.homes.get_mut(collection).expect("it was just there"),
            None => self.homes.entry(collection.clone()).or_default(),
        }
    }
}

/// Where a collection lives, and since when; and whether the catalog says the same.
struct Lives {
    directory: usize,
    epoch: Epoch,
    from: Sequence,
    on_record: bool,
}

/// The highest epoch of catalog and MOVEs decides. Without either, what lies in journals and folders: records of the newest epoch, then
/// the highest sequence; where several directories have some, that is told.
fn lives(
    looked: &Looked<'_>,
    (name, assigned): (&CollectionName, Option<&Assignment>),
    homes: Option<&Homes>,
    files: &CollectionFiles,
    contested: &mut Vec<Contested>,
) -> Lives {
    let place = |id: &str| looked.directories.iter().position(|(known, _)| known == id);
    let assigned = assigned.and_then(|assigned| Some((assigned.epoch, assigned.from, place(&assigned.directory)?)));
    let moved = homes.and_then(|homes| homes.moved);
    if let Some((epoch, from, directory)) = assigned
        && moved.is_none_or(|(moved, ..)| moved <= epoch)
    {
        return Lives { directory, epoch, from, on_record: true };
    }
    if let Some((epoch, from, directory)) = moved {
        return Lives { directory, epoch, from, on_record: false };
    }
    let journals = homes.iter().flat_map(|homes| &homes.newest).copied();
    let claims: Vec<Claim> = journals.chain(files.places.iter().map(segments::Place::claim)).collect();
    let (winner, told) = segments::contest(name, looked.directories, &claims);
    contested.extend(told);
    let directory = winner
        .map(|winner| winner.directory)
        .unwrap_or_else(|| (0..looked.directories.len()).find(|&index| looked.is_writable(index)).unwrap_or(0));
    Lives { directory, epoch: Epoch(0), from: Sequence::FIRST, on_record: false }
}

fn stand(
    (fs, catalog): (&dyn FileSystem, &dyn Catalog),
    looked: &Looked<'_>,
    journals: &[FoundJournals],
    segments: &FoundSegments,
    word: &CatalogWord,
    (rooms, uncertain, report): (Vec<u64>, Option<&str>, &mut Report),
) -> Result<(BTreeMap<CollectionName, Standing>, Found)> {
    let directories = looked.directories;
    let Pieced { all: mut pieces, homes, places } = pieces_of(journals);
    let names = word.rows.keys().chain(segments.collections.keys()).chain(word.missing.keys());
    for name in names.chain(word.assigned.keys()) {
        pieces.entry(name.clone()).or_default();
    }
    let mut empty: HashMap<&CollectionName, usize> = HashMap::new();
    let was_used = journals.iter().any(|found| !found.journals.is_empty());
    if was_used && word.rows.is_empty() && word.assigned.is_empty() {
        // The catalog is made anew: a folder may be all there is of a collection that was made and not used yet.
        for (name, directory) in &segments.empty {
            pieces.entry(name.clone()).or_default();
            empty.entry(name).or_insert(*directory);
        }
    }
    let adopted = adoptable(looked, segments);
    let none = CollectionFiles::default();
    let mut standings = BTreeMap::new();
    let mut all_found = Found::new();
    for (name, mut pieces) in pieces {
        let files = segments.collections.get(&name).unwrap_or(&none);
        let assigned = (&name, word.assigned.get(&name));
        let mut lives = lives(looked, assigned, homes.get(&name), files, &mut report.contested);
        if let Some(&folder) = empty.get(&name).filter(|_| !homes.contains_key(&name) && files.places.is_empty()) {
            lives.directory = folder;
        }
        let directory = lives.directory;
        let is_missing = looked.is_missing(directory);
        let mut known = known(word, files, &name);
        let mut holes = Vec::new();
        for &(first, last, acts) in adopted.get(&name).into_iter().flatten() {
            if !acts {
                // Nobody adopts it now: a writer beside us may be about to commit its row. Until then its records are read from
                // the journals; where those are gone, they are not lost.
                known.missing.push((first, last));
                continue;
            }
            let at = known.sealed_through.next().max(known.floor);
            if first > at && !is_missing {
                // Where a catalog is made anew: what lies before a segment and is in no journal is lost, and the segment is not.
                if pieces.runs.iter().any(|run| run.first < first && run.last() >= at) {
                    break;
                }
                collections::note_missing(&mut holes, &known, at, first.previous());
            }
            known.sealed_through = known.sealed_through.max(last);
        }
        known.missing.extend(&holes);
        known.missing.sort_unstable();
        pieces.room = if is_missing { 0 } else { rooms[directory] };
        if directories.len() > 1 {
            pieces.sort_home_first(|file| places.get(&file) == Some(&directory));
        }
        let sealed = returned::Sealed { fs, directories, catalog };
        let was_away = |run: &Run| places.get(&run.file.file_id).is_some_and(|&place| looked.returned[place]);
        let differs = |run: &Run| if was_away(run) { sealed.differs(&name, run) } else { Ok(None) };
        let mut merged = collections::merge(&name, pieces, &known, &differs)?;
        if is_missing {
            // What is not here is there, for all that is known.
            merged.losses.clear();
            holes.clear();
        }
        for conflict in &merged.conflicts {
            report.damaged.push(Damaged {
                path: directories[directory].1.clone(),
                collection: Some(name.clone()),
                first_sequence: None,
                last_sequence: None,
                reason: conflict.clone(),
            });
        }
        for &(first_sequence, last_sequence) in holes.iter().chain(&merged.losses) {
            report.losses.push(LossReport { collection: name.clone(), first_sequence, last_sequence });
        }
        report.unsealed_records += merged.unsealed.records();
        if !merged.found.is_empty() {
            all_found.push((name.clone(), std::mem::take(&mut merged.found)));
        }
        let refuses =
            refuses(looked, journals, directory, &name, uncertain).or_else(|| segments.end_unknown(&name, directory));
        let catalogued = word.rows.contains_key(&name) && lives.on_record;
        let is_end_unknown = is_missing || uncertain.is_some();
        let (home_epoch, home_from) = (lives.epoch, lives.from);
        standings.insert(
            name,
            Standing { directory, catalogued, known, holes, merged, refuses, is_end_unknown, home_epoch, home_from },
        );
    }
    Ok((standings, all_found))
}

/// Why a collection takes no appends. Where its end may be in what cannot be read now, no sequence can be given out (DESIGN section 8).
fn refuses(
    looked: &Looked<'_>,
    journals: &[FoundJournals],
    directory: usize,
    name: &CollectionName,
    uncertain: Option<&str>,
) -> Option<String> {
    if let DirectoryState::Missing(why) = &looked.states[directory] {
        let path = looked.directories[directory].1.display();
        return Some(format!(
            "the directory of the collection is missing: collection=`{name}`, directory=`{path}`, why=`{why}`"
        ));
    }
    if let Some(unreadable) = journals[directory].unreadable.first() {
        return Some(format!(
            "the end of the collection may be in a journal that cannot be read: collection=`{name}`, path=`{}`",
            unreadable.path.display()
        ));
    }
    uncertain.map(|why| {
        format!("the end of the collection may be in a directory that is missing: collection=`{name}`, {why}")
    })
}

/// By directory, how many records may have been in bytes of which no table tells, and for which no room was left before.
/// Every collection of the directory leaves room for so many. With it, the note that says so.
fn rooms(directories: &[(String, PathBuf)], journals: &[FoundJournals], note: &str) -> (Vec<u64>, String) {
    let left: HashMap<&str, u64> = note
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(file, bytes)| Some((file, bytes.parse().ok()?)))
        .collect();
    let mut new_note = String::new();
    let rooms = directories.iter().zip(journals).map(|((id, _), found)| {
        let mut room = 0;
        for journal in &found.journals {
            let unknown: u64 = journal.scan.damage.iter().map(|damage| damage.unknown_bytes).sum();
            let file = format!("{id}/{}", crate::journal::file::file_name(journal.file.kind, journal.file.journal));
            let before = left.get(file.as_str()).copied().unwrap_or(0);
            room += unknown.saturating_sub(before).div_ceil(RECORD_BYTES_MIN);
            if unknown > 0 {
                new_note.push_str(&format!("{file} {}\n", unknown.max(before)));
            }
        }
        room
    });
    (rooms.collect(), new_note)
}

/// Ranges of whole files without a row, in order: they are sealed, though the catalog does not say so yet. The last says whether
/// they are adopted now.
fn adoptable(
    looked: &Looked<'_>,
    segments: &FoundSegments,
) -> HashMap<CollectionName, Vec<(Sequence, Sequence, bool)>> {
    let mut adopted: HashMap<_, Vec<_>> = HashMap::new();
    for finding in &segments.findings {
        if finding.action == table::Action::Adopt {
            let acts = looked.is_writable(finding.directory);
            adopted.entry(finding.key.collection.clone()).or_default().push((
                finding.key.first,
                finding.key.last,
                acts,
            ));
        }
    }
    adopted
}

fn known(word: &CatalogWord, files: &CollectionFiles, name: &CollectionName) -> Known {
    let row = word.rows.get(name);
    let mut missing = word.missing.get(name).cloned().unwrap_or_default();
    missing.sort_unstable();
    let sealed_through = row.map_or(Sequence(0), |row| row.sealed_through);
    let floor = row.map_or(Sequence::FIRST, |row| row.floor.max(Sequence::FIRST));
    let lost = missing.iter().map(|&(_, last)| last).max().unwrap_or_default();
    let last = sealed_through.max(floor.previous()).max(files.last).max(lost);
    Known { sealed_through, floor, last, on_record: missing.clone(), missing }
}
