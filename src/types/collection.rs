//! Collection names, and the directory names they become (rule F5).

use std::fmt;
use std::sync::Arc;

use super::ids::hex;

/// The longest name in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// An encoded name beyond this many bytes is cut and given a hash, so that it fits a file name with room to spare.
const ENCODED_BYTES_MAX: usize = 200;
const CUT_PREFIX_BYTES: usize = 120;

/// Names that Windows reserves in every directory, whatever follows a dot.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// The name of a collection: any UTF-8 of 1 to 255 bytes without NUL, compared byte by byte, never normalised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionName(Arc<str>);

/// Why a text is no collection name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The empty text.
    #[error("a collection name is empty; give it 1 to 255 bytes")]
    Empty,
    /// More bytes than a name may have.
    #[error("a collection name is too long: bytes=`{bytes}`, limit=`255`")]
    TooLong {
        /// How many bytes the text has.
        bytes: usize,
    },
    /// A NUL byte inside.
    #[error("a collection name holds a NUL byte")]
    Nul,
}

impl CollectionName {
    /// Takes a name as it is.
    ///
    /// # Errors
    /// [`InvalidName`] when the text is empty, longer than 255 bytes, or holds a NUL.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            Err(InvalidName::Empty)
        } else if text.len() > NAME_BYTES_MAX {
            Err(InvalidName::TooLong { bytes: text.len() })
        } else if text.contains('\0') {
            Err(InvalidName::Nul)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the collection's sub-directory, and the first part of its object keys (F5).
    ///
    /// Lower-case ASCII letters, digits, `-`, `_` and `.` stand for themselves; every other byte, a leading `.` or `_`,
    /// a trailing `.`, and the first letter of a name that Windows reserves, becomes `~` and two hexadecimal digits. Two
    /// names that differ only in case thus never share a directory, on any file system. A result of more than 200
    /// bytes is cut to at most 120, followed by `~~` and the first 16 bytes of the name's SHA-256 in hexadecimal; such a
    /// name is read back from a file's metadata.
    ///
    /// ```
    /// let name = icecore::CollectionName::new("Audit log/ü")?;
    /// assert_eq!(name.directory_name(), "~41udit~20log~2f~c3~bc");
    /// # Ok::<(), icecore::types::InvalidName>(())
    /// ```
    #[must_use]
    pub fn directory_name(&self) -> String {
        use fmt::Write as _;
        let reserved = RESERVED.contains(&self.0.split('.').next().unwrap_or("").trim_end());
        let last = self.0.len() - 1;
        let mut encoded = String::with_capacity(self.0.len());
        let mut cut = 0;
        for (at, byte) in self.0.bytes().enumerate() {
            let plain = match byte {
                b'.' => at != 0 && at != last,
                b'_' => at != 0,
                b'a'..=b'z' | b'0'..=b'9' | b'-' => !(at == 0 && reserved),
                _ => false,
            };
            if plain {
                encoded.push(char::from(byte));
            } else {
                let _ = write!(encoded, "~{byte:02x}");
            }
            if encoded.len() <= CUT_PREFIX_BYTES {
                cut = encoded.len();
            }
        }
        if encoded.len() > ENCODED_BYTES_MAX {
            encoded.truncate(cut);
            encoded.push_str("~~");
            encoded.push_str(&hex(&crate::avro::sha256(self.0.as_bytes())[..16]));
        }
        encoded
    }

    /// The name behind a directory name, where the directory name alone tells it.
    ///
    /// `None` for a text that [`directory_name`](Self::directory_name) never makes, and for a cut name, which only the
    /// metadata of a file below it tells.
    #[must_use]
    pub fn from_directory_name(encoded: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(encoded.len());
        let mut rest = encoded.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            if first == b'~' {
                let digits = after.get(..2)?;
                bytes.push(super::ids::from_hex::<1>(std::str::from_utf8(digits).ok()?)?[0]);
                rest = &after[2..];
            } else {
                bytes.push(first);
                rest = after;
            }
        }
        let name = Self::new(std::str::from_utf8(&bytes).ok()?).ok()?;
        (name.directory_name() == encoded).then_some(name)
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for CollectionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl std::borrow::Borrow<str> for CollectionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for CollectionName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for CollectionName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn directory(text: &str) -> String {
        CollectionName::new(text).unwrap().directory_name()
    }

    #[test]
    fn refuses_what_is_no_name() {
        assert_eq!(CollectionName::new(""), Err(InvalidName::Empty));
        assert_eq!(CollectionName::new(&"x".repeat(256)), Err(InvalidName::TooLong { bytes: 256 }));
        assert_eq!(CollectionName::new("a\0b"), Err(InvalidName::Nul));
        assert!(CollectionName::new(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn directory_names_are_safe_on_every_file_system() {
        assert_eq!(directory("orders"), "orders");
        assert_eq!(directory("a.b_c-9"), "a.b_c-9");
        assert_eq!(directory("Orders"), "~4frders");
        assert_eq!(directory(".journal"), "~2ejournal");
        assert_eq!(directory("_manifest"), "~5fmanifest");
        assert_eq!(directory("con"), "~63on");
        assert_eq!(directory("con.txt"), "~63on.txt");
        assert_eq!(directory("CON"), "~43~4f~4e");
        assert_eq!(directory("console"), "console");
        assert_eq!(directory("end."), "end~2e");
        assert_eq!(directory("."), "~2e");
        assert_eq!(directory("a/b"), "a~2fb");
        assert_eq!(directory("~"), "~7e");
        let long = directory(&"Ü".repeat(127));
        assert!(long.len() <= 154 && long.contains("~~"), "{long}");
        assert_ne!(long, directory(&"Ü".repeat(126)));
    }

    proptest! {
        #[test]
        fn directory_names_tell_the_name_or_are_cut(text in "[^\0]{1,60}") {
            prop_assume!(text.len() <= NAME_BYTES_MAX);
            let name = CollectionName::new(&text).unwrap();
            let encoded = name.directory_name();
            prop_assert!(encoded.len() <= ENCODED_BYTES_MAX);
            prop_assert_eq!(encoded.to_lowercase(), encoded.clone());
            match CollectionName::from_directory_name(&encoded) {
                Some(back) => prop_assert_eq!(back, name),
                None => prop_assert!(encoded.contains("~~")),
            }
        }
    }
}
