//! Killed, or the power cut, at every change while collections move from a failing disk; the next process finds it failing
//! still, and the one after it finds it well.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use icecore::catalog::memory::MemoryCatalog;
use icecore::fs::SimulatedFileSystem;
use icecore::fs::simulated::Cut;

use super::look::{Ailing, look};
use super::run::{self, Case};
use crate::model::{Model, Promise};
use crate::points;
use crate::probe::panic_text;
use crate::workload::{Broken, PLACES, World};

/// So many changes behind the failure are looked at.
const WINDOW: u64 = 120;

#[derive(Clone)]
pub struct Moments(Arc<Shared>);

struct Shared {
    case: Case,
    images: AtomicU64,
    broken: Mutex<Option<Broken>>,
}

impl Moments {
    pub fn new(case: Case) -> Self {
        Self(Arc::new(Shared { case, images: AtomicU64::new(0), broken: Mutex::default() }))
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

    /// Looks at every so many changes and commits from change number `from` on.
    pub fn watch(&self, world: &World, from: u64) {
        let every = self.0.case.moments_every;
        let offset = self.0.case.at % every;
        let (moments, model, catalog) = (self.clone(), Arc::clone(&world.model), Arc::clone(&world.catalog));
        world.fs.observe(Arc::new(move |operation, fs| {
            if (from + 1..from + WINDOW).contains(&operation.index) && operation.index % every == offset {
                let model = model.lock().unwrap_or_else(PoisonError::into_inner).clone();
                moments.cut(fs, &catalog, &model, &points::name(operation, false));
            }
        }));
        let (moments, model, fs) = (self.clone(), Arc::clone(&world.model), world.fs.clone());
        world.catalog.observe(move |catalog| {
            if (from + 1..from + WINDOW).contains(&fs.changes()) {
                let model = model.lock().unwrap_or_else(PoisonError::into_inner).clone();
                moments.cut(&fs, catalog, &model, "catalog: commit");
            }
        });
    }

    fn cut(&self, fs: &SimulatedFileSystem, catalog: &MemoryCatalog, model: &Model, at: &str) {
        let seed = fs.changes();
        let images = [
            ("kill", Promise::Written, fs.kill_image()),
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
        let case = self.0.case;
        let ailing = [Ailing { place: PLACES[case.place], ailment: case.ailment }];
        let mut world = World::with(case.setup, Arc::new(catalog.snapshot()));
        world.clock.advance(std::time::Duration::from_secs(200_000));
        world.fs = fs.clone();
        let mut promised = model.clone();
        if least == Promise::Durable {
            promised.power_was_cut();
        }
        *world.model() = promised;
        world.fs.fail_place_now(PLACES[case.place], case.ailment);
        let log = run::open(&world, &ailing)?;
        look(&log, &world.model(), &ailing, least).map_err(|what| format!("opened with {ailing:?}: {what}"))?;
        world.log = Some(log);
        run::after(&mut world, &ailing).map(drop)
    }
}
