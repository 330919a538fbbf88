//! Every record of a collection in one list, for tests that compare a whole log with a model.

use super::Log;
use super::recover::segments::segment_path;
use crate::error::Result;
use crate::fs::OpenMode;
use crate::memtable::RunError;
use crate::segment::SegmentReader;
use crate::types::{CollectionName, Record, Sequence};

impl Log {
    /// What a collection holds, in the order in which it is found: segments, then what is unsealed. Nothing is left out
    /// or put right: what is there twice is in the list twice.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection, or what the disk or the catalog said.
    pub fn contents(&self, collection: &CollectionName) -> Result<Vec<Record>> {
        let known = self.0.collection(collection)?;
        let mut found = Vec::new();
        for row in self.0.catalog.segments_from(collection, Sequence::FIRST, usize::MAX)? {
            let home = self.0.directories.iter().find(|directory| directory.id == row.directory);
            let path = segment_path(&home.unwrap_or(&self.0.directories[0]).path, &row.key);
            let reader = SegmentReader::open(self.0.fs.open(&path, OpenMode::Read)?)?;
            for number in 0..reader.blocks() {
                let block = reader.block(number)?;
                found.extend((0..block.len()).filter_map(|place| block.record(place)));
            }
        }
        let runs: Vec<_> = known.state().unsealed.runs().cloned().collect();
        for run in runs {
            let bytes = run.load()?;
            run.for_each::<RunError>(&bytes, known.seed, |view| {
                found.extend(view.to_record(&bytes).ok());
                Ok(())
            })?;
        }
        Ok(found)
    }
}
