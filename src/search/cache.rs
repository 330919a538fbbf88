//! What was read of files, kept in memory up to a limit.
//!
//! Owns: which parts of row groups stay (those used last), and the count of bytes held. A part counts from before it is read until nobody holds
//! it any more, so the count is of memory that is really there. It exceeds the limit only where one part for each thread that reads is more
//! than the limit.
//!
//! A scan of more than fits would find nothing of what it left behind, if it began at the front again: so whoever scans takes first what is
//! here ([`Cache::has`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::source::{Labels, Vectors};
use crate::error::Result;

/// Which part of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PartKey {
    /// The file's number in this process; never given twice.
    pub file: u32,
    pub group: u32,
    pub part: Part,
}

/// What of a row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Vectors of so many dimensions.
    Vectors(u32),
    Labels,
}

/// What is kept.
#[derive(Debug)]
pub(super) enum Content {
    /// With the norm of each vector.
    Vectors(Vectors, Vec<f64>),
    Labels(Labels),
}

impl Content {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Vectors(vectors, norms) => {
                vectors.values.capacity() * size_of::<f32>()
                    + vectors.rows.capacity() * size_of::<u32>()
                    + norms.capacity() * size_of::<f64>()
            }
            Self::Labels(labels) => labels.ids.memory_bytes() + labels.metadata.memory_bytes(),
        }
    }
}

/// Bytes that count as long as this is there.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: usize,
    held: Arc<AtomicUsize>,
}

impl Counted {
    pub fn new(bytes: usize, held: &Arc<AtomicUsize>) -> Self {
        held.fetch_add(bytes, Ordering::SeqCst);
        Self { bytes, held: Arc::clone(held) }
    }

    pub fn set(&mut self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::SeqCst);
        self.held.fetch_sub(self.bytes, Ordering::SeqCst);
        self.bytes = bytes;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// A part in memory.
#[derive(Debug)]
pub(super) struct Held {
    pub content: Content,
    /// Lets go of the count with the rest.
    _counted: Counted,
}

#[derive(Debug)]
pub(super) struct Cache {
    limit: usize,
    held: Arc<AtomicUsize>,
    entries: Mutex<HashMap<PartKey, Entry>>,
}

#[derive(Debug)]
struct Entry {
    part: Arc<Held>,
    /// The last query that used it.
    used: u64,
}

impl Cache {
    pub fn new(limit: usize) -> Self {
        Self { limit, held: Arc::default(), entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<PartKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Whether a part is here.
    pub fn has(&self, key: PartKey) -> bool {
        self.entries().contains_key(&key)
    }

    /// A part, read where it is not here; whether it was. `estimate` is about how many bytes it has; `query` the number of the query that wants it.
    pub fn get(
        &self,
        key: PartKey,
        query: u64,
        estimate: usize,
        read: impl FnOnce() -> Result<Content>,
    ) -> Result<(Arc<Held>, bool)> {
        let mut counted = {
            let mut entries = self.entries();
            if let Some(entry) = entries.get_mut(&key) {
                entry.used = entry.used.max(query);
                return Ok((Arc::clone(&entry.part), true));
            }
            self.make_room(&mut entries, estimate);
            Counted::new(estimate, &self.held)
        };
        let content = read()?;
        let bytes = content.memory_bytes();
        let mut entries = self.entries();
        counted.set(bytes);
        self.make_room(&mut entries, 0);
        let part = Arc::new(Held { content, _counted: counted });
        if self.held() <= self.limit {
            entries.insert(key, Entry { part: Arc::clone(&part), used: query });
        }
        Ok((part, false))
    }

    /// Lets go of parts, those used longest ago first, until `bytes` more fit or none is left.
    fn make_room(&self, entries: &mut HashMap<PartKey, Entry>, bytes: usize) {
        while self.held() + bytes > self.limit {
            // What somebody else holds does not become free by being forgotten.
            let oldest = entries
                .iter()
                .filter(|(_, entry)| Arc::strong_count(&entry.part) == 1)
                .min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| *key) else { return };
            entries.remove(&key);
        }
    }

    /// Forgets everything of a file that is gone.
    pub fn forget(&self, is_gone: impl Fn(u32) -> bool) {
        self.entries().retain(|key, _| !is_gone(key.file));
    }
}

impl Held {
    /// What it counts for.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self._counted.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PartKey = PartKey { file: 0, group: 0, part: Part::Vectors(4) };

    fn content(values: usize) -> Result<Content> {
        Ok(Content::Vectors(Vectors { values: vec![0.0; values], ..Vectors::default() }, Vec::new()))
    }

    fn get(cache: &Cache, group: u32, query: u64, values: usize) -> (Arc<Held>, bool) {
        cache.get(PartKey { group, ..KEY }, query, values * 4, || content(values)).unwrap()
    }

    #[test]
    fn what_was_used_last_stays_and_the_limit_holds() {
        let cache = Cache::new(1000);
        for group in 0..2 {
            assert!(!get(&cache, group, 1, 100).1);
        }
        assert!(get(&cache, 0, 2, 100).1);
        assert_eq!(cache.held(), 800);
        get(&cache, 2, 3, 100);
        assert_eq!(cache.held(), 800, "one had to go");
        let has = |group| cache.has(PartKey { group, ..KEY });
        assert_eq!([has(0), has(1), has(2)], [true, false, true]);
        cache.forget(|file| file == 0);
        assert_eq!(cache.held(), 0);
    }

    #[test]
    fn what_somebody_holds_counts_until_it_is_let_go() {
        let cache = Cache::new(1000);
        let (one, _) = get(&cache, 0, 1, 200);
        let (two, _) = get(&cache, 1, 1, 200);
        assert_eq!((one.bytes(), cache.held()), (800, 1600), "both are in use: there is no way around it");
        assert!(!cache.has(PartKey { group: 1, ..KEY }), "it is not kept beyond the limit");
        drop(two);
        assert_eq!(cache.held(), 800);
        let (huge, _) = get(&cache, 2, 2, 500);
        drop((one, huge));
        assert!(cache.held() <= 1000);
        assert!(!cache.has(PartKey { group: 2, ..KEY }));
    }

    #[test]
    fn a_failed_read_counts_nothing() {
        let cache = Cache::new(1000);
        let failed = || Err(crate::Error::new(crate::ErrorKind::Corrupt, "damaged"));
        assert!(cache.get(KEY, 1, 500, failed).is_err());
        assert_eq!(cache.held(), 0);
    }

    #[test]
    fn a_scan_of_four_times_the_limit_stays_below_it() {
        let cache = Cache::new(4000);
        for query in 1..4 {
            // What is here first, as scans do.
            let (mut order, there): (Vec<u32>, Vec<u32>) =
                (0..40).partition(|group| !cache.has(PartKey { group: *group, ..KEY }));
            order.splice(0..0, there.iter().copied());
            let mut hits = 0;
            for group in order {
                hits += usize::from(get(&cache, group, query, 100).1);
                assert!(cache.held() <= 4000);
            }
            assert_eq!(hits, if query == 1 { 0 } else { 10 });
        }
    }
}
