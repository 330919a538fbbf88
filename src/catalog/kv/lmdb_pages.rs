//! Whether the pages that a state of an LMDB file uses all lie within the file.
//!
//! A page beyond the end kills the process that reads it through the map. LMDB does not look; and the file may rightly end
//! before the last page that was ever handed out, while nothing uses it. So where it does, the trees are followed here, by
//! reading the file. The format is that of `lmdb/libraries/liblmdb/mdb.c`, data version 1, numbers as the machine has them.

use crate::fs::{File, FsResult};

const MAGIC: u32 = 0xbeef_c0de;
const HEADER_BYTES: usize = 16;
const NODE_HEADER_BYTES: usize = 8;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
/// A node's data lies on pages of its own.
const BIG_DATA: u16 = 0x01;
const NO_PAGE: u64 = u64::MAX;

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_ne_bytes)
}

/// Whether the file has every page that the state of `transaction` uses; `false` also where they cannot be followed.
pub fn is_whole(file: &dyn File, page_bytes: u64, transaction: u64) -> FsResult<bool> {
    let file_bytes = file.len()?;
    let mut page = vec![0; usize::try_from(page_bytes).unwrap_or(0)];
    let mut pending = None;
    for meta in 0..2 {
        let read = file.read_at(&mut page, meta * page_bytes)?;
        pending = pending.or_else(|| roots(&page[..read], transaction));
    }
    let Some(mut pending) = pending else { return Ok(false) };
    let mut left = file_bytes / page_bytes.max(1);
    while let Some(number) = pending.pop() {
        // Each page is reached once; more would be a circle.
        if left == 0
            || number.checked_add(1).and_then(|end| end.checked_mul(page_bytes)).is_none_or(|end| end > file_bytes)
        {
            return Ok(false);
        }
        left -= 1;
        file.read_exact_at(&mut page, number * page_bytes)?;
        if below(&page, page_bytes, file_bytes, &mut pending).is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The roots of the two trees, where this is the page that names that state.
fn roots(page: &[u8], transaction: u64) -> Option<Vec<u64>> {
    let meta = page.get(HEADER_BYTES..)?;
    let is_meta = u32::from_ne_bytes(array(meta, 0)?) == MAGIC && u64_at(meta, 128)? == transaction;
    let roots = [u64_at(meta, 24 + 40)?, u64_at(meta, 72 + 40)?];
    is_meta.then(|| roots.into_iter().filter(|root| *root != NO_PAGE).collect())
}

/// Adds the pages below this one; `None` where it is no page of a tree, or its data lies beyond the end of the file.
fn below(page: &[u8], page_bytes: u64, file_bytes: u64, pending: &mut Vec<u64>) -> Option<()> {
    let (flags, lower) = (u16_at(page, 10)?, usize::from(u16_at(page, 12)?));
    if flags & (BRANCH | LEAF) == 0 {
        return None;
    }
    for at in (HEADER_BYTES..lower).step_by(2) {
        let node = page.get(usize::from(u16_at(page, at)?)..)?;
        let (low, high) = (u64::from(u16_at(node, 0)?), u64::from(u16_at(node, 2)?));
        let (flags_or_top, key_bytes) = (u16_at(node, 4)?, usize::from(u16_at(node, 6)?));
        let low = low | high << 16;
        if flags & BRANCH != 0 {
            pending.push(low | u64::from(flags_or_top) << 32);
        } else if flags_or_top & BIG_DATA != 0 {
            let first = u64_at(node, NODE_HEADER_BYTES + key_bytes)?;
            let pages = (HEADER_BYTES as u64 - 1 + low) / page_bytes + 1;
            let end = first.checked_add(pages)?.checked_mul(page_bytes)?;
            (end <= file_bytes).then_some(())?;
        }
    }
    Some(())
}
