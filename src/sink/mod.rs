//! Sinks: what consumes a collection's records in order, and durably has them up to a cursor (DESIGN section 10).
//!
//! - [`delivery`]: which records a sink gets next, and what becomes of failures
//!
//! Owns: the contract, delivery, cursors in the catalog, and when a segment counts as flushed (C2). Does not own: what a sink does
//! with the records (the columnar store, the key-value store), sealing (`log`). It reads sealed segments and the memtable through the log's reader, up to the durable
//! mark only (D1).
//!
//! # What every sink promises
//!
//! 1. **In order, nothing twice.** [`Sink::apply`] of a batch makes all of its records part of the sink, or nothing of them, however it
//!    ends. Records at or before the sink's cursor are ignored: they came before.
//! 2. **Durable on return.** When `apply`, [`Sink::raise_floor`] or [`Sink::clear`] returned `Ok`, what it did survives a power cut, and so does the cursor, which is
//!    written behind the data: a cursor never stands before data that is not durable.
//! 3. **The cursor is the sink's own word.** [`Sink::cursor`] reads what the sink has, not what anybody remembers. The catalog's copy may lag
//!    behind it; delivery goes by the sink.
//! 4. **A failure changes nothing.** After an error the sink is as it was before the call, or, where the outcome is unknown, as it would be after;
//!    the next call finds out by the cursor.
//! 5. **No holes.** A batch that begins behind the cursor's next sequence is refused as a conflict.
//! 6. What is below the floor is purged: it is not found in the sink any more when `raise_floor` returned.
//! 7. All calls may run at the same time, from any thread; of two that apply to one collection, one waits.
//! 8. Compaction changes no cursor and no floor: a record that it lets go lies before the cursor, and is not delivered again.

pub mod delivery;
#[cfg(any(test, feature = "testing"))]
pub mod memory;

use std::fmt;

pub use delivery::{FlushFailure, FlushReport, SinkFailure, SinkStatus, Sinks, SinksOptions, ToldSinks};

use crate::compaction::{Freed, Order};
use crate::error::Result;
use crate::types::{CollectionName, Epoch, Record, Sequence};

/// The longest name of a sink, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Up to where a sink durably has a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// The epoch of the log that delivered last.
    pub epoch: Epoch,
    /// The last sequence that it has, or that was not there to be had.
    pub sequence: Sequence,
}

/// A consumer of records. See the module for what each promises.
pub trait Sink: Send + Sync + fmt::Debug {
    /// Its name, the same for ever: cursors are kept under it. Small letters, digits and `-`, at most [`NAME_BYTES_MAX`].
    fn name(&self) -> &str;

    /// Up to where it durably has a collection; `None` where it has nothing of it.
    ///
    /// # Errors
    /// Why the sink could not say.
    fn cursor(&self, collection: &CollectionName) -> Result<Option<Cursor>>;

    /// Takes records.
    ///
    /// # Errors
    /// Why it could not; then it has none of them. `OutcomeUnknown` where it may have all of them.
    fn apply(&self, batch: &Batch<'_>) -> Result<()>;

    /// Nothing before `floor` is to be found any more: it was purged, or the collection was deleted.
    ///
    /// # Errors
    /// Why it could not; it is tried again.
    fn raise_floor(&self, collection: &CollectionName, floor: Sequence) -> Result<()>;

    /// Lets go of what the policy lets go, and says what that freed; `None` for a sink that keeps no old versions. Delivery goes on meanwhile.
    ///
    /// # Errors
    /// Why it could not; what was let go by then is gone. It is tried again with the log's next compaction.
    fn compact(&self, collection: &CollectionName, order: &mut Order<'_>) -> Result<Option<Freed>> {
        let _ = (collection, order);
        Ok(None)
    }

    /// Forgets all that it has of a collection, whatever state that is in: its cursor is `None`, and everything is delivered anew.
    ///
    /// # Errors
    /// Why it could not; it is tried again.
    fn clear(&self, collection: &CollectionName) -> Result<()>;

    /// How many bytes of records it wants in a batch, at most. One record may be larger.
    fn batch_bytes(&self) -> u64 {
        8 << 20
    }
}

/// Records of one collection, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The collection.
    pub collection: &'a CollectionName,
    /// The epoch of the log that delivers.
    pub epoch: Epoch,
    /// Everything up to here was delivered before. The sink's cursor is at or behind it.
    pub after: Sequence,
    /// What is there between `after` and `through`, in order. Sequences that are not there were purged, compacted or lost.
    pub records: &'a [Record],
    /// The cursor's sequence when this batch is applied; at least the last record's.
    pub through: Sequence,
}

impl Batch<'_> {
    /// The records behind `cursor`: what the sink does not have yet.
    ///
    /// # Errors
    /// `Conflict` where the batch begins behind what would be next (promise 5).
    pub fn fresh(&self, cursor: Option<Cursor>) -> Result<&[Record]> {
        let has = cursor.map_or(Sequence(0), |cursor| cursor.sequence);
        if self.after > has {
            let message = format!(
                "records between the cursor and the batch are missing: collection=`{}`, cursor=`{has}`, batch after=`{}`",
                self.collection, self.after
            );
            return Err(crate::error::Error::new(crate::error::ErrorKind::Conflict, message));
        }
        let from = self.records.partition_point(|record| record.sequence <= has);
        Ok(&self.records[from..])
    }
}
