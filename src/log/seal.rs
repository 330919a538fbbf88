//! Seals: cuts a collection's unsealed records into a segment.
//!
//! Owns: the order of a seal, and who may seal what.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. The runs are durable in a journal before they are read here.
//! 2. The segment is written in staging and synced. A crash leaves a file in staging, removed when the log opens.
//! 3. It is renamed to its name, which must be free, and the folder synced. A crash leaves a whole file without a row:
//!    it is adopted, never cut again (R3).
//! 4. The row and `sealed_through` are committed, in one transaction. From here on readers find the records in the segment.
//! 5. The runs leave the memtable and count in their journals no more. Journals are released only by that count (R1), so
//!    none goes before the row is durable.

use std::sync::Arc;

use super::Inner;
use super::came_back::CameBack;
use super::collection::{Collection, OldestUnsealed};
use super::recover::act::recoveries;
use super::recover::segments::{row_overlapping, segment_path};
use super::recover::{self, COMPONENT};
use crate::catalog::{Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{OpenMode, durable};
use crate::memtable::Run;
use crate::segment::footer::Footer;
use crate::segment::{self, SegmentReader};
use crate::segment::{Sealed, SegmentMeta, SegmentWriter, WriteOptions};
use crate::types::{ChangeNumber, CollectionName, Generation, Sequence};

/// The folder of unfinished files below [`identity::FOLDER`](super::identity::FOLDER).
pub const STAGING: &str = "staging";

/// The row of a segment that lies in the directory `id`.
#[must_use]
pub fn row(id: &str, footer: &Footer, bytes: u64, sha256: [u8; 32]) -> SegmentRow {
    let key = SegmentKey {
        collection: footer.collection.clone(),
        first: footer.covers.first,
        last: footer.covers.last,
        generation: footer.generation,
    };
    SegmentRow {
        path: crate::segment::SegmentName::of_key(&key).relative(&key.collection),
        key,
        status: SegmentStatus::Sealed,
        epoch: footer.epoch,
        directory: id.into(),
        records: footer.records,
        bytes,
        sha256,
        content_digest: footer.content_digest,
        timestamp_min: footer.timestamp_min,
        timestamp_max: footer.timestamp_max,
        sealed_at: footer.created_at,
        sealed_change: ChangeNumber(0),
        flushed_at: None,
        archive_key: None,
    }
}

/// A claim on a collection's unsealed records: nobody else seals or cools it meanwhile.
pub(super) struct Claim<'a> {
    collection: &'a Collection,
    /// Where the collection lived when it was claimed: it may be moved meanwhile.
    pub directory: usize,
    pub runs: Vec<Run>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.collection.end_claim();
    }
}

impl<'a> Claim<'a> {
    /// Claims the durable runs in front, without a hole and up to `bytes_max` (at least one run); `None` where there are none, or
    /// somebody else has the claim.
    pub fn take(collection: &'a Collection, bytes_max: u64) -> Option<Self> {
        let mut state = collection.state();
        if state.sealing {
            return None;
        }
        let mut bytes = 0;
        let mut runs: Vec<Run> = Vec::new();
        for run in state.unsealed.runs() {
            let fits = runs.last().is_none_or(|last| last.last().next() == run.first && bytes + run.len <= bytes_max);
            if !fits || run.last() > state.durable {
                break;
            }
            bytes += run.len;
            runs.push(run.clone());
        }
        if runs.is_empty() {
            return None;
        }
        state.sealing = true;
        let directory = state.home.directory;
        drop(state);
        Some(Self { collection, directory, runs })
    }
}

impl Inner {
    /// Seals what is durable of a collection, in segments of at most the limit; returns how many were made.
    pub(super) fn seal_collection(&self, collection: &Collection) -> Result<u64> {
        let mut sealed = 0;
        while let Some(claim) = Claim::take(collection, self.segment_bytes(collection)) {
            self.seal_claim(collection, &claim)?;
            sealed += 1;
        }
        Ok(sealed)
    }

    fn seal_claim(&self, collection: &Collection, claim: &Claim<'_>) -> Result<()> {
        let (first, last) = (claim.runs[0].first, claim.runs[claim.runs.len() - 1].last());
        let key = SegmentKey { collection: collection.name().clone(), first, last, generation: Generation(0) };
        // Before there is a segment: no file is of a collection of whose home there is no record (`assign::homes`).
        let mut mutations = self.introduce(collection)?;
        let (footer, bytes, sha256) = self.write_segment(collection, claim.directory, &claim.runs, &key)?;
        if self.options.sabotage.releases_before_row() {
            self.drop_sealed(collection, last);
            self.release_finished();
        }
        let id = &self.directories[claim.directory].id;
        mutations.push(Mutation::InsertSegment(row(id, &footer, bytes, sha256)));
        mutations.push(Mutation::RaiseSealedThrough { collection: key.collection.clone(), sequence: last });
        let through = match self.apply(&mutations, "sealed") {
            Ok(_) => last,
            Err(error) => self.look_up_sealed(collection, first).ok_or(error)?,
        };
        collection.catalogued.store(true, std::sync::atomic::Ordering::Release);
        self.drop_sealed(collection, through);
        self.release_finished();
        tracing::debug!(collection = %collection.name(), %first, %last, bytes, "sealed");
        Ok(())
    }

    /// Cuts segments from records that were on record as missing, and came back (A4). Order: the files, durable; then rows and
    /// the losses, in one transaction; then the runs are let go. A crash between leaves files without rows, inside recorded losses, which
    /// are adopted.
    pub(super) fn fill(&self, found: recover::Found) -> Result<()> {
        for (name, runs) in found {
            let collection = self.collection(&name)?;
            let runs = self.still_missing(&name, runs)?;
            let mut rest = &runs[..];
            while let Some(first) = rest.first() {
                let mut bytes = 0;
                let follows = |(index, run): (usize, &Run)| {
                    bytes += run.len;
                    index == 0
                        || (rest[index - 1].last().next() == run.first && bytes <= self.options.limits.segment_bytes)
                };
                let count = rest.iter().enumerate().map(follows).take_while(|fits| *fits).count();
                let (piece, behind) = rest.split_at(count);
                rest = behind;
                let last = piece[piece.len() - 1].last();
                let mut key =
                    SegmentKey { collection: name.clone(), first: first.first, last, generation: Generation(0) };
                // A quarantined one of that name keeps its row: its own file may come back yet.
                while self.catalog.segment(&key)?.is_some() {
                    key.generation = key.generation.next();
                }
                let directory = collection.directory();
                let (footer, bytes, sha256) = self.write_segment(&collection, directory, piece, &key)?;
                let id = &self.directories[directory].id;
                let mut mutations = vec![Mutation::InsertSegment(row(id, &footer, bytes, sha256))];
                let losses = self.catalog.losses(Some(&name))?;
                let mut missing = losses.iter().map(|loss| (loss.first, loss.last)).collect();
                mutations.extend(recoveries(&name, &mut missing, &[(key.first, last)]));
                mutations.push(CameBack::note(&*self.catalog, &name, key.first, last)?);
                self.apply(&mutations, "recovery: came back")?;
                tracing::info!(collection = %name, first = %key.first, %last, "records of a recorded loss came back");
                for run in piece {
                    run.file.drop_run(run.len);
                }
            }
        }
        Ok(())
    }

    /// Those of the runs that no segment has: files that came back too were adopted or put back before.
    fn still_missing(&self, name: &CollectionName, runs: Vec<Run>) -> Result<Vec<Run>> {
        let mut missing = Vec::new();
        for run in runs {
            let key =
                SegmentKey { collection: name.clone(), first: run.first, last: run.last(), generation: Generation(0) };
            match row_overlapping(&*self.catalog, &key)? {
                None => missing.push(run),
                Some(row) if row.first <= run.first && run.last() <= row.last => drop(run.file.drop_run(run.len)),
                // The next opening finds what of it is still missing.
                Some(row) => {
                    tracing::info!(run = %key, segment = %row, "records of a recorded loss are in part in a segment")
                }
            }
        }
        Ok(missing)
    }

    /// A commit that failed with an unknown outcome, this one or an earlier one, may have been good: how far sealing has come
    /// by the catalog's word, where that is at or behind `first`.
    fn look_up_sealed(&self, collection: &Collection, first: Sequence) -> Option<Sequence> {
        let row = self.catalog.collection(collection.name()).ok()??;
        (row.sealed_through >= first).then_some(row.sealed_through)
    }

    /// What the catalog must learn of a collection before its first segment.
    pub(super) fn introduce(&self, collection: &Collection) -> Result<Vec<Mutation>> {
        if collection.is_catalogued() {
            return Ok(Vec::new());
        }
        self.record_homes([collection])?;
        // It makes the collection's row too, where there is none, and leaves the settings of one that is there alone.
        let home = collection.state().home.clone();
        let own = Mutation::Assign {
            component: COMPONENT.into(),
            collection: collection.name().clone(),
            directory: self.directories[home.directory].id.clone(),
            epoch: home.epoch,
            from: home.from,
        };
        Ok(std::iter::once(own).chain(self.home_row(collection.name())).collect())
    }

    fn drop_sealed(&self, collection: &Collection, last: Sequence) {
        let runs = {
            let mut state = collection.state();
            state.sealed_through = state.sealed_through.max(last);
            let runs = state.unsealed.take_through(last);
            state.oldest_unsealed = (!state.unsealed.is_empty()).then(|| OldestUnsealed::came(self.clock.monotonic()));
            runs
        };
        collection.let_go(&runs);
    }

    fn write_segment(
        &self,
        collection: &Collection,
        directory: usize,
        runs: &[Run],
        key: &SegmentKey,
    ) -> Result<(Footer, u64, [u8; 32])> {
        let place = directory + 1;
        let directory = &self.directories[directory];
        let path = segment_path(&directory.path, key);
        let staging = directory.staging().join(format!("seal-{}.tmp", self.next_temporary()));
        let outcome = self.write_staged(collection, runs, key, &staging);
        let sealed = match outcome {
            Ok(sealed) => sealed,
            Err(error) => {
                // What is half-written is of no use; where it cannot be removed now, opening the log does.
                let _ = self.fs.remove_file(&staging);
                return Err(error);
            }
        };
        if let Some(folder) = path.parent()
            && collection.has_folder.load(std::sync::atomic::Ordering::Acquire) != place
        {
            durable::create_dir_all(&*self.fs, folder)?;
            collection.has_folder.store(place, std::sync::atomic::Ordering::Release);
        }
        match durable::publish(&*self.fs, &staging, &path) {
            Ok(()) => Ok((sealed.footer, sealed.bytes, sealed.sha256)),
            Err(error) if error.is_already_exists() => {
                let existing = self.same_segment(&path, &sealed)?;
                let _ = self.fs.remove_file(&staging);
                Ok(existing)
            }
            Err(error) => {
                let _ = self.fs.remove_file(&staging);
                Err(error.into())
            }
        }
    }

    fn write_staged(
        &self,
        collection: &Collection,
        runs: &[Run],
        key: &SegmentKey,
        staging: &std::path::Path,
    ) -> Result<Sealed> {
        let meta = SegmentMeta {
            log: self.log_id,
            collection: key.collection.clone(),
            epoch: self.epoch,
            generation: key.generation,
            first: key.first,
            inputs: Vec::new(),
            created_at: self.clock.now(),
        };
        let options = WriteOptions { codec: self.options.codec, block_bytes: self.options.block_bytes };
        let mut writer = SegmentWriter::create(&*self.fs, staging, meta, options)?;
        for run in runs {
            let bytes = run.load()?;
            run.for_each(&bytes, collection.seed, |view| writer.push(view).map_err(Error::from))?;
        }
        Ok(writer.finish()?)
    }

    /// A seal that failed behind its rename left the file: the same content under the same name is the same segment (F4).
    fn same_segment(&self, path: &std::path::Path, sealed: &Sealed) -> Result<(Footer, u64, [u8; 32])> {
        let file = self.fs.open(path, OpenMode::Read)?;
        let bytes = file.len()?;
        let sha256 = segment::file_sha256(&segment::FileRange(Arc::clone(&file)))?;
        file.sync_all()?;
        durable::sync_parent(&*self.fs, path)?;
        let footer = SegmentReader::open(file)?.footer().clone();
        if footer.content_digest != sealed.footer.content_digest {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("a segment with other content has the name already: path=`{}`", path.display()),
            )
            .with_hint("run `recover`; the file is set aside where it is damaged"));
        }
        Ok((footer, bytes, sha256))
    }
}
