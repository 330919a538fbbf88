//! Footers of files that were read, kept in memory up to a limit.
//!
//! Owns: which stay (those used last), and the count of their bytes. A file's footer is read again where it went. What somebody reads with
//! stays in memory until he is done, and is one a file that is being read, not one a file that there is.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::file::Footer;

/// The number of a file in this process; never given twice.
pub(super) type FileId = u64;

/// The footers of a store's files.
#[derive(Debug)]
pub(super) struct Footers {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: FileId,
    bytes: usize,
    /// How often any was used.
    turn: u64,
    kept: HashMap<FileId, Kept>,
    /// The same by when each was used last.
    by_turn: BTreeMap<u64, FileId>,
}

#[derive(Debug)]
struct Kept {
    footer: Arc<Footer>,
    bytes: usize,
    turn: u64,
}

impl Footers {
    /// At most so many bytes of them stay.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a file.
    pub fn file(&self) -> FileId {
        let mut state = self.state();
        state.next += 1;
        state.next
    }

    /// The footer of a file, where it is here.
    pub fn get(&self, file: FileId) -> Option<Arc<Footer>> {
        let mut state = self.state();
        let State { turn, kept, by_turn, .. } = &mut *state;
        let known = kept.get_mut(&file)?;
        by_turn.remove(&known.turn);
        *turn += 1;
        known.turn = *turn;
        by_turn.insert(*turn, file);
        Some(Arc::clone(&known.footer))
    }

    /// Keeps a footer, and lets go of those used longest ago where it is too much. One that alone is too large is not kept.
    pub fn keep(&self, file: FileId, footer: &Arc<Footer>) {
        let bytes = footer.memory_bytes();
        let mut state = self.state();
        state.forget(file);
        if bytes > self.bytes_max {
            return;
        }
        while state.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = state.by_turn.first_key_value() else { break };
            let oldest = *oldest;
            state.forget(oldest);
        }
        state.turn += 1;
        let turn = state.turn;
        state.bytes += bytes;
        state.by_turn.insert(turn, file);
        state.kept.insert(file, Kept { footer: Arc::clone(footer), bytes, turn });
    }

    /// The file is gone.
    pub fn forget(&self, file: FileId) {
        self.state().forget(file);
    }

    /// Bytes that are kept, and of how many files.
    pub fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.bytes, state.kept.len())
    }
}

impl State {
    fn forget(&mut self, file: FileId) {
        if let Some(kept) = self.kept.remove(&file) {
            self.bytes -= kept.bytes;
            self.by_turn.remove(&kept.turn);
        }
    }
}
