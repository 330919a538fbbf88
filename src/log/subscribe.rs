//! Who subscribes to a collection, and how far it goes: what delivery asks of the log, which knows no sink.

use super::{Inner, Log};
use crate::catalog::Mutation;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Sequence};

const FORGOTTEN: &str = "forgotten";

/// A sink that a collection does not subscribe to any more, and that has less of it than is sealed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AbandonedSink {
    /// Its name.
    pub sink: String,
    /// How many collections wait for it.
    pub collections: u64,
    /// The first of them, in order of name.
    pub first: CollectionName,
}

/// Under this name the catalog keeps that a sink was forgotten.
fn mark_name(collection: &CollectionName, sink: &str) -> String {
    format!("sink.mark/{sink}/{collection}")
}

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

    /// What a sink has of a collection is to be deleted: compaction and eviction wait for it no more. The sink itself is not touched. Where the
    /// collection comes to subscribe to it again, delivery clears it first, and begins anew.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, or a sink that has nothing of it on record; `Conflict` where the collection subscribes to it;
    /// what the catalog said.
    pub fn forget_sink(&self, collection: &CollectionName, sink: &str) -> Result<()> {
        let log = &self.0;
        self.may_change()?;
        log.collection(collection)?;
        if log.subscribers(collection)?.iter().any(|subscriber| subscriber == sink) {
            let message = format!("the collection subscribes to the sink: collection=`{collection}`, sink=`{sink}`");
            return Err(Error::new(ErrorKind::Conflict, message).with_hint(
                "give the collection a list of sinks without it first: `collection set COLLECTION sinks=...`",
            ));
        }
        if !log.catalog.cursors(collection)?.iter().any(|cursor| cursor.sink == sink) {
            let message = format!("a sink has nothing of the collection: collection=`{collection}`, sink=`{sink}`");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        self.set_sink_forgotten(collection, sink, true)
    }

    /// Sinks that hold up compaction and eviction, and are delivered nothing, in order of name. Of a collection without a list of its own, in a log
    /// that was opened without any sink, nobody here knows.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn abandoned_sinks(&self) -> Result<Vec<AbandonedSink>> {
        let log = &self.0;
        let mut abandoned: Vec<AbandonedSink> = Vec::new();
        for collection in log.all_collections().iter().filter(|collection| !collection.life.is_hidden()) {
            let name = collection.name();
            if log.options.sinks.is_empty() && log.stored_settings(name)?.sinks.is_none() {
                continue;
            }
            let Some(row) = log.catalog.collection(name)? else { continue };
            let subscribers = log.subscribers(name)?;
            let cursors = log.catalog.cursors(name)?.into_iter();
            for cursor in cursors.filter(|cursor| !subscribers.contains(&cursor.sink)) {
                let is_forgotten = log.is_sink_forgotten(name, &cursor.sink)?;
                if is_forgotten || cursor.sequence >= row.sealed_through {
                    continue;
                }
                match abandoned.iter_mut().find(|known| known.sink == cursor.sink) {
                    Some(known) => known.collections += 1,
                    None => {
                        abandoned.push(AbandonedSink { sink: cursor.sink, collections: 1, first: name.clone() });
                    }
                }
            }
        }
        abandoned.sort_by(|one, other| one.sink.cmp(&other.sink));
        Ok(abandoned)
    }

    pub(crate) fn is_sink_forgotten(&self, collection: &CollectionName, sink: &str) -> Result<bool> {
        self.0.is_sink_forgotten(collection, sink)
    }

    pub(crate) fn set_sink_forgotten(&self, collection: &CollectionName, sink: &str, is_so: bool) -> Result<()> {
        let value = if is_so { FORGOTTEN.to_owned() } else { String::new() };
        self.change(&[Mutation::SetMeta { name: mark_name(collection, sink), value }], "sink").map(drop)
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
    /// Up to where each sink has a collection that must have it before local copies of it go, or versions are compacted away: those that
    /// subscribe, and every other one that ever had something of it, until it is [forgotten](Log::forget_sink). What such a sink still holds is
    /// read, and may come to be subscribed to again: a tombstone that it was never given must not go.
    pub(super) fn delivered(&self, collection: &CollectionName) -> Result<Vec<(String, Sequence)>> {
        let subscribers = self.subscribers(collection)?;
        let mut delivered = Vec::new();
        for cursor in self.catalog.cursors(collection)? {
            let is_subscribed = subscribers.contains(&cursor.sink);
            match (self.is_sink_forgotten(collection, &cursor.sink)?, is_subscribed) {
                (false, _) => delivered.push((cursor.sink, cursor.sequence)),
                (true, false) => {}
                // It is cleared, and begins anew: what it had counts no more.
                (true, true) => delivered.push((cursor.sink, Sequence(0))),
            }
        }
        for sink in subscribers {
            if !delivered.iter().any(|(known, _)| *known == sink) {
                delivered.push((sink, Sequence(0)));
            }
        }
        Ok(delivered)
    }

    fn is_sink_forgotten(&self, collection: &CollectionName, sink: &str) -> Result<bool> {
        Ok(self.catalog.meta(&mark_name(collection, sink))?.is_some_and(|mark| mark == FORGOTTEN))
    }

    pub(super) fn subscribers(&self, collection: &CollectionName) -> Result<Vec<String>> {
        let own = self.stored_settings(collection)?.sinks;
        Ok(own.unwrap_or_else(|| self.options.sinks.clone()))
    }
}
