//! Homes in object stores, and what `directory ls` tells.

use super::*;
use crate::ErrorKind;
use crate::catalog::{Mutation, SegmentStatus};
use crate::fs::FileSystem;
use crate::fs::simulated::{Operation, OperationKind};
use crate::log::directories::HOME;
use crate::objects::Location;

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

/// Somebody else opens the log between the look at it and the change of the set.
#[test]
fn what_became_a_home_meanwhile_is_not_forgotten() {
    let (machine, remote) = with_a_home();
    let log = machine.open();
    log.assign_home(&name("far"), &log.directories()[0].0.clone()).unwrap();
    log.close().unwrap();
    drop(log);
    let locks = Arc::new(Mutex::new(0));
    let (seen, catalog, directory) = (Arc::clone(&locks), Arc::clone(&machine.catalog), remote.clone());
    machine.fs.observe(Arc::new(move |operation: &Operation, _: &SimulatedFileSystem| {
        if operation.kind != OperationKind::Lock {
            return;
        }
        *seen.lock().unwrap() += 1;
        if *seen.lock().unwrap() == 2 {
            let (component, collection) = (HOME.to_owned(), name("near"));
            let directory = directory.clone();
            let home = Mutation::Assign { component, collection, directory, epoch: Epoch(9), from: Sequence(3) };
            catalog.apply(&[home], Timestamp(1), "another process").unwrap();
        }
    }));
    let error = Log::forget_directory(&machine.options(), "file:///store", &mut |_| true).unwrap_err();
    machine.fs.observe_no_more();
    assert_eq!(*locks.lock().unwrap(), 2, "one for the look, one for the change");
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("collection=`near`"), "{error:?}");
    assert_eq!(machine.set().newest.remotes[0].directory, remote);
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
fn a_remote_that_is_a_home_is_not_forgotten() {
    let (machine, remote) = with_a_home();
    let forget = || Log::forget_directory(&machine.options(), "file:///store", &mut |_| true);
    let error = forget().unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("collection=`far`"), "{error:?}");
    let log = machine.open();
    let local = log.directories()[0].0.clone();
    log.assign_home(&name("far"), &local).unwrap();
    // What is kept there keeps it, too.
    let row = machine.catalog.segments(Some(&name("far")), None, 1).unwrap().remove(0);
    let step = |from, to, archive_key| Mutation::Transition { key: row.key.clone(), from, to, archive_key };
    let (sealed, archiving) = (SegmentStatus::Sealed, SegmentStatus::Archiving);
    let key = Some(format!("@{remote}/far/object"));
    machine.catalog.apply(&[step(sealed, archiving, key)], Timestamp(1), "t").unwrap();
    machine.catalog.apply(&[step(archiving, SegmentStatus::Archived, None)], Timestamp(1), "t").unwrap();
    log.close().unwrap();
    drop(log);
    let error = forget().unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("archived segments"), "{error:?}");
    machine.catalog.apply(&[step(SegmentStatus::Archived, sealed, None)], Timestamp(1), "t").unwrap();
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
