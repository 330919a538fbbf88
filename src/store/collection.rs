//! One collection: applying, raising the floor, clearing, and the states behind each.
//!
//! All that changes a collection goes one after another, under one lock. Views are taken without it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::file::StoreFile;
use super::load::{Loaded, Whose, list, list_states, snapshot};
use super::names::{FileName, Folder, StateNumber};
use super::state::{FORMAT, FileEntry, State};
use super::view::Snapshot;
use super::write::{FileHead, FileWriter, Written, dimensions_of};
use super::{Inner, merge};
use crate::compaction::{Freed, MustStay};
use crate::error::{Error, ErrorKind, Result};
use crate::objects::{Put, Upload};
use crate::sink::{Batch, Cursor};
use crate::types::{CollectionName, Epoch, Record, Sequence};

/// A collection that was asked for since the store was opened.
#[derive(Debug)]
pub(super) struct Collection {
    pub name: CollectionName,
    /// Held by whoever changes the collection.
    changing: Mutex<Changing>,
    known: Mutex<Known>,
    /// Held by whoever compacts the collection: one at a time. Taken before `changing`. What it was, when there was nothing to do.
    compacting: Mutex<Option<u64>>,
}

/// What counts, as far as this process knows.
#[derive(Debug, Default)]
struct Known {
    /// `None` where nobody looked yet.
    loaded: Option<Loaded>,
    /// A change ended in an error: what counts has to be looked up. Its files are kept, so that each has one lease in this process.
    is_stale: bool,
    /// How often something was looked up that this process did not make.
    looks: u64,
}

/// A state that somebody judges by, while others change the collection.
#[derive(Debug)]
pub(super) struct Judged {
    pub snapshot: Arc<Snapshot>,
    looks: u64,
}

/// What became of files that were to be replaced.
#[derive(Debug)]
pub(super) enum Replaced {
    /// They are, by files of so many bytes; and so many files that are replaced are still there.
    Done(Vec<u64>, u64),
    /// They were changed since they were looked at: all of it is to be looked at anew.
    Changed,
    /// They must stay, and why.
    Stay(String),
}

/// What only the one who changes the collection knows.
#[derive(Debug, Default)]
pub(super) struct Changing {
    /// Whether orphans of earlier processes were looked for.
    is_swept: bool,
    /// Files that no state names any more, and that are not deleted yet: views may read them.
    dropped: Vec<Arc<StoreFile>>,
    /// Files that were put, or may have been, by this process or one before it, and that no state names yet.
    attempts: Vec<FileName>,
}

impl Collection {
    pub fn new(name: CollectionName) -> Self {
        Self { name, changing: Mutex::default(), known: Mutex::default(), compacting: Mutex::default() }
    }

    const fn whose<'a>(&'a self, store: &'a Inner) -> Whose<'a> {
        Whose { log: store.log, collection: &self.name, footers: &store.footers }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        // Nothing in it is half done when a thread panics: what counts is in the store.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up what counts.
    fn load(&self, store: &Inner) -> Result<Loaded> {
        let home = store.homes.home(&self.name)?;
        let before = self.known().loaded.as_ref().and_then(|loaded| loaded.snapshot.clone());
        let loaded = Loaded::load(home, self.whose(store), before.as_deref())?;
        let mut known = self.known();
        // A change of this process may have overtaken the look.
        if known.is_stale || known.loaded.as_ref().is_none_or(|known| known.newest < loaded.newest) {
            *known = Known { loaded: Some(loaded.clone()), is_stale: false, looks: known.looks + 1 };
        }
        Ok(loaded)
    }

    /// What counts, by what this process knows, or by looking.
    pub fn current(&self, store: &Inner) -> Result<Loaded> {
        let known = {
            let known = self.known();
            known.loaded.clone().filter(|_| !known.is_stale)
        };
        known.map_or_else(|| self.load(store), Ok)
    }

    /// What counts, by looking: the store's own word.
    pub fn look(&self, store: &Inner) -> Result<Loaded> {
        let known = {
            let known = self.known();
            known.loaded.clone().filter(|_| !known.is_stale)
        };
        match known {
            Some(known)
                if list_states(&known.home, &known.folder)?.last().copied().unwrap_or_default() == known.newest =>
            {
                Ok(known)
            }
            _ => self.load(store),
        }
    }

    /// Begins a change of `loaded`, with nothing left behind by earlier processes.
    fn begin(&self, changing: &mut Changing, loaded: Loaded) -> Result<Loaded> {
        // What a change of unknown outcome put is no attempt where it counts: views may read it.
        let named = loaded.snapshot.as_ref().map(|snapshot| &snapshot.files[..]).unwrap_or_default();
        changing.attempts.retain(|name| named.iter().all(|file| file.entry().name() != *name));
        if !changing.is_swept {
            changing.attempts.extend(sweep(&loaded)?);
            changing.is_swept = true;
        }
        if let Err(error) = changing.delete_dropped(&loaded) {
            tracing::warn!(collection = %self.name, %error, "superseded files of the columnar store could not be deleted");
        }
        Ok(loaded)
    }

    /// See [`crate::sink::Sink::apply`].
    pub fn apply(&self, store: &Inner, batch: &Batch<'_>) -> Result<()> {
        let mut changing = self.changing();
        let Some(loaded) = self.apply_fresh(store, &mut changing, batch)? else { return Ok(()) };
        let is_due = loaded.snapshot.as_ref().is_some_and(|snapshot| merge::is_due(&snapshot.state, &store.options));
        if is_due && let Err(error) = merge::merge(self, store, &mut changing, loaded) {
            // What was applied is applied; merging is tried again with the next batch.
            tracing::warn!(collection = %self.name, %error, "files of the columnar store could not be merged");
        }
        Ok(())
    }

    /// `None` where nothing of the batch is new.
    fn apply_fresh(&self, store: &Inner, changing: &mut Changing, batch: &Batch<'_>) -> Result<Option<Loaded>> {
        // Where another process went on meanwhile, the number is taken.
        let loaded = self.begin(changing, self.current(store)?)?;
        let before = loaded.snapshot.as_ref().map(|snapshot| &snapshot.state);
        let cursor = before.and_then(|state| state.cursor);
        check_epoch(&self.name, cursor, batch.epoch)?;
        let fresh = batch.fresh(cursor)?;
        let has = cursor.map_or(Sequence(0), |cursor| cursor.sequence);
        if batch.through <= has {
            return Ok(None);
        }
        check_order(batch, fresh)?;
        let floor = before.map_or(Sequence::FIRST, |state| state.floor);
        let fresh = &fresh[fresh.partition_point(|record| record.sequence < floor)..];
        let mut files = before.map(|state| state.files.clone()).unwrap_or_default();
        if !fresh.is_empty() {
            let mut writer = FileWriter::new(FileHead {
                log: store.log,
                collection: self.name.clone(),
                epoch: batch.epoch,
                first: has.next().max(floor),
                last: batch.through,
                dimensions: dimensions_of(fresh.iter()),
            })?;
            fresh.iter().try_for_each(|record| writer.push(record))?;
            let written = writer.finish(loaded.newest.next())?.expect("it was given a record");
            self.put_file(changing, &loaded, &written)?;
            files.push(written.entry);
        }
        let cursor = Some(Cursor { epoch: batch.epoch, sequence: batch.through });
        self.commit(store, changing, &loaded, cursor, floor, files).map(Some)
    }

    /// See [`crate::sink::Sink::raise_floor`].
    pub fn raise_floor(&self, store: &Inner, floor: Sequence) -> Result<()> {
        let mut changing = self.changing();
        // By looking: that nothing is to be done must be true of what counts, not of what was known.
        let loaded = self.begin(&mut changing, self.look(store)?)?;
        let Some(before) = loaded.snapshot.clone() else { return Ok(()) };
        if floor <= before.state.floor {
            drop(before);
            // An earlier try may have ended before this.
            return changing.delete_dropped(&loaded);
        }
        let mut files = Vec::new();
        for file in &before.files {
            let entry = file.entry();
            if entry.sequence_max < floor {
                continue;
            }
            if floor <= entry.sequence_min {
                files.push(entry.clone());
            } else {
                files.extend(self.rewrite(store, &mut changing, &loaded, file, floor)?);
            }
        }
        let cursor = before.state.cursor;
        let after = self.commit(store, &mut changing, &loaded, cursor, floor, files)?;
        drop(loaded);
        self.drop_files(&mut changing, before, &after)
    }

    /// The store has nothing of the collection any more: it is delivered anew.
    pub fn clear(&self, store: &Inner) -> Result<()> {
        let mut changing = self.changing();
        // Also where no state can be read: then it is behind the highest number.
        let home = store.homes.home(&self.name)?;
        let folder = Folder::new(home.prefix(), &self.name);
        let newest = list_states(&home, &folder)?.last().copied().unwrap_or_default();
        if newest == StateNumber::default() {
            return Ok(());
        }
        let loaded = Loaded { home, folder, newest, snapshot: None };
        let loaded = self.commit(store, &mut changing, &loaded, None, Sequence::FIRST, Vec::new())?;
        changing.dropped.clear();
        // Whatever there was is an orphan now.
        changing.attempts.extend(sweep(&loaded)?);
        Ok(())
    }

    /// The records of a file that straddles the floor, from the floor on.
    fn rewrite(
        &self,
        store: &Inner,
        changing: &mut Changing,
        loaded: &Loaded,
        file: &Arc<StoreFile>,
        floor: Sequence,
    ) -> Result<Option<FileEntry>> {
        let entry = file.entry();
        let epoch = loaded.snapshot.as_ref().and_then(|snapshot| snapshot.state.cursor).map(|cursor| cursor.epoch);
        let head = FileHead {
            log: store.log,
            collection: self.name.clone(),
            epoch: epoch.unwrap_or_default(),
            first: floor,
            last: entry.last,
            dimensions: entry.dimensions,
        };
        let mut writer = FileWriter::new(head)?;
        merge::copy(file, &mut writer, &mut |_| true, |record| record.sequence >= floor)?;
        let Some(written) = writer.finish(loaded.newest.next())? else { return Ok(None) };
        self.put_file(changing, loaded, &written)?;
        Ok(Some(written.entry))
    }

    /// Makes a file durable. Nothing names it yet.
    pub(super) fn put_file(&self, changing: &mut Changing, loaded: &Loaded, written: &Written) -> Result<()> {
        let name = written.entry.name();
        let key = loaded.folder.file(&name);
        changing.attempts.push(name);
        let upload = Upload::new(&written.bytes, written.entry.bytes, written.entry.sha256);
        match loaded.home.store.put_if_absent(&key, &upload)? {
            Put::Created | Put::SameThere => Ok(()),
            // Eight digits of its digest are in the name.
            Put::OtherThere => Err(conflict(&self.name, key.as_str())),
        }
    }

    /// Makes the next state, which is what makes files and cursor count.
    ///
    /// A writer that was overtaken cannot: the number is taken, or, where that state is gone again, a higher one is there.
    pub(super) fn commit(
        &self,
        store: &Inner,
        changing: &mut Changing,
        before: &Loaded,
        cursor: Option<Cursor>,
        floor: Sequence,
        files: Vec<FileEntry>,
    ) -> Result<Loaded> {
        let committed = self.try_commit(store, before, cursor, floor, files);
        let mut known = self.known();
        match &committed {
            Ok(loaded) => (known.loaded, known.is_stale) = (Some(loaded.clone()), false),
            Err(_) => known.is_stale = true,
        }
        drop(known);
        let loaded = committed?;
        changing.delete_attempts(&loaded);
        Ok(loaded)
    }

    fn try_commit(
        &self,
        store: &Inner,
        before: &Loaded,
        cursor: Option<Cursor>,
        floor: Sequence,
        files: Vec<FileEntry>,
    ) -> Result<Loaded> {
        let state = State {
            format: FORMAT,
            log: store.log.to_string(),
            collection: self.name.clone(),
            number: before.newest.next(),
            at: store.clock.now(),
            cursor,
            floor,
            files,
        };
        let key = before.folder.state(state.number);
        let bytes = bytes::Bytes::from(state.encode());
        match before.home.store.put_if_absent(&key, &Upload::of_bytes(&bytes))? {
            Put::Created | Put::SameThere => {}
            Put::OtherThere => return Err(conflict(&self.name, key.as_str())),
        }
        let numbers = list_states(&before.home, &before.folder).map_err(|error| {
            let message = format!("whether a state counts could not be seen: collection=`{}`, key=`{key}`", self.name);
            Error::new(ErrorKind::OutcomeUnknown, message).with_source(error)
        })?;
        if numbers.last().is_some_and(|highest| *highest > state.number) {
            return Err(conflict(&self.name, key.as_str()));
        }
        let newest = state.number;
        let after = snapshot(&before.home, &before.folder, state, before.snapshot.as_deref(), &store.footers);
        let loaded = Loaded { newest, snapshot: Some(Arc::new(after)), ..before.clone() };
        // One before it stays, in case a disk damages this one.
        for number in numbers.iter().rev().filter(|number| **number < newest).skip(1) {
            delete_state(&loaded, *number);
        }
        Ok(loaded)
    }

    /// Deletes the files that the change from `before` to `after` took out, now or when nobody reads them any more.
    pub(super) fn drop_files(&self, changing: &mut Changing, before: Arc<Snapshot>, after: &Loaded) -> Result<()> {
        let kept = after.snapshot.as_ref().map(|snapshot| &snapshot.files[..]).unwrap_or_default();
        let is_kept = |file: &Arc<StoreFile>| kept.iter().any(|kept| kept.key() == file.key());
        changing.dropped.extend(before.files.iter().filter(|file| !is_kept(file)).cloned());
        drop(before);
        changing.delete_dropped(after)
    }

    /// Deletes what no state names and no view reads any more.
    pub fn tidy(&self, store: &Inner) -> Result<()> {
        let mut changing = self.changing();
        self.begin(&mut changing, self.look(store)?).map(drop)
    }

    /// Merges small files now.
    pub fn merge(&self, store: &Inner) -> Result<Freed> {
        let mut changing = self.changing();
        let loaded = self.begin(&mut changing, self.look(store)?)?;
        merge::merge(self, store, &mut changing, loaded)
    }

    /// Whoever has this is the only one in this process who takes records out, but for what is below the floor.
    pub(super) fn compacting(&self) -> MutexGuard<'_, Option<u64>> {
        self.compacting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What counts, to judge by; `None` where there is nothing. `looks`: the store is asked whether another process changed it. Nobody is held up.
    pub(super) fn judged(&self, store: &Inner, looks: bool) -> Result<Option<Judged>> {
        if looks {
            self.look(store)?;
        }
        loop {
            let looks = self.known().looks;
            let loaded = self.current(store)?;
            if self.known().looks == looks {
                return Ok(loaded.snapshot.map(|snapshot| Judged { snapshot, looks }));
            }
        }
    }

    /// Replaces files of what was judged by: `range` of them, by one file for each of `results`, whose ranges are within it. What is in none stays.
    ///
    /// Cursor and floor are those that count now, and so are all other files: what was applied or merged since is not touched.
    pub(super) fn replace(
        &self,
        store: &Inner,
        judged: Judged,
        range: std::ops::Range<usize>,
        results: Vec<(std::ops::Range<usize>, FileWriter)>,
        must_stay: &MustStay<'_>,
    ) -> Result<Replaced> {
        let mut changing = self.changing();
        let loaded = self.begin(&mut changing, self.look(store)?)?;
        let Some(now) = loaded.snapshot.clone() else { return Ok(Replaced::Changed) };
        // Who made a state that this process did not, may have taken out what counted as newer.
        if self.known().looks != judged.looks {
            return Ok(Replaced::Changed);
        }
        let inputs = &judged.snapshot.files[range.clone()];
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else { return Ok(Replaced::Changed) };
        let at = now.files.iter().position(|file| file.key() == first.key());
        let there = at.and_then(|at| now.files.get(at..at + inputs.len()));
        let (Some(at), Some(there)) = (at, there) else { return Ok(Replaced::Changed) };
        if there.iter().zip(inputs).any(|(there, input)| there.key() != input.key()) {
            return Ok(Replaced::Changed);
        }
        if let Some(why) = must_stay(first.entry().first, last.entry().last)? {
            return Ok(Replaced::Stay(why));
        }
        let (mut bytes, mut entries) = (Vec::new(), Vec::new());
        for (of, writer) in results {
            let written = writer.finish(loaded.newest.next())?;
            if let Some(written) = &written {
                self.put_file(&mut changing, &loaded, written)?;
                bytes.push(written.entry.bytes);
            }
            entries.push((of, written.map(|written| written.entry)));
        }
        let mut files = now.state.files.clone();
        for (of, entry) in entries.into_iter().rev() {
            let from = at + of.start - range.start;
            files.splice(from..from + of.len(), entry);
        }
        let after = self.commit(store, &mut changing, &loaded, now.state.cursor, now.state.floor, files)?;
        drop((loaded, judged));
        if let Err(error) = self.drop_files(&mut changing, now, &after) {
            // It counts. What is left over goes with the next change, or the next opening.
            tracing::warn!(collection = %self.name, %error, "superseded files of the columnar store could not be deleted");
        }
        Ok(Replaced::Done(bytes, changing.dropped.len() as u64))
    }
}

impl Changing {
    /// Deletes files that did not get into a state, of this process or one before it, once their numbers are taken.
    fn delete_attempts(&mut self, loaded: &Loaded) {
        let named = loaded.snapshot.as_ref().map(|snapshot| &snapshot.files[..]).unwrap_or_default();
        for name in std::mem::take(&mut self.attempts) {
            if named.iter().any(|file| file.entry().name() == name) {
                continue;
            }
            if name.generation > loaded.newest {
                self.attempts.push(name);
                continue;
            }
            let key = loaded.folder.file(&name);
            if let Err(error) = loaded.home.store.delete(&key) {
                tracing::warn!(%key, %error, "a file of the columnar store could not be deleted");
                self.attempts.push(name);
            }
        }
    }

    /// Deletes dropped files that nobody reads. The older states go first: none that is kept names a file that is not there.
    fn delete_dropped(&mut self, loaded: &Loaded) -> Result<()> {
        if self.dropped.is_empty() {
            return Ok(());
        }
        for number in list_states(&loaded.home, &loaded.folder)? {
            if number < loaded.newest {
                loaded.home.store.delete(&loaded.folder.state(number))?;
            }
        }
        let mut deleted = Ok(());
        for file in std::mem::take(&mut self.dropped) {
            // One is ours. Nobody can take another: no view that is still to be made names the file.
            if deleted.is_ok() && Arc::strong_count(&file) == 1 {
                deleted = loaded.home.store.delete(file.key());
                if deleted.is_ok() {
                    continue;
                }
            }
            self.dropped.push(file);
        }
        Ok(deleted?)
    }
}

fn delete_state(loaded: &Loaded, number: StateNumber) {
    let key = loaded.folder.state(number);
    if let Err(error) = loaded.home.store.delete(&key) {
        tracing::warn!(%key, %error, "an old state of the columnar store could not be deleted");
    }
}

/// Deletes the files that no state names, and none is going to: those of a number that is taken. And states that are left over. Returns the files
/// of a higher number: somebody may be about to name them, until that number is taken.
fn sweep(loaded: &Loaded) -> Result<Vec<FileName>> {
    let named = loaded.snapshot.as_ref().map(|snapshot| &snapshot.files[..]).unwrap_or_default();
    let counts = loaded.snapshot.as_ref().map(|snapshot| snapshot.state.number);
    let (mut orphans, mut attempts, mut older) = (Vec::new(), Vec::new(), Vec::new());
    list(&loaded.home, loaded.folder.prefix(), |key| {
        if let Some(name) = loaded.folder.parse_file(key)
            && !named.iter().any(|file| file.key().as_str() == key)
        {
            if name.generation <= loaded.newest {
                orphans.push(loaded.folder.file(&name));
            } else {
                attempts.push(name);
            }
        }
        older.extend(loaded.folder.parse_state(key).filter(|number| Some(*number) < counts));
    })?;
    if orphans.is_empty() {
        // One before the state that counts stays.
        older.pop();
    }
    // A state that is superseded may name an orphan.
    older.iter().try_for_each(|number| loaded.home.store.delete(&loaded.folder.state(*number)))?;
    orphans.iter().try_for_each(|key| loaded.home.store.delete(key))?;
    Ok(attempts)
}

fn conflict(collection: &CollectionName, key: &str) -> Error {
    let message = format!("another writer changed the collection in the store: collection=`{collection}`, key=`{key}`");
    Error::new(ErrorKind::Conflict, message)
        .with_hint("is this log still the one that writes? then it goes on by itself")
}

fn check_epoch(collection: &CollectionName, cursor: Option<Cursor>, epoch: Epoch) -> Result<()> {
    let there = cursor.map_or(epoch, |cursor| cursor.epoch);
    if there <= epoch {
        return Ok(());
    }
    let message = format!(
        "a newer opening of the log delivers to the store: collection=`{collection}`, its epoch=`{there}`, ours=`{epoch}`"
    );
    Err(Error::new(ErrorKind::Fenced, message))
}

/// The batch is in order and within what it says.
fn check_order(batch: &Batch<'_>, fresh: &[Record]) -> Result<()> {
    let sorted = fresh.is_sorted_by(|one, two| one.sequence < two.sequence);
    if sorted && fresh.last().is_none_or(|last| last.sequence <= batch.through) {
        return Ok(());
    }
    let message = format!("a batch is not in order: collection=`{}`, through=`{}`", batch.collection, batch.through);
    Err(Error::new(ErrorKind::Invalid, message))
}
