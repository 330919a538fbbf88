//! Who subscribes to a collection, and how far it goes: what delivery asks of the log, which knows no sink.

use super::{Inner, Log};
use crate::error::Result;
use crate::types::{CollectionName, Sequence};

impl Log {
    /// The sinks that the log was opened with, by name.
    #[must_use]
    pub fn sinks(&self) -> &[String] {
        &self.0.options.sinks
    }

    /// The sinks that a collection subscribes to: its own setting, or all of the log's. What they do not have yet is not flushed (C2): it is
    /// not evicted, and not compacted away.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn subscribers(&self, collection: &CollectionName) -> Result<Vec<String>> {
        self.0.subscribers(collection)
    }

    /// The last sequence of a collection that a power cut cannot take; zero without records.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection.
    pub fn durable_through(&self, collection: &CollectionName) -> Result<Sequence> {
        Ok(self.0.collection(collection)?.state().durable)
    }

    /// The same of every collection that is not deleted, in order of name.
    pub(crate) fn collections_through(&self) -> Vec<(CollectionName, Sequence)> {
        let all = self.0.all_collections();
        let seen = all.iter().filter(|collection| !collection.life.is_hidden());
        seen.map(|collection| (collection.name().clone(), collection.state().durable)).collect()
    }

    /// The last sequence that a collection ever gave out, as far as the log knows; also of a deleted one.
    ///
    /// # Errors
    /// What the catalog said.
    pub(crate) fn end_of(&self, collection: &CollectionName) -> Result<Sequence> {
        let known = self.0.collections().get(collection).map(|known| known.state().next.previous());
        match known {
            Some(end) => Ok(end),
            None => Ok(self.0.catalog.sequence_max(collection)?),
        }
    }

    /// The rule that is broken, in tests.
    pub(crate) fn sabotage(&self) -> crate::testing::Sabotage {
        self.0.options.sabotage
    }

    /// Whether so much of a collection is unsealed that it is sealed by itself, as soon as somebody looks.
    pub(crate) fn is_seal_due(&self, collection: &CollectionName) -> Result<bool> {
        let collection = self.0.collection(collection)?;
        let bytes = collection.state().unsealed.bytes();
        Ok(bytes >= self.0.seal_at_bytes(&collection))
    }

    /// Up to where each sink has a collection that must have it before anything of it goes.
    ///
    /// # Errors
    /// What the catalog said.
    pub(crate) fn delivered(&self, collection: &CollectionName) -> Result<Vec<(String, Sequence)>> {
        self.0.delivered(collection)
    }

    /// Bytes of records up to `through` that are in no segment yet.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection.
    pub(crate) fn unsealed_through(&self, collection: &CollectionName, through: Sequence) -> Result<u64> {
        let collection = self.0.collection(collection)?;
        let state = collection.state();
        Ok(state.unsealed.runs().filter(|run| run.first <= through).map(|run| run.len).sum())
    }
}

impl Inner {
    /// Up to where each sink has a collection that must have it before local copies of it go, or versions are compacted away. A log that was opened
    /// without any sink goes by those on record: who only looks after a log must not lose what another process delivers.
    pub(super) fn delivered(&self, collection: &CollectionName) -> Result<Vec<(String, Sequence)>> {
        let cursors = self.catalog.cursors(collection)?;
        let own = self.stored_settings(collection)?.sinks;
        if own.is_none() && self.options.sinks.is_empty() {
            return Ok(cursors.into_iter().map(|cursor| (cursor.sink, cursor.sequence)).collect());
        }
        let has = |sink: &str| cursors.iter().find(|cursor| cursor.sink == sink).map(|cursor| cursor.sequence);
        let subscribers = own.unwrap_or_else(|| self.options.sinks.clone()).into_iter();
        Ok(subscribers.map(|sink| (has(&sink).unwrap_or(Sequence(0)), sink)).map(|(has, sink)| (sink, has)).collect())
    }

    pub(super) fn subscribers(&self, collection: &CollectionName) -> Result<Vec<String>> {
        let own = self.stored_settings(collection)?.sinks;
        Ok(own.unwrap_or_else(|| self.options.sinks.clone()))
    }
}
