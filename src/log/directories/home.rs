//! Homes of segments in object stores (A5).
//!
//! A collection whose home is a remote is journalled and sealed in its local directory all the same, which is its staging: no append waits
//! for a store. Its segments go to the store afterwards, by the archiver. The home is an assignment of a component of its own, with
//! the same history as any; it does not touch where the log keeps the collection.

use super::set::{Named, Set};
use crate::catalog::{Catalog, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::log::assign::{SegmentsAt, homes as records, remote_of_key};
use crate::log::identity::Remote;
use crate::log::{Inner, Log, LogOptions};
use crate::types::{CollectionName, Sequence};

/// The component whose assignments say in which store a collection's segments are at home.
pub const HOME: &str = "home";
/// Rows read at once.
const PAGE_ROWS: usize = 4096;

impl Log {
    /// The id of a directory that may be a home, by its id, its path or its URL.
    ///
    /// # Errors
    /// `NotFound` for what is no directory of the log.
    pub fn find_home(&self, which: &str) -> Result<String> {
        let log = &self.0;
        let set = Set::find(&*log.fs, &log.options.directories)?;
        let set =
            set.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no identity of the log's directories can be read"))?;
        match set.named(which)? {
            Named::Member(index) => Ok(set.members[index].id.clone()),
            Named::Remote(id) => Ok(id),
            Named::Forgotten(id) => {
                Err(Error::new(ErrorKind::NotFound, format!("the directory is forgotten: directory=`{id}`"))
                    .with_hint("`directory ls` lists them; `directory add` adds one"))
            }
        }
    }

    /// Gives a collection a home, by its id, its path or its URL: a remote, or a local directory, which means that its segments stay where
    /// they are sealed. Segments that are in no store yet go to the new home; those that are in one stay there.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection or directory; what the catalog said.
    pub fn assign_home(&self, collection: &CollectionName, which: &str) -> Result<()> {
        let log = &self.0;
        let known = log.collection(collection)?;
        let directory = self.find_home(which)?;
        let at = log.segments_at_id(&directory);
        // What was appended to a moment ago is known to the catalog first, with the home that it had.
        log.introduce_new()?;
        let before = log.catalog.assignment(HOME, collection)?;
        if before.as_ref().is_some_and(|before| before.directory == directory) && known.segments_at() == at {
            return Ok(());
        }
        // The record before the row (`assign::homes`).
        log.record_new_home(&known, at)?;
        if at == SegmentsAt::Here && before.is_none() {
            return Ok(());
        }
        let next = log.catalog.collection(collection)?.map_or(Sequence::FIRST, |row| row.sealed_through.next());
        log.apply(&[records::assign(collection.clone(), directory, log.epoch, next)], "home assigned").map(drop)
    }

    /// The id of the remote that is a collection's home; `None` where its segments stay where they are sealed.
    ///
    /// # Errors
    /// What the disk or the catalog said.
    pub fn home_of(&self, collection: &CollectionName) -> Result<Option<String>> {
        let Some(assignment) = self.0.catalog.assignment(HOME, collection)? else { return Ok(None) };
        let is_local = self.0.directories.iter().any(|directory| directory.id == assignment.directory);
        Ok((!is_local).then_some(assignment.directory))
    }
}

impl Inner {
    /// What the id of a directory of the log says of whose home it is.
    pub(in crate::log) fn segments_at_id(&self, id: &str) -> SegmentsAt {
        let is_local = self.directories.iter().any(|directory| directory.id == id);
        if is_local { SegmentsAt::Here } else { self.homes.of_id(Some(id)) }
    }
}

impl LogOptions {
    /// The object stores that are homes of the segments of the log in these directories; none where there is no log.
    ///
    /// # Errors
    /// What the disk said.
    pub fn remotes(&self) -> Result<Vec<Remote>> {
        Ok(Set::find(&*self.fs, &self.directories)?.map(|set| set.newest.remotes).unwrap_or_default())
    }
}

/// A remote, and what is at home there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HomeInfo {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// No new collection gets it by itself.
    pub drained: bool,
    /// Collections at home there.
    pub collections: u64,
    /// Segments that are there.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Log {
    /// The log's remotes, as they were when it was opened: they change only while nobody writes.
    pub(crate) fn remotes(&self) -> Vec<Remote> {
        self.0.homes.remotes.clone()
    }

    /// The log's remotes, in its order. Reads every row.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn homes(&self) -> Result<Vec<HomeInfo>> {
        let log = &self.0;
        if log.homes.remotes.is_empty() {
            return Ok(Vec::new());
        }
        let info = |remote: &Remote| HomeInfo {
            id: remote.directory.clone(),
            url: remote.url.clone(),
            drained: remote.drained,
            collections: 0,
            segments: 0,
            bytes: 0,
        };
        let mut all: Vec<HomeInfo> = log.homes.remotes.iter().map(info).collect();
        for (_, directory) in homes(&*log.catalog)? {
            if let Some(home) = all.iter_mut().find(|home| home.id == directory) {
                home.collections += 1;
            }
        }
        log.each_segment(|row| {
            let is_there = matches!(row.status, SegmentStatus::Archived | SegmentStatus::Evicted);
            let remote = row.archive_key.as_deref().filter(|_| is_there).and_then(remote_of_key);
            if let Some(home) = remote.and_then(|remote| all.iter_mut().find(|home| home.id == remote)) {
                home.segments += 1;
                home.bytes += row.bytes;
            }
        })?;
        Ok(all)
    }
}

/// The directory that a collection was given for its home, remote or local, as the catalog has it.
///
/// # Errors
/// What the catalog said.
pub(crate) fn home_row(catalog: &dyn Catalog, collection: &CollectionName) -> Result<Option<String>> {
    Ok(catalog.assignment(HOME, collection)?.map(|row| row.directory))
}

/// Every collection that was given a home, with the id of that.
pub(super) fn homes(catalog: &dyn Catalog) -> Result<Vec<(CollectionName, String)>> {
    let mut homes = Vec::new();
    let mut after: Option<CollectionName> = None;
    loop {
        let page = after.as_ref().map(|name| (HOME, name));
        let assignments = catalog.assignments(Some(HOME), page, PAGE_ROWS)?;
        let Some(last) = assignments.last() else { return Ok(homes) };
        after = Some(last.collection.clone());
        homes.extend(assignments.into_iter().map(|found| (found.collection, found.directory)));
    }
}
