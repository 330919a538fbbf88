//! What nobody can know while a directory is missing (A3).
//!
//! Owns: whether a missing directory may hold collections, or newer records of them, of which the catalog was not told.

use super::{CatalogWord, Looked};

/// Behind the id of a directory that may have collections that the catalog does not know, and no news of those that it does.
const NEW_ONLY: &str = ":new";

/// What the catalog may not know, because the run before ended before it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Collections that were new.
    pub collections: bool,
    /// Collections that were moved.
    pub moves: bool,
}

/// Why something may be in a directory that is missing, and of what that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncertain {
    /// Which directory.
    pub why: String,
    /// Of every collection; else only of those that the catalog does not know.
    pub of_all: bool,
}

/// The missing directories of which the catalog cannot know all that they hold, and whether that may concern collections that it knows:
/// because it was made anew, or is an old copy, or because the run before ended before it was told. As it is kept under
/// [`UNKNOWN_DIRECTORIES`].
pub(super) fn unknown_directories(looked: &Looked<'_>, before: &str, word: &CatalogWord, is_old: bool) -> String {
    let is_anew = is_old || word.rows.is_empty() && word.assigned.is_empty();
    let missing = (0..looked.directories.len()).filter(|&index| looked.is_missing(index));
    let unknown = missing.filter_map(|index| {
        let id = looked.directories[index].0.as_str();
        let known = before.split(' ').find(|known| known.strip_suffix(NEW_ONLY).unwrap_or(known) == id);
        if is_anew || looked.unknown.moves || known == Some(id) {
            Some(id.to_owned())
        } else {
            (looked.unknown.collections || known.is_some()).then(|| format!("{id}{NEW_ONLY}"))
        }
    });
    unknown.collect::<Vec<_>>().join(" ")
}

impl Looked<'_> {
    pub(super) fn uncertain(&self, unknown: &str) -> Option<Uncertain> {
        let of_all = unknown.split(' ').find(|id| !id.is_empty() && !id.ends_with(NEW_ONLY));
        let one = of_all.or_else(|| unknown.split(' ').find(|id| !id.is_empty()))?;
        let id = one.strip_suffix(NEW_ONLY).unwrap_or(one);
        let path = self.directories.iter().find(|(known, _)| known == id).map(|(_, path)| path.display().to_string());
        let why = format!(
            "a directory is missing of which the catalog does not know all: directory=`{}`, id=`{id}`",
            path.unwrap_or_default()
        );
        Some(Uncertain { why, of_all: of_all.is_some() })
    }
}
