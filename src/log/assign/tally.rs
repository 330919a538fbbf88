//! How many collections each other component has in each directory.
//!
//! Counted once, from the catalog's rows, when a component first asks; from then on the numbered changes are followed, whoever made
//! them. An assignment replayed twice counts once, so it does not matter that rows are read while others change them.

use std::collections::HashMap;

use super::super::Inner;
use super::PAGE;
use crate::catalog::{Catalog, CatalogError, CatalogResult, Change, Mutation};
use crate::error::Result;
use crate::types::{ChangeNumber, CollectionName, Epoch, Sequence};

/// By component.
#[derive(Debug, Default)]
pub(super) struct Tallies(HashMap<String, Tally>);

/// Of one component.
#[derive(Debug)]
pub(super) struct Tally {
    /// Where each collection is; `None` for a directory that is none of the log's.
    directories: HashMap<CollectionName, Option<usize>>,
    counts: Vec<u64>,
    /// The newest change that it knows of.
    seen: ChangeNumber,
}

impl Tallies {
    /// A component's, as it is now.
    pub fn of(&mut self, component: &str, log: &Inner) -> Result<&Tally> {
        if !self.0.contains_key(component) {
            self.0.insert(component.to_owned(), Tally::count(component, log)?);
        }
        let tally = self.0.get_mut(component).expect("it was put there, where it was not");
        tally.follow(component, log)?;
        Ok(tally)
    }
}

impl Tally {
    fn count(component: &str, log: &Inner) -> Result<Self> {
        // The number first: what changes while rows are read is followed afterwards.
        let seen = log.catalog.change_number()?;
        let mut tally = Self { directories: HashMap::new(), counts: vec![0; log.directories.len()], seen };
        let mut after = None;
        loop {
            let page = after.as_ref().map(|name| (component, name));
            let rows = log.catalog.assignments(Some(component), page, PAGE)?;
            let Some(last) = rows.last() else { return Ok(tally) };
            after = Some(last.collection.clone());
            for row in rows {
                tally.put(row.collection, log.directory_index(&row.directory));
            }
        }
    }

    fn follow(&mut self, component: &str, log: &Inner) -> Result<()> {
        let seen = self.seen;
        self.seen = each_assignment(&*log.catalog, seen, |_, (owner, collection, directory, ..)| {
            if owner == component {
                self.put(collection, log.directory_index(&directory));
            }
        })?;
        Ok(())
    }

    fn put(&mut self, collection: CollectionName, directory: Option<usize>) {
        if let Some(directory) = directory {
            self.counts[directory] += 1;
        }
        if let Some(Some(before)) = self.directories.insert(collection, directory) {
            self.counts[before] -= 1;
        }
    }

    /// How many collections the component has there.
    pub fn collections(&self, directory: usize) -> u64 {
        self.counts[directory]
    }
}

/// Component, collection, directory, epoch, from.
type Assigned = (String, CollectionName, String, Epoch, Sequence);

/// Calls `visit` for every assignment ever made after the change `since`, oldest first. Returns the newest change there is.
pub(super) fn each_assignment(
    catalog: &dyn Catalog,
    mut since: ChangeNumber,
    mut visit: impl FnMut(Change, Assigned),
) -> CatalogResult<ChangeNumber> {
    loop {
        let changes = catalog.changes(since, PAGE)?;
        let Some(last) = changes.last() else { return Ok(since) };
        since = last.number;
        for change in changes {
            if change.kind != "assign" {
                continue;
            }
            match change.mutation() {
                Ok(Mutation::Assign { component, collection, directory, epoch, from }) => {
                    visit(change, (component, collection, directory, epoch, from));
                }
                other => {
                    let why = other.err().map_or_else(|| "another kind".to_owned(), |error| error.to_string());
                    let what = format!("change `{}` is no assignment, though it says so: {why}", change.number);
                    return Err(CatalogError::Damaged { path: "changes".to_owned(), what });
                }
            }
        }
    }
}
