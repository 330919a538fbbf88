//! What a collection's store holds at one moment.
//!
//! A view stays what it is while batches are applied and files are merged: the files that it names are not deleted by this process while it
//! is held. Another process may delete them; then reading says `NotFound`, and a new view has what is there now.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::columns::Column;
use super::file::{RowGroup, StoreFile};
use super::rows::Rows;
use super::state::State;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::Cursor;
use crate::types::{CollectionName, Record, Sequence};

/// A snapshot of a collection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    collection: CollectionName,
    snapshot: Arc<Snapshot>,
}

/// A state and its files.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub state: State,
    /// In the order of the state's files.
    pub files: Vec<Arc<StoreFile>>,
}

impl View {
    pub(super) const fn new(collection: CollectionName, snapshot: Arc<Snapshot>) -> Self {
        Self { collection, snapshot }
    }

    /// The collection.
    #[must_use]
    pub const fn collection(&self) -> &CollectionName {
        &self.collection
    }

    /// The state behind it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.snapshot.state
    }

    /// Up to where the files have the collection; what is behind is in the log only.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.snapshot.state.cursor
    }

    /// Nothing before this is there.
    #[must_use]
    pub fn floor(&self) -> Sequence {
        self.snapshot.state.floor
    }

    /// The files, by their sequences.
    #[must_use]
    pub fn files(&self) -> &[Arc<StoreFile>] {
        &self.snapshot.files
    }

    /// The newest record of a key, which may be a delete or expired: the caller decides.
    ///
    /// # Errors
    /// As [`StoreFile::row_groups`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Record>> {
        for file in self.files().iter().rev() {
            for group in file.row_groups()?.iter().rev() {
                if !group.may_have(key)? {
                    continue;
                }
                let rows = group.read(&[Column::Key])?;
                if let Some(row) = (0..rows.len()).rev().find(|row| rows.key(*row) == Some(key)) {
                    // Now the other columns too: most groups end above.
                    return group.read(&Column::ALL)?.record(row).map(Some).ok_or_else(|| incomplete(group));
                }
            }
        }
        Ok(None)
    }

    /// The records from `from` on, in order.
    #[must_use]
    pub fn read(&self, from: Sequence) -> Records {
        Records { view: self.clone(), from, file: 0, groups: Vec::new().into_iter(), rows: None, failed: false }
    }

    /// Calls `each` with every row group, in order, until it says that it has enough: one row group is in memory at a time, of it only `columns`.
    ///
    /// # Errors
    /// As [`StoreFile::row_groups`], and what `each` gives.
    pub fn scan<B>(
        &self,
        columns: &[Column],
        mut each: impl FnMut(&RowGroup, &Rows) -> Result<ControlFlow<B>>,
    ) -> Result<Option<B>> {
        for file in self.files() {
            for group in file.row_groups()? {
                let rows = group.read(columns)?;
                if let ControlFlow::Break(enough) = each(&group, &rows)? {
                    return Ok(Some(enough));
                }
            }
        }
        Ok(None)
    }

    /// Compares every byte of every file with the state.
    ///
    /// # Errors
    /// The first that is `Corrupt` or `NotFound`; what the store said.
    pub fn verify(&self) -> Result<()> {
        self.files().iter().try_for_each(|file| file.verify())
    }
}

/// The records of a view, in order. After an error it gives nothing more.
#[derive(Debug)]
pub struct Records {
    view: View,
    from: Sequence,
    /// The next file.
    file: usize,
    groups: std::vec::IntoIter<RowGroup>,
    rows: Option<(Rows, usize, RowGroup)>,
    failed: bool,
}

impl Records {
    fn step(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some((rows, at, group)) = &mut self.rows {
                while *at < rows.len() {
                    *at += 1;
                    if rows.sequence(*at - 1) >= Some(self.from) {
                        return rows.record(*at - 1).map(Some).ok_or_else(|| incomplete(group));
                    }
                }
                self.rows = None;
            }
            if let Some(group) = self.groups.next() {
                if group.sequences().is_some_and(|(_, last)| last < self.from) {
                    continue;
                }
                self.rows = Some((group.read(&Column::ALL)?, 0, group));
                continue;
            }
            let Some(file) = self.view.files().get(self.file) else { return Ok(None) };
            self.file += 1;
            if file.entry().sequence_max >= self.from {
                self.groups = file.row_groups()?.into_iter();
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.step();
        self.failed = next.is_err();
        next.transpose()
    }
}

pub(super) fn incomplete(group: &RowGroup) -> Error {
    let message = format!("a file of the columnar store lacks a column: key=`{}`", group.file().key());
    Error::new(ErrorKind::Corrupt, message)
}
