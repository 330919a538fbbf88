//! What whoever keeps a copy of a collection is asked to let go, and what it answers.

use super::policy::{Moment, Removed};
use crate::error::Result;
use crate::types::Sequence;

/// Why records of a range must stay, whatever the policy says; `None` where they need not.
pub type MustStay<'a> = dyn Fn(Sequence, Sequence) -> Result<Option<String>> + 'a;

/// A compaction of one collection, as it is asked of whoever keeps a copy of it: the policy that the log itself goes by, at the same moment.
pub struct Order<'a> {
    /// The policy, and what time it is; what it does not believe, the copy does not believe either (S3).
    pub moment: Moment,
    /// A file is written anew for the records that go only where they are at least so many of a hundred.
    pub gain_percent: u64,
    /// Changes nothing, and says what would be done.
    pub dry_run: bool,
    /// Asked before a range is looked at, and again before anything of it goes.
    pub must_stay: &'a MustStay<'a>,
    /// Waits for the turn of so many bytes, read or written; whether to go on. What is done by then stays done.
    pub pace: &'a mut dyn FnMut(u64) -> bool,
}

/// What a compaction of a copy did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Freed {
    /// Files that are gone.
    pub files_before: u64,
    /// Files that came for them.
    pub files_after: u64,
    /// Bytes of the files that are gone.
    pub bytes_before: u64,
    /// Bytes of the files that came for them; of a dry run, about.
    pub bytes_after: u64,
    /// Records that went.
    pub removed: Removed,
    /// Files that are replaced and still there, because somebody reads them: they go with a later change.
    pub files_left: u64,
    /// Files that were left alone, by the reason.
    pub left_alone: Vec<FilesLeft>,
    /// What ended it early, where something did: the rest of these numbers is what was done by then.
    pub failed: Option<String>,
}

/// Files that were left alone for one reason.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FilesLeft {
    /// Why.
    pub reason: String,
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Freed {
    /// And those: files, bytes and records.
    pub fn add(&mut self, other: &Self) {
        self.files_before += other.files_before;
        self.files_after += other.files_after;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.removed.add(other.removed);
    }

    /// Another file was left alone.
    pub fn leave(&mut self, reason: String, bytes: u64) {
        if let Some(known) = self.left_alone.iter_mut().find(|known| known.reason == reason) {
            known.files += 1;
            known.bytes += bytes;
        } else {
            self.left_alone.push(FilesLeft { reason, files: 1, bytes });
        }
    }

    /// Whether anything was done, left, left alone, or failed.
    #[must_use]
    pub const fn is_worth_telling(&self) -> bool {
        self.files_before > 0 || self.files_left > 0 || !self.left_alone.is_empty() || self.failed.is_some()
    }
}
