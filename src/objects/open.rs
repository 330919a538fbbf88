//! The store of a location.

use std::sync::Arc;

use super::{LocalObjectStore, Location, ObjectStore, StoreOptions};
use crate::clock::Clock;
use crate::error::Result;
use crate::fs::FileSystem;

/// Makes what talks to a store. Nothing is sent yet.
///
/// # Errors
/// `Unsupported` where this build has no client for it, `Invalid` for options that cannot be.
pub fn open_store(
    location: &Location,
    options: &StoreOptions,
    fs: &Arc<dyn FileSystem>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn ObjectStore>> {
    #[cfg(not(any(feature = "s3", feature = "azure")))]
    let _ = (options, clock);
    match location {
        Location::Local(path) => Ok(Arc::new(LocalObjectStore::new(Arc::clone(fs), path))),
        #[cfg(feature = "s3")]
        Location::S3 { .. } | Location::Gcs { .. } => {
            Ok(Arc::new(super::S3ObjectStore::new(location, options, fs, clock)?))
        }
        #[cfg(not(feature = "s3"))]
        Location::S3 { .. } | Location::Gcs { .. } => Err(not_built(location, "s3")),
        #[cfg(feature = "azure")]
        Location::Azure { .. } => Ok(Arc::new(super::AzureObjectStore::open(location, options, fs, clock)?)),
        #[cfg(not(feature = "azure"))]
        Location::Azure { .. } => Err(not_built(location, "azure")),
    }
}

#[cfg(not(all(feature = "s3", feature = "azure")))]
fn not_built(location: &Location, feature: &str) -> crate::Error {
    let message = format!("this build cannot talk to the store: store=`{location}`, feature=`{feature}`");
    crate::Error::new(crate::ErrorKind::Unsupported, message)
        .with_hint("build icecore with that feature, or use a `file://` store")
}
