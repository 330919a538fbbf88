//! Avro files that are none of ours are named and left alone; a torn file of ours is not one of them.

use std::path::{Path, PathBuf};

use icecore::avro::container::encode_header;
use icecore::log::recover::segments;

use crate::world::{FILE, World, name, sequences};

#[test]
fn files_of_others_are_named_and_left_alone() {
    let world = World::new();
    world.seal("good");
    let foreign = encode_header(&[("avro.schema", b"\"long\""), ("avro.codec", b"null")], [7; 16]);
    let places = [
        "/one/export.avro",
        "/one/c/00000000000000000006-00000000000000000009.0.avro",
        "/one/c/notes.AVRO",
        "/two/other/00000000000000000001-00000000000000000002.0.avro",
        "/two/Upper/1.avro",
    ];
    for place in places {
        world.disk.put(place, &foreign);
    }
    // A segment of another log, under a name of this one's.
    let stranger = World::new();
    stranger.seal("stranger");
    let strange = "/two/d/00000000000000000001-00000000000000000005.0.avro";
    world.disk.put(strange, &stranger.disk.read(Path::new("/one").join(FILE)).unwrap());

    let before = world.disk.data_files();
    let log = world.open();
    assert!(log.recovery().steps.is_empty(), "{:?}", log.recovery().steps);
    assert!(log.recovery().damaged.is_empty(), "{:?}", log.recovery().damaged);
    assert_eq!(sequences(&log).unwrap(), [1, 2, 3, 4, 5]);
    let found = segments::find(&world.disk, &log.directories(), &*world.catalog, &[true, true]).unwrap();
    let mut named: Vec<PathBuf> = places.iter().chain([&strange]).map(PathBuf::from).collect();
    named.sort();
    assert_eq!(found.foreign, named);
    // A name alone makes no collection, and no sequence is left out for it.
    assert_eq!(found.collections.keys().collect::<Vec<_>>(), [&name("c")]);
    let receipt = log.append(&name("c"), icecore::NewRecord::payload("next")).unwrap();
    assert_eq!(receipt.last.get(), 6);
    log.close().unwrap();
    assert_eq!(world.disk.data_files(), before);
}

#[test]
fn a_torn_file_of_ours_is_set_aside() {
    let world = World::new();
    world.seal("good");
    let good = world.disk.read(Path::new("/one").join(FILE)).unwrap();
    let torn = "/one/c/00000000000000000006-00000000000000000009.0.avro";
    world.disk.put(torn, &good[..good.len() / 2]);
    let log = world.open();
    let steps: Vec<_> = log.recovery().steps.iter().map(|step| (step.action, step.path.as_path())).collect();
    assert_eq!(steps, [("set-aside", Path::new(torn))]);
    assert_eq!(world.disk.read(torn), None);
    assert!(world.disk.data_files().iter().any(|(_, bytes)| bytes == &good[..good.len() / 2]));
}
