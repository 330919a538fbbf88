//! One collection to one sink.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. The sink is asked for its cursor: nothing that is remembered elsewhere counts.
//!    Where it has less than the catalog knows, it lost something, or was put elsewhere: see below.
//! 2. Where the log's floor is above it, the sink is told, and forgets what is below.
//! 3. A batch is read behind the cursor: sealed records only, which are durable (D1). [`Sink::apply`](super::Sink::apply) makes it and the
//!    new cursor durable, in that order. A crash before the cursor leaves what the sink finds by itself, and takes again.
//! 4. The catalog's copy of the cursor is raised, and the segments that every subscriber has now are flushed (C2), in one transaction. A
//!    crash before it leaves a catalog that knows less: the next delivery asks the sink, finds nothing to do, and tells the catalog.
//!
//! # A sink that has less than it had
//!
//! Its directory was given up, its files were deleted, or came from an older copy. Everything behind its cursor is delivered again. But what
//! it said to have was compacted since then, perhaps: a tombstone may be gone together with all that it hid in the log, and the sink would keep
//! what it hid. So where any segment behind its cursor was compacted, the sink is cleared first, and gets everything that the log and its archive hold.
//! Where something is compacted while that goes on, it begins once more; where it is interrupted by the end of the process, too.
//!
//! A cursor behind the end of the log is an error, never a skip (J6): records that the sink has and the log does not were delivered by a log
//! that is another one, or that was put back. So is one whose epoch tells that the log gave out sequences anew that the sink has
//! ([`Log::check_cursor`](crate::log::Log::check_cursor)). The catalog's cursors are never beyond its `sealed_through`, which counts for the next sequence
//! already (C7): only what is sealed is delivered.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use super::line::{Anew, Line, Work};
use super::{Shared, locked};
use crate::catalog::{Change, CollectionRow, CursorRow, Mutation, SegmentKey, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::log::ReadOptions;
use crate::sink::{Batch, Cursor, Sink};
use crate::types::{ChangeNumber, CollectionName, Generation, Header, Record, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;
/// What a record takes in a batch beside its bytes: also of empty ones a batch holds so many only.
const RECORD_BYTES: u64 = size_of::<Record>() as u64;
/// The same of a header.
const HEADER_BYTES: u64 = size_of::<Header>() as u64;

/// What a delivery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    pub records: u64,
    pub bytes: u64,
    /// The sink was asked to do something, and did it.
    pub asked: bool,
    /// It was stopped before the end.
    pub is_cut: bool,
}

impl Shared {
    /// Delivers what is due next; whether there was something. What failed is in the status, and rests: it stops nothing behind it.
    pub(super) fn work(&self, line: &Line) -> bool {
        if self.is_stopped() {
            return false;
        }
        let random = u64::from_le_bytes(*self.options.clock.random().first_chunk().expect("it draws sixteen bytes"));
        let Some(work) = line.take_due(self.options.clock.monotonic(), random) else { return false };
        let _ = self.deliver(line, work);
        true
    }

    /// Delivers a collection at once, waiting for who else does.
    pub(super) fn deliver_now(&self, line: &Line, name: &CollectionName) -> Result<Delivered> {
        self.deliver(line, line.take(name))
    }

    fn deliver(&self, line: &Line, work: Work<'_>) -> Result<Delivered> {
        let name = work.collection.clone();
        let mut cursor = None;
        let bring = AssertUnwindSafe(|| self.bring(line, &work, &mut cursor));
        // A sink that panics has failed. What is kept here of it is counts and names: good after any panic.
        let outcome = std::panic::catch_unwind(bring).unwrap_or_else(|panic| Err(panicked(&*panic)));
        match &outcome {
            Ok(delivered) if delivered.is_cut => work.left(),
            Ok(delivered) => work.done(delivered),
            // Whether the log was closed, only the log tells: a sink has its own reasons to say so.
            Err(error) if error.kind() == ErrorKind::Closed && self.is_stopped() => work.left(),
            Err(error) => {
                let is_away = self.log.is_any_directory_away();
                work.failed(error, cursor.map(|cursor: Cursor| cursor.sequence), &self.options, is_away);
            }
        }
        // The line's thread may have looked while this one had the collection, and then it sleeps until something is sealed.
        if line.is_due(&name) {
            self.log.wake_archivers();
        }
        outcome
    }

    fn bring(&self, line: &Line, work: &Work<'_>, at: &mut Option<Cursor>) -> Result<Delivered> {
        let (sink, name) = (&*line.sink, &work.collection);
        let mut delivered = Delivered::default();
        let subscribers = self.log.subscribers(name)?;
        let Some(row) = self.log.catalog().collection(name)? else { return Ok(delivered) };
        if !subscribers.iter().any(|subscriber| subscriber == line.name()) {
            self.tell_floor(line, &row)?;
            return Ok(delivered);
        }
        let epoch = self.log.epoch();
        let cursor = match sink.cursor(name) {
            // Deleted before the sink was given anything of it, or a place for it: there is nothing to forget. Only the sink knows: the
            // catalog may not have been told of its cursor.
            Ok(None) if self.is_deleted(name)? => return Ok(delivered),
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_deleted(name)? => return Ok(delivered),
            cursor => cursor?,
        };
        *at = cursor;
        let cursor = self.give_back(line, name, cursor)?;
        *at = cursor;
        let known = self.log.catalog().cursors(name)?.into_iter().find(|row| row.sink == line.name());
        let known = known.map_or(Sequence(0), |row| row.sequence);
        if self.log.is_sink_forgotten(name, line.name())? {
            // What it had was given up, and compaction did not wait for it: nothing of it counts. Clearing first: a crash between does it again.
            if cursor.is_some() {
                sink.clear(name)?;
            }
            self.log.set_sink_forgotten(name, line.name(), false)?;
        }
        let cursor = sink.cursor(name)?;
        let (cursor, mut anew) = self.look_behind(sink, work, cursor, known)?;
        *at = cursor;
        let mut has = cursor.map_or(Sequence(0), |cursor| cursor.sequence);
        self.log.check_cursor(line.name(), name, (cursor.map_or(epoch, |cursor: Cursor| cursor.epoch), has))?;
        if row.floor > Sequence::FIRST {
            // Cheap for a sink that did it before, and it may have failed behind its cursor.
            sink.raise_floor(name, row.floor)?;
        }
        let sabotage = self.log.sabotage();
        let durable = !sabotage.delivers_what_is_not_durable();
        let sealed_through = if durable { row.sealed_through } else { self.log.end_of(name)? };
        let through = sealed_through.max(row.floor.previous());
        let mut reader = None;
        while has < through {
            if self.is_stopped() {
                delivered.is_cut = true;
                return Ok(delivered);
            }
            let mut records: Vec<Record> = Vec::new();
            let (mut bytes, mut held) = (0, 0);
            let mut until = row.floor.previous().max(has);
            if sealed_through > until {
                let reader = match &mut reader {
                    Some(reader) => reader,
                    None => {
                        let from = Some(until.next());
                        let until = Some(sealed_through);
                        reader.insert(
                            self.log.read(name, ReadOptions { from, until, durable, ..ReadOptions::default() })?,
                        )
                    }
                };
                let most = sink.batch_bytes().min(self.options.batch_bytes);
                while held < most {
                    let Some(record) = reader.try_next()? else { break };
                    let size = bytes_of(&record);
                    bytes += size;
                    held += size + RECORD_BYTES + record.headers.len() as u64 * HEADER_BYTES;
                    records.push(record);
                }
                until = if reader.is_finished() { sealed_through } else { (*reader).position().previous() };
                if until <= has {
                    let message = format!("nothing can be read behind the cursor: collection=`{name}`, cursor=`{has}`");
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            }
            if sabotage.tells_before_sink() {
                self.note_cursor(line, name, Cursor { epoch, sequence: until }, &subscribers)?;
            }
            self.log.offering(line.name(), name, until);
            sink.apply(&Batch { collection: name, epoch, after: has, records: &records, through: until })?;
            let count = records.len() as u64;
            work.took(count, bytes);
            (delivered.records, delivered.bytes) = (delivered.records + count, delivered.bytes + bytes);
            delivered.asked = true;
            has = until;
            *at = Some(Cursor { epoch, sequence: has });
            if let Some(anew) = &mut anew {
                anew.reached = has;
                work.set_anew(Some(*anew));
            }
            self.note_cursor(line, name, Cursor { epoch, sequence: has }, &subscribers)?;
        }
        if let Some(begun) = anew {
            work.set_anew(None);
            if self.was_compacted(name, begun.since)? {
                sink.clear(name)?;
                let message = format!("the collection was compacted while it was delivered anew: collection=`{name}`");
                return Err(Error::new(ErrorKind::Unavailable, message).with_hint("it begins once more by itself"));
            }
        }
        if let Some(cursor) = cursor.filter(|_| !delivered.asked && has <= through) {
            // Nothing was missing; the catalog may not know. A cursor behind what is sealed is none that this log gave: whether it can be
            // believed, the next seal shows.
            self.note_cursor(line, name, cursor, &subscribers)?;
        }
        Ok(delivered)
    }

    /// What is to be done about a sink that has less than it had, up to `known`: from where it goes on, and whether it does so anew.
    fn look_behind(
        &self,
        sink: &dyn Sink,
        work: &Work<'_>,
        cursor: Option<Cursor>,
        known: Sequence,
    ) -> Result<(Option<Cursor>, Option<Anew>)> {
        let name = &work.collection;
        let has = cursor.map_or(Sequence(0), |cursor| cursor.sequence);
        if let Some(anew) = work.anew().filter(|anew| anew.reached == has) {
            return Ok((cursor, Some(anew)));
        }
        work.set_anew(None);
        if has >= known {
            return Ok((cursor, None));
        }
        tracing::warn!(
            sink = sink.name(), collection = %name, cursor = %has, known = %known,
            "a sink has less than it had: it is delivered anew"
        );
        // Before rows are read: what is compacted meanwhile is seen at the end.
        let since = self.log.catalog().change_number()?;
        let mut cursor = cursor;
        if cursor.is_some() && self.is_compacted_between(name, has, known)? {
            sink.clear(name)?;
            cursor = None;
        }
        let anew = Anew { since, reached: cursor.map_or(Sequence(0), |cursor| cursor.sequence) };
        work.set_anew(Some(anew));
        Ok((cursor, Some(anew)))
    }

    /// Whether a live segment behind `after`, and not behind `through`, is not as it was sealed.
    fn is_compacted_between(&self, name: &CollectionName, after: Sequence, through: Sequence) -> Result<bool> {
        let mut from = after.next();
        while from <= through {
            let rows = self.log.catalog().segments_from(name, from, PAGE_ROWS)?;
            let Some(last) = rows.last() else { break };
            from = last.key.last.next();
            if rows.iter().any(|row| row.key.generation > Generation::default() && row.key.first <= through) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any segment of a collection was replaced since a change.
    fn was_compacted(&self, name: &CollectionName, since: ChangeNumber) -> Result<bool> {
        let mut at = since;
        loop {
            let changes = self.log.catalog().changes(at, PAGE_ROWS)?;
            let Some(last) = changes.last() else { return Ok(false) };
            at = last.number;
            let is_it = |change: &Change| {
                change.subject == name.as_str()
                    && matches!(change.mutation(), Ok(Mutation::Transition { to: SegmentStatus::Replaced, .. }))
            };
            if changes.iter().any(is_it) {
                return Ok(true);
            }
        }
    }

    /// What a sink was given before the collection was taken from it is purged there too. Asked is only one of which the catalog knows that it has
    /// something: others need no place for the collection.
    fn tell_floor(&self, line: &Line, row: &CollectionRow) -> Result<()> {
        let is_on_record = || -> Result<bool> {
            Ok(self.log.catalog().cursors(&row.name)?.iter().any(|cursor| cursor.sink == line.name()))
        };
        if row.floor > Sequence::FIRST && is_on_record()? && line.sink.cursor(&row.name)?.is_some() {
            line.sink.raise_floor(&row.name, row.floor)?;
        }
        Ok(())
    }

    pub(super) fn is_deleted(&self, name: &CollectionName) -> Result<bool> {
        match self.log.durable_through(name) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A sink that passed over records that came back ignores them, as they are at or before its cursor. It is cleared, and is given everything
    /// anew. Its cursor then.
    ///
    /// Order: the sink is cleared, then that is noted. A crash between clears an empty sink, or finds that its cursor is before them.
    fn give_back(&self, line: &Line, name: &CollectionName, cursor: Option<Cursor>) -> Result<Option<Cursor>> {
        let has = cursor.map_or(Sequence(0), |cursor| cursor.sequence);
        let Some(back) = self.log.came_back(name)?.filter(|back| !back.begun.contains(line.name())) else {
            return Ok(cursor);
        };
        let mut now = cursor;
        if back.is_missed(line.name(), has) {
            tracing::warn!(
                sink = line.name(), collection = %name, first = %back.first, last = %back.last,
                "records came back below a sink's cursor: it is given all anew"
            );
            match line.sink.clear(name) {
                // Somebody must clear it by hand: what the log says of the cursor tells so.
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(cursor),
                cleared => cleared?,
            }
            now = line.sink.cursor(name)?;
        }
        let _turn = locked(&self.telling);
        let Some(mut back) = self.log.came_back(name)? else { return Ok(now) };
        back.begun.insert(line.name().to_owned());
        self.log.change(&[back.mutation()], "delivered anew")?;
        Ok(now)
    }

    /// Step 4.
    fn note_cursor(&self, line: &Line, name: &CollectionName, cursor: Cursor, subscribers: &[String]) -> Result<()> {
        let _turn = locked(&self.telling);
        let catalog = self.log.catalog();
        let known = catalog.cursors(name)?;
        let of = |sink: &str| known.iter().find(|row| row.sink == sink).map(|row| row.sequence);
        let mut mutations = Vec::new();
        let before = of(line.name());
        if before.is_none_or(|before| before < cursor.sequence) {
            mutations.push(Mutation::SetCursor(CursorRow {
                collection: name.clone(),
                sink: line.name().to_owned(),
                epoch: cursor.epoch,
                sequence: cursor.sequence,
            }));
        }
        let mut back = self.log.came_back(name)?;
        if let Some(back) = &mut back
            && back.begun.contains(line.name())
            && cursor.sequence >= back.last
            && before.is_none_or(|before| before <= cursor.sequence)
            && back.done.insert(line.name().to_owned())
        {
            mutations.push(back.mutation());
        }
        let all = subscribers.iter().map(|sink| {
            let has = if sink == line.name() { Some(cursor.sequence) } else { of(sink) }.unwrap_or(Sequence(0));
            match &back {
                // Of what came back it has nothing before it has all: only then its cursor tells again what it has.
                Some(back) if !back.done.contains(sink) => has.min(back.first.previous()),
                _ => has,
            }
        });
        let flushed = if self.log.sabotage().flushes_by_first_sink() { all.max() } else { all.min() };
        let flushed = flushed.unwrap_or(Sequence(0));
        let keys = self.newly_flushed(name, flushed)?;
        mutations.extend(keys.into_iter().map(Mutation::SetFlushed));
        if mutations.is_empty() {
            return Ok(());
        }
        // Refused where a segment was replaced, or purged, meanwhile: the next try looks anew, and the sink has what it has.
        self.log.change(&mutations, "delivered").map(drop)
    }

    /// Live segments that end at or before `through` and do not count as flushed yet.
    fn newly_flushed(&self, name: &CollectionName, through: Sequence) -> Result<Vec<SegmentKey>> {
        let mut keys = Vec::new();
        let mut until = through;
        // Newest first, up to what was flushed before.
        while until > Sequence(0) {
            let rows = self.log.catalog().segments_back(name, until, PAGE_ROWS)?;
            let Some(oldest) = rows.last() else { break };
            until = oldest.key.first.previous();
            let is_known = rows.iter().any(|row| row.flushed_at.is_some());
            let fresh = rows.into_iter().filter(|row| row.flushed_at.is_none() && row.key.last <= through);
            keys.extend(fresh.map(|row| row.key));
            if is_known {
                break;
            }
        }
        Ok(keys)
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(ErrorKind::Internal, format!("the sink panicked: {}", text.unwrap_or("without a word")))
}

/// Bytes of keys, payloads and headers of a record.
fn bytes_of(record: &Record) -> u64 {
    let bytes = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers: usize = record.headers.iter().map(|header| header.key.len() + header.value.len()).sum();
    (bytes(&record.key) + bytes(&record.payload) + headers) as u64
}
