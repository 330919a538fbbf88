//! Files in memory, for this room's tests.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::fs::{Entry, File, FileSystem, FsError, FsResult, LockGuard, Metadata, OpenMode};

/// A file system that knows only new files in memory.
#[derive(Debug, Default)]
pub struct Memory {
    files: Mutex<Vec<Arc<MemoryFile>>>,
    fail_at: usize,
}

#[derive(Debug)]
pub struct MemoryFile {
    path: PathBuf,
    bytes: Mutex<Vec<u8>>,
    /// The write or sync of this number, from 1, fails.
    fail_at: usize,
    done: AtomicUsize,
}

impl Memory {
    /// One whose files fail at their write or sync of this number, from 1.
    pub fn failing_at(fail_at: usize) -> Self {
        Self { files: Mutex::default(), fail_at }
    }

    /// The bytes of the file `path`.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        self.find(path).unwrap().bytes.lock().unwrap().clone()
    }

    fn find(&self, path: &Path) -> Option<Arc<MemoryFile>> {
        self.files.lock().unwrap().iter().find(|file| file.path == path).cloned()
    }
}

impl MemoryFile {
    fn step(&self, operation: &'static str) -> FsResult<()> {
        if self.done.fetch_add(1, Ordering::SeqCst) + 1 == self.fail_at {
            return Err(FsError::new(operation, &self.path, io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// A file with these bytes.
    pub fn of(path: &str, bytes: &[u8]) -> Arc<dyn File> {
        Arc::new(Self { path: path.into(), bytes: Mutex::new(bytes.to_vec()), fail_at: 0, done: 0.into() })
    }
}

/// What the segment room never asks for fails loudly, as an error.
fn unused<T>() -> FsResult<T> {
    Err(FsError::new("more than a segment needs", Path::new(""), io::ErrorKind::Unsupported.into()))
}

impl FileSystem for Memory {
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>> {
        let error = |kind: io::ErrorKind| Err(FsError::new("open", path, kind.into()));
        match (self.find(path), mode) {
            (Some(_), OpenMode::CreateNew) => error(io::ErrorKind::AlreadyExists),
            (None, OpenMode::CreateNew) => {
                let file = Arc::new(MemoryFile {
                    path: path.into(),
                    bytes: Mutex::default(),
                    fail_at: self.fail_at,
                    done: 0.into(),
                });
                self.files.lock().unwrap().push(file.clone());
                Ok(file)
            }
            (Some(file), _) => Ok(file),
            (None, _) => error(io::ErrorKind::NotFound),
        }
    }

    fn rename_new(&self, _: &Path, _: &Path) -> FsResult<()> {
        unused()
    }

    fn replace(&self, _: &Path, _: &Path) -> FsResult<()> {
        unused()
    }

    fn copy_new(&self, _: &Path, _: &Path) -> FsResult<u64> {
        unused()
    }

    fn remove_file(&self, _: &Path) -> FsResult<()> {
        unused()
    }

    fn remove_dir(&self, _: &Path) -> FsResult<()> {
        unused()
    }

    fn list(&self, _: &Path) -> FsResult<Vec<Entry>> {
        unused()
    }

    fn metadata(&self, _: &Path) -> FsResult<Metadata> {
        unused()
    }

    fn create_dir(&self, _: &Path) -> FsResult<()> {
        unused()
    }

    fn sync_dir(&self, _: &Path) -> FsResult<()> {
        unused()
    }

    fn try_lock(&self, _: &Path) -> FsResult<Option<Box<dyn LockGuard>>> {
        unused()
    }

    fn free_bytes(&self, _: &Path) -> FsResult<u64> {
        unused()
    }
}

impl File for MemoryFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> FsResult<usize> {
        let bytes = self.bytes.lock().unwrap();
        let from = bytes.get(offset as usize..).unwrap_or_default();
        let read = from.len().min(buffer.len());
        buffer[..read].copy_from_slice(&from[..read]);
        Ok(read)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> FsResult<usize> {
        self.step("write")?;
        let mut bytes = self.bytes.lock().unwrap();
        assert_eq!(bytes.len() as u64, offset, "segments are written front to back");
        buffers.iter().for_each(|buffer| bytes.extend_from_slice(buffer));
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }

    fn preallocate(&self, _: u64) -> FsResult<()> {
        unused()
    }

    fn set_len(&self, _: u64) -> FsResult<()> {
        unused()
    }

    fn sync_data(&self) -> FsResult<()> {
        Ok(())
    }

    fn sync_all(&self) -> FsResult<()> {
        self.step("sync")
    }

    fn len(&self) -> FsResult<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
}
