//! The judgement of a file by its two ends: a segment, a damaged one, a newer one, or none at all.
//!
//! Owns: which of the four it is, so that reader, verifier, salvage and stubs agree. A readable footer outweighs a damaged
//! header, since it has all that the header has; without a footer a header that is ours makes the file a damaged segment.

use crc32c::crc32c;

use super::header::{self, FILE_SEGMENT, FILE_STUB, HeaderFields};
use super::seal::{NoTail, Tail, read_tail};
use super::{ReadRange, SegmentError, SegmentName};
use crate::avro::AvroError;
use crate::avro::container::{FileHeader, HEADER_BYTES_MAX, decode_header};

/// How much of a file's front is read at once: holds every header with a name and schema like ours.
const FRONT_BYTES: usize = 8 << 10;

/// A file's front: the header, and all its bytes.
pub(super) struct Front {
    pub header: Result<FileHeader, AvroError>,
    pub checksum: u32,
}

/// Reads the header, in one read unless it is uncommonly long.
pub(super) fn read_front(source: &dyn ReadRange, len: u64) -> Result<Front, SegmentError> {
    let mut bytes = FRONT_BYTES;
    loop {
        let want = bytes.min(usize::try_from(len).unwrap_or(usize::MAX));
        let front = source.read(0, want)?;
        let header = decode_header(&front);
        if header == Err(AvroError::Truncated) && want < len.min(HEADER_BYTES_MAX as u64) as usize {
            bytes = bytes.saturating_mul(8).min(HEADER_BYTES_MAX);
            continue;
        }
        let checksum = header.as_ref().map_or(0, |header| crc32c(&front[..header.len]));
        return Ok(Front { header, checksum });
    }
}

/// Judges front and end of a file together: the footer, or why the file gives none.
pub(super) fn judge(source: &dyn ReadRange, len: u64, file: &str) -> Result<Tail, SegmentError> {
    let path = source.path();
    let name = SegmentName::of_path(path);
    let tail = read_tail(source, len)?;
    let front = read_front(source, len)?;
    match (tail, front.header) {
        (Ok(mut tail), Ok(header)) => {
            let footer = &tail.footer;
            let fields = HeaderFields {
                file,
                codec: &footer.codec,
                log: footer.log,
                collection: &footer.collection,
                epoch: footer.epoch,
                generation: footer.generation,
            };
            // A stub carries the footer of its segment, whose header was another one.
            let intact = file != FILE_SEGMENT
                || (header.len as u64, front.checksum) == (footer.header_bytes, footer.header_checksum);
            if let Some(what) = header::newer(&header).filter(|_| intact) {
                return Err(SegmentError::Newer { path: path.to_path_buf(), what });
            }
            match header.text("icecore.file") {
                Some(found) if found != file && (intact || found == FILE_STUB) => {
                    return Err(SegmentError::foreign(path, format!("icecore.file=`{found}`, expected=`{file}`")));
                }
                _ => {}
            }
            if file == FILE_SEGMENT && (!intact || header.sync != footer.sync || !header::agrees(&header, &fields)) {
                tail.flaw = Some((0, "its header is not the one that was written"));
            }
            if file == FILE_SEGMENT && tail.seal_offset != footer.data_end() {
                tail.flaw = Some((footer.data_end(), "there are bytes between the last block and the SEAL block"));
            }
            Ok(tail)
        }
        (Ok(mut tail), Err(_)) => {
            tail.flaw = Some((0, "its header cannot be read"));
            Ok(tail)
        }
        (Err(NoTail { offset, what, sealed }), Ok(header)) => {
            let ours = header.text("icecore.file");
            let newer = header::newer(&header).filter(|_| ours.is_some());
            match (newer, ours) {
                (Some(what), _) => Err(SegmentError::Newer { path: path.to_path_buf(), what }),
                (None, Some(found)) if found == file || sealed => {
                    Err(SegmentError::damaged(path, offset, name.map(|name| name.covers), what))
                }
                (None, Some(found)) => {
                    Err(SegmentError::foreign(path, format!("icecore.file=`{found}`, expected=`{file}`")))
                }
                (None, None) if sealed => Err(SegmentError::damaged(path, offset, name.map(|name| name.covers), what)),
                (None, None) => Err(SegmentError::foreign(path, "an Avro file without icecore's metadata")),
            }
        }
        (Err(NoTail { offset, what, sealed: true }), Err(_)) => {
            Err(SegmentError::damaged(path, offset, name.map(|name| name.covers), what))
        }
        (Err(_), Err(error)) => Err(SegmentError::foreign(path, error.to_string())),
    }
}
