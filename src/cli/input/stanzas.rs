//! Blocks of `Field: value` lines with empty lines between: RFC 822 headers, Debian control files.

use std::io::Read;

use bytes::Bytes;

use super::buffer::Found;
use super::{Input, InputError, InputRecord, Place, read_time};

impl<R: Read> Input<R> {
    pub(super) fn read_stanza_record(&mut self) -> Result<Option<InputRecord>, InputError> {
        if !self.skip_empty_lines()? {
            return Ok(None);
        }
        let place = self.place();
        let limit = self.options.record_bytes_max.as_len();
        let (mut len, mut lines) = (0, 0);
        loop {
            // Two bytes more than a stanza may have: the line that ends it may be `\r\n`.
            let found = self.lines_mut().find_line(len, limit.saturating_add(2));
            let line = match found.map_err(|source| InputError::Read { place, source })? {
                Found::Line(line) => line,
                Found::End => break,
                Found::TooLarge => return Err(self.too_large()),
            };
            let text = &self.lines().peek(line.end)[len..];
            if is_empty(text) {
                break;
            }
            check_line(text, lines == 0).map_err(|why| InputError::Malformed {
                format: "stanzas",
                place: place.at_line(lines, len),
                why,
            })?;
            if line.end_with_newline > limit {
                return Err(self.too_large());
            }
            len = line.end_with_newline;
            lines += 1;
        }
        let stanza = self.lines().peek(len);
        let payload = Bytes::copy_from_slice(stanza);
        let wanted = |name: &Option<String>| name.as_ref().map(|name| field(stanza, name, place)).transpose();
        let (key, time) = (wanted(&self.options.key)?, wanted(&self.options.timestamp)?);
        let key = key.map(|key| self.checked_key(key, place)).transpose()?;
        let timestamp = match (&self.options.timestamp, time) {
            (Some(name), Some(text)) => {
                let time = read_time(&String::from_utf8_lossy(&text));
                Some(time.map_err(|why| InputError::Field { field: name.clone(), place, why })?)
            }
            _ => None,
        };
        self.lines_mut().consume(len, lines);
        Ok(Some(InputRecord::put(payload, key, timestamp, place)))
    }

    /// Goes to the next line that is not empty; `false` at the end of the input.
    fn skip_empty_lines(&mut self) -> Result<bool, InputError> {
        loop {
            let place = self.place();
            // A line beyond one byte is not empty, however long it is.
            match self.lines_mut().find_line(0, 1).map_err(|source| InputError::Read { place, source })? {
                Found::End => return Ok(false),
                Found::Line(line) if is_empty(self.lines().peek(line.end)) => {
                    self.lines_mut().consume(line.end_with_newline, 1);
                }
                Found::Line(_) | Found::TooLarge => {
                    self.lines_mut().search_again();
                    return Ok(true);
                }
            }
        }
    }
}

impl Place {
    /// The same record, `lines` lines and `bytes` bytes further on.
    fn at_line(self, lines: u64, bytes: usize) -> Self {
        Self { line: self.line + lines, offset: self.offset + bytes as u64, ..self }
    }
}

/// An empty line ends a stanza, also where lines end in `\r\n`.
fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"" | b"\r")
}

fn is_continuation(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

fn check_line(line: &[u8], is_first: bool) -> Result<(), String> {
    if is_continuation(line) {
        if is_first {
            return Err("a stanza begins with a continuation line".to_owned());
        }
    } else if !line.starts_with(b"#") && line.iter().position(|byte| *byte == b':').is_none_or(|at| at == 0) {
        return Err(
            "a line is neither `Field: value` nor a continuation (a blank in front) nor a comment (#)".to_owned()
        );
    }
    Ok(())
}

/// The value of a field, its name compared without regard to case; continuation lines are joined by one blank.
fn field(stanza: &[u8], name: &str, place: Place) -> Result<Vec<u8>, InputError> {
    let unusable = |why: &str| InputError::Field { field: name.to_owned(), place, why: why.to_owned() };
    let mut value: Option<Vec<u8>> = None;
    let mut is_inside = false;
    for line in stanza.split(|byte| *byte == b'\n') {
        if line.starts_with(b"#") {
            continue;
        }
        if is_continuation(line) {
            if let Some(value) = value.as_mut().filter(|_| is_inside) {
                if !value.is_empty() {
                    value.push(b' ');
                }
                value.extend_from_slice(line.trim_ascii());
            }
            continue;
        }
        is_inside = line
            .split_at_checked(name.len())
            .is_some_and(|(front, rest)| front.eq_ignore_ascii_case(name.as_bytes()) && is_colon_next(rest));
        if is_inside {
            if value.is_some() {
                return Err(unusable("it is there twice"));
            }
            let after = line.iter().position(|byte| *byte == b':').map_or(line.len(), |colon| colon + 1);
            value = Some(line[after..].trim_ascii().to_vec());
        }
    }
    value.ok_or_else(|| unusable("it is not there"))
}

/// Blanks may stand between a field's name and its colon.
fn is_colon_next(rest: &[u8]) -> bool {
    rest.trim_ascii_start().starts_with(b":")
}
