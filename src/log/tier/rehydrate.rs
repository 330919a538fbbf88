//! Rehydrates: brings local copies of segments back from the archive.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. The object is fetched into staging, and proven; 2. it gets the segment's name (`bring`). A crash behind that leaves a whole file whose row
//!    is `Evicted`: recovery removes it, and the next try fetches it again.
//! 3. The row becomes `Archived`, in the directory where the file is. From here on readers find it there.
//!
//! A quarantined segment of which the archive has a copy becomes `Evicted` first, in one transaction with the end of its loss: its
//! records can be read again from that moment on.

use std::path::Path;
use std::sync::PoisonError;

use super::bring::{bring, is_whole};
use super::{Inner, Kept, Log, Silent, TierProgress, Wanted};
use crate::catalog::{Mutation, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{OpenMode, durable};
use crate::log::DirectoryState;
use crate::log::recover::journals::chain;
use crate::log::recover::segments::{recovered, segment_path};
use crate::segment::{SegmentName, SequenceRange};
use crate::types::{CollectionName, Sequence, Timestamp};

/// Which segments are to come back. The default is all that are in the archive only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RehydrateOptions {
    /// Of these collections; of all where empty.
    pub collections: Vec<CollectionName>,
    /// Those with this sequence or later ones.
    pub from: Option<Sequence>,
    /// Those with this sequence or earlier ones.
    pub until: Option<Sequence>,
    /// Those that may hold records of this time or later.
    pub from_time: Option<Timestamp>,
    /// Those that may hold records of this time or earlier.
    pub until_time: Option<Timestamp>,
    /// Reads the local files of archived segments too, and replaces those that are missing or damaged.
    pub repair: bool,
    /// Changes nothing, and says what would be fetched.
    pub dry_run: bool,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rehydrated {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Segments that came back.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that were quarantined before, or whose local file was missing or damaged.
    pub healed: u64,
    /// What could not be brought back, and why.
    pub kept: Vec<Kept>,
    /// It was interrupted: more may be left to do.
    pub is_interrupted: bool,
}

impl Log {
    /// Brings local copies of segments back from the archive, oldest sealed first; quarantined ones too, where the archive has them. It may be
    /// interrupted and repeated: what is back is not fetched again. `progress` is told how far it has come, and ends it by answering no.
    ///
    /// # Errors
    /// `Unavailable` where no archive was given, or a store does not answer and nothing came from another; `Full` where a directory has no room, what the log needs itself
    /// counted in; `Invalid` for a log that was opened to read only; what the disk or the catalog said. What came back before stays.
    pub fn rehydrate(
        &self,
        options: &RehydrateOptions,
        progress: &mut dyn FnMut(TierProgress) -> bool,
    ) -> Result<Rehydrated> {
        let log = &self.0;
        if !options.dry_run {
            self.may_change()?;
        }
        if log.options.archive.is_none() {
            return Err(super::no_archive());
        }
        let _turn = log.tier_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Wanted {
            collections: &options.collections,
            from: options.from,
            until: options.until,
            from_time: options.from_time,
            until_time: options.until_time,
        };
        let repaired = options.repair.then_some(SegmentStatus::Archived);
        let statuses = [SegmentStatus::Quarantined, SegmentStatus::Evicted].into_iter().chain(repaired);
        let mut done = TierProgress::default();
        for status in statuses.clone() {
            log.each_row(status, &wanted, &mut |row| {
                done.total_bytes += if row.archive_key.is_some() { row.bytes } else { 0 };
                Ok(true)
            })?;
        }
        let mut back = Rehydrated { dry_run: options.dry_run, ..Rehydrated::default() };
        let mut silent = Silent::default();
        for status in statuses {
            log.each_row(status, &wanted, &mut |row| {
                if row.archive_key.is_none() || back.is_interrupted {
                    return Ok(!back.is_interrupted);
                }
                if !progress(done) {
                    back.is_interrupted = true;
                    return Ok(false);
                }
                if let Some(reason) = silent.reason(&row) {
                    done.bytes += row.bytes;
                    back.kept.push(Kept { segment: row.key, reason });
                    return Ok(true);
                }
                let outcome = match status {
                    SegmentStatus::Archived => log.repair_one(&row, options.dry_run),
                    _ if options.dry_run => Ok(true),
                    _ => log.rehydrate_one(&row).map(|()| true),
                };
                match outcome {
                    Ok(false) => {}
                    Ok(true) => {
                        back.segments += 1;
                        back.bytes += row.bytes;
                        back.healed += u64::from(status != SegmentStatus::Evicted);
                    }
                    // It is of this one only.
                    Err(error)
                        if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Conflict) =>
                    {
                        back.kept.push(Kept { segment: row.key, reason: chain(&error) });
                    }
                    // Where a directory has a place for it, it is the store.
                    Err(error) if error.kind() == ErrorKind::Unavailable && log.place_for(&row).is_ok() => {
                        let reason = silent.note(&row, error);
                        back.kept.push(Kept { segment: row.key, reason });
                    }
                    Err(error) => return Err(error),
                }
                done.bytes += row.bytes;
                Ok(true)
            })?;
        }
        progress(done);
        silent.settle(back.segments > 0)?;
        Ok(back)
    }
}

impl Inner {
    fn rehydrate_one(&self, row: &SegmentRow) -> Result<()> {
        let Some(archive) = &self.options.archive else { return Err(super::no_archive()) };
        let (id, root) = self.place_for(row)?;
        // Here already: of an earlier try, or of an eviction that could not remove it.
        let path = segment_path(&root, &row.key);
        if !self.is_segment(&path, row)? {
            self.must_have_room(&root, row.bytes)?;
            let staging = root.join(crate::log::identity::FOLDER).join(crate::log::seal::STAGING);
            let staging = staging.join(format!("rehydrate-{}.tmp", self.next_temporary()));
            bring(&*self.fs, &*archive.open_once(row)?, row, &staging, &path)?;
        }
        let step = |from, to| Mutation::Transition { key: row.key.clone(), from, to, archive_key: None };
        if row.status == SegmentStatus::Quarantined {
            // It was fetched whole: that is the proof.
            let mut mutations = vec![step(SegmentStatus::Quarantined, SegmentStatus::Evicted)];
            mutations.extend(recovered(&mut self.catalog.losses(Some(&row.key.collection))?, &row.key));
            self.apply(&mutations, "an archived copy was proven")?;
        }
        let mut mutations = vec![step(SegmentStatus::Evicted, SegmentStatus::Archived)];
        if id != row.directory {
            mutations.push(Mutation::RelocateSegment { key: row.key.clone(), from: row.directory.clone(), to: id });
        }
        self.apply(&mutations, "rehydrated")?;
        // The file itself tells all that its stub told.
        let covers = SequenceRange { first: row.key.first, last: row.key.last };
        let _ = self.fs.remove_file(&SegmentName::stub(covers, row.key.generation).path(&root, &row.key.collection));
        Ok(())
    }

    /// Replaces an archived segment's local file where it is missing or damaged; whether it was. A damaged one is set aside, then the row becomes
    /// `Evicted`: a crash between leaves a row whose file is absent, of which recovery decides the same.
    fn repair_one(&self, row: &SegmentRow, dry_run: bool) -> Result<bool> {
        let Some(index) = self.directories.iter().position(|directory| directory.id == row.directory) else {
            return Ok(false);
        };
        if self.directories[index].state() != DirectoryState::Healthy {
            return Ok(false);
        }
        let path = segment_path(&self.directories[index].path, &row.key);
        let is_whole = match self.fs.open(&path, OpenMode::Read) {
            Err(error) if error.is_not_found() => false,
            opened => is_whole(&opened?, row)?,
        };
        if is_whole {
            return Ok(false);
        }
        let Some(archive) = &self.options.archive else { return Err(super::no_archive()) };
        if !archive.has(row)? {
            let message = format!("the local file is damaged, and the archive does not have it: segment=`{}`", row.key);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if dry_run {
            return Ok(true);
        }
        self.set_aside(index, &path)?;
        let (from, to) = (SegmentStatus::Archived, SegmentStatus::Evicted);
        let evicted = Mutation::Transition { key: row.key.clone(), from, to, archive_key: None };
        self.apply(&[evicted], "the local file is damaged")?;
        self.rehydrate_one(&SegmentRow { status: SegmentStatus::Evicted, ..row.clone() })?;
        Ok(true)
    }

    /// Where a segment's file goes: where it was, or where its collection lives.
    fn place_for(&self, row: &SegmentRow) -> Result<(String, std::path::PathBuf)> {
        let takes = |index: &usize| self.directories[*index].state() == DirectoryState::Healthy;
        let before = self.directories.iter().position(|directory| directory.id == row.directory);
        let home = || Some(self.collection(&row.key.collection).ok()?.directory());
        match before.filter(takes).or_else(|| home().filter(takes)) {
            Some(index) => Ok((self.directories[index].id.clone(), self.directories[index].path.clone())),
            None => {
                let message =
                    format!("no directory of the collection takes files now: collection=`{}`", row.key.collection);
                Err(Error::new(ErrorKind::Unavailable, message).with_hint("`directory ls` shows what is wrong"))
            }
        }
    }

    /// Whether the segment's file lies there, whole and durable. What else has the name is no row's, and goes.
    fn is_segment(&self, path: &Path, row: &SegmentRow) -> Result<bool> {
        let file = match self.fs.open(path, OpenMode::Read) {
            Err(error) if error.is_not_found() => return Ok(false),
            opened => opened?,
        };
        if is_whole(&file, row)? {
            file.sync_all()?;
            durable::sync_parent(&*self.fs, path)?;
            return Ok(true);
        }
        drop(file);
        if row.status == SegmentStatus::Quarantined {
            let message = format!("a damaged file has the segment's name: path=`{}`", path.display());
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("`recover` sets it aside"));
        }
        durable::remove(&*self.fs, path)?;
        Ok(false)
    }

    /// What the log needs to seal and to release is not spent on copies (D3).
    pub(in crate::log) fn must_have_room(&self, root: &Path, bytes: u64) -> Result<()> {
        let reserve = self.limits.journal_bytes + self.limits.segment_bytes;
        let free = self.fs.free_bytes(root)?;
        if free >= bytes.saturating_add(reserve) {
            return Ok(());
        }
        let message = format!(
            "no room for a local copy: directory=`{}`, free_bytes=`{free}`, wanted=`{bytes}`, reserve=`{reserve}`",
            root.display()
        );
        Err(Error::new(ErrorKind::Full, message).with_hint("make room, or fetch less: what came back stays"))
    }
}
