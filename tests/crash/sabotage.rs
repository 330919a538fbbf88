//! One rule broken at a time: the suite must find each, or it finds nothing.

use icecore::SyncMode;
use icecore::fs::simulated::{Errno, Failure, Fault};
use icecore::testing::{Rule, Sabotage};

use crate::probe::Effort;
use crate::stored::SinkRule;
use crate::stored::matrix::{self, Case};
use crate::workload::{Broken, Setup};
use crate::{crashes, faults};

/// What the crash suite says of a log that breaks `rule`; the first seed of so many that finds it.
fn found_by_power_cuts(rule: Rule, seeds: u64) -> Option<Broken> {
    let sabotage = Sabotage::of(rule);
    (0..seeds).find_map(|seed| crashes::run(Setup { sabotage, ..Setup::of(seed) }, Effort::USUAL).1)
}

fn must_be_found(rule: impl std::fmt::Debug, broken: Option<Broken>) {
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

#[test]
fn a_cursor_before_its_data_is_found() {
    let rule = SinkRule::DataBeforeCursor;
    must_be_found(rule, matrix::flush(matrix::flushes(Some(rule))).err());
}

#[test]
fn a_cursor_before_the_name_of_its_data_is_found() {
    let rule = SinkRule::NameBeforeCursor;
    must_be_found(rule, matrix::flush(matrix::flushes(Some(rule))).err());
}

/// What is looked at with sinks or compaction, of a log that breaks `rule`.
fn found_in(rule: Rule, look: Case, setup: Setup) {
    must_be_found(rule, look(Setup { sabotage: Sabotage::of(rule), ..setup }).err());
}

/// Only where an append is acknowledged without a sync is there anything to deliver too early.
#[test]
fn delivering_what_is_not_durable_is_found() {
    let setup = Setup { sync: SyncMode::Never, ..matrix::flushes(None) };
    found_in(Rule::DurableBeforeSinks, matrix::delivery, setup);
}

#[test]
fn telling_of_a_cursor_before_the_sink_has_it_is_found() {
    found_in(Rule::SinkBeforeCursor, matrix::flush, matrix::flushes(None));
}

#[test]
fn flushed_by_the_first_of_several_sinks_is_found() {
    found_in(Rule::EverySinkBeforeFlushed, matrix::flush, matrix::flushes(None));
}

#[test]
fn a_row_before_the_compacted_segment_is_found() {
    found_in(Rule::ResultBeforeRow, matrix::compaction, matrix::compacts(0, 0, 1));
}

#[test]
fn a_compacted_segment_that_does_not_answer_for_its_end_is_found() {
    found_in(Rule::ResultCovers, matrix::compaction, matrix::compacts(1, 0, 1));
}

#[test]
fn compacting_what_a_sink_does_not_have_is_found() {
    found_in(Rule::SinksBeforeCompaction, matrix::compaction_before_sinks, matrix::compacts(0, 3, 1));
}

#[test]
fn a_tombstone_that_goes_before_what_it_hides_is_found() {
    found_in(Rule::TombstonesStay, matrix::compaction_behind_a_move, matrix::compacts(3, 0, 2));
}
