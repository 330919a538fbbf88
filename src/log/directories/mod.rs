//! The set of a log's directories: adding, draining, listing, forgetting, and homes in object stores (F6, A1, A3, A5).
//!
//! - `set`: which directories there are, by all identities that can be read; changing that
//! - [`add`]: a directory joins, comes back, or is put back in service
//! - [`drain`], `relocate`: everything goes elsewhere
//! - [`component`]: and what other components keep there
//! - [`forget`]: a directory is given up
//! - [`list`]: what there is
//! - [`home`]: which object store a collection's segments go to
//!
//! # How the set changes
//!
//! Only the creation of a log and what is here change it (F6), with every directory that is there locked. Each identity holds all of the
//! set, and [`set`](super::identity::Identity::set) counts its changes. A change is made when the first of them is durable, and the
//! others follow; where they differ, the highest number is right, so a crash between any two leaves the old set or the new one. Every
//! directory that is there is asked: who is given any one of them reads its siblings' identities, and theirs.

pub mod add;
pub mod component;
pub mod drain;
pub mod forget;
pub mod home;
pub mod list;
mod relocate;
pub(super) mod set;
#[cfg(test)]
mod tests;

pub use add::{Added, How};
pub use component::{ComponentFiles, ComponentMove, ComponentStayed};
pub use drain::{DrainProgress, Drained};
pub use forget::{ForgetPlan, GivenUp};
pub(crate) use home::home_row;
pub use home::{HOME, HomeInfo};
pub use list::DirectoryInfo;
