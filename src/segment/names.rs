//! Names of segment files and stubs, below `{directory}/{collection}/`.
//!
//! Owns: `{first:020}-{last:020}.{generation}.avro` for a segment and `….stub.avro` for a stub. One name has one
//! spelling; anything else is no name of ours, so that discovery neither takes a foreign file nor misses one.

use std::path::{Path, PathBuf};

use super::SequenceRange;
use crate::types::{CollectionName, Generation, Sequence};

/// What a file below a collection's directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A segment.
    Segment,
    /// A segment's footer, kept where the segment was.
    Stub,
}

/// The name of a segment or a stub within its collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The sequences that the segment covers.
    pub covers: SequenceRange,
    /// How often the range was rewritten.
    pub generation: Generation,
    /// Segment or stub.
    pub kind: FileKind,
}

impl SegmentName {
    /// The name of a segment.
    #[must_use]
    pub const fn segment(covers: SequenceRange, generation: Generation) -> Self {
        Self { covers, generation, kind: FileKind::Segment }
    }

    /// The name of a segment's stub.
    #[must_use]
    pub const fn stub(covers: SequenceRange, generation: Generation) -> Self {
        Self { covers, generation, kind: FileKind::Stub }
    }

    /// The name of the segment that a row of the catalog is about.
    #[must_use]
    pub const fn of_key(key: &crate::catalog::SegmentKey) -> Self {
        Self::segment(SequenceRange { first: key.first, last: key.last }, key.generation)
    }

    /// The file's path relative to its directory, with `/` between parts.
    #[must_use]
    pub fn relative(&self, collection: &CollectionName) -> String {
        format!("{}/{self}", collection.directory_name())
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self, directory: &Path, collection: &CollectionName) -> PathBuf {
        directory.join(collection.directory_name()).join(self.to_string())
    }

    /// Reads a file name back; `None` for every text that [`SegmentName`] does not itself write.
    ///
    /// ```
    /// use icecore::segment::SegmentName;
    /// let name = SegmentName::parse("00000000000000000001-00000000000000000042.0.avro").unwrap();
    /// assert_eq!(name.covers.last.get(), 42);
    /// assert_eq!(SegmentName::parse("1-42.0.avro"), None);
    /// ```
    #[must_use]
    pub fn parse(file_name: &str) -> Option<Self> {
        let stem = file_name.strip_suffix(".avro")?;
        let (stem, kind) = match stem.strip_suffix(".stub") {
            Some(stem) => (stem, FileKind::Stub),
            None => (stem, FileKind::Segment),
        };
        let (range, generation) = stem.split_once('.')?;
        let (first, last) = range.split_once('-')?;
        let covers = SequenceRange::new(Sequence(first.parse().ok()?), Sequence(last.parse().ok()?))?;
        let name = Self { covers, generation: Generation(generation.parse().ok()?), kind };
        // `parse` takes `+7` and `007`; the one spelling settles it.
        (name.to_string() == file_name).then_some(name)
    }

    /// [`parse`](Self::parse) of a path's last part.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }
}

impl std::fmt::Display for SegmentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stub = if self.kind == FileKind::Stub { ".stub" } else { "" };
        write!(f, "{:020}-{:020}.{}{stub}.avro", self.covers.first.get(), self.covers.last.get(), self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_one_spelling_is_a_name() {
        let good = "00000000000000000001-00000000000000000042.0.avro";
        assert!(SegmentName::parse(good).is_some());
        for bad in [
            "",
            ".avro",
            "1-42.0.avro",
            "00000000000000000001-00000000000000000042.avro",
            "00000000000000000001-00000000000000000042.00.avro",
            "00000000000000000001-00000000000000000042.+0.avro",
            "+0000000000000000001-00000000000000000042.0.avro",
            "00000000000000000042-00000000000000000001.0.avro",
            "00000000000000000000-00000000000000000001.0.avro",
            "00000000000000000001-00000000000000000042.0.avro.tmp",
            "00000000000000000001-00000000000000000042.0.stub.stub.avro",
            "00000000000000000001-00000000000000000042.0.AVRO",
            "00000000000000000001-09223372036854775808.0.avro",
            "00000000000000000001-00000000000000000042.4294967296.avro",
        ] {
            assert_eq!(SegmentName::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn names_round_trip(a in 1..=Sequence::MAX.0, b in 1..=Sequence::MAX.0, generation: u32, stub: bool) {
            let covers = SequenceRange::new(Sequence(a.min(b)), Sequence(a.max(b))).unwrap();
            let kind = if stub { FileKind::Stub } else { FileKind::Segment };
            let name = SegmentName { covers, generation: Generation(generation), kind };
            prop_assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn any_text_parses_or_not(text: String) {
            if let Some(name) = SegmentName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
