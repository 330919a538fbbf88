//! What compaction may take, as its documentation says it, and what it must leave as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use icecore::compaction::CompactionPolicy;
use icecore::{Record, RecordKind, Timestamp};

/// A compaction under way, or one that is over.
#[derive(Clone, Debug)]
pub struct Compacting {
    pub policy: CompactionPolicy,
    pub now: Timestamp,
    /// What was there before, by collection, in order.
    pub before: Vec<Vec<Record>>,
    /// What may go, by collection: sealed, and let go by the policy.
    pub may_go: Vec<BTreeSet<u64>>,
    /// Where it is known what goes: that, and the ends of the results. They come into force whole, oldest first.
    pub goes: Option<Vec<(BTreeSet<u64>, Vec<u64>)>>,
}

fn is_over(from: Timestamp, span: Option<Duration>, now: Timestamp) -> bool {
    let end = span.and_then(|span| from.0.checked_add(span.as_micros() as i64));
    end.is_some_and(|end| end <= now.0)
}

/// The sequences up to `sealed` that the policy lets go: whatever else is there is kept.
pub fn may_go(all: &[Record], policy: &CompactionPolicy, now: Timestamp, sealed: u64) -> BTreeSet<u64> {
    let mut gone = BTreeSet::new();
    // Of each key, how many newer versions there are, and whether one of them deletes it for good.
    let mut newer: BTreeMap<&[u8], (u64, bool)> = BTreeMap::new();
    for record in all.iter().rev() {
        let is_delete = record.kind == RecordKind::Delete;
        let is_behind_grace = is_delete && is_over(record.timestamp, policy.tombstone_grace, now);
        let (versions, is_deleted) = record.key.as_deref().and_then(|key| newer.get(key)).copied().unwrap_or_default();
        let is_beyond = policy.keep_versions.is_some_and(|keep| versions >= keep || is_deleted);
        let is_expired = !is_delete && (record.is_expired(now) || is_over(record.timestamp, policy.ttl, now));
        if record.sequence.0 <= sealed && (is_beyond || is_expired || is_behind_grace) {
            gone.insert(record.sequence.0);
        }
        if let Some(key) = record.key.as_deref() {
            newer.insert(key, (versions + 1, is_deleted || is_behind_grace));
        }
    }
    gone
}

/// Of each key the newest version, `None` where that is no answer.
fn answers(all: &[Record], now: Timestamp) -> BTreeMap<&[u8], Option<&Record>> {
    let keyed = all.iter().filter_map(|record| Some((record.key.as_deref()?, record)));
    keyed
        .map(|(key, record)| (key, (record.kind == RecordKind::Put && !record.is_expired(now)).then_some(record)))
        .collect()
}

impl Compacting {
    /// Whether what is there now, up to and including `end`, is what there was before, less some of what may go; and every key has the answer
    /// that it had.
    pub fn check(&self, collection: usize, after: &[Record], end: u64) -> Result<(), String> {
        let before = &self.before[collection];
        let before = &before[..before.partition_point(|record| record.sequence.0 <= end)];
        let left: BTreeSet<u64> = after.iter().map(|record| record.sequence.0).collect();
        let gone: BTreeSet<u64> =
            before.iter().map(|record| record.sequence.0).filter(|sequence| !left.contains(sequence)).collect();
        if let Some(lost) = gone.iter().find(|sequence| !self.may_go[collection].contains(sequence)) {
            return Err(format!("`{lost}` is gone, and {:?} keeps it", self.policy));
        }
        if let Some((goes, ends)) = self.goes.as_ref().map(|goes| &goes[collection]) {
            let upto = |end: u64| goes.range(..=end).copied().collect::<BTreeSet<u64>>();
            if !gone.is_empty() && !ends.iter().any(|end| upto(*end) == gone) {
                return Err(format!(
                    "a result is in force in part: gone are {gone:?} of {goes:?}, results end at {ends:?}"
                ));
            }
        }
        let (was, is) = (answers(before, self.now), answers(after, self.now));
        for (key, was) in was {
            let is = is.get(key).copied().flatten();
            let may_be_gone = was.is_some_and(|was| is_over(was.timestamp, self.policy.ttl, self.now));
            if is != was && !(may_be_gone && is.is_none()) {
                let sequence = |record: Option<&Record>| record.map(|record| record.sequence.0);
                let key = String::from_utf8_lossy(key);
                return Err(format!(
                    "key `{key}`: the answer was `{:?}`, and is `{:?}`, by {:?}",
                    sequence(was),
                    sequence(is),
                    self.policy
                ));
            }
        }
        Ok(())
    }
}
