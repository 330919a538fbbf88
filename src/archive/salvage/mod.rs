//! What can be had of an archive whose manifests are damaged or missing, as far as it can be proven.
//!
//! - `manifests`: what those say that can be read
//! - `objects`: segments that none of these names: each is read whole, and says itself what it is
//! - `settle`: which of these count
//! - [`anew`]: how such an archive is written to again
//!
//! Owns: the judgement. Does not own: reading archives that are whole ([`chain`](super::chain)), making a log of what is found
//! ([`restore`](mod@super::restore)). Changes nothing in the store but by [`anew`].
//!
//! # What counts
//!
//! 1. **A manifest** counts where it is whole, of the same log, and the one behind it does not name other bytes in its place.
//! 2. **A checkpoint** tells everything: damage before it costs nothing. Behind damage, what the manifests before told counts until the next checkpoint.
//! 3. **Removed stays removed**: what a readable manifest removes, and what a checkpoint behind damage does not list any more, never comes
//!    back, though its object may still be there. Floors never go back: of all that are told the highest counts.
//! 4. **An object that no readable manifest names** counts where all of this holds: its bytes are those that its key's digest is of, its footer
//!    is whole and says what its key says, its records have the footer's digest, it is of this log, behind the floor of its collection, and shares no
//!    sequence with a segment of its generation that a manifest names, or that is of a higher epoch. It is not of a lower epoch than the
//!    segment right before it: that would be of a writer that had lost the archive (O2).
//! 5. **Two such objects** of one epoch with different records for the same sequences: neither counts, and both are named.
//! 6. **A named object that is not there** is left out: it was purged by a manifest that cannot be read, or it is lost. Which, nobody can tell, so
//!    its sequences are recorded as a loss.
//!
//! So nothing is invented. What can come back though it was purged: segments whose removal only a manifest told that cannot be read, while their objects were
//! still there (within `retention.grace`), and no readable manifest tells the new floor.

pub mod anew;

mod manifests;
mod objects;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use super::manifest::{ArchivedSegment, ManifestNumber};
use super::state::ArchiveState;
use crate::error::Result;
use crate::objects::ObjectStore;
use crate::types::{CollectionName, LogId, Sequence};

pub(super) use settle::settle;

/// Manifests that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UnreadableManifests {
    /// The id of the home whose manifests they are; `None` for the log's archive.
    pub remote: Option<String>,
    /// The first number.
    pub first: ManifestNumber,
    /// The last one.
    pub last: ManifestNumber,
    /// What is wrong.
    pub reason: String,
    /// They cost nothing: a checkpoint behind them told everything anew, or it was itself one, which told nothing new.
    pub is_told_anew: bool,
}

/// A segment that came back though no readable manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unnamed {
    /// The collection.
    pub collection: CollectionName,
    /// Its first sequence.
    pub first_sequence: Sequence,
    /// Its last sequence.
    pub last_sequence: Sequence,
    /// The key of its object.
    pub key: String,
}

/// An object that did not come back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// The key of the object.
    pub key: String,
    /// Its first sequence.
    pub first_sequence: Sequence,
    /// Its last sequence.
    pub last_sequence: Sequence,
    /// Why.
    pub reason: String,
}

/// What a salvage found, beside what it brings.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Salvage {
    /// Manifests that cannot be read, in order.
    pub unreadable: Vec<UnreadableManifests>,
    /// Segments that count though no readable manifest names them.
    pub unnamed: Vec<Unnamed>,
    /// Objects that do not count, and why; those below floors are not among them.
    pub left_out: Vec<LeftOut>,
}

impl Salvage {
    /// Manifests whose words are lost: no checkpoint behind them tells anew what they told.
    pub fn unknown(&self) -> impl Iterator<Item = &UnreadableManifests> {
        self.unreadable.iter().filter(|unreadable| !unreadable.is_told_anew)
    }
}

/// What was found in one store.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What its readable manifests tell together, and, once settled, the segments that count besides.
    pub state: ArchiveState,
    /// Its unreadable ones.
    pub unreadable: Vec<UnreadableManifests>,
    /// The highest number in its listing, readable or not.
    pub newest_listed: Option<ManifestNumber>,
    /// Keys that were named once, and are named no more.
    removed: HashSet<String>,
    /// Segments that no manifest names, as they say themselves, with the log that they say to be of.
    candidates: Vec<(LogId, ArchivedSegment)>,
    left_out: Vec<LeftOut>,
    /// What counts is not what its manifests say: there is more, or less.
    differs: bool,
    /// The highest sequence that anything showed of a collection (C7), also what does not count.
    pub ends: BTreeMap<CollectionName, Sequence>,
}

impl Found {
    /// Whether the chain can be read and continued as any other, and says what counts.
    pub fn is_whole(&self) -> bool {
        let Some(head) = self.state.head() else { return false };
        !self.differs
            && self.newest_listed == Some(head.number)
            && self.unreadable.iter().all(|unreadable| unreadable.last < head.begins)
    }

    fn saw(&mut self, collection: &CollectionName, sequence: Sequence) {
        let end = self.ends.entry(collection.clone()).or_default();
        *end = (*end).max(sequence);
    }
}

/// Reads all of a store that tells anything; objects that no manifest names whole, `threads` at the same time, each as much memory as it has bytes.
///
/// # Errors
/// `Conflict` where manifests are of several logs; `Unsupported` for a manifest of a newer version; what the store said.
pub(super) fn read(store: &dyn ObjectStore, remote: Option<&str>, threads: usize) -> Result<Found> {
    let mut found = manifests::read(store, remote)?;
    objects::read(store, &mut found, threads)?;
    Ok(found)
}

/// What the readable manifests of a store tell together. Objects are not looked at.
///
/// # Errors
/// As [`restore`](super::restore()).
pub fn readable(store: &dyn ObjectStore) -> Result<ArchiveState> {
    Ok(manifests::read(store, None)?.state)
}
