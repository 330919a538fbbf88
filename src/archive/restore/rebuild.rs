//! The catalog made anew from the directories and the archive (C6).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Places;
use crate::archive::salvage::Salvage;
use crate::error::Result;
use crate::log::catalog::RebuildReport;
use crate::log::catalog::rebuild::Archived;
use crate::log::{Log, LogOptions};
use crate::objects::ObjectStore;

/// Objects that are examined at the same time.
const THREADS: usize = 4;

/// Makes the catalog of a log anew from its directories and from its archive, and from what can be read of the old one
/// ([`Log::rebuild_catalog`]). `remotes` are the object stores that are homes of segments, by their ids (A5).
///
/// Where the directories are gone too, there is nothing to make a catalog for: [`restore`](super::restore()).
///
/// # Errors
/// As [`Log::rebuild_catalog`]; `NotFound` where there is no archive, `Conflict` for another log's, `Corrupt` where manifests are damaged so that no
/// checkpoint helps; what the stores said.
pub fn rebuild_catalog(
    log: &LogOptions,
    store: &Arc<dyn ObjectStore>,
    remotes: &BTreeMap<String, Arc<dyn ObjectStore>>,
    dry_run: bool,
) -> Result<RebuildReport> {
    from(log, &Places::read(store, remotes, true)?, dry_run)
}

/// The same, where manifests are damaged or missing: with what can be proven without them ([`salvage`](mod@crate::archive::salvage)).
///
/// # Errors
/// As [`rebuild_catalog`]; `Conflict` also where objects of several logs are there and no manifest tells which one is meant.
pub fn rebuild_catalog_salvaging(
    log: &LogOptions,
    store: &Arc<dyn ObjectStore>,
    remotes: &BTreeMap<String, Arc<dyn ObjectStore>>,
    dry_run: bool,
) -> Result<(RebuildReport, Salvage)> {
    let mut places = Places::salvage(store, remotes, true, THREADS)?;
    let salvage = places.salvage.take().unwrap_or_default();
    Ok((from(log, &places, dry_run)?, salvage))
}

fn from(log: &LogOptions, places: &Places, dry_run: bool) -> Result<RebuildReport> {
    let now = log.clock.now();
    let names = places.names();
    let mut collections = names.iter().map(|name| places.tell(name, now));
    let archived = Archived { log: places.log, values: places.values(), collections: &mut collections };
    Log::rebuild_catalog_with(log, dry_run, Some(archived))
}
