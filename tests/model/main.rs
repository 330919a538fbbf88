//! The whole log against a `Vec` for each collection: whatever is done to it in whatever order, every answer is that of a
//! plain list, and a crash costs no more than the durability mode allows.
//!
//! - `steps`: what can be done, and how it is drawn
//! - `world`: the log and the lists, and what each must answer
//!
//! A failure prints the shortest list of steps that shows it, and its seed goes to `proptest-regressions`.

#![allow(clippy::unwrap_used)] // clippy knows tests by their attribute, not the helpers beside them

mod steps;
mod world;

use icecore::testing::{Rule, Sabotage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use steps::{Setup, Step, setup, step};
use world::World;

const STEPS_MAX: usize = 80;

fn run(setup: Setup, steps: &[Step]) {
    let mut world = World::new(setup);
    for step in steps {
        world.act(step);
    }
    world.check_everything();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_log_is_a_list_for_each_collection(setup in setup(), steps in vec(step(), 1..STEPS_MAX)) {
        run(setup, &steps);
    }
}

/// The model finds logs that break their word.
#[test]
fn a_broken_rule_shows() {
    for rule in [Rule::SyncBeforeAcknowledging, Rule::DirectorySync, Rule::RotationSyncs] {
        let config =
            ProptestConfig { cases: 2000, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() };
        let outcome = TestRunner::new(config).run(&(setup(), vec(step(), 1..STEPS_MAX)), |(setup, steps)| {
            run(Setup { sabotage: Sabotage::of(rule), ..setup }, &steps);
            Ok(())
        });
        assert!(matches!(outcome, Err(TestError::Fail(..))), "{rule:?}: {outcome:?}");
    }
}
