//! What only a simulated disk can show: what a power cut takes, and what goes wrong.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::fs::{File, FileSystem, OpenMode, durable};

const FILE: &str = "/d/file";

/// A directory and an empty file, both durable.
fn disk() -> (SimulatedFileSystem, Arc<dyn File>) {
    let fs = SimulatedFileSystem::new();
    durable::create_dir_all(&fs, Path::new("/d")).unwrap();
    let file = fs.open(Path::new(FILE), OpenMode::CreateNew).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    (fs, file)
}

fn content(fs: &SimulatedFileSystem, path: &str) -> Option<Vec<u8>> {
    fs.read(Path::new(path)).ok()
}

fn after(fs: &SimulatedFileSystem, cut: Cut) -> Option<Vec<u8>> {
    content(&fs.crash_image(cut), FILE)
}

fn create(fs: &SimulatedFileSystem, path: &str) {
    fs.open(Path::new(path), OpenMode::CreateNew).unwrap();
}

fn seeds() -> impl Iterator<Item = Cut> {
    (0..400).map(|seed| Cut::Random { seed })
}

#[test]
fn only_synced_bytes_survive_for_sure() {
    let (fs, file) = disk();
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"SYN", 0).unwrap();
    file.write_all_at(b" and not", 6).unwrap();
    assert_eq!(fs.pending(), 2);
    assert_eq!(after(&fs, Cut::DropAll).unwrap(), b"synced");
    assert_eq!(after(&fs, Cut::KeepAll).unwrap(), b"SYNced and not");
    assert_eq!(after(&fs, Cut::Prefix(1)).unwrap(), b"SYNced");
    // Both writes are in one sector: the newer never without the older.
    assert_eq!(after(&fs, Cut::OnlyLast).unwrap(), b"SYNced and not");
    assert_eq!(content(&fs, FILE).unwrap(), b"SYNced and not", "images leave the disk as it is");
}

#[test]
fn writes_tear_by_whole_sectors_and_newer_ones_may_come_first() {
    let (fs, file) = disk();
    file.preallocate(4 * SECTOR_BYTES).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(&[1; 1024], 0).unwrap();
    file.write_all_at(&[2; 512], 1024).unwrap();
    let sectors = |bytes: Vec<u8>| {
        bytes
            .chunks(512)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a torn sector");
                sector[0]
            })
            .collect::<Vec<_>>()
    };
    let found: BTreeSet<_> = seeds().map(|cut| sectors(after(&fs, cut).unwrap())).collect();
    let all: BTreeSet<_> = (0..8).map(|mask| vec![mask & 1, mask >> 1 & 1, mask >> 2 << 1, 0]).collect();
    assert_eq!(found, all);
    assert_eq!(sectors(after(&fs, Cut::OnlyLast).unwrap()), [0, 0, 2, 0]);
}

#[test]
fn lengths_are_lost_like_bytes() {
    let (fs, file) = disk();
    file.write_all_at(&[1; 2048], 0).unwrap();
    let lengths: BTreeSet<_> = seeds().map(|cut| after(&fs, cut).unwrap().len()).collect();
    assert!(lengths.contains(&0) && lengths.contains(&2048) && lengths.len() > 3, "{lengths:?}");
    file.sync_data().unwrap();
    file.set_len(100).unwrap();
    assert_eq!(after(&fs, Cut::DropAll).unwrap().len(), 2048);
    assert_eq!(after(&fs, Cut::KeepAll).unwrap(), [1; 100]);
    file.sync_all().unwrap();
    assert_eq!(after(&fs, Cut::DropAll).unwrap(), [1; 100]);
}

#[test]
fn a_synced_file_without_a_synced_name_is_lost() {
    let (fs, _) = disk();
    let file = fs.open(Path::new("/d/new"), OpenMode::CreateNew).unwrap();
    file.write_all_at(b"bytes", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(content(&fs.crash_image(Cut::DropAll), "/d/new"), None);
    assert_eq!(content(&fs.crash_image(Cut::KeepAll), "/d/new").unwrap(), b"bytes");
    fs.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(content(&fs.crash_image(Cut::DropAll), "/d/new").unwrap(), b"bytes");
}

#[test]
fn a_synced_name_without_synced_bytes_is_an_empty_file() {
    let (fs, file) = disk();
    file.write_all_at(b"bytes", 0).unwrap();
    fs.rename_new(Path::new(FILE), Path::new("/d/renamed")).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    let image = fs.crash_image(Cut::DropAll);
    assert_eq!((content(&image, FILE), content(&image, "/d/renamed")), (None, Some(Vec::new())));
}

#[test]
fn a_rename_comes_with_both_names_or_none_and_replacing_keeps_one_of_the_files() {
    let (fs, file) = disk();
    file.write_all_at(b"old", 0).unwrap();
    file.sync_all().unwrap();
    fs.create_dir(Path::new("/e")).unwrap();
    let new = fs.open(Path::new("/e/new"), OpenMode::CreateNew).unwrap();
    new.write_all_at(b"new", 0).unwrap();
    new.sync_all().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs.sync_dir(Path::new("/e")).unwrap();
    fs.replace(Path::new("/e/new"), Path::new(FILE)).unwrap();
    let mut seen = BTreeSet::new();
    for cut in seeds().chain([Cut::DropAll, Cut::KeepAll, Cut::OnlyLast]) {
        let image = fs.crash_image(cut);
        seen.insert((content(&image, FILE), content(&image, "/e/new")));
    }
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(seen, BTreeSet::from([(old, new.clone()), (new.clone(), None)]));
    // A sync of either directory makes the whole rename durable.
    fs.sync_dir(Path::new("/d")).unwrap();
    let image = fs.crash_image(Cut::DropAll);
    assert_eq!((content(&image, FILE), content(&image, "/e/new")), (new, None));
}

#[test]
fn names_of_one_directory_come_in_order_and_those_of_two_in_any() {
    let (fs, _) = disk();
    durable::create_dir_all(&fs, Path::new("/e")).unwrap();
    for path in ["/d/1", "/d/2", "/e/3"] {
        create(&fs, path);
    }
    let has = |image: &SimulatedFileSystem| ["/d/1", "/d/2", "/e/3"].map(|path| content(image, path).is_some());
    let seen: BTreeSet<_> = seeds().map(|cut| has(&fs.crash_image(cut))).collect();
    // By seed the order of each directory holds, or only that of each name.
    assert_eq!(seen.len(), 8);
    assert_eq!(has(&fs.crash_image(Cut::Prefix(1))), [true, false, false]);
    assert_eq!(has(&fs.crash_image(Cut::OnlyLast)), [false, false, true]);
    create(&fs, "/d/4");
    assert_eq!(has(&fs.crash_image(Cut::OnlyLast)), [true, true, false]);
}

#[test]
fn a_removed_name_may_come_back() {
    let (fs, _) = disk();
    fs.remove_file(Path::new(FILE)).unwrap();
    assert!(after(&fs, Cut::DropAll).is_some() && after(&fs, Cut::KeepAll).is_none());
    fs.sync_dir(Path::new("/d")).unwrap();
    assert!(after(&fs, Cut::DropAll).is_none());
    // And one that was made and removed again never stays.
    create(&fs, FILE);
    fs.remove_file(Path::new(FILE)).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    assert!(after(&fs, Cut::KeepAll).is_none());
}

#[test]
fn a_directory_without_a_durable_name_takes_its_files_along() {
    let (fs, _) = disk();
    fs.create_dir(Path::new("/d/sub")).unwrap();
    create(&fs, "/d/sub/file");
    fs.sync_dir(Path::new("/d/sub")).unwrap();
    assert_eq!(content(&fs.crash_image(Cut::DropAll), "/d/sub/file"), None);
    fs.sync_dir(Path::new("/d")).unwrap();
    assert!(content(&fs.crash_image(Cut::DropAll), "/d/sub/file").is_some());
}

#[test]
fn a_failed_sync_loses_bytes_that_can_still_be_read_and_the_next_one_says_good() {
    let (fs, file) = disk();
    file.write_all_at(b"first", 0).unwrap();
    file.sync_data().unwrap();
    let mut kept = BTreeSet::new();
    for at in 1..=40_u64 {
        // Far apart, so that each write has sectors of its own.
        file.write_all_at(b"lost", at * 8192).unwrap();
        fs.fail(Fault::once(fs.changes(), Failure::Error(Errno::Eio)));
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(&content(&fs, FILE).unwrap()[at as usize * 8192..], b"lost");
        let image = after(&fs, Cut::KeepAll).unwrap();
        assert_eq!(&image[..5], b"first");
        kept.insert(image.len() as u64 == at * 8192 + 4);
    }
    assert_eq!(kept, BTreeSet::from([false, true]), "lost or not, by the number of the sync");
    file.write_all_at(b"later", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(&after(&fs, Cut::DropAll).unwrap()[..5], b"later", "what is written later can become durable");
}

#[test]
fn a_failed_sync_of_a_directory_loses_names() {
    let (fs, _) = disk();
    create(&fs, "/d/new");
    fs.fail(Fault::once(fs.changes(), Failure::Error(Errno::Eio)));
    assert!(fs.sync_dir(Path::new("/d")).is_err());
    fs.sync_dir(Path::new("/d")).unwrap();
    assert!(content(&fs, "/d/new").is_some());
    assert_eq!(content(&fs.crash_image(Cut::KeepAll), "/d/new"), None);
}

#[test]
fn a_killed_process_leaves_what_it_wrote_still_at_risk() {
    let (fs, file) = disk();
    let _lock = fs.try_lock(Path::new("/d/lock")).unwrap().unwrap();
    file.write_all_at(b"written", 0).unwrap();
    let next = fs.kill_image();
    assert!(next.try_lock(Path::new("/d/lock")).unwrap().is_some(), "locks go with the process");
    assert_eq!(content(&next, FILE).unwrap(), b"written");
    assert_eq!(after(&next, Cut::DropAll).unwrap(), b"");
    next.open(Path::new(FILE), OpenMode::ReadWrite).unwrap().sync_data().unwrap();
    assert_eq!(after(&next, Cut::DropAll).unwrap(), b"written");
    assert_eq!(after(&fs, Cut::DropAll).unwrap(), b"", "the images are disks of their own");
}

#[test]
fn a_process_that_ends_does_nothing_more() {
    let (fs, file) = disk();
    fs.stop_after(fs.changes() + 1);
    file.write_all_at(b"1", 0).unwrap();
    assert!(file.write_all_at(b"2", 1).is_err());
    assert!(file.sync_data().is_err() && fs.list(Path::new("/d")).is_err());
    assert_eq!(content(&fs.kill_image(), FILE).unwrap(), b"1");
}

#[test]
fn operations_fail_by_number() {
    let (fs, file) = disk();
    let at = fs.changes();
    fs.fail(Fault::once(at + 1, Failure::Error(Errno::Enospc)));
    fs.fail(Fault::from(at + 3, Failure::Error(Errno::Erofs)));
    fs.fail(Fault::once(fs.reads(), Failure::Error(Errno::Eio)).of_reads());
    file.write_all_at(b"1", 0).unwrap();
    assert!(file.write_all_at(b"2", 1).unwrap_err().is_full());
    file.write_all_at(b"3", 1).unwrap();
    for _ in 0..3 {
        assert!(fs.create_dir(Path::new("/d/x")).unwrap_err().is_read_only());
    }
    assert!(file.len().is_err());
    assert_eq!(file.len().unwrap(), 2, "reads have numbers of their own");
    fs.heal();
    fs.create_dir(Path::new("/d/x")).unwrap();
}

#[test]
fn short_reads_and_writes_do_a_part() {
    let (fs, file) = disk();
    fs.fail(Fault::from(fs.changes(), Failure::Short));
    fs.fail(Fault::from(fs.reads(), Failure::Short).of_reads());
    assert_eq!(file.write_at(&[IoSlice::new(b"abc"), IoSlice::new(b"de")], 0).unwrap(), 3);
    file.write_all_at(b"0123456789", 0).unwrap();
    let mut read = [0; 10];
    assert_eq!(file.read_at(&mut read, 0).unwrap(), 5);
    file.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"0123456789");
}

#[test]
fn a_full_or_read_only_disk_takes_no_more() {
    let (fs, file) = disk();
    file.write_all_at(&[1; 1000], 0).unwrap();
    fs.set_capacity(Some(1500));
    assert_eq!(fs.free_bytes(Path::new("/d")).unwrap(), 500);
    assert!(file.preallocate(2000).unwrap_err().is_full());
    assert!(file.write_all_at(&[1; 600], 1000).unwrap_err().is_full());
    assert!(fs.copy_new(Path::new(FILE), Path::new("/d/copy")).unwrap_err().is_full());
    file.write_all_at(&[2; 1000], 0).unwrap();
    file.sync_data().unwrap();
    fs.set_read_only(true);
    assert!(file.write_all_at(b"x", 0).unwrap_err().is_read_only());
    assert!(fs.remove_file(Path::new(FILE)).unwrap_err().is_read_only());
    file.sync_data().unwrap();
    assert_eq!(file.len().unwrap(), 1000);
}

#[test]
fn windows_keeps_open_files_and_makes_names_durable_at_once() {
    let fs = SimulatedFileSystem::windows();
    fs.create_dir(Path::new("/d")).unwrap();
    let file = fs.open(Path::new(FILE), OpenMode::CreateNew).unwrap();
    create(&fs, "/d/other");
    assert!(fs.remove_file(Path::new(FILE)).is_err());
    assert!(fs.replace(Path::new("/d/other"), Path::new(FILE)).is_err());
    file.write_all_at(b"bytes", 0).unwrap();
    assert_eq!(after(&fs, Cut::DropAll).unwrap(), b"", "the name is there, the bytes are not");
    drop(file);
    fs.replace(Path::new("/d/other"), Path::new(FILE)).unwrap();
    fs.remove_file(Path::new(FILE)).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(after(&fs, Cut::DropAll), None);
}

#[test]
fn an_observer_sees_the_disk_before_each_change() {
    let (fs, file) = disk();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    fs.observe(Arc::new(move |operation, fs| {
        log.lock().unwrap().push((operation.kind, operation.index, after(fs, Cut::KeepAll).unwrap().len()));
    }));
    let first = fs.changes();
    file.write_all_at(b"12", 0).unwrap();
    file.len().unwrap();
    file.sync_data().unwrap();
    fs.observe_no_more();
    file.sync_data().unwrap();
    let expected = [(OperationKind::Write, first, 0), (OperationKind::SyncData, first + 1, 2)];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(fs.counts()[&OperationKind::SyncData], 2);
}

#[test]
fn fingerprints_tell_durable_states_apart() {
    let (fs, file) = disk();
    let empty = fs.fingerprint();
    file.write_all_at(b"x", 0).unwrap();
    assert_eq!(fs.fingerprint(), empty, "nothing durable changed");
    assert_eq!(fs.crash_image(Cut::DropAll).fingerprint(), empty);
    let kept = fs.crash_image(Cut::KeepAll).fingerprint();
    assert_ne!(kept, empty);
    file.sync_data().unwrap();
    assert_eq!(fs.fingerprint(), kept);
    fs.flip(Path::new(FILE), 0, 1).unwrap();
    assert_ne!(fs.fingerprint(), kept);
    create(&fs, "/d/name");
    fs.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(fs.files().len(), 4);
    assert_eq!(
        fs.crash_image(Cut::Random { seed: 1 }).fingerprint(),
        fs.crash_image(Cut::Random { seed: 1 }).fingerprint()
    );
}
