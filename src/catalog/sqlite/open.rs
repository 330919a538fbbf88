//! Connections: opening, pragmas that are read back, migrations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::session::Session;
use super::{VERSION_MAX, error};
use crate::catalog::{CatalogError, CatalogMode, CatalogResult};
use crate::fs::{FileSystem as _, FsResult, OpenMode, OsFileSystem, durable};

/// `ICEC`: what `file` and other programs know the database by.
const APPLICATION_ID: i64 = 0x4943_4543;

/// The schema, a file for each version, in order from version 1.
pub(super) const MIGRATIONS: [&str; VERSION_MAX as usize] = [include_str!("../../../schema/catalog-0001.sql")];

/// Prepared statements kept by a connection: more than there are.
const STATEMENTS_MAX: usize = 64;

const COMMON: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX.union(OpenFlags::SQLITE_OPEN_EXRESCODE);

/// How connections for look-ups are opened.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    busy_timeout: Duration,
    /// The database lies where nothing can be written, and has no WAL: it is read as a file that never changes.
    is_immutable: bool,
}

impl Reading {
    #[cfg(test)]
    pub(super) fn immutable() -> Self {
        Self { busy_timeout: Duration::ZERO, is_immutable: true }
    }

    /// One more connection.
    pub fn open(&self, path: &Path) -> CatalogResult<Connection> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | COMMON;
        let mut name = path.to_path_buf();
        if self.is_immutable {
            flags |= OpenFlags::SQLITE_OPEN_URI;
            name = immutable_uri(path);
        }
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(&name, flags)?;
            prepare(&connection, self.busy_timeout)?;
            // The file is read only now.
            connection.pragma_query_value(None, "schema_version", |_| Ok(()))?;
            Ok(connection)
        };
        connect().map_err(|error| not_found_or(path, error))
    }
}

fn immutable_uri(path: &Path) -> PathBuf {
    use std::fmt::Write as _;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            _ => {
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri.into()
}

/// SQLite says only that it cannot open the file: whether there is one has to be asked.
fn not_found_or(path: &Path, error: rusqlite::Error) -> CatalogError {
    let is_absent = error.sqlite_error_code() == Some(ErrorCode::CannotOpen) && matches!(path.try_exists(), Ok(false));
    if is_absent { CatalogError::NotFound { path: path.display().to_string() } } else { error::of(path, "open", error) }
}

fn prepare(connection: &Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Otherwise a statement may be planned anew for each value bound to it, which costs more than to run it.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -8192)
}

/// Opens the first connection for look-ups, having looked whether it is a catalog of a version that is known.
pub fn first_reader(path: &Path, busy_timeout: Duration) -> CatalogResult<(Connection, Reading)> {
    let mut reading = Reading { busy_timeout, is_immutable: false };
    let connection = match reading.open(path) {
        // In a directory that takes no writes SQLite cannot make the files that it shares with a writer. Where a
        // writer is, they are there.
        Err(CatalogError::Engine { .. } | CatalogError::Unavailable { .. }) if !wal_exists(path) => {
            reading.is_immutable = true;
            reading.open(path)?
        }
        opened => opened?,
    };
    match version(&Session { connection: &connection, path })? {
        Some(VERSION_MAX) => Ok((connection, reading)),
        Some(version) => Err(CatalogError::Unavailable {
            path: path.display().to_string(),
            what: format!(
                "its schema is of version {version}, and must be opened to write once to become {VERSION_MAX}"
            ),
        }),
        None => Err(blank(path)),
    }
}

fn wal_of(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

fn wal_exists(path: &Path) -> bool {
    !matches!(wal_of(path).try_exists(), Ok(false))
}

fn blank(path: &Path) -> CatalogError {
    CatalogError::Damaged { path: path.display().to_string(), what: "the file holds no catalog".to_owned() }
}

fn pragma<T: rusqlite::types::FromSql>(session: &Session<'_>, name: &'static str) -> CatalogResult<T> {
    session
        .connection
        .pragma_query_value(None, name, |row| row.get(0))
        .map_err(|error| error::of(session.path, name, error))
}

/// The schema's version; `None` for a database that nobody has put anything into.
fn version(session: &Session<'_>) -> CatalogResult<Option<u32>> {
    let path = || session.path.display().to_string();
    let application: i64 = pragma(session, "application_id")?;
    let version: i64 = pragma(session, "user_version")?;
    let tables = session.one("SELECT count(*) FROM sqlite_schema", [], |row| Ok(row.get::<_, i64>(0)?))?;
    if (application, version, tables) == (0, 0, Some(0)) {
        return Ok(None);
    }
    let what = match u32::try_from(version) {
        _ if application != APPLICATION_ID => "the database is not a catalog of icecore".to_owned(),
        Ok(version) if version > VERSION_MAX => {
            return Err(CatalogError::Newer { path: path(), version, known: VERSION_MAX });
        }
        Ok(version) if version > 0 => return Ok(Some(version)),
        _ => format!("schema version `{version}`"),
    };
    Err(CatalogError::Damaged { path: path(), what })
}

/// Opens the connection that writes.
pub fn writer(path: &Path, mode: CatalogMode, busy_timeout: Duration) -> CatalogResult<Connection> {
    // SQLite takes a file of one byte for an empty database, and would write over it.
    if OsFileSystem::new().metadata(path).is_ok_and(|metadata| metadata.len == 1) {
        return Err(blank(path));
    }
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | COMMON;
    if mode == CatalogMode::Create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connect = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        prepare(&connection, busy_timeout)?;
        Ok(connection)
    };
    let connection = connect().map_err(|error| not_found_or(path, error))?;
    let session = Session { connection: &connection, path };
    // Before anything is written: a stranger's or a newer database stays as it is.
    if version(&session)?.is_none() && mode != CatalogMode::Create {
        return Err(blank(path));
    }
    sync_what_is_there(path)?;
    make_durable(&session)?;
    migrate(&session)?;
    Ok(connection)
}

/// Makes durable what an earlier process left in the WAL.
///
/// One that was killed in COMMIT may have written all frames and synced none: they count from here on, and whoever sees
/// them acts on them (deletes a purged segment, say), so that no power cut may take them back.
fn sync_what_is_there(path: &Path) -> CatalogResult<()> {
    let fs = OsFileSystem::new();
    let wal = wal_of(path);
    let sync = || -> FsResult<()> {
        match fs.open(&wal, OpenMode::Read) {
            Ok(file) => file.sync_data()?,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        durable::sync_parent(&fs, &wal)
    };
    sync().map_err(|error| CatalogError::Engine {
        path: path.display().to_string(),
        operation: "sync the WAL of",
        source: Box::new(error),
    })
}

/// Asks for a WAL that is synced by each COMMIT, and looks whether it is so.
fn make_durable(session: &Session<'_>) -> CatalogResult<()> {
    let failed = |error| error::of(session.path, "set pragmas", error);
    let set = || -> rusqlite::Result<()> {
        session.connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        session.connection.pragma_update(None, "synchronous", "full")?;
        // Where fsync does not reach the disk (macOS), this makes it.
        session.connection.pragma_update(None, "fullfsync", true)?;
        session.connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        session.connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))
    };
    set().map_err(failed)?;
    let journal_mode: String = pragma(session, "journal_mode")?;
    let synchronous: i64 = pragma(session, "synchronous")?;
    if journal_mode != "wal" || synchronous != 2 {
        return Err(CatalogError::Unavailable {
            path: session.path.display().to_string(),
            what: format!(
                "SQLite cannot make changes durable here: journal_mode `{journal_mode}`, synchronous `{synchronous}`"
            ),
        });
    }
    Ok(())
}

/// Brings the schema up to date, one transaction for each version.
fn migrate(session: &Session<'_>) -> CatalogResult<()> {
    loop {
        session.run("BEGIN IMMEDIATE")?;
        // Read again under the lock: another process may have migrated in between.
        let from = version(session)?.unwrap_or(0);
        let Some(migration) = MIGRATIONS.get(from as usize) else {
            return session.run("COMMIT");
        };
        let step = || -> rusqlite::Result<()> {
            session.connection.execute_batch(migration)?;
            session.connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            session.connection.pragma_update(None, "user_version", from + 1)?;
            session.try_run("COMMIT")
        };
        step().map_err(|error| error::of(session.path, "migrate", error))?;
    }
}
