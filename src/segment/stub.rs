//! Stubs: a segment's footer, kept where the segment was, so that its last sequence is never forgotten (C7).
//!
//! Owns: the stub's file. It is an Avro file too: a header, and a SEAL block with the segment's own footer, unchanged, so
//! that the index in it still leads into the archived segment ([`super::SegmentReader::with_footer`]).

use std::path::Path;
use std::sync::Arc;

use super::header::{self, FILE_STUB, HeaderFields};
use super::open::judge;
use super::seal::encode_seal;
use super::{FileRange, Footer, SegmentError, SegmentName};
use crate::avro::codec::Codec;
use crate::fs::{File, FileSystem, OpenMode};

/// Writes a stub to a new file and syncs it; its name is durable after a sync of its directory. Returns its length.
///
/// # Errors
/// Where the name is taken, or what failed while writing or syncing; then the caller removes what is there.
pub fn write_stub(fs: &dyn FileSystem, path: &Path, footer: &Footer) -> Result<u64, SegmentError> {
    let codec = Codec::Null;
    let fields = HeaderFields {
        file: FILE_STUB,
        codec: codec.name(),
        log: footer.log,
        collection: &footer.collection,
        epoch: footer.epoch,
        generation: footer.generation,
    };
    let mut bytes = header::encode(&fields, footer.sync);
    let seal_offset = bytes.len() as u64;
    bytes.extend(encode_seal(codec, &footer.encode(), footer.created_at, seal_offset, footer.sync));
    let file = fs.open(path, OpenMode::CreateNew)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    Ok(bytes.len() as u64)
}

/// Reads the footer of the segment that a stub stands for.
///
/// # Errors
/// [`SegmentError::NotASegment`] for another kind of file, [`SegmentError::Newer`], [`SegmentError::Damaged`] where any
/// byte that matters is wrong, or what failed while reading.
pub fn read_stub(file: Arc<dyn File>) -> Result<Footer, SegmentError> {
    let source = FileRange(file);
    let len = super::ReadRange::len(&source)?;
    let tail = judge(&source, len, FILE_STUB)?;
    let path = super::ReadRange::path(&source);
    let covers = tail.footer.covers;
    if let Some(name) = SegmentName::of_path(path).filter(|name| name.covers != covers) {
        let what = format!("its footer covers `{covers}`, its name `{}`", name.covers);
        return Err(SegmentError::damaged(path, 0, Some(covers), what));
    }
    Ok(tail.footer)
}
