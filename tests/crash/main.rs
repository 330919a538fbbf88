//! The crash suite: whatever a power cut or a failing disk leaves, no acknowledged record is lost, none is there twice,
//! none invented, no batch split, and recovery gives the same however often it is interrupted.
//!
//! - `workload`: what the log goes through
//! - `model`: what it promised
//! - `probe`: cuts the power at every change of the disk and every commit, and looks
//! - `points`: the names of those places; each must have occurred
//! - `kept`: the catalog, and what a killed process leaves of it; `engines`: the suite with each real one
//! - `faults`: EIO, ENOSPC, EROFS at every operation
//! - `disks`: several directories, one of which fails
//! - `stored`: flush to sinks, and compaction
//! - `flips`: every byte of every file damaged, one at a time
//! - `sabotage`: one rule broken at a time, to show that the suite can fail
//!
//! `ICECORE_CRASH_STATES` sets how many distinct states are tried (100,000), `ICECORE_CRASH_ENGINE_STATES` how many with each
//! real engine that is built in (5,000), `ICECORE_CRASH_SEED` runs a single seed.
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod crashes;
mod disks;
mod engines;
mod faults;
mod flips;
mod kept;
mod model;
mod points;
mod probe;
mod sabotage;
mod stored;
mod workload;
