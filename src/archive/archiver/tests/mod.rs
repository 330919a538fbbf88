//! What is done behind passes, on a simulated machine that is killed between any two steps; copies of a catalog in real files.

mod asks;
#[cfg(feature = "sqlite")]
mod copies;
mod evicts;
mod purges;
mod slow;

use std::sync::Arc;
use std::time::Duration;

use super::{ArchiveReport, Archiver, ArchiverOptions, TargetStore};
use crate::Log;
use crate::archive::world::World;
use crate::log::tier::EvictRules;
use crate::objects::{Meter, ObjectStore, RequestKind};

const DAY: Duration = Duration::from_hours(24);

fn by(world: &World, log: &Log, store: Arc<dyn ObjectStore>, change: impl FnOnce(&mut ArchiverOptions)) -> Archiver {
    let target = TargetStore { remote: None, url: "file:///store".into(), store };
    let mut options = ArchiverOptions { parallel: 1, clock: world.clock.clone(), ..ArchiverOptions::default() };
    change(&mut options);
    Archiver::new(log, vec![target], options).unwrap()
}

fn evicting(world: &World, log: &Log, rules: EvictRules) -> Archiver {
    by(world, log, world.store.clone(), |options| options.evict = rules)
}

fn run(archiver: &Archiver) -> ArchiveReport {
    archiver.run_once(&mut |_| true).unwrap()
}

/// As the thread does.
fn pass(archiver: &Archiver) -> ArchiveReport {
    archiver.0.pass(true, &mut |_| true).unwrap()
}

fn requests(meter: &Meter) -> u64 {
    RequestKind::ALL.iter().map(|kind| meter.usage(*kind).requests).sum()
}
