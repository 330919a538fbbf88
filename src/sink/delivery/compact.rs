//! What the log's compaction asks of the sinks: that each lets go of the same.

use super::Shared;
use crate::compaction::Order;
use crate::error::Result;
use crate::log::compact::{Copies, CopyCompacted};
use crate::types::CollectionName;

impl Copies for Shared {
    fn compact(&self, collection: &CollectionName, order: &mut Order<'_>) -> Vec<CopyCompacted> {
        let pace = &mut *order.pace;
        let mut order = Order {
            moment: order.moment,
            gain_percent: order.gain_percent,
            dry_run: order.dry_run,
            must_stay: order.must_stay,
            // Sinks that were stopped change nothing more.
            pace: &mut |bytes| !self.is_stopped() && pace(bytes),
        };
        let mut all = Vec::new();
        for line in self.lines.iter().filter(|_| !self.is_stopped()) {
            // A sink of which the catalog knows no cursor was given nothing: it is not to make a place for it now.
            let outcome = self.has_some(collection, line.name()).and_then(|has_some| match has_some {
                true => line.sink.compact(collection, &mut order),
                false => Ok(None),
            });
            if let Some(outcome) = outcome.transpose() {
                all.push(CopyCompacted::of(line.name(), outcome));
            }
        }
        all
    }
}

impl Shared {
    fn has_some(&self, collection: &CollectionName, sink: &str) -> Result<bool> {
        let subscribes = self.log.subscribers(collection)?.iter().any(|subscriber| subscriber == sink);
        Ok(subscribes && self.log.catalog().cursors(collection)?.iter().any(|cursor| cursor.sink == sink))
    }
}
