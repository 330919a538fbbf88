//! Appending: from records to an acknowledged place in the journal.
//!
//! Owns: the checks before a sequence is taken, encoding, the receipt. Order: check, reserve memory, lock the collection,
//! take sequences and encode, queue, unlock, wait. Nothing before the queue can leave a trace; a sequence is
//! taken only together with a place in the queue (J8).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use crc32c::crc32c;

use super::collection::{Collection, CollectionState, OldestUnsealed};
use super::options::{AppendOptions, Limits, SyncMode};
use super::{Inner, Log};
use crate::avro::record::{self, Fields, kind};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Batch, Journal, JournalError, Purpose, Ticket};
use crate::memtable::RUN_OVERHEAD_BYTES;
use crate::types::{CollectionName, NewRecord, RecordKind, Sequence, Timestamp};
use crate::vector::VectorRecord;

/// What an append gives: which sequences its records got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Sequence of the first record.
    pub first: Sequence,
    /// Sequence of the last record.
    pub last: Sequence,
}

/// A batch that is queued and not acknowledged yet.
pub(super) struct Queued {
    pub collection: Arc<Collection>,
    pub receipt: Receipt,
    /// Where it was queued.
    pub journal: Journal,
    pub ticket: Ticket,
    /// What it costs as long as it is unsealed.
    pub encoded_bytes: u64,
}

/// Who waits for a batch.
pub(super) enum Waits {
    /// This thread, at once.
    Here,
    /// This thread, together with others.
    Passively,
    /// Nobody: the completion is called. What was reserved for a batch that failed is given back before.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "only asynchronous appends wait in no thread"))]
    Completion(crate::journal::queue::Completion),
}

/// Bytes of a record besides key, headers and payload, at most; each counts so much against the limit of a batch.
pub const RECORD_OVERHEAD_BYTES: u64 = 64;

impl Log {
    /// Appends one record, and returns when it is as durable as the log's mode promises.
    ///
    /// ```no_run
    /// # fn main() -> icecore::Result<()> {
    /// use icecore::{CollectionName, Log, LogOptions, NewRecord};
    /// let log = Log::open(LogOptions::new(["./data"]))?;
    /// let audit = CollectionName::new("audit").expect("a good name");
    /// let receipt = log.append(&audit, NewRecord::put("user-7", "logged in"))?;
    /// println!("acknowledged as {}", receipt.last);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Invalid` for a record above a limit, `Full` where a limit of unsealed records is reached and sealing does not
    /// help, `OutcomeUnknown` where it may be on disk or not, `Unavailable` where the journal takes no appends.
    pub fn append(&self, collection: &CollectionName, record: NewRecord) -> Result<Receipt> {
        self.append_batch(collection, &[record], AppendOptions::default())
    }

    /// Appends records of one collection, which become durable and visible together or not at all.
    ///
    /// # Errors
    /// As [`append`](Self::append); `Conflict` where `expected_next` is not the next sequence; `Invalid` for an empty batch.
    pub fn append_batch(
        &self,
        collection: &CollectionName,
        records: &[NewRecord],
        options: AppendOptions,
    ) -> Result<Receipt> {
        let begin = self.0.clock.monotonic();
        let queued = self.0.enqueue(collection, records, options, Waits::Here)?;
        let place = self.0.clock.monotonic();
        match queued.journal.wait(queued.ticket) {
            Ok(()) => {
                self.0.counters.acknowledged(begin, place, self.0.clock.monotonic());
                Ok(queued.receipt)
            }
            Err(error) => Err(self.0.append_failed(&queued.collection, queued.encoded_bytes, error)),
        }
    }

    /// Appends batches of several collections in one call. Each batch is atomic by itself; the receipts come in the order
    /// of the batches.
    ///
    /// # Errors
    /// The first error of any; batches before it in the list may have been acknowledged, and those behind too:
    /// [`append_many_each`](Self::append_many_each) tells each one's outcome.
    pub fn append_many(
        &self,
        batches: &[(&CollectionName, &[NewRecord])],
        options: AppendOptions,
    ) -> Result<Vec<Receipt>> {
        self.append_many_each(batches, options).into_iter().collect()
    }

    /// As [`append_many`](Self::append_many), with the outcome of each batch.
    pub fn append_many_each(
        &self,
        batches: &[(&CollectionName, &[NewRecord])],
        options: AppendOptions,
    ) -> Vec<Result<Receipt>> {
        // Queued first, then waited for, so that all of them can share one sync. A thread that waits for several
        // journals must not be offered the lead of one while it sleeps in another: it waits passively.
        let queued: Vec<_> = batches
            .iter()
            .map(|(collection, records)| {
                let begin = self.0.clock.monotonic();
                let queued = self.0.enqueue(collection, records, options, Waits::Passively)?;
                Ok::<_, Error>((queued, begin, self.0.clock.monotonic()))
            })
            .collect();
        for directory in &self.0.directories {
            if let Some(journal) = &directory.journal {
                journal.drain();
            }
        }
        queued
            .into_iter()
            .map(|queued| {
                let (queued, begin, place) = queued?;
                match queued.journal.wait_passively(&queued.ticket) {
                    Ok(()) => {
                        self.0.counters.acknowledged(begin, place, self.0.clock.monotonic());
                        Ok(queued.receipt)
                    }
                    Err(error) => Err(self.0.append_failed(&queued.collection, queued.encoded_bytes, error)),
                }
            })
            .collect()
    }

    /// Deletes keys: appends a tombstone for each, as one batch.
    ///
    /// # Errors
    /// As [`append_batch`](Self::append_batch).
    pub fn delete<K: Into<Bytes>>(
        &self,
        collection: &CollectionName,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Receipt> {
        let records: Vec<_> = keys.into_iter().map(NewRecord::delete).collect();
        self.append_batch(collection, &records, AppendOptions::default())
    }
}

impl Inner {
    pub(super) fn enqueue(
        &self,
        name: &CollectionName,
        records: &[NewRecord],
        options: AppendOptions,
        waits: Waits,
    ) -> Result<Queued> {
        let bytes = check(records, &self.limits)?;
        let collection = self.collection_for_append(name)?;
        self.stir();
        self.reserve(bytes)?;
        self.enqueue_reserved(collection, records, options, waits, bytes)
    }

    /// Reserves for a batch of at most `bytes`: at once, a little later near a limit, or, where one is reached, when something was sealed.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        let slow = self.slow_by();
        if !slow.is_zero() {
            self.clock.sleep(slow);
            self.counters.slowed(slow);
        }
        if self.budget.try_reserve(bytes + RUN_OVERHEAD_BYTES, bytes).is_ok() {
            return Ok(());
        }
        let begin = self.clock.monotonic();
        let outcome = self.budget.reserve(bytes + RUN_OVERHEAD_BYTES, bytes, || self.relieve());
        self.counters.held(self.clock.monotonic().saturating_sub(begin), outcome.is_err());
        outcome.map_err(|refused| {
            Error::new(
                ErrorKind::Full,
                format!(
                    "limit of unsealed records reached: setting=`{}`, why=`{}`",
                    refused.limit.setting(),
                    refused.why
                ),
            )
            .with_hint("wait for sealing to catch up, or raise the limit")
        })
    }

    /// How long an append waits because a limit is near. Without threads nobody seals meanwhile: waiting would be of no use.
    pub(super) fn slow_by(&self) -> std::time::Duration {
        if self.options.background { self.budget.slow_by() } else { std::time::Duration::ZERO }
    }

    /// Takes sequences and a place in the queue for a batch for which `bytes` are reserved.
    pub(super) fn enqueue_reserved(
        &self,
        collection: Arc<Collection>,
        records: &[NewRecord],
        options: AppendOptions,
        waits: Waits,
        bytes: u64,
    ) -> Result<Queued> {
        match self.take_place(&collection, records, options, waits, bytes) {
            Ok((receipt, (journal, ticket), encoded_bytes)) => {
                // The estimate was an upper bound; what is counted from now on is exact.
                self.budget.give_back(bytes - encoded_bytes, bytes - encoded_bytes);
                Ok(Queued { collection, receipt, journal, ticket, encoded_bytes })
            }
            Err(error) => {
                self.budget.give_back(bytes + RUN_OVERHEAD_BYTES, bytes);
                Err(error)
            }
        }
    }

    fn take_place(
        &self,
        collection: &Arc<Collection>,
        records: &[NewRecord],
        options: AppendOptions,
        waits: Waits,
        bytes: u64,
    ) -> Result<(Receipt, (Journal, Ticket), u64)> {
        check_vectors(collection, records)?;
        let mode = match options.sync {
            Some(mode) => mode,
            None => self.sync_mode_of(collection)?,
        };
        let (wait_here, completion) = match waits {
            Waits::Here => (true, None),
            Waits::Passively => (false, None),
            Waits::Completion(completion) => (false, Some(completion)),
        };
        let now = self.clock.now();
        let mut encoded = Vec::with_capacity(bytes as usize);
        let mut state = collection.state();
        let comes_back = self.check_presence(collection)?;
        let first = state.next_for_append(options.expected_next, records.len())?;
        let Some(journal) = state.home.journal.clone() else {
            let directory = state.home.directory;
            drop(state);
            return Err(self.takes_none(collection.name(), directory));
        };
        let checksum = encode(&mut encoded, collection, first, records, now);
        let encoded_bytes = encoded.len() as u64;
        let completion = completion.map(|completion| {
            let budget = Arc::clone(&self.budget);
            Box::new(move |outcome: std::result::Result<(), JournalError>| {
                if outcome.is_err() {
                    budget.give_back(encoded_bytes + RUN_OVERHEAD_BYTES, encoded_bytes);
                }
                completion(outcome);
            }) as crate::journal::queue::Completion
        });
        let batch = Batch {
            purpose: Purpose::Append,
            member: Arc::clone(collection) as Arc<dyn crate::journal::Member>,
            first,
            count: records.len() as u64,
            bytes: encoded.into(),
            checksum,
            sync: mode.is_synced(),
            alone: mode == SyncMode::Always,
            completion,
        };
        let ticket = journal.push(batch, wait_here);
        let ticket = match ticket {
            Ok(ticket) => ticket,
            Err(error) => {
                drop(state);
                return Err(self.journal_error(collection, error));
            }
        };
        let last = Sequence(first.0 + records.len() as u64 - 1);
        state.next = last.next();
        if comes_back {
            self.revive(collection);
        }
        if state.oldest_unsealed.is_none() {
            state.oldest_unsealed = Some(OldestUnsealed::came(self.clock.monotonic()));
        }
        Ok((Receipt { first, last }, (journal, ticket), encoded_bytes))
    }

    /// Why a directory takes no appends.
    fn takes_none(&self, name: &CollectionName, directory: usize) -> Error {
        if !self.is_writable() {
            return read_only();
        }
        let directory = &self.directories[directory];
        let (path, state) = (directory.path.display(), directory.state());
        let why = state.reason().unwrap_or_default();
        let message = format!(
            "the directory of the collection takes no appends: collection=`{name}`, directory=`{path}`, state=`{}`, why=`{why}`",
            state.word()
        );
        Error::new(ErrorKind::Unavailable, message).with_hint("check the disk, then reopen the log")
    }

    /// What was reserved is given back, and the error told in the log's words.
    pub(super) fn append_failed(&self, collection: &Collection, encoded_bytes: u64, error: JournalError) -> Error {
        self.budget.give_back(encoded_bytes + RUN_OVERHEAD_BYTES, encoded_bytes);
        self.journal_error(collection, error)
    }

    pub(super) fn journal_error(&self, collection: &Collection, error: JournalError) -> Error {
        let name = collection.name();
        let (kind, hint) = match &error {
            JournalError::Full(_) => (ErrorKind::Full, "free some space; nothing of this append was written"),
            JournalError::Rotation(_) => (ErrorKind::Unavailable, "nothing of this append was written; try again"),
            JournalError::OutcomeUnknown(_) => {
                (ErrorKind::OutcomeUnknown, "reopen the log, look, and append again with the expected next sequence")
            }
            JournalError::Poisoned(_) | JournalError::Retired(_) => {
                (ErrorKind::Unavailable, "check the disk, then reopen the log")
            }
            JournalError::Closed => (ErrorKind::Closed, "open the log again"),
        };
        let directory = self.directories[collection.directory()].path.display();
        Error::new(kind, format!("append failed: collection=`{name}`, directory=`{directory}`, {error}"))
            .with_source(error)
            .with_hint(hint)
    }

    pub(super) fn sync_mode(&self) -> SyncMode {
        match self.mode.load(Ordering::Acquire) {
            0 => SyncMode::Always,
            2 => SyncMode::Periodic,
            3 => SyncMode::Never,
            _ => SyncMode::PerBatch,
        }
    }
}

pub(super) fn read_only() -> Error {
    Error::new(ErrorKind::Invalid, "the log was opened to read only").with_hint("open it for writing")
}

impl CollectionState {
    fn next_for_append(&self, expected: Option<Sequence>, count: usize) -> Result<Sequence> {
        if let Some(why) = &self.refuses {
            return Err(Error::new(ErrorKind::Unavailable, why.clone()));
        }
        if let Some(expected) = expected
            && expected != self.next
        {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the next sequence is another: expected=`{expected}`, actual=`{}`", self.next),
            ));
        }
        if Sequence::MAX.0 - self.next.0 < count as u64 {
            return Err(Error::new(ErrorKind::Full, "the collection has no sequences left"));
        }
        Ok(self.next)
    }
}

/// Encodes a batch; returns the CRC32C over its records' checksums.
fn encode(out: &mut Vec<u8>, collection: &Collection, first: Sequence, records: &[NewRecord], now: Timestamp) -> u32 {
    let mut checksums = Vec::with_capacity(records.len() * 4);
    for (sequence, record) in (first.0..).zip(records) {
        let fields = Fields {
            sequence,
            timestamp_us: record.timestamp.unwrap_or(now).micros(),
            kind: match record.kind {
                RecordKind::Put => kind::PUT,
                RecordKind::Delete => kind::DELETE,
            },
            key: record.key.as_deref(),
            expires_at_us: record.expires_at.map(Timestamp::micros),
            headers: &record.headers,
            payload: record.payload.as_deref(),
        };
        let checksum = record::encode(out, collection.seed, &fields);
        checksums.extend_from_slice(&checksum.to_le_bytes());
    }
    crc32c(&checksums)
}

/// Vectors have the dimensions that the collection wants (`vector.dimensions`).
fn check_vectors(collection: &Collection, records: &[NewRecord]) -> Result<()> {
    let Some(wanted) = collection.life.vector_dimensions() else { return Ok(()) };
    for record in records {
        let payload = record.payload.as_ref();
        if let Some(vector) = VectorRecord::of(record.kind, record.key.as_ref(), &record.headers, payload) {
            vector?.check_dimensions(wanted)?;
        }
    }
    Ok(())
}

/// Checks a batch against the limits; returns an upper bound of its encoded bytes.
pub(super) fn check(records: &[NewRecord], limits: &Limits) -> Result<u64> {
    if records.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a batch has no records; give it at least one"));
    }
    let mut bytes = 0;
    for (index, record) in records.iter().enumerate() {
        let over = |what: &str, size: u64, limit: u64, setting: &str| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "{what} is over the limit: record=`{index}` of the batch, bytes=`{size}`, limit=`{limit}`, setting=`{setting}`"
                ),
            )
        };
        let key = record.key.as_ref().map_or(0, Bytes::len) as u64;
        let payload = record.payload.as_ref().map_or(0, Bytes::len) as u64;
        let headers: u64 =
            record.headers.iter().map(|header| (header.key.len() + header.value.len() + 20) as u64).sum();
        if payload > limits.record_bytes {
            return Err(over("a payload", payload, limits.record_bytes, "limits.record_bytes"));
        }
        if key > limits.key_bytes {
            return Err(over("a key", key, limits.key_bytes, "limits.key_bytes"));
        }
        if headers > limits.headers_bytes {
            return Err(over("the headers", headers, limits.headers_bytes, "limits.headers_bytes"));
        }
        if record.kind == RecordKind::Delete && record.key.is_none() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a delete without a key: record=`{index}` of the batch"),
            ));
        }
        bytes += RECORD_OVERHEAD_BYTES + key + payload + headers;
        if bytes > limits.batch_bytes.max(limits.record_bytes + limits.key_bytes + limits.headers_bytes + 128) {
            return Err(over("the batch", bytes, limits.batch_bytes, "limits.batch_bytes"));
        }
    }
    Ok(bytes)
}
