//! Proving that everything is there, or naming what is not.
//!
//! - `segments`: rows against files
//! - `journals`: what the journals say of themselves
//! - `status`: what an operator needs to know at a glance
//!
//! Owns: contiguity: from the floor to the last sequence written, each sequence is in a live segment, unsealed, or on record as
//! missing. Works beside a writer: what is captured first may move on meanwhile, so nothing is called missing or damaged
//! before it was looked at again. Changes nothing.

mod journals;
pub(super) mod segments;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use status::{CollectionRefusing, DirectoryStatus, Status};

use super::catalog::check::why_missing;
use super::damage::Damaged;
use super::read::{LOOKS, ReadOptions};
use super::{Collection, DirectoryState, Log};
use crate::catalog::LossRow;
use crate::error::{ErrorKind, Result};
use crate::types::{CollectionName, Sequence};

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Read every byte: each record, each digest, the SHA-256 of each segment's file. Without it, of segments only front and
    /// end are read.
    pub deep: bool,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Segments looked at.
    pub segments: u64,
    /// Segments there are, as far as is known.
    pub segments_total: u64,
    /// Bytes of the segments looked at.
    pub bytes: u64,
}

/// Sequences on record as missing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// The collection.
    pub collection: CollectionName,
    /// First missing sequence.
    pub first_sequence: Sequence,
    /// Last missing sequence.
    pub last_sequence: Sequence,
    /// What happened.
    pub reason: String,
    /// When it was found, as RFC 3339.
    pub found_at: String,
    /// Who acknowledged it; `None` while nobody has.
    pub acknowledged_by: Option<String>,
    /// When it was acknowledged, as RFC 3339.
    pub acknowledged_at: Option<String>,
}

impl From<&LossRow> for Missing {
    fn from(row: &LossRow) -> Self {
        Self {
            collection: row.collection.clone(),
            first_sequence: row.first,
            last_sequence: row.last,
            reason: row.reason.clone(),
            found_at: row.found_at.to_string(),
            acknowledged_by: row.acknowledged.as_ref().map(|(by, _)| by.clone()),
            acknowledged_at: row.acknowledged.as_ref().map(|(_, at)| at.to_string()),
        }
    }
}

/// The answer in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum Verified {
    /// Everything promised is there.
    #[default]
    #[serde(rename = "OK")]
    Ok,
    /// Everything is there but for losses that an operator has acknowledged.
    #[serde(rename = "OK-WITH-GAPS")]
    OkWithGaps,
    /// Nothing that is known to have been synced is missing; but a journal ends in bytes that are no group, which may also
    /// have been a last group that was acknowledged and damaged later (J5). The next opening for writing judges it.
    #[serde(rename = "UNPROVEN-TAIL")]
    UnprovenTail,
    /// What could be looked at is as it should be; but a directory of the log is not there, and what it holds was not judged (A3).
    #[serde(rename = "INCOMPLETE")]
    Incomplete,
    /// Something is damaged or missing.
    #[serde(rename = "DAMAGED")]
    Damaged,
}

impl std::fmt::Display for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::OkWithGaps => "OK-WITH-GAPS",
            Self::UnprovenTail => "UNPROVEN-TAIL",
            Self::Incomplete => "INCOMPLETE",
            Self::Damaged => "DAMAGED",
        })
    }
}

/// A directory that is not there, and what the catalog has in it: nothing of it was judged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MissingDirectory {
    /// Its id.
    pub id: String,
    /// Where it should be.
    pub path: PathBuf,
    /// Why it is not there.
    pub reason: String,
    /// Collections that live there.
    pub collections: u64,
    /// Segments whose file is there.
    pub segments: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct VerifyReport {
    /// Whether nothing is damaged, nothing is missing that nobody acknowledged, and every end is proven (J5).
    pub ok: bool,
    /// The answer in one word.
    pub verdict: Verified,
    /// Records in live local segments, and unsealed ones.
    pub records: u64,
    /// Segments looked at.
    pub segments: u64,
    /// Journals read.
    pub journals: u64,
    /// What is damaged or missing; a loss that nobody acknowledged is that too.
    pub damaged: Vec<Damaged>,
    /// Acknowledged losses.
    pub gaps: Vec<Missing>,
    /// Directories that are not there.
    pub missing_directories: Vec<MissingDirectory>,
    /// Whole files that have no row: the next opening for writing adopts them. A seal under way leaves one for a moment.
    pub without_row: Vec<PathBuf>,
    /// Bytes behind the last proven group of a journal (J5).
    pub unproven_tail_bytes: u64,
    /// Bytes that recoveries dropped behind the ends of journals that are still there.
    pub dropped_tail_bytes: u64,
}

/// A verification under way.
struct Verifier<'a> {
    log: &'a Log,
    options: VerifyOptions,
    report: VerifyReport,
    losses: HashMap<CollectionName, Vec<LossRow>>,
    /// For each of the log's directories, its place among the report's missing ones.
    missing: Vec<Option<usize>>,
    progress: VerifyProgress,
    on_progress: &'a mut dyn FnMut(VerifyProgress),
}

impl Log {
    /// Proves that everything promised is there. Damage is part of the report, and no error.
    ///
    /// # Errors
    /// The catalog cannot be read at all.
    pub fn verify(&self, options: VerifyOptions) -> Result<VerifyReport> {
        self.verify_with(options, &mut |_| {})
    }

    /// As [`verify`](Self::verify), telling after each segment how far it has come.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(
        &self,
        options: VerifyOptions,
        on_progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<VerifyReport> {
        self.0.relook()?;
        let mut losses: HashMap<_, Vec<_>> = HashMap::new();
        for row in self.0.catalog.losses(None)? {
            losses.entry(row.collection.clone()).or_default().push(row);
        }
        let counts = self.0.catalog.counts()?;
        let segments_total = counts.iter().filter(|(status, _)| status.is_local()).map(|(_, count)| count).sum();
        let progress = VerifyProgress { segments_total, ..VerifyProgress::default() };
        let mut verifier = Verifier {
            log: self,
            options,
            report: VerifyReport::default(),
            losses,
            missing: Vec::new(),
            progress,
            on_progress,
        };
        verifier.find_missing();
        verifier.check_catalog()?;
        verifier.check_journals()?;
        for collection in self.0.all_collections() {
            verifier.check_collection(&collection)?;
        }
        verifier.find_files_without_row()?;
        Ok(verifier.finish())
    }
}

impl Log {
    /// By directory, why it is not there, where it is not.
    fn missing_directories(&self) -> Vec<Option<String>> {
        let places: Vec<(String, PathBuf)> = self.directories();
        let now = why_missing(&*self.0.fs, &places);
        let then = self.0.directories.iter().map(|directory| match directory.state() {
            DirectoryState::Missing(why) => Some(why),
            _ => None,
        });
        then.zip(now).map(|(then, now)| then.or(now)).collect()
    }
}

impl Verifier<'_> {
    fn find_missing(&mut self) {
        for (directory, why) in self.log.0.directories.iter().zip(self.log.missing_directories()) {
            self.missing.push(why.as_ref().map(|_| self.report.missing_directories.len()));
            self.report.missing_directories.extend(why.map(|reason| MissingDirectory {
                id: directory.id.clone(),
                path: directory.path.clone(),
                reason,
                collections: 0,
                segments: 0,
                bytes: 0,
            }));
        }
    }

    /// The report on the directory with this place in the log, where it is missing.
    fn missing(&mut self, directory: usize) -> Option<&mut MissingDirectory> {
        self.report.missing_directories.get_mut((*self.missing.get(directory)?)?)
    }

    fn check_catalog(&mut self) -> Result<()> {
        let path = self.log.0.catalog_path.clone().unwrap_or_else(|| PathBuf::from("catalog"));
        for reason in self.log.0.catalog.check()? {
            self.report.damaged.push(Damaged {
                path: path.clone(),
                collection: None,
                first_sequence: None,
                last_sequence: None,
                reason,
            });
        }
        Ok(())
    }

    /// Every sequence from the floor to the last written one is somewhere.
    fn check_collection(&mut self, collection: &Arc<Collection>) -> Result<()> {
        // Unsealed ones first: what a seal moves from here on is counted here.
        let (unsealed, written, floor) = {
            let state = collection.state();
            let runs = state.unsealed.runs().map(|run| (run.first, run.last(), run.count));
            (runs.collect::<Vec<_>>(), state.written, state.floor)
        };
        let name = collection.name();
        let floor = self.log.0.catalog.collection(name)?.map_or(floor, |row| row.floor.max(floor));
        let losses = self.losses.remove(name).unwrap_or_default();
        let mut there: Vec<(Sequence, Sequence)> = losses.iter().map(|loss| (loss.first, loss.last)).collect();
        let sealed = self.check_segments(name, &mut there)?;
        there.extend(unsealed.iter().map(|&(first, last, _)| (first, last)));
        let behind = unsealed.iter().filter(|(first, ..)| *first > sealed);
        self.report.records += behind.map(|(_, _, count)| count).sum::<u64>();
        there.sort_unstable();
        // What it has behind its segments may be in journals that are not here.
        let end = match self.missing(collection.directory()) {
            Some(missing) => {
                missing.collections += 1;
                written.min(sealed)
            }
            None => written,
        };
        self.find_holes(collection, floor, end, &there)?;
        for loss in losses.iter().filter(|loss| loss.last >= floor) {
            if loss.acknowledged.is_some() {
                self.report.gaps.push(loss.into());
            } else {
                let reason = format!("a loss that nobody acknowledged: {}", loss.reason);
                self.damaged(collection, loss.first, loss.last, reason);
            }
        }
        if self.options.deep
            && let Some(&(first, ..)) = unsealed.first()
        {
            self.read_unsealed(collection, first.max(floor), written)?;
        }
        Ok(())
    }

    fn damaged(&mut self, collection: &Collection, first: Sequence, last: Sequence, reason: String) {
        self.report.damaged.push(Damaged {
            path: self.log.0.directories[collection.directory()].path.clone(),
            collection: Some(collection.name().clone()),
            first_sequence: Some(first),
            last_sequence: Some(last),
            reason,
        });
    }

    fn find_holes(
        &mut self,
        collection: &Collection,
        floor: Sequence,
        written: Sequence,
        there: &[(Sequence, Sequence)],
    ) -> Result<()> {
        let mut at = floor;
        let end = [(written.next(), written.next())];
        for &(first, last) in there.iter().chain(&end) {
            while at < first && at <= written {
                if let Some(last) = self.look_again(collection, at)? {
                    at = last.next();
                    continue;
                }
                let behind = self.log.0.catalog.segments_from(collection.name(), at, 1)?;
                let hole_end = behind.first().map_or(first, |row| row.key.first.min(first)).previous().min(written);
                let reason = "records are missing, and no loss is on record".to_owned();
                self.damaged(collection, at, hole_end, reason);
                at = hole_end.next();
            }
            at = at.max(last.next());
        }
        Ok(())
    }

    /// Where a sequence was not found: the last one of the run or segment that does hold it. A compaction may have moved it while
    /// we paged through the rows, and a writer in another process to a cold journal.
    fn look_again(&self, collection: &Collection, at: Sequence) -> Result<Option<Sequence>> {
        let unsealed = || {
            let state = collection.state();
            state.unsealed.at_or_after(at).filter(|run| run.first <= at).map(crate::memtable::Run::last)
        };
        let looks = if self.log.0.companion.is_some() { LOOKS } else { 0 };
        for look in 0..=looks {
            if let Some(last) = unsealed() {
                return Ok(Some(last));
            }
            if let Some(row) = self.log.0.catalog.segment_holding(collection.name(), at)? {
                return Ok(Some(row.key.last));
            }
            if look < looks {
                self.log.0.relook()?;
            }
        }
        Ok(None)
    }

    /// Reads what was unsealed, wherever it is by now.
    fn read_unsealed(&mut self, collection: &Arc<Collection>, first: Sequence, last: Sequence) -> Result<()> {
        let options = ReadOptions { from: Some(first), until: Some(last), ..ReadOptions::default() };
        let mut reader = self.log.read(collection.name(), options)?;
        loop {
            let before = reader.position();
            match reader.try_next() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let reason = super::recover::journals::chain(&error);
                    let known = |damaged: &Damaged| {
                        damaged.collection.as_ref() == Some(collection.name())
                            && damaged.first_sequence.is_some_and(|first| first <= before)
                            && damaged.last_sequence.is_some_and(|last| last >= reader.position().previous())
                    };
                    if !self.report.damaged.iter().any(known) {
                        self.damaged(collection, before, reader.position().previous(), reason);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn finish(mut self) -> VerifyReport {
        self.report.verdict = if !self.report.damaged.is_empty() {
            Verified::Damaged
        } else if !self.report.missing_directories.is_empty() {
            Verified::Incomplete
        } else if self.report.unproven_tail_bytes > 0 {
            Verified::UnprovenTail
        } else if !self.report.gaps.is_empty() {
            Verified::OkWithGaps
        } else {
            Verified::Ok
        };
        self.report.ok = matches!(self.report.verdict, Verified::Ok | Verified::OkWithGaps);
        self.report
    }
}
