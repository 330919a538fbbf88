//! Reading a group of segments, and what surrounds it, for the decision.

use std::ops::Range;
use std::sync::Arc;

use super::collection::Of;
use super::facts::Earliest;
use super::{Halt, Work, chain};
use crate::avro::record::{RecordView, kind};
use crate::catalog::{SegmentRow, SegmentStatus};
use crate::compaction::{Fate, Judged, KEY_BYTES_MAX, Part, Removed, Seen, TooManyKeys, Versions, outputs};
use crate::error::{Error, ErrorKind};
use crate::fs::OpenMode;
use crate::segment::{Footer, SegmentReader};
use crate::types::Timestamp;

/// More parts than this are not tried: a segment of the largest size has fewer keys in each.
const PARTS_MAX: u64 = 1 << 12;

/// A segment of a group, and which of its records go.
pub(super) struct Input {
    pub reader: SegmentReader,
    /// A bit for each record, in order.
    gone: Vec<u64>,
    pub removed: Removed,
    bytes_kept: u64,
}

impl Input {
    fn new(reader: SegmentReader) -> Self {
        let words =
            usize::try_from(reader.footer().records.div_ceil(64)).expect("a file's records are counted in memory");
        let bytes_kept = reader.footer().bytes_before;
        Self { reader, gone: vec![0; words], removed: Removed::default(), bytes_kept }
    }

    fn clear(&mut self) {
        self.gone.fill(0);
        self.removed = Removed::default();
        self.bytes_kept = self.reader.footer().bytes_before;
    }

    /// Whether the record in place `at` goes.
    pub fn is_gone(&self, at: usize) -> bool {
        self.gone[at / 64] & (1 << (at % 64)) != 0
    }

    fn judged(&self) -> Judged {
        let Footer { bytes_before, records, .. } = *self.reader.footer();
        Judged { bytes: bytes_before, bytes_kept: self.bytes_kept, records, removed: self.removed.total() }
    }

    /// What of so many bytes of its file is left, about.
    pub fn bytes_expected(&self, bytes: u64) -> u64 {
        let all = self.reader.footer().bytes_before.max(1);
        u64::try_from(u128::from(bytes) * u128::from(self.bytes_kept) / u128::from(all)).unwrap_or(bytes)
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

impl Work<'_> {
    /// Judges a group, which is made smaller where it has too many keys.
    pub fn judge(&mut self, of: &Of, group: &mut Range<usize>) -> Result<Verdict, Halt> {
        let mut parts = 1;
        let mut segments: Vec<Input> = Vec::new();
        for at in group.clone() {
            segments.push(Input::new(self.open(&of.rows[at]).map_err(|why| Halt::Unreadable(at, why))?));
        }
        let mut fixed = vec![false; segments.len()];
        loop {
            segments.iter_mut().for_each(Input::clear);
            let mut too_many = false;
            let is_quiet = self.is_quiet(of, group);
            for number in 0..if is_quiet { 0 } else { parts } {
                if !self.judge_part(of, group, &mut segments, (Part { number, of: parts }, &fixed))? {
                    too_many = true;
                    break;
                }
            }
            if too_many {
                match segments.len() {
                    1 if parts < PARTS_MAX => parts *= 2,
                    1 => return Err(Halt::Unreadable(group.start, "it has too many keys".to_owned())),
                    many => {
                        group.end -= many / 2;
                        segments.truncate(group.len());
                        fixed.truncate(group.len());
                    }
                }
                continue;
            }
            let judged: Vec<Judged> = segments.iter().map(Input::judged).collect();
            let limit = self.log.options.limits.segment_bytes;
            let target = of.moment.policy.target_bytes.min(limit);
            let outputs = outputs(&judged, target, self.options.gain_percent);
            // What is not worth writing anew stays whole; then what it hides, or what hides it, may have to stay too.
            let mut is_settled = true;
            for (at, judged) in judged.iter().enumerate() {
                if judged.removed > 0 && !outputs.iter().any(|output| output.contains(&at)) {
                    fixed[at] = true;
                    is_settled = false;
                }
            }
            if is_settled {
                return Ok(Verdict { segments, outputs });
            }
        }
    }

    /// Whether a group is known to have nothing that goes, without reading it.
    fn is_quiet(&self, of: &Of, group: &Range<usize>) -> bool {
        let facts = self.log.compactions.facts();
        (of.moment.versions().is_none() || of.is_done)
            && of.rows[group.clone()].iter().all(|row| facts.is_quiet(&row.key, &of.moment))
    }

    /// The passes over one part; whether its keys fitted.
    fn judge_part(
        &mut self,
        of: &Of,
        group: &Range<usize>,
        segments: &mut [Input],
        (part, fixed): (Part, &[bool]),
    ) -> Result<bool, Halt> {
        let mut versions = Versions::new(of.moment, part, KEY_BYTES_MAX);
        for (at, input) in segments.iter().enumerate() {
            let (mut fits, mut earliest) = (Ok(()), Earliest::default());
            self.each(&input.reader, &mut |record| {
                let record = seen(record);
                earliest.note(&record);
                fits = versions.note(&record);
                fits.is_ok()
            })
            .map_err(|halt| halt.of(group.start + at))?;
            if fits == Err(TooManyKeys) {
                return Ok(false);
            }
            self.log.compactions.facts().keep(&of.rows[group.start + at].key, earliest);
        }
        if !versions.may_go() {
            return Ok(true);
        }
        self.look_at_newer(of, group.end, &mut versions)?;
        self.look_at_older(of, group.start, &mut versions)?;
        versions.begin();
        for (at, input) in segments.iter_mut().enumerate() {
            let (reader, mut place) = (input.reader.clone(), 0);
            self.each(&reader, &mut |record| {
                if let Some(Fate::Goes(reason)) = versions.decide(&seen(record), fixed[at]) {
                    input.gone[place / 64] |= 1 << (place % 64);
                    input.removed.count(reason);
                    input.bytes_kept -= record.encoded.len() as u64;
                }
                place += 1;
                true
            })
            .map_err(|halt| halt.of(group.start + at))?;
        }
        Ok(true)
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
