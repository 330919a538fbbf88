//! Cuts the power at every change of the disk and every commit, and looks at what is left.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use icecore::catalog::memory::MemoryCatalog;
use icecore::clock::{Clock, FakeClock};
use icecore::fs::SimulatedFileSystem;
use icecore::fs::simulated::Cut;
use icecore::log::compact::CompactOptions;
use icecore::{AppendOptions, Log, NewRecord, SyncMode, Timestamp};

use crate::kept::Kept;
use crate::model::{COLLECTIONS, Found, Model, Promise, name};
use crate::points::{self, Points};
use crate::stored::{self, Delivery};
use crate::workload::{Broken, Setup, World, check_report, read_all, told};

/// How hard to look.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Random cuts at each operation with something unsynced.
    pub random_cuts: u64,
    /// Of so many images one is crashed again at every step of its recovery.
    pub nested_every: u64,
    /// Of so many images one is appended to, and crashed again.
    pub again_every: u64,
}

impl Effort {
    pub const USUAL: Self = Self { random_cuts: 4, nested_every: 60, again_every: 4 };
}

/// Looks at images, and remembers what it saw. Clones share everything.
#[derive(Clone)]
pub struct Probe(Arc<Shared>);

struct Shared {
    setup: Setup,
    effort: Effort,
    checked: Mutex<HashSet<(u64, u64, u64)>>,
    states: Mutex<HashSet<u64>>,
    points: Mutex<Points>,
    images: AtomicU64,
    recoveries: AtomicU64,
    /// Records that compaction removed.
    compacted: AtomicU64,
    broken: Mutex<Option<Broken>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk, the catalog and the promises at one moment.
struct Moment<'a, C> {
    fs: &'a SimulatedFileSystem,
    catalog: &'a C,
    model: &'a Model,
    /// For a crash in recovery: what recovery gives when nothing interrupts it, where nothing else may be there, and
    /// what must be.
    undisturbed: Option<&'a (Option<Found>, Promise)>,
    at: &'a str,
}

impl Probe {
    pub fn new(setup: Setup, effort: Effort) -> Self {
        Self(Arc::new(Shared {
            setup,
            effort,
            checked: Mutex::default(),
            states: Mutex::default(),
            points: Mutex::default(),
            images: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            compacted: AtomicU64::new(0),
            broken: Mutex::default(),
        }))
    }

    /// Cuts the power at every change and commit of this world from now on.
    pub fn watch<C: Kept>(&self, world: &World<C>) {
        let (probe, model, catalog) = (self.clone(), Arc::clone(&world.model), Arc::clone(&world.catalog));
        world.fs.observe(Arc::new(move |operation, fs| {
            let model = model.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let at = points::name(operation, false);
            let moment = Moment { fs, catalog: &*catalog, model: &model, undisturbed: None, at: &at };
            probe.cut(&moment, operation.index);
            locked(&probe.0.points).add(at);
        }));
        let (probe, model, fs) = (self.clone(), Arc::clone(&world.model), world.fs.clone());
        world.catalog.observe(move |catalog| {
            let model = model.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let moment = Moment { fs: &fs, catalog, model: &model, undisturbed: None, at: "catalog: commit" };
            probe.cut(&moment, fs.changes());
            locked(&probe.0.points).add("catalog: commit".into());
        });
    }

    /// Looks at what is left of a world at its end: by a kill, and by power cuts.
    pub fn aftermath<C: Kept>(&self, world: &World<C>) {
        let model = world.model().clone();
        let moment =
            Moment { fs: &world.fs, catalog: &*world.catalog, model: &model, undisturbed: None, at: "the end" };
        let seed = self.0.setup.seed ^ world.fs.changes();
        self.look_at(&moment, world.fs.kill_image(), "kill", Promise::Written);
        // What a failed sync lost, no power cut keeps.
        for cut in [Cut::KeepAll, Cut::DropAll, Cut::Random { seed }, Cut::Random { seed: !seed }] {
            self.look_at(&moment, world.fs.crash_image(cut), &format!("{cut:?}"), Promise::Durable);
        }
    }

    /// What broke first.
    pub fn broken(&self) -> Option<Broken> {
        locked(&self.0.broken).clone()
    }

    pub fn note_compacted(&self, records: u64) {
        self.0.compacted.fetch_add(records, Ordering::Relaxed);
    }

    /// Records that compaction removed, in the run and behind its images.
    pub fn compacted(&self) -> u64 {
        self.0.compacted.load(Ordering::Relaxed)
    }

    /// Distinct states seen, crash points, images checked, recoveries done.
    pub fn finish(self) -> (HashSet<u64>, Points, u64, u64) {
        let states = std::mem::take(&mut *locked(&self.0.states));
        let points = std::mem::take(&mut *locked(&self.0.points));
        (states, points, self.0.images.load(Ordering::Relaxed), self.0.recoveries.load(Ordering::Relaxed))
    }

    fn cut<C: Kept>(&self, moment: &Moment<'_, C>, index: u64) {
        let pending = moment.fs.pending();
        if pending == 0 {
            return self.look(moment, Cut::KeepAll);
        }
        for cut in [Cut::DropAll, Cut::KeepAll] {
            self.look(moment, cut);
        }
        // The process is killed, the next one goes on, and only then the power is cut.
        self.look_at(moment, moment.fs.kill_image(), "kill", Promise::Written);
        if moment.undisturbed.is_none() && pending > 1 {
            self.look(moment, Cut::OnlyLast);
            self.look(moment, Cut::Prefix(pending - 1));
            self.look(moment, Cut::Prefix(pending / 2));
        }
        let count = if moment.undisturbed.is_none() { self.0.effort.random_cuts } else { 1 };
        for number in 0..count {
            let seed = self.0.setup.seed.wrapping_mul(0x9e37_79b9).wrapping_add(index * 64 + number);
            self.look(moment, Cut::Random { seed });
        }
    }

    fn look<C: Kept>(&self, moment: &Moment<'_, C>, cut: Cut) {
        // On a disk without faults, a cut that keeps everything keeps what a killed process would find.
        let least = if cut == Cut::KeepAll { Promise::Written } else { Promise::Durable };
        self.look_at(moment, moment.fs.crash_image(cut), &format!("{cut:?}"), least);
    }

    fn look_at<C: Kept>(&self, moment: &Moment<'_, C>, image: SimulatedFileSystem, cut: &str, least: Promise) {
        if locked(&self.0.broken).is_some() {
            return;
        }
        let change = moment.catalog.change_number().map_or(0, |number| number.0);
        // A killed process leaves unsynced changes behind: they are part of the state.
        let fingerprint = image.fingerprint() ^ (image.pending() as u64).rotate_left(32);
        let least = moment.undisturbed.map_or(least, |(_, least)| *least);
        if !locked(&self.0.checked).insert((fingerprint, change, moment.model.version() * 2 + least as u64 / 2)) {
            return;
        }
        locked(&self.0.states).insert(fingerprint.rotate_left(7) ^ change.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let number = self.0.images.fetch_add(1, Ordering::Relaxed);
        let kept = image.kill_image();
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let catalog = Arc::new(moment.catalog.snapshot());
            self.verify(&image, &catalog, moment, (cut, least), number)
        }));
        let broken = match looked {
            Ok(Ok(())) => return,
            Ok(Err(broken)) => broken,
            Err(panic) => format!("panicked: {}", panic_text(&*panic)),
        };
        let depth = if moment.undisturbed.is_some() { "in recovery" } else { "at work" };
        let text = format!("seed {}, {depth}, before `{}`, {cut}: {broken}", self.0.setup.seed, moment.at);
        if std::env::var_os("ICECORE_CRASH_FILES").is_some() {
            show_files(&kept);
        }
        locked(&self.0.broken).get_or_insert(text);
    }

    fn open<C: Kept>(&self, fs: &SimulatedFileSystem, catalog: &Arc<C>) -> Result<(Log, Found), Broken> {
        let clock = self.clock(&**catalog)?;
        self.open_at(fs, catalog, &clock)
    }

    /// A clock of the next process: none of another shows the same.
    fn clock<C: Kept>(&self, catalog: &C) -> Result<Arc<FakeClock>, Broken> {
        let number = self.0.recoveries.fetch_add(1, Ordering::Relaxed);
        let mut now = self.0.setup.begins().0 + 5_000_000_000;
        if self.0.setup.stored.is_any() {
            // Compaction goes by the clock: that is behind everything that the log says.
            now = now.max(stored::newest(catalog)?.0 + 1_000_000);
        }
        Ok(Arc::new(FakeClock::at(Timestamp(now + number as i64))))
    }

    fn open_at<C: Kept>(
        &self,
        fs: &SimulatedFileSystem,
        catalog: &Arc<C>,
        clock: &Arc<FakeClock>,
    ) -> Result<(Log, Found), Broken> {
        let options = self.0.setup.options(fs, catalog, Arc::clone(clock));
        let log = Log::open(options).map_err(|error| told("the log does not open", &error))?;
        check_report(&log)?;
        let found = read_all(&log)?;
        Ok((log, found))
    }

    fn verify<C: Kept>(
        &self,
        fs: &SimulatedFileSystem,
        catalog: &Arc<C>,
        moment: &Moment<'_, C>,
        (cut, least): (&str, Promise),
        number: u64,
    ) -> Result<(), Broken> {
        let untouched = (moment.undisturbed.is_none() && number.is_multiple_of(self.0.effort.nested_every))
            .then(|| (fs.kill_image(), catalog.snapshot()));
        let setup = &self.0.setup;
        if setup.stored.is_any() {
            stored::check_disk(setup, fs, &**catalog, moment.model)?;
        }
        let is_alone = moment.undisturbed.is_none();
        let without_catalog = (is_alone && self.loses_catalog(number)).then(|| fs.kill_image());
        let clock = self.clock(&**catalog)?;
        let (log, mut found) = self.open_at(fs, catalog, &clock)?;
        moment.model.check(&found, least)?;
        if setup.stored.is_any() {
            stored::check_open(setup, fs, moment.model, &found)?;
        }
        if let Some(fs) = without_catalog {
            self.lose_catalog(&fs, &clock, (moment.model, least))?;
        }
        let undisturbed = moment.undisturbed.and_then(|(undisturbed, _)| undisturbed.as_ref());
        if undisturbed.is_some_and(|undisturbed| *undisturbed != found) {
            return Err("an interrupted recovery gives something else than one that is not".into());
        }
        if let Some((fs, catalog)) = untouched {
            // After a kill, what was not synced before is lost to a power cut in recovery as to one without it.
            let at_risk = least == Promise::Written && cut == "kill";
            let undisturbed = if at_risk { (None, Promise::Durable) } else { (Some(found.clone()), least) };
            self.crash_in_recovery(&fs, catalog, moment.model, undisturbed)?;
        }
        // What recovery found and told is durable now: a power cut right behind it changes nothing.
        if number % self.0.effort.again_every == 1 || moment.undisturbed.is_some() {
            let (fs, catalog) = (fs.crash_image(Cut::DropAll), Arc::new(catalog.snapshot()));
            let (again, found_again) = self.open(&fs, &catalog)?;
            leave(&fs, again);
            if found_again != found {
                return Err("recovering again gives something else".into());
            }
        }
        let mut ends: Vec<u64> = found.iter().map(|found| found.len() as u64).collect();
        if setup.stored.is_any() {
            let mut model = moment.model.clone();
            model.settle(&found);
            self.go_on(fs, &log, &clock, (&mut model, &mut found), number)?;
            ends = (0..found.len()).map(|collection| model.end(collection, &found[collection])).collect();
        }
        if number.is_multiple_of(self.0.effort.again_every * 2) {
            log.seal(None).map_err(|error| told("cannot seal after recovery", &error))?;
        }
        for (collection, end) in ends.into_iter().enumerate().take(self.0.setup.collections) {
            append_one(&log, collection, end + 1)?;
        }
        let next = number.is_multiple_of(self.0.effort.again_every).then(|| fs.crash_image(Cut::DropAll));
        leave(fs, log);
        if let Some(fs) = next {
            let (log, after) = self.open(&fs, &Arc::new(catalog.snapshot()))?;
            leave(&fs, log);
            for (collection, (found, after)) in found.iter().zip(&after).enumerate().take(self.0.setup.collections) {
                let new = after.last().filter(|_| after.len() == found.len() + 1);
                let same = new.is_some_and(|new| *new.payload.as_deref().unwrap_or_default() == *b"one more")
                    && after[..found.len()] == found[..];
                if !same {
                    let name = COLLECTIONS[collection];
                    return Err(format!("collection `{name}`: appended to after recovery, and then not the same"));
                }
            }
        }
        Ok(())
    }

    /// Whether the catalog of an image is lost too: only what lies in files tells then what compaction removed.
    fn loses_catalog(&self, number: u64) -> bool {
        let again_every = self.0.effort.again_every;
        self.0.setup.stored.compaction.is_some() && number % again_every == 4 % again_every
    }

    fn lose_catalog(
        &self,
        fs: &SimulatedFileSystem,
        clock: &Arc<FakeClock>,
        (model, least): (&Model, Promise),
    ) -> Result<(), Broken> {
        let lost = |what: String| format!("with the catalog lost: {what}");
        let later = FakeClock::at(clock.now().saturating_add(std::time::Duration::from_secs(1)));
        let options = self.0.setup.options(fs, &Arc::<MemoryCatalog>::default(), Arc::new(later));
        let log = Log::open(options).map_err(|error| lost(told("the log does not open", &error)))?;
        let report = log.recovery();
        if !report.damaged.is_empty() || !report.losses.is_empty() {
            return Err(lost(format!("damaged={:?}, losses={:?}", report.damaged, report.losses)));
        }
        let found = read_all(&log).map_err(lost)?;
        stored::verify(&log, false).map_err(lost)?;
        leave(fs, log);
        model.check(&found, least).map_err(lost)
    }

    /// What sinks do not have yet they get from the next process, and what compaction did not do, it does.
    fn go_on(
        &self,
        fs: &SimulatedFileSystem,
        log: &Log,
        clock: &Arc<FakeClock>,
        (model, found): (&mut Model, &mut Found),
        number: u64,
    ) -> Result<(), Broken> {
        let setup = &self.0.setup;
        let again_every = self.0.effort.again_every;
        stored::verify(log, number.is_multiple_of(again_every * 4))?;
        let is_turn = |turn| number % again_every == turn % again_every;
        if setup.stored.sinks > 0 && (is_turn(1) || is_turn(2)) {
            let delivery = Delivery::new(setup, fs, log, Arc::clone(clock))?;
            if let Some(error) = delivery.flush_by_threads(None)? {
                return Err(told("cannot flush after recovery", &error));
            }
            stored::check_flushed(setup, fs, log, (model, found), true)?;
            // What is flushed stays so, whatever comes.
            let cut = fs.crash_image(Cut::DropAll);
            stored::check_disk(setup, &cut, &**log.catalog(), model)?;
        }
        if setup.stored.compaction.is_some() && (is_turn(2) || is_turn(3)) {
            model.compacts(stored::compacting(setup, log, clock.now())?);
            let report = log.compact(&CompactOptions::default(), &mut |_| true);
            let report = report.map_err(|error| told("cannot compact after recovery", &error))?;
            *found = read_all(log)?;
            let gone = model.compacted(found).map_err(|what| format!("compacted after recovery: {what}"))?;
            if !report.is_whole() || gone != report.removed().total() {
                return Err(format!("compacted after recovery: `{gone}` records went, and this is told: {report:?}"));
            }
            self.note_compacted(gone);
            stored::verify(log, false)?;
        }
        Ok(())
    }

    /// Recovers a copy of the image, and cuts the power at every step of that.
    fn crash_in_recovery<C: Kept>(
        &self,
        fs: &SimulatedFileSystem,
        catalog: C,
        model: &Model,
        undisturbed: (Option<Found>, Promise),
    ) -> Result<(), Broken> {
        let (catalog, context) = (Arc::new(catalog), Arc::new((model.clone(), undisturbed)));
        let (probe, catalog_then, context_then) = (self.clone(), Arc::clone(&catalog), Arc::clone(&context));
        fs.observe(Arc::new(move |operation, fs| {
            let at = points::name(operation, true);
            let (model, undisturbed) = &*context_then;
            let moment = Moment { fs, catalog: &*catalog_then, model, undisturbed: Some(undisturbed), at: &at };
            probe.cut(&moment, operation.index);
            locked(&probe.0.points).add(at);
        }));
        let (probe, fs_then) = (self.clone(), fs.clone());
        catalog.observe(move |catalog| {
            let (at, (model, undisturbed)) = ("recovery: catalog: commit", &*context);
            let moment = Moment { fs: &fs_then, catalog, model, undisturbed: Some(undisturbed), at };
            probe.cut(&moment, fs_then.changes());
            locked(&probe.0.points).add(at.into());
        });
        let opened = self.open(fs, &catalog);
        fs.observe_no_more();
        let (log, _) = opened?;
        leave(fs, log);
        Ok(())
    }
}

/// Lets a log go without the work of closing it: its disk is not looked at any more.
fn leave(fs: &SimulatedFileSystem, log: Log) {
    fs.observe_no_more();
    fs.stop_after(0);
    drop(log);
}

fn append_one(log: &Log, collection: usize, expected: u64) -> Result<(), Broken> {
    let options = AppendOptions { sync: Some(SyncMode::PerBatch), ..AppendOptions::default() };
    let appended = log.append_batch(&name(collection), &[NewRecord::payload("one more")], options);
    let receipt = appended.map_err(|error| told("cannot append after recovery", &error))?;
    if receipt.first.0 != expected {
        let name = COLLECTIONS[collection];
        return Err(format!("collection `{name}`: next is `{}`, and should be `{expected}`", receipt.first));
    }
    Ok(())
}

/// Shows the disk that broke the promise.
fn show_files(fs: &SimulatedFileSystem) {
    use icecore::fs::{FileSystem, OpenMode};
    for (path, _, len) in fs.files() {
        println!("{len:>8}  {}", path.display());
        if path.to_string_lossy().contains("/.journal/")
            && let Ok(file) = fs.open(&path, OpenMode::Read)
            && let Ok(scan) = icecore::journal::scan(&*file, None)
        {
            let held: Vec<_> = scan.runs.iter().map(|run| (run.collection.as_str(), run.first.0, run.count)).collect();
            let (groups, end, durable_to) = (scan.groups, scan.end, scan.durable_to);
            println!("          groups={groups} end={end} durable_to={durable_to} tail={:?} {held:?}", scan.tail);
            println!("          {:?}", scan.open);
        }
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}
