//! The fate of each record of a group (see the room).

use std::collections::HashMap;

use super::policy::{Moment, Reason, Seen};
use crate::segment::keys::xxh64;

/// Keys of a group in memory, their bookkeeping counted.
pub const KEY_BYTES_MAX: usize = 64 << 20;
/// What a key costs besides its bytes.
const KEY_OVERHEAD_BYTES: usize = 96;
/// Another seed than the key filters have: the keys of a part are spread over a filter as others are.
const PART_SEED: u64 = 0x1ce_c04e;

/// Which keys of a group are gone through at once: those whose hash leaves `number` when divided by `of`. Records without a key belong to
/// the first part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which part.
    pub number: u64,
    /// How many parts.
    pub of: u64,
}

impl Part {
    /// All keys at once.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// Whether a record is of this part.
    #[must_use]
    pub fn has(self, key: Option<&[u8]>) -> bool {
        match key {
            _ if self.of == 1 => true,
            None => self.number == 0,
            Some(key) => xxh64(key, PART_SEED) % self.of == self.number,
        }
    }
}

/// A group has more keys than may be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyKeys;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Stays,
    /// It goes, and why.
    Goes(Reason),
}

/// What is known of one key.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Versions in the group.
    versions: u32,
    /// Of these, which one, counted from 1, is the newest tombstone behind its grace; 0 for none.
    deleted: u32,
    /// Newer versions outside the group, as far as they count.
    newer: u32,
    /// A newer tombstone outside the group is behind its grace.
    is_deleted_later: bool,
    /// A tombstone or an expired record is among them.
    asks_for_older: bool,
    /// Something older outside the group may have the key.
    has_older: bool,
    /// How many versions were decided about.
    decided: u32,
    /// Something of the group, older than what is decided next, stays.
    stays: bool,
}

/// The keys of a group, or of a part of it. Records are told in order of sequence.
#[derive(Debug)]
pub struct Versions {
    moment: Moment,
    part: Part,
    bytes_max: usize,
    bytes: usize,
    known: HashMap<Box<[u8]>, Known>,
    /// Keys that too few newer versions are known of.
    unsatisfied: usize,
    /// Something older may have any key.
    older_unknown: bool,
    /// Records without a key that could go.
    has_expired: bool,
}

impl Versions {
    /// Of nothing yet. `bytes_max`: at most so many bytes of keys.
    #[must_use]
    pub fn new(moment: Moment, part: Part, bytes_max: usize) -> Self {
        Self {
            moment,
            part,
            bytes_max,
            bytes: 0,
            known: HashMap::new(),
            unsatisfied: 0,
            older_unknown: false,
            has_expired: false,
        }
    }

    /// Pass 1: a record of the group.
    ///
    /// # Errors
    /// [`TooManyKeys`]: the group is to be made smaller.
    pub fn note(&mut self, record: &Seen<'_>) -> Result<(), TooManyKeys> {
        if !self.part.has(record.key) {
            return Ok(());
        }
        let is_behind_grace = self.moment.is_behind_grace(record);
        let is_expired = !record.is_delete && self.moment.is_expired(record);
        let Some(key) = record.key else {
            self.has_expired |= is_behind_grace || is_expired;
            return Ok(());
        };
        if !self.known.contains_key(key) {
            self.bytes += key.len() + KEY_OVERHEAD_BYTES;
            if self.bytes > self.bytes_max && !self.known.is_empty() {
                return Err(TooManyKeys);
            }
            self.known.insert(key.into(), Known::default());
            self.unsatisfied += usize::from(self.moment.versions().is_some());
        }
        let known = self.known.get_mut(key).expect("it is there, or was put there");
        known.versions = known.versions.saturating_add(1);
        if is_behind_grace {
            known.deleted = known.versions;
        }
        let may_go = is_behind_grace || (record.is_delete && self.moment.versions().is_some());
        known.asks_for_older |= is_expired || may_go;
        Ok(())
    }

    /// Whether anything of the group could go, by what pass 1 saw: if not, no other pass is needed.
    #[must_use]
    pub fn may_go(&self) -> bool {
        self.has_expired || self.unsatisfied > 0 || self.known.values().any(|known| known.asks_for_older)
    }

    /// Whether pass 2 can still change anything.
    #[must_use]
    pub const fn wants_newer(&self) -> bool {
        self.unsatisfied > 0
    }

    /// Whether a newer segment, of which `may_hold` tells the keys that it may hold, can change anything.
    #[must_use]
    pub fn wants_newer_of(&self, may_hold: impl Fn(&[u8]) -> bool) -> bool {
        let Some(enough) = self.moment.versions() else { return false };
        self.wants_newer() && self.known.iter().any(|(key, known)| u64::from(known.newer) < enough && may_hold(key))
    }

    /// Pass 2: a record of a newer segment.
    pub fn note_newer(&mut self, record: &Seen<'_>) {
        let Some(enough) = self.moment.versions() else { return };
        let Some(known) = record.key.and_then(|key| self.known.get_mut(key)) else { return };
        known.is_deleted_later |= self.moment.is_behind_grace(record);
        if u64::from(known.newer) < enough {
            known.newer += 1;
            self.unsatisfied -= usize::from(u64::from(known.newer) == enough);
        }
    }

    /// Pass 3: nobody knows what something older holds.
    pub const fn older_is_unknown(&mut self) {
        self.older_unknown = true;
    }

    /// Whether pass 3 can still change anything.
    #[must_use]
    pub fn wants_older(&self) -> bool {
        self.wants_older_of(|_| true)
    }

    /// Whether an older segment, of which `may_hold` tells the keys that it may hold, can change anything.
    #[must_use]
    pub fn wants_older_of(&self, may_hold: impl Fn(&[u8]) -> bool) -> bool {
        !self.older_unknown
            && self.known.iter().any(|(key, known)| known.asks_for_older && !known.has_older && may_hold(key))
    }

    /// Pass 3: something older has this key.
    pub fn note_older(&mut self, key: &[u8]) {
        if let Some(known) = self.known.get_mut(key) {
            known.has_older = true;
        }
    }

    /// Pass 3: something older may hold the keys that `may_hold` does not deny, and cannot be asked more.
    pub fn older_may_hold(&mut self, may_hold: impl Fn(&[u8]) -> bool) {
        for (key, known) in &mut self.known {
            known.has_older |= known.asks_for_older && may_hold(key);
        }
    }

    /// Pass 4 begins, or begins again.
    pub fn begin(&mut self) {
        for known in self.known.values_mut() {
            (known.decided, known.stays) = (0, false);
        }
    }

    /// Pass 4: the fate of a record of the group; `None` for one that is of another part. `is_fixed`: it stays whatever the policy says, since
    /// its segment does.
    pub fn decide(&mut self, record: &Seen<'_>, is_fixed: bool) -> Option<Fate> {
        if !self.part.has(record.key) {
            return None;
        }
        if is_fixed {
            if let Some(known) = record.key.and_then(|key| self.known.get_mut(key)) {
                known.decided = known.decided.saturating_add(1);
                known.stays = true;
            }
            return Some(Fate::Stays);
        }
        let is_behind_grace = self.moment.is_behind_grace(record);
        let is_expired = !record.is_delete && self.moment.is_expired(record);
        let Some(known) = record.key.and_then(|key| self.known.get_mut(key)) else {
            // Without a key it hides nothing, and is no version of anything.
            return Some(match (is_expired, is_behind_grace) {
                (true, _) => Fate::Goes(Reason::Expired),
                (_, true) => Fate::Goes(Reason::Tombstone),
                _ => Fate::Stays,
            });
        };
        known.decided = known.decided.saturating_add(1);
        let newer = u64::from(known.versions.saturating_sub(known.decided)) + u64::from(known.newer);
        let is_hidden = known.is_deleted_later || known.decided < known.deleted;
        let limit = self.moment.versions();
        let is_beyond = limit.is_some_and(|keep| newer >= keep || is_hidden);
        let nothing_older = !known.stays && !known.has_older && !self.older_unknown;
        let fate = if record.is_delete {
            // Whatever else stays: something older could show through when what is newer goes one day.
            match (is_behind_grace || is_beyond) && nothing_older {
                true if is_beyond && !is_behind_grace => Fate::Goes(Reason::Version),
                true => Fate::Goes(Reason::Tombstone),
                false => Fate::Stays,
            }
        } else if is_beyond {
            Fate::Goes(Reason::Version)
        } else if is_expired && (newer > 0 || nothing_older) {
            Fate::Goes(Reason::Expired)
        } else {
            Fate::Stays
        };
        known.stays |= fate == Fate::Stays;
        Some(fate)
    }
}
