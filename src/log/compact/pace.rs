//! How fast compaction reads and writes, and when it ends early.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;

/// It sleeps no longer than this before it looks whether it is to end.
const NAP: Duration = Duration::from_millis(50);

/// So many bytes per second, read and written together. What was not used is not saved up.
pub(super) struct Pace<'a> {
    clock: Arc<dyn Clock>,
    bytes_per_second: Option<u64>,
    /// When the bytes that were let through so far are over, on the monotonic clock.
    over_at: Duration,
    /// Whether to go on.
    goes_on: &'a dyn Fn() -> bool,
}

impl<'a> Pace<'a> {
    pub fn new(clock: Arc<dyn Clock>, bytes_per_second: Option<u64>, goes_on: &'a dyn Fn() -> bool) -> Self {
        Self { clock, bytes_per_second, over_at: Duration::ZERO, goes_on }
    }

    /// Waits for the turn of `bytes`; whether to go on. Appends come first: the processor is offered to them each time.
    pub fn take(&mut self, bytes: u64) -> bool {
        if let Some(bytes_per_second) = self.bytes_per_second {
            let begin = self.clock.monotonic().max(self.over_at);
            let micros = u128::from(bytes) * 1_000_000 / u128::from(bytes_per_second.max(1));
            self.over_at = begin.saturating_add(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)));
            loop {
                let now = self.clock.monotonic();
                if now >= begin {
                    break;
                }
                if !(self.goes_on)() {
                    return false;
                }
                self.clock.sleep((begin - now).min(NAP));
            }
        } else {
            std::thread::yield_now();
        }
        (self.goes_on)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FakeClock;
    use crate::types::Timestamp;

    #[test]
    fn so_many_bytes_take_so_long_and_an_end_is_seen_while_waiting() {
        let clock = Arc::new(FakeClock::at(Timestamp(0)));
        let until = std::cell::Cell::new(Duration::MAX);
        let goes_on = || clock.monotonic() < until.get();
        let mut pace = Pace::new(clock.clone(), Some(1000), &goes_on);
        assert!((0..5).all(|_| pace.take(500)));
        assert_eq!(clock.monotonic(), Duration::from_secs(2), "the first goes at once");
        clock.advance(Duration::from_secs(100));
        assert!(pace.take(500) && pace.take(500));
        assert_eq!(clock.monotonic(), Duration::from_millis(102_500), "an idle time is not saved up");
        until.set(Duration::from_secs(110));
        assert!(pace.take(100_000) && !pace.take(1));
        assert!(clock.monotonic() < Duration::from_millis(110_100), "{:?}", clock.monotonic());
        let mut free = Pace::new(clock.clone(), None, &goes_on);
        assert!(!free.take(1), "whoever has no limit is ended too");
    }
}
