//! The catalog alone, opened to read: for questions that no journal and no segment has to answer.
//!
//! Opening the log reads every journal and lists every folder; this reads neither, so that it is fast with millions of
//! segments, and works where the directories are in no order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::choose::{self, Mirror};
use crate::catalog::{Catalog, Engine, MirrorStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, durable};
use crate::log::identity;
use crate::log::options::LogOptions;
use crate::log::places;
use crate::log::seal::STAGING;
use crate::log::subscribe::awaited;
use crate::types::ids::hex;
use crate::types::{ChangeNumber, CollectionName, LogId, Sequence};

/// A log's catalog, open to read, beside a writer or without one.
#[derive(Debug)]
pub struct CatalogLook {
    /// The log.
    pub log: LogId,
    /// The directories of the log by id, and where each is.
    pub directories: Vec<(String, PathBuf)>,
    /// The catalog's file.
    pub path: PathBuf,
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// Those that collections subscribe to that have no setting of their own.
    sinks: Vec<String>,
    mirror: Mirror,
    fs: Arc<dyn FileSystem>,
    clock: Arc<dyn crate::clock::Clock>,
}

impl CatalogLook {
    /// Opens it.
    ///
    /// # Errors
    /// `NotFound` where there is no log or no catalog, `Corrupt` where it is none, or what the disk or the catalog said.
    pub fn open(options: &LogOptions) -> Result<Self> {
        let places = places::existing(options)?;
        places.first_there(options)?;
        let log = places.newest.log_id(&places.ids[0].1)?;
        let opened = choose::open(options, &places.ids[0].1, places.first_identity(), false)?;
        let directories = places.ids;
        let path = opened.path.unwrap_or_else(|| PathBuf::from("catalog"));
        let (fs, clock, sinks) = (Arc::clone(&options.fs), Arc::clone(&options.clock), options.sinks.clone());
        Ok(Self { sinks, log, directories, path, catalog: opened.catalog, mirror: opened.mirror, fs, clock })
    }

    /// Up to where every sink has a collection that must have it (C2): its subscribers, or, where no sink is named, those on record; `None` where there
    /// is none, and so nothing waits.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn delivered_through(&self, collection: &CollectionName) -> Result<Option<Sequence>> {
        let delivered = awaited(&*self.catalog, &self.sinks, collection)?;
        Ok(delivered.into_iter().map(|(_, has)| has).min())
    }

    /// What keeps it.
    #[must_use]
    pub fn engine(&self) -> Option<Engine> {
        self.catalog.engine()
    }

    /// How far its mirror has come; `None` without one.
    #[must_use]
    pub fn mirror(&self) -> Option<MirrorStatus> {
        self.mirror.status(&*self.catalog)
    }

    /// Copies the catalog to the new file `path`, as it is at one moment, also while a writer goes on; durable when it
    /// returns. The number of its newest change is returned.
    ///
    /// # Errors
    /// `Conflict` where something lies at `path` or beside it where the copy would keep files of its own, or what the catalog
    /// said.
    pub fn snapshot(&self, path: &Path) -> Result<ChangeNumber> {
        let engine = self.engine();
        let companions = engine.map(|engine| engine.companions(path)).unwrap_or_default();
        for taken in std::iter::once(path.to_path_buf()).chain(companions) {
            match self.fs.metadata(&taken) {
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    let message =
                        format!("something is there, and a copy replaces nothing: path=`{}`", taken.display());
                    return Err(Error::new(ErrorKind::Conflict, message).with_hint("name a new file"));
                }
            }
        }
        Ok(self.catalog.copy_to(path)?)
    }

    /// A copy of the catalog at one moment, open to read: what is read of it one after another belongs together, while the
    /// catalog itself may move on. Its file is removed with it.
    ///
    /// # Errors
    /// No place takes a file, or what the catalog said.
    pub fn freeze(&self) -> Result<Frozen> {
        let Some(engine) = self.engine() else {
            return Err(Error::new(ErrorKind::Unsupported, "a catalog that is in no file cannot be frozen"));
        };
        let name = format!("catalog-{}.tmp", hex(&self.clock.random()));
        // Where opening for writing clears away what a killed process left. A log that takes no writes is read all the same.
        let staging = self.directories[0].1.join(identity::FOLDER).join(STAGING);
        let (path, number) = match self.snapshot(&staging.join(&name)) {
            Ok(number) => (staging.join(&name), number),
            Err(_) => {
                let path = std::env::temp_dir().join(&name);
                let number = self.snapshot(&path)?;
                (path, number)
            }
        };
        let guard = Temporary { fs: Arc::clone(&self.fs), engine, path };
        let catalog = engine.open(&guard.path, crate::catalog::CatalogMode::ReadOnly)?;
        Ok(Frozen { catalog, change_number: number, _file: guard })
    }
}

/// A catalog that does not change; see [`CatalogLook::freeze`].
#[derive(Debug)]
pub struct Frozen {
    // Before the file: what is open is closed before it is removed.
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// Its newest change.
    pub change_number: ChangeNumber,
    _file: Temporary,
}

/// A catalog's file and its companions, removed with the value.
#[derive(Debug)]
pub(super) struct Temporary {
    pub fs: Arc<dyn FileSystem>,
    pub engine: Engine,
    pub path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        for path in self.engine.companions(&self.path).into_iter().chain([self.path.clone()]) {
            // Nobody relies on it to be gone; what stays is cleared away when the log is opened to write.
            let _ = durable::remove(&*self.fs, &path);
        }
    }
}
