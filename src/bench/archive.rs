//! Archiving, beside the bare client of the same store that sends the same bytes as objects of the same size.
//!
//! Without an archive in the settings the store is a directory beside the log, and the limit are copies that are synced, file and folder.
//! With one (`--archive s3://...`), objects are made below `bench-...` in it, and removed afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::measure::{median, rate};
use super::{Bench, Figure, Target, Unit};
use crate::archive::{ArchiveReader, Archiver, ArchiverOptions, ReaderOptions, TargetStore};
use crate::catalog::SegmentRow;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{OpenMode, durable};
use crate::log::tier::EvictOptions;
use crate::log::{AppendOptions, Log, LogOptions, ReadOptions};
use crate::objects::{
    LocalObjectStore, Location, ObjectKey, ObjectStore, RequestKind, StoreOptions, Upload, open_store,
};
use crate::types::{CollectionName, NewRecord, Sequence};

/// The two take turns.
const ROUNDS: usize = 3;
const SEGMENTS: usize = 4;
const RECORD_BYTES: usize = 16 << 10;
const SEGMENT_BYTES: usize = 64 << 20;
const PARALLEL: usize = 4;
/// Read out of the middle.
const READ_RECORDS: u64 = 1000;
const MIB: f64 = (1 << 20) as f64;

/// A store below a place of its own.
pub(super) struct Place {
    pub(super) location: Location,
    pub(super) store: Arc<dyn ObjectStore>,
    /// The same, to be asked as the bare client asks.
    #[cfg(feature = "s3")]
    s3: Option<crate::objects::S3ObjectStore>,
    #[cfg(feature = "azure")]
    azure: Option<crate::objects::AzureObjectStore>,
}

pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut archived, mut bare) = (Vec::new(), Vec::new());
    let mut puts = 0;
    let mut last = None;
    for round in 0..bench.scaled(ROUNDS) {
        let log = Log::open(options(bench, round))?;
        let place = place(bench, &format!("icecore-{round}"))?;
        // Taken over and tried out before, as by an archiver that runs for months.
        let archiver = archiver(bench, &log, &place)?;
        let first = CollectionName::new("first").expect("a plain name");
        log.append(&first, NewRecord::payload("a record"))?;
        log.seal(None)?;
        archiver.run_once(&mut |_| true)?;
        fill(&log, round, SEGMENTS)?;
        let bytes = sealed_bytes(&log)?;
        let before = place.store.meter().usage(RequestKind::Put).requests;
        let (report, taken) = bench.timed(|| archiver.run_once(&mut |_| true))?;
        if !report.is_complete() {
            return Err(Error::new(ErrorKind::Unavailable, format!("not everything was archived: {report:?}")));
        }
        puts += place.store.meter().usage(RequestKind::Put).requests - before;
        archived.push(rate(bytes, taken));
        let limit = self::place(bench, &format!("bare-{round}"))?;
        let (sent, taken) = bench.timed(|| send_bare(bench, &log, &limit))?;
        bare.push(rate(sent, taken));
        remove(&limit)?;
        if let Some((log, place)) = last.replace((log, place)) {
            remove_round(&log, &place)?;
        }
    }
    let (archived, bare) = (median(archived), median(bare));
    let figure = |what: &'static str, unit, icecore| Figure {
        scenario: "archive",
        what: what.into(),
        unit,
        icecore,
        limit: None,
        target: None,
    };
    #[expect(clippy::cast_precision_loss, reason = "few requests")]
    let per_hundred = 100.0 * puts as f64 / (bench.scaled(ROUNDS) * SEGMENTS) as f64;
    let mut figures = vec![
        Figure {
            limit: Some(bare),
            target: Some(Target::RatioAtLeast(0.95)),
            ..figure("archived, proven and named: 64 MiB segments, beside bare puts", Unit::Bytes, archived)
        },
        Figure {
            target: Some(Target::AtMost(130.0)),
            ..figure("put requests for 100 segments, of which each four have a manifest", Unit::Count, per_hundred)
        },
    ];
    if let Some((log, place)) = last {
        figures.extend(read_through(bench, log, &place)?);
        remove(&place)?;
    }
    figures.extend(super::archive_memory::run(bench)?);
    Ok(figures)
}

fn name() -> CollectionName {
    CollectionName::new("archived").expect("a plain name")
}

fn options(bench: &Bench, round: usize) -> LogOptions {
    of_segments(bench.options(&format!("log-{round}")))
}

/// A log with segments of the size that is measured with, sealed by hand.
pub(super) fn of_segments(mut options: LogOptions) -> LogOptions {
    options.limits.segment_bytes = SEGMENT_BYTES as u64;
    options.background = false;
    options
}

/// A log with full segments of noise, which no codec makes smaller.
pub(super) fn fill(log: &Log, round: usize, segments: usize) -> Result<()> {
    let mut noise = fastrand::Rng::with_seed(round as u64);
    for _ in 0..segments {
        let mut left = SEGMENT_BYTES / RECORD_BYTES - 8;
        while left > 0 {
            let batch = left.min(256);
            let records: Vec<NewRecord> = (0..batch)
                .map(|_| {
                    let mut payload = vec![0; RECORD_BYTES];
                    noise.fill(&mut payload);
                    NewRecord::payload(payload)
                })
                .collect();
            log.append_batch(&name(), &records, AppendOptions::default())?;
            left -= batch;
        }
        log.seal(Some(&name()))?;
    }
    Ok(())
}

fn sealed_bytes(log: &Log) -> Result<u64> {
    Ok(segments(log)?.iter().map(|row| row.bytes).sum())
}

fn segments(log: &Log) -> Result<Vec<SegmentRow>> {
    Ok(log.catalog().segments(Some(&name()), None, usize::MAX)?)
}

pub(super) fn place(bench: &Bench, what: &str) -> Result<Place> {
    let location = match &bench.archive {
        None => Location::Local(bench.folder.join(what)),
        Some((location, _)) => below(location, &format!("{}-{what}", folder_name(bench))),
    };
    let options = bench.archive.as_ref().map_or_else(StoreOptions::default, |(_, options)| options.clone());
    if let Location::Local(path) = &location {
        LocalObjectStore::create(Arc::clone(&bench.fs), path)?;
    }
    let store = open_store(&location, &options, &bench.fs, &bench.clock)?;
    #[cfg(feature = "s3")]
    let s3 = match &location {
        Location::S3 { .. } | Location::Gcs { .. } => {
            Some(crate::objects::S3ObjectStore::new(&location, &options, &bench.fs, &bench.clock)?)
        }
        _ => None,
    };
    #[cfg(feature = "azure")]
    let azure = match &location {
        Location::Azure { .. } => {
            Some(crate::objects::AzureObjectStore::open(&location, &options, &bench.fs, &bench.clock)?)
        }
        _ => None,
    };
    Ok(Place {
        location,
        store,
        #[cfg(feature = "s3")]
        s3,
        #[cfg(feature = "azure")]
        azure,
    })
}

fn folder_name(bench: &Bench) -> String {
    bench.folder.file_name().map_or_else(|| "icecore-bench".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The place `what` below another one.
fn below(location: &Location, what: &str) -> Location {
    let behind = |prefix: &str| if prefix.is_empty() { what.to_owned() } else { format!("{prefix}/{what}") };
    match location.clone() {
        Location::Local(path) => Location::Local(path.join(what)),
        Location::S3 { bucket, prefix } => Location::S3 { bucket, prefix: behind(&prefix) },
        Location::Gcs { bucket, prefix } => Location::Gcs { bucket, prefix: behind(&prefix) },
        Location::Azure { account, container, prefix } => {
            Location::Azure { account, container, prefix: behind(&prefix) }
        }
    }
}

fn archiver(bench: &Bench, log: &Log, place: &Place) -> Result<Archiver> {
    let target = TargetStore { remote: None, url: place.location.to_string(), store: Arc::clone(&place.store) };
    Archiver::new(log, vec![target], archiver_options(bench, PARALLEL))
}

/// As the settings say, with so many uploads at the same time.
pub(super) fn archiver_options(bench: &Bench, parallel: usize) -> ArchiverOptions {
    let clock = Arc::clone(&bench.clock);
    ArchiverOptions { parallel, memory_bytes: bench.archive_memory_bytes, clock, ..ArchiverOptions::default() }
}

/// The same files, by as many threads, as the bare client sends them.
fn send_bare(bench: &Bench, log: &Log, place: &Place) -> Result<u64> {
    let rows = segments(log)?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<u64> {
        let mut sent = 0;
        while let Some((number, row)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, rows.get(at)?)))
        {
            let file = log.segment_file(row)?;
            let mut bytes = vec![0; usize::try_from(row.bytes).expect("a segment fits memory")];
            file.read_exact_at(&mut bytes, 0)?;
            put_bare(bench, place, number, bytes.into())?;
            sent += row.bytes;
        }
        Ok(sent)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("it does not panic")).sum()
    })
}

fn put_bare(bench: &Bench, place: &Place, number: usize, bytes: Bytes) -> Result<()> {
    let key = ObjectKey::new(format!("bare-{number}"))?;
    #[cfg(feature = "s3")]
    if let Some(s3) = &place.s3 {
        return Ok(s3.bare_put(&key, bytes)?);
    }
    #[cfg(feature = "azure")]
    if let Some(azure) = &place.azure {
        return Ok(azure.bare_put(&key, bytes)?);
    }
    match &place.location {
        Location::Local(root) => {
            let path = root.join(key.as_str());
            let file = bench.fs.open(&path, OpenMode::CreateNew)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            Ok(durable::sync_parent(&*bench.fs, &path)?)
        }
        // No bare client is at hand: the store's own put, without proof and manifest.
        _ => Ok(place.store.put_if_absent(&key, &Upload::of_bytes(&bytes)).map(drop)?),
    }
}

/// Reads some records out of the middle of an evicted segment, by sequence.
fn read_through(bench: &Bench, log: Log, place: &Place) -> Result<Vec<Figure>> {
    log.close()?;
    drop(log);
    let round = bench.scaled(ROUNDS) - 1;
    let reader = ArchiveReader::new(Some(Arc::clone(&place.store)), ReaderOptions::default());
    let log = Log::open(LogOptions { archive: Some(Arc::new(reader)), ..options(bench, round) })?;
    log.evict(&EvictOptions::default(), &mut |_| true)?;
    let usage = || place.store.meter().usage(RequestKind::Get);
    let before = usage();
    let per_segment = (SEGMENT_BYTES / RECORD_BYTES - 8) as u64;
    let from = Sequence(per_segment + per_segment / 2);
    let read = ReadOptions { from: Some(from), limit: Some(READ_RECORDS), ..ReadOptions::default() };
    let (bytes, taken) = bench.timed(|| {
        let mut bytes = 0;
        for record in log.read(&name(), read)? {
            bytes += record?.payload.map_or(0, |payload| payload.len() as u64);
        }
        Ok(bytes)
    })?;
    let after = usage();
    log.close()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (fetched, requests, bytes) = (
        (after.received_bytes - before.received_bytes) as f64,
        (after.requests - before.requests) as f64,
        bytes as f64,
    );
    let figure = |what: &'static str, unit, icecore, limit| Figure {
        scenario: "archive",
        what: what.into(),
        unit,
        icecore,
        limit,
        target: None,
    };
    Ok(vec![
        figure("1,000 records of 16 KiB out of the middle: bytes fetched", Unit::Memory, fetched, Some(bytes)),
        figure("... in so many requests", Unit::Count, requests, None),
        figure("... at", Unit::Bytes, bytes / taken.as_secs_f64().max(1.0 / MIB), None),
    ])
}

fn remove_round(log: &Log, place: &Place) -> Result<()> {
    log.close()?;
    remove(place)
}

/// Everything below a place of this bench's own.
pub(super) fn remove(place: &Place) -> Result<()> {
    loop {
        let page = place.store.list("", None, 1000)?;
        if page.objects.is_empty() {
            return Ok(());
        }
        for object in page.objects {
            place.store.delete(&ObjectKey::new(object.key)?)?;
        }
    }
}
