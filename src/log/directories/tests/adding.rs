//! A directory joins, comes back, moves; and what is refused.

use super::*;
use crate::ErrorKind;
use crate::fs::{FileSystem, OpenMode};
use crate::log::directories::How;
use crate::log::identity::Identity;
use crate::objects::Location;

#[test]
fn a_new_directory_takes_collections() {
    let machine = Machine::new(&["/a"]);
    machine.open().close().unwrap();
    let added = machine.add("/mnt/b/../b").unwrap();
    assert_eq!((added.place.as_str(), added.how), ("/mnt/b", How::New));
    let log = machine.open();
    assert_eq!(log.directories().len(), 2);
    assert_eq!(log.directories()[1], (added.id, "/mnt/b".into()));
    for collection in ["one", "two", "three"] {
        append(&log, collection, 10);
    }
    log.close().unwrap();
    // Any one of them finds the other.
    let log = Machine { directories: vec!["/mnt/b"], ..machine }.open();
    assert_eq!(log.directories().len(), 2);
    assert_eq!(sequences(&log, "two"), [1]);
}

/// Before every operation of an `add`, by a kill and by power cuts: the log opens with everything, and adding again ends well.
#[test]
fn an_add_can_be_interrupted_anywhere() {
    let machine = Machine::new(&["/a", "/b"]);
    let log = machine.open();
    append(&log, "c", 10);
    log.close().unwrap();
    let images = machine.at_each_change(|machine| drop(machine.add("/n").unwrap()));
    assert!(images.len() > 50);
    let (mut new, mut finished, mut there) = (0, 0, 0);
    for image in images {
        // As long as it is not in, nobody misses it.
        let set = image.set();
        assert!(set.members.iter().all(|member| member.identity.is_ok()), "{set:?}");
        let log = image.open();
        assert_eq!(sequences(&log, "c"), [1]);
        log.close().unwrap();
        match image.add("/n") {
            Ok(added) if added.how == How::New => new += 1,
            Ok(added) => {
                assert_eq!(added.how, How::Finished);
                finished += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
                there += 1;
            }
        }
        let after = Machine { fs: image.fs.crash_image(Cut::DropAll), ..image };
        let set = after.set();
        assert!(set.members.len() == 3 && set.is_agreed(), "{set:?}");
        let log = Machine { directories: vec!["/n"], ..after }.open();
        assert_eq!(log.directories().len(), 3);
        assert_eq!(sequences(&log, "c"), [1]);
    }
    assert!(new > 10 && there > 0, "{new} {finished} {there}");
}

#[test]
fn what_cannot_be_added_is_refused() {
    let machine = Machine::new(&["/a"]);
    let error = machine.add("/b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "a log is not made by adding: {error}");
    let log = machine.open();
    append(&log, "c", 10);
    let locked = machine.add("/b").unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::Locked);
    log.close().unwrap();
    drop(log);
    let other = Machine { directories: vec!["/other"], catalog: Arc::default(), fs: machine.fs.clone() };
    other.open().close().unwrap();
    machine.fs.create_dir(Path::new("/full")).unwrap();
    machine.fs.open(Path::new("/full/letters.txt"), OpenMode::CreateNew).unwrap();
    let before = machine.fs.files();
    for (path, kind, what) in [
        ("/a", ErrorKind::Conflict, "is in already"),
        ("/a/../a", ErrorKind::Conflict, "is in already"),
        ("/other", ErrorKind::Invalid, "of another log"),
        ("/full", ErrorKind::Invalid, "not empty"),
        ("/a/b", ErrorKind::Invalid, "inside the other"),
        ("/", ErrorKind::Invalid, "inside the other"),
    ] {
        let error = machine.add(path).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(what), "{path}: {error:?}");
    }
    let names = |files: &[(std::path::PathBuf, crate::fs::EntryKind, u64)]| {
        files.iter().map(|(path, ..)| path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&machine.fs.files()), names(&before), "what is refused leaves nothing behind");
    // A new file system has this folder of its own.
    machine.fs.create_dir(Path::new("/disk")).unwrap();
    machine.fs.create_dir(Path::new("/disk/lost+found")).unwrap();
    assert_eq!(machine.add("/disk").unwrap().how, How::New);
}

#[test]
fn one_that_is_mounted_elsewhere_is_found_there_and_a_copy_is_refused() {
    let machine = Machine::new(&["/a", "/b"]);
    let log = machine.open();
    append(&log, "one", 10);
    append(&log, "two", 10);
    log.close().unwrap();
    drop(log);
    let id = machine.set().members[1].id.clone();
    machine.fs.create_dir(Path::new("/mnt")).unwrap();
    machine.fs.rename_new(Path::new("/b"), Path::new("/mnt/b")).unwrap();
    let log_at_a =
        || Machine { directories: vec!["/a"], fs: machine.fs.clone(), catalog: Arc::clone(&machine.catalog) };
    assert!(log_at_a().set().members[1].identity.is_err());
    let added = log_at_a().add("/mnt/b").unwrap();
    assert_eq!((added.id, added.how), (id.clone(), How::Moved));
    let set = log_at_a().set();
    assert!(set.is_agreed() && set.members[1].path == Path::new("/mnt/b"), "{set:?}");
    let log = log_at_a().open();
    assert_eq!((sequences(&log, "one"), sequences(&log, "two")), (vec![1], vec![1]));
    log.close().unwrap();
    drop(log);
    // A copy has the same id.
    let identity = Identity::read(&machine.fs, Path::new("/mnt/b")).unwrap().unwrap();
    machine.fs.create_dir(Path::new("/copy")).unwrap();
    machine.fs.create_dir(Path::new("/copy/.icecore")).unwrap();
    identity.write(&machine.fs, Path::new("/copy")).unwrap();
    let error = log_at_a().add("/copy").unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("a copy of one"), "{error:?}");
}

#[test]
fn remotes_are_kept_without_secrets_and_once() {
    let machine = Machine::new(&["/a"]);
    machine.open().close().unwrap();
    let add = |url: &str| Log::add_remote(&machine.options(), &url.parse::<Location>()?);
    let bucket = add("s3://my-bucket/p/").unwrap();
    assert_eq!((bucket.place.as_str(), bucket.how), ("s3://my-bucket/p", How::New));
    assert_eq!(add("s3://my-bucket/p").unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(add("s3://key:secret@my-bucket/p").unwrap_err().kind(), ErrorKind::Invalid);
    assert!(add("abfss://logs@acct.dfs.core.windows.net/x").unwrap().place.starts_with("az://acct/logs"));
    assert_eq!(add("file:///a/b").unwrap_err().kind(), ErrorKind::Invalid);
    add("file:///store").unwrap();
    assert_eq!(machine.add("/store/b").unwrap_err().kind(), ErrorKind::Invalid);
    let urls: Vec<String> = machine.set().newest.remotes.iter().map(|remote| remote.url.clone()).collect();
    assert_eq!(urls, ["s3://my-bucket/p", "az://acct/logs/x", "file:///store"]);
    // Opening and adding keep them.
    machine.open().close().unwrap();
    machine.add("/b").unwrap();
    machine.open().close().unwrap();
    for path in ["/a", "/b"] {
        assert_eq!(Identity::read(&machine.fs, Path::new(path)).unwrap().unwrap().remotes.len(), 3);
    }
}
