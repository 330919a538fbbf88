//! Telling the catalog of moves, and what it may not know.
//!
//! A move is durable in a journal before; that journal is kept until the catalog's row is durable too.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::catalog::{CatalogError, Mutation};
use crate::error::Result;
use crate::journal::JournalFile;
use crate::log::Inner;
use crate::log::collection::Collection;
use crate::log::recover::COMPONENT;
use crate::types::{Epoch, Sequence};

/// Assignments told to the catalog in one transaction.
const GROUP: usize = 1000;
/// Under this name the catalog keeps the newest epoch of which it knows every move.
pub(in crate::log) const EPOCH: &str = "epoch";
/// Under this name the catalog keeps whether it knows every collection: `yes`, from the closing of the log in good order until it is
/// opened again.
pub(in crate::log) const KNOWS_ALL: &str = "knows_all";

/// A move that is durable in a journal, and of which the catalog does not know yet.
pub(in crate::log) struct Moved {
    pub(super) collection: Arc<Collection>,
    pub(super) directory: usize,
    pub(super) epoch: Epoch,
    pub(super) next: Sequence,
    pub(super) reason: Arc<str>,
    /// Holds the MOVE, and is kept.
    pub(super) file: Arc<JournalFile>,
    pub(super) bytes: u64,
}

impl Inner {
    /// Tells the catalog of moves, many in one transaction.
    pub(in crate::log) fn note_moves(&self) -> Result<()> {
        loop {
            let some: Vec<Moved> = {
                let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
                let count = moved.len().min(GROUP);
                let reason = moved.first().map(|first| Arc::clone(&first.reason));
                let same = moved.iter().take(count).take_while(|next| Some(&next.reason) == reason.as_ref()).count();
                moved.drain(..same).collect()
            };
            let Some(first) = some.first() else { return self.note_epoch() };
            let mut mutations = Vec::new();
            for moved in &some {
                let collection = moved.collection.name().clone();
                mutations.push(Mutation::Assign {
                    component: COMPONENT.into(),
                    collection,
                    directory: self.directories[moved.directory].id.clone(),
                    epoch: moved.epoch,
                    from: moved.next,
                });
            }
            let reason = Arc::clone(&first.reason);
            match self.catalog.apply(&mutations, self.clock.now(), &reason) {
                Ok(number) => drop(self.change_number.fetch_max(number.0, Ordering::AcqRel)),
                // One at a time: whoever introduced a collection meanwhile may have told of a later move.
                Err(CatalogError::Refused(_)) if some.len() > 1 => {
                    let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
                    let alone = |(index, moved): (usize, Moved)| Moved {
                        reason: format!("{}, {index}", moved.reason).into(),
                        ..moved
                    };
                    moved.splice(..0, some.into_iter().enumerate().map(alone));
                    continue;
                }
                Err(CatalogError::Refused(refused)) => tracing::info!(%refused, "a later move is known"),
                Err(error) => {
                    let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
                    moved.splice(..0, some);
                    return Err(error.into());
                }
            }
            for moved in some {
                moved.collection.catalogued.store(true, Ordering::Release);
                moved.file.drop_run(moved.bytes);
            }
        }
    }
}

impl Inner {
    /// Tells the catalog that it knows every move of the newest epoch. Before, and where a directory is missing at the next opening,
    /// nobody could tell whether a collection was moved there.
    fn note_epoch(&self) -> Result<()> {
        let newest = *self.newest_epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = self.noted_epoch.load(Ordering::Acquire) >= newest.0;
        let settled = || {
            self.leaving.load(Ordering::Acquire) == 0
                && self.moved.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
        };
        if is_known || !settled() {
            return Ok(());
        }
        self.apply(&[Mutation::SetMeta { name: EPOCH.into(), value: newest.to_string() }], "every move is known")?;
        self.noted_epoch.fetch_max(newest.0, Ordering::AcqRel);
        Ok(())
    }

    /// Tells the catalog, when all of it is so, that it knows every collection.
    pub(in crate::log) fn note_all_known(&self) -> Result<()> {
        if self.directories.len() > 1 {
            self.apply(&[Mutation::SetMeta { name: KNOWS_ALL.into(), value: "yes".into() }], "closed")?;
        }
        Ok(())
    }
}
