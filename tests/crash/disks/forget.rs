//! A directory is missing, is forgotten, and returns; the process is killed, or the power cut, at every change of that. What was
//! acknowledged before and meanwhile is there once, in order, when it is back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use icecore::catalog::memory::MemoryCatalog;
use icecore::clock::FakeClock;
use icecore::fs::SimulatedFileSystem;
use icecore::fs::simulated::{Ailment, Cut};
use icecore::{ErrorKind, Log, LogOptions, NewRecord, SyncMode, Timestamp};

use super::cases::setup;
use super::look::{self, append};
use crate::model::{COLLECTIONS, name};
use crate::workload::{Broken, PLACES, Setup, told};

/// A disk, a catalog, and what was acknowledged, by collection and sequence.
#[derive(Clone)]
struct State {
    setup: Setup,
    fs: SimulatedFileSystem,
    catalog: Arc<MemoryCatalog>,
    clock: Arc<FakeClock>,
    acknowledged: BTreeMap<usize, BTreeMap<u64, String>>,
}

impl State {
    fn options(&self) -> LogOptions {
        self.setup.options(&self.fs, &self.catalog, Arc::clone(&self.clock))
    }

    fn open(&self) -> Result<Log, Broken> {
        let log = Log::open(self.options()).map_err(|error| told("the log does not open", &error))?;
        let report = log.recovery();
        if !report.damaged.is_empty() || report.catalog_is_old {
            return Err(format!("recovery reports damaged={:?}, old={}", report.damaged, report.catalog_is_old));
        }
        Ok(log)
    }

    /// One more record in every collection; how many refused.
    fn append_to_all(&mut self, log: &Log, what: &str, may_refuse: bool) -> Result<u64, Broken> {
        let mut refused = 0;
        for (collection, shown) in COLLECTIONS.into_iter().enumerate() {
            let payload = format!("{what} {collection}");
            match append(log, collection, &NewRecord::payload(payload.clone())) {
                Ok(receipt) => {
                    let records = self.acknowledged.entry(collection).or_default();
                    if let Some(last) = records.keys().next_back().filter(|last| **last >= receipt.first.0) {
                        return Err(format!("`{shown}`: `{}` behind `{last}`", receipt.first));
                    }
                    records.insert(receipt.first.0, payload);
                }
                Err(error) if may_refuse && error.kind() == ErrorKind::Unavailable => refused += 1,
                Err(error) => return Err(told(&format!("{what}: cannot append"), &error)),
            }
        }
        Ok(refused)
    }

    /// Everything that was acknowledged is there, once and in order, and nothing else.
    fn check(&self, log: &Log) -> Result<(), Broken> {
        for (&collection, expected) in &self.acknowledged {
            let seen = look::see(log, collection)?;
            if let Some(error) = seen.errors.first() {
                return Err(error.clone());
            }
            let found: Vec<(u64, String)> = seen
                .records
                .iter()
                .map(|record| {
                    let payload = record.payload.as_deref().unwrap_or_default();
                    (record.sequence.0, String::from_utf8_lossy(payload).into_owned())
                })
                .collect();
            let expected: Vec<(u64, String)> = expected.clone().into_iter().collect();
            if found != expected {
                let name = COLLECTIONS[collection];
                return Err(format!("collection `{name}`: found {found:?}, acknowledged {expected:?}"));
            }
        }
        Ok(())
    }

    /// The states in which the next process finds things, at every change of what `act` does.
    fn at_each_change(&self, act: impl FnOnce(&Self)) -> Vec<Self> {
        let states = Arc::new(Mutex::new(Vec::new()));
        let keep = |this: &Self, states: &Mutex<Vec<Self>>, fs: &SimulatedFileSystem, catalog: &MemoryCatalog| {
            let seed = fs.changes();
            for fs in [fs.kill_image(), fs.crash_image(Cut::DropAll), fs.crash_image(Cut::Random { seed })] {
                let catalog = Arc::new(catalog.snapshot());
                let clock = Arc::new(FakeClock::at(Timestamp(this.clock_now() + 60_000_000 + seed as i64)));
                states.lock().unwrap().push(Self { fs, catalog, clock, ..this.clone() });
            }
        };
        let (this, kept, catalog) = (self.clone(), Arc::clone(&states), Arc::clone(&self.catalog));
        self.fs.observe(Arc::new(move |_, fs| keep(&this, &kept, fs, &catalog)));
        let (this, kept) = (self.clone(), Arc::clone(&states));
        self.catalog.observe(move |catalog| keep(&this, &kept, &this.fs, catalog));
        act(self);
        self.fs.observe_no_more();
        self.catalog.observe(|_| {});
        std::mem::take(&mut *states.lock().unwrap())
    }

    fn clock_now(&self) -> i64 {
        icecore::clock::Clock::now(&*self.clock).0
    }
}

/// A log whose directory `place` has sealed and unsealed records, and is not there any more.
fn begin(seed: u64, place: usize, closed: bool) -> Result<State, Broken> {
    let setup = setup(seed, SyncMode::PerBatch);
    let clock = Arc::new(FakeClock::at(setup.begins()));
    let mut state =
        State { setup, fs: SimulatedFileSystem::new(), catalog: Arc::default(), clock, acknowledged: BTreeMap::new() };
    let log = state.open()?;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..random.u32(2..6) {
        state.append_to_all(&log, &format!("{round} {}", "z".repeat(random.usize(0..900))), false)?;
        if random.bool() {
            log.seal(random.bool().then(|| name(random.usize(0..COLLECTIONS.len()))).as_ref())
                .map_err(|error| told("cannot seal", &error))?;
        }
        log.maintain().map_err(|error| told("cannot maintain", &error))?;
    }
    state.append_to_all(&log, "the last", false)?;
    if closed {
        log.close().map_err(|error| told("cannot close", &error))?;
    }
    let (fs, catalog) = (state.fs.kill_image(), Arc::new(state.catalog.snapshot()));
    state.fs.stop_after(0);
    drop(log);
    fs.fail_place_now(PLACES[place], Ailment::Unmounted);
    Ok(State { fs, catalog, ..state })
}

fn forget(state: &State, place: usize) -> Result<(), Broken> {
    Log::forget_directory(&state.options(), PLACES[place], &mut |_| true)
        .map(drop)
        .map_err(|error| told("cannot forget", &error))
}

fn take_back(state: &State, place: usize) -> Result<(), Broken> {
    match Log::add_directory(&state.options(), Path::new(PLACES[place])) {
        // Done before.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        outcome => outcome.map(drop).map_err(|error| told("cannot take back", &error)),
    }
}

/// Forgotten, appended to, back, and whole again.
fn forgotten_and_back(mut state: State, place: usize) -> Result<State, Broken> {
    forget(&state, place)?;
    let log = state.open()?;
    state.append_to_all(&log, "meanwhile", false)?;
    log.close().map_err(|error| told("cannot close", &error))?;
    drop(log);
    state.fs.heal();
    Ok(state)
}

/// Taken back, and everything is there.
fn whole_again(mut state: State, place: usize) -> Result<(), Broken> {
    take_back(&state, place)?;
    let log = state.open()?;
    state.check(&log)?;
    state.append_to_all(&log, "back", false)?;
    state.check(&log)?;
    log.close().map_err(|error| told("cannot close", &error))?;
    drop(log);
    state.fs = state.fs.crash_image(Cut::DropAll);
    let log = state.open()?;
    state.check(&log).map_err(|what| format!("opened again: {what}"))
}

#[test]
fn forgotten_and_back_whatever_comes_between() {
    let (mut images, mut refused) = (0, 0);
    for seed in 200..208 {
        let (place, closed) = (1 + seed as usize % 2, seed % 4 < 2);
        let mut go = || -> Result<(), Broken> {
            let mut state = begin(seed, place, closed)?;
            let log = state.open()?;
            refused += state.append_to_all(&log, "one is missing", true)?;
            log.close().map_err(|error| told("cannot close", &error))?;
            drop(log);
            let interrupted = state.at_each_change(|state| forget(state, place).unwrap());
            for (number, image) in interrupted.into_iter().enumerate().filter(|(number, _)| number % 5 == 0) {
                images += 1;
                image.fs.fail_place_now(PLACES[place], Ailment::Unmounted);
                let image = forgotten_and_back(image, place).and_then(|image| whole_again(image, place));
                image.map_err(|what| format!("forgetting, image {number}: {what}"))?;
            }
            let state = forgotten_and_back(state, place)?;
            let interrupted = state.at_each_change(|state| whole_again(state.clone(), place).unwrap());
            for (number, image) in interrupted.into_iter().enumerate().filter(|(number, _)| number % 5 == 0) {
                images += 1;
                // What the interrupted process appended is not known here.
                let outcome = take_back(&image, place).and_then(|()| image.open()).and_then(|log| {
                    for (&collection, expected) in &image.acknowledged {
                        let seen = look::see(&log, collection)?;
                        let found = |sequence: &u64| seen.records.iter().any(|record| record.sequence.0 == *sequence);
                        if let Some(lost) = expected.keys().find(|sequence| !found(sequence)) {
                            return Err(format!("collection `{}`: `{lost}` is lost", COLLECTIONS[collection]));
                        }
                    }
                    Ok(())
                });
                outcome.map_err(|what| format!("coming back, image {number}: {what}"))?;
            }
            Ok(())
        };
        if let Err(what) = go() {
            panic!("seed {seed}, place {place}, closed {closed}: {what}");
        }
    }
    println!("forgotten and back: {images} images, {refused} appends refused while it was missing");
    assert!(images > 100 && refused > 10);
}
