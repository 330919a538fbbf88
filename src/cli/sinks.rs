//! From settings to the sinks of a log.
//!
//! Owns: which sinks the settings name, and where each keeps its files: in the directory that its component is assigned to.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Context, Failure, logs};
use crate::config::SinkKind;
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "kv")]
use crate::kv::{KvOptions, KvStore};
use crate::log::Log;
use crate::sink::delivery::Running;
use crate::sink::{Sink, Sinks, SinksOptions};
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

fn open_one(context: &Context, log: &Log, kind: SinkKind) -> Result<Arc<dyn Sink>, Failure> {
    match kind {
        #[cfg(feature = "kv")]
        SinkKind::Kv => {
            let log = log.clone();
            let assign = move |name: &_| assigned(&log, crate::kv::COMPONENT, name);
            let cache_bytes = context.config.settings().kv.cache_bytes.0;
            Ok(Arc::new(KvStore::new(assign, KvOptions { cache_bytes, ..KvOptions::default() })))
        }
        _ => Err(left_out(kind)),
    }
}

/// The directory of a collection for a component.
fn assigned(log: &Log, component: &str, collection: &CollectionName) -> Result<PathBuf> {
    let assignment = log.assign(component, collection)?;
    let place = log.directories().into_iter().find(|(id, _)| *id == assignment.directory);
    place.map(|(_, path)| path).ok_or_else(|| {
        let message = format!(
            "the directory that a collection is assigned to is none of the log's: component=`{component}`, collection=`{collection}`, directory=`{}`",
            assignment.directory
        );
        Error::new(ErrorKind::Unavailable, message)
    })
}

fn left_out(kind: SinkKind) -> Failure {
    let message = format!("this program was built without the sink: sink=`{}`", kind.word());
    Failure::usage(message, "take it out of the setting `sinks`, or build with the feature of that name")
}
