//! Where each collection lives, and stands, by everything that was found.
//!
//! Owns: which directory a collection belongs to, what of its records counts, why it takes no appends.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::collections::{self, AllPieces, Known};
use super::journals::FoundJournals;
use super::segments::{self, Claim, CollectionFiles, Contested, FoundSegments};
use super::{CatalogWord, Found, Looked, LossReport, RECORD_BYTES_MIN, Report, Standing, returned, table};
use crate::catalog::{Assignment, Catalog};
use crate::error::Result;
use crate::fs::FileSystem;
use crate::journal::FileId;
use crate::log::DirectoryState;
use crate::log::damage::Damaged;
use crate::memtable::Run;
use crate::types::{CollectionName, Epoch, Sequence};

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
                let found = Run::on_disk(run.first, run.count, run.bytes, file, run.offset);
                pieces.runs.push(found.written_at(run.written_at));
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

pub(super) fn stand(
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
    for name in names.chain(word.assigned.keys()).chain(looked.archived.keys()) {
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
        known.last = known.last.max(looked.archived.get(&name).copied().unwrap_or_default());
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
pub(super) fn rooms(directories: &[(String, PathBuf)], journals: &[FoundJournals], note: &str) -> (Vec<u64>, String) {
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
