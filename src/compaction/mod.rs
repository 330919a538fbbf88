//! Compaction: which records of a collection may go, and which segments are worth writing anew (S2). No I/O.
//!
//! - `policy`: what a collection keeps, and what a moment makes of it
//! - `versions`: the decision about each record of some neighbouring segments
//! - `plan`: which segments are neighbours, and which of them become one
//! - `judge`: the four passes below, for whoever keeps the records ([`Neighbours`])
//! - `order`: what sinks are asked for, and answer
//!
//! Does not own: reading, writing, rows, who pins what (`log::compact`; for its own files, each sink).
//!
//! A sink that keeps old versions compacts by the same [`judge`], over its own files: what it says of segments below holds of files as well.
//!
//! # How versions are known in bounded memory
//!
//! Segments are looked at in *groups* of neighbours, oldest first. For the records of one group, four passes:
//!
//! 1. the group, forwards: its keys, and how many versions of each it has ([`Versions::note`]);
//! 2. the newer segments, forwards, where the policy limits versions: how many newer versions there are of *those* keys
//!    ([`Versions::note_newer`]), until each has enough;
//! 3. the older segments, backwards or forwards, where a tombstone or an expired record may go: which of those keys they can hold
//!    ([`Versions::note_older`]);
//! 4. the group again, forwards: the fate of each record ([`Versions::decide`]).
//!
//! So the keys of one group are in memory, never those of a collection, and no more than [`KEY_BYTES_MAX`] of them: a group with more is cut in
//! two, and a single segment with more is gone through in several parts, each with the keys of one residue of their hash
//! ([`Part`]). Keys themselves are compared, not hashes: no collision costs a record.
//!
//! What is not known counts against removing: a newer version that cannot be read does not count as one, and an older segment that cannot be
//! asked may hold every key.
//!
//! # Why `get` answers as before
//!
//! Of a key, the newest version is what [`get`](crate::Log::get) finds. A version goes because newer ones stay; or, with nothing older
//! left that could show through, because it is a tombstone or is expired: then there was no answer before, and is none behind it.
//!
//! "Nothing older left" holds only where what is older is gone for good by then. So results are put in force oldest first, and a segment that is
//! not worth writing anew is *fixed*: pass 4 is done again, with all of its records staying.

mod judge;
mod order;
mod plan;
mod policy;
#[cfg(test)]
mod tests;
mod versions;

pub use judge::{Fates, Neighbours, Unjudged, Verdict, judge};
pub use order::{FilesLeft, Freed, MustStay, Order};
pub use plan::{Candidate, Judged, groups, outputs};
pub use policy::{CompactionPolicy, Moment, Reason, Removed, Seen};
pub use versions::{Fate, KEY_BYTES_MAX, Part, TooManyKeys, Versions};
