//! Takes a directory into a log.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. Every directory that is there is locked, and the new one too.
//! 2. The new directory gets its folders, then an identity with an id, in which the log's set is as it was: it does not list itself, so
//!    it has no say, and no log that is opened knows of it. A crash leaves a directory that nobody uses; adding it again goes on with
//!    the same id.
//! 3. **The step**: an identity of the log lists it (`set`). Before, whoever opens the log has the old set; from now on the
//!    new one, and the directory that it names has an identity, so it is never taken for missing (A1). With the identity last instead, a crash
//!    here would leave a log that names a directory which cannot be told from one whose disk is away.
//! 4. The other directories' identities follow, the new one's last. Adding it again, or the next opening, writes what is left.
//!
//! One that comes back after it was given up (A3) has its identity: step 2 leaves that as it is, and the step moves it from the forgotten to the
//! directories. What it holds is merged when the log is opened next (A4).

use std::path::{Path, PathBuf};

use super::set::{Set, normal, refuse_nested};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, durable};
use crate::log::identity::{self, Identity, Remote, Sibling};
use crate::log::places::lock;
use crate::log::{Log, LogOptions, seal};
use crate::objects::{LocalObjectStore, Location};
use crate::types::ids::hex;

/// How a directory came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is new.
    New,
    /// It was forgotten, and is back under its old id.
    Returned,
    /// It was drained, and takes collections again.
    BackInService,
    /// It was one of the log's and is at another place now.
    Moved,
    /// An earlier `add` was interrupted; the rest of it is done.
    Finished,
}

/// A directory that was added.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Added {
    /// Its id, the same wherever it is mounted.
    pub id: String,
    /// Where it is: a path, or a URL.
    pub place: String,
    /// How it came in.
    pub how: How,
}

impl Log {
    /// Takes a local directory into a log that nobody writes to: an empty one, or one of the log's that is drained, was forgotten, or
    /// is at another place now. It is made where it is absent.
    ///
    /// # Errors
    /// `Locked` while somebody writes to the log; `Invalid` for a directory of another log, one inside another, or one with other
    /// things in it; `Conflict` for one that is in already; what the system said.
    pub fn add_directory(options: &LogOptions, path: &Path) -> Result<Added> {
        add(options, path)
    }

    /// Takes an object store into a log that nobody writes to, as a home of segments (A5). A local path is a directory that holds objects;
    /// it is made where it is absent, and kept as `file://`.
    ///
    /// # Errors
    /// As [`add_directory`](Self::add_directory); the store of a local path cannot be made.
    pub fn add_remote(options: &LogOptions, location: &Location) -> Result<Added> {
        add_remote(options, location)
    }
}

fn add(options: &LogOptions, path: &Path) -> Result<Added> {
    let fs = &*options.fs;
    // Not the path as given: siblings are found from any working directory.
    let path = normal(path);
    let (set, _locks) = Set::locked(options)?;
    refuse_half_made(&set)?;
    let there = Identity::read(fs, &path)?;
    if let Some(other) = there.as_ref().filter(|there| there.log != set.newest.log) {
        let message = format!("the directory is of another log: directory=`{}`, log=`{}`", path.display(), other.log);
        return Err(Error::new(ErrorKind::Invalid, message).with_hint("name an empty directory"));
    }
    let id = there.as_ref().map(|there| there.directory.as_str());
    if let Some(member) = set.members.iter().position(|member| Some(member.id.as_str()) == id) {
        return add_member(fs, &set, member, path);
    }
    refuse_nested(&path, &set.members)?;
    refuse_remote_inside(&path, &set)?;
    let how = match &there {
        Some(there) if set.newest.forgotten.iter().any(|sibling| sibling.directory == there.directory) => How::Returned,
        Some(there) if !there.is_member() => How::New,
        Some(there) => {
            let message = format!(
                "the directory says that it is of the log, which does not know it: directory=`{}`, id=`{}`",
                path.display(),
                there.directory
            );
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("was an older identity.json put back? give this directory to the log by --data, and look at `directory ls`"));
        }
        None => {
            refuse_foreign(fs, &path)?;
            How::New
        }
    };
    make_folders(fs, &path)?;
    let _lock = lock(fs, &path)?;
    let id = there.map_or_else(|| new_id(options, &set), |there| there.directory);
    if how == How::New {
        // Also where a killed run did: what it wrote may not be durable.
        Identity { directory: id.clone(), ..set.newest.clone() }.write(fs, &path)?;
    }
    let mut new = set.newest.clone();
    new.forgotten.retain(|sibling| sibling.directory != id);
    new.directories.push(Sibling { directory: id.clone(), path: path.clone(), drained: false });
    set.commit(fs, new, &[(&id, &path)])?;
    Ok(Added { id, place: path.display().to_string(), how })
}

/// One that is in the set already.
fn add_member(fs: &dyn FileSystem, set: &Set, index: usize, path: PathBuf) -> Result<Added> {
    let member = &set.members[index];
    let listed = &set.newest.directories[index];
    let is_moved = normal(&listed.path) != path;
    if is_moved && matches!(Identity::read(fs, &listed.path), Ok(Some(there)) if there.directory == member.id) {
        let message = format!(
            "the directory is a copy of one that is there: directory=`{}`, id=`{}`, other=`{}`",
            path.display(),
            member.id,
            listed.path.display()
        );
        return Err(Error::new(ErrorKind::Conflict, message).with_hint("name an empty directory"));
    }
    let how = match (is_moved, listed.drained, set.is_agreed()) {
        (true, ..) => How::Moved,
        (_, true, _) => How::BackInService,
        (.., false) => How::Finished,
        _ => {
            let message = format!("the directory is in already: directory=`{}`, id=`{}`", path.display(), member.id);
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("`directory ls` lists them"));
        }
    };
    refuse_nested(&path, set.members.iter().filter(|other| other.id != member.id))?;
    let mut new = set.newest.clone();
    new.directories[index] = Sibling { directory: member.id.clone(), path: path.clone(), drained: false };
    // At a place that nobody looked at it is not locked yet.
    let _lock = if member.identity.is_err() { Some(lock(fs, &path)?) } else { None };
    let also = [(member.id.as_str(), path.as_path())];
    set.commit(fs, new, &also)?;
    Ok(Added { id: member.id.clone(), place: path.display().to_string(), how })
}

fn add_remote(options: &LogOptions, location: &Location) -> Result<Added> {
    let (set, _locks) = Set::locked(options)?;
    refuse_half_made(&set)?;
    let location = match location {
        Location::Local(path) => Location::Local(normal(path)),
        remote => remote.clone(),
    };
    let url = location.to_string();
    if let Some(index) = set.newest.remotes.iter().position(|remote| remote.url == url && remote.drained) {
        let mut new = set.newest.clone();
        new.remotes[index].drained = false;
        let id = new.remotes[index].directory.clone();
        set.commit(&*options.fs, new, &[])?;
        return Ok(Added { id, place: url, how: How::BackInService });
    }
    if let Some(known) = set.newest.remotes.iter().find(|remote| remote.url == url) {
        if !set.is_agreed() {
            set.commit(&*options.fs, set.newest.clone(), &[])?;
            return Ok(Added { id: known.directory.clone(), place: url, how: How::Finished });
        }
        let message = format!("the directory is in already: directory=`{url}`, id=`{}`", known.directory);
        return Err(Error::new(ErrorKind::Conflict, message).with_hint("`directory ls` lists them"));
    }
    if let Location::Local(path) = &location {
        refuse_nested(path, &set.members)?;
        refuse_remote_inside(path, &set)?;
        LocalObjectStore::create(std::sync::Arc::clone(&options.fs), path)?;
    }
    let id = new_id(options, &set);
    let mut new = set.newest.clone();
    new.remotes.push(Remote { directory: id.clone(), url: url.clone(), drained: false });
    set.commit(&*options.fs, new, &[])?;
    Ok(Added { id, place: url, how: How::New })
}

/// In a log of epoch 0 the set is not finished: who opens it to write may make it again (`open`).
fn refuse_half_made(set: &Set) -> Result<()> {
    if set.newest.epoch > 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "the making of the log was interrupted")
        .with_hint("`recover` finishes it; then add the directory"))
}

fn refuse_remote_inside(path: &Path, set: &Set) -> Result<()> {
    for remote in &set.newest.remotes {
        if let Ok(Location::Local(other)) = remote.url.parse()
            && (path.starts_with(&other) || other.starts_with(path))
        {
            let message =
                format!("a directory lies inside the other: directory=`{}`, other=`{}`", path.display(), remote.url);
            return Err(Error::new(ErrorKind::Invalid, message).with_hint("name a directory beside the others"));
        }
    }
    Ok(())
}

/// Short, and not that of any directory that the log knows or knew.
fn new_id(options: &LogOptions, set: &Set) -> String {
    let newest = &set.newest;
    loop {
        let id = hex(&options.clock.random()[..4]);
        let known = newest.directories.iter().chain(&newest.forgotten).map(|sibling| &sibling.directory);
        if !known.chain(newest.remotes.iter().map(|remote| &remote.directory)).any(|known| *known == id) {
            return id;
        }
    }
}

/// Only what an interrupted `add` leaves, and what a file system has of its own, may be there.
fn refuse_foreign(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    let names = |folder: &Path| match fs.list(folder) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        listed => listed.map(|entries| entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()),
    };
    let journals = crate::journal::writer::folder(path);
    let own = [".journal", identity::FOLDER, "lost+found"];
    let half_made = ["lock", "identity.json.tmp", seal::STAGING];
    let mut foreign: Vec<String> = names(path)?.into_iter().filter(|name| !own.contains(&name.as_str())).collect();
    foreign.extend(names(&path.join(identity::FOLDER))?.into_iter().filter(|name| !half_made.contains(&name.as_str())));
    foreign.extend(names(&journals)?);
    foreign.extend(names(&path.join(identity::FOLDER).join(seal::STAGING))?);
    foreign.sort();
    match foreign.first() {
        None => Ok(()),
        Some(first) => {
            let message = format!("the directory is not empty: directory=`{}`, holds=`{first}`", path.display());
            Err(Error::new(ErrorKind::Invalid, message)
                .with_hint("name an empty directory, or one that is not there yet"))
        }
    }
}

fn make_folders(fs: &dyn FileSystem, directory: &Path) -> Result<()> {
    // Each by itself: of one that a killed run made, this makes the name durable, and not of those above it.
    durable::create_dir_all(fs, directory)?;
    let own = directory.join(identity::FOLDER);
    durable::create_dir_all(fs, &own)?;
    durable::create_dir_all(fs, &own.join(seal::STAGING))?;
    Ok(durable::create_dir_all(fs, &crate::journal::writer::folder(directory))?)
}
