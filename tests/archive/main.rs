//! The archiver over a store that goes wrong, on the simulated file system, with the catalog in memory and in SQLite.
//!
//! - `matrix`: every fault at every call, then another try, and another opening
//! - `kills`: the process ends at every step
//! - `racing`: two archivers, one prefix, paused and resumed at every step
//! - `fenced`: who was taken over stays so, and what only looks like another machine is none
//! - `sabotage`: rules that are broken, one at a time, are found
//! - `requests`: how many are made, and none while nothing is sealed
//! - `segments`: what befalls single segments: damage, conflicts, holes, homes
//!
//! What must hold is in `world`, and is checked after each run.

#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

#[path = "../crash/kept.rs"]
mod kept;

mod fenced;
mod kills;
mod matrix;
mod racing;
mod requests;
mod sabotage;
mod segments;
mod world;
