//! One collection: which of its segments must stay as they are, and its groups.

use super::copies::not_understood;
use super::facts::state_of;
use super::judge::Verdict;
use super::report::Left;
use super::{CollectionCompacted, Halt, Work, chain};
use crate::catalog::{SegmentKey, SegmentRow, SegmentStatus};
use crate::compaction::{Candidate, Moment, groups};
use crate::error::{ErrorKind, Result};
use crate::log::tier::Kept;
use crate::log::{CollectionSettings, DirectoryState};
use crate::types::{CollectionName, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;
/// Files of a group together, in bytes.
const GROUP_BYTES: u64 = 64 << 20;

/// What is known of a collection.
pub(super) struct Of {
    /// Live segments and quarantined ones, in order of sequence.
    pub rows: Vec<SegmentRow>,
    /// By row.
    pub candidates: Vec<Candidate>,
    pub moment: Moment,
    /// From here on something is missing that may come back, with any key.
    pub missing_first: Option<Sequence>,
    /// Nothing was to be done when it was as it is now: only what time decides can be new.
    pub is_done: bool,
}

impl Work<'_> {
    /// Live segments and quarantined ones of a collection, in order of sequence.
    pub fn rows(&self, name: &CollectionName) -> Result<Vec<SegmentRow>> {
        let mut rows = Vec::new();
        self.each_row(name, |row| rows.push(row))?;
        Ok(rows)
    }

    /// Bytes of the same.
    pub fn bytes(&self, name: &CollectionName) -> Result<u64> {
        let mut bytes = 0;
        self.each_row(name, |row| bytes += row.bytes)?;
        Ok(bytes)
    }

    fn each_row(&self, name: &CollectionName, each: impl FnMut(SegmentRow)) -> Result<()> {
        let mut each = each;
        let mut after: Option<SegmentKey> = None;
        loop {
            let page = self.log.catalog.segments(Some(name), after.as_ref(), PAGE_ROWS)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            let is_there = |row: &SegmentRow| row.status.is_live() || row.status == SegmentStatus::Quarantined;
            page.into_iter().filter(is_there).for_each(&mut each);
        }
    }

    /// Compacts a collection. `tell` is told of bytes that are dealt with.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn collection(
        &mut self,
        name: CollectionName,
        rows: Vec<SegmentRow>,
        tell: &mut dyn FnMut(u64),
        left: &mut Vec<Kept>,
    ) -> Result<CollectionCompacted> {
        let mut done = CollectionCompacted::new(name.clone());
        let mut alone = Left::default();
        let settings = self.log.stored_settings(&name)?;
        let cursors = self.log.delivered(&name)?;
        let floor = self.log.collection(&name)?.state().floor;
        let policy = settings.compaction.or(self.log.options.compaction).policy();
        let missing_first = self.log.catalog.losses(Some(&name))?.iter().map(|loss| loss.first).min();
        let may_go = |row: &SegmentRow| row.status == SegmentStatus::Sealed && row.archive_key.is_none();
        if self.journaled.is_none() && rows.iter().any(may_go) {
            self.journaled = Some(self.handle.journaled_while_appending()?);
        }
        let mut candidates = Vec::with_capacity(rows.len());
        let mut before: Option<Sequence> = None;
        let mut overlaps = false;
        for row in &rows {
            let reason = self.why_fixed(row, &settings, &cursors, floor);
            if row.status.is_live() {
                overlaps |= before.is_some_and(|last| row.key.first <= last);
                before = before.max(Some(row.key.last));
            }
            let directory = self.log.directories.iter().position(|directory| directory.id == row.directory);
            candidates.push(Candidate {
                first: row.key.first,
                last: row.key.last,
                directory: directory.unwrap_or(usize::MAX),
                bytes: row.bytes,
                is_fixed: reason.is_some(),
            });
            if let Some(reason) = reason {
                alone.note(reason, &row.key, row.bytes);
            }
        }
        if overlaps {
            // Only what was restored from an archive can be so. Which version is the newest, their order does not tell.
            done.failed = Some("segments share sequences".to_owned());
            return Ok(done);
        }
        let mut of = Of { rows, candidates, moment: Moment { policy, now: self.now }, missing_first, is_done: false };
        let state = state_of(&of, self.options.gain_percent);
        of.is_done = self.log.compactions.facts().is_done(&name, state);
        let mut from = 0;
        // The front of the rest, over and over: what was written anew takes the place of what it was made from.
        while let Some(group) = groups(&of.candidates[from..], GROUP_BYTES).into_iter().next() {
            tell(of.candidates[from..from + group.start].iter().map(|fixed| fixed.bytes).sum());
            let mut group = from + group.start..from + group.end;
            match self.judge(&of, &mut group) {
                Ok(verdict) => {
                    let bytes = of.candidates[group.clone()].iter().map(|one| one.bytes).sum();
                    match self.put_in_force(&mut of, &group, &verdict, &mut done, left) {
                        Ok(behind) => from = behind,
                        Err(halt) => {
                            Self::halted(halt, &mut done)?;
                            break;
                        }
                    }
                    tell(bytes);
                }
                Err(Halt::Unreadable(at, why)) => {
                    of.candidates[at].is_fixed = true;
                    alone.note(why, &of.rows[at].key, of.rows[at].bytes);
                    from = group.start;
                }
                Err(halt) => {
                    Self::halted(halt, &mut done)?;
                    break;
                }
            }
        }
        done.left_alone = alone.finish();
        let was_whole = done.segments_before == 0 && done.failed.is_none() && from >= of.candidates.len();
        self.log.compactions.facts().note_done(&name, was_whole.then_some(state));
        Ok(done)
    }

    fn halted(halt: Halt, done: &mut CollectionCompacted) -> Result<()> {
        match halt {
            Halt::Interrupted => {}
            Halt::Refused(why) | Halt::Unreadable(_, why) => done.failed = Some(why),
            // The disk, or one directory; other collections may be elsewhere.
            Halt::Error(error) if !matches!(error.kind(), ErrorKind::OutcomeUnknown | ErrorKind::Unavailable) => {
                tracing::warn!(collection = %done.collection, error = chain(&error), "a compaction failed");
                done.failed = Some(chain(&error));
            }
            Halt::Error(error) => return Err(error),
        }
        Ok(())
    }

    /// Puts what a verdict says in force, oldest first; returns where the rest begins.
    fn put_in_force(
        &mut self,
        of: &mut Of,
        group: &std::ops::Range<usize>,
        verdict: &Verdict,
        done: &mut CollectionCompacted,
        left: &mut Vec<Kept>,
    ) -> std::result::Result<usize, Halt> {
        // How many rows there are fewer than when the verdict was found.
        let mut gone = 0;
        for output in &verdict.outputs {
            let inputs = &verdict.segments[output.clone()];
            let range = group.start + output.start - gone..group.start + output.end - gone;
            let bytes_before = of.rows[range.clone()].iter().map(|row| row.bytes).sum::<u64>();
            let bytes_after = if self.options.dry_run {
                inputs.iter().zip(&of.rows[range.clone()]).map(|(input, row)| input.bytes_expected(row.bytes)).sum()
            } else {
                let row = self.write(&of.rows[range.clone()], inputs, left)?;
                let bytes = row.bytes;
                let candidate = Candidate {
                    first: row.key.first,
                    last: row.key.last,
                    bytes,
                    // It is as it should be: this run is done with it.
                    is_fixed: true,
                    ..of.candidates[range.start].clone()
                };
                gone += range.len() - 1;
                of.rows.splice(range.clone(), [row]);
                of.candidates.splice(range, [candidate]);
                bytes
            };
            done.segments_before += output.len() as u64;
            done.segments_after += 1;
            done.bytes_before += bytes_before;
            done.bytes_after += bytes_after;
            inputs.iter().for_each(|input| done.removed.add(input.removed()));
        }
        Ok(group.end - gone)
    }

    /// Why a segment stays as it is, whatever the policy says.
    fn why_fixed(
        &self,
        row: &SegmentRow,
        settings: &CollectionSettings,
        cursors: &[(String, Sequence)],
        floor: Sequence,
    ) -> Option<String> {
        let SegmentKey { first, last, .. } = row.key;
        if let Some(key) = settings.unknown_compaction() {
            return Some(not_understood(key));
        }
        if row.status != SegmentStatus::Sealed {
            return Some(format!("its status is not sealed: status=`{}`", row.status));
        }
        if row.archive_key.is_some() || self.attempts.contains(&row.key) {
            return Some("it is being archived".to_owned());
        }
        if first < floor {
            return Some("it is below the collection's floor, and about to be purged".to_owned());
        }
        if let Some(held) = settings.held(first, last) {
            return Some(held);
        }
        let behind = cursors.iter().find(|(_, sequence)| *sequence < last);
        if let Some((sink, sequence)) = behind.filter(|_| !self.log.options.sabotage.compacts_before_sinks()) {
            return Some(format!("a sink does not have it yet: sink=`{sink}`, cursor=`{sequence}`"));
        }
        let journaled = self.journaled.as_ref().and_then(|known| known.get(&row.key.collection));
        if let Some(from) = journaled.filter(|from| **from <= last) {
            return Some(format!("a journal still has it: from sequence=`{from}`"));
        }
        match self.log.directories.iter().find(|directory| directory.id == row.directory) {
            None => Some(format!("its directory is none of the log's: directory=`{}`", row.directory)),
            Some(directory) => match directory.state() {
                DirectoryState::Healthy => None,
                state => Some(format!("its directory is {}: directory=`{}`", state.word(), directory.path.display())),
            },
        }
    }
}
