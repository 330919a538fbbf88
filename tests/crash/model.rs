//! What the log promised: every batch that was tried, in order, and how far its promise goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use icecore::{CollectionName, NewRecord, Record};

use crate::stored::{Compacting, Held};

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
    /// What compaction removed: none of it comes back.
    gone: [BTreeSet<u64>; COLLECTIONS.len()],
    compacting: Option<Arc<Compacting>>,
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
        let ends: Vec<u64> = (0..found.len()).map(|collection| self.end(collection, &found[collection])).collect();
        for (stream, end) in self.streams.iter_mut().zip(ends) {
            let mut left = end;
            stream.retain_mut(|batch| {
                let there = left >= batch.records.len() as u64;
                left = left.saturating_sub(batch.records.len() as u64);
                batch.promise = Promise::Durable;
                there
            });
        }
        self.note_gone(found);
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

    /// A compaction begins: until it is over, what may go is there or not.
    pub fn compacts(&mut self, compacting: Compacting) {
        self.version += 1;
        self.compacting = Some(Arc::new(compacting));
    }

    /// It is over, and has left this; returns how many records went.
    pub fn compacted(&mut self, found: &Found) -> Result<u64, String> {
        self.check(found, Promise::Written)?;
        self.version += 1;
        let count = |model: &Self| model.gone.iter().map(|gone| gone.len() as u64).sum::<u64>();
        let before = count(self);
        self.note_gone(found);
        Ok(count(self) - before)
    }

    /// What was to go, and is not there any more, is gone.
    fn note_gone(&mut self, found: &Found) {
        let Some(compacting) = self.compacting.take() else { return };
        for (collection, (may_go, found)) in compacting.may_go.iter().zip(found).enumerate() {
            let left: BTreeSet<u64> = found.iter().map(|record| record.sequence.0).collect();
            self.gone[collection].extend(may_go.difference(&left));
        }
    }

    /// The last sequence that is there, of what was found of a collection; also where compaction removed it.
    pub fn end(&self, collection: usize, found: &[Record]) -> u64 {
        let mut end = found.last().map_or(0, |record| record.sequence.0);
        // What compaction takes was sealed: no power cut does.
        while self.may_be_gone(collection, end + 1) {
            end += 1;
        }
        end
    }

    fn may_be_gone(&self, collection: usize, sequence: u64) -> bool {
        let may_go = self.compacting.as_ref().is_some_and(|going| going.may_go[collection].contains(&sequence));
        may_go || self.gone[collection].contains(&sequence)
    }

    /// Whether a sink has exactly what was appended up to its cursor, once and in order; `misses`: but for what compaction removed.
    pub fn check_held(&self, collection: usize, held: &Held, misses: bool) -> Result<(), String> {
        let wrong = |what: String| Err(described(collection, &held.records, &what));
        let cursor = held.cursor.map_or(0, |cursor| cursor.sequence.0);
        if cursor > self.tried(collection) {
            return wrong(format!("the sink's cursor is `{cursor}`, and so much was never appended"));
        }
        let mut next = 1;
        for record in &held.records {
            let sequence = record.sequence.0;
            if sequence < next || sequence > cursor {
                return wrong(format!(
                    "the sink has `{sequence}` where `{next}` should be, up to its cursor `{cursor}`"
                ));
            }
            if let Some(missed) = (next..sequence).find(|missed| !(misses && self.may_be_gone(collection, *missed))) {
                return wrong(format!("the sink does not have `{missed}`, and its cursor is `{cursor}`"));
            }
            next = sequence + 1;
        }
        if let Some(missed) = (next..=cursor).find(|missed| !(misses && self.may_be_gone(collection, *missed))) {
            return wrong(format!("the sink does not have `{missed}`, and its cursor is `{cursor}`"));
        }
        self.check_part(collection, &held.records)
    }

    /// Whether what was found of one collection is all that was promised, as [`check`](Self::check).
    pub fn check_one(&self, collection: usize, found: &[Record], least: Promise) -> Result<(), String> {
        let checked = self.view(collection, found).and_then(|view| {
            check_stream(&self.streams[collection], &view, least)?;
            let end = view.len() as u64;
            self.compacting.as_ref().map_or(Ok(()), |compacting| compacting.check(collection, found, end))
        });
        checked.map_err(|what| described(collection, found, &what))
    }

    /// What was found, by sequence from 1 on; `None` for what compaction removed.
    fn view<'a>(&self, collection: usize, found: &'a [Record]) -> Result<Vec<Option<&'a Record>>, String> {
        let mut view = Vec::with_capacity(found.len());
        for record in found {
            let (sequence, next) = (record.sequence.0, view.len() as u64 + 1);
            let is_hole = (next..sequence).any(|missing| !self.may_be_gone(collection, missing));
            if sequence < next || is_hole {
                return Err(format!("a hole, or a record twice: `{sequence}` where `{next}` should be"));
            }
            if self.gone[collection].contains(&sequence) {
                return Err(format!("`{sequence}` was compacted away, and came back"));
            }
            view.resize(sequence as usize - 1, None);
            view.push(Some(record));
        }
        view.resize(self.end(collection, found) as usize, None);
        Ok(view)
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
        (0..COLLECTIONS.len()).try_for_each(|collection| self.check_one(collection, &found[collection], least))
    }
}

fn described(collection: usize, found: &[Record], what: &str) -> String {
    let sequences: Vec<u64> = found.iter().map(|record| record.sequence.0).collect();
    format!("collection `{}`: {what}; found {}", COLLECTIONS[collection], runs(&sequences))
}

fn check_stream(stream: &[Batch], found: &[Option<&Record>], least: Promise) -> Result<(), String> {
    let mut at = 0;
    let mut batches = stream.iter();
    for batch in batches.by_ref() {
        let there = &found[at..found.len().min(at + batch.records.len())];
        for (index, (record, expected)) in there.iter().zip(&*batch.records).enumerate() {
            if record.is_some_and(|record| !is_same(record, expected)) {
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
