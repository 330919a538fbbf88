//! The bytes of one file, in chunks that snapshots share until one of them writes.

use std::sync::{Arc, OnceLock};

const CHUNK_BYTES: usize = 4096;

/// Bytes of a file. A chunk that was never written is all zeros and takes no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    chunks: Vec<Option<Arc<Chunk>>>,
}

#[derive(Debug)]
struct Chunk {
    bytes: [u8; CHUNK_BYTES],
    /// Computed when asked for, and forgotten by a write.
    hash: OnceLock<u64>,
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, hash: OnceLock::new() }
    }
}

impl Content {
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to the end; zero where `offset` is at or behind it.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let len = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let mut done = 0;
        while done < len {
            let (index, within) = split(offset + done as u64);
            let take = (CHUNK_BYTES - within).min(len - done);
            match self.chunks.get(index).and_then(Option::as_ref) {
                Some(chunk) => buffer[done..done + take].copy_from_slice(&chunk.bytes[within..within + take]),
                None => buffer[done..done + take].fill(0),
            }
            done += take;
        }
        len
    }

    /// Writes, and makes the file longer where it ends before.
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
        let mut done = 0;
        while done < bytes.len() {
            let (index, within) = split(offset + done as u64);
            let take = (CHUNK_BYTES - within).min(bytes.len() - done);
            let chunk = self.chunk_mut(index);
            chunk.bytes[within..within + take].copy_from_slice(&bytes[done..done + take]);
            done += take;
        }
    }

    /// Cuts, or adds zeros.
    pub fn resize(&mut self, len: u64) {
        if len < self.len {
            let (index, within) = split(len);
            self.chunks.truncate(if within == 0 { index } else { index + 1 });
            if within > 0 && self.chunks.get(index).is_some_and(Option::is_some) {
                self.chunk_mut(index).bytes[within..].fill(0);
            }
        }
        self.len = len;
    }

    fn chunk_mut(&mut self, index: usize) -> &mut Chunk {
        if self.chunks.len() <= index {
            self.chunks.resize(index + 1, None);
        }
        let zeros = || Arc::new(Chunk { bytes: [0; CHUNK_BYTES], hash: OnceLock::new() });
        let chunk = Arc::make_mut(self.chunks[index].get_or_insert_with(zeros));
        chunk.hash = OnceLock::new();
        chunk
    }

    /// Tells contents apart; the same for the same bytes, however they came to be.
    pub fn hash(&self) -> u64 {
        let written = self.chunks.iter().enumerate().filter_map(|(index, chunk)| Some((index as u64, chunk.as_ref()?)));
        written.fold(mix(0, self.len), |hash, (index, chunk)| match *chunk.hash.get_or_init(|| hash_of(&chunk.bytes)) {
            0 => hash,
            of_chunk => mix(mix(hash, index), of_chunk),
        })
    }
}

const fn split(offset: u64) -> (usize, usize) {
    ((offset / CHUNK_BYTES as u64) as usize, (offset % CHUNK_BYTES as u64) as usize)
}

/// Zero for zeros, so that a chunk of zeros and one never written are the same.
fn hash_of(bytes: &[u8; CHUNK_BYTES]) -> u64 {
    if bytes.iter().all(|&byte| byte == 0) { 0 } else { hash_bytes(1, bytes) | 1 }
}

/// One step of a hash that tells states apart; no secret, no format.
pub(super) const fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed.rotate_left(29)
}

/// Folds bytes into a hash.
pub(super) fn hash_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let hash = words.by_ref().fold(mix(hash, bytes.len() as u64), |hash, word| {
        mix(hash, u64::from_le_bytes(word.try_into().expect("8 bytes")))
    });
    words.remainder().iter().fold(hash, |hash, &byte| mix(hash, u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: &Content) -> Vec<u8> {
        let mut bytes = vec![9; content.len() as usize];
        assert_eq!(content.read(&mut bytes, 0), bytes.len());
        bytes
    }

    #[test]
    fn behaves_like_a_vector() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut content, mut model) = (Content::default(), Vec::<u8>::new());
        for _ in 0..2000 {
            let at = random.usize(0..3 * CHUNK_BYTES);
            if random.u8(0..4) == 0 {
                content.resize(at as u64);
                model.resize(at, 0);
            } else {
                let piece = vec![random.u8(..); random.usize(1..CHUNK_BYTES)];
                content.write(&piece, at as u64);
                model.resize(model.len().max(at + piece.len()), 0);
                model[at..at + piece.len()].copy_from_slice(&piece);
            }
            assert_eq!(bytes(&content), model);
        }
    }

    #[test]
    fn snapshots_stay_and_hashes_tell_bytes_apart() {
        let mut content = Content::default();
        content.write(b"abc", 5000);
        let (before, hash) = (content.clone(), content.hash());
        content.write(b"x", 5001);
        assert_ne!(content.hash(), hash);
        assert_eq!(&bytes(&before)[5000..], b"abc");
        content.write(b"b", 5001);
        assert_eq!(content.hash(), hash);
        content.write(&[0; 3], 5000);
        let mut zeros = Content::default();
        zeros.resize(5003);
        assert_eq!(content.hash(), zeros.hash());
    }
}
