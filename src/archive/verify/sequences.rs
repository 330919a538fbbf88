//! Contiguity, from the floor to the last archived sequence of each collection, over all stores of a log together: a collection whose home was changed
//! has segments in several, and what was told to one of them before is not told there again.

use std::collections::BTreeSet;

use super::{RemoteFault, RemoteFaultKind};
use crate::archive::state::{ArchiveState, ArchivedCollection, holes};
use crate::catalog::{SegmentKey, SegmentRow};
use crate::log::verify::Missing;
use crate::types::{CollectionName, Generation, Sequence};

/// A store that could be read: the home's id, what its manifests say, and what they say since, where that is another thing.
pub(super) type Read<'a> = (Option<&'a str>, &'a ArchiveState, Option<&'a ArchiveState>);

#[derive(Debug, Default)]
pub(super) struct Found {
    pub faults: Vec<RemoteFault>,
    pub gaps: Vec<Missing>,
}

/// `elsewhere`: rows of segments in stores that could not be read, which are taken to be there; `None` where that is not known, and no hole is one.
pub(super) fn check(stores: &[Read<'_>], elsewhere: Option<Vec<&SegmentRow>>) -> Found {
    let mut found = Found::default();
    let names: BTreeSet<&CollectionName> = stores.iter().flat_map(|(_, state, _)| state.collections().keys()).collect();
    for name in names {
        let floor = of(stores, name).map(|(_, collection)| collection.floor()).max().unwrap_or_default();
        if let Some(elsewhere) = &elsewhere {
            // What one archiver takes from a store and adds to another is in neither for a moment.
            let since: Vec<Read<'_>> =
                stores.iter().map(|(remote, state, since)| (*remote, since.unwrap_or(state), None)).collect();
            let still = missing(&since, name, elsewhere);
            for (first, last) in missing(stores, name, elsewhere) {
                if still.iter().any(|(from, to)| *from <= last && *to >= first) {
                    found.fault(name, first, last, "records are missing, and no loss is on record".to_owned());
                }
            }
        }
        let Some(teller) = teller(stores, name) else { continue };
        for loss in teller.losses.values().filter(|loss| loss.last >= floor) {
            match &loss.acknowledged {
                Some(taken) => found.gaps.push(Missing {
                    collection: name.clone(),
                    first_sequence: loss.first,
                    last_sequence: loss.last,
                    reason: loss.reason.clone(),
                    found_at: loss.found_at.to_string(),
                    acknowledged_by: Some(taken.by.clone()),
                    acknowledged_at: Some(taken.at.to_string()),
                }),
                None => {
                    let reason = format!("a loss that nobody acknowledged: {}", loss.reason);
                    found.fault(name, loss.first, loss.last, reason);
                }
            }
        }
    }
    found
}

impl Found {
    fn fault(&mut self, name: &CollectionName, first: Sequence, last: Sequence, reason: String) {
        let key = SegmentKey { collection: name.clone(), first, last, generation: Generation(0) };
        self.faults.push(RemoteFault::of(RemoteFaultKind::Sequences, None, Some(&key), reason));
    }
}

/// What the stores say of a collection.
fn of<'a>(
    stores: &'a [Read<'_>],
    name: &'a CollectionName,
) -> impl Iterator<Item = (Option<&'a str>, &'a ArchivedCollection)> + 'a {
    stores.iter().filter_map(|(remote, state, _)| Some((*remote, state.collections().get(name)?)))
}

/// Whose word on losses counts: of all who know the collection the log's archive, which is told of every one; then its home. What another store was told
/// before it was its home no more is old: of several that say so the one with the newest segment is believed.
fn teller<'a>(stores: &'a [Read<'_>], name: &'a CollectionName) -> Option<&'a ArchivedCollection> {
    let rank = |remote: Option<&str>, collection: &ArchivedCollection| {
        let home = collection.entry.as_ref().map(|entry| entry.home.as_deref());
        let newest = collection.segments.values().map(|segment| segment.segment.last).max();
        (home.is_some() && remote.is_none(), home == Some(remote), home.is_some(), newest)
    };
    of(stores, name).max_by_key(|(remote, collection)| rank(*remote, collection)).map(|(_, collection)| collection)
}

fn missing(stores: &[Read<'_>], name: &CollectionName, elsewhere: &[&SegmentRow]) -> Vec<(Sequence, Sequence)> {
    let floor = of(stores, name).map(|(_, collection)| collection.floor()).max().unwrap_or_default();
    let segments = of(stores, name).flat_map(|(_, collection)| collection.segments.values());
    let last = segments.map(|segment| segment.segment.last).max().unwrap_or_default();
    let mut covered: Vec<_> = of(stores, name).flat_map(|(_, collection)| collection.covered()).collect();
    let elsewhere = elsewhere.iter().filter(|row| row.key.collection == *name);
    covered.extend(elsewhere.map(|row| (row.key.first, row.key.last)));
    holes(floor, last, covered)
}
