//! Copies of the catalog in the archive (C6).
//!
//! Owns: making one, and its key, `_catalog/{change:020}.{digest8}.{engine}`. A copy counts once a manifest names it; the one before counts no more then,
//! and its object may be deleted. What a copy has besides the manifests is the history: who changed what, and why.
//!
//! Crash safety: the copy is made in a file of the staging folder, which the next opening clears; an object that no manifest names is an orphan.

use std::path::Path;
use std::sync::Arc;

use super::manifest::CatalogSnapshot;
use crate::avro::Sha256;
use crate::catalog::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{File, FileSystem, OpenMode};
use crate::objects::{ObjectKey, ObjectStore, Put, Upload};
use crate::types::Timestamp;
use crate::types::ids::hex;

/// What the keys of all copies begin with.
pub const PREFIX: &str = "_catalog/";
const PIECE_BYTES: u64 = 1 << 20;

/// Puts a copy of the catalog, as it is at one moment, into the store, and proves it; returns what a manifest is to say of it.
/// `staging` is a file that is not there, in a directory with room for the catalog.
///
/// # Errors
/// `Unsupported` for a catalog that is in no file; what the catalog, the disk or the store said.
pub fn snapshot(
    catalog: &dyn Catalog,
    store: &dyn ObjectStore,
    fs: &dyn FileSystem,
    staging: &Path,
) -> Result<CatalogSnapshot> {
    snapshot_retained(catalog, store, fs, staging, None)
}

/// As [`snapshot`]; the store is to refuse to delete the copy before `retain_until`.
///
/// # Errors
/// As there; `Unsupported` where the store cannot.
pub fn snapshot_retained(
    catalog: &dyn Catalog,
    store: &dyn ObjectStore,
    fs: &dyn FileSystem,
    staging: &Path,
    retain_until: Option<Timestamp>,
) -> Result<CatalogSnapshot> {
    let Some(engine) = catalog.engine() else {
        return Err(Error::new(ErrorKind::Unsupported, "a catalog that is in no file has no copy to archive"));
    };
    let made = catalog.copy_to(staging).map_err(Error::from).and_then(|change| {
        let file = fs.open(staging, OpenMode::Read)?;
        let (bytes, sha256) = digest(&file)?;
        let key = ObjectKey::new(format!("{PREFIX}{:020}.{}.{engine}", change.get(), hex(&sha256[..4])))?;
        let upload = Upload { retain_until, ..Upload::new(&file, bytes, sha256) };
        if store.put_if_absent(&key, &upload)? == Put::OtherThere {
            let message = format!("another object has the key: store=`{}`, key=`{key}`", store.place());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        store.prove(&key, &upload)?;
        Ok(CatalogSnapshot { key: key.to_string(), bytes, sha256, change, engine })
    });
    for path in engine.companions(staging).iter().map(std::path::PathBuf::as_path).chain([staging]) {
        match fs.remove_file(path) {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(%error, "a copy of the catalog could not be removed");
            }
            _ => {}
        }
    }
    made
}

fn digest(file: &Arc<dyn File>) -> Result<(u64, [u8; 32])> {
    let bytes = file.len()?;
    let mut digest = Sha256::new();
    let mut at = 0;
    while at < bytes {
        let mut piece = vec![0; usize::try_from((bytes - at).min(PIECE_BYTES)).expect("a piece fits memory")];
        file.read_exact_at(&mut piece, at)?;
        digest.update(&piece);
        at += piece.len() as u64;
    }
    Ok((bytes, digest.finish()))
}
