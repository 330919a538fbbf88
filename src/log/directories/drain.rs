//! Empties a directory, so that it can be taken away.
//!
//! 1. It is marked as drained in every identity (`set`): from then on nothing new goes there. A crash leaves a directory that takes no
//!    collections; draining goes on, or `directory add` puts it back in service.
//! 2. The log is opened, and its collections' journals move (J7, `move`): from then on they are sealed elsewhere.
//! 3. Their segments follow, one at a time (`relocate`).
//! 4. What other components keep there follows, a collection at a time (`component`).
//!
//! Killed at any moment, it is done again and goes on.
//!
//! Of a remote only step 1 is done: no new collection gets it for its home. What is at home there stays, and is told: its segments are where its rows say,
//! and what is sealed later goes there too, until its collections get another home.

use super::component::ComponentStayed;
use super::set::{Named, Set};
use crate::catalog::SegmentKey;
use crate::error::{Error, ErrorKind, Result};
use crate::log::identity::Remote;
use crate::log::{DirectoryState, Inner, Log, LogOptions, MoveReport};
use crate::types::CollectionName;

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainProgress {
    /// Bytes of segments that are elsewhere.
    pub bytes: u64,
    /// Bytes of all that were there.
    pub total_bytes: u64,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Drained {
    /// The directory's id.
    pub id: String,
    /// Where it is.
    pub place: String,
    /// Segments that are elsewhere now.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Stubs that are elsewhere now.
    pub stubs: u64,
    /// Segments that stayed, and why.
    pub stayed: Vec<(SegmentKey, String)>,
    /// Collections that were moved, with what they had in no segment.
    pub collections: u64,
    /// Collections that still live there, and why.
    pub kept: Vec<(CollectionName, String)>,
    /// Collections of which other components, such as `storage` and `index`, keep their files elsewhere now; a collection counts once for each.
    pub component_collections: u64,
    /// Bytes of these.
    pub component_bytes: u64,
    /// What stayed of other components, and why.
    pub component_stayed: Vec<ComponentStayed>,
    /// It was interrupted: more may be left.
    pub is_interrupted: bool,
}

impl Drained {
    /// Whether nothing is left there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_all_gone = self.stayed.is_empty() && self.kept.is_empty() && self.component_stayed.is_empty();
        is_all_gone && !self.is_interrupted
    }
}

impl Log {
    /// Moves everything that lives in a directory of a log that nobody writes to elsewhere, and lets nothing new go there. `progress` is
    /// told how far it has come, and ends it by answering no; it can be gone on with. A remote is marked, and what is at home there is told.
    /// What other components keep there goes along where [`LogOptions::components`] knows how; else it stays, and is told.
    ///
    /// # Errors
    /// `Conflict` where no other healthy directory is there; `Unavailable` for one that is missing; `Locked`, `NotFound`, or what the disk or the
    /// catalog said.
    pub fn drain_directory(
        options: &LogOptions,
        which: &str,
        progress: &mut dyn FnMut(DrainProgress) -> bool,
    ) -> Result<Drained> {
        let id = match mark(options, which)? {
            Marked::Local(id) => id,
            Marked::Remote(remote) => return left_in(options, &remote),
        };
        let log = Log::open(options.clone())?;
        let drained = log.0.drain(&log, &id, progress);
        let closed = log.close();
        let drained = drained?;
        closed?;
        Ok(drained)
    }
}

impl Inner {
    /// Steps 2 to 4.
    fn drain(&self, log: &Log, id: &str, progress: &mut dyn FnMut(DrainProgress) -> bool) -> Result<Drained> {
        // What lived in a directory that failed was moved when the log was opened, as far as it could be read.
        let failed =
            self.directories.iter().any(|known| known.id == *id && matches!(known.state(), DirectoryState::Failed(_)));
        let moved = if failed { MoveReport::default() } else { log.move_away(id, "drained")? };
        let mut drained = log.relocate_segments(id, progress)?;
        drained.collections = moved.moved;
        let from = self.directories.iter().position(|known| known.id == *id);
        if let Some(from) = from.filter(|_| !drained.is_interrupted) {
            self.relocate_components(from, &mut drained, progress)?;
        }
        for (collection, why) in &mut drained.kept {
            if let Some((_, known)) = moved.kept.iter().find(|(kept, _)| kept == collection) {
                why.clone_from(known);
            }
        }
        Ok(drained)
    }
}

enum Marked {
    /// The id of a local directory.
    Local(String),
    Remote(Remote),
}

/// What stays in a remote that is drained.
fn left_in(options: &LogOptions, remote: &Remote) -> Result<Drained> {
    let id = &remote.directory;
    let mut drained = Drained { id: id.clone(), place: remote.url.clone(), ..Drained::default() };
    let log = Log::open_read_only(options.clone())?;
    let homes = super::home::homes(log.catalog().as_ref())?;
    for (collection, _) in homes.into_iter().filter(|(_, home)| home == id) {
        let why = format!("it is at home there: `collection set {collection} --home ID` gives it another");
        drained.kept.push((collection, why));
    }
    if let Some(row) = super::forget::kept_there(log.catalog().as_ref(), id)? {
        drained.stayed.push((row.key, "it is archived there, and perhaps more is".to_owned()));
    }
    Ok(drained)
}

/// Step 1.
fn mark(options: &LogOptions, which: &str) -> Result<Marked> {
    let (set, _locks) = Set::locked(options)?;
    let index = match set.named(which)? {
        Named::Member(index) => index,
        Named::Remote(id) => {
            let mut new = set.newest.clone();
            let remote = new.remotes.iter_mut().find(|remote| remote.directory == id).expect("it was just found there");
            remote.drained = true;
            let remote = remote.clone();
            set.commit(&*options.fs, new, &[])?;
            return Ok(Marked::Remote(remote));
        }
        Named::Forgotten(id) => {
            return Err(Error::new(ErrorKind::Invalid, format!("the directory is forgotten: id=`{id}`"))
                .with_hint("`directory add` takes it back, where it is there again"));
        }
    };
    let member = &set.members[index];
    if let Err(why) = &member.identity {
        let message = format!("the directory is missing: directory=`{}`, why=`{why}`", member.path.display());
        return Err(
            Error::new(ErrorKind::Unavailable, message).with_hint("mount it; or `directory forget` gives it up")
        );
    }
    let is_other =
        |other: usize| other != index && set.members[other].identity.is_ok() && !set.members[other].is_drained;
    if !(0..set.members.len()).any(is_other) {
        let message = format!("there is no other directory to go to: directory=`{}`", member.path.display());
        return Err(Error::new(ErrorKind::Conflict, message).with_hint("`directory add` an empty one first"));
    }
    // Also where it is marked: what a killed run wrote may be told and not be durable.
    let mut new = set.newest.clone();
    new.directories[index].drained = true;
    set.commit(&*options.fs, new, &[])?;
    Ok(Marked::Local(member.id.clone()))
}

impl Log {
    /// Moves the segments of a drained directory to where their collections live now. Works while the log is appended to.
    ///
    /// # Errors
    /// `NotFound` for an unknown directory; `Conflict` for one that is not drained; what the disk or the catalog said.
    pub fn relocate_segments(&self, id: &str, progress: &mut dyn FnMut(DrainProgress) -> bool) -> Result<Drained> {
        let directories = &self.0.directories;
        let index = directories.iter().position(|directory| directory.id == id).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no directory of the log: directory=`{id}`"))
                .with_hint("`directory ls` lists them by id and path")
        })?;
        if directories[index].state() == DirectoryState::Healthy {
            let message = format!("the directory is not drained, and takes collections: directory=`{id}`");
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("`directory drain`"));
        }
        self.0.relocate_all(index, progress)
    }
}
