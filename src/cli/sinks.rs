//! From settings to the sinks of a log.
//!
//! Owns: which sinks the settings name, and where each keeps its files: in the directory that its component is assigned to.

#[cfg(any(feature = "kv", feature = "store"))]
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "store")]
use super::stores;
use super::{Context, Failure, logs};
use crate::config::SinkKind;
use crate::error::Result;
#[cfg(feature = "store")]
use crate::error::{Error, ErrorKind};
#[cfg(feature = "kv")]
use crate::kv::{KvFiles, KvOptions, KvStore};
use crate::log::Log;
use crate::log::directories::ComponentFiles;
use crate::sink::delivery::Running;
use crate::sink::{Sink, Sinks, SinksOptions};
#[cfg(feature = "store")]
use crate::store::{ColumnarStore, DirectoryHomes, Home, Homes, REMOTE_PREFIX, StoreFiles, StoreOptions};
#[cfg(any(feature = "kv", feature = "store"))]
use crate::types::CollectionName;

/// The sinks that the settings name; `None` where they name none.
pub(super) fn open(context: &Context, log: &Log) -> Result<Option<Sinks>, Failure> {
    let kinds = &context.config.settings().sinks.0;
    if kinds.is_empty() {
        return Ok(None);
    }
    let sinks = kinds.iter().map(|kind| open_one(context, log, *kind)).collect::<Result<Vec<_>, _>>()?;
    let options = SinksOptions { clock: Arc::clone(&context.clock), ..SinksOptions::default() };
    Ok(Some(Sinks::new(log, sinks, options).map_err(logs::explain)?))
}

/// The sinks beside appends, as [`open`] gives them, at work.
pub(super) fn beside(context: &Context, log: &Log) -> Result<Option<Running>, Failure> {
    open(context, log)?.map(|sinks| sinks.start().map_err(logs::explain)).transpose()
}

#[cfg_attr(not(any(feature = "kv", feature = "store")), expect(unused_variables, reason = "no sink was built in"))]
fn open_one(context: &Context, log: &Log, kind: SinkKind) -> Result<Arc<dyn Sink>, Failure> {
    match kind {
        #[cfg(feature = "kv")]
        SinkKind::Kv => {
            let log = log.clone();
            let assign = move |name: &_| assigned(&log, crate::kv::COMPONENT, name);
            let cache_bytes = context.config.settings().kv.cache_bytes.0;
            Ok(Arc::new(KvStore::new(assign, KvOptions { cache_bytes, ..KvOptions::default() })))
        }
        #[cfg(feature = "store")]
        SinkKind::Store => {
            let options = store_options(context);
            Ok(Arc::new(ColumnarStore::new(
                log.id(),
                store_homes(context, log, true)?,
                Arc::clone(&context.clock),
                options,
            )))
        }
        #[cfg(not(all(feature = "store", feature = "kv")))]
        _ => Err(left_out(kind)),
    }
}

/// How the settings say that the columnar store works.
#[cfg(feature = "store")]
pub(super) fn store_options(context: &Context) -> StoreOptions {
    let settings = &context.config.settings().store;
    StoreOptions {
        file_bytes: settings.file_bytes.0,
        merge_files: usize::try_from(settings.merge_files).unwrap_or(usize::MAX),
        footer_bytes: usize::try_from(settings.footer_bytes.0).unwrap_or(usize::MAX),
        ..StoreOptions::default()
    }
}

/// Where the columnar store's files are: in the object store that the settings name, or else in the directories that the component is assigned to.
#[cfg(feature = "store")]
pub(super) fn store_homes(context: &Context, log: &Log, writes: bool) -> Result<Arc<dyn Homes>, Failure> {
    if let Some(location) = &context.config.settings().store.url {
        let store = stores::open_patient(context, location)?;
        return Ok(Arc::new(Home::below(store, REMOTE_PREFIX)?));
    }
    let (of, fs) = (log.clone(), logs::file_system());
    Ok(Arc::new(if writes {
        DirectoryHomes::to_write(fs, move |name| assigned(&of, crate::store::COMPONENT, name))
    } else {
        DirectoryHomes::to_read(fs, move |name| {
            let standing = of.assignment(crate::store::COMPONENT, name)?;
            let none = || Error::new(ErrorKind::NotFound, format!("nothing was delivered yet: collection=`{name}`"));
            of.present_directory(&standing.ok_or_else(none)?.directory)
        })
    }))
}

/// The directory of a collection for a component, which is there.
#[cfg(any(feature = "kv", feature = "store"))]
fn assigned(log: &Log, component: &str, collection: &CollectionName) -> Result<PathBuf> {
    // What stands is asked first: a collection that was deleted still has files there, which are to go.
    let standing = log.assignment(component, collection)?;
    let standing = standing.filter(|row| log.directories().iter().any(|(id, _)| *id == row.directory));
    let assignment = standing.map_or_else(|| log.assign(component, collection), Ok)?;
    log.present_directory(&assignment.directory)
}

/// What the sinks that are built in keep in directories, whether the settings name them or not: for who empties one.
pub(super) fn components(context: &Context) -> Vec<Arc<dyn ComponentFiles>> {
    let mut all: Vec<Arc<dyn ComponentFiles>> = Vec::new();
    #[cfg(feature = "kv")]
    {
        let cache_bytes = context.config.settings().kv.cache_bytes.0;
        all.push(Arc::new(KvFiles::new(KvOptions { cache_bytes, ..KvOptions::default() })));
    }
    #[cfg(feature = "store")]
    all.push(Arc::new(StoreFiles::new(logs::file_system())));
    let _ = context;
    all
}

#[cfg(not(all(feature = "store", feature = "kv")))]
fn left_out(kind: SinkKind) -> Failure {
    let message = format!("this program was built without the sink: sink=`{}`", kind.word());
    Failure::usage(message, "take it out of the setting `sinks`, or build with the feature of that name")
}
