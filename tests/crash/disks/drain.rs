//! A directory is drained, and the process killed, or the power cut, at every change of that.

use icecore::fs::simulated::Ailment;
use icecore::{ErrorKind, SyncMode};

use super::cases::setup;
use super::look::{Ailing, look};
use super::moments::Moments;
use super::run;
use crate::model::{COLLECTIONS, Promise, name};
use crate::workload::{Broken, PLACES, Setup, Step, World, steps, told};

/// What the drained disk is like for the process behind the killed one.
#[derive(Clone, Copy, Debug)]
enum Then {
    Well,
    Ails(Ailment),
}

/// Drains `place` in the middle of a run; returns how many images were looked at, and how many collections moved.
fn drain(setup: Setup, place: usize, then: Then) -> Result<(u64, u64), Broken> {
    let ailing: Vec<Ailing> = match then {
        Then::Well => Vec::new(),
        Then::Ails(ailment) => vec![Ailing { place: PLACES[place], ailment }],
    };
    let moments = Moments::new(setup, ailing, 1);
    let mut world = World::new(setup);
    world.open(Promise::Durable)?;
    let all = steps(&setup, 60, false);
    let mut moved = 0;
    for (number, step) in all.iter().filter(|step| **step != Step::Reopen).enumerate() {
        if number == 30 {
            let log = world.log.clone().ok_or("closed")?;
            let (id, _) = log.directories()[place].clone();
            let from = world.fs.changes();
            moments.watch(&world, from..u64::MAX);
            let report = log.move_away(&id, "drained in a test").map_err(|error| told("cannot drain", &error))?;
            if let Some(kept) = report.kept.first() {
                return Err(format!("a collection was kept on healthy disks: {kept:?}"));
            }
            moved = report.moved;
            look(&log, &world.model(), &[], Promise::Written).map_err(|what| format!("drained: {what}"))?;
        }
        if let Some(error) = world.act(step)? {
            return Err(told(&format!("step {number} {step:?}: an error on healthy disks"), &error));
        }
        if number == 34 {
            moments.stop(&world);
        }
        if let Some(what) = moments.broken() {
            return Err(format!("step {number} {step:?}: {what}"));
        }
    }
    let log = world.log.clone().ok_or("closed")?;
    log.maintain().map_err(|error| told("cannot maintain", &error))?;
    let (id, _) = log.directories()[place].clone();
    for (collection, shown) in COLLECTIONS.into_iter().enumerate() {
        let assigned = log.catalog().assignment("wal", &name(collection)).map_err(|error| error.to_string())?;
        if assigned.is_some_and(|assigned| assigned.directory == id) {
            return Err(format!("collection `{shown}` is still assigned to the drained directory"));
        }
    }
    // Everybody goes on without the drained disk, though what was sealed there cannot be read.
    log.close().map_err(|error| told("cannot close", &error))?;
    let fs = world.fs.kill_image();
    world.abandon(fs);
    world.fs.fail_place_now(PLACES[place], Ailment::Unmounted);
    let ailing = [Ailing { place: PLACES[place], ailment: Ailment::Unmounted }];
    if place > 0 {
        let log = run::open(&world, &ailing)?;
        look(&log, &world.model(), &ailing, Promise::Durable)?;
        world.opened(log);
        let refused = run::after(&mut world, &ailing)?;
        if refused > 0 {
            return Err(format!("`{refused}` collections need the drained disk to go on"));
        }
    }
    Ok((moments.finish().0, moved))
}

#[test]
fn killed_while_a_directory_is_drained() {
    let modes = [SyncMode::PerBatch, SyncMode::Periodic, SyncMode::Always, SyncMode::Never];
    let thens = [
        Then::Well,
        Then::Ails(Ailment::Unmounted),
        Then::Ails(Ailment::Dead),
        Then::Ails(Ailment::ReadOnly),
        Then::Ails(Ailment::Full),
    ];
    let (mut images, mut moved) = (0, 0);
    for seed in 0..20 {
        let (place, then) = (seed as usize % 3, thens[seed as usize % thens.len()]);
        let setup = setup(100 + seed, modes[seed as usize % 4]);
        match drain(setup, place, then) {
            Ok((looked, collections)) => (images, moved) = (images + looked, moved + collections),
            Err(what) => panic!("seed {}, place {place}, then {then:?}: {what}", 100 + seed),
        }
    }
    println!("drains: {moved} collections moved, {images} images");
    assert!(moved > 20 && images > 100);
}

#[test]
fn the_last_directory_is_not_drained() {
    let setup = setup(1, SyncMode::PerBatch);
    let mut world = World::new(setup);
    world.open(Promise::Durable).unwrap();
    let log = world.log.clone().unwrap();
    let ids: Vec<String> = log.directories().into_iter().map(|(id, _)| id).collect();
    log.move_away(&ids[0], "one").unwrap();
    log.move_away(&ids[1], "two").unwrap();
    assert_eq!(log.move_away(&ids[2], "three").unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(log.move_away("nobody", "no").unwrap_err().kind(), ErrorKind::NotFound);
    for step in steps(&setup, 30, false).iter().filter(|step| **step != Step::Reopen) {
        assert!(world.act(step).unwrap().is_none());
    }
}
