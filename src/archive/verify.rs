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
//! - `sequences`: contiguity, over all stores of a log together
//!
//! Requests: one get for each manifest, one listing for each thousand objects, one head for each segment (none where everything is read back),
//! and what is read back.

mod objects;
pub mod report;
mod sequences;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use self::objects::{Looked, compare, in_threads, look};
pub use self::report::{Orphan, RemoteFault, RemoteFaultKind, RemoteProgress, RemoteReport, RemoteVerifyOptions};
use super::chain;
use super::ls::ObjectKind;
use super::manifest::{ArchivedSegment, ManifestNumber};
use super::state::ArchiveState;
use crate::catalog::{Catalog, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, Result};
use crate::log::verify::Verified;
use crate::objects::{ObjectKey, ObjectStore};

const PAGE: usize = 1_000;

/// One of a log's stores.
#[derive(Clone, Copy, Debug)]
pub struct RemotePlace<'a> {
    /// The id of a home of segments (A5); `None` for the log's archive.
    pub remote: Option<&'a str>,
    /// The store.
    pub store: &'a dyn ObjectStore,
}

/// Proves that an archive has what its manifests say. Where the log's `catalog` is given, its rows are compared too. What is wrong is part
/// of the report, and no error.
///
/// # Errors
/// The store does not answer, nothing was archived there, or the catalog cannot be read.
pub fn verify(
    store: &dyn ObjectStore,
    catalog: Option<&dyn Catalog>,
    options: &RemoteVerifyOptions,
    progress: &mut (dyn FnMut(RemoteProgress) + Send),
) -> Result<RemoteReport> {
    let place = RemotePlace { remote: None, store };
    let mut reports = verify_all(&[place], catalog, options, &mut |_, told| progress(told))?;
    reports.pop().expect("one for each place")
}

/// The same of all stores of a log together, the archive first where it is among them: sequences of a collection may be in several of them, since its home
/// was changed. Gives for each what was found, or why it could not be read, which keeps no other from being looked at. `progress` is told the
/// number of the place too.
///
/// Sequences that are missing are told by the first one that could be read. Where one could not, those of its segments that the catalog knows are taken to
/// be there; without a catalog contiguity is not judged then.
///
/// # Errors
/// The catalog cannot be read.
pub fn verify_all(
    places: &[RemotePlace<'_>],
    catalog: Option<&dyn Catalog>,
    options: &RemoteVerifyOptions,
    progress: &mut (dyn FnMut(usize, RemoteProgress) + Send),
) -> Result<Vec<Result<RemoteReport>>> {
    let mut rows = catalog.map(rows_by_store).transpose()?.unwrap_or_default();
    let rows: Vec<Vec<SegmentRow>> =
        places.iter().map(|place| rows.remove(place.remote.unwrap_or_default()).unwrap_or_default()).collect();
    // All manifests before the first object is looked at, which takes long.
    let mut read: Vec<Result<(Verifier<'_>, ArchiveState)>> =
        places.iter().map(|place| Verifier::read(*place, options)).collect();
    let mut later: Vec<Option<ArchiveState>> = Vec::with_capacity(places.len());
    for (index, slot) in read.iter_mut().enumerate() {
        let Ok((verifier, state)) = slot else {
            later.push(None);
            continue;
        };
        match verifier.look(state, &rows[index], catalog, &mut |told| progress(index, told)) {
            Ok(since) => later.push(since),
            Err(Looking::Store(error)) => {
                *slot = Err(error);
                later.push(None);
            }
            Err(Looking::Catalog(error)) => return Err(error),
        }
    }
    let unread = || read.iter().zip(&rows).filter(|(read, _)| read.is_err()).flat_map(|(_, rows)| rows);
    let states: Vec<_> = places
        .iter()
        .zip(&read)
        .zip(&later)
        .filter_map(|((place, read), later)| Some((place.remote, &read.as_ref().ok()?.1, later.as_ref())))
        .collect();
    let is_all_there = states.len() == places.len();
    let found = sequences::check(&states, (is_all_there || catalog.is_some()).then(|| unread().collect()));
    let mut found = Some(found);
    let finish = |read: Result<(Verifier<'_>, ArchiveState)>| {
        let (mut verifier, _) = read?;
        let found = found.take().unwrap_or_default();
        verifier.report.faults.extend(found.faults);
        verifier.report.gaps.extend(found.gaps);
        Ok(verifier.finish())
    };
    Ok(read.into_iter().map(finish).collect())
}

/// The catalog's rows that speak of archived objects, by the id of the home that they are in; empty for the log's archive.
fn rows_by_store(catalog: &dyn Catalog) -> Result<BTreeMap<String, Vec<SegmentRow>>> {
    let mut found: BTreeMap<String, Vec<SegmentRow>> = BTreeMap::new();
    let mut after: Option<SegmentKey> = None;
    loop {
        let rows = catalog.segments(None, after.as_ref(), PAGE)?;
        let Some(last) = rows.last() else { return Ok(found) };
        after = Some(last.key.clone());
        for row in rows {
            if let Some((store, _)) = object_of(&row) {
                let store = store.to_owned();
                found.entry(store).or_default().push(row);
            }
        }
    }
}

/// The home that has a row's object (empty for the log's archive), and its key there.
fn object_of(row: &SegmentRow) -> Option<(&str, &str)> {
    let key = row.archive_key.as_deref()?;
    Some(key.strip_prefix('@').map_or(("", key), |rest| rest.split_once('/').unwrap_or((rest, ""))))
}

/// What ended looking at a place.
enum Looking {
    Store(Error),
    Catalog(Error),
}

struct Verifier<'a> {
    remote: Option<&'a str>,
    store: &'a dyn ObjectStore,
    options: &'a RemoteVerifyOptions,
    report: RemoteReport,
}

impl<'a> Verifier<'a> {
    /// What manifests say.
    fn read(place: RemotePlace<'a>, options: &'a RemoteVerifyOptions) -> Result<(Self, ArchiveState)> {
        let report = RemoteReport { store: place.store.place(), ..RemoteReport::default() };
        let mut verifier = Self { remote: place.remote, store: place.store, options, report };
        let state = verifier.read_manifests()?;
        Ok((verifier, state))
    }

    /// All but sequences. Gives what manifests say by then, where that is another thing.
    fn look(
        &mut self,
        state: &ArchiveState,
        rows: &[SegmentRow],
        catalog: Option<&dyn Catalog>,
        progress: &mut (dyn FnMut(RemoteProgress) + Send),
    ) -> Result<Option<ArchiveState>, Looking> {
        let listed = self.list().map_err(Looking::Store)?;
        // What came and went while we listed.
        let later = match chain::state(self.store) {
            Ok(later) if later.mark() != state.mark() => Some(later),
            _ => None,
        };
        self.check_objects(state, later.as_ref(), &listed, progress);
        self.find_orphans(state, later.as_ref(), listed, rows);
        if let Some(catalog) = catalog {
            self.check_rows(later.as_ref().unwrap_or(state), rows, catalog).map_err(Looking::Catalog)?;
        }
        Ok(later)
    }

    fn fault(&mut self, kind: RemoteFaultKind, key: Option<String>, segment: Option<&SegmentKey>, reason: String) {
        self.report.faults.push(RemoteFault::of(kind, key, segment, reason));
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
            if !is_of_manifests(&error) {
                return Err(error);
            }
            self.fault(RemoteFaultKind::Manifest, None, None, error.to_string());
            state = match chain::state(self.store) {
                Ok(state) => state,
                Err(again) if !is_of_manifests(&again) => return Err(again),
                Err(again) => {
                    if again.to_string() != error.to_string() {
                        self.fault(RemoteFaultKind::Manifest, None, None, again.to_string());
                    }
                    ArchiveState::new()
                }
            };
        } else if count == 0 && self.remote.is_none() {
            // A home begins with the first segment that is sent there: one without any is as it should be.
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
            .filter_map(|row| Some(object_of(row)?.1))
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

/// Whether a manifest is not as it should be; else the store does not answer, which says nothing of them.
fn is_of_manifests(error: &Error) -> bool {
    use crate::ErrorKind::{Conflict, Corrupt, Invalid, Unsupported};
    matches!(error.kind(), Conflict | Corrupt | Invalid | Unsupported)
}

#[cfg(test)]
mod tests;
