//! One run: the steps of a seed on three disks, one of which fails at some change; the end of it; the next processes.

use std::sync::Arc;

use icecore::catalog::memory::MemoryCatalog;
use icecore::fs::simulated::{Ailment, Cut, PlaceFault};
use icecore::{ErrorKind, Log, NewRecord};

use super::look::{self, Ailing, append, check_report, look, names};
use super::moments::Moments;
use crate::model::{COLLECTIONS, Promise};
use crate::workload::{Broken, PLACES, Setup, Step, World, steps, told};

/// So many changes behind the failure are moments.
const WINDOW: u64 = 120;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Closed in good order.
    Close,
    /// The process is killed.
    Kill,
    /// The power is cut.
    PowerCut,
    /// A second disk fails too, the run goes on with the third, and is closed.
    Second,
}

impl End {
    pub const ALL: [Self; 4] = [Self::Close, Self::Kill, Self::PowerCut, Self::Second];
}

/// What one run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub setup: Setup,
    pub steps: usize,
    /// Which disk fails, how, and before which change, counted from when the log was opened.
    pub place: usize,
    pub ailment: Ailment,
    pub at: u64,
    pub end: End,
    /// Of so many changes behind that one, one is a moment at which the process is killed or the power cut; 0: none.
    pub moments_every: u64,
}

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub broken: Option<Broken>,
    /// Changes behind the first opening.
    pub changes: u64,
    /// Appends that met an error, and worked when they were tried again.
    pub retried: u64,
    /// Other calls that met an error.
    pub other_errors: u64,
    /// Appends refused by a collection that lies on the failing disk only.
    pub refused: u64,
    /// Images looked at while collections moved.
    pub images: u64,
}

/// A run, and what is found behind it.
pub fn run(case: Case) -> Outcome {
    let (world, outcome) = (World::new(case.setup), Outcome::default());
    let mut run = Run { case, world, outcome, reopened: false, ailing: Vec::new(), fails_at: 0, counted: 0 };
    let ailing = vec![Ailing { place: PLACES[case.place], ailment: case.ailment }];
    let moments = Moments::new(case.setup, ailing, case.moments_every);
    run.outcome.broken = run.all(&moments).err();
    let (images, broken) = moments.finish();
    run.outcome.images = images;
    run.outcome.broken = broken.or(run.outcome.broken);
    run.outcome
}

struct Run {
    case: Case,
    world: World,
    outcome: Outcome,
    /// What was appended before lies on disks only.
    reopened: bool,
    /// The disks that fail now.
    ailing: Vec<Ailing>,
    /// Number of this process's change that first finds the disk failing, and of the one behind what was counted.
    fails_at: u64,
    counted: u64,
}

impl Run {
    fn all(&mut self, moments: &Moments) -> Result<(), Broken> {
        let case = self.case;
        self.world.open(Promise::Durable)?;
        self.counted = self.world.fs.changes();
        self.fails_at = self.counted + case.at;
        self.fail_later(moments);
        let all = steps(&case.setup, case.steps, false);
        for (number, step) in all.iter().enumerate() {
            self.note_ailing();
            if case.end == End::Second && number * 3 > all.len() * 2 && self.ailing.len() == 1 {
                let (place, ailment) = (PLACES[(case.place + 1) % 3], case.ailment);
                // Moments know of one.
                moments.stop(&self.world);
                self.world.fs.fail_place_now(place, ailment);
                self.ailing.push(Ailing { place, ailment });
            }
            self.step(step, moments).map_err(|what| format!("step {number} {step:?}: {what}"))?;
            if let Some(what) = moments.broken() {
                return Err(format!("step {number} {step:?}: {what}"));
            }
        }
        moments.stop(&self.world);
        self.outcome.changes += self.world.fs.changes() - self.counted;
        self.note_ailing();
        self.end(moments).map_err(|what| format!("after the run: {what}"))
    }

    fn note_ailing(&mut self) {
        if self.ailing.is_empty() {
            let found = self.world.fs.ailing();
            self.ailing =
                found.iter().map(|(_, ailment)| Ailing { place: PLACES[self.case.place], ailment: *ailment }).collect();
        }
    }

    fn step(&mut self, step: &Step, moments: &Moments) -> Result<(), Broken> {
        if *step == Step::Reopen {
            return self.reopen(step, moments);
        }
        let mut failed = self.world.act(step)?;
        self.note_ailing();
        if std::env::var_os("ICECORE_CRASH_CASE").is_some() {
            let error = failed.as_ref().map(|error| told("failed", error));
            println!("{step:?}: {error:?}; ailing: {:?}, change {}", self.ailing, self.world.fs.changes());
        }
        let Some(error) = failed.take() else { return self.look() };
        if self.ailing.is_empty() {
            return Err(told("an error on disks without faults", &error));
        }
        if error.kind() == ErrorKind::OutcomeUnknown && !self.may_refuse() {
            return Err(told("a healthy disk is there, and the outcome is unknown", &error));
        }
        if matches!(step, Step::Append { .. } | Step::Many(_) | Step::Delete { .. }) {
            // What lies only on the failing disk can go nowhere, takes up memory, and its group fails with it.
            let is_of_it = names(&error.to_string(), &self.ailing)
                || matches!(error.kind(), ErrorKind::OutcomeUnknown | ErrorKind::Full);
            if self.may_refuse() && is_of_it {
                self.outcome.refused += 1;
                return self.settle_unknown();
            }
            self.outcome.retried += 1;
            let again = self.world.act(step)?;
            if let Some(again) = again {
                let what = format!("{}; and again", told("an append fails", &error));
                return Err(told(&what, &again));
            }
        } else {
            self.outcome.other_errors += 1;
        }
        self.look()
    }

    /// Finds out what came of appends whose outcome is unknown.
    fn settle_unknown(&mut self) -> Result<(), Broken> {
        let Some(log) = self.world.log.clone() else { return Ok(()) };
        let whole = self.look_at(&log, Promise::Written).map_err(|what| format!("in the open log: {what}"))?;
        for collection in (0..whole.len()).filter(|&collection| whole[collection]) {
            let last = look::see(&log, collection)?.records.len() as u64;
            self.world.model().cut_at(collection, last, Promise::Written)?;
        }
        Ok(())
    }

    /// What lies only on a disk that cannot be read keeps its collection there.
    fn may_refuse(&self) -> bool {
        self.reopened && self.ailing.iter().any(|ailing| !ailing.ailment.can_be_read())
    }

    /// Whether what was acknowledged and not synced may have gone with a disk.
    fn loses_unsynced(&self) -> bool {
        self.ailing.iter().any(|ailing| ailing.ailment.tears())
    }

    /// Where the disk begins to fail while we look, we look again.
    fn look_at(&mut self, log: &Log, least: Promise) -> Result<Vec<bool>, Broken> {
        let looked = look(log, &self.world.model(), &self.ailing, least);
        if looked.is_err() && self.ailing.is_empty() {
            self.note_ailing();
            return look(log, &self.world.model(), &self.ailing, least);
        }
        looked
    }

    fn look(&mut self) -> Result<(), Broken> {
        let Some(log) = self.world.log.clone() else { return Ok(()) };
        self.look_at(&log, Promise::Written).map(drop).map_err(|what| format!("in the open log: {what}"))
    }

    /// Ends the process, and opens the log again with the same disks failing, or one about to.
    fn reopen(&mut self, how: &Step, moments: &Moments) -> Result<(), Broken> {
        let (fs, mut least, error) = self.world.end(how);
        self.note_ailing();
        if self.loses_unsynced() && (error.is_some() || *how == Step::Kill) {
            // What was not synced is lost with the disk, where nobody noticed in time that it went.
            self.world.model().power_was_cut();
            least = Promise::Durable;
        }
        if let Some(error) = error {
            if self.ailing.is_empty() {
                return Err(told("cannot close, on disks without faults", &error));
            }
            self.outcome.other_errors += 1;
        }
        let changes = self.world.fs.changes();
        self.outcome.changes += changes - self.counted;
        (self.counted, self.fails_at) = (0, self.fails_at.saturating_sub(changes));
        self.world.abandon(fs);
        self.reopened = true;
        for ailing in &self.ailing {
            self.world.fs.fail_place_now(ailing.place, ailing.ailment);
        }
        if self.ailing.is_empty() {
            self.fail_later(moments);
        }
        let log = match open(&self.world, &self.ailing) {
            Err(what) if self.ailing.is_empty() => {
                self.note_ailing();
                if self.ailing.is_empty() {
                    return Err(what);
                }
                // It failed while the log was being opened: that may be an error once.
                self.outcome.other_errors += 1;
                open(&self.world, &self.ailing)?
            }
            opened => opened?,
        };
        let before = self.ailing.len();
        self.note_ailing();
        let whole = self.look_at(&log, least);
        if self.ailing.len() > before && self.loses_unsynced() {
            // What the process before did not sync went with the disk.
            self.world.model().power_was_cut();
            least = Promise::Durable;
        }
        let whole = if whole.is_err() && self.ailing.len() > before { self.look_at(&log, least) } else { whole }?;
        settle(&self.world, &log, &whole, least)?;
        self.world.opened(log);
        Ok(())
    }

    fn fail_later(&self, moments: &Moments) {
        let fault = PlaceFault::from(PLACES[self.case.place], self.fails_at, self.case.ailment);
        self.world.fs.fail_place(fault);
        moments.watch(&self.world, self.fails_at + 1..self.fails_at + WINDOW);
    }

    fn end(&mut self, moments: &Moments) -> Result<(), Broken> {
        self.look()?;
        let how = match self.case.end {
            End::Close | End::Second => Step::Reopen,
            End::Kill => Step::Kill,
            End::PowerCut => Step::PowerCut,
        };
        self.reopen(&how, moments).map_err(|what| format!("opened with {:?}: {what}", self.ailing))?;
        moments.stop(&self.world);
        if self.ailing.is_empty() {
            // It never came to it.
            self.world.fs.heal();
        }
        self.outcome.refused += after(&mut self.world, &self.ailing)?;
        Ok(())
    }
}

/// Opens the log; nothing may be reported.
pub fn open(world: &World<MemoryCatalog>, ailing: &[Ailing]) -> Result<Log, Broken> {
    let options = world.setup.options(&world.fs, &world.catalog, Arc::clone(&world.clock));
    let log = Log::open(options).map_err(|error| told(&format!("the log does not open, with {ailing:?}"), &error))?;
    check_report(&log)?;
    Ok(log)
}

/// What was found whole is what there is from now on.
fn settle(world: &World<MemoryCatalog>, log: &Log, whole: &[bool], least: Promise) -> Result<(), Broken> {
    for (collection, whole) in whole.iter().enumerate() {
        if *whole {
            let last = look::see(log, collection)?.records.len() as u64;
            world.model().settle_at(collection, last, least)?;
        }
    }
    Ok(())
}

/// Of an opened log with failing disks: one more record for each collection that takes one; closed; and opened again with all
/// disks well. Returns how many collections refused.
pub fn after(world: &mut World<MemoryCatalog>, ailing: &[Ailing]) -> Result<u64, Broken> {
    let mut refused = 0;
    for round in 0..2 {
        let log = world.log.clone().expect("it was opened");
        refused += append_to_all(world, &log, if round == 0 { ailing } else { &[] })?;
        let ailing = if round == 0 { ailing } else { &[] };
        look(&log, &world.model(), ailing, Promise::Durable).map_err(|what| format!("appended to: {what}"))?;
        let closed = log.close();
        if let (Err(error), true) = (&closed, ailing.is_empty()) {
            return Err(told("cannot close", error));
        }
        drop(log);
        let fs = world.fs.kill_image();
        world.abandon(fs);
        world.fs.heal();
        world.log = None;
        let log = open(world, &[]).map_err(|what| format!("with all disks well again ({round}): {what}"))?;
        // What was tried and never answered may be there or not; what was acknowledged is.
        let whole = look(&log, &world.model(), &[], Promise::Written)
            .map_err(|what| format!("with all disks well again ({round}): {what}"))?;
        settle(world, &log, &whole, Promise::Written)?;
        world.opened(log);
    }
    // What recovery did is durable.
    let cut = world.fs.crash_image(Cut::DropAll);
    world.abandon(cut);
    let log = open(world, &[])?;
    look(&log, &world.model(), &[], Promise::Durable)
        .map_err(|what| format!("after a power cut behind all: {what}"))?;
    world.fs.stop_after(0);
    Ok(refused)
}

fn append_to_all(world: &World<MemoryCatalog>, log: &Log, ailing: &[Ailing]) -> Result<u64, Broken> {
    let mut refused = 0;
    for (collection, name) in COLLECTIONS.into_iter().enumerate() {
        let record = NewRecord::payload(format!("one more, behind {}", world.model().tried(collection)));
        let mut appended = append(log, collection, &record);
        if appended.is_err() && !ailing.is_empty() {
            // One error is allowed.
            appended = append(log, collection, &record);
        }
        match appended {
            Ok(receipt) => {
                let mut model = world.model();
                model
                    .settle_at(collection, receipt.first.0 - 1, Promise::Durable)
                    .map_err(|what| format!("collection `{name}`: {what}"))?;
                let records = [record].into();
                model.begin(collection, records);
                model.acknowledge(collection, Promise::Durable);
                drop(model);
                look::unsealed_is_there(log, collection, receipt.last)
                    .map_err(|what| format!("collection `{name}` takes appends, with {ailing:?}: {what}"))?;
            }
            Err(error) if names(&error.to_string(), ailing) => refused += 1,
            Err(error) => return Err(told(&format!("collection `{name}`: cannot append after opening"), &error)),
        }
    }
    Ok(refused)
}
