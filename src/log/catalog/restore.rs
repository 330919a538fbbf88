//! A log that begins with what an archive tells (O8).
//!
//! Owns: the directories, identities and catalog of a log whose segments are all elsewhere; what of an archive goes into a catalog that is made
//! anew. Does not own: reading the archive, or fetching its segments (`crate::archive`).
//!
//! # Order, and why a crash between any two is safe
//!
//! 1. Each directory is locked, and looked at: anything that is not of an unfinished restore of the same log from the same place refuses it.
//! 2. A marker, `restore.json`, is written into each directory, durably. From here on nobody but a restore takes them for empty.
//! 3. The catalog is made and filled. A crash leaves one that no identity leads to: the next restore removes it and begins here.
//! 4. The identities are written, the first directory's last, with an epoch that no manifest and no segment is above. With the first one's the
//!    log is there: each of its segments is `Evicted`, and can be read through. Opening it raises the epoch.
//! 5. Segments are fetched: a file durable under its name first, its row `Archived` second. A crash between leaves a file that the next restore finds
//!    and compares, and that opening the log would remove.
//! 6. The markers are removed, the first directory's last.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::carry::Writer;
use super::choose;
use crate::catalog::{Catalog, CatalogMode, Engine, LossRow, Mutation, SegmentRow};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{EntryKind, FileSystem, LockGuard, durable};
use crate::log::assign::homes;
use crate::log::identity::{self, Identity, Remote};
use crate::log::options::LogOptions;
use crate::log::places;
use crate::log::recover::COMPONENT;
use crate::log::seal::STAGING;
use crate::types::{CollectionName, Epoch, LogId, Sequence, Timestamp};

const MARKER: &str = "restore.json";
const MARKER_BYTES_MAX: usize = 64 << 10;
const REASON: &str = "restored from the archive";

/// What an archive tells of one collection, in the words of the catalog.
pub(crate) struct FromArchive {
    /// Its name.
    pub name: CollectionName,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// The first sequence that it promises.
    pub floor: Sequence,
    /// The highest sequence that the archive knows of.
    pub end: Sequence,
    /// Its settings; `None` where nothing is told.
    pub settings: Option<String>,
    /// The id of the remote that is its home, if one is.
    pub home: Option<String>,
    /// Its segments, `Evicted`; their directory is filled in.
    pub segments: Vec<SegmentRow>,
    /// Losses and gaps; also of what the archive does not have.
    pub losses: Vec<LossRow>,
}

/// What a restored log begins with.
pub(crate) struct Beginning<'a> {
    /// The log.
    pub log: LogId,
    /// No manifest, and no segment, has a higher one.
    pub epoch: Epoch,
    /// Where the archive is, for people, and so that nobody goes on with another.
    pub from: String,
    /// Object stores that are homes of segments: ids and URLs.
    pub remotes: Vec<(String, String)>,
    /// Small values of the catalog.
    pub values: Vec<(String, String)>,
    /// The collections.
    pub collections: &'a mut dyn Iterator<Item = FromArchive>,
}

#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Marker {
    format: u32,
    log: String,
    from: String,
}

/// A log that is being restored. Its directories are locked.
pub(crate) struct Restoring {
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// Ids and paths of its directories.
    pub directories: Vec<(String, PathBuf)>,
    /// Whether an earlier run had made the catalog.
    pub is_resumed: bool,
    fs: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    _locks: Vec<Box<dyn LockGuard>>,
}

impl Restoring {
    /// Steps 1 to 4, or what an earlier run left of them.
    ///
    /// # Errors
    /// `Conflict` where a directory holds anything else; `Locked`; what the disk or the catalog said. It can be called again.
    pub fn begin(options: &LogOptions, beginning: Beginning<'_>) -> Result<Self> {
        choose::check_options(options)?;
        if options.directories.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "a log needs at least one directory").with_hint("give --to DIR"));
        }
        let fs = Arc::clone(&options.fs);
        let clock = Arc::clone(&options.clock);
        let marker = Marker { format: 1, log: beginning.log.to_string(), from: beginning.from.clone() };
        for path in &options.directories {
            durable::create_dir_all(&*fs, &path.join(identity::FOLDER))?;
        }
        let locks = options.directories.iter().map(|path| places::lock(&*fs, path)).collect::<Result<Vec<_>>>()?;
        let first = &options.directories[0];
        let is_begun = look(&*fs, first, &marker)?;
        if let (true, Some(identity)) = (is_begun, Identity::read(&*fs, first)?) {
            // The first directory's identity came last, and its marker goes last: what the others hold is of this restore.
            let opened = choose::open(options, first, &identity, true)?;
            let directories =
                identity.directories.iter().map(|sibling| (sibling.directory.clone(), sibling.path.clone())).collect();
            let (catalog, is_resumed) = (opened.catalog, true);
            return Ok(Self { catalog, directories, is_resumed, fs, clock, _locks: locks });
        }
        for path in &options.directories[1..] {
            look(&*fs, path, &marker)?;
        }
        let engine = choose::of_new_log(options)?;
        choose::check_built(engine)?;
        let file = options.catalog.is_none().then(|| choose::catalog_file(options, first, beginning.log, engine));
        if let Some(file) = &file {
            settle_file(&*fs, file, engine, is_begun)?;
        }
        let mut text = serde_json::to_vec_pretty(&marker).expect("text and numbers");
        text.push(b'\n');
        for path in &options.directories {
            durable::replace_small(&*fs, &marker_of(path), &text)?;
        }
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let paths: Vec<PathBuf> = options.directories.iter().map(absolute).collect();
        let mut identities = Identity::new_log(&paths, engine, || clock.random());
        let remotes: Vec<Remote> = beginning
            .remotes
            .iter()
            .map(|(directory, url)| Remote { directory: directory.clone(), url: url.clone(), drained: false })
            .collect();
        for identity in &mut identities {
            identity.log = beginning.log.to_string();
            identity.epoch = beginning.epoch.0.max(1);
            identity.remotes.clone_from(&remotes);
        }
        let directories: Vec<(String, PathBuf)> = identities
            .iter()
            .map(|identity| identity.directory.clone())
            .zip(options.directories.iter().cloned())
            .collect();
        let catalog = match (&options.catalog, &file) {
            (Some(catalog), _) => Arc::clone(catalog),
            (None, Some(file)) => {
                if let Some(folder) = file.parent() {
                    durable::create_dir_all(&*fs, folder)?;
                }
                let catalog = engine.open(file, CatalogMode::Create)?;
                durable::sync_parent(&*fs, file)?;
                catalog
            }
            (None, None) => unreachable!("without a catalog there is a file for one"),
        };
        fill(&*catalog, beginning, &directories, clock.now())?;
        for ((_, path), identity) in directories.iter().zip(&identities).rev() {
            places::make_folders(&*fs, path)?;
            identity.write(&*fs, path)?;
        }
        Ok(Self { catalog, directories, is_resumed: false, fs, clock, _locks: locks })
    }

    /// A name in the staging folder of a directory that nobody has.
    pub fn staging(&self, directory: &Path) -> PathBuf {
        let name = crate::types::ids::hex(&self.clock.random());
        directory.join(identity::FOLDER).join(STAGING).join(format!("{name}.tmp"))
    }

    /// Where a directory is.
    pub fn path_of(&self, directory: &str) -> Option<&Path> {
        self.directories.iter().find(|(id, _)| id == directory).map(|(_, path)| path.as_path())
    }

    /// Removes what earlier runs left in the staging folders.
    ///
    /// # Errors
    /// What the disk said.
    pub fn clear_staging(&self) -> Result<()> {
        for (_, path) in &self.directories {
            let folder = path.join(identity::FOLDER).join(STAGING);
            for entry in self.fs.list(&folder)?.iter().filter(|entry| entry.name.ends_with(".tmp")) {
                self.fs.remove_file(&folder.join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Step 6.
    ///
    /// # Errors
    /// What the disk said.
    pub fn finish(self) -> Result<()> {
        for (_, path) in self.directories.iter().rev() {
            match durable::remove(&*self.fs, &marker_of(path)) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn marker_of(directory: &Path) -> PathBuf {
    directory.join(identity::FOLDER).join(MARKER)
}

/// Whether an earlier run of the same restore began here; refuses what is of anything else.
fn look(fs: &dyn FileSystem, directory: &Path, wanted: &Marker) -> Result<bool> {
    let refuse = |what: String| {
        let message = format!("a restore needs empty directories: directory=`{}`, what=`{what}`", directory.display());
        Err(Error::new(ErrorKind::Conflict, message).with_hint("give another --to, or move away what is there"))
    };
    match durable::read_small(fs, &marker_of(directory), MARKER_BYTES_MAX) {
        Ok(bytes) => {
            let found: Marker = match serde_json::from_slice(&bytes) {
                Ok(found) => found,
                Err(error) => return refuse(format!("{MARKER} cannot be read: {error}")),
            };
            if found == *wanted {
                return Ok(true);
            }
            return refuse(format!("an unfinished restore of log {} from {}", found.log, found.from));
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    for entry in fs.list(directory)? {
        if entry.name != identity::FOLDER && entry.name != "lost+found" {
            return refuse(entry.name);
        }
    }
    let own = directory.join(identity::FOLDER);
    for entry in fs.list(&own)? {
        let is_ours = entry.name == "lock"
            || entry.name == format!("{MARKER}.tmp")
            || (entry.kind == EntryKind::Directory && fs.list(&own.join(&entry.name))?.is_empty());
        if !is_ours {
            return refuse(format!("{}/{}", identity::FOLDER, entry.name));
        }
    }
    Ok(false)
}

/// Removes the catalog that an earlier run began; anything else of that name is refused.
fn settle_file(fs: &dyn FileSystem, file: &Path, engine: Engine, is_begun: bool) -> Result<()> {
    for path in engine.companions(file).into_iter().chain([file.to_path_buf()]) {
        match fs.metadata(&path) {
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error.into()),
            Ok(_) if is_begun => durable::remove(fs, &path)?,
            Ok(_) => {
                let message = format!("a catalog of this log is there already: path=`{}`", path.display());
                return Err(
                    Error::new(ErrorKind::Conflict, message).with_hint("another `catalog.path`, or move it away")
                );
            }
        }
    }
    Ok(())
}

fn fill(
    catalog: &dyn Catalog,
    beginning: Beginning<'_>,
    directories: &[(String, PathBuf)],
    now: Timestamp,
) -> Result<()> {
    let mut writer = Writer::new(catalog);
    for (index, mut collection) in beginning.collections.enumerate() {
        let directory = &directories[index % directories.len()].0;
        collection.segments.iter_mut().for_each(|row| row.directory.clone_from(directory));
        let through = collection.end;
        let name = collection.name.clone();
        put(&mut writer, collection, now)?;
        if through > Sequence(0) {
            let raise = Mutation::RaiseSealedThrough { collection: name.clone(), sequence: through };
            writer.push(raise, now, REASON)?;
        }
        let assign = Mutation::Assign {
            component: COMPONENT.to_owned(),
            collection: name,
            directory: directory.clone(),
            epoch: beginning.epoch,
            from: Sequence::FIRST,
        };
        writer.push(assign, now, REASON)?;
    }
    let mut values = beginning.values;
    // What the catalog knows of moves between directories: all, as there were none.
    values.push((crate::log::moves::EPOCH.to_owned(), beginning.epoch.0.max(1).to_string()));
    values.push((crate::log::moves::KNOWS_ALL.to_owned(), "yes".to_owned()));
    for (name, value) in values {
        writer.push(Mutation::SetMeta { name, value }, now, REASON)?;
    }
    writer.flush()?;
    match writer.refused.first() {
        None => Ok(()),
        Some(refused) => {
            let message = format!("the archive tells what no catalog can hold: {}, {}", refused.what, refused.why);
            Err(Error::new(ErrorKind::Corrupt, message).with_hint("`verify --remote` tells what is wrong with it"))
        }
    }
}

/// Puts what an archive tells of a collection into a catalog that may know some of it.
pub(super) fn put(writer: &mut Writer<'_>, told: FromArchive, now: Timestamp) -> Result<()> {
    let collection = told.name;
    if let Some(settings) = told.settings {
        let put = Mutation::PutCollection { name: collection.clone(), settings };
        writer.push(put, told.created_at.min(now), REASON)?;
    }
    if let Some(home) = told.home {
        // Older than whatever a directory has on record (`assign::homes`).
        let assign = homes::assign(collection.clone(), home, Epoch(0), Sequence::FIRST);
        writer.push(assign, now, REASON)?;
    }
    if told.floor > Sequence::FIRST {
        let raise = Mutation::RaiseFloor { collection: collection.clone(), sequence: told.floor };
        writer.push(raise, now, REASON)?;
    }
    let mut segments = told.segments;
    // As they were sealed: rows are numbered in this order.
    segments.sort_by_key(|row| row.sealed_at);
    for row in segments {
        writer.push(Mutation::InsertSegment(row), now, REASON)?;
    }
    for loss in told.losses {
        let LossRow { collection, first, last, reason, found_at, acknowledged } = loss;
        writer.push(Mutation::RecordLoss { collection: collection.clone(), first, last }, found_at, &reason)?;
        if let Some((by, at)) = acknowledged {
            writer.push(Mutation::AcknowledgeLoss { collection, first, last, by }, at, REASON)?;
        }
    }
    Ok(())
}
