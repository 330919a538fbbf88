//! The catalog made anew (C6).
//!
//! Owns: what comes from where, and in which order. Under the log's lock:
//!
//! 1. What a crash left of an earlier rebuild is finished or undone (`place`).
//! 2. A new catalog is built in a file beside. First comes what the old one knows, if it can be read (`carry`): by its history where
//!    that is whole, else by its rows. What cannot be read is reported.
//! 3. Then the directories speak: a segment's file without a row gets the row that its footer says (R3), read through byte by byte
//!    before; collections and assignments of segments and journals are added.
//!    Where an archive is given, it speaks after them: what it has and no directory holds gets the row of an evicted segment, what it has and a
//!    directory holds the row of an archived one; collections that no old catalog knew get their floors, settings, losses and gaps from it.
//! 4. What is in no segment and in no journal, though a row, a stub or a file's name says that it was there, is recorded as a
//!    loss: so no sequence is ever given out again (C7), and an operator can acknowledge it.
//! 5. The new catalog is checked: by itself, and against the directories.
//! 6. It takes the old one's place (`place`, which says why a crash between any two steps is safe). Nothing is deleted or
//!    overwritten, and no file of a segment or journal is touched.
//!
//! A directory of the log that is not there (A3) may hold what no other directory tells of. Then the old catalog is needed, all of it:
//! its rows of that directory are kept, and nothing of the collections that live there is called lost. Without it nothing is made.
//!
//! Memory grows with the number of segments, about 1 KiB for each, as when a log is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aside::{exists, set_aside};
use super::carry::{self, History, Writer, is_unreadable};
use super::check::{self, CatalogReport, why_missing};
use super::choose::{catalog_file, check_built};
use super::look::Temporary;
use super::place;
use super::restore::{self, FromArchive};
use crate::catalog::{Catalog, CatalogError, CatalogMode, Engine, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, durable};
use crate::log::Log;
use crate::log::assign::homes;
use crate::log::came_back::CameBack;
use crate::log::directories::HOME;
use crate::log::options::LogOptions;
use crate::log::places;
use crate::log::recover::act::row_of_file;
use crate::log::recover::journals;
use crate::log::recover::journals::FoundJournals;
use crate::log::recover::segments::{self, Claim, Contested, FoundSegments, Listed, contest, recovered};
use crate::log::recover::table::Action;
use crate::log::recover::{ARCHIVE_UNASKED, CHANGES_SINCE_EPOCH, COMPONENT, LossReport};
use crate::segment::FileKind;
use crate::types::{CollectionName, Epoch, LogId, Sequence, Timestamp};

/// Rows read at once.
const PAGE_ROWS: usize = 1000;
const FROM_FOOTER: &str = "rebuild: from the segment's footer";
const FROM_DIRECTORIES: &str = "rebuild: from the directories";
const FROM_ARCHIVE: &str = "rebuild: from the archive";

/// What of the old catalog could be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// There was none.
    #[default]
    Absent,
    /// There was one, and nothing of it could be read.
    Unreadable,
    /// Its rows, as far as they can be read; the history begins anew.
    Rows,
    /// Its whole history: the new catalog has the same, with the same numbers.
    History,
}

/// Something that the old catalog had and the new one has not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NotCarried {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// What a rebuild did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RebuildReport {
    /// Whether nothing was left out, and catalog and directories agree.
    pub ok: bool,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The catalog's file.
    pub path: PathBuf,
    /// What keeps it.
    pub engine: Option<Engine>,
    /// What of the old catalog could be used.
    pub source: Source,
    /// The mirror that was taken for the old catalog, which was gone or could not be opened; `None` where it was itself.
    pub from_mirror: Option<Engine>,
    /// Where the old catalog's files lie now.
    pub set_aside: Option<PathBuf>,
    /// Where its mirrors' files lie now, which could not follow the new one.
    pub mirrors_set_aside: Vec<PathBuf>,
    /// Rows of segments that the new catalog has.
    pub segments: u64,
    /// Those of them that were made from footers.
    pub from_footers: u64,
    /// Those of them that an archive told, or of which it told that they are archived.
    #[serde(skip_serializing_if = "is_zero")]
    pub from_archive: u64,
    /// Collections that it has.
    pub collections: u64,
    /// Assignments that were made from where segments and journals lie.
    pub assignments_made: u64,
    /// Losses that were not on record before.
    pub losses: Vec<LossReport>,
    /// Directories that are missing, and why: what the old catalog says of them was kept.
    pub missing_directories: Vec<String>,
    /// Collections that were found in several directories and assigned to none, and where they belong now.
    pub contested: Vec<Contested>,
    /// What could not be carried over from the old catalog.
    pub not_carried: Vec<NotCarried>,
    /// The new catalog against the directories.
    pub check: CatalogReport,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What an archive has.
pub(crate) struct Archived<'a> {
    /// The log whose archive it is.
    pub log: LogId,
    /// Small values of the catalog.
    pub values: Vec<(String, String)>,
    /// The collections.
    pub collections: &'a mut dyn Iterator<Item = FromArchive>,
}

impl Log {
    /// Makes the catalog of a log anew from its directories, and from what can be read of the old one; the old one is set
    /// aside. With `dry_run` it is made, looked at, and removed again.
    ///
    /// # Errors
    /// `NotFound` where there is no log, `Locked` while a process writes to it, `Unsupported` for a catalog of a newer version,
    /// `Unavailable` where a directory is missing and the old catalog cannot tell all of what is there, or what the disk said. The old catalog is in its place then, or the next opening for writing puts the new one there.
    pub fn rebuild_catalog(options: &LogOptions, dry_run: bool) -> Result<RebuildReport> {
        Self::rebuild_catalog_with(options, dry_run, None)
    }

    /// As [`rebuild_catalog`](Self::rebuild_catalog), also from what an archive has.
    ///
    /// # Errors
    /// As there; `Conflict` for another log's archive.
    pub(crate) fn rebuild_catalog_with(
        options: &LogOptions,
        dry_run: bool,
        archived: Option<Archived<'_>>,
    ) -> Result<RebuildReport> {
        let fs = &*options.fs;
        if options.catalog.is_some() {
            let message = "a catalog that the options give is in no file, and is not made anew";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let _locks = places::existing(options)?.lock_those_there(fs)?;
        // Again, under the lock.
        let places = places::existing(options)?;
        places.first_there(options)?;
        let directories = &places.ids;
        let log = places.newest.log_id(&directories[0].1)?;
        if let Some(archived) = archived.as_ref().filter(|archived| archived.log != log) {
            let message = format!("the archive is of another log: its log=`{}`, this log=`{log}`", archived.log);
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("is the url right, with its prefix?"));
        }
        let epoch = Epoch(places.newest.epoch);
        let engine = places.first_identity().catalog;
        check_built(engine)?;
        let file_of = |engine| catalog_file(options, &directories[0].1, log, engine);
        let path = file_of(engine);
        if let Some(folder) = &options.catalog_directory {
            durable::create_dir_all(fs, folder)?;
        }
        if !dry_run {
            place::settle(fs, engine, &path)?;
        }
        let file = Temporary { fs: Arc::clone(&options.fs), engine, path: place::building(&path) };
        let others: Vec<(Engine, PathBuf)> =
            Engine::ALL.into_iter().filter(|other| *other != engine).map(|other| (other, file_of(other))).collect();
        let place = Place { fs, directories, log, epoch, engine, path: &path, others: &others, file: &file };
        let (old, mirror) = place.open_old()?;
        let mut rebuild = Rebuild::new(&place, options.clock.now())?;
        rebuild.report.from_mirror = mirror;
        rebuild.carry(old)?;
        rebuild.adopt()?;
        if let Some(archived) = archived {
            rebuild.knows_archive = true;
            rebuild.add_archived(archived)?;
        }
        rebuild.settle_collections()?;
        rebuild.finish(dry_run)
    }
}

/// Whose catalog is made, and where.
struct Place<'a> {
    fs: &'a dyn FileSystem,
    directories: &'a [(String, PathBuf)],
    log: LogId,
    epoch: Epoch,
    engine: Engine,
    path: &'a Path,
    /// Where mirrors would be, or what migrations left.
    others: &'a [(Engine, PathBuf)],
    file: &'a Temporary,
}

/// The old catalog.
enum Old {
    Absent,
    Unreadable(String),
    Open(Arc<dyn Catalog>),
}

impl Place<'_> {
    /// The old catalog, or, where that is gone or cannot be opened, the newest of its mirrors, and which that is.
    fn open_old(&self) -> Result<(Old, Option<Engine>)> {
        let path = place::to_read(self.fs, self.path.to_path_buf());
        let old = match self.engine.open(&path, CatalogMode::ReadOnly) {
            Ok(old) => return Ok((Old::Open(old), None)),
            Err(CatalogError::NotFound { .. }) => Old::Absent,
            Err(error) if is_unreadable(&error) => Old::Unreadable(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let mut newest = None;
        for (engine, path) in self.others.iter().filter(|(engine, _)| engine.is_built()) {
            if let Ok(mirror) = engine.open(path, CatalogMode::ReadOnly)
                && let Ok(number) = mirror.change_number()
                && newest.as_ref().is_none_or(|(_, _, other)| *other < number)
            {
                newest = Some((*engine, mirror, number));
            }
        }
        Ok(match newest {
            Some((engine, mirror, _)) => (Old::Open(mirror), Some(engine)),
            None => (old, None),
        })
    }

    /// An empty catalog in the file beside.
    fn new_catalog(&self) -> Result<Arc<dyn Catalog>> {
        for path in self.engine.companions(&self.file.path).into_iter().chain([self.file.path.clone()]) {
            match durable::remove(self.fs, &path) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(self.engine.open(&self.file.path, CatalogMode::Create)?)
    }
}

struct Rebuild<'a> {
    place: &'a Place<'a>,
    now: Timestamp,
    new: Arc<dyn Catalog>,
    /// By directory, whether it is there.
    readable: Vec<bool>,
    journals: Vec<FoundJournals>,
    /// What lies in the directories, compared with the new catalog.
    found: FoundSegments,
    /// Segments and stubs, by their names.
    listed: Vec<Listed>,
    /// The highest sequence of each collection that the old catalog knew of.
    old_ends: BTreeMap<CollectionName, Sequence>,
    /// An archive was given.
    knows_archive: bool,
    report: RebuildReport,
}

impl<'a> Rebuild<'a> {
    fn new(place: &'a Place<'a>, now: Timestamp) -> Result<Self> {
        let missing = why_missing(place.fs, place.directories);
        let mut journals = Vec::new();
        for ((_, directory), why) in place.directories.iter().zip(&missing) {
            journals.push(match why {
                None => journals::find(place.fs, directory, false)?,
                Some(_) => FoundJournals::default(),
            });
        }
        if let Some(why) = journals.iter().find_map(|found| found.unlistable.as_ref()) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the journals of a directory cannot be listed: {why}"),
            )
            .with_hint("check the disk, then try again"));
        }
        if let Some(unreadable) = journals.iter().flat_map(|found| &found.unreadable).next() {
            // What it holds would be taken for lost.
            let message =
                format!("a journal cannot be read: path=`{}`, {}", unreadable.path.display(), unreadable.reason);
            return Err(Error::new(ErrorKind::Unavailable, message).with_hint("check the disk, then try again"));
        }
        let mut listed = Vec::new();
        for (index, (_, directory)) in
            place.directories.iter().enumerate().filter(|(index, _)| missing[*index].is_none())
        {
            let listing = segments::list(place.fs, index, directory, &mut |found| listed.push(found))?;
            if let Some(hidden) = listing.unlistable.first() {
                // What it holds would be taken for lost.
                let message = format!("a folder cannot be listed: path=`{}`, {}", hidden.path.display(), hidden.reason);
                return Err(Error::new(ErrorKind::Unavailable, message).with_hint("check the disk, then try again"));
            }
        }
        let (path, engine) = (place.path.to_path_buf(), Some(place.engine));
        let told = place.directories.iter().zip(&missing).filter_map(|((_, path), why)| Some((path, why.as_ref()?)));
        let missing_directories = told.map(|(path, why)| format!("{}: {why}", path.display())).collect();
        let report = RebuildReport { path, engine, missing_directories, ..RebuildReport::default() };
        Ok(Self {
            place,
            now,
            new: place.new_catalog()?,
            readable: missing.iter().map(Option::is_none).collect(),
            journals,
            found: FoundSegments::default(),
            listed,
            old_ends: BTreeMap::new(),
            knows_archive: false,
            report,
        })
    }

    /// Step 2.
    fn carry(&mut self, old: Old) -> Result<()> {
        self.carry_over(old)?;
        let is_all_told = match self.report.source {
            Source::History => true,
            Source::Rows => self.report.not_carried.is_empty(),
            Source::Absent | Source::Unreadable => false,
        };
        match self.report.missing_directories.first() {
            Some(missing) if !is_all_told => {
                let message = format!(
                    "a directory of the log is missing, and no old catalog tells all of what it holds: directory=`{missing}`"
                );
                Err(Error::new(ErrorKind::Unavailable, message).with_hint("mount it, then try again"))
            }
            _ => Ok(()),
        }
    }

    fn carry_over(&mut self, old: Old) -> Result<()> {
        let old = match old {
            Old::Absent => return Ok(()),
            Old::Unreadable(why) => {
                self.report.source = Source::Unreadable;
                self.report.not_carried.push(NotCarried { what: "the old catalog".to_owned(), why });
                return Ok(());
            }
            Old::Open(old) => old,
        };
        let history = History::read(&*old)?;
        if history.unreadable_count == 0 && carry::replay(&*old, &*self.new)? {
            self.report.source = Source::History;
        } else {
            self.report.source = Source::Rows;
            // What was made until the history broke off does not count.
            self.new = self.place.new_catalog()?;
            let more = history.unreadable_count.saturating_sub(history.unreadable.len() as u64);
            let files: BTreeSet<SegmentKey> = self.files().map(|found| found.key.clone()).collect();
            self.report.not_carried = carry::rows(&*old, &*self.new, history, &files, self.now)?;
            if more > 0 {
                let what = format!("{more} more changes of the history");
                self.report.not_carried.push(NotCarried { what, why: "they cannot be read".to_owned() });
            }
        }
        // Of what was carried over; what was not is in the report.
        let mut after: Option<CollectionName> = None;
        loop {
            let rows = self.new.collections(after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.name.clone());
            for row in rows {
                match old.sequence_max(&row.name) {
                    Ok(end) => drop(self.old_ends.insert(row.name, end)),
                    // One that cannot be read is met on the way and reported above.
                    Err(error) if is_unreadable(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn files(&self) -> impl Iterator<Item = &Listed> {
        self.listed.iter().filter(|found| found.kind == FileKind::Segment)
    }

    /// Step 3, segments.
    fn adopt(&mut self) -> Result<()> {
        self.found = segments::find(self.place.fs, self.place.directories, &*self.new, &self.readable)?;
        let mut rows: Vec<SegmentRow> = Vec::new();
        for finding in self.found.findings.iter().filter(|finding| finding.action == Action::Adopt) {
            rows.push(row_of_file(self.place.fs, &self.place.directories[finding.directory].0, &finding.path)?);
        }
        // As they were sealed: the oldest is archived first.
        rows.sort_by(|one, other| (one.sealed_at, &one.key).cmp(&(other.sealed_at, &other.key)));
        self.report.from_footers = rows.len() as u64;
        let mut losses = self.new.losses(None)?;
        let mut writer = Writer::new(&*self.new);
        for row in rows {
            let mut found = recovered(&mut losses, &row.key);
            if !found.is_empty() {
                // What is on record of it already is in the catalog, and not on the way there.
                writer.flush()?;
                found.push(CameBack::note(&*self.new, &row.key.collection, row.key.first, row.key.last)?);
            }
            writer.push(Mutation::InsertSegment(row), self.now, FROM_FOOTER)?;
            for mutation in found {
                writer.push(mutation, self.now, FROM_FOOTER)?;
            }
        }
        writer.flush()?;
        self.report.from_footers -= writer.refused.len() as u64;
        self.report.not_carried.append(&mut writer.refused);
        Ok(())
    }

    /// Step 3, the archive.
    fn add_archived(&mut self, archived: Archived<'_>) -> Result<()> {
        let is_told_by_old = matches!(self.report.source, Source::Rows | Source::History);
        let new = Arc::clone(&self.new);
        let mut writer = Writer::new(&*new);
        for mut told in archived.collections {
            let name = told.name.clone();
            let known = new.collection(&name)?;
            if let (Some(known), true) = (&known, is_told_by_old) {
                // The catalog knew it before the archive did.
                told.settings = None;
                told.losses.clear();
                told.floor = if told.floor > known.floor { told.floor } else { Sequence::FIRST };
            }
            if is_told_by_old || new.assignment(HOME, &name)?.is_some() {
                told.home = None;
            }
            let recorded = new.losses(Some(&name))?;
            told.losses
                .retain(|loss| !recorded.iter().any(|known| (known.first, known.last) == (loss.first, loss.last)));
            let end = self.old_ends.entry(name.clone()).or_default();
            *end = (*end).max(told.end);
            let home = new.assignment(COMPONENT, &name)?.map(|assigned| assigned.directory);
            let home = home.unwrap_or_else(|| self.place.directories[0].0.clone());
            let mut away = Vec::new();
            for mut row in std::mem::take(&mut told.segments) {
                match new.segment(&row.key)? {
                    None => {
                        row.directory.clone_from(&home);
                        away.push(row);
                    }
                    // A manifest names exactly these bytes: they were proven then.
                    Some(here) if here.status == SegmentStatus::Sealed && here.sha256 == row.sha256 => {
                        let step = |from, to| Mutation::Transition {
                            key: here.key.clone(),
                            from,
                            to,
                            archive_key: row.archive_key.clone(),
                        };
                        writer.push(step(SegmentStatus::Sealed, SegmentStatus::Archiving), self.now, FROM_ARCHIVE)?;
                        writer.push(step(SegmentStatus::Archiving, SegmentStatus::Archived), self.now, FROM_ARCHIVE)?;
                        self.report.from_archive += 1;
                    }
                    Some(_) => {}
                }
            }
            self.report.from_archive += away.len() as u64;
            told.segments = away;
            restore::put(&mut writer, told, self.now)?;
        }
        for (name, value) in archived.values {
            if new.meta(&name)?.is_none() {
                writer.push(Mutation::SetMeta { name, value }, self.now, FROM_ARCHIVE)?;
            }
        }
        writer.flush()?;
        self.report.from_archive = self.report.from_archive.saturating_sub(writer.refused.len() as u64);
        self.report.not_carried.append(&mut writer.refused);
        Ok(())
    }

    /// Steps 3 and 4, collection by collection.
    fn settle_collections(&mut self) -> Result<()> {
        let new = Arc::clone(&self.new);
        let mut writer = Writer::new(&*new);
        let mut runs: BTreeMap<CollectionName, Vec<(Sequence, Sequence)>> = BTreeMap::new();
        // What speaks for each directory: journals and folders alike.
        let mut claims: BTreeMap<CollectionName, Vec<Claim>> = BTreeMap::new();
        for (directory, found) in self.journals.iter().enumerate() {
            for journal in &found.journals {
                let epoch = journal.file.journal.epoch;
                for run in journal.scan.runs.iter().filter(|run| run.count > 0) {
                    let last = Sequence(run.first.get() + run.count - 1);
                    claims.entry(run.collection.clone()).or_default().push(Claim { directory, epoch, last });
                    runs.entry(run.collection.clone()).or_default().push((run.first, last));
                }
            }
        }
        for (name, files) in &self.found.collections {
            let of = claims.entry(name.clone()).or_default();
            of.extend(files.places.iter().map(segments::Place::claim));
        }
        if matches!(self.report.source, Source::Absent | Source::Unreadable) {
            // Made, and not used yet.
            for (name, directory) in &self.found.empty {
                let claim = Claim { directory: *directory, epoch: Epoch(0), last: Sequence(0) };
                claims.entry(name.clone()).or_default().push(claim);
            }
        }
        let mut known: BTreeMap<CollectionName, Known> = BTreeMap::new();
        for found in &self.listed {
            let of = known.entry(found.key.collection.clone()).or_default();
            of.end = of.end.max(found.key.last);
            if found.kind == FileKind::Stub {
                of.stubs.push((found.key.first, found.key.last));
            }
        }
        let mut after: Option<CollectionName> = None;
        loop {
            let rows = new.collections(after.as_ref(), PAGE_ROWS)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.name.clone());
            for row in rows {
                known.entry(row.name).or_default();
            }
        }
        for name in claims.keys() {
            known.entry(name.clone()).or_default();
        }
        self.report.collections = known.len() as u64;
        // Which stores they are at home in the directories have on record; no store is asked (`assign::homes`).
        let there = self.place.directories.iter().zip(&self.readable).filter(|(_, readable)| **readable);
        let homes = homes::read(self.place.fs, there.map(|((_, path), _)| path.as_path()))?.unwrap_or_default();
        for (name, mut of) in known {
            of.end = of.end.max(self.old_ends.get(&name).copied().unwrap_or_default());
            let claims = claims.remove(&name).unwrap_or_default();
            let (home, told) = contest(&name, self.place.directories, &claims);
            if self.introduce(&mut writer, &name, home.map_or(0, |claim| claim.directory))? {
                self.report.contested.extend(told);
            }
            if let Some(record) = homes.get(&name) {
                let row = new.assignment(HOME, &name)?;
                let is_older = row.as_ref().is_none_or(|row| row.epoch <= record.epoch);
                let says = row.map(|row| row.directory);
                if let Some(home) = record.home.clone().filter(|home| is_older && says.as_ref() != Some(home)) {
                    let (name, epoch) = (name.clone(), record.epoch);
                    writer.push(homes::assign(name, home, epoch, Sequence::FIRST), self.now, FROM_DIRECTORIES)?;
                    self.report.assignments_made += 1;
                }
            }
            let unsealed = runs.remove(&name).unwrap_or_default();
            if self.may_be_away(&name)? {
                continue;
            }
            self.settle_collection(&mut writer, &name, &of, &unsealed)?;
        }
        if self.report.source != Source::History {
            // What the journals say of change numbers is about the catalog before.
            let (name, value) = (CHANGES_SINCE_EPOCH.to_owned(), self.place.epoch.next().to_string());
            writer.push(Mutation::SetMeta { name, value }, self.now, FROM_DIRECTORIES)?;
            if !self.knows_archive {
                // Segments without a file are known to the archive alone: whoever opens the log with it asks (C7).
                let (name, value) = (ARCHIVE_UNASKED.to_owned(), "1".to_owned());
                writer.push(Mutation::SetMeta { name, value }, self.now, FROM_DIRECTORIES)?;
            }
        }
        writer.flush()?;
        self.report.not_carried.append(&mut writer.refused);
        Ok(())
    }

    /// Whether records of the collection may be in a directory that is missing: then nothing of it is called lost.
    fn may_be_away(&self, name: &CollectionName) -> Result<bool> {
        let is_missing = |id: &str| {
            let known = self.place.directories.iter().position(|(known, _)| known == id);
            known.is_none_or(|index| !self.readable[index])
        };
        if self.readable.iter().all(|readable| *readable) {
            return Ok(false);
        }
        let is_home = self.new.assignment(COMPONENT, name)?.is_some_and(|found| is_missing(&found.directory));
        let has_files = self
            .found
            .collections
            .get(name)
            .is_some_and(|files| files.places.iter().any(|place| !self.readable[place.directory]));
        Ok(is_home || has_files)
    }

    /// Notes a collection that the old catalog did not assign; whether it is one.
    fn introduce(&mut self, writer: &mut Writer<'_>, name: &CollectionName, home: usize) -> Result<bool> {
        if self.new.assignment(COMPONENT, name)?.is_some() {
            return Ok(false);
        }
        if self.new.collection(name)?.is_none() {
            let put = Mutation::PutCollection { name: name.clone(), settings: "{}".to_owned() };
            writer.push(put, self.now, FROM_DIRECTORIES)?;
        }
        let assign = Mutation::Assign {
            component: COMPONENT.to_owned(),
            collection: name.clone(),
            directory: self.place.directories[home].0.clone(),
            epoch: self.place.epoch,
            from: Sequence::FIRST,
        };
        self.report.assignments_made += 1;
        writer.push(assign, self.now, FROM_DIRECTORIES)?;
        Ok(true)
    }

    /// Records as lost what is nowhere, and raises `sealed_through` over what is in segments or on record (R4).
    fn settle_collection(
        &mut self,
        writer: &mut Writer<'_>,
        name: &CollectionName,
        of: &Known,
        unsealed: &[(Sequence, Sequence)],
    ) -> Result<()> {
        let row = self.new.collection(name)?;
        let floor = row.as_ref().map_or(Sequence::FIRST, |row| row.floor.max(Sequence::FIRST));
        let sealed_through = row.map_or(Sequence(0), |row| row.sealed_through);
        let mut covered: Vec<(Sequence, Sequence)> =
            self.new.losses(Some(name))?.into_iter().map(|loss| (loss.first, loss.last)).collect();
        let mut from = Sequence::FIRST;
        loop {
            let rows = self.new.segments_from(name, from, PAGE_ROWS)?;
            let Some(last) = rows.last() else { break };
            from = last.key.last.next();
            covered.extend(rows.iter().map(|row| (row.key.first, row.key.last)));
        }
        covered.sort_unstable();
        let mut at = floor;
        // Behind everything that was ever there, one that ends the last hole.
        let end = of.end.max(sealed_through);
        covered.push((end.next(), end));
        for (first, last) in covered {
            if at < first && at <= end {
                let hole = (at, first.previous().min(end));
                if unsealed.iter().any(|run| run.0 <= hole.1 && hole.0 <= run.1) {
                    // Its records are in journals: recovery puts them together when the log is opened.
                    break;
                }
                let is_stub = of.stubs.iter().any(|stub| stub.0 <= hole.1 && hole.0 <= stub.1);
                let reason = if is_stub {
                    "rebuild: only a stub is left, and no catalog knows of an archived copy"
                } else {
                    "rebuild: in no segment and in no journal"
                };
                let (collection, (first, last)) = (name.clone(), hole);
                writer.push(Mutation::RecordLoss { collection, first, last }, self.now, reason)?;
                let collection = name.clone();
                self.report.losses.push(LossReport { collection, first_sequence: first, last_sequence: last });
                at = hole.1.next();
            }
            at = at.max(last.next());
        }
        if at.previous() > sealed_through {
            let raise = Mutation::RaiseSealedThrough { collection: name.clone(), sequence: at.previous() };
            writer.push(raise, self.now, FROM_DIRECTORIES)?;
        }
        Ok(())
    }

    /// Steps 5 and 6.
    fn finish(mut self, dry_run: bool) -> Result<RebuildReport> {
        let Place { fs, directories, log, path, engine, .. } = *self.place;
        let wrong = self.new.check()?;
        if let Some(first) = wrong.first() {
            let message = format!("the new catalog is not whole, and takes nobody's place: what=`{first}`");
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.never_back()?;
        self.report.check = check::check(fs, directories, log, path, &*self.new)?;
        self.report.segments = self.report.check.segments;
        self.report.dry_run = dry_run;
        self.report.ok = self.report.check.ok && self.report.not_carried.is_empty() && self.report.losses.is_empty();
        if !dry_run {
            // Before the new one is in place: a mirror of another history would keep the log from opening. One that is gone is
            // made anew.
            if self.report.source != Source::History {
                for (other, path) in self.place.others {
                    if exists(fs, path)? {
                        self.report.mirrors_set_aside.extend(set_aside(fs, *other, path)?);
                    }
                }
            }
            self.report.set_aside = place::replace(fs, engine, path, &*self.new)?;
        }
        Ok(self.report)
    }

    /// No sequence that the old catalog knew of is forgotten (C7), unless a journal still has it.
    fn never_back(&self) -> Result<()> {
        let mut unsealed: BTreeMap<&CollectionName, Sequence> = BTreeMap::new();
        for run in self.journals.iter().flat_map(|found| &found.journals).flat_map(|journal| &journal.scan.runs) {
            let end = unsealed.entry(&run.collection).or_default();
            *end = (*end).max(Sequence(run.first.get() + run.count.max(1) - 1));
        }
        for (name, before) in &self.old_ends {
            let now = self.new.sequence_max(name)?.max(unsealed.get(name).copied().unwrap_or_default());
            if now < *before {
                let message =
                    format!("the new catalog would forget sequences: collection=`{name}`, from=`{before}`, to=`{now}`");
                return Err(Error::new(ErrorKind::Internal, message));
            }
        }
        Ok(())
    }
}

/// What the directories know of a collection.
#[derive(Default)]
struct Known {
    /// The highest sequence of any name.
    end: Sequence,
    stubs: Vec<(Sequence, Sequence)>,
}
