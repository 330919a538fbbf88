//! Three disks under load of sixteen writers; something happens to one; afterwards it is well again.

use std::path::PathBuf;
use std::sync::Mutex;

use icecore::log::DirectoryState;
use icecore::{Log, SyncMode};

use crate::disks::{Disk, Misfortune};
use crate::load::{self, Acknowledged, WRITERS, append_to_all, compare, nothing_is_lost};
use crate::namespace::inside;

const EACH: u64 = 300;

fn fails_under_load(misfortune: Misfortune, sync: SyncMode) {
    let below = tempfile::tempdir().unwrap();
    let disks: Vec<Disk> = ["one", "two", "three"].map(|name| Disk::new(below.path(), name)).into();
    let places: Vec<PathBuf> = disks.iter().map(|disk| disk.point.clone()).collect();
    let failing = &disks[1];
    let log = Log::open(load::options(&places, sync)).unwrap();
    let acknowledged = Mutex::new(Acknowledged::default());
    load::write(&log, &acknowledged, EACH, EACH * WRITERS / 3, || failing.befalls(misfortune));

    // Every writer went on, with one error at most for an append; and all of it can be read.
    let states = log.directory_states();
    assert!(matches!(states[1].2, DirectoryState::Failed(_)), "{states:?}");
    assert!(states.iter().all(|state| state.1 == failing.point || state.2 == DirectoryState::Healthy), "{states:?}");
    let unreadable: &[&PathBuf] = if misfortune.can_be_read() { &[] } else { &[&failing.point] };
    let whole = compare(&log, &acknowledged.lock().unwrap(), unreadable);
    assert_eq!(append_to_all(&log, &acknowledged, "in the open log", &[]), Vec::<String>::new());
    log.close().unwrap_or_else(|error| panic!("{}", load::told(&error)));
    drop(log);

    // The next process finds the disk as it is.
    let names = failing.names_if_readable(misfortune);
    let log = Log::open(load::options(&places, sync)).unwrap_or_else(|error| panic!("{}", load::told(&error)));
    nothing_is_lost(&log);
    assert_eq!(append_to_all(&log, &acknowledged, "with the failed disk", &[]), Vec::<String>::new());
    compare(&log, &acknowledged.lock().unwrap(), unreadable);
    log.close().unwrap();
    drop(log);
    assert_eq!(failing.names_if_readable(misfortune), names, "something was made in a mount point");

    // It is well again.
    failing.restore(misfortune);
    let log = Log::open(load::options(&places, sync)).unwrap_or_else(|error| panic!("{}", load::told(&error)));
    nothing_is_lost(&log);
    assert_eq!(append_to_all(&log, &acknowledged, "with the restored disk", &[]), Vec::<String>::new());
    let acknowledged = acknowledged.into_inner().unwrap();
    assert_eq!(compare(&log, &acknowledged, &[]), acknowledged.by_collection.len());
    log.close().unwrap();
    println!(
        "{misfortune:?}, {sync}: {} records of {WRITERS} writers in {} collections, {} appends tried twice; {whole} collections readable \
         as a whole meanwhile",
        acknowledged.records(),
        acknowledged.by_collection.len(),
        acknowledged.retried
    );
}

impl Disk {
    fn names_if_readable(&self, misfortune: Misfortune) -> Vec<String> {
        let is_empty = matches!(misfortune, Misfortune::UnmountedLazily | Misfortune::TornAway);
        if is_empty { self.names() } else { Vec::new() }
    }
}

#[test]
fn unmounted_lazily() {
    if inside("failing::unmounted_lazily") {
        fails_under_load(Misfortune::UnmountedLazily, SyncMode::PerBatch);
    }
}

#[test]
fn torn_away() {
    if inside("failing::torn_away") {
        fails_under_load(Misfortune::TornAway, SyncMode::PerBatch);
    }
}

#[test]
fn read_only() {
    if inside("failing::read_only") {
        fails_under_load(Misfortune::ReadOnly, SyncMode::PerBatch);
    }
}

#[test]
fn dead() {
    if inside("failing::dead") {
        fails_under_load(Misfortune::Dead, SyncMode::PerBatch);
    }
}

#[test]
fn full() {
    if inside("failing::full") {
        fails_under_load(Misfortune::Full, SyncMode::PerBatch);
    }
}

#[test]
fn every_misfortune_without_a_sync_for_each_append() {
    if inside("failing::every_misfortune_without_a_sync_for_each_append") {
        for misfortune in Misfortune::ALL {
            fails_under_load(misfortune, SyncMode::Periodic);
        }
    }
}
