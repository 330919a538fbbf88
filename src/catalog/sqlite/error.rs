//! What SQLite says, in the words of the contract.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::catalog::CatalogError;

/// Which error it is when nothing can have changed: a look-up failed, or a statement before COMMIT.
pub fn of(path: &Path, operation: &'static str, error: rusqlite::Error) -> CatalogError {
    let shown = path.display().to_string();
    match &error {
        rusqlite::Error::SqliteFailure(code, _) => match code.code {
            ErrorCode::DiskFull => CatalogError::Full { path: shown },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                CatalogError::Unavailable { path: shown, what: "another connection holds it".to_owned() }
            }
            ErrorCode::ReadOnly => CatalogError::Unavailable { path: shown, what: "it is read-only".to_owned() },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                CatalogError::Damaged { path: shown, what: error.to_string() }
            }
            // Our statements are right, so that a schema that does not take them, or rows that break its keys, are damage.
            ErrorCode::Unknown | ErrorCode::ConstraintViolation => {
                CatalogError::Damaged { path: shown, what: error.to_string() }
            }
            _ => CatalogError::Engine { path: shown, operation, source: error.into() },
        },
        // A statement is prepared again where the schema has changed under it.
        rusqlite::Error::SqlInputError { .. } => CatalogError::Damaged { path: shown, what: error.to_string() },
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::Utf8Error(..) => CatalogError::Damaged { path: shown, what: error.to_string() },
        _ => CatalogError::Engine { path: shown, operation, source: error.into() },
    }
}

/// Which error a failed COMMIT is.
///
/// Where the disk is full, or another connection is in the way, the frame that commits is not written. After any other
/// failure (a sync, above all) it may be in the file, and count after a restart.
pub fn of_commit(path: &Path, error: rusqlite::Error) -> CatalogError {
    match of(path, "commit", error) {
        known @ (CatalogError::Full { .. } | CatalogError::Unavailable { .. }) => known,
        CatalogError::Engine { path, source, .. } => CatalogError::OutcomeUnknown { path, source },
        other => CatalogError::OutcomeUnknown { path: path.display().to_string(), source: Box::new(other) },
    }
}
