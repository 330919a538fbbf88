//! The state machine: what may happen to a segment (C1), and to every other row, in one place.
//!
//! Owns: the table of transitions, the rules of each [`Mutation`](super::Mutation), the numbering of changes and what they say, the
//! counts of rows. Does not own: where rows are kept. An engine is a [`Rows`]: it finds rows by key and keeps the
//! [`RowWrite`]s that [`apply`] gives it, in one transaction. A `RowWrite` can be made here and nowhere else, so no
//! engine can keep a row that was not checked.

mod rules;

#[cfg_attr(not(any(feature = "mdbx", feature = "lmdb")), allow(unused_imports))]
pub(super) use rules::WORD_BYTES_MAX;

use std::collections::BTreeMap;

use super::model::{Assignment, Change, CollectionRow, CursorRow, Group, LossRow, Refused};
use super::{CatalogResult, SegmentKey, SegmentRow, SegmentStatus};
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

/// Every allowed transition (C1). What is not here is refused.
pub const TRANSITIONS: [(SegmentStatus, SegmentStatus); 17] = {
    use SegmentStatus::{Archived, Archiving, Evicted, Purged, Purging, Quarantined, Replaced, Sealed};
    [
        (Sealed, Archiving),     // an upload begins
        (Archiving, Archived),   // the object is proven
        (Archiving, Sealed),     // the upload failed, or a crash interrupted it
        (Archived, Evicted),     // the local copy goes
        (Evicted, Archived),     // the local copy comes back
        (Archived, Sealed),      // the archived object is lost, and will be uploaded anew
        (Sealed, Replaced),      // compaction covers it
        (Sealed, Purging),       // retention, where the policy is local only
        (Archived, Purging),     // retention
        (Evicted, Purging),      // retention
        (Purging, Purged),       // every copy is deleted
        (Sealed, Quarantined),   // found damaged or missing
        (Archived, Quarantined), // found damaged or missing
        (Evicted, Quarantined),  // found damaged or missing
        (Quarantined, Evicted),  // an archived copy is proven
        (Quarantined, Sealed),   // a good copy is put back
        (Quarantined, Purged),   // its loss is acknowledged
    ]
};

/// The statuses that a new row may have: sealed here, restored from an archive, or found damaged.
pub const INSERTABLE: [SegmentStatus; 3] = [SegmentStatus::Sealed, SegmentStatus::Evicted, SegmentStatus::Quarantined];

/// Whether a segment may go from one status to the other.
///
/// # Errors
/// [`Refused`], naming both, when [`TRANSITIONS`] does not list it.
pub fn check_transition(from: SegmentStatus, to: SegmentStatus) -> Result<(), Refused> {
    if TRANSITIONS.contains(&(from, to)) {
        Ok(())
    } else {
        Err(Refused { what: format!("a segment does not go from one to the other: from=`{from}`, to=`{to}`") })
    }
}

/// A collection's row, and what only the catalog itself needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionState {
    /// What everyone sees.
    pub row: CollectionRow,
    /// The highest sequence of any row about this collection, ever (C7).
    pub sequence_max: Sequence,
}

/// One row to keep, in place of the one with the same key; or one that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A segment. Its key, epoch, path, sizes, digests, times and `sealed_change` never change.
    Segment {
        /// The row.
        row: SegmentRow,
        /// Status and flush time of the row it replaces; `None` for a new one.
        before: Option<(SegmentStatus, Option<Timestamp>)>,
    },
    /// A collection.
    Collection {
        /// The row.
        state: CollectionState,
        /// Whether there was none of this name.
        is_new: bool,
    },
    /// The newest assignment of a component for a collection.
    Assignment(Assignment),
    /// A loss or a gap.
    Loss(LossRow),
    /// The loss, or gap, of exactly this range: its row is there, and goes.
    LossGone {
        /// The collection.
        collection: CollectionName,
        /// First missing sequence.
        first: Sequence,
        /// Last missing sequence.
        last: Sequence,
    },
    /// A sink's cursor.
    Cursor(CursorRow),
    /// A small value.
    Meta {
        /// Its name.
        name: String,
        /// The value.
        value: String,
    },
    /// How many segments have a status.
    Count {
        /// Which status.
        status: SegmentStatus,
        /// How many.
        count: u64,
    },
    /// A row of the history; its number is new.
    Change(Change),
}

/// A [`Row`] that passed the rules.
#[derive(Debug)]
pub struct RowWrite(Row);

impl RowWrite {
    /// The row.
    #[must_use]
    pub fn row(&self) -> &Row {
        &self.0
    }

    /// The row.
    #[must_use]
    pub fn into_row(self) -> Row {
        self.0
    }
}

/// A transaction of an engine: the rows as they are in it, those put before in the same transaction included.
pub trait Rows {
    /// The number of the newest change; zero where there is none.
    ///
    /// # Errors
    /// Why the engine could not; the transaction is undone then. The same holds for every method here.
    fn change_number(&mut self) -> CatalogResult<ChangeNumber>;

    /// One segment.
    ///
    /// # Errors
    /// Why the engine could not.
    fn segment(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>>;

    /// Any live segment of the same collection and generation whose range shares a sequence with `key`'s.
    ///
    /// # Errors
    /// Why the engine could not.
    fn live_overlap(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentKey>>;

    /// One collection.
    ///
    /// # Errors
    /// Why the engine could not.
    fn collection(&mut self, name: &CollectionName) -> CatalogResult<Option<CollectionState>>;

    /// The newest assignment of a component for a collection.
    ///
    /// # Errors
    /// Why the engine could not.
    fn assignment(&mut self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>>;

    /// The loss, or gap, of exactly this range.
    ///
    /// # Errors
    /// Why the engine could not.
    fn loss(&mut self, collection: &CollectionName, first: Sequence, last: Sequence) -> CatalogResult<Option<LossRow>>;

    /// A sink's cursor.
    ///
    /// # Errors
    /// Why the engine could not.
    fn cursor(&mut self, collection: &CollectionName, sink: &str) -> CatalogResult<Option<CursorRow>>;

    /// How many segments have a status.
    ///
    /// # Errors
    /// Why the engine could not.
    fn count(&mut self, status: SegmentStatus) -> CatalogResult<u64>;

    /// Keeps a row.
    ///
    /// # Errors
    /// Why the engine could not.
    fn put(&mut self, write: RowWrite) -> CatalogResult<()>;
}

/// Checks the mutations of `groups` one after another, each against the rows that those before it left, and puts what
/// they make: their rows, one numbered change each, and the counts. Returns the number of the last change.
///
/// The engine begins a transaction before, makes it durable when this returned a number, and undoes it when this
/// returned an error.
///
/// # Errors
/// [`CatalogError::Refused`](super::CatalogError::Refused) for a mutation that the rules forbid, or what an engine said.
pub fn apply(rows: &mut dyn Rows, groups: &[Group<'_>]) -> CatalogResult<ChangeNumber> {
    let mut number = rows.change_number()?;
    let mut moved = BTreeMap::<SegmentStatus, i64>::new();
    for &Group { mutations, at, reason } in groups {
        for mutation in mutations {
            number = number.next();
            let mut change = rules::Step { rows, number, at, reason, moved: &mut moved };
            let mutation = change.make(mutation)?;
            rows.put(RowWrite(Row::Change(Change {
                number,
                at,
                reason: reason.to_owned(),
                kind: mutation.kind().to_owned(),
                subject: mutation.subject().to_owned(),
                detail: serde_json::to_string(&*mutation).expect("a mutation is strings and numbers"),
            })))?;
        }
    }
    for (status, difference) in moved {
        if difference != 0 {
            let count = rows.count(status)?.saturating_add_signed(difference);
            rows.put(RowWrite(Row::Count { status, count }))?;
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DESIGN section 6, C1, as it is written there.
    const C1: [(&[SegmentStatus], &[SegmentStatus]); 9] = {
        use SegmentStatus::{Archived, Archiving, Evicted, Purged, Purging, Quarantined, Replaced, Sealed};
        [
            (&[Sealed], &[Archiving]),
            (&[Archiving], &[Archived, Sealed]),
            (&[Archived], &[Evicted, Sealed]),
            (&[Evicted], &[Archived]),
            (&[Sealed], &[Replaced]),
            (&[Sealed, Archived, Evicted], &[Purging]),
            (&[Purging], &[Purged]),
            (&[Sealed, Archived, Evicted], &[Quarantined]),
            (&[Quarantined], &[Evicted, Sealed, Purged]),
        ]
    };

    #[test]
    fn every_pair_is_allowed_or_refused_as_c1_says() {
        let mut allowed = 0;
        for from in SegmentStatus::ALL {
            for to in SegmentStatus::ALL {
                let listed = C1.iter().any(|(sources, targets)| sources.contains(&from) && targets.contains(&to));
                match check_transition(from, to) {
                    Ok(()) => {
                        assert!(listed, "{from} -> {to} is not in C1");
                        allowed += 1;
                    }
                    Err(refused) => {
                        assert!(!listed, "{from} -> {to} is in C1");
                        assert!(refused.what.contains(&format!("from=`{from}`, to=`{to}`")), "{refused}");
                    }
                }
            }
        }
        assert_eq!(allowed, TRANSITIONS.len(), "a transition is listed twice");
    }

    #[test]
    fn live_is_what_has_a_promised_copy() {
        let live: Vec<_> = SegmentStatus::ALL.into_iter().filter(|status| status.is_live()).collect();
        use SegmentStatus::{Archived, Archiving, Evicted, Sealed};
        assert_eq!(live, [Sealed, Archiving, Archived, Evicted]);
    }
}
