//! From settings to object stores.
//!
//! Owns: what a setting is called in the library. Credentials are never settings: they come by each vendor's own ways.

use std::sync::Arc;

use super::{Context, Failure};
use crate::config::Settings;
use crate::fs::FileSystem;
use crate::objects::options::{AzureOptions, S3Options};
use crate::objects::{Location, ObjectStore, StoreOptions, open_store};

/// The archive that the settings name; a usage error where they name none.
pub(super) fn location(context: &Context) -> Result<&Location, Failure> {
    context.config.settings().archive.url.as_ref().ok_or_else(|| {
        Failure::usage(
            "no archive was given",
            "name it with --archive URL, ICECORE_ARCHIVE, or archive.url in icecore.toml",
        )
    })
}

/// The store at a location, as the settings say that stores are reached.
pub(super) fn open(context: &Context, location: &Location) -> Result<Arc<dyn ObjectStore>, Failure> {
    let fs: Arc<dyn FileSystem> = super::logs::file_system();
    Ok(open_store(location, &options(context.config.settings()), &fs, &context.clock)?)
}

/// What the settings say of how stores are reached.
pub(super) fn options(settings: &Settings) -> StoreOptions {
    let (archive, s3, azure) = (&settings.archive, &settings.s3, &settings.azure);
    StoreOptions {
        connect_timeout: archive.connect_timeout,
        request_timeout: archive.request_timeout,
        multipart_bytes: archive.multipart_bytes.0,
        part_bytes: archive.part_bytes.0,
        ca_file: archive.ca_file.clone(),
        storage_class: archive.storage_class.clone(),
        s3: S3Options {
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            path_style: s3.path_style,
            profile: s3.profile.clone(),
            ..S3Options::default()
        },
        azure: AzureOptions {
            endpoint: azure.endpoint.clone(),
            service_version: azure.service_version.clone(),
            ..AzureOptions::default()
        },
    }
}
