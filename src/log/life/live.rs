//! What the running log knows of each collection's life: its settings, and whether it is there.
//!
//! Owns: some atomics for each collection, so that neither an append nor the keeper asks the catalog, or waits for anybody, to
//! know them. The catalog is the truth; these follow it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::options::SyncMode;
use super::super::{Collection, Inner};
use super::settings::{CollectionSettings, SYNC, Stored};
use crate::catalog::{Catalog, CollectionRow, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::PeriodicSync;
use crate::types::{CollectionName, Sequence, Timestamp};

/// Rows read at once.
const PAGE_ROWS: usize = 4096;

/// No setting of its own.
const LOGS_OWN: u8 = 0;
/// One that this program does not know.
const UNKNOWN: u8 = u8::MAX;

const LIVE: u8 = 0;
const DELETED: u8 = 1;
/// Being created, or its creation failed: nobody sees it.
const UNMADE: u8 = 2;

/// One collection's.
#[derive(Debug, Default)]
pub(in crate::log) struct Life {
    sync: AtomicU8,
    /// Zero for the log's.
    seal_bytes: AtomicU64,
    /// Zero for the log's.
    seal_age_ms: AtomicU64,
    /// Zero for any.
    vector_dimensions: AtomicU32,
    /// Changed under the collection's lock only.
    presence: AtomicU8,
    deleted_at: AtomicI64,
}

/// What all collections' lives share.
#[derive(Debug, Default)]
pub(in crate::log) struct Lives {
    /// Held while settings are read, changed and written back, while a collection is made, deleted or made live again. Taken behind a claim
    /// on a collection, never before one.
    turn: Mutex<()>,
    /// Live again, or made by an append while their creation failed; the catalog does not know yet.
    revived: Mutex<Vec<Arc<Collection>>>,
    /// Some collection asked for mode `periodic`: journals are synced at the interval, whatever the log's own mode.
    pub periodic: AtomicBool,
}

impl Lives {
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revived(&self) -> MutexGuard<'_, Vec<Arc<Collection>>> {
        self.revived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Life {
    /// Whether it was deleted, or is not made yet: nobody may see it.
    pub fn is_hidden(&self) -> bool {
        self.presence.load(Ordering::Acquire) != LIVE
    }

    /// Since when it is deleted, where it is.
    pub fn deleted(&self) -> Option<Timestamp> {
        let deleted = self.presence.load(Ordering::Acquire) == DELETED;
        deleted.then(|| Timestamp(self.deleted_at.load(Ordering::Acquire)))
    }

    pub fn set_deleted(&self, at: Timestamp) {
        self.deleted_at.store(at.0, Ordering::Release);
        self.presence.store(DELETED, Ordering::Release);
    }

    pub fn set_unmade(&self) {
        self.presence.store(UNMADE, Ordering::Release);
    }

    pub fn set_live(&self) {
        self.presence.store(LIVE, Ordering::Release);
    }

    /// Its own number of bytes to be sealed at.
    pub fn seal_bytes(&self) -> Option<u64> {
        Some(self.seal_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Its own age to be sealed at.
    pub fn seal_age(&self) -> Option<Duration> {
        Some(self.seal_age_ms.load(Ordering::Relaxed)).filter(|age| *age > 0).map(Duration::from_millis)
    }

    /// How many dimensions its vectors must have.
    pub fn vector_dimensions(&self) -> Option<usize> {
        Some(self.vector_dimensions.load(Ordering::Relaxed)).filter(|wanted| *wanted > 0).map(|wanted| wanted as usize)
    }

    /// Its own durability, if it has one.
    fn sync(&self) -> Result<Option<SyncMode>, ()> {
        match self.sync.load(Ordering::Relaxed) {
            LOGS_OWN => Ok(None),
            UNKNOWN => Err(()),
            mode => Ok(SyncMode::ALL.get(usize::from(mode - 1)).copied()),
        }
    }

    pub fn apply(&self, settings: &CollectionSettings) {
        let sync = match settings.sync {
            Some(mode) => mode as u8 + 1,
            None if settings.asks_for_unknown_sync() => UNKNOWN,
            None => LOGS_OWN,
        };
        let age = settings.seal_age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self.sync.store(sync, Ordering::Relaxed);
        self.seal_bytes.store(settings.seal_bytes.unwrap_or(0), Ordering::Relaxed);
        self.seal_age_ms.store(age, Ordering::Relaxed);
        self.vector_dimensions.store(settings.vector_dimensions.unwrap_or(0), Ordering::Relaxed);
    }
}

/// Follows what the catalog says of every collection. Where this log `writes`, it tells the catalog what that does not know yet.
pub(in crate::log) fn load(
    catalog: &dyn Catalog,
    collections: &HashMap<CollectionName, Arc<Collection>>,
    lives: &Lives,
    writes: bool,
) -> Result<()> {
    let mut after: Option<CollectionName> = None;
    loop {
        let rows = catalog.collections(after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.name.clone());
        for row in &rows {
            if let Some(collection) = collections.get(&row.name) {
                follow(catalog, collection, row, lives, writes)?;
            }
        }
    }
}

fn follow(
    catalog: &dyn Catalog,
    collection: &Arc<Collection>,
    row: &CollectionRow,
    lives: &Lives,
    writes: bool,
) -> Result<()> {
    let stored = Stored::read(&row.settings);
    collection.life.apply(&stored.settings);
    if stored.settings.sync == Some(SyncMode::Periodic) {
        lives.periodic.store(true, Ordering::Release);
    }
    // A record counts, and not how far the sequence has come: room that was left for what may be lost makes nothing live.
    let sealed = match stored.deleted {
        Some(_) => {
            catalog.segments_back(&row.name, Sequence::MAX, 1)?.pop().is_some_and(|last| last.key.last >= row.floor)
        }
        None => false,
    };
    let state = collection.state();
    match stored.deleted {
        Some(at) if !sealed && state.unsealed.is_empty() => collection.life.set_deleted(at),
        marked => {
            collection.life.set_live();
            drop(state);
            if marked.is_some() && writes {
                // An append made it live again, and the process ended before the catalog was told.
                lives.revived().push(Arc::clone(collection));
            }
        }
    }
    Ok(())
}

impl Inner {
    /// `known`, where it is a collection that can be seen.
    pub(in crate::log) fn must_be_there(
        &self,
        name: &CollectionName,
        known: Option<Arc<Collection>>,
    ) -> Result<Arc<Collection>> {
        let mut message = format!("no such collection: collection=`{name}`");
        let hint = "`ls collections` lists them";
        let Some(known) = known else {
            self.may_be_new(name)?;
            return Err(Error::new(ErrorKind::NotFound, message).with_hint(hint));
        };
        if self.companion.is_some() {
            // The writer may have deleted it, or made it live again, since we looked.
            let row = self.catalog.collection(name)?;
            let marked = row.is_some_and(|row| Stored::read(&row.settings).deleted.is_some());
            if marked || known.life.is_hidden() {
                self.relook()?;
            }
        }
        if !known.life.is_hidden() {
            return Ok(known);
        }
        if let Some(at) = known.life.deleted() {
            message = format!("the collection was deleted: collection=`{name}`, deleted=`{at}`");
        }
        Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
    }

    /// Bytes of unsealed records at which a collection is sealed, and of which one segment holds no more.
    pub(in crate::log) fn segment_bytes(&self, collection: &Collection) -> u64 {
        collection.life.seal_bytes().unwrap_or(self.options.limits.segment_bytes)
    }

    /// Bytes of unsealed records at which a collection is sealed by itself: sooner where sinks wait for them.
    pub(in crate::log) fn seal_at_bytes(&self, collection: &Collection) -> u64 {
        let most = self.segment_bytes(collection);
        if self.options.sinks.is_empty() { most } else { most.min(self.options.flush.bytes) }
    }

    /// Age of the oldest unsealed record at which a collection is sealed by itself.
    pub(in crate::log) fn seal_at_age(&self, collection: &Collection) -> Duration {
        let most = collection.life.seal_age().unwrap_or(self.options.seal_age);
        if self.options.sinks.is_empty() { most } else { most.min(self.options.flush.age) }
    }

    /// The durability of an append that asks for none itself.
    pub(in crate::log) fn sync_mode_of(&self, collection: &Collection) -> Result<SyncMode> {
        match collection.life.sync() {
            Ok(own) => Ok(own.unwrap_or_else(|| self.sync_mode())),
            Err(()) => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the collection asks for a durability that this icecore does not know: collection=`{}`, key=`{SYNC}`",
                    collection.name()
                ),
            )
            .with_hint("use the icecore that set it, or give it another by `collection set`")),
        }
    }

    /// Journals sync at the interval, unless neither the log, whose mode is `mode`, nor any collection asks for it.
    pub(in crate::log) fn tell_journals_of_periodic(&self, mode: SyncMode) {
        let wanted = mode != SyncMode::Never || self.lives.periodic.load(Ordering::Acquire);
        let periodic = if wanted { self.options.periodic } else { PeriodicSync::NEVER };
        for journal in self.directories.iter().filter_map(|directory| directory.journal.as_ref()) {
            journal.set_periodic(periodic);
        }
    }

    /// Whether an append, which holds the collection's lock, makes it live again.
    ///
    /// # Errors
    /// `NotFound` where appends make no collections.
    pub(in crate::log) fn check_presence(&self, collection: &Collection) -> Result<bool> {
        if !collection.life.is_hidden() {
            return Ok(false);
        }
        if self.options.auto_create { Ok(true) } else { Err(self.may_not_create(collection.name())) }
    }

    /// The append has its place, and still holds the collection's lock.
    pub(in crate::log) fn revive(&self, collection: &Arc<Collection>) {
        collection.life.set_live();
        self.lives.revived().push(Arc::clone(collection));
    }

    /// An append to a name that nobody created.
    pub(in crate::log) fn may_not_create(&self, name: &CollectionName) -> Error {
        let mut message = format!("no such collection, and appends create none: collection=`{name}`");
        if let Some(at) = self.collections().get(name).and_then(|known| known.life.deleted()) {
            message.push_str(&format!(", deleted=`{at}`"));
        }
        Error::new(ErrorKind::NotFound, message).with_hint(
            "`collection create` makes it; so does an append where the setting collections.auto_create is true",
        )
    }

    /// Tells the catalog of collections that appends made live again. Where a crash comes before it, their records tell.
    pub(in crate::log) fn note_revived(&self) -> Result<()> {
        let _turn = self.lives.turn();
        loop {
            let Some(collection) = self.lives.revived().pop() else { return Ok(()) };
            let told = self.tell_revived(&collection);
            if let Err(error) = told {
                self.lives.revived().push(collection);
                return Err(error);
            }
        }
    }

    fn tell_revived(&self, collection: &Collection) -> Result<()> {
        // Deleted again meanwhile: then it is not live.
        if collection.life.is_hidden() {
            return Ok(());
        }
        let mut mutations = self.introduce(collection)?;
        if let Some(row) = self.catalog.collection(collection.name())? {
            let stored = Stored::read(&row.settings);
            if stored.deleted.is_some() {
                let settings = Stored { deleted: None, ..stored }.text();
                mutations.push(Mutation::PutCollection { name: collection.name().clone(), settings });
            }
        }
        if !mutations.is_empty() {
            self.apply(&mutations, "appended to again")?;
        }
        collection.catalogued.store(true, Ordering::Release);
        Ok(())
    }
}
