//! The state of the archive by the catalog alone, whether an archiver runs or not: what waits, what is kept, what it cost.

use super::archiver::{KeptStore, kept_stores};
use super::price::{Bill, PriceTable};
use crate::catalog::{Catalog, SegmentKey, SegmentStatus};
use crate::error::Result;
use crate::types::Timestamp;

/// Rows read at once.
const PAGE_ROWS: usize = 4096;

/// The state of the archive.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ArchiveOverview {
    /// Segments that are in no archive yet.
    pub waiting_segments: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// When the oldest of them was sealed: so far the archive lags behind.
    pub waiting_since: Option<Timestamp>,
    /// Segments that are archived, with a local copy or without.
    pub archived_segments: u64,
    /// Their bytes.
    pub archived_bytes: u64,
    /// Those of them without a local copy.
    pub evicted_segments: u64,
    /// Their bytes.
    pub evicted_bytes: u64,
    /// Segments that are purged here, and not yet in the archive.
    pub purging_segments: u64,
    /// The stores, as of the last pass of an archiver.
    pub stores: Vec<KeptStore>,
    /// What all that cost, by the prices of the settings; zeros where none are set.
    pub cost: Bill,
}

impl ArchiveOverview {
    /// By the catalog, as it is now.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn of(catalog: &dyn Catalog, prices: &PriceTable) -> Result<Self> {
        let mut overview = Self { stores: kept_stores(catalog)?, ..Self::default() };
        for status in [SegmentStatus::Sealed, SegmentStatus::Archiving] {
            each(catalog, status, &mut |row| {
                overview.waiting_segments += 1;
                overview.waiting_bytes += row.bytes;
                let since = overview.waiting_since.map_or(row.sealed_at, |since| since.min(row.sealed_at));
                overview.waiting_since = Some(since);
            })?;
        }
        for status in [SegmentStatus::Archived, SegmentStatus::Evicted] {
            each(catalog, status, &mut |row| {
                overview.archived_segments += 1;
                overview.archived_bytes += row.bytes;
                if status == SegmentStatus::Evicted {
                    overview.evicted_segments += 1;
                    overview.evicted_bytes += row.bytes;
                }
            })?;
        }
        each(catalog, SegmentStatus::Purging, &mut |_| overview.purging_segments += 1)?;
        let usage: Vec<_> = overview.stores.iter().flat_map(|store| store.usage.iter().copied()).collect();
        overview.cost = prices.bill(&usage, overview.archived_bytes);
        Ok(overview)
    }
}

fn each(catalog: &dyn Catalog, status: SegmentStatus, take: &mut dyn FnMut(&crate::catalog::SegmentRow)) -> Result<()> {
    let mut after: Option<SegmentKey> = None;
    loop {
        let rows = catalog.segments_by_status(status, after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.key.clone());
        rows.iter().for_each(&mut *take);
    }
}
