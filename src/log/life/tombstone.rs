//! What stays of a collection whose records were deleted: a stub that covers every sequence it ever had and says that all of them were
//! removed. Where the catalog is lost, and with it the floor, this file still keeps the next sequence (C7).

use std::path::{Path, PathBuf};

use crate::avro::sha256;
use crate::error::Result;
use crate::fs::{EntryKind, FileSystem, OpenMode, durable};
use crate::log::identity;
use crate::log::seal::STAGING;
use crate::segment::{FileKind, Footer, SegmentName, SequenceRange, read_stub, write_stub};
use crate::types::{CollectionName, Epoch, Generation, LogId, Sequence, Timestamp};

/// Who writes it.
#[derive(Clone, Copy, Debug)]
pub(in crate::log) struct Writer<'a> {
    pub fs: &'a dyn FileSystem,
    pub log: LogId,
    pub epoch: Epoch,
    pub now: Timestamp,
    /// Sixteen bytes that nobody else draws.
    pub random: [u8; 16],
}

impl Writer<'_> {
    /// Leaves the stub of everything up to `last` below `directory`, durably, and takes away those that it makes superfluous. One
    /// that is there stays.
    pub fn leave(&self, directory: &Path, collection: &CollectionName, last: Sequence) -> Result<()> {
        let path = path(directory, collection, last);
        let folder = directory.join(collection.directory_name());
        durable::create_dir_all(self.fs, &folder)?;
        let staging = directory
            .join(identity::FOLDER)
            .join(STAGING)
            .join(format!("deleted-{}.tmp", crate::types::ids::hex(&self.random)));
        let left =
            write_stub(self.fs, &staging, &self.footer(collection, last)).map_err(crate::Error::from).and_then(|_| {
                match durable::publish(self.fs, &staging, &path) {
                    Err(error) if error.is_already_exists() => {
                        // A deletion that was cut short left it, and its name may not be durable yet; or an eviction, of a segment with
                        // the same range: that one says less.
                        if !self.is_tombstone(&path) {
                            self.fs.replace(&staging, &path)?;
                        }
                        Ok(durable::sync_parent(self.fs, &path)?)
                    }
                    published => Ok(published?),
                }
            });
        // Published it is there no more; else it is of no use, and opening the log clears it away at the latest.
        let _ = self.fs.remove_file(&staging);
        left?;
        for entry in self.fs.list(&folder)? {
            let name = SegmentName::parse(&entry.name).filter(|_| entry.kind == EntryKind::File);
            let other = folder.join(&entry.name);
            if name.is_some_and(|name| name.kind == FileKind::Stub && name.covers.last <= last) && other != path {
                self.fs.remove_file(&other)?;
            }
        }
        Ok(())
    }

    fn is_tombstone(&self, path: &Path) -> bool {
        let file = self.fs.open(path, OpenMode::Read).ok();
        file.and_then(|file| read_stub(file).ok()).is_some_and(|footer| is_of_deletion(&footer))
    }

    fn footer(&self, collection: &CollectionName, last: Sequence) -> Footer {
        let covers = SequenceRange { first: Sequence::FIRST, last };
        Footer {
            log: self.log,
            collection: collection.clone(),
            epoch: self.epoch,
            generation: Generation(0),
            covers,
            held: None,
            removed: vec![covers],
            inputs: Vec::new(),
            created_at: self.now,
            records: 0,
            timestamp_min: Timestamp::default(),
            timestamp_max: Timestamp::default(),
            bytes_before: 0,
            bytes_after: 0,
            content_digest: sha256(&[]),
            codec: "null".into(),
            sync: self.random,
            header_bytes: 0,
            header_checksum: 0,
            blocks: Vec::new(),
            keys: None,
        }
    }
}

/// Whether a stub's footer is that of a deletion. A segment of which compaction left no record covers only what its inputs did.
pub(in crate::log) fn is_of_deletion(footer: &Footer) -> bool {
    footer.records == 0 && footer.inputs.is_empty()
}

/// Where it lies.
pub(in crate::log) fn path(directory: &Path, collection: &CollectionName, last: Sequence) -> PathBuf {
    let covers = SequenceRange { first: Sequence::FIRST, last };
    SegmentName::stub(covers, Generation(0)).path(directory, collection)
}
