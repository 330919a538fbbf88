//! Which of the segments that no manifest names count, over all stores of a log.

use std::collections::BTreeMap;

use super::{Found, LeftOut, Salvage, Unnamed};
use crate::archive::manifest::ArchivedSegment;
use crate::catalog::SegmentKey;
use crate::types::{CollectionName, Generation, LogId};

/// A segment that no manifest names, in one of the stores.
struct Candidate {
    store: usize,
    log: LogId,
    segment: ArchivedSegment,
    /// Why it does not count.
    refused: Option<String>,
    /// The same records are there already: nothing is to be said of it.
    is_there: bool,
}

/// Adds to each store's state what counts there, and tells what was found; `None` for the log where neither a manifest nor an object tells it.
///
/// # Errors
/// The logs that objects are of, where no manifest tells which one is meant, and they are several.
pub(in crate::archive) fn settle(founds: &mut [Found]) -> Result<(Option<LogId>, Salvage), Vec<LogId>> {
    let mut salvage = Salvage::default();
    let mut by_collection: BTreeMap<(CollectionName, Generation), Vec<Candidate>> = BTreeMap::new();
    let mut logs: Vec<LogId> = Vec::new();
    for (store, found) in founds.iter_mut().enumerate() {
        salvage.unreadable.extend(found.unreadable.iter().cloned());
        salvage.left_out.append(&mut found.left_out);
        for (log, segment) in std::mem::take(&mut found.candidates) {
            if !logs.contains(&log) {
                logs.push(log);
            }
            let place = (segment.segment.collection.clone(), segment.segment.generation);
            let candidate = Candidate { store, log, segment, refused: None, is_there: false };
            by_collection.entry(place).or_default().push(candidate);
        }
    }
    let told = founds.iter().find_map(|found| found.state.log());
    let log = match (told, &logs[..]) {
        (Some(log), _) => Some(log),
        (None, []) => None,
        (None, [log]) => Some(*log),
        (None, _) => return Err(logs),
    };
    for ((name, generation), mut candidates) in by_collection {
        let floor = founds.iter().filter_map(|found| found.state.collections().get(&name)).map(|found| found.floor());
        let floor = floor.max().unwrap_or_default();
        let mut named: Vec<&ArchivedSegment> = founds
            .iter()
            .filter_map(|found| found.state.collections().get(&name))
            .flat_map(|found| found.segments.values())
            .filter(|segment| segment.segment.generation == generation)
            .collect();
        named.sort_by_key(|segment| (segment.segment.first, segment.segment.last));
        candidates.retain(|candidate| candidate.segment.segment.last >= floor);
        candidates.sort_by_key(|candidate| (candidate.segment.segment.first, candidate.segment.segment.last));
        for candidate in &mut candidates {
            if Some(candidate.log) != log {
                candidate.refused = Some(format!("it is of another log: log=`{}`", candidate.log));
            } else {
                against_named(candidate, &named);
            }
        }
        against_each_other(&mut candidates);
        in_order(&mut candidates, &named);
        drop(named);
        for Candidate { store, segment, refused, is_there, .. } in candidates {
            let SegmentKey { first, last, .. } = segment.segment;
            let key = segment.object_key().to_string();
            match refused {
                _ if is_there => {}
                Some(reason) => {
                    salvage.left_out.push(LeftOut { key, first_sequence: first, last_sequence: last, reason });
                }
                None => {
                    let collection = name.clone();
                    salvage.unnamed.push(Unnamed { collection, first_sequence: first, last_sequence: last, key });
                    founds[store].state.add_unnamed(segment);
                    founds[store].differs = true;
                }
            }
        }
    }
    Ok((log, salvage))
}

fn shares(one: &SegmentKey, other: &SegmentKey) -> bool {
    one.first <= other.last && other.first <= one.last
}

fn is_same(one: &ArchivedSegment, other: &ArchivedSegment) -> bool {
    one.segment == other.segment && one.content_digest == other.content_digest
}

/// What a manifest names counts, and what shares sequences with it does not.
fn against_named(candidate: &mut Candidate, named: &[&ArchivedSegment]) {
    let own = &candidate.segment;
    // Those that are named share no sequences, so ends ascend as beginnings do.
    let at = named.partition_point(|other| other.segment.last < own.segment.first);
    for other in named[at..].iter().take_while(|other| other.segment.first <= own.segment.last) {
        if is_same(own, other) {
            candidate.is_there = true;
        } else {
            candidate.refused =
                Some(format!("it shares sequences with what a manifest names: object=`{}`", other.object_key()));
            return;
        }
    }
}

/// Of two that share sequences the one of the higher epoch counts; of one epoch neither, unless their records are the same.
fn against_each_other(candidates: &mut [Candidate]) {
    let takes_part: Vec<bool> =
        candidates.iter().map(|candidate| candidate.refused.is_none() && !candidate.is_there).collect();
    for at in 0..candidates.len() {
        for behind in at + 1..candidates.len() {
            let [one, other] = candidates.get_disjoint_mut([at, behind]).expect("two places within it");
            if other.segment.segment.first > one.segment.segment.last {
                break;
            }
            // One that lost to a third speaks against this one all the same.
            let is_out = !takes_part[at] || !takes_part[behind] || one.is_there || other.is_there;
            if is_out || !shares(&one.segment.segment, &other.segment.segment) {
                continue;
            }
            let (epoch, other_epoch) = (one.segment.epoch, other.segment.epoch);
            let loses_to = |winner: &Candidate| {
                Some(format!(
                    "it shares sequences with one of a higher epoch: object=`{}`",
                    winner.segment.object_key()
                ))
            };
            if is_same(&one.segment, &other.segment) {
                if epoch >= other_epoch { other.is_there = true } else { one.is_there = true }
            } else if epoch > other_epoch {
                other.refused = loses_to(one);
            } else if epoch < other_epoch {
                one.refused = loses_to(other);
            } else {
                let conflict = |with: &Candidate| {
                    Some(format!(
                        "conflict: another object has other records for the same sequences, and nothing tells which: object=`{}`",
                        with.segment.object_key()
                    ))
                };
                (one.refused, other.refused) = (conflict(other), conflict(one));
            }
        }
    }
}

/// What follows without a hole on a segment of a higher epoch is of a writer that had lost the archive.
fn in_order(candidates: &mut [Candidate], named: &[&ArchivedSegment]) {
    let mut ends: BTreeMap<crate::types::Sequence, crate::types::Epoch> =
        named.iter().map(|segment| (segment.segment.last, segment.epoch)).collect();
    for candidate in candidates.iter_mut().filter(|candidate| candidate.refused.is_none() && !candidate.is_there) {
        let own = &candidate.segment;
        match ends.get(&own.segment.first.previous()) {
            Some(before) if *before > own.epoch => {
                let what =
                    format!("it is of a writer that had lost the archive: epoch=`{}`, before=`{before}`", own.epoch);
                candidate.refused = Some(what);
            }
            _ => drop(ends.insert(own.segment.last, own.epoch)),
        }
    }
}
