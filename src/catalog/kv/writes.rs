//! Keeping rows, and the entries of their indexes, within the one write transaction.

use super::engine::Write;
use super::keys::{self, Key};
use super::{lookups, values};
use crate::catalog::checksum::Content;
use crate::catalog::state::{CollectionState, Row, RowWrite, Rows};
use crate::catalog::{Assignment, CatalogResult, CursorRow, LossRow, SegmentKey, SegmentRow, SegmentStatus};
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

/// The rows as the write transaction sees them.
pub struct Transaction<'a, W>(pub &'a mut W);

impl<W: Write> Transaction<'_, W> {
    fn put_row(&mut self, key: &Key, content: Content<'_>) -> CatalogResult<()> {
        self.0.put(key, &values::encode(content))
    }

    /// Entries that the row had and does not have any more go; those that are new come.
    fn put_segment(
        &mut self,
        row: &SegmentRow,
        before: Option<(SegmentStatus, Option<Timestamp>)>,
    ) -> CatalogResult<()> {
        let old = before.map_or_else(Vec::new, |(status, flushed_at)| {
            keys::entries(&SegmentRow { status, flushed_at, archive_key: None, ..row.clone() })
        });
        let new = keys::entries(row);
        for (key, _) in old.iter().filter(|entry| !new.contains(entry)) {
            self.0.delete(key)?;
        }
        for (key, value) in new.iter().filter(|entry| !old.contains(entry)) {
            self.0.put(key, value)?;
        }
        self.put_row(&keys::segment(&row.key), Content::Segment(row))
    }
}

impl<W: Write> Rows for Transaction<'_, W> {
    fn change_number(&mut self) -> CatalogResult<ChangeNumber> {
        lookups::change_number(self.0)
    }

    fn segment(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
        lookups::segment(self.0, key)
    }

    fn live_overlap(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentKey>> {
        lookups::live_overlap(self.0, key)
    }

    fn collection(&mut self, name: &CollectionName) -> CatalogResult<Option<CollectionState>> {
        lookups::collection(self.0, name)
    }

    fn assignment(&mut self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
        lookups::assignment(self.0, component, collection)
    }

    fn loss(&mut self, collection: &CollectionName, first: Sequence, last: Sequence) -> CatalogResult<Option<LossRow>> {
        lookups::loss(self.0, collection, first, last)
    }

    fn cursor(&mut self, collection: &CollectionName, sink: &str) -> CatalogResult<Option<CursorRow>> {
        lookups::cursor(self.0, collection, sink)
    }

    fn count(&mut self, status: SegmentStatus) -> CatalogResult<u64> {
        lookups::count(self.0, status)
    }

    fn put(&mut self, write: RowWrite) -> CatalogResult<()> {
        match write.row() {
            Row::Segment { row, before } => self.put_segment(row, *before),
            Row::Collection { state, .. } => {
                self.put_row(&keys::collection(&state.row.name), Content::Collection(state))
            }
            Row::Assignment(row) => {
                self.put_row(&keys::assignment(&row.component, &row.collection), Content::Assignment(row))
            }
            Row::Loss(row) => self.put_row(&keys::loss(&row.collection, row.first, row.last), Content::Loss(row)),
            Row::LossGone { collection, first, last } => {
                self.0.delete(&keys::loss(collection, *first, *last)).map(|_| ())
            }
            Row::Cursor(row) => self.put_row(&keys::cursor(&row.collection, &row.sink), Content::Cursor(row)),
            Row::Meta { name, value } => self.put_row(&keys::meta(name), Content::Meta { name, value }),
            Row::Count { status, count } => {
                self.put_row(&keys::count(*status), Content::Count { status: *status, count: *count })
            }
            Row::Change(row) => self.put_row(&keys::change(row.number), Content::Change(row)),
        }
    }
}
