//! Restoring a log from its archive, onto a machine that has nothing but the URL (O8).
//!
//! - `told`: what manifests say, in the words of the catalog
//! - `rebuild`: the same into a catalog that is made anew, beside directories that are there (C6)
//! - `fetch`: the files, in parallel; `stubs`: what stands for those that stay in the archive
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
//! Manifests that are missing or damaged stop a restore, unless it is to [`salvage`](RestoreOptions::salvage) what can be proven without
//! them ([`salvage`](mod@super::salvage)).
//!
//! Objects that are missing or damaged stop nothing: they are listed, their segments stay `Evicted`. A store that does not answer ends the
//! restore, which goes on when it is called again; but of a home that is not needed: it was forgotten since it was named.

pub mod alone;

mod fetch;
mod rebuild;
mod stubs;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::archiver::homes::{self, HOMES};
use super::archiver::noted::{MANIFEST, Noted, name_of};
use super::manifest::ManifestMark;
use super::salvage::anew::Broken;
use super::salvage::{self, Salvage};
use super::state::{ArchiveState, holes};
use super::{ArchiveReader, ReaderOptions, chain};
use crate::catalog::{Catalog, LossRow, SegmentRow};
use crate::error::{Error, ErrorKind, Result};
use crate::log::LogOptions;
use crate::log::catalog::restore::{Beginning, FromArchive, Restoring};
use crate::objects::ObjectStore;
use crate::types::{CollectionName, Epoch, LogId, Sequence, Timestamp};

pub use rebuild::{rebuild_catalog, rebuild_catalog_salvaging};
use told::from_archive;

/// Homes by their ids.
type HomeStores = BTreeMap<String, Arc<dyn ObjectStore>>;

/// The catalog's value that says what a log was restored from: JSON with `from`, `manifest`, `sha256`, `manifest_at`, `manifest_at_us`, `at`; where it was salvaged, also
/// `unreadable` (first and last number of manifests that could not be read) and `unnamed` (how many segments came back that no manifest names).
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
    /// Where manifests are damaged or missing, restores what can be proven without them.
    pub salvage: bool,
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
            salvage: false,
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
    /// The newest manifest that it was restored from: what was archived later is not there, and what was never archived is unknown. `None` where
    /// everything was salvaged without any.
    pub manifest: Option<ManifestMark>,
    /// When that was written.
    pub manifest_at: Option<Timestamp>,
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
    /// Ids and URLs of homes that do not answer, and of which nothing is known that they would hold: the restored log does not have them.
    pub remotes_gone: Vec<(String, String)>,
    /// What manifests say against each other.
    pub problems: Vec<String>,
    /// What could not be read, and what came back all the same; `None` where that was not asked for.
    pub salvage: Option<Salvage>,
}

/// An archive, or a home of segments, as it was read.
struct Place {
    /// The id of a home; `None` for the archive.
    remote: Option<String>,
    store: Arc<dyn ObjectStore>,
    state: ArchiveState,
    /// Its manifests cannot be continued.
    broken: Option<Broken>,
    /// The highest sequences that it showed beside what it has.
    ends: BTreeMap<CollectionName, Sequence>,
}

/// All of them, the archive first.
struct Places {
    all: Vec<Place>,
    log: LogId,
    /// Ids and URLs of homes that were not given.
    left_out: Vec<(String, String)>,
    /// Ids and URLs of homes that do not answer, and hold nothing that is known.
    gone: Vec<(String, String)>,
    salvage: Option<Salvage>,
}

impl Places {
    /// Those that manifests tell everything of. With `every_remote` those that the archive does not name are read too.
    fn read(
        store: &Arc<dyn ObjectStore>,
        remotes: &BTreeMap<String, Arc<dyn ObjectStore>>,
        every_remote: bool,
    ) -> Result<Self> {
        let place = |remote: Option<String>, store: &Arc<dyn ObjectStore>| -> Result<Place> {
            let state = chain::state(&**store)?;
            Ok(Place { remote, store: Arc::clone(store), state, broken: None, ends: BTreeMap::new() })
        };
        let archive = place(None, store)?;
        let Some(log) = archive.state.log() else { return Err(no_archive(&**store)) };
        let (given, left_out) = Self::homes(&archive.state, remotes, every_remote);
        let (mut all, mut silent) = (vec![archive], Vec::new());
        for (id, store) in given {
            match place(Some(id.clone()), &store) {
                Ok(place) => all.push(place),
                Err(error) => silent.push((id, error)),
            }
        }
        let mut places = Self { all, log, left_out, gone: Vec::new(), salvage: None };
        for (id, error) in silent {
            places.do_without(id, error)?;
        }
        Ok(places)
    }

    /// Leaves a home out that does not answer, where nothing says that it holds anything: no collection is at home in it, and without it no
    /// sequence is missing (but of a salvage, which goes without). It was forgotten, and the archive was not told since.
    ///
    /// # Errors
    /// What its store said, where it may hold something.
    fn do_without(&mut self, id: String, error: Error) -> Result<()> {
        let is_silent = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::NotFound);
        let is_home = |place: &Place| {
            let mut entries = place.state.collections().values().filter_map(|collection| collection.entry.as_ref());
            entries.any(|entry| entry.home.as_ref() == Some(&id))
        };
        let is_whole = |name: &CollectionName| {
            let told = self.tell(name, Timestamp(0));
            let covered = told.segments.iter().map(|row| (row.key.first, row.key.last));
            let covered = covered.chain(told.losses.iter().map(|loss| (loss.first, loss.last)));
            holes(told.floor, told.end, covered.collect()).is_empty()
        };
        let archive = &self.all[0];
        let is_needed = !is_silent
            || self.all.iter().any(is_home)
            || if self.salvage.is_some() { archive.broken.is_some() } else { !self.names().iter().all(is_whole) };
        if is_needed {
            let message = format!("a home of segments cannot be read, and may hold some: id=`{id}`");
            let hint = "bring it back; or `--salvage` goes without one in which no collection is at home any more";
            return Err(Error::new(error.kind(), message).with_source(error).with_hint(hint));
        }
        let url = archive.state.remotes().get(&id).cloned().unwrap_or_default();
        tracing::warn!(id, url, %error, "a home of segments does not answer, and holds nothing that is known: it is left out");
        self.gone.push((id, url));
        Ok(())
    }

    /// The same, as far as it can be proven.
    fn salvage(
        store: &Arc<dyn ObjectStore>,
        remotes: &BTreeMap<String, Arc<dyn ObjectStore>>,
        every_remote: bool,
        threads: usize,
    ) -> Result<Self> {
        let archive = salvage::read(&**store, None, threads)?;
        // Where no manifest names the homes any more, those count that are given.
        let every_remote = every_remote || !archive.is_whole();
        let (given, left_out) = Self::homes(&archive.state, remotes, every_remote);
        let (mut founds, mut stores) = (vec![archive], vec![(None, Arc::clone(store))]);
        let mut silent = Vec::new();
        for (id, store) in given {
            match salvage::read(&*store, Some(&id), threads) {
                Ok(found) => {
                    founds.push(found);
                    stores.push((Some(id), store));
                }
                Err(error) => silent.push((id, error)),
            }
        }
        let (log, salvage) = salvage::settle(&mut founds).map_err(|logs| {
            let logs: Vec<String> = logs.iter().map(ToString::to_string).collect();
            let message = format!(
                "no manifest can be read, and objects are of several logs: store=`{}`, logs=`{}`",
                store.place(),
                logs.join(", ")
            );
            Error::new(ErrorKind::Conflict, message).with_hint("copy those of one log to a prefix of their own")
        })?;
        let log = log.ok_or_else(|| no_archive(&**store))?;
        let place = |(found, (remote, store)): (salvage::Found, (Option<String>, Arc<dyn ObjectStore>))| {
            let broken = Broken::of(&found);
            Place { remote, store, state: found.state, broken, ends: found.ends }
        };
        let all = founds.into_iter().zip(stores).map(place).collect();
        let mut places = Self { all, log, left_out, gone: Vec::new(), salvage: Some(salvage) };
        for (id, error) in silent {
            places.do_without(id, error)?;
        }
        Ok(places)
    }

    fn homes(
        archive: &ArchiveState,
        given: &BTreeMap<String, Arc<dyn ObjectStore>>,
        every_remote: bool,
    ) -> (HomeStores, Vec<(String, String)>) {
        let named = archive.remotes();
        let mut homes = given.clone();
        homes.retain(|id, _| every_remote || named.contains_key(id));
        let left_out = named.iter().filter(|(id, _)| !given.contains_key(*id));
        let left_out = left_out.map(|(id, url)| (id.clone(), url.clone())).collect();
        (homes, left_out)
    }

    fn names(&self) -> BTreeSet<CollectionName> {
        let names = |place: &Place| -> Vec<CollectionName> {
            place.state.collections().keys().chain(place.ends.keys()).cloned().collect()
        };
        self.all.iter().flat_map(names).collect()
    }

    /// What all of them together tell of a collection.
    fn tell(&self, name: &CollectionName, now: Timestamp) -> FromArchive {
        let states = self.all.iter().map(|place| (place.remote.as_deref(), &place.state));
        let mut told = from_archive(name, states, now);
        let ends = self.all.iter().filter_map(|place| place.ends.get(name).copied());
        told.end = ends.fold(told.end, Ord::max);
        told
    }

    /// What the catalog is to know of their manifests.
    fn values(&self) -> Vec<(String, String)> {
        let homes = (HOMES.to_owned(), homes::text(self.all[0].state.remotes()));
        self.all.iter().filter_map(Place::newest_as_value).chain([homes]).collect()
    }
}

fn no_archive(store: &dyn ObjectStore) -> Error {
    let message = format!("there is no archive: store=`{}`", store.place());
    Error::new(ErrorKind::NotFound, message).with_hint("is the url right, with its prefix?")
}

impl Place {
    /// The catalog's value with the newest manifest, from which who archives there next takes over; or that the chain is to begin anew.
    fn newest_as_value(&self) -> Option<(String, String)> {
        if let Some(broken) = &self.broken {
            return Some(broken.value(self.remote.as_deref()));
        }
        let mark = serde_json::to_string(self.state.mark()?).expect("numbers and text");
        Some((name_of(MANIFEST, self.remote.as_deref()), mark))
    }
}

/// A log whose catalog is restored.
struct Begun {
    restoring: Restoring,
    log: LogId,
    manifest: Option<(ManifestMark, Timestamp)>,
    collections: u64,
    losses: Vec<(CollectionName, Sequence, Sequence)>,
    remotes_left_out: Vec<(String, String)>,
    remotes_gone: Vec<(String, String)>,
    problems: Vec<String>,
    salvage: Option<Salvage>,
    stores: BTreeMap<Option<String>, Arc<dyn ObjectStore>>,
}

impl Begun {
    /// Its stores, to read segments by range.
    fn reader(&self) -> ArchiveReader {
        let archive = self.stores.get(&None).cloned();
        let mut reader = ArchiveReader::new(archive, ReaderOptions { cache_bytes: 0 });
        for (remote, store) in &self.stores {
            if let Some(remote) = remote {
                reader = reader.with_remote(remote.clone(), Arc::clone(store));
            }
        }
        reader
    }
}

/// Restores a log; `progress` is told after each segment. Killed at any point, it goes on when it is called again.
///
/// # Errors
/// `NotFound` where there is no archive; `Conflict` where a directory holds anything else, or a salvage finds several logs; `Corrupt` where manifests are
/// damaged so that no checkpoint helps, and nothing is to be salvaged; what the stores, the disk or the catalog said.
pub fn restore(options: &RestoreOptions, progress: &mut dyn FnMut(RestoreProgress)) -> Result<Restored> {
    let begun = begin(options, None)?;
    let archive = begun.reader();
    let fetched = fetch::all(options, &begun.restoring, &archive, progress)?;
    stubs::leave(options, &begun.restoring, &archive)?;
    let restored = Restored {
        log: begun.log,
        manifest: begun.manifest.map(|(mark, _)| mark),
        manifest_at: begun.manifest.map(|(_, at)| at),
        is_resumed: begun.restoring.is_resumed,
        collections: begun.collections,
        segments: fetched.segments,
        bytes: fetched.bytes,
        segments_away: fetched.segments_away,
        bytes_away: fetched.bytes_away,
        failed: fetched.failed,
        losses: begun.losses,
        remotes_left_out: begun.remotes_left_out,
        remotes_gone: begun.remotes_gone,
        problems: begun.problems,
        salvage: begun.salvage,
    };
    begun.restoring.finish()?;
    Ok(restored)
}

/// Restores the catalog; `only` these collections, where nobody will ever write to the log.
fn begin(options: &RestoreOptions, only: Option<&[CollectionName]>) -> Result<Begun> {
    let places = if options.salvage {
        Places::salvage(&options.store, &options.remotes, false, options.threads)?
    } else {
        Places::read(&options.store, &options.remotes, false)?
    };
    let now = options.log.clock.now();
    let archive = &places.all[0].state;
    let manifest = archive.head().zip(archive.mark()).map(|(head, mark)| (*mark, head.at));
    let epoch = places.all.iter().map(|place| place.state.epoch_max()).max().unwrap_or_default();
    let mut names = places.names();
    names.retain(|name| only.is_none_or(|only| only.contains(name)));
    let mut losses = Vec::new();
    let from = told::Source { manifest: manifest.map(|(mark, _)| mark.number), salvage: places.salvage.as_ref() };
    let mut collections = names.iter().map(|name| {
        let mut told = places.tell(name, now);
        let lost = told::add_lost(&mut told, &from, now);
        losses.extend(lost.into_iter().map(|(first, last)| (name.clone(), first, last)));
        told
    });
    let is_gone = |id: &String| places.gone.iter().any(|(gone, _)| gone == id);
    let remotes = archive.remotes().iter().filter(|(id, _)| !is_gone(id));
    let remotes = remotes.map(|(id, url)| (id.clone(), url.clone())).collect();
    let note = note(options, manifest, places.salvage.as_ref(), now);
    let restoring = Restoring::begin(
        &options.log,
        Beginning {
            log: places.log,
            epoch: Epoch(epoch.0),
            from: options.store.place(),
            remotes,
            values: std::iter::once((RESTORED.to_owned(), note)).chain(places.values()).collect(),
            collections: &mut collections,
        },
    )?;
    drop(collections);
    let (manifest, losses) =
        if restoring.is_resumed { of_first_run(&*restoring.catalog, manifest)? } else { (manifest, losses) };
    // What the rows need is in the catalog by now: the states are not kept beside it.
    Ok(Begun {
        restoring,
        log: places.log,
        manifest,
        collections: names.len() as u64,
        losses,
        remotes_left_out: places.left_out,
        remotes_gone: places.gone,
        problems: places.all.iter().flat_map(|place| place.state.problems()).cloned().collect(),
        salvage: places.salvage,
        stores: places.all.into_iter().map(|place| (place.remote, place.store)).collect(),
    })
}

/// What a manifest is, and when it was written.
type Told = Option<(ManifestMark, Timestamp)>;
/// Collection, first and last sequence.
type Losses = Vec<(CollectionName, Sequence, Sequence)>;

/// The manifest that an earlier run of this restore made the catalog from, and the losses that it recorded: there may be a newer manifest by now.
fn of_first_run(catalog: &dyn Catalog, newest: Told) -> Result<(Told, Losses)> {
    let Some(note) = catalog.meta(RESTORED)? else { return Ok((newest, Vec::new())) };
    let note: serde_json::Value = serde_json::from_str(&note).map_err(|error| {
        let message = format!("a value of the catalog cannot be read: name=`{RESTORED}`");
        Error::new(ErrorKind::Corrupt, message).with_source(error)
    })?;
    let is_it = |mark: &ManifestMark| note["manifest"] == mark.number.get();
    let manifest = match newest.filter(|(mark, _)| is_it(mark)) {
        Some(newest) => Some(newest),
        None => {
            let noted = Noted::read(catalog, None)?.map(|noted| noted.mark).filter(is_it);
            noted.zip(note["manifest_at_us"].as_i64().map(Timestamp))
        }
    };
    // They were found when it was noted.
    let is_of_it = |loss: &LossRow| note["at"] == loss.found_at.to_string() && loss.reason.starts_with(told::RESTORED);
    let losses = catalog.losses(None)?.into_iter().filter(is_of_it);
    Ok((manifest, losses.map(|loss| (loss.collection, loss.first, loss.last)).collect()))
}

/// What the catalog keeps of where it came from.
fn note(
    options: &RestoreOptions,
    manifest: Option<(ManifestMark, Timestamp)>,
    salvage: Option<&Salvage>,
    now: Timestamp,
) -> String {
    let mut note = serde_json::json!({
        "from": options.store.place(),
        "manifest": manifest.map(|(mark, _)| mark.number),
        "sha256": manifest.map(|(mark, _)| crate::types::ids::hex(&mark.sha256)),
        "manifest_at": manifest.map(|(_, at)| at.to_string()),
        "manifest_at_us": manifest.map(|(_, at)| at.micros()),
        "at": now.to_string(),
    });
    if let Some(salvage) = salvage {
        let unreadable = salvage.unreadable.iter().map(|unreadable| (unreadable.first, unreadable.last));
        note["unreadable"] = serde_json::json!(unreadable.collect::<Vec<_>>());
        note["unnamed"] = salvage.unnamed.len().into();
    }
    note.to_string()
}

#[cfg(test)]
pub(super) mod tests;
