//! What search reads besides the log: the columnar store, beside whoever writes to it.

use std::sync::Arc;

use super::{Context, Failure};
use crate::log::Log;
use crate::search::Source;

/// The store of a log, to read.
#[cfg(feature = "store")]
pub(super) fn beside(context: &Context, log: &Log) -> Result<Arc<dyn Source>, Failure> {
    use super::sinks;
    use crate::store::{ColumnarStore, StoreOptions};
    let options = StoreOptions { read_only: true, ..sinks::store_options(context) };
    let homes = sinks::store_homes(context, log, false)?;
    let store = ColumnarStore::new(log.id(), homes, Arc::clone(&context.clock), options);
    let is_assigned = context.config.settings().store.url.is_none();
    Ok(Arc::new(beside::StoreOfLog { log: log.clone(), store, fs: super::logs::file_system(), is_assigned }))
}

/// Nothing: this program was built without the store, and the log has everything.
#[cfg(not(feature = "store"))]
pub(super) fn beside(_: &Context, _: &Log) -> Result<Arc<dyn Source>, Failure> {
    Ok(Arc::new(crate::search::source::Nothing))
}

#[cfg(feature = "store")]
mod beside {
    use std::path::Path;

    use super::Arc;
    use crate::error::Result;
    use crate::fs::FileSystem;
    use crate::log::Log;
    use crate::objects::local::MARKER;
    use crate::search::source::{Nothing, Source, View};
    use crate::store::{COMPONENT, ColumnarStore, LOCAL_FOLDER};
    use crate::types::CollectionName;

    /// The columnar store, of which a collection may have nothing yet.
    #[derive(Debug)]
    pub struct StoreOfLog {
        pub log: Log,
        pub store: ColumnarStore,
        pub fs: Arc<dyn FileSystem>,
        /// Its files are in directories that the log assigns.
        pub is_assigned: bool,
    }

    impl StoreOfLog {
        /// Whether a directory has the folder of a store.
        fn is_made(&self, directory: &Path) -> Result<bool> {
            match self.fs.metadata(&directory.join(LOCAL_FOLDER).join(MARKER)) {
                Ok(_) => Ok(true),
                Err(error) if error.is_not_found() => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
    }

    impl Source for StoreOfLog {
        fn view(&self, collection: &CollectionName) -> Result<Arc<dyn View>> {
            if self.is_assigned {
                let Some(assignment) = self.log.catalog().assignment(COMPONENT, collection)? else {
                    // Nothing was delivered yet.
                    return Ok(Arc::new(Nothing));
                };
                match self.log.present_directory(&assignment.directory) {
                    // Assigned, and not made yet; or it was moved away, to be made anew.
                    Ok(path) if !self.is_made(&path)? => return Ok(Arc::new(Nothing)),
                    Ok(_) => {}
                    Err(error) => {
                        // The log has it all, or says what it lacks.
                        tracing::warn!(error = crate::error::chain(&error), "searching without the store's files");
                        return Ok(Arc::new(Nothing));
                    }
                }
            }
            Source::view(&self.store, collection)
        }
    }
}
