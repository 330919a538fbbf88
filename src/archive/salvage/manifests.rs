//! What those manifests say that can be read.

use super::{Found, UnreadableManifests};
use crate::archive::chain::{list, missing, read_one};
use crate::archive::manifest::{Entry, Manifest, ManifestNumber};
use crate::archive::state::ArchiveState;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::ObjectStore;

struct Reading<'a> {
    found: Found,
    remote: Option<&'a str>,
    /// Read, and not taken in: the one behind it may name other bytes in its place.
    pending: Option<Manifest>,
    /// What was taken in is all that was told up to there.
    is_complete: bool,
    /// It was all before the last one that could not be read.
    was_complete: bool,
}

/// Reads all manifests from the first on.
pub(super) fn read(store: &dyn ObjectStore, remote: Option<&str>) -> Result<Found> {
    let mut reading = Reading { found: Found::default(), remote, pending: None, is_complete: true, was_complete: true };
    let mut expected = ManifestNumber::FIRST;
    list(store, None, &mut |number, _| {
        if number != expected {
            let last = number.previous().unwrap_or(expected);
            reading.unreadable(expected, last, "it is not there".to_owned());
        }
        expected = number.next();
        reading.found.newest_listed = Some(number);
        match read_one(store, number).and_then(|found| found.ok_or_else(|| missing(store, number))) {
            Ok(manifest) => reading.next(manifest),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                reading.unreadable(number, number, error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    })?;
    reading.take_pending();
    if reading.found.newest_listed.is_none() {
        reading.unreadable(ManifestNumber::FIRST, ManifestNumber::FIRST, "there is no manifest".to_owned());
    }
    Ok(reading.found)
}

impl Reading<'_> {
    fn unreadable(&mut self, first: ManifestNumber, last: ManifestNumber, reason: String) {
        self.take_pending();
        self.note(first, last, reason);
    }

    fn note(&mut self, first: ManifestNumber, last: ManifestNumber, reason: String) {
        self.was_complete = self.is_complete;
        self.is_complete = false;
        let remote = self.remote.map(str::to_owned);
        self.found.unreadable.push(UnreadableManifests { remote, first, last, reason, is_told_anew: false });
    }

    fn next(&mut self, manifest: Manifest) -> Result<()> {
        let log = self.pending.as_ref().map(|pending| pending.head.log).or(self.found.state.log());
        if let Some(log) = log.filter(|log| *log != manifest.head.log) {
            let (number, other) = (manifest.head.number, manifest.head.log);
            let message = format!("a manifest is of another log: manifest=`{number}`, log=`{other}`, expected=`{log}`");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("move away the manifests that are not this log's, then try again"));
        }
        let names_others = self.pending.as_ref().is_some_and(|pending| {
            manifest.head.number == pending.head.number.next()
                && manifest.head.previous.is_some_and(|previous| previous != pending.mark.sha256)
        });
        if names_others && let Some(replaced) = self.pending.take() {
            let number = replaced.head.number;
            self.note(number, number, "it is not the one that the next one stands behind".to_owned());
        }
        self.take_pending();
        // Where it was a checkpoint, which the one behind it tells, it told nothing new, unless the chain began anew with it.
        let base = manifest.head.base;
        if let Some(unreadable) = self.found.unreadable.last_mut()
            && self.was_complete
            && (unreadable.first, unreadable.last) == (base, base)
            && base.next() == manifest.head.number
            && base != manifest.head.begins
        {
            unreadable.is_told_anew = true;
            self.is_complete = true;
        }
        self.pending = Some(manifest);
        Ok(())
    }

    /// Takes in the one before: nothing spoke against it.
    fn take_pending(&mut self) {
        let Some(manifest) = self.pending.take() else { return };
        let Found { state, removed, .. } = &mut self.found;
        for entry in &manifest.entries {
            match entry {
                Entry::Removed(gone) => drop(removed.insert(gone.key.to_string())),
                Entry::Added(added) => drop(removed.remove(added.object_key().as_str())),
                _ => {}
            }
        }
        let is_first = state.head().is_none();
        let tells_all = manifest.head.checkpoint && (!self.is_complete || is_first || manifest.head.begins_anew());
        let before = if tells_all { state.clone() } else { ArchiveState::new() };
        state.take_over_damage(manifest, tells_all);
        if tells_all {
            for segment in before.segments().filter(|segment| state.segment(&segment.segment) != Some(segment)) {
                removed.insert(segment.object_key().to_string());
            }
            self.is_complete = true;
            self.found.unreadable.iter_mut().for_each(|unreadable| unreadable.is_told_anew = true);
        }
    }
}
