//! Copies of a collection that compact along: what the log asks of sinks, which it does not know.

use std::fmt;
use std::sync::{Arc, PoisonError, Weak};

use super::{CollectionCompacted, Compactions, Work, chain};
use crate::compaction::{Freed, Moment, Order};
use crate::error::Result;
use crate::log::Log;
use crate::types::{CollectionName, Sequence};

/// Whoever keeps copies of collections, and can let go of what the log's policy lets go.
pub trait Copies: Send + Sync + fmt::Debug {
    /// Compacts the copies of a collection, each by itself: one that fails ends no other. Those that keep no old versions are not in the answer.
    fn compact(&self, collection: &CollectionName, order: &mut Order<'_>) -> Vec<CopyCompacted>;
}

/// What became of a copy of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CopyCompacted {
    /// Whose: the name of the sink.
    pub sink: String,
    /// What it freed, and what ended it early, where something did.
    #[serde(flatten)]
    pub freed: Freed,
}

impl Log {
    /// From now on [`compact`](Self::compact), and compaction by itself, asks these too, as long as they are there.
    pub(crate) fn compact_along(&self, copies: Weak<dyn Copies>) {
        *self.0.compactions.copies.lock().unwrap_or_else(PoisonError::into_inner) = Some(copies);
    }
}

impl Compactions {
    fn copies(&self) -> Option<Arc<dyn Copies>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()
    }
}

impl Work<'_> {
    /// The copies of a collection, behind its segments. Nothing that holds for these holds for them: what is archived, or in a journal still, is as it
    /// was, whatever a copy lets go. Only what nobody may take away stays there too.
    ///
    /// # Errors
    /// What the catalog said.
    pub fn copies(&mut self, done: &mut CollectionCompacted) -> Result<()> {
        let log = self.log;
        let Some(copies) = log.compactions.copies() else { return Ok(()) };
        let name = done.collection.clone();
        let policy = log.stored_settings(&name)?.compaction.or(log.options.compaction).policy();
        let must_stay = |first: Sequence, last: Sequence| -> Result<Option<String>> {
            let settings = log.stored_settings(&name)?;
            Ok(settings.unknown_compaction().map(not_understood).or_else(|| settings.held(first, last)))
        };
        let pace = &mut self.pace;
        let mut order = Order {
            moment: Moment { policy, now: self.now },
            gain_percent: self.options.gain_percent,
            dry_run: self.options.dry_run,
            must_stay: &must_stay,
            pace: &mut |bytes| pace.take(bytes),
        };
        done.sinks = copies.compact(&name, &mut order);
        Ok(())
    }
}

/// Why nothing of a collection may go that has such a setting.
pub(super) fn not_understood(key: &str) -> String {
    format!("the collection has a setting that this program does not understand: key=`{key}`")
}

impl CopyCompacted {
    /// Of an outcome: one that failed outright freed nothing.
    pub(crate) fn of(sink: &str, outcome: Result<Freed>) -> Self {
        let freed = outcome.unwrap_or_else(|error| Freed { failed: Some(chain(&error)), ..Freed::default() });
        Self { sink: sink.to_owned(), freed }
    }
}
