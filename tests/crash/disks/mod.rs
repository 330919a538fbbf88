//! Three directories, each a disk of its own, of which one fails at every change in turn, in every way; then maybe a second.
//!
//! What must hold: an append meets one error at most, and the try after it works; all that was acknowledged can be read at
//! once, but for what lies on a disk that cannot be read, and then the error names it; the next process goes on with what was
//! moved, and refuses the rest by name; and when the disk is back, every acknowledged record is there once, in order, and
//! nothing is reported lost or damaged.
//!
//! - `run`: a run with a failing disk, and the ways in which it ends
//! - `look`: what is read, and compared with what was promised
//! - `moments`: killed, or the power cut, at every change while collections move
//! - `cases`: which runs are made, and how many
//! - `drain`: a directory that nothing is wrong with is drained
//! - `forget`: a directory is missing, forgotten, and returns
//!
//! `ICECORE_CRASH_DISKS` sets how many runs there are at most, `ICECORE_CRASH_CASE` runs a single one, as it was printed.

mod cases;
mod drain;
mod forget;
mod look;
mod moments;
mod run;

pub use run::{Case, End, Outcome, run};
