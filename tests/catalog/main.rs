//! The proofs that need processes: a change of the catalog that returned is there, none is half there, whatever ends the
//! process, the power or the other processes beside it. On every engine that is built in.
//!
//! - `workload`: the changes that are made, a function of seed and step
//! - `answers`: what a catalog answers, to compare with the model (the catalog in memory)
//! - `child`: what the other processes do; a test runs itself again as one
//! - `kills`: SIGKILL at random points, and what the next process finds
//! - `readers`: processes that read are killed in the middle of it
//! - `trace`: the system calls of a child, parsed
//! - `syscalls`: a sync comes before every return
//! - `replay`: the system calls done again on the simulated disk, and the power cut there
//! - `power`: whatever a power cut leaves, opens and holds what was promised
//!
//! `ICECORE_CATALOG_KILLS` sets how often each engine's writer is killed (1,000), `ICECORE_CATALOG_CUTS` how many distinct states
//! are opened after power cuts (1,000), `ICECORE_CATALOG_SEED` repeats a run.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "real files and processes, seen from outside")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod answers;
mod child;
mod kills;
mod place;
#[cfg(target_os = "linux")]
mod power;
mod readers;
#[cfg(target_os = "linux")]
mod replay;
#[cfg(target_os = "linux")]
mod syscalls;
#[cfg(target_os = "linux")]
mod trace;
mod workload;

use icecore::catalog::Engine;

/// The engines of this program, each named by what it prints.
fn engines() -> Vec<Engine> {
    let built: Vec<_> = Engine::ALL.into_iter().filter(|engine| engine.is_built()).collect();
    assert!(!built.is_empty(), "no engine is built in: nothing would be tested");
    built
}

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}=`{text}` is no number")))
}

/// The seed of a test; printed, so that it can be repeated, but for the moments at which kills come.
fn seed(test: &str) -> u64 {
    let seed = number("ICECORE_CATALOG_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("ICECORE_CATALOG_SEED={seed} ({test})");
    seed
}
