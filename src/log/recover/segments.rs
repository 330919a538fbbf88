//! Segments on disk against rows in the catalog (DESIGN section 8).
//!
//! Owns: listing directories, finding which file has no row and which row no file. Decides by [`table`](super::table), changes
//! nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::journals::chain;
use super::table::{Action, FileState, decide};
use crate::catalog::{Catalog, SegmentKey, SegmentRow};
use crate::error::Result;
use crate::fs::{EntryKind, FileSystem, OpenMode};
use crate::segment::{self, SegmentReader};
use crate::segment::{FileKind, SegmentName};
use crate::types::{CollectionName, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 4096;

/// A segment that needs something done, or that is worth a word.
#[derive(Clone, Debug)]
pub struct SegmentFinding {
    /// Which segment.
    pub key: SegmentKey,
    /// Which of the log's directories.
    pub directory: usize,
    /// The file's path, whether it is there or not.
    pub path: PathBuf,
    /// The catalog's row.
    pub row: Option<SegmentRow>,
    /// What the disk says.
    pub file: FileState,
    /// What to do.
    pub action: Action,
    /// Why, where there is more to say.
    pub reason: String,
}

/// What the listing and the rows say of one collection.
#[derive(Clone, Debug, Default)]
pub struct CollectionFiles {
    /// The directory where its newest segment lies.
    pub directory: Option<usize>,
    /// Highest sequence of any segment, row or stub.
    pub last: Sequence,
}

/// Everything found of segments.
#[derive(Debug, Default)]
pub struct FoundSegments {
    /// In order of keys; those that need nothing are left out.
    pub findings: Vec<SegmentFinding>,
    /// By collection.
    pub collections: BTreeMap<CollectionName, CollectionFiles>,
    /// How many rows the catalog has.
    pub rows: u64,
    /// Directories that could not be listed, and what the catalog has there. Nothing of it was judged (A3).
    pub unjudged: Vec<Unjudged>,
}

/// A directory whose files could not be compared with the catalog's rows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unjudged {
    /// Its id.
    pub directory: String,
    /// Which of the log's directories; `None` for one that the log does not have here.
    #[serde(skip)]
    pub index: Option<usize>,
    /// What the system said when it was listed; `None` where that was not tried.
    pub reason: Option<String>,
    /// Collections with segments there.
    pub collections: u64,
    /// Segments whose file should be there.
    pub segments: u64,
    /// Bytes of these.
    pub bytes: u64,
}

type Files = BTreeMap<SegmentKey, usize>;

/// Compares directories and catalog. `readable` says of each directory whether it is there to be listed: of one that is not,
/// nothing is judged, and what the catalog has there is counted (A3).
///
/// # Errors
/// The catalog cannot be read.
pub fn find(
    fs: &dyn FileSystem,
    directories: &[(String, PathBuf)],
    catalog: &dyn Catalog,
    readable: &[bool],
) -> Result<FoundSegments> {
    let mut found = FoundSegments::default();
    let mut files = Files::new();
    let mut unjudged: BTreeMap<String, (Unjudged, Option<CollectionName>)> = BTreeMap::new();
    for (index, (id, directory)) in directories.iter().enumerate() {
        let reason = if readable[index] {
            let listed = list(fs, index, directory, &mut |listed| {
                found.note(&listed.key.collection, index, listed.key.last);
                if listed.kind == FileKind::Segment {
                    files.insert(listed.key, index);
                }
            });
            match listed {
                Ok(_) => continue,
                Err(error) => Some(chain(&error)),
            }
        } else {
            None
        };
        unjudged.insert(id.clone(), (Unjudged::new(id, Some(index), reason), None));
    }
    let mut after: Option<SegmentKey> = None;
    loop {
        let rows = catalog.segments(None, after.as_ref(), PAGE_ROWS)?;
        let Some(last) = rows.last() else { break };
        after = Some(last.key.clone());
        for row in rows {
            found.rows += 1;
            let home = directories.iter().position(|(id, _)| *id == row.directory);
            if home.is_none() || unjudged.contains_key(&row.directory) {
                found.note(&row.key.collection, home.unwrap_or(0), row.key.last);
                let none = || (Unjudged::new(&row.directory, None, None), None);
                let (unjudged, before) = unjudged.entry(row.directory.clone()).or_insert_with(none);
                if row.status.is_local() {
                    unjudged.segments += 1;
                    unjudged.bytes += row.bytes;
                    if before.as_ref() != Some(&row.key.collection) {
                        unjudged.collections += 1;
                        *before = Some(row.key.collection.clone());
                    }
                }
                continue;
            }
            let listed = files.remove(&row.key);
            let directory = listed.or_else(|| directories.iter().position(|(id, _)| *id == row.directory)).unwrap_or(0);
            found.note(&row.key.collection, directory, row.key.last);
            let file = if listed.is_some() { FileState::Present } else { FileState::Absent };
            let action = decide(Some(row.status), file, row.archive_key.is_some());
            if action != Action::Keep {
                let path = segment_path(&directories[directory].1, &row.key);
                let reason = format!("the row says {:?}, the file is {}", row.status, file.label());
                found.findings.push(SegmentFinding {
                    key: row.key.clone(),
                    directory,
                    path,
                    row: Some(row),
                    file,
                    action,
                    reason,
                });
            }
        }
    }
    let mut rowless: Vec<(SegmentKey, usize)> = files.into_iter().collect();
    // Longer ones first where they begin alike: a seal whose row failed is tried again later, with what came since.
    rowless.sort_by(|(one, _), (other, _)| {
        (&one.collection, one.first, other.last).cmp(&(&other.collection, other.first, one.last))
    });
    let mut adopted: Option<SegmentKey> = None;
    for (key, directory) in rowless {
        let path = segment_path(&directories[directory].1, &key);
        let (file, mut reason) = judge_file(fs, &path);
        let mut action = decide(None, file, false);
        if action == Action::Adopt {
            let before = adopted.as_ref().filter(|before| overlaps(before, &key)).cloned();
            if let Some(other) = before.map_or_else(|| row_overlapping(catalog, &key), |before| Ok(Some(before)))? {
                // Without a row it released no journal: whatever it holds and the other does not is still there.
                action = Action::SetAside;
                reason = format!("another segment has its records: segment=`{other}`");
            } else {
                adopted = Some(key.clone());
            }
        }
        found.findings.push(SegmentFinding { key, directory, path, row: None, file, action, reason });
    }
    found.findings.sort_by(|one, other| one.key.cmp(&other.key));
    found.unjudged = unjudged.into_values().map(|(unjudged, _)| unjudged).collect();
    Ok(found)
}

impl Unjudged {
    fn new(directory: &str, index: Option<usize>, reason: Option<String>) -> Self {
        Self { directory: directory.to_owned(), index, reason, collections: 0, segments: 0, bytes: 0 }
    }
}

fn overlaps(one: &SegmentKey, other: &SegmentKey) -> bool {
    one.collection == other.collection && one.first <= other.last && other.first <= one.last
}

/// A live row that has some of the same sequences.
pub(in crate::log) fn row_overlapping(catalog: &dyn Catalog, key: &SegmentKey) -> Result<Option<SegmentKey>> {
    let next = catalog.segments_from(&key.collection, key.first, 1)?;
    Ok(next.into_iter().map(|row| row.key).find(|row| overlaps(row, key)))
}

/// Where a segment's file is.
#[must_use]
pub fn segment_path(directory: &Path, key: &SegmentKey) -> PathBuf {
    SegmentName::of_key(key).path(directory, &key.collection)
}

impl FoundSegments {
    fn note(&mut self, collection: &CollectionName, directory: usize, last: Sequence) {
        let files = match self.collections.get_mut(collection) {
            Some(files) => files,
            None => self.collections.entry(collection.clone()).or_default(),
        };
        if last >= files.last {
            files.last = last;
            files.directory = Some(directory);
        }
    }
}

/// A file below a log's directory that has the name of a segment or a stub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) struct Listed {
    /// Which segment, by its name.
    pub key: SegmentKey,
    /// The segment, or the stub that was left in its place.
    pub kind: FileKind,
    /// Which of the log's directories.
    pub directory: usize,
}

/// Calls `visit` for each segment and each stub below a directory. Returns folders with segments of an unknown collection.
pub(in crate::log) fn list(
    fs: &dyn FileSystem,
    index: usize,
    directory: &Path,
    visit: &mut dyn FnMut(Listed),
) -> Result<Vec<PathBuf>> {
    let mut unknown = Vec::new();
    for entry in fs.list(directory)? {
        if entry.kind != EntryKind::Directory || entry.name.starts_with('.') {
            continue;
        }
        let folder = directory.join(&entry.name);
        let names: Vec<(String, SegmentName)> = fs
            .list(&folder)?
            .into_iter()
            .filter(|file| file.kind == EntryKind::File)
            .filter_map(|file| SegmentName::parse(&file.name).map(|name| (file.name, name)))
            .collect();
        let Some(collection) = collection_of(fs, &folder, &entry.name, &names) else {
            if !names.is_empty() {
                tracing::warn!(folder = %folder.display(), "segments of an unknown collection are left alone");
                unknown.push(folder);
            }
            continue;
        };
        for (_, name) in names {
            let key = SegmentKey {
                collection: collection.clone(),
                first: name.covers.first,
                last: name.covers.last,
                generation: name.generation,
            };
            visit(Listed { key, kind: name.kind, directory: index });
        }
    }
    Ok(unknown)
}

/// The collection behind a folder: from its name, or, where that is cut, from a file's metadata (F5).
fn collection_of(
    fs: &dyn FileSystem,
    folder: &Path,
    name: &str,
    files: &[(String, SegmentName)],
) -> Option<CollectionName> {
    CollectionName::from_directory_name(name).or_else(|| {
        files.iter().find_map(|(file, _)| {
            let opened = fs.open(&folder.join(file), OpenMode::Read).ok()?;
            let collection = match SegmentName::parse(file)?.kind {
                FileKind::Segment => SegmentReader::open(opened).ok()?.footer().collection.clone(),
                FileKind::Stub => segment::read_stub(opened).ok()?.collection,
            };
            (collection.directory_name() == name).then_some(collection)
        })
    })
}

/// A file without a row is read through before it is trusted: with the row, journals may be released.
pub(in crate::log) fn judge_file(fs: &dyn FileSystem, path: &Path) -> (FileState, String) {
    let file = match fs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return (FileState::Absent, String::new()),
        Err(error) => return (FileState::Unreadable, chain(&error)),
    };
    match segment::verify_deep(std::sync::Arc::new(segment::FileRange(file)), None) {
        Ok(verdict) if verdict.is_ok() => (FileState::Present, "a whole file without a row".into()),
        Ok(verdict) => {
            (FileState::Damaged, verdict.damaged.first().map_or_else(String::new, std::string::ToString::to_string))
        }
        Err(segment::SegmentError::Fs(error)) => (FileState::Unreadable, chain(&error)),
        Err(error) => (FileState::Damaged, chain(&error)),
    }
}
