//! Names of objects, relative to a store's place.
//!
//! Owns: what a key may be, so that every store can keep it, and the names of segments (O1):
//! `{collection}/{first:020}-{last:020}.{epoch}.{digest8}.avro`. The collection's part is
//! [`CollectionName::directory_name`]; the digest is the first eight digits of the SHA-256 of the object's bytes, so whoever has only the
//! object can check its name with `sha256sum`. Other bytes thus have another name: a key is never used for two contents.

use std::fmt;

use crate::catalog::SegmentRow;
use crate::segment::SequenceRange;
use crate::types::ids::{from_hex, hex};
use crate::types::{CollectionName, Epoch, Sequence};

/// The longest key in bytes. With the longest prefix of a URL it fits the 1,024 bytes of every store.
const KEY_BYTES_MAX: usize = 500;
/// The longest part in bytes, which local file systems can keep.
const PART_BYTES_MAX: usize = 255;

/// The name of an object: parts with `/` between them. No part is empty or begins with `.`; nothing in it is a control character or
/// a `\`. So no key leaves its store, and none is taken for the store's own files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no name of an object: key=`{key}`, what=`{what}`")]
pub struct InvalidKey {
    /// The text.
    pub key: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl ObjectKey {
    /// Takes a key as it is.
    ///
    /// # Errors
    /// [`InvalidKey`] for what some store could not keep.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let key = text.into();
        let wrong = if key.is_empty() || key.len() > KEY_BYTES_MAX {
            Some("a key has 1 to 500 bytes")
        } else if key.chars().any(|character| character.is_control() || character == '\\') {
            Some("a control character or a `\\`")
        } else if key.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.len() > PART_BYTES_MAX) {
            Some("a part that is empty, begins with `.`, or has more than 255 bytes")
        } else {
            None
        };
        match wrong {
            None => Ok(Self(key)),
            Some(what) => Err(InvalidKey { key, what }),
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<InvalidKey> for crate::Error {
    fn from(error: InvalidKey) -> Self {
        Self::new(crate::ErrorKind::Invalid, error.to_string())
    }
}

/// The name of an archived segment (O1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentObject {
    /// The collection's part of the key. Where the collection's name is long it is cut, and only the object tells the name (F5).
    pub folder: String,
    /// The sequences that it covers.
    pub covers: SequenceRange,
    /// The epoch that sealed it.
    pub epoch: Epoch,
    /// The first four bytes of the SHA-256 of its bytes.
    pub digest: [u8; 4],
}

impl SegmentObject {
    /// The name of the object with the bytes of a row's file.
    #[must_use]
    pub fn of_row(row: &SegmentRow) -> Self {
        let [one, two, three, four, ..] = row.sha256;
        Self {
            folder: row.key.collection.directory_name(),
            covers: SequenceRange { first: row.key.first, last: row.key.last },
            epoch: row.epoch,
            digest: [one, two, three, four],
        }
    }

    /// What the keys of all segments of a collection begin with.
    #[must_use]
    pub fn prefix_of(collection: &CollectionName) -> String {
        format!("{}/", collection.directory_name())
    }

    /// The collection, where the key alone tells it.
    #[must_use]
    pub fn collection(&self) -> Option<CollectionName> {
        CollectionName::from_directory_name(&self.folder)
    }

    /// The key.
    ///
    /// # Panics
    /// Where [`folder`](Self::folder) was set to what no collection's is.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.to_string()).expect("a folder of at most 200 safe bytes, numbers and hexadecimal digits")
    }

    /// Reads a key back; `None` for every text that [`SegmentObject`] does not itself write.
    ///
    /// ```
    /// use icecore::objects::SegmentObject;
    /// let key = "audit/00000000000000000001-00000000000000000042.3.9f86d081.avro";
    /// assert_eq!(SegmentObject::parse(key).unwrap().covers.last.get(), 42);
    /// assert_eq!(SegmentObject::parse("audit/1-42.3.9f86d081.avro"), None);
    /// ```
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let (folder, name) = key.split_once('/')?;
        if !is_folder(folder) {
            return None;
        }
        let mut parts = name.strip_suffix(".avro")?.split('.');
        let (range, epoch, digest) = (parts.next()?, parts.next()?, parts.next()?);
        let (first, last) = range.split_once('-')?;
        let covers = SequenceRange::new(Sequence(first.parse().ok()?), Sequence(last.parse().ok()?))?;
        let object = Self {
            folder: folder.to_owned(),
            covers,
            epoch: Epoch(epoch.parse().ok()?),
            digest: from_hex::<4>(digest)?,
        };
        // One name has one spelling.
        (parts.next().is_none() && object.to_string() == key).then_some(object)
    }
}

/// Whether a collection could have this folder: its whole name, or one that was cut.
fn is_folder(folder: &str) -> bool {
    let is_cut = || {
        folder.rsplit_once("~~").is_some_and(|(front, hash)| {
            from_hex::<16>(hash).is_some()
                && hash.bytes().all(|digit| !digit.is_ascii_uppercase())
                && front.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~'))
                && !front.starts_with(['.', '_'])
        })
    };
    CollectionName::from_directory_name(folder).is_some() || is_cut()
}

impl fmt::Display for SegmentObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.covers.first.get(), self.covers.last.get());
        write!(f, "{}/{first:020}-{last:020}.{}.{}.avro", self.folder, self.epoch, hex(&self.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_stay_inside() {
        for good in ["a", "a/b", "_manifest/00000000000000000001", "a/b.c~2e-d", "ü/x", &"x/".repeat(249)[..497]] {
            assert!(ObjectKey::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "./a",
            "a/.hidden",
            "a\\b",
            "a\0b",
            "a\nb",
            &long,
            &"x/".repeat(300),
        ] {
            assert!(ObjectKey::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_one_spelling_is_a_segment() {
        let good = "a/00000000000000000001-00000000000000000042.3.0a1b2c3d.avro";
        assert!(SegmentObject::parse(good).is_some());
        for bad in [
            "00000000000000000001-00000000000000000042.3.0a1b2c3d.avro",
            "a/b/00000000000000000001-00000000000000000042.3.0a1b2c3d.avro",
            "A/00000000000000000001-00000000000000000042.3.0a1b2c3d.avro",
            "_manifest/00000000000000000001-00000000000000000042.3.0a1b2c3d.avro",
            "a/00000000000000000042-00000000000000000001.3.0a1b2c3d.avro",
            "a/00000000000000000001-00000000000000000042.03.0a1b2c3d.avro",
            "a/00000000000000000001-00000000000000000042.3.0A1B2C3D.avro",
            "a/00000000000000000001-00000000000000000042.3.0a1b2c3.avro",
            "a/00000000000000000001-00000000000000000042.3.avro",
            "a/00000000000000000001-00000000000000000042.3.0a1b2c3d.x.avro",
            "a/00000000000000000001-00000000000000000042.3.0a1b2c3d.avro.tmp",
        ] {
            assert_eq!(SegmentObject::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn keys_of_segments_round_trip(
            text in "[^\0]{1,63}|[^\0]{60,63}\\.",
            a in 1..=Sequence::MAX.0,
            b in 1..=Sequence::MAX.0,
            epoch: u64,
            digest: [u8; 4],
        ) {
            let collection = CollectionName::new(&text).unwrap();
            let covers = SequenceRange::new(Sequence(a.min(b)), Sequence(a.max(b))).unwrap();
            let object = SegmentObject { folder: collection.directory_name(), covers, epoch: Epoch(epoch), digest };
            let key = object.key();
            prop_assert!(key.as_str().starts_with(&SegmentObject::prefix_of(&collection)));
            prop_assert_eq!(SegmentObject::parse(key.as_str()), Some(object.clone()));
            prop_assert!(object.collection().is_none_or(|back| back == collection));
        }

        #[test]
        fn any_text_parses_or_not(text in "[a-z~./0-9-]{0,80}") {
            if let Some(object) = SegmentObject::parse(&text) {
                prop_assert_eq!(object.to_string(), text);
            }
        }
    }
}
