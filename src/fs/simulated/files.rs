//! The seam of [`fs`](crate::fs), on a simulated disk.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::faults::{OperationKind, Passage};
use super::tree::{Change, DirectoryNode, Edit, FileNode, Id, Node, Tree};
use super::{SimulatedFileSystem, locked};
use crate::fs::{Entry, EntryKind, File, FileSystem, FsError, FsResult, LockGuard, Metadata, OpenMode};

/// An open file.
struct SimulatedFile {
    fs: SimulatedFileSystem,
    id: Id,
    path: PathBuf,
    writable: bool,
    /// Tells it from others of the same file.
    handle: u64,
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        self.fs.tree(|tree| {
            if let Some(count) = tree.open.get_mut(&self.id) {
                *count -= 1;
                if *count == 0 {
                    tree.open.remove(&self.id);
                }
            }
        });
    }
}

struct SimulatedLock {
    fs: SimulatedFileSystem,
    id: Id,
}

impl fmt::Debug for SimulatedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedLock").finish_non_exhaustive()
    }
}

impl LockGuard for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.fs.tree(|tree| tree.locked.remove(&self.id));
    }
}

impl SimulatedFileSystem {
    /// Counts and maybe fails an operation, then does it under the lock.
    fn act<T>(
        &self,
        kind: OperationKind,
        path: &Path,
        to: Option<&Path>,
        act: impl FnOnce(&mut Tree) -> io::Result<T>,
    ) -> FsResult<T> {
        self.begin(kind, path, to)?;
        self.tree(act).map_err(|error| FsError::new(kind.label(), to.unwrap_or(path), error))
    }

    fn rename(&self, kind: OperationKind, from: &Path, to: &Path, replaces: bool) -> FsResult<()> {
        let path = to;
        self.act(kind, from, Some(to), |tree| {
            let (from, to) = (tree.place(from)?, tree.place(to)?);
            let id = tree.lookup(&from).ok_or(io::ErrorKind::NotFound)?;
            if let Some(there) = tree.lookup(&to) {
                if !replaces {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                if there == id {
                    return Ok(());
                }
                if matches!(tree.nodes.get(&there), Some(Node::Directory(_))) {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                tree.check_not_open(there)?;
            }
            let gone = Edit { directory: from.0, name: from.1, to: None };
            tree.edit(vec![gone, Edit { directory: to.0, name: to.1, to: Some(id) }]);
            locked(&self.0.renamed).insert(id, path.to_path_buf());
            Ok(())
        })
    }

    /// Bytes that still fit, where there is a limit.
    fn room(&self, tree: &Tree, path: &Path) -> u64 {
        if locked(&self.0.places).is_full(path) {
            return 0;
        }
        locked(&self.0.capacity).map_or(u64::MAX / 4, |capacity| capacity.saturating_sub(tree.used_bytes()))
    }
}

impl Tree {
    fn check_not_open(&self, id: Id) -> io::Result<()> {
        if self.windows && self.open.contains_key(&id) { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}

impl FileSystem for SimulatedFileSystem {
    fn open(&self, path: &Path, mode: OpenMode) -> FsResult<Arc<dyn File>> {
        let kind = if mode == OpenMode::CreateNew { OperationKind::Create } else { OperationKind::Open };
        let id = self.act(kind, path, None, |tree| {
            let id = if mode == OpenMode::CreateNew {
                let place = tree.place(path)?;
                tree.add(place, Node::File(Arc::new(FileNode::default())))?
            } else {
                let id = tree.find(path)?;
                tree.file(id)?;
                id
            };
            *tree.open.entry(id).or_default() += 1;
            Ok(id)
        })?;
        let writable = mode != OpenMode::Read;
        let handle = self.0.handles.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(SimulatedFile { fs: self.clone(), id, path: path.to_path_buf(), writable, handle }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.rename(OperationKind::RenameNew, from, to, false)
    }

    fn replace(&self, from: &Path, to: &Path) -> FsResult<()> {
        self.rename(OperationKind::Replace, from, to, true)
    }

    fn copy_new(&self, from: &Path, to: &Path) -> FsResult<u64> {
        self.act(OperationKind::Copy, from, Some(to), |tree| {
            let content = tree.file(tree.find(from)?)?.current.clone();
            if content.len() > self.room(tree, to) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let place = tree.place(to)?;
            let id = tree.add(place, Node::File(Arc::new(FileNode::default())))?;
            let mut bytes = vec![0; content.len() as usize];
            content.read(&mut bytes, 0);
            if !bytes.is_empty() {
                tree.write(id, &bytes, 0)?;
            }
            Ok(content.len())
        })
    }

    fn remove_file(&self, path: &Path) -> FsResult<()> {
        self.act(OperationKind::RemoveFile, path, None, |tree| {
            let place = tree.place(path)?;
            let id = tree.lookup(&place).ok_or(io::ErrorKind::NotFound)?;
            tree.file(id)?;
            tree.check_not_open(id)?;
            tree.edit(vec![Edit { directory: place.0, name: place.1, to: None }]);
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> FsResult<()> {
        self.act(OperationKind::RemoveDir, path, None, |tree| {
            let place = tree.place(path)?;
            let id = tree.lookup(&place).ok_or(io::ErrorKind::NotFound)?;
            if !tree.directory(id)?.current.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            tree.edit(vec![Edit { directory: place.0, name: place.1, to: None }]);
            Ok(())
        })
    }

    fn list(&self, directory: &Path) -> FsResult<Vec<Entry>> {
        self.act(OperationKind::List, directory, None, |tree| {
            let names = &tree.directory(tree.find(directory)?)?.current;
            let entry = |(name, id): (&Arc<str>, &Id)| Entry {
                name: name.to_string(),
                kind: tree.nodes.get(id).map_or(EntryKind::Other, Node::kind),
            };
            Ok(names.iter().map(entry).collect())
        })
    }

    fn metadata(&self, path: &Path) -> FsResult<Metadata> {
        self.act(OperationKind::Metadata, path, None, |tree| match tree.nodes.get(&tree.find(path)?) {
            Some(Node::File(file)) => Ok(Metadata { kind: EntryKind::File, len: file.current.len() }),
            Some(Node::Directory(_)) => Ok(Metadata { kind: EntryKind::Directory, len: 0 }),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn create_dir(&self, path: &Path) -> FsResult<()> {
        self.act(OperationKind::CreateDir, path, None, |tree| {
            if tree.find(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let place = tree.place(path)?;
            tree.add(place, Node::Directory(Arc::new(DirectoryNode::default())))?;
            Ok(())
        })
    }

    fn sync_dir(&self, directory: &Path) -> FsResult<()> {
        let outcome = self.begin(OperationKind::SyncDir, directory, None);
        self.tree(|tree| {
            let id = tree.find(directory)?;
            tree.directory(id)?;
            // By a failed sync the names are lost like bytes: they can be seen, and no later sync of this process makes
            // them durable.
            for change in tree.take_pending_names_of(id) {
                match (&change, &outcome) {
                    (Change::Names(edits), Ok(_)) => tree.make_names_durable(edits),
                    _ => tree.lost.push(change),
                }
            }
            Ok(())
        })
        .map_err(|error| FsError::new(OperationKind::SyncDir.label(), directory, error))?;
        outcome.map(|_| ())
    }

    fn try_lock(&self, path: &Path) -> FsResult<Option<Box<dyn LockGuard>>> {
        let id = self.act(OperationKind::Lock, path, None, |tree| {
            let id = match tree.find(path) {
                Ok(id) => id,
                Err(_) => {
                    let place = tree.place(path)?;
                    tree.add(place, Node::File(Arc::new(FileNode::default())))?
                }
            };
            Ok(tree.locked.insert(id).then_some(id))
        })?;
        Ok(id.map(|id| Box::new(SimulatedLock { fs: self.clone(), id }) as Box<dyn LockGuard>))
    }

    fn free_bytes(&self, directory: &Path) -> FsResult<u64> {
        self.act(OperationKind::FreeBytes, directory, None, |tree| {
            tree.directory(tree.find(directory)?)?;
            Ok(self.room(tree, directory))
        })
    }
}

impl SimulatedFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// As that of the file system, on this file.
    fn act<T>(&self, kind: OperationKind, name: &Path, act: impl FnOnce(&mut Tree) -> io::Result<T>) -> FsResult<T> {
        self.fs.begin_open(kind, name, self.handle)?;
        self.fs.tree(act).map_err(|error| FsError::new(kind.label(), name, error))
    }

    /// What the file is called now.
    fn name(&self) -> PathBuf {
        locked(&self.fs.0.renamed).get(&self.id).unwrap_or(&self.path).clone()
    }

    fn set(&self, kind: OperationKind, len: u64, only_longer: bool) -> FsResult<()> {
        let name = self.name();
        self.act(kind, &name, |tree| {
            self.check_writable()?;
            let now = tree.file(self.id)?.current.len();
            if len > now && len - now > self.fs.room(tree, &name) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if len > now || (len < now && !only_longer) { tree.set_len(self.id, len) } else { Ok(()) }
        })
    }

    fn sync(&self, kind: OperationKind) -> FsResult<()> {
        let outcome = self.fs.begin_open(kind, &self.name(), self.handle);
        let index = self.fs.changes();
        self.fs.tree(|tree| {
            if outcome.is_err() {
                if tree.file(self.id).is_ok_and(|file| file.dirty) {
                    tree.lose_by_failed_sync(self.id, index);
                }
                return;
            }
            let Ok(file) = tree.file_mut(self.id) else { return };
            if !file.dirty {
                return;
            }
            if file.diverged {
                let only_this = Tree { pending: tree.take_pending_of(self.id), ..tree.clone() };
                let content = only_this.content_when_synced(self.id);
                if let (Some(content), Ok(file)) = (content, tree.file_mut(self.id)) {
                    file.durable = content;
                    file.dirty = false;
                }
            } else {
                file.durable = file.current.clone();
                file.dirty = false;
                let id = self.id;
                tree.pending.retain(|change| !change.is_of_file(id));
            }
        });
        outcome.map(|_| ())
    }
}

impl File for SimulatedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> FsResult<usize> {
        let passage = self.fs.begin_open(OperationKind::Read, &self.name(), self.handle)?;
        let want = if passage == Passage::Short { buffer.len().div_ceil(2) } else { buffer.len() };
        self.fs
            .tree(|tree| Ok(tree.file(self.id)?.current.read(&mut buffer[..want], offset)))
            .map_err(|error| FsError::new("read", &self.path, error))
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> FsResult<usize> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let name = self.name();
        let passage = self.fs.begin_on(OperationKind::Write, &name, None, Some((offset, len)), Some(self.handle))?;
        self.fs
            .tree(|tree| {
                self.check_writable()?;
                let mut bytes: Vec<u8> = Vec::with_capacity(len);
                buffers.iter().for_each(|buffer| bytes.extend_from_slice(buffer));
                if passage == Passage::Short {
                    bytes.truncate(bytes.len().div_ceil(2));
                }
                let now = tree.file(self.id)?.current.len();
                let longer = (offset + bytes.len() as u64).saturating_sub(now);
                if longer > 0 && longer > self.fs.room(tree, &name) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                if !bytes.is_empty() {
                    tree.write(self.id, &bytes, offset)?;
                }
                Ok(bytes.len())
            })
            .map_err(|error| FsError::new("write", &self.path, error))
    }

    fn preallocate(&self, len: u64) -> FsResult<()> {
        self.set(OperationKind::Preallocate, len, true)
    }

    fn set_len(&self, len: u64) -> FsResult<()> {
        self.set(OperationKind::SetLen, len, false)
    }

    fn sync_data(&self) -> FsResult<()> {
        self.sync(OperationKind::SyncData)
    }

    fn sync_all(&self) -> FsResult<()> {
        self.sync(OperationKind::SyncAll)
    }

    fn len(&self) -> FsResult<u64> {
        self.act(OperationKind::Len, &self.name(), |tree| Ok(tree.file(self.id)?.current.len()))
    }
}
