//! Reading everything, and saying what is wrong: SQLite's own structure, the schema, every row, and what rows say of
//! each other.

use std::collections::BTreeMap;

use rusqlite::{Connection, Params, Row};

use super::lookups;
use super::open::MIGRATIONS;
use super::rows::{self, segment_columns};
use super::session::{RowError, RowResult, Session};
use crate::catalog::{CatalogError, CatalogResult, SegmentKey, SegmentStatus};
use crate::types::{CollectionName, Sequence};

/// Beyond this many findings the rest is counted only.
const FINDINGS_MAX: usize = 1000;

const ALL_SEGMENTS: &str = concat!(
    "SELECT ",
    segment_columns!(),
    " FROM segments AS s LEFT JOIN collections AS c ON c.id = s.collection_id ORDER BY s.sealed_change"
);

struct Findings<'a> {
    session: &'a Session<'a>,
    lines: Vec<String>,
    more: u64,
}

impl Findings<'_> {
    fn add(&mut self, line: String) {
        if self.lines.len() < FINDINGS_MAX {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    /// Calls `visit` for every row that can be read, and keeps what is wrong with the others.
    fn each<T>(
        &mut self,
        table: &str,
        sql: &str,
        parameters: impl Params,
        decode: impl Fn(&Row<'_>) -> RowResult<T>,
        mut visit: impl FnMut(&mut Self, T),
    ) -> CatalogResult<()> {
        let session = self.session;
        let read = session.each(sql, parameters, |row| {
            match decode(row) {
                Ok(decoded) => visit(self, decoded),
                Err(RowError::Damaged(what)) => self.add(format!("{table}: {what}")),
                Err(RowError::Sqlite(error @ rusqlite::Error::SqliteFailure(..))) => return Err(error.into()),
                Err(RowError::Sqlite(error)) => self.add(format!("{table}: {error}")),
            }
            Ok(())
        });
        match read {
            Err(CatalogError::Damaged { what, .. }) => self.add(format!("{table}: {what}")),
            read => read?,
        }
        Ok(())
    }
}

/// What every row of a collection together say of it.
#[derive(Default)]
struct Known {
    sequence_max: Sequence,
    live: Vec<SegmentKey>,
}

pub fn check(session: &Session<'_>) -> CatalogResult<Vec<String>> {
    let mut findings = Findings { session, lines: Vec::new(), more: 0 };
    structure(&mut findings)?;
    let known = segments(&mut findings)?;
    history(&mut findings)?;
    others(&mut findings, known)?;
    if findings.more > 0 {
        findings.lines.push(format!("and {} more", findings.more));
    }
    Ok(findings.lines)
}

fn structure(findings: &mut Findings<'_>) -> CatalogResult<()> {
    let read_text = |row: &Row<'_>| Ok(row.get::<_, String>(0)?);
    findings.each("database", "PRAGMA integrity_check", [], read_text, |findings, line| {
        if line != "ok" {
            findings.add(format!("database: {line}"));
        }
    })?;
    const SCHEMA: &str =
        "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY type, name";
    let expected = || -> rusqlite::Result<Vec<String>> {
        let model = Connection::open_in_memory()?;
        for migration in MIGRATIONS {
            model.execute_batch(migration)?;
        }
        let mut statement = model.prepare(SCHEMA)?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    let expected =
        expected().map_err(|error| super::error::of(findings.session.path, "make a schema to compare with", error))?;
    let mut found = Vec::new();
    findings.each("schema", SCHEMA, [], read_text, |_, line| found.push(line))?;
    for line in expected.iter().filter(|line| !found.contains(line)) {
        findings.add(format!("schema: missing or changed: {}", line.lines().next().unwrap_or_default()));
    }
    Ok(())
}

/// Each segment by itself; then the counts; then that live segments of a generation share no sequence.
fn segments(findings: &mut Findings<'_>) -> CatalogResult<BTreeMap<CollectionName, Known>> {
    let mut known = BTreeMap::<CollectionName, Known>::new();
    let mut counted = BTreeMap::<SegmentStatus, u64>::new();
    findings.each("segments", ALL_SEGMENTS, [], rows::segment, |_, row| {
        *counted.entry(row.status).or_default() += 1;
        let of = known.entry(row.key.collection.clone()).or_default();
        of.sequence_max = of.sequence_max.max(row.key.last);
        if row.status.is_live() {
            of.live.push(row.key);
        }
    })?;
    let mut stored = BTreeMap::new();
    let counts = "SELECT status, segments, checksum FROM segment_counts";
    findings.each("segment_counts", counts, [], rows::count, |_, (status, count)| {
        stored.insert(status, count);
    })?;
    for status in SegmentStatus::ALL {
        let (is, says) = (counted.get(&status).copied(), stored.get(&status).copied());
        if is.unwrap_or(0) != says.unwrap_or(0) {
            findings.add(format!(
                "segment_counts: status `{status}`, stored `{}`, rows `{}`",
                says.unwrap_or(0),
                is.unwrap_or(0)
            ));
        }
    }
    for of in known.values_mut() {
        of.live.sort_by_key(|key| (key.generation, key.first));
        for pair in of.live.windows(2).filter(|pair| pair[0].generation == pair[1].generation) {
            if pair[1].first <= pair[0].last {
                findings.add(format!("segments: live ones overlap: `{}`, `{}`", pair[0], pair[1]));
            }
        }
    }
    Ok(known)
}

fn history(findings: &mut Findings<'_>) -> CatalogResult<()> {
    const PAGE: usize = 1000;
    let mut expected = 1;
    loop {
        let sql = "SELECT number, at, reason, kind, subject, detail, checksum FROM changes WHERE number >= ?1 \
                   ORDER BY number LIMIT ?2";
        let from = expected;
        findings.each("changes", sql, (from, PAGE as i64), rows::change, |findings, change| {
            if change.number.get().cast_signed() != expected {
                findings.add(format!("changes: expected number `{expected}`, found `{}`", change.number));
            }
            expected = change.number.get().cast_signed() + 1;
            if let Err(error) = change.mutation() {
                findings.add(format!("changes: number `{}`: {error}", change.number));
            }
        })?;
        if expected == from {
            break;
        }
    }
    // A damaged change at the end, or a whole page of them, ends the loop early; so does the true end.
    let newest = lookups::change_number(findings.session)?.get().cast_signed();
    if newest != expected - 1 {
        findings.add(format!(
            "changes: the newest is `{newest}`, the newest that can be followed to is `{}`",
            expected - 1
        ));
    }
    Ok(())
}

/// The small tables, and each collection against what its other rows say.
fn others(findings: &mut Findings<'_>, mut known: BTreeMap<CollectionName, Known>) -> CatalogResult<()> {
    let losses = "SELECT collection, first_sequence, last_sequence, reason, found_at, acknowledged_by, \
                  acknowledged_at, checksum FROM losses";
    findings.each("losses", losses, [], rows::loss, |_, row| {
        let of = known.entry(row.collection).or_default();
        of.sequence_max = of.sequence_max.max(row.last);
    })?;
    let cursors = "SELECT collection, sink, epoch, sequence, checksum FROM cursors";
    findings.each("cursors", cursors, [], rows::cursor, |_, row| {
        let of = known.entry(row.collection).or_default();
        of.sequence_max = of.sequence_max.max(row.sequence);
    })?;
    let assignments = "SELECT component, collection, directory, epoch, from_sequence, since, checksum FROM assignments";
    findings.each("assignments", assignments, [], rows::assignment, |_, row| {
        known.entry(row.collection).or_default();
    })?;
    findings.each("meta", "SELECT name, value, checksum FROM meta", [], rows::meta, |_, _| {})?;
    let collections =
        "SELECT name, created_at, floor, sealed_through, sequence_max, settings, checksum FROM collections ORDER BY id";
    findings.each("collections", collections, [], rows::collection, |findings, state| {
        let name = &state.row.name;
        let least = known.remove(name).unwrap_or_default().sequence_max;
        let least = least.max(state.row.sealed_through).max(state.row.floor.previous());
        if state.sequence_max < least {
            findings.add(format!(
                "collections: `{name}` knows of sequence `{}`, its rows of `{least}`",
                state.sequence_max
            ));
        }
    })?;
    for name in known.keys() {
        findings.add(format!("collections: `{name}` has rows, but none of its own"));
    }
    Ok(())
}
