//! Putting a new catalog in the place of the old one.
//!
//! Owns: the names beside the catalog's file while it is replaced, and what a crash leaves of them.
//!
//! # Order, and why a crash between any two is safe
//!
//! 1. The new catalog is built in `FILE.building`, checked, and copied to `FILE.copying`, which is synced. A crash leaves files
//!    of which nobody reads; the next opening for writing removes them.
//! 2. `FILE.copying` becomes `FILE.rebuilt`, and the directory is synced: from here on a whole new catalog lies there. A crash
//!    leaves both; the old one is still the catalog, and the new one, which is out of date with the next change, is removed.
//! 3. The old one, then each file that belongs to it, moves to the folder `FILE.set-aside-N`; synced. The file itself goes first:
//!    while it is there without its log, it would be an older copy. A crash leaves no catalog, and maybe some of the old one's files
//!    beside its place. Whoever opens to write then goes on with this step and the next; whoever opens to read reads `FILE.rebuilt`.
//!    Nobody makes an empty catalog.
//! 4. `FILE.rebuilt` becomes `FILE`, and the directory is synced. The old one's other files are gone from here by then: the engine
//!    would take them for those of the new one.

use std::path::{Path, PathBuf};

use super::aside::{exists, set_aside};
use crate::catalog::{Catalog, Engine, MAKING};
use crate::error::Result;
use crate::fs::{FileSystem, FsResult, durable};

/// The path with more behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Where the new catalog is built.
pub(super) fn building(path: &Path) -> PathBuf {
    beside(path, ".building")
}

fn rebuilt(path: &Path) -> PathBuf {
    beside(path, ".rebuilt")
}

fn copying(path: &Path) -> PathBuf {
    beside(path, ".copying")
}

fn remove(fs: &dyn FileSystem, path: &Path) -> FsResult<()> {
    match durable::remove(fs, path) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed,
    }
}

fn remove_with_companions(fs: &dyn FileSystem, engine: Engine, path: &Path) -> FsResult<()> {
    for companion in engine.companions(path) {
        remove(fs, &companion)?;
    }
    remove(fs, path)
}

/// What an engine began to make under a name of its own, and never gave its place.
fn remove_half_made(fs: &dyn FileSystem, path: &Path) -> FsResult<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let begins = format!("{}{MAKING}", name.to_string_lossy());
    let entries = match fs.list(folder) {
        Err(error) if error.is_not_found() => return Ok(()),
        entries => entries?,
    };
    for entry in entries.iter().filter(|entry| entry.name.starts_with(&begins)) {
        remove(fs, &folder.join(&entry.name))?;
    }
    Ok(())
}

/// Finishes or undoes what a crash left half-done. The log's lock is held.
///
/// # Errors
/// What the system said; then it can be done again.
pub(super) fn settle(fs: &dyn FileSystem, engine: Engine, path: &Path) -> Result<()> {
    remove_with_companions(fs, engine, &building(path))?;
    remove_with_companions(fs, engine, &copying(path))?;
    remove_half_made(fs, path)?;
    let rebuilt = rebuilt(path);
    if !exists(fs, &rebuilt)? {
        return Ok(());
    }
    if exists(fs, path)? {
        tracing::warn!(path = %rebuilt.display(), "a rebuild was interrupted before its end: the catalog is as it was");
        return Ok(remove_with_companions(fs, engine, &rebuilt)?);
    }
    tracing::warn!(path = %rebuilt.display(), "a rebuild was interrupted: the new catalog is put in place now");
    finish(fs, engine, path)?;
    Ok(())
}

/// What is read where nothing may be changed: the catalog, or the new one that is about to take its place.
pub(super) fn to_read(fs: &dyn FileSystem, path: PathBuf) -> PathBuf {
    let rebuilt = rebuilt(&path);
    let is_between = matches!(exists(fs, &path), Ok(false)) && matches!(exists(fs, &rebuilt), Ok(true));
    if is_between { rebuilt } else { path }
}

/// Puts a copy of `new` in the place of the catalog `path`; returns the folder where the old one lies now.
///
/// # Errors
/// What the disk or the catalog said. The old catalog is in its place, or the next opening for writing puts the new one there.
pub(super) fn replace(fs: &dyn FileSystem, engine: Engine, path: &Path, new: &dyn Catalog) -> Result<Option<PathBuf>> {
    let (copying, rebuilt) = (copying(path), rebuilt(path));
    new.copy_to(&copying)?;
    // Nothing but a new opening may have made files beside it.
    for companion in engine.companions(&copying) {
        remove(fs, &companion)?;
    }
    durable::publish(fs, &copying, &rebuilt)?;
    finish(fs, engine, path)
}

/// Steps 3 and 4.
fn finish(fs: &dyn FileSystem, engine: Engine, path: &Path) -> Result<Option<PathBuf>> {
    let folder = set_aside(fs, engine, path)?;
    let rebuilt = rebuilt(path);
    // Who reads the new one meanwhile has files beside it, by which writers know of its readers: they go with it.
    for (from, to) in engine.companions(&rebuilt).iter().zip(engine.companions(path)) {
        if exists(fs, from)? {
            fs.rename_new(from, &to)?;
        }
    }
    fs.rename_new(&rebuilt, path)?;
    durable::sync_parent(fs, path)?;
    Ok(folder)
}
