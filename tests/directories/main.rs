//! Several directories on real disks: one is unmounted, read-only, dead or full under load, or not there at the start; and a
//! process that is killed while collections move.
//!
//! - `namespace`: a test runs itself again where its mounts are its own, and gone when it ends, however it ends
//! - `disks`: ext4 in files, and what can happen to them
//! - `load`: sixteen writers, what they were told, and the comparison with what is there
//! - `failing`: a disk fails under load, and comes back
//! - `missing`: a disk is not there at the start
//! - `broken`: a file system below one path of which nothing can be written
//! - `kills`: SIGKILL in the middle of a move or a drain
//!
//! The mounts need root, `unshare`, `mount`, `mkfs.ext4`, `python3` and loop devices. Where they cannot be had the tests say so, and
//! with `CI=true` they fail.
//! `ICECORE_DIRECTORIES_KILLS` sets how often a process is killed (150), `ICECORE_DIRECTORIES_SEED` repeats a run.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "real files and processes, seen from outside")]
#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not the helpers beside them")]

mod broken;
mod disks;
mod failing;
mod kills;
mod load;
mod missing;
mod namespace;

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}=`{text}` is no number")))
}

/// The seed of a test; printed, so that it can be repeated, but for what threads and the system do.
fn seed(test: &str) -> u64 {
    let seed = number("ICECORE_DIRECTORIES_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("ICECORE_DIRECTORIES_SEED={seed} ({test})");
    seed
}
