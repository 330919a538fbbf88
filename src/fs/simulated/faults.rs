//! What goes wrong on purpose, and the count of what was asked.
//!
//! Owns: the numbers of operations, and the decision whether one fails. Changes of the disk and reads have numbers of their
//! own, so that a test that counts changes does not depend on how often somebody looks.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// An operation of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // each is the call of the same name
pub enum OperationKind {
    Create,
    Write,
    Preallocate,
    SetLen,
    SyncData,
    SyncAll,
    RenameNew,
    Replace,
    Copy,
    RemoveFile,
    RemoveDir,
    CreateDir,
    SyncDir,
    Lock,
    Open,
    Read,
    List,
    Metadata,
    Len,
    FreeBytes,
}

impl OperationKind {
    /// As in counts and in names of crash points.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::Preallocate => "preallocate",
            Self::SetLen => "set length",
            Self::SyncData => "sync data",
            Self::SyncAll => "sync all",
            Self::RenameNew => "rename",
            Self::Replace => "replace",
            Self::Copy => "copy",
            Self::RemoveFile => "remove",
            Self::RemoveDir => "remove directory",
            Self::CreateDir => "create directory",
            Self::SyncDir => "sync directory",
            Self::Lock => "lock",
            Self::Open => "open",
            Self::Read => "read",
            Self::List => "list",
            Self::Metadata => "metadata",
            Self::Len => "length",
            Self::FreeBytes => "free bytes",
        }
    }

    /// Whether it changes the disk or makes a change durable.
    #[must_use]
    pub const fn is_change(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::List | Self::Metadata | Self::Len | Self::FreeBytes)
    }

    /// Whether it makes changes durable and changes nothing itself.
    #[must_use]
    pub const fn is_sync(self) -> bool {
        matches!(self, Self::SyncData | Self::SyncAll | Self::SyncDir)
    }
}

/// One operation, as an observer is told of it before it happens.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its number: changes are counted from 0, reads by themselves from 0.
    pub index: u64,
    /// What is asked.
    pub kind: OperationKind,
    /// Of which file or directory, by its newest name.
    pub path: PathBuf,
    /// Which bytes, for writes: offset and how many.
    pub range: Option<(u64, usize)>,
    /// The new name, for renames and copies.
    pub to: Option<PathBuf>,
}

/// An error of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Errno {
    /// Input/output error.
    Eio,
    /// No space left.
    Enospc,
    /// Read-only file system.
    Erofs,
}

impl Errno {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Eio, Self::Enospc, Self::Erofs];

    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Eio => io::Error::other("input/output error (on purpose)"),
            Self::Enospc => io::ErrorKind::StorageFull.into(),
            Self::Erofs => io::ErrorKind::ReadOnlyFilesystem.into(),
        }
    }
}

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It fails. A sync that fails loses what it should have made durable: reads show it, the next sync says "good",
    /// and the disk does not have it.
    Error(Errno),
    /// A read or write does only a part; other operations are not concerned.
    Short,
}

/// Which operations go wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Among the changes, or among the reads.
    pub of_reads: bool,
    /// The number of the first one.
    pub from: u64,
    /// The number of the first one that goes well again.
    pub until: u64,
    /// How.
    pub failure: Failure,
}

impl Fault {
    /// Change number `at` fails, and no other.
    #[must_use]
    pub const fn once(at: u64, failure: Failure) -> Self {
        Self { of_reads: false, from: at, until: at + 1, failure }
    }

    /// Change number `at` fails, and every one behind it.
    #[must_use]
    pub const fn from(at: u64, failure: Failure) -> Self {
        Self { of_reads: false, from: at, until: u64::MAX, failure }
    }

    /// The same among the reads.
    #[must_use]
    pub const fn of_reads(self) -> Self {
        Self { of_reads: true, ..self }
    }

    fn hits(&self, kind: OperationKind, index: u64) -> bool {
        self.of_reads != kind.is_change() && (self.from..self.until).contains(&index)
    }
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    pub faults: Vec<Fault>,
    pub stop_after: Option<u64>,
    pub stopped: bool,
    pub read_only: bool,
    changes: u64,
    reads: u64,
    counts: BTreeMap<OperationKind, u64>,
}

/// How an operation may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Whole,
    Short,
}

impl Gate {
    pub fn number(&mut self, kind: OperationKind) -> u64 {
        *self.counts.entry(kind).or_default() += 1;
        let next = if kind.is_change() { &mut self.changes } else { &mut self.reads };
        let index = *next;
        *next += 1;
        index
    }

    pub fn pass(&mut self, kind: OperationKind, index: u64) -> io::Result<Passage> {
        self.stopped |= kind.is_change() && self.stop_after.is_some_and(|after| index >= after);
        if self.stopped {
            return Err(io::Error::other("the process has ended (on purpose)"));
        }
        let failure = self.faults.iter().find(|fault| fault.hits(kind, index)).map(|fault| fault.failure);
        if let Some(Failure::Error(errno)) = failure {
            return Err(errno.error());
        }
        if self.read_only && kind.is_change() && !kind.is_sync() {
            return Err(Errno::Erofs.error());
        }
        let partial = matches!(kind, OperationKind::Read | OperationKind::Write);
        Ok(if failure == Some(Failure::Short) && partial { Passage::Short } else { Passage::Whole })
    }

    pub const fn changes(&self) -> u64 {
        self.changes
    }

    pub const fn reads(&self) -> u64 {
        self.reads
    }

    pub const fn counts(&self) -> &BTreeMap<OperationKind, u64> {
        &self.counts
    }
}
