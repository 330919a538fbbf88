//! What directories a log has, what they are good for, and what they hold.
//!
//! Reads only, beside a writer, and with directories missing: what cannot be known is told as unknown, not as nothing.

use std::collections::HashMap;

use super::set::{Set, normal};
use crate::catalog::{Catalog, SegmentKey, SegmentStatus};
use crate::error::Result;
use crate::log::assign::remote_of_key;
use crate::log::catalog::choose;
use crate::log::identity::Identity;
use crate::log::recover::COMPONENT;
use crate::log::recover::journals::chain;
use crate::log::{DirectoryState, Log, LogOptions};
use crate::types::CollectionName;

/// Rows read at once.
const PAGE_ROWS: usize = 4096;

/// What there is of one directory.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DirectoryInfo {
    /// Its id.
    pub id: String,
    /// Where it is, or was last: a path, or a URL.
    pub place: String,
    /// `healthy`, `drained`, `failed`, `missing`, `forgotten`, `remote`.
    pub state: &'static str,
    /// Why it is not healthy, where there is more to say.
    pub reason: Option<String>,
    /// Whether it is the first one, which holds the catalog unless `catalog.path` says otherwise.
    pub is_first: bool,
    /// Collections that live there (of a remote: whose home it is); `None` where the catalog cannot be read.
    pub collections: Option<u64>,
    /// Segments whose files, or of a remote whose objects, lie there, by the catalog.
    pub segments: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// Bytes of records there that are in no segment yet; `None` where the journals cannot be read.
    pub unsealed_bytes: Option<u64>,
    /// What its disk has left.
    pub free_bytes: Option<u64>,
}

/// By directory.
#[derive(Default)]
struct Holdings {
    collections: HashMap<String, u64>,
    segments: HashMap<String, (u64, u64)>,
    unsealed: Option<HashMap<String, u64>>,
    states: HashMap<String, DirectoryState>,
}

impl Log {
    /// The directories of a log, in its order; then its remotes, then those that were forgotten.
    ///
    /// # Errors
    /// `NotFound` where there is no log, or none of its directories can be read.
    pub fn list_directories(options: &LogOptions) -> Result<Vec<DirectoryInfo>> {
        let set = Set::of(options)?;
        let holdings = holdings(options, &set);
        if let Err(error) = &holdings {
            tracing::warn!(error = chain(error), "what the directories hold is not known: the catalog cannot be read");
        }
        let holdings = holdings.ok();
        let mut list = Vec::new();
        for (index, member) in set.members.iter().enumerate() {
            let known = holdings.as_ref().and_then(|holdings| holdings.states.get(&member.id));
            let (state, reason) = match (&member.identity, known) {
                (Err(why), _) => ("missing", Some(why.clone())),
                (Ok(_), Some(state @ (DirectoryState::Failed(_) | DirectoryState::Missing(_)))) => {
                    (state.word(), state.reason().map(str::to_owned))
                }
                (Ok(_), _) if member.is_drained => ("drained", None),
                (Ok(_), _) => ("healthy", None),
            };
            let mut info =
                info(&member.id, normal(&member.path).display().to_string(), (state, reason), holdings.as_ref());
            info.is_first = index == 0;
            if member.identity.is_ok() {
                info.free_bytes = options.fs.free_bytes(&member.path).ok();
            } else {
                // What lies only in its journals is not known to anybody.
                info.unsealed_bytes = None;
            }
            list.push(info);
        }
        for remote in &set.newest.remotes {
            let state = if remote.drained {
                ("drained", Some("a remote: no new collection is at home there".to_owned()))
            } else {
                ("remote", None)
            };
            let mut info = info(&remote.directory, remote.url.clone(), state, holdings.as_ref());
            info.unsealed_bytes = None;
            list.push(info);
        }
        for gone in &set.newest.forgotten {
            let place = gone.path.display().to_string();
            let is_back = matches!(Identity::read(&*options.fs, &gone.path), Ok(Some(there)) if there.directory == gone.directory);
            let reason = is_back.then(|| "it is there again: `directory add` takes it back".to_owned());
            let mut info = info(&gone.directory, place, ("forgotten", reason), holdings.as_ref());
            info.unsealed_bytes = None;
            list.push(info);
        }
        Ok(list)
    }
}

fn info(
    id: &str,
    place: String,
    (state, reason): (&'static str, Option<String>),
    holdings: Option<&Holdings>,
) -> DirectoryInfo {
    let segments = holdings.map(|holdings| holdings.segments.get(id).copied().unwrap_or_default());
    let unsealed = holdings.and_then(|holdings| holdings.unsealed.as_ref());
    DirectoryInfo {
        id: id.to_owned(),
        place,
        state,
        reason,
        is_first: false,
        collections: holdings.map(|holdings| holdings.collections.get(id).copied().unwrap_or(0)),
        segments: segments.map(|(count, _)| count),
        bytes: segments.map(|(_, bytes)| bytes),
        unsealed_bytes: unsealed.map(|unsealed| unsealed.get(id).copied().unwrap_or(0)),
        free_bytes: None,
    }
}

fn holdings(options: &LogOptions, set: &Set) -> Result<Holdings> {
    let mut holdings = Holdings::default();
    let is_remote = |id: &str| set.newest.remotes.iter().any(|remote| remote.directory == id);
    // The whole log, where it opens: only that knows what lies in journals, and where a collection went since the catalog was told.
    match Log::open_read_only(options.clone()) {
        Ok(log) => {
            read_rows(&*log.0.catalog, &mut holdings)?;
            let mut unsealed = HashMap::new();
            for collection in log.0.all_collections() {
                let state = collection.state();
                let id = &log.0.directories[state.home.directory].id;
                *holdings.collections.entry(id.clone()).or_default() += 1;
                *unsealed.entry(id.clone()).or_default() += state.unsealed.bytes();
            }
            holdings.unsealed = Some(unsealed);
            let states = log.0.directories.iter().map(|directory| (directory.id.clone(), directory.state()));
            holdings.states = states.collect();
            count_homes(&*log.0.catalog, super::HOME, &is_remote, &mut holdings)?;
        }
        Err(error) => {
            tracing::info!(error = chain(&error), "the log does not open: only the catalog is asked");
            let first = set.members.first().map(|member| member.path.clone()).unwrap_or_default();
            let catalog = choose::open(options, &first, &set.newest, false)?.catalog;
            read_rows(&*catalog, &mut holdings)?;
            count_homes(&*catalog, COMPONENT, &|_| true, &mut holdings)?;
            count_homes(&*catalog, super::HOME, &is_remote, &mut holdings)?;
        }
    }
    Ok(holdings)
}

fn read_rows(catalog: &dyn Catalog, holdings: &mut Holdings) -> Result<()> {
    let mut after: Option<SegmentKey> = None;
    loop {
        let rows = catalog.segments(None, after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.key.clone());
        for row in &rows {
            let is_sent = matches!(row.status, SegmentStatus::Archived | SegmentStatus::Evicted);
            let here = row.status.is_local().then_some(row.directory.as_str());
            let there = row.archive_key.as_deref().filter(|_| is_sent).and_then(remote_of_key);
            for id in here.into_iter().chain(there) {
                let (count, bytes) = match holdings.segments.get_mut(id) {
                    Some(known) => known,
                    None => holdings.segments.entry(id.to_owned()).or_default(),
                };
                *count += 1;
                *bytes += row.bytes;
            }
        }
    }
}

fn count_homes(
    catalog: &dyn Catalog,
    component: &str,
    counts: &dyn Fn(&str) -> bool,
    holdings: &mut Holdings,
) -> Result<()> {
    let mut after: Option<CollectionName> = None;
    loop {
        let page = after.as_ref().map(|name| (component, name));
        let assignments = catalog.assignments(Some(component), page, PAGE_ROWS)?;
        let Some(last) = assignments.last() else { return Ok(()) };
        after = Some(last.collection.clone());
        for assignment in assignments.into_iter().filter(|assignment| counts(&assignment.directory)) {
            *holdings.collections.entry(assignment.directory).or_default() += 1;
        }
    }
}
