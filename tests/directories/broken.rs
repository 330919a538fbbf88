//! The real file system, below one path of which nothing can be written from some moment on.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use icecore::fs::{Entry, File, FileSystem, FsError, FsResult, LockGuard, Metadata, OpenMode, OsFileSystem};

#[derive(Clone, Debug)]
pub struct Broken {
    place: PathBuf,
    is_broken: Arc<AtomicBool>,
    real: Arc<OsFileSystem>,
}

#[derive(Debug)]
struct BrokenFile {
    fs: Broken,
    file: Arc<dyn File>,
}

impl Broken {
    /// Nothing is broken yet.
    pub fn new(place: &Path) -> Self {
        Self { place: place.to_path_buf(), is_broken: Arc::default(), real: Arc::new(OsFileSystem::new()) }
    }

    pub fn break_now(&self) {
        self.is_broken.store(true, Ordering::Release);
    }

    fn check(&self, operation: &'static str, path: &Path) -> FsResult<()> {
        if self.is_broken.load(Ordering::Acquire) && path.starts_with(&self.place) {
            return Err(FsError::new(operation, path, io::Error::other("broken on purpose")));
        }
        Ok(())
    }
}

impl FileSystem for Broken {
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>> {
        if mode == OpenMode::CreateNew {
            self.check("create", path)?;
        }
        let file = self.real.open(path, mode)?;
        Ok(Arc::new(BrokenFile { fs: self.clone(), file }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.check("rename", to)?;
        self.real.rename_new(from, to)
    }

    fn replace(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.check("replace", to)?;
        self.real.replace(from, to)
    }

    fn copy_new(&self, from: &Path, to: &Path) -> FsResult<u64> {
        self.check("copy", to)?;
        self.real.copy_new(from, to)
    }

    fn remove_file(&self, path: &Path) -> FsResult<()> {
        self.check("remove", path)?;
        self.real.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> FsResult<()> {
        self.check("remove", path)?;
        self.real.remove_dir(path)
    }

    fn list(&self, directory: &Path) -> FsResult<Vec<Entry>> {
        self.real.list(directory)
    }

    fn metadata(&self, path: &Path) -> FsResult<Metadata> {
        self.real.metadata(path)
    }

    fn create_dir(&self, path: &Path) -> FsResult<()> {
        self.check("create", path)?;
        self.real.create_dir(path)
    }

    fn sync_dir(&self, directory: &Path) -> FsResult<()> {
        self.check("sync", directory)?;
        self.real.sync_dir(directory)
    }

    fn try_lock(&self, path: &Path) -> FsResult<Option<Box<dyn LockGuard>>> {
        self.real.try_lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> FsResult<u64> {
        self.real.free_bytes(directory)
    }
}

impl File for BrokenFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> FsResult<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> FsResult<usize> {
        self.fs.check("write", self.path())?;
        self.file.write_at(buffers, offset)
    }

    fn preallocate(&self, len: u64) -> FsResult<()> {
        self.fs.check("preallocate", self.path())?;
        self.file.preallocate(len)
    }

    fn set_len(&self, len: u64) -> FsResult<()> {
        self.fs.check("set length of", self.path())?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> FsResult<()> {
        self.fs.check("sync", self.path())?;
        self.file.sync_data()
    }

    fn sync_all(&self) -> FsResult<()> {
        self.fs.check("sync", self.path())?;
        self.file.sync_all()
    }

    fn len(&self) -> FsResult<u64> {
        self.file.len()
    }
}
