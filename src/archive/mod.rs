//! The archive: segments in an object store, proven to be there, kept for years (DESIGN section 9).
//!
//! Owns: what lies in a store besides segments (manifests, snapshots), who may write there (O2), bringing segments there and proving that they
//! arrived (O3, O4), bringing them back, keeping and purging them, and saying what all that costs. Does not own: the log's files
//! and the catalog's rules; it changes both through [`Log`](crate::Log) only, driven by the catalog's state. The log does not know this room,
//! but for the trait [`log::tier::Archive`](crate::log::tier::Archive).
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. **Intent**: one transaction sets the row `Archiving`, with the key that the object will have, and lists the attempt in the catalog's value
//!    `archive.intents`. A crash leaves a row that recovery sets back to `Sealed`; nothing was sent.
//! 2. **Put**, create-only. A crash, or a lost answer, leaves an object that no manifest names: it counts for nothing. The next try finds
//!    the same bytes there.
//! 3. **Proof** (O4). Nothing changes.
//! 4. **Manifest**, create-only, under the next number. From here on the objects count. A crash leaves rows that are not `Archived` of
//!    objects that count: the next try finds the key in a manifest, proves the object, and goes on with 5.
//! 5. **Rows**: one transaction sets them `Archived`, drops the attempts, and notes the manifest.
//!
//! Local files go only behind 5, by [`evict`](crate::log::tier).
//!
//! # Reading an archive
//!
//! [`manifest`] has the format of manifests, [`chain`] reads them in order, [`state`] folds them into what the archive has, [`fence`] writes them;
//! [`reader`] reads archived segments by range, [`mod@restore`] brings a log back, [`mod@verify`] proves that all is there, [`mod@snapshot`] archives the catalog.
//! [`salvage`] is what can be had where manifests are damaged. [`retention`] decides what goes, and lets it go.

pub mod archiver;
pub mod chain;
mod checkpoint;
pub mod fence;
pub mod intent;
pub mod limits;
pub mod ls;
pub mod manifest;
#[cfg(test)]
pub(crate) mod memory_store;
pub mod overview;
pub mod price;
pub mod reader;
pub mod restore;
pub mod retention;
pub mod salvage;
pub mod snapshot;
pub mod state;
pub mod verify;
#[cfg(test)]
pub(crate) mod world;

pub use archiver::{Archiver, ArchiverOptions, ArchiverStatus, TargetStore};
pub use fence::Claim;
pub use manifest::{
    ArchivedSegment, CatalogSnapshot, CollectionEntry, Entry, LossEntry, LossGone, Manifest, ManifestHead,
    ManifestMark, ManifestNumber, RemoteEntry, RemovedSegment, WriterId,
};
pub use overview::ArchiveOverview;
pub use price::PriceTable;
pub use reader::{ArchiveReader, ReaderOptions};
pub use restore::{RestoreOptions, RestoreProgress, Restored, rebuild_catalog, rebuild_catalog_salvaging, restore};
pub use salvage::Salvage;
pub use snapshot::snapshot;
pub use state::{ArchiveState, ArchivedCollection};
pub use verify::{RemoteFault, RemoteFaultKind, RemotePlace, RemoteReport, RemoteVerifyOptions, verify, verify_all};
