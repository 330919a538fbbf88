//! Which manifest it is.

use std::fmt;

use super::{PREFIX, text};
use crate::objects::ObjectKey;
use crate::types::ids::hex;
use crate::types::{Epoch, LogId, Timestamp};

/// Number of a manifest in its archive: dense, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ManifestNumber(pub u64);

impl ManifestNumber {
    /// The first of an archive.
    pub const FIRST: Self = Self(1);

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number before this one; `None` for the first.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        if self.0 <= 1 { None } else { Some(Self(self.0 - 1)) }
    }

    /// The key of the manifest.
    #[must_use]
    pub fn key(self) -> ObjectKey {
        ObjectKey::new(format!("{PREFIX}{:020}", self.0)).expect("a plain word and digits")
    }

    /// Reads a key back; `None` for every text that [`key`](Self::key) does not write.
    ///
    /// ```
    /// use icecore::archive::ManifestNumber;
    /// let number = ManifestNumber::parse("_manifest/00000000000000000042").unwrap();
    /// assert_eq!(number.get(), 42);
    /// assert_eq!(ManifestNumber::parse("_manifest/42"), None);
    /// ```
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let digits = key.strip_prefix(PREFIX)?;
        let is_number = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
        // 2^63 manifests come to nobody; what is named so is not ours, and leaves room to count on.
        let number = if is_number { digits.parse().ok()? } else { return None };
        (1..=i64::MAX.cast_unsigned()).contains(&number).then_some(Self(number))
    }
}

impl fmt::Display for ManifestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ManifestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who writes manifests: sixteen random bytes, new each time that somebody takes an archive over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct WriterId(#[serde(with = "text")] pub [u8; 16]);

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identifies one manifest, with all of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestMark {
    /// Its number.
    pub number: ManifestNumber,
    /// Its writer's epoch.
    pub epoch: Epoch,
    /// Its writer.
    pub writer: WriterId,
    /// SHA-256 of all of its bytes.
    #[serde(with = "text")]
    pub sha256: [u8; 32],
}

/// The first line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestHead {
    /// Version of the format, [`FORMAT`](super::FORMAT).
    pub format: u32,
    /// The log whose archive this is.
    #[serde(with = "text::log")]
    pub log: LogId,
    /// Its number, the one in its key.
    pub number: ManifestNumber,
    /// The writer's epoch: never lower than that of the manifest before; higher where the writer is another one.
    pub epoch: Epoch,
    /// The writer.
    pub writer: WriterId,
    /// The manifest that the chain begins with: the first, or a checkpoint that was written behind manifests that nobody could read.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub begins: ManifestNumber,
    /// SHA-256 of all bytes of the manifest before; `None` for the one that the chain begins with alone.
    #[serde(with = "text::optional")]
    pub previous: Option<[u8; 32]>,
    /// When it was written, by the writer's clock.
    pub at: Timestamp,
    /// It tells everything anew, and nothing new.
    pub checkpoint: bool,
    /// The newest checkpoint: this one, or one before it. The first manifest of an archive is one.
    pub base: ManifestNumber,
    /// How many entries that checkpoint has.
    pub base_entries: u64,
    /// How many entries the manifests behind that checkpoint have, up to and with this one.
    pub entries_since: u64,
}

const fn first() -> ManifestNumber {
    ManifestNumber::FIRST
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_first(number: &ManifestNumber) -> bool {
    number.0 == ManifestNumber::FIRST.0
}

impl ManifestHead {
    /// Whether the chain begins anew with it, behind manifests that could not be read: what they told counts no more.
    #[must_use]
    pub const fn begins_anew(&self) -> bool {
        self.begins.0 == self.number.0 && self.number.0 != ManifestNumber::FIRST.0
    }

    /// Manifests behind the newest checkpoint, up to and with this one.
    #[must_use]
    pub const fn manifests_since(&self) -> u64 {
        self.number.0 - self.base.0
    }
}
