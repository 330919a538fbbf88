//! The catalog made anew from the directories and the archive (C6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Place, from_archive};
use crate::error::{Error, ErrorKind, Result};
use crate::log::catalog::RebuildReport;
use crate::log::catalog::rebuild::Archived;
use crate::log::{Log, LogOptions};
use crate::objects::ObjectStore;
use crate::types::CollectionName;

/// Makes the catalog of a log anew from its directories and from its archive, and from what can be read of the old one
/// ([`Log::rebuild_catalog`]). `remotes` are the object stores that are homes of segments, by their ids (A5).
///
/// Where the directories are gone too, there is nothing to make a catalog for: [`restore`](super::restore()).
///
/// # Errors
/// As [`Log::rebuild_catalog`]; `NotFound` where there is no archive, `Conflict` for another log's; what the stores said.
pub fn rebuild_catalog(
    log: &LogOptions,
    store: &Arc<dyn ObjectStore>,
    remotes: &BTreeMap<String, Arc<dyn ObjectStore>>,
    dry_run: bool,
) -> Result<RebuildReport> {
    let mut places = vec![Place::read(None, store)?];
    for (id, store) in remotes {
        places.push(Place::read(Some(id.clone()), store)?);
    }
    let Some(id) = places[0].state.log() else {
        let message = format!("there is no archive: store=`{}`", store.place());
        return Err(Error::new(ErrorKind::NotFound, message).with_hint("is the url right, with its prefix?"));
    };
    let now = log.clock.now();
    let names: BTreeSet<CollectionName> =
        places.iter().flat_map(|place| place.state.collections().keys().cloned()).collect();
    let mut collections = names
        .iter()
        .map(|name| from_archive(name, places.iter().map(|place| (place.remote.as_deref(), &place.state)), now));
    let archived = Archived {
        log: id,
        values: places.iter().filter_map(Place::newest_as_value).collect(),
        collections: &mut collections,
    };
    Log::rebuild_catalog_with(log, dry_run, Some(archived))
}
