//! Appending while segments are compacted, beside appending alone.
//!
//! Both take turns in short rounds on one log, so that what disturbs the machine disturbs both; readers read in both, what is appended and what is compacted. What is compacted lies in collections of its own,
//! written before: three quarters of it are old versions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::measure::Latencies;
use super::{Bench, Figure, Target, Unit};
use crate::error::{Error, ErrorKind, Result};
use crate::log::compact::{CompactOptions, CompactReport};
use crate::log::{AppendOptions, CompactionSettings, Keep, Log, ReadOptions};
use crate::types::{CollectionName, NewRecord};

const WRITERS: usize = 16;
const READERS: usize = 2;
/// Between two reads of a reader.
const READ_PAUSE: Duration = Duration::from_millis(5);
pub(super) const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);
/// The limit that `compact.bytes_per_second` has where nobody sets it.
const BYTES_PER_SECOND: u64 = 16 << 20;
const COLLECTIONS: usize = 16;
/// Records of 1 KiB in each: 24 MiB.
const RECORDS: usize = 24 << 10;
const KEYS: usize = RECORDS / 4;
const BATCH: usize = 512;

fn name(what: &str, number: usize) -> CollectionName {
    CollectionName::new(&format!("{what}-{number:02}")).expect("a plain name")
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let collections = bench.scaled(COLLECTIONS);
    let options = || {
        let mut options = bench.options("log");
        options.limits.segment_bytes = 8 << 20;
        options.compaction = CompactionSettings { keep_versions: Some(Keep::UpTo(1)), ..CompactionSettings::default() };
        options
    };
    let log = Log::open(options())?;
    for number in 0..collections {
        fill(&log, &name("old", number))?;
    }
    log.seal(None)?;
    log.close()?;
    drop(log);
    // Opened anew, no journal has any of it.
    let log = Log::open(options())?;
    let (mut alone, mut beside) = (Latencies::default(), Latencies::default());
    let (mut before, mut after, mut removed) = (0, 0, 0);
    let mut old = 0;
    append(bench, &log, &mut Latencies::default())?;
    let mut read = 0;
    for _ in 0..ROUNDS {
        read += append_and_read(bench, &log, collections, &mut alone)?;
        let is_over = AtomicBool::new(false);
        let reports = std::thread::scope(|scope| -> Result<Vec<CompactReport>> {
            let (log, is_over, old) = (&log, &is_over, &mut old);
            let compacting = scope.spawn(move || {
                let mut reports = Vec::new();
                while *old < collections && !is_over.load(Ordering::Relaxed) {
                    let options = CompactOptions {
                        collections: vec![name("old", *old)],
                        bytes_per_second: Some(BYTES_PER_SECOND),
                        ..CompactOptions::default()
                    };
                    let report = log.compact(&options, &mut |_| !is_over.load(Ordering::Relaxed))?;
                    *old += usize::from(!report.is_interrupted);
                    reports.push(report);
                }
                Ok(reports)
            });
            let appended = append_and_read(bench, log, collections, &mut beside);
            is_over.store(true, Ordering::Relaxed);
            let reports = compacting.join().expect("a compaction does not panic");
            read += appended?;
            reports
        })?;
        for report in reports {
            let (_, _, bytes_before, bytes_after) = report.totals();
            (before, after) = (before + bytes_before, after + bytes_after);
            removed += report.removed().total();
        }
    }
    log.close()?;
    if removed == 0 {
        return Err(Error::new(ErrorKind::Internal, "nothing was compacted"));
    }
    let latency = |what: &'static str, per_mille, target, alone: &mut Latencies, beside: &mut Latencies| Figure {
        scenario: "compaction",
        what: what.into(),
        unit: Unit::Seconds,
        icecore: beside.quantile(per_mille).as_secs_f64(),
        limit: Some(alone.quantile(per_mille).as_secs_f64()),
        target,
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let amount = |what: &'static str, unit, value: u64, limit: Option<u64>| Figure {
        scenario: "compaction",
        what: what.into(),
        unit,
        icecore: value as f64,
        limit: limit.map(|limit| limit as f64),
        target: None,
    };
    let most = Some(Target::RatioAtMost(1.5));
    Ok(vec![
        latency("median append of 16 writers, compacting at 16 MiB/s beside alone", 500, None, &mut alone, &mut beside),
        latency("p99 append of 16 writers, compacting at 16 MiB/s beside alone", 990, most, &mut alone, &mut beside),
        amount("bytes of what was compacted, after beside before", Unit::Memory, after, Some(before)),
        amount("bytes freed", Unit::Memory, before.saturating_sub(after), None),
        amount("records removed", Unit::Count, removed, None),
        amount("records read beside", Unit::Count, read, None),
    ])
}

/// Versions of every key, one after another.
fn fill(log: &Log, collection: &CollectionName) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut records = Vec::with_capacity(BATCH);
    for number in 0..RECORDS {
        let mut payload = vec![0; 1000];
        random.fill(&mut payload);
        records.push(NewRecord::put(format!("key-{}", number % KEYS), payload));
        if records.len() == BATCH {
            log.append_batch(collection, &records, AppendOptions::default())?;
            records.clear();
        }
    }
    Ok(())
}

/// One round with readers, which read the first thousand records of one collection after another; how many records they read.
fn append_and_read(bench: &Bench, log: &Log, collections: usize, latencies: &mut Latencies) -> Result<u64> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_over = &is_over;
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                scope.spawn(move || -> Result<u64> {
                    let mut read = 0;
                    for turn in reader.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        let of =
                            if turn % 2 == 0 { name("old", turn % collections) } else { name("new", turn % WRITERS) };
                        let mut last = None;
                        for record in log.read(&of, ReadOptions::default())?.take(1000) {
                            let sequence = record?.sequence;
                            if last.is_some_and(|last| last >= sequence) {
                                return Err(Error::new(ErrorKind::Internal, "a reader saw records out of order"));
                            }
                            (last, read) = (Some(sequence), read + 1);
                        }
                        std::thread::park_timeout(READ_PAUSE);
                    }
                    Ok(read)
                })
            })
            .collect();
        let appended = append(bench, log, latencies);
        is_over.store(true, Ordering::Relaxed);
        let read =
            readers.into_iter().map(|reader| reader.join().expect("a reader does not panic")).sum::<Result<u64>>();
        appended.and(read)
    })
}

/// One round: each writer appends to a collection of its own, each append durable.
pub(super) fn append(bench: &Bench, log: &Log, latencies: &mut Latencies) -> Result<()> {
    let end = bench.clock.monotonic() + ROUND;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || -> Result<Latencies> {
                    let collection = name("new", writer);
                    let payload = bytes::Bytes::from(vec![7; 256]);
                    let mut own = Latencies::default();
                    while bench.clock.monotonic() < end {
                        let (_, took) = bench.timed(|| log.append(&collection, NewRecord::payload(payload.clone())))?;
                        own.push(took);
                    }
                    Ok(own)
                })
            })
            .collect();
        for writer in writers {
            latencies.extend(writer.join().expect("a writer does not panic")?);
        }
        Ok(())
    })
}
