//! The bytes of a checkpoint, made again for each piece that is sent: a state of millions of segments is not there a second time as text.
//!
//! Owns: the text of a state by offset. It is made once to learn its length and digest, and once (or oftener, where a piece is sent
//! again) to be sent; in memory are the state, a mark for each megabyte or so of text, and the piece.

use std::path::Path;

use bytes::Bytes;

use super::manifest::encode::{end_line, write_line};
use super::manifest::{Entry, ManifestHead, ManifestMark};
use super::state::ArchiveState;
use crate::avro::Sha256;
use crate::catalog::SegmentKey;
use crate::fs::{FsError, FsResult};
use crate::objects::{Source, Upload};

/// A mark stands at the first segment after so many bytes.
const MARK_BYTES: u64 = 1 << 20;

/// A checkpoint that can be sent.
pub(super) struct Checkpoint<'a> {
    state: &'a ArchiveState,
    head: Vec<u8>,
    end: Vec<u8>,
    /// Where the lines of some segments begin, in order.
    marks: Vec<(u64, SegmentKey)>,
    /// Where the last line begins.
    end_at: u64,
    sha256: [u8; 32],
}

impl<'a> Checkpoint<'a> {
    /// Goes through the state once. `head`'s `base_entries` is set.
    pub fn new(state: &'a ArchiveState, head: &mut ManifestHead) -> Self {
        head.base_entries = state.entries_from(None).count() as u64;
        let mut text = Vec::new();
        write_line(head, &mut text);
        let first = text.clone();
        let mut digest = Sha256::new();
        digest.update(&first);
        let (mut at, mut marks) = (first.len() as u64, Vec::new());
        let mut last_marked = at;
        for entry in state.entries_from(None) {
            if let Entry::Added(added) = &entry
                && at - last_marked >= MARK_BYTES
            {
                marks.push((at, added.segment.clone()));
                last_marked = at;
            }
            text.clear();
            write_line(&entry, &mut text);
            digest.update(&text);
            at += text.len() as u64;
        }
        let end = end_line(head.base_entries + 1, &digest.clone().finish()).into_bytes();
        digest.update(&end);
        Self { state, head: first, end, marks, end_at: at, sha256: digest.finish() }
    }

    /// What identifies it.
    pub fn mark(&self, head: &ManifestHead) -> ManifestMark {
        ManifestMark { number: head.number, epoch: head.epoch, writer: head.writer, sha256: self.sha256 }
    }

    /// What is sent.
    pub fn upload(&self) -> Upload<'_> {
        Upload::new(self, self.end_at + self.end.len() as u64, self.sha256)
    }
}

impl Source for Checkpoint<'_> {
    fn read(&self, offset: u64, bytes: usize) -> FsResult<Bytes> {
        let until = offset.saturating_add(bytes as u64);
        let mark = self.marks.partition_point(|(at, _)| *at <= offset).checked_sub(1).map(|index| &self.marks[index]);
        let (mut at, from) = mark.map_or((0, None), |(at, segment)| (*at, Some(segment)));
        let mut piece = Vec::with_capacity(bytes);
        let mut take = |text: &[u8], at: &mut u64| {
            let begin = offset.saturating_sub(*at).min(text.len() as u64);
            let end = until.saturating_sub(*at).min(text.len() as u64);
            piece.extend_from_slice(
                &text[usize::try_from(begin).expect("it fits")..usize::try_from(end).expect("it fits")],
            );
            *at += text.len() as u64;
        };
        if from.is_none() {
            take(&self.head, &mut at);
        }
        let mut text = Vec::new();
        for entry in self.state.entries_from(from) {
            if at >= until {
                break;
            }
            text.clear();
            write_line(&entry, &mut text);
            take(&text, &mut at);
        }
        if at == self.end_at {
            take(&self.end, &mut at);
        }
        if piece.len() == bytes {
            return Ok(piece.into());
        }
        let ends_early = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        Err(FsError::new("read", Path::new("checkpoint"), ends_early))
    }
}
