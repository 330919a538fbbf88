//! Compaction by the collection's policy (S2): what it lets go goes, small neighbours become one.
//!
//! Owns: reading files for the judgement, and putting it in force. Does not own: the judgement, which is the log's ([`judge`]); when, how fast
//! and by which policy, which the log says ([`Order`]).
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! Files are gone through in groups, oldest first. For each:
//!
//! 1. It is judged, by the state that counts then, and the results are made in memory. Nobody is held up, nothing is changed.
//! 2. Under the lock of whoever changes the collection it is looked whether the judgement still holds (below); else it begins anew.
//! 3. The results are put. A crash leaves files that no state names: they are deleted when the collection is next opened.
//! 4. The next state is put: the group's files out, the results in, cursor, floor and all other files as they count *now*. **This is the
//!    change.** A crash before it leaves the collection as it was, behind it as it is to be.
//! 5. All older states are deleted, then the files that were taken out, those that no view reads. A crash leaves what nothing names. Were the new
//!    state damaged, an older one would count only as long as its files are all there: then nothing has gone yet.
//!
//! # Why the judgement still holds, whatever happened meanwhile
//!
//! What was applied since is newer than all that was judged: what went by newer versions goes all the more. A merge takes nothing out. A floor
//! that was raised takes out from below: there is less that could show through, and what lies above it has all of its newer versions. Another
//! compaction might take out what counted as a newer version: in this process there is one at a time ([`Collection::compacting`]); where a state was made
//! that this process did not make, or a file of the group is not there any more, all is judged anew.
//!
//! # Why nothing comes back
//!
//! - **By delivery**: the cursor does not move. What lies at or before it is never taken again.
//! - **By search**: up to the cursor it reads files only, never segments. So it does not matter that the log still has an older version of
//!   a key whose tombstone went: what could show through is in older files, all of which were asked, and groups are put in force oldest first.
//!   What is behind the cursor is newer than anything here. (An index that knew a key by a record from behind a cursor that has passed it since, finds no such
//!   file row, and so knows that the key is gone: `search::live`.)
//! - **By making the store anew** (its folder is moved away, or cleared): the log delivers what it has, which is in itself as its own compaction
//!   leaves it: with a version there is the tombstone that hides it.
//!
//! # What it costs
//!
//! Keys of one group (`KEY_BYTES_MAX`), the files that it becomes, one row group; a bit for each record of the group. Read for the judgement are key,
//! sequence, times and kind, and nothing at all of files that by their state and footers have nothing to let go.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use super::Inner;
use super::collection::{Collection, Judged, Replaced};
use super::columns::Column;
use super::file::{KeyFilter, RowGroup, StoreFile};
use super::merge::{copy, most_dimensions};
use super::names::FileName;
use super::rows::Rows;
use super::view::incomplete;
use super::write::{FileHead, FileWriter};
use crate::compaction::{
    Candidate, Fates, Freed, Moment, Neighbours, Order, Seen, Unjudged, Verdict, Versions, groups, judge,
};
use crate::error::{Error, ErrorKind, Result, chain};
use crate::types::{RecordKind, Sequence};

/// A group that is changed while it is looked at is looked at anew so often; then it is left to the next run.
const TRIES: u32 = 4;
/// What the judgement needs of a record.
const HEADS: [Column; 4] = [Column::Key, Column::Timestamp, Column::ExpiresAt, Column::Kind];

/// Why something was not done to its end.
enum Stop {
    /// Somebody wants it to end.
    Interrupted,
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Compacts a collection. See [`crate::sink::Sink::compact`].
pub(super) fn by_policy(collection: &Collection, store: &Inner, order: &mut Order<'_>) -> Freed {
    let settled = collection.compacting();
    let mut run = Run { collection, store, order, freed: Freed::default(), held: HashMap::new(), settled };
    if let Err(Stop::Error(error)) = run.all() {
        run.freed.failed = Some(chain(&error));
    }
    run.freed
}

/// A compaction of a collection under way.
struct Run<'a, 'o> {
    collection: &'a Collection,
    store: &'a Inner,
    order: &'a mut Order<'o>,
    freed: Freed,
    /// Files that were asked about, and whether they must stay.
    held: HashMap<FileName, bool>,
    /// The collection as it was when it was gone through and there was nothing to do.
    settled: MutexGuard<'a, Option<u64>>,
}

impl Run<'_, '_> {
    fn all(&mut self) -> Result<(), Stop> {
        let Some(first) = self.collection.judged(self.store, true)? else { return Ok(()) };
        let files = &first.snapshot.files;
        // What comes while this runs is left to the next run.
        let Some(through) = files.last().map(|file| file.entry().last) else { return Ok(()) };
        let candidates = self.candidates(files, Sequence(0), through)?;
        let state = self.fingerprint(files, &candidates);
        // A tombstone whose grace is over hides older versions, in whatever file they are.
        let moment = self.order.moment;
        let hides = files.iter().any(|file| file.entry().deletes > 0 && moment.is_behind_grace(&oldest(file, true)));
        let is_settled = *self.settled == Some(state) && !hides;
        let (mut from, mut tries, mut next) = (Sequence(0), 0, Some(first));
        loop {
            let judged = match next.take() {
                Some(judged) => judged,
                None => match self.collection.judged(self.store, tries > 0)? {
                    Some(judged) => judged,
                    None => break,
                },
            };
            let candidates = self.candidates(&judged.snapshot.files, from, through)?;
            let Some(group) = groups(&candidates, self.store.options.file_bytes).into_iter().next() else { break };
            match self.group(judged, group, is_settled, tries < TRIES) {
                Ok(Some(behind)) => (from, tries) = (behind, 0),
                Ok(None) => tries += 1,
                // Somebody took all of the collection away, or another process went on.
                Err(Stop::Error(error)) if error.kind() == ErrorKind::NotFound && tries < TRIES => tries += 1,
                Err(stop) => return Err(stop),
            }
        }
        *self.settled = (self.freed.files_before == 0).then_some(state);
        Ok(())
    }

    /// Deals with the front of a group; returns where the rest begins, or `None` where its files were changed meanwhile, as long as `may_try_again`.
    fn group(
        &mut self,
        judged: Judged,
        group: Range<usize>,
        is_settled: bool,
        may_try_again: bool,
    ) -> Result<Option<Sequence>, Stop> {
        let files = &judged.snapshot.files;
        let Some(verdict) = self.judge(files, group.clone(), is_settled)? else {
            let alone = files[group.start].entry();
            self.freed.leave("it has too many keys".to_owned(), alone.bytes);
            return Ok(Some(alone.last.next()));
        };
        let group = group.start..group.start + verdict.fates.len();
        let behind = files[group.end - 1].entry().last.next();
        if self.order.dry_run {
            self.freed.add(&goes(&files[group], &verdict));
        } else if !verdict.outputs.is_empty() && !self.put_in_force(judged, group, &verdict, may_try_again)? {
            return Ok(None);
        }
        Ok(Some(behind))
    }

    /// The files as the plan sees them. What must stay is fixed, and so is what lies before `from`, which is dealt with, or behind `through`.
    fn candidates(
        &mut self,
        files: &[Arc<StoreFile>],
        from: Sequence,
        through: Sequence,
    ) -> Result<Vec<Candidate>, Stop> {
        let mut candidates = Vec::with_capacity(files.len());
        let mut before: Option<Sequence> = None;
        for file in files {
            let entry = file.entry();
            let is_asked = entry.first >= from && entry.last <= through;
            candidates.push(Candidate {
                // Between two files there was nothing to be had: they are neighbours.
                first: before.map_or(entry.first, Sequence::next),
                last: entry.last,
                directory: 0,
                bytes: entry.bytes,
                is_fixed: !is_asked || self.is_held(file)?,
            });
            before = Some(entry.last);
        }
        Ok(candidates)
    }

    fn is_held(&mut self, file: &StoreFile) -> Result<bool, Stop> {
        let entry = file.entry();
        if let Some(known) = self.held.get(&entry.name()) {
            return Ok(*known);
        }
        let why = (self.order.must_stay)(entry.first, entry.last)?;
        self.held.insert(entry.name(), why.is_some());
        let is_held = why.is_some();
        if let Some(why) = why {
            self.freed.leave(why, entry.bytes);
        }
        Ok(is_held)
    }

    /// What decides which versions go: the files, which of them must stay, the policy.
    fn fingerprint(&self, files: &[Arc<StoreFile>], candidates: &[Candidate]) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.order.moment.policy.keep_versions, self.order.gain_percent).hash(&mut hasher);
        for (file, candidate) in files.iter().zip(candidates) {
            (file.entry().name(), candidate.is_fixed).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Step 1, the judgement; `None` where the first file alone has too many keys.
    fn judge(
        &mut self,
        files: &[Arc<StoreFile>],
        group: Range<usize>,
        is_settled: bool,
    ) -> Result<Option<Verdict>, Stop> {
        let options = &self.store.options;
        let target = if options.merge_files == 0 { 0 } else { options.file_bytes };
        let (moment, gain) = (self.order.moment, self.order.gain_percent);
        let fates = files[group.clone()].iter().map(|file| Fates::new(file.entry().rows, file.entry().bytes)).collect();
        let mut read = Group { files, first: group.start, moment, pace: &mut *self.order.pace, is_settled };
        match judge(moment, &mut read, fates, (target, gain)) {
            Ok(verdict) => Ok(Some(verdict)),
            Err(Unjudged::TooManyKeys) => Ok(None),
            Err(Unjudged::Stop(stop)) => Err(stop),
        }
    }

    /// Steps 1 (the results) to 5; whether the group is dealt with. Where it was changed meanwhile it is not, as long as `may_try_again`.
    fn put_in_force(
        &mut self,
        judged: Judged,
        group: Range<usize>,
        verdict: &Verdict,
        may_try_again: bool,
    ) -> Result<bool, Stop> {
        let files = &judged.snapshot.files[group.clone()];
        let sizes: Vec<u64> = files.iter().map(|file| file.entry().bytes).collect();
        let goes = goes(files, verdict);
        let mut results = Vec::with_capacity(verdict.outputs.len());
        for output in &verdict.outputs {
            let writer = self.written(&judged, &files[output.clone()], &verdict.fates[output.clone()])?;
            results.push((group.start + output.start..group.start + output.end, writer));
        }
        match self.collection.replace(self.store, judged, group, results, self.order.must_stay)? {
            Replaced::Done(bytes, left) => {
                let (files_after, bytes_after) = (bytes.len() as u64, bytes.iter().sum());
                self.freed.add(&Freed { files_after, bytes_after, ..goes });
                self.freed.files_left = left;
            }
            Replaced::Changed if may_try_again => return Ok(false),
            Replaced::Changed => {
                let why = "it was changed while it was looked at";
                sizes.into_iter().for_each(|bytes| self.freed.leave(why.to_owned(), bytes));
            }
            Replaced::Stay(why) => sizes.into_iter().for_each(|bytes| self.freed.leave(why.clone(), bytes)),
        }
        Ok(true)
    }

    /// What becomes of some files, but for its footer.
    fn written(&mut self, judged: &Judged, files: &[Arc<StoreFile>], fates: &[Fates]) -> Result<FileWriter, Stop> {
        let (first, last) = (files[0].entry(), files[files.len() - 1].entry());
        let mut writer = FileWriter::new(FileHead {
            log: self.store.log,
            collection: self.collection.name.clone(),
            epoch: judged.snapshot.state.cursor.map(|cursor| cursor.epoch).unwrap_or_default(),
            first: first.first,
            last: last.last,
            dimensions: most_dimensions(files),
        })?;
        for (file, fates) in files.iter().zip(fates) {
            check_rows(file)?;
            let mut place = 0;
            let is_whole = copy(file, &mut writer, &mut *self.order.pace, |_| {
                place += 1;
                !fates.is_gone(place - 1)
            })?;
            if !is_whole {
                return Err(Stop::Interrupted);
            }
        }
        let bytes = writer.settle()?;
        if (self.order.pace)(bytes) { Ok(writer) } else { Err(Stop::Interrupted) }
    }
}

/// What goes by a verdict, and what would come for it, about.
fn goes(files: &[Arc<StoreFile>], verdict: &Verdict) -> Freed {
    let mut freed = Freed::default();
    for output in &verdict.outputs {
        let mut is_left = false;
        for (file, fates) in files[output.clone()].iter().zip(&verdict.fates[output.clone()]) {
            freed.files_before += 1;
            freed.bytes_before += file.entry().bytes;
            freed.bytes_after += fates.bytes_expected(file.entry().bytes);
            freed.removed.add(fates.removed());
            is_left |= fates.kept() > 0;
        }
        freed.files_after += u64::from(is_left);
    }
    freed
}

/// A group of files, as the judgement reads it.
struct Group<'a, 'o> {
    /// All of the collection's.
    files: &'a [Arc<StoreFile>],
    /// The place of the group's first.
    first: usize,
    moment: Moment,
    pace: &'a mut (dyn FnMut(u64) -> bool + 'o),
    /// No version goes, by what was found before.
    is_settled: bool,
}

impl Group<'_, '_> {
    fn read(&mut self, group: &RowGroup, columns: &[Column]) -> Result<Rows, Stop> {
        self.wait(group.stored_bytes(columns))?;
        Ok(group.read(columns)?)
    }

    fn wait(&mut self, bytes: u64) -> Result<(), Stop> {
        if (self.pace)(bytes) { Ok(()) } else { Err(Stop::Interrupted) }
    }

    /// Whether some keys that `wants` asks about may be in a row group: by its bounds, then by its filter.
    fn may_matter(&mut self, group: &RowGroup, wants: impl Fn(&KeyFilter) -> bool) -> Result<bool, Stop> {
        let bounds = group.key_bounds();
        if !wants(&bounds) {
            return Ok(false);
        }
        self.wait(group.key_filter_bytes())?;
        Ok(wants(&group.with_filter(bounds)?))
    }
}

impl Neighbours for Group<'_, '_> {
    type Stop = Stop;

    fn is_quiet(&mut self, members: usize) -> Result<bool, Stop> {
        if self.moment.versions().is_some() && !self.is_settled {
            return Ok(false);
        }
        for file in &self.files[self.first..self.first + members] {
            if !is_quiet(file, &self.moment)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn each(&mut self, member: usize, each: &mut dyn FnMut(&Seen<'_>, u64) -> bool) -> Result<(), Stop> {
        let file = &self.files[self.first + member];
        check_rows(file)?;
        let bytes = file.entry().bytes / file.entry().rows.max(1);
        for group in file.row_groups()? {
            let rows = self.read(&group, &HEADS)?;
            for row in 0..rows.len() {
                if !each(&seen(&group, &rows, row)?, bytes) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn newer(&mut self, members: usize, versions: &mut Versions) -> Result<(), Stop> {
        for file in &self.files[self.first + members..] {
            for group in file.row_groups()? {
                if !versions.wants_newer() {
                    return Ok(());
                }
                if self.may_matter(&group, |keys| versions.wants_newer_of(|key| keys.may_have(key)))? {
                    let rows = self.read(&group, &HEADS)?;
                    for row in 0..rows.len() {
                        versions.note_newer(&seen(&group, &rows, row)?);
                    }
                }
            }
        }
        Ok(())
    }

    fn older(&mut self, versions: &mut Versions) -> Result<(), Stop> {
        for file in self.files[..self.first].iter().rev() {
            for group in file.row_groups()?.iter().rev() {
                if !versions.wants_older() {
                    return Ok(());
                }
                if self.may_matter(group, |keys| versions.wants_older_of(|key| keys.may_have(key)))? {
                    let rows = self.read(group, &[Column::Key])?;
                    (0..rows.len()).filter_map(|row| rows.key(row)).for_each(|key| versions.note_older(key));
                }
            }
        }
        Ok(())
    }
}

fn seen<'r>(group: &RowGroup, rows: &'r Rows, row: usize) -> Result<Seen<'r>> {
    let (Some(timestamp), Some(kind)) = (rows.timestamp(row), rows.kind(row)) else { return Err(incomplete(group)) };
    let is_delete = kind == RecordKind::Delete;
    Ok(Seen { key: rows.key(row), is_delete, timestamp, expires_at: rows.expires_at(row) })
}

/// A record as old as any of a file.
fn oldest(file: &StoreFile, is_delete: bool) -> Seen<'_> {
    Seen { key: None, is_delete, timestamp: file.entry().time_min, expires_at: None }
}

/// Whether time lets nothing of a file go, by its state and its footer.
fn is_quiet(file: &Arc<StoreFile>, moment: &Moment) -> Result<bool> {
    let entry = file.entry();
    if entry.deletes > 0 && moment.is_behind_grace(&oldest(file, true)) {
        return Ok(false);
    }
    if entry.deletes < entry.rows && moment.is_expired(&oldest(file, false)) {
        return Ok(false);
    }
    if entry.expiring == 0 || moment.now.is_none() {
        return Ok(true);
    }
    let is_over = |at| Some(at) <= moment.now;
    Ok(!file.row_groups()?.iter().any(|group| group.first_expiry().is_none_or(is_over)))
}

/// A file has as many records as its state says: the judgement counts on that.
fn check_rows(file: &Arc<StoreFile>) -> Result<()> {
    let rows: u64 = file.group_rows()?.iter().map(|rows| *rows as u64).sum();
    if rows == file.entry().rows {
        return Ok(());
    }
    let message = format!(
        "a file of the columnar store does not have the records that its state says: key=`{}`, found=`{rows}`, expected=`{}`",
        file.key(),
        file.entry().rows
    );
    Err(Error::new(ErrorKind::Corrupt, message))
}
