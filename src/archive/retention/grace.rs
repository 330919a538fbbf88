//! What was removed by a manifest, and since when: its objects wait for their grace period.
//!
//! Kept in the catalog's value `archive.purges`, as JSON. A row is found in it by its range: ranges are exactly those of rows that a manifest
//! named, so one that came to be purged later is never taken for one of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Log;
use crate::catalog::{Mutation, SegmentRow};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{CollectionName, Sequence, Timestamp};

/// The name of the catalog's value.
const PURGES: &str = "archive.purges";

/// Rows that one manifest removed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// The remote's id; empty for the log's archive.
    pub store: String,
    /// The newest manifest that says so.
    pub manifest: u64,
    /// When the grace period began, in microseconds since 1970.
    pub at: Timestamp,
    /// Ranges of rows without a hole between them, by collection.
    pub ranges: BTreeMap<CollectionName, Vec<(Sequence, Sequence)>>,
}

/// All that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting(pub Vec<Batch>);

impl Batch {
    /// Of these rows, in any order.
    pub fn of<'a>(store: &str, manifest: u64, at: Timestamp, rows: impl Iterator<Item = &'a SegmentRow>) -> Self {
        let mut ranges: BTreeMap<CollectionName, Vec<(Sequence, Sequence)>> = BTreeMap::new();
        for row in rows {
            ranges.entry(row.key.collection.clone()).or_default().push((row.key.first, row.key.last));
        }
        for of in ranges.values_mut() {
            of.sort_unstable();
            let mut merged: Vec<(Sequence, Sequence)> = Vec::new();
            for &(first, last) in of.iter() {
                match merged.last_mut() {
                    Some(before) if before.1.next() == first => before.1 = last,
                    _ => merged.push((first, last)),
                }
            }
            *of = merged;
        }
        Self { store: store.to_owned(), manifest, at, ranges }
    }

    pub fn has(&self, store: &str, row: &SegmentRow) -> bool {
        let ranges = self.ranges.get(&row.key.collection);
        self.store == store
            && ranges.is_some_and(|ranges| {
                ranges.iter().any(|(first, last)| *first <= row.key.first && row.key.last <= *last)
            })
    }

    pub fn is_over(&self, now: Timestamp, grace: Duration) -> bool {
        self.ends(grace) <= now
    }

    pub fn ends(&self, grace: Duration) -> Timestamp {
        self.at.saturating_add(grace)
    }
}

impl Waiting {
    pub fn read(log: &Log) -> Result<Self> {
        let Some(text) = log.catalog().meta(PURGES)?.filter(|text| !text.is_empty()) else {
            return Ok(Self::default());
        };
        serde_json::from_str(&text).map(Self).map_err(|error| {
            let message = format!("what waits to be deleted cannot be read: value=`{PURGES}`");
            Error::new(ErrorKind::Corrupt, message).with_source(error).with_hint("run `catalog check`")
        })
    }

    pub fn write(&self, log: &Log) -> Result<()> {
        let value = serde_json::to_string(&self.0).expect("a batch is names and numbers");
        log.change(&[Mutation::SetMeta { name: PURGES.into(), value }], "retention").map(drop)
    }

    pub fn of(&self, store: &str, row: &SegmentRow) -> Option<&Batch> {
        self.0.iter().find(|batch| batch.has(store, row))
    }
}
