//! Moves the file of a segment from one directory to another, where its collection lives now.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. The file is copied to the other directory's staging, and compared with the row's SHA-256 on the way: what is damaged is not
//!    moved but told. The copy is synced. A crash leaves a file in staging, removed when the log opens.
//! 2. It is renamed to the segment's name there, which must be free, and the folder synced. A crash leaves two files and a row that names
//!    the first: a second copy of a row's file is not another segment. The next drain finds the same bytes there, and goes on.
//! 3. The row names the other directory, in one transaction. From here on readers look there; one that has the file open reads on, and one
//!    that comes too late to open it asks the catalog again.
//! 4. The old file goes. A crash before leaves a file whose row is elsewhere: recovery removes it, once the row's own file is proven whole
//!    (`remove-copy`).
//!
//! The row before the old file: the other order would leave a row that promises bytes which are gone.

use std::path::Path;
use std::sync::Arc;

use super::drain::{DrainProgress, Drained};
use crate::avro::Sha256;
use crate::catalog::{Mutation, SegmentRow};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{EntryKind, FsResult, OpenMode, durable};
use crate::log::recover::journals::chain;
use crate::log::recover::segments::{list, segment_path};
use crate::log::{Collection, DirectoryState, Inner};
use crate::segment::{FileKind, SegmentName, SequenceRange};

/// Bytes copied at once.
const PIECE_BYTES: u64 = 1 << 20;

impl Inner {
    pub(super) fn relocate_all(&self, from: usize, progress: &mut dyn FnMut(DrainProgress) -> bool) -> Result<Drained> {
        let directory = &self.directories[from];
        let mut drained =
            Drained { id: directory.id.clone(), place: directory.path.display().to_string(), ..Drained::default() };
        let mut done = DrainProgress::default();
        self.each_local_row(&directory.id, &mut |row| {
            done.total_bytes += row.bytes;
            Ok(())
        })?;
        self.each_local_row(&directory.id, &mut |row| {
            drained.is_interrupted |= !progress(done);
            if drained.is_interrupted {
                return Ok(());
            }
            match self.relocate(&row, from) {
                Ok(()) => {
                    drained.segments += 1;
                    drained.bytes += row.bytes;
                }
                // A full disk will be full for the next one too; damage is of this one only.
                Err(error) if error.kind() == ErrorKind::Full => return Err(error),
                Err(error) => drained.stayed.push((row.key, chain(&error))),
            }
            done.bytes += row.bytes;
            Ok(())
        })?;
        let here = |collection: &Arc<Collection>| collection.directory() == from;
        for collection in self.all_collections().into_iter().filter(here) {
            drained.kept.push((collection.name().clone(), "the collection still lives there".to_owned()));
        }
        if !drained.is_interrupted {
            progress(done);
            self.sweep(from, &mut drained)?;
        }
        Ok(drained)
    }

    /// Where the files of a collection go that lives elsewhere now.
    fn target(&self, collection: &crate::types::CollectionName, from: usize) -> Result<usize> {
        let home = self.collection(collection)?.directory();
        let refuse = |what: &str| {
            let message =
                format!("{what}: collection=`{collection}`, directory=`{}`", self.directories[home].path.display());
            Err(Error::new(ErrorKind::Unavailable, message))
        };
        match self.directories[home].state() {
            _ if home == from => refuse("the collection still lives there"),
            DirectoryState::Healthy => Ok(home),
            _ => refuse("the collection lives in a directory that takes nothing"),
        }
    }

    fn relocate(&self, row: &SegmentRow, from: usize) -> Result<()> {
        let to = self.target(&row.key.collection, from)?;
        let (source, path) =
            (segment_path(&self.directories[from].path, &row.key), segment_path(&self.directories[to].path, &row.key));
        let expected = (row.bytes, row.sha256);
        if self.fs.metadata(&path).is_ok() {
            // An earlier drain came so far; or something else has the name, and stays.
            self.must_be(&path, expected)?;
        } else {
            let staging = self.directories[to].staging().join(format!("relocate-{}.tmp", self.next_temporary()));
            let copied =
                self.copy_checked(&source, &staging, expected).and_then(|()| self.publish_copy(&staging, &path));
            if copied.is_err() {
                // Of no use to anybody; where it cannot be removed now, opening the log does.
                let _ = self.fs.remove_file(&staging);
            }
            copied?;
        }
        self.apply(
            &[Mutation::RelocateSegment {
                key: row.key.clone(),
                from: self.directories[from].id.clone(),
                to: self.directories[to].id.clone(),
            }],
            "drained",
        )?;
        self.remove_old(from, &source)
    }

    /// Step 4. From a disk that takes no writes nothing can be removed, and nothing has to: it is on its way out.
    fn remove_old(&self, from: usize, path: &Path) -> Result<()> {
        match durable::remove(&*self.fs, path) {
            Err(error) if matches!(self.directories[from].state(), DirectoryState::Failed(_)) => {
                tracing::warn!(error = chain(&error), "the old file stays where nothing can be removed");
                Ok(())
            }
            removed => Ok(removed?),
        }
    }

    fn publish_copy(&self, staging: &Path, path: &Path) -> Result<()> {
        let folder = path.parent().expect("a segment is in its collection's folder");
        durable::create_dir_all(&*self.fs, folder)?;
        Ok(durable::publish(&*self.fs, staging, path)?)
    }

    /// Copies a file, synced, unless its bytes are not those expected.
    fn copy_checked(&self, source: &Path, staging: &Path, (bytes, sha256): (u64, [u8; 32])) -> Result<()> {
        let from = self.fs.open(source, OpenMode::Read)?;
        if from.len()? != bytes {
            return Err(not_as_sealed(source));
        }
        let to = self.fs.open(staging, OpenMode::CreateNew)?;
        let mut digest = Sha256::new();
        each_piece(&*from, bytes, &mut |piece, at| {
            digest.update(piece);
            to.write_all_at(piece, at)
        })?;
        if digest.finish() != sha256 {
            return Err(not_as_sealed(source));
        }
        Ok(to.sync_all()?)
    }

    /// Makes sure that a file has these bytes, and that it and its name are durable.
    fn must_be(&self, path: &Path, (bytes, sha256): (u64, [u8; 32])) -> Result<()> {
        let file = self.fs.open(path, OpenMode::Read)?;
        let mut digest = Sha256::new();
        if file.len()? == bytes {
            each_piece(&*file, bytes, &mut |piece, _| {
                digest.update(piece);
                Ok(())
            })?;
        }
        if digest.finish() != sha256 {
            return Err(not_as_sealed(path));
        }
        file.sync_all()?;
        let folder = path.parent().expect("a segment is in its collection's folder");
        Ok(durable::create_dir_all(&*self.fs, folder).and_then(|()| self.fs.sync_dir(folder))?)
    }

    /// Stubs follow their collections, and empty folders go.
    fn sweep(&self, from: usize, drained: &mut Drained) -> Result<()> {
        let root = &self.directories[from].path;
        let mut stubs = Vec::new();
        list(&*self.fs, from, root, &mut |listed| {
            if listed.kind == FileKind::Stub {
                stubs.push(listed.key);
            }
        })?;
        for key in stubs {
            let covers = SequenceRange { first: key.first, last: key.last };
            match self.relocate_stub(&key.collection, &SegmentName::stub(covers, key.generation), from) {
                Ok(()) => drained.stubs += 1,
                Err(error) => drained.stayed.push((key, chain(&error))),
            }
        }
        if matches!(self.directories[from].state(), DirectoryState::Failed(_)) {
            return Ok(());
        }
        for entry in self.fs.list(root)? {
            if entry.kind == EntryKind::Directory && !entry.name.starts_with('.') {
                let folder = root.join(entry.name);
                // What a killed drain removed, a power cut could bring back.
                self.fs.sync_dir(&folder)?;
                // Those that are not empty stay.
                let _ = self.fs.remove_dir(&folder);
            }
        }
        Ok(self.fs.sync_dir(root)?)
    }

    /// A stub has no row: two of one name are one stub, so the same steps without the third do.
    fn relocate_stub(&self, collection: &crate::types::CollectionName, name: &SegmentName, from: usize) -> Result<()> {
        let to = self.target(collection, from)?;
        let (source, path) =
            (name.path(&self.directories[from].path, collection), name.path(&self.directories[to].path, collection));
        let file = self.fs.open(&source, OpenMode::Read)?;
        let bytes = file.len()?;
        let mut digest = Sha256::new();
        each_piece(&*file, bytes, &mut |piece, _| {
            digest.update(piece);
            Ok(())
        })?;
        drop(file);
        let expected = (bytes, digest.finish());
        if self.fs.metadata(&path).is_ok() {
            self.must_be(&path, expected)?;
        } else {
            let staging = self.directories[to].staging().join(format!("relocate-{}.tmp", self.next_temporary()));
            let copied =
                self.copy_checked(&source, &staging, expected).and_then(|()| self.publish_copy(&staging, &path));
            if copied.is_err() {
                let _ = self.fs.remove_file(&staging);
            }
            copied?;
        }
        self.remove_old(from, &source)
    }
}

fn each_piece(
    file: &dyn crate::fs::File,
    bytes: u64,
    visit: &mut dyn FnMut(&[u8], u64) -> FsResult<()>,
) -> FsResult<()> {
    let mut piece = vec![0; usize::try_from(bytes.min(PIECE_BYTES)).expect("a piece fits memory")];
    let mut at = 0;
    while at < bytes {
        let len = usize::try_from((bytes - at).min(PIECE_BYTES)).expect("a piece fits memory");
        file.read_exact_at(&mut piece[..len], at)?;
        visit(&piece[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

fn not_as_sealed(path: &Path) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the file is not what its row says, and stays: path=`{}`", path.display()))
        .with_hint("run `verify --deep`, then `recover`")
}
