//! The newest version of a key.
//!
//! Owns: which segments are read for it, and the footers kept for that. A segment is read only where its lowest and
//! highest key and its key filter let the key be there (F2); footers are read once, and kept up to a limit.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Log, ReadOptions, Reader, closed};
use crate::catalog::SegmentKey;
use crate::error::Result;
use crate::segment::Footer;
use crate::types::{CollectionName, Record, RecordKind, Sequence, Timestamp};

/// Footers kept in memory, in bytes.
const FOOTERS_BYTES_MAX: usize = 32 << 20;

/// Footers of segments that were asked for keys, those used last. A segment's name is never used for other content (F4),
/// so none is ever out of date.
#[derive(Debug, Default)]
pub(in crate::log) struct Footers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<SegmentKey, (Arc<Footer>, u64)>,
    bytes: usize,
    used: u64,
}

fn cost(footer: &Footer) -> usize {
    512 + footer.blocks.len() * size_of_val(&footer.blocks[..]).checked_div(footer.blocks.len()).unwrap_or(0)
        + footer.keys.as_ref().map_or(0, |keys| keys.filter.len())
}

impl Footers {
    pub fn get(&self, key: &SegmentKey) -> Option<Arc<Footer>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.used += 1;
        let used = kept.used;
        let (footer, last_used) = kept.by_key.get_mut(key)?;
        *last_used = used;
        Some(Arc::clone(footer))
    }

    pub fn keep(&self, key: &SegmentKey, footer: &Footer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.used += 1;
        let used = kept.used;
        if let Some((before, _)) = kept.by_key.insert(key.clone(), (Arc::new(footer.clone()), used)) {
            kept.bytes -= cost(&before);
        }
        kept.bytes += cost(footer);
        if kept.bytes > FOOTERS_BYTES_MAX {
            kept.shrink();
        }
    }
}

impl Kept {
    /// Drops what was used longest ago, down to half: so that this is rare.
    fn shrink(&mut self) {
        let mut by_age: Vec<(u64, SegmentKey)> =
            self.by_key.iter().map(|(key, (_, used))| (*used, key.clone())).collect();
        by_age.sort_unstable();
        for (_, key) in by_age {
            if self.bytes <= FOOTERS_BYTES_MAX / 2 {
                break;
            }
            if let Some((footer, _)) = self.by_key.remove(&key) {
                self.bytes -= cost(&footer);
            }
        }
    }
}

impl Log {
    /// The newest version of a key: `None` where there is none, or where the newest one is a delete or is expired at `now`. An
    /// older version never shows through.
    ///
    /// Reads what is written, durable or not. Unsealed records are searched one by one; of segments, only those are read
    /// whose key filter lets the key be there.
    ///
    /// # Errors
    /// `NotFound` for an unknown collection; `Corrupt` where a record that may be the newest version cannot be read; what the disk or
    /// the catalog said.
    pub fn get(&self, collection: &CollectionName, key: &[u8], now: Timestamp) -> Result<Option<Record>> {
        let newest = self.newest_version(collection, key, Sequence::FIRST)?;
        Ok(newest.filter(|record| record.kind == RecordKind::Put && !record.is_expired(now)))
    }

    /// The newest version of a key at or behind `from`, also where it is a delete or is expired: for who keeps what is before `from`
    /// elsewhere. Reads as [`get`](Self::get) does.
    ///
    /// # Errors
    /// As there.
    pub fn newest_version(&self, collection: &CollectionName, key: &[u8], from: Sequence) -> Result<Option<Record>> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let collection = self.0.collection(collection)?;
        let from = from.max(collection.state().floor);
        let options = ReadOptions { from: Some(from), reverse: true, limit: Some(1), ..ReadOptions::default() };
        let mut reader = Reader::new(Arc::clone(&self.0), collection, options);
        reader.key = Some(key.to_vec());
        reader.try_next()
    }
}
