//! LMDB, by `heed`.
//!
//! Every commit writes and syncs its pages, then the one page that names them: no flag that weakens this is ever set. The
//! file is mapped to read only, so that no stray write of this program can reach it.
//!
//! LMDB keeps nothing but its map's size in mind: 64 GiB of addresses are asked for once, less where the system refuses, and
//! the file grows within, so that the map never has to be changed while look-ups run.

#![allow(unsafe_code, reason = "heed marks opening a memory map as unsafe; why it is sound is said at each place")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, PutFlags, RoTxn, RwTxn, WithoutTls};
use rustix::io::Errno;

use super::engine::{Access, Environment, Extent, OpenError, Options, Read, Registry, Visit, Write};
use super::lmdb_pages;
use crate::catalog::{CatalogError, CatalogResult, Engine};
use crate::fs::{FileSystem as _, OpenMode, OsFileSystem};

/// How many transactions may read at once, over all processes.
const READERS_MAX: u32 = 1024;
/// The smallest map that is tried where the system refuses a larger one.
const MAP_BYTES_LEAST: u64 = 1 << 30;

type Entries = Database<'static, Bytes, Bytes>;

/// An open LMDB file.
pub struct Lmdb {
    path: PathBuf,
    entries: Entries,
    environment: Env<WithoutTls>,
}

/// What LMDB says, in the words of the contract, when nothing can have changed.
fn failed(path: &Path, operation: &'static str, error: heed::Error) -> CatalogError {
    let shown = path.display().to_string();
    match &error {
        heed::Error::Mdb(MdbError::MapFull) => CatalogError::Full { path: shown },
        heed::Error::Io(io) if is_full(io) => CatalogError::Full { path: shown },
        heed::Error::Io(io) if is_denied(io) => {
            CatalogError::Unavailable { path: shown, what: "it is read-only".to_owned() }
        }
        heed::Error::Mdb(MdbError::ReadersFull) => {
            CatalogError::Unavailable { path: shown, what: "too many look-ups at once".to_owned() }
        }
        heed::Error::Mdb(MdbError::MapResized) => CatalogError::Unavailable {
            path: shown,
            what: "it has grown beyond what could be mapped here; open it again".to_owned(),
        },
        heed::Error::Mdb(
            MdbError::PageNotFound
            | MdbError::Corrupted
            | MdbError::VersionMismatch
            | MdbError::Invalid
            | MdbError::CursorFull
            | MdbError::PageFull
            | MdbError::Incompatible
            | MdbError::BadDbi,
        ) => CatalogError::Damaged { path: shown, what: format!("{operation}: {error}") },
        _ => CatalogError::Engine { path: shown, operation, source: error.into() },
    }
}

fn is_full(error: &std::io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::NOSPC.raw_os_error()) || code == Some(Errno::DQUOT.raw_os_error())
}

fn is_denied(error: &std::io::Error) -> bool {
    [Errno::ACCESS, Errno::PERM, Errno::ROFS].iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

fn is_refused_map(error: &heed::Error) -> bool {
    matches!(error, heed::Error::Io(io) if io.raw_os_error() == Some(Errno::NOMEM.raw_os_error()))
}

fn open_environment(path: &Path, access: Access, map_bytes: u64) -> heed::Result<Env<WithoutTls>> {
    let mut flags = EnvFlags::NO_SUB_DIR;
    match access {
        Access::Writing => {}
        Access::Reading => flags |= EnvFlags::READ_ONLY,
        Access::Unlocked => flags |= EnvFlags::READ_ONLY | EnvFlags::NO_LOCK,
    }
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(usize::try_from(map_bytes).unwrap_or(usize::MAX & !0xffff)).max_readers(READERS_MAX);
    // SAFETY: of these flags only NO_LOCK asks for care: it is set only to read, where nobody can make the lock file, and so
    // nobody writes.
    unsafe { options.flags(flags) };
    // SAFETY: the file is changed through LMDB only, whose locks keep processes apart; within this process `open` keeps one
    // environment for each file (closing a second one would drop the locks of the first). That no page lies beyond the end
    // of the file is checked before the first look-up. The map cannot be written through. Whoever else changes the file
    // while it is open breaks this, as for every program that maps files.
    unsafe { options.open(path) }
}

impl Environment for Lmdb {
    const ENGINE: Engine = Engine::Lmdb;
    type Reading<'a> = Reading<'a>;
    type Writing<'a> = Writing<'a>;

    fn registry() -> &'static Registry<Self> {
        static OPEN: Registry<Lmdb> = Mutex::new(BTreeMap::new());
        &OPEN
    }

    fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let fail = |error: heed::Error| match &error {
            heed::Error::Io(io) if is_denied(io) => OpenError::Denied(failed(path, "open", error)),
            _ => OpenError::Failed(failed(path, "open", error)),
        };
        let file_bytes = OsFileSystem::new().metadata(path).map_or(0, |metadata| metadata.len);
        let least = MAP_BYTES_LEAST.max(file_bytes.saturating_mul(2));
        let mut map_bytes = options.map_bytes;
        let environment = loop {
            match open_environment(path, options.access, map_bytes) {
                Err(error) if is_refused_map(&error) && map_bytes / 2 >= least => map_bytes /= 2,
                opened => break opened.map_err(fail)?,
            }
        };
        // Slots of readers that were killed would keep every page since from being used again.
        if options.access != Access::Unlocked {
            environment.clear_stale_readers().map_err(fail)?;
        }
        let open = |environment: &Env<WithoutTls>| -> heed::Result<Option<Entries>> {
            let reading = environment.read_txn()?;
            let opened = environment.open_databases_and_commit(reading, |opener, reading| {
                opener.open_database::<Bytes, Bytes>(reading, None).map(CommitOrAbort::<_, ()>::Commit)
            })?;
            Ok(match opened {
                CommitOrAbort::Commit(entries) => entries,
                CommitOrAbort::Abort(()) => None,
            })
        };
        let entries = open(&environment).map_err(fail)?;
        let missing = || fail(heed::Error::Mdb(MdbError::Incompatible));
        Ok(Self { path: path.to_path_buf(), entries: entries.ok_or_else(missing)?, environment })
    }

    fn extent(&self) -> CatalogResult<Extent> {
        let info = self.environment.info();
        let page_bytes = u64::from(self.environment.unnamed_database_stat().page_size);
        Ok(Extent { used_bytes: (info.last_page_number as u64 + 1) * page_bytes, map_bytes: info.map_size as u64 })
    }

    fn is_whole(&self) -> CatalogResult<bool> {
        // While it is being read, no page of this state is used again.
        let reading = self.read()?;
        let page_bytes = u64::from(self.environment.unnamed_database_stat().page_size);
        let opened = OsFileSystem::new().open(&self.path, OpenMode::Read);
        opened
            .and_then(|file| lmdb_pages::is_whole(&*file, page_bytes, reading.transaction.id() as u64))
            .map_err(|error| super::open::fs_failed(&self.path, "read", error))
    }

    fn read(&self) -> CatalogResult<Reading<'_>> {
        let transaction = self.environment.read_txn().map_err(|error| failed(&self.path, "begin to read", error))?;
        Ok(Reading { of: self, transaction })
    }

    fn write(&self) -> CatalogResult<Writing<'_>> {
        // Each time, not only when opened: a writer lives for months, and one killed reader would make the file grow with every
        // change. Looks only at slots of other processes.
        let cleared = self.environment.clear_stale_readers();
        cleared.map_err(|error| failed(&self.path, "free the slots of killed readers", error))?;
        let transaction = self.environment.write_txn().map_err(|error| failed(&self.path, "begin to write", error))?;
        Ok(Writing { of: self, transaction })
    }
}

fn get(of: &Lmdb, transaction: &RoTxn<'_>, key: &[u8]) -> CatalogResult<Option<Vec<u8>>> {
    let found = of.entries.get(transaction, key).map_err(|error| failed(&of.path, "read", error))?;
    Ok(found.map(<[u8]>::to_vec))
}

fn scan(of: &Lmdb, transaction: &RoTxn<'_>, from: &[u8], visit: Visit<'_>) -> CatalogResult<()> {
    let fail = |error| failed(&of.path, "walk", error);
    let range = (Bound::Included(from), Bound::Unbounded);
    for entry in of.entries.range(transaction, &range).map_err(fail)? {
        let (key, value) = entry.map_err(fail)?;
        if !visit(key, value)? {
            break;
        }
    }
    Ok(())
}

fn scan_back(of: &Lmdb, transaction: &RoTxn<'_>, below: &[u8], visit: Visit<'_>) -> CatalogResult<()> {
    let fail = |error| failed(&of.path, "walk back", error);
    let range = (Bound::Unbounded, Bound::Excluded(below));
    for entry in of.entries.rev_range(transaction, &range).map_err(fail)? {
        let (key, value) = entry.map_err(fail)?;
        if !visit(key, value)? {
            break;
        }
    }
    Ok(())
}

/// A transaction that reads.
pub struct Reading<'a> {
    of: &'a Lmdb,
    transaction: RoTxn<'a, WithoutTls>,
}

impl Read for Reading<'_> {
    fn path(&self) -> &Path {
        &self.of.path
    }

    fn get(&self, key: &[u8]) -> CatalogResult<Option<Vec<u8>>> {
        get(self.of, &self.transaction, key)
    }

    fn scan(&self, from: &[u8], visit: Visit<'_>) -> CatalogResult<()> {
        scan(self.of, &self.transaction, from, visit)
    }

    fn scan_back(&self, below: &[u8], visit: Visit<'_>) -> CatalogResult<()> {
        scan_back(self.of, &self.transaction, below, visit)
    }
}

/// The transaction that writes.
pub struct Writing<'a> {
    of: &'a Lmdb,
    transaction: RwTxn<'a>,
}

impl Read for Writing<'_> {
    fn path(&self) -> &Path {
        &self.of.path
    }

    fn get(&self, key: &[u8]) -> CatalogResult<Option<Vec<u8>>> {
        get(self.of, &self.transaction, key)
    }

    fn scan(&self, from: &[u8], visit: Visit<'_>) -> CatalogResult<()> {
        scan(self.of, &self.transaction, from, visit)
    }

    fn scan_back(&self, below: &[u8], visit: Visit<'_>) -> CatalogResult<()> {
        scan_back(self.of, &self.transaction, below, visit)
    }
}

impl Write for Writing<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> CatalogResult<()> {
        let put = self.of.entries.put(&mut self.transaction, key, value);
        put.map_err(|error| failed(&self.of.path, "write", error))
    }

    fn append(&mut self, key: &[u8], value: &[u8]) -> CatalogResult<()> {
        let put = self.of.entries.put_with_flags(&mut self.transaction, PutFlags::APPEND, key, value);
        put.map_err(|error| failed(&self.of.path, "write", error))
    }

    fn delete(&mut self, key: &[u8]) -> CatalogResult<bool> {
        let deleted = self.of.entries.delete(&mut self.transaction, key);
        deleted.map_err(|error| failed(&self.of.path, "delete", error))
    }

    fn commit(self) -> CatalogResult<()> {
        let of = self.of;
        self.transaction.commit().map_err(|error| match failed(&of.path, "commit", error) {
            // LMDB refuses to write ever after when it was the page naming the newest state that it could not write.
            full @ CatalogError::Full { .. } => match of.write() {
                Ok(_) => full,
                Err(error) => super::unknown(&of.path, error),
            },
            error => super::unknown(&of.path, error),
        })
    }
}
