//! Why a journal takes no group.

use std::sync::Arc;

use crate::fs::FsError;

/// A failed append, as every writer waiting for the same group gets it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// No space for another journal. Nothing was written; trying again later may help.
    #[error("no space for another journal")]
    Full(#[source] Arc<FsError>),
    /// Another journal could not be made. Nothing was written; trying again later may help.
    #[error("another journal could not be made")]
    Rotation(#[source] Arc<FsError>),
    /// Writing or syncing the group failed: it may be on disk or not (J7).
    #[error("writing or syncing the journal failed")]
    OutcomeUnknown(#[source] Arc<FsError>),
    /// An earlier write or sync failed; this group was not tried (J7).
    #[error("the journal takes no appends since a write or sync failed")]
    Poisoned(#[source] Arc<FsError>),
    /// The journal was given up for another reason than a failed write; nothing of this batch was written.
    #[error("the journal takes no appends any more")]
    Retired(#[source] Arc<FsError>),
    /// The log was closed.
    #[error("the log was closed")]
    Closed,
}

impl JournalError {
    /// The same failure, where it is not known whether anything was written.
    #[must_use]
    pub fn into_unknown(self) -> Self {
        match self {
            Self::Full(source) | Self::Rotation(source) | Self::Poisoned(source) | Self::Retired(source) => {
                Self::OutcomeUnknown(source)
            }
            other @ (Self::OutcomeUnknown(_) | Self::Closed) => other,
        }
    }
}
