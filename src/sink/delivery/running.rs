//! Delivers beside the writers: a thread for each sink, whatever the number of collections (R5). They sleep while nothing is sealed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::line::Line;
use super::{LOOK, Shared};
use crate::error::{Error, ErrorKind, Result, chain};
use crate::types::CollectionName;

/// Sinks at work. Stops when dropped, behind the batches that are under way.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self> {
        let mut running = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for (index, line) in shared.lines.iter().enumerate() {
            let work = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name(format!("icecore-{}", line.name()))
                .spawn(move || beside(&work, &work.lines[index]));
            running.threads.push(thread.map_err(|error| {
                Error::new(ErrorKind::Internal, "the thread of a sink cannot be made").with_source(error)
            })?);
        }
        Ok(running)
    }

    /// Seals these collections where they have reached their size, and returns when everything of them that is sealed was delivered, but for what
    /// rests behind failures; or when `go_on`, asked now and then, says no. Whether everything was. They are delivered before others, whose
    /// backlog nobody waits for here.
    ///
    /// # Errors
    /// What the disk or the catalog said; `NotFound` for an unknown collection.
    pub fn settle(&self, of: &[CollectionName], go_on: &mut dyn FnMut() -> bool) -> Result<bool> {
        let shared = &*self.shared;
        shared.log.sync()?;
        for name in of {
            if shared.log.is_seal_due(name)? {
                shared.seal(name, shared.log.durable_through(name)?)?;
            }
        }
        shared.lines.iter().for_each(|line| line.prefer(of));
        loop {
            shared.feed()?;
            let now = shared.options.clock.monotonic();
            if shared.lines.iter().all(|line| line.is_settled(of, now)) {
                return Ok(shared.lines.iter().all(|line| line.is_empty(of)));
            }
            if shared.is_stopped() || !go_on() {
                return Ok(false);
            }
            // What this thread's look found due, a line's own thread may not know of: it sleeps where nothing was sealed since.
            shared.log.wake_archivers();
            shared.lines.iter().for_each(|line| line.wait_a_little(of, LOOK));
        }
    }

    /// Stops, and returns when the batches under way are over. What is left is delivered when the log is opened next.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.log.wake_archivers();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("the thread of a sink panicked");
            }
        }
        self.shared.tell(true);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn beside(shared: &Shared, line: &Line) {
    let (mut seen, mut failures) = (0, 0);
    while !shared.is_stopped() {
        let mut longest = None;
        match shared.feed() {
            Ok(()) => {
                failures = 0;
                while shared.work(line) {}
            }
            Err(_) if shared.is_stopped() => return,
            Err(error) => {
                failures += 1;
                tracing::error!(error = chain(&error), "it is not known what is to be delivered");
                longest = Some(shared.options.rest(failures));
            }
        }
        if shared.is_stopped() {
            return;
        }
        shared.tell(false);
        let rest = line.rest(shared.options.clock.monotonic()).map(|rest| rest.max(Duration::from_millis(1)));
        seen = shared.log.wait_for_sealed(seen, rest.into_iter().chain(longest).min());
    }
}
