//! Records that are in no segment yet, as runs of encoded records: in memory, or only in their journal.
//!
//! Owns: the order of one collection's runs, and the promise that each run counts in its journal as long as it is here.
//! Does not own: sequences, locks, limits. A run's bytes may leave memory at any time, since the journal holds them; after
//! a restart they are only there.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::avro::AvroError;
use crate::avro::record::{self, RecordView, Seed};
use crate::fs::FsError;
use crate::journal::JournalFile;
use crate::types::{Sequence, Timestamp};

/// What a run costs besides its bytes, for the memory limit.
pub const RUN_OVERHEAD_BYTES: u64 = 128;

/// Consecutive records of one collection that were written together.
#[derive(Clone, Debug)]
pub struct Run {
    /// First sequence.
    pub first: Sequence,
    /// How many records; at least one.
    pub count: u64,
    /// The encoded records, while they are in memory.
    bytes: Option<Bytes>,
    /// Their length in bytes.
    pub len: u64,
    /// The journal that holds them.
    pub file: Arc<JournalFile>,
    /// Where in the journal.
    pub offset: u64,
    /// When its journal says that it was written, of one that was found there.
    pub written_at: Option<Timestamp>,
}

/// Why a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The bytes are not what was written.
    #[error(
        "a journal is damaged: path=`{path}`, offset=`{offset}`, first_sequence=`{first}`, last_sequence=`{last}`, what=`{what}`"
    )]
    Damaged {
        /// The journal.
        path: String,
        /// Where the run lies.
        offset: u64,
        /// First sequence of the run.
        first: Sequence,
        /// Last sequence of the run.
        last: Sequence,
        /// What is wrong.
        what: &'static str,
    },
}

impl Run {
    /// A run whose bytes are in memory.
    #[must_use]
    pub fn in_memory(first: Sequence, count: u64, bytes: Bytes, file: Arc<JournalFile>, offset: u64) -> Self {
        Self { first, count, len: bytes.len() as u64, bytes: Some(bytes), file, offset, written_at: None }
    }

    /// A run whose bytes are only in its journal.
    #[must_use]
    pub const fn on_disk(first: Sequence, count: u64, len: u64, file: Arc<JournalFile>, offset: u64) -> Self {
        Self { first, count, len, bytes: None, file, offset, written_at: None }
    }

    /// The same, of which its journal says when it was written.
    #[must_use]
    pub fn written_at(self, at: Timestamp) -> Self {
        Self { written_at: Some(at), ..self }
    }

    /// Last sequence.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        Sequence(self.first.0 + self.count - 1)
    }

    /// Whether another run lies in the same place.
    #[must_use]
    pub fn is_where(&self, other: &Self) -> bool {
        self.file.file_id == other.file.file_id && self.offset == other.offset
    }

    /// What it costs in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        if self.bytes.is_some() { self.len + RUN_OVERHEAD_BYTES } else { 0 }
    }

    /// The encoded records, from memory or from the journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn load(&self) -> Result<Bytes, FsError> {
        if let Some(bytes) = &self.bytes {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; usize::try_from(self.len).expect("a run was written from memory")];
        self.file.file().read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes.into())
    }

    /// Calls `each` with every record in order, each verified.
    ///
    /// # Errors
    /// The bytes are damaged, or what `each` returned.
    pub fn for_each<E: From<RunError>>(
        &self,
        bytes: &[u8],
        seed: Seed,
        mut each: impl FnMut(&RecordView<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        for index in 0..self.count {
            let view = self.checked(record::decode(rest), seed, self.first.0 + index)?;
            rest = &rest[view.encoded.len()..];
            each(&view)?;
        }
        Ok(())
    }

    /// A record of the run, where it is the one expected and intact.
    ///
    /// # Errors
    /// [`RunError::Damaged`].
    pub fn checked<'a>(
        &self,
        decoded: Result<RecordView<'a>, AvroError>,
        seed: Seed,
        sequence: u64,
    ) -> Result<RecordView<'a>, RunError> {
        let damaged = |what| RunError::Damaged {
            path: self.file.path.display().to_string(),
            offset: self.offset,
            first: self.first,
            last: self.last(),
            what,
        };
        let view = decoded.map_err(|_| damaged("a record cannot be decoded"))?;
        if view.sequence != sequence {
            return Err(damaged("a record has another sequence than expected"));
        }
        if !view.is_intact(seed) {
            return Err(damaged("checksum of a record is wrong"));
        }
        Ok(view)
    }

    /// The part of the run from `from` on, which must lie inside it.
    ///
    /// # Errors
    /// The bytes are damaged or cannot be read.
    pub fn from(&self, from: Sequence, seed: Seed) -> Result<Self, RunError> {
        let bytes = self.load()?;
        let mut rest = &bytes[..];
        for index in 0..from.0.saturating_sub(self.first.0) {
            let view = self.checked(record::decode(rest), seed, self.first.0 + index)?;
            rest = &rest[view.encoded.len()..];
        }
        let skipped = (bytes.len() - rest.len()) as u64;
        Ok(Self {
            first: from,
            count: self.count - (from.0 - self.first.0),
            bytes: self.bytes.as_ref().map(|bytes| bytes.slice(skipped as usize..)),
            len: self.len - skipped,
            file: Arc::clone(&self.file),
            offset: self.offset + skipped,
            written_at: self.written_at,
        })
    }
}

impl Run {
    /// The part of the run up to `last`, which must lie inside it.
    ///
    /// # Errors
    /// The bytes are damaged or cannot be read.
    pub fn until(&self, last: Sequence, seed: Seed) -> Result<Self, RunError> {
        let bytes = self.load()?;
        let mut rest = &bytes[..];
        let count = last.0 - self.first.0 + 1;
        for index in 0..count {
            let view = self.checked(record::decode(rest), seed, self.first.0 + index)?;
            rest = &rest[view.encoded.len()..];
        }
        let len = bytes.len() - rest.len();
        let bytes = self.bytes.as_ref().map(|bytes| bytes.slice(..len));
        Ok(Self { count, len: len as u64, bytes, file: Arc::clone(&self.file), ..*self })
    }
}

/// One collection's records that are in no segment yet: runs without a hole between them, unless a loss made one.
#[derive(Debug, Default)]
pub struct Unsealed {
    runs: VecDeque<Run>,
    bytes: u64,
    memory_bytes: u64,
    records: u64,
}

impl Unsealed {
    /// Adds a run behind the others. The run counts in its journal already.
    pub fn push(&mut self, run: Run) {
        debug_assert!(self.runs.back().is_none_or(|last| last.last() < run.first));
        self.bytes += run.len;
        self.memory_bytes += run.memory_bytes();
        self.records += run.count;
        self.runs.push_back(run);
    }

    /// Encoded bytes of all runs.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the runs cost in memory.
    #[must_use]
    pub const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// How many records.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// First sequence, where there is one.
    #[must_use]
    pub fn first(&self) -> Option<Sequence> {
        self.runs.front().map(|run| run.first)
    }

    /// Last sequence, where there is one.
    #[must_use]
    pub fn last(&self) -> Option<Sequence> {
        self.runs.back().map(Run::last)
    }

    /// All runs in order.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    /// The run that holds `sequence`, or the first one behind it.
    #[must_use]
    pub fn at_or_after(&self, sequence: Sequence) -> Option<&Run> {
        self.runs.get(self.runs.partition_point(|run| run.last() < sequence))
    }

    /// The run that holds `sequence`, or the last one before it.
    #[must_use]
    pub fn at_or_before(&self, sequence: Sequence) -> Option<&Run> {
        self.runs.partition_point(|run| run.first <= sequence).checked_sub(1).and_then(|index| self.runs.get(index))
    }

    /// The runs from the one that holds `from` on, up to `until`: without a hole, at most `bytes_max` (but one run at least).
    /// None where no run holds `from`.
    #[must_use]
    pub fn gather(&self, from: Sequence, until: Sequence, bytes_max: u64) -> Vec<Run> {
        let place = self.runs.partition_point(|run| run.last() < from);
        gather(self.runs.range(place..).take_while(|run| run.first <= until), from, bytes_max, |before, run| {
            before.last().next() == run.first
        })
    }

    /// The runs from the one that holds `from` down to `until`, as [`gather`](Self::gather).
    #[must_use]
    pub fn gather_back(&self, from: Sequence, until: Sequence, bytes_max: u64) -> Vec<Run> {
        let place = self.runs.partition_point(|run| run.first <= from);
        gather(self.runs.range(..place).rev().take_while(|run| run.last() >= until), from, bytes_max, |before, run| {
            run.last().next() == before.first
        })
    }

    /// Takes out every run up to `last`. The caller lets them go in their journals.
    pub fn take_through(&mut self, last: Sequence) -> Vec<Run> {
        let count = self.runs.partition_point(|run| run.last() <= last);
        let taken: Vec<Run> = self.runs.drain(..count).collect();
        for run in &taken {
            self.bytes -= run.len;
            self.memory_bytes -= run.memory_bytes();
            self.records -= run.count;
        }
        taken
    }

    /// Whether these are the runs, each where it is.
    #[must_use]
    pub fn is_made_of(&self, runs: &[Run]) -> bool {
        let same =
            |(one, other): (&Run, &Run)| one.first == other.first && one.count == other.count && one.is_where(other);
        self.runs.len() == runs.len() && self.runs.iter().zip(runs).all(same)
    }

    /// Puts a run in the place of the one with the same records, and returns that.
    pub fn replace(&mut self, run: Run) -> Option<Run> {
        let place = self.runs.partition_point(|known| known.last() < run.first);
        let known = self.runs.get_mut(place).filter(|known| known.first == run.first && known.count == run.count)?;
        let old = std::mem::replace(known, run);
        self.memory_bytes = self.memory_bytes - old.memory_bytes() + self.runs[place].memory_bytes();
        self.bytes = self.bytes - old.len + self.runs[place].len;
        Some(old)
    }

    /// Puts runs in front again: those that replace the ones taken out.
    pub fn put_front(&mut self, runs: Vec<Run>) {
        for run in runs.into_iter().rev() {
            self.bytes += run.len;
            self.memory_bytes += run.memory_bytes();
            self.records += run.count;
            self.runs.push_front(run);
        }
    }
}

/// Runs are taken under the collection's lock: not more of them at once than are copied in some microseconds.
const GATHERED_RUNS_MAX: usize = 256;

fn gather<'a>(
    runs: impl Iterator<Item = &'a Run>,
    from: Sequence,
    bytes_max: u64,
    follows: impl Fn(&Run, &Run) -> bool,
) -> Vec<Run> {
    let mut gathered: Vec<Run> = Vec::new();
    let mut bytes = 0;
    for run in runs.take(GATHERED_RUNS_MAX) {
        bytes += run.len;
        let fits = match gathered.last() {
            None => run.first <= from && from <= run.last(),
            Some(before) => follows(before, run) && bytes <= bytes_max,
        };
        if !fits {
            break;
        }
        gathered.push(run.clone());
    }
    gathered
}
