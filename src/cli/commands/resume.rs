//! Going on with an interrupted load (`append --resume`).
//!
//! Owns: which records of the input the collection has already, and the proof that it is the same input. Record n of the
//! input is sequence n of the collection; so the next sequence says how many to skip, and the last record that is there
//! must be the one that the input has in its place.

use crate::cli::input::InputRecord;
use crate::cli::{Failure, logs};
use crate::log::{Log, ReadOptions};
use crate::types::{CollectionName, NewRecord, Record, Sequence};
use crate::{Error, ErrorKind};

/// What is skipped.
pub(super) struct Resume {
    collection: CollectionName,
    /// Sequence of the last record that is there; 0 where there is none.
    there: Sequence,
    last: Option<Record>,
    /// Records of the input that have been skipped.
    skipped: u64,
}

impl Resume {
    /// Looks what is there.
    pub fn begin(log: &Log, collection: &CollectionName) -> Result<Self, Failure> {
        let mut resume = Self { collection: collection.clone(), there: Sequence(0), last: None, skipped: 0 };
        let newest = ReadOptions { reverse: true, limit: Some(1), ..ReadOptions::default() };
        match log.read(collection, newest) {
            // Before it has given anything, a reader stands at the last sequence that was given out.
            Ok(mut reader) => {
                resume.there = reader.position();
                let last = reader.try_next().map_err(logs::explain)?;
                resume.last = last.filter(|record| record.sequence == resume.there);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(logs::explain(error)),
        }
        Ok(resume)
    }

    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes out of a batch what is there already. `complete` makes an input's record what would be appended.
    pub fn skip(
        &mut self,
        batch: &mut Vec<InputRecord>,
        complete: impl FnOnce(NewRecord) -> NewRecord,
    ) -> Result<(), Failure> {
        let count = batch.partition_point(|input| input.place.record <= self.there.0);
        if count == 0 {
            return Ok(());
        }
        let last = batch.drain(..count).next_back().expect("at least one is taken out");
        self.skipped += count as u64;
        if last.place.record == self.there.0 {
            let has_time = last.record.timestamp.is_some();
            self.compare(&complete(last.record.clone()), &last, has_time)?;
        }
        Ok(())
    }

    fn compare(&self, mine: &NewRecord, place: &InputRecord, has_time: bool) -> Result<(), Failure> {
        let Self { collection, there, .. } = self;
        let Some(last) = &self.last else {
            let message = format!(
                "the last record of the collection cannot be compared with the input: collection=`{collection}`, sequence=`{there}`"
            );
            let hint = "it was lost, purged or compacted; append the rest of the input without --resume";
            return Err(Error::new(ErrorKind::Conflict, message).with_hint(hint).into());
        };
        let differs = if mine.kind != last.kind {
            "kind"
        } else if mine.key != last.key {
            "key"
        } else if mine.payload != last.payload {
            "payload"
        } else if mine.headers != last.headers {
            "headers"
        } else if has_time && mine.timestamp != Some(last.timestamp) {
            "timestamp"
        } else if has_time && mine.expires_at != last.expires_at
            || mine.expires_at.is_some() != last.expires_at.is_some()
        {
            "expires_at"
        } else {
            return Ok(());
        };
        let message = format!(
            "the collection holds another input: collection=`{collection}`, sequence=`{there}`, differs in=`{differs}`, {}",
            place.place
        );
        let hint = "resume with the same input and the same flags into the same collection; nothing was appended";
        Err(Error::new(ErrorKind::Conflict, message).with_hint(hint).into())
    }

    /// The input has ended: it must have had what is there.
    pub fn end(&self) -> Result<(), Failure> {
        if self.skipped >= self.there.0 {
            return Ok(());
        }
        let message = format!(
            "the input has fewer records than the collection: collection=`{}`, input=`{}`, there=`{}`",
            self.collection, self.skipped, self.there
        );
        let hint = "resume with the input that the load began with; nothing was appended";
        Err(Error::new(ErrorKind::Conflict, message).with_hint(hint).into())
    }
}
