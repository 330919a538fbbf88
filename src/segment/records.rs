//! A segment's records one after another, in either direction.

use super::block::Block;
use super::{SegmentError, SegmentReader};
use crate::types::{Record, Sequence};

/// Records of one segment in order; see [`SegmentReader::records_from`].
#[derive(Debug)]
pub struct Records {
    reader: SegmentReader,
    backwards: bool,
    bound: Sequence,
    /// The block to read next; `None` at the end.
    next: Option<usize>,
    /// The block being read, and the place of the next record in it (backwards: the place after it).
    block: Option<(Block, usize)>,
}

impl Records {
    pub(super) fn ascending(reader: SegmentReader, from: Sequence) -> Self {
        let next = reader.footer().blocks.partition_point(|block| block.held.last < from);
        Self { reader, backwards: false, bound: from, next: Some(next), block: None }
    }

    pub(super) fn descending(reader: SegmentReader, from: Sequence) -> Self {
        let next = reader.footer().blocks.partition_point(|block| block.held.first <= from).checked_sub(1);
        Self { reader, backwards: true, bound: from, next, block: None }
    }
}

impl Iterator for Records {
    type Item = Result<Record, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((block, at)) = &mut self.block {
                let place = if self.backwards { at.checked_sub(1) } else { Some(*at) };
                if let Some(record) = place.and_then(|place| block.record(place)) {
                    *at = if self.backwards { *at - 1 } else { *at + 1 };
                    return Some(Ok(record));
                }
            }
            self.block = None;
            let number = self.next.filter(|number| *number < self.reader.blocks())?;
            self.next = if self.backwards { number.checked_sub(1) } else { Some(number + 1) };
            match self.reader.block(number) {
                Ok(block) => {
                    let after = if self.backwards { self.bound.next() } else { self.bound };
                    let at = block.position(after);
                    self.block = Some((block, at));
                }
                Err(error) => {
                    self.next = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
