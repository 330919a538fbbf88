//! The file-system seam: everything that the log asks of a disk, and what it may rely on.
//!
//! Owns: opening, reading, writing, syncing, naming. Knows no format. Implementations: [`os`], the real one, and
//! `simulated` (for tests), which knows what a power cut may take away. Rituals that need several steps (create durably, replace a
//! small file, rename with its directory) are in [`durable`] and nowhere else.
//!
//! What every implementation promises:
//!
//! 1. Bytes written are visible to every later read through any handle at once; they are durable when a later
//!    [`File::sync_data`] on that file has returned.
//! 2. A name made, renamed or removed is visible at once; it is durable when a later [`FileSystem::sync_dir`] on its
//!    directory has returned. A file's durable bytes can be reached after a power cut only by a durable name.
//! 3. A failed sync promises nothing about any byte written since the sync before it, now or later.
//! 4. All calls may run at the same time, on the same file too; two writes that overlap may interleave.
//! 5. Only [`FsError::is_not_found`] means absent.

#[cfg(test)]
mod conformance;
pub mod durable;
pub mod os;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use os::OsFileSystem;
#[cfg(any(test, feature = "testing"))]
pub use simulated::SimulatedFileSystem;

/// A failed file operation, with what was tried on what.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}: path=`{}`{}", path.display(), hint(source))]
pub struct FsError {
    /// What was tried, as a verb: `open`, `write`, `sync`.
    pub operation: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (the disk is full)",
        io::ErrorKind::ReadOnlyFilesystem => " (the file system is read-only)",
        io::ErrorKind::PermissionDenied => " (permission denied)",
        _ => "",
    }
}

impl FsError {
    /// Wraps what the system said.
    #[must_use]
    pub fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self { operation, path: path.to_path_buf(), source }
    }

    /// The path does not exist. Nothing else means absent.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// The name is taken already.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    /// No space is left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// The file system takes no writes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.source.kind() == io::ErrorKind::ReadOnlyFilesystem
    }
}

/// What a file operation gives.
pub type FsResult<T> = Result<T, FsError>;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    ReadWrite,
    /// A new file, to read and write; fails with "already exists" where the name is taken.
    CreateNew,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a link, a socket.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name alone, without its directory; a name that is no UTF-8 is given with replacement characters.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What is known of a path without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: EntryKind,
    /// Length in bytes.
    pub len: u64,
}

/// An exclusive lock, held until dropped. The system gives it back when the process ends, however it ends.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// A place for files. See the module for what every implementation promises.
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// Not found (`Read`, `ReadWrite`), already exists (`CreateNew`), or what the system said.
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>>;

    /// Gives `from` the name `to`, unless that is taken: then "already exists", and nothing changed.
    ///
    /// # Errors
    /// Already exists, not found, or what the system said.
    fn rename_new(&self, from: &Path, to: &Path) -> FsResult<()>;

    /// Gives `from` the name `to`, in one step, whatever had that name before.
    ///
    /// # Errors
    /// Not found, or what the system said.
    fn replace(&self, from: &Path, to: &Path) -> FsResult<()>;

    /// Copies the bytes of `from` to a new file `to`; not durable. Returns how many.
    ///
    /// # Errors
    /// Already exists, not found, or what the system said.
    fn copy_new(&self, from: &Path, to: &Path) -> FsResult<u64>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// Not found, or what the system said.
    fn remove_file(&self, path: &Path) -> FsResult<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// Not found, not empty, or what the system said.
    fn remove_dir(&self, path: &Path) -> FsResult<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// Not found, or what the system said.
    fn list(&self, directory: &Path) -> FsResult<Vec<Entry>>;

    /// What `path` is; links are followed.
    ///
    /// # Errors
    /// Not found, or what the system said.
    fn metadata(&self, path: &Path) -> FsResult<Metadata>;

    /// Makes one directory in an existing one.
    ///
    /// # Errors
    /// Already exists, not found (the parent), or what the system said.
    fn create_dir(&self, path: &Path) -> FsResult<()>;

    /// Makes the names in `directory` durable, as they are now. Does nothing where the system has no such call.
    ///
    /// # Errors
    /// What the system said; afterwards no name made since the sync before is promised.
    fn sync_dir(&self, directory: &Path) -> FsResult<()>;

    /// Takes the exclusive lock of a file, made where it is absent; `None` while another holder, in this process or
    /// another, has it.
    ///
    /// # Errors
    /// What the system said.
    fn try_lock(&self, path: &Path) -> FsResult<Option<Box<dyn LockGuard>>>;

    /// Bytes that can still be written below `directory`.
    ///
    /// # Errors
    /// What the system said.
    fn free_bytes(&self, directory: &Path) -> FsResult<u64>;
}

/// An open file. Dropping it closes it; nothing becomes durable by that.
pub trait File: Send + Sync + fmt::Debug {
    /// The path it was opened by.
    fn path(&self) -> &Path;

    /// Reads up to `buffer.len()` bytes at `offset`. Zero means at or past the end; any other short count means only
    /// that fewer came, not that the file ends.
    ///
    /// # Errors
    /// What the system said.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> FsResult<usize>;

    /// Writes from the front of `buffers` at `offset`, and returns how many bytes were taken: at least one, maybe not all.
    ///
    /// # Errors
    /// What the system said.
    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> FsResult<usize>;

    /// Makes the file `len` bytes long with its blocks written as zeros, so that later writes inside need neither
    /// space nor a longer file to become durable. Bytes that were there stay.
    ///
    /// # Errors
    /// No space, or what the system said.
    fn preallocate(&self, len: u64) -> FsResult<()>;

    /// Cuts or extends (with zeros) the file to `len` bytes.
    ///
    /// # Errors
    /// What the system said.
    fn set_len(&self, len: u64) -> FsResult<()>;

    /// Returns when every byte written before, and the length needed to read it, is durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system said; see promise 3.
    fn sync_data(&self) -> FsResult<()>;

    /// Like [`sync_data`](Self::sync_data), and the file's other metadata too (`fsync`).
    ///
    /// # Errors
    /// What the system said; see promise 3.
    fn sync_all(&self) -> FsResult<()>;

    /// Length in bytes, now.
    ///
    /// # Errors
    /// What the system said.
    fn len(&self) -> FsResult<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn is_empty(&self) -> FsResult<bool> {
        Ok(self.len()? == 0)
    }
}

impl dyn File + '_ {
    /// Fills `buffer` from `offset`, going on after short reads.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before, or what the system said.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> FsResult<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64)? {
                0 => return Err(FsError::new("read", self.path(), io::ErrorKind::UnexpectedEof.into())),
                read => done += read,
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`, going on after short writes.
    ///
    /// # Errors
    /// What the system said; some of the bytes may have been written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> FsResult<()> {
        self.write_slices_at(&mut [IoSlice::new(bytes)], offset)
    }

    /// Writes all of `slices`, one after another, at `offset`, going on after short writes. The slices are used up.
    ///
    /// # Errors
    /// What the system said; some of the bytes may have been written.
    pub fn write_slices_at(&self, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> FsResult<()> {
        /// Linux takes no more at once (`IOV_MAX`).
        const SLICES_MAX: usize = 1024;
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.write_at(&slices[..slices.len().min(SLICES_MAX)], offset)? {
                0 => return Err(FsError::new("write", self.path(), io::ErrorKind::WriteZero.into())),
                written => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
            }
        }
        Ok(())
    }
}
