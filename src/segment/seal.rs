//! The end of a segment: the SEAL block and its trailer (F2).
//!
//! Owns: the last block's bytes. One record of kind SEAL, stored without compression, whose payload is the footer and
//! then a trailer of 48 bytes, all numbers little-endian:
//!
//! ```text
//! offset  bytes
//!      0      8  magic "ICESEAL\n"
//!      8      4  version, 1
//!     12      4  reserved, 0
//!     16      8  offset in the file of the SEAL block
//!     24      8  offset in the file of the footer's first byte
//!     32      8  length of the footer
//!     40      4  CRC32C of the footer
//!     44      4  CRC32C of the 44 bytes before
//! ```
//!
//! The trailer ends where the file's last sync marker begins, so it starts at `file length - 16 - 48`, whatever the codec.
//! Where the footer's offset and length lead exactly to the trailer, the footer lies in the file as it is. A large footer
//! (more than about 128 KiB in a zstandard file, 64 KiB in a deflate file) is cut by the codec's framing: then the block
//! is decompressed, and the footer found before the last 48 bytes.

use bytes::Bytes;
use crc32c::crc32c;

use super::footer::Footer;
use super::{ReadRange, SegmentError};
use crate::avro::codec::Codec;
use crate::avro::container::{BlockHeader, SYNC_BYTES, decode_block_header, put_block_header};
use crate::avro::record::{Fields, Seed, decode, encode, kind};
use crate::types::Timestamp;

/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 48;
const MAGIC: [u8; 8] = *b"ICESEAL\n";
const VERSION: u32 = 1;
/// How much of a file's end is read at once: holds the SEAL block of most segments.
const TAIL_BYTES: u64 = 64 << 10;

/// The very last bytes of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Offset of the SEAL block.
    pub seal_offset: u64,
    /// Offset of the footer's first byte.
    pub footer_offset: u64,
    /// Length of the footer.
    pub footer_bytes: u64,
    /// CRC32C of the footer.
    pub footer_checksum: u32,
}

impl Trailer {
    fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.seal_offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.footer_offset.to_le_bytes());
        out[32..40].copy_from_slice(&self.footer_bytes.to_le_bytes());
        out[40..44].copy_from_slice(&self.footer_checksum.to_le_bytes());
        let checksum = crc32c(&out[..44]);
        out[44..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// `None` where these are not a trailer's bytes, of this version, intact.
    fn decode(bytes: &[u8; TRAILER_BYTES]) -> Option<Self> {
        let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let eight = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        (bytes[..8] == MAGIC && four(8) == VERSION && four(44) == crc32c(&bytes[..44])).then(|| Self {
            seal_offset: eight(16),
            footer_offset: eight(24),
            footer_bytes: eight(32),
            footer_checksum: four(40),
        })
    }
}

/// The SEAL block, from its header through the sync marker, as it lies at `seal_offset`.
#[must_use]
pub fn encode_seal(
    codec: Codec,
    footer: &[u8],
    created_at: Timestamp,
    seal_offset: u64,
    sync: [u8; SYNC_BYTES],
) -> Vec<u8> {
    // Every length is known before any offset is: so first with a trailer of zeros, then with the true one.
    let mut payload = [footer, &[0; TRAILER_BYTES]].concat();
    let mut record = Vec::new();
    encode(&mut record, Seed::control(), &Fields::control(kind::SEAL, created_at.0, &payload));
    let plan = codec.stored(record.len(), TRAILER_BYTES);
    let mut out = Vec::with_capacity(plan.len() + 64);
    put_block_header(&mut out, 1, plan.len() as u64);
    let footer_at = out.len() + plan.position(record.len() - payload.len());
    let trailer = Trailer {
        seal_offset,
        footer_offset: seal_offset + footer_at as u64,
        footer_bytes: footer.len() as u64,
        footer_checksum: crc32c(footer),
    };
    payload[footer.len()..].copy_from_slice(&trailer.encode());
    record.clear();
    encode(&mut record, Seed::control(), &Fields::control(kind::SEAL, created_at.0, &payload));
    plan.write(&mut out, &record);
    out.extend_from_slice(&sync);
    out
}

/// What the end of a file says.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub footer: Footer,
    /// What is wrong with the rest of the SEAL block although the footer is intact, and where.
    pub flaw: Option<(u64, &'static str)>,
    /// Where the SEAL block starts.
    pub seal_offset: u64,
}

/// Why the end of a file gives no footer.
#[derive(Clone, Debug)]
pub(super) struct NoTail {
    pub offset: u64,
    pub what: String,
    /// Whether a trailer was found: then the file was once a whole segment.
    pub sealed: bool,
}

/// Reads footer and trailer from the end of `source`, in one read where the SEAL block is not larger than usual.
pub(super) fn read_tail(source: &dyn ReadRange, len: u64) -> Result<Result<Tail, NoTail>, SegmentError> {
    let none = |offset, what: &str, sealed| Ok(Err(NoTail { offset, what: what.to_owned(), sealed }));
    let end_bytes = (TRAILER_BYTES + SYNC_BYTES) as u64;
    let Some(trailer_at) = len.checked_sub(end_bytes) else {
        return none(len, "it is too short to have a trailer", false);
    };
    let read_from = len.saturating_sub(TAIL_BYTES);
    let tail = source.read(read_from, usize::try_from(len - read_from).expect("at most 64 KiB"))?;
    let trailer = tail[tail.len() - TRAILER_BYTES - SYNC_BYTES..].first_chunk().and_then(Trailer::decode);
    let Some(trailer) = trailer else {
        return none(trailer_at, "its trailer is missing or damaged", false);
    };
    let footer_end = trailer.footer_offset.checked_add(trailer.footer_bytes);
    if trailer.seal_offset >= trailer.footer_offset || footer_end.is_none_or(|end| end > trailer_at) {
        return none(trailer_at, "its trailer points out of the file", true);
    }
    let seal = if trailer.seal_offset >= read_from {
        tail.slice(usize::try_from(trailer.seal_offset - read_from).expect("within the tail")..)
    } else {
        // Only what is not here yet.
        let bytes = usize::try_from(read_from - trailer.seal_offset).unwrap_or(usize::MAX);
        [source.read(trailer.seal_offset, bytes)?, tail].concat().into()
    };
    let verbatim = (footer_end == Some(trailer_at)).then(|| {
        let at = usize::try_from(trailer.footer_offset - trailer.seal_offset).expect("within the block");
        seal.slice(at..seal.len() - TRAILER_BYTES - SYNC_BYTES)
    });
    let footer = match verbatim {
        Some(footer) => footer,
        None => match [Codec::DEFAULT, Codec::Deflate { level: 0 }].iter().find_map(|codec| payload(*codec, &seal)) {
            Some(payload) => payload.slice(..payload.len() - TRAILER_BYTES),
            None => return none(trailer.seal_offset, "its SEAL block cannot be read", true),
        },
    };
    if crc32c(&footer) != trailer.footer_checksum || footer.len() as u64 != trailer.footer_bytes {
        return none(trailer.footer_offset, "its footer does not match the checksum in the trailer", true);
    }
    let footer = match Footer::decode(&footer) {
        Ok(footer) => footer,
        Err(error) => return none(trailer.footer_offset, &error.to_string(), true),
    };
    let flaw = flaw(&footer, &seal).map(|what| (trailer.seal_offset, what));
    Ok(Ok(Tail { footer, flaw, seal_offset: trailer.seal_offset }))
}

/// What is wrong with a SEAL block whose footer is intact, as a reader that knows only Avro would meet it.
fn flaw(footer: &Footer, seal: &Bytes) -> Option<&'static str> {
    if seal[seal.len() - SYNC_BYTES..] != footer.sync {
        return Some("the sync marker after the SEAL block is wrong");
    }
    // A stub is not compressed, whatever its segment is.
    let mut codecs = Codec::from_name(&footer.codec).into_iter().chain([Codec::Null]);
    let whole = codecs.any(|codec| payload(codec, seal).is_some());
    (!whole).then_some("the SEAL block around an intact footer is damaged")
}

/// The SEAL record's payload, from the whole block; `None` unless it is intact and long enough for a trailer.
fn payload(codec: Codec, seal: &Bytes) -> Option<Bytes> {
    let BlockHeader { count: 1, bytes, len } = decode_block_header(seal).ok()? else { return None };
    let stored = seal.slice(len..seal.len().checked_sub(SYNC_BYTES).filter(|end| len <= *end)?);
    if stored.len() as u64 != bytes {
        return None;
    }
    let content = codec.decompress(&stored, seal.len()).ok()?;
    let record = decode(&content).ok()?;
    let payload = record.payload?;
    let intact = record.kind == kind::SEAL
        && record.encoded.len() == content.len()
        && payload.len() >= TRAILER_BYTES
        && record.is_intact(Seed::control());
    intact.then(|| content.slice_ref(payload))
}
