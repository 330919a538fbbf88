//! Parts of files that are kept in memory, as far as the budget lets.
//!
//! Owns: which parts stay: those that were used last. A part counts from before it is read until nobody holds it any more, so the count is of
//! memory that is really there.
//!
//! A scan of more than fits would find nothing of what it left behind, if it began at the front again, or pushed out what it is going to look at: so
//! whoever scans takes first what is here ([`Cache::has`]), and what a query used makes no room for other parts of the same query.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::{Budget, Counted, Permit};
use super::source::Labels;

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
    Vectors(Vectors),
    Labels(Labels),
}

/// Vectors of one dimension out of a row group.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    /// The rows that have one, rising.
    pub rows: Vec<u32>,
    /// The numbers, one vector behind the other.
    pub values: Vec<f32>,
    pub norms: Vec<f64>,
    /// How many rows have a vector of another dimension.
    pub others: u64,
}

impl Vectors {
    /// What so many take in memory, in bytes.
    pub const fn bytes_of(count: usize, dimensions: usize) -> usize {
        count * (dimensions * size_of::<f32>() + size_of::<u32>() + size_of::<f64>())
    }

    pub fn with_capacity(count: usize, dimensions: usize) -> Self {
        Self {
            rows: Vec::with_capacity(count),
            values: Vec::with_capacity(count * dimensions),
            norms: Vec::with_capacity(count),
            others: 0,
        }
    }
}

impl Content {
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Vectors(vectors) => {
                vectors.values.capacity() * size_of::<f32>()
                    + vectors.rows.capacity() * size_of::<u32>()
                    + vectors.norms.capacity() * size_of::<f64>()
            }
            Self::Labels(labels) => labels.ids.memory_bytes() + labels.metadata.memory_bytes(),
        }
    }
}

/// A part in memory.
#[derive(Debug)]
pub(super) struct Held {
    pub content: Content,
    /// Counts it as long as it is there: as one that is kept, or as one that is being read.
    _counts: Counts,
}

#[derive(Debug)]
enum Counts {
    Kept { _counted: Counted },
    Passing { _permit: Option<Permit> },
}

impl Held {
    /// One that is not kept.
    pub const fn passing(content: Content, permit: Option<Permit>) -> Self {
        Self { content, _counts: Counts::Passing { _permit: permit } }
    }
}

#[derive(Debug)]
pub(super) struct Cache {
    budget: Arc<Budget>,
    entries: Mutex<HashMap<PartKey, Entry>>,
}

#[derive(Debug)]
struct Entry {
    part: Arc<Held>,
    bytes: usize,
    /// The last query that used it.
    used: u64,
}

impl Entry {
    /// What somebody else holds does not become free by being forgotten.
    fn can_go(&self) -> bool {
        Arc::strong_count(&self.part) == 1
    }
}

impl Cache {
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { budget, entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<PartKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a part is here.
    pub fn has(&self, key: PartKey) -> bool {
        self.entries().contains_key(&key)
    }

    /// A part, where it is here; `query` is the number of the query that wants it.
    pub fn find(&self, key: PartKey, query: u64) -> Option<Arc<Held>> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&key)?;
        entry.used = entry.used.max(query);
        Some(Arc::clone(&entry.part))
    }

    /// Room for a part of about so many bytes that a query is going to read: parts that older queries used last go for it. `None` where it is not to
    /// be kept; then nothing goes.
    pub fn admit(&self, bytes: usize, query: u64) -> Option<Counted> {
        let mut entries = self.entries();
        let old = |entry: &&Entry| entry.used < query && entry.can_go();
        let can_go: usize = entries.values().filter(old).map(|entry| entry.bytes).sum();
        if self.budget.excess(bytes) > can_go {
            return None;
        }
        while self.budget.excess(bytes) > 0 && Self::drop_oldest(&mut entries, query) {}
        let counted = Counted::new(bytes, &self.budget.parts);
        drop(entries);
        self.budget.note();
        Some(counted)
    }

    /// Keeps a part for which there is room.
    pub fn insert(&self, key: PartKey, content: Content, mut counted: Counted, query: u64) -> Arc<Held> {
        let bytes = content.memory_bytes();
        counted.set(bytes);
        let part = Arc::new(Held { content, _counts: Counts::Kept { _counted: counted } });
        self.entries().insert(key, Entry { part: Arc::clone(&part), bytes, used: query });
        part
    }

    /// Lets go of parts, those used longest ago first, until all that is kept fits again. Whether any went.
    pub fn shed(&self) -> bool {
        let mut entries = self.entries();
        let mut has_gone = false;
        while self.budget.excess(0) > 0 && Self::drop_oldest(&mut entries, u64::MAX) {
            has_gone = true;
        }
        has_gone
    }

    /// Lets go of the part that was used longest ago, by a query before this one.
    fn drop_oldest(entries: &mut HashMap<PartKey, Entry>, before: u64) -> bool {
        let old = entries.iter().filter(|(_, entry)| entry.used < before && entry.can_go());
        let Some(key) = old.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else { return false };
        entries.remove(&key).is_some()
    }

    /// Forgets everything of a file that is gone.
    pub fn forget(&self, is_gone: impl Fn(u32) -> bool) {
        self.entries().retain(|key, _| !is_gone(key.file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    fn cache(limit: usize) -> Cache {
        // Without the allocator's share.
        Cache::new(Arc::new(Budget::new(limit + limit / 7, 1)))
    }

    fn held(cache: &Cache) -> usize {
        cache.budget.parts.load(Ordering::SeqCst)
    }

    const fn key(group: u32) -> PartKey {
        PartKey { file: 0, group, part: Part::Vectors(4) }
    }

    /// As a scan does it: whether it was here.
    fn get(cache: &Cache, group: u32, query: u64, values: usize) -> (Arc<Held>, bool) {
        if let Some(part) = cache.find(key(group), query) {
            return (part, true);
        }
        let content = Content::Vectors(Vectors { values: vec![0.0; values], ..Vectors::default() });
        match cache.admit(values * 4, query) {
            Some(counted) => (cache.insert(key(group), content, counted, query), false),
            None => (Arc::new(Held::passing(content, None)), false),
        }
    }

    #[test]
    fn what_was_used_last_stays_and_the_limit_holds() {
        let cache = cache(1000);
        for group in 0..2 {
            assert!(!get(&cache, group, 1, 100).1);
        }
        assert!(get(&cache, 0, 2, 100).1);
        assert_eq!(held(&cache), 800);
        get(&cache, 2, 3, 100);
        assert_eq!(held(&cache), 800, "one had to go");
        let has = |group| cache.has(key(group));
        assert_eq!([has(0), has(1), has(2)], [true, false, true]);
        get(&cache, 3, 4, 300);
        assert_eq!([has(0), has(2), has(3)], [true, true, false], "none goes for what does not fit anyway");
        cache.forget(|file| file == 0);
        assert_eq!(held(&cache), 0);
    }

    #[test]
    fn what_somebody_holds_stays_until_it_is_let_go() {
        let cache = cache(1000);
        let (one, _) = get(&cache, 0, 1, 200);
        get(&cache, 1, 2, 200);
        assert!(!cache.has(key(1)), "it is not kept beyond the limit, and the other one is in use");
        assert_eq!(held(&cache), 800);
        cache.budget.expect_read(500);
        assert!(!cache.shed());
        drop(one);
        assert!(cache.shed());
        assert_eq!(held(&cache), 0);
    }

    #[test]
    fn room_that_is_not_used_is_given_back() {
        let cache = cache(1000);
        drop(cache.admit(900, 1));
        assert_eq!((held(&cache), cache.budget.peak()), (0, 900));
    }

    #[test]
    fn a_scan_of_four_times_the_limit_stays_below_it() {
        let cache = cache(4000);
        for query in 1..4 {
            // What is here first, as scans do.
            let (mut order, there): (Vec<u32>, Vec<u32>) = (0..40).partition(|group| !cache.has(key(*group)));
            order.splice(0..0, there.iter().copied());
            let mut hits = 0;
            for group in order {
                hits += usize::from(get(&cache, group, query, 100).1);
                assert!(held(&cache) <= 4000);
            }
            assert_eq!(hits, if query == 1 { 0 } else { 10 });
        }
    }
}
