//! Pieces of archived objects, kept in memory: those used last, up to so many bytes.
//!
//! Owns: the bound, and that two who want the same piece at the same time cause one request. What failed is never kept: each who waited
//! for it tries by himself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Counted for each piece besides its bytes.
const OVERHEAD_BYTES: u64 = 256;

/// A part of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Piece {
    /// As rows name it.
    pub object: Arc<str>,
    pub offset: u64,
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: u64,
    kept: Mutex<Kept>,
    fetched: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: HashMap<Piece, (Bytes, u64)>,
    bytes: u64,
    used: u64,
    /// Being fetched now, by somebody.
    fetching: HashSet<Piece>,
}

/// Somebody fetches a piece; however that ends, those who wait for it are told.
struct Fetching<'a>(&'a Cache, &'a Piece);

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.0.kept().fetching.remove(self.1);
        self.0.fetched.notify_all();
    }
}

impl Cache {
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, kept: Mutex::default(), fetched: Condvar::new() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The piece, from memory, or by `fetch`.
    pub fn get<E>(&self, piece: &Piece, fetch: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        {
            let mut kept = self.kept();
            loop {
                if let Some(bytes) = kept.find(piece) {
                    return Ok(bytes);
                }
                if kept.fetching.insert(piece.clone()) {
                    break;
                }
                kept = self.fetched.wait(kept).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let _fetching = Fetching(self, piece);
        let bytes = fetch()?;
        self.kept().keep(piece, &bytes, self.bytes_max);
        Ok(bytes)
    }

    /// Whether a piece is kept, or is being fetched by somebody.
    pub fn is_known(&self, piece: &Piece) -> bool {
        let kept = self.kept();
        kept.pieces.contains_key(piece) || kept.fetching.contains(piece)
    }

    /// Whether a piece of this length is kept at all.
    pub fn takes(&self, bytes: usize) -> bool {
        bytes as u64 + OVERHEAD_BYTES <= self.bytes_max / 4
    }

    /// Keeps a piece that came with another.
    pub fn keep(&self, piece: &Piece, bytes: &Bytes) {
        self.kept().keep(piece, bytes, self.bytes_max);
    }

    /// Drops what is kept of an object.
    pub fn forget(&self, object: &str) {
        let mut kept = self.kept();
        let kept = &mut *kept;
        kept.pieces.retain(|piece, (bytes, _)| {
            let stays = *piece.object != *object;
            if !stays {
                kept.bytes -= cost(bytes);
            }
            stays
        });
    }
}

fn cost(bytes: &Bytes) -> u64 {
    bytes.len() as u64 + OVERHEAD_BYTES
}

impl Kept {
    fn find(&mut self, piece: &Piece) -> Option<Bytes> {
        self.used += 1;
        let (bytes, used) = self.pieces.get_mut(piece)?;
        *used = self.used;
        Some(bytes.clone())
    }

    fn keep(&mut self, piece: &Piece, bytes: &Bytes, bytes_max: u64) {
        // One piece must not drive out all others.
        if cost(bytes) > bytes_max / 4 {
            return;
        }
        self.used += 1;
        self.bytes += cost(bytes);
        if let Some((before, _)) = self.pieces.insert(piece.clone(), (bytes.clone(), self.used)) {
            self.bytes -= cost(&before);
        }
        if self.bytes > bytes_max {
            self.shrink(bytes_max / 2);
        }
    }

    /// Drops what was used longest ago, down to half: so that this is rare.
    fn shrink(&mut self, target: u64) {
        let mut by_age: Vec<(u64, Piece)> =
            self.pieces.iter().map(|(piece, (_, used))| (*used, piece.clone())).collect();
        by_age.sort_unstable();
        for (_, piece) in by_age {
            if self.bytes <= target {
                break;
            }
            if let Some((bytes, _)) = self.pieces.remove(&piece) {
                self.bytes -= cost(&bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn piece(object: &str, offset: u64) -> Piece {
        Piece { object: object.into(), offset, bytes: 100 }
    }

    fn get(cache: &Cache, piece: &Piece) -> bool {
        let mut fetched = false;
        let fetch = || {
            fetched = true;
            Ok::<_, ()>(Bytes::from(vec![7; 100]))
        };
        assert_eq!(cache.get(piece, fetch).unwrap().len(), 100);
        fetched
    }

    #[test]
    fn keeps_what_was_used_last_within_its_bytes() {
        let cache = Cache::new(10 * (100 + OVERHEAD_BYTES));
        for offset in 0..10 {
            assert!(get(&cache, &piece("a", offset)));
        }
        assert!(!get(&cache, &piece("a", 0)), "nothing was driven out yet");
        assert!(get(&cache, &piece("a", 10)));
        assert!(!get(&cache, &piece("a", 0)) && !get(&cache, &piece("a", 10)), "they were used last");
        assert!(get(&cache, &piece("a", 1)));
        assert!(cache.kept().bytes <= cache.bytes_max);
        cache.forget("b");
        assert!(!get(&cache, &piece("a", 0)));
        cache.forget("a");
        assert_eq!(cache.kept().bytes, 0);
        assert!(cache.kept().pieces.is_empty());
        let none = Cache::new(0);
        assert!(get(&none, &piece("a", 0)) && get(&none, &piece("a", 0)), "what is larger than it is not kept");
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = Cache::new(1 << 20);
        assert_eq!(cache.get(&piece("a", 0), || Err("no")), Err("no"));
        assert!(get(&cache, &piece("a", 0)));
        assert!(cache.kept().fetching.is_empty());
    }

    #[test]
    fn who_wants_the_same_at_once_waits_for_one_request() {
        let cache = Cache::new(1 << 20);
        let requests = AtomicU64::new(0);
        let begin = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    begin.wait();
                    let fetch = || {
                        requests.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, ()>(Bytes::from_static(b"x"))
                    };
                    assert_eq!(cache.get(&piece("a", 0), fetch).unwrap(), "x");
                });
            }
        });
        assert_eq!(requests.into_inner(), 1);
    }
}
