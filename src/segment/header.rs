//! The front of a segment or stub: Avro's metadata and ours.
//!
//! Owns: which names are there, and the refusal of what a newer program wrote (F3).

use crate::avro::container::{FileHeader, SYNC_BYTES, encode_header};
use crate::avro::{FORMAT_VERSION, RECORD_SCHEMA, Sha256};
use crate::types::{CollectionName, Epoch, Generation, LogId, Sequence};

/// What `icecore.file` says of a segment.
pub const FILE_SEGMENT: &str = "segment";
/// What `icecore.file` says of a stub.
pub const FILE_STUB: &str = "stub";

/// What a header says beside Avro's own.
#[derive(Clone, Copy, Debug)]
pub struct HeaderFields<'a> {
    /// `icecore.file`.
    pub file: &'a str,
    /// `avro.codec`.
    pub codec: &'a str,
    /// `icecore.log`.
    pub log: LogId,
    /// `icecore.collection`.
    pub collection: &'a CollectionName,
    /// `icecore.epoch`.
    pub epoch: Epoch,
    /// `icecore.generation`.
    pub generation: Generation,
}

/// Writes a header.
///
/// `icecore.features` has a bit for each thing that a reader must know to read the file; `icecore.encryption_key_id` is
/// empty while records are not encrypted. Both are reserved: no bit and no key is known yet.
#[must_use]
pub fn encode(fields: &HeaderFields<'_>, sync: [u8; SYNC_BYTES]) -> Vec<u8> {
    let number = |number: u64| number.to_string();
    encode_header(
        &[
            ("avro.schema", RECORD_SCHEMA.as_bytes()),
            ("avro.codec", fields.codec.as_bytes()),
            ("icecore.format_version", number(FORMAT_VERSION.into()).as_bytes()),
            ("icecore.file", fields.file.as_bytes()),
            ("icecore.features", b"0"),
            ("icecore.encryption_key_id", b""),
            ("icecore.log", fields.log.to_string().as_bytes()),
            ("icecore.collection", fields.collection.as_str().as_bytes()),
            ("icecore.epoch", number(fields.epoch.0).as_bytes()),
            ("icecore.generation", number(fields.generation.0.into()).as_bytes()),
        ],
        sync,
    )
}

/// A file's sync marker: the first 16 bytes of a SHA-256 over what names the file.
///
/// Made from names and not by chance, so that the same seal gives the same bytes, in tests and after a crash. It cannot be
/// foreseen without the log's random id, so a payload does not hold it by accident; and our readers go by lengths, not by
/// searching for it.
#[must_use]
pub fn sync_marker(
    log: LogId,
    collection: &CollectionName,
    first: Sequence,
    generation: Generation,
    epoch: Epoch,
) -> [u8; SYNC_BYTES] {
    let mut digest = Sha256::new();
    digest.update(b"icecore sync marker");
    digest.update(&log.0);
    digest.update(&first.0.to_le_bytes());
    digest.update(&generation.0.to_le_bytes());
    digest.update(&epoch.0.to_le_bytes());
    digest.update(collection.as_str().as_bytes());
    let mut marker = [0; SYNC_BYTES];
    marker.copy_from_slice(&digest.finish()[..SYNC_BYTES]);
    marker
}

/// What a newer program put into a header, as key=`value`; `None` where this program reads the file (F3).
#[must_use]
pub fn newer(header: &FileHeader) -> Option<String> {
    let value = |name: &str| header.text(name).unwrap_or("");
    let version = value("icecore.format_version");
    let features = value("icecore.features");
    let key = value("icecore.encryption_key_id");
    if version != FORMAT_VERSION.to_string() {
        Some(format!("icecore.format_version=`{version}`, known=`{FORMAT_VERSION}`"))
    } else if features != "0" {
        Some(format!("icecore.features=`{features}`, known=`0`"))
    } else if !key.is_empty() {
        Some(format!("icecore.encryption_key_id=`{key}`, known=``"))
    } else {
        None
    }
}

/// Whether the header says what `fields` say.
#[must_use]
pub fn agrees(header: &FileHeader, fields: &HeaderFields<'_>) -> bool {
    let (log, epoch, generation) = (fields.log.to_string(), fields.epoch.to_string(), fields.generation.to_string());
    [
        ("avro.codec", fields.codec),
        ("icecore.file", fields.file),
        ("icecore.log", &log),
        ("icecore.collection", fields.collection.as_str()),
        ("icecore.epoch", &epoch),
        ("icecore.generation", &generation),
    ]
    .iter()
    .all(|(name, value)| header.text(name) == Some(value))
}
