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

use proptest::prelude::*;

use steps::{setup, step};
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_log_is_a_list_for_each_collection(setup in setup(), steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new(setup);
        for step in &steps {
            world.act(step);
        }
        world.check_everything();
    }
}
