//! What recovery finds in directories, and what it makes of it: every line of the recovery table built for real, copies in
//! several directories, collections found again without a catalog, files of others.
//!
//! - `world`: a log of two directories on a simulated disk, with one sealed segment; a disk on which chosen paths cannot be read
//! - `combinations`: row state x file x elsewhere x archived, opened, opened again, and opened after a crash at each step
//! - `copies`: what comes back, and what it fills
//! - `names`: collections by the names of their folders
//! - `foreign`: files that are none of ours
//! - `missing`: verify, check and rebuild with a directory missing
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod combinations;
mod copies;
mod foreign;
mod missing;
mod names;
mod world;
