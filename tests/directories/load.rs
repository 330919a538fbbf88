//! Sixteen writers, what they were told, and the comparison of that with what is there.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use icecore::avro::codec::Codec;
use icecore::{AppendOptions, CollectionName, Error, ErrorKind, Log, LogOptions, NewRecord, ReadOptions, SyncMode};

pub const WRITERS: u64 = 16;
/// Collections that all writers share; besides, each has two of its own.
const SHARED: u64 = 6;

/// Limits so small that journals rotate and segments are sealed all the time.
pub fn options(places: &[PathBuf], sync: SyncMode) -> LogOptions {
    let mut options = LogOptions::new(places);
    options.sync = sync;
    options.codec = Codec::Null;
    options.limits.journal_bytes = 256 << 10;
    options.limits.segment_bytes = 32 << 10;
    options.limits.memtable_bytes = 2 << 20;
    options.limits.unsealed_bytes = 4 << 20;
    options.cold_bytes = 16 << 10;
    options
}

pub fn told(error: &Error) -> String {
    let mut text = format!("{:?}: {error}", error.kind());
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}

/// What was acknowledged: by collection and sequence, the payload.
#[derive(Debug, Default)]
pub struct Acknowledged {
    pub by_collection: BTreeMap<String, BTreeMap<u64, String>>,
    /// Appends that met an error, and worked when they were tried again.
    pub retried: u64,
}

impl Acknowledged {
    pub fn add(&mut self, collection: &str, sequence: u64, payload: String) {
        let known = self.by_collection.entry(collection.to_owned()).or_default().insert(sequence, payload);
        assert_eq!(known, None, "collection `{collection}`: sequence `{sequence}` was acknowledged twice");
    }

    pub fn records(&self) -> u64 {
        self.by_collection.values().map(|records| records.len() as u64).sum()
    }
}

/// Every writer appends `each` records; when `at` of all are acknowledged, something happens.
pub fn write(log: &Log, acknowledged: &Mutex<Acknowledged>, each: u64, at: u64, happens: impl FnOnce() + Send) {
    let (done, happens) = (AtomicU64::new(0), Mutex::new(Some(happens)));
    let round = acknowledged.lock().unwrap().records();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (done, happens) = (&done, &happens);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(writer);
                for number in 0..each {
                    let collection = match number % 4 {
                        0 => format!("shared-{}", random.u64(0..SHARED)),
                        _ => format!("own-{writer}-{}", number % 2),
                    };
                    let filler = "x".repeat(random.usize(0..1500));
                    append(log, acknowledged, &collection, &format!("{round} {writer} {number} {filler}"));
                    if done.fetch_add(1, Ordering::AcqRel) + 1 == at {
                        let happens = happens.lock().unwrap().take();
                        happens.expect("it happens once")();
                    }
                }
            });
        }
    });
    assert!(happens.into_inner().unwrap().is_none(), "it never happened");
}

fn append(log: &Log, acknowledged: &Mutex<Acknowledged>, collection: &str, payload: &str) {
    let name = CollectionName::new(collection).unwrap();
    let records = [NewRecord::payload(payload.to_owned())];
    let mut outcome = log.append_batch(&name, &records, AppendOptions::default());
    if let Err(error) = &outcome {
        let first = told(error);
        assert_ne!(error.kind(), ErrorKind::OutcomeUnknown, "with healthy disks left: {first}");
        outcome = log.append_batch(&name, &records, AppendOptions::default());
        if let Err(again) = &outcome {
            panic!("an append failed twice: {first}; {}", told(again));
        }
        acknowledged.lock().unwrap().retried += 1;
    }
    let sequence = outcome.unwrap().first.0;
    acknowledged.lock().unwrap().add(collection, sequence, payload.to_owned());
}

/// One more record for every collection; those that refuse must name one of these places. Returns how many did.
pub fn append_to_all(
    log: &Log,
    acknowledged: &Mutex<Acknowledged>,
    what: &str,
    may_refuse: &[&PathBuf],
) -> Vec<String> {
    let names: Vec<String> = acknowledged.lock().unwrap().by_collection.keys().cloned().collect();
    let mut refused = Vec::new();
    for collection in names {
        let name = CollectionName::new(&collection).unwrap();
        let payload = format!("{what} {collection}");
        match log.append(&name, NewRecord::payload(payload.clone())) {
            Ok(receipt) => acknowledged.lock().unwrap().add(&collection, receipt.first.0, payload),
            Err(error) => {
                let text = told(&error);
                let named = may_refuse.iter().any(|place| text.contains(place.to_str().unwrap()));
                assert!(named, "collection `{collection}`: {text}");
                assert!(error.kind() != ErrorKind::OutcomeUnknown, "{text}");
                refused.push(collection);
            }
        }
    }
    refused
}

/// Every acknowledged record is there once, in order, and nothing else; where something cannot be read, the error names one of these
/// places. Returns how many collections could be read whole.
pub fn compare(log: &Log, acknowledged: &Acknowledged, unreadable: &[&PathBuf]) -> usize {
    let mut whole = 0;
    for (collection, expected) in &acknowledged.by_collection {
        let name = CollectionName::new(collection).unwrap();
        let reader = log.read(&name, ReadOptions::default()).unwrap_or_else(|error| panic!("{}", told(&error)));
        let (mut found, mut payloads, mut missed, mut last) = (0, HashSet::new(), false, 0);
        for next in reader {
            match next {
                Ok(record) => {
                    let sequence = record.sequence.0;
                    assert!(sequence > last, "collection `{collection}`: `{sequence}` behind `{last}`");
                    assert!(missed || sequence == last + 1, "collection `{collection}`: a hole behind `{last}`");
                    last = sequence;
                    let payload = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
                    let there = expected.get(&sequence);
                    assert_eq!(there, Some(&payload), "collection `{collection}`, sequence `{sequence}`");
                    assert!(payloads.insert(payload), "collection `{collection}`: twice, at `{sequence}`");
                    found += 1;
                }
                Err(error) => {
                    let text = told(&error);
                    let named = unreadable.iter().any(|place| text.contains(place.to_str().unwrap()));
                    assert!(named, "collection `{collection}`: {text}");
                    missed = true;
                }
            }
        }
        if !missed {
            assert_eq!(found, expected.len(), "collection `{collection}`: records there, and acknowledged");
            whole += 1;
        }
    }
    whole
}

/// What recovery says of disks that failed, and lost nothing.
pub fn nothing_is_lost(log: &Log) {
    let report = log.recovery();
    assert!(report.damaged.is_empty() && report.losses.is_empty(), "{:?}, {:?}", report.damaged, report.losses);
    let losses = log.catalog().losses(None).unwrap();
    assert!(losses.is_empty(), "{losses:?}");
}
