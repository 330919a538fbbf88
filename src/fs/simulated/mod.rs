//! A file system in memory that knows what a power cut may take away, and goes wrong when told to.
//!
//! - `content`: a file's bytes, shared between snapshots
//! - `tree`: what is visible, what is durable, and the list of changes between the two
//! - `crash`: what a power cut leaves ([`Cut`])
//! - `faults`: errors, short reads and writes, a process that ends
//! - `places`: one disk of several that fails, goes away, comes back
//! - `files`: the seam itself
//!
//! It promises what [`fs`](crate::fs) says and nothing more: a created and synced file has no durable name before its
//! directory is synced; a failed sync loses the bytes, and the next one says "good". Deterministic: the same calls, the same
//! seeds, the same disk.

mod content;
mod crash;
mod faults;
mod files;
mod places;
mod tree;

#[cfg(test)]
mod place_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crash::{Cut, SECTOR_BYTES};
pub use faults::{Errno, Failure, Fault, Operation, OperationKind};
pub use places::{Ailment, Counted, PlaceFault};

use self::faults::{Gate, Passage};
use self::places::Places;
use self::tree::{Node, Tree};
use super::{EntryKind, FsError, FsResult};

/// Called before each operation that changes the disk or syncs, with the disk as it is before it.
pub type Observer = Arc<dyn Fn(&Operation, &SimulatedFileSystem) + Send + Sync>;

/// A disk in memory. Clones are the same disk; [`crash_image`](Self::crash_image) makes another.
#[derive(Clone)]
pub struct SimulatedFileSystem(Arc<Shared>);

#[derive(Default)]
struct Shared {
    tree: Mutex<Option<Tree>>,
    gate: Mutex<Gate>,
    places: Mutex<Places>,
    /// How often a file was opened.
    handles: AtomicU64,
    observer: Mutex<Option<Observer>>,
    /// The newest names of files that were renamed while open.
    renamed: Mutex<HashMap<tree::Id, PathBuf>>,
    capacity: Mutex<Option<u64>>,
}

impl Default for SimulatedFileSystem {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimulatedFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFileSystem").field("changes", &self.changes()).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimulatedFileSystem {
    /// An empty disk, with `/` as its only directory.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Tree::new())
    }

    /// An empty disk with Windows' rules: an open file cannot be removed or replaced, and names are durable at once.
    #[must_use]
    pub fn windows() -> Self {
        Self::of(Tree { windows: true, ..Tree::new() })
    }

    fn of(tree: Tree) -> Self {
        Self(Arc::new(Shared { tree: Mutex::new(Some(tree)), ..Shared::default() }))
    }

    fn tree<T>(&self, with: impl FnOnce(&mut Tree) -> T) -> T {
        with(locked(&self.0.tree).as_mut().expect("a disk is there from its making on"))
    }

    /// Another disk, as a power cut now would leave this one. Nothing is open on it, and nothing goes wrong on it.
    #[must_use]
    pub fn crash_image(&self, cut: Cut) -> Self {
        Self::of(self.tree(|tree| tree.after_power_cut(cut)))
    }

    /// Another disk, as the next process finds it after this one was killed: all that was written is there, but what
    /// was not synced is still at risk of a power cut.
    #[must_use]
    pub fn kill_image(&self) -> Self {
        Self::of(self.tree(|tree| tree.without_process()))
    }

    /// How many changes no sync covers.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.tree(|tree| tree.pending.len())
    }

    /// Tells durable states apart: the same for the same names and bytes.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.tree(|tree| tree.fingerprint())
    }

    /// Calls `observer` before each change and sync from now on.
    pub fn observe(&self, observer: Observer) {
        *locked(&self.0.observer) = Some(observer);
    }

    /// No more calls.
    pub fn observe_no_more(&self) {
        *locked(&self.0.observer) = None;
    }

    /// The process ends before change number `index`: from then on every operation fails. What the next process finds is
    /// the [`kill_image`](Self::kill_image).
    pub fn stop_after(&self, index: u64) {
        locked(&self.0.gate).stop_after = Some(index);
    }

    /// Adds a fault.
    pub fn fail(&self, fault: Fault) {
        locked(&self.0.gate).faults.push(fault);
    }

    /// From now on nothing goes wrong any more.
    pub fn heal(&self) {
        self.heal_places();
        let mut gate = locked(&self.0.gate);
        gate.faults.clear();
        gate.read_only = false;
    }

    /// Whether changes fail with EROFS.
    pub fn set_read_only(&self, read_only: bool) {
        locked(&self.0.gate).read_only = read_only;
    }

    /// How many bytes all files together may have; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        *locked(&self.0.capacity) = bytes;
    }

    /// How many changes and syncs were asked for so far: the number of the next one.
    #[must_use]
    pub fn changes(&self) -> u64 {
        locked(&self.0.gate).changes()
    }

    /// How many reads were asked for so far: the number of the next one.
    #[must_use]
    pub fn reads(&self) -> u64 {
        locked(&self.0.gate).reads()
    }

    /// How many operations of either kind were asked for so far: the number of the next one.
    #[must_use]
    pub fn operations(&self) -> u64 {
        let gate = locked(&self.0.gate);
        gate.changes() + gate.reads()
    }

    /// How often each operation was asked for.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<OperationKind, u64> {
        locked(&self.0.gate).counts().clone()
    }

    /// Every path that can be seen, in order, with its kind and length.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, EntryKind, u64)> {
        let mut found = Vec::new();
        self.tree(|tree| {
            tree.walk_current(|path, _, node| {
                let len = if let Node::File(file) = node { file.current.len() } else { 0 };
                found.push((PathBuf::from(if path.is_empty() { "/" } else { path }), node.kind(), len));
            });
        });
        found
    }

    /// The bytes of a file, as they are read now.
    ///
    /// # Errors
    /// Not found.
    pub fn read(&self, path: &Path) -> FsResult<Vec<u8>> {
        self.tree(|tree| {
            let content = &tree.file(tree.find(path)?)?.current;
            let mut bytes = vec![0; content.len() as usize];
            content.read(&mut bytes, 0);
            Ok(bytes)
        })
        .map_err(|error| FsError::new("read", path, error))
    }

    /// Changes one byte of a file, now and for good, by what `flip` has in common with it.
    ///
    /// # Errors
    /// Not found.
    pub fn flip(&self, path: &Path, offset: u64, flip: u8) -> FsResult<()> {
        self.tree(|tree| {
            let id = tree.find(path)?;
            let file = tree.file_mut(id)?;
            for content in [&mut file.current, &mut file.durable] {
                let mut byte = [0];
                if content.read(&mut byte, offset) == 1 {
                    content.write(&[byte[0] ^ flip], offset);
                }
            }
            Ok(())
        })
        .map_err(|error| FsError::new("flip a byte of", path, error))
    }

    /// Counts an operation, tells the observer, and says whether it may go on.
    fn begin(&self, kind: OperationKind, path: &Path, to: Option<&Path>) -> FsResult<Passage> {
        self.begin_on(kind, path, to, None, None)
    }

    /// As [`begin`](Self::begin), on an open file.
    fn begin_open(&self, kind: OperationKind, path: &Path, handle: u64) -> FsResult<Passage> {
        self.begin_on(kind, path, None, None, Some(handle))
    }

    fn begin_on(
        &self,
        kind: OperationKind,
        path: &Path,
        to: Option<&Path>,
        range: Option<(u64, usize)>,
        handle: Option<u64>,
    ) -> FsResult<Passage> {
        let (index, changes, operations) = {
            let mut gate = locked(&self.0.gate);
            let (changes, operations) = (gate.changes(), gate.changes() + gate.reads());
            (gate.number(kind), changes, operations)
        };
        if kind.is_change() {
            // Called without any lock held: the observer may take images, and open logs on them.
            let observer = locked(&self.0.observer).clone();
            if let Some(observer) = observer {
                let operation =
                    Operation { index, kind, path: path.to_path_buf(), to: to.map(Path::to_path_buf), range };
                observer(&operation, self);
            }
        }
        self.advance_places(changes, operations);
        let passage = locked(&self.0.gate).pass(kind, index).and_then(|passage| {
            locked(&self.0.places).pass(kind, [Some(path), to], handle)?;
            Ok(passage)
        });
        passage.map_err(|error| FsError::new(kind.label(), path, error))
    }
}
