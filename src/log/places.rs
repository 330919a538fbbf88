//! Which directories a log has, and what each is good for when the log is opened (A1, A3).
//!
//! Owns: finding the directories by their identities, making those of a new log, the locks, the epoch. A directory of the log that does not
//! show its identity is *missing*: it is named, and never made anew (A1). One that shows it, and cannot be written to, is *failed*: it is read.

use std::path::{Path, PathBuf};

use super::DirectoryState;
use super::catalog::choose;
use super::directories::set::{Set, normal};
use super::identity::{self, Identity, Sibling};
use super::options::LogOptions;
use super::recover::Unknown;
use super::recover::journals::chain;
use super::seal;
use crate::catalog::{Catalog, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, LockGuard, durable};
use crate::types::{Epoch, Timestamp};

/// Ids and paths of directories, in the log's order.
pub(super) type Ids = Vec<(String, PathBuf)>;

/// The directories of a log.
pub(super) struct Places {
    /// Ids and paths, in the log's order.
    pub ids: Ids,
    /// What each says of itself; `None` where it is missing.
    pub identities: Vec<Option<Identity>>,
    /// What each is good for.
    pub states: Vec<DirectoryState>,
    /// The lock of each, where it was taken.
    pub locks: Vec<Option<Box<dyn LockGuard>>>,
    /// The identity of the highest epoch: its lists count.
    pub newest: Identity,
    /// What the catalog cannot know of directories that are missing.
    pub unknown: Unknown,
    /// Which of them were away, or could not be written to, when the log was written before.
    pub returned: Vec<bool>,
}

/// The directories of a log that must be there, with its identities; all of them.
pub(super) fn existing_directories(options: &LogOptions) -> Result<(Ids, Vec<Identity>)> {
    let places = existing(options)?;
    places.all_there()?;
    Ok((places.ids, places.identities.into_iter().flatten().collect()))
}

/// The directories of a log that must be there; some may be missing.
pub(super) fn existing(options: &LogOptions) -> Result<Places> {
    find(&*options.fs, &options.directories)?.ok_or_else(|| {
        let shown = options.directories.first().map_or_else(String::new, |path| path.display().to_string());
        Error::new(ErrorKind::NotFound, format!("no log here: directory=`{shown}`"))
            .with_hint("the first append makes one; or check --data")
    })
}

/// The directories of the log that those given belong to: those, and their siblings. `None` where none of them belongs to one.
fn find(fs: &dyn FileSystem, given: &[PathBuf]) -> Result<Option<Places>> {
    let Some(set) = Set::find(fs, given)? else { return Ok(None) };
    let newest = set.newest;
    let mut without = Vec::new();
    for path in given {
        match Identity::read(fs, path) {
            Ok(Some(identity)) => check_given(path, &identity, &newest)?,
            Ok(None) => without.push(path),
            Err(error) if newest.epoch == 0 => return Err(error),
            Err(_) => {}
        }
    }
    // Epoch 0 is of a log that nobody wrote to yet: where directories without an identity stand beside it, its making was
    // interrupted, and it is made again.
    if newest.epoch == 0 && !without.is_empty() {
        return Ok(None);
    }
    let is_one_of =
        |siblings: &[Sibling], path: &Path| siblings.iter().any(|known| normal(&known.path) == normal(path));
    let is_known = |path: &Path| is_one_of(&newest.directories, path) || is_one_of(&newest.forgotten, path);
    if let Some(path) = without.iter().find(|path| !is_known(path)) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a directory does not belong to the log: directory=`{}`, log=`{}`", path.display(), newest.log),
        )
        .with_hint("an empty mount point? mount it; `directory add` takes a new directory into a log"));
    }
    let mut places = Places {
        ids: Vec::new(),
        identities: Vec::new(),
        states: Vec::new(),
        locks: Vec::new(),
        newest,
        unknown: Unknown::default(),
        returned: Vec::new(),
    };
    for member in set.members {
        let (identity, state) = match member.identity {
            Ok(identity) if member.is_drained => (Some(identity), DirectoryState::Drained),
            Ok(identity) => (Some(identity), DirectoryState::Healthy),
            Err(why) => {
                tracing::warn!(directory = %member.path.display(), id = member.id, why, "a directory is missing");
                (None, DirectoryState::Missing(why))
            }
        };
        places.ids.push((member.id, member.path));
        places.identities.push(identity);
        places.states.push(state);
        places.locks.push(None);
    }
    if places.newest.epoch == 0 {
        places.all_there()?;
    }
    Ok(Some(places))
}

/// Refuses a directory that is not of the log any more.
fn check_given(path: &Path, identity: &Identity, newest: &Identity) -> Result<()> {
    let is_it = |sibling: &Sibling| sibling.directory == identity.directory;
    if newest.directories.iter().any(is_it) {
        return Ok(());
    }
    if newest.forgotten.iter().any(is_it) {
        tracing::warn!(directory = %path.display(), "a forgotten directory is back; `directory add` takes it in again");
        return Ok(());
    }
    let (path, id) = (path.display(), &identity.directory);
    Err(Error::new(ErrorKind::Invalid, format!("a directory is not of the log: directory=`{path}`, id=`{id}`"))
        .with_hint("`directory ls` lists those of the log; `directory add` finishes what was interrupted"))
}

/// Makes or finds the directories, and locks each.
pub(super) fn take(fs: &dyn FileSystem, options: &LogOptions) -> Result<Places> {
    choose::check_options(options)?;
    if options.directories.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a log needs at least one directory").with_hint("give --data DIR"));
    }
    if let Some(mut places) = find(fs, &options.directories)? {
        for index in 0..places.ids.len() {
            if places.is_missing(index) {
                continue;
            }
            let path = places.ids[index].1.clone();
            let is_new = places.identities[index].as_ref().is_some_and(|identity| identity.epoch == 0);
            match lock(fs, &path).and_then(|lock| prepare(fs, &path, is_new).map(|()| lock)) {
                Ok(lock) => places.locks[index] = Some(lock),
                Err(error) if error.kind() == ErrorKind::Locked => return Err(error),
                Err(error) => places.blame(fs, index, error)?,
            }
        }
        return Ok(places);
    }
    let engine = choose::of_new_log(options)?;
    for path in &options.directories {
        durable::create_dir_all(fs, path)?;
        durable::create_dir_all(fs, &path.join(identity::FOLDER))?;
    }
    let locks = options.directories.iter().map(|path| lock(fs, path)).collect::<Result<Vec<_>>>()?;
    // Somebody may have made the log while we waited for nothing: look again under the lock.
    if find(fs, &options.directories)?.is_some() {
        drop(locks);
        return take(fs, options);
    }
    let clock = &options.clock;
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let paths: Vec<PathBuf> = options.directories.iter().map(absolute).collect();
    let identities = Identity::new_log(&paths, engine, || clock.random());
    for (path, identity) in options.directories.iter().zip(&identities).rev() {
        make_folders(fs, path)?;
        identity.write(fs, path)?;
    }
    let ids = identities.iter().map(|identity| identity.directory.clone());
    Ok(Places {
        ids: ids.zip(options.directories.iter().cloned()).collect(),
        states: vec![DirectoryState::Healthy; identities.len()],
        locks: locks.into_iter().map(Some).collect(),
        newest: identities[0].clone(),
        unknown: Unknown::default(),
        returned: Vec::new(),
        identities: identities.into_iter().map(Some).collect(),
    })
}

impl Places {
    /// The identity whose word on the catalog counts: the first directory's, where it is there.
    pub fn first_identity(&self) -> &Identity {
        self.identities.first().and_then(Option::as_ref).unwrap_or(&self.newest)
    }

    /// Whether a directory is not there.
    pub fn is_missing(&self, index: usize) -> bool {
        matches!(self.states[index], DirectoryState::Missing(_))
    }

    /// Whether a directory can be written to, as far as is known.
    pub fn is_writable(&self, index: usize) -> bool {
        matches!(self.states[index], DirectoryState::Healthy | DirectoryState::Drained)
    }

    /// Locks every directory that is there.
    ///
    /// # Errors
    /// `Locked` while another process writes to the log.
    pub fn lock_those_there(&self, fs: &dyn FileSystem) -> Result<Vec<Box<dyn LockGuard>>> {
        let there = (0..self.ids.len()).filter(|&index| !self.is_missing(index));
        there.map(|index| lock(fs, &self.ids[index].1)).collect()
    }

    /// Goes on without a directory in which something failed, where another is healthy: it failed, or it is gone.
    ///
    /// # Errors
    /// `error`, where no other is healthy.
    pub fn blame(&mut self, fs: &dyn FileSystem, index: usize, error: Error) -> Result<()> {
        match self.still_there(fs, index) {
            Ok(()) => self.fail(index, error),
            Err(_) => self.miss(index, error),
        }
    }

    /// Whether a directory still shows its identity. What was found in it before this says so counts; a disk that went away while it
    /// was read looks empty.
    pub fn still_there(&self, fs: &dyn FileSystem, index: usize) -> Result<()> {
        let (id, path) = &self.ids[index];
        match Identity::read(fs, path)? {
            Some(identity) if identity.directory == *id => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                format!("a directory went away while the log was opened: directory=`{}`, id=`{id}`", path.display()),
            )),
        }
    }

    /// Goes on without writing to a directory, where another is healthy.
    ///
    /// # Errors
    /// `error`, where none is.
    pub fn fail(&mut self, index: usize, error: Error) -> Result<()> {
        self.give_up(index, DirectoryState::Failed(chain(&error)), error)
    }

    /// Goes on without a directory, where another is healthy.
    ///
    /// # Errors
    /// `error`, where none is.
    pub fn miss(&mut self, index: usize, error: Error) -> Result<()> {
        self.give_up(index, DirectoryState::Missing(chain(&error)), error)
    }

    fn give_up(&mut self, index: usize, state: DirectoryState, error: Error) -> Result<()> {
        let is_other = |other: usize| other != index && self.states[other] == DirectoryState::Healthy;
        if !(0..self.states.len()).any(is_other) {
            return Err(error);
        }
        let (path, why) = (self.ids[index].1.display(), state.reason().unwrap_or_default());
        tracing::error!(directory = %path, why, state = state.word(), "the log opens without a directory");
        self.states[index] = state;
        Ok(())
    }

    /// Refuses to go on where a directory is missing.
    ///
    /// # Errors
    /// `Unavailable`, naming it.
    pub fn all_there(&self) -> Result<()> {
        match (0..self.ids.len()).find(|&index| self.is_missing(index)) {
            Some(index) => Err(self.missing_error(index, "a directory of the log is missing")),
            None => Ok(()),
        }
    }

    /// Refuses to go on where the directory with the catalog is missing.
    ///
    /// # Errors
    /// `Unavailable`, naming it.
    pub fn first_there(&self, options: &LogOptions) -> Result<()> {
        let elsewhere = options.catalog.is_some() || options.catalog_directory.is_some();
        if self.is_missing(0) && !elsewhere {
            return Err(self.missing_error(0, "the first directory of the log, which holds its catalog, is missing"));
        }
        if (0..self.ids.len()).all(|index| self.is_missing(index)) {
            return Err(self.missing_error(0, "every directory of the log is missing"));
        }
        Ok(())
    }

    fn missing_error(&self, index: usize, what: &str) -> Error {
        let (id, path) = &self.ids[index];
        let why = self.states[index].reason().unwrap_or_default();
        Error::new(ErrorKind::Unavailable, format!("{what}: directory=`{}`, id=`{id}`, why=`{why}`", path.display()))
            .with_hint("mount it, or give its new place by --data")
    }

    /// What the catalog, as the last run left it, cannot know. To be asked before [`raise_epoch`](Self::raise_epoch).
    pub fn look_for_unknown(&mut self, catalog: &dyn Catalog) -> Result<()> {
        let in_catalog = catalog.meta(super::moves::EPOCH)?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let newest = self.identities.iter().flatten().map(|identity| identity.epoch).max().unwrap_or(0);
        self.unknown = Unknown {
            collections: catalog.meta(super::moves::KNOWS_ALL)?.is_some_and(|known| known != "yes"),
            moves: self.ids.len() > 1 && in_catalog < newest,
        };
        Ok(())
    }

    /// Which directories did not take part in the newest epoch, or did not when they were looked at before and are not merged yet. Kept in
    /// the catalog before the identities get the new epoch, so that a crash before they are merged forgets none.
    pub fn look_for_returned(&mut self, catalog: &dyn Catalog, now: Timestamp) -> Result<()> {
        let newest = self.identities.iter().flatten().map(|identity| identity.epoch).max().unwrap_or(0);
        let before = catalog.meta(super::recover::RETURNED_DIRECTORIES)?.unwrap_or_default();
        let is_back = |((id, _), identity): (&(String, PathBuf), &Option<Identity>)| {
            let is_behind = identity.as_ref().is_some_and(|identity| identity.epoch < newest);
            is_behind || before.split(' ').any(|known| known == id)
        };
        self.returned = self.ids.iter().zip(&self.identities).map(is_back).collect();
        let ids = self.ids.iter().zip(&self.returned).filter(|(_, is_back)| **is_back).map(|((id, _), _)| id.as_str());
        let value = ids.collect::<Vec<_>>().join(" ");
        if value != before {
            let name = super::recover::RETURNED_DIRECTORIES.into();
            catalog.apply(&[Mutation::SetMeta { name, value }], now, "a directory is back")?;
        }
        Ok(())
    }

    /// A new epoch, higher than any that an identity or the catalog knows, durable wherever that is possible before it is used.
    pub fn raise_epoch(&mut self, fs: &dyn FileSystem, catalog: &dyn Catalog, now: Timestamp) -> Result<Epoch> {
        let in_catalog = catalog.meta(super::moves::EPOCH)?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let identities = self.identities.iter().flatten();
        let epoch = identities.map(|identity| identity.epoch).max().unwrap_or(0).max(in_catalog) + 1;
        // A directory may be away when the next epoch is chosen: the catalog then knows of this one. Before the identities: theirs being
        // higher means moves of which it may not know.
        if self.ids.len() > 1 {
            let value = epoch.to_string();
            let set = |name: &str, value: String| Mutation::SetMeta { name: name.into(), value };
            // In one step: from now on collections are made of which the catalog learns later.
            let mutations = [set(super::moves::EPOCH, value), set(super::moves::KNOWS_ALL, "no".into())];
            catalog.apply(&mutations, now, "opened")?;
        }
        let engine = self.first_identity().catalog;
        for index in 0..self.ids.len() {
            if !self.is_writable(index) {
                continue;
            }
            let Some(identity) = &mut self.identities[index] else { continue };
            let (old, path) = (identity.clone(), self.ids[index].1.clone());
            identity.epoch = epoch;
            identity.catalog = engine;
            // Who was away, or could not be written to when the lists changed, learns of it now.
            identity.take_set(&self.newest);
            if let Err(error) = identity.write(fs, &path) {
                self.identities[index] = Some(old);
                self.blame(fs, index, error)?;
            }
        }
        Ok(Epoch(epoch))
    }
}

/// Makes sure of the folders of a directory that has its identity. One that was used has its journals' folder: where that is not there, nor
/// is the directory.
fn prepare(fs: &dyn FileSystem, directory: &Path, is_new: bool) -> Result<()> {
    if is_new {
        return make_folders(fs, directory);
    }
    fs.metadata(&crate::journal::writer::folder(directory))?;
    let staging = directory.join(identity::FOLDER).join(seal::STAGING);
    if fs.metadata(&staging).is_err_and(|error| error.is_not_found()) {
        durable::create_dir_all(fs, &staging)?;
    }
    Ok(())
}

pub(super) fn make_folders(fs: &dyn FileSystem, directory: &Path) -> Result<()> {
    let own = directory.join(identity::FOLDER);
    durable::create_dir_all(fs, &own)?;
    durable::create_dir_all(fs, &own.join(seal::STAGING))?;
    Ok(durable::create_dir_all(fs, &crate::journal::writer::folder(directory))?)
}

pub(super) fn lock(fs: &dyn FileSystem, directory: &Path) -> Result<Box<dyn LockGuard>> {
    let path = directory.join(identity::FOLDER).join("lock");
    fs.try_lock(&path)?.ok_or_else(|| {
        Error::new(ErrorKind::Locked, format!("another process writes to the log: directory=`{}`", directory.display()))
            .with_hint("wait until it ends, or stop it; reading works beside it")
    })
}
