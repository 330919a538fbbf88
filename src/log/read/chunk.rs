//! Unsealed records: some runs in memory, given record by record.
//!
//! Owns: reading runs that lie near each other with one read; that no record leaves a run unverified. A run's journal may be
//! released and used for other groups while we read: sequence and checksum tell, and the caller looks the record up anew.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::avro::record::{self, Seed};
use crate::fs::FsResult;
use crate::memtable::{Run, RunError};
use crate::types::{Record, Sequence};

/// Runs are read together where less than this many bytes lie between them.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// Records of some runs, in one direction.
#[derive(Debug)]
pub(super) struct Chunk {
    runs: VecDeque<(Run, Bytes)>,
    backwards: bool,
    /// Forwards: where in the first run the next record lies, and its sequence.
    place: (usize, Sequence),
    /// The last sequence, in the direction of reading.
    edge: Sequence,
    /// Backwards: where the first run's records that are still to be given begin.
    starts: Option<Vec<usize>>,
}

/// A run that is not what it was, or cannot be read.
#[derive(Debug)]
pub(super) struct BadRun {
    pub run: Run,
    pub error: RunError,
}

impl BadRun {
    fn of(run: &Run, error: RunError) -> Box<Self> {
        Box::new(Self { run: run.clone(), error })
    }
}

impl Chunk {
    /// Loads `runs`, which are in the order of reading. Where one cannot be read, those before it are the chunk.
    pub fn load(runs: Vec<Run>, backwards: bool) -> Result<Self, Box<BadRun>> {
        let mut loaded = VecDeque::with_capacity(runs.len());
        let mut runs = VecDeque::from(runs);
        while let Some(run) = runs.front() {
            let span = span(&runs);
            match read_span(&runs, span) {
                Ok(bytes) => loaded.extend(runs.drain(..span).zip(bytes)),
                Err(_) if !loaded.is_empty() => break,
                Err(error) => return Err(BadRun::of(run, error.into())),
            }
        }
        let place = (0, loaded.front().map_or(Sequence(0), |(run, _)| run.first));
        let edge = loaded.back().map_or(Sequence(0), |(run, _)| if backwards { run.first } else { run.last() });
        Ok(Self { runs: loaded, backwards, place, edge, starts: None })
    }

    /// The last sequence that it holds, in the direction of reading.
    pub const fn edge(&self) -> Sequence {
        self.edge
    }

    /// The next record at or after `at` (backwards: at or before), with this key where one is given.
    pub fn next(&mut self, at: Sequence, seed: Seed, key: Option<&[u8]>) -> Option<Result<Record, Box<BadRun>>> {
        if self.backwards { self.descend(at, seed, key) } else { self.ascend(at, seed, key) }
    }

    fn ascend(&mut self, at: Sequence, seed: Seed, key: Option<&[u8]>) -> Option<Result<Record, Box<BadRun>>> {
        loop {
            let (run, bytes) = self.runs.front()?;
            let (offset, sequence) = self.place;
            if sequence > run.last() || run.last() < at {
                self.runs.pop_front();
                self.place = (0, self.runs.front()?.0.first);
                continue;
            }
            let rest = &bytes[offset..];
            let view = match run.checked(record::decode(rest), seed, sequence.0) {
                Ok(view) => view,
                Err(error) => return Some(Err(BadRun::of(run, error))),
            };
            self.place = (offset + view.encoded.len(), sequence.next());
            if sequence >= at && key.is_none_or(|key| view.key == Some(key)) {
                let record = view.to_record(bytes);
                return Some(record.map_err(|_| unknown_kind(run)));
            }
        }
    }

    fn descend(&mut self, at: Sequence, seed: Seed, key: Option<&[u8]>) -> Option<Result<Record, Box<BadRun>>> {
        loop {
            let (run, bytes) = self.runs.front()?;
            let starts = match &mut self.starts {
                Some(starts) => starts,
                None => match starts_of(run, bytes, seed) {
                    Ok(starts) => self.starts.insert(starts),
                    Err(error) => return Some(Err(BadRun::of(run, error))),
                },
            };
            let Some(start) = starts.pop() else {
                self.starts = None;
                self.runs.pop_front();
                continue;
            };
            if run.first.0 + starts.len() as u64 > at.0 {
                continue;
            }
            let Ok(view) = record::decode(&bytes[start..]) else { return Some(Err(unknown_kind(run))) };
            if key.is_none_or(|key| view.key == Some(key)) {
                return Some(view.to_record(bytes).map_err(|_| unknown_kind(run)));
            }
        }
    }
}

/// How many runs in front are read at once.
fn span(runs: &VecDeque<Run>) -> usize {
    let near = |one: &Run, other: &Run| {
        let (low, high) = if one.offset < other.offset { (one, other) } else { (other, one) };
        let end = low.offset + low.len;
        Arc::ptr_eq(&one.file, &other.file) && high.offset >= end && high.offset - end <= GAP_BYTES_MAX
    };
    let on_disk = |run: &Run| run.memory_bytes() == 0;
    let pairs = runs.iter().zip(runs.iter().skip(1));
    1 + pairs.take_while(|(one, other)| on_disk(one) && on_disk(other) && near(one, other)).count()
}

fn read_span(runs: &VecDeque<Run>, count: usize) -> FsResult<Vec<Bytes>> {
    if count == 1 {
        return Ok(vec![runs[0].load()?]);
    }
    let some = || runs.iter().take(count);
    let start = some().map(|run| run.offset).min().unwrap_or(0);
    let end = some().map(|run| run.offset + run.len).max().unwrap_or(0);
    let mut bytes = vec![0; usize::try_from(end - start).expect("runs near each other, of a limited size")];
    runs[0].file.file().read_exact_at(&mut bytes, start)?;
    let bytes = Bytes::from(bytes);
    Ok(some().map(|run| bytes.slice((run.offset - start) as usize..(run.offset + run.len - start) as usize)).collect())
}

fn starts_of(run: &Run, bytes: &Bytes, seed: Seed) -> Result<Vec<usize>, RunError> {
    let mut starts = Vec::with_capacity(usize::try_from(run.count).unwrap_or(0));
    let mut at = 0;
    run.for_each(bytes, seed, |view| {
        starts.push(at);
        at += view.encoded.len();
        Ok::<(), RunError>(())
    })?;
    Ok(starts)
}

fn unknown_kind(run: &Run) -> Box<BadRun> {
    let (path, offset) = (run.file.path.display().to_string(), run.offset);
    let what = "a record of a kind that has no place here";
    BadRun::of(run, RunError::Damaged { path, offset, first: run.first, last: run.last(), what })
}
