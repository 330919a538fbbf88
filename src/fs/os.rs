//! The real file system, through `rustix` and the standard library.

#![allow(clippy::disallowed_methods)] // the one place for them

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags};

use super::{Entry, EntryKind, File, FileSystem, FsError, FsResult, LockGuard, Metadata, OpenMode};

/// Zeros are written in pieces of this size: bigger ones leave large folios in the page cache, which make each later
/// small sync slower.
const ZEROS_BYTES: usize = 64 << 10;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFileSystem;

impl OsFileSystem {
    /// The real file system.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    path: PathBuf,
}

#[derive(Debug)]
struct OsLock {
    _file: fs::File,
}

impl LockGuard for OsLock {}

fn entry_kind(kind: fs::FileType) -> EntryKind {
    if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    }
}

impl FileSystem for OsFileSystem {
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        let operation = if mode == OpenMode::CreateNew { "create" } else { "open" };
        let file = options.open(path).map_err(|error| FsError::new(operation, path, error))?;
        Ok(Arc::new(OsFile { file, path: path.to_path_buf() }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> FsResult<()> {
        let failed = |error| FsError::new("rename", to, error);
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            // Some file systems have no such rename; the link below does the same in two steps.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {}
            Err(error) => return Err(failed(error.into())),
        }
        fs::hard_link(from, to).map_err(failed)?;
        fs::remove_file(from).map_err(|error| FsError::new("remove", from, error))
    }

    fn replace(&self, from: &Path, to: &Path) -> FsResult<()> {
        fs::rename(from, to).map_err(|error| FsError::new("rename", to, error))
    }

    fn copy_new(&self, from: &Path, to: &Path) -> FsResult<u64> {
        let mut source = fs::File::open(from).map_err(|error| FsError::new("open", from, error))?;
        let mut target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(to)
            .map_err(|error| FsError::new("create", to, error))?;
        io::copy(&mut source, &mut target).map_err(|error| FsError::new("copy", to, error))
    }

    fn remove_file(&self, path: &Path) -> FsResult<()> {
        fs::remove_file(path).map_err(|error| FsError::new("remove", path, error))
    }

    fn remove_dir(&self, path: &Path) -> FsResult<()> {
        fs::remove_dir(path).map_err(|error| FsError::new("remove", path, error))
    }

    fn list(&self, directory: &Path) -> FsResult<Vec<Entry>> {
        let failed = |error| FsError::new("list", directory, error);
        fs::read_dir(directory)
            .map_err(failed)?
            .map(|entry| {
                let entry = entry.map_err(failed)?;
                let kind = entry_kind(entry.file_type().map_err(failed)?);
                Ok(Entry { name: entry.file_name().to_string_lossy().into_owned(), kind })
            })
            .collect()
    }

    fn metadata(&self, path: &Path) -> FsResult<Metadata> {
        let found = fs::metadata(path).map_err(|error| FsError::new("look at", path, error))?;
        Ok(Metadata { kind: entry_kind(found.file_type()), len: found.len() })
    }

    fn create_dir(&self, path: &Path) -> FsResult<()> {
        fs::create_dir(path).map_err(|error| FsError::new("create directory", path, error))
    }

    fn sync_dir(&self, directory: &Path) -> FsResult<()> {
        let failed = |error| FsError::new("sync directory", directory, error);
        fs::File::open(directory).map_err(failed)?.sync_all().map_err(failed)
    }

    fn try_lock(&self, path: &Path) -> FsResult<Option<Box<dyn LockGuard>>> {
        let failed = |error| FsError::new("lock", path, error);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(OsLock { _file: file }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn free_bytes(&self, directory: &Path) -> FsResult<u64> {
        let found = rustix::fs::statvfs(directory)
            .map_err(|error| FsError::new("ask for free space", directory, error.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl OsFile {
    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> FsError + '_ {
        move |error| FsError::new(operation, &self.path, error)
    }
}

impl File for OsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> FsResult<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(self.failed("read")),
            }
        }
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> FsResult<usize> {
        loop {
            match rustix::io::pwritev(&self.file, buffers, offset) {
                Err(rustix::io::Errno::INTR) => {}
                written => return written.map_err(|error| FsError::new("write", &self.path, error.into())),
            }
        }
    }

    fn preallocate(&self, len: u64) -> FsResult<()> {
        let mut at = self.len()?;
        while at < len {
            let piece = usize::try_from(len - at).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            self.file.write_all_at(&ZEROS[..piece], at).map_err(self.failed("preallocate"))?;
            at += piece as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> FsResult<()> {
        self.file.set_len(len).map_err(self.failed("set the length of"))
    }

    fn sync_data(&self) -> FsResult<()> {
        self.file.sync_data().map_err(self.failed("sync"))
    }

    fn sync_all(&self) -> FsResult<()> {
        self.file.sync_all().map_err(self.failed("sync"))
    }

    fn len(&self) -> FsResult<u64> {
        Ok(self.file.metadata().map_err(self.failed("look at"))?.len())
    }
}
