//! Keys of a collection's files and states, below the prefix of its home.
//!
//! `{collection}/{first:020}-{last:020}.{generation}.{digest8}.parquet` and `{collection}/_state/{number:020}.json`. The generation is the
//! number of the state that is the first to name the file, the digest the first eight digits of the SHA-256 of its bytes. So other bytes
//! have another name, and a file that an old state could name, and no state does, is never going to be named (see the module of the store).

use std::fmt;

use crate::objects::ObjectKey;
use crate::types::ids::from_hex;
use crate::types::{CollectionName, Sequence};

/// The number of a state: dense, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct StateNumber(pub u64);

impl StateNumber {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for StateNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The name of a file within its collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The first sequence that it stands for.
    pub first: Sequence,
    /// The last sequence that it stands for.
    pub last: Sequence,
    /// The first state that names it.
    pub generation: StateNumber,
    /// The first four bytes of the SHA-256 of its bytes.
    pub digest: [u8; 4],
}

impl FileName {
    /// Reads a name back; `None` for every text that [`FileName`] does not itself write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(".parquet")?.split('.');
        let (range, generation, digest) = (parts.next()?, parts.next()?, parts.next()?);
        let (first, last) = range.split_once('-')?;
        let name = Self {
            first: Sequence(first.parse().ok()?),
            last: Sequence(last.parse().ok()?),
            generation: StateNumber(generation.parse().ok()?),
            digest: from_hex::<4>(digest)?,
        };
        // One name has one spelling.
        (parts.next().is_none() && name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = crate::types::ids::hex(&self.digest);
        write!(f, "{:020}-{:020}.{}.{digest}.parquet", self.first.0, self.last.0, self.generation)
    }
}

/// Where the keys of one collection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder(String);

impl Folder {
    /// Below `prefix`, which is empty or ends in `/`.
    pub fn new(prefix: &str, collection: &CollectionName) -> Self {
        Self(format!("{prefix}{}/", collection.directory_name()))
    }

    /// What the keys of the files and states begin with.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// What the keys of the states begin with.
    pub fn states_prefix(&self) -> String {
        format!("{}_state/", self.0)
    }

    pub fn file(&self, name: &FileName) -> ObjectKey {
        key(format!("{}{name}", self.0))
    }

    pub fn state(&self, number: StateNumber) -> ObjectKey {
        key(format!("{}_state/{:020}.json", self.0, number.0))
    }

    /// The file of a key, where it is one of a file of ours.
    pub fn parse_file(&self, key: &str) -> Option<FileName> {
        FileName::parse(key.strip_prefix(&self.0)?)
    }

    /// The number of a key, where it is one of a state.
    pub fn parse_state(&self, key: &str) -> Option<StateNumber> {
        let digits = key.strip_prefix(&self.0)?.strip_prefix("_state/")?.strip_suffix(".json")?;
        let number = StateNumber(digits.parse().ok()?);
        (format!("{:020}", number.0) == digits).then_some(number)
    }
}

fn key(text: String) -> ObjectKey {
    ObjectKey::new(text).expect("a prefix that was checked, a folder of at most 200 safe bytes, digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        let name =
            FileName { first: Sequence(1), last: Sequence(42), generation: StateNumber(3), digest: [0x9f, 0, 1, 2] };
        let text = "00000000000000000001-00000000000000000042.3.9f000102.parquet";
        assert_eq!(name.to_string(), text);
        assert_eq!(FileName::parse(text), Some(name));
        for other in [
            "1-42.3.9f000102.parquet",
            "00000000000000000001-00000000000000000042.03.9f000102.parquet",
            "00000000000000000001-00000000000000000042.3.9F000102.parquet",
            "00000000000000000001-00000000000000000042.3.9f000102.x.parquet",
            "00000000000000000001-00000000000000000042.3.parquet",
            "00000000000000000001-00000000000000000042.0.avro",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn keys_of_one_collection_are_below_its_folder() {
        let folder = Folder::new("_columns/", &CollectionName::new("Ü").unwrap());
        let state = folder.state(StateNumber(7));
        assert_eq!(state.as_str(), "_columns/~c3~9c/_state/00000000000000000007.json");
        assert_eq!(folder.parse_state(state.as_str()), Some(StateNumber(7)));
        assert_eq!(folder.parse_state("_columns/~c3~9c/_state/7.json"), None);
        assert_eq!(folder.parse_state("x/_state/00000000000000000007.json"), None);
        assert_eq!(folder.parse_file(state.as_str()), None);
    }
}
