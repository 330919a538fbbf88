//! How much memory and bandwidth uploads may take.

mod bandwidth;
mod budget;

pub use bandwidth::Bandwidth;
pub use budget::{Budget, Share};
