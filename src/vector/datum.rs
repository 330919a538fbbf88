//! The payload of a vector record: an Avro datum of `schema/vector.avsc` (Avro 1.12 specification, "Binary encoding").
//!
//! Written in one form: the array is one block. Read in every form that Avro allows.

use super::{DIMENSIONS_MAX, VectorError, VectorRecord};
use crate::avro::AvroError;
use crate::avro::varint::{Decoder, put_bytes, put_long};

/// Bytes of a number.
const FLOAT_BYTES: usize = 4;

impl VectorRecord {
    /// Appends the datum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(out, &self.id, &self.vector, &self.metadata);
    }

    /// Reads a datum, which must fill `bytes`.
    ///
    /// # Errors
    /// What is wrong with the bytes, or with what they say.
    pub fn decode(bytes: &[u8]) -> Result<Self, VectorError> {
        let mut decoder = Decoder::new(bytes);
        let id = decoder.string()?.to_owned();
        let vector = read_array(&mut decoder, &id)?;
        let metadata = decoder.string()?.to_owned();
        if !decoder.rest().is_empty() {
            return Err(VectorError::BytesBehind { bytes: decoder.rest().len() });
        }
        let record = Self { id, vector, metadata };
        record.check()?;
        Ok(record)
    }
}

/// Appends the datum of these parts.
pub fn encode(out: &mut Vec<u8>, id: &str, vector: &[f32], metadata: &str) {
    put_bytes(out, id.as_bytes());
    if !vector.is_empty() {
        put_long(out, vector.len() as i64);
        out.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
    }
    put_long(out, 0);
    put_bytes(out, metadata.as_bytes());
}

fn read_array(decoder: &mut Decoder<'_>, id: &str) -> Result<Vec<f32>, VectorError> {
    let mut vector = Vec::new();
    loop {
        let count = decoder.long()?;
        if count == 0 {
            return Ok(vector);
        }
        if count < 0 {
            // The block's length in bytes, for readers that skip it.
            decoder.unsigned()?;
        }
        let dimensions = (vector.len() as u64).saturating_add(count.unsigned_abs());
        if dimensions > DIMENSIONS_MAX as u64 {
            return Err(VectorError::TooManyDimensions { id: id.to_owned(), dimensions });
        }
        let bytes = usize::try_from(count.unsigned_abs()).map_err(|_| AvroError::Truncated)? * FLOAT_BYTES;
        let (floats, _) = decoder.take(bytes)?.as_chunks::<FLOAT_BYTES>();
        vector.extend(floats.iter().map(|float| f32::from_le_bytes(*float)));
    }
}
