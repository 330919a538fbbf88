//! Following a writer in another process (A6).
//!
//! Owns: what a log that was opened to read knows of the writer's journals, and how it learns of more. Nobody can wake it,
//! so it looks: is the filler still where it was behind the last group? Only where not, that journal is read again. Segments are
//! seen through the catalog at once. What is neither in a segment nor where it was is looked for in all journals anew: it was
//! moved to a cold one.
//!
//! A group counts as written as soon as it is whole, and as durable when a later group, a MARK or a later journal proves its sync
//! (J5, D2): so a tail lags by at most the idle MARK.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::super::collection::{Collection, Home, Standing};
use super::super::recover::journals::{FoundJournals, chain};
use super::super::recover::{self, Examination};
use super::super::{Inner, Log, life, open};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, FsResult, OpenMode};
use crate::journal::file::{JOURNAL_FOLDER, file_name, parse_file_name};
use crate::journal::{self, JournalFile, JournalKind, JournalNumber, Predecessor, Scan, ScanError, Tail, group};
use crate::memtable::Run;
use crate::types::{CollectionName, Sequence};

/// Enough to decode a filler's header.
const PROBE_BYTES: u64 = 64;
/// So many journals may be gone before everything is looked at anew, so that their files are let go.
const GONE_MAX: usize = 8;
/// A torn tail that stays as it is, is read again ever more rarely: after so many looks at most.
const PATIENCE_MAX: u32 = 64;

/// What is known of the writer's journals.
#[derive(Debug, Default)]
pub(in crate::log) struct Companion {
    places: Vec<Followed>,
}

/// The journals of one directory.
#[derive(Debug)]
struct Followed {
    folder: PathBuf,
    /// Those that may still grow, oldest first.
    open: Vec<OpenJournal>,
    /// All hot ones that were ever seen.
    known: BTreeSet<JournalNumber>,
    /// How many of those are there no more.
    gone: usize,
}

#[derive(Debug)]
struct OpenJournal {
    file: Arc<JournalFile>,
    /// Where the last group ends.
    end: u64,
    groups: u64,
    torn: bool,
    /// How many looks to leave out, and how many were.
    patience: (u32, u32),
    /// Runs that no sync is known of yet: whose, which, and where they end.
    unproven: Vec<(CollectionName, Sequence, Sequence, u64)>,
}

/// A journal as it was just read.
struct Look {
    journal: OpenJournal,
    scan: Option<Scan>,
}

impl Companion {
    /// Begins behind what an examination found.
    pub fn of(journals: &[FoundJournals], directories: impl Iterator<Item = PathBuf>) -> Self {
        let places = journals.iter().zip(directories).map(|(found, directory)| {
            let hot: Vec<_> = found.journals.iter().filter(|journal| journal.file.kind == JournalKind::Hot).collect();
            let first_open = hot.iter().rposition(|journal| journal.scan.groups > 0).unwrap_or(0);
            Followed {
                folder: directory.join(JOURNAL_FOLDER),
                known: hot.iter().map(|journal| journal.file.journal).collect(),
                gone: 0,
                open: hot[first_open.min(hot.len())..]
                    .iter()
                    .map(|journal| {
                        let mut open = OpenJournal::new(Arc::clone(&journal.file));
                        open.note(&journal.scan);
                        open
                    })
                    .collect(),
            }
        });
        Self { places: places.collect() }
    }

    /// The lowest sequence of each collection whose sync nothing proves.
    pub fn unproven(&self) -> impl Iterator<Item = (&CollectionName, Sequence)> {
        let open = self.places.iter().flat_map(|place| &place.open);
        open.flat_map(|journal| &journal.unproven).map(|(name, first, ..)| (name, *first))
    }

    /// Looks for more; whether there was anything.
    fn look(&mut self, log: &Inner) -> Result<bool> {
        let mut news = false;
        for (directory, place) in self.places.iter_mut().enumerate() {
            news |= place.look(log, directory)?;
        }
        Ok(news)
    }
}

impl OpenJournal {
    fn new(file: Arc<JournalFile>) -> Self {
        Self { file, end: 0, groups: 0, torn: false, patience: (0, 0), unproven: Vec::new() }
    }

    fn note(&mut self, scan: &Scan) {
        let torn = matches!(scan.tail, Tail::Torn { .. });
        let stuck = torn && self.torn && self.end == scan.end;
        self.patience = if stuck { ((self.patience.0 * 2).clamp(1, PATIENCE_MAX), 0) } else { (0, 0) };
        for run in scan.runs.iter().filter(|run| run.offset >= self.end) {
            let end = run.offset + run.bytes;
            let last = Sequence(run.first.0 + run.count - 1);
            self.unproven.push((run.collection.clone(), run.first, last, end));
        }
        self.unproven.retain(|(.., end)| *end > scan.durable_to);
        (self.end, self.groups, self.torn) = (scan.end, scan.groups, torn);
    }

    /// Whether anything stands where the filler was.
    fn has_grown(&mut self) -> FsResult<bool> {
        if self.torn && self.patience.1 < self.patience.0 {
            self.patience.1 += 1;
            return Ok(false);
        }
        let len = self.file.file().len()?;
        if len <= self.end {
            return Ok(false);
        }
        let mut probe = vec![0; PROBE_BYTES.min(len - self.end) as usize];
        self.file.file().read_exact_at(&mut probe, self.end)?;
        Ok(self.torn || group::decode_pad(&probe, self.file.file_id) != Some(len - self.end))
    }
}

impl Followed {
    fn look(&mut self, log: &Inner, directory: usize) -> Result<bool> {
        let listed: BTreeSet<JournalNumber> = log
            .fs
            .list(&self.folder)?
            .iter()
            .filter_map(|entry| parse_file_name(&entry.name))
            .filter_map(|(kind, number)| (kind == JournalKind::Hot).then_some(number))
            .collect();
        self.gone = self.known.difference(&listed).count();
        let mut looks = Vec::new();
        for mut journal in std::mem::take(&mut self.open) {
            // Released: what it held is in segments, or in a cold journal, and durable.
            let gone = !listed.contains(&journal.file.journal);
            let scan = match if gone { Ok(false) } else { journal.has_grown() } {
                Ok(true) => read_journal(&journal.file, None)?,
                _ => None,
            };
            looks.push(Look { journal, scan });
        }
        let newest = self.known.last().copied();
        for &number in listed.iter().filter(|&&number| newest.is_none_or(|newest| number > newest)) {
            if let Some(look) = open_journal(&*log.fs, &self.folder, number)? {
                self.known.insert(number);
                looks.push(look);
            }
        }
        judge_by_the_next(&mut looks)?;
        let last_written =
            looks.iter().rposition(|look| look.scan.as_ref().map_or(look.journal.groups, |scan| scan.groups) > 0);
        let mut news = false;
        for (index, mut look) in looks.into_iter().enumerate() {
            let finished = last_written.is_some_and(|last| index < last);
            let gone = !listed.contains(&look.journal.file.journal);
            news |= look.take(log, directory, finished || gone)?;
            if !finished && !gone {
                self.open.push(look.journal);
            }
        }
        Ok(news)
    }
}

/// A journal that ended while we looked may have got groups after we read it: the OPEN behind it tells where it ends.
fn judge_by_the_next(looks: &mut [Look]) -> Result<()> {
    for index in 0..looks.len() {
        let (before, rest) = looks.split_at_mut(index);
        let Some(open) = rest[0].scan.as_ref().and_then(|scan| scan.open.as_ref()) else { continue };
        for look in before {
            let judged = open.predecessors.iter().find(|judged| judged.file_id == look.journal.file.file_id);
            let end = look.scan.as_ref().map_or(look.journal.end, |scan| scan.end);
            if let Some(judged) = judged.filter(|judged| judged.end != end) {
                look.scan = read_journal(&look.journal.file, Some(judged))?;
            }
        }
    }
    Ok(())
}

fn open_journal(fs: &dyn FileSystem, folder: &std::path::Path, number: JournalNumber) -> Result<Option<Look>> {
    let path = folder.join(file_name(JournalKind::Hot, number));
    let handle = match fs.open(&path, OpenMode::Read) {
        Ok(handle) => handle,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut probe = vec![0; 4096];
    let header = handle.read_exact_at(&mut probe, 0).ok().and_then(|()| journal::JournalHeader::decode(&probe).ok());
    // Freed between our listing and our reading it, else it has a header.
    let Some(header) = header.filter(|header| header.journal == number) else { return Ok(None) };
    let file = Arc::new(JournalFile::new(JournalKind::Hot, number, header.file_id, &path, handle));
    let scan = read_journal(&file, None)?;
    Ok(scan.map(|scan| Look { journal: OpenJournal::new(file), scan: Some(scan) }))
}

/// Reads a journal; `None` where it is no longer the one it was.
fn read_journal(file: &JournalFile, judged: Option<&Predecessor>) -> Result<Option<Scan>> {
    match journal::scan(&**file.file(), judged) {
        Ok(scan) => Ok(scan.header.as_ref().is_some_and(|header| header.file_id == file.file_id).then_some(scan)),
        Err(ScanError::Fs(error)) if error.source.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(Error::new(
            ErrorKind::Unavailable,
            format!("a journal cannot be read: path=`{}`: {}", file.path.display(), chain(&error)),
        )),
    }
}

impl Look {
    /// Hands what is new to the collections. `finished`: a later journal proves that this one was synced whole.
    fn take(&mut self, log: &Inner, directory: usize, finished: bool) -> Result<bool> {
        let mut news = false;
        let before = std::mem::take(&mut self.journal.unproven);
        if let Some(scan) = &self.scan {
            let runs = scan.runs.iter().filter(|run| run.offset >= self.journal.end);
            for run in runs {
                let collection = log.foreign_collection(&run.collection, directory);
                let file = Arc::clone(&self.journal.file);
                news |= collection.take_foreign(Run::on_disk(run.first, run.count, run.bytes, file, run.offset))?;
            }
            let end = self.journal.end;
            self.journal.unproven.clone_from(&before);
            self.journal.note(scan);
            let durable = |run_end: u64| finished || run_end <= scan.durable_to;
            for run in scan.runs.iter().filter(|run| run.offset >= end && durable(run.offset + run.bytes)) {
                news |= log.raise_foreign(&run.collection, Sequence(run.first.0 + run.count - 1));
            }
            for (name, _, last, _) in before.iter().filter(|(.., run_end)| durable(*run_end)) {
                news |= log.raise_foreign(name, *last);
            }
        } else if finished {
            for (name, _, last, _) in &before {
                news |= log.raise_foreign(name, *last);
            }
        } else {
            self.journal.unproven = before;
        }
        Ok(news)
    }
}

impl Log {
    /// Looks whether a writer in another process wrote more; whether it did. Wakes readers that follow. Does nothing for a log that
    /// writes itself. Cheap where nothing is new: one listing and one small read for each directory.
    ///
    /// # Errors
    /// What the disk or the catalog said; what was known stays.
    pub fn refresh(&self) -> Result<bool> {
        self.0.refresh()
    }
}

impl Inner {
    fn companion(&self) -> Option<MutexGuard<'_, Companion>> {
        self.companion.as_ref().map(|companion| companion.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn refresh(&self) -> Result<bool> {
        let Some(mut companion) = self.companion() else { return Ok(false) };
        let news = companion.look(self)?;
        let gone: usize = companion.places.iter().map(|place| place.gone).sum();
        if gone > GONE_MAX {
            self.look_anew(&mut companion)?;
        }
        Ok(news)
    }

    /// Looks at everything anew: a record is not where it was, and in no segment.
    pub(in crate::log) fn relook(&self) -> Result<()> {
        match self.companion() {
            Some(mut companion) => self.look_anew(&mut companion),
            None => Ok(()),
        }
    }

    fn look_anew(&self, companion: &mut Companion) -> Result<()> {
        let ids: Vec<_> =
            self.directories.iter().map(|directory| (directory.id.clone(), directory.path.clone())).collect();
        let states: Vec<_> = self.directories.iter().map(super::super::Directory::state).collect();
        let examination: Examination = open::examine_beside(&*self.fs, &ids, &states, &*self.catalog)?;
        *companion = Companion::of(&examination.journals, ids.into_iter().map(|(_, path)| path));
        let mut unproven = std::collections::HashMap::new();
        for (name, first) in companion.unproven() {
            let lowest = unproven.entry(name.clone()).or_insert(first);
            *lowest = first.min(*lowest);
        }
        for (name, found) in examination.standings {
            let collection = self.foreign_collection(&name, found.directory);
            let standing = standing_of(found);
            let last = standing.last;
            let durable = unproven.get(&name).map_or(last, |first| first.previous().min(last));
            collection.replace(standing, durable);
        }
        life::load(&*self.catalog, &self.collections(), &self.lives, false)
    }

    fn foreign_collection(&self, name: &CollectionName, directory: usize) -> Arc<Collection> {
        if let Some(known) = self.collections().get(name) {
            return Arc::clone(known);
        }
        let budget = Arc::clone(&self.budget);
        let made = Arc::new(Collection::new(
            name.clone(),
            Home { directory, journal: None, epoch: self.epoch, from: Sequence::FIRST },
            budget,
            Standing::empty(),
            &*self.clock,
        ));
        let mut collections = self.collections.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(collections.entry(name.clone()).or_insert(made))
    }

    fn raise_foreign(&self, name: &CollectionName, last: Sequence) -> bool {
        use crate::journal::Member as _;
        let Some(collection) = self.collections().get(name).map(Arc::clone) else { return false };
        let before = collection.state().durable;
        collection.durable(last);
        before < last
    }
}

/// An examination's word on a collection, as a collection takes it.
pub(in crate::log) fn standing_of(found: recover::Standing) -> Standing {
    Standing {
        last: found.merged.last,
        floor: found.known.floor,
        sealed_through: found.known.sealed_through,
        unsealed: found.merged.unsealed,
        unknown_end: found.refuses.clone().filter(|_| found.is_end_unknown),
        refuses: found.refuses,
    }
}
