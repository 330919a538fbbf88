//! Which runs are made.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use icecore::SyncMode;
use icecore::fs::simulated::Ailment;

use super::{Case, End, Outcome, run};
use crate::crashes::number;
use crate::model::COLLECTIONS;
use crate::probe::panic_text;
use crate::workload::Setup;

/// Three disks and eight collections; nothing but the mode is as in the runs with one.
pub fn setup(seed: u64, sync: SyncMode) -> Setup {
    Setup { directories: 3, collections: COLLECTIONS.len(), sync, ..Setup::of(seed) }
}

/// Runs every case on all processors, and adds up how they went.
fn all(what: &str, cases: &[Case]) -> Outcome {
    let most = number("ICECORE_CRASH_DISKS").unwrap_or(u64::MAX) as usize;
    let only = number("ICECORE_CRASH_CASE").map(|only| only as usize);
    let (next, broken, sum) = (AtomicU64::new(0), Mutex::new(None), Mutex::new(Outcome::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(case) = cases.get(at).filter(|_| at < most) else { return };
                    if only.is_some_and(|only| only != at) {
                        continue;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| run(*case))).unwrap_or_else(|panic| {
                        let broken = Some(format!("panicked: {}", panic_text(&*panic)));
                        Outcome { broken, ..Outcome::default() }
                    });
                    let mut sum = sum.lock().unwrap();
                    sum.retried += outcome.retried;
                    sum.other_errors += outcome.other_errors;
                    sum.refused += outcome.refused;
                    sum.images += outcome.images;
                    drop(sum);
                    if let Some(what) = outcome.broken {
                        let text = format!("ICECORE_CRASH_CASE={at}: {case:?}: {what}");
                        if std::env::var_os("ICECORE_CRASH_ALL").is_some() {
                            println!("{text}\n");
                        }
                        broken.lock().unwrap().get_or_insert(text);
                        if std::env::var_os("ICECORE_CRASH_ALL").is_none() {
                            return;
                        }
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    println!(
        "{what}: {} runs, {} images at their moments, {} appends tried twice, {} refused, {} other errors",
        cases.len().min(most),
        sum.images,
        sum.retried,
        sum.refused,
        sum.other_errors
    );
    assert_eq!(broken.into_inner().unwrap(), None);
    sum
}

/// Every change of a short run finds one disk failing, in one of the ways and with one of the ends; all of them are had
/// several times over.
fn every_change(what: &str, setups: &[Setup], steps: usize, every: u64, moments_every: u64) {
    let mut cases = Vec::new();
    for (shift, setup) in setups.iter().enumerate() {
        let clean = Case {
            setup: *setup,
            steps,
            place: 0,
            ailment: Ailment::Full,
            at: u64::MAX / 2,
            end: End::Close,
            moments_every: 0,
        };
        let outcome = run(clean);
        assert_eq!((outcome.broken, outcome.retried, outcome.other_errors), (None, 0, 0), "{setup:?}");
        for at in (0..outcome.changes).step_by(every as usize) {
            for (number, ailment) in Ailment::ALL.into_iter().enumerate() {
                let turn = (at / every) as usize + number + shift;
                let (place, end) = (turn % 3, End::ALL[(turn / 3) % 4]);
                cases.push(Case { setup: *setup, steps, place, ailment, at, end, moments_every });
            }
        }
    }
    all(what, &cases);
}

#[test]
fn a_disk_fails_at_every_change() {
    let setups = [(1, SyncMode::PerBatch), (2, SyncMode::Always), (3, SyncMode::Periodic), (4, SyncMode::Never)];
    let setups = setups.map(|(seed, sync)| setup(seed, sync));
    every_change("a disk fails", &setups, 16, 1, 0);
}

#[test]
fn a_disk_fails_in_long_runs() {
    let setups: Vec<Setup> = (10..26).map(|seed| setup(seed, Setup::of(seed).sync)).collect();
    every_change("a disk fails in a long run", &setups, 70, 41, 0);
}

#[test]
fn killed_while_collections_move() {
    let setups = [(5, SyncMode::PerBatch), (6, SyncMode::Periodic), (7, SyncMode::Always)];
    let setups = setups.map(|(seed, sync)| setup(seed, sync));
    every_change("killed while collections move", &setups, 20, 13, 5);
}
