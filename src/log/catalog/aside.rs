//! Setting a catalog's files aside.

use std::path::{Path, PathBuf};

use crate::catalog::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, durable};

/// Whether something lies there.
pub(super) fn exists(fs: &dyn FileSystem, path: &Path) -> Result<bool> {
    match fs.metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Moves the catalog's file, then those that belong to it, into a new folder `FILE.set-aside-N`, where they can be opened as they
/// are; `None` where there is none of them. Nobody has it open.
///
/// The file goes first: with its name free, a crash between leaves nothing that could be taken for a whole catalog.
pub(super) fn set_aside(fs: &dyn FileSystem, engine: Engine, path: &Path) -> Result<Option<PathBuf>> {
    let mut files = Vec::new();
    for file in std::iter::once(path.to_path_buf()).chain(engine.companions(path)) {
        if exists(fs, &file)? {
            files.push(file);
        }
    }
    let Some(first) = files.first() else { return Ok(None) };
    // Without the file, an interrupted run set it aside, and the others follow it.
    let begun = if first == path { None } else { newest_folder(fs, path)? };
    let folder = begun.map_or_else(|| new_folder(fs, path), Ok)?;
    for file in files {
        let name = file.file_name().expect("a catalog's file has a name");
        fs.rename_new(&file, &folder.join(name))?;
    }
    fs.sync_dir(&folder)?;
    durable::sync_parent(fs, path)?;
    Ok(Some(folder))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".set-aside-{number}"));
    name.into()
}

/// The newest folder, where it has the catalog's file.
fn newest_folder(fs: &dyn FileSystem, path: &Path) -> Result<Option<PathBuf>> {
    let mut newest = None;
    for number in 1..10_000 {
        let folder = numbered(path, number);
        if !exists(fs, &folder)? {
            break;
        }
        newest = Some(folder);
    }
    let name = path.file_name().expect("a catalog's file has a name");
    match newest {
        Some(folder) if exists(fs, &folder.join(name))? => Ok(Some(folder)),
        _ => Ok(None),
    }
}

fn new_folder(fs: &dyn FileSystem, path: &Path) -> Result<PathBuf> {
    for number in 1..10_000 {
        let folder = numbered(path, number);
        match fs.create_dir(&folder) {
            Ok(()) => {
                durable::sync_parent(fs, &folder)?;
                return Ok(folder);
            }
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let message = format!("too much was set aside: path=`{}`", path.display());
    Err(Error::new(ErrorKind::Full, message).with_hint("remove the folders beside it that nobody needs"))
}
