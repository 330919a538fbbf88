//! The life of a collection: it is made, gets settings of its own, is deleted, and may come back under the same name.
//!
//! - `settings`: what a collection may have of its own
//! - `compaction`: what compaction leaves of it
//! - `retention`: how long its records are kept, and legal holds
//! - `live`: what the running log knows of it
//! - `delete`: everything of it goes, and never comes back to life (R4)
//! - `tombstone`: the small file that stays, so that no sequence is given out twice (C7)
//!
//! Appending to a new name makes a collection too (`LogOptions::auto_create`); the catalog learns of that one later, since no append
//! waits for the catalog (R1). One that is created here is in the catalog when the call returns.
//!
//! # Order of creating, and why a crash between any two is safe
//!
//! 1. It is put among the log's collections, hidden. An append that meets it there makes it live, as it would have made it.
//! 2. Settings and assignment are committed, in one transaction: from here on it exists. A crash before leaves nothing.
//! 3. Its folder is made and synced, so that it is found again where the catalog is lost. A crash before leaves a collection
//!    without a folder, which the first seal makes; its settings are there.

mod compaction;
pub(super) mod delete;
mod live;
mod retention;
mod settings;
#[cfg(test)]
mod tests;
pub(super) mod tombstone;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use compaction::CompactionSettings;
pub use delete::Deletion;
pub(super) use live::{Life, Lives, load};
pub use retention::{Keep, LegalHold, Retention, TooLate};
pub use settings::{COLLECTION_KEYS, CollectionSettings};

use self::settings::{DIMENSIONS, SEAL_AGE, SEAL_BYTES, SINKS, SYNC, Stored, show_sinks};
use super::append::read_only;
use super::options::SyncMode;
use super::{Collection, CollectionInfo, Inner, Log};
use crate::catalog::Mutation;
use crate::config::{ByteSize, show_duration};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::durable;
use crate::types::CollectionName;

/// Who gave a setting its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingFrom {
    /// The collection's own settings.
    Collection,
    /// The log's.
    Log,
    /// The collection's own settings, and this program does not know what it means.
    NotUnderstood,
}

/// A setting as it is in force for a collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EffectiveSetting {
    /// The setting.
    pub key: String,
    /// Its value, as people write it; of one that is not understood, the catalog's JSON.
    pub value: String,
    /// Who gave it.
    pub from: SettingFrom,
}

impl Log {
    /// Makes a collection, which is in the catalog with its settings and its directory when this returns. One that was deleted goes on
    /// with the sequence behind its last one.
    ///
    /// ```no_run
    /// # fn main() -> icecore::Result<()> {
    /// # use icecore::{CollectionName, CollectionSettings, Log, LogOptions, SyncMode};
    /// # let log = Log::open(LogOptions::new(["./data"]))?;
    /// let audit = CollectionName::new("audit").expect("a good name");
    /// log.create_collection(&audit, &CollectionSettings { sync: Some(SyncMode::Always), ..Default::default() })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Conflict` where it is there; `Invalid` for settings beyond their limits, or a log that was opened to read only; what the
    /// catalog or the disk said. After an error from the disk the collection may be there, without its folder.
    pub fn create_collection(&self, name: &CollectionName, settings: &CollectionSettings) -> Result<()> {
        self.create(name, settings, None)
    }

    /// As [`create_collection`](Self::create_collection), with a home that is given instead of one that is chosen: the id of a remote, or of a
    /// local directory, which means that its segments stay where they are sealed.
    ///
    /// # Errors
    /// As there; `NotFound` for an unknown directory.
    pub fn create_collection_at(&self, name: &CollectionName, settings: &CollectionSettings, home: &str) -> Result<()> {
        let home = self.find_home(home)?;
        self.create(name, settings, Some(&home))?;
        // One that was deleted, or is on record, had another.
        self.assign_home(name, &home)
    }

    fn create(&self, name: &CollectionName, settings: &CollectionSettings, home: Option<&str>) -> Result<()> {
        let log = &self.0;
        log.may_change()?;
        settings.check()?;
        let _turn = log.lives.turn();
        let known = log.collections().get(name).map(Arc::clone);
        if known.as_ref().is_some_and(|known| !known.life.is_hidden()) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the collection is there already: collection=`{name}`"),
            )
            .with_hint("`collection set` changes its settings"));
        }
        let collection = match known {
            Some(deleted) => deleted,
            None => {
                log.may_be_new(name)?;
                let (collection, is_new) =
                    log.make_collection(name, home.map(|home| log.segments_at_id(home)), Life::set_unmade)?;
                if !is_new && !collection.life.is_hidden() {
                    let message = format!("the collection was made meanwhile by an append: collection=`{name}`");
                    return Err(Error::new(ErrorKind::Conflict, message));
                }
                collection
            }
        };
        let text = Stored { settings: settings.clone(), deleted: None }.text();
        // Where a deleted one's directory is missing, nobody knows whether it had come back there.
        if let Some(why) = collection.state().refuses.clone() {
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        let mut mutations = vec![Mutation::PutCollection { name: name.clone(), settings: text }];
        mutations.extend(log.introduce(&collection)?);
        log.apply(&mutations, "created")?;
        collection.catalogued.store(true, Ordering::Release);
        log.put_in_force(&collection, settings);
        {
            let _state = collection.state();
            collection.life.set_live();
        }
        let directory = collection.directory();
        durable::create_dir_all(&*log.fs, &log.directories[directory].path.join(name.directory_name()))?;
        collection.has_folder.store(directory + 1, Ordering::Release);
        tracing::info!(collection = %name, "created");
        Ok(())
    }

    /// The settings of a collection's own.
    ///
    /// # Errors
    /// `NotFound`, or what the catalog said.
    pub fn collection_settings(&self, name: &CollectionName) -> Result<CollectionSettings> {
        self.0.collection(name)?;
        Ok(self.0.stored(name)?.settings)
    }

    /// Every setting that a collection may have, as it is in force for this one, and who gave it.
    ///
    /// # Errors
    /// As [`collection_settings`](Self::collection_settings).
    pub fn effective_settings(&self, name: &CollectionName) -> Result<Vec<EffectiveSetting>> {
        let (own, log) = (self.collection_settings(name)?, &self.0);
        let setting = |key: &str, own: Option<String>, logs: String| {
            let from = if own.is_some() { SettingFrom::Collection } else { SettingFrom::Log };
            EffectiveSetting { key: key.to_owned(), value: own.unwrap_or(logs), from }
        };
        let bytes = |bytes: u64| ByteSize(bytes).to_string();
        let mut settings = vec![
            setting(SYNC, own.sync.map(|mode| mode.to_string()), log.sync_mode().to_string()),
            setting(SEAL_BYTES, own.seal_bytes.map(bytes), bytes(log.options.limits.segment_bytes)),
            setting(SEAL_AGE, own.seal_age.map(show_duration), show_duration(log.options.seal_age)),
            setting(SINKS, own.sinks.as_deref().map(show_sinks), show_sinks(&log.options.sinks)),
        ];
        let texts = own.retention.texts().into_iter().zip(log.options.retention.texts());
        settings
            .extend(texts.map(|((key, own), (_, log))| setting(key, own, log.unwrap_or_else(|| "none".to_owned()))));
        settings.push(setting(DIMENSIONS, own.vector_dimensions.map(|wanted| wanted.to_string()), "any".to_owned()));
        let texts = own.compaction.texts().into_iter().zip(log.options.compaction.texts());
        settings.extend(texts.map(|((key, own), (_, log))| {
            setting(key, own, log.unwrap_or_else(|| CompactionSettings::default_text(key)))
        }));
        for (key, value) in &own.others {
            // In the place of the log's value, where it is one of those above.
            settings.retain(|known| known.key != *key || known.from == SettingFrom::Collection);
            let (key, value) = (key.clone(), value.to_string());
            settings.push(EffectiveSetting { key, value, from: SettingFrom::NotUnderstood });
        }
        Ok(settings)
    }

    /// Changes the settings of a collection's own; what `change` makes of them is in force, and durable, when this returns, and is
    /// returned. A stronger durability syncs first what was written in the weaker one (D2).
    ///
    /// ```no_run
    /// # fn main() -> icecore::Result<()> {
    /// # use icecore::{CollectionName, Log, LogOptions};
    /// # let log = Log::open(LogOptions::new(["./data"]))?;
    /// let audit = CollectionName::new("audit").expect("a good name");
    /// log.set_collection_settings(&audit, |settings| settings.seal_bytes = Some(16 << 20))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for settings beyond their limits, or a log that was opened to read only; what the catalog or a sync
    /// said. Nothing changed then.
    pub fn set_collection_settings(
        &self,
        name: &CollectionName,
        change: impl FnOnce(&mut CollectionSettings),
    ) -> Result<CollectionSettings> {
        self.change_settings(name, "settings", |settings| {
            change(settings);
            Ok(())
        })
    }

    fn change_settings(
        &self,
        name: &CollectionName,
        reason: &str,
        change: impl FnOnce(&mut CollectionSettings) -> Result<()>,
    ) -> Result<CollectionSettings> {
        let log = &self.0;
        log.may_change()?;
        let _turn = log.lives.turn();
        let collection = log.collection(name)?;
        let mut settings = log.stored(name)?.settings;
        change(&mut settings)?;
        settings.check()?;
        let is_synced = settings.sync.unwrap_or_else(|| log.sync_mode()).is_synced();
        if is_synced {
            self.sync()?;
        }
        let mut mutations = log.introduce(&collection)?;
        let text = Stored { settings: settings.clone(), deleted: None }.text();
        mutations.push(Mutation::PutCollection { name: name.clone(), settings: text });
        log.apply(&mutations, reason)?;
        collection.catalogued.store(true, Ordering::Release);
        log.put_in_force(&collection, &settings);
        if is_synced {
            // What was written in the old mode between the first sync and the switch.
            self.sync()?;
        }
        Ok(settings)
    }

    /// Collections that were deleted, in order of name; `deleted` tells since when. Their sequences go on where they come back.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn deleted_collections(&self) -> Result<Vec<CollectionInfo>> {
        self.0.infos(|known| known.life.deleted().is_some())
    }
}

impl Inner {
    /// Whether this log may be changed at all.
    fn may_change(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the log was closed"));
        }
        if self.is_writable() { Ok(()) } else { Err(read_only()) }
    }

    /// A collection's own settings, by the catalog now.
    pub(super) fn stored_settings(&self, name: &CollectionName) -> Result<CollectionSettings> {
        Ok(self.stored(name)?.settings)
    }

    fn stored(&self, name: &CollectionName) -> Result<Stored> {
        Ok(self.catalog.collection(name)?.map(|row| Stored::read(&row.settings)).unwrap_or_default())
    }

    /// Settings that the catalog has already.
    fn put_in_force(&self, collection: &Collection, settings: &CollectionSettings) {
        if settings.sync == Some(SyncMode::Periodic) {
            self.lives.periodic.store(true, Ordering::Release);
            self.tell_journals_of_periodic(self.sync_mode());
        }
        collection.life.apply(settings);
        if collection.state().unsealed.bytes() >= settings.seal_bytes.unwrap_or(u64::MAX) {
            self.budget.note_large();
        }
    }
}
