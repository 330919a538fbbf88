//! Processes that read are killed while they do: no writer is stopped, and no file grows, for one that is not there any more.

use icecore::ChangeNumber;
use icecore::catalog::{Catalog, CatalogMode, Engine, Mutation};

use crate::answers::{compare_all, told};
use crate::child::{Child, Said, Task, act};
use crate::place::{catalog_in, in_memory, size};
use crate::workload::{Model, apply};
use crate::{engines, seed};

/// More than LMDB has slots for readers.
const KILLED_READERS: u64 = 160;
/// Each makes several pages old.
const SMALL_CHANGES: u64 = 3000;
/// What those changes may cost where pages are used again; without, they take several times as much.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

fn run(test: &str, engine: Engine, seed: u64) -> Result<String, String> {
    let (directory, mut random) = (in_memory(), fastrand::Rng::with_seed(seed));
    let path = catalog_in(directory.path(), engine);
    let mut model = Model::new(random.u64(..));
    let open = |mode| engine.open(&path, mode).map_err(|error| format!("does not open: {}", told(&error)));
    let step = |model: &mut Model, catalog: &dyn Catalog| -> Result<(), String> {
        let number = apply(catalog, model.seed(), model.step + 1).map_err(|error| told(&error))?;
        (model.advance() == number).then_some(()).ok_or_else(|| format!("returned `{number}` at step {}", model.step))
    };
    let mut catalog = open(CatalogMode::Create)?;
    for _ in 0..60 {
        step(&mut model, &*catalog)?;
    }
    let mut killed = 0;
    let mut looked = 0;
    // One stays alive while writers come and go.
    let mut witness = Child::spawn(test, engine, &path, &Task::Read);
    while witness.hear().is_some_and(|said| said != Said::Looked(1)) {}
    while killed < KILLED_READERS {
        let mut readers: Vec<_> = (0..4).map(|_| Child::spawn(test, engine, &path, &Task::Read)).collect();
        for reader in &mut readers {
            while reader.hear().is_some_and(|said| !matches!(said, Said::Opened(..))) {}
            step(&mut model, &*catalog)?;
        }
        for _ in 0..1_u64 << random.u32(0..16) {
            std::hint::spin_loop();
        }
        for reader in readers {
            looked += reader.kill()?.len();
            killed += 1;
            step(&mut model, &*catalog).map_err(|what| format!("after {killed} killed readers: {what}"))?;
        }
        if random.u8(0..4) == 0 {
            // The next writer finds what the readers left, and one that lives.
            drop(catalog);
            let task = Task::Write { seed: model.seed(), until: u64::MAX, reopen_every: u64::MAX };
            let mut writer = Child::spawn(test, engine, &path, &task);
            let mut heard: Vec<_> = (0..random.usize(1..8)).map_while(|_| writer.hear()).collect();
            heard.extend(writer.kill()?);
            for said in heard {
                if let Said::Returned(number) = said {
                    model.advance_to(number)?;
                }
            }
            catalog = open(CatalogMode::ReadWrite)?;
            let number = catalog.change_number().map_err(|error| told(&error))?;
            if number < model.number {
                return Err(format!("lost: change `{}` was returned, the newest is `{number}`", model.number));
            }
            model.advance_to(number)?;
        }
    }
    let Ok(_) = witness.kill() else { return Err("the reader that should have lived did not".to_owned()) };
    compare_all(&*catalog, &model)?;
    let before = size(&path, engine);
    for value in 0..SMALL_CHANGES {
        let change = Mutation::SetMeta { name: "small".to_owned(), value: value.to_string() };
        catalog.apply(&[change], icecore::Timestamp(0), "small").map_err(|error| told(&error))?;
    }
    let grown = size(&path, engine).saturating_sub(before);
    if grown > GROWTH_BYTES_MAX {
        return Err(format!("{SMALL_CHANGES} small changes made {before} bytes grow by {grown}"));
    }
    let found = catalog.change_number().map_err(|error| told(&error))?;
    if found != ChangeNumber(model.number.0 + SMALL_CHANGES) {
        return Err(format!("the newest change is `{found}`"));
    }
    Ok(format!(
        "{killed} readers killed, {looked} lines unheard, {} steps, {before} bytes, grown by {grown}",
        model.step
    ))
}

#[test]
fn killed_readers_neither_stop_nor_bloat_a_writer() {
    if act() {
        return;
    }
    let test = "readers::killed_readers_neither_stop_nor_bloat_a_writer";
    let seed = seed(test);
    for engine in engines() {
        match run(test, engine, seed) {
            Ok(text) => println!("{engine}: {text}"),
            Err(what) => panic!("{engine}, seed {seed}: {what}"),
        }
    }
}
