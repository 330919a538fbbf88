//! A file system that syncs no directory: the rule D3 broken at the seam, so that no place can keep it by accident.

use std::path::Path;
use std::sync::Arc;

use crate::fs::{Entry, File, FileSystem, FsResult, LockGuard, Metadata, OpenMode};
use crate::log::LogOptions;

#[derive(Debug)]
struct WithoutDirectorySync(Arc<dyn FileSystem>);

/// The options as they are, unless the rule is to be broken.
pub(crate) fn without_directory_sync(mut options: LogOptions) -> LogOptions {
    if options.sabotage.skips_directory_sync() {
        options.fs = Arc::new(WithoutDirectorySync(options.fs));
    }
    options
}

impl FileSystem for WithoutDirectorySync {
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>> {
        self.0.open(path, mode)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.0.rename_new(from, to)
    }

    fn replace(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.0.replace(from, to)
    }

    fn copy_new(&self, from: &Path, to: &Path) -> FsResult<u64> {
        self.0.copy_new(from, to)
    }

    fn remove_file(&self, path: &Path) -> FsResult<()> {
        self.0.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> FsResult<()> {
        self.0.remove_dir(path)
    }

    fn list(&self, directory: &Path) -> FsResult<Vec<Entry>> {
        self.0.list(directory)
    }

    fn metadata(&self, path: &Path) -> FsResult<Metadata> {
        self.0.metadata(path)
    }

    fn create_dir(&self, path: &Path) -> FsResult<()> {
        self.0.create_dir(path)
    }

    fn sync_dir(&self, _: &Path) -> FsResult<()> {
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> FsResult<Option<Box<dyn LockGuard>>> {
        self.0.try_lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> FsResult<u64> {
        self.0.free_bytes(directory)
    }
}
