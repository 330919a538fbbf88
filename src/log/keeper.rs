//! The log's own work behind the writers: sealing, cooling, releasing, preparing journals.
//!
//! Owns: when that work is due. Two threads a log, whatever the number of collections (R5), and a third where compaction runs by itself: one seals and
//! releases, one prepares journals, so that a long seal does not make a rotation wait for zeros. Neither is asked on the way of an append, but
//! woken by it; both sleep while nothing is appended.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::budget::Relief;
use super::collection::Collection;
use super::compact::BackgroundCompaction;
use super::recover::act::{self, Context};
use super::{Directory, Inner, recover};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::JournalFile;

/// How long a worker waits before it looks again, while there are appends.
const BUSY: Duration = Duration::from_millis(10);
/// How often every collection's age is looked at without pressure, in milliseconds.
const LOOK_MS: u64 = 1000;
/// How often the figures of appends are told to other processes, in milliseconds.
const TELL_MS: u64 = 2000;
/// How long it sleeps at most without any: only records' ages need it then.
const QUIET: Duration = Duration::from_secs(60);
/// Collections introduced to the catalog, or sealed by age, in one go.
const GROUP: usize = 1000;
/// A cold journal is not made longer than this.
const COLD_BYTES_MAX: u64 = 64 << 20;

/// The threads of a log.
#[derive(Debug, Default)]
pub(super) struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
    quiet: Arc<AtomicBool>,
}

impl Workers {
    /// Starts the threads. They hold no strong reference: the log closes when its last clone goes.
    pub fn start(log: &Arc<Inner>) -> std::io::Result<Self> {
        let mut workers = Self::default();
        workers.spawn("icecore-keep", Arc::downgrade(log), |log| {
            let before = log.newest_epoch();
            match log.keep() {
                Ok(()) => log.budget.unstick(),
                Err(error) => {
                    let why = recover::journals::chain(&error);
                    tracing::warn!(error = why, "sealing or releasing failed");
                    // What lives in a directory that is being left is sealed where it goes: the next look finds it there.
                    if !log.is_leaving() && log.newest_epoch() == before {
                        log.budget.stick(why);
                    }
                }
            }
            log.tell_now_and_then();
            log.budget.is_pressing()
        })?;
        workers.spawn("icecore-prepare", Arc::downgrade(log), |log| {
            log.prepare_journals();
            false
        })?;
        if let Some(settings) = log.options.compact_in_background {
            workers.spawn_compaction(Arc::downgrade(log), settings)?;
        }
        Ok(workers)
    }

    /// Sleeps until a compaction is due; appends do not wake it.
    fn spawn_compaction(&mut self, log: Weak<Inner>, settings: BackgroundCompaction) -> std::io::Result<()> {
        let signal = Arc::new(Signal::default());
        let for_thread = Arc::clone(&signal);
        let thread = std::thread::Builder::new().name("icecore-compact".into()).spawn(move || {
            let mut is_first = true;
            loop {
                let Some(wait) = log.upgrade().map(|log| log.compaction_wait(&settings, is_first)) else { return };
                is_first = false;
                if !for_thread.rest(wait) {
                    return;
                }
                let Some(log) = log.upgrade() else { return };
                // It slept for as long as it looks ahead, or the clock was set.
                if log.compaction_wait(&settings, false).is_zero() {
                    log.compact_by_itself(&settings);
                }
            }
        })?;
        self.0.push(Worker { signal, thread: Some(thread) });
        Ok(())
    }

    fn spawn(
        &mut self,
        name: &str,
        log: Weak<Inner>,
        tick: impl Fn(&Inner) -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        let quiet = log.upgrade().map(|log| Arc::clone(&log.quiet)).unwrap_or_default();
        let signal = Arc::new(Signal { quiet, ..Signal::default() });
        let for_thread = Arc::clone(&signal);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let mut seen = 0;
            loop {
                let Some(log) = log.upgrade() else { return };
                let pressing = tick(&log);
                let appends = log.appends.load(Ordering::Relaxed);
                let busy = pressing || appends != seen;
                seen = appends;
                drop(log);
                if !for_thread.wait(busy) {
                    return;
                }
            }
        })?;
        self.0.push(Worker { signal, thread: Some(thread) });
        Ok(())
    }

    /// Wakes the threads where they sleep.
    pub fn wake(&self) {
        for worker in &self.0 {
            worker.signal.kick();
        }
    }

    /// Ends the threads, and waits for them.
    pub fn stop(&mut self) {
        for worker in &self.0 {
            worker.signal.lock().1 = true;
            worker.signal.changed.notify_all();
        }
        let own = std::thread::current().id();
        for worker in &mut self.0 {
            if let Some(thread) = worker.thread.take()
                && thread.thread().id() != own
                && thread.join().is_err()
            {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Signal {
    fn lock(&self) -> std::sync::MutexGuard<'_, (bool, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kick(&self) {
        self.lock().0 = true;
        self.changed.notify_all();
    }

    /// Waits, and does not wake for anything but the end; whether to go on.
    fn rest(&self, wait: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, wait, |(_, stop)| !*stop);
        !waited.unwrap_or_else(PoisonError::into_inner).0.1
    }

    /// Waits for the next look; whether there is one.
    fn wait(&self, busy: bool) -> bool {
        let state = self.lock();
        if !busy {
            self.quiet.store(true, Ordering::SeqCst);
        }
        let wait = if busy { BUSY } else { QUIET };
        let mut state = self
            .changed
            .wait_timeout_while(state, wait, |(kicked, stop)| !*kicked && !*stop)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        state.0 = false;
        !state.1
    }
}

impl Inner {
    /// Asks for sealing, because a writer has to wait.
    pub(super) fn relieve(&self) -> Relief {
        if self.options.background {
            self.workers.lock().unwrap_or_else(PoisonError::into_inner).wake();
            return Relief::Asked;
        }
        let before = self.budget.used();
        match self.maintain() {
            Ok(()) if self.budget.used() != before => Relief::Given,
            Ok(()) => Relief::None,
            Err(error) => {
                tracing::warn!(error = recover::journals::chain(&error), "sealing failed");
                Relief::None
            }
        }
    }

    /// Wakes the threads, where the first append after a quiet time finds them asleep.
    pub(super) fn stir(&self) {
        if self.quiet.load(Ordering::Relaxed) && self.quiet.swap(false, Ordering::SeqCst) {
            self.workers.lock().unwrap_or_else(PoisonError::into_inner).wake();
        }
    }

    /// What a worker does each time it looks. Every collection is looked at only where one has become large, under
    /// pressure, or now and then.
    fn keep(&self) -> Result<()> {
        let now_ms = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let is_time = now_ms.saturating_sub(self.looked_at_ms.load(Ordering::Relaxed)) >= LOOK_MS;
        let look = self.budget.take_large() || self.budget.is_pressing() || self.is_flush_due() || is_time;
        if look {
            self.looked_at_ms.store(now_ms, Ordering::Relaxed);
        }
        self.look_after(look)
    }

    /// Whether so much is unsealed in all collections that sinks should have it.
    fn is_flush_due(&self) -> bool {
        !self.options.sinks.is_empty() && self.budget.used().1 >= self.options.flush.total_bytes
    }

    /// Tells other processes how appends go, while there are some.
    fn tell_now_and_then(&self) {
        let now_ms = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let appends = self.appends.load(Ordering::Relaxed);
        let is_time = now_ms.saturating_sub(self.told_at_ms.load(Ordering::Relaxed)) >= TELL_MS;
        if is_time && appends != self.told_appends.swap(appends, Ordering::Relaxed) {
            self.told_at_ms.store(now_ms, Ordering::Relaxed);
            self.tell_append_figures();
        }
    }

    /// Does everything that is due.
    pub(super) fn maintain(&self) -> Result<()> {
        self.look_after(true)
    }

    fn look_after(&self, look_at_collections: bool) -> Result<()> {
        self.note_moves()?;
        self.introduce_new()?;
        if look_at_collections {
            self.seal_due()?;
        }
        self.relieve_journals()?;
        self.rewrite_cold()?;
        self.release_finished();
        self.keep_belief();
        Ok(())
    }

    /// Tells the catalog of new collections, many in one transaction.
    pub(super) fn introduce_new(&self) -> Result<()> {
        self.note_revived()?;
        loop {
            let some: Vec<Arc<Collection>> = {
                let mut waiting = self.unintroduced.lock().unwrap_or_else(PoisonError::into_inner);
                let from = waiting.len().saturating_sub(GROUP);
                waiting.split_off(from)
            };
            if some.is_empty() {
                return Ok(());
            }
            let news = || -> Result<()> {
                // All in one write; each alone would cost a sync.
                self.record_homes(some.iter().map(|collection| &**collection))?;
                let mut mutations = Vec::new();
                for collection in &some {
                    mutations.extend(self.introduce(collection)?);
                }
                self.apply(&mutations, "first append").map(drop)
            };
            if let Err(error) = news() {
                self.unintroduced.lock().unwrap_or_else(PoisonError::into_inner).extend(some);
                return Err(error);
            }
            for collection in some {
                collection.catalogued.store(true, Ordering::Release);
            }
        }
    }

    /// Seals what has reached its size or age; under pressure, the largest first, and then cools the small remainders.
    fn seal_due(&self) -> Result<()> {
        let pressing = self.budget.is_pressing();
        // The largest, until it is half.
        let mut to_flush = if self.is_flush_due() {
            self.budget.used().1.saturating_sub(self.options.flush.total_bytes / 2)
        } else {
            0
        };
        let now = self.clock.monotonic();
        let mut due = Vec::new();
        let working: Vec<bool> = self.directories.iter().map(Directory::is_working).collect();
        for collection in self.collections().values() {
            let state = collection.state();
            if !working[state.home.directory] {
                // What could not be moved waits for its directory.
                continue;
            }
            let age = self.seal_at_age(collection);
            let old = state.unsealed_since.is_some_and(|since| now.saturating_sub(since) >= age);
            let bytes = state.unsealed.bytes();
            let large = bytes >= self.seal_at_bytes(collection);
            if bytes > 0 && (old || large || pressing || to_flush > 0) {
                due.push((bytes, old || large, state.unsealed.memory_bytes() > 0, Arc::clone(collection)));
            }
        }
        due.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.3.name().cmp(other.3.name())));
        let mut small: Vec<Vec<Arc<Collection>>> = vec![Vec::new(); self.directories.len()];
        if !due.is_empty() {
            self.sync_all()?;
        }
        for (bytes, must, in_memory, collection) in due {
            let must = must || to_flush > 0;
            to_flush = to_flush.saturating_sub(bytes);
            let still = self.budget.is_pressing();
            if must || (still && bytes >= self.options.cold_bytes) {
                self.seal_or_suspect(&collection)?;
            } else if still && in_memory {
                small[collection.directory()].push(collection);
            } else if still && self.budget.is_unsealed_pressing() {
                // Cold or not, it counts as unsealed: only a segment helps.
                self.seal_or_suspect(&collection)?;
            }
        }
        self.cool_in_files(&small)
    }

    /// Seals a collection. Where that fails, its directory is looked at: a failed one is left, and the collection is sealed where it
    /// lives then.
    pub(super) fn seal_or_suspect(&self, collection: &Collection) -> Result<u64> {
        let directory = collection.directory();
        let sealed = self.seal_collection(collection);
        let Err(error) = &sealed else { return sealed };
        self.suspect(directory, error);
        if collection.directory() == directory { sealed } else { self.seal_collection(collection) }
    }

    /// Syncs every journal that takes appends. Where one fails, and its collections are moved, the others are synced
    /// again, with what came to them.
    pub(super) fn sync_all(&self) -> Result<()> {
        for _ in 0..self.directories.len() {
            let mut again = false;
            for directory in &self.directories {
                let Some(journal) = directory.working_journal() else { continue };
                let Err(error) = journal.sync() else { continue };
                let path = directory.path.display();
                tracing::warn!(%error, directory = %path, "a journal could not be synced");
                again = true;
                if directory.is_working() {
                    let message = format!("cannot sync the journal: directory=`{path}`");
                    return Err(Error::new(ErrorKind::Unavailable, message).with_source(error));
                }
                self.check_left(directory)?;
            }
            if !again {
                break;
            }
        }
        Ok(())
    }

    /// Whether a directory that takes no appends any more has no collection left that could have something unsynced there.
    pub(super) fn check_left(&self, directory: &Directory) -> Result<()> {
        if directory.is_working() {
            return Ok(());
        }
        let index = self.directories.iter().position(|known| known.id == directory.id);
        let all = self.collections();
        if all.values().all(|collection| Some(collection.directory()) != index) {
            return Ok(());
        }
        let why = directory.state().reason().unwrap_or_default().to_owned();
        let message = format!("a directory cannot be synced: directory=`{}`, why=`{why}`", directory.path.display());
        Err(Error::new(ErrorKind::Unavailable, message).with_hint("check the disk, then reopen the log"))
    }

    fn cool_in_files(&self, small: &[Vec<Arc<Collection>>]) -> Result<()> {
        for (directory, collections) in small.iter().enumerate() {
            let mut rest = &collections[..];
            while !rest.is_empty() {
                let mut bytes = 0;
                let count = rest
                    .iter()
                    .take_while(|collection| {
                        let room = bytes < COLD_BYTES_MAX;
                        bytes += collection.state().unsealed.bytes();
                        room
                    })
                    .count()
                    .max(1);
                self.cool(directory, &rest[..count]).inspect_err(|error| self.suspect(directory, error))?;
                rest = &rest[count..];
            }
        }
        Ok(())
    }

    /// Where journals pile up, the oldest is emptied: no collection, however quiet, keeps one for ever.
    fn relieve_journals(&self) -> Result<()> {
        for (index, directory) in self.directories.iter().enumerate() {
            let Some(journal) = directory.working_journal() else { continue };
            let finished: Vec<_> = journal.finished().into_iter().filter(|file| file.live_runs() > 0).collect();
            let most = (self.options.limits.unsealed_bytes / 2 / self.options.limits.journal_bytes).max(2);
            let Some(excess) = (finished.len() as u64).checked_sub(most).filter(|&excess| excess > 0) else { continue };
            for file in finished.iter().take(excess as usize) {
                self.empty(index, file)?;
            }
        }
        Ok(())
    }

    /// A cold journal that is less than half live is written anew (R2).
    fn rewrite_cold(&self) -> Result<()> {
        for (index, directory) in self.directories.iter().enumerate().filter(|(_, directory)| directory.is_working()) {
            let dying: Vec<_> = directory
                .cold()
                .iter()
                .filter(|file| file.live_runs() > 0 && file.live_bytes() < file.run_bytes() / 2)
                .map(Arc::clone)
                .collect();
            for file in dying {
                self.empty(index, &file)?;
            }
        }
        Ok(())
    }

    /// Moves everything that lives in a journal elsewhere: large parts to segments, small ones to a cold journal.
    fn empty(&self, directory: usize, file: &JournalFile) -> Result<()> {
        let mut small = Vec::new();
        for collection in self.all_collections() {
            let bytes = {
                let state = collection.state();
                let lives = state.unsealed.runs().any(|run| run.file.file_id == file.file_id);
                if lives { state.unsealed.bytes() } else { 0 }
            };
            if bytes >= self.options.cold_bytes {
                self.seal_or_suspect(&collection)?;
            } else if bytes > 0 {
                small.push(collection);
            }
        }
        let mut by_directory: Vec<Vec<Arc<Collection>>> = vec![Vec::new(); self.directories.len()];
        by_directory[directory] = small;
        self.cool_in_files(&by_directory)
    }

    /// Whether no journal of earlier runs is left in a directory.
    pub(super) fn is_rid_of_old(&self, index: usize) -> bool {
        let directory = &self.directories[index];
        directory.working_journal().is_some_and(|journal| journal.finished().is_empty()) && directory.cold().is_empty()
    }

    /// Gives back the journals in which nothing lives any more (R1).
    pub(super) fn release_finished(&self) {
        let _turn = self.releasing.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, directory) in self.directories.iter().enumerate() {
            let Some(journal) = directory.working_journal() else { continue };
            for file in journal.finished() {
                if file.is_releasable() && self.release(index, &file) {
                    journal.forget(&file);
                }
            }
            let mut cold = directory.cold();
            cold.retain(|file| !(file.is_releasable() && self.release(index, file)));
        }
    }

    fn release(&self, index: usize, file: &JournalFile) -> bool {
        let Some(files) = &self.directories[index].files else { return false };
        let released =
            if file.is_damaged() { self.set_aside(index, &file.path) } else { files.free(file).map_err(Into::into) };
        match released {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, path = %file.path.display(), "a journal could not be released; it is tried again");
                false
            }
        }
    }

    /// Moves a file to its directory's quarantine; absent is fine.
    pub(super) fn set_aside(&self, index: usize, path: &Path) -> Result<()> {
        let directories: Vec<_> =
            self.directories.iter().map(|directory| (directory.id.clone(), directory.path.clone())).collect();
        let context = Context {
            fs: &*self.fs,
            directories: &directories,
            writable: &vec![true; directories.len()],
            catalog: &*self.catalog,
            epoch: self.epoch,
            now: self.clock.now(),
            at: &std::cell::Cell::new(None),
        };
        act::set_aside(&context, index, path)
    }

    /// Lays a journal ready where the active one is half full.
    fn prepare_journals(&self) {
        for directory in &self.directories {
            if let (Some(journal), Some(files)) = (directory.working_journal(), &directory.files)
                && journal.is_half_full()
                && let Err(error) = files.prepare()
            {
                // Appends that need it will make one themselves, or be told why not.
                tracing::debug!(%error, "no journal could be prepared");
            }
        }
    }

    pub(super) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).stop();
        self.sealings.wake();
        // A compaction of somebody else's thread puts nothing in force behind this.
        drop(self.compactions.commit());
        let mut outcome =
            if self.is_writable() { self.note_moves().and_then(|()| self.introduce_new()) } else { Ok(()) };
        if self.is_writable() {
            outcome = outcome.and_then(|()| self.note_all_known());
        }
        let mut settled = vec![true; self.directories.len()];
        for (index, directory) in self.directories.iter().enumerate() {
            drop(directory.committer.lock().unwrap_or_else(PoisonError::into_inner).take());
            if let Some(journal) = &directory.journal
                && let Err(error) = journal.close()
                // Of a directory that failed and was left, nothing is needed any more.
                && (directory.is_working() || self.check_left(directory).is_err())
            {
                let message =
                    format!("cannot close the journal in good order: directory=`{}`", directory.path.display());
                outcome = outcome.and(Err(Error::new(ErrorKind::Unavailable, message).with_source(error)));
                settled[index] = false;
            }
            if let Some(files) = &directory.files {
                for ready in files.drain_ready() {
                    // Prepared and never used.
                    let _ = files.free(&ready.file);
                }
            }
        }
        if self.options.background && self.is_writable() {
            self.tell_append_figures();
        }
        // The locks keep others from the mirror too.
        self.mirror.stop();
        for directory in &self.directories {
            directory.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        if self.is_writable() {
            for collection in self.collections().values().filter(|collection| settled[collection.directory()]) {
                collection.settle();
            }
        }
        // Before everybody is woken: whoever begins to wait later sees it (`read::follow`).
        self.ended.store(true, Ordering::SeqCst);
        for collection in self.collections().values() {
            collection.wake_all();
        }
        outcome
    }

    pub(super) fn is_writable(&self) -> bool {
        self.directories.iter().any(|directory| directory.journal.is_some())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the log was not closed in good order");
        }
    }
}
