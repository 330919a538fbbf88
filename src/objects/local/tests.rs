//! The local store: the suite of all stores, and what only a disk can do to it.

use super::*;
use crate::fs::simulated::{Cut, Errno, Failure, Fault};
use crate::fs::{OsFileSystem, SimulatedFileSystem};
use crate::objects::conformance;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn simulated(fs: &SimulatedFileSystem) -> LocalObjectStore {
    LocalObjectStore::new(Arc::new(fs.clone()), "/mnt/store")
}

fn created(fs: &SimulatedFileSystem) -> LocalObjectStore {
    LocalObjectStore::create(Arc::new(fs.clone()), "/mnt/store").unwrap()
}

#[test]
fn conforms_on_the_real_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let create =
        |name: &str| LocalObjectStore::create(Arc::new(OsFileSystem::new()), folder.path().join(name)).unwrap();
    conformance::run(&create("run"));
    conformance::races(&(Arc::new(create("races")) as Arc<dyn ObjectStore>));
}

#[test]
fn conforms_on_the_simulated_one_and_with_windows_rules() {
    for fs in [SimulatedFileSystem::new(), SimulatedFileSystem::windows()] {
        conformance::run(&created(&fs));
    }
    conformance::races(&(Arc::new(created(&SimulatedFileSystem::new())) as Arc<dyn ObjectStore>));
}

/// What `cut` leaves before each change that `work` makes, and after it.
fn at_each_change(
    fs: &SimulatedFileSystem,
    cut: impl Fn(&SimulatedFileSystem) -> Vec<SimulatedFileSystem> + Send + Sync + 'static,
    work: impl FnOnce(),
) -> Vec<SimulatedFileSystem> {
    let images = Arc::new(std::sync::Mutex::new(Vec::new()));
    let taken = Arc::clone(&images);
    let cut = Arc::new(cut);
    let observed = Arc::clone(&cut);
    fs.observe(Arc::new(move |_, fs| taken.lock().unwrap().extend(observed(fs))));
    work();
    fs.observe_no_more();
    let mut images = std::mem::take(&mut *images.lock().unwrap());
    images.extend(cut(fs));
    images
}

fn cuts(fs: &SimulatedFileSystem) -> Vec<SimulatedFileSystem> {
    let random = (0..4).map(|seed| Cut::Random { seed });
    [Cut::DropAll, Cut::KeepAll, Cut::OnlyLast].into_iter().chain(random).map(|cut| fs.crash_image(cut)).collect()
}

#[test]
fn half_a_put_is_never_seen_and_a_whole_one_stays() {
    let bytes = Bytes::from(vec![7; 3000]);
    let fs = SimulatedFileSystem::new();
    let store = created(&fs);
    let (name, upload) = (key("c/object"), Upload::of_bytes(&bytes));
    let mut images = at_each_change(&fs, cuts, || {
        assert_eq!(store.put_if_absent(&name, &upload).unwrap(), Put::Created);
    });
    let after = images.split_off(images.len() - cuts(&fs).len());
    let check = |image: &SimulatedFileSystem, must_be_there: bool| {
        let store = simulated(image);
        match store.get(&name, 3000) {
            Ok(found) => assert_eq!(found, bytes),
            Err(error) => assert!(error.is_not_found() && !must_be_there, "{error:?}"),
        }
        // Whatever was left, the next try ends well, and that survives.
        let put = store.put_if_absent(&name, &upload).unwrap();
        assert!(matches!(put, Put::Created | Put::SameThere), "{put:?}");
        for image in cuts(image) {
            assert_eq!(simulated(&image).get(&name, 3000).unwrap(), bytes);
            assert_eq!(simulated(&image).list("", None, 10).unwrap().objects.len(), 1);
        }
    };
    assert!(images.len() > 30);
    images.iter().for_each(|image| check(image, false));
    after.iter().for_each(|image| check(image, true));
}

/// A killed run's name may be in memory only: who says "the same is there" makes it durable.
#[test]
fn what_is_said_to_be_there_survives() {
    let bytes = Bytes::from_static(b"same");
    let fs = SimulatedFileSystem::new();
    let store = created(&fs);
    let (name, upload) = (key("c/d/e/object"), Upload::of_bytes(&bytes));
    let kills = at_each_change(
        &fs,
        |fs| vec![fs.kill_image()],
        || {
            assert_eq!(store.put_if_absent(&name, &upload).unwrap(), Put::Created);
        },
    );
    let mut same = 0;
    for killed in kills {
        if simulated(&killed).put_if_absent(&name, &upload).unwrap() == Put::SameThere {
            same += 1;
        }
        assert_eq!(simulated(&killed.crash_image(Cut::DropAll)).get(&name, 10).unwrap(), "same");
        let store = simulated(&killed);
        store.clear_staging().unwrap();
        assert!(killed.files().iter().all(|(path, ..)| !path.to_string_lossy().contains(".tmp")));
    }
    assert!(same >= 2, "{same}");
}

#[test]
fn what_is_deleted_stays_deleted() {
    let fs = SimulatedFileSystem::new();
    let store = created(&fs);
    let name = key("c/object");
    store.put_if_absent(&name, &Upload::of_bytes(&Bytes::from_static(b"x"))).unwrap();
    let kills = at_each_change(&fs, |fs| vec![fs.kill_image()], || store.delete(&name).unwrap());
    assert!(simulated(&fs.crash_image(Cut::DropAll)).head(&name).unwrap_err().is_not_found());
    for killed in kills {
        simulated(&killed).delete(&name).unwrap();
        assert!(simulated(&killed.crash_image(Cut::DropAll)).head(&name).unwrap_err().is_not_found());
    }
}

/// A put during which any operation fails says so, or it is there; and nothing half is ever seen.
#[test]
fn a_put_that_failed_is_not_there_or_says_unknown() {
    let bytes = Bytes::from(vec![3; 2000]);
    let (name, upload) = (key("c/object"), Upload::of_bytes(&bytes));
    let changes_of_a_put = {
        let fs = SimulatedFileSystem::new();
        let store = created(&fs);
        let before = fs.changes();
        store.put_if_absent(&name, &upload).unwrap();
        fs.changes() - before
    };
    let mut failures = 0;
    for errno in Errno::ALL {
        for at in 0..changes_of_a_put {
            let fs = SimulatedFileSystem::new();
            let store = created(&fs);
            fs.fail(Fault::once(fs.changes() + at, Failure::Error(errno)));
            let put = store.put_if_absent(&name, &upload);
            fs.heal();
            match put {
                Ok(put) => assert_eq!(put, Put::Created),
                Err(error) => {
                    failures += 1;
                    let unknown = error.kind == ObjectErrorKind::OutcomeUnknown;
                    assert!(unknown || store.head(&name).unwrap_err().is_not_found(), "{error:?}");
                    assert_eq!(error.kind == ObjectErrorKind::Full, errno == Errno::Enospc && !unknown, "{error:?}");
                }
            }
            assert!(matches!(store.put_if_absent(&name, &upload), Ok(Put::Created | Put::SameThere)));
            assert_eq!(simulated(&fs.crash_image(Cut::DropAll)).get(&name, 2000).unwrap(), bytes);
        }
    }
    assert!(failures > 10);
}

/// Seen with mount points: an archive on a disk that was away looked empty, and was written to the root disk.
#[test]
fn an_empty_mount_point_is_no_empty_store() {
    let fs = SimulatedFileSystem::new();
    let store = simulated(&fs);
    let name = key("a/b");
    let upload = Bytes::from_static(b"x");
    for made in [false, true] {
        if made {
            fs.create_dir(Path::new("/mnt")).unwrap();
            fs.create_dir(Path::new("/mnt/store")).unwrap();
        }
        let outcomes = [
            store.put_if_absent(&name, &Upload::of_bytes(&upload)).map(drop),
            store.get(&name, 10).map(drop),
            store.get_range(&name, 0, 1).map(drop),
            store.head(&name).map(drop),
            store.list("", None, 10).map(drop),
            store.delete(&name),
            store.clear_staging(),
        ];
        for outcome in outcomes {
            assert_eq!(outcome.unwrap_err().kind, ObjectErrorKind::Unavailable);
        }
    }
    created(&fs);
    assert!(store.list("", None, 10).unwrap().objects.is_empty());
    assert_eq!(
        store.put_if_absent(&key("_store"), &Upload::of_bytes(&upload)).unwrap_err().kind,
        ObjectErrorKind::Invalid
    );
}

#[test]
fn a_store_is_not_made_of_a_directory_with_other_things() {
    let fs = SimulatedFileSystem::new();
    fs.create_dir(Path::new("/mnt")).unwrap();
    fs.open(Path::new("/mnt/letters.txt"), OpenMode::CreateNew).unwrap();
    let error = LocalObjectStore::create(Arc::new(fs.clone()), "/mnt").unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::Invalid);
    // At every crash: it is a store, or can be made one.
    let images = at_each_change(&fs, cuts, || drop(created(&fs)));
    for image in images {
        let store = created(&image);
        store.put_if_absent(&key("a"), &Upload::of_bytes(&Bytes::from_static(b"x"))).unwrap();
    }
}
