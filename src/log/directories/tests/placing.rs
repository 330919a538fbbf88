//! Homes that the placement policy chose, on disks that are cut off before every single change, with the catalog and without it.

use std::collections::BTreeMap;

use super::*;
use crate::assignment::Over;
use crate::catalog::Assignment;
use crate::log::directories::HOME;
use crate::objects::Location;

/// Two local directories and two remotes.
fn machine() -> (Machine, Vec<String>) {
    let machine = Machine::new(&["/a", "/b"]);
    machine.open().close().unwrap();
    let add = |url: &str| Log::add_remote(&machine.options(), &url.parse::<Location>().unwrap()).unwrap().id;
    let remotes = vec![add("file:///store-1"), add("file:///store-2")];
    // The first opening with a remote writes down that nobody is at home there.
    open(&machine).close().unwrap();
    (machine, remotes)
}

fn open(machine: &Machine) -> Log {
    Log::open(LogOptions { placement_over: Over::All, ..machine.options() }).unwrap()
}

/// Where each collection is at home: a remote's id, or nothing.
fn homes(log: &Log) -> BTreeMap<String, Option<String>> {
    let names = log.collections().unwrap().into_iter().map(|info| info.collection);
    names.map(|name| (name.to_string(), log.home_of(&name).unwrap())).collect()
}

fn rows(catalog: &MemoryCatalog) -> Vec<Assignment> {
    catalog.assignments(Some(HOME), None, 100).unwrap()
}

#[test]
fn a_home_that_was_told_is_the_home_wherever_a_crash_comes_with_the_catalog_or_without() {
    let (machine, remotes) = machine();
    let images = machine.at_each_change(|machine| {
        let log = open(machine);
        for number in 0..5 {
            append(&log, &format!("c{number}"), 100);
        }
        log.maintain().unwrap();
        // Sealed before the catalog was told of it.
        append(&log, "d", 100);
        log.seal(Some(&name("d"))).unwrap();
        append(&log, "e", 100);
        log.maintain().unwrap();
        log.create_collection_at(&name("given"), &crate::CollectionSettings::default(), &remotes[1]).unwrap();
        log.assign_home(&name("c2"), &remotes[1]).unwrap();
        log.assign_home(&name("c3"), "/a").unwrap();
        log.close().unwrap();
    });
    let (mut told, mut lost) = (0, 0);
    for image in images {
        let without = Machine { fs: image.fs.kill_image(), catalog: Arc::default(), directories: vec!["/a", "/b"] };
        let before = rows(&image.catalog);
        let log = open(&image);
        let with = homes(&log);
        for row in &before {
            let home = with.get(row.collection.as_str());
            // An assignment that was under way may be there.
            let is_given = ["c2", "c3"].contains(&row.collection.as_str());
            told += usize::from(!is_given);
            let expected = remotes.contains(&row.directory).then(|| row.directory.clone());
            assert!(is_given || home == Some(&expected), "{row:?}: {home:?}");
        }
        // What is told after the crash stays, too.
        log.close().unwrap();
        drop(log);
        assert_eq!(homes(&open(&image)), with);
        let log = open(&without);
        let found = homes(&log);
        for (collection, home) in &found {
            lost += usize::from(home.is_some());
            assert_eq!(with.get(collection), Some(home), "{collection}, without the catalog");
        }
    }
    assert!(told > 100 && lost > 100, "{told}, {lost}");
}

#[test]
fn a_row_is_told_behind_the_record_and_a_segment_behind_both() {
    let (machine, remotes) = machine();
    let images = machine.at_each_change(|machine| {
        let log = open(machine);
        for number in 0..4 {
            append(&log, &format!("c{number}"), 100);
            log.seal(Some(&name(&format!("c{number}")))).unwrap();
        }
    });
    let mut sealed = 0;
    for image in images {
        let places = [Path::new("/a"), Path::new("/b")];
        let records = crate::log::assign::homes::read(&image.fs, places).unwrap().unwrap();
        let home = |name: &CollectionName| records.get(name).and_then(|record| record.home.clone());
        for row in rows(&image.catalog) {
            assert_eq!(home(&row.collection), Some(row.directory.clone()), "a row without its record");
        }
        for row in image.catalog.segments(None, None, 100).unwrap() {
            sealed += 1;
            let assigned = image.catalog.assignment(HOME, &row.key.collection).unwrap().map(|row| row.directory);
            assert_eq!(assigned, home(&row.key.collection), "a segment without its home");
        }
        for collection in image.files_below("/a").into_iter().chain(image.files_below("/b")) {
            let is_segment = collection.ends_with(".0.avro");
            let of = collection.split('/').nth(2).unwrap_or_default().to_owned();
            assert!(!is_segment || records.contains_key(&name(&of)), "{collection}: a file without a record");
        }
    }
    let log = machine.open();
    let found: Vec<_> = homes(&log).into_values().collect();
    assert_eq!(found, [None, None, Some(remotes[0].clone()), Some(remotes[1].clone())]);
    assert!(sealed > 0);
}

#[test]
fn remotes_of_which_nothing_is_to_come_are_not_chosen() {
    let (machine, remotes) = machine();
    let drained = Log::drain_directory(&machine.options(), "file:///store-1", &mut |_| true).unwrap();
    assert!(drained.is_empty(), "{drained:?}");
    let log = open(&machine);
    (0..6).for_each(|number| append(&log, &format!("c{number}"), 100));
    log.maintain().unwrap();
    let counts = |log: &Log| {
        let all = homes(log).into_values().collect::<Vec<_>>();
        remotes.iter().map(|id| all.iter().filter(|home| home.as_ref() == Some(id)).count()).collect::<Vec<_>>()
    };
    assert_eq!(counts(&log), [0, 2]);
    log.close().unwrap();
    drop(log);
    // One that is somebody's home is drained, says whose it is, and cannot be forgotten.
    let drained = Log::drain_directory(&machine.options(), &remotes[1], &mut |_| true).unwrap();
    assert_eq!(drained.kept.len(), 2, "{drained:?}");
    assert!(drained.kept[0].1.contains("collection set"), "{drained:?}");
    let error = Log::forget_directory(&machine.options(), &remotes[1], &mut |_| true).unwrap_err();
    assert!(error.kind() == crate::ErrorKind::Conflict && error.to_string().contains("collections=`2`"), "{error:?}");
    let log = open(&machine);
    (6..9).for_each(|number| append(&log, &format!("c{number}"), 100));
    log.maintain().unwrap();
    assert_eq!(counts(&log), [0, 2], "neither is chosen");
    log.close().unwrap();
    drop(log);
    let back = Log::add_remote(&machine.options(), &"file:///store-1".parse().unwrap()).unwrap();
    assert_eq!((back.how, &back.id), (crate::log::directories::How::BackInService, &remotes[0]));
    // By the setting, none is.
    let log = machine.open();
    append(&log, "local", 100);
    log.maintain().unwrap();
    assert_eq!(log.home_of(&name("local")).unwrap(), None);
    log.close().unwrap();
    drop(log);
    let log = open(&machine);
    append(&log, "remote", 100);
    log.maintain().unwrap();
    assert_eq!(log.home_of(&name("remote")).unwrap(), Some(remotes[0].clone()));
}

#[test]
fn collections_that_were_there_before_the_first_remote_stay_local() {
    let machine = Machine::new(&["/a"]);
    let log = machine.open();
    append(&log, "sealed", 100);
    log.seal(None).unwrap();
    append(&log, "journalled", 100);
    log.close().unwrap();
    drop(log);
    let nowhere = |machine: &Machine| machine.files_below("/a").iter().all(|file| !file.ends_with("/homes"));
    assert!(nowhere(&machine), "a log without remotes records nothing");
    Log::add_remote(&machine.options(), &"file:///store".parse().unwrap()).unwrap();
    for catalog in [Arc::clone(&machine.catalog), Arc::default()] {
        let machine = Machine { fs: machine.fs.kill_image(), catalog, directories: vec!["/a"] };
        let log = open(&machine);
        assert!(homes(&log).into_values().all(|home| home.is_none()));
        append(&log, "new", 100);
        log.maintain().unwrap();
        assert!(log.home_of(&name("new")).unwrap().is_some());
    }
}
