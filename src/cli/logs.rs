//! From settings to an open log.
//!
//! Owns: what a setting is called in the library, which directories this build can use, and that a command which does
//! not append never makes a log where there was none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Context, Exit, Failure};
use crate::avro::codec::Codec;
use crate::config::{self, ByteSize, SegmentCodec, SegmentSettings, Settings};
use crate::fs::FileSystem;
use crate::journal::PeriodicSync;
use crate::log::catalog::CatalogLook;
use crate::log::compact::BackgroundCompaction;
use crate::log::identity::Identity;
use crate::log::{CompactionSettings, FlushTriggers, Keep, Limits, Log, LogOptions, Retention, SyncMode};
use crate::objects::{InvalidLocation, Location};
use crate::types::CollectionName;
use crate::{Error, ErrorKind};

/// Opens the log; makes it where it is absent.
pub(super) fn open_or_make(context: &Context) -> Result<Log, Failure> {
    open(options(context)?)
}

/// Opens the log to append; makes it where it is absent, unless appends make no collections: then nothing could be appended to it.
pub(super) fn open_to_append(context: &Context) -> Result<Log, Failure> {
    let options = options(context)?;
    if !options.auto_create {
        must_exist(&options)?;
    }
    open(options)
}

/// Opens a log that must be there, to write to collections that must be there.
pub(super) fn open_existing(context: &Context) -> Result<Log, Failure> {
    let options = options(context)?;
    must_exist(&options)?;
    open(LogOptions { auto_create: false, ..options })
}

/// As [`open_existing`], and nothing else compacts it.
pub(super) fn open_to_compact(context: &Context) -> Result<Log, Failure> {
    let options = options(context)?;
    must_exist(&options)?;
    open(LogOptions { auto_create: false, compact_in_background: None, ..options })
}

/// Opens a log that must be there to read, beside a writer or without one.
pub(super) fn open_read_only(context: &Context) -> Result<Log, Failure> {
    Log::open_read_only(options(context)?).map_err(explain)
}

/// What a log is opened with to read it: the one that `--data` names, or, without that, one that is only in its archive, of which `only` this
/// collection is wanted, where one is given.
pub(super) fn options_to_read(context: &Context, only: Option<&CollectionName>) -> Result<LogOptions, Failure> {
    let settings = context.config.settings();
    if !settings.data.is_empty() || settings.archive.url.is_none() {
        return options(context);
    }
    if context.alone.get().is_none() {
        let alone = super::stores::alone(
            context,
            only,
            LogOptions { clock: Arc::clone(&context.clock), ..LogOptions::new([] as [&Path; 0]) },
        )?;
        let _ = context.alone.set(alone);
    }
    Ok(context.alone.get().expect("it was just set").options().clone())
}

/// Opens such a log.
pub(super) fn open_to_read(context: &Context, only: Option<&CollectionName>) -> Result<Log, Failure> {
    Log::open_read_only(options_to_read(context, only)?).map_err(explain)
}

/// Opens the catalog of such a log, and nothing else.
pub(super) fn look_to_read(context: &Context) -> Result<CatalogLook, Failure> {
    CatalogLook::open(&options_to_read(context, None)?).map_err(explain)
}

/// Opens the catalog of a log that must be there, and nothing else, to read.
pub(super) fn look_at_catalog(context: &Context) -> Result<CatalogLook, Failure> {
    CatalogLook::open(&options(context)?).map_err(explain)
}

fn open(options: LogOptions) -> Result<Log, Failure> {
    Log::open(options).map_err(explain)
}

/// What the log is opened with.
pub(super) fn options(context: &Context) -> Result<LogOptions, Failure> {
    let mut options = options_in(context, context.data()?)?;
    options.archive = super::stores::reader(context, &options)?;
    Ok(options)
}

/// The same for a log in these directories, without its archive.
pub(super) fn options_in(context: &Context, data: &[String]) -> Result<LogOptions, Failure> {
    let settings = context.config.settings();
    let mut options = LogOptions::new(directories(data)?);
    options.catalog_engines.clone_from(&settings.catalog.engine.0);
    options.catalog_directory = settings.catalog.path.clone();
    options.sync = sync_mode(settings.sync.mode);
    options.periodic =
        PeriodicSync { interval: settings.sync.interval, bytes: settings.sync.bytes.0, records: settings.sync.records };
    options.limits = limits(settings);
    options.codec = codec(&settings.segment)?;
    options.block_bytes = settings.segment.block_bytes.as_len();
    options.cold_bytes = settings.seal.cold_bytes.0;
    options.seal_age = settings.seal.age;
    options.placement = settings.placement.policy;
    options.placement_over = settings.placement.over;
    options.auto_create = settings.collections.auto_create;
    options.sinks = settings.sinks.0.iter().map(|sink| sink.word().to_owned()).collect();
    options.flush = FlushTriggers {
        bytes: settings.flush.bytes.0,
        total_bytes: settings.flush.total_bytes.0,
        age: settings.flush.age,
    };
    options.clock = Arc::clone(&context.clock);
    let kept = &settings.retention;
    options.retention = Retention {
        age: kept.age.map(Keep::UpTo),
        bytes: kept.bytes.map(|size| Keep::UpTo(size.0)),
        records: kept.records.map(Keep::UpTo),
    };
    let compact = &settings.compact;
    options.compaction = CompactionSettings {
        keep_versions: compact.keep_versions.map(Keep::UpTo),
        ttl: compact.ttl.map(Keep::UpTo),
        tombstone_grace: compact.tombstone_grace.map(Keep::UpTo),
        target_bytes: Some(if compact.target_bytes.0 == 0 { Keep::All } else { Keep::UpTo(compact.target_bytes.0) }),
    };
    options.compact_in_background = compact.interval.map(|interval| BackgroundCompaction {
        interval,
        bytes_per_second: compact.bytes_per_second.map(|size| size.0),
        quiet_hours: compact.quiet_hours,
    });
    Ok(options)
}

const fn sync_mode(mode: config::SyncMode) -> SyncMode {
    match mode {
        config::SyncMode::Always => SyncMode::Always,
        config::SyncMode::PerBatch => SyncMode::PerBatch,
        config::SyncMode::Periodic => SyncMode::Periodic,
        config::SyncMode::Never => SyncMode::Never,
    }
}

const fn limits(settings: &Settings) -> Limits {
    const fn bytes(size: ByteSize) -> u64 {
        size.0
    }
    let limits = &settings.limits;
    Limits {
        record_bytes: bytes(limits.record_bytes),
        key_bytes: bytes(limits.key_bytes),
        headers_bytes: bytes(limits.headers_bytes),
        batch_bytes: bytes(limits.batch_bytes),
        journal_bytes: bytes(settings.journal.bytes),
        segment_bytes: bytes(settings.segment.bytes),
        memtable_bytes: bytes(limits.memtable_bytes),
        unsealed_bytes: bytes(limits.unsealed_bytes),
    }
}

fn codec(segment: &SegmentSettings) -> Result<Codec, Failure> {
    // The settings keep levels within what the codecs take.
    let level = |_| Error::new(ErrorKind::Invalid, format!("no such level: segment.level=`{}`", segment.level));
    Ok(match segment.codec {
        SegmentCodec::Null => Codec::Null,
        SegmentCodec::Zstandard => Codec::Zstandard { level: i32::try_from(segment.level).map_err(level)? },
        SegmentCodec::Deflate => Codec::Deflate { level: u32::try_from(segment.level).map_err(level)? },
    })
}

/// The local paths that `--data` names, each once.
fn directories(data: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let mut paths: Vec<PathBuf> = Vec::with_capacity(data.len());
    for text in data {
        let path = local_path(text)?;
        let same = |other: &PathBuf| std::path::absolute(other).ok() == std::path::absolute(&path).ok();
        if paths.iter().any(same) {
            return Err(Failure::usage(format!("a directory is given twice: directory=`{text}`"), "name it once"));
        }
        paths.push(path);
    }
    Ok(paths)
}

fn local_path(text: &str) -> Result<PathBuf, Failure> {
    let location: Location = text.parse().map_err(|error: InvalidLocation| {
        Failure::usage(error.to_string(), "a directory is a path, or a url with file:// and an absolute path")
    })?;
    location.local_path().map(Path::to_path_buf).ok_or_else(|| {
        let message = format!("a log is opened by its local directories: directory=`{location}`");
        let error = Error::new(ErrorKind::Unsupported, message).with_hint(
            "name a local directory; `directory add URL` makes an object store a home of its collections' segments",
        );
        Failure::Error(Exit::Usage, error)
    })
}

fn must_exist(options: &LogOptions) -> Result<(), Failure> {
    // One that cannot be read does not stand in the way of the others.
    let mut unreadable = None;
    for directory in &options.directories {
        match Identity::read(&*options.fs, directory) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(error) => unreadable = unreadable.or(Some(error)),
        }
    }
    Err(unreadable.map_or_else(|| no_log(&options.directories[0]).into(), explain))
}

fn no_log(directory: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("no log here: directory=`{}`", directory.display()))
        .with_hint("the first append makes one; or check --data")
}

/// Adds what to do about what the system said, where the log has no better advice.
pub(super) fn explain(error: Error) -> Failure {
    if error.hint().is_some() {
        return error.into();
    }
    let hint = match system_reason(&error) {
        Some(std::io::ErrorKind::ReadOnlyFilesystem) => {
            Some("the disk is read-only: mount it writable; cat, tail, get, ls, status and verify work as it is")
        }
        Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
            Some("free some space; cat, tail, get, ls, status and verify work as it is")
        }
        Some(std::io::ErrorKind::PermissionDenied) => {
            Some("run as the user that owns the directory, or give this one access to it")
        }
        Some(std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists) => {
            Some("--data names a directory; is there a file of that name?")
        }
        _ if error.kind() == ErrorKind::Unsupported => Some("use the icecore that wrote it, or a newer one"),
        _ => None,
    };
    match hint {
        Some(hint) => error.with_hint(hint).into(),
        None => error.into(),
    }
}

/// What the system said, somewhere in the chain of causes.
fn system_reason(error: &Error) -> Option<std::io::ErrorKind> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(system) = error.downcast_ref::<std::io::Error>() {
            return Some(system.kind());
        }
        cause = error.source();
    }
    None
}

/// The file system of the machine, for commands that look at single files.
pub(super) fn file_system() -> Arc<dyn FileSystem> {
    Arc::new(crate::fs::OsFileSystem::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<PathBuf, String> {
        local_path(text).map_err(|failure| match failure {
            Failure::Error(exit, error) => format!("{exit:?}: {error}"),
            Failure::PipeClosed => panic!("no pipe here"),
        })
    }

    #[test]
    fn directories_are_paths_or_file_urls() {
        assert_eq!(path("data"), Ok("data".into()));
        assert_eq!(path("file:///a%20b/c"), Ok("/a b/c".into()));
        assert_eq!(path("file://localhost/a"), Ok("/a".into()));
        assert_eq!(path("a:b"), Ok("a:b".into()));
        for wrong in ["file://host/a", "file://a", "file:///%zz", "file:///%f", "file:///%ff"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn remote_directories_are_refused_by_name() {
        let shown = |url: &str| url.parse::<Location>().unwrap().to_string();
        for url in
            ["s3://bucket/p", "az://acc/con", "abfss://con@acc.dfs.core.windows.net/p", "gs://bucket", "S3://bucket"]
        {
            assert_eq!(
                path(url),
                Err(format!("Usage: a log is opened by its local directories: directory=`{}`", shown(url)))
            );
        }
        let refused = path("ftp://user:secret@a/b").unwrap_err();
        assert!(refused.starts_with("Usage: unknown scheme of a directory: scheme=`ftp`"), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }

    #[test]
    fn a_directory_stands_once() {
        assert!(directories(&["a".to_owned(), "b".to_owned()]).is_ok());
        assert!(directories(&["a".to_owned(), "./a".to_owned()]).is_err());
    }
}
