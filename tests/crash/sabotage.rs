//! One rule broken at a time: the suite must find each, or it finds nothing.

use icecore::SyncMode;
use icecore::fs::simulated::{Errno, Failure, Fault};
use icecore::testing::{Rule, Sabotage};

use crate::probe::Effort;
use crate::workload::{Broken, Setup};
use crate::{crashes, faults};

/// What the crash suite says of a log that breaks `rule`; the first seed of so many that finds it.
fn found_by_power_cuts(rule: Rule, seeds: u64) -> Option<Broken> {
    let sabotage = Sabotage::of(rule);
    (0..seeds).find_map(|seed| crashes::run(Setup { sabotage, ..Setup::of(seed) }, Effort::USUAL).1)
}

fn must_be_found(rule: Rule, broken: Option<Broken>) {
    match broken {
        Some(what) => println!("{rule:?}: {what}"),
        None => panic!("the suite does not notice that this rule is broken: {rule:?}"),
    }
}

#[test]
fn acknowledging_before_the_sync_is_found() {
    let rule = Rule::SyncBeforeAcknowledging;
    must_be_found(rule, found_by_power_cuts(rule, 4));
}

#[test]
fn rotation_without_a_sync_is_found() {
    let rule = Rule::RotationSyncs;
    must_be_found(rule, found_by_power_cuts(rule, 40));
}

#[test]
fn directories_without_a_sync_are_found() {
    let rule = Rule::DirectorySync;
    must_be_found(rule, found_by_power_cuts(rule, 4));
}

#[test]
fn appending_to_an_old_journal_is_found() {
    let rule = Rule::NewJournalAfterRestart;
    must_be_found(rule, found_by_power_cuts(rule, 60));
}

/// A file without a row is adopted, so a crash alone costs nothing: a commit must fail for it.
#[test]
fn release_before_the_row_is_found() {
    let rule = Rule::RowBeforeRelease;
    let setup = |seed| Setup { directories: 1, sabotage: Sabotage::of(rule), ..Setup::of(seed) };
    must_be_found(rule, (1..6).find_map(|seed| faults::find_by_failing_commits(setup(seed))));
}

#[test]
fn going_on_after_a_failed_sync_is_found() {
    let rule = Rule::FailedSyncPoisons;
    let setup = Setup { sync: SyncMode::PerBatch, directories: 1, sabotage: Sabotage::of(rule), ..Setup::of(1) };
    let changes = faults::run(setup, |_| {}).asked.0;
    let fault = |at| Fault::once(at, Failure::Error(Errno::Eio));
    must_be_found(rule, (0..changes).find_map(|at| faults::run(setup, |world| world.fs.fail(fault(at))).broken));
}
