//! A consistent copy in a file of its own.
//!
//! Order: refuse what is there; `VACUUM INTO`, one read transaction of SQLite's own, so that writers go on; sync the file;
//! sync its directory. A crash before the end leaves a file that nobody was told of, and `copy_to` refuses to go over it.

use std::path::Path;

use super::{SqliteCatalog, error, lookups};
use crate::catalog::{CatalogError, CatalogMode, CatalogResult};
use crate::fs::{FileSystem as _, OpenMode, OsFileSystem, durable};
use crate::types::ChangeNumber;

pub fn copy(from: &SqliteCatalog, path: &Path) -> CatalogResult<ChangeNumber> {
    let fs = OsFileSystem::new();
    let failed = |operation, source: crate::fs::FsError| CatalogError::Engine {
        path: path.display().to_string(),
        operation,
        source: Box::new(source),
    };
    match fs.metadata(path) {
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(failed("look for", error)),
        Ok(_) => {
            let what = "something is there: a copy never replaces anything".to_owned();
            return Err(CatalogError::Unavailable { path: path.display().to_string(), what });
        }
    }
    let Some(target) = path.to_str() else {
        let what = "SQLite takes only paths of UTF-8".to_owned();
        return Err(CatalogError::Unavailable { path: path.display().to_string(), what });
    };
    let copied = (|| {
        // A connection of its own: VACUUM runs outside of transactions.
        let connection = from.reading.open(from.path())?;
        connection.execute("VACUUM INTO ?1", [target]).map_err(|error| error::of(path, "copy to", error))?;
        let file = fs.open(path, OpenMode::ReadWrite).map_err(|error| failed("open", error))?;
        file.sync_all().map_err(|error| failed("sync", error))?;
        durable::sync_parent(&fs, path).map_err(|error| failed("sync the directory of", error))?;
        SqliteCatalog::open(path, CatalogMode::ReadOnly)?.read(lookups::change_number)
    })();
    if copied.is_err() {
        // Nothing else could have made it: it was not there, and SQLite writes into no file that has bytes.
        let _ = fs.remove_file(path);
    }
    copied
}
