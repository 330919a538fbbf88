//! In which directories each collection has files, and to which of them it belongs where nothing says so.
//!
//! Owns: the rule for a collection that is found in several directories and assigned to none: the newest epoch wins, then the highest
//! sequence, then the log's order of directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::segment_path;
use crate::catalog::{Catalog, SegmentKey};
use crate::error::Result;
use crate::fs::{FileSystem, OpenMode};
use crate::log::recover::COMPONENT;
use crate::segment::{FileKind, SegmentName, SegmentReader, read_stub};
use crate::types::{CollectionName, Epoch, Sequence};

/// What one directory holds of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the log's directories.
    pub directory: usize,
    /// Its newest segment or stub there.
    pub newest: SegmentName,
    /// The epoch that sealed that one, as far as anybody had a reason to look.
    pub epoch: Option<Epoch>,
}

/// What the listing and the rows say of one collection.
#[derive(Clone, Debug, Default)]
pub struct CollectionFiles {
    /// The directory where its newest segment lies. Where it is found in several and is assigned to none: the one that wins.
    pub directory: Option<usize>,
    /// Highest sequence of any segment, row or stub.
    pub last: Sequence,
    /// By directory, in the order in which they were met.
    pub places: Vec<Place>,
}

/// A collection that is found in several directories, and that the catalog assigns to none.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Contested {
    /// The collection.
    pub collection: CollectionName,
    /// The directory that wins.
    #[serde(skip)]
    pub directory: usize,
    /// The others.
    #[serde(skip)]
    pub others: Vec<usize>,
    /// Why, as operators see it.
    pub reason: String,
}

/// What speaks for a directory as a collection's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which of the log's directories.
    pub directory: usize,
    /// The newest epoch of what lies there.
    pub epoch: Epoch,
    /// The highest sequence there.
    pub last: Sequence,
}

/// The directory that a collection belongs to by what lies in each: newest epoch, then highest sequence, then the log's order.
#[must_use]
pub fn strongest(claims: impl IntoIterator<Item = Claim>) -> Option<Claim> {
    claims.into_iter().max_by_key(|claim| (claim.epoch, claim.last, std::cmp::Reverse(claim.directory)))
}

/// The [`strongest`], and, where other directories have claims too, what to tell of it.
#[must_use]
pub fn contest(
    collection: &CollectionName,
    directories: &[(String, PathBuf)],
    claims: &[Claim],
) -> (Option<Claim>, Option<Contested>) {
    let Some(winner) = strongest(claims.iter().copied()) else { return (None, None) };
    let mut best: BTreeMap<usize, Claim> = BTreeMap::new();
    for claim in claims {
        let known = best.entry(claim.directory).or_insert(*claim);
        if (known.epoch, known.last) < (claim.epoch, claim.last) {
            *known = *claim;
        }
    }
    if best.len() == 1 {
        return (Some(winner), None);
    }
    let path = |index: usize| directories[index].1.display();
    let told = best.values().map(|claim| {
        format!("directory=`{}` has epoch {} through sequence {}", path(claim.directory), claim.epoch, claim.last)
    });
    let reason = format!(
        "it belongs to directory=`{}`; the newest epoch wins, then the highest sequence: {}",
        path(winner.directory),
        told.collect::<Vec<_>>().join(", ")
    );
    let others = best.into_keys().filter(|other| *other != winner.directory).collect();
    let (collection, directory) = (collection.clone(), winner.directory);
    (Some(winner), Some(Contested { collection, directory, others, reason }))
}

impl Place {
    /// What speaks for it. An epoch that nobody looked for is the oldest.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim { directory: self.directory, epoch: self.epoch.unwrap_or_default(), last: self.newest.covers.last }
    }
}

impl CollectionFiles {
    pub(super) fn note(&mut self, directory: usize, newest: SegmentName) {
        let last = newest.covers.last;
        if last > self.last || self.directory.is_none() {
            self.last = self.last.max(last);
            self.directory = Some(directory);
        }
        match self.places.iter_mut().find(|place| place.directory == directory) {
            Some(place) if place.newest.covers.last < last => *place = Place { directory, newest, epoch: None },
            Some(_) => {}
            None => self.places.push(Place { directory, newest, epoch: None }),
        }
    }

    /// The epoch of a segment there.
    pub(super) fn note_epoch(&mut self, directory: usize, last: Sequence, epoch: Epoch) {
        let mut places = self.places.iter_mut();
        if let Some(place) = places.find(|place| place.directory == directory && place.newest.covers.last == last) {
            place.epoch = place.epoch.max(Some(epoch));
        }
    }
}

/// Settles each collection that lies in several directories and is assigned to none.
pub(super) fn settle(
    fs: &dyn FileSystem,
    directories: &[(String, PathBuf)],
    catalog: &dyn Catalog,
    collections: &mut BTreeMap<CollectionName, CollectionFiles>,
) -> Result<Vec<Contested>> {
    let mut contested = Vec::new();
    for (name, files) in collections.iter_mut().filter(|(_, files)| files.places.len() > 1) {
        if catalog.assignment(COMPONENT, name)?.is_some() {
            continue;
        }
        for place in files.places.iter_mut().filter(|place| place.epoch.is_none()) {
            place.epoch = epoch_of(fs, &directories[place.directory].1, name, place.newest);
        }
        files.places.sort_by_key(|place| place.directory);
        let claims: Vec<Claim> = files.places.iter().map(Place::claim).collect();
        let (winner, told) = contest(name, directories, &claims);
        files.directory = winner.map(|winner| winner.directory);
        contested.extend(told);
    }
    Ok(contested)
}

fn epoch_of(fs: &dyn FileSystem, directory: &Path, collection: &CollectionName, name: SegmentName) -> Option<Epoch> {
    match name.kind {
        FileKind::Segment => {
            let key = SegmentKey {
                collection: collection.clone(),
                first: name.covers.first,
                last: name.covers.last,
                generation: name.generation,
            };
            let file = fs.open(&segment_path(directory, &key), OpenMode::Read).ok()?;
            Some(SegmentReader::open(file).ok()?.footer().epoch)
        }
        FileKind::Stub => {
            let file = fs.open(&name.path(directory, collection), OpenMode::Read).ok()?;
            Some(read_stub(file).ok()?.epoch)
        }
    }
}
