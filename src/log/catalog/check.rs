//! Catalog against directories, in both directions (C3, C6, C7).
//!
//! Owns: which rows must have which files, which files which rows, and what to do about each difference. Reuses the judgement
//! of `verify` (a segment's front and end), and the listing of `recover`. Changes nothing.
//!
//! Works beside a writer: what differs is looked at again, and only what differs each time is told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::choose::catalog_file;
use super::look::CatalogLook;
use crate::catalog::{
    Catalog, CatalogError, CollectionRow, Engine, MirrorStatus, SegmentKey, SegmentRow, SegmentStatus,
};
use crate::error::{ErrorKind, Result};
use crate::fs::FileSystem;
use crate::log::identity::Identity;
use crate::log::options::LogOptions;
use crate::log::places;
use crate::log::recover::journals::{self, chain};
use crate::log::recover::segments::{self, Judgement, segment_path};
use crate::log::recover::{COMPONENT, newest_change};
use crate::log::verify::segments::judge;
use crate::segment::{FileKind, SegmentName};
use crate::types::{ChangeNumber, CollectionName, LogId, Sequence};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;
/// How often a difference must be found.
const LOOKS: usize = 3;

const REBUILD: &str = "`catalog rebuild` makes the catalog anew";
const OPEN: &str = "the next opening for writing (`recover`) puts it right";
const MOUNT: &str = "check the disk and mount it; what it holds is not lost";
const VERIFY: &str = "`verify --deep` reads every byte; docs/recovery.md says what can be done";

/// A difference between the catalog and the directories.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CatalogFinding {
    /// What kind of difference, in one word.
    pub kind: &'static str,
    /// The file or the row that it is about.
    pub about: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
    /// Whether it is damage. What is none is put right by the next opening for writing, or is on its way.
    pub damage: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CatalogReport {
    /// Whether no finding is damage.
    pub ok: bool,
    /// The catalog's file.
    pub path: PathBuf,
    /// What keeps it; `None` where it cannot be opened.
    pub engine: Option<Engine>,
    /// Its newest change.
    pub change_number: ChangeNumber,
    /// Rows of segments.
    pub segments: u64,
    /// Segment files in the directories.
    pub files: u64,
    /// Stubs in the directories.
    pub stubs: u64,
    /// Journals.
    pub journals: u64,
    /// Collections in the catalog.
    pub collections: u64,
    /// Differences.
    pub findings: Vec<CatalogFinding>,
    /// How far the mirror has come; `None` without one.
    pub mirror: Option<MirrorStatus>,
}

impl CatalogReport {
    /// Compares the catalog of a log with its directories.
    ///
    /// # Errors
    /// The catalog cannot be read now. That it is damaged or gone is a finding, and that a directory is.
    pub fn of(options: &LogOptions) -> Result<Self> {
        let places = places::existing(options)?;
        places.first_there(options)?;
        let directories = &places.ids;
        let log = places.newest.log_id(&directories[0].1)?;
        match CatalogLook::open(options) {
            Ok(look) => {
                let mut report = check(&*options.fs, directories, log, &look.path, &*look.catalog)?;
                report.note_mirror(look.mirror());
                Ok(report)
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                let path = catalog_file(options, &directories[0].1, log, places.first_identity().catalog);
                let kind = if error.kind() == ErrorKind::NotFound { "no-catalog" } else { "catalog" };
                let what = error.to_string();
                let finding =
                    CatalogFinding { kind, about: path.display().to_string(), what, advice: REBUILD, damage: true };
                Ok(Self { path, findings: vec![finding], ..Self::default() })
            }
            Err(error) => Err(error),
        }
    }

    fn note_mirror(&mut self, mirror: Option<MirrorStatus>) {
        if let Some(MirrorStatus { engine, error: Some(error), .. }) = &mirror {
            let (about, what) = (format!("mirror {engine}"), format!("it does not follow: {error}"));
            let advice = "move its file and those beside it away: opening for writing makes it anew";
            self.findings.push(CatalogFinding { kind: "mirror", about, what, advice, damage: true });
            self.ok = false;
        }
        self.mirror = mirror;
    }
}

/// Compares a catalog with the directories of its log.
///
/// # Errors
/// As [`CatalogReport::of`].
pub(super) fn check(
    fs: &dyn FileSystem,
    directories: &[(String, PathBuf)],
    log: LogId,
    path: &Path,
    catalog: &dyn Catalog,
) -> Result<CatalogReport> {
    let look = || -> Result<CatalogReport> {
        let mut check = Check {
            fs,
            directories,
            missing: why_missing(fs, directories),
            log,
            catalog,
            report: CatalogReport { path: path.to_path_buf(), ..CatalogReport::default() },
            files: BTreeMap::new(),
            stubs: Vec::new(),
            covered: BTreeMap::new(),
            ends: HashMap::new(),
            is_complete: true,
        };
        check.run()?;
        Ok(check.report)
    };
    let mut report = look()?;
    for _ in 1..LOOKS {
        if report.findings.is_empty() {
            break;
        }
        let again = look()?;
        let still: HashSet<_> = report.findings.iter().map(identity).collect();
        let findings = again.findings.iter().filter(|found| still.contains(&identity(found))).cloned().collect();
        report = CatalogReport { findings, ..again };
    }
    report.ok = report.findings.iter().all(|found| !found.damage);
    Ok(report)
}

/// What makes two findings the same, though numbers in their text moved on.
fn identity(finding: &CatalogFinding) -> (&'static str, &str, &str) {
    // Of a row that is damaged, only the text says which it is.
    (finding.kind, &finding.about, if finding.kind == "row" { &finding.what } else { "" })
}

struct Check<'a> {
    fs: &'a dyn FileSystem,
    directories: &'a [(String, PathBuf)],
    /// Why a directory cannot be looked at, where it cannot (A1, A3).
    missing: Vec<Option<String>>,
    log: LogId,
    catalog: &'a dyn Catalog,
    report: CatalogReport,
    /// Segment files, and in which directories; those whose row was met are taken out.
    files: BTreeMap<SegmentKey, Vec<usize>>,
    stubs: Vec<(SegmentKey, usize)>,
    /// What live rows and losses answer for, by collection, neighbours merged.
    covered: BTreeMap<CollectionName, Vec<(Sequence, Sequence)>>,
    /// The last sequence of any file or journal, by collection.
    ends: HashMap<CollectionName, Sequence>,
    /// Whether every row of a segment could be read.
    is_complete: bool,
}

impl Check<'_> {
    fn run(&mut self) -> Result<()> {
        self.report.engine = self.catalog.engine();
        self.own()?;
        // Files before rows: a seal makes the file first, so that a file listed here has its row by then, or never.
        self.list();
        self.journals()?;
        self.rows()?;
        self.rowless()?;
        self.stubs()?;
        self.collections()?;
        self.report.change_number = self.catalog.change_number()?;
        Ok(())
    }

    fn note(
        &mut self,
        damage: bool,
        kind: &'static str,
        about: impl std::fmt::Display,
        what: String,
        advice: &'static str,
    ) {
        self.report.findings.push(CatalogFinding { kind, about: about.to_string(), what, advice, damage });
    }

    /// What the engine says of its own rows.
    fn own(&mut self) -> Result<()> {
        let path = self.report.path.display().to_string();
        match self.catalog.check() {
            Ok(lines) => lines.into_iter().for_each(|line| self.note(true, "row", &path, line, REBUILD)),
            Err(CatalogError::Damaged { what, .. }) => self.note(true, "row", &path, what, REBUILD),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn list(&mut self) {
        for (index, (_, directory)) in self.directories.iter().enumerate() {
            if self.missing[index].is_none() {
                let (files, stubs, ends) = (&mut self.files, &mut self.stubs, &mut self.ends);
                let listed = segments::list(self.fs, index, directory, &mut |listed| {
                    let end = ends.entry(listed.key.collection.clone()).or_default();
                    *end = (*end).max(listed.key.last);
                    match listed.kind {
                        FileKind::Segment => files.entry(listed.key).or_default().push(listed.directory),
                        FileKind::Stub => stubs.push((listed.key, listed.directory)),
                    }
                });
                match listed {
                    Ok(listing) => self.listing(listing),
                    Err(error) => self.missing[index] = Some(chain(&error)),
                }
            }
            if let Some(why) = self.missing[index].clone() {
                let what = format!("the directory is not there, and nothing of it was judged: {why}");
                self.note(true, "missing-directory", directory.display(), what, MOUNT);
            }
        }
        let files = self.files.values().map(|holders| holders.len() as u64).sum();
        (self.report.files, self.report.stubs) = (files, self.stubs.len() as u64);
    }

    fn listing(&mut self, listing: segments::Listing) {
        for folder in listing.unknown {
            let what = "segments of a collection that nothing names".to_owned();
            self.note(true, "unknown-folder", folder.display(), what, VERIFY);
        }
        for hidden in listing.unlistable {
            let what = format!("the folder cannot be listed: {}", hidden.reason);
            self.note(true, "unlistable-folder", hidden.path.display(), what, MOUNT);
        }
        for path in listing.foreign {
            self.foreign(&path, "an Avro file under a name that is none of icecore's");
        }
    }

    fn foreign(&mut self, path: &Path, what: &str) {
        let what = format!("{what}: it is left alone");
        let advice = "`append COLLECTION FILE --format avro` takes the records of an Avro file";
        self.note(false, "foreign", path.display(), what, advice);
    }

    fn journals(&mut self) -> Result<()> {
        let mut journals = Vec::new();
        for (index, (_, directory)) in self.directories.iter().enumerate() {
            if self.missing[index].is_some() {
                continue;
            }
            match journals::find(self.fs, directory, false)? {
                journals::FoundJournals { unlistable: Some(why), .. } => {
                    let what = format!("its journals cannot be listed: {why}");
                    self.note(true, "missing-directory", directory.display(), what, MOUNT);
                }
                found => journals.push(found),
            }
        }
        let mut names = BTreeMap::new();
        for journal in journals.iter().flat_map(|found| &found.journals) {
            self.report.journals += 1;
            for run in &journal.scan.runs {
                let end = self.ends.entry(run.collection.clone()).or_default();
                *end = (*end).max(Sequence(run.first.0 + run.count.max(1) - 1));
                names.entry(run.collection.clone()).or_insert_with(|| journal.file.path.clone());
            }
        }
        // After the journals, which tell of changes that were durable before.
        let (told, has) = match newest_change(&journals, self.catalog) {
            Ok(told) => (told, self.catalog.change_number()?),
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
            Err(error) => return Err(error),
        };
        if told > has {
            let what = format!("it ends with change {has}, the journals know of change {told}: it is an older copy");
            let advice = "put the right one back, or open for writing (`recover`): the directories say what it lacks";
            self.note(true, "older-copy", self.report.path.display().to_string(), what, advice);
        }
        for (name, path) in names {
            match self.catalog.collection(&name) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    let what = format!("collection `{name}` is in this journal, and not in the catalog yet");
                    self.note(false, "new-collection", path.display(), what, OPEN);
                }
                Err(CatalogError::Damaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn rows(&mut self) -> Result<()> {
        for loss in self.catalog.losses(None).or_else(damaged_is_empty)? {
            self.covered.entry(loss.collection).or_default().push((loss.first, loss.last));
        }
        let mut after: Option<SegmentKey> = None;
        loop {
            let rows = match self.catalog.segments(None, after.as_ref(), PAGE_ROWS) {
                Ok(rows) => rows,
                Err(CatalogError::Damaged { what, .. }) => {
                    self.is_complete = false;
                    if self.report.findings.iter().all(|found| found.kind != "row") {
                        self.note(true, "row", self.report.path.display().to_string(), what, REBUILD);
                    }
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for row in &rows {
                self.report.segments += 1;
                let listed = self.files.remove(&row.key);
                self.row(row, listed);
            }
        }
    }

    fn row(&mut self, row: &SegmentRow, listed: Option<Vec<usize>>) {
        if row.status.is_live() {
            let covered = self.covered.entry(row.key.collection.clone()).or_default();
            match covered.last_mut().filter(|before| before.1.next() == row.key.first) {
                Some(before) => before.1 = row.key.last,
                None => covered.push((row.key.first, row.key.last)),
            }
        }
        let about = format!("segment {}", row.key);
        if row.path != SegmentName::of_key(&row.key).relative(&row.key.collection) {
            self.note(true, "row-path", &about, format!("its row names another file: path=`{}`", row.path), REBUILD);
        }
        let home = self.directories.iter().position(|(id, _)| *id == row.directory);
        if row.status.is_local() {
            let Some(home) = home else {
                let what = format!("its row names a directory that is not of this log: directory=`{}`", row.directory);
                return self.note(true, "row-directory", &about, what, REBUILD);
            };
            // Of a directory that is missing, one finding tells.
            if self.missing[home].is_none() {
                let path = segment_path(&self.directories[home].1, &row.key);
                for fault in judge(self.fs, self.log, &path, row, false).faults {
                    let what = format!("{} of {}: {}", about, row.status, fault.reason);
                    self.note(true, "file", path.display(), what, VERIFY);
                }
            }
            for copy in listed.into_iter().flatten().filter(|copy| *copy != home) {
                let path = segment_path(&self.directories[copy].1, &row.key);
                let what =
                    format!("its row says that the file is in directory=`{}`", self.directories[home].1.display());
                self.note(false, "copy", path.display(), what, OPEN);
            }
        } else if row.status != SegmentStatus::Quarantined {
            for directory in listed.into_iter().flatten() {
                let path = segment_path(&self.directories[directory].1, &row.key);
                let what = format!("the row says {}, and the file is still here", row.status);
                self.note(false, "leftover", path.display(), what, OPEN);
            }
        }
        if matches!(row.status, SegmentStatus::Archived | SegmentStatus::Evicted) && row.archive_key.is_none() {
            let what = format!("its row says {} and names no archived object", row.status);
            self.note(true, "no-archive-key", &about, what, VERIFY);
        }
    }

    /// Files whose row was not met.
    fn rowless(&mut self) -> Result<()> {
        for (key, holders) in std::mem::take(&mut self.files) {
            let path = segment_path(&self.directories[holders[0]].1, &key);
            match self.catalog.segment(&key) {
                Ok(None) => {}
                // Sealed meanwhile, or behind a row that stopped the paging.
                Ok(Some(row)) => {
                    self.row(&row, Some(holders));
                    continue;
                }
                Err(CatalogError::Damaged { what, .. }) => {
                    self.note(true, "row-of-file", path.display(), format!("its row cannot be read: {what}"), REBUILD);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            for directory in holders {
                self.rowless_file(&key, directory);
            }
        }
        Ok(())
    }

    fn rowless_file(&mut self, key: &SegmentKey, directory: usize) {
        let path = segment_path(&self.directories[directory].1, key);
        match segments::judge(self.fs, &path, (Some(self.log), key, None)) {
            Judgement::Absent => {}
            Judgement::Foreign(what) => self.foreign(&path, &what),
            Judgement::Whole(_) => {
                let what = match segments::row_overlapping(self.catalog, key) {
                    Ok(Some(other)) => format!("a whole segment without a row, whose records segment `{other}` has"),
                    _ => "a whole segment without a row: a crash came before its row, or a seal is under way".into(),
                };
                self.note(false, "file-without-row", path.display(), what, OPEN);
            }
            Judgement::Broken(reason) | Judgement::Flawed { reason, .. } => {
                let what = format!("a damaged segment without a row: {reason}");
                self.note(true, "file-without-row", path.display(), what, OPEN);
            }
            Judgement::Unreadable(reason) => {
                let what = format!("a segment without a row, which cannot be read: {reason}");
                self.note(true, "file-without-row", path.display(), what, VERIFY);
            }
        }
    }

    fn stubs(&mut self) -> Result<()> {
        for (key, directory) in std::mem::take(&mut self.stubs) {
            match self.catalog.segment(&key) {
                Ok(Some(_)) | Err(CatalogError::Damaged { .. }) => {}
                // It tells of what was deleted.
                Ok(None) if self.is_below_floor(&key)? => {}
                Ok(None) => {
                    let name = SegmentName::stub(
                        crate::segment::SequenceRange { first: key.first, last: key.last },
                        key.generation,
                    );
                    let path = name.path(&self.directories[directory].1, &key.collection);
                    let what = "the stub of a segment that the catalog does not know".to_owned();
                    self.note(true, "stub-without-row", path.display(), what, REBUILD);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_below_floor(&self, key: &SegmentKey) -> Result<bool> {
        match self.catalog.collection(&key.collection) {
            Ok(row) => Ok(row.is_some_and(|row| key.last < row.floor)),
            Err(CatalogError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Each collection against what its rows, its files and its journals say.
    fn collections(&mut self) -> Result<()> {
        let mut after: Option<CollectionName> = None;
        loop {
            let rows = match self.catalog.collections(after.as_ref(), PAGE_ROWS) {
                Ok(rows) => rows,
                Err(CatalogError::Damaged { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some(last) = rows.last() else { break };
            after = Some(last.name.clone());
            for row in &rows {
                self.report.collections += 1;
                match self.collection(row) {
                    Err(CatalogError::Damaged { .. }) => {}
                    other => other?,
                }
            }
        }
        // Only what has no row is left.
        for name in std::mem::take(&mut self.covered).into_keys() {
            let what = "it has segments or losses, and no row of its own".to_owned();
            self.note(true, "no-collection", format!("collection {name}"), what, REBUILD);
        }
        Ok(())
    }

    fn collection(&mut self, row: &CollectionRow) -> crate::catalog::CatalogResult<()> {
        let about = format!("collection {}", row.name);
        let mut covered = self.covered.remove(&row.name).unwrap_or_default();
        covered.sort_unstable();
        let mut at = row.floor.max(Sequence::FIRST);
        let mut last = row.sealed_through.max(row.floor.previous());
        for (first, end) in covered {
            last = last.max(end);
            if self.is_complete && at < first && at <= row.sealed_through {
                let missing = first.previous().min(row.sealed_through);
                let what = format!("it is sealed through {}, and no row has {at}..={missing}", row.sealed_through);
                self.note(true, "hole", &about, what, REBUILD);
            }
            at = at.max(end.next());
        }
        if self.is_complete && at <= row.sealed_through {
            let what = format!("it is sealed through {0}, and no row has {at}..={0}", row.sealed_through);
            self.note(true, "hole", &about, what, REBUILD);
        }
        let most = self.catalog.sequence_max(&row.name)?;
        if most < last {
            let what = format!("its highest sequence is {last}, and the catalog says {most}");
            self.note(true, "sequence-max", &about, what, REBUILD);
        }
        match self.catalog.assignment(COMPONENT, &row.name)? {
            None => self.note(false, "assignment", &about, "no directory is assigned to it".to_owned(), OPEN),
            Some(assigned) if self.directories.iter().all(|(id, _)| *id != assigned.directory) => {
                let what = format!("its directory is not of this log: directory=`{}`", assigned.directory);
                self.note(true, "assignment", &about, what, REBUILD);
            }
            Some(_) => {}
        }
        for cursor in self.catalog.cursors(&row.name)? {
            let end = self.ends.get(&row.name).copied().unwrap_or_default().max(last);
            // The end may be in a directory that is missing.
            if cursor.sequence > end && self.missing.iter().all(Option::is_none) {
                let what =
                    format!("sink `{}` has sequence {}, and the log ends with {end}", cursor.sink, cursor.sequence);
                let advice = "records that the sink has are gone here: find the right copy of the directories";
                self.note(true, "cursor", &about, what, advice);
            }
        }
        Ok(())
    }
}

/// By directory, why it cannot be looked at: its identity is gone, or another one's, or cannot be read (A1).
pub(in crate::log) fn why_missing(fs: &dyn FileSystem, directories: &[(String, PathBuf)]) -> Vec<Option<String>> {
    let why = |(id, path): &(String, PathBuf)| match Identity::read(fs, path) {
        Ok(Some(identity)) if identity.directory == *id => fs.list(path).err().map(|error| chain(&error)),
        Ok(Some(identity)) => Some(format!("another directory is there: id=`{id}`, found=`{}`", identity.directory)),
        Ok(None) => Some(format!("it has no identity: id=`{id}`")),
        Err(error) => Some(chain(&error)),
    };
    directories.iter().map(why).collect()
}

/// What is damaged is told by the engine's own check.
fn damaged_is_empty<T>(error: CatalogError) -> crate::catalog::CatalogResult<Vec<T>> {
    match error {
        CatalogError::Damaged { .. } => Ok(Vec::new()),
        error => Err(error),
    }
}
