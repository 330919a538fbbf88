//! A buffer that gives out bytes of an input by lines, without bound on the input and with one on a record.

use std::io::{self, Read};

/// How much is asked of the input at once.
const CHUNK_BYTES: usize = 256 << 10;

/// The bytes of an input from the next record on, as far as they were read.
///
/// Always holds: `start <= searched <= end`, and every line that ends before `searched` was found since the last record
/// was consumed; so no byte of a record is searched twice, however often a long line makes the buffer grow.
pub(super) struct LineReader<R> {
    reader: R,
    bytes: Vec<u8>,
    start: usize,
    searched: usize,
    end: usize,
    at_end: bool,
    line: u64,
    offset: u64,
}

/// A line that was found, still in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Bytes from the start of the record to the end of the line, without its newline.
    pub end: usize,
    /// The same with the newline, if it has one.
    pub end_with_newline: usize,
}

/// What looking for a line gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Line(Line),
    /// Nothing is left.
    End,
    /// The record grew beyond the limit before the line ended.
    TooLarge,
}

impl<R: Read> LineReader<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, bytes: Vec::new(), start: 0, searched: 0, end: 0, at_end: false, line: 1, offset: 0 }
    }

    /// The number of the line that comes next, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The offset in the input of the byte that comes next.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The first `len` bytes that come next; they must have been found.
    pub fn peek(&self, len: usize) -> &[u8] {
        &self.bytes[self.start..self.start + len]
    }

    /// Finds the end of the line that begins `from` bytes further on, reading as much as that takes, and gives up when
    /// more than `limit` bytes (the newline not counted) lie before it.
    pub fn find_line(&mut self, from: usize, limit: usize) -> io::Result<Found> {
        self.searched = self.searched.max(self.start + from);
        loop {
            let unsearched = &self.bytes[self.searched..self.end];
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + at - self.start;
                self.searched += at + 1;
                return Ok(if end > limit {
                    Found::TooLarge
                } else {
                    Found::Line(Line { end, end_with_newline: end + 1 })
                });
            }
            self.searched = self.end;
            let held = self.end - self.start;
            if held > limit {
                return Ok(Found::TooLarge);
            }
            if self.at_end {
                let line = Line { end: held, end_with_newline: held };
                return Ok(if held == from { Found::End } else { Found::Line(line) });
            }
            self.read_more()?;
        }
    }

    /// Lets the next search begin at the next record again.
    pub fn search_again(&mut self) {
        self.searched = self.start;
    }

    /// Goes past the first `len` bytes, which hold `lines` lines. Lines that were found behind them are found again.
    pub fn consume(&mut self, len: usize, lines: u64) {
        self.start += len;
        self.searched = self.start;
        self.line += lines;
        self.offset += len as u64;
    }

    /// Whether a whole line, or the end of the input, is in the buffer.
    pub fn has_line(&self) -> bool {
        self.at_end || self.bytes[self.start..self.end].contains(&b'\n')
    }

    /// Whether a line that is not blank, or the end of the input, is in the buffer.
    pub fn has_line_with_content(&self) -> bool {
        self.at_end || self.bytes[self.start..self.end].trim_ascii_start().contains(&b'\n')
    }

    /// Whether an empty line behind a stanza, or the end of the input, is in the buffer.
    pub fn has_end_of_stanza(&self) -> bool {
        // Empty lines in front end nothing: they are skipped.
        let mut held = self.bytes[self.start..self.end].trim_ascii_start();
        while let Some(at) = held.iter().position(|byte| *byte == b'\n') {
            held = &held[at + 1..];
            if held.starts_with(b"\n") || held.starts_with(b"\r\n") {
                return true;
            }
        }
        self.at_end
    }

    fn read_more(&mut self) -> io::Result<()> {
        // What is held is moved to the front only when the room behind it is used up: each byte is moved at most once
        // per chunk, and a record that spans many chunks doubles the buffer instead.
        if self.bytes.len() - self.end < CHUNK_BYTES / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.searched -= self.start;
            self.end -= self.start;
            self.start = 0;
            if self.bytes.len() - self.end < CHUNK_BYTES / 2 {
                let len = (self.bytes.len() * 2).max(CHUNK_BYTES);
                self.bytes.resize(len, 0);
            }
        }
        loop {
            match self.reader.read(&mut self.bytes[self.end..]) {
                Ok(0) => self.at_end = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}
