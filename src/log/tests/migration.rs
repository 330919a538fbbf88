//! The catalog moves from one engine to another.

use std::sync::Arc;

use super::catalogs::{assert_filled, built, fill, pairs};
use super::*;
use crate::catalog::Engine;
use crate::catalog::follow::differences;
use crate::fs::{Entry, File, FileSystem, FsError, FsResult, LockGuard, Metadata, OpenMode};
use crate::log::catalog::migrate::{Step, migrate};

fn filled(engines: &[Engine]) -> Place {
    let place = Place::new();
    let log = Log::open(place.with(engines)).unwrap();
    fill(&log, 20);
    fill(&log, 20);
    log.close().unwrap();
    place
}

fn migrated(place: &Place, to: Engine) -> crate::log::catalog::Migrated {
    Log::migrate_catalog(&place.options(), to, &mut |_, _| {}).unwrap()
}

fn assert_equal(place: &Place, one: Engine, other: Engine) {
    let found = differences(&*place.open_catalog(one), &*place.open_catalog(other)).unwrap();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn there_and_back_between_all_engines() {
    for (from, to) in pairs() {
        let place = filled(&[from]);
        let mut told = Vec::new();
        let done = Log::migrate_catalog(&place.options(), to, &mut |done, total| told.push((done, total))).unwrap();
        assert_eq!((done.from, done.to, done.is_switched, &done.set_aside), (from, to, true, &None));
        assert_eq!((&done.old_path, &done.path), (&place.file(from), &place.file(to)));
        assert_eq!(done.copied, done.change_number.0);
        assert_eq!((told.first(), told.last()), (Some(&(0, done.copied)), Some(&(done.copied, done.copied))));
        assert_equal(&place, from, to);
        assert_eq!(place.identity().catalog, to);

        let log = place.open();
        assert_filled(&log, 40);
        assert_eq!(log.catalog().engine(), Some(to));
        assert!(!log.recovery().catalog_is_old && !log.recovery().catalog_was_missing);
        fill(&log, 5);
        log.close().unwrap();
        let newest = log.catalog().change_number().unwrap();
        drop(log);
        // Back: only what came since is copied.
        let back = migrated(&place, from);
        assert_eq!(back.copied, newest.0 - done.change_number.0);
        assert!(back.copied > 0 && back.set_aside.is_none());
        assert_filled(&Log::open(place.with(&[from])).unwrap(), 45);
        assert_equal(&place, from, to);
    }
}

#[test]
fn to_the_engine_in_use_changes_nothing() {
    for engine in built() {
        let place = filled(&[engine]);
        let before = place.identity();
        let done = migrated(&place, engine);
        assert_eq!((done.is_switched, done.copied), (false, 0));
        assert_eq!(place.identity(), before);
        assert_filled(&place.open(), 40);
    }
}

#[test]
fn to_the_present_mirror_copies_nothing() {
    for (first, second) in pairs() {
        let place = filled(&[first, second]);
        let done = migrated(&place, second);
        assert_eq!((done.is_switched, done.copied, done.set_aside), (true, 0, None));
        let log = Log::open(place.with(&[second, first])).unwrap();
        assert_filled(&log, 40);
        fill(&log, 1);
        log.close().unwrap();
        drop(log);
        assert_equal(&place, first, second);
    }
}

#[test]
fn a_writer_keeps_it_away() {
    for engine in built() {
        let place = filled(&[engine]);
        let log = place.open();
        let error = Log::migrate_catalog(&place.options(), engine, &mut |_, _| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        drop(log);
    }
}

#[test]
fn what_is_no_log_and_what_is_not_built_is_said() {
    let place = Place::new();
    let error = Log::migrate_catalog(&place.options(), built()[0], &mut |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(place.options().fs.metadata(&place.directory()).is_err());
    let place = filled(&[]);
    for engine in Engine::ALL.into_iter().filter(|engine| !engine.is_built()) {
        let error = Log::migrate_catalog(&place.options(), engine, &mut |_, _| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_filled(&place.open(), 40);
    }
}

/// Makes the file of `engine` one that nothing can go on from.
fn spoil(place: &Place, engine: Engine, how: usize) {
    let fs = place.options().fs;
    match how {
        // Not there at all.
        0 => {}
        // No catalog.
        1 => {
            let garbage = [b"no catalog ".repeat(1000), vec![0xa5; 50_000]].concat();
            crate::fs::durable::replace_small(&*fs, &place.file(engine), &garbage).unwrap();
        }
        // Of another history, or ahead.
        _ => {
            let catalog = engine.open(&place.file(engine), crate::catalog::CatalogMode::Create).unwrap();
            let value = Mutation::SetMeta { name: "n".to_owned(), value: "1".to_owned() };
            let values = vec![value; if how == 2 { 1 } else { 1000 }];
            catalog.apply(&values, Timestamp(7), "another log").unwrap();
        }
    }
}

fn files_aside(place: &Place) -> Vec<String> {
    let fs = place.options().fs;
    let names = fs.list(&place.directory().join(identity::FOLDER)).unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.contains("set-aside")).collect()
}

#[test]
fn what_nothing_can_go_on_from_is_set_aside_and_kept() {
    for (from, to) in pairs() {
        for how in 1..4 {
            let place = filled(&[from]);
            for round in 1..3 {
                spoil(&place, to, how);
                let fs = place.options().fs;
                let before = crate::fs::durable::read_small(&*fs, &place.file(to), 1 << 30).unwrap();
                let done = migrated(&place, to);
                let (folder, why) = done.set_aside.unwrap();
                assert!(!why.is_empty());
                assert_eq!(done.copied, done.change_number.0);
                assert_eq!(files_aside(&place).len(), round);
                let kept = folder.join(place.file(to).file_name().unwrap());
                let after = crate::fs::durable::read_small(&*fs, &kept, 1 << 30).unwrap();
                assert!(how != 1 || before == after, "it is as it was");
                assert_equal(&place, from, to);
                assert_filled(&place.open(), 40);
                let _ = migrated(&place, from);
                place.remove(to);
            }
        }
    }
}

#[test]
fn a_crash_between_any_two_steps_splits_nothing() {
    for (at, (from, to)) in pairs().into_iter().enumerate() {
        for how in [0, 1 + at % 3] {
            let mut seen = Vec::new();
            for crash_after in 0.. {
                let place = filled(&[from]);
                spoil(&place, to, how);
                let mut steps = Vec::new();
                let outcome = migrate(&place.options(), to, &mut |_, _| {}, &mut |step| {
                    steps.push(step);
                    if steps.len() > crash_after { Err(Error::new(ErrorKind::Internal, "a crash")) } else { Ok(()) }
                });
                let is_switched = steps.contains(&Step::Switched);
                assert_eq!(place.identity().catalog, if is_switched { to } else { from }, "{steps:?}");
                let log = place.open();
                assert_filled(&log, 40);
                assert_eq!(log.catalog().engine(), Some(if is_switched { to } else { from }));
                assert!(!log.recovery().catalog_is_old && !log.recovery().catalog_was_missing, "{steps:?}");
                fill(&log, 1);
                log.close().unwrap();
                drop(log);
                // And again, to its end.
                let again = migrated(&place, to);
                assert_eq!(again.is_switched, !is_switched);
                if !is_switched {
                    assert_equal(&place, from, to);
                }
                assert_filled(&place.open(), 41);
                if outcome.is_ok() {
                    seen = steps;
                    break;
                }
            }
            let wanted: &[Step] = match how {
                0 => &[Step::Locked, Step::Opened, Step::Followed],
                _ => &[Step::Locked, Step::Opened, Step::Followed, Step::SetAside, Step::Followed],
            };
            let end = [Step::Compared, Step::Named, Step::Switched, Step::Done];
            assert_eq!(seen, [wanted, &end[..]].concat());
        }
    }
}

/// A disk that replaces no file, or forgets to say that it did.
#[derive(Debug)]
struct NoReplace(Arc<dyn FileSystem>, bool);

impl FileSystem for NoReplace {
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>> {
        self.0.open(path, mode)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.0.rename_new(from, to)
    }

    fn replace(&self, from: &Path, to: &Path) -> FsResult<()> {
        if self.1 {
            self.0.replace(from, to)?;
        }
        Err(FsError::new("replace", to, std::io::ErrorKind::StorageFull.into()))
    }

    fn copy_new(&self, from: &Path, to: &Path) -> FsResult<u64> {
        self.0.copy_new(from, to)
    }

    fn remove_file(&self, path: &Path) -> FsResult<()> {
        self.0.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> FsResult<()> {
        self.0.remove_dir(path)
    }

    fn list(&self, directory: &Path) -> FsResult<Vec<Entry>> {
        self.0.list(directory)
    }

    fn metadata(&self, path: &Path) -> FsResult<Metadata> {
        self.0.metadata(path)
    }

    fn create_dir(&self, path: &Path) -> FsResult<()> {
        self.0.create_dir(path)
    }

    fn sync_dir(&self, directory: &Path) -> FsResult<()> {
        self.0.sync_dir(directory)
    }

    fn try_lock(&self, path: &Path) -> FsResult<Option<Box<dyn LockGuard>>> {
        self.0.try_lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> FsResult<u64> {
        self.0.free_bytes(directory)
    }
}

#[test]
fn a_step_that_fails_leaves_one_of_two_equal_catalogs_in_use() {
    for (from, to) in pairs() {
        for happens in [false, true] {
            let place = filled(&[from]);
            let mut options = place.options();
            options.fs = Arc::new(NoReplace(options.fs, happens));
            Log::migrate_catalog(&options, to, &mut |_, _| {}).unwrap_err();
            assert_eq!(place.identity().catalog, if happens { to } else { from });
            assert_equal(&place, from, to);
            let log = place.open();
            assert_filled(&log, 40);
            fill(&log, 1);
            log.close().unwrap();
            drop(log);
            migrated(&place, to);
            assert_filled(&place.open(), 41);
        }
    }
}

#[test]
fn a_mirror_takes_the_place_of_a_catalog_that_is_gone() {
    for (first, second) in pairs() {
        for more in [0, 10] {
            let place = filled(&[first, second]);
            if more > 0 {
                // The mirror is behind by this.
                let log = Log::open(place.with(&[first])).unwrap();
                fill(&log, more);
                log.close().unwrap();
            }
            assert!(place.remove(first));
            let error = Log::open(place.with(&[first, second])).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert!(error.hint().unwrap().contains(&format!("`icecore catalog migrate --to {second}`")));
            assert!(place.options().fs.metadata(&place.file(first)).is_err(), "no empty catalog was made");
            let done = migrated(&place, second);
            assert_eq!((done.old_was_missing, done.copied), (true, 0));
            let log = Log::open(place.with(&[second])).unwrap();
            assert_eq!(log.recovery().catalog_is_old, more > 0, "{:?}", log.recovery());
            assert_filled(&log, 40 + more);
        }
    }
}

#[test]
fn several_directories_agree_in_the_end() {
    for (from, to) in pairs() {
        let place = Place::new();
        let both = || {
            let mut options = place.options();
            options.directories.push(place.folder.path().join("more"));
            options
        };
        let log = Log::open(LogOptions { catalog_engines: vec![from], ..both() }).unwrap();
        fill(&log, 5);
        log.close().unwrap();
        drop(log);
        let engines = || {
            both()
                .directories
                .iter()
                .map(|path| identity::Identity::read(&*both().fs, path).unwrap().unwrap().catalog)
                .collect::<Vec<_>>()
        };
        // A crash right behind the step: the first directory says the one, the second the other.
        let crash =
            |step| if step == Step::Switched { Err(Error::new(ErrorKind::Internal, "a crash")) } else { Ok(()) };
        migrate(&both(), to, &mut |_, _| {}, &mut { crash }).unwrap_err();
        assert_eq!(engines(), [to, from]);
        let log = Log::open(both()).unwrap();
        assert_eq!(log.catalog().engine(), Some(to));
        assert_filled(&log, 5);
        log.close().unwrap();
        drop(log);
        assert_eq!(engines(), [to, to]);
        Log::migrate_catalog(&both(), from, &mut |_, _| {}).unwrap();
        assert_eq!(engines(), [from, from]);
        assert_filled(&Log::open(both()).unwrap(), 5);
    }
}
