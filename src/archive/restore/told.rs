//! What manifests say of a collection, in the words of the catalog.

use super::super::manifest::{LossEntry, ManifestNumber};
use super::super::salvage::Salvage;
use super::super::state::{ArchiveState, holes};
use crate::catalog::LossRow;
use crate::log::catalog::restore::FromArchive;
use crate::types::{CollectionName, Sequence, Timestamp};

/// What all places together tell of a collection (those that are homes of segments with their ids).
pub(in crate::archive) fn from_archive<'a>(
    name: &CollectionName,
    places: impl Iterator<Item = (Option<&'a str>, &'a ArchiveState)> + Clone,
    now: Timestamp,
) -> FromArchive {
    let mut told = FromArchive {
        name: name.clone(),
        created_at: now,
        floor: Sequence::FIRST,
        end: Sequence(0),
        settings: None,
        home: home(name, places.clone()),
        segments: Vec::new(),
        losses: Vec::new(),
    };
    for (remote, state) in places {
        let Some(collection) = state.collections().get(name) else { continue };
        told.created_at = told.created_at.min(collection.created_at());
        told.floor = told.floor.max(collection.floor());
        told.end = told.end.max(collection.last_sequence());
        if let (None, Some(entry)) = (&told.settings, &collection.entry) {
            told.settings = Some(entry.settings.clone());
        }
        for segment in collection.segments.values() {
            let key = segment.object_key();
            let key = remote.map_or_else(|| key.to_string(), |remote| format!("@{remote}/{key}"));
            told.segments.push(segment.row("", key));
        }
        for loss in collection.losses.values() {
            let is_known = told.losses.iter().any(|known| (known.first, known.last) == (loss.first, loss.last));
            if !is_known {
                told.losses.push(loss_row(loss));
            }
        }
    }
    told.settings.get_or_insert_with(|| "{}".to_owned());
    told
}

/// So the reason of each loss begins that a restore records.
pub(super) const RESTORED: &str = "restored";

/// What a log is restored from.
pub(super) struct Source<'a> {
    /// The newest manifest.
    pub manifest: Option<ManifestNumber>,
    pub salvage: Option<&'a Salvage>,
}

impl Source<'_> {
    fn reason(&self, why: &str) -> String {
        let from = match self.manifest {
            Some(number) => format!("{RESTORED} from manifest {number}"),
            None => format!("{RESTORED} without any manifest"),
        };
        let unknown: Vec<String> = self
            .salvage
            .iter()
            .flat_map(|salvage| salvage.unknown())
            .map(|found| {
                if found.first == found.last {
                    found.first.to_string()
                } else {
                    format!("{} to {}", found.first, found.last)
                }
            })
            .collect();
        if unknown.is_empty() {
            format!("{from}: {why}")
        } else {
            format!("{from}, manifests that cannot be read: {}: in none of the objects that count", unknown.join(", "))
        }
    }
}

/// The remote that is a collection's home. The log's archive tells of every collection, and is asked first; a home that is one no longer may
/// still say that it is: of several, the one with the newest segment is believed.
fn home<'a>(
    name: &CollectionName,
    places: impl Iterator<Item = (Option<&'a str>, &'a ArchiveState)> + Clone,
) -> Option<String> {
    let is_remote = |id: &String| {
        places.clone().any(|(remote, state)| remote == Some(id.as_str()) || state.remotes().contains_key(id))
    };
    let told = places.clone().filter_map(|(remote, state)| {
        let collection = state.collections().get(name)?;
        let home = collection.entry.as_ref()?.home.clone();
        Some((remote.is_none(), collection.segments.values().map(|segment| segment.segment.last).max(), home))
    });
    told.max_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)))?.2.filter(is_remote)
}

/// Adds to the losses what no segment has, and nothing says is missing, though it was there; returns it.
pub(super) fn add_lost(told: &mut FromArchive, from: &Source<'_>, now: Timestamp) -> Vec<(Sequence, Sequence)> {
    let archived = told.segments.iter().map(|row| row.key.last).max().unwrap_or_default();
    let segments = told.segments.iter().map(|row| (row.key.first, row.key.last));
    let covered = segments.chain(told.losses.iter().map(|loss| (loss.first, loss.last))).collect();
    let lost = holes(told.floor, told.end, covered);
    for &(first, last) in &lost {
        let why = if first > archived { "sealed, but not archived by then" } else { "in none of its segments" };
        let reason = from.reason(why);
        let collection = told.name.clone();
        told.losses.push(LossRow { collection, first, last, reason, found_at: now, acknowledged: None });
    }
    lost
}

fn loss_row(loss: &LossEntry) -> LossRow {
    LossRow {
        collection: loss.collection.clone(),
        first: loss.first,
        last: loss.last,
        reason: loss.reason.clone(),
        found_at: loss.found_at,
        acknowledged: loss.acknowledged.as_ref().map(|taken| (taken.by.clone(), taken.at)),
    }
}
