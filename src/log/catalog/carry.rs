//! What only the old catalog knows, carried over to a new one.
//!
//! Two ways. Where every change of the history can be read, they are made again, one after another: the new catalog then has the
//! same rows, the same history and the same numbers, whatever happened to the rows of the old one. Else the rows are read table by
//! table, and where a page cannot be read, row by row, by the names that the readable changes and the directories give; the new
//! catalog has a history of its own. What cannot be read is named, and never guessed.

use std::collections::{BTreeMap, BTreeSet};

use super::rebuild::NotCarried;
use crate::catalog::follow::{self, FollowError};
use crate::catalog::{
    Assignment, Catalog, CatalogError, CatalogResult, Change, CollectionRow, Group, LossRow, Mutation, SegmentKey,
    SegmentRow, SegmentStatus,
};
use crate::error::Result;
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

/// Rows read, or changed, at once.
const PAGE_ROWS: usize = 1000;
/// Why a row is there.
pub(super) const CARRIED: &str = "rebuild: carried over";

/// Whether an error says that something cannot be read, and not that nothing can be done now.
pub(super) const fn is_unreadable(error: &CatalogError) -> bool {
    matches!(error, CatalogError::Damaged { .. } | CatalogError::Engine { .. })
}

/// Makes changes in the order given, many in one transaction.
pub(super) struct Writer<'a> {
    catalog: &'a dyn Catalog,
    pending: Vec<(Vec<Mutation>, Timestamp, String)>,
    mutations: usize,
    /// What was refused.
    pub refused: Vec<NotCarried>,
}

impl<'a> Writer<'a> {
    pub fn new(catalog: &'a dyn Catalog) -> Self {
        Self { catalog, pending: Vec::new(), mutations: 0, refused: Vec::new() }
    }

    pub fn push(&mut self, mutation: Mutation, at: Timestamp, reason: &str) -> CatalogResult<()> {
        self.mutations += 1;
        match self.pending.last_mut().filter(|(_, before, why)| *before == at && why == reason) {
            Some((mutations, ..)) => mutations.push(mutation),
            None => self.pending.push((vec![mutation], at, reason.to_owned())),
        }
        if self.mutations >= PAGE_ROWS { self.flush() } else { Ok(()) }
    }

    /// Makes what was gathered. Where one is refused, the others are made all the same.
    pub fn flush(&mut self) -> CatalogResult<()> {
        self.mutations = 0;
        let pending = std::mem::take(&mut self.pending);
        match self.catalog.apply_groups(&groups(&pending)) {
            Err(CatalogError::Refused(_)) => {}
            made => return made.map(drop),
        }
        for (mutations, at, reason) in pending {
            for mutation in mutations {
                match self.catalog.apply(std::slice::from_ref(&mutation), at, &reason) {
                    Err(CatalogError::Refused(refused)) => self.refused.push(NotCarried {
                        what: format!("{} of {}", mutation.kind(), mutation.subject()),
                        why: refused.to_string(),
                    }),
                    made => drop(made?),
                }
            }
        }
        Ok(())
    }
}

fn groups(pending: &[(Vec<Mutation>, Timestamp, String)]) -> Vec<Group<'_>> {
    pending.iter().map(|(mutations, at, reason)| Group { mutations, at: *at, reason }).collect()
}

/// The history as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Keys of segments that it names.
    segments: BTreeSet<SegmentKey>,
    collections: BTreeSet<CollectionName>,
    assignments: BTreeSet<(String, CollectionName)>,
    values: BTreeSet<String>,
    losses: BTreeMap<CollectionName, BTreeSet<(Sequence, Sequence)>>,
    sinks: BTreeSet<(CollectionName, String)>,
    /// Changes that cannot be read, at most a few, and how many.
    pub unreadable: Vec<NotCarried>,
    /// How many.
    pub unreadable_count: u64,
}

impl History {
    /// Reads every change, one by one where a page cannot be read.
    pub fn read(old: &dyn Catalog) -> Result<Self> {
        let mut history = Self::default();
        let newest = match old.change_number() {
            Ok(newest) => newest,
            Err(error) if is_unreadable(&error) => {
                history.miss("the history".to_owned(), error.to_string());
                return Ok(history);
            }
            Err(error) => return Err(error.into()),
        };
        let mut since = ChangeNumber(0);
        while since < newest {
            match old.changes(since, PAGE_ROWS) {
                Ok(changes) => {
                    let Some(last) = changes.last() else { break };
                    since = last.number;
                    changes.iter().for_each(|change| history.note(change));
                }
                Err(error) if is_unreadable(&error) => {
                    let end = ChangeNumber(newest.get().min(since.get() + PAGE_ROWS as u64));
                    while since < end {
                        history.one(old, since.next())?;
                        since = since.next();
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(history)
    }

    fn one(&mut self, old: &dyn Catalog, number: ChangeNumber) -> Result<()> {
        match old.changes(ChangeNumber(number.get() - 1), 1) {
            Ok(changes) => match changes.first().filter(|change| change.number == number) {
                Some(change) => self.note(change),
                None => self.miss(format!("change {number}"), "it is not there".to_owned()),
            },
            Err(error) if is_unreadable(&error) => self.miss(format!("change {number}"), error.to_string()),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn miss(&mut self, what: String, why: String) {
        self.unreadable_count += 1;
        if self.unreadable.len() < 100 {
            self.unreadable.push(NotCarried { what, why });
        }
    }

    fn note(&mut self, change: &Change) {
        let mutation = match change.mutation() {
            Ok(mutation) => mutation,
            Err(error) => return self.miss(format!("change {}", change.number), error.to_string()),
        };
        match mutation {
            Mutation::InsertSegment(SegmentRow { key, .. })
            | Mutation::Transition { key, .. }
            | Mutation::SetFlushed(key)
            | Mutation::RelocateSegment { key, .. } => {
                self.collections.insert(key.collection.clone());
                self.segments.insert(key);
            }
            Mutation::Assign { component, collection, .. } => {
                self.collections.insert(collection.clone());
                self.assignments.insert((component, collection));
            }
            Mutation::SetCursor(cursor) => {
                self.collections.insert(cursor.collection.clone());
                self.sinks.insert((cursor.collection, cursor.sink));
            }
            Mutation::RecordLoss { collection, first, last }
            | Mutation::AcknowledgeLoss { collection, first, last, .. } => {
                self.collections.insert(collection.clone());
                self.losses.entry(collection).or_default().insert((first, last));
            }
            Mutation::RecoverLoss { collection, first, last, found_first, found_last } => {
                self.collections.insert(collection.clone());
                let of = self.losses.entry(collection).or_default();
                of.remove(&(first, last));
                of.extend((found_first > first).then(|| (first, found_first.previous())));
                of.extend((found_last < last).then(|| (found_last.next(), last)));
            }
            Mutation::PutCollection { name: collection, .. }
            | Mutation::RaiseSealedThrough { collection, .. }
            | Mutation::RaiseFloor { collection, .. } => drop(self.collections.insert(collection)),
            Mutation::SetMeta { name, .. } => drop(self.values.insert(name)),
        }
    }
}

/// Makes every change of `old` again in the empty catalog `new`; whether that went to the end. Else `new` is of no use.
pub(super) fn replay(old: &dyn Catalog, new: &dyn Catalog) -> Result<bool> {
    match follow::catch_up(old, new, None, &mut |_, _| true) {
        Ok(_) => Ok(true),
        Err(FollowError::To(error)) => Err(error.into()),
        Err(FollowError::From(error)) if !is_unreadable(&error) => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// Reads a table page by page, and where a page cannot be read, the rest of it row by row, by the keys in `named`.
fn tolerant<K: Ord + Clone, R>(
    page: impl Fn(Option<&K>) -> CatalogResult<Vec<R>>,
    key_of: impl Fn(&R) -> K,
    named: &BTreeSet<K>,
    one: impl Fn(&K) -> CatalogResult<Option<R>>,
    mut miss: impl FnMut(Option<&K>, String),
) -> Result<Vec<R>> {
    let mut found = Vec::new();
    let mut after: Option<K> = None;
    let why = loop {
        match page(after.as_ref()) {
            Ok(rows) => {
                let Some(last) = rows.last() else { return Ok(found) };
                after = Some(key_of(last));
                found.extend(rows);
            }
            Err(error) if is_unreadable(&error) => break error.to_string(),
            Err(error) => return Err(error.into()),
        }
    };
    let mut named_any = false;
    for key in named.iter().filter(|key| after.as_ref().is_none_or(|after| *key > after)) {
        match one(key) {
            Ok(row) => found.extend(row),
            Err(error) if is_unreadable(&error) => {
                named_any = true;
                miss(Some(key), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !named_any {
        // Something could not be read, and none of the names that are known is its own.
        miss(None, why);
    }
    Ok(found)
}

/// Reads the rows of `old` as far as they can be read, and makes them in the empty catalog `new`. `files` are segments that the
/// directories name. Returns what could not be carried over.
pub(super) fn rows(
    old: &dyn Catalog,
    new: &dyn Catalog,
    mut history: History,
    files: &BTreeSet<SegmentKey>,
    now: Timestamp,
) -> Result<Vec<NotCarried>> {
    let mut missed = Vec::new();
    let mut miss = |table: &str, key: Option<String>, why: String| {
        let what = key.map_or_else(|| format!("some of {table}"), |key| format!("{table}: {key}"));
        missed.push(NotCarried { what, why });
    };
    history.collections.extend(files.iter().map(|key| key.collection.clone()));
    history.segments.extend(files.iter().cloned());
    let mut writer = Writer::new(new);

    let collections = tolerant(
        |after| old.collections(after, PAGE_ROWS),
        |row: &CollectionRow| row.name.clone(),
        &history.collections,
        |name| old.collection(name),
        |name, why| miss("collections", name.map(ToString::to_string), why),
    )?;
    for row in &collections {
        let put = Mutation::PutCollection { name: row.name.clone(), settings: row.settings.clone() };
        writer.push(put, row.created_at, CARRIED)?;
    }
    history.collections.extend(collections.iter().map(|row| row.name.clone()));

    let mut segments = tolerant(
        |after| old.segments(None, after, PAGE_ROWS),
        |row: &SegmentRow| row.key.clone(),
        &history.segments,
        |key| old.segment(key),
        |key, why| miss("segments", key.map(ToString::to_string), why),
    )?;
    segments.sort_by_key(|row| row.sealed_change);
    for mutation in segments.into_iter().flat_map(insert) {
        writer.push(mutation, now, CARRIED)?;
    }

    for name in &history.collections {
        match old.losses(Some(name)) {
            Ok(losses) => losses.iter().try_for_each(|loss| carry_loss(&mut writer, loss))?,
            Err(error) if is_unreadable(&error) => {
                let ranges = history.losses.get(name).into_iter().flatten();
                let ranges: Vec<String> = ranges.map(|(first, last)| format!("{first}..={last}")).collect();
                miss("losses and gaps", Some(format!("{name} {}", ranges.join(", "))), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    for row in collections {
        let (collection, sequence) = (row.name.clone(), row.floor);
        writer.push(Mutation::RaiseFloor { collection, sequence }, now, CARRIED)?;
        let (collection, sequence) = (row.name, row.sealed_through);
        writer.push(Mutation::RaiseSealedThrough { collection, sequence }, now, CARRIED)?;
    }

    let assignments = tolerant(
        |after: Option<&(String, CollectionName)>| {
            old.assignments(None, after.map(|(component, name)| (component.as_str(), name)), PAGE_ROWS)
        },
        |row: &Assignment| (row.component.clone(), row.collection.clone()),
        &history.assignments,
        |(component, name)| old.assignment(component, name),
        |key, why| miss("assignments", key.map(|(component, name)| format!("{component} of {name}")), why),
    )?;
    for Assignment { component, collection, directory, epoch, from, since } in assignments {
        writer.push(Mutation::Assign { component, collection, directory, epoch, from }, since, CARRIED)?;
    }

    for name in &history.collections {
        match old.cursors(name) {
            Ok(cursors) => {
                cursors.into_iter().try_for_each(|cursor| writer.push(Mutation::SetCursor(cursor), now, CARRIED))?;
            }
            Err(error) if is_unreadable(&error) => {
                let sinks = history.sinks.iter().filter(|(of, _)| of == name).map(|(_, sink)| sink.as_str());
                let sinks = sinks.collect::<Vec<_>>().join(", ");
                miss("cursors", Some(format!("{name}: {sinks}")), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }

    let values = match old.values() {
        Ok(values) => values,
        Err(error) if is_unreadable(&error) => {
            let mut values = Vec::new();
            for name in &history.values {
                match old.meta(name) {
                    Ok(value) => values.extend(value.map(|value| (name.clone(), value))),
                    Err(error) if is_unreadable(&error) => miss("values", Some(name.clone()), error.to_string()),
                    Err(error) => return Err(error.into()),
                }
            }
            values
        }
        Err(error) => return Err(error.into()),
    };
    for (name, value) in values {
        writer.push(Mutation::SetMeta { name, value }, now, CARRIED)?;
    }
    writer.flush()?;
    missed.append(&mut history.unreadable);
    missed.append(&mut writer.refused);
    Ok(missed)
}

fn carry_loss(writer: &mut Writer<'_>, loss: &LossRow) -> CatalogResult<()> {
    let (collection, first, last) = (loss.collection.clone(), loss.first, loss.last);
    writer.push(Mutation::RecordLoss { collection, first, last }, loss.found_at, &loss.reason)?;
    let Some((by, at)) = &loss.acknowledged else { return Ok(()) };
    let (collection, by) = (loss.collection.clone(), by.clone());
    writer.push(Mutation::AcknowledgeLoss { collection, first, last, by }, *at, CARRIED)
}

/// A row, and how it comes to its status by the rules (C1).
fn insert(row: SegmentRow) -> Vec<Mutation> {
    use SegmentStatus::{Archived, Archiving, Evicted, Purged, Purging, Quarantined, Replaced, Sealed};
    let way: &[SegmentStatus] = match row.status {
        Sealed => &[Sealed],
        Archiving => &[Sealed, Archiving],
        Archived => &[Evicted, Archived],
        Evicted => &[Evicted],
        Replaced => &[Sealed, Replaced],
        Purging => &[Evicted, Purging],
        Purged => &[Evicted, Purging, Purged],
        Quarantined => &[Quarantined],
    };
    let (key, archive_key) = (row.key.clone(), row.archive_key.clone());
    let steps = way.windows(2).map(|pair| Mutation::Transition {
        key: key.clone(),
        from: pair[0],
        to: pair[1],
        archive_key: archive_key.clone(),
    });
    std::iter::once(Mutation::InsertSegment(SegmentRow { status: way[0], ..row })).chain(steps).collect()
}
