//! The SQLite catalog: the engine that people can query.
//!
//! Owns: one connection that writes, a few that read, and how a transaction ends. Does not own: what is allowed
//! (`state`), what a row looks like (`rows`), the questions (`lookups`), the schema (`schema/catalog-*.sql`).
//!
//! Crash safety: the database is in WAL mode with `synchronous=FULL`, so that COMMIT returns after the fsync of the WAL;
//! both are read back after they were asked for. SQLite syncs the directory when it makes the database and its WAL.
//! When COMMIT fails so that it may still have happened, this catalog takes no more changes: the frame may be in the
//! file, and only a new opening reads it as a restart would. A look-up before that shows the state without it.
//!
//! Look-ups have connections of their own, so that they wait neither for each other nor for an `apply`; each runs in a
//! read transaction.

mod check;
mod copy;
mod error;
mod lookups;
mod open;
mod rows;
mod session;
#[cfg(test)]
mod tests;
mod writes;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::{
    Assignment, Catalog, CatalogError, CatalogMode, CatalogResult, Change, CollectionRow, CursorRow, Engine, Group,
    LossRow, SegmentKey, SegmentRow, SegmentStatus, Transact, Work, state,
};
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};
use session::Session;

/// The newest schema version that this program knows.
pub const VERSION_MAX: u32 = 1;

/// Idle connections kept for look-ups; more are opened while more look-ups run at once.
const READERS_MAX: usize = 4;

/// A catalog in a SQLite database. See [`Catalog`] for what it promises.
pub struct SqliteCatalog {
    path: PathBuf,
    /// Idle ones. Closed before the writer: the last connection to close puts the WAL into the database, and one that
    /// only reads cannot.
    readers: Mutex<Vec<Connection>>,
    /// `None` when opened to read only.
    writer: Option<Mutex<Connection>>,
    /// How further connections for look-ups are opened.
    reading: open::Reading,
    /// An earlier COMMIT may have happened or not.
    is_outcome_unknown: AtomicBool,
    /// Makes the next COMMIT fail after it happened.
    #[cfg(test)]
    fail_commit: AtomicBool,
}

impl fmt::Debug for SqliteCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCatalog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteCatalog {
    /// Opens the catalog in the file `path`, and brings an older schema up to date unless it is to be read only.
    ///
    /// Waits up to 5 seconds for another connection that holds the database.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] where there is no file (and none is to be made), [`CatalogError::Damaged`] where it
    /// is no catalog, [`CatalogError::Newer`], or why SQLite could not. The file is then as it was.
    pub fn open(path: &Path, mode: CatalogMode) -> CatalogResult<Self> {
        Self::open_with(path, mode, std::time::Duration::from_secs(5))
    }

    fn open_with(path: &Path, mode: CatalogMode, busy_timeout: std::time::Duration) -> CatalogResult<Self> {
        let writer = match mode {
            CatalogMode::ReadOnly => None,
            CatalogMode::Create | CatalogMode::ReadWrite => Some(Mutex::new(open::writer(path, mode, busy_timeout)?)),
        };
        let (reader, reading) = open::first_reader(path, busy_timeout)?;
        Ok(Self {
            path: path.to_path_buf(),
            writer,
            readers: Mutex::new(vec![reader]),
            reading,
            is_outcome_unknown: AtomicBool::new(false),
            #[cfg(test)]
            fail_commit: AtomicBool::new(false),
        })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn unavailable<T>(&self, what: &str) -> CatalogResult<T> {
        Err(CatalogError::Unavailable { path: self.path.display().to_string(), what: what.to_owned() })
    }

    fn writer(&self) -> CatalogResult<MutexGuard<'_, Connection>> {
        let Some(writer) = &self.writer else {
            return self.unavailable("it was opened to read only");
        };
        // A panic under the lock leaves a transaction open at most; that is undone below.
        let connection = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_outcome_unknown.load(Ordering::SeqCst) {
            return self.unavailable("the outcome of an earlier change is unknown until it is opened again");
        }
        if !connection.is_autocommit() {
            self.session(&connection).run("ROLLBACK")?;
        }
        Ok(connection)
    }

    fn session<'a>(&'a self, connection: &'a Connection) -> Session<'a> {
        Session { connection, path: &self.path }
    }

    /// Runs one look-up in one read transaction of a connection of its own.
    fn read<T>(&self, look_up: impl FnOnce(&Session<'_>) -> CatalogResult<T>) -> CatalogResult<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.reading.open(&self.path)?,
        };
        let session = self.session(&connection);
        session.run("BEGIN")?;
        let found = look_up(&session);
        // A connection whose transaction does not end is dropped, and its snapshot with it.
        session.run("COMMIT")?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        found
    }

    fn commit(&self, session: &Session<'_>) -> CatalogResult<()> {
        let committed = session.try_run("COMMIT");
        #[cfg(test)]
        let committed = if self.fail_commit.swap(false, Ordering::SeqCst) {
            Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None))
        } else {
            committed
        };
        committed.map_err(|error| {
            let error = error::of_commit(&self.path, error);
            if matches!(error, CatalogError::OutcomeUnknown { .. }) {
                self.is_outcome_unknown.store(true, Ordering::SeqCst);
            }
            error
        })
    }
}

impl Transact for SqliteCatalog {
    fn transact(&self, work: &mut Work<'_>) -> CatalogResult<ChangeNumber> {
        let connection = self.writer()?;
        let session = self.session(&connection);
        // The write lock first: what the rules read cannot change before their rows are written.
        session.run("BEGIN IMMEDIATE")?;
        let done = work(&mut writes::Transaction::new(session)).and_then(|number| {
            self.commit(&session)?;
            Ok(number)
        });
        if done.is_err() && !connection.is_autocommit() {
            // What cannot be undone now is undone by the next transaction, before it begins; until then nobody sees it.
            let _ = session.try_run("ROLLBACK");
        }
        done
    }
}

impl Catalog for SqliteCatalog {
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
        self.read(|session| lookups::changes(session, since, limit))
    }

    fn segment(&self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
        self.read(|session| lookups::segment(session, key))
    }

    fn segment_holding(&self, collection: &CollectionName, sequence: Sequence) -> CatalogResult<Option<SegmentRow>> {
        self.read(|session| lookups::segment_holding(session, collection, sequence))
    }

    fn segments_from(
        &self,
        collection: &CollectionName,
        from: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|session| lookups::segments_from(session, collection, from, limit))
    }

    fn segments_back(
        &self,
        collection: &CollectionName,
        until: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|session| lookups::segments_back(session, collection, until, limit))
    }

    fn segments(
        &self,
        collection: Option<&CollectionName>,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|session| lookups::segments(session, collection, after, limit))
    }

    fn segments_by_status(
        &self,
        status: SegmentStatus,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|session| lookups::segments_by_status(session, status, after, limit))
    }

    fn segments_unflushed(&self, after: Option<&SegmentKey>, limit: usize) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|session| lookups::segments_unflushed(session, after, limit))
    }

    fn segments_by_time(
        &self,
        collection: &CollectionName,
        from: Timestamp,
        until: Timestamp,
        from_sequence: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.read(|session| lookups::segments_by_time(session, collection, (from, until), from_sequence, limit))
    }

    fn sequence_max(&self, collection: &CollectionName) -> CatalogResult<Sequence> {
        self.read(|session| {
            Ok(lookups::collection(session, collection)?.map_or(Sequence(0), |state| state.sequence_max))
        })
    }

    fn collection(&self, name: &CollectionName) -> CatalogResult<Option<CollectionRow>> {
        self.read(|session| Ok(lookups::collection(session, name)?.map(|state| state.row)))
    }

    fn collections(&self, after: Option<&CollectionName>, limit: usize) -> CatalogResult<Vec<CollectionRow>> {
        self.read(|session| lookups::collections(session, after, limit))
    }

    fn assignment(&self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
        self.read(|session| lookups::assignment(session, component, collection))
    }

    fn assignments(
        &self,
        component: Option<&str>,
        after: Option<(&str, &CollectionName)>,
        limit: usize,
    ) -> CatalogResult<Vec<Assignment>> {
        self.read(|session| lookups::assignments(session, component, after, limit))
    }

    fn losses(&self, collection: Option<&CollectionName>) -> CatalogResult<Vec<LossRow>> {
        self.read(|session| lookups::losses(session, collection))
    }

    fn cursors(&self, collection: &CollectionName) -> CatalogResult<Vec<CursorRow>> {
        self.read(|session| lookups::cursors(session, collection))
    }

    fn meta(&self, name: &str) -> CatalogResult<Option<String>> {
        self.read(|session| lookups::meta(session, name))
    }

    fn values(&self) -> CatalogResult<Vec<(String, String)>> {
        self.read(lookups::values)
    }

    fn counts(&self) -> CatalogResult<Vec<(SegmentStatus, u64)>> {
        self.read(|session| SegmentStatus::ALL.into_iter().map(|of| Ok((of, lookups::count(session, of)?))).collect())
    }

    fn check(&self) -> CatalogResult<Vec<String>> {
        self.read(check::check)
    }

    fn copy_to(&self, path: &Path) -> CatalogResult<ChangeNumber> {
        copy::copy(self, path)
    }

    fn engine(&self) -> Option<Engine> {
        Some(Engine::Sqlite)
    }
}
