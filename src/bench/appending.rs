//! Scenarios of appending, beside the bare disk.
//!
//! The bare disk and icecore take turns in short rounds, and the median of the rounds is told: what disturbs the
//! machine for a second disturbs both, or falls out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::measure::{Latencies, median, rate};
use super::raw::Raw;
use super::{Bench, Figure, Target, Unit};
use crate::error::Result;
use crate::log::{AppendOptions, Log, SyncMode};
use crate::types::{CollectionName, NewRecord};

/// Length of the bare file.
const RAW_BYTES: u64 = 256 << 20;
/// Bytes that a 256-byte record takes in a journal.
const RECORD_BYTES: usize = 256 + 24;

fn name(text: &str) -> CollectionName {
    CollectionName::new(text).expect("a plain name")
}

fn raw(bench: &Bench) -> Result<Raw> {
    Raw::create(&*bench.fs, &bench.folder.join("raw"), RAW_BYTES)
}

/// Opens a log whose journals were used before, as the bare file was: what is filled, sealed and released is recycled.
fn open_used(bench: &Bench, mode: SyncMode) -> Result<Log> {
    let mut options = bench.options("log");
    options.sync = mode;
    let log = Log::open(options)?;
    let filler = vec![NewRecord::payload(bytes::Bytes::from(vec![0; 64 << 10])); 16];
    for _ in 0..200 {
        log.append_batch(&name("filler"), &filler, AppendOptions::default())?;
    }
    log.seal(None)?;
    Ok(log)
}

pub(super) fn one_writer(bench: &Bench) -> Result<Vec<Figure>> {
    const ROUNDS: usize = 40;
    const APPENDS: usize = 250;
    let raw = raw(bench)?;
    let log = bench.open("log")?;
    let collection = name("c");
    let (payload, bytes) = (bytes::Bytes::from(vec![7; 256]), vec![7; 256]);
    let (mut bare, mut ours) = (Latencies::default(), Latencies::default());
    log.append(&collection, NewRecord::payload(payload.clone()))?;
    for _ in 0..ROUNDS {
        for _ in 0..APPENDS {
            let (_, took) = bench.timed(|| Ok(raw.write(&bytes, true)?))?;
            bare.push(took);
        }
        for _ in 0..APPENDS {
            let (_, took) = bench.timed(|| log.append(&collection, NewRecord::payload(payload.clone())))?;
            ours.push(took);
        }
    }
    log.close()?;
    let sync = bare.quantile(500).as_secs_f64();
    let figure = |what: &'static str, per_mille, target, ours: &mut Latencies, bare: &mut Latencies| Figure {
        scenario: "one-writer",
        what: what.into(),
        unit: Unit::Seconds,
        icecore: ours.quantile(per_mille).as_secs_f64(),
        limit: Some(bare.quantile(per_mille).as_secs_f64()),
        target,
    };
    // The promise for the 99th percentile holds for disks that sync in under half a millisecond.
    let p99 = (sync < 0.5e-3).then_some(Target::AtMost(2e-3));
    Ok(vec![
        figure("median", 500, Some(Target::RatioAtMost(1.1)), &mut ours, &mut bare),
        figure("p99", 990, p99, &mut ours, &mut bare),
    ])
}

/// How many times `each` was done a second by `threads` threads, until `span` has passed.
fn run_threads(
    bench: &Bench,
    threads: usize,
    span: Duration,
    each: impl Fn(usize, u64) -> Result<()> + Sync,
) -> Result<f64> {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (outcome, took) = bench.timed(|| {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let (stop, done, each) = (&stop, &done, &each);
                    scope.spawn(move || {
                        let mut count = 0;
                        while !stop.load(Ordering::Relaxed) {
                            each(thread, count)?;
                            count += 1;
                        }
                        done.fetch_add(count, Ordering::Relaxed);
                        Ok(())
                    })
                })
                .collect();
            let begin = bench.clock.monotonic();
            while bench.clock.monotonic() - begin < span {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            stop.store(true, Ordering::Relaxed);
            workers
                .into_iter()
                .map(|worker| worker.join().expect("a worker does not panic"))
                .collect::<Result<Vec<_>>>()
        })
    })?;
    drop(outcome);
    Ok(rate(done.load(Ordering::Relaxed), took))
}

pub(super) fn many_writers(bench: &Bench) -> Result<Vec<Figure>> {
    const WRITERS: usize = 64;
    const COLLECTIONS: usize = 1000;
    // Two seconds in all: until sealing begins, which is another figure than the limit of the journal.
    const ROUNDS: usize = 7;
    let span = Duration::from_millis(250);
    let raw = raw(bench)?;
    let log = open_used(bench, SyncMode::PerBatch)?;
    let names: Vec<_> = (0..COLLECTIONS).map(|number| name(&format!("collection-{number}"))).collect();
    let (payload, bytes) = (bytes::Bytes::from(vec![7; 256]), vec![7; RECORD_BYTES]);
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(run_threads(bench, WRITERS, span, |_, _| Ok(raw.append(&bytes)?))?);
        ours.push(run_threads(bench, WRITERS, span, |thread, count| {
            // Every writer goes through all collections, each from another start.
            let at = (count as usize * 7 + thread * (COLLECTIONS / WRITERS)) % COLLECTIONS;
            log.append(&names[at], NewRecord::payload(payload.clone())).map(|_| ())
        })?);
    }
    log.close()?;
    Ok(vec![Figure {
        scenario: "many-writers",
        what: "acknowledged".into(),
        unit: Unit::Records,
        icecore: median(ours),
        limit: Some(median(bare)),
        target: Some(Target::RatioAtLeast(0.9)),
    }])
}

pub(super) fn bandwidth(bench: &Bench) -> Result<Vec<Figure>> {
    const ROUNDS: usize = 6;
    const BATCHES: u64 = 16;
    const BATCH_BYTES: u64 = 16 * (64 << 10);
    let raw = raw(bench)?;
    let log = open_used(bench, SyncMode::PerBatch)?;
    let collection = name("c");
    let payload = bytes::Bytes::from(vec![7; 64 << 10]);
    let bytes = vec![7; BATCH_BYTES as usize];
    let records = vec![NewRecord::payload(payload); 16];
    let (mut bare, mut streamed, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (_, took) = bench.timed(|| {
            for _ in 0..BATCHES {
                raw.write(&bytes, true)?;
            }
            Ok(())
        })?;
        bare.push(rate(BATCHES * BATCH_BYTES, took));
        let (_, took) = bench.timed(|| {
            for _ in 0..BATCHES {
                raw.write(&bytes, false)?;
            }
            Ok(raw.sync()?)
        })?;
        streamed.push(rate(BATCHES * BATCH_BYTES, took));
        let (_, took) = bench.timed(|| {
            for _ in 0..BATCHES {
                log.append_batch(&collection, &records, AppendOptions::default())?;
            }
            Ok(())
        })?;
        ours.push(rate(BATCHES * BATCH_BYTES, took));
    }
    log.close()?;
    let figure = |what: &'static str, limit, target| Figure {
        scenario: "bandwidth",
        what: what.into(),
        unit: Unit::Bytes,
        icecore: median(ours.clone()),
        limit: Some(limit),
        target,
    };
    Ok(vec![
        figure("by the disk, a sync a batch", median(bare), Some(Target::RatioAtLeast(0.9))),
        figure("by the disk, one sync for 16 MiB", median(streamed), None),
    ])
}

pub(super) fn unsynced(bench: &Bench) -> Result<Vec<Figure>> {
    const ROUNDS: usize = 8;
    const BATCHES: u64 = 1000;
    let raw = raw(bench)?;
    let log = open_used(bench, SyncMode::Never)?;
    let collection = name("c");
    let payload = bytes::Bytes::from(vec![7; 256]);
    let records = vec![NewRecord::payload(payload); 100];
    let bytes = vec![7; RECORD_BYTES * 100];
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (_, took) = bench.timed(|| (0..BATCHES).try_for_each(|_| Ok(raw.write(&bytes, false)?)))?;
        bare.push(rate(BATCHES * 100, took));
        let (_, took) = bench.timed(|| {
            (0..BATCHES).try_for_each(|_| log.append_batch(&collection, &records, AppendOptions::default()).map(|_| ()))
        })?;
        ours.push(rate(BATCHES * 100, took));
    }
    log.close()?;
    Ok(vec![Figure {
        scenario: "unsynced",
        what: "written".into(),
        unit: Unit::Records,
        icecore: median(ours),
        limit: Some(median(bare)),
        target: Some(Target::AtLeast(4e6)),
    }])
}
