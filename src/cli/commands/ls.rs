//! `icecore ls collections|segments|journals|changes|assignments|manifests|objects`
//!
//! Segments, changes and assignments are read from the catalog alone, page by page.
//!
//! Paths are absolute for programs, so that they can be opened from anywhere; people see them below their directory.

mod archive;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::status;
use crate::catalog::{Assignment, Catalog, CatalogResult, Change, SegmentKey, SegmentRow};
use crate::cli::facts::{Facts, Listing};
use crate::cli::{
    CommandResult, Context, Exit, Failure, LsAssignmentsArgs, LsChangesArgs, LsCommand, LsSegmentsArgs, Stdout, logs,
};
use crate::log::Log;
use crate::log::catalog::CatalogLook;
use crate::types::ids::hex;
use crate::types::{ChangeNumber, CollectionName, Sequence};
use crate::{Error, ErrorKind};

/// Rows read from the catalog at once.
const PAGE_ROWS: usize = 1000;

pub(in crate::cli) fn run(context: &Context, command: &LsCommand) -> CommandResult {
    let mut stdout = Stdout::lock();
    let mut list = Listing::new(context.json);
    let mut add = |facts: Facts| Ok(list.add(&mut stdout, &facts)?);
    match command {
        LsCommand::Collections(args) => collections(&logs::open_to_read(context, None)?, args.all, &mut add)?,
        LsCommand::Segments(args) => segments(&logs::look_to_read(context)?, args, &mut add)?,
        LsCommand::Journals => journals(&logs::open_read_only(context)?, &mut add)?,
        LsCommand::Changes(args) => changes(&*logs::look_at_catalog(context)?.catalog, args, &mut add)?,
        LsCommand::Assignments(args) => match &args.collection {
            Some(name) if args.history => history(context, name, args, &mut add)?,
            _ => assignments(context, args, &mut add)?,
        },
        LsCommand::Manifests(args) => archive::manifests(context, args, &mut add)?,
        LsCommand::Objects(args) => archive::objects(context, args, &mut add)?,
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
    fn of(directories: &[(String, PathBuf)]) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Self(directories.iter().map(|(id, path)| (id.clone(), absolute(path))).collect())
    }

    /// The remotes too, which are told by their URLs.
    fn with_remotes(mut self, context: &Context) -> Result<Self, Failure> {
        let remotes = logs::options(context)?.remotes().map_err(logs::explain)?;
        self.0.extend(remotes.into_iter().map(|remote| (remote.directory, PathBuf::from(remote.url))));
        Ok(self)
    }

    /// A directory that is not of this log any more is told by its id.
    fn directory(&self, id: &str) -> String {
        self.0.get(id).map_or_else(|| id.to_owned(), |path| path.display().to_string())
    }

    fn path(&self, id: &str, relative: &str) -> String {
        Path::new(&self.directory(id)).join(relative).display().to_string()
    }
}

fn collections(log: &Log, all: bool, add: &mut Add<'_>) -> Result<(), Failure> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string();
    let mut infos = log.collections().map_err(logs::explain)?;
    if all {
        infos.extend(log.deleted_collections().map_err(logs::explain)?);
        infos.sort_by(|one, other| one.collection.cmp(&other.collection));
    }
    for info in infos {
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
        add(if all { facts.time("deleted_at", info.deleted) } else { facts })?;
    }
    Ok(())
}

/// A page of rows behind the row `after`, by the look-up that has an index for what is asked.
fn page(
    catalog: &dyn Catalog,
    args: &LsSegmentsArgs,
    after: Option<&SegmentKey>,
    rows: usize,
) -> CatalogResult<Vec<SegmentRow>> {
    match (&args.collection, args.status) {
        (None, _) if args.unflushed => catalog.segments_unflushed(after, rows),
        (None, Some(status)) => catalog.segments_by_status(status, after, rows),
        (collection, _) => catalog.segments(collection.as_ref(), after, rows),
    }
}

/// Which rows are wanted, whichever look-up gave them.
struct Wanted<'a> {
    look: &'a CatalogLook,
    args: &'a LsSegmentsArgs,
    /// Up to where the sinks of a collection have it; `None` where it has none: then nothing of it waits.
    delivered: BTreeMap<CollectionName, Option<Sequence>>,
}

impl Wanted<'_> {
    fn has(&mut self, row: &SegmentRow) -> Result<bool, Failure> {
        let is_of_status = self.args.status.is_none_or(|status| row.status == status);
        if !self.args.unflushed || !is_of_status {
            return Ok(is_of_status);
        }
        if !row.status.is_live() || row.flushed_at.is_some() {
            return Ok(false);
        }
        let name = &row.key.collection;
        let delivered = match self.delivered.get(name) {
            Some(known) => *known,
            None => {
                let found = self.look.delivered_through(name)?;
                *self.delivered.entry(name.clone()).or_insert(found)
            }
        };
        Ok(delivered.is_some_and(|has| has < row.key.last))
    }
}

fn segments(look: &CatalogLook, args: &LsSegmentsArgs, add: &mut Add<'_>) -> Result<(), Failure> {
    if let Some(name) = &args.collection
        && look.catalog.collection(name).map_err(crate::Error::from)?.is_none()
    {
        let error = Error::new(ErrorKind::NotFound, format!("no such collection in the catalog: collection=`{name}`"));
        return Err(error.with_hint("`ls collections` lists them").into());
    }
    let places = Places::of(&look.directories);
    let mut wanted = Wanted { look, args, delivered: BTreeMap::new() };
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut after = None;
    while left > 0 {
        let rows = page(&*look.catalog, args, after.as_ref(), PAGE_ROWS.min(left)).map_err(crate::Error::from)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.key.clone());
        for row in &rows {
            if left > 0 && wanted.has(row)? {
                left -= 1;
                add(segment(row, &places))?;
            }
        }
    }
    Ok(())
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

fn changes(catalog: &dyn Catalog, args: &LsChangesArgs, add: &mut Add<'_>) -> Result<(), Failure> {
    let mut since = ChangeNumber(args.since);
    let mut left = args.limit.unwrap_or(usize::MAX);
    while left > 0 {
        let changes = catalog.changes(since, PAGE_ROWS.min(left)).map_err(crate::Error::from)?;
        let Some(last) = changes.last() else { break };
        since = last.number;
        left -= changes.len();
        for found in &changes {
            add(change(found))?;
        }
    }
    Ok(())
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

fn assignments(context: &Context, args: &LsAssignmentsArgs, add: &mut Add<'_>) -> Result<(), Failure> {
    let look = logs::look_at_catalog(context)?;
    let places = Places::of(&look.directories).with_remotes(context)?;
    let mut last: Option<Assignment> = None;
    loop {
        let after = last.as_ref().map(|last| (last.component.as_str(), &last.collection));
        let page = look.catalog.assignments(args.component.as_deref(), after, PAGE_ROWS).map_err(crate::Error::from)?;
        if page.is_empty() {
            return Ok(());
        }
        let is_wanted =
            |assignment: &&Assignment| args.collection.as_ref().is_none_or(|name| *name == assignment.collection);
        for assignment in page.iter().filter(is_wanted) {
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

fn history(
    context: &Context,
    name: &CollectionName,
    args: &LsAssignmentsArgs,
    add: &mut Add<'_>,
) -> Result<(), Failure> {
    let log = logs::open_read_only(context)?;
    let places = Places::of(&log.directories()).with_remotes(context)?;
    for found in log.assignment_history(args.component.as_deref(), name).map_err(logs::explain)? {
        let facts = Facts::default()
            .text("component", &found.component)
            .text("collection", &found.collection)
            .text("directory", places.directory(&found.directory))
            .hidden("directory_id", found.directory.clone())
            .number("epoch", found.epoch.0)
            .number("from_sequence", found.from.0)
            .time("since", found.since)
            .number("change", found.change.0)
            .text("reason", &found.reason);
        add(facts)?;
    }
    Ok(())
}
