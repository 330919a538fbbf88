//! Rows as SQLite has them. Each checks its checksum (C4); what does not fit is damage, never a default.

use rusqlite::Row;

use super::session::{RowError, RowResult};
use crate::catalog::model::{Assignment, Change, CursorRow, LossRow};
use crate::catalog::state::CollectionState;
use crate::catalog::time_class::time_class;
use crate::catalog::{CollectionRow, SegmentKey, SegmentRow, SegmentStatus, checksum};
use crate::types::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};

/// The columns that [`segment`] reads, of `segments AS s` and `collections AS c`.
macro_rules! segment_columns {
    () => {
        "c.name, s.first_sequence, s.last_sequence, s.generation, s.status, s.epoch, s.directory, s.path, s.records, \
         s.bytes, s.sha256, s.content_digest, s.timestamp_min, s.timestamp_max, s.sealed_at, s.sealed_change, \
         s.flushed_at, s.archive_key, s.checksum, s.time_class"
    };
}
pub(super) use segment_columns;

fn damaged<T>(what: String) -> RowResult<T> {
    Err(RowError::Damaged(what))
}

fn verify(what: impl FnOnce() -> String, stored: i64, computed: u32) -> RowResult<()> {
    if stored == i64::from(computed) { Ok(()) } else { damaged(format!("checksum of {}", what())) }
}

fn number(row: &Row<'_>, column: usize) -> RowResult<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).or_else(|_| damaged(format!("a negative number: {value}")))
}

fn sequence(row: &Row<'_>, column: usize) -> RowResult<Sequence> {
    number(row, column).map(Sequence)
}

fn time(row: &Row<'_>, column: usize) -> RowResult<Timestamp> {
    Ok(Timestamp(row.get(column)?))
}

fn name(row: &Row<'_>, column: usize) -> RowResult<CollectionName> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    CollectionName::new(text).or_else(|error| damaged(format!("name of a collection: {error}")))
}

fn digest(row: &Row<'_>, column: usize) -> RowResult<[u8; 32]> {
    Ok(row.get(column)?)
}

pub fn status(number: i64) -> RowResult<SegmentStatus> {
    match checksum::status_of(number) {
        Some(status) => Ok(status),
        None => damaged(format!("an unknown status: {number}")),
    }
}

pub fn segment(row: &Row<'_>) -> RowResult<SegmentRow> {
    let generation: i64 = row.get(3)?;
    let Ok(generation) = u32::try_from(generation) else {
        return damaged(format!("a generation beyond its range: {generation}"));
    };
    let segment = SegmentRow {
        key: SegmentKey {
            collection: name(row, 0)?,
            first: sequence(row, 1)?,
            last: sequence(row, 2)?,
            generation: Generation(generation),
        },
        status: status(row.get(4)?)?,
        epoch: Epoch(number(row, 5)?),
        directory: row.get(6)?,
        path: row.get(7)?,
        records: number(row, 8)?,
        bytes: number(row, 9)?,
        sha256: digest(row, 10)?,
        content_digest: digest(row, 11)?,
        timestamp_min: time(row, 12)?,
        timestamp_max: time(row, 13)?,
        sealed_at: time(row, 14)?,
        sealed_change: ChangeNumber(number(row, 15)?),
        flushed_at: row.get::<_, Option<i64>>(16)?.map(Timestamp),
        archive_key: row.get(17)?,
    };
    verify(|| format!("segment `{}`", segment.key), row.get(18)?, checksum::segment(&segment))?;
    let class: i64 = row.get(19)?;
    if class != i64::from(time_class(segment.timestamp_min, segment.timestamp_max)) {
        return damaged(format!("class of the time span of segment `{}`: {class}", segment.key));
    }
    Ok(segment)
}

/// Reads `name, created_at, floor, sealed_through, sequence_max, settings, checksum`.
pub fn collection(row: &Row<'_>) -> RowResult<CollectionState> {
    let state = CollectionState {
        row: CollectionRow {
            name: name(row, 0)?,
            created_at: time(row, 1)?,
            floor: sequence(row, 2)?,
            sealed_through: sequence(row, 3)?,
            settings: row.get(5)?,
        },
        sequence_max: sequence(row, 4)?,
    };
    verify(|| format!("collection `{}`", state.row.name), row.get(6)?, checksum::collection(&state))?;
    Ok(state)
}

/// Reads `component, collection, directory, epoch, from_sequence, since, checksum`.
pub fn assignment(row: &Row<'_>) -> RowResult<Assignment> {
    let assignment = Assignment {
        component: row.get(0)?,
        collection: name(row, 1)?,
        directory: row.get(2)?,
        epoch: Epoch(number(row, 3)?),
        from: sequence(row, 4)?,
        since: time(row, 5)?,
    };
    let what = || format!("assignment of `{}` to `{}`", assignment.collection, assignment.component);
    verify(what, row.get(6)?, checksum::assignment(&assignment))?;
    Ok(assignment)
}

/// Reads `collection, first_sequence, last_sequence, reason, found_at, acknowledged_by, acknowledged_at, checksum`.
pub fn loss(row: &Row<'_>) -> RowResult<LossRow> {
    let by: Option<String> = row.get(5)?;
    let at = row.get::<_, Option<i64>>(6)?.map(Timestamp);
    let acknowledged = match (by, at) {
        (None, None) => None,
        (Some(by), Some(at)) => Some((by, at)),
        _ => return damaged("a loss that is half acknowledged".to_owned()),
    };
    let loss = LossRow {
        collection: name(row, 0)?,
        first: sequence(row, 1)?,
        last: sequence(row, 2)?,
        reason: row.get(3)?,
        found_at: time(row, 4)?,
        acknowledged,
    };
    let what = || format!("loss of `{}`, {}-{}", loss.collection, loss.first, loss.last);
    verify(what, row.get(7)?, checksum::loss(&loss))?;
    Ok(loss)
}

/// Reads `collection, sink, epoch, sequence, checksum`.
pub fn cursor(row: &Row<'_>) -> RowResult<CursorRow> {
    let cursor = CursorRow {
        collection: name(row, 0)?,
        sink: row.get(1)?,
        epoch: Epoch(number(row, 2)?),
        sequence: sequence(row, 3)?,
    };
    let what = || format!("cursor of `{}` in `{}`", cursor.sink, cursor.collection);
    verify(what, row.get(4)?, checksum::cursor(&cursor))?;
    Ok(cursor)
}

/// Reads `name, value, checksum`.
pub fn meta(row: &Row<'_>) -> RowResult<(String, String)> {
    let (name, value): (String, String) = (row.get(0)?, row.get(1)?);
    verify(|| format!("value `{name}`"), row.get(2)?, checksum::meta(&name, &value))?;
    Ok((name, value))
}

/// Reads `status, segments, checksum`.
pub fn count(row: &Row<'_>) -> RowResult<(SegmentStatus, u64)> {
    let (status, count) = (status(row.get(0)?)?, number(row, 1)?);
    verify(|| format!("count of `{status}` segments"), row.get(2)?, checksum::count(status, count))?;
    Ok((status, count))
}

/// Reads `number, at, reason, kind, subject, detail, checksum`.
pub fn change(row: &Row<'_>) -> RowResult<Change> {
    let change = Change {
        number: ChangeNumber(number(row, 0)?),
        at: time(row, 1)?,
        reason: row.get(2)?,
        kind: row.get(3)?,
        subject: row.get(4)?,
        detail: row.get(5)?,
    };
    if !crate::catalog::Mutation::KINDS.contains(&change.kind.as_str()) {
        return damaged(format!("an unknown kind of change: number `{}`, kind `{}`", change.number, change.kind));
    }
    verify(|| format!("change `{}`", change.number), row.get(6)?, checksum::change(&change))?;
    Ok(change)
}
