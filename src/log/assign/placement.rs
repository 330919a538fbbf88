//! What choosing goes by, counted ahead: how many collections live in each directory, and what `least-used` needs.
//!
//! Always: the counts of collections are those of the log's collections, deleted ones too (they may come back), as soon as who
//! added or moved one has said so.
//! Bytes and free space may be old; they are read again before a collection is placed, when enough has changed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::Inner;
use super::super::collection::Collection;
use super::super::recover::journals::chain;
use super::tally::Tallies;
use crate::assignment::Policy;
use crate::types::CollectionName;

/// The bytes are counted again when there were more changes than one for this many segments.
const ROWS_PER_CHANGE: u64 = 8;

/// Counts by directory, in the log's order.
#[derive(Debug)]
pub(in crate::log) struct Placement {
    collections: Vec<AtomicU64>,
    figures: Mutex<Arc<Figures>>,
    /// Held by who counts bytes.
    counting: Mutex<()>,
    /// Of other components.
    pub(super) tallies: Mutex<Tallies>,
}

/// What `least-used` goes by.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    directories: Vec<Figure>,
    /// Segments counted.
    rows: u64,
    /// The newest change when they were; `None` before the first time.
    counted_at: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Figure {
    bytes: u64,
    with_bytes: u64,
    free_bytes: Option<u64>,
}

impl Placement {
    /// Of the collections that a log has when it opens.
    pub fn of(directories: usize, collections: &HashMap<CollectionName, Arc<Collection>>) -> Self {
        let placement = Self {
            collections: (0..directories).map(|_| AtomicU64::new(0)).collect(),
            figures: Mutex::default(),
            counting: Mutex::default(),
            tallies: Mutex::default(),
        };
        for collection in collections.values() {
            placement.added(collection.directory());
        }
        placement
    }

    /// A new collection lives in this directory.
    pub fn added(&self, directory: usize) {
        self.collections[directory].fetch_add(1, Ordering::AcqRel);
    }

    /// A collection lives in another directory now.
    pub fn moved(&self, from: usize, to: usize) {
        self.collections[from].fetch_sub(1, Ordering::AcqRel);
        self.added(to);
    }

    /// How many collections live there.
    pub fn collections(&self, directory: usize) -> u64 {
        self.collections[directory].load(Ordering::Acquire)
    }

    pub(super) fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads free space, and counts the bytes again where much has changed. Whoever comes while another counts goes by the old
    /// numbers; so does everybody while the catalog cannot be read.
    pub(super) fn refresh(&self, log: &Inner) {
        debug_assert_eq!(log.options.placement, Policy::LeastUsed);
        let mut figures = Figures::clone(&self.figures());
        figures.directories.resize_with(log.directories.len(), Figure::default);
        for (figure, directory) in figures.directories.iter_mut().zip(&log.directories) {
            if directory.takes_collections() {
                figure.free_bytes = log.fs.free_bytes(&directory.path).ok();
            }
        }
        let newest = log.change_number.load(Ordering::Acquire);
        let is_old = figures.counted_at.is_none_or(|at| newest.saturating_sub(at) > figures.rows / ROWS_PER_CHANGE);
        let counting = if is_old { self.counting.try_lock().ok() } else { None };
        if counting.is_some() {
            match count(log) {
                Ok((counted, rows)) => {
                    for (figure, (bytes, with_bytes)) in figures.directories.iter_mut().zip(counted) {
                        (figure.bytes, figure.with_bytes) = (bytes, with_bytes);
                    }
                    (figures.rows, figures.counted_at) = (rows, Some(newest));
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "bytes of directories could not be counted");
                }
            }
        }
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(figures);
    }
}

/// Bytes of segments in each directory, and of how many collections; and how many segments.
fn count(log: &Inner) -> crate::error::Result<(Vec<(u64, u64)>, u64)> {
    let mut counted = vec![(0, 0); log.directories.len()];
    let mut newest: Vec<Option<CollectionName>> = vec![None; log.directories.len()];
    let mut rows = 0;
    log.each_local_segment(|directory, key, bytes| {
        rows += 1;
        counted[directory].0 += bytes;
        // Rows come in order of their collections.
        if newest[directory].as_ref() != Some(&key.collection) {
            newest[directory] = Some(key.collection.clone());
            counted[directory].1 += 1;
        }
    })?;
    Ok((counted, rows))
}

impl Figures {
    /// Bytes of segments there.
    pub fn bytes(&self, directory: usize) -> u64 {
        self.directories.get(directory).map_or(0, |figure| figure.bytes)
    }

    /// Collections that have segments there.
    pub fn with_bytes(&self, directory: usize) -> u64 {
        self.directories.get(directory).map_or(0, |figure| figure.with_bytes)
    }

    /// What the disk has left.
    pub fn free_bytes(&self, directory: usize) -> Option<u64> {
        self.directories.get(directory)?.free_bytes
    }
}
