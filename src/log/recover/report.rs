//! What recovery found and does, for people and programs.

use std::path::PathBuf;

use super::Looked;
use super::journals::FoundJournals;
use super::segments::{Contested, FoundSegments, Unjudged};
use crate::log::damage::Damaged;
use crate::types::{CollectionName, Sequence};

/// Sequences that are missing and were not on record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LossReport {
    /// The collection.
    pub collection: CollectionName,
    /// First missing sequence.
    pub first_sequence: Sequence,
    /// Last missing sequence.
    pub last_sequence: Sequence,
}

/// One thing to do, with the label of the recovery table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// The table's label.
    pub action: &'static str,
    /// The file it is about.
    pub path: PathBuf,
    /// The collection.
    pub collection: CollectionName,
    /// First sequence.
    pub first_sequence: Sequence,
    /// Last sequence.
    pub last_sequence: Sequence,
    /// Why.
    pub reason: String,
}

/// What recovery found and does.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Journals read.
    pub journals: u64,
    /// Rows of segments compared with their files.
    pub segments: u64,
    /// Collections known.
    pub collections: u64,
    /// Records in journals that are in no segment yet.
    pub unsealed_records: u64,
    /// Things to do.
    pub steps: Vec<Step>,
    /// Directories that are not there, and what the catalog has in each: nothing of it is judged (A3).
    pub missing_directories: Vec<Unjudged>,
    /// Collections that were found in several directories, where neither the catalog nor a MOVE says in which they live.
    pub contested: Vec<Contested>,
    /// Avro files that are none of ours: left alone.
    pub foreign: Vec<PathBuf>,
    /// Damage, old and new.
    pub damaged: Vec<Damaged>,
    /// Losses that were not on record.
    pub losses: Vec<LossReport>,
    /// Bytes behind the last proven group of a journal, not judged by an earlier recovery: a write that a crash cut
    /// short, or damage where nothing had proved a sync yet (J5).
    pub unproven_tail_bytes: u64,
    /// Bytes that earlier recoveries dropped behind the ends of journals that are still there.
    pub dropped_tail_bytes: u64,
    /// The catalog's file was not there, though the log is not new: an empty one was made, and what the directories hold was put
    /// into it (C6).
    pub catalog_was_missing: bool,
    /// The catalog is older than the journals say: an old copy was put back, or it was missing (C3).
    pub catalog_is_old: bool,
    /// What became of asking the archive what it has, where the catalog could not know all of it (C7); `None` where nothing had to be
    /// asked, or there is no archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_asked: Option<ArchiveAsked>,
}

/// What became of asking the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveAsked {
    /// Whether it answered in time.
    pub answered: bool,
    /// Collections of which it has sequences behind everything that was found here: they go on behind these.
    pub collections: u64,
    /// Why it did not answer. Sequences that only it has may be given out again until it was asked; the next opening does.
    pub error: Option<String>,
}

pub(super) fn report_journals(journals: &[FoundJournals], report: &mut Report) {
    for found in journals {
        report.journals += found.journals.len() as u64;
        for unreadable in &found.unreadable {
            report.damaged.push(Damaged {
                path: unreadable.path.clone(),
                collection: None,
                first_sequence: None,
                last_sequence: None,
                reason: format!("cannot be read: {}", unreadable.reason),
            });
        }
        for journal in &found.journals {
            report.dropped_tail_bytes += journal.dropped_bytes();
            report.unproven_tail_bytes += journal.unproven_bytes();
            for damage in &journal.scan.damage {
                let at = |collection, first_sequence, last_sequence| Damaged {
                    path: journal.file.path.clone(),
                    collection,
                    first_sequence,
                    last_sequence,
                    reason: format!("{}, offset=`{}`, bytes=`{}`", damage.reason, damage.offset, damage.bytes),
                };
                if damage.lost.is_empty() {
                    report.damaged.push(at(None, None, None));
                }
                for lost in &damage.lost {
                    report.damaged.push(at(Some(lost.collection.clone()), Some(lost.first), Some(lost.last())));
                }
            }
        }
    }
}

pub(super) fn report_segments(looked: &Looked<'_>, segments: &FoundSegments, report: &mut Report) {
    report.foreign.clone_from(&segments.foreign);
    report.missing_directories.clone_from(&segments.unjudged);
    for missing in &mut report.missing_directories {
        let state = missing.index.and_then(|index| looked.states[index].reason());
        missing.reason = missing.reason.take().or_else(|| state.map(str::to_owned));
    }
    for finding in &segments.findings {
        report.steps.push(Step {
            action: finding.action.label(),
            path: finding.path.clone(),
            collection: finding.key.collection.clone(),
            first_sequence: finding.key.first,
            last_sequence: finding.key.last,
            reason: finding.reason.clone(),
        });
        if finding.is_damage() {
            report.damaged.push(Damaged {
                path: finding.damaged_path().to_path_buf(),
                collection: Some(finding.key.collection.clone()),
                first_sequence: Some(finding.key.first),
                last_sequence: Some(finding.key.last),
                reason: finding.reason.clone(),
            });
        }
    }
}
