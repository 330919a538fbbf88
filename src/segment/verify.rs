//! Proves that a segment is what was written, or says what is not and which sequences that costs.
//!
//! Owns: the two depths. Shallow reads front and end only. Deep reads every byte: each block, each record, what the index
//! says of them, the digest over all records, the key filter, and where it is known the SHA-256 of the whole file.

use std::sync::Arc;

use super::keys::KeysBuilder;
use super::{Damage, ReadRange, SegmentError, SegmentReader};
use crate::avro::Sha256;
use crate::types::Timestamp;

/// How much is read at once for the SHA-256 of a file.
const READ_BYTES: usize = 1 << 20;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Records found intact (deep), or promised by the footer (shallow).
    pub records: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Everything that is wrong; empty for a good segment.
    pub damaged: Vec<Damage>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// Reads front and end: whether header, footer, trailer, name and length agree.
///
/// # Errors
/// [`SegmentError::NotASegment`], [`SegmentError::Newer`], or what failed while reading; damage is in the [`Verdict`].
pub fn verify(source: Arc<dyn ReadRange>) -> Result<Verdict, SegmentError> {
    Ok(open(source)?.1)
}

/// Reads every byte. `sha256` is what the catalog or a manifest says of the whole file, where one does.
///
/// # Errors
/// As [`verify`].
pub fn verify_deep(source: Arc<dyn ReadRange>, sha256: Option<[u8; 32]>) -> Result<Verdict, SegmentError> {
    let (reader, mut verdict) = open(source.clone())?;
    if let Some(reader) = &reader {
        records(reader, &mut verdict)?;
    }
    if let Some(expected) = sha256
        && verdict.is_ok()
        && file_sha256(source.as_ref())? != expected
    {
        verdict.damaged.push(Damage {
            path: source.path().to_path_buf(),
            offset: 0,
            what: "its SHA-256 is not the one expected".to_owned(),
            sequences: None,
        });
    }
    Ok(verdict)
}

fn open(source: Arc<dyn ReadRange>) -> Result<(Option<SegmentReader>, Verdict), SegmentError> {
    let bytes = source.len()?;
    match SegmentReader::open_range(source) {
        Ok(reader) => {
            let (records, damaged) = (reader.footer().records, reader.flaw().cloned().into_iter().collect());
            Ok((Some(reader), Verdict { records, bytes, damaged }))
        }
        Err(SegmentError::Damaged(damage)) => Ok((None, Verdict { records: 0, bytes, damaged: vec![damage] })),
        Err(error) => Err(error),
    }
}

/// SHA-256 of all bytes, read piece by piece.
///
/// # Errors
/// What failed while reading.
pub fn file_sha256(source: &dyn ReadRange) -> Result<[u8; 32], SegmentError> {
    let len = source.len()?;
    let mut digest = Sha256::new();
    let mut at = 0;
    while at < len {
        let bytes = READ_BYTES.min(usize::try_from(len - at).unwrap_or(usize::MAX));
        digest.update(&source.read(at, bytes)?);
        at += bytes as u64;
    }
    Ok(digest.finish())
}

/// Every block, and everything that the footer says of the records.
fn records(reader: &SegmentReader, verdict: &mut Verdict) -> Result<(), SegmentError> {
    let footer = reader.footer();
    let damage = |offset, sequences, what: &str| Damage {
        path: reader.source().path().to_path_buf(),
        offset,
        what: what.to_owned(),
        sequences,
    };
    let mut digest = Sha256::new();
    let mut keys = KeysBuilder::default();
    let (mut intact, mut after) = (0, 0);
    for (number, entry) in footer.blocks.iter().enumerate() {
        let block = match reader.block(number) {
            Ok(block) => block,
            Err(SegmentError::Damaged(damage)) => {
                verdict.damaged.push(damage);
                continue;
            }
            // A disk that cannot give the bytes has lost them as far as a reader is concerned; a store may be away only.
            Err(SegmentError::Fs(error)) => {
                let what = format!("{error}: {}", error.source);
                verdict.damaged.push(damage(entry.offset, Some(entry.held), &what));
                continue;
            }
            Err(error) => return Err(error),
        };
        let (mut earliest, mut latest) = (Timestamp::MAX, Timestamp::MIN);
        for record in block.views() {
            let time = Timestamp(record.timestamp_us);
            (earliest, latest) = (earliest.min(time), latest.max(time));
            if let Some(key) = record.key {
                keys.add(key);
            }
        }
        if (earliest, latest) != (entry.timestamp_min, entry.timestamp_max) {
            let what = "the index gives a block times that its records do not have";
            verdict.damaged.push(damage(entry.offset, Some(entry.held), what));
        }
        digest.update(block.bytes());
        intact += block.len() as u64;
        after += stored_bytes(entry.records, entry.bytes);
    }
    verdict.records = intact;
    // With a block missing, nothing over all of them can be right.
    if intact == footer.records {
        let seal = footer.data_end();
        if digest.finish() != footer.content_digest {
            verdict.damaged.push(damage(seal, Some(footer.covers), "the digest of its records is not the footer's"));
        }
        if keys.finish() != footer.keys {
            verdict.damaged.push(damage(seal, None, "the footer's key filter is not that of its records"));
        }
        if after != footer.bytes_after {
            verdict.damaged.push(damage(seal, None, "the footer's count of compressed bytes is wrong"));
        }
    }
    Ok(())
}

/// A block's bytes without its header and sync marker. The header was checked to be the shortest one that fits.
fn stored_bytes(records: u64, span: u64) -> u64 {
    use crate::avro::container::SYNC_BYTES;
    use crate::avro::varint::long_len;
    let rest = span - SYNC_BYTES as u64 - long_len(records.cast_signed()) as u64;
    // The length's own length depends on it.
    (1..=10).map(|len| rest - len).find(|&stored| long_len(stored.cast_signed()) as u64 == rest - stored).unwrap_or(0)
}
