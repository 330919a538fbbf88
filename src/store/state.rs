//! The state of a collection: which files count, and how far they reach. One JSON object, created once, never changed.
//!
//! The object's last member is `sha256`, the digest of every byte before `,"sha256":`. So bytes that changed are told, with `sha256sum`
//! and no program of ours.

use super::names::{FileName, StateNumber};
use crate::avro::sha256;
use crate::error::{Error, ErrorKind};
use crate::sink::Cursor;
use crate::types::ids::{from_hex, hex};
use crate::types::{CollectionName, Sequence, Timestamp};

/// The version of the format of states and files.
pub const FORMAT: u32 = 1;
/// The largest state, in bytes. At some 400 bytes a file this is far beyond what compaction leaves.
pub(super) const STATE_BYTES_MAX: u64 = 256 << 20;
const SEAL: &[u8] = b",\"sha256\":\"";

/// What one state says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The version of the format: [`FORMAT`].
    pub format: u32,
    /// The log whose records these are, in hexadecimal digits.
    pub log: String,
    /// The collection.
    pub collection: CollectionName,
    /// Its own number.
    pub number: StateNumber,
    /// When it was made.
    pub at: Timestamp,
    /// Up to where the files have the collection; `None` where that was taken back.
    pub cursor: Option<Cursor>,
    /// Nothing before this sequence is in the files.
    pub floor: Sequence,
    /// The files, by their sequences, which do not overlap.
    pub files: Vec<FileEntry>,
}

/// What a state says of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// The first sequence that it stands for.
    pub first: Sequence,
    /// The last sequence that it stands for: what of `first..=last` is not in it was not there to be had, or is compacted.
    pub last: Sequence,
    /// The first state that named it.
    pub generation: StateNumber,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal digits.
    #[serde(with = "digest")]
    pub sha256: [u8; 32],
    /// Bytes of its Parquet footer, without the eight behind it.
    pub footer_bytes: u32,
    /// CRC32C of these bytes.
    pub footer_crc32c: u32,
    /// How many records.
    pub rows: u64,
    /// How many of them are deletes.
    pub deletes: u64,
    /// How many of them expire.
    pub expiring: u64,
    /// The first sequence that is in it.
    pub sequence_min: Sequence,
    /// The last sequence that is in it.
    pub sequence_max: Sequence,
    /// The earliest time of a record.
    pub time_min: Timestamp,
    /// The latest time of a record.
    pub time_max: Timestamp,
    /// Dimensions of the vectors in its vector column; `None` where it has none.
    pub dimensions: Option<u32>,
    /// How many vectors are in that column.
    pub vectors: u64,
    /// How many vectors of other dimensions it has, which are in payloads only.
    pub other_vectors: u64,
}

impl FileEntry {
    /// The file's name.
    #[must_use]
    pub fn name(&self) -> FileName {
        let [one, two, three, four, ..] = self.sha256;
        FileName { first: self.first, last: self.last, generation: self.generation, digest: [one, two, three, four] }
    }
}

impl State {
    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("numbers and texts");
        let closing = bytes.pop();
        debug_assert_eq!(closing, Some(b'}'));
        let digest = hex(&sha256(&bytes));
        bytes.extend_from_slice(SEAL);
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(b"\"}\n");
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// `Corrupt` for other bytes, `Unsupported` for a newer format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let corrupt = |what: &str| Error::new(ErrorKind::Corrupt, format!("a state is damaged: what=`{what}`"));
        let body_bytes = bytes.len().checked_sub(SEAL.len() + 64 + 3).ok_or_else(|| corrupt("it is too short"))?;
        let (body, seal) = bytes.split_at(body_bytes);
        let digits = seal.strip_prefix(SEAL).and_then(|rest| rest.strip_suffix(b"\"}\n"));
        let digest = digits.and_then(|digits| from_hex::<32>(std::str::from_utf8(digits).ok()?));
        if digest.ok_or_else(|| corrupt("it has no sha256"))? != sha256(body) {
            return Err(corrupt("its sha256 differs"));
        }
        let unreadable = |error| corrupt("it is no state").with_source(error);
        let object = [body, b"}"].concat();
        let head: Head = serde_json::from_slice(&object).map_err(unreadable)?;
        if head.format != FORMAT {
            let message = format!("a state has a newer format: format=`{}`, known=`{FORMAT}`", head.format);
            return Err(
                Error::new(ErrorKind::Unsupported, message).with_hint("use the icecore that wrote it, or a newer one")
            );
        }
        let state: Self = serde_json::from_slice(&object).map_err(unreadable)?;
        let in_order = state.files.iter().all(|file| {
            file.first <= file.sequence_min && file.sequence_min <= file.sequence_max && file.sequence_max <= file.last
        });
        if !in_order || !state.files.is_sorted_by(|one, two| one.last < two.first) {
            return Err(corrupt("its files overlap"));
        }
        Ok(state)
    }
}

#[derive(serde::Deserialize)]
struct Head {
    format: u32,
}

mod digest {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::hex(digest))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        super::from_hex::<32>(&text).ok_or_else(|| serde::de::Error::custom("a digest is 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Epoch;

    fn state() -> State {
        let file = FileEntry {
            first: Sequence(1),
            last: Sequence(9),
            generation: StateNumber(1),
            bytes: 1000,
            sha256: [7; 32],
            footer_bytes: 100,
            footer_crc32c: 5,
            rows: 8,
            deletes: 1,
            expiring: 0,
            sequence_min: Sequence(2),
            sequence_max: Sequence(9),
            time_min: Timestamp(-5),
            time_max: Timestamp(5),
            dimensions: Some(3),
            vectors: 2,
            other_vectors: 0,
        };
        State {
            format: FORMAT,
            log: "00".repeat(16),
            collection: CollectionName::new("Ü\"").unwrap(),
            number: StateNumber(2),
            at: Timestamp(1),
            cursor: Some(Cursor { epoch: Epoch(3), sequence: Sequence(9) }),
            floor: Sequence(1),
            files: vec![file],
        }
    }

    #[test]
    fn a_state_is_json_and_reads_back() {
        let bytes = state().encode();
        assert_eq!(State::decode(&bytes).unwrap(), state());
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((json["number"].as_u64(), json["files"][0]["rows"].as_u64()), (Some(2), Some(8)));
        let text = String::from_utf8(bytes).unwrap();
        let at = text.find(",\"sha256\":\"").map(|_| text.rfind(",\"sha256\":\"").unwrap()).unwrap();
        assert_eq!(json["sha256"], hex(&sha256(&text.as_bytes()[..at])));
    }

    #[test]
    fn every_damaged_byte_is_told() {
        let good = state().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(State::decode(&bad).unwrap_err().kind(), ErrorKind::Corrupt, "{at}");
            assert!(State::decode(&good[..at]).is_err(), "{at}");
        }
        assert!(State::decode(&[&good[..], b" "].concat()).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let newer = State { format: 2, ..state() }.encode();
        assert_eq!(State::decode(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
        let file = state().files.remove(0);
        let twice = State { files: vec![file.clone(), file], ..state() }.encode();
        assert_eq!(State::decode(&twice).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
