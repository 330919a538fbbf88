//! Which rows count: of each key the newest version.
//!
//! Owns: a map from key to newest version, over all files of the store and the tail; for each row, by which sequence it is hidden; and taking
//! both to a later moment. Does not own: deletes and expiry, which are looked at when a row is about to be found: the newest version hides the
//! older ones also where it is a delete, expired, or no vector.
//!
//! # Why each search sees one moment
//!
//! A row is marked with the sequence of the newer version, not merely as hidden. A search of moment S takes a row as live where that sequence
//! is greater than S. So what is appended later changes nothing for a search that is under way, and no search waits for another: the map is
//! locked only while it is taken to a later moment, never during a scan.
//!
//! The moment is chosen in this order, under the collection's lock:
//!
//! 1. A view of the store, which reaches up to C. It stands still from here on: what is flushed or compacted later does not touch it.
//! 2. Rows of files that are new go into the map; what went from the tail into a file is found there by its sequence and only moves.
//! 3. The log is read from behind C, or from behind what was read of it before, up to what is written when the reader is opened: W. S is the
//!    higher of both.
//!
//! Nothing is missed: what was acknowledged before the search began is at most W; up to C it is in the files, behind C the log has it. Nothing is doubled:
//! a row of the tail counts only behind C. Where the log passes over sequences that were compacted meanwhile, what made them needless may lie
//! behind W; so the log is read on until it passes over nothing. And where compaction replaced segments of what is in the tail already, what made its
//! rows needless may be gone before it was read: by the catalog's changes that is seen, and everything is read anew.
//!
//! # What it costs
//!
//! A row of a file takes 8 bytes (16 where sequences have holes, 8 more in a row group in which something expires), and each key 33 bytes in a
//! hash table that is between 7/16 and 7/8 full: 46 to 84 bytes a row with a key of its own.
//!
//! Keys stand in the map as the first 128 bits of the SHA-256 of a secret and the key. Of a thousand million keys, two are taken for one with a
//! probability of 2^-69, by chance; nobody can choose such keys without the secret, which is drawn anew by each process and leaves it never.
//! Still, a look-up by key compares the key itself.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::source::{Bytes, GroupPlace, View};
use super::tail::{Chunk, Tail};
use crate::catalog::{Change, Mutation};
use crate::error::Result;
use crate::log::Log;
use crate::log::ReadOptions;
use crate::types::{ChangeNumber, CollectionName, Generation, Sequence, Timestamp};

/// Hidden by no sequence that there can be.
pub(super) const LIVE: u64 = u64::MAX;
/// Never expired.
pub(super) const NEVER: i64 = i64::MAX;
/// The number of no file: the tail.
const TAIL: u32 = u32::MAX;
/// Changes of the catalog read at once.
const CHANGES: usize = 1000;

/// What an index shares with those of other collections.
#[derive(Debug)]
pub(super) struct Shared {
    pub secret: [u8; 32],
    pub files: AtomicU32,
    pub tail_held: Arc<AtomicUsize>,
    pub tail_bytes_max: usize,
}

/// Where the newest version of a key is.
#[derive(Clone, Copy, Debug)]
struct Newest {
    sequence: u64,
    file: u32,
    row: u32,
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed");
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// A file's rows.
#[derive(Debug)]
pub(super) struct FileState {
    /// Its number in this process.
    pub number: u32,
    name: String,
    pub groups: Vec<GroupState>,
}

/// The rows of a row group.
#[derive(Debug)]
pub(super) struct GroupState {
    /// The first row's number in the file.
    first_row: u32,
    first_sequence: u64,
    /// `None` where no sequence is missing between the first and the last.
    sequences: Option<Box<[u64]>>,
    /// By which sequence each row is hidden.
    hidden_by: Box<[AtomicU64]>,
    /// From when on each row is expired, in microseconds; `None` where none ever is.
    expires_at: Option<Box<[i64]>>,
}

impl GroupState {
    #[inline]
    pub fn sequence(&self, row: usize) -> u64 {
        self.sequences.as_ref().map_or(self.first_sequence + row as u64, |sequences| sequences[row])
    }

    /// Whether a row counts at a moment.
    #[inline]
    pub fn is_live(&self, row: usize, moment: &Moment) -> bool {
        self.hidden_by[row].load(Ordering::Relaxed) > moment.through
            && self.expires_at.as_ref().is_none_or(|at| at[row] > moment.now)
            && self.sequence(row) >= moment.floor
    }

    fn memory_bytes(&self) -> usize {
        let rows = self.hidden_by.len();
        rows * (8 + if self.sequences.is_some() { 8 } else { 0 } + if self.expires_at.is_some() { 8 } else { 0 })
    }
}

impl FileState {
    fn hide(&self, row: u32, by: u64) {
        let group = &self.groups[self.groups.partition_point(|group| group.first_row <= row) - 1];
        group.hidden_by[(row - group.first_row) as usize].store(by, Ordering::Relaxed);
    }

    fn group_of(&self, row: u32) -> (usize, usize) {
        let group = self.groups.partition_point(|group| group.first_row <= row) - 1;
        (group, (row - self.groups[group].first_row) as usize)
    }
}

/// When a row counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Everything up to here.
    pub through: u64,
    /// Up to here in files, behind in the tail.
    pub cursor: u64,
    /// Nothing before.
    pub floor: u64,
    /// What time it is, in microseconds.
    pub now: i64,
}

impl Moment {
    /// Whether a row of the tail counts.
    #[inline]
    pub fn is_live(&self, chunk: &Chunk, row: usize) -> bool {
        let sequence = chunk.sequences[row];
        sequence > self.cursor
            && sequence >= self.floor
            && sequence <= self.through
            && chunk.hidden_by[row].load(Ordering::Relaxed) > self.through
            && chunk.expires_at[row] > self.now
    }
}

/// Everything that a search looks at.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub moment: Moment,
    pub view: Arc<dyn View>,
    /// In the order of the view.
    pub files: Vec<Arc<FileState>>,
    pub chunks: Vec<Arc<Chunk>>,
    /// Bytes read to take the map to this moment.
    pub bytes_read: Bytes,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    InFile(GroupPlace, usize),
    InTail(Sequence),
}

/// The index of one collection.
#[derive(Debug, Default)]
pub(super) struct Index {
    newest: HashMap<u128, Newest, BuildHasherDefault<AsItIs>>,
    /// In the order of the store.
    files: Vec<Arc<FileState>>,
    /// The same, and those that are going while their rows move.
    by_number: HashMap<u32, Arc<FileState>>,
    tail: Tail,
    /// Up to where the store had it.
    cursor: u64,
    /// Up to where the map has it.
    through: u64,
    /// The newest change of the catalog that was looked at; `None` before anything was read.
    change: Option<ChangeNumber>,
}

impl Index {
    /// Takes the index to what is written now; also which files went.
    ///
    /// # Errors
    /// What the store or the log said; the index is as good as before.
    pub fn refresh(
        &mut self,
        shared: &Shared,
        log: &Log,
        collection: &CollectionName,
        view: Arc<dyn View>,
        now: Timestamp,
    ) -> Result<(Snapshot, Vec<u32>)> {
        let mut forgotten = Vec::new();
        loop {
            let before = self.change.is_none().then(|| log.catalog().change_number()).transpose()?;
            self.change = self.change.or(before);
            let (snapshot, gone) = self.taken(shared, log, collection, &view, now)?;
            forgotten.extend(gone);
            // Behind the reading: what was put in force meanwhile is seen too.
            if !self.is_compacted(log, collection)? {
                return Ok((snapshot, forgotten));
            }
            forgotten.extend(self.files.iter().map(|file| file.number));
            *self = Self { change: self.change, ..Self::default() };
        }
    }

    /// Whether compaction replaced segments of the tail since the catalog was looked at.
    fn is_compacted(&mut self, log: &Log, collection: &CollectionName) -> Result<bool> {
        let mut since = self.change.unwrap_or_default();
        let mut is_compacted = false;
        loop {
            let changes = log.catalog().changes(since, CHANGES)?;
            let Some(last) = changes.last() else { break };
            since = last.number;
            let of_segments = |change: &&Change| {
                change.kind == "segment.insert" && change.subject == collection.as_str() && !is_compacted
            };
            is_compacted |= changes.iter().filter(of_segments).any(|change| match change.mutation() {
                Ok(Mutation::InsertSegment(row)) => {
                    row.key.generation > Generation(0)
                        && row.key.last.0 > self.cursor
                        && row.key.first.0 <= self.through
                }
                // It was written by a newer program: nobody knows.
                other => other.is_err(),
            });
        }
        self.change = Some(since);
        Ok(is_compacted)
    }

    fn taken(
        &mut self,
        shared: &Shared,
        log: &Log,
        collection: &CollectionName,
        view: &Arc<dyn View>,
        now: Timestamp,
    ) -> Result<(Snapshot, Vec<u32>)> {
        if view.through().0 < self.cursor {
            // The store was taken back: what it had is not in the tail any more.
            *self = Self { change: self.change, ..Self::default() };
        }
        let (bytes_read, gone) = self.take_files(shared, &**view)?;
        self.cursor = view.through().0;
        self.tail.drop_through(self.cursor);
        self.through = self.through.max(self.cursor);
        let floor = log.read(collection, ReadOptions::default())?.position();
        self.take_tail(shared, log, collection, floor)?;
        let moment = Moment { through: self.through, cursor: self.cursor, floor: floor.0, now: now.0 };
        let chunks = self.tail.chunks.clone();
        let (view, files) = (Arc::clone(view), self.files.clone());
        Ok((Snapshot { moment, view, files, chunks, bytes_read }, gone))
    }

    fn take_files(&mut self, shared: &Shared, view: &dyn View) -> Result<(Bytes, Vec<u32>)> {
        let facts = view.files();
        let unchanged =
            facts.len() == self.files.len() && facts.iter().zip(&self.files).all(|(fact, file)| fact.name == file.name);
        if unchanged {
            return Ok((0, Vec::new()));
        }
        let mut known: HashMap<&str, &Arc<FileState>> =
            self.files.iter().map(|file| (file.name.as_str(), file)).collect();
        let mut order: Vec<Option<Arc<FileState>>> =
            facts.iter().map(|fact| known.remove(fact.name.as_str()).map(Arc::clone)).collect();
        let gone: Vec<u32> = known.values().map(|file| file.number).collect();
        let mut bytes_read = 0;
        for (at, place) in order.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
            // All of a file is read before anything of it is taken: an error leaves the index as it was, but for files that are taken whole,
            // and are taken once more the next time, which changes nothing.
            let (file, hashes, bytes) = read_file(shared, view, at)?;
            bytes_read += bytes;
            let file = Arc::new(file);
            self.by_number.insert(file.number, Arc::clone(&file));
            self.take_file(&file, &hashes);
            *place = Some(file);
        }
        self.files = order.into_iter().flatten().collect();
        // From here on nothing is found in files that are gone.
        self.by_number = self.files.iter().map(|file| (file.number, Arc::clone(file))).collect();
        if !gone.is_empty() {
            self.sweep(view.through().0);
        }
        Ok((bytes_read, gone))
    }

    fn take_file(&mut self, file: &FileState, hashes: &[Option<u128>]) {
        for group in &file.groups {
            for row in 0..group.hidden_by.len() {
                let number = group.first_row + u32::try_from(row).expect("a file has fewer than 2^32 rows");
                if let Some(hash) = hashes[number as usize] {
                    let here = Newest { sequence: group.sequence(row), file: file.number, row: number };
                    if let Some(by) = self.take_row(hash, here) {
                        group.hidden_by[row].store(by, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Takes note of a version of a key; the sequence of a newer one, where there is one.
    fn take_row(&mut self, hash: u128, here: Newest) -> Option<u64> {
        let known = self.newest.entry(hash).or_insert(here);
        let before = *known;
        if before.sequence > here.sequence {
            return Some(before.sequence);
        }
        // Of the same sequence: it is the same record, in another place now.
        *known = here;
        if before.sequence < here.sequence {
            if before.file == TAIL {
                self.tail.hide(before.sequence, here.sequence);
            } else if let Some(file) = self.by_number.get(&before.file) {
                file.hide(before.row, here.sequence);
            }
        }
        None
    }

    /// Forgets keys whose newest version is nowhere any more: compaction removed it, and then there is nothing older that it would have to hide.
    fn sweep(&mut self, cursor: u64) {
        let files = &self.by_number;
        self.newest.retain(|_, newest| {
            if newest.file == TAIL { newest.sequence > cursor } else { files.contains_key(&newest.file) }
        });
        self.newest.shrink_to(self.newest.len() * 2);
    }

    fn take_tail(&mut self, shared: &Shared, log: &Log, collection: &CollectionName, floor: Sequence) -> Result<()> {
        loop {
            let from = Sequence(self.through + 1).max(floor);
            let mut reader = log.read(collection, ReadOptions { from: Some(from), ..ReadOptions::default() })?;
            let (mut expected, mut is_whole) = (from, true);
            let outcome = loop {
                match reader.try_next() {
                    Ok(Some(record)) => {
                        is_whole &= record.sequence == expected;
                        expected = record.sequence.next();
                        if let Some(key) = &record.key {
                            let here = Newest { sequence: record.sequence.0, file: TAIL, row: 0 };
                            self.take_row(hash(shared, key), here);
                        }
                        self.tail.push(&record, &shared.tail_held, shared.tail_bytes_max);
                        self.through = record.sequence.0;
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            self.tail.close(&shared.tail_held, shared.tail_bytes_max);
            outcome?;
            self.through = self.through.max(reader.position().previous().0);
            if is_whole && reader.position() == expected {
                return Ok(());
            }
        }
    }

    /// Where the newest version of a key is.
    pub fn find(&self, shared: &Shared, key: &[u8]) -> Option<Found> {
        let newest = self.newest.get(&hash(shared, key))?;
        if newest.file == TAIL {
            return Some(Found::InTail(Sequence(newest.sequence)));
        }
        let at = self.files.iter().position(|file| file.number == newest.file)?;
        let (group, row) = self.files[at].group_of(newest.row);
        Some(Found::InFile(GroupPlace { file: at, group }, row))
    }

    /// Whether a file is one of this index.
    pub fn has_file(&self, number: u32) -> bool {
        self.by_number.contains_key(&number)
    }

    /// What it costs in memory, without the vectors of the tail.
    pub fn memory_bytes(&self) -> usize {
        let groups = self.files.iter().flat_map(|file| &file.groups).map(GroupState::memory_bytes).sum::<usize>();
        // One control byte an entry, and room for 8 entries where 7 are.
        let map = self.newest.capacity() * 8 / 7 * (size_of::<(u128, Newest)>() + 1);
        groups + map + self.tail.memory_bytes()
    }
}

fn hash(shared: &Shared, key: &[u8]) -> u128 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&shared.secret);
    context.update(key);
    let digest = context.finish();
    u128::from_le_bytes(digest.as_ref()[..16].try_into().expect("a SHA-256 has 32 bytes"))
}

/// Reads the heads of a file: its state, and the hash of each row's key.
fn read_file(shared: &Shared, view: &dyn View, at: usize) -> Result<(FileState, Vec<Option<u128>>, Bytes)> {
    let fact = &view.files()[at];
    let mut hashes = Vec::with_capacity(fact.groups.iter().sum());
    let mut groups = Vec::with_capacity(fact.groups.len());
    let mut bytes_read = 0;
    for (group, rows) in fact.groups.iter().enumerate() {
        let first_row = u32::try_from(hashes.len()).expect("a file has fewer than 2^32 rows");
        let mut sequences = Vec::with_capacity(*rows);
        let mut expires_at = Vec::with_capacity(*rows);
        bytes_read += view.heads(GroupPlace { file: at, group }, &mut |head| {
            sequences.push(head.sequence.0);
            expires_at.push(head.expires_at.map_or(NEVER, |at| at.0));
            hashes.push(head.key.map(|key| hash(shared, key)));
        })?;
        let first_sequence = sequences.first().copied().unwrap_or(0);
        let is_dense = sequences.last().is_none_or(|last| last - first_sequence + 1 == sequences.len() as u64);
        groups.push(GroupState {
            first_row,
            first_sequence,
            hidden_by: sequences.iter().map(|_| AtomicU64::new(LIVE)).collect(),
            sequences: (!is_dense).then(|| sequences.into_boxed_slice()),
            expires_at: expires_at.iter().any(|at| *at != NEVER).then(|| expires_at.into_boxed_slice()),
        });
    }
    let number = shared.files.fetch_add(1, Ordering::Relaxed);
    Ok((FileState { number, name: fact.name.clone(), groups }, hashes, bytes_read))
}
