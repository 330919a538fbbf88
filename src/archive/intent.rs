//! What is about to be sent (O3).
//!
//! Owns: the catalog's value [`INTENTS`], a list of attempts. An attempt is on record before its first byte is sent, and stays there until a manifest names its object
//! and the row says so, or until its deadline: until then an object that no manifest names may still come to count, and no sweep takes it away.
//! Behind its deadline an attempt commits nothing any more.

use super::ManifestNumber;
use crate::catalog::{Catalog, Mutation, SegmentKey};
use crate::error::{Error, ErrorKind, Result};
use crate::objects::ObjectKey;
use crate::types::Timestamp;

/// The name of the catalog's value.
pub const INTENTS: &str = "archive.intents";

/// One attempt to archive a segment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Intent {
    /// Which attempt: 32 hexadecimal digits.
    pub id: String,
    /// Of which segment.
    pub segment: SegmentKey,
    /// The key of the object, as rows have it ([`row_key`]).
    pub key: String,
    /// Behind this time it counts no more.
    pub deadline: Timestamp,
    /// Length of a part in bytes, where it is sent in parts; parts that are left of it have this length.
    pub part_bytes: u64,
    /// The newest manifest when it began.
    pub manifest: Option<ManifestNumber>,
}

/// The attempts on record.
///
/// # Errors
/// `Corrupt` where the value cannot be read; what the catalog said.
pub fn read(catalog: &dyn Catalog) -> Result<Vec<Intent>> {
    let Some(text) = catalog.meta(INTENTS)? else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("a value of the catalog cannot be read: name=`{INTENTS}`"))
            .with_source(error)
    })
}

/// The change that puts these on record, instead of those before.
pub(super) fn mutation(intents: &[Intent]) -> Mutation {
    let value = serde_json::to_string(intents).expect("an attempt is strings and numbers");
    Mutation::SetMeta { name: INTENTS.into(), value }
}

/// The key of an object as rows have it: of a remote that is a home of segments with its id before it (A5).
#[must_use]
pub fn row_key(remote: Option<&str>, key: &ObjectKey) -> String {
    remote.map_or_else(|| key.to_string(), |remote| format!("@{remote}/{key}"))
}

/// The remote, and the key in its store, of a row's key.
///
/// # Errors
/// `Invalid` for what is no key.
pub fn split_row_key(text: &str) -> Result<(Option<&str>, ObjectKey)> {
    let (remote, key) = match text.strip_prefix('@').map(|rest| rest.split_once('/')) {
        None => (None, text),
        Some(Some((remote, key))) if !remote.is_empty() => (Some(remote), key),
        Some(_) => {
            return Err(Error::new(ErrorKind::Invalid, format!("not the key of an archived object: key=`{text}`")));
        }
    };
    Ok((remote, ObjectKey::new(key)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::MemoryCatalog;
    use crate::types::{CollectionName, Generation, Sequence};

    #[test]
    fn keys_of_rows_round_trip() {
        let key = ObjectKey::new("audit/x.avro").unwrap();
        for (remote, text) in [(None, "audit/x.avro"), (Some("d1"), "@d1/audit/x.avro")] {
            assert_eq!(row_key(remote, &key), text);
            assert_eq!(split_row_key(text).unwrap(), (remote, key.clone()));
        }
        for bad in ["", "@", "@/a", "@d1", "@d1/", "/a"] {
            assert!(split_row_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn attempts_are_read_back() {
        let catalog = MemoryCatalog::new();
        assert_eq!(read(&catalog).unwrap(), []);
        let intent = Intent {
            id: "00".repeat(16),
            segment: SegmentKey {
                collection: CollectionName::new("a").unwrap(),
                first: Sequence(1),
                last: Sequence(2),
                generation: Generation(0),
            },
            key: "a/b".into(),
            deadline: Timestamp(7),
            part_bytes: 16 << 20,
            manifest: None,
        };
        catalog.apply(&[mutation(std::slice::from_ref(&intent))], Timestamp(0), "test").unwrap();
        assert_eq!(read(&catalog).unwrap(), [intent]);
        let broken = Mutation::SetMeta { name: INTENTS.into(), value: "{".into() };
        catalog.apply(&[broken], Timestamp(0), "test").unwrap();
        assert_eq!(read(&catalog).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
