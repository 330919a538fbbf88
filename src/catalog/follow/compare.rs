//! Whether two catalogs hold the same, row by row.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::{FollowError, PAGE_CHANGES};
use crate::catalog::{Assignment, Catalog, CatalogResult, Change, CollectionRow, SegmentRow};
use crate::types::{ChangeNumber, CollectionName};

/// Findings told of one table; what follows may only be one row shifted.
const FINDINGS_MAX: usize = 5;

/// What differs between two catalogs that nobody changes meanwhile, a line for each row, at most a few for each table:
/// history, segments, counts, collections, maximum sequences, assignments, losses, cursors, values under names. Every row
/// of both is read, and so checked.
///
/// # Errors
/// [`FollowError::From`] where `from` cannot be read, [`FollowError::To`] where `to` cannot.
pub fn differences(from: &dyn Catalog, to: &dyn Catalog) -> Result<Vec<String>, FollowError> {
    let mut pair = Pair { from, to, found: Vec::new() };
    // The history names what only it can name: which values there are, and which collections have cursors.
    let (mut values, mut sinks) = (BTreeSet::new(), BTreeSet::new());
    pair.pages("change", |catalog, after: Option<&Change>| {
        let since = after.map_or(ChangeNumber(0), |change| change.number);
        let page = catalog.changes(since, PAGE_CHANGES)?;
        for change in &page {
            match change.kind.as_str() {
                "meta.set" => drop(values.insert(change.subject.clone())),
                "cursor.set" => drop(sinks.insert(change.subject.clone())),
                _ => {}
            }
        }
        Ok(page)
    })?;
    pair.pages("segment", |catalog, after: Option<&SegmentRow>| {
        catalog.segments(None, after.map(|row| &row.key), PAGE_CHANGES)
    })?;
    pair.one("count", |catalog| catalog.counts())?;
    let mut names = BTreeSet::new();
    pair.pages("collection", |catalog, after: Option<&CollectionRow>| {
        let page = catalog.collections(after.map(|row| &row.name), PAGE_CHANGES)?;
        names.extend(page.iter().map(|row| row.name.clone()));
        Ok(page)
    })?;
    for name in &names {
        pair.one(&format!("maximum sequence of {name}"), |catalog| catalog.sequence_max(name))?;
    }
    pair.pages("assignment", |catalog, after: Option<&Assignment>| {
        catalog.assignments(None, after.map(|row| (row.component.as_str(), &row.collection)), PAGE_CHANGES)
    })?;
    pair.rows("loss", |catalog| catalog.losses(None))?;
    for name in sinks.iter().filter_map(|text| CollectionName::new(text).ok()) {
        pair.rows("cursor", |catalog| catalog.cursors(&name))?;
    }
    for name in &values {
        pair.one(&format!("value under {name}"), |catalog| catalog.meta(name))?;
    }
    Ok(pair.found)
}

struct Pair<'a> {
    from: &'a dyn Catalog,
    to: &'a dyn Catalog,
    found: Vec<String>,
}

impl Pair<'_> {
    /// Compares a table page by page; `read` gives the rows after one.
    fn pages<T: PartialEq + Debug>(
        &mut self,
        what: &str,
        mut read: impl FnMut(&dyn Catalog, Option<&T>) -> CatalogResult<Vec<T>>,
    ) -> Result<(), FollowError> {
        let mut last: Option<T> = None;
        loop {
            let mut left = read(self.from, last.as_ref()).map_err(FollowError::From)?;
            let right = read(self.to, last.as_ref()).map_err(FollowError::To)?;
            if !self.compare(what, &left, &right) || left.is_empty() {
                return Ok(());
            }
            last = left.pop();
        }
    }

    /// Compares a table that is read whole.
    fn rows<T: PartialEq + Debug>(
        &mut self,
        what: &str,
        read: impl Fn(&dyn Catalog) -> CatalogResult<Vec<T>>,
    ) -> Result<(), FollowError> {
        let (left, right) = (read(self.from).map_err(FollowError::From)?, read(self.to).map_err(FollowError::To)?);
        self.compare(what, &left, &right);
        Ok(())
    }

    fn one<T: PartialEq + Debug>(
        &mut self,
        what: &str,
        read: impl Fn(&dyn Catalog) -> CatalogResult<T>,
    ) -> Result<(), FollowError> {
        self.rows(what, |catalog| read(catalog).map(|value| vec![value]))
    }

    /// Whether they are equal; else the first few that are not are told.
    fn compare<T: PartialEq + Debug>(&mut self, what: &str, left: &[T], right: &[T]) -> bool {
        if left == right {
            return true;
        }
        let show = |row: Option<&T>| row.map_or("nothing".to_owned(), |row| format!("{row:?}"));
        let pairs = (0..left.len().max(right.len())).map(|at| (left.get(at), right.get(at)));
        let differing = pairs.filter(|(one, other)| one != other).take(FINDINGS_MAX);
        self.found.extend(differing.map(|(one, other)| format!("{what}: {} is not {}", show(one), show(other))));
        false
    }
}
