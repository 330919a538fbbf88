//! Every question goes to the first; every change too, and then the second is woken.

use std::path::Path;

use super::MirroredCatalog;
use crate::catalog::{
    Assignment, Catalog, CatalogResult, Change, CollectionRow, CursorRow, Engine, Group, LossRow, MirrorStatus,
    SegmentKey, SegmentRow, SegmentStatus,
};
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

impl Catalog for MirroredCatalog {
    fn apply_groups(&self, groups: &[Group<'_>]) -> CatalogResult<ChangeNumber> {
        let number = self.first.apply_groups(groups)?;
        self.shared.tell(number);
        Ok(number)
    }

    fn change_number(&self) -> CatalogResult<ChangeNumber> {
        self.first.change_number()
    }

    fn changes(&self, since: ChangeNumber, limit: usize) -> CatalogResult<Vec<Change>> {
        self.first.changes(since, limit)
    }

    fn segment(&self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
        self.first.segment(key)
    }

    fn segment_holding(&self, collection: &CollectionName, sequence: Sequence) -> CatalogResult<Option<SegmentRow>> {
        self.first.segment_holding(collection, sequence)
    }

    fn segments_from(
        &self,
        collection: &CollectionName,
        from: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.first.segments_from(collection, from, limit)
    }

    fn segments_back(
        &self,
        collection: &CollectionName,
        until: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.first.segments_back(collection, until, limit)
    }

    fn segments(
        &self,
        collection: Option<&CollectionName>,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.first.segments(collection, after, limit)
    }

    fn segments_by_status(
        &self,
        status: SegmentStatus,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.first.segments_by_status(status, after, limit)
    }

    fn segments_unflushed(&self, after: Option<&SegmentKey>, limit: usize) -> CatalogResult<Vec<SegmentRow>> {
        self.first.segments_unflushed(after, limit)
    }

    fn segments_by_time(
        &self,
        collection: &CollectionName,
        from: Timestamp,
        until: Timestamp,
        from_sequence: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.first.segments_by_time(collection, from, until, from_sequence, limit)
    }

    fn sequence_max(&self, collection: &CollectionName) -> CatalogResult<Sequence> {
        self.first.sequence_max(collection)
    }

    fn collection(&self, name: &CollectionName) -> CatalogResult<Option<CollectionRow>> {
        self.first.collection(name)
    }

    fn collections(&self, after: Option<&CollectionName>, limit: usize) -> CatalogResult<Vec<CollectionRow>> {
        self.first.collections(after, limit)
    }

    fn assignment(&self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
        self.first.assignment(component, collection)
    }

    fn assignments(
        &self,
        component: Option<&str>,
        after: Option<(&str, &CollectionName)>,
        limit: usize,
    ) -> CatalogResult<Vec<Assignment>> {
        self.first.assignments(component, after, limit)
    }

    fn losses(&self, collection: Option<&CollectionName>) -> CatalogResult<Vec<LossRow>> {
        self.first.losses(collection)
    }

    fn cursors(&self, collection: &CollectionName) -> CatalogResult<Vec<CursorRow>> {
        self.first.cursors(collection)
    }

    fn values(&self) -> CatalogResult<Vec<(String, String)>> {
        self.first.values()
    }

    fn meta(&self, name: &str) -> CatalogResult<Option<String>> {
        self.first.meta(name)
    }

    fn counts(&self) -> CatalogResult<Vec<(SegmentStatus, u64)>> {
        self.first.counts()
    }

    fn check(&self) -> CatalogResult<Vec<String>> {
        self.first.check()
    }

    fn copy_to(&self, path: &Path) -> CatalogResult<ChangeNumber> {
        self.first.copy_to(path)
    }

    fn engine(&self) -> Option<Engine> {
        self.first.engine()
    }

    fn mirror(&self) -> Option<MirrorStatus> {
        Some(self.status())
    }
}
