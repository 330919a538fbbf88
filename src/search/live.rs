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
//! behind W; so the log is read on until it passes over nothing. And a tombstone may have gone there with all that it hid, which the view, being
//! older, still has: but the log lets go only of what the store was given by then. So where it passed over anything, and a later view reaches
//! further than C, all is done again with that one. And where compaction replaced segments of what is in the tail already, what made its rows
//! needless may be gone before it was read: by the catalog's changes that is seen, and everything is read anew.
//!
//! # What it costs
//!
//! A row of a file takes 8 bytes (16 where sequences have holes, 8 more in a row group in which something expires), and each key 25 bytes in
//! hash tables that are between 7/16 and 7/8 full: 37 to 66 bytes a row with a key of its own. There are several tables, so that one that
//! grows is a small part of all. All of it counts (see `budget`), also what is needed only while a file is taken in.
//!
//! Keys stand in the map as the first 128 bits of the SHA-256 of a secret and the key. Of a thousand million keys, two are taken for one with a
//! probability of 2^-69, by chance; nobody can choose such keys without the secret, which is drawn anew by each process and leaves it never.
//! The newer of the two is found then, and the older is not. A look-up by key compares the key itself.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::budget::{Budget, Counted};
use super::source::{Bytes, GroupPlace, Reading, View};
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
/// Changes of the catalog read at once.
const CHANGES: usize = 1000;
/// Hash tables of an index.
const SHARDS: usize = 16;
/// So many rows of the tail are taken in before their memory is counted.
const ROWS_A_COUNT: usize = 1024;

/// What an index shares with those of other collections.
#[derive(Debug)]
pub(super) struct Shared {
    pub hash: HashKey,
    pub secret: [u8; 32],
    pub files: AtomicU32,
    pub budget: Arc<Budget>,
    pub tail_held: Arc<AtomicUsize>,
    pub tail_bytes_max: usize,
}

/// How keys are hashed, by a secret. Tests take one under which keys collide.
pub(super) type HashKey = fn(&[u8; 32], &[u8]) -> KeyHash;

/// A key, as it stands in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHash(u64, u64);

impl KeyHash {
    /// What stands for a row without a key: the hash of none.
    const NONE: Self = Self(0, 0);

    pub fn new(hash: u128) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "two halves")]
        let halves = Self(hash as u64, (hash >> 64) as u64);
        if halves == Self::NONE { Self(0, 1) } else { halves }
    }

    const fn shard(self) -> usize {
        self.1 as usize % SHARDS
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
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

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type Shard = HashMap<KeyHash, Place, BuildHasherDefault<AsItIs>>;

/// Where the newest version of a key is: in eight bytes, of which the highest bit says that it is in the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u64);

const IN_TAIL: u64 = 1 << 63;

impl Place {
    const fn tail(sequence: u64) -> Self {
        Self(IN_TAIL | sequence)
    }

    const fn file(number: u32, row: u32) -> Self {
        Self((number as u64) << 32 | row as u64)
    }

    /// The sequence of one in the tail.
    const fn in_tail(self) -> Option<u64> {
        if self.0 & IN_TAIL == 0 { None } else { Some(self.0 & !IN_TAIL) }
    }

    /// File and row of one in a file.
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    const fn in_file(self) -> (u32, u32) {
        ((self.0 >> 32) as u32, self.0 as u32)
    }
}

/// A file's rows.
#[derive(Debug)]
pub(super) struct FileState {
    /// Its number in this process.
    pub number: u32,
    name: String,
    pub groups: Vec<GroupState>,
    /// Counts it as long as an index or a search has it.
    _counted: Counted,
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
        size_of::<Self>()
            + rows * (8 + if self.sequences.is_some() { 8 } else { 0 } + if self.expires_at.is_some() { 8 } else { 0 })
    }
}

impl FileState {
    fn hide(&self, row: u32, by: u64) {
        let group = &self.groups[self.groups.partition_point(|group| group.first_row <= row) - 1];
        group.hidden_by[(row - group.first_row) as usize].store(by, Ordering::Relaxed);
    }

    fn sequence(&self, row: u32) -> u64 {
        let (group, row) = self.group_of(row);
        self.groups[group].sequence(row)
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

/// What became of an index that was taken to a later moment.
#[derive(Debug)]
pub(super) struct Refreshed {
    pub snapshot: Snapshot,
    /// Files that went.
    pub gone: Vec<u32>,
    /// The log passed over nothing of what was read of it now.
    pub is_whole: bool,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    InFile(GroupPlace, usize),
    InTail(Sequence),
}

/// Asks for room when more is counted; an error where there is none.
pub(super) type Room<'a> = &'a dyn Fn() -> Result<()>;

/// The index of one collection.
#[derive(Debug)]
pub(super) struct Index {
    newest: [Shard; SHARDS],
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
    /// The map, and heads of rows of the tail.
    counted: Counted,
}

impl Index {
    pub fn new(budget: &Budget) -> Self {
        Self {
            newest: Default::default(),
            files: Vec::new(),
            by_number: HashMap::new(),
            tail: Tail::default(),
            cursor: 0,
            through: 0,
            change: None,
            counted: Counted::new(0, &budget.indexes),
        }
    }

    /// Takes the index to what is written now.
    ///
    /// # Errors
    /// What the store or the log said; the index is as good as before. What `room` said; then it is to be thrown away.
    pub fn refresh(
        &mut self,
        shared: &Shared,
        (log, collection): (&Log, &CollectionName),
        view: Arc<dyn View>,
        now: Timestamp,
        room: Room<'_>,
    ) -> Result<Refreshed> {
        let mut forgotten = Vec::new();
        loop {
            let before = self.change.is_none().then(|| log.catalog().change_number()).transpose()?;
            self.change = self.change.or(before);
            let mut refreshed = self.taken(shared, (log, collection), Arc::clone(&view), now, room)?;
            // Behind the reading: what was put in force meanwhile is seen too.
            let is_compacted = self.is_compacted(log, collection)?;
            forgotten.append(&mut refreshed.gone);
            if !is_compacted {
                refreshed.gone = forgotten;
                return Ok(refreshed);
            }
            forgotten.extend(self.files.iter().map(|file| file.number));
            *self = Self { change: self.change, ..Self::new(&shared.budget) };
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
        (log, collection): (&Log, &CollectionName),
        view: Arc<dyn View>,
        now: Timestamp,
        room: Room<'_>,
    ) -> Result<Refreshed> {
        if view.through().0 < self.cursor {
            // The store was taken back: what it had is not in the tail any more.
            *self = Self { change: self.change, ..Self::new(&shared.budget) };
        }
        let (bytes_read, gone) = self.take_files(shared, &*view, room)?;
        self.cursor = view.through().0;
        self.tail.drop_through(self.cursor);
        self.through = self.through.max(self.cursor);
        let floor = log.read(collection, ReadOptions::default())?.position();
        let is_whole = self.take_tail(shared, log, collection, floor, room)?;
        self.count(room)?;
        let moment = Moment { through: self.through, cursor: self.cursor, floor: floor.0, now: now.0 };
        let chunks = self.tail.chunks.clone();
        let snapshot = Snapshot { moment, view, files: self.files.clone(), chunks, bytes_read };
        Ok(Refreshed { snapshot, gone, is_whole })
    }

    fn take_files(&mut self, shared: &Shared, view: &dyn View, room: Room<'_>) -> Result<(Bytes, Vec<u32>)> {
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
            let (file, hashes, bytes) = read_file(shared, view, at, room)?;
            bytes_read += bytes;
            let file = Arc::new(file);
            self.by_number.insert(file.number, Arc::clone(&file));
            self.take_file(&file, &hashes.of_rows, room)?;
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

    fn take_file(&mut self, file: &FileState, hashes: &[KeyHash], room: Room<'_>) -> Result<()> {
        for group in &file.groups {
            for row in 0..group.hidden_by.len() {
                let number = group.first_row + u32::try_from(row).expect("a file has fewer than 2^32 rows");
                let hash = hashes[number as usize];
                if hash != KeyHash::NONE
                    && let Some(by) = self.take_row(hash, Place::file(file.number, number), group.sequence(row))
                {
                    group.hidden_by[row].store(by, Ordering::Relaxed);
                }
            }
            self.count(room)?;
        }
        Ok(())
    }

    /// Takes note of a version of a key; the sequence of a newer one, where there is one.
    fn take_row(&mut self, hash: KeyHash, place: Place, sequence: u64) -> Option<u64> {
        let known = self.newest[hash.shard()].entry(hash).or_insert(place);
        let before = *known;
        let (number, row) = before.in_file();
        let file = if before.in_tail().is_some() { None } else { self.by_number.get(&number) };
        // What is in a file that is gone is nowhere any more, and hides nothing: see `sweep`.
        let before_sequence = before.in_tail().or_else(|| file.map(|file| file.sequence(row))).unwrap_or(0);
        if before_sequence > sequence {
            return Some(before_sequence);
        }
        // Of the same sequence: it is the same record, in another place now.
        *known = place;
        if before_sequence < sequence {
            match file {
                Some(file) => file.hide(row, sequence),
                None => self.tail.hide(before_sequence, sequence),
            }
        }
        None
    }

    /// Forgets keys whose newest version is nowhere any more: compaction removed it, and then there is nothing older that it would have to hide.
    fn sweep(&mut self, cursor: u64) {
        let files = &self.by_number;
        for shard in &mut self.newest {
            shard.retain(|_, place| match place.in_tail() {
                Some(sequence) => sequence > cursor,
                None => files.contains_key(&place.in_file().0),
            });
            shard.shrink_to(shard.len() * 2);
        }
    }

    /// Reads the log on; whether it had every sequence.
    fn take_tail(
        &mut self,
        shared: &Shared,
        log: &Log,
        collection: &CollectionName,
        floor: Sequence,
        room: Room<'_>,
    ) -> Result<bool> {
        let mut had_all = true;
        loop {
            let from = Sequence(self.through + 1).max(floor);
            let mut reader = log.read(collection, ReadOptions { from: Some(from), ..ReadOptions::default() })?;
            let (mut expected, mut is_whole) = (from, true);
            let mut taken = 0;
            let outcome = loop {
                match reader.try_next() {
                    Ok(Some(record)) => {
                        is_whole &= record.sequence == expected;
                        expected = record.sequence.next();
                        if let Some(key) = &record.key {
                            let hash = (shared.hash)(&shared.secret, key);
                            self.take_row(hash, Place::tail(record.sequence.0), record.sequence.0);
                        }
                        self.tail.push(&record, &shared.tail_held, shared.tail_bytes_max);
                        self.through = record.sequence.0;
                        taken += 1;
                        if taken % ROWS_A_COUNT == 0
                            && let Err(error) = self.count(room)
                        {
                            break Err(error);
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            self.tail.close(&shared.tail_held, shared.tail_bytes_max);
            outcome?;
            self.through = self.through.max(reader.position().previous().0);
            if is_whole && reader.position() == expected {
                return Ok(had_all);
            }
            had_all = false;
        }
    }

    /// Where the newest version of a key is.
    pub fn find(&self, shared: &Shared, key: &[u8]) -> Option<Found> {
        let hash = (shared.hash)(&shared.secret, key);
        let place = self.newest[hash.shard()].get(&hash)?;
        if let Some(sequence) = place.in_tail() {
            // The store has been given it since, and no file has it, nor anything newer: compaction took the key away. The log may still have
            // this version, and not what deleted it.
            return (sequence > self.cursor).then_some(Found::InTail(Sequence(sequence)));
        }
        let (number, row) = place.in_file();
        let at = self.files.iter().position(|file| file.number == number)?;
        let (group, row) = self.files[at].group_of(row);
        Some(Found::InFile(GroupPlace { file: at, group }, row))
    }

    /// Whether a file is one of this index.
    pub fn has_file(&self, number: u32) -> bool {
        self.by_number.contains_key(&number)
    }

    /// Counts the map as it is now.
    fn count(&mut self, room: Room<'_>) -> Result<()> {
        // One control byte an entry; a power of two of places, of which 7 of 8 are used.
        let table = |shard: &Shard| match shard.capacity() {
            0 => 0,
            room => (room * 8 / 7).next_power_of_two() * (size_of::<(KeyHash, Place)>() + 1),
        };
        let bytes = self.newest.iter().map(table).sum::<usize>() + self.tail.memory_bytes();
        if bytes == self.counted.bytes() {
            return Ok(());
        }
        self.counted.set(bytes);
        room()
    }
}

/// The hash of a key.
pub(super) fn sha256(secret: &[u8; 32], key: &[u8]) -> KeyHash {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(secret);
    context.update(key);
    let digest = context.finish();
    KeyHash::new(u128::from_le_bytes(digest.as_ref()[..16].try_into().expect("a SHA-256 has 32 bytes")))
}

/// The hashes of a file's keys, as long as they are not in the map.
struct Hashes {
    of_rows: Vec<KeyHash>,
    _counted: Counted,
}

/// Reads the heads of a file: its state, and the hash of each row's key.
fn read_file(shared: &Shared, view: &dyn View, at: usize, room: Room<'_>) -> Result<(FileState, Hashes, Bytes)> {
    let fact = &view.files()[at];
    let rows_of_file: usize = fact.groups.iter().sum();
    let indexes = &shared.budget.indexes;
    let counted = Counted::new(rows_of_file * size_of::<KeyHash>(), indexes);
    let mut state = Counted::new(0, indexes);
    room()?;
    let mut hashes = Vec::with_capacity(rows_of_file);
    let mut groups: Vec<GroupState> = Vec::with_capacity(fact.groups.len());
    let mut bytes_read = 0;
    for (group, rows) in fact.groups.iter().enumerate() {
        let first_row = u32::try_from(hashes.len()).expect("a file has fewer than 2^32 rows");
        let mut sequences = Vec::with_capacity(*rows);
        let mut expires_at = Vec::with_capacity(*rows);
        let place = GroupPlace { file: at, group };
        let permit = shared.budget.read(view.reading_bytes(place, Reading::Heads) + rows * 16);
        bytes_read += view.heads(place, &mut |head| {
            sequences.push(head.sequence.0);
            expires_at.push(head.expires_at.map_or(NEVER, |at| at.0));
            hashes.push(head.key.map_or(KeyHash::NONE, |key| (shared.hash)(&shared.secret, key)));
        })?;
        drop(permit);
        let first_sequence = sequences.first().copied().unwrap_or(0);
        let is_dense = sequences.last().is_none_or(|last| last - first_sequence + 1 == sequences.len() as u64);
        groups.push(GroupState {
            first_row,
            first_sequence,
            hidden_by: sequences.iter().map(|_| AtomicU64::new(LIVE)).collect(),
            sequences: (!is_dense).then(|| sequences.into_boxed_slice()),
            expires_at: expires_at.iter().any(|at| *at != NEVER).then(|| expires_at.into_boxed_slice()),
        });
        state.set(state.bytes() + groups[group].memory_bytes());
        room()?;
    }
    let number = shared.files.fetch_add(1, Ordering::Relaxed);
    assert!(Place::file(number, 0).in_tail().is_none(), "a process reads fewer than 2^31 files");
    let file = FileState { number, name: fact.name.clone(), groups, _counted: state };
    Ok((file, Hashes { of_rows: hashes, _counted: counted }, bytes_read))
}
