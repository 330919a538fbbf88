//! One disk of several fails, and comes back.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::fs::{File, FileSystem, OpenMode, durable};

/// Two disks with a synced file each.
fn disks() -> (SimulatedFileSystem, Arc<dyn File>, Arc<dyn File>) {
    let fs = SimulatedFileSystem::new();
    let make = |place: &str| {
        durable::create_dir_all(&fs, Path::new(place)).unwrap();
        let file = fs.open(&Path::new(place).join("file"), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"synced", 0).unwrap();
        file.sync_all().unwrap();
        fs.sync_dir(Path::new(place)).unwrap();
        file
    };
    let (one, two) = (make("/one"), make("/two"));
    (fs, one, two)
}

fn content(fs: &SimulatedFileSystem, path: &str) -> Option<Vec<u8>> {
    fs.read(Path::new(path)).ok()
}

/// What a write, a sync, a read, a listing, and a new file say; `None` where they work.
fn says(fs: &SimulatedFileSystem, file: &dyn File) -> [Option<std::io::ErrorKind>; 5] {
    let kind = |error: FsError| error.source.kind();
    let place = file.path().parent().unwrap();
    [
        file.write_all_at(b"S", 0).map_err(kind).err(),
        file.sync_data().map_err(kind).err(),
        file.read_at(&mut [0; 4], 0).map_err(kind).err(),
        fs.list(place).map_err(kind).err(),
        fs.open(&place.join(format!("new-{}", fs.changes())), OpenMode::CreateNew).map_err(kind).err(),
    ]
}

#[test]
fn one_place_ails_and_the_other_does_not() {
    use std::io::ErrorKind::{NotFound, Other, ReadOnlyFilesystem};
    let expected = |ailment| match ailment {
        Ailment::Unwritable => [Some(Other), Some(Other), None, None, Some(Other)],
        Ailment::ReadOnly => [Some(ReadOnlyFilesystem), Some(ReadOnlyFilesystem), None, None, Some(ReadOnlyFilesystem)],
        Ailment::Full | Ailment::Detached => [None; 5],
        Ailment::Dead => [Some(Other); 5],
        Ailment::Gone => [Some(Other), Some(Other), Some(Other), Some(NotFound), Some(NotFound)],
        // What is made in the mount point is made elsewhere.
        Ailment::Unmounted => [Some(Other), Some(Other), Some(Other), None, None],
    };
    for ailment in Ailment::ALL {
        let (fs, one, two) = disks();
        fs.fail_place_now("/one", ailment);
        assert_eq!(says(&fs, &*one), expected(ailment), "{ailment:?}");
        assert_eq!(says(&fs, &*two), [None; 5], "{ailment:?}");
        assert_eq!(fs.ailing(), [("/one".into(), ailment)]);
        fs.heal();
        assert_eq!(content(&fs, "/one/file").unwrap().len(), 6, "{ailment:?}");
        let torn = matches!(ailment, Ailment::Gone | Ailment::Unmounted);
        assert_eq!(says(&fs, &*one)[0], torn.then_some(Other), "{ailment:?}: open files of a torn disk stay dead");
        let again = fs.open(Path::new("/one/file"), OpenMode::ReadWrite).unwrap();
        assert_eq!(says(&fs, &*again)[..2], [None; 2], "{ailment:?}: files opened again do not");
    }
}

#[test]
fn a_full_place_takes_what_needs_no_space() {
    let (fs, one, _) = disks();
    fs.fail_place_now("/one", Ailment::Full);
    one.write_all_at(b"SYNCED", 0).unwrap();
    one.sync_data().unwrap();
    assert!(one.write_all_at(b"longer", 3).unwrap_err().is_full());
    assert!(one.preallocate(9).unwrap_err().is_full());
    assert!(fs.create_dir(Path::new("/one/folder")).unwrap_err().is_full());
    assert!(fs.copy_new(Path::new("/two/file"), Path::new("/one/copy")).unwrap_err().is_full());
    assert_eq!(fs.free_bytes(Path::new("/one")).unwrap(), 0);
    assert!(fs.free_bytes(Path::new("/two")).unwrap() > 0);
    fs.copy_new(Path::new("/one/file"), Path::new("/two/copy")).unwrap();
}

#[test]
fn it_begins_and_ends_by_number() {
    let (fs, one, two) = disks();
    let at = fs.changes();
    fs.fail_place(PlaceFault::from("/one", at + 2, Ailment::Dead).until(at + 4));
    // Reads do not count.
    one.read_at(&mut [0; 1], 0).unwrap();
    one.write_all_at(b"1", 0).unwrap();
    two.write_all_at(b"2", 0).unwrap();
    assert!(one.read_at(&mut [0; 1], 0).is_err(), "the change with the number is next");
    two.write_all_at(b"3", 0).unwrap();
    one.write_all_at(b"4", 0).unwrap_err();
    one.write_all_at(b"5", 0).unwrap();
    let (fs, one, _) = disks();
    fs.fail_place(PlaceFault::from("/one", fs.operations() + 1, Ailment::Dead).of_operations());
    one.read_at(&mut [0; 1], 0).unwrap();
    one.read_at(&mut [0; 1], 0).unwrap_err();
}

#[test]
fn a_torn_disk_comes_back_with_what_was_synced() {
    for ailment in [Ailment::Gone, Ailment::Unmounted] {
        let mut seen = std::collections::BTreeSet::new();
        for extra in 0..40 {
            let (fs, one, two) = disks();
            for _ in 0..extra {
                two.write_all_at(b"x", 0).unwrap();
            }
            one.write_all_at(b"SYN", 0).unwrap();
            fs.open(Path::new("/one/unsynced"), OpenMode::CreateNew).unwrap();
            fs.fail_place_now("/one", ailment);
            assert_eq!(content(&fs, "/one/file"), None);
            // Hidden when the disk is back.
            let _ = durable::create_dir_all(&fs, Path::new("/one/folder"));
            assert_eq!(content(&fs, "/two/file").unwrap()[1..], *b"ynced");
            let image = fs.kill_image();
            for fs in [&fs, &image] {
                fs.heal();
                assert!(fs.metadata(Path::new("/one/folder")).unwrap_err().is_not_found());
            }
            assert_eq!(content(&fs, "/one/file"), content(&image, "/one/file"));
            seen.insert((content(&fs, "/one/file"), content(&fs, "/one/unsynced").is_some()));
        }
        let of = |text: &str, named| (Some(text.as_bytes().to_vec()), named);
        let all = [of("SYNced", false), of("SYNced", true), of("synced", false), of("synced", true)];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all, "{ailment:?}");
    }
}

#[test]
fn a_detached_disk_still_takes_what_its_open_files_are_given() {
    let (fs, one, _) = disks();
    fs.fail_place_now("/one", Ailment::Detached);
    one.write_all_at(b"SYN", 0).unwrap();
    one.sync_data().unwrap();
    assert_eq!(fs.list(Path::new("/one")).unwrap(), []);
    let cut = fs.crash_image(Cut::DropAll);
    assert_eq!(content(&cut, "/one/file"), None);
    assert_eq!(cut.list(Path::new("/one")).unwrap(), []);
    assert_ne!(cut.fingerprint(), disks().0.fingerprint());
    for fs in [fs, cut] {
        fs.heal();
        assert_eq!(content(&fs, "/one/file").unwrap(), b"SYNced");
    }
}

#[test]
fn what_a_failed_sync_lost_is_lost_when_the_place_is_well_again() {
    for ailment in [Ailment::Unwritable, Ailment::ReadOnly, Ailment::Dead] {
        let mut kept = 0;
        for extra in 0..20 {
            let (fs, one, two) = disks();
            for _ in 0..extra {
                two.write_all_at(b"x", 0).unwrap();
            }
            one.write_all_at(b"SYN", 0).unwrap();
            fs.fail_place_now("/one", ailment);
            one.sync_data().unwrap_err();
            fs.heal();
            one.sync_data().unwrap();
            kept += u32::from(content(&fs.crash_image(Cut::KeepAll), "/one/file").unwrap() == b"SYNced");
        }
        assert!((1..20).contains(&kept), "{ailment:?}: {kept} of 20 kept");
    }
}
