//! Bytes per second, over all uploads together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::objects::Stop;

/// So many bytes per second. What was not used while nobody sent is not saved up.
#[derive(Debug)]
pub struct Bandwidth {
    clock: Arc<dyn Clock>,
    bytes_per_second: u64,
    /// When the bytes that were let through so far are sent, on the monotonic clock.
    sent_at: Mutex<Duration>,
}

impl Bandwidth {
    /// A limit of at least one byte per second.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, bytes_per_second: u64) -> Self {
        Self { clock, bytes_per_second: bytes_per_second.max(1), sent_at: Mutex::default() }
    }

    /// Waits for the turn of `bytes`; whether it came before `stop`.
    pub fn take(&self, bytes: u64, stop: &Stop) -> bool {
        let now = self.clock.monotonic();
        let begin = {
            let mut sent_at = self.sent_at.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = now.max(*sent_at);
            *sent_at = begin.saturating_add(self.span(bytes));
            begin
        };
        stop.wait(&*self.clock, begin - now)
    }

    fn span(&self, bytes: u64) -> Duration {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FakeClock;
    use crate::types::Timestamp;

    #[test]
    fn so_many_bytes_take_so_long() {
        let clock = Arc::new(FakeClock::at(Timestamp(0)));
        let bandwidth = Bandwidth::new(Arc::clone(&clock) as Arc<dyn Clock>, 1000);
        let stop = Stop::default();
        for _ in 0..11 {
            assert!(bandwidth.take(500, &stop));
        }
        // The first goes at once, each of the others half a second behind the one before.
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
        clock.advance(Duration::from_secs(100));
        let before = clock.monotonic();
        assert!(bandwidth.take(500, &stop) && bandwidth.take(500, &stop) && bandwidth.take(500, &stop));
        assert_eq!(clock.monotonic() - before, Duration::from_secs(1), "an idle time is not saved up");
        stop.stop();
        assert!(!bandwidth.take(500, &stop));
    }
}
