//! A catalog in memory: the stand-in of the crash suite, and the model that engines are compared with.
//!
//! It keeps exactly what was committed: [`MemoryCatalog::snapshot`] is what a restart finds. It can be told to fail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::model::Refused;
use super::state::{CollectionState, Row, RowWrite, Rows};
use super::{
    Assignment, Catalog, CatalogError, CatalogResult, Change, CollectionRow, CursorRow, Engine, Group, LossRow,
    SegmentKey, SegmentRow, SegmentStatus, state,
};
use crate::types::{ChangeNumber, CollectionName, Sequence, Timestamp};

/// Called with a catalog before each change is committed to it.
#[derive(Clone)]
struct Observer(Arc<dyn Fn(&MemoryCatalog) + Send + Sync>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// A catalog in memory.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    tables: Mutex<Arc<Tables>>,
    /// How the next applies fail: with which error, and whether the change is kept all the same.
    failures: Mutex<VecDeque<(CatalogError, bool)>>,
    /// What every apply says stands in the way.
    unavailable: Mutex<Option<String>>,
    /// Called before each apply.
    observer: Mutex<Option<Observer>>,
    applies: AtomicU64,
}

/// All rows, by their keys. A table is copied when it is changed while a snapshot shares it.
#[derive(Clone, Debug, Default)]
struct Tables {
    segments: Table<SegmentKey, SegmentRow>,
    collections: Table<CollectionName, CollectionState>,
    assignments: Table<(String, CollectionName), Assignment>,
    losses: Table<LossKey, LossRow>,
    cursors: Table<(CollectionName, String), CursorRow>,
    meta: Table<String, String>,
    counts: Table<SegmentStatus, u64>,
    changes: Table<ChangeNumber, Change>,
}

type Table<K, V> = Arc<BTreeMap<K, Arc<V>>>;
type LossKey = (CollectionName, Sequence, Sequence);

/// The rows of a transaction: those put in it, over those committed.
struct Transaction<'a> {
    committed: &'a Tables,
    staged: Tables,
    /// Committed losses that go.
    losses_gone: BTreeSet<LossKey>,
}

/// Moves what was put over what was there.
fn merge<K: Ord + Clone, V>(committed: &mut Table<K, V>, staged: Table<K, V>) {
    if !staged.is_empty() {
        Arc::make_mut(committed).extend(staged.iter().map(|(key, value)| (key.clone(), Arc::clone(value))));
    }
}

fn put<K: Ord + Clone, V>(table: &mut Table<K, V>, key: K, value: V) {
    Arc::make_mut(table).insert(key, Arc::new(value));
}

impl Tables {
    fn merge(&mut self, staged: Self) {
        merge(&mut self.segments, staged.segments);
        merge(&mut self.collections, staged.collections);
        merge(&mut self.assignments, staged.assignments);
        merge(&mut self.losses, staged.losses);
        merge(&mut self.cursors, staged.cursors);
        merge(&mut self.meta, staged.meta);
        merge(&mut self.counts, staged.counts);
        merge(&mut self.changes, staged.changes);
    }

    fn segments_of(&self, collection: &CollectionName) -> impl Iterator<Item = &SegmentRow> {
        let first = SegmentKey {
            collection: collection.clone(),
            first: Sequence(0),
            last: Sequence(0),
            generation: crate::types::Generation(0),
        };
        let rows = self.segments.range(first..).map(|(_, row)| &**row);
        rows.take_while(move |row| row.key.collection == *collection)
    }

    /// Live segments of a collection in order of their last sequence, the highest generation first.
    fn live(&self, collection: &CollectionName) -> Vec<&SegmentRow> {
        let mut rows: Vec<_> = self.segments_of(collection).filter(|row| row.status.is_live()).collect();
        rows.sort_by_key(|row| (row.key.last, std::cmp::Reverse(row.key.generation)));
        rows
    }

    /// Rows that `include`, in order of sealing, after a row.
    fn by_sealing(
        &self,
        after: Option<&SegmentKey>,
        limit: usize,
        include: impl Fn(&SegmentRow) -> bool,
    ) -> CatalogResult<Vec<SegmentRow>> {
        let after = match after {
            None => ChangeNumber(0),
            Some(key) => match self.segments.get(key) {
                Some(row) => row.sealed_change,
                None => {
                    let what = format!("no page begins after a segment that is not there: segment=`{key}`");
                    return Err(Refused { what }.into());
                }
            },
        };
        let mut rows: Vec<_> = self.segments.values().filter(|row| row.sealed_change > after && include(row)).collect();
        rows.sort_by_key(|row| row.sealed_change);
        Ok(rows.into_iter().take(limit).map(|row| SegmentRow::clone(row)).collect())
    }
}

impl Transaction<'_> {
    fn get<K: Ord, V: Clone>(&self, table: impl Fn(&Tables) -> &Table<K, V>, key: &K) -> Option<V> {
        table(&self.staged).get(key).or_else(|| table(self.committed).get(key)).map(|row| V::clone(row))
    }
}

impl Rows for Transaction<'_> {
    fn change_number(&mut self) -> CatalogResult<ChangeNumber> {
        Ok(newest(self.committed).max(newest(&self.staged)))
    }

    fn segment(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
        Ok(self.get(|tables| &tables.segments, key))
    }

    fn live_overlap(&mut self, key: &SegmentKey) -> CatalogResult<Option<SegmentKey>> {
        let overlaps = |row: &&SegmentRow| {
            row.status.is_live()
                && row.key.generation == key.generation
                && row.key.first <= key.last
                && row.key.last >= key.first
        };
        let unchanged =
            self.committed.segments_of(&key.collection).filter(|row| !self.staged.segments.contains_key(&row.key));
        let mut rows = unchanged.chain(self.staged.segments_of(&key.collection)).filter(overlaps);
        Ok(rows.by_ref().map(|row| row.key.clone()).min())
    }

    fn collection(&mut self, name: &CollectionName) -> CatalogResult<Option<CollectionState>> {
        Ok(self.get(|tables| &tables.collections, name))
    }

    fn assignment(&mut self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
        Ok(self.get(|tables| &tables.assignments, &(component.to_owned(), collection.clone())))
    }

    fn loss(&mut self, collection: &CollectionName, first: Sequence, last: Sequence) -> CatalogResult<Option<LossRow>> {
        let key = (collection.clone(), first, last);
        Ok(if self.losses_gone.contains(&key) { None } else { self.get(|tables| &tables.losses, &key) })
    }

    fn cursor(&mut self, collection: &CollectionName, sink: &str) -> CatalogResult<Option<CursorRow>> {
        Ok(self.get(|tables| &tables.cursors, &(collection.clone(), sink.to_owned())))
    }

    fn count(&mut self, status: SegmentStatus) -> CatalogResult<u64> {
        Ok(self.get(|tables| &tables.counts, &status).unwrap_or(0))
    }

    fn put(&mut self, write: RowWrite) -> CatalogResult<()> {
        let staged = &mut self.staged;
        match write.into_row() {
            Row::Segment { row, .. } => put(&mut staged.segments, row.key.clone(), row),
            Row::Collection { state, .. } => put(&mut staged.collections, state.row.name.clone(), state),
            Row::Assignment(row) => {
                put(&mut staged.assignments, (row.component.clone(), row.collection.clone()), row);
            }
            Row::Loss(row) => {
                let key = (row.collection.clone(), row.first, row.last);
                self.losses_gone.remove(&key);
                put(&mut staged.losses, key, row);
            }
            Row::LossGone { collection, first, last } => {
                let key = (collection, first, last);
                Arc::make_mut(&mut staged.losses).remove(&key);
                self.losses_gone.insert(key);
            }
            Row::Cursor(row) => put(&mut staged.cursors, (row.collection.clone(), row.sink.clone()), row),
            Row::Meta { name, value } => put(&mut staged.meta, name, value),
            Row::Count { status, count } => put(&mut staged.counts, status, count),
            Row::Change(row) => put(&mut staged.changes, row.number, row),
        }
        Ok(())
    }
}

fn newest(tables: &Tables) -> ChangeNumber {
    tables.changes.last_key_value().map_or(ChangeNumber(0), |(number, _)| *number)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside leaves what was committed before: rows are swapped in as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryCatalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A catalog of its own with what is committed now: what a restart would find. No failure is handed on.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self { tables: Mutex::new(self.tables()), ..Self::default() }
    }

    /// Makes one of the next applies (the next, or the one after those told before) fail with `error`; nothing changes.
    pub fn fail_next(&self, error: CatalogError) {
        locked(&self.failures).push_back((error, false));
    }

    /// Like [`fail_next`](Self::fail_next), but the change is made: an unknown outcome that was good.
    pub fn fail_next_but_keep(&self, error: CatalogError) {
        locked(&self.failures).push_back((error, true));
    }

    /// Makes every apply fail as unavailable, saying `what` stands in the way, until told `None`.
    pub fn set_unavailable(&self, what: Option<&str>) {
        *locked(&self.unavailable) = what.map(str::to_owned);
    }

    /// Calls `observer` before each apply from now on: a crash may come there.
    pub fn observe(&self, observer: impl Fn(&Self) + Send + Sync + 'static) {
        *locked(&self.observer) = Some(Observer(Arc::new(observer)));
    }

    /// How many applies changed something.
    #[must_use]
    pub fn applies(&self) -> u64 {
        self.applies.load(Ordering::SeqCst)
    }

    fn tables(&self) -> Arc<Tables> {
        Arc::clone(&locked(&self.tables))
    }
}

fn page<'a, T: Clone + 'a>(rows: impl Iterator<Item = &'a Arc<T>>, limit: usize) -> Vec<T> {
    rows.take(limit).map(|row| T::clone(row)).collect()
}

impl Catalog for MemoryCatalog {
    fn apply_groups(&self, groups: &[Group<'_>]) -> CatalogResult<ChangeNumber> {
        if groups.iter().all(|group| group.mutations.is_empty()) {
            return Ok(newest(&self.tables()));
        }
        // Called without any lock held: the observer may take snapshots.
        let observer = locked(&self.observer).clone();
        if let Some(Observer(observer)) = observer {
            observer(self);
        }
        let mut tables = locked(&self.tables);
        if let Some(what) = &*locked(&self.unavailable) {
            return Err(CatalogError::Unavailable { path: "memory".to_owned(), what: what.clone() });
        }
        let failure = match locked(&self.failures).pop_front() {
            Some((error, false)) => return Err(error),
            Some((error, true)) => Some(error),
            None => None,
        };
        let mut transaction =
            Transaction { committed: &tables, staged: Tables::default(), losses_gone: BTreeSet::new() };
        let number = state::apply(&mut transaction, groups)?;
        let Transaction { staged, losses_gone, .. } = transaction;
        let committed = Arc::make_mut(&mut tables);
        for key in &losses_gone {
            Arc::make_mut(&mut committed.losses).remove(key);
        }
        committed.merge(staged);
        self.applies.fetch_add(1, Ordering::SeqCst);
        failure.map_or(Ok(number), Err)
    }

    fn change_number(&self) -> CatalogResult<ChangeNumber> {
        Ok(newest(&self.tables()))
    }

    fn changes(&self, since: ChangeNumber, limit: usize) -> CatalogResult<Vec<Change>> {
        Ok(page(self.tables().changes.range(since.next()..).map(|(_, change)| change), limit))
    }

    fn segment(&self, key: &SegmentKey) -> CatalogResult<Option<SegmentRow>> {
        Ok(self.tables().segments.get(key).map(|row| SegmentRow::clone(row)))
    }

    fn segment_holding(&self, collection: &CollectionName, sequence: Sequence) -> CatalogResult<Option<SegmentRow>> {
        let tables = self.tables();
        let holding = tables
            .segments_of(collection)
            .filter(|row| row.status.is_live() && row.key.first <= sequence && row.key.last >= sequence);
        Ok(holding.max_by_key(|row| row.key.generation).cloned())
    }

    fn segments_from(
        &self,
        collection: &CollectionName,
        from: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        let tables = self.tables();
        let rows = tables.live(collection).into_iter().filter(|row| row.key.last >= from);
        Ok(rows.take(limit).cloned().collect())
    }

    fn segments_back(
        &self,
        collection: &CollectionName,
        until: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        let tables = self.tables();
        let mut rows = tables.live(collection);
        rows.retain(|row| row.key.first <= until);
        rows.sort_by_key(|row| std::cmp::Reverse((row.key.first, row.key.generation)));
        Ok(rows.into_iter().take(limit).cloned().collect())
    }

    fn segments(
        &self,
        collection: Option<&CollectionName>,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        let tables = self.tables();
        let rows = tables.segments.values().filter(|row| {
            collection.is_none_or(|name| row.key.collection == *name) && after.is_none_or(|after| row.key > *after)
        });
        Ok(page(rows, limit))
    }

    fn segments_by_status(
        &self,
        status: SegmentStatus,
        after: Option<&SegmentKey>,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        self.tables().by_sealing(after, limit, |row| row.status == status)
    }

    fn segments_unflushed(&self, after: Option<&SegmentKey>, limit: usize) -> CatalogResult<Vec<SegmentRow>> {
        self.tables().by_sealing(after, limit, |row| row.status.is_live() && row.flushed_at.is_none())
    }

    fn segments_by_time(
        &self,
        collection: &CollectionName,
        from: Timestamp,
        until: Timestamp,
        from_sequence: Sequence,
        limit: usize,
    ) -> CatalogResult<Vec<SegmentRow>> {
        let tables = self.tables();
        let rows = tables
            .live(collection)
            .into_iter()
            .filter(|row| row.key.last >= from_sequence && row.timestamp_min <= until && row.timestamp_max >= from);
        Ok(rows.take(limit).cloned().collect())
    }

    fn sequence_max(&self, collection: &CollectionName) -> CatalogResult<Sequence> {
        Ok(self.tables().collections.get(collection).map_or(Sequence(0), |state| state.sequence_max))
    }

    fn collection(&self, name: &CollectionName) -> CatalogResult<Option<CollectionRow>> {
        Ok(self.tables().collections.get(name).map(|state| state.row.clone()))
    }

    fn collections(&self, after: Option<&CollectionName>, limit: usize) -> CatalogResult<Vec<CollectionRow>> {
        let tables = self.tables();
        let rows = tables.collections.iter().filter(|(name, _)| after.is_none_or(|after| *name > after));
        Ok(rows.take(limit).map(|(_, state)| state.row.clone()).collect())
    }

    fn assignment(&self, component: &str, collection: &CollectionName) -> CatalogResult<Option<Assignment>> {
        let key = (component.to_owned(), collection.clone());
        Ok(self.tables().assignments.get(&key).map(|row| Assignment::clone(row)))
    }

    fn assignments(
        &self,
        component: Option<&str>,
        after: Option<(&str, &CollectionName)>,
        limit: usize,
    ) -> CatalogResult<Vec<Assignment>> {
        let tables = self.tables();
        let rows = tables.assignments.values().filter(|row| {
            component.is_none_or(|component| row.component == component)
                && after.is_none_or(|after| (row.component.as_str(), &row.collection) > after)
        });
        Ok(page(rows, limit))
    }

    fn losses(&self, collection: Option<&CollectionName>) -> CatalogResult<Vec<LossRow>> {
        let tables = self.tables();
        let rows = tables.losses.values().filter(|row| collection.is_none_or(|name| row.collection == *name));
        Ok(page(rows, usize::MAX))
    }

    fn cursors(&self, collection: &CollectionName) -> CatalogResult<Vec<CursorRow>> {
        Ok(page(self.tables().cursors.values().filter(|row| row.collection == *collection), usize::MAX))
    }

    fn meta(&self, name: &str) -> CatalogResult<Option<String>> {
        Ok(self.tables().meta.get(name).map(|value| String::clone(value)))
    }

    fn values(&self) -> CatalogResult<Vec<(String, String)>> {
        Ok(self.tables().meta.iter().map(|(name, value)| (name.clone(), String::clone(value))).collect())
    }

    fn counts(&self) -> CatalogResult<Vec<(SegmentStatus, u64)>> {
        let tables = self.tables();
        Ok(SegmentStatus::ALL.map(|status| (status, tables.counts.get(&status).map_or(0, |count| **count))).to_vec())
    }

    fn check(&self) -> CatalogResult<Vec<String>> {
        Ok(Vec::new())
    }

    fn copy_to(&self, path: &Path) -> CatalogResult<ChangeNumber> {
        let what = "a catalog in memory has no file".to_owned();
        Err(CatalogError::Unavailable { path: path.display().to_string(), what })
    }

    fn engine(&self) -> Option<Engine> {
        None
    }
}
