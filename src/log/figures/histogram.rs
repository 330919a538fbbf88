//! A histogram of spans of time that any thread adds to without waiting.
//!
//! Four buckets for each doubling, from 1 us on: a quantile is at most a quarter too high, never too low.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u64 = 4;
/// Up to 2^36 us, 19 hours; what is longer counts in the last.
const BUCKETS: usize = 36 * STEPS as usize;

/// Counts of spans.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = [const { AtomicU64::new(0) }; BUCKETS];
        Self { counts, sum_us: AtomicU64::new(0), max_us: AtomicU64::new(0) }
    }
}

/// A histogram as it was at a moment, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Spans {
    /// How many.
    pub count: u64,
    /// Half took no longer.
    pub p50_us: u64,
    /// Nine of ten took no longer.
    pub p90_us: u64,
    /// 99 of a hundred took no longer.
    pub p99_us: u64,
    /// 999 of a thousand took no longer.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// All together.
    pub sum_us: u64,
    /// How many took at most so long, and longer than the one before: upper bound and count of each bucket that is not empty.
    pub buckets: Vec<(u64, u64)>,
}

impl Histogram {
    /// Adds one.
    pub fn add(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
        if micros > self.max_us.load(Ordering::Relaxed) {
            self.max_us.fetch_max(micros, Ordering::Relaxed);
        }
    }

    /// What was added so far; what is added meanwhile may be in it in part.
    #[must_use]
    pub fn spans(&self) -> Spans {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let (count, max_us) = (counts.iter().sum::<u64>(), self.max_us.load(Ordering::Relaxed));
        let quantile = |thousandths: u64| {
            let rank = (count * thousandths).div_ceil(1000).max(1);
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            found.map_or(0, |index| upper(index).min(max_us))
        };
        let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Spans {
            count,
            p50_us: quantile(500),
            p90_us: quantile(900),
            p99_us: quantile(990),
            p999_us: quantile(999),
            max_us,
            sum_us: self.sum_us.load(Ordering::Relaxed),
            buckets: filled.map(|(index, count)| (upper(index), *count)).collect(),
        }
    }
}

/// Where a span counts: below 4 us a bucket for each, then four for each doubling.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doubling = u64::from(micros.ilog2());
    let step = (micros >> (doubling - 2)) & (STEPS - 1);
    (((doubling - 1) * STEPS + step) as usize).min(BUCKETS - 1)
}

/// The longest span of a bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let (doubling, step) = (index / STEPS + 1, index % STEPS);
    ((STEPS + step + 1) << (doubling - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_is_in_the_bucket_whose_bounds_hold_it() {
        let mut before = None;
        for index in 0..BUCKETS - 1 {
            let lowest = before.map_or(0, |before: u64| before + 1);
            assert_eq!((bucket(lowest), bucket(upper(index))), (index, index));
            assert!(upper(index) - lowest <= lowest / 4, "a quarter at most: {lowest}..={}", upper(index));
            before = Some(upper(index));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_never_below_the_truth_and_at_most_a_quarter_above() {
        let histogram = Histogram::default();
        assert_eq!(histogram.spans(), Spans::default());
        for micros in 1..=10_000 {
            histogram.add(Duration::from_micros(micros));
        }
        let spans = histogram.spans();
        assert_eq!((spans.count, spans.max_us, spans.sum_us), (10_000, 10_000, 50_005_000));
        for (told, truth) in [(spans.p50_us, 5000), (spans.p90_us, 9000), (spans.p99_us, 9900), (spans.p999_us, 9990)] {
            assert!((truth..=truth * 5 / 4).contains(&told), "{told} for {truth}");
        }
        assert_eq!(spans.buckets.iter().map(|(_, count)| count).sum::<u64>(), 10_000);
    }
}
