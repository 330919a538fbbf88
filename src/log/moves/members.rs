//! A collection as the journal sees it that takes its copies and its MOVE; and waiting for them.

use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use crc32c::crc32c;

use super::Moved;
use crate::journal::{Batch, Journal, Member, Purpose, Ticket, Written};
use crate::log::Inner;
use crate::log::collection::Collection;
use crate::memtable::{Run, RunError};
use crate::types::{CollectionName, Epoch, Sequence};

/// What is queued and not waited for yet.
#[derive(Default)]
pub(super) struct Waiting {
    pub tickets: Vec<(Journal, Ticket)>,
    pub bytes: u64,
}

impl Waiting {
    /// Waits for everything queued. What came of it shows elsewhere: whoever waits for a record is told, and a journal that failed
    /// has its collections moved again.
    pub fn wait(&mut self) {
        for (journal, ticket) in self.tickets.drain(..) {
            if let Err(error) = journal.wait_passively(&ticket) {
                tracing::warn!(%error, "a move met a second failure");
            }
        }
        self.bytes = 0;
    }
}

/// The batches that write `runs` again.
pub(super) fn copies_of(collection: &Arc<Collection>, runs: &[Run]) -> std::result::Result<Vec<Batch>, RunError> {
    let copy = |run: &Run| {
        let bytes: Bytes = run.load()?;
        let mut checksums = Vec::with_capacity(run.count as usize * 4);
        // Verified on the way: damage must not get a second, good-looking home.
        run.for_each(&bytes, collection.seed, |view| {
            checksums.extend_from_slice(&view.checksum.to_le_bytes());
            Ok::<(), RunError>(())
        })?;
        let member = Copied { collection: Arc::clone(collection), on_disk: run.memory_bytes() == 0 };
        Ok(Batch {
            purpose: Purpose::Copy,
            member: Arc::new(member),
            first: run.first,
            count: run.count,
            bytes,
            checksum: crc32c(&checksums),
            sync: true,
            alone: false,
            completion: None,
        })
    };
    runs.iter().map(copy).collect()
}

/// A collection, as the journal sees it that takes copies of its records.
struct Copied {
    collection: Arc<Collection>,
    /// The copied run was not in memory, and the copy shall not be.
    on_disk: bool,
}

impl Member for Copied {
    fn name(&self) -> &CollectionName {
        self.collection.name()
    }

    fn written(&self, batch: Written, durable: bool) {
        self.collection.put_copy(batch, self.on_disk, durable);
    }

    fn durable(&self, last: Sequence) {
        self.collection.durable(last);
    }

    /// The records are still where they were copied from.
    fn refused(&self, _first: Sequence) {}
}

/// A collection, as the journal sees it that takes its MOVE.
pub(super) struct Mover {
    pub log: Weak<Inner>,
    pub collection: Arc<Collection>,
    pub directory: usize,
    pub epoch: Epoch,
    pub next: Sequence,
    pub reason: Arc<str>,
}

impl Member for Mover {
    fn name(&self) -> &CollectionName {
        self.collection.name()
    }

    fn written(&self, batch: Written, _durable: bool) {
        let Some(log) = self.log.upgrade() else { return };
        let moved = Moved {
            collection: Arc::clone(&self.collection),
            directory: self.directory,
            epoch: self.epoch,
            next: self.next,
            reason: Arc::clone(&self.reason),
            bytes: batch.bytes.len() as u64,
            file: batch.file,
        };
        log.moved.lock().unwrap_or_else(PoisonError::into_inner).push(moved);
    }

    fn durable(&self, _last: Sequence) {}

    fn refused(&self, _first: Sequence) {}
}
