//! The newest version of a key, of what the index has and of what the log has beyond it.
//!
//! # Why the answer is the log's own
//!
//! What [`Log::get`] finds by reading segments, newest first, is found here with one look into the tree, where nothing newer is in the log:
//!
//! 1. Behind the index's cursor (in memory, in journals, in segments that were not delivered) the log is searched first: what is there is newer
//!    than all that the index has, a tombstone and an expired version included, which hide what is older.
//! 2. What the index has at or before its cursor is the newest of that, or nothing where that is a tombstone.
//! 3. What was purged may be in the index still: below the floor it does not count.
//! 4. What compaction removed by age may be in the index still. So where the version lies in a segment that was written anew, or in none that
//!    can be read, the log is asked for the version itself; and searched whole where it is not there.

use std::path::Path;

use super::database::Database;
use super::{KvOptions, version};
use crate::error::Result;
use crate::log::{Log, ReadOptions};
use crate::types::{CollectionName, Generation, Record, RecordKind, Sequence, Timestamp};

/// Looks a key up in the index that is in `directory`, beside whoever writes to the log. `None` where there is no index, or it has nothing of the collection
/// yet; else what [`Log::get`] says.
///
/// Opening the tree reads what its journal holds, tens of megabytes at most; a program that looks up many keys keeps a [`KvStore`](super::KvStore).
///
/// # Errors
/// `Locked` where another process has the tree open; `Corrupt` where it is damaged; what the disk, or the log, said.
pub fn look_up(
    directory: &Path,
    log: &Log,
    collection: &CollectionName,
    key: &[u8],
    now: Timestamp,
) -> Result<Option<Option<Record>>> {
    let Some(database) = Database::open_existing(directory, KvOptions::default().cache_bytes)? else { return Ok(None) };
    if database.state(collection)?.cursor.is_none() {
        return Ok(None);
    }
    newest(&database, log, collection, key, now).map(Some)
}

pub(super) fn newest(
    database: &Database,
    log: &Log,
    collection: &CollectionName,
    key: &[u8],
    now: Timestamp,
) -> Result<Option<Record>> {
    // The cursor first: what comes to the store meanwhile is found there, and is no older.
    let has = database.state(collection)?.cursor.map_or(Sequence(0), |cursor| cursor.sequence);
    if let Some(newest) = log.newest_version(collection, key, has.next())? {
        return Ok(Some(newest).filter(|it| it.kind == RecordKind::Put && !it.is_expired(now)));
    }
    let floor = log.catalog().collection(collection)?.map_or(Sequence::FIRST, |row| row.floor);
    let found = version(database, collection, key)?.filter(|record| record.sequence >= floor);
    let Some(found) = found.filter(|record| !record.is_expired(now)) else { return Ok(None) };
    if is_in_log(log, &found, collection)? { Ok(Some(found)) } else { log.get(collection, key, now) }
}

/// Whether the log still has a version that was delivered.
fn is_in_log(log: &Log, version: &Record, collection: &CollectionName) -> Result<bool> {
    match log.catalog().segment_holding(collection, version.sequence)? {
        // As it was sealed: nothing was taken out.
        Some(row) if row.key.generation == Generation::default() => Ok(true),
        Some(_) => {
            let (from, until) = (Some(version.sequence), Some(version.sequence));
            let mut reader = log.read(collection, ReadOptions { from, until, ..ReadOptions::default() })?;
            Ok(reader.try_next()?.is_some())
        }
        None => Ok(false),
    }
}
