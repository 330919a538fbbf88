//! Collections are found again by what lies in the directories, whatever they are called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use icecore::catalog::Catalog as _;
use icecore::fs::FileSystem as _;
use icecore::log::recover::segments::{self, Claim, strongest};
use icecore::types::Epoch;
use icecore::{CollectionName, NewRecord, ReadOptions, Sequence};

use crate::world::{World, name};

fn names() -> Vec<CollectionName> {
    let long = ["x".repeat(255), "Ü".repeat(127), format!("{}a", "y".repeat(254)), format!("{}b", "y".repeat(254))];
    let short = [
        "a",
        "A",
        "é",
        "e\u{301}",
        "日本語",
        ".hidden",
        ".journal",
        ".icecore",
        "_x",
        "_manifest",
        "CON",
        "con",
        "nul.txt",
        "dot.",
        "space ",
        " ",
        ".",
        "..",
        "a/b",
        "a\\b",
        "~",
        "~41",
        "x~~y",
        "tab\there",
        "line\nbreak",
        "c.0.avro",
    ];
    short.iter().map(|text| name(text)).chain(long.iter().map(|text| name(text))).collect()
}

fn payload(log: &icecore::Log, collection: &CollectionName) -> Vec<Vec<u8>> {
    let records = log.read(collection, ReadOptions::default()).unwrap();
    records.map(|record| record.unwrap().payload.unwrap().to_vec()).collect()
}

fn assignments(world: &World) -> BTreeMap<CollectionName, String> {
    let all = world.catalog.assignments(Some("wal"), None, 1000).unwrap();
    all.into_iter().map(|found| (found.collection, found.directory)).collect()
}

#[test]
fn collections_of_any_name_are_found_again_without_a_catalog() {
    let world = World::new();
    let log = world.open();
    for collection in names() {
        log.append(&collection, NewRecord::payload(collection.as_str().as_bytes().to_vec())).unwrap();
    }
    log.seal(None).unwrap();
    log.close().unwrap();
    drop(log);
    let before = assignments(&world);
    assert_eq!(before.len(), names().len());

    let world = world.without_catalog();
    let log = world.open();
    assert_eq!(assignments(&world), before);
    for collection in names() {
        assert_eq!(payload(&log, &collection), [collection.as_str().as_bytes()], "{collection:?}");
    }
    assert_eq!(log.recovery().losses, []);
}

/// A collection that was made and not used yet has a folder and nothing in it.
#[test]
fn empty_folders_tell_of_collections() {
    let world = World::new();
    let log = world.open();
    let directories = log.directories();
    log.close().unwrap();
    drop(log);
    for collection in names() {
        world.disk.create_dir(&Path::new("/two").join(collection.directory_name())).unwrap();
    }
    world.disk.create_dir(Path::new("/two/lost+found")).unwrap();
    world.disk.create_dir(Path::new("/two/Not Ours")).unwrap();
    let found = segments::find(&world.disk, &directories, &*world.catalog, &[true, true]).unwrap();
    let mut expected: Vec<(CollectionName, usize)> =
        names().into_iter().filter(|name| !name.directory_name().contains("~~")).map(|name| (name, 1)).collect();
    let mut empty = found.empty;
    expected.sort();
    empty.sort();
    assert_eq!(empty, expected);
    assert!(found.collections.is_empty());
}

/// The last directory listed won, silently.
#[test]
fn a_collection_in_two_directories_belongs_to_the_newest_epoch() {
    for (newer, winner) in [("/two", 1), ("/one", 0)] {
        let world = World::new();
        world.seal("first");
        world.seal("second");
        // Two segments of two epochs, one in each directory.
        let [first, second] = [1, 6].map(|at: u64| format!("c/{at:020}-{:020}.0.avro", at + 4));
        let older = if newer == "/two" { "/one" } else { "/two" };
        for (file, to) in [(&first, older), (&second, newer)] {
            let from = Path::new("/one").join(file);
            let bytes = world.disk.read(&from).unwrap();
            world.disk.remove(&from);
            world.disk.put(Path::new(to).join(file), &bytes);
        }
        // Journals have a word too; here, the folders alone.
        world.disk.remove_journals();
        let world = world.without_catalog();
        let log = world.open();
        assert_eq!(log.recovery().contested.len(), 1);
        let directories: Vec<(String, PathBuf)> = log.directories();
        let fresh = world.without_catalog();
        let found = segments::find(&world.disk, &directories, &*fresh.catalog, &[true, true]).unwrap();
        let [contested] = &found.contested[..] else { panic!("{:?}", found.contested) };
        assert_eq!((&contested.collection, contested.directory), (&name("c"), winner));
        assert!(contested.reason.contains(&format!("it belongs to directory=`{newer}`")), "{}", contested.reason);
        assert_eq!(found.collections[&name("c")].directory, Some(winner));
        assert_eq!(assignments(&world)[&name("c")], directories[winner].0);
        assert_eq!(payload(&log, &name("c")).len(), 10);
    }
}

#[test]
fn the_newest_epoch_outweighs_the_highest_sequence() {
    let claim = |directory, epoch, last| Claim { directory, epoch: Epoch(epoch), last: Sequence(last) };
    assert_eq!(strongest([claim(0, 2, 10), claim(1, 1, 99)]), Some(claim(0, 2, 10)));
    assert_eq!(strongest([claim(0, 2, 10), claim(1, 2, 11)]), Some(claim(1, 2, 11)));
    assert_eq!(strongest([claim(1, 2, 10), claim(0, 2, 10)]), Some(claim(0, 2, 10)));
    assert_eq!(strongest([]), None);
}
