//! Compares every live vector of a snapshot with the query's.
//!
//! Owns: cutting the work into row groups and chunks, threads, reading what is not in memory. What is in memory comes first (see `cache`). Each thread
//! keeps its own best; ties are decided by sequence, so their number and order change no answer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Search;
use super::cache::{Content, Held, Part, PartKey};
use super::filter;
use super::kernel;
use super::live::Snapshot;
use super::query::{Hit, Prepared, Statistics};
use super::source::{GroupPlace, Labels};
use super::tail::Chunk;
use super::top::{Ranked, Top};
use crate::error::{Error, ErrorKind, Result};
use crate::log::ReadOptions;
use crate::types::{CollectionName, Sequence};
use crate::vector::VectorRecord;

/// A thread of its own pays from so many bytes of vectors on.
const THREAD_BYTES: usize = 2 << 20;

/// Why a scan ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// What it looked at is gone: begin anew with a new snapshot.
    Again(Error),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::NotFound { Self::Again(error) } else { Self::Error(error) }
    }
}

/// Where a candidate is.
#[derive(Clone, Debug)]
enum Place {
    File(GroupPlace, usize),
    Chunk(usize, usize),
    /// It was read by the way, and is not in memory any more.
    Read(Box<VectorRecord>),
}

/// A piece of work.
#[derive(Clone, Copy, Debug)]
enum Piece {
    Group(GroupPlace),
    Chunk(usize),
}

pub(super) struct Scan<'a> {
    pub search: &'a Search,
    pub collection: &'a CollectionName,
    pub query: &'a Prepared<'a>,
    pub snapshot: &'a Snapshot,
    /// The query's number.
    pub number: u64,
}

/// What one thread found.
struct Found {
    top: Top<Place>,
    statistics: Statistics,
}

impl Scan<'_> {
    /// The nearest, in order.
    pub fn run(&self) -> Result<(Vec<Hit>, Statistics), Stop> {
        let pieces = self.pieces();
        let bytes: usize = self.vectors() * self.query.vector.len() * size_of::<f32>();
        let threads = self.search.threads().min(pieces.len()).min(bytes / THREAD_BYTES).max(1);
        let next = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let failed: Mutex<Option<Stop>> = Mutex::new(None);
        let work = || {
            let mut found = Found { top: Top::new(self.query.k), statistics: Statistics::default() };
            while !is_over.load(Ordering::Relaxed) {
                let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                if let Err(stop) = self.piece(*piece, &mut found) {
                    is_over.store(true, Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(stop);
                }
            }
            found
        };
        let mut all = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for other in others {
                match other.join() {
                    Ok(found) => {
                        all.top.merge(found.top);
                        all.statistics.add(&found.statistics);
                    }
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        });
        if let Some(stop) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(stop);
        }
        all.statistics.files = self.snapshot.files.len() as u64;
        let mut hits = Vec::new();
        for ranked in all.top.into_sorted() {
            hits.push(self.hit(ranked, &mut all.statistics)?);
        }
        Ok((hits, all.statistics))
    }

    fn vectors(&self) -> usize {
        let in_files: usize = self.snapshot.view.files().iter().flat_map(|file| &file.groups).sum();
        in_files + self.snapshot.chunks.iter().map(|chunk| chunk.sequences.len()).sum::<usize>()
    }

    /// What is in memory first.
    fn pieces(&self) -> Vec<Piece> {
        let groups = self
            .snapshot
            .view
            .files()
            .iter()
            .enumerate()
            .flat_map(|(file, facts)| (0..facts.groups.len()).map(move |group| GroupPlace { file, group }));
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            groups.partition(|place| self.search.cache.has(self.part(*place, self.vectors_part())));
        let chunks = (0..self.snapshot.chunks.len()).map(Piece::Chunk);
        here.into_iter().map(Piece::Group).chain(chunks).chain(elsewhere.into_iter().map(Piece::Group)).collect()
    }

    fn vectors_part(&self) -> Part {
        Part::Vectors(u32::try_from(self.query.vector.len()).expect("at most 65,536 dimensions"))
    }

    fn part(&self, place: GroupPlace, part: Part) -> PartKey {
        let group = u32::try_from(place.group).expect("a file has fewer than 2^32 rows");
        PartKey { file: self.snapshot.files[place.file].number, group, part }
    }

    fn piece(&self, piece: Piece, found: &mut Found) -> Result<(), Stop> {
        match piece {
            Piece::Group(place) => Ok(self.group(place, found)?),
            Piece::Chunk(at) => {
                let chunk = &self.snapshot.chunks[at];
                if chunk.body.is_some() {
                    self.chunk(at, chunk, found);
                    Ok(())
                } else {
                    self.read_chunk(chunk, found)
                }
            }
        }
    }

    fn group(&self, place: GroupPlace, found: &mut Found) -> Result<()> {
        let dimensions = self.query.vector.len();
        let rows = self.snapshot.view.files()[place.file].groups[place.group];
        let estimate = rows * (dimensions * size_of::<f32>() + size_of::<u32>() + size_of::<f64>());
        let (held, was_here) =
            self.search.cache.get(self.part(place, self.vectors_part()), self.number, estimate, || {
                let vectors = self.snapshot.view.vectors(place, dimensions)?;
                let norms = vectors.values.chunks_exact(dimensions).map(kernel::norm).collect();
                Ok(Content::Vectors(vectors, norms))
            })?;
        let Content::Vectors(vectors, norms) = &held.content else { return Ok(()) };
        let Found { top, statistics } = found;
        statistics.groups += 1;
        statistics.groups_cached += u64::from(was_here);
        statistics.bytes_read += if was_here { 0 } else { vectors.bytes_read };
        statistics.other_dimensions += vectors.others;
        let state = &self.snapshot.files[place.file].groups[place.group];
        let mut labels: Option<Arc<Held>> = None;
        for ((row, vector), norm) in vectors.rows.iter().zip(vectors.values.chunks_exact(dimensions)).zip(norms) {
            let row = *row as usize;
            if !state.is_live(row, &self.snapshot.moment) {
                continue;
            }
            let rank = self.query.rank(vector, *norm);
            statistics.vectors_compared += 1;
            statistics.without_score += u64::from(rank.is_nan());
            let sequence = state.sequence(row);
            if !top.takes(rank, sequence) {
                continue;
            }
            if !self.query.filter.is_empty() {
                if labels.is_none() {
                    labels = Some(self.labels(place, statistics)?);
                }
                let metadata = labels.as_deref().map_or("", |held| labels_of(held).metadata.get(row));
                if !filter::meets(metadata, self.query.filter) {
                    continue;
                }
            }
            top.push(Ranked { rank, sequence, place: Place::File(place, row) });
        }
        Ok(())
    }

    fn labels(&self, place: GroupPlace, statistics: &mut Statistics) -> Result<Arc<Held>> {
        let rows = self.snapshot.view.files()[place.file].groups[place.group];
        // What they have is not known before; some hundred bytes a row are usual.
        let (held, was_here) =
            self.search.cache.get(self.part(place, Part::Labels), self.number, rows * 128, || {
                self.snapshot.view.labels(place).map(Content::Labels)
            })?;
        statistics.bytes_read += if was_here { 0 } else { labels_of(&held).bytes_read };
        Ok(held)
    }

    fn chunk(&self, at: usize, chunk: &Chunk, found: &mut Found) {
        let Some(body) = &chunk.body else { return };
        let Found { top, statistics } = found;
        for row in 0..chunk.sequences.len() {
            if !self.snapshot.moment.is_live(chunk, row) {
                continue;
            }
            statistics.tail_rows += 1;
            let vector = body.vector(row);
            if vector.len() != self.query.vector.len() {
                statistics.other_dimensions += u64::from(!vector.is_empty());
                continue;
            }
            let rank = self.query.rank(vector, body.norms[row]);
            statistics.vectors_compared += 1;
            statistics.without_score += u64::from(rank.is_nan());
            let sequence = chunk.sequences[row];
            if top.takes(rank, sequence) && filter::meets(body.metadata.get(row), self.query.filter) {
                top.push(Ranked { rank, sequence, place: Place::Chunk(at, row) });
            }
        }
    }

    /// A chunk that is not in memory.
    fn read_chunk(&self, chunk: &Chunk, found: &mut Found) -> Result<(), Stop> {
        let Found { top, statistics } = found;
        let moment = &self.snapshot.moment;
        let live = |row: &usize| moment.is_live(chunk, *row);
        let (Some(first), Some(last)) =
            ((0..chunk.sequences.len()).find(live), (0..chunk.sequences.len()).rev().find(live))
        else {
            return Ok(());
        };
        let options = ReadOptions {
            from: Some(Sequence(chunk.sequences[first])),
            until: Some(Sequence(chunk.sequences[last])),
            ..ReadOptions::default()
        };
        let mut reader = self.search.log.read(self.collection, options)?;
        let mut records = std::iter::from_fn(|| reader.try_next().transpose()).peekable();
        for row in (first..=last).filter(live) {
            let sequence = chunk.sequences[row];
            while records.next_if(|record| record.as_ref().is_ok_and(|record| record.sequence.0 < sequence)).is_some() {
            }
            let record = match records.next() {
                Some(Ok(record)) if record.sequence.0 == sequence => record,
                Some(Err(error)) => return Err(Stop::Error(error)),
                // Purged or compacted since: there is something newer to be seen.
                _ => {
                    let message = format!(
                        "a record went while it was searched: collection=`{}`, sequence=`{sequence}`",
                        self.collection
                    );
                    return Err(Stop::Again(Error::new(ErrorKind::Unavailable, message)));
                }
            };
            statistics.tail_rows += 1;
            let Some(Ok(found)) = VectorRecord::of_record(&record) else { continue };
            if found.vector.len() != self.query.vector.len() {
                statistics.other_dimensions += 1;
                continue;
            }
            let rank = self.query.rank(&found.vector, kernel::norm(&found.vector));
            statistics.vectors_compared += 1;
            statistics.without_score += u64::from(rank.is_nan());
            if top.takes(rank, sequence) && filter::meets(&found.metadata, self.query.filter) {
                // Only what is told of a hit is kept.
                let found = VectorRecord { vector: Vec::new(), ..found };
                top.push(Ranked { rank, sequence, place: Place::Read(Box::new(found)) });
            }
        }
        Ok(())
    }

    fn hit(&self, ranked: Ranked<Place>, statistics: &mut Statistics) -> Result<Hit> {
        let (id, metadata) = match ranked.place {
            Place::File(place, row) => {
                let held = self.labels(place, statistics)?;
                let labels = labels_of(&held);
                (labels.ids.get(row).to_owned(), labels.metadata.get(row).to_owned())
            }
            Place::Chunk(at, row) => match &self.snapshot.chunks[at].body {
                Some(body) => (body.ids.get(row).to_owned(), body.metadata.get(row).to_owned()),
                None => (String::new(), String::new()),
            },
            Place::Read(found) => (found.id, found.metadata),
        };
        let score = self.query.metric.score(ranked.rank);
        Ok(Hit { id, score, sequence: Sequence(ranked.sequence), metadata })
    }
}

fn labels_of(held: &Held) -> &Labels {
    match &held.content {
        Content::Labels(labels) => labels,
        Content::Vectors(..) => unreachable!("a part is what its key says"),
    }
}
