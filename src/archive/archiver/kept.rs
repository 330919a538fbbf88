//! What the catalog keeps of how archiving goes, for who asks when no archiver runs: the value `archive.store`, for homes
//! `archive.store@{remote}`.
//!
//! Owns: adding up requests over openings of the log. Written at the end of a pass in which a store was asked for anything; a crash before it costs the
//! counts of that pass.

use super::Shared;
use super::noted::name_of;
use super::target::Target;
use crate::catalog::{Catalog, Mutation};
use crate::error::Result;
use crate::objects::{Abilities, ObjectStore, Usage};
use crate::types::Timestamp;

/// The name of the value, of the log's archive.
const STORE: &str = "archive.store";

/// How archiving to one store goes, as of the last pass.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeptStore {
    /// The id of the remote that is a home; `None` for the log's archive.
    pub remote: Option<String>,
    /// Where it is.
    pub url: String,
    /// Since when requests are counted.
    pub since: Timestamp,
    /// When this was written.
    pub at: Timestamp,
    /// What was asked of it, by kind of request.
    pub usage: Vec<Usage>,
    /// What the store can do.
    pub abilities: Option<Abilities>,
    /// The newest manifest that is ours.
    pub manifest: Option<u64>,
    /// Somebody else took it over, and how that showed: this log archives there no more.
    pub fenced: Option<String>,
    /// The last failure, where nothing succeeded since.
    pub last_error: Option<String>,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
}

/// What is kept of every store.
///
/// # Errors
/// What the catalog said. A value that cannot be read is left out: nothing depends on it.
pub fn kept_stores(catalog: &dyn Catalog) -> Result<Vec<KeptStore>> {
    let is_one = |name: &str| name.strip_prefix(STORE).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'));
    let values = catalog.values()?.into_iter().filter(|(name, _)| is_one(name));
    Ok(values.filter_map(|(_, text)| serde_json::from_str(&text).ok()).collect())
}

impl Shared {
    /// Writes what changed.
    ///
    /// # Errors
    /// What the catalog said.
    pub(super) fn keep(&self, targets: &mut [Target]) -> Result<()> {
        let now = self.options.clock.now();
        let mut mutations = Vec::new();
        for target in targets {
            let asked = target.store.meter().all();
            if asked == target.kept {
                continue;
            }
            let name = name_of(STORE, target.remote.as_deref());
            let before: Option<KeptStore> =
                self.log.catalog().meta(&name)?.and_then(|text| serde_json::from_str(&text).ok());
            let before = before.filter(|before| before.url == target.url);
            let more = asked.iter().zip(&target.kept).map(|(asked, kept)| asked.minus(kept));
            let usage = more.map(|more| {
                let known = before.iter().flat_map(|before| &before.usage).find(|known| known.kind == more.kind);
                known.map_or(more, |known| known.plus(&more))
            });
            let status = target.status();
            let kept = KeptStore {
                remote: target.remote.clone(),
                url: target.url.clone(),
                since: before.as_ref().map_or(now, |before| before.since),
                at: now,
                usage: usage.collect(),
                abilities: status.abilities.or_else(|| before.and_then(|before| before.abilities)),
                manifest: status.manifest,
                fenced: status.fenced,
                last_error: status.last_error,
                failing_since: status.failing_since,
            };
            let value = serde_json::to_string(&kept).expect("plain text and numbers");
            mutations.push(Mutation::SetMeta { name, value });
            target.kept = asked;
        }
        if mutations.is_empty() { Ok(()) } else { self.log.change(&mutations, "requests counted").map(drop) }
    }
}
