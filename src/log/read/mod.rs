//! Reading: by sequence, by record time, forwards and backwards, and following what is appended.
//!
//! - `options`: what to read
//! - `chunk`: unsealed records
//! - `rows`: which segment holds what, and opening it
//! - `holes`: sequences that are not there: skipped where that is on record, an error where not
//! - `follow`: waiting for more
//! - `companion`: seeing what a writer in another process appends
//! - `get`: the newest version of a key
//! - `info`: what collections and journals there are
//!
//! # Why nothing is missed, doubled or out of order
//!
//! A reader knows one number: the next sequence. For it, it asks the memtable first, then the catalog. A seal commits its row
//! before the records leave the memtable, and a cooling replaces runs under the collection's lock: so what is not in
//! the memtable is in the catalog by then, or is gone for good. What was found is read without any lock. Meanwhile its
//! journal may be released and used again, or its segment compacted or evicted: checksum, sequence and footer tell, and the
//! reader asks again. Only what is still promised there then is damage.
//!
//! Bounded: a reader holds a block or some runs at a time, whatever its speed, and nobody waits for it.

mod chunk;
mod companion;
mod follow;
mod get;
mod holes;
mod info;
mod options;
mod rows;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) use companion::{Companion, standing_of};
pub(super) use get::Footers;
pub(super) use holes::LOOKS;
pub use holes::{SkipReason, Skipped};
pub use info::{CollectionInfo, JournalInfo, JournalUse};
pub use options::ReadOptions;

use self::chunk::{BadRun, Chunk};
use self::rows::{NotOpened, Rows, unreadable};
use super::recover::journals::chain;
use super::tier::Lease;
use super::{Collection, Inner, Log, Waiter};
use crate::catalog::{SegmentKey, SegmentRow};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::FileId;
use crate::memtable::RunError;
use crate::segment::{Block, BlockEntry, Footer, SegmentReader};
use crate::types::{CollectionName, Record, Sequence};

/// Unsealed records taken at once, in bytes.
const CHUNK_BYTES: u64 = 1 << 20;
/// Blocks of an archived segment fetched at once, in bytes.
const AHEAD_BYTES: u64 = 4 << 20;

/// Records of a collection, one after another; see [`Log::read`].
///
/// As an iterator it gives what is there now. One that follows may give `None` now and a record later.
///
/// After an error of kind `Corrupt`, which names the sequences that cannot be read, the next call goes on behind them. After any
/// other error, a reader that follows stays where it is, so that the call can be repeated; one that does not follow ends.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Inner>,
    collection: Arc<Collection>,
    options: ReadOptions,
    /// The next sequence to give; backwards, zero is the end.
    at: Sequence,
    /// The last sequence to give.
    end: Sequence,
    left: u64,
    piece: Piece,
    rows: Rows,
    skipped: Vec<Skipped>,
    /// A run that could not be read; the reader looks elsewhere for its records before it says so.
    distrusted: Option<Box<BadRun>>,
    /// A segment whose file was not there; the reader looks for a newer row before it says so.
    missing: Option<SegmentKey>,
    /// Only records with this key are wanted.
    key: Option<Vec<u8>>,
    /// Where it waits.
    waiter: Option<Arc<Waiter>>,
    /// Beside a writer: where everything was looked at anew, for want of a record, and how often.
    relooked: (Sequence, u32),
    /// The last known record bounds it, and nothing that was asked for.
    to_the_end: bool,
    ended: bool,
}

/// What the reader is reading from.
#[derive(Debug)]
enum Piece {
    None,
    Chunk(Chunk),
    Segment(Box<OpenSegment>),
}

#[derive(Debug)]
struct OpenSegment {
    reader: SegmentReader,
    row: SegmentRow,
    /// The block being read, and the place of the next record in it (backwards: the place after it).
    block: Option<(Block, usize)>,
    /// Whether it is the archived copy that is read.
    is_archived: bool,
    _lease: Lease,
}

/// Where the next record is.
enum Place {
    Chunk(Chunk),
    Segment(Box<OpenSegment>),
    /// Nothing that is wanted is there: go on with this sequence.
    Skip(Sequence),
    /// Nowhere.
    Hole {
        last: Sequence,
    },
    /// Not written yet.
    End,
    /// Look again.
    Again,
}

impl Log {
    /// Reads records of a collection.
    ///
    /// Sequences that are missing are skipped where that is on record (purged, or a loss or gap that recovery wrote down;
    /// [`Reader::skipped`] tells), and are an error of kind `Corrupt` where it is not.
    ///
    /// ```no_run
    /// # fn main() -> icecore::Result<()> {
    /// # use icecore::{CollectionName, Log, LogOptions, ReadOptions};
    /// let log = Log::open_read_only(LogOptions::new(["./data"]))?;
    /// let audit = CollectionName::new("audit").expect("a good name");
    /// for record in log.read(&audit, ReadOptions { limit: Some(10), ..ReadOptions::default() })? {
    ///     println!("{}", record?.sequence);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, `Invalid` for options that contradict each other, `Closed`.
    pub fn read(&self, collection: &CollectionName, options: ReadOptions) -> Result<Reader> {
        if options.reverse && options.follow {
            return Err(Error::new(ErrorKind::Invalid, "a reader that follows cannot read backwards"));
        }
        if self.0.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let collection = self.0.collection(collection)?;
        Ok(Reader::new(Arc::clone(&self.0), collection, options))
    }
}

/// What of an archived segment will be read for certain, unless the reader is given up.
struct Ahead<'a> {
    options: &'a ReadOptions,
    end: Sequence,
    left: u64,
}

impl Ahead<'_> {
    /// The blocks from `number` on, in the direction of reading, that are wanted whatever they hold: in the order of the file.
    fn blocks(&self, blocks: &[BlockEntry], number: usize) -> RangeInclusive<usize> {
        let backwards = self.options.reverse;
        let (mut last, mut bytes, mut records) = (number, blocks[number].bytes, blocks[number].records);
        loop {
            let next = if backwards { last.checked_sub(1) } else { Some(last + 1) };
            let Some((next, entry)) = next.and_then(|next| Some((next, blocks.get(next)?))) else { break };
            let nearest = if backwards { entry.held.last } else { entry.held.first };
            (bytes, records) = (bytes + entry.bytes, records + entry.records);
            // Of the first block some were given already: so with a limit, the last block or two come by themselves.
            let is_wanted = !is_past(backwards, self.end, nearest)
                && self.options.may_have_times(entry.timestamp_min, entry.timestamp_max)
                && records - entry.records < self.left
                && bytes <= AHEAD_BYTES;
            if !is_wanted {
                break;
            }
            last = next;
        }
        number.min(last)..=number.max(last)
    }
}

fn is_past(backwards: bool, end: Sequence, sequence: Sequence) -> bool {
    if backwards { sequence < end } else { sequence > end }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the log was closed").with_hint("open it again")
}

impl Reader {
    fn new(log: Arc<Inner>, collection: Arc<Collection>, mut options: ReadOptions) -> Self {
        options.durable |= options.follow;
        let (floor, mark) = {
            let state = collection.state();
            (state.floor, if options.durable { state.durable } else { state.written })
        };
        let first = options.from.unwrap_or(floor).max(Sequence::FIRST);
        let last = match options.until {
            Some(until) if options.follow => until,
            Some(until) => until.min(mark),
            None if options.follow => Sequence::MAX,
            None => mark,
        };
        let to_the_end = options.until.is_none_or(|until| until > mark);
        let (at, end) = if options.reverse { (last, first) } else { (first, last) };
        Self {
            log,
            collection,
            options,
            at,
            end,
            left: options.limit.unwrap_or(u64::MAX),
            piece: Piece::None,
            rows: Rows::default(),
            skipped: Vec::new(),
            distrusted: None,
            missing: None,
            key: None,
            waiter: None,
            relooked: (Sequence(0), 0),
            to_the_end,
            ended: false,
        }
    }

    /// The collection that is read.
    #[must_use]
    pub fn collection(&self) -> &CollectionName {
        self.collection.name()
    }

    /// The next sequence that the reader looks at: everything before it (backwards: behind it) was given, did not match, or was
    /// skipped.
    #[must_use]
    pub const fn position(&self) -> Sequence {
        self.at
    }

    /// Sequences that were not there and were passed over, because that is on record; in the order of reading.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether no more will come, however long one waits: the last sequence, or the limit, is reached, or an error
    /// ended it.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended || self.left == 0 || self.is_past(self.at)
    }

    fn is_past(&self, sequence: Sequence) -> bool {
        is_past(self.options.reverse, self.end, sequence)
    }

    fn after(&self, sequence: Sequence) -> Sequence {
        if self.options.reverse { sequence.previous() } else { sequence.next() }
    }

    /// The next record that is there now; `None` at the end, or, for a reader that follows, where nothing more is durable yet.
    ///
    /// # Errors
    /// As for the iterator.
    pub fn try_next(&mut self) -> Result<Option<Record>> {
        let outcome = if self.options.reverse && self.to_the_end {
            // Only the first time: what lies before it is known.
            self.to_the_end = false;
            self.check_end().and_then(|()| self.advance())
        } else {
            match self.advance() {
                Ok(None) if self.to_the_end && self.left > 0 => self.check_end().map(|()| None),
                outcome => outcome,
            }
        };
        if let Err(error) = &outcome
            && error.kind() != ErrorKind::Corrupt
            && !self.options.follow
        {
            self.ended = true;
        }
        outcome
    }

    /// Refuses to call the last known record the last one, where records may lie behind it in a directory that is missing.
    fn check_end(&self) -> Result<()> {
        match &self.collection.state().unknown_end {
            Some(why) if !self.ended => {
                Err(Error::new(ErrorKind::Unavailable, why.clone()).with_hint("mount it, then open the log again"))
            }
            _ => Ok(()),
        }
    }

    fn advance(&mut self) -> Result<Option<Record>> {
        while !self.is_finished() {
            if let Some(record) = self.take_from_piece()? {
                self.at = self.after(record.sequence);
                self.distrusted = None;
                if self.options.has_time(record.timestamp) {
                    self.left -= 1;
                    return Ok(Some(record));
                }
                continue;
            }
            self.piece = Piece::None;
            if self.is_finished() {
                break;
            }
            match self.find_place()? {
                Place::Chunk(chunk) => self.piece = Piece::Chunk(chunk),
                Place::Segment(segment) => {
                    self.missing = None;
                    self.piece = Piece::Segment(segment);
                }
                Place::Skip(next) => self.at = next,
                Place::Hole { last } => self.pass_hole(last)?,
                Place::Again => {}
                Place::End => return Ok(None),
            }
        }
        // Nothing more is wanted of it: it is pinned no longer.
        self.piece = Piece::None;
        Ok(None)
    }

    /// The next record of what is being read; `None` where that is used up.
    fn take_from_piece(&mut self) -> Result<Option<Record>> {
        let (backwards, end) = (self.options.reverse, self.end);
        match &mut self.piece {
            Piece::None => Ok(None),
            Piece::Chunk(chunk) => match chunk.next(self.at, self.collection.seed, self.key.as_deref()) {
                Some(Ok(record)) if is_past(backwards, end, record.sequence) => {
                    self.at = record.sequence;
                    Ok(None)
                }
                Some(Ok(record)) => Ok(Some(record)),
                Some(Err(bad)) => {
                    // The records between were looked at, and were not wanted.
                    self.at = if backwards { self.at.min(bad.run.last()) } else { self.at.max(bad.run.first) };
                    self.distrusted = Some(bad);
                    Ok(None)
                }
                None => {
                    // Behind the last run, also where none of its records was wanted.
                    let edge = chunk.edge();
                    self.at = if backwards { self.at.min(edge.previous()) } else { self.at.max(edge.next()) };
                    Ok(None)
                }
            },
            Piece::Segment(_) => self.take_from_segment(),
        }
    }

    fn take_from_segment(&mut self) -> Result<Option<Record>> {
        let Piece::Segment(segment) = &mut self.piece else { return Ok(None) };
        loop {
            if let Some((block, next)) = &mut segment.block {
                let place = if self.options.reverse { next.checked_sub(1) } else { Some(*next) };
                if let Some((view, place)) = place.and_then(|place| Some((block.view(place)?, place))) {
                    *next = if self.options.reverse { place } else { place + 1 };
                    if self.key.as_deref().is_some_and(|key| view.key != Some(key)) {
                        self.at = if self.options.reverse {
                            Sequence(view.sequence).previous()
                        } else {
                            Sequence(view.sequence).next()
                        };
                        continue;
                    }
                    let Ok(record) = view.to_record(block.bytes()) else { continue };
                    if is_past(self.options.reverse, self.end, record.sequence) {
                        self.at = record.sequence;
                        return Ok(None);
                    }
                    return Ok(Some(record));
                }
                segment.block = None;
            }
            let footer = segment.reader.footer();
            let number = if self.options.reverse {
                footer.blocks.partition_point(|block| block.held.first <= self.at).checked_sub(1)
            } else {
                Some(footer.blocks.partition_point(|block| block.held.last < self.at))
            };
            let Some((number, entry)) = number.and_then(|at| footer.blocks.get(at).map(|entry| (at, entry))) else {
                // What the segment covers and does not hold was removed by compaction: that is on record in its footer.
                self.at =
                    if self.options.reverse { segment.row.key.first.previous() } else { segment.row.key.last.next() };
                return Ok(None);
            };
            let held = entry.held;
            let behind = if self.options.reverse { held.first.previous() } else { held.last.next() };
            if !self.options.may_have_times(entry.timestamp_min, entry.timestamp_max) {
                self.at = behind;
                continue;
            }
            if segment.is_archived && self.key.is_none() {
                let ahead = Ahead { options: &self.options, end: self.end, left: self.left };
                segment.reader.prepare(ahead.blocks(&footer.blocks, number));
            }
            match segment.reader.block(number) {
                Ok(block) => {
                    let next = block.position(if self.options.reverse { self.at.next() } else { self.at });
                    segment.block = Some((block, next));
                }
                Err(error) => {
                    let path = segment.reader.source().path().to_path_buf();
                    if !segment.is_archived
                        && self.log.is_archived_too(&segment.row)
                        && let Ok(archived) = self.log.open_archived(&segment.row, None)
                    {
                        let why = chain(&error);
                        tracing::warn!(segment = %segment.row.key, why, "a local segment cannot be read; its archived copy is");
                        (segment.reader, segment.is_archived) = (archived, true);
                        continue;
                    }
                    let error = unreadable(self.collection.name(), held.first, held.last, &path, error);
                    if error.kind() == ErrorKind::Corrupt {
                        self.at = behind;
                    } else {
                        self.piece = Piece::None;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Finds out where the record `at` is: memtable first, then catalog (see the module).
    fn find_place(&mut self) -> Result<Place> {
        let backwards = self.options.reverse;
        if let Some(row) = self.rows.known(self.at, backwards) {
            return self.open(row);
        }
        let (runs, neighbour, floor, mark) = {
            let state = self.collection.state();
            let mark = if self.options.durable { state.durable } else { state.written };
            if !backwards && self.at > mark {
                return Ok(Place::End);
            }
            let unsealed = &state.unsealed;
            let (runs, neighbour) = if backwards {
                let neighbour = unsealed.at_or_before(self.at).map(|run| run.last());
                (unsealed.gather_back(self.at, self.end, CHUNK_BYTES), neighbour)
            } else {
                let neighbour = unsealed.at_or_after(self.at).map(|run| run.first);
                (unsealed.gather(self.at, self.end.min(mark), CHUNK_BYTES), neighbour)
            };
            (runs, neighbour, state.floor, mark)
        };
        if let Some(first) = runs.first()
            && !self.is_distrusted((first.file.file_id, first.offset))
        {
            return Ok(match Chunk::load(runs, backwards) {
                Ok(chunk) => Place::Chunk(chunk),
                Err(bad) => {
                    self.distrusted = Some(bad);
                    Place::Again
                }
            });
        }
        if self.at < floor {
            return Ok(Place::Hole { last: if backwards { Sequence::FIRST } else { floor.previous() } });
        }
        let (row, behind) = self.rows.find(&self.log, self.collection.name(), self.at, backwards)?;
        if let Some(row) = row {
            return self.open(row);
        }
        let behind = behind.map(|row| if backwards { row.key.last } else { row.key.first });
        let last = if backwards {
            let nearest = neighbour.filter(|&last| last < self.at).max(behind);
            nearest.map_or(Sequence::FIRST, Sequence::next).max(self.end)
        } else {
            let neighbour = neighbour.filter(|&first| first > self.at);
            let nearest = neighbour.into_iter().chain(behind).min();
            nearest.map_or(mark, Sequence::previous).min(self.end)
        };
        Ok(Place::Hole { last })
    }

    fn is_distrusted(&self, run: (FileId, u64)) -> bool {
        self.distrusted.as_ref().is_some_and(|bad| (bad.run.file.file_id, bad.run.offset) == run)
    }

    fn open(&mut self, row: SegmentRow) -> Result<Place> {
        let behind = if self.options.reverse { row.key.first.previous() } else { row.key.last.next() };
        if !self.options.may_have_times(row.timestamp_min, row.timestamp_max) {
            return Ok(Place::Skip(behind));
        }
        let known = self.key.as_ref().and_then(|_| self.log.footers.get(&row.key));
        if known.as_ref().is_some_and(|footer| self.is_denied(footer)) {
            return Ok(Place::Skip(behind));
        }
        let lease = self.log.leases.take(&row.key);
        let mut is_archived = !row.status.is_local();
        let mut opened = self.log.open_segment(&row, known.clone());
        if let Err(why) = &opened
            && self.log.is_archived_too(&row)
            && (!matches!(why, NotOpened::Missing(_)) || self.missing.as_ref() == Some(&row.key))
        {
            tracing::warn!(segment = %row.key, why = why.what(), "a local segment cannot be read; its archived copy is");
            let archived = self.log.open_archived(&row, known.clone());
            // What ails the file is what must be mended, unless both are damaged.
            if archived.is_ok() {
                (opened, is_archived) = (archived, true);
            }
        }
        match opened {
            Ok(reader) => {
                if self.key.is_some() && known.is_none() {
                    self.log.footers.keep(&row.key, reader.footer());
                    if self.is_denied(reader.footer()) {
                        return Ok(Place::Skip(behind));
                    }
                }
                let segment = OpenSegment { reader, row, block: None, is_archived, _lease: lease };
                Ok(Place::Segment(Box::new(segment)))
            }
            Err(NotOpened::Missing(path)) if self.missing.as_ref() != Some(&row.key) => {
                // Compacted, evicted or set aside since the row was read? The catalog knows.
                tracing::debug!(path = %path.display(), "a segment is gone; its row is read again");
                self.missing = Some(row.key);
                self.rows.forget();
                Ok(Place::Again)
            }
            Err(other) => {
                let (first, last) =
                    if self.options.reverse { (row.key.first, self.at) } else { (self.at, row.key.last) };
                let error = other.into_error(self.collection.name(), first, last);
                if error.kind() == ErrorKind::Corrupt {
                    self.at = behind;
                }
                self.rows.forget();
                Err(error)
            }
        }
    }

    /// Whether the footer says that no record has the key that is wanted.
    fn is_denied(&self, footer: &Footer) -> bool {
        self.key.as_deref().is_some_and(|key| !footer.may_hold_key(key))
    }

    /// The error of a run that could be found nowhere else.
    fn bad_run(&self, bad: BadRun) -> Error {
        let run = &bad.run;
        let kind = match &bad.error {
            RunError::Fs(_) => ErrorKind::Unavailable,
            RunError::Damaged { .. } => ErrorKind::Corrupt,
        };
        let (first, last) = if self.options.reverse {
            (run.first, self.at.min(run.last()))
        } else {
            (self.at.max(run.first), run.last())
        };
        let text = format!(
            "records cannot be read: collection=`{}`, first_sequence=`{first}`, last_sequence=`{last}`, path=`{}`",
            self.collection.name(),
            run.file.path.display()
        );
        Error::new(kind, text).with_source(bad.error).with_hint("run `verify`; the next `recover` says what it cost")
    }
}

impl Iterator for Reader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.try_next().transpose()
    }
}
