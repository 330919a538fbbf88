//! One store: opened once, claimed once (O2), and what its manifests say that the catalog does not know yet.
//!
//! # Opening, and why a crash between any two steps is safe
//!
//! 1. The store is tried out. One that replaces objects is refused: nothing would be safe there.
//! 2. It is claimed ([`claims`]), by a manifest that says nothing; where a salvage found manifests that cannot be read, the chain begins anew
//!    ([`salvage::anew`](crate::archive::salvage::anew)). A crash behind it leaves a manifest more, of a writer that is on record.
//! 3. Manifests behind the last one that the catalog knows are read: segments that they name, and whose rows do not say so, are
//!    *ahead*. Of those only the row is left to be changed (step 5), once the object is proven.
//! 4. The catalog notes the store's URL and the claim. From here on another store under another URL must have that manifest.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::claims::{self, Wish};
use super::noted::{Noted, URL, name_of};
use super::status::TargetStatus;
use super::{ArchiverOptions, TargetStore};
use crate::archive::fence::TAKE_OVER;
use crate::archive::salvage::anew::Broken;
use crate::archive::{ArchivedSegment, Claim, Entry, ManifestNumber, chain};
use crate::catalog::{Catalog, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::objects::{Abilities, ObjectStore, PatientStore, RequestKind, Stop, Usage};
use crate::types::{ChangeNumber, Timestamp};

/// A store that segments go to.
#[derive(Debug)]
pub(super) struct Target {
    pub remote: Option<String>,
    pub url: String,
    pub store: Arc<PatientStore>,
    abilities: Option<Abilities>,
    pub claim: Option<Claim>,
    /// Segments that manifests name and rows do not.
    pub ahead: HashMap<SegmentKey, ArchivedSegment>,
    /// A change of rows had an unknown outcome: what is ahead may be known.
    pub is_unsure: bool,
    /// Up to which manifest there is nothing ahead.
    settled: ManifestNumber,
    /// Facts up to this change were told.
    pub told: ChangeNumber,
    /// The homes were told since it was opened.
    pub are_homes_told: bool,
    /// What never gets better in this process: somebody else took it over, or it is not fit.
    pub ended: Option<(ErrorKind, String)>,
    pub failing: Option<Failing>,
    /// That it is fenced is in the catalog.
    pub is_fence_noted: bool,
    /// What of its meter is in the catalog.
    pub kept: [Usage; 5],
}

/// A store that fails.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub what: String,
    since: Timestamp,
    times: u32,
    /// Not tried before this, on the monotonic clock.
    pub retry_at: Duration,
}

impl Target {
    pub fn new(target: TargetStore, options: &ArchiverOptions, stop: &Stop) -> Self {
        let clock = Arc::clone(&options.clock);
        Self {
            remote: target.remote,
            url: target.url,
            store: Arc::new(PatientStore::new(target.store, clock, options.patience, stop.clone())),
            abilities: None,
            claim: None,
            ahead: HashMap::new(),
            is_unsure: false,
            settled: ManifestNumber(0),
            told: ChangeNumber(0),
            are_homes_told: false,
            ended: None,
            failing: None,
            is_fence_noted: false,
            kept: RequestKind::ALL.map(Usage::none),
        }
    }

    /// Makes it ready to be written to.
    ///
    /// # Errors
    /// `Fenced`; `Unsupported` for a store that replaces objects; `Conflict` where it is another log's, or not the one that it was; what
    /// the store or the catalog said.
    pub fn open(&mut self, log: &Log, options: &ArchiverOptions) -> Result<()> {
        if let Some((kind, what)) = &self.ended {
            let error = Error::new(*kind, what.clone());
            return Err(if *kind == ErrorKind::Fenced { error.with_hint(TAKE_OVER) } else { error });
        }
        if self.claim.is_some() {
            return Ok(());
        }
        let (remote, url) = (self.remote.clone(), self.url.clone());
        let wish =
            Wish { remote: remote.as_deref(), url: Some(&url), retain: options.retain, take_over: options.take_over };
        // Nothing is asked of a store that is another's.
        claims::must_not_be_fenced(&**log.catalog(), &wish, &self.store.place())?;
        if self.abilities.is_none() {
            let abilities = self.store.probe()?;
            if !abilities.conditional_put {
                let message = format!(
                    "the store replaces objects that are there, so nothing is safe in it: store=`{}`",
                    self.url
                );
                self.ended = Some((ErrorKind::Unsupported, message.clone()));
                return Err(Error::new(ErrorKind::Unsupported, message)
                    .with_hint("use a store, or a version of it, that knows If-None-Match"));
            }
            self.abilities = Some(abilities);
        }
        let catalog = &**log.catalog();
        // What was noted of a chain that cannot be continued says nothing of what is ahead.
        let is_broken = Broken::read(catalog, self.remote.as_deref())?.is_some();
        let noted = if is_broken { None } else { Noted::read(catalog, self.remote.as_deref())? };
        let bound = catalog.meta(&name_of(URL, self.remote.as_deref()))?;
        let is_other = bound.as_ref().is_some_and(|bound| *bound != self.url);
        let store = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        let (claim, claimed) = claims::claim(log, store, &options.clock, &wish).map_err(|error| {
            if !(is_other && error.kind() == ErrorKind::Conflict) {
                return error;
            }
            let bound = bound.as_deref().unwrap_or_default();
            let message = format!("the log was archived elsewhere: known url=`{bound}`, given url=`{}`", self.url);
            Error::new(ErrorKind::Conflict, message)
                .with_source(error)
                .with_hint("give the known url, or copy all objects to the new place first")
        })?;
        self.read_ahead(catalog, noted.map(|noted| noted.settled), claim.newest().number)?;
        self.told = noted.map_or(ChangeNumber(0), |noted| noted.changes);
        self.claim = Some(claim);
        if !self.ahead.is_empty() {
            tracing::warn!(
                store = self.url,
                segments = self.ahead.len(),
                "manifests name segments that no row says to be archived"
            );
        }
        let mut mutations = claimed;
        mutations.push(Mutation::SetMeta { name: name_of(URL, self.remote.as_deref()), value: self.url.clone() });
        mutations.extend(self.noted().map(|noted| noted.mutation(self.remote.as_deref())));
        if let Err(error) = log.change(&mutations, "archive claimed") {
            // Claimed anew then: what is not noted would be bound to nothing.
            self.claim = None;
            return Err(error);
        }
        Ok(())
    }

    /// Step 3.
    fn read_ahead(
        &mut self,
        catalog: &dyn Catalog,
        settled: Option<ManifestNumber>,
        newest: ManifestNumber,
    ) -> Result<()> {
        self.ahead.clear();
        self.settled = settled.unwrap_or(ManifestNumber(0));
        let is_readable = match settled {
            Some(settled) => self.read_behind(settled, newest)?,
            None => false,
        };
        if !is_readable {
            let state = chain::state(&*self.store)?;
            self.ahead = state.segments().map(|segment| (segment.segment.clone(), segment.clone())).collect();
        }
        self.leave_known(catalog)
    }

    /// Of what is ahead, leaves out what rows do say.
    pub fn leave_known(&mut self, catalog: &dyn Catalog) -> Result<()> {
        let mut known = Vec::new();
        for (key, archived) in &self.ahead {
            if catalog.segment(key)?.is_some_and(|row| says_archived(&row) && archived.is_of_row(&row)) {
                known.push(key.clone());
            }
        }
        for key in known {
            self.ahead.remove(&key);
        }
        self.is_unsure = false;
        Ok(())
    }

    /// Whether every manifest behind `settled` was there.
    fn read_behind(&mut self, settled: ManifestNumber, newest: ManifestNumber) -> Result<bool> {
        let mut number = settled.next();
        while number <= newest {
            let Some(manifest) = chain::read_one(&*self.store, number)? else { return Ok(false) };
            number = number.next();
            if manifest.head.checkpoint {
                continue;
            }
            for entry in manifest.entries {
                match entry {
                    Entry::Added(added) => drop(self.ahead.insert(added.segment.clone(), added)),
                    Entry::Removed(removed) => drop(self.ahead.remove(&removed.segment)),
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    /// What the catalog is to know of it now.
    pub fn noted(&mut self) -> Option<Noted> {
        let claim = self.claim.as_ref()?;
        if self.ahead.is_empty() {
            self.settled = claim.newest().number;
        }
        Some(Noted { mark: *claim.newest(), changes: self.told, settled: self.settled })
    }

    /// A segment ahead with some of the same sequences, of the same generation, that is not the row's.
    pub fn in_the_way(&self, row: &SegmentRow) -> Option<String> {
        let key = &row.key;
        let overlaps = |other: &SegmentKey| {
            other.collection == key.collection
                && other.generation == key.generation
                && other.first <= key.last
                && other.last >= key.first
        };
        let mut ahead = self.ahead.values();
        let other = ahead.find(|other| overlaps(&other.segment) && !other.is_of_row(row))?;
        Some(other.object_key().to_string())
    }

    /// It failed: it is left alone for a while, or for good.
    pub fn fail(&mut self, options: &ArchiverOptions, error: &Error) {
        let what = told(error);
        if error.kind() == ErrorKind::Fenced {
            tracing::error!(store = self.url, error = what, "archiving there has ended");
            self.ended = Some((ErrorKind::Fenced, error.to_string()));
        }
        let times = self.failing.as_ref().map_or(0, |failing| failing.times) + 1;
        let since = self.failing.as_ref().map_or_else(|| options.clock.now(), |failing| failing.since);
        let wait = options.retry(times).max(self.store.rest());
        tracing::warn!(store = self.url, error = what, ?wait, "archiving failed");
        let retry_at = options.clock.monotonic().saturating_add(wait);
        self.failing = Some(Failing { what, since, times, retry_at });
    }

    /// What the catalog is to know, where its claim was found to be another one's since.
    pub fn fence_to_note(&mut self) -> Option<Mutation> {
        let by = self.claim.as_ref()?.fenced_by().filter(|_| !self.is_fence_noted)?;
        self.is_fence_noted = true;
        Some(claims::note_fenced(self.remote.as_deref(), Some(&self.url), by))
    }

    /// How long it is to be left alone.
    pub fn rest(&self, now: Duration) -> Duration {
        self.failing.as_ref().map_or(Duration::ZERO, |failing| failing.retry_at.saturating_sub(now))
    }

    pub fn status(&self) -> TargetStatus {
        let claim = self.claim.as_ref();
        TargetStatus {
            remote: self.remote.clone(),
            url: self.url.clone(),
            manifest: claim.map(|claim| claim.newest().number.get()),
            epoch: claim.map(|claim| claim.epoch().get()),
            abilities: self.abilities.clone(),
            fenced: self.ended.as_ref().filter(|(kind, _)| *kind == ErrorKind::Fenced).map(|(_, what)| what.clone()),
            last_error: self.failing.as_ref().map(|failing| failing.what.clone()),
            failing_since: self.failing.as_ref().map(|failing| failing.since),
            breaker: self.store.breaker(),
            usage: self.store.meter().all().to_vec(),
            unknown_segments: self.ahead.len() as u64,
        }
    }
}

/// Whether a row says, or said, that the archive has the segment.
fn says_archived(row: &SegmentRow) -> bool {
    use SegmentStatus::{Archived, Evicted, Purged, Purging, Replaced};
    matches!(row.status, Archived | Evicted | Purging | Purged | Replaced)
}

/// With what it came from.
pub(super) fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        source = error.source();
    }
    text
}
