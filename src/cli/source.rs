//! What search reads besides the log: the columnar store, beside whoever writes to it.

use std::sync::Arc;

use super::Context;
use crate::log::Log;
use crate::search::Source;

/// The store of a log, to read.
#[cfg(feature = "store")]
pub(super) fn beside(context: &Context, log: &Log) -> Arc<dyn Source> {
    Arc::new(beside::StoreOfLog::new(log, Arc::clone(&context.clock)))
}

/// Nothing: this program was built without the store, and the log has everything.
#[cfg(not(feature = "store"))]
pub(super) fn beside(_: &Context, _: &Log) -> Arc<dyn Source> {
    Arc::new(crate::search::source::Nothing)
}

#[cfg(feature = "store")]
mod beside {
    use super::Arc;
    use crate::cli::logs;
    use crate::clock::Clock;
    use crate::error::{Error, ErrorKind, Result};
    use crate::log::Log;
    use crate::search::source::{Nothing, Source, View};
    use crate::store::{COMPONENT, ColumnarStore, DirectoryHomes, StoreOptions};
    use crate::types::CollectionName;

    /// The columnar store in the directories that collections are assigned to.
    #[derive(Debug)]
    pub struct StoreOfLog {
        log: Log,
        store: ColumnarStore,
    }

    impl StoreOfLog {
        pub fn new(log: &Log, clock: Arc<dyn Clock>) -> Self {
            let of = log.clone();
            let directory = move |collection: &CollectionName| {
                let assigned = of.catalog().assignment(COMPONENT, collection)?;
                let place = assigned.and_then(|assigned| {
                    of.directories().into_iter().find(|(id, _)| *id == assigned.directory).map(|(_, path)| path)
                });
                place.ok_or_else(|| {
                    let message =
                        format!("the directory of a collection's store is not there: collection=`{collection}`");
                    Error::new(ErrorKind::Unavailable, message)
                })
            };
            let homes = DirectoryHomes::to_read(logs::file_system(), directory);
            let options = StoreOptions { read_only: true, ..StoreOptions::default() };
            Self { log: log.clone(), store: ColumnarStore::new(log.id(), Arc::new(homes), clock, options) }
        }
    }

    impl Source for StoreOfLog {
        fn view(&self, collection: &CollectionName) -> Result<Arc<dyn View>> {
            if self.log.catalog().assignment(COMPONENT, collection)?.is_none() {
                // Nothing was delivered yet.
                return Ok(Arc::new(Nothing));
            }
            Source::view(&self.store, collection)
        }
    }
}
