//! One record a line.

use std::io::Read;

use bytes::Bytes;

use super::buffer::Found;
use super::{Input, InputError, InputRecord};

impl<R: Read> Input<R> {
    pub(super) fn read_line_record(&mut self) -> Result<Option<InputRecord>, InputError> {
        let place = self.place();
        let limit = self.options.record_bytes_max.as_len();
        match self.lines_mut().find_line(0, limit).map_err(|source| InputError::Read { place, source })? {
            Found::End => Ok(None),
            Found::TooLarge => Err(self.too_large()),
            Found::Line(line) => {
                let payload = Bytes::copy_from_slice(self.lines().peek(line.end));
                self.lines_mut().consume(line.end_with_newline, 1);
                Ok(Some(InputRecord::put(payload, None, None, place)))
            }
        }
    }
}
