//! The power is cut anywhere in the work of an engine: what the disk then has opens, holds every change that was returned
//! and no group in part, and takes more.
//!
//! A child works under `strace`; its calls are done again on the simulated disk, and cut there. Some of what is left is worked
//! on and cut again; so is some of what a killed process leaves, where not all that can be read is durable. To show that a
//! cut would find something, single syncs are taken out of the calls.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::Path;

use icecore::ChangeNumber;
use icecore::catalog::{CatalogMode, Engine};
use icecore::fs::simulated::Cut;

use crate::answers::{Answers, compare_with, told};
use crate::child::{COPY, Child, Said, Task, act};
use crate::place::{catalog_in, in_memory, on_disk};
use crate::replay::{Disk, Files, fingerprint, read, write};
use crate::trace::{Event, is_possible, is_transient, record};
use crate::workload::{Model, apply};
use crate::{engines, number, seed};

/// Steps of the first process: enough for a WAL to be put into its database.
const STEPS: u64 = 140;
const REOPEN_EVERY: u64 = 60;
/// So many of the states left are worked on and cut again.
const AGAIN: usize = 6;
/// Steps of each such process.
const STEPS_AGAIN: u64 = 8;
/// So often the process is killed, and the next one goes on.
const KILLS: usize = 6;
/// One of so many states wanted is behind a power cut, and as many are behind a kill.
const SHARE_AGAIN: usize = 5;

/// What somebody was told, so that no power cut may take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Told {
    /// The newest change.
    newest: ChangeNumber,
    /// The newest change of the copy, once there is one.
    copied: Option<ChangeNumber>,
}

impl Told {
    /// Whatever an opening found is a promise too: whoever sees it acts on it.
    fn hear(&mut self, said: &Said) {
        match said {
            Said::Opened(number, _) | Said::Returned(number) => self.newest = *number,
            Said::Copied(number) => self.copied = Some(*number),
            Said::Opening | Said::Looked(_) | Said::Closed => {}
        }
    }

    fn of(events: &[Event]) -> Self {
        let mut told = Self::default();
        for event in events {
            if let Event::Said(said) = event {
                told.hear(said);
            }
        }
        told
    }
}

/// A disk as it is when the next process begins.
type Begin<'a> = &'a dyn Fn() -> Result<Disk, String>;

/// What one engine went through.
struct Power {
    engine: Engine,
    seed: u64,
    /// The model behind each step; the first is empty.
    models: Vec<Model>,
    /// What each of them answers, once it was asked.
    answers: Vec<OnceCell<Answers>>,
    random: fastrand::Rng,
    states: HashSet<(u64, Told)>,
    points: u64,
    images: u64,
    /// States with changes that nobody was told of.
    unsaid: u64,
    /// Some of the states, to go on with.
    kept: Vec<Files>,
}

impl Power {
    fn new(engine: Engine, seed: u64) -> Self {
        let mut model = Model::new(seed);
        let mut models = vec![model.snapshot()];
        for _ in 0..STEPS + STEPS_AGAIN + 1 {
            model.advance();
            models.push(model.snapshot());
        }
        Self {
            engine,
            seed,
            answers: models.iter().map(|_| OnceCell::new()).collect(),
            models,
            random: fastrand::Rng::with_seed(seed),
            states: HashSet::new(),
            points: 0,
            images: 0,
            unsaid: 0,
            kept: Vec::new(),
        }
    }

    /// What lies in these files, and how many steps that is.
    fn found_in(&self, files: &Files) -> Result<(Told, u64), String> {
        let newest = self.open(files, Told::default())?;
        let model = self.models.iter().find(|model| model.number == newest);
        Ok((Told { newest, copied: None }, model.expect("it was looked at").step))
    }

    /// Does the events again and again, until it has looked at so many more of the states that a power cut leaves.
    fn cut(&mut self, begin: Begin<'_>, least: Told, events: &[Event], wanted: usize) -> Result<(), String> {
        let changes = events.iter().filter(|event| !matches!(event, Event::Said(_))).count();
        let wanted = self.states.len() + wanted;
        for _ in 0..10 {
            let missing = wanted.saturating_sub(self.states.len());
            if missing > 0 {
                // Each place gives a few states, most of them new.
                self.cut_some(begin()?, least, events, missing as f64 / changes as f64 / 5.0)?;
            }
        }
        Ok(())
    }

    /// Cuts the power at so large a share of the places.
    fn cut_some(&mut self, mut disk: Disk, mut told: Told, events: &[Event], share: f64) -> Result<(), String> {
        let is_first = disk.now().is_empty();
        for (at, event) in events.iter().enumerate() {
            disk.event(event)?;
            let at = format!("event {at}");
            if let Event::Said(said) = event {
                told.hear(said);
                // The hardest: nothing but what the engine made sure of.
                self.look(&disk, Cut::DropAll, told, &at)?;
                continue;
            }
            let pending = disk.pending();
            // While a catalog is made, everything is new: there is no place to leave out.
            let is_making = is_first && told == Told::default();
            if pending == 0 || (!is_making && self.random.f64() >= share) {
                continue;
            }
            self.points += 1;
            let mut cuts = vec![Cut::DropAll, Cut::KeepAll];
            cuts.extend((0..if is_making { 16 } else { 4 }).map(|_| Cut::Random { seed: self.random.u64(..) }));
            if pending > 1 {
                cuts.extend([Cut::OnlyLast, Cut::Prefix(self.random.usize(1..pending))]);
            }
            for cut in cuts {
                self.look(&disk, cut, told, &at)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, disk: &Disk, cut: Cut, told: Told, at: &str) -> Result<(), String> {
        let files = disk.after(cut);
        self.images += 1;
        if !self.states.insert((fingerprint(&files), told)) {
            return Ok(());
        }
        let found = self.open(&files, told).map_err(|what| format!("{at}, {cut:?}, {told:?}: {what}"))?;
        self.unsaid += u64::from(found > told.newest);
        // Any of them, all as likely.
        if self.kept.len() < AGAIN {
            self.kept.push(files);
        } else if self.random.usize(..self.states.len()) < AGAIN {
            self.kept[self.random.usize(..AGAIN)] = files;
        }
        Ok(())
    }

    /// A place to kill the process at, and what it had returned until then.
    fn kill_in(&mut self, events: &[Event]) -> Result<(usize, Told), String> {
        loop {
            let at = self.random.usize(1..events.len());
            let mut disk = Disk::with(&Files::new())?;
            events[..at].iter().try_for_each(|event| disk.event(event))?;
            if disk.pending() > 0 {
                return Ok((at, Told::of(&events[..at])));
            }
        }
    }

    /// Opens what is left as the next process would; the newest change that it has.
    fn open(&self, files: &Files, told: Told) -> Result<ChangeNumber, String> {
        let directory = in_memory();
        write(files, directory.path());
        let mode = if told.newest == ChangeNumber(0) { CatalogMode::Create } else { CatalogMode::ReadWrite };
        if let Some(copied) = told.copied {
            let copy = directory.path().join(self.engine.file_name(COPY));
            match self.open_file(&copy, CatalogMode::ReadWrite, copied) {
                Ok(found) if found == copied => {}
                Ok(found) => return Err(format!("the copy has `{found}`")),
                Err(what) => return Err(format!("the copy: {what}")),
            }
        }
        self.open_file(&catalog_in(directory.path(), self.engine), mode, told.newest)
    }

    fn open_file(&self, path: &Path, mode: CatalogMode, least: ChangeNumber) -> Result<ChangeNumber, String> {
        let catalog = self.engine.open(path, mode).map_err(|error| format!("does not open: {}", told(&error)))?;
        let number = catalog.change_number().map_err(|error| told(&error))?;
        if number < least {
            return Err(format!("lost: change `{least}` was returned, the newest is `{number}`"));
        }
        let step = self.models.iter().position(|model| model.number == number);
        let step = step.ok_or_else(|| format!("change `{number}` ends no group"))?;
        let expected = self.answers[step].get_or_init(|| Answers::of(&self.models[step].catalog).unwrap());
        compare_with(&*catalog, number, expected)?;
        let Some(next) = self.models.get(step + 1) else { return Ok(number) };
        let went_on = apply(&*catalog, self.seed, next.step).map_err(|error| format!("no more: {}", told(&error)))?;
        if went_on != next.number {
            return Err(format!("went on with `{went_on}`, should be `{}`", next.number));
        }
        Ok(number)
    }
}

/// What the next process does to a disk; whatever was overlooked in it would show here.
fn record_on(test: &str, engine: Engine, seed: u64, begin: Begin<'_>, until: u64) -> Result<Vec<Event>, String> {
    let directory = on_disk();
    let mut disk = begin()?;
    write(&disk.now(), directory.path());
    let task = Task::Write { seed, until, reopen_every: REOPEN_EVERY };
    let events = record(test, engine, &catalog_in(directory.path(), engine), &task)?;
    events.iter().try_for_each(|event| disk.event(event))?;
    let (replayed, real) = (disk.now(), read(directory.path()));
    if replayed != real {
        let lengths = |files: &Files| files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect::<Vec<_>>();
        return Err(format!("the replay is {:?}, and the files are {:?}", lengths(&replayed), lengths(&real)));
    }
    Ok(events)
}

fn run(test: &str, engine: Engine, seed: u64, wanted: usize) -> Result<String, String> {
    let mut power = Power::new(engine, seed);
    let record = |begin: Begin<'_>, until| record_on(test, engine, seed, begin, until);
    let empty = || Disk::with(&Files::new());
    let events = record(&empty, STEPS)?;
    let share = wanted / SHARE_AGAIN;
    power.cut(&empty, Told::default(), &events, wanted - 2 * share)?;
    let first = power.states.len();
    for (at, start) in std::mem::take(&mut power.kept).into_iter().enumerate() {
        let begin = || Disk::with(&start);
        let (least, step) = power.found_in(&start)?;
        let again = record(&begin, STEPS.min(step + STEPS_AGAIN))?;
        power
            .cut(&begin, least, &again, share / AGAIN)
            .map_err(|what| format!("behind a power cut, start {at}: {what}"))?;
    }
    let second = power.states.len();
    for _ in 0..KILLS {
        // Between two calls, with something written that is not synced.
        let (at, least) = power.kill_in(&events)?;
        let begin = || {
            let mut disk = empty()?;
            events[..at].iter().try_for_each(|event| disk.event(event))?;
            Ok(disk)
        };
        let (_, step) = power.found_in(&begin()?.now())?;
        let again = record(&begin, STEPS.min(step + STEPS_AGAIN))?;
        power
            .cut(&begin, least, &again, share / KILLS)
            .map_err(|what| format!("behind a kill before event {at}: {what}"))?;
    }
    let calls = events.iter().filter(|event| !matches!(event, Event::Said(_))).count();
    Ok(format!(
        "{} distinct states of {} images at {} places of {calls} calls and more; {} of a second power cut, {} behind a kill; \
         {} with more than was told",
        power.states.len(),
        power.images,
        power.points,
        second - first,
        power.states.len() - second,
        power.unsaid
    ))
}

#[test]
fn no_power_cut_takes_a_change_that_returned() {
    if act() || !is_possible() {
        return;
    }
    let test = "power::no_power_cut_takes_a_change_that_returned";
    let seed = seed(test);
    let wanted = number("ICECORE_CATALOG_CUTS").unwrap_or(1000) as usize;
    std::thread::scope(|scope| {
        let runs: Vec<_> = engines()
            .into_iter()
            .map(|engine| (engine, scope.spawn(move || run(test, engine, seed, wanted))))
            .collect();
        for (engine, run) in runs {
            match run.join().unwrap() {
                Ok(text) => println!("{engine}: {text}"),
                Err(what) => panic!("{engine}, seed {seed}: {what}"),
            }
        }
    });
}

/// What a process says that opens this; killed by a broken file, it says nothing, and that is an answer too.
fn opened_by_child(test: &str, engine: Engine, seed: u64, files: &Files) -> Option<(ChangeNumber, u32)> {
    let directory = in_memory();
    write(files, directory.path());
    let mut child = Child::spawn(test, engine, &catalog_in(directory.path(), engine), &Task::Check { seed });
    let mut opened = None;
    while let Some(said) = child.hear() {
        match said {
            Said::Opened(number, digest) => opened = Some((number, digest)),
            Said::Closed => return opened,
            _ => {}
        }
    }
    None
}

/// The events of one transaction in the middle, with as few syncs as there are; from behind one return to the next.
fn transaction(events: &[Event]) -> (usize, usize) {
    let returns: Vec<_> =
        events.iter().enumerate().filter(|(_, event)| matches!(event, Event::Said(_))).map(|(at, _)| at).collect();
    let between = returns.windows(2).filter(|pair| matches!(events[pair[1]], Event::Said(Said::Returned(_))));
    let syncs = |from: usize, until: usize| events[from..until].iter().filter(|event| is_sync(event)).count();
    let middle = between.skip(returns.len() / 2).map(|pair| (pair[0] + 1, pair[1]));
    middle.min_by_key(|(from, until)| syncs(*from, *until)).unwrap()
}

fn is_sync(event: &Event) -> bool {
    match event {
        Event::Sync { name } | Event::Write { name, synchronous: true, .. } => !is_transient(name),
        _ => false,
    }
}

#[test]
fn a_sync_left_out_is_found() {
    if act() || !is_possible() {
        return;
    }
    let test = "power::a_sync_left_out_is_found";
    let seed = seed(test);
    for engine in engines() {
        let directory = on_disk();
        let task = Task::Write { seed, until: 40, reopen_every: u64::MAX };
        let events = record(test, engine, &catalog_in(directory.path(), engine), &task).unwrap();
        let (from, until) = transaction(&events);
        let Event::Said(Said::Returned(told)) = events[until] else { unreachable!("ends a transaction") };
        let syncs: Vec<_> = (from..until).filter(|at| is_sync(&events[*at])).collect();
        assert!(!syncs.is_empty(), "{engine}: no sync before change `{told}` was returned");
        let good = Power::new(engine, seed);
        for left_out in std::iter::once(None).chain(syncs.into_iter().map(Some)) {
            let mut disk = Disk::with(&Files::new()).unwrap();
            for (at, event) in events[..=until].iter().enumerate() {
                match event {
                    Event::Write { name, offset, bytes, .. } if left_out == Some(at) => {
                        let (name, offset, bytes) = (name.clone(), *offset, bytes.clone());
                        disk.event(&Event::Write { name, offset, bytes, synchronous: false }).unwrap();
                    }
                    _ if left_out == Some(at) => {}
                    event => disk.event(event).unwrap(),
                }
            }
            let cuts = [Cut::DropAll].into_iter().chain((0..20).map(|at| Cut::Random { seed: seed ^ at }));
            let mut bad = cuts.filter_map(|cut| {
                let opened = opened_by_child(test, engine, seed, &disk.after(cut));
                let is_good = opened.is_some_and(|(number, digest)| {
                    let model = good.models.iter().find(|model| model.number == number);
                    number >= told
                        && model.is_some_and(|model| crate::answers::digest(&model.catalog).unwrap() == digest)
                });
                (!is_good).then(|| (cut, opened.map(|(number, _)| number)))
            });
            let found = bad.next();
            match left_out {
                None => assert_eq!(found, None, "{engine}, seed {seed}: nothing was left out"),
                Some(at) => {
                    let event = match &events[at] {
                        Event::Sync { name } => format!("sync of `{name}`"),
                        _ => "synchronous write".to_owned(),
                    };
                    println!("{engine}: without a {event}: told `{told}`, found {found:?}");
                    assert!(found.is_some(), "{engine}, seed {seed}: nobody notices that a {event} is left out");
                }
            }
        }
    }
}
