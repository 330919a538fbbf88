//! Which directory each component keeps a collection in, and what the directories hold.
//!
//! - `placement`: what choosing goes by; `tally`: the same of other components
//! - `homes`: object stores as homes of segments (A5)
//!
//! Owns: choosing for new collections and for those that must move, assignments of other components, their history, statistics.
//! Does not own: the policies (`assignment`), how a collection moves, where unassigned ones are found when the log opens (`recover`).
//!
//! - An assignment is made once, and stays (sticky): only a move or an operator changes it.
//! - Components do not see each other's. For `wal` the truth is where the log has each collection now: it follows in the
//!   catalog a moment later, so that no append waits for it (R1). Those of other components are durable in the catalog before
//!   they are told.
//! - Nothing is remembered besides: the counts are of what is there, so a restart, or a catalog that was rebuilt, goes on where
//!   it was.
//! - Choosing takes as long as there are directories, however many collections: `placement` keeps the counts.

pub(super) mod homes;
mod placement;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

pub(super) use homes::{Homes, SegmentsAt};
pub(super) use placement::{Placement, remote_of_key};

use super::append::read_only;
use super::collection::Collection;
use super::directories::HOME;
use super::identity::Identity;
use super::recover::COMPONENT;
use super::{Directory, DirectoryState, Inner, Log};
use crate::assignment::{self, Candidate, Policy};
use crate::catalog::{Assignment, Catalog, Mutation, SegmentKey, SegmentRow};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{ChangeNumber, CollectionName, Epoch, Sequence, Timestamp};

/// Rows, or changes, read at once.
const PAGE: usize = 4096;
/// Why a component's assignment was made, in the history.
const ASSIGNED: &str = "assigned";

/// One entry of the history of a collection's assignments.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AssignmentChange {
    /// The catalog's change that made it.
    pub change: ChangeNumber,
    /// Who owns the assignment.
    pub component: String,
    /// The collection.
    pub collection: CollectionName,
    /// The directory's id.
    pub directory: String,
    /// The epoch that made it.
    pub epoch: Epoch,
    /// The first sequence that went there.
    pub from: Sequence,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DirectoryStatistics {
    /// Its id.
    pub directory: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is good for: `healthy`, `drained`, `failed`, `missing`.
    pub state: &'static str,
    /// Why it is not healthy, where there is more to say.
    pub reason: Option<String>,
    /// How many collections each component has there. For `wal` those that live there, whether or not they have segments there.
    pub collections: BTreeMap<String, u64>,
    /// Segments whose files are there.
    pub segments: u64,
    /// Bytes of their files.
    pub segment_bytes: u64,
    /// Bytes of records of its collections that are in no segment yet.
    pub unsealed_bytes: u64,
    /// What its disk has left, in bytes; `None` where that is not known.
    pub free_bytes: Option<u64>,
}

/// The assignments of a log, in order of component and collection: an iterator that reads the catalog page by page.
#[derive(Debug)]
pub struct Assignments {
    catalog: Arc<dyn Catalog>,
    component: Option<String>,
    page: std::vec::IntoIter<Assignment>,
    after: Option<(String, CollectionName)>,
    is_over: bool,
}

impl Iterator for Assignments {
    type Item = Result<Assignment>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.is_over {
            let after = self.after.as_ref().map(|(component, collection)| (component.as_str(), collection));
            match self.catalog.assignments(self.component.as_deref(), after, PAGE) {
                Ok(page) => {
                    self.after = page.last().map(|row| (row.component.clone(), row.collection.clone()));
                    self.is_over = page.is_empty();
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error.into()));
                }
            }
        }
        self.page.next().map(Ok)
    }
}

impl Log {
    /// Where a component keeps a collection: the assignment that stands, or a new one by the log's [policy](Policy), durable when
    /// this returns. A collection that is not there is made, as by a first append. For the component `wal` it is where the
    /// collection lives.
    ///
    /// Where the directory that stands was forgotten, a new one is assigned: what the component had there it makes again.
    ///
    /// A new one costs a transaction of the catalog. What other components have on disk the log does not know: for them
    /// `least-used` goes by the number of their collections, and by free space.
    ///
    /// # Errors
    /// `NotFound` for a collection that is not there and may not be made; `Unavailable` where no directory is healthy, naming each;
    /// `Conflict` for a name that no component can have; what the catalog said.
    pub fn assign(&self, component: &str, collection: &CollectionName) -> Result<Assignment> {
        let log = &self.0;
        if log.companion.is_some() {
            return Err(read_only());
        }
        let known = log.must_be_there(collection, Some(log.collection_for_append(collection)?))?;
        if component == COMPONENT {
            let news = log.introduce(&known)?;
            if !news.is_empty() {
                log.apply(&news, ASSIGNED)?;
                known.catalogued.store(true, std::sync::atomic::Ordering::Release);
            }
            return log.wal_assignment(&known);
        }
        match log.catalog.assignment(component, collection)? {
            Some(standing) if log.has_directory(&standing.directory) => Ok(standing),
            _ => log.assign_new(component, &known),
        }
    }

    /// The assignment of a component that stands; `None` where there is none, or no such collection.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn assignment(&self, component: &str, collection: &CollectionName) -> Result<Option<Assignment>> {
        if component == COMPONENT {
            let known = self.0.collections().get(collection).filter(|known| !known.life.is_hidden()).map(Arc::clone);
            return known.map(|known| self.0.wal_assignment(&known)).transpose();
        }
        Ok(self.0.catalog.assignment(component, collection)?)
    }

    /// Where a directory of the log is, for a component that keeps files there. It is looked at each time: an empty mount point is not the
    /// directory (A1), and nothing is to be made in it.
    ///
    /// # Errors
    /// `Unavailable` for one that is missing, and for one that was forgotten; what the disk said.
    pub fn present_directory(&self, id: &str) -> Result<PathBuf> {
        let Some(index) = self.0.directory_index(id) else {
            return Err(Error::new(ErrorKind::Unavailable, format!("no directory of the log: directory=`{id}`")));
        };
        let directory = &self.0.directories[index];
        let missing = |why: &str| {
            let message = format!("a directory is missing: directory=`{}`, why=`{why}`", directory.path.display());
            Error::new(ErrorKind::Unavailable, message)
                .with_hint("mount it, and open the log anew; or `directory forget` gives it up")
        };
        match (directory.state(), Identity::read(&*self.0.fs, &directory.path)) {
            (DirectoryState::Missing(why), _) => Err(missing(&why)),
            (_, Ok(Some(found))) if found.directory == id => Ok(directory.path.clone()),
            (_, Ok(Some(_))) => Err(missing("another directory is there")),
            (_, Ok(None)) => Err(missing("it has no identity: an empty mount point?")),
            (_, Err(error)) => Err(missing(&crate::error::chain(&error))),
        }
    }

    /// Whether any directory of the log is not there now.
    pub(crate) fn is_any_directory_away(&self) -> bool {
        self.0.directories.iter().any(|directory| self.present_directory(&directory.id).is_err())
    }

    /// All assignments of a component, or of all components.
    ///
    /// # Errors
    /// What the catalog said when it was told of new collections and moves. The iterator's items: what it said when it was read.
    pub fn assignments(&self, component: Option<&str>) -> Result<Assignments> {
        if self.0.companion.is_none() {
            self.0.introduce_new()?;
            self.0.note_moves()?;
        }
        Ok(Assignments {
            catalog: Arc::clone(&self.0.catalog),
            component: component.map(str::to_owned),
            page: Vec::new().into_iter(),
            after: None,
            is_over: false,
        })
    }

    /// Every assignment that a collection ever had, oldest first, of one component or of all. The newest of each component is
    /// the one that stands.
    ///
    /// It reads the whole history of the catalog: a second or so for a million changes. It reaches back to when the catalog was
    /// made; one that was rebuilt knows of nothing before.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn assignment_history(
        &self,
        component: Option<&str>,
        collection: &CollectionName,
    ) -> Result<Vec<AssignmentChange>> {
        let mut history = Vec::new();
        tally::each_assignment(&*self.0.catalog, ChangeNumber(0), |change, (owner, of, directory, epoch, from)| {
            if of == *collection && component.is_none_or(|component| component == owner) {
                history.push(AssignmentChange {
                    change: change.number,
                    component: owner,
                    collection: of,
                    directory,
                    epoch,
                    from,
                    since: change.at,
                    reason: change.reason,
                });
            }
        })?;
        Ok(history)
    }

    /// What each directory holds, in the log's order. Reads every row of segments and assignments, and looks at every collection.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn directories_statistics(&self) -> Result<Vec<DirectoryStatistics>> {
        let log = &self.0;
        let mut all: Vec<_> = log.directories.iter().map(|directory| log.statistics_of(directory)).collect();
        for collection in log.collections().values() {
            let state = collection.state();
            let place = &mut all[state.home.directory];
            if !collection.life.is_hidden() {
                *place.collections.entry(COMPONENT.to_owned()).or_default() += 1;
            }
            place.unsealed_bytes += state.unsealed.bytes();
        }
        for assignment in self.assignments(None)? {
            let assignment = assignment?;
            if assignment.component != COMPONENT
                && let Some(index) = log.directory_index(&assignment.directory)
            {
                *all[index].collections.entry(assignment.component).or_default() += 1;
            }
        }
        log.each_local_segment(|directory, _, bytes| {
            all[directory].segments += 1;
            all[directory].segment_bytes += bytes;
        })?;
        Ok(all)
    }
}

/// Whether a component keeps files of its own: the log itself does not (`wal`), and a home of segments is one of the log's (`home`).
pub(crate) fn is_kept_apart(component: &str) -> bool {
    component != COMPONENT && component != HOME
}

impl Inner {
    /// Which directory a collection that is new, or must leave those in `except`, goes to; `None` where none is healthy.
    ///
    /// Makes no I/O, and waits for nothing but other calls: it may be called under any lock. Who acts on the answer says so, by
    /// [`Placement::added`] or [`Placement::moved`], before the next call. A deleted collection keeps its place, and counts.
    pub(super) fn choose_directory(&self, name: &CollectionName, except: &[usize]) -> Option<usize> {
        let figures = self.placement.figures();
        self.choose_among(name, except, |index| {
            let collections = self.placement.collections(index);
            Candidate {
                id: &self.directories[index].id,
                collections,
                empty: collections.saturating_sub(figures.with_bytes(index)),
                bytes: figures.bytes(index),
                free_bytes: figures.free_bytes(index),
            }
        })
    }

    fn choose_among<'a>(
        &'a self,
        name: &CollectionName,
        except: &[usize],
        candidate: impl Fn(usize) -> Candidate<'a>,
    ) -> Option<usize> {
        let open: Vec<usize> = (0..self.directories.len())
            .filter(|index| !except.contains(index) && self.directories[*index].takes_collections())
            .collect();
        let candidates: Vec<_> = open.iter().map(|&index| candidate(index)).collect();
        assignment::choose(self.options.placement, name, &candidates).map(|at| open[at])
    }

    /// Why no directory takes a new collection: each of them, and what is wrong with it.
    pub(super) fn no_directory(&self, name: &CollectionName) -> Error {
        let each = self.directories.iter().map(|directory| {
            let state = directory.state();
            let word = if state == DirectoryState::Healthy { "without a journal" } else { state.word() };
            let why = state.reason().map_or_else(String::new, |why| format!(" ({why})"));
            format!("directory=`{}` is {word}{why}", directory.path.display())
        });
        let each: Vec<String> = each.collect();
        let message = format!("no directory takes a new collection: collection=`{name}`, {}", each.join(", "));
        Error::new(ErrorKind::Unavailable, message).with_hint("`directory ls` shows them; repair one, or add one")
    }

    /// Brings what `least-used` goes by up to date. To be called before a new collection is placed, without any lock.
    pub(super) fn refresh_figures(&self) {
        if self.options.placement == Policy::LeastUsed {
            self.placement.refresh(self);
        }
    }

    fn assign_new(&self, component: &str, collection: &Collection) -> Result<Assignment> {
        self.refresh_figures();
        let name = collection.name();
        let mut tallies = self.placement.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two who ask at once, the second finds what the first made.
        if let Some(standing) =
            self.catalog.assignment(component, name)?.filter(|row| self.has_directory(&row.directory))
        {
            return Ok(standing);
        }
        let index = self.choose_for_component(name, tallies.of(component, self)?)?;
        // The collection's own row and where it lives, first: a row that only another component made would tell nobody.
        let mut mutations = self.introduce(collection)?;
        let is_introduced = !mutations.is_empty();
        mutations.push(Mutation::Assign {
            component: component.to_owned(),
            collection: name.clone(),
            directory: self.directories[index].id.clone(),
            epoch: self.epoch,
            from: Sequence::FIRST,
        });
        self.apply(&mutations, ASSIGNED)?;
        if is_introduced {
            collection.catalogued.store(true, std::sync::atomic::Ordering::Release);
        }
        self.catalog.assignment(component, name)?.ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                format!("an assignment is gone: component=`{component}`, collection=`{name}`"),
            )
        })
    }

    fn choose_for_component(&self, name: &CollectionName, tally: &tally::Tally) -> Result<usize> {
        let figures = self.placement.figures();
        let chosen = self.choose_among(name, &[], |index| Candidate {
            id: &self.directories[index].id,
            collections: tally.collections(index),
            empty: tally.collections(index),
            bytes: 0,
            free_bytes: figures.free_bytes(index),
        });
        chosen.ok_or_else(|| self.no_directory(name))
    }

    /// Which directory a component's collection goes to that must leave the one where it is. The same answer until an assignment changes.
    pub(super) fn choose_anew(&self, component: &str, name: &CollectionName) -> Result<usize> {
        self.refresh_figures();
        let mut tallies = self.placement.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        self.choose_for_component(name, tallies.of(component, self)?)
    }

    /// Which collections other components than the log itself keep in a directory: those that have an assignment there.
    pub(super) fn assigned_in(&self, directory: &str) -> Result<Vec<Assignment>> {
        let mut found = Vec::new();
        let mut after: Option<(String, CollectionName)> = None;
        loop {
            let page = after.as_ref().map(|(component, collection)| (component.as_str(), collection));
            let rows = self.catalog.assignments(None, page, PAGE)?;
            let Some(last) = rows.last() else { return Ok(found) };
            after = Some((last.component.clone(), last.collection.clone()));
            found.extend(rows.into_iter().filter(|row| row.directory == directory && is_kept_apart(&row.component)));
        }
    }

    /// Whether a directory is one of the log's, there or not; one that was forgotten is none.
    fn has_directory(&self, id: &str) -> bool {
        self.directory_index(id).is_some()
    }

    /// Where a collection lives: by the catalog's row, where that has followed already.
    fn wal_assignment(&self, collection: &Collection) -> Result<Assignment> {
        let row = self.catalog.assignment(COMPONENT, collection.name())?;
        let home = collection.state().home.clone();
        let directory = self.directories[home.directory].id.clone();
        if let Some(row) = row.filter(|row| row.directory == directory) {
            return Ok(row);
        }
        Ok(Assignment {
            component: COMPONENT.to_owned(),
            collection: collection.name().clone(),
            directory,
            epoch: home.epoch,
            from: home.from,
            since: self.clock.now(),
        })
    }

    fn directory_index(&self, id: &str) -> Option<usize> {
        self.directories.iter().position(|directory| directory.id == id)
    }

    /// Calls `visit` with the directory, the key and the bytes of every segment whose file is in a directory of the log, in order of
    /// their keys.
    fn each_local_segment(&self, mut visit: impl FnMut(usize, &SegmentKey, u64)) -> Result<()> {
        self.each_segment(|row| {
            if row.status.is_local()
                && let Some(directory) = self.directory_index(&row.directory)
            {
                visit(directory, &row.key, row.bytes);
            }
        })
    }

    /// Calls `visit` with every row, in order of their keys.
    pub(super) fn each_segment(&self, mut visit: impl FnMut(&SegmentRow)) -> Result<()> {
        let mut after = None;
        loop {
            let rows = self.catalog.segments(None, after.as_ref(), PAGE)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.key.clone());
            rows.iter().for_each(&mut visit);
        }
    }

    fn statistics_of(&self, directory: &Directory) -> DirectoryStatistics {
        let state = directory.state();
        DirectoryStatistics {
            directory: directory.id.clone(),
            path: directory.path.clone(),
            state: state.word(),
            reason: state.reason().map(str::to_owned),
            collections: BTreeMap::new(),
            segments: 0,
            segment_bytes: 0,
            unsealed_bytes: 0,
            free_bytes: self.fs.free_bytes(&directory.path).ok(),
        }
    }
}
