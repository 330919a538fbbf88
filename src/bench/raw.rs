//! The physical limit: bytes on one bare preallocated file, with one `fdatasync` for everybody who waits.
//!
//! Owns: nothing but that. No checksums, no framing, no index. What helped it: zeros written in small pieces, a file
//! that was written once before, and waking only the finished group and one member of the next.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::fs::{File, FileSystem, FsResult, OpenMode};

/// A bare file that is written round and round.
pub struct Raw {
    file: Arc<dyn File>,
    len: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    forming: Group,
    leading: bool,
    offset: u64,
}

#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    waiters: usize,
    wait: Arc<Wait>,
}

#[derive(Default)]
struct Wait {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Waiting,
    Lead,
    Done,
}

impl Raw {
    /// Makes a file of `len` bytes of zeros at `path`, and writes it once.
    ///
    /// # Errors
    /// What the system said.
    pub fn create(fs: &dyn FileSystem, path: &Path, len: u64) -> Result<Self> {
        let file = fs.open(path, OpenMode::CreateNew)?;
        file.preallocate(len)?;
        let piece = vec![0x5a; 1 << 20];
        for offset in (0..len).step_by(piece.len()) {
            let take = piece.len().min(usize::try_from(len - offset).unwrap_or(piece.len()));
            file.write_all_at(&piece[..take], offset)?;
        }
        file.sync_all()?;
        Ok(Self { file, len, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `bytes` behind the last, by one thread alone.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&self, bytes: &[u8], sync: bool) -> FsResult<()> {
        let offset = {
            let mut state = self.state();
            if state.offset + bytes.len() as u64 > self.len {
                state.offset = 0;
            }
            let offset = state.offset;
            state.offset += bytes.len() as u64;
            offset
        };
        self.file.write_all_at(bytes, offset)?;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    /// Appends `bytes` together with everybody else's, and returns when they are synced.
    ///
    /// # Errors
    /// What the system said.
    pub fn append(&self, bytes: &[u8]) -> FsResult<()> {
        let (wait, mut lead) = {
            let mut state = self.state();
            state.forming.bytes.extend_from_slice(bytes);
            state.forming.waiters += 1;
            let lead = !std::mem::replace(&mut state.leading, true);
            (Arc::clone(&state.forming.wait), lead)
        };
        loop {
            if lead {
                let group = std::mem::take(&mut self.state().forming);
                self.write(&group.bytes, true)?;
                *group.wait.phase() = Phase::Done;
                group.wait.changed.notify_all();
                let mut state = self.state();
                if state.forming.waiters == 0 {
                    state.leading = false;
                } else {
                    *state.forming.wait.phase() = Phase::Lead;
                    state.forming.wait.changed.notify_one();
                }
                return Ok(());
            }
            let mut phase = wait.phase();
            while *phase == Phase::Waiting {
                phase = wait.changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
            }
            if *phase == Phase::Done {
                return Ok(());
            }
            *phase = Phase::Waiting;
            lead = true;
        }
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// What the system said.
    pub fn sync(&self) -> FsResult<()> {
        self.file.sync_data()
    }

    /// Reads the file once through, and says how many bytes it held.
    ///
    /// # Errors
    /// What the system said.
    pub fn read_through(&self) -> FsResult<u64> {
        let mut piece = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < self.len {
            let take = piece.len().min(usize::try_from(self.len - offset).unwrap_or(piece.len()));
            self.file.read_exact_at(&mut piece[..take], offset)?;
            offset += take as u64;
        }
        Ok(offset)
    }
}

impl Wait {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
