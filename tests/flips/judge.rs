//! What a log says of a directory with one bad byte, and whether that is the truth.

use std::collections::BTreeMap;
use std::sync::Arc;

use icecore::{CollectionName, ErrorKind, Log, NewRecord, ReadOptions, Record, Verified, VerifyOptions};

use crate::place::{Place, options};

/// What a flip did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every record is served, and `verify` says ok.
    Harmless,
    /// Every record is served, and something is reported.
    Reported,
    /// Records that nothing proves synced are not served, and an unproven tail is reported.
    Unproven,
    /// Records are not served, and reported with their sequences.
    Costly,
}

/// Ranges of sequences by collection.
type Ranges = BTreeMap<CollectionName, Vec<(u64, u64)>>;

#[derive(Default)]
struct Found {
    served: BTreeMap<CollectionName, Vec<Record>>,
    told: Ranges,
}

/// Reads and verifies, changing nothing; on demand also backwards.
pub fn judge(place: &Place, backwards: bool) -> Result<Verdict, String> {
    let log = Log::open_read_only(options(&place.fs, &place.catalog)).map_err(|error| format!("open: {error:?}"))?;
    let mut found = read_all(place, &log, backwards)?;
    tell_of_recovery(&log, &mut found.told);
    let report = log.verify(VerifyOptions { deep: true }).map_err(|error| format!("verify: {error:?}"))?;
    for damaged in &report.damaged {
        if let (Some(name), Some(first), Some(last)) =
            (&damaged.collection, damaged.first_sequence, damaged.last_sequence)
        {
            found.told.entry(name.clone()).or_default().push((first.0, last.0));
        }
    }
    let (lost, unproven) = missing(place, &found, report.unproven_tail_bytes > 0)?;
    if lost && report.ok {
        return Err(format!("records are lost, and verify says ok: {report:?}"));
    }
    if (lost || !log.recovery().damaged.is_empty()) && report.ok {
        return Err(format!("damage is known, and verify says ok: {:?}", log.recovery()));
    }
    if (report.verdict == Verified::UnprovenTail) != (report.damaged.is_empty() && report.unproven_tail_bytes > 0) {
        return Err(format!("not the right word: {report:?}"));
    }
    Ok(match (lost, unproven, report.ok) {
        (true, ..) => Verdict::Costly,
        (false, true, _) => Verdict::Unproven,
        (false, false, true) => Verdict::Harmless,
        (false, false, false) => Verdict::Reported,
    })
}

/// Opens a copy for writing, appends, and opens it again.
pub fn judge_writing(place: &Place) -> Result<(), String> {
    let (fs, catalog) = (place.fs.kill_image(), Arc::new(place.catalog.snapshot()));
    let said = |error: icecore::Error| format!("opened to write: {error:?}");
    let examined = Log::examine(&options(&fs, &catalog)).map_err(said)?;
    let log = Log::open(options(&fs, &catalog)).map_err(said)?;
    if log.recovery().losses != examined.losses || log.recovery().damaged != examined.damaged {
        return Err(format!("recovery says {:?}, and `examine` said {examined:?}", log.recovery()));
    }
    let mut found = read_all(place, &log, true)?;
    tell_of_recovery(&log, &mut found.told);
    let (lost, _) = missing(place, &found, log.recovery().unproven_tail_bytes > 0)?;
    let losses = log.losses().map_err(said)?;
    let report = log.verify(VerifyOptions { deep: true }).map_err(said)?;
    if lost && report.ok {
        return Err(format!("records are lost, and verify says ok after recovery: {report:?}"));
    }
    let mut after = found.served.clone();
    for (name, served) in &mut after {
        let receipt = log.append(name, NewRecord::payload("one more")).map_err(said)?;
        let last_lost = losses.iter().filter(|loss| loss.collection == *name).map(|loss| loss.last.0).max();
        let last = served.last().map(|record| record.sequence.0).max(last_lost).max(Some(place.durable[name]));
        if receipt.first.0 != last.unwrap_or(0) + 1 {
            return Err(format!("collection `{name}`: next is `{}`, and `{last:?}` was the last", receipt.first));
        }
        let options = ReadOptions { from: Some(receipt.first), ..ReadOptions::default() };
        served.extend(log.read(name, options).map_err(said)?.map(Result::unwrap));
    }
    log.close().map_err(said)?;
    drop(log);
    let log = Log::open(options(&fs, &catalog)).map_err(said)?;
    if !log.recovery().losses.is_empty() || log.losses().map_err(said)? != losses {
        return Err(format!("losses changed by opening again: {losses:?}, then {:?}", log.losses()));
    }
    let again = read(&log, after.keys(), ReadOptions::default(), &mut Ranges::new())?;
    if again != after {
        return Err("the second opening serves other records than the first".into());
    }
    Ok(())
}

/// Reads everything forwards, and backwards on demand: the same is served, and only what was appended.
fn read_all(place: &Place, log: &Log, backwards: bool) -> Result<Found, String> {
    let mut told = Ranges::new();
    let served = read(log, place.originals.keys(), ReadOptions::default(), &mut told)?;
    if backwards {
        let options = ReadOptions { reverse: true, ..ReadOptions::default() };
        let mut mirrored = read(log, place.originals.keys(), options, &mut Ranges::new())?;
        mirrored.values_mut().for_each(|records| records.reverse());
        if served != mirrored {
            return Err("backwards, other records are served than forwards".into());
        }
    }
    for (name, records) in &served {
        let originals = &place.originals[name];
        for record in records {
            let index = usize::try_from(record.sequence.0).unwrap_or(0).wrapping_sub(1);
            if originals.get(index) != Some(record) {
                return Err(format!("collection `{name}`: served what was never appended: {record:?}"));
            }
        }
        if !records.is_sorted_by(|one, next| one.sequence < next.sequence) {
            return Err(format!("collection `{name}`: served twice, or out of order"));
        }
    }
    Ok(Found { served, told })
}

fn read<'a>(
    log: &Log,
    names: impl Iterator<Item = &'a CollectionName>,
    options: ReadOptions,
    told: &mut Ranges,
) -> Result<BTreeMap<CollectionName, Vec<Record>>, String> {
    let mut served = BTreeMap::new();
    for name in names {
        let mut reader = log.read(name, options).map_err(|error| format!("read: {error:?}"))?;
        let mut records = Vec::new();
        loop {
            let before = reader.position();
            match reader.try_next() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Corrupt && reader.position() != before => {
                    let range = range_of(&error).ok_or_else(|| format!("names no sequences: {error:?}"))?;
                    told.entry(name.clone()).or_default().push(range);
                }
                Err(error) => return Err(format!("collection `{name}`, at `{before}`: {error:?}")),
            }
        }
        let skipped = reader.skipped().iter().map(|skipped| (skipped.first.0, skipped.last.0));
        told.entry(name.clone()).or_default().extend(skipped);
        served.insert(name.clone(), records);
    }
    Ok(served)
}

/// The sequences that an error names.
fn range_of(error: &icecore::Error) -> Option<(u64, u64)> {
    let text = error.to_string();
    let number = |word: &str| text.split_once(&format!("{word}=`"))?.1.split_once('`')?.0.parse().ok();
    Some((number("first_sequence")?, number("last_sequence")?))
}

fn tell_of_recovery(log: &Log, told: &mut Ranges) {
    for loss in &log.recovery().losses {
        let ranges = told.entry(loss.collection.clone()).or_default();
        ranges.push((loss.first_sequence.0, loss.last_sequence.0));
    }
    for damaged in &log.recovery().damaged {
        if let (Some(name), Some(first), Some(last)) =
            (&damaged.collection, damaged.first_sequence, damaged.last_sequence)
        {
            told.entry(name.clone()).or_default().push((first.0, last.0));
        }
    }
}

/// Whether records are missing that a report names, and whether some are that an unproven tail excuses; an error where neither
/// explains it.
fn missing(place: &Place, found: &Found, has_unproven_tail: bool) -> Result<(bool, bool), String> {
    let (mut lost, mut unproven) = (false, false);
    for (name, originals) in &place.originals {
        let served = &found.served[name];
        for original in originals {
            let sequence = original.sequence.0;
            if served.binary_search_by_key(&sequence, |record| record.sequence.0).is_ok() {
                continue;
            }
            let told = found.told.get(name).into_iter().flatten();
            if told.clone().any(|&(first, last)| first <= sequence && sequence <= last) {
                lost = true;
            } else if has_unproven_tail && sequence > place.durable[name] {
                unproven = true;
            } else {
                let told: Vec<_> = told.collect();
                return Err(format!(
                    "collection `{name}`: `{sequence}` is not served, and nobody says so: told={told:?}, has_unproven_tail=`{has_unproven_tail}`"
                ));
            }
        }
    }
    Ok((lost, unproven))
}
