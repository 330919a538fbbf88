//! Cold journals: the small remainders of quiet collections, in one file with one sync (R2).
//!
//! Owns: which remainders go there, writing the file, pointing the memtable at it. A segment for each would cost two syncs
//! a collection; a cold journal costs four for thousands.
//!
//! # Order of operations
//!
//! 1. The runs, durable in hot journals (or in a cold one that is mostly dead), are copied as they are into a new file
//!    in the journals' folder, under a name that is no journal's; synced. A crash leaves a file that nobody reads.
//! 2. It is renamed to a cold journal's name, and the folder synced. A crash from here on leaves two identical copies of each
//!    record, of which recovery keeps one (R3).
//! 3. The memtable's runs are replaced by those of the new file. Only now do they count in their old journals no more.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc32c::crc32c;

use super::Inner;
use super::collection::Collection;
use super::seal::Claim;
use crate::avro::container::SYNC_BYTES;
use crate::error::Result;
use crate::fs::{OpenMode, durable};
use crate::journal::file::{FileId, HEADER_BYTES, JournalFile, JournalHeader, JournalKind, file_name};
use crate::journal::group::{Control, GroupToWrite, HeldTable, Mark, encode_front};
use crate::memtable::Run;
use crate::types::{ChangeNumber, Sequence};

/// A group is closed to more runs from this many bytes on.
const GROUP_BYTES: u64 = 1 << 20;

/// A cold journal being written.
struct ColdWriter {
    file: Arc<JournalFile>,
    offset: u64,
    group: u64,
    checksum: u32,
    table: HeldTable,
    before: HeldTable,
    records: BytesMut,
    /// The runs of the group being gathered: whose, first, count, bytes.
    gathered: Vec<(usize, Sequence, u64, u64)>,
    placed: Vec<(usize, Run)>,
    now_us: i64,
}

impl Inner {
    /// Moves the remainders of `collections`, all of one directory, to a cold journal. Returns how many collections moved.
    pub(super) fn cool(&self, directory: usize, collections: &[Arc<Collection>]) -> Result<u64> {
        let claims: Vec<(&Arc<Collection>, Claim<'_>)> = collections
            .iter()
            .filter_map(|collection| Claim::take(collection, self.options.cold_bytes).map(|claim| (collection, claim)))
            .filter(|(_, claim)| claim.directory == directory)
            .collect();
        if claims.is_empty() {
            return Ok(0);
        }
        let place = &self.directories[directory];
        let (Some(files), Some(journal)) = (&place.files, &place.journal) else { return Ok(0) };
        let number = files.next_number();
        let folder = crate::journal::writer::folder(&place.path);
        let temporary = folder.join(format!("cold-{number}.tmp"));
        let path = folder.join(file_name(JournalKind::Cold, number));
        let file_id = FileId(self.clock.random());
        let opened = self.fs.open(&temporary, OpenMode::CreateNew)?;
        let header = JournalHeader { kind: JournalKind::Cold, log: self.log_id, journal: number, file_id };
        opened.write_all_at(&header.encode(), 0)?;
        let file = Arc::new(JournalFile::new(JournalKind::Cold, number, file_id, &path, opened));
        file.finish();
        let mut writer = ColdWriter::new(Arc::clone(&file), self.clock.now().micros());
        let written = self
            .write_cold(&mut writer, &claims)
            .and_then(|()| durable::publish(&*self.fs, &temporary, &path).map_err(Into::into));
        if let Err(error) = written {
            let _ = self.fs.remove_file(&temporary);
            return Err(error);
        }
        place.cold().push(Arc::clone(&file));
        let moved = claims.len() as u64;
        let mut placed = writer.placed.into_iter().peekable();
        for (index, (collection, claim)) in claims.into_iter().enumerate() {
            let mut runs = Vec::new();
            while let Some((_, run)) = placed.next_if(|(owner, _)| *owner == index) {
                runs.push(run);
            }
            self.replace_runs(collection, &claim, runs);
        }
        self.release_finished();
        let _ = journal;
        tracing::debug!(collections = moved, path = %path.display(), "cooled");
        Ok(moved)
    }

    fn write_cold(&self, writer: &mut ColdWriter, claims: &[(&Arc<Collection>, Claim<'_>)]) -> Result<()> {
        for (owner, (collection, claim)) in claims.iter().enumerate() {
            for run in &claim.runs {
                let bytes = run.load()?;
                let mut checksums = Vec::with_capacity(run.count as usize * 4);
                // Verified on the way: damage must not get a second, good-looking home.
                run.for_each(&bytes, collection.seed, |view| {
                    checksums.extend_from_slice(&view.checksum.to_le_bytes());
                    Ok::<(), crate::Error>(())
                })?;
                writer.push(owner, collection.name().as_str(), run, &bytes, crc32c(&checksums))?;
            }
        }
        writer.finish(ChangeNumber(self.change_number.load(std::sync::atomic::Ordering::Acquire)))
    }

    fn replace_runs(&self, collection: &Collection, claim: &Claim<'_>, runs: Vec<Run>) {
        let last = claim.runs[claim.runs.len() - 1].last();
        let bytes: u64 = runs.iter().map(|run| run.len).sum();
        let old = {
            let mut state = collection.state();
            if state.home.directory != claim.directory {
                // Moved meanwhile: its records lie in another directory, and shall not come back here (M1).
                return;
            }
            for run in &runs {
                run.file.add_run(run.len);
            }
            let old = state.unsealed.take_through(last);
            state.unsealed.put_front(runs);
            old
        };
        // Still unsealed, no longer in memory.
        self.budget.charge(0, bytes);
        collection.let_go(&old);
    }
}

impl ColdWriter {
    fn new(file: Arc<JournalFile>, now_us: i64) -> Self {
        Self {
            file,
            offset: HEADER_BYTES,
            group: 0,
            checksum: 0,
            table: HeldTable::default(),
            before: HeldTable::default(),
            records: BytesMut::new(),
            gathered: Vec::new(),
            placed: Vec::new(),
            now_us,
        }
    }

    fn push(&mut self, owner: usize, name: &str, run: &Run, bytes: &Bytes, checksum: u32) -> Result<()> {
        self.table.push(name, run.first.0, run.count, run.len, checksum);
        self.records.extend_from_slice(bytes);
        self.gathered.push((owner, run.first, run.count, run.len));
        if self.records.len() as u64 >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut front = Vec::new();
        let to_write = GroupToWrite {
            file_id: self.file.file_id,
            journal: self.file.journal,
            group: self.group,
            offset: self.offset,
            // The file is synced whole before it gets its name: what is before counts as synced.
            durable_to: self.offset,
            previous_checksum: self.checksum,
            held_before: &self.before,
            timestamp_us: self.now_us,
        };
        let (checksum, span) = encode_front(&mut front, &self.table, &to_write);
        let mut at = self.offset + front.len() as u64;
        front.extend_from_slice(&self.records);
        front.extend_from_slice(&self.file.file_id.0);
        debug_assert_eq!(front.len() as u64, span);
        debug_assert!(front.len() > SYNC_BYTES);
        self.file.file().write_all_at(&front, self.offset)?;
        for (owner, first, count, len) in self.gathered.drain(..) {
            self.placed.push((owner, Run::on_disk(first, count, len, Arc::clone(&self.file), at)));
            at += len;
        }
        self.offset += span;
        self.group += 1;
        self.checksum = checksum;
        self.records.clear();
        std::mem::swap(&mut self.table, &mut self.before);
        self.table.clear();
        Ok(())
    }

    /// The last group is a MARK: a cold journal without one was cut short.
    fn finish(&mut self, change_number: ChangeNumber) -> Result<()> {
        if !self.gathered.is_empty() {
            self.flush()?;
        }
        let (bytes, checksum) = Control::Mark(Mark { change_number, closed: true }).encode(self.now_us);
        self.table.push("", 0, 1, bytes.len() as u64, crc32c(&checksum.to_le_bytes()));
        self.records.extend_from_slice(&bytes);
        self.flush()?;
        Ok(self.file.file().sync_all()?)
    }
}
