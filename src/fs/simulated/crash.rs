//! What a power cut leaves: the durable bytes and names, and any legal part of what no sync covers.
//!
//! Legal is: of a file, any sectors of any unsynced write, but a sector never without the earlier writes to it (a page
//! is written as it stands); length changes up to any one of them; of names, either in the order of each directory, as
//! journalled file systems keep it, or in the order of each name only; a rename with both of its names or with none.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::content::Content;
use super::tree::{Change, DirectoryNode, FileNode, Id, Node, Tree};

/// A disk writes so many bytes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// Which of the changes that no sync covers a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// None.
    DropAll,
    /// All.
    KeepAll,
    /// The oldest so many.
    Prefix(usize),
    /// The newest, and what it cannot be there without.
    OnlyLast,
    /// Any legal part, torn by sectors.
    Random {
        /// Decides which part.
        seed: u64,
    },
}

/// How much of one change is kept.
#[derive(Clone, Debug)]
enum Keep {
    Nothing,
    Whole,
    /// By sector, from the one in which the write begins.
    Sectors(Vec<bool>),
}

impl Tree {
    /// The disk after a power cut.
    pub fn after_power_cut(&self, cut: Cut) -> Self {
        let mut keeps = self.choose(cut);
        self.hold_sectors_in_order(&mut keeps);
        let mut after = Self::new();
        after.windows = self.windows;
        after.next_id = self.next_id;
        after.away.clone_from(&self.away);
        let mut named = self.nodes.clone();
        for (change, keep) in self.pending.iter().zip(&keeps) {
            if let (Change::Names(edits), Keep::Whole) = (change, keep) {
                for edit in edits {
                    if let Some(Node::Directory(directory)) = named.get_mut(&edit.directory) {
                        let names = &mut Arc::make_mut(directory).durable;
                        match edit.to {
                            Some(id) => names.insert(Arc::clone(&edit.name), id),
                            None => names.remove(&edit.name),
                        };
                    }
                }
            }
        }
        let named = Self { nodes: named, pending: Vec::new(), ..after.clone() };
        let mut contents = self.contents_after(&keeps);
        named.walk_durable(|_, id, node| {
            let node = match node {
                Node::Directory(directory) => {
                    let names = directory.durable.clone();
                    Node::Directory(Arc::new(DirectoryNode { current: names.clone(), durable: names }))
                }
                Node::File(file) if !file.dirty && !file.diverged => Node::File(Arc::clone(file)),
                Node::File(file) => {
                    let content = contents.remove(&id).unwrap_or_else(|| file.durable.clone());
                    Node::File(Arc::new(FileNode { current: content.clone(), durable: content, ..FileNode::default() }))
                }
            };
            after.nodes.insert(id, node);
        });
        after
    }

    /// What a sync of `file` that failed left on the disk: anything legal, or nothing. What it did not leave is lost, though it
    /// can still be read.
    pub fn lose_by_failed_sync(&mut self, file: Id, seed: u64) {
        let changes = self.take_pending_of(file);
        let mut alone = self.clone();
        alone.pending = changes;
        let cut = if seed.is_multiple_of(2) { Cut::DropAll } else { Cut::Random { seed } };
        let mut keeps = alone.choose(cut);
        alone.hold_sectors_in_order(&mut keeps);
        let content = alone.contents_after(&keeps).remove(&file);
        if let (Some(content), Ok(node)) = (content, self.file_mut(file)) {
            node.durable = content;
            node.diverged = true;
            node.dirty = false;
        }
    }

    /// What a good sync leaves of `file`, where an earlier one lost bytes that can still be seen.
    pub fn content_when_synced(&self, file: Id) -> Option<Content> {
        self.contents_after(&vec![Keep::Whole; self.pending.len()]).remove(&file)
    }

    fn choose(&self, cut: Cut) -> Vec<Keep> {
        let count = self.pending.len();
        match cut {
            Cut::DropAll => vec![Keep::Nothing; count],
            Cut::KeepAll => vec![Keep::Whole; count],
            Cut::Prefix(kept) => (0..count).map(|at| if at < kept { Keep::Whole } else { Keep::Nothing }).collect(),
            Cut::OnlyLast => self.choose_last(),
            Cut::Random { seed } => self.choose_at_random(&mut fastrand::Rng::with_seed(seed)),
        }
    }

    /// The last change, and the names of its directories that came before it.
    fn choose_last(&self) -> Vec<Keep> {
        let mut keeps = vec![Keep::Nothing; self.pending.len()];
        let mut needed: HashSet<Id> = HashSet::new();
        for (at, change) in self.pending.iter().enumerate().rev() {
            let is_last = at + 1 == self.pending.len();
            match change {
                Change::Names(edits) if is_last || edits.iter().any(|edit| needed.contains(&edit.directory)) => {
                    needed.extend(edits.iter().map(|edit| edit.directory));
                    keeps[at] = Keep::Whole;
                }
                _ if is_last => keeps[at] = Keep::Whole,
                _ => {}
            }
        }
        keeps
    }

    fn choose_at_random(&self, random: &mut fastrand::Rng) -> Vec<Keep> {
        let name_order_only = random.bool();
        let inclination = [0.1, 0.5, 0.9][random.usize(0..3)];
        let mut missing: HashSet<(Id, Option<Arc<str>>)> = HashSet::new();
        let mut cut_off: HashMap<Id, bool> = HashMap::new();
        let mut keeps = Vec::with_capacity(self.pending.len());
        for change in &self.pending {
            keeps.push(match change {
                Change::Names(edits) => {
                    let order =
                        |edit: &super::tree::Edit| (edit.directory, name_order_only.then(|| Arc::clone(&edit.name)));
                    let possible = edits.iter().all(|edit| !missing.contains(&order(edit)));
                    if possible && random.f64() < inclination {
                        Keep::Whole
                    } else {
                        missing.extend(edits.iter().map(order));
                        Keep::Nothing
                    }
                }
                Change::SetLen { file, .. } => {
                    // Lengths change in order: from the first one lost, all are.
                    let lost = cut_off.entry(*file).or_insert(false);
                    *lost |= random.f64() >= inclination;
                    if *lost { Keep::Nothing } else { Keep::Whole }
                }
                Change::Write { offset, bytes, .. } => tear(sectors(*offset, bytes.len()), inclination, random),
            });
        }
        keeps
    }

    /// A sector that shows a write shows the earlier ones to it too.
    fn hold_sectors_in_order(&self, keeps: &mut [Keep]) {
        let mut shown: HashSet<(Id, u64)> = HashSet::new();
        for (change, keep) in self.pending.iter().zip(keeps).rev() {
            let Change::Write { file, offset, bytes, .. } = change else { continue };
            let range = sectors(*offset, bytes.len());
            let kept = |at: usize| match &*keep {
                Keep::Nothing => false,
                Keep::Whole => true,
                Keep::Sectors(kept) => kept[at],
            };
            let held: Vec<bool> =
                range.clone().enumerate().map(|(at, sector)| kept(at) || shown.contains(&(*file, sector))).collect();
            shown.extend(range.zip(&held).filter(|(_, held)| **held).map(|(sector, _)| (*file, sector)));
            *keep = if held.iter().all(|&held| held) {
                Keep::Whole
            } else if held.contains(&true) {
                Keep::Sectors(held)
            } else {
                Keep::Nothing
            };
        }
    }

    /// The bytes of every file with unsynced changes.
    fn contents_after(&self, keeps: &[Keep]) -> HashMap<Id, Content> {
        let mut contents: HashMap<Id, (Content, u64)> = HashMap::new();
        for (change, keep) in self.pending.iter().zip(keeps) {
            let (Change::Write { file, .. } | Change::SetLen { file, .. }) = change else { continue };
            let Ok(node) = self.file(*file) else { continue };
            let (content, len) = contents.entry(*file).or_insert_with(|| (node.durable.clone(), node.durable.len()));
            match (change, keep) {
                (_, Keep::Nothing) | (Change::Names(_), _) => {}
                (Change::SetLen { len: new, .. }, _) => {
                    content.resize(*new);
                    *len = *new;
                }
                (Change::Write { offset, bytes, len: longer, .. }, keep) => {
                    for piece in pieces(*offset, bytes.len(), keep) {
                        content.write(&bytes[piece.clone()], offset + piece.start as u64);
                    }
                    // A longer file is as long as its last sector that came through.
                    *len = (*len).max(longer.map_or(0, |_| content.len()));
                }
            }
        }
        contents
            .into_iter()
            .map(|(file, (mut content, len))| {
                content.resize(len);
                (file, content)
            })
            .collect()
    }
}

fn sectors(offset: u64, len: usize) -> Range<u64> {
    offset / SECTOR_BYTES..(offset + len as u64).div_ceil(SECTOR_BYTES)
}

fn tear(sectors: Range<u64>, inclination: f64, random: &mut fastrand::Rng) -> Keep {
    let count = (sectors.end - sectors.start) as usize;
    if random.bool() {
        return if random.f64() < inclination { Keep::Whole } else { Keep::Nothing };
    }
    let at = random.usize(0..=count);
    Keep::Sectors(match random.u8(0..4) {
        0 => (0..count).map(|sector| sector < at).collect(),
        1 => (0..count).map(|sector| sector >= at).collect(),
        2 => (0..count).map(|sector| sector != at).collect(),
        _ => (0..count).map(|_| random.f64() < inclination).collect(),
    })
}

/// The parts of a write, as ranges of its bytes, that are kept.
fn pieces(offset: u64, len: usize, keep: &Keep) -> Vec<Range<usize>> {
    match keep {
        Keep::Nothing => Vec::new(),
        #[allow(clippy::single_range_in_vec_init)]
        Keep::Whole => vec![0..len],
        Keep::Sectors(kept) => {
            let first = offset / SECTOR_BYTES;
            let bytes_of = |at: usize| {
                let start = (first + at as u64) * SECTOR_BYTES;
                let clip = |at: u64| (at.saturating_sub(offset) as usize).min(len);
                clip(start)..clip(start + SECTOR_BYTES)
            };
            kept.iter().enumerate().filter(|(_, kept)| **kept).map(|(at, _)| bytes_of(at)).collect()
        }
    }
}
