//! Brings one segment to a store, and proves that it arrived: steps 2 and 3.
//!
//! Changes nothing in the catalog: whatever happens here, an object is there or not, and no manifest names it yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::archive::limits::Bandwidth;
use crate::catalog::SegmentRow;
use crate::clock::Clock;
use crate::error::Error;
use crate::fs::{File, FsError, FsResult};
use crate::objects::{ObjectError, ObjectErrorKind, ObjectKey, ObjectStore, PatientStore, Put, Source, Stop, Upload};
use crate::segment::{FileRange, file_sha256};
use crate::types::Timestamp;

/// Bytes read at once: so often a limit, a stop and a deadline are looked at.
const PIECE_BYTES: usize = 1 << 20;

/// One segment on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub row: SegmentRow,
    pub key: ObjectKey,
    /// Which of the targets.
    pub target: usize,
    pub store: Arc<PatientStore>,
    /// Behind this nothing of it is sent, on the monotonic clock.
    pub deadline: Duration,
    /// Behind this it counts no more: no manifest may name it.
    pub commit_by: Duration,
    pub retain_until: Option<Timestamp>,
}

/// Why a segment did not arrive.
#[derive(Debug)]
pub(super) enum Trouble {
    /// We are to stop.
    Stopped,
    /// The attempt took too long.
    Deadline,
    /// The local file cannot be read now.
    Local(Error),
    /// The local file is not what its row says.
    Damaged,
    /// Another object is under its key.
    Conflict,
    /// Something in the archive has its sequences with other bytes.
    Taken(String),
    /// What the store has is not what was sent.
    NotProven(ObjectError),
    /// The store failed.
    Store(ObjectError),
}

impl Trouble {
    /// Whether it says something of the store, and not of this segment.
    pub fn is_of_store(&self) -> bool {
        use ObjectErrorKind::{Denied, Failed, Full, OutcomeUnknown, Unavailable};
        match self {
            Self::Store(error) => matches!(error.kind, Denied | Failed | Full | OutcomeUnknown | Unavailable),
            _ => false,
        }
    }

    /// Whether the object may appear later.
    pub fn may_still_happen(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == ObjectErrorKind::OutcomeUnknown)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped => f.write_str("the archiver was stopped"),
            Self::Deadline => f.write_str("the attempt took longer than it may"),
            Self::Local(error) => write!(f, "the local file cannot be read: {error}"),
            Self::Damaged => f.write_str("the local file is damaged: its SHA-256 is not the one in the catalog"),
            Self::Conflict => f.write_str("another object is under its key, and stays"),
            Self::Taken(other) => write!(f, "the archive has other bytes for its sequences: {other}"),
            Self::NotProven(error) => write!(f, "what the store has is not what was sent: {error}"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

/// What uploads share.
#[derive(Debug)]
pub(super) struct Means<'a> {
    pub clock: &'a dyn Clock,
    pub bandwidth: Option<&'a Bandwidth>,
    pub stop: &'a Stop,
}

/// Sends and proves. On `Ok` the object is there, whole, by the store's own word.
pub(super) fn upload(means: &Means<'_>, job: &Job, file: &Arc<dyn File>) -> Result<(), Trouble> {
    let source = Paced { means, file, deadline: job.deadline, is_late: AtomicBool::new(false) };
    let upload =
        |source| Upload { retain_until: job.retain_until, ..Upload::new(source, job.row.bytes, job.row.sha256) };
    match job.store.put_if_absent(&job.key, &upload(&source)) {
        Ok(Put::Created | Put::SameThere) => {}
        Ok(Put::OtherThere) => return Err(Trouble::Conflict),
        Err(_) if means.stop.is_stopped() => return Err(Trouble::Stopped),
        Err(_) if source.is_late.load(Ordering::Relaxed) => return Err(Trouble::Deadline),
        // Ours, or in flight? Only the local file tells.
        Err(error) if error.kind == ObjectErrorKind::Corrupt => return Err(blame(job, file, error)),
        Err(error) => return Err(Trouble::Store(error)),
    }
    // Not paced: a proof sends nothing.
    match job.store.prove(&job.key, &upload(file)) {
        Ok(_) if means.clock.monotonic() > job.commit_by => Err(Trouble::Deadline),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind, ObjectErrorKind::Corrupt | ObjectErrorKind::NotFound) => {
            Err(Trouble::NotProven(error))
        }
        Err(error) => Err(Trouble::Store(error)),
    }
}

fn blame(job: &Job, file: &Arc<dyn File>, error: ObjectError) -> Trouble {
    let range = FileRange(Arc::clone(file));
    match (file.len(), file_sha256(&range)) {
        (Ok(len), Ok(sha256)) if len == job.row.bytes && sha256 == job.row.sha256 => Trouble::NotProven(error),
        (Ok(_), Ok(_)) => Trouble::Damaged,
        (Err(failed), _) => Trouble::Local(failed.into()),
        (_, Err(failed)) => Trouble::Local(Error::new(crate::ErrorKind::Internal, failed.to_string())),
    }
}

/// A file that is read as fast as it may be sent, and not past a stop or a deadline.
struct Paced<'a> {
    means: &'a Means<'a>,
    file: &'a Arc<dyn File>,
    deadline: Duration,
    is_late: AtomicBool,
}

impl Source for Paced<'_> {
    fn read(&self, offset: u64, bytes: usize) -> FsResult<Bytes> {
        self.take(offset, bytes, true)
    }

    fn look(&self, offset: u64, bytes: usize) -> FsResult<Bytes> {
        self.take(offset, bytes, false)
    }
}

impl Paced<'_> {
    fn take(&self, offset: u64, bytes: usize, is_sent: bool) -> FsResult<Bytes> {
        let mut read = vec![0; bytes];
        let mut at = 0;
        while at < bytes {
            let piece = (bytes - at).min(PIECE_BYTES);
            let is_let = !is_sent || self.means.bandwidth.is_none_or(|limit| limit.take(piece as u64, self.means.stop));
            if !is_let || self.means.stop.is_stopped() {
                return Err(given_up("the archiver was stopped"));
            }
            if self.means.clock.monotonic() > self.deadline {
                self.is_late.store(true, Ordering::Relaxed);
                return Err(given_up("the attempt took longer than it may"));
            }
            self.file.read_exact_at(&mut read[at..at + piece], offset + at as u64)?;
            at += piece;
        }
        Ok(read.into())
    }
}

fn given_up(what: &'static str) -> FsError {
    FsError::new("read", std::path::Path::new("segment"), std::io::Error::other(what))
}
