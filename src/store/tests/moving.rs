//! The store's files and the directories that they are in: drained, away, given up. On a simulated disk that is cut off before every change.

use std::path::Path;

use super::*;
use crate::catalog::MemoryCatalog;
use crate::error::Error;
use crate::fs::simulated::{Ailment, Cut, SimulatedFileSystem};
use crate::fs::{EntryKind, FileSystem as _};
use crate::log::compact::CompactOptions;
use crate::log::directories::{ComponentFiles, ComponentMove, Drained};
use crate::log::{DirectoryState, LogOptions};
use crate::sink::{FlushReport, Sinks, SinksOptions};
use crate::{Log, ReadOptions};

/// A machine: its disks, and its catalog. Where nothing else is said, the first collection's `wal` is in `/a`, and its files in `/b`.
struct Machine {
    fs: SimulatedFileSystem,
    catalog: Arc<MemoryCatalog>,
    clock: Arc<FakeClock>,
}

/// A log that is open, with its sink.
struct Opened {
    log: Log,
    store: Arc<ColumnarStore>,
    sinks: Sinks,
}

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

impl Machine {
    fn new() -> Self {
        Self { fs: SimulatedFileSystem::new(), catalog: Arc::default(), clock: clock() }
    }

    fn options(&self) -> LogOptions {
        let mut options = LogOptions::new(["/a", "/b", "/c"]);
        options.fs = Arc::new(self.fs.clone());
        options.catalog = Some(self.catalog.clone());
        options.clock = self.clock.clone();
        options.background = false;
        options.placement_over = crate::assignment::Over::Local;
        options.limits.journal_bytes = 64 << 10;
        options.limits.memtable_bytes = 24 << 10;
        options.sinks = vec![NAME.to_owned()];
        options.components = vec![Arc::new(StoreFiles::new(Arc::new(self.fs.clone())))];
        options
    }

    fn open(&self) -> Opened {
        let log = Log::open(self.options()).unwrap();
        let of = log.clone();
        let homes = DirectoryHomes::to_write(Arc::new(self.fs.clone()), move |name| {
            let standing = of.assignment(COMPONENT, name)?;
            let assignment = standing.map_or_else(|| of.assign(COMPONENT, name), Ok)?;
            of.present_directory(&assignment.directory)
        });
        let store =
            Arc::new(ColumnarStore::new(log.id(), Arc::new(homes), self.clock.clone(), StoreOptions::default()));
        let options = SinksOptions { clock: self.clock.clone(), ..SinksOptions::default() };
        let sinks = Sinks::new(&log, vec![store.clone() as Arc<dyn Sink>], options).unwrap();
        Opened { log, store, sinks }
    }

    /// What a kill and power cuts leave before each change that `work` makes, and after the last.
    fn at_each_change(&self, work: impl FnOnce(&Self)) -> Vec<Self> {
        type Images = Mutex<Vec<(SimulatedFileSystem, MemoryCatalog)>>;
        let images: Arc<Images> = Arc::default();
        let (taken, catalog) = (Arc::clone(&images), Arc::clone(&self.catalog));
        let take = Arc::new(move |fs: &SimulatedFileSystem| {
            let cuts =
                [fs.crash_image(Cut::DropAll), fs.crash_image(Cut::Random { seed: fs.changes() }), fs.kill_image()];
            taken.lock().unwrap().extend(cuts.map(|fs| (fs, catalog.snapshot())));
        });
        let (observed, committing, disk) = (Arc::clone(&take), Arc::clone(&take), self.fs.clone());
        self.fs.observe(Arc::new(move |operation, fs| {
            if operation.kind.is_change() {
                observed(fs);
            }
        }));
        self.catalog.observe(move |_| committing(&disk));
        work(self);
        self.fs.observe_no_more();
        self.catalog.observe(|_| ());
        take(&self.fs);
        let images = std::mem::take(&mut *images.lock().unwrap());
        // Later than anything that happened: every process draws ids of its own.
        let clock = || Arc::new(FakeClock::at(Timestamp(1_700_000_000_000_000 + fastrand::i64(1 << 40..1 << 41))));
        let machine = |(fs, catalog)| Self { fs, catalog: Arc::new(catalog), clock: clock() };
        images.into_iter().map(machine).collect()
    }

    fn drain(&self, directory: &str) -> Drained {
        Log::drain_directory(&self.options(), directory, &mut |_| true).unwrap()
    }

    fn below(&self, folder: &str) -> Vec<String> {
        let files = self.fs.files().into_iter().filter(|(_, kind, _)| *kind == EntryKind::File);
        let paths = files.map(|(path, ..)| path.display().to_string());
        paths.filter(|path| path.starts_with(&format!("{folder}/"))).collect()
    }
}

impl Opened {
    fn append(&self, collection: &str, count: u64) {
        for number in 0..count {
            self.log.append(&name(collection), NewRecord::put(format!("key-{}", number % 7), "value")).unwrap();
        }
    }

    #[track_caller]
    fn flush(&self, collection: &str) -> FlushReport {
        let report = self.sinks.flush(Some(&name(collection)), &mut |_| true).unwrap();
        assert_eq!(report.failed, []);
        report
    }

    fn in_log(&self, collection: &str) -> Vec<Record> {
        self.log.read(&name(collection), ReadOptions::default()).unwrap().map(|record| record.unwrap()).collect()
    }

    fn in_store(&self, collection: &str) -> Vec<Record> {
        let Some(view) = self.store.view(&name(collection)).unwrap() else { return Vec::new() };
        view.read(Sequence(0)).map(|record| record.unwrap()).collect()
    }

    fn directory(&self, collection: &str) -> String {
        let assignment = self.log.assignment(COMPONENT, &name(collection)).unwrap().unwrap();
        self.log.present_directory(&assignment.directory).unwrap().display().to_string()
    }

    fn close(self) {
        self.log.close().unwrap();
    }
}

/// `c`, of which the store has 60 records, and the log the newest version of each of seven keys.
fn compacted() -> (Machine, Vec<Record>) {
    let machine = Machine::new();
    let opened = machine.open();
    opened.append("c", 30);
    opened.flush("c");
    opened.append("c", 30);
    opened.flush("c");
    let all = opened.in_store("c");
    let set = |settings: &mut crate::CollectionSettings| settings.set("compact.keep_versions", "1").unwrap();
    opened.log.set_collection_settings(&name("c"), set).unwrap();
    opened.close();
    // Without its sinks: they keep what it lets go.
    let log = Log::open(machine.options()).unwrap();
    log.compact(&CompactOptions::default(), &mut |_| true).unwrap();
    log.close().unwrap();
    drop(log);
    let opened = machine.open();
    assert_eq!((all.len(), opened.in_log("c").len(), opened.in_store("c").len()), (60, 7, 60));
    assert_eq!(opened.directory("c"), "/a");
    opened.close();
    (machine, all)
}

#[test]
fn what_the_log_has_no_more_goes_along_and_nothing_comes_twice() {
    let (machine, all) = compacted();
    let drained = machine.drain("/a");
    assert!(drained.is_empty() && drained.component_collections == 1 && drained.component_bytes > 0, "{drained:?}");
    assert_eq!(machine.below("/a/.store"), [""; 0]);
    assert!(machine.fs.metadata(Path::new("/a/.store")).unwrap_err().is_not_found());
    let opened = machine.open();
    assert_ne!(opened.directory("c"), "/a");
    assert_eq!(opened.in_store("c"), all);
    assert_eq!(opened.flush("c").records, 0, "it has everything");
    opened.sinks.run_once().unwrap();
    assert_eq!(opened.sinks.status()[0].records, 0);
    opened.append("c", 5);
    assert_eq!(opened.flush("c").records, 5);
    assert_eq!(opened.in_store("c").len(), 65);
    opened.close();
    let again = machine.drain("/a");
    assert!(again.is_empty() && again.component_collections == 0, "{again:?}");
    assert!(
        Log::forget_directory(&machine.options(), "/a", &mut |plan| {
            assert!(plan.components.is_empty() && !plan.is_loss(), "{plan:?}");
            true
        })
        .is_ok()
    );
    let opened = machine.open();
    assert_eq!(opened.in_store("c").len(), 65);
}

/// Before every change of a drain, by a kill and by power cuts: the store says the same, and draining again ends well.
#[test]
fn a_drain_can_be_cut_off_anywhere() {
    let (machine, all) = compacted();
    let images = machine.at_each_change(|machine| assert!(machine.drain("/a").is_empty()));
    println!("{} states", images.len());
    let two_copies = |image: &Machine| {
        let files = |folder: &str| image.below(folder).iter().filter(|path| path.ends_with(".parquet")).count();
        files("/a") > 0 && files("/b") + files("/c") > 0
    };
    assert!(images.len() > 100 && images.iter().any(two_copies), "{}", images.len());
    for (index, image) in images.into_iter().enumerate() {
        let mut wanted = all.clone();
        if index % 2 == 0 {
            let opened = image.open();
            assert_eq!(opened.in_store("c"), all);
            opened.append("c", 1);
            assert_eq!(opened.flush("c").records, 1);
            wanted = opened.in_store("c");
            assert_eq!(wanted.len(), 61);
            opened.close();
        }
        let drained = image.drain("/a");
        assert!(drained.is_empty(), "{drained:?}");
        let image = Machine { fs: image.fs.crash_image(Cut::DropAll), ..image };
        assert_eq!(image.below("/a/.store"), [""; 0]);
        let opened = image.open();
        assert_eq!(opened.in_store("c"), wanted);
        assert_eq!(opened.flush("c").records, 0);
    }
}

#[test]
fn what_lies_in_the_new_place_does_not_come_back() {
    let machine = Machine::new();
    let opened = machine.open();
    opened.append("c", 30);
    opened.flush("c");
    let log = opened.log.id();
    let (files, c) = (StoreFiles::new(Arc::new(machine.fs.clone())), name("c"));
    let copy = |from: &str, to: &str| {
        let (from, to) = (Path::new(from), Path::new(to));
        files.copy(&ComponentMove { log, collection: &c, from, to }).unwrap()
    };
    copy("/a", "/b");
    // Of higher numbers than what is copied later.
    let stale = ColumnarStore::new(log, homes_in(&machine, "/b"), clock(), StoreOptions::default());
    for _ in 0..3 {
        stale.clear(&c).unwrap();
    }
    opened.append("c", 5);
    opened.flush("c");
    copy("/a", "/b");
    let moved = ColumnarStore::new(log, homes_in(&machine, "/b"), clock(), StoreOptions::default());
    let there: Vec<_> = moved.view(&c).unwrap().unwrap().read(Sequence(0)).map(|record| record.unwrap()).collect();
    assert_eq!(there, opened.in_log("c"));
    // Of a collection of which nothing is there, nothing is made.
    assert_eq!(
        files.copy(&ComponentMove { log, collection: &name("d"), from: Path::new("/a"), to: Path::new("/c") }).unwrap(),
        0
    );
    assert!(machine.fs.metadata(Path::new("/c/.store")).is_err());
}

fn homes_in(machine: &Machine, directory: &'static str) -> Arc<dyn Homes> {
    Arc::new(DirectoryHomes::to_write(Arc::new(machine.fs.clone()), move |_| Ok(directory.into())))
}

#[test]
fn damage_stays_and_is_told() {
    let (machine, _) = compacted();
    let file = machine.below("/a/.store").into_iter().find(|path| path.ends_with(".parquet")).unwrap();
    machine.fs.flip(Path::new(&file), 100, 0xff).unwrap();
    let drained = machine.drain("/a");
    assert_eq!((drained.component_stayed.len(), drained.is_empty()), (1, false), "{drained:?}");
    let stayed = &drained.component_stayed[0];
    assert_eq!((stayed.component.as_str(), stayed.collection.as_ref()), (COMPONENT, Some(&name("c"))));
    assert!(stayed.reason.contains("SHA-256"), "{}", stayed.reason);
    assert_ne!(machine.below("/a/.store"), [""; 0]);
    assert_eq!(machine.open().directory("c"), "/a");
    // A program that does not know the component leaves it, too, and says so.
    let options = LogOptions { components: Vec::new(), ..machine.options() };
    let drained = Log::drain_directory(&options, "/a", &mut |_| true).unwrap();
    assert!(drained.component_stayed[0].reason.contains("does not know"), "{drained:?}");
    let refused = Log::forget_directory(&machine.options(), "/a", &mut |_| true).unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("not empty"), "{refused}");
}

/// `n` collections `c0`, `c1`, ..: of each the log is in another directory than its files.
fn apart(machine: &Machine, collections: usize) -> Vec<String> {
    let opened = machine.open();
    opened.append("none", 1);
    opened.log.set_collection_settings(&name("none"), |settings| settings.sinks = Some(Vec::new())).unwrap();
    let names: Vec<String> = (0..collections).map(|number| format!("c{number}")).collect();
    for name in &names {
        opened.append(name, 20);
        opened.flush(name);
    }
    opened.close();
    names
}

/// Those whose files are in a directory, and whose log is elsewhere.
fn in_directory(machine: &Machine, names: &[String], directory: &str) -> Vec<String> {
    let opened = machine.open();
    let is_there = |text: &&String| {
        let wal = opened.log.collection_info(&name(text)).unwrap().directory;
        assert_ne!(wal.display().to_string(), opened.directory(text), "{text}");
        opened.directory(text) == directory
    };
    names.iter().filter(is_there).cloned().collect()
}

#[test]
fn a_directory_that_is_away_stops_its_collections_only_and_comes_back() {
    for ailment in [Ailment::Gone, Ailment::Unmounted] {
        let machine = Machine::new();
        let names = apart(&machine, 6);
        let away = in_directory(&machine, &names, "/c");
        assert!((1..6).contains(&away.len()), "{away:?}");
        machine.fs.fail_place_now("/c", ailment);
        let opened = machine.open();
        assert!(opened.log.directory_states().iter().any(|(_, _, state)| matches!(state, DirectoryState::Missing(_))));
        let mut failed = 0;
        for text in &names {
            // The log of some of them is away with it.
            if opened.log.append(&name(text), NewRecord::put("k", "v")).is_err() {
                continue;
            }
            let report = opened.sinks.flush(Some(&name(text)), &mut |_| true).unwrap();
            let is_away = away.contains(text);
            assert_eq!(report.failed.len(), usize::from(is_away), "{text}: {report:?}");
            if is_away {
                failed += 1;
                assert!(report.failed[0].error.contains("a directory is missing: directory=`/c`"), "{report:?}");
            }
        }
        let status = &opened.sinks.status()[0];
        assert_eq!((failed, status.failing_collections), (away.len(), away.len() as u64), "{status:?}");
        assert!(status.last_failure.as_ref().unwrap().error.contains("missing"), "{status:?}");
        assert_eq!(machine.below("/c"), [""; 0], "nothing is made in an empty mount point");
        opened.close();
        machine.fs.heal_places();
        let opened = machine.open();
        opened.sinks.run_once().unwrap();
        for text in &names {
            opened.flush(text);
            assert_eq!(opened.in_store(text), opened.in_log(text), "{text}");
        }
        assert!(away.iter().all(|text| opened.directory(text) == "/c"));
    }
}

#[test]
fn many_collections_that_are_away_keep_no_other_waiting() {
    let machine = Machine::new();
    let names = apart(&machine, 60);
    let away = in_directory(&machine, &names, "/c");
    machine.fs.fail_place_now("/c", Ailment::Gone);
    let opened = machine.open();
    let appended: Vec<_> =
        names.iter().filter(|text| opened.log.append(&name(text), NewRecord::put("k", "v")).is_ok()).collect();
    opened.log.seal(None).unwrap();
    // The time stands still: what rests, rests.
    opened.sinks.run_once().unwrap();
    for text in appended.into_iter().filter(|text| !away.contains(text)) {
        assert_eq!(opened.in_store(text).len(), 21, "{text}");
    }
}

#[test]
fn what_was_in_a_directory_that_is_given_up_is_made_again_by_itself() {
    let machine = Machine::new();
    let names = apart(&machine, 6);
    let away = in_directory(&machine, &names, "/c");
    let opened = machine.open();
    let lives_there = |text: &String| opened.log.collection_info(&name(text)).unwrap().directory == Path::new("/c");
    let lost: Vec<bool> = names.iter().map(lives_there).collect();
    assert!(lost.contains(&true) && lost.contains(&false));
    opened.close();
    machine.fs.fail_place_now("/c", Ailment::Gone);
    let forget = |machine: &Machine| {
        let plan = Log::forget_directory(&machine.options(), "/c", &mut |_| true).unwrap().unwrap();
        if !plan.is_done {
            assert!(plan.components.get(COMPONENT).is_none_or(|count| *count <= away.len() as u64), "{plan:?}");
        }
    };
    let plan = Log::plan_forget(&machine.options(), "/c").unwrap();
    assert_eq!(plan.components.get(COMPONENT), Some(&(away.len() as u64)));
    let images = machine.at_each_change(forget);
    assert!(images.len() > 20, "{}", images.len());
    // The last one is behind all of it, and nobody forgets again there.
    let last = images.len() - 1;
    for (index, image) in images.into_iter().enumerate() {
        // The disk is away for these, too: a crash does not bring it back.
        image.fs.fail_place_now("/c", Ailment::Gone);
        if index < last {
            forget(&image);
        }
        let opened = image.open();
        opened.sinks.run_once().unwrap();
        for (text, is_lost) in names.iter().zip(&lost) {
            assert_ne!(opened.directory(text), "/c");
            assert_eq!(opened.in_store(text).len(), 20, "{text}");
            // What the log lost is in the store only.
            assert!(*is_lost || opened.in_store(text) == opened.in_log(text), "{text}");
        }
        assert_eq!(opened.sinks.status()[0].failures, 0);
    }
}

/// Whoever is given up together with the log's own segments: the sink gets what is left.
#[test]
fn what_the_log_lost_too_is_not_waited_for() -> Result<(), Error> {
    let machine = Machine::new();
    let opened = machine.open();
    for text in ["x", "y", "z"] {
        opened.append(text, 20);
        opened.flush(text);
    }
    let lost: Vec<_> = ["x", "y", "z"].into_iter().filter(|text| opened.directory(text) == "/c").collect();
    assert_eq!(lost.len(), 1);
    opened.close();
    machine.fs.fail_place_now("/c", Ailment::Gone);
    Log::forget_directory(&machine.options(), "/c", &mut |_| true)?;
    let opened = machine.open();
    opened.append(lost[0], 3);
    opened.flush(lost[0]);
    assert_eq!((opened.in_store(lost[0]).len(), opened.in_log(lost[0]).len()), (3, 3));
    for text in ["x", "y", "z"].into_iter().filter(|text| !lost.contains(text)) {
        assert_eq!(opened.in_store(text).len(), 20);
    }
    Ok(())
}
