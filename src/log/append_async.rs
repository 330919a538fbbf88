//! Appending from tasks: the same as `append`, without a thread that waits.
//!
//! Owns: waiting. A batch takes its place in the queue on the executor's thread, which does no I/O; the committer's thread, or
//! a writer that leads anyway, writes and syncs it. Where a limit of unsealed records is reached, waiting for it to end is given to tokio's
//! blocking threads.
//!
//! # Dropping the future
//!
//! Before the batch has its place in the queue nothing happened, and what was reserved for it is given back. Afterwards it
//! is written like any other: it becomes durable and visible once, or is refused; only nobody is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::append::{Waits, check};
use super::collection::Collection;
use super::{AppendOptions, Inner, Log, Receipt};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::JournalError;
use crate::memtable::RUN_OVERHEAD_BYTES;
use crate::types::{CollectionName, NewRecord};

/// A batch in the queue, and where its outcome comes from.
struct Pending {
    collection: Arc<Collection>,
    receipt: Receipt,
    outcome: oneshot::Receiver<Result<(), JournalError>>,
    /// When it was called, and when it had its place, on the monotonic clock.
    times: (Duration, Duration),
}

impl Log {
    /// As [`append`](Self::append), from a task on a tokio runtime.
    ///
    /// ```no_run
    /// # async fn example(log: icecore::Log) -> icecore::Result<()> {
    /// use icecore::{CollectionName, NewRecord};
    /// let audit = CollectionName::new("audit").expect("a good name");
    /// let receipt = log.append_async(&audit, NewRecord::put("user-7", "logged in")).await?;
    /// println!("acknowledged as {}", receipt.last);
    /// # Ok(()) }
    /// ```
    ///
    /// Dropped before it is done, the record is written once or not at all. To try again without doubling it, append
    /// with [`AppendOptions::expected_next`].
    ///
    /// # Errors
    /// As [`append`](Self::append); `Invalid` outside a runtime, where a limit of unsealed records is reached.
    pub async fn append_async(&self, collection: &CollectionName, record: NewRecord) -> Result<Receipt> {
        self.append_batch_async(collection, &[record], AppendOptions::default()).await
    }

    /// As [`append_batch`](Self::append_batch), from a task on a tokio runtime.
    ///
    /// # Errors
    /// As [`append_batch`](Self::append_batch) and [`append_async`](Self::append_async).
    pub async fn append_batch_async(
        &self,
        collection: &CollectionName,
        records: &[NewRecord],
        options: AppendOptions,
    ) -> Result<Receipt> {
        let pending = self.begin(collection, records, options).await?;
        self.finish(pending).await
    }

    /// As [`append_many`](Self::append_many), from a task on a tokio runtime.
    ///
    /// # Errors
    /// As [`append_many`](Self::append_many) and [`append_async`](Self::append_async).
    pub async fn append_many_async(
        &self,
        batches: &[(&CollectionName, &[NewRecord])],
        options: AppendOptions,
    ) -> Result<Vec<Receipt>> {
        self.append_many_each_async(batches, options).await.into_iter().collect()
    }

    /// As [`append_many_each`](Self::append_many_each), from a task on a tokio runtime.
    pub async fn append_many_each_async(
        &self,
        batches: &[(&CollectionName, &[NewRecord])],
        options: AppendOptions,
    ) -> Vec<Result<Receipt>> {
        let mut pending = Vec::with_capacity(batches.len());
        for (collection, records) in batches {
            pending.push(self.begin(collection, records, options).await);
        }
        let mut receipts = Vec::with_capacity(pending.len());
        for one in pending {
            receipts.push(match one {
                Ok(one) => self.finish(one).await,
                Err(error) => Err(error),
            });
        }
        receipts
    }

    /// As [`delete`](Self::delete), from a task on a tokio runtime.
    ///
    /// # Errors
    /// As [`append_batch_async`](Self::append_batch_async).
    pub async fn delete_async<K: Into<Bytes>>(
        &self,
        collection: &CollectionName,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Receipt> {
        let records: Vec<_> = keys.into_iter().map(NewRecord::delete).collect();
        self.append_batch_async(collection, &records, AppendOptions::default()).await
    }

    async fn begin(&self, name: &CollectionName, records: &[NewRecord], options: AppendOptions) -> Result<Pending> {
        let inner = &self.0;
        let begin = inner.clock.monotonic();
        let bytes = check(records, &inner.limits)?;
        let collection = inner.collection_for_append(name)?;
        inner.stir();
        Reservation::take(inner, bytes).await?.use_up();
        let (tell, outcome) = oneshot::channel();
        // Whoever dropped the future is not told.
        let completion = Box::new(move |outcome| drop(tell.send(outcome)));
        let queued = inner.enqueue_reserved(collection, records, options, Waits::Completion(completion), bytes)?;
        queued.journal.nudge();
        let times = (begin, inner.clock.monotonic());
        Ok(Pending { collection: queued.collection, receipt: queued.receipt, outcome, times })
    }

    async fn finish(&self, pending: Pending) -> Result<Receipt> {
        // The sender is called for every batch that has its place; only a panic of the leading thread drops it.
        let outcome = pending.outcome.await.map_err(|_| {
            Error::new(ErrorKind::OutcomeUnknown, "the thread that wrote the append is gone")
                .with_hint("reopen the log, look, and append again with the expected next sequence")
        })?;
        match outcome {
            Ok(()) => {
                let (begin, place) = pending.times;
                self.0.counters.acknowledged(begin, place, self.0.clock.monotonic());
                Ok(pending.receipt)
            }
            Err(error) => Err(self.0.journal_error(&pending.collection, error)),
        }
    }
}

/// Reserved bytes, given back when dropped.
struct Reservation {
    inner: Arc<Inner>,
    bytes: u64,
}

impl Reservation {
    async fn take(inner: &Arc<Inner>, bytes: u64) -> Result<Self> {
        if inner.slow_by().is_zero() && inner.budget.try_reserve(bytes + RUN_OVERHEAD_BYTES, bytes).is_ok() {
            return Ok(Self { inner: Arc::clone(inner), bytes });
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Invalid, "an asynchronous append needs a tokio runtime").with_source(error)
        })?;
        let inner = Arc::clone(inner);
        let reserve = move || inner.reserve(bytes).map(|()| Self { inner, bytes });
        runtime.spawn_blocking(reserve).await.map_err(|error| {
            Error::new(ErrorKind::Closed, "the runtime ended while an append waited").with_source(error)
        })?
    }

    /// The bytes belong to a batch from now on.
    fn use_up(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.inner.budget.give_back(self.bytes + RUN_OVERHEAD_BYTES, self.bytes);
        }
    }
}
