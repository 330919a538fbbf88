//! From settings to object stores.
//!
//! Owns: what a setting is called in the library. Credentials are never settings: they come by each vendor's own ways.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, Failure};
use crate::archive::archiver::{self, Noted, Running};
use crate::archive::restore::alone::Alone;
use crate::archive::retention::Targets;
use crate::archive::{
    ArchiveReader, Archiver, ArchiverOptions, PriceTable, ReaderOptions, TargetStore, chain, salvage,
};
use crate::config::{Amount, RetainMode, Settings};
use crate::error::Error;
use crate::fs::FileSystem;
use crate::log::tier::{Archive, EvictRules};
use crate::log::{Log, LogOptions};
use crate::objects::options::{AzureOptions, S3Options};
use crate::objects::patient::{Patience, PatientStore, Stop};
use crate::objects::{LocalObjectStore, Location, ObjectStore, StoreOptions, open_store};
use crate::types::CollectionName;

/// Whoever waits at a terminal waits a minute.
const PATIENCE: Patience = Patience {
    tries: 5,
    span: Duration::from_mins(1),
    first_wait: Duration::from_millis(200),
    longest_wait: Duration::from_secs(10),
    breaker_failures: 12,
    breaker_rest: Duration::from_secs(30),
};

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

/// The same, asked again where it does not answer at once.
pub(super) fn open_patient(context: &Context, location: &Location) -> Result<Arc<dyn ObjectStore>, Failure> {
    let store = open(context, location)?;
    Ok(Arc::new(PatientStore::new(store, Arc::clone(&context.clock), PATIENCE, Stop::default())))
}

/// What records are read from that are only archived: the archive that the settings name, and the homes that the log has. `None` where there is
/// nothing of that.
pub(super) fn reader(context: &Context, log: &LogOptions) -> Result<Option<Arc<dyn Archive>>, Failure> {
    let settings = &context.config.settings().archive;
    // A directory that cannot be read is told by who opens the log.
    let remotes = log.remotes().unwrap_or_default();
    if settings.url.is_none() && remotes.is_empty() {
        return Ok(None);
    }
    let archive = settings.url.as_ref().map(|location| open_patient(context, location)).transpose()?;
    let mut reader = ArchiveReader::new(archive, ReaderOptions { cache_bytes: settings.cache_bytes.0 });
    for remote in remotes {
        // One that cannot be talked to stands in the way of its own segments only.
        match remote
            .url
            .parse::<Location>()
            .map_err(|error| crate::Error::from(error).into())
            .and_then(|location| open_patient(context, &location))
        {
            Ok(store) => reader = reader.with_remote(remote.directory, store),
            Err(Failure::Error(_, error)) => {
                tracing::warn!(store = remote.url, %error, "a home of segments cannot be read")
            }
            Err(closed) => return Err(closed),
        }
    }
    Ok(Some(Arc::new(reader)))
}

/// The stores that segments go to: the archive that the settings name, and the homes that the log has. A directory that is to be the archive
/// is made, where nothing was archived yet: later, one that is empty is a disk that is not mounted.
pub(super) fn targets(context: &Context, log: &Log, options: &LogOptions) -> Result<Vec<TargetStore>, Failure> {
    let mut targets = Vec::new();
    if let Some(location) = &context.config.settings().archive.url {
        if let Location::Local(path) = location
            && Noted::read(&**log.catalog(), None)?.is_none()
        {
            LocalObjectStore::create(super::logs::file_system(), path).map_err(Error::from)?;
        }
        let (url, store) = (absolute(location).to_string(), open(context, location)?);
        targets.push(TargetStore { remote: None, url, store });
    }
    for remote in options.remotes()? {
        let location: Location = remote.url.parse().map_err(Error::from)?;
        let store = open(context, &location)?;
        targets.push(TargetStore { remote: Some(remote.directory), url: remote.url, store });
    }
    Ok(targets)
}

/// Nobody else is known to have taken a store of the log over: what another machine may purge is kept here.
pub(super) fn must_be_ours(context: &Context, log: &Log) -> Result<(), Failure> {
    let catalog = &**log.catalog();
    if let Some(location) = &context.config.settings().archive.url {
        archiver::must_be_ours(catalog, None, &absolute(location).to_string())?;
    }
    for home in log.remotes() {
        archiver::must_be_ours(catalog, Some(&home.directory), &home.url)?;
    }
    Ok(())
}

/// The same place, wherever the program is started next.
fn absolute(location: &Location) -> Location {
    match location {
        Location::Local(path) => Location::Local(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        remote => remote.clone(),
    }
}

/// An archiver as the settings say.
pub(super) fn archiver(
    context: &Context,
    log: &Log,
    targets: Vec<TargetStore>,
    take_over: bool,
) -> Result<Archiver, Failure> {
    let all = context.config.settings();
    let settings = &all.archive;
    let options = ArchiverOptions {
        parallel: usize::try_from(settings.parallel).unwrap_or(usize::MAX),
        memory_bytes: settings.memory_bytes.0,
        bytes_per_second: settings.bandwidth.map(|bandwidth| bandwidth.0),
        attempt: settings.deadline,
        manifest_segments: usize::try_from(settings.batch).unwrap_or(usize::MAX),
        manifest_age: settings.batch_age,
        snapshot_age: Some(settings.snapshot_age),
        retain: settings.retain,
        part_bytes: settings.part_bytes.0,
        take_over,
        evict: evict_rules(all),
        grace: Some(all.retention.grace),
        clock: Arc::clone(&context.clock),
        ..ArchiverOptions::default()
    };
    Ok(Archiver::new(log, targets, options)?)
}

/// Archives beside the writer that `log` is, where the settings name an archive or the log has homes of segments. Stops when dropped.
pub(super) fn archive_beside(context: &Context, log: &Log, options: &LogOptions) -> Result<Option<Running>, Failure> {
    let targets = targets(context, log, options)?;
    if targets.is_empty() {
        return Ok(None);
    }
    Ok(Some(archiver(context, log, targets, false)?.start()?))
}

/// Which local copies go by the settings.
pub(super) fn evict_rules(settings: &Settings) -> EvictRules {
    EvictRules { after: settings.evict.after, above_bytes: settings.evict.above_bytes.map(|size| size.0) }
}

/// What the settings say that requests and bytes cost.
pub(super) fn prices(settings: &Settings) -> PriceTable {
    const GIB_PER_GB: f64 = 1e9 / (1u64 << 30) as f64;
    let price = &settings.price;
    let of = |amount: Option<Amount>| amount.map_or(0.0, |amount| amount.0);
    PriceTable {
        currency: price.currency.clone(),
        put_per_1000: of(price.put),
        get_per_1000: of(price.get),
        head_per_1000: of(price.get),
        list_per_1000: of(price.list),
        delete_per_1000: of(price.delete),
        out_per_gb: of(price.received_gib) * GIB_PER_GB,
        stored_per_gb_month: of(price.stored_gib_month) * GIB_PER_GB,
    }
}

/// The stores that a purge may delete from: taken over, as by an archiver.
pub(super) fn purge_targets(context: &Context, log: &Log) -> Result<Targets, Failure> {
    let settings = &context.config.settings().archive;
    let archive = settings.url.as_ref().map(|location| open_patient(context, location)).transpose()?;
    let mut remotes = Vec::new();
    for remote in super::logs::options(context)?.remotes()? {
        let location = remote.url.parse::<Location>().map_err(crate::Error::from)?;
        remotes.push((remote.directory, open_patient(context, &location)?));
    }
    Ok(Targets::take(log, archive, remotes, &context.clock, settings.retain)?)
}

/// The log that is only in the archive that the settings name.
pub(super) fn alone(context: &Context, only: Option<&CollectionName>, options: LogOptions) -> Result<Alone, Failure> {
    let store = open_patient(context, location(context)?)?;
    let remotes = homes(context, &*store, false)?;
    let name = format!("icecore-{}", crate::types::ids::hex(&context.clock.random()));
    let folder = std::env::temp_dir().join(name);
    let reader = ReaderOptions { cache_bytes: context.config.settings().archive.cache_bytes.0 };
    let only = only.map(std::slice::from_ref);
    Ok(Alone::open(&store, remotes, only, &folder, options, reader)?)
}

/// The homes of segments that an archive names, by their ids. One that cannot be talked to is left out, and told by who needs it.
pub(super) fn homes(
    context: &Context,
    archive: &dyn ObjectStore,
    salvages: bool,
) -> Result<BTreeMap<String, Arc<dyn ObjectStore>>, Failure> {
    let mut homes = BTreeMap::new();
    let state = if salvages { salvage::readable(archive)? } else { chain::state(archive)? };
    for (id, url) in state.remotes() {
        match url
            .parse::<Location>()
            .map_err(|error| crate::Error::from(error).into())
            .and_then(|location| open_patient(context, &location))
        {
            Ok(store) => drop(homes.insert(id.clone(), store)),
            Err(Failure::Error(_, error)) => {
                tracing::warn!(store = url, %error, "a home of segments cannot be read");
            }
            Err(closed) => return Err(closed),
        }
    }
    Ok(homes)
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
            governance: archive.retain_mode == RetainMode::Governed,
            ..S3Options::default()
        },
        azure: AzureOptions {
            endpoint: azure.endpoint.clone(),
            service_version: azure.service_version.clone(),
            unlocked: archive.retain_mode == RetainMode::Governed,
            ..AzureOptions::default()
        },
    }
}
