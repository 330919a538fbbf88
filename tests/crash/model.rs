//! What the log promised: every batch that was tried, in order, and how far its promise goes.

use std::sync::Arc;

use icecore::{CollectionName, NewRecord, Record};

/// The collections of every workload; some need escaping. Those of a log with one or two directories are the first
/// [`FEW`].
pub const COLLECTIONS: [&str; 8] = ["audit", "Orders/2024", ".hidden", "b", "quiet", "CON", "ä", "seventh"];
/// Enough for one or two directories.
pub const FEW: usize = 5;

/// How far the promise for a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Tried, and no answer came: there whole or not at all.
    None,
    /// Acknowledged without a sync: a killed process loses nothing of it, a power cut may.
    Written,
    /// Acknowledged with a sync, or synced since.
    Durable,
}

/// Records that were tried together.
#[derive(Clone, Debug)]
struct Batch {
    records: Arc<[NewRecord]>,
    promise: Promise,
}

/// What the log promised so far.
#[derive(Clone, Debug, Default)]
pub struct Model {
    streams: [Vec<Batch>; COLLECTIONS.len()],
    version: u64,
}

/// What was read, by collection.
pub type Found = Vec<Vec<Record>>;

pub fn name(collection: usize) -> CollectionName {
    CollectionName::new(COLLECTIONS[collection]).expect("a good name")
}

fn count(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.records.len() as u64).sum()
}

impl Model {
    /// Changes with every promise: the same disk with other promises is another thing to check.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// A batch is being appended; returns the sequence that it must get.
    pub fn begin(&mut self, collection: usize, records: Arc<[NewRecord]>) -> u64 {
        self.version += 1;
        let first = count(&self.streams[collection]) + 1;
        self.streams[collection].push(Batch { records, promise: Promise::None });
        first
    }

    /// The newest batch was acknowledged. With a sync, everything of its collection before it is durable too (D2).
    pub fn acknowledge(&mut self, collection: usize, promise: Promise) {
        self.version += 1;
        let stream = &mut self.streams[collection];
        if promise == Promise::Durable {
            stream.iter_mut().for_each(|batch| batch.promise = promise);
        } else if let Some(batch) = stream.last_mut() {
            batch.promise = promise;
        }
    }

    /// The newest batch was refused, and nothing of it was written.
    pub fn refuse(&mut self, collection: usize) {
        self.version += 1;
        self.streams[collection].pop();
    }

    /// Everything acknowledged so far is durable.
    pub fn synced(&mut self) {
        self.version += 1;
        let acknowledged = self.streams.iter_mut().flatten().filter(|batch| batch.promise != Promise::None);
        acknowledged.for_each(|batch| batch.promise = Promise::Durable);
    }

    /// The power was cut: what was not synced is there or not.
    pub fn power_was_cut(&mut self) {
        self.version += 1;
        let written = self.streams.iter_mut().flatten().filter(|batch| batch.promise == Promise::Written);
        written.for_each(|batch| batch.promise = Promise::None);
    }

    /// The log was opened anew, and what was found has passed [`check`](Self::check): that is what it has from now on.
    pub fn settle(&mut self, found: &Found) {
        self.version += 1;
        for (stream, found) in self.streams.iter_mut().zip(found) {
            let mut left = found.len();
            stream.retain_mut(|batch| {
                let there = left >= batch.records.len();
                left = left.saturating_sub(batch.records.len());
                batch.promise = Promise::Durable;
                there
            });
        }
    }

    /// How many records were tried of a collection, acknowledged or not.
    pub fn tried(&self, collection: usize) -> u64 {
        count(&self.streams[collection])
    }

    /// As [`settle`](Self::settle), for one collection that has so many records from now on; the rest of what was tried is not
    /// there, and nothing of it may have been promised.
    pub fn settle_at(&mut self, collection: usize, last: u64, least: Promise) -> Result<(), String> {
        self.cut_at(collection, last, least)?;
        self.streams[collection].iter_mut().for_each(|batch| batch.promise = Promise::Durable);
        Ok(())
    }

    /// What was tried of a collection behind that record is not there, as the open log shows; nothing of it may have been promised.
    pub fn cut_at(&mut self, collection: usize, last: u64, least: Promise) -> Result<(), String> {
        self.version += 1;
        let stream = &mut self.streams[collection];
        let mut end = 0;
        let kept = stream
            .iter()
            .take_while(|batch| {
                end + batch.records.len() as u64 <= last && {
                    end += batch.records.len() as u64;
                    true
                }
            })
            .count();
        let lost =
            stream.drain(kept..).find(|batch| batch.promise != Promise::None && batch.promise as u8 >= least as u8);
        match lost {
            _ if end != last => Err(format!("the next sequence, `{}`, is behind no batch", last + 1)),
            Some(lost) => {
                Err(format!("a batch behind `{last}` was acknowledged ({:?}) and is passed over", lost.promise))
            }
            None => Ok(()),
        }
    }

    /// Whether what was found of one collection is all that was promised, as [`check`](Self::check).
    pub fn check_one(&self, collection: usize, found: &[Record], least: Promise) -> Result<(), String> {
        check_stream(&self.streams[collection], found, least).map_err(|what| described(collection, found, &what))
    }

    /// Whether what was found of a collection, a part of which is not there to be read, is as it was appended.
    pub fn check_part(&self, collection: usize, found: &[Record]) -> Result<(), String> {
        let expected: Vec<&NewRecord> = self.streams[collection].iter().flat_map(|batch| &*batch.records).collect();
        let mut last = 0;
        for record in found {
            let sequence = record.sequence.0;
            if sequence <= last {
                return Err(described(collection, found, &format!("`{sequence}` is there twice, or not in order")));
            }
            last = sequence;
            if !expected.get(sequence as usize - 1).is_some_and(|expected| is_same(record, expected)) {
                return Err(described(collection, found, &format!("`{sequence}` was never appended there")));
            }
        }
        Ok(())
    }

    /// Whether what was found is what was promised: everything up to `least`, nothing twice, nothing else, no hole, no batch
    /// in part.
    pub fn check(&self, found: &Found, least: Promise) -> Result<(), String> {
        for (collection, (stream, found)) in self.streams.iter().zip(found).enumerate() {
            check_stream(stream, found, least).map_err(|what| described(collection, found, &what))?;
        }
        Ok(())
    }
}

fn described(collection: usize, found: &[Record], what: &str) -> String {
    let sequences: Vec<u64> = found.iter().map(|record| record.sequence.0).collect();
    format!("collection `{}`: {what}; found {}", COLLECTIONS[collection], runs(&sequences))
}

fn check_stream(stream: &[Batch], found: &[Record], least: Promise) -> Result<(), String> {
    if let Some((at, record)) = found.iter().enumerate().find(|(at, record)| record.sequence.0 != *at as u64 + 1) {
        return Err(format!("a hole, or a record twice: `{}` where `{}` should be", record.sequence, at + 1));
    }
    let mut at = 0;
    let mut batches = stream.iter();
    for batch in batches.by_ref() {
        let there = &found[at..found.len().min(at + batch.records.len())];
        for (index, (record, expected)) in there.iter().zip(&*batch.records).enumerate() {
            if !is_same(record, expected) {
                return Err(format!("sequence `{}` holds what was never appended there", at + index + 1));
            }
        }
        if there.len() < batch.records.len() {
            let (first, last) = (at + 1, at + batch.records.len());
            if !there.is_empty() {
                return Err(format!("the batch `{first}..={last}` was split: `{}` of it are there", there.len()));
            }
            if batch.promise != Promise::None && batch.promise as u8 >= least as u8 {
                return Err(format!("`{first}..={last}` was acknowledged ({:?}) and is lost", batch.promise));
            }
            break;
        }
        at += there.len();
    }
    if let Some(lost) = batches.find(|batch| batch.promise != Promise::None && batch.promise as u8 >= least as u8) {
        return Err(format!("a batch behind `{at}` was acknowledged ({:?}) and is lost", lost.promise));
    }
    if at < found.len() {
        return Err(format!("sequence `{}` was invented", at + 1));
    }
    Ok(())
}

fn is_same(record: &Record, expected: &NewRecord) -> bool {
    record.payload == expected.payload
        && record.key == expected.key
        && record.kind == expected.kind
        && record.headers == expected.headers
        && record.expires_at == expected.expires_at
        && expected.timestamp.is_none_or(|time| time == record.timestamp)
}

/// Sequences as ranges, for messages.
fn runs(sequences: &[u64]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < sequences.len() {
        let mut end = at;
        while end + 1 < sequences.len() && sequences[end + 1] == sequences[end] + 1 {
            end += 1;
        }
        text += &format!(" {}..={}", sequences[at], sequences[end]);
        at = end + 1;
    }
    if text.is_empty() { " nothing".into() } else { text }
}
