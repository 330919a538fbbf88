//! The hot files of a directory, shared by all its collections; their fdatasync is the acknowledgement.
//!
//! - [`group`]: the bytes of a group, and the checksums that tie it to its place (J1, J2)
//! - [`mod@file`]: names, header page, what still lives in a file
//! - [`files`]: preparing, recycling and giving back files (J3)
//! - [`queue`]: who waits, who leads (J8)
//! - `committer`: the thread that leads for async writers, syncs by interval, and marks idle journals (D1, J5)
//! - [`writer`]: what the log appends to
//! - `commit`: group commit, rotation, marks, poisoning (J4, J5, J7)
//! - [`mod@scan`]: what a crash left (J5, J6)
//!
//! Knows no catalog, no segments, and no directory but the one it is given.

mod commit;
mod committer;
mod error;
pub mod file;
pub mod files;
pub mod group;
pub mod queue;
pub mod scan;
pub mod writer;

pub use committer::{Committer, PeriodicSync};
pub use error::JournalError;
pub use file::{FileId, JournalFile, JournalHeader, JournalKind, JournalNumber};
pub use files::JournalFiles;
pub use group::{HeldBefore, Move, Predecessor, Verdict};
pub use queue::{Batch, Member, Purpose, Written};
pub use scan::{Damage, Scan, ScanError, ScannedRun, Tail, scan};
pub use writer::{Journal, JournalOptions, OnFailure, Ticket};

#[cfg(test)]
mod tests;
