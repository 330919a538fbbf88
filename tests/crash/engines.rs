//! The same with a catalog of each real engine: at every state the files of the catalog are found as the killed process left
//! them, and opened by the engine.

use std::sync::Arc;

use icecore::catalog::Engine;

use crate::crashes::{cut_until, number, run_with};
use crate::kept::EngineCatalog;
use crate::probe::Effort;
use crate::workload::Setup;

/// Fewer states of each run, and more runs: an engine takes longer to open than the memory.
const EFFORT: Effort = Effort { random_cuts: 1, nested_every: 150, again_every: 4 };

fn cut(engine: Engine) {
    if !engine.is_built() {
        println!("{engine}: this program was built without it");
        return;
    }
    if let Some(seed) = number("ICECORE_CRASH_SEED") {
        let (probe, broken) = run_with(Setup::of(seed), EFFORT, Arc::new(EngineCatalog::new(engine)));
        assert_eq!(broken, None);
        println!("{engine}: seed {seed}: {} states", probe.finish().0.len());
        return;
    }
    let wanted = number("ICECORE_CRASH_ENGINE_STATES").unwrap_or(5000) as usize;
    let points = cut_until(&engine.to_string(), wanted, |seed| {
        run_with(Setup::of(seed), EFFORT, Arc::new(EngineCatalog::new(engine)))
    });
    assert!(points.0.contains_key("catalog: commit"), "{engine}: never before a commit");
}

#[test]
fn no_power_cut_breaks_a_promise_with_sqlite() {
    cut(Engine::Sqlite);
}

#[test]
fn no_power_cut_breaks_a_promise_with_mdbx() {
    cut(Engine::Mdbx);
}

#[test]
fn no_power_cut_breaks_a_promise_with_lmdb() {
    cut(Engine::Lmdb);
}
