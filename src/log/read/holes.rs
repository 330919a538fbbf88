//! Sequences that are neither in the memtable nor in a segment.
//!
//! Owns: the difference between a hole that is on record (the floor, a loss, a gap), which is passed over and told, and
//! one that is not, which is damage. Nothing is ever passed over without a word.

use std::sync::atomic::Ordering;

use super::{Reader, closed};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Sequence;

/// How often everything is looked at anew beside a writer, before a record counts as missing.
pub(in crate::log) const LOOKS: u32 = 3;

/// Why sequences were passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// Below the floor: purged.
    BelowFloor,
    /// A loss on record that nobody has acknowledged.
    Loss,
    /// A loss that an operator has acknowledged.
    Gap,
}

/// Sequences that were passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// First sequence.
    #[serde(rename = "first_sequence")]
    pub first: Sequence,
    /// Last sequence.
    #[serde(rename = "last_sequence")]
    pub last: Sequence,
    /// Why.
    pub reason: SkipReason,
}

impl Reader {
    /// Passes over what of the hole from the reader's place to `last` (the lowest one, backwards) is on record, or says that
    /// it is not.
    pub(super) fn pass_hole(&mut self, last: Sequence) -> Result<()> {
        if self.log.companion.is_some() {
            // The writer may have moved it to a cold journal, and may do so again while we look.
            let looks = if self.relooked.0 == self.at { self.relooked.1 } else { 0 };
            if looks < LOOKS {
                self.relooked = (self.at, looks + 1);
                return self.log.relook();
            }
        }
        if let Some(bad) = self.distrusted.take()
            && (bad.run.first..=bad.run.last()).contains(&self.at)
        {
            if self.log.closed.load(Ordering::Acquire) {
                // Another process may have opened the log and used the journals again.
                return Err(closed());
            }
            let behind = if self.options.reverse { bad.run.first.previous() } else { bad.run.last().next() };
            let error = self.bad_run(*bad);
            if error.kind() == ErrorKind::Corrupt {
                self.at = behind;
            }
            return Err(error);
        }
        let hole = if self.options.reverse { (last, self.at) } else { (self.at, last) };
        let (first, last, reason) = self.on_record(hole)?;
        self.at = if self.options.reverse { first.previous() } else { last.next() };
        match reason {
            Some(reason) => {
                self.skipped.push(Skipped { first, last, reason });
                Ok(())
            }
            None => Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "records are missing, and no loss is on record: collection=`{}`, first_sequence=`{first}`, last_sequence=`{last}`",
                    self.collection.name()
                ),
            )
            .with_hint("run `verify`, then `recover`")),
        }
    }

    /// The part of a hole next to the reader's place that has one reason, or none.
    fn on_record(&self, hole: (Sequence, Sequence)) -> Result<(Sequence, Sequence, Option<SkipReason>)> {
        let name = self.collection.name();
        let backwards = self.options.reverse;
        let floor = self.log.catalog.collection(name)?.map_or(Sequence::FIRST, |row| row.floor);
        let floor = floor.max(self.collection.state().floor);
        let losses = self.log.catalog.losses(Some(name))?;
        let reason = |acknowledged: bool| if acknowledged { SkipReason::Gap } else { SkipReason::Loss };
        let mut known: Vec<(Sequence, Sequence, SkipReason)> =
            losses.iter().map(|loss| (loss.first, loss.last, reason(loss.acknowledged.is_some()))).collect();
        if floor > Sequence::FIRST {
            known.push((Sequence::FIRST, floor.previous(), SkipReason::BelowFloor));
        }
        let at = if backwards { hole.1 } else { hole.0 };
        if let Some(&(first, last, reason)) = known.iter().find(|(first, last, _)| *first <= at && at <= *last) {
            return Ok((first.max(hole.0), last.min(hole.1), Some(reason)));
        }
        // Not on record: up to where a record begins.
        Ok(if backwards {
            let nearest = known.iter().map(|known| known.1).filter(|&last| last < at).max();
            (nearest.map_or(hole.0, |last| last.next().max(hole.0)), hole.1, None)
        } else {
            let nearest = known.iter().map(|known| known.0).filter(|&first| first > at).min();
            (hole.0, nearest.map_or(hole.1, |first| first.previous().min(hole.1)), None)
        })
    }
}
