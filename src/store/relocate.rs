//! A collection's files on their way from one local directory to another.
//!
//! What counts is copied: the newest state that can be read, under its own number, behind the files that it names. Every byte is compared with
//! the state's digests on the way. What counts no more, or did not get to count, stays behind.

use std::path::Path;
use std::sync::Arc;

use super::COMPONENT;
use super::footers::Footers;
use super::homes::{Home, LOCAL_FOLDER};
use super::load::{Loaded, Whose, list, list_states};
use super::names::Folder;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{File, FileSystem, OpenMode, durable};
use crate::log::directories::{ComponentFiles, ComponentMove};
use crate::objects::local::MARKER;
use crate::objects::{LocalObjectStore, ObjectKey, Put, Upload};

/// What the columnar store keeps in local directories, for whoever empties one.
#[derive(Debug)]
pub struct StoreFiles {
    fs: Arc<dyn FileSystem>,
}

impl StoreFiles {
    /// In directories of this file system.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self { fs }
    }

    /// The store in a directory; `None` where the directory has none.
    fn there(&self, directory: &Path) -> Result<Option<Home>> {
        let folder = directory.join(LOCAL_FOLDER);
        match self.fs.metadata(&folder.join(MARKER)) {
            Ok(_) => Ok(Some(Home::new(Arc::new(LocalObjectStore::new(Arc::clone(&self.fs), folder))))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn put(&self, to: &Home, key: &ObjectKey, upload: &Upload<'_>) -> Result<()> {
        match to.store.put_if_absent(key, upload)? {
            Put::Created | Put::SameThere => Ok(()),
            Put::OtherThere => {
                let message = format!("something else is there: store=`{}`, key=`{key}`", to.store.place());
                Err(Error::new(ErrorKind::Conflict, message))
            }
        }
    }
}

impl ComponentFiles for StoreFiles {
    fn component(&self) -> &str {
        COMPONENT
    }

    fn copy(&self, what: &ComponentMove<'_>) -> Result<u64> {
        if let Some(stale) = self.there(what.to)? {
            remove(&stale, &Folder::new(stale.prefix(), what.collection))?;
        }
        let Some(from) = self.there(what.from)? else { return Ok(0) };
        let root = what.from.join(LOCAL_FOLDER);
        let footers = Arc::new(Footers::new(0));
        let whose = Whose { log: what.log, collection: what.collection, footers: &footers };
        let loaded = Loaded::load(from, whose, None)?;
        let Some(snapshot) = loaded.snapshot else { return Ok(0) };
        let store = LocalObjectStore::create(Arc::clone(&self.fs), what.to.join(LOCAL_FOLDER))?;
        let to = Home::new(Arc::new(store));
        let mut bytes = 0;
        for file in &snapshot.files {
            let entry = file.entry();
            let source: Arc<dyn File> = self.fs.open(&root.join(file.key().as_str()), OpenMode::Read)?;
            self.put(&to, file.key(), &Upload::new(&source, entry.bytes, entry.sha256))?;
            bytes += entry.bytes;
        }
        // Last: with it everything counts, once the collection is assigned there.
        let state = bytes::Bytes::from(snapshot.state.encode());
        self.put(&to, &loaded.folder.state(snapshot.state.number), &Upload::of_bytes(&state))?;
        Ok(bytes + state.len() as u64)
    }

    fn clear(&self, directory: &Path) -> Result<()> {
        // The marker last: what is left by a crash is still a store.
        Ok(durable::remove_all(&*self.fs, &directory.join(LOCAL_FOLDER), Some(MARKER))?)
    }
}

/// Removes all of a collection that nobody is assigned to: first what makes files count.
fn remove(home: &Home, folder: &Folder) -> Result<()> {
    for number in list_states(home, folder)? {
        home.store.delete(&folder.state(number))?;
    }
    let mut files = Vec::new();
    list(home, folder.prefix(), |key| files.extend(folder.parse_file(key)))?;
    files.iter().try_for_each(|name| home.store.delete(&folder.file(name)))?;
    Ok(())
}
