//! The key-value catalogs: one layout in one tree, kept by MDBX or by LMDB.
//!
//! Owns: the layout (`keys`, `values`), the questions (`lookups`), what a change writes (`writes`), how a file is opened and
//! shared (`open`), its check and its copy. Does not own: what is allowed (`state`), nor the tree itself: an engine
//! (`engine`) is a thin file over its crate, and the only one that knows it.
//!
//! Crash safety: both engines write a change into pages that no state uses, sync them, then write and sync the one page that
//! names the new state; a commit returns after that. A crash leaves the old state or the new one. When a commit fails so
//! that it may still have happened, no catalog of this file takes more changes until the last one in this process is
//! closed: the page may be in the file, and only a new opening reads it as a restart would.
//!
//! Look-ups run in a read transaction of their own each, that ends with them: they wait for nobody, and a writer waits for
//! none of them. Writers wait for each other, also of other processes.
//!
//! The engines have no checksums on their pages. Every row has one (C4), and every entry of an index is compared with the row
//! that it names; what a damaged page makes of the tree's own structure, only [`check`](Catalog::check) can tell, and the
//! engine may end the process on the way. Where the page that names the newest state is damaged, the state before it may be
//! served, whole: an old copy, which the number of its newest change tells (C3).

mod check;
mod copy;
mod engine;
mod keys;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "lmdb")]
mod lmdb_pages;
mod lookups;
#[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
mod mdbx;
#[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
mod mdbx_metas;
mod open;
#[cfg(test)]
mod tests;
mod values;
mod writes;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::{
    Assignment, Catalog, CatalogError, CatalogMode, CatalogResult, Change, CollectionRow, CursorRow, Engine, Group,
    LossRow, SegmentKey, SegmentRow, SegmentStatus, Transact, Work, state,
};
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};
use engine::{Environment, Read, Write};

/// A catalog in an LMDB file.
#[cfg(feature = "lmdb")]
pub type LmdbCatalog = KvCatalog<lmdb::Lmdb>;
/// A catalog in an MDBX file.
#[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
pub type MdbxCatalog = KvCatalog<mdbx::Mdbx>;

/// A catalog in a file of a key-value engine. See [`Catalog`] for what it promises.
pub struct KvCatalog<E: Environment> {
    path: PathBuf,
    is_read_only: bool,
    shared: open::Handle<E>,
}

impl<E: Environment> fmt::Debug for KvCatalog<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvCatalog").field("engine", &E::ENGINE).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The error of a commit that may have happened.
fn unknown(path: &Path, error: CatalogError) -> CatalogError {
    match error {
        CatalogError::Engine { path, source, .. } => CatalogError::OutcomeUnknown { path, source },
        other => CatalogError::OutcomeUnknown { path: path.display().to_string(), source: Box::new(other) },
    }
}

impl<E: Environment> KvCatalog<E> {
    /// Opens the catalog in the file `path`. Catalogs of one file in one process share it; the last one closes it.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] where there is no file (and none is to be made), [`CatalogError::Damaged`] where it
    /// is no catalog, [`CatalogError::Newer`], or why the engine could not. The file is then as it was.
    pub fn open(path: &Path, mode: CatalogMode) -> CatalogResult<Self> {
        Self::open_with(path, mode, open::MAP_BYTES)
    }

    fn open_with(path: &Path, mode: CatalogMode, map_bytes: u64) -> CatalogResult<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            is_read_only: mode == CatalogMode::ReadOnly,
            shared: open::open(path, mode, map_bytes)?,
        })
    }

    /// The catalog's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn unavailable<T>(&self, what: &str) -> CatalogResult<T> {
        Err(CatalogError::Unavailable { path: self.path.display().to_string(), what: what.to_owned() })
    }

    /// Runs one look-up in one read transaction.
    fn read<T>(&self, look_up: impl FnOnce(&dyn Read) -> CatalogResult<T>) -> CatalogResult<T> {
        look_up(&self.shared.environment.read()?)
    }

    fn commit(&self, writing: E::Writing<'_>) -> CatalogResult<()> {
        let committed = writing.commit();
        #[cfg(test)]
        let committed = if self.shared.fail_commit.swap(false, Ordering::SeqCst) {
            let source = std::io::Error::from(rustix::io::Errno::IO);
            committed
                .and(Err(CatalogError::OutcomeUnknown { path: self.path.display().to_string(), source: source.into() }))
        } else {
            committed
        };
        if matches!(committed, Err(CatalogError::OutcomeUnknown { .. })) {
            self.shared.is_outcome_unknown.store(true, Ordering::SeqCst);
        }
        committed
    }
}

impl<E: Environment> Transact for KvCatalog<E> {
    fn transact(&self, work: &mut Work<'_>) -> CatalogResult<ChangeNumber> {
        if self.is_read_only {
            return self.unavailable("it was opened to read only");
        }
        // Held until the outcome is known: nobody of this process builds on a change that may not have happened.
        let _writing = open::locked(&self.shared.writing);
        if self.shared.is_outcome_unknown.load(Ordering::SeqCst) {
            return self.unavailable("the outcome of an earlier change is unknown until it is closed and opened again");
        }
        // The write lock first: what the rules read cannot change before their rows are written. Dropped, it is undone.
        let mut writing = self.shared.environment.write()?;
        let number = work(&mut writes::Transaction(&mut writing))?;
        self.commit(writing)?;
        Ok(number)
    }
}

impl<E: Environment> Catalog for KvCatalog<E> {
    fn apply_groups(&self, groups: &[Group<'_>]) -> CatalogResult<ChangeNumber> {
        if groups.iter().all(|group| group.mutations.is_empty()) {
            return self.change_number();
        }
        self.transact(&mut |rows| state::apply(rows, groups))
    }

    fn change_number(&self) -> CatalogResult<ChangeNumber> {
        self.read(lookups::change_number)
    }

    fn changes(&self, since: ChangeNumber, limit: usize) -> CatalogResult<Vec<Change>> {
        self.read(|read| lookups::changes(read, since, limit))
    }

    fn segment(&self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
        self.read(|read| lookups::segment(read, key))
    }

    fn segment_holding(&self, collection: &CollectionName, sequence: Sequence) -> CatalogResult<Option<SegmentRow>> {
        self.read(|read| lookups::segment_holding(read, collection, sequence))
    }

    fn segments_from(
        &self,
        collection: &CollectionName,
        from: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|read| lookups::segments_from(read, collection, from, limit))
    }

    fn segments_back(
        &self,
        collection: &CollectionName,
        until: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|read| lookups::segments_back(read, collection, until, limit))
    }

    fn segments(
        &self,
        collection: Option<&CollectionName>,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|read| lookups::segments(read, collection, after, limit))
    }

    fn segments_by_status(
        &self,
        status: SegmentStatus,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|read| lookups::segments_by_status(read, status, after, limit))
    }

    fn segments_unflushed(&self, after: Option<&SegmentKey>, limit: usize) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|read| lookups::segments_unflushed(read, after, limit))
    }

    fn segments_by_time(
        &self,
        collection: &CollectionName,
        from: Timestamp,
        until: Timestamp,
        from_sequence: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|read| lookups::segments_by_time(read, collection, (from, until), from_sequence, limit))
    }

    fn sequence_max(&self, collection: &CollectionName) -> CatalogResult<Sequence> {
        self.read(|read| Ok(lookups::collection(read, collection)?.map_or(Sequence(0), |state| state.sequence_max)))
    }

    fn collection(&self, name: &CollectionName) -> CatalogResult<Option<CollectionRow>> {
        self.read(|read| Ok(lookups::collection(read, name)?.map(|state| state.row)))
    }

    fn collections(&self, after: Option<&CollectionName>, limit: usize) -> CatalogResult<Vec<CollectionRow>> {
        self.read(|read| lookups::collections(read, after, limit))
    }

    fn assignment(&self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
        self.read(|read| lookups::assignment(read, component, collection))
    }

    fn assignments(
        &self,
        component: Option<&str>,
        after: Option<(&str, &CollectionName)>,
        limit: usize,
    ) -> CatalogResult<Vec<Assignment>> {
        self.read(|read| lookups::assignments(read, component, after, limit))
    }

    fn losses(&self, collection: Option<&CollectionName>) -> CatalogResult<Vec<LossRow>> {
        self.read(|read| lookups::losses(read, collection))
    }

    fn cursors(&self, collection: &CollectionName) -> CatalogResult<Vec<CursorRow>> {
        self.read(|read| lookups::cursors(read, collection))
    }

    fn meta(&self, name: &str) -> CatalogResult<Option<String>> {
        self.read(|read| lookups::meta(read, name))
    }

    fn values(&self) -> CatalogResult<Vec<(String, String)>> {
        self.read(lookups::values)
    }

    fn counts(&self) -> CatalogResult<Vec<(SegmentStatus, u64)>> {
        self.read(|read| SegmentStatus::ALL.into_iter().map(|of| Ok((of, lookups::count(read, of)?))).collect())
    }

    fn check(&self) -> CatalogResult<Vec<String>> {
        self.read(check::check)
    }

    fn copy_to(&self, path: &Path) -> CatalogResult<ChangeNumber> {
        copy::copy(self, path)
    }

    fn engine(&self) -> Option<Engine> {
        Some(E::ENGINE)
    }
}
