//! Power cuts, kills, full and failing disks under a local store.

use super::*;
use crate::fs::FileSystem;
use crate::fs::simulated::{Cut, Errno, Failure, Fault, OperationKind, SimulatedFileSystem};

fn homes(fs: &SimulatedFileSystem) -> Arc<dyn Homes> {
    Arc::new(DirectoryHomes::to_write(Arc::new(fs.clone()), |_| Ok("/data".into())))
}

fn open(fs: &SimulatedFileSystem) -> ColumnarStore {
    let options = StoreOptions { merge_files: 2, ..StoreOptions::default() };
    ColumnarStore::new(LOG, homes(fs), clock(), options)
}

fn disk() -> SimulatedFileSystem {
    let fs = SimulatedFileSystem::new();
    fs.create_dir(std::path::Path::new("/data")).unwrap();
    fs.sync_dir(std::path::Path::new("/")).unwrap();
    fs
}

/// Files and states below the store's folder, and nothing else.
fn names(fs: &SimulatedFileSystem) -> Vec<String> {
    let names = fs.files().into_iter().map(|(path, ..)| path.to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".parquet") || name.ends_with(".tmp")).collect()
}

/// Goes on by the cursor until 20 are there, and the floor is 4.
fn deliver(store: &ColumnarStore, mut acknowledged: impl FnMut(u64)) -> Result<()> {
    loop {
        let has = store.cursor(&orders())?.map_or(0, |cursor| cursor.sequence.0);
        acknowledged(has);
        let floor = store.view(&orders())?.map_or(Sequence(0), |view| view.floor());
        match has {
            20 => return Ok(()),
            10 if floor < Sequence(4) => store.raise_floor(&orders(), Sequence(4))?,
            _ => apply(store, has, has + 5)?,
        }
    }
}

fn check(fs: &SimulatedFileSystem, at_least: u64) {
    let store = open(fs);
    let there = all(&store);
    let has = cursor(&store).unwrap_or(0);
    assert!(has >= at_least, "{has} of {at_least}");
    let floor = store.view(&orders()).unwrap().map_or(1, |view| view.floor().0);
    assert_eq!(there, records(floor..=has));
    deliver(&store, |_| {}).unwrap();
    assert_eq!(all(&open(fs)), records(4..=20));
    store.tidy(&orders()).unwrap();
    let named = store.view(&orders()).unwrap().unwrap().files().len();
    assert_eq!(names(fs).len(), named, "{:?}", names(fs));
}

#[test]
fn a_power_cut_or_a_kill_at_every_change_of_the_disk() {
    let fs = disk();
    let images: Arc<Mutex<Vec<(u64, SimulatedFileSystem)>>> = Arc::default();
    let acknowledged = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (taken, known) = (Arc::clone(&images), Arc::clone(&acknowledged));
    fs.observe(Arc::new(move |operation, fs: &SimulatedFileSystem| {
        let known = known.load(std::sync::atomic::Ordering::SeqCst);
        let random = (0..2).map(|seed| Cut::Random { seed: seed + operation.index * 7 });
        let cuts = [Cut::DropAll, Cut::KeepAll, Cut::OnlyLast].into_iter().chain(random);
        let mut images = taken.lock().unwrap();
        images.extend(cuts.map(|cut| (known, fs.crash_image(cut))));
        images.push((known, fs.kill_image()));
    }));
    deliver(&open(&fs), |has| acknowledged.store(has, std::sync::atomic::Ordering::SeqCst)).unwrap();
    fs.observe_no_more();
    let images = std::mem::take(&mut *images.lock().unwrap());
    println!("{} states", images.len());
    assert!(images.len() > 500, "{}", images.len());
    for (known, image) in images {
        check(&image, known);
    }
    check(&fs, 20);
}

/// Each change and each read fails once, or for a while: it is told, and the same process goes on when the disk is well again.
#[test]
fn a_disk_that_fails_at_every_operation() {
    let well = disk();
    let kinds: Arc<Mutex<BTreeMap<u64, OperationKind>>> = Arc::default();
    let seen = Arc::clone(&kinds);
    well.observe(Arc::new(move |operation, _: &SimulatedFileSystem| {
        seen.lock().unwrap().insert(operation.index, operation.kind);
    }));
    deliver(&open(&well), |_| {}).unwrap();
    well.observe_no_more();
    let kinds = kinds.lock().unwrap().clone();
    let (changes, reads) = (well.changes(), well.reads());
    let at_changes = (2..changes).map(|at| (false, at));
    let at_reads = (0..reads).map(|at| (true, at));
    let mut failed = 0;
    for (of_reads, at) in at_changes.chain(at_reads) {
        // A read fails for a moment; nothing is full for it.
        let errnos = if of_reads { &[Errno::Eio][..] } else { &[Errno::Eio, Errno::Enospc] };
        for errno in errnos.iter().copied() {
            for lasting in if of_reads { &[false][..] } else { &[false, true] }.iter().copied() {
                let fs = disk();
                let failure = Failure::Error(errno);
                let fault = if lasting { Fault::from(at, failure) } else { Fault::once(at, failure) };
                fs.fail(if of_reads { fault.of_reads() } else { fault });
                let store = open(&fs);
                let mut acknowledged = 0;
                failed += u64::from(deliver(&store, |has| acknowledged = has).is_err());
                fs.heal();
                // The same process, then what a power cut leaves.
                let has = cursor(&store).unwrap_or(0);
                assert!(has >= acknowledged, "{has} of {acknowledged}");
                deliver(&store, |_| {})
                    .unwrap_or_else(|error| panic!("{errno:?} at {at}, reads={of_reads}: {error:?}"));
                assert_eq!(all(&store), records(4..=20));
                // A name of a folder whose sync failed once is nowhere synced again: what a power cut then takes is not the store's to promise.
                if of_reads || kinds.get(&at) != Some(&OperationKind::SyncDir) {
                    check(&fs.crash_image(Cut::DropAll), 20);
                }
            }
        }
    }
    assert!(failed > 100, "{failed}");
}

/// A full disk: the error says so, and what is there stays and is read.
#[test]
fn a_full_disk_is_told_as_such() {
    let fs = disk();
    let store = open(&fs);
    apply(&store, 0, 5).unwrap();
    let used: u64 = fs.files().iter().map(|(_, _, bytes)| bytes).sum();
    fs.set_capacity(Some(used + 100));
    assert_eq!(apply(&store, 5, 10).unwrap_err().kind(), ErrorKind::Full);
    assert_eq!((cursor(&store), all(&store)), (Some(5), records(1..=5)));
    fs.set_capacity(None);
    apply(&store, 5, 10).unwrap();
    assert_eq!(all(&open(&fs)), records(1..=10));
}

/// An empty mount point is not filled, and nothing on it is taken for "nothing was delivered".
#[test]
fn a_disk_that_is_away_is_no_empty_store() {
    let fs = SimulatedFileSystem::new();
    let store = open(&fs);
    assert!(store.cursor(&orders()).is_err());
    assert!(apply(&store, 0, 5).is_err());
    assert!(fs.files().len() == 1, "{:?}", fs.files());
    let reader = DirectoryHomes::to_read(Arc::new(disk()), |_| Ok("/data".into()));
    let reader = ColumnarStore::new(LOG, Arc::new(reader), clock(), StoreOptions::default());
    assert_eq!(reader.view(&orders()).unwrap_err().kind(), ErrorKind::Unavailable);
}
