//! A log of two directories on a simulated disk, whose one collection `c` lives in the first and has one sealed segment.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use icecore::catalog::memory::MemoryCatalog;
use icecore::catalog::{Catalog as _, SegmentRow};
use icecore::clock::FakeClock;
use icecore::fs::{Entry, File, FileSystem, FsError, FsResult, LockGuard, Metadata, OpenMode, SimulatedFileSystem};
use icecore::{CollectionName, Log, LogOptions, NewRecord, Timestamp};

/// Records in the segment.
pub const RECORDS: u64 = 5;
/// The file, below a directory.
pub const FILE: &str = "c/00000000000000000001-00000000000000000005.0.avro";

pub fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

/// A disk on which some paths cannot be listed or opened.
#[derive(Clone, Debug)]
pub struct Disk {
    pub inner: SimulatedFileSystem,
    unreadable: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Disk {
    pub fn of(inner: SimulatedFileSystem) -> Self {
        Self { inner, unreadable: Arc::default() }
    }

    /// From now on `path` gives an input/output error.
    pub fn break_path(&self, path: impl Into<PathBuf>) {
        self.unreadable.lock().unwrap().insert(path.into());
    }

    pub fn mend(&self) {
        self.unreadable.lock().unwrap().clear();
    }

    fn pass(&self, operation: &'static str, path: &Path) -> FsResult<()> {
        match self.unreadable.lock().unwrap().contains(path) {
            true => Err(FsError::new(operation, path, std::io::Error::from_raw_os_error(5))),
            false => Ok(()),
        }
    }

    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.inner.read(path.as_ref()).ok()
    }

    /// Puts a file there durably, with its folder, in place of any before.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = path.as_ref();
        icecore::fs::durable::create_dir_all(&self.inner, path.parent().unwrap()).unwrap();
        let _ = self.inner.remove_file(path);
        let file = self.inner.open(path, OpenMode::CreateNew).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync_all().unwrap();
        icecore::fs::durable::sync_parent(&self.inner, path).unwrap();
    }

    pub fn remove(&self, path: impl AsRef<Path>) {
        icecore::fs::durable::remove(&self.inner, path.as_ref()).unwrap();
    }

    /// Takes the journals away, as if all were released: what is in no segment is nowhere.
    pub fn remove_journals(&self) {
        for (path, ..) in self.inner.files() {
            if path.to_string_lossy().contains("/.journal/") && path.extension().is_some_and(|end| end == "avro") {
                self.remove(&path);
            }
        }
    }

    /// Every file in collections' folders, in directories' roots and in the quarantines, with its bytes.
    pub fn data_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.inner.files().into_iter().map(|(path, ..)| path).filter(|path| {
            let path = path.to_string_lossy();
            path.ends_with(".avro") && !path.contains("/.journal/") || path.contains("/quarantine/")
        });
        files.filter_map(|path| Some((path.clone(), self.read(&path)?))).collect()
    }
}

impl FileSystem for Disk {
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>> {
        self.pass("open", path)?;
        self.inner.open(path, mode)
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
        self.pass("list", directory)?;
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

/// A disk and its catalog: what the next process finds.
pub struct World {
    pub disk: Disk,
    pub catalog: Arc<MemoryCatalog>,
}

impl World {
    pub fn new() -> Self {
        Self { disk: Disk::of(SimulatedFileSystem::new()), catalog: Arc::default() }
    }

    /// The same in another world: what happens there does not happen here.
    pub fn fork(&self) -> Self {
        Self { disk: Disk::of(self.disk.inner.kill_image()), catalog: Arc::new(self.catalog.snapshot()) }
    }

    pub fn without_catalog(&self) -> Self {
        Self { catalog: Arc::default(), ..self.fork() }
    }

    pub fn options(&self) -> LogOptions {
        let mut options = LogOptions::new(["/one", "/two"]);
        options.fs = Arc::new(self.disk.clone());
        options.catalog = Some(self.catalog.clone());
        options.background = false;
        // Every process draws ids of its own.
        options.clock = Arc::new(FakeClock::at(Timestamp(fastrand::i64(1..1 << 48))));
        options
    }

    pub fn open(&self) -> Log {
        Log::open(self.options()).unwrap()
    }

    /// Appends and seals `RECORDS` records to `c`, each with `word`, and closes the log.
    pub fn seal(&self, word: &str) {
        let log = self.open();
        for number in 0..RECORDS {
            log.append(&name("c"), NewRecord::payload(format!("{word} {number}"))).unwrap();
        }
        log.seal(None).unwrap();
        log.close().unwrap();
    }

    pub fn row(&self) -> Option<SegmentRow> {
        self.catalog.segments(None, None, 9).unwrap().into_iter().next()
    }

    /// Ranges on record as missing.
    pub fn losses(&self) -> Vec<(u64, u64)> {
        let losses = self.catalog.losses(None).unwrap().into_iter();
        losses.map(|loss| (loss.first.get(), loss.last.get())).collect()
    }
}

/// What `c` holds: the sequences, or why it cannot be read.
pub fn sequences(log: &Log) -> Result<Vec<u64>, String> {
    let read = log.contents(&name("c")).map_err(|error| error.to_string())?;
    Ok(read.iter().map(|record| record.sequence.get()).collect())
}

/// Ids of the directories: of `/one`, of `/two`.
pub fn ids(log: &Log) -> [String; 2] {
    let id = |path: &str| log.directories().into_iter().find(|(_, at)| at == Path::new(path)).unwrap().0;
    [id("/one"), id("/two")]
}
