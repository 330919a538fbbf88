//! One rule of moving broken at a time: these runs must find each.

use icecore::SyncMode;
use icecore::fs::simulated::Ailment;
use icecore::testing::{Rule, Sabotage};

use super::cases::setup;
use super::run::{Case, End, run};
use crate::workload::{Broken, Setup};

/// What breaks first, when a disk fails so, in runs whose every change behind that is a moment.
fn found(rule: Rule, ailments: &[Ailment]) -> Option<Broken> {
    let of = |seed, sabotage| Setup { sabotage, ..setup(seed, SyncMode::PerBatch) };
    for seed in 1..12 {
        for (number, &ailment) in ailments.iter().enumerate() {
            for at in (40..200).step_by(23) {
                let place = (seed as usize + number) % 3;
                let case = |sabotage, moments_every| Case {
                    setup: of(seed, sabotage),
                    steps: 24,
                    place,
                    ailment,
                    at,
                    end: End::Close,
                    moments_every,
                };
                if let Some(what) = run(case(Sabotage::of(rule), 1)).broken {
                    let kept = run(case(Sabotage::default(), 1)).broken;
                    assert_eq!(kept, None, "it breaks with the rule kept too");
                    return Some(what);
                }
            }
        }
    }
    None
}

fn must_be_found(rule: Rule, ailments: &[Ailment]) {
    match found(rule, ailments) {
        Some(what) => println!("{rule:?}: {what}"),
        None => panic!("the suite does not notice that this rule is broken: {rule:?}"),
    }
}

#[test]
fn a_move_before_the_copies_is_found() {
    must_be_found(Rule::MoveBehindCopies, &[Ailment::Dead, Ailment::Unmounted, Ailment::Unwritable]);
}

#[test]
fn an_assignment_before_the_move_is_found() {
    must_be_found(Rule::AssignmentBehindMove, &[Ailment::Dead, Ailment::Unmounted, Ailment::Unwritable]);
}

#[test]
fn a_move_without_an_epoch_of_its_own_is_found() {
    must_be_found(Rule::MoveRaisesEpoch, &[Ailment::Unwritable, Ailment::Detached, Ailment::Full]);
}
