//! What the log's archive is told of the homes of segments (A5): where each is, and which are homes no more.
//!
//! Owns: the catalog's value [`HOMES`], the ids and URLs that the archive names, as far as they were told. Written with the manifest that tells
//! them: a crash between the two leaves a value that is old, and the same is told again, which changes nothing.
//!
//! Without the value nobody would know that a home was forgotten: an archive that still names it is asked for what lies there by each restore. A
//! catalog that does not have it reads the archive once.

use std::collections::BTreeMap;

use super::Work;
use crate::archive::{Claim, Entry, ManifestNumber, RemoteEntry, chain};
use crate::catalog::{Catalog, Mutation};
use crate::error::Result;
use crate::log::Log;

/// The name of the value: JSON, URLs by ids.
pub const HOMES: &str = "archive.homes";

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Homes {
    pub entries: Vec<Entry>,
    /// What the catalog is to know behind it.
    pub value: Option<Mutation>,
}

/// URLs by ids, as the value has them.
pub(in crate::archive) fn text(homes: &BTreeMap<String, String>) -> String {
    serde_json::to_string(homes).expect("ids and urls")
}

/// Those of the log, and of who archives it.
fn live(log: &Log, work: &Work) -> BTreeMap<String, String> {
    let given = work.targets.iter().filter_map(|target| Some((target.remote.clone()?, target.url.clone())));
    log.remotes().into_iter().map(|remote| (remote.directory, remote.url)).chain(given).collect()
}

/// What the archive was told; `None` where the catalog does not know.
fn told(catalog: &dyn Catalog) -> Result<Option<BTreeMap<String, String>>> {
    // One that cannot be read is as none: the archive knows.
    Ok(catalog.meta(HOMES)?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Whether a target names homes, and names others than the log has, or may do so. They do not change while the log is open.
///
/// # Errors
/// What the catalog said.
pub(super) fn are_changed(log: &Log, work: &Work, index: usize) -> Result<bool> {
    let target = &work.targets[index];
    if target.remote.is_some() || target.are_homes_told {
        return Ok(false);
    }
    Ok(told(&**log.catalog())?.is_none_or(|told| told != live(log, work)))
}

/// The homes, as the log's archive tells them with the first manifest of each opening that tells anything: one that was added since the last is among
/// them, one that was forgotten is told to be gone, and a fact told twice counts once. Its store is asked only where the catalog does not know.
///
/// # Errors
/// What the catalog said.
pub(super) fn untold(log: &Log, work: &Work, index: usize) -> Result<Homes> {
    let target = &work.targets[index];
    if target.remote.is_some() || target.are_homes_told {
        return Ok(Homes::default());
    }
    let live = live(log, work);
    let known = told(&**log.catalog())?;
    let is_first = |claim: &Claim| claim.newest().number == ManifestNumber::FIRST;
    let told = match &known {
        Some(known) => Some(known.clone()),
        None if target.claim.as_ref().is_some_and(is_first) => Some(BTreeMap::new()),
        None => match chain::state(&*target.store) {
            Ok(state) => Some(state.remotes().clone()),
            Err(error) => {
                // The next opening asks again.
                tracing::warn!(store = target.url, %error, "which homes of segments the archive names is not known");
                None
            }
        },
    };
    let entry = |(directory, url): (&String, &String), gone| {
        Entry::Remote(RemoteEntry { directory: directory.clone(), url: url.clone(), gone })
    };
    let is_settled = told.is_none() || known.as_ref() == Some(&live);
    let gone = told.iter().flatten().filter(|(id, _)| !live.contains_key(*id));
    let entries = live.iter().map(|home| entry(home, false)).chain(gone.map(|home| entry(home, true)));
    let value = Mutation::SetMeta { name: HOMES.into(), value: text(&live) };
    Ok(Homes { entries: entries.collect(), value: (!is_settled).then_some(value) })
}
