//! Opens a log: to write (one at a time, by a lock) or to read beside the writer (A6).
//!
//! Order of opening to write, and why a crash between any two is safe: (1) the lock; (2) directories and identities of a
//! new log, the first directory's last, so that a half-made log is made again (`places`); (3) the catalog; (4) the new epoch, durable
//! in every identity that can be written; (5) recovery examines, asks the archive where it must (`recover::ask`), then acts; (6) each directory's new journal with its OPEN, durable before
//! the first append; (7) what is on record of homes in object stores (`assign::homes`); collections of directories that can only be read move (`moves`), and
//! what lies elsewhere of others is brought home; (8) what came back of recorded losses is sealed; (9) journals in which nothing lives are released.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::budget::Budget;
use super::catalog::choose::{self, Opened};
use super::collection::{Collection, Home};
use super::identity;
use super::options::{LogOptions, SyncMode};
use super::places::{self, Ids, Places};
use super::read::{Companion, standing_of};
use super::recover::act::{Context, act};
use super::recover::ask;
use super::recover::{self, Examination, Looked, Report, Unknown};
use super::{Directory, DirectoryState, Inner, Log, keeper, life, seal};
use crate::catalog::{Catalog, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FileSystem;
use crate::journal::{Committer, Journal, JournalFiles, JournalOptions, PeriodicSync};
use crate::types::{Epoch, LogId};

/// Kept free for sealing and releasing besides a journal and a segment: room for the catalog (D3).
const CATALOG_RESERVE_BYTES: u64 = 16 << 20;

impl Log {
    /// Opens a log to read and write; makes it where its directories are empty or absent.
    ///
    /// # Errors
    /// `Locked` while another process writes to it; `Invalid` for directories that do not belong together; `Corrupt`,
    /// `Unsupported`, or what the disk or the catalog said.
    pub fn open(options: LogOptions) -> Result<Self> {
        #[cfg(any(test, feature = "testing"))]
        let options = crate::testing::without_directory_sync(options);
        let fs = Arc::clone(&options.fs);
        let mut places = places::take(&*fs, &options)?;
        places.first_there(&options)?;
        let log_id = places.newest.log_id(&places.ids[0].1)?;
        let opened = choose::open(&options, &places.ids[0].1, places.first_identity(), true)?;
        let catalog = &*opened.catalog;
        // Before the new epoch is noted.
        places.look_for_unknown(catalog)?;
        places.look_for_returned(catalog, options.clock.now())?;
        let epoch = places.raise_epoch(&*fs, catalog, options.clock.now())?;
        let there = places.ids.iter().enumerate().filter(|(index, _)| !places.is_missing(*index));
        let there: Vec<_> = there.map(|(_, place)| place.clone()).collect();
        life::delete::finish(&*fs, &there, catalog, (log_id, epoch), &*options.clock)?;
        let mut examination = recover(&options, &mut places, (catalog, opened.was_missing), epoch)?;
        examination.report.catalog_was_missing = opened.was_missing;
        let found = std::mem::take(&mut examination.found);
        let returned = places.returned.clone();
        let is_return = returned.contains(&true);
        let inner = build(options, opened, (log_id, epoch), places, true, examination)?;
        let inner = Arc::new(inner);
        inner.begin_belief()?;
        inner.settle_homes()?;
        inner.watch_journals();
        inner.leave_failed()?;
        inner.bring_home()?;
        inner.fill(found)?;
        inner.release_finished();
        if is_return && returned.iter().enumerate().all(|(index, back)| !back || inner.is_rid_of_old(index)) {
            // What it held is copied, sealed, or set aside by now. While a journal of it is left, it is compared again at the next
            // opening: that it is evidence is known only to this one.
            let merged = Mutation::SetMeta { name: recover::RETURNED_DIRECTORIES.into(), value: String::new() };
            inner.apply(&[merged], "merged")?;
        }
        inner.tell_journals_of_periodic(inner.sync_mode());
        if inner.options.background {
            let workers = keeper::Workers::start(&inner).map_err(no_thread)?;
            *inner.workers.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = workers;
        }
        Ok(Self(inner))
    }

    /// Opens a log to read only, beside a writer or without one. What it shows is the state of this moment, and lags
    /// behind a writer by at most its idle MARK.
    ///
    /// # Errors
    /// `NotFound` where there is no log; as [`open`](Self::open) otherwise, but never `Locked`.
    pub fn open_read_only(options: LogOptions) -> Result<Self> {
        let (places, log_id, examination, opened) = look(&options)?;
        build(options, opened, (log_id, Epoch(0)), places, false, examination).map(|inner| Self(Arc::new(inner)))
    }

    /// What recovery would find and do, without doing it.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only).
    pub fn examine(options: &LogOptions) -> Result<Report> {
        look(options).map(|(_, _, examination, _)| examination.report)
    }
}

fn look(options: &LogOptions) -> Result<(Places, LogId, Examination, Opened)> {
    let fs = &*options.fs;
    let mut places = places::existing(options)?;
    places.first_there(options)?;
    let log_id = places.newest.log_id(&places.ids[0].1)?;
    let opened = choose::open(options, &places.ids[0].1, places.first_identity(), false)?;
    loop {
        let examination = examine_beside(fs, &places.ids, &places.states, &*opened.catalog)?;
        if note_unreadable(fs, &mut places, &examination)? {
            continue;
        }
        return Ok((places, log_id, examination, opened));
    }
}

/// Directories that turned out not to be readable, or not writable, though they are there; whether there are any.
fn note_unreadable(fs: &dyn FileSystem, places: &mut Places, examination: &Examination) -> Result<bool> {
    let journals = examination.journals.iter().enumerate();
    let journals = journals.filter_map(|(index, found)| Some((index, found.unlistable.clone()?)));
    let segments = examination.segments.unjudged.iter();
    let segments = segments.filter_map(|unjudged| Some((unjudged.index?, unjudged.reason.clone()?)));
    let unreadable: Vec<(usize, String)> = journals.chain(segments).collect();
    let mut any = false;
    for (index, found) in examination.journals.iter().enumerate() {
        if let Some(why) = &found.unwritable {
            let path = places.ids[index].1.display();
            let message = format!("the journals of a directory cannot be written to: directory=`{path}`, {why}");
            places.fail(index, Error::new(ErrorKind::Unavailable, message))?;
            any = true;
        }
    }
    for (index, why) in unreadable {
        if !places.is_missing(index) {
            let path = places.ids[index].1.display();
            let error =
                Error::new(ErrorKind::Unavailable, format!("a directory cannot be listed: directory=`{path}`, {why}"));
            places.miss(index, error)?;
            any = true;
        }
    }
    for index in 0..places.ids.len() {
        if !places.is_missing(index)
            && let Err(error) = places.still_there(fs, index)
        {
            places.miss(index, error)?;
            any = true;
        }
    }
    Ok(any)
}

/// Examines beside a writer, who may release a journal between our listing and our reading it: then we look again.
pub(super) fn examine_beside(
    fs: &dyn FileSystem,
    directories: &Ids,
    states: &[DirectoryState],
    catalog: &dyn Catalog,
) -> Result<Examination> {
    let mut tries = 0;
    loop {
        let examination = recover::examine(
            fs,
            &Looked {
                directories,
                states,
                writable: false,
                unknown: Unknown::default(),
                returned: &vec![false; directories.len()],
                archived: &BTreeMap::new(),
            },
            catalog,
        )?;
        // Released, it is gone, or holds something else by now; what it held is in segments, or in a cold journal that
        // we did not list.
        let is_gone = |path: &Path| fs.metadata(path).is_err_and(|error| error.is_not_found());
        let vanished = examination.journals.iter().any(|found| {
            found.unreadable.iter().any(|unreadable| is_gone(&unreadable.path))
                || found.journals.iter().any(|journal| !journal.is_itself() && is_gone(&journal.file.path))
        });
        tries += 1;
        if !vanished || tries == 10 {
            return Ok(examination);
        }
    }
}

/// Recovers: examines, then acts. Where a directory turns out to be unreadable, or not to take what must be written, it is looked at
/// anew, without it: acting can be repeated.
fn recover(
    options: &LogOptions,
    places: &mut Places,
    (catalog, was_missing): (&dyn Catalog, bool),
    epoch: Epoch,
) -> Result<Examination> {
    let fs = &*options.fs;
    let (none, mut word): (_, Option<ask::Word>) = (BTreeMap::new(), None);
    loop {
        let (directories, states, unknown) = (&places.ids, &places.states, places.unknown);
        let archived = word.as_ref().map_or(&none, |word| &word.last);
        let looked = Looked { directories, states, writable: true, unknown, returned: &places.returned, archived };
        let mut examination = recover::examine(fs, &looked, catalog)?;
        if note_unreadable(fs, places, &examination)? {
            continue;
        }
        let word = match &word {
            Some(word) => word,
            None => {
                let asked = word.insert(ask::archive(options, catalog, &examination, was_missing)?);
                if !asked.last.is_empty() {
                    continue;
                }
                asked
            }
        };
        examination.report.archive_asked.clone_from(&word.asked);
        for index in 0..places.ids.len() {
            if places.is_writable(index)
                && let Err(error) = clear_staging(fs, &places.ids[index].1)
            {
                places.blame(fs, index, error)?;
            }
        }
        let writable: Vec<bool> = (0..places.ids.len()).map(|index| places.is_writable(index)).collect();
        let now = options.clock.now();
        let at = Cell::new(None);
        let context = Context { fs, directories: &places.ids, writable: &writable, catalog, epoch, now, at: &at };
        match (act(&context, &mut examination), at.take()) {
            (Ok(()), _) => {
                ask::answered(options, catalog, word)?;
                return Ok(examination);
            }
            (Err(error), Some(index)) => places.blame(fs, index, error)?,
            (Err(error), None) => return Err(error),
        }
    }
}

/// Unfinished files of earlier runs are of no use, and hold nothing that is only there.
fn clear_staging(fs: &dyn FileSystem, directory: &Path) -> Result<()> {
    let staging = directory.join(identity::FOLDER).join(seal::STAGING);
    let journals = crate::journal::writer::folder(directory);
    for (folder, prefix) in [(&staging, ""), (&journals, "cold-")] {
        for entry in fs.list(folder)? {
            // What an engine lays beside its file (a lock, a journal) is named after it.
            if entry.name.starts_with(prefix) && (entry.name.ends_with(".tmp") || entry.name.contains(".tmp-")) {
                fs.remove_file(&folder.join(&entry.name))?;
            }
        }
    }
    Ok(())
}

fn no_thread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the system gives no thread").with_source(error)
}

fn build(
    options: LogOptions,
    opened: Opened,
    (log_id, epoch): (LogId, Epoch),
    mut places: Places,
    writable: bool,
    examination: Examination,
) -> Result<Inner> {
    let limits = options.limits;
    let seal_most = if options.sinks.is_empty() { u64::MAX } else { options.flush.bytes };
    let budget = Arc::new(Budget::new(limits.memtable_bytes, limits.unsealed_bytes, limits.segment_bytes, seal_most));
    let change_number = Arc::new(AtomicU64::new(opened.catalog.change_number()?.0));
    let companion =
        (!writable).then(|| Companion::of(&examination.journals, places.ids.iter().map(|(_, path)| path.clone())));
    let mut directories = Vec::new();
    let mut predecessors = Vec::new();
    for found in &examination.journals {
        let hot = found.journals.iter().filter(|journal| journal.file.kind == crate::journal::JournalKind::Hot);
        predecessors.push(hot.map(|journal| (journal.as_predecessor(), Arc::clone(&journal.file))).collect::<Vec<_>>());
    }
    for (index, (found, predecessors)) in examination.journals.iter().zip(predecessors).enumerate() {
        let cold = found.journals.iter().filter(|journal| journal.file.kind == crate::journal::JournalKind::Cold);
        let cold = cold.map(|journal| Arc::clone(&journal.file)).collect();
        let (id, path) = places.ids[index].clone();
        let mut directory = Directory {
            id,
            path,
            state: Mutex::default(),
            journal: None,
            files: None,
            cold: Mutex::new(cold),
            committer: Mutex::default(),
            lock: Mutex::new(places.locks[index].take()),
        };
        if writable && places.is_writable(index) {
            let last_held = found.journals.last().map(|journal| journal.scan.last_held.clone()).unwrap_or_default();
            let started =
                start_journal(&mut directory, &options, (log_id, epoch), &change_number, predecessors, last_held);
            if let Err(error) = started {
                places.fail(index, error)?;
            }
        }
        directory.state = Mutex::new(places.states[index].clone());
        directories.push(directory);
    }
    let now = options.clock.monotonic();
    let mut collections = HashMap::with_capacity(examination.standings.len());
    for (name, standing) in examination.standings {
        let directory = standing.directory;
        let journal = directories[directory].journal.clone();
        let home = Home { directory, journal, epoch: standing.home_epoch, from: standing.home_from };
        let catalogued = standing.catalogued;
        budget.charge(0, standing.merged.unsealed.bytes());
        let opened = standing_of(standing);
        let collection = Collection::new(name.clone(), home, Arc::clone(&budget), opened, now);
        collection.catalogued.store(catalogued, Ordering::Release);
        collections.insert(name, Arc::new(collection));
    }
    for (name, first) in companion.iter().flat_map(Companion::unproven) {
        if let Some(collection) = collections.get(name) {
            collection.lower_durable(first.previous());
        }
    }
    let lives = life::Lives::default();
    life::load(&*opened.catalog, &collections, &lives, companion.is_none())?;
    Ok(Inner {
        placement: super::assign::Placement::of(directories.len(), places.newest.remotes.len(), &collections),
        homes: super::assign::Homes::new(places.newest.remotes),
        fs: Arc::clone(&options.fs),
        clock: Arc::clone(&options.clock),
        catalog: opened.catalog,
        catalog_path: opened.path,
        mirror: opened.mirror,
        change_number,
        log_id,
        epoch,
        directories,
        collections: RwLock::new(collections),
        unintroduced: Mutex::default(),
        lives,
        moved: Mutex::default(),
        newest_epoch: Mutex::new(epoch),
        noted_epoch: AtomicU64::new(epoch.0),
        releasing: Mutex::default(),
        leaving: AtomicU64::new(0),
        budget,
        limits,
        mode: AtomicU8::new(options.sync as u8),
        temporary: AtomicU64::new(0),
        closed: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        footers: super::read::Footers::default(),
        companion: companion.map(Mutex::new),
        uncertain: examination.uncertain,
        appends: AtomicU64::new(0),
        counters: super::figures::Counters::default(),
        told_at_ms: AtomicU64::new(0),
        told_appends: AtomicU64::new(0),
        looked_at_ms: AtomicU64::new(0),
        quiet: Arc::default(),
        report: examination.report,
        leases: super::tier::Leases::default(),
        archiver: super::tier::Seat::default(),
        tier_turn: Mutex::default(),
        compactions: super::compact::Compactions::default(),
        belief: super::compact::Belief::default(),
        sealings: super::tier::Sealings::default(),
        workers: Mutex::default(),
        options,
    })
}

fn start_journal(
    directory: &mut Directory,
    options: &LogOptions,
    (log_id, epoch): (LogId, Epoch),
    change_number: &Arc<AtomicU64>,
    predecessors: Vec<(crate::journal::Predecessor, Arc<crate::journal::JournalFile>)>,
    last_held: Vec<crate::journal::HeldBefore>,
) -> Result<()> {
    let limits = &options.limits;
    let reserve = limits.journal_bytes + limits.segment_bytes + CATALOG_RESERVE_BYTES;
    let folder = crate::journal::writer::folder(&directory.path);
    let files = Arc::new(JournalFiles::open(
        Arc::clone(&options.fs),
        Arc::clone(&options.clock),
        &folder,
        (log_id, epoch),
        (limits.journal_bytes, reserve),
    )?);
    let periodic = if options.sync == SyncMode::Never { PeriodicSync::NEVER } else { options.periodic };
    let journal = Journal::start(JournalOptions {
        files: Arc::clone(&files),
        clock: Arc::clone(&options.clock),
        change_number: Arc::clone(change_number),
        predecessors,
        last_held,
        periodic,
        committer: options.background,
        sabotage: options.sabotage,
    })
    .map_err(|error| {
        let kind = if matches!(error, crate::journal::JournalError::Full(_)) {
            ErrorKind::Full
        } else {
            ErrorKind::Unavailable
        };
        Error::new(kind, format!("cannot begin a journal: directory=`{}`", directory.path.display()))
            .with_source(error)
            .with_hint("reading works without: `cat`, `tail`, `status`")
    })?;
    if options.background {
        let committer = Committer::spawn(journal.clone(), Arc::clone(&options.clock)).map_err(no_thread)?;
        directory.committer = Mutex::new(Some(committer));
    }
    directory.journal = Some(journal);
    directory.files = Some(files);
    Ok(())
}
