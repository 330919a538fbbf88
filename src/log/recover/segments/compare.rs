//! Rows, and what lies under their names.
//!
//! Owns: which file is a row's own and which a copy, and reading those that something is decided about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::super::journals::chain;
use super::super::table::{Action, Elsewhere, FileState, decide, decide_copy};
use super::judge::{Judgement, Whole, judge};
use super::list::{Listed, list};
use super::{CollectionFiles, FoundSegments, SegmentFinding, Unjudged, places, row_overlapping, segment_path};
use crate::catalog::{Catalog, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::Result;
use crate::fs::FileSystem;
use crate::segment::{FileKind, SegmentName};
use crate::types::{CollectionName, LogId, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 4096;

/// A comparison under way.
pub(super) struct Comparison<'a> {
    pub fs: &'a dyn FileSystem,
    pub directories: &'a [(String, PathBuf)],
    pub catalog: &'a dyn Catalog,
    pub log: Option<LogId>,
    /// Files whose row was not met yet, and in which directories they lie.
    pub files: BTreeMap<SegmentKey, Holders>,
    /// Folders that could not be listed.
    pub hidden: BTreeSet<PathBuf>,
    /// With the collection that was counted last.
    pub unjudged: BTreeMap<String, (Unjudged, Option<CollectionName>)>,
    /// Segments that become live by this plan: by collection and first sequence. None overlaps another.
    pub planned: BTreeMap<(CollectionName, Sequence), SegmentKey>,
    /// Where the finding of a row's own file is in `found`; of rows that need nothing there is none.
    pub of_rows: BTreeMap<SegmentKey, usize>,
    pub found: FoundSegments,
}

/// The directories that hold a file: as a rule, one.
pub(super) struct Holders {
    first: usize,
    more: Vec<usize>,
}

impl Holders {
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(self.first).chain(self.more.iter().copied())
    }
}

/// A file in another directory than the segment's own, read.
pub(super) struct HeldFile {
    pub directory: usize,
    pub judgement: Judgement,
}

impl Comparison<'_> {
    pub(super) fn list(&mut self, readable: &[bool]) {
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

    pub(super) fn rows(&mut self) -> Result<()> {
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
        for index in holders.iter().flat_map(Holders::iter).filter(|index| Some(*index) != home) {
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
        if copies.is_empty() && self.is_at_rest(&row, is_listed) {
            return Ok(());
        }
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
        let may_be_away = row.status.is_local() && self.is_any_missing();
        let elsewhere = if may_be_away { Elsewhere::Unreadable } else { Elsewhere::None };
        let action = decide(Some(row.status), file, elsewhere, row.archive_key.is_some());
        if action != Action::Keep {
            let reason = match hidden {
                true => {
                    let unlistable = self.found.unlistable.iter().find(|hidden| path.starts_with(&hidden.path));
                    let why = unlistable.map_or("", |hidden| &hidden.reason);
                    format!("the row says {:?}, and the folder cannot be listed: {why}", row.status)
                }
                false if action == Action::Report => {
                    let file = file.label();
                    format!(
                        "the row says {:?}, the file is {file}, and may be in a directory that is missing",
                        row.status
                    )
                }
                false => format!("the row says {:?}, the file is {}", row.status, file.label()),
            };
            let key = row.key.clone();
            self.of_rows.insert(key.clone(), self.found.findings.len());
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

    /// Whether row and file plainly agree, as most do.
    fn is_at_rest(&self, row: &SegmentRow, is_listed: bool) -> bool {
        let file = if is_listed { FileState::Present } else { FileState::Absent };
        (is_listed || self.hidden.is_empty())
            && decide(Some(row.status), file, Elsewhere::None, row.archive_key.is_some()) == Action::Keep
    }

    /// Whether a directory of the log could not be listed: what is absent elsewhere may be there. The catalog may be an older copy.
    fn is_any_missing(&self) -> bool {
        self.unjudged.values().any(|(unjudged, _)| unjudged.index.is_some())
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
    pub(super) fn read_copies(
        &mut self,
        key: &SegmentKey,
        row: Option<&SegmentRow>,
        directories: Vec<usize>,
    ) -> Vec<HeldFile> {
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
        let may_be_away = row.status.is_local() && self.is_any_missing();
        let elsewhere = best(copies.iter().map(of_copy).chain(may_be_away.then_some(Elsewhere::Unreadable)));
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
            self.of_rows.insert(key.clone(), self.found.findings.len());
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
    pub(super) fn copy(
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
    pub(super) fn overlapping(&self, key: &SegmentKey) -> Result<Option<SegmentKey>> {
        let planned = self.planned.range(..=(key.collection.clone(), key.last)).next_back().map(|(_, before)| before);
        match planned.filter(|before| before.collection == key.collection && before.last >= key.first) {
            Some(before) => Ok(Some(before.clone())),
            None => row_overlapping(self.catalog, key),
        }
    }

    pub(super) fn finish(mut self) -> Result<FoundSegments> {
        self.found.contested = places::settle(self.fs, self.directories, self.catalog, &mut self.found.collections)?;
        // A segment before its copies.
        self.found.findings.sort_by(|one, other| one.key.cmp(&other.key));
        self.found.unjudged = self.unjudged.into_values().map(|(unjudged, _)| unjudged).collect();
        self.found.unjudged.sort_by_key(|unjudged| (unjudged.index.is_none(), unjudged.index));
        self.found.foreign.sort();
        Ok(self.found)
    }
}

pub(super) fn note<'a>(
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

pub(super) fn best(copies: impl Iterator<Item = Elsewhere>) -> Elsewhere {
    copies.fold(Elsewhere::None, |best, copy| match (best, copy) {
        (Elsewhere::Same, _) | (_, Elsewhere::Same) => Elsewhere::Same,
        (Elsewhere::Unreadable, _) | (_, Elsewhere::Unreadable) => Elsewhere::Unreadable,
        (Elsewhere::Other, _) | (_, Elsewhere::Other) => Elsewhere::Other,
        (Elsewhere::Compacted, _) | (_, Elsewhere::Compacted) => Elsewhere::Compacted,
        (Elsewhere::None, Elsewhere::None) => Elsewhere::None,
    })
}
