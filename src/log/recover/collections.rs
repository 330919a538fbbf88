//! From runs in many journals to where each collection stands (R3, C7, J6).
//!
//! Owns: putting runs in order, dropping what is sealed already, finding holes, the next sequence. Pure but for reading
//! runs that overlap.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::avro::record::Seed;
use crate::error::Result;
use crate::journal::{FileId, JournalFile, JournalKind};
use crate::memtable::{Run, Unsealed};
use crate::types::{CollectionName, Sequence};

/// What the journals say of one collection.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Runs, in no order, of any journal.
    pub runs: Vec<Run>,
    /// Highest sequence that a table says was there and that may be lost.
    pub lost_through: Sequence,
    /// Records that may have been there and of which no table tells.
    pub room: u64,
    /// The runs are in order.
    sorted: bool,
}

impl Pieces {
    /// Puts the runs in order. Of equals those of the collection's own directory come first, so that they are kept (M1); then cold
    /// journals: where a hot one holds the same, the cold one lets it go.
    pub fn sort_home_first(&mut self, is_home: impl Fn(FileId) -> bool) {
        self.runs.sort_by_cached_key(|run| {
            (run.first, !is_home(run.file.file_id), run.file.kind != JournalKind::Cold, run.file.journal)
        });
        self.sorted = true;
    }
}

/// What the catalog says of one collection.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Everything up to here is in committed segments, below the floor, or lost on record.
    pub sealed_through: Sequence,
    /// First sequence still promised.
    pub floor: Sequence,
    /// Highest sequence that the catalog knows of.
    pub last: Sequence,
    /// Ranges that need not be found, in order: those on record as missing, and those that are accounted for elsewhere.
    pub missing: Vec<(Sequence, Sequence)>,
    /// Ranges that are on record as missing, each as it is recorded, in order.
    pub on_record: Vec<(Sequence, Sequence)>,
}

/// Where a collection stands after recovery.
#[derive(Debug, Default)]
pub struct Merged {
    /// Records in no segment.
    pub unsealed: Unsealed,
    /// Last sequence there is, or was.
    pub last: Sequence,
    /// Ranges that are missing and not on record yet.
    pub losses: Vec<(Sequence, Sequence)>,
    /// Runs below what is sealed of sequences that are on record as missing, in order: they are there after all.
    pub found: Vec<Run>,
    /// Ranges on record as missing that are in `unsealed`, in order.
    pub recovered: Vec<(Sequence, Sequence)>,
    /// Runs of the same sequences with other bytes: which journals disagree, and on what.
    pub conflicts: Vec<String>,
}

/// Everything the journals say, by collection.
pub type AllPieces = BTreeMap<CollectionName, Pieces>;

/// Puts one collection together. The runs kept count in their journals afterwards; the others do not. `differs` says of a run of what
/// is sealed whether it is another than segments hold.
///
/// Where a journal disagrees with what is kept, nothing behind that is taken from its directory: it is another history (A4). It is
/// kept as evidence.
///
/// # Errors
/// A journal that was readable a moment ago cannot be read.
pub fn merge(
    name: &CollectionName,
    mut pieces: Pieces,
    known: &Known,
    differs: &dyn Fn(&Run) -> Result<Option<String>>,
) -> Result<Merged> {
    let seed = Seed::of(name);
    if !pieces.sorted {
        pieces.sort_home_first(|_| true);
    }
    let mut merged = Merged::default();
    let mut expected = known.sealed_through.next().max(known.floor);
    let mut forked: Vec<PathBuf> = Vec::new();
    let mut set_aside = |merged: &mut Merged, run: &Run, conflict: Option<String>| {
        let folder = run.file.path.parent().map(Path::to_path_buf).unwrap_or_default();
        if let Some(conflict) = conflict {
            merged.conflicts.push(conflict);
            forked.push(folder.clone());
        }
        let is_forked = forked.contains(&folder);
        if is_forked {
            run.file.note_damage();
        }
        is_forked
    };
    for run in pieces.runs {
        let differs = if run.first <= known.sealed_through { differs(&run)? } else { None };
        if set_aside(&mut merged, &run, differs) {
            continue;
        }
        if run.first <= known.sealed_through && !known.on_record.is_empty() {
            find_lost(&mut merged.found, &run, known, seed)?;
        }
        if run.last() < expected {
            if let Some(kept) = merged.unsealed.at_or_after(run.first) {
                let conflict = compare(kept, &run, seed)?;
                set_aside(&mut merged, &run, conflict);
            }
            continue;
        }
        if run.first > expected {
            note_missing(&mut merged.losses, known, expected, run.first.previous());
        }
        let run = if run.first < expected {
            if let Some(kept) = merged.unsealed.at_or_after(run.first) {
                let conflict = compare(kept, &run, seed)?;
                if set_aside(&mut merged, &run, conflict) {
                    continue;
                }
            }
            run.from(expected, seed).map_err(damaged)?
        } else {
            run
        };
        expected = run.last().next();
        for &(first, last) in &known.on_record {
            if first <= run.last() && run.first <= last {
                merged.recovered.push((first.max(run.first), last.min(run.last())));
            }
        }
        run.file.add_run(run.len);
        merged.unsealed.push(run);
    }
    let seen = expected.previous();
    let claimed = known.last.max(pieces.lost_through);
    // What the lost bytes may have held still fits in (J6). Counted from what is there, not from what is on record: so the
    // same damage, met again after a crash, leaves the same room.
    let last = claimed.max(Sequence(seen.0.saturating_add(pieces.room).min(Sequence::MAX.0)));
    if last > seen {
        note_missing(&mut merged.losses, known, expected, last);
    }
    merged.last = last;
    Ok(merged)
}

/// Adds what of a run is on record as missing, below what is sealed.
fn find_lost(found: &mut Vec<Run>, run: &Run, known: &Known, seed: Seed) -> Result<()> {
    let sealed = run.last().min(known.sealed_through);
    for &(first, last) in &known.on_record {
        let from = first.max(run.first).max(found.last().map_or(Sequence::FIRST, |found| found.last().next()));
        let until = last.min(sealed);
        if from > until || from < known.floor {
            continue;
        }
        let mut part = run.clone();
        if run.first < from {
            part = part.from(from, seed).map_err(damaged)?;
        }
        if until < part.last() {
            part = part.until(until, seed).map_err(damaged)?;
        }
        // It counts until it is in a segment.
        part.file.add_run(part.len);
        found.push(part);
    }
    Ok(())
}

/// Adds what of `first..=last` is not on record yet.
pub(super) fn note_missing(losses: &mut Vec<(Sequence, Sequence)>, known: &Known, first: Sequence, last: Sequence) {
    let mut at = first;
    for &(known_first, known_last) in &known.missing {
        if known_last < at {
            continue;
        }
        if known_first > last {
            break;
        }
        if known_first > at {
            losses.push((at, known_first.previous()));
        }
        at = known_last.next();
    }
    if at <= last {
        losses.push((at, last));
    }
}

/// Whether two runs that overlap differ where they do; says how.
fn compare(kept: &Run, other: &Run, seed: Seed) -> Result<Option<String>> {
    if Arc::ptr_eq(&kept.file, &other.file) && kept.offset == other.offset {
        return Ok(None);
    }
    let from = kept.first.max(other.first);
    let part = |run: &Run| -> Result<bytes::Bytes> {
        let run = if run.first < from { run.from(from, seed).map_err(damaged)? } else { run.clone() };
        Ok(run.load()?)
    };
    let (kept_bytes, other_bytes) = (part(kept)?, part(other)?);
    let common = kept_bytes.len().min(other_bytes.len());
    let name = |file: &JournalFile| file.path.display().to_string();
    Ok((kept_bytes[..common] != other_bytes[..common]).then(|| {
        format!(
            "two journals hold sequence `{from}` with other bytes: path=`{}`, path=`{}`",
            name(&kept.file),
            name(&other.file)
        )
    }))
}

fn damaged(error: crate::memtable::RunError) -> crate::Error {
    match error {
        crate::memtable::RunError::Fs(error) => error.into(),
        damaged => crate::Error::new(crate::ErrorKind::Corrupt, damaged.to_string()),
    }
}
