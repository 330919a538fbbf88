//! Seeded runs: the steps of the other runs, and between them what sinks and compaction do.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Stored;
use crate::crashes::{cut_until, number, run};
use crate::points::STORED;
use crate::probe::Effort;
use crate::workload::{self, Setup, Step};

/// Fewer images of each change: a step of these has many.
const EFFORT: Effort = Effort { random_cuts: 2, nested_every: 150, again_every: 5 };

/// Mostly three sinks, and each of the policies.
fn setup(seed: u64) -> Setup {
    let sinks = if seed % 5 == 4 { 1 } else { 3 };
    let stored = Stored { sinks, compaction: Some(Stored::policy(seed / 2)), broken: None };
    Setup { stored, ..Setup::of(seed) }
}

/// The steps of a seed.
pub fn steps(setup: &Setup, count: usize) -> Vec<Step> {
    let mut random = fastrand::Rng::with_seed(setup.seed ^ 0x0000_7041);
    let mut all = Vec::new();
    for step in workload::steps(setup, count, true) {
        all.push(step);
        let collection = random.usize(0..setup.collections);
        match random.u8(0..100) {
            0..=9 => all.push(Step::Flush(Some(collection))),
            10..=15 => all.push(Step::Flush(None)),
            16..=27 => all.push(Step::Deliver),
            28..=31 => all.push(Step::Subscribe { collection, to_late: random.bool() }),
            32..=37 => all.push(Step::Compact { read: random.bool() }),
            // Journals are released when the log is opened: so it has something to do.
            38..=45 => all.extend([Step::Flush(None), Step::Reopen, Step::Compact { read: random.bool() }]),
            _ => {}
        }
    }
    all
}

#[test]
fn no_power_cut_breaks_a_promise_with_sinks_and_compaction() {
    if let Some(seed) = number("ICECORE_CRASH_SEED") {
        let (probe, broken) = run(setup(seed), EFFORT);
        assert_eq!(broken, None);
        println!("seed {seed}: {} states", probe.finish().0.len());
        return;
    }
    let wanted = number("ICECORE_CRASH_STORED_STATES").unwrap_or(10_000) as usize;
    let compacted = AtomicU64::new(0);
    let points = cut_until("sinks and compaction", wanted, |seed| {
        let (probe, broken) = run(setup(seed), EFFORT);
        compacted.fetch_add(probe.compacted(), Ordering::Relaxed);
        (probe, broken)
    });
    println!("{} records compacted away", compacted.load(Ordering::Relaxed));
    let missing: Vec<_> = STORED.iter().filter(|name| !points.0.contains_key(**name)).collect();
    for name in STORED {
        println!("{:>8}  {name}", points.0.get(name).unwrap_or(&0));
    }
    assert!(missing.is_empty(), "no power cut at {missing:?}");
}
