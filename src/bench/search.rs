//! Searching, beside a bare scan of the same numbers in memory: no keys, no versions, no files.
//!
//! The log is filled without syncs and handed to the columnar store batch by batch, as the sinks' delivery does. The limit has the same loop, the
//! same threads, and the best ten; by cosine it has the norms of all vectors, too. It is asked in turns with the search.
//!
//! How much memory searches take is told by a process of its own, which searches four times as many bytes of vectors as `search.cache_bytes` has:
//! its peak, above what it had when it had searched ten vectors of another collection.

use std::process::{Command, Stdio};
use std::sync::Arc;

use super::measure::median;
use super::{Bench, Figure, Target, Unit, memory_now, memory_peak};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{AppendOptions, Log, LogOptions, ReadOptions, SyncMode};
use crate::search::top::{Ranked, Top};
use crate::search::{CACHE_BYTES_MIN, Metric, Query, Search, SearchOptions, kernel};
use crate::sink::{Batch, Sink as _};
use crate::store::{ColumnarStore, DirectoryHomes, StoreOptions};
use crate::types::{CollectionName, NewRecord, Sequence};
use crate::vector::VectorRecord;

/// Vectors, and numbers in each.
const VECTORS: usize = 100_000;
const DIMENSIONS: usize = 128;
const VECTOR_BYTES: usize = DIMENSIONS * size_of::<f32>();
const K: usize = 10;
const ROUNDS: usize = 21;
/// The data by the cache, where the cache is small.
const TIMES_THE_CACHE: usize = 4;
/// A part that runs in a process of its own.
pub(super) const SMALL: &str = "search-small-cache";

pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder.clone();
    let log = Log::open(options(bench, &folder))?;
    let store = Arc::new(store(bench, &log, &folder, false));
    let numbers = fill(&log, &store, &name("vectors"), bench.scaled(VECTORS))?;
    let norms: Vec<f64> = numbers.chunks_exact(DIMENSIONS).map(kernel::norm).collect();
    let docs = name("vectors");
    let mut figures = Vec::new();
    let query = query();
    // The first search of a process: keys of all files are read, then all vectors.
    let search = open(bench, &log, &store, SearchOptions::default());
    let (first, cold) = bench.timed(|| search.nearest(&docs, &query))?;
    figures.push(figure("the first search: index and files are read", Unit::Seconds, cold.as_secs_f64()));
    let nothing_stays = open(bench, &log, &store, SearchOptions { cache_bytes: 0, ..SearchOptions::default() });
    nothing_stays.nearest(&docs, &query)?;
    let (_, uncached) = bench.timed(|| nothing_stays.nearest(&docs, &query))?;
    figures.push(figure("a search that reads all files (no cache)", Unit::Seconds, uncached.as_secs_f64()));
    for metric in Metric::ALL {
        let query = query.clone().by(metric);
        let (mut warm, mut bare, mut single) = (Vec::new(), Vec::new(), Vec::new());
        let one = open(bench, &log, &store, SearchOptions { threads: 1, ..SearchOptions::default() });
        one.nearest(&docs, &query)?;
        for _ in 0..ROUNDS {
            let (found, took) = bench.timed(|| search.nearest(&docs, &query))?;
            warm.push(took.as_secs_f64());
            let (wanted, took) = bench.timed(|| Ok(bare_scan(&numbers, &norms, &query)))?;
            bare.push(took.as_secs_f64());
            single.push(bench.timed(|| one.nearest(&docs, &query))?.1.as_secs_f64());
            let sequences: Vec<u64> = found.hits.iter().map(|hit| hit.sequence.0).collect();
            if sequences != wanted {
                let message = format!("the search found something else: {sequences:?}, and not {wanted:?}");
                return Err(Error::new(ErrorKind::Internal, message));
            }
        }
        let (warm, bare, single) = (median(warm), median(bare), median(single));
        figures.push(Figure {
            limit: Some(bare),
            target: Some(Target::RatioAtMost(1.5)),
            ..figure(format!("warm, by {}", metric.name()), Unit::Seconds, warm)
        });
        figures.push(Figure {
            limit: Some(single),
            ..figure(format!("warm, by {}, beside one thread", metric.name()), Unit::Seconds, warm)
        });
    }
    let rows = u64::try_from(numbers.len() / DIMENSIONS).unwrap_or(u64::MAX);
    figures.push(figure("index, bytes a row", Unit::Count, as_f64(search.memory().index_bytes / rows.max(1))));
    debug_assert_eq!(first.statistics.vectors_compared, rows);
    drop((search, numbers, norms));
    // Four times the least limit at least.
    let many = bench.scaled(TIMES_THE_CACHE * VECTORS).max(TIMES_THE_CACHE * CACHE_BYTES_MIN / VECTOR_BYTES);
    fill(&log, &store, &name("few"), 10)?;
    fill(&log, &store, &name("many"), many)?;
    log.seal(None)?;
    log.close()?;
    drop((nothing_stays, store, log));
    figures.extend(small_cache(bench, many)?);
    Ok(figures)
}

/// How many vectors the other process searches.
const MANY: &str = "BENCH_VECTORS";

/// Has a process of its own search in little memory.
fn small_cache(bench: &Bench, many: usize) -> Result<Vec<Figure>> {
    let no_process = |error| Error::new(ErrorKind::Unavailable, "cannot start a child process").with_source(error);
    let mut command = Command::new(std::env::current_exe().map_err(no_process)?);
    command.args(["bench", "--json", SMALL, "--dir"]).arg(&bench.folder).env(MANY, many.to_string());
    let ended = command.stderr(Stdio::inherit()).output().map_err(no_process)?;
    if !ended.status.success() {
        return Err(Error::new(ErrorKind::Unavailable, "the child process that searches failed"));
    }
    // Where the system does not tell, there are no figures.
    let told = String::from_utf8_lossy(&ended.stdout);
    let told = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let told: Vec<f64> = told.filter_map(|line| line["icecore"].as_f64()).collect();
    let [resident, counted, took] = told[..] else { return Ok(Vec::new()) };
    let limit = as_f64((many * VECTOR_BYTES / TIMES_THE_CACHE) as u64);
    let of_limit = |what: &'static str, bytes| Figure {
        limit: Some(limit),
        target: Some(Target::RatioAtMost(1.0)),
        ..figure(what, Unit::Memory, bytes)
    };
    Ok(vec![
        of_limit("peak of resident memory, data of four times search.cache_bytes, beside that limit", resident),
        of_limit("the same by its own count", counted),
        figure("a search of these data in so little memory", Unit::Seconds, took),
    ])
}

/// Searches, with a limit of a quarter of the data.
pub(super) fn small(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder.parent().unwrap_or(&bench.folder).to_owned();
    let many = std::env::var(MANY).ok().and_then(|many| many.parse::<usize>().ok());
    let many = many.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{MANY} was not given")))?;
    let log = Log::open_read_only(options(bench, &folder))?;
    let store = Arc::new(store(bench, &log, &folder, true));
    let cache_bytes = many * VECTOR_BYTES / TIMES_THE_CACHE;
    let search = open(bench, &log, &store, SearchOptions { cache_bytes, ..SearchOptions::default() });
    // Code, threads and what the log has in memory are there before, as in a process that runs for months.
    search.nearest(&name("few"), &query())?;
    let before = memory_now(&*bench.fs, std::process::id());
    let mut took = Vec::new();
    for _ in 0..5 {
        let (answer, time) = bench.timed(|| search.nearest(&name("many"), &query()))?;
        if answer.statistics.vectors_compared != many as u64 {
            return Err(Error::new(ErrorKind::Internal, format!("not all were compared: {:?}", answer.statistics)));
        }
        took.push(time.as_secs_f64());
    }
    let after = memory_peak(&*bench.fs, std::process::id());
    let Some((before, after)) = before.zip(after) else { return Ok(Vec::new()) };
    Ok(vec![
        figure(
            "peak of resident memory above what was there before",
            Unit::Memory,
            as_f64(after.saturating_sub(before)),
        ),
        figure("peak by its own count", Unit::Memory, as_f64(search.memory().peak_bytes)),
        figure("median of five searches", Unit::Seconds, median(took)),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn as_f64(number: u64) -> f64 {
    number as f64
}

fn figure(what: impl Into<std::borrow::Cow<'static, str>>, unit: Unit, icecore: f64) -> Figure {
    Figure { scenario: "search", what: what.into(), unit, icecore, limit: None, target: None }
}

fn name(name: &str) -> CollectionName {
    CollectionName::new(name).expect("a plain name")
}

fn query() -> Query {
    let mut random = fastrand::Rng::with_seed(2);
    Query::new((0..DIMENSIONS).map(|_| random.f32() - 0.5).collect::<Vec<_>>(), K)
}

fn options(bench: &Bench, folder: &std::path::Path) -> LogOptions {
    let mut options = LogOptions::new([folder.join("log")]);
    options.fs = Arc::clone(&bench.fs);
    options.clock = Arc::clone(&bench.clock);
    options.sync = SyncMode::Never;
    options
}

fn store(bench: &Bench, log: &Log, folder: &std::path::Path, read_only: bool) -> ColumnarStore {
    let place = folder.join("log");
    let assign = move |_: &CollectionName| Ok(place.clone());
    let fs = Arc::clone(&bench.fs);
    let homes = if read_only { DirectoryHomes::to_read(fs, assign) } else { DirectoryHomes::to_write(fs, assign) };
    let options = StoreOptions { read_only, ..StoreOptions::default() };
    ColumnarStore::new(log.id(), Arc::new(homes), Arc::clone(&bench.clock), options)
}

fn open(bench: &Bench, log: &Log, store: &Arc<ColumnarStore>, options: SearchOptions) -> Search {
    Search::open(log.clone(), Arc::clone(store) as _, Arc::clone(&bench.clock), options)
}

/// Appends so many vectors to a collection, and brings them to the store; all their numbers, one vector behind the other.
fn fill(log: &Log, store: &ColumnarStore, collection: &CollectionName, count: usize) -> Result<Vec<f32>> {
    let mut random = fastrand::Rng::with_seed(1);
    let numbers: Vec<f32> = (0..count * DIMENSIONS).map(|_| random.f32() - 0.5).collect();
    let mut at = 0;
    for some in numbers.chunks(1000 * DIMENSIONS) {
        let records = some.chunks(DIMENSIONS).map(|vector| {
            at += 1;
            let record = VectorRecord::new(format!("vector-{at:08}"), vector);
            record.with_metadata(format!("{{\"n\":{at}}}")).into_new_record().map_err(Error::from)
        });
        let records = records.collect::<Result<Vec<NewRecord>>>()?;
        log.append_batch(collection, &records, AppendOptions::default())?;
    }
    log.sync()?;
    let mut after = Sequence(0);
    let mut reader = log.read(collection, ReadOptions { durable: true, ..ReadOptions::default() })?;
    loop {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < store.batch_bytes() {
            let Some(record) = reader.try_next()? else { break };
            bytes += record.payload.as_ref().map_or(0, |payload| payload.len() as u64);
            records.push(record);
        }
        let Some(last) = records.last() else { break };
        let through = last.sequence;
        store.apply(&Batch { collection, epoch: log.epoch(), after, records: &records, through })?;
        after = through;
    }
    Ok(numbers)
}

/// The same loop over bare numbers, by as many threads.
fn bare_scan(numbers: &[f32], norms: &[f64], query: &Query) -> Vec<u64> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let vectors = numbers.len() / DIMENSIONS;
    let share = vectors.div_ceil(threads) * DIMENSIONS;
    let unit = kernel::normalised(&query.vector).unwrap_or_default();
    let scan = |from: usize, part: &[f32]| {
        let mut top = Top::new(query.k);
        for (row, vector) in part.chunks_exact(DIMENSIONS).enumerate() {
            let rank = match query.metric {
                Metric::Cosine => kernel::dot(&unit, vector) / norms[from + row],
                Metric::Dot => kernel::dot(&query.vector, vector),
                Metric::L2 => -kernel::distance_squared(&query.vector, vector),
            };
            top.push(Ranked { rank, sequence: (from + row + 1) as u64, place: () });
        }
        top
    };
    let best = std::thread::scope(|scope| {
        let parts = numbers.chunks(share).enumerate();
        let workers: Vec<_> = parts
            .map(|(at, part)| {
                scope.spawn({
                    let scan = &scan;
                    move || scan(at * share / DIMENSIONS, part)
                })
            })
            .collect();
        let mut best = Top::new(query.k);
        for worker in workers {
            best.merge(worker.join().expect("arithmetic does not panic"));
        }
        best
    });
    best.into_sorted().into_iter().map(|ranked| ranked.sequence).collect()
}
