//! What is looked at.

use icecore::catalog::{Catalog, CatalogError};
use icecore::fs::SimulatedFileSystem;
use icecore::{ChangeNumber, Log, ReadOptions, Reader, Record, Timestamp, VerifyOptions};

use super::disk::FORGETS;
use super::policy::may_go;
use super::{Compacting, DiskSink, KEEPS};
use crate::model::{COLLECTIONS, Found, Model, name};
use crate::workload::{Broken, Setup, read_all, told};

fn told_of(sink: &str) -> impl Fn(String) -> Broken {
    move |what| format!("sink `{sink}`: {what}")
}

fn not_said(error: CatalogError) -> Broken {
    error.to_string()
}

/// The sinks and the catalog as they are found, before any log is open: of the sinks exactly the front up to their cursors, and a catalog that knows
/// no more than they do.
pub fn check_disk(setup: &Setup, fs: &SimulatedFileSystem, catalog: &dyn Catalog, model: &Model) -> Result<(), Broken> {
    for collection in 0..setup.collections {
        let name = name(collection);
        let cursors = catalog.cursors(&name).map_err(not_said)?;
        for sink in setup.stored.names() {
            let held = DiskSink::new(sink, fs, None).held(&name)?;
            model.check_held(collection, &held, *sink != KEEPS).map_err(told_of(sink))?;
            if *sink == FORGETS {
                continue;
            }
            let has = held.cursor.map_or(0, |cursor| cursor.sequence.0);
            let known = cursors.iter().find(|row| row.sink == *sink).map_or(0, |row| row.sequence.0);
            if known > has {
                return Err(format!(
                    "sink `{sink}`, collection `{name}`: the catalog has its cursor at `{known}`, it is `{has}`"
                ));
            }
            if *sink == KEEPS {
                let rows = catalog.segments(Some(&name), None, usize::MAX).map_err(not_said)?;
                let flushed = rows.iter().filter(|row| row.status.is_live() && row.flushed_at.is_some());
                if let Some(row) = flushed.into_iter().find(|row| row.key.last.0 > has) {
                    return Err(format!(
                        "segment `{}` counts as flushed, and sink `{sink}` has up to `{has}`",
                        row.key
                    ));
                }
            }
        }
    }
    Ok(())
}

/// What sinks have is what the log has.
pub fn check_open(setup: &Setup, fs: &SimulatedFileSystem, model: &Model, found: &Found) -> Result<(), Broken> {
    for (collection, found) in found.iter().enumerate().take(setup.collections) {
        let end = model.end(collection, found);
        for sink in setup.stored.names() {
            let held = DiskSink::new(sink, fs, None).held(&name(collection))?;
            let shown = COLLECTIONS[collection];
            let cursor = held.cursor.map_or(0, |cursor| cursor.sequence.0);
            if cursor > end {
                return Err(format!(
                    "sink `{sink}`, collection `{shown}`: its cursor is `{cursor}`, and the log ends at `{end}`"
                ));
            }
            for record in &held.records {
                let same = found.binary_search_by_key(&record.sequence, |found| found.sequence);
                if same.is_ok_and(|at| found[at] != *record) {
                    let sequence = record.sequence;
                    return Err(format!(
                        "sink `{sink}`, collection `{shown}`: the log has another record as `{sequence}`"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Everything was flushed: who subscribes has it, and the catalog says so. A sink that forgets something has it back where it was `asked`.
pub fn check_flushed(
    setup: &Setup,
    fs: &SimulatedFileSystem,
    log: &Log,
    (model, found): (&Model, &Found),
    asked: bool,
) -> Result<(), Broken> {
    check_disk(setup, fs, &**log.catalog(), model)?;
    check_open(setup, fs, model, found)?;
    for (collection, found) in found.iter().enumerate().take(setup.collections) {
        let (name, end) = (name(collection), model.end(collection, found));
        if end == 0 {
            continue;
        }
        let subscribers = log.subscribers(&name).map_err(|error| told("no subscribers", &error))?;
        let cursors = log.catalog().cursors(&name).map_err(not_said)?;
        for sink in setup.stored.names().iter().filter(|sink| subscribers.iter().any(|name| name == *sink)) {
            let has = DiskSink::new(sink, fs, None).held(&name)?.cursor.map_or(0, |cursor| cursor.sequence.0);
            let known = cursors.iter().find(|row| row.sink == **sink).map_or(0, |row| row.sequence.0);
            // What a sink forgot, the catalog goes on knowing.
            let is_known = known == end || (*sink == FORGETS && known > 0);
            if (has != end || !is_known) && (asked || *sink != FORGETS) {
                return Err(format!(
                    "sink `{sink}`, collection `{name}`: flushed, and its cursor is `{has}`, by the catalog `{known}`, of `{end}`"
                ));
            }
        }
    }
    let unflushed = log.catalog().segments_unflushed(None, usize::MAX).map_err(not_said)?;
    unflushed.first().map_or(Ok(()), |row| Err(format!("segment `{}` does not count as flushed", row.key)))
}

/// The time of the newest change.
pub fn newest(catalog: &dyn Catalog) -> Result<Timestamp, Broken> {
    let before = ChangeNumber(catalog.change_number().map_err(not_said)?.0.saturating_sub(1));
    let newest = catalog.changes(before, 1).map_err(not_said)?.pop();
    Ok(newest.map_or(Timestamp(0), |change| change.at))
}

/// Nothing is missing, damaged, or there without a row.
pub fn verify(log: &Log, deep: bool) -> Result<(), Broken> {
    let report = log.verify(VerifyOptions { deep }).map_err(|error| told("cannot verify", &error))?;
    if report.ok && report.without_row.is_empty() { Ok(()) } else { Err(format!("verify is not content: {report:?}")) }
}

/// What a compaction finds, and may take.
pub fn compacting(setup: &Setup, log: &Log, now: Timestamp) -> Result<Compacting, Broken> {
    let before = read_all(log)?;
    let policy = setup.stored.compaction.unwrap_or_default().policy();
    let may_go = before
        .iter()
        .enumerate()
        .map(|(collection, before)| {
            let row = log.catalog().collection(&name(collection)).map_err(not_said)?;
            Ok(may_go(before, &policy, now, row.map_or(0, |row| row.sealed_through.0)))
        })
        .collect::<Result<Vec<_>, Broken>>()?;
    Ok(Compacting { policy, now, before, may_go, goes: None })
}

/// Readers that began before a compaction, and end behind it.
#[derive(Default)]
pub struct Readers(Vec<Reading>);

struct Reading {
    collection: usize,
    reader: Reader,
    before: Vec<Record>,
    given: Vec<Record>,
}

impl Readers {
    /// Of every collection, in the middle of what it has.
    pub fn begin(log: &Log, compacting: &Compacting) -> Result<Self, Broken> {
        let mut readers = Vec::new();
        for (collection, before) in compacting.before.iter().enumerate().filter(|(_, before)| !before.is_empty()) {
            let reader = log.read(&name(collection), ReadOptions::default());
            let mut reader = reader.map_err(|error| told("no reader", &error))?;
            let given = reader.by_ref().take(before.len() / 3 + 1).collect::<Result<_, _>>();
            let given = given.map_err(|error| told("cannot read", &error))?;
            readers.push(Reading { collection, reader, before: before.clone(), given });
        }
        Ok(Self(readers))
    }

    /// What they gave is what was there before, in order, and of that at least what is `left`.
    pub fn end(self, left: &Found) -> Result<(), Broken> {
        for Reading { collection, reader, before, mut given } in self.0 {
            for record in reader {
                given.push(record.map_err(|error| told("cannot read on behind a compaction", &error))?);
            }
            let (mut before, mut all) = (before.iter(), given.iter());
            let is_of_before = given.iter().all(|record| before.any(|before| before == record));
            let is_whole = left[collection].iter().all(|left| all.any(|given| given == left));
            if !is_of_before || !is_whole {
                let given: Vec<u64> = given.iter().map(|record| record.sequence.0).collect();
                return Err(format!(
                    "collection `{}`: who read meanwhile was given {given:?}",
                    COLLECTIONS[collection]
                ));
            }
        }
        Ok(())
    }
}
