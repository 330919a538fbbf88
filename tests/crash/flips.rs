//! Every byte of a small data directory is damaged, one at a time: harmless, or told; never served as data, never a panic.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use icecore::catalog::memory::MemoryCatalog;
use icecore::clock::FakeClock;
use icecore::fs::EntryKind;
use icecore::{AppendOptions, Log, NewRecord, ReadOptions, Record, SyncMode};

use crate::model::{FEW, Found, Promise, name};
use crate::probe::panic_text;
use crate::workload::{Broken, Setup, Step, World, read_all, told};

/// A log with a hot and a cold journal and segments, closed in good order; what it holds.
fn world() -> (World, Found) {
    let setup = Setup { sync: SyncMode::PerBatch, directories: 1, ..Setup::of(1) };
    let mut world = World::new(setup);
    world.open(Promise::Durable).expect("a new log opens");
    let append = |collection, len| Step::Append { collection, lengths: vec![len; 2], sync: None };
    let mut steps = vec![append(0, 900), append(1, 300), Step::Seal(Some(0)), append(2, 120), append(3, 40)];
    // Journals pile up, until the small remainders are cooled.
    for round in 0..16 {
        steps.extend([append(0, 4900), append(1 + round % 3, 50), append(0, 4900), Step::Maintain]);
    }
    steps.extend([append(3, 60), append(0, 200), append(4, 10)]);
    for step in steps {
        let failed = world.act(&step).expect("no promise is broken");
        assert!(failed.is_none(), "{failed:?}");
    }
    let found = read_all(world.log.as_ref().expect("it is open")).expect("it can be read");
    let (fs, ..) = world.end(&Step::Reopen);
    world.abandon(fs);
    (world, found)
}

/// What one damaged byte did: whether it cost records.
fn look(world: &World, path: &Path, offset: u64, expected: &Found) -> Result<bool, Broken> {
    let (fs, catalog) = (world.fs.kill_image(), Arc::new(world.catalog.snapshot()));
    fs.flip(path, offset, 1 << (offset % 8)).map_err(|error| error.to_string())?;
    let clock = Arc::new(FakeClock::at(world.setup.begins().saturating_add(std::time::Duration::from_secs(9000))));
    let log = match Log::open(world.setup.options(&fs, &catalog, clock)) {
        Ok(log) => log,
        // Refused, and named: nothing is served.
        Err(error) if error.to_string().contains(&*path.to_string_lossy()) => return Ok(true),
        Err(error) => return Err(told("the log does not open, and does not say because of which file", &error)),
    };
    let mut costly = false;
    for (collection, expected) in expected.iter().enumerate().take(FEW) {
        costly |= read_and_append(&log, &catalog, collection, expected)?;
    }
    Ok(costly)
}

fn read_and_append(
    log: &Log,
    catalog: &Arc<MemoryCatalog>,
    collection: usize,
    expected: &[Record],
) -> Result<bool, Broken> {
    let name = name(collection);
    let reader = log.read(&name, ReadOptions::default()).map_err(|error| told("no reader", &error))?;
    let (mut given, mut errors) = (BTreeSet::new(), Vec::new());
    // An error names what cannot be read, and the reader goes on behind.
    for next in reader {
        match next {
            Ok(record) => {
                if expected.get(record.sequence.0 as usize - 1) != Some(&record) {
                    return Err(format!("collection `{name}`: damage was served as sequence `{}`", record.sequence));
                }
                given.insert(record.sequence.0);
            }
            Err(error) => errors.push(error.to_string()),
        }
        if errors.len() > expected.len() + 1 {
            return Err(format!("collection `{name}`: the reader does not come to an end: {errors:?}"));
        }
    }
    let mut told_of = Vec::new();
    let losses = icecore::catalog::Catalog::losses(&**catalog, Some(&name)).map_err(|error| error.to_string())?;
    told_of.extend(losses.iter().map(|loss| (loss.first.0, loss.last.0)));
    for damaged in log.recovery().damaged.iter().filter(|damaged| damaged.collection.as_ref() == Some(&name)) {
        told_of.extend(damaged.first_sequence.zip(damaged.last_sequence).map(|(first, last)| (first.0, last.0)));
    }
    let missing: Vec<u64> = (1..=expected.len() as u64).filter(|sequence| !given.contains(sequence)).collect();
    let untold = missing.iter().find(|sequence| !told_of.iter().any(|(first, last)| (first..=last).contains(sequence)));
    if let Some(untold) = untold.filter(|_| errors.is_empty()) {
        return Err(format!("collection `{name}`: `{untold}` is missing, and nothing tells of it"));
    }
    let options = AppendOptions { sync: Some(SyncMode::PerBatch), ..AppendOptions::default() };
    match log.append_batch(&name, &[NewRecord::payload("new")], options) {
        Ok(receipt) if receipt.first.0 <= expected.len() as u64 => {
            Err(format!("collection `{name}`: sequence `{}` was given out again", receipt.first))
        }
        _ => Ok(!missing.is_empty()),
    }
}

#[test]
fn every_damaged_byte_is_harmless_or_told() {
    let (world, expected) = world();
    let mut segments = 0;
    let files: Vec<(PathBuf, u64)> = world
        .fs
        .files()
        .into_iter()
        .filter(|(path, kind, _)| *kind == EntryKind::File && path.extension().is_some_and(|end| end == "avro"))
        .map(|(path, _, len)| (path, len))
        .filter(|(path, _)| {
            segments += u32::from(!path.to_string_lossy().contains("/.journal/"));
            // Two segments are as good as all.
            path.to_string_lossy().contains("/.journal/") || segments <= 2
        })
        .collect();
    let has = |what: &str| files.iter().any(|(path, _)| path.to_string_lossy().contains(what));
    assert!(has("/.journal/cold-") && has("/.journal/0") && has("/audit/"), "{files:?}");
    assert!(expected.iter().take(FEW).all(|found| !found.is_empty()));
    let places: Vec<(&Path, u64)> =
        files.iter().flat_map(|(path, len)| (0..*len).map(move |offset| (&**path, offset))).collect();
    let (next, costly, broken) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some((path, offset)) = places.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let looked = catch_unwind(AssertUnwindSafe(|| look(&world, path, *offset, &expected)))
                        .unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
                    match looked {
                        Ok(cost) => costly.fetch_add(u64::from(cost), Ordering::Relaxed),
                        Err(what) => {
                            let what = format!("{} at {offset}: {what}", path.display());
                            broken.lock().unwrap().get_or_insert(what);
                            return;
                        }
                    };
                }
            });
        }
    });
    println!("{} bytes damaged, {} cost records", places.len(), costly.load(Ordering::Relaxed));
    assert_eq!(broken.into_inner().unwrap(), None);
    assert!(costly.into_inner() > 1000, "the flips must have hit records");
}
