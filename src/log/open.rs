//! Opens a log: to write (one at a time, by a lock) or to read beside the writer (A6).
//!
//! Order of opening to write, and why a crash between any two is safe: (1) the lock; (2) directories and identities of a
//! new log, the first directory's last, so that a half-made log is made again; (3) the catalog; (4) the new epoch, durable
//! in every identity; (5) recovery examines, then acts; (6) each directory's new journal with its OPEN, durable before
//! the first append; (7) journals in which nothing lives are released.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::budget::Budget;
use super::catalog::choose::{self, Opened};
use super::collection::{Collection, Home};
use super::identity::{self, Identity};
use super::options::{LogOptions, SyncMode};
use super::read::{Companion, standing_of};
use super::recover::act::{Context, act};
use super::recover::{self, Examination, Report};
use super::{Directory, Inner, Log, keeper, seal};
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, LockGuard, durable};
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
        let (directories, locks, mut identities) = take_directories(&*fs, &options)?;
        let log_id = identities[0].log_id(&directories[0].1)?;
        let opened = choose::open(&options, &directories[0].1, &identities[0], true)?;
        let catalog = &*opened.catalog;
        let epoch = raise_epoch(&*fs, &directories, &mut identities, catalog)?;
        let mut examination = recover::examine(&*fs, &directories, catalog, true)?;
        examination.report.catalog_was_missing = opened.was_missing;
        clear_staging(&*fs, &directories)?;
        let now = options.clock.now();
        let context = Context { fs: &*fs, directories: &directories, catalog, epoch, now };
        act(&context, &mut examination)?;
        let inner = build(options, opened, (log_id, epoch), directories, Some(locks), examination)?;
        let inner = Arc::new(inner);
        inner.release_finished();
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
        let (directories, log_id, examination, opened) = look(&options)?;
        build(options, opened, (log_id, Epoch(0)), directories, None, examination).map(|inner| Self(Arc::new(inner)))
    }

    /// What recovery would find and do, without doing it.
    ///
    /// # Errors
    /// As [`open_read_only`](Self::open_read_only).
    pub fn examine(options: &LogOptions) -> Result<Report> {
        look(options).map(|(_, _, examination, _)| examination.report)
    }
}

pub(super) type Ids = Vec<(String, PathBuf)>;

/// The directories of a log that must be there, and what they say of themselves.
pub(super) fn existing_directories(options: &LogOptions) -> Result<(Ids, Vec<Identity>)> {
    find_directories(&*options.fs, &options.directories)?.ok_or_else(|| {
        let shown = options.directories.first().map_or_else(String::new, |path| path.display().to_string());
        Error::new(ErrorKind::NotFound, format!("no log here: directory=`{shown}`"))
            .with_hint("the first append makes one; or check --data")
    })
}

fn look(options: &LogOptions) -> Result<(Ids, LogId, Examination, Opened)> {
    let fs = &*options.fs;
    let (directories, identities) = existing_directories(options)?;
    let log_id = identities[0].log_id(&directories[0].1)?;
    let opened = choose::open(options, &directories[0].1, &identities[0], false)?;
    let examination = examine_beside(fs, &directories, &*opened.catalog)?;
    Ok((directories, log_id, examination, opened))
}

/// Examines beside a writer, who may release a journal between our listing and our reading it: then we look again.
pub(super) fn examine_beside(fs: &dyn FileSystem, directories: &Ids, catalog: &dyn Catalog) -> Result<Examination> {
    let mut tries = 0;
    loop {
        let examination = recover::examine(fs, directories, catalog, false)?;
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

/// The directories of an existing log, in its own order: those given and their siblings. `None` where none of those
/// given belongs to a log.
fn find_directories(fs: &dyn FileSystem, given: &[PathBuf]) -> Result<Option<(Ids, Vec<Identity>)>> {
    let mut found: HashMap<String, (PathBuf, Identity)> = HashMap::new();
    let mut without = Vec::new();
    for path in given {
        match Identity::read(fs, path)? {
            Some(identity) => {
                found.insert(identity.directory.clone(), (path.clone(), identity));
            }
            None => without.push(path),
        }
    }
    let Some((_, any)) = found.values().next().cloned() else { return Ok(None) };
    // Epoch 0 is of a log that nobody wrote to yet: where directories without an identity stand beside it, its making was
    // interrupted, and it is made again.
    if !without.is_empty() && found.values().all(|(_, identity)| identity.epoch == 0) {
        return Ok(None);
    }
    if let Some(stranger) = found.values().find(|(_, identity)| identity.log != any.log) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "directories of different logs: directory=`{}` is of log=`{}`, not log=`{}`",
                stranger.0.display(),
                stranger.1.log,
                any.log
            ),
        )
        .with_hint("give the directories of one log"));
    }
    if let Some(path) = without.first() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("a directory does not belong to the log: directory=`{}`, log=`{}`", path.display(), any.log),
        )
        .with_hint("an empty mount point? mount it; only creating a log takes new directories"));
    }
    let (mut directories, mut identities) = (Vec::new(), Vec::new());
    for sibling in &any.directories {
        let (path, identity) = match found.remove(&sibling.directory) {
            Some(known) => known,
            None => match Identity::read(fs, &sibling.path)? {
                Some(identity) if identity.directory == sibling.directory => (sibling.path.clone(), identity),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        format!(
                            "a directory of the log is missing: directory=`{}`, id=`{}`",
                            sibling.path.display(),
                            sibling.directory
                        ),
                    )
                    .with_hint("mount it, or give its new place by --data"));
                }
            },
        };
        directories.push((sibling.directory.clone(), path));
        identities.push(identity);
    }
    Ok(Some((directories, identities)))
}

type Locks = Vec<Box<dyn LockGuard>>;

/// Makes or finds the directories, and locks each.
fn take_directories(fs: &dyn FileSystem, options: &LogOptions) -> Result<(Ids, Locks, Vec<Identity>)> {
    choose::check_options(options)?;
    if options.directories.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a log needs at least one directory").with_hint("give --data DIR"));
    }
    if let Some((directories, identities)) = find_directories(fs, &options.directories)? {
        let locks = directories.iter().map(|(_, path)| lock(fs, path)).collect::<Result<Locks>>()?;
        for (_, path) in &directories {
            make_folders(fs, path)?;
        }
        return Ok((directories, locks, identities));
    }
    let engine = choose::of_new_log(options)?;
    for path in &options.directories {
        durable::create_dir_all(fs, path)?;
        durable::create_dir_all(fs, &path.join(identity::FOLDER))?;
    }
    let locks = options.directories.iter().map(|path| lock(fs, path)).collect::<Result<Locks>>()?;
    // Somebody may have made the log while we waited for nothing: look again under the lock.
    if find_directories(fs, &options.directories)?.is_some() {
        drop(locks);
        return take_directories(fs, options);
    }
    let clock = &options.clock;
    let identities = Identity::new_log(&absolute(&options.directories), engine, || clock.random());
    for (path, identity) in options.directories.iter().zip(&identities).rev() {
        make_folders(fs, path)?;
        identity.write(fs, path)?;
    }
    let ids = identities.iter().map(|identity| identity.directory.clone());
    Ok((ids.zip(options.directories.iter().cloned()).collect(), locks, identities))
}

/// Siblings are found from any working directory.
fn absolute(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect()
}

fn make_folders(fs: &dyn FileSystem, directory: &Path) -> Result<()> {
    let own = directory.join(identity::FOLDER);
    durable::create_dir_all(fs, &own)?;
    durable::create_dir_all(fs, &own.join(seal::STAGING))?;
    Ok(durable::create_dir_all(fs, &crate::journal::writer::folder(directory))?)
}

pub(super) fn lock(fs: &dyn FileSystem, directory: &Path) -> Result<Box<dyn LockGuard>> {
    let path = directory.join(identity::FOLDER).join("lock");
    fs.try_lock(&path)?.ok_or_else(|| {
        Error::new(ErrorKind::Locked, format!("another process writes to the log: directory=`{}`", directory.display()))
            .with_hint("wait until it ends, or stop it; reading works beside it")
    })
}

/// Unfinished files of earlier runs are of no use, and hold nothing that is only there.
fn clear_staging(fs: &dyn FileSystem, directories: &Ids) -> Result<()> {
    for (_, path) in directories {
        let staging = path.join(identity::FOLDER).join(seal::STAGING);
        let journals = crate::journal::writer::folder(path);
        for (folder, prefix) in [(&staging, ""), (&journals, "cold-")] {
            for entry in fs.list(folder)? {
                if entry.name.starts_with(prefix) && entry.name.ends_with(".tmp") {
                    fs.remove_file(&folder.join(&entry.name))?;
                }
            }
        }
    }
    Ok(())
}

/// A new epoch, higher than any that an identity or the catalog knows, durable everywhere before it is used.
fn raise_epoch(
    fs: &dyn FileSystem,
    directories: &Ids,
    identities: &mut [Identity],
    catalog: &dyn Catalog,
) -> Result<Epoch> {
    let in_catalog = catalog.meta("epoch")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let epoch = identities.iter().map(|identity| identity.epoch).max().unwrap_or(0).max(in_catalog) + 1;
    let engine = identities[0].catalog;
    for ((_, path), identity) in directories.iter().zip(identities) {
        identity.epoch = epoch;
        identity.catalog = engine;
        identity.write(fs, path)?;
    }
    Ok(Epoch(epoch))
}

fn no_thread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the system gives no thread").with_source(error)
}

fn build(
    options: LogOptions,
    opened: Opened,
    (log_id, epoch): (LogId, Epoch),
    ids: Ids,
    locks: Option<Locks>,
    examination: Examination,
) -> Result<Inner> {
    let limits = options.limits;
    let budget = Arc::new(Budget::new(limits.memtable_bytes, limits.unsealed_bytes, limits.segment_bytes));
    let change_number = Arc::new(AtomicU64::new(opened.catalog.change_number()?.0));
    let companion = match &locks {
        Some(_) => None,
        None => Some(Companion::of(&examination.journals, ids.iter().map(|(_, path)| path.clone()))),
    };
    let mut locks = locks.map(Vec::into_iter);
    let mut directories = Vec::new();
    let mut predecessors = Vec::new();
    for found in &examination.journals {
        let hot = found.journals.iter().filter(|journal| journal.file.kind == crate::journal::JournalKind::Hot);
        predecessors.push(hot.map(|journal| (journal.as_predecessor(), Arc::clone(&journal.file))).collect::<Vec<_>>());
    }
    for (((id, path), found), predecessors) in ids.into_iter().zip(&examination.journals).zip(predecessors) {
        let cold = found.journals.iter().filter(|journal| journal.file.kind == crate::journal::JournalKind::Cold);
        let cold = cold.map(|journal| Arc::clone(&journal.file)).collect();
        let mut directory = Directory {
            id,
            path,
            state: Mutex::default(),
            journal: None,
            files: None,
            cold: Mutex::new(cold),
            committer: Mutex::default(),
            lock: Mutex::default(),
        };
        if let Some(locks) = &mut locks {
            directory.lock = Mutex::new(locks.next());
            let last_held = found.journals.last().map(|journal| journal.scan.last_held.clone()).unwrap_or_default();
            start_journal(&mut directory, &options, (log_id, epoch), &change_number, predecessors, last_held)?;
        }
        directories.push(directory);
    }
    let now = options.clock.monotonic();
    let mut collections = HashMap::with_capacity(examination.standings.len());
    for (name, standing) in examination.standings {
        let directory = standing.directory;
        let home = Home { directory, journal: directories[directory].journal.clone() };
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
    Ok(Inner {
        placement: super::assign::Placement::of(directories.len(), &collections),
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
        budget,
        limits,
        mode: AtomicU8::new(options.sync as u8),
        temporary: AtomicU64::new(0),
        closed: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        footers: super::read::Footers::default(),
        companion: companion.map(Mutex::new),
        appends: AtomicU64::new(0),
        looked_at_ms: AtomicU64::new(0),
        quiet: Arc::default(),
        report: examination.report,
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
