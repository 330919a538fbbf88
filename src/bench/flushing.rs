//! Flushing to the columnar store, and what it costs appends.
//!
//! Vectors lie unsealed in collections of their own; they are sealed and delivered while nothing else happens, and while 16 writers append to other
//! collections, in turns with rounds of appending alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::compaction::{ROUNDS, append};
use super::measure::Latencies;
use super::{Bench, Figure, Target, Unit};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{AppendOptions, Log};
use crate::sink::{Sink, Sinks, SinksOptions};
use crate::store::{ColumnarStore, DirectoryHomes, NAME, StoreOptions};
use crate::types::CollectionName;
use crate::vector::VectorRecord;

/// Each has 8 MiB of vectors.
const COLLECTIONS: usize = 48;
const DIMENSIONS: usize = 256;
const RECORDS: usize = 8 << 10;
const BATCH: usize = 512;

fn name(number: usize) -> CollectionName {
    CollectionName::new(&format!("vectors-{number:02}")).expect("a plain name")
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    // Before anything else is in the folder.
    let sync = bench.bare_sync()?;
    let collections = bench.scaled(COLLECTIONS).max(4);
    let mut options = bench.options("log");
    options.sinks = vec![NAME.to_owned()];
    // Nothing is sealed before it is flushed.
    (options.limits.memtable_bytes, options.limits.unsealed_bytes) = (2 << 30, 2 << 30);
    options.flush.total_bytes = 2 << 30;
    let directory = options.directories[0].clone();
    let log = Log::open(options)?;
    for number in 0..collections {
        fill(&log, &name(number))?;
    }
    let homes = DirectoryHomes::to_write(Arc::clone(&bench.fs), move |_| Ok(directory.clone()));
    let clock = Arc::clone(&bench.clock);
    let store = ColumnarStore::new(log.id(), Arc::new(homes), Arc::clone(&clock), StoreOptions::default());
    let sinks: Vec<Arc<dyn Sink>> = vec![Arc::new(store)];
    let sinks = Sinks::new(&log, sinks, SinksOptions { clock, ..SinksOptions::default() })?;
    // A third of them while nothing else happens.
    let mut next = collections / 3;
    let (begin, mut quiet_bytes) = (bench.clock.monotonic(), 0);
    for number in 0..next {
        quiet_bytes += flush(&sinks, number)?;
    }
    let quiet = bench.clock.monotonic().saturating_sub(begin);
    let (mut alone, mut beside) = (Latencies::default(), Latencies::default());
    append(bench, &log, &mut Latencies::default())?;
    let (mut busy, mut busy_bytes) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        append(bench, &log, &mut alone)?;
        let is_over = AtomicBool::new(false);
        let (bytes, took) = std::thread::scope(|scope| -> Result<(u64, Duration)> {
            let (sinks, is_over, next) = (&sinks, &is_over, &mut next);
            let flushing = scope.spawn(move || {
                let (begin, mut bytes) = (bench.clock.monotonic(), 0);
                while *next < collections && !is_over.load(Ordering::Relaxed) {
                    bytes += flush(sinks, *next)?;
                    *next += 1;
                }
                Ok((bytes, bench.clock.monotonic().saturating_sub(begin)))
            });
            let appended = append(bench, &log, &mut beside);
            is_over.store(true, Ordering::Relaxed);
            let flushed = flushing.join().expect("a flush does not panic");
            appended.and(flushed)
        })?;
        (busy, busy_bytes) = (busy + took, busy_bytes + bytes);
    }
    log.close()?;
    let latency = |what: &'static str, per_mille, target, alone: &mut Latencies, beside: &mut Latencies| Figure {
        scenario: "flush",
        what: what.into(),
        unit: Unit::Seconds,
        icecore: beside.quantile(per_mille).as_secs_f64(),
        limit: Some(alone.quantile(per_mille).as_secs_f64()),
        target,
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = |what: &'static str, bytes: u64, took: Duration| Figure {
        scenario: "flush",
        what: what.into(),
        unit: Unit::Bytes,
        icecore: bytes as f64 / took.as_secs_f64().max(1e-9),
        limit: None,
        target: None,
    };
    // The promise for the 99th percentile holds for disks that sync in under half a millisecond.
    let most = (sync.as_secs_f64() < 0.5e-3).then_some(Target::AtMost(2e-3));
    Ok(vec![
        rate("vectors of 256 dimensions to the columnar store, nothing beside", quiet_bytes, quiet),
        rate("the same, 16 writers beside", busy_bytes, busy),
        latency("median append of 16 writers, flushing beside alone", 500, None, &mut alone, &mut beside),
        latency("p99 append of 16 writers, flushing beside alone", 990, most, &mut alone, &mut beside),
    ])
}

/// Bytes of what the store took.
fn flush(sinks: &Sinks, number: usize) -> Result<u64> {
    let report = sinks.flush(Some(&name(number)), &mut |_| true)?;
    match report.failed.first() {
        None => Ok(report.bytes),
        Some(failed) => Err(Error::new(ErrorKind::Unavailable, failed.error.clone())),
    }
}

fn fill(log: &Log, collection: &CollectionName) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut records = Vec::with_capacity(BATCH);
    for number in 0..RECORDS {
        let vector = (0..DIMENSIONS).map(|_| random.f32() - 0.5).collect();
        let record = VectorRecord { id: format!("doc-{number}"), vector, metadata: "{}".to_owned() };
        let record = record.into_new_record().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        records.push(record);
        if records.len() == BATCH {
            log.append_batch(collection, &records, AppendOptions::default())?;
            records.clear();
        }
    }
    Ok(())
}
