//! The rule of each mutation.
//!
//! What is checked: transitions by C1; that a live segment shares no sequence with another of its generation; that
//! floor, sealed_through and cursors never go back (R4); that a loss is acknowledged exactly as recorded, once, and
//! recovered only where it is recorded; that a segment is relocated only from where it is; that every number fits the smallest integer of any engine (63 bits), and every key the shortest key of any.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{CollectionState, INSERTABLE, Row, RowWrite, Rows, check_transition};
use crate::catalog::model::{Assignment, CollectionRow, CursorRow, LossRow, Mutation, Refused};
use crate::catalog::{CatalogResult, SegmentKey, SegmentRow, SegmentStatus};
use crate::types::{ChangeNumber, CollectionName, Epoch, Sequence, Timestamp};

/// The largest number that every engine can store.
const NUMBER_MAX: u64 = i64::MAX as u64;
/// The longest name of a component, a sink or a value, in bytes.
pub const WORD_BYTES_MAX: usize = 128;

/// One mutation on its way to become rows.
pub(super) struct Step<'a> {
    pub rows: &'a mut dyn Rows,
    pub number: ChangeNumber,
    pub at: Timestamp,
    pub reason: &'a str,
    /// By how much each status has more or fewer rows, over the whole transaction.
    pub moved: &'a mut BTreeMap<SegmentStatus, i64>,
}

fn refuse<T>(what: String) -> CatalogResult<T> {
    Err(Refused { what }.into())
}

impl Step<'_> {
    /// Puts the rows of `mutation`, and returns it as its change records it.
    pub fn make<'m>(&mut self, mutation: &'m Mutation) -> CatalogResult<Cow<'m, Mutation>> {
        match mutation {
            Mutation::InsertSegment(row) => {
                let row = SegmentRow { sealed_change: self.number, ..row.clone() };
                self.insert_segment(&row)?;
                return Ok(Cow::Owned(Mutation::InsertSegment(row)));
            }
            Mutation::Transition { key, from, to, archive_key } => {
                self.transition(key, *from, *to, archive_key.as_deref())?;
            }
            Mutation::SetFlushed(key) => self.set_flushed(key)?,
            Mutation::RelocateSegment { key, from, to } => self.relocate(key, from, to)?,
            Mutation::PutCollection { name, settings } => self.put_collection(name, settings)?,
            Mutation::Assign { component, collection, directory, epoch, from } => self.assign(Assignment {
                component: component.clone(),
                collection: collection.clone(),
                directory: directory.clone(),
                epoch: *epoch,
                from: *from,
                since: self.at,
            })?,
            Mutation::RaiseSealedThrough { collection, sequence } => {
                self.raise(collection, *sequence, "sealed_through", |row| &mut row.sealed_through)?;
            }
            Mutation::RaiseFloor { collection, sequence } => {
                self.raise(collection, *sequence, "floor", |row| &mut row.floor)?;
            }
            Mutation::RecordLoss { collection, first, last } => self.record_loss(collection, *first, *last)?,
            Mutation::AcknowledgeLoss { collection, first, last, by } => {
                self.acknowledge_loss(collection, *first, *last, by)?;
            }
            Mutation::RecoverLoss { collection, first, last, found_first, found_last } => {
                self.recover_loss(collection, (*first, *last), (*found_first, *found_last))?;
            }
            Mutation::SetCursor(cursor) => self.set_cursor(cursor)?,
            Mutation::SetMeta { name, value } => {
                check_word("value", name)?;
                self.put(Row::Meta { name: name.clone(), value: value.clone() })?;
            }
        }
        Ok(Cow::Borrowed(mutation))
    }

    fn put(&mut self, row: Row) -> CatalogResult<()> {
        self.rows.put(RowWrite(row))
    }

    fn insert_segment(&mut self, row: &SegmentRow) -> CatalogResult<()> {
        let key = &row.key;
        if !INSERTABLE.contains(&row.status) {
            return refuse(format!("no segment begins so: segment=`{key}`, from=`absent`, to=`{}`", row.status));
        }
        check_range(&key.collection, key.first, key.last)?;
        check_epoch(row.epoch)?;
        let range = key.last.get() - key.first.get() + 1;
        if row.records > range {
            return refuse(format!("more records than sequences: segment=`{key}`, records=`{}`", row.records));
        }
        if row.bytes > NUMBER_MAX {
            return refuse(format!("bytes beyond 2^63-1: segment=`{key}`, bytes=`{}`", row.bytes));
        }
        if row.timestamp_min > row.timestamp_max {
            return refuse(format!(
                "the earliest time is after the latest: segment=`{key}`, min=`{}`, max=`{}`",
                row.timestamp_min, row.timestamp_max
            ));
        }
        if let Some(there) = self.rows.segment(key)? {
            return refuse(format!(
                "the segment is there: segment=`{key}`, from=`{}`, to=`{}`",
                there.status, row.status
            ));
        }
        if row.status.is_live() {
            self.check_overlap(key, row.status)?;
        }
        self.collection_up_to(&key.collection, key.last)?;
        *self.moved.entry(row.status).or_default() += 1;
        self.put(Row::Segment { row: row.clone(), before: None })
    }

    /// Within a generation, readable segments never share a sequence: whoever reads by sequence meets each once.
    fn check_overlap(&mut self, key: &SegmentKey, to: SegmentStatus) -> CatalogResult<()> {
        match self.rows.live_overlap(key)? {
            Some(other) => refuse(format!("live segments would overlap: segment=`{key}`, to=`{to}`, other=`{other}`")),
            None => Ok(()),
        }
    }

    fn existing(&mut self, key: &SegmentKey, to: &dyn std::fmt::Display) -> CatalogResult<SegmentRow> {
        match self.rows.segment(key)? {
            Some(row) => Ok(row),
            None => refuse(format!("there is no such segment: segment=`{key}`, from=`absent`, to=`{to}`")),
        }
    }

    fn transition(
        &mut self,
        key: &SegmentKey,
        from: SegmentStatus,
        to: SegmentStatus,
        archive_key: Option<&str>,
    ) -> CatalogResult<()> {
        let mut row = self.existing(key, &to)?;
        if row.status != from {
            return refuse(format!(
                "the segment is not where the change begins: segment=`{key}`, status=`{}`, from=`{from}`, to=`{to}`",
                row.status
            ));
        }
        if let Err(refused) = check_transition(from, to) {
            return refuse(format!("{}, segment=`{key}`", refused.what));
        }
        if to.is_live() && !from.is_live() {
            self.check_overlap(key, to)?;
        }
        let before = Some((row.status, row.flushed_at));
        row.status = to;
        match archive_key {
            Some(archive_key) => row.archive_key = Some(archive_key.to_owned()),
            None if to == SegmentStatus::Sealed => row.archive_key = None,
            None => {}
        }
        *self.moved.entry(from).or_default() -= 1;
        *self.moved.entry(to).or_default() += 1;
        self.put(Row::Segment { row, before })
    }

    fn set_flushed(&mut self, key: &SegmentKey) -> CatalogResult<()> {
        let mut row = self.existing(key, &"flushed")?;
        let before = Some((row.status, row.flushed_at));
        row.flushed_at.get_or_insert(self.at);
        self.put(Row::Segment { row, before })
    }

    fn relocate(&mut self, key: &SegmentKey, from: &str, to: &str) -> CatalogResult<()> {
        let mut row = self.existing(key, &to)?;
        if row.directory != from || from == to {
            return refuse(format!(
                "the segment is not where the change begins: segment=`{key}`, directory=`{}`, from=`{from}`, to=`{to}`",
                row.directory
            ));
        }
        if !row.status.is_local() && row.status != SegmentStatus::Quarantined {
            return refuse(format!(
                "the segment has no file in a directory: segment=`{key}`, status=`{}`, from=`{from}`, to=`{to}`",
                row.status
            ));
        }
        let before = Some((row.status, row.flushed_at));
        to.clone_into(&mut row.directory);
        self.put(Row::Segment { row, before })
    }

    /// The collection as it is, or as it is made now.
    fn collection_or_new(&mut self, name: &CollectionName) -> CatalogResult<(CollectionState, bool)> {
        Ok(match self.rows.collection(name)? {
            Some(state) => (state, false),
            None => {
                let row = CollectionRow {
                    name: name.clone(),
                    created_at: self.at,
                    floor: Sequence::FIRST,
                    sealed_through: Sequence(0),
                    settings: "{}".to_owned(),
                };
                (CollectionState { row, sequence_max: Sequence(0) }, true)
            }
        })
    }

    /// Makes sure that the collection is there, and that it knows of `sequence` (C7).
    fn collection_up_to(&mut self, name: &CollectionName, sequence: Sequence) -> CatalogResult<()> {
        let (mut state, is_new) = self.collection_or_new(name)?;
        if is_new || sequence > state.sequence_max {
            state.sequence_max = state.sequence_max.max(sequence);
            self.put(Row::Collection { state, is_new })?;
        }
        Ok(())
    }

    fn put_collection(&mut self, name: &CollectionName, settings: &str) -> CatalogResult<()> {
        if serde_json::from_str::<serde::de::IgnoredAny>(settings).is_err() {
            return refuse(format!("settings are not JSON: collection=`{name}`, settings=`{settings}`"));
        }
        let (mut state, is_new) = self.collection_or_new(name)?;
        settings.clone_into(&mut state.row.settings);
        self.put(Row::Collection { state, is_new })
    }

    fn raise(
        &mut self,
        name: &CollectionName,
        sequence: Sequence,
        what: &str,
        field: impl Fn(&mut CollectionRow) -> &mut Sequence,
    ) -> CatalogResult<()> {
        check_sequence(name, sequence)?;
        let (mut state, is_new) = self.collection_or_new(name)?;
        let value = field(&mut state.row);
        if sequence < *value {
            return refuse(format!("{what} never goes back: collection=`{name}`, from=`{value}`, to=`{sequence}`"));
        }
        *value = sequence;
        // The floor is the first sequence still promised: those below it were there, it itself may not be.
        let known = if what == "floor" { sequence.previous() } else { sequence };
        state.sequence_max = state.sequence_max.max(known);
        self.put(Row::Collection { state, is_new })
    }

    fn assign(&mut self, new: Assignment) -> CatalogResult<()> {
        check_word("component", &new.component)?;
        check_epoch(new.epoch)?;
        check_sequence(&new.collection, new.from)?;
        if let Some(old) = self.rows.assignment(&new.component, &new.collection)?
            && old.epoch > new.epoch
        {
            return refuse(format!(
                "an assignment of a higher epoch stands: component=`{}`, collection=`{}`, from=`{}` of epoch `{}`, \
                 to=`{}` of epoch `{}`",
                new.component, new.collection, old.directory, old.epoch, new.directory, new.epoch
            ));
        }
        self.collection_up_to(&new.collection, Sequence(0))?;
        self.put(Row::Assignment(new))
    }

    fn record_loss(&mut self, collection: &CollectionName, first: Sequence, last: Sequence) -> CatalogResult<()> {
        check_range(collection, first, last)?;
        if let Some(there) = self.rows.loss(collection, first, last)? {
            let from = if there.acknowledged.is_some() { "gap" } else { "loss" };
            return refuse(format!(
                "the loss is recorded: collection=`{collection}`, first=`{first}`, last=`{last}`, from=`{from}`, to=`loss`"
            ));
        }
        self.collection_up_to(collection, last)?;
        self.put(Row::Loss(LossRow {
            collection: collection.clone(),
            first,
            last,
            reason: self.reason.to_owned(),
            found_at: self.at,
            acknowledged: None,
        }))
    }

    fn acknowledge_loss(
        &mut self,
        collection: &CollectionName,
        first: Sequence,
        last: Sequence,
        by: &str,
    ) -> CatalogResult<()> {
        let from = match self.rows.loss(collection, first, last)? {
            Some(mut row) if row.acknowledged.is_none() => {
                row.acknowledged = Some((by.to_owned(), self.at));
                return self.put(Row::Loss(row));
            }
            Some(_) => "gap",
            None => "absent",
        };
        refuse(format!(
            "no loss of exactly this range waits to be acknowledged: collection=`{collection}`, first=`{first}`, \
             last=`{last}`, from=`{from}`, to=`gap`"
        ))
    }

    fn recover_loss(
        &mut self,
        collection: &CollectionName,
        (first, last): (Sequence, Sequence),
        (found_first, found_last): (Sequence, Sequence),
    ) -> CatalogResult<()> {
        let Some(row) = self.rows.loss(collection, first, last)? else {
            return refuse(format!(
                "no loss of exactly this range is recorded: collection=`{collection}`, first=`{first}`, last=`{last}`"
            ));
        };
        if found_first < first || found_first > found_last || found_last > last {
            return refuse(format!(
                "what was found is no part of the loss: collection=`{collection}`, first=`{first}`, last=`{last}`, \
                 found_first=`{found_first}`, found_last=`{found_last}`"
            ));
        }
        self.put(Row::LossGone { collection: collection.clone(), first, last })?;
        let before = (found_first > first).then(|| (first, found_first.previous()));
        let behind = (found_last < last).then(|| (found_last.next(), last));
        for (first, last) in before.into_iter().chain(behind) {
            // Losses may overlap: one of exactly this range stands as it was recorded.
            if self.rows.loss(collection, first, last)?.is_none() {
                self.put(Row::Loss(LossRow { first, last, ..row.clone() }))?;
            }
        }
        Ok(())
    }

    fn set_cursor(&mut self, new: &CursorRow) -> CatalogResult<()> {
        check_word("sink", &new.sink)?;
        check_epoch(new.epoch)?;
        check_sequence(&new.collection, new.sequence)?;
        if let Some(old) = self.rows.cursor(&new.collection, &new.sink)?
            && (new.epoch < old.epoch || new.sequence < old.sequence)
        {
            return refuse(format!(
                "a cursor never goes back: collection=`{}`, sink=`{}`, from=`{}` in epoch `{}`, to=`{}` in epoch `{}`",
                new.collection, new.sink, old.sequence, old.epoch, new.sequence, new.epoch
            ));
        }
        self.collection_up_to(&new.collection, new.sequence)?;
        self.put(Row::Cursor(new.clone()))
    }
}

fn check_sequence(collection: &CollectionName, sequence: Sequence) -> CatalogResult<()> {
    if sequence > Sequence::MAX {
        return refuse(format!("a sequence beyond 2^63-1: collection=`{collection}`, sequence=`{sequence}`"));
    }
    Ok(())
}

fn check_range(collection: &CollectionName, first: Sequence, last: Sequence) -> CatalogResult<()> {
    if first < Sequence::FIRST || first > last || last > Sequence::MAX {
        return refuse(format!("not a range of sequences: collection=`{collection}`, first=`{first}`, last=`{last}`"));
    }
    Ok(())
}

/// Together with a collection's name it must fit the keys of every engine, where a NUL ends it.
fn check_word(what: &str, word: &str) -> CatalogResult<()> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX || word.contains('\0') {
        return refuse(format!("no name of a {what}: name=`{word}`, bytes=`{}`, limit=`{WORD_BYTES_MAX}`", word.len()));
    }
    Ok(())
}

fn check_epoch(epoch: Epoch) -> CatalogResult<()> {
    if epoch.get() > NUMBER_MAX {
        return refuse(format!("an epoch beyond 2^63-1: epoch=`{epoch}`"));
    }
    Ok(())
}
