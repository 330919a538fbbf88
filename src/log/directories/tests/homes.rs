//! Homes in object stores, and what `directory ls` tells.

use super::*;
use crate::ErrorKind;
use crate::catalog::SegmentStatus;
use crate::fs::FileSystem;
use crate::log::directories::{HOME, Pushed};
use crate::objects::{LocalObjectStore, Location, ObjectStore, SegmentObject, prove};

/// `far` has a home in a store, `near` has none; both have segments.
fn with_a_home() -> (Machine, String) {
    let machine = Machine::new(&["/a"]);
    machine.open().close().unwrap();
    let store: Location = "file:///store".parse().unwrap();
    let remote = Log::add_remote(&machine.options(), &store).unwrap().id;
    let log = machine.open();
    for collection in ["far", "near"] {
        for _ in 0..2 {
            append(&log, collection, 2000);
            log.seal(None).unwrap();
        }
    }
    log.assign_home(&name("far"), &remote).unwrap();
    log.close().unwrap();
    (machine, remote)
}

fn push(machine: &Machine) -> Pushed {
    Log::push_segments(&machine.options(), &mut |_| true).unwrap()
}

#[test]
fn a_home_is_an_assignment_of_its_own() {
    let (machine, remote) = with_a_home();
    let wal = machine.catalog.assignment(COMPONENT, &name("far")).unwrap().unwrap();
    assert_eq!(wal.directory, machine.set().members[0].id);
    let home = machine.catalog.assignment(HOME, &name("far")).unwrap().unwrap();
    assert_eq!((&home.directory, home.from), (&remote, Sequence(3)));
    let log = machine.open();
    assert_eq!(log.home_of(&name("far")).unwrap(), Some(remote.clone()));
    assert_eq!(log.home_of(&name("near")).unwrap(), None);
    let changes = machine.catalog.change_number().unwrap();
    log.assign_home(&name("far"), &remote).unwrap();
    assert_eq!(machine.catalog.change_number().unwrap(), changes, "the same again is no change");
    assert_eq!(log.assign_home(&name("far"), "00000000").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(log.assign_home(&name("nobody"), &remote).unwrap_err().kind(), ErrorKind::NotFound);
    log.assign_home(&name("far"), &wal.directory).unwrap();
    assert_eq!(log.home_of(&name("far")).unwrap(), None);
}

#[test]
fn what_is_pushed_is_there_under_its_name_and_proven() {
    let (machine, _) = with_a_home();
    // Beside a writer.
    let log = machine.open();
    assert_eq!(
        push(&machine),
        Pushed {
            sent: 2,
            sent_bytes: machine
                .catalog
                .segments(Some(&name("far")), None, 9)
                .unwrap()
                .iter()
                .map(|row| row.bytes)
                .sum(),
            ..Pushed::default()
        }
    );
    assert_eq!(push(&machine), Pushed { there: 2, ..Pushed::default() });
    log.close().unwrap();
    let after = machine.fs.crash_image(Cut::DropAll);
    let store = LocalObjectStore::new(Arc::new(after), "/store");
    let objects = store.list("", None, 10).unwrap().objects;
    assert_eq!(objects.len(), 2);
    for (row, object) in machine.catalog.segments(Some(&name("far")), None, 9).unwrap().iter().zip(&objects) {
        let parsed = SegmentObject::parse(&object.key).unwrap();
        assert_eq!((parsed.collection(), parsed.covers.first), (Some(name("far")), row.key.first));
        prove(&store, &parsed.key(), row.bytes, &row.sha256).unwrap();
        assert_eq!((row.status, &row.archive_key), (SegmentStatus::Sealed, &None), "archiving is another matter");
    }
}

#[test]
fn a_push_can_be_interrupted_anywhere() {
    let (machine, _) = with_a_home();
    let images = machine.at_each_change(|machine| drop(push(machine)));
    assert!(images.len() > 50);
    for image in images {
        let pushed = push(&image);
        assert_eq!((pushed.sent + pushed.there, &pushed.failed), (2, &vec![]));
        let store = LocalObjectStore::new(Arc::new(image.fs.crash_image(Cut::DropAll)), "/store");
        assert_eq!(store.list("", None, 10).unwrap().objects.len(), 2);
    }
    let (machine, _) = with_a_home();
    let stopped = Log::push_segments(&machine.options(), &mut |progress| progress.bytes == 0).unwrap();
    assert_eq!((stopped.sent, stopped.is_interrupted), (1, true));
}

#[test]
fn what_goes_wrong_with_one_segment_is_told_and_the_others_go() {
    let (machine, _) = with_a_home();
    let rows = machine.catalog.segments(Some(&name("far")), None, 9).unwrap();
    let taken = machine.fs.clone();
    let store = LocalObjectStore::new(Arc::new(taken), "/store");
    let other = bytes::Bytes::from_static(b"somebody else's");
    store.put_if_absent(&SegmentObject::of_row(&rows[0]).key(), &crate::objects::Upload::of_bytes(&other)).unwrap();
    let pushed = push(&machine);
    assert_eq!((pushed.sent, pushed.failed.len()), (1, 1));
    assert!(pushed.failed[0].contains("other bytes under the segment's name"), "{pushed:?}");
    // Local damage is never sent.
    let (machine, _) = with_a_home();
    let file = machine.files_below("/a/far").remove(0);
    machine.fs.flip(Path::new(&file), 500, 1).unwrap();
    let pushed = push(&machine);
    assert_eq!((pushed.sent, pushed.failed.len()), (1, 1));
    assert!(pushed.failed[0].contains("SHA-256 differs"), "{pushed:?}");
    // A store whose disk is away: nothing is sent, nothing is written to its mount point.
    let (machine, _) = with_a_home();
    machine.fs.rename_new(Path::new("/store"), Path::new("/away")).unwrap();
    machine.fs.create_dir(Path::new("/store")).unwrap();
    let pushed = push(&machine);
    assert_eq!((pushed.sent, pushed.failed.len()), (0, 2));
    assert!(machine.files_below("/store").is_empty());
}

#[test]
fn a_remote_that_is_a_home_is_not_forgotten() {
    let (machine, remote) = with_a_home();
    let forget = || Log::forget_directory(&machine.options(), "file:///store", &mut |_| true);
    let error = forget().unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("collection=`far`"), "{error:?}");
    let log = machine.open();
    let local = log.directories()[0].0.clone();
    log.assign_home(&name("far"), &local).unwrap();
    log.close().unwrap();
    drop(log);
    assert_eq!(forget().unwrap().unwrap().id, remote);
    assert!(machine.set().newest.remotes.is_empty());
}

#[test]
fn the_list_tells_what_each_directory_holds() {
    let (machine, remote) = with_a_home();
    machine.add("/b").unwrap();
    let log = machine.open();
    append(&log, "unsealed", 100);
    log.sync().unwrap();
    log.maintain().unwrap();
    // Beside the writer.
    let list = Log::list_directories(&machine.options()).unwrap();
    let shown: Vec<_> = list.iter().map(|info| (info.place.as_str(), info.state, info.is_first)).collect();
    assert_eq!(shown, [("/a", "healthy", true), ("/b", "healthy", false), ("file:///store", "remote", false)]);
    let rows = machine.catalog.segments(None, None, 9).unwrap();
    assert_eq!(list[0].segments, Some(4));
    assert_eq!(list[0].bytes, Some(rows.iter().map(|row| row.bytes).sum()));
    let collections: u64 = list[..2].iter().map(|info| info.collections.unwrap()).sum();
    assert_eq!(collections, 3);
    assert!(list[..2].iter().map(|info| info.unsealed_bytes.unwrap()).sum::<u64>() > 100);
    assert!(list[..2].iter().all(|info| info.free_bytes.is_some()));
    assert_eq!((&list[2].id, list[2].collections, list[2].segments), (&remote, Some(1), Some(0)));
    log.close().unwrap();
    drop(log);
    // A directory that is away: it is told, and the rest is.
    machine.fs.rename_new(Path::new("/b"), Path::new("/away")).unwrap();
    let list = Log::list_directories(&machine.options()).unwrap();
    assert_eq!((list[1].state, list[1].free_bytes, list[1].unsealed_bytes), ("missing", None, None));
    assert!(list[1].reason.as_ref().unwrap().contains("no identity"), "{list:?}");
    assert_eq!((list[0].state, list[0].segments), ("healthy", Some(4)));
}
