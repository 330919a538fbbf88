//! Which directory a collection goes to (DESIGN section 7).
//!
//! Owns: the policies. Pure: knows directories by their ids and figures, and touches no file. What was decided, and where a
//! collection is now, the catalog knows: an assignment is made once for each component, and stays (sticky). Which
//! directories may be chosen at all, and what they hold, `log::assign` says.
//!
//! A policy decides for new collections only, and from what there is now, not from what it decided before: so it gives
//! the same answer after a restart, and a directory that was added catches up.

mod hash;
#[cfg(test)]
mod tests;

use crate::types::CollectionName;

/// How a directory is chosen for a new collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The directory with the fewest collections; of equals, the first. Ten collections on four directories give 3, 3, 2, 2.
    #[default]
    RoundRobin,
    /// By the names of the collection and of the directories alone, so that the same set of directories gives the same
    /// answer anywhere. Adding or taking away a directory changes the answer of as few names as can be.
    Hash,
    /// The directory with the fewest bytes; of equals, the first. A collection without bytes counts as many as those that
    /// have some have on average, one where none has any. A directory that has less than a [quarter](TIGHT) of the free
    /// space of the one that has most is not chosen.
    LeastUsed,
}

/// Which directories a [`Policy`] is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Over {
    /// All: a new collection may get a remote for its home (A5), as well as a local directory.
    #[default]
    All,
    /// The local ones: a remote is a home only of those that are given it by name.
    Local,
}

impl Over {
    /// The words of the settings.
    pub const WORDS: [&str; 2] = ["all", "local"];

    /// The word that operators see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Its [`word`](Over::word).
impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for Over {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::All, Self::Local].into_iter().find(|over| over.word() == text);
        found.ok_or_else(|| format!("no set of directories: set=`{text}`, sets=`{}`", Self::WORDS.join(", ")))
    }
}

/// [`Policy::LeastUsed`] leaves out a directory whose free space, times this, is below that of the directory with the most.
pub const TIGHT: u64 = 4;

/// A directory that may be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: &'a str,
    /// How many collections the component has there.
    pub collections: u64,
    /// How many of these have no bytes yet.
    pub empty: u64,
    /// How many bytes the others have there.
    pub bytes: u64,
    /// What its disk has left, in bytes, where that is known.
    pub free_bytes: Option<u64>,
}

/// Which of `candidates`, in the log's order, a new collection goes to; `None` where there is none.
#[must_use]
pub fn choose(policy: Policy, collection: &CollectionName, candidates: &[Candidate<'_>]) -> Option<usize> {
    let all = 0..candidates.len();
    // Of equals, `min_by_key` takes the first.
    match policy {
        Policy::RoundRobin => all.min_by_key(|&index| candidates[index].collections),
        Policy::Hash => hash::highest(collection, candidates.iter().map(|candidate| candidate.id)),
        Policy::LeastUsed => {
            let mean = mean_bytes(candidates);
            let most_free = candidates.iter().filter_map(|candidate| candidate.free_bytes).max().unwrap_or(0);
            let is_tight = |free: u64| free < most_free.div_ceil(TIGHT);
            all.filter(|&index| !candidates[index].free_bytes.is_some_and(is_tight)).min_by_key(|&index| {
                let candidate = &candidates[index];
                u128::from(candidate.bytes) + u128::from(candidate.empty) * u128::from(mean)
            })
        }
    }
}

/// Bytes of a collection that has some, on average over all candidates; at least 1.
fn mean_bytes(candidates: &[Candidate<'_>]) -> u64 {
    let bytes: u128 = candidates.iter().map(|candidate| u128::from(candidate.bytes)).sum();
    let with: u128 = candidates.iter().map(|each| u128::from(each.collections.saturating_sub(each.empty))).sum();
    u64::try_from(bytes.checked_div(with).unwrap_or(0)).unwrap_or(u64::MAX).max(1)
}

impl Policy {
    /// The words of the settings.
    pub const WORDS: [&str; 3] = ["round-robin", "hash", "least-used"];
    /// Every policy, in the order of [`WORDS`](Self::WORDS).
    pub const ALL: [Self; 3] = [Self::RoundRobin, Self::Hash, Self::LeastUsed];

    /// The word that operators see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Its [`word`](Policy::word).
impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.word() == text);
        found.ok_or_else(|| format!("no placement policy: policy=`{text}`, policies=`{}`", Self::WORDS.join(", ")))
    }
}

impl serde::Serialize for Policy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> serde::Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<str>::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}
