//! `icecore ls collections|segments|journals|changes|assignments`
//!
//! Paths are absolute for programs, so that they can be opened from anywhere; people see them below their directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::status;
use crate::catalog::{Assignment, Change, SegmentRow};
use crate::cli::facts::{Facts, Listing};
use crate::cli::{CommandResult, Context, Exit, Failure, LsChangesArgs, LsCommand, LsSegmentsArgs, Stdout, logs};
use crate::log::Log;
use crate::types::ids::hex;
use crate::types::{ChangeNumber, CollectionName, Sequence};

/// Rows read from the catalog at once.
const PAGE_ROWS: usize = 1000;

pub(in crate::cli) fn run(context: &Context, command: &LsCommand) -> CommandResult {
    let log = logs::open_read_only(context)?;
    let mut stdout = Stdout::lock();
    let mut list = Listing::new(context.json);
    let mut add = |facts: Facts| Ok(list.add(&mut stdout, &facts)?);
    match command {
        LsCommand::Collections => collections(&log, &mut add)?,
        LsCommand::Segments(args) => segments(&log, args, &mut add)?,
        LsCommand::Journals => journals(&log, &mut add)?,
        LsCommand::Changes(args) => changes(&log, args, &mut add)?,
        LsCommand::Assignments => assignments(&log, &mut add)?,
    }
    if !list.finish(&mut stdout)? {
        context.say("none");
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}

type Add<'a> = dyn FnMut(Facts) -> Result<(), Failure> + 'a;

/// Where the log's directories are, by their ids.
struct Places(HashMap<String, PathBuf>);

impl Places {
    fn of(log: &Log) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Self(log.directories().into_iter().map(|(id, path)| (id, absolute(&path))).collect())
    }

    /// A directory that is not of this log any more is told by its id.
    fn directory(&self, id: &str) -> String {
        self.0.get(id).map_or_else(|| id.to_owned(), |path| path.display().to_string())
    }

    fn path(&self, id: &str, relative: &str) -> String {
        Path::new(&self.directory(id)).join(relative).display().to_string()
    }
}

fn collections(log: &Log, add: &mut Add<'_>) -> Result<(), Failure> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string();
    for info in log.collections().map_err(logs::explain)? {
        let facts = Facts::default()
            .text("collection", &info.collection)
            .text("directory", absolute(&info.directory))
            .number("first_sequence", info.first_sequence.map(Sequence::get))
            .number("last_sequence", info.last_sequence.map(Sequence::get))
            .count("records", info.records)
            .bytes("bytes", info.bytes)
            .count("segments", info.segments)
            .hidden("next_sequence", info.written.next().get())
            .hidden("floor", info.floor.get())
            .count("unsealed_records", info.unsealed_records)
            .bytes("unsealed_bytes", info.unsealed_bytes);
        add(facts)?;
    }
    Ok(())
}

fn segments(log: &Log, _args: &LsSegmentsArgs, add: &mut Add<'_>) -> Result<(), Failure> {
    let places = Places::of(log);
    let mut after = None;
    loop {
        let rows = log.catalog().segments(None, after.as_ref(), PAGE_ROWS).map_err(crate::Error::from)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.key.clone());
        for row in rows {
            add(segment(&row, &places))?;
        }
    }
}

fn segment(row: &SegmentRow, places: &Places) -> Facts {
    Facts::default()
        .hidden("segment", row.key.to_string())
        .text("collection", &row.key.collection)
        .text("directory", places.directory(&row.directory))
        .both("path", places.path(&row.directory, &row.path), row.path.clone())
        .number("first_sequence", row.key.first.0)
        .number("last_sequence", row.key.last.0)
        .count("records", row.records)
        .bytes("bytes", row.bytes)
        .hidden("sha256", hex(&row.sha256))
        .text("status", row.status)
        .hidden("generation", row.key.generation.0)
        .hidden("epoch", row.epoch.0)
        .hidden("timestamp_min", row.timestamp_min.to_string())
        .hidden("timestamp_max", row.timestamp_max.to_string())
        .time("sealed_at", row.sealed_at)
        .hidden("flushed_at", row.flushed_at.map(|at| at.to_string()))
}

fn journals(log: &Log, add: &mut Add<'_>) -> Result<(), Failure> {
    for info in log.journals().map_err(logs::explain)? {
        let path = std::path::absolute(&info.path).unwrap_or_else(|_| info.path.clone());
        let kept_by: Vec<&str> = info.kept_by.iter().map(CollectionName::as_str).collect();
        let facts = Facts::default()
            .text("path", path.display())
            .text("kind", status::kind(info.kind))
            .bytes("bytes", info.bytes)
            .count("live_runs", info.live_runs)
            .bytes("live_bytes", info.live_bytes)
            .both("kept_by", kept_by, status::kept_by(&info))
            .hidden("kept_by_count", info.kept_by_count);
        add(facts)?;
    }
    Ok(())
}

fn changes(log: &Log, _args: &LsChangesArgs, add: &mut Add<'_>) -> Result<(), Failure> {
    let mut since = ChangeNumber(0);
    loop {
        let changes = log.catalog().changes(since, PAGE_ROWS).map_err(crate::Error::from)?;
        let Some(last) = changes.last() else { return Ok(()) };
        since = last.number;
        for found in changes {
            add(change(&found))?;
        }
    }
}

fn change(change: &Change) -> Facts {
    let detail: serde_json::Value =
        serde_json::from_str(&change.detail).unwrap_or_else(|_| change.detail.clone().into());
    Facts::default()
        .number("number", change.number.0)
        .time("at", change.at)
        .text("kind", &change.kind)
        .text("subject", &change.subject)
        .text("reason", &change.reason)
        .hidden("detail", detail)
}

fn assignments(log: &Log, add: &mut Add<'_>) -> Result<(), Failure> {
    let places = Places::of(log);
    let mut last: Option<Assignment> = None;
    loop {
        let after = last.as_ref().map(|last| (last.component.as_str(), &last.collection));
        let page = log.catalog().assignments(None, after, PAGE_ROWS).map_err(crate::Error::from)?;
        if page.is_empty() {
            return Ok(());
        }
        for assignment in &page {
            let facts = Facts::default()
                .text("component", &assignment.component)
                .text("collection", &assignment.collection)
                .text("directory", places.directory(&assignment.directory))
                .hidden("directory_id", assignment.directory.clone())
                .number("epoch", assignment.epoch.0)
                .number("from_sequence", assignment.from.0)
                .time("since", assignment.since);
            add(facts)?;
        }
        last = page.into_iter().next_back();
    }
}
