//! The log's catalog: which engine keeps it, in which file, and moving it to another.
//!
//! - `choose`: the engine in use, the catalog's file, its mirror
//! - `migrate`: from one engine to another, in one step that a crash cannot split
//!
//! Owns: what the first directory's identity says of the catalog. Does not own: any row (`crate::catalog`), or what is
//! done about a catalog that differs from the directories (`recover`).

mod aside;
pub(super) mod choose;
pub mod migrate;

pub use migrate::Migrated;
