//! Archives beside the writers.
//!
//! Wakes when something was sealed, when a purge began, when the wait behind a failure or until something is due is over, or to stop. While
//! nothing is sealed and nothing is due it makes no request.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Shared, Work};
use crate::error::{Error, ErrorKind, Result};

/// An archiver at work. Stops when dropped.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self> {
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("icecore-archiver".into()).spawn(move || beside(&work));
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Internal, "the archiver's thread cannot be made").with_source(error)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Stops: uploads under way are given up, what arrived is told, and rows are set back. Returns when that is done.
    pub fn stop(mut self) {
        self.end();
    }

    /// Whether it has ended by itself: the log was closed, or every store is somebody else's now.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end(&mut self) {
        self.shared.stop.stop();
        self.shared.log.wake_archivers();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the archiver's thread panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn beside(shared: &Shared) {
    let (mut seen, mut failures) = (0, 0);
    while !shared.stop.is_stopped() && !shared.log.is_closed() {
        let mut longest = match shared.pass(true, &mut |_| true) {
            Ok(report) => {
                failures = 0;
                if report.archived_segments > 0 {
                    tracing::info!(segments = report.archived_segments, bytes = report.archived_bytes, "archived");
                }
                None
            }
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                failures += 1;
                tracing::error!(%error, "archiving failed");
                Some(shared.options.retry(failures))
            }
        };
        let work = shared.work();
        if work.targets.iter().all(|target| target.ended.is_some()) {
            return;
        }
        longest = wait(&work, shared.options.clock.monotonic(), longest);
        drop(work);
        if shared.stop.is_stopped() {
            return;
        }
        seen = shared.log.wait_for_sealed(seen, longest);
    }
}

/// How long nothing is to be done, where nothing is sealed meanwhile; `None` for as long as that. `failed` is the wait behind a pass that failed.
pub(super) fn wait(work: &Work, now: Duration, failed: Option<Duration>) -> Option<Duration> {
    let soon = Duration::from_millis(1);
    let rests = work.targets.iter().filter(|target| target.ended.is_none()).map(|target| target.rest(now));
    let parked = work.parked.values().map(|park| park.until.saturating_sub(now));
    // What was left alone and may be tried by now, since the pass took long, is tried at once.
    let left = work.next.map(|next| next.saturating_sub(now).max(soon));
    let waits = rests.chain(parked).chain(work.copying.wait(now)).chain(left).filter(|wait| !wait.is_zero());
    let upkeep = work.upkeep.wait(now).filter(|_| failed.is_none());
    waits.chain(failed).chain(upkeep).min().map(|wait| wait.max(soon))
}
