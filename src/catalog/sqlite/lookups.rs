//! The questions, each by an index (C5). A test asks SQLite for the plan of every statement here.

use super::rows::{self, segment_columns};
use super::session::{Session, limit_of, sql};
use crate::catalog::model::{Assignment, Change, CursorRow, LossRow, Refused};
use crate::catalog::state::CollectionState;
use crate::catalog::{CatalogResult, CollectionRow, SegmentKey, SegmentRow, SegmentStatus, checksum, time_class};
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

/// Rows looked at in order of sequence, beyond the limit, before a look-up by time turns to its index.
const TIME_AHEAD: usize = 16;
/// The largest limit of a look-up by time for which it begins in order of sequence.
const TIME_LIMIT_MAX: usize = 4096;

macro_rules! live {
    () => {
        "s.status IN (1, 2, 3, 4)"
    };
}

macro_rules! segments_by {
    ($index:literal) => {
        concat!(
            "SELECT ",
            segment_columns!(),
            " FROM collections AS c CROSS JOIN segments AS s INDEXED BY ",
            $index,
            " ON s.collection_id = c.id WHERE c.name = ?1 AND "
        )
    };
}

/// Statements that start from `segments` and find the collection's name last; a segment without one is damage, not
/// absent.
macro_rules! segments_then_name {
    ($index:literal) => {
        concat!(
            "SELECT ",
            segment_columns!(),
            " FROM segments AS s ",
            $index,
            " LEFT JOIN collections AS c ON c.id = s.collection_id WHERE "
        )
    };
}

const CHANGE_NUMBER: &str = "SELECT max(number) FROM changes";
const CHANGES: &str = "SELECT number, at, reason, kind, subject, detail, checksum FROM changes WHERE number > ?1 \
     ORDER BY number LIMIT ?2";
const SEGMENT: &str =
    concat!(segments_by!("segments_key"), "s.first_sequence = ?2 AND s.last_sequence = ?3 AND s.generation = ?4");
const SEGMENT_BY_CHANGE: &str = concat!(segments_then_name!(""), "s.sealed_change = ?1");
const GENERATION_BELOW: &str = concat!(
    "SELECT s.generation FROM collections AS c CROSS JOIN segments AS s INDEXED BY segments_live \
     ON s.collection_id = c.id WHERE c.name = ?1 AND s.generation < ?2 AND ",
    live!(),
    " ORDER BY s.generation DESC LIMIT 1"
);
const LIVE_FROM: &str = concat!(
    segments_by!("segments_live"),
    "s.generation = ?2 AND s.last_sequence >= ?3 AND ",
    live!(),
    " ORDER BY s.last_sequence LIMIT ?4"
);
const LIVE_BEFORE: &str = concat!(
    segments_by!("segments_live"),
    "s.generation = ?2 AND s.last_sequence < ?3 AND ",
    live!(),
    " ORDER BY s.last_sequence DESC LIMIT ?4"
);
const SEGMENTS: &str = concat!(
    segments_by!("segments_key"),
    "(s.first_sequence, s.last_sequence, s.generation) > (?2, ?3, ?4) \
     ORDER BY s.first_sequence, s.last_sequence, s.generation LIMIT ?5"
);
const BY_STATUS: &str = concat!(
    segments_then_name!("INDEXED BY segments_status"),
    "s.status = ?1 AND s.sealed_change > ?2 ORDER BY s.sealed_change LIMIT ?3"
);
const UNFLUSHED: &str = concat!(
    segments_then_name!("INDEXED BY segments_unflushed"),
    "s.flushed_at IS NULL AND ",
    live!(),
    " AND s.sealed_change > ?1 ORDER BY s.sealed_change LIMIT ?2"
);
const TIME_CLASS_ABOVE: &str = concat!(
    "SELECT s.time_class FROM collections AS c CROSS JOIN segments AS s INDEXED BY segments_time \
     ON s.collection_id = c.id WHERE c.name = ?1 AND s.time_class > ?2 AND ",
    live!(),
    " ORDER BY s.time_class LIMIT 1"
);
// Answered from the index alone; the rows that it names are few and read after.
const BY_TIME: &str = concat!(
    "SELECT s.last_sequence, s.sealed_change FROM collections AS c CROSS JOIN segments AS s INDEXED BY segments_time \
     ON s.collection_id = c.id WHERE c.name = ?1 AND s.time_class = ?2 AND s.timestamp_max >= ?3 \
     AND s.timestamp_max <= ?4 AND s.timestamp_min <= ?5 AND s.last_sequence >= ?6 AND ",
    live!(),
    " ORDER BY s.last_sequence LIMIT ?7"
);
const COLLECTION: &str =
    "SELECT name, created_at, floor, sealed_through, sequence_max, settings, checksum FROM collections WHERE name = ?1";
const COLLECTIONS: &str = "SELECT name, created_at, floor, sealed_through, sequence_max, settings, checksum \
     FROM collections WHERE name > ?1 ORDER BY name LIMIT ?2";
const ASSIGNMENT: &str = "SELECT component, collection, directory, epoch, from_sequence, since, checksum \
     FROM assignments WHERE component = ?1 AND collection = ?2";
const ASSIGNMENTS_OF: &str = "SELECT component, collection, directory, epoch, from_sequence, since, checksum \
     FROM assignments WHERE component = ?1 AND collection > ?2 ORDER BY collection LIMIT ?3";
const ASSIGNMENTS: &str = "SELECT component, collection, directory, epoch, from_sequence, since, checksum \
     FROM assignments WHERE (component, collection) > (?1, ?2) ORDER BY component, collection LIMIT ?3";
const LOSS: &str = "SELECT collection, first_sequence, last_sequence, reason, found_at, acknowledged_by, \
     acknowledged_at, checksum FROM losses WHERE collection = ?1 AND first_sequence = ?2 AND last_sequence = ?3";
const LOSSES_OF: &str = "SELECT collection, first_sequence, last_sequence, reason, found_at, acknowledged_by, \
     acknowledged_at, checksum FROM losses WHERE collection = ?1 ORDER BY first_sequence, last_sequence";
const LOSSES: &str = "SELECT collection, first_sequence, last_sequence, reason, found_at, acknowledged_by, \
     acknowledged_at, checksum FROM losses WHERE collection > '' ORDER BY collection, first_sequence, last_sequence";
const CURSOR: &str =
    "SELECT collection, sink, epoch, sequence, checksum FROM cursors WHERE collection = ?1 AND sink = ?2";
const CURSORS: &str =
    "SELECT collection, sink, epoch, sequence, checksum FROM cursors WHERE collection = ?1 ORDER BY sink";
const META: &str = "SELECT name, value, checksum FROM meta WHERE name = ?1";
const VALUES: &str = "SELECT name, value, checksum FROM meta WHERE name > '' ORDER BY name";
const COUNT: &str = "SELECT status, segments, checksum FROM segment_counts WHERE status = ?1";

/// Every statement of this file, and whether it may sort.
#[cfg(test)]
pub const STATEMENTS: [(&str, bool); 25] = [
    (CHANGE_NUMBER, false),
    (CHANGES, false),
    (SEGMENT, false),
    (SEGMENT_BY_CHANGE, false),
    (GENERATION_BELOW, false),
    (LIVE_FROM, false),
    (LIVE_BEFORE, false),
    (SEGMENTS, false),
    (BY_STATUS, false),
    (UNFLUSHED, false),
    (TIME_CLASS_ABOVE, false),
    (BY_TIME, true),
    (COLLECTION, false),
    (COLLECTIONS, false),
    (ASSIGNMENT, false),
    (ASSIGNMENTS_OF, false),
    (ASSIGNMENTS, false),
    (LOSS, false),
    (LOSSES_OF, false),
    (LOSSES, false),
    (CURSOR, false),
    (CURSORS, false),
    (META, false),
    (VALUES, false),
    (COUNT, false),
];

pub fn change_number(session: &Session<'_>) -> CatalogResult<ChangeNumber> {
    let newest = session.one(CHANGE_NUMBER, [], |row| Ok(row.get::<_, Option<i64>>(0)?))?.flatten();
    Ok(ChangeNumber(newest.map_or(0, i64::cast_unsigned)))
}

pub fn changes(session: &Session<'_>, since: ChangeNumber, limit: usize) -> CatalogResult<Vec<Change>> {
    session.all(CHANGES, (sql(since.get()), limit_of(limit)), rows::change)
}

pub fn segment(session: &Session<'_>, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
    let parameters = (key.collection.as_str(), sql(key.first.get()), sql(key.last.get()), key.generation.get());
    session.one(SEGMENT, parameters, rows::segment)
}

/// The generations of which a collection has live segments, highest first; few.
fn generations(session: &Session<'_>, collection: &CollectionName) -> CatalogResult<Vec<i64>> {
    let mut found = Vec::new();
    let mut below = i64::MAX;
    while below > 0
        && let Some(next) = session.one(GENERATION_BELOW, (collection.as_str(), below), |row| Ok(row.get(0)?))?
    {
        found.push(next);
        below = next;
    }
    Ok(found)
}

pub fn segment_holding(
    session: &Session<'_>,
    collection: &CollectionName,
    sequence: Sequence,
) -> CatalogResult<Option<SegmentRow>> {
    for generation in generations(session, collection)? {
        let candidate = live_from(session, collection, generation, sequence, 1)?.pop();
        if let Some(row) = candidate.filter(|row| row.key.first <= sequence) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

fn live_from(
    session: &Session<'_>,
    collection: &CollectionName,
    generation: i64,
    from: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let parameters = (collection.as_str(), generation, sql(from.get()), limit_of(limit));
    session.all(LIVE_FROM, parameters, rows::segment)
}

/// A live segment of the generation of `key` that shares a sequence with it.
pub fn live_overlap(session: &Session<'_>, key: &SegmentKey) -> CatalogResult<Option<SegmentKey>> {
    let first_after = live_from(session, &key.collection, key.generation.get().into(), key.first, 1)?.pop();
    Ok(first_after.map(|row| row.key).filter(|other| other.first <= key.last))
}

pub fn segments_from(
    session: &Session<'_>,
    collection: &CollectionName,
    from: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let generations = generations(session, collection)?;
    let mut found = Vec::new();
    for generation in &generations {
        found.extend(live_from(session, collection, *generation, from, limit)?);
    }
    if generations.len() > 1 {
        found.sort_by_key(|row| (row.key.last, std::cmp::Reverse(row.key.generation)));
        found.truncate(limit);
    }
    Ok(found)
}

pub fn segments_back(
    session: &Session<'_>,
    collection: &CollectionName,
    until: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let mut found = Vec::new();
    for generation in generations(session, collection)? {
        // The one that goes on past `until`, or ends there; then all that end before it.
        let holding = live_from(session, collection, generation, until, 1)?;
        found.extend(holding.into_iter().filter(|row| row.key.first <= until));
        let parameters = (collection.as_str(), generation, sql(until.get()), limit_of(limit));
        found.extend(session.all(LIVE_BEFORE, parameters, rows::segment)?);
    }
    found.sort_by_key(|row| std::cmp::Reverse((row.key.first, row.key.generation)));
    found.truncate(limit);
    Ok(found)
}

/// Names of collections read at once while segments of all are listed.
const COLLECTIONS_PAGE: usize = 512;

pub fn segments(
    session: &Session<'_>,
    collection: Option<&CollectionName>,
    after: Option<&SegmentKey>,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let of_one = |name: &CollectionName, after: Option<&SegmentKey>, limit| {
        let (first, last, generation) =
            after.map_or((0, 0, 0), |key| (sql(key.first.get()), sql(key.last.get()), key.generation.get()));
        session.all(SEGMENTS, (name.as_str(), first, last, generation, limit_of(limit)), rows::segment)
    };
    if let Some(name) = collection {
        return match after.map(|key| key.collection.cmp(name)) {
            Some(std::cmp::Ordering::Greater) => Ok(Vec::new()),
            Some(std::cmp::Ordering::Equal) => of_one(name, after, limit),
            Some(std::cmp::Ordering::Less) | None => of_one(name, None, limit),
        };
    }
    let mut found = match after {
        Some(key) => of_one(&key.collection, after, limit)?,
        None => Vec::new(),
    };
    let mut name = after.map(|key| key.collection.clone());
    loop {
        // Most collections may have no segments: they are named many at a time.
        let names = collections(session, name.as_ref(), COLLECTIONS_PAGE)?;
        let Some(last) = names.last() else { return Ok(found) };
        name = Some(last.name.clone());
        for next in names {
            if found.len() >= limit {
                return Ok(found);
            }
            found.extend(of_one(&next.name, None, limit - found.len())?);
        }
    }
}

/// Where a page after `key` begins: rows of one status are in the order of their `sealed_change`, which never changes.
fn change_after(session: &Session<'_>, key: Option<&SegmentKey>) -> CatalogResult<i64> {
    let Some(key) = key else { return Ok(0) };
    match segment(session, key)? {
        Some(row) => Ok(sql(row.sealed_change.get())),
        None => {
            Err(Refused { what: format!("no page begins after a segment that is not there: segment=`{key}`") }.into())
        }
    }
}

pub fn segments_by_status(
    session: &Session<'_>,
    status: SegmentStatus,
    after: Option<&SegmentKey>,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let after = change_after(session, after)?;
    session.all(BY_STATUS, (checksum::status_number(status), after, limit_of(limit)), rows::segment)
}

pub fn segments_unflushed(
    session: &Session<'_>,
    after: Option<&SegmentKey>,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    let after = change_after(session, after)?;
    session.all(UNFLUSHED, (after, limit_of(limit)), rows::segment)
}

/// Two ways, and each is fast where the other is slow: in order of sequence while most segments match, else by the
/// index of times, which reads only what matches.
pub fn segments_by_time(
    session: &Session<'_>,
    collection: &CollectionName,
    (from, until): (Timestamp, Timestamp),
    from_sequence: Sequence,
    limit: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    if limit <= TIME_LIMIT_MAX {
        let ahead = limit + TIME_AHEAD;
        let mut found = segments_from(session, collection, from_sequence, ahead)?;
        let is_end = found.len() < ahead;
        found.retain(|row| row.timestamp_min <= until && row.timestamp_max >= from);
        if is_end || found.len() >= limit {
            found.truncate(limit);
            return Ok(found);
        }
    }
    let mut matching: Vec<(i64, i64)> = Vec::new();
    let mut class = -1_i64;
    while let Some(next) =
        session.one(TIME_CLASS_ABOVE, (collection.as_str(), class), |row| Ok(row.get::<_, i64>(0)?))?
    {
        class = next;
        let end_max = time_class::end_max(u8::try_from(class).unwrap_or(u8::MAX).min(16), until);
        matching.extend(session.all(
            BY_TIME,
            (
                collection.as_str(),
                class,
                from.micros(),
                end_max.micros(),
                until.micros(),
                sql(from_sequence.get()),
                limit_of(limit),
            ),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?);
    }
    matching.sort_unstable();
    // Where segments of several generations end together, the highest comes first, also at the cut.
    let cut = matching.get(limit.wrapping_sub(1)).map_or(i64::MAX, |(last, _)| *last);
    let mut found = Vec::with_capacity(matching.len().min(limit));
    for (last, change) in matching {
        if last > cut || limit == 0 {
            break;
        }
        found.extend(session.one(SEGMENT_BY_CHANGE, [change], rows::segment)?);
    }
    found.sort_by_key(|row| (row.key.last, std::cmp::Reverse(row.key.generation)));
    found.truncate(limit);
    Ok(found)
}

pub fn collection(session: &Session<'_>, name: &CollectionName) -> CatalogResult<Option<CollectionState>> {
    session.one(COLLECTION, [name.as_str()], rows::collection)
}

pub fn collections(
    session: &Session<'_>,
    after: Option<&CollectionName>,
    limit: usize,
) -> CatalogResult<Vec<CollectionRow>> {
    let after = after.map_or("", CollectionName::as_str);
    session.all(COLLECTIONS, (after, limit_of(limit)), |row| Ok(rows::collection(row)?.row))
}

pub fn assignment(
    session: &Session<'_>,
    component: &str,
    collection: &CollectionName,
) -> CatalogResult<Option<Assignment>> {
    session.one(ASSIGNMENT, (component, collection.as_str()), rows::assignment)
}

pub fn assignments(
    session: &Session<'_>,
    component: Option<&str>,
    after: Option<(&str, &CollectionName)>,
    limit: usize,
) -> CatalogResult<Vec<Assignment>> {
    let (after_component, after_collection) = after.map_or(("", ""), |(component, name)| (component, name.as_str()));
    let limit = limit_of(limit);
    let Some(component) = component else {
        return session.all(ASSIGNMENTS, (after_component, after_collection, limit), rows::assignment);
    };
    let after_collection = match after_component.cmp(component) {
        std::cmp::Ordering::Greater => return Ok(Vec::new()),
        std::cmp::Ordering::Equal => after_collection,
        std::cmp::Ordering::Less => "",
    };
    session.all(ASSIGNMENTS_OF, (component, after_collection, limit), rows::assignment)
}

pub fn loss(
    session: &Session<'_>,
    collection: &CollectionName,
    first: Sequence,
    last: Sequence,
) -> CatalogResult<Option<LossRow>> {
    session.one(LOSS, (collection.as_str(), sql(first.get()), sql(last.get())), rows::loss)
}

pub fn losses(session: &Session<'_>, collection: Option<&CollectionName>) -> CatalogResult<Vec<LossRow>> {
    match collection {
        Some(name) => session.all(LOSSES_OF, [name.as_str()], rows::loss),
        None => session.all(LOSSES, [], rows::loss),
    }
}

pub fn cursor(session: &Session<'_>, collection: &CollectionName, sink: &str) -> CatalogResult<Option<CursorRow>> {
    session.one(CURSOR, (collection.as_str(), sink), rows::cursor)
}

pub fn cursors(session: &Session<'_>, collection: &CollectionName) -> CatalogResult<Vec<CursorRow>> {
    session.all(CURSORS, [collection.as_str()], rows::cursor)
}

pub fn meta(session: &Session<'_>, name: &str) -> CatalogResult<Option<String>> {
    session.one(META, [name], |row| Ok(rows::meta(row)?.1))
}

pub fn values(session: &Session<'_>) -> CatalogResult<Vec<(String, String)>> {
    session.all(VALUES, [], rows::meta)
}

pub fn count(session: &Session<'_>, status: SegmentStatus) -> CatalogResult<u64> {
    let found = session.one(COUNT, [checksum::status_number(status)], rows::count)?;
    Ok(found.map_or(0, |(_, count)| count))
}
