//! One collection to one sink.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. The sink is asked for its cursor: nothing that is remembered elsewhere counts.
//! 2. Where the log's floor is above it, the sink is told, and forgets what is below.
//! 3. A batch is read behind the cursor: sealed records only, which are durable (D1). [`Sink::apply`](super::Sink::apply) makes it and the
//!    new cursor durable, in that order. A crash before the cursor leaves what the sink finds by itself, and takes again.
//! 4. The catalog's copy of the cursor is raised, and the segments that every subscriber has now are flushed (C2), in one transaction. A
//!    crash before it leaves a catalog that knows less: the next delivery asks the sink, finds nothing to do, and tells the catalog.
//!
//! A cursor behind the end of the log is an error, never a skip (J6): records that the sink has and the log does not were delivered by a log
//! that is another one, or that was put back. So is one whose epoch tells that the log gave out sequences anew that the sink has
//! ([`Log::check_cursor`](crate::log::Log::check_cursor)). The catalog's cursors are never beyond its `sealed_through`, which counts for the next sequence
//! already (C7): only what is sealed is delivered.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use super::line::{Line, Work};
use super::{Shared, locked};
use crate::catalog::{CollectionRow, CursorRow, Mutation, SegmentKey};
use crate::error::{Error, ErrorKind, Result};
use crate::log::ReadOptions;
use crate::sink::{Batch, Cursor};
use crate::types::{CollectionName, Header, Record, Sequence};

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
        let Some(work) = line.take_due(self.options.clock.monotonic()) else { return false };
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
            Err(error) => work.failed(error, cursor.map(|cursor: Cursor| cursor.sequence), &self.options),
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
        let mut has = cursor.map_or(Sequence(0), |cursor| cursor.sequence);
        self.log.check_cursor(line.name(), name, (cursor.map_or(epoch, |cursor: Cursor| cursor.epoch), has))?;
        if row.floor > Sequence::FIRST {
            // Cheap for a sink that did it before, and it may have failed behind its cursor.
            sink.raise_floor(name, row.floor)?;
        }
        let through = row.sealed_through.max(row.floor.previous());
        let mut reader = None;
        while has < through {
            if self.is_stopped() {
                delivered.is_cut = true;
                return Ok(delivered);
            }
            let mut records: Vec<Record> = Vec::new();
            let (mut bytes, mut held) = (0, 0);
            let mut until = row.floor.previous().max(has);
            if row.sealed_through > until {
                let reader = match &mut reader {
                    Some(reader) => reader,
                    None => {
                        let from = Some(until.next());
                        let (until, durable) = (Some(row.sealed_through), true);
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
                until = if reader.is_finished() { row.sealed_through } else { (*reader).position().previous() };
                if until <= has {
                    let message = format!("nothing can be read behind the cursor: collection=`{name}`, cursor=`{has}`");
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            }
            self.log.offering(line.name(), name, until);
            sink.apply(&Batch { collection: name, epoch, after: has, records: &records, through: until })?;
            let count = records.len() as u64;
            work.took(count, bytes);
            (delivered.records, delivered.bytes) = (delivered.records + count, delivered.bytes + bytes);
            delivered.asked = true;
            has = until;
            *at = Some(Cursor { epoch, sequence: has });
            self.note_cursor(line, name, Cursor { epoch, sequence: has }, &subscribers)?;
        }
        if let Some(cursor) = cursor.filter(|_| !delivered.asked && has <= through) {
            // Nothing was missing; the catalog may not know. A cursor behind what is sealed is none that this log gave: whether it can be
            // believed, the next seal shows.
            self.note_cursor(line, name, cursor, &subscribers)?;
        }
        Ok(delivered)
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
        } else if before > Some(cursor.sequence) {
            tracing::warn!(
                sink = line.name(), collection = %name, cursor = %cursor.sequence,
                "a sink has less than it had: it is delivered anew"
            );
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
        let flushed = all.min().unwrap_or(Sequence(0));
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
