//! The recovery table (DESIGN section 8): what to do with a segment, by what the catalog, the disks and the archive say.
//!
//! Owns: the decision, as pure functions over every combination; `docs/recovery.md` shows the same tables, and a test compares
//! them. A segment's own place is the directory that its row names. Without a row it is the collection's directory, or
//! where the file was found. A file of the same name in another directory is a copy: of a drain that was killed between copying and
//! removing, of a disk that came back, of a backup. Which copy counts is decided here, never by the order of listing.

use crate::catalog::SegmentStatus;

/// What lies under a segment's name in its own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileState {
    /// The system says "not found", and nothing else.
    Absent,
    /// There; whole as far as anybody had a reason to look.
    Present,
    /// There; found to be not what its row says, or, without a row, not whole.
    Damaged,
    /// The system gave an error other than "not found", or what lies there is none of ours to judge.
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

/// What other directories hold under a segment's name: the best of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Elsewhere {
    /// Nothing.
    None,
    /// A whole file with the records that the segment should have, every byte read.
    Same,
    /// Nothing but damaged files, or other records.
    Other,
    /// Nothing under its name; but a whole file without a row that compaction made from it.
    Compacted,
    /// A file that the system cannot read now, or a directory that is missing, and none that is the same.
    Unreadable,
}

impl Elsewhere {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::None, Self::Same, Self::Other, Self::Compacted, Self::Unreadable];

    /// As in the table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Same => "same",
            Self::Other => "other",
            Self::Compacted => "compacted",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What recovery does with one segment, or with one copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Nothing: catalog and disk agree.
    Keep,
    /// Nothing is known of it anywhere.
    Nothing,
    /// A whole file without a row: a crash came between its rename and its row. It gets the row; it is never cut again (R3). A loss
    /// on record that it fills is recovered.
    Adopt,
    /// A file that no row needs, and that is no copy of one that stays: set aside. A damaged one without a row has its records in the
    /// journals still, since no row released them.
    SetAside,
    /// An interrupted upload: the row goes back to Sealed, and the archiver starts again.
    BackToSealed,
    /// The file is not in its own place, and another directory has it whole: the row names that directory from now on.
    Relocate,
    /// A quarantined segment's file is back, whole: the row becomes Sealed again, and its loss is recovered.
    PutBack,
    /// The file is gone or bad, and compaction had made a whole one from it, of which an older copy of the catalog does not know: the row
    /// becomes Replaced in the transaction that adopts that file. So do the rows of everything else that it was made from.
    Replace,
    /// The local copy is gone or bad, an archived one is known: the row becomes Evicted; a bad file is set aside.
    ReadFromArchive,
    /// No good copy is known: the row becomes Quarantined, the file, if any, is set aside, its sequences are recorded as a loss.
    Quarantine,
    /// The row says that the local copy is not wanted any more: an interrupted delete is finished.
    RemoveFile,
    /// A second copy of records that the row's own file has, read and found whole, or that no row wants here: removed.
    RemoveCopy,
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
            Self::Relocate => "relocate",
            Self::PutBack => "put-back",
            Self::Replace => "replace",
            Self::ReadFromArchive => "read-from-archive",
            Self::Quarantine => "quarantine",
            Self::RemoveFile => "remove-file",
            Self::RemoveCopy => "remove-copy",
            Self::FinishPurge => "finish-purge",
            Self::Report => "report",
        }
    }
}

/// The table. `row` is `None` where the catalog has no row; `archived` says whether an archived copy is known.
#[must_use]
pub const fn decide(row: Option<SegmentStatus>, file: FileState, elsewhere: Elsewhere, archived: bool) -> Action {
    use FileState::{Absent, Damaged, Present, Unreadable};
    use SegmentStatus as S;
    match (row, file, elsewhere) {
        (_, Unreadable, _) => Action::Report,

        (None, Present, _) | (None, Absent | Damaged, Elsewhere::Same) => Action::Adopt,
        // What cannot be read may be the whole one.
        (None, Absent | Damaged, Elsewhere::Unreadable) => Action::Report,
        (None, Absent, Elsewhere::None | Elsewhere::Other | Elsewhere::Compacted) => Action::Nothing,
        (None, Damaged, Elsewhere::None | Elsewhere::Other | Elsewhere::Compacted) => Action::SetAside,

        (Some(S::Sealed | S::Archived), Present, _) | (Some(S::Evicted | S::Replaced | S::Purged), Absent, _) => {
            Action::Keep
        }
        (Some(S::Archiving), Present, _) => Action::BackToSealed,
        (Some(S::Sealed | S::Archiving | S::Archived), Absent | Damaged, Elsewhere::Same) => Action::Relocate,
        (Some(S::Sealed | S::Archiving | S::Archived), Absent | Damaged, _) => {
            if archived {
                Action::ReadFromArchive
            } else if matches!(elsewhere, Elsewhere::Compacted) {
                Action::Replace
            } else if matches!(elsewhere, Elsewhere::Unreadable) {
                Action::Report
            } else {
                Action::Quarantine
            }
        }
        (Some(S::Evicted | S::Replaced | S::Purged), Present | Damaged, _) => Action::RemoveFile,
        // Purged means that every copy is gone.
        (Some(S::Purging), _, Elsewhere::Unreadable) => Action::Report,
        (Some(S::Purging), ..) => Action::FinishPurge,

        (Some(S::Quarantined), Present, _) | (Some(S::Quarantined), Absent | Damaged, Elsewhere::Same) => {
            Action::PutBack
        }
        (Some(S::Quarantined), Absent | Damaged, _) => Action::Keep,
    }
}

/// What is done with a file of the segment's name in another directory, unless [`decide`] chose it to be the segment's own from now
/// on. `file` is what lies in the segment's own place; `copy` is never [`Elsewhere::None`], nor [`Elsewhere::Compacted`].
#[must_use]
pub const fn decide_copy(file: FileState, copy: Elsewhere) -> Action {
    match (file, copy) {
        (_, Elsewhere::None | Elsewhere::Compacted) => Action::Nothing,
        (_, Elsewhere::Unreadable) => Action::Report,
        // Nothing is changed until the segment's own file can be read.
        (FileState::Unreadable, Elsewhere::Same | Elsewhere::Other) => Action::Keep,
        (_, Elsewhere::Same) => Action::RemoveCopy,
        (_, Elsewhere::Other) => Action::SetAside,
    }
}

/// A line of the table: status (or none), file, elsewhere, archived, action.
pub type Line = (Option<SegmentStatus>, FileState, Elsewhere, bool, Action);

/// Every line of the table.
pub fn rows() -> impl Iterator<Item = Line> {
    let statuses = std::iter::once(None).chain(SegmentStatus::ALL.map(Some));
    statuses.flat_map(|row| {
        FileState::ALL.into_iter().flat_map(move |file| {
            Elsewhere::ALL.into_iter().flat_map(move |elsewhere| {
                [false, true].map(|archived| (row, file, elsewhere, archived, decide(row, file, elsewhere, archived)))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file may only be removed where the row says that it is not wanted, and a row may only be given up where no copy is known
    /// and nothing is unreadable that may be one.
    #[test]
    fn nothing_that_is_wanted_is_given_up() {
        for (row, file, elsewhere, archived, action) in rows() {
            let line = format!("{row:?} {file:?} {elsewhere:?} {archived}: {action:?}");
            let wanted = row.is_some_and(SegmentStatus::is_live);
            let has_copy = archived
                || file == FileState::Present
                || matches!(elsewhere, Elsewhere::Same | Elsewhere::Unreadable)
                || row == Some(SegmentStatus::Evicted);
            match action {
                Action::RemoveFile | Action::FinishPurge => {
                    assert!(!wanted || row == Some(SegmentStatus::Evicted), "{line}");
                }
                Action::Quarantine => assert!(wanted && !has_copy && elsewhere != Elsewhere::Compacted, "{line}"),
                Action::Replace => assert!(wanted && !has_copy && elsewhere == Elsewhere::Compacted, "{line}"),
                Action::Relocate | Action::PutBack => {
                    assert!(file == FileState::Present || elsewhere == Elsewhere::Same, "{line}");
                }
                Action::RemoveCopy => panic!("a segment is no copy of itself: {line}"),
                _ => {}
            }
            if file == FileState::Unreadable {
                assert_eq!(action, Action::Report, "an error is not absence: {line}");
            }
        }
    }

    /// A copy is removed only where the segment's own file is whole, or not wanted, or was replaced by another whole copy; and
    /// only if it is the same.
    #[test]
    fn a_copy_is_removed_only_where_another_stays() {
        for (row, file, elsewhere, archived, action) in rows() {
            for copy in [Elsewhere::Same, Elsewhere::Other, Elsewhere::Unreadable] {
                let of_copy = decide_copy(file, copy);
                assert!(of_copy != Action::RemoveCopy || copy == Elsewhere::Same);
                assert!(copy != Elsewhere::Unreadable || of_copy == Action::Report);
                if of_copy == Action::RemoveCopy && elsewhere == Elsewhere::Same {
                    let is_kept = matches!(action, Action::Adopt | Action::Relocate | Action::PutBack)
                        || file == FileState::Present
                        || row.is_some_and(|row| !row.is_local() && row != SegmentStatus::Quarantined);
                    assert!(is_kept, "{row:?} {file:?} {elsewhere:?} {archived} {copy:?}");
                }
            }
        }
    }

    /// What acting leaves is kept by the next opening: nothing is done twice.
    #[test]
    fn a_second_recovery_finds_nothing_to_do() {
        use SegmentStatus::{Evicted, Purged, Quarantined, Replaced, Sealed};
        for (row, file, elsewhere, archived, action) in rows() {
            let (row_after, file_after) = match action {
                Action::Keep | Action::Nothing | Action::Report => continue,
                Action::Adopt | Action::PutBack | Action::BackToSealed => (Some(Sealed), FileState::Present),
                Action::Relocate => (row.map(|row| if row.is_live() { row } else { Sealed }), FileState::Present),
                Action::SetAside => (None, FileState::Absent),
                Action::ReadFromArchive => (Some(Evicted), FileState::Absent),
                Action::Quarantine => (Some(Quarantined), FileState::Absent),
                Action::RemoveFile => (row, FileState::Absent),
                Action::FinishPurge => (Some(Purged), FileState::Absent),
                Action::Replace => (Some(Replaced), FileState::Absent),
                Action::RemoveCopy => unreachable!(),
            };
            // An interrupted upload goes back with the relocation.
            let row_after = row_after.map(|row| if row == SegmentStatus::Archiving { Sealed } else { row });
            let after = decide(row_after, file_after, Elsewhere::None, archived);
            let is_calm = matches!(after, Action::Keep | Action::Nothing);
            assert!(is_calm, "{row:?} {file:?} {elsewhere:?} {archived}: {action:?}, then {after:?}");
        }
    }
}
