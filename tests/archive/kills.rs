//! The process ends at every step: before and after each call of the store, before each change of the catalog.

use std::sync::{Arc, Mutex, Weak};

use icecore::catalog::{Engine, MemoryCatalog};
use icecore::testing::faulty_store::Moment;

use crate::kept::{EngineCatalog, Kept};
use crate::world::{HASTY, World, run, seal};

/// Steps, and what is left at each.
type Images<C> = Vec<(String, World<C>)>;

/// What is left at each step of one run.
fn images<C: Kept>(base: &World<C>) -> Images<C> {
    let world = Arc::new(base.image(0));
    let images: Arc<Mutex<Images<C>>> = Arc::default();
    let take = |world: &Weak<World<C>>, images: &Mutex<Images<C>>, step: String| {
        if let Some(world) = world.upgrade() {
            let number = images.lock().unwrap().len() as u64;
            let image = world.image(number);
            images.lock().unwrap().push((step, image));
        }
    };
    let log = world.open();
    let (seen, kept) = (Arc::downgrade(&world), Arc::clone(&images));
    world.store.observe(move |_, call, moment| {
        // After a call that only reads there is what was before it.
        if moment == Moment::Before || matches!(call.operation, "put" | "delete") {
            take(&seen, &kept, format!("{moment:?} {call:?}"));
        }
    });
    let (seen, kept) = (Arc::downgrade(&world), Arc::clone(&images));
    world.catalog.observe(move |_| take(&seen, &kept, "before a change of the catalog".into()));
    assert!(run(&world.archiver(&log, HASTY)).unwrap().is_complete());
    drop(world);
    drop(log);
    Arc::try_unwrap(images)
        .map_err(|_| ())
        .map_or_else(|()| panic!("somebody still watches"), |images| images.into_inner().unwrap())
}

pub fn at_every_step<C: Kept>(base: &World<C>) -> usize {
    let images = images(base);
    let count = images.len();
    for (step, (what, image)) in images.into_iter().enumerate() {
        let what = format!("killed at step {step}: {what}");
        image.must_be_sound(&what);
        image.finish(&what);
        // And nothing is left to do for the next.
        let next = image.image(1);
        let log = next.open();
        let report = run(&next.archiver(&log, HASTY)).unwrap();
        assert!(report.is_complete() && report.archived_segments == 0, "{what}: {report:?}");
        assert_eq!(next.store.calls(), [], "{what}");
    }
    count
}

fn begun<C: Kept>(catalog: C) -> World<C> {
    let world = World::new(catalog, [2, 0]);
    world.finish("the beginning");
    let world = world.image(0);
    let log = world.open();
    for collection in ["audit", "Orders/2024", "Orders/2024"] {
        seal(&log, collection);
    }
    log.close().unwrap();
    world
}

#[test]
fn killed_at_every_step_with_the_catalog_in_memory() {
    let fresh = at_every_step(&World::new(MemoryCatalog::new(), [3, 2]));
    let begun = at_every_step(&begun(MemoryCatalog::new()));
    println!("{fresh} and {begun} steps, in memory");
    assert!(fresh > 30 && begun > 20, "{fresh} {begun}");
}

#[test]
fn killed_at_every_step_with_sqlite() {
    let steps = at_every_step(&World::new(EngineCatalog::new(Engine::Sqlite), [2, 1]));
    println!("{steps} steps, sqlite");
    assert!(steps > 15, "{steps}");
}

/// Killed at every step of what comes after a kill at every step.
#[test]
fn killed_twice() {
    let mut runs = 0;
    for (first, image) in images(&World::new(MemoryCatalog::new(), [2, 1])) {
        for (second, image) in images(&image) {
            runs += 1;
            let what = format!("killed at {first}, then at {second}");
            image.must_be_sound(&what);
            image.finish(&what);
        }
    }
    println!("{runs} pairs of steps");
    assert!(runs > 300, "{runs}");
}
