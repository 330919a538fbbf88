//! What every file system does alike: one suite, run on the real one and on the simulated one.

use std::io::{self, IoSlice};
use std::path::Path;

use super::{EntryKind, FileSystem, OpenMode, OsFileSystem, SimulatedFileSystem, durable};

#[test]
fn the_real_one() {
    let folder = tempfile::tempdir().unwrap();
    run(&OsFileSystem::new(), folder.path());
}

#[test]
fn the_simulated_one() {
    run(&SimulatedFileSystem::new(), Path::new("/"));
}

#[test]
fn the_simulated_one_with_windows_rules() {
    run(&SimulatedFileSystem::windows(), Path::new("/"));
}

fn run(fs: &dyn FileSystem, root: &Path) {
    type Check = fn(&dyn FileSystem, &Path);
    let checks: [(&str, Check); 8] = [
        ("bytes", bytes),
        ("lengths", lengths),
        ("names", names),
        ("renames", renames),
        ("directories", directories),
        ("absence", absence),
        ("locks", locks),
        ("rituals", rituals),
    ];
    for (name, check) in checks {
        let place = root.join(name);
        fs.create_dir(&place).unwrap();
        check(fs, &place);
    }
}

fn kind_of<T: std::fmt::Debug>(outcome: super::FsResult<T>) -> io::ErrorKind {
    outcome.unwrap_err().source.kind()
}

fn make(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) {
    fs.open(path, OpenMode::CreateNew).unwrap().write_all_at(bytes, 0).unwrap();
}

fn bytes(fs: &dyn FileSystem, place: &Path) {
    let path = place.join("file");
    let file = fs.open(&path, OpenMode::CreateNew).unwrap();
    assert_eq!(file.path(), path);
    file.write_slices_at(&mut [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cd")], 0).unwrap();
    // Behind the end: zeros between.
    file.write_all_at(b"xyz", 10_000).unwrap();
    file.write_all_at(b"C", 2).unwrap();
    let other = fs.open(&path, OpenMode::Read).unwrap();
    assert_eq!(other.len().unwrap(), 10_003);
    let mut front = [9; 6];
    other.read_exact_at(&mut front, 0).unwrap();
    assert_eq!(&front, b"abCd\0\0");
    let mut end = [0; 8];
    assert_eq!(other.read_at(&mut end, 10_000).unwrap(), 3);
    assert_eq!(other.read_at(&mut end, 10_003).unwrap(), 0);
    assert_eq!(other.read_at(&mut end, 20_000).unwrap(), 0);
    assert_eq!(kind_of(other.read_exact_at(&mut end, 10_000)), io::ErrorKind::UnexpectedEof);
    assert!(other.write_at(&[IoSlice::new(b"no")], 0).is_err(), "opened to read only");
    file.sync_data().unwrap();
    file.sync_all().unwrap();
}

fn lengths(fs: &dyn FileSystem, place: &Path) {
    let file = fs.open(&place.join("file"), OpenMode::CreateNew).unwrap();
    file.write_all_at(b"kept", 0).unwrap();
    file.preallocate(100_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_000);
    file.preallocate(10).unwrap();
    assert_eq!(file.len().unwrap(), 100_000, "preallocating never cuts");
    let mut read = [9; 8];
    file.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"kept\0\0\0\0");
    file.read_exact_at(&mut read, 99_992).unwrap();
    assert_eq!(read, [0; 8]);
    file.set_len(2).unwrap();
    file.set_len(6).unwrap();
    assert_eq!(file.read_at(&mut read, 0).unwrap(), 6);
    assert_eq!(&read[..6], b"ke\0\0\0\0", "what was cut does not come back");
}

fn names(fs: &dyn FileSystem, place: &Path) {
    let path = place.join("file");
    make(fs, &path, b"12345");
    assert!(fs.open(&path, OpenMode::CreateNew).unwrap_err().is_already_exists());
    let found = fs.metadata(&path).unwrap();
    assert_eq!((found.kind, found.len), (EntryKind::File, 5));
    assert_eq!(fs.metadata(place).unwrap().kind, EntryKind::Directory);
    assert_eq!(fs.copy_new(&path, &place.join("copy")).unwrap(), 5);
    assert!(fs.copy_new(&path, &place.join("copy")).unwrap_err().is_already_exists());
    assert_eq!(durable::read_small(fs, &place.join("copy"), 5).unwrap(), b"12345");
    assert_eq!(kind_of(durable::read_small(fs, &path, 4)), io::ErrorKind::FileTooLarge);
    let mut listed: Vec<_> = fs.list(place).unwrap().into_iter().map(|entry| (entry.name, entry.kind)).collect();
    listed.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(listed, [("copy".into(), EntryKind::File), ("file".into(), EntryKind::File)]);
    fs.remove_file(&path).unwrap();
    assert!(fs.metadata(&path).unwrap_err().is_not_found());
    fs.sync_dir(place).unwrap();
    assert!(fs.free_bytes(place).unwrap() > 0);
}

fn renames(fs: &dyn FileSystem, place: &Path) {
    let (one, two, three) = (place.join("one"), place.join("two"), place.join("three"));
    make(fs, &one, b"one");
    make(fs, &two, b"two");
    assert!(fs.rename_new(&one, &two).unwrap_err().is_already_exists());
    assert_eq!(durable::read_small(fs, &one, 9).unwrap(), b"one");
    assert_eq!(durable::read_small(fs, &two, 9).unwrap(), b"two");
    let open = fs.open(&one, OpenMode::ReadWrite).unwrap();
    fs.rename_new(&one, &three).unwrap();
    assert!(fs.metadata(&one).unwrap_err().is_not_found());
    // A handle goes with the file, not with the name.
    open.write_all_at(b"ONE", 0).unwrap();
    drop(open);
    fs.replace(&three, &two).unwrap();
    assert_eq!(durable::read_small(fs, &two, 9).unwrap(), b"ONE");
    assert!(fs.metadata(&three).unwrap_err().is_not_found());
}

fn directories(fs: &dyn FileSystem, place: &Path) {
    let inner = place.join("inner");
    fs.create_dir(&inner).unwrap();
    assert!(fs.create_dir(&inner).unwrap_err().is_already_exists());
    make(fs, &inner.join("file"), b"");
    assert!(fs.remove_dir(&inner).is_err(), "not empty");
    assert!(fs.remove_file(&inner).is_err(), "no file");
    fs.remove_file(&inner.join("file")).unwrap();
    fs.remove_dir(&inner).unwrap();
    assert!(fs.list(&inner).unwrap_err().is_not_found());
}

fn absence(fs: &dyn FileSystem, place: &Path) {
    let (nothing, below) = (place.join("nothing"), place.join("nothing/below"));
    assert!(fs.open(&nothing, OpenMode::Read).unwrap_err().is_not_found());
    assert!(fs.open(&nothing, OpenMode::ReadWrite).unwrap_err().is_not_found());
    assert!(fs.open(&below, OpenMode::CreateNew).unwrap_err().is_not_found());
    assert!(fs.rename_new(&nothing, &place.join("x")).unwrap_err().is_not_found());
    assert!(fs.replace(&nothing, &place.join("x")).unwrap_err().is_not_found());
    assert!(fs.copy_new(&nothing, &place.join("x")).unwrap_err().is_not_found());
    assert!(fs.remove_file(&nothing).unwrap_err().is_not_found());
    assert!(fs.remove_dir(&nothing).unwrap_err().is_not_found());
    assert!(fs.create_dir(&below).unwrap_err().is_not_found());
    assert!(fs.sync_dir(&nothing).unwrap_err().is_not_found());
    assert_eq!(fs.list(place).unwrap(), []);
}

fn locks(fs: &dyn FileSystem, place: &Path) {
    let path = place.join("lock");
    let held = fs.try_lock(&path).unwrap();
    assert!(held.is_some());
    assert!(fs.try_lock(&path).unwrap().is_none());
    drop(held);
    assert!(fs.try_lock(&path).unwrap().is_some());
}

fn rituals(fs: &dyn FileSystem, place: &Path) {
    let deep = place.join("a/b/c");
    durable::create_dir_all(fs, &deep).unwrap();
    durable::create_dir_all(fs, &deep).unwrap();
    let path = deep.join("small");
    durable::replace_small(fs, &path, b"one").unwrap();
    durable::replace_small(fs, &path, b"two").unwrap();
    assert_eq!(durable::read_small(fs, &path, 3).unwrap(), b"two");
    make(fs, &deep.join("x.tmp"), b"new");
    assert!(durable::publish(fs, &deep.join("x.tmp"), &path).unwrap_err().is_already_exists());
    durable::remove(fs, &path).unwrap();
    durable::publish(fs, &deep.join("x.tmp"), &path).unwrap();
    assert_eq!(durable::read_small(fs, &path, 3).unwrap(), b"new");
}
