//! What a crash, a disk or an operator left, and what to do about it (DESIGN section 8).
//!
//! - [`journals`]: what the journals hold
//! - [`segments`]: files against rows
//! - [`table`]: the decision for each segment
//! - [`collections`]: where each collection stands
//! - [`act`]: doing it
//!
//! [`examine`] reads and decides, and changes nothing: `recover --dry-run` prints its [`Report`]. [`act`] then does what
//! was decided. Both are idempotent: a crash in the middle of acting leaves a state from which the same is decided again for
//! what is left. Evidence is set aside, never truncated or deleted.

pub mod act;
pub mod collections;
pub mod journals;
pub mod segments;
pub mod table;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use self::collections::{AllPieces, Known, Merged};
use self::journals::FoundJournals;
use self::segments::{CollectionFiles, FoundSegments};
use super::damage::Damaged;
use crate::catalog::{Catalog, CollectionRow};
use crate::error::Result;
use crate::fs::FileSystem;
use crate::memtable::Run;
use crate::types::{ChangeNumber, CollectionName, Sequence};

/// The component whose assignments say where a collection is journalled and sealed.
pub const COMPONENT: &str = "wal";
/// Under this name the catalog keeps for which bytes of damaged journals room was left (J6): each costs sequences once, not at
/// every opening. A line each: directory and file, a space, bytes.
pub const DAMAGE_NOTE: &str = "journal_damage";
/// Under this name the catalog keeps from which epoch on journals tell of its own changes. Earlier ones tell of those of a catalog
/// that is gone: it was made anew, or an older copy was put back and reconciled (C3).
pub const CHANGES_SINCE_EPOCH: &str = "changes_since_epoch";
/// The smallest record: what lost bytes may have held at most is counted by it (J6).
const RECORD_BYTES_MIN: u64 = 13;
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
    /// For people.
    pub report: Report,
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
}

/// The catalog's word on collections, read in bulk.
#[derive(Default)]
struct CatalogWord {
    rows: HashMap<CollectionName, CollectionRow>,
    assigned: HashMap<CollectionName, String>,
    missing: HashMap<CollectionName, Vec<(Sequence, Sequence)>>,
}

/// Reads everything and decides, and changes nothing.
///
/// Journals are read before the catalog: a record that a seal moves meanwhile is then seen in one or both, never in
/// neither.
///
/// # Errors
/// A directory or the catalog cannot be read at all, or holds a newer format.
pub fn examine(
    fs: &dyn FileSystem,
    directories: &[(String, PathBuf)],
    catalog: &dyn Catalog,
    writable: bool,
) -> Result<Examination> {
    let journals = find_journals(fs, directories, writable)?;
    let segments = segments::find(fs, directories, catalog, &vec![true; directories.len()])?;
    let word = read_catalog(catalog)?;
    let mut report = Report {
        segments: segments.rows,
        catalog_is_old: newest_change(&journals, catalog)? > catalog.change_number()?,
        ..Report::default()
    };
    report_journals(&journals, &mut report);
    report_segments(&segments, &mut report);
    let note = catalog.meta(DAMAGE_NOTE)?.unwrap_or_default();
    let (rooms, new_note) = rooms(directories, &journals, &note);
    let standings = stand(directories, &journals, &segments, &word, (rooms, writable, &mut report))?;
    report.collections = standings.len() as u64;
    let damage_note = (new_note != note).then_some(new_note);
    Ok(Examination { journals, segments, standings, damage_note, report })
}

pub(in crate::log) fn find_journals(
    fs: &dyn FileSystem,
    directories: &[(String, PathBuf)],
    writable: bool,
) -> Result<Vec<FoundJournals>> {
    // One thread a directory, each on its own disk.
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (_, directory) in directories.iter().skip(1) {
            threads.push(scope.spawn(move || journals::find(fs, directory, writable)));
        }
        let mut found = vec![journals::find(fs, &directories[0].1, writable)?];
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
        word.assigned.extend(assignments.into_iter().map(|found| (found.collection, found.directory)));
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

fn report_segments(segments: &FoundSegments, report: &mut Report) {
    for finding in &segments.findings {
        report.steps.push(Step {
            action: finding.action.label(),
            path: finding.path.clone(),
            collection: finding.key.collection.clone(),
            first_sequence: finding.key.first,
            last_sequence: finding.key.last,
            reason: finding.reason.clone(),
        });
        // A whole file is set aside where another has its records: nothing is damaged.
        let superseded = finding.action == table::Action::SetAside && finding.file == table::FileState::Present;
        if !superseded
            && matches!(finding.action, table::Action::Quarantine | table::Action::SetAside | table::Action::Report)
        {
            report.damaged.push(Damaged {
                path: finding.path.clone(),
                collection: Some(finding.key.collection.clone()),
                first_sequence: Some(finding.key.first),
                last_sequence: Some(finding.key.last),
                reason: finding.reason.clone(),
            });
        }
    }
}

fn pieces_of(journals: &[FoundJournals]) -> (AllPieces, HashMap<CollectionName, usize>) {
    let mut all = AllPieces::new();
    let mut home = HashMap::new();
    for (directory, found) in journals.iter().enumerate() {
        for journal in &found.journals {
            for run in &journal.scan.runs {
                let pieces = match all.get_mut(&run.collection) {
                    Some(pieces) => pieces,
                    None => {
                        home.insert(run.collection.clone(), directory);
                        all.entry(run.collection.clone()).or_default()
                    }
                };
                let file = std::sync::Arc::clone(&journal.file);
                pieces.runs.push(Run::on_disk(run.first, run.count, run.bytes, file, run.offset));
            }
            for lost in journal.scan.damage.iter().flat_map(|damage| &damage.lost) {
                home.entry(lost.collection.clone()).or_insert(directory);
                let pieces = all.entry(lost.collection.clone()).or_default();
                pieces.lost_through = pieces.lost_through.max(lost.last());
            }
        }
    }
    (all, home)
}

fn stand(
    directories: &[(String, PathBuf)],
    journals: &[FoundJournals],
    segments: &FoundSegments,
    word: &CatalogWord,
    (rooms, writable, report): (Vec<u64>, bool, &mut Report),
) -> Result<BTreeMap<CollectionName, Standing>> {
    let (mut pieces, home) = pieces_of(journals);
    let names = word.rows.keys().chain(segments.collections.keys()).chain(word.missing.keys());
    for name in names {
        pieces.entry(name.clone()).or_default();
    }
    let adopted = adoptable(segments);
    let none = CollectionFiles::default();
    let mut standings = BTreeMap::new();
    for (name, mut pieces) in pieces {
        let files = segments.collections.get(&name).unwrap_or(&none);
        let assigned = word.assigned.get(&name).and_then(|id| directories.iter().position(|(known, _)| known == id));
        let directory = assigned.or_else(|| home.get(&name).copied()).or(files.directory).unwrap_or(0);
        let mut known = known(word, files, &name);
        let mut holes = Vec::new();
        for &(first, last) in adopted.get(&name).into_iter().flatten() {
            if !writable {
                // Nobody adopts it now: a writer beside us may be about to commit its row. Until then its records are read from
                // the journals; where those are gone, they are not lost.
                known.missing.push((first, last));
                continue;
            }
            let at = known.sealed_through.next().max(known.floor);
            if first > at {
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
        pieces.room = rooms[directory];
        let merged = collections::merge(&name, pieces, &known)?;
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
        // Where the end may be in a file that cannot be read now, no sequence can be given out (DESIGN section 8).
        let refuses = journals[directory].unreadable.first().map(|unreadable| {
            format!(
                "the end of the collection may be in a journal that cannot be read: collection=`{name}`, path=`{}`",
                unreadable.path.display()
            )
        });
        let catalogued = word.rows.contains_key(&name) && assigned.is_some();
        standings.insert(name, Standing { directory, catalogued, known, holes, merged, refuses });
    }
    Ok(standings)
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

/// Ranges of whole files without a row, in order: they are sealed, though the catalog does not say so yet.
fn adoptable(segments: &FoundSegments) -> HashMap<CollectionName, Vec<(Sequence, Sequence)>> {
    let mut adopted: HashMap<_, Vec<_>> = HashMap::new();
    for finding in &segments.findings {
        if finding.action == table::Action::Adopt {
            adopted.entry(finding.key.collection.clone()).or_default().push((finding.key.first, finding.key.last));
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
    Known { sealed_through, floor, last: sealed_through.max(floor.previous()).max(files.last).max(lost), missing }
}
