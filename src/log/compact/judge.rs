//! Reading a group of segments, and what surrounds it, for the decision (`crate::compaction::judge`).

use std::ops::Range;
use std::sync::Arc;

use super::collection::Of;
use super::facts::Earliest;
use super::{Halt, Work, chain};
use crate::avro::record::{RecordView, kind};
use crate::catalog::{SegmentRow, SegmentStatus};
use crate::compaction::{self, Fates, Neighbours, Removed, Seen, Unjudged, Versions};
use crate::error::{Error, ErrorKind};
use crate::fs::OpenMode;
use crate::segment::{Footer, SegmentReader};
use crate::types::Timestamp;

/// A segment of a group, and which of its records go.
pub(super) struct Input {
    pub reader: SegmentReader,
    fates: Fates,
}

impl Input {
    /// Whether the record in place `at` goes.
    pub fn is_gone(&self, at: usize) -> bool {
        self.fates.is_gone(at)
    }

    /// Records of it that go.
    pub const fn removed(&self) -> Removed {
        self.fates.removed()
    }

    /// What of so many bytes of its file is left, about.
    pub fn bytes_expected(&self, bytes: u64) -> u64 {
        self.fates.bytes_expected(bytes)
    }
}

/// What becomes of a group.
pub(super) struct Verdict {
    /// In order of sequence.
    pub segments: Vec<Input>,
    /// Which of them become one each.
    pub outputs: Vec<Range<usize>>,
}

fn seen<'a>(record: &RecordView<'a>) -> Seen<'a> {
    Seen {
        key: record.key,
        is_delete: record.kind == kind::DELETE,
        timestamp: Timestamp(record.timestamp_us),
        expires_at: record.expires_at_us.map(Timestamp),
    }
}

/// A group of segments, as the judgement reads it.
struct Group<'a, 'b> {
    work: &'a mut Work<'b>,
    of: &'a Of,
    /// The place of its first segment.
    first: usize,
    segments: &'a [SegmentReader],
}

impl Neighbours for Group<'_, '_> {
    type Stop = Halt;

    fn is_quiet(&mut self, members: usize) -> Result<bool, Halt> {
        let (of, facts) = (self.of, self.work.log.compactions.facts());
        let rows = &of.rows[self.first..self.first + members];
        Ok((of.moment.versions().is_none() || of.is_done)
            && rows.iter().all(|row| facts.is_quiet(&row.key, &of.moment)))
    }

    fn each(&mut self, member: usize, each: &mut dyn FnMut(&Seen<'_>, u64) -> bool) -> Result<(), Halt> {
        let (mut is_whole, mut earliest) = (true, Earliest::default());
        let read = self.work.each(&self.segments[member], &mut |record| {
            let seen = seen(record);
            earliest.note(&seen);
            is_whole = each(&seen, record.encoded.len() as u64);
            is_whole
        });
        read.map_err(|unread| unread.of(self.first + member))?;
        if is_whole {
            self.work.log.compactions.facts().keep(&self.of.rows[self.first + member].key, earliest);
        }
        Ok(())
    }

    fn newer(&mut self, members: usize, versions: &mut Versions) -> Result<(), Halt> {
        self.work.look_at_newer(self.of, self.first + members, versions)
    }

    fn older(&mut self, versions: &mut Versions) -> Result<(), Halt> {
        self.work.look_at_older(self.of, self.first, versions)
    }
}

impl Work<'_> {
    /// Judges a group, which is made smaller where it has too many keys.
    pub fn judge(&mut self, of: &Of, group: &mut Range<usize>) -> Result<Verdict, Halt> {
        let mut segments: Vec<SegmentReader> = Vec::new();
        for at in group.clone() {
            segments.push(self.open(&of.rows[at]).map_err(|why| Halt::Unreadable(at, why))?);
        }
        let fates = |reader: &SegmentReader| {
            let Footer { bytes_before, records, .. } = *reader.footer();
            Fates::new(records, bytes_before)
        };
        let fates = segments.iter().map(fates).collect();
        let target = of.moment.policy.target_bytes.min(self.log.options.limits.segment_bytes);
        let gain = self.options.gain_percent;
        let mut read = Group { work: self, of, first: group.start, segments: &segments };
        let verdict = compaction::judge(of.moment, &mut read, fates, (target, gain)).map_err(|why| match why {
            Unjudged::Stop(halt) => halt,
            Unjudged::TooManyKeys => Halt::Unreadable(group.start, "it has too many keys".to_owned()),
        })?;
        group.end = group.start + verdict.fates.len();
        let inputs = segments.into_iter().zip(verdict.fates).map(|(reader, fates)| Input { reader, fates });
        Ok(Verdict { segments: inputs.collect(), outputs: verdict.outputs })
    }

    /// Pass 2: newer versions in what lies behind the group and is here. What is not, or cannot be read, does not count.
    fn look_at_newer(&mut self, of: &Of, from: usize, versions: &mut Versions) -> Result<(), Halt> {
        for row in of.rows[from..].iter().filter(|row| row.status.is_local()) {
            if !versions.wants_newer() {
                break;
            }
            let Ok(footer) = self.footer(row) else { continue };
            if !versions.wants_newer_of(|key| footer.may_hold_key(key)) {
                continue;
            }
            let Ok(reader) = self.open(row) else { continue };
            let read = self.each(&reader, &mut |record| {
                versions.note_newer(&seen(record));
                true
            });
            if matches!(read, Err(Unread::Interrupted)) {
                return Err(Halt::Interrupted);
            }
        }
        Ok(())
    }

    /// Pass 3: what lies before the group, in any tier. What cannot be asked may hold every key.
    fn look_at_older(&mut self, of: &Of, until: usize, versions: &mut Versions) -> Result<(), Halt> {
        if !versions.wants_older() || self.log.options.sabotage.drops_tombstones() {
            return Ok(());
        }
        let first = of.rows[until].key.first;
        let is_broken = |row: &SegmentRow| row.status == SegmentStatus::Quarantined && row.key.first < first;
        if of.missing_first.is_some_and(|missing| missing < first) || of.rows.iter().any(is_broken) {
            versions.older_is_unknown();
        }
        for row in of.rows[..until].iter().rev() {
            let footer = if row.status.is_local() { self.footer(row).ok() } else { self.log.footers.get(&row.key) };
            let Some(footer) = footer else {
                versions.older_is_unknown();
                break;
            };
            if !versions.wants_older_of(|key| footer.may_hold_key(key)) {
                continue;
            }
            let read = match row.status.is_local().then(|| self.open(row)) {
                Some(Ok(reader)) => self.each(&reader, &mut |record| {
                    record.key.into_iter().for_each(|key| versions.note_older(key));
                    true
                }),
                _ => Err(Unread::Failed(String::new())),
            };
            match read {
                Ok(()) => {}
                Err(Unread::Interrupted) => return Err(Halt::Interrupted),
                Err(Unread::Failed(_)) => versions.older_may_hold(|key| footer.may_hold_key(key)),
            }
        }
        Ok(())
    }

    /// Calls `each` with every record of a segment, until it answers no.
    pub fn each(
        &mut self,
        reader: &SegmentReader,
        each: &mut dyn FnMut(&RecordView<'_>) -> bool,
    ) -> Result<(), Unread> {
        for (number, entry) in reader.footer().blocks.iter().enumerate() {
            if !self.pace.take(entry.bytes) {
                return Err(Unread::Interrupted);
            }
            let block = reader.block(number).map_err(|error| Unread::Failed(chain(&Error::from(error))))?;
            if !block.views().all(|record| each(&record)) {
                break;
            }
        }
        Ok(())
    }

    /// The footer of a segment that is here.
    fn footer(&self, row: &SegmentRow) -> Result<Arc<Footer>, String> {
        if let Some(known) = self.log.footers.get(&row.key) {
            return Ok(known);
        }
        let reader = self.open(row)?;
        self.log.footers.keep(&row.key, reader.footer());
        Ok(Arc::new(reader.footer().clone()))
    }

    /// Opens the file of a segment; why it cannot be read, where it cannot.
    pub fn open(&self, row: &SegmentRow) -> Result<SegmentReader, String> {
        let open = || -> crate::error::Result<SegmentReader> {
            let path = self.log.path_of(row).ok_or_else(|| {
                Error::new(ErrorKind::Unavailable, format!("no directory of the log: directory=`{}`", row.directory))
            })?;
            let reader = SegmentReader::open(self.log.fs.open(&path, OpenMode::Read)?)?;
            if reader.footer().content_digest != row.content_digest || reader.footer().log != self.log.log_id {
                let message = format!("the segment holds other records than its row says: path=`{}`", path.display());
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            Ok(reader)
        };
        open().map_err(|error| format!("it cannot be read: {}", chain(&error)))
    }
}

/// Why a segment was not read to its end.
pub(super) enum Unread {
    Interrupted,
    Failed(String),
}

impl Unread {
    /// It happened to the segment in place `at`.
    pub fn of(self, at: usize) -> Halt {
        match self {
            Self::Interrupted => Halt::Interrupted,
            Self::Failed(why) => Halt::Unreadable(at, format!("it cannot be read: {why}")),
        }
    }
}
