//! Lends the stores to a purge ([`retention`](crate::archive::retention)): a claim of its own would fence the archiver.

use std::sync::Arc;

use super::{Archiver, Noted, Shared, Work};
use crate::archive::retention::{Target as PurgeTarget, Targets};
use crate::error::{ErrorKind, Result};
use crate::log::Log;
use crate::objects::ObjectStore;

impl Archiver {
    /// Calls `work` with the log and the stores that can be reached and are still ours, between two passes. A store that cannot be
    /// opened now is left out.
    ///
    /// # Errors
    /// What `work` said, or the catalog.
    pub fn lend<T>(&self, work: impl FnOnce(&Log, &mut Targets) -> Result<T>) -> Result<T> {
        let lent = self.0.lend(&mut self.0.work(), work);
        // When what was begun is to go on, is known only now.
        self.0.log.wake_archivers();
        lent
    }
}

impl Shared {
    pub(super) fn lend<T>(&self, held: &mut Work, work: impl FnOnce(&Log, &mut Targets) -> Result<T>) -> Result<T> {
        let mut lent = Targets::default();
        for target in &mut held.targets {
            if target.claim.is_none() && Noted::read(&**self.log.catalog(), target.remote.as_deref())?.is_none() {
                // Nothing was ever archived there.
                continue;
            }
            if let Err(error) = target.open(&self.log, &self.options) {
                tracing::warn!(store = target.url, %error, "a store is left out of a purge");
                continue;
            }
            let Some(claim) = target.claim.take() else { continue };
            let store = Arc::clone(&target.store) as Arc<dyn ObjectStore>;
            let taken = PurgeTarget { store, claim };
            match &target.remote {
                None => lent.archive = Some(taken),
                Some(remote) => drop(lent.remotes.insert(remote.clone(), taken)),
            }
        }
        let done = work(&self.log, &mut lent);
        let mut notes = Vec::new();
        for target in &mut held.targets {
            let back = match &target.remote {
                None => lent.archive.take(),
                Some(remote) => lent.remotes.remove(remote),
            };
            let Some(back) = back else { continue };
            target.claim = Some(back.claim);
            notes.extend(target.noted().map(|noted| noted.mutation(target.remote.as_deref())));
            if let Err(error) = &done
                && error.kind() == ErrorKind::Fenced
                && target.claim.as_ref().is_some_and(|claim| claim.fenced_by().is_some())
            {
                target.fail(&self.options, error);
            }
        }
        self.note_fences(held)?;
        self.show(held);
        if done.is_ok() && !notes.is_empty() {
            self.log.change(&notes, "purged")?;
        }
        done
    }
}
