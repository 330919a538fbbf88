//! What an operator needs to know at a glance.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Missing;
use crate::catalog::{Engine, MirrorStatus};
use crate::error::Result;
use crate::log::identity::Identity;
use crate::log::read::JournalInfo;
use crate::log::recover::journals::{self, FoundJournals};
use crate::log::{DirectoryState, Log, SyncMode};
use crate::types::{ChangeNumber, CollectionName};

/// One directory of the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DirectoryStatus {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is good for: `healthy`, `drained`, `failed`, `missing`.
    pub state: String,
    /// Why it is not healthy, where there is more to say.
    pub reason: Option<String>,
    /// Bytes that can still be written; `None` where the system does not say.
    pub free_bytes: Option<u64>,
    /// A write or sync failed: it takes no appends until the log is opened again (J7).
    pub poisoned: bool,
    /// Journals that cannot be read now, and why.
    pub unreadable: Vec<String>,
}

/// A collection that takes no appends.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CollectionRefusing {
    /// The collection.
    pub collection: CollectionName,
    /// Why.
    pub reason: String,
}

/// The state of a log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// The log's id.
    pub log: String,
    /// The number of the newest opening by a writer.
    pub epoch: u64,
    /// Whether this process writes to it; else it reads beside a writer, or without one.
    pub writing: bool,
    /// When appends return; `None` where it is open to read only.
    pub sync_mode: Option<String>,
    /// What keeps the catalog; `None` where it is in no file.
    pub catalog: Option<Engine>,
    /// Newest change of the catalog.
    pub change_number: ChangeNumber,
    /// How far the catalog's mirror has come; `None` without one.
    pub mirror: Option<MirrorStatus>,
    /// Directories.
    pub directories: Vec<DirectoryStatus>,
    /// Collections.
    pub collections: u64,
    /// Collections that take no appends.
    pub refusing: Vec<CollectionRefusing>,
    /// Segments by status.
    pub segments: BTreeMap<String, u64>,
    /// Records in no segment yet.
    pub unsealed_records: u64,
    /// Their bytes, as the limit counts them.
    pub unsealed_bytes: u64,
    /// Limit of those (`limits.unsealed_bytes`).
    pub unsealed_bytes_max: u64,
    /// Bytes of unsealed records in memory, as the limit counts them.
    pub memtable_bytes: u64,
    /// Limit of those (`limits.memtable_bytes`).
    pub memtable_bytes_max: u64,
    /// Why sealing does not get on, where it does not: appends will be refused when a limit is reached.
    pub sealing_fails: Option<String>,
    /// Journals, and what keeps each from being released.
    pub journals: Vec<JournalInfo>,
    /// Bytes behind the last proven group of a journal (J5).
    pub unproven_tail_bytes: u64,
    /// Bytes that recoveries dropped behind the ends of journals that are still there.
    pub dropped_tail_bytes: u64,
    /// Losses that nobody has acknowledged.
    pub losses: Vec<Missing>,
    /// Acknowledged ones.
    pub gaps: Vec<Missing>,
}

impl Log {
    /// The state of the log. Reads the journals that are not released.
    ///
    /// # Errors
    /// The catalog cannot be read. A directory that cannot is named.
    pub fn status(&self) -> Result<Status> {
        let log = &self.0;
        let (memtable_bytes, unsealed_bytes) = log.budget.used();
        let mut directories = Vec::new();
        let (mut unproven_tail_bytes, mut dropped_tail_bytes) = (0, 0);
        let mut epoch = log.epoch.0;
        for (directory, missing) in log.directories.iter().zip(self.missing_directories()) {
            let state = missing.map_or_else(|| directory.state(), DirectoryState::Missing);
            // One that is missing is no place to look: another disk may be there.
            let found = match state {
                DirectoryState::Missing(_) => FoundJournals::default(),
                _ => journals::find(&*log.fs, &directory.path, false)?,
            };
            unproven_tail_bytes += found.journals.iter().map(journals::FoundJournal::unproven_bytes).sum::<u64>();
            dropped_tail_bytes += found.journals.iter().map(journals::FoundJournal::dropped_bytes).sum::<u64>();
            let identity = Identity::read(&*log.fs, &directory.path).ok().flatten();
            let identity = identity.filter(|_| !matches!(state, DirectoryState::Missing(_)));
            epoch = epoch.max(identity.map_or(0, |identity| identity.epoch));
            directories.push(DirectoryStatus {
                id: directory.id.clone(),
                path: directory.path.clone(),
                state: state.word().to_owned(),
                reason: state.reason().map(str::to_owned),
                free_bytes: log.fs.free_bytes(&directory.path).ok(),
                poisoned: directory.journal.as_ref().is_some_and(crate::journal::Journal::is_poisoned),
                unreadable: found
                    .unreadable
                    .iter()
                    // Released while we looked is not unreadable.
                    .filter(|unreadable| log.fs.metadata(&unreadable.path).is_ok())
                    .map(|unreadable| format!("{}: {}", unreadable.path.display(), unreadable.reason))
                    .chain(found.unlistable.clone())
                    .collect(),
            });
        }
        let mut refusing = Vec::new();
        let mut unsealed_records = 0;
        let all = log.all_collections();
        for collection in &all {
            let state = collection.state();
            unsealed_records += state.unsealed.records();
            if let Some(reason) = state.refuses.as_ref().filter(|_| !collection.life.is_hidden()) {
                refusing.push(CollectionRefusing { collection: collection.name().clone(), reason: reason.clone() });
            }
        }
        let missing: Vec<Missing> = log.catalog.losses(None)?.iter().map(Missing::from).collect();
        let (gaps, losses) = missing.into_iter().partition(|missing| missing.acknowledged_by.is_some());
        let counts = log.catalog.counts()?.into_iter().filter(|(_, count)| *count > 0);
        Ok(Status {
            log: log.log_id.to_string(),
            epoch,
            writing: log.is_writable(),
            sync_mode: log.is_writable().then(|| SyncMode::to_string(&log.sync_mode())),
            catalog: log.catalog.engine(),
            change_number: log.catalog.change_number()?,
            mirror: log.mirror.status(&*log.catalog),
            directories,
            collections: all.iter().filter(|known| !known.life.is_hidden()).count() as u64,
            refusing,
            segments: counts.map(|(status, count)| (status.to_string(), count)).collect(),
            unsealed_records,
            unsealed_bytes,
            unsealed_bytes_max: log.limits.unsealed_bytes,
            memtable_bytes,
            memtable_bytes_max: log.limits.memtable_bytes,
            sealing_fails: log.budget.stuck(),
            journals: self.journals()?,
            unproven_tail_bytes,
            dropped_tail_bytes,
            losses,
            gaps,
        })
    }
}
