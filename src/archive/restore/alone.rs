//! An archive read without a log: as one that is restored lazily into a folder that goes away again.
//!
//! Owns: that folder. Nobody may write to the log in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{RestoreOptions, begin};
use crate::archive::{ArchiveReader, ReaderOptions};
use crate::error::Result;
use crate::fs::{EntryKind, FileSystem};
use crate::log::{Log, LogOptions};
use crate::objects::ObjectStore;
use crate::types::CollectionName;

/// A log that is only in its archive. Its folder is removed with it.
#[derive(Debug)]
pub struct Alone {
    options: LogOptions,
    folder: Folder,
}

#[derive(Debug)]
struct Folder {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
}

impl Alone {
    /// Restores the catalog into `folder`, which is not there; `only` of these collections, where given. `options` says all but directories
    /// and archive.
    ///
    /// # Errors
    /// As [`restore`](super::restore()).
    pub fn open(
        store: &Arc<dyn ObjectStore>,
        remotes: BTreeMap<String, Arc<dyn ObjectStore>>,
        only: Option<&[CollectionName]>,
        folder: &Path,
        mut options: LogOptions,
        reader: ReaderOptions,
    ) -> Result<Self> {
        let fs = Arc::clone(&options.fs);
        options.directories = vec![folder.to_path_buf()];
        options.catalog_directory = None;
        let folder = Folder { fs, path: folder.to_path_buf() };
        let restore = RestoreOptions { remotes, lazy: true, ..RestoreOptions::new(Arc::clone(store), options) };
        let begun = begin(&restore, only)?;
        for problem in &begun.problems {
            tracing::warn!(problem, "manifests say things against each other");
        }
        for (id, url) in &begun.remotes_left_out {
            tracing::warn!(id, url, "what lies in a home of segments is left out");
        }
        begun.restoring.finish()?;
        let mut archive = ArchiveReader::new(Some(restore.store), reader);
        for (id, store) in restore.remotes {
            archive = archive.with_remote(id, store);
        }
        let mut options = restore.log;
        options.archive = Some(Arc::new(archive));
        Ok(Self { options, folder })
    }

    /// What to open it with: to read only.
    #[must_use]
    pub const fn options(&self) -> &LogOptions {
        &self.options
    }

    /// Where its catalog is meanwhile.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Opens it to read.
    ///
    /// # Errors
    /// As [`Log::open_read_only`].
    pub fn log(&self) -> Result<Log> {
        Log::open_read_only(self.options.clone())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&*self.fs, &self.path);
    }
}

/// What cannot be removed stays, in a place for things that may stay.
fn remove(fs: &dyn FileSystem, folder: &Path) {
    for entry in fs.list(folder).unwrap_or_default() {
        let path = folder.join(&entry.name);
        if entry.kind == EntryKind::Directory {
            remove(fs, &path);
        } else {
            let _ = fs.remove_file(&path);
        }
    }
    let _ = fs.remove_dir(folder);
}
