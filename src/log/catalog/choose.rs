//! Which engine keeps the log's catalog, in which file, and what mirrors it.
//!
//! The identity of the first directory says which engine is in use. A setting does not change that: opening with another one is
//! refused, so that no empty catalog is ever made beside the one in use. What a mirror says never keeps a log from opening, unless it
//! is no mirror of this catalog: then somebody has to decide which of the two is right.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::place;
use crate::catalog::follow::FollowError;
use crate::catalog::{Catalog, CatalogMode, Engine, MirrorStatus, MirroredCatalog, mirror};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FileSystem, durable};
use crate::log::identity::{self, Identity};
use crate::log::options::LogOptions;
use crate::types::{ChangeNumber, LogId};

/// An open catalog, and what is known of its files.
#[derive(Debug)]
pub(in crate::log) struct Opened {
    /// The catalog, with its mirror.
    pub catalog: Arc<dyn Catalog>,
    /// Its file; `None` where the options gave a catalog.
    pub path: Option<PathBuf>,
    /// It was made anew though the log is not new (C6).
    pub was_missing: bool,
    /// What mirrors it.
    pub mirror: Mirror,
}

/// What mirrors a log's catalog.
#[derive(Debug)]
pub(in crate::log) enum Mirror {
    /// Nothing.
    None,
    /// Another catalog, by us.
    Follows(Arc<MirroredCatalog>),
    /// Another catalog, by a writer in another process, if there is one.
    Beside(Engine, PathBuf),
    /// Another catalog that could not be opened, and why.
    Broken(Engine, String),
}

impl Mirror {
    /// How far the mirror of `catalog` has come.
    pub fn status(&self, catalog: &dyn Catalog) -> Option<MirrorStatus> {
        let unknown = |engine, error| {
            let lag = catalog.change_number().map_or(0, |number| number.0);
            MirrorStatus { engine, change_number: ChangeNumber(0), lag, error: Some(error) }
        };
        match self {
            Self::None => None,
            Self::Follows(catalog) => catalog.mirror(),
            Self::Broken(engine, error) => Some(unknown(*engine, error.clone())),
            Self::Beside(engine, path) => {
                // The mirror's number first: a writer may be at work.
                let there = engine.open(path, CatalogMode::ReadOnly).and_then(|mirror| mirror.change_number());
                Some(match (there, catalog.change_number()) {
                    (Ok(number), Ok(newest)) => MirrorStatus {
                        engine: *engine,
                        change_number: number,
                        lag: newest.0.saturating_sub(number.0),
                        error: (number > newest).then(|| "it is ahead of the catalog".to_owned()),
                    },
                    (Err(error), _) | (_, Err(error)) => unknown(*engine, mirror::chain(&error)),
                })
            }
        }
    }

    /// Ends following, having caught up where that is near.
    pub fn stop(&self) {
        if let Self::Follows(catalog) = self {
            catalog.stop();
        }
    }
}

/// The catalog's file where `engine` keeps it.
pub fn catalog_file(options: &LogOptions, first: &Path, log: LogId, engine: Engine) -> PathBuf {
    match &options.catalog_directory {
        Some(directory) => directory.join(engine.file_name(&log.to_string())),
        None => first.join(identity::FOLDER).join(engine.file_name("catalog")),
    }
}

/// Refuses an engine that this program was built without.
pub fn check_built(engine: Engine) -> Result<()> {
    if engine.is_built() {
        return Ok(());
    }
    let message = format!("this program was built without a catalog engine: engine=`{engine}`");
    Err(Error::new(ErrorKind::Unsupported, message).with_hint(format!("build it with the feature `{engine}`")))
}

/// Refuses options that ask for what cannot be.
pub fn check_options(options: &LogOptions) -> Result<()> {
    if options.catalog.is_some() {
        return Ok(());
    }
    let wrong =
        |what: &str| Err(Error::new(ErrorKind::Invalid, what).with_hint("such as `catalog = [\"mdbx\", \"sqlite\"]`"));
    match options.catalog_engines[..] {
        [one, other] if one == other => return wrong("a catalog is mirrored by another engine than its own"),
        [_, _, _, ..] => return wrong("a catalog has one mirror at most"),
        _ => {}
    }
    options.catalog_engines.iter().try_for_each(|engine| check_built(*engine))
}

/// What keeps the catalog of a new log.
pub fn of_new_log(options: &LogOptions) -> Result<Engine> {
    if options.catalog.is_some() {
        return Ok(Engine::default());
    }
    let built = || Engine::ALL.into_iter().find(|engine| engine.is_built());
    options.catalog_engines.first().copied().or_else(built).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "this program was built without any catalog engine")
            .with_hint("build it with the feature `sqlite`, or give a catalog in the options")
    })
}

/// Opens the catalog of the log whose first directory is `first`; to write, it is made where there is none.
pub(in crate::log) fn open(options: &LogOptions, first: &Path, identity: &Identity, writable: bool) -> Result<Opened> {
    if let Some(catalog) = &options.catalog {
        let catalog = Arc::clone(catalog);
        return Ok(Opened { catalog, path: None, was_missing: false, mirror: Mirror::None });
    }
    check_options(options)?;
    let engine = identity.catalog;
    if let Some(asked) = options.catalog_engines.first().filter(|asked| **asked != engine) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("another engine keeps the log's catalog: engine=`{engine}`, asked for=`{asked}`"),
        )
        .with_hint(format!("`icecore catalog migrate --to {asked}` moves it; or ask for `{engine}`, or for none")));
    }
    check_built(engine)?;
    let log = identity.log_id(first)?;
    let path = catalog_file(options, first, log, engine);
    let second = options.catalog_engines.get(1).map(|engine| (*engine, catalog_file(options, first, log, *engine)));
    let fs = &*options.fs;
    if !writable {
        let catalog = engine.open(&place::to_read(fs, path.clone()), CatalogMode::ReadOnly)?;
        let mirror = second.map_or(Mirror::None, |(engine, path)| Mirror::Beside(engine, path));
        return Ok(Opened { catalog, path: Some(path), was_missing: false, mirror });
    }
    place::settle(fs, engine, &path)?;
    let was_missing = identity.epoch > 0 && is_missing(fs, &path)?;
    if let Some((engine, second)) = &second
        && was_missing
        && !is_missing(fs, second)?
    {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("the catalog is not there, but its mirror is: path=`{}`, mirror=`{}`", path.display(), second.display()),
        )
        .with_hint(format!(
            "`icecore catalog migrate --to {engine}` goes on with the mirror; `recover` without a mirror makes the catalog anew \
             from the directories"
        )));
    }
    if let Some(directory) = &options.catalog_directory {
        durable::create_dir_all(fs, directory)?;
    }
    let catalog = engine.open(&path, CatalogMode::Create)?;
    durable::sync_parent(fs, &path)?;
    let (catalog, mirror) = match second {
        None => (catalog, Mirror::None),
        Some((engine, path)) => with_mirror(fs, catalog, engine, &path)?,
    };
    Ok(Opened { catalog, path: Some(path), was_missing, mirror })
}

fn is_missing(fs: &dyn FileSystem, path: &Path) -> Result<bool> {
    match fs.metadata(path) {
        Ok(_) => Ok(false),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn with_mirror(
    fs: &dyn FileSystem,
    first: Arc<dyn Catalog>,
    engine: Engine,
    path: &Path,
) -> Result<(Arc<dyn Catalog>, Mirror)> {
    let started = engine
        .open(path, CatalogMode::Create)
        .map_err(FollowError::To)
        .and_then(|second| MirroredCatalog::start(Arc::clone(&first), second, engine));
    match started {
        Ok(catalog) => {
            let catalog = Arc::new(catalog);
            // Without its name a mirror would only begin anew.
            if let Err(error) = durable::sync_parent(fs, path) {
                tracing::warn!(error = mirror::chain(&error), "the name of the catalog's mirror may not be durable");
            }
            Ok((Arc::clone(&catalog) as Arc<dyn Catalog>, Mirror::Follows(catalog)))
        }
        Err(FollowError::From(error)) => Err(error.into()),
        Err(FollowError::To(error)) => {
            let error = mirror::chain(&error);
            tracing::warn!(%engine, error, "the catalog's mirror cannot be opened");
            Ok((first, Mirror::Broken(engine, error)))
        }
        Err(error @ (FollowError::Ahead { .. } | FollowError::Diverged { .. })) => {
            let message =
                format!("the mirror is no mirror of this catalog: engine=`{engine}`, path=`{}`", path.display());
            Err(Error::new(ErrorKind::Conflict, message).with_source(error).with_hint(format!(
                "move it and the files beside it of the same name away, and a new one is made; or \
                 `icecore catalog migrate --to {engine}` sets it aside and moves the catalog to that engine"
            )))
        }
    }
}
