//! Several directories: how evenly they fill, what that costs, and how a log with many collections opens.
//!
//! All directories are below one folder, so on one disk: the ratio tells what several journals and committers cost there, not what
//! several disks bring.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::measure::{median, rate};
use super::{Bench, Figure, Target, Unit, memory_peak};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{AppendOptions, Log, LogOptions};
use crate::types::{CollectionName, NewRecord};

/// The scenario of the process that fills a log until it is killed.
pub(super) const FILL: &str = "directories-fill";
/// The scenario of the process that opens it.
pub(super) const OPEN: &str = "directories-open";

const DIRECTORIES: usize = 4;
const COLLECTIONS: usize = 100;
/// Records of 64 KiB in each: 10 MiB.
const RECORDS: usize = 160;
const BATCH: usize = 16;
const WRITERS: usize = 16;
/// The two loads take turns.
const ROUNDS: usize = 3;
const MANY: usize = 10_000;
/// Says that the log is filled.
const FILLED: &str = "filled";

/// The load on one directory, then on four, then many collections.
pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let (mut one, mut four) = (Vec::new(), Vec::new());
    for _ in 0..bench.scaled(ROUNDS) {
        one.push(load(bench, "one", 1)?);
        four.push(load(bench, "four", DIRECTORIES)?);
    }
    let beside = |what: &'static str, of: fn(&Load) -> f64| {
        let (one, four) = (median(one.iter().map(of).collect()), median(four.iter().map(of).collect()));
        figure(what, Unit::Bytes, four, Some(one))
    };
    let mut figures = vec![
        beside("appended, durable: 4 directories beside 1", |load| load.appended),
        beside("appended and sealed: 4 directories beside 1", |load| load.sealed),
    ];
    let four = &four[0];
    for (bytes, what) in four.bytes.iter().zip(["first", "second", "third", "fourth"]) {
        figures.push(figure(format!("segments in the {what} directory"), Unit::Memory, *bytes, None));
    }
    let most = four.bytes.iter().copied().fold(0.0, f64::max);
    let least = four.bytes.iter().copied().fold(f64::INFINITY, f64::min);
    let spread = figure("the fullest directory beside the emptiest", Unit::Memory, most, Some(least));
    figures.push(Figure { target: Some(Target::RatioAtMost(1.1)), ..spread });
    figures.extend(many(bench)?);
    Ok(figures)
}

fn figure(what: impl Into<std::borrow::Cow<'static, str>>, unit: Unit, icecore: f64, limit: Option<f64>) -> Figure {
    Figure { scenario: "directories", what: what.into(), unit, icecore, limit, target: None }
}

fn name(number: usize) -> CollectionName {
    CollectionName::new(&format!("collection-{number}")).expect("a plain name")
}

fn options(bench: &Bench, folder: &Path, directories: usize) -> LogOptions {
    let mut options = LogOptions::new((0..directories).map(|number| folder.join(format!("disk-{number}"))));
    options.fs = std::sync::Arc::clone(&bench.fs);
    options.clock = std::sync::Arc::clone(&bench.clock);
    options
}

/// What one load did.
struct Load {
    /// Bytes of payload a second until all were durable.
    appended: f64,
    /// Bytes of payload a second until all were in segments.
    sealed: f64,
    /// Bytes of segments in each directory.
    bytes: Vec<f64>,
}

fn load(bench: &Bench, folder: &str, directories: usize) -> Result<Load> {
    let records = bench.scaled(RECORDS);
    let in_batch = records.min(BATCH);
    let log = Log::open(options(bench, &bench.folder.join(folder), directories))?;
    // Noise: a segment is as large as what it holds.
    let mut noise = fastrand::Rng::with_seed(1);
    let mut payload =
        || NewRecord::payload(std::iter::repeat_with(|| noise.u8(..)).take(64 << 10).collect::<Vec<u8>>());
    let batch: Vec<_> = (0..in_batch).map(|_| payload()).collect();
    let (appended, append) = bench.timed(|| {
        std::thread::scope(|scope| {
            let work = |writer: usize| {
                let mut bytes = 0;
                for _ in 0..records / in_batch {
                    for number in (writer..COLLECTIONS).step_by(WRITERS) {
                        log.append_batch(&name(number), &batch, AppendOptions::default())?;
                        bytes += (in_batch as u64) << 16;
                    }
                }
                Ok(bytes)
            };
            let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || work(writer))).collect();
            let done = writers.into_iter().map(|writer| writer.join().expect("a writer does not panic"));
            done.sum::<Result<u64>>()
        })
    })?;
    let (_, seal) = bench.timed(|| log.seal(None))?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = log.directories_statistics()?.iter().map(|each| each.segment_bytes as f64).collect();
    log.close()?;
    drop(log);
    super::remove_all(&*bench.fs, &bench.folder.join(folder), true)?;
    Ok(Load { appended: rate(appended, append), sealed: rate(appended, append + seal), bytes })
}

/// 10,000 collections with 10 records each: opened after a kill, and after it was closed.
fn many(bench: &Bench) -> Result<Vec<Figure>> {
    let mut child = part(bench, FILL)?.stdout(Stdio::null()).spawn().map_err(no_process)?;
    while bench.fs.metadata(&bench.folder.join(FILLED)).is_err() {
        if child.try_wait().map_err(no_process)?.is_some() {
            return Err(Error::new(ErrorKind::Unavailable, "the child process ended early"));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    child.kill().and_then(|()| child.wait()).map_err(no_process)?;
    let mut figures = Vec::new();
    for after in ["after a kill", "after it was closed"] {
        for (what, unit, value) in opened(bench)? {
            figures.push(figure(format!("{} collections {after}: {what}", bench.scaled(MANY)), unit, value, None));
        }
    }
    Ok(figures)
}

fn no_process(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "cannot start a child process, or wait for it").with_source(error)
}

/// This program, as the process that does one part of the work in our folder.
fn part(bench: &Bench, scenario: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().map_err(no_process)?);
    command.args(["bench", "--json", "--scale", &bench.scale.to_string(), scenario, "--dir"]).arg(&bench.folder);
    Ok(command)
}

/// Opens the log in a process of its own, and tells what that took.
fn opened(bench: &Bench) -> Result<Vec<(String, Unit, f64)>> {
    let ended = part(bench, OPEN)?.stderr(Stdio::inherit()).output().map_err(no_process)?;
    let lines = String::from_utf8_lossy(&ended.stdout);
    let told: Vec<_> = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).collect();
    let figure = |line: &serde_json::Value| {
        let unit = if line["unit"] == "seconds" { Unit::Seconds } else { Unit::Memory };
        Some((line["what"].as_str()?.to_owned(), unit, line["icecore"].as_f64()?))
    };
    let figures: Vec<_> = told.iter().filter_map(figure).collect();
    if !ended.status.success() || figures.is_empty() {
        return Err(Error::new(ErrorKind::Unavailable, "the child process told no figures"));
    }
    Ok(figures)
}

/// Where the log of both parts is: the folder of who started them.
fn shared(bench: &Bench) -> PathBuf {
    bench.folder.parent().unwrap_or(&bench.folder).to_owned()
}

/// Appends to many collections, says so, and waits to be killed.
pub(super) fn fill(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = shared(bench);
    let log = Log::open(options(bench, &folder.join("many"), DIRECTORIES))?;
    let names: Vec<_> = (0..bench.scaled(MANY)).map(name).collect();
    let record = [NewRecord::payload(vec![7; 256])];
    for _ in 0..10 {
        for names in names.chunks(1000) {
            let batches: Vec<_> = names.iter().map(|name| (name, &record[..])).collect();
            log.append_many(&batches, AppendOptions::default())?;
        }
    }
    crate::fs::durable::create_dir_all(&*bench.fs, &folder.join(FILLED))?;
    loop {
        std::thread::park();
    }
}

/// Opens the log that was filled, and closes it.
pub(super) fn open(bench: &Bench) -> Result<Vec<Figure>> {
    let (log, took) = bench.timed(|| Log::open(options(bench, &shared(bench).join("many"), DIRECTORIES)))?;
    let found = log.collections()?;
    let whole = found.iter().filter(|each| each.records == 10).count();
    assert_eq!(whole, bench.scaled(MANY), "a bench that opens less than was written measures nothing");
    let mut figures = vec![figure("open and recover", Unit::Seconds, took.as_secs_f64(), None)];
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    if let Some(peak) = memory_peak(&*bench.fs, std::process::id()) {
        figures.push(figure("peak memory of the process", Unit::Memory, peak as f64, None));
    }
    log.close()?;
    Ok(figures)
}
