//! Where a segment's bytes are read from: a file, or an object in a store (O6).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::SegmentError;
use crate::fs::File;

/// Bytes that can be read by range.
pub trait ReadRange: Send + Sync + std::fmt::Debug {
    /// The file's path, or the object's name, for errors.
    fn path(&self) -> &Path;

    /// Length in bytes.
    ///
    /// # Errors
    /// What the file system or the store said.
    fn len(&self) -> Result<u64, SegmentError>;

    /// Whether there are no bytes at all.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn is_empty(&self) -> Result<bool, SegmentError> {
        Ok(self.len()? == 0)
    }

    /// Exactly `bytes` bytes from `offset` on.
    ///
    /// # Errors
    /// What the file system or the store said; [`SegmentError::Damaged`] where the bytes end before that.
    fn read(&self, offset: u64, bytes: usize) -> Result<Bytes, SegmentError>;

    /// These parts, which lie one behind the other without a gap, will be read soon: where each read costs, they come at once. What
    /// fails here fails again when it is read.
    fn prepare(&self, parts: &[(u64, usize)]) {
        let _ = parts;
    }

    /// What was read is not what it should be: nothing of it is kept. Whether reading again may give something else.
    fn distrust(&self) -> bool {
        false
    }
}

/// A file, read by range.
#[derive(Clone, Debug)]
pub struct FileRange(pub Arc<dyn File>);

impl ReadRange for FileRange {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn len(&self) -> Result<u64, SegmentError> {
        Ok(self.0.len()?)
    }

    fn read(&self, offset: u64, bytes: usize) -> Result<Bytes, SegmentError> {
        let mut buffer = vec![0; bytes];
        match self.0.read_exact_at(&mut buffer, offset) {
            Ok(()) => Ok(buffer.into()),
            Err(error) if error.source.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(SegmentError::damaged(self.path(), offset, None, format!("the file ends early: wanted=`{bytes}`")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Another source, whose reads are counted.
#[derive(Debug)]
pub(super) struct Counted {
    pub inner: Arc<dyn ReadRange>,
    pub reads: AtomicU64,
}

impl ReadRange for Counted {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn len(&self) -> Result<u64, SegmentError> {
        self.inner.len()
    }

    fn read(&self, offset: u64, bytes: usize) -> Result<Bytes, SegmentError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(offset, bytes)
    }

    fn prepare(&self, parts: &[(u64, usize)]) {
        self.inner.prepare(parts);
    }

    fn distrust(&self) -> bool {
        self.inner.distrust()
    }
}
