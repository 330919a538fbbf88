//! Which directories a log has, by all identities that can be read, and changing that.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, LockGuard};
use crate::log::identity::{Identity, Sibling};
use crate::log::options::LogOptions;
use crate::log::places::lock;
use crate::log::recover::journals::chain;

/// A log's directories, in its order.
#[derive(Clone, Debug)]
pub(in crate::log) struct Set {
    /// Whose word is right.
    pub newest: Identity,
    /// All of them, also those that are not there.
    pub members: Vec<Member>,
}

/// A directory that belongs to a log.
#[derive(Clone, Debug)]
pub(in crate::log) struct Member {
    /// Its id.
    pub id: String,
    /// Where it is, or was last.
    pub path: PathBuf,
    /// It takes no collections.
    pub is_drained: bool,
    /// Its own identity; why there is none where it is missing (A1).
    pub identity: Result<Identity, String>,
}

/// What a person may call a directory.
pub(in crate::log) enum Named {
    /// The index of a member.
    Member(usize),
    /// The id of a remote.
    Remote(String),
    /// The id of one that was given up.
    Forgotten(String),
}

impl Set {
    /// By the directories given, and whatever they lead to; `None` where none of those given belongs to a log.
    ///
    /// # Errors
    /// `Invalid` where they are of different logs; `Corrupt`, or what the system said, where that leaves none.
    pub fn find(fs: &dyn FileSystem, given: &[PathBuf]) -> Result<Option<Self>> {
        let mut known: HashMap<String, (PathBuf, Identity)> = HashMap::new();
        let mut unreadable = None;
        for path in given {
            match Identity::read(fs, path) {
                Ok(Some(identity)) => {
                    known.insert(identity.directory.clone(), (path.clone(), identity));
                }
                Ok(None) => {}
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        let Some((path, identity)) = known.values().next().cloned() else {
            return unreadable.map_or(Ok(None), Err);
        };
        if let Some((other, stranger)) = known.values().find(|(_, other)| other.log != identity.log) {
            let message = format!(
                "directories of different logs: directory=`{}` is of log=`{}`, directory=`{}` of log=`{}`",
                path.display(),
                identity.log,
                other.display(),
                stranger.log
            );
            return Err(Error::new(ErrorKind::Invalid, message).with_hint("give the directories of one log"));
        }
        // Whom one does not know, another may: until nobody leads to anybody new.
        let mut asked: HashSet<PathBuf> = HashSet::new();
        let mut missing: HashMap<String, String> = HashMap::new();
        loop {
            let siblings: Vec<Sibling> =
                known.values().flat_map(|(_, identity)| &identity.directories).cloned().collect();
            let unknown = |sibling: &Sibling| !known.contains_key(&sibling.directory);
            let new: Vec<Sibling> =
                siblings.into_iter().filter(unknown).filter(|sibling| asked.insert(sibling.path.clone())).collect();
            if new.is_empty() {
                break;
            }
            for sibling in new {
                match Identity::read(fs, &sibling.path) {
                    Ok(Some(found)) if found.log == identity.log && found.directory == sibling.directory => {
                        known.insert(found.directory.clone(), (sibling.path, found));
                    }
                    found => {
                        missing.insert(sibling.directory, why_missing(found));
                    }
                }
            }
        }
        let Some(newest) = Identity::newest(known.values().map(|(_, identity)| identity)).cloned() else {
            let message = format!("the directory is not yet one of its log: directory=`{}`", path.display());
            return Err(Error::new(ErrorKind::Invalid, message)
                .with_hint("`directory add` was interrupted: run it again, with the log's directories as --data"));
        };
        let member = |sibling: &Sibling| {
            let (path, identity) = match known.remove(&sibling.directory) {
                Some((path, identity)) => (path, Ok(identity)),
                None => {
                    let why = missing.remove(&sibling.directory).unwrap_or_else(|| "it is not there".to_owned());
                    (sibling.path.clone(), Err(why))
                }
            };
            Member { id: sibling.directory.clone(), path, is_drained: sibling.drained, identity }
        };
        let members = newest.directories.iter().map(member).collect();
        Ok(Some(Self { newest, members }))
    }

    /// The directories of a log that must be there.
    pub fn of(options: &LogOptions) -> Result<Self> {
        Self::find(&*options.fs, &options.directories)?.ok_or_else(|| {
            let shown = options.directories.first().map_or_else(String::new, |path| path.display().to_string());
            Error::new(ErrorKind::NotFound, format!("no log here: directory=`{shown}`"))
                .with_hint("the first append makes one; or check --data")
        })
    }

    /// The same with every directory that is there locked; looked up again under the locks.
    ///
    /// # Errors
    /// `Locked` while somebody writes to the log; where no directory can be locked, what the system said.
    pub fn locked(options: &LogOptions) -> Result<(Self, Vec<Box<dyn LockGuard>>)> {
        let mut locks = Vec::new();
        let mut refused = None;
        for member in Self::of(options)?.members.iter().filter(|member| member.identity.is_ok()) {
            match lock(&*options.fs, &member.path) {
                Ok(taken) => locks.push(taken),
                Err(error) if error.kind() == ErrorKind::Locked => return Err(error),
                // A disk that takes no writes has no writer either, and must not keep the others from going on.
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if locks.is_empty() => Err(error),
            _ => Ok((Self::of(options)?, locks)),
        }
    }

    /// Whether every identity that is there holds the newest set.
    pub fn is_agreed(&self) -> bool {
        let mut present = self.members.iter().filter_map(|member| member.identity.as_ref().ok());
        present.all(|identity| identity.set == self.newest.set)
    }

    /// What a person calls `which`: an id, a path, or a remote's URL.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn named(&self, which: &str) -> Result<Named> {
        if let Some(index) = self.members.iter().position(|member| member.id == which) {
            return Ok(Named::Member(index));
        }
        use crate::objects::Location;
        // As `directory add` keeps it: from any working directory.
        let location = which.parse::<Location>().ok().map(|location| match location {
            Location::Local(path) => Location::Local(normal(&path)),
            remote => remote,
        });
        let remote = self.newest.remotes.iter().find(|remote| {
            remote.directory == which || location.as_ref().is_some_and(|location| remote.url == location.to_string())
        });
        if let Some(remote) = remote {
            return Ok(Named::Remote(remote.directory.clone()));
        }
        let path = location.as_ref().and_then(|location| location.local_path()).map(normal);
        if let Some(path) = &path
            && let Some(index) = self.members.iter().position(|member| normal(&member.path) == *path)
        {
            return Ok(Named::Member(index));
        }
        let is_it = |sibling: &&Sibling| {
            sibling.directory == which || path.as_ref().is_some_and(|path| normal(&sibling.path) == *path)
        };
        match self.newest.forgotten.iter().rev().find(is_it) {
            Some(sibling) => Ok(Named::Forgotten(sibling.directory.clone())),
            None => {
                // Not repeated where it is a URL: one that was not understood may hold a secret.
                let shown = if crate::objects::Location::is_url(which) { "a url" } else { which };
                Err(Error::new(ErrorKind::NotFound, format!("no directory of the log: directory=`{shown}`"))
                    .with_hint("`directory ls` lists them by id and path"))
            }
        }
    }

    /// Makes `new` the set: its number is raised, and every directory that is there gets it, those in `also` last.
    ///
    /// The first one that is durable decides; the others follow, and where one cannot be written, the next opening of the log does it.
    ///
    /// # Errors
    /// No identity could be written; the set is the old one, or, where a sync failed, the new one.
    pub fn commit(&self, fs: &dyn FileSystem, mut new: Identity, also: &[(&str, &Path)]) -> Result<()> {
        let epochs = self.members.iter().filter_map(|member| member.identity.as_ref().ok());
        new.epoch = epochs.map(|identity| identity.epoch).max().unwrap_or(new.epoch).max(new.epoch);
        new.set = self.newest.set + 1;
        // One that is taken out of the set keeps its own identity as it is: by that it is known when it comes back.
        let stays = |id: &str| new.sibling(id).is_some() && also.iter().all(|(other, _)| *other != id);
        let write = |id: &str, path: &Path| Identity { directory: id.to_owned(), ..new.clone() }.write(fs, path);
        let (mut is_made, mut failed) = (false, None);
        for member in self.members.iter().filter(|member| member.identity.is_ok() && stays(&member.id)) {
            match write(&member.id, &member.path) {
                Ok(()) => is_made = true,
                Err(error) => {
                    tracing::warn!(error = chain(&error), path = %member.path.display(), "an identity was not written");
                    failed = Some(error);
                }
            }
        }
        if let (false, Some(error)) = (is_made, failed) {
            return Err(error);
        }
        also.iter().try_for_each(|(id, path)| write(id, path))
    }
}

fn why_missing(found: Result<Option<Identity>>) -> String {
    match found {
        Ok(None) => "it has no identity: an empty mount point?".to_owned(),
        Ok(Some(other)) => format!("another directory is there: id=`{}`, log=`{}`", other.directory, other.log),
        Err(error) => chain(&error),
    }
}

/// A path from the root, without `.` and `..`, to compare it with others. Links are not followed.
pub(in crate::log) fn normal(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
        normal
    })
}

/// Refuses a path inside one of the log's directories, or around one: what lies in both would belong to both.
pub(super) fn refuse_nested<'a>(path: &Path, members: impl IntoIterator<Item = &'a Member>) -> Result<()> {
    let path = normal(path);
    for member in members {
        let other = normal(&member.path);
        if path.starts_with(&other) || other.starts_with(&path) {
            let message = format!(
                "a directory lies inside the other: directory=`{}`, other=`{}`",
                path.display(),
                other.display()
            );
            return Err(Error::new(ErrorKind::Invalid, message).with_hint("name a directory beside the others"));
        }
    }
    Ok(())
}
