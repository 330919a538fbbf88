//! Takes what other components keep in a directory to where they are assigned to from then on: the files of sinks.
//!
//! Owns: the seam to whoever keeps files ([`ComponentFiles`]), the order of steps. Does not own: what the files are.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! The log is open for this alone, so nobody delivers meanwhile. For each collection of each component that is assigned there:
//!
//! 1. A directory is chosen by the policy. Nothing is assigned there yet, so nothing there is read.
//! 2. What lies there of the collection is removed: a copy that was interrupted, or what a directory brought back that was forgotten once.
//!    Then everything is copied, checked on the way, with the cursor last, and durable when the call returns. A crash leaves a part that
//!    nobody is assigned to; doing it again chooses the same directory, and begins anew.
//! 3. The assignment names the other directory, in one transaction. **This is the move**: before it the old files count, behind it the new ones, which
//!    say the same cursor. So nothing is delivered twice, and nothing that the log does not hold any more (purged, compacted, lost) is
//!    missed: it is copied, not replayed.
//! 4. When nothing of a component is assigned to the directory any more, all that it has there goes, and whatever was of no use already. A crash
//!    before leaves files that nobody reads, which the next drain removes.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use super::drain::{DrainProgress, Drained};
use crate::catalog::{Assignment, Mutation};
use crate::error::{Error, ErrorKind, Result, chain};
use crate::log::{DirectoryState, Inner};
use crate::types::{CollectionName, LogId, Sequence};

/// What a component keeps in directories, for whoever empties one.
///
/// # What every one promises
///
/// 1. When [`copy`](Self::copy) returned `Ok`, what is in the new directory survives a power cut, and says the same as the old one: the
///    same records, the same cursor. The old one is as it was, whatever happened.
/// 2. Damage is not copied but told.
/// 3. Neither makes anything in a directory where the component has nothing: a copy of nothing is nothing.
pub trait ComponentFiles: Send + Sync + fmt::Debug {
    /// The component whose files these are.
    fn component(&self) -> &str;

    /// Copies all that it has of a collection, in place of whatever is there. Returns how many bytes.
    ///
    /// # Errors
    /// `Corrupt` where the old files are damaged; what the disks said.
    fn copy(&self, what: &ComponentMove<'_>) -> Result<u64>;

    /// Removes all that it has in a directory, of whatever collection. That it has nothing there is fine.
    ///
    /// # Errors
    /// What the disk said; it is done again.
    fn clear(&self, directory: &Path) -> Result<()>;
}

/// A collection's way from one directory to another.
#[derive(Clone, Copy, Debug)]
pub struct ComponentMove<'a> {
    /// The log.
    pub log: LogId,
    /// The collection.
    pub collection: &'a CollectionName,
    /// Where its files are.
    pub from: &'a Path,
    /// Where they go.
    pub to: &'a Path,
}

/// What stayed of a component, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ComponentStayed {
    /// The component.
    pub component: String,
    /// The collection; `None` where it is what belongs to no collection any more.
    pub collection: Option<CollectionName>,
    /// Why.
    pub reason: String,
}

impl Inner {
    pub(super) fn relocate_components(
        &self,
        from: usize,
        drained: &mut Drained,
        progress: &mut dyn FnMut(DrainProgress) -> bool,
    ) -> Result<()> {
        let mut stayed: HashSet<String> = HashSet::new();
        let done = DrainProgress { bytes: drained.bytes, total_bytes: drained.bytes };
        for row in self.assigned_in(&self.directories[from].id)? {
            if !progress(done) {
                drained.is_interrupted = true;
                return Ok(());
            }
            match self.relocate_component(&row, from) {
                Ok(bytes) => {
                    drained.component_collections += 1;
                    drained.component_bytes += bytes;
                }
                // A full disk will be full for the next one too.
                Err(error) if error.kind() == ErrorKind::Full => return Err(error),
                Err(error) => {
                    stayed.insert(row.component.clone());
                    let (component, collection) = (row.component, Some(row.collection));
                    drained.component_stayed.push(ComponentStayed { component, collection, reason: chain(&error) });
                }
            }
        }
        for files in self.options.components.iter().filter(|files| !stayed.contains(files.component())) {
            let Err(error) = files.clear(&self.directories[from].path) else { continue };
            if matches!(self.directories[from].state(), DirectoryState::Failed(_)) {
                tracing::warn!(error = chain(&error), "old files stay where nothing can be removed");
                continue;
            }
            let (component, reason) = (files.component().to_owned(), chain(&error));
            drained.component_stayed.push(ComponentStayed { component, collection: None, reason });
        }
        Ok(())
    }

    fn relocate_component(&self, row: &Assignment, from: usize) -> Result<u64> {
        let Some(files) = self.options.components.iter().find(|files| files.component() == row.component) else {
            let message =
                format!("this program does not know how the component keeps files: component=`{}`", row.component);
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let to = self.choose_anew(&row.component, &row.collection)?;
        let (from, to) = (&self.directories[from], &self.directories[to]);
        let what = ComponentMove { log: self.log_id, collection: &row.collection, from: &from.path, to: &to.path };
        let bytes = files.copy(&what)?;
        self.apply(&[self.assigned_anew(row, &to.id)], "drained")?;
        Ok(bytes)
    }

    /// The same assignment in another directory.
    pub(super) fn assigned_anew(&self, row: &Assignment, directory: &str) -> Mutation {
        Mutation::Assign {
            component: row.component.clone(),
            collection: row.collection.clone(),
            directory: directory.to_owned(),
            epoch: self.epoch.max(row.epoch),
            from: Sequence::FIRST,
        }
    }
}
