//! One vector a line: `{"id": "doc-7", "vector": [0.25, -1.0], "metadata": {"lang": "en"}}`.
//!
//! The record's key is the id, its payload the vector as [`VectorRecord`] writes it: not the bytes of the line, but all that they say.

use std::io::Read;

use super::buffer::Found;
use super::{Input, InputError, InputRecord, Place};
use crate::vector::{VectorError, VectorRecord};

impl<R: Read> Input<R> {
    pub(super) fn read_vector_record(&mut self) -> Result<Option<InputRecord>, InputError> {
        loop {
            let place = self.place();
            // Numbers are longer as text than as bytes, and what counts is the record; but a line has an end too.
            let limit = self.options.record_bytes_max.as_len().saturating_mul(TEXT_FACTOR);
            let line =
                match self.lines_mut().find_line(0, limit).map_err(|source| InputError::Read { place, source })? {
                    Found::End => return Ok(None),
                    Found::TooLarge => return Err(self.too_large()),
                    Found::Line(line) => line,
                };
            let bytes = self.lines().peek(line.end);
            if bytes.iter().all(u8::is_ascii_whitespace) {
                self.lines_mut().consume(line.end_with_newline, 1);
                continue;
            }
            let vector = read_line(bytes, self.dimensions).map_err(|why| malformed(place, why))?;
            let key = self.checked_key(vector.id.as_bytes().to_vec(), place)?;
            let mut record = vector.into_new_record().map_err(|error| malformed(place, error.to_string()))?;
            if record.payload.as_ref().is_some_and(|payload| payload.len() > self.options.record_bytes_max.as_len()) {
                return Err(self.too_large());
            }
            record.key = Some(key);
            self.lines_mut().consume(line.end_with_newline, 1);
            return Ok(Some(InputRecord { record, place }));
        }
    }
}

/// A number of four bytes has at most this many times as many as text, with its comma and a blank.
const TEXT_FACTOR: usize = 8;

fn read_line(bytes: &[u8], dimensions: Option<usize>) -> Result<VectorRecord, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let vector = VectorRecord::from_json(text).map_err(|error| error.to_string())?;
    let checked = dimensions.map_or(Ok(()), |wanted| vector.check_dimensions(wanted));
    checked.map(|()| vector).map_err(|error: VectorError| error.to_string())
}

fn malformed(place: Place, why: String) -> InputError {
    InputError::Malformed { format: "vectors", place, why }
}
