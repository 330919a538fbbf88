//! The newest version of a key, and what is read for it.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use crate::fs::{Entry, File, FileSystem, FsResult, LockGuard, Metadata, OpenMode, OsFileSystem};

/// The real file system, counting reads by file.
#[derive(Debug, Default)]
struct Counting {
    inner: OsFileSystem,
    reads: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn File>,
    reads: Arc<Mutex<BTreeMap<PathBuf, u64>>>,
}

impl Counting {
    /// Reads of segments since the last call, by file name.
    fn segments(&self) -> Vec<(String, u64)> {
        let reads = std::mem::take(&mut *self.reads.lock().unwrap());
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let own = |path: &PathBuf| crate::segment::SegmentName::of_path(path).is_some();
        reads.iter().filter(|(path, _)| own(path)).map(|(path, reads)| (name(path), *reads)).collect()
    }
}

impl FileSystem for Counting {
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(CountingFile { inner, reads: Arc::clone(&self.reads) }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.inner.rename_new(from, to)
    }

    fn replace(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.inner.replace(from, to)
    }

    fn copy_new(&self, from: &Path, to: &Path) -> FsResult<u64> {
        self.inner.copy_new(from, to)
    }

    fn remove_file(&self, path: &Path) -> FsResult<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> FsResult<()> {
        self.inner.remove_dir(path)
    }

    fn list(&self, directory: &Path) -> FsResult<Vec<Entry>> {
        self.inner.list(directory)
    }

    fn metadata(&self, path: &Path) -> FsResult<Metadata> {
        self.inner.metadata(path)
    }

    fn create_dir(&self, path: &Path) -> FsResult<()> {
        self.inner.create_dir(path)
    }

    fn sync_dir(&self, directory: &Path) -> FsResult<()> {
        self.inner.sync_dir(directory)
    }

    fn try_lock(&self, path: &Path) -> FsResult<Option<Box<dyn LockGuard>>> {
        self.inner.try_lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> FsResult<u64> {
        self.inner.free_bytes(directory)
    }
}

impl File for CountingFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> FsResult<usize> {
        *self.reads.lock().unwrap().entry(self.path().to_path_buf()).or_default() += 1;
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> FsResult<usize> {
        self.inner.write_at(buffers, offset)
    }

    fn preallocate(&self, len: u64) -> FsResult<()> {
        self.inner.preallocate(len)
    }

    fn set_len(&self, len: u64) -> FsResult<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> FsResult<()> {
        self.inner.sync_data()
    }

    fn sync_all(&self) -> FsResult<()> {
        self.inner.sync_all()
    }

    fn len(&self) -> FsResult<u64> {
        self.inner.len()
    }
}

const NOW: Timestamp = Timestamp(1_000_000);

fn value(log: &Log, key: &str) -> Option<String> {
    let found = log.get(&name("users"), key.as_bytes(), NOW).unwrap()?;
    Some(String::from_utf8(found.payload.unwrap().to_vec()).unwrap())
}

#[test]
fn only_segments_that_may_hold_the_key_are_read() {
    let place = Place::new();
    let counting = Arc::new(Counting::default());
    let mut options = place.options();
    options.fs = counting.clone();
    let log = Log::open(options).unwrap();
    let users = name("users");
    for segment in 0..6 {
        for number in 0..40 {
            let key = format!("{}-{number}", ["ada", "bob", "cy", "dan", "eve", "bob"][segment]);
            log.append(&users, NewRecord::put(key, format!("{segment}/{number}"))).unwrap();
        }
        assert_eq!(log.seal(Some(&users)).unwrap(), 1);
    }
    counting.segments();
    assert_eq!(value(&log, "cy-7").as_deref(), Some("2/7"));
    let cold = counting.segments();
    let with_block: Vec<u64> = cold.iter().map(|(_, reads)| *reads).collect();
    // Footers of the newer ones, then the one with the key: end, front, and its blocks from the back.
    assert_eq!(cold.len(), 4, "older segments are not asked: {cold:?}");
    assert!(with_block[1..] == [2, 2, 2], "{cold:?}");
    assert_eq!(value(&log, "cy-7").as_deref(), Some("2/7"));
    let warm = counting.segments();
    assert!(warm.len() == 1 && warm[0].0.starts_with(&format!("{:020}-", 81)), "one segment alone: {warm:?}");
    // In two segments: the newer one answers, the older is not opened.
    assert_eq!(value(&log, "bob-39").as_deref(), Some("5/39"));
    let newest = counting.segments();
    assert_eq!(newest.iter().map(|(_, reads)| *reads).collect::<Vec<_>>(), [1], "the last block holds it: {newest:?}");
    assert_eq!(value(&log, "zoe"), None);
    assert_eq!(value(&log, "ada-99"), None);
    counting.segments();
    assert_eq!(value(&log, "zoe"), None);
    assert_eq!(counting.segments(), [], "no footer lets it be there");
}

#[test]
fn the_newest_version_decides_sealed_or_not() {
    let place = Place::new();
    let log = place.open();
    let users = name("users");
    let put = |key: &str, value: &str| log.append(&users, NewRecord::put(key.to_owned(), value.to_owned())).unwrap();
    put("a", "1");
    put("b", "1");
    put("c", "1");
    log.seal(None).unwrap();
    put("a", "2");
    log.delete(&users, ["b"]).unwrap();
    log.append(&users, NewRecord::put("c", "2").with_expiry(NOW)).unwrap();
    log.append(&users, NewRecord::put("d", "1").with_expiry(Timestamp(NOW.0 + 1))).unwrap();
    log.append(&users, NewRecord { key: None, ..NewRecord::put("", "no key") }).unwrap();
    for _ in 0..2 {
        assert_eq!(value(&log, "a").as_deref(), Some("2"));
        assert_eq!(value(&log, "b"), None, "deleted");
        assert_eq!(value(&log, "c"), None, "expired, and no older version shows through");
        assert_eq!(value(&log, "d").as_deref(), Some("1"));
        assert_eq!(value(&log, ""), None, "no key is not the empty one");
        log.seal(None).unwrap();
    }
    put("b", "3");
    assert_eq!(value(&log, "b").as_deref(), Some("3"));
    assert_eq!(log.get(&name("nobody"), b"a", NOW).unwrap_err().kind(), ErrorKind::NotFound);
}
