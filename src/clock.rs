//! The only place that knows what time it is.
//!
//! Owns: wall clock, monotonic time, waiting for a span of time. Everything else is given a [`Clock`], so that a test
//! can stop it, set it back, or let a year pass at once.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time. May jump, also backwards.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point of this process; never runs backwards.
    fn monotonic(&self) -> Duration;

    /// Sixteen bytes that nobody else draws: for ids.
    fn random(&self) -> [u8; 16];

    /// Lets `span` of monotonic time pass.
    fn sleep(&self, span: Duration);
}

/// The system's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

#[allow(clippy::disallowed_methods)] // the one place for them
mod system {
    use super::{Clock, Duration, Instant, SystemClock, SystemTime, Timestamp, UNIX_EPOCH};

    impl SystemClock {
        /// A clock whose monotonic time starts now.
        #[must_use]
        pub fn new() -> Self {
            Self { start: Instant::now() }
        }
    }

    impl Clock for SystemClock {
        fn now(&self) -> Timestamp {
            let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
            match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => Timestamp(micros(since)),
                Err(before) => Timestamp(-micros(before.duration())),
            }
        }

        fn monotonic(&self) -> Duration {
            self.start.elapsed()
        }

        fn random(&self) -> [u8; 16] {
            fastrand::u128(..).to_le_bytes()
        }

        fn sleep(&self, span: Duration) {
            std::thread::sleep(span);
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A clock that stands still until told otherwise.
#[derive(Debug, Default)]
pub struct FakeClock {
    wall_us: std::sync::atomic::AtomicI64,
    monotonic_us: std::sync::atomic::AtomicU64,
    drawn: std::sync::atomic::AtomicU64,
}

impl FakeClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { wall_us: now.0.into(), ..Self::default() }
    }

    /// Sets the wall clock, in either direction.
    pub fn set(&self, now: Timestamp) {
        self.wall_us.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }

    /// Lets `span` pass on both clocks.
    pub fn advance(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.wall_us.fetch_add(micros.cast_signed(), std::sync::atomic::Ordering::SeqCst);
        self.monotonic_us.fetch_add(micros, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall_us.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_us.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn random(&self) -> [u8; 16] {
        let drawn = self.drawn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        fastrand::Rng::with_seed(self.wall_us.load(std::sync::atomic::Ordering::SeqCst).cast_unsigned() ^ (drawn << 48))
            .u128(..)
            .to_le_bytes()
    }

    /// Time passes at once.
    fn sleep(&self, span: Duration) {
        self.advance(span);
    }
}
