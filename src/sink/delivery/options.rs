//! How records are delivered.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};

/// How records are delivered. The default suits a store on a local disk.
#[derive(Clone, Debug)]
pub struct SinksOptions {
    /// Bytes of records in memory for a batch, at most, however much a sink wants.
    pub batch_bytes: u64,
    /// How long a collection rests behind its first failure; twice as long behind each further one.
    pub retry_first: Duration,
    /// How long it rests at most.
    pub retry_longest: Duration,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for SinksOptions {
    fn default() -> Self {
        Self {
            batch_bytes: 16 << 20,
            retry_first: Duration::from_millis(100),
            retry_longest: Duration::from_secs(60),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

impl SinksOptions {
    /// How long to rest behind so many failures in a row: between a half and all of the doubled span, so that those which failed together
    /// do not come back together.
    pub(super) fn rest(&self, failures: u32) -> Duration {
        let doubled = self.retry_first.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
        let longest = doubled.min(self.retry_longest);
        let [byte, ..] = self.clock.random();
        longest / 2 + longest.mul_f64(f64::from(byte) / 512.0)
    }
}
