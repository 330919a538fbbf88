//! Waiting for more.
//!
//! Owns: that no wake-up is lost between looking and waiting, and how a tail ends. Looking and registering happen under one
//! lock of the collection ([`Collection::wait_behind`](super::Collection::wait_behind)); an idle tail in the writer's process
//! makes no system call but the one it sleeps in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::Waiter;
use super::{Reader, closed};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Record;

/// How often a reader beside a writer of another process looks for more, since nobody can wake it.
const LOOK: Duration = Duration::from_millis(100);

impl Reader {
    /// The next record, waited for at most `timeout` (for ever, where `None`). `None` after the timeout, or when
    /// [`is_finished`](Self::is_finished).
    ///
    /// Beside a writer of another process, the wait looks every 100 ms whether it wrote more.
    ///
    /// # Errors
    /// `Invalid` for a reader that was not opened to follow; `Closed` after the log was closed and everything durable was
    /// given; else as for the iterator.
    pub fn next_wait(&mut self, timeout: Option<Duration>) -> Result<Option<Record>> {
        self.must_follow()?;
        let clock = Arc::clone(&self.log.clock);
        let start = clock.monotonic();
        loop {
            if let Some(record) = self.try_next()? {
                return Ok(Some(record));
            }
            if self.is_finished() {
                return Ok(None);
            }
            let Some(waiter) = self.register()? else { continue };
            let left = timeout.map(|timeout| timeout.saturating_sub(clock.monotonic().saturating_sub(start)));
            if self.log.companion.is_none() {
                if !waiter.sleep(left) {
                    return Ok(None);
                }
                continue;
            }
            if !waiter.sleep(Some(left.map_or(LOOK, |left| left.min(LOOK)))) {
                self.log.refresh()?;
                if left.is_some_and(|left| left <= LOOK) {
                    return self.try_next();
                }
            }
        }
    }

    /// The next record, for a task: no thread waits, and no runtime is needed. `None` when
    /// [`is_finished`](Self::is_finished). May be dropped at any await point; no record is lost by that.
    ///
    /// Records that are not in memory are read from disk here, on the task's thread. Beside a writer of another process
    /// somebody must call [`Log::refresh`](super::Log::refresh) now and then; it wakes this.
    ///
    /// # Errors
    /// As [`next_wait`](Self::next_wait).
    #[cfg(feature = "tokio")]
    pub async fn next_async(&mut self) -> Result<Option<Record>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    #[cfg(feature = "tokio")]
    fn poll_next(&mut self, context: &std::task::Context<'_>) -> std::task::Poll<Result<Option<Record>>> {
        use std::task::Poll;
        self.must_follow()?;
        loop {
            if let Some(record) = self.try_next()? {
                return Poll::Ready(Ok(Some(record)));
            }
            if self.is_finished() {
                return Poll::Ready(Ok(None));
            }
            let Some(waiter) = self.register()? else { continue };
            if !waiter.poll(context.waker()) {
                return Poll::Pending;
            }
        }
    }

    fn must_follow(&self) -> Result<()> {
        if self.options.follow {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "a reader that was not opened to follow cannot wait")
            .with_hint("set `follow` in its options"))
    }

    /// Where to wait for the record at the reader's place; `None` where it is there already.
    fn register(&mut self) -> Result<Option<Arc<Waiter>>> {
        // One that nobody woke still stands for everything since it was made.
        let waiter = match self.waiter.take().filter(|waiter| !waiter.is_woken()) {
            Some(waiter) => waiter,
            None => match self.collection.wait_behind(self.at.previous()) {
                Some(waiter) => waiter,
                None => return Ok(None),
            },
        };
        // Set before everybody is woken, and after the last record became durable: who registers later sees it here.
        if self.log.ended.load(Ordering::SeqCst) {
            return if waiter.is_woken() && self.collection.state().durable >= self.at {
                Ok(None)
            } else {
                Err(closed())
            };
        }
        self.waiter = Some(Arc::clone(&waiter));
        Ok(Some(waiter))
    }
}
