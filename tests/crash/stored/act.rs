//! The steps.

use icecore::clock::Clock;
use icecore::log::compact::CompactOptions;
use icecore::{Error, ErrorKind, Log};

use super::{Compacting, Delivery, LATE, Readers, check_disk, check_flushed, compacting};
use crate::kept::Kept;
use crate::model::name;
use crate::workload::{Broken, World, absent, read_all};

impl<C: Kept> World<C> {
    pub fn deliver(
        &self,
        how: impl FnOnce(&Delivery) -> Result<Option<Error>, Broken>,
    ) -> Result<Option<Error>, Broken> {
        let Some(delivery) = &self.delivery else { return Ok(None) };
        let failed = how(delivery)?.filter(|error| error.kind() != ErrorKind::NotFound);
        check_disk(&self.setup, &self.fs, &*self.catalog, &self.model())?;
        Ok(failed)
    }

    pub fn flush(&self, log: &Log, collection: Option<usize>) -> Result<Option<Error>, Broken> {
        let failed = self.deliver(|delivery| delivery.flush(log, collection))?;
        if failed.is_none() {
            self.model().synced();
        }
        if failed.is_none() && collection.is_none() && self.setup.stored.sinks > 0 {
            let (found, model) = (read_all(log)?, self.model().clone());
            check_flushed(&self.setup, &self.fs, log, (&model, &found), false)?;
        }
        Ok(failed)
    }

    /// Compacts everything. Somebody who reads meanwhile gets each record once, in order, and whatever stays.
    pub fn compact(&mut self, log: &Log, read: bool) -> Result<Option<Error>, Broken> {
        let compacting = compacting(&self.setup, log, self.clock.now())?;
        self.compact_as(log, compacting, read, &mut || {})
    }

    /// As it was found to begin; `meanwhile` is called now and then.
    pub fn compact_as(
        &mut self,
        log: &Log,
        compacting: Compacting,
        read: bool,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Option<Error>, Broken> {
        let readers = if read { Readers::begin(log, &compacting)? } else { Readers::default() };
        self.model().compacts(compacting);
        let outcome = log.compact(&CompactOptions::default(), &mut |_| {
            meanwhile();
            true
        });
        let found = read_all(log)?;
        let gone = self.model().compacted(&found)?;
        readers.end(&found)?;
        self.compacted += gone;
        match outcome {
            Ok(report) if report.removed().total() != gone => {
                Err(format!("`{gone}` records went, and this is told: {report:?}"))
            }
            Ok(_) => Ok(None),
            Err(error) => Ok(Some(error)),
        }
    }

    pub fn subscribe(&self, log: &Log, collection: usize, to_late: bool) -> Result<(), Error> {
        let sinks: Vec<&str> = self.setup.stored.names().iter().copied().filter(|name| *name != LATE).collect();
        let sinks = if to_late { String::new() } else { sinks.join(",") };
        log.set_collection_settings(&name(collection), |own| own.set("sinks", &sinks).expect("a good setting"))
            .map(drop)
            .or_else(absent)
    }
}
