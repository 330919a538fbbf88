//! Makes, prepares, recycles and gives back journal files (J2, J3).
//!
//! Owns: which files lie ready, and the order of syncs in each file's life. Does not own: groups.
//!
//! # A file's life
//!
//! 1. Made under a name that is no journal's (`new-*.tmp`), filled with zeros; or taken from the free ones (`free-*.tmp`), whose
//!    length is durable since they were journals. What has the first name when a run begins is removed: its zeros may
//!    never have come to the disk.
//! 2. Prepared: header page and first filler to the front, sync marker to the end, synced; then renamed to its journal's
//!    name, then the folder synced. A crash before the rename leaves a new or free file; a crash after it, an empty journal. A
//!    journal's name thus never stands before a header that is not durable: a bad header is damage, nothing else.
//! 3. Written by groups, each naming the file's id.
//! 4. Freed, when nothing lives in it: renamed to a free name, the folder synced, then the header overwritten with
//!    zeros, synced. A crash before the folder is synced leaves the journal as it was, all of it durable elsewhere; the other
//!    order could leave a journal's name before a zeroed header, which would have to be called damage.
//!
//! Groups of a former life that still lie in a recycled file name another file id, and never count.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::file::{
    FileId, HEADER_BYTES, JournalFile, JournalHeader, JournalKind, JournalNumber, empty_file, file_name,
};
use crate::avro::container::SYNC_BYTES;
use crate::clock::Clock;
use crate::fs::{EntryKind, File, FileSystem, FsError, FsResult, OpenMode, durable};
use crate::types::{Epoch, LogId};

/// How many prepared files lie ahead of use at most.
const READY_MAX: usize = 1;
/// How many free files are kept to be used again at most.
const FREE_MAX: usize = 2;

/// A prepared journal file: named, its header durable, no group in it.
#[derive(Debug)]
pub struct ReadyFile {
    /// The handle.
    pub file: Arc<JournalFile>,
    /// Its length in bytes.
    pub len: u64,
}

/// The files of one directory's journal folder.
#[derive(Debug)]
pub struct JournalFiles {
    fs: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    folder: PathBuf,
    log: LogId,
    epoch: Epoch,
    journal_bytes: u64,
    reserve_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_number: u64,
    ready: VecDeque<ReadyFile>,
    free: Vec<PathBuf>,
}

impl JournalFiles {
    /// Takes over `folder`, which must be there. Free files of earlier runs are used again; those of another length, and those too
    /// many, are removed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        clock: Arc<dyn Clock>,
        folder: &Path,
        (log, epoch): (LogId, Epoch),
        (journal_bytes, reserve_bytes): (u64, u64),
    ) -> FsResult<Self> {
        let mut free = Vec::new();
        for entry in fs.list(folder)? {
            let is_free = entry.name.starts_with("free-");
            if entry.kind == EntryKind::File
                && (is_free || entry.name.starts_with("new-"))
                && entry.name.ends_with(".tmp")
            {
                let path = folder.join(&entry.name);
                // It holds nothing: where it cannot be looked at or removed, it is only in the way.
                if is_free && free.len() < FREE_MAX && fs.metadata(&path).is_ok_and(|found| found.len == journal_bytes)
                {
                    free.push(path);
                } else {
                    let _ = fs.remove_file(&path);
                }
            }
        }
        if !free.is_empty() {
            // A run that was killed while it freed a journal leaves a name that a power cut may take back: before its
            // header is overwritten, the file must no longer be able to become that journal again.
            fs.sync_dir(folder)?;
        }
        free.sort();
        let state = Mutex::new(State { free, ..State::default() });
        Ok(Self { fs, clock, folder: folder.to_path_buf(), log, epoch, journal_bytes, reserve_bytes, state })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length of a full journal.
    #[must_use]
    pub const fn journal_bytes(&self) -> u64 {
        self.journal_bytes
    }

    /// Whether a journal is one of these.
    #[must_use]
    pub fn holds(&self, file: &JournalFile) -> bool {
        file.path.parent() == Some(&self.folder)
    }

    /// The next number for a journal, hot or cold, of this directory and epoch.
    pub fn next_number(&self) -> JournalNumber {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        JournalNumber { epoch: self.epoch, number }
    }

    /// A file for at least `bytes_min` bytes of groups: the one that lies ready, where it is long enough, or one made
    /// now, `len` bytes long or as long as needed.
    ///
    /// # Errors
    /// No space (also where only the reserve is left), or what the system said. No journal's name was given away.
    pub fn take(&self, bytes_min: u64, len: u64) -> FsResult<ReadyFile> {
        let needed = HEADER_BYTES + bytes_min + super::group::PAD_BYTES_MIN + SYNC_BYTES as u64;
        let ready = {
            let mut state = self.state();
            match state.ready.front() {
                Some(ready) if ready.len >= needed => state.ready.pop_front(),
                _ => None,
            }
        };
        match ready {
            Some(ready) => Ok(ready),
            None => self.make(len.max(needed.next_multiple_of(4096))),
        }
    }

    /// Prepares a full-length file, where none lies ready. Called in the background; returns whether it made one.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn prepare(&self) -> FsResult<bool> {
        if self.state().ready.len() >= READY_MAX {
            return Ok(false);
        }
        let ready = self.make(self.journal_bytes)?;
        self.state().ready.push_back(ready);
        Ok(true)
    }

    /// The prepared file that nobody took, at the end of a run: an empty journal is of no use to the next.
    pub fn drain_ready(&self) -> Vec<ReadyFile> {
        self.state().ready.drain(..).collect()
    }

    fn make(&self, len: u64) -> FsResult<ReadyFile> {
        let free = if len == self.journal_bytes { self.state().free.pop() } else { None };
        let (path, file) = match free {
            Some(path) => {
                let file = self.fs.open(&path, OpenMode::ReadWrite)?;
                (path, file)
            }
            None => self.make_zeroed(len)?,
        };
        let made = self.name(&path, &file, len);
        if made.is_err() {
            // What of it is on the disk is not known: it is not used again.
            drop(file);
            let _ = self.fs.remove_file(&path);
        }
        made
    }

    /// Makes a file an empty journal.
    fn name(&self, path: &Path, file: &Arc<dyn File>, len: u64) -> FsResult<ReadyFile> {
        let journal = self.next_number();
        let file_id = FileId(self.clock.random());
        let header = JournalHeader { kind: JournalKind::Hot, log: self.log, journal, file_id };
        let (front, marker) = empty_file(&header, len);
        file.write_all_at(&front, 0)?;
        file.write_all_at(&marker, len - SYNC_BYTES as u64)?;
        file.sync_all()?;
        let named = self.folder.join(file_name(JournalKind::Hot, journal));
        durable::publish(&*self.fs, path, &named)?;
        let file = Arc::new(JournalFile::new(JournalKind::Hot, journal, file_id, &named, Arc::clone(file)));
        Ok(ReadyFile { file, len })
    }

    fn make_zeroed(&self, len: u64) -> FsResult<(PathBuf, Arc<dyn File>)> {
        let free = self.fs.free_bytes(&self.folder)?;
        if free < len.saturating_add(self.reserve_bytes) {
            // The reserve is for sealing and releasing, which give space back (D3).
            return Err(FsError::new("make a journal", &self.folder, std::io::ErrorKind::StorageFull.into()));
        }
        let path = self.folder.join(format!("new-{}.tmp", self.next_number()));
        let file = self.fs.open(&path, OpenMode::CreateNew)?;
        match file.preallocate(len) {
            Ok(()) => Ok((path, file)),
            Err(error) => {
                drop(file);
                let _ = self.fs.remove_file(&path);
                Err(error)
            }
        }
    }

    fn free_path(&self, journal: JournalNumber) -> PathBuf {
        self.folder.join(format!("free-{journal}.tmp"))
    }

    /// Gives a journal's file back, of which nothing lives any more (R1): to be used again where it is a full-length
    /// hot journal, or removed. See the module for the order of steps.
    ///
    /// # Errors
    /// What the system said; the release can be tried again.
    pub fn free(&self, file: &JournalFile) -> FsResult<()> {
        let recycle = file.kind == JournalKind::Hot
            && file.file().len()? == self.journal_bytes
            && self.state().free.len() < FREE_MAX;
        if !recycle {
            self.fs.remove_file(&file.path)?;
            return self.fs.sync_dir(&self.folder);
        }
        let free = self.free_path(file.journal);
        durable::publish(&*self.fs, &file.path, &free)?;
        file.file().write_all_at(&[0; HEADER_BYTES as usize], 0)?;
        file.file().sync_data()?;
        self.state().free.push(free);
        Ok(())
    }
}
