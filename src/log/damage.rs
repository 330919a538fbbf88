//! Damage, as recovery and verification report it.

use std::path::PathBuf;

use crate::types::{CollectionName, Sequence};

/// Something that is not what it should be, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Damaged {
    /// The file, or the directory where it should be.
    pub path: PathBuf,
    /// The collection, where one is known.
    pub collection: Option<CollectionName>,
    /// First sequence that it costs, where that is known.
    pub first_sequence: Option<Sequence>,
    /// Last sequence that it costs, where that is known.
    pub last_sequence: Option<Sequence>,
    /// What is wrong.
    pub reason: String,
}
