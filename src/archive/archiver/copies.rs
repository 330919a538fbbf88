//! Copies of the catalog in the log's archive, now and then (C6).
//!
//! Owns: when one is due, which the catalog's value `archive.snapshot` tells: the change that the last copy has, and when it was made.
//!
//! Crash safety: copy, manifest, note. A crash behind the copy leaves an object that no manifest names; behind the manifest, a copy that
//! counts and is made once more.

use super::target::told;
use super::{Pass, Shared, StoreFailure, Work};
use crate::archive::{Entry, snapshot};
use crate::catalog::Mutation;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{ChangeNumber, Timestamp};

/// The name of the value.
const SNAPSHOT: &str = "archive.snapshot";

/// What is known of the last copy.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Last {
    change: ChangeNumber,
    at: Timestamp,
}

impl Shared {
    /// Archives a copy, where one is due, and the archive is ours already.
    pub(super) fn copy_catalog(&self, work: &mut Work, pass: &mut Pass<'_>) -> Result<()> {
        let (Some(age), catalog) = (self.options.snapshot_age, self.log.catalog()) else { return Ok(()) };
        let Some((index, target)) = work.targets.iter_mut().enumerate().find(|(_, target)| target.remote.is_none())
        else {
            return Ok(());
        };
        if target.claim.is_none() || pass.down.contains(&index) || self.stop.is_stopped() || catalog.engine().is_none()
        {
            return Ok(());
        }
        let last: Option<Last> = catalog.meta(SNAPSHOT)?.and_then(|text| serde_json::from_str(&text).ok());
        let now = self.options.clock.now();
        let is_due = last.is_none_or(|last| {
            // Also where the clock was set back: one too many does no harm.
            let passed = now.micros().saturating_sub(last.at.micros());
            passed < 0 || u128::from(passed.unsigned_abs()) >= age.as_micros()
        });
        let newest = catalog.change_number()?;
        // Noting the copy is a change, too.
        let is_new = last.is_none_or(|last| newest.get() > last.change.get() + 1);
        if !is_due || !is_new {
            return Ok(());
        }
        let copied = self.log.staging_file("catalog").and_then(|staging| {
            let copy = snapshot(&**catalog, &*target.store, &**self.log.file_system(), &staging)?;
            let change = copy.change;
            let Some(claim) = &mut target.claim else {
                return Err(Error::new(ErrorKind::Internal, "the archive is not claimed"));
            };
            claim.commit(vec![Entry::Snapshot(copy)])?;
            Ok(change)
        });
        match copied {
            Ok(change) => {
                pass.report.manifests += 1;
                let value = serde_json::to_string(&Last { change, at: now }).expect("numbers");
                let mut mutations = vec![Mutation::SetMeta { name: SNAPSHOT.into(), value }];
                mutations.extend(target.noted().map(|noted| noted.mutation(None)));
                self.log.change(&mutations, "a copy of the catalog archived").map(drop)
            }
            Err(error) => {
                // Only this ends what is archived there. Anything else may be of the local disk, which archiving makes room on; a
                // store that fails is found out by the next segment.
                if error.kind() == ErrorKind::Fenced {
                    target.fail(&self.options, &error);
                }
                let what = format!("the catalog could not be copied: {}", told(&error));
                pass.report.errors.push(StoreFailure { url: target.url.clone(), kind: error.kind(), error: what });
                Ok(())
            }
        }
    }
}
