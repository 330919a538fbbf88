//! The recovery table (DESIGN section 8): what to do with a segment, by what the catalog, the disk and the archive say.
//!
//! Owns: the decision, as a pure function over every combination; `docs/recovery.md` shows the same table, and a test compares the two.

use crate::catalog::SegmentStatus;

/// What lies under a segment's name in its local directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileState {
    /// The system says "not found", and nothing else.
    Absent,
    /// There; its footer is whole, or nobody had a reason to look yet.
    Present,
    /// There; its footer is damaged or missing.
    Damaged,
    /// The system gave an error other than "not found".
    Unreadable,
}

impl FileState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Absent, Self::Present, Self::Damaged, Self::Unreadable];

    /// As in the table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Present => "present",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What recovery does with one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Nothing: catalog and disk agree.
    Keep,
    /// Nothing is known of it anywhere.
    Nothing,
    /// A whole file without a row: a crash came between its rename and its row. It gets the row; it is never cut again (R3).
    Adopt,
    /// A damaged file without a row: set aside. Its records are still in the journals, since no row released them.
    SetAside,
    /// An interrupted upload: the row goes back to Sealed, and the archiver starts again.
    BackToSealed,
    /// The local copy is gone or bad, an archived one is known: the row becomes Evicted; a bad file is set aside.
    ReadFromArchive,
    /// No good copy is known: the row becomes Quarantined, the file, if any, is set aside, its sequences are recorded as a loss.
    Quarantine,
    /// The row says that the local copy is not wanted any more: an interrupted delete is finished.
    RemoveFile,
    /// A purge was begun: the local copy goes; the row becomes Purged where no archived copy is left to delete.
    FinishPurge,
    /// The system cannot read the file now: nothing is changed, reads of it fail and name it, the rest is served.
    Report,
}

impl Action {
    /// As in the table and in `recover --dry-run`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Nothing => "nothing",
            Self::Adopt => "adopt",
            Self::SetAside => "set-aside",
            Self::BackToSealed => "back-to-sealed",
            Self::ReadFromArchive => "read-from-archive",
            Self::Quarantine => "quarantine",
            Self::RemoveFile => "remove-file",
            Self::FinishPurge => "finish-purge",
            Self::Report => "report",
        }
    }
}

/// The table. `row` is `None` where the catalog has no row; `archived` says whether an archived copy is known.
#[must_use]
pub const fn decide(row: Option<SegmentStatus>, file: FileState, archived: bool) -> Action {
    use FileState::{Absent, Damaged, Present, Unreadable};
    use SegmentStatus as S;
    match (row, file) {
        (None, Absent) => Action::Nothing,
        (None, Present) => Action::Adopt,
        (None, Damaged) => Action::SetAside,
        (_, Unreadable) => Action::Report,

        (Some(S::Sealed | S::Archived), Present) | (Some(S::Evicted | S::Replaced | S::Purged), Absent) => Action::Keep,
        (Some(S::Archiving), Present) => Action::BackToSealed,
        (Some(S::Sealed | S::Archiving | S::Archived), Absent | Damaged) => {
            if archived {
                Action::ReadFromArchive
            } else {
                Action::Quarantine
            }
        }
        (Some(S::Evicted | S::Replaced | S::Purged), Present | Damaged) => Action::RemoveFile,
        (Some(S::Purging), _) => Action::FinishPurge,
        // What an operator puts back under a quarantined name is judged by `verify`, not here.
        (Some(S::Quarantined), _) => Action::Keep,
    }
}

/// Every row of the table: status (or none), file, archived, action.
pub fn rows() -> impl Iterator<Item = (Option<SegmentStatus>, FileState, bool, Action)> {
    let statuses = std::iter::once(None).chain(SegmentStatus::ALL.map(Some));
    statuses.flat_map(|row| {
        FileState::ALL
            .into_iter()
            .flat_map(move |file| [false, true].map(|archived| (row, file, archived, decide(row, file, archived))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy may only be removed where the row says that it is not wanted, and a row may only be given up where no
    /// copy is known.
    #[test]
    fn nothing_that_is_wanted_is_given_up() {
        for (row, file, archived, action) in rows() {
            let wanted = row.is_some_and(SegmentStatus::is_live);
            let has_copy = archived || file == FileState::Present || row == Some(SegmentStatus::Evicted);
            match action {
                Action::RemoveFile | Action::FinishPurge => {
                    assert!(!wanted || row == Some(SegmentStatus::Evicted), "{row:?} {file:?} {archived}");
                }
                Action::Quarantine => assert!(wanted && !has_copy, "{row:?} {file:?} {archived}"),
                _ => {}
            }
            if file == FileState::Unreadable {
                assert_eq!(action, Action::Report, "an error is not absence");
            }
        }
    }
}
