//! The log's catalog: which engine keeps it, in which file, and moving it to another.
//!
//! - `choose`: the engine in use, the catalog's file, its mirror
//! - `migrate`: from one engine to another, in one step that a crash cannot split
//! - [`check`]: catalog against directories
//! - [`rebuild`], `carry`, `place`: made anew from the directories; what only the old one knew; putting it in place
//! - `restore`: made from what an archive tells, with the directories of a new log
//! - [`look`]: the catalog alone, to read
//!
//! Owns: what the first directory's identity says of the catalog. Does not own: any row (`crate::catalog`), or what is
//! done about a catalog that differs from the directories (`recover`).

mod aside;
mod carry;
pub mod check;
pub(super) mod choose;
pub mod look;
pub mod migrate;
mod place;
pub mod rebuild;
pub(crate) mod restore;

pub use check::{CatalogFinding, CatalogReport};
pub use look::CatalogLook;
pub use migrate::Migrated;
pub use rebuild::{NotCarried, RebuildReport, Source};
