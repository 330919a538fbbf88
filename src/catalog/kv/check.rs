//! Reading everything, and saying what is wrong: every row, every entry of an index against its row in both directions, and
//! what rows say of each other.

use std::collections::BTreeMap;

use super::engine::Read;
use super::keys::{self, Key, table};
use super::values::{self, CountRow, MetaRow, Stored, shown};
use super::{lookups, open};
use crate::catalog::state::CollectionState;
use crate::catalog::{
    Assignment, CatalogError, CatalogResult, Change, CursorRow, LossRow, SegmentKey, SegmentRow, SegmentStatus,
};
use crate::types::{CollectionName, Sequence};

/// Beyond this many findings the rest is counted only.
const FINDINGS_MAX: usize = 1000;

struct Findings<'a> {
    read: &'a dyn Read,
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

    /// Keeps what is damaged; hands on what failed.
    fn keep<T>(&mut self, result: CatalogResult<T>) -> CatalogResult<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(CatalogError::Damaged { what, .. }) => {
                self.add(what);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Calls `visit` for every entry of a table, in order.
    fn entries(
        &mut self,
        table: u8,
        mut visit: impl FnMut(&mut Self, &[u8], &[u8]) -> CatalogResult<()>,
    ) -> CatalogResult<()> {
        let (read, mut last) = (self.read, Vec::new());
        let walked = read.scan(&Key::of(table), &mut |key, value| {
            if key.first() != Some(&table) {
                return Ok(false);
            }
            if !last.is_empty() && *key <= *last {
                self.add(format!("keys are not in order: `{}` after `{}`", shown(key), shown(&last)));
                // A damaged tree may lead round in circles.
                return Ok(false);
            }
            key.clone_into(&mut last);
            visit(self, key, value)?;
            Ok(true)
        });
        self.keep(walked).map(|_| ())
    }

    /// Calls `visit` for every row that can be read, and keeps what is wrong with the others.
    fn rows<T: Stored>(&mut self, table: u8, mut visit: impl FnMut(&mut Self, T)) -> CatalogResult<()> {
        self.entries(table, |findings, key, value| {
            match values::decode(key, value) {
                Ok(row) => visit(findings, row),
                Err(what) => findings.add(what),
            }
            Ok(())
        })
    }
}

/// What every row of a collection together say of it.
#[derive(Default)]
struct Known {
    sequence_max: Sequence,
    live: Vec<SegmentKey>,
}

pub fn check(read: &dyn Read) -> CatalogResult<Vec<String>> {
    let mut findings = Findings { read, lines: Vec::new(), more: 0 };
    let header = open::check(read);
    findings.keep(header)?;
    let known = segments(&mut findings)?;
    indexes(&mut findings)?;
    history(&mut findings)?;
    others(&mut findings, known)?;
    strangers(&mut findings)?;
    if findings.more > 0 {
        findings.lines.push(format!("and {} more", findings.more));
    }
    Ok(findings.lines)
}

/// Each segment by itself and in its indexes; then the counts; then that live segments of a generation share no sequence.
fn segments(findings: &mut Findings<'_>) -> CatalogResult<BTreeMap<CollectionName, Known>> {
    let mut known = BTreeMap::<CollectionName, Known>::new();
    let mut counted = BTreeMap::<SegmentStatus, u64>::new();
    findings.entries(table::SEGMENTS, |findings, key, value| {
        let row = match values::decode::<SegmentRow>(key, value) {
            Ok(row) => row,
            Err(what) => {
                findings.add(what);
                return Ok(());
            }
        };
        for (key, names) in keys::entries(&row) {
            let found = findings.read.get(&key);
            if let Some(found) = findings.keep(found)?
                && found.as_ref() != Some(&names)
            {
                let how = if found.is_some() { "says otherwise" } else { "is missing" };
                findings.add(format!("segments: `{}`: its entry `{}` {how}", row.key, shown(&key)));
            }
        }
        *counted.entry(row.status).or_default() += 1;
        let of = known.entry(row.key.collection.clone()).or_default();
        of.sequence_max = of.sequence_max.max(row.key.last);
        if row.status.is_live() {
            of.live.push(row.key);
        }
        Ok(())
    })?;
    let mut stored = BTreeMap::new();
    findings.rows(table::COUNTS, |_, row: CountRow| {
        stored.insert(row.status, row.count);
    })?;
    for status in SegmentStatus::ALL {
        let (is, says) = (counted.get(&status).copied(), stored.get(&status).copied());
        if is.unwrap_or(0) != says.unwrap_or(0) {
            let (is, says) = (is.unwrap_or(0), says.unwrap_or(0));
            findings.add(format!("counts: status `{status}`, stored `{says}`, rows `{is}`"));
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

/// Every entry of an index: it names a row that has it.
fn indexes(findings: &mut Findings<'_>) -> CatalogResult<()> {
    for table in [table::BY_STATUS, table::UNFLUSHED, table::LIVE, table::BY_TIME] {
        findings.entries(table, |findings, key, value| {
            let named = lookups::named(findings.read, key, value);
            findings.keep(named).map(|_| ())
        })?;
    }
    Ok(())
}

fn history(findings: &mut Findings<'_>) -> CatalogResult<()> {
    let mut expected = 1;
    findings.entries(table::CHANGES, |findings, key, value| {
        match values::decode::<Change>(key, value) {
            Ok(change) => {
                if change.number.get() != expected {
                    findings.add(format!("changes: expected number `{expected}`, found `{}`", change.number));
                }
                expected = change.number.get() + 1;
                if let Err(error) = change.mutation() {
                    findings.add(format!("changes: number `{}`: {error}", change.number));
                }
            }
            Err(what) => {
                findings.add(what);
                expected += 1;
            }
        }
        Ok(())
    })
}

/// The small tables, and each collection against what its other rows say.
fn others(findings: &mut Findings<'_>, mut known: BTreeMap<CollectionName, Known>) -> CatalogResult<()> {
    findings.rows(table::LOSSES, |_, row: LossRow| {
        let of = known.entry(row.collection).or_default();
        of.sequence_max = of.sequence_max.max(row.last);
    })?;
    findings.rows(table::CURSORS, |_, row: CursorRow| {
        let of = known.entry(row.collection).or_default();
        of.sequence_max = of.sequence_max.max(row.sequence);
    })?;
    findings.rows(table::ASSIGNMENTS, |_, row: Assignment| {
        known.entry(row.collection).or_default();
    })?;
    findings.rows(table::META, |_, _: MetaRow| {})?;
    findings.rows(table::COLLECTIONS, |findings, state: CollectionState| {
        let name = &state.row.name;
        let least = known.remove(name).unwrap_or_default().sequence_max;
        let least = least.max(state.row.sealed_through).max(state.row.floor.previous());
        if state.sequence_max < least {
            let says = state.sequence_max;
            findings.add(format!("collections: `{name}` knows of sequence `{says}`, its rows of `{least}`"));
        }
    })?;
    for name in known.keys() {
        findings.add(format!("collections: `{name}` has rows, but none of its own"));
    }
    Ok(())
}

/// Entries of no table that is known, and more than one header.
fn strangers(findings: &mut Findings<'_>) -> CatalogResult<()> {
    let read = findings.read;
    let walked = [keys::header().next(), Key::of(table::END)].iter().try_for_each(|from| {
        read.scan(from, &mut |key, _| {
            if (table::CHANGES..table::END).contains(&key[0]) {
                return Ok(false);
            }
            findings.add(format!("an entry of no table: `{}`", shown(key)));
            Ok(findings.lines.len() < FINDINGS_MAX)
        })
    });
    findings.keep(walked).map(|_| ())
}
