//! What would go, and why; what stops it, and what does that.
//!
//! Changes nothing. What it reads may change before somebody says yes: [`apply`](super::apply()) plans again, and lets nothing go that is not in
//! both.

use std::collections::HashMap;

use crate::Log;
use crate::catalog::{SegmentKey, SegmentRow, SegmentStatus};
use crate::config::{ByteSize, show_duration};
use crate::error::Result;
use crate::log::{CollectionSettings, Keep, Retention};
use crate::types::{CollectionName, Sequence, Timestamp};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;

/// How to plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Only these collections; all where empty.
    pub collections: Vec<CollectionName>,
    /// What is in no archive may go too.
    pub local_only: bool,
    /// The clock is right, however far it is ahead of the log.
    pub trust_clock: bool,
}

/// What would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// When it was made, by the clock then.
    pub at: Timestamp,
    /// Why nothing may go at all, where that is so.
    pub refused: Option<String>,
    /// Collections of which something goes, or would but for what stops it.
    pub collections: Vec<CollectionPlan>,
}

/// What would go of a collection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CollectionPlan {
    /// The collection.
    pub collection: CollectionName,
    /// The first sequence that it promises now.
    pub floor: Sequence,
    /// The first one that it would promise.
    pub new_floor: Sequence,
    /// What would go, oldest first, and why.
    pub segments: Vec<Planned>,
    /// What stops more of it from going.
    pub stopped: Option<Stopped>,
}

/// A segment that would go.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Planned {
    /// Which.
    #[serde(flatten)]
    pub segment: SegmentKey,
    /// Where it is now.
    pub status: SegmentStatus,
    /// Its records.
    pub records: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its newest record's time.
    pub timestamp_max: Timestamp,
    /// Why.
    pub reason: String,
}

/// A segment that would go by its age or by the collection's size, and must not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Stopped {
    /// Which.
    #[serde(flatten)]
    pub segment: SegmentKey,
    /// What keeps it, and everything behind it.
    pub reason: String,
}

impl Plan {
    /// How many segments.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.collections.iter().map(|of| of.segments.len() as u64).sum()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.collections.iter().flat_map(|of| &of.segments).map(|segment| segment.bytes).sum()
    }
}

/// Says what may go now. Reads every journal, where anything would go.
///
/// # Errors
/// What the disk or the catalog said.
pub fn plan(log: &Log, now: Timestamp, options: &PlanOptions) -> Result<Plan> {
    let mut plan = Plan { at: now, refused: log.clock_problem(now, options.trust_clock)?, ..Plan::default() };
    let mut journaled = None;
    for info in log.collections()? {
        if !options.collections.is_empty() && !options.collections.contains(&info.collection) {
            continue;
        }
        let settings = log.collection_settings(&info.collection)?;
        let limits = settings.retention.or(log.retention());
        if limits == Retention::default() && settings.unknown_retention().is_none() {
            continue;
        }
        let of = Collection { log, now, options, settings, limits };
        let unsealed = (info.unsealed_bytes, info.unsealed_records);
        let rows = of.rows(&info.collection)?;
        if of.reason(rows.first(), &rows, unsealed).is_none() {
            continue;
        }
        let journaled = match &journaled {
            Some(known) => known,
            None => journaled.insert(log.journaled()?),
        };
        plan.collections.extend(of.plan(&info.collection, info.floor, &rows, unsealed, journaled)?);
    }
    Ok(plan)
}

/// A collection that is planned.
struct Collection<'a> {
    log: &'a Log,
    now: Timestamp,
    options: &'a PlanOptions,
    settings: CollectionSettings,
    limits: Retention,
}

impl Collection<'_> {
    /// What is there of it, oldest first.
    fn rows(&self, name: &CollectionName) -> Result<Vec<SegmentRow>> {
        let mut rows = Vec::new();
        let mut after: Option<SegmentKey> = None;
        loop {
            let page = self.log.catalog().segments(Some(name), after.as_ref(), PAGE_ROWS)?;
            let Some(last) = page.last() else { return Ok(rows) };
            after = Some(last.key.clone());
            let is_there = |row: &SegmentRow| row.status.is_live() || row.status == SegmentStatus::Quarantined;
            rows.extend(page.into_iter().filter(is_there));
        }
    }

    /// Why the first of `rows` may go; `None` where it may not. `rows` are all from it on.
    fn reason(&self, first: Option<&SegmentRow>, rows: &[SegmentRow], unsealed: (u64, u64)) -> Option<String> {
        let newer = rows.iter().skip(1).fold(unsealed, |sum, row| (sum.0 + row.bytes, sum.1 + row.records));
        self.reason_of(first?, newer)
    }

    /// `newer`: bytes and records behind it.
    fn reason_of(&self, row: &SegmentRow, newer: (u64, u64)) -> Option<String> {
        if self.settings.unknown_retention().is_some() {
            // So that it is told.
            return Some(String::new());
        }
        if let Some(Keep::UpTo(age)) = self.limits.age
            && row.timestamp_max.saturating_add(age) < self.now
        {
            return Some(format!("its newest record is older than {}", show_duration(age)));
        }
        if let Some(Keep::UpTo(bytes)) = self.limits.bytes
            && newer.0 >= bytes
        {
            return Some(format!("there are {} behind it", ByteSize(bytes)));
        }
        match self.limits.records {
            Some(Keep::UpTo(records)) if newer.1 >= records => Some(format!("there are {records} records behind it")),
            _ => None,
        }
    }

    fn plan(
        &self,
        name: &CollectionName,
        floor: Sequence,
        rows: &[SegmentRow],
        unsealed: (u64, u64),
        journaled: &HashMap<CollectionName, Sequence>,
    ) -> Result<Option<CollectionPlan>> {
        let mut newer = rows.iter().fold(unsealed, |sum, row| (sum.0 + row.bytes, sum.1 + row.records));
        // Whoever subscribes, and nobody who left: he is told of the floor, and what he has of it goes too.
        let cursors = self.log.awaited(name)?;
        let mut of =
            CollectionPlan { collection: name.clone(), floor, new_floor: floor, segments: Vec::new(), stopped: None };
        for row in rows {
            newer = (newer.0 - row.bytes, newer.1 - row.records);
            let Some(reason) = self.reason_of(row, newer) else { break };
            let behind = cursors.iter().find(|(_, sequence)| *sequence < row.key.last);
            let journal = journaled.get(name).filter(|first| **first <= row.key.last);
            let stop = if let Some(key) = self.settings.unknown_retention() {
                Some(format!("it has a setting that this program does not understand: key=`{key}`"))
            } else if let Some(held) = self.settings.held(row.key.first, row.key.last) {
                Some(held)
            } else if let Some(why) = self.not_archived(row) {
                Some(why)
            } else if let Some((sink, at)) = behind {
                Some(format!("a sink does not have it yet: sink=`{sink}`, cursor=`{at}`"))
            } else if let Some(first) = journal {
                Some(format!("a journal still has it: from sequence=`{first}`"))
            } else {
                let readers = self.log.readers_of(&row.key);
                (readers > 0).then(|| format!("somebody reads it: readers=`{readers}`"))
            };
            if let Some(reason) = stop {
                of.stopped = Some(Stopped { segment: row.key.clone(), reason });
                break;
            }
            of.new_floor = row.key.last.next();
            of.segments.push(Planned {
                segment: row.key.clone(),
                status: row.status,
                records: row.records,
                bytes: row.bytes,
                timestamp_max: row.timestamp_max,
                reason,
            });
        }
        Ok((!of.segments.is_empty() || of.stopped.is_some()).then_some(of))
    }

    fn not_archived(&self, row: &SegmentRow) -> Option<String> {
        match row.status {
            SegmentStatus::Archived | SegmentStatus::Evicted => None,
            SegmentStatus::Sealed if self.options.local_only => None,
            SegmentStatus::Quarantined => Some("it is damaged: heal it, or purge it by hand".to_owned()),
            status => Some(format!("it is not archived yet: status=`{status}`")),
        }
    }
}
