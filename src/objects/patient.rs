//! A store that is asked again: tries with jittered waits, `Retry-After` (an hour at most), a breaker.
//!
//! Owns: which failures are worth another try, how long to wait before it, when to give up, and leaving a store alone that is down
//! ([`breaker`]). Does not own: deadlines of single requests ([`StoreOptions`](super::StoreOptions)), and what becomes of an
//! operation that failed for good.
//!
//! Why asking again is safe: a put is create-only, and answers [`Put::SameThere`] where an earlier try got through; a delete of what is gone is fine;
//! the rest reads. So an unknown outcome is looked at by trying again.
//!
//! Promise 7 of stores holds across the tries: where any of them had an unknown outcome, so has the whole, whatever the
//! last one said, unless one of them succeeded.

pub mod breaker;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use self::breaker::{Breaker, BreakerStatus, Entrance};
use super::{
    Abilities, Head, Meter, ObjectError, ObjectErrorKind, ObjectKey, ObjectResult, ObjectStore, Page, Proof, Put,
    Upload, Version,
};
use crate::clock::Clock;

/// Waiting looks at the stop flag this often.
const SLICE: Duration = Duration::from_millis(20);

/// A store, or what stands before it, that asks to be left alone for longer is asked again then: a slip of theirs must not stop archiving for days.
const ASKED_LONGEST: Duration = Duration::from_hours(1);

/// How patient one is with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often one call is tried at most; at least once.
    pub tries: u32,
    /// A call is not tried again when it would begin later than this after its first try.
    pub span: Duration,
    /// The wait before the second try; each further one is twice as long. Half of every wait is drawn by lot.
    pub first_wait: Duration,
    /// No wait is longer, unless the store asks for it.
    pub longest_wait: Duration,
    /// After so many failures in a row, of any calls, the store counts as down.
    pub breaker_failures: u32,
    /// For how long a store that is down is left alone, before one call tries it.
    pub breaker_rest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 6,
            span: Duration::from_mins(10),
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(20),
            breaker_failures: 12,
            breaker_rest: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// The wait after the `failed`th failed try (from 1). `lot` decides about half of it: callers that failed together do not come back together.
    #[must_use]
    pub fn wait(&self, failed: u32, lot: u32) -> Duration {
        let doubled = self.first_wait.saturating_mul(1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
        let half = doubled.min(self.longest_wait) / 2;
        half + half.mul_f64(f64::from(lot) / f64::from(u32::MAX))
    }
}

/// Ends waiting, of everybody who holds a clone. What is asked of a store later is tried once.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends it, for good.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Lets `span` pass, unless stopped; whether it passed.
    pub fn wait(&self, clock: &dyn Clock, span: Duration) -> bool {
        let until = clock.monotonic().saturating_add(span);
        loop {
            if self.is_stopped() {
                return false;
            }
            let left = until.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return true;
            }
            // Clocks count in microseconds.
            clock.sleep(left.clamp(Duration::from_micros(1), SLICE));
        }
    }
}

/// A store that is asked again. See the module.
#[derive(Debug)]
pub struct PatientStore {
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    patience: Patience,
    breaker: Breaker,
    stop: Stop,
}

impl PatientStore {
    /// Asks `store` as patiently as said, until `stop`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>, patience: Patience, stop: Stop) -> Self {
        let breaker = Breaker::new(patience.breaker_failures, patience.breaker_rest);
        Self { store, clock, patience, breaker, stop }
    }

    /// How the store is doing.
    #[must_use]
    pub fn breaker(&self) -> BreakerStatus {
        self.breaker.status(self.clock.monotonic())
    }

    /// How long the store is to be left alone from now on; zero where it may be asked.
    #[must_use]
    pub fn rest(&self) -> Duration {
        self.breaker.rest(self.clock.monotonic())
    }

    fn lot(&self) -> u32 {
        let [a, b, c, d, ..] = self.clock.random();
        u32::from_le_bytes([a, b, c, d])
    }

    fn patiently<T>(
        &self,
        operation: &'static str,
        key: &str,
        attempt: impl Fn() -> ObjectResult<T>,
    ) -> ObjectResult<T> {
        let began = self.clock.monotonic();
        let left = || self.patience.span.saturating_sub(self.clock.monotonic().saturating_sub(began));
        let (mut tries, mut is_unknown) = (0, false);
        let mut failed: Option<ObjectError> = None;
        loop {
            let pass = match self.breaker.enter(self.clock.monotonic()) {
                Entrance::Go(pass) => pass,
                // Asked to be left alone, by an answer to somebody else.
                Entrance::Later(span) if span <= left() && self.stop.wait(&*self.clock, span) => continue,
                Entrance::Later(span) | Entrance::Down(span) => {
                    return Err(failed.unwrap_or_else(|| self.left_alone(operation, key, span)));
                }
            };
            tries += 1;
            let error = match attempt() {
                Ok(value) => {
                    pass.answered();
                    return Ok(value);
                }
                Err(error) => {
                    ObjectError { retry_after: error.retry_after.map(|asked| asked.min(ASKED_LONGEST)), ..error }
                }
            };
            is_unknown |= error.kind == ObjectErrorKind::OutcomeUnknown;
            if !matches!(error.kind, ObjectErrorKind::Unavailable | ObjectErrorKind::OutcomeUnknown) {
                // It answered, if only to refuse.
                pass.answered();
                return Err(as_promised(error, is_unknown));
            }
            pass.failed(self.clock.monotonic(), self.clock.now(), &error);
            let wait = self.patience.wait(tries, self.lot()).max(error.retry_after.unwrap_or_default());
            let error = as_promised(error, is_unknown);
            let is_over = tries >= self.patience.tries || wait > left();
            if is_over || self.breaker.is_open(self.clock.monotonic(), wait) || !self.stop.wait(&*self.clock, wait) {
                return Err(error);
            }
            tracing::debug!(%error, tries, "the store is asked again");
            failed = Some(error);
        }
    }

    fn left_alone(&self, operation: &'static str, key: &str, span: Duration) -> ObjectError {
        let status = self.breaker();
        let last = status.last_error.as_deref().unwrap_or("it asked for that");
        let what = format!("the store is left alone for a while: failures in a row={}, last: {last}", status.failures);
        ObjectError {
            kind: ObjectErrorKind::Unavailable,
            operation,
            place: self.store.place().into(),
            key: key.into(),
            what: what.into(),
            retry_after: Some(span),
            source: None,
        }
    }
}

/// Whatever the last try said: an earlier one may have happened.
fn as_promised(error: ObjectError, is_unknown: bool) -> ObjectError {
    if !is_unknown || error.kind == ObjectErrorKind::OutcomeUnknown {
        return error;
    }
    let what = format!("an earlier try may have happened; the last one: {}", error.what);
    ObjectError { kind: ObjectErrorKind::OutcomeUnknown, what: what.into(), ..error }
}

impl ObjectStore for PatientStore {
    fn place(&self) -> String {
        self.store.place()
    }

    fn put_if_absent(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Put> {
        self.patiently("put", key.as_str(), || self.store.put_if_absent(key, upload))
    }

    fn put_memory(&self, bytes: u64) -> u64 {
        self.store.put_memory(bytes)
    }

    fn get(&self, key: &ObjectKey, bytes_max: u64) -> ObjectResult<Bytes> {
        self.patiently("get", key.as_str(), || self.store.get(key, bytes_max))
    }

    fn get_range(&self, key: &ObjectKey, offset: u64, bytes: usize) -> ObjectResult<Bytes> {
        self.patiently("get", key.as_str(), || self.store.get_range(key, offset, bytes))
    }

    fn head(&self, key: &ObjectKey) -> ObjectResult<Head> {
        self.patiently("head", key.as_str(), || self.store.head(key))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> ObjectResult<Page> {
        self.patiently("list", prefix, || self.store.list(prefix, after, limit))
    }

    fn delete(&self, key: &ObjectKey) -> ObjectResult<()> {
        self.patiently("delete", key.as_str(), || self.store.delete(key))
    }

    fn prove(&self, key: &ObjectKey, upload: &Upload<'_>) -> ObjectResult<Proof> {
        self.patiently("prove", key.as_str(), || self.store.prove(key, upload))
    }

    fn versions(&self, key: &ObjectKey) -> ObjectResult<Vec<Version>> {
        self.patiently("list", key.as_str(), || self.store.versions(key))
    }

    fn probe(&self) -> ObjectResult<Abilities> {
        // Each try is on an object of its own.
        self.patiently("probe", super::probe::PREFIX, || self.store.probe())
    }

    fn meter(&self) -> &Meter {
        self.store.meter()
    }
}
