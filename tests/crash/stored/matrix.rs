//! One flush, one compaction, and both beside a move of collections: the power is cut at every change of them, and each image recovers, and is cut again
//! in that.

use std::sync::{Arc, PoisonError};

use icecore::fs::SimulatedFileSystem;
use icecore::{Log, SyncMode};

use super::{KEEPS, SinkRule, Stored, compacting};
use crate::model::{COLLECTIONS, Promise, name};
use crate::probe::{Effort, Probe};
use crate::workload::{Broken, Setup, Step, World, read_all, told};

const EFFORT: Effort = Effort { random_cuts: 4, nested_every: 40, again_every: 3 };
/// Of a case with thousands of changes.
const WIDE: Effort = Effort { random_cuts: 2, nested_every: 600, again_every: 12 };

/// Looks at one log.
pub type Case = fn(Setup) -> Result<Seen, Broken>;

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    states: usize,
    images: u64,
    recoveries: u64,
    compacted: u64,
}

impl Seen {
    fn tell(&self, what: &str) {
        let Self { states, images, recoveries, compacted } = self;
        println!(
            "{what}: {states} distinct states of {images} images, {recoveries} recoveries, {compacted} records compacted away"
        );
    }

    fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.images += other.images;
        self.recoveries += other.recoveries;
        self.compacted += other.compacted;
    }
}

fn append(collection: usize, lengths: &[usize]) -> Step {
    Step::Append { collection, lengths: lengths.to_vec(), sync: None }
}

/// Does the steps, on a disk without faults.
fn go(world: &mut World, steps: &[Step]) -> Result<(), Broken> {
    for step in steps {
        let failed = if *step == Step::Reopen {
            let (fs, least, failed) = world.end(step);
            world.abandon(fs);
            world.open(least)?;
            failed
        } else {
            world.act(step)?
        };
        if let Some(error) = failed {
            return Err(told(&format!("{step:?}: an error on a disk without faults"), &error));
        }
    }
    Ok(())
}

fn prepared(setup: Setup, steps: &[Step]) -> Result<World, Broken> {
    let mut world = World::new(setup);
    world.open(Promise::Durable)?;
    go(&mut world, steps)?;
    Ok(world)
}

/// Does what `act` does, cut at every change.
fn cut(world: World, act: impl FnOnce(&mut World) -> Result<(), Broken>) -> Result<Seen, Broken> {
    cut_with(EFFORT, world, act)
}

fn cut_with(
    effort: Effort,
    mut world: World,
    act: impl FnOnce(&mut World) -> Result<(), Broken>,
) -> Result<Seen, Broken> {
    let probe = Probe::new(world.setup, effort);
    probe.watch(&world);
    let acted = act(&mut world);
    let broken = probe.broken();
    world.fs.observe_no_more();
    probe.aftermath(&world);
    let broken = broken.or_else(|| probe.broken());
    world.abandon(SimulatedFileSystem::new());
    let compacted = probe.compacted() + world.compacted;
    let (states, _, images, recoveries) = probe.finish();
    broken.map_or(acted, Err)?;
    Ok(Seen { states: states.len(), images, recoveries, compacted })
}

/// Sinks have a part; of the rest some is sealed, some in the journal only.
pub fn flush(setup: Setup) -> Result<Seen, Broken> {
    let mut steps = vec![append(0, &[40, 900]), append(1, &[300; 3]), append(2, &[20]), Step::Flush(None)];
    steps.extend([
        append(0, &[2500, 2500]),
        append(1, &[10]),
        Step::Seal(Some(0)),
        append(0, &[60; 4]),
        append(3, &[1200]),
    ]);
    cut(prepared(setup, &steps)?, |world| go(world, &[Step::Flush(None)]))
}

/// What is sealed is delivered, while the rest is in the journal only.
pub fn delivery(setup: Setup) -> Result<Seen, Broken> {
    let steps = [append(0, &[40, 900]), append(1, &[300; 3]), Step::Seal(None), append(0, &[60; 4]), append(1, &[90])];
    cut(prepared(setup, &steps)?, |world| go(world, &[Step::Deliver]))
}

/// Versions, tombstones, what expires and small neighbours.
fn to_compact(collections: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for round in 0..4 {
        for collection in 0..collections {
            steps.extend([append(collection, &[40 + collection; 3]), append(collection, &[300, 20])]);
            if round != 1 {
                steps.push(Step::Delete { collection });
            }
        }
        steps.extend([Step::Seal(None), Step::Pause(std::time::Duration::from_secs(2000))]);
    }
    // Behind it no journal has any of it.
    steps.extend([Step::Flush(None), Step::Reopen]);
    steps
}

/// What goes, and where the results end, is known from another log that goes through the same.
pub fn compaction(setup: Setup) -> Result<Seen, Broken> {
    let steps = to_compact(2);
    let mut twin = prepared(setup, &steps)?;
    let log = twin.log.clone().ok_or("closed")?;
    let before = read_all(&log)?;
    go(&mut twin, &[Step::Compact { read: false }])?;
    let after = read_all(&log)?;
    let goes = before.iter().zip(&after).enumerate().map(|(collection, (before, after))| {
        let gone = before.iter().filter(|record| !after.contains(record)).map(|record| record.sequence.0).collect();
        let rows = log.catalog().segments_from(&name(collection), icecore::Sequence::FIRST, usize::MAX);
        Ok((gone, rows.map_err(|error| error.to_string())?.iter().map(|row| row.key.last.0).collect()))
    });
    let goes = goes.collect::<Result<Vec<_>, Broken>>()?;
    cut(prepared(setup, &steps)?, |world| {
        let log = world.log.clone().ok_or("closed")?;
        let mut compacting = compacting(&setup, &log, icecore::clock::Clock::now(&*world.clock))?;
        compacting.goes = Some(goes);
        let failed = world.compact_as(&log, compacting, false, &mut || {})?;
        failed.map_or(Ok(()), |error| Err(told("cannot compact", &error)))
    })
}

/// Compaction comes before sinks have what it could take: it waits for them.
pub fn compaction_before_sinks(setup: Setup) -> Result<Seen, Broken> {
    let mut steps = to_compact(2);
    steps.retain(|step| !matches!(step, Step::Flush(_)));
    let act = [Step::Compact { read: false }, Step::Flush(None), Step::Compact { read: true }];
    cut(prepared(setup, &steps)?, |world| go(world, &act))
}

/// Compaction comes before journals are released.
pub fn compaction_before_release(setup: Setup) -> Result<Seen, Broken> {
    let mut steps = to_compact(2);
    steps.retain(|step| *step != Step::Reopen);
    cut(prepared(setup, &steps)?, |world| go(world, &[Step::Compact { read: false }]))
}

/// What a tombstone hides lies in another directory: neither goes for the other.
pub fn compaction_behind_a_move(setup: Setup) -> Result<Seen, Broken> {
    let mut steps = to_compact(2);
    // Of some two dozen keys there is any, and the last word of none is that it is deleted.
    steps.extend([append(0, &[30; 24]), append(1, &[30; 24]), Step::Flush(None), Step::Reopen]);
    let mut world = prepared(setup, &steps)?;
    let log = world.log.clone().ok_or("closed")?;
    for (id, _) in log.directories().iter().take(1) {
        log.move_away(id, "drained in a test").map_err(|error| told("cannot drain", &error))?;
    }
    drop(log);
    let mut steps = vec![Step::Delete { collection: 0 }, Step::Delete { collection: 1 }, Step::Flush(None)];
    steps.extend([Step::Pause(std::time::Duration::from_secs(100)), Step::Reopen]);
    go(&mut world, &steps)?;
    cut(world, |world| go(world, &[Step::Compact { read: false }]))
}

/// While a sink takes a batch, the collections of a directory move to others; while the log is compacted, their segments follow; and both again.
fn beside_a_move(setup: Setup) -> Result<Seen, Broken> {
    let mut steps = to_compact(setup.collections);
    steps.extend((0..setup.collections).map(|collection| append(collection, &[400, 30])));
    cut_with(WIDE, prepared(setup, &steps)?, |world| {
        let log = world.log.clone().ok_or("closed")?;
        let (id, _) = log.directories()[0].clone();
        let delivery = world.delivery.as_ref().ok_or("no sinks")?;
        let keeps = delivery.all.iter().find(|sink| icecore::sink::Sink::name(&***sink) == KEEPS).ok_or("no sink")?;
        let keeps = Arc::clone(keeps);
        let (moving, from) = (log.clone(), id.clone());
        let between = move || {
            let moved = moving.move_away(&from, "drained in a test").expect("a healthy disk");
            assert!(moved.moved > 0 && moved.kept.is_empty(), "{moved:?}");
        };
        *keeps.between.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(between));
        go(world, &[Step::Flush(None)])?;
        if keeps.between.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Err("nothing was delivered while collections could have moved".into());
        }
        let mut calls = 0;
        let compacting = compacting(&setup, &log, icecore::clock::Clock::now(&*world.clock))?;
        let mut meanwhile = || {
            calls += 1;
            if calls == 3 {
                relocate(&log, &id);
            }
        };
        if let Some(error) = world.compact_as(&log, compacting, true, &mut meanwhile)? {
            return Err(told("cannot compact", &error));
        }
        let rest: Vec<Step> = (0..setup.collections).map(|collection| append(collection, &[50])).collect();
        go(world, &rest)?;
        go(world, &[Step::Flush(None), Step::Compact { read: false }, Step::Maintain])
    })
}

fn relocate(log: &Log, id: &str) {
    let drained = log.relocate_segments(id, &mut |_| true).expect("a healthy disk");
    assert!(drained.segments > 0, "{drained:?}");
}

fn with(seed: u64, stored: Stored) -> Setup {
    Setup { sync: SyncMode::PerBatch, directories: 1, stored, ..Setup::of(seed) }
}

/// A log that compacts by one of the policies.
pub fn compacts(policy: u64, sinks: usize, directories: usize) -> Setup {
    let stored = Stored { sinks, compaction: Some(Stored::policy(policy)), broken: None };
    Setup { directories, ..with(40 + policy, stored) }
}

/// A log that flushes to sinks.
pub fn flushes(broken: Option<SinkRule>) -> Setup {
    with(1, Stored { sinks: 3, compaction: None, broken })
}

#[test]
fn every_change_of_a_flush() {
    let mut seen = Seen::default();
    for (sinks, sync) in [(1, SyncMode::PerBatch), (3, SyncMode::PerBatch), (3, SyncMode::Never)] {
        let setup = Setup { sync, ..with(1, Stored { sinks, ..Stored::default() }) };
        let of = flush(setup).unwrap_or_else(|what| panic!("{sinks} sinks, {sync}: {what}"));
        seen.add(&of);
    }
    seen.tell("a flush");
    assert!(seen.states > 300, "{seen:?}");
}

#[test]
fn every_change_of_a_compaction() {
    let mut seen = Seen::default();
    for number in 0..4 {
        let stored = Stored { compaction: Some(Stored::policy(number)), ..Stored::default() };
        let of = compaction(with(20 + number, stored)).unwrap_or_else(|what| panic!("policy {number}: {what}"));
        assert!(number == 2 || of.compacted > 100, "policy {number}: {of:?}");
        seen.add(&of);
    }
    let cases: [(&str, Setup, Case); 3] = [
        ("before sinks", compacts(0, 3, 1), compaction_before_sinks),
        ("before release", compacts(0, 0, 1), compaction_before_release),
        ("behind a move", compacts(3, 0, 2), compaction_behind_a_move),
    ];
    for (what, setup, case) in cases {
        seen.add(&case(setup).unwrap_or_else(|broken| panic!("{what}: {broken}")));
    }
    seen.tell("a compaction");
    assert!(seen.states > 300, "{seen:?}");
}

#[test]
fn every_change_of_a_flush_and_a_compaction_beside_a_move() {
    let stored = Stored { sinks: 3, compaction: Some(Stored::policy(0)), broken: None };
    let setup = Setup { directories: 3, collections: COLLECTIONS.len(), ..with(30, stored) };
    let seen = beside_a_move(setup).unwrap_or_else(|what| panic!("{what}"));
    seen.tell("a flush and a compaction beside a move");
    assert!(seen.states > 300, "{seen:?}");
}
