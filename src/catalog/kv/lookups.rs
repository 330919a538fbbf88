//! The questions, each by an index (C5).
//!
//! An entry of an index names a row; the row that is found must have exactly that entry, else one of the two is damaged.

use std::cmp::Reverse;

use super::engine::{Read, damaged, walk, walk_back};
use super::keys::{self, Key, table};
use super::values::{self, CountRow, MetaRow, Stored, shown};
use crate::catalog::model::Refused;
use crate::catalog::state::CollectionState;
use crate::catalog::{
    Assignment, CatalogResult, Change, CollectionRow, CursorRow, LossRow, SegmentKey, SegmentRow, SegmentStatus,
    time_class,
};
use crate::types::{ChangeNumber, CollectionName, Generation, Sequence, Timestamp};

/// Rows looked at in order of sequence, beyond the limit, before a look-up by time turns to its index.
const TIME_AHEAD: usize = 16;
/// The largest limit of a look-up by time for which it begins in order of sequence.
const TIME_LIMIT_MAX: usize = 4096;

/// Collects what `decode` makes of the entries from `from` that begin with `within`, at most `limit`.
fn collect<T>(
    read: &dyn Read,
    within: &Key,
    from: &[u8],
    limit: usize,
    mut decode: impl FnMut(&[u8], &[u8]) -> CatalogResult<Option<T>>,
) -> CatalogResult<Vec<T>> {
    let mut found = Vec::new();
    if limit > 0 {
        walk(read, from, &mut |key, value| {
            if !key.starts_with(within) {
                return Ok(false);
            }
            found.extend(decode(key, value)?);
            Ok(found.len() < limit)
        })?;
    }
    Ok(found)
}

/// The rows from `from` that begin with `within`, at most `limit`.
fn rows<T: Stored>(read: &dyn Read, within: &Key, from: &[u8], limit: usize) -> CatalogResult<Vec<T>> {
    collect(read, within, from, limit, |key, value| {
        values::decode(key, value).map(Some).or_else(|what| damaged(read, what))
    })
}

/// The row that an entry of an index names, which must have that entry.
pub fn named(read: &dyn Read, key: &[u8], value: &[u8]) -> CatalogResult<SegmentRow> {
    let row = match keys::named_by(key, value) {
        Some(named) => segment(read, &named)?,
        None => return damaged(read, format!("an entry of an index that names no row: `{}`", shown(key))),
    };
    match row {
        Some(row) if keys::entries(&row).iter().any(|(of, names)| **of == *key && *names == value) => Ok(row),
        _ => damaged(read, format!("an entry of an index whose row is not there, or not so: `{}`", shown(key))),
    }
}

/// The rows that an index names from `from` on within `within`, at most `limit`.
fn indexed(read: &dyn Read, within: &Key, from: &[u8], limit: usize) -> CatalogResult<Vec<SegmentRow>> {
    collect(read, within, from, limit, |key, value| named(read, key, value).map(Some))
}

pub fn change_number(read: &dyn Read) -> CatalogResult<ChangeNumber> {
    let within = Key::of(table::CHANGES);
    let mut newest = ChangeNumber(0);
    walk_back(read, &within.clone().end(), &mut |key, value| {
        if key.starts_with(&within) {
            newest = values::decode::<Change>(key, value).or_else(|what| damaged(read, what))?.number;
        }
        Ok(false)
    })?;
    Ok(newest)
}

pub fn changes(read: &dyn Read, since: ChangeNumber, limit: usize) -> CatalogResult<Vec<Change>> {
    rows(read, &Key::of(table::CHANGES), &keys::change(since).next(), limit)
}

pub fn segment(read: &dyn Read, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
    values::get(read, &keys::segment(key))
}

/// The generations of which a collection has live segments, highest first; few.
fn generations(read: &dyn Read, name: &CollectionName) -> CatalogResult<Vec<Generation>> {
    let within = keys::live_of(name);
    let mut found = Vec::new();
    let mut below = within.clone().end();
    loop {
        let mut next = None;
        walk_back(read, &below, &mut |key, value| {
            if key.starts_with(&within) {
                let Some(named) = keys::named_by(key, value) else {
                    return damaged(read, format!("an entry of live segments: `{}`", shown(key)));
                };
                next = Some(named.generation);
            }
            Ok(false)
        })?;
        let Some(generation) = next else { return Ok(found) };
        found.push(generation);
        below = within.clone().generation(generation);
    }
}

fn live_from(
    read: &dyn Read,
    name: &CollectionName,
    generation: Generation,
    from: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let within = keys::live_of(name).generation(generation);
    indexed(read, &within, &keys::live(name, generation, from), limit)
}

/// Live segments of a generation that end before `before`, newest first.
fn live_before(
    read: &dyn Read,
    name: &CollectionName,
    generation: Generation,
    before: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let within = keys::live_of(name).generation(generation);
    let mut found = Vec::new();
    if limit > 0 {
        walk_back(read, &keys::live(name, generation, before), &mut |key, value| {
            if !key.starts_with(&within) {
                return Ok(false);
            }
            found.push(named(read, key, value)?);
            Ok(found.len() < limit)
        })?;
    }
    Ok(found)
}

pub fn segment_holding(
    read: &dyn Read,
    name: &CollectionName,
    sequence: Sequence,
) -> CatalogResult<Option<SegmentRow>> {
    for generation in generations(read, name)? {
        let candidate = live_from(read, name, generation, sequence, 1)?.pop();
        if let Some(row) = candidate.filter(|row| row.key.first <= sequence) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// A live segment of the generation of `key` that shares a sequence with it.
pub fn live_overlap(read: &dyn Read, key: &SegmentKey) -> CatalogResult<Option<SegmentKey>> {
    let first_after = live_from(read, &key.collection, key.generation, key.first, 1)?.pop();
    Ok(first_after.map(|row| row.key).filter(|other| other.first <= key.last))
}

pub fn segments_from(
    read: &dyn Read,
    name: &CollectionName,
    from: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let mut found = Vec::new();
    for generation in generations(read, name)? {
        found.extend(live_from(read, name, generation, from, limit)?);
    }
    found.sort_by_key(|row| (row.key.last, Reverse(row.key.generation)));
    found.truncate(limit);
    Ok(found)
}

pub fn segments_back(
    read: &dyn Read,
    name: &CollectionName,
    until: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let mut found = Vec::new();
    for generation in generations(read, name)? {
        // The one that goes on past `until`, or ends there; then all that end before it.
        let holding = live_from(read, name, generation, until, 1)?;
        found.extend(holding.into_iter().filter(|row| row.key.first <= until));
        found.extend(live_before(read, name, generation, until, limit)?);
    }
    found.sort_by_key(|row| Reverse((row.key.first, row.key.generation)));
    found.truncate(limit);
    Ok(found)
}

pub fn segments(
    read: &dyn Read,
    name: Option<&CollectionName>,
    after: Option<&SegmentKey>,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let within = match name {
        Some(name) => Key::of(table::SEGMENTS).text(name.as_str()),
        None => Key::of(table::SEGMENTS),
    };
    let from = match after {
        Some(after) => keys::segment(after).next().max(within.clone()),
        None => within.clone(),
    };
    rows(read, &within, &from, limit)
}

/// Where a page after `key` begins: rows of one status are in the order of their `sealed_change`, which never changes.
fn change_after(read: &dyn Read, key: Option<&SegmentKey>) -> CatalogResult<ChangeNumber> {
    let Some(key) = key else { return Ok(ChangeNumber(0)) };
    match segment(read, key)? {
        Some(row) => Ok(row.sealed_change),
        None => {
            Err(Refused { what: format!("no page begins after a segment that is not there: segment=`{key}`") }.into())
        }
    }
}

pub fn segments_by_status(
    read: &dyn Read,
    status: SegmentStatus,
    after: Option<&SegmentKey>,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let from = keys::by_status(status, change_after(read, after)?).next();
    indexed(read, &Key::of(table::BY_STATUS).byte(from[1]), &from, limit)
}

pub fn segments_unflushed(read: &dyn Read, after: Option<&SegmentKey>, limit: usize) -> CatalogResult<Vec<SegmentRow>> {
    let from = keys::unflushed(change_after(read, after)?).next();
    indexed(read, &Key::of(table::UNFLUSHED), &from, limit)
}

/// Two ways, and each is fast where the other is slow: in order of sequence while most segments match, else by the
/// index of times, which reads only what matches.
pub fn segments_by_time(
    read: &dyn Read,
    name: &CollectionName,
    (from, until): (Timestamp, Timestamp),
    from_sequence: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    if limit <= TIME_LIMIT_MAX {
        let ahead = limit + TIME_AHEAD;
        let mut found = segments_from(read, name, from_sequence, ahead)?;
        let is_end = found.len() < ahead;
        found.retain(|row| row.timestamp_min <= until && row.timestamp_max >= from);
        if is_end || found.len() >= limit {
            found.truncate(limit);
            return Ok(found);
        }
    }
    let mut matching = by_time(read, name, (from, until), from_sequence)?;
    matching.sort_unstable_by_key(|(last, generation, ..)| (*last, *generation));
    matching.truncate(limit);
    matching.into_iter().map(|(_, _, key, value)| named(read, &key, &value)).collect()
}

type Matching = (Sequence, Reverse<Generation>, Vec<u8>, Vec<u8>);

/// The entries of the index of times that match, class by class.
fn by_time(
    read: &dyn Read,
    name: &CollectionName,
    (from, until): (Timestamp, Timestamp),
    from_sequence: Sequence,
) -> CatalogResult<Vec<Matching>> {
    let within = keys::time_of(name);
    let mut matching = Vec::new();
    let mut class = 0;
    loop {
        // The next class that has any entry, and its entries that end late enough.
        let mut next = None;
        walk(read, &within.clone().byte(class), &mut |key, _| {
            next = key.strip_prefix(&*within).and_then(|rest| rest.first()).copied();
            Ok(false)
        })?;
        let Some(found) = next else { return Ok(matching) };
        class = found;
        let end_max = time_class::end_max(class.min(16), until);
        walk(read, &within.clone().byte(class).time(from), &mut |key, value| {
            let Some(rest) = key.strip_prefix(&*within).filter(|rest| rest.first() == Some(&class)) else {
                return Ok(false);
            };
            let Some(place) = keys::time_place(rest) else {
                return damaged(read, format!("an entry of the index of times: `{}`", shown(key)));
            };
            if place.max > end_max {
                return Ok(false);
            }
            if place.min <= until && place.last >= from_sequence {
                matching.push((place.last, Reverse(place.generation), key.to_vec(), value.to_vec()));
            }
            Ok(true)
        })?;
        class = match class.checked_add(1) {
            Some(class) => class,
            None => return Ok(matching),
        };
    }
}

pub fn collection(read: &dyn Read, name: &CollectionName) -> CatalogResult<Option<CollectionState>> {
    values::get(read, &keys::collection(name))
}

pub fn collections(read: &dyn Read, after: Option<&CollectionName>, limit: usize) -> CatalogResult<Vec<CollectionRow>> {
    let within = Key::of(table::COLLECTIONS);
    let from = after.map_or_else(|| within.clone(), |name| keys::collection(name).next());
    let states: Vec<CollectionState> = rows(read, &within, &from, limit)?;
    Ok(states.into_iter().map(|state| state.row).collect())
}

pub fn assignment(read: &dyn Read, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
    match keys::word(component) {
        Some(component) => values::get(read, &keys::assignment(component, collection)),
        None => Ok(None),
    }
}

pub fn assignments(
    read: &dyn Read,
    component: Option<&str>,
    after: Option<(&str, &CollectionName)>,
    limit: usize,
) -> CatalogResult<Vec<Assignment>> {
    let mut within = Key::of(table::ASSIGNMENTS);
    if let Some(component) = component {
        match keys::word(component) {
            Some(component) => within = within.text(component),
            None => return Ok(Vec::new()),
        }
    }
    // Where nothing can have the component's name, its rows are skipped below.
    let from = match after {
        Some((component, collection)) if keys::word(component).is_some() => {
            keys::assignment(component, collection).next().max(within.clone())
        }
        _ => within.clone(),
    };
    collect(read, &within, &from, limit, |key, value| {
        let row: Assignment = values::decode(key, value).or_else(|what| damaged(read, what))?;
        let is_after = after.is_none_or(|after| (row.component.as_str(), &row.collection) > after);
        Ok(is_after.then_some(row))
    })
}

pub fn loss(
    read: &dyn Read,
    collection: &CollectionName,
    first: Sequence,
    last: Sequence,
) -> CatalogResult<Option<LossRow>> {
    values::get(read, &keys::loss(collection, first, last))
}

pub fn losses(read: &dyn Read, collection: Option<&CollectionName>) -> CatalogResult<Vec<LossRow>> {
    let mut within = Key::of(table::LOSSES);
    if let Some(name) = collection {
        within = within.text(name.as_str());
    }
    rows(read, &within, &within, usize::MAX)
}

pub fn cursor(read: &dyn Read, collection: &CollectionName, sink: &str) -> CatalogResult<Option<CursorRow>> {
    values::get(read, &keys::cursor(collection, sink))
}

pub fn cursors(read: &dyn Read, collection: &CollectionName) -> CatalogResult<Vec<CursorRow>> {
    let within = Key::of(table::CURSORS).text(collection.as_str());
    rows(read, &within, &within, usize::MAX)
}

pub fn meta(read: &dyn Read, name: &str) -> CatalogResult<Option<String>> {
    let Some(name) = keys::word(name) else { return Ok(None) };
    Ok(values::get::<MetaRow>(read, &keys::meta(name))?.map(|row| row.value))
}

pub fn values(read: &dyn Read) -> CatalogResult<Vec<(String, String)>> {
    let within = Key::of(table::META);
    Ok(rows::<MetaRow>(read, &within, &within, usize::MAX)?.into_iter().map(|row| (row.name, row.value)).collect())
}

pub fn count(read: &dyn Read, status: SegmentStatus) -> CatalogResult<u64> {
    Ok(values::get::<CountRow>(read, &keys::count(status))?.map_or(0, |row| row.count))
}
