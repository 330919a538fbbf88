//! A connection within a transaction: runs prepared statements and says what went wrong in the contract's words.

use std::path::Path;

use rusqlite::{Connection, Params, Row};

use super::error;
use crate::catalog::{CatalogError, CatalogResult};

/// Why a row could not be read.
#[derive(Debug)]
pub enum RowError {
    /// SQLite failed, or a value is of the wrong type.
    Sqlite(rusqlite::Error),
    /// The values are not what was written.
    Damaged(String),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What reading a row gives.
pub type RowResult<T> = Result<T, RowError>;

/// A connection and the path that errors name.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    pub connection: &'a Connection,
    pub path: &'a Path,
}

impl Session<'_> {
    /// Runs a statement without parameters.
    pub fn try_run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    /// Runs a statement without parameters.
    pub fn run(&self, sql: &'static str) -> CatalogResult<()> {
        self.try_run(sql).map_err(|error| error::of(self.path, sql, error))
    }

    /// Runs a statement that changes rows.
    pub fn execute(&self, sql: &str, parameters: impl Params) -> CatalogResult<()> {
        let execute = || self.connection.prepare_cached(sql)?.execute(parameters);
        execute().map(|_| ()).map_err(|error| error::of(self.path, "write", error))
    }

    /// Reads every row that a statement finds.
    pub fn all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        mut decode: impl FnMut(&Row<'_>) -> RowResult<T>,
    ) -> CatalogResult<Vec<T>> {
        let mut found = Vec::new();
        self.each(sql, parameters, |row| {
            found.push(decode(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads the row that a statement finds, where it finds one.
    pub fn one<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        decode: impl FnOnce(&Row<'_>) -> RowResult<T>,
    ) -> CatalogResult<Option<T>> {
        let read = || -> RowResult<Option<T>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(parameters)?;
            rows.next()?.map(decode).transpose()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Calls `visit` for every row that a statement finds.
    pub fn each(
        &self,
        sql: &str,
        parameters: impl Params,
        mut visit: impl FnMut(&Row<'_>) -> RowResult<()>,
    ) -> CatalogResult<()> {
        let read = || -> RowResult<()> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(parameters)?;
            while let Some(row) = rows.next()? {
                visit(row)?;
            }
            Ok(())
        };
        read().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: RowError) -> CatalogError {
        match error {
            RowError::Sqlite(error) => error::of(self.path, "read", error),
            RowError::Damaged(what) => CatalogError::Damaged { path: self.path.display().to_string(), what },
        }
    }
}

/// `limit` as SQL takes it.
pub fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A number of at most 63 bits as SQL takes it; what is larger is beyond every row.
pub fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
