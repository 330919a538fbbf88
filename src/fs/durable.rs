//! Every ritual that makes names and small files durable, with the reason for its order.

use std::path::{Path, PathBuf};

use super::{EntryKind, FileSystem, FsError, FsResult, OpenMode};

/// Makes `path` and each missing directory above it. The name of `path`, and of every directory above it that was ever made by this, is durable when
/// this returns.
///
/// The parent's name is made durable before `path` is made: so of directories one below another, made by runs of which each was killed, only the
/// lowest may lack its name, and that one is seen to here.
///
/// # Errors
/// What the system said.
pub fn create_dir_all(fs: &dyn FileSystem, path: &Path) -> FsResult<()> {
    if fs.metadata(path).is_ok() {
        // Made by an earlier run, maybe just before it was killed: only a sync now makes sure of the name.
        return sync_parent(fs, path);
    }
    if let Some(above) = parent(path) {
        match create_dir_all(fs, &above) {
            // Where we may not read, we have made nothing.
            Err(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied => {}
            made => made?,
        }
    }
    match fs.create_dir(path) {
        // A sync that failed promises nothing, and neither does the next one: the name is taken back, so that the next try
        // makes it anew.
        Ok(()) => sync_parent(fs, path).inspect_err(|_| drop(fs.remove_dir(path))),
        Err(error) if error.is_already_exists() => sync_parent(fs, path),
        Err(error) => Err(error),
    }
}

fn parent(path: &Path) -> Option<PathBuf> {
    path.parent().map(|parent| if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() })
}

/// Makes the name of `path` durable.
///
/// # Errors
/// What the system said.
pub fn sync_parent(fs: &dyn FileSystem, path: &Path) -> FsResult<()> {
    parent(path).map_or(Ok(()), |parent| fs.sync_dir(&parent))
}

/// Writes a small file, replacing what had its name in one step.
///
/// The new content is durable under a name of its own before it takes the name; a crash leaves the old or the new
/// file, and maybe the temporary one, which the next try replaces.
///
/// # Errors
/// What the system said; the old file is still there, or the new one is.
pub fn replace_small(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) -> FsResult<()> {
    let temporary = with_suffix(path, ".tmp");
    match fs.remove_file(&temporary) {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    let file = fs.open(&temporary, OpenMode::CreateNew)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    drop(file);
    fs.replace(&temporary, path)?;
    sync_parent(fs, path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// Gives a finished, synced file its name, which must be free, and makes the name durable.
///
/// The bytes are durable before the name: whoever finds the name finds the whole file.
///
/// # Errors
/// Already exists, or what the system said; then the file has its old name again, if the system lets it.
pub fn publish(fs: &dyn FileSystem, temporary: &Path, path: &Path) -> FsResult<()> {
    fs.rename_new(temporary, path)?;
    // A name whose sync failed is never promised by a later sync: the next try must make it anew.
    sync_parent(fs, path).inspect_err(|_| drop(fs.rename_new(path, temporary)))
}

/// Removes a file; that it is gone is durable when this returns.
///
/// # Errors
/// Not found, or what the system said.
pub fn remove(fs: &dyn FileSystem, path: &Path) -> FsResult<()> {
    fs.remove_file(path)?;
    sync_parent(fs, path)
}

/// Removes a directory with everything in it; that it is gone is durable when this returns. One that is not there is fine.
///
/// `last` is a file in it that goes behind everything else: where it tells what the directory is, a crash leaves what can be told. Links
/// are removed, not followed.
///
/// # Errors
/// What the system said; a part of it may be gone.
pub fn remove_all(fs: &dyn FileSystem, path: &Path, last: Option<&str>) -> FsResult<()> {
    let entries = match fs.list(path) {
        Err(error) if error.is_not_found() => return sync_above(fs, path),
        entries => entries?,
    };
    for entry in entries.iter().filter(|entry| Some(entry.name.as_str()) != last) {
        let below = path.join(&entry.name);
        match entry.kind {
            EntryKind::Directory => remove_all(fs, &below, None)?,
            _ => fs.remove_file(&below)?,
        }
    }
    if let Some(last) = last.filter(|last| entries.iter().any(|entry| entry.name == **last)) {
        fs.sync_dir(path)?;
        fs.remove_file(&path.join(last))?;
    }
    fs.remove_dir(path)?;
    sync_parent(fs, path)
}

/// What an earlier run removed may come back by a power cut, until this.
fn sync_above(fs: &dyn FileSystem, path: &Path) -> FsResult<()> {
    match sync_parent(fs, path) {
        Err(error) if error.is_not_found() => Ok(()),
        synced => synced,
    }
}

/// Reads a small file whole.
///
/// # Errors
/// Not found, longer than `bytes_max`, or what the system said.
pub fn read_small(fs: &dyn FileSystem, path: &Path, bytes_max: usize) -> FsResult<Vec<u8>> {
    let file = fs.open(path, OpenMode::Read)?;
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if len > bytes_max {
        return Err(FsError::new("read", path, std::io::ErrorKind::FileTooLarge.into()));
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
