//! Restoring a log from its archive, onto a machine that has nothing but the URL (O8).
//!
//! - `told`: what manifests say, in the words of the catalog
//! - `rebuild`: the same into a catalog that is made anew, beside directories that are there (C6)
//! - `fetch`: the files, in parallel
//! - [`alone`]: an archive read without a log
//!
//! Owns: which segments come, where to, and that each is what its manifest says. Does not own: making the log's directories and catalog
//! ([`log::catalog::restore`](crate::log::catalog), which has the order of steps and why a crash between any two is safe).
//!
//! # What is restored
//!
//! Always the **whole catalog**: every collection with its floor, settings, holds, losses and gaps, every segment as `Evicted`. The log has the id
//! that it had; a higher epoch begins when it is opened. What is chosen (collections, sequences, times; nothing when lazy) are the segments whose files come
//! too, and whose rows become `Archived`. The others are read through the archive, or brought later, by `rehydrate`. A log that knew
//! only a part of its collections would give out sequences again that its archive has: so there is none.
//!
//! # What is lost, and said
//!
//! What was never archived is gone with the machine. What the manifests tell of it, sequences that were sealed and not yet archived, is
//! recorded as a loss, so that `verify` tells it until somebody acknowledges it, and no sequence is given out twice. What had been appended behind that is
//! unknown: the catalog's value [`RESTORED`] says from which manifest the log was restored. Sequences in the middle that
//! are neither in a segment nor on record as missing are recorded as a loss too.
//!
//! Objects that are missing or damaged stop nothing: they are listed, their segments stay `Evicted`. A store that does not answer ends the
//! restore, which goes on when it is called again.

pub mod alone;

mod fetch;
mod rebuild;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::archiver::noted::{MANIFEST, name_of};
use super::chain;
use super::manifest::{ManifestHead, ManifestMark};
use super::state::ArchiveState;
use crate::catalog::SegmentRow;
use crate::error::{Error, ErrorKind, Result};
use crate::log::LogOptions;
use crate::log::catalog::restore::{Beginning, Restoring};
use crate::objects::ObjectStore;
use crate::types::{CollectionName, Epoch, LogId, Sequence, Timestamp};

pub use rebuild::rebuild_catalog;
use told::from_archive;

/// The catalog's value that says what a log was restored from: JSON with `from`, `manifest`, `sha256`, `manifest_at`, `at`.
pub const RESTORED: &str = "restored";

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The archive.
    pub store: Arc<dyn ObjectStore>,
    /// Object stores that were homes of the log's segments, by their ids (A5). Those that the archive names and that are not here are left
    /// out, and told.
    pub remotes: BTreeMap<String, Arc<dyn ObjectStore>>,
    /// Where the log will be, and how. The directories are absent or empty, or hold what an earlier restore began.
    pub log: LogOptions,
    /// Only files of these collections; `None` for all.
    pub collections: Option<Vec<CollectionName>>,
    /// Only files with sequences from here on.
    pub from: Option<Sequence>,
    /// Only files with sequences up to here.
    pub until: Option<Sequence>,
    /// Only files that may hold records of this time or later.
    pub from_time: Option<Timestamp>,
    /// Only files that may hold records of this time or earlier.
    pub until_time: Option<Timestamp>,
    /// No file at all: records come by reading through.
    pub lazy: bool,
    /// Files that are fetched at the same time; each takes 4 MiB of memory.
    pub threads: usize,
}

impl RestoreOptions {
    /// Everything in `store`, as `log` says.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, log: LogOptions) -> Self {
        Self {
            store,
            remotes: BTreeMap::new(),
            log,
            collections: None,
            from: None,
            until: None,
            from_time: None,
            until_time: None,
            lazy: false,
            threads: 4,
        }
    }

    fn wants(&self, row: &SegmentRow) -> bool {
        !self.lazy
            && self.collections.as_ref().is_none_or(|names| names.contains(&row.key.collection))
            && self.from.is_none_or(|from| row.key.last >= from)
            && self.until.is_none_or(|until| row.key.first <= until)
            && self.from_time.is_none_or(|from| row.timestamp_max >= from)
            && self.until_time.is_none_or(|until| row.timestamp_min <= until)
    }
}

/// How far a restore has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreProgress {
    /// Segments that are here.
    pub segments: u64,
    /// Segments that will be.
    pub segments_total: u64,
    /// Bytes of those that are here.
    pub bytes: u64,
    /// Bytes of those that will be.
    pub bytes_total: u64,
}

/// A segment that could not be restored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NotRestored {
    /// The collection.
    pub collection: CollectionName,
    /// Its first sequence.
    pub first_sequence: Sequence,
    /// Its last sequence.
    pub last_sequence: Sequence,
    /// The key of its object.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The log.
    pub log: LogId,
    /// The manifest that it was restored from: what was archived later is not there, and what was never archived is unknown.
    pub manifest: ManifestMark,
    /// When that was written.
    pub manifest_at: Timestamp,
    /// Whether an earlier restore was gone on with.
    pub is_resumed: bool,
    /// Collections that the log has.
    pub collections: u64,
    /// Segments whose files are here.
    pub segments: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Segments that are in the archive only.
    pub segments_away: u64,
    /// Bytes of these.
    pub bytes_away: u64,
    /// What should have come and could not.
    pub failed: Vec<NotRestored>,
    /// Losses that this restore recorded: collection, first and last sequence.
    pub losses: Vec<(CollectionName, Sequence, Sequence)>,
    /// Ids and URLs of homes that were not given: what only they hold is not known to the restored log.
    pub remotes_left_out: Vec<(String, String)>,
    /// What manifests say against each other.
    pub problems: Vec<String>,
}

/// An archive, or a home of segments, as it was read.
struct Place {
    /// The id of a home; `None` for the archive.
    remote: Option<String>,
    store: Arc<dyn ObjectStore>,
    state: ArchiveState,
}

impl Place {
    fn read(remote: Option<String>, store: &Arc<dyn ObjectStore>) -> Result<Self> {
        Ok(Self { remote, store: Arc::clone(store), state: chain::state(&**store)? })
    }

    /// The catalog's value with the newest manifest: who archives there next takes over from it.
    fn newest_as_value(&self) -> Option<(String, String)> {
        let mark = serde_json::to_string(self.state.mark()?).expect("numbers and text");
        Some((name_of(MANIFEST, self.remote.as_deref()), mark))
    }
}

/// A log whose catalog is restored.
struct Begun {
    restoring: Restoring,
    head: ManifestHead,
    mark: ManifestMark,
    collections: u64,
    losses: Vec<(CollectionName, Sequence, Sequence)>,
    remotes_left_out: Vec<(String, String)>,
    problems: Vec<String>,
    stores: BTreeMap<Option<String>, Arc<dyn ObjectStore>>,
}

/// Restores a log; `progress` is told after each segment. Killed at any point, it goes on when it is called again.
///
/// # Errors
/// `NotFound` where there is no archive; `Conflict` where a directory holds anything else; `Corrupt` where manifests are damaged so that no checkpoint
/// helps; what the stores, the disk or the catalog said.
pub fn restore(options: &RestoreOptions, progress: &mut dyn FnMut(RestoreProgress)) -> Result<Restored> {
    let begun = begin(options, None)?;
    let fetched = fetch::all(options, &begun.restoring, &begun.stores, progress)?;
    let restored = Restored {
        log: begun.head.log,
        manifest: begun.mark,
        manifest_at: begun.head.at,
        is_resumed: begun.restoring.is_resumed,
        collections: begun.collections,
        segments: fetched.segments,
        bytes: fetched.bytes,
        segments_away: fetched.segments_away,
        bytes_away: fetched.bytes_away,
        failed: fetched.failed,
        losses: begun.losses,
        remotes_left_out: begun.remotes_left_out,
        problems: begun.problems,
    };
    begun.restoring.finish()?;
    Ok(restored)
}

/// Restores the catalog; `only` these collections, where nobody will ever write to the log.
fn begin(options: &RestoreOptions, only: Option<&[CollectionName]>) -> Result<Begun> {
    let archive = Place::read(None, &options.store)?;
    let Some((head, mark)) = archive.state.head().zip(archive.state.mark()) else {
        let message = format!("there is no archive: store=`{}`", options.store.place());
        return Err(Error::new(ErrorKind::NotFound, message).with_hint("is the url right, with its prefix?"));
    };
    let (head, mark): (ManifestHead, ManifestMark) = (head.clone(), *mark);
    let mut places = vec![archive];
    let mut remotes_left_out = Vec::new();
    for (id, url) in places[0].state.remotes().clone() {
        match options.remotes.get(&id) {
            Some(store) => places.push(Place::read(Some(id), store)?),
            None => remotes_left_out.push((id, url)),
        }
    }
    let now = options.log.clock.now();
    let epoch = places.iter().map(|place| place.state.epoch_max()).max().unwrap_or_default();
    let names: BTreeSet<CollectionName> = places
        .iter()
        .flat_map(|place| place.state.collections().keys().cloned())
        .filter(|name| only.is_none_or(|only| only.contains(name)))
        .collect();
    let mut losses = Vec::new();
    let mut collections = names.iter().map(|name| {
        let states = places.iter().map(|place| (place.remote.as_deref(), &place.state));
        let mut told = from_archive(name, states, now);
        let lost = told::add_lost(&mut told, &mark, now);
        losses.extend(lost.into_iter().map(|(first, last)| (name.clone(), first, last)));
        told
    });
    let note = serde_json::json!({
        "from": options.store.place(),
        "manifest": mark.number,
        "sha256": crate::types::ids::hex(&mark.sha256),
        "manifest_at": head.at.to_string(),
        "at": now.to_string(),
    });
    let restoring = Restoring::begin(
        &options.log,
        Beginning {
            log: head.log,
            epoch: Epoch(epoch.0),
            from: options.store.place(),
            remotes: places[0].state.remotes().iter().map(|(id, url)| (id.clone(), url.clone())).collect(),
            values: std::iter::once((RESTORED.to_owned(), note.to_string()))
                .chain(places.iter().filter_map(Place::newest_as_value))
                .collect(),
            collections: &mut collections,
        },
    )?;
    drop(collections);
    // What the rows need is in the catalog by now: the states are not kept beside it.
    Ok(Begun {
        restoring,
        head,
        mark,
        collections: names.len() as u64,
        losses,
        remotes_left_out,
        problems: places.iter().flat_map(|place| place.state.problems()).cloned().collect(),
        stores: places.into_iter().map(|place| (place.remote, place.store)).collect(),
    })
}

#[cfg(test)]
pub(super) mod tests;
