//! Copies of the catalog in the log's archive, now and then (C6), and letting the older ones go.
//!
//! Owns: when one is due, and which there are: the catalog's value `archive.snapshot` tells the change that the last copy has, when it was made, and
//! all copies of ours that the store may have.
//!
//! # Order of operations, and why a crash between any two is safe
//!
//! 1. **Copy**: made locally, put, proven. A crash behind it leaves an object that no manifest names and nobody remembers: an orphan, which
//!    `verify --remote` tells.
//! 2. **Manifest** that names it. A crash behind it leaves a copy that counts, and one more is made.
//! 3. **Note**: the copy is on record, also where the manifest failed: it may be there.
//! 4. **Deletes** of older copies: only those that were followed by two others that manifests surely name, the first of them a grace period ago. So
//!    whoever read the manifests within that time finds what they name; a restore takes the newest, and one more is there. The archive
//!    is asked before whether it is ours still. A crash behind a delete leaves a copy on record that is gone: deleting it again is fine.
//! 5. **Note** of what is gone. What a store refuses to delete before a time (`archive.retain`) stays on record, and is tried behind that.

use std::time::Duration;

use super::target::{Target, told};
use super::{Pass, Shared, StoreFailure, Work};
use crate::archive::Entry;
use crate::archive::snapshot::snapshot_retained;
use crate::catalog::{Catalog, Mutation};
use crate::error::{Error, ErrorKind, Result};
use crate::objects::{ObjectErrorKind, ObjectKey, ObjectStore};
use crate::types::{ChangeNumber, Timestamp};

/// The name of the value.
const SNAPSHOT: &str = "archive.snapshot";
/// The kind of change of a small value.
const VALUE: &str = "meta.set";
/// Changes read at once.
const PAGE_CHANGES: usize = 100;
/// Newer copies that must be there before one goes.
const KEPT: usize = 2;

/// What is known of the copies.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Last {
    change: ChangeNumber,
    at: Timestamp,
    /// Oldest first.
    #[serde(default)]
    copies: Vec<Copy>,
}

/// A copy that the store may have.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Copy {
    key: String,
    at: Timestamp,
    /// A manifest surely names it.
    named: bool,
    /// The store refuses to delete it before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// Which may be deleted: those behind which there are enough others, for a grace period.
fn superseded(copies: &[Copy], now: Timestamp, grace: Duration) -> Vec<usize> {
    let may_go = |index: &usize| {
        let mut named = copies[index + 1..].iter().filter(|copy| copy.named);
        let first = named.next();
        let is_over = first.is_some_and(|first| first.at.saturating_add(grace) <= now);
        is_over && named.count() + 1 >= KEPT && copies[*index].until.is_none_or(|until| until <= now)
    };
    (0..copies.len()).filter(may_go).collect()
}

/// Whether anything changed that is worth a copy: small values are what is noted of copies, manifests and requests.
fn has_news(catalog: &dyn Catalog, since: ChangeNumber) -> Result<bool> {
    if since > catalog.change_number()? {
        // Of another catalog: this one was made anew, or is an older copy.
        return Ok(true);
    }
    let mut at = since;
    loop {
        let page = catalog.changes(at, PAGE_CHANGES)?;
        let Some(last) = page.last() else { return Ok(false) };
        at = last.number;
        if page.iter().any(|change| change.kind != VALUE) {
            return Ok(true);
        }
    }
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
        if pass.is_patient && work.copying.is_resting(self.options.clock.monotonic()) {
            return Ok(());
        }
        let last: Option<Last> = catalog.meta(SNAPSHOT)?.and_then(|text| serde_json::from_str(&text).ok());
        let now = self.options.clock.now();
        let is_due = last.as_ref().is_none_or(|last| {
            // Also where the clock was set back: one too many does no harm.
            let passed = now.micros().saturating_sub(last.at.micros());
            passed < 0 || u128::from(passed.unsigned_abs()) >= age.as_micros()
        });
        if !is_due || !has_news(&**catalog, last.as_ref().map_or(ChangeNumber(0), |last| last.change))? {
            return Ok(());
        }
        let mut copies = last.as_ref().map(|last| last.copies.clone()).unwrap_or_default();
        let until = self.options.retain.map(|retain| now.saturating_add(retain));
        let copied = self.log.staging_file("catalog").and_then(|staging| {
            let copy = snapshot_retained(&**catalog, &*target.store, &**self.log.file_system(), &staging, until)?;
            let change = copy.change;
            // The same bytes may have been archived before.
            copies.retain(|known| known.key != copy.key);
            copies.push(Copy { key: copy.key.clone(), at: now, named: false, until });
            let Some(claim) = &mut target.claim else {
                return Err(Error::new(ErrorKind::Internal, "the archive is not claimed"));
            };
            claim.commit(vec![Entry::Snapshot(copy)])?;
            Ok(change)
        });
        match copied {
            Ok(change) => {
                work.copying.succeeded();
                pass.report.manifests += 1;
                if let Some(newest) = copies.last_mut() {
                    newest.named = true;
                }
                let last = Last { change, at: now, copies };
                let mut mutations = vec![last.mutation()];
                mutations.extend(target.noted().map(|noted| noted.mutation(None)));
                self.log.change(&mutations, "a copy of the catalog archived")?;
                self.drop_copies(target, last, now)
            }
            Err(error) => {
                // Only this ends what is archived there. Anything else may be of the local disk, which archiving makes room on; a
                // store that fails is found out by the next segment.
                if error.kind() == ErrorKind::Fenced {
                    target.fail(&self.options, &error);
                }
                work.copying.failed(&self.options);
                let what = format!("the catalog could not be copied: {}", told(&error));
                pass.report.errors.push(StoreFailure { url: target.url.clone(), kind: error.kind(), error: what });
                let known = last.map_or((ChangeNumber(0), Timestamp(0)), |last| (last.change, last.at));
                if copies.last().is_some_and(|copy| !copy.named && copy.at == now) {
                    let last = Last { change: known.0, at: known.1, copies };
                    self.log.change(&[last.mutation()], "a copy of the catalog that no manifest may name")?;
                }
                Ok(())
            }
        }
    }

    /// Steps 4 and 5. What cannot be deleted now is tried behind the next copy.
    fn drop_copies(&self, target: &mut Target, mut last: Last, now: Timestamp) -> Result<()> {
        let Some(grace) = self.options.grace else { return Ok(()) };
        let superseded = superseded(&last.copies, now, grace);
        if superseded.is_empty() || self.stop.is_stopped() {
            return Ok(());
        }
        if let Some(claim) = &target.claim
            && let Err(error) = claim.still_ours()
        {
            if error.kind() == ErrorKind::Fenced {
                target.fail(&self.options, &error);
            }
            return Ok(());
        }
        let mut gone = Vec::new();
        for index in superseded {
            let key = &last.copies[index].key;
            match ObjectKey::new(key.clone()).map_err(Error::from).and_then(|key| Ok(target.store.delete(&key)?)) {
                Ok(()) => gone.push(index),
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    let source = source.and_then(|source| source.downcast_ref::<crate::objects::ObjectError>());
                    // Under a retention of the store's own, or without the right to delete: that is no trouble of the archive.
                    if source.is_some_and(|source| source.kind == ObjectErrorKind::Denied) {
                        tracing::info!(key, %error, "an older copy of the catalog is not deleted yet");
                    } else {
                        tracing::warn!(key, %error, "an older copy of the catalog could not be deleted");
                        break;
                    }
                }
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut index = 0;
        last.copies.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
        self.log.change(&[last.mutation()], "older copies of the catalog deleted").map(drop)
    }
}

impl Last {
    fn mutation(&self) -> Mutation {
        let value = serde_json::to_string(self).expect("numbers and text");
        Mutation::SetMeta { name: SNAPSHOT.into(), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(hours: i64, named: bool, until: Option<i64>) -> Copy {
        let hour = |hours: i64| Timestamp(hours * 3_600_000_000);
        Copy { key: format!("_catalog/{hours}"), at: hour(hours), named, until: until.map(hour) }
    }

    #[test]
    fn only_copies_with_two_named_ones_behind_them_go_after_the_grace_period() {
        let go = |copies: &[Copy], hours: i64| {
            superseded(copies, Timestamp(hours * 3_600_000_000), Duration::from_hours(10))
        };
        let named = |hours| copy(hours, true, None);
        assert_eq!(go(&[], 1000), [0; 0]);
        assert_eq!(go(&[named(0), named(1)], 1000), [0; 0], "two stay");
        assert_eq!(go(&[named(0), named(1), named(2)], 10), [0; 0], "the grace period is not over");
        assert_eq!(go(&[named(0), named(1), named(2)], 11), [0]);
        assert_eq!(go(&[named(0), named(1), named(2), named(3)], 11), [0]);
        assert_eq!(go(&[named(0), named(1), named(2), named(3)], 12), [0, 1]);
        // One that no manifest may name keeps no other from staying.
        let unsure = |hours| copy(hours, false, None);
        assert_eq!(go(&[named(0), unsure(1), unsure(2), named(3)], 1000), [0; 0]);
        assert_eq!(go(&[unsure(0), named(1), unsure(2), named(3)], 1000), [0]);
        let locked = copy(0, true, Some(500));
        assert_eq!(go(&[locked.clone(), named(1), named(2)], 499), [0; 0]);
        assert_eq!(go(&[locked, named(1), named(2)], 500), [0]);
    }

    #[test]
    fn what_was_noted_before_there_were_lists_is_read() {
        let last: Last = serde_json::from_str(r#"{"change":7,"at":5}"#).unwrap();
        assert_eq!(last.copies, []);
    }
}
