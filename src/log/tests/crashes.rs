//! Crashes that once broke a promise, each as small as it gets. The crash suite found them; it tries everything else.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{name, put};
use crate::catalog::CatalogError;
use crate::catalog::memory::MemoryCatalog;
use crate::clock::FakeClock;
use crate::fs::SimulatedFileSystem;
use crate::fs::simulated::{Cut, Errno, Failure, Fault, Operation, OperationKind};
use crate::types::Timestamp;
use crate::{ErrorKind, Log, LogOptions};

/// A disk with its catalog: what the next process finds.
struct Machine {
    fs: SimulatedFileSystem,
    catalog: Arc<MemoryCatalog>,
    directories: Vec<&'static str>,
}

impl Machine {
    fn new() -> Self {
        Self { fs: SimulatedFileSystem::new(), catalog: Arc::default(), directories: vec!["/data"] }
    }

    fn after(&self, fs: SimulatedFileSystem) -> Self {
        Self { fs, catalog: Arc::new(self.catalog.snapshot()), directories: self.directories.clone() }
    }

    fn after_power_cut(&self) -> Self {
        self.after(self.fs.crash_image(Cut::DropAll))
    }

    fn try_open(&self) -> crate::Result<Log> {
        let mut options = LogOptions::new(&self.directories);
        options.fs = Arc::new(self.fs.clone());
        options.catalog = Some(self.catalog.clone());
        // Every process draws ids of its own.
        options.clock = Arc::new(FakeClock::at(Timestamp(fastrand::i64(1..1 << 48))));
        options.background = false;
        options.limits.journal_bytes = 64 << 10;
        options.limits.memtable_bytes = 24 << 10;
        Log::open(options)
    }

    fn open(&self) -> Log {
        self.try_open().unwrap()
    }

    /// Opens after a crash: nothing is damaged, and `c` holds exactly the sequences from 1 to `last`.
    fn open_with(&self, last: u64) -> Log {
        let log = self.open();
        assert_eq!((&log.recovery().damaged, &log.recovery().losses), (&vec![], &vec![]));
        assert_eq!(sequences(&log), (1..=last).collect::<Vec<_>>());
        log
    }

    /// What `cut` makes of this machine before each operation that `wanted` picks, while `work` goes on.
    fn at_each(
        &self,
        wanted: impl Fn(&Operation, &SimulatedFileSystem) -> bool + Send + Sync + 'static,
        cut: impl Fn(&SimulatedFileSystem) -> SimulatedFileSystem + Send + Sync + 'static,
        work: impl FnOnce(),
    ) -> Vec<Self> {
        let images = Arc::new(Mutex::new(Vec::new()));
        let (taken, catalog) = (Arc::clone(&images), Arc::clone(&self.catalog));
        self.fs.observe(Arc::new(move |operation, fs| {
            if wanted(operation, fs) {
                taken.lock().unwrap().push((cut(fs), catalog.snapshot()));
            }
        }));
        work();
        self.fs.observe_no_more();
        let images = std::mem::take(&mut *images.lock().unwrap());
        let machine = |(fs, catalog)| Self { catalog: Arc::new(catalog), ..self.after(fs) };
        images.into_iter().map(machine).collect()
    }
}

fn sequences(log: &Log) -> Vec<u64> {
    log.contents(&name("c")).map_or(Vec::new(), |found| found.iter().map(|record| record.sequence.0).collect())
}

fn append(log: &Log, bytes: usize) {
    log.append(&name("c"), put(vec![7; bytes])).unwrap();
}

/// The row of an adopted segment and `sealed_through` were two commits: between them its records counted twice.
#[test]
fn a_crash_while_a_segment_is_adopted_counts_no_record_twice() {
    let machine = Machine::new();
    let log = machine.open();
    (0..5).for_each(|_| append(&log, 10));
    let before = machine.catalog.snapshot();
    log.seal(None).unwrap();
    let next = Machine { catalog: Arc::new(before), ..machine.after(machine.fs.kill_image()) };
    let images = Arc::new(Mutex::new(Vec::new()));
    let (taken, fs) = (Arc::clone(&images), next.fs.clone());
    next.catalog.observe(move |catalog| taken.lock().unwrap().push((fs.kill_image(), catalog.snapshot())));
    next.open_with(5);
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(!images.is_empty());
    for (fs, catalog) in images {
        Machine { catalog: Arc::new(catalog), ..next.after(fs) }.open_with(5);
    }
}

/// OPEN told of a journal's end with a MARK that no sync covered.
#[test]
fn a_mark_that_a_power_cut_takes_is_no_loss() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, 40 << 10);
    log.maintain().unwrap();
    let images = machine.at_each(|_, _| true, |fs| fs.crash_image(Cut::OnlyLast), || append(&log, 40 << 10));
    assert!(images.len() > 8, "the append rotates");
    for image in images {
        let log = image.open();
        assert!(log.recovery().damaged.is_empty() && log.recovery().losses.is_empty(), "{:?}", log.recovery());
        assert!(sequences(&log).starts_with(&[1]));
    }
}

/// The directories that had no identity yet were taken for strangers.
#[test]
fn a_half_made_log_of_two_directories_is_made_again() {
    for changes in 0.. {
        let machine = Machine { directories: vec!["/one", "/two"], ..Machine::new() };
        machine.fs.stop_after(changes);
        let done = machine.try_open().is_ok();
        for fs in [machine.fs.kill_image(), machine.fs.crash_image(Cut::KeepAll)] {
            append(&machine.after(fs).open(), 10);
        }
        if done {
            assert!(changes > 20);
            return;
        }
    }
}

/// With less than half of a limit used nothing was pressing, and nothing was sealed for a batch that did not fit.
#[test]
fn a_batch_that_fits_only_after_sealing_gets_its_room() {
    let log = Machine::new().open();
    append(&log, 9 << 10);
    append(&log, 17 << 10);
    assert_eq!(sequences(&log), [1, 2]);
}

/// "Already exists" was taken for "durable".
#[test]
fn a_folder_made_by_a_killed_run_outlives_a_power_cut() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, 10);
    let folder_is_new = |operation: &Operation, fs: &SimulatedFileSystem| {
        operation.kind == OperationKind::SyncDir
            && operation.path == Path::new("/data")
            && fs.files().iter().any(|(path, ..)| path == Path::new("/data/c"))
    };
    let images = machine.at_each(folder_is_new, SimulatedFileSystem::kill_image, || drop(log.seal(None)));
    assert_eq!(images.len(), 1);
    let log = images[0].open_with(1);
    log.seal(None).unwrap();
    images[0].after_power_cut().open_with(1);
}

/// The next run gave a freed file a new header, while a power cut could still give it its old name.
#[test]
fn a_journal_that_a_killed_run_freed_never_comes_back_with_another_header() {
    let machine = Machine::new();
    let log = machine.open();
    append(&log, 10);
    let frees = machine.at_each(
        |operation, _| operation.kind == OperationKind::SyncDir && operation.path.ends_with(".journal"),
        SimulatedFileSystem::kill_image,
        || {
            append(&log, 50 << 10);
            append(&log, 50 << 10);
            log.seal(None).unwrap();
        },
    );
    assert!(
        frees.iter().any(|image| image.fs.files().iter().any(|(path, ..)| path.to_string_lossy().contains("/free-")))
    );
    for killed in frees {
        for cut in killed.at_each(|_, _| true, |fs| fs.crash_image(Cut::DropAll), || drop(killed.open())) {
            let log = cut.open();
            assert!(log.recovery().damaged.is_empty() && log.recovery().losses.is_empty(), "{:?}", log.recovery());
        }
    }
}

/// The file was taken for a free one of full length, which it was only in the page cache.
#[test]
fn a_journal_file_whose_making_failed_is_not_used_again() {
    let seen = Machine::new();
    let making = |operation: &Operation, _: &SimulatedFileSystem| {
        operation.kind == OperationKind::SyncAll && operation.path.to_string_lossy().contains("/new-")
    };
    let index = seen.at_each(making, Clone::clone, || drop(seen.open())).len();
    assert!(index > 0);
    for at in 0..seen.fs.changes() {
        let machine = Machine::new();
        machine.fs.fail(Fault::once(at, Failure::Error(Errno::Eio)));
        let log = machine.try_open().unwrap_or_else(|_| machine.open());
        if log.append(&name("c"), put("1")).is_ok() {
            machine.after_power_cut().open_with(1);
        }
    }
}

/// The next process counted groups that the system showed and had given up writing.
#[test]
fn what_is_recovered_after_a_failed_sync_outlives_a_power_cut() {
    for more in 0..4 {
        let machine = Machine::new();
        let log = machine.open();
        (0..=more).for_each(|_| append(&log, 10));
        machine.fs.fail(Fault::once(machine.fs.changes() + 1, Failure::Error(Errno::Eio)));
        let failed = log.append(&name("c"), put("unknown")).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::OutcomeUnknown);
        let next = machine.after(machine.fs.kill_image());
        let log = next.open();
        let recovered = sequences(&log).len() as u64;
        next.after_power_cut().open_with(recovered);
    }
}

/// A commit that was made and said "unknown" left its records in the segment and in the memtable.
#[test]
fn a_seal_whose_commit_has_an_unknown_outcome_looks() {
    let machine = Machine::new();
    let log = machine.open();
    (0..3).for_each(|_| append(&log, 10));
    log.maintain().unwrap();
    let unknown = CatalogError::OutcomeUnknown { path: "memory".into(), source: "on purpose".into() };
    machine.catalog.fail_next_but_keep(unknown);
    assert_eq!(log.seal(None).unwrap(), 1);
    append(&log, 10);
    assert_eq!(sequences(&log), [1, 2, 3, 4]);
    assert_eq!(log.seal(None).unwrap(), 1);
    machine.after_power_cut().open_with(4);
}

/// The second try sealed more under another name, and the first file, without a row, stood in the way of opening.
#[test]
fn a_segment_without_a_row_that_a_longer_one_replaced_is_set_aside() {
    let machine = Machine::new();
    let log = machine.open();
    (0..3).for_each(|_| append(&log, 10));
    log.maintain().unwrap();
    machine.catalog.fail_next(CatalogError::Unavailable { path: "memory".into(), what: "on purpose".into() });
    assert!(log.seal(None).is_err());
    append(&log, 10);
    assert_eq!(log.seal(None).unwrap(), 1);
    machine.after_power_cut().open_with(4);
}
