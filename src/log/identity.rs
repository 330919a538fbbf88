//! Who a directory belongs to: `{directory}/.icecore/identity.json` (F6, A1).
//!
//! Owns: log id, directory id, the siblings by which one directory finds the rest, the catalog's engine, the epoch. The epoch is durable in
//! every directory before the first group that names it, so that no two openings ever share one.
//!
//! What is said of the log as a whole (directories, remotes, forgotten) stands in every identity, and changes in one after the other:
//! [`Identity::set`] counts these changes, and the [`newest`](Identity::newest) one is right. An identity that does not list its own
//! directory is of one that is being added, and has no say (`directories`).

use std::path::{Path, PathBuf};

use crate::catalog::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, durable};
use crate::types::{Epoch, LogId};

/// The folder of icecore's own things in a directory.
pub const FOLDER: &str = ".icecore";
const FILE: &str = "identity.json";
const BYTES_MAX: usize = 1 << 20;
const FORMAT: u32 = 1;

/// Identity of one directory.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// Version of this file.
    pub format: u32,
    /// The log, as 32 hexadecimal digits.
    pub log: String,
    /// This directory: short, random, the same wherever the directory is mounted or copied to.
    pub directory: String,
    /// All directories of the log, this one too, in order; the catalog lies in the first.
    pub directories: Vec<Sibling>,
    /// The newest epoch that this directory took part in.
    pub epoch: u64,
    /// How often directories were added, drained or taken away: where identities differ, the highest is right.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub set: u64,
    /// Object stores that are homes of the log's segments (A5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remotes: Vec<Remote>,
    /// Directories that were given up (A3). One that comes back is taken in again under its old id, and merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<Sibling>,
    /// What keeps the log's catalog. The first directory's word counts. Where none is written, it is SQLite.
    #[serde(default)]
    pub catalog: Engine,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A directory of the same log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sibling {
    /// Its id.
    pub directory: String,
    /// Where it was when this was written.
    pub path: PathBuf,
    /// It was drained: no collection is put there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
}

/// An object store that is a home of the log's segments.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remote {
    /// Its id, in assignments.
    pub directory: String,
    /// Where it is: `s3://...`, `az://...`; never with a secret in it.
    pub url: String,
    /// It was drained: no collection gets it for its home by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
}

impl Identity {
    /// Where the file is.
    #[must_use]
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(FOLDER).join(FILE)
    }

    /// The log's id.
    ///
    /// # Errors
    /// `Corrupt` where it is none.
    pub fn log_id(&self, directory: &Path) -> Result<LogId> {
        self.log.parse().map_err(|what: &str| damaged(directory, what))
    }

    /// Reads a directory's identity; `None` where it has none.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported` for a newer format, or what the system said.
    pub fn read(fs: &dyn FileSystem, directory: &Path) -> Result<Option<Self>> {
        let bytes = match durable::read_small(fs, &Self::path(directory), BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let identity: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(directory, &error.to_string()))?;
        if identity.format > FORMAT {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the directory is of a newer icecore: directory=`{}`, format=`{}`, newest known=`{FORMAT}`",
                    directory.display(),
                    identity.format
                ),
            ));
        }
        Ok(Some(identity))
    }

    /// Writes it durably, in place of the one before.
    ///
    /// # Errors
    /// What the system said; the old one, or the new one, is there.
    pub fn write(&self, fs: &dyn FileSystem, directory: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self).expect("plain text and numbers");
        json.push(b'\n');
        Ok(durable::replace_small(fs, &Self::path(directory), &json)?)
    }

    /// Whether it lists its own directory. One that does not is of a directory that is being added.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.sibling(&self.directory).is_some()
    }

    /// A directory of the log.
    #[must_use]
    pub fn sibling(&self, id: &str) -> Option<&Sibling> {
        self.directories.iter().find(|sibling| sibling.directory == id)
    }

    /// The one whose word on the log as a whole is right; `None` where none has a say.
    #[must_use]
    pub fn newest<'a>(identities: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        let members = identities.into_iter().filter(|identity| identity.is_member());
        members.max_by_key(|identity| (identity.set, identity.epoch))
    }

    /// Takes over what `newest` says of the log as a whole.
    pub fn take_set(&mut self, newest: &Self) {
        self.directories.clone_from(&newest.directories);
        self.remotes.clone_from(&newest.remotes);
        self.forgotten.clone_from(&newest.forgotten);
        self.set = newest.set;
    }

    /// Identities for the directories of a new log.
    #[must_use]
    pub fn new_log(directories: &[PathBuf], catalog: Engine, mut random: impl FnMut() -> [u8; 16]) -> Vec<Self> {
        let log = LogId(random()).to_string();
        let siblings: Vec<Sibling> = directories
            .iter()
            .map(|path| Sibling {
                directory: crate::types::ids::hex(&random()[..4]),
                path: path.clone(),
                drained: false,
            })
            .collect();
        let identity = |sibling: &Sibling| Self {
            format: FORMAT,
            log: log.clone(),
            directory: sibling.directory.clone(),
            directories: siblings.clone(),
            epoch: Epoch(0).0,
            set: 0,
            remotes: Vec::new(),
            forgotten: Vec::new(),
            catalog,
        };
        siblings.iter().map(identity).collect()
    }
}

fn damaged(directory: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("identity of a directory is damaged: path=`{}`, what=`{what}`", Identity::path(directory).display()),
    )
    .with_hint("put back the identity.json of a sibling, with this directory's own id")
}
