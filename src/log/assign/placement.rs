//! What choosing goes by, counted ahead: how many collections live in each directory, how many are at home in each place, and what
//! `least-used` needs. Places are the log's directories, then its remotes.
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
use super::homes::SegmentsAt;
use super::tally::Tallies;
use crate::assignment::Policy;
use crate::catalog::SegmentStatus;
use crate::types::CollectionName;

/// The bytes are counted again when there were more changes than one for this many segments.
const ROWS_PER_CHANGE: u64 = 8;

/// Counts by directory, in the log's order.
#[derive(Debug)]
pub(in crate::log) struct Placement {
    collections: Vec<AtomicU64>,
    /// By place: whose segments are at home there.
    homes: Vec<AtomicU64>,
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
    /// By place: of collections that are at home there, wherever the bytes are now.
    homes: Vec<Figure>,
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
    pub fn of(directories: usize, remotes: usize, collections: &HashMap<CollectionName, Arc<Collection>>) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let placement = Self {
            collections: zeros(directories),
            homes: zeros(directories + remotes),
            figures: Mutex::default(),
            counting: Mutex::default(),
            tallies: Mutex::default(),
        };
        for collection in collections.values() {
            placement.added(collection.directory(), collection.segments_at());
        }
        placement
    }

    /// A new collection lives in this directory, and is at home there.
    pub fn added(&self, directory: usize, at: SegmentsAt) {
        self.collections[directory].fetch_add(1, Ordering::AcqRel);
        self.settled(directory, at);
    }

    /// A collection lives in another directory now.
    pub fn moved(&self, from: usize, to: usize, at: SegmentsAt) {
        self.collections[from].fetch_sub(1, Ordering::AcqRel);
        self.left(from, at);
        self.added(to, at);
    }

    /// A collection that lives in this directory is at home elsewhere now.
    pub fn rehomed(&self, directory: usize, from: SegmentsAt, to: SegmentsAt) {
        self.left(directory, from);
        self.settled(directory, to);
    }

    fn settled(&self, directory: usize, at: SegmentsAt) {
        if let Some(place) = self.place(directory, at) {
            self.homes[place].fetch_add(1, Ordering::AcqRel);
        }
    }

    fn left(&self, directory: usize, at: SegmentsAt) {
        if let Some(place) = self.place(directory, at) {
            self.homes[place].fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Where the segments of a collection are at home that lives in this directory.
    pub(super) fn place(&self, directory: usize, at: SegmentsAt) -> Option<usize> {
        match at {
            SegmentsAt::Here => Some(directory),
            SegmentsAt::Remote(remote) => Some(self.collections.len() + remote),
            SegmentsAt::Unknown => None,
        }
    }

    /// How many collections are at home there.
    pub fn homes(&self, place: usize) -> u64 {
        self.homes[place].load(Ordering::Acquire)
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
                    for (figure, counted) in figures.directories.iter_mut().zip(&counted.directories) {
                        (figure.bytes, figure.with_bytes) = (counted.bytes, counted.with_bytes);
                    }
                    figures.homes = counted.homes;
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

/// Bytes of segments in each directory and at home in each place, and of how many collections; and how many segments.
fn count(log: &Inner) -> crate::error::Result<(Figures, u64)> {
    let places = log.directories.len() + log.homes.remotes.len();
    let mut directories = Counter::new(log.directories.len());
    let mut homes = Counter::new(places);
    let mut rows = 0;
    let mut at: Option<(CollectionName, SegmentsAt)> = None;
    log.each_segment(|row| {
        let directory = log.directory_index(&row.directory);
        if row.status.is_local()
            && let Some(directory) = directory
        {
            rows += 1;
            directories.add(directory, &row.key.collection, row.bytes);
        }
        if at.as_ref().is_none_or(|(name, _)| *name != row.key.collection) {
            let known = log.collections().get(&row.key.collection).map(|known| known.segments_at());
            at = Some((row.key.collection.clone(), known.unwrap_or(SegmentsAt::Here)));
        }
        let of_collection = at.as_ref().map_or(SegmentsAt::Here, |(_, at)| *at);
        let place = match row.archive_key.as_deref().and_then(remote_of_key) {
            Some(remote) if matches!(row.status, SegmentStatus::Archived | SegmentStatus::Evicted) => {
                match log.homes.of_id(Some(remote)) {
                    SegmentsAt::Remote(remote) => Some(log.directories.len() + remote),
                    _ => None,
                }
            }
            _ if !row.status.is_local() => None,
            _ => directory.and_then(|directory| log.placement.place(directory, of_collection)),
        };
        if let Some(place) = place {
            homes.add(place, &row.key.collection, row.bytes);
        }
    })?;
    Ok((Figures { directories: directories.figures, homes: homes.figures, rows, counted_at: None }, rows))
}

/// Adds up rows that come in order of their collections.
struct Counter {
    figures: Vec<Figure>,
    newest: Vec<Option<CollectionName>>,
}

impl Counter {
    fn new(places: usize) -> Self {
        Self { figures: vec![Figure::default(); places], newest: vec![None; places] }
    }

    fn add(&mut self, place: usize, collection: &CollectionName, bytes: u64) {
        let figure = &mut self.figures[place];
        figure.bytes += bytes;
        if self.newest[place].as_ref() != Some(collection) {
            self.newest[place] = Some(collection.clone());
            figure.with_bytes += 1;
        }
    }
}

/// The remote in a row's archive key: `@{remote}/{key}`.
pub(in crate::log) fn remote_of_key(key: &str) -> Option<&str> {
    key.strip_prefix('@').and_then(|rest| rest.split_once('/')).map(|(remote, _)| remote)
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

    /// Bytes of collections that are at home there.
    pub fn bytes_at_home(&self, place: usize) -> u64 {
        self.homes.get(place).map_or(0, |figure| figure.bytes)
    }

    /// Collections at home there that have segments.
    pub fn with_bytes_at_home(&self, place: usize) -> u64 {
        self.homes.get(place).map_or(0, |figure| figure.with_bytes)
    }

    /// What the disk has left.
    pub fn free_bytes(&self, directory: usize) -> Option<u64> {
        self.directories.get(directory)?.free_bytes
    }
}
