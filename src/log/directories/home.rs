//! Homes of segments in object stores (A5).
//!
//! A collection whose home is a remote is journalled and sealed in its local directory all the same, which is its staging: no append waits
//! for a store. Its segments go to the store afterwards, by the archiver. The home is an assignment of a component of its own, with
//! the same history as any; it does not touch where the log keeps the collection.

use super::set::{Named, Set};
use crate::catalog::{Catalog, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::log::identity::Remote;
use crate::log::{Log, LogOptions};
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
        self.0.collection(collection)?;
        let directory = self.find_home(which)?;
        let known = self.0.catalog.assignment(HOME, collection)?;
        if known.is_some_and(|known| known.directory == directory) {
            return Ok(());
        }
        let next = self.0.catalog.collection(collection)?.map_or(Sequence::FIRST, |row| row.sealed_through.next());
        self.0
            .apply(
                &[Mutation::Assign {
                    component: HOME.into(),
                    collection: collection.clone(),
                    directory,
                    epoch: self.0.epoch,
                    from: next,
                }],
                "home assigned",
            )
            .map(drop)
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

impl LogOptions {
    /// The object stores that are homes of the segments of the log in these directories; none where there is no log.
    ///
    /// # Errors
    /// What the disk said.
    pub fn remotes(&self) -> Result<Vec<Remote>> {
        Ok(Set::find(&*self.fs, &self.directories)?.map(|set| set.newest.remotes).unwrap_or_default())
    }
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
