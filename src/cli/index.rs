//! What `get` reads besides the log: the index, where the collection has one that nobody has open.
//!
//! Without it, and where it cannot be used, the log alone has the answer: it is the same one, found by reading more.

use super::Context;
use crate::error::Result;
use crate::log::Log;
use crate::types::{CollectionName, Record};

/// The newest version of a key.
#[cfg(feature = "kv")]
pub(super) fn newest(context: &Context, log: &Log, collection: &CollectionName, key: &[u8]) -> Result<Option<Record>> {
    match by_index(context, log, collection, key) {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => {}
        // A writer has it open, or the disk is read-only: nothing is wrong with the log for that.
        Err(error) => {
            tracing::info!(%collection, error = crate::error::chain(&error), "the index was not used");
        }
    }
    log.get(collection, key, context.clock.now())
}

/// The same, by the log alone: this program was built without an index.
#[cfg(not(feature = "kv"))]
pub(super) fn newest(context: &Context, log: &Log, collection: &CollectionName, key: &[u8]) -> Result<Option<Record>> {
    log.get(collection, key, context.clock.now())
}

/// `None` where there is nothing to ask.
#[cfg(feature = "kv")]
fn by_index(context: &Context, log: &Log, collection: &CollectionName, key: &[u8]) -> Result<Option<Option<Record>>> {
    use crate::kv::{COMPONENT, NAME, look_up};
    if !log.subscribers(collection)?.iter().any(|sink| sink == NAME) {
        return Ok(None);
    }
    let Some(assignment) = log.assignment(COMPONENT, collection)? else { return Ok(None) };
    let directory = log.present_directory(&assignment.directory)?;
    let found = look_up(&directory, log, collection, key, context.clock.now())?;
    if found.is_some() {
        tracing::info!(%collection, directory = %directory.display(), "looked up in the index");
    }
    Ok(found)
}
