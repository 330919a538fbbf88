//! One data block in memory, every record in it verified.

use std::sync::Arc;

use bytes::Bytes;

use crate::avro::record::{RecordView, Seed, decode};
use crate::types::{Record, Sequence};

/// The records of one block. Cheap to clone; records taken from it share its bytes, and keep them alive.
#[derive(Clone, Debug)]
pub struct Block {
    bytes: Bytes,
    /// Where each record starts, ascending by sequence.
    starts: Arc<[usize]>,
}

/// A place in a block's bytes where no intact record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: usize,
    pub what: &'static str,
}

impl Block {
    /// Finds the intact records in `bytes`, and what lies between them. A record with a wrong checksum is passed over by
    /// its length; where even that is not to be had, the rest is one fault.
    pub(super) fn parse(bytes: Bytes, seed: Seed) -> (Self, Vec<Fault>) {
        let (mut starts, mut faults) = (Vec::new(), Vec::new());
        let (mut at, mut last) = (0, 0);
        while at < bytes.len() {
            let Ok(record) = decode(&bytes[at..]) else {
                faults.push(Fault { at, what: "bytes that are no record" });
                break;
            };
            if !record.is_intact(seed) {
                faults.push(Fault { at, what: "a record whose checksum is wrong" });
            } else if !matches!(record.user_kind(), Ok(Some(_))) {
                faults.push(Fault { at, what: "a record of a kind that has no place here" });
            } else if record.sequence <= last {
                faults.push(Fault { at, what: "a record whose sequence does not ascend" });
            } else {
                starts.push(at);
                last = record.sequence;
            }
            at += record.encoded.len();
        }
        (Self { bytes, starts: starts.into() }, faults)
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// All bytes of the block, decompressed.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The record in place `at`, where it lies.
    #[must_use]
    pub fn view(&self, at: usize) -> Option<RecordView<'_>> {
        decode(&self.bytes[*self.starts.get(at)?..]).ok()
    }

    /// The record in place `at`; its key and payload are slices of the block.
    #[must_use]
    pub fn record(&self, at: usize) -> Option<Record> {
        self.view(at)?.to_record(&self.bytes).ok()
    }

    /// The records where they lie, in order.
    pub fn views(&self) -> impl DoubleEndedIterator<Item = RecordView<'_>> {
        self.starts.iter().filter_map(|&start| decode(&self.bytes[start..]).ok())
    }

    /// How many of the records are below `sequence`: the place where it is, or would be.
    #[must_use]
    pub fn position(&self, sequence: Sequence) -> usize {
        self.starts
            .partition_point(|&start| decode(&self.bytes[start..]).is_ok_and(|record| record.sequence < sequence.0))
    }

    /// The record with this sequence.
    #[must_use]
    pub fn get(&self, sequence: Sequence) -> Option<Record> {
        self.record(self.position(sequence)).filter(|record| record.sequence == sequence)
    }
}
