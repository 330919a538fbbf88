//! Records that the store does not have yet, as rows that can be searched.
//!
//! Owns: their vectors in memory, up to a bound; what is beyond it is read from the log again by each search. What counts against the bound is what is
//! allocated, also while a chunk grows or two are joined: a chunk that would exceed it is let go. Heads of rows (sequence, expiry, which newer one
//! hides it) are always in memory; they are the index's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::budget::Counted;
use super::kernel;
use super::live::{LIVE, NEVER};
use super::source::Texts;
use crate::types::Record;
use crate::vector::VectorRecord;

/// A chunk of about so many bytes is full.
const CHUNK_BYTES: usize = 4 << 20;
/// And one of so many rows.
const CHUNK_ROWS: usize = 16_384;
/// A chunk that grows is counted each time it grew by so many bytes.
const COUNT_BYTES: usize = 64 << 10;

/// Rows of some consecutive sequences.
#[derive(Debug)]
pub(super) struct Chunk {
    pub sequences: Vec<u64>,
    /// By which sequence each is hidden.
    pub hidden_by: Vec<AtomicU64>,
    /// From when on each is expired, in microseconds.
    pub expires_at: Vec<i64>,
    /// `None` where it did not fit.
    pub body: Option<Body>,
}

/// Vectors of a chunk; a row without one has an empty one.
#[derive(Debug)]
pub(super) struct Body {
    ends: Vec<usize>,
    values: Vec<f32>,
    pub norms: Vec<f64>,
    pub ids: Texts,
    pub metadata: Texts,
    counted: Counted,
}

impl Body {
    pub fn vector(&self, row: usize) -> &[f32] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[start..self.ends[row]]
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<f32>()
            + self.ends.capacity() * size_of::<usize>()
            + self.norms.capacity() * size_of::<f64>()
            + self.ids.memory_bytes()
            + self.metadata.memory_bytes()
    }

    fn shrink_to_fit(&mut self) {
        self.values.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.norms.shrink_to_fit();
        self.ids.shrink_to_fit();
        self.metadata.shrink_to_fit();
    }

    fn push(&mut self, vector: Option<&VectorRecord>) {
        let (values, id, metadata) =
            vector.map_or((&[][..], "", ""), |found| (&found.vector[..], &found.id[..], &found.metadata[..]));
        self.push_parts(values, kernel::norm(values), id, metadata);
    }

    fn push_parts(&mut self, values: &[f32], norm: f64, id: &str, metadata: &str) {
        self.values.extend_from_slice(values);
        self.ends.push(self.values.len());
        self.norms.push(norm);
        self.ids.push(id);
        self.metadata.push(metadata);
    }

    fn empty(held: &Arc<AtomicUsize>) -> Self {
        Self {
            ends: Vec::new(),
            values: Vec::new(),
            norms: Vec::new(),
            ids: Texts::default(),
            metadata: Texts::default(),
            counted: Counted::new(0, held),
        }
    }
}

impl Chunk {
    fn empty(held: &Arc<AtomicUsize>) -> Self {
        Self { sequences: Vec::new(), hidden_by: Vec::new(), expires_at: Vec::new(), body: Some(Body::empty(held)) }
    }

    pub fn last(&self) -> u64 {
        self.sequences[self.sequences.len() - 1]
    }

    fn body_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Body::bytes)
    }

    fn is_full(&self) -> bool {
        self.sequences.len() >= CHUNK_ROWS || self.body_bytes() >= CHUNK_BYTES
    }

    /// Counts the body; lets go of it where the bound would be exceeded.
    fn count(&mut self, held: &AtomicUsize, bytes_max: usize) {
        if let Some(body) = &mut self.body {
            body.counted.set(body.bytes());
            if held.load(Ordering::SeqCst) > bytes_max {
                self.body = None;
            }
        }
    }

    /// Nothing is added any more.
    fn settle(&mut self, held: &AtomicUsize, bytes_max: usize) {
        self.sequences.shrink_to_fit();
        self.hidden_by.shrink_to_fit();
        self.expires_at.shrink_to_fit();
        if let Some(body) = &mut self.body {
            body.shrink_to_fit();
        }
        self.count(held, bytes_max);
    }

    /// Both, one behind the other; with a body where both have one. Nobody changes either meanwhile.
    fn joined(one: &Self, other: &Self, held: &Arc<AtomicUsize>) -> Self {
        let mut all = Self::empty(held);
        if one.body.is_none() || other.body.is_none() {
            all.body = None;
        }
        for chunk in [one, other] {
            all.sequences.extend_from_slice(&chunk.sequences);
            let hidden = chunk.hidden_by.iter().map(|by| AtomicU64::new(by.load(Ordering::Relaxed)));
            all.hidden_by.extend(hidden);
            all.expires_at.extend_from_slice(&chunk.expires_at);
            if let (Some(into), Some(body)) = (&mut all.body, &chunk.body) {
                for row in 0..chunk.sequences.len() {
                    into.push_parts(body.vector(row), body.norms[row], body.ids.get(row), body.metadata.get(row));
                }
            }
        }
        all
    }
}

/// The tail of one collection.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// In order; sequences rise through all of them.
    pub chunks: Vec<Arc<Chunk>>,
    open: Option<Chunk>,
}

impl Tail {
    /// The row of a sequence, where it is here.
    pub fn hide(&self, sequence: u64, by: u64) {
        let hide = |chunk: &Chunk| {
            if let Ok(row) = chunk.sequences.binary_search(&sequence) {
                chunk.hidden_by[row].store(by, Ordering::Relaxed);
            }
        };
        match &self.open {
            Some(open) if open.sequences.first().is_some_and(|first| *first <= sequence) => hide(open),
            _ => {
                let at = self.chunks.partition_point(|chunk| chunk.last() < sequence);
                if let Some(chunk) = self.chunks.get(at) {
                    hide(chunk);
                }
            }
        }
    }

    /// Adds a record; it is seen by searches when [`close`](Self::close) was called.
    pub fn push(&mut self, record: &Record, held: &Arc<AtomicUsize>, bytes_max: usize) {
        let open = self.open.get_or_insert_with(|| Chunk::empty(held));
        let vector = VectorRecord::of_record(record).and_then(Result::ok);
        open.sequences.push(record.sequence.0);
        open.hidden_by.push(AtomicU64::new(LIVE));
        open.expires_at.push(record.expires_at.map_or(NEVER, |at| at.0));
        let has_grown = open.body.as_mut().is_some_and(|body| {
            body.push(vector.as_ref());
            body.bytes() >= body.counted.bytes() + COUNT_BYTES
        });
        if has_grown {
            open.count(held, bytes_max);
        }
        if open.is_full() {
            self.close(held, bytes_max);
        }
    }

    /// Makes what was pushed a chunk of its own, and joins small ones: so that there are few, and each row is copied a few times only.
    pub fn close(&mut self, held: &Arc<AtomicUsize>, bytes_max: usize) {
        let Some(mut chunk) = self.open.take() else { return };
        chunk.settle(held, bytes_max);
        self.chunks.push(Arc::new(chunk));
        while let [.., one, other] = &self.chunks[..] {
            let bytes = one.body_bytes() + other.body_bytes();
            let is_small = one.sequences.len() < 2 * other.sequences.len()
                && one.sequences.len() + other.sequences.len() <= CHUNK_ROWS
                && bytes <= CHUNK_BYTES;
            // While they are joined, both are there twice. Behind one that is read from the log, another may be so too: there are few chunks then.
            let fits = other.body.is_some() && held.load(Ordering::SeqCst) + bytes <= bytes_max;
            if !is_small || (one.body.is_some() && !fits) {
                break;
            }
            let mut joined = Chunk::joined(one, other, held);
            self.chunks.truncate(self.chunks.len() - 2);
            joined.settle(held, bytes_max);
            self.chunks.push(Arc::new(joined));
        }
    }

    /// Lets go of what the store has.
    pub fn drop_through(&mut self, sequence: u64) {
        self.chunks.retain(|chunk| chunk.last() > sequence);
    }

    /// What the heads of its rows cost in memory.
    pub fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.sequences.len() * 24).sum()
    }
}
