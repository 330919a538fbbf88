//! Proving that an archive has what it should have, or naming what it has not.
//!
//! Owns: the chain of manifests, contiguity, objects against manifests in both directions, checksums, the catalog's rows against manifests. Does not own:
//! the log's own directories ([`log::verify`](crate::log::verify)). Changes nothing.
//!
//! It works beside an archiver. What is captured first may move on: the catalog's rows are read before the manifests, the manifests before the
//! objects are listed, and what then seems wrong is judged again by the manifests written meanwhile.
//!
//! - [`report`]: what is asked, and what is answered
//! - `objects`: one object
//!
//! Requests: one get for each manifest, one listing for each thousand objects, one head for each segment (none where everything is read back),
//! and what is read back.

mod objects;
pub mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use self::objects::{Looked, compare, in_threads, look};
pub use self::report::{Orphan, RemoteFault, RemoteFaultKind, RemoteProgress, RemoteReport, RemoteVerifyOptions};
use super::chain;
use super::ls::ObjectKind;
use super::manifest::{ArchivedSegment, ManifestNumber};
use super::state::{ArchiveState, holes};
use crate::catalog::{Catalog, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, Result};
use crate::log::verify::{Missing, Verified};
use crate::objects::{ObjectKey, ObjectStore};

const PAGE: usize = 1_000;

/// Proves that an archive has what its manifests say. Where the log's `catalog` is given, its rows are compared too. What is wrong is part
/// of the report, and no error.
///
/// # Errors
/// The store cannot be listed at all, or the catalog cannot be read.
pub fn verify(
    store: &dyn ObjectStore,
    catalog: Option<&dyn Catalog>,
    options: &RemoteVerifyOptions,
    progress: &mut (dyn FnMut(RemoteProgress) + Send),
) -> Result<RemoteReport> {
    let mut verifier =
        Verifier { store, options, report: RemoteReport { store: store.place(), ..RemoteReport::default() } };
    let rows = catalog.map(rows_of).transpose()?.unwrap_or_default();
    let state = verifier.read_manifests()?;
    let listed = verifier.list()?;
    // What came and went while we listed.
    let later = match chain::state(store) {
        Ok(later) if later.mark() != state.mark() => Some(later),
        _ => None,
    };
    verifier.check_sequences(&state);
    verifier.check_objects(&state, later.as_ref(), &listed, progress);
    verifier.find_orphans(&state, later.as_ref(), listed, &rows);
    if let Some(catalog) = catalog {
        verifier.check_rows(later.as_ref().unwrap_or(&state), &rows, catalog)?;
    }
    Ok(verifier.finish())
}

/// The catalog's rows that speak of archived objects: those of this archive, not of homes elsewhere.
fn rows_of(catalog: &dyn Catalog) -> Result<Vec<SegmentRow>> {
    let mut found = Vec::new();
    let mut after: Option<SegmentKey> = None;
    loop {
        let rows = catalog.segments(None, after.as_ref(), PAGE)?;
        let Some(last) = rows.last() else { return Ok(found) };
        after = Some(last.key.clone());
        found.extend(rows.into_iter().filter(|row| row.archive_key.as_ref().is_some_and(|key| !key.starts_with('@'))));
    }
}

struct Verifier<'a> {
    store: &'a dyn ObjectStore,
    options: &'a RemoteVerifyOptions,
    report: RemoteReport,
}

impl Verifier<'_> {
    fn fault(&mut self, kind: RemoteFaultKind, key: Option<String>, segment: Option<&SegmentKey>, reason: String) {
        self.report.faults.push(RemoteFault {
            kind,
            key,
            collection: segment.map(|segment| segment.collection.clone()),
            first_sequence: segment.map(|segment| segment.first),
            last_sequence: segment.map(|segment| segment.last),
            reason,
        });
    }

    /// All manifests from the first on; where that cannot be, what the newest checkpoint tells.
    fn read_manifests(&mut self) -> Result<ArchiveState> {
        let mut state = ArchiveState::new();
        let mut count = 0;
        let whole = chain::read(self.store, None, &mut |manifest| {
            count += 1;
            state.apply(manifest)
        });
        self.report.manifests = count;
        if let Err(error) = whole {
            self.fault(RemoteFaultKind::Manifest, None, None, error.to_string());
            state = match chain::state(self.store) {
                Ok(state) => state,
                Err(again) => {
                    if again.to_string() != error.to_string() {
                        self.fault(RemoteFaultKind::Manifest, None, None, again.to_string());
                    }
                    ArchiveState::new()
                }
            };
        } else if count == 0 {
            let message = format!("there is no archive: store=`{}`", self.store.place());
            return Err(Error::new(crate::ErrorKind::NotFound, message).with_hint("is the url right, with its prefix?"));
        }
        for problem in state.problems().to_vec() {
            self.fault(RemoteFaultKind::Manifest, None, None, problem);
        }
        self.report.newest = state.mark().copied();
        for segment in state.segments() {
            self.report.segments += 1;
            self.report.bytes += segment.bytes;
            self.report.records += segment.records;
        }
        Ok(state)
    }

    /// Every object by its key, but the manifests.
    fn list(&mut self) -> Result<BTreeMap<String, u64>> {
        let mut listed = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.store.list("", after.as_deref(), PAGE)?;
            let others = page.objects.into_iter().filter(|object| ManifestNumber::parse(&object.key).is_none());
            listed.extend(others.map(|object| (object.key, object.bytes)));
            after = page.next;
            if after.is_none() {
                return Ok(listed);
            }
        }
    }

    /// Contiguity, from the floor to the last archived sequence of each collection.
    fn check_sequences(&mut self, state: &ArchiveState) {
        for (name, collection) in state.collections() {
            let floor = collection.floor();
            let last = collection.segments.values().map(|segment| segment.segment.last).max().unwrap_or_default();
            for (first, last) in holes(floor, last, collection.covered()) {
                let key = SegmentKey { collection: name.clone(), first, last, generation: crate::Generation(0) };
                let reason = "records are missing, and no loss is on record".to_owned();
                self.fault(RemoteFaultKind::Sequences, None, Some(&key), reason);
            }
            for loss in collection.losses.values().filter(|loss| loss.last >= floor) {
                match &loss.acknowledged {
                    Some(taken) => self.report.gaps.push(Missing {
                        collection: name.clone(),
                        first_sequence: loss.first,
                        last_sequence: loss.last,
                        reason: loss.reason.clone(),
                        found_at: loss.found_at.to_string(),
                        acknowledged_by: Some(taken.by.clone()),
                        acknowledged_at: Some(taken.at.to_string()),
                    }),
                    None => {
                        let (collection, first, last) = (name.clone(), loss.first, loss.last);
                        let key = SegmentKey { collection, first, last, generation: crate::Generation(0) };
                        let reason = format!("a loss that nobody acknowledged: {}", loss.reason);
                        self.fault(RemoteFaultKind::Sequences, None, Some(&key), reason);
                    }
                }
            }
        }
    }

    /// Every segment that manifests name is there, with its length and its bytes; so is the newest copy of the catalog.
    fn check_objects(
        &mut self,
        state: &ArchiveState,
        later: Option<&ArchiveState>,
        listed: &BTreeMap<String, u64>,
        progress: &mut (dyn FnMut(RemoteProgress) + Send),
    ) {
        let segments: Vec<&ArchivedSegment> = state.segments().collect();
        let told = Mutex::new(RemoteProgress { segments_total: self.report.segments, ..RemoteProgress::default() });
        let next = AtomicUsize::new(0);
        let found: Mutex<Vec<(usize, Looked)>> = Mutex::new(Vec::with_capacity(segments.len()));
        let progress = Mutex::new(progress);
        let (store, options) = (self.store, self.options);
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(segment) = segments.get(index) else { return };
                let looked = look(store, options, segment, listed.get(segment.object_key().as_str()).copied());
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.segments += 1;
                told.bytes += if matches!(looked, Looked::ReadBack) { segment.bytes } else { 0 };
                found.lock().unwrap_or_else(PoisonError::into_inner).push((index, looked));
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                (*progress)(*told);
            }
        };
        if options.threads > 1 {
            // What is told is told from whichever thread is done; never from two at once.
            in_threads(options.threads, &work);
        } else {
            work();
        }
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_unstable_by_key(|(index, _)| *index);
        for (index, looked) in found {
            let segment = segments[index];
            match looked {
                Looked::Proven => self.report.proven_by_store += 1,
                Looked::ReadBack => self.report.read_back += 1,
                Looked::There => {}
                // Removed meanwhile: then nobody promises it.
                Looked::Wrong(..) if later.is_some_and(|later| later.segment(&segment.segment).is_none()) => {}
                Looked::Wrong(kind, reason) => {
                    self.fault(kind, Some(segment.object_key().to_string()), Some(&segment.segment), reason);
                }
            }
        }
        if let Some(snapshot) = later.unwrap_or(state).snapshot() {
            let looked = match ObjectKey::new(snapshot.key.clone()) {
                Ok(key) => compare(store, options.deep, &key, snapshot.bytes, &snapshot.sha256),
                Err(error) => Looked::Wrong(RemoteFaultKind::Manifest, error.to_string()),
            };
            if let Looked::Wrong(kind, reason) = looked {
                let reason = format!("the copy of the catalog: {reason}");
                self.fault(kind, Some(snapshot.key.clone()), None, reason);
            }
        }
    }

    fn find_orphans(
        &mut self,
        state: &ArchiveState,
        later: Option<&ArchiveState>,
        listed: BTreeMap<String, u64>,
        rows: &[SegmentRow],
    ) {
        let states = || std::iter::once(state).chain(later);
        let named: BTreeSet<String> = states()
            .flat_map(|state| {
                let snapshot = state.snapshot().map(|snapshot| snapshot.key.clone());
                state.segments().map(|segment| segment.object_key().to_string()).chain(snapshot)
            })
            .collect();
        let under_way: BTreeSet<&str> = rows
            .iter()
            .filter(|row| row.status == SegmentStatus::Archiving)
            .filter_map(|row| row.archive_key.as_deref())
            .collect();
        for (key, bytes) in listed.into_iter().filter(|(key, _)| !named.contains(key)) {
            let (what, under_way) = (ObjectKind::of(&key, false), under_way.contains(key.as_str()));
            self.report.orphans.push(Orphan { key, bytes, what, under_way });
        }
    }

    /// The catalog and the manifests say the same.
    fn check_rows(&mut self, state: &ArchiveState, rows: &[SegmentRow], catalog: &dyn Catalog) -> Result<()> {
        for row in rows.iter().filter(|row| matches!(row.status, SegmentStatus::Archived | SegmentStatus::Evicted)) {
            let reason = match state.segment(&row.key) {
                Some(segment) if segment.is_of_row(row) => continue,
                Some(_) => "the catalog has other bytes archived than the manifests name",
                None => "the catalog says that it is archived, and no manifest names it",
            };
            // Purged meanwhile?
            let now = catalog.segment(&row.key)?;
            if now.is_some_and(|now| now.status == row.status) {
                self.fault(RemoteFaultKind::NotNamed, row.archive_key.clone(), Some(&row.key), reason.to_owned());
            }
        }
        for segment in state.segments() {
            if catalog.segment(&segment.segment)?.is_none() {
                let reason = "a manifest names a segment that the catalog does not know".to_owned();
                let key = Some(segment.object_key().to_string());
                self.fault(RemoteFaultKind::WithoutRow, key, Some(&segment.segment), reason);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> RemoteReport {
        self.report.faults.sort_by(|one, other| (one.kind, &one.key).cmp(&(other.kind, &other.key)));
        self.report.verdict = if !self.report.faults.is_empty() {
            Verified::Damaged
        } else if !self.report.gaps.is_empty() {
            Verified::OkWithGaps
        } else {
            Verified::Ok
        };
        self.report.ok = self.report.faults.is_empty();
        self.report
    }
}

#[cfg(test)]
mod tests;
