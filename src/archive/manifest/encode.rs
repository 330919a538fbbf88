//! Writes manifests.

use super::{Entry, ManifestHead, ManifestMark};
use crate::avro::{Sha256, sha256};
use crate::types::ids::hex;

/// Makes the lines of one manifest, one after another. Whoever calls keeps them, or sends them on.
#[derive(Debug)]
pub struct Encoder {
    digest: Sha256,
    lines: u64,
}

impl Encoder {
    /// Begins a manifest: its first line is added to `text`.
    pub fn begin(head: &ManifestHead, text: &mut Vec<u8>) -> Self {
        let mut encoder = Self { digest: Sha256::new(), lines: 0 };
        encoder.line(head, text);
        encoder
    }

    fn line(&mut self, value: &impl serde::Serialize, text: &mut Vec<u8>) {
        let from = text.len();
        write_line(value, text);
        self.digest.update(&text[from..]);
        self.lines += 1;
    }

    /// Adds an entry's line to `text`.
    pub fn entry(&mut self, entry: &Entry, text: &mut Vec<u8>) {
        self.line(entry, text);
    }

    /// Adds the last line to `text`.
    pub fn end(self, text: &mut Vec<u8>) {
        text.extend_from_slice(end_line(self.lines, &self.digest.finish()).as_bytes());
    }
}

pub(in crate::archive) fn write_line(value: &impl serde::Serialize, text: &mut Vec<u8>) {
    serde_json::to_writer(&mut *text, value).expect("text and numbers go into memory");
    text.push(b'\n');
}

/// The one spelling of the last line.
pub(in crate::archive) fn end_line(lines: u64, sha256: &[u8; 32]) -> String {
    format!("{{\"end\":{{\"lines\":{lines},\"sha256\":\"{}\"}}}}\n", hex(sha256))
}

/// All bytes of a manifest, and what identifies it.
#[must_use]
pub fn encode(head: &ManifestHead, entries: &[Entry]) -> (Vec<u8>, ManifestMark) {
    let mut text = Vec::with_capacity(512 + 512 * entries.len());
    let mut encoder = Encoder::begin(head, &mut text);
    for entry in entries {
        encoder.entry(entry, &mut text);
    }
    encoder.end(&mut text);
    let mark = ManifestMark { number: head.number, epoch: head.epoch, writer: head.writer, sha256: sha256(&text) };
    (text, mark)
}
