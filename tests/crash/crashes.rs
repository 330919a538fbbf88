//! The power is cut everywhere.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use icecore::catalog::memory::MemoryCatalog;

use crate::kept::Kept;
use crate::model::Promise;
use crate::points::{NAMED, Points};
use crate::probe::{Effort, Probe};
use crate::stored;
use crate::workload::{Broken, Setup, Step, World, steps, told};

/// Steps of one run: enough for a journal to fill up, and to be released and used again.
const STEPS: usize = 60;

/// One run: all steps, with the power cut in each; what the probe saw, or what broke.
pub fn run(setup: Setup, effort: Effort) -> (Probe, Option<Broken>) {
    run_with(setup, effort, Arc::<MemoryCatalog>::default())
}

/// The same, with this catalog.
pub fn run_with<C: Kept>(setup: Setup, effort: Effort, catalog: Arc<C>) -> (Probe, Option<Broken>) {
    let probe = Probe::new(setup, effort);
    let mut world = World::with(setup, catalog);
    probe.watch(&world);
    let mut broken = world.open(Promise::Durable).err().map(|what| format!("first open: {what}"));
    let all = if setup.stored.is_any() { stored::steps(&setup, STEPS) } else { steps(&setup, STEPS, true) };
    for (number, step) in all.iter().enumerate() {
        if broken.is_none() {
            broken = go(&mut world, &probe, step)
                .err()
                .map(|what| format!("seed {}, step {number} {step:?}: {what}", setup.seed));
        }
        broken = broken.or_else(|| probe.broken().map(|what| format!("step {number} {step:?}: {what}")));
        if broken.is_some() {
            break;
        }
    }
    world.abandon(World::new(setup).fs);
    probe.note_compacted(world.compacted);
    (probe, broken)
}

fn go<C: Kept>(world: &mut World<C>, probe: &Probe, step: &Step) -> Result<(), Broken> {
    let error = if matches!(step, Step::Reopen | Step::Kill | Step::PowerCut) {
        let (fs, least, error) = world.end(step);
        world.abandon(fs);
        probe.watch(world);
        world.open(least)?;
        error
    } else {
        world.act(step)?
    };
    error.map_or(Ok(()), |error| Err(told("an error on a disk without faults", &error)))
}

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}=`{text}` is no number")))
}

#[test]
fn no_power_cut_breaks_a_promise() {
    if let Some(seed) = number("ICECORE_CRASH_SEED") {
        let (probe, broken) = run(Setup::of(seed), Effort::USUAL);
        assert_eq!(broken, None);
        println!("seed {seed}: {} states", probe.finish().0.len());
        return;
    }
    let wanted = number("ICECORE_CRASH_STATES").unwrap_or(100_000) as usize;
    let points = cut_until("catalog in memory", wanted, |seed| run(Setup::of(seed), Effort::USUAL));
    for (name, count) in &points.0 {
        println!("{count:>8}  {name}");
    }
    let missing: Vec<_> = NAMED.iter().filter(|name| !points.0.contains_key(**name)).collect();
    assert!(missing.is_empty(), "no power cut at {missing:?}");
}

/// Runs seed after seed on all processors until so many distinct states were seen; where the power was cut.
pub fn cut_until(what: &str, wanted: usize, run: impl Fn(u64) -> (Probe, Option<Broken>) + Sync) -> Points {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (seeds, states) = (AtomicU64::new(0), Mutex::new(HashSet::new()));
    let (points, images, recoveries) = (Mutex::new(Points::default()), AtomicU64::new(0), AtomicU64::new(0));
    let broken = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while states.lock().unwrap().len() < wanted && broken.lock().unwrap().is_none() {
                    let (probe, failed) = run(seeds.fetch_add(1, Ordering::Relaxed));
                    if let Some(what) = failed {
                        broken.lock().unwrap().get_or_insert(what);
                    }
                    let (found, of_run, looked, recovered) = probe.finish();
                    states.lock().unwrap().extend(found);
                    points.lock().unwrap().merge(of_run);
                    images.fetch_add(looked, Ordering::Relaxed);
                    recoveries.fetch_add(recovered, Ordering::Relaxed);
                }
            });
        }
    });
    let points = points.into_inner().unwrap();
    println!(
        "{what}: {} distinct states of {} images, {} recoveries, {} seeds",
        states.into_inner().unwrap().len(),
        images.into_inner(),
        recoveries.into_inner(),
        seeds.into_inner()
    );
    if let Some(what) = broken.into_inner().unwrap() {
        panic!("a promise was broken: {what}\nrun it alone with ICECORE_CRASH_SEED");
    }
    points
}
