//! Moves the catalog from one engine to another.
//!
//! # Order, and why a crash between any two is safe
//!
//! 1. The log's lock: nobody changes either catalog meanwhile.
//! 2. The catalog in use is opened, once a rebuild that was interrupted is settled. It is only read.
//! 3. The file of the other engine is opened, or made. Where it cannot follow (ahead, of another history, damaged), it is set aside
//!    and made anew. Until step 7 nobody opens it but a mirror, which would go on from where it stands.
//! 4. It catches up, in durable transactions: a crash leaves a beginning of the history, from which the next try goes on.
//! 5. Both are compared, every row of every table, and the new one is checked. What differs ends it here.
//! 6. The name of the new file is made durable.
//! 7. **The step**: the first directory's identity is replaced by one that names the new engine. It is the old one or the new
//!    one after a crash, and both catalogs hold the same by then.
//! 8. The other directories' identities follow. Only the first one counts; every opening for writing brings the others in line.
//!
//! The old file stays as it is: a beginning of the history, so a mirror, or a migration back, goes on from it.
//!
//! Where the catalog in use is gone, and the other engine's file is there (a mirror, or what an earlier migration left), that one
//! is checked and taken, by the same step: an older copy, if anything, which opening the log brings up to date from the
//! directories (C3).

use std::path::{Path, PathBuf};

use super::aside::{exists, set_aside};
use super::choose::{catalog_file, check_built};
use super::place;
use crate::catalog::follow::{FollowError, catch_up, differences};
use crate::catalog::mirror::chain;
use crate::catalog::{Catalog, CatalogError, CatalogMode, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::durable;
use crate::log::places::{existing_directories, lock};
use crate::log::{Log, LogOptions};
use crate::types::ChangeNumber;

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Migrated {
    /// What kept the catalog before.
    pub from: Engine,
    /// What keeps it now.
    pub to: Engine,
    /// Whether that is a change; where not, nothing was done.
    pub is_switched: bool,
    /// The file of the engine before, which stays as it was.
    pub old_path: PathBuf,
    /// The catalog's file now.
    pub path: PathBuf,
    /// The newest change of the catalog.
    pub change_number: ChangeNumber,
    /// How many changes the new file did not have.
    pub copied: u64,
    /// The old file was gone: what the new one had was taken.
    pub old_was_missing: bool,
    /// The folder in which the new engine's earlier file is now, which could not be gone on from; and why not.
    pub set_aside: Option<(PathBuf, String)>,
}

/// Between any two of them a test may pull the plug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) enum Step {
    Locked,
    Opened,
    SetAside,
    Followed,
    Compared,
    Named,
    Switched,
    Done,
}

impl Log {
    /// Moves the catalog of a log that nobody writes to from the engine in use to `to`, proves that the new one is equal, and
    /// switches over in one step. `progress` is told how many of how many changes are copied.
    ///
    /// # Errors
    /// `Locked` while somebody writes to the log; `Unsupported` where this program was built without one of the engines; `Corrupt` for
    /// a catalog that cannot be read; what the disk or the catalogs said. The engine in use is then the old one,
    /// unless only its switch could not be made durable: either is in use then, and both hold the same.
    pub fn migrate_catalog(options: &LogOptions, to: Engine, progress: &mut dyn FnMut(u64, u64)) -> Result<Migrated> {
        migrate(options, to, progress, &mut |_| Ok(()))
    }
}

pub(in crate::log) fn migrate(
    options: &LogOptions,
    to: Engine,
    progress: &mut dyn FnMut(u64, u64),
    after: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<Migrated> {
    if options.catalog.is_some() {
        return Err(Error::new(
            ErrorKind::Invalid,
            "a catalog that the options give is in no file, and is not migrated",
        ));
    }
    check_built(to)?;
    let fs = &*options.fs;
    let (directories, _) = existing_directories(options)?;
    let _locks = directories.iter().map(|(_, path)| lock(fs, path)).collect::<Result<Vec<_>>>()?;
    // Again, under the lock.
    let (directories, mut identities) = existing_directories(options)?;
    after(Step::Locked)?;
    let first = &directories[0].1;
    let from = identities[0].catalog;
    check_built(from)?;
    let log = identities[0].log_id(first)?;
    let (old_path, path) = (catalog_file(options, first, log, from), catalog_file(options, first, log, to));
    for (engine, path) in [(from, &old_path), (to, &path)] {
        // A rebuild that was interrupted: its catalog may lie beside its place.
        place::settle(fs, engine, path)?;
    }
    let (change_number, copied, set_aside, old_was_missing) = if from == to {
        (from.open(&path, CatalogMode::ReadOnly)?.change_number()?, 0, None, false)
    } else if !exists(fs, &old_path)? && exists(fs, &path)? {
        (take(to, &path)?, 0, None, true)
    } else {
        let old = from.open(&old_path, CatalogMode::ReadWrite)?;
        after(Step::Opened)?;
        let (copied, set_aside) = copy(options, &*old, (to, &path), progress, after)?;
        (old.change_number()?, copied, set_aside, false)
    };
    if from != to {
        after(Step::Compared)?;
        durable::sync_parent(fs, &path)?;
        after(Step::Named)?;
        for ((_, directory), identity) in directories.iter().zip(&mut identities) {
            identity.catalog = to;
            identity.write(fs, directory)?;
            after(Step::Switched)?;
        }
        after(Step::Done)?;
    }
    let is_switched = from != to;
    Ok(Migrated { from, to, is_switched, old_path, path, change_number, copied, old_was_missing, set_aside })
}

type SetAside = Option<(PathBuf, String)>;

/// Makes the catalog in `path` equal to `old`: how many changes it did not have, and where its earlier file is now.
fn copy(
    options: &LogOptions,
    old: &dyn Catalog,
    (to, path): (Engine, &Path),
    progress: &mut dyn FnMut(u64, u64),
    after: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<(u64, SetAside)> {
    let fs = &*options.fs;
    let mut aside = None;
    if exists(fs, path)? {
        match follow(old, (to, path), progress, after)? {
            Ok(copied) => return Ok((copied, None)),
            Err(why) => aside = set_aside(fs, to, path)?.map(|folder| (folder, why)),
        }
        after(Step::SetAside)?;
    } else {
        // What belonged to a file that is gone must not be taken for the new one's.
        set_aside(fs, to, path)?;
    }
    match follow(old, (to, path), progress, after)? {
        Ok(copied) => Ok((copied, aside)),
        Err(why) => Err(Error::new(
            ErrorKind::Internal,
            format!(
                "the new catalog is not equal to the old one, which stays in use: path=`{}`, what=`{why}`",
                path.display()
            ),
        )),
    }
}

/// Brings the catalog in `path` up to `old`, and compares them: how many changes it did not have, or why it cannot be gone on from.
fn follow(
    old: &dyn Catalog,
    (to, path): (Engine, &Path),
    progress: &mut dyn FnMut(u64, u64),
    after: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<Result<u64, String>> {
    let mut began = None;
    let mut bring = || -> Result<Vec<String>, FollowError> {
        let new = to.open(path, CatalogMode::Create).map_err(FollowError::To)?;
        catch_up(old, &*new, None, &mut |number, until| {
            let began = *began.get_or_insert(number.0);
            progress(number.0 - began, until.0 - began);
            true
        })?;
        let mut found = differences(old, &*new)?;
        found.extend(new.check().map_err(FollowError::To)?);
        Ok(found)
    };
    let brought = bring();
    after(Step::Followed)?;
    match brought {
        Ok(found) if found.is_empty() => Ok(Ok(old.change_number()?.0 - began.unwrap_or(0))),
        Ok(found) => Ok(Err(found.join("; "))),
        Err(error @ (FollowError::Ahead { .. } | FollowError::Diverged { .. })) => Ok(Err(chain(&error))),
        Err(FollowError::To(error @ CatalogError::Damaged { .. })) => Ok(Err(chain(&error))),
        Err(FollowError::To(error) | FollowError::From(error)) => Err(error.into()),
    }
}

/// Checks the catalog in `path`, which is to be used as it is.
fn take(engine: Engine, path: &Path) -> Result<ChangeNumber> {
    let catalog = engine.open(path, CatalogMode::ReadWrite)?;
    match catalog.check()?.first() {
        None => Ok(catalog.change_number()?),
        Some(what) => Err(CatalogError::Damaged { path: path.display().to_string(), what: what.clone() }.into()),
    }
}
