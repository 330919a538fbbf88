//! Lends the right to write manifests to who purges: a claim of his own would fence the archiver of the same process.

use super::{Archiver, Noted};
use crate::archive::retention::{Target, Targets};
use crate::error::Result;
use crate::objects::ObjectStore;

impl Archiver {
    /// Lets `work` write manifests of the stores that were archived to before, while nothing else is archived.
    ///
    /// # Errors
    /// `Fenced` where a store is somebody else's now, or whatever keeps it from being written to; what the catalog said; what `work` said.
    pub fn with_claims<T>(&self, work: impl FnOnce(&mut Targets) -> Result<T>) -> Result<T> {
        let shared = &self.0;
        let mut inner = shared.work();
        let mut lent = Targets::default();
        for target in &mut inner.targets {
            if Noted::read(&**shared.log.catalog(), target.remote.as_deref())?.is_none() {
                continue;
            }
            if let Err(error) = target.open(&shared.log, &shared.options) {
                target.fail(&shared.options, &error);
                shared.show(&inner);
                return Err(error);
            }
        }
        for target in &mut inner.targets {
            let Some(claim) = target.claim.take() else { continue };
            let store = std::sync::Arc::clone(&target.store) as std::sync::Arc<dyn ObjectStore>;
            match &target.remote {
                None => lent.archive = Some(Target { store, claim }),
                Some(remote) => drop(lent.remotes.insert(remote.clone(), Target { store, claim })),
            }
        }
        let outcome = work(&mut lent);
        for target in &mut inner.targets {
            let back = match &target.remote {
                None => lent.archive.take(),
                Some(remote) => lent.remotes.remove(remote),
            };
            // One that did not come back is claimed anew.
            target.claim = back.map(|back| back.claim);
        }
        shared.show(&inner);
        outcome
    }
}
