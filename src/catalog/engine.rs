//! The engines by name, and opening a catalog with one of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::{Catalog, CatalogError, CatalogResult};

/// What follows the name of a file that an engine is making; then comes a random number. What is left of it after a crash is
/// of no use to anyone.
pub(crate) const MAKING: &str = ".making-";

/// How to open a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogMode {
    /// To read and write; made where there is none, or only the blank beginning of one.
    Create,
    /// An existing one, to read and write.
    ReadWrite,
    /// An existing one, to read only, also beside a writer in another process.
    ReadOnly,
}

/// What keeps a catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// SQLite: the one that people can query.
    #[default]
    Sqlite,
    /// libmdbx.
    Mdbx,
    /// LMDB.
    Lmdb,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Mdbx, Self::Lmdb];

    /// The words of the settings.
    pub const WORDS: [&str; 3] = ["sqlite", "mdbx", "lmdb"];

    /// Whether this program was built with it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Sqlite => cfg!(feature = "sqlite"),
            Self::Mdbx => cfg!(all(feature = "mdbx", any(target_os = "linux", target_os = "macos"))),
            Self::Lmdb => cfg!(feature = "lmdb"),
        }
    }

    /// The catalog's file, `name` being what comes before the suffix.
    #[must_use]
    pub fn file_name(self, name: &str) -> String {
        format!("{name}.{self}")
    }

    /// The files that the engine keeps beside the catalog's file `path`: they belong to it, and only with it have a meaning.
    #[must_use]
    pub fn companions(self, path: &Path) -> Vec<PathBuf> {
        let suffixes: &[&str] = match self {
            Self::Sqlite => &["-wal", "-shm"],
            Self::Mdbx => &["-lck"],
            Self::Lmdb => &["-lock"],
        };
        let with = |suffix: &&str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            name.into()
        };
        suffixes.iter().map(with).collect()
    }

    /// Opens the catalog in the file `path`.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] where there is no file (and none is to be made), [`CatalogError::Damaged`] where it
    /// is no catalog, [`CatalogError::Newer`], [`CatalogError::Unavailable`] where this program was built without the
    /// engine, or why the engine could not. The file is then as it was.
    pub fn open(self, path: &Path, mode: CatalogMode) -> CatalogResult<Arc<dyn Catalog>> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => Ok(Arc::new(super::SqliteCatalog::open(path, mode)?)),
            #[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
            Self::Mdbx => Ok(Arc::new(super::MdbxCatalog::open(path, mode)?)),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => Ok(Arc::new(super::LmdbCatalog::open(path, mode)?)),
            #[allow(unreachable_patterns, reason = "there are builds with every engine")]
            _ => {
                let _ = mode;
                Err(self.not_built(path))
            }
        }
    }

    /// Opens an existing catalog below its rules.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "cli")]
    pub(crate) fn open_to_transact(self, path: &Path) -> CatalogResult<Box<dyn super::Transact>> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => Ok(Box::new(super::SqliteCatalog::open(path, CatalogMode::ReadWrite)?)),
            #[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
            Self::Mdbx => Ok(Box::new(super::MdbxCatalog::open(path, CatalogMode::ReadWrite)?)),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => Ok(Box::new(super::LmdbCatalog::open(path, CatalogMode::ReadWrite)?)),
            #[allow(unreachable_patterns, reason = "there are builds with every engine")]
            _ => Err(self.not_built(path)),
        }
    }

    fn not_built(self, path: &Path) -> CatalogError {
        CatalogError::Unavailable {
            path: path.display().to_string(),
            what: format!("this program was built without the catalog engine `{self}`"),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS[*self as usize])
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = Self::WORDS.iter().position(|word| *word == text);
        at.map(|at| Self::ALL[at])
            .ok_or_else(|| format!("no catalog engine: engine=`{text}`, engines=`{}`", Self::WORDS.join(", ")))
    }
}

/// How far a mirror has followed the catalog that it mirrors (C3).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MirrorStatus {
    /// What keeps the mirror.
    pub engine: Engine,
    /// The newest change that it has.
    pub change_number: crate::types::ChangeNumber,
    /// How many changes it does not have yet.
    pub lag: u64,
    /// Why it does not follow now; `None` while it does.
    pub error: Option<String>,
}
