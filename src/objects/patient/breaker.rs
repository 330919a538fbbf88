//! Leaves a store alone that is down.
//!
//! After a number of failures in a row nobody is let through for a while; then one call is, and its outcome decides. A store that asks
//! to be left alone (`Retry-After`) is left alone by everybody.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::ObjectError;
use crate::types::Timestamp;

/// Lets calls through, or not.
#[derive(Debug)]
pub struct Breaker {
    failures_max: u32,
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    /// The store asked to be left alone until then, on the monotonic clock.
    asked_until: Duration,
    /// It is down, and left alone until then.
    rest_until: Duration,
    /// One call tries whether it is up again; the others wait for its outcome.
    is_probing: bool,
    since: Option<Timestamp>,
    last_error: Option<String>,
}

impl State {
    fn not_before(&self) -> Duration {
        self.rest_until.max(self.asked_until)
    }
}

/// What a breaker does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerState {
    /// Lets everybody through.
    Closed,
    /// Lets nobody through: the store is down.
    Open,
    /// Lets one call through, to see.
    Probing,
}

/// How a store is doing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BreakerStatus {
    /// What the breaker does now.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// When the first of them was; `None` where there is none.
    pub since: Option<Timestamp>,
    /// What the last of them was.
    pub last_error: Option<String>,
}

/// Whether a call may go through.
pub(super) enum Entrance<'a> {
    Go(Pass<'a>),
    /// The store asks to be left alone for so long.
    Later(Duration),
    /// The store is down; it is tried again after so long.
    Down(Duration),
}

/// A call under way. Dropped without a word it counts as failed.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    is_told: bool,
}

impl Breaker {
    pub(super) fn new(failures_max: u32, rest: Duration) -> Self {
        Self { failures_max: failures_max.max(1), rest, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain numbers: whoever panicked left them whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, now: Duration) -> Entrance<'_> {
        let mut state = self.state();
        if state.failures >= self.failures_max {
            if now < state.not_before() {
                return Entrance::Down(state.not_before() - now);
            }
            if state.is_probing {
                return Entrance::Down(self.rest);
            }
            state.is_probing = true;
        }
        if now < state.asked_until {
            return Entrance::Later(state.asked_until - now);
        }
        Entrance::Go(Pass { breaker: self, is_told: false })
    }

    /// Whether nobody goes through for longer than `span`, because the store is down.
    pub(super) fn is_open(&self, now: Duration, span: Duration) -> bool {
        let state = self.state();
        state.failures >= self.failures_max && state.not_before() > now.saturating_add(span)
    }

    pub(super) fn rest(&self, now: Duration) -> Duration {
        self.state().not_before().saturating_sub(now)
    }

    pub(super) fn status(&self, now: Duration) -> BreakerStatus {
        let state = self.state();
        let is_down = state.failures >= self.failures_max;
        BreakerStatus {
            state: match is_down {
                false => BreakerState::Closed,
                true if now < state.not_before() => BreakerState::Open,
                true => BreakerState::Probing,
            },
            failures: state.failures,
            since: state.since,
            last_error: state.last_error.clone(),
        }
    }
}

impl Pass<'_> {
    /// The store answered, whatever it said.
    pub fn answered(mut self) {
        self.is_told = true;
        // What it asked for stays.
        let mut state = self.breaker.state();
        *state = State { asked_until: state.asked_until, ..State::default() };
    }

    /// The store did not answer, or asked to be left alone.
    pub fn failed(mut self, now: Duration, at: Timestamp, error: &ObjectError) {
        self.is_told = true;
        let mut state = self.breaker.state();
        state.failures = state.failures.saturating_add(1);
        state.is_probing = false;
        state.since.get_or_insert(at);
        state.last_error = Some(error.to_string());
        if state.failures >= self.breaker.failures_max {
            state.rest_until = now.saturating_add(self.breaker.rest);
        }
        if let Some(asked) = error.retry_after {
            state.asked_until = state.asked_until.max(now.saturating_add(asked));
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            let mut state = self.breaker.state();
            state.failures = state.failures.saturating_add(1);
            state.is_probing = false;
        }
    }
}
