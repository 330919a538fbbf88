//! Homes of segments in object stores (A5).
//!
//! A collection whose home is a remote is journalled and sealed in its local directory all the same, which is its staging: no append waits
//! for a store. Its segments go to the store afterwards ([`push`](super::push)). The home is an assignment of a component of its own, with
//! the same history as any; it does not touch where the log keeps the collection.

use crate::catalog::{Catalog, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::log::identity::Identity;
use crate::log::{Inner, Log};
use crate::types::{CollectionName, Sequence};

/// The component whose assignments say in which store a collection's segments are at home.
pub const HOME: &str = "home";
/// Rows read at once.
const PAGE_ROWS: usize = 4096;

impl Log {
    /// Gives a collection a home: the id of a remote, or of a local directory, which means that its segments stay where they are
    /// sealed. Segments that are in no store yet go to the new home; those that are in one stay there.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection or directory; what the catalog said.
    pub fn assign_home(&self, collection: &CollectionName, directory: &str) -> Result<()> {
        self.0.collection(collection)?;
        self.0.check_home(directory)?;
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
                    directory: directory.to_owned(),
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

impl Inner {
    /// The identity of a directory of this log whose word is right.
    fn newest_identity(&self) -> Result<Identity> {
        let read = |path| Identity::read(&*self.fs, path).ok().flatten();
        let identities: Vec<Identity> = self.directories.iter().filter_map(|directory| read(&directory.path)).collect();
        let newest = Identity::newest(&identities).cloned();
        newest.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no identity of the log's directories can be read"))
    }

    fn check_home(&self, id: &str) -> Result<()> {
        let identity = self.newest_identity()?;
        let is_known = identity.sibling(id).is_some() || identity.remotes.iter().any(|remote| remote.directory == id);
        if is_known {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, format!("no directory of the log: directory=`{id}`"))
            .with_hint("`directory ls` lists them; `directory add` adds one"))
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
