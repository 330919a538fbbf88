//! How much memory uploads take beside their budget, in a process of its own: what other work left behind is not counted.

use std::path::Path;
use std::process::{Command, Stdio};

use super::archive::{archiver_options, fill, of_segments, place, remove};
use super::{Bench, Figure, Unit, memory_peak};
use crate::archive::{Archiver, TargetStore};
use crate::error::{Error, ErrorKind, Result};
use crate::log::{Log, LogOptions};
use crate::types::{CollectionName, NewRecord};

/// The part that archives.
pub(super) const PART: &str = "archive-memory";
const LOG: &str = "log-memory";
/// More at the same time than the budget has room for.
const SEGMENTS: usize = 8;

/// Fills a log, and has another process archive it.
pub(super) fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let log = Log::open(of_segments(bench.options(LOG)))?;
    fill(&log, 100, SEGMENTS)?;
    log.close()?;
    drop(log);
    let no_process = |error| Error::new(ErrorKind::Unavailable, "cannot start a child process").with_source(error);
    let mut command = Command::new(std::env::current_exe().map_err(no_process)?);
    if let Some((location, _)) = &bench.archive {
        command.args(["--archive", &location.to_string()]);
    }
    command.args(["bench", "--json", PART, "--dir"]).arg(&bench.folder).stderr(Stdio::inherit());
    let ended = command.output().map_err(no_process)?;
    let lines = String::from_utf8_lossy(&ended.stdout);
    let told = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let peak = told.filter_map(|line| line["icecore"].as_f64()).next();
    // Where the system does not tell, there is no figure.
    if !ended.status.success() {
        return Err(Error::new(ErrorKind::Unavailable, "the child process that archives failed"));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let budget = bench.archive_memory_bytes as f64;
    Ok(peak.map(|peak| figure(peak, Some(budget))).into_iter().collect())
}

/// Archives, and tells what the peak was above what the process had when its first segment had arrived.
pub(super) fn part(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder.parent().unwrap_or(Path::new(".")).join(LOG);
    let mut options = LogOptions::new([folder]);
    (options.fs, options.clock) = (std::sync::Arc::clone(&bench.fs), std::sync::Arc::clone(&bench.clock));
    let log = Log::open(of_segments(options))?;
    let place = place(bench, "memory")?;
    // The clients, their connections and the catalog are there before, as in a process that runs for months.
    let first = CollectionName::new("a-first").expect("a plain name");
    log.append(&first, NewRecord::payload("a record"))?;
    log.seal(None)?;
    place.store.probe()?;
    let before = memory_peak(&*bench.fs, std::process::id());
    let target = TargetStore { remote: None, url: place.location.to_string(), store: place.store.clone() };
    let archiver = Archiver::new(&log, vec![target], archiver_options(bench, SEGMENTS))?;
    let report = archiver.run_once(&mut |_| true)?;
    let after = memory_peak(&*bench.fs, std::process::id());
    if !report.is_complete() {
        return Err(Error::new(ErrorKind::Unavailable, format!("not everything was archived: {report:?}")));
    }
    drop(archiver);
    log.close()?;
    remove(&place)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let figure = |(before, after): (u64, u64)| figure(after.saturating_sub(before) as f64, None);
    Ok(before.zip(after).map(figure).into_iter().collect())
}

fn figure(peak: f64, budget: Option<f64>) -> Figure {
    Figure {
        scenario: "archive",
        what: "peak memory of eight uploads at once, above the process's before, beside archive.memory_bytes".into(),
        unit: Unit::Memory,
        icecore: peak,
        limit: budget,
        target: None,
    }
}
