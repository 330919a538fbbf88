//! MDBX, by `signet-libmdbx`.
//!
//! Opened with `SyncMode::Durable`: every commit is synced. Never with WRITEMAP, and nothing is put with RESERVE, which would
//! store zeros. An over-long key would abort the process in a release build: see `keys` for why there is none.
//!
//! A file that is there is opened with the bounds that it has; they are changed only once it is known to be a catalog.
//! Slots of readers that were killed MDBX frees by itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::io::Errno;
use signet_libmdbx::sys::PageSize;
use signet_libmdbx::tx::aliases::{RoTxUnsync, RwTxUnsync};
use signet_libmdbx::{
    Cursor, Database, EnvironmentFlags, Geometry, MdbxError, Mode, ReadError, ReadResult, SyncMode, TransactionKind,
    WriteFlags,
};

use super::engine::{Access, Environment, Extent, OpenError, Options, Read, Registry, Visit, Write};
use super::keys::KEY_BYTES_MAX;
use super::mdbx_metas;
use crate::catalog::{CatalogError, CatalogResult, Engine};
use crate::fs::{FileSystem as _, FsResult, OpenMode, OsFileSystem};

/// How many transactions may read at once, over all processes.
const READERS_MAX: u64 = 1024;
/// By how much the file grows at once.
const GROWTH_BYTES: isize = 1 << 20;
/// Every catalog has pages of this size.
pub const PAGE_BYTES: usize = 4096;

/// An open MDBX file.
pub struct Mdbx {
    path: PathBuf,
    entries: Database,
    environment: signet_libmdbx::Environment,
}

/// What MDBX says, in the words of the contract, when nothing can have changed.
fn failed(path: &Path, operation: &'static str, error: MdbxError) -> CatalogError {
    let shown = path.display().to_string();
    match error {
        MdbxError::MapFull | MdbxError::UnableExtendMapSize => CatalogError::Full { path: shown },
        MdbxError::Other(code) if code == Errno::NOSPC.raw_os_error() || code == Errno::DQUOT.raw_os_error() => {
            CatalogError::Full { path: shown }
        }
        _ if is_denied(&error) => CatalogError::Unavailable { path: shown, what: "it is read-only".to_owned() },
        MdbxError::Busy => CatalogError::Unavailable { path: shown, what: "another process holds it".to_owned() },
        MdbxError::ReadersFull => {
            CatalogError::Unavailable { path: shown, what: "too many look-ups at once".to_owned() }
        }
        MdbxError::PageNotFound
        | MdbxError::Corrupted
        | MdbxError::VersionMismatch
        | MdbxError::Invalid
        | MdbxError::CursorFull
        | MdbxError::PageFull
        | MdbxError::Incompatible
        | MdbxError::BadDbi
        | MdbxError::WannaRecovery
        | MdbxError::NoData => CatalogError::Damaged { path: shown, what: format!("{operation}: {error}") },
        _ => CatalogError::Engine { path: shown, operation, source: error.into() },
    }
}

fn failed_read(path: &Path, operation: &'static str, error: ReadError) -> CatalogError {
    match error {
        ReadError::Mdbx(error) => failed(path, operation, error),
        other => CatalogError::Engine { path: path.display().to_string(), operation, source: other.into() },
    }
}

fn is_denied(error: &MdbxError) -> bool {
    let code = error.to_err_code();
    [Errno::ACCESS, Errno::PERM, Errno::ROFS].iter().any(|denied| denied.raw_os_error() == code)
}

impl Environment for Mdbx {
    const ENGINE: Engine = Engine::Mdbx;
    type Reading<'a> = Reading<'a>;
    type Writing<'a> = Writing<'a>;

    fn registry() -> &'static Registry<Self> {
        static OPEN: Registry<Mdbx> = Mutex::new(BTreeMap::new());
        &OPEN
    }

    fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let fail = |error: MdbxError| {
            if is_denied(&error) {
                OpenError::Denied(failed(path, "open", error))
            } else {
                OpenError::Failed(failed(path, "open", error))
            }
        };
        let is_new = OsFileSystem::new().metadata(path).map_or(true, |metadata| metadata.len == 0);
        let named = named(path).map_err(OpenError::Failed)?;
        let mode = match options.access {
            Access::Writing => Mode::ReadWrite { sync_mode: SyncMode::Durable },
            // Where it cannot make the lock file, MDBX reads without it by itself.
            Access::Reading | Access::Unlocked => Mode::ReadOnly,
        };
        let mut builder = signet_libmdbx::Environment::builder();
        builder.set_flags(EnvironmentFlags { no_sub_dir: true, mode, ..EnvironmentFlags::default() });
        builder.set_max_readers(READERS_MAX);
        if options.access == Access::Writing && (is_new || options.may_rebound) {
            let map_bytes = usize::try_from(options.map_bytes).unwrap_or(usize::MAX >> 1);
            builder.set_geometry(Geometry {
                size: Some(0..map_bytes),
                growth_step: Some(GROWTH_BYTES.min(map_bytes as isize / 4)),
                shrink_threshold: Some(0),
                page_size: is_new.then_some(PageSize::Set(PAGE_BYTES)),
            });
        }
        let environment = builder.open_with_permissions(path, 0o600).map_err(fail)?;
        if let Some(named) = named
            && (environment.info().map_err(fail)?.last_txnid() as u64) < named.transaction
        {
            let what = "the newest state cannot be read, only an older one".to_owned();
            return Err(OpenError::Failed(CatalogError::Damaged { path: path.display().to_string(), what }));
        }
        let reading = environment.begin_ro_unsync().map_err(fail)?;
        let entries = reading.open_db(None).map_err(fail)?;
        drop(reading);
        Ok(Self { path: path.to_path_buf(), entries, environment })
    }

    fn extent(&self) -> CatalogResult<Extent> {
        let fail = |error| failed(&self.path, "look at", error);
        let info = self.environment.info().map_err(fail)?;
        // Not from `stat`, which walks the whole tree. A file with other pages is none that we made.
        let used_bytes = (info.last_pgno() as u64 + 1) * PAGE_BYTES as u64;
        Ok(Extent { used_bytes, map_bytes: info.map_size() as u64 })
    }

    fn is_whole(&self) -> CatalogResult<bool> {
        // MDBX sizes the file before it hands out pages.
        Ok(false)
    }

    fn read(&self) -> CatalogResult<Reading<'_>> {
        let begun = self.environment.begin_ro_unsync();
        let transaction = begun.map_err(|error| failed(&self.path, "begin to read", error))?;
        Ok(Reading { of: self, transaction })
    }

    fn write(&self) -> CatalogResult<Writing<'_>> {
        let begun = self.environment.begin_rw_unsync();
        let transaction = begun.map_err(|error| failed(&self.path, "begin to write", error))?;
        Ok(Writing { of: self, transaction })
    }
}

/// What the file itself names as its newest state, where it is long enough for that.
fn named(path: &Path) -> CatalogResult<Option<mdbx_metas::Newest>> {
    let fs = OsFileSystem::new();
    let read = || -> FsResult<_> {
        let file = fs.open(path, OpenMode::Read)?;
        Ok((mdbx_metas::newest(&*file)?, file.len()?))
    };
    match read() {
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(super::open::fs_failed(path, "read", error)),
        Ok((Some(newest), len)) if newest.used_bytes > len => {
            let what = format!("the file is cut short: it has {len} bytes of {}", newest.used_bytes);
            Err(CatalogError::Damaged { path: path.display().to_string(), what })
        }
        Ok((newest, _)) => Ok(newest),
    }
}

type Entry<'a> = ReadResult<Option<(Cow<'a, [u8]>, Cow<'a, [u8]>)>>;

/// Visits the entries that `start` and then `next` find.
fn walk<'a, K: TransactionKind>(
    of: &Mdbx,
    cursor: CatalogCursor<'a, K>,
    start: impl FnOnce(&mut Cursor<'a, K>) -> Entry<'a>,
    next: impl Fn(&mut Cursor<'a, K>) -> Entry<'a>,
    visit: Visit<'_>,
) -> CatalogResult<()> {
    let fail = |error| failed_read(&of.path, "walk", error);
    let mut cursor = cursor.map_err(|error| failed(&of.path, "walk", error))?;
    let mut entry = start(&mut cursor).map_err(fail)?;
    while let Some((key, value)) = entry {
        if !visit(&key, &value)? {
            break;
        }
        entry = next(&mut cursor).map_err(fail)?;
    }
    Ok(())
}

type CatalogCursor<'a, K> = signet_libmdbx::MdbxResult<Cursor<'a, K>>;

/// The last entry below a key.
fn start_below<'a, K: TransactionKind>(cursor: &mut Cursor<'a, K>, below: &[u8]) -> Entry<'a> {
    match cursor.set_range::<Cow<'a, [u8]>, Cow<'a, [u8]>>(below)? {
        Some(_) => cursor.prev(),
        None => cursor.last(),
    }
}

macro_rules! read {
    ($transaction:ident) => {
        impl Read for $transaction<'_> {
            fn path(&self) -> &Path {
                &self.of.path
            }

            fn get(&self, key: &[u8]) -> CatalogResult<Option<Vec<u8>>> {
                let found = self.transaction.get::<Vec<u8>>(self.of.entries.dbi(), key);
                found.map_err(|error| failed_read(&self.of.path, "read", error))
            }

            fn scan(&self, from: &[u8], visit: Visit<'_>) -> CatalogResult<()> {
                let cursor = self.transaction.cursor(self.of.entries);
                walk(self.of, cursor, |cursor| cursor.set_range(from), |cursor| cursor.next(), visit)
            }

            fn scan_back(&self, below: &[u8], visit: Visit<'_>) -> CatalogResult<()> {
                let cursor = self.transaction.cursor(self.of.entries);
                walk(self.of, cursor, |cursor| start_below(cursor, below), |cursor| cursor.prev(), visit)
            }
        }
    };
}

/// A transaction that reads.
pub struct Reading<'a> {
    of: &'a Mdbx,
    transaction: RoTxUnsync,
}

/// The transaction that writes.
pub struct Writing<'a> {
    of: &'a Mdbx,
    transaction: RwTxUnsync,
}

read!(Reading);
read!(Writing);

impl Writing<'_> {
    /// The rules bound every key; this stands between a mistake in them and the end of the process.
    fn check_key(&self, key: &[u8]) -> CatalogResult<()> {
        if key.len() <= KEY_BYTES_MAX {
            return Ok(());
        }
        Err(failed(&self.of.path, "write a key so long", MdbxError::BadValSize))
    }
}

impl Write for Writing<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> CatalogResult<()> {
        self.check_key(key)?;
        let put = self.transaction.put(self.of.entries, key, value, WriteFlags::UPSERT);
        put.map_err(|error| failed(&self.of.path, "write", error))
    }

    fn append(&mut self, key: &[u8], value: &[u8]) -> CatalogResult<()> {
        self.check_key(key)?;
        let put = self.transaction.append(self.of.entries, key, value);
        put.map_err(|error| failed(&self.of.path, "write", error))
    }

    fn delete(&mut self, key: &[u8]) -> CatalogResult<bool> {
        let deleted = self.transaction.del(self.of.entries, key, None);
        deleted.map_err(|error| failed(&self.of.path, "delete", error))
    }

    fn commit(self) -> CatalogResult<()> {
        let of = self.of;
        self.transaction.commit().map_err(|error| match failed(&of.path, "commit", error) {
            // MDBX refuses to write ever after when it was the page naming the newest state that it could not write.
            full @ CatalogError::Full { .. } => match of.write() {
                Ok(_) => full,
                Err(error) => super::unknown(&of.path, error),
            },
            error => super::unknown(&of.path, error),
        })
    }
}
