//! Two catalogs as one: the first answers and decides, the second follows it (C3).
//!
//! Owns: the thread that follows, what is known of how far it is. Does not own: following itself (`follow`).
//!
//! An `apply` that the first has made is done: it only leaves its number and wakes the thread. A second that is slow, blocked or
//! broken changes nothing for whoever appends or looks up; how far it lags, and why, is in [`MirrorStatus`]. The second only ever
//! has what the first made durable before, so no crash leaves it ahead. Whatever keeps other writers from the first
//! (the log's lock) must keep them from the second.

mod delegate;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::follow::{FollowError, catch_up, check_follows};
use super::{Catalog, CatalogError, Engine, MirrorStatus};
use crate::types::ChangeNumber;

/// Transactions that the mirror may still make when it is stopped, to have everything where that is near.
const TRANSACTIONS_AT_STOP: u32 = 16;

/// How long to wait after so many failures in a row, unless a change comes before.
pub type Retry = Arc<dyn Fn(u32) -> Duration + Send + Sync>;

/// A catalog and its mirror. See the module.
pub struct MirroredCatalog {
    first: Arc<dyn Catalog>,
    shared: Arc<Shared>,
    /// `None` once stopped.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for MirroredCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirroredCatalog").field("first", &self.first).field("mirror", &self.shared.second).finish()
    }
}

struct Shared {
    first: Arc<dyn Catalog>,
    second: Arc<dyn Catalog>,
    engine: Engine,
    retry: Retry,
    /// Never held while a catalog is asked anything.
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The first's newest change, as far as it is known here.
    newest: ChangeNumber,
    /// The second's.
    reached: ChangeNumber,
    /// Why it does not follow now.
    error: Option<String>,
    /// A change came since the thread last looked.
    news: bool,
    stop: bool,
}

impl MirroredCatalog {
    /// `first`, with `second`, which `engine` keeps, following it from now on.
    ///
    /// However far `second` is behind, this does not wait for it.
    ///
    /// # Errors
    /// [`FollowError::Ahead`] or [`FollowError::Diverged`] where `second` is no mirror of `first`; it stays as it is. Or
    /// why one of them cannot be read.
    pub fn start(first: Arc<dyn Catalog>, second: Arc<dyn Catalog>, engine: Engine) -> Result<Self, FollowError> {
        let retry = |failures: u32| Duration::from_secs(1 << failures.min(6));
        Self::start_with(first, second, engine, Arc::new(retry))
    }

    /// [`start`](Self::start), with another wait after failures.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(
        first: Arc<dyn Catalog>,
        second: Arc<dyn Catalog>,
        engine: Engine,
        retry: Retry,
    ) -> Result<Self, FollowError> {
        let reached = check_follows(&*first, &*second)?;
        let newest = first.change_number().map_err(FollowError::From)?;
        let state = Mutex::new(State { newest, reached, error: None, news: false, stop: false });
        let shared = Shared { first: Arc::clone(&first), second, engine, retry, state, changed: Condvar::new() };
        let shared = Arc::new(shared);
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("icecore-mirror".to_owned()).spawn(move || {
            let _told = ToldWhenPanicked(&for_thread);
            for_thread.run();
        });
        let thread = thread.map_err(|source| {
            FollowError::To(CatalogError::Engine {
                path: engine.to_string(),
                operation: "follow",
                source: source.into(),
            })
        })?;
        Ok(Self { first, shared, thread: Mutex::new(Some(thread)) })
    }

    /// Ends following, and waits for it: for the transaction under way, and for a few more where those are all that is missing.
    /// The catalog works on without its mirror.
    pub fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if thread.join().is_err() {
            tracing::error!("the thread of the catalog's mirror panicked");
        }
    }

    /// The mirror's state, without asking it.
    fn status(&self) -> MirrorStatus {
        self.shared.status(&self.shared.lock())
    }

    /// Waits until the mirror's state is so.
    #[cfg(test)]
    pub(crate) fn wait_until(&self, is_so: impl Fn(&MirrorStatus) -> bool) -> MirrorStatus {
        let mut state = self.shared.lock();
        loop {
            let status = self.shared.status(&state);
            if is_so(&status) {
                return status;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for MirroredCatalog {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each field is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self, state: &State) -> MirrorStatus {
        MirrorStatus {
            engine: self.engine,
            change_number: state.reached,
            lag: state.newest.0.saturating_sub(state.reached.0),
            error: state.error.clone(),
        }
    }

    /// Says that the first has made a change.
    fn tell(&self, number: ChangeNumber) {
        let mut state = self.lock();
        state.newest = state.newest.max(number);
        state.news = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Follows until told to stop.
    fn run(&self) {
        let (mut failures, mut left_at_stop) = (0, TRANSACTIONS_AT_STOP);
        while self.wait_for_work(failures) && left_at_stop > 0 {
            let outcome = catch_up(&*self.first, &*self.second, None, &mut |number, until| {
                let mut state = self.lock();
                state.reached = number;
                state.newest = state.newest.max(until);
                left_at_stop -= u32::from(state.stop);
                drop(state);
                self.changed.notify_all();
                left_at_stop > 0
            });
            failures = if outcome.is_ok() { 0 } else { failures + 1 };
            self.note(outcome.map(|_| ()));
        }
    }

    /// Waits until there is something to follow, and, after failures, for a while or a change; `false` when it is over.
    fn wait_for_work(&self, failures: u32) -> bool {
        let state = self.lock();
        let mut state = if failures == 0 {
            let idle = |state: &mut State| !state.stop && state.reached >= state.newest;
            self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner)
        } else {
            let wait = (self.retry)(failures);
            let idle = |state: &mut State| !state.stop && !state.news;
            self.changed.wait_timeout_while(state, wait, idle).unwrap_or_else(PoisonError::into_inner).0
        };
        state.news = false;
        !(state.stop && (failures > 0 || state.reached >= state.newest))
    }

    /// Keeps how it went, and logs when that changes.
    fn note(&self, outcome: Result<(), FollowError>) {
        let error = outcome.err().map(|error| chain(&error));
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.error, error.clone());
        drop(state);
        self.changed.notify_all();
        match (before, error) {
            (None, Some(error)) => tracing::warn!(engine = %self.engine, error, "the catalog's mirror does not follow"),
            (Some(_), None) => tracing::info!(engine = %self.engine, "the catalog's mirror follows again"),
            _ => {}
        }
    }
}

/// An error and its causes in a line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A thread that panicked follows no more, and that shows.
struct ToldWhenPanicked<'a>(&'a Shared);

impl Drop for ToldWhenPanicked<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().error = Some("its thread panicked; it follows again when the log is opened anew".to_owned());
            self.0.changed.notify_all();
        }
    }
}
