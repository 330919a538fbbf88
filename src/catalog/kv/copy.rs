//! A consistent copy in a file of its own.
//!
//! Order: refuse what is there; in one read transaction, put every entry in order of keys into a new file, in transactions of
//! bounded size; the header last, so that what a crash leaves before is no catalog, and `copy_to` refuses to go over it; sync
//! the directory. Writers go on meanwhile, and their file grows by what they change.

use std::path::Path;

use super::engine::{Environment, Read, Write};
use super::{KvCatalog, keys, lookups, open};
use crate::catalog::{CatalogError, CatalogResult};
use crate::fs::{FileSystem as _, OsFileSystem, durable};
use crate::types::ChangeNumber;

/// Bytes of keys and values put in one transaction.
const BATCH_BYTES: usize = 8 << 20;

pub fn copy<E: Environment>(from: &KvCatalog<E>, path: &Path) -> CatalogResult<ChangeNumber> {
    let fs = OsFileSystem::new();
    match fs.metadata(path) {
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(open::fs_failed(path, "look for", error)),
        Ok(_) => {
            let what = "something is there: a copy never replaces anything".to_owned();
            return Err(CatalogError::Unavailable { path: path.display().to_string(), what });
        }
    }
    let to = open::open_new::<E>(path, open::MAP_BYTES)?;
    let copied = from.read(|read| {
        fill(read, &to.environment)?;
        lookups::change_number(read)
    });
    // Closed first: an engine's lock file belongs to an open catalog. Nobody else was told of the file yet.
    drop(to);
    for companion in E::ENGINE.companions(path) {
        let _ = fs.remove_file(&companion);
    }
    let copied = copied.and_then(|number| {
        durable::sync_parent(&fs, path).map_err(|error| open::fs_failed(path, "sync the directory of", error))?;
        Ok(number)
    });
    if copied.is_err() {
        // Nothing else could have made it: it was not there.
        let _ = fs.remove_file(path);
    }
    copied
}

fn fill<E: Environment>(read: &dyn Read, to: &E) -> CatalogResult<()> {
    let mut writing = Some(to.write()?);
    let mut bytes = 0;
    read.scan(&keys::header().next(), &mut |key, value| {
        if bytes > BATCH_BYTES {
            if let Some(full) = writing.take() {
                full.commit()?;
            }
            bytes = 0;
        }
        bytes += key.len() + value.len();
        let open = match &mut writing {
            Some(open) => open,
            none => none.insert(to.write()?),
        };
        open.append(key, value).map(|()| true)
    })?;
    let mut writing = match writing {
        Some(open) => open,
        None => to.write()?,
    };
    let header = read.get(&keys::header())?.unwrap_or_default();
    writing.put(&keys::header(), &header)?;
    writing.commit()
}
