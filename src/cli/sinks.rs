//! From settings to the sinks of a log.
//!
//! Owns: which sinks the settings name, and where each keeps its files: in the directory that its component is assigned to.

use std::sync::Arc;

use super::{Context, Failure, logs};
use crate::config::SinkKind;
use crate::log::Log;
use crate::sink::delivery::Running;
use crate::sink::{Sink, Sinks, SinksOptions};

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

fn open_one(_context: &Context, _log: &Log, kind: SinkKind) -> Result<Arc<dyn Sink>, Failure> {
    let message = format!("this program was built without the sink: sink=`{}`", kind.word());
    Err(Failure::usage(message, "take it out of the setting `sinks`, or build with the feature of that name"))
}
