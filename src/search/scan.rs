//! Compares every live vector of a snapshot with the query's.
//!
//! Owns: cutting the work into row groups and chunks, threads, reading what is not in memory. What is in memory comes first (see `cache`). What is not
//! kept is compared as it is unpacked, some rows at a time, by as many threads as there is room for (see `budget`). Each thread
//! keeps its own best; ties are decided by sequence, so their number and order change no answer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Search;
use super::cache::{Content, Held, Part, PartKey, Vectors};
use super::filter;
use super::kernel;
use super::live::Snapshot;
use super::query::{Hit, Metric, Prepared, Statistics};
use super::source::{GroupPlace, Labels, Reading};
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

/// Work that threads take from the front.
struct Pieces {
    all: Vec<Piece>,
    next: AtomicUsize,
}

/// What the threads of a scan tell each other.
#[derive(Default)]
struct Ending {
    is_over: AtomicBool,
    failed: Mutex<Option<Stop>>,
}

/// Some vectors of a group.
struct Lot<'a> {
    rows: &'a [u32],
    /// One vector behind the other.
    values: &'a [f32],
    /// `None` where they were not made.
    norms: Option<&'a [f64]>,
}

impl Scan<'_> {
    /// The nearest, in order.
    pub fn run(&self) -> Result<(Vec<Hit>, Statistics), Stop> {
        let budget = &self.search.budget;
        let (mut here, mut elsewhere) = self.pieces();
        let read = elsewhere.all.iter().find_map(|piece| match piece {
            Piece::Group(place) => Some(self.reading_bytes(*place)),
            Piece::Chunk(_) => None,
        });
        if let Some(bytes) = read {
            budget.expect_read(bytes);
            if self.search.cache.shed() {
                (here, elsewhere) = self.pieces();
            }
        }
        let bytes: usize = self.vectors() * self.query.vector.len() * size_of::<f32>();
        let pieces = here.all.len() + elsewhere.all.len();
        let threads = self.search.threads().min(pieces).min(bytes / THREAD_BYTES).max(1);
        let readers = budget.readers(read.unwrap_or(0), threads);
        let ending = Ending::default();
        let work = |reads: bool| {
            let mut found = Found { top: Top::new(self.query.k), statistics: Statistics::default() };
            self.take(&here, &ending, &mut found);
            if reads {
                self.take(&elsewhere, &ending, &mut found);
            }
            found
        };
        let mut all = std::thread::scope(|scope| {
            let work = &work;
            let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || work(thread < readers))).collect();
            let mut all = work(true);
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
        if let Some(stop) = ending.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(stop);
        }
        all.statistics.files = self.snapshot.files.len() as u64;
        let hits = self.hits(all.top.into_sorted(), &mut all.statistics)?;
        Ok((hits, all.statistics))
    }

    /// Works on pieces until there are no more.
    fn take(&self, pieces: &Pieces, ending: &Ending, found: &mut Found) {
        while !ending.is_over.load(Ordering::Relaxed) {
            let Some(piece) = pieces.all.get(pieces.next.fetch_add(1, Ordering::Relaxed)) else { break };
            if let Err(stop) = self.piece(*piece, found) {
                ending.is_over.store(true, Ordering::Relaxed);
                ending.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(stop);
            }
        }
    }

    fn vectors(&self) -> usize {
        let in_files: usize = self.snapshot.view.files().iter().flat_map(|file| &file.groups).sum();
        in_files + self.snapshot.chunks.iter().map(|chunk| chunk.sequences.len()).sum::<usize>()
    }

    /// What is in memory, and what has to be read.
    fn pieces(&self) -> (Pieces, Pieces) {
        let groups = self.snapshot.view.files().iter().enumerate().flat_map(|(file, facts)| {
            (0..facts.groups.len()).map(move |group| Piece::Group(GroupPlace { file, group }))
        });
        let chunks = (0..self.snapshot.chunks.len()).map(Piece::Chunk);
        let (here, elsewhere) = groups.chain(chunks).partition(|piece| match piece {
            Piece::Group(place) => self.search.cache.has(self.part(*place, self.vectors_part())),
            Piece::Chunk(at) => self.snapshot.chunks[*at].body.is_some(),
        });
        let pieces = |all| Pieces { all, next: AtomicUsize::new(0) };
        (pieces(here), pieces(elsewhere))
    }

    /// What reading a group takes, with its labels where they may be wanted.
    fn reading_bytes(&self, place: GroupPlace) -> usize {
        let view = &self.snapshot.view;
        let vectors = view.reading_bytes(place, Reading::Vectors(self.query.vector.len()));
        let wants_labels = !self.query.filter.is_empty() && !self.search.cache.has(self.part(place, Part::Labels));
        vectors + if wants_labels { view.reading_bytes(place, Reading::Labels) } else { 0 }
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
        let cache = &self.search.cache;
        let key = self.part(place, self.vectors_part());
        let mut labels = None;
        found.statistics.groups += 1;
        if let Some(held) = cache.find(key, self.number) {
            let Content::Vectors(vectors) = &held.content else { return Ok(()) };
            found.statistics.groups_cached += 1;
            found.statistics.other_dimensions += vectors.others;
            let lot = Lot { rows: &vectors.rows, values: &vectors.values, norms: Some(&vectors.norms) };
            return self.lot(place, &lot, &mut labels, found);
        }
        // Until the end: labels of this group are read under it, too.
        let _permit = self.search.budget.read(self.reading_bytes(place));
        let view = &self.snapshot.view;
        let count = view.vectors_max(place, dimensions);
        let mut kept = cache
            .admit(Vectors::bytes_of(count, dimensions), self.number)
            .map(|counted| (Vectors::with_capacity(count, dimensions), counted));
        let read = view.vectors(place, dimensions, &mut |rows, values| {
            let lot = Lot { rows, values, norms: None };
            let Some((kept, _)) = &mut kept else { return self.lot(place, &lot, &mut labels, found) };
            let from = kept.norms.len();
            kept.rows.extend_from_slice(rows);
            kept.values.extend_from_slice(values);
            kept.norms.extend(values.chunks_exact(dimensions).map(kernel::norm));
            self.lot(place, &Lot { norms: Some(&kept.norms[from..]), ..lot }, &mut labels, found)
        })?;
        found.statistics.bytes_read += read.bytes_read;
        found.statistics.other_dimensions += read.others;
        if let Some((mut vectors, counted)) = kept {
            vectors.others = read.others;
            if vectors.rows.len() < count {
                vectors.rows.shrink_to_fit();
                vectors.values.shrink_to_fit();
                vectors.norms.shrink_to_fit();
            }
            cache.insert(key, Content::Vectors(vectors), counted, self.number);
        }
        Ok(())
    }

    /// Compares some vectors of a group.
    fn lot(&self, place: GroupPlace, lot: &Lot<'_>, labels: &mut Option<Arc<Held>>, found: &mut Found) -> Result<()> {
        let Found { top, statistics } = found;
        let state = &self.snapshot.files[place.file].groups[place.group];
        let vectors = lot.values.chunks_exact(self.query.vector.len());
        for (at, (row, vector)) in lot.rows.iter().zip(vectors).enumerate() {
            let row = *row as usize;
            if !state.is_live(row, &self.snapshot.moment) {
                continue;
            }
            let norm = match lot.norms {
                Some(norms) => norms[at],
                None if self.query.metric == Metric::Cosine => kernel::norm(vector),
                None => 1.0,
            };
            let rank = self.query.rank(vector, norm);
            statistics.vectors_compared += 1;
            statistics.without_score += u64::from(rank.is_nan());
            let sequence = state.sequence(row);
            if !top.takes(rank, sequence) {
                continue;
            }
            if !self.query.filter.is_empty() {
                if labels.is_none() {
                    *labels = Some(self.labels(place, statistics, true)?);
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

    /// Ids and metadata of a group. `has_permit`: whoever asks has one for them already, and has it until they are let go.
    fn labels(&self, place: GroupPlace, statistics: &mut Statistics, has_permit: bool) -> Result<Arc<Held>> {
        let cache = &self.search.cache;
        let key = self.part(place, Part::Labels);
        if let Some(held) = cache.find(key, self.number) {
            return Ok(held);
        }
        let view = &self.snapshot.view;
        let permit = (!has_permit).then(|| self.search.budget.read(view.reading_bytes(place, Reading::Labels)));
        let mut labels = view.labels(place)?;
        labels.ids.shrink_to_fit();
        labels.metadata.shrink_to_fit();
        statistics.bytes_read += labels.bytes_read;
        let content = Content::Labels(labels);
        Ok(match cache.admit(content.memory_bytes(), self.number) {
            Some(counted) => cache.insert(key, content, counted, self.number),
            None => Arc::new(Held::passing(content, permit)),
        })
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

    /// What is told of the best. Labels are read once for each group, one group at a time.
    fn hits(&self, best: Vec<Ranked<Place>>, statistics: &mut Statistics) -> Result<Vec<Hit>> {
        let mut hits = Vec::with_capacity(best.len());
        let mut in_files: Vec<(GroupPlace, usize, usize)> = Vec::new();
        for (at, ranked) in best.into_iter().enumerate() {
            let (id, metadata) = match ranked.place {
                Place::File(place, row) => {
                    in_files.push((place, row, at));
                    (String::new(), String::new())
                }
                Place::Chunk(at, row) => match &self.snapshot.chunks[at].body {
                    Some(body) => (body.ids.get(row).to_owned(), body.metadata.get(row).to_owned()),
                    None => (String::new(), String::new()),
                },
                Place::Read(found) => (found.id, found.metadata),
            };
            let score = self.query.metric.score(ranked.rank);
            hits.push(Hit { id, score, sequence: Sequence(ranked.sequence), metadata });
        }
        in_files.sort_unstable();
        for of_group in in_files.chunk_by(|one, other| one.0 == other.0) {
            let held = self.labels(of_group[0].0, statistics, false)?;
            let labels = labels_of(&held);
            for (_, row, at) in of_group {
                labels.ids.get(*row).clone_into(&mut hits[*at].id);
                labels.metadata.get(*row).clone_into(&mut hits[*at].metadata);
            }
        }
        Ok(hits)
    }
}

fn labels_of(held: &Held) -> &Labels {
    match &held.content {
        Content::Labels(labels) => labels,
        Content::Vectors(_) => unreachable!("a part is what its key says"),
    }
}
