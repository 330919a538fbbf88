//! A writer is killed at a random point, again and again on the same file: what it had been told is there, and no group is
//! there in part. Sometimes this process looks next, sometimes the next writer recovers, and is killed in that.

use icecore::ChangeNumber;
use icecore::catalog::{CatalogMode, Engine};

use crate::answers::{compare_all, compare_newest, digest, told};
use crate::child::{Child, Said, Task, act};
use crate::place::{catalog_in, in_memory, on_disk};
use crate::workload::Model;
use crate::{engines, number, seed};

/// So often a catalog is killed before a new one begins: its files grow, and so does what is compared.
const KILLS_OF_ONE: u64 = 125;
/// Behind so many kills every answer is compared.
const ALL_EVERY: u64 = 20;

/// How it went.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    changes: u64,
    applies: u64,
    /// Kills before the catalog was open.
    opening: u64,
    /// Kills behind which the newest group was there though nobody had been told.
    unsaid: u64,
    /// Kills behind which the next writer was the first to open.
    recovered_by_child: u64,
    compared: u64,
}

/// One catalog, and all that was promised of it.
struct Life<'a> {
    engine: Engine,
    path: &'a std::path::Path,
    model: Model,
    /// The newest change that somebody was told of.
    told: ChangeNumber,
    /// The newest change before the last kill.
    compared: ChangeNumber,
}

impl Life<'_> {
    /// A change number that a process found by opening; `said`: what it found there.
    fn found(&mut self, number: ChangeNumber, said: u32) -> Result<(), String> {
        if number < self.told {
            return Err(format!("lost: change `{}` was returned, the newest is `{number}`", self.told));
        }
        self.model.advance_to(number)?;
        self.told = number;
        let expected = digest(&self.model.catalog).map_err(|error| told(&error))?;
        if said == expected { Ok(()) } else { Err(format!("at change `{number}` it answers otherwise than the model")) }
    }

    fn heard(&mut self, said: Said, tally: &mut Tally) -> Result<(), String> {
        match said {
            Said::Opened(number, digest) => {
                tally.unsaid += u64::from(number > self.told);
                self.found(number, digest)
            }
            Said::Returned(number) => {
                tally.applies += 1;
                let expected = self.model.advance();
                self.told = number;
                if number == expected { Ok(()) } else { Err(format!("returned `{number}`, should be `{expected}`")) }
            }
            Said::Opening | Said::Closed | Said::Copied(_) | Said::Looked(_) => Ok(()),
        }
    }

    /// Opens the catalog in this process, and compares.
    fn compare(&mut self, mode: CatalogMode, all: bool, tally: &mut Tally) -> Result<(), String> {
        let catalog = self.engine.open(self.path, mode).map_err(|error| format!("does not open: {}", told(&error)))?;
        let number = catalog.change_number().map_err(|error| told(&error))?;
        tally.unsaid += u64::from(number > self.told);
        self.found(number, digest(&*catalog).map_err(|error| told(&error))?)?;
        compare_newest(&*catalog, &self.model, self.compared)?;
        self.compared = number;
        if all {
            tally.compared += 1;
            compare_all(&*catalog, &self.model)?;
        }
        Ok(())
    }

    /// Lets a writer begin, and kills it.
    fn kill(&mut self, test: &str, random: &mut fastrand::Rng, tally: &mut Tally) -> Result<(), String> {
        let task = Task::Write { seed: self.model.seed(), until: u64::MAX, reopen_every: random.u64(3..15) };
        let mut child = Child::spawn(test, self.engine, self.path, &task);
        // So many lines, and then somewhere before the next: while it opens, applies or closes.
        let lines = if random.u8(0..4) == 0 { random.u64(1..3) } else { random.u64(2..24) };
        let mut is_open = false;
        for _ in 0..lines {
            let Some(said) = child.hear() else { break };
            is_open |= matches!(said, Said::Opened(..));
            self.heard(said, tally)?;
        }
        for _ in 0..1_u64 << random.u32(0..18) {
            std::hint::spin_loop();
        }
        for said in child.kill()? {
            is_open |= matches!(said, Said::Opened(..));
            self.heard(said, tally)?;
        }
        tally.kills += 1;
        tally.opening += u64::from(!is_open);
        Ok(())
    }
}

fn kill_often(test: &str, engine: Engine, seed: u64, kills: u64) -> Result<Tally, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut tally, mut lives) = (Tally::default(), 0);
    while tally.kills < kills {
        // On a disk most of the time goes by in syncs: kills come between what is written and what is told.
        let directory = if lives % 4 == 3 { on_disk() } else { in_memory() };
        lives += 1;
        let path = catalog_in(directory.path(), engine);
        let model = Model::new(random.u64(..));
        let mut life = Life { engine, path: &path, model, told: ChangeNumber(0), compared: ChangeNumber(0) };
        let until = (tally.kills + KILLS_OF_ONE).min(kills);
        while tally.kills < until {
            let at = tally.kills + 1;
            life.kill(test, &mut random, &mut tally).map_err(|what| format!("kill {at}: {what}"))?;
            let all = at.is_multiple_of(ALL_EVERY) || at == until;
            if !all && random.bool() {
                tally.recovered_by_child += 1;
                continue;
            }
            // A reader alone is not asked to make a catalog where none was made yet.
            let mode = if all || life.told == ChangeNumber(0) || random.bool() {
                CatalogMode::Create
            } else {
                CatalogMode::ReadOnly
            };
            life.compare(mode, all, &mut tally).map_err(|what| format!("after kill {at}, {mode:?}: {what}"))?;
        }
        tally.changes += life.told.0;
    }
    Ok(tally)
}

#[test]
fn a_killed_writer_loses_nothing_and_leaves_no_half() {
    if act() {
        return;
    }
    let kills = number("ICECORE_CATALOG_KILLS").unwrap_or(1000);
    let test = "kills::a_killed_writer_loses_nothing_and_leaves_no_half";
    let seed = seed(test);
    std::thread::scope(|scope| {
        let runs: Vec<_> = engines()
            .into_iter()
            .map(|engine| (engine, scope.spawn(move || kill_often(test, engine, seed ^ engine as u64, kills))))
            .collect();
        for (engine, run) in runs {
            match run.join().unwrap() {
                Ok(tally) => {
                    println!("{engine}: {tally:?}");
                    assert!(kills < 200 || tally.opening > 0, "no kill came while it was opened: {engine}: {tally:?}");
                }
                Err(what) => panic!("{engine}, seed {seed}: {what}"),
            }
        }
    });
}
