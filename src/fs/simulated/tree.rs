//! Files and directories as they look now, as they are on the disk, and what lies between the two.
//!
//! Owns: names, bytes, and the ordered list of changes that no sync covers yet. Knows no faults.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::content::{Content, hash_bytes, mix};
use super::places::Away;
use crate::fs::EntryKind;

/// Names a file or directory, whatever paths lead to it.
pub(super) type Id = u64;
/// The directory `/`, always there.
pub(super) const ROOT: Id = 0;

/// One file or directory.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Arc<FileNode>),
    Directory(Arc<DirectoryNode>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    pub current: Content,
    pub durable: Content,
    /// A failed sync lost bytes that `current` still shows, and that no later sync brings to the disk.
    pub diverged: bool,
    /// There are unsynced changes.
    pub dirty: bool,
}

pub(super) type Names = BTreeMap<Arc<str>, Id>;

#[derive(Clone, Debug, Default)]
pub(super) struct DirectoryNode {
    pub current: Names,
    pub durable: Names,
}

/// What no sync covers yet, in the order in which it was done.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Bytes of a file; `len` where that made the file longer.
    Write { file: Id, offset: u64, bytes: Arc<[u8]>, len: Option<u64> },
    /// The length of a file.
    SetLen { file: Id, len: u64 },
    /// Names that change in one step: two for a rename.
    Names(Vec<Edit>),
}

/// A name that from now on means something else, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub directory: Id,
    pub name: Arc<str>,
    pub to: Option<Id>,
}

impl Change {
    pub fn is_of_file(&self, id: Id) -> bool {
        matches!(self, Self::Write { file, .. } | Self::SetLen { file, .. } if *file == id)
    }
}

/// A whole disk.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub nodes: BTreeMap<Id, Node>,
    pub next_id: Id,
    pub pending: Vec<Change>,
    /// Names that failed syncs lost.
    pub lost: Vec<Change>,
    /// Handles by file, for Windows' rules.
    pub open: HashMap<Id, usize>,
    pub locked: HashSet<Id>,
    /// Disks that are not mounted now.
    pub away: Vec<Away>,
    pub windows: bool,
}

impl Tree {
    pub fn new() -> Self {
        let root = Node::Directory(Arc::default());
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next_id: ROOT + 1,
            pending: Vec::new(),
            lost: Vec::new(),
            open: HashMap::new(),
            locked: HashSet::new(),
            away: Vec::new(),
            windows: false,
        }
    }

    /// The same disk after the process died: every visible byte is there, what was not durable is still not, and
    /// nothing is open. Names that a failed sync lost can be made durable again by the next process, which knows nothing of
    /// the failure; bytes cannot.
    pub fn without_process(&self) -> Self {
        let still_seen = |change: &&Change| match change {
            Change::Names(edits) => {
                edits.iter().all(|edit| self.lookup(&(edit.directory, Arc::clone(&edit.name))) == edit.to)
            }
            _ => false,
        };
        let pending = self.lost.iter().filter(still_seen).chain(&self.pending).cloned().collect();
        Self { open: HashMap::new(), locked: HashSet::new(), lost: Vec::new(), pending, ..self.clone() }
    }

    pub fn directory(&self, id: Id) -> io::Result<&DirectoryNode> {
        match self.nodes.get(&id) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn file(&self, id: Id) -> io::Result<&FileNode> {
        match self.nodes.get(&id) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn file_mut(&mut self, id: Id) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(Arc::make_mut(file)),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What `path` names now.
    pub fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let names = &self.directory(id)?.current;
                id = *names.get(&*name.to_string_lossy()).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(id)
    }

    /// The directory that holds the name `path`, and the name.
    pub fn place(&self, path: &Path) -> io::Result<(Id, Arc<str>)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = path.parent().map_or(Ok(ROOT), |parent| self.find(parent))?;
        self.directory(directory)?;
        Ok((directory, name.to_string_lossy().into()))
    }

    pub fn lookup(&self, (directory, name): &(Id, Arc<str>)) -> Option<Id> {
        self.directory(*directory).ok()?.current.get(name).copied()
    }

    /// A new node under a free name.
    pub fn add(&mut self, place: (Id, Arc<str>), node: Node) -> io::Result<Id> {
        if self.lookup(&place).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.next_id;
        self.next_id += 1;
        self.nodes.insert(id, node);
        self.edit(vec![Edit { directory: place.0, name: place.1, to: Some(id) }]);
        Ok(id)
    }

    /// Changes names, in one step.
    pub fn edit(&mut self, edits: Vec<Edit>) {
        for edit in &edits {
            self.change_name(edit, |directory| &mut directory.current);
        }
        if self.windows {
            // A journalled file system without a call to sync a directory: names are durable at once.
            self.make_names_durable(&edits);
        } else {
            self.pending.push(Change::Names(edits));
        }
    }

    pub fn make_names_durable(&mut self, edits: &[Edit]) {
        for edit in edits {
            self.change_name(edit, |directory| &mut directory.durable);
        }
    }

    fn change_name(&mut self, edit: &Edit, names: impl Fn(&mut DirectoryNode) -> &mut Names) {
        if let Some(Node::Directory(directory)) = self.nodes.get_mut(&edit.directory) {
            let names = names(Arc::make_mut(directory));
            match edit.to {
                Some(id) => names.insert(Arc::clone(&edit.name), id),
                None => names.remove(&edit.name),
            };
        }
    }

    pub fn write(&mut self, file: Id, bytes: &[u8], offset: u64) -> io::Result<()> {
        let node = self.file_mut(file)?;
        let before = node.current.len();
        node.current.write(bytes, offset);
        node.dirty = true;
        let len = Some(node.current.len()).filter(|&len| len > before);
        self.pending.push(Change::Write { file, offset, bytes: bytes.into(), len });
        Ok(())
    }

    pub fn set_len(&mut self, file: Id, len: u64) -> io::Result<()> {
        let node = self.file_mut(file)?;
        node.current.resize(len);
        node.dirty = true;
        self.pending.push(Change::SetLen { file, len });
        Ok(())
    }

    /// Takes a file's unsynced changes off the list.
    pub fn take_pending_of(&mut self, file: Id) -> Vec<Change> {
        let (taken, left) = std::mem::take(&mut self.pending).into_iter().partition(|change| change.is_of_file(file));
        self.pending = left;
        taken
    }

    /// Takes the unsynced names of a directory off the list, and the earlier ones that they stand on: those of the same
    /// names elsewhere.
    pub fn take_pending_names_of(&mut self, directory: Id) -> Vec<Change> {
        let mut names = HashSet::new();
        let mut taken = Vec::new();
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            match change {
                Change::Names(edits)
                    if edits.iter().any(|edit| {
                        edit.directory == directory || names.contains(&(edit.directory, Arc::clone(&edit.name)))
                    }) =>
                {
                    names.extend(edits.iter().map(|edit| (edit.directory, Arc::clone(&edit.name))));
                    taken.push(Change::Names(edits));
                }
                other => left.push(other),
            }
        }
        left.reverse();
        taken.reverse();
        self.pending = left;
        taken
    }

    /// Every file and directory that durable names lead to, with its path; on disks that are away too.
    pub fn walk_durable(&self, mut each: impl FnMut(&str, Id, &Node)) {
        let away = self.away.iter().map(|away| (format!("//away{}", away.place.display()), away.root));
        self.walk(away.collect(), |directory| &directory.durable, &mut each);
    }

    /// Every file and directory that can be seen, with its path.
    pub fn walk_current(&self, mut each: impl FnMut(&str, Id, &Node)) {
        self.walk(Vec::new(), |directory| &directory.current, &mut each);
    }

    fn walk(
        &self,
        mut waiting: Vec<(String, Id)>,
        names: impl Fn(&DirectoryNode) -> &Names,
        each: &mut impl FnMut(&str, Id, &Node),
    ) {
        waiting.push((String::new(), ROOT));
        while let Some((path, id)) = waiting.pop() {
            let Some(node) = self.nodes.get(&id) else { continue };
            each(&path, id, node);
            if let Node::Directory(directory) = node {
                waiting.extend(names(directory).iter().rev().map(|(name, id)| (format!("{path}/{name}"), *id)));
            }
        }
    }

    pub fn used_bytes(&self) -> u64 {
        let mut used = 0;
        self.walk_current(|_, _, node| used += if let Node::File(file) = node { file.current.len() } else { 0 });
        used
    }

    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0;
        self.walk_durable(|path, _, node| {
            hash = hash_bytes(hash, path.as_bytes());
            hash = mix(hash, if let Node::File(file) = node { file.durable.hash() | 1 } else { 0 });
        });
        hash
    }
}

impl Node {
    pub const fn kind(&self) -> EntryKind {
        match self {
            Self::File(_) => EntryKind::File,
            Self::Directory(_) => EntryKind::Directory,
        }
    }
}
