//! The newest state that an MDBX file names, read from the file itself.
//!
//! MDBX keeps three pages at the beginning that each name a state, without a checksum. Where the newest of them does not look
//! right to it, it takes the one before without a word, and the catalog would be an old copy of itself (C3). So what the file
//! names is read here first, and compared with what MDBX took. The format is that of `libmdbx/mdbx.c`, `meta_t`, data version
//! 3, numbers as the machine has them.

use super::mdbx::PAGE_BYTES;
use crate::fs::{File, FsResult};

const HEADER_BYTES: usize = 20;
/// Prime number, order of lists, version.
const MAGIC: u64 = 0x0059_659d_bdef_4c11 << 8 | 3;

/// What the newest page that names a state says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Number of the transaction.
    pub transaction: u64,
    /// Bytes of the file up to the last page in use.
    pub used_bytes: u64,
}

/// Reads the newest state named by a page that was written to its end; `None` where there is none.
pub fn newest(file: &dyn File) -> FsResult<Option<Newest>> {
    let mut found = None;
    for place in 0..3 {
        let mut page = [0; HEADER_BYTES + 184];
        let read = file.read_at(&mut page, place * PAGE_BYTES as u64)?;
        if read == page.len()
            && let Some(meta) = meta(&page[HEADER_BYTES..])
            && found.is_none_or(|newest: Newest| newest.transaction < meta.transaction)
        {
            found = Some(meta);
        }
    }
    Ok(found)
}

fn meta(meta: &[u8]) -> Option<Newest> {
    let number = |at: usize| Some(u64::from_ne_bytes(*meta.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(u64::from(u32::from_ne_bytes(*meta.get(at..)?.first_chunk()?)));
    let (begun, ended) = (number(8)?, number(176)?);
    // The number is written before the rest and after it: where the two differ, the power went in between.
    let is_whole = number(0)? == MAGIC && begun == ended && begun != 0;
    let used_bytes = half(36)?.saturating_mul(half(44)?);
    is_whole.then_some(Newest { transaction: begun, used_bytes })
}
