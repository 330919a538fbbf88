//! A result takes the place of what it was made from (the order is the module's).

use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::judge::{Input, Unread};
use super::{Halt, Work, chain};
use crate::catalog::{CatalogError, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::durable;
use crate::log::recover::segments::segment_path;
use crate::log::tier::Kept;
use crate::log::{Directory, Inner, seal};
use crate::segment::{self, Sealed, SegmentError, SegmentMeta, SegmentWriter, SequenceRange, WriteOptions};
use crate::types::{Generation, Sequence};

/// Names are looked for this often; each is of a try that failed.
const NAMES_MAX: u32 = 1000;
const REASON: &str = "compacted";

impl Work<'_> {
    /// Steps 1 to 4, for neighbours that become one. Returns the row of the result.
    pub fn write(&mut self, rows: &[SegmentRow], inputs: &[Input], left: &mut Vec<Kept>) -> Result<SegmentRow, Halt> {
        let log = self.log;
        let directory = log.directories.iter().find(|directory| directory.id == rows[0].directory);
        let directory = directory.expect("a segment without a directory is fixed");
        log.must_have_room(&directory.path, rows.iter().map(|row| row.bytes).sum())?;
        let key = log.free_name(rows, directory)?;
        let staging = directory.staging().join(format!("compact-{}.tmp", log.next_temporary()));
        let written = self.write_staged(&key, rows, inputs, &staging);
        // From here on the log stays open: who opens it next finds no file that comes or goes.
        let _commit = log.compactions.commit();
        if log.closed.load(std::sync::atomic::Ordering::Acquire) {
            // The file in staging is the next opening's to clear away.
            return Err(Halt::Interrupted);
        }
        let published = written.and_then(|sealed| {
            let row = seal::row(&directory.id, &sealed.footer, sealed.bytes, sealed.sha256);
            let path = segment_path(&directory.path, &row.key);
            if !log.options.sabotage.commits_before_result() {
                durable::publish(&*log.fs, &staging, &path).map_err(|error| Halt::Error(error.into()))?;
            }
            Ok((row, path))
        });
        let (row, path) = published.inspect_err(|_| {
            // Of no use; where it cannot be removed now, opening the log does.
            let _ = log.fs.remove_file(&staging);
        })?;
        // Who takes files away waits: what is committed is what lies there.
        let _turn = log.tier_turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.commit(rows, &row, &path)?;
        if log.options.sabotage.commits_before_result() {
            durable::publish(&*log.fs, &staging, &path).map_err(|error| Halt::Error(error.into()))?;
        }
        tracing::debug!(segment = %row.key, inputs = rows.len(), bytes = row.bytes, "compacted");
        log.remove_replaced(rows, left);
        Ok(row)
    }

    /// Step 1.
    fn write_staged(
        &mut self,
        key: &SegmentKey,
        rows: &[SegmentRow],
        inputs: &[Input],
        staging: &Path,
    ) -> Result<Sealed, Halt> {
        let log = self.log;
        let footers = || inputs.iter().map(|input| input.reader.footer());
        let meta = SegmentMeta {
            log: log.log_id,
            collection: key.collection.clone(),
            epoch: footers().map(|footer| footer.epoch).max().unwrap_or(log.epoch),
            generation: key.generation,
            first: key.first,
            inputs: footers()
                .map(|footer| segment::Input {
                    covers: footer.covers,
                    generation: footer.generation,
                    content_digest: footer.content_digest,
                })
                .collect(),
            created_at: footers().map(|footer| footer.created_at).max().unwrap_or_default(),
        };
        let options = WriteOptions { codec: log.options.codec, block_bytes: log.options.block_bytes };
        let failed = |error: SegmentError| Halt::Error(error.into());
        let mut writer = SegmentWriter::create(&*log.fs, staging, meta, options).map_err(failed)?;
        let mut paid = 0;
        for (input, row) in inputs.iter().zip(rows) {
            let mut place = 0;
            let mut outcome = Ok(());
            let read = self.each(&input.reader, &mut |record| {
                let stays = !input.is_gone(place);
                place += 1;
                if stays {
                    outcome = remove_up_to(&mut writer, Sequence(record.sequence)).and_then(|()| writer.push(record));
                }
                outcome.is_ok()
            });
            outcome.map_err(failed)?;
            match read {
                Ok(()) => {}
                Err(Unread::Interrupted) => return Err(Halt::Interrupted),
                // It was read a moment ago: the disk fails. The next run sees more.
                Err(Unread::Failed(why)) => return Err(Halt::Refused(format!("segment=`{}`: {why}", row.key))),
            }
            let written = writer.bytes();
            if !self.pace.take(written - paid) {
                return Err(Halt::Interrupted);
            }
            paid = written;
        }
        if !(log.options.sabotage.leaves_end_uncovered() && writer.next_sequence() > key.first) {
            remove_up_to(&mut writer, key.last.next()).map_err(failed)?;
        }
        writer.finish().map_err(failed)
    }

    /// Step 3.
    fn commit(&self, rows: &[SegmentRow], row: &SegmentRow, path: &Path) -> Result<(), Halt> {
        let log = self.log;
        let (from, to) = (SegmentStatus::Sealed, SegmentStatus::Replaced);
        let mut mutations: Vec<Mutation> =
            rows.iter().map(|row| Mutation::Transition { key: row.key.clone(), from, to, archive_key: None }).collect();
        mutations.push(Mutation::InsertSegment(row.clone()));
        if rows.iter().all(|row| row.flushed_at.is_some()) {
            mutations.push(Mutation::SetFlushed(row.key.clone()));
        }
        // A hold may have been set, a segment moved, given another sink, or taken by the archiver, since it was looked at: a run may last for
        // hours.
        let pinned = || -> Result<Option<String>> {
            let (first, last) = (row.key.first, row.key.last);
            if let Some(held) = log.held(&row.key.collection, first, last)? {
                return Ok(Some(held));
            }
            for row in rows {
                if log.catalog.segment(&row.key)?.is_none_or(|now| now.directory != row.directory) {
                    return Ok(Some(format!("it was moved meanwhile: segment=`{}`", row.key)));
                }
            }
            let attempts = log.attempts()?;
            if let Some(row) = rows.iter().find(|row| attempts.contains(&row.key)) {
                return Ok(Some(format!("it is being archived: segment=`{}`", row.key)));
            }
            let may_be_behind = log.options.sabotage.compacts_before_sinks();
            let behind = log.delivered(&row.key.collection)?.into_iter().find(|(_, has)| *has < last && !may_be_behind);
            Ok(behind.map(|(sink, _)| format!("a sink does not have it yet: sink=`{sink}`")))
        };
        let refuse = |why: String| {
            remove_unwanted(log, path);
            Halt::Refused(why)
        };
        match pinned() {
            Ok(None) => {}
            Ok(Some(why)) => return Err(refuse(why)),
            Err(error) => {
                remove_unwanted(log, path);
                return Err(error.into());
            }
        }
        match log.catalog.apply(&mutations, log.clock.now(), REASON) {
            Ok(number) => {
                log.changed(number, mutations.iter());
                Ok(())
            }
            Err(CatalogError::Refused(refused)) => Err(refuse(refused.to_string())),
            Err(error @ CatalogError::OutcomeUnknown { .. }) => {
                // Both ends are good: with its row the file is wanted, without it recovery removes it. Only what is known is acted upon.
                match log.catalog.segment(&row.key) {
                    Ok(Some(_)) => Ok(()),
                    _ => Err(Halt::Error(error.into())),
                }
            }
            Err(error) => {
                remove_unwanted(log, path);
                Err(Halt::Error(error.into()))
            }
        }
    }
}

/// Covers what comes before `next` and is not there.
fn remove_up_to(writer: &mut SegmentWriter, next: Sequence) -> Result<(), SegmentError> {
    match SequenceRange::new(writer.next_sequence(), next.previous()) {
        Some(range) => writer.remove(range),
        None => Ok(()),
    }
}

/// A result without a row. Where it stays, recovery removes it.
fn remove_unwanted(log: &Inner, path: &Path) {
    if let Err(error) = durable::remove(&*log.fs, path) {
        tracing::warn!(path = %path.display(), error = chain(&error), "a file that no row needs stays until the log is opened next");
    }
}

impl Inner {
    /// What the result is called: behind every generation of its inputs, and never as anything before.
    fn free_name(&self, rows: &[SegmentRow], directory: &Directory) -> Result<SegmentKey> {
        let generation = rows.iter().map(|row| row.key.generation).max().unwrap_or(Generation(0));
        let mut key =
            SegmentKey { last: rows[rows.len() - 1].key.last, generation: generation.next(), ..rows[0].key.clone() };
        for _ in 0..NAMES_MAX {
            let is_taken = self.catalog.segment(&key)?.is_some();
            match self.fs.metadata(&segment_path(&directory.path, &key)) {
                Err(error) if error.is_not_found() && !is_taken => return Ok(key),
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => key.generation = key.generation.next(),
            }
        }
        Err(Error::new(ErrorKind::Conflict, format!("no name is free for a segment: segment=`{key}`")))
    }

    /// Step 4. What somebody has open goes later.
    pub(super) fn remove_replaced(&self, rows: &[SegmentRow], left: &mut Vec<Kept>) {
        let mut folders: Vec<Arc<Path>> = Vec::new();
        for row in rows {
            let Some(path) = self.path_of(row) else { continue };
            let readers = self.leases.readers(&row.key);
            if readers > 0 {
                left.push(Kept { segment: row.key.clone(), reason: format!("somebody reads it: readers=`{readers}`") });
                self.compactions.leftovers().push(row.clone());
                continue;
            }
            match self.fs.remove_file(&path) {
                Ok(()) => {
                    let folder = path.parent().unwrap_or(&path);
                    if !folders.iter().any(|known| **known == *folder) {
                        folders.push(folder.into());
                    }
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    tracing::warn!(segment = %row.key, error = chain(&error), "the file of a replaced segment could not be removed");
                    left.push(Kept { segment: row.key.clone(), reason: chain(&error) });
                }
            }
        }
        for folder in folders {
            // What comes back by a power cut is removed when the log is opened.
            if let Err(error) = self.fs.sync_dir(&folder) {
                tracing::warn!(path = %folder.display(), error = chain(&error), "a folder could not be synced");
            }
        }
    }
}
