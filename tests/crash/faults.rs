//! The disk, or the catalog, fails: once, or from some operation on; and the power may be cut behind it.
//!
//! An error is no broken promise: what was refused is not there, what has an unknown outcome may be, what was acknowledged
//! is. At the end the next process finds all that was acknowledged, and a power cut takes nothing durable.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use icecore::SyncMode;
use icecore::catalog::CatalogError;
use icecore::fs::simulated::{Errno, Failure, Fault};

use crate::model::Promise;
use crate::probe::{Effort, Probe};
use crate::workload::{Broken, ON_PURPOSE, Setup, Step, World, read_all, steps};

const STEPS: usize = 45;

/// One look at the end is enough: the crash suite looks at every operation.
const EFFORT: Effort = Effort { random_cuts: 0, nested_every: u64::MAX, again_every: 8 };

/// How one run went.
pub struct Run {
    pub broken: Option<Broken>,
    /// Changes and reads that were asked for, commits that were made.
    pub asked: (u64, u64, u64),
    /// How often the log gave an error.
    pub errors: u64,
}

/// A whole run, with whatever `prepare` makes fail.
pub fn run(setup: Setup, prepare: impl FnOnce(&World)) -> Run {
    let mut world = World::new(setup);
    prepare(&world);
    let mut errors = 0;
    let broken = go(&mut world, &mut errors).err();
    let asked = (world.fs.changes(), world.fs.reads(), world.catalog.applies());
    let broken = broken.or_else(|| {
        let probe = Probe::new(setup, EFFORT);
        probe.aftermath(&world);
        probe.broken()
    });
    Run { broken, asked, errors }
}

fn go(world: &mut World, errors: &mut u64) -> Result<(), Broken> {
    let mut failed = world.try_open(Promise::Durable)?;
    for (number, step) in steps(&world.setup, STEPS, false).iter().enumerate() {
        *errors += u64::from(failed.is_some());
        if world.log.is_none() {
            // A disk that fails once opens at the second try; one that goes on failing never does.
            failed = world.try_open(Promise::Written)?;
            if failed.is_some() {
                continue;
            }
        }
        failed = match step {
            Step::Reopen => {
                let (_, _, error) = world.end(step);
                error
            }
            step => world.act(step).map_err(|what| format!("step {number} {step:?}: {what}"))?,
        };
        if failed.is_some() {
            read_back(world).map_err(|what| format!("step {number} {step:?}: {what}"))?;
        }
    }
    read_back(world)
}

/// What is acknowledged can be read, whatever failed, as long as reading does not.
fn read_back(world: &World) -> Result<(), Broken> {
    let Some(log) = &world.log else { return Ok(()) };
    match read_all(log) {
        Err(what) if what.contains(ON_PURPOSE) => Ok(()),
        found => {
            world.model().check(&found?, Promise::Written).map_err(|what| format!("read from the open log: {what}"))
        }
    }
}

/// Runs every case on all processors; says how many there were.
fn all<T: Send + Sync + std::fmt::Debug>(cases: &[T], run: impl Fn(&T) -> Run + Sync) {
    let (next, errors, broken) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let outcome = run(case);
                    errors.fetch_add(outcome.errors, Ordering::Relaxed);
                    if let Some(what) = outcome.broken {
                        broken.lock().unwrap().get_or_insert(format!("{case:?}: {what}"));
                        return;
                    }
                }
            });
        }
    });
    println!("{} runs, {} errors given", cases.len(), errors.load(Ordering::Relaxed));
    assert_eq!(broken.into_inner().unwrap(), None);
    assert!(errors.into_inner() > 0, "nothing failed");
}

fn setups() -> [Setup; 3] {
    let of = |seed, sync| Setup { sync, directories: 1, ..Setup::of(seed) };
    [of(1, SyncMode::PerBatch), of(2, SyncMode::Always), of(3, SyncMode::Periodic)]
}

/// Every change of the disk fails, once or from then on, with every error.
fn every_change_fails(setup: Setup) {
    if let Some(at) = std::env::var("ICECORE_CRASH_FAULT").ok().and_then(|at| at.parse().ok()) {
        for fault in Errno::ALL.into_iter().flat_map(|e| [Fault::once, Fault::from].map(|f| f(at, Failure::Error(e)))) {
            assert_eq!(run(setup, |world| world.fs.fail(fault)).broken, None, "{fault:?}");
        }
        return;
    }
    let clean = run(setup, |_| {});
    assert_eq!((clean.broken, clean.errors), (None, 0));
    let mut cases = Vec::new();
    for at in 0..clean.asked.0 {
        for errno in Errno::ALL {
            cases.extend([Fault::once, Fault::from].map(|fault| fault(at, Failure::Error(errno))));
        }
    }
    all(&cases, |fault| run(setup, |world| world.fs.fail(*fault)));
}

#[test]
fn every_change_fails_per_batch() {
    every_change_fails(setups()[0]);
}

#[test]
fn every_change_fails_always() {
    every_change_fails(setups()[1]);
}

#[test]
fn every_change_fails_periodic() {
    every_change_fails(setups()[2]);
}

#[test]
fn every_read_fails() {
    let setup = setups()[0];
    let clean = run(setup, |_| {});
    let fault = |fault: fn(u64, Failure) -> Fault, at| fault(at, Failure::Error(Errno::Eio)).of_reads();
    let cases: Vec<_> = (0..clean.asked.1).flat_map(|at| [fault(Fault::once, at), fault(Fault::from, at)]).collect();
    all(&cases, |fault| run(setup, |world| world.fs.fail(*fault)));
}

#[test]
fn short_reads_and_writes_are_gone_on_with() {
    for setup in setups() {
        let outcome = run(setup, |world| {
            world.fs.fail(Fault::from(0, Failure::Short));
            world.fs.fail(Fault::from(0, Failure::Short).of_reads());
        });
        assert_eq!((outcome.broken, outcome.errors), (None, 0));
    }
}

#[test]
fn a_disk_fills_up() {
    // From where not even the first journal fits, to where everything does.
    let reserve = (16 << 20) + (38 << 10);
    let cases: Vec<u64> = (0..120).map(|step| reserve + step * 4096).collect();
    all(&cases, |capacity| run(setups()[0], |world| world.fs.set_capacity(Some(*capacity))));
}

/// How a commit fails.
#[derive(Clone, Copy, Debug)]
enum CommitFailure {
    Refused,
    Unknown,
    UnknownButKept,
}

const COMMIT_FAILURES: [CommitFailure; 3] =
    [CommitFailure::Refused, CommitFailure::Unknown, CommitFailure::UnknownButKept];

/// Makes commit number `at` fail, and the next ones up to so many `times`.
fn fail_commits(world: &World, at: u64, times: u64, failure: CommitFailure) {
    let commits = AtomicU64::new(0);
    world.catalog.observe(move |catalog| {
        if !(at..at + times).contains(&commits.fetch_add(1, Ordering::Relaxed)) {
            return;
        }
        let path = "memory".to_owned();
        let unknown = |path| CatalogError::OutcomeUnknown { path, source: ON_PURPOSE.into() };
        match failure {
            CommitFailure::Refused => catalog.fail_next(CatalogError::Unavailable { path, what: ON_PURPOSE.into() }),
            CommitFailure::Unknown => catalog.fail_next(unknown(path)),
            CommitFailure::UnknownButKept => catalog.fail_next_but_keep(unknown(path)),
        }
    });
}

/// What breaks when commits fail, one after another.
pub fn find_by_failing_commits(setup: Setup) -> Option<Broken> {
    // Each run that fails a commit which comes; counted with the rule kept.
    let commits = run(Setup { sabotage: icecore::testing::Sabotage::default(), ..setup }, |_| {}).asked.2;
    (0..commits).find_map(|at| run(setup, |world| fail_commits(world, at, 1, CommitFailure::Refused)).broken)
}

#[test]
fn every_commit_fails() {
    let mut cases = Vec::new();
    for seed in 1..12 {
        let setup = Setup { directories: 1, ..Setup::of(seed) };
        for at in 0..run(setup, |_| {}).asked.2 {
            cases.extend([1, 3].iter().flat_map(|&times| COMMIT_FAILURES.map(|failure| (setup, at, times, failure))));
        }
    }
    all(&cases, |&(setup, at, times, failure)| run(setup, |world| fail_commits(world, at, times, failure)));
}
