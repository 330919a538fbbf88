//! What is read of a log, one of whose disks may be failing, and what it must be.

use icecore::fs::simulated::Ailment;
use icecore::{AppendOptions, Error, ErrorKind, Log, NewRecord, ReadOptions, Receipt, Record, Sequence, SyncMode};

use crate::model::{COLLECTIONS, Model, Promise, name};
use crate::workload::{Broken, told};

/// A disk that fails, as the test knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ailing {
    pub place: &'static str,
    pub ailment: Ailment,
}

/// What a reader gives of one collection: an error names what cannot be read, and it goes on behind.
pub struct Seen {
    pub records: Vec<Record>,
    pub errors: Vec<String>,
}

pub fn see(log: &Log, collection: usize) -> Result<Seen, Broken> {
    let mut seen = Seen { records: Vec::new(), errors: Vec::new() };
    match log.read(&name(collection), ReadOptions::default()) {
        Ok(reader) => {
            for next in reader {
                match next {
                    Ok(record) => seen.records.push(record),
                    Err(error) => seen.errors.push(told("cannot read", &error)),
                }
                if seen.errors.len() > 2000 {
                    let (name, last) = (COLLECTIONS[collection], seen.errors.last());
                    return Err(format!("collection `{name}`: the reader does not come to an end: {last:?}"));
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound && error.to_string().starts_with("no such") => {}
        Err(error) => seen.errors.push(told("no reader", &error)),
    }
    Ok(seen)
}

/// Whether an error names a disk that fails.
pub fn names(text: &str, ailing: &[Ailing]) -> bool {
    ailing.iter().any(|ailing| text.contains(ailing.place))
}

/// Reads everything, and compares it with what was promised; says of which collections not all could be read.
pub fn look(log: &Log, model: &Model, ailing: &[Ailing], least: Promise) -> Result<Vec<bool>, Broken> {
    let rows = log.catalog().collections(None, usize::MAX).map_err(|error| error.to_string())?;
    if let Some(strange) = rows.iter().find(|row| !COLLECTIONS.contains(&row.name.as_str())) {
        return Err(format!("collection `{}` was invented", strange.name));
    }
    let unreadable: Vec<Ailing> = ailing.iter().copied().filter(|ailing| !ailing.ailment.can_be_read()).collect();
    (0..COLLECTIONS.len())
        .map(|collection| {
            let seen = see(log, collection)?;
            if let Some(error) = seen.errors.iter().find(|error| !names(error, &unreadable)) {
                return Err(format!("collection `{}`: {error}", COLLECTIONS[collection]));
            }
            if seen.errors.is_empty() {
                model.check_one(collection, &seen.records, least).map_err(|what| {
                    let known = log.catalog().assignment("wal", &name(collection));
                    let known = known.ok().flatten().map(|known| (known.directory, known.epoch.0, known.from.0));
                    format!("{what}; assignment={known:?}, {:?}", log.directory_states())
                })?;
            } else {
                model.check_part(collection, &seen.records)?;
            }
            Ok(seen.errors.is_empty())
        })
        .collect()
}

/// A collection that takes appends needs no failing disk to go on: all of it up to `last` that is in no segment can be read.
pub fn unsealed_is_there(log: &Log, collection: usize, last: Sequence) -> Result<(), Broken> {
    let row = log.catalog().collection(&name(collection)).map_err(|error| error.to_string())?;
    let from = row.map_or(Sequence::FIRST, |row| row.sealed_through.next());
    let options = ReadOptions { from: Some(from), ..ReadOptions::default() };
    let reader = log.read(&name(collection), options).map_err(|error| told("no reader", &error))?;
    let mut next = from;
    for record in reader {
        let record =
            record.map_err(|error| told(&format!("`{next}`, which is in no segment, cannot be read"), &error))?;
        if record.sequence != next {
            return Err(format!("`{}` where `{next}` should be, which is in no segment", record.sequence));
        }
        next = next.next();
    }
    if next <= last { Err(format!("`{next}` is not there, and in no segment")) } else { Ok(()) }
}

/// A failing disk is no damage, and a missing one no loss.
pub fn check_report(log: &Log) -> Result<(), Broken> {
    let report = log.recovery();
    if report.damaged.is_empty() && report.losses.is_empty() && !report.catalog_is_old {
        return Ok(());
    }
    Err(format!(
        "recovery reports what no failing disk can do: damaged={:?}, losses={:?}, catalog_is_old={}",
        report.damaged, report.losses, report.catalog_is_old
    ))
}

/// Appends a record that must be durable when this returns.
pub fn append(log: &Log, collection: usize, record: &NewRecord) -> Result<Receipt, Error> {
    let options = AppendOptions { sync: Some(SyncMode::PerBatch), ..AppendOptions::default() };
    log.append_batch(&name(collection), std::slice::from_ref(record), options)
}
