//! Delivers beside the writers: a thread for each sink, whatever the number of collections (R5). They sleep while nothing is sealed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::line::Line;
use super::{LOOK, Shared};
use crate::error::{Error, ErrorKind, Result, chain};

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

    /// Seals what has reached its size, and returns when everything that is sealed was delivered, but for what rests behind failures; or when `go_on`, asked now and then, says no.
    /// Whether everything was.
    ///
    /// # Errors
    /// What the disk or the catalog said.
    pub fn settle(&self, go_on: &mut dyn FnMut() -> bool) -> Result<bool> {
        self.shared.log.sync()?;
        for (name, through) in self.shared.log.collections_through() {
            if self.shared.log.is_seal_due(&name)? {
                self.shared.seal(&name, through)?;
            }
        }
        loop {
            self.shared.feed()?;
            let now = self.shared.options.clock.monotonic();
            if self.shared.lines.iter().all(|line| line.is_settled(now)) {
                return Ok(self.shared.lines.iter().all(Line::is_empty));
            }
            if self.shared.is_stopped() || !go_on() {
                return Ok(false);
            }
            self.shared.lines.iter().for_each(|line| line.wait_a_little(LOOK));
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
        let outcome = shared.feed().and_then(|()| {
            while shared.work(line)? {}
            Ok(())
        });
        match outcome {
            Ok(()) => failures = 0,
            Err(error) if error.kind() == ErrorKind::Closed => return,
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
