//! What goes, what stays, and what is interrupted.

mod crashes;
mod faults;
mod plans;
mod purges;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::archive::world::{World, append, fill, name, read_all};
use crate::archive::{ArchiveState, ArchivedSegment, Claim, Entry, chain};
use crate::catalog::{Catalog as _, SegmentStatus};
use crate::log::LegalHold;
use crate::objects::ObjectStore;
use crate::types::{Sequence, Timestamp};
use crate::{ErrorKind, Log};

const DAY: Duration = Duration::from_hours(24);

fn target(log: &Log, world: &World, store: Arc<dyn ObjectStore>) -> Target {
    let claim = Claim::take(Arc::clone(&store), log.id(), log.epoch(), world.clock.clone(), None).unwrap();
    Target { store, claim }
}

fn targets(log: &Log, world: &World) -> Targets {
    Targets { archive: Some(target(log, world, world.store.clone())), ..Targets::default() }
}

/// Names in a manifest what is archived.
fn tell(world: &World, targets: &mut Targets) {
    let rows = world.catalog.segments(None, None, 1000).unwrap();
    let archived = rows.iter().filter(|row| row.status == SegmentStatus::Archived);
    let entries = archived.map(|row| Entry::Added(ArchivedSegment::from(row))).collect();
    targets.archive.as_mut().unwrap().claim.commit(entries).unwrap();
}

fn told(world: &World) -> ArchiveState {
    let state = chain::state(&*world.store).unwrap();
    assert_eq!(state.problems(), [""; 0]);
    state
}

/// Five archived segments of a hundred records each, of which no journal knows any more, and twenty records behind them.
fn archived(world: &World) -> (Log, Targets) {
    let log = world.open();
    fill(&log, "a", 5);
    world.archive(&log);
    log.close().unwrap();
    drop(log);
    let log = world.open_whole();
    append(&log, "a", 501..=520);
    let mut targets = targets(&log, world);
    tell(world, &mut targets);
    (log, targets)
}

fn keep(log: &Log, key: &str, value: &str) {
    log.set_collection_settings(&name("a"), |settings| settings.set(key, value).unwrap()).unwrap();
}

fn planned(log: &Log, world: &World) -> Plan {
    plan(log, now(world), &PlanOptions::default()).unwrap()
}

fn now(world: &World) -> Timestamp {
    use crate::clock::Clock as _;
    world.clock.now()
}

fn hold(from: Option<u64>, until: Option<u64>) -> LegalHold {
    LegalHold {
        name: "case 7".into(),
        by: "legal".into(),
        at: Timestamp(1),
        from: from.map(Sequence),
        until: until.map(Sequence),
        note: String::new(),
    }
}
