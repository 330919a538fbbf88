//! Who subscribes to a collection, and how far it goes: what delivery asks of the log, which knows no sink.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::came_back::CameBack;
use super::life::settings::Stored;
use super::{Inner, Log};
use crate::catalog::{Catalog, CursorRow, Mutation, SegmentRow};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Epoch, Generation, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;
/// What to do with a sink of another history.
const OTHER_HISTORY: &str = "the sink is of another log, or this one was restored or put back to an older state; `recover` may still find \
     the records. Else clear the sink, and it is filled again: stop the program, move its folder `.store` or `.kv` away (of a store that is \
     elsewhere, delete what is below `_columns/`), and run `icecore flush`";
/// What to do with a sink that passed over records.
const CAME_BACK: &str =
    "`icecore flush` gives them to sinks that can be cleared; another one is to be cleared by hand, and then flushed";

/// A sink that is waited for, and that the log was not opened with.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SinkNotNamed {
    /// Its name.
    pub sink: String,
    /// Collections that are to be delivered to it: by their own setting, or because they were before.
    pub collections: u64,
    /// How many of these have sealed records that it lacks.
    pub waiting_collections: u64,
}

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

    /// Whether a sink's cursor can be believed: everything up to it is in the sink, as the log has it (J6).
    ///
    /// A log that was restored, or put back to an older state, gives out sequences again that a sink has of the other history. Which those are,
    /// the epochs tell. Only what is sealed is delivered, and only seals make segments of this opening's epoch; so when a sink was given the
    /// last record of a segment, in epoch `e`, the segment had been sealed, in an epoch up to `e`. A compaction keeps the highest epoch of its
    /// inputs: where all of its range is at or before the cursor, that holds for each of them, and so for it. Of one that the cursor is in the
    /// middle of it need not hold; one that was sealed and never rewritten cannot be sealed later than any record of it was delivered. Therefore
    /// a live segment of a later epoch than the cursor's, which ends at or before it, or begins there and was never rewritten, is of a history
    /// that the sink does not have. (Records that came back to their place are sealed later too: they have their own note, which is asked first.)
    ///
    /// A cursor may be of this opening's epoch or a later one and not be of this opening: the log that was put back had been opened as often, or
    /// more often. Then what was sealed in this very opening is of another history. Which cursors are this opening's own, delivery knows, which says
    /// what it gives before it gives it ([`offering`](Self::offering)); others believe them.
    ///
    /// What this does not find: a log that was put back, sealed, and was opened again up to the cursor's epoch, before the sink was first asked.
    ///
    /// # Errors
    /// `Conflict` where it cannot be believed; what the catalog said.
    pub(crate) fn check_cursor(
        &self,
        sink: &str,
        collection: &CollectionName,
        cursor: (Epoch, Sequence),
    ) -> Result<()> {
        let (epoch, has) = cursor;
        self.check_end(sink, collection, has)?;
        if has == Sequence(0) {
            return Ok(());
        }
        let asked = (sink.to_owned(), collection.clone());
        let believed = || self.0.believed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = match believed().get(&asked) {
            Some(known) if epoch == self.0.epoch => known.0 == epoch && has <= known.1,
            known => known == Some(&cursor),
        };
        if is_known {
            return Ok(());
        }
        match self.later_segment(collection, cursor)? {
            Some(row) => {
                let message = format!(
                    "a sink has records of another history: sink=`{sink}`, collection=`{collection}`, cursor=`{has}`, of epoch=`{epoch}`, \
                     segment=`{}`, sealed in epoch=`{}`",
                    row.key, row.epoch
                );
                Err(Error::new(ErrorKind::Conflict, message).with_hint(OTHER_HISTORY))
            }
            None => {
                // Below what is sealed no segment of a later epoch comes to be while the log is open; behind it one may.
                if self.0.catalog.collection(collection)?.is_some_and(|row| has <= row.sealed_through) {
                    believed().insert(asked, cursor);
                }
                Ok(())
            }
        }
    }

    /// That it is not beyond the end, and has not passed over what came back.
    fn check_end(&self, sink: &str, collection: &CollectionName, has: Sequence) -> Result<()> {
        let end = self.end_of(collection)?;
        if has > end {
            let message = format!(
                "a sink has more than the log: sink=`{sink}`, collection=`{collection}`, cursor=`{has}`, end=`{end}`"
            );
            return Err(Error::new(ErrorKind::Conflict, message).with_hint(OTHER_HISTORY));
        }
        if let Some(back) = self.came_back(collection)?.filter(|back| back.is_missed(sink, has)) {
            let message = format!(
                "records came back below a sink's cursor: sink=`{sink}`, collection=`{collection}`, cursor=`{has}`, records=`{}..={}`",
                back.first, back.last
            );
            return Err(Error::new(ErrorKind::Conflict, message).with_hint(CAME_BACK));
        }
        Ok(())
    }

    /// Delivery is about to give a sink records up to here. Whether or not it takes them: a cursor up to there is of this opening.
    pub(crate) fn offering(&self, sink: &str, collection: &CollectionName, through: Sequence) {
        let mut believed = self.0.believed.lock().unwrap_or_else(PoisonError::into_inner);
        believed.insert((sink.to_owned(), collection.clone()), (self.0.epoch, through));
    }

    /// As [`check_cursor`](Self::check_cursor), for who does not deliver: a cursor of this opening's epoch is taken to be of this opening.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn check_view(&self, sink: &str, collection: &CollectionName, cursor: (Epoch, Sequence)) -> Result<()> {
        match self.check_cursor(sink, collection, cursor) {
            Err(error) if error.kind() == ErrorKind::Conflict && cursor.0 == self.0.epoch => {
                self.check_end(sink, collection, cursor.1)
            }
            checked => checked,
        }
    }

    /// The newest segment that a sink with this cursor cannot have been given.
    fn later_segment(
        &self,
        collection: &CollectionName,
        (epoch, has): (Epoch, Sequence),
    ) -> Result<Option<SegmentRow>> {
        let own = self.0.is_writable().then_some(self.0.epoch);
        let is_later = |row: &SegmentRow| match own {
            Some(own) if epoch >= own => row.epoch == own,
            _ => row.epoch > epoch,
        };
        let mut until = has;
        while until > Sequence(0) {
            let rows = self.0.catalog.segments_back(collection, until, PAGE_ROWS)?;
            let Some(oldest) = rows.last() else { break };
            until = oldest.key.first.previous();
            let is_whole = |row: &SegmentRow| row.key.last <= has || row.key.generation == Generation(0);
            if let Some(row) = rows.into_iter().find(|row| is_whole(row) && is_later(row)) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// What came back of a collection that was on record as missing.
    ///
    /// # Errors
    /// What the catalog said.
    pub(crate) fn came_back(&self, collection: &CollectionName) -> Result<Option<CameBack>> {
        Ok(CameBack::of(&*self.0.catalog, collection)?)
    }

    /// Up to where each sink has a collection that is to be delivered to it: its subscribers, or, where the log was opened without any, those on record.
    ///
    /// # Errors
    /// What the catalog said.
    pub(crate) fn awaited(&self, collection: &CollectionName) -> Result<Vec<(String, Sequence)>> {
        awaited(&*self.0.catalog, &self.0.options.sinks, collection)
    }

    /// Sinks that collections wait for and that the log was not opened with: by whom they are waited for, and what they lack. Nothing is delivered
    /// to them.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn sinks_not_named(&self) -> Result<Vec<SinkNotNamed>> {
        let mut found: BTreeMap<String, SinkNotNamed> = BTreeMap::new();
        let mut after = None;
        loop {
            let rows = self.0.catalog.collections(after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.name.clone());
            for row in &rows {
                for (sink, has) in self.awaited(&row.name)? {
                    if !self.sinks().contains(&sink) {
                        let none = || SinkNotNamed { sink: sink.clone(), collections: 0, waiting_collections: 0 };
                        let known = found.entry(sink.clone()).or_insert_with(none);
                        known.collections += 1;
                        known.waiting_collections += u64::from(has < row.sealed_through);
                    }
                }
            }
        }
        Ok(found.into_values().collect())
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
    pub(super) fn delivered(&self, collection: &CollectionName) -> Result<Vec<(String, Sequence)>> {
        delivered(&*self.catalog, &self.options.sinks, collection)
    }

    fn is_sink_forgotten(&self, collection: &CollectionName, sink: &str) -> Result<bool> {
        is_sink_forgotten(&*self.catalog, collection, sink)
    }

    pub(super) fn subscribers(&self, collection: &CollectionName) -> Result<Vec<String>> {
        let own = self.stored_settings(collection)?.sinks;
        Ok(own.unwrap_or_else(|| self.options.sinks.clone()))
    }
}

/// Up to where each sink has a collection that must have it before local copies of it go, or versions are compacted away: those that it is to be
/// delivered to, and every other one that ever had something of it, until it is [forgotten](Log::forget_sink). What such a sink still holds is
/// read, and may come to be subscribed to again: a tombstone that it was never given must not go.
fn delivered(catalog: &dyn Catalog, sinks: &[String], collection: &CollectionName) -> Result<Vec<(String, Sequence)>> {
    let mut delivered = awaited(catalog, sinks, collection)?;
    for cursor in cursors(catalog, collection)? {
        let known = delivered.iter().position(|(sink, _)| *sink == cursor.sink);
        match (is_sink_forgotten(catalog, collection, &cursor.sink)?, known) {
            // It is cleared, and begins anew: what it had counts no more.
            (true, Some(known)) => delivered[known].1 = Sequence(0),
            (false, None) => delivered.push((cursor.sink, cursor.sequence)),
            (true, None) | (false, Some(_)) => {}
        }
    }
    Ok(delivered)
}

fn is_sink_forgotten(catalog: &dyn Catalog, collection: &CollectionName, sink: &str) -> Result<bool> {
    Ok(catalog.meta(&mark_name(collection, sink))?.is_some_and(|mark| mark == FORGOTTEN))
}

/// The cursors on record; of a sink that passed records which came back, before these.
fn cursors(catalog: &dyn Catalog, collection: &CollectionName) -> Result<Vec<CursorRow>> {
    let mut cursors = catalog.cursors(collection)?;
    if let Some(back) = CameBack::of(catalog, collection)? {
        // Their cursors passed what they do not have.
        let missing = cursors.iter_mut().filter(|cursor| !back.done.contains(&cursor.sink));
        missing.for_each(|cursor| cursor.sequence = cursor.sequence.min(back.first.previous()));
    }
    Ok(cursors)
}

/// Up to where each sink has a collection that is to be delivered to it. A log that was opened without any sink goes by those on record: who only
/// looks after a log must not lose what another process delivers.
pub(super) fn awaited(
    catalog: &dyn Catalog,
    sinks: &[String],
    collection: &CollectionName,
) -> Result<Vec<(String, Sequence)>> {
    let cursors = cursors(catalog, collection)?;
    let own = catalog.collection(collection)?.and_then(|row| Stored::read(&row.settings).settings.sinks);
    if own.is_none() && sinks.is_empty() {
        let mut on_record = Vec::new();
        for cursor in cursors {
            // Nobody waits for one that was forgotten.
            if !is_sink_forgotten(catalog, collection, &cursor.sink)? {
                on_record.push((cursor.sink, cursor.sequence));
            }
        }
        return Ok(on_record);
    }
    let has = |sink: &str| cursors.iter().find(|cursor| cursor.sink == sink).map(|cursor| cursor.sequence);
    let subscribers = own.unwrap_or_else(|| sinks.to_vec()).into_iter();
    Ok(subscribers.map(|sink| (has(&sink).unwrap_or(Sequence(0)), sink)).map(|(has, sink)| (sink, has)).collect())
}
