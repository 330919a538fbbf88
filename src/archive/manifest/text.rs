//! Bytes as hexadecimal digits in lower case: one value has one spelling.

use std::borrow::Cow;

use serde::{Deserialize as _, Deserializer, Serializer};

use crate::types::ids::{from_hex, hex};

pub(super) fn parse<const N: usize, E: serde::de::Error>(text: &str) -> Result<[u8; N], E> {
    from_hex::<N>(text)
        .filter(|_| !text.bytes().any(|digit| digit.is_ascii_uppercase()))
        .ok_or_else(|| E::custom(format!("{} hexadecimal digits in lower case are wanted: found=`{text}`", 2 * N)))
}

pub(super) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
    parse(&Cow::<str>::deserialize(deserializer)?)
}

/// The same, or `null`.
pub(super) mod optional {
    use super::{Cow, Deserializer, Serializer, hex, parse};
    use serde::Deserialize as _;

    #[allow(clippy::ref_option, reason = "serde gives references")]
    pub fn serialize<S: Serializer>(bytes: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_some(&hex(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
        Option::<Cow<'de, str>>::deserialize(deserializer)?.map(|text| parse(&text)).transpose()
    }
}

/// The id of a log.
pub(super) mod log {
    use super::{Cow, Deserializer, Serializer, parse};
    use crate::types::LogId;
    use serde::Deserialize as _;

    pub fn serialize<S: Serializer>(log: &LogId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(log)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogId, D::Error> {
        parse(&Cow::<str>::deserialize(deserializer)?).map(LogId)
    }
}
