//! Empties a directory, so that it can be taken away.
//!
//! 1. It is marked as drained in every identity (`set`): from then on nothing new goes there. A crash leaves a directory that takes no
//!    collections; draining goes on, or `directory add` puts it back in service.
//! 2. The log is opened, and its collections' journals move (J7, `move`): from then on they are sealed elsewhere.
//! 3. Their segments follow, one at a time (`relocate`).
//!
//! Killed at any moment, it is done again and goes on.

use super::set::{Named, Set};
use crate::catalog::SegmentKey;
use crate::error::{Error, ErrorKind, Result};
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
    /// It was interrupted: more may be left.
    pub is_interrupted: bool,
}

impl Drained {
    /// Whether nothing is left there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stayed.is_empty() && self.kept.is_empty() && !self.is_interrupted
    }
}

impl Log {
    /// Moves everything that lives in a directory of a log that nobody writes to elsewhere, and lets nothing new go there. `progress` is
    /// told how far it has come, and ends it by answering no; it can be gone on with.
    ///
    /// # Errors
    /// `Conflict` where no other healthy directory is there; `Unavailable` for one that is missing; `Locked`, `NotFound`, or what the disk or the
    /// catalog said.
    pub fn drain_directory(
        options: &LogOptions,
        which: &str,
        progress: &mut dyn FnMut(DrainProgress) -> bool,
    ) -> Result<Drained> {
        let id = mark(options, which)?;
        let log = Log::open(options.clone())?;
        let drained = log.0.drain(&log, &id, progress);
        let closed = log.close();
        let drained = drained?;
        closed?;
        Ok(drained)
    }
}

impl Inner {
    /// Steps 2 and 3.
    fn drain(&self, log: &Log, id: &str, progress: &mut dyn FnMut(DrainProgress) -> bool) -> Result<Drained> {
        // What lived in a directory that failed was moved when the log was opened, as far as it could be read.
        let failed =
            self.directories.iter().any(|known| known.id == *id && matches!(known.state(), DirectoryState::Failed(_)));
        let moved = if failed { MoveReport::default() } else { log.move_away(id, "drained")? };
        let mut drained = log.relocate_segments(id, progress)?;
        drained.collections = moved.moved;
        for (collection, why) in &mut drained.kept {
            if let Some((_, known)) = moved.kept.iter().find(|(kept, _)| kept == collection) {
                why.clone_from(known);
            }
        }
        Ok(drained)
    }
}

/// Step 1: the directory's id.
fn mark(options: &LogOptions, which: &str) -> Result<String> {
    let (set, _locks) = Set::locked(options)?;
    let index = match set.named(which)? {
        Named::Member(index) => index,
        Named::Remote(_) => {
            return Err(Error::new(ErrorKind::Invalid, "a remote is not drained: it holds copies")
                .with_hint("give its collections another home"));
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
    Ok(member.id.clone())
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
