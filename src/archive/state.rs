//! What an archive has: its manifests, folded into one.
//!
//! Owns: what several manifests say together. Does not own: fetching them ([`chain`](super::chain)).
//!
//! It takes some 250 bytes of memory for each segment, and is not kept: whoever needs it reads the manifests from the newest checkpoint on.
//! What manifests say against each other makes nothing unreadable: it stands in [`ArchiveState::problems`], and what was told first counts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::Bound;

use super::manifest::{
    ArchivedSegment, CatalogSnapshot, CollectionEntry, Entry, LossEntry, Manifest, ManifestHead, ManifestMark,
    ManifestNumber, RemoteEntry, RemovedSegment,
};
use crate::catalog::SegmentKey;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Epoch, Generation, LogId, Sequence, Timestamp};

/// Problems that are listed; more are counted.
const PROBLEMS_MAX: usize = 1_000;

/// What an archive has.
#[derive(Clone, Debug, Default)]
pub struct ArchiveState {
    /// Head of the newest manifest; `None` before the first.
    head: Option<ManifestHead>,
    mark: Option<ManifestMark>,
    collections: BTreeMap<CollectionName, ArchivedCollection>,
    snapshot: Option<CatalogSnapshot>,
    remotes: BTreeMap<String, String>,
    problems: Vec<String>,
    problems_unlisted: u64,
}

/// What an archive has of one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivedCollection {
    /// What was told of it; `None` where only segments or losses name it.
    pub entry: Option<CollectionEntry>,
    /// Its segments in order of their first sequence, then of their generation.
    pub segments: BTreeMap<Place, ArchivedSegment>,
    /// Losses and gaps by first and last sequence.
    pub losses: BTreeMap<(Sequence, Sequence), LossEntry>,
}

/// Where a segment stands in its collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// First sequence.
    pub first: Sequence,
    /// How often the range was rewritten.
    pub generation: Generation,
    /// Last sequence.
    pub last: Sequence,
}

impl From<&SegmentKey> for Place {
    fn from(key: &SegmentKey) -> Self {
        Self { first: key.first, generation: key.generation, last: key.last }
    }
}

impl ArchivedCollection {
    /// The first sequence that it still promises.
    #[must_use]
    pub fn floor(&self) -> Sequence {
        self.entry.as_ref().map_or(Sequence::FIRST, |entry| entry.floor)
    }

    /// The highest sequence that any manifest names (C7); zero where none does.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        let segments = self.segments.values().map(|segment| segment.segment.last);
        let losses = self.losses.keys().map(|(_, last)| *last);
        let told = self.entry.iter().map(|entry| entry.sealed_through.max(entry.floor.previous()));
        segments.chain(losses).chain(told).max().unwrap_or_default()
    }
}

impl ArchiveState {
    /// Of no manifest.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The log whose archive it is; `None` before the first manifest.
    #[must_use]
    pub fn log(&self) -> Option<LogId> {
        self.head.as_ref().map(|head| head.log)
    }

    /// Head of the newest manifest; `None` before the first.
    #[must_use]
    pub const fn head(&self) -> Option<&ManifestHead> {
        self.head.as_ref()
    }

    /// The newest manifest; `None` before the first.
    #[must_use]
    pub const fn mark(&self) -> Option<&ManifestMark> {
        self.mark.as_ref()
    }

    /// The highest epoch of any manifest and of any segment.
    #[must_use]
    pub fn epoch_max(&self) -> Epoch {
        let segments = self.segments().map(|segment| segment.epoch);
        segments.chain(self.mark.map(|mark| mark.epoch)).max().unwrap_or_default()
    }

    /// The collections in order of their names.
    #[must_use]
    pub const fn collections(&self) -> &BTreeMap<CollectionName, ArchivedCollection> {
        &self.collections
    }

    /// All segments, in order of collection, first sequence and generation.
    pub fn segments(&self) -> impl Iterator<Item = &ArchivedSegment> {
        self.collections.values().flat_map(|collection| collection.segments.values())
    }

    /// A segment.
    #[must_use]
    pub fn segment(&self, key: &SegmentKey) -> Option<&ArchivedSegment> {
        self.collections.get(&key.collection)?.segments.get(&Place::from(key))
    }

    /// The newest copy of the catalog.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&CatalogSnapshot> {
        self.snapshot.as_ref()
    }

    /// Object stores that are homes of the log's segments, with manifests of their own: URLs by their ids (A5).
    #[must_use]
    pub const fn remotes(&self) -> &BTreeMap<String, String> {
        &self.remotes
    }

    /// What manifests say against each other, a line each.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Problems beyond those that are listed.
    #[must_use]
    pub const fn problems_unlisted(&self) -> u64 {
        self.problems_unlisted
    }

    /// Takes in the next manifest. The first one must be a checkpoint. One with which the chain begins anew takes the place of all before.
    ///
    /// # Errors
    /// `Corrupt` where it is not the next one: another number, another predecessor, a lower epoch; `Conflict` for another log's. Nothing changed then.
    pub fn apply(&mut self, manifest: Manifest) -> Result<()> {
        let Manifest { head, entries, mark, .. } = manifest;
        match (&self.head, &self.mark) {
            (Some(before), Some(mark)) => check_next(before, mark, &head)?,
            _ if !head.checkpoint => return Err(broken(&head, "reading begins at one that is no checkpoint")),
            _ => {}
        }
        if head.begins_anew() {
            *self = Self { problems: std::mem::take(&mut self.problems), ..Self::new() };
        }
        if self.head.is_some() && head.checkpoint {
            self.compare(head.number, entries);
        } else {
            entries.into_iter().for_each(|entry| self.take(head.number, entry));
        }
        (self.head, self.mark) = (Some(head), Some(mark));
        Ok(())
    }

    /// A checkpoint tells nothing new: so it can be checked, and one that is damaged can be done without.
    fn compare(&mut self, number: ManifestNumber, entries: Vec<Entry>) {
        let mut told = Self::new();
        entries.into_iter().for_each(|entry| told.take(number, entry));
        let is_same = told.collections == self.collections
            && told.snapshot == self.snapshot
            && told.remotes == self.remotes
            && told.problems.is_empty();
        if !is_same {
            self.problem(number, "a checkpoint that is not what the manifests before it tell");
        }
    }

    /// Takes in a manifest that may stand behind others which cannot be read. Where it `tells_all`, it takes the place of all that was told
    /// before, but for floors and ends, which never go back. A checkpoint that does not is compared.
    pub(super) fn take_over_damage(&mut self, manifest: Manifest, tells_all: bool) {
        let Manifest { head, entries, mark, .. } = manifest;
        if tells_all {
            let before = std::mem::take(self);
            self.problems = before.problems;
            entries.into_iter().for_each(|entry| self.take(head.number, entry));
            for told in before.collections.into_values().filter_map(|collection| collection.entry) {
                if let Some(entry) = self.collections.get_mut(&told.name).and_then(|found| found.entry.as_mut()) {
                    entry.floor = entry.floor.max(told.floor);
                    entry.sealed_through = entry.sealed_through.max(told.sealed_through);
                } else {
                    self.take(head.number, Entry::Collection(told));
                }
            }
        } else if head.checkpoint {
            self.compare(head.number, entries);
        } else {
            entries.into_iter().for_each(|entry| self.take(head.number, entry));
        }
        (self.head, self.mark) = (Some(head), Some(mark));
    }

    /// Takes in what no manifest tells yet.
    pub(super) fn tell(&mut self, entry: Entry) {
        self.take(ManifestNumber(0), entry);
    }

    /// Adds a segment that no manifest names, and that shares no sequence with any of its generation.
    pub(super) fn add_unnamed(&mut self, segment: ArchivedSegment) {
        let place = Place::from(&segment.segment);
        self.collection(&segment.segment.collection).segments.insert(place, segment);
    }

    /// Leaves a segment out whose object is not there; the collection's end stays.
    pub(super) fn leave_out(&mut self, key: &SegmentKey) {
        if let Some(collection) = self.collections.get_mut(&key.collection) {
            collection.segments.remove(&Place::from(key));
        }
    }

    /// Goes on behind a checkpoint that cannot be read: it told nothing new. `after` is the one behind it.
    pub(super) fn skip_checkpoint(&mut self, skipped: ManifestMark) {
        if let Some(head) = &mut self.head {
            head.number = skipped.number;
            head.epoch = skipped.epoch;
            head.writer = skipped.writer;
        }
        self.mark = Some(skipped);
    }

    fn problem(&mut self, number: ManifestNumber, what: impl std::fmt::Display) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(format!("manifest=`{number}`, what=`{what}`"));
        } else {
            self.problems_unlisted += 1;
        }
    }

    fn collection(&mut self, name: &CollectionName) -> &mut ArchivedCollection {
        // Looked for twice, so that a name that is there is not cloned.
        if !self.collections.contains_key(name) {
            self.collections.insert(name.clone(), ArchivedCollection::default());
        }
        self.collections.get_mut(name).expect("it is there, or was put there")
    }

    fn take(&mut self, number: ManifestNumber, entry: Entry) {
        match entry {
            Entry::Added(added) => self.add(number, added),
            Entry::Removed(removed) => self.remove(number, &removed),
            Entry::Collection(mut told) => {
                let slot = &mut self.collection(&told.name).entry;
                if let Some(before) = slot {
                    told.floor = told.floor.max(before.floor);
                    told.sealed_through = told.sealed_through.max(before.sealed_through);
                }
                *slot = Some(told);
            }
            Entry::Loss(loss) => {
                self.collection(&loss.collection).losses.insert((loss.first, loss.last), loss.clone());
            }
            Entry::LossGone(gone) => {
                self.collection(&gone.collection).losses.remove(&(gone.first, gone.last));
            }
            Entry::Snapshot(snapshot) => self.snapshot = Some(snapshot),
            Entry::Remote(RemoteEntry { directory, url, gone }) => {
                if gone {
                    self.remotes.remove(&directory);
                } else {
                    self.remotes.insert(directory, url);
                }
            }
        }
    }

    fn add(&mut self, number: ManifestNumber, mut added: ArchivedSegment) {
        let place = Place::from(&added.segment);
        let collection = self.collection(&added.segment.collection);
        if let Some(known) = collection.segments.first_key_value().map(|(_, known)| &known.segment.collection) {
            added.segment.collection = known.clone();
        }
        if let Some(other) = overlapping(&collection.segments, place) {
            if *other != added {
                let what = format!(
                    "a segment shares sequences with another: segment=`{}`, object=`{}`, other object=`{}`",
                    added.segment,
                    added.object_key(),
                    other.object_key()
                );
                self.problem(number, what);
            }
            return;
        }
        collection.segments.insert(place, added);
    }

    fn remove(&mut self, number: ManifestNumber, removed: &RemovedSegment) {
        let collection = self.collection(&removed.segment.collection);
        if let Slot::Occupied(slot) = collection.segments.entry(Place::from(&removed.segment)) {
            if slot.get().object_key() == removed.key {
                slot.remove();
            } else {
                let what = format!(
                    "a removed segment is there with another object: segment=`{}`, removed=`{}`, object=`{}`",
                    removed.segment,
                    removed.key,
                    slot.get().object_key()
                );
                self.problem(number, what);
            }
        }
    }

    /// All that a checkpoint tells, in an order that is always the same; from a segment on, where one is given.
    pub(super) fn entries_from<'a>(&'a self, from: Option<&SegmentKey>) -> impl Iterator<Item = Entry> + 'a {
        let remotes = self.remotes.iter().map(|(directory, url)| {
            Entry::Remote(RemoteEntry { directory: directory.clone(), url: url.clone(), gone: false })
        });
        let of_all = self.snapshot.clone().map(Entry::Snapshot).into_iter().chain(remotes);
        let of_all = of_all.take(if from.is_none() { usize::MAX } else { 0 });
        let rest_of_one = from.and_then(|from| {
            let collection = self.collections.get(&from.collection)?;
            Some(collection.segments.range(Place::from(from)..).map(|(_, segment)| Entry::Added(segment.clone())))
        });
        let behind = from.map_or(Bound::Unbounded, |from| Bound::Excluded(&from.collection));
        let collections = self.collections.range::<CollectionName, _>((behind, Bound::Unbounded));
        of_all.chain(rest_of_one.into_iter().flatten()).chain(collections.flat_map(|(_, collection)| {
            let entry = collection.entry.clone().map(Entry::Collection);
            let losses = collection.losses.values().cloned().map(Entry::Loss);
            entry.into_iter().chain(losses).chain(collection.segments.values().cloned().map(Entry::Added))
        }))
    }
}

/// A segment of the same generation that shares a sequence.
fn overlapping(segments: &BTreeMap<Place, ArchivedSegment>, place: Place) -> Option<&ArchivedSegment> {
    let at = |first| Place { first, generation: Generation(0), last: Sequence(0) };
    // Those of one generation do not overlap, so of those that begin before, the last one of its generation tells.
    let before = segments.range(..at(place.first)).rev();
    let before = before.map(|(_, segment)| segment).find(|segment| segment.segment.generation == place.generation);
    let behind = segments.range(at(place.first)..at(place.last.next())).map(|(_, segment)| segment);
    let behind = behind.into_iter().find(|segment| segment.segment.generation == place.generation);
    before.filter(|segment| segment.segment.last >= place.first).or(behind)
}

/// Whether `head` is of the manifest behind `before`; one with which the chain begins anew may be behind others that cannot be read.
pub(super) fn check_next(before: &ManifestHead, mark: &ManifestMark, head: &ManifestHead) -> Result<()> {
    if head.log != before.log {
        let message = format!(
            "a manifest is of another log: manifest=`{}`, log=`{}`, expected=`{}`",
            head.number, head.log, before.log
        );
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    let is_other_writer = head.writer != before.writer;
    if head.begins_anew() {
        let is_behind = head.number > before.number && head.epoch > before.epoch;
        return if is_behind {
            Ok(())
        } else {
            Err(broken(head, "the chain begins anew with it, and its epoch is not above"))
        };
    }
    if head.number != before.number.next() {
        Err(broken(head, format_args!("the number before is another, found=`{}`", before.number)))
    } else if head.previous != Some(mark.sha256) {
        Err(broken(head, "the one before it is not the one that was there when it was written"))
    } else if head.begins != before.begins {
        Err(broken(head, format_args!("its chain begins with another, begins=`{}`", head.begins)))
    } else if head.epoch < before.epoch || (is_other_writer && head.epoch == before.epoch) {
        Err(broken(head, format_args!("its epoch is not above, epoch=`{}`, before=`{}`", head.epoch, before.epoch)))
    } else {
        Ok(())
    }
}

fn broken(head: &ManifestHead, what: impl std::fmt::Display) -> Error {
    let message = format!("the chain of manifests is broken: manifest=`{}`, what=`{what}`", head.number);
    Error::new(ErrorKind::Corrupt, message).with_hint(super::chain::HINT)
}

/// The sequences from `floor` to `until` that none of the ranges holds.
pub(super) fn holes(
    floor: Sequence,
    until: Sequence,
    mut covered: Vec<(Sequence, Sequence)>,
) -> Vec<(Sequence, Sequence)> {
    covered.sort_unstable();
    let mut holes = Vec::new();
    let mut at = floor.max(Sequence::FIRST);
    for (first, last) in covered.into_iter().chain([(until.next(), until.next())]) {
        if at < first && at <= until {
            holes.push((at, first.previous().min(until)));
        }
        at = at.max(last.next());
    }
    holes
}

impl ArchivedCollection {
    /// Every range that a segment covers, or that is on record as missing.
    #[must_use]
    pub fn covered(&self) -> Vec<(Sequence, Sequence)> {
        let segments = self.segments.values().map(|segment| (segment.segment.first, segment.segment.last));
        segments.chain(self.losses.keys().copied()).collect()
    }

    /// When it was first seen, as far as the archive tells: the earliest sealing where nothing was told.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        let told = self.entry.as_ref().map(|entry| entry.created_at);
        told.or_else(|| self.segments.values().map(|segment| segment.sealed_at).min()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
