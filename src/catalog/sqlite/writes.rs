//! Keeping rows, within the one write transaction.

use super::lookups;
use super::session::{Session, sql};
use crate::catalog::model::{Assignment, CursorRow, LossRow};
use crate::catalog::state::{CollectionState, Row, RowWrite, Rows};
use crate::catalog::time_class::time_class;
use crate::catalog::{CatalogResult, SegmentKey, SegmentRow, SegmentStatus, checksum};
use crate::types::{ChangeNumber, CollectionName, Sequence};

const INSERT_SEGMENT: &str = "INSERT INTO segments (collection_id, first_sequence, last_sequence, generation, status, \
     epoch, directory, path, records, bytes, sha256, content_digest, timestamp_min, timestamp_max, time_class, \
     sealed_at, sealed_change, flushed_at, archive_key, checksum) \
     VALUES ((SELECT id FROM collections WHERE name = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
     ?15, ?16, ?17, ?18, ?19, ?20)";
/// A segment's other columns never change.
const UPDATE_SEGMENT: &str = "UPDATE segments SET status = ?2, flushed_at = ?3, archive_key = ?4, directory = ?5, \
     checksum = ?6 WHERE sealed_change = ?1";
const INSERT_COLLECTION: &str = "INSERT INTO collections \
     (name, created_at, floor, sealed_through, sequence_max, settings, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const UPDATE_COLLECTION: &str = "UPDATE collections SET created_at = ?2, floor = ?3, sealed_through = ?4, \
     sequence_max = ?5, settings = ?6, checksum = ?7 WHERE name = ?1";
const PUT_ASSIGNMENT: &str = "INSERT OR REPLACE INTO assignments \
     (component, collection, directory, epoch, from_sequence, since, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const PUT_LOSS: &str = "INSERT OR REPLACE INTO losses (collection, first_sequence, last_sequence, reason, found_at, \
     acknowledged_by, acknowledged_at, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const DELETE_LOSS: &str = "DELETE FROM losses WHERE collection = ?1 AND first_sequence = ?2 AND last_sequence = ?3";
const PUT_CURSOR: &str =
    "INSERT OR REPLACE INTO cursors (collection, sink, epoch, sequence, checksum) VALUES (?1, ?2, ?3, ?4, ?5)";
const PUT_META: &str = "INSERT OR REPLACE INTO meta (name, value, checksum) VALUES (?1, ?2, ?3)";
const PUT_COUNT: &str = "INSERT OR REPLACE INTO segment_counts (status, segments, checksum) VALUES (?1, ?2, ?3)";
const INSERT_CHANGE: &str =
    "INSERT INTO changes (number, at, reason, kind, subject, detail, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// The rows as the write transaction sees them.
pub struct Transaction<'a>(Session<'a>);

impl<'a> Transaction<'a> {
    pub fn new(session: Session<'a>) -> Self {
        Self(session)
    }

    fn put_segment(&self, row: &SegmentRow, is_new: bool) -> CatalogResult<()> {
        let flushed_at = row.flushed_at.map(|at| at.micros());
        if !is_new {
            return self.0.execute(
                UPDATE_SEGMENT,
                (
                    sql(row.sealed_change.get()),
                    checksum::status_number(row.status),
                    flushed_at,
                    row.archive_key.as_deref(),
                    row.directory.as_str(),
                    checksum::segment(row),
                ),
            );
        }
        self.0.execute(
            INSERT_SEGMENT,
            rusqlite::params![
                row.key.collection.as_str(),
                sql(row.key.first.get()),
                sql(row.key.last.get()),
                row.key.generation.get(),
                checksum::status_number(row.status),
                sql(row.epoch.get()),
                row.directory,
                row.path,
                sql(row.records),
                sql(row.bytes),
                &row.sha256[..],
                &row.content_digest[..],
                row.timestamp_min.micros(),
                row.timestamp_max.micros(),
                time_class(row.timestamp_min, row.timestamp_max),
                row.sealed_at.micros(),
                sql(row.sealed_change.get()),
                flushed_at,
                row.archive_key,
                checksum::segment(row),
            ],
        )
    }

    fn put_collection(&self, state: &CollectionState, is_new: bool) -> CatalogResult<()> {
        let parameters = (
            state.row.name.as_str(),
            state.row.created_at.micros(),
            sql(state.row.floor.get()),
            sql(state.row.sealed_through.get()),
            sql(state.sequence_max.get()),
            state.row.settings.as_str(),
            checksum::collection(state),
        );
        self.0.execute(if is_new { INSERT_COLLECTION } else { UPDATE_COLLECTION }, parameters)
    }

    fn put_loss(&self, row: &LossRow) -> CatalogResult<()> {
        let (by, at) = row.acknowledged.as_ref().map(|(by, at)| (by.as_str(), at.micros())).unzip();
        let parameters = (
            row.collection.as_str(),
            sql(row.first.get()),
            sql(row.last.get()),
            row.reason.as_str(),
            row.found_at.micros(),
            by,
            at,
            checksum::loss(row),
        );
        self.0.execute(PUT_LOSS, parameters)
    }
}

impl Rows for Transaction<'_> {
    fn change_number(&mut self) -> CatalogResult<ChangeNumber> {
        lookups::change_number(&self.0)
    }

    fn segment(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
        lookups::segment(&self.0, key)
    }

    fn live_overlap(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentKey>> {
        lookups::live_overlap(&self.0, key)
    }

    fn collection(&mut self, name: &CollectionName) -> CatalogResult<Option<CollectionState>> {
        lookups::collection(&self.0, name)
    }

    fn assignment(&mut self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
        lookups::assignment(&self.0, component, collection)
    }

    fn loss(&mut self, collection: &CollectionName, first: Sequence, last: Sequence) -> CatalogResult<Option<LossRow>> {
        lookups::loss(&self.0, collection, first, last)
    }

    fn cursor(&mut self, collection: &CollectionName, sink: &str) -> CatalogResult<Option<CursorRow>> {
        lookups::cursor(&self.0, collection, sink)
    }

    fn count(&mut self, status: SegmentStatus) -> CatalogResult<u64> {
        lookups::count(&self.0, status)
    }

    fn put(&mut self, write: RowWrite) -> CatalogResult<()> {
        match write.row() {
            Row::Segment { row, before } => self.put_segment(row, before.is_none()),
            Row::Collection { state, is_new } => self.put_collection(state, *is_new),
            Row::Assignment(row) => self.0.execute(
                PUT_ASSIGNMENT,
                (
                    row.component.as_str(),
                    row.collection.as_str(),
                    row.directory.as_str(),
                    sql(row.epoch.get()),
                    sql(row.from.get()),
                    row.since.micros(),
                    checksum::assignment(row),
                ),
            ),
            Row::Loss(row) => self.put_loss(row),
            Row::LossGone { collection, first, last } => {
                self.0.execute(DELETE_LOSS, (collection.as_str(), sql(first.get()), sql(last.get())))
            }
            Row::Cursor(row) => {
                let (epoch, sequence) = (sql(row.epoch.get()), sql(row.sequence.get()));
                let parameters = (row.collection.as_str(), row.sink.as_str(), epoch, sequence, checksum::cursor(row));
                self.0.execute(PUT_CURSOR, parameters)
            }
            Row::Meta { name, value } => {
                self.0.execute(PUT_META, (name.as_str(), value.as_str(), checksum::meta(name, value)))
            }
            Row::Count { status, count } => {
                let parameters = (checksum::status_number(*status), sql(*count), checksum::count(*status, *count));
                self.0.execute(PUT_COUNT, parameters)
            }
            Row::Change(row) => self.0.execute(
                INSERT_CHANGE,
                (
                    sql(row.number.get()),
                    row.at.micros(),
                    row.reason.as_str(),
                    row.kind.as_str(),
                    row.subject.as_str(),
                    row.detail.as_str(),
                    checksum::change(row),
                ),
            ),
        }
    }
}
