//! Retention (O7): what may go, and letting it go, everywhere and for ever.
//!
//! - [`plan`](mod@plan): which segments of which collections, why, and what stops it; changes nothing
//! - [`apply`](mod@apply): does it, and goes on with what was begun before
//!   ([`go_on`], which the archiver calls too, when something is due)
//! - `grace`: what waits for its grace period, kept in the catalog
//!
//! Owns: that only a prefix of a collection goes, never what somebody holds, reads, or has not got yet, never what is in no archive (unless the
//! policy is local only), nothing by a clock that is wrong, and nothing by a writer that is fenced. Does not own: the local files
//! ([`log::tier`](crate::log::tier)), manifests ([`fence`](super::fence)).
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. **Fence.** The archive is asked whether it is still ours. A writer that is fenced begins nothing.
//! 2. **Catalog**: one durable transaction raises the floor and sets the rows `Purging`. From here on nothing of it is promised or read. A
//!    crash leaves `Purging` rows, with which the next run goes on.
//! 3. **Local files** go; where nothing of a collection is left, a stub keeps its end (C7). A crash leaves files whose rows do not want them.
//! 4. **Manifest**: the removals and the floors, under the next number. From here on the objects count no more; they are still there.
//!    A crash behind it leaves rows of which nobody knows that they were told: they are told again, which changes nothing.
//! 5. **Grace**: which rows, and since when, goes into the catalog. A crash before begins the grace period again.
//! 6. **Deletes**, behind the grace period, each after the archive was asked once more whether it is ours. A crash leaves rows whose objects
//!    are gone: deleting again is fine. What the store refuses to delete before a time stays `Purging`, and is told.
//! 7. **Rows** become `Purged`, and stay as history.

pub mod apply;
mod grace;
pub mod plan;
#[cfg(test)]
mod tests;

pub use apply::{ApplyOptions, Locked, Purged, Target, Targets, apply, due_at, go_on, is_pending};
pub use plan::{CollectionPlan, Plan, PlanOptions, Planned, Stopped, plan};
