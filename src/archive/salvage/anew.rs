//! Writing again to an archive whose manifests could not all be read.
//!
//! The chain cannot be continued: what the next manifest would stand behind is damaged or missing, and nobody could read on over it. So it
//! **begins anew**: the first manifest that is written after a salvage is a checkpoint, under the number behind the highest that the listing
//! showed, which stands behind none, and lists all that the catalog knows to be there. Whoever reads begins with it. Nothing is deleted or
//! written over: what could not be read stays as evidence.
//!
//! # Order, and why a crash between any two steps is safe
//!
//! 1. The restore, or the rebuild, puts the value [`BROKEN`] into the catalog that it makes.
//! 2. Who archives next, and finds the value, writes the checkpoint, create-only. A crash behind it leaves a chain that begins anew, which the
//!    next try finds, and takes over as any other.
//! 3. One transaction notes the manifest and takes the value away.

use std::sync::Arc;
use std::time::Duration;

use super::Found;
use crate::archive::archiver::noted::name_of;
use crate::archive::manifest::{ArchivedSegment, CollectionEntry, Entry, LossEntry, ManifestNumber, WriterId};
use crate::archive::state::ArchiveState;
use crate::archive::{Claim, chain};
use crate::catalog::{Catalog, Mutation, SegmentKey, SegmentStatus};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Log;
use crate::log::directories::home_row;
use crate::objects::ObjectStore;
use crate::types::{CollectionName, Epoch};

/// The catalog's value that says that a store's chain of manifests is to begin anew, for homes with `@{remote}` behind it: JSON with `after`, the highest
/// number that was listed, and `epoch`, that no manifest is above. Empty where that was done.
pub const BROKEN: &str = "archive.broken";

const PAGE_ROWS: usize = 1_000;

/// A chain that cannot be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Broken {
    /// The highest number that the listing showed; zero for none.
    pub after: ManifestNumber,
    /// No manifest and no segment that was read has a higher one.
    pub epoch: Epoch,
}

impl Broken {
    /// What a salvage found; `None` for a chain that can be continued.
    pub(in crate::archive) fn of(found: &Found) -> Option<Self> {
        let after = found.newest_listed.unwrap_or(ManifestNumber(0));
        (!found.is_whole()).then(|| Self { after, epoch: found.state.epoch_max() })
    }

    /// What the catalog says of a store.
    ///
    /// # Errors
    /// `Corrupt` where the value cannot be read; what the catalog said.
    pub fn read(catalog: &dyn Catalog, remote: Option<&str>) -> Result<Option<Self>> {
        let name = name_of(BROKEN, remote);
        let Some(text) = catalog.meta(&name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("a value of the catalog cannot be read: name=`{name}`"))
                .with_source(error)
        })
    }

    /// The catalog's value that says it: name and text.
    pub(in crate::archive) fn value(&self, remote: Option<&str>) -> (String, String) {
        (name_of(BROKEN, remote), serde_json::to_string(self).expect("numbers"))
    }

    /// The change that says that the chain began anew.
    pub(in crate::archive) fn done(remote: Option<&str>) -> Mutation {
        Mutation::SetMeta { name: name_of(BROKEN, remote), value: String::new() }
    }

    /// Step 2; `None` where the chain began anew already, so that it can be taken over as any other.
    ///
    /// # Errors
    /// `Corrupt` where the catalog knows segments that cannot be together; `Unavailable` where somebody else was first; what the store said.
    pub(in crate::archive) fn claim(
        &self,
        log: &Log,
        remote: Option<&str>,
        store: &Arc<dyn ObjectStore>,
        clock: &Arc<dyn Clock>,
        writer: WriterId,
        retain: Option<Duration>,
    ) -> Result<Option<Claim>> {
        match chain::newest(&**store, None) {
            Ok(Some((head, _))) if head.log == log.id() && head.begins > self.after => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
        }
        let state = known(&**log.catalog(), remote)?;
        if let Some(problem) = state.problems().first() {
            let message = format!("the catalog knows segments that cannot be together: {problem}");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let epoch = log.epoch().max(self.epoch.next());
        tracing::warn!(
            store = store.place(),
            manifest = %self.after.next(),
            "the chain of manifests begins anew: some before it cannot be read"
        );
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        Claim::anew(store, clock, (log.id(), self.after.next(), epoch, writer), retain, &state).map(Some)
    }
}

/// What the catalog knows to be in a store.
fn known(catalog: &dyn Catalog, remote: Option<&str>) -> Result<ArchiveState> {
    let mut state = ArchiveState::new();
    let mut after: Option<SegmentKey> = None;
    loop {
        let rows = catalog.segments(None, after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.key.clone());
        for row in rows {
            use SegmentStatus::{Archived, Evicted, Quarantined};
            let Some(key) = row.archive_key.as_deref() else { continue };
            let store = key.strip_prefix('@').and_then(|rest| rest.split_once('/')).map(|(remote, _)| remote);
            if store == remote && matches!(row.status, Archived | Evicted | Quarantined) {
                state.tell(Entry::Added(ArchivedSegment::from(&row)));
            }
        }
    }
    let mut after: Option<CollectionName> = None;
    loop {
        let rows = catalog.collections(after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { return Ok(state) };
        after = Some(last.name.clone());
        for row in rows {
            if remote.is_some() && !state.collections().contains_key(&row.name) {
                continue;
            }
            for loss in catalog.losses(Some(&row.name))? {
                state.tell(Entry::Loss(LossEntry::from(&loss)));
            }
            let home = home_row(catalog, &row.name)?;
            state.tell(Entry::Collection(CollectionEntry {
                name: row.name,
                created_at: row.created_at,
                floor: row.floor,
                sealed_through: row.sealed_through,
                home,
                settings: row.settings,
            }));
        }
    }
}
