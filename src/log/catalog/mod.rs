//! The log's catalog: which engine keeps it, in which file, and moving it to another.
//!
//! - `choose`: the engine in use, the catalog's file, its mirror
//! - `migrate`: from one engine to another, in one step that a crash cannot split
//! - [`look`]: the catalog alone, to read
//!
//! Owns: what the first directory's identity says of the catalog. Does not own: any row (`crate::catalog`), or what is
//! done about a catalog that differs from the directories (`recover`).

pub mod look;

pub use look::CatalogLook;
