//! What search needs of a store: the seam between the two.
//!
//! A store has files of records in order of sequence, cut into row groups that are read one at a time, column by column. It hands out views.
//!
//! # What a view promises
//!
//! 1. It stands still: as long as it is held, its files are there and the same, whatever is flushed or compacted meanwhile. (Where another
//!    process removes them, reading gives `NotFound`, and the search begins anew.)
//! 2. Its files hold every record of the collection up to [`View::through`] that is promised, except what compaction removed: versions of a
//!    key behind which a newer one stands in the files, and deletes and expired records of keys of which nothing older stands there.
//! 3. Sequences rise within a file, and files, in their order, do not overlap.
//! 4. A file's name is never used for other bytes.
//! 5. Of two views, the later one reaches at least as far, unless the store was taken back.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::types::{CollectionName, Record, Sequence};

/// A store that can be searched.
pub trait Source: Send + Sync + fmt::Debug {
    /// What the store has of a collection now; an empty view of one that it does not know.
    ///
    /// # Errors
    /// Why it cannot be told.
    fn view(&self, collection: &CollectionName) -> Result<Arc<dyn View>>;
}

/// Where a row group is: the place of its file in [`View::files`], and its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPlace {
    /// The file.
    pub file: usize,
    /// The row group.
    pub group: usize,
}

/// Takes some vectors of a row group: their rows, and their numbers, one vector behind the other.
pub type EachVectors<'a> = dyn FnMut(&[u32], &[f32]) -> Result<()> + 'a;

/// What a store has of a collection at one moment.
pub trait View: Send + Sync + fmt::Debug {
    /// Up to where the store has the collection; zero for nothing.
    fn through(&self) -> Sequence;

    /// Its files, in order of sequence.
    fn files(&self) -> &[FileFacts];

    /// Gives the head of each row of a group, in order.
    ///
    /// # Errors
    /// What the disk said; `Corrupt` for damage.
    fn heads(&self, place: GroupPlace, each: &mut dyn FnMut(Head<'_>)) -> Result<Bytes>;

    /// Gives the vectors of a group that have so many dimensions, some at a time: their rows, which rise, and their numbers, one vector behind the
    /// other.
    ///
    /// # Errors
    /// As [`heads`](Self::heads), and what `each` gives.
    fn vectors(&self, place: GroupPlace, dimensions: usize, each: &mut EachVectors<'_>) -> Result<VectorsRead>;

    /// How many vectors of so many dimensions a group has at most.
    fn vectors_max(&self, place: GroupPlace, dimensions: usize) -> usize;

    /// Ids and metadata of all rows of a group.
    ///
    /// # Errors
    /// As [`heads`](Self::heads).
    fn labels(&self, place: GroupPlace) -> Result<Labels>;

    /// A whole record.
    ///
    /// # Errors
    /// As [`heads`](Self::heads).
    fn record(&self, place: GroupPlace, row: usize) -> Result<Record>;

    /// About how many bytes of memory reading takes at its peak; of [`Reading::Labels`], with what it gives.
    fn reading_bytes(&self, place: GroupPlace, what: Reading) -> usize;
}

/// What is read of a row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// [`View::heads`].
    Heads,
    /// [`View::vectors`] of so many dimensions.
    Vectors(usize),
    /// [`View::labels`].
    Labels,
    /// [`View::record`].
    Record,
}

/// The store of a log that has none: everything is in the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Source for Nothing {
    fn view(&self, _: &CollectionName) -> Result<Arc<dyn View>> {
        Ok(Arc::new(Self))
    }
}

impl View for Nothing {
    fn through(&self) -> Sequence {
        Sequence(0)
    }

    fn files(&self) -> &[FileFacts] {
        &[]
    }

    fn heads(&self, _: GroupPlace, _: &mut dyn FnMut(Head<'_>)) -> Result<Bytes> {
        Ok(0)
    }

    fn vectors(&self, _: GroupPlace, _: usize, _: &mut EachVectors<'_>) -> Result<VectorsRead> {
        Ok(VectorsRead::default())
    }

    fn vectors_max(&self, _: GroupPlace, _: usize) -> usize {
        0
    }

    fn labels(&self, _: GroupPlace) -> Result<Labels> {
        Ok(Labels::default())
    }

    fn record(&self, _: GroupPlace, _: usize) -> Result<Record> {
        Err(crate::Error::new(crate::ErrorKind::NotFound, "there is no store"))
    }

    fn reading_bytes(&self, _: GroupPlace, _: Reading) -> usize {
        0
    }
}

/// How many bytes were read for something.
pub type Bytes = u64;

/// What is known of a file before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its name.
    pub name: String,
    /// Rows of each of its row groups; fewer than 2^32 in all.
    pub groups: Vec<usize>,
}

/// What decides whether a row counts.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its sequence.
    pub sequence: Sequence,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// From when on it is expired.
    pub expires_at: Option<crate::types::Timestamp>,
}

/// What is told of a row group beside its vectors of one dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorsRead {
    /// How many rows have a vector of another dimension.
    pub others: u64,
    /// Bytes read for it.
    pub bytes_read: Bytes,
}

/// Ids and metadata of the rows of a group; empty texts where a row has no vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Ids: the keys.
    pub ids: Texts,
    /// Metadata, JSON.
    pub metadata: Texts,
    /// Bytes read for it.
    pub bytes_read: Bytes,
}

/// Many texts, one behind the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    /// Adds one.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// The text of a row; empty beyond the last.
    #[must_use]
    pub fn get(&self, row: usize) -> &str {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(row).map_or("", |end| &self.text[start..*end])
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Gives back what was allocated ahead.
    pub fn shrink_to_fit(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// What it costs in memory, in bytes.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_one_by_one() {
        let mut texts = Texts::default();
        assert!(texts.is_empty());
        for text in ["a", "", "üx", ""] {
            texts.push(text);
        }
        let back: Vec<&str> = (0..5).map(|row| texts.get(row)).collect();
        assert_eq!(back, ["a", "", "üx", "", ""]);
        assert_eq!(texts.len(), 4);
    }
}
