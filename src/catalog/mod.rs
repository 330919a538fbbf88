//! The catalog: where every segment is, what state it is in, and every change of that, numbered.
//!
//! Owns: segment rows, the state machine, collections, assignments, floors, cursors, losses and gaps, the numbered
//! history. Does not own: the bytes of any segment. It is never the only copy of the truth: directories and archives
//! can rebuild it (C6).
//!
//! # What every engine promises
//!
//! 1. [`Catalog::apply_groups`] is one transaction: all mutations, their rows in `changes` (one number each, dense), or
//!    nothing. When it returned `Ok`, the change survives a power cut. When it returned an error other than
//!    [`CatalogError::OutcomeUnknown`], nothing changed.
//! 2. Mutations are checked by [`state`], in one place, against the rows as they are inside the transaction; no engine
//!    can skip it. What is not allowed is refused with an error that names both states.
//! 3. Look-ups see every change whose `apply` returned before they began. They may run at the same time as each other
//!    and as an `apply`, and never see half a transaction.
//! 4. `None` and empty lists mean absent; damage, a newer version and failure are errors, never absence (C4).
//! 5. Each row carries a checksum of its content, checked on every read.

pub mod engine;
pub mod follow;
pub mod mirror;
pub mod model;
pub mod state;

#[cfg_attr(not(any(feature = "sqlite", feature = "mdbx", feature = "lmdb")), allow(dead_code))]
mod checksum;
#[cfg(test)]
mod conformance;
#[cfg(any(feature = "lmdb", all(feature = "mdbx", any(target_os = "linux", target_os = "macos"))))]
pub mod kv;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg_attr(not(any(feature = "sqlite", feature = "mdbx", feature = "lmdb")), allow(dead_code))]
mod time_class;

use std::fmt;
use std::path::Path;

#[cfg(feature = "lmdb")]
pub use kv::LmdbCatalog;
#[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
pub use kv::MdbxCatalog;
#[cfg(any(test, feature = "testing"))]
pub use memory::MemoryCatalog;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteCatalog;

pub(crate) use engine::MAKING;
pub use engine::{CatalogMode, Engine, MirrorStatus};
pub use mirror::MirroredCatalog;
pub use model::{
    Assignment, Change, CollectionRow, CursorRow, Group, LossRow, Mutation, SegmentKey, SegmentRow, SegmentStatus,
};

use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

/// A failed catalog operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The state machine does not allow it; nothing changed.
    #[error("catalog change refused: {0}")]
    Refused(#[from] model::Refused),
    /// There is no catalog at this path. Nothing else means absent.
    #[error("there is no catalog: path=`{path}`")]
    NotFound {
        /// Where its file would be.
        path: String,
    },
    /// A row, or the file, is not what was written.
    #[error("catalog is damaged: path=`{path}`, what=`{what}`")]
    Damaged {
        /// The catalog's file.
        path: String,
        /// Which row, and how it is wrong.
        what: String,
    },
    /// Written by a newer icecore.
    #[error("catalog is of a newer version: path=`{path}`, version=`{version}`, newest known=`{known}`")]
    Newer {
        /// The catalog's file.
        path: String,
        /// Its schema version.
        version: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// Another process holds it, or it takes no writes now.
    #[error("catalog is not available: path=`{path}`, what=`{what}`")]
    Unavailable {
        /// The catalog's file.
        path: String,
        /// What stands in the way.
        what: String,
    },
    /// The disk, or the map, is full; nothing changed.
    #[error("catalog is full: path=`{path}`")]
    Full {
        /// The catalog's file.
        path: String,
    },
    /// The transaction may be durable or not: read before trying again.
    #[error("outcome of a catalog change is unknown: path=`{path}`")]
    OutcomeUnknown {
        /// The catalog's file.
        path: String,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine failed; nothing changed.
    #[error("catalog failed: path=`{path}`, operation=`{operation}`")]
    Engine {
        /// The catalog's file.
        path: String,
        /// What was tried.
        operation: &'static str,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a catalog operation gives.
pub type CatalogResult<T> = Result<T, CatalogError>;

/// A catalog engine. See the module for what each promises.
pub trait Catalog: Send + Sync + fmt::Debug {
    /// Makes the mutations of all groups, in order, in one durable transaction, each a row in `changes` with its group's
    /// `at` and `reason`, and returns the number of the last. Without any mutation it changes nothing and returns the
    /// newest number.
    ///
    /// # Errors
    /// [`CatalogError::Refused`] when the state machine forbids one of them (nothing changed then), or why the engine
    /// could not.
    fn apply_groups(&self, groups: &[Group<'_>]) -> CatalogResult<ChangeNumber>;

    /// Makes one group: [`apply_groups`](Self::apply_groups), which engines implement.
    ///
    /// # Errors
    /// As there.
    fn apply(&self, mutations: &[Mutation], at: Timestamp, reason: &str) -> CatalogResult<ChangeNumber> {
        self.apply_groups(&[Group { mutations, at, reason }])
    }

    /// The number of the newest change; zero for an empty catalog.
    ///
    /// # Errors
    /// Why the engine could not.
    fn change_number(&self) -> CatalogResult<ChangeNumber>;

    /// The changes after `since`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// Why the engine could not.
    fn changes(&self, since: ChangeNumber, limit: usize) -> CatalogResult<Vec<Change>>;

    /// One segment.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segment(&self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>>;

    /// The readable segment ([`SegmentStatus::is_live`]) whose range holds `sequence`; where several do, the highest
    /// generation.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segment_holding(&self, collection: &CollectionName, sequence: Sequence) -> CatalogResult<Option<SegmentRow>>;

    /// The live segments of a collection that hold anything at or after `from`, in order of sequence, at most `limit`. Page on
    /// with the last row's `last.next()`.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segments_from(
        &self,
        collection: &CollectionName,
        from: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>>;

    /// The live segments of a collection that hold anything at or before `until`, newest first, at most `limit`.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segments_back(
        &self,
        collection: &CollectionName,
        until: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>>;

    /// All rows, of every status, in order of their keys, after `after`, at most `limit`; of one collection where given.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segments(
        &self,
        collection: Option<&CollectionName>,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>>;

    /// Rows of one status, oldest sealed first (by the number of the change that sealed them), after the row `after`, at most `limit`. "Next to
    /// archive" is `Sealed`, `limit` 1.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segments_by_status(
        &self,
        status: SegmentStatus,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>>;

    /// Live rows that are not flushed, oldest sealed first, at most `limit`.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segments_unflushed(&self, after: Option<&SegmentKey>, limit: usize) -> CatalogResult<Vec<SegmentRow>>;

    /// Live rows of a collection that may hold records with a time in `from..=until`, in order of sequence, at or after
    /// `from_sequence`, at most `limit`.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segments_by_time(
        &self,
        collection: &CollectionName,
        from: Timestamp,
        until: Timestamp,
        from_sequence: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>>;

    /// The highest sequence of a collection that the catalog knows of: of any row of any status, sealed_through, floor,
    /// losses, cursors (C7); zero when it knows nothing.
    ///
    /// # Errors
    /// Why the engine could not.
    fn sequence_max(&self, collection: &CollectionName) -> CatalogResult<Sequence>;

    /// One collection.
    ///
    /// # Errors
    /// Why the engine could not.
    fn collection(&self, name: &CollectionName) -> CatalogResult<Option<CollectionRow>>;

    /// Collections in order of name, after `after`, at most `limit`.
    ///
    /// # Errors
    /// Why the engine could not.
    fn collections(&self, after: Option<&CollectionName>, limit: usize) -> CatalogResult<Vec<CollectionRow>>;

    /// The newest assignment of a collection for a component.
    ///
    /// # Errors
    /// Why the engine could not.
    fn assignment(&self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>>;

    /// The newest assignments of one component (of all, where `None`), in order of component and collection, after
    /// `after`, at most `limit`.
    ///
    /// # Errors
    /// Why the engine could not.
    fn assignments(
        &self,
        component: Option<&str>,
        after: Option<(&str, &CollectionName)>,
        limit: usize,
    ) -> CatalogResult<Vec<Assignment>>;

    /// Losses and gaps of a collection (of all, where `None`), in order of collection and sequence.
    ///
    /// # Errors
    /// Why the engine could not.
    fn losses(&self, collection: Option<&CollectionName>) -> CatalogResult<Vec<LossRow>>;

    /// The cursors of a collection's sinks.
    ///
    /// # Errors
    /// Why the engine could not.
    fn cursors(&self, collection: &CollectionName) -> CatalogResult<Vec<CursorRow>>;

    /// A small value kept under a name (log id, epoch); see [`Mutation::SetMeta`].
    ///
    /// # Errors
    /// Why the engine could not.
    fn meta(&self, name: &str) -> CatalogResult<Option<String>>;

    /// Every small value with its name, in order of name; few.
    ///
    /// # Errors
    /// Why the engine could not.
    fn values(&self) -> CatalogResult<Vec<(String, String)>>;

    /// How many rows of each status, cheaply.
    ///
    /// # Errors
    /// Why the engine could not.
    fn counts(&self) -> CatalogResult<Vec<(SegmentStatus, u64)>>;

    /// Reads every row and checks it; returns what is wrong, a line each.
    ///
    /// # Errors
    /// Why the engine could not.
    fn check(&self) -> CatalogResult<Vec<String>>;

    /// Makes a new catalog of the same engine in the file `path`, with everything as it is at one moment, also while changes are
    /// made; durable when it returns. The number of its newest change is returned.
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] where something lies at `path`, or why the engine could not; what was begun is removed.
    fn copy_to(&self, path: &Path) -> CatalogResult<ChangeNumber>;

    /// What keeps it; `None` for one that is not in a file.
    fn engine(&self) -> Option<Engine>;

    /// How far its mirror has come; `None` without one.
    fn mirror(&self) -> Option<MirrorStatus> {
        None
    }
}

/// An engine below the rules: what every one builds [`Catalog::apply_groups`] on, and a bench measures.
#[cfg_attr(not(any(feature = "sqlite", feature = "mdbx", feature = "lmdb")), allow(dead_code))]
pub(crate) trait Transact: Catalog {
    /// Runs `work` in one transaction, makes it durable when it returned a number, and undoes it when it returned an error.
    ///
    /// # Errors
    /// What `work` returned, or why the engine could not.
    fn transact(&self, work: &mut Work<'_>) -> CatalogResult<ChangeNumber>;
}

/// What is done in a transaction.
#[cfg_attr(not(any(feature = "sqlite", feature = "mdbx", feature = "lmdb")), allow(dead_code))]
pub(crate) type Work<'a> = dyn FnMut(&mut dyn state::Rows) -> CatalogResult<ChangeNumber> + 'a;
