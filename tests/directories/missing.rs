//! A disk is not there when the log opens: its collections take no appends, and say where they are; everybody else goes on;
//! nothing is made in the empty mount point; and when it is back, so are its collections.

use std::path::PathBuf;
use std::sync::Mutex;

use icecore::log::DirectoryState;
use icecore::{CollectionName, ErrorKind, Log, NewRecord, SyncMode};

use crate::disks::Disk;
use crate::load::{self, Acknowledged, append_to_all, compare, nothing_is_lost, told};
use crate::namespace::inside;

#[test]
fn missing_at_the_start() {
    if !inside("missing::missing_at_the_start") {
        return;
    }
    let below = tempfile::tempdir().unwrap();
    let disks: Vec<Disk> = ["one", "two", "three"].map(|name| Disk::new(below.path(), name)).into();
    let places: Vec<PathBuf> = disks.iter().map(|disk| disk.point.clone()).collect();
    let open = || Log::open(load::options(&places, SyncMode::PerBatch));
    let log = open().unwrap();
    let acknowledged = Mutex::new(Acknowledged::default());
    load::write(&log, &acknowledged, 60, 1, || {});
    let ids: Vec<String> = log.directories().into_iter().map(|(id, _)| id).collect();
    log.close().unwrap();
    drop(log);

    for away in [2, 1] {
        let disk = &disks[away];
        disk.unmount();
        for round in 0..2 {
            let log = open().unwrap_or_else(|error| panic!("{}", told(&error)));
            nothing_is_lost(&log);
            let states = log.directory_states();
            assert!(matches!(states[away].2, DirectoryState::Missing(_)), "{states:?}");
            let mut refused =
                append_to_all(&log, &acknowledged, &format!("{round}: {away} is missing"), &[&disk.point]);
            let names = acknowledged.lock().unwrap().by_collection.keys().cloned().collect::<Vec<_>>();
            let lives_there = |name: &String| {
                let name = CollectionName::new(name).unwrap();
                log.catalog().assignment("wal", &name).unwrap().is_some_and(|found| found.directory == ids[away])
            };
            let mut expected: Vec<String> = names.into_iter().filter(lives_there).collect();
            refused.sort();
            expected.sort();
            assert_eq!(refused, expected, "whose directory is missing, and only they, refuse");
            assert!(refused.len() > 3);
            compare(&log, &acknowledged.lock().unwrap(), &[&disk.point]);
            for number in 0..9 {
                let (name, payload) = (format!("new-{away}-{number}"), format!("new {round}"));
                let appended = log.append(&CollectionName::new(&name).unwrap(), NewRecord::payload(payload.clone()));
                let sequence = appended.unwrap_or_else(|error| panic!("{}", told(&error))).first.0;
                acknowledged.lock().unwrap().add(&name, sequence, payload);
            }
            log.close().unwrap();
            drop(log);
            assert_eq!(disk.names(), Vec::<String>::new(), "the empty mount point was not left alone");
        }
        disk.mount_again();
        let log = open().unwrap_or_else(|error| panic!("{}", told(&error)));
        nothing_is_lost(&log);
        assert_eq!(append_to_all(&log, &acknowledged, &format!("{away} is back"), &[]), Vec::<String>::new());
        let found = acknowledged.lock().unwrap();
        assert_eq!(compare(&log, &found, &[]), found.by_collection.len());
        log.close().unwrap();
    }
}

#[test]
fn without_the_catalog_nothing_opens() {
    if !inside("missing::without_the_catalog_nothing_opens") {
        return;
    }
    let below = tempfile::tempdir().unwrap();
    let disks: Vec<Disk> = ["one", "two"].map(|name| Disk::new(below.path(), name)).into();
    let places: Vec<PathBuf> = disks.iter().map(|disk| disk.point.clone()).collect();
    let open = || Log::open(load::options(&places, SyncMode::PerBatch));
    open().unwrap().close().unwrap();
    disks[0].unmount();
    let error = open().unwrap_err();
    let text = told(&error);
    assert!(text.contains(disks[0].point.to_str().unwrap()), "{text}");
    assert_ne!(error.kind(), ErrorKind::NotFound, "it is not that there is no log: {text}");
    assert_eq!(disks[0].names(), Vec::<String>::new());
    disks[0].mount_again();
    open().unwrap().close().unwrap();
}
