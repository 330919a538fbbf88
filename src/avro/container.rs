//! Avro object container files: header, blocks, sync markers (Avro 1.12 specification, "Object container files").

use super::AvroError;
use super::varint::{Decoder, put_bytes, put_long};

/// The first four bytes of every file.
pub const MAGIC: [u8; 4] = *b"Obj\x01";
/// Bytes of a sync marker, which ends the header and every block.
pub const SYNC_BYTES: usize = 16;
/// A header longer than this is not ours.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

/// A file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Metadata in the order stored: `avro.schema`, `avro.codec`, and ours.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// The file's sync marker.
    pub sync: [u8; SYNC_BYTES],
    /// Bytes of the header; the first block starts here.
    pub len: usize,
}

impl FileHeader {
    /// A metadata value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.metadata.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// A metadata value that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// Writes a header.
#[must_use]
pub fn encode_header(metadata: &[(&str, &[u8])], sync: [u8; SYNC_BYTES]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    if !metadata.is_empty() {
        put_long(&mut out, metadata.len() as i64);
        for (name, value) in metadata {
            put_bytes(&mut out, name.as_bytes());
            put_bytes(&mut out, value);
        }
    }
    out.push(0);
    out.extend_from_slice(&sync);
    out
}

/// Reads the header at the front of `bytes`.
///
/// # Errors
/// [`AvroError::Truncated`] where more bytes are needed, [`AvroError::BadMagic`] for another kind of file, or why the
/// bytes are no header.
pub fn decode_header(bytes: &[u8]) -> Result<FileHeader, AvroError> {
    let mut decoder = Decoder::new(bytes);
    if decoder.fixed::<4>()? != MAGIC {
        return Err(AvroError::BadMagic);
    }
    let mut metadata = Vec::new();
    loop {
        let mut count = decoder.long()?;
        if count == 0 {
            break;
        }
        if count < 0 {
            decoder.unsigned()?; // the block's size in bytes, for those who skip
            count = count.checked_neg().ok_or(AvroError::Negative)?;
        }
        for _ in 0..count {
            let name = decoder.string()?.to_owned();
            metadata.push((name, decoder.bytes()?.to_vec()));
        }
    }
    let sync = decoder.fixed()?;
    Ok(FileHeader { metadata, sync, len: decoder.position() })
}

/// What stands before a block's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Records in the block.
    pub count: u64,
    /// Bytes of the block as stored, without this header and the sync marker.
    pub bytes: u64,
    /// Bytes of this header.
    pub len: usize,
}

impl BlockHeader {
    /// Bytes from the start of this header to the start of the next block.
    #[must_use]
    pub const fn span(&self) -> u64 {
        self.len as u64 + self.bytes + SYNC_BYTES as u64
    }
}

/// Appends a block's header.
pub fn put_block_header(out: &mut Vec<u8>, count: u64, bytes: u64) {
    put_long(out, count.cast_signed());
    put_long(out, bytes.cast_signed());
}

/// Reads the block header at the front of `bytes`.
///
/// # Errors
/// Why the bytes are none.
pub fn decode_block_header(bytes: &[u8]) -> Result<BlockHeader, AvroError> {
    let mut decoder = Decoder::new(bytes);
    let count = decoder.unsigned()?;
    let bytes = decoder.unsigned()?;
    if bytes > i64::MAX as u64 - 64 {
        return Err(AvroError::Truncated);
    }
    Ok(BlockHeader { count, bytes, len: decoder.position() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_round_trip() {
        let bytes = encode_header(&[("avro.codec", b"null"), ("x", b"")], [9; 16]);
        let header = decode_header(&bytes).unwrap();
        assert_eq!(header.text("avro.codec"), Some("null"));
        assert_eq!(header.get("x"), Some(&b""[..]));
        assert_eq!((header.sync, header.len), ([9; 16], bytes.len()));
        for cut in 0..bytes.len() {
            assert_eq!(decode_header(&bytes[..cut]), Err(AvroError::Truncated), "cut at {cut}");
        }
        assert_eq!(decode_header(b"not avro"), Err(AvroError::BadMagic));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_err(mut bytes: Vec<u8>) {
            let _ = decode_block_header(&bytes);
            bytes.splice(0..0, MAGIC);
            let _ = decode_header(&bytes);
        }
    }
}
