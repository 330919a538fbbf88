//! Segments on disk against rows in the catalog (DESIGN section 8).
//!
//! - [`list`](list()): what lies in the folders of a directory
//! - [`judge`](judge()): what a file is, every byte read
//! - [`places`]: in which directories a collection has files
//!
//! Owns: finding which file has no row, which row no file, and which file another directory has too. Decides by
//! [`table`](super::table), changes nothing. Of a row's file it is only looked whether it is there, unless other directories have
//! files of that name, or the row is Quarantined: then each of them is read, every byte, before anything is decided.

mod judge;
mod list;
pub mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use self::list::Unlistable;
pub use self::places::{Claim, CollectionFiles, Contested, Place, contest, strongest};
use super::COMPONENT;
use super::journals::chain;
use super::table::{Action, Elsewhere, FileState, decide, decide_copy};
use crate::catalog::{Catalog, LossRow, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::Result;
use crate::fs::FileSystem;
use crate::log::identity::Identity;
use crate::segment::{FileKind, SegmentName};
use crate::types::{CollectionName, LogId, Sequence};

pub(in crate::log) use self::judge::{Judgement, Whole, judge};
pub(in crate::log) use self::list::{Listed, Listing, list};

/// Rows read at once.
const PAGE_ROWS: usize = 4096;

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
        found: FoundSegments::default(),
    };
    comparison.list(readable);
    comparison.rows()?;
    comparison.rowless()?;
    comparison.finish()
}

/// A comparison under way.
struct Comparison<'a> {
    fs: &'a dyn FileSystem,
    directories: &'a [(String, PathBuf)],
    catalog: &'a dyn Catalog,
    log: Option<LogId>,
    /// Files whose row was not met yet, and in which directories they lie.
    files: BTreeMap<SegmentKey, Holders>,
    /// Folders that could not be listed.
    hidden: BTreeSet<PathBuf>,
    /// With the collection that was counted last.
    unjudged: BTreeMap<String, (Unjudged, Option<CollectionName>)>,
    /// Segments that become live by this plan: by collection and first sequence. None overlaps another.
    planned: BTreeMap<(CollectionName, Sequence), SegmentKey>,
    found: FoundSegments,
}

/// The directories that hold a file: as a rule, one.
struct Holders {
    first: usize,
    more: Vec<usize>,
}

impl Holders {
    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

/// A file in another directory than the segment's own, read.
struct HeldFile {
    directory: usize,
    judgement: Judgement,
}

impl Comparison<'_> {
    fn list(&mut self, readable: &[bool]) {
        for (index, (id, directory)) in self.directories.iter().enumerate() {
            let reason = if readable[index] {
                let (files, collections) = (&mut self.files, &mut self.found.collections);
                let listed = list(self.fs, index, directory, &mut |listed| {
                    let Listed { key, kind, .. } = listed;
                    let range = crate::segment::SequenceRange { first: key.first, last: key.last };
                    let name = SegmentName { covers: range, generation: key.generation, kind };
                    if kind == FileKind::Stub {
                        note(collections, &key.collection, index, name);
                        return;
                    }
                    let holders = files.entry(key).or_insert(Holders { first: index, more: Vec::new() });
                    if holders.first != index {
                        holders.more.push(index);
                    }
                });
                match listed {
                    Ok(listing) => {
                        self.hidden.extend(listing.unlistable.iter().map(|hidden| hidden.path.clone()));
                        self.found.unlistable.extend(listing.unlistable);
                        self.found.foreign.extend(listing.foreign);
                        self.found.empty.extend(listing.empty.into_iter().map(|name| (name, index)));
                        continue;
                    }
                    Err(error) => Some(chain(&error)),
                }
            } else {
                None
            };
            let unjudged = Unjudged { path: Some(directory.clone()), ..Unjudged::new(id, Some(index), reason) };
            self.unjudged.insert(id.clone(), (unjudged, None));
        }
    }

    fn rows(&mut self) -> Result<()> {
        let mut after: Option<SegmentKey> = None;
        loop {
            let rows = self.catalog.segments(None, after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for row in rows {
                self.found.rows += 1;
                self.row(row)?;
            }
        }
    }

    fn row(&mut self, row: SegmentRow) -> Result<()> {
        let holders = self.files.remove(&row.key);
        let home = self.directories.iter().position(|(id, _)| *id == row.directory);
        let name = SegmentName::of_key(&row.key);
        let collections = &mut self.found.collections;
        for index in holders.iter().flat_map(Holders::iter) {
            note(collections, &row.key.collection, index, name);
        }
        let files = note(collections, &row.key.collection, home, name);
        if let Some(home) = home {
            files.note_epoch(home, row.key.last, row.epoch);
        }
        if self.unjudged.contains_key(&row.directory) || (home.is_none() && row.status.is_local()) {
            self.count_unjudged(&row);
            return Ok(());
        }
        let is_listed = holders.as_ref().is_some_and(|holders| holders.iter().any(|index| Some(index) == home));
        let copies: Vec<usize> = holders.iter().flat_map(Holders::iter).filter(|index| Some(*index) != home).collect();
        let directory = home.unwrap_or(0);
        let path = segment_path(&self.directories[directory].1, &row.key);
        let hidden = !is_listed && path.parent().is_some_and(|folder| self.hidden.contains(folder));
        let file = match (is_listed, hidden) {
            (true, _) => FileState::Present,
            (false, true) => FileState::Unreadable,
            (false, false) => FileState::Absent,
        };
        if !copies.is_empty() || (is_listed && row.status == SegmentStatus::Quarantined) {
            return self.row_with_copies(row, (home, path, file), copies);
        }
        let action = decide(Some(row.status), file, Elsewhere::None, row.archive_key.is_some());
        if action != Action::Keep {
            let reason = match hidden {
                true => format!("the row says {:?}, and the folder cannot be listed", row.status),
                false => format!("the row says {:?}, the file is {}", row.status, file.label()),
            };
            let key = row.key.clone();
            let finding = SegmentFinding {
                key,
                directory,
                path,
                row: Some(row),
                file,
                action,
                reason,
                beside: None,
                differs: false,
            };
            self.found.findings.push(finding);
        }
        Ok(())
    }

    fn count_unjudged(&mut self, row: &SegmentRow) {
        if !row.status.is_local() {
            return;
        }
        let none = || (Unjudged::new(&row.directory, None, None), None);
        let (unjudged, before) = self.unjudged.entry(row.directory.clone()).or_insert_with(none);
        unjudged.segments += 1;
        unjudged.bytes += row.bytes;
        if before.as_ref() != Some(&row.key.collection) {
            unjudged.collections += 1;
            *before = Some(row.key.collection.clone());
        }
    }

    fn judge(&self, directory: usize, key: &SegmentKey, row: Option<&SegmentRow>) -> Judgement {
        judge(self.fs, &segment_path(&self.directories[directory].1, key), (self.log, key, row))
    }

    /// Reads the copies; what is none of ours is named and left out.
    fn read_copies(&mut self, key: &SegmentKey, row: Option<&SegmentRow>, directories: Vec<usize>) -> Vec<HeldFile> {
        let mut copies = Vec::new();
        for directory in directories {
            match self.judge(directory, key, row) {
                Judgement::Absent => {}
                Judgement::Foreign(what) => self.leave_foreign(directory, key, &what),
                judgement => copies.push(HeldFile { directory, judgement }),
            }
        }
        copies
    }

    fn leave_foreign(&mut self, directory: usize, key: &SegmentKey, what: &str) {
        let path = segment_path(&self.directories[directory].1, key);
        tracing::warn!(path = %path.display(), what, "a file that is none of ours is left alone");
        self.found.foreign.push(path);
    }

    /// A row with files in other directories, or a quarantined one with a file.
    fn row_with_copies(
        &mut self,
        row: SegmentRow,
        (home, path, listed): (Option<usize>, PathBuf, FileState),
        copies: Vec<usize>,
    ) -> Result<()> {
        let key = row.key.clone();
        let own = match (listed, home) {
            (FileState::Present, Some(home)) => self.judge(home, &key, Some(&row)),
            (FileState::Unreadable, _) => Judgement::Unreadable("its folder cannot be listed".to_owned()),
            _ => Judgement::Absent,
        };
        if let (Judgement::Foreign(what), Some(home)) = (&own, home) {
            self.leave_foreign(home, &key, what);
        }
        let copies = self.read_copies(&key, Some(&row), copies);
        let exact = copies.iter().position(|copy| is_exact(&copy.judgement, &row));
        let is_wanted = row.status.is_local() || row.status == SegmentStatus::Quarantined;
        let own_is_exact = is_exact(&own, &row);
        let (file, mut reason) = match &own {
            Judgement::Absent => (FileState::Absent, format!("the row says {:?}, the file is absent", row.status)),
            Judgement::Whole(_) if own_is_exact => {
                (FileState::Present, format!("the row says {:?}, the file is whole", row.status))
            }
            // It still gives what can be read of it, unless there is better.
            Judgement::Flawed { content_digest, .. } | Judgement::Whole(Whole { content_digest, .. })
                if *content_digest == row.content_digest
                    && exact.is_none()
                    && row.status != SegmentStatus::Quarantined =>
            {
                (FileState::Present, format!("the row says {:?}, the file is present", row.status))
            }
            Judgement::Whole(_) => (FileState::Damaged, "the file is not the one that its row says".to_owned()),
            Judgement::Flawed { reason, .. } | Judgement::Broken(reason) => (FileState::Damaged, reason.clone()),
            Judgement::Unreadable(reason) | Judgement::Foreign(reason) => (FileState::Unreadable, reason.clone()),
        };
        // What may be removed as a copy: nothing that the segment may still need.
        let of_copy = |copy: &HeldFile| match &copy.judgement {
            Judgement::Unreadable(_) => Elsewhere::Unreadable,
            Judgement::Whole(whole) if whole.content_digest == row.content_digest => {
                let is_spare = !is_wanted || own_is_exact || whole.is_exact;
                if is_spare { Elsewhere::Same } else { Elsewhere::Other }
            }
            _ => Elsewhere::Other,
        };
        let elsewhere = best(copies.iter().map(of_copy));
        let action = decide(Some(row.status), file, elsewhere, row.archive_key.is_some());
        let mut chosen = None;
        if action == Action::PutBack
            && let Some(other) = self.overlapping(&key)?
        {
            // Nothing of it is changed: its loss was filled otherwise.
            tracing::info!(segment = %key, %other, "a quarantined segment's file is back, and another has its records");
            return Ok(());
        }
        if matches!(action, Action::Relocate | Action::PutBack) && file != FileState::Present {
            chosen = exact;
        }
        let (directory, main_path, beside) = match chosen {
            Some(at) => {
                let directory = copies[at].directory;
                let path_there = segment_path(&self.directories[directory].1, &key);
                reason = format!("{reason}; a whole file is in another directory");
                let beside = (file == FileState::Damaged).then_some(()).and(home).map(|home| (home, path));
                (directory, path_there, beside)
            }
            None => (home.unwrap_or(0), path, None),
        };
        if action == Action::PutBack {
            self.planned.insert((key.collection.clone(), key.first), key.clone());
        }
        if action != Action::Keep {
            self.found.findings.push(SegmentFinding {
                key: key.clone(),
                directory,
                path: main_path.clone(),
                row: Some(row.clone()),
                file,
                action,
                reason,
                beside,
                differs: false,
            });
        }
        // What stays where a copy goes.
        let kept = (is_wanted && (chosen.is_some() || own_is_exact)).then_some((directory, main_path));
        for (_, copy) in copies.iter().enumerate().filter(|(at, _)| Some(*at) != chosen) {
            let state = of_copy(copy);
            let differs = state == Elsewhere::Other && !matches!(copy.judgement, Judgement::Broken(_));
            self.copy(&key, Some(&row), copy, (decide_copy(file, state), kept.clone(), differs));
        }
        Ok(())
    }

    /// Notes what is done with a copy.
    fn copy(
        &mut self,
        key: &SegmentKey,
        row: Option<&SegmentRow>,
        copy: &HeldFile,
        (action, kept, differs): (Action, Option<(usize, PathBuf)>, bool),
    ) {
        if matches!(action, Action::Keep | Action::Nothing) {
            return;
        }
        let (file, reason) = match &copy.judgement {
            Judgement::Unreadable(reason) => (FileState::Unreadable, reason.clone()),
            Judgement::Broken(reason) | Judgement::Flawed { reason, .. } => {
                (FileState::Damaged, format!("a damaged copy: {reason}"))
            }
            _ if action == Action::RemoveCopy => (FileState::Present, "a second copy of the same records".to_owned()),
            _ => (FileState::Present, "a file of the same name with other bytes".to_owned()),
        };
        self.found.findings.push(SegmentFinding {
            key: key.clone(),
            directory: copy.directory,
            path: segment_path(&self.directories[copy.directory].1, key),
            row: row.cloned(),
            file,
            action,
            reason,
            beside: kept.filter(|_| action == Action::RemoveCopy),
            differs,
        });
    }

    /// A segment, live or about to become so, that has some of the same sequences.
    fn overlapping(&self, key: &SegmentKey) -> Result<Option<SegmentKey>> {
        let planned = self.planned.range(..=(key.collection.clone(), key.last)).next_back().map(|(_, before)| before);
        match planned.filter(|before| before.collection == key.collection && before.last >= key.first) {
            Some(before) => Ok(Some(before.clone())),
            None => row_overlapping(self.catalog, key),
        }
    }

    fn rowless(&mut self) -> Result<()> {
        let mut rowless: Vec<(SegmentKey, Holders)> = std::mem::take(&mut self.files).into_iter().collect();
        // Longer ones first where they begin alike: a seal whose row failed is tried again later, with what came since.
        rowless.sort_by(|(one, _), (other, _)| {
            (&one.collection, one.first, other.last).cmp(&(&other.collection, other.first, one.last))
        });
        for (key, holders) in rowless {
            let listed = holders.iter().collect::<Vec<_>>();
            let is_alone = listed.len() == 1;
            let mut files = self.read_copies(&key, None, listed);
            if files.is_empty() {
                continue;
            }
            // Not before: a name alone makes no collection, where the file is none of ours.
            for HeldFile { directory, judgement } in &files {
                let name = SegmentName::of_key(&key);
                let of = note(&mut self.found.collections, &key.collection, *directory, name);
                if let Judgement::Whole(whole) = judgement {
                    of.note_epoch(*directory, key.last, whole.epoch);
                }
            }
            let home = if is_alone { files[0].directory } else { self.home_of(&key, &files)? };
            let own = files.iter().position(|file| file.directory == home).map(|at| files.remove(at));
            self.rowless_segment(&key, (home, own), &files)?;
        }
        Ok(())
    }

    /// The own place of a segment without a row that several directories have: the collection's directory. Where it is assigned to
    /// none, that of the newest whole file.
    fn home_of(&self, key: &SegmentKey, files: &[HeldFile]) -> Result<usize> {
        let assigned = self.catalog.assignment(COMPONENT, &key.collection)?;
        if let Some(home) =
            assigned.and_then(|found| self.directories.iter().position(|(id, _)| *id == found.directory))
        {
            return Ok(home);
        }
        let claim = |file: &HeldFile| match &file.judgement {
            Judgement::Whole(whole) => Some(Claim { directory: file.directory, epoch: whole.epoch, last: key.last }),
            _ => None,
        };
        Ok(strongest(files.iter().filter_map(claim)).map_or(files[0].directory, |winner| winner.directory))
    }

    fn rowless_segment(
        &mut self,
        key: &SegmentKey,
        (home, own): (usize, Option<HeldFile>),
        copies: &[HeldFile],
    ) -> Result<()> {
        let digest_of = |copy: &HeldFile| match &copy.judgement {
            Judgement::Whole(whole) => Some(whole.content_digest),
            _ => None,
        };
        let (file, mut reason) = match own.as_ref().map(|own| &own.judgement) {
            None | Some(Judgement::Absent | Judgement::Foreign(_)) => (FileState::Absent, "no file".to_owned()),
            Some(Judgement::Whole(_)) => (FileState::Present, "a whole file without a row".to_owned()),
            Some(Judgement::Flawed { reason, .. } | Judgement::Broken(reason)) => (FileState::Damaged, reason.clone()),
            Some(Judgement::Unreadable(reason)) => (FileState::Unreadable, reason.clone()),
        };
        let whole_copies = copies.iter().filter_map(|copy| match &copy.judgement {
            Judgement::Whole(whole) => Some(Claim { directory: copy.directory, epoch: whole.epoch, last: key.last }),
            _ => None,
        });
        // The one whose records the segment has: its own, or the newest whole copy.
        let chosen = match file {
            FileState::Present => own.as_ref(),
            _ => {
                let winner = strongest(whole_copies);
                winner.and_then(|winner| copies.iter().find(|copy| copy.directory == winner.directory))
            }
        };
        let wanted = chosen.and_then(digest_of);
        let of_copy = |copy: &HeldFile| match &copy.judgement {
            Judgement::Unreadable(_) => Elsewhere::Unreadable,
            Judgement::Whole(whole) if Some(whole.content_digest) == wanted => Elsewhere::Same,
            _ => Elsewhere::Other,
        };
        let mut action = decide(None, file, best(copies.iter().map(of_copy)), false);
        let mut is_superseded = false;
        let directory = chosen.filter(|_| action == Action::Adopt).map_or(home, |chosen| chosen.directory);
        if action == Action::Adopt {
            if let Some(other) = self.overlapping(key)? {
                // Without a row it released no journal: whatever it holds and the other does not is still there.
                action = Action::SetAside;
                is_superseded = true;
                reason = format!("another segment has its records: segment=`{other}`");
            } else {
                self.planned.insert((key.collection.clone(), key.first), key.clone());
                if directory != home {
                    reason = "a whole file without a row, in another directory than the collection's".to_owned();
                }
            }
        }
        let path = segment_path(&self.directories[directory].1, key);
        let shown = if action == Action::Adopt || is_superseded { FileState::Present } else { file };
        if !matches!(action, Action::Keep | Action::Nothing) {
            self.found.findings.push(SegmentFinding {
                key: key.clone(),
                directory,
                path: path.clone(),
                row: None,
                file: shown,
                action,
                reason,
                beside: None,
                differs: false,
            });
        }
        let others = copies.iter().chain(own.iter().filter(|_| action != Action::SetAside || is_superseded));
        for copy in others.filter(|copy| copy.directory != directory) {
            let mut of = decide_copy(file, of_copy(copy));
            if is_superseded && of == Action::RemoveCopy {
                // The one that stays is not a segment's.
                of = Action::SetAside;
            }
            let differs = !is_superseded && digest_of(copy).is_some() && digest_of(copy) != wanted;
            self.copy(key, None, copy, (of, Some((directory, path.clone())), differs));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<FoundSegments> {
        self.found.contested = places::settle(self.fs, self.directories, self.catalog, &mut self.found.collections)?;
        // A segment before its copies.
        self.found.findings.sort_by(|one, other| one.key.cmp(&other.key));
        self.found.unjudged = self.unjudged.into_values().map(|(unjudged, _)| unjudged).collect();
        self.found.unjudged.sort_by_key(|unjudged| (unjudged.index.is_none(), unjudged.index));
        self.found.foreign.sort();
        Ok(self.found)
    }
}

fn note<'a>(
    collections: &'a mut BTreeMap<CollectionName, CollectionFiles>,
    collection: &CollectionName,
    directory: impl Into<Option<usize>>,
    name: SegmentName,
) -> &'a mut CollectionFiles {
    if !collections.contains_key(collection) {
        collections.insert(collection.clone(), CollectionFiles::default());
    }
    let files = collections.get_mut(collection).expect("it was put there");
    match directory.into() {
        Some(directory) => files.note(directory, name),
        None => files.last = files.last.max(name.covers.last),
    }
    files
}

/// Whether a file is, byte by byte, the one of its row.
fn is_exact(judgement: &Judgement, row: &SegmentRow) -> bool {
    matches!(judgement, Judgement::Whole(whole) if whole.is_exact && whole.content_digest == row.content_digest)
}

fn best(copies: impl Iterator<Item = Elsewhere>) -> Elsewhere {
    copies.fold(Elsewhere::None, |best, copy| match (best, copy) {
        (Elsewhere::Same, _) | (_, Elsewhere::Same) => Elsewhere::Same,
        (Elsewhere::Unreadable, _) | (_, Elsewhere::Unreadable) => Elsewhere::Unreadable,
        (Elsewhere::Other, _) | (_, Elsewhere::Other) => Elsewhere::Other,
        (Elsewhere::None, Elsewhere::None) => Elsewhere::None,
    })
}
