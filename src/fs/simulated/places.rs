//! Disks that fail one at a time: everything below a path, from some operation on, while the rest goes on; and come back.
//!
//! Owns: which place ails, how, since when and until when. What a failed sync loses is as everywhere (`files`); what a disk
//! loses that is torn away is what a power cut could take of it alone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::SimulatedFileSystem;
use super::crash::Cut;
use super::faults::{Errno, OperationKind};
use super::locked;
use super::tree::{Change, Edit, Id, Node, Tree};

/// What has become of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ailment {
    /// Changes and syncs fail with EIO; what is there can be read.
    Unwritable,
    /// Changes and syncs fail with EROFS; what is there can be read.
    ReadOnly,
    /// What needs space fails with ENOSPC: longer files, new directories.
    Full,
    /// Everything fails with EIO, reads too.
    Dead,
    /// Torn away: the path is not found, open files fail with EIO, and what was not synced is lost as by a power cut.
    Gone,
    /// As [`Gone`](Self::Gone), but an empty directory, the mount point, is there instead: what is made in it is made on another
    /// disk, and hidden when this one is back.
    Unmounted,
    /// As [`Unmounted`](Self::Unmounted), but files that are open go on as if nothing had happened (`umount -l`).
    Detached,
}

impl Ailment {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Unwritable, Self::ReadOnly, Self::Full, Self::Dead, Self::Gone, Self::Unmounted, Self::Detached];

    /// Whether the names below the place are other ones, or none, meanwhile.
    #[must_use]
    pub const fn takes_names(self) -> bool {
        matches!(self, Self::Gone | Self::Unmounted | Self::Detached)
    }

    /// Whether what was written there and not synced is lost.
    #[must_use]
    pub const fn tears(self) -> bool {
        matches!(self, Self::Gone | Self::Unmounted)
    }

    /// Whether what lies there can be read.
    #[must_use]
    pub const fn can_be_read(self) -> bool {
        matches!(self, Self::Unwritable | Self::ReadOnly | Self::Full)
    }
}

/// By which operations the time of an ailment is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Counted {
    /// By [`changes`](SimulatedFileSystem::changes).
    #[default]
    Changes,
    /// By [`operations`](SimulatedFileSystem::operations).
    Operations,
}

/// A place that ails.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlaceFault {
    /// The place: this path, and everything below.
    pub below: PathBuf,
    /// What `from` and `until` count.
    pub counted: Counted,
    /// The number of the first operation, anywhere on the disk, that finds it ailing.
    pub from: u64,
    /// The number of the first one that finds it well again.
    pub until: u64,
    /// How it ails.
    pub ailment: Ailment,
}

impl PlaceFault {
    /// From change number `from` on.
    #[must_use]
    pub fn from(below: impl Into<PathBuf>, from: u64, ailment: Ailment) -> Self {
        Self { below: below.into(), counted: Counted::Changes, from, until: u64::MAX, ailment }
    }

    /// The same, by number of any operation.
    #[must_use]
    pub fn of_operations(self) -> Self {
        Self { counted: Counted::Operations, ..self }
    }

    /// Well again at that number.
    #[must_use]
    pub const fn until(mut self, until: u64) -> Self {
        self.until = until;
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Waiting,
    Ailing,
    Over,
}

#[derive(Debug, Default)]
pub(super) struct Places {
    faults: Vec<(PlaceFault, Course)>,
    /// Files that were open when their disk was torn away: below which path, and opened before which. They stay dead.
    torn: Vec<(PathBuf, u64)>,
}

impl Places {
    fn ailing(&self) -> impl Iterator<Item = &PlaceFault> {
        self.faults.iter().filter(|(_, course)| *course == Course::Ailing).map(|(fault, _)| fault)
    }

    /// Faults whose time begins or ends with an operation.
    fn advance(&mut self, changes: u64, operations: u64) -> Vec<(PlaceFault, Course)> {
        let mut turned = Vec::new();
        for (fault, course) in &mut self.faults {
            let now = if fault.counted == Counted::Changes { changes } else { operations };
            let next = match course {
                Course::Waiting if now >= fault.until => Course::Over,
                Course::Waiting if now >= fault.from => Course::Ailing,
                Course::Ailing if now >= fault.until => Course::Over,
                _ => continue,
            };
            if std::mem::replace(course, next) != next {
                turned.push((fault.clone(), next));
            }
        }
        turned
    }

    pub fn pass(&self, kind: OperationKind, paths: [Option<&Path>; 2], handle: Option<u64>) -> io::Result<()> {
        let is_below = |place: &Path| paths.into_iter().flatten().any(|path| path.starts_with(place));
        if handle.is_some_and(|handle| self.torn.iter().any(|(place, before)| handle < *before && is_below(place))) {
            return Err(Errno::Eio.error());
        }
        for fault in self.ailing().filter(|fault| is_below(&fault.below)) {
            let fails = match fault.ailment {
                Ailment::Unwritable if kind.is_change() => Errno::Eio,
                Ailment::ReadOnly if kind.is_change() => Errno::Erofs,
                Ailment::Full if kind == OperationKind::CreateDir => Errno::Enospc,
                Ailment::Dead => Errno::Eio,
                _ => continue,
            };
            return Err(fails.error());
        }
        Ok(())
    }

    pub fn is_full(&self, path: &Path) -> bool {
        self.ailing().any(|fault| fault.ailment == Ailment::Full && path.starts_with(&fault.below))
    }
}

impl SimulatedFileSystem {
    /// Makes a place fail.
    pub fn fail_place(&self, fault: PlaceFault) {
        locked(&self.0.places).faults.push((fault, Course::Waiting));
    }

    /// Makes a place fail now.
    pub fn fail_place_now(&self, below: impl Into<PathBuf>, ailment: Ailment) {
        self.fail_place(PlaceFault::from(below, 0, ailment));
        self.turn_places();
    }

    /// Every place is well again, with the contents that its disk kept.
    pub fn heal_places(&self) {
        for (fault, _) in &mut locked(&self.0.places).faults {
            fault.until = 0;
        }
        self.turn_places();
        locked(&self.0.places).faults.clear();
        // Of the process before: a disk that it found away.
        self.tree(|tree| {
            for place in tree.away.iter().map(|away| away.place.clone()).collect::<Vec<_>>() {
                tree.bring_back(&place);
            }
        });
    }

    /// The places that ail now.
    #[must_use]
    pub fn ailing(&self) -> Vec<(PathBuf, Ailment)> {
        locked(&self.0.places).ailing().map(|fault| (fault.below.clone(), fault.ailment)).collect()
    }

    fn turn_places(&self) {
        let (changes, operations) = (self.changes(), self.operations());
        self.advance_places(changes, operations);
    }

    /// The operation with these numbers is next.
    pub(super) fn advance_places(&self, changes: u64, operations: u64) {
        // The tree's lock is never taken with this one held: the other way round it is.
        let turned = {
            let mut places = locked(&self.0.places);
            if places.faults.is_empty() {
                return;
            }
            places.advance(changes, operations)
        };
        for (fault, course) in turned.into_iter().filter(|(fault, _)| fault.ailment.takes_names()) {
            if course == Course::Over {
                self.tree(|tree| tree.bring_back(&fault.below));
                continue;
            }
            self.tree(|tree| {
                // Away since the process before.
                if tree.away.iter().any(|away| away.place == fault.below) {
                    return;
                }
                if fault.ailment.tears() {
                    tree.lose_unsynced_below(&fault.below, changes);
                }
                tree.take_away(&fault.below, fault.ailment != Ailment::Gone);
            });
            if fault.ailment.tears() {
                let opened = self.0.handles.load(Ordering::Relaxed);
                locked(&self.0.places).torn.push((fault.below, opened));
            }
        }
    }
}

/// A disk that is not mounted.
#[derive(Clone, Debug)]
pub(super) struct Away {
    pub place: PathBuf,
    pub directory: Id,
    pub name: std::sync::Arc<str>,
    pub root: Id,
}

impl Tree {
    fn set_name(&mut self, directory: Id, name: &std::sync::Arc<str>, to: Option<Id>) {
        if let Some(Node::Directory(node)) = self.nodes.get_mut(&directory) {
            let node = std::sync::Arc::make_mut(node);
            for names in [&mut node.current, &mut node.durable] {
                match to {
                    Some(id) => names.insert(std::sync::Arc::clone(name), id),
                    None => names.remove(name),
                };
            }
        }
    }

    fn take_away(&mut self, path: &Path, leaves_mount_point: bool) {
        let (Ok((directory, name)), Ok(root)) = (self.place(path), self.find(path)) else { return };
        let instead = leaves_mount_point.then(|| {
            self.next_id += 1;
            self.nodes.insert(self.next_id - 1, Node::Directory(std::sync::Arc::default()));
            self.next_id - 1
        });
        self.set_name(directory, &name, instead);
        self.away.push(Away { place: path.to_path_buf(), directory, name, root });
    }

    fn bring_back(&mut self, path: &Path) {
        if let Some(at) = self.away.iter().position(|away| away.place == path) {
            let away = self.away.remove(at);
            self.set_name(away.directory, &away.name, Some(away.root));
        }
    }

    /// What a disk loses that is torn away: of what was not synced, what a power cut could take.
    fn lose_unsynced_below(&mut self, path: &Path, seed: u64) {
        let Ok(root) = self.find(path) else { return };
        let mut below = std::collections::HashSet::new();
        let mut waiting = vec![root];
        while let Some(id) = waiting.pop() {
            if below.insert(id)
                && let Some(Node::Directory(node)) = self.nodes.get(&id)
            {
                waiting.extend(node.current.values().chain(node.durable.values()));
            }
        }
        let is_of_place = |change: &Change| match change {
            Change::Write { file, .. } | Change::SetLen { file, .. } => below.contains(file),
            Change::Names(edits) => edits.iter().all(|Edit { directory, .. }| below.contains(directory)),
        };
        let (torn, left) = std::mem::take(&mut self.pending).into_iter().partition(is_of_place);
        self.pending = torn;
        let cut = if seed.is_multiple_of(2) { Cut::DropAll } else { Cut::Random { seed } };
        let mut after = self.after_power_cut(cut);
        self.pending = left;
        for id in below {
            // What no durable name leads to is gone with its disk.
            if let Some(node) = after.nodes.remove(&id) {
                self.nodes.insert(id, node);
            }
        }
    }
}
