//! Killed, or the power cut, at every change while collections move from a failing disk; the next process finds it failing
//! still, and the one after it finds it well.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use icecore::catalog::memory::MemoryCatalog;
use icecore::fs::SimulatedFileSystem;
use icecore::fs::simulated::Cut;

use super::look::{Ailing, look};
use super::run;
use crate::model::{Model, Promise};
use crate::points;
use crate::probe::panic_text;
use crate::workload::{Broken, Setup, World};

/// Looks at images, and remembers what broke first. Clones share everything.
#[derive(Clone)]
pub struct Moments(Arc<Shared>);

struct Shared {
    setup: Setup,
    /// The disk that the next process finds failing.
    ailing: Vec<Ailing>,
    /// Of so many changes one is looked at.
    every: u64,
    images: AtomicU64,
    broken: Mutex<Option<Broken>>,
}

impl Moments {
    pub fn new(setup: Setup, ailing: Vec<Ailing>, every: u64) -> Self {
        Self(Arc::new(Shared { setup, ailing, every, images: AtomicU64::new(0), broken: Mutex::default() }))
    }

    pub fn broken(&self) -> Option<Broken> {
        self.0.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn finish(self) -> (u64, Option<Broken>) {
        (self.0.images.load(Ordering::Relaxed), self.broken())
    }

    pub fn stop(&self, world: &World) {
        world.fs.observe_no_more();
        world.catalog.observe(|_| {});
    }

    /// Looks at every so many changes, and at every commit, while the number of the next change is one of these.
    pub fn watch(&self, world: &World, changes: Range<u64>) {
        let every = self.0.every;
        if every == 0 || changes.is_empty() {
            return;
        }
        let offset = changes.start % every;
        let (moments, model, catalog) = (self.clone(), Arc::clone(&world.model), Arc::clone(&world.catalog));
        let range = changes.clone();
        world.fs.observe(Arc::new(move |operation, fs| {
            if range.contains(&operation.index) && operation.index % every == offset {
                let model = model.lock().unwrap_or_else(PoisonError::into_inner).clone();
                moments.cut(fs, &catalog, &model, &points::name(operation, false));
            }
        }));
        let (moments, model, fs) = (self.clone(), Arc::clone(&world.model), world.fs.clone());
        world.catalog.observe(move |catalog| {
            if changes.contains(&fs.changes()) {
                let model = model.lock().unwrap_or_else(PoisonError::into_inner).clone();
                moments.cut(&fs, catalog, &model, "catalog: commit");
            }
        });
    }

    /// A disk that is torn away loses what was written to it and not synced, whether the power is cut or not.
    fn after_kill(&self) -> Promise {
        let torn = self.0.ailing.iter().any(|ailing| ailing.ailment.tears());
        if torn { Promise::Durable } else { Promise::Written }
    }

    fn cut(&self, fs: &SimulatedFileSystem, catalog: &MemoryCatalog, model: &Model, at: &str) {
        let seed = fs.changes();
        let images = [
            ("kill", self.after_kill(), fs.kill_image()),
            ("all is dropped", Promise::Durable, fs.crash_image(Cut::DropAll)),
            ("power cut", Promise::Durable, fs.crash_image(Cut::Random { seed })),
        ];
        for (how, least, image) in images {
            if self.broken().is_some() {
                return;
            }
            self.0.images.fetch_add(1, Ordering::Relaxed);
            let looked = catch_unwind(AssertUnwindSafe(|| self.look(&image, catalog, model, least)));
            let broken = looked.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
            if let Err(broken) = broken {
                let text = format!("change {seed}, before `{at}`, {how}: {broken}");
                self.0.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
            }
        }
    }

    fn look(
        &self,
        fs: &SimulatedFileSystem,
        catalog: &MemoryCatalog,
        model: &Model,
        least: Promise,
    ) -> Result<(), Broken> {
        let (setup, ailing) = (self.0.setup, &self.0.ailing);
        let mut world = World::with(setup, Arc::new(catalog.snapshot()));
        world.clock.advance(std::time::Duration::from_secs(200_000));
        world.fs = fs.clone();
        let mut promised = model.clone();
        if least == Promise::Durable {
            promised.power_was_cut();
        }
        *world.model() = promised;
        for ailing in ailing {
            world.fs.fail_place_now(ailing.place, ailing.ailment);
        }
        let log = run::open(&world, ailing)?;
        look(&log, &world.model(), ailing, least).map_err(|what| format!("opened with {ailing:?}: {what}"))?;
        world.opened(log);
        run::after(&mut world, ailing).map(drop)
    }
}
